//! For tests: rules out of iptables syntax, encoded rules into a namespace by the smallest batch there is, and
//! expressions back out of it.

use std::collections::BTreeSet;

use fwn_plan::expand::Variables;
use fwn_plan::netfilter::{Family, Table};
use fwn_plan::rule::address::Host;
use fwn_plan::rule::databases::Databases;
use fwn_plan::rule::lex::parse_words;
use fwn_plan::rule::parse::{Hosts, parse_rule};
use fwn_plan::rule::{Negatable, Network, Rule};
use fwn_testkit::Netns;
use nix::sched::{CloneFlags, setns};

use super::iptables::RuleInput;
use crate::netlink::message::{Messages, NLM_F_APPEND, NLM_F_CREATE, nfnl_type};
use crate::netlink::socket::{NetlinkSocket, Protocol};
use crate::nft::EncodedRule;
use crate::nft::constants as c;
use crate::nft::decode::decode_verdict;
use crate::nft::observe::observe;

/// A rule of a test.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) family: Family,
    pub(super) table: Table,
    pub(super) chain: String,
    /// As written.
    pub(super) text: String,
    pub(super) rule: Rule,
}

impl Case {
    pub(super) fn input(&self) -> RuleInput<'_> {
        RuleInput { family: self.family, table: self.table, chain: &self.chain, rule: &self.rule }
    }
}

/// Reads cases: lines of `table chain rule`, for all families that the rule allows unless it starts with `4` or `6`.
pub(super) fn cases(text: &str) -> Vec<Case> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).flat_map(parse_case).collect()
}

fn parse_case(line: &str) -> Vec<Case> {
    let (only, line) = match line.split_at(2) {
        ("4 ", line) => (Some(Family::Ipv4), line),
        ("6 ", line) => (Some(Family::Ipv6), line),
        _ => (None, line),
    };
    let (table, rest) = line.split_once(' ').expect("a table");
    let (chain, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let words = parse_words(text, &Variables::new()).expect("words");
    let parsed = parse_rule(&words, &Names).unwrap_or_else(|problems| panic!("`{text}`: {problems:?}"));
    let rule =
        Rule { source: network(parsed.source), destination: network(parsed.destination), ..parsed.rule };
    let families = parsed.families.and(only.into());
    let case = |family| Case {
        family,
        table: Table::parse(table).expect("a table"),
        chain: chain.to_owned(),
        text: text.to_owned(),
        rule: rule.clone(),
    };
    families.iter().map(case).collect()
}

fn network(hosts: Option<Hosts>) -> Option<Negatable<Network>> {
    hosts.map(|hosts| match hosts.hosts.as_slice() {
        [Host::Network(network)] => Negatable { negated: hosts.negated, value: *network },
        other => panic!("one address: {other:?}"),
    })
}

/// The few names that the cases use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names;

impl Databases for Names {
    fn protocol(&self, name: &str) -> Option<u8> {
        [
            ("icmp", 1),
            ("tcp", 6),
            ("udp", 17),
            ("dccp", 33),
            ("gre", 47),
            ("ah", 51),
            ("ipv6-nonxt", 59),
            ("ipv6-opts", 60),
            ("ipcomp", 108),
        ]
        .into_iter()
        .find_map(|(known, number)| (known == name).then_some(number))
    }

    fn service(&self, name: &str, _protocol: Option<u8>) -> Option<u16> {
        [("ssh", 22), ("domain", 53), ("http", 80), ("https", 443)]
            .into_iter()
            .find_map(|(known, number)| (known == name).then_some(number))
    }

    fn user(&self, name: &str) -> Option<u32> {
        (name == "root").then_some(0)
    }

    fn group(&self, name: &str) -> Option<u32> {
        (name == "root").then_some(0)
    }
}

/// Where a rule goes, and the rule.
pub(super) type Placed<'a> = (Family, Table, &'a str, &'a EncodedRule);

/// Makes tables, chains and rules, all in one batch.
pub(super) fn replay<'a>(netns: &Netns, rules: impl IntoIterator<Item = Placed<'a>>) {
    let rules: Vec<_> = rules.into_iter().collect();
    inside(netns, || {
        let mut socket = NetlinkSocket::open(Protocol::Netfilter).expect("a socket");
        socket.reserve_receive_buffer(1 << 24);
        socket
            .commit(&mut batch(&rules), |_, _| ())
            .unwrap_or_else(|error| panic!("the kernel takes the rules: {error:?}"));
    });
}

