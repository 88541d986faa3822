//! `unreachable-rule` is never wrong: random chains are judged by the lint, and every claim is tried against a model of
//! the matches that knows nothing of the code, with every packet of a small world.

use std::collections::BTreeSet;

use fwn_plan::config::parse_fw;
use fwn_plan::decide::{Facts, decide};
use fwn_plan::expand::Variables;
use fwn_plan::lint::{Extent, Lint, Mesos, Subject, lint};
use fwn_plan::netfilter::Families;
use fwn_plan::origin::{Origin, Path, Source};
use fwn_plan::rule::databases::NoDatabases;
use fwn_plan::ruleset::{Repetitions, RuleSet, SectionInput};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

/// A packet, as far as the rules here can tell.
#[derive(Debug, Clone, Copy)]
struct Packet {
    interface: &'static str,
    protocol: &'static str,
    source: u32,
    ports: (u16, u16),
    /// FIN 1, SYN 2, RST 4, ACK 16.
    flags: u8,
    icmp: u8,
    state: &'static str,
    mark: u32,
    /// The second fragment of a packet: no ports, flags or types.
    later: bool,
}

const INTERFACES: [&str; 3] = ["eth0", "eth1", "lo"];
const SOURCES: [u32; 4] = [0x0a01_0203, 0x0a01_0909, 0x0a02_0203, 0xc0a8_0001];
const PORTS: [u16; 4] = [22, 80, 90, 443];
const STATES: [&str; 3] = ["NEW", "ESTABLISHED", "INVALID"];

/// Every packet of the world.
fn packets() -> Vec<Packet> {
    let mut packets = Vec::new();
    for interface in INTERFACES {
        for source in SOURCES {
            for state in STATES {
                for mark in [0, 1] {
                    let mut push = |protocol, ports, flags, icmp, later| {
                        packets.push(Packet {
                            interface,
                            protocol,
                            source,
                            ports,
                            flags,
                            icmp,
                            state,
                            mark,
                            later,
                        });
                    };
                    for ports in PORTS.into_iter().flat_map(|sport| PORTS.map(|dport| (sport, dport))) {
                        for flags in [2, 18, 16] {
                            push("tcp", ports, flags, 0, false);
                        }
                        push("udp", ports, 0, 0, false);
                    }
                    for kind in [0, 3, 8] {
                        push("icmp", (0, 0), 0, kind, false);
                    }
                    for protocol in ["tcp", "udp", "icmp"] {
                        push(protocol, (0, 0), 0, 0, true);
                    }
                }
            }
        }
    }
    packets
}

