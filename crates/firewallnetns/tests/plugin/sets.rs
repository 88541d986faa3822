//! Sets: contents from the configuration, files and earlier containers; every type that the kernel has.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use fwn_testkit::Netns;
use serde_json::{Value, json};

use crate::kit::{World, file_names, rule};

/// Every type, with two entries that can stand in it: those that `ipset` can make here, and the others.
fn types() -> (Vec<Value>, Vec<Value>) {
    let scratch = Netns::new();
    known_types().into_iter().partition(|set| {
        let text = |key: &str| set[key].as_str().unwrap_or_default().to_owned();
        let range = set.get("range").map(|_| format!("range {}", text("range"))).unwrap_or_default();
        let made = scratch.try_sh(&format!("ipset create {} {} {range}", text("set"), text("hashtype")));
        made.status.success()
    })
}

fn known_types() -> Vec<Value> {
    let range = |mut set: Value, range: &str| {
        set["range"] = json!(range);
        set
    };
    let mut sets: Vec<_> = [
        ("hash:ip", ["10.0.0.1", "10.0.0.2"]),
        ("hash:mac", ["02:00:00:00:00:01", "02:00:00:00:00:02"]),
        ("hash:ip,mac", ["10.0.0.1,02:00:00:00:00:01", "10.0.0.2,02:00:00:00:00:02"]),
        ("hash:net", ["10.0.0.0/24", "10.1.0.0/16"]),
        ("hash:net,net", ["10.0.0.0/24,10.1.0.0/16", "10.2.0.0/16,10.3.0.0/16"]),
        ("hash:ip,port", ["10.0.0.1,tcp:80", "10.0.0.2,udp:53"]),
        ("hash:net,port", ["10.0.0.0/24,tcp:80", "10.1.0.0/16,sctp:1"]),
        ("hash:ip,port,ip", ["10.0.0.1,tcp:80,10.0.0.9", "10.0.0.2,icmp:8/0,10.0.0.9"]),
        ("hash:ip,port,net", ["10.0.0.1,tcp:80,10.1.0.0/16", "10.0.0.2,tcp:81,10.1.0.0/16"]),
        ("hash:ip,mark", ["10.0.0.1,0x10", "10.0.0.2,0x11"]),
        ("hash:net,port,net", ["10.0.0.0/24,tcp:80,10.1.0.0/16", "10.0.1.0/24,tcp:80,10.1.0.0/16"]),
        ("hash:net,iface", ["10.0.0.0/24,eth0", "10.1.0.0/16,physdev:eth1"]),
    ]
    .into_iter()
    .enumerate()
    .map(|(number, (kind, entries))| json!({ "set": format!("s{number}"), "hashtype": kind, "entries": entries }))
    .collect();
    sets.push(range(
        json!({ "set": "b0", "hashtype": "bitmap:ip", "entries": ["10.0.0.1", "10.0.0.2"] }),
        "10.0.0.0/24",
    ));
    sets.push(range(json!({ "set": "b1", "hashtype": "bitmap:ip,mac", "entries": ["10.0.0.1,02:00:00:00:00:01", "10.0.0.2"] }), "10.0.0.0/24"));
    sets.push(range(json!({ "set": "b2", "hashtype": "bitmap:port", "entries": ["80", "443"] }), "0-1023"));
    sets.push(json!({ "set": "six", "hashtype": "hash:ip", "hashfamily": "inet6", "entries": ["2001:db8::1", "2001:db8::2"] }));
    sets.push(json!({ "set": "l0", "hashtype": "list:set", "entries": ["s0", "b0"] }));
    sets
}

