//! Matches on the less common headers behind IP's, and on who wrote them: `dccp`, `ipcomp`, `osf`.

use super::conntrack::port;
use super::value::{Range, choice, list, number, number_range, text, word};
use super::{TypedError, needs, not_typed};
use crate::rule::{Module, Negatable, RuleProblem, Value};

/// `-m dccp`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dccp {
    /// `--sport`; a range that ends before it begins holds nothing.
    pub source: Option<Negatable<Range<u16>>>,
    /// `--dport`
    pub destination: Option<Negatable<Range<u16>>>,
    /// `--dccp-types`: a bit for each type.
    pub types: Option<Negatable<u16>>,
    /// `--dccp-option`, 1 to 255.
    pub option: Option<Negatable<u8>>,
}

/// `-m ipcomp`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ipcomp {
    /// `--ipcompspi`; without it, just 0.
    pub spis: Negatable<Range<u32>>,
    /// `--compres`
    pub reserved: bool,
}

/// `-m osf`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// `--genre`, at most 31 bytes.
    pub genre: Negatable<String>,
    /// `--ttl`, 0 to 2.
    pub hops: Option<u32>,
    /// `--log`, 0 to 2.
    pub log: Option<u32>,
}

pub(super) fn parse_dccp(module: &Module) -> Result<Dccp, TypedError> {
    let mut dccp = Dccp::default();
    for option in &module.options {
        let negated = option.negated;
        match option.name {
            "sport" => dccp.source = Some(port(option)?),
            "dport" => dccp.destination = Some(port(option)?),
            "dccp-types" => {
                dccp.types = Some(Negatable { negated, value: parse_types(word(option, 0)?)? });
            }
            "dccp-option" => {
                dccp.option = Some(Negatable { negated, value: number(word(option, 0)?, 1..=u8::MAX)? });
            }
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(dccp)
}

fn parse_types(value: &Value) -> Result<u16, RuleProblem> {
    /// Types of RFC 4340, 5.1, as bits; all that are not assigned are invalid.
    const TYPES: [(&str, u16); 11] = [
        ("REQUEST", 1 << 0),
        ("RESPONSE", 1 << 1),
        ("DATA", 1 << 2),
        ("ACK", 1 << 3),
        ("DATAACK", 1 << 4),
        ("CLOSEREQ", 1 << 5),
        ("CLOSE", 1 << 6),
        ("RESET", 1 << 7),
        ("SYNC", 1 << 8),
        ("SYNCACK", 1 << 9),
        ("INVALID", 0b11_1111 << 10),
    ];
    list(value)?.try_fold(0, |all, part| Ok(all | choice(value, part, "DCCP type", &TYPES)?))
}

pub(super) fn parse_ipcomp(module: &Module) -> Result<Ipcomp, TypedError> {
    let mut ipcomp = Ipcomp { spis: Negatable { negated: false, value: Range::single(0) }, reserved: false };
    for option in &module.options {
        match option.name {
            "ipcompspi" => {
                let value = number_range(word(option, 0)?, 0..=u32::MAX)?;
                ipcomp.spis = Negatable { negated: option.negated, value };
            }
            "compres" => ipcomp.reserved = true,
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(ipcomp)
}

pub(super) fn parse_fingerprint(module: &Module) -> Result<Fingerprint, TypedError> {
    /// `MAXGENRELEN` (`linux/netfilter/xt_osf.h`) without its NUL
    const GENRE_MAX: usize = 31;
    let (mut genre, mut hops, mut log) = (None, None, None);
    for option in &module.options {
        let value = word(option, 0)?;
        match option.name {
            "genre" => genre = Some(Negatable { negated: option.negated, value: text(value, GENRE_MAX)? }),
            "ttl" => hops = Some(number(value, 0..=2)?),
            "log" => log = Some(number(value, 0..=2)?),
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(Fingerprint { genre: genre.ok_or_else(|| needs(module, "`--genre`"))?, hops, log })
}
