//! Whether what an attachment put in force still is: its record and what is observed come in, every difference
//! goes out, in the order of the record. Pure.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fmt;

use fwn_plan::netfilter::{Family, Policy, Table};

use super::observed::{ObservedChain, ObservedRule, ObservedTable, Ruleset};
use super::record::{Record, RecordedRule, RecordedTable};
use crate::nft::constants::NFT_TABLE_F_DORMANT;

/// One way in which the firewall is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Family of the table.
    pub family: Family,
    /// The table.
    pub table: Table,
    /// The chain; empty where it is about the table itself.
    pub chain: String,
    /// What is different.
    pub kind: DifferenceKind,
}

/// What is different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DifferenceKind {
    /// The table is gone.
    TableMissing,
    /// Somebody has switched the table off.
    Dormant,
    /// The rules are there, without the marks that tell whose they are.
    MarksLost,
    /// The chain is gone.
    ChainMissing,
    /// The chain has another policy.
    Policy {
        /// What it was set to.
        set: Policy,
        /// What it is; `None` where the chain is no built-in one any more.
        found: Option<Policy>,
    },
    /// A rule is gone.
    RuleMissing(RecordedRule),
    /// A rule says something else.
    RuleChanged(RecordedRule),
    /// A rule stands after one that it stood before.
    RuleMoved {
        /// The rule.
        rule: RecordedRule,
        /// The rule that it should stand before.
        before: RecordedRule,
    },
    /// A rule that somebody else added later stands before a rule.
    InTheWay {
        /// Number of the foreign rule in its chain, from 1.
        position: usize,
        /// The first rule that it stands before.
        before: RecordedRule,
    },
    /// A rule that somebody else added later stands after ours, and lets through what the policy would drop.
    BeforePolicy {
        /// Number of the foreign rule in its chain, from 1.
        position: usize,
    },
    /// A rule that somebody else added later to a chain of ours stands after our rules there, and lets through what
    /// the chains that jump there would go on to look at.
    BeforeReturn {
        /// Number of the foreign rule in its chain, from 1.
        position: usize,
    },
    /// A rule that carries the owner, and was never recorded.
    Unknown {
        /// Number of the rule in its chain, from 1.
        position: usize,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, table, chain, kind } = self;
        match kind {
            DifferenceKind::TableMissing => return write!(f, "table `{table}` ({family}) is missing"),
            DifferenceKind::Dormant => {
                return write!(f, "table `{table}` ({family}) is dormant: no rule in it has an effect");
            }
            DifferenceKind::MarksLost => {
                return write!(
                    f,
                    "the rules in table `{table}` ({family}) have lost their marks, as if they had been saved and restored; an ADD again renews them"
                );
            }
            DifferenceKind::ChainMissing => write!(f, "chain `{chain}` is missing")?,
            DifferenceKind::Policy { set, found: Some(found) } => {
                write!(f, "policy of chain `{chain}` is {found} instead of {set}")?;
            }
            DifferenceKind::Policy { set, found: None } => {
                write!(f, "chain `{chain}` has no policy, it should be {set}")?;
            }
            DifferenceKind::RuleMissing(rule) => write!(f, "rule {rule} is missing in chain `{chain}`")?,
            DifferenceKind::RuleChanged(rule) => write!(f, "rule {rule} was changed in chain `{chain}`")?,
            DifferenceKind::RuleMoved { rule, before } => {
                write!(f, "rule {rule} stands after {before} in chain `{chain}`")?;
            }
            DifferenceKind::InTheWay { position, before } => {
                write!(f, "rule {position} of chain `{chain}` was added later and stands before {before}")?;
            }
            DifferenceKind::BeforePolicy { position } => {
                write!(
                    f,
                    "rule {position} of chain `{chain}` was added later and accepts before policy DROP"
                )?;
            }
            DifferenceKind::BeforeReturn { position } => {
                write!(
                    f,
                    "rule {position} of chain `{chain}` was added later and accepts before the chain returns"
                )?;
            }
            DifferenceKind::Unknown { position } => {
                write!(f, "rule {position} of chain `{chain}` is ours, but not on record")?;
            }
        }
        write!(f, ", table `{table}` ({family})")
    }
}

/// All differences between `record` and what is in force, with the other attachments' records: what they did is
/// none.
pub fn compare(record: &Record, observed: &Ruleset, siblings: &[Record]) -> Vec<Difference> {
    let mut differences = Vec::new();
    for recorded in &record.tables {
        let comparison = Comparison { record, recorded, siblings };
        match observed.table(recorded.family, recorded.table.name()) {
            Some(table) => comparison.table(table, &mut differences),
            None => differences.push(comparison.difference("", DifferenceKind::TableMissing)),
        }
    }
    differences
}

struct Comparison<'a> {
    record: &'a Record,
    recorded: &'a RecordedTable,
    siblings: &'a [Record],
}

impl<'a> Comparison<'a> {
    fn difference(&self, chain: &str, kind: DifferenceKind) -> Difference {
        let RecordedTable { family, table, .. } = *self.recorded;
        Difference { family, table, chain: chain.to_owned(), kind }
    }

