//! A socket that is handed over, as systemd does it.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use fwn_testkit::Netns;
use fwn_testkit::plugin::program;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::kit::{ADDRESS, Daemon, World, ask, connect, ipsetd, until};

/// `systemd-socket-activate` is what systemd does: it listens, and starts the daemon when somebody connects.
#[test]
fn a_socket_of_systemd_is_taken_over() {
    let world = World::new();
    world.sh("mkdir -p /run/ipsetd");
    let mut command = world.command("systemd-socket-activate");
    command.arg("--listen=/run/ipsetd/ipsetd.sock").arg(program("ipsetd")).args([
        "node",
        "--socket",
        "/nowhere/else",
    ]);
    let mut daemon = Daemon::spawn(command);
    until("systemd listens", || world.path("/run/ipsetd/ipsetd.sock").exists());
    world.run("ADD", &world.served());
    daemon.wait_for("0 containers are served");
    assert_eq!(ask(&world, "add blocked 192.0.2.1"), "ok\n");
    // the socket is systemd's, and stays
    assert_eq!(daemon.stop(), Some(0));
    assert!(world.path("/run/ipsetd/ipsetd.sock").exists());
}

/// While the daemon ends, nobody takes what comes to the socket that systemd keeps; the plugin waits for the next one.
#[test]
fn an_add_while_the_daemon_is_restarted_succeeds() {
    let world = World::new();
    world.sandbox.container.sh("echo 4096 16384 16384 >/proc/sys/net/ipv4/tcp_wmem");
    world.sandbox.host.sh("echo 4096 16384 16384 >/proc/sys/net/ipv4/tcp_rmem");
    world.sh("mkdir -p /run/ipsetd");
    let socket = UnixListener::bind(world.path("/run/ipsetd/ipsetd.sock")).expect("a socket");
    let start = || {
        let socket = socket.try_clone().expect("a descriptor");
        let mut command = world.command("bash");
        command.arg("-c").arg("export LISTEN_PID=$$ LISTEN_FDS=1; exec $0 node 3<&0 </dev/null");
        command.arg(program("ipsetd"));
        Daemon::spawn_with(command, std::os::fd::OwnedFd::from(socket))
    };
    let mut daemon = start();
    world.run("ADD", &world.served());
    world.sandbox.container.sh(
        "for n in $(seq 0 19999); do echo add blocked 10.0.$((n / 256)).$((n % 256)); done | ipset restore",
    );
    // does not read on, so it is waited for
    let mut reader = connect(&world.sandbox.host, ADDRESS);
    reader.write_all(b"list blocked\n").expect("sent");
    reader.read_exact(&mut [0; 3]).expect("answered");
    kill(Pid::from_raw(daemon.child.id().cast_signed()), Signal::SIGTERM).expect("it runs");
    daemon.wait_for("ending");
    let other = Netns::new();
    let mut next = std::thread::scope(|scope| {
        let restart = scope.spawn(|| {
            daemon.wait_for("connections were broken off after");
            assert_eq!(daemon.child.wait().expect("it ends").code(), Some(0));
            start()
        });
        world.add("c2", &other.path().display().to_string(), &world.served());
        restart.join().expect("restarted")
    });
    next.wait_for("1 containers are served, of 1 registered");
}

#[test]
fn what_is_no_socket_is_refused() {
    let world = World::new();
    let shown = |script: &str| {
        let mut command: Command = world.command("bash");
        command.arg("-c").arg(script).arg(program("ipsetd")).stdin(Stdio::null());
        let output = command.output().expect("bash runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    let wrong = "ipsetd: error: descriptor 3 is no listening unix stream socket: `ListenStream=` of the socket unit makes one\n";
    let start = "export LISTEN_PID=$$ LISTEN_FDS=1; exec $0 node --socket /run/other.sock";
    assert_eq!(shown(&format!("exec 3</dev/null; {start}")), (Some(1), wrong.into()));
    assert_eq!(shown(&format!("exec 3>&-; {start}")), (Some(1), wrong.into()));
    let (code, message) = shown("export LISTEN_PID=$$ LISTEN_FDS=2; exec $0 node");
    assert_eq!(
        (code, message.as_str()),
        (Some(1), "ipsetd: error: 2 sockets were handed over, and one is needed\n")
    );
    // meant for another process
    let daemon = Daemon::start(&world, &[]);
    let (code, message) = shown("export LISTEN_PID=1 LISTEN_FDS=1; exec $0 node");
    assert!(code == Some(1) && message.contains("another ipsetd listens on"), "{message}");
    drop(daemon);
    assert!(ipsetd(&world, &["node", "--help"]).status.success());
}
