//! The daemon ends, and comes back: nothing that was registered is lost, nothing that was answered is lost, and nothing
//! is served that is not what it was.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use fwn_testkit::Netns;
use serde_json::{Value, json};

use crate::kit::{ADDRESS, Daemon, PATIENCE, World, ask, entries, listens, until};

#[test]
fn what_was_served_is_served_again() {
    let world = World::new();
    let daemon = Daemon::start(&world, &[]);
    world.sh("umask 077; echo 0123456789abcdef >/run/token");
    let conf = world.conf(&json!({ "ipsetd": { "tokenFile": "/run/token", "verbs": [ "add" ] } }));
    world.run("ADD", &conf);
    let other = Netns::new();
    world.add("c2", &other.path().display().to_string(), &world.served());
    daemon.kill();
    assert!(!listens(&world.sandbox.container, 9999));
    let (code, message, _) = world.call("CHECK", &conf).run().expect_error();
    assert!(code == 101 && message.contains("cannot connect to ipsetd"), "{message}");

    let mut daemon = Daemon::start(&world, &[]);
    daemon.wait_for("2 containers are served, of 2 registered");
    world.run("CHECK", &conf);
    assert!(listens(&other, 9999));
    assert!(ask(&world, "add blocked 192.0.2.1").starts_with("error: the first line must be"));
    let said = ask(&world, "auth 0123456789abcdef\nadd blocked 192.0.2.1\ndel blocked 192.0.2.1");
    assert_eq!(said, "ok\nok\nerror: `del` is not allowed here\n");
    // asked to end it keeps them, too
    assert_eq!(daemon.stop(), Some(0));
    let _daemon = Daemon::start(&world, &[]);
    world.run("CHECK", &conf);
    world.run("DEL", &conf);
    assert_eq!(world.records().len(), 1);
}

#[test]
fn what_is_gone_meanwhile_is_not_served() {
    let world = World::new();
    let daemon = Daemon::start(&world, &[]);
    let (gone, left) = (Netns::new(), Netns::new());
    world.add("gone", &gone.path().display().to_string(), &world.served());
    // DEL while nobody is there to be told
    world.add("left", &left.path().display().to_string(), &world.served());
    daemon.kill();
    drop(gone);
    let call = world.call("DEL", &world.served()).env("CNI_CONTAINERID", "left");
    call.env("CNI_NETNS", left.path().display().to_string()).run().expect_success();

    let mut daemon = Daemon::start(&world, &[]);
    daemon.wait_for("gone/eth0: its network namespace is gone");
    daemon.wait_for("0 containers are served, of 0 registered");
    assert!(!listens(&left, 9999));
    assert!(world.records().is_empty());
}

/// An inode is used again as soon as it is free, and a path can come to mean anything.
#[test]
fn another_namespace_behind_the_path_is_not_served() {
    let world = World::new();
    let daemon = Daemon::start(&world, &[]);
    let (one, other) = (Netns::new(), Netns::new());
    world.sh(&format!("ln -s {} /run/netns/link", one.path().display()));
    world.add("c9", "/run/netns/link", &world.served());
    daemon.kill();
    let [name] = <[String; 1]>::try_from(world.records()).expect("one");
    let path = world.path("/run/ipsetd/attachments").join(name);
    let record = std::fs::read_to_string(&path).expect("a record");

    // the host's, and one that has the inode of the old one and another number
    for target in [world.sandbox.host.path(), other.path()] {
        world.sh(&format!("ln -sfn {} /run/netns/link", target.display()));
        let mut value: Value = serde_json::from_str(&record).expect("JSON");
        if target == other.path() {
            use std::os::unix::fs::MetadataExt;
            let inode = std::fs::metadata(&target).expect("there").ino();
            assert_ne!(value["netns"]["inode"], json!(inode));
            value["netns"]["inode"] = json!(inode);
        }
        std::fs::write(&path, value.to_string()).expect("written");
        let mut daemon = Daemon::start(&world, &[]);
        daemon.wait_for("c9/eth0: its network namespace is gone");
        daemon.wait_for("0 containers are served, of 0 registered");
        assert!(!listens(&other, 9999) && !listens(&world.sandbox.host, 9999));
        daemon.kill();
    }
}

