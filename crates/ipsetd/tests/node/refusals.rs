//! What is refused: with one clear answer, a log line, and everything as it was.

use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Instant;

use fwn_testkit::Netns;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::{Value, json};

use crate::kit::{Daemon, World, ask, ipsetd, listens};

/// An ADD that must fail, and leave the container as it was.
#[track_caller]
fn refused(world: &World, conf: &Value, code: u64, words: &str) {
    let before = world.sandbox.container.dump();
    let answer = world.call("ADD", conf).run();
    let (found, message, _) = answer.expect_error();
    assert_eq!(found, code, "{answer:?}");
    assert!(message.contains(words), "expected `{words}`, found `{message}`");
    assert_eq!(world.sandbox.container.dump(), before);
    assert!(world.records().is_empty());
}

#[test]
fn a_port_that_nothing_guards_stays_closed() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &[]);
    let words = "ipsetd: ipsetd refuses: nothing guards this port";
    refused(&world, &world.conf(&json!({ "ipsetd": {} })), 7, words);
    daemon.wait_for("refused: nothing guards this port");
    // one family closed is not closed
    let half =
        json!({ "policies": [ { "chain": "INPUT", "policy": "DROP", "family": "ipv4" } ], "ipsetd": {} });
    refused(&world, &world.conf(&half), 7, words);
    assert!(!listens(&world.sandbox.container, 9999));
    // each of these is enough
    let closed = json!({ "policies": [ { "chain": "INPUT", "policy": "DROP" } ], "ipsetd": {} });
    for more in [closed, json!({ "ipsetd": { "allowAny": true } })] {
        world.run("ADD", &world.conf(&more));
        assert!(listens(&world.sandbox.container, 9999));
        world.run("DEL", &world.conf(&more));
    }
}

#[test]
fn a_port_that_is_taken_is_refused() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &[]);
    let taken = world.sandbox.container.run(|| TcpListener::bind("127.0.0.1:9999")).expect("a listener");
    refused(&world, &world.served(), 7, "port 9999 is taken in this network namespace; hint: another `port`");
    daemon.wait_for("port 9999 is taken");
    drop(taken);
    world.run("ADD", &world.served());
}

#[test]
fn files_that_are_not_there_or_not_secret_are_refused() {
    let world = World::new();
    let _daemon = Daemon::start(&world, &[]);
    let conf = world.conf(&json!({ "ipsetd": { "tokenFile": "/run/token" } }));
    refused(&world, &conf, 7, "cannot read token file `/run/token`");
    world.sh("echo 0123456789abcdef >/run/token; chmod 0644 /run/token");
    refused(&world, &conf, 7, "is not for its owner alone");
}

/// A request as the plugin sends it, with a descriptor.
fn register(world: &World, netns: &Path, named: &str) -> (String, std::os::unix::net::UnixStream) {
    let request = json!({
        "version": 1, "request": "register",
        "attachment": { "network": "net", "container": "c9", "interface": "eth0" },
        "netns_path": named, "access": { "port": 9999, "allow_any": true },
    });
    let mut stream = world.talk();
    let file = File::open(netns).expect("opened");
    let fds: [RawFd; 1] = [file.as_raw_fd()];
    let line = format!("{request}\n");
    let control = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(line.as_bytes())], &control, MsgFlags::empty(), None)
        .expect("sent");
    let answer = read_line(&mut stream);
    (answer, stream)
}

fn read_line(stream: &mut std::os::unix::net::UnixStream) -> String {
    let mut line = String::new();
    let mut byte = [0];
    while !line.ends_with('\n') && stream.read(&mut byte).expect("an answer") > 0 {
        line.push(byte[0].into());
    }
    line
}

