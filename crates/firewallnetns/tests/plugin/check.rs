//! CHECK names whatever is not as ADD left it; what others do elsewhere is none of its business.

use std::fs;

use serde_json::json;

use crate::kit::{World, full, rule};

#[test]
fn every_change_is_named() {
    for (tampering, words) in [
        (
            "iptables -D INPUT -i lo -j ACCEPT",
            vec![
                "rule `-A INPUT -i lo -j ACCEPT` (network configuration: rules[0].rule) is missing in chain `INPUT`, table `filter` (ipv4)",
            ],
        ),
        (
            "ip6tables -D INPUT -i lo -j ACCEPT",
            vec![
                "rule `-A INPUT -i lo -j ACCEPT` (network configuration: rules[0].rule) is missing in chain `INPUT`, table `filter` (ipv6)",
            ],
        ),
        (
            "iptables -I INPUT -j ACCEPT",
            vec![
                "rule 1 of chain `INPUT` was added later and stands before `-A INPUT -i lo -j ACCEPT` (network",
            ],
        ),
        (
            "iptables -R INPUT 3 -i lo -j DROP",
            vec!["rule `-A INPUT -i lo -j ACCEPT` (network configuration: rules[0].rule) is missing"],
        ),
        (
            "iptables -P INPUT ACCEPT",
            vec!["policy of chain `INPUT` is ACCEPT instead of DROP, table `filter` (ipv4)"],
        ),
        (
            "ip6tables -P INPUT ACCEPT",
            vec!["policy of chain `INPUT` is ACCEPT instead of DROP, table `filter` (ipv6)"],
        ),
        ("iptables -F web", vec!["is missing in chain `web`"]),
        (
            "iptables -F INPUT; iptables -F web; iptables -X web",
            vec![
                "chain `web` is missing",
                "rules[0].rule) is missing",
                "rules[1].rule) is missing",
                "rules[2].rule) is missing",
            ],
        ),
        ("nft delete table ip mangle", vec!["table `mangle` (ipv4) is missing"]),
        (
            "nft delete chain ip6 mangle PREROUTING",
            vec!["chain `PREROUTING` is missing, table `mangle` (ipv6)"],
        ),
        (
            "nft replace rule ip filter web handle $(nft -a list chain ip filter web | sed -n 's/.*# handle //p' | tail -n1) counter accept",
            vec!["is missing in chain `web`"],
        ),
        (
            "iptables -F INPUT; ipset destroy all; ipset create x hash:net; ipset swap blocked x; iptables -F; ip6tables -F; ipset destroy blocked; ipset destroy x",
            vec!["set `blocked` is missing", "set `all` is missing"],
        ),
        (
            "iptables -F; ip6tables -F; ipset destroy all; ipset destroy blocked; ipset create blocked hash:ip",
            vec!["set `blocked` has type `hash:ip`, and had `hash:net`"],
        ),
        ("nft add table ip filter '{ flags dormant; }'", vec!["table `filter` (ipv4) is dormant"]),
    ] {
        let world = World::with_foreign();
        let conf = world.conf(&full());
        world.run("ADD", &conf);
        world.run("CHECK", &conf);
        world.sandbox.container.sh(tampering);
        let (found, _) = world.refused(101, &world.call("CHECK", &conf));
        for words in words {
            assert!(
                found.lines().any(|line| line.contains(words)),
                "{tampering}: expected `{words}`, found `{found}`"
            );
        }
    }
}

