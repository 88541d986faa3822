//! `begin` ... `commit`, and lines that stand for many entries: all or nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use fwn_testkit::probe::{Attempt, Outcome, expect};

use crate::kit::{ADDRESS, Daemon, ask, connect, entries, sandbox};

const NONE: [&str; 0] = [];

#[test]
fn a_batch_is_done_as_a_whole_or_not_at_all() {
    let sandbox = sandbox();
    sandbox
        .container
        .sh("ipset create other hash:ip; ipset add blacklistsmtp 9.9.9.9; ipset add other 8.8.8.8");
    let daemon = Daemon::open(&sandbox);
    let lines = "begin\nadd blacklistsmtp 1.0.0.1\ndel other 8.8.8.8\nadd other 1.0.0.2\ndel blacklistsmtp 9.9.9.9\ncommit\n";
    assert_eq!(ask(&sandbox, lines), "ok\n".repeat(6));
    assert_eq!(entries(&sandbox, "blacklistsmtp"), ["1.0.0.1"]);
    assert_eq!(entries(&sandbox, "other"), ["1.0.0.2"]);

    // what the kernel refuses, in the second set: the first stays as it was
    let lines = "begin\nadd blacklistsmtp 1.0.0.5\nadd other 1.0.0.3\nadd other 1.0.0.2\ncommit\n";
    assert_eq!(
        ask(&sandbox, lines),
        "ok\nok\nok\nok\nerror: line 3 of the batch: cannot add to set `other` the entry `1.0.0.2`: it is in the set \
         already; nothing was changed\n"
    );
    // what cannot be read
    let lines = "begin\nadd blacklistsmtp 1.0.0.5\nadd blacklistsmtp 1.0.0.5.6\nadd other fd00::1\ncommit\nlist other\n";
    assert_eq!(
        ask(&sandbox, lines).lines().collect::<Vec<_>>(),
        [
            "ok",
            "ok",
            "error: `1.0.0.5.6` is neither an address nor a host name",
            "error: `fd00::1` is an IPv6 address, the set holds IPv4; hint: make a set with \"hashfamily\": \"inet6\"",
            "error: line 2 of the batch: `1.0.0.5.6` is neither an address nor a host name; nothing was changed",
            "ok 1.0.0.2",
        ]
    );
    // what has no place in a batch
    for (line, message) in [
        ("list", "`list` cannot stand in a batch"),
        ("test other 1.0.0.2", "`test` cannot stand in a batch"),
        ("swap other other", "`swap` cannot stand in a batch"),
        ("begin", "a batch has begun already"),
        ("add nosuch 1.0.0.1", "set `nosuch` does not exist"),
    ] {
        assert_eq!(
            ask(&sandbox, &format!("begin\nadd other 1.0.0.9\n{line}\ncommit\n")),
            format!("ok\nok\nerror: {message}\nerror: line 2 of the batch: {message}; nothing was changed\n")
        );
    }
    assert_eq!(
        ask(&sandbox, "commit\nbegin\ncommit\n"),
        "error: there is no batch: `begin` begins one\nok\nok\n"
    );
    assert_eq!(entries(&sandbox, "blacklistsmtp"), ["1.0.0.1"]);
    assert_eq!(entries(&sandbox, "other"), ["1.0.0.2"]);
    assert_eq!(sandbox.container.sh("ipset list -n"), "blacklistsmtp\nother\n");
    let (_, log) = daemon.stop();
    assert!(log.iter().any(|line| line.contains("in a batch add blacklistsmtp 1.0.0.1")), "{log:#?}");
}

#[test]
fn a_batch_that_is_left_is_forgotten() {
    let sandbox = sandbox();
    let mut daemon = Daemon::open(&sandbox);
    let mut stream = connect(&sandbox.host, ADDRESS);
    stream.write_all(b"begin\nadd blacklistsmtp 1.0.0.1\n").expect("sent");
    drop(stream);
    daemon.wait_for("left before `commit`: 1 lines of a batch are forgotten");
    assert_eq!(entries(&sandbox, "blacklistsmtp"), NONE);
}

