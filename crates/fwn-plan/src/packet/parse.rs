//! The words of a packet: one after the other, each with its place, so that what is wrong can be underlined. What every
//! word means alone is checked first, then whether they go together.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

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
const ICMP_TYPES: [(&str, u8, u8); 9] = [
    ("echo-reply", 0, 0),
    ("destination-unreachable", 3, 0),
    ("port-unreachable", 3, 3),
    ("fragmentation-needed", 3, 4),
    ("redirect", 5, 0),
    ("echo-request", 8, 0),
    ("time-exceeded", 11, 0),
    ("parameter-problem", 12, 0),
    ("timestamp-request", 13, 0),
];
const ICMPV6_TYPES: [(&str, u8, u8); 15] = [
    ("destination-unreachable", 1, 0),
    ("port-unreachable", 1, 4),
    ("packet-too-big", 2, 0),
    ("time-exceeded", 3, 0),
    ("parameter-problem", 4, 0),
    ("echo-request", 128, 0),
    ("echo-reply", 129, 0),
    ("router-solicitation", 133, 0),
    ("router-advertisement", 134, 0),
    ("neighbour-solicitation", 135, 0),
    ("neighbor-solicitation", 135, 0),
    ("neighbour-advertisement", 136, 0),
    ("neighbor-advertisement", 136, 0),
    ("redirect", 137, 0),
    ("listener-query", 130, 0),
];
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

fn icmp_names(protocol: u8) -> Vec<&'static str> {
    match protocol {
        ICMP => ICMP_TYPES.iter().map(|(name, ..)| *name).collect(),
        ICMPV6 => ICMPV6_TYPES.iter().map(|(name, ..)| *name).collect(),
        _ => Vec::new(),
    }
}

