//! `firewallnetns oci-hook`, called by runc and crun alone, and by podman as for its versions without CNI.

use std::fs;

use fwn_testkit::probe::Outcome::{Reached, Silent};
use fwn_testkit::probe::{Attempt, expect};
use serde_json::{Value, json};

use crate::busybox::{ROOT, SERVE};
use crate::node::Node;
use crate::podman;

const BUNDLE: &str = "/var/tmp/bundle";
/// A network that makes the interface, too.
const WEB: &str = r#"{
  "cniVersion": "1.0.0",
  "name": "web",
  "plugins": [
    { "type": "bridge", "bridge": "cni0", "isGateway": true, "ipam": { "type": "host-local", "subnet": "10.22.0.0/16" } },
    {
      "type": "firewallnetns",
      "fwFiles": [ "default-policy", "allow-loopback", "allow-nd", "allow-established" ],
      "rules": [ { "type": "A", "chain": "INPUT", "rule": "-i $CNI_IFNAME -p tcp --dport 80 -j ACCEPT" } ]
    }
  ]
}"#;
/// Only rules, for an interface that is there.
const FENCE: &str = r#"{
  "cniVersion": "1.0.0",
  "name": "fence",
  "plugins": [
    {
      "type": "firewallnetns",
      "fwFiles": [ "default-policy", "allow-loopback", "allow-nd", "allow-established" ],
      "rules": [
        { "type": "A", "chain": "INPUT", "rule": "-i $RESULT_IFNAME -d $RESULT_IP4 -s $RESULT_GATEWAY4 -p tcp --dport 80 -j ACCEPT" }
      ]
    }
  ]
}"#;

/// With both networks, and a bundle of `runc spec` whose hooks attach it to `web`.
fn node() -> Node {
    let node = Node::new().with_root();
    node.write("/etc/cni/net.d/10-web.conflist", WEB);
    node.write("/etc/cni/net.d/20-fence.conflist", FENCE);
    node.sh(&format!("mkdir {BUNDLE}; cd {BUNDLE}; cp -a {ROOT} rootfs; runc spec"));
    change(&node, |config| {
        let hook = hook(&["--network", "web"]);
        config["hooks"] = json!({ "createRuntime": [hook], "poststop": [hook] });
        config["process"]["terminal"] = json!(false);
        // attached when its first process runs, or it ends
        let script =
            "echo >/it-ran; [ -e /sys/class/net/eth0 ] && (nc -ll -p 81 -e cat & exec nc -ll -p 80 -e cat)";
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["root"]["readonly"] = json!(false);
    });
    node
}

