//! The `set` match and the `SET` target.

use super::value::{number, word, wrong};
use super::{TypedError, needs, not_typed};
use crate::netfilter::SET_NAME_MAX;
use crate::rule::{Module, OptionUse, RuleProblem};

/// A set as a rule uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetUse {
    /// Its name.
    pub name: String,
    /// One for each part of an entry, at most 6: whether it is taken from the source side of the packet.
    pub sources: Vec<bool>,
}

/// `-m set`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetMatch {
    /// The set.
    pub set: SetUse,
    /// Whether a `!` stood before `--match-set`.
    pub negated: bool,
    /// `IPSET_FLAG_*` bits (`linux/netfilter/ipset/ip_set.h`).
    pub flags: u32,
    /// `--packets-*`
    pub packets: Option<Counter>,
    /// `--bytes-*`
    pub bytes: Option<Counter>,
}

/// What an entry's counter is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// `IPSET_COUNTER_*` (`linux/netfilter/ipset/ip_set.h`): 1 equal, 2 not equal, 3 less, 4 greater.
    pub operator: u8,
    /// The number.
    pub value: u64,
}

/// `-j SET`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SetTarget {
    /// `--add-set`
    pub add: Option<SetUse>,
    /// `--del-set`
    pub del: Option<SetUse>,
    /// `--map-set`
    pub map: Option<SetUse>,
    /// `IPSET_FLAG_*` bits.
    pub flags: u32,
    /// `--timeout`, in seconds.
    pub timeout: Option<u32>,
}

// enum ipset_cmd_flags (linux/netfilter/ipset/ip_set.h)
const EXIST: u32 = 1 << 0;
const SKIP_COUNTER_UPDATE: u32 = 1 << 3;
const SKIP_SUBCOUNTER_UPDATE: u32 = 1 << 4;
const RETURN_NOMATCH: u32 = 1 << 7;
const MAP_SKBMARK: u32 = 1 << 8;
const MAP_SKBPRIO: u32 = 1 << 9;
const MAP_SKBQUEUE: u32 = 1 << 10;
/// `IPSET_DIM_MAX`
const DIMENSIONS_MAX: usize = 6;

pub(super) fn parse_match(module: &Module) -> Result<SetMatch, TypedError> {
    let mut set = None;
    let (mut flags, mut packets, mut bytes) = (0, None, None);
    for option in &module.options {
        let negated = option.negated;
        let counter = |operator| {
            Ok::<_, RuleProblem>(Some(Counter { operator, value: number(word(option, 0)?, 0..=u64::MAX)? }))
        };
        let equal = if negated { 2 } else { 1 };
        match option.name {
            "match-set" => set = Some((parse_use(option)?, negated)),
            "return-nomatch" => flags |= RETURN_NOMATCH,
            "update-counters" if negated => flags |= SKIP_COUNTER_UPDATE,
            "update-subcounters" if negated => flags |= SKIP_SUBCOUNTER_UPDATE,
            "update-counters" | "update-subcounters" => {}
            "packets-eq" => packets = counter(equal)?,
            "packets-lt" => packets = counter(3)?,
            "packets-gt" => packets = counter(4)?,
            "bytes-eq" => bytes = counter(equal)?,
            "bytes-lt" => bytes = counter(3)?,
            "bytes-gt" => bytes = counter(4)?,
            _ => return Err(not_typed(module, option)),
        }
    }
    let (set, negated) = set.ok_or_else(|| needs(module, "`--match-set`"))?;
    Ok(SetMatch { set, negated, flags, packets, bytes })
}

pub(super) fn parse_target(module: &Module) -> Result<SetTarget, TypedError> {
    let mut target = SetTarget::default();
    for option in &module.options {
        match option.name {
            "add-set" => target.add = Some(parse_use(option)?),
            "del-set" => target.del = Some(parse_use(option)?),
            "map-set" => target.map = Some(parse_use(option)?),
            "exist" => target.flags |= EXIST,
            "timeout" => target.timeout = Some(number(word(option, 0)?, 0..=u32::MAX - 1)?),
            "map-mark" => target.flags |= MAP_SKBMARK,
            "map-prio" => target.flags |= MAP_SKBPRIO,
            "map-queue" => target.flags |= MAP_SKBQUEUE,
            _ => return Err(not_typed(module, option)),
        }
    }
    match &target {
        SetTarget { add: None, del: None, map: None, .. } => {
            Err(needs(module, "`--add-set`, `--del-set` or `--map-set`"))
        }
        _ => Ok(target),
    }
}

fn parse_use(option: &OptionUse) -> Result<SetUse, RuleProblem> {
    let (name, directions) = (word(option, 0)?, word(option, 1)?);
    if name.text.len() > SET_NAME_MAX {
        return Err(wrong(name, format!("the name of a set has at most {SET_NAME_MAX} bytes")));
    }
    let mut sources = Vec::new();
    for direction in directions.text.split(',') {
        sources.push(match direction {
            "src" => true,
            "dst" => false,
            _ => return Err(wrong(directions, format!("`{direction}` is neither `src` nor `dst`"))),
        });
    }
    if sources.len() > DIMENSIONS_MAX {
        return Err(wrong(directions, format!("a set has at most {DIMENSIONS_MAX} parts")));
    }
    Ok(SetUse { name: name.text.clone(), sources })
}
