//! What is in force, as far as a firewall has to know it: of every rule whose it is, its digest, and where it leads.
//! Its bytes are looked at where they were received, and not kept unless somebody wants to show them.

use super::owner::{OwnerId, decode_owner};
use crate::netlink::socket::NetlinkSocket;
use crate::nft::decode::{RuleMessage, Verdict};
use crate::nft::digest::{Digest, digest_with};
use crate::nft::observe::{self, NftError, observe_as};

/// All that is in force in a namespace.
pub type Ruleset = observe::Ruleset<ObservedRule>;
/// A table.
pub type ObservedTable = observe::ObservedTable<ObservedRule>;
/// A chain.
pub type ObservedChain = observe::ObservedChain<ObservedRule>;

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedRule {
    /// Its handle: unique in its table, and greater than those of all rules made before it.
    pub handle: u64,
    /// Whose it is, and which of that one's, if it carries a mark.
    pub mark: Option<(OwnerId, u32)>,
    /// What it says; `None` where that cannot be read.
    pub digest: Option<Digest>,
    /// The chain that it jumps or goes to.
    pub jump: Option<String>,
    /// Whether it may let a packet through; what cannot be read may.
    pub accepts: bool,
    /// The list of its expressions, where it was asked for; else empty.
    pub expressions: Vec<u8>,
}

impl From<RuleMessage<'_>> for ObservedRule {
    fn from(rule: RuleMessage<'_>) -> Self {
        let mut verdict = None;
        let digest = digest_with(rule.expressions, |expression| {
            verdict = verdict.or(expression.verdict()?);
            Ok(())
        });
        Self {
            handle: rule.handle,
            mark: decode_owner(rule.user_data),
            jump: verdict.and_then(|verdict| verdict.chain).map(str::to_owned),
            accepts: digest.is_err() || verdict.is_some_and(Verdict::accepts),
            digest: digest.ok(),
            expressions: Vec::new(),
        }
    }
}

impl ObservedRule {
    /// Which rule of this owner it is, if it carries that one's mark.
    pub(super) fn ordinal_of(&self, owner: OwnerId) -> Option<u32> {
        self.mark.filter(|(id, _)| *id == owner).map(|(_, ordinal)| ordinal)
    }

    /// Whether it carries the mark of this owner.
    pub(super) fn is_of(&self, owner: OwnerId) -> bool {
        self.ordinal_of(owner).is_some()
    }
}

impl ObservedTable {
    /// The greatest handle of a rule; 0 if there is none.
    pub(super) fn last_handle(&self) -> u64 {
        self.rules().map(|rule| rule.handle).max().unwrap_or(0)
    }
}

/// Reads all that is in force in the namespace of `socket` (protocol `Netfilter`).
///
/// # Errors
/// See [`NftError`].
pub fn observe(socket: &mut NetlinkSocket) -> Result<Ruleset, NftError> {
    observe_as(socket, None, |rule| rule.into())
}

/// The same where it should be in this generation.
///
/// # Errors
/// See [`NftError`].
pub(super) fn observe_in(socket: &mut NetlinkSocket, generation: u32) -> Result<Ruleset, NftError> {
    observe_as(socket, Some(generation), |rule| rule.into())
}

/// The same, with the expressions of every rule.
///
/// # Errors
/// See [`NftError`].
pub(super) fn observe_verbatim(socket: &mut NetlinkSocket) -> Result<Ruleset, NftError> {
    observe_as(socket, None, |rule| ObservedRule { expressions: rule.expressions.to_vec(), ..rule.into() })
}
