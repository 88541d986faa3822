//! One rule through iptables and through the native engine, each in a namespace of its own: what the two made of it.

use std::collections::BTreeMap;
use std::io;

use fwn_kernel::encode::native::{NativeContext, NativeError, encode_native};
use fwn_kernel::firewall::apply::{ApplyRequest, Connection, apply};
use fwn_plan::config::{Engine, parse_fw};
use fwn_plan::decide::{Facts, decide};
use fwn_plan::expand::Variables;
use fwn_plan::netfilter::{Families, Family};
use fwn_plan::origin::Source;
use fwn_plan::plan::{Attachment, Plan};
use fwn_plan::problem::Problems;
use fwn_plan::rule::databases::Databases;
use fwn_plan::ruleset::{Repetitions, RuleSet, SectionInput};

use crate::namespace::{InForce, Scratch};
use crate::test_file::TestLine;

/// A rule in one chain, for one family.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    /// Name of the file.
    pub(crate) file: &'a str,
    /// The line.
    pub(crate) line: &'a TestLine,
    /// The chain.
    pub(crate) chain: &'a str,
    /// The family.
    pub(crate) family: Family,
}

/// What was made of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// By iptables: what is in force, or its complaint.
    pub(crate) theirs: Result<InForce, String>,
    /// By us.
    pub(crate) ours: Result<InForce, Refused>,
}

/// Why nothing of ours is in force.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no native form for it; `auto` leaves it to iptables.
    NotEncoded(String),
    /// It is wrong: by the parser, the encoder or the kernel.
    Wrong(String),
}

/// Tries a rule.
///
/// # Errors
/// No namespace could be had, or a program not be run.
pub(crate) fn measure(case: &Case<'_>, databases: &dyn Databases) -> io::Result<Outcome> {
    Ok(Outcome { theirs: theirs(case)?, ours: ours(case, databases)? })
}

fn theirs(case: &Case<'_>) -> io::Result<Result<InForce, String>> {
    let Case { line, chain, family, .. } = case;
    let scratch = Scratch::new()?;
    scratch.prepare(&line.setup)?;
    match scratch.append(*family, line.table.name(), chain, &line.rule)? {
        Ok(()) => scratch.look(*family).map(Ok),
        Err(complaint) => Ok(Err(complaint)),
    }
}

fn ours(case: &Case<'_>, databases: &dyn Databases) -> io::Result<Result<InForce, Refused>> {
    let plan = match plan(case, databases) {
        Ok(plan) => plan,
        Err(problems) => return Ok(Err(Refused::Wrong(messages(&problems)))),
    };
    let context = NativeContext { databases, set_index: &|_| None };
    for half in &plan.tables {
        for op in &half.rules {
            if let Err(NativeError::NotEncoded { what, .. }) = encode_native(&op.rule, half.family, &context)
            {
                return Ok(Err(Refused::NotEncoded(what)));
            }
        }
    }
    let scratch = Scratch::new()?;
    scratch.prepare(&case.line.setup)?;
    let (_, connection) = Connection::open(&scratch.path()).map_err(io::Error::other)?;
    let request = ApplyRequest {
        plan: &plan,
        attachment: &Attachment {
            network: "tests".into(),
            container: "scratch".into(),
            interface: "eth0".into(),
        },
        engine: Engine::Native,
        databases,
        previous: None,
        siblings: &[],
    };
    match apply(connection, &request, &mut |_| Ok(())) {
        Ok(_) => scratch.look(case.family).map(Ok),
        Err(error) => Ok(Err(Refused::Wrong(error.to_string()))),
    }
}

/// The way that a rule of a .fw file goes.
fn plan(case: &Case<'_>, databases: &dyn Databases) -> Result<Plan, Problems> {
    let rule = serde_json::json!({
        "type": "A",
        "table": case.line.table.name(),
        "chain": case.chain,
        "family": case.family.name(),
        "rule": case.line.rule,
    });
    let source = Source::new(case.file, serde_json::json!({ "rules": [rule] }).to_string());
    let section = SectionInput { section: parse_fw(&source)?, set_files: Vec::new() };
    let ruleset = RuleSet::build(&[section], &Variables::new(), &Repetitions::default(), databases)?;
    decide(&ruleset, &Facts { families: Families::BOTH, hosts: BTreeMap::new(), sets: BTreeMap::new() })
}

fn messages(problems: &Problems) -> String {
    problems.0.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ")
}
