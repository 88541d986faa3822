//! ADDs that fail: with the right words, and with nothing left behind.

use std::fs;

use serde_json::{Value, json};

use crate::world::{World, both_families, conf, ipv4_only};

/// `ADD` fails with this error, no interface is there, and no address is given out.
fn refused(world: &World, conf: &Value, error: &str) {
    let answer = world.call("ADD", conf);
    assert_eq!(answer.error(), error);
    assert_eq!((world.links(), world.leases()), (vec![], vec![]), "{conf}");
}

#[test]
fn before_anything_is_made() {
    let world = World::new();
    let with = |more: Value| {
        let mut all = json!({ "ipam": world.host_local() });
        all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        conf("1.0.0", &all)
    };
    let cases = [
        (json!({ "master": "up9" }), "7: master `up9` does not exist; did you mean `up0`?"),
        (json!({ "master": "nothing" }), "7: master `nothing` does not exist"),
        (json!({ "mtu": 9000 }), "7: `mtu` 9000 is more than the 1500 of master `up0`"),
        (
            json!({ "mod": "bridge" }),
            "2: `mod` (with value `\"bridge\"`) is not a key of the plugin macvtap; did you mean `mode`?",
        ),
    ];
    for (more, error) in cases {
        refused(&world, &with(more), error);
    }
    // the loopback has no Ethernet frames
    let error = world.call("ADD", &with(json!({ "master": "lo" }))).error();
    assert!(
        error.starts_with("104: cannot create macvtap `eth0` on `lo`: Invalid argument (EINVAL)"),
        "{error}"
    );
    assert_eq!((world.links(), world.leases()), (vec![], vec![]));
}

#[test]
fn an_interface_of_that_name() {
    let world = World::new();
    world.sandbox.container.sh("ip link add eth0 type veth peer name peer");
    let answer = world.call("ADD", &conf("1.0.0", &json!({ "ipam": world.host_local() })));
    let path = world.sandbox.container.path();
    assert_eq!(answer.error(), format!("104: interface `eth0` exists already in `{}`", path.display()));
    assert_eq!((world.links().len(), world.leases()), (2, vec![]), "it stays");
}

#[test]
fn namespaces_that_are_none_of_a_container() {
    let world = World::new();
    let conf = conf("1.0.0", &json!({ "ipam": world.host_local() }));
    let before = world.sandbox.host.sh("ip -o addr; ip -o link");
    let file = world.file("no-namespace");
    fs::write(&file, "").expect("written");
    let host = world.sandbox.host.path();
    let cases = [
        (host.to_str(), "is the network namespace of this program: the host's firewall is never touched"),
        (file.to_str(), "is not a network namespace"),
        (Some("/proc/self/ns/uts"), "is not a network namespace"),
        (Some("/run/no/such/namespace"), "does not exist"),
    ];
    for (netns, words) in cases {
        let netns = netns.expect("UTF-8");
        let answer = world.call_with("ADD", &conf, &[("CNI_NETNS", netns)]);
        assert!(answer.error().starts_with("8: "), "{answer:?}");
        assert!(answer.error().contains(words), "{answer:?}");
    }
    assert_eq!(world.leases(), [""; 0]);
    assert_eq!(world.sandbox.host.sh("ip -o addr; ip -o link"), before);
}

#[test]
fn ipam_that_is_missing_or_fails() {
    let world = World::new();
    let of = |name: &str| conf("1.0.0", &json!({ "ipam": { "type": name } }));
    let error = world.call("ADD", &of("nosuch")).error();
    assert!(error.starts_with("102: ") && error.contains("`nosuch`"), "{error}");
    assert!(!error.contains("undoing"), "{error}");
    assert_eq!(world.links(), [""; 0]);

    world.fake_ipam(&json!({}), &["ADD"]);
    refused(&world, &of("fake"), "111: fake refuses");
    world.fake_ipam(&json!({ "ips": [] }), &[]);
    refused(&world, &of("fake"), "102: the IPAM plugin gave no address");
    world.fake_ipam(&json!("no result"), &[]);
    let error = world.call("ADD", &of("fake")).error();
    assert!(error.starts_with("6: result of a plugin cannot be read"), "{error}");
    assert_eq!(world.links(), [""; 0]);
    // what may have been given out is given back every time
    assert_eq!(world.fake_calls(), ["ADD", "DEL", "ADD", "DEL", "ADD", "DEL"]);
}

#[test]
fn a_route_that_leads_nowhere_takes_all_back() {
    let world = World::new();
    let mut ipam = world.host_local();
    ipam["routes"] = json!([{ "dst": "198.51.100.0/24", "gw": "203.0.113.1" }]);
    refused(
        &world,
        &conf("1.0.0", &json!({ "ipam": ipam })),
        "104: cannot add route `198.51.100.0/24 via 203.0.113.1`: Network is unreachable (ENETUNREACH): Nexthop has invalid gateway",
    );
}

#[test]
fn what_undoing_fails_at_is_told() {
    let world = World::new();
    world.fake_ipam(&json!({ "ips": [] }), &["DEL"]);
    let error = world.call("ADD", &conf("1.1.0", &json!({ "ipam": { "type": "fake" } }))).error();
    assert_eq!(error, "102: the IPAM plugin gave no address: undoing it failed too: fake refuses");
    assert_eq!(world.links(), [""; 0]);
}

#[test]
fn an_ipv6_address_that_somebody_has() {
    let world = World::new();
    world.outside.sh("ip addr add fd05::20/64 dev out0 nodad");
    refused(
        &world,
        &conf("1.0.0", &both_families()),
        "104: address `fd05::20` of `eth0` is in use by another machine on the link",
    );
}

#[test]
fn a_second_macvtap_beside_passthru() {
    let world = World::new();
    let mut passthru = conf("1.0.0", &ipv4_only());
    passthru["mode"] = json!("passthru");
    world.call("ADD", &passthru).ok();
    let error = world.call_with("ADD", &conf("1.0.0", &json!({})), &[("CNI_IFNAME", "eth1")]).error();
    assert!(error.starts_with("104: cannot create macvtap `eth1` on `up0`: "), "{error}");
    assert_eq!(world.links(), ["eth0"]);
}
