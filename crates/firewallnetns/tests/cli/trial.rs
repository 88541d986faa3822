//! `explain` and `test`: verdicts with the rules that decide, packets that make no sense, and results in every format.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::world::{MESOS, Run, SEED_NETWORK, World};

fn with_seed() -> World {
    let world = World::new();
    world.firewallnetns(&["add", SEED_NETWORK, &world.netns()]).ok();
    world
}

fn explain(world: &World, packet: &str) -> Run {
    world.firewallnetns(&["explain", &world.netns(), packet])
}

#[test]
fn the_deciding_rule_is_told_with_its_origin() {
    let world = with_seed();
    let container = &world.sandbox.container;
    container.sh("iptables -A INPUT -p tcp --dport 8444 -j DROP");
    let before = container.sh("iptables-save -c | grep -v '^#'; ipset save; ip addr show eth0; ip route");
    let last = |packet: &str| explain(&world, packet).ok().lines().last().expect("a verdict").to_owned();
    assert_eq!(
        last("in tcp 10.0.0.9:4000 -> 192.168.124.170:8080"),
        "ACCEPT by rule 5 of ipv4 filter INPUT: -p tcp -m tcp --dport 8080 -j ACCEPT  # network configuration: rules[0].rule"
    );
    assert_eq!(
        last("in tcp 10.0.0.9:4000 -> 192.168.124.170:80"),
        "ACCEPT by the policy of ipv4 filter INPUT"
    );
    assert_eq!(
        last("in tcp 10.0.0.9:4000 -> 192.168.124.170:8444"),
        "DROP by rule 8 of ipv4 filter INPUT: -p tcp --dport 8444 -j DROP  # foreign: not of firewallnetns"
    );
    // what is in the set while the container runs counts
    container.sh("ipset add blacklistweb 10.0.0.0");
    assert!(
        last("in tcp 10.0.0.9:4000 -> 192.168.124.170:80")
            .starts_with("REJECT by rule 7 of ipv4 filter INPUT: ")
    );
    container.sh("ipset del blacklistweb 10.0.0.0");
    // the namespace was only read
    assert_eq!(
        container.sh("iptables-save -c | grep -v '^#'; ipset save; ip addr show eth0; ip route"),
        before
    );

    let id = world.names("/run/firewallnetns").into_iter().find(|name| name != "lock").expect("a folder");
    let state = world.names(&format!("/run/firewallnetns/{id}")).remove(0);
    let container = state.split(':').nth(1).expect("an ID").to_owned();
    let run = world.firewallnetns(&[
        "explain",
        "--container",
        &container,
        "out icmp 192.168.124.170 -> 10.0.0.9",
        "--json",
    ]);
    assert_eq!(run.code, Some(1), "no route: {run:?}");
    world.sandbox.container.sh("ip route add default via 192.168.124.1");
    let run = world.firewallnetns(&[
        "explain",
        "--container",
        &container,
        "out icmp 192.168.124.170 -> 10.0.0.9",
        "--json",
    ]);
    let told: Value = serde_json::from_str(&run.ok()).expect("JSON");
    assert_eq!(
        (&told["verdict"], &told["packet"]),
        (&"ACCEPT".into(), &"out icmp 192.168.124.170 -> 10.0.0.9".into())
    );
    assert_eq!(told["steps"][0]["passed"][0]["number"], 1);
    assert_eq!(told["steps"][1]["matched"]["origin"], "allow-ping.fw: rules[3].rule");
}

#[test]
fn many_rules_are_counted_unless_all_are_asked_for() {
    let world = with_seed();
    let rules: Vec<String> =
        (1..=300).map(|port| format!("-A INPUT -p udp --dport {port} -j DROP")).collect();
    world
        .sandbox
        .container
        .sh(&format!("iptables-restore --noflush <<'END'\n*filter\n{}\nCOMMIT\nEND", rules.join("\n")));
    let packet = "in udp 10.0.0.9 -> 192.168.124.170:300";
    let text = explain(&world, packet).ok();
    assert_eq!(text.lines().count(), 10, "{text}");
    assert!(text.contains("  - ... and 300 more that do not match\n"), "{text}");
    let all = world.firewallnetns(&["explain", &world.netns(), packet, "--all"]).ok();
    assert_eq!(all.lines().count(), 309, "{all}");
}

