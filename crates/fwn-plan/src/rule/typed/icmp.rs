//! `icmp` and `icmp6`: types and codes by number or name.

use super::value::{Range, number_in, ordered, unknown, wrong};
use super::{Context, TypedError, single};
use crate::netfilter::Family;
use crate::rule::{Module, Negatable, RuleProblem, Value};

/// `-m icmp` or `-m icmp6`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmp {
    /// Whether a `!` stood before the type.
    pub negated: bool,
    /// The type; 255 means any in IPv4.
    pub kind: u8,
    /// The codes.
    pub codes: Range<u8>,
}

pub(super) fn parse(module: &Module, context: &Context<'_>) -> Result<Icmp, TypedError> {
    let name = match context.family {
        Family::Ipv4 => "icmp-type",
        Family::Ipv6 => "icmpv6-type",
    };
    let Negatable { negated, value: (kind, codes) } =
        single(module, name, |value| parse_type(value, context.family))?;
    Ok(Icmp { negated, kind, codes })
}

/// A name, which may be cut short where it stays unique, or `TYPE`, `TYPE/CODE`, `TYPE/CODE:CODE`.
fn parse_type(value: &Value, family: Family) -> Result<(u8, Range<u8>), RuleProblem> {
    let text = value.text.as_str();
    let names = match family {
        Family::Ipv4 => V4,
        Family::Ipv6 => V6,
    };
    let starts = |name: &&Name| {
        name.0.get(..text.len()).is_some_and(|start| !text.is_empty() && start.eq_ignore_ascii_case(text))
    };
    let mut found = names.iter().filter(starts);
    match (found.next(), found.next()) {
        (Some(Name(_, kind, first, last)), None) => {
            return Ok((*kind, Range { first: *first, last: *last }));
        }
        (Some(one), Some(other)) => {
            return Err(wrong(value, format!("`{text}` can be ICMP type `{}` or `{}`", one.0, other.0)));
        }
        (None, _) => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(unknown(value, "ICMP type", text, names.iter().map(|name| name.0)));
    }
    let (kind, codes) = match text.split_once('/') {
        None => (text, Range { first: 0, last: u8::MAX }),
        Some((kind, codes)) => {
            let (first, last) = codes.split_once(':').unwrap_or((codes, codes));
            let number = |text| number_in(value, text, 0..=u8::MAX);
            (kind, ordered(value, Range { first: number(first)?, last: number(last)? })?)
        }
    };
    Ok((number_in(value, kind, 0..=u8::MAX)?, codes))
}

/// Name, type, first and last code.
struct Name(&'static str, u8, u8, u8);

/// Names of iptables for the types and codes of RFC 792, 950, 1122, 1256 and 1812.
const V4: &[Name] = &[
    Name("any", 255, 0, 255),
    Name("echo-reply", 0, 0, 255),
    Name("pong", 0, 0, 255),
    Name("destination-unreachable", 3, 0, 255),
    Name("network-unreachable", 3, 0, 0),
    Name("host-unreachable", 3, 1, 1),
    Name("protocol-unreachable", 3, 2, 2),
    Name("port-unreachable", 3, 3, 3),
    Name("fragmentation-needed", 3, 4, 4),
    Name("source-route-failed", 3, 5, 5),
    Name("network-unknown", 3, 6, 6),
    Name("host-unknown", 3, 7, 7),
    Name("network-prohibited", 3, 9, 9),
    Name("host-prohibited", 3, 10, 10),
    Name("TOS-network-unreachable", 3, 11, 11),
    Name("TOS-host-unreachable", 3, 12, 12),
    Name("communication-prohibited", 3, 13, 13),
    Name("host-precedence-violation", 3, 14, 14),
    Name("precedence-cutoff", 3, 15, 15),
    Name("source-quench", 4, 0, 255),
    Name("redirect", 5, 0, 255),
    Name("network-redirect", 5, 0, 0),
    Name("host-redirect", 5, 1, 1),
    Name("TOS-network-redirect", 5, 2, 2),
    Name("TOS-host-redirect", 5, 3, 3),
    Name("echo-request", 8, 0, 255),
    Name("ping", 8, 0, 255),
    Name("router-advertisement", 9, 0, 255),
    Name("router-solicitation", 10, 0, 255),
    Name("time-exceeded", 11, 0, 255),
    Name("ttl-exceeded", 11, 0, 255),
    Name("ttl-zero-during-transit", 11, 0, 0),
    Name("ttl-zero-during-reassembly", 11, 1, 1),
    Name("parameter-problem", 12, 0, 255),
    Name("ip-header-bad", 12, 0, 0),
    Name("required-option-missing", 12, 1, 1),
    Name("timestamp-request", 13, 0, 255),
    Name("timestamp-reply", 14, 0, 255),
    Name("address-mask-request", 17, 0, 255),
    Name("address-mask-reply", 18, 0, 255),
];

/// Names of iptables for the types and codes of RFC 4443 and 4861.
const V6: &[Name] = &[
    Name("destination-unreachable", 1, 0, 255),
    Name("no-route", 1, 0, 0),
    Name("communication-prohibited", 1, 1, 1),
    Name("beyond-scope", 1, 2, 2),
    Name("address-unreachable", 1, 3, 3),
    Name("port-unreachable", 1, 4, 4),
    Name("failed-policy", 1, 5, 5),
    Name("reject-route", 1, 6, 6),
    Name("packet-too-big", 2, 0, 255),
    Name("time-exceeded", 3, 0, 255),
    Name("ttl-exceeded", 3, 0, 255),
    Name("ttl-zero-during-transit", 3, 0, 0),
    Name("ttl-zero-during-reassembly", 3, 1, 1),
    Name("parameter-problem", 4, 0, 255),
    Name("bad-header", 4, 0, 0),
    Name("unknown-header-type", 4, 1, 1),
    Name("unknown-option", 4, 2, 2),
    Name("echo-request", 128, 0, 255),
    Name("ping", 128, 0, 255),
    Name("echo-reply", 129, 0, 255),
    Name("pong", 129, 0, 255),
    Name("router-solicitation", 133, 0, 255),
    Name("router-advertisement", 134, 0, 255),
    Name("neighbour-solicitation", 135, 0, 255),
    Name("neighbor-solicitation", 135, 0, 255),
    Name("neighbour-advertisement", 136, 0, 255),
    Name("neighbor-advertisement", 136, 0, 255),
    Name("redirect", 137, 0, 255),
];
