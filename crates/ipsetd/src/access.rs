//! Who may do what: rules and facts in, yes or a [`Refusal`] out. Pure: whose address it is, whether the token was
//! right and what the firewall's policy is, others find out. `docs/ipsetd.md` has the refusals as a table.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use fwn_kernel::route::IpPrefix;

use crate::line::Verb;

/// The rules of one port, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Whose commands are taken; `None`: everyone's, as far as the rest allows.
    pub allow_from: Option<Vec<IpPrefix>>,
    /// A token has to come first.
    pub token: bool,
    /// A TLS certificate of the client is asked for.
    pub certificate: bool,
    /// The port is opened also if nothing guards it.
    pub any: bool,
    /// Sets that may be named; `None`: all.
    pub sets: Option<BTreeSet<String>>,
    /// Verbs that may be used.
    pub verbs: BTreeSet<Verb>,
}

/// What is taken if nothing else is said: what changes more than entries has to be asked for.
pub const DEFAULT_VERBS: [Verb; 4] = [Verb::Add, Verb::Delete, Verb::Test, Verb::List];

impl Default for Access {
    /// Guarded by nothing, so only a closed INPUT policy opens the port.
    fn default() -> Self {
        Self {
            allow_from: None,
            token: false,
            certificate: false,
            any: false,
            sets: None,
            verbs: DEFAULT_VERBS.into(),
        }
    }
}

/// What the firewall of the namespace does with packets that no rule decides about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputPolicy {
    /// It drops them, in every family that the namespace has.
    Closed,
    /// It lets them in, or cannot be read.
    Open,
}

/// Where a peer is, as the namespace sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress {
    /// Its address; IPv4 in IPv6 is IPv4.
    pub address: IpAddr,
    /// Whether the namespace itself has this address.
    pub own: bool,
}

/// What the peer showed for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// One of the right authority, valid now.
    Right,
    /// One of another authority, or none that can be read.
    Wrong,
    /// One that is not valid any more, or not yet.
    Expired,
    /// None.
    Absent,
}

/// What the peer showed for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenShown {
    /// The right one.
    Right,
    /// Another one.
    Wrong,
    /// None, or not in its first line.
    Absent,
}

/// Why a peer or its line is refused, in the order in which it is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing guards the port.
    Unguarded,
    /// The workload itself.
    Own(IpAddr),
    /// Not on the allow-list.
    NotListed(IpAddr),
    /// No certificate.
    NoCertificate,
    /// A wrong certificate.
    WrongCertificate,
    /// An expired certificate.
    ExpiredCertificate,
    /// No token.
    NoToken,
    /// A wrong token.
    WrongToken,
    /// A verb that is not allowed.
    Verb(Verb),
    /// A set that is not allowed.
    Set(String),
}

impl Refusal {
    /// Whether no other line of the connection can fare better.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Verb(_) | Self::Set(_))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unguarded => f.write_str(
                "nothing guards this port: it needs an allow-list, a token, client certificates or a closed INPUT \
                 policy",
            ),
            Self::Own(address) => {
                write!(f, "`{address}` is an address of this network namespace, which may not edit its own firewall")
            }
            Self::NotListed(address) => write!(f, "`{address}` is not on the allow-list"),
            Self::NoCertificate => f.write_str("a client certificate is needed"),
            Self::WrongCertificate => f.write_str("the client certificate is not of the right authority"),
            Self::ExpiredCertificate => f.write_str("the client certificate is not valid at this time"),
            Self::NoToken => f.write_str("the first line must be `auth TOKEN`"),
            Self::WrongToken => f.write_str("wrong token"),
            Self::Verb(verb) => write!(f, "`{verb}` is not allowed here"),
            Self::Set(set) => write!(f, "set `{set}` is not allowed here"),
        }
    }
}

/// All that is known of a line and who sent it.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The firewall's policy.
    pub input: InputPolicy,
    /// The peer.
    pub peer: PeerAddress,
    /// Its certificate.
    pub certificate: Certificate,
    /// Its token.
    pub token: TokenShown,
    /// The verb of the line.
    pub verb: Verb,
    /// The sets that it names.
    pub sets: &'a [&'a str],
}

/// May this line of this peer be carried out?
///
/// # Errors
/// The first reason against it.
pub fn decide(access: &Access, facts: &Facts<'_>) -> Result<(), Refusal> {
    admit(access, facts.input, facts.peer, facts.certificate)?;
    authenticate(access, facts.token)?;
    permit(access, facts.verb, facts.sets.iter().copied())
}

/// May the port be open?
///
/// # Errors
/// [`Refusal::Unguarded`]
pub fn open(access: &Access, input: InputPolicy) -> Result<(), Refusal> {
    if access.allow_from.is_some()
        || access.token
        || access.certificate
        || access.any
        || input == InputPolicy::Closed
    {
        Ok(())
    } else {
        Err(Refusal::Unguarded)
    }
}

/// May this peer connect?
///
/// # Errors
/// The first reason against it; its certificate comes last.
pub fn admit(
    access: &Access,
    input: InputPolicy,
    peer: PeerAddress,
    certificate: Certificate,
) -> Result<(), Refusal> {
    open(access, input)?;
    if peer.own {
        return Err(Refusal::Own(peer.address));
    }
    let listed = |list: &Vec<IpPrefix>| list.iter().any(|network| network.contains(peer.address));
    if !access.allow_from.as_ref().is_none_or(listed) {
        return Err(Refusal::NotListed(peer.address));
    }
    match certificate {
        _ if !access.certificate => Ok(()),
        Certificate::Right => Ok(()),
        Certificate::Wrong => Err(Refusal::WrongCertificate),
        Certificate::Expired => Err(Refusal::ExpiredCertificate),
        Certificate::Absent => Err(Refusal::NoCertificate),
    }
}

/// Has it shown the token, if there is one?
///
/// # Errors
/// [`Refusal::NoToken`], [`Refusal::WrongToken`]
pub fn authenticate(access: &Access, token: TokenShown) -> Result<(), Refusal> {
    match token {
        _ if !access.token => Ok(()),
        TokenShown::Right => Ok(()),
        TokenShown::Wrong => Err(Refusal::WrongToken),
        TokenShown::Absent => Err(Refusal::NoToken),
    }
}

/// May the verb be used, and on these sets?
///
/// # Errors
/// [`Refusal::Verb`], [`Refusal::Set`]
pub fn permit<'a>(
    access: &Access,
    verb: Verb,
    sets: impl IntoIterator<Item = &'a str>,
) -> Result<(), Refusal> {
    if !access.verbs.contains(&verb) {
        return Err(Refusal::Verb(verb));
    }
    match sets.into_iter().find(|set| !may_name(access, set)) {
        Some(set) => Err(Refusal::Set(set.to_owned())),
        None => Ok(()),
    }
}

/// May the set be named?
pub fn may_name(access: &Access, set: &str) -> bool {
    access.sets.as_ref().is_none_or(|sets| sets.contains(set))
}

#[cfg(test)]
mod tests;
