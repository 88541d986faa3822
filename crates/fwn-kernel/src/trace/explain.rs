//! The way of a packet through the rules: a journey and the rules in their order come in; what was looked at, what matched,
//! and what decided goes out. Pure.

use std::collections::BTreeMap;
use std::ops::Range;

use super::event::{EventKind, TraceEvent, Verdict};
use super::lab::{End, Journey};
use super::rules::{ChainId, ListedRule};
use crate::nft::decode::decode_expressions;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Accept,
    /// It was taken without a word.
    Drop,
    /// It was refused with an answer.
    Reject,
    /// A rule gave it to a program (`NFQUEUE`), or something else took it.
    Other,
    /// No rule took it, and it did not arrive: the kernel's routing dropped it.
    Lost,
}

impl Outcome {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "ACCEPT",
            Self::Drop => "DROP",
            Self::Reject => "REJECT",
            Self::Other => "OTHER",
            Self::Lost => "LOST",
        }
    }
}

/// A step of the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The chain.
    pub chain: ChainId,
    /// How many chains jumped here.
    pub depth: usize,
    /// What happened.
    pub kind: StepKind,
}

/// What happened in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepKind {
    /// These rules were looked at and did not match; numbers from 0.
    Passed(Range<usize>),
    /// This rule matched.
    Matched(usize, Verdict),
    /// The end of the chain: its policy.
    Policy(Verdict),
    /// The end of a user chain: back to where it was called.
    Returned,
}

/// The whole way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What became of the packet.
    pub outcome: Outcome,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Which of the steps decided; `None` where no chain looked at the packet.
    pub decided: Option<usize>,
}

/// Brings a journey together with the rules.
pub fn explain(journey: &Journey, rules: &BTreeMap<ChainId, Vec<ListedRule>>) -> Explanation {
    let mut way = Way { rules, steps: Vec::new(), open: Vec::new() };
    for event in &journey.events {
        way.follow(event);
    }
    let steps = way.steps;
    let decided = decider(&steps, journey.end);
    let outcome = match journey.end {
        End::Passed => Outcome::Accept,
        End::Lost => Outcome::Lost,
        End::Taken => match decided.and_then(|at| steps.get(at)) {
            Some(Step { chain, kind: StepKind::Matched(at, Verdict::Drop), .. })
                if refuses(rules, chain, *at) =>
            {
                Outcome::Reject
            }
            Some(Step { kind: StepKind::Matched(_, Verdict::Other(_)), .. }) => Outcome::Other,
            _ => Outcome::Drop,
        },
    };
    Explanation { outcome, steps, decided }
}

struct Way<'a> {
    rules: &'a BTreeMap<ChainId, Vec<ListedRule>>,
    steps: Vec<Step>,
    /// The chains that the packet is in, each with the number of the rule that is looked at next.
    open: Vec<(ChainId, usize)>,
}

impl Way<'_> {
    fn follow(&mut self, event: &TraceEvent) {
        let chain: ChainId = (event.family, event.table.clone(), event.chain.clone());
        // a chain that was entered by a jump stands on top, one that was returned to below it
        while self.open.last().is_some_and(|(open, _)| *open != chain) {
            if !self.open.iter().any(|(open, _)| *open == chain) {
                break;
            }
            self.open.pop();
        }
        if self.open.last().is_none_or(|(open, _)| *open != chain) {
            let jumped = matches!(
                self.steps.last(),
                Some(Step { kind: StepKind::Matched(_, Verdict::Jump(to) | Verdict::Goto(to)), .. }) if *to == chain.2
            );
            if !jumped {
                self.open.clear();
            }
            self.open.push((chain.clone(), 0));
        }
        let depth = self.open.len() - 1;
        let Some((_, next)) = self.open.last_mut() else { return };
        let all = self.rules.get(&chain).map(Vec::as_slice).unwrap_or_default();
        let reached = match event.kind {
            EventKind::Rule(handle) => all.iter().position(|rule| rule.handle == handle).unwrap_or(*next),
            EventKind::Return | EventKind::Policy => all.len(),
        };
        if reached > *next {
            let kind = StepKind::Passed(*next..reached);
            self.steps.push(Step { chain: chain.clone(), depth, kind });
        }
        *next = reached + 1;
        let kind = match event.kind {
            EventKind::Rule(_) => StepKind::Matched(reached, event.verdict.clone()),
            EventKind::Return => StepKind::Returned,
            EventKind::Policy => StepKind::Policy(event.verdict.clone()),
        };
        self.steps.push(Step { chain, depth, kind });
        match (event.kind, &event.verdict) {
            // the chain that called goes on after its jump
            (EventKind::Return, _) | (EventKind::Rule(_), Verdict::Return) if self.open.len() > 1 => {
                self.open.pop();
            }
            // the whole base chain has ended
            (_, Verdict::Accept | Verdict::Drop) | (EventKind::Policy, _) => self.open.clear(),
            _ => {}
        }
    }
}

