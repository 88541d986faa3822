//! ADD once more, with the same and with other rules; and two attachments of one container.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::kit::{World, full, rule};

#[test]
fn add_again_replaces_and_keeps_what_came_into_sets() {
    let world = World::with_foreign();
    let before = world.container();
    let conf = world.conf(&full());
    world.run("ADD", &conf);
    let once = world.container();
    let state = fs::read_to_string(world.state_file()).expect("there");
    world.run("ADD", &conf);
    assert_eq!(world.container(), once);
    let again: Value =
        serde_json::from_str(&fs::read_to_string(world.state_file()).expect("there")).expect("JSON");
    let state: Value = serde_json::from_str(&state).expect("JSON");
    assert_eq!(again["record"]["tables"][0]["policies"], state["record"]["tables"][0]["policies"]);

    world.sandbox.container.sh("ipset add blocked 203.0.113.0/24; ipset add open 8; iptables -Z");
    let with_entries = world.container();
    world.run("ADD", &conf);
    assert_eq!(world.container(), with_entries);
    world.run("CHECK", &conf);
    world.run("DEL", &conf);
    assert_eq!(world.container(), before);
}

#[test]
fn add_again_with_other_contents() {
    let world = World::with_foreign();
    let before = world.container();
    let other = json!({
        "ipsets": [
            { "set": "blocked", "hashtype": "hash:net", "timeout": 60, "entries": ["192.0.2.0/24"] },
            { "set": "more", "hashtype": "hash:ip", "hashfamily": "inet6" },
        ],
        "policies": [{ "chain": "FORWARD", "policy": "ACCEPT" }],
        "rules": [rule("OUTPUT", "-m set --match-set more dst -j DROP"), rule("INPUT", "-m set --match-set blocked src -j DROP")],
        "chains": [{ "chain": "other" }],
    });
    let fresh = World::with_foreign();
    fresh.run("ADD", &fresh.conf(&other));
    world.run("ADD", &world.conf(&full()));
    world.run("ADD", &world.conf(&other));
    // with nothing in it, all but an empty attachment is gone; which is allowed, but worth a word
    let empty = world.call("ADD", &world.conf(&json!({}))).run();
    empty.expect_success();
    assert!(empty.stderr.ends_with("nothing is configured: the container stays open\n"), "{}", empty.stderr);
    assert_eq!(world.container(), before);
    world.run("ADD", &world.conf(&full()));
    world.run("ADD", &world.conf(&other));
    let saved = world.sandbox.container.dump();
    // what the set held stays, with the timeout of the new set
    assert!(saved.contains("add blocked 198.51.100.0/24"), "{saved}");
    world.sandbox.container.sh("ipset del blocked 198.51.100.0/24");
    let lines = |world: &World| {
        let dump = world.sandbox.container.dump();
        // time runs
        let mut lines: Vec<_> =
            dump.lines().map(|line| line.split(" timeout").next().unwrap_or(line).to_owned()).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(&world), lines(&fresh));
    world.run("CHECK", &world.conf(&other));
    world.run("DEL", &world.conf(&other));
    assert_eq!(world.container(), before);
}

/// A set that is in force cannot change its type under the rules that use it: the old firewall stays.
#[test]
fn add_again_with_another_type_of_a_set() {
    let world = World::with_foreign();
    world.run("ADD", &world.conf(&full()));
    let mut other = full();
    other["ipsets"][0] = json!({ "set": "blocked", "hashtype": "hash:ip" });
    let (found, _) = world.refused(100, &world.call("ADD", &world.conf(&other)));
    assert_eq!(
        found,
        "network configuration: ipsets[0]: set `blocked` is in force as `hash:net ipv4` and cannot become `hash:ip ipv4` before a DEL"
    );
    world.run("CHECK", &world.conf(&full()));
}

/// An ADD again that fails leaves the old firewall, its sets and its state.
#[test]
fn a_failed_add_again_changes_nothing() {
    let world = World::with_foreign();
    let conf = world.conf(&full());
    world.run("ADD", &conf);
    let state = fs::read(world.state_file()).expect("there");
    let mut other = full();
    other["ipsets"][0]["entries"] = json!(["203.0.113.0/24"]);
    let small = json!({ "set": "small", "hashtype": "hash:ip", "maxElem": 1, "hashsize": 64, "entries": ["10.0.0.1", "10.0.0.2"] });
    other["ipsets"].as_array_mut().expect("a list").push(small);
    let (found, _) = world.refused(100, &world.call("ADD", &world.conf(&other)));
    assert!(found.starts_with("network configuration: ipsets[3].entries[1]: cannot add to set `small` the entry `10.0.0.2`: the set is full"), "{found}");
    assert_eq!(fs::read(world.state_file()).expect("there"), state);
    world.run("CHECK", &conf);
}

