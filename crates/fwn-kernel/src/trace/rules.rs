//! All rules of a namespace, of every family, as the kernel lists them: to know a rule again by its place. Only reads.

use std::collections::BTreeMap;

use crate::netlink::attr::Malformed;
use crate::netlink::message::NFGEN;
use crate::netlink::socket::{NetlinkSocket, SocketError};
use crate::nft::constants as c;
use crate::nft::observe::dump;

/// Where a chain is: family (`NFPROTO_*`), table and name.
pub type ChainId = (u8, String, String);

/// A rule as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRule {
    /// Its handle.
    pub handle: u64,
    /// The list of its expressions.
    pub expressions: Vec<u8>,
}

/// The rules of each chain, in order.
///
/// # Errors
/// The kernel cannot be asked; [`SocketError::Interrupted`] where somebody changed them meanwhile.
pub(super) fn list_rules(
    socket: &mut NetlinkSocket,
) -> Result<BTreeMap<ChainId, Vec<ListedRule>>, SocketError> {
    let mut chains: BTreeMap<ChainId, Vec<ListedRule>> = BTreeMap::new();
    dump(socket, c::NFPROTO_UNSPEC, c::NFT_MSG_GETRULE, |message| {
        let family = *message.payload.first().ok_or(Malformed)?;
        let attrs = message.attrs(NFGEN)?;
        let text = |kind| attrs.clone().find(kind)?.ok_or(Malformed)?.string().map(str::to_owned);
        let chain = (family, text(c::NFTA_RULE_TABLE)?, text(c::NFTA_RULE_CHAIN)?);
        let handle = attrs.clone().find(c::NFTA_RULE_HANDLE)?.ok_or(Malformed)?.be64()?;
        let expressions = attrs.find(c::NFTA_RULE_EXPRESSIONS)?.map(|attr| attr.value.to_vec());
        let rule = ListedRule { handle, expressions: expressions.unwrap_or_default() };
        chains.entry(chain).or_default().push(rule);
        Ok(())
    })?;
    Ok(chains)
}
