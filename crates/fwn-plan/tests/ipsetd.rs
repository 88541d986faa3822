//! The `ipsetd` key as it is used: what is expanded, what is default. What is wrong with one: `cases/bad-ipsetd-*`.

use fwn_plan::config::parse_netconf;
use fwn_plan::expand::Variables;
use fwn_plan::ipsetd::{IpsetdSpec, TlsSpec};
use fwn_plan::origin::Source;

fn spec(key: &str) -> IpsetdSpec {
    let text = format!(r#"{{ "cniVersion": "1.0.0", "ipsetd": {key} }}"#);
    let conf = parse_netconf(&Source::new("network configuration", text.as_str())).expect("right");
    let mut variables = Variables::new();
    variables.layer([
        ("PORT1".to_owned(), "31999".to_owned()),
        ("ADMINS".to_owned(), "192.0.2.7,fd00::/64".to_owned()),
        ("NAME".to_owned(), "web".to_owned()),
    ]);
    IpsetdSpec::build(&conf.ipsetd.expect("there"), &variables).expect("right")
}

#[test]
fn an_empty_object_is_the_default() {
    let spec = spec("{}");
    assert_eq!(spec.port, 9999);
    assert!(spec.allow_from.is_empty() && !spec.allow_any);
    assert_eq!((spec.sets, spec.verbs, spec.token_file, spec.tls), (None, None, None, None));
}

#[test]
fn every_key_is_read_and_variables_have_their_values() {
    let spec = spec(
        r#"{
            "port": "$PORT1", "allowFrom": [ "$ADMINS", "10.1.2.3/8" ], "allowAny": true,
            "sets": [ "blocked-$NAME", "seen" ], "verbs": [ "add", "test" ], "tokenFile": "/etc/ipsetd/$NAME.token",
            "tlsCert": "/etc/ipsetd/$NAME.pem", "tlsKey": "/etc/ipsetd/$NAME.key", "tlsClientCa": "/etc/ipsetd/ca.pem",
            "socket": "/run/other.sock", "timeout": 3
        }"#,
    );
    assert_eq!(spec.port, 31999);
    let networks: Vec<_> = spec.allow_from.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["192.0.2.7/32", "fd00::/64", "10.0.0.0/8"]);
    let sets: Vec<_> = spec.sets.expect("given").into_iter().map(|(name, _)| name).collect();
    assert_eq!(sets, ["blocked-web", "seen"]);
    assert_eq!(spec.verbs, Some(vec!["add", "test"]));
    assert_eq!(spec.token_file.as_deref(), Some("/etc/ipsetd/web.token"));
    let tls = TlsSpec {
        certificate: "/etc/ipsetd/web.pem".into(),
        key: "/etc/ipsetd/web.key".into(),
        client_ca: Some("/etc/ipsetd/ca.pem".into()),
    };
    assert_eq!(spec.tls, Some(tls));
}
