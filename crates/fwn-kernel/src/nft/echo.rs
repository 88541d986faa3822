//! What the kernel gives back of a batch: a step that was sent with `NLM_F_ECHO` comes back among the answers to the
//! batch, as it is from then on (`nft_commit_notify`, `net/netfilter/nf_tables_api.c`). Nobody can change anything
//! between the batch and its echo.

use std::collections::BTreeMap;

use super::constants as c;
use super::decode::{BaseHook, decode_chain, decode_rule, decode_table};
use super::digest::digest;
use super::transaction::{Change, Step};
use crate::netlink::attr::Malformed;
use crate::netlink::message::{Message, nfnl_type};

/// The steps of a batch that came back saying what they said when they were sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Echoes {
    /// Handles by the number of the step.
    handles: BTreeMap<usize, u64>,
}

impl Echoes {
    /// Takes an answer to step number `at`. One that says something else, or cannot be read, is as good as none.
    pub(super) fn hear(&mut self, at: usize, step: &Step<'_>, message: &Message<'_>) {
        if let Ok(Some(handle)) = handle_if_same(step, message) {
            self.handles.insert(at, handle);
        }
    }

    /// With these handles, by the number of the step.
    #[cfg(test)]
    pub(crate) fn of(handles: impl IntoIterator<Item = (usize, u64)>) -> Self {
        Self { handles: handles.into_iter().collect() }
    }

    /// The handle of what step number `at` made or changed; `None` if it did not come back, or says something else now.
    pub fn handle(&self, at: usize) -> Option<u64> {
        self.handles.get(&at).copied()
    }
}

fn handle_if_same(step: &Step<'_>, message: &Message<'_>) -> Result<Option<u64>, Malformed> {
    let is = |kind| message.kind == nfnl_type(c::SUBSYSTEM, kind);
    let (same, handle) = match &step.change {
        Change::AddTable { user_data } if is(c::NFT_MSG_NEWTABLE) => {
            let Some(table) = decode_table(message)? else { return Ok(None) };
            let same = (table.family, table.name.as_str()) == (step.family, step.table);
            (same && table.user_data == *user_data, table.handle)
        }
        Change::AddBaseChain { .. } | Change::SetPolicy { .. } | Change::AddChain { .. }
            if is(c::NFT_MSG_NEWCHAIN) =>
        {
            let Some(chain) = decode_chain(message)? else { return Ok(None) };
            let same = match &step.change {
                Change::AddBaseChain { table, hook, policy, user_data, .. } => {
                    chain.name == hook.chain()
                        && chain.hook == Some(BaseHook::of(*table, *hook))
                        && chain.policy == Some(*policy)
                        && chain.user_data == *user_data
                }
                Change::SetPolicy { chain: name, policy } => {
                    chain.name == *name && chain.policy == Some(*policy)
                }
                Change::AddChain { chain: name, user_data } => {
                    chain.name == *name && chain.hook.is_none() && chain.user_data == *user_data
                }
                _ => false,
            };
            (same && (chain.family, chain.table.as_str()) == (step.family, step.table), chain.handle)
        }
        Change::AddRule { chain, sketch, user_data, .. } if is(c::NFT_MSG_NEWRULE) => {
            let Some(rule) = decode_rule(message)? else { return Ok(None) };
            let same = (rule.family, rule.table, rule.chain) == (step.family, step.table, *chain)
                && rule.user_data == user_data.as_slice()
                && digest(rule.expressions)? == sketch.digest;
            (same, rule.handle)
        }
        _ => return Ok(None),
    };
    Ok(same.then_some(handle))
}

#[cfg(test)]
mod tests {
    use fwn_plan::netfilter::{Family, Hook, Policy, Table};

    use super::*;
    use crate::netlink::attr::AttrWriter;
    use crate::netlink::message::MessageReader;
    use crate::nft::EncodedRule;
    use crate::nft::digest::sketch;
    use crate::nft::transaction::{Changes, Place};

    const HANDLE: u64 = 9;

    fn rule() -> EncodedRule {
        let mut expressions = Vec::new();
        let mut writer = AttrWriter::new(&mut expressions);
        for (name, value) in [("cmp", 7), ("payload", 8)] {
            writer.nest(c::NFTA_LIST_ELEM, |element| {
                element.string(c::NFTA_EXPR_NAME, name).nest(c::NFTA_EXPR_DATA, |data| {
                    data.be32(3, value);
                });
            });
        }
        writer.finish().expect("short");
        EncodedRule { compat: None, expressions }
    }

