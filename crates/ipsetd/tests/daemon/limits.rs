//! What one peer can make the daemon keep, and what others see of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use fwn_testkit::plugin::program;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::kit::{ADDRESS, Daemon, PATIENCE, ask, connect, sandbox};

const ANY: (&str, &str) = ("IPSET_ALLOW_ANY", "1");

/// KiB of memory that are in use, of the daemon behind `nsenter`, which becomes it.
fn memory(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn ten_thousand_that_say_nothing_keep_nobody_out() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("readable");
    assert!(hard >= 12_000, "the test needs 12000 open files, at most {hard} are allowed");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("raised");
    let sandbox = sandbox();
    sandbox.host.sh("for n in $(seq 0 199); do ip addr add 10.9.1.$n/32 dev host0; done");
    sandbox.container.sh("ip route add 10.9.1.0/24 via 10.9.0.1");
    let daemon = Daemon::start(&sandbox, &[ANY], &[]);
    let before = memory(&daemon);
    let mut useful = connect(&sandbox.host, ADDRESS);
    let mut served = |n: usize| {
        useful.write_all(b"test blacklistsmtp 1.0.0.1\n").expect("sent");
        let mut answer = [0; 10];
        useful.read_exact(&mut answer).unwrap_or_else(|error| panic!("served after {n}: {error}"));
        assert_eq!(&answer, b"ok not in\n");
    };
    served(0);
    let silent: Vec<TcpStream> = sandbox.host.run(|| {
        let connections = (0..10_000).map(|n| {
            let from = format!("10.9.1.{}:0", n % 200).parse().expect("an address");
            bound_connect(from)
        });
        connections.collect()
    });
    served(10_000);
    // somebody new, too
    assert_eq!(ask(&sandbox, "add blacklistsmtp 1.0.0.1\n"), "ok\n");
    let after = memory(&daemon);
    assert!(after < before + 48_000, "{before} KiB, then {after} KiB");
    // no more than the limit, and what the daemon has for itself
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.child.id())).expect("it runs").count();
    assert!(open < 1024 + 100, "{open} open files");
    assert_eq!(silent.len(), 10_000);
}

fn bound_connect(from: std::net::SocketAddr) -> TcpStream {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
    use std::os::fd::AsRawFd;
    let socket =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    bind(socket.as_raw_fd(), &SockaddrStorage::from(from)).expect("the address is there");
    let target: std::net::SocketAddr = ADDRESS.parse().expect("an address");
    connect(socket.as_raw_fd(), &SockaddrStorage::from(target)).expect("it listens");
    socket.into()
}

#[test]
fn a_peer_has_so_many_connections_and_no_more() {
    let sandbox = sandbox();
    let mut daemon = Daemon::start(&sandbox, &[ANY, ("IPSET_MAX_PER_PEER", "2")], &["--max-connections=3"]);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(&sandbox.host, ADDRESS);
        stream.write_all(b"list\n").expect("sent");
        stream.read_exact(&mut [0; 17]).expect("answered");
        held.push(stream);
    }
    assert_eq!(ask(&sandbox, "list\n"), "error: too many connections of this peer\n");
    daemon.wait_for("refused: too many connections of this peer");
    // another peer has the third; all have achieved something, so none has to go
    let mut other = connect(&sandbox.host, "[fd09::2]:9999");
    other.write_all(b"list\n").expect("sent");
    other.read_exact(&mut [0; 17]).expect("answered");
    let answer = crate::kit::exchange(&sandbox.host, "[fd09::2]:9999", b"list\n");
    assert_eq!(answer, "error: too many connections\n");
    drop(held);
    // their places are free once the daemon has seen that they are gone
    let end = Instant::now() + PATIENCE;
    while ask(&sandbox, "list\n") != "ok blacklistsmtp\n" {
        assert!(Instant::now() < end, "places are not given back");
    }
}

#[test]
fn who_said_nothing_makes_room_and_nobody_else() {
    let sandbox = sandbox();
    let mut daemon = Daemon::start(&sandbox, &[ANY, ("IPSET_MAX_CONNECTIONS", "2")], &[]);
    let useful = || {
        let mut stream = connect(&sandbox.host, ADDRESS);
        stream.write_all(b"list\n").expect("sent");
        stream.read_exact(&mut [0; 17]).expect("answered");
        stream
    };
    let _first = useful();
    let mut silent = connect(&sandbox.host, ADDRESS);
    let _second = useful();
    assert_eq!(silent.read(&mut [0]).expect("closed"), 0);
    let line = daemon.wait_for("closed: it said nothing, and others waited");
    assert!(line.contains(&silent.local_addr().expect("an address").to_string()), "{line}");
    assert_eq!(ask(&sandbox, "list\n"), "error: too many connections\n");
    let line = daemon.wait_for("refused: too many connections");
    assert!(line.contains("10.9.0.1:"), "{line}");
}

