//! The `ipsetd` key where the daemon of the node is not there, or not as it should be. What a real one does is tested
//! with it, in `crates/ipsetd`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::chown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::JoinHandle;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind};
use serde_json::{Value, json};

use crate::kit::{World, full, rule};

/// What stands in for a daemon: answers each connection from a script, line by line, and gives what it was asked.
struct Peer {
    thread: JoinHandle<Vec<Value>>,
}

/// One connection: answers to its lines in turn; then it is closed.
type Script = Vec<String>;

impl Peer {
    fn start(world: &World, connections: Vec<Script>) -> Self {
        let path = socket(world);
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket");
        let thread = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for script in connections {
                let (stream, _) = listener.accept().expect("a connection");
                let mut lines = BufReader::new(&stream);
                for answer in script {
                    let mut line = String::new();
                    lines.read_line(&mut line).expect("a line");
                    asked.push(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")));
                    (&stream).write_all(answer.as_bytes()).expect("sent");
                }
                // a program that another test starts just now may have a copy for a moment
                let _ = stream.shutdown(Shutdown::Both);
            }
            fs::remove_file(path).expect("removed");
            asked
        });
        Self { thread }
    }

    fn asked(self) -> Vec<Value> {
        self.thread.join().expect("as the script has it")
    }
}

fn socket(world: &World) -> PathBuf {
    world.dir.path().join("ipsetd.sock")
}

fn conf(world: &World, more: &Value) -> Value {
    let mut conf = world.conf_of("1.1.0", &full());
    let mut key = json!({ "socket": socket(world), "timeout": 1, "allowFrom": ["10.9.0.1"] });
    key.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    conf["ipsetd"] = key;
    conf
}

fn ready(world: &World) -> String {
    fs::write(world.path("record"), "{}").expect("written");
    answer(&json!({ "version": 1, "answer": "ready", "record": world.path("record") }))
}

fn done() -> String {
    answer(&json!({ "version": 1, "answer": "done" }))
}

fn answer(value: &Value) -> String {
    format!("{value}\n")
}

#[test]
fn an_add_without_a_daemon_fails_before_anything_is_changed() {
    let world = World::with_foreign();
    let conf = conf(&world, &json!({}));
    let (message, details) = world.refused(11, &world.call("ADD", &conf));
    let path = socket(&world).display().to_string();
    assert_eq!(message, format!("cannot connect to ipsetd at `{path}`: ENOENT: No such file or directory"));
    assert_eq!(details, "the key `ipsetd` needs a running `ipsetd node` on this node");

    // left over by a dead one
    let left = nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .expect("a socket");
    bind(left.as_raw_fd(), &UnixAddr::new(path.as_str()).expect("short")).expect("bound");
    let (message, _) = world.refused(11, &world.call("ADD", &conf));
    assert_eq!(message, format!("cannot connect to ipsetd at `{path}`: ECONNREFUSED: Connection refused"));

    let (message, _) = world.refused(50, &world.call("STATUS", &conf));
    assert!(message.starts_with("cannot connect to ipsetd at `"), "{message}");
    // nothing was made, nothing is missed
    let answer = world.call("DEL", &conf).run();
    answer.expect_success();
    assert!(answer.stderr.contains("cannot connect to ipsetd at `"), "{answer:?}");
}

#[test]
fn a_daemon_that_says_nothing_or_nonsense_is_not_waited_for() {
    let world = World::with_foreign();
    let conf = conf(&world, &json!({}));
    let path = socket(&world).display().to_string();

    // connections are taken by the kernel, and nobody reads
    let listener = UnixListener::bind(&path).expect("a socket");
    let (message, _) = world.refused(11, &world.call("ADD", &conf));
    assert_eq!(message, format!("ipsetd at `{path}` did not answer within 1 s"));
    drop(listener);

    for (script, words) in [
        ("error: unknown verb\n", "does not speak as expected: not a message of this protocol"),
        ("{\"version\":7,\"answer\":\"song\"}\n", "the message has version 7, this program speaks version 1"),
        ("{\"version\":1,\"answer\":\"done\"}\n", "gave an answer to another question"),
        ("{\"version\":1,", "unexpected end of file"),
    ] {
        let peer = Peer::start(&world, vec![vec![script.to_owned()]]);
        let (message, _) = world.refused(11, &world.call("ADD", &conf));
        assert!(message.contains(words), "expected `{words}`, found `{message}`");
        peer.asked();
    }
}

