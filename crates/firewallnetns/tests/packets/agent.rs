//! A task under Mesos, from its agent's ADD to the DEL: the plugin is called alone, in CNI 0.2.0, with the environment
//! that an agent gives (`CNI_*` and `PATH`), and has its interface made by a delegate. A stub agent and a stub executor
//! then live through health checks and a kill, with every policy DROP.
//!
//! The node has `eth1` in the containers' network and `eth0`, where the agent listens, in another; a router joins them,
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
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{Shutdown, setsockopt, shutdown};
use nix::sys::time::TimeVal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixture::append;

const AGENT: &str = "192.168.10.114:5051";
/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing has to come to be called silence.
const SILENCE: Duration = Duration::from_millis(400);

/// A node, its router, and the container of a task.
struct Node {
    sandbox: Sandbox,
    router: Netns,
    dir: TempDir,
}

impl Node {
    fn new() -> Self {
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
    fn conf(&self, delegate: &str, more: &Value) -> Value {
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

    fn call(&self, command: &str, conf: &Value) -> PluginCall<'_> {
        let path = format!("{}:/usr/lib/cni", self.dir.path().join("bin").display());
        PluginCall::new(&self.sandbox, program("firewallnetns"), command, conf.to_string())
            .env("CNI_CONTAINERID", "8c8ff3e5-9b5c-4c6a-a3a5-0d3f0e1c7a11")
            .env("CNI_PATH", path)
    }

    fn run(&self, command: &str, conf: &Value) -> Value {
        let answer = self.call(command, conf).run();
        assert_eq!(answer.stderr, "", "{command} {conf}");
        answer.expect_success()
    }

    /// Addresses that are given out.
    fn leases(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("leases/tasks")).into_iter().flatten();
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
        names.filter(|name| name.starts_with("192.")).collect()
    }

    /// That nothing of the task is left: no interface, no rule, no address, no state.
    fn assert_clean(&self) {
        let links = self.sandbox.container.sh("ip -o link show");
        assert_eq!(links.lines().count(), 1, "only loopback: {links}");
        assert_eq!(self.sandbox.container.sh("iptables-save; ip6tables-save; ipset save"), "");
        assert_eq!(self.leases(), Vec::<String>::new());
        let states = fs::read_dir(self.dir.path().join("state")).into_iter().flatten();
        let names = states.map(|entry| entry.expect("an entry").file_name());
        assert_eq!(names.filter(|name| name != "lock").count(), 0);
    }
}

/// The rules as the original documents them, written out.
fn rules_of_the_seed() -> Value {
    let policy = |chain: &str| json!({ "chain": chain, "policy": "DROP" });
    let agent = "${MESOS_AGENT_ENDPOINT%%:*}";
    let port = "${MESOS_AGENT_ENDPOINT##*:}";
    json!({
        "policies": [policy("INPUT"), policy("FORWARD"), policy("OUTPUT")],
        "rules": [
            append("INPUT", &format!("-i $CNI_IFNAME -p tcp -s {agent} --sport {port} -j ACCEPT")),
            append("OUTPUT", &format!("-o $CNI_IFNAME -p tcp -d {agent} --dport {port} -j ACCEPT")),
            append("INPUT", "-i lo -j ACCEPT"),
            append("OUTPUT", "-o lo -j ACCEPT"),
            append("INPUT", "-p tcp --dport $PORT0 -j ACCEPT"),
            append("OUTPUT", "-p tcp --sport $PORT0 -j ACCEPT"),
        ],
    })
}

/// The same by presets.
fn presets(names: &[&str]) -> Value {
    json!({
        "fwFiles": names,
        "rules": [
            append("INPUT", "-p tcp --dport $PORT0 -j ACCEPT"),
            append("OUTPUT", "-p tcp --sport $PORT0 -j ACCEPT"),
        ],
    })
}

/// How a kill ended, as the agent sees it.
#[derive(Debug, PartialEq, Eq)]
enum Kill {
    Acknowledged,
    /// "No kill ack received".
    NoAck,
}

/// The agent's listener.
struct Agent(TcpListener);

impl Agent {
    fn start(host: &Netns) -> Self {
        Self(host.run(|| TcpListener::bind(AGENT)).expect("the port is free"))
    }

    /// The next connection of an executor, if one comes within this time, and its first line.
    fn accept(&self, wait: Duration) -> Option<(TcpStream, String)> {
        setsockopt(
            &self.0,
            ReceiveTimeout,
            &TimeVal::new(wait.as_secs().cast_signed(), i64::from(wait.subsec_micros())),
        )
        .expect("a time");
        let (mut stream, _) = self.0.accept().ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        let line = read_line(&mut stream).expect("a line");
        Some((stream, line))
    }

    /// Has the executor kill its task, and waits for the news that it is dead.
    fn kill(&self, wait: Duration) -> Kill {
        let Some((mut events, line)) = self.accept(wait) else { return Kill::NoAck };
        assert_eq!(line, "SUBSCRIBE");
        events.write_all(b"KILL\n").expect("sent");
        let Some((_, update)) = self.accept(wait) else { return Kill::NoAck };
        assert_eq!(update, "TASK_KILLED");
        events.write_all(b"ACKNOWLEDGED\n").expect("sent");
        Kill::Acknowledged
    }
}

/// Lives as an executor does: registers, waits for the kill, tells of it on a connection of its own, and waits for the
/// acknowledgement.
fn executor(container: &Netns) -> io::Result<String> {
    let mut events = container.run(|| dial(AGENT))?;
    events.write_all(b"SUBSCRIBE\n")?;
    assert_eq!(read_line(&mut events)?, "KILL");
    let mut update = container.run(|| dial(AGENT))?;
    update.write_all(b"TASK_KILLED\n")?;
    read_line(&mut events)
}

