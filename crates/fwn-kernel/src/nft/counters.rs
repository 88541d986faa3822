//! Counters, and what [`super::observe`] leaves out: what came to the policy of a chain, and tables of families that
//! iptables does not know. Only reads.

use std::collections::BTreeMap;

use fwn_plan::netfilter::Family;

use super::constants as c;
use super::decode::decode_expressions;
use super::observe::{NftError, dump};
use crate::netlink::attr::{Attrs, Malformed};
use crate::netlink::message::NFGEN;
use crate::netlink::socket::{NetlinkSocket, SocketError};

/// How often a listing that changed while it was read is read again.
const ATTEMPTS: u32 = 10;

/// Packets and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Counters {
    /// What came since an earlier look; nothing where somebody has reset them.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(earlier.packets),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }
}

/// The counter of a rule, if it has one.
///
/// # Errors
/// The bytes are no list of expressions.
pub fn counters_of(expressions: &[u8]) -> Result<Option<Counters>, Malformed> {
    for expression in decode_expressions(expressions) {
        let expression = expression?;
        if expression.name == "counter" {
            return read(expression.data).map(Some);
        }
    }
    Ok(None)
}

fn read(attrs: Attrs<'_>) -> Result<Counters, Malformed> {
    let mut counters = Counters::default();
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            c::NFTA_COUNTER_PACKETS => counters.packets = attr.be64()?,
            c::NFTA_COUNTER_BYTES => counters.bytes = attr.be64()?,
            _ => {}
        }
    }
    Ok(counters)
}

/// What came to the policies of the base chains that count, by family, table and chain.
///
/// # Errors
/// The kernel cannot be asked.
pub fn policy_counters(
    socket: &mut NetlinkSocket,
) -> Result<BTreeMap<(Family, String, String), Counters>, NftError> {
    let listed = again(|| {
        let mut found = BTreeMap::new();
        dump(socket, c::NFPROTO_UNSPEC, c::NFT_MSG_GETCHAIN, |message| {
            let Some(family) = message.payload.first().copied().and_then(c::family_of) else { return Ok(()) };
            let attrs = message.attrs(NFGEN)?;
            let Some(counters) = attrs.clone().find(c::NFTA_CHAIN_COUNTERS)? else { return Ok(()) };
            let text = |kind| attrs.clone().find(kind)?.ok_or(Malformed)?.string().map(str::to_owned);
            found.insert(
                (family, text(c::NFTA_CHAIN_TABLE)?, text(c::NFTA_CHAIN_NAME)?),
                read(counters.nested())?,
            );
            Ok(())
        })?;
        Ok(found)
    });
    Ok(listed?)
}

/// Tables of other families, as nft names them: `inet filter`.
///
/// # Errors
/// The kernel cannot be asked.
pub fn other_tables(socket: &mut NetlinkSocket) -> Result<Vec<String>, NftError> {
    let mut listed = again(|| {
        let mut found = Vec::new();
        dump(socket, c::NFPROTO_UNSPEC, c::NFT_MSG_GETTABLE, |message| {
            let number = message.payload.first().copied().ok_or(Malformed)?;
            if c::family_of(number).is_none() {
                let name = message.attrs(NFGEN)?.find(c::NFTA_TABLE_NAME)?.ok_or(Malformed)?;
                found.push(format!("{} {}", c::family_word(number), name.string()?));
            }
            Ok(())
        })?;
        Ok(found)
    })?;
    listed.sort();
    Ok(listed)
}

fn again<T>(mut list: impl FnMut() -> Result<T, SocketError>) -> Result<T, SocketError> {
    let mut attempt = 1;
    loop {
        match list() {
            Err(SocketError::Interrupted) if attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}
