//! The files in `fw/`: every one is read, iptables takes every rule, and what they promise holds for packets.
//! Variables are expanded by bash here, the oracle of the forms that the files use.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fwn_plan::config::{Placement, RuleConf, Section, parse_fw};
use fwn_plan::netfilter::Family;
use fwn_plan::origin::Source;
use fwn_testkit::{Netns, Sandbox};

const ENVIRONMENT: [(&str, &str); 6] = [
    ("CNI_IFNAME", "eth0"),
    ("MESOS_AGENT_ENDPOINT", "192.168.10.114:5051"),
    ("IPSETD_ADMIN", "192.168.122.22/32"),
    // of forEach: portMappings
    ("PROTO", "tcp"),
    ("CONTAINER_PORT", "8899"),
    ("HOST_PORT", "31000"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fw")
}

fn preset(name: &str) -> Section {
    let file = format!("{name}.fw");
    let text = fs::read_to_string(folder().join(&file)).expect("the preset is there");
    parse_fw(&Source::new(file, text)).expect("the preset is valid")
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("the folder is there");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .map(|file| file.strip_suffix(".fw").expect("only .fw files in fw/").to_owned())
        .collect();
    names.sort();
    names
}

fn expand(rule: &str, environment: &[(&str, &str)]) -> String {
    // no rule of ours has a character that is special between double quotes, except for `$`
    assert!(!rule.contains(['"', '\\', '`']), "{rule}");
    let output = Command::new("bash")
        .args(["-euc", &format!("printf %s \"{rule}\"")])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(environment.iter().copied())
        .output()
        .expect("bash runs");
    assert!(output.status.success(), "{rule}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Design, section 5, as far as the presets need it: what the words of an expanded rule allow.
fn allows(conf: &RuleConf, rule: &str, family: Family) -> bool {
    if conf.family.is_some_and(|only| only != family) {
        return false;
    }
    let words: Vec<_> = rule.split(' ').collect();
    let addresses = words.windows(2).filter(|pair| ["-s", "-d"].contains(&pair[0])).map(|pair| pair[1]);
    let ipv6 = words.contains(&"icmpv6") || addresses.clone().any(|address| address.contains(':'));
    let ipv4 = words.contains(&"icmp") || addresses.clone().any(|address| !address.contains(':'));
    match family {
        Family::Ipv4 => !ipv6,
        Family::Ipv6 => !ipv4,
    }
}

/// Input of `iptables-restore` and its IPv6 twin for some presets, in order.
fn restore_text(presets: &[&str], family: Family, environment: &[(&str, &str)]) -> String {
    let sections: Vec<_> = presets.iter().map(|name| preset(name)).collect();
    let mut text = "*filter\n".to_owned();
    for policy in sections.iter().flat_map(|section| &section.policies) {
        writeln!(text, ":{} {}", policy.chain.value, policy.policy.value).expect("a String");
    }
    for conf in sections.iter().flat_map(|section| &section.rules) {
        let rule = expand(&conf.rule.value, environment);
        assert_eq!(conf.placement, Placement::Append);
        if allows(conf, &rule, family) {
            writeln!(text, "-A {} {rule}", conf.chain.value).expect("a String");
        }
    }
    text + "COMMIT\n"
}

fn restore(netns: &Netns, family: Family, text: &str, arguments: &[&str]) -> Output {
    let program = match family {
        Family::Ipv4 => "iptables-restore",
        Family::Ipv6 => "ip6tables-restore",
    };
    let mut child = netns
        .command(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdin = child.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, text.as_bytes()).expect("it reads");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn apply(netns: &Netns, presets: &[&str]) {
    for family in Family::ALL {
        let text = restore_text(presets, family, &ENVIRONMENT);
        let output = restore(netns, family, &text, &[]);
        assert!(output.status.success(), "{family}: {output:?}\n{text}");
    }
}

#[test]
fn the_presets_of_the_documentation_are_there() {
    let table =
        fs::read_to_string(folder().join("../docs/configuration.md")).expect("the reference is there");
    let documented: Vec<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once(".fw` |").map(|(name, _)| name))
        .collect();
    let mut sorted = documented.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, names());
}

#[test]
fn iptables_takes_every_rule_of_every_preset() {
    let netns = Netns::new();
    for name in names() {
        let texts = Family::ALL.map(|family| restore_text(&[&name], family, &ENVIRONMENT));
        assert_ne!(texts, ["*filter\nCOMMIT\n"; 2], "{name} does nothing");
        for (family, text) in Family::ALL.into_iter().zip(texts) {
            let output = restore(&netns, family, &text, &["--test"]);
            assert!(output.status.success(), "{name} {family}: {output:?}\n{text}");
        }
    }
}

#[test]
fn the_seed_presets_give_the_documented_listing() {
    let netns = Netns::new();
    apply(&netns, &["default-policy", "allow-ping", "allow-ping-out"]);
    let ping = "-A INPUT -i eth0 -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A INPUT -i eth0 -p icmp -m icmp --icmp-type 0 -j ACCEPT
";
    let ping_out = "-A OUTPUT -o eth0 -p icmp -m icmp --icmp-type 0 -j ACCEPT
-A OUTPUT -o eth0 -p icmp -m icmp --icmp-type 8 -j ACCEPT
";
    assert_eq!(
        netns.sh("iptables -S"),
        format!("-P INPUT DROP\n-P FORWARD DROP\n-P OUTPUT DROP\n{ping}{ping}{ping_out}{ping_out}")
    );
}

#[test]
fn knobs_are_taken() {
    let environment: Vec<_> = ENVIRONMENT
        .into_iter()
        .chain([
            ("DNS_SERVERS4", "10.9.0.1,10.9.0.3"),
            ("DNS_SERVERS6", "fd09::1"),
            ("IPSET_PORT", "9378"),
            ("BRUTE_PORT", "22:23"),
            ("BRUTE_SECONDS", "5"),
            ("BRUTE_HITS", "255"),
        ])
        .collect();
    let netns = Netns::new();
    for family in Family::ALL {
        let text = restore_text(&["allow-dns-out", "ipsetd-admin", "slow-brute-force"], family, &environment);
        let output = restore(&netns, family, &text, &[]);
        assert!(output.status.success(), "{family}: {output:?}\n{text}");
    }
    let dump = netns.dump();
    for part in [
        "-A OUTPUT -d 10.9.0.3/32 -o eth0 -p tcp -m tcp --dport 53 -j ACCEPT",
        "-A INPUT -s fd09::1/128 -i eth0 -p udp -m udp --sport 53 -m conntrack --ctstate ESTABLISHED -j ACCEPT",
        "-A INPUT -s 192.168.122.22/32 -i eth0 -p tcp -m tcp --dport 9378 -j ACCEPT",
        "--dport 22:23 --tcp-flags FIN,SYN,RST,ACK SYN -m recent --update --seconds 5 --hitcount 255 --name brute6-eth0 \
         --mask ffff:ffff:ffff:ffff:: --rsource -j DROP",
    ] {
        assert!(dump.contains(part), "{part} is not in\n{dump}");
    }
}

#[test]
fn neighbour_discovery_and_ping_pass_a_closed_ipv6() {
    let sandbox = Sandbox::new();
    sandbox.connect();
    let ping = "ping -6 -n -c 1 -W 1 fd09::2";
    apply(&sandbox.container, &["default-policy", "allow-ping"]);
    sandbox.host.sh("ip -6 neigh flush dev host0");
    assert!(!sandbox.host.try_sh(ping).status.success(), "without allow-nd nobody finds the container");
    sandbox.container.sh("ip -6 neigh flush dev eth0");
    sandbox.host.sh("ip -6 neigh flush dev host0");
    apply(&sandbox.container, &["default-policy", "allow-ping", "allow-nd"]);
    sandbox.host.sh(ping);
}

#[test]
fn the_fifth_connection_attempt_is_dropped() {
    let sandbox = Sandbox::new();
    sandbox.connect();
    apply(&sandbox.container, &["slow-brute-force"]);
    for address in ["10.9.0.2", "fd09::2"] {
        // nobody listens, so an attempt that gets through is refused at once (1); a dropped one times out (124)
        let attempts = format!("timeout 1 bash -c '</dev/tcp/{address}/22' 2>/dev/null || echo $?");
        let answers: Vec<_> = (0..6).map(|_| sandbox.host.sh(&attempts)).collect();
        assert_eq!(answers, ["1\n", "1\n", "1\n", "1\n", "124\n", "124\n"], "{address}");
    }
}
