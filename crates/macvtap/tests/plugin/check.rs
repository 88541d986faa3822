//! CHECK: right after ADD all is well; every change is named.

use serde_json::{Value, json};

use crate::world::{World, both_families, conf, ipv4_only};

/// A world with an attachment, and the configuration that CHECK gets.
fn attached(more: &Value) -> (World, Value) {
    let world = World::new();
    let mut conf = conf("1.0.0", more);
    conf["prevResult"] = world.call("ADD", &conf).ok().json();
    assert_eq!(world.call("CHECK", &conf).ok().stdout, "");
    (world, conf)
}

#[test]
fn both_families_are_as_add_left_them() {
    let (world, conf) = attached(&both_families());
    world.sandbox.container.sh("ip -6 route del default");
    let error = world.call("CHECK", &conf).error();
    assert!(error.ends_with("route to `::/0` via `fd05::1` is missing"), "{error}");
    world.sandbox.container.sh("ip addr del fd05::20/64 dev eth0");
    let error = world.call("CHECK", &conf).error();
    assert!(error.contains("address `fd05::20/64` is missing; route"), "{error}");
}

#[test]
fn every_change_is_named() {
    let changes = [
        (
            "ip addr add 10.5.0.20/25 dev eth0; ip addr del 10.5.0.20/24 dev eth0; ip route replace default via 10.5.0.1 dev eth0",
            "address `10.5.0.20/24` is missing",
        ),
        (
            "ip link set eth0 address 02:00:00:00:00:66",
            "its MAC address is `02:00:00:00:00:66`, not `02:00:00:00:00:01`",
        ),
        ("ip route replace default via 10.5.0.2 dev eth0", "route to `0.0.0.0/0` via `10.5.0.1` is missing"),
        (
            "ip link add x0 type veth peer name x1; ip link set x0 up; ip route replace default via 10.5.0.1 dev x0 onlink",
            "route to `0.0.0.0/0` via `10.5.0.1` is missing",
        ),
        ("ip link del eth0", "it does not exist"),
        ("ip link del eth0; ip link add eth0 type veth peer name x", "it is veth, not a macvtap"),
        ("ip link set eth0 type macvtap mode vepa", "its mode is `vepa`, not `bridge`"),
    ];
    for (change, message) in changes {
        let mut more = ipv4_only();
        more["mac"] = json!("02:00:00:00:00:01");
        let (world, conf) = attached(&more);
        world.sandbox.container.sh(change);
        let error = world.call("CHECK", &conf).error();
        let start = "101: interface `eth0` is not as ADD left it: ";
        assert!(error.starts_with(&format!("{start}{message}")), "{change}: {error}");
    }
}

#[test]
fn an_interface_that_is_down_is_named_with_all_it_lost() {
    let (world, conf) = attached(&ipv4_only());
    world.sandbox.container.sh("ip link set eth0 down");
    let error = world.call("CHECK", &conf).error();
    assert!(error.ends_with("it is down; route to `0.0.0.0/0` via `10.5.0.1` is missing"), "{error}");
}

#[test]
fn another_master_is_named() {
    let (world, mut conf) = attached(&ipv4_only());
    world.sandbox.host.sh("ip link add up1 type veth peer name x1");
    conf["master"] = json!("up1");
    let error = world.call("CHECK", &conf).error();
    assert!(error.ends_with("its master is not `up1`"), "{error}");

    // an interface of the same number in another namespace is another one
    world.sandbox.container.sh("ip link del eth0");
    let stranger = fwn_testkit::Netns::new();
    stranger.sh(&format!(
        "ip link add name x0 type veth peer name up0 index {}
         ip link add link up0 name eth0 netns {} type macvtap mode bridge",
        host_index(&world),
        world.sandbox.container.pid()
    ));
    conf["master"] = json!("up0");
    let error = world.call("CHECK", &conf).error();
    assert!(error.contains("its master is not `up0`"), "{error}");
}

fn host_index(world: &World) -> String {
    let link: Value = serde_json::from_str(&world.sandbox.host.sh("ip -j link show up0")).expect("JSON");
    link[0]["ifindex"].to_string()
}

#[test]
fn ipam_is_asked_and_the_previous_result_needed() {
    let world = World::new();
    world.fake_ipam(&json!({ "ips": [{ "address": "10.5.0.30/24" }] }), &["CHECK"]);
    let mut conf = conf("1.1.0", &json!({ "ipam": { "type": "fake" } }));
    conf["prevResult"] = world.call("ADD", &conf).ok().json();
    assert_eq!(world.call("CHECK", &conf).error(), "111: fake refuses");
    world.fake_ipam(&json!({}), &[]);
    world.call("CHECK", &conf).ok();
    let prev = conf.as_object_mut().expect("an object").remove("prevResult").expect("it was there");
    assert_eq!(
        world.call("CHECK", &conf).error(),
        "7: prevResult missing: CHECK compares with what ADD gave"
    );
    conf["prevResult"] = prev;
    let error = world.call_with("CHECK", &conf, &[("CNI_IFNAME", "eth7")]).error();
    assert!(error.starts_with("101: prevResult has no interface `eth7` in `/proc/"), "{error}");
}
