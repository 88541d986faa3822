//! The grammar of entries, ipset's own: `10.0.0.0/24`, `10.0.0.1,tcp:80-90`, `other-set before third`, and the
//! options behind. Text in, an [`EntryTemplate`] out; one parser for all types, driven by their dimensions. Used
//! for configuration, saved sets and the lines that the daemon takes.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use super::entry::{Addresses, Element, Entry, EntryOptions, ListPlace, Port};
use super::kind::{Dimension, SetKind};
use super::number::parse_number;
use super::options::{CreateOptions, TIMEOUT_MAX, prefix_max};
use super::protocol::{self, ICMP, ICMPV6, ServiceNames, TCP, UDP};
use super::template::{EntryTemplate, HostUse};
use super::words::{Word, is_host_name, split_range, split_words, unbracket};
use crate::nearest::nearest;
use crate::netfilter::{Family, INTERFACE_NAME_MAX, SET_NAME_MAX};

/// Longest comment in bytes (`IPSET_MAX_COMMENT_SIZE`, `linux/netfilter/ipset/ip_set.h`).
pub const COMMENT_MAX: usize = 255;

/// What is wrong with an entry, and with which bytes of its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", .hint.as_ref().map(|hint| format!("; hint: {hint}")).unwrap_or_default())]
pub struct EntryError {
    /// The offending bytes.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl EntryError {
    pub(super) fn new(span: &Range<usize>, message: impl Into<String>) -> Self {
        Self { span: span.clone(), message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What an entry is written for; what it may say depends on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// To put it into the set.
    Add,
    /// To take it out: no options but a place in a list.
    Delete,
    /// To ask whether it is in: one entry, no range.
    Test,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Delete => "del",
            Self::Test => "test",
        }
    }
}

/// Reads the entries of one set.
#[derive(Clone, Copy)]
pub struct Grammar<'a> {
    /// The set's type.
    pub kind: SetKind,
    /// Its family.
    pub family: Option<Family>,
    /// What it was made with: says which options its entries can have.
    pub options: &'a CreateOptions,
    /// For ports given by name.
    pub services: &'a dyn ServiceNames,
}

type Span = Range<usize>;

