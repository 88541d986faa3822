//! A task under Mesos, from its agent's ADD to the DEL, in CNI 0.2.0: a stub agent and a stub executor live through
//! health checks and a kill, with every policy DROP.

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use fwn_testkit::Netns;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::time::TimeVal;
use serde_json::{Value, json};

use crate::fixture::append;
use crate::node::{AGENT, Node, PATIENCE, Web, dial, health, presets, read_line};

/// How long nothing has to come to be called silence.
const SILENCE: Duration = Duration::from_millis(400);

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