/// Rules of others that stand between ours stay where they are.
#[test]
fn rules_of_others_stay_where_they_are() {
    let world = World::new();
    let conf = world.conf(&json!({ "rules": [
        rule("INPUT", "-p tcp --dport 1 -j ACCEPT"), rule("INPUT", "-p tcp --dport 2 -j ACCEPT"),
    ] }));
    world.run("ADD", &conf);
    world
        .sandbox
        .container
        .sh("iptables -I INPUT 2 -s 192.0.2.1 -j DROP; iptables -A INPUT -s 192.0.2.2 -j DROP");
    world.run("ADD", &conf);
    let rules = world.sandbox.container.sh("iptables -S INPUT");
    let theirs: Vec<_> = rules.lines().filter(|line| line.contains("192.0.2.")).collect();
    assert_eq!(theirs, ["-A INPUT -s 192.0.2.1/32 -j DROP", "-A INPUT -s 192.0.2.2/32 -j DROP"]);
    assert_eq!(rules.matches("--dport 1 ").count(), 1);
    world.run("DEL", &conf);
    assert_eq!(
        world.sandbox.container.sh("iptables -S INPUT"),
        "-P INPUT ACCEPT\n-A INPUT -s 192.0.2.1/32 -j DROP\n-A INPUT -s 192.0.2.2/32 -j DROP\n"
    );
}

#[test]
fn two_attachments_of_one_container() {
    for eth0_goes_first in [true, false] {
        let world = World::with_foreign();
        let before = world.container();
        let one = world.conf(&json!({
            "ipsets": [{ "set": "one", "hashtype": "hash:ip" }],
            "policies": [{ "chain": "INPUT", "policy": "DROP" }, { "chain": "OUTPUT", "policy": "DROP" }],
            "rules": [rule("INPUT", "-i $CNI_IFNAME -m set --match-set one src -j ACCEPT")],
        }));
        let two = world.conf(&json!({
            "ipsets": [{ "set": "two", "hashtype": "hash:ip" }],
            "policies": [{ "chain": "INPUT", "policy": "ACCEPT" }],
            "rules": [rule("INPUT", "-i $CNI_IFNAME -m set --match-set two src -j ACCEPT")],
        }));
        let call = |command: &str, interface: &str| {
            let conf = if interface == "eth0" { &one } else { &two };
            world.call(command, conf).env("CNI_IFNAME", interface).run().expect_success();
        };
        let policy =
            || world.sandbox.container.sh("iptables -S INPUT | head -n1; ip6tables -S INPUT | head -n1");
        call("ADD", "eth0");
        let only_one = world.container();
        assert_eq!(policy(), "-P INPUT DROP\n-P INPUT DROP\n");
        call("ADD", "eth1");
        assert_eq!(policy(), "-P INPUT ACCEPT\n-P INPUT ACCEPT\n", "the latest counts");
        call("CHECK", "eth0");
        call("CHECK", "eth1");
        if eth0_goes_first {
            call("DEL", "eth0");
            assert_eq!(policy(), "-P INPUT ACCEPT\n-P INPUT ACCEPT\n");
            let dump = world.sandbox.container.dump();
            assert!(dump.contains("--match-set two") && !dump.contains("one"), "{dump}");
            call("CHECK", "eth1");
            call("DEL", "eth1");
        } else {
            call("DEL", "eth1");
            assert_eq!(world.container(), only_one);
            call("CHECK", "eth0");
            call("DEL", "eth0");
        }
        assert_eq!(world.container(), before);
        assert!(world.state_files().is_empty());
    }
}

/// Two networks on one container are two attachments, too; a set of one is not the other's to take.
#[test]
fn a_set_of_another_attachment_is_not_taken() {
    let world = World::new();
    let mut other = world.conf(&full());
    other["name"] = json!("other");
    world.run("ADD", &world.conf(&full()));
    let (found, _) = world.refused(100, &world.call("ADD", &other).env("CNI_IFNAME", "eth1"));
    assert!(found.contains("set `blocked` exists already and belongs to"), "{found}");
}

/// The kernel does not swap a set while its listing is read. Nothing of it is lost.
#[test]
fn add_again_waits_for_who_lists_a_set_but_not_for_ever() {
    let world = World::new();
    let conf = world.conf(&json!({
        "ipsets": [{ "set": "many", "hashtype": "hash:ip", "maxElem": 100_000, "entries": ["192.0.2.1"] }],
        "rules": [rule("INPUT", "-m set --match-set many src -j DROP")],
    }));
    world.run("ADD", &conf);
    // more than fits into pipe and socket: who lists it waits for a reader
    let container = &world.sandbox.container;
    container.sh("seq 80000 | awk '{ printf \"add many 10.%d.%d.%d\\n\", $1 / 65536, $1 / 256 % 256, $1 % 256 }' | ipset restore");
    let before = world.container();
    let mut listing =
        container.command("ipset").arg("save").stdout(Stdio::piped()).spawn().expect("ipset runs");
    let mut lines = BufReader::new(listing.stdout.take().expect("piped")).lines();
    lines.next().expect("the listing has begun").expect("text");
    let (message, _) = world.refused(11, &world.call("ADD", &conf));
    assert!(
        message.contains("`many`") && message.contains("somebody lists one of the two sets"),
        "{message}"
    );
    assert_eq!(world.container(), before);
    // nobody reads on, so it ends
    drop(lines);
    world.run("ADD", &conf);
    listing.wait().expect("it ends");
    assert_eq!(world.container(), before);
    world.run("CHECK", &conf);
}
