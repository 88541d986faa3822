//! containerd: by `ctr run --cni`, and through the CRI plugin, as Kubernetes uses it.

use fwn_testkit::probe::Outcome::{Reached, Silent};
use fwn_testkit::probe::{Attempt, expect};

use crate::cri::{Cri, Sandbox};
use crate::node::Node;

const IMAGE: &str = "docker.io/library/web:latest";
/// The only network, and so the one that containerd takes.
const WEB: &str = r#"{
  "cniVersion": "1.0.0",
  "name": "web",
  "plugins": [
    { "type": "bridge", "bridge": "cni0", "isGateway": true, "ipam": { "type": "host-local", "subnet": "10.22.0.0/16" } },
    { "type": "portmap", "capabilities": { "portMappings": true } },
    {
      "type": "firewallnetns", "capabilities": { "portMappings": true },
      "fwFiles": [ "default-policy", "allow-loopback", "allow-nd", "allow-established", "allow-published-ports" ],
      "rules": [ { "type": "A", "chain": "INPUT", "rule": "-i $CNI_IFNAME -p tcp --dport ${WEB_PORT:-81} -j ACCEPT" } ]
    }
  ]
}"#;
/// Without `restrict_oom_score_adj` the CRI plugin needs CAP_SYS_RESOURCE, which not every root has.
const CONF: &str = r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/web:latest"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
"#;

/// With containerd running.
fn node() -> Node {
    let node = Node::new().with_root();
    node.sh("ln -s -t /opt/cni/bin /usr/lib/cni/*; rm -f /etc/cni/net.d/*");
    node.write("/etc/cni/net.d/10-web.conflist", WEB);
    start(&node, CONF);
    node
}

/// Starts containerd with this configuration, and gives it the image, for `ctr` and for the CRI plugin.
pub(crate) fn start(node: &Node, conf: &str) {
    node.sh("mkdir -p /etc/containerd");
    node.write("/etc/containerd/config.toml", conf);
    node.sh("containerd >/var/log/containerd 2>&1 &");
    node.until("ctr version");
    let image = node.image(IMAGE);
    node.sh(&format!("ctr images import {image}; ctr --namespace k8s.io images import {image}"));
}

/// The rules in a container.
fn rules(node: &Node, namespace: &str, id: &str) -> String {
    let pid = format!("ctr --namespace {namespace} task ls | awk '$1 == \"{id}\" {{ print $2 }}'");
    node.sh(&format!("nsenter --target $({pid}) --net iptables -S"))
}

#[test]
fn ctr_runs_a_container_behind_its_firewall() {
    let node = node();
    let container = node.start(&format!("ctr run --rm --cni {IMAGE} web"));
    node.until("ctr task ls | grep -E '^web .*RUNNING'");
    let firewall = rules(&node, "default", "web");
    assert!(firewall.contains("-P INPUT DROP\n"), "{firewall}");
    node.until_reached("10.22.0.2:81");
    expect(&[
        (Attempt::tcp(&node.host, "10.22.0.2:81"), Reached),
        (Attempt::tcp(&node.host, "10.22.0.2:80"), Silent),
        (Attempt::ping(&node.host, "10.22.0.2"), Silent),
    ]);
    // both services are there
    node.sh("ctr task exec --exec-id ask web sh -c 'echo | nc -w1 127.0.0.1 80'");
    node.holds_something();

    node.sh("ctr task kill -s KILL web");
    container.wait();
    node.holds_nothing();
}

/// Its first process never runs.
#[test]
fn ctr_starts_no_container_with_a_wrong_firewall() {
    let node = node();
    node.write("/etc/cni/net.d/10-web.conflist", &WEB.replace("--dport", "--dprot"));
    let mount = "type=bind,src=/run,dst=/tmp,options=rbind:rw";
    let mut command = node.command("ctr");
    command.args(["run", "--rm", "--cni", "--mount", mount, IMAGE, "web", "sh", "-c", "echo >/tmp/it-ran"]);
    let output = command.output().expect("ctr (package containerd) runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("unknown option `--dprot`"), "{error}");
    assert!(!node.path("/run/it-ran").exists());
}

/// Pods, with the ports that they publish, as kubelet asks for them.
#[test]
fn the_cri_plugin_hands_published_ports_on() {
    let node = node();
    let cri = Cri::new(&node);
    assert_eq!(cri.conditions(), ["RuntimeReady", "NetworkReady"]);
    let pod = cri.run_pod(&Sandbox { name: "web", container_port: 80, host_port: 8080 });
    let firewall = rules(&node, "k8s.io", &pod);
    assert!(firewall.contains("-A INPUT -i eth0 -p tcp -m tcp --dport 80 -j ACCEPT\n"), "{firewall}");
    node.until_reached("10.22.0.1:8080");
    expect(&[
        (Attempt::tcp(&node.host, "10.22.0.2:80"), Reached),
        (Attempt::ping(&node.host, "10.22.0.2"), Silent),
    ]);
    node.holds_something();

    cri.stop_pod(&pod);
    // stopped once more, as kubelet does
    cri.stop_pod(&pod);
    cri.remove_pod(&pod);
    node.holds_nothing();

    // a wrong firewall: no pod, and nothing of it
    node.write("/etc/cni/net.d/10-web.conflist", &WEB.replace("--dport", "--dprot"));
    cri.until_configured("--dprot");
    let error = cri.refuse_pod(&Sandbox { name: "wrong", container_port: 80, host_port: 8081 });
    assert!(error.contains("--dprot"), "{error}");
    node.holds_nothing();
}
