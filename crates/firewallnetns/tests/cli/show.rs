//! `show`: every rule with its counters, its origin and its owner; and what moves, until there is nothing to watch any
//! more.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use fwn_testkit::Netns;
use fwn_testkit::plugin::program;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::world::{Run, SEED_NETWORK, World};

const STATE: [&str; 2] = ["--state-dir", "/run/firewallnetns"];

fn with_seed() -> World {
    let world = World::new();
    world.firewallnetns(&["add", SEED_NETWORK, &world.netns()]).ok();
    world
}

fn json(world: &World) -> Value {
    serde_json::from_str(&world.firewallnetns(&["show", &world.netns(), "--json"]).ok()).expect("JSON")
}

fn chain<'a>(view: &'a Value, family: &str, name: &str) -> &'a Value {
    let chains = view["chains"].as_array().expect("a list").iter();
    let mut chains = chains.filter(|chain| chain["family"] == family && chain["chain"] == name);
    chains.next().expect("the chain is there")
}

/// One packet over the loopback interface, which the example's INPUT chain accepts by its policy.
fn one_packet(world: &World) {
    world.sandbox.container.sh("ping -c1 -w5 127.0.0.1");
}

#[test]
fn counters_are_those_of_iptables() {
    let world = with_seed();
    let container = &world.sandbox.container;
    container.sh("ip link set lo up; iptables -I INPUT 6 -s 127.0.0.1 -p icmp");
    one_packet(&world);
    let view = json(&world);
    let listing = container.sh("iptables -L INPUT -vnx");
    let expected: Vec<(u64, u64)> = listing
        .lines()
        .skip(2)
        .map(|line| {
            let mut numbers = line.split_whitespace().map(|word| word.parse().expect("a number"));
            (numbers.next().expect("packets"), numbers.next().expect("bytes"))
        })
        .collect();
    let rules = chain(&view, "ipv4", "INPUT")["rules"].as_array().expect("a list");
    let number = |value: &Value| value.as_u64().expect("a number");
    let found: Vec<(u64, u64)> = rules
        .iter()
        .map(|rule| (number(&rule["counters"]["packets"]), number(&rule["counters"]["bytes"])))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(expected[5], (2, 168), "a request and its reply");
    let policy = &chain(&view, "ipv4", "INPUT")["counters"];
    assert!(
        listing.starts_with(&format!(
            "Chain INPUT (policy ACCEPT {} packets, {} bytes)",
            policy["packets"], policy["bytes"]
        )),
        "{listing} {policy}"
    );
    assert_eq!(number(&policy["packets"]), 2);
}

