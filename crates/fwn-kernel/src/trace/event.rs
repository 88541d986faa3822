//! What the kernel tells of a traced packet (`NFT_MSG_TRACE`), bytes to types: arbitrary bytes come in; an error or
//! plain data goes out.

use crate::netlink::attr::{Attrs, Malformed};
use crate::netlink::message::{Message, NFGEN};
use crate::nft::constants as c;

// enum nft_trace_attributes
const NFTA_TRACE_TABLE: u16 = 1;
const NFTA_TRACE_CHAIN: u16 = 2;
const NFTA_TRACE_RULE_HANDLE: u16 = 3;
const NFTA_TRACE_TYPE: u16 = 4;
const NFTA_TRACE_VERDICT: u16 = 5;
const NFTA_TRACE_POLICY: u16 = 16;
// enum nft_trace_types
const NFT_TRACETYPE_POLICY: u32 = 1;
const NFT_TRACETYPE_RETURN: u32 = 2;
const NFT_TRACETYPE_RULE: u32 = 3;
// enum nft_verdicts, beside those of netfilter
const NFT_CONTINUE: u32 = (-1_i32).cast_unsigned();
const NFT_JUMP: u32 = (-3_i32).cast_unsigned();
const NFT_GOTO: u32 = (-4_i32).cast_unsigned();
const NFT_RETURN: u32 = (-5_i32).cast_unsigned();
/// The number of a queue stands in the upper half (`NF_VERDICT_MASK`, `linux/netfilter.h`).
const VERDICT_MASK: u32 = 0xff;

/// A step of a packet on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceEvent {
    /// Family of the table (`NFPROTO_*`): 1 is `inet`.
    pub family: u8,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// What happened there.
    pub kind: EventKind,
    /// What came of it.
    pub verdict: Verdict,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// All of the rule with this handle matched.
    Rule(u64),
    /// The end of a user chain was reached.
    Return,
    /// The end of a base chain was reached: its policy counts.
    Policy,
}

/// What comes of a rule or a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The packet may go on, past the rest of the chain.
    Accept,
    /// It is gone.
    Drop,
    /// The next rule is looked at.
    Continue,
    /// Back to the chain that jumped here.
    Return,
    /// On to this chain, and back after it.
    Jump(String),
    /// On to this chain, without coming back.
    Goto(String),
    /// Something else took it: a queue, for one.
    Other(u32),
}

/// Reads a step (`NFT_MSG_TRACE`); `None` for the mark at the end of a chain, before what follows from it.
///
/// # Errors
/// The message is cut short, or lacks what every step has.
pub fn decode_trace(message: &Message<'_>) -> Result<Option<TraceEvent>, Malformed> {
    let family = *message.payload.first().ok_or(Malformed)?;
    let (mut table, mut chain, mut handle, mut kind) = (None, None, None, None);
    let (mut verdict, mut policy) = (None, None);
    for attr in message.attrs(NFGEN)? {
        let attr = attr?;
        match attr.kind {
            NFTA_TRACE_TABLE => table = Some(attr.string()?.to_owned()),
            NFTA_TRACE_CHAIN => chain = Some(attr.string()?.to_owned()),
            NFTA_TRACE_RULE_HANDLE => handle = Some(attr.be64()?),
            NFTA_TRACE_TYPE => kind = Some(attr.be32()?),
            NFTA_TRACE_VERDICT => verdict = Some(decode_verdict(attr.nested())?),
            NFTA_TRACE_POLICY => policy = Some(plain_verdict(attr.be32()?)),
            _ => {}
        }
    }
    let (Some(table), Some(chain), Some(kind)) = (table, chain, kind) else { return Err(Malformed) };
    let (kind, verdict) = match (kind, handle) {
        (NFT_TRACETYPE_RULE, Some(handle)) => (EventKind::Rule(handle), verdict),
        (NFT_TRACETYPE_RULE, None) => return Ok(None),
        (NFT_TRACETYPE_RETURN, _) => (EventKind::Return, Some(verdict.unwrap_or(Verdict::Return))),
        (NFT_TRACETYPE_POLICY, _) => (EventKind::Policy, policy),
        _ => return Err(Malformed),
    };
    Ok(Some(TraceEvent { family, table, chain, kind, verdict: verdict.ok_or(Malformed)? }))
}

fn decode_verdict(attrs: Attrs<'_>) -> Result<Verdict, Malformed> {
    let code = attrs.clone().find(c::NFTA_VERDICT_CODE)?.ok_or(Malformed)?.be32()?;
    let chain =
        attrs.find(c::NFTA_VERDICT_CHAIN)?.map(|chain| chain.string().map(str::to_owned)).transpose()?;
    Ok(match (code, chain) {
        (NFT_JUMP, Some(chain)) => Verdict::Jump(chain),
        (NFT_GOTO, Some(chain)) => Verdict::Goto(chain),
        (code, _) => plain_verdict(code),
    })
}

fn plain_verdict(code: u32) -> Verdict {
    match code {
        NFT_CONTINUE => Verdict::Continue,
        NFT_RETURN => Verdict::Return,
        code => match code & VERDICT_MASK {
            0 => Verdict::Drop,
            1 => Verdict::Accept,
            _ => Verdict::Other(code & VERDICT_MASK),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_panics(payload in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = decode_trace(&Message { kind: 0, flags: 0, sequence: 0, payload: &payload });
        }
    }
}
