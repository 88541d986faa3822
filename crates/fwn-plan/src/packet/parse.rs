//! The words of a packet: one after the other, each with its place, so that what is wrong can be underlined. What every
//! word means alone is checked first, then whether they go together.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use super::icmp::{icmp_names, icmp_type};
use super::{DEFAULT_INTERFACE, Direction, ICMP, ICMPV6, Packet, PacketProblem, SCTP, State, TCP, UDP};
use crate::nearest::nearest;

const DIRECTIONS: [&str; 3] = ["in", "out", "forward"];
const PROTOCOLS: [(&str, u8); 11] = [
    ("tcp", TCP),
    ("udp", UDP),
    ("icmp", ICMP),
    ("icmpv6", ICMPV6),
    ("ipv6-icmp", ICMPV6),
    ("sctp", SCTP),
    ("udplite", 136),
    ("dccp", 33),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
];
const STATES: [(&str, State); 5] = [
    ("new", State::New),
    ("established", State::Established),
    ("reply", State::Reply),
    ("related", State::Related),
    ("invalid", State::Invalid),
];
const FLAGS: [(&str, u8); 6] =
    [("fin", 0x01), ("syn", 0x02), ("rst", 0x04), ("psh", 0x08), ("ack", 0x10), ("urg", 0x20)];
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// Words that a value follows.
const VALUES: [&str; 9] = ["on", "from", "to", "type", "ttl", "length", "mark", "mac", "flags"];
/// Where nobody says which source port.
const SOURCE_PORT: u16 = 40_000;
/// The MTU of the interfaces that packets are sent over.
const LONGEST: u16 = 1500;

/// Reads a packet.
///
/// # Errors
/// The first word that is wrong, or that does not go with the others.
pub fn parse_packet(text: &str) -> Result<Packet, PacketProblem> {
    let mut words = Words::new(text);
    let direction = words.next_or("a packet begins with `in`, `out` or `forward`")?;
    if !DIRECTIONS.contains(&direction.text) {
        let message = format!("`{}` is no direction, known are in, out and forward", direction.shown());
        return Err(direction.problem(message).near(direction.text, DIRECTIONS));
    }
    let protocol_word = words.next_or("the protocol is missing: tcp, udp, icmp, icmpv6, sctp or a number")?;
    let protocol = protocol_number(&protocol_word)?;
    let source = endpoint(&words.next_or("the address that the packet comes from is missing")?)?;
    let arrow = words.next_or("`->` is missing, and the address that the packet goes to")?;
    if arrow.text != "->" {
        let message = format!("expected `->` between the two addresses, found `{}`", arrow.shown());
        return Err(arrow.problem(message));
    }
    let destination = endpoint(&words.next_or("the address that the packet goes to is missing")?)?;
    let mut options = Options::default();
    while let Some(word) = words.next() {
        options.read(word, &mut words, protocol)?;
    }
    Draft { direction, protocol_word, protocol, source, destination, options }.finish()
}

/// A word and its place.
#[derive(Debug, Clone)]
struct Word<'a> {
    text: &'a str,
    span: Range<usize>,
}

impl Word<'_> {
    fn problem(&self, message: impl Into<String>) -> PacketProblem {
        PacketProblem { span: self.span.clone(), message: message.into(), hint: None }
    }

    /// The word, cut where it is longer than anything sensible.
    fn shown(&self) -> String {
        const LONGEST_WORD: usize = 60;
        match self.text.char_indices().nth(LONGEST_WORD) {
            Some((end, _)) => format!("{}...", &self.text[..end]),
            None => self.text.to_owned(),
        }
    }
}

impl PacketProblem {
    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    fn near<'a>(self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(word, known) {
            Some(near) => self.hint(format!("did you mean `{near}`?")),
            None => self,
        }
    }
}

/// The words of a text, one after the other.
struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn next(&mut self) -> Option<Word<'a>> {
        let rest = self.text.get(self.at..)?;
        let start = self.at + rest.find(|c: char| !c.is_whitespace())?;
        let rest = self.text.get(start..)?;
        let end = start + rest.find(char::is_whitespace).unwrap_or(rest.len());
        self.at = end;
        Some(Word { text: self.text.get(start..end)?, span: start..end })
    }

    fn next_or(&mut self, message: &str) -> Result<Word<'a>, PacketProblem> {
        let text = self.text;
        self.next().ok_or_else(|| {
            // the last word: what is missing follows it
            let end = text.trim_end().len();
            let start = text.trim_end().rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
            PacketProblem { span: start..end, message: message.to_owned(), hint: Some(EXAMPLE.to_owned()) }
        })
    }
}

