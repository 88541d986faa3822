//! `limit`, `hashlimit` and `connlimit`.

use std::net::IpAddr;

use super::value::{decimal, exact_choice, list, mask_in, number, number_in, prefix_max, text, word, wrong};
use super::{Context, TypedError, needs, not_typed};
use crate::rule::{Module, RuleProblem, Value};

/// `-m limit`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Time between two packets in 1/10000 s (`XT_LIMIT_SCALE`, `linux/netfilter/xt_limit.h`); not 0.
    pub period: u32,
    /// Packets that may come at once.
    pub burst: u32,
}

/// `-m hashlimit`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashlimit {
    /// `--hashlimit-name`: 1 to 254 bytes.
    pub name: String,
    /// `XT_HASHLIMIT_*` bits (`linux/netfilter/xt_hashlimit.h`).
    pub mode: u32,
    /// Time between two packets in 1/1000000 s, or the cost of bytes.
    pub average: u64,
    /// Packets, or multiples of the rate in bytes, that may come at once.
    pub burst: u64,
    /// `--hashlimit-htable-size`
    pub size: u32,
    /// `--hashlimit-htable-max`
    pub max: u32,
    /// `--hashlimit-htable-gcinterval`, in milliseconds.
    pub gc_interval: u32,
    /// `--hashlimit-htable-expire`, in milliseconds.
    pub expire: u32,
    /// `--hashlimit-rate-interval`, in seconds.
    pub interval: u32,
    /// Length of the prefix by which sources are grouped.
    pub source_prefix: u8,
    /// Length of the prefix by which destinations are grouped.
    pub destination_prefix: u8,
}

/// `-m connlimit`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connlimit {
    /// Number of connections.
    pub limit: u32,
    /// Whether it matches up to the limit, not above.
    pub up_to: bool,
    /// Whether destinations are counted, not sources.
    pub destination: bool,
    /// By which addresses are grouped; `None` for single addresses.
    pub mask: Option<IpAddr>,
}

/// Units of time by name, in seconds.
const UNITS: [(&str, u64); 4] = [("second", 1), ("minute", 60), ("hour", 60 * 60), ("day", 24 * 60 * 60)];

