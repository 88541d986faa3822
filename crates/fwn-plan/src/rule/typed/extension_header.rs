//! Matches on the extension headers of IPv6: `ah`, `dst`, `frag`, `hbh`, `ipv6header`, `mh`, `rt`, `srh`.

use std::net::Ipv6Addr;

use super::conntrack::{self, CtAddress};
use super::value::{Range, list, number, number_in, number_range, ordered, unknown, word, wrong, wrong_use};
use super::{Context, TypedError, needs, not_typed, single};
use crate::rule::{Module, Negatable, OptionUse, RuleProblem, Value};

/// `-m ah` of IPv6
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthenticationHeader {
    /// `--ahspi`
    pub spis: Option<Negatable<Range<u32>>>,
    /// `--ahlen`, in bytes.
    pub length: Option<Negatable<u32>>,
    /// `--ahres`
    pub reserved: bool,
}

/// `-m dst` and `-m hbh`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OptionsHeader {
    /// `--dst-len`, `--hbh-len`, in bytes.
    pub length: Option<Negatable<u32>>,
    /// `--dst-opts`, `--hbh-opts`, at most 16: types, and lengths where one is asked for.
    pub options: Option<Vec<(u8, Option<u8>)>>,
}

/// `-m frag`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FragmentHeader {
    /// `--fragid`
    pub ids: Option<Negatable<Range<u32>>>,
    /// `--fraglen`; the kernel does not look at it.
    pub length: Option<Negatable<u32>>,
    /// `IP6T_FRAG_*` bits (`linux/netfilter_ipv6/ip6t_frag.h`) of the options without a value.
    pub flags: u8,
}

/// `-m ipv6header`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    /// `MASK_*` bits (`linux/netfilter_ipv6/ip6t_ipv6header.h`).
    pub headers: Negatable<u8>,
    /// Whether other headers may be there too.
    pub soft: bool,
}

/// `-m rt`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoutingHeader {
    /// `--rt-type`
    pub kind: Option<Negatable<u32>>,
    /// `--rt-segsleft`
    pub segments_left: Option<Negatable<Range<u32>>>,
    /// `--rt-len`, in bytes.
    pub length: Option<Negatable<u32>>,
    /// `--rt-0-res`
    pub reserved: bool,
    /// `--rt-0-addrs`, at most 16.
    pub addresses: Option<Vec<Ipv6Addr>>,
    /// `--rt-0-not-strict`
    pub not_strict: bool,
}

/// `-m srh`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SegmentHeader {
    /// `IP6T_SRH_*` bits (`linux/netfilter_ipv6/ip6t_srh.h`): what is looked at.
    pub used: u16,
    /// What is negated, of the same bits.
    pub inverted: u16,
    /// Next header, length, segments left, last entry; one number serves all three ways to compare.
    pub fields: [u8; 4],
    /// `--srh-tag`
    pub tag: u16,
    /// `--srh-psid`, `--srh-nsid`, `--srh-lsid`
    pub segments: [Option<CtAddress>; 3],
}

