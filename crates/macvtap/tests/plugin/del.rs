//! DEL, and the commands that only hand on: GC, STATUS, VERSION.

use std::fs;

use serde_json::{Value, json};

use crate::world::{World, conf, ipv4_only};

#[test]
fn twice_is_fine_and_so_is_a_namespace_that_is_gone() {
    let world = World::new();
    let conf = conf("0.4.0", &json!({ "ipam": world.host_local() }));
    world.call("ADD", &conf).ok();
    assert_eq!((world.links(), world.leases().len()), (vec!["eth0".to_owned()], 1));
    for _ in 0..2 {
        assert_eq!(world.call("DEL", &conf).ok().stdout, "");
        assert_eq!((world.links(), world.leases()), (vec![], vec![]));
    }
    for netns in ["/run/no/such/namespace", ""] {
        world.call("ADD", &conf).ok();
        world.call_with("DEL", &conf, &[("CNI_NETNS", netns)]).ok();
        assert_eq!(world.leases().len(), 0, "addresses are given back without a namespace too");
        world.call("DEL", &conf).ok();
    }
}

#[test]
fn a_configuration_that_add_would_refuse_can_be_removed() {
    let world = World::new();
    let mut conf = conf("1.0.0", &ipv4_only());
    world.call("ADD", &conf).ok();
    conf["master"] = json!("gone");
    conf["unknown"] = json!(1);
    world.call("DEL", &conf).ok();
    assert_eq!(world.links(), [""; 0]);
}

#[test]
fn an_interface_of_another_kind_is_left_alone() {
    let world = World::new();
    world.sandbox.container.sh("ip link add eth0 type veth peer name peer");
    let answer = world.call("DEL", &conf("1.0.0", &json!({}))).ok();
    assert!(answer.stderr.contains("`eth0` is left alone"), "{answer:?}");
    assert_eq!(world.links(), ["peer", "eth0"]);
}

#[test]
fn the_interface_goes_even_if_ipam_fails() {
    let world = World::new();
    world.fake_ipam(&json!({ "ips": [{ "address": "10.5.0.30/24" }] }), &["DEL"]);
    let conf = conf("1.1.0", &json!({ "ipam": { "type": "fake" } }));
    world.call("ADD", &conf).ok();
    assert_eq!(world.call("DEL", &conf).error(), "111: fake refuses");
    assert_eq!(world.links(), [""; 0]);
}

#[test]
fn the_host_is_refused() {
    let world = World::new();
    world.sandbox.host.sh("ip link add link up0 name eth0 type macvtap");
    world.fake_ipam(&json!({}), &[]);
    let host = world.sandbox.host.path();
    let answer = world.call_with(
        "DEL",
        &conf("1.1.0", &json!({ "ipam": { "type": "fake" } })),
        &[("CNI_NETNS", host.to_str().expect("UTF-8"))],
    );
    assert!(answer.error().starts_with("8: "), "{answer:?}");
    assert_eq!(world.fake_calls(), [""; 0]);
    world.sandbox.host.sh("ip link show eth0");
}

#[test]
fn gc_and_status_are_handed_on() {
    let world = World::new();
    world.fake_ipam(&json!({}), &[]);
    let mut all = conf("1.1.0", &json!({ "ipam": { "type": "fake" }, "cni.dev/valid-attachments": [] }));
    world.call("GC", &all).ok();
    world.call("STATUS", &all).ok();
    assert_eq!(world.fake_calls(), ["GC", "STATUS"]);
    world.fake_ipam(&json!({}), &["GC", "STATUS"]);
    assert_eq!(world.call("GC", &all).error(), "111: fake refuses");
    assert_eq!(world.call("STATUS", &all).error(), "111: fake refuses");
    all["master"] = json!("up1");
    assert_eq!(world.call("STATUS", &all).error(), "50: master `up1` does not exist; did you mean `up0`?");
    all.as_object_mut().expect("an object").remove("ipam");
    world.call("GC", &all).ok();
}

#[test]
fn version_lists_all() {
    let world = World::new();
    let versions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
    let answer = world.call("VERSION", &json!({ "cniVersion": "1.0.0" })).ok().json();
    assert_eq!(answer, json!({ "cniVersion": "1.0.0", "supportedVersions": versions }));
    let answer = world.call_with("", &Value::Null, &[("CNI_COMMAND", "")]).ok();
    assert_eq!(answer.stdout, "");
    assert!(answer.stderr.starts_with("CNI plugin macvtap v"), "{answer:?}");
    assert!(fs::read_dir(world.dir.path()).expect("a folder").next().is_none(), "nothing was written");
}
