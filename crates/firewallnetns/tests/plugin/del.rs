//! DEL: whatever is missing or broken, what ADD made goes and nothing else.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::kit::{World, full, rule};

#[test]
fn a_second_one_has_nothing_to_do() {
    let world = World::with_foreign();
    let before = world.container();
    let conf = world.conf(&full());
    world.run("DEL", &conf);
    assert_eq!(world.container(), before, "nor one without an ADD");
    world.run("ADD", &conf);
    for _ in 0..2 {
        world.run("DEL", &conf);
        assert_eq!(world.container(), before);
        assert!(world.state_files().is_empty());
    }
}

/// As after a boot, or where somebody has cleaned `/run`: the marks of the rules and the configuration tell.
#[test]
fn without_a_state_file() {
    let world = World::new();
    world
        .sandbox
        .container
        .sh("ipset create theirs hash:ip; iptables -t nat -A POSTROUTING -o x -j MASQUERADE");
    let before = world.container();
    let conf = world.conf(&full());
    world.run("ADD", &conf);
    world.sandbox.container.sh("ipset add blocked 203.0.113.0/24");
    fs::remove_dir_all(world.path("state")).expect("removed");
    world.run("DEL", &conf);
    assert_eq!(world.container(), before);
}

/// The rules go by their marks; what somebody else made before has policies that no mark tells, and stays closed.
#[test]
fn without_a_state_file_beside_rules_of_others() {
    let world = World::with_foreign();
    let conf = world.conf(&full());
    let rules =
        world.sandbox.container.sh("iptables -S | grep -v -e -P; ip6tables -S | grep -v -e -P; ipset save");
    world.run("ADD", &conf);
    fs::remove_file(world.state_file()).expect("removed");
    world.run("DEL", &conf);
    assert_eq!(
        world.sandbox.container.sh("iptables -S | grep -v -e -P; ip6tables -S | grep -v -e -P; ipset save"),
        rules
    );
}

/// A set of the configuration that somebody else made does not go because its name is there.
#[test]
fn without_a_state_file_and_without_an_add() {
    let world = World::new();
    world.sandbox.container.sh("ipset create blocked hash:net; ipset create open bitmap:port range 0-9");
    let before = world.container();
    world.run("DEL", &world.conf(&full()));
    assert_eq!(world.container(), before);
}

#[test]
fn with_a_damaged_state_file() {
    let world = World::new();
    let before = world.container();
    let conf = world.conf(&full());
    for contents in ["", "{", "{}", "\u{0}\u{0}"] {
        world.run("ADD", &conf);
        fs::write(world.state_file(), contents).expect("written");
        let (message, details) = world.refused(5, &world.call("ADD", &conf));
        assert!(details.contains("a DEL of its attachment removes it"), "{details}");
        assert!(message.starts_with("state file `") && message.contains("` is damaged"), "{message}");
        let answer = world.call("DEL", &conf).run();
        answer.expect_success();
        assert!(answer.stderr.contains("is damaged"), "{answer:?}");
        assert_eq!(world.container(), before);
        assert!(world.state_files().is_empty());
    }
}

#[test]
fn with_an_empty_netns() {
    let world = World::new();
    let conf = world.conf(&full());
    world.run("ADD", &conf);
    let answer = world.call("DEL", &conf).env("CNI_NETNS", "").run();
    assert_eq!(answer.expect_success(), Value::Null);
    let answer = world.call("DEL", &conf).without("CNI_NETNS").run();
    assert_eq!(answer.expect_success(), Value::Null);
    assert!(world.state_files().is_empty());
}

/// A late DEL for a namespace that is gone, after an ADD of the same attachment in a new one.
#[test]
fn with_a_netns_that_is_gone_another_is_left_alone() {
    let world = World::new();
    let before = world.container();
    let conf = world.conf(&full());
    world.run("ADD", &conf);
    let gone = world.call("DEL", &conf).env("CNI_NETNS", world.path("gone")).run();
    assert_eq!(gone.expect_success(), Value::Null);
    world.run("CHECK", &conf);
    world.run("DEL", &conf);
    assert_eq!(world.container(), before);
}