impl Grammar<'_> {
    /// Reads one entry with its options.
    ///
    /// # Errors
    /// [`EntryError`]
    pub fn parse(&self, verb: Verb, text: &str) -> Result<EntryTemplate, EntryError> {
        let words = split_words(text)?;
        let Some((first, rest)) = words.split_first() else {
            return Err(EntryError::new(&(0..text.len()), "the entry is empty").hint(format!(
                "an entry of `{}` looks like {}",
                self.kind,
                self.example()
            )));
        };
        let mut hosts = Vec::new();
        let mut elements = self.parse_elements(verb, first, &mut hosts)?;
        let options = self.parse_options(verb, rest, &mut elements)?;
        Ok(EntryTemplate::new(Entry { elements, options }, self.family, hosts))
    }

    /// An entry that the type takes, for hints.
    fn example(&self) -> String {
        let parts = self.kind.dimensions().iter().map(|dimension| match (dimension, self.family) {
            (Dimension::Ip | Dimension::SingleIp, Some(Family::Ipv6)) => "2001:db8::1",
            (Dimension::Ip | Dimension::SingleIp, _) => "10.0.0.1",
            (Dimension::Net { .. }, Some(Family::Ipv6)) => "2001:db8::/64",
            (Dimension::Net { .. }, _) => "10.0.0.0/24",
            (Dimension::Port, _) => "tcp:80",
            (Dimension::BarePort, _) => "80",
            (Dimension::Mac, _) => "02:00:00:00:00:01",
            (Dimension::Mark, _) => "0x10",
            (Dimension::Interface, _) => "eth0",
            (Dimension::Set, _) => "other-set",
        });
        parts.collect::<Vec<_>>().join(",")
    }

    fn parse_elements(
        &self,
        verb: Verb,
        word: &Word,
        hosts: &mut Vec<HostUse>,
    ) -> Result<Vec<Element>, EntryError> {
        let dimensions = self.kind.dimensions();
        let mut parts = Vec::new();
        let mut start = 0;
        for text in word.text.split(',') {
            parts.push((text, word.part(start..start + text.len())));
            start += text.len() + 1;
        }
        let fewest = dimensions.len() - usize::from(self.kind.last_is_optional());
        if parts.len() < fewest || parts.len() > dimensions.len() {
            let message = format!(
                "an entry of `{}` has {}, not {}",
                self.kind,
                count(dimensions.len(), "part"),
                parts.len()
            );
            return Err(
                EntryError::new(&word.span, message).hint(format!("write it like {}", self.example()))
            );
        }
        let mut elements = Vec::with_capacity(parts.len());
        for (dimension, (text, span)) in dimensions.iter().zip(&parts) {
            if text.is_empty() {
                return Err(EntryError::new(&word.span, "a part of the entry is empty")
                    .hint(format!("write it like {}", self.example())));
            }
            let element = match dimension {
                Dimension::Ip | Dimension::SingleIp | Dimension::Net { .. } => {
                    let (addresses, host) = self.parse_addresses(verb, *dimension, text, span)?;
                    hosts.extend(host.map(|name| HostUse {
                        element: elements.len(),
                        name,
                        span: span.clone(),
                    }));
                    Element::Address(addresses)
                }
                Dimension::Port => Element::Port(self.parse_port(verb, text, span)?),
                Dimension::BarePort => {
                    let port = self.parse_port(verb, text, span)?;
                    if !matches!(port.protocol, TCP | UDP) {
                        let message = format!("`{}` has ports of tcp and udp only", self.kind);
                        return Err(EntryError::new(span, message));
                    }
                    Element::BarePort(port.port, port.to)
                }
                Dimension::Mac => Element::Mac(parse_mac(text, span)?),
                Dimension::Mark => Element::Mark(number(text, span, u32::MAX.into())? as u32),
                Dimension::Interface => parse_interface(text, span)?,
                Dimension::Set => Element::Set { name: parse_set_name(text, span)?, place: None },
            };
            elements.push(element);
        }
        Ok(elements)
    }

    /// The addresses, or those of the shape to fill in and the host name to fill in.
    fn parse_addresses(
        &self,
        verb: Verb,
        dimension: Dimension,
        text: &str,
        span: &Span,
    ) -> Result<(Addresses, Option<String>), EntryError> {
        let family = self.family.unwrap_or(Family::Ipv4);
        let max = prefix_max(family);
        let many = verb != Verb::Test && family == Family::Ipv4 && dimension != Dimension::SingleIp;
        if let Some((address, prefix)) = text.split_once('/') {
            let prefix = number(prefix, span, max.into())? as u8;
            let refuse = |message: String| {
                Err(EntryError::new(span, message).hint(format!("write it like {}", self.example())))
            };
            match dimension {
                _ if prefix == max => {}
                Dimension::Net { zero: true } => {}
                _ if prefix == 0 => return refuse(format!("`{}` does not take `/0`", self.kind)),
                Dimension::Net { .. } => {}
                Dimension::Ip if many => {}
                _ => return refuse(format!("`{text}` is a block of addresses, one address is wanted here")),
            }
            let (address, host) = self.parse_address(address, span)?;
            let addresses =
                if prefix == max { Addresses::One(address) } else { Addresses::Block(address, prefix) };
            return Ok((addresses, host));
        }
        if let Some((from, to)) = split_range(text) {
            match (literal(from), literal(to)) {
                (Some(_), Some(_)) => {
                    if !many {
                        let why = match (verb, family) {
                            (Verb::Test, _) => "`test` asks for one entry",
                            (_, Family::Ipv6) => "the kernel has no ranges of IPv6 addresses",
                            _ => "one address is wanted here",
                        };
                        return Err(EntryError::new(span, format!("`{text}` is a range, but {why}")));
                    }
                    let (from, _) = self.parse_address(from, span)?;
                    let (to, _) = self.parse_address(to, span)?;
                    return Ok((
                        if from == to { Addresses::One(from) } else { Addresses::Range(from, to) },
                        None,
                    ));
                }
                // a name with a dash in it
                (None, None) => {}
                _ => {
                    let message = format!("`{text}` is no range: one of its ends is no address");
                    return Err(EntryError::new(span, message));
                }
            }
        }
        let (address, host) = self.parse_address(text, span)?;
        Ok((Addresses::One(address), host))
    }

    /// One address, or a host name and an address in its place.
    fn parse_address(&self, text: &str, span: &Span) -> Result<(IpAddr, Option<String>), EntryError> {
        let bare = unbracket(text);
        let address = match (literal(text), self.family) {
            (Some(IpAddr::V4(_)), Some(Family::Ipv6)) => {
                let message = format!("`{bare}` is an IPv4 address, the set holds IPv6");
                return Err(EntryError::new(span, message).hint("a set has one family: make one for each"));
            }
            (Some(IpAddr::V6(_)), Some(Family::Ipv4)) => {
                let message = format!("`{bare}` is an IPv6 address, the set holds IPv4");
                return Err(EntryError::new(span, message).hint("make a set with \"hashfamily\": \"inet6\""));
            }
            (literal, _) => literal,
        };
        match address {
            Some(address) => Ok((address, None)),
            None if is_host_name(bare) => Ok((Ipv4Addr::UNSPECIFIED.into(), Some(bare.to_owned()))),
            None => Err(EntryError::new(span, format!("`{bare}` is neither an address nor a host name"))),
        }
    }

    fn parse_port(&self, verb: Verb, text: &str, span: &Span) -> Result<Port, EntryError> {
        let Some((name, rest)) = text.split_once(':') else {
            return self.parse_ports(verb, TCP, text, span);
        };
        let number = match parse_number(name, 1..=255) {
            Ok(number) => Some(number as u8),
            Err(_) => protocol::parse_protocol(name),
        };
        let Some(protocol) = number else {
            let error = EntryError::new(span, format!("unknown protocol `{name}`"));
            let known = protocol::protocol_names().chain(["icmpv6"]);
            return Err(match nearest(name, known) {
                Some(known) => error.hint(format!("did you mean `{known}`?")),
                None => error.hint("use a name of /etc/protocols or a number"),
            });
        };
        match (protocol, self.family) {
            (ICMP, Some(Family::Ipv6)) => {
                Err(EntryError::new(span, "icmp goes with IPv4 only").hint("write icmpv6"))
            }
            (ICMPV6, Some(Family::Ipv4)) => {
                Err(EntryError::new(span, "icmpv6 goes with IPv6 only").hint("write icmp"))
            }
            (ICMP | ICMPV6, _) => Ok(Port { protocol, port: parse_icmp(protocol, rest, span)?, to: None }),
            _ if protocol::has_ports(protocol) => self.parse_ports(verb, protocol, rest, span),
            _ if rest == "0" => Ok(Port { protocol, port: 0, to: None }),
            _ => Err(EntryError::new(span, format!("`{name}` has no ports")).hint(format!("write {name}:0"))),
        }
    }

    fn parse_ports(&self, verb: Verb, protocol: u8, text: &str, span: &Span) -> Result<Port, EntryError> {
        let single = |text: &str| {
            let name = protocol::protocol_name(protocol).unwrap_or_default();
            let number = parse_number(text, 0..=65535).map(|port| port as u16);
            number.or_else(|error| self.services.port(unbracket(text), name).ok_or(error))
        };
        let bad = |text: &str, error: &super::number::NumberError| {
            EntryError::new(span, format!("bad port: {}", error.message(text)))
                .hint("write a number, or a range like 8000-8010")
        };
        // a service may have a dash in its name
        let error = match single(text) {
            Ok(port) => return Ok(Port { protocol, port, to: None }),
            Err(error) => error,
        };
        let Some((from, to)) = split_range(text) else { return Err(bad(text, &error)) };
        let port = single(from).map_err(|error| bad(from, &error))?;
        let last = single(to).map_err(|error| bad(to, &error))?;
        if verb == Verb::Test {
            return Err(EntryError::new(span, format!("`{text}` is a range, but `test` asks for one entry")));
        }
        Ok(Port { protocol, port, to: (last != port).then_some(last) })
    }

    fn parse_options(
        &self,
        verb: Verb,
        words: &[Word],
        elements: &mut [Element],
    ) -> Result<EntryOptions, EntryError> {
        let mut options = EntryOptions::default();
        let mut seen: Vec<&str> = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let name = self.check_option(verb, word)?;
            // `before` and `after` are one option
            let slot = if name == "after" { "before" } else { name };
            if seen.contains(&slot) {
                return Err(EntryError::new(&word.span, format!("`{name}` is given twice")));
            }
            seen.push(slot);
            if name == "nomatch" {
                options.nomatch = true;
                continue;
            }
            if name == "wildcard" {
                options.wildcard = true;
                continue;
            }
            let Some(value) = words.next() else {
                return Err(EntryError::new(&word.span, format!("`{name}` needs a value")));
            };
            let span = &value.span;
            match name {
                "timeout" => options.timeout = Some(number(&value.text, span, TIMEOUT_MAX.into())? as u32),
                // the last number means "no counter" (`string_to_number_ll` of ipset)
                "packets" => options.packets = Some(number(&value.text, span, u64::MAX - 1)?),
                "bytes" => options.bytes = Some(number(&value.text, span, u64::MAX - 1)?),
                "comment" => options.comment = parse_comment(&value.text, span)?,
                "skbmark" => options.skbmark = Some(parse_skbmark(&value.text, span)?),
                "skbprio" => options.skbprio = Some(parse_skbprio(&value.text, span)?),
                "skbqueue" => options.skbqueue = Some(number(&value.text, span, u16::MAX.into())? as u16),
                _ => {
                    let other = parse_set_name(&value.text, span)?;
                    let place =
                        if name == "before" { ListPlace::Before(other) } else { ListPlace::After(other) };
                    if let Some(Element::Set { place: free, .. }) = elements.first_mut() {
                        *free = Some(place);
                    }
                }
            }
        }
        Ok(options)
    }

    /// The option that `word` names, if it may stand here.
    fn check_option(&self, verb: Verb, word: &Word) -> Result<&'static str, EntryError> {
        /// All, with the create option that the set needs for them.
        const KNOWN: [(&str, Option<&str>); 11] = [
            ("timeout", Some("\"timeout\": 0")),
            ("packets", Some("\"counters\": true")),
            ("bytes", Some("\"counters\": true")),
            ("comment", Some("\"comment\": true")),
            ("skbmark", Some("\"skbinfo\": true")),
            ("skbprio", Some("\"skbinfo\": true")),
            ("skbqueue", Some("\"skbinfo\": true")),
            ("nomatch", None),
            ("wildcard", None),
            ("before", None),
            ("after", None),
        ];
        let span = &word.span;
        let Some((name, need)) = KNOWN.into_iter().find(|(known, _)| *known == word.text) else {
            let error = EntryError::new(span, format!("unknown option `{}` of an entry", word.text));
            return Err(match nearest(&word.text, KNOWN.map(|(name, _)| name)) {
                Some(known) => error.hint(format!("did you mean `{known}`?")),
                None => error,
            });
        };
        let of_kind = match name {
            "nomatch" => self.kind.has_nets(),
            "wildcard" => self.kind == SetKind::HashNetIface,
            "before" | "after" => self.kind == SetKind::ListSet,
            _ => true,
        };
        if !of_kind {
            return Err(EntryError::new(span, format!("entries of `{}` have no `{name}`", self.kind)));
        }
        let of_verb = match verb {
            Verb::Add => true,
            Verb::Delete => matches!(name, "before" | "after"),
            Verb::Test => matches!(name, "before" | "after" | "nomatch"),
        };
        if !of_verb {
            return Err(EntryError::new(span, format!("`{}` does not take `{name}`", verb.name())));
        }
        let has = match name {
            "timeout" => self.options.timeout.is_some(),
            "packets" | "bytes" => self.options.counters,
            "comment" => self.options.comment,
            "skbmark" | "skbprio" | "skbqueue" => self.options.skbinfo,
            _ => true,
        };
        match need {
            Some(need) if !has => {
                Err(EntryError::new(span, format!("`{name}` cannot be given: the set was not made for it"))
                    .hint(format!("add {need} to the set")))
            }
            _ => Ok(name),
        }
    }
}

