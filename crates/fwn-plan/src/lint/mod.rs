//! What is right by the letter and most likely not meant: a rule set and its plan come in, findings go out. A claim
//! that is made is true for every packet; where something is not known, no claim is made.
//!
//! A file alone is not judged by what only a whole configuration can have: `allow-ping.fw` closes nothing, and what
//! it does not open another file may.

mod catalogue;
mod class;
mod closed;
mod cover;
mod ports;
mod reach;
mod seen;
mod unused;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddrV4};
use std::sync::Arc;

pub use catalogue::{Level, Lint};
pub use seen::LeftOut;

use crate::config::Allowed;
use crate::origin::Origin;
use crate::plan::Plan;
use crate::problem::Problem;
use crate::rule::databases::Databases;
use crate::ruleset::RuleSet;
use seen::{Half, Place, place};

/// One thing that is worth a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is of.
    pub lint: Lint,
    /// Where, what, and what to do.
    pub problem: Problem,
}

impl Finding {
    /// A finding.
    pub fn new(lint: Lint, problem: Problem) -> Self {
        Self { lint, problem }
    }
}

/// How much of a policy there is to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All that one ADD puts in force.
    Whole,
    /// One file of it.
    Part,
}

/// What is known of Mesos.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mesos {
    /// Nothing says that it starts the container.
    No,
    /// It does.
    Yes,
    /// It does, and this is its agent.
    Agent(SocketAddrV4),
}

/// What is looked at.
pub struct Subject<'a> {
    /// How much of a policy it is.
    pub extent: Extent,
    /// The rule set.
    pub ruleset: &'a RuleSet,
    /// What it was decided to, for both families.
    pub plan: &'a Plan,
    /// Rules that could not be read for want of a variable.
    pub left_out: &'a [LeftOut],
    /// Addresses in the plan that stand for host names: what they really are is not known.
    pub names: &'a BTreeSet<IpAddr>,
    /// The configuration as a whole.
    pub whole: Origin,
    /// Whether the container is one of Mesos'.
    pub mesos: Mesos,
    /// Where ipsetd listens.
    pub ipsetd_port: u16,
    /// Names for numbers.
    pub databases: &'a dyn Databases,
}

impl Subject<'_> {
    /// Whether a rule that was left out may name this.
    fn is_in_what_was_left_out(&self, name: &str) -> bool {
        self.left_out.iter().any(|rule| rule.text.contains(name) || rule.text.contains("--match-set $"))
    }

    fn has_repeated_rules(&self) -> bool {
        self.ruleset.rules.iter().any(|rule| rule.repeated)
    }
}

/// Everything worth a word, by file and place.
pub fn lint(subject: &Subject<'_>) -> Vec<Finding> {
    let repeated: BTreeSet<Place<'_>> =
        subject.ruleset.rules.iter().filter(|rule| rule.repeated).map(|rule| place(&rule.origin)).collect();
    let halves: Vec<Half<'_>> = subject
        .plan
        .tables
        .iter()
        .map(|half| {
            Half::new(half, subject.extent == Extent::Part, subject.left_out, &repeated, subject.databases)
        })
        .collect();
    let mut findings = reach::find(&halves, subject.names);
    findings.extend(closed::open_ipsetd(subject, &halves));
    findings.extend(unused::names(subject));
    if subject.extent == Extent::Whole {
        findings.extend(closed::find(subject, &halves));
        findings.extend(unused::sets(subject));
        findings.extend(unused::chains(subject));
        findings.extend(unused::unknown_sets(subject));
        findings.extend(unused::whole(subject));
    }
    let mut unique: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings {
        // both families may have the same one
        if !unique
            .iter()
            .any(|known| known.lint == finding.lint && known.problem.origin == finding.problem.origin)
        {
            unique.push(finding);
        }
    }
    unique
}

/// Whether a `lint` key silences a finding: one of the file or object in which it stands, or, in `whole`, of the
/// whole configuration.
pub fn is_silenced(finding: &Finding, allowed: &[Allowed], whole: Option<&Origin>) -> bool {
    let at = &finding.problem.origin;
    allowed.iter().any(|allowed| {
        let here = &allowed.origin;
        let inside = Arc::ptr_eq(&here.source, &at.source) && at.path.starts_with(&here.path);
        let everywhere =
            whole.is_some_and(|whole| Arc::ptr_eq(&here.source, &whole.source) && here.path == whole.path);
        allowed.lints.contains(&finding.lint) && (inside || everywhere)
    })
}
