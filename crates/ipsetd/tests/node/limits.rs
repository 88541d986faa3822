//! What peers may take of the daemon: those of one container, and those of all.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use fwn_testkit::Netns;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::kit::{ADDRESS, Daemon, World, ask, connect, entries, exchange, until};

/// Where the second container is reached.
const OTHER: &str = "10.9.1.2:9999";

/// Containers `c1` and `c2`, served for everybody.
fn serve_two(world: &World) -> Netns {
    let other = Netns::new();
    world.sandbox.host.sh(&format!(
        "ip link add host1 type veth peer name eth0 netns {}
         ip addr add 10.9.1.1/24 dev host1; ip link set host1 up",
        other.pid()
    ));
    other.sh("ip addr add 10.9.1.2/24 dev eth0; ip link set eth0 up");
    let conf = world.conf(&json!({ "ipsetd": { "allowAny": true } }));
    world.run("ADD", &conf);
    world.add("c2", &other.path().display().to_string(), &conf);
    other
}

/// A connection that has achieved something.
fn useful(world: &World, address: &str) -> TcpStream {
    let mut stream = connect(&world.sandbox.host, address);
    stream.write_all(b"list\n").expect("sent");
    let mut answer = [0; 11];
    stream.read_exact(&mut answer).expect("answered");
    assert_eq!(&answer, b"ok blocked\n");
    stream
}

#[test]
fn all_containers_have_so_many_connections_together() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &["--max-total", "2", "--debug"]);
    let _other = serve_two(&world);
    let (first, _second) = (useful(&world, ADDRESS), useful(&world, OTHER));
    for (address, name) in [(ADDRESS, "c1/eth0: 10.9.0.1:"), (OTHER, "c2/eth0: 10.9.1.1:")] {
        assert_eq!(exchange(&world.sandbox.host, address, "list"), "error: too many connections\n");
        let line = daemon.wait_for("refused: too many connections");
        assert!(line.contains(name), "{line}");
    }
    // the plugin and operators are not among them
    assert_eq!(world.say("@* add blocked 192.0.2.1"), "ok changed 2\n");
    // a place that is given back in one container is free in the other
    drop(first);
    until("a place is free", || exchange(&world.sandbox.host, OTHER, "list") == "ok blocked\n");
}

/// As in one container alone.
#[test]
fn who_said_nothing_in_one_container_makes_room_in_another() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &["--max-total", "2", "--debug"]);
    let _other = serve_two(&world);
    let _first = useful(&world, ADDRESS);
    let mut silent = connect(&world.sandbox.host, ADDRESS);
    let name = silent.local_addr().expect("an address").to_string();
    daemon.wait_for(&format!("{name} connected"));
    let _second = useful(&world, OTHER);
    assert_eq!(silent.read(&mut [0]).expect("closed"), 0);
    daemon.wait_for(&format!("c1/eth0: {name} closed: it said nothing, and others waited"));
}

#[test]
fn the_port_of_each_container_has_the_limits_of_the_flags() {
    let world = World::new();
    let arguments = ["--max-per-peer", "1", "--max-line", "40", "--max-batch", "1"];
    let mut daemon = Daemon::start(&world, &arguments);
    let other = serve_two(&world);
    let held = useful(&world, ADDRESS);
    assert_eq!(ask(&world, "list"), "error: too many connections of this peer\n");
    let line = daemon.wait_for("refused: too many connections of this peer");
    assert!(line.contains("c1/eth0: 10.9.0.1:"), "{line}");
    let too_many = "a batch has at most 1 lines";
    assert_eq!(
        exchange(
            &world.sandbox.host,
            OTHER,
            &format!(
                "{:40}\n{:41}\nbegin\nadd blocked 192.0.2.2\nadd blocked 192.0.2.3\ncommit\n",
                "add blocked 192.0.2.1", "add blocked 192.0.2.2"
            )
        ),
        format!(
            "ok\nerror: the line is longer than 40 bytes\nok\nok\nerror: {too_many}\n\
             error: line 2 of the batch: {too_many}; nothing was changed\n"
        )
    );
    assert_eq!(entries(&other, "blocked"), ["192.0.2.1"]);
    daemon.wait_for(&format!("sent a bad line: {too_many}"));
    drop(held);
}

/// Who reads gets all of its answers; who does not is waited for no longer than that.
#[test]
fn connections_have_so_long_to_end_with_the_daemon() {
    let world = World::new();
    world.sandbox.container.sh("echo 4096 16384 16384 >/proc/sys/net/ipv4/tcp_wmem");
    world.sandbox.host.sh("echo 4096 16384 16384 >/proc/sys/net/ipv4/tcp_rmem");
    let mut daemon = Daemon::start(&world, &["--drain", "5"]);
    world.run("ADD", &world.served());
    world.sandbox.container.sh(
        "for n in $(seq 0 19999); do echo add blocked 10.0.$((n / 256)).$((n % 256)); done | ipset restore",
    );
    let half_read = || {
        let mut stream = connect(&world.sandbox.host, ADDRESS);
        stream.write_all(b"list blocked\n").expect("sent");
        stream.read_exact(&mut [0; 3]).expect("answered");
        stream
    };
    let (mut reader, _other) = (half_read(), half_read());
    let begin = Instant::now();
    kill(Pid::from_raw(daemon.child.id().cast_signed()), Signal::SIGTERM).expect("it runs");
    daemon.wait_for("ending");
    let mut answer = String::new();
    reader.read_to_string(&mut answer).expect("answered");
    assert_eq!((answer.split("; ").count(), answer.pop()), (20_000, Some('\n')));
    daemon.wait_for("connections were broken off after 5 s");
    assert!(begin.elapsed() >= Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(daemon.child.wait().expect("it ends").code(), Some(0));
}
