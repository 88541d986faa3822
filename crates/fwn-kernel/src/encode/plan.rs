//! All rules of a plan encoded by the engine that is asked for, each refusal with the place of its rule.

use std::collections::BTreeMap;

use fwn_plan::config::Engine;
use fwn_plan::origin::Origin;
use fwn_plan::plan::Plan;
use fwn_plan::set::{CreateOptions, SetKind};

use super::iptables::{EncodeError, encode_with_iptables};
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

/// Encodes all rules; the result is parallel to `plan.tables` and their `rules`. `sets` are the indexes that the sets
/// of the rules have in the container's namespace.
///
/// # Errors
/// See [`EncodePlanError`].
pub fn encode_plan(
    plan: &Plan,
    engine: Engine,
    sets: &BTreeMap<String, u16>,
) -> Result<Vec<Vec<EncodedRule>>, EncodePlanError> {
    if plan.tables.iter().all(|half| half.rules.is_empty()) {
        return Ok(plan.tables.iter().map(|_| Vec::new()).collect());
    }
    let _ = engine; // there is one yet
    encode_with_iptables(plan, &|| scratch_sets(sets).map_err(Into::into)).map_err(|error| match error {
        EncodeError::Refused(refusals) => {
            let origins: Vec<_> =
                plan.tables.iter().flat_map(|half| &half.rules).map(|op| &op.origin).collect();
            let mut refused: Vec<RefusedRule> = Vec::new();
            for refusal in refusals {
                let Some(origin) = origins.get(refusal.rule) else { continue };
                let message = in_words(refusal.message);
                // a rule for both families is refused twice, and said once
                if !refused.iter().any(|other| other.origin == **origin && other.message == message) {
                    refused.push(RefusedRule { origin: (*origin).clone(), message });
                }
            }
            EncodePlanError::Refused(refused)
        }
        error => EncodePlanError::Engine(error),
    })
}

/// What iptables says where it was the kernel that refused: `RULE_APPEND failed (Invalid argument): rule in chain X`.
fn in_words(message: String) -> String {
    let reason = message.strip_prefix("RULE_APPEND failed (").and_then(|rest| rest.split_once("): "));
    let Some((reason, _)) = reason else { return message };
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
    format!("the kernel refuses it ({reason}){meaning}")
}

/// Makes sets of these names under these indexes in the namespace of the calling thread. A set match holds no more of
/// its set than the index, so a set of any type stands for it; a list of sets has no family, and so iptables takes it
/// in both halves. Indexes are given lowest free first (`find_free_id`, `net/netfilter/ipset/ip_set_core.c`), so
/// fillers take those between.
fn scratch_sets(sets: &BTreeMap<String, u16>) -> Result<(), SetError> {
    let by_index: BTreeMap<u16, &str> = sets.iter().map(|(name, index)| (*index, name.as_str())).collect();
    let Some(last) = by_index.keys().next_back() else { return Ok(()) };
    let mut client = SetClient::open_here()?;
    for index in 0..=*last {
        let filler = format!("fwn-filler-{index}");
        let name = by_index.get(&index).copied().unwrap_or(&filler);
        client.create_as(name, SetKind::ListSet, None, &CreateOptions::default())?;
    }
    Ok(())
}