/// What took the packet is the last step. What let it pass is the last word of a table `filter`, where one looked at it,
/// since that is where people put their rules; else the last word of all.
fn decider(steps: &[Step], end: End) -> Option<usize> {
    let last_word = |step: &Step| match &step.kind {
        StepKind::Matched(_, verdict) | StepKind::Policy(verdict) => {
            matches!(verdict, Verdict::Accept | Verdict::Drop | Verdict::Other(_))
        }
        StepKind::Passed(_) | StepKind::Returned => false,
    };
    match end {
        End::Taken => steps.iter().rposition(last_word),
        End::Passed | End::Lost => steps
            .iter()
            .rposition(|step| last_word(step) && step.chain.1 == "filter")
            .or_else(|| steps.iter().rposition(last_word)),
    }
}

/// Whether the rule answers: `-j REJECT`, or nft's `reject`.
fn refuses(rules: &BTreeMap<ChainId, Vec<ListedRule>>, chain: &ChainId, at: usize) -> bool {
    let Some(rule) = rules.get(chain).and_then(|rules| rules.get(at)) else { return false };
    decode_expressions(&rule.expressions).flatten().any(|expression| match expression.name {
        "reject" => true,
        "target" => {
            // NFTA_TARGET_NAME
            let name = expression.data.find(1).ok().flatten();
            name.is_some_and(|name| name.string() == Ok("REJECT"))
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(name: &str) -> ChainId {
        (2, "filter".to_owned(), name.to_owned())
    }

    fn event(name: &str, kind: EventKind, verdict: Verdict) -> TraceEvent {
        TraceEvent { family: 2, table: "filter".to_owned(), chain: name.to_owned(), kind, verdict }
    }

    fn rules(of: &[(&str, &[u64])]) -> BTreeMap<ChainId, Vec<ListedRule>> {
        let listed = |handles: &[u64]| {
            handles.iter().map(|handle| ListedRule { handle: *handle, expressions: Vec::new() }).collect()
        };
        of.iter().map(|(name, handles)| (chain(name), listed(handles))).collect()
    }

    #[test]
    fn what_lies_between_two_steps_was_looked_at() {
        let rules = rules(&[("INPUT", &[3, 5, 7, 9]), ("web", &[11, 12])]);
        let events = vec![
            event("INPUT", EventKind::Rule(5), Verdict::Jump("web".to_owned())),
            event("web", EventKind::Rule(12), Verdict::Continue),
            event("web", EventKind::Return, Verdict::Return),
            event("INPUT", EventKind::Policy, Verdict::Drop),
        ];
        let explanation = explain(&Journey { events, end: End::Taken }, &rules);
        let steps: Vec<_> = explanation
            .steps
            .iter()
            .map(|step| (step.chain.2.as_str(), step.depth, step.kind.clone()))
            .collect();
        assert_eq!(
            steps,
            [
                ("INPUT", 0, StepKind::Passed(0..1)),
                ("INPUT", 0, StepKind::Matched(1, Verdict::Jump("web".to_owned()))),
                ("web", 1, StepKind::Passed(0..1)),
                ("web", 1, StepKind::Matched(1, Verdict::Continue)),
                ("web", 1, StepKind::Returned),
                ("INPUT", 0, StepKind::Passed(2..4)),
                ("INPUT", 0, StepKind::Policy(Verdict::Drop)),
            ]
        );
        assert_eq!((explanation.outcome, explanation.decided), (Outcome::Drop, Some(6)));
    }

    #[test]
    fn a_chain_that_is_called_twice_is_looked_at_from_its_top() {
        let rules = rules(&[("INPUT", &[1, 2]), ("web", &[8, 9])]);
        let events = vec![
            event("INPUT", EventKind::Rule(1), Verdict::Jump("web".to_owned())),
            event("web", EventKind::Rule(8), Verdict::Return),
            event("INPUT", EventKind::Rule(2), Verdict::Goto("web".to_owned())),
            event("web", EventKind::Rule(9), Verdict::Accept),
        ];
        let explanation = explain(&Journey { events, end: End::Passed }, &rules);
        let last = explanation.steps.last().expect("steps");
        assert_eq!((last.depth, &last.kind), (1, &StepKind::Matched(1, Verdict::Accept)));
        assert_eq!(explanation.decided, Some(explanation.steps.len() - 1));
        assert!(
            explanation
                .steps
                .iter()
                .any(|step| step.kind == StepKind::Passed(0..1) && step.chain == chain("web"))
        );
    }
}
