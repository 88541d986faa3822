//! What is in force: tables, chains and rules of `ip` and `ip6`, all of one generation. Only reads.

use std::collections::HashMap;

use fwn_plan::netfilter::{Family, Policy};
use nix::errno::Errno;

use super::constants as c;
use super::decode::{BaseHook, RuleMessage, decode_chain, decode_generation, decode_rule, decode_table};
use crate::netlink::attr::Malformed;
use crate::netlink::message::{Message, Messages, NLM_F_DUMP, nfnl_type};
use crate::netlink::socket::{NetlinkSocket, Protocol, SocketError};

/// Room for no more rules is made on the word of a chain alone.
const MOST_AT_ONCE: usize = 16 * 1024;

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

/// All that is in force in a namespace, as far as iptables sees it; of every rule what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset<R = ObservedRule> {
    /// The generation that it is from: a batch can ask to be refused in any other.
    pub generation: u32,
    /// Tables of `ip` and `ip6`.
    pub tables: Vec<ObservedTable<R>>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedTable<R = ObservedRule> {
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
    pub chains: Vec<ObservedChain<R>>,
    /// Whether it holds sets, objects or flow tables.
    pub other: bool,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedChain<R = ObservedRule> {
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
    pub rules: Vec<R>,
}

/// A rule, word for word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedRule {
    /// Its handle: unique in its table, and greater than those of all rules made before it.
    pub handle: u64,
    /// Its user data; empty where it has none.
    pub user_data: Vec<u8>,
    /// The list of its expressions.
    pub expressions: Vec<u8>,
}

impl From<RuleMessage<'_>> for ObservedRule {
    fn from(rule: RuleMessage<'_>) -> Self {
        Self {
            handle: rule.handle,
            user_data: rule.user_data.to_vec(),
            expressions: rule.expressions.to_vec(),
        }
    }
}

impl<R> Ruleset<R> {
    /// The table of that family and name.
    pub fn table(&self, family: Family, name: &str) -> Option<&ObservedTable<R>> {
        self.tables.iter().find(|table| table.family == family && table.name == name)
    }
}

impl<R> ObservedTable<R> {
    /// The chain of that name.
    pub fn chain(&self, name: &str) -> Option<&ObservedChain<R>> {
        self.chains.iter().find(|chain| chain.name == name)
    }

    /// The rules of all its chains.
    pub fn rules(&self) -> impl Iterator<Item = &R> {
        self.chains.iter().flat_map(|chain| &chain.rules)
    }
}

/// Reads all that is in force in the namespace of `socket` (protocol `Netfilter`), with all that its rules say.
///
/// # Errors
/// See [`NftError`].
pub fn observe(socket: &mut NetlinkSocket) -> Result<Ruleset, NftError> {
    observe_as(socket, None, |rule| rule.into())
}

/// The same, and keeps of every rule what `keep` makes of it: thousands of rules are thousands of copies. `believed` is
/// the generation that there should be: right, it saves a question; wrong, it costs one more look.
///
/// # Errors
/// See [`NftError`].
pub fn observe_as<R>(
    socket: &mut NetlinkSocket,
    believed: Option<u32>,
    mut keep: impl FnMut(RuleMessage<'_>) -> R,
) -> Result<Ruleset<R>, NftError> {
    let mut before = match believed {
        Some(generation) => generation,
        None => generation(socket)?,
    };
    let mut asked = believed.is_none();
    for _ in 0..ATTEMPTS {
        let read = read(socket, &mut keep);
        let after = match &read {
            // no part of nothing can be of another generation
            Ok(tables) if asked && tables.is_empty() => before,
            _ => generation(socket)?,
        };
        asked = true;
        match read {
            Ok(tables) if before == after => return Ok(Ruleset { generation: before, tables }),
            Ok(_) | Err(SocketError::Interrupted) => before = after,
            Err(error) => return Err(error.into()),
        }
    }
    Err(NftError::Unsteady)
}

/// The generation that a change makes of `generation`: the next one, but never 0 (`nf_tables_commit`,
/// `net/netfilter/nf_tables_api.c`).
pub fn next_generation(generation: u32) -> u32 {
    generation.checked_add(1).unwrap_or(1)
}

/// Whether nothing has changed since `generation`.
///
/// # Errors
/// See [`NftError`].
pub fn is_generation(socket: &mut NetlinkSocket, generation: u32) -> Result<bool, NftError> {
    Ok(self::generation(socket)? == generation)
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
        .push(nfnl_type(c::SUBSYSTEM, c::NFT_MSG_GETGEN), 0, &NFGEN_ALL, |_| ())
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
fn read<R>(
    socket: &mut NetlinkSocket,
    keep: &mut impl FnMut(RuleMessage<'_>) -> R,
) -> Result<Vec<ObservedTable<R>>, SocketError> {
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
            if chain.rules.is_empty() {
                // so far each use is a rule or a jump
                chain.rules.reserve(chain.jumps.min(MOST_AT_ONCE));
            }
            chain.jumps = chain.jumps.saturating_sub(1);
            chain.rules.push(keep(rule));
            Ok(())
        })?;
    }
    Ok(tables)
}

