//! Killed before any step, held up, or refused by the kernel at any step: what is half done never stays.
//!
//! `strace` stands between plugin and kernel. It follows the main thread alone, which makes every change, so that the
//! N-th system call is the same one in every run.

use fwn_testkit::plugin::PluginCall;
use serde_json::{Value, json};

use crate::kit::{World, full, rule};

/// The system calls by which a step begins or ends.
const STEPS: [&str; 9] = ["sendto", "open", "openat", "write", "rename", "unlink", "setns", "fsync", "mkdir"];
/// More of one kind than this and the sweep would take too long to be run each time.
const MOST: usize = 60;

/// A call with something injected at the N-th step.
fn injected<'a>(world: &'a World, what: &str, number: usize, command: &str, conf: &Value) -> PluginCall<'a> {
    let script = format!("exec strace -qq -o /dev/null -e inject={what}:when={number} $PLUGIN");
    world.scripted(&script, command, conf)
}

/// Kills `command` at every step in turn; `after` is told which, and given what is there then. Gives the number of
/// steps.
fn killed_at_every_step(world: &World, command: &str, conf: &Value, mut after: impl FnMut(usize)) -> usize {
    let mut killed = 0;
    for step in STEPS {
        let mut ended = (1..MOST).filter(|number| {
            let answer = injected(world, &format!("{step}:signal=KILL"), *number, command, conf).run();
            // strace ends as the plugin did
            assert!(answer.code == Some(0) || answer.code.is_none(), "{step} {number}: {answer:?}");
            killed += usize::from(answer.code.is_none());
            after(killed);
            answer.code == Some(0)
        });
        assert!(ended.next().is_some(), "more than {MOST} of {step}");
    }
    killed
}

/// With entries that are kept and saved.
fn persistent() -> Value {
    let mut conf = full();
    conf["ipsets"][0]["persist"] = json!(true);
    conf
}

#[test]
fn an_add_killed_at_any_step_is_cleaned_up_by_a_del() {
    let world = World::with_foreign();
    let before = world.container();
    let conf = world.conf(&full());
    let steps = killed_at_every_step(&world, "ADD", &conf, |number| {
        world.run("DEL", &conf);
        assert_eq!(world.container(), before, "{number}");
        assert!(world.state_files().is_empty(), "{number}: {:?}", world.state_files());
    });
    assert!(steps > 30, "too few to be true: {steps}");
}

#[test]
fn an_add_killed_at_any_step_can_be_repeated() {
    let world = World::with_foreign();
    let before = world.container();
    let conf = world.conf(&full());
    world.run("ADD", &conf);
    let in_force = world.container();
    world.run("DEL", &conf);
    killed_at_every_step(&world, "ADD", &conf, |number| {
        world.run("ADD", &conf);
        assert_eq!(world.container(), in_force, "{number}");
        world.run("CHECK", &conf);
        world.run("DEL", &conf);
        assert_eq!(world.container(), before, "{number}");
    });
}

/// CHECK takes no ADD for done that was not, also where the chains that it needs are others'.
#[test]
fn an_add_killed_before_its_rules_are_in_force_fails_a_check() {
    let only_rules = json!({ "rules": [rule("INPUT", "-i lo -j ACCEPT")] });
    for (world, conf) in [(World::new(), full()), (World::with_foreign(), only_rules)] {
        let conf = world.conf(&conf);
        let mut checked = 0;
        killed_at_every_step(&world, "ADD", &conf, |number| {
            if !world.sandbox.container.dump().contains("-A INPUT -i lo") {
                checked += 1;
                let (code, message, _) = world.call("CHECK", &conf).run().expect_error();
                assert_eq!(code, 101, "{number}: {message}");
            }
            world.run("DEL", &conf);
        });
        assert!(checked > 10, "too few to be true: {checked}");
    }
}

/// There is never a moment without a firewall: the old one is in force, or the new one.
#[test]
fn an_add_again_killed_at_any_step_leaves_one_firewall() {
    let world = World::with_foreign();
    let before = world.container();
    let old = world.conf(&full());
    let new = world.conf(&json!({
        "ipsets": [
            { "set": "blocked", "hashtype": "hash:net", "entries": ["203.0.113.0/24"] },
            { "set": "other", "hashtype": "hash:ip" },
        ],
        "policies": [{ "chain": "INPUT", "policy": "DROP" }],
        "rules": [rule("INPUT", "-m set --match-set blocked src -j DROP"), rule("INPUT", "-m set --match-set other src -j DROP")],
    }));
    world.run("ADD", &old);
    killed_at_every_step(&world, "ADD", &new, |number| {
        let dump = world.sandbox.container.dump();
        assert_eq!(dump.matches(":INPUT DROP").count(), 2, "{number}: {dump}");
        assert_eq!(
            dump.matches("-A INPUT -m set --match-set blocked src -j DROP").count(),
            1,
            "{number}: {dump}"
        );
        let (is_old, is_new) = (dump.contains("-A INPUT -i lo"), dump.contains("--match-set other"));
        assert!(is_old != is_new, "{number}: {dump}");
        // DEL or ADD, whichever comes first, finds all of both
        if number % 2 == 0 {
            world.run("DEL", &new);
            assert_eq!(world.container(), before, "{number}");
        }
        world.run("ADD", &old);
        world.run("CHECK", &old);
        let dump = world.sandbox.container.dump();
        assert!(!dump.contains("create other") && !dump.contains("fwn-"), "{number}: {dump}");
    });
    world.run("DEL", &old);
    assert_eq!(world.container(), before);
}

