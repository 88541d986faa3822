//! Lines of operators, and metrics.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use fwn_testkit::Netns;
use serde_json::json;

use crate::kit::{Daemon, PATIENCE, World, ask, entries};

#[test]
fn one_container_or_all_that_have_the_set() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &[]);
    let others: Vec<Netns> = (2..5).map(|_| Netns::new()).collect();
    world.run("ADD", &world.served());
    for (number, netns) in others.iter().enumerate() {
        let mut conf = world.served();
        match number {
            0 => {}
            1 => conf["ipsets"][0]["set"] = json!("another"),
            // full after one
            _ => conf["ipsets"][0]["maxElem"] = json!(1),
        }
        world.add(&format!("c{}", number + 2), &netns.path().display().to_string(), &conf);
    }
    assert_eq!(
        world.say("@c1 add blocked 192.0.2.1\n@c1 test blocked 192.0.2.1\n@c1 list"),
        "ok\nok in\nok blocked\n"
    );
    daemon.wait_for("user 0: `@c1 add blocked 192.0.2.1`");
    assert_eq!(entries(&world.sandbox.container, "blocked"), ["192.0.2.1"]);
    assert_eq!(entries(&others[0], "blocked"), [""; 0]);
    assert_eq!(world.say("@c9 add blocked 192.0.2.1"), "error: no container `c9` is served here\n");

    assert_eq!(world.say("@* add blocked 192.0.2.2"), "ok changed 3\n");
    let answer = world.say("@* add blocked 192.0.2.3");
    assert!(answer.starts_with("ok changed 2, refused 1: c4: ") && answer.contains("full"), "{answer}");
    assert_eq!(entries(&world.sandbox.container, "blocked"), ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    assert_eq!(entries(&others[0], "blocked"), ["192.0.2.2", "192.0.2.3"]);
    assert_eq!(entries(&others[2], "blocked"), ["192.0.2.2"]);
    // there already: nothing changes, and that is no `ok`
    let answer = world.say("@* add blocked 192.0.2.2");
    assert!(answer.starts_with("error: changed 0, refused 3: c1: "), "{answer}");
    assert_eq!(world.say("@* -exist add blocked 192.0.2.2"), "ok changed 3\n");
    assert_eq!(world.say("@* add nosuch 192.0.2.2"), "error: no container has set `nosuch`\n");
    assert_eq!(world.say("@* test blocked 192.0.2.2"), "error: `test` goes to one container: `@CONTAINER`\n");
    let answer = world.say("@* add blocked 192.0.2.300");
    assert!(answer.starts_with("error: changed 0, refused 3: c1: "), "{answer}");
    assert_eq!(world.say("@* flush blocked"), "ok changed 3\n");
    assert_eq!(entries(&others[2], "blocked"), [""; 0]);
}

/// Who asks for much and reads nothing does not fill the memory.
#[test]
fn answers_to_operators_are_made_as_they_are_read() {
    let world = World::new();
    let daemon = Daemon::start(&world, &[]);
    world.run("ADD", &world.served());
    world.sandbox.container.sh(
        "for n in $(seq 0 19999); do echo add blocked 10.0.$((n / 256)).$((n % 256)); done | ipset restore",
    );
    let before = daemon.memory();
    let mut stream = world.talk();
    stream.write_all("@c1 list blocked\n".repeat(100).as_bytes()).expect("sent");
    stream.read_exact(&mut [0; 3]).expect("answered");
    assert_eq!(world.say("@c1 test blocked 10.0.0.1"), "ok in\n");
    let after = daemon.memory();
    assert!(after < before + 12_000, "{before} KiB, then {after} KiB");
    // none is lost for that
    stream.shutdown(std::net::Shutdown::Write).expect("closed");
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("answers");
    assert_eq!(answers.lines().count(), 100);
}

fn scrape(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answered");
    text
}

#[test]
fn metrics_count_what_happens() {
    let world = World::new();
    let get = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    let unix = |world: &World| {
        let stream = UnixStream::connect(world.path("/run/metrics.sock")).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        stream
    };
    let daemon = Daemon::start(&world, &["--metrics", "/run/metrics.sock"]);
    world.run("ADD", &world.served());
    assert_eq!(
        ask(&world, "add blocked 192.0.2.1\nadd blocked 192.0.2.1\ntest blocked 192.0.2.1").lines().count(),
        3
    );
    world.say("@* add blocked 192.0.2.2");
    let text = scrape(unix(&world), get);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text"), "{text}");
    for line in [
        "ipsetd_registered 1",
        "ipsetd_listening 1",
        "ipsetd_connections 0",
        "ipsetd_changes_total 2",
        "ipsetd_errors_total 1",
        "ipsetd_gone_total 0",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
    assert!(scrape(unix(&world), "GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
    assert!(scrape(unix(&world), "add blocked 192.0.2.1\r\n\r\n").starts_with("HTTP/1.1 400"));
    assert_eq!(daemon.stop(), Some(0));

    // an address; in the namespace of the daemon
    let _daemon = Daemon::start(&world, &["--metrics", "127.0.0.1:9400"]);
    let stream = world.sandbox.host.run(|| TcpStream::connect("127.0.0.1:9400")).expect("it listens");
    assert!(scrape(stream, get).contains("\nipsetd_registered 1\n"));
}
