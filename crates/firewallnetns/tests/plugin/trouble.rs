//! Folders that cannot be written, programs that are missing or fail, a kernel that refuses at any step.

use std::fs;

use fwn_testkit::plugin::{PluginCall, write_script};
use serde_json::{Value, json};

use crate::kit::{World, full};
use crate::upkeep::without_programs;

#[test]
fn a_state_folder_that_cannot_be_written() {
    let world = World::with_foreign();
    let file = world.file("file", "").display().to_string();
    let mut conf = world.conf(&full());
    conf["stateDir"] = json!(file);
    let (found, _) = world.refused(5, &world.call("ADD", &conf));
    assert!(found.starts_with(&format!("cannot create `{file}`: ")), "{found}");

    // read-only in the plugin's mount namespace, before and after there was a lock
    let conf = world.conf(&full());
    let state = world.path("state");
    fs::create_dir(&state).expect("made");
    let script = format!(
        "exec unshare -m sh -ec 'mount --bind {state} {state}; mount -o remount,ro,bind {state}; exec '$PLUGIN"
    );
    let (found, _) = world.refused(5, &world.scripted(&script, "ADD", &conf));
    assert_eq!(found, format!("cannot open `{state}/lock`: Read-only file system (os error 30)"));
    fs::write(format!("{state}/lock"), "").expect("written");
    let (found, _) = world.refused(5, &world.scripted(&script, "ADD", &conf));
    assert_eq!(found, format!("cannot open `{state}/lock`: Read-only file system (os error 30)"));
    // the lock can be had, the file cannot be written
    let full_disk = format!(
        "exec unshare -m sh -ec 'mount -t tmpfs -o size=4k,mode=700 none {state}; : > {state}/lock; head -c 4096 /dev/zero > {state}/fill; exec '$PLUGIN"
    );
    let (found, _) = world.refused(5, &world.scripted(&full_disk, "ADD", &conf));
    assert!(found.contains("cannot write `") && found.contains("No space left on device"), "{found}");
    // a DEL that cannot remove the state says so, too
    world.run("ADD", &conf);
    let (code, found, _) = world.scripted(&script, "DEL", &conf).run().expect_error();
    assert_eq!((code, found.contains("Read-only file system")), (5, true), "{found}");
    world.run("DEL", &conf);
}

/// Everything, encoded by iptables.
fn by_iptables() -> Value {
    let mut conf = full();
    conf["engine"] = json!("iptables");
    conf
}

#[test]
fn programs_that_are_missing() {
    let world = World::with_foreign();
    let (found, _) = world.refused(100, &without_programs(&world, "ADD", &world.conf(&by_iptables())));
    assert!(found.contains("`iptables-nft-restore` is not in /usr/sbin, "), "{found}");
    // what needs none works
    let before = world.container();
    let conf = world.conf(&json!({ "ipsets": full()["ipsets"], "policies": full()["policies"] }));
    for command in ["ADD", "CHECK", "DEL"] {
        without_programs(&world, command, &conf).run().expect_success();
    }
    assert_eq!(world.container(), before);
    // and what others applied can be removed
    world.run("ADD", &world.conf(&full()));
    for command in ["CHECK", "DEL"] {
        without_programs(&world, command, &world.conf(&full())).run().expect_success();
    }
    assert_eq!(world.container(), before);
}

/// A call where the programs of both families are this script.
fn with_program<'a>(world: &'a World, script: &str, conf: &Value) -> PluginCall<'a> {
    let path = world.path("false-program");
    write_script(path.as_ref(), &format!("#!/bin/bash\n{script}\n"));
    world.scripted(
        &format!("exec unshare -m sh -ec 'mount --bind {path} /usr/sbin/xtables-nft-multi; exec '$PLUGIN"),
        "ADD",
        conf,
    )
}

#[test]
fn programs_that_fail() {
    let world = World::with_foreign();
    let conf = world.conf(&by_iptables());
    let real = world.path("xtables-nft-multi");
    fs::copy("/usr/sbin/xtables-nft-multi", &real).expect("package iptables");
    let half_way = format!(
        "case $0 in *ip6*) echo no luck >&2; exit 1;; esac; exec -a iptables-nft-restore {real} \"$@\""
    );
    for (script, words) in [
        ("cat > /dev/null; echo 'some words' >&2; exit 1", "failed: some words"),
        ("exit 3", "failed: exit status: 3"),
        ("kill -SEGV $$", "was killed by signal 11"),
        ("cat > /dev/null; exit 0", "made more or fewer rules of chain"),
        (&half_way, "`ip6tables-nft-restore` failed: no luck"),
    ] {
        let (found, _) = world.refused(100, &with_program(&world, script, &conf));
        assert!(found.contains(words), "{script}: {found}");
    }
}
