//! The documented example, unchanged, from `add` to `del`; and the same configuration checked, damaged, undone.

use fwn_testkit::Netns;
use serde_json::{Value, json};

use crate::world::{MESOS, SEED, SEED_NETWORK, World};

/// As documented; spacing and the spelling of protocols are the installed version's.
const LISTING: &str = "
Chain INPUT (policy ACCEPT 0 packets, 0 bytes)
    0     0 ACCEPT     icmp --  eth0   *       0.0.0.0/0            0.0.0.0/0            icmptype 8
    0     0 ACCEPT     icmp --  eth0   *       0.0.0.0/0            0.0.0.0/0            icmptype 0
    0     0 ACCEPT     icmp --  eth0   *       0.0.0.0/0            0.0.0.0/0            icmptype 8
    0     0 ACCEPT     icmp --  eth0   *       0.0.0.0/0            0.0.0.0/0            icmptype 0
    0     0 ACCEPT     tcp  --  *      *       0.0.0.0/0            0.0.0.0/0            tcp dpt:8080
    0     0 ACCEPT     tcp  --  *      *       0.0.0.0/0            0.0.0.0/0            tcp dpt:8443
    0     0 REJECT     tcp  --  *      *       0.0.0.0/0            0.0.0.0/0            match-set blacklistweb src multiport dports 80,443 reject-with tcp-reset
Chain FORWARD (policy DROP 0 packets, 0 bytes)
Chain OUTPUT (policy ACCEPT 0 packets, 0 bytes)
    0     0 ACCEPT     icmp --  *      eth0    0.0.0.0/0            0.0.0.0/0            icmptype 0
    0     0 ACCEPT     icmp --  *      eth0    0.0.0.0/0            0.0.0.0/0            icmptype 8
    0     0 ACCEPT     icmp --  *      eth0    0.0.0.0/0            0.0.0.0/0            icmptype 0
    0     0 ACCEPT     icmp --  *      eth0    0.0.0.0/0            0.0.0.0/0            icmptype 8
";

/// The example with the documented rules of a Mesos task: nothing is open but what the three files and the port of
/// the task open.
const MESOS_LISTING: &str = "
Chain INPUT (policy DROP 0 packets, 0 bytes)
    0     0 ACCEPT     tcp  --  eth0   *       192.168.10.114       0.0.0.0/0            tcp spt:5051
    0     0 ACCEPT     all  --  lo     *       0.0.0.0/0            0.0.0.0/0
    0     0 ACCEPT     tcp  --  *      *       0.0.0.0/0            0.0.0.0/0            tcp dpt:8899
    0     0 ACCEPT     tcp  --  eth0   *       192.168.122.22       0.0.0.0/0            tcp dpt:9378
Chain FORWARD (policy DROP 0 packets, 0 bytes)
Chain OUTPUT (policy DROP 0 packets, 0 bytes)
    0     0 ACCEPT     tcp  --  *      eth0    0.0.0.0/0            192.168.10.114       tcp dpt:5051
    0     0 ACCEPT     all  --  *      lo      0.0.0.0/0            0.0.0.0/0
    0     0 ACCEPT     tcp  --  *      *       0.0.0.0/0            0.0.0.0/0            tcp spt:8899
    0     0 ACCEPT     tcp  --  *      eth0    0.0.0.0/0            192.168.122.22       tcp spt:9378
";

const MESOS_EXECUTOR: &str = r#"{
  "rules": [
      { "type": "A", "chain": "INPUT", "rule": "-i $CNI_IFNAME -p tcp -s ${MESOS_AGENT_ENDPOINT%%:*} --sport ${MESOS_AGENT_ENDPOINT##*:} -j ACCEPT" },
      { "type": "A", "chain": "OUTPUT", "rule": "-o $CNI_IFNAME -p tcp -d ${MESOS_AGENT_ENDPOINT%%:*} --dport ${MESOS_AGENT_ENDPOINT##*:} -j ACCEPT" }
  ]
}
"#;
const MESOS_HEALTH_CHECK: &str = r#"{
  "rules": [
      { "type": "A", "chain": "INPUT", "rule": "-i lo -j ACCEPT" },
      { "type": "A", "chain": "OUTPUT", "rule": "-o lo -j ACCEPT" },
  ]
}
"#;
const IPSETD: &str = r#"{
  "rules": [
      { "type": "A", "chain": "INPUT", "rule": "-i $CNI_IFNAME -p tcp -s 192.168.122.22/32 --dport 9378 -j ACCEPT" },
      { "type": "A", "chain": "OUTPUT", "rule": "-o $CNI_IFNAME -p tcp --sport 9378 -d 192.168.122.22/32 -j ACCEPT" }
  ]
}
"#;

