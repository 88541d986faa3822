//! The plugin needs nothing else of the machine: no program, no lock, no `PATH`; and it asks the kernel little.

use std::fs;

use serde_json::{Value, json};

use crate::kit::{World, rule};

/// The example that the documentation begins with, and a rule for both families.
fn seed(world: &World) -> Value {
    let policies = |policy: &str, chains: &[&str]| -> Value {
        chains.iter().map(|chain| json!({ "chain": chain, "policy": policy })).collect()
    };
    let ping = json!({ "rules": [
        rule("INPUT", "-i $CNI_IFNAME -p icmp --icmp-type 8 -j ACCEPT"),
        rule("INPUT", "-i $CNI_IFNAME -p icmp --icmp-type 0 -j ACCEPT"),
        rule("OUTPUT", "-o $CNI_IFNAME -p icmp --icmp-type 0 -j ACCEPT"),
        rule("OUTPUT", "-o $CNI_IFNAME -p icmp --icmp-type 8 -j ACCEPT"),
    ] });
    let closed = json!({ "policies": policies("DROP", &["INPUT", "FORWARD", "OUTPUT"]) });
    world.file("default-policy.fw", closed.to_string());
    world.file("allow-ping.fw", ping.to_string());
    world.file("allow-ping-out.fw", ping.to_string());
    let refuse = "-p tcp -m set --match-set blacklistweb src -m multiport --dports 80,443 -j REJECT \
                  --reject-with tcp-reset";
    world.conf(&json!({
        "fwFiles": ["default-policy", "allow-ping", "allow-ping-out"],
        "ipsets": [{ "set": "blacklistweb", "hashtype": "hash:ip", "netmask": 24, "hashsize": 4096 }],
        "policies": policies("ACCEPT", &["INPUT", "OUTPUT"]),
        "rules": [
            rule("INPUT", "-p tcp --dport 8080 -j ACCEPT"),
            rule("INPUT", "-p tcp --dport 8443 -j ACCEPT"),
            rule("INPUT", refuse),
        ],
    }))
}

#[test]
fn the_seed_example_starts_no_program_and_takes_no_lock() {
    let world = World::new();
    let log = world.path("trace");
    // a machine without them; strace alone is found by its path
    let script = format!(
        r#"exec unshare --mount bash -ec '
            mount -t tmpfs none /usr/sbin
            for name in iptables iptables-nft-restore ip6tables ipset nft; do
                if type $name; then exit 9; fi
            done
            PATH= exec /usr/bin/strace -f -qq -o {log} -e trace=execve,execveat,open,openat "$0"' $PLUGIN"#
    );
    let conf = seed(&world);
    for command in ["ADD", "CHECK", "DEL"] {
        world.scripted(&script, command, &conf).run().expect_success();
        let trace = fs::read_to_string(&log).expect("there");
        let started: Vec<_> = trace.lines().filter(|line| line.contains("exec")).collect();
        assert_eq!(started.len(), 1, "{command}: {started:?}");
        assert!(started[0].contains("/firewallnetns\""), "{command}: {started:?}");
        assert!(trace.contains("open"), "files are seen too: {trace}");
        for other in ["xtables.lock", "/sbin/", "iptables", "/etc/protocols", "/etc/services"] {
            assert!(!trace.contains(other), "{command} opens {other}: {trace}");
        }
        let dump = world.sandbox.container.dump();
        let both = [":FORWARD DROP", "-A INPUT -p tcp -m tcp --dport 8080 -j ACCEPT"];
        let expected = if command == "DEL" { 0 } else { 2 };
        assert_eq!(both.map(|line| dump.matches(line).count()), [expected; 2], "{command}: {dump}");
    }
}

/// The batch itself tells that its rules are in force: they are not listed for that.
#[test]
fn it_asks_the_kernel_twice_before_the_batch_and_once_after() {
    let world = World::new();
    let log = world.path("trace");
    let script = format!("exec strace -qq -o {log} -e trace=sendto $PLUGIN");
    let rules: Vec<_> =
        (0..300).map(|number| rule("INPUT", &format!("-p tcp --dport {number} -j ACCEPT"))).collect();
    world.scripted(&script, "ADD", &world.conf(&json!({ "rules": rules }))).run().expect_success();
    let trace = fs::read_to_string(&log).expect("there");
    assert_eq!(trace.lines().count(), 4, "{trace}");
}
