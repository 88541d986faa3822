//! Who gets in, with real sockets: a part of the matrix that `access` is tested with.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use fwn_testkit::Sandbox;

use crate::kit::{ADDRESS, Daemon, ask, command, connect, entries, exchange, sandbox};

const ADD: &str = "add blacklistsmtp 12.12.13.12\n";

/// What the daemon says that does not start.
fn refused(sandbox: &Sandbox, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = command(&sandbox.container, environment, &[]).output().expect("it runs");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

#[test]
fn a_port_that_nothing_guards_stays_closed() {
    let sandbox = sandbox();
    let words = "ipsetd: error: port 9999 stays closed: nothing guards this port: it needs an allow-list, a token, \
                 client certificates or a closed INPUT policy; hint: set IPSET_ALLOW_FROM, IPSET_TOKEN_FILE, \
                 IPSET_TLS_CA, or IPSET_ALLOW_ANY=1 for everybody\n";
    assert_eq!(refused(&sandbox, &[]), (Some(1), words.to_owned()));
    // one family alone does not do
    sandbox.container.sh("iptables -P INPUT DROP");
    assert_eq!(refused(&sandbox, &[]), (Some(1), words.to_owned()));
    sandbox.container.sh("ip6tables -P INPUT DROP; iptables -A INPUT -s 10.9.0.1 -j ACCEPT");
    let mut daemon = Daemon::start(&sandbox, &[], &[]);
    assert_eq!(ask(&sandbox, ADD), "ok\n");
    // the firewall is gone: so is the door
    sandbox.container.sh("iptables -P INPUT ACCEPT");
    assert_eq!(
        ask(&sandbox, ADD),
        "error: nothing guards this port: it needs an allow-list, a token, client certificates or a closed INPUT \
         policy\n"
    );
    daemon.wait_for("refused: nothing guards this port");
}

#[test]
fn nobody_else_than_the_listed_gets_in() {
    let sandbox = sandbox();
    sandbox.host.sh("ip addr add 10.9.0.7/32 dev host0; ip -6 addr add fd09::7/128 dev host0 nodad");
    let daemon = Daemon::start(&sandbox, &[("IPSET_ALLOW_FROM", "10.9.0.7, fd09::7/128")], &[]);
    let from = |address: &str, to: &str| {
        sandbox.host.sh(&format!("echo add blacklistsmtp 12.12.13.12 -exist | ncat -s {address} {to} 9999"))
    };
    assert_eq!(from("10.9.0.1", "10.9.0.2"), "error: `10.9.0.1` is not on the allow-list\n");
    assert_eq!(from("fd09::1", "fd09::2"), "error: `fd09::1` is not on the allow-list\n");
    assert_eq!(entries(&sandbox, "blacklistsmtp"), Vec::<String>::new());
    assert_eq!(from("10.9.0.7", "10.9.0.2"), "ok\n");
    assert_eq!(from("fd09::7", "fd09::2"), "ok\n");
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0));
    for line in [
        "10.9.0.1:PORT refused: `10.9.0.1` is not on the allow-list",
        "[fd09::1]:PORT refused: `fd09::1` is not on the allow-list",
        "10.9.0.7:PORT add blacklistsmtp 12.12.13.12",
    ] {
        let (peer, rest) = line.split_once("PORT").expect("a port");
        assert!(log.iter().any(|known| known.contains(peer) && known.ends_with(rest)), "{line}: {log:#?}");
    }
}

