//! Many calls at the same time.

use std::io::Write;
use std::process::Child;

use fwn_testkit::Netns;
use fwn_testkit::plugin::PluginCall;

use crate::kit::{World, full};

/// Starts a call and gives it its configuration.
fn start(call: &PluginCall<'_>) -> Child {
    let mut child = call.command().spawn().expect("the plugin starts");
    child.stdin.take().expect("piped").write_all(call.stdin().as_bytes()).expect("read");
    child
}

/// Waits for all of them; all must succeed.
fn finish(children: Vec<Child>) {
    for child in children {
        let output = child.wait_with_output().expect("the plugin ends");
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn adds_for_one_container_at_the_same_time() {
    let world = World::with_foreign();
    let before = world.container();
    let conf = world.conf(&full());
    world.run("ADD", &conf);
    let in_force = world.container();
    world.run("DEL", &conf);
    for _ in 0..3 {
        let children: Vec<_> = (0..6).map(|_| start(&world.call("ADD", &conf))).collect();
        finish(children);
        assert_eq!(world.container(), in_force);
        world.run("CHECK", &conf);
        let children: Vec<_> = (0..3).map(|_| start(&world.call("DEL", &conf))).collect();
        finish(children);
        assert_eq!(world.container(), before);
        assert!(world.state_files().is_empty());
    }
}

#[test]
fn adds_and_dels_for_one_container_at_the_same_time() {
    let world = World::with_foreign();
    let before = world.container();
    let conf = world.conf(&full());
    for _ in 0..3 {
        let children: Vec<_> = (0..8)
            .map(|number| start(&world.call(if number % 2 == 0 { "ADD" } else { "DEL" }, &conf)))
            .collect();
        finish(children);
        // whichever came last: it is all or nothing
        if world.container() != before {
            world.run("CHECK", &conf);
        }
        world.run("DEL", &conf);
        assert_eq!(world.container(), before);
    }
}

#[test]
fn fifty_containers_at_the_same_time() {
    let world = World::new();
    let conf = world.conf(&full());
    world.run("ADD", &conf);
    let in_force = world.sandbox.container.dump();
    world.run("DEL", &conf);
    let containers: Vec<_> = (0..50).map(|_| Netns::new()).collect();
    let all = |command: &str| {
        let start = |(number, netns): (usize, &Netns)| {
            let call = world.call(command, &conf).env("CNI_CONTAINERID", format!("many{number}"));
            start(&call.env("CNI_NETNS", netns.path().display().to_string()))
        };
        let children: Vec<_> = containers.iter().enumerate().map(start).collect();
        finish(children);
    };
    all("ADD");
    assert_eq!(world.state_files().len(), 50);
    all("CHECK");
    for container in &containers {
        assert_eq!(container.dump(), in_force);
    }
    all("DEL");
    assert!(world.state_files().is_empty());
    for container in &containers {
        assert_eq!(container.sh("nft list ruleset; ipset save"), "");
    }
}
