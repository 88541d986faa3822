//! All rules of a plan encoded by the engine that is asked for, each refusal with the place of its rule. Natively as
//! far as that goes; what has no native form is encoded by iptables.

use std::collections::BTreeMap;

use fwn_plan::config::Engine;
use fwn_plan::netfilter::Family;
use fwn_plan::origin::Origin;
use fwn_plan::plan::Plan;
use fwn_plan::rule::databases::Databases;
use fwn_plan::set::{CreateOptions, SetKind};

use super::iptables::{EncodeError, RuleInput, encode_rules, plan_rules};
use super::native::{NativeContext, NativeError, encode_native};
use crate::ipset::{SetClient, SetError};
use crate::nft::EncodedRule;

/// Why the rules of a plan could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodePlanError {
    /// Rules were refused: all of them, up to a limit.
    #[error("{}", join(.0))]
    Refused(Vec<RefusedRule>),
    /// Encoding itself failed.
    #[error(transparent)]
    Engine(#[from] EncodeError),
}

/// A rule that an engine refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRule {
    /// Where it was written.
    pub origin: Origin,
    /// Why.
    pub message: String,
}

fn join(refused: &[RefusedRule]) -> String {
    let lines: Vec<_> = refused.iter().map(|rule| format!("{}: {}", rule.origin, rule.message)).collect();
    lines.join("; ")
}

/// What the encoding of a plan depends on, beside the plan.
#[derive(Clone, Copy)]
pub struct EncodeContext<'a> {
    /// Who encodes.
    pub engine: Engine,
    /// Names for numbers.
    pub databases: &'a dyn Databases,
    /// Indexes that the sets of the rules have in the container's namespace.
    pub sets: &'a BTreeMap<String, u16>,
}

/// Encodes all rules; the result is parallel to `plan.tables` and their `rules`.
///
/// # Errors
/// See [`EncodePlanError`].
pub fn encode_plan(
    plan: &Plan,
    context: &EncodeContext<'_>,
) -> Result<Vec<Vec<EncodedRule>>, EncodePlanError> {
    let rules = plan_rules(plan);
    let origins: Vec<&Origin> =
        plan.tables.iter().flat_map(|half| &half.rules).map(|op| &op.origin).collect();
    let mut refused = Refused::default();
    let mut encoded: Vec<Option<EncodedRule>> = Vec::with_capacity(rules.len());
    for (input, origin) in rules.iter().zip(&origins) {
        encoded.push(encode_one(input, origin, context, &mut refused));
    }
    if !refused.0.is_empty() {
        return Err(EncodePlanError::Refused(refused.0));
    }
    let foreign: Vec<usize> = (0..rules.len()).filter(|index| encoded[*index].is_none()).collect();
    if !foreign.is_empty() {
        let inputs: Vec<_> = foreign.iter().map(|index| rules[*index]).collect();
        let made = encode_rules(&inputs, &|| scratch_sets(context.sets).map_err(Into::into));
        let made = made.map_err(|error| match error {
            EncodeError::Refused(refusals) => {
                for refusal in refusals {
                    let origin = foreign.get(refusal.rule).and_then(|index| origins.get(*index));
                    refused.extend(origin.map(|origin| (*origin).clone()), refusal.message);
                }
                EncodePlanError::Refused(std::mem::take(&mut refused.0))
            }
            error => EncodePlanError::Engine(error),
        })?;
        for (index, rule) in foreign.into_iter().zip(made) {
            encoded[index] = Some(rule);
        }
    }
    let mut encoded = encoded.into_iter().flatten();
    Ok(plan.tables.iter().map(|half| encoded.by_ref().take(half.rules.len()).collect()).collect())
}

/// A rule in native form; `None` where iptables is to encode it, or it is refused.
fn encode_one(
    input: &RuleInput<'_>,
    origin: &Origin,
    context: &EncodeContext<'_>,
    refused: &mut Refused,
) -> Option<EncodedRule> {
    if context.engine == Engine::Iptables {
        return None;
    }
    let set_index = |name: &str| context.sets.get(name).copied();
    let native = NativeContext { databases: context.databases, set_index: &set_index };
    match encode_native(input.rule, input.family, &native) {
        Ok(rule) => return Some(rule),
        Err(NativeError::NotEncoded { what, span }) if context.engine == Engine::Native => {
            let message = format!("{what} is not encoded natively, and `engine` leaves no other");
            refused.extend(Some(origin.with_span(span)), message);
        }
        Err(NativeError::NotEncoded { what, .. }) => {
            log::info!("{origin}: iptables encodes this rule, because {what} is not encoded natively");
        }
        Err(NativeError::Wrong(problem)) => {
            let hint = problem.hint.map(|hint| format!("; hint: {hint}")).unwrap_or_default();
            refused.extend(Some(origin.with_span(problem.span)), problem.message + &hint);
        }
        Err(NativeError::NoSet { name, span }) => {
            refused.extend(Some(origin.with_span(span)), format!("set `{name}` does not exist"));
        }
    }
    None
}

/// Refusals, each said once: a rule for both families is refused twice.
#[derive(Debug, Default)]
struct Refused(Vec<RefusedRule>);

impl Refused {
    fn extend(&mut self, origin: Option<Origin>, message: String) {
        let refused = origin.map(|origin| RefusedRule { origin, message });
        self.0.extend(refused.filter(|new| !self.0.contains(new)));
    }
}

/// Makes sets of these names under these indexes in the namespace of the calling thread. A set match holds no more of
/// its set than the index, so a set of any type stands for it. Indexes are given lowest free first
/// (`find_free_id`, `net/netfilter/ipset/ip_set_core.c`), so fillers take those between.
fn scratch_sets(sets: &BTreeMap<String, u16>) -> Result<(), SetError> {
    let by_index: BTreeMap<u16, &str> = sets.iter().map(|(name, index)| (*index, name.as_str())).collect();
    let Some(last) = by_index.keys().next_back() else { return Ok(()) };
    let mut client = SetClient::open_here()?;
    for index in 0..=*last {
        let filler = format!("fwn-filler-{index}");
        let name = by_index.get(&index).copied().unwrap_or(&filler);
        client.create_as(name, SetKind::HashIp, Some(Family::Ipv4), &CreateOptions::default())?;
    }
    Ok(())
}