/// The task: a web server on 8899 that is fine.
struct Web {
    listener: Arc<TcpListener>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    fn start(container: &Netns) -> Self {
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
fn health(from: &Netns, address: &str) -> io::Result<String> {
    let mut stream = from.run(|| dial(address))?;
    stream.write_all(b"GET / HTTP/1.1\r\n")?;
    read_line(&mut stream)
}

fn dial(address: &str) -> io::Result<TcpStream> {
    let address: SocketAddr = address.parse().expect("an address");
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn read_line(stream: &mut TcpStream) -> io::Result<String> {
    let mut line = String::new();
    let mut byte = [0];
    while !line.ends_with('\n') && stream.read(&mut byte)? == 1 {
        line.push(char::from(byte[0]));
    }
    Ok(line.trim_end().to_owned())
}

impl Node {
    /// From the task's health checks to its kill.
    fn live(&self, wait: Duration) -> Kill {
        let (host, container) = (&self.sandbox.host, &self.sandbox.container);
        let agent = Agent::start(host);
        let _web = Web::start(container);
        let outside = format!("{}:8899", self.leases()[0]);
        for (from, address) in [(container, "127.0.0.1:8899"), (host, outside.as_str())] {
            assert_eq!(health(from, address).expect(address), "HTTP/1.1 200 OK");
        }
        std::thread::scope(|scope| {
            let executor = scope.spawn(|| executor(container));
            let kill = agent.kill(wait);
            if kill == Kill::Acknowledged {
                let last = executor.join().expect("it ends").expect("it hears of it");
                assert_eq!(last, "ACKNOWLEDGED");
            } else {
                executor.join().expect("it ends").expect_err("its agent is out of reach");
            }
            kill
        })
    }
}

#[test]
fn a_task_is_healthy_and_dies_when_it_is_asked_to() {
    let node = Node::new();
    for delegate in ["macvtap", "macvlan"] {
        let of_presets = presets(&["default-policy", "mesos-executor", "mesos-health-check"]);
        for rules in [rules_of_the_seed(), of_presets] {
            let conf = node.conf(delegate, &rules);
            let result = node.run("ADD", &conf);
            let ip4 = json!({
                "ip": format!("{}/24", node.leases()[0]),
                "gateway": "192.168.124.1",
                "routes": [{ "dst": "0.0.0.0/0" }],
            });
            assert_eq!(result, json!({ "cniVersion": "0.2.0", "ip4": ip4, "dns": {} }), "{delegate}");
            let kinds = node.sandbox.container.sh("ip -d link show eth0");
            assert!(kinds.contains(&format!(" {delegate} mode bridge")), "{kinds}");

            assert_eq!(node.live(PATIENCE), Kill::Acknowledged, "{delegate}");
            node.run("DEL", &conf);
            node.assert_clean();
        }
    }
}

#[test]
fn without_the_rules_of_the_executor_no_kill_is_acknowledged() {
    let node = Node::new();
    for names in [
        ["default-policy", "mesos-health-check"].as_slice(),
        &["default-policy", "allow-loopback", "allow-established"],
    ] {
        let conf = node.conf("macvtap", &presets(names));
        node.run("ADD", &conf);
        assert_eq!(node.live(SILENCE), Kill::NoAck);
        node.run("DEL", &conf);
        node.assert_clean();
    }
}

#[test]
fn a_task_asks_for_an_address_by_a_label() {
    let node = Node::new();
    let asking = |ip: &str, args: &Value| {
        let mut conf = node.conf("macvlan", &presets(&["default-policy"]));
        let labels = json!([{ "key": "TEAM", "value": "a" }, { "key": "CNI_ARGS", "value": ip }]);
        conf["args"]["org.apache.mesos"]["network_info"]["labels"]["labels"] = labels;
        conf["delegate"]["args"] = args.clone();
        conf
    };
    for (ip, args, given) in [
        ("IP=192.168.124.175", json!({}), "192.168.124.175/24"),
        ("IgnoreUnknown=1;IP=192.168.124.177", json!({ "cni": { "other": 1 } }), "192.168.124.177/24"),
        ("MAC=02:00:00:00:00:01", json!({}), "192.168.124.178/24"),
        // who runs the node has the last word
        ("IP=192.168.124.175", json!({ "cni": { "ips": [] } }), "192.168.124.179/24"),
    ] {
        let conf = asking(ip, &args);
        let result = node.run("ADD", &conf);
        assert_eq!(result["ip4"]["ip"], given, "{ip} {args}");
        node.run("DEL", &conf);
        node.assert_clean();
    }
    for ip in
        ["IP=", "IP=192.168.124.256", "IP=a", "IP=192.168.124.175,", "IP=192.168.124.175/33", "IP=$(id)"]
    {
        let (code, message, _) = node.call("ADD", &asking(ip, &json!({}))).run().expect_error();
        assert_eq!(code, 7, "{ip}: {message}");
        assert!(message.contains("`IP` in the label `CNI_ARGS` is not an address"), "{ip}: {message}");
        node.call("DEL", &asking(ip, &json!({}))).run().expect_success();
        node.assert_clean();
    }
    // one that is not its to give: the IPAM plugin's own words
    let (_, message, _) = node.call("ADD", &asking("IP=10.0.0.1", &json!({}))).run().expect_error();
    assert!(message.contains("10.0.0.1"), "{message}");
    node.assert_clean();
}