/// One condition: its words, and whether a packet meets it.
#[derive(Debug, Clone)]
enum Condition {
    Interface(&'static str),
    Source(&'static str, u32, u32),
    SourcePort(u16, u16),
    DestinationPort(u16, u16),
    Ports(&'static str, Vec<u16>),
    Flags(&'static str, u8, u8),
    Icmp(u8),
    States(Vec<&'static str>),
    Mark(u32),
}

impl Condition {
    fn words(&self) -> String {
        match self {
            Self::Interface(name) => format!("-i {name}"),
            Self::Source(text, ..) => format!("-s {text}"),
            Self::SourcePort(first, last) => format!("--sport {first}:{last}"),
            Self::DestinationPort(first, last) => format!("--dport {first}:{last}"),
            Self::Ports(option, ports) => {
                let list: Vec<_> = ports.iter().map(ToString::to_string).collect();
                format!("-m multiport ! {option} {}", list.join(","))
            }
            Self::Flags(text, ..) => format!("--tcp-flags {text}"),
            Self::Icmp(kind) => format!("--icmp-type {kind}"),
            Self::States(states) => format!("-m conntrack --ctstate {}", states.join(",")),
            Self::Mark(mark) => format!("-m mark --mark {mark}"),
        }
    }

    /// With `!` where it belongs.
    fn negated_words(&self) -> String {
        let words = self.words();
        match self {
            Self::Ports(..) => words,
            Self::States(_) => words.replace("--ctstate", "! --ctstate"),
            Self::Mark(_) => words.replace("--mark", "! --mark"),
            _ => format!("! {words}"),
        }
    }

    fn plain_words(&self) -> String {
        self.words().replace("multiport ! ", "multiport ")
    }

    /// Whether it looks behind the IP header.
    fn is_deep(&self) -> bool {
        !matches!(self, Self::Interface(_) | Self::Source(..) | Self::States(_) | Self::Mark(_))
    }

    fn holds(&self, packet: &Packet) -> bool {
        let (sport, dport) = packet.ports;
        match self {
            Self::Interface(name) => match name.strip_suffix('+') {
                Some(prefix) => packet.interface.starts_with(prefix),
                None => packet.interface == *name,
            },
            Self::Source(_, address, mask) => packet.source & mask == address & mask,
            Self::SourcePort(first, last) => (*first..=*last).contains(&sport),
            Self::DestinationPort(first, last) => (*first..=*last).contains(&dport),
            Self::Ports("--sports", ports) => ports.contains(&sport),
            Self::Ports("--dports", ports) => ports.contains(&dport),
            Self::Ports(_, ports) => ports.contains(&sport) || ports.contains(&dport),
            Self::Flags(_, mask, set) => packet.flags & mask == *set,
            Self::Icmp(kind) => packet.icmp == *kind,
            Self::States(states) => states.contains(&packet.state),
            Self::Mark(mark) => packet.mark == *mark,
        }
    }
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Accept,
    Drop,
    Return,
    Count,
    SetMark(u32),
}

#[derive(Debug, Clone)]
struct Rule {
    protocol: Option<(bool, &'static str)>,
    conditions: Vec<(bool, Condition)>,
    action: Action,
}

impl Rule {
    fn text(&self) -> String {
        let mut words = Vec::new();
        if let Some((negated, protocol)) = self.protocol {
            words.push(format!("{}-p {protocol}", if negated { "! " } else { "" }));
        }
        for (negated, condition) in &self.conditions {
            words.push(if *negated { condition.negated_words() } else { condition.plain_words() });
        }
        words.push(match self.action {
            Action::Accept => "-j ACCEPT".to_owned(),
            Action::Drop => "-j DROP".to_owned(),
            Action::Return => "-j RETURN".to_owned(),
            Action::Count => String::new(),
            Action::SetMark(mark) => format!("-j MARK --set-mark {mark}"),
        });
        words.join(" ").trim_end().to_owned()
    }

    fn matches(&self, packet: &Packet) -> bool {
        self.protocol.is_none_or(|(negated, protocol)| (packet.protocol == protocol) != negated)
            && self.conditions.iter().all(|(negated, condition)| {
                // whatever looks for a header that is not there does not match, negated or not
                !(condition.is_deep() && packet.later) && condition.holds(packet) != *negated
            })
    }
}

/// The rules that some packet of the world reaches and meets.
fn reached(rules: &[Rule], packets: &[Packet]) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    for packet in packets {
        let mut packet = *packet;
        for (at, rule) in rules.iter().enumerate() {
            if !rule.matches(&packet) {
                continue;
            }
            reached.insert(at);
            match rule.action {
                Action::SetMark(mark) => packet.mark = mark,
                Action::Count => {}
                Action::Accept | Action::Drop | Action::Return => break,
            }
        }
    }
    reached
}

fn port_range() -> impl Strategy<Value = (u16, u16)> {
    (select(&[1, 22, 80, 85, 90][..]), select(&[22, 80, 90, 443, u16::MAX][..]))
        .prop_filter("in order", |(first, last)| first <= last)
}

fn conditions(protocol: Option<(bool, &'static str)>) -> BoxedStrategy<Vec<(bool, Condition)>> {
    let shallow = prop_oneof![
        select(&["eth0", "eth+", "e+", "lo", "eth1"][..]).prop_map(Condition::Interface),
        select(
            &[
                ("10.0.0.0/8", 0x0a00_0000, 0xff00_0000),
                ("10.1.0.0/16", 0x0a01_0000, 0xffff_0000),
                ("10.1.2.3", 0x0a01_0203, u32::MAX),
                ("10.0.2.0/255.0.255.0", 0x0a00_0200, 0xff00_ff00),
            ][..]
        )
        .prop_map(|(text, address, mask)| Condition::Source(text, address, mask)),
        prop::sample::subsequence(STATES.to_vec(), 1..3).prop_map(Condition::States),
        select(&[0, 1][..]).prop_map(Condition::Mark),
    ];
    let ports = prop_oneof![
        port_range().prop_map(|(first, last)| Condition::SourcePort(first, last)),
        port_range().prop_map(|(first, last)| Condition::DestinationPort(first, last)),
        (select(&["--sports", "--dports", "--ports"][..]), prop::sample::subsequence(PORTS.to_vec(), 1..4))
            .prop_map(|(option, ports)| Condition::Ports(option, ports)),
    ];
    let flags = select(
        &[
            ("SYN,ACK,FIN,RST SYN", 0x17, 2),
            ("SYN SYN", 2, 2),
            ("SYN,ACK SYN,ACK", 18, 18),
            ("ACK ACK", 16, 16),
        ][..],
    )
    .prop_map(|(text, mask, set)| Condition::Flags(text, mask, set));
    let icmp = select(&[0_u8, 3, 8][..]).prop_map(Condition::Icmp);
    let any = match protocol {
        Some((false, "tcp")) => prop_oneof![2 => shallow, 3 => ports, 1 => flags].boxed(),
        Some((false, "udp")) => prop_oneof![1 => shallow, 1 => ports].boxed(),
        Some((false, "icmp")) => prop_oneof![1 => shallow, 1 => icmp].boxed(),
        _ => shallow.boxed(),
    };
    prop::collection::vec((prop::bool::weighted(0.25), any), 0..3)
        .prop_map(|conditions| {
            // an option stands once
            let mut seen = BTreeSet::new();
            let once = |(_, condition): &(bool, Condition)| {
                let words = condition.words();
                seen.insert(words.split(' ').find(|word| word.starts_with('-')).map(str::to_owned))
            };
            let mut conditions: Vec<_> = conditions.into_iter().filter(once).collect();
            // behind `-m multiport`, `--sport` would be one of its own
            conditions.sort_by_key(|(_, condition)| matches!(condition, Condition::Ports(..)));
            conditions
        })
        .boxed()
}

fn rule() -> impl Strategy<Value = Rule> {
    let protocol = prop_oneof![
        1 => Just(None),
        4 => select(&["tcp", "udp", "icmp"][..]).prop_map(|protocol| Some((false, protocol))),
        1 => select(&["tcp", "udp"][..]).prop_map(|protocol| Some((true, protocol))),
    ];
    let action = select(
        &[
            Action::Accept,
            Action::Accept,
            Action::Drop,
            Action::Drop,
            Action::Return,
            Action::Count,
            Action::SetMark(0),
            Action::SetMark(1),
        ][..],
    );
    (protocol, action).prop_flat_map(|(protocol, action)| {
        conditions(protocol).prop_map(move |conditions| Rule { protocol, conditions, action })
    })
}

/// The rules that the lint says are never reached.
fn claimed(rules: &[Rule]) -> BTreeSet<usize> {
    let list: Vec<_> = rules
        .iter()
        .map(|rule| json!({ "type": "A", "chain": "INPUT", "rule": rule.text(), "family": "ipv4" }))
        .collect();
    let text = json!({ "rules": list }).to_string();
    let source = Source::new("a.fw", text.as_str());
    let section = parse_fw(&source).expect("valid");
    let sections = [SectionInput { set_files: Vec::new(), section }];
    let repetitions = Repetitions::default();
    let ruleset = RuleSet::build(&sections, &Variables::new(), &repetitions, &NoDatabases);
    let ruleset = ruleset.unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    let facts = Facts { families: Families::BOTH, hosts: [].into(), sets: [].into() };
    let plan = decide(&ruleset, &facts).expect("decided");
    let findings = lint(&Subject {
        extent: Extent::Part,
        ruleset: &ruleset,
        plan: &plan,
        left_out: &[],
        names: &BTreeSet::new(),
        whole: Origin { source, path: Path::default(), range: 0..0, span: None },
        mesos: Mesos::No,
        ipsetd_port: 9999,
        databases: &NoDatabases,
    });
    let claims = findings.into_iter().filter(|finding| finding.lint == Lint::UnreachableRule);
    claims
        .map(|finding| {
            let pointer = finding.problem.origin.pointer().to_string();
            let index = pointer.strip_prefix("rules[").and_then(|rest| rest.split(']').next());
            index.and_then(|index| index.parse().ok()).unwrap_or_else(|| panic!("{pointer}"))
        })
        .collect()
}

#[test]
fn a_rule_that_is_said_to_be_unreachable_is() {
    let packets = packets();
    let mut runner = TestRunner::new(Config { cases: 3000, ..Config::default() });
    let claims = std::cell::Cell::new(0);
    runner
        .run(&prop::collection::vec(rule(), 2..5), |rules| {
            let claimed = claimed(&rules);
            if claimed.is_empty() {
                return Ok(());
            }
            let reached = reached(&rules, &packets);
            claims.set(claims.get() + claimed.len());
            let wrong: Vec<_> = claimed.intersection(&reached).map(|at| rules[*at].text()).collect();
            let texts: Vec<_> = rules.iter().map(Rule::text).collect();
            prop_assert!(wrong.is_empty(), "{:?} of {:#?}", wrong, texts);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    // enough of them to mean something
    assert!(claims.get() > 300, "{} claims", claims.get());
}
