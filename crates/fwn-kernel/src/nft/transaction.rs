//! Changes of tables, chains and rules, and the one batch that puts all of them in force or none. Typed steps come
//! in; what the kernel refused comes back with the place that each step was written at.
//!
//! Nothing is acknowledged message by message (answers to a big batch would overflow the receive buffer), and
//! nothing that could be asked for is found out by a batch that fails: that costs 10 ms in the kernel.

use std::fmt;

use fwn_plan::netfilter::{Family, Hook, Policy, Table};
use fwn_plan::origin::Origin;
use nix::errno::Errno;

use super::EncodedRule;
use super::constants as c;
use super::digest::Sketch;
use super::echo::Echoes;
use crate::netlink::attr::{AttrWriter, NLA_F_NESTED, TooLong};
use crate::netlink::message::{
    Message, Messages, NLM_F_APPEND, NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, nfnl_type,
};
use crate::netlink::socket::{KernelError, NetlinkSocket, SocketError};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step<'a> {
    /// Family of the table.
    pub family: Family,
    /// The table.
    pub table: &'a str,
    /// What is done in it.
    pub change: Change<'a>,
    /// Where it was asked for, if somebody did.
    pub origin: Option<&'a Origin>,
    /// Whether the kernel is asked to give back what it made of it ([`Echoes`]). Steps that delete are not.
    pub echo: bool,
}

/// What is done in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<'a> {
    /// Creates the table; refused if it exists.
    AddTable {
        /// Who made it.
        user_data: Vec<u8>,
    },
    /// Creates a built-in chain with its final policy; refused if it exists.
    AddBaseChain {
        /// The table as iptables knows it: it determines priority and type.
        table: Table,
        /// The hook, which also names the chain.
        hook: Hook,
        /// Its policy.
        policy: Policy,
        /// Whether packets that meet the policy are counted: as with `iptables -P`, and not with `-A`.
        counters: bool,
        /// Who made it.
        user_data: Vec<u8>,
    },
    /// Sets the policy of an existing chain. Costs a grace period when the socket is closed.
    SetPolicy {
        /// The chain.
        chain: &'a str,
        /// Its new policy.
        policy: Policy,
    },
    /// Creates a user chain; refused if it exists.
    AddChain {
        /// Its name.
        chain: &'a str,
        /// Who made it.
        user_data: Vec<u8>,
    },
    /// Adds a rule.
    AddRule {
        /// The chain.
        chain: &'a str,
        /// Where in the chain.
        place: Place,
        /// The rule.
        rule: &'a EncodedRule,
        /// What it says, and what it has in common with others.
        sketch: Sketch,
        /// Whose it is.
        user_data: Vec<u8>,
    },
    /// Deletes a rule.
    DeleteRule {
        /// The chain.
        chain: &'a str,
        /// Its handle.
        handle: u64,
    },
    /// Deletes a chain; refused unless it is empty and nothing jumps to it.
    DeleteChain {
        /// Its name.
        chain: &'a str,
    },
    /// Deletes the table; refused unless it is empty.
    DeleteTable,
}

/// Where in its chain a rule goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the end.
    Append,
    /// Before all rules that the chain has then.
    First,
    /// Before the rule of this handle. The kernel looks for it from the top of the chain.
    Before(u64),
}

impl fmt::Display for Step<'_> {
    /// What was tried: "adding a rule to chain `INPUT` of table `filter` (ipv4)".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.change {
            Change::AddTable { .. } => f.write_str("creating"),
            Change::AddBaseChain { hook, .. } => write!(f, "creating chain `{}` of", hook.chain()),
            Change::SetPolicy { chain, policy } => write!(f, "setting policy {policy} of chain `{chain}` of"),
            Change::AddChain { chain, .. } => write!(f, "creating chain `{chain}` of"),
            Change::AddRule { chain, .. } => write!(f, "adding a rule to chain `{chain}` of"),
            Change::DeleteRule { chain, handle } => write!(f, "deleting rule {handle} of chain `{chain}` of"),
            Change::DeleteChain { chain } => write!(f, "deleting chain `{chain}` of"),
            Change::DeleteTable => f.write_str("deleting"),
        }?;
        write!(f, " table `{}` ({})", self.table, self.family)
    }
}