#[test]
fn what_others_do_elsewhere_is_no_difference() {
    let world = World::with_foreign();
    let conf = world.conf(&full());
    world.run("ADD", &conf);
    world.sandbox.container.sh(
        "iptables -N other; iptables -A other -j DROP; iptables -A FORWARD -j other; iptables -P FORWARD ACCEPT
         iptables -t raw -A PREROUTING -j ACCEPT; ipset create other hash:ip; ipset add blocked 203.0.113.0/24
         ipset flush open; nft add table inet other; iptables -D INPUT -s 192.0.2.1 -j DROP");
    world.run("CHECK", &conf);
}

#[test]
fn an_add_again_puts_it_right() {
    let world = World::with_foreign();
    let conf = world.conf(&full());
    world.run("ADD", &conf);
    let in_force = world.container();
    world
        .sandbox
        .container
        .sh("iptables -D INPUT -i lo -j ACCEPT; ip6tables -P INPUT ACCEPT; iptables -F web");
    world.refused(101, &world.call("CHECK", &conf));
    world.run("ADD", &conf);
    assert_eq!(world.container(), in_force);
    world.run("CHECK", &conf);
}

/// The record counts, not the files of today.
#[test]
fn edited_files_are_no_difference() {
    let world = World::new();
    world.file("a.fw", full().to_string());
    let conf = world.conf(&json!({ "fwFiles": ["a"] }));
    world.run("ADD", &conf);
    world.file("a.fw", "{ broken");
    world.run("CHECK", &conf);
    fs::remove_file(world.path("data/a.fw")).expect("removed");
    world.run("CHECK", &conf);
}

#[test]
fn without_an_add_there_is_nothing_to_check() {
    let world = World::new();
    let conf = world.conf(&json!({ "rules": [rule("INPUT", "-j DROP")] }));
    let (found, details) = world.refused(101, &world.call("CHECK", &conf));
    assert_eq!(found, format!("no ADD of `net/c1/eth0` is known in `{}`", world.netns()));
    assert!(details.contains("DEL and then ADD puts"), "{details}");
}

/// Behind all rules of ours stands the policy; a rule that accepts before it opens what it closes, one that does not is
/// no matter.
#[test]
fn rules_between_ours_and_a_closed_policy() {
    let world = World::with_foreign();
    let conf = world.conf(&full());
    world.run("ADD", &conf);
    world
        .sandbox
        .container
        .sh("iptables -A INPUT -j DROP; iptables -A INPUT -j LOG; iptables -A OUTPUT -j ACCEPT");
    world.run("CHECK", &conf);
    world.sandbox.container.sh("ip6tables -A INPUT -s 2001:db8::2 -j ACCEPT; iptables -A INPUT -j theirs");
    let (found, _) = world.refused(101, &world.call("CHECK", &conf));
    assert_eq!(
        found,
        "rule 8 of chain `INPUT` was added later and accepts before policy DROP, table `filter` (ipv4)\n\
         rule 3 of chain `INPUT` was added later and accepts before policy DROP, table `filter` (ipv6)"
    );
}

/// Saved and restored, as operators do: the marks of all rules are lost, and with them who made what. The record still
/// knows.
#[test]
fn rules_that_were_saved_and_restored() {
    const RESTORE: &str =
        "iptables-save -c > $F; iptables-restore -c < $F; ip6tables-save > $F; ip6tables-restore < $F";
    let world = World::with_foreign();
    // restoring a table makes all of its built-in chains
    let dump = || {
        let text = world.sandbox.container.dump();
        let says_something = |line: &&str| {
            line.starts_with("-A")
                || !(line.starts_with('*') || *line == "COMMIT" || line.ends_with(" ACCEPT"))
        };
        text.lines().filter(says_something).collect::<Vec<_>>().join("\n")
    };
    let restore = format!("F={}; {RESTORE}", world.path("saved"));
    world.sandbox.container.sh(&restore);
    let before = dump();
    let conf = world.conf(&full());
    let other = world.conf(&json!({ "rules": [rule("INPUT", "-i lo -j ACCEPT")] }));
    world.run("ADD", &conf);
    let in_force = dump();
    world.call("ADD", &other).env("CNI_IFNAME", "eth1").run().expect_success();
    world.sandbox.container.sh(&restore);
    let (found, _) = world.refused(101, &world.call("CHECK", &conf));
    let lines: Vec<_> = found.lines().collect();
    assert_eq!(lines.len(), 4, "{found}");
    assert!(lines.iter().all(|line| line.contains("have lost their marks")), "{found}");

    world.run("ADD", &conf);
    world.run("CHECK", &conf);
    world.call("DEL", &other).env("CNI_IFNAME", "eth1").run().expect_success();
    assert_eq!(dump(), in_force);
    world.sandbox.container.sh(&restore);
    world.run("DEL", &conf);
    assert_eq!(dump(), before);
}
