//! `addrtype`, `iprange`, `mac` and `owner`.

use std::net::IpAddr;

use super::value::{Range, address_in, mac, number_in, prefix_list, word, wrong};
use super::{Context, TypedError, needs, not_typed, single};
use crate::netfilter::Family;
use crate::rule::{Module, Negatable, RuleProblem, Value};

/// `-m addrtype`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Addrtype {
    /// `--src-type`: `XT_ADDRTYPE_*` bits (`linux/netfilter/xt_addrtype.h`).
    pub source: Option<Negatable<u16>>,
    /// `--dst-type`
    pub destination: Option<Negatable<u16>>,
    /// `--limit-iface-in`
    pub in_interface: bool,
    /// `--limit-iface-out`
    pub out_interface: bool,
}

/// `-m iprange`; a range may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IpRanges {
    /// `--src-range`
    pub source: Option<Negatable<Range<IpAddr>>>,
    /// `--dst-range`
    pub destination: Option<Negatable<Range<IpAddr>>>,
}

/// `-m owner`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owner {
    /// `--uid-owner`
    pub user: Option<Negatable<Range<u32>>>,
    /// `--gid-owner`
    pub group: Option<Negatable<Range<u32>>>,
    /// `--socket-exists` (true) or its negation (false).
    pub socket: Option<bool>,
    /// `--suppl-groups`
    pub supplementary_groups: bool,
}

/// `XT_ADDRTYPE_*`; of names cut short the first counts.
const TYPES: [(&str, u16); 12] = [
    ("UNSPEC", 1 << 0),
    ("UNICAST", 1 << 1),
    ("LOCAL", 1 << 2),
    ("BROADCAST", 1 << 3),
    ("ANYCAST", 1 << 4),
    ("MULTICAST", 1 << 5),
    ("BLACKHOLE", 1 << 6),
    ("UNREACHABLE", 1 << 7),
    ("PROHIBIT", 1 << 8),
    ("THROW", 1 << 9),
    ("NAT", 1 << 10),
    ("XRESOLVE", 1 << 11),
];
/// What IPv6 has no routes of: broadcast, blackhole, prohibit and what follows (`addrtype_mt_checkentry_v1`,
/// `net/netfilter/xt_addrtype.c`).
const NOT_IPV6: u16 = 1 << 3 | 1 << 6 | 0xff00;

pub(super) fn parse_addrtype(module: &Module, context: &Context<'_>) -> Result<Addrtype, TypedError> {
    let mut it = Addrtype::default();
    for option in &module.options {
        let types = || {
            let value = word(option, 0)?;
            let types = prefix_list(value, "address type", &TYPES)?;
            if context.family == Family::Ipv6 && types & NOT_IPV6 != 0 {
                return Err(wrong(value, format!("IPv6 does not have all of the types `{}`", value.text)));
            }
            Ok(Some(Negatable { negated: option.negated, value: types }))
        };
        match option.name {
            "src-type" => it.source = types()?,
            "dst-type" => it.destination = types()?,
            "limit-iface-in" => it.in_interface = true,
            "limit-iface-out" => it.out_interface = true,
            _ => return Err(not_typed(module, option)),
        }
    }
    if it.source.is_none() && it.destination.is_none() {
        return Err(needs(module, "`--src-type` or `--dst-type`"));
    }
    Ok(it)
}

pub(super) fn parse_ip_ranges(module: &Module, context: &Context<'_>) -> Result<IpRanges, TypedError> {
    let mut it = IpRanges::default();
    for option in &module.options {
        let range = || {
            let value = word(option, 0)?;
            let (first, last) = value.text.split_once('-').unwrap_or((&value.text, &value.text));
            let range = Range {
                first: address_in(value, first, context.family)?,
                last: address_in(value, last, context.family)?,
            };
            Ok::<_, RuleProblem>(Some(Negatable { negated: option.negated, value: range }))
        };
        match option.name {
            "src-range" => it.source = range()?,
            "dst-range" => it.destination = range()?,
            _ => return Err(not_typed(module, option)),
        }
    }
    if it == IpRanges::default() { Err(needs(module, "`--src-range` or `--dst-range`")) } else { Ok(it) }
}

pub(super) fn parse_mac(module: &Module) -> Result<Negatable<[u8; 6]>, TypedError> {
    single(module, "mac-source", mac)
}

pub(super) fn parse_owner(module: &Module, context: &Context<'_>) -> Result<Owner, TypedError> {
    let mut owner = Owner::default();
    for option in &module.options {
        let negated = option.negated;
        match option.name {
            "uid-owner" => {
                let value = parse_ids(word(option, 0)?, "user", |name| context.databases.user(name))?;
                owner.user = Some(Negatable { negated, value });
            }
            "gid-owner" => {
                let value = parse_ids(word(option, 0)?, "group", |name| context.databases.group(name))?;
                owner.group = Some(Negatable { negated, value });
            }
            "socket-exists" => owner.socket = Some(!negated),
            "suppl-groups" if owner.group.is_some() => owner.supplementary_groups = true,
            "suppl-groups" => return Err(needs(module, "`--gid-owner` before `--suppl-groups`")),
            _ => return Err(not_typed(module, option)),
        }
    }
    if owner == Owner::default() { Err(needs(module, "an owner")) } else { Ok(owner) }
}

/// A name, a number, or two numbers with `-` or `:` between; a name that looks like a number is a name.
fn parse_ids(
    value: &Value,
    what: &str,
    by_name: impl Fn(&str) -> Option<u32>,
) -> Result<Range<u32>, RuleProblem> {
    if let Some(id) = by_name(&value.text) {
        return Ok(Range::single(id));
    }
    if !value.text.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(wrong(value, format!("unknown {what} `{}`", value.text)));
    }
    let id = |text| number_in(value, text, 0..=u32::MAX - 1);
    match value.text.split_once(['-', ':']) {
        Some((first, last)) => Ok(Range { first: id(first)?, last: id(last)? }),
        None => id(&value.text).map(Range::single),
    }
}