/// What cannot be served just now stays registered: CHECK says so, and it is tried again.
#[test]
fn a_port_that_was_taken_meanwhile_is_tried_again() {
    let world = World::new();
    let daemon = Daemon::start(&world, &[]);
    world.run("ADD", &world.served());
    daemon.kill();
    let taken = world.sandbox.container.run(|| std::net::TcpListener::bind("[::]:9999")).expect("a listener");
    let mut daemon = Daemon::start(&world, &["--look-every", "1"]);
    daemon.wait_for("c1/eth0: not served: port 9999 is taken in this network namespace");
    daemon.wait_for("0 containers are served, of 1 registered");
    let (code, message, _) = world.call("CHECK", &world.served()).run().expect_error();
    assert!(code == 101 && message.contains("ipsetd refuses: port 9999 is taken"), "{message}");
    drop(taken);
    until("it is served", || world.call("CHECK", &world.served()).run().code == Some(0));
    assert_eq!(ask(&world, "add blocked 192.0.2.1"), "ok\n");
}

#[test]
fn a_damaged_record_does_not_keep_the_others_from_being_served() {
    let world = World::new();
    let daemon = Daemon::start(&world, &[]);
    world.run("ADD", &world.served());
    daemon.kill();
    world.sh("echo '{' >/run/ipsetd/attachments/0.json; echo half >/run/ipsetd/attachments/new");
    let mut daemon = Daemon::start(&world, &[]);
    daemon.wait_for("`/run/ipsetd/attachments/0.json` is damaged");
    daemon.wait_for("1 containers are served, of 1 registered");
    assert_eq!(ask(&world, "add blocked 192.0.2.1"), "ok\n");
}

/// Killed again and again while peers add: whatever was answered `ok` is in the set.
#[test]
fn killed_under_load_nothing_that_was_answered_is_lost() {
    const KILLS: u32 = 5;
    const PEERS: u32 = 3;
    let world = World::new();
    let mut daemon = Daemon::start(&world, &[]);
    let conf = world.conf(&json!({
        "ipsets": [ { "set": "blocked", "hashtype": "hash:ip", "maxElem": 1_000_000 } ],
        "ipsetd": { "allowFrom": [ "10.9.0.1" ] },
    }));
    world.run("ADD", &conf);
    let (ended, answered) = (AtomicBool::new(false), AtomicU32::new(0));
    let confirmed: BTreeSet<u32> = std::thread::scope(|scope| {
        let peers: Vec<_> = (0..PEERS)
            .map(|peer| {
                let (world, ended, answered) = (&world, &ended, &answered);
                scope.spawn(move || load(world, peer, ended, answered))
            })
            .collect();
        for _ in 0..KILLS {
            let before = answered.load(Ordering::Relaxed);
            until("adds are answered", || answered.load(Ordering::Relaxed) > before + 500);
            daemon.child.kill().expect("it runs");
            daemon.child.wait().expect("it ends");
            daemon = Daemon::start(&world, &[]);
        }
        let before = answered.load(Ordering::Relaxed);
        until("adds are answered", || answered.load(Ordering::Relaxed) > before + 500);
        ended.store(true, Ordering::Relaxed);
        peers.into_iter().flat_map(|peer| peer.join().expect("it goes on")).collect()
    });
    let there: BTreeSet<u32> = entries(&world.sandbox.container, "blocked")
        .iter()
        .map(|entry| u32::from(entry.parse::<std::net::Ipv4Addr>().expect("an address")))
        .collect();
    assert!(confirmed.len() > 3000, "{}", confirmed.len());
    let lost: Vec<_> = confirmed.difference(&there).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), confirmed.len());
    world.run("CHECK", &conf);
}

/// Adds addresses of its own, many lines at a time, and connects again whenever the daemon is gone. Gives those that
/// were answered `ok`.
fn load(world: &World, peer: u32, ended: &AtomicBool, answered: &AtomicU32) -> Vec<u32> {
    let mut confirmed = Vec::new();
    let mut next = (10 << 24) | (peer << 20);
    while !ended.load(Ordering::Relaxed) {
        let Ok(stream) = world.sandbox.host.run(|| TcpStream::connect(ADDRESS)) else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        let mut answers = BufReader::new(&stream).lines();
        'connected: while !ended.load(Ordering::Relaxed) {
            let lines: Vec<u32> = (next..next + 50).collect();
            next += 50;
            let text = lines.iter().fold(String::new(), |text, address| {
                text + &format!("add blocked {}\n", std::net::Ipv4Addr::from(*address))
            });
            if (&stream).write_all(text.as_bytes()).is_err() {
                break;
            }
            for address in lines {
                match answers.next() {
                    Some(Ok(answer)) => {
                        assert_eq!(answer, "ok");
                        confirmed.push(address);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => break 'connected,
                }
            }
        }
    }
    confirmed
}
