//! `plan`: what the tools make of its text is what an ADD makes; against a namespace it tells what would change.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use fwn_testkit::Netns;
use fwn_testkit::plugin::program;
use serde_json::Value;

use crate::world::{MESOS, Run, SEED_NETWORK, World};

const LIST: &str = "/etc/mesos-cni/test-firewallnetns.conflist";

/// Feeds a plan to the three tools in a namespace of its own, and gives what is there then.
fn by_the_tools(world: &World, arguments: &[&str]) -> String {
    let netns = Netns::new();
    for (part, tool) in [
        ("sets", "ipset -exist restore"),
        ("ipv4", "iptables-restore --noflush"),
        ("ipv6", "ip6tables-restore --noflush"),
    ] {
        let text = world.firewallnetns(&[&["plan"], arguments, &["--only", part]].concat()).ok();
        netns.sh(&format!("{tool} <<'END'\n{text}END\n"));
    }
    // the whole is the three parts, each headed by its command
    netns.dump()
}

#[test]
fn the_tools_make_of_it_what_an_add_makes() {
    let world = World::new();
    world.firewallnetns(&["add", SEED_NETWORK, &world.netns()]).ok();
    let dump = world.sandbox.container.dump();
    assert!(dump.contains("--match-set blacklistweb src"), "{dump}");
    assert_eq!(by_the_tools(&world, &[LIST]), dump);
}

#[test]
fn tables_chains_positions_and_entries_come_out_as_an_add_makes_them() {
    let world = World::new();
    world.write(
        &format!("{MESOS}/much.fw"),
        r#"{ "chains": [ { "chain": "web" }, { "chain": "pre", "table": "mangle" } ],
             "ipsets": [ { "set": "v6", "hashtype": "hash:net", "hashfamily": "inet6", "entries": [ "fd00::/8 timeout 5000", "fd01::1" ], "timeout": 0 },
                         { "set": "all", "hashtype": "list:set", "entries": [ "v6" ] } ],
             "policies": [ { "chain": "FORWARD", "policy": "DROP" } ],
             "rules": [ { "type": "A", "chain": "INPUT", "rule": "-p tcp -m comment --comment \"two words\" -j web" },
                        { "type": "I", "chain": "INPUT", "position": 1, "rule": "-m set --match-set v6 src -j DROP" },
                        { "type": "A", "chain": "web", "rule": "-p tcp --dport ${PORT:-80} -j ACCEPT" },
                        { "type": "A", "chain": "pre", "table": "mangle", "rule": "-j MARK --set-mark 7" },
                        { "type": "I", "chain": "web", "rule": "-s 10.0.0.0/8 -j REJECT" } ] }"#,
    );
    world.write(
        &format!("{MESOS}/much.conflist"),
        r#"{ "cniVersion": "1.0.0", "name": "much", "plugins": [ { "type": "macvtap", "master": "eth1" },
             { "type": "firewallnetns", "dataDir": "/etc/mesos-cni", "fwFiles": [ "default-policy", "much" ] } ] }"#,
    );
    let output = world.firewallnetns_with(&[("PORT", "81")], &["add", "much", &world.netns()]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let dump = world.sandbox.container.dump();
    let list = format!("{MESOS}/much.conflist");
    let arguments = [list.as_str(), "--env", "PORT=81"];
    // the kernel lists entries in an order of its own, and time goes by
    let settled = |dump: String| {
        let mut lines: Vec<String> =
            dump.lines().map(|line| line.split(" timeout 4").next().unwrap_or(line).to_owned()).collect();
        let first = lines.iter().position(|line| line.starts_with("add ")).expect("entries");
        lines[first..].sort();
        lines
    };
    assert_eq!(settled(by_the_tools(&world, &arguments)), settled(dump));
    // the files themselves give the same
    let (one, two) = (format!("{MESOS}/default-policy.fw"), format!("{MESOS}/much.fw"));
    let of_files = world.firewallnetns(&["plan", &one, &two, "--env", "PORT=81"]).ok();
    assert_eq!(of_files, world.firewallnetns(&["plan", &list, "--env", "PORT=81"]).ok());
}

#[test]
fn json_tells_where_each_rule_was_written() {
    let world = World::new();
    let text = world.firewallnetns(&["plan", LIST, "--json"]).ok();
    let plan: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(plan["sets"][0]["create"], "create blacklistweb hash:ip family inet hashsize 4096 netmask 24");
    let rules = plan["tables"][0]["rules"].as_array().expect("a list");
    assert_eq!(rules.len(), 11);
    assert_eq!(rules[8]["rule"], "-p tcp -m tcp --dport 8080 -j ACCEPT");
    assert_eq!(rules[8]["origin"]["file"], LIST);
    assert_eq!(rules[8]["origin"]["pointer"], "rules[0].rule");
    let line = rules[8]["origin"]["line"].as_u64().expect("a number") as usize;
    let written = crate::world::SEED.lines().nth(line - 1).expect("a line");
    assert!(written.contains("--dport 8080"), "{written}");
    assert_eq!(rules[0]["origin"]["file"], "allow-ping.fw");
}