pub(super) fn parse_ah(module: &Module) -> Result<AuthenticationHeader, TypedError> {
    let mut header = AuthenticationHeader::default();
    for option in &module.options {
        match option.name {
            "ahspi" => header.spis = Some(range(option)?),
            "ahlen" => header.length = Some(length(option)?),
            "ahres" => header.reserved = true,
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(header)
}

pub(super) fn parse_options(module: &Module) -> Result<OptionsHeader, TypedError> {
    let mut header = OptionsHeader::default();
    for option in &module.options {
        match option.name {
            "dst-len" | "hbh-len" => header.length = Some(length(option)?),
            "dst-opts" | "hbh-opts" => header.options = Some(parse_types(word(option, 0)?)?),
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(header)
}

/// `TYPE[:LENGTH],...`
fn parse_types(value: &Value) -> Result<Vec<(u8, Option<u8>)>, RuleProblem> {
    /// `IP6T_OPTS_OPTSNR` (`linux/netfilter_ipv6/ip6t_opts.h`)
    const OPTIONS_MAX: usize = 16;
    let mut types = Vec::new();
    for part in list(value)? {
        let byte = |text| number_in(value, text, 0..=u8::MAX);
        types.push(match part.split_once(':') {
            Some((kind, length)) => (byte(kind)?, Some(byte(length)?)),
            None => (byte(part)?, None),
        });
    }
    if types.iter().any(|(kind, length)| *kind == 0 && length.is_some()) {
        return Err(wrong(value, "option 0 is a single byte and has no length"));
    }
    // iptables has no last place for an option with a length
    let room = match types.last() {
        Some((_, Some(_))) => OPTIONS_MAX - 1,
        _ => OPTIONS_MAX,
    };
    if types.len() > room {
        return Err(wrong(value, format!("`{}` has more than {room} options", value.text)));
    }
    Ok(types)
}

pub(super) fn parse_frag(module: &Module) -> Result<FragmentHeader, TypedError> {
    let mut header = FragmentHeader::default();
    for option in &module.options {
        match option.name {
            "fragid" => header.ids = Some(range(option)?),
            "fraglen" => header.length = Some(length(option)?),
            "fragres" => header.flags |= 1 << 2,
            "fragfirst" => header.flags |= 1 << 3,
            "fragmore" => header.flags |= 1 << 4,
            "fraglast" => header.flags |= 1 << 5,
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(header)
}

pub(super) fn parse_headers(module: &Module, context: &Context<'_>) -> Result<Headers, TypedError> {
    let (mut headers, mut soft) = (None, false);
    for option in &module.options {
        match option.name {
            "header" => {
                let value = word(option, 0)?;
                let bits = list(value)?.try_fold(0, |all, name| Ok(all | header_bit(value, name, context)?));
                headers =
                    Some(Negatable { negated: option.negated, value: bits.map_err(TypedError::Wrong)? });
            }
            "soft" => soft = true,
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(Headers { headers: headers.ok_or_else(|| needs(module, "`--header`"))?, soft })
}

/// The bit of a header by the name of its protocol, by one of iptables' own names, or by number.
fn header_bit(value: &Value, name: &str, context: &Context<'_>) -> Result<u8, RuleProblem> {
    /// Names and `IPPROTO_*` numbers (`linux/in6.h`, `netinet/in.h`).
    const NAMES: [(&str, u8); 10] = [
        ("hop-by-hop", 0),
        ("hop", 0),
        ("route", 43),
        ("frag", 44),
        ("esp", 50),
        ("auth", 51),
        ("none", 59),
        ("dst", 60),
        ("protocol", 255),
        ("prot", 255),
    ];
    /// Numbers in the order of their bits, from the lowest.
    const BITS: [u8; 8] = [255, 59, 50, 51, 44, 43, 60, 0];
    let known = || NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let number = context.databases.protocol(name).or_else(known);
    number
        .or_else(|| BITS.into_iter().find(|number| number.to_string() == name))
        .and_then(|number| BITS.iter().position(|known| *known == number))
        .map(|bit| 1 << bit)
        .ok_or_else(|| unknown(value, "header", name, NAMES.iter().map(|(name, _)| *name)))
}

/// Types of mobility headers.
pub(super) fn parse_mobility(module: &Module) -> Result<Negatable<Range<u8>>, TypedError> {
    if module.options.is_empty() {
        return Ok(Negatable { negated: false, value: Range { first: 0, last: u8::MAX } });
    }
    single(module, "mh-type", |value| {
        let end =
            |text: &str, default| if text.is_empty() { Ok(default) } else { mobility_type(value, text) };
        match value.text.split_once(':') {
            None => mobility_type(value, &value.text).map(Range::single),
            Some((first, last)) => ordered(value, Range { first: end(first, 0)?, last: end(last, u8::MAX)? }),
        }
    })
}

/// A name, which may be cut short, or a number. Of several names that fit, the whole one counts, else the first.
fn mobility_type(value: &Value, text: &str) -> Result<u8, RuleProblem> {
    /// Types of RFC 6275, 6.1, with iptables' short names.
    const NAMES: [(&str, u8); 16] = [
        ("binding-refresh-request", 0),
        ("brr", 0),
        ("home-test-init", 1),
        ("hoti", 1),
        ("careof-test-init", 2),
        ("coti", 2),
        ("home-test", 3),
        ("hot", 3),
        ("careof-test", 4),
        ("cot", 4),
        ("binding-update", 5),
        ("bu", 5),
        ("binding-acknowledgement", 6),
        ("ba", 6),
        ("binding-error", 7),
        ("be", 7),
    ];
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return number_in(value, text, 0..=u8::MAX);
    }
    let begins = |name: &str| {
        name.get(..text.len()).is_some_and(|start| !text.is_empty() && start.eq_ignore_ascii_case(text))
    };
    let whole = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    whole
        .or_else(|| NAMES.iter().find(|(name, _)| begins(name)))
        .map(|(_, number)| *number)
        .ok_or_else(|| unknown(value, "type of mobility header", text, NAMES.iter().map(|(name, _)| *name)))
}

pub(super) fn parse_routing(module: &Module) -> Result<RoutingHeader, TypedError> {
    let mut header = RoutingHeader::default();
    for option in &module.options {
        // iptables looks at what stands before the option
        let old = header.kind == Some(Negatable { negated: false, value: 0 });
        if option.name.starts_with("rt-0-") && !old {
            return Err(
                wrong_use(option, format!("`--{}` needs `--rt-type 0` before it", option.name)).into()
            );
        }
        match option.name {
            "rt-type" => header.kind = Some(length(option)?),
            "rt-segsleft" => header.segments_left = Some(range(option)?),
            "rt-len" => header.length = Some(length(option)?),
            "rt-0-res" => header.reserved = true,
            "rt-0-addrs" => header.addresses = Some(parse_addresses(word(option, 0)?)?),
            "rt-0-not-strict" if header.addresses.is_some() => header.not_strict = true,
            "rt-0-not-strict" => {
                return Err(wrong_use(option, "`--rt-0-not-strict` needs `--rt-0-addrs` before it").into());
            }
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(header)
}

fn parse_addresses(value: &Value) -> Result<Vec<Ipv6Addr>, RuleProblem> {
    /// `IP6T_RT_HOPS` (`linux/netfilter_ipv6/ip6t_rt.h`)
    const ADDRESSES_MAX: usize = 16;
    let parse =
        |text: &str| text.parse().map_err(|_| wrong(value, format!("`{text}` is not an ipv6 address")));
    let addresses = list(value)?.map(parse).collect::<Result<Vec<_>, _>>()?;
    if addresses.len() > ADDRESSES_MAX {
        return Err(wrong(value, format!("more than {ADDRESSES_MAX} addresses")));
    }
    Ok(addresses)
}

pub(super) fn parse_segments(module: &Module, context: &Context<'_>) -> Result<SegmentHeader, TypedError> {
    /// Options in the order of their bits, and the field that each is about.
    const FIELDS: [(&str, usize); 10] = [
        ("srh-next-hdr", 0),
        ("srh-hdr-len-eq", 1),
        ("srh-hdr-len-gt", 1),
        ("srh-hdr-len-lt", 1),
        ("srh-segs-left-eq", 2),
        ("srh-segs-left-gt", 2),
        ("srh-segs-left-lt", 2),
        ("srh-last-entry-eq", 3),
        ("srh-last-entry-gt", 3),
        ("srh-last-entry-lt", 3),
    ];
    let mut header = SegmentHeader::default();
    for option in &module.options {
        let [previous, next, last] = &mut header.segments;
        let segment = |place: &mut Option<CtAddress>| {
            *place = Some(conntrack::address(option, context)?.value);
            Ok::<_, TypedError>(())
        };
        let bit = match option.name {
            "srh-tag" => {
                header.tag = number(word(option, 0)?, 0..=u16::MAX)?;
                10
            }
            "srh-psid" => segment(previous).map(|()| 11)?,
            "srh-nsid" => segment(next).map(|()| 12)?,
            "srh-lsid" => segment(last).map(|()| 13)?,
            name => {
                let found = FIELDS.iter().enumerate().find(|(_, (known, _))| *known == name);
                let (bit, (_, field)) = found.ok_or_else(|| not_typed(module, option))?;
                if let Some(field) = header.fields.get_mut(*field) {
                    *field = number(word(option, 0)?, 0..=u8::MAX)?;
                }
                bit
            }
        };
        header.used |= 1 << bit;
        header.inverted |= u16::from(option.negated) << bit;
    }
    Ok(header)
}

fn length(option: &OptionUse) -> Result<Negatable<u32>, RuleProblem> {
    Ok(Negatable { negated: option.negated, value: number(word(option, 0)?, 0..=u32::MAX)? })
}

fn range(option: &OptionUse) -> Result<Negatable<Range<u32>>, RuleProblem> {
    Ok(Negatable { negated: option.negated, value: number_range(word(option, 0)?, 0..=u32::MAX)? })
}
