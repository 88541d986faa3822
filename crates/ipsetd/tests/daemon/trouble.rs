//! Bad input: one clear answer line and a log line each, a daemon that lives on, and no change.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::kit::{ADDRESS, Daemon, ask, command, connect, entries, exchange, sandbox};

#[test]
fn each_bad_line_is_answered_and_the_next_ones_are_taken() {
    let sandbox = sandbox();
    sandbox.container.sh("ipset create small hash:ip maxelem 1; ipset add small 9.9.9.9");
    let daemon = Daemon::start(&sandbox, &[("IPSET_ALLOW_ANY", "1")], &[]);
    let endless = [b"add blacklistsmtp ", "1".repeat(5000).as_bytes()].concat();
    let cases: [(&[u8], &str); 13] = [
        (
            b"destroy blacklistsmtp",
            "unknown verb `destroy`; hint: the verbs are add, del, test, list, flush, swap, begin, commit, auth",
        ),
        (b"add nosuch 1.0.0.1", "set `nosuch` does not exist"),
        (
            b"add blacklistsmtp 10.0.0.1,80",
            "an entry of `hash:ip` has 1 part, not 2; hint: write it like 10.0.0.1",
        ),
        (
            b"add small 1.0.0.1",
            "cannot add to set `small` the entry `1.0.0.1`: the set is full, `maxelem` allows no more",
        ),
        (b"add blacklistsmtp 1.0.0.1\0", "the line has a control character ('\\0') in it, at byte 26"),
        (b"add blacklistsmtp \xff\xfe", "the line is not UTF-8, at byte 19"),
        (
            b"add blacklistsmtp 1.0.0.1 timeout 5",
            "`timeout` cannot be given: the set was not made for it; hint: add \"timeout\": 0 to the set",
        ),
        (b"", "the line is empty"),
        (b"auth something", "this port takes no token"),
        (b"add blacklistsmtp", "`add` needs an entry"),
        (b"commit", "there is no batch: `begin` begins one"),
        (b"flush blacklistsmtp", "`flush` is not allowed here"),
        (&endless, "the line is longer than 4096 bytes"),
    ];
    for (line, message) in cases {
        let bytes = [line, b"\ntest blacklistsmtp 7.7.7.7\n"].concat();
        let answers = exchange(&sandbox.host, ADDRESS, &bytes);
        assert_eq!(answers, format!("error: {message}\nok not in\n"), "{line:?}");
    }
    assert_eq!(entries(&sandbox, "blacklistsmtp"), Vec::<String>::new());
    assert_eq!(entries(&sandbox, "small"), ["9.9.9.9"]);
    let (_, log) = daemon.stop();
    for (_, message) in cases {
        assert!(log.iter().any(|line| line.contains(message)), "{message}: {log:#?}");
    }
    assert!(!log.concat().contains("something"), "{log:#?}");
}

/// The log tells of a client that has gone wrong, and is not filled by it.
#[test]
fn many_bad_lines_are_counted() {
    let sandbox = sandbox();
    let daemon = Daemon::open(&sandbox);
    let answers = ask(&sandbox, &"add blacklistsmtp nonsense\n".repeat(50));
    assert_eq!(answers.lines().filter(|line| line.starts_with("error: ")).count(), 50, "{answers}");
    let (_, log) = daemon.stop();
    assert_eq!(log.iter().filter(|line| line.contains("sent a bad line: ")).count(), 10, "{log:#?}");
    assert!(log.iter().any(|line| line.contains("was refused 40 lines more")), "{log:#?}");
}

/// What a line was read for is gone before it is carried out: no line says `ok`.
#[test]
fn a_set_that_was_destroyed_takes_nothing() {
    let sandbox = sandbox();
    let _daemon = Daemon::open(&sandbox);
    assert_eq!(ask(&sandbox, "add blacklistsmtp 1.0.0.1\n"), "ok\n");
    sandbox.container.sh("ipset destroy blacklistsmtp");
    let missing = "error: set `blacklistsmtp` does not exist\n";
    assert_eq!(
        ask(&sandbox, "add blacklistsmtp 1.0.0.2\nadd blacklistsmtp nonsense\nadd blacklistsmtp 1.0.0.3\n"),
        missing.repeat(3)
    );
}

