//! Rules that never see a packet because an earlier one takes all of theirs, and rules that stand there twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use super::cover::{Cover, all_stateless, covers};
use super::seen::{End, Half, Place, Seen, Slot, place};
use super::{Finding, Lint};
use crate::config::Placement;
use crate::origin::Origin;
use crate::problem::Problem;
use crate::rule::Network;

/// User chains are followed this deep.
const DEEPEST: usize = 16;

/// What was found out about one rule as written, over all families and addresses that it has become.
#[derive(Debug)]
struct Verdict<'a> {
    origin: &'a Origin,
    /// The rule that takes the packets of the first part; `None` as soon as one part is free.
    taken_by: Option<&'a Origin>,
    /// The rule that all parts are the same as.
    same_as: Option<&'a Origin>,
}

/// Finds both in all chains of all halves.
pub(super) fn find(halves: &[Half<'_>], names: &BTreeSet<IpAddr>) -> Vec<Finding> {
    let mut verdicts: BTreeMap<Place<'_>, Verdict<'_>> = BTreeMap::new();
    for half in halves {
        for (_, chain) in half.chains() {
            let mut takers = Takers::default();
            let mut words: HashMap<&str, Vec<&Seen<'_>>> = HashMap::new();
            for (at, slot) in chain.iter().enumerate() {
                let Slot::Seen(seen) = slot else { continue };
                let taken_by = takers.of(chain, at, names);
                let same_as = twin(words.get(seen.words.as_str()).into_iter().flatten().copied(), seen);
                takers.add(half, at, seen);
                words.entry(&seen.words).or_default().push(seen);
                verdicts
                    .entry(place(&seen.op.origin))
                    .and_modify(|verdict| {
                        if taken_by.is_none() {
                            verdict.taken_by = None;
                        }
                        if same_as.map(place) != verdict.same_as.map(place) {
                            verdict.same_as = None;
                        }
                    })
                    .or_insert(Verdict { origin: &seen.op.origin, taken_by, same_as });
            }
        }
    }
    verdicts.values().filter_map(finding).collect()
}

fn finding(verdict: &Verdict<'_>) -> Option<Finding> {
    let Verdict { origin, taken_by, same_as } = *verdict;
    if let Some(other) = same_as {
        let problem = Problem::new(origin.clone(), "the same rule stands here twice")
            .hint(format!("the first is {}", shown(other)));
        return Some(Finding::new(Lint::DuplicateRule, problem));
    }
    let other = taken_by?;
    let problem =
        Problem::new(origin.clone(), "this rule never sees a packet: an earlier one takes all of them")
            .hint(format!("the earlier one is {}", shown(other)));
    Some(Finding::new(Lint::UnreachableRule, problem))
}

/// Place and words of a rule.
fn shown(origin: &Origin) -> String {
    const LONGEST: usize = 80;
    let (line, column) = origin.line_column();
    let words = origin.source.text.get(origin.range.clone()).unwrap_or_default().trim_matches('"');
    let cut = words.char_indices().nth(LONGEST).map_or(words.len(), |(at, _)| at);
    let more = if cut < words.len() { "..." } else { "" };
    format!("{}:{line}:{column}: `{}{more}`", origin.source.name, &words[..cut])
}

/// Earlier rules that may take all packets of a later one, by what that must have in common with them: a chain may
/// have thousands of rules, each for an address or port of its own.
#[derive(Default)]
struct Takers {
    by_source: HashMap<IpAddr, Vec<usize>>,
    by_port: HashMap<u16, Vec<usize>>,
    others: Vec<usize>,
}

impl Takers {
    fn add(&mut self, half: &Half<'_>, at: usize, seen: &Seen<'_>) {
        if !is_in_place(seen) || !ends_here(half, seen) {
            return;
        }
        match (single_source(seen), seen.ports.1.single()) {
            (Some(source), _) => self.by_source.entry(source).or_default().push(at),
            (None, Some(port)) => self.by_port.entry(port).or_default().push(at),
            (None, None) => self.others.push(at),
        }
    }

    /// The first earlier rule that takes all packets of the one at `place`, if that is worth a word: files stand
    /// alone, so what two of them decide in the same way is none.
    fn of<'a>(&self, chain: &[Slot<'a>], place: usize, names: &BTreeSet<IpAddr>) -> Option<&'a Origin> {
        let Some(Slot::Seen(seen)) = chain.get(place) else { return None };
        if !is_in_place(seen) {
            return None;
        }
        let same_source = single_source(seen).and_then(|source| self.by_source.get(&source));
        let same_port = seen.ports.1.single().and_then(|port| self.by_port.get(&port));
        let lists = [same_source, same_port, Some(&self.others)];
        let first = |list: &Vec<usize>| list.iter().copied().find(|at| takes(chain, *at, place, names));
        let at = lists.into_iter().flatten().filter_map(first).min()?;
        match chain.get(at) {
            Some(Slot::Seen(earlier)) => Some(&earlier.op.origin),
            _ => None,
        }
    }
}