fn literal(text: &str) -> Option<IpAddr> {
    unbracket(text).parse().ok()
}

fn number(text: &str, span: &Span, max: u64) -> Result<u64, EntryError> {
    parse_number(text, 0..=max).map_err(|error| EntryError::new(span, error.message(text)))
}

fn parse_icmp(protocol: u8, text: &str, span: &Span) -> Result<u16, EntryError> {
    if let Some((kind, code)) = protocol::parse_icmp(protocol, text) {
        return Ok(u16::from_be_bytes([kind, code]));
    }
    let numbers = text.split_once('/').and_then(|(kind, code)| {
        let byte = |text| parse_number(text, 0..=255).ok().map(|number| number as u8);
        Some([byte(kind)?, byte(code)?])
    });
    numbers.map(u16::from_be_bytes).ok_or_else(|| {
        let error = EntryError::new(span, format!("unknown ICMP type `{text}`"));
        match nearest(text, protocol::icmp_names(protocol)) {
            Some(known) => error.hint(format!("did you mean `{known}`?")),
            None => error.hint("write a name like echo-request, or type and code like 8/0"),
        }
    })
}

fn parse_mac(text: &str, span: &Span) -> Result<[u8; 6], EntryError> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| match byte.len() {
            // `from_str_radix` takes a sign
            1 | 2 if !byte.starts_with('+') => u8::from_str_radix(byte, 16).ok(),
            _ => None,
        })
        .collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        EntryError::new(span, format!("`{text}` is no hardware address"))
            .hint("write it like 02:00:00:00:00:01")
    })
}

