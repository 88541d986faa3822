//! The list of a rule's expressions (`linux/netfilter/nf_tables.h`), written in the order and form in which the
//! kernel gives it back, so that what was sent can be compared with what is there. Everything goes through
//! register 1, as iptables does it.

use super::info::Info;
use crate::netlink::attr::align;
use crate::nft::constants::{
    NFTA_COUNTER_BYTES, NFTA_COUNTER_PACKETS, NFTA_DATA_VERDICT, NFTA_EXPR_DATA, NFTA_EXPR_NAME,
    NFTA_IMMEDIATE_DATA, NFTA_LIST_ELEM, NFTA_VERDICT_CHAIN,
};

/// `NFT_REG_VERDICT`
const VERDICT: u32 = 0;
/// `NFT_REG_1`
const REGISTER: u32 = 1;
/// `NFT_REG32_01`
const TRACE_REGISTER: u32 = 9;
/// `NFTA_DATA_VALUE`
const DATA_VALUE: u16 = 1;

/// `enum nft_meta_keys`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meta {
    Mark = 3,
    InInterface = 6,
    OutInterface = 7,
    Trace = 12,
    Protocol = 16,
}

/// `enum nft_payload_bases`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    Network = 1,
    Transport = 2,
}

/// `enum nft_cmp_ops`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal = 0,
    NotEqual = 1,
    LessOrEqual = 3,
    Greater = 4,
}

impl Operator {
    /// Equal, or not equal where a `!` stood.
    pub(super) fn equal_unless(negated: bool) -> Self {
        if negated { Self::NotEqual } else { Self::Equal }
    }
}