/// Every address that the namespace has, or gets, by every way to write it.
#[test]
fn the_workload_itself_is_refused() {
    let sandbox = sandbox();
    let daemon = Daemon::open(&sandbox);
    sandbox.container.sh("ip addr add 10.9.0.44/32 dev eth0; ip -6 addr add fd09::44/128 dev eth0 nodad
         ip route add local 198.51.100.0/24 dev lo");
    let link_local =
        sandbox.container.sh("ip -6 -o addr show dev eth0 scope link | sed 's/.*inet6 //; s,/.*,,'");
    let scope = sandbox.container.sh("ip -o link show eth0 | cut -d: -f1");
    let link_local = format!("[{}%{}]:9999", link_local.trim(), scope.trim());
    for address in [
        "127.0.0.1:9999",
        "127.8.9.10:9999",
        "10.9.0.2:9999",
        "10.9.0.44:9999",
        "[::1]:9999",
        "[::ffff:10.9.0.2]:9999",
        "[fd09::2]:9999",
        "[fd09::44]:9999",
        "198.51.100.77:9999",
        &link_local,
    ] {
        let answer = exchange(&sandbox.container, address, ADD.as_bytes());
        assert!(answer.starts_with("error: `"), "{address}: {answer}");
        assert!(
            answer
                .ends_with("is an address of this network namespace, which may not edit its own firewall\n")
        );
    }
    assert_eq!(entries(&sandbox, "blacklistsmtp"), Vec::<String>::new());
    assert_eq!(exchange(&sandbox.host, ADDRESS, ADD.as_bytes()), "ok\n");
    drop(daemon);
}

#[test]
fn a_token_comes_first_or_nothing_does() {
    let sandbox = sandbox();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    std::fs::write(&path, "a-token-of-the-test\n").expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).expect("changed");
    let path = path.to_str().expect("UTF-8");
    let daemon = Daemon::start(&sandbox, &[("IPSET_TOKEN_FILE", path), ("IPSET_DEBUG", "1")], &[]);
    let needed = "error: the first line must be `auth TOKEN`\n";
    let auth = "auth a-token-of-the-test\n";
    assert_eq!(ask(&sandbox, ADD), needed);
    // too late, however right
    assert_eq!(ask(&sandbox, &format!("{ADD}{auth}{ADD}")), needed.repeat(3));
    let wrong = "error: wrong token\n";
    assert_eq!(
        ask(&sandbox, &format!("auth a-token-of-the-tesT\n{auth}{ADD}")),
        format!("{wrong}{needed}{wrong}")
    );
    assert_eq!(ask(&sandbox, &format!("a-token-of-the-test\n{auth}{ADD}")), needed.repeat(3));
    assert_eq!(entries(&sandbox, "blacklistsmtp"), Vec::<String>::new());
    assert_eq!(ask(&sandbox, &format!("{auth}{ADD}{auth}")), format!("ok\nok\n{needed}"));
    let (_, log) = daemon.stop();
    assert!(log.iter().any(|line| line.contains("`add blacklistsmtp 12.12.13.12` -> ok")), "{log:#?}");
    assert!(!log.concat().contains("a-token"), "{log:#?}");
}

/// Entries of a `list:set` are names of sets, too.
#[test]
fn sets_that_are_not_allowed_are_no_entries_either() {
    let sandbox = sandbox();
    sandbox.container.sh("ipset create some list:set; ipset create mine hash:ip; ipset create other hash:ip");
    let mut daemon = Daemon::start(&sandbox, &[("IPSET_ALLOW_ANY", "1"), ("IPSET_SETS", "some,mine")], &[]);
    let refused = "error: set `other` is not allowed here\n";
    assert_eq!(
        ask(&sandbox, "add some other\nadd some mine\ntest some other\ndel some mine before other\n"),
        format!("{refused}ok\n{refused}{refused}")
    );
    daemon.wait_for("refused: set `other` is not allowed here");
    let words = "line 1 of the batch: set `other` is not allowed here; nothing was changed";
    assert_eq!(ask(&sandbox, "begin\nadd some other\ncommit\n"), format!("ok\n{refused}error: {words}\n"));
    assert_eq!(entries(&sandbox, "some"), ["mine"]);
}

/// Who is refused takes nobody's place, also where there are no more.
#[test]
fn strangers_push_nobody_out() {
    let sandbox = sandbox();
    let _daemon =
        Daemon::start(&sandbox, &[("IPSET_ALLOW_FROM", "10.9.0.1"), ("IPSET_MAX_CONNECTIONS", "1")], &[]);
    let mut quiet = connect(&sandbox.host, ADDRESS);
    let answer = exchange(&sandbox.host, "[fd09::2]:9999", ADD.as_bytes());
    assert_eq!(answer, "error: `fd09::1` is not on the allow-list\n");
    quiet.write_all(ADD.as_bytes()).expect("sent");
    quiet.shutdown(std::net::Shutdown::Write).expect("closed");
    let mut answer = String::new();
    quiet.read_to_string(&mut answer).expect("the daemon closes");
    assert_eq!(answer, "ok\n");
}

/// What others change must not get lost among it.
#[test]
fn who_shows_no_token_does_not_fill_the_log() {
    let (sandbox, folder) = (sandbox(), tempfile::tempdir().expect("a folder"));
    let path = folder.path().join("token");
    std::fs::write(&path, "a-token-of-the-test\n").expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).expect("changed");
    let daemon = Daemon::start(&sandbox, &[("IPSET_TOKEN_FILE", path.to_str().expect("UTF-8"))], &[]);
    assert_eq!(ask(&sandbox, &ADD.repeat(1000)), "error: the first line must be `auth TOKEN`\n".repeat(1000));
    let (_, log) = daemon.stop();
    assert_eq!(log.iter().filter(|line| line.contains("refused: the first line")).count(), 1, "{log:#?}");
}
