//! A trace and the counters of the rules tell of the same packet; where they do not agree, neither is believed.

use std::collections::BTreeMap;

use super::event::{EventKind, TraceEvent};
use super::lab::{Journey, LabError};
use super::rules::{ChainId, ListedRule};
use crate::nft::counters::counters_of;
use crate::nft::decode::decode_expressions;

/// Compares what the counters of the rules moved by with the steps of a trace.
///
/// # Errors
/// [`LabError::Disagree`]
pub fn cross_check(
    journey: &Journey,
    before: &BTreeMap<ChainId, Vec<ListedRule>>,
    after: &BTreeMap<ChainId, Vec<ListedRule>>,
) -> Result<(), LabError> {
    for (id, rules) in after {
        for (at, rule) in rules.iter().enumerate() {
            let old = before.get(id).and_then(|rules| rules.get(at));
            let packets =
                |rule: &ListedRule| counters_of(&rule.expressions).ok().flatten().map(|c| c.packets);
            let (Some(old), Some(new)) = (old.and_then(packets), packets(rule)) else { continue };
            let matched = |event: &&TraceEvent| {
                event.kind == EventKind::Rule(rule.handle)
                    && (event.family, event.table.as_str(), event.chain.as_str()) == (id.0, &id.1, &id.2)
            };
            let traced = journey.events.iter().filter(matched).count() as u64;
            let counted = new.saturating_sub(old);
            // nft lets people count before everything is compared
            if counted < traced || (counted > traced && counts_matches(&rule.expressions)) {
                return Err(LabError::Disagree { position: at + 1, chain: id.2.clone(), traced, counted });
            }
        }
    }
    Ok(())
}

/// Whether all that a rule compares stands before its counter, as in every rule of iptables.
fn counts_matches(expressions: &[u8]) -> bool {
    let rest =
        decode_expressions(expressions).flatten().skip_while(|expression| expression.name != "counter");
    rest.skip(1).all(|expression| ["immediate", "target", "reject", "log"].contains(&expression.name))
}