#[test]
fn every_type_of_the_kernel() {
    let world = World::with_foreign();
    let before = world.container();
    let (sets, missing) = types();
    assert!(sets.len() >= 10, "a kernel with so few types proves nothing: {sets:?}");
    // those that a rule can ask with source and destination alone
    let rules: Vec<_> = sets
        .iter()
        .map(|set| {
            let kind = set["hashtype"].as_str().expect("text");
            let directions = kind.split([':', ',']).skip(1).map(|_| "src").collect::<Vec<_>>().join(",");
            rule(
                "INPUT",
                &format!("-m set --match-set {} {directions} -j DROP", set["set"].as_str().expect("text")),
            )
        })
        .collect();
    let conf = world.conf(&json!({ "ipsets": sets, "rules": rules }));
    world.run("ADD", &conf);
    let dump = world.sandbox.container.dump();
    for set in &sets {
        let (name, kind) = (set["set"].as_str().expect("text"), set["hashtype"].as_str().expect("text"));
        assert!(dump.contains(&format!("create {name} {kind} ")), "{name}: {dump}");
        assert_eq!(dump.matches(&format!("add {name} ")).count(), 2, "{name}: {dump}");
        assert!(dump.contains(&format!("--match-set {name} src")), "{name}: {dump}");
    }
    // an IPv6 set makes an IPv6 rule, one without a family both
    let four = world.sandbox.container.sh("iptables -S INPUT");
    let six = world.sandbox.container.sh("ip6tables -S INPUT");
    for (set, families) in [("six", (0, 1)), ("s0", (1, 0)), ("b2", (1, 1)), ("l0", (1, 1)), ("s3", (1, 0))] {
        let found = (four.matches(&format!(" {set} ")).count(), six.matches(&format!(" {set} ")).count());
        assert_eq!(found, families, "{set}");
    }
    world.run("CHECK", &conf);
    world.run("ADD", &conf);
    world.run("DEL", &conf);
    assert_eq!(world.container(), before);
    for set in missing {
        let message = format!(
            "network configuration: ipsets[0]: this kernel does not offer set type `{}`",
            set["hashtype"].as_str().expect("text")
        );
        world.refuses(100, &json!({ "ipsets": [set] }), &message);
    }
}

#[test]
fn entries_come_from_the_configuration_and_from_files() {
    let world = World::new();
    world.file("plain", "# comment\n10.0.0.1\n\n10.0.0.2 timeout 100 comment \"two words\"\n");
    world.file(
        "saved",
        "create two hash:net family inet\nadd two 192.0.2.0/24\nadd two 198.51.100.0/24 nomatch\n",
    );
    let conf = world.conf(&json!({
        "vars": { "NAME": "from-variable", "ENTRY": "203.0.113.7" },
        "ipsets": [
            { "set": "one", "hashtype": "hash:ip", "timeout": 0, "comment": true, "file": "plain", "entries": ["10.0.0.3", "10.0.0.1"] },
            { "set": "two", "hashtype": "hash:net", "file": "saved", "counters": true },
            { "set": "$NAME", "hashtype": "hash:ip", "entries": ["$ENTRY"] },
        ],
    }));
    world.run("ADD", &conf);
    let mut lines: Vec<_> = world.sandbox.container.sh("ipset save").lines().map(str::to_owned).collect();
    lines.sort();
    let expected = [
        "add from-variable 203.0.113.7",
        "add one 10.0.0.1 timeout 0",
        "add one 10.0.0.2 timeout ",
        "add one 10.0.0.3 timeout 0",
        "add two 192.0.2.0/24 packets 0 bytes 0",
        "add two 198.51.100.0/24 nomatch packets 0 bytes 0",
    ];
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}, expected {expected}");
    }
    assert!(lines[2].ends_with("comment \"two words\""), "{}", lines[2]);
}

