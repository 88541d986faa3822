//! Debian's plugins in one chain with ours, which stands before and after them: each finds its own as it left it.

use fwn_testkit::probe::Outcome::{Reached, Silent};
use fwn_testkit::probe::{Attempt, expect};
use serde_json::{Value, json};

use crate::node::Node;

const NETNS: &str = "/run/netns/web";

/// `portmap` of 1.1.1 looks for its IPv4 rules in IPv6 tables too, and so fails its own CHECK, unless IPv6 cannot be
/// translated: as on a kernel without it.
const WITHOUT_NAT6: &str = r#"#!/bin/sh
case "$*" in *nat*) exit 3 ;; esac
exec /usr/sbin/ip6tables "$@"
"#;

fn ours() -> Value {
    json!({
        "type": "firewallnetns", "capabilities": { "portMappings": true },
        "fwFiles": ["default-policy", "allow-loopback", "allow-nd", "allow-published-ports"],
    })
}

fn portmap() -> Value {
    json!({ "type": "portmap", "capabilities": { "portMappings": true } })
}

fn firewall() -> Value {
    json!({ "type": "firewall" })
}

fn tuning() -> Value {
    json!({
        "type": "tuning", "mac": "02:00:00:00:00:77",
        "sysctl": { "net.ipv4.conf.eth0.log_martians": "1", "net.core.somaxconn": "77" },
    })
}

/// Needs the interface's other end on the host.
fn bandwidth() -> Value {
    json!({
        "type": "bandwidth",
        "ingressRate": 100_000_000, "ingressBurst": 1_000_000, "egressRate": 100_000_000, "egressBurst": 1_000_000,
    })
}

struct Chain {
    node: Node,
    main: Value,
    /// The other plugins behind it.
    meta: Vec<Value>,
}

impl Chain {
    fn new(main: Value, meta: Vec<Value>) -> Self {
        let node = Node::new();
        node.sh(
            "rm -f /etc/cni/net.d/*; mkdir /run/bin; ip netns add web; ip netns exec web ip link set lo up",
        );
        node.write("/run/bin/ip6tables", WITHOUT_NAT6);
        node.sh("chmod +x /run/bin/ip6tables");
        Self { node, main, meta }
    }

    /// `firewallnetns COMMAND` of the network with these plugins behind the main one.
    #[track_caller]
    fn run(&self, command: &str, behind: &[Value]) {
        let plugins: Vec<_> = [&self.main].into_iter().chain(behind).collect();
        let list = json!({ "cniVersion": "1.0.0", "name": "web", "plugins": plugins });
        self.node.write("/etc/cni/net.d/web.conflist", &list.to_string());
        self.node.sh(&format!(
            "export CNI_PATH=/opt/cni/bin:/usr/lib/cni PATH=/run/bin:$PATH
             export CAP_ARGS='{{\"portMappings\":[{{\"containerPort\":80,\"hostPort\":8080,\"protocol\":\"tcp\"}}]}}'
             /opt/cni/bin/firewallnetns {command} web {NETNS}"
        ));
    }

    /// What the other plugins have made, without what differs by chance.
    fn seen(&self) -> String {
        self.node.sh(
            "(iptables-save; tc qdisc show
              ip netns exec web sh -c 'ip -br link show eth0; cd /proc/sys/net; cat ipv4/conf/eth0/log_martians core/somaxconn'
             ) | sed -E '/^#/d; s/\\[[0-9:]+\\]//; s/veth[0-9a-f]+/veth/g; s/eth0@if[0-9]+/eth0/; s/refcnt [0-9]+//'",
        )
    }

    /// Everything in the container's namespace that belongs to a firewall.
    fn container(&self) -> String {
        self.node.sh("ip netns exec web nft --stateless list ruleset")
    }

    /// Attaches with ours behind `before` of the other plugins and without it, and compares.
    fn compare(&self, address: &str) {
        let node = &self.node;
        let forget = || node.sh("rm -rf /var/lib/cni/networks/web");
        self.run("add", &self.meta);
        let (alone, empty) = (self.seen(), self.container());
        for part in ["--dport 8080", "-j CNI-FORWARD", "02:00:00:00:00:77", "\n77\n"] {
            assert!(alone.contains(part), "{part}: {alone}");
        }
        self.run("del", &self.meta);
        node.holds_nothing();

        let mut found = Vec::new();
        for place in [0, self.meta.len()] {
            let mut plugins = self.meta.clone();
            plugins.insert(place, ours());
            // the same address again
            forget();
            self.run("add", &plugins);
            assert_eq!(self.seen(), alone, "ours at {place}");
            self.run("check", &plugins);
            found.push(self.container());

            let services = ["80", "81"]
                .map(|port| node.start(&format!("exec ip netns exec web busybox nc -ll -p {port} -e cat")));
            node.until("[ $(ip netns exec web ss -Hltn '( sport = 80 or sport = 81 )' | wc -l) = 2 ]");
            expect(&[
                (Attempt::tcp(&node.host, &format!("{address}:80")), Reached),
                (Attempt::tcp(&node.host, &format!("{address}:81")), Silent),
            ]);
            node.sh("ip netns pids web | xargs kill");
            services.into_iter().for_each(crate::node::Running::wait);

            self.run("check", &plugins);
            self.run("del", &plugins);
            assert_eq!(self.container(), empty, "ours at {place}");
            node.holds_nothing();
        }
        assert!(found[0].contains("policy drop"), "{}", found[0]);
        assert_eq!(found[0], found[1]);
    }
}

#[test]
fn bridge() {
    let main = json!({
        "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
        "ipam": { "type": "host-local", "subnet": "10.31.0.0/16", "routes": [{ "dst": "0.0.0.0/0" }] },
    });
    let chain = Chain::new(main, vec![portmap(), firewall(), tuning(), bandwidth()]);
    chain.compare("10.31.0.2");
}

#[test]
fn ptp() {
    let main = json!({
        "type": "ptp", "ipMasq": true,
        "ipam": { "type": "host-local", "subnet": "10.32.0.0/16", "routes": [{ "dst": "0.0.0.0/0" }] },
    });
    let chain = Chain::new(main, vec![portmap(), firewall(), tuning(), bandwidth()]);
    chain.compare("10.32.0.2");
}

/// Without `bandwidth`, which wants a veth pair.
#[test]
fn macvlan() {
    let main = json!({
        "type": "macvlan", "master": "eth1",
        "ipam": { "type": "host-local", "subnet": "10.33.0.0/16", "rangeStart": "10.33.0.2" },
    });
    let chain = Chain::new(main, vec![portmap(), firewall(), tuning()]);
    // what is sent over eth1 comes in at lan0, as if that were another machine
    chain.node.sh("ip link add eth1 type veth peer name lan0; ip link set eth1 up; ip link set lan0 up
         ip addr add 10.33.0.1/16 dev lan0");
    chain.compare("10.33.0.2");
}
