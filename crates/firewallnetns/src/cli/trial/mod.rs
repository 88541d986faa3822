//! `explain` and `test`: the kernel is asked what becomes of a packet. This is what the two have in common: a way through
//! the rules in words.

pub(super) mod explain;
pub(super) mod report;
pub(super) mod test;

use std::collections::BTreeMap;

use fwn_kernel::firewall::view::{RuleView, View};
use fwn_kernel::nft::constants::{family_of, family_word};
use fwn_kernel::nft::describe::describe;
use fwn_kernel::trace::event::Verdict;
use fwn_kernel::trace::explain::{Explanation, Outcome, Step, StepKind};
use fwn_kernel::trace::rules::{ChainId, ListedRule};
use fwn_plan::netfilter::Family;
use serde_json::{Value, json};

use super::output::Paint;
use super::show::text::{Layout, wrapped};

/// So many rules that were looked at are shown of each stretch, unless all are asked for.
const SHOWN: usize = 6;

/// A way, with all that is known of its rules.
struct Told<'a> {
    explanation: &'a Explanation,
    rules: &'a BTreeMap<ChainId, Vec<ListedRule>>,
    view: &'a View,
}

impl Told<'_> {
    /// The rule in words, and where it was written.
    fn rule(&self, chain: &ChainId, at: usize) -> (String, String) {
        let known = family_of(chain.0).and_then(|family| self.known(family, chain, at));
        if let Some(rule) = known {
            let text = if rule.text.is_empty() { "(every packet)".to_owned() } else { rule.text.clone() };
            let foreign = || "foreign: not of firewallnetns".to_owned();
            return (text, rule.origin.clone().unwrap_or_else(foreign));
        }
        let listed = self.rules.get(chain).and_then(|rules| rules.get(at));
        // in `inet`, the words for addresses are a guess: they are told as bytes of IPv4
        let text = listed.and_then(|rule| describe(Family::Ipv4, &rule.expressions).ok());
        (text.unwrap_or_else(|| format!("rule {}", at + 1)), "foreign: not of firewallnetns".to_owned())
    }

    fn known(&self, family: Family, chain: &ChainId, at: usize) -> Option<&RuleView> {
        let same = |view: &&fwn_kernel::firewall::view::ChainView| {
            view.family == family && view.table == chain.1 && view.name == chain.2
        };
        self.view.chains.iter().find(same)?.rules.get(at)
    }

    /// What decided, on one line.
    fn decider(&self) -> String {
        let Some(step) = self.explanation.decided.and_then(|at| self.explanation.steps.get(at)) else {
            return "no chain looked at it".to_owned();
        };
        let place = place(&step.chain);
        match &step.kind {
            StepKind::Matched(at, _) => {
                let (text, origin) = self.rule(&step.chain, *at);
                format!("rule {} of {place}: {text}  # {origin}", at + 1)
            }
            StepKind::Policy(_) => format!("the policy of {place}"),
            StepKind::Passed(_) | StepKind::Returned => place,
        }
    }

    /// All steps, a line each where there is room.
    fn text(&self, layout: Layout, all: bool) -> String {
        let mut text = String::new();
        let mut shown: Option<&ChainId> = None;
        for (number, step) in self.explanation.steps.iter().enumerate() {
            let indent = "  ".repeat(step.depth);
            if shown != Some(&step.chain) {
                let title = wrapped(layout, &indent, indent.len() + 2, &place(&step.chain), None);
                text.extend(title.lines().map(|line| layout.style.paint(Paint::Bold, line) + "\n"));
                shown = Some(&step.chain);
            }
            let decided = self.explanation.decided == Some(number);
            text += &self.step_text(step, decided, layout, all, &indent);
        }
        text
    }

    fn step_text(&self, step: &Step, decided: bool, layout: Layout, all: bool, indent: &str) -> String {
        let line = |mark: &str, words: &str, origin: Option<&str>| {
            let paint = match (mark, self.explanation.outcome) {
                ("=", Outcome::Accept) => Paint::Green,
                ("=", _) => Paint::Red,
                (">", _) => Paint::Yellow,
                _ => Paint::Dim,
            };
            let lead = format!("{indent}  {} ", layout.style.paint(paint, mark));
            wrapped(layout, &lead, indent.len() + 6, words, origin)
        };
        let mark = if decided { "=" } else { ">" };
        match &step.kind {
            StepKind::Passed(range) => {
                let most = if all || range.len() <= SHOWN + 1 { range.len() } else { SHOWN };
                let rules = range.clone().take(most).map(|at| self.rule(&step.chain, at));
                let mut text: String =
                    rules.map(|(words, origin)| line("-", &words, Some(&origin))).collect();
                if range.len() > most {
                    let words = format!("... and {} more that do not match", range.len() - most);
                    text += &line("-", &words, None);
                }
                text
            }
            StepKind::Matched(at, verdict) => {
                let (words, origin) = self.rule(&step.chain, *at);
                let goes_on = if *verdict == Verdict::Continue { " (goes on)" } else { "" };
                line(mark, &(words + goes_on), Some(&origin))
            }
            StepKind::Policy(verdict) => line(mark, &format!("policy {}", verdict_word(verdict)), None),
            StepKind::Returned => line(mark, "end of the chain: back", None),
        }
    }

    fn json(&self) -> Value {
        let steps = self.explanation.steps.iter().map(|step| {
            let rule = |at: usize| {
                let (text, origin) = self.rule(&step.chain, at);
                json!({ "number": at + 1, "rule": text, "origin": origin })
            };
            let mut value = json!({
                "family": family_word(step.chain.0),
                "table": step.chain.1,
                "chain": step.chain.2,
            });
            match &step.kind {
                StepKind::Passed(range) => value["passed"] = range.clone().map(rule).collect(),
                StepKind::Matched(at, verdict) => {
                    value["matched"] = rule(*at);
                    value["verdict"] = verdict_word(verdict).into();
                }
                StepKind::Policy(verdict) => value["policy"] = verdict_word(verdict).into(),
                StepKind::Returned => value["returned"] = true.into(),
            }
            value
        });
        json!({
            "verdict": self.explanation.outcome.name(),
            "by": self.decider(),
            "decided": self.explanation.decided,
            "steps": steps.collect::<Vec<_>>(),
        })
    }
}

/// A chain, as other commands name it where iptables knows it.
fn place(chain: &ChainId) -> String {
    let family = family_of(chain.0).map_or(family_word(chain.0), Family::name);
    format!("{family} {} {}", chain.1, chain.2)
}

fn verdict_word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "ACCEPT".to_owned(),
        Verdict::Drop => "DROP".to_owned(),
        Verdict::Continue => "CONTINUE".to_owned(),
        Verdict::Return => "RETURN".to_owned(),
        Verdict::Jump(chain) | Verdict::Goto(chain) => chain.clone(),
        Verdict::Other(code) => code.to_string(),
    }
}

fn paint_of(outcome: Outcome) -> Paint {
    if outcome == Outcome::Accept { Paint::Green } else { Paint::Red }
}
