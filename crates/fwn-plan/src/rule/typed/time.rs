//! `time`: when a packet arrives.

use super::value::{digits, word, wrong};
use super::{TypedError, needs, not_typed};
use crate::rule::{Module, OptionUse, RuleProblem, Value};

/// `-m time`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// `--datestart`, seconds since 1970.
    pub date_start: u32,
    /// `--datestop`, seconds since 1970.
    pub date_stop: u32,
    /// `--timestart`, seconds since midnight.
    pub day_start: u32,
    /// `--timestop`, seconds since midnight.
    pub day_stop: u32,
    /// `--monthdays`: bits 1 to 31.
    pub month_days: u32,
    /// `--weekdays`: bits 1 (Monday) to 7.
    pub week_days: u8,
    /// `XT_TIME_*` bits (`linux/netfilter/xt_time.h`): 1 local time zone, 2 contiguous.
    pub flags: u8,
}

/// `XT_TIME_CONTIGUOUS`: a time past midnight belongs to the day before.
const CONTIGUOUS: u8 = 1 << 1;
/// `XT_TIME_ALL_MONTHDAYS`
const ALL_MONTH_DAYS: u32 = 0xffff_fffe;
/// `XT_TIME_ALL_WEEKDAYS`
const ALL_WEEK_DAYS: u8 = 0xfe;

pub(super) fn parse(module: &Module) -> Result<Time, TypedError> {
    let mut time = Time {
        date_start: 0,
        date_stop: i32::MAX.cast_unsigned(),
        day_start: 0,
        day_stop: 24 * 60 * 60 - 1,
        month_days: ALL_MONTH_DAYS,
        week_days: ALL_WEEK_DAYS,
        flags: 0,
    };
    for option in &module.options {
        match option.name {
            "datestart" => time.date_start = parse_date(option)?,
            "datestop" => time.date_stop = parse_date(option)?,
            "timestart" => time.day_start = parse_day_time(word(option, 0)?)?,
            "timestop" => time.day_stop = parse_day_time(word(option, 0)?)?,
            "contiguous" => time.flags |= CONTIGUOUS,
            "localtz" | "kerneltz" => time.flags |= 1 << 0,
            "utc" => {}
            "monthdays" => {
                time.month_days = parse_month_days(word(option, 0)?)?;
                if option.negated {
                    time.month_days ^= ALL_MONTH_DAYS;
                }
            }
            "weekdays" => {
                time.week_days = parse_week_days(word(option, 0)?)?;
                if option.negated {
                    time.week_days ^= ALL_WEEK_DAYS;
                }
            }
            _ => return Err(not_typed(module, option)),
        }
    }
    if time.flags & CONTIGUOUS != 0 && time.day_start < time.day_stop {
        return Err(needs(module, "a `--timestop` before its `--timestart` for `--contiguous`"));
    }
    Ok(time)
}

/// `YYYY[-MM[-DD[Thh[:mm[:ss]]]]]`, UTC.
fn parse_date(option: &OptionUse) -> Result<u32, TypedError> {
    let value = word(option, 0)?;
    let problem = || wrong(value, format!("`{}` is not a date YYYY[-MM[-DD[Thh[:mm[:ss]]]]]", value.text));
    let mut parts = [1970, 1, 1, 0, 0, 0];
    let mut rest = Some(value.text.as_str());
    for (part, separator) in parts.iter_mut().zip(['-', '-', 'T', ':', ':', '\0']) {
        let Some(text) = rest else { break };
        let (number, after) = match text.split_once(separator) {
            Some((number, after)) => (number, Some(after)),
            None => (text, None),
        };
        *part = decimal(number).ok_or_else(problem)?;
        rest = after;
    }
    let [year, month, day, hour, minute, second] = parts;
    let within = (1970..=2038).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (hour <= 23 && minute <= 59 && second <= 59);
    if rest.is_some() || !within {
        return Err(problem().into());
    }
    let days = days_from_epoch(year, month, day);
    // until 2106 it fits
    Ok(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days since 1970-01-01; a day past the end of its month counts on into the next, as `mktime` does.
fn days_from_epoch(year: u32, month: u32, day: u32) -> u32 {
    /// Days from 0000-03-01 to 1970-01-01.
    const EPOCH: u32 = 719_468;
    // years that begin in March, so that the leap day is the last
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = 365 * year + leap_days + (153 * month + 2) / 5 + day - 1;
    days - EPOCH
}

/// `hh:mm[:ss]` in seconds since midnight.
fn parse_day_time(value: &Value) -> Result<u32, RuleProblem> {
    let parts: Option<Vec<u32>> = value.text.split(':').map(decimal).collect();
    match parts.as_deref() {
        Some([hour @ 0..=23, minute @ 0..=59]) => Ok((hour * 60 + minute) * 60),
        Some([hour @ 0..=23, minute @ 0..=59, second @ 0..=59]) => Ok((hour * 60 + minute) * 60 + second),
        _ => Err(wrong(value, format!("`{}` is not a time hh:mm[:ss]", value.text))),
    }
}

/// Numbers as C writes them: `08` is none. iptables takes no more than two characters of each, which no longer one
/// can mean.
fn parse_month_days(value: &Value) -> Result<u32, RuleProblem> {
    value.text.split(',').try_fold(0, |days, part| match digits(part).filter(|_| part.len() <= 2) {
        Some(day @ 1..=31) => Ok(days | 1 << day),
        _ => Err(wrong(value, format!("`{part}` is not a day from 1 to 31"))),
    })
}

/// Numbers from 1, Monday, or names, of which two letters are enough.
fn parse_week_days(value: &Value) -> Result<u8, RuleProblem> {
    const NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    value.text.split(',').try_fold(0, |days, part| {
        let named = || NAMES.iter().position(|name| part.len() >= 2 && name.get(..2) == part.get(..2));
        match decimal(part).or_else(|| named().map(|at| at as u32 + 1)) {
            Some(day @ 1..=7) => Ok(days | 1 << day),
            _ => Err(wrong(value, format!("`{part}` is not a day from Mon to Sun or from 1 to 7"))),
        }
    })
}

fn decimal(text: &str) -> Option<u32> {
    if text.bytes().all(|digit| digit.is_ascii_digit()) { text.parse().ok() } else { None }
}