#[test]
fn a_terminal_of_forty_columns_is_readable() {
    let world = with_seed();
    let netns = world.netns();
    let packet = "in tcp 10.0.0.9 -> 192.168.124.170:8443";
    let wide = explain(&world, packet).ok();
    let narrow = world.firewallnetns_with(&[("COLUMNS", "40")], &["explain", &netns, packet]).ok();
    let too_long: Vec<&str> = narrow.lines().filter(|line| line.chars().count() > 40).collect();
    assert_eq!(too_long, Vec::<&str>::new());
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&narrow), words(&wide));
}

#[test]
fn packets_that_make_no_sense_are_refused_with_a_reason() {
    let world = with_seed();
    for (packet, reason) in [
        ("in tpc 10.0.0.9 -> 192.168.124.170:80", "`tpc` is no protocol"),
        ("in tcp 10.0.0.9 -> 192.168.124.170", "`tcp` has ports: the one that the packet goes to is missing"),
        (
            "in tcp 10.0.0.9 -> 192.168.124.171:80",
            "`192.168.124.171` is no address of the namespace, so the packet is not for it; it has",
        ),
        (
            "in tcp 10.0.0.9 -> 192.168.124.170:80 on eth7",
            "there is no interface `eth7`; there are `lo`, `eth0`",
        ),
        (
            "in tcp 127.0.0.1 -> 192.168.124.170:80 on eth0",
            "a packet with a loopback address goes by `lo` only",
        ),
        (
            "out tcp 10.0.0.9 -> 192.168.124.1:80",
            "`10.0.0.9` is no address of the namespace, so nothing is sent from it",
        ),
        (
            "forward udp 10.0.0.9 -> 10.0.1.9:53 from eth0 to eth0",
            "the namespace does not hand packets on (ip_forward is off)",
        ),
        ("in udp \u{1b}[2J", "is no IP address"),
    ] {
        let error = explain(&world, packet).error();
        assert!(error.starts_with("error: the packet makes no sense (CNI code 7)\n"), "{error}");
        assert!(error.contains(reason) && error.contains("--> packet:1:"), "{packet}: {error}");
        assert!(!error.contains('\u{1b}'), "{error}");
    }
    let error = explain(&world, "out tcp 192.168.124.170 -> 8.8.8.8:53").error();
    assert!(
        error.starts_with("error: there is no route to `8.8.8.8`: the packet would not be sent"),
        "{error}"
    );
    let error = explain(&world, "in tcp 10.0.0.9 -> 192.168.124.170:80 estabished").error();
    assert!(error.contains("^^^^^^^^^^") && error.contains("did you mean `established`?"), "{error}");
    let error = world.firewallnetns(&["explain", "nosuch", "in icmp 10.0.0.9 -> 10.0.0.2"]).error();
    assert!(error.starts_with("error: network namespace `/run/netns/nosuch` does not exist"), "{error}");
    let error = world.firewallnetns(&["explain", "in icmp 10.0.0.9 -> 10.0.0.2"]).error();
    assert!(error.starts_with("error: a namespace and a packet are wanted"), "{error}");
}

const WEB: &str = r#"{
  "policies": [ { "chain": "INPUT", "policy": "DROP" } ],
  "rules": [ { "type": "A", "chain": "INPUT", "rule": "-i $CNI_IFNAME -p tcp --dport $PORT -j ACCEPT" },
             { "type": "A", "chain": "INPUT", "rule": "-p udp -j REJECT" } ],
  "tests": [
    { "packet": "in tcp 10.0.0.9 -> 10.0.0.2:$PORT", "expect": "ACCEPT", "vars": { "PORT": 80 } },
    { "packet": "in udp 10.0.0.9 -> 10.0.0.2:9", "expect": "REJECT", "vars": { "PORT": 80 } },
    { "packet": "in tcp 10.0.0.9 -> 10.0.0.2:81", "expect": "ACCEPT", "vars": { "PORT": 80 } },
  ],
}"#;