#[test]
fn a_batch_has_so_many_lines_and_no_more() {
    let sandbox = sandbox();
    let mut daemon = Daemon::start(&sandbox, &[("IPSET_ALLOW_ANY", "1"), ("IPSET_MAX_BATCH", "2")], &[]);
    let refused = "error: a batch has at most 2 lines\n";
    let line = |n: usize| format!("add blacklistsmtp 1.0.0.{n}\n");
    let (within, beyond) = ([1, 2].map(line).concat(), [3, 4, 5].map(line).concat());
    // the connection goes on behind it
    assert_eq!(
        ask(&sandbox, &format!("begin\n{within}commit\nbegin\n{beyond}commit\nbegin\n{}commit\n", line(6))),
        format!(
            "ok\nok\nok\nok\nok\nok\nok\n{refused}error: line 3 of the batch: a batch has at most 2 lines; nothing was \
             changed\nok\nok\nok\n"
        )
    );
    assert_eq!(entries(&sandbox, "blacklistsmtp"), ["1.0.0.1", "1.0.0.2", "1.0.0.6"]);
    let logged = daemon.wait_for("sent a bad line: a batch has at most 2 lines");
    assert!(logged.contains("10.9.0.1:"), "{logged}");
    daemon.wait_for("sent a bad line: line 3 of the batch: a batch has at most 2 lines; nothing was changed");
    // a bad line is one, too
    let answers = ask(&sandbox, &format!("begin\nadd nosuch 1.0.0.1\n{within}commit\n"));
    let missing = "set `nosuch` does not exist";
    assert_eq!(
        answers,
        format!(
            "ok\nerror: {missing}\nok\n{refused}error: line 1 of the batch: {missing}; nothing was changed\n"
        )
    );
}

/// In the least lines that this takes: each has blanks up to 64 KiB, with the 24 bytes that it is counted with.
#[test]
fn a_batch_holds_so_many_bytes_and_all_together_have_room() {
    let sandbox = sandbox();
    let mut daemon = Daemon::start(&sandbox, &[("IPSET_ALLOW_ANY", "1"), ("IPSET_MAX_LINE", "65536")], &[]);
    let lines = |count: usize| -> String {
        (0..count).fold(String::new(), |text, n| {
            text + &format!("{:<65512}\n", format!("add blacklistsmtp 1.0.0.{n}"))
        })
    };
    let begun = |count: usize| {
        let mut stream = connect(&sandbox.host, ADDRESS);
        stream.write_all(format!("begin\n{}", lines(count)).as_bytes()).expect("sent");
        let mut answers = vec![0; 3 * (1 + count)];
        stream.read_exact(&mut answers).expect("answered");
        assert_eq!(String::from_utf8(answers).expect("UTF-8"), "ok\n".repeat(1 + count));
        stream
    };
    let ended = |mut stream: TcpStream, lines: &str| {
        stream.write_all(lines.as_bytes()).expect("sent");
        stream.shutdown(Shutdown::Write).expect("closed");
        let mut answers = String::new();
        stream.read_to_string(&mut answers).expect("the daemon closes");
        answers
    };
    let refused = "error: there is no room for so large a batch\n";
    let nothing = |at: usize| {
        format!("error: line {at} of the batch: there is no room for so large a batch; nothing was changed\n")
    };

    // 16 MiB
    let full = begun(256);
    assert_eq!(
        ended(full, &format!("{}commit\nlist\n", lines(1))),
        format!("{refused}{}ok blacklistsmtp\n", nothing(257))
    );
    let line = daemon.wait_for("sent a bad line: there is no room for so large a batch");
    assert!(line.contains("10.9.0.1:"), "{line}");
    assert_eq!(entries(&sandbox, "blacklistsmtp"), NONE);

    // 64 MiB
    let mut all: Vec<TcpStream> = (0..4).map(|_| begun(256)).collect();
    let small = format!("begin\n{}commit\n", "add blacklistsmtp 1.0.1.0\n");
    assert_eq!(ask(&sandbox, &small), format!("ok\n{refused}{}", nothing(1)));
    // what is not kept needs none
    assert_eq!(
        ask(&sandbox, "begin\nadd nosuch 1.0.0.1\nadd blacklistsmtp 1.0.1.0\ncommit\n"),
        "ok\nerror: set `nosuch` does not exist\nok\nerror: line 1 of the batch: set `nosuch` does not exist; nothing was \
         changed\n"
    );
    // lines outside of a batch need none
    assert_eq!(ask(&sandbox, "add blacklistsmtp 1.0.2.0\n"), "ok\n");
    // one that is committed gives its room back, and so does one that is left
    assert_eq!(ended(all.remove(0), "commit\n"), "ok\n");
    assert_eq!(ask(&sandbox, &small), "ok\n".repeat(3));
    assert_eq!(entries(&sandbox, "blacklistsmtp").len(), 256 + 2);
    all.push(begun(256));
    drop(all.remove(0));
    daemon.wait_for("left before `commit`: 256 lines of a batch are forgotten");
    assert_eq!(ask(&sandbox, &small.replace("add", "del")), "ok\n".repeat(3));
}