#[test]
fn a_del_killed_at_any_step_can_be_repeated() {
    let world = World::with_foreign();
    let before = world.container();
    let conf = world.conf(&persistent());
    world.run("ADD", &conf);
    killed_at_every_step(&world, "DEL", &conf, |number| {
        world.run("DEL", &conf);
        assert_eq!(world.container(), before, "{number}");
        assert!(world.state_files().is_empty(), "{number}: {:?}", world.state_files());
        world.run("ADD", &conf);
        assert!(world.sandbox.container.dump().contains("add blocked 198.51.100.0/24"), "{number}");
    });
}

/// Another call for the namespace begins when a DEL is over, so it is not forgotten what that one puts in force: nor
/// where the DEL found no state.
#[test]
fn an_add_after_a_slow_del_is_not_forgotten() {
    for state_lost in [false, true] {
        let world = World::new();
        let conf = world.conf(&full());
        world.run("ADD", &conf);
        if state_lost {
            std::fs::remove_file(world.state_file()).expect("removed");
        }
        // the first is a file that a killed call could have left, the second the state
        let slow = injected(&world, "unlink:delay_enter=2000000", 2, "DEL", &conf);
        std::thread::scope(|scope| {
            let del = scope.spawn(|| slow.run());
            while world.sandbox.container.dump().contains("-A INPUT -i lo") {
                std::thread::yield_now();
            }
            world.run("ADD", &conf);
            let answer = del.join().expect("it ran");
            assert_eq!(answer.code, Some(0), "{answer:?}");
        });
        world.run("CHECK", &conf);
    }
}

/// Whichever message the kernel does not take, and whichever file cannot be written: all or nothing.
#[test]
fn an_add_refused_at_any_step_changes_nothing() {
    let world = World::with_foreign();
    let before = world.container();
    let conf = world.conf(&full());
    let refusals =
        ["sendto:error=ENOBUFS", "rename:error=ENOSPC", "open:error=EMFILE", "openat:error=EMFILE"];
    let mut never = Vec::new();
    for what in refusals.into_iter().chain(["setns:error=EPERM"]) {
        let mut refused = 0;
        for number in 1..MOST {
            let answer = injected(&world, what, number, "ADD", &conf).run();
            if answer.code == Some(0) {
                // it came through all the same, or there are no more
                world.run("CHECK", &conf);
                world.run("DEL", &conf);
                assert_eq!(world.container(), before, "{what} {number}");
                if number > refused + 5 {
                    break;
                }
                continue;
            }
            refused += 1;
            assert_eq!(world.container(), before, "{what} {number}: {answer:?}");
            if !answer.stdout.is_empty() {
                let (_, message, _) = answer.expect_error();
                assert!(!message.is_empty());
            }
        }
        if refused == 0 {
            never.push(what);
        }
    }
    // the C library chooses how it opens files
    assert!(never == ["open:error=EMFILE"] || never == ["openat:error=EMFILE"], "{never:?}");
}

/// The same where an earlier ADD is in force: the old firewall stays, or the new one is in force and known.
#[test]
fn an_add_again_refused_at_any_step_leaves_one_firewall() {
    let world = World::with_foreign();
    let before = world.container();
    let old = world.conf(&full());
    let new = world.conf(&json!({
        "ipsets": [{ "set": "other", "hashtype": "hash:ip" }],
        "policies": [{ "chain": "INPUT", "policy": "DROP" }],
        "rules": [rule("INPUT", "-m set --match-set other src -j DROP")],
    }));
    world.run("ADD", &old);
    let in_force = world.container();
    for what in ["sendto:error=ENOBUFS", "rename:error=ENOSPC", "setns:error=EPERM"] {
        let mut is_new = 0;
        for number in 1..MOST {
            let answer = injected(&world, what, number, "ADD", &new).run();
            if world.container() == in_force {
                assert_ne!(answer.code, Some(0), "{what} {number}");
            } else {
                is_new += 1;
                if answer.code != Some(0) {
                    let (_, message, _) = answer.expect_error();
                    assert!(
                        message.starts_with("the firewall is in force, but "),
                        "{what} {number}: {message}"
                    );
                }
                let dump = world.sandbox.container.dump();
                assert!(
                    dump.contains("--match-set other") && !dump.contains("-i lo"),
                    "{what} {number}: {dump}"
                );
                assert_eq!(dump.matches(":INPUT DROP").count(), 2, "{what} {number}: {dump}");
                if number % 2 == 0 {
                    world.run("DEL", &new);
                    assert_eq!(world.container(), before, "{what} {number}");
                }
                world.run("ADD", &old);
                assert_eq!(world.container(), in_force, "{what} {number}");
            }
            world.run("CHECK", &old);
            if answer.code == Some(0) {
                break;
            }
        }
        assert!(is_new > 0, "{what}");
    }
}