#[test]
fn a_socket_of_somebody_else_is_not_trusted() {
    let world = World::new();
    let path = socket(&world);
    let dir = tempfile::tempdir_in("/tmp").expect("a folder");
    chown(dir.path(), Some(65534), None).expect("given away");
    let theirs = dir.path().join("theirs.sock");
    let mut stranger = world.sandbox.host.command("setpriv");
    stranger.args(["--reuid=65534", "--clear-groups", "ncat", "-vlU"]).arg(&theirs);
    let mut stranger = stranger.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("setpriv runs");
    let mut said = BufReader::new(stranger.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("Listening on")));
    std::os::unix::fs::symlink(&theirs, &path).expect("linked");
    let (message, _) = world.refused(11, &world.call("ADD", &conf(&world, &json!({}))));
    assert_eq!(message, format!("the socket `{}` belongs to user 65534", path.display()));
    let output = stranger.wait_with_output().expect("ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "it was told nothing");
}

#[test]
fn a_refusal_points_at_the_key() {
    let world = World::with_foreign();
    let refused = answer(&json!({
        "version": 1, "answer": "refused", "message": "port 9999 is taken", "hint": "another `port`",
    }));
    let conf = conf(&world, &json!({}));
    let peer = Peer::start(&world, vec![vec![refused.clone()]]);
    let (message, details) = world.refused(7, &world.call("ADD", &conf));
    assert!(
        message.ends_with(": ipsetd: ipsetd refuses: port 9999 is taken; hint: another `port`"),
        "{message}"
    );
    assert!(details.contains("ipsetd refuses: port 9999 is taken") && details.contains("^^^"), "{details}");
    let asked = peer.asked();
    assert_eq!(asked[0]["netns_path"], json!(world.netns()));
    assert_eq!(
        asked[0]["access"],
        json!({ "port": 9999, "allow_from": ["10.9.0.1/32"], "allow_any": false })
    );

    // the firewall is in force by then, and is taken out again
    let peer = Peer::start(&world, vec![vec![ready(&world), refused]]);
    world.refused(7, &world.call("ADD", &conf));
    assert_eq!(peer.asked()[1], json!({ "version": 1, "request": "commit" }));

    // the daemon dies between the two
    let peer = Peer::start(&world, vec![vec![ready(&world)]]);
    let (message, _) = world.refused(11, &world.call("ADD", &conf));
    assert!(message.starts_with("cannot talk to ipsetd at `"), "{message}");
    peer.asked();
}

#[test]
fn a_registration_lasts_until_its_del() {
    let world = World::with_foreign();
    let before = world.container();
    let conf = conf(&world, &json!({}));
    let peer = Peer::start(&world, vec![vec![ready(&world), done()], vec![done()], vec![done()]]);
    world.run("ADD", &conf);
    world.run("CHECK", &conf);
    // by its state: the key may be gone by then
    let mut without = conf.clone();
    without.as_object_mut().expect("an object").remove("ipsetd");
    world.run("DEL", &without);
    let requests: Vec<_> = peer.asked().iter().map(|asked| asked["request"].clone()).collect();
    assert_eq!(requests, ["register", "commit", "check", "unregister"]);
    assert_eq!(world.container(), before);
    assert!(world.state_files().is_empty());
    assert!(fs::exists(world.path("record")).expect("looked up"), "the daemon's own file is the daemon's");
}

