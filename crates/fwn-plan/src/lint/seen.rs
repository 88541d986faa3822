//! Rules as lints see them: a decided plan comes in, its chains in the order in which packets meet their rules come
//! out, with the meaning of every match that has a typed form.

use std::collections::{BTreeMap, BTreeSet};

use super::cover::ports_of;
use super::ports::Ports;
use crate::config::Placement;
use crate::netfilter::{Family, Table};
use crate::origin::Origin;
use crate::plan::{PolicyOp, RuleOp, TablePlan};
use crate::rule::databases::Databases;
use crate::rule::render::render_rule;
use crate::rule::typed::{Context, TypedMatch, parse_match};
use crate::rule::{Rule, Target, Verdict};

/// A table of one family.
pub(super) struct Half<'a> {
    pub(super) family: Family,
    pub(super) table: Table,
    /// Whether other files may add to its chains.
    pub(super) is_part: bool,
    chains: BTreeMap<&'a str, Vec<Slot<'a>>>,
    policies: &'a [PolicyOp],
}

/// One place in a chain.
pub(super) enum Slot<'a> {
    /// A rule.
    Seen(Box<Seen<'a>>),
    /// One of which the words are not known here.
    LeftOut,
}

/// A rule whose words are known.
pub(super) struct Seen<'a> {
    pub(super) op: &'a RuleOp,
    /// What its matches mean, as far as there are typed forms.
    pub(super) matches: Vec<TypedMatch>,
    /// It has a match that is not in `matches`.
    pub(super) opaque: bool,
    /// What happens to a packet that it matches.
    pub(super) end: End<'a>,
    /// The ports that are left: of the source, of the destination.
    pub(super) ports: (Ports, Ports),
    /// All of it, as iptables prints it.
    pub(super) words: String,
    /// What it decides, as iptables prints it.
    pub(super) target: String,
    /// It comes from `forEach`: there may be none of it.
    pub(super) repeated: bool,
}

/// What happens to a packet that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End<'a> {
    /// It is let through.
    Accept,
    /// It is dropped, with or without an answer.
    Drop,
    /// It goes on behind the jump that led here.
    Return,
    /// It goes through another chain, and on here if that does not decide.
    Jump(&'a str),
    /// It goes through another chain, and never on here.
    Goto(&'a str),
    /// It goes on, changed (`true`) or not.
    Pass(bool),
    /// Whatever else.
    Other,
}

/// Extensions that let a packet go on as it is.
const WATCHERS: [&str; 4] = ["AUDIT", "LOG", "NFLOG", "TRACE"];
/// Extensions that change a packet, its connection or a set, and let it go on.
const CHANGERS: [&str; 18] = [
    "CHECKSUM",
    "CLASSIFY",
    "CONNMARK",
    "CONNSECMARK",
    "CT",
    "DSCP",
    "ECN",
    "HL",
    "HMARK",
    "IDLETIMER",
    "MARK",
    "NOTRACK",
    "SECMARK",
    "SET",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TOS",
    "TTL",
];

/// A rule that cannot be decided here, for want of a variable.
#[derive(Debug, Clone)]
pub struct LeftOut {
    /// Its chain as written; it may be one that only a variable tells.
    pub chain: String,
    /// Its words as written.
    pub text: String,
    /// Where.
    pub origin: Origin,
}

impl<'a> Half<'a> {
    /// The chains of a half; `repeated` are the rules of `forEach`.
    pub(super) fn new(
        plan: &'a TablePlan,
        is_part: bool,
        left_out: &'a [LeftOut],
        repeated: &BTreeSet<Place<'a>>,
        databases: &dyn Databases,
    ) -> Self {
        let mut chains: BTreeMap<&str, Vec<Slot<'_>>> = BTreeMap::new();
        for chain in &plan.chains {
            chains.entry(&chain.name).or_default();
        }
        for op in &plan.rules {
            let chain = chains.entry(&op.chain).or_default();
            let seen = Seen::new(op, plan.family, repeated, databases);
            let at = match op.placement {
                Placement::Append => chain.len(),
                Placement::Insert(position) => (position as usize - 1).min(chain.len()),
            };
            chain.insert(at, Slot::Seen(Box::new(seen)));
        }
        for rule in left_out {
            if rule.chain.contains('$') {
                for chain in chains.values_mut() {
                    chain.push(Slot::LeftOut);
                }
            } else {
                chains.entry(&rule.chain).or_default().push(Slot::LeftOut);
            }
        }
        Self { family: plan.family, table: plan.table, is_part, chains, policies: &plan.policies }
    }

    /// All chains with their names.
    pub(super) fn chains(&self) -> impl Iterator<Item = (&'a str, &[Slot<'a>])> {
        self.chains.iter().map(|(name, rules)| (*name, rules.as_slice()))
    }

    /// The rules of a chain; none if it is not ours.
    pub(super) fn chain(&self, name: &str) -> &[Slot<'a>] {
        self.chains.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The final policy of a chain, if there is one.
    pub(super) fn policy(&self, chain: &str) -> Option<&'a PolicyOp> {
        self.policies.iter().find(|policy| policy.chain == chain)
    }
}

/// Where a rule was written, as something to look up.
pub(super) type Place<'a> = (&'a str, usize);

/// The place of an origin.
pub(super) fn place(origin: &Origin) -> Place<'_> {
    (&origin.source.name, origin.range.start)
}

impl<'a> Seen<'a> {
    fn new(
        op: &'a RuleOp,
        family: Family,
        repeated: &BTreeSet<Place<'a>>,
        databases: &dyn Databases,
    ) -> Self {
        let context = Context { family, protocol: op.rule.protocol.as_ref(), databases };
        let parsed: Vec<_> = op.rule.matches.iter().map(|module| parse_match(module, &context)).collect();
        let opaque = parsed.iter().any(Result::is_err);
        let matches: Vec<TypedMatch> = parsed.into_iter().flatten().collect();
        Self {
            op,
            opaque,
            end: End::of(&op.rule),
            ports: ports_of(&matches),
            words: render_rule(&op.rule),
            target: render_rule(&Rule { target: op.rule.target.clone(), ..Rule::default() }),
            matches,
            repeated: repeated.contains(&place(&op.origin)),
        }
    }

    /// Whether it takes every packet.
    pub(super) fn is_unconditional(&self) -> bool {
        let Rule { protocol, source, destination, in_interface, out_interface, fragment, .. } = &self.op.rule;
        let comment = |it: &TypedMatch| matches!(it, TypedMatch::Comment(_));
        let bare = protocol.is_none() && source.is_none() && destination.is_none() && fragment.is_none();
        bare && in_interface.is_none()
            && out_interface.is_none()
            && !self.opaque
            && self.matches.iter().all(comment)
    }
}

impl<'a> End<'a> {
    fn of(rule: &'a Rule) -> Self {
        match &rule.target {
            None => Self::Pass(false),
            Some(Target::Verdict(Verdict::Accept)) => Self::Accept,
            Some(Target::Verdict(Verdict::Drop)) => Self::Drop,
            Some(Target::Verdict(Verdict::Return)) => Self::Return,
            Some(Target::Jump(chain)) => Self::Jump(&chain.text),
            Some(Target::Goto(chain)) => Self::Goto(&chain.text),
            Some(Target::Extension(module)) => match module.name {
                "REJECT" => Self::Drop,
                name if WATCHERS.contains(&name) => Self::Pass(false),
                name if CHANGERS.contains(&name) => Self::Pass(true),
                _ => Self::Other,
            },
        }
    }
}