#[test]
fn against_a_namespace_it_tells_what_would_change() {
    let world = World::new();
    let netns = world.netns();
    let plan = |file: &str| world.firewallnetns(&["plan", file, "--netns", &netns]);
    let nothing = plan(LIST);
    assert_eq!(nothing.code, Some(2), "{nothing:?}");
    assert!(
        nothing.stdout.starts_with("--- in force: nothing\n+++ planned: /etc/mesos-cni/"),
        "{}",
        nothing.stdout
    );
    assert!(nothing.stdout.lines().skip(3).all(|line| line.starts_with('+')), "{}", nothing.stdout);

    // somebody else's rules that are there before are no difference, before and after
    let container = &world.sandbox.container;
    container.sh("iptables -A INPUT -s 10.1.1.1 -j DROP");
    world.firewallnetns(&["add", SEED_NETWORK, &netns]).ok();
    assert_eq!(plan(LIST).ok(), "");
    // nor is an entry that came in while the container ran
    container.sh("ipset add blacklistweb 10.7.0.0");
    assert_eq!(plan(LIST).ok(), "");

    // the file says something else by now
    let edited = crate::world::SEED.replace("8443", "9443").replace("\"hashsize\": 4096", "\"maxElem\": 99");
    world.write("/etc/mesos-cni/changed.conflist", &edited);
    let difference = plan("/etc/mesos-cni/changed.conflist");
    assert_eq!(difference.code, Some(2), "{difference:?}");
    let changes: Vec<&str> =
        difference.stdout.lines().skip(2).filter(|line| line.starts_with(['-', '+'])).collect();
    assert_eq!(
        changes,
        [
            "-create blacklistweb hash:ip family inet maxelem 65536 netmask 24",
            "+create blacklistweb hash:ip family inet maxelem 99 netmask 24",
            "-A INPUT -p tcp -m tcp --dport 8443 -j ACCEPT",
            "+A INPUT -p tcp -m tcp --dport 9443 -j ACCEPT",
            "-A INPUT -p tcp -m tcp --dport 8443 -j ACCEPT",
            "+A INPUT -p tcp -m tcp --dport 9443 -j ACCEPT",
        ]
        .map(|line| line.replacen("-A ", "--A ", 1).replacen("+A ", "+-A ", 1))
    );
}

/// What CHECK finds is a difference.
#[test]
fn drift_is_a_difference() {
    let world = World::new();
    let netns = world.netns();
    world.firewallnetns(&["add", SEED_NETWORK, &netns]).ok();
    let container = &world.sandbox.container;
    container.sh("iptables -P INPUT DROP; iptables -D INPUT -p tcp --dport 8443 -j ACCEPT
         ip6tables -I INPUT -s fd00::1 -j ACCEPT; ip6tables -P FORWARD ACCEPT
         iptables -R INPUT 5 -p tcp --dport 8888 -j ACCEPT");
    let run = world.firewallnetns(&["plan", LIST, "--netns", &netns]);
    assert_eq!(run.code, Some(2), "{run:?}");
    let changes: Vec<&str> = run.stdout.lines().skip(2).filter(|line| line.starts_with(['-', '+'])).collect();
    assert_eq!(
        changes,
        [
            "-:INPUT DROP",
            "+:INPUT ACCEPT",
            "+-A INPUT -p tcp -m tcp --dport 8080 -j ACCEPT",
            "+-A INPUT -p tcp -m tcp --dport 8443 -j ACCEPT",
            "-:FORWARD ACCEPT",
            "+:FORWARD DROP",
            "-# INPUT: rule 1 of chain `INPUT` was added later and stands before `-A INPUT -i eth0 -p ipv6-icmp -m icmp6 --icmpv6-type echo-request -j ACCEPT` (allow-ping.fw: rules[4].rule), table `filter` (ipv6)",
        ]
    );
}

#[test]
fn several_attachments_are_told_apart() {
    let world = World::new();
    let netns = world.netns();
    world.firewallnetns(&["add", SEED_NETWORK, &netns]).ok();
    world.write(
        "/etc/mesos-cni/second.conflist",
        r#"{ "cniVersion": "1.0.0", "name": "second", "plugins": [ { "type": "macvtap", "master": "eth1" },
             { "type": "firewallnetns", "rules": [ { "type": "A", "chain": "OUTPUT", "rule": "-o $CNI_IFNAME -p udp -j DROP" } ] } ] }"#,
    );
    world.firewallnetns(&["add", "second", &netns, "--ifname", "eth9"]).ok();
    // each is compared with its own, and CNI_IFNAME is what it was
    for list in [LIST, "/etc/mesos-cni/second.conflist"] {
        assert_eq!(world.firewallnetns(&["plan", list, "--netns", &netns]).ok(), "", "{list}");
    }
    // a file is of no network
    let file = format!("{MESOS}/allow-ping.fw");
    let error = world.firewallnetns(&["plan", &file, "--netns", &netns]).error();
    assert!(error.starts_with("error: several attachments are there: say with --container"), "{error}");
    assert!(error.contains("second/cnitool-"), "{error}");
    let error = world.firewallnetns(&["plan", &file, "--netns", &netns, "--container", "nosuch"]).error();
    assert!(error.starts_with("error: no attachment of container `nosuch` is there"), "{error}");
    let error = world.firewallnetns(&["plan", &file, "--netns", "nosuch"]).error();
    assert!(error.starts_with("error: network namespace `/run/netns/nosuch` does not exist"), "{error}");
}

