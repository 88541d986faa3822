//! `string`: bytes to look for in a packet.

use super::value::{number, text, word, wrong};
use super::{TypedError, needs, not_typed};
use crate::rule::{Module, RuleProblem, Value};

/// `-m string`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StringMatch {
    /// The bytes, 1 to 128 of them.
    pub pattern: Vec<u8>,
    /// Whether a `!` stood before the pattern.
    pub negated: bool,
    /// `--algo`: at most 15 bytes; the kernel knows which there are.
    pub algorithm: String,
    /// `--from`
    pub from: u16,
    /// `--to`
    pub to: u16,
    /// `--icase`
    pub ignore_case: bool,
}

/// `XT_STRING_MAX_PATTERN_SIZE` (`linux/netfilter/xt_string.h`)
const PATTERN_MAX: usize = 128;
/// `XT_STRING_MAX_ALGO_NAME_SIZE` without the NUL
const ALGORITHM_MAX: usize = 15;

pub(super) fn parse(module: &Module) -> Result<StringMatch, TypedError> {
    let (mut pattern, mut algorithm) = (None, None);
    let (mut from, mut to, mut ignore_case) = (0, u16::MAX, false);
    for option in &module.options {
        match option.name {
            "string" => {
                let value = word(option, 0)?;
                pattern = Some((checked(value, value.text.clone().into_bytes())?, option.negated));
            }
            "hex-string" => {
                let value = word(option, 0)?;
                pattern = Some((checked(value, parse_hex(value)?)?, option.negated));
            }
            "algo" => algorithm = Some(text(word(option, 0)?, ALGORITHM_MAX)?),
            "from" => from = number(word(option, 0)?, 0..=u16::MAX)?,
            "to" => to = number(word(option, 0)?, 0..=u16::MAX)?,
            "icase" => ignore_case = true,
            _ => return Err(not_typed(module, option)),
        }
    }
    let (pattern, negated) = pattern.ok_or_else(|| needs(module, "`--string` or `--hex-string`"))?;
    if from > to {
        // Linux refuses it (`string_mt_check`, `net/netfilter/xt_string.c`)
        return Err(needs(module, "a `--from` that is not after its `--to`"));
    }
    let algorithm = algorithm.ok_or_else(|| needs(module, "`--algo`"))?;
    Ok(StringMatch { pattern, negated, algorithm, from, to, ignore_case })
}

fn checked(value: &Value, pattern: Vec<u8>) -> Result<Vec<u8>, RuleProblem> {
    match pattern.len() {
        1..=PATTERN_MAX => Ok(pattern),
        length => Err(wrong(value, format!("the pattern has {length} bytes, not 1 to {PATTERN_MAX}"))),
    }
}

/// Text with bytes in hexadecimal between bars, and characters taken as they are after a backslash:
/// `GET |0d 0A| \|`. As in iptables, the character right after a closing bar is taken as it is too, whatever it is,
/// and a last bar that opens nothing is passed over.
fn parse_hex(value: &Value) -> Result<Vec<u8>, RuleProblem> {
    let problem = |what: &str| wrong(value, format!("`{}`: {what}", value.text));
    let mut pattern = Vec::new();
    let mut rest = value.text.as_bytes();
    loop {
        match rest {
            [] | [b'|'] => return Ok(pattern),
            [b'\\'] => return Err(problem("a backslash at the end")),
            [b'|', after @ ..] => {
                let start = after.iter().position(|byte| *byte != b' ').unwrap_or(after.len());
                rest = after.get(start..).unwrap_or_default();
                rest = loop {
                    let [high, low, after @ ..] = rest else {
                        return Err(problem("a `|` without its second"));
                    };
                    let digit = |byte: &u8| char::from(*byte).to_digit(16);
                    let (Some(high), Some(low)) = (digit(high), digit(low)) else {
                        return Err(problem("bytes between bars are pairs of hexadecimal digits"));
                    };
                    pattern.push((high << 4 | low) as u8);
                    match after.strip_prefix(b" ").unwrap_or(after) {
                        [b'|'] => return Ok(pattern),
                        [b'|', byte, after @ ..] => {
                            pattern.push(*byte);
                            break after;
                        }
                        after => rest = after,
                    }
                };
            }
            [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                pattern.push(*byte);
                rest = after;
            }
        }
    }
}
