//! Lines and answers.

use std::io::{Read, Write};
use std::net::Shutdown;

use crate::kit::{ADDRESS, Daemon, ask, connect, entries, exchange, sandbox};

/// The original's own example, with the client it names.
#[test]
fn ncat_adds_an_entry() {
    let sandbox = sandbox();
    let _daemon = Daemon::open(&sandbox);
    for (echo, entry) in [("echo", "12.12.13.12"), ("printf %s", "12.12.13.13")] {
        let answer = sandbox.host.sh(&format!("{echo} 'add blacklistsmtp {entry}' | ncat 10.9.0.2 9999"));
        assert_eq!(answer, "ok\n");
        sandbox.container.sh(&format!("ipset test blacklistsmtp {entry}"));
    }
}

#[test]
fn lines_come_in_any_pieces() {
    let sandbox = sandbox();
    let _daemon = Daemon::open(&sandbox);
    let mut stream = connect(&sandbox.host, ADDRESS);
    for byte in b"add blacklistsmtp 1.0.0.1\r\ndel blacklistsmtp 1.0.0.1\nadd blacklistsmtp 1.0.0.2" {
        stream.write_all(&[*byte]).expect("sent");
    }
    stream.shutdown(Shutdown::Write).expect("closed");
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("answers");
    assert_eq!(answers, "ok\nok\nok\n");
    assert_eq!(entries(&sandbox, "blacklistsmtp"), ["1.0.0.2"]);
}

#[test]
fn every_line_has_its_own_answer() {
    let sandbox = sandbox();
    let _daemon = Daemon::open(&sandbox);
    let answers = ask(
        &sandbox,
        "add blacklistsmtp 1.0.0.1\nadd blacklistsmtp 1.0.0.1\nadd blacklistsmtp 1.0.0.2\nad\n\
         add blacklistsmtp 1.0.0.1 -exist\nadd blacklistsmtp www.example.org\nadd nosuch 1.0.0.1\n\
         test blacklistsmtp 1.0.0.2\ntest blacklistsmtp 1.0.0.3\nlist\ndel blacklistsmtp 1.0.0.9\n",
    );
    assert_eq!(
        answers.lines().collect::<Vec<_>>(),
        [
            "ok",
            "error: cannot add to set `blacklistsmtp` the entry `1.0.0.1`: it is in the set already",
            "ok",
            "error: unknown verb `ad`; hint: did you mean `add`?",
            "ok",
            "error: `www.example.org` is a host name, ipsetd takes addresses only",
            "error: set `nosuch` does not exist",
            "ok in",
            "ok not in",
            "ok blacklistsmtp",
            "error: cannot delete from set `blacklistsmtp` the entry `1.0.0.9`: it is not in the set",
        ]
    );
    assert_eq!(entries(&sandbox, "blacklistsmtp"), ["1.0.0.1", "1.0.0.2"]);
}

/// All lines at once, and their answers only afterwards: 300 000 bytes that nobody reads at first.
#[test]
fn a_hundred_thousand_lines_down_one_connection() {
    let sandbox = sandbox();
    sandbox.container.sh("ipset create many hash:ip maxelem 200000");
    let _daemon = Daemon::open(&sandbox);
    let lines: String = (0..100_000).fold(String::new(), |text, n: u32| {
        text + &format!("add many 10.{}.{}.{}\n", n >> 16, (n >> 8) & 255, n & 255)
    });
    let answers = exchange(&sandbox.host, ADDRESS, lines.as_bytes());
    assert_eq!(answers, "ok\n".repeat(100_000));
    let count = sandbox.container.sh("ipset list many -t | grep entries");
    assert_eq!(count, "Number of entries: 100000\n");
}
