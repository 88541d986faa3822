//! Matches that look at one thing of a packet: `comment` (at none), `dscp`, `hl`, `length`, `pkttype`, `statistic`,
//! `tcpmss`, `tos`, `ttl`.

use super::value::{
    Masked, Range, choice, digits, exact_choice, number, number_in, number_range, ordered, text, word, wrong,
};
use super::{TypedError, needs, not_typed, single};
use crate::rule::{Module, Negatable, OptionUse, RuleProblem, Value};

/// `-m ttl` or `-m hl`: what the hop limit is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compare {
    /// How.
    pub operator: Operator,
    /// With what.
    pub value: u8,
}

/// A comparison; the numbers are those of `IPT_TTL_*` (`linux/netfilter_ipv4/ipt_ttl.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Equal.
    Equal = 0,
    /// Not equal.
    NotEqual = 1,
    /// Less than.
    Less = 2,
    /// Greater than.
    Greater = 3,
}

/// `-m statistic`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// `--probability`, in units of 2^-31.
    Random(u32),
    /// `--every`, from 1, and `--packet`, below it.
    Nth {
        /// One of how many.
        every: u32,
        /// Which of them.
        packet: u32,
    },
}

/// Class names of DiffServ (RFC 2474, 2597, 3246) by code point.
const DSCP_CLASSES: [(&str, u8); 22] = [
    ("CS0", 0x00),
    ("CS1", 0x08),
    ("CS2", 0x10),
    ("CS3", 0x18),
    ("CS4", 0x20),
    ("CS5", 0x28),
    ("CS6", 0x30),
    ("CS7", 0x38),
    ("BE", 0x00),
    ("AF11", 0x0a),
    ("AF12", 0x0c),
    ("AF13", 0x0e),
    ("AF21", 0x12),
    ("AF22", 0x14),
    ("AF23", 0x16),
    ("AF31", 0x1a),
    ("AF32", 0x1c),
    ("AF33", 0x1e),
    ("AF41", 0x22),
    ("AF42", 0x24),
    ("AF43", 0x26),
    ("EF", 0x2e),
];

/// `PACKET_*` (`linux/if_packet.h`)
const PACKET_TYPES: [(&str, u8); 7] = [
    ("unicast", 0),
    ("broadcast", 1),
    ("multicast", 2),
    ("otherhost", 3),
    ("bcast", 1),
    ("mcast", 2),
    ("host", 0),
];

/// `IPTOS_*` (`linux/ip.h`)
const TOS_NAMES: [(&str, u8); 5] = [
    ("Minimize-Delay", 0x10),
    ("Maximize-Throughput", 0x08),
    ("Maximize-Reliability", 0x04),
    ("Minimize-Cost", 0x02),
    ("Normal-Service", 0x00),
];

pub(super) fn parse_comment(module: &Module) -> Result<String, TypedError> {
    /// `XT_MAX_COMMENT_LEN` (`linux/netfilter/xt_comment.h`) without the NUL
    const COMMENT_MAX: usize = 255;
    single(module, "comment", |value| text(value, COMMENT_MAX)).map(|comment| comment.value)
}

pub(super) fn parse_dscp(module: &Module) -> Result<Negatable<u8>, TypedError> {
    dscp_use(module, "dscp", "dscp-class")
}

pub(super) fn dscp_use(
    module: &Module,
    number_option: &str,
    class_option: &str,
) -> Result<Negatable<u8>, TypedError> {
    let mut found = None;
    for option in &module.options {
        let value = word(option, 0)?;
        let point = match option.name {
            name if name == number_option => number(value, 0..=63)?,
            name if name == class_option => choice(value, &value.text, "DiffServ class", &DSCP_CLASSES)?,
            _ => return Err(not_typed(module, option)),
        };
        found = Some(Negatable { negated: option.negated, value: point });
    }
    found.ok_or_else(|| needs(module, &format!("`--{number_option}`")))
}

