//! Calls for a container while a delegate of another one runs. A call gives its lock up for its delegates; what others
//! put in force meanwhile is not for it to forget.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

use fwn_testkit::plugin::PluginCall;
use serde_json::{Value, json};

use crate::delegate::{Delegating, of_result};

/// Where the delegate waits.
fn gate(it: &Delegating) -> String {
    it.world.path("gate")
}

/// A delegate whose DEL ends when it may.
fn slow(it: &Delegating) -> Value {
    let gate = gate(it);
    it.world.sandbox.host.sh(&format!("mkfifo {gate}"));
    let result = r#"{"cniVersion":"1.0.0","ips":[{"address":"10.5.0.7/24","gateway":"10.5.0.1"}]}"#;
    it.script("slow", &format!("case $CNI_COMMAND in ADD) echo '{result}' ;; DEL) cat {gate} ;; esac"));
    json!({ "type": "slow" })
}

/// Runs a call that must succeed, and `meanwhile` when it has come to the DEL of its delegate.
fn held_up(it: &Delegating, call: &PluginCall<'_>, meanwhile: impl FnOnce()) {
    // refused as long as there is nobody to read
    let open = || OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(gate(it));
    std::thread::scope(|scope| {
        let held = scope.spawn(|| call.run());
        let gate = loop {
            match open() {
                Err(_) if !held.is_finished() => std::thread::yield_now(),
                gate => break gate,
            }
        };
        let called = gate.is_ok();
        if called {
            meanwhile();
        }
        drop(gate);
        held.join().expect("it ran").expect_success();
        assert!(called, "its delegate is called");
    });
}

#[test]
fn an_add_outlives_a_del_that_found_no_state() {
    let it = Delegating::new();
    let mut conf = it.conf("1.0.0", &slow(&it), &of_result());
    held_up(&it, &it.call("DEL", &conf), || drop(it.run("ADD", &conf)));
    conf["prevResult"] = json!({ "cniVersion": "1.0.0" });
    it.run("CHECK", &conf);
}

/// The interface is another plugin's by then.
#[test]
fn an_add_outlives_the_del_of_one_with_delegates() {
    let it = Delegating::new();
    let conf = it.conf("1.0.0", &slow(&it), &of_result());
    let chained = it.world.conf(&of_result());
    it.run("ADD", &conf);
    held_up(&it, &it.call("DEL", &conf), || drop(it.run("ADD", &chained)));
    it.run("CHECK", &chained);
    it.run("DEL", &chained);
    it.assert_clean();
}

/// What GC has listed can be gone, and made anew, when it comes to it.
#[test]
fn adds_outlive_a_gc() {
    let it = Delegating::new();
    let conf = it.conf("1.0.0", &slow(&it), &of_result());
    let chained = it.world.conf(&of_result());
    let second = |command: &str| {
        it.call(command, &chained).env("CNI_CONTAINERID", "c2").run().expect_success();
    };
    it.run("ADD", &conf);
    second("ADD");
    let mut gc = conf.clone();
    gc["cniVersion"] = json!("1.1.0");
    gc["cni.dev/valid-attachments"] = json!([]);
    held_up(&it, &it.call("GC", &gc), || {
        it.run("ADD", &chained);
        second("DEL");
        second("ADD");
    });
    it.run("CHECK", &chained);
    second("CHECK");
    it.run("DEL", &chained);
    second("DEL");
    it.assert_clean();
}