fn icmp_type(protocol: u8, name: &str) -> Option<(u8, u8)> {
    let types: &[(&str, u8, u8)] = match protocol {
        ICMP => &ICMP_TYPES,
        ICMPV6 => &ICMPV6_TYPES,
        _ => return None,
    };
    types.iter().find(|(known, ..)| *known == name).map(|(_, kind, code)| (*kind, *code))
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(text: &str) -> Packet {
        parse_packet(text).unwrap_or_else(|problem| panic!("{text}: {problem}"))
    }

    #[test]
    fn defaults_are_those_of_ordinary_packets() {
        let plain = packet("in tcp 10.0.0.9 -> 10.0.0.2:80");
        assert_eq!(plain.ports, Some((40_000, 80)));
        assert_eq!((plain.state, plain.tcp_flags, plain.ttl), (State::New, SYN, 64));
        assert_eq!(plain.direction, Direction::In(None));
        let v6 = packet(
            "  out udp [fd00::2]:53\t-> [fd00::1]:9   on net1 established length 100 mark 0x10 ttl 3 ",
        );
        assert_eq!(
            (v6.ports, v6.state, v6.length, v6.mark, v6.ttl),
            (Some((53, 9)), State::Established, Some(100), 16, 3)
        );
        assert_eq!(v6.direction, Direction::Out(Some("net1".to_owned())));
        assert_eq!(packet("in tcp 10.0.0.9:80 -> 10.0.0.2:4000 established").tcp_flags, ACK);
        assert_eq!(packet("in tcp 10.0.0.9:80 -> 10.0.0.2:4000 reply syn ack").tcp_flags, SYN | ACK);
        assert_eq!(packet("in tcp 10.0.0.9 -> 10.0.0.2:4 flags fin,psh,urg").tcp_flags, 0x29);
        assert_eq!(packet("in tcp 10.0.0.9 -> 10.0.0.2:4 flags none").tcp_flags, 0);
        assert_eq!(packet("in icmp 10.0.0.9 -> 10.0.0.2").icmp, Some((8, 0)));
        assert_eq!(packet("in icmp 10.0.0.9 -> 10.0.0.2 type 3/4").icmp, Some((3, 4)));
        let reply = packet("in icmp 10.0.0.9 -> 10.0.0.2 echo-reply established");
        assert_eq!((reply.icmp, reply.state), (Some((0, 0)), State::Reply));
        let nd = packet("in icmpv6 fe80::1 -> ff02::1 router-advertisement");
        assert_eq!((nd.icmp, nd.ttl), (Some((134, 0)), 255));
        assert_eq!(packet("in icmpv6 fe80::1 -> ff02::1 type 130").ttl, 1);
        assert_eq!(
            packet("in tcp 127.0.0.1:1 -> 127.0.0.1:2").direction,
            Direction::In(Some("lo".to_owned()))
        );
        assert_eq!(packet("out 47 10.0.0.2 -> 10.0.0.9").protocol, 47);
        assert_eq!(
            packet("in udp 10.0.0.9 -> 10.0.0.2:5 mac 02:00:00:00:00:01").mac,
            Some([2, 0, 0, 0, 0, 1])
        );
        let forward = packet("forward udp 10.0.0.9 -> 10.1.0.9:53 from eth0 to eth1");
        assert_eq!(forward.direction, Direction::Forward("eth0".to_owned(), "eth1".to_owned()));
    }

    #[test]
    fn what_makes_no_sense_is_refused_at_its_place() {
        for (text, words, message) in [
            ("", "", "a packet begins with `in`, `out` or `forward`"),
            ("inn tcp 1.1.1.1 -> 2.2.2.2:1", "inn", "`inn` is no direction, known are in, out and forward"),
            (
                "in tpc 1.1.1.1 -> 2.2.2.2:1",
                "tpc",
                "`tpc` is no protocol, known are tcp, udp, icmp, icmpv6, sctp and numbers up to 255",
            ),
            (
                "in 256 1.1.1.1 -> 2.2.2.2",
                "256",
                "`256` is no protocol, known are tcp, udp, icmp, icmpv6, sctp and numbers up to 255",
            ),
            ("in tcp", "tcp", "the address that the packet comes from is missing"),
            (
                "in tcp 1.1.1.1 2.2.2.2:1",
                "2.2.2.2:1",
                "expected `->` between the two addresses, found `2.2.2.2:1`",
            ),
            ("in tcp 1.1.1.1 ->", "->", "the address that the packet goes to is missing"),
            ("in tcp web:80 -> 2.2.2.2:1", "web:80", "`web:80` is no IP address"),
            ("in tcp 1.1.1.1:x -> 2.2.2.2:1", "1.1.1.1:x", "`x` is no port from 0 to 65535"),
            ("in tcp [::1:80 -> [::1]:1", "[::1:80", "`[::1:80` lacks its `]`"),
            ("in tcp [::1]80 -> [::1]:1", "[::1]80", "after `]`, `:` and a port are expected, not `80`"),
            (
                "in tcp 1.1.1.1 -> [fd00::1]:1",
                "[fd00::1]:1",
                "one address is IPv4 and the other IPv6: a packet has one family",
            ),
            ("in tcp 224.0.0.1 -> 2.2.2.2:1", "224.0.0.1", "no packet comes from `224.0.0.1`, a group"),
            ("in tcp 1.1.1.1 -> 0.0.0.0:1", "0.0.0.0:1", "no packet goes to `0.0.0.0`"),
            ("in icmp fd00::1 -> fd00::2", "icmp", "icmp is for IPv4, and the addresses are not"),
            ("in icmpv6 1.1.1.1 -> 2.2.2.2", "icmpv6", "icmpv6 is for IPv6, and the addresses are not"),
            ("in icmp 1.1.1.1 -> 2.2.2.2:1", "2.2.2.2:1", "protocol `icmp` has no ports"),
            (
                "in tcp 1.1.1.1 -> 2.2.2.2",
                "2.2.2.2",
                "`tcp` has ports: the one that the packet goes to is missing",
            ),
            ("in udp 1.1.1.1 -> 2.2.2.2:1 syn", "syn", "only tcp has flags, and this is udp"),
            ("in udp 1.1.1.1 -> 2.2.2.2:1 type 8", "8", "only icmp and icmpv6 have types"),
            (
                "in tcp 1.1.1.1 -> 2.2.2.2:1 established syn",
                "syn",
                "a packet with SYN alone begins a connection, so it is not of one that is there",
            ),
            ("in tcp 1.1.1.1 -> 2.2.2.2:1 new reply", "reply", "`reply` says again what was said before"),
            ("in tcp 1.1.1.1 -> 2.2.2.2:1 estabished", "estabished", "unknown word `estabished`"),
            (
                "in tcp 1.1.1.1 -> 2.2.2.2:1 flags syn,ak",
                "syn,ak",
                "`ak` is no TCP flag, known are fin, syn, rst, psh, ack, urg and none",
            ),
            ("in tcp 1.1.1.1 -> 2.2.2.2:1 on", "on", "after `on` a value is missing"),
            (
                "in tcp 1.1.1.1 -> 2.2.2.2:1 on a/b",
                "a/b",
                "`a/b` is no name of an interface: 1 to 15 bytes without `/` and `:`",
            ),
            (
                "in tcp 1.1.1.1 -> 2.2.2.2:1 from eth0",
                "eth0",
                "`from` and `to` are for forwarded packets; here it is `on NAME`",
            ),
            (
                "in tcp 127.0.0.1 -> 2.2.2.2:1 on eth0",
                "eth0",
                "a packet with a loopback address goes by `lo` only",
            ),
            (
                "forward tcp 1.1.1.1 -> 2.2.2.2:1",
                "forward",
                "a forwarded packet has two interfaces: `from NAME to NAME`",
            ),
            (
                "forward tcp 1.1.1.1 -> 127.0.0.1:1 from a to b",
                "127.0.0.1:1",
                "neither groups nor loopback addresses are forwarded",
            ),
            (
                "forward tcp 1.1.1.1 -> 2.2.2.2:1 from a to b ttl 1",
                "1",
                "a packet with one hop left is not forwarded: 2 to 255",
            ),
            (
                "in tcp 1.1.1.1 -> 2.2.2.2:1 ttl 0",
                "0",
                "a packet whose time is over is not handed on: 1 to 255",
            ),
            ("in tcp 1.1.1.1 -> 2.2.2.2:1 ttl 256", "256", "`256` is no number from 0 to 255"),
            ("in tcp 1.1.1.1 -> 2.2.2.2:1 length 39", "39", "this packet can have 40 to 1500 bytes, not 39"),
            (
                "in tcp 1.1.1.1 -> 2.2.2.2:1 length 1501",
                "1501",
                "this packet can have 40 to 1500 bytes, not 1501",
            ),
            (
                "out tcp 1.1.1.1 -> 2.2.2.2:1 invalid",
                "invalid",
                "what goes out is not looked at for a wrong checksum",
            ),
            (
                "in gre 1.1.1.1 -> 2.2.2.2 invalid",
                "invalid",
                "protocol 47 has no checksum that could be wrong",
            ),
            (
                "in tcp 1.1.1.1 -> 2.2.2.2:1 mac 01:00:00:00:00:01",
                "01:00:00:00:00:01",
                "`01:00:00:00:00:01` is no Ethernet address of a sender",
            ),
            (
                "out tcp 1.1.1.1 -> 2.2.2.2:1 mac 02:00:00:00:00:01",
                "02:00:00:00:00:01",
                "a packet that goes out gets its Ethernet address from the interface",
            ),
        ] {
            let problem = parse_packet(text).expect_err(text);
            assert_eq!((&text[problem.span.clone()], problem.message.as_str()), (words, message), "{text}");
        }
        let hint = |text: &str| parse_packet(text).expect_err(text).hint.unwrap_or_default();
        assert_eq!(hint("in tcp 1.1.1.1 -> 2.2.2.2:1 estabished"), "did you mean `established`?");
        assert_eq!(hint("in icmp 1.1.1.1 -> 2.2.2.2 echo-requst"), "did you mean `echo-request`?");
        assert_eq!(hint("in tcp 1.1.1.1 -> 2.2.2.2"), "such as `2.2.2.2:80`");
    }

    proptest! {
        #[test]
        fn any_text_gives_a_packet_or_a_place_in_it(text in "\\PC{0,60}") {
            if let Err(problem) = parse_packet(&text) {
                prop_assert!(text.get(problem.span).is_some());
            }
        }

        #[test]
        fn any_words_give_a_packet_or_a_place_in_them(
            words in prop::collection::vec(prop::sample::select(vec![
                "in", "out", "forward", "tcp", "udp", "icmp", "icmpv6", "1.1.1.1", "2.2.2.2:1", "[fd00::1]:5", "fd00::2",
                "->", "on", "from", "to", "eth0", "lo", "new", "reply", "invalid", "syn", "flags", "ttl", "1", "255", "length", "é",
            ]), 0..14),
        ) {
            let text = words.join(" ");
            match parse_packet(&text) {
                Ok(packet) => prop_assert!(super::super::encode_packet(&packet).len() >= 20),
                Err(problem) => prop_assert!(text.get(problem.span).is_some()),
            }
        }
    }
}