/// Gives every answer to a question for all of a kind to `each`.
///
/// # Errors
/// The kernel cannot be asked, or something changed meanwhile.
pub(crate) fn dump(
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;
    use crate::netlink::attr::{AttrWriter, NLA_F_NESTED, ne16, ne32};
    use crate::netlink::fake::{message, with_kernel};
    use crate::netlink::message::HEADER;

    /// What becomes of an answer that was right.
    #[derive(Debug, Clone)]
    enum Harm {
        None,
        /// Cut short, with a length that says so or not.
        Cut(usize, bool),
        Byte(usize, u8),
        Kind(u16),
        Replaced(Vec<u8>),
    }

    impl Harm {
        fn done_to(&self, mut datagram: Vec<u8>, sequence: u32) -> Vec<u8> {
            match self {
                Self::None => {}
                Self::Cut(length, honest) => {
                    datagram.truncate((*length).max(HEADER));
                    if *honest {
                        let length = datagram.len() as u32;
                        datagram[..4].copy_from_slice(&length.to_ne_bytes());
                    }
                }
                Self::Byte(at, byte) => {
                    let at = at % datagram.len();
                    datagram[at] = *byte;
                }
                Self::Kind(kind) => datagram[4..6].copy_from_slice(&kind.to_ne_bytes()),
                Self::Replaced(payload) => {
                    return message(ne16(&datagram, 4).unwrap_or_default(), sequence, payload);
                }
            }
            datagram
        }
    }

    fn harm() -> impl Strategy<Value = Harm> {
        prop_oneof![
            Just(Harm::None),
            (0usize..200, any::<bool>()).prop_map(|(length, honest)| Harm::Cut(length, honest)),
            (0usize..200, any::<u8>()).prop_map(|(at, byte)| Harm::Byte(at, byte)),
            any::<u16>().prop_map(Harm::Kind),
            prop::collection::vec(any::<u8>(), 0..100).prop_map(Harm::Replaced),
        ]
    }

    /// What a kernel says that has one rule.
    fn right_answer(request: &[u8], sequence: u32) -> Option<Vec<u8>> {
        let mut answer = Messages::default();
        let mut push = |message, fill: &dyn Fn(&mut AttrWriter<'_>)| {
            let nfgen = [c::nfproto(Family::Ipv4), 0, 0, 0];
            answer.push(nfnl_type(c::SUBSYSTEM, message), 0, &nfgen, |attrs| fill(attrs)).expect("short");
        };
        match ne16(request, 4)? as u8 {
            c::NFT_MSG_GETGEN => push(c::NFT_MSG_NEWGEN, &|attrs| {
                attrs.be32(c::NFTA_GEN_ID, 7);
            }),
            c::NFT_MSG_GETTABLE => push(c::NFT_MSG_NEWTABLE, &|attrs| {
                attrs.string(c::NFTA_TABLE_NAME, "filter").be64(c::NFTA_TABLE_HANDLE, 1);
                attrs.be32(c::NFTA_TABLE_USE, 1);
            }),
            c::NFT_MSG_GETCHAIN => push(c::NFT_MSG_NEWCHAIN, &|attrs| {
                attrs.string(c::NFTA_CHAIN_TABLE, "filter").string(c::NFTA_CHAIN_NAME, "INPUT");
                attrs.be64(c::NFTA_CHAIN_HANDLE, 2).string(c::NFTA_CHAIN_TYPE, "filter");
                attrs.nest(c::NFTA_CHAIN_HOOK, |hook| {
                    hook.be32(c::NFTA_HOOK_HOOKNUM, 1).be32(c::NFTA_HOOK_PRIORITY, 0);
                });
                attrs.be32(c::NFTA_CHAIN_POLICY, 1).be32(c::NFTA_CHAIN_USE, 1);
            }),
            c::NFT_MSG_GETRULE => push(c::NFT_MSG_NEWRULE, &|attrs| {
                attrs.string(c::NFTA_RULE_TABLE, "filter").string(c::NFTA_RULE_CHAIN, "INPUT");
                attrs.be64(c::NFTA_RULE_HANDLE, 3).nest(c::NFTA_RULE_EXPRESSIONS | NLA_F_NESTED, |list| {
                    list.nest(c::NFTA_LIST_ELEM, |element| {
                        element.string(c::NFTA_EXPR_NAME, "counter");
                    });
                });
            }),
            _ => return None,
        }
        let mut datagram = answer.bytes().to_vec();
        datagram[8..12].copy_from_slice(&sequence.to_ne_bytes());
        Some(datagram)
    }

    /// Observes a kernel whose answers get one harm after the other.
    fn observed(harms: &[Harm]) -> Result<Ruleset, NftError> {
        let turn = AtomicUsize::new(0);
        let answers = |request: &[u8]| -> Vec<Vec<u8>> {
            let sequence = ne32(request, 8).unwrap_or_default();
            let harm = harms.get(turn.fetch_add(1, Ordering::Relaxed) % harms.len()).unwrap_or(&Harm::None);
            right_answer(request, sequence).map(|answer| harm.done_to(answer, sequence)).into_iter().collect()
        };
        with_kernel(answers, |mut socket| observe(&mut socket))
    }

    #[test]
    fn a_kernel_that_is_played_is_understood() {
        let ruleset = observed(&[Harm::None]).expect("all is right");
        let chain = ruleset.table(Family::Ipv4, "filter").and_then(|table| table.chain("INPUT"));
        assert_eq!(ruleset.generation, 7);
        assert_eq!(chain.map(|chain| chain.rules.len()), Some(1));
        assert!(matches!(observed(&[Harm::Cut(0, true)]), Err(NftError::Socket(SocketError::Malformed(_)))));
    }

    proptest! {
        /// Whatever a kernel says, it is understood or an error.
        #[test]
        fn no_answer_of_a_kernel_breaks_anything(harms in prop::collection::vec(harm(), 1..8)) {
            let _ = observed(&harms);
        }
    }
}
