//! TLS files of the network configuration reach the port. What certificates do is tested with the daemon alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;

use crate::kit::{Daemon, World, ask, entries, until};

fn write(world: &World, name: &str, text: &str) -> String {
    let path = world.dir.path().join(name);
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
    path.display().to_string()
}

#[test]
fn a_client_certificate_guards_a_port() {
    let world = World::new();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority");
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let issue = |name: &str| {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["10.9.0.2".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &authority).expect("signed");
        let certificate = write(&world, name, &certificate.pem());
        (certificate, write(&world, &format!("{name}.key"), &key.serialize_pem()))
    };
    let ca = write(&world, "ca", &authority.pem());
    let ((server, server_key), (client, client_key)) = (issue("server"), issue("client"));
    let conf = world.conf(&json!({
        "ipsetd": { "tlsCert": server, "tlsKey": server_key, "tlsClientCa": ca },
    }));
    let daemon = Daemon::start(&world, &[]);
    world.run("ADD", &conf);
    // ncat does not wait for an answer once its input has ended, where it speaks TLS
    let send = |address: &str, with: &str| {
        world.sh(&format!("echo 'add blocked {address}' | ncat --ssl {with} 10.9.0.2 9999 || true"));
    };
    let with = format!("--ssl-cert {client} --ssl-key {client_key}");
    let is_in =
        |address: &str| entries(&world.sandbox.container, "blocked").iter().any(|entry| entry == address);
    send("192.0.2.1", "");
    assert!(ask(&world, "add blocked 192.0.2.2").starts_with("error: "));
    send("192.0.2.3", &with);
    until("it is in the set", || is_in("192.0.2.3"));
    // after a restart, too
    daemon.kill();
    let _daemon = Daemon::start(&world, &[]);
    send("192.0.2.4", "");
    send("192.0.2.5", &with);
    until("it is in the set", || is_in("192.0.2.5"));
    assert_eq!(entries(&world.sandbox.container, "blocked"), ["192.0.2.3", "192.0.2.5"]);

    // files that do not hold what they should
    let mut wrong = conf.clone();
    wrong["ipsetd"]["tlsClientCa"] = json!(client_key);
    let (code, message, _) = world.call("ADD", &wrong).run().expect_error();
    assert!(code == 7 && message.contains("ipsetd refuses: "), "{message}");
}
