//! What it is for: a set in a container changes from outside, by a peer that may.

use std::io::{Read, Write};

use fwn_testkit::Netns;
use serde_json::json;

use crate::kit::{ADDRESS, Daemon, World, ask, connect, entries, exchange, ipsetd, listens, until};

/// The seed: all policies DROP, two rules that let one host in, `echo ... | ncat`. The container has nothing of ours.
#[test]
fn a_peer_that_the_firewall_lets_in_changes_a_set() {
    let world = World::new();
    let daemon = Daemon::start(&world, &[]);
    let conf = world.conf(&json!({
        "vars": { "IPSETD_ADMIN": "10.9.0.1" },
        "fwFiles": [ "default-policy", "allow-nd", "ipsetd-admin" ],
        "ipsets": [ { "set": "blacklistsmtp", "hashtype": "hash:ip" } ],
        "ipsetd": {},
    }));
    world.run("ADD", &conf);
    world.run("CHECK", &conf);
    world.run("STATUS", &conf);
    let said = world.sh("echo 'add blacklistsmtp 12.12.13.12' | ncat 10.9.0.2 9999");
    assert_eq!(said, "ok\n");
    world.sandbox.container.sh("ipset test blacklistsmtp 12.12.13.12");
    // from inside, loopback is not even let through; from another address nothing comes about
    world.sandbox.host.sh("ip addr add 10.9.0.3/24 dev host0");
    let other = world.sandbox.host.try_sh("echo 'flush blacklistsmtp' | ncat -w 1 -s 10.9.0.3 10.9.0.2 9999");
    assert!(!other.status.success() && other.stdout.is_empty(), "{other:?}");
    world.run("DEL", &conf);
    until("the port is closed", || !listens(&world.sandbox.container, 9999));
    assert!(world.records().is_empty());
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn an_allow_list_a_token_and_what_may_be_done_are_kept() {
    let world = World::new();
    world.sh("umask 077; echo 0123456789abcdef >/run/token");
    let mut daemon = Daemon::start(&world, &[]);
    let conf = world.conf(&json!({
        "ipsets": [ { "set": "blocked", "hashtype": "hash:ip" }, { "set": "other", "hashtype": "hash:ip" } ],
        "ipsetd": {
            "port": 9378, "allowFrom": [ "10.9.0.1" ], "tokenFile": "/run/token", "sets": [ "blocked" ],
            "verbs": [ "add" ],
        },
    }));
    world.run("ADD", &conf);
    let address = "10.9.0.2:9378";
    let said = exchange(
        &world.sandbox.host,
        address,
        "auth 0123456789abcdef\nadd blocked 192.0.2.1\nadd other 192.0.2.1\ndel blocked 192.0.2.1\n",
    );
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        lines,
        ["ok", "ok", "error: set `other` is not allowed here", "error: `del` is not allowed here"]
    );
    assert!(
        exchange(&world.sandbox.host, address, "add blocked 192.0.2.2").starts_with("error: the first line")
    );
    world.sandbox.host.sh("ip addr add 10.9.0.3/24 dev host0");
    let said = world.sh("echo 'add blocked 192.0.2.3' | ncat -s 10.9.0.3 10.9.0.2 9378");
    assert_eq!(said, "error: `10.9.0.3` is not on the allow-list\n");
    // the workload itself, by whatever address
    world.sandbox.container.sh("ip addr add 10.9.0.1/32 dev lo");
    for own in ["127.0.0.1", "10.9.0.2"] {
        let said = exchange(&world.sandbox.container, &format!("{own}:9378"), "auth 0123456789abcdef");
        assert!(said.contains("is an address of this network namespace"), "{said}");
    }
    world.sandbox.container.sh("ip addr del 10.9.0.1/32 dev lo");
    assert_eq!(entries(&world.sandbox.container, "blocked"), ["192.0.2.1"]);
    daemon.wait_for("c1/eth0: 10.9.0.3:");
}