/// `iptables -L -vn` without what versions differ in: blanks, column titles, numbers for protocols.
fn normalised(listing: &str) -> Vec<String> {
    let lines = listing.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let lines = lines.filter(|words| !words.is_empty() && words.first() != Some(&"pkts"));
    lines
        .map(|mut words| {
            // in a title, `Chain INPUT (policy ACCEPT ...`, it is none of these
            if let Some(protocol) = words.get_mut(3) {
                *protocol = match *protocol {
                    "0" => "all",
                    "1" => "icmp",
                    "6" => "tcp",
                    other => other,
                };
            }
            words.join(" ")
        })
        .collect()
}

fn assert_listing(container: &Netns, expected: &str) {
    assert_eq!(normalised(&container.sh("iptables -L -vn")), normalised(expected));
}

/// The example in another version of the protocol.
fn seed_in(version: &str) -> Value {
    let mut list: Value = serde_json::from_str(SEED).expect("JSON");
    list["cniVersion"] = json!(version);
    list
}

#[test]
fn the_example_gives_the_documented_listing_and_goes_without_a_trace() {
    let world = World::new();
    let container = &world.sandbox.container;
    let before = container.dump();
    assert_eq!(world.sh(&format!("cat {MESOS}/test-firewallnetns.conflist")), SEED);

    let result = world.firewallnetns(&["add", SEED_NETWORK, &world.netns()]).ok();
    let result: Value = serde_json::from_str(&result).expect("one JSON");
    assert_eq!(result["cniVersion"], "0.3.1");
    assert_eq!(result["interfaces"][0]["name"], "eth0");
    assert_eq!(result["ips"][0]["address"], "192.168.124.170/24");

    assert_listing(container, LISTING);
    let rules6 = container.sh("ip6tables -S");
    let rules6: Vec<&str> = rules6.lines().collect();
    assert_eq!(
        rules6,
        [
            "-P INPUT ACCEPT",
            "-P FORWARD DROP",
            "-P OUTPUT ACCEPT",
            "-A INPUT -i eth0 -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT",
            "-A INPUT -i eth0 -p ipv6-icmp -m icmp6 --icmpv6-type 129 -j ACCEPT",
            "-A INPUT -i eth0 -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT",
            "-A INPUT -i eth0 -p ipv6-icmp -m icmp6 --icmpv6-type 129 -j ACCEPT",
            "-A INPUT -p tcp -m tcp --dport 8080 -j ACCEPT",
            "-A INPUT -p tcp -m tcp --dport 8443 -j ACCEPT",
            "-A OUTPUT -o eth0 -p ipv6-icmp -m icmp6 --icmpv6-type 129 -j ACCEPT",
            "-A OUTPUT -o eth0 -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT",
            "-A OUTPUT -o eth0 -p ipv6-icmp -m icmp6 --icmpv6-type 129 -j ACCEPT",
            "-A OUTPUT -o eth0 -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT",
        ]
    );
    let sets = container.sh("ipset list");
    for line in ["Name: blacklistweb", "Type: hash:ip", "References: 1", "Number of entries: 0"] {
        assert!(sets.lines().any(|found| found == line), "`{line}` in {sets}");
    }
    assert!(sets.contains("Header: family inet hashsize 4096 maxelem 65536 netmask 24 "), "{sets}");
    assert_eq!(sets.matches("Name:").count(), 1);

    assert_eq!(world.firewallnetns(&["del", SEED_NETWORK, &world.netns()]).ok(), "");
    assert_eq!(container.dump(), before);
    assert_eq!((world.links(), world.kept()), (vec![], vec![]));
    assert_eq!(world.firewallnetns(&["del", SEED_NETWORK, &world.netns()]).ok(), "");
    assert_eq!(container.dump(), before);
}

