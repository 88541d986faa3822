//! A socket that is handed over, as systemd does it.

use std::process::{Command, Stdio};

use fwn_testkit::plugin::program;

use crate::kit::{Daemon, World, ask, ipsetd, until};

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
