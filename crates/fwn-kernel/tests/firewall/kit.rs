//! Attachments of the test's own: a plan from lines in the syntax of iptables, with rules encoded by
//! `iptables-restore` in a scratch namespace.

use std::fmt::Write as _;

use fwn_kernel::firewall::compose::Request;
use fwn_kernel::firewall::owner::OwnerId;
use fwn_kernel::firewall::record::{Record, RecordedNetns};
use fwn_kernel::firewall::{FirewallError, announce, put_in_force, take_out};
use fwn_kernel::netlink::socket::NetlinkSocket;
use fwn_kernel::nft::EncodedRule;
use fwn_plan::config::Placement;
use fwn_plan::netfilter::{Family, Policy, Table};
use fwn_plan::origin::{Origin, Path, Source};
use fwn_plan::plan::{Attachment, ChainOp, Plan, PolicyOp, RuleOp, TablePlan};
use fwn_plan::rule::Rule;
use fwn_testkit::Netns;

use crate::{socket, verbatim};

pub(crate) struct Firewall {
    pub(crate) attachment: Attachment,
    pub(crate) plan: Plan,
    pub(crate) encoded: Vec<Vec<EncodedRule>>,
}

impl Firewall {
    /// `script` has lines like `-P INPUT DROP`, `-N web`, `-A INPUT -j ACCEPT`, `-I INPUT 2 -j ACCEPT`, each with
    /// `-4` or `-6` (both without) and `-t TABLE` before it where wanted.
    pub(crate) fn new(interface: &str, script: &str) -> Self {
        let attachment =
            Attachment { network: "net".into(), container: "box".into(), interface: interface.into() };
        let mut plan = Plan::default();
        for family in Family::ALL {
            for table in Table::ALL {
                let mut part = TablePlan { family, table, chains: vec![], policies: vec![], rules: vec![] };
                for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
                    read_line(line, &mut part);
                }
                if !(part.chains.is_empty() && part.policies.is_empty() && part.rules.is_empty()) {
                    plan.tables.push(part);
                }
            }
        }
        let encoded = plan.tables.iter().map(encode).collect();
        Self { attachment, plan, encoded }
    }

    pub(crate) fn owner(&self) -> OwnerId {
        OwnerId::of(&self.attachment)
    }

    pub(crate) fn request<'a>(&'a self, previous: Option<&'a Record>, siblings: &'a [Record]) -> Request<'a> {
        Request {
            attachment: &self.attachment,
            netns: RecordedNetns::default(),
            plan: &self.plan,
            render: &|_, op| op.origin.source.text.clone(),
            sets: &[],
            previous,
            siblings,
        }
    }

    pub(crate) fn try_add(
        &self,
        netns: &Netns,
        previous: Option<&Record>,
        siblings: &[Record],
    ) -> Result<Record, FirewallError> {
        self.try_add_after(netns, previous, siblings, |_| ())
    }

    /// The same, and does something before the batch, with its socket.
    pub(crate) fn try_add_after(
        &self,
        netns: &Netns,
        previous: Option<&Record>,
        siblings: &[Record],
        meanwhile: impl FnOnce(&NetlinkSocket),
    ) -> Result<Record, FirewallError> {
        let (mut socket, request) = (socket(netns), self.request(previous, siblings));
        let announced = announce(&mut socket, &request, &mut |_| Ok(()))?;
        meanwhile(&socket);
        put_in_force(&mut socket, &request, &self.encoded, announced, &mut |_| Ok(()))
    }

    pub(crate) fn add(&self, netns: &Netns, previous: Option<&Record>, siblings: &[Record]) -> Record {
        self.try_add(netns, previous, siblings).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn remove(&self, netns: &Netns, record: Option<&Record>, siblings: &[Record]) {
        take_out(&mut socket(netns), self.owner(), record, siblings)
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Makes an encoded rule one that the kernel does not know: its counter has another name.
pub(crate) fn spoil(rule: &mut EncodedRule) {
    let at = rule.expressions.windows(7).position(|bytes| bytes == b"counter").expect("a counter");
    rule.expressions[at] = b'C';
}

/// What `iptables` and `ip6tables` make of the same script, one command after the other.
pub(crate) fn iptables(netns: &Netns, script: &str) {
    let mut commands = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        for (program, other) in [("iptables", "-6 "), ("ip6tables", "-4 ")] {
            if !line.starts_with(other) {
                let line = line.trim_start_matches("-4 ").trim_start_matches("-6 ");
                writeln!(commands, "{program} {line}").expect("text");
            }
        }
    }
    netns.sh(&commands);
}

fn read_line(line: &str, part: &mut TablePlan) {
    let origin = || Origin {
        source: Source::new("test.fw", line),
        path: Path::default(),
        range: 0..line.len(),
        span: None,
    };
    let mut words: Vec<&str> = line.split(' ').collect();
    match words[0] {
        "-4" | "-6" => {
            if (words[0] == "-4") != (part.family == Family::Ipv4) {
                return;
            }
            words.remove(0);
        }
        _ => {}
    }
    let mut table = Table::Filter;
    if words[0] == "-t" {
        table = Table::parse(words[1]).expect("a table");
        words.drain(..2);
    }
    if table != part.table {
        return;
    }
    let rule =
        |placement| RuleOp { chain: words[1].into(), placement, rule: Rule::default(), origin: origin() };
    match words[0] {
        "-N" => part.chains.push(ChainOp { name: words[1].into(), origin: origin() }),
        "-P" => part.policies.push(PolicyOp {
            chain: words[1].into(),
            policy: Policy::parse(words[2]).expect("a policy"),
            origin: origin(),
        }),
        "-A" => part.rules.push(rule(Placement::Append)),
        "-I" => part.rules.push(rule(Placement::Insert(words[2].parse().unwrap_or(1)))),
        other => panic!("`{other}` in `{line}`"),
    }
}

/// The words of a rule after its chain and position.
fn rule_text(op: &RuleOp) -> String {
    let line = &op.origin.source.text;
    let words: Vec<&str> = line.split(' ').collect();
    let start = words.iter().position(|word| *word == "-A" || *word == "-I").expect("a rule") + 2;
    let number = words.get(start).is_some_and(|word| word.parse::<u32>().is_ok());
    words[start + usize::from(number)..].join(" ")
}

fn encode(part: &TablePlan) -> Vec<EncodedRule> {
    let netns = Netns::new();
    let mut script = format!("*{}\n", part.table);
    // chains that rules use or jump to, of whoever they are
    let mut chains: Vec<String> = part.rules.iter().map(|rule| rule.chain.clone()).collect();
    for rule in &part.rules {
        let text = rule_text(rule);
        let words: Vec<&str> = text.split(' ').collect();
        let jump =
            words.iter().position(|word| *word == "-j" || *word == "-g").map(|at| words[at + 1].to_owned());
        chains.extend(jump.filter(|chain| chain.chars().all(|c| c.is_ascii_lowercase())));
    }
    chains.extend(part.chains.iter().map(|chain| chain.name.clone()));
    chains.retain(|chain| part.table.builtin(chain).is_none());
    chains.sort();
    chains.dedup();
    for chain in &chains {
        writeln!(script, ":{chain} - [0:0]").expect("text");
    }
    for rule in &part.rules {
        writeln!(script, "-A {} {}", rule.chain, rule_text(rule)).expect("text");
    }
    script += "COMMIT\n";
    let program = if part.family == Family::Ipv4 { "iptables-restore" } else { "ip6tables-restore" };
    netns.sh(&format!("{program} <<'END'\n{script}END"));
    let observed = verbatim(&netns);
    let table = observed.table(part.family, part.table.name());
    let mut taken = std::collections::HashMap::new();
    part.rules
        .iter()
        .map(|rule| {
            let number = taken.entry(rule.chain.clone()).or_insert(0);
            *number += 1;
            let chain = table.and_then(|table| table.chain(&rule.chain)).expect("the chain");
            let protocol = match rule_text(rule) {
                text if text.contains("-p tcp") => 6,
                text if text.contains("-p udp") => 17,
                text if text.contains("-p icmp ") => 1,
                text if text.contains("-p icmpv6") => 58,
                _ => 0,
            };
            let expressions = chain.rules[*number - 1].expressions.clone();
            EncodedRule { compat: Some((protocol, 0)), expressions }
        })
        .collect()
}