    /// Type and payload of the answer of a kernel that made of `step` what it was told to.
    fn answer(step: &Step<'_>) -> (u16, Vec<u8>) {
        let mut changes = Changes::default();
        changes.steps.push(step.clone());
        let batch = changes.encode(None).expect("short");
        let sent = MessageReader::new(batch.bytes()).nth(1).expect("the step").expect("well formed");
        let handle = match &step.change {
            Change::AddTable { .. } => c::NFTA_TABLE_HANDLE,
            Change::AddRule { .. } => c::NFTA_RULE_HANDLE,
            _ => c::NFTA_CHAIN_HANDLE,
        };
        let mut payload = sent.payload.to_vec();
        let mut writer = AttrWriter::new(&mut payload);
        writer.be64(handle, HANDLE);
        writer.finish().expect("short");
        (sent.kind, payload)
    }

    fn heard(step: &Step<'_>, kind: u16, payload: &[u8]) -> Option<u64> {
        let mut echoes = Echoes::default();
        echoes.hear(4, step, &Message { kind, flags: 0, sequence: 5, payload });
        assert_eq!(echoes.handle(3), None);
        echoes.handle(4)
    }

    #[test]
    fn only_what_says_the_same_counts() {
        let rule = rule();
        let sketch = sketch(&rule.expressions).expect("well formed");
        let (family, table, user_data) = (Family::Ipv6, "raw", vec![1, 2, 3, 4]);
        let changes = [
            // and how many bytes say nothing
            (Change::AddTable { user_data: user_data.clone() }, 0),
            (
                Change::AddBaseChain {
                    table: Table::Raw,
                    hook: Hook::Output,
                    policy: Policy::Drop,
                    counters: false,
                    user_data: user_data.clone(),
                },
                // `OUTPUT`, `filter`: what pads them, and a length without the NUL
                4,
            ),
            (Change::AddChain { chain: "weblogs", user_data: user_data.clone() }, 0),
            // `payload` has eight bytes with its NUL, `cmp` four
            (Change::AddRule { chain: "weblogs", place: Place::Append, rule: &rule, sketch, user_data }, 0),
        ];
        for (change, silent) in changes {
            let step = Step { family, table, change, origin: None, echo: true };
            let (kind, payload) = answer(&step);
            assert_eq!(heard(&step, kind, &payload), Some(HANDLE), "{step}");
            let unnoticed: Vec<_> = (0..payload.len())
                .filter(|at| {
                    let mut other = payload.clone();
                    other[*at] ^= 1;
                    heard(&step, kind, &other) == Some(HANDLE)
                })
                .collect();
            // of `struct nfgenmsg` the family alone says something
            assert_eq!(unnoticed[..3], [1, 2, 3], "{step}");
            assert_eq!(unnoticed.len(), 3 + silent, "{step}: {unnoticed:?} of {payload:?}");
            for length in 0..payload.len() {
                assert_eq!(heard(&step, kind, &payload[..length]), None, "{step}: {length} bytes");
            }
            assert_eq!(heard(&step, kind ^ 1, &payload), None, "{step}: another type");
        }
    }

    /// Of a chain that is there already, the policy is all that was sent.
    #[test]
    fn a_policy_is_heard_with_all_of_its_chain() {
        let answered = |wanted, name: &str, policy| {
            let change = Change::SetPolicy { chain: "OUTPUT", policy: wanted };
            let step = Step { family: Family::Ipv4, table: "filter", change, origin: None, echo: true };
            let mut payload = vec![c::nfproto(Family::Ipv4), 0, 0, 0];
            let mut writer = AttrWriter::new(&mut payload);
            writer.string(c::NFTA_CHAIN_TABLE, "filter").string(c::NFTA_CHAIN_NAME, name);
            writer.be64(c::NFTA_CHAIN_HANDLE, HANDLE).be32(c::NFTA_CHAIN_POLICY, c::verdict(policy));
            writer.finish().expect("short");
            heard(&step, nfnl_type(c::SUBSYSTEM, c::NFT_MSG_NEWCHAIN), &payload)
        };
        assert_eq!(answered(Policy::Drop, "OUTPUT", Policy::Drop), Some(HANDLE));
        assert_eq!(answered(Policy::Drop, "OUTPUT", Policy::Accept), None);
        assert_eq!(answered(Policy::Drop, "INPUT", Policy::Drop), None);
    }

    #[test]
    fn what_deletes_is_not_given_back() {
        let change = Change::DeleteRule { chain: "weblogs", handle: HANDLE };
        let step = Step { family: Family::Ipv4, table: "raw", change, origin: None, echo: true };
        let (kind, payload) = answer(&step);
        assert_eq!(heard(&step, kind, &payload), None);
    }
}
