//! Debian's plugins as delegates: a list of them for a runtime that has no lists, and their CHECK.

use fwn_testkit::probe::Outcome::Silent;
use fwn_testkit::probe::{Attempt, expect};
use serde_json::{Value, json};

use crate::node::{Node, Web, health, presets};

/// Debian's plugins: an interface on a bridge of the node's own, and settings.
fn bridge_and_tuning(node: &Node) -> [Value; 2] {
    let bridge = json!({
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": true,
        "ipam": {
            "type": "host-local",
            "subnet": "10.77.0.0/24",
            "routes": [{ "dst": "0.0.0.0/0" }],
            "dataDir": node.dir.path().join("leases"),
        },
    });
    [bridge, json!({ "type": "tuning", "sysctl": { "net.ipv4.conf.all.log_martians": "1" } })]
}

/// A list for a runtime that has none: interface, settings and a published port, then the firewall.
#[test]
fn debians_plugins_run_as_a_chain() {
    let node = Node::new();
    let (host, container) = (&node.sandbox.host, &node.sandbox.container);
    let [bridge, tuning] = bridge_and_tuning(&node);
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    let mappings = json!([{ "hostPort": 31000, "containerPort": 8899, "protocol": "tcp" }]);
    let conf = node.conf(
        "",
        &json!({
            "delegate": [bridge, portmap, tuning],
            "runtimeConfig": { "portMappings": mappings },
            "args": {},
            "fwFiles": ["default-policy", "allow-published-ports"],
        }),
    );
    let result = node.run("ADD", &conf);
    assert_eq!((&result["cniVersion"], &result["ip4"]["ip"]), (&json!("0.2.0"), &json!("10.77.0.2/24")));
    assert_eq!(container.sh("cat /proc/sys/net/ipv4/conf/all/log_martians"), "1\n");
    let web = Web::start(container);
    assert_eq!(health(&node.router, "192.168.10.114:31000").expect("an answer"), "HTTP/1.1 200 OK");
    expect(&[(Attempt::ping(host, "10.77.0.2"), Silent), (Attempt::tcp(host, "10.77.0.2:9"), Silent)]);
    drop(web);

    assert!(host.dump().contains("--dport 31000"));
    node.run("DEL", &conf);
    node.assert_clean();
    assert!(!host.dump().contains("31000"), "{}", host.dump());
    assert!(!host.sh("ip -o link show").contains("master cni0"));
}

#[test]
fn debians_plugins_are_checked() {
    let node = Node::new();
    let container = &node.sandbox.container;
    let rules = presets(&["default-policy"]);
    let mut conf = node.conf("", &rules);
    (conf["cniVersion"], conf["delegate"]) = (json!("1.0.0"), json!(bridge_and_tuning(&node)));
    let result = node.run("ADD", &conf);
    let mut check = conf.clone();
    check["prevResult"] = result;
    for (damage, mended, said) in [
        (
            "echo 0 >/proc/sys/net/ipv4/conf/all/log_martians",
            "echo 1 >/proc/sys/net/ipv4/conf/all/log_martians",
            "log_martians",
        ),
        (
            "ip addr del 10.77.0.2/24 dev eth0",
            "ip addr add 10.77.0.2/24 dev eth0; ip route add default via 10.77.0.1",
            "10.77.0.2",
        ),
        ("iptables -P INPUT ACCEPT", "iptables -P INPUT DROP", "INPUT"),
    ] {
        node.run("CHECK", &check);
        container.sh(damage);
        let (_, message, _) = node.call("CHECK", &check).run().expect_error();
        assert!(message.contains(said), "{damage}: {message}");
        container.sh(mended);
    }
    node.run("CHECK", &check);
    node.run("DEL", &conf);
    node.assert_clean();
}