/// The daemon raises what it may open to what is allowed, and no connection is lost where that is not enough.
#[test]
fn where_no_more_files_can_be_opened_new_connections_wait() {
    let sandbox = sandbox();
    let mut command = sandbox.container.command("prlimit");
    command.arg("--nofile=30:60").arg(program("ipsetd"));
    let mut daemon = Daemon::spawn({
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("IPSET", "1").env(ANY.0, ANY.1);
        command
    });
    daemon.wait_for("listening on port");
    let mut all: Vec<TcpStream> = (0..60).map(|_| connect(&sandbox.host, ADDRESS)).collect();
    for stream in &mut all {
        stream.write_all(b"list\n").expect("sent");
    }
    daemon.wait_for("cannot accept connections: ");
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.child.id())).expect("it runs").count();
    assert!(open >= 60, "{open} open files");
    // the first to come are the first that are served
    for mut stream in all {
        let mut answer = [0; 17];
        stream.read_exact(&mut answer).expect("answered once the others are gone");
        assert_eq!(&answer, b"ok blacklistsmtp\n");
    }
}

#[test]
fn who_never_reads_is_closed_and_others_are_served() {
    let sandbox = sandbox();
    let mut daemon = Daemon::start(&sandbox, &[ANY, ("IPSET_PATIENCE", "2")], &[]);
    let before = memory(&daemon);
    let mut stream = connect(&sandbox.host, ADDRESS);
    // until nothing goes out any more, or the daemon has closed
    let writer = std::thread::spawn(move || {
        let lines = "test blacklistsmtp 1.0.0.1 nonsense\n".repeat(2000);
        let mut sent = 0;
        while stream.write_all(lines.as_bytes()).is_ok() {
            sent += lines.len();
            assert!(sent < 500_000_000, "the daemon reads on for ever");
        }
    });
    assert_eq!(ask(&sandbox, "test blacklistsmtp 1.0.0.1\n"), "ok not in\n");
    daemon.wait_for("closed: it did not read its answers");
    writer.join().expect("it was stopped");
    let after = memory(&daemon);
    assert!(after < before + 20_000, "{before} KiB, then {after} KiB");
}

#[test]
fn an_endless_line_is_answered_once_and_kept_nowhere() {
    let sandbox = sandbox();
    let daemon = Daemon::open(&sandbox);
    let before = memory(&daemon);
    let mut stream = connect(&sandbox.host, ADDRESS);
    for _ in 0..500 {
        stream.write_all(&vec![b'x'; 100_000]).expect("it is read");
    }
    assert!(memory(&daemon) < before + 10_000, "{before} KiB before");
    stream.write_all(b"\ntest blacklistsmtp 1.0.0.1\n").expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("closed");
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("answers");
    assert_eq!(answers, "error: the line is longer than 4096 bytes\nok not in\n");
}

#[test]
fn who_is_too_quick_waits() {
    let sandbox = sandbox();
    let _daemon = Daemon::start(&sandbox, &[ANY], &["--max-rate", "100"]);
    let begin = Instant::now();
    let answers = ask(&sandbox, &"test blacklistsmtp 1.0.0.1\n".repeat(150));
    assert_eq!(answers, "ok not in\n".repeat(150));
    // the first hundred at once, the others after the second that these have cost
    assert!(begin.elapsed() >= Duration::from_millis(950), "{:?}", begin.elapsed());
}

/// Each of these changes copies the set, and none of them waits for the others of its peer.
#[test]
fn others_have_their_turn_between_lines_that_take_long() {
    let sandbox = sandbox();
    let _daemon = Daemon::open(&sandbox);
    sandbox.container.sh("for n in $(seq 0 9999); do echo add blacklistsmtp 1.0.$((n / 256)).$((n % 256)); done | ipset restore");
    for (first, last, line) in [
        ("10.0.0.0", "10.0.39.0", (|n| format!("add blacklistsmtp 10.0.{n}.0/31\n")) as fn(u8) -> String),
        ("10.1.0.0", "10.1.29.0", |n| format!("begin\nadd blacklistsmtp 10.1.{n}.0\ncommit\n")),
    ] {
        let count = last.split('.').nth(2).and_then(|n| n.parse().ok()).expect("a number");
        let mut other = BufReader::new(connect(&sandbox.host, ADDRESS));
        let mut long = connect(&sandbox.host, ADDRESS);
        // so few bytes that they arrive together
        long.write_all((0..=count).map(line).collect::<String>().as_bytes()).expect("sent");
        let between = std::iter::from_fn(|| {
            let lines = format!("test blacklistsmtp {first}\ntest blacklistsmtp {last}\n");
            other.get_mut().write_all(lines.as_bytes()).expect("sent");
            let mut answers = [String::new(), String::new()];
            for answer in &mut answers {
                other.read_line(answer).expect("answered");
            }
            Some(answers.map(|answer| answer == "ok in\n"))
        });
        let seen = between.into_iter().find(|[first, _]| *first);
        assert_eq!(seen, Some([true, false]), "{first}");
    }
}

