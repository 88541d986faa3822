//! Matches on headers that are seldom seen: `ah`, `ecn`, `esp`, `sctp`, and on IPsec's `policy`.

use super::conntrack::CtAddress;
use super::value::{
    Range, address_in, choice, exact_choice, list, mask_in, number, number_range, port_range, word, wrong_use,
};
use super::{Context, TypedError, needs, not_typed};
use crate::rule::{Module, Negatable, OptionUse, RuleProblem, Value};

/// `-m ecn`: bits `XT_ECN_OP_MATCH_*` (`linux/netfilter/xt_ecn.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ecn {
    /// What is looked at.
    pub used: u8,
    /// What is negated.
    pub negated: u8,
    /// `--ecn-ip-ect`, 0 to 3.
    pub ect: u8,
}

/// `-m sctp`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sctp {
    /// `--sport`
    pub source: Option<Negatable<Range<u16>>>,
    /// `--dport`
    pub destination: Option<Negatable<Range<u16>>>,
    /// `--chunk-types`
    pub chunks: Option<Negatable<Chunks>>,
}

/// Types of SCTP chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunks {
    /// `SCTP_CHUNK_MATCH_*` (`linux/netfilter/xt_sctp.h`): 1 any, 2 all, 4 only these.
    pub scope: u32,
    /// The types; `None` for all that there can be.
    pub types: Option<Vec<u8>>,
}

/// `-m policy`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// `enum xt_policy_flags` (`linux/netfilter/xt_policy.h`)
    pub flags: u16,
    /// At most 4.
    pub elements: Vec<PolicyElement>,
}

/// An element of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyElement {
    /// `--tunnel-src`
    pub source: Option<Negatable<CtAddress>>,
    /// `--tunnel-dst`
    pub destination: Option<Negatable<CtAddress>>,
    /// `--proto`: 50 esp, 51 ah, 108 ipcomp.
    pub protocol: Option<Negatable<u8>>,
    /// `--mode`: 0 transport, 1 tunnel.
    pub mode: Option<Negatable<u8>>,
    /// `--spi`
    pub spi: Option<Negatable<u32>>,
    /// `--reqid`
    pub request: Option<Negatable<u32>>,
}

/// The security parameter indexes.
pub(super) fn parse_spis(module: &Module, name: &str) -> Result<Negatable<Range<u32>>, TypedError> {
    let mut spis = Negatable { negated: false, value: Range { first: 0, last: u32::MAX } };
    for option in &module.options {
        if option.name != name {
            return Err(not_typed(module, option));
        }
        spis = Negatable { negated: option.negated, value: number_range(word(option, 0)?, 0..=u32::MAX)? };
    }
    Ok(spis)
}

/// IPv4's `-m ah`; in IPv6 it is another match, about an extension header.
pub(super) fn parse_ah(module: &Module, context: &Context<'_>) -> Result<Negatable<Range<u32>>, TypedError> {
    /// `IPPROTO_AH` (`netinet/in.h`)
    const AH: u8 = 51;
    if !context.protocol_is(AH) {
        return Err(needs(module, "`-p ah`"));
    }
    parse_spis(module, "ahspi")
}

pub(super) fn parse_ecn(module: &Module, context: &Context<'_>) -> Result<Ecn, TypedError> {
    /// `IPPROTO_TCP` (`netinet/in.h`)
    const TCP: u8 = 6;
    let mut ecn = Ecn::default();
    for option in &module.options {
        let bit = match option.name {
            "ecn-ip-ect" => {
                ecn.ect = number(word(option, 0)?, 0..=3)?;
                1 << 0
            }
            "ecn-tcp-ece" => 1 << 4,
            "ecn-tcp-cwr" => 1 << 5,
            _ => return Err(not_typed(module, option)),
        };
        ecn.used |= bit;
        ecn.negated |= if option.negated { bit } else { 0 };
    }
    match ecn.used {
        0 => Err(needs(module, "an option")),
        1 => Ok(ecn),
        _ if context.protocol_is(TCP) => Ok(ecn),
        _ => Err(needs(module, "`-p tcp` for its TCP options")),
    }
}