pub(super) fn inside<T: Send>(netns: &Netns, work: impl FnOnce() -> T + Send) -> T {
    let file = std::fs::File::open(netns.path()).expect("a namespace of the test's own");
    let enter = || {
        setns(file, CloneFlags::CLONE_NEWNET).expect("enters");
        work()
    };
    std::thread::scope(|scope| scope.spawn(enter).join().expect("no panic inside"))
}

/// All expressions of a namespace: family, table, chain, bytes.
pub(super) fn expressions_of(netns: &Netns) -> Vec<(Family, String, String, Vec<u8>)> {
    let ruleset = inside(netns, || {
        observe(&mut NetlinkSocket::open(Protocol::Netfilter).expect("a socket")).expect("observes")
    });
    let mut all = Vec::new();
    for table in ruleset.tables {
        for chain in table.chains {
            for rule in chain.rules {
                all.push((table.family, table.name.clone(), chain.name.clone(), rule.expressions));
            }
        }
    }
    all.sort_by(|a, b| (a.0, &a.1, &a.2).cmp(&(b.0, &b.1, &b.2)));
    all
}

fn batch(rules: &[Placed<'_>]) -> Messages {
    let mut batch = Messages::default();
    // nfgenmsg of a batch: family 0, version 0, and the subsystem as resource, in network order
    let whole = [0, 0, 0, c::SUBSYSTEM];
    batch.push(c::NFNL_MSG_BATCH_BEGIN, 0, &whole, |_| ()).expect("short");
    let mut chains: BTreeSet<(Family, Table, String)> =
        rules.iter().map(|(family, table, chain, _)| (*family, *table, (*chain).to_owned())).collect();
    for (family, table, _, rule) in rules {
        let verdict = decode_verdict(&rule.expressions).expect("well formed");
        let jump = verdict.and_then(|verdict| verdict.chain);
        chains.extend(jump.map(|chain| (*family, *table, chain.to_owned())));
    }
    let mut tables = BTreeSet::new();
    for (family, table, chain) in &chains {
        let header = [c::nfproto(*family), 0, 0, 0];
        if tables.insert((*family, *table)) {
            batch
                .push(nfnl_type(c::SUBSYSTEM, c::NFT_MSG_NEWTABLE), NLM_F_CREATE, &header, |a| {
                    a.string(c::NFTA_TABLE_NAME, table.name());
                })
                .expect("short");
        }
        batch
            .push(nfnl_type(c::SUBSYSTEM, c::NFT_MSG_NEWCHAIN), NLM_F_CREATE, &header, |a| {
                a.string(c::NFTA_CHAIN_TABLE, table.name()).string(c::NFTA_CHAIN_NAME, chain);
                if let Some(hook) = table.builtin(chain) {
                    a.nest(c::NFTA_CHAIN_HOOK, |a| {
                        a.be32(c::NFTA_HOOK_HOOKNUM, hook.number());
                        a.be32(c::NFTA_HOOK_PRIORITY, table.priority(hook).cast_unsigned());
                    })
                    .be32(c::NFTA_CHAIN_POLICY, 1)
                    .string(c::NFTA_CHAIN_TYPE, table.chain_type(hook));
                }
            })
            .expect("short");
    }
    for (family, table, chain, rule) in rules {
        let header = [c::nfproto(*family), 0, 0, 0];
        batch
            .push(nfnl_type(c::SUBSYSTEM, c::NFT_MSG_NEWRULE), NLM_F_CREATE | NLM_F_APPEND, &header, |a| {
                a.string(c::NFTA_RULE_TABLE, table.name()).string(c::NFTA_RULE_CHAIN, chain);
                a.bytes(c::NFTA_RULE_EXPRESSIONS, &rule.expressions);
                if let Some((protocol, flags)) = rule.compat {
                    a.nest(c::NFTA_RULE_COMPAT, |a| {
                        a.be32(c::NFTA_RULE_COMPAT_PROTO, protocol).be32(c::NFTA_RULE_COMPAT_FLAGS, flags);
                    });
                }
            })
            .expect("short");
    }
    batch.push(c::NFNL_MSG_BATCH_END, 0, &whole, |_| ()).expect("short");
    batch
}
