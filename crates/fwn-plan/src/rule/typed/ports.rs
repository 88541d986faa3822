//! `tcp`, `udp` and `multiport`.

use super::value::{
    Range, choice, list, number, ordered, port_in, port_range, resolved_port_range, word, wrong, wrong_use,
};
use super::{Context, TypedError, needs, not_typed};
use crate::rule::{Module, Negatable, OptionUse, Value};

/// `-m tcp`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tcp {
    /// `--sport`
    pub source: Option<Negatable<Range<u16>>>,
    /// `--dport`
    pub destination: Option<Negatable<Range<u16>>>,
    /// `--tcp-flags` or `--syn`
    pub flags: Option<Negatable<TcpFlags>>,
    /// `--tcp-option`, 1 to 255.
    pub option: Option<Negatable<u8>>,
}

/// Flags of the TCP header, as they stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpFlags {
    /// Those that are looked at.
    pub mask: u8,
    /// Those of them that are to be set.
    pub set: u8,
}

/// `-m udp`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Udp {
    /// `--sport`
    pub source: Option<Negatable<Range<u16>>>,
    /// `--dport`
    pub destination: Option<Negatable<Range<u16>>>,
}

/// `-m multiport`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multiport {
    /// Which ports of a packet.
    pub side: PortSide,
    /// Whether a `!` stood before the option.
    pub negated: bool,
    /// At most 15, where a range counts for two.
    pub ports: Vec<Range<u16>>,
}

/// Which ports `multiport` looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortSide {
    /// `--sports`
    Source,
    /// `--dports`
    Destination,
    /// `--ports`: either of them.
    Either,
}

/// `IPPROTO_TCP` (`netinet/in.h`)
const TCP: u8 = 6;
/// `IPPROTO_UDP` (`netinet/in.h`)
const UDP: u8 = 17;
/// Flags by name, bits as in the TCP header (RFC 9293, 3.1).
const FLAGS: [(&str, u8); 8] = [
    ("FIN", 0x01),
    ("SYN", 0x02),
    ("RST", 0x04),
    ("PSH", 0x08),
    ("ACK", 0x10),
    ("URG", 0x20),
    ("ALL", 0x3f),
    ("NONE", 0),
];
/// What `--syn` stands for.
const SYN: TcpFlags = TcpFlags { mask: 0x17, set: 0x02 };

pub(super) fn parse_tcp(module: &Module, context: &Context<'_>) -> Result<Tcp, TypedError> {
    let mut tcp = Tcp::default();
    for option in &module.options {
        let negated = option.negated;
        match option.name {
            "sport" => tcp.source = Some(tcp_ports(option, context)?),
            "dport" => tcp.destination = Some(tcp_ports(option, context)?),
            "syn" => tcp.flags = Some(Negatable { negated, value: SYN }),
            "tcp-flags" => {
                let value =
                    TcpFlags { mask: parse_flags(word(option, 0)?)?, set: parse_flags(word(option, 1)?)? };
                tcp.flags = Some(Negatable { negated, value });
            }
            "tcp-option" => {
                tcp.option = Some(Negatable { negated, value: number(word(option, 0)?, 1..=u8::MAX)? });
            }
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(tcp)
}

pub(super) fn parse_udp(module: &Module, context: &Context<'_>) -> Result<Udp, TypedError> {
    let mut udp = Udp::default();
    for option in &module.options {
        match option.name {
            "sport" => udp.source = Some(udp_ports(option, context)?),
            "dport" => udp.destination = Some(udp_ports(option, context)?),
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(udp)
}

type Ports = Negatable<Range<u16>>;

fn tcp_ports(option: &OptionUse, context: &Context<'_>) -> Result<Ports, TypedError> {
    let value = port_range(word(option, 0)?, Some(TCP), context)?;
    Ok(Negatable { negated: option.negated, value })
}

/// Unlike tcp: `010` is ten here.
fn udp_ports(option: &OptionUse, context: &Context<'_>) -> Result<Ports, TypedError> {
    Ok(Negatable { negated: option.negated, value: resolved_port_range(word(option, 0)?, context)? })
}

fn parse_flags(value: &Value) -> Result<u8, TypedError> {
    let mut bits = 0;
    for part in list(value)? {
        bits |= choice(value, part, "TCP flag", &FLAGS)?;
    }
    Ok(bits)
}

/// Most ports of a `multiport` (`XT_MULTI_PORTS`, `linux/netfilter/xt_multiport.h`).
pub const MULTIPORT_MAX: usize = 15;

pub(super) fn parse_multiport(module: &Module, context: &Context<'_>) -> Result<Multiport, TypedError> {
    let mut found = None;
    for option in &module.options {
        let side = match option.name {
            "sports" => PortSide::Source,
            "dports" => PortSide::Destination,
            "ports" => PortSide::Either,
            _ => return Err(not_typed(module, option)),
        };
        let value = word(option, 0)?;
        let protocol = multiport_protocol(option, context)?;
        let mut ports = Vec::new();
        for part in list(value)? {
            ports.push(multiport_range(value, part, protocol, context)?);
        }
        let places: usize = ports.iter().map(|range| if range.first == range.last { 1 } else { 2 }).sum();
        if places > MULTIPORT_MAX {
            let message =
                format!("`{}` takes {places} places of {MULTIPORT_MAX}; a range takes two", value.text);
            return Err(wrong(value, message).into());
        }
        found = Some(Multiport { side, negated: option.negated, ports });
    }
    found.ok_or_else(|| needs(module, "--sports, --dports or --ports"))
}

fn multiport_protocol(option: &OptionUse, context: &Context<'_>) -> Result<u8, TypedError> {
    const UDPLITE: u8 = 136;
    const SCTP: u8 = 132;
    const DCCP: u8 = 33;
    match &context.protocol {
        Some(Negatable { negated: false, value: value @ (TCP | UDP | UDPLITE | SCTP | DCCP) }) => Ok(*value),
        _ => Err(wrong_use(option, "multiport needs `-p` with tcp, udp, udplite, sctp or dccp").into()),
    }
}

fn multiport_range(
    value: &Value,
    part: &str,
    protocol: u8,
    context: &Context<'_>,
) -> Result<Range<u16>, TypedError> {
    let number = |text| port_in(value, text, Some(protocol), context);
    let Some((first, last)) = part.split_once(':') else {
        return Ok(Range::single(number(part)?));
    };
    // unlike elsewhere no end may be missing, and one port is no range
    let range = Range { first: number(first)?, last: number(last)? };
    if range.first == range.last {
        return Err(wrong(value, format!("the range `{part}` is a single port")).into());
    }
    Ok(ordered(value, range)?)
}
