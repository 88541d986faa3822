//! Jumps between user chains: a decided half of a table comes in, the rules that lead back to where a packet came
//! from come out as problems. The kernel refuses such a half with `Too many links` and names no chain.

use std::collections::BTreeMap;

use crate::plan::{RuleOp, TablePlan};
use crate::problem::{Problem, Problems};
use crate::rule::{Target, Value};

/// Finds every loop of user chains, once each, at the rule that closes it.
pub(crate) fn find_loops(half: &TablePlan) -> Problems {
    let mut jumps: BTreeMap<&str, Vec<(&RuleOp, &Value)>> = BTreeMap::new();
    for rule in &half.rules {
        if let Some(Target::Jump(to) | Target::Goto(to)) = &rule.rule.target {
            jumps.entry(&rule.chain).or_default().push((rule, to));
        }
    }
    let mut search = Search { jumps: &jumps, states: BTreeMap::new(), problems: Problems::default() };
    for chain in jumps.keys().copied() {
        search.walk(chain);
    }
    search.problems
}

struct Search<'a> {
    jumps: &'a BTreeMap<&'a str, Vec<(&'a RuleOp, &'a Value)>>,
    states: BTreeMap<&'a str, State>,
    problems: Problems,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// On the way that is being walked.
    Open,
    /// All that it leads to was walked.
    Done,
}

impl<'a> Search<'a> {
    /// Walks all ways from a chain on, depth first. Not by recursion: a chain may be thousands of jumps deep.
    fn walk(&mut self, start: &'a str) {
        if self.states.contains_key(start) {
            return;
        }
        self.states.insert(start, State::Open);
        // the way to here: each chain with the number of its jumps that were walked
        let mut way = vec![(start, 0)];
        while let Some((chain, walked)) = way.last_mut() {
            let chain = *chain;
            let Some((rule, to)) = self.jumps.get(chain).and_then(|jumps| jumps.get(*walked)) else {
                self.states.insert(chain, State::Done);
                way.pop();
                continue;
            };
            *walked += 1;
            match self.states.get(to.text.as_str()) {
                Some(State::Done) => {}
                Some(State::Open) => self.problems.push(closed(rule, to, &way)),
                None => {
                    self.states.insert(&to.text, State::Open);
                    way.push((&to.text, 0));
                }
            }
        }
    }
}

/// The problem of a rule that jumps to a chain on the way to it.
fn closed(rule: &RuleOp, to: &Value, way: &[(&str, usize)]) -> Problem {
    let chains = way.iter().map(|(chain, _)| *chain).skip_while(|chain| *chain != to.text);
    let names: Vec<_> = chains.chain([to.text.as_str()]).collect();
    let message = format!("this jump makes a loop: {}", names.join(" -> "));
    Problem::new(rule.origin.with_span(to.span.clone()), message)
}