#[test]
fn bad_files_are_refused_in_words() {
    let world = World::new();
    let fw = |name: &str| format!("{MESOS}/{name}");
    let write = |name: &str, bytes: &[u8]| fs::write(world.path(&fw(name)), bytes).expect("written");
    write("latin1.fw", b"{ \"description\": \"caf\xe9\" }");
    write("bom.conflist", b"\xef\xbb\xbf{ \"plugins\": [] }");
    write("big.fw", " ".repeat(10 << 20).as_bytes());
    write("deep.fw", "[".repeat(100_000).as_bytes());
    write("deep.conflist", "[".repeat(100_000).as_bytes());
    write("none.conflist", br#"{ "cniVersion": "1.0.0", "name": "x", "plugins": [ { "type": "bridge" } ] }"#);
    world.sh(&format!("mkfifo {MESOS}/fifo.fw; mkdir {MESOS}/folder.fw"));
    for (name, message) in [
        ("latin1.fw", "`/etc/mesos-cni/latin1.fw` is not UTF-8 text"),
        ("bom.conflist", "the file begins with a byte order mark"),
        ("big.fw", "`/etc/mesos-cni/big.fw` is larger than 4194304 bytes"),
        ("deep.fw", "nested too deeply: at most 127 levels"),
        ("deep.conflist", "nested too deeply: at most 127 levels"),
        ("fifo.fw", "`/etc/mesos-cni/fifo.fw` is not a regular file"),
        ("folder.fw", "`/etc/mesos-cni/folder.fw` is not a regular file"),
        ("missing.fw", "file `/etc/mesos-cni/missing.fw` does not exist"),
        ("none.conflist", "`/etc/mesos-cni/none.conflist` has 0 plugins of type `firewallnetns`, not one"),
    ] {
        let error = world.firewallnetns(&["plan", &fw(name)]).error();
        assert!(error.contains(message), "{name}: {error}");
        assert!(error.len() < 2000, "{name}: {error}");
    }
    // in a .fw file it does no harm, as in an ADD
    write("bom.fw", b"\xef\xbb\xbf{ \"rules\": [] }");
    assert_eq!(world.firewallnetns(&["plan", &fw("bom.fw")]).ok(), "");
    // line ends of Windows are blanks, and places are counted right
    write("crlf.fw", b"{ \"rules\": [\r\n  { \"type\": \"A\", \"chain\": \"INPUT\", \"rule\": \"-p tcp -j DROPP\" }\r\n] }\r\n");
    let error = world.firewallnetns(&["plan", &fw("crlf.fw")]).error();
    assert!(error.contains("--> /etc/mesos-cni/crlf.fw:2:55\n"), "{error}");
    let two = [fw("bom.conflist"), fw("crlf.fw")];
    let error = world.firewallnetns(&["plan", &two[0], &two[1]]).error();
    assert!(error.contains("is a network configuration: give it alone"), "{error}");
    let secret = world.firewallnetns(&["plan", &fw("allow-ping.fw"), "--env", "secret"]);
    assert_eq!((secret.code, secret.stderr.contains("it is not NAME=VALUE")), (Some(2), true), "{secret:?}");
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let world = World::new();
    let many: Vec<String> = (0..20_000)
        .map(|n| {
            format!(
                r#"{{ "type": "A", "chain": "INPUT", "rule": "-p tcp --dport {} -j ACCEPT" }}"#,
                n % 65000 + 1
            )
        })
        .collect();
    world.write(&format!("{MESOS}/many.fw"), &format!("{{ \"rules\": [ {} ] }}", many.join(",\n")));
    let mut command = world.command(program("firewallnetns"));
    command.args(["plan", &format!("{MESOS}/many.fw")]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut first = [0; 10];
    child.stdout.take().expect("piped").read_exact(&mut first).expect("some output");
    let run = Run::of(child.wait_with_output().expect("it ends"));
    assert_eq!((&first[..], run.code, run.stderr.as_str()), (&b"# iptables"[..], Some(0), ""));
}