#[test]
fn results_come_in_every_format() {
    let world = World::new();
    let file = format!("{MESOS}/web.fw");
    world.write(&file, WEB);
    let run = world.firewallnetns(&["test", &file]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""), "{run:?}");
    assert_eq!(
        run.stdout,
        format!(
            "{file}
  ok      in tcp 10.0.0.9 -> 10.0.0.2:$PORT: ACCEPT
  ok      in udp 10.0.0.9 -> 10.0.0.2:9: REJECT
  FAILED  in tcp 10.0.0.9 -> 10.0.0.2:81: expected ACCEPT, got DROP
          by the policy of ipv4 filter INPUT
          at {file}:8:17
3 packets, 1 not as expected
"
        )
    );
    let tap = world.firewallnetns(&["test", &file, "--format", "tap"]);
    assert_eq!(tap.code, Some(1));
    assert!(tap.stdout.starts_with("TAP version 13\n1..3\nok 1 - "), "{}", tap.stdout);
    assert!(tap.stdout.contains("\nnot ok 3 - "), "{}", tap.stdout);
    let junit = world.firewallnetns(&["test", &file, "--format", "junit"]);
    assert_eq!(junit.code, Some(1));
    assert!(junit.stdout.contains("<testsuites tests=\"3\" failures=\"1\">"), "{}", junit.stdout);
    // a variable of the command line wins
    let run = world.firewallnetns(&["test", &file, "--env", "PORT=81"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.ends_with("3 packets, all as expected\n"), "{run:?}");
    // an ADD does not look at them
    world.write(
        &format!("{MESOS}/web.conflist"),
        r#"{ "cniVersion": "1.0.0", "name": "web", "plugins": [ { "type": "macvtap", "master": "eth1" },
             { "type": "firewallnetns", "dataDir": "/etc/mesos-cni", "fwFiles": [ "web" ], "vars": { "PORT": "80" },
               "tests": [ { "packet": "in tcp 10.0.0.9 -> 10.0.0.2:80", "expect": "ACCEPT" },
                          { "packet": "in tcp 10.0.0.9 -> 10.0.0.2:82", "expect": "DROP" } ] } ] }"#,
    );
    world.firewallnetns(&["add", "web", &world.netns()]).ok();
    let run = world.firewallnetns(&["test", &format!("{MESOS}/web.conflist")]).ok();
    assert!(run.ends_with("2 packets, all as expected\n"), "{run}");
}

#[test]
fn every_preset_stands_its_tests() {
    let world = World::new();
    let presets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fw");
    let mut files = Vec::new();
    for entry in fs::read_dir(&presets).expect("presets") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        world.write(&format!("{MESOS}/{name}"), &fs::read_to_string(&path).expect("a preset"));
        files.push(format!("{MESOS}/{name}"));
    }
    files.sort();
    let arguments: Vec<&str> = ["test"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let text = world.firewallnetns(&arguments).ok();
    // ports that a runtime maps are not known to a test
    let without: Vec<&str> = text
        .split(&format!("{MESOS}/"))
        .filter(|suite| suite.lines().filter(|line| line.starts_with("  ")).count() == 0)
        .filter_map(|suite| suite.lines().next())
        .collect();
    assert_eq!(without, ["allow-published-ports.fw"], "{text}");
    assert!(text.contains("packets, all as expected"), "{text}");
}

#[test]
fn what_is_wrong_with_tests_is_shown_in_its_place() {
    let world = World::new();
    let file = format!("{MESOS}/bad.fw");
    for (tests, message) in [
        (r#"[ { "packet": "in tcp 10.0.0.9 -> web:80", "expect": "DROP" } ]"#, "`web:80` is no IP address"),
        (r#"[ { "packet": "in icmp 10.0.0.9 -> $IP", "expect": "DROP" } ]"#, "variable `IP` is not set"),
        (
            r#"[ { "packet": "in icmp 10.0.0.9 -> $IP", "expect": "DROP", "vars": { "IP": "x" } } ]"#,
            "`x` is no IP address in `in icmp 10.0.0.9 -> x`",
        ),
        (
            r#"[ { "packet": "in icmp 10.0.0.9 -> 10.0.0.2", "expect": "DENY" } ]"#,
            "expected `ACCEPT`, `DROP` or `REJECT`, found `DENY`",
        ),
        (
            r#"[ { "packet": "in icmp 10.0.0.9 -> 10.0.0.2", "expect": "DROP", "with": [ "nosuch" ] } ]"#,
            "file `/etc/mesos-cni/nosuch.fw` does not exist",
        ),
        (r#"[ { "packet": "in icmp 10.0.0.9 -> 10.0.0.2" } ]"#, "missing key `expect`"),
    ] {
        world.write(&file, &format!("{{ \"tests\": {tests} }}"));
        let error = world.firewallnetns(&["test", &file]).error();
        assert!(error.contains(message) && error.contains("--> /etc/mesos-cni/bad.fw:1:"), "{error}");
    }
    world.write(&file, "{}");
    let error = world.firewallnetns(&["test", &file]).error();
    assert!(error.starts_with("error: there is nothing to test: no file has `tests`"), "{error}");
    world.sh(&format!("mkfifo {MESOS}/fifo.fw"));
    let error = world.firewallnetns(&["test", &format!("{MESOS}/fifo.fw")]).error();
    assert!(error.contains("is not a regular file"), "{error}");
}