/// The plugin refuses them as well; here somebody asks who does not.
#[test]
fn namespaces_that_are_no_containers_are_refused() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &[]);
    let own = world.sandbox.host.path();
    // this test runs in the machine's namespace, and so does pid 1
    let machine = std::path::PathBuf::from(format!("/proc/{}/ns/net", std::process::id()));
    let netns = world.sandbox.container.path();
    for (path, named, words) in [
        (
            own.as_path(),
            own.as_path(),
            "is the network namespace of this program: the host's firewall is never touched",
        ),
        (
            machine.as_path(),
            machine.as_path(),
            "is the network namespace of pid 1: the host's firewall is never touched",
        ),
        (Path::new("/proc/self/ns/mnt"), Path::new("/proc/self/ns/mnt"), "is not a network namespace"),
        (Path::new("/dev/null"), Path::new("/dev/null"), "is not a network namespace"),
        // by its path it could not be found again
        (
            netns.as_path(),
            Path::new("/run/netns/nowhere"),
            "`/run/netns/nowhere` does not lead to this network namespace",
        ),
        (netns.as_path(), own.as_path(), "does not lead to this network namespace"),
        (netns.as_path(), Path::new("netns"), "`netns` does not lead to this network namespace"),
    ] {
        let (answer, _) = register(&world, path, &named.display().to_string());
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer["answer"], "refused", "{answer}");
        let message = answer["message"].as_str().expect("a text");
        assert!(message.contains(words), "expected `{words}`, found `{message}`");
        daemon.wait_for("refused");
    }
    assert!(world.records().is_empty());
    // without any
    let request = json!({
        "version": 1, "request": "register",
        "attachment": { "network": "net", "container": "c9", "interface": "eth0" },
        "netns_path": netns, "access": { "port": 9999, "allow_any": true },
    });
    assert!(
        world
            .say(format!("{request}\n"))
            .contains("one descriptor of a network namespace has to come with it")
    );
}

#[test]
fn a_registration_without_a_commit_leaves_nothing_behind() {
    let world = World::new();
    let _daemon = Daemon::start(&world, &[]);
    let netns = world.sandbox.container.path();
    let (answer, stream) = register(&world, &netns, &netns.display().to_string());
    assert!(answer.contains(r#""answer":"ready""#), "{answer}");
    assert!(!listens(&world.sandbox.container, 9999), "nobody gets in");
    drop(stream);
    // who is quicker in the middle keeps the port
    let (_, mut stream) = register(&world, &netns, &netns.display().to_string());
    let _quicker = world.sandbox.container.run(|| TcpListener::bind("[::]:9999")).expect("shared");
    stream.write_all(b"{\"version\":1,\"request\":\"commit\"}\n").expect("sent");
    let answer = read_line(&mut stream);
    assert!(answer.contains("port 9999 is taken in this network namespace"), "{answer}");
    assert!(world.records().is_empty());
}

/// The container dies between the two steps of its registration.
#[test]
fn a_namespace_that_vanishes_in_the_middle_is_not_served() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &["--look-every", "1"]);
    let netns = Netns::new();
    let path = netns.path();
    let (answer, mut stream) = register(&world, &path, &path.display().to_string());
    assert!(answer.contains(r#""answer":"ready""#), "{answer}");
    drop(netns);
    stream.write_all(b"{\"version\":1,\"request\":\"commit\"}\n").expect("sent");
    let answer = read_line(&mut stream);
    assert!(answer.contains("is gone"), "{answer}");
    daemon.wait_for("is gone");
    assert!(world.records().is_empty());
}

#[test]
fn what_is_no_message_gets_one_answer() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &["--patience", "1"]);
    for (bytes, answer) in [
        (&b"add blocked 192.0.2.1\n"[..], "error: a line begins with `@CONTAINER` or `@*`\n"),
        (b"\xff\xfe\0\n", "error: a line begins with `@CONTAINER` or `@*`\n"),
        (b"@c1 add blocked \xff\n", "error: the line is not UTF-8, at byte 14\n"),
        (b"@none add blocked 192.0.2.1", "error: no container `none` is served here\n"),
        (b"@* begin\n", "error: there are no batches here: each line is carried out at once\n"),
        (b"@* auth x\n", "error: operators need no token\n"),
    ] {
        assert_eq!(world.say(bytes), answer);
    }
    for (bytes, words) in [
        (&b"{}\n"[..], "not a message of this protocol"),
        (b"{\"version\":1,\"request\":\"commit\"", "not a message of this protocol"),
        (b"{\"version\":1,\"request\":\"commit\"}\n", "nothing was registered"),
        (
            b"{\"version\":2,\"request\":\"commit\"}\n",
            "the message has version 2, this program speaks version 1",
        ),
    ] {
        let answer = world.say(bytes);
        assert!(answer.contains(words) && answer.ends_with("}\n"), "{answer}");
        daemon.wait_for(words);
    }
    // endless
    let mut line = vec![b'x'; 5 << 20];
    assert_eq!(world.say(&line), "error: a line has at most 4194304 bytes\n");
    daemon.wait_for("sent a line that is too long");
    line.push(b'\n');
    assert_eq!(world.say(&line), "error: a line has at most 4194304 bytes\n");
    // half a message, then silence: others are served meanwhile
    let mut silent = world.talk();
    let begin = Instant::now();
    silent.write_all(b"{\"version\":1,").expect("sent");
    assert_eq!(world.say("@none add blocked 192.0.2.1\n"), "error: no container `none` is served here\n");
    let mut answer = String::new();
    silent.read_to_string(&mut answer).expect("closed");
    assert_eq!(answer, "error: the line was not ended within 1 seconds\n");
    assert!(begin.elapsed().as_secs() < 5, "{:?}", begin.elapsed());
    daemon.wait_for("did not end its line");

    world.run("ADD", &world.served());
    assert_eq!(ask(&world, "add blocked 192.0.2.1"), "ok\n");
}

