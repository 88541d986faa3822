//! All rules of a plan: natively where there is a form, by iptables where not and the engine allows it. What is
//! wrong comes out with its place, all of it at once.

use fwn_plan::config::Engine;
use fwn_plan::origin::Origin;
use fwn_plan::plan::{Plan, RuleOp};
use fwn_plan::problem::{Problem, Problems};

use super::iptables::{EncodeError, Prepare, RuleInput, encode_rules, plan_rules};
use super::native::{NativeContext, NativeError, encode_native};
use crate::nft::EncodedRule;

/// The rules of a plan, encoded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EncodedPlan {
    /// Parallel to the plan's tables, and to the rules of each.
    pub tables: Vec<Vec<EncodedRule>>,
    /// How many of the rules iptables encoded; 0 means that no program was started.
    pub by_iptables: usize,
}

/// Why a plan was not encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodePlanError {
    /// Rules are wrong.
    #[error("{0}")]
    Rules(Problems),
    /// iptables could not be made to do its part.
    #[error("{}", needed(.first.as_deref()))]
    Iptables {
        /// The first rule that needs it, and what of it has no native form; `None` if the engine is iptables.
        first: Option<Box<(Origin, String)>>,
        /// What went wrong.
        source: EncodeError,
    },
}

fn needed(first: Option<&(Origin, String)>) -> String {
    match first {
        Some((origin, what)) => format!("{origin}: {what} is not encoded natively, and iptables failed"),
        None => "iptables failed".to_owned(),
    }
}

