//! Words of a rule to numbers, ports, addresses and names, as iptables reads them: what it takes is taken, what it
//! refuses is an error that names the word.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::Context;
use crate::nearest::nearest;
use crate::netfilter::Family;
use crate::rule::{OptionUse, RuleProblem, Value};

/// A range, both ends included; the first is not greater than the last unless a field says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range<T> {
    /// First.
    pub first: T,
    /// Last.
    pub last: T,
}

impl<T: Copy> Range<T> {
    /// Just one value.
    pub fn single(value: T) -> Self {
        Self { first: value, last: value }
    }
}

/// A number of which only the bits of a mask count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Masked<T> {
    /// The bits.
    pub value: T,
    /// Those that count.
    pub mask: T,
}

/// A problem with one word.
pub(super) fn wrong(value: &Value, message: impl Into<String>) -> RuleProblem {
    RuleProblem { span: value.span.clone(), message: message.into(), hint: None }
}

/// A problem with an option as a whole.
pub(super) fn wrong_use(option: &OptionUse, message: impl Into<String>) -> RuleProblem {
    RuleProblem { span: option.span.clone(), message: message.into(), hint: None }
}

/// `message`, with the known word that is nearest to `word` as a hint.
pub(super) fn unknown<'a>(
    value: &Value,
    what: &str,
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> RuleProblem {
    let hint = nearest(word, known).map(|near| format!("did you mean `{near}`?"));
    RuleProblem { span: value.span.clone(), message: format!("unknown {what} `{word}`"), hint }
}

/// The word at `at` of an option; the parser has checked how many there are.
pub(super) fn word(option: &OptionUse, at: usize) -> Result<&Value, RuleProblem> {
    option.values.get(at).ok_or_else(|| wrong_use(option, format!("`--{}` needs a value", option.name)))
}

/// Digits as `strtoul` with base 0 reads them: decimal, `0x` hexadecimal, `0` octal.
pub(super) fn digits(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    // from_str_radix would take a sign
    if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        u64::from_str_radix(digits, radix).ok()
    } else {
        None
    }
}

/// A whole word that is a number within `limits`.
pub(super) fn number<T>(value: &Value, limits: RangeInclusive<T>) -> Result<T, RuleProblem>
where
    T: TryFrom<u64> + PartialOrd + Display,
{
    number_in(value, &value.text, limits)
}

/// A part of a word that is a number within `limits`.
pub(super) fn number_in<T>(value: &Value, text: &str, limits: RangeInclusive<T>) -> Result<T, RuleProblem>
where
    T: TryFrom<u64> + PartialOrd + Display,
{
    digits(text)
        .and_then(|number| T::try_from(number).ok())
        .filter(|number| limits.contains(number))
        .ok_or_else(|| {
            wrong(value, format!("`{text}` is not a number from {} to {}", limits.start(), limits.end()))
        })
}

/// A whole word that is a number within `limits`, decimal whatever it begins with.
pub(super) fn decimal(value: &Value, limits: RangeInclusive<u32>) -> Result<u32, RuleProblem> {
    let text = value.text.trim_start_matches('0');
    number_in(value, if text.is_empty() { &value.text } else { text }, limits)
}

/// `A`, `A:B`, `A:`, `:B`: what is missing is the least or the greatest. That the first is not greater is *not*
/// asked for: iptables takes such a range in some matches.
pub(super) fn number_range<T>(value: &Value, limits: RangeInclusive<T>) -> Result<Range<T>, RuleProblem>
where
    T: TryFrom<u64> + PartialOrd + Display + Copy,
{
    let end = |text: &str, default: T| match text {
        "" => Ok(default),
        text => number_in(value, text, limits.clone()),
    };
    match value.text.split_once(':') {
        None => number(value, limits).map(Range::single),
        Some((first, last)) => {
            Ok(Range { first: end(first, *limits.start())?, last: end(last, *limits.end())? })
        }
    }
}

