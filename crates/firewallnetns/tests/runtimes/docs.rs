//! The commands of the how-tos, run as they stand on a node where the pages say it is set up so. Which block is tried
//! where is listed in `tests/cli/docs.rs`.

use std::fs;
use std::path::Path;

use fwn_testkit::probe::Outcome::{Reached, Silent};
use fwn_testkit::probe::{Attempt, expect};
use serde_json::Value;

use crate::busybox::ROOT;
use crate::cri::Cri;
use crate::node::Node;
use crate::{containerd, podman};

/// The blocks of a page that begin with this word after the fence.
fn blocks(page: &str, info: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let text = fs::read_to_string(path).expect("a page");
    let fenced = text.split("\n```").skip(1).step_by(2);
    let blocks = fenced.filter_map(|block| block.strip_prefix(info)?.strip_prefix('\n'));
    blocks.map(|block| format!("{block}\n")).collect()
}

/// The same, as many as there have to be.
fn blocks_of<const N: usize>(page: &str, info: &str) -> [String; N] {
    blocks(page, info).try_into().unwrap_or_else(|found| panic!("{page}: {info}: {found:?}"))
}

/// Both families are closed for whoever looks.
#[track_caller]
fn shows_closed(shown: &str) {
    assert!(shown.contains("Chain INPUT (policy DROP"), "{shown}");
}

/// Lint has nothing to say on the networks of a page but that some have rules only, as the page says.
#[track_caller]
fn networks_are_clean(node: &Node) {
    let output = node.try_sh("/opt/cni/bin/firewallnetns lint --format json /etc/cni/net.d/*.conflist");
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let diagnostics = found["diagnostics"].as_array().expect("a list").iter();
    let others: Vec<_> = diagnostics.filter(|diagnostic| diagnostic["id"] != "rules-only").collect();
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
fn podman_page() {
    let node = podman::bare_node();
    let image = node.image("localhost/web:latest");
    node.sh(&format!("podman load --input {image}"));
    let [network, container, reload, second] = blocks_of("podman.md", "sh");

    assert!(node.sh(&network).contains("web"));
    shows_closed(&node.sh(&container));
    node.until_reached("10.22.0.1:8080");
    let address = podman::address(&node, "web", "web");
    expect(&[(Attempt::tcp(&node.host, &format!("{address}:81")), Silent)]);

    // "a changed .fw file counts at once after"
    let rule = r#"{ "rules": [ { "type": "I", "chain": "INPUT", "rule": "-p tcp --dport 81 -j REJECT" } ] }"#;
    node.write("/etc/cni/firewallnetns/allow-nd.fw", rule);
    node.sh(&reload);
    assert!(podman::rules(&node, "web").contains("--dport 81"));
    node.until_reached("10.22.0.1:8080");

    let (attach, after) = second.split_once("podman network disconnect").expect("the way back");
    node.sh(attach);
    node.install_presets();
    networks_are_clean(&node);
    let rules = podman::rules(&node, "web");
    assert!(rules.contains("-A OUTPUT -o eth1 -p tcp -m tcp --dport 5432"), "{rules}");
    node.sh(&format!("podman network disconnect{after}"));
    node.holds_nothing();
}

#[test]
fn containerd_page() {
    let node = Node::new().with_root();
    let ([network, run, remove], [conf]) =
        (blocks_of("containerd.md", "sh"), blocks_of("containerd.md", "toml"));
    node.sh(&network);
    networks_are_clean(&node);
    containerd::start(&node, &conf);
    let cri = Cri::new(&node);
    assert_eq!(cri.conditions(), ["RuntimeReady", "NetworkReady"]);
    cri.until_configured("/opt/cni/bin");
    cri.until_configured("allow-published-ports");

    shows_closed(&node.sh(&run));
    node.until_reached("10.22.0.2:80");
    expect(&[(Attempt::tcp(&node.host, "10.22.0.2:81"), Silent)]);
    node.sh(&remove);
    node.holds_nothing();
}

#[test]
fn plain_namespaces_page() {
    let node = Node::new();
    let [commands, rules_only] = blocks_of("plain-namespaces.md", "sh");
    let [netns, job] = blocks_of("plain-namespaces.md", "ini");
    node.sh(&commands);
    node.holds_nothing();
    let (_, after) = commands.split_once("export ").expect("variables");
    let variables = after.lines().next().expect("a line");
    let shown = node.sh(&format!("export {variables}\n{rules_only}"));
    assert!(shown.ends_with("-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n"), "{shown}");
    node.holds_nothing();
    networks_are_clean(&node);

    node.write("/etc/systemd/system/netns@.service", &netns);
    node.write("/etc/systemd/system/job.service", &job);
    assert_eq!(node.sh("systemd-analyze verify job.service netns@job.service 2>&1"), "");
    // what systemd would run, as it would
    let run = |key: &str| {
        let environment = netns.lines().find_map(|line| line.strip_prefix("Environment=")).expect("CNI_PATH");
        let commands = netns.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let script: Vec<_> = commands.map(|command| command.replace("%i", "job")).collect();
        node.sh(&format!("export {environment}\n{}", script.join("\n")))
    };
    run("ExecStart");
    shows_closed(&node.sh("ip netns exec job iptables -L -n"));
    node.holds_something();
    run("ExecStopPost");
    node.holds_nothing();
}

#[test]
fn oci_hooks_page() {
    let node = podman::bare_node();
    let image = node.image("localhost/web:latest");
    node.sh(&format!("podman load --input {image}"));
    let [network, runc, fence, fenced] = blocks_of("oci-hooks.md", "sh");
    let ([hooks], [conf]) = (blocks_of("oci-hooks.md", "json hooks"), blocks_of("oci-hooks.md", "toml"));

    node.sh(&network);
    node.sh(&format!("mkdir /var/tmp/bundle; cd /var/tmp/bundle; cp -a {ROOT} rootfs; runc spec"));
    let path = "/var/tmp/bundle/config.json";
    let mut config: Value = serde_json::from_slice(&fs::read(node.path(path)).expect("there")).expect("JSON");
    let hooks: Value = serde_json::from_str(&format!("{{{hooks}}}")).expect("part of an object");
    config["hooks"] = hooks["hooks"].clone();
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = ["sleep", "1000"].as_slice().into();
    node.write(path, &config.to_string());
    shows_closed(&node.sh(&format!("cd /var/tmp/bundle\n{runc}")));
    node.holds_nothing();

    node.sh(&fence);
    networks_are_clean(&node);
    let whole = podman::CONF.replace("[engine]\n", &conf);
    assert!(whole.contains("hooks_dir"), "{whole}");
    node.write("/etc/containers/containers.conf", &whole);
    let (start, restart) = fenced.split_once("podman restart").expect("a restart");
    shows_closed(&node.sh(start));
    node.until_reached(&format!("{}:80", podman::address(&node, "fenced", "podman")));
    let (restart, remove) = restart.split_once("podman rm").expect("the end");
    node.sh(&format!("podman restart{restart}"));
    let address = podman::address(&node, "fenced", "podman");
    node.until_reached(&format!("{address}:80"));
    expect(&[
        (Attempt::tcp(&node.host, &format!("{address}:80")), Reached),
        (Attempt::tcp(&node.host, &format!("{address}:81")), Silent),
    ]);
    node.sh(&format!("podman rm{remove}"));
    node.holds_nothing();
}