pub(super) fn parse_limit(module: &Module) -> Result<Limit, TypedError> {
    /// `XT_LIMIT_SCALE` (`linux/netfilter/xt_limit.h`)
    const SCALE: u64 = 10_000;
    // the defaults of iptables: 3/hour, 5
    let mut limit = Limit { period: (SCALE * 3600 / 3) as u32, burst: 5 };
    for option in &module.options {
        let value = word(option, 0)?;
        match option.name {
            "limit" => {
                let (count, unit) = parse_rate(value)?;
                // a rate is at least 1, so it fits: a day has 864000000 units
                limit.period = (SCALE * unit / u64::from(count)) as u32;
                if limit.period == 0 {
                    return Err(wrong(value, format!("the rate `{}` is too fast", value.text)).into());
                }
            }
            "limit-burst" => limit.burst = number(value, 0..=10_000)?,
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(limit)
}

/// `COUNT` or `COUNT/UNIT`, where the unit may be cut short: the count, and the unit in seconds.
fn parse_rate(value: &Value) -> Result<(u32, u64), RuleProblem> {
    let (count, unit) = match value.text.split_once('/') {
        None => (value.text.as_str(), 1),
        Some((count, unit)) => {
            let fits = |name: &str| {
                name.get(..unit.len())
                    .is_some_and(|start| !unit.is_empty() && start.eq_ignore_ascii_case(unit))
            };
            let known = UNITS.iter().find(|(name, _)| fits(name));
            let problem =
                || wrong(value, format!("`{}`: the unit is second, minute, hour or day", value.text));
            (count, known.ok_or_else(problem)?.1)
        }
    };
    // digits as `atoi` reads them: decimal, whatever stands before
    let count = count.bytes().all(|digit| digit.is_ascii_digit()).then(|| count.parse().ok()).flatten();
    match count.filter(|count| (1..=i32::MAX.cast_unsigned()).contains(count)) {
        Some(count) => Ok((count, unit)),
        None => Err(wrong(value, format!("`{}` is not a rate such as 5/minute", value.text))),
    }
}

/// `XT_HASHLIMIT_INVERT`: match above the rate.
const HASHLIMIT_INVERT: u32 = 1 << 4;
/// `XT_HASHLIMIT_BYTES`
const HASHLIMIT_BYTES: u32 = 1 << 5;
/// `XT_HASHLIMIT_RATE_MATCH`
const HASHLIMIT_RATE_MATCH: u32 = 1 << 6;
/// `XT_HASHLIMIT_HASH_*`
const HASHLIMIT_MODES: [(&str, u32); 4] =
    [("dstip", 1 << 0), ("dstport", 1 << 1), ("srcip", 1 << 2), ("srcport", 1 << 3)];
/// Most packets at once.
const HASHLIMIT_BURST_MAX: u64 = 1_000_000;

pub(super) fn parse_hashlimit(module: &Module, context: &Context<'_>) -> Result<Hashlimit, TypedError> {
    /// `XT_HASHLIMIT_SCALE_v2`
    const SCALE: u64 = 1_000_000;
    let prefix = prefix_max(context.family);
    let mut it = Hashlimit {
        name: String::new(),
        mode: 0,
        average: 0,
        burst: 5,
        size: 0,
        max: 0,
        gc_interval: 1000,
        expire: 0,
        interval: 0,
        source_prefix: prefix,
        destination_prefix: prefix,
    };
    let (mut unit, mut burst, mut expire, mut rate) = (1, None, None, None);
    for option in &module.options {
        if option.name == "hashlimit-rate-match" {
            it.mode |= HASHLIMIT_RATE_MATCH;
            continue;
        }
        let value = word(option, 0)?;
        match option.name {
            "hashlimit-upto" | "hashlimit-above" => {
                if option.negated != (option.name == "hashlimit-above") {
                    it.mode |= HASHLIMIT_INVERT;
                }
                if value.text.contains("b/s") {
                    it.mode |= HASHLIMIT_BYTES;
                    it.average = parse_byte_rate(value)?;
                } else {
                    let (count, seconds) = parse_rate(value)?;
                    unit = seconds;
                    it.average = SCALE * seconds / u64::from(count);
                    if it.average == 0 {
                        return Err(wrong(value, format!("the rate `{}` is too fast", value.text)).into());
                    }
                }
                rate = Some(value);
            }
            "hashlimit-mode" => {
                for part in list(value)? {
                    it.mode |= exact_choice(value, part, "hashlimit mode", &HASHLIMIT_MODES)?;
                }
            }
            "hashlimit-name" => it.name = text(value, 254)?,
            "hashlimit-burst" => burst = Some((value, parse_burst(value)?)),
            "hashlimit-srcmask" => it.source_prefix = number(value, 0..=prefix)?,
            "hashlimit-dstmask" => it.destination_prefix = number(value, 0..=prefix)?,
            "hashlimit-htable-size" => it.size = number(value, 0..=u32::MAX)?,
            "hashlimit-htable-max" => it.max = number(value, 0..=u32::MAX)?,
            "hashlimit-htable-gcinterval" => it.gc_interval = number(value, 0..=u32::MAX)?,
            "hashlimit-htable-expire" => expire = Some(number(value, 0..=u32::MAX)?),
            "hashlimit-rate-interval" => it.interval = decimal(value, 1..=i32::MAX.cast_unsigned())?,
            _ => return Err(not_typed(module, option)),
        }
    }
    let Some(rate) = rate else { return Err(needs(module, "`--hashlimit-upto` or `--hashlimit-above`")) };
    if it.name.is_empty() {
        return Err(needs(module, "a `--hashlimit-name`"));
    }
    if it.mode & HASHLIMIT_BYTES == 0 {
        it.expire = expire.unwrap_or(unit as u32 * 1000);
        if let Some((value, packets)) = burst {
            if packets > HASHLIMIT_BURST_MAX {
                return Err(wrong(value, format!("the burst is at most {HASHLIMIT_BURST_MAX}")).into());
            }
            it.burst = packets;
        }
    } else {
        it.expire = expire.unwrap_or(if burst.is_some() { 60_000 } else { 15_000 });
        // bursts of bytes are counted in multiples of what the rate allows in a second
        let rate = byte_rate(it.average).ok_or_else(|| wrong(rate, "the rate is too slow"))?;
        it.burst = match burst {
            None => 0,
            Some((value, bytes)) if bytes < rate => {
                return Err(wrong(value, format!("the burst is at least {rate} bytes")).into());
            }
            Some((_, bytes)) => u64::from(bytes.div_ceil(rate) as u32),
        };
    }
    if it.mode & HASHLIMIT_RATE_MATCH != 0 {
        if it.mode & HASHLIMIT_BYTES == 0 {
            it.average /= unit;
        }
        if it.interval == 0 {
            it.interval = unit as u32;
        }
    }
    Ok(it)
}

/// `NUMBERb/s`, `NUMBERkb/s`, `NUMBERmb/s` as cost: 16 bytes are the smallest step (`XT_HASHLIMIT_BYTE_SHIFT`).
fn parse_byte_rate(value: &Value) -> Result<u64, RuleProblem> {
    let problem = || wrong(value, format!("`{}` is not a rate such as 512kb/s", value.text));
    let number = value.text.strip_suffix("b/s").ok_or_else(problem)?;
    // decimal whatever it begins with, unlike the burst
    let bytes = with_factor(value, number.trim_start_matches('0'))?;
    if bytes == 0 {
        return Err(problem());
    }
    let steps = u32::try_from(bytes >> 4).ok().filter(|steps| *steps < u32::MAX).ok_or_else(problem)?;
    match u64::from(u32::MAX / (steps + 1)) {
        0 => Err(wrong(value, format!("the rate `{}` is too high", value.text))),
        cost => Ok(cost),
    }
}

/// The bytes a second that a cost stands for.
fn byte_rate(cost: u64) -> Option<u64> {
    let steps = u64::from(u32::MAX).checked_div(cost).unwrap_or(u64::from(u32::MAX));
    steps.checked_sub(1).map(|steps| steps << 4).filter(|rate| *rate > 0)
}

/// `NUMBER`, `NUMBERb`, `NUMBERkb`, `NUMBERmb`
fn parse_burst(value: &Value) -> Result<u64, RuleProblem> {
    let number = value.text.strip_suffix('b').unwrap_or(&value.text);
    match with_factor(value, number)? {
        0 => Err(wrong(value, "the burst is at least 1")),
        burst => Ok(burst),
    }
}

fn with_factor(value: &Value, text: &str) -> Result<u64, RuleProblem> {
    let (number, factor) = match (text.strip_suffix('k'), text.strip_suffix('m')) {
        (Some(number), _) => (number, 1024),
        (_, Some(number)) => (number, 1024 * 1024),
        _ => (text, 1),
    };
    Ok(u64::from(number_in(value, number, 0..=u32::MAX)?) * factor)
}

pub(super) fn parse_connlimit(module: &Module, context: &Context<'_>) -> Result<Connlimit, TypedError> {
    let mut limit = None;
    let (mut destination, mut mask) = (false, None);
    for option in &module.options {
        match option.name {
            "connlimit-upto" | "connlimit-above" => {
                let up_to = option.negated != (option.name == "connlimit-upto");
                limit = Some((number(word(option, 0)?, 0..=u32::MAX)?, up_to));
            }
            "connlimit-mask" => {
                let value = word(option, 0)?;
                if value.text.contains(['.', ':']) {
                    return Err(TypedError::form(option, "a mask that is no prefix length"));
                }
                mask = Some(mask_in(value, &value.text, context.family)?);
            }
            "connlimit-saddr" => destination = false,
            "connlimit-daddr" => destination = true,
            _ => return Err(not_typed(module, option)),
        }
    }
    let (limit, up_to) = limit.ok_or_else(|| needs(module, "`--connlimit-upto` or `--connlimit-above`"))?;
    Ok(Connlimit { limit, up_to, destination, mask })
}