/// `VALUE` or `VALUE/MASK`, 32 bits each; all bits count without a mask.
pub(super) fn masked_u32(value: &Value) -> Result<Masked<u32>, RuleProblem> {
    let (number, mask) = match value.text.split_once('/') {
        Some((number, mask)) => (number, number_in(value, mask, 0..=u32::MAX)?),
        None => (value.text.as_str(), u32::MAX),
    };
    Ok(Masked { value: number_in(value, number, 0..=u32::MAX)?, mask })
}

/// A port by number or by name in the protocol's part of the services database.
pub(super) fn port_in(
    value: &Value,
    text: &str,
    protocol: Option<u8>,
    context: &Context<'_>,
) -> Result<u16, RuleProblem> {
    if let Some(number) = digits(text) {
        return u16::try_from(number)
            .map_err(|_| wrong(value, format!("`{text}` is not a port from 0 to 65535")));
    }
    context
        .databases
        .service(text, protocol)
        .ok_or_else(|| wrong(value, format!("`{text}` is neither a port number nor the name of a service")))
}

/// A port as `getaddrinfo` reads it, which iptables asks for some options: a number is decimal whatever it begins with,
/// a name is one of any protocol, tcp first.
pub(super) fn resolved_port(value: &Value, text: &str, context: &Context<'_>) -> Result<u16, RuleProblem> {
    const TCP: u8 = 6;
    let unknown = || wrong(value, format!("`{text}` is neither a port number nor the name of a service"));
    if text.is_empty() {
        return Err(unknown());
    }
    if text.bytes().all(|digit| digit.is_ascii_digit()) {
        return text.parse().map_err(|_| wrong(value, format!("`{text}` is not a port from 0 to 65535")));
    }
    let service = |protocol| context.databases.service(text, protocol);
    service(Some(TCP)).or_else(|| service(None)).ok_or_else(unknown)
}

/// A port or a range of ports.
pub(super) fn port_range(
    value: &Value,
    protocol: Option<u8>,
    context: &Context<'_>,
) -> Result<Range<u16>, RuleProblem> {
    range_of_ports(value, |text| port_in(value, text, protocol, context))
}

/// A port or a range of ports, each as [`resolved_port`] reads it.
pub(super) fn resolved_port_range(value: &Value, context: &Context<'_>) -> Result<Range<u16>, RuleProblem> {
    range_of_ports(value, |text| resolved_port(value, text, context))
}

fn range_of_ports(
    value: &Value,
    port: impl Fn(&str) -> Result<u16, RuleProblem>,
) -> Result<Range<u16>, RuleProblem> {
    let end = |text: &str, default: u16| if text.is_empty() { Ok(default) } else { port(text) };
    let Some((first, last)) = value.text.split_once(':') else {
        return port(&value.text).map(Range::single);
    };
    let range = Range { first: end(first, 0)?, last: end(last, u16::MAX)? };
    ordered(value, range)
}

/// Refuses a range whose first is greater than its last.
pub(super) fn ordered<T: PartialOrd + Copy>(value: &Value, range: Range<T>) -> Result<Range<T>, RuleProblem> {
    if range.first > range.last {
        return Err(wrong(value, format!("the range `{}` ends before it begins", value.text)));
    }
    Ok(range)
}

/// Words separated by commas, none of them empty.
pub(super) fn list(value: &Value) -> Result<impl Iterator<Item = &str>, RuleProblem> {
    if value.text.split(',').any(str::is_empty) {
        return Err(wrong(value, format!("`{}` has an empty part", value.text)));
    }
    Ok(value.text.split(','))
}

/// An address of the rule's family; names are not looked up here.
pub(super) fn address_in(value: &Value, text: &str, family: Family) -> Result<IpAddr, RuleProblem> {
    let address = match family {
        Family::Ipv4 => text.parse::<Ipv4Addr>().map(IpAddr::V4).ok(),
        Family::Ipv6 => text.parse::<Ipv6Addr>().map(IpAddr::V6).ok(),
    };
    address.ok_or_else(|| wrong(value, format!("`{text}` is not an {family} address")))
}

