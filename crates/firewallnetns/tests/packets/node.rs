//! A node that calls the plugin alone, and what runs on it: the plugin gets `CNI_*` and `PATH`, as from a Mesos agent, and has its
//! interface made by a delegate.
//!
//! The node has `eth1` in the containers' network and `eth0`, where an agent listens, in another; a router joins them,
//! since a macvtap or macvlan does not reach its own host.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fwn_testkit::plugin::{PluginCall, program};
use fwn_testkit::{Netns, Sandbox};
use nix::sys::socket::{Shutdown, shutdown};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixture::append;

/// Where the agent of the node listens.
pub(crate) const AGENT: &str = "192.168.10.114:5051";
/// How long to wait for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A node, its router, and the container of a task.
pub(crate) struct Node {
    pub(crate) sandbox: Sandbox,
    pub(crate) router: Netns,
    pub(crate) dir: TempDir,
}

impl Node {
    pub(crate) fn new() -> Self {
        let node = Self {
            sandbox: Sandbox::new(),
            router: Netns::new(),
            dir: tempfile::tempdir().expect("a folder"),
        };
        let router = node.router.pid();
        node.sandbox.host.sh(&format!(
            "ip link set lo up; ip link add eth1 type veth peer name lan0 netns {router}
             ip link add eth0 type veth peer name up0 netns {router}; ip link set eth1 up; ip link set eth0 up
             ip addr add 192.168.10.114/24 dev eth0; ip route add default via 192.168.10.1"
        ));
        node.router.sh("ip link set lan0 up; ip link set up0 up; echo 1 >/proc/sys/net/ipv4/ip_forward
             ip addr add 192.168.124.1/24 dev lan0; ip addr add 192.168.10.1/24 dev up0
             ip addr add 192.168.122.22/32 dev up0");
        node.sandbox.container.sh("ip link set lo up");
        let bin = node.dir.path().join("bin");
        fs::create_dir(&bin).expect("made");
        symlink(program("macvtap"), bin.join("macvtap")).expect("linked");
        node
    }

    /// What the agent writes to the plugin: its file, and what it knows of the task.
    pub(crate) fn conf(&self, delegate: &str, more: &Value) -> Value {
        let mut conf = json!({
            "cniVersion": "0.2.0",
            "name": "tasks",
            "type": "firewallnetns",
            "dataDir": Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fw"),
            "stateDir": self.dir.path().join("state"),
            "persistDir": self.dir.path().join("persist"),
            "vars": { "MESOS_AGENT_ENDPOINT": AGENT },
            "delegate": {
                "type": delegate,
                "master": "eth1",
                "ipam": {
                    "type": "host-local",
                    "subnet": "192.168.124.0/24",
                    "rangeStart": "192.168.124.170",
                    "rangeEnd": "192.168.124.179",
                    "gateway": "192.168.124.1",
                    "routes": [{ "dst": "0.0.0.0/0" }],
                    "dataDir": self.dir.path().join("leases"),
                },
            },
            "args": { "org.apache.mesos": { "network_info": {
                "name": "tasks",
                "labels": { "labels": [] },
                "port_mappings": [{ "host_port": 31000, "container_port": 8899, "protocol": "tcp" }],
            } } },
        });
        conf.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        conf
    }

    pub(crate) fn call(&self, command: &str, conf: &Value) -> PluginCall<'_> {
        let path = format!("{}:/usr/lib/cni", self.dir.path().join("bin").display());
        PluginCall::new(&self.sandbox, program("firewallnetns"), command, conf.to_string())
            .env("CNI_CONTAINERID", "8c8ff3e5-9b5c-4c6a-a3a5-0d3f0e1c7a11")
            .env("CNI_PATH", path)
    }

    pub(crate) fn run(&self, command: &str, conf: &Value) -> Value {
        let answer = self.call(command, conf).run();
        assert_eq!(answer.stderr, "", "{command} {conf}");
        answer.expect_success()
    }

    /// Addresses that are given out.
    pub(crate) fn leases(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("leases/tasks")).into_iter().flatten();
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
        names.filter(|name| name.starts_with("192.")).collect()
    }

    /// That nothing of the task is left: no interface, no rule, no address, no state.
    pub(crate) fn assert_clean(&self) {
        let links = self.sandbox.container.sh("ip -o link show");
        assert_eq!(links.lines().count(), 1, "only loopback: {links}");
        assert_eq!(self.sandbox.container.sh("iptables-save; ip6tables-save; ipset save"), "");
        assert_eq!(self.leases(), Vec::<String>::new());
        let states = fs::read_dir(self.dir.path().join("state")).into_iter().flatten();
        let names = states.map(|entry| entry.expect("an entry").file_name());
        assert_eq!(names.filter(|name| name != "lock").count(), 0);
    }
}
/// These presets, and the port of the task.
pub(crate) fn presets(names: &[&str]) -> Value {
    json!({
        "fwFiles": names,
        "rules": [
            append("INPUT", "-p tcp --dport $PORT0 -j ACCEPT"),
            append("OUTPUT", "-p tcp --sport $PORT0 -j ACCEPT"),
        ],
    })
}
/// The task: a web server on 8899 that is fine.
pub(crate) struct Web {
    listener: Arc<TcpListener>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    pub(crate) fn start(container: &Netns) -> Self {
        let listener = container.run(|| TcpListener::bind("0.0.0.0:8899")).expect("the port is free");
        let listener = Arc::new(listener);
        let served = Arc::clone(&listener);
        let thread = std::thread::spawn(move || {
            while let Ok((mut stream, _)) = served.accept() {
                let answered = stream
                    .set_read_timeout(Some(PATIENCE))
                    .and_then(|()| read_line(&mut stream))
                    .and_then(|_| stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
                // who asked may have gone
                drop(answered);
            }
        });
        Self { listener, thread: Some(thread) }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        // wakes the thread that waits in `accept`
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An HTTP health check: the first line of the answer.
pub(crate) fn health(from: &Netns, address: &str) -> io::Result<String> {
    let mut stream = from.run(|| dial(address))?;
    stream.write_all(b"GET / HTTP/1.1\r\n")?;
    read_line(&mut stream)
}

pub(crate) fn dial(address: &str) -> io::Result<TcpStream> {
    let address: SocketAddr = address.parse().expect("an address");
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub(crate) fn read_line(stream: &mut TcpStream) -> io::Result<String> {
    let mut line = String::new();
    let mut byte = [0];
    while !line.ends_with('\n') && stream.read(&mut byte)? == 1 {
        line.push(char::from(byte[0]));
    }
    Ok(line.trim_end().to_owned())
}