fn hook(options: &[&str]) -> Value {
    let program = "/opt/cni/bin/firewallnetns";
    let args = [&[program, "oci-hook"], options].concat();
    json!({ "path": program, "args": args, "env": ["CNI_PATH=/opt/cni/bin:/usr/lib/cni", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"] })
}

type Change = fn(&mut Value);

/// Changes the configuration of the bundle.
fn change(node: &Node, change: impl FnOnce(&mut Value)) {
    let path = format!("{BUNDLE}/config.json");
    let mut config = serde_json::from_slice(&fs::read(node.path(&path)).expect("a bundle")).expect("JSON");
    change(&mut config);
    node.write(&path, &config.to_string());
}

/// The entry of the configuration about the network namespace.
fn network_namespace(config: &mut Value) -> &mut Value {
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
    namespaces.iter_mut().find(|namespace| namespace["type"] == "network").expect("one of its own")
}

/// A container is up, behind its firewall, and gone.
fn runs_a_container(node: &Node, runtime: &str) {
    let container = node.start(&format!("cd {BUNDLE}; exec {runtime} run web"));
    node.until_reached("10.22.0.2:80");
    node.sh(&format!("{runtime} exec web sh -c 'echo | nc -w1 127.0.0.1 81'"));
    expect(&[
        (Attempt::tcp(&node.host, "10.22.0.2:80"), Reached),
        (Attempt::tcp(&node.host, "10.22.0.2:81"), Silent),
    ]);
    node.holds_something();
    node.sh(&format!("{runtime} kill web KILL"));
    container.wait();
    node.holds_nothing();
}

#[test]
fn runc_runs_a_container_behind_its_firewall() {
    runs_a_container(&node(), "runc");
}

#[test]
fn crun_runs_a_container_behind_its_firewall() {
    runs_a_container(&node(), "crun");
}

/// A network that begins with `firewallnetns`, and makes the interface nevertheless.
#[test]
fn a_delegate_makes_the_interface() {
    let node = node();
    let mut list: Value = serde_json::from_str(WEB).expect("JSON");
    let mut plugins = list["plugins"].as_array().expect("plugins").clone();
    let (bridge, mut ours) = (plugins.remove(0), plugins.remove(0));
    ours["delegate"] = bridge;
    list["plugins"] = json!([ours]);
    node.write("/etc/cni/net.d/10-web.conflist", &list.to_string());
    runs_a_container(&node, "runc");
}

/// crun shows nothing of what a hook says, but puts it where it is told to.
#[test]
fn crun_starts_no_container_without_its_firewall() {
    let node = node();
    change(&node, |config| {
        config["hooks"]["createRuntime"] = json!([hook(&["--network", "wep"])]);
        config["annotations"] = json!({ "run.oci.hooks.stderr": "/run/hooks.log" });
    });
    assert!(!node.try_sh(&format!("cd {BUNDLE}; crun run web")).status.success());
    let said = fs::read_to_string(node.path("/run/hooks.log")).expect("a log");
    assert!(said.contains("no network `wep`"), "{said}");
    assert!(!node.path(&format!("{BUNDLE}/rootfs/it-ran")).exists());
    node.holds_nothing();
}

/// The namespace has a path, an interface, and a life after the container.
#[test]
fn a_namespace_with_an_interface_gets_the_rules_only() {
    let node = node();
    node.sh("ip netns add web; ip netns exec web ip link set lo up
        ip link add host0 type veth peer name eth0 netns web; ip addr add 10.9.0.1/24 dev host0; ip link set host0 up
        ip -n web addr add 10.9.0.2/24 dev eth0; ip -n web link set eth0 up; ip -n web route add default via 10.9.0.1");
    change(&node, |config| {
        network_namespace(config)["path"] = json!("/run/netns/web");
        let hook = hook(&["--annotation", "org.example.fence"]);
        config["hooks"] = json!({ "prestart": [hook], "poststop": [hook] });
        config["annotations"] = json!({ "org.example.fence": "fence" });
    });
    let container = node.start(&format!("cd {BUNDLE}; exec runc run web"));
    node.until_reached("10.9.0.2:80");
    expect(&[(Attempt::tcp(&node.host, "10.9.0.2:81"), Silent)]);
    let rules = node.sh("ip netns exec web iptables -S INPUT");
    let expected = "-A INPUT -s 10.9.0.1/32 -d 10.9.0.2/32 -i eth0 -p tcp -m tcp --dport 80 -j ACCEPT\n";
    assert!(rules.contains(expected), "{rules}");

    node.sh("runc kill web KILL");
    container.wait();
    assert_eq!(node.sh("ip netns exec web nft list ruleset"), "");
    node.sh("ip link del host0");
    node.holds_nothing();
}

/// `bridge` finds what it has to remove by the addresses in the namespace.
#[test]
fn a_namespace_with_a_path_is_detached_whole() {
    let node = node();
    node.write(
        "/etc/cni/net.d/10-web.conflist",
        &WEB.replace("\"isGateway\"", "\"ipMasq\": true, \"isGateway\""),
    );
    node.sh("ip netns add web; ip netns exec web ip link set lo up");
    change(&node, |config| network_namespace(config)["path"] = json!("/run/netns/web"));
    let container = node.start(&format!("cd {BUNDLE}; exec runc run web"));
    node.until_reached("10.22.0.2:80");
    node.sh("iptables -t nat -S | grep MASQUERADE; runc kill web KILL");
    container.wait();
    node.holds_nothing();
    assert_eq!(node.sh("ip netns exec web nft list ruleset"), "");
}

/// Whatever is wrong, the container's process never runs, and nothing is left.
#[test]
fn a_container_without_its_firewall_does_not_start() {
    let node = node();
    let path = format!("{BUNDLE}/config.json");
    let as_it_was = fs::read_to_string(node.path(&path)).expect("a bundle");
    let web = hook(&["--network", "web"]);
    let mut bare = web.clone();
    bare["env"] = json!(["A=B"]);
    let unchanged: Change = |_| ();
    let host_by_path = |config: &mut Value| network_namespace(config)["path"] = json!("/proc/1/ns/net");
    let host = |config: &mut Value| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|namespace| namespace["type"] != "network");
    };
    let cases: [(&str, Value, Change); 7] = [
        ("no network `wep` in `/etc/cni/net.d`, only `fence`, ", hook(&["--network", "wep"]), unchanged),
        (
            "container `web` has no annotation `org.example.net`",
            hook(&["--annotation", "org.example.net"]),
            unchanged,
        ),
        ("required arguments were not provided", hook(&[]), unchanged),
        ("the variable CNI_PATH is not set", bare, unchanged),
        ("`a-name-of-16-byte`", hook(&["--network", "web", "--ifname", "a-name-of-16-byte"]), unchanged),
        ("the host's firewall is never touched", hook(&["--network", "fence"]), host_by_path),
        ("container `web` shares the host's network, which is never touched", web, host),
    ];
    for (message, hook, change_more) in cases {
        node.write(&path, &as_it_was);
        change(&node, |config| {
            config["hooks"] = json!({ "createRuntime": [hook], "poststop": [hook] });
            change_more(config);
        });
        let output = node.try_sh(&format!("cd {BUNDLE}; runc run web"));
        let error = String::from_utf8_lossy(&output.stderr).replace("\\n", "\n");
        assert!(!output.status.success() && error.contains(message), "{message}: {error}");
        assert!(!node.path(&format!("{BUNDLE}/rootfs/it-ran")).exists(), "{message}");
        assert_eq!(node.sh("runc list -q"), "", "{message}");
        node.holds_nothing();
    }
}

#[test]
fn what_is_no_state_or_comes_too_late_is_refused() {
    let node = Node::new();
    node.write("/etc/cni/net.d/10-web.conflist", WEB);
    let state = |status: &str, more: &str| {
        format!("{{\"id\":\"web\",\"status\":\"{status}\",\"bundle\":\"/none\"{more}}}")
    };
    for (state, message) in [
        (String::new(), "standard input is not the state of a container"),
        ("{}".to_owned(), "missing field `id`"),
        (state("running", ",\"pid\":1"), "container `web` is `running`: too late for its firewall"),
        (state("creating", ",\"pid\":1"), "cannot read `/none/config.json`"),
        (state("creating", ",\"pid\":-1"), "standard input is not the state of a container"),
    ] {
        node.write("/run/state", &state);
        let script = "CNI_PATH=/usr/lib/cni /opt/cni/bin/firewallnetns oci-hook --network web </run/state";
        let output = node.try_sh(script);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && error.contains(message), "{state}: {error}");
    }
    // at the end, nothing that is missing is an error
    node.write("/run/state", &state("stopped", ""));
    node.sh(
        "CNI_PATH=/opt/cni/bin:/usr/lib/cni /opt/cni/bin/firewallnetns oci-hook --network web </run/state",
    );
}

/// The way for podman without CNI: podman makes the interface, the hook puts the rules in.
#[test]
fn podman_calls_the_hook_for_containers_with_an_annotation() {
    let node = podman::node();
    node.write("/etc/cni/net.d/30-fence.conflist", &FENCE.replace("-s $RESULT_GATEWAY4 ", ""));
    node.sh("mkdir -p /etc/containers/oci/hooks.d");
    let conf = format!("{}hooks_dir = [ \"/etc/containers/oci/hooks.d\" ]\n", podman::CONF);
    node.write("/etc/containers/containers.conf", &conf);
    let hook = json!({
        "version": "1.0.0",
        "hook": hook(&["--annotation", "org.example.fence"]),
        "when": { "annotations": { "^org\\.example\\.fence$": "." } },
        "stages": ["createRuntime", "poststop"],
    });
    node.write("/etc/containers/oci/hooks.d/fence.json", &hook.to_string());
    let run = |name: &str, options: &str| {
        node.try_sh(&format!("podman run -d --name {name} --network plain {options} --rootfs {ROOT} {SERVE}"))
    };

    assert!(run("web", "--annotation org.example.fence=fence").status.success());
    let firewall = podman::rules(&node, "web");
    assert!(firewall.contains("-i eth0 -p tcp -m tcp --dport 80 -j ACCEPT\n"), "{firewall}");
    let address = |port: u16| format!("{}:{port}", podman::address(&node, "web", "plain"));
    node.until_reached(&address(80));
    expect(&[(Attempt::tcp(&node.host, &address(81)), Silent)]);

    // another namespace; no address is taken twice
    node.sh("podman restart -t 0 web");
    assert_eq!(podman::rules(&node, "web").lines().count(), firewall.lines().count());
    node.until_reached(&address(80));
    expect(&[(Attempt::tcp(&node.host, &address(81)), Silent)]);

    // no business of the hook
    assert!(run("open", "").status.success());
    assert_eq!(podman::rules(&node, "open"), "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n");
    let output = run("wrong", "--annotation org.example.fence=fense");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("no network `fense`"), "{error}");

    node.sh("podman rm -f -t 0 web open wrong");
    node.holds_nothing();
}
