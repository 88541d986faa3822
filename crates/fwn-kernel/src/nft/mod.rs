//! nf_tables: what is there ([`observe`], [`input`]), what it says ([`decode`], [`digest`]), and one batch of changes
//! ([`transaction`]) with what the kernel made of them ([`echo`]). Knows nothing of attachments, plans or the syntax of rules.

pub mod constants;
pub mod counters;
pub mod decode;
pub mod describe;
pub mod digest;
pub mod echo;
pub mod input;
pub mod observe;
pub mod transaction;
mod word_hash;

/// A rule in the kernel's bytes, wherever they come from: encoded natively, or read back from what
/// `iptables-nft-restore` made elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EncodedRule {
    /// `NFTA_RULE_COMPAT`: protocol and flags, which xt matches and targets are checked against. The kernel
    /// never gives it back.
    pub compat: Option<(u32, u32)>,
    /// Payload of `NFTA_RULE_EXPRESSIONS`: the list of `NFTA_LIST_ELEM`.
    pub expressions: Vec<u8>,
}