#[test]
fn each_rule_has_its_origin_and_owner() {
    let world = with_seed();
    let container = &world.sandbox.container;
    container.sh("iptables -I INPUT -s 10.0.0.0/8 -m comment --comment x -j DROP
         iptables -R INPUT 7 -p tcp --dport 8444 -j ACCEPT
         iptables -t mangle -N theirs; nft add table inet fw4; ipset create foreign bitmap:port range 1-9");
    let view = json(&world);
    let rules = &chain(&view, "ipv4", "INPUT")["rules"];
    let attachment = view["attachments"][0].as_str().expect("a name").to_owned();
    assert!(attachment.starts_with("test-firewallnetns/cnitool-") && attachment.ends_with("/eth0"));
    assert_eq!(rules[0]["foreign"], true);
    assert_eq!(
        (rules[0]["rule"].as_str(), &rules[0]["owner"]),
        (Some("-s 10.0.0.0/8 -m comment -j DROP"), &Value::Null)
    );
    assert_eq!(rules[1]["origin"], "allow-ping.fw: rules[0].rule");
    assert_eq!(rules[1]["owner"], attachment);
    assert_eq!(rules[1]["rule"], "-i eth0 -p icmp -m icmp --icmp-type 8 -j ACCEPT");
    // a replaced rule has no mark of ours any more
    assert_eq!(
        (&rules[6]["foreign"], &rules[6]["rule"]),
        (&true.into(), &"-p tcp --dport 8444 -j ACCEPT".into())
    );
    assert_eq!(rules[7]["origin"], "network configuration: rules[2].rule");
    assert_eq!(view["others"], serde_json::json!(["inet fw4"]));
    let sets = &view["sets"];
    assert_eq!(
        (&sets[0]["name"], &sets[0]["owners"][0]),
        (&"blacklistweb".into(), &attachment.clone().into())
    );
    assert_eq!((&sets[1]["name"], &sets[1]["owners"]), (&"foreign".into(), &serde_json::json!([])));

    let text = world.firewallnetns(&["show", &world.netns()]).ok();
    assert!(text.contains("\nipv4 mangle theirs\n"), "{text}");
    assert!(text.contains("-s 10.0.0.0/8 -m comment -j DROP  # foreign: not of firewallnetns\n"), "{text}");
    assert!(text.contains("foreign: bitmap:port, 0 entries"), "{text}");

    // by the container's ID
    let id = attachment.split('/').nth(1).expect("an ID");
    assert_eq!(world.firewallnetns(&["show", "--container", id]).ok(), text);
    let error = world.firewallnetns(&["show", "--container", "nosuch"]).error();
    assert!(error.starts_with("error: no attachment of container `nosuch` is on record"), "{error}");

    // without the state file the rules are still known as ours
    world.sh("rm -r /run/firewallnetns");
    let text = world.firewallnetns(&["show", &world.netns()]).ok();
    assert!(text.starts_with("no attachment is on record here\n"), "{text}");
    assert!(
        text.contains(
            "-i eth0 -p icmp -m icmp -j ACCEPT  # of firewallnetns, but no state file tells whose\n"
        ),
        "{text}"
    );
}

#[test]
fn attachments_are_numbered_where_there_are_several() {
    let world = with_seed();
    world.write(
        "/etc/mesos-cni/second.conflist",
        r#"{ "cniVersion": "1.0.0", "name": "second", "plugins": [ { "type": "macvtap", "master": "eth1" },
             { "type": "firewallnetns", "policies": [ { "chain": "INPUT", "policy": "DROP" } ],
               "rules": [ { "type": "A", "chain": "INPUT", "rule": "-i $CNI_IFNAME -p udp -j DROP" } ] } ] }"#,
    );
    world.firewallnetns(&["add", "second", &world.netns(), "--ifname", "eth9"]).ok();
    let text = world.firewallnetns(&["show", &world.netns()]).ok();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("[1] second/") && lines[1].starts_with("[2] test-firewallnetns/"), "{text}");
    assert!(text.contains("ipv4 filter INPUT, policy DROP of [1]"), "{text}");
    assert!(text.contains("ipv4 filter FORWARD, policy DROP of [2]"), "{text}");
    assert!(text.contains("-i eth9 -p udp -j DROP  # network configuration: rules[0].rule [1]\n"), "{text}");
    assert!(text.contains("--dport 8080 -j ACCEPT  # network configuration: rules[0].rule [2]\n"), "{text}");
}

/// A running `show --watch` and the lines of its stdout; it is gone when the value is dropped.
struct Watching {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watching {
    fn start(world: &World, netns: &str, more: &[&str]) -> Self {
        let mut command = world.command(program("firewallnetns"));
        command.args(["show", netns, "--watch", "--interval", "0.02"]).args(STATE).args(more);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("UTF-8");
        line
    }

    fn line_with(&mut self, part: &str) -> String {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "it ends without `{part}`");
            if line.contains(part) {
                return line;
            }
        }
    }

    fn end(mut self) -> Run {
        let mut rest = String::new();
        while self.lines.read_line(&mut rest).expect("UTF-8") > 0 {}
        let stderr = self.child.stderr.take().expect("piped");
        let code = self.child.wait().expect("it ends").code();
        Run { code, stdout: rest, stderr: std::io::read_to_string(stderr).expect("UTF-8") }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn watching_tells_what_moves_until_it_is_interrupted() {
    let world = with_seed();
    world.sandbox.container.sh("ip link set lo up");
    let mut watching = Watching::start(&world, &world.netns(), &[]);
    watching.line_with("sets");
    one_packet(&world);
    assert_eq!(watching.line_with("INPUT"), "+2 +168 ipv4 filter INPUT: policy ACCEPT\n");
    let pid = Pid::from_raw(watching.child.id().cast_signed());
    kill(pid, Signal::SIGINT).expect("sent");
    let run = Watching::end(watching);
    assert_eq!((run.code, run.stderr.as_str()), (Some(130), ""), "{run:?}");
}

#[test]
fn watching_ends_with_the_namespace() {
    let world = World::new();
    let netns = Netns::new();
    netns.sh("iptables -P INPUT ACCEPT");
    let path = netns.path().display().to_string();
    let mut watching = Watching::start(&world, &path, &[]);
    assert_eq!(watching.line(), "no attachment is on record here\n");
    drop(netns);
    let run = watching.end();
    assert_eq!(
        (run.code, run.stderr.as_str()),
        (Some(0), format!("note: the namespace `{path}` is gone\n").as_str())
    );

    // a name that stays, as `ip netns del` leaves it for a moment, and then one that is another namespace
    let (first, second) = (Netns::new(), Netns::new());
    world.sh(&format!(
        "mkdir -p /run/netns; touch /run/netns/x; mount --bind {} /run/netns/x",
        first.path().display()
    ));
    let mut watching = Watching::start(&world, "x", &[]);
    watching.line();
    world.sh("umount /run/netns/x");
    let run = watching.end();
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), "note: the namespace `/run/netns/x` is gone\n"));
    world.sh(&format!("mount --bind {} /run/netns/x", first.path().display()));
    let mut watching = Watching::start(&world, "x", &[]);
    watching.line();
    world.sh(&format!("mount --bind {} /run/netns/x", second.path().display()));
    let run = watching.end();
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), "note: the namespace `/run/netns/x` is gone\n"));
}