/// An answer of exactly 4 MiB is one, and while 64 MiB of such lie unread, there are no more of them.
#[test]
fn lists_have_so_many_bytes_alone_and_together() {
    let sandbox = sandbox();
    // little is on its way, and all else lies in the daemon
    sandbox.container.sh("echo 4096 16384 16384 >/proc/sys/net/ipv4/tcp_wmem");
    sandbox.host.sh("echo 4096 16384 16384 >/proc/sys/net/ipv4/tcp_rmem");
    // each entry has 280 bytes, and two more between it and the next
    sandbox.container.sh("ipset create large hash:ip comment
         seq 0 14872 | awk '{ c = sprintf(\"%255s\", \"\"); gsub(\" \", \"x\", c)
             print \"add large 10.\" 100 + int($1 / 10000) \".\" 100 + int($1 / 100) % 100 \".\" 100 + $1 % 100 \" comment \\\"\" c \"\\\"\" }' | ipset restore");
    let mut daemon = Daemon::start(&sandbox, &[ANY, ("IPSET_PATIENCE", "600")], &[]);
    let last = |bytes: usize| format!("10.200.200.200 comment \"{}\"\n", "x".repeat(bytes));
    assert_eq!(ask(&sandbox, &format!("add large {}", last(94))), "ok\n");
    let too_long = "the entries of set `large` do not fit into an answer of 4194304 bytes";
    assert_eq!(ask(&sandbox, "list large\n"), format!("error: {too_long}\n"));
    daemon.wait_for(&format!("sent a bad line: {too_long}"));
    assert_eq!(ask(&sandbox, &format!("add large -exist {}", last(93))), "ok\n");
    assert_eq!(ask(&sandbox, "list large\n").len(), "ok \n".len() + (4 << 20));

    let mut unread: Vec<TcpStream> = Vec::new();
    let mut begin = || {
        let mut stream = connect(&sandbox.host, ADDRESS);
        stream.write_all(b"list large\n").expect("sent");
        stream.read_exact(&mut [0; 3]).expect("answered");
        unread.push(stream);
    };
    (0..16).for_each(|_| begin());
    assert_eq!(ask(&sandbox, "list\n"), "ok blacklistsmtp large\n");
    begin();
    let refused = "error: too many answers lie unread, ask again later\n";
    let lines = "list\nlist large\ntest blacklistsmtp 1.0.0.1\n?\n";
    let answers = ask(&sandbox, lines);
    let answers = answers.strip_prefix(&format!("{refused}{refused}ok not in\nerror: "));
    assert!(answers.is_some_and(|rest| rest.ends_with('\n')), "{answers:?}");
    let line = daemon.wait_for(" was refused `list`: answers of more than 64 MiB lie unread in all");
    assert!(line.contains("10.9.0.1:"), "{line}");
    // of one connection only once, and apart from its bad lines
    let line = daemon.wait_for("sent a bad line: ");
    assert!(!line.contains("too many answers"), "{line}");
    daemon.wait_for("was refused 1 lines more");
    // the answers are whole
    let mut rest = String::new();
    let mut one = unread.pop().expect("one");
    one.shutdown(std::net::Shutdown::Write).expect("closed");
    one.read_to_string(&mut rest).expect("answered");
    assert_eq!(rest.len(), (4 << 20) + 1);
    assert_eq!(ask(&sandbox, "list\n"), "ok blacklistsmtp large\n");
}

/// What is copied is in memory.
#[test]
fn a_set_that_is_too_large_is_not_copied() {
    let sandbox = sandbox();
    sandbox.container.sh("ipset create large hash:ip maxelem 300000
         seq 0 262144 | awk '{ print \"add large 1.\" int($1 / 65536) \".\" int($1 / 256) % 256 \".\" $1 % 256 }' | ipset restore");
    let _daemon = Daemon::open(&sandbox);
    let message = "set `large` has 262145 entries, and one of more than 262144 is not copied; hint: lines of one entry, \
                   outside of a batch, copy nothing";
    assert_eq!(ask(&sandbox, "add large 10.0.0.0/31\n"), format!("error: {message}\n"));
    assert_eq!(
        ask(&sandbox, "begin\nadd large 10.0.0.0\ncommit\n"),
        format!("ok\nok\nerror: line 1 of the batch: {message}; nothing was changed\n")
    );
    // one entry less is within the limit
    assert_eq!(ask(&sandbox, "del large 1.0.0.0\nadd large 10.0.0.0/31\n"), "ok\nok\n");
    assert_eq!(sandbox.container.sh("ipset list large -t | grep entries"), "Number of entries: 262146\n");
    // what is replaced altogether is not copied either
    assert_eq!(
        ask(&sandbox, "add large 10.0.0.5\nbegin\nflush large\ncommit\nlist large\n"),
        "ok\n".repeat(5)
    );
}
