//! The protocol around the firewall: versions, results, and what is said where.

use fwn_testkit::plugin::PluginCall;
use serde_json::{Value, json};

use crate::kit::{World, full, one_json, plugin};

const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

#[test]
fn add_and_del_in_every_version() {
    let world = World::with_foreign();
    let before = world.container();
    let mut in_force = None;
    for version in VERSIONS {
        let conf = world.conf_of(version, &full());
        let result = world.run("ADD", &conf);
        match conf.get("prevResult") {
            Some(previous) => assert_eq!(&result, previous),
            // there is no result without a plugin before, but a runtime wants one
            None => assert_eq!(result, json!({ "cniVersion": version, "dns": {} })),
        }
        let found = world.container();
        assert_eq!(in_force.get_or_insert_with(|| found.clone()), &found, "{version}");
        if ["0.4.0", "1.0.0", "1.1.0"].contains(&version) {
            assert_eq!(world.run("CHECK", &conf), Value::Null);
        }
        assert_eq!(world.run("DEL", &conf), Value::Null);
        assert_eq!(world.container(), before, "{version}");
        assert!(world.state_files().is_empty());
    }
}

/// Blanks, order, forms of numbers and keys that nobody knows.
#[test]
fn the_previous_result_is_handed_on_byte_for_byte() {
    let world = World::new();
    let previous = r#"{ "cniVersion":"1.0.0",  "theirs": [1e2, 1.50,"é"],"ips":[], "dns" : {} }"#;
    let conf = world.conf(&full()).to_string();
    let (head, _) = conf.split_once("\"prevResult\":").expect("there");
    let rest = full().to_string();
    let conf = format!("{head}\"prevResult\":{previous},{}", rest.strip_prefix('{').expect("an object"));
    let answer = PluginCall::new(&world.sandbox, plugin(), "ADD", conf).run();
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(0), format!("{previous}\n").as_str()));
}

#[test]
fn version_lists_all() {
    let world = World::new();
    for version in VERSIONS {
        let stdin = json!({ "cniVersion": version }).to_string();
        let answer = PluginCall::new(&world.sandbox, plugin(), "VERSION", stdin).run();
        assert_eq!(answer.expect_success(), json!({ "cniVersion": version, "supportedVersions": VERSIONS }));
    }
}

#[test]
fn without_a_command_it_is_no_plugin() {
    let world = World::new();
    let before = world.container();
    let answer = world.call("ADD", &world.conf(&full())).without("CNI_COMMAND").run();
    assert!(!answer.stdout.contains("cniVersion"), "{answer:?}");
    assert_eq!((world.container(), world.state_files().len()), (before, 0));
}

#[test]
fn a_chain_is_needed_from_0_3_0_on() {
    let world = World::new();
    let mut conf = world.conf(&full());
    conf.as_object_mut().expect("an object").remove("prevResult");
    let (message, details) = world.refused(7, &world.call("ADD", &conf));
    assert!(message.contains("prevResult missing"), "{message}");
    assert!(details.contains("`net`"), "{details}");
}

#[test]
fn variables_of_the_protocol_that_are_missing_or_wrong() {
    let world = World::new();
    let conf = world.conf(&full());
    for (name, value, code, words) in [
        ("CNI_NETNS", "", 4, "ADD needs the variables CNI_NETNS: unset or empty"),
        ("CNI_CONTAINERID", "", 4, "ADD needs the variables CNI_CONTAINERID"),
        ("CNI_CONTAINERID", "../x", 4, "CNI_CONTAINERID `../x` is not"),
        ("CNI_IFNAME", "a/b", 4, "CNI_IFNAME `a/b`"),
        ("CNI_ARGS", "x", 4, "CNI_ARGS"),
        ("CNI_COMMAND", "ADDD", 4, "CNI_COMMAND `ADDD` is unknown, it is one of ADD"),
    ] {
        let (message, _) = world.refused(code, &world.call("ADD", &conf).env(name, value));
        assert!(message.starts_with(words), "{name}={value}: {message}");
    }
}

#[test]
fn errors_have_the_version_of_the_configuration() {
    let world = World::new();
    for version in VERSIONS {
        let answer = world.call("ADD", &world.conf_of(version, &json!({ "rulse": [] }))).run();
        let error = one_json(&answer);
        assert_eq!((&error["cniVersion"], &error["code"]), (&json!(version), &json!(7)));
    }
    let answer = world.call("ADD", &world.conf_of("2.0.0", &full())).run();
    assert_eq!(answer.expect_error().0, 1);
}
