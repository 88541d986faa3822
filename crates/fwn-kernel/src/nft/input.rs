//! What becomes of packets for the namespace itself that no rule decides about. Only reads.

use fwn_plan::netfilter::{Families, Policy};

use super::constants as c;
use super::decode::decode_hook;
use super::observe::{NftError, dump};
use crate::netlink::attr::Malformed;
use crate::netlink::message::{Message, NFGEN};
use crate::netlink::socket::NetlinkSocket;

/// `NFPROTO_INET` (`linux/netfilter.h`): both families at once.
const NFPROTO_INET: u8 = 1;
/// `NF_INET_LOCAL_IN` (`linux/netfilter.h`)
const NF_INET_LOCAL_IN: u32 = 1;

/// The families whose packets are dropped on their way in unless a rule accepts them: those with a base chain of type
/// `filter` on the hook `input` whose policy is drop, in `ip`, `ip6` or `inet`, whoever made it. The chains of the
/// older `ip_tables` are not seen.
///
/// # Errors
/// See [`NftError`].
pub fn closed_input(socket: &mut NetlinkSocket) -> Result<Families, NftError> {
    // a table that is switched off keeps its chains, and they drop nothing
    let mut dormant = Vec::new();
    dump(socket, c::NFPROTO_UNSPEC, c::NFT_MSG_GETTABLE, |message| {
        let (mut name, mut flags) = (None, 0);
        for attr in message.attrs(NFGEN)? {
            let attr = attr?;
            match attr.kind {
                c::NFTA_TABLE_NAME => name = Some(attr.string()?.to_owned()),
                c::NFTA_TABLE_FLAGS => flags = attr.be32()?,
                _ => {}
            }
        }
        if flags & c::NFT_TABLE_F_DORMANT != 0 {
            dormant.push((nfproto(message)?, name.ok_or(Malformed)?));
        }
        Ok(())
    })?;
    let mut closed = Families::NONE;
    dump(socket, c::NFPROTO_UNSPEC, c::NFT_MSG_GETCHAIN, |message| {
        let family = nfproto(message)?;
        let families = match family {
            NFPROTO_INET => Families::BOTH,
            other => c::family_of(other).map_or(Families::NONE, Families::only),
        };
        if let Some(table) = dropping_table(message)?
            && !dormant.iter().any(|(of, name)| *of == family && name == table)
        {
            closed = closed.or(families);
        }
        Ok(())
    })?;
    Ok(closed)
}

/// The table of the chain, if the chain drops what comes in.
fn dropping_table<'a>(message: &Message<'a>) -> Result<Option<&'a str>, Malformed> {
    let (mut table, mut hook, mut policy, mut kind) = (None, None, None, None);
    for attr in message.attrs(NFGEN)? {
        let attr = attr?;
        match attr.kind {
            c::NFTA_CHAIN_TABLE => table = Some(attr.string()?),
            c::NFTA_CHAIN_HOOK => hook = Some(decode_hook(attr.nested())?.0),
            c::NFTA_CHAIN_POLICY => policy = c::policy_of(attr.be32()?),
            c::NFTA_CHAIN_TYPE => kind = Some(attr.string()?),
            _ => {}
        }
    }
    let drops = hook == Some(NF_INET_LOCAL_IN) && policy == Some(Policy::Drop) && kind == Some("filter");
    Ok(table.filter(|_| drops))
}

fn nfproto(message: &Message<'_>) -> Result<u8, Malformed> {
    message.payload.first().copied().ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use fwn_testkit::Netns;

    use super::*;
    use crate::netlink::socket::Protocol;

    #[test]
    fn a_family_is_closed_by_a_dropping_chain_on_input() {
        let netns = Netns::new();
        let mut socket = netns.run(|| NetlinkSocket::open(Protocol::Netfilter).expect("a socket"));
        let mut closed = |script: &str| {
            netns.sh(&format!("nft flush ruleset; {script}"));
            closed_input(&mut socket).expect("readable")
        };
        let chain = |table: &str, hook: &str, policy: &str| {
            format!(
                "nft 'add table {table}; add chain {table} c {{ type filter hook {hook} priority 0; policy {policy}; }}'"
            )
        };
        assert_eq!(closed(""), Families::NONE);
        assert_eq!(closed("iptables -P INPUT DROP"), Families::IPV4);
        assert_eq!(closed("iptables -P INPUT DROP; ip6tables -P INPUT DROP"), Families::BOTH);
        assert_eq!(closed("iptables -P FORWARD DROP; iptables -P OUTPUT DROP"), Families::NONE);
        assert_eq!(closed(&chain("ip6 own", "input", "drop")), Families::IPV6);
        assert_eq!(closed(&chain("inet own", "input", "drop")), Families::BOTH);
        assert_eq!(closed(&chain("inet own", "input", "accept")), Families::NONE);
        assert_eq!(closed(&chain("inet own", "output", "drop")), Families::NONE);
        let dormant = "; nft 'add table inet own { flags dormant; }'";
        assert_eq!(closed(&(chain("inet own", "input", "drop") + dormant)), Families::NONE);
    }
}
