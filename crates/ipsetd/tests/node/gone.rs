//! Containers that end without a DEL. What the daemon has open in a namespace would keep it, and the interfaces in it,
//! so the tests look whether the host's end of a veth pair goes: the kernel removes it with the namespace.

use std::os::unix::fs::PermissionsExt;

use fwn_testkit::Netns;
use serde_json::json;

use crate::kit::{Daemon, World, connect, ipsetd, until};

/// Whether the host has an interface.
fn has(world: &World, interface: &str) -> bool {
    world.sandbox.host.try_sh(&format!("ip link show {interface}")).status.success()
}

/// `/proc/PID/ns/net`: the process ends.
#[test]
fn a_container_whose_process_ended_is_released() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &["--look-every", "3600"]);
    let container = Netns::new();
    let pid = container.pid();
    world.sh(&format!("ip link add veth9 type veth peer name eth0 netns {pid}"));
    world.add("c9", &container.path().display().to_string(), &world.served());
    world.run("ADD", &world.served());
    assert!(has(&world, "veth9"));
    drop(container);
    daemon.wait_for("c9/eth0: its network namespace is gone, it is served no longer");
    until("the interface goes with the namespace", || !has(&world, "veth9"));
    assert_eq!(world.records().len(), 1, "the other one stays");
    let text = String::from_utf8(ipsetd(&world, &["status"]).stdout).expect("UTF-8");
    assert!(text.contains(": 1 registered, 1 listening"), "{text}");
}

/// `/run/netns/NAME`: the mount goes, as with `ip netns del`. The daemon has mounts of its own, as a service does that
/// systemd runs with `ProtectSystem=`.
#[test]
fn a_container_whose_mount_is_gone_is_released() {
    let world = World::new();
    world
        .sh("mount --make-shared /run; ip netns add c9; ip link add veth9 type veth peer name eth0 netns c9");
    let script = format!(
        "#!/bin/sh\nexec unshare --mount --propagation slave {} \"$@\"\n",
        fwn_testkit::plugin::program("ipsetd").display()
    );
    let path = world.dir.path().join("ipsetd");
    std::fs::write(&path, script).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let mut daemon = Daemon::start_as(&world, &path, &["--look-every", "3600"]);
    world.add("c9", "/run/netns/c9", &world.served());
    assert!(has(&world, "veth9"));
    world.sh("ip netns del c9");
    daemon.wait_for("c9/eth0: its network namespace is gone, it is served no longer");
    until("the interface goes with the namespace", || !has(&world, "veth9"));
    assert!(world.records().is_empty());
}

/// Whatever else can happen is found by looking: here the path leads elsewhere, and nobody is told.
#[test]
fn a_path_that_leads_elsewhere_is_noticed() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &["--look-every", "1"]);
    let (one, other) = (Netns::new(), Netns::new());
    let link = |netns: &Netns| world.sh(&format!("ln -sfn {} /run/netns/link", netns.path().display()));
    link(&one);
    world.add("c9", "/run/netns/link", &world.served());
    link(&other);
    daemon.wait_for("c9/eth0: its network namespace is gone, it is served no longer");
    assert!(world.records().is_empty());
}

/// Peers do not keep it either.
#[test]
fn connections_end_with_the_container() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &["--look-every", "3600"]);
    world.sh("ip netns add c9; ip link add veth9 type veth peer name eth0 netns c9
              ip addr add 10.8.0.1/24 dev veth9; ip link set veth9 up
              ip -n c9 addr add 10.8.0.2/24 dev eth0; ip -n c9 link set eth0 up");
    let conf = world.conf(&json!({ "ipsetd": { "allowFrom": [ "10.8.0.1" ] } }));
    world.add("c9", "/run/netns/c9", &conf);
    let _silent = connect(&world.sandbox.host, "10.8.0.2:9999");
    world.sh("ip netns del c9");
    daemon.wait_for("its network namespace is gone");
    until("the interface goes with the namespace", || !has(&world, "veth9"));
}