/// Rules keep using the set, and entries keep what they have.
#[test]
fn a_batch_replaces_a_set_in_use() {
    let sandbox = sandbox();
    sandbox.container.sh("ipset create rich hash:net timeout 0 counters comment
         ipset add rich 10.1.0.0/16 timeout 5000 packets 7 bytes 8 comment 'kept as it is'
         ipset add rich 10.1.2.0/24 nomatch
         iptables -A INPUT -m set --match-set rich src -j DROP");
    let _daemon = Daemon::open(&sandbox);
    sandbox.host.sh("ip addr add 10.9.0.8/32 dev host0");
    let before = sandbox.container.sh("ipset list rich -t");
    assert_eq!(ask(&sandbox, "begin\nadd rich 10.2.0.0/16 timeout 60\ncommit\n"), "ok\nok\nok\n");
    let saved = entries(&sandbox, "rich");
    assert_eq!(saved.len(), 3, "{saved:?}");
    assert!(
        saved[0].starts_with("10.1.0.0/16 timeout 4") || saved[0].starts_with("10.1.0.0/16 timeout 5000")
    );
    assert!(saved[0].ends_with("packets 7 bytes 8 comment \"kept as it is\""), "{saved:?}");
    assert_eq!(saved[1], "10.1.2.0/24 timeout 0 nomatch packets 0 bytes 0");
    let header = |text: &str| {
        let lines = text.lines().filter(|line| line.starts_with("Header") || line.starts_with("References"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(header(&sandbox.container.sh("ipset list rich -t")), header(&before));

    // all new, without a moment in which it is empty
    let lines = "begin\nflush rich\nadd rich 10.9.0.8 timeout 60\ncommit\n";
    assert_eq!(ask(&sandbox, lines), "ok\n".repeat(4));
    let ping = Attempt::ping(&sandbox.host, "10.9.0.2");
    expect(&[(ping, Outcome::Reached), (ping.source("10.9.0.8:0"), Outcome::Silent)]);
    assert_eq!(ask(&sandbox, "test rich 10.1.0.1\ntest rich 10.9.0.8\n"), "ok not in\nok in\n");
}

/// A range of which a part cannot be put in is not put in at all.
#[test]
fn a_line_of_many_entries_is_done_as_a_whole_or_not_at_all() {
    let sandbox = sandbox();
    sandbox.container.sh("ipset create small hash:ip maxelem 10; ipset create ports bitmap:port range 0-1023
         ipset add blacklistsmtp 10.0.0.7; ipset add ports 80");
    let _daemon = Daemon::open(&sandbox);
    let already = |set: &str, entry: &str| {
        format!("error: cannot add to set `{set}` the entry `{entry}`: it is in the set already\n")
    };
    assert_eq!(ask(&sandbox, "add blacklistsmtp 10.0.0.0/28\n"), already("blacklistsmtp", "10.0.0.0/28"));
    assert_eq!(entries(&sandbox, "blacklistsmtp"), ["10.0.0.7"]);
    assert_eq!(
        ask(&sandbox, "del blacklistsmtp 10.0.0.6-10.0.0.7\n"),
        "error: cannot delete from set `blacklistsmtp` the entry `10.0.0.6-10.0.0.7`: it is not in the set\n"
    );
    assert_eq!(entries(&sandbox, "blacklistsmtp"), ["10.0.0.7"]);
    assert_eq!(ask(&sandbox, "add blacklistsmtp 10.0.0.4/30 -exist\n"), "ok\n");
    assert_eq!(entries(&sandbox, "blacklistsmtp"), ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7"]);
    assert_eq!(ask(&sandbox, "del blacklistsmtp 10.0.0.0/24 -exist\n"), "ok\n");
    assert_eq!(entries(&sandbox, "blacklistsmtp"), NONE);
    assert_eq!(
        ask(&sandbox, "add small 10.0.0.1-10.0.0.100 -exist\n"),
        "error: cannot add to set `small` the entry `10.0.0.1-10.0.0.100`: the set is full, `maxelem` allows no more\n"
    );
    assert_eq!(entries(&sandbox, "small"), NONE);
    assert_eq!(ask(&sandbox, "add ports 79-81\n"), already("ports", "79-81"));
    assert_eq!(entries(&sandbox, "ports"), ["80"]);
    assert_eq!(ask(&sandbox, "add ports 79-81 -exist\n"), "ok\n");
    assert_eq!(entries(&sandbox, "ports"), ["79", "80", "81"]);
}

#[test]
fn what_a_killed_daemon_left_behind_is_destroyed() {
    let sandbox = sandbox();
    sandbox.container.sh("ipset create .ipsetd-0123456789abcdef hash:ip");
    let mut daemon = Daemon::open(&sandbox);
    assert_eq!(sandbox.container.sh("ipset list -n"), "blacklistsmtp\n");
    assert_eq!(ask(&sandbox, "list\n"), "ok blacklistsmtp\n");
    daemon.child.kill().expect("it runs");
}
