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

use super::output::{Paint, Style};

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
    fn rule(&self, chain: &ChainId, at: usize) -> (String, Option<String>) {
        let known = family_of(chain.0).and_then(|family| self.known(family, chain, at));
        if let Some(rule) = known {
            let text = if rule.text.is_empty() { "(every packet)".to_owned() } else { rule.text.clone() };
            let foreign = || "foreign: not of firewallnetns".to_owned();
            return (text, Some(rule.origin.clone().unwrap_or_else(foreign)));
        }
        let listed = self.rules.get(chain).and_then(|rules| rules.get(at));
        // in `inet`, the words for addresses are a guess: they are told as bytes of IPv4
        let text = listed.and_then(|rule| describe(Family::Ipv4, &rule.expressions).ok());
        (text.unwrap_or_else(|| format!("rule {}", at + 1)), Some("foreign: not of firewallnetns".to_owned()))
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
                let origin = origin.map(|origin| format!("  # {origin}")).unwrap_or_default();
                format!("rule {} of {place}: {text}{origin}", at + 1)
            }
            StepKind::Policy(_) => format!("the policy of {place}"),
            StepKind::Passed(_) | StepKind::Returned => place,
        }
    }

    /// All steps, a line each.
    fn lines(&self, style: Style, all: bool) -> Vec<String> {
        let mut lines = Vec::new();
        let mut shown: Option<&ChainId> = None;
        for (number, step) in self.explanation.steps.iter().enumerate() {
            let indent = "  ".repeat(step.depth);
            if shown != Some(&step.chain) {
                lines.push(style.paint(Paint::Bold, &format!("{indent}{}", place(&step.chain))));
                shown = Some(&step.chain);
            }
            let decided = self.explanation.decided == Some(number);
            self.step_lines(step, decided, style, all, &indent, &mut lines);
        }
        lines
    }

    fn step_lines(
        &self,
        step: &Step,
        decided: bool,
        style: Style,
        all: bool,
        indent: &str,
        lines: &mut Vec<String>,
    ) {
        let line = |mark: &str, words: &str, origin: Option<String>| {
            let origin = origin.map(|origin| style.paint(Paint::Dim, &format!("  # {origin}")));
            format!("{indent}  {mark} {words}{}", origin.unwrap_or_default())
        };
        match &step.kind {
            StepKind::Passed(range) => {
                let most = if all || range.len() <= SHOWN + 1 { range.len() } else { SHOWN };
                for at in range.clone().take(most) {
                    let (text, origin) = self.rule(&step.chain, at);
                    lines.push(line("-", &text, origin));
                }
                if range.len() > most {
                    lines.push(format!("{indent}  - ... and {} more that do not match", range.len() - most));
                }
            }
            StepKind::Matched(at, verdict) => {
                let (text, origin) = self.rule(&step.chain, *at);
                let paint = if decided { paint_of(self.explanation.outcome) } else { Paint::Yellow };
                let mark = if decided { "=" } else { ">" };
                let words = match verdict {
                    Verdict::Continue => format!("{text} (goes on)"),
                    _ => text,
                };
                lines.push(style_mark(style, paint, &line(mark, &words, origin), mark));
            }
            StepKind::Policy(verdict) => {
                let mark = if decided { "=" } else { ">" };
                let word = if *verdict == Verdict::Drop { "DROP" } else { "ACCEPT" };
                let paint = if decided { paint_of(self.explanation.outcome) } else { Paint::Yellow };
                lines.push(style_mark(style, paint, &line(mark, &format!("policy {word}"), None), mark));
            }
            StepKind::Returned => lines.push(line(">", "end of the chain: back", None)),
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

/// The line with its mark in colour.
fn style_mark(style: Style, paint: Paint, line: &str, mark: &str) -> String {
    line.replacen(mark, &style.paint(paint, mark), 1)
}
