//! Many containers in one process.

use std::fs::File;
use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use fwn_kernel::firewall::record::RecordedAttachment;
use fwn_node::client::NodeClient;
use fwn_node::message::{Access, Answer, Interface, Registration, Request};
use fwn_testkit::plugin::program;
use nix::sched::{CloneFlags, setns, unshare};

use crate::kit::{Daemon, PATIENCE, World};

const CONTAINERS: usize = 1000;
/// Daemons of one container each that it is compared with.
const SINGLES: usize = 10;

/// A namespace that a descriptor holds: no process, no mount. Loopback is up and has another address, to ask from.
struct Namespace(File);

impl Namespace {
    fn make() -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
            Self(File::open("/proc/thread-self/ns/net").expect("opened"))
        };
        std::thread::spawn(make).join().expect("made")
    }

    /// A path that leads to it, as long as it is held.
    fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }

    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).expect("entered");
                work()
            });
            inside.join().expect("done")
        })
    }

    /// What is answered to a connection over loopback: that the workload may not edit its own firewall, if it is this
    /// namespace that is served.
    fn asked(&self) -> String {
        self.run(|| {
            let mut stream = TcpStream::connect("127.0.0.1:9999").expect("it listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("a time");
            let _ = stream.shutdown(Shutdown::Write);
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("answered");
            answer
        })
    }
}

fn register(world: &World, number: usize, namespace: &Namespace) {
    let attachment = RecordedAttachment {
        network: "net".into(),
        container: format!("c{number}"),
        interface: "eth0".into(),
    };
    let access = Access {
        port: 9999,
        allow_from: vec!["192.0.2.0/24".into()],
        allow_any: false,
        sets: None,
        verbs: None,
        token_file: None,
        tls: None,
    };
    let registration = Registration { attachment, netns_path: namespace.path(), access };
    let mut client =
        NodeClient::connect(&world.path("/run/ipsetd/ipsetd.sock"), PATIENCE).expect("it listens");
    let answer = client.ask(&Request::Register(registration), Some(namespace.0.as_fd())).expect("ready");
    assert!(matches!(answer, Answer::Ready { .. }), "{answer:?}");
    client.tell(&Request::Commit).expect("served");
}

#[test]
fn a_thousand_containers_in_less_memory_than_ten_daemons() {
    let world = World::new();
    let namespaces: Vec<Namespace> = (0..CONTAINERS).map(|_| Namespace::make()).collect();
    let up = namespaces.iter().map(|namespace| namespace.path().display().to_string());
    world
        .sh(&up.map(|path| format!("nsenter --net={path} ip link set lo up")).collect::<Vec<_>>().join("\n"));

    let daemon = Daemon::start(&world, &[]);
    let begin = Instant::now();
    for (number, namespace) in namespaces.iter().enumerate() {
        register(&world, number, namespace);
    }
    let registered = begin.elapsed();
    let all_answer = || {
        for namespace in &namespaces {
            let answer = namespace.asked();
            assert_eq!(
                answer,
                "error: `127.0.0.1` is an address of this network namespace, which may not edit its own firewall\n"
            );
        }
    };
    all_answer();
    let status = world.say("{\"version\":1,\"request\":\"status\",\"containers\":true}\n");
    assert!(status.contains("\"registered\":1000,\"listening\":1000,"), "{status}");
    let memory = daemon.memory();

    let singles: Vec<Daemon> = (0..SINGLES).map(|number| single(&namespaces[number])).collect();
    let of_singles: u64 = singles.iter().map(Daemon::memory).sum();
    drop(singles);

    daemon.kill();
    let begin = Instant::now();
    let daemon = Daemon::start(&world, &["--look-every", "1"]);
    let restarted = begin.elapsed();
    all_answer();
    let after = daemon.memory();
    println!(
        "{CONTAINERS} containers: registered in {registered:?}, back after SIGKILL in {restarted:?}; {memory} KiB, {after} \
         KiB after the restart; {SINGLES} single daemons {of_singles} KiB"
    );
    assert!(
        memory < of_singles && after < of_singles,
        "{memory} and {after} KiB, {SINGLES} single ones {of_singles} KiB"
    );

    // their end is noticed, too, and all is released
    drop(namespaces);
    crate::kit::until("all are released", || world.records().is_empty());
}

/// GC names every container that is valid.
#[test]
fn thousands_of_containers_fit_into_a_request() {
    let world = World::new();
    let mut daemon = Daemon::start(&world, &[]);
    world.run("ADD", &world.served());
    let valid = |container| Interface { container, interface: "eth0".into() };
    let mut attachments: Vec<Interface> = (0..10_000).map(|number| valid(format!("{number:064x}"))).collect();
    attachments.push(valid("c1".into()));
    let keep = |attachments| {
        let mut client =
            NodeClient::connect(&world.path("/run/ipsetd/ipsetd.sock"), PATIENCE).expect("it listens");
        client.tell(&Request::Keep { network: "net".into(), attachments }).expect("done");
    };
    keep(attachments.clone());
    world.run("CHECK", &world.served());
    attachments.pop();
    keep(attachments);
    daemon.wait_for("c1/eth0: unregistered");
}

/// `ipsetd` alone in a namespace, once it listens.
fn single(namespace: &Namespace) -> Daemon {
    let mut command = std::process::Command::new("nsenter");
    command.arg(format!("--net={}", namespace.path().display())).arg("--").arg(program("ipsetd"));
    command.env_clear().env("IPSET", "1").env("IPSET_PORT", "9998").env("IPSET_ALLOW_FROM", "192.0.2.0/24");
    command.stdin(Stdio::null());
    let mut daemon = Daemon::spawn(command);
    daemon.wait_for("listening on port 9998");
    daemon
}