/// A page in a browser could make it send lines here.
#[test]
fn a_browser_is_sent_away() {
    let sandbox = sandbox();
    let mut daemon = Daemon::open(&sandbox);
    let request = "POST / HTTP/1.1\r\nHost: 10.9.0.2:9999\r\n\r\nadd blacklistsmtp 1.0.0.1\r\n";
    assert_eq!(ask(&sandbox, request), "error: this is no web server\n");
    daemon.wait_for("refused: it speaks another protocol");
    assert_eq!(entries(&sandbox, "blacklistsmtp"), Vec::<String>::new());
}

#[test]
fn half_a_line_and_silence_end_in_an_answer() {
    let sandbox = sandbox();
    let environment = [("IPSET_ALLOW_ANY", "1"), ("IPSET_PATIENCE", "1"), ("IPSET_IDLE", "2")];
    let mut daemon = Daemon::start(&sandbox, &environment, &[]);
    let read = |bytes: &[u8]| {
        let mut stream = connect(&sandbox.host, ADDRESS);
        stream.write_all(bytes).expect("sent");
        let mut answers = String::new();
        stream.read_to_string(&mut answers).expect("the daemon closes");
        answers
    };
    assert_eq!(
        read(b"test blacklistsmtp 1.0.0.1\nadd blacklistsmtp 1.0"),
        "ok not in\nerror: the line was not ended within 1 seconds\n"
    );
    daemon.wait_for("closed: it did not end its line");
    assert_eq!(read(b""), "");
    daemon.wait_for("closed: it was idle");
    assert_eq!(entries(&sandbox, "blacklistsmtp"), Vec::<String>::new());
}

#[test]
fn what_keeps_it_from_serving_is_said() {
    let sandbox = sandbox();
    let run = |environment: &[(&str, &str)], arguments: &[&str]| {
        let output = command(&sandbox.container, environment, arguments).output().expect("it runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    let any = ("IPSET_ALLOW_ANY", "1");
    let taken = sandbox.container.run(|| TcpListener::bind("[::]:9999")).expect("free");
    let words =
        "ipsetd: error: port 9999 is taken in this network namespace; hint: choose another by IPSET_PORT\n";
    assert_eq!(run(&[any], &[]), (Some(1), words.into()));
    drop(taken);

    let mut without = sandbox.container.command("setpriv");
    without
        .args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"])
        .arg(fwn_testkit::plugin::program("ipsetd"));
    let output =
        without.env("IPSET", "1").env(any.0, any.1).output().expect("setpriv (package util-linux) runs");
    let words = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("changing sets needs CAP_NET_ADMIN"), "{words}");

    for (environment, arguments, words) in [
        (vec![("IPSET_PORT", "0")], vec![], "IPSET_PORT is `0`: a number from 1 to 65535 is wanted"),
        (
            vec![],
            vec!["--allow-from", "10.0.0.0/33"],
            "--allow-from is `10.0.0.0/33`: `10.0.0.0/33` is neither an address nor a network",
        ),
        (
            vec![("IPSET_ALLOW_FROM", "10.0.0.1,::/0")],
            vec![],
            "IPSET_ALLOW_FROM is `10.0.0.1,::/0`: `::/0` lets everybody in; hint: if that is meant, set IPSET_ALLOW_ANY=1",
        ),
        (
            vec![("IPSET_ALLOW_FORM", "10.0.0.1")],
            vec![],
            "unknown variable IPSET_ALLOW_FORM; hint: did you mean IPSET_ALLOW_FROM?",
        ),
        (vec![("IPSET_ALLOW_ANY", "yes")], vec![], "IPSET_ALLOW_ANY is `yes`: 1 or 0 is wanted"),
        (
            vec![("IPSET_VERBS", "add destroy")],
            vec![],
            "IPSET_VERBS is `add destroy`: `destroy` is no verb, known are add, del, test, list, flush, swap",
        ),
        (vec![("IPSET_TLS_CA", "/x")], vec![], "IPSET_TLS_CA needs IPSET_TLS_CERT"),
    ] {
        assert_eq!(run(&environment, &arguments), (Some(2), format!("ipsetd: error: {words}\n")));
    }
    // off is off, and says so
    assert_eq!(
        run(&[("IPSET", "0"), ("IPSET_ALLOW_ANY", "yes")], &[]),
        (Some(0), "ipsetd: nothing to do: IPSET is `0`, not 1\n".into())
    );
    assert_eq!(
        run(&[("IPSET", "")], &[]),
        (Some(0), "ipsetd: nothing to do: IPSET is not set to 1\n".into())
    );
}
