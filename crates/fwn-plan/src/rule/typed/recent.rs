//! `recent`: lists of addresses seen.

use std::net::IpAddr;

use super::value::{address_in, number, text, word};
use super::{Context, TypedError, needs, not_typed};
use crate::rule::Module;

/// `-m recent`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recent {
    /// `XT_RECENT_*` bits (`linux/netfilter/xt_recent.h`): what to do, `--rttl`, `--reap`.
    pub operation: u8,
    /// Whether a `!` stood before the operation.
    pub negated: bool,
    /// `--seconds`; 0 for any time.
    pub seconds: u32,
    /// `--hitcount`; 0 for any number.
    pub hits: u32,
    /// `--name`: at most 199 bytes.
    pub name: String,
    /// Whether it is about destinations, not sources.
    pub destination: bool,
    /// `--mask`; `None` for single addresses.
    pub mask: Option<IpAddr>,
}

pub(super) fn parse(module: &Module, context: &Context<'_>) -> Result<Recent, TypedError> {
    let mut recent = Recent {
        operation: 0,
        negated: false,
        seconds: 0,
        hits: 0,
        name: "DEFAULT".into(),
        destination: false,
        mask: None,
    };
    let mut found = false;
    for option in &module.options {
        // XT_RECENT_*
        let operation = match option.name {
            "rcheck" => 1 << 0,
            "set" => 1 << 1,
            "update" => 1 << 2,
            "remove" => 1 << 3,
            _ => 0,
        };
        if operation != 0 {
            found = true;
            recent.operation |= operation;
            recent.negated = option.negated;
            continue;
        }
        match option.name {
            "rttl" => recent.operation |= 1 << 4,
            "reap" => recent.operation |= 1 << 5,
            "seconds" => recent.seconds = number(word(option, 0)?, 1..=u32::MAX)?,
            "hitcount" => recent.hits = number(word(option, 0)?, 0..=u32::MAX)?,
            "name" => recent.name = text(word(option, 0)?, 199)?,
            "rsource" => recent.destination = false,
            "rdest" => recent.destination = true,
            "mask" => {
                let value = word(option, 0)?;
                recent.mask = Some(address_in(value, &value.text, context.family)?);
            }
            _ => return Err(not_typed(module, option)),
        }
    }
    if found { Ok(recent) } else { Err(needs(module, "`--set`, `--rcheck`, `--update` or `--remove`")) }
}
