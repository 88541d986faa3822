//! TLS: certificates of the right and the wrong authority, expired ones, none; and each kind of port spoken to as if
//! it were the other.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fwn_testkit::Sandbox;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use crate::kit::{ADDRESS, Daemon, ask, command, connect, entries, sandbox};

const ADD: &[u8] = b"add blacklistsmtp 12.12.13.12\n";

/// Files of certificates and keys, in a folder of the test.
struct Pki {
    folder: tempfile::TempDir,
}

impl Pki {
    fn new() -> Self {
        let pki = Self { folder: tempfile::tempdir().expect("a folder") };
        let (right, wrong) = (authority("right"), authority("wrong"));
        pki.write("ca", &right.pem());
        pki.issue("server", &right, 2024, 2124);
        pki.issue("right", &right, 2024, 2124);
        pki.issue("wrong", &wrong, 2024, 2124);
        pki.issue("expired", &right, 2020, 2021);
        pki.issue("early", &right, 2100, 2124);
        pki
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).expect("changed");
    }

    fn issue(&self, name: &str, authority: &CertifiedIssuer<'_, KeyPair>, from: i32, to: i32) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["10.9.0.2".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let certificate = params.signed_by(&key, authority).expect("signed");
        self.write(name, &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn start(&self, sandbox: &Sandbox, more: &[(&str, &str)]) -> Daemon {
        let paths = ["server", "server.key", "ca"].map(|name| self.path(name).display().to_string());
        let mut environment = vec![
            ("IPSET_TLS_CERT", paths[0].as_str()),
            ("IPSET_TLS_KEY", &paths[1]),
            ("IPSET_TLS_CA", &paths[2]),
        ];
        environment.extend(more);
        Daemon::start(sandbox, &environment, &[])
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).expect("a file").collect::<Result<_, _>>().expect("certificates")
}

/// What a peer with this certificate is answered; or the error of TLS.
fn speak(sandbox: &Sandbox, pki: &Pki, certificate: Option<&str>, lines: &[u8]) -> Result<String, String> {
    speak_as(sandbox, &client(pki, certificate), lines).map(|(answers, _)| answers)
}

/// A client with this certificate, which remembers where it was before.
fn client(pki: &Pki, certificate: Option<&str>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for root in certificates(&pki.path("ca")) {
        roots.add(root).expect("a certificate");
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = match certificate {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let key = PrivateKeyDer::from_pem_file(pki.path(&format!("{name}.key"))).expect("a key");
            builder.with_client_auth_cert(certificates(&pki.path(name)), key).expect("they fit")
        }
    };
    Arc::new(config)
}

/// What the client is answered, and by which kind of handshake.
fn speak_as(
    sandbox: &Sandbox,
    client: &Arc<ClientConfig>,
    lines: &[u8],
) -> Result<(String, Option<HandshakeKind>), String> {
    let name = ServerName::try_from("10.9.0.2").expect("an address");
    let connection = ClientConnection::new(Arc::clone(client), name).expect("a connection");
    let mut stream = StreamOwned::new(connection, connect(&sandbox.host, ADDRESS));
    let mut spoken = || {
        stream.write_all(lines)?;
        stream.conn.send_close_notify();
        stream.flush()?;
        let mut answers = String::new();
        stream.read_to_string(&mut answers)?;
        Ok((answers, stream.conn.handshake_kind()))
    };
    spoken().map_err(|error: std::io::Error| error.to_string())
}

/// A connection that goes on with what an earlier one agreed on shows no certificate, so nobody would look whether it
/// has expired meanwhile.
#[test]
fn the_certificate_is_looked_at_each_time() {
    let (sandbox, pki) = (sandbox(), Pki::new());
    let _daemon = pki.start(&sandbox, &[]);
    let client = client(&pki, Some("right"));
    for _ in 0..2 {
        let (answers, kind) = speak_as(&sandbox, &client, b"test blacklistsmtp 1.0.0.1\n").expect("served");
        assert_eq!(answers, "ok not in\n");
        assert!(matches!(kind, Some(HandshakeKind::Full)), "{kind:?}");
    }
}

#[test]
fn a_key_that_others_can_get_at_is_refused() {
    let (sandbox, pki) = (sandbox(), Pki::new());
    let path = pki.path("server.key").display().to_string();
    let certificate = pki.path("server").display().to_string();
    let start = || {
        let environment = [
            ("IPSET_TLS_CERT", certificate.as_str()),
            ("IPSET_TLS_KEY", path.as_str()),
            ("IPSET_ALLOW_ANY", "1"),
        ];
        Daemon::spawn(command(&sandbox.container, &environment, &[]))
    };
    sandbox.host.sh(&format!("chown 65534 {path}"));
    start().wait_for(&format!("key file `{path}` belongs to another user"));
    sandbox.host.sh(&format!("chown 0 {path}; chmod 0640 {path}"));
    start().wait_for(&format!("key file `{path}` is not for its owner alone"));
    // nobody writes into it, and nobody waits for that
    sandbox.host.sh(&format!("rm {path}; mkfifo -m 0600 {path}"));
    start().wait_for(&format!("`{path}` holds no private key in PEM form"));
}

#[test]
fn the_certificate_decides() {
    let (sandbox, pki) = (sandbox(), Pki::new());
    let mut daemon = pki.start(&sandbox, &[]);
    assert_eq!(speak(&sandbox, &pki, None, ADD), Ok("error: a client certificate is needed\n".into()));
    daemon.wait_for("refused: a client certificate is needed");
    for (name, alert, reason) in [
        ("wrong", "UnknownCA", "the client certificate is not of the right authority"),
        ("expired", "CertificateExpired", "the client certificate is not valid at this time"),
        ("early", "Certificate", "the client certificate is not valid at this time"),
    ] {
        let error = speak(&sandbox, &pki, Some(name), ADD).expect_err("refused");
        assert!(error.contains(alert), "{name}: {error}");
        daemon.wait_for(&format!("refused: {reason}"));
    }
    assert_eq!(entries(&sandbox, "blacklistsmtp"), Vec::<String>::new());
    assert_eq!(speak(&sandbox, &pki, Some("right"), ADD), Ok("ok\n".into()));
    assert_eq!(entries(&sandbox, "blacklistsmtp"), ["12.12.13.12"]);
    let lines = "add blacklistsmtp 12.12.13.12 -exist\n".repeat(20_000);
    assert_eq!(speak(&sandbox, &pki, Some("right"), lines.as_bytes()), Ok("ok\n".repeat(20_000)));
}

#[test]
fn each_kind_of_port_says_what_it_is_not() {
    let (sandbox, pki) = (sandbox(), Pki::new());
    let mut daemon = pki.start(&sandbox, &[]);
    assert_eq!(ask(&sandbox, "add blacklistsmtp 12.12.13.12\n"), "error: this port speaks TLS only\n");
    daemon.wait_for("refused: this port speaks TLS only");
    drop(daemon);
    let mut daemon = Daemon::open(&sandbox);
    let error = speak(&sandbox, &pki, Some("right"), ADD).expect_err("no TLS");
    assert!(error.contains("corrupt message"), "{error}");
    daemon.wait_for("refused: it speaks TLS, this port does not");
    // what the peer is sent can be read without TLS
    let mut stream = connect(&sandbox.host, ADDRESS);
    stream.write_all(b"\x16\x03\x01\x02\x00\x01").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("closed");
    assert_eq!(answer, "error: this port does not speak TLS\n");
    assert_eq!(entries(&sandbox, "blacklistsmtp"), Vec::<String>::new());
}

#[test]
fn certificate_and_token_are_both_needed_where_both_are_set() {
    let (sandbox, pki) = (sandbox(), Pki::new());
    pki.write("token", "a-token-of-the-test");
    let token = pki.path("token").display().to_string();
    let _daemon = pki.start(&sandbox, &[("IPSET_TOKEN_FILE", token.as_str())]);
    let with_token = [b"auth a-token-of-the-test\n", ADD].concat();
    assert_eq!(
        speak(&sandbox, &pki, Some("right"), ADD),
        Ok("error: the first line must be `auth TOKEN`\n".into())
    );
    assert_eq!(
        speak(&sandbox, &pki, None, &with_token),
        Ok("error: a client certificate is needed\n".into())
    );
    assert_eq!(speak(&sandbox, &pki, Some("right"), &with_token), Ok("ok\nok\n".into()));
}

#[test]
fn who_begins_tls_and_does_not_go_on_is_closed() {
    let (sandbox, pki) = (sandbox(), Pki::new());
    let mut daemon = pki.start(&sandbox, &[("IPSET_PATIENCE", "1")]);
    for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00"] {
        let mut stream = connect(&sandbox.host, ADDRESS);
        stream.write_all(begun).expect("sent");
        let line = daemon.wait_for("closed: TLS was not agreed on in time");
        assert!(line.contains("10.9.0.1:"), "{line}");
        let end = stream.read(&mut [0]).map_err(|error| error.kind());
        assert!(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "{end:?}");
    }
    assert_eq!(speak(&sandbox, &pki, Some("right"), ADD), Ok("ok\n".into()));
}