/// What the kernel says about one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Where the step was asked for, if somebody did.
    pub origin: Option<Origin>,
    /// What was tried; empty where the batch as a whole was refused.
    pub step: String,
    /// The errno, positive.
    pub errno: i32,
    /// The kernel's own words, where it had any.
    pub text: Option<String>,
    /// What the errno means for such a step.
    pub hint: Option<&'static str>,
}

impl Refusal {
    /// What was refused and why, without place and hint.
    pub fn words(&self) -> String {
        let step = if self.step.is_empty() { "the batch" } else { &self.step };
        let errno = Errno::from_raw(self.errno);
        let text = self.text.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
        format!("the kernel refused {step}: {} ({errno:?}){text}", errno.desc())
    }
}

impl fmt::Display for Refusal {
    /// `web.fw: rules[2].rule: the kernel refused adding a rule to ...: No such file or directory (ENOENT)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        f.write_str(&self.words())?;
        match self.hint {
            Some(hint) => write!(f, "; hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Somebody else changed something since the generation that the changes were made for: observe again.
    #[error("nf_tables were changed by somebody else meanwhile")]
    Changed,
    /// The kernel refused these steps.
    #[error("{}", lines(.0))]
    Refused(Vec<Refusal>),
    /// A rule is longer than netlink can say.
    #[error("{step} is not possible: it is too long")]
    TooLong {
        /// Where the step was asked for, if somebody did.
        origin: Option<Origin>,
        /// What was tried.
        step: String,
        /// Which attribute.
        source: TooLong,
    },
    /// The kernel has no nf_tables, and could not load it.
    #[error("the kernel has no nf_tables (CONFIG_NF_TABLES, module nf_tables)")]
    Missing,
    /// The kernel wants a privilege that is not there.
    #[error("not allowed to change nf_tables: CAP_NET_ADMIN in the container's namespace is needed")]
    NotAllowed,
    /// The changes could not be sent.
    #[error("cannot change nf_tables")]
    Socket(#[source] SocketError),
    /// They were sent, and the answer could not be read. Whether they are in force is not known.
    #[error("the kernel's answer to a change of nf_tables was lost")]
    Unknown(#[source] SocketError),
}

fn lines(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Changes that belong together, in the order in which the kernel takes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes<'a> {
    /// The steps.
    pub steps: Vec<Step<'a>>,
}

impl<'a> Changes<'a> {
    /// Adds a step that nobody in particular asked for.
    pub fn push(&mut self, family: Family, table: &'a str, change: Change<'a>) {
        self.steps.push(Step { family, table, change, origin: None, echo: false });
    }

    /// Adds a step that was asked for at `origin`.
    pub fn push_from(&mut self, origin: &'a Origin, family: Family, table: &'a str, change: Change<'a>) {
        self.steps.push(Step { family, table, change, origin: Some(origin), echo: false });
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Puts all steps in force at once, or none. With a `generation`, only if nothing has changed since. No steps:
    /// nothing is sent. What the kernel was asked to give back comes with it.
    ///
    /// # Errors
    /// See [`CommitError`]; nothing was changed then, except where it says that this is not known.
    pub fn commit(&self, socket: &mut NetlinkSocket, generation: Option<u32>) -> Result<Echoes, CommitError> {
        /// What an error answer takes of the receive buffer besides the message that it repeats.
        const ANSWER: usize = 1024;
        /// So many answers fit the default receive buffer in any case.
        const FEW: usize = 50;
        let mut echoes = Echoes::default();
        if self.is_empty() {
            return Ok(echoes);
        }
        let mut messages = self.encode(generation)?;
        if self.steps.len() > FEW {
            socket.reserve_receive_buffer(messages.len() * 2 + self.steps.len() * ANSWER);
        }
        let hear = |number: u32, message: &Message<'_>| {
            if let Some((at, step)) = self.step(number) {
                echoes.hear(at, step, message);
            }
        };
        socket.commit(&mut messages, hear).map_err(|error| self.explain(error, generation))?;
        Ok(echoes)
    }

    /// The step of a message, and its number.
    fn step(&self, message: u32) -> Option<(usize, &Step<'a>)> {
        let at = (message as usize).checked_sub(1)?;
        Some((at, self.steps.get(at)?))
    }

    /// The batch: its begin is message 0, step `n` is message `n + 1`.
    pub(super) fn encode(&self, generation: Option<u32>) -> Result<Messages, CommitError> {
        let mut messages = Messages::with_capacity(self.steps.iter().map(Step::length).sum());
        // nfgenmsg of a batch: the subsystem as resource, in network order
        let frame = [c::NFPROTO_UNSPEC, 0, 0, c::SUBSYSTEM];
        let too_long = |step: String, origin: Option<&Origin>, source| CommitError::TooLong {
            origin: origin.cloned(),
            step,
            source,
        };
        let begin = |attrs: &mut AttrWriter<'_>| {
            if let Some(generation) = generation {
                attrs.be32(c::NFNL_BATCH_GENID, generation);
            }
        };
        messages
            .push(c::NFNL_MSG_BATCH_BEGIN, 0, &frame, begin)
            .map_err(|source| too_long(String::new(), None, source))?;
        for step in &self.steps {
            step.encode(&mut messages).map_err(|source| too_long(step.to_string(), step.origin, source))?;
        }
        messages
            .push(c::NFNL_MSG_BATCH_END, 0, &frame, |_| ())
            .map_err(|source| too_long(String::new(), None, source))?;
        Ok(messages)
    }

    fn explain(&self, error: SocketError, generation: Option<u32>) -> CommitError {
        let errors = match error {
            SocketError::Kernel(errors) => errors,
            error @ (SocketError::Open(_) | SocketError::Send { .. }) => return CommitError::Socket(error),
            error => return CommitError::Unknown(error),
        };
        let first = errors.iter().find(|error| error.number == 0).map(|error| error.errno);
        match first {
            // the generation in the batch is over (`nfnetlink_rcv_batch`, `net/netfilter/nfnetlink.c`)
            Some(libc::ERESTART) => CommitError::Changed,
            Some(libc::EPERM) => CommitError::NotAllowed,
            // where a generation is known, nf_tables is there, and it is the check of the whole that failed
            Some(libc::EOPNOTSUPP) if generation.is_none() => CommitError::Missing,
            _ => CommitError::Refused(errors.into_iter().map(|error| self.refusal(error)).collect()),
        }
    }

    fn refusal(&self, error: KernelError) -> Refusal {
        let step = self.step(error.number).map(|(_, step)| step);
        Refusal {
            origin: step.and_then(|step| step.origin).cloned(),
            step: step.map(ToString::to_string).unwrap_or_default(),
            errno: error.errno,
            hint: step.and_then(|step| hint(&step.change, error.errno)),
            text: error.text,
        }
    }
}

/// What an errno means that the kernel gives without words.
fn hint(change: &Change<'_>, errno: i32) -> Option<&'static str> {
    Some(match (change, errno) {
        (Change::AddRule { .. }, libc::ENOENT) => {
            "the kernel lacks a match or target of this rule, or there is no chain of that name"
        }
        (Change::AddRule { .. }, libc::EINVAL) => {
            "a match or target of this rule does not take these options, or not in this table or chain"
        }
        (Change::AddRule { .. }, libc::ELOOP | libc::EMLINK) => {
            "the chains jump in a circle, or more than 16 deep"
        }
        (Change::AddBaseChain { .. }, libc::ENOENT | libc::EOPNOTSUPP) => {
            "the kernel lacks this type of chain (CONFIG_NF_TABLES_IPV4, CONFIG_NF_TABLES_IPV6, CONFIG_NFT_NAT)"
        }
        (Change::AddTable { .. }, libc::EAFNOSUPPORT) => "the kernel lacks nf_tables for this family",
        (_, libc::EEXIST) => "somebody else has made it meanwhile",
        (_, libc::EBUSY) => "it is still in use",
        _ => return None,
    })
}

impl Step<'_> {
    /// About how many bytes its message has, rather more.
    pub fn length(&self) -> usize {
        /// Everything but names and expressions.
        const REST: usize = 128;
        /// Longest name.
        const NAME: usize = 36;
        match &self.change {
            Change::AddRule { rule, .. } => REST + 2 * NAME + rule.expressions.len(),
            _ => REST + 2 * NAME,
        }
    }

    fn encode(&self, messages: &mut Messages) -> Result<u32, TooLong> {
        let nfgen = [c::nfproto(self.family), 0, 0, 0];
        let echo = if self.echo { NLM_F_ECHO } else { 0 };
        let mut push = |message, flags, fill: &dyn Fn(&mut AttrWriter<'_>)| {
            messages.push(nfnl_type(c::SUBSYSTEM, message), flags | echo, &nfgen, |attrs| fill(attrs))
        };
        let table = self.table;
        match &self.change {
            Change::AddTable { user_data } => {
                push(c::NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, &|attrs| {
                    attrs.string(c::NFTA_TABLE_NAME, table).bytes(c::NFTA_TABLE_USERDATA, user_data);
                })
            }
            Change::AddBaseChain { table: known, hook, policy, counters, user_data } => {
                push(c::NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL, &|attrs| {
                    attrs
                        .string(c::NFTA_CHAIN_TABLE, table)
                        .string(c::NFTA_CHAIN_NAME, hook.chain())
                        .nest(c::NFTA_CHAIN_HOOK, |nested| {
                            nested
                                .be32(c::NFTA_HOOK_HOOKNUM, hook.number())
                                .be32(c::NFTA_HOOK_PRIORITY, known.priority(*hook).cast_unsigned());
                        })
                        .be32(c::NFTA_CHAIN_POLICY, c::verdict(*policy))
                        .string(c::NFTA_CHAIN_TYPE, known.chain_type(*hook));
                    if *counters {
                        attrs.nest(c::NFTA_CHAIN_COUNTERS, |nested| {
                            nested.be64(c::NFTA_COUNTER_BYTES, 0).be64(c::NFTA_COUNTER_PACKETS, 0);
                        });
                    }
                    attrs.bytes(c::NFTA_CHAIN_USERDATA, user_data);
                })
            }
            Change::SetPolicy { chain, policy } => push(c::NFT_MSG_NEWCHAIN, 0, &|attrs| {
                attrs
                    .string(c::NFTA_CHAIN_TABLE, table)
                    .string(c::NFTA_CHAIN_NAME, chain)
                    .be32(c::NFTA_CHAIN_POLICY, c::verdict(*policy));
            }),
            Change::AddChain { chain, user_data } => {
                push(c::NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL, &|attrs| {
                    attrs
                        .string(c::NFTA_CHAIN_TABLE, table)
                        .string(c::NFTA_CHAIN_NAME, chain)
                        .bytes(c::NFTA_CHAIN_USERDATA, user_data);
                })
            }
            Change::AddRule { chain, place, rule, user_data, .. } => {
                // without NLM_F_APPEND, NFTA_RULE_POSITION is the rule to stand before
                let (flags, before) = match place {
                    Place::Append => (NLM_F_CREATE | NLM_F_APPEND, None),
                    Place::First => (NLM_F_CREATE, None),
                    Place::Before(handle) => (NLM_F_CREATE, Some(*handle)),
                };
                push(c::NFT_MSG_NEWRULE, flags, &|attrs| {
                    attrs.string(c::NFTA_RULE_TABLE, table).string(c::NFTA_RULE_CHAIN, chain);
                    if let Some(handle) = before {
                        attrs.be64(c::NFTA_RULE_POSITION, handle);
                    }
                    attrs.bytes(c::NFTA_RULE_EXPRESSIONS | NLA_F_NESTED, &rule.expressions);
                    if let Some((protocol, flags)) = rule.compat {
                        attrs.nest(c::NFTA_RULE_COMPAT, |nested| {
                            nested
                                .be32(c::NFTA_RULE_COMPAT_PROTO, protocol)
                                .be32(c::NFTA_RULE_COMPAT_FLAGS, flags);
                        });
                    }
                    attrs.bytes(c::NFTA_RULE_USERDATA, user_data);
                })
            }
            Change::DeleteRule { chain, handle } => push(c::NFT_MSG_DELRULE, 0, &|attrs| {
                attrs
                    .string(c::NFTA_RULE_TABLE, table)
                    .string(c::NFTA_RULE_CHAIN, chain)
                    .be64(c::NFTA_RULE_HANDLE, *handle);
            }),
            Change::DeleteChain { chain } => push(c::NFT_MSG_DELCHAIN, c::NLM_F_NONREC, &|attrs| {
                attrs.string(c::NFTA_CHAIN_TABLE, table).string(c::NFTA_CHAIN_NAME, chain);
            }),
            Change::DeleteTable => push(c::NFT_MSG_DELTABLE, c::NLM_F_NONREC, &|attrs| {
                attrs.string(c::NFTA_TABLE_NAME, table);
            }),
        }
    }
}