/// Edited since, or with files that are gone: the state file tells what to remove.
#[test]
fn with_a_configuration_that_has_become_wrong() {
    let world = World::with_foreign();
    let before = world.container();
    world.file("a.fw", full().to_string());
    let good = world.conf(&json!({ "fwFiles": ["a"] }));
    for (more, logged) in [
        (json!({ "rulse": [] }), "unknown key `rulse`"),
        (json!({ "fwFiles": ["gone"] }), ""),
        (json!({ "rules": [rule("INPUT", "-j NOWHERE")] }), ""),
        (json!({ "logLevel": 7 }), "logLevel"),
    ] {
        world.run("ADD", &good);
        let answer = world.call("DEL", &world.conf(&more)).run();
        assert_eq!(answer.expect_success(), Value::Null);
        assert!(answer.stderr.contains(logged), "{answer:?}");
        assert_eq!(world.container(), before);
        assert!(world.state_files().is_empty(), "{more}");
    }
}

/// The same without a state file: what can be read of the configuration counts.
#[test]
fn without_a_state_file_and_with_a_wrong_configuration() {
    let world = World::new();
    let before = world.container();
    world.run("ADD", &world.conf(&full()));
    fs::remove_file(world.state_file()).expect("removed");
    let mut wrong = full();
    wrong["rules"] = json!([rule("INPUT", "-j NOWHERE")]);
    let answer = world.call("DEL", &world.conf(&wrong)).run();
    answer.expect_success();
    assert!(answer.stderr.contains("NOWHERE"), "{answer:?}");
    assert_eq!(world.container(), before);
}

/// Rules in our chains, policies changed since, sets that others use by now.
#[test]
fn what_others_did_since_stays() {
    let world = World::new();
    let conf = world.conf(&full());
    world.run("ADD", &conf);
    world
        .sandbox
        .container
        .sh("iptables -A web -s 192.0.2.1 -j DROP; iptables -P OUTPUT DROP; ip6tables -I INPUT -j DROP
         iptables -A FORWARD -m set --match-set blocked src -j DROP; ipset create theirs hash:ip");
    let answer = world.call("DEL", &conf).run();
    answer.expect_success();
    assert!(
        answer.stderr.contains("cannot remove set `blocked`") || answer.stderr.contains("blocked"),
        "{answer:?}"
    );
    let left = world.sandbox.container.dump();
    for line in [
        "-A web -s 192.0.2.1/32 -j DROP",
        ":OUTPUT DROP",
        "-A FORWARD -m set --match-set blocked src -j DROP",
        "-A INPUT -j DROP",
        "create theirs",
        "create blocked",
    ] {
        assert!(left.lines().any(|found| found.starts_with(line)), "{line}: {left}");
    }
    for gone in ["-i lo", "create open", "create all", "MARK", "REJECT"] {
        assert!(!left.contains(gone), "{gone}: {left}");
    }
}

/// Nobody knows what an attachment holds whose state cannot be read: what is closed stays closed.
#[test]
fn a_damaged_state_does_not_open_its_attachment() {
    let world = World::new();
    let conf = world.conf(&json!({ "policies": [{ "chain": "INPUT", "policy": "DROP" }] }));
    world.run("ADD", &conf);
    world.call("ADD", &conf).env("CNI_IFNAME", "eth1").run().expect_success();
    let file = |path: &Path| path.join("net:c1:eth1.json");
    let folders =
        fs::read_dir(world.path("state")).expect("there").map(|entry| entry.expect("an entry").path());
    let damaged = folders.map(|path| file(&path)).find(|path| path.exists()).expect("in one of them");
    fs::write(damaged, "{}").expect("written");

    let answer = world.call("DEL", &conf).run();
    answer.expect_success();
    assert!(answer.stderr.contains("is damaged"), "{answer:?}");
    let left = world.sandbox.container.dump();
    assert_eq!(left.matches(":INPUT DROP").count(), 2, "{left}");
    world.call("DEL", &conf).env("CNI_IFNAME", "eth1").run().expect_success();
    assert!(!world.container().contains("INPUT"));
}