fn parse_interface(text: &str, span: &Span) -> Result<Element, EntryError> {
    let (name, physdev) = match text.strip_prefix("physdev:") {
        Some(name) => (name, true),
        None => (text, false),
    };
    if name.is_empty() || name.len() > INTERFACE_NAME_MAX {
        let message = format!("`{name}` is no interface name: it has 1 to {INTERFACE_NAME_MAX} bytes");
        return Err(EntryError::new(span, message));
    }
    Ok(Element::Interface { name: name.to_owned(), physdev })
}

fn parse_set_name(text: &str, span: &Span) -> Result<String, EntryError> {
    match check_set_name(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(message) => Err(EntryError::new(span, message)),
    }
}

/// Whether a set can have this name, and be written in a saved set.
///
/// # Errors
/// What is wrong with it.
pub fn check_set_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("the name of a set is empty".into());
    }
    if name.len() > SET_NAME_MAX {
        return Err(format!("set name `{name}` is longer than {SET_NAME_MAX} bytes"));
    }
    match name.chars().find(|c| c.is_whitespace() || c.is_control() || matches!(c, '"' | ',')) {
        Some(c) => Err(format!("set name `{name}` has a {c:?} in it")),
        None => Ok(()),
    }
}

/// A comment; an empty one is none, for the kernel too.
fn parse_comment(text: &str, span: &Span) -> Result<Option<String>, EntryError> {
    if text.len() > COMMENT_MAX {
        return Err(EntryError::new(span, format!("the comment is longer than {COMMENT_MAX} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(EntryError::new(span, "the comment has a control character in it"));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn parse_skbmark(text: &str, span: &Span) -> Result<(u32, u32), EntryError> {
    let hexadecimal = |text: &str| {
        let digits = text.strip_prefix("0x").filter(|digits| !digits.starts_with('+'))?;
        u32::from_str_radix(digits, 16).ok()
    };
    let parsed = match text.split_once('/') {
        Some((value, mask)) => hexadecimal(value).zip(hexadecimal(mask)),
        None => hexadecimal(text).map(|mark| (mark, u32::MAX)),
    };
    parsed.ok_or_else(|| {
        EntryError::new(span, format!("`{text}` is no mark")).hint("write it like 0x10 or 0x10/0xff")
    })
}

fn parse_skbprio(text: &str, span: &Span) -> Result<(u16, u16), EntryError> {
    let hexadecimal =
        |text: &str| if text.starts_with('+') { None } else { u16::from_str_radix(text, 16).ok() };
    let parsed = text.split_once(':').and_then(|(major, minor)| hexadecimal(major).zip(hexadecimal(minor)));
    parsed.ok_or_else(|| {
        EntryError::new(span, format!("`{text}` is no priority"))
            .hint("write it like 1:10, two hexadecimal numbers")
    })
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