const EXAMPLE: &str = "such as `in tcp 10.0.0.9:4000 -> 10.0.0.2:80`";

fn protocol_number(word: &Word<'_>) -> Result<u8, PacketProblem> {
    let named = PROTOCOLS.iter().find(|(name, _)| *name == word.text).map(|(_, number)| *number);
    named.or_else(|| word.text.parse().ok()).ok_or_else(|| {
        let message = format!(
            "`{}` is no protocol, known are tcp, udp, icmp, icmpv6, sctp and numbers up to 255",
            word.shown()
        );
        word.problem(message).near(word.text, PROTOCOLS.map(|(name, _)| name))
    })
}

/// An address, and a port.
#[derive(Debug, Clone)]
struct Endpoint {
    address: IpAddr,
    port: Option<u16>,
    span: Range<usize>,
}

/// `10.0.0.9`, `10.0.0.9:80`, `fd00::1`, `[fd00::1]:80`
fn endpoint(word: &Word<'_>) -> Result<Endpoint, PacketProblem> {
    let text = word.text;
    let (address, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, after) =
            rest.split_once(']').ok_or_else(|| word.problem(format!("`{}` lacks its `]`", word.shown())))?;
        match after.strip_prefix(':') {
            Some(port) => (address, Some(port)),
            None if after.is_empty() => (address, None),
            None => {
                return Err(word.problem(format!("after `]`, `:` and a port are expected, not `{after}`")));
            }
        }
    } else if let Some((address, port)) = text.split_once(':').filter(|(_, rest)| !rest.contains(':')) {
        (address, Some(port))
    } else {
        (text, None)
    };
    let address: IpAddr = address.parse().map_err(|_| {
        let problem = word.problem(format!("`{}` is no IP address", word.shown()));
        if address.chars().any(|c| c.is_ascii_alphabetic()) && !address.contains(':') {
            problem.hint("names are not looked up: a packet has addresses")
        } else {
            problem
        }
    })?;
    let port = port.map(|port| {
        let wrong = |_| word.problem(format!("`{port}` is no port from 0 to 65535"));
        port.parse().map_err(wrong)
    });
    Ok(Endpoint { address, port: port.transpose()?, span: word.span.clone() })
}