    fn table(&self, table: &ObservedTable, differences: &mut Vec<Difference>) {
        if table.flags & NFT_TABLE_F_DORMANT != 0 {
            differences.push(self.difference("", DifferenceKind::Dormant));
        }
        let unmarked = self.recorded.unmarked(self.record.owner(), table);
        if !unmarked.is_empty() {
            differences.push(self.difference("", DifferenceKind::MarksLost));
        }
        let mut by_chain: HashMap<&str, Vec<&RecordedRule>> = HashMap::new();
        // those of one chain mostly follow each other
        for run in self.recorded.rules.chunk_by(|one, next| one.chain == next.chain) {
            let Some(first) = run.first() else { continue };
            by_chain.entry(&first.chain).or_default().extend(run);
        }
        for recorded in &self.recorded.chains {
            let Some(chain) = table.chain(&recorded.name) else {
                differences.push(self.difference(&recorded.name, DifferenceKind::ChainMissing));
                continue;
            };
            differences.extend(self.policy(chain));
            let rules = by_chain.get(recorded.name.as_str()).map(Vec::as_slice).unwrap_or_default();
            self.rules(chain, rules, &unmarked, differences);
        }
    }

    /// A policy that a later attachment holds is that one's to compare.
    fn policy(&self, chain: &ObservedChain) -> Option<Difference> {
        let set = self.recorded.policy(&chain.name)?.set;
        let later = self.siblings.iter().filter(|sibling| sibling.made_at > self.record.made_at);
        let mut tables =
            later.filter_map(|sibling| sibling.table(self.recorded.family, self.recorded.table.name()));
        if chain.policy == Some(set) || tables.any(|table| table.policy(&chain.name).is_some()) {
            return None;
        }
        Some(self.difference(&chain.name, DifferenceKind::Policy { set, found: chain.policy }))
    }

    fn rules(
        &self,
        chain: &ObservedChain,
        recorded: &[&'a RecordedRule],
        unmarked: &HashMap<u64, u32>,
        differences: &mut Vec<Difference>,
    ) {
        let owner = self.record.owner();
        let places: OnceCell<HashMap<u32, usize>> = OnceCell::new();
        // nearly always they come in the order of the record
        let place_of = |ordinal: u32, next: usize| {
            if recorded.get(next).is_some_and(|rule| rule.ordinal == ordinal) {
                return Some(next);
            }
            let all = || recorded.iter().enumerate().map(|(at, rule)| (rule.ordinal, at)).collect();
            places.get_or_init(all).get(&ordinal).copied()
        };
        // for every recorded rule, whether it was seen and says the same
        let mut seen = vec![None; recorded.len()];
        let mut moved = Vec::new();
        let mut foreign = Vec::new();
        let mut in_the_way = Vec::new();
        let mut unknown = Vec::new();
        let mut furthest: Option<usize> = None;
        for (position, rule) in (1..).zip(&chain.rules) {
            let mark = rule.mark.or_else(|| unmarked.get(&rule.handle).map(|ordinal| (owner, *ordinal)));
            let place = match mark {
                // what was restored is all new, whosever it is
                None if unmarked.is_empty() && rule.handle > self.recorded.last_handle => {
                    foreign.push((position, rule));
                    continue;
                }
                Some((id, ordinal)) if id == owner => {
                    place_of(ordinal, furthest.map_or(0, |furthest| furthest + 1))
                }
                _ => continue,
            };
            let found = place.and_then(|place| Some((place, *recorded.get(place)?, seen.get_mut(place)?)));
            let Some((place, expected, seen @ None)) = found else {
                unknown.push(position);
                continue;
            };
            *seen = Some(rule.digest == expected.digest);
            in_the_way.extend(foreign.drain(..).map(|(position, _)| (position, expected)));
            match furthest.filter(|furthest| *furthest > place).and_then(|furthest| recorded.get(furthest)) {
                Some(before) => moved.push((expected, *before)),
                None => furthest = Some(place),
            }
        }

        let mut push = |kind| differences.push(self.difference(&chain.name, kind));
        for (rule, seen) in recorded.iter().zip(seen) {
            match seen {
                None => push(DifferenceKind::RuleMissing((*rule).clone())),
                Some(false) => push(DifferenceKind::RuleChanged((*rule).clone())),
                Some(true) => {}
            }
        }
        for (rule, before) in moved {
            push(DifferenceKind::RuleMoved { rule: rule.clone(), before: before.clone() });
        }
        for (position, before) in in_the_way {
            push(DifferenceKind::InTheWay { position, before: before.clone() });
        }
        let closed = self.recorded.policy(&chain.name).is_some_and(|policy| policy.set == Policy::Drop);
        if closed || chain.hook.is_none() {
            for (position, _) in foreign.into_iter().filter(|(_, rule): &(_, &ObservedRule)| rule.accepts) {
                push(match chain.hook {
                    Some(_) => DifferenceKind::BeforePolicy { position },
                    None => DifferenceKind::BeforeReturn { position },
                });
            }
        }
        for position in unknown {
            push(DifferenceKind::Unknown { position });
        }
    }
}