pub(super) fn parse_hop_limit(module: &Module) -> Result<Compare, TypedError> {
    let mut found = None;
    for option in &module.options {
        let operator = match option.name {
            "ttl-eq" | "hl-eq" if option.negated => Operator::NotEqual,
            "ttl-eq" | "hl-eq" => Operator::Equal,
            "ttl-lt" | "hl-lt" => Operator::Less,
            "ttl-gt" | "hl-gt" => Operator::Greater,
            _ => return Err(not_typed(module, option)),
        };
        found = Some(Compare { operator, value: number(word(option, 0)?, 0..=u8::MAX)? });
    }
    found.ok_or_else(|| needs(module, "a value to compare with"))
}

pub(super) fn parse_length(module: &Module) -> Result<Negatable<Range<u16>>, TypedError> {
    single(module, "length", |value| number_range(value, 0..=u16::MAX))
}

pub(super) fn parse_tcpmss(module: &Module) -> Result<Negatable<Range<u16>>, TypedError> {
    single(module, "mss", |value| ordered(value, number_range(value, 0..=u16::MAX)?))
}

pub(super) fn parse_packet_type(module: &Module) -> Result<Negatable<u8>, TypedError> {
    single(module, "pkt-type", |value| choice(value, &value.text, "packet type", &PACKET_TYPES))
}

pub(super) fn parse_tos(module: &Module) -> Result<Negatable<Masked<u8>>, TypedError> {
    single(module, "tos", tos)
}

/// `VALUE`, `VALUE/MASK`, or a name, which has a mask of its own.
pub(super) fn tos(value: &Value) -> Result<Masked<u8>, RuleProblem> {
    let (number, mask) = match value.text.split_once('/') {
        Some((number, mask)) => (number, number_in(value, mask, 0..=u8::MAX)?),
        None if digits(&value.text).is_none() => {
            let named = choice(value, &value.text, "type of service", &TOS_NAMES)?;
            return Ok(Masked { value: named, mask: 0x3f });
        }
        None => (value.text.as_str(), u8::MAX),
    };
    Ok(Masked { value: number_in(value, number, 0..=u8::MAX)?, mask })
}

pub(super) fn parse_statistic(module: &Module) -> Result<Negatable<Statistic>, TypedError> {
    let (mut nth_mode, mut probability, mut every, mut packet) = (None, None, None, 0);
    let mut negated = false;
    for option in &module.options {
        let value = word(option, 0)?;
        negated |= option.negated;
        match option.name {
            "mode" => nth_mode = Some(parse_mode(value)?),
            "probability" => probability = Some(parse_probability(option, value)?),
            "every" => every = Some(number(value, 1..=u32::MAX)?),
            "packet" => packet = number(value, 0..=u32::MAX)?,
            _ => return Err(not_typed(module, option)),
        }
    }
    let value = match (nth_mode, probability, every) {
        (Some(false), Some(probability), None) => Statistic::Random(probability),
        (Some(true), None, Some(every)) if packet < every => Statistic::Nth { every, packet },
        (Some(true), None, Some(_)) => return Err(needs(module, "a `--packet` less than `--every`")),
        _ => {
            return Err(needs(
                module,
                "`--mode random --probability P` or `--mode nth --every N --packet P`",
            ));
        }
    };
    Ok(Negatable { negated, value })
}

/// Whether it is `nth`, not `random`.
fn parse_mode(value: &Value) -> Result<bool, RuleProblem> {
    exact_choice(value, &value.text, "mode", &[("random", false), ("nth", true)])
}

fn parse_probability(option: &OptionUse, value: &Value) -> Result<u32, TypedError> {
    /// 2^31: the unit of the kernel (`xt_statistic.c`)
    const ONE: f64 = 2_147_483_648.0;
    let plain = value.text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let Some(probability) = value.text.parse::<f64>().ok().filter(|_| plain) else {
        return Err(TypedError::form(option, "a number that is not plain"));
    };
    if probability > 1.0 {
        return Err(wrong(value, "a probability is at most 1").into());
    }
    #[expect(clippy::cast_sign_loss, reason = "a product of numbers without sign")]
    Ok((probability * ONE).round() as u32)
}