/// Saved on DEL, and there again for the next container of that name, whatever its ID.
#[test]
fn sets_that_outlive_their_container() {
    let world = World::new();
    let conf = world.conf(&json!({ "ipsets": [
        { "set": "kept", "hashtype": "hash:ip", "persist": true, "entries": ["10.0.0.1"] },
        { "set": "lost", "hashtype": "hash:ip" },
    ] }));
    let named = |command: &str, id: &str, pod: &str| {
        let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=prod;K8S_POD_NAME={pod}");
        world.call(command, &conf).env("CNI_CONTAINERID", id).env("CNI_ARGS", args).run().expect_success();
    };
    let entries = || {
        let mut lines: Vec<_> = world.sandbox.container.sh("ipset save").lines().map(str::to_owned).collect();
        lines.retain(|line| line.starts_with("add"));
        lines.sort();
        lines
    };
    named("ADD", "first", "web");
    world.sandbox.container.sh("ipset add kept 10.0.0.2; ipset add lost 10.0.0.3");
    named("DEL", "first", "web");
    assert_eq!(world.sandbox.container.sh("ipset save"), "");
    let folder = world.dir.path().join("persist/net/prod%2Fweb");
    assert_eq!(file_names(&folder), ["kept.save"]);
    let mode = |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("kept.save"))), (0o700, 0o600));

    named("ADD", "other", "db");
    assert_eq!(entries(), ["add kept 10.0.0.1"], "another container has its own");
    named("DEL", "other", "db");
    named("ADD", "second", "web");
    assert_eq!(entries(), ["add kept 10.0.0.1", "add kept 10.0.0.2"]);
    world.sandbox.container.sh("ipset del kept 10.0.0.1");
    named("DEL", "second", "web");

    // what is saved and cannot be read fails the ADD, with its place
    fs::write(folder.join("kept.save"), "create kept hash:ip\nadd kept nonsense.300\n").expect("written");
    let args = "K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web";
    let (found, _) = world.refused(7, &world.call("ADD", &conf).env("CNI_ARGS", args));
    assert!(found.contains("kept.save:2:"), "{found}");
}

/// A set that cannot be saved is kept in place rather than lost.
#[test]
fn a_set_that_cannot_be_saved_stays() {
    let world = World::new();
    let file = world.file("file", "").display().to_string();
    let conf = world.conf(&json!({
        "persistDir": format!("{file}/below"),
        "ipsets": [{ "set": "kept", "hashtype": "hash:ip", "persist": true, "entries": ["10.0.0.1"] }],
        "rules": [rule("INPUT", "-m set --match-set kept src -j DROP")],
    }));
    world.run("ADD", &conf);
    let answer = world.call("DEL", &conf).run();
    answer.expect_success();
    assert!(answer.stderr.contains("set `kept` is left in place because it cannot be saved: "), "{answer:?}");
    let left = world.sandbox.container.dump();
    assert!(left.contains("add kept 10.0.0.1") && !left.contains("-A INPUT"), "{left}");
}

/// Sets alone need no other program.
#[test]
fn sets_alone_start_no_program() {
    let world = World::new();
    let log = world.path("trace");
    let script = format!("exec strace -f -qq -o {log} -e trace=execve,execveat $PLUGIN");
    let conf =
        world.conf(&json!({ "ipsets": types().0, "policies": [{ "chain": "INPUT", "policy": "DROP" }] }));
    for command in ["ADD", "CHECK", "DEL"] {
        world.scripted(&script, command, &conf).run().expect_success();
        let trace = fs::read_to_string(&log).expect("there");
        let started: Vec<_> =
            trace.lines().filter(|line| line.contains("exec") && !line.contains("= -1")).collect();
        assert_eq!(started.len(), 1, "{command}: {started:?}");
        assert!(started[0].contains("/firewallnetns\""), "{command}: {started:?}");
    }
}

/// What a killed ADD leaves behind may hold on to the sets that a DEL removes.
#[test]
fn a_temporary_list_of_sets_does_not_keep_its_members() {
    let world = World::with_foreign();
    let before = world.container();
    let conf = world.conf(&json!({ "ipsets": [
        { "set": "blocked", "hashtype": "hash:net" },
        { "set": "all", "hashtype": "list:set", "entries": ["blocked"] },
    ] }));
    world.run("ADD", &conf);
    world.sandbox.container.sh("ipset create fwn-new-1 list:set; ipset add fwn-new-1 blocked");
    world.run("DEL", &conf);
    assert_eq!(world.container(), before);
}