#[test]
fn each_interface_and_each_container_has_its_port() {
    let world = World::new();
    let daemon = Daemon::start(&world, &[]);
    let port = |port: u16| {
        world.conf(&json!({ "ipsetd": { "port": port, "allowFrom": [ "10.9.0.1", "fd09::/64" ] } }))
    };
    world.run("ADD", &port(9999));
    // a second attachment of the same container: the sets are one, and so is the socket for them
    let mut second = port(9998);
    second["name"] = json!("second");
    second["ipsets"] = json!([ { "set": "more", "hashtype": "hash:ip" } ]);
    let call = world.call("ADD", &second).env("CNI_IFNAME", "eth1");
    call.run().expect_success();
    let call = world.call("ADD", &port(9998)).env("CNI_IFNAME", "eth2");
    let (_, message, _) = call.run().expect_error();
    assert!(message.contains("port 9998 serves interface `eth1` of container `c1`"), "{message}");
    // the same port elsewhere is another one
    let other = Netns::new();
    world.add("c2", &other.path().display().to_string(), &port(9999));
    assert!(listens(&other, 9999));

    assert_eq!(ask(&world, "add blocked 192.0.2.1\nadd more 192.0.2.1"), "ok\nok\n");
    assert_eq!(exchange(&world.sandbox.host, "[fd09::2]:9998", "add more 192.0.2.2"), "ok\n");
    let netlink = std::fs::read_to_string(format!("/proc/{}/net/netlink", world.sandbox.container.pid()));
    // protocol 12 is NETLINK_NETFILTER, and port 0 the kernel: one for sets, and one a port for policies
    let netlink = netlink.expect("read");
    let sockets = netlink.lines().map(|line| line.split_whitespace().skip(1).take(2).collect::<Vec<_>>());
    let netfilter = sockets.filter(|socket| matches!(socket[..], ["12", port] if port != "0")).count();
    assert_eq!(netfilter, 3);

    let text = String::from_utf8(ipsetd(&world, &["status"]).stdout).expect("UTF-8");
    assert!(
        text.contains(": 3 registered, 3 listening, 0 connections\n3 requests, 3 changes, 0 errors\n"),
        "{text}"
    );
    assert!(text.contains("net c1 eth0: port 9999, 2 requests, /proc/"), "{text}");
    let json = ipsetd(&world, &["status", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!((&json["registered"], &json["containers"][1]["port"]), (&json!(3), &json!(9998)));

    // one goes, the other stays
    world.run("DEL", &port(9999));
    until("one port is closed", || !listens(&world.sandbox.container, 9999));
    assert!(listens(&world.sandbox.container, 9998));
    let mut gc = port(9999);
    gc["name"] = json!("second");
    gc["cni.dev/valid-attachments"] = json!([]);
    world.run("GC", &gc);
    until("the other is closed", || !listens(&world.sandbox.container, 9998));
    assert_eq!(world.records().len(), 1);
    drop(daemon);
}

/// An ADD again changes what is served, and breaks nothing off that goes on.
#[test]
fn a_registration_twice_replaces() {
    let world = World::new();
    let _daemon = Daemon::start(&world, &[]);
    world.run("ADD", &world.served());
    world.run("ADD", &world.served());
    assert_eq!(ask(&world, "add blocked 192.0.2.1"), "ok\n");
    assert_eq!(world.records().len(), 1);
    // other rules on the same port
    world.run("ADD", &world.conf(&json!({ "ipsetd": { "allowFrom": [ "10.9.0.1" ], "verbs": [ "test" ] } })));
    assert_eq!(
        ask(&world, "add blocked 192.0.2.2\ntest blocked 192.0.2.1"),
        "error: `add` is not allowed here\nok in\n"
    );
    // another port
    world.run("ADD", &world.conf(&json!({ "ipsetd": { "allowFrom": [ "10.9.0.1" ], "port": 81 } })));
    assert_eq!(exchange(&world.sandbox.host, "10.9.0.2:81", "add blocked 192.0.2.2"), "ok\n");
    until("the old port is closed", || !listens(&world.sandbox.container, 9999));
    assert_eq!(world.records().len(), 1);
    world.run("CHECK", &world.served());
}

/// Lines that came before and are not carried out yet are not carried out by the rules of before.
#[test]
fn other_rules_hold_for_lines_that_wait() {
    let world = World::new();
    let _daemon = Daemon::start(&world, &[]);
    let conf =
        |verb: &str| world.conf(&json!({ "ipsetd": { "allowFrom": [ "10.9.0.1" ], "verbs": [ verb ] } }));
    let container = &world.sandbox.container;
    container.sh("ipset create large hash:ip
         for n in $(seq 0 9999); do echo add large 1.0.$((n / 256)).$((n % 256)); done | ipset restore");
    world.run("ADD", &conf("add"));
    let mut stream = connect(&world.sandbox.host, ADDRESS);
    // each has the set copied, and one who reads what is there would read them all
    let lines: Vec<String> = (0..60).map(|n| format!("add large 10.0.{n}.0/31\n")).collect();
    stream.write_all(lines.concat().as_bytes()).expect("sent");
    until("the first is done", || container.try_sh("ipset test large 10.0.0.0").status.success());
    world.run("ADD", &conf("test"));
    let then = entries(container, "large").len();
    let _ = stream.read_to_end(&mut Vec::new());
    assert_eq!(entries(container, "large").len(), then);
    assert!(then < 10_120, "all were done before");
}