#[test]
fn what_others_have_in_the_namespace_is_as_before() {
    let world = World::new();
    let container = &world.sandbox.container;
    container.sh("ipset create mine hash:net; ipset add mine 10.0.0.0/8
         iptables -P INPUT DROP; iptables -A INPUT -m set --match-set mine src -j ACCEPT
         iptables -t nat -A POSTROUTING -j MASQUERADE; ip6tables -N own; ip6tables -A own -j LOG");
    let before = container.dump();
    world.firewallnetns(&["add", SEED_NETWORK, &world.netns()]).ok();
    assert_ne!(container.dump(), before);
    world.firewallnetns(&["del", SEED_NETWORK, &world.netns()]).ok();
    assert_eq!(container.dump(), before);
}

#[test]
fn check_names_what_was_damaged() {
    let cases = [
        ("iptables -D INPUT 5", "--dport 8080"),
        ("ip6tables -D INPUT -p tcp -m tcp --dport 8443 -j ACCEPT", "--dport 8443"),
        ("iptables -F INPUT", "--match-set blacklistweb"),
        ("iptables -F INPUT; ipset destroy blacklistweb", "set `blacklistweb` is missing"),
        ("iptables -P OUTPUT DROP", "OUTPUT"),
        ("ip6tables -P FORWARD ACCEPT", "FORWARD"),
    ];
    let world = World::new();
    world.write(&format!("{MESOS}/test-firewallnetns.conflist"), &seed_in("1.0.0").to_string());
    let netns = world.netns();
    for (damage, named) in cases {
        world.firewallnetns(&["add", SEED_NETWORK, &netns]).ok();
        assert_eq!(world.firewallnetns(&["check", SEED_NETWORK, &netns]).ok(), "");
        world.sandbox.container.sh(damage);
        let error = world.firewallnetns(&["check", SEED_NETWORK, &netns]).error();
        assert!(error.starts_with("error: plugin `firewallnetns` failed (CHECK): "), "{damage}: {error}");
        assert!(error.contains(named), "{damage}: {error}");
        world.firewallnetns(&["del", SEED_NETWORK, &netns]).ok();
    }
}

#[test]
fn check_needs_a_version_that_has_it() {
    let world = World::new();
    world.firewallnetns(&["add", SEED_NETWORK, &world.netns()]).ok();
    let error = world.firewallnetns(&["check", SEED_NETWORK, &world.netns()]).error();
    assert!(error.contains("0.3.1, which has no CHECK"), "{error}");
}

#[test]
fn a_mesos_task_gets_the_documented_listing() {
    let world = World::new();
    world.write(&format!("{MESOS}/mesos-executor.fw"), MESOS_EXECUTOR);
    world.write(&format!("{MESOS}/mesos-health-check.fw"), MESOS_HEALTH_CHECK);
    world.write(&format!("{MESOS}/ipsetd.fw"), IPSETD);
    let mut list = seed_in("1.0.0");
    let firewall = list["plugins"][1].as_object_mut().expect("an object");
    firewall.retain(|key, _| key == "type" || key == "dataDir");
    firewall.insert("capabilities".into(), json!({ "portMappings": true }));
    firewall.insert(
        "fwFiles".into(),
        json!(["default-policy", "mesos-executor", "mesos-health-check", "port", "ipsetd"]),
    );
    world.write(&format!("{MESOS}/test-firewallnetns.conflist"), &list.to_string());
    let port = json!({ "rules": [
        { "type": "A", "chain": "INPUT", "rule": "-p $PROTO --dport $CONTAINER_PORT -j ACCEPT", "forEach": "portMappings" },
        { "type": "A", "chain": "OUTPUT", "rule": "-p $PROTO --sport $CONTAINER_PORT -j ACCEPT", "forEach": "portMappings" },
    ] });
    world.write(&format!("{MESOS}/port.fw"), &port.to_string());

    let mappings = r#"{"portMappings":[{"containerPort":8899,"hostPort":8899,"protocol":"tcp"}]}"#;
    let variables = [("MESOS_AGENT_ENDPOINT", "192.168.10.114:5051"), ("CAP_ARGS", mappings)];
    world.firewallnetns_with(&variables, &["add", SEED_NETWORK, &world.netns()]).ok();
    assert_listing(&world.sandbox.container, MESOS_LISTING);
}

#[test]
fn an_add_that_fails_late_is_undone() {
    let world = World::new();
    let before = world.sandbox.container.dump();
    // the third plugin sees the firewall in force, and refuses
    let seen = world.dir.path().join("seen");
    world.plugin(
        "refuses",
        &format!(
            r#"[ "$CNI_COMMAND" = ADD ] || exit 0
               nsenter --net="$CNI_NETNS" iptables -S > {}
               echo '{{"cniVersion":"1.0.0","code":120,"msg":"not today","details":"ask again"}}'; exit 1"#,
            seen.display()
        ),
    );
    let mut list = seed_in("1.0.0");
    list["plugins"].as_array_mut().expect("a list").push(json!({ "type": "refuses" }));
    world.write(&format!("{MESOS}/test-firewallnetns.conflist"), &list.to_string());

    let error = world.firewallnetns(&["add", SEED_NETWORK, &world.netns()]).error();
    assert_eq!(error, "error: plugin `refuses` failed (ADD): not today (CNI code 120)\n  ask again\n");
    assert!(std::fs::read_to_string(seen).expect("the plugin was called").contains("--dport 8080"));
    assert_eq!(world.sandbox.container.dump(), before);
    assert_eq!((world.links(), world.kept()), (vec![], vec![]));
}
