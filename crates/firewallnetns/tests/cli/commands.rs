//! What is around a chain: arguments, variables, names, GC and STATUS.

use fwn_testkit::Netns;
use serde_json::{Value, json};

use crate::world::{MESOS, SEED_NETWORK, World};

/// A network without addresses, in the newest version of the protocol.
fn plain(name: &str) -> Value {
    json!({
        "cniVersion": "1.1.0",
        "name": name,
        "plugins": [
            { "type": "macvtap", "master": "eth1" },
            {
                "type": "firewallnetns",
                "dataDir": MESOS,
                "fwFiles": ["allow-ping"],
                "rules": [{ "type": "A", "chain": "INPUT", "rule": "-p tcp --dport 8080 -j ACCEPT" }]
            }
        ]
    })
}

fn with_plain() -> World {
    let world = World::new();
    world.write(&format!("{MESOS}/plain.conflist"), &plain("plain").to_string());
    world
}

fn rules(netns: &Netns) -> usize {
    netns.sh("iptables -S").lines().filter(|line| line.starts_with("-A")).count()
}

#[test]
fn alone_it_tells_what_it_is() {
    let world = World::new();
    let run = world.firewallnetns(&[]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""));
    assert!(run.stderr.starts_with("CNI plugin firewallnetns v"), "{}", run.stderr);
    for word in ["0.1.0", "1.1.0", "Usage: firewallnetns", "demo", "add", "del", "check", "gc", "status"] {
        assert!(run.stderr.contains(word), "{word}: {}", run.stderr);
    }
    assert!(world.firewallnetns(&["--help"]).ok().contains("Usage: firewallnetns"));
    assert_eq!(
        world.firewallnetns(&["--version"]).ok(),
        format!("firewallnetns {}\n", env!("CARGO_PKG_VERSION"))
    );
    let help = world.firewallnetns(&["add", "--help"]).ok();
    for word in
        ["CNI_PATH", "NETCONFPATH", "CNI_IFNAME", "CNI_CONTAINERID", "CNI_ARGS", "CAP_ARGS", "--ifname"]
    {
        assert!(help.contains(word), "{word}: {help}");
    }
}

#[test]
fn what_is_not_understood_does_nothing() {
    let world = with_plain();
    world.firewallnetns(&["add", "plain", &world.netns()]).ok();
    let cases: [&[&str]; 6] = [
        &["gc", "plain"],
        &["gc", "plain", "--keep", "one"],
        &["gc", "plain", "--all", "--keep", "a/b"],
        &["dle", "plain", &world.netns()],
        &["del", "plain"],
        &["status"],
    ];
    for case in cases {
        let run = world.firewallnetns(case);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{case:?}: {}", run.stderr);
        assert!(run.stderr.starts_with("error: "), "{case:?}: {}", run.stderr);
    }
    assert_eq!((world.links(), rules(&world.sandbox.container)), (vec!["eth0".to_owned()], 5));
}

#[test]
fn the_container_id_and_the_cache_are_those_of_cnitool() {
    let world = with_plain();
    let netns = world.netns();
    world.firewallnetns(&["add", "plain", &netns]).ok();
    let digest = world.sh(&format!("printf %s {netns} | sha512sum"));
    let id = format!("cnitool-{}", &digest[..20]);
    let kept: Vec<String> = world.names("/var/lib/cni/results");
    assert_eq!(kept, [format!("plain-{id}-eth0")]);
    let text =
        std::fs::read_to_string(world.path(&format!("/var/lib/cni/results/{}", kept[0]))).expect("there");
    let text: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&text["containerId"], &text["netns"]), (&json!(id), &json!(netns)));

    // the path is made absolute first
    let relative = ["del", "plain", netns.strip_prefix("/").expect("absolute")];
    let mut command = world.command("env");
    command.args(["--chdir=/"]).arg(fwn_testkit::plugin::program("firewallnetns")).args(relative);
    let output = command.env("CNI_PATH", world.bin()).env("NETCONFPATH", MESOS).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!((world.links(), world.kept()), (vec![], vec![]));
}

