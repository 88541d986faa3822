//! The first and the last chain of a scratch namespace: the first lets nothing through but the packet that is asked
//! about, and has it traced; the last takes it when all others have let it pass, so that nothing answers it.

use fwn_plan::packet::IDENT;

use crate::netlink::attr::{AttrWriter, Malformed};
use crate::netlink::message::{Messages, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, nfnl_type};
use crate::netlink::socket::{NetlinkSocket, SocketError};
use crate::nft::constants as c;

/// The table; nobody else is in the namespace.
pub(super) const TABLE: &str = "fwn-guard";
/// Chains: where, its hook (`enum nf_inet_hooks`), and whether it is a first one.
const CHAINS: [(&str, u32, bool); 4] =
    [("first-in", 0, true), ("first-out", 3, true), ("last-in", 1, false), ("last-out", 4, false)];
/// Before defragmentation and connection tracking, and after everything.
const FIRST: i32 = i32::MIN + 1;
const LAST: i32 = i32::MAX;

/// `NFT_REG_1`
const REGISTER: u32 = 1;
/// `NFT_META_MARK`, `NFT_META_NFTRACE`
const META_MARK: u32 = 3;
const META_TRACE: u32 = 12;
/// `NFT_CMP_NEQ`
const NOT_EQUAL: u32 = 1;
/// `NF_DROP`
const DROP: u32 = 0;

/// Whether a chain of [`TABLE`] is a last one.
pub(super) fn is_last(chain: &str) -> bool {
    CHAINS.iter().any(|(name, _, first)| *name == chain && !first)
}

/// Makes the chains anew. Packets that come in get `mark`, where it is not 0.
///
/// # Errors
/// The kernel refuses.
pub(super) fn install(socket: &mut NetlinkSocket, mark: u32, again: bool) -> Result<(), SocketError> {
    let mut messages = Messages::default();
    fill(&mut messages, mark, again).map_err(|_| Malformed)?;
    socket.commit(&mut messages, |_, _| ())
}

fn fill(messages: &mut Messages, mark: u32, again: bool) -> Result<(), crate::netlink::attr::TooLong> {
    // struct nfgenmsg: AF_UNSPEC, version 0, and the subsystem that the batch is for
    let batch = [0, 0, 0, c::SUBSYSTEM];
    messages.push(c::NFNL_MSG_BATCH_BEGIN, 0, &batch, |_| ())?;
    for family in [2, 10] {
        let fixed = [family, 0, 0, 0];
        if again {
            messages.push(nfnl_type(c::SUBSYSTEM, c::NFT_MSG_DELTABLE), 0, &fixed, |attrs| {
                attrs.string(c::NFTA_TABLE_NAME, TABLE);
            })?;
        }
        let create = NLM_F_CREATE | NLM_F_EXCL;
        messages.push(nfnl_type(c::SUBSYSTEM, c::NFT_MSG_NEWTABLE), create, &fixed, |attrs| {
            attrs.string(c::NFTA_TABLE_NAME, TABLE);
        })?;
        for (name, hook, first) in CHAINS {
            messages.push(nfnl_type(c::SUBSYSTEM, c::NFT_MSG_NEWCHAIN), create, &fixed, |attrs| {
                attrs.string(c::NFTA_CHAIN_TABLE, TABLE).string(c::NFTA_CHAIN_NAME, name);
                attrs.nest(c::NFTA_CHAIN_HOOK, |place| {
                    let priority = if first { FIRST } else { LAST };
                    place
                        .be32(c::NFTA_HOOK_HOOKNUM, hook)
                        .be32(c::NFTA_HOOK_PRIORITY, priority.cast_unsigned());
                });
                attrs.string(c::NFTA_CHAIN_TYPE, "filter");
            })?;
            let mut rule = |expressions: &dyn Fn(&mut AttrWriter<'_>)| {
                let flags = NLM_F_CREATE | NLM_F_APPEND;
                messages.push(nfnl_type(c::SUBSYSTEM, c::NFT_MSG_NEWRULE), flags, &fixed, |attrs| {
                    attrs.string(c::NFTA_RULE_TABLE, TABLE).string(c::NFTA_RULE_CHAIN, name);
                    attrs.nest(c::NFTA_RULE_EXPRESSIONS, |list| expressions(list));
                })
            };
            if !first {
                rule(&drop_it)?;
                continue;
            }
            rule(&|list| {
                load_ident(list, family);
                drop_it(list);
            })?;
            rule(&|list| {
                set_meta(list, META_TRACE, &[1]);
                if mark != 0 {
                    set_meta(list, META_MARK, &mark.to_ne_bytes());
                }
            })?;
        }
    }
    messages.push(c::NFNL_MSG_BATCH_END, 0, &batch, |_| ())?;
    Ok(())
}

fn expression(list: &mut AttrWriter<'_>, name: &str, data: impl FnOnce(&mut AttrWriter<'_>)) {
    list.nest(c::NFTA_LIST_ELEM, |element| {
        element.string(c::NFTA_EXPR_NAME, name).nest(c::NFTA_EXPR_DATA, data);
    });
}

/// Goes on where the packet is not the one: the identification of IPv4, the lower half of IPv6's flow label.
fn load_ident(list: &mut AttrWriter<'_>, family: u8) {
    let offset = if family == 2 { 4 } else { 2 };
    expression(list, "payload", |data| {
        // NFTA_PAYLOAD_DREG, _BASE (network header), _OFFSET, _LEN
        data.be32(1, REGISTER).be32(2, 1).be32(3, offset).be32(4, 2);
    });
    expression(list, "cmp", |data| {
        // NFTA_CMP_SREG, _OP, _DATA with NFTA_DATA_VALUE
        data.be32(1, REGISTER).be32(2, NOT_EQUAL).nest(3, |value| {
            value.bytes(1, &IDENT.to_be_bytes());
        });
    });
}

fn drop_it(list: &mut AttrWriter<'_>) {
    expression(list, "immediate", |data| {
        // NFTA_IMMEDIATE_DREG: NFT_REG_VERDICT
        data.be32(1, 0).nest(c::NFTA_IMMEDIATE_DATA, |value| {
            value.nest(c::NFTA_DATA_VERDICT, |verdict| {
                verdict.be32(c::NFTA_VERDICT_CODE, DROP);
            });
        });
    });
}

fn set_meta(list: &mut AttrWriter<'_>, key: u32, value: &[u8]) {
    expression(list, "immediate", |data| {
        data.be32(1, REGISTER).nest(c::NFTA_IMMEDIATE_DATA, |inner| {
            inner.bytes(1, value);
        });
    });
    expression(list, "meta", |data| {
        // NFTA_META_KEY, NFTA_META_SREG
        data.be32(2, key).be32(3, REGISTER);
    });
}