/// The one address from which its packets come.
fn single_source(seen: &Seen<'_>) -> Option<IpAddr> {
    let source = seen.op.rule.source.as_ref().filter(|source| !source.negated)?;
    (source.value == Network::host(source.value.address)).then_some(source.value.address)
}

/// Whether the rule at `earlier` takes all packets of the one at `later`, and that is worth a word.
fn takes(chain: &[Slot<'_>], earlier: usize, later: usize, names: &BTreeSet<IpAddr>) -> bool {
    let (Some(Slot::Seen(one)), Some(Slot::Seen(two))) = (chain.get(earlier), chain.get(later)) else {
        return false;
    };
    // of `forEach` there may be none
    if one.repeated && !two.repeated {
        return false;
    }
    let worth = same_file(&one.op.origin, &two.op.origin) || one.target != two.target;
    match covers(one, two, names).filter(|_| worth) {
        None => false,
        Some(Cover::Always) => true,
        Some(Cover::UnlessChanged) => is_unchanged(chain, earlier + 1..later),
    }
}

/// An earlier rule of the same file with the same words, if two of them do no more than one.
fn twin<'a, 'b>(mut same_words: impl Iterator<Item = &'b Seen<'a>>, seen: &Seen<'a>) -> Option<&'a Origin>
where
    'a: 'b,
{
    if !all_stateless(seen) {
        return None;
    }
    let same = |earlier: &&Seen<'a>| {
        let (one, two) = (&earlier.op.origin, &seen.op.origin);
        same_file(one, two) && place(one) != place(two) && earlier.repeated == seen.repeated
    };
    same_words.find(same).map(|earlier| &earlier.op.origin)
}

fn same_file(one: &Origin, two: &Origin) -> bool {
    Arc::ptr_eq(&one.source, &two.source)
}

/// Its place among ours is the same whatever else is in the chain.
fn is_in_place(seen: &Seen<'_>) -> bool {
    matches!(seen.op.placement, Placement::Append | Placement::Insert(1))
}

/// Whether nothing is changed between two rules, nor by those that may stand anywhere.
fn is_unchanged(chain: &[Slot<'_>], between: Range<usize>) -> bool {
    chain.iter().enumerate().all(|(at, slot)| {
        let elsewhere = !between.contains(&at) && matches!(slot, Slot::Seen(seen) if is_in_place(seen));
        elsewhere || changes_nothing(slot)
    })
}

fn changes_nothing(slot: &Slot<'_>) -> bool {
    match slot {
        Slot::Seen(seen) => !matches!(seen.end, End::Pass(true) | End::Jump(_) | End::Other),
        Slot::LeftOut => false,
    }
}

/// Whether a packet that the rule matches never reaches the rule after it.
fn ends_here(half: &Half<'_>, seen: &Seen<'_>) -> bool {
    match seen.end {
        End::Accept | End::Drop | End::Return | End::Goto(_) => true,
        // of a part alone, who knows what another one puts first
        End::Jump(to) => !half.is_part && always_decides(half, to, 0),
        End::Pass(_) | End::Other => false,
    }
}

/// Whether no packet comes out of this user chain undecided.
fn always_decides(half: &Half<'_>, chain: &str, depth: usize) -> bool {
    if depth > DEEPEST {
        return false;
    }
    for slot in half.chain(chain) {
        let Slot::Seen(seen) = slot else { return false };
        // it may stand elsewhere, or not be there at all
        if !is_in_place(seen) {
            return false;
        }
        let decides = match seen.end {
            End::Return => return false,
            End::Jump(to) => always_decides(half, to, depth + 1),
            End::Goto(to) if !always_decides(half, to, depth + 1) => return false,
            End::Accept | End::Drop | End::Goto(_) => true,
            End::Pass(_) | End::Other => false,
        };
        if decides && seen.is_unconditional() && !seen.repeated {
            return true;
        }
    }
    false
}