/// Encodes all rules of a plan. `prepare` is for what iptables encodes: see [`Prepare`].
///
/// # Errors
/// [`EncodePlanError::Rules`] with all rules that are wrong; nothing was changed anywhere.
pub fn encode_plan(
    plan: &Plan,
    engine: Engine,
    context: &NativeContext<'_>,
    prepare: Prepare<'_>,
) -> Result<EncodedPlan, EncodePlanError> {
    let inputs = plan_rules(plan);
    let operations: Vec<&RuleOp> = plan.tables.iter().flat_map(|half| &half.rules).collect();
    let mut encoded: Vec<Option<EncodedRule>> = vec![None; inputs.len()];
    let mut problems: Vec<(usize, Problem)> = Vec::new();
    let mut first = None;
    let mut left: Vec<(usize, RuleInput<'_>)> = Vec::new();
    for (at, (input, operation)) in inputs.iter().zip(&operations).enumerate() {
        if engine == Engine::Iptables {
            left.push((at, *input));
            continue;
        }
        match (encode_native(input.rule, input.family, context), engine) {
            (Ok(rule), _) => encoded[at] = Some(rule),
            (Err(NativeError::NotEncoded { what, .. }), Engine::Auto) => {
                first.get_or_insert_with(|| Box::new((operation.origin.clone(), what)));
                left.push((at, *input));
            }
            (Err(error), _) => problems.push((at, problem(&operation.origin, error))),
        }
    }
    let by_iptables = left.len();
    let rest: Vec<_> = left.iter().map(|(_, input)| *input).collect();
    match encode_rules(&rest, prepare) {
        Ok(rules) => {
            for ((at, _), rule) in left.iter().zip(rules) {
                encoded[*at] = Some(rule);
            }
        }
        Err(EncodeError::Refused(refusals)) => {
            for refusal in refusals {
                let Some((at, _)) = left.get(refusal.rule) else { continue };
                problems
                    .push((*at, Problem::new(operations[*at].origin.clone(), in_words(&refusal.message))));
            }
        }
        // what is wrong with the rules is more to the point
        Err(_) if !problems.is_empty() => {}
        Err(source) => return Err(EncodePlanError::Iptables { first, source }),
    }
    if !problems.is_empty() {
        problems.sort_by_key(|(at, _)| *at);
        let mut said = Problems::default();
        for (_, problem) in problems {
            // a rule for both families is wrong twice, and said once
            if !said.0.contains(&problem) {
                said.push(problem);
            }
        }
        return Err(EncodePlanError::Rules(said));
    }
    let mut encoded = encoded.into_iter().flatten();
    let tables = plan.tables.iter().map(|half| encoded.by_ref().take(half.rules.len()).collect()).collect();
    Ok(EncodedPlan { tables, by_iptables })
}

/// What is wrong with the rules of a plan, as far as it can be told without a namespace: what only iptables can judge
/// is left to it.
pub fn check_plan(plan: &Plan, engine: Engine, context: &NativeContext<'_>) -> Problems {
    let mut said = Problems::default();
    let operations = plan.tables.iter().flat_map(|half| &half.rules);
    for (input, operation) in plan_rules(plan).iter().zip(operations) {
        let error = match (encode_native(input.rule, input.family, context), engine) {
            (Ok(_), _) | (Err(NativeError::NotEncoded { .. }), Engine::Auto | Engine::Iptables) => continue,
            (Err(error), _) => problem(&operation.origin, error),
        };
        // a rule for both families is wrong twice, and said once
        if !said.0.contains(&error) {
            said.push(error);
        }
    }
    said
}

fn problem(origin: &Origin, error: NativeError) -> Problem {
    let message = error.to_string();
    match error {
        NativeError::Wrong(problem) => {
            Problem { origin: origin.with_span(problem.span), message, hint: problem.hint }
        }
        NativeError::NoSet { span, .. } => Problem::new(origin.with_span(span), message),
        NativeError::NotEncoded { span, .. } => {
            let place = if span.is_empty() { origin.clone() } else { origin.with_span(span) };
            Problem::new(place, message).hint("with `engine` `auto`, iptables encodes it")
        }
    }
}

/// What iptables says; where it was the kernel that refused (`RULE_APPEND failed (Invalid argument): rule in chain X`),
/// what that means.
fn in_words(message: &str) -> String {
    let reason = message.strip_prefix("RULE_APPEND failed (").and_then(|rest| rest.split_once("): "));
    let Some((reason, _)) = reason else { return format!("iptables refuses the rule: {message}") };
    let meaning = match reason {
        "No such file or directory" => ": it lacks a match, a target or what one of them names",
        "Invalid argument" => {
            ": a match or target does not take these options, or does not work in this table or chain"
        }
        // ELOOP, and EMLINK past NFT_JUMP_STACK_SIZE (`linux/netfilter/nf_tables.h`)
        "Too many levels of symbolic links" | "Too many links" => {
            ": the chains jump in a circle, or more than 16 deep"
        }
        _ => "",
    };
    format!("the kernel refuses the rule ({reason}){meaning}")
}

#[cfg(test)]
mod tests {
    use fwn_plan::config::Placement;
    use fwn_plan::netfilter::{Family, Table};
    use fwn_plan::origin::{Path, Source};
    use fwn_plan::plan::TablePlan;

    use super::*;
    use crate::encode::testing::{Names, cases};

    const CONTEXT: NativeContext<'static> = NativeContext { databases: &Names, set_index: &|_| None };

    #[expect(clippy::unnecessary_wraps, reason = "the shape of every preparation")]
    fn no_sets() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }

    fn must_not_run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Err("no program is needed".into())
    }

    /// One IPv4 half of `filter` with these rules, each from a source of its own.
    fn plan(rules: &[&str]) -> Plan {
        let rules = rules.iter().map(|text| {
            let case = cases(&format!("4 filter INPUT {text}")).remove(0);
            let origin = Origin {
                source: Source::new("test.fw", format!("\"{text}\"")),
                path: Path::default(),
                range: 0..text.len() + 2,
                span: None,
            };
            RuleOp { chain: case.chain, placement: Placement::Append, rule: case.rule, origin }
        });
        let half = TablePlan {
            family: Family::Ipv4,
            table: Table::Filter,
            chains: Vec::new(),
            policies: Vec::new(),
            rules: rules.collect(),
        };
        Plan { sets: Vec::new(), tables: vec![half] }
    }

    fn words(problem: &Problem) -> &str {
        &problem.origin.source.text[problem.origin.highlight()]
    }

    #[test]
    fn only_what_has_no_native_form_goes_through_iptables() {
        let plan = plan(&["-p tcp --dport 80", "-m conntrack --ctorigsrcport 0080 -j DROP", "-p udp"]);
        let auto = encode_plan(&plan, Engine::Auto, &CONTEXT, &no_sets).expect("encodes");
        let iptables = encode_plan(&plan, Engine::Iptables, &CONTEXT, &no_sets).expect("encodes");
        assert_eq!((auto.by_iptables, iptables.by_iptables), (1, 3));
        assert_eq!(auto.tables, iptables.tables);
    }

    #[test]
    fn no_program_is_started_without_need() {
        let plan = plan(&["-p tcp --dport 80 -j ACCEPT"]);
        let encoded = encode_plan(&plan, Engine::Auto, &CONTEXT, &must_not_run).expect("encodes");
        assert_eq!(encoded.by_iptables, 0);
    }

    #[test]
    fn all_that_is_wrong_is_named_whoever_finds_it() {
        let plan = plan(&[
            "-p tcp --dport 99999",
            "-j ACCEPT",
            "-m conntrack --ctorigsrcport nonsense",
            "-m set --match-set nosuch src",
        ]);
        let Err(EncodePlanError::Rules(problems)) = encode_plan(&plan, Engine::Auto, &CONTEXT, &no_sets)
        else {
            panic!("wrong")
        };
        let found: Vec<_> =
            problems.0.iter().map(|problem| (words(problem), problem.message.as_str())).collect();
        assert_eq!(
            found,
            [
                ("99999", "`99999` is not a port from 0 to 65535"),
                (
                    "\"-m conntrack --ctorigsrcport nonsense\"",
                    "iptables refuses the rule: Port \"nonsense\" does not resolve to anything."
                ),
                ("-m set", "there is no set `nosuch`"),
            ]
        );
    }

    #[test]
    fn the_native_engine_alone_says_what_it_lacks() {
        let plan = plan(&["-m conntrack --ctorigsrcport 0080"]);
        let Err(EncodePlanError::Rules(problems)) =
            encode_plan(&plan, Engine::Native, &CONTEXT, &must_not_run)
        else {
            panic!("not encoded")
        };
        assert_eq!(problems.0.len(), 1);
        assert_eq!(words(&problems.0[0]), "--ctorigsrcport 0080");
        assert_eq!(
            problems.0[0].message,
            "`--ctorigsrcport` with a port that is not a plain number is not encoded natively"
        );
    }

    #[test]
    fn where_iptables_fails_the_rule_that_needs_it_is_named() {
        let plan = plan(&["-j ACCEPT", "-m conntrack --ctorigsrcport 0080"]);
        let error =
            encode_plan(&plan, Engine::Auto, &CONTEXT, &must_not_run).expect_err("iptables cannot run");
        assert_eq!(
            error.to_string(),
            "test.fw: `--ctorigsrcport` with a port that is not a plain number is not encoded natively, and iptables failed"
        );
        let source = std::error::Error::source(&error).expect("a source").to_string();
        assert_eq!(source, "cannot make the sets that the rules name in a scratch network namespace");
    }
}
