//! What is in force: tables, chains and rules of `ip` and `ip6`, all of one generation. Only reads.

use std::collections::HashMap;

use fwn_plan::netfilter::{Family, Policy};
use nix::errno::Errno;

use super::constants as c;
use super::decode::{BaseHook, decode_chain, decode_generation, decode_rule, decode_table};
use crate::netlink::attr::Malformed;
use crate::netlink::message::{Message, Messages, NLM_F_ACK, NLM_F_DUMP, nfnl_type};
use crate::netlink::socket::{NetlinkSocket, Protocol, SocketError};

/// How often a listing that changed while it was read is read again.
const ATTEMPTS: u32 = 10;

/// Why it could not be told what is in force.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The kernel has no nf_tables, and could not load it.
    #[error("the kernel has no nf_tables (CONFIG_NF_TABLES, module nf_tables)")]
    Missing(#[source] SocketError),
    /// The kernel wants a privilege that is not there.
    #[error("not allowed to read nf_tables: CAP_NET_ADMIN in the container's namespace is needed")]
    NotAllowed(#[source] SocketError),
    /// Others changed the rules each time that they were read.
    #[error("nf_tables changed {ATTEMPTS} times while it was read")]
    Unsteady,
    /// Something else failed.
    #[error("cannot read nf_tables")]
    Socket(#[source] SocketError),
}

impl From<SocketError> for NftError {
    fn from(error: SocketError) -> Self {
        let errno = match &error {
            SocketError::Open(errno) => Some(*errno),
            error => error.errno().map(Errno::from_raw),
        };
        match errno {
            // EINVAL: nfnetlink does not know the subsystem (`nfnetlink_rcv_msg`, `net/netfilter/nfnetlink.c`)
            Some(Errno::EPROTONOSUPPORT | Errno::EOPNOTSUPP | Errno::EINVAL) => Self::Missing(error),
            Some(Errno::EPERM) => Self::NotAllowed(error),
            _ => Self::Socket(error),
        }
    }
}

/// All that is in force in a namespace, as far as iptables sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ruleset {
    /// The generation that it is from: a batch can ask to be refused in any other.
    pub generation: u32,
    /// Tables of `ip` and `ip6`.
    pub tables: Vec<ObservedTable>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedTable {
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// Its handle.
    pub handle: u64,
    /// `enum nft_table_flags` (`linux/netfilter/nf_tables.h`)
    pub flags: u32,
    /// Its user data; empty where it has none.
    pub user_data: Vec<u8>,
    /// Its chains.
    pub chains: Vec<ObservedChain>,
    /// Whether it holds sets, objects or flow tables.
    pub other: bool,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedChain {
    /// Its name.
    pub name: String,
    /// Its handle.
    pub handle: u64,
    /// Where it is hooked in; `None` for a user chain.
    pub hook: Option<BaseHook>,
    /// Its policy; `None` for a user chain.
    pub policy: Option<Policy>,
    /// Number of jumps to it, from rules and maps.
    pub jumps: usize,
    /// Its user data; empty where it has none.
    pub user_data: Vec<u8>,
    /// Its rules, in order.
    pub rules: Vec<ObservedRule>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedRule {
    /// Its handle: unique in its table, and greater than those of all rules made before it.
    pub handle: u64,
    /// Its user data; empty where it has none.
    pub user_data: Vec<u8>,
    /// The list of its expressions.
    pub expressions: Vec<u8>,
}

impl Ruleset {
    /// The table of that family and name.
    pub fn table(&self, family: Family, name: &str) -> Option<&ObservedTable> {
        self.tables.iter().find(|table| table.family == family && table.name == name)
    }
}

impl ObservedTable {
    /// The chain of that name.
    pub fn chain(&self, name: &str) -> Option<&ObservedChain> {
        self.chains.iter().find(|chain| chain.name == name)
    }
}

/// Reads all that is in force in the namespace of `socket` (protocol `Netfilter`).
///
/// # Errors
/// See [`NftError`].
pub fn observe(socket: &mut NetlinkSocket) -> Result<Ruleset, NftError> {
    let mut before = generation(socket)?;
    for _ in 0..ATTEMPTS {
        let read = read(socket);
        let after = generation(socket)?;
        match read {
            Ok(tables) if before == after => return Ok(Ruleset { generation: before, tables }),
            Ok(_) | Err(SocketError::Interrupted) => before = after,
            Err(error) => return Err(error.into()),
        }
    }
    Err(NftError::Unsteady)
}

/// Whether the kernel has nf_tables: asks for the generation of the caller's own namespace, which changes nothing.
///
/// # Errors
/// It has none, or the privilege is missing.
pub fn probe() -> Result<(), NftError> {
    let mut socket = NetlinkSocket::open(Protocol::Netfilter)?;
    generation(&mut socket)?;
    Ok(())
}

fn generation(socket: &mut NetlinkSocket) -> Result<u32, SocketError> {
    let mut messages = Messages::default();
    messages
        .push(nfnl_type(c::SUBSYSTEM, c::NFT_MSG_GETGEN), NLM_F_ACK, &NFGEN_ALL, |_| ())
        .map_err(|_| Malformed)?;
    let mut generation = None;
    socket.exchange(&mut messages, |message| {
        if message.kind == nfnl_type(c::SUBSYSTEM, c::NFT_MSG_NEWGEN) {
            generation = Some(decode_generation(&message)?);
        }
        Ok(())
    })?;
    generation.ok_or(SocketError::Malformed(Malformed))
}

/// `struct nfgenmsg`: no family in particular, version 0, no resource.
const NFGEN_ALL: [u8; 4] = [c::NFPROTO_UNSPEC, 0, 0, 0];

/// What there is nothing of is not asked for: in a fresh namespace one dump is enough.
fn read(socket: &mut NetlinkSocket) -> Result<Vec<ObservedTable>, SocketError> {
    let mut tables = Vec::new();
    let mut uses = Vec::new();
    dump(socket, c::NFPROTO_UNSPEC, c::NFT_MSG_GETTABLE, |message| {
        if let Some(table) = decode_table(message)? {
            uses.push(table.uses as usize);
            tables.push(ObservedTable {
                family: table.family,
                name: table.name,
                handle: table.handle,
                flags: table.flags,
                user_data: table.user_data,
                chains: Vec::new(),
                other: false,
            });
        }
        Ok(())
    })?;
    if tables.is_empty() {
        return Ok(tables);
    }

    let index: HashMap<(Family, String), usize> =
        tables.iter().enumerate().map(|(at, table)| ((table.family, table.name.clone()), at)).collect();
    let mut with_rules = Vec::new();
    dump(socket, c::NFPROTO_UNSPEC, c::NFT_MSG_GETCHAIN, |message| {
        let Some(chain) = decode_chain(message)? else { return Ok(()) };
        // a chain whose table is not there yet or any more: the generation will tell
        let Some(table) = index.get(&(chain.family, chain.table)).and_then(|at| tables.get_mut(*at)) else {
            return Ok(());
        };
        if chain.uses > 0 && !with_rules.contains(&chain.family) {
            with_rules.push(chain.family);
        }
        table.chains.push(ObservedChain {
            name: chain.name,
            handle: chain.handle,
            hook: chain.hook,
            policy: chain.policy,
            jumps: chain.uses as usize,
            user_data: chain.user_data,
            rules: Vec::new(),
        });
        Ok(())
    })?;
    for (table, uses) in tables.iter_mut().zip(uses) {
        table.other = uses > table.chains.len();
    }

    for family in with_rules {
        // rules come chain by chain
        let mut at = (0, 0);
        dump(socket, c::nfproto(family), c::NFT_MSG_GETRULE, |message| {
            let Some(rule) = decode_rule(message)? else { return Ok(()) };
            let same = tables.get(at.0).is_some_and(|table| {
                table.family == family
                    && table.name == rule.table
                    && table.chains.get(at.1).is_some_and(|chain| chain.name == rule.chain)
            });
            if !same {
                let Some(table) = tables.iter().position(|t| t.family == family && t.name == rule.table)
                else {
                    return Ok(());
                };
                let Some(chain) = tables[table].chains.iter().position(|chain| chain.name == rule.chain)
                else {
                    return Ok(());
                };
                at = (table, chain);
            }
            let Some(chain) = tables.get_mut(at.0).and_then(|table| table.chains.get_mut(at.1)) else {
                return Ok(());
            };
            chain.jumps = chain.jumps.saturating_sub(1);
            chain.rules.push(ObservedRule {
                handle: rule.handle,
                user_data: rule.user_data.to_vec(),
                expressions: rule.expressions.to_vec(),
            });
            Ok(())
        })?;
    }
    Ok(tables)
}

/// Gives every answer to a question for all of a kind to `each`.
///
/// # Errors
/// The kernel cannot be asked, or something changed meanwhile.
pub(super) fn dump(
    socket: &mut NetlinkSocket,
    family: u8,
    message: u8,
    mut each: impl FnMut(&Message<'_>) -> Result<(), Malformed>,
) -> Result<(), SocketError> {
    let mut messages = Messages::default();
    messages
        .push(nfnl_type(c::SUBSYSTEM, message), NLM_F_DUMP, &[family, 0, 0, 0], |_| ())
        .map_err(|_| Malformed)?;
    socket.exchange(&mut messages, |message| each(&message))
}