#[test]
fn a_daemon_that_died_fails_a_check_and_no_del() {
    let world = World::with_foreign();
    let before = world.container();
    let conf = conf(&world, &json!({}));
    let add = || {
        let peer = Peer::start(&world, vec![vec![ready(&world), done()]]);
        world.run("ADD", &conf);
        peer.asked();
    };
    add();
    let (message, _) = world.refused(101, &world.call("CHECK", &conf));
    assert!(message.starts_with("cannot connect to ipsetd at `"), "{message}");
    let answer = world.call("DEL", &conf).run();
    answer.expect_success();
    assert!(answer.stderr.contains("cannot connect to ipsetd at `"), "{answer:?}");
    assert_eq!(world.container(), before);
    // or it would serve the container again when it comes back
    assert!(!fs::exists(world.path("record")).expect("looked up"));

    // the same where GC cleans up, and where the namespace is gone
    add();
    let mut gc = conf.clone();
    gc["cni.dev/valid-attachments"] = json!([]);
    let answer = world.call("GC", &gc).run();
    let (code, message, _) = answer.expect_error();
    assert_eq!((code, message.starts_with("cannot connect to ipsetd at `")), (11, true), "{message}");
    assert!(!fs::exists(world.path("record")).expect("looked up"));
    assert_eq!(world.container(), before);
    assert!(world.state_files().is_empty());

    add();
    world.call("DEL", &conf).without("CNI_NETNS").run().expect_success();
    assert!(!fs::exists(world.path("record")).expect("looked up"));
}

#[test]
fn an_add_again_that_is_not_served_leaves_the_container_closed() {
    let world = World::with_foreign();
    let conf = conf(&world, &json!({}));
    let peer = Peer::start(&world, vec![vec![ready(&world), done()], vec![ready(&world)]]);
    world.run("ADD", &conf);
    let mut other = conf.clone();
    other["rules"].as_array_mut().expect("a list").push(rule("INPUT", "-p tcp --dport 81 -j DROP"));
    let answer = world.call("ADD", &other).run();
    assert_eq!(answer.expect_error().0, 11);
    assert!(answer.stderr.contains("the firewall is in force, but nobody serves its sets"), "{answer:?}");
    assert!(world.container().contains("--dport 81 -j DROP"));
    peer.asked();
    world.call("DEL", &conf).run().expect_success();
}

#[test]
fn an_add_again_without_the_key_is_served_no_longer() {
    let world = World::with_foreign();
    let conf = conf(&world, &json!({}));
    let peer = Peer::start(&world, vec![vec![ready(&world), done()], vec![done()]]);
    world.run("ADD", &conf);
    world.run("ADD", &world.conf_of("1.1.0", &full()));
    assert_eq!(peer.asked().last().expect("asked")["request"], "unregister");
    let state = fs::read_to_string(world.state_file()).expect("a state");
    assert!(!state.contains("ipsetd"), "{state}");
}

#[test]
fn sets_that_nobody_makes_are_refused() {
    let world = World::with_foreign();
    let (message, _) = world.refused(
        7,
        &world.call("ADD", &conf(&world, &json!({ "sets": ["blocked", "theirs", "blokced", "x"] }))),
    );
    let lines: Vec<_> = message.lines().collect();
    let [typo, unknown] = lines.as_slice() else { panic!("{message}") };
    assert!(
        typo.ends_with("ipsetd.sets[2]: set `blokced` does not exist; hint: did you mean `blocked`?"),
        "{typo}"
    );
    assert!(unknown.ends_with("set `x` does not exist; hint: an element of `ipsets` makes it"), "{unknown}");
}

#[test]
fn a_connection_is_closed_where_the_plugin_gives_up() {
    // so that the daemon forgets what it had got ready
    let world = World::with_foreign();
    let socket = socket(&world);
    let listener = UnixListener::bind(&socket).expect("a socket");
    let ready = ready(&world);
    let thread = std::thread::spawn(move || {
        let (mut stream, _): (UnixStream, _) = listener.accept().expect("a connection");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).expect("a line");
        stream.write_all(ready.as_bytes()).expect("sent");
        let mut rest = String::new();
        stream.read_to_string(&mut rest).expect("the end");
        rest
    });
    let mut conf = conf(&world, &json!({}));
    conf["ipsets"][0]["set"] = json!("theirs");
    conf["ipsets"][2]["entries"] = json!(["theirs"]);
    conf["rules"][1]["rule"] = json!("-m set --match-set theirs src -j DROP");
    let (message, _) = world.refused(100, &world.call("ADD", &conf));
    assert!(message.contains("set `theirs` exists already"), "{message}");
    assert_eq!(thread.join().expect("ended"), "", "no commit");
}
