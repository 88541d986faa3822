//! `conntrack`, its older name `state`, and `connmark`.

use std::net::IpAddr;

use super::value::{Masked, Range, address_in, choice, mask_in, masked_u32, number_range, prefix_list, word};
use super::{Context, TypedError, needs, not_typed, single};
use crate::rule::{Module, Negatable, OptionUse};

/// `-m conntrack` or `-m state`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conntrack {
    /// `--ctstate` or `--state`: `XT_CONNTRACK_STATE_*` bits.
    pub states: Option<Negatable<u16>>,
    /// `--ctproto`
    pub protocol: Option<Negatable<u8>>,
    /// `--ctorigsrc`, `--ctorigdst`, `--ctreplsrc`, `--ctrepldst`
    pub addresses: [Option<Negatable<CtAddress>>; 4],
    /// `--ctorigsrcport`, `--ctorigdstport`, `--ctreplsrcport`, `--ctrepldstport`
    pub ports: [Option<Negatable<Range<u16>>>; 4],
    /// `--ctstatus`: `IPS_*` bits.
    pub status: Option<Negatable<u16>>,
    /// `--ctexpire`, in seconds.
    pub expires: Option<Negatable<Range<u32>>>,
    /// `--ctdir`
    pub direction: Option<Direction>,
    /// Whether it was written as `-m state`, and is to be listed so.
    pub alias: bool,
}

/// An address of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CtAddress {
    /// As written, host bits included.
    pub address: IpAddr,
    /// Its mask, if one was written.
    pub mask: Option<IpAddr>,
}

/// `--ctdir`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `ORIGINAL`
    Original,
    /// `REPLY`
    Reply,
}

/// `XT_CONNTRACK_STATE_*` (`linux/netfilter/xt_conntrack.h`), `IP_CT_*` (`linux/netfilter/nf_conntrack_common.h`).
const STATES: [(&str, u16); 7] = [
    ("INVALID", 1 << 0),
    ("NEW", 1 << 3),
    ("ESTABLISHED", 1 << 1),
    ("RELATED", 1 << 2),
    ("UNTRACKED", 1 << 8),
    ("SNAT", 1 << 6),
    ("DNAT", 1 << 7),
];

/// `enum ip_conntrack_status` (`linux/netfilter/nf_conntrack_common.h`)
const STATUSES: [(&str, u16); 5] =
    [("NONE", 0), ("EXPECTED", 1 << 0), ("SEEN_REPLY", 1 << 1), ("ASSURED", 1 << 2), ("CONFIRMED", 1 << 3)];

pub(super) fn parse(module: &Module, context: &Context<'_>) -> Result<Conntrack, TypedError> {
    let mut conntrack = Conntrack::default();
    if module.options.is_empty() {
        return Err(needs(module, "an option"));
    }
    for option in &module.options {
        let negated = option.negated;
        match option.name {
            "ctstate" => {
                let value = prefix_list(word(option, 0)?, "connection state", &STATES)?;
                conntrack.states = Some(Negatable { negated, value });
            }
            "ctproto" => {
                let value = context.protocol_number(word(option, 0)?)?;
                conntrack.protocol = Some(Negatable { negated, value });
            }
            "ctorigsrc" => conntrack.addresses[0] = Some(address(option, context)?),
            "ctorigdst" => conntrack.addresses[1] = Some(address(option, context)?),
            "ctreplsrc" => conntrack.addresses[2] = Some(address(option, context)?),
            "ctrepldst" => conntrack.addresses[3] = Some(address(option, context)?),
            "ctorigsrcport" => conntrack.ports[0] = Some(port(option)?),
            "ctorigdstport" => conntrack.ports[1] = Some(port(option)?),
            "ctreplsrcport" => conntrack.ports[2] = Some(port(option)?),
            "ctrepldstport" => conntrack.ports[3] = Some(port(option)?),
            "ctstatus" => {
                let value = prefix_list(word(option, 0)?, "connection status", &STATUSES)?;
                conntrack.status = Some(Negatable { negated, value });
            }
            "ctexpire" => {
                let value = number_range(word(option, 0)?, 0..=u32::MAX)?;
                conntrack.expires = Some(Negatable { negated, value });
            }
            "ctdir" => {
                let value = word(option, 0)?;
                let known = [("ORIGINAL", Direction::Original), ("REPLY", Direction::Reply)];
                conntrack.direction = Some(choice(value, &value.text, "direction", &known)?);
            }
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(conntrack)
}

pub(super) fn parse_state(module: &Module) -> Result<Conntrack, TypedError> {
    // the states that the old match knew
    let known = STATES.get(..5).unwrap_or(&STATES);
    let states = single(module, "state", |value| prefix_list(value, "connection state", known))?;
    Ok(Conntrack { states: Some(states), alias: true, ..Conntrack::default() })
}

pub(super) fn address(option: &OptionUse, context: &Context<'_>) -> Result<Negatable<CtAddress>, TypedError> {
    let value = word(option, 0)?;
    let (address, mask) = match value.text.split_once('/') {
        Some((_, mask)) if !is_decimal(mask) => {
            return Err(TypedError::form(option, "a mask that is no prefix length"));
        }
        Some((address, mask)) => (address, Some(mask_in(value, mask, context.family)?)),
        None => (value.text.as_str(), None),
    };
    let value = CtAddress { address: address_in(value, address, context.family)?, mask };
    Ok(Negatable { negated: option.negated, value })
}

/// Numbers only: iptables asks the resolver for names here.
pub(super) fn port(option: &OptionUse) -> Result<Negatable<Range<u16>>, TypedError> {
    let value = word(option, 0)?;
    if !value.text.split(':').all(|end| is_decimal(end) || end.is_empty()) {
        return Err(TypedError::form(option, "a port that is not a plain number"));
    }
    Ok(Negatable { negated: option.negated, value: number_range(value, 0..=u16::MAX)? })
}

fn is_decimal(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|digit| digit.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'))
}

/// `mark` and `connmark`
pub(super) fn parse_mark(module: &Module) -> Result<Negatable<Masked<u32>>, TypedError> {
    single(module, "mark", masked_u32)
}