#[test]
fn only_root_registers() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &["--group", "65534"]);
    world.run("ADD", &world.served());
    let as_user = |gid: u32, line: &str| {
        let mut command = world.command("setpriv");
        command.args(["--reuid=65534", &format!("--regid={gid}"), "--clear-groups", "sh", "-c"]);
        command.arg(format!("echo '{line}' | ncat -U /run/ipsetd/ipsetd.sock"));
        let output = command.output().expect("setpriv (package util-linux) runs");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert_eq!(as_user(65534, "@c1 add blocked 192.0.2.1"), "ok\n");
    for request in [
        r#"{"version":1,"request":"unregister","attachment":{"network":"net","container":"c1","interface":"eth0"}}"#,
        r#"{"version":1,"request":"keep","network":"net","attachments":[]}"#,
        r#"{"version":1,"request":"commit"}"#,
    ] {
        assert!(as_user(65534, request).contains("only root may register containers"), "{request}");
        daemon.wait_for("(user 65534) refused: only root may register containers");
    }
    assert!(
        as_user(65534, r#"{"version":1,"request":"status","containers":false}"#)
            .contains(r#""registered":1"#)
    );
    // others do not even connect
    assert_eq!(as_user(65533, "@c1 add blocked 192.0.2.2"), "");
    world.run("CHECK", &world.served());
}

#[test]
fn a_socket_that_is_there_already() {
    let world = World::new();
    let daemon = Daemon::start(&world, &[]);
    let shown = |arguments: &[&str]| {
        let output = ipsetd(&world, arguments);
        (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    let live = "ipsetd: error: another ipsetd listens on `/run/ipsetd/ipsetd.sock` already\n";
    assert_eq!(shown(&["node"]), (Some(1), live.into()));
    // it was not disturbed
    world.run("ADD", &world.served());
    daemon.kill();
    // left over by the one that was killed
    let mut daemon = Daemon::start(&world, &[]);
    daemon.wait_for("`/run/ipsetd/ipsetd.sock` was left over, and is replaced");
    assert_eq!(daemon.stop(), Some(0));
    assert!(!world.path("/run/ipsetd/ipsetd.sock").exists(), "one that ends takes it along");

    world.sh("touch /run/ipsetd/ipsetd.sock");
    let file = "ipsetd: error: `/run/ipsetd/ipsetd.sock` is no socket, and is left alone\n";
    assert_eq!(shown(&["node"]), (Some(1), file.into()));
    world.sh("rm /run/ipsetd/ipsetd.sock; chmod 0777 /run/ipsetd/attachments");
    let open =
        "ipsetd: error: `/run/ipsetd/attachments` belongs to somebody else, or others may write to it\n";
    assert_eq!(shown(&["node"]), (Some(1), open.into()));
    assert_eq!(
        shown(&["node", "--group", "nosuch"]),
        (Some(1), "ipsetd: error: there is no group `nosuch`\n".into())
    );
    let (code, message) = shown(&["status"]);
    assert_eq!(code, Some(1));
    assert!(
        message.starts_with("ipsetd: error: cannot connect to ipsetd at `/run/ipsetd/ipsetd.sock`"),
        "{message}"
    );
    // one with a full backlog is a live one
    let _listener = UnixListener::bind(world.path("/run/ipsetd/ipsetd.sock")).expect("a socket");
    assert_eq!(shown(&["node"]), (Some(1), live.into()));
}