/// `ADDRESS`, `ADDRESS/LENGTH` or `ADDRESS/MASK`: the address as written, and the mask.
pub(super) fn masked_address(value: &Value, family: Family) -> Result<Masked<IpAddr>, RuleProblem> {
    let Some((address, mask)) = value.text.split_once('/') else {
        let address = address_in(value, &value.text, family)?;
        return Ok(Masked { value: address, mask: prefix_mask(family, prefix_max(family)) });
    };
    Ok(Masked { value: address_in(value, address, family)?, mask: mask_in(value, mask, family)? })
}

/// A prefix length or a mask written as an address.
pub(super) fn mask_in(value: &Value, text: &str, family: Family) -> Result<IpAddr, RuleProblem> {
    match digits(text) {
        Some(_) => number_in(value, text, 0..=prefix_max(family)).map(|length| prefix_mask(family, length)),
        None => address_in(value, text, family),
    }
}

/// The longest prefix.
pub(super) fn prefix_max(family: Family) -> u8 {
    match family {
        Family::Ipv4 => 32,
        Family::Ipv6 => 128,
    }
}

/// The mask of a prefix length, at most 32 in IPv4 and 128 in IPv6.
pub fn prefix_mask(family: Family, length: u8) -> IpAddr {
    match family {
        Family::Ipv4 => {
            let bits = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            IpAddr::V4(bits.into())
        }
        Family::Ipv6 => {
            let bits = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            IpAddr::V6(bits.into())
        }
    }
}

/// Six pairs of hexadecimal digits with colons between; iptables takes single digits too.
pub(super) fn mac(value: &Value) -> Result<[u8; 6], RuleProblem> {
    let mut bytes = [0; 6];
    let mut parts = value.text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| matches!(part.len(), 1 | 2));
        let part = part.filter(|part| part.bytes().all(|digit| digit.is_ascii_hexdigit()));
        *byte = part
            .and_then(|part| u8::from_str_radix(part, 16).ok())
            .ok_or_else(|| wrong(value, format!("`{}` is not a MAC address", value.text)))?;
    }
    match parts.next() {
        None => Ok(bytes),
        Some(_) => Err(wrong(value, format!("`{}` is not a MAC address", value.text))),
    }
}

/// Text of at most `max` bytes.
pub(super) fn text(value: &Value, max: usize) -> Result<String, RuleProblem> {
    if value.text.len() > max {
        return Err(wrong(value, format!("`{}` is longer than {max} bytes", value.text)));
    }
    Ok(value.text.clone())
}

/// The value of a word out of a table, letter case aside.
pub(super) fn choice<T: Copy>(
    value: &Value,
    text: &str,
    what: &str,
    known: &[(&'static str, T)],
) -> Result<T, RuleProblem> {
    choice_by(value, text, what, known, |name| name.eq_ignore_ascii_case(text))
}

/// The value of a word out of a table, to the letter.
pub(super) fn exact_choice<T: Copy>(
    value: &Value,
    text: &str,
    what: &str,
    known: &[(&'static str, T)],
) -> Result<T, RuleProblem> {
    choice_by(value, text, what, known, |name| name == text)
}

fn choice_by<T: Copy>(
    value: &Value,
    text: &str,
    what: &str,
    known: &[(&'static str, T)],
    fits: impl Fn(&str) -> bool,
) -> Result<T, RuleProblem> {
    let found = known.iter().find(|(name, _)| fits(name)).map(|(_, it)| *it);
    found.ok_or_else(|| unknown(value, what, text, known.iter().map(|(name, _)| *name)))
}

/// Bits of a comma list of words out of a table, each of which may be cut short; the first that fits counts.
pub(super) fn prefix_list(
    value: &Value,
    what: &str,
    known: &[(&'static str, u16)],
) -> Result<u16, RuleProblem> {
    list(value)?.try_fold(0, |all, part| {
        let fits = |name: &str| name.get(..part.len()).is_some_and(|start| start.eq_ignore_ascii_case(part));
        match known.iter().find(|(name, _)| fits(name)) {
            Some((_, bits)) => Ok(all | bits),
            None => Err(unknown(value, what, part, known.iter().map(|(name, _)| *name))),
        }
    })
}