#[test]
fn variables_and_options_choose_names_and_folders() {
    let world = with_plain();
    let netns = world.netns();
    let (one, two) = (world.dir.path().join("one"), world.dir.path().join("two"));
    let (one, two) = (one.to_str().expect("UTF-8"), two.to_str().expect("UTF-8"));
    let variables = [("CNI_CONTAINERID", "web"), ("CNI_IFNAME", "net1"), ("CNI_CACHE_DIR", one)];
    world.firewallnetns_with(&variables, &["add", "plain", &netns]).ok();
    let options = ["add", "plain", &netns, "--ifname", "net2", "--cache-dir", two];
    world.firewallnetns_with(&variables, &options).ok();
    let mut links = world.links();
    links.sort();
    assert_eq!(links, ["net1", "net2"]);
    assert_eq!(world.names(&format!("{one}/results")), ["plain-web-net1"]);
    assert_eq!(world.names(&format!("{two}/results")), ["plain-web-net2"]);
    world.firewallnetns_with(&variables, &["del", "plain", &netns]).ok();
    assert_eq!(world.links(), ["net2"]);
}

#[test]
fn arguments_reach_the_plugins_and_malformed_ones_stop_before() {
    let world = with_plain();
    let mut list = plain("args");
    list["plugins"][1]["rules"][0]["rule"] = json!("-p tcp --dport $ARG_PORT -j ACCEPT");
    world.write(&format!("{MESOS}/args.conflist"), &list.to_string());
    let add = ["add", "args", &world.netns()];
    for (name, value, said) in [
        ("CNI_ARGS", "PORT=1;ODD", "`ODD` is not `NAME=VALUE`"),
        ("CAP_ARGS", "[]", "it is not a JSON object"),
        ("CNI_CONTAINERID", "-web", "-web"),
        ("CNI_IFNAME", "a/b", "a/b"),
    ] {
        let error = world.firewallnetns_with(&[(name, value)], &add).error();
        assert!(error.contains(said), "{name}: {error}");
        assert_eq!(world.kept(), Vec::<String>::new());
    }
    world.firewallnetns_with(&[("CNI_ARGS", "IgnoreUnknown=1;PORT=7777")], &add).ok();
    assert!(world.sandbox.container.sh("iptables -S").contains("--dport 7777"));
}

#[test]
fn what_is_missing_is_named() {
    let world = with_plain();
    let netns = world.netns();
    let error = world.firewallnetns_with(&[("CNI_PATH", "")], &["add", "plain", &netns]).error();
    assert!(error.contains("CNI_PATH is not set"), "{error}");
    let error =
        world.firewallnetns_with(&[("CNI_PATH", "/nowhere:/usr/lib/cni")], &["add", "plain", &netns]).error();
    assert!(error.contains("no executable file `macvtap` in") && error.contains("/nowhere"), "{error}");
    let error = world.firewallnetns(&["add", "plian", &netns]).error();
    assert!(error.contains("no network `plian` in `/etc/mesos-cni`"), "{error}");
    let error = world.firewallnetns_with(&[("NETCONFPATH", "")], &["add", "plain", &netns]).error();
    assert!(error.contains("no network `plain` in `/etc/cni/net.d`"), "{error}");
    let error = world.firewallnetns(&["add", "plain", "/run/netns/none"]).error();
    assert!(error.contains("`/run/netns/none` does not exist"), "{error}");
    let mut list = plain("misspelt");
    list["plugins"][1]["fwFiles"] = json!(["allow-pnig"]);
    world.write(&format!("{MESOS}/misspelt.conflist"), &list.to_string());
    let error = world.firewallnetns(&["add", "misspelt", &netns]).error();
    assert!(error.contains("allow-pnig.fw` does not exist; hint: did you mean `allow-ping.fw`?"), "{error}");
}