/// What a rule ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    Accept,
    Drop,
    Return,
    Jump(&'a str),
    Goto(&'a str),
}

/// Appends expressions.
#[derive(Debug)]
pub(super) struct Expressions {
    bytes: Vec<u8>,
}

impl Expressions {
    /// An empty list, with room for a common rule.
    pub(super) fn new() -> Self {
        Self { bytes: Vec::with_capacity(512) }
    }

    /// The payload of `NFTA_RULE_EXPRESSIONS`.
    pub(super) fn finish(mut self) -> Vec<u8> {
        // there can be thousands
        self.bytes.shrink_to_fit();
        self.bytes
    }

    /// Loads a property of the packet.
    pub(super) fn meta(&mut self, key: Meta) {
        self.expression("meta", |it| {
            it.be32(2, key as u32); // NFTA_META_KEY
            it.be32(1, REGISTER); // NFTA_META_DREG
        });
    }

    /// Loads bytes of a header.
    pub(super) fn payload(&mut self, base: Base, offset: u32, length: usize) {
        self.expression("payload", |it| {
            it.be32(1, REGISTER); // NFTA_PAYLOAD_DREG
            it.be32(2, base as u32); // NFTA_PAYLOAD_BASE
            it.be32(3, offset); // NFTA_PAYLOAD_OFFSET
            it.be32(4, length as u32); // NFTA_PAYLOAD_LEN
        });
    }

    /// Clears all bits but those of `mask`.
    pub(super) fn bitwise(&mut self, mask: &[u8]) {
        self.expression("bitwise", |it| {
            it.be32(1, REGISTER); // NFTA_BITWISE_SREG
            it.be32(2, REGISTER); // NFTA_BITWISE_DREG
            it.be32(3, mask.len() as u32); // NFTA_BITWISE_LEN
            it.be32(6, 0); // NFTA_BITWISE_OP: NFT_BITWISE_MASK_XOR
            it.nest(4, |it| it.bytes(DATA_VALUE, mask)); // NFTA_BITWISE_MASK
            it.nest(5, |it| it.bytes(DATA_VALUE, &vec![0; mask.len()])); // NFTA_BITWISE_XOR
        });
    }

    /// Goes on if what was loaded compares so.
    pub(super) fn compare(&mut self, operator: Operator, data: &[u8]) {
        self.expression("cmp", |it| {
            it.be32(1, REGISTER); // NFTA_CMP_SREG
            it.be32(2, operator as u32); // NFTA_CMP_OP
            it.nest(3, |it| it.bytes(DATA_VALUE, data)); // NFTA_CMP_DATA
        });
    }

    /// Goes on if what was loaded is between the two, or is not.
    pub(super) fn range(&mut self, negated: bool, first: &[u8], last: &[u8]) {
        self.expression("range", |it| {
            it.be32(1, REGISTER); // NFTA_RANGE_SREG
            it.be32(2, u32::from(negated)); // NFTA_RANGE_OP: NFT_RANGE_EQ, NFT_RANGE_NEQ
            it.nest(3, |it| it.bytes(DATA_VALUE, first)); // NFTA_RANGE_FROM_DATA
            it.nest(4, |it| it.bytes(DATA_VALUE, last)); // NFTA_RANGE_TO_DATA
        });
    }

    /// Goes on if no more than `rate` packets came in `seconds`, `burst` of them at once.
    pub(super) fn limit(&mut self, rate: u64, seconds: u64, burst: u32) {
        self.expression("limit", |it| {
            it.bytes(1, &rate.to_be_bytes()); // NFTA_LIMIT_RATE
            it.bytes(2, &seconds.to_be_bytes()); // NFTA_LIMIT_UNIT
            it.be32(3, burst); // NFTA_LIMIT_BURST
            it.be32(4, 0); // NFTA_LIMIT_TYPE: NFT_LIMIT_PKTS
            it.be32(5, 0); // NFTA_LIMIT_FLAGS
        });
    }

    /// Counts, from nothing.
    pub(super) fn counter(&mut self) {
        self.expression("counter", |it| {
            it.bytes(NFTA_COUNTER_BYTES, &[0; 8]);
            it.bytes(NFTA_COUNTER_PACKETS, &[0; 8]);
        });
    }

    /// Ends the rule for packets that got here.
    pub(super) fn verdict(&mut self, verdict: Verdict<'_>) {
        let (code, chain) = match verdict {
            Verdict::Drop => (0, None),                // NF_DROP
            Verdict::Accept => (1, None),              // NF_ACCEPT
            Verdict::Jump(chain) => (-3, Some(chain)), // NFT_JUMP
            Verdict::Goto(chain) => (-4, Some(chain)), // NFT_GOTO
            Verdict::Return => (-5_i32, None),         // NFT_RETURN
        };
        self.expression("immediate", |it| {
            it.be32(1, VERDICT); // NFTA_IMMEDIATE_DREG
            it.nest(NFTA_IMMEDIATE_DATA, |it| {
                it.nest(NFTA_DATA_VERDICT, |it| {
                    it.be32(1, code.cast_unsigned()); // NFTA_VERDICT_CODE
                    if let Some(chain) = chain {
                        it.string(NFTA_VERDICT_CHAIN, chain);
                    }
                });
            });
        });
    }

    /// Marks the packet as one to be traced.
    pub(super) fn trace(&mut self) {
        self.expression("immediate", |it| {
            it.be32(1, TRACE_REGISTER); // NFTA_IMMEDIATE_DREG
            it.nest(NFTA_IMMEDIATE_DATA, |it| it.bytes(DATA_VALUE, &[1]));
        });
        self.expression("meta", |it| {
            it.be32(2, Meta::Trace as u32); // NFTA_META_KEY
            it.be32(3, TRACE_REGISTER); // NFTA_META_SREG
        });
    }

    /// Hands the packet to a log group.
    pub(super) fn log(&mut self, group: u16, prefix: &str, size: Option<u32>, threshold: u16) {
        self.expression("log", |it| {
            if !prefix.is_empty() {
                it.string(2, prefix); // NFTA_LOG_PREFIX
            }
            it.bytes(1, &group.to_be_bytes()); // NFTA_LOG_GROUP
            if let Some(size) = size {
                it.be32(3, size); // NFTA_LOG_SNAPLEN
            }
            if threshold > 0 {
                it.bytes(4, &threshold.to_be_bytes()); // NFTA_LOG_QTHRESHOLD
            }
        });
    }

    /// A match of x_tables (`linux/netfilter/nf_tables_compat.h`).
    pub(super) fn xt_match(&mut self, name: &str, revision: u32, info: &Info) {
        self.extension("match", name, revision, info);
    }

    /// A target of x_tables.
    pub(super) fn xt_target(&mut self, name: &str, revision: u32, info: &Info) {
        self.extension("target", name, revision, info);
    }

    fn extension(&mut self, kind: &str, name: &str, revision: u32, info: &Info) {
        self.expression(kind, |it| {
            it.string(1, name); // NFTA_MATCH_NAME, NFTA_TARGET_NAME
            it.be32(2, revision); // NFTA_MATCH_REV, NFTA_TARGET_REV
            it.bytes(3, info.bytes()); // NFTA_MATCH_INFO, NFTA_TARGET_INFO
        });
    }

    fn expression(&mut self, name: &str, data: impl FnOnce(&mut Self)) {
        self.nest(NFTA_LIST_ELEM, |it| {
            it.string(NFTA_EXPR_NAME, name);
            it.nest(NFTA_EXPR_DATA, data);
        });
    }

    // nests without `NLA_F_NESTED`: nf_tables neither asks for the flag nor sets it

    fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        fill(self);
        // the longest expression has an info of some 2000 bytes
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.pad();
    }

    fn header(&mut self, kind: u16, length: usize) {
        let mut header = [0; 4];
        header[..2].copy_from_slice(&((4 + length) as u16).to_ne_bytes());
        header[2..].copy_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&header);
    }

    fn pad(&mut self) {
        const PADDING: [u8; 3] = [0; 3];
        let missing = align(self.bytes.len()) - self.bytes.len();
        self.bytes.extend_from_slice(&PADDING[..missing]);
    }

    fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.header(kind, value.len());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    fn string(&mut self, kind: u16, value: &str) {
        self.header(kind, value.len() + 1);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    fn be32(&mut self, kind: u16, value: u32) {
        // one copy of eight bytes: rules have dozens of these
        let mut attribute = [0; 8];
        attribute[..2].copy_from_slice(&8_u16.to_ne_bytes());
        attribute[2..4].copy_from_slice(&kind.to_ne_bytes());
        attribute[4..].copy_from_slice(&value.to_be_bytes());
        self.bytes.extend_from_slice(&attribute);
    }
}