#[test]
fn watching_ends_when_nobody_reads() {
    let world = with_seed();
    let mut watching = Watching::start(&world, &world.netns(), &[]);
    watching.line();
    let Watching { child, lines } = &mut watching;
    // what follows must not depend on anything moving
    let (read, _write) = nix::unistd::pipe().expect("a pipe");
    drop(std::mem::replace(lines, BufReader::new(ChildStdout::from(read))));
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn so_many_looks_and_no_more() {
    let world = with_seed();
    let netns = world.netns();
    let run = world
        .firewallnetns(&["show", &netns, "--watch", "--interval", "0.01", "--count", "3", "--json"])
        .ok();
    let looks: Vec<Value> = run.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(looks.len(), 3);
    assert_eq!(looks[0]["chains"][0].get("moved"), None);
    assert_eq!(looks[1]["chains"][0]["moved"], Value::Null);
    for bad in [["--interval", "0"], ["--interval", "x"], ["--count", "0"]] {
        let run = world.firewallnetns(&[&["show", &netns, "--watch"], &bad[..]].concat());
        assert_eq!(run.code, Some(2), "{run:?}");
    }
}

#[test]
fn a_terminal_of_forty_columns_is_readable() {
    let world = with_seed();
    let script = |columns: u32, arguments: &str| {
        let command = format!(
            "stty cols {columns} rows 30; {} show {} {arguments}",
            program("firewallnetns").display(),
            world.netns()
        );
        world.sh(&format!("TERM=xterm script -qec '{command}' /dev/null")).replace('\r', "")
    };
    let seen = |text: &str| {
        let mut plain = String::new();
        let mut pieces = text.split('\u{1b}');
        plain.push_str(pieces.next().unwrap_or_default());
        for piece in pieces {
            plain.push_str(
                piece.trim_start_matches(|c: char| "[0123456789;".contains(c)).get(1..).unwrap_or_default(),
            );
        }
        plain
    };
    let text = script(40, "");
    assert!(text.contains("\u{1b}[1m"), "a terminal has colours: {text}");
    let plain = seen(&text);
    assert!(plain.contains("- -p tcp -m tcp --dport 8080 -j ACCEPT\n  0 packets, 0 bytes\n  # network configuration: rules[0].rule\n"), "{plain}");
    let too_long: Vec<&str> = plain.lines().filter(|line| line.chars().count() > 40).collect();
    // the name of the attachment is one word
    assert_eq!(too_long.len(), 1, "{too_long:?}");
    // a screen is redrawn, and not overrun
    let text = script(80, "--watch --interval 0.01 --count 2");
    assert_eq!(text.matches("\u{1b}[H\u{1b}[J").count(), 2, "{text}");
    assert!(seen(&text).lines().count() <= 60, "{text}");
}

#[test]
fn what_is_no_namespace_is_refused() {
    let world = World::new();
    world.sh("mkfifo /run/fifo");
    for (which, message) in [
        ("nosuch", "network namespace `/run/netns/nosuch` does not exist"),
        ("/run/fifo", "`/run/fifo` is not a network namespace"),
        ("/proc/self/ns/mnt", "`/proc/self/ns/mnt` is not a network namespace"),
        (
            "/proc/self/ns/net",
            "`/proc/self/ns/net` is the network namespace of this program: the host's firewall is never touched",
        ),
    ] {
        let error = world.firewallnetns(&["show", which]).error();
        assert!(error.starts_with(&format!("error: {message}")), "{error}");
    }
    assert_eq!(world.firewallnetns(&["show"]).code, Some(2));
}