#[test]
fn a_wrong_rule_is_shown_with_its_place() {
    let world = with_plain();
    let mut list = plain("wrong");
    list["plugins"][1]["rules"][0]["rule"] = json!("-p tcp --dprot 80 -j ACCEPT");
    world.write(&format!("{MESOS}/wrong.conflist"), &list.to_string());
    let error = world.firewallnetns(&["add", "wrong", &world.netns()]).error();
    assert!(error.contains("\nerror: plugin `firewallnetns` failed (ADD): "), "{error}");
    // the details are lines of their own, indented, with the words marked
    assert!(error.lines().skip(1).any(|line| line.starts_with("  ") && line.contains("^^^^^^^")), "{error}");
    assert!(error.contains("--dport"), "{error}");
    assert_eq!((world.links(), world.kept()), (vec![], vec![]));
}

#[test]
fn the_host_is_never_touched() {
    let world = with_plain();
    let host = world.sandbox.host.path().display().to_string();
    let before = (world.sandbox.host.dump(), world.sandbox.host.sh("ip -o link"));
    for command in ["add", "del"] {
        let error = world.firewallnetns(&[command, "plain", &host]).error();
        assert!(error.contains("the host's firewall is never touched"), "{command}: {error}");
    }
    assert_eq!((world.sandbox.host.dump(), world.sandbox.host.sh("ip -o link")), before);
}

#[test]
fn a_second_add_leaves_the_first_alone() {
    let world = with_plain();
    let netns = world.netns();
    world.firewallnetns(&["add", "plain", &netns]).ok();
    let before = world.sandbox.container.dump();
    let error = world.firewallnetns(&["add", "plain", &netns]).error();
    assert!(error.contains("is attached to network `plain` already, by interface `eth0`"), "{error}");
    assert_eq!((world.links(), world.sandbox.container.dump()), (vec!["eth0".to_owned()], before));
    world.firewallnetns(&["check", "plain", &netns]).ok();

    // known still, but gone, as after a reboot
    world.sandbox.container.sh("ip link del eth0");
    world.firewallnetns(&["add", "plain", &netns]).ok();
    world.firewallnetns(&["check", "plain", &netns]).ok();
}

#[test]
fn gc_removes_what_is_not_kept() {
    let world = with_plain();
    let other = Netns::new();
    let other_netns = other.path().display().to_string();
    let container = &world.sandbox.container;
    let before = (container.dump(), other.dump());
    world.firewallnetns_with(&[("CNI_CONTAINERID", "one")], &["add", "plain", &world.netns()]).ok();
    world.firewallnetns_with(&[("CNI_CONTAINERID", "two")], &["add", "plain", &other_netns]).ok();

    world.firewallnetns(&["gc", "plain", "--keep", "one/eth0", "--keep", "gone/eth0"]).ok();
    assert_eq!(world.links(), ["eth0"]);
    assert_eq!((rules(container), other.dump()), (5, before.1.clone()));
    assert_eq!(world.names("/var/lib/cni/results"), ["plain-one-eth0"]);

    // the cache is lost: the plugin still knows whose rules they are
    world.sh("rm -r /var/lib/cni");
    world.firewallnetns(&["gc", "plain", "--all"]).ok();
    assert_eq!((container.dump(), other.dump()), before);
    assert_eq!(world.names("/run/firewallnetns"), ["lock"]);
}

#[test]
fn status_tells_whether_add_would_work() {
    let world = with_plain();
    assert_eq!(world.firewallnetns(&["status", "plain"]).ok(), "");
    world.sh(&format!("rm {MESOS}/allow-ping.fw"));
    let error = world.firewallnetns(&["status", "plain"]).error();
    assert!(error.starts_with("error: plugin `firewallnetns` failed (STATUS): "), "{error}");
    assert!(error.contains("allow-ping.fw` does not exist") && error.contains("(CNI code 50)"), "{error}");

    let run = world.firewallnetns(&["status", SEED_NETWORK]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""));
    assert!(run.stderr.contains("0.3.1, which has no STATUS"), "{}", run.stderr);
}
