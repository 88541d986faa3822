//! Matches on what a connection did: `connbytes`, `connlabel`, `helper`, `quota`.

use super::value::{Range, exact_choice, number, number_range, ordered, text, word};
use super::{TypedError, needs, not_typed, single};
use crate::rule::{Module, Negatable};

/// `-m connbytes`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connbytes {
    /// The count; turned round where a `!` stood before it.
    pub count: Range<u64>,
    /// `enum xt_connbytes_what` (`linux/netfilter/xt_connbytes.h`)
    pub what: u8,
    /// `enum xt_connbytes_direction`
    pub direction: u8,
}

/// `-m connlabel`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connlabel {
    /// Number of the label.
    pub bit: u16,
    /// Whether a `!` stood before it.
    pub negated: bool,
    /// `--set`
    pub set: bool,
}

pub(super) fn parse_connbytes(module: &Module) -> Result<Connbytes, TypedError> {
    let (mut count, mut what, mut direction) = (None, None, None);
    for option in &module.options {
        let value = word(option, 0)?;
        match option.name {
            "connbytes" => {
                let range = number_range(value, 0..=u64::MAX)?;
                // one number is a lower limit
                let last = if value.text.contains(':') { range.last } else { u64::MAX };
                let Range { first, last } = ordered(value, Range { first: range.first, last })?;
                count = Some(if option.negated {
                    Range { first: last, last: first }
                } else {
                    Range { first, last }
                });
            }
            "connbytes-mode" => {
                let known = [("packets", 0), ("bytes", 1), ("avgpkt", 2)];
                what = Some(exact_choice(value, &value.text, "mode", &known)?);
            }
            "connbytes-dir" => {
                let known = [("original", 0), ("reply", 1), ("both", 2)];
                direction = Some(exact_choice(value, &value.text, "direction", &known)?);
            }
            _ => return Err(not_typed(module, option)),
        }
    }
    match (count, what, direction) {
        (Some(count), Some(what), Some(direction)) => Ok(Connbytes { count, what, direction }),
        _ => Err(needs(module, "`--connbytes`, `--connbytes-mode` and `--connbytes-dir`")),
    }
}

pub(super) fn parse_connlabel(module: &Module) -> Result<Connlabel, TypedError> {
    let (mut label, mut set) = (None, false);
    for option in &module.options {
        match option.name {
            "label" => {
                let value = word(option, 0)?;
                if !value.text.starts_with(|first: char| first.is_ascii_digit()) {
                    return Err(TypedError::form(option, "a name"));
                }
                // XT_CONNLABEL_MAXBIT (net/netfilter/xt_connlabel.c)
                label = Some((number(value, 0..=127)?, option.negated));
            }
            "set" => set = true,
            _ => return Err(not_typed(module, option)),
        }
    }
    let (bit, negated) = label.ok_or_else(|| needs(module, "`--label`"))?;
    Ok(Connlabel { bit, negated, set })
}

/// At most 29 bytes (`struct xt_helper_info`, `linux/netfilter/xt_helper.h`).
pub(super) fn parse_helper(module: &Module) -> Result<Negatable<String>, TypedError> {
    single(module, "helper", |value| text(value, 29))
}

/// In bytes.
pub(super) fn parse_quota(module: &Module) -> Result<Negatable<u64>, TypedError> {
    single(module, "quota", |value| number(value, 0..=u64::MAX))
}
