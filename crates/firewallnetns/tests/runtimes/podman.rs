//! podman with Debian's CNI backend: its networks are the files of `/etc/cni/net.d`.

use fwn_testkit::probe::Outcome::{Reached, Silent};
use fwn_testkit::probe::{Attempt, expect};

use crate::busybox::{ROOT, SERVE};
use crate::node::Node;

/// A network as podman reads it back: `ranges` in place of `subnet`.
const WEB: &str = r#"{
  "cniVersion": "1.0.0",
  "name": "web",
  "plugins": [
    {
      "type": "bridge", "bridge": "cni0", "isGateway": true,
      "ipam": { "type": "host-local", "ranges": [ [ { "subnet": "10.22.0.0/16" } ] ] }
    },
    { "type": "portmap", "capabilities": { "portMappings": true } },
    {
      "type": "firewallnetns", "capabilities": { "portMappings": true },
      "fwFiles": [ "default-policy", "allow-loopback", "allow-nd", "allow-published-ports" ]
    }
  ]
}"#;
/// A second one, whose own rule names its own interface.
const BACK: &str = r#"{
  "cniVersion": "1.0.0",
  "name": "back",
  "plugins": [
    { "type": "bridge", "bridge": "cni1", "isGateway": true, "ipam": { "type": "host-local", "ranges": [ [ { "subnet": "10.23.0.0/16" } ] ] } },
    {
      "type": "firewallnetns",
      "fwFiles": [ "default-policy", "allow-loopback", "allow-nd", "allow-established" ],
      "rules": [ { "type": "A", "chain": "INPUT", "rule": "-i $CNI_IFNAME -p tcp --dport 81 -j ACCEPT" } ]
    }
  ]
}"#;

/// One without a firewall.
const PLAIN: &str = r#"{
  "cniVersion": "1.0.0",
  "name": "plain",
  "plugins": [
    { "type": "bridge", "bridge": "cni2", "isGateway": true, "ipam": { "type": "host-local", "ranges": [ [ { "subnet": "10.24.0.0/16" } ] ] } }
  ]
}"#;

/// As on a machine with few rights: no systemd, no higher limits than there are.
pub(crate) const CONF: &str = r#"[containers]
default_ulimits = [ "nofile=512:1024", "nproc=1000:1000" ]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"#;

/// With podman set up.
pub(crate) fn bare_node() -> Node {
    let node = Node::new().with_root();
    node.sh("mkdir -p /etc/containers");
    node.write("/etc/containers/containers.conf", CONF);
    node
}

/// With the networks, too.
pub(crate) fn node() -> Node {
    let node = bare_node();
    node.write("/etc/cni/net.d/10-web.conflist", WEB);
    node.write("/etc/cni/net.d/20-back.conflist", BACK);
    node.write("/etc/cni/net.d/20-plain.conflist", PLAIN);
    node
}

/// The rules in a container.
pub(crate) fn rules(node: &Node, name: &str) -> String {
    node.sh(&format!("nsenter --target $(podman inspect {name} -f '{{{{.State.Pid}}}}') --net iptables -S"))
}

/// The address of a container in a network.
pub(crate) fn address(node: &Node, name: &str, network: &str) -> String {
    let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
    node.sh(&format!("podman inspect {name} -f '{format}'")).trim().to_owned()
}

#[test]
fn a_published_port_is_open_until_the_container_goes() {
    let node = node();
    node.sh(&format!("podman run -d --name web --network web -p 8080:80 --rootfs {ROOT} {SERVE}"));
    let firewall = rules(&node, "web");
    assert!(firewall.contains("-P INPUT DROP\n"), "{firewall}");
    assert!(firewall.contains("-A INPUT -i eth0 -p tcp -m tcp --dport 80 -j ACCEPT\n"), "{firewall}");

    let web = |node: &Node, port: u16| format!("{}:{port}", address(node, "web", "web"));
    node.until_reached("10.22.0.1:8080");
    // the service on port 81 is there, too
    node.sh("podman exec web sh -c 'echo | nc -w1 127.0.0.1 81'");
    let refused = |node: &Node| {
        expect(&[
            (Attempt::tcp(&node.host, "10.22.0.1:8080"), Reached),
            (Attempt::tcp(&node.host, &web(node, 80)), Reached),
            (Attempt::tcp(&node.host, &web(node, 81)), Silent),
        ]);
    };
    refused(&node);

    // another namespace, with the same firewall
    node.sh("podman restart -t 0 web");
    assert_eq!(rules(&node, "web"), firewall);
    node.until_reached("10.22.0.1:8080");
    refused(&node);

    // what podman offers to those whose firewall was flushed, on the host or in the container
    node.sh("nsenter --target $(podman inspect web -f '{{.State.Pid}}') --net nft flush ruleset; podman network reload web");
    assert_eq!(rules(&node, "web"), firewall);
    refused(&node);

    node.holds_something();
    node.sh("podman rm -f -t 0 web");
    node.holds_nothing();
}

#[test]
fn two_networks_of_one_container_do_not_disturb_each_other() {
    let node = node();
    node.sh(&format!("podman run -d --name web --network web,back -p 8080:80 --rootfs {ROOT} {SERVE}"));
    let both = rules(&node, "web");
    let (web, back) = (address(&node, "web", "web"), address(&node, "web", "back"));
    node.until_reached(&format!("{web}:80"));
    node.until_reached(&format!("{back}:81"));
    expect(&[
        (Attempt::tcp(&node.host, &format!("{web}:81")), Silent),
        (Attempt::tcp(&node.host, &format!("{back}:80")), Silent),
    ]);

    node.sh("podman network disconnect back web");
    let alone = rules(&node, "web");
    assert!(!alone.contains("--dport 81"), "{alone}");
    assert!(alone.contains("-P INPUT DROP\n") && alone.contains("--dport 80"), "{alone}");
    expect(&[(Attempt::tcp(&node.host, &format!("{web}:80")), Reached)]);

    node.sh("podman network connect back web");
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(sorted(&rules(&node, "web")), sorted(&both));
    node.sh("podman rm -f -t 0 web");
    node.holds_nothing();
}

/// Its first process never runs, and what was made is undone.
#[test]
fn a_container_with_a_wrong_firewall_does_not_start() {
    let node = node();
    node.write("/etc/cni/net.d/10-web.conflist", &WEB.replace("allow-nd", "allow-nb"));
    let output = node.try_sh(&format!(
        "podman run --rm --network web -v /run:/run --rootfs {ROOT} sh -c 'echo >/run/it-ran'"
    ));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("allow-nb.fw` does not exist"), "{error}");
    assert!(!node.path("/run/it-ran").exists());
    node.holds_nothing();
}