pub(super) fn parse_sctp(module: &Module, context: &Context<'_>) -> Result<Sctp, TypedError> {
    /// `IPPROTO_SCTP` (`netinet/in.h`)
    const SCTP: u8 = 132;
    let mut sctp = Sctp::default();
    for option in &module.options {
        let negated = option.negated;
        let ports = || {
            let value = port_range(word(option, 0)?, Some(SCTP), context)?;
            Ok::<_, RuleProblem>(Some(Negatable { negated, value }))
        };
        match option.name {
            "sport" => sctp.source = ports()?,
            "dport" => sctp.destination = ports()?,
            "chunk-types" => sctp.chunks = Some(Negatable { negated, value: parse_chunks(option)? }),
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(sctp)
}

fn parse_chunks(option: &OptionUse) -> Result<Chunks, TypedError> {
    /// Types of chunks (RFC 9260, 3.2, and its extensions).
    const TYPES: [(&str, u8); 22] = [
        ("DATA", 0),
        ("INIT", 1),
        ("INIT_ACK", 2),
        ("SACK", 3),
        ("HEARTBEAT", 4),
        ("HEARTBEAT_ACK", 5),
        ("ABORT", 6),
        ("SHUTDOWN", 7),
        ("SHUTDOWN_ACK", 8),
        ("ERROR", 9),
        ("COOKIE_ECHO", 10),
        ("COOKIE_ACK", 11),
        ("ECN_ECNE", 12),
        ("ECN_CWR", 13),
        ("SHUTDOWN_COMPLETE", 14),
        ("I_DATA", 64),
        ("ASCONF_ACK", 128),
        ("RE_CONFIG", 130),
        ("PAD", 132),
        ("FORWARD_TSN", 192),
        ("ASCONF", 193),
        ("I_FORWARD_TSN", 194),
    ];
    let (scope, chunks) = (word(option, 0)?, word(option, 1)?);
    let scope = choice(scope, &scope.text, "way to match chunks", &[("any", 1), ("all", 2), ("only", 4)])?;
    if chunks.text.contains(':') {
        return Err(TypedError::form(option, "flags of chunks"));
    }
    let types = match chunks.text.to_ascii_uppercase().as_str() {
        "ALL" => None,
        "NONE" => Some(Vec::new()),
        _ => {
            let types: Result<Vec<_>, _> =
                list(chunks)?.map(|part| choice(chunks, part, "SCTP chunk", &TYPES)).collect();
            Some(types?)
        }
    };
    Ok(Chunks { scope, types })
}

pub(super) fn parse_policy(module: &Module, context: &Context<'_>) -> Result<Policy, TypedError> {
    /// `XT_POLICY_MAX_ELEM` (`linux/netfilter/xt_policy.h`)
    const ELEMENTS_MAX: usize = 4;
    const IN: u16 = 1 << 0;
    const OUT: u16 = 1 << 1;
    const NONE: u16 = 1 << 2;
    const STRICT: u16 = 1 << 3;
    let mut flags = 0;
    let mut elements = vec![PolicyElement::default()];
    for option in &module.options {
        let negated = option.negated;
        // there is always an element that is being filled
        let Some(element) = elements.last_mut() else { return Err(not_typed(module, option)) };
        match option.name {
            "dir" => flags |= pick(word(option, 0)?, "direction", &[("in", IN), ("out", OUT)])?,
            "pol" => flags |= pick(word(option, 0)?, "policy", &[("none", NONE), ("ipsec", 0)])?,
            "strict" => flags |= STRICT,
            "reqid" => {
                let value = number(word(option, 0)?, 0..=u32::MAX)?;
                fill(option, &mut element.request, Negatable { negated, value })?;
            }
            "spi" => {
                let value = number(word(option, 0)?, 0..=u32::MAX)?;
                fill(option, &mut element.spi, Negatable { negated, value })?;
            }
            "tunnel-src" => fill(option, &mut element.source, tunnel_end(option, context)?)?,
            "tunnel-dst" => fill(option, &mut element.destination, tunnel_end(option, context)?)?,
            "proto" => {
                let value = word(option, 0)?;
                let protocol = pick(value, "protocol", &[("esp", 50), ("ah", 51), ("ipcomp", 108)])?;
                fill(option, &mut element.protocol, Negatable { negated, value: protocol })?;
            }
            "mode" => {
                let value = pick(word(option, 0)?, "mode", &[("transport", 0), ("tunnel", 1)])?;
                fill(option, &mut element.mode, Negatable { negated, value })?;
            }
            "next" if elements.len() < ELEMENTS_MAX => elements.push(PolicyElement::default()),
            "next" => return Err(needs(module, "no more than 4 elements")),
            _ => return Err(not_typed(module, option)),
        }
    }
    if flags & (IN | OUT) == 0 {
        return Err(needs(module, "`--dir in` or `--dir out`"));
    }
    if flags & NONE != 0 {
        if flags & STRICT != 0 || elements.iter().any(|element| *element != PolicyElement::default()) {
            return Err(needs(module, "neither `--strict` nor elements with `--pol none`"));
        }
        elements.clear();
    }
    for element in &elements {
        if flags & STRICT != 0 && *element == PolicyElement::default() {
            return Err(needs(module, "no empty element with `--strict`"));
        }
        let tunnel = element.mode.as_ref().is_some_and(|mode| (mode.value == 1) != mode.negated);
        if (element.source.is_some() || element.destination.is_some()) && !tunnel {
            return Err(needs(module, "`--mode tunnel` for `--tunnel-src` and `--tunnel-dst`"));
        }
    }
    Ok(Policy { flags, elements })
}

fn pick<T: Copy>(value: &Value, what: &str, known: &[(&'static str, T)]) -> Result<T, RuleProblem> {
    exact_choice(value, &value.text, what, known)
}

fn fill<T>(option: &OptionUse, place: &mut Option<T>, value: T) -> Result<(), RuleProblem> {
    if place.replace(value).is_some() {
        return Err(wrong_use(option, format!("a second `--{}` in one element", option.name)));
    }
    Ok(())
}

fn tunnel_end(option: &OptionUse, context: &Context<'_>) -> Result<Negatable<CtAddress>, TypedError> {
    let value = word(option, 0)?;
    let (address, mask) = match value.text.split_once('/') {
        Some((_, mask)) if mask.contains(['.', ':']) => {
            return Err(TypedError::form(option, "a mask that is no prefix length"));
        }
        Some((address, mask)) => (address, Some(mask_in(value, mask, context.family)?)),
        None => (value.text.as_str(), None),
    };
    let address = address_in(value, address, context.family)?;
    Ok(Negatable { negated: option.negated, value: CtAddress { address, mask } })
}