/// The words after the addresses, each at most once.
#[derive(Debug, Default)]
struct Options<'a> {
    on: Option<Word<'a>>,
    from: Option<Word<'a>>,
    to: Option<Word<'a>>,
    state: Option<(Word<'a>, State)>,
    flags: Option<(Word<'a>, u8)>,
    icmp: Option<(Word<'a>, (u8, u8))>,
    ttl: Option<(Word<'a>, u8)>,
    length: Option<(Word<'a>, u16)>,
    mark: Option<u32>,
    mac: Option<(Word<'a>, [u8; 6])>,
}

impl<'a> Options<'a> {
    fn read(&mut self, word: Word<'a>, words: &mut Words<'a>, protocol: u8) -> Result<(), PacketProblem> {
        if let Some((_, state)) = STATES.iter().find(|(name, _)| *name == word.text) {
            return once(&mut self.state, &word, (word.clone(), *state));
        }
        if let Some((_, bit)) = FLAGS.iter().find(|(name, _)| *name == word.text) {
            let (first, bits) = self.flags.take().unwrap_or((word, 0));
            self.flags = Some((first, bits | bit));
            return Ok(());
        }
        if let Some(kind) = icmp_type(protocol, word.text) {
            return once(&mut self.icmp, &word, (word.clone(), kind));
        }
        if !VALUES.contains(&word.text) {
            let known =
                STATES.map(|(name, _)| name).into_iter().chain(FLAGS.map(|(name, _)| name)).chain(VALUES);
            let icmp: Vec<&str> = icmp_names(protocol);
            let message = format!("unknown word `{}`", word.shown());
            return Err(word.problem(message).near(word.text, known.chain(icmp)));
        }
        let value = words.next_or(&format!("after `{}` a value is missing", word.text))?;
        let number = |most: u64| {
            let digits = value.text.strip_prefix("0x").map(|hex| u64::from_str_radix(hex, 16));
            let number = digits.unwrap_or_else(|| value.text.parse()).ok().filter(|number| *number <= most);
            number.ok_or_else(|| value.problem(format!("`{}` is no number from 0 to {most}", value.shown())))
        };
        match word.text {
            "on" => once(&mut self.on, &word, interface(value)?),
            "from" => once(&mut self.from, &word, interface(value)?),
            "to" => once(&mut self.to, &word, interface(value)?),
            "ttl" => {
                let ttl = number(255)? as u8;
                once(&mut self.ttl, &word, (value, ttl))
            }
            "length" => {
                let length = number(65_535)? as u16;
                once(&mut self.length, &word, (value, length))
            }
            "mark" => {
                let mark = number(u32::MAX.into())? as u32;
                once(&mut self.mark, &word, mark)
            }
            "mac" => {
                let mac = mac_address(&value)?;
                once(&mut self.mac, &word, (value, mac))
            }
            "flags" => {
                let mut bits = 0;
                for name in value.text.split(',').filter(|name| *name != "none") {
                    let known = FLAGS.iter().find(|(known, _)| *known == name);
                    let Some((_, bit)) = known else {
                        let message = format!(
                            "`{name}` is no TCP flag, known are fin, syn, rst, psh, ack, urg and none"
                        );
                        return Err(value.problem(message).near(name, FLAGS.map(|(name, _)| name)));
                    };
                    bits |= bit;
                }
                once(&mut self.flags, &word, (value, bits))
            }
            _ => {
                let kind = typed(protocol, &value)?;
                once(&mut self.icmp, &word, (value, kind))
            }
        }
    }
}

fn once<T>(slot: &mut Option<T>, word: &Word<'_>, value: T) -> Result<(), PacketProblem> {
    if slot.is_some() {
        return Err(word.problem(format!("`{}` says again what was said before", word.shown())));
    }
    *slot = Some(value);
    Ok(())
}

fn interface(value: Word<'_>) -> Result<Word<'_>, PacketProblem> {
    let text = value.text;
    if (1..=15).contains(&text.len()) && text != "." && text != ".." && !text.contains(['/', ':']) {
        return Ok(value);
    }
    Err(value.problem(format!(
        "`{}` is no name of an interface: 1 to 15 bytes without `/` and `:`",
        value.shown()
    )))
}

fn mac_address(value: &Word<'_>) -> Result<[u8; 6], PacketProblem> {
    let bytes: Option<Vec<u8>> = value
        .text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok().filter(|_| byte.len() == 2))
        .collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .filter(|bytes: &[u8; 6]| bytes[0] & 1 == 0)
        .ok_or_else(|| value.problem(format!("`{}` is no Ethernet address of a sender", value.shown())))
}

/// `8`, `3/4` or a name.
fn typed(protocol: u8, value: &Word<'_>) -> Result<(u8, u8), PacketProblem> {
    if let Some(kind) = icmp_type(protocol, value.text) {
        return Ok(kind);
    }
    let (kind, code) = value.text.split_once('/').unwrap_or((value.text, "0"));
    if let (Ok(kind), Ok(code)) = (kind.parse(), code.parse()) {
        return Ok((kind, code));
    }
    let message =
        format!("`{}` is no type: a number, `TYPE/CODE`, or a name such as echo-request", value.shown());
    Err(value.problem(message).near(value.text, icmp_names(protocol)))
}

/// All that was read, to be looked at together.
struct Draft<'a> {
    direction: Word<'a>,
    protocol_word: Word<'a>,
    protocol: u8,
    source: Endpoint,
    destination: Endpoint,
    options: Options<'a>,
}

impl Draft<'_> {
    fn finish(self) -> Result<Packet, PacketProblem> {
        self.check_addresses()?;
        let direction = self.interfaces()?;
        let ports = self.ports()?;
        let icmp = self.icmp_kind()?;
        let (state, tcp_flags) = self.state_and_flags(icmp)?;
        let ttl = self.ttl(icmp, &direction)?;
        let packet = Packet {
            direction,
            protocol: self.protocol,
            source: self.source.address,
            destination: self.destination.address,
            ports,
            icmp,
            state,
            tcp_flags,
            ttl,
            length: self.options.length.as_ref().map(|(_, length)| *length),
            mark: self.options.mark.unwrap_or(0),
            mac: self.options.mac.as_ref().map(|(_, mac)| *mac),
        };
        if let Some((word, length)) = &self.options.length {
            let least = super::encode_packet(&Packet { length: None, ..packet.clone() }).len();
            if usize::from(*length) < least || *length > LONGEST {
                return Err(
                    word.problem(format!("this packet can have {least} to {LONGEST} bytes, not {length}"))
                );
            }
        }
        if let (Some((word, _)), Direction::Out(_)) = (&self.options.mac, &packet.direction) {
            return Err(word.problem("a packet that goes out gets its Ethernet address from the interface"));
        }
        Ok(packet)
    }

    fn problem_at(span: &Range<usize>, message: impl Into<String>) -> PacketProblem {
        PacketProblem { span: span.clone(), message: message.into(), hint: None }
    }

    fn check_addresses(&self) -> Result<(), PacketProblem> {
        let (source, destination) = (self.source.address, self.destination.address);
        if source.is_ipv4() != destination.is_ipv4() {
            let message = "one address is IPv4 and the other IPv6: a packet has one family";
            return Err(Self::problem_at(&self.destination.span, message));
        }
        if source.is_multicast() || source == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err(Self::problem_at(
                &self.source.span,
                format!("no packet comes from `{source}`, a group"),
            ));
        }
        if destination.is_unspecified() {
            return Err(Self::problem_at(
                &self.destination.span,
                format!("no packet goes to `{destination}`"),
            ));
        }
        if source.is_unspecified() && self.direction.text == "forward" {
            return Err(Self::problem_at(&self.source.span, "a packet without an address is not forwarded"));
        }
        if self.direction.text == "forward"
            && (destination.is_multicast() || source.is_loopback() || destination.is_loopback())
        {
            return Err(Self::problem_at(
                &self.destination.span,
                "neither groups nor loopback addresses are forwarded",
            ));
        }
        let icmp_of = match self.protocol {
            ICMP if source.is_ipv6() => Some(("icmp", "IPv4", "icmpv6")),
            ICMPV6 if source.is_ipv4() => Some(("icmpv6", "IPv6", "icmp")),
            _ => None,
        };
        match icmp_of {
            Some((name, family, other)) => {
                let message = format!("{name} is for {family}, and the addresses are not");
                Err(self.protocol_word.problem(message).hint(format!("write `{other}`")))
            }
            None => Ok(()),
        }
    }

    fn interfaces(&self) -> Result<Direction, PacketProblem> {
        let Options { on, from, to, .. } = &self.options;
        let name = |word: &Option<Word<'_>>| word.as_ref().map(|word| word.text.to_owned());
        if self.direction.text == "forward" {
            if let Some(on) = on {
                return Err(on.problem("a forwarded packet has two interfaces: `from NAME to NAME`"));
            }
            return match (name(from), name(to)) {
                (Some(from), Some(to)) => Ok(Direction::Forward(from, to)),
                _ => {
                    Err(self.direction.problem("a forwarded packet has two interfaces: `from NAME to NAME`"))
                }
            };
        }
        if let Some(word) = from.as_ref().or(to.as_ref()) {
            return Err(word.problem("`from` and `to` are for forwarded packets; here it is `on NAME`"));
        }
        let loopback = self.source.address.is_loopback() || self.destination.address.is_loopback();
        match on {
            Some(on) if loopback && on.text != "lo" => {
                Err(on.problem("a packet with a loopback address goes by `lo` only"))
            }
            None if loopback => Ok("lo".to_owned()),
            _ => Ok(name(on).unwrap_or_default()),
        }
        .map(|name| Some(name).filter(|name| !name.is_empty()))
        .map(|name| if self.direction.text == "in" { Direction::In(name) } else { Direction::Out(name) })
    }

    fn ports(&self) -> Result<Option<(u16, u16)>, PacketProblem> {
        // udplite and dccp have their ports where UDP has them
        let has_ports = matches!(self.protocol, TCP | UDP | SCTP | 33 | 136);
        let stated = if self.source.port.is_some() { &self.source } else { &self.destination };
        match (has_ports, self.destination.port) {
            (false, _) if stated.port.is_some() => {
                let message = format!("protocol `{}` has no ports", self.protocol_word.shown());
                Err(Self::problem_at(&stated.span, message))
            }
            (false, _) => Ok(None),
            (true, None) => {
                let message = format!(
                    "`{}` has ports: the one that the packet goes to is missing",
                    self.protocol_word.shown()
                );
                let shown = match self.destination.address {
                    IpAddr::V4(address) => format!("{address}:80"),
                    IpAddr::V6(address) => format!("[{address}]:80"),
                };
                Err(Self::problem_at(&self.destination.span, message).hint(format!("such as `{shown}`")))
            }
            (true, Some(port)) => Ok(Some((self.source.port.unwrap_or(SOURCE_PORT), port))),
        }
    }

    fn icmp_kind(&self) -> Result<Option<(u8, u8)>, PacketProblem> {
        match (self.protocol, &self.options.icmp) {
            (ICMP | ICMPV6, Some((_, kind))) => Ok(Some(*kind)),
            (ICMP, None) => Ok(Some((8, 0))),
            (ICMPV6, None) => Ok(Some((128, 0))),
            (_, Some((word, _))) => Err(word.problem("only icmp and icmpv6 have types")),
            (_, None) => Ok(None),
        }
    }

    fn state_and_flags(&self, icmp: Option<(u8, u8)>) -> Result<(State, u8), PacketProblem> {
        let echo_reply = matches!((self.protocol, icmp), (ICMP, Some((0, _))) | (ICMPV6, Some((129, _))));
        let mut state = match &self.options.state {
            Some((_, state)) => *state,
            None => State::New,
        };
        // an echo reply never goes the way of the first packet
        if echo_reply && state == State::Established {
            state = State::Reply;
        }
        if let Some((word, _)) = &self.options.flags
            && self.protocol != TCP
        {
            return Err(
                word.problem(format!("only tcp has flags, and this is {}", self.protocol_word.shown()))
            );
        }
        if let Some((word, State::Invalid)) = &self.options.state {
            if self.direction.text == "out" {
                return Err(word
                    .problem("what goes out is not looked at for a wrong checksum")
                    .hint("for TCP, a packet with `flags none` is invalid too"));
            }
            if !matches!(self.protocol, TCP | UDP | ICMP | ICMPV6 | SCTP) {
                return Err(
                    word.problem(format!("protocol {} has no checksum that could be wrong", self.protocol))
                );
            }
        }
        let default = match (self.protocol, state) {
            (TCP, State::New | State::Related | State::Invalid) => SYN,
            (TCP, State::Established | State::Reply) => ACK,
            _ => 0,
        };
        let flags = self.options.flags.as_ref().map_or(default, |(_, flags)| *flags);
        let begins = flags & (SYN | ACK | RST) == SYN;
        match (&self.options.state, &self.options.flags) {
            (Some((_, State::Established | State::Reply)), Some((word, _))) if begins => Err(word
                .problem("a packet with SYN alone begins a connection, so it is not of one that is there")
                .hint("leave the flags out, or say `new`")),
            _ => Ok((state, flags)),
        }
    }

    fn ttl(&self, icmp: Option<(u8, u8)>, direction: &Direction) -> Result<u8, PacketProblem> {
        if let Some((word, ttl)) = &self.options.ttl {
            if *ttl == 0 {
                return Err(word.problem("a packet whose time is over is not handed on: 1 to 255"));
            }
            if *ttl == 1 && matches!(direction, Direction::Forward(..)) {
                return Err(word.problem("a packet with one hop left is not forwarded: 2 to 255"));
            }
            return Ok(*ttl);
        }
        Ok(match (self.protocol, icmp) {
            // as RFC 4861 and RFC 2710 have it
            (ICMPV6, Some((133..=137, _))) => 255,
            (ICMPV6, Some((130..=132 | 143, _))) => 1,
            _ => 64,
        })
    }
}

impl Direction {
    /// The interface that it comes in by, or goes out by where it is sent here; the default where none is stated.
    pub fn interface(&self) -> &str {
        match self {
            Self::In(name) | Self::Out(name) => name.as_deref().unwrap_or(DEFAULT_INTERFACE),
            Self::Forward(from, _) => from,
        }
    }
}

#[cfg(test)]
mod tests;
