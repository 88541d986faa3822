//! Entries of every set type that the kernel has, with ipset's own syntax and options, and `ipset` as witness.

use crate::kit::{Daemon, ask, entries, sandbox};

/// Create options, an entry as a line has it and as `ipset save` has it, and one that is not one of the type.
const TYPES: [(&str, &str, &str, &str); 14] = [
    ("bitmap:ip range 10.0.0.0/16", "10.0.0.1", "10.0.0.1", "10.0.0.1,80"),
    ("bitmap:ip,mac range 10.0.0.0/16", "10.0.0.1,2:0:0:0:0:1", "10.0.0.1,02:00:00:00:00:01", "10.0.0.1,x"),
    ("bitmap:port range 0-1023", "tcp:80", "80", "70000"),
    ("hash:ip", "10.0.0.1/32", "10.0.0.1", "fd00::1"),
    ("hash:ip family inet6", "fd00::1", "fd00::1", "10.0.0.1"),
    ("hash:ip,port", "10.0.0.1,udp:53", "10.0.0.1,udp:53", "10.0.0.1"),
    ("hash:ip,port", "10.0.0.1,icmp:ping", "10.0.0.1,icmp:echo-request", "10.0.0.1,icmp:pingg"),
    ("hash:ip,port,ip", "10.0.0.1,80,10.0.0.2", "10.0.0.1,tcp:80,10.0.0.2", "10.0.0.1,80"),
    ("hash:ip,port,net", "10.0.0.1,80,10.0.0.0/8", "10.0.0.1,tcp:80,10.0.0.0/8", "10.0.0.1,80,"),
    ("hash:net", "10.0.0.0/8", "10.0.0.0/8", "10.0.0.0/33"),
    ("hash:net,port", "10.0.0.0/8,80", "10.0.0.0/8,tcp:80", "10.0.0.0/8,tcp:http"),
    ("hash:net,iface", "10.0.0.0/8,eth0", "10.0.0.0/8,eth0", "10.0.0.0/8,averylongnameofadevice"),
    ("list:set", "blacklistsmtp", "blacklistsmtp", "a,b"),
    ("hash:ip timeout 0 counters comment skbinfo", FULL, FULL, "10.0.0.1 timeout 99999999"),
];
const FULL: &str =
    "10.0.0.1 timeout 0 packets 3 bytes 4 comment \"two  words\" skbmark 0x10/0xff skbprio 1:a0 skbqueue 3";

#[test]
fn every_type_takes_its_entries() {
    let sandbox = sandbox();
    let _daemon = Daemon::open(&sandbox);
    for (create, entry, saved, wrong) in TYPES {
        sandbox.container.sh(&format!("ipset create set {create}"));
        let bare = entry.split(' ').next().expect("an entry");
        let lines = format!(
            "test set {bare}\nadd set {entry}\nadd set {entry}\nadd -exist set {entry}\ntest set {bare}\nlist set\nadd set {wrong}\n"
        );
        let answers = ask(&sandbox, &lines);
        let answers: Vec<&str> = answers.lines().collect();
        assert_eq!((answers[0], answers[1]), ("ok not in", "ok"), "{create}: {answers:?}");
        assert!(
            answers[2].starts_with("error: ") && answers[2].ends_with("it is in the set already"),
            "{answers:?}"
        );
        assert_eq!((answers[3], answers[4]), ("ok", "ok in"), "{create}: {answers:?}");
        assert_eq!(answers[5], format!("ok {saved}"), "{create}");
        assert!(answers[6].starts_with("error: "), "{create}: {answers:?}");
        assert_eq!(entries(&sandbox, "set"), [saved], "{create}");
        let answers =
            ask(&sandbox, &format!("del set {bare}\ndel set {bare}\ndel set {bare} -!\ntest set {bare}\n"));
        let answers: Vec<&str> = answers.lines().collect();
        assert_eq!(answers[0], "ok", "{create}");
        assert!(answers[1].ends_with("it is not in the set"), "{create}: {answers:?}");
        assert_eq!(answers[2..], ["ok", "ok not in"], "{create}");
        sandbox.container.sh("ipset destroy set");
    }
}

/// The set of a name can become another one while the daemon runs.
#[test]
fn a_set_that_has_become_another_is_noticed() {
    let sandbox = sandbox();
    let _daemon = Daemon::open(&sandbox);
    let create = |options: &str| {
        sandbox.container.sh(&format!("ipset destroy set 2>/dev/null || true; ipset create set {options}"));
    };
    create("hash:ip");
    assert_eq!(ask(&sandbox, "add set 10.0.0.1\n"), "ok\n");
    create("hash:ip family inet6");
    assert_eq!(ask(&sandbox, "add set fd00::1\n"), "ok\n");
    create("hash:net timeout 60");
    assert_eq!(ask(&sandbox, "add set 10.0.0.0/8 timeout 7\ntest set 10.1.1.1\n"), "ok\nok in\n");
    create("hash:ip,port");
    assert_eq!(ask(&sandbox, "test set 10.0.0.1,80\nadd set 10.0.0.1,80\n"), "ok not in\nok\n");
    create("hash:ip");
    assert_eq!(ask(&sandbox, "add set 10.0.0.1\n"), "ok\n");
    sandbox.container.sh("ipset destroy set");
    assert_eq!(
        ask(&sandbox, "add set 10.0.0.1\nflush set\n"),
        "error: cannot add to set `set`: no set has this name\nerror: cannot flush set `set`: no set has this name\n"
    );
    // without the daemon having noticed that it was gone
    create("hash:ip");
    assert_eq!(ask(&sandbox, "add set 10.0.0.1\n"), "ok\n");
    create("bitmap:port range 0-99");
    assert_eq!(
        ask(&sandbox, "add set 10.0.0.1\nadd set 80\n"),
        "error: bad port: `10.0.0.1` is not a whole number; hint: write a number, or a range like 8000-8010\nok\n"
    );
}

#[test]
fn flush_and_swap_work_where_they_are_allowed() {
    let sandbox = sandbox();
    sandbox.container.sh("ipset create other hash:ip; ipset add other 8.8.8.8; ipset create net hash:net");
    let daemon = Daemon::open(&sandbox);
    assert_eq!(
        ask(
            &sandbox,
            "add blacklistsmtp 1.0.0.1\nswap blacklistsmtp other\nlist other\nflush other\nlist other\nswap other net\n"
        ),
        "ok\nok\nok 1.0.0.1\nok\nok\nerror: cannot swap set `other`: the two sets differ in their types\n"
    );
    assert_eq!(entries(&sandbox, "blacklistsmtp"), ["8.8.8.8"]);
    drop(daemon);
    let limited = [("IPSET_ALLOW_ANY", "1"), ("IPSET_SETS", "other nosuch")];
    let _daemon = Daemon::start(&sandbox, &limited, &[]);
    assert_eq!(
        ask(
            &sandbox,
            "flush other\nadd blacklistsmtp 1.0.0.1\nlist\nlist net\nadd other 1.0.0.1\nadd nosuch 1.0.0.1\n"
        )
        .lines()
        .collect::<Vec<_>>(),
        [
            "error: `flush` is not allowed here",
            "error: set `blacklistsmtp` is not allowed here",
            "ok other",
            "error: set `net` is not allowed here",
            "ok",
            "error: set `nosuch` does not exist",
        ]
    );
}
