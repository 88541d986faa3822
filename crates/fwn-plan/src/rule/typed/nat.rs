//! Targets that rewrite addresses and ports: `DNAT`, `SNAT`, `MASQUERADE`, `REDIRECT`, `NETMAP`.

use std::net::IpAddr;

use super::value::{Masked, Range, address_in, digits, masked_address, number_in, port_in, word, wrong};
use super::{Context, TypedError, needs, not_typed};
use crate::netfilter::Family;
use crate::rule::{Module, Negatable, OptionUse, RuleProblem, Value};

/// `-j DNAT` or `-j SNAT`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Nat {
    /// Addresses to map to; `None` keeps the address.
    pub addresses: Option<Range<IpAddr>>,
    /// Ports to map to.
    pub ports: Option<NatPorts>,
    /// `--random`
    pub random: bool,
    /// `--random-fully`
    pub random_fully: bool,
    /// `--persistent`
    pub persistent: bool,
}

/// `-j MASQUERADE` or `-j REDIRECT`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortNat {
    /// `--to-ports`
    pub ports: Option<NatPorts>,
    /// `--random`
    pub random: bool,
    /// `--random-fully`
    pub random_fully: bool,
}

/// Ports to map to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatPorts {
    /// The ports.
    pub ports: Range<u16>,
    /// The port of a packet that the first of them stands for: ports are shifted, not chosen (`DNAT` only).
    pub base: Option<u16>,
}

pub(super) fn parse(module: &Module, context: &Context<'_>) -> Result<Nat, TypedError> {
    let mut nat = Nat::default();
    let mut found = false;
    for option in &module.options {
        match option.name {
            "to-destination" | "to-source" => {
                (nat.addresses, nat.ports) = parse_to(option, context)?;
                found = true;
            }
            "random" => nat.random = true,
            "random-fully" => nat.random_fully = true,
            "persistent" => nat.persistent = true,
            _ => return Err(not_typed(module, option)),
        }
    }
    if found { Ok(nat) } else { Err(needs(module, "an address to map to")) }
}

pub(super) fn parse_ports(module: &Module, context: &Context<'_>) -> Result<PortNat, TypedError> {
    let mut nat = PortNat::default();
    for option in &module.options {
        match option.name {
            "to-ports" => {
                let value = word(option, 0)?;
                let ports = parse_nat_ports(value, &value.text, context)?;
                if ports.base.is_some() {
                    return Err(TypedError::form(option, "shifted ports"));
                }
                nat.ports = Some(ports);
            }
            "random" => nat.random = true,
            "random-fully" => nat.random_fully = true,
            _ => return Err(not_typed(module, option)),
        }
    }
    Ok(nat)
}

pub(super) fn parse_netmap(module: &Module, context: &Context<'_>) -> Result<Masked<IpAddr>, TypedError> {
    let mut to = None;
    for option in &module.options {
        match option.name {
            "to" => to = Some(masked_address(word(option, 0)?, context.family)?),
            _ => return Err(not_typed(module, option)),
        }
    }
    to.ok_or_else(|| needs(module, "`--to`"))
}

type To = (Option<Range<IpAddr>>, Option<NatPorts>);

/// `[ADDRESS[-ADDRESS]][:PORT[-PORT[/BASE]]]`; in IPv6 with brackets around the addresses where ports follow.
fn parse_to(option: &OptionUse, context: &Context<'_>) -> Result<To, TypedError> {
    let value = word(option, 0)?;
    let text = value.text.as_str();
    let (addresses, ports) = match text.strip_prefix('[') {
        Some(rest) if context.family == Family::Ipv6 => {
            let (addresses, rest) = rest
                .split_once(']')
                .ok_or_else(|| wrong(value, format!("`{text}` has a `[` without its `]`")))?;
            match rest {
                "" => (addresses, None),
                rest => match rest.strip_prefix(':') {
                    Some(ports) => (addresses, Some(ports)),
                    None => return Err(wrong(value, format!("`{rest}` after the addresses")).into()),
                },
            }
        }
        Some(_) => return Err(wrong(value, format!("`{text}`: brackets are for IPv6 addresses")).into()),
        // one colon is before a port, more are of an IPv6 address
        None => match text.split_once(':') {
            Some((addresses, ports)) if !ports.contains(':') => (addresses, Some(ports)),
            _ => (text, None),
        },
    };
    let ports = ports.map(|ports| parse_nat_ports(value, ports, context)).transpose()?;
    if ports.is_some_and(|ports| ports.base.is_some()) && option.name == "to-source" {
        return Err(TypedError::form(option, "shifted ports"));
    }
    if addresses.is_empty() && ports.is_some() {
        return Ok((None, ports));
    }
    let (first, last) = addresses.split_once('-').unwrap_or((addresses, addresses));
    let first = address_in(value, first, context.family)?;
    let last = address_in(value, last, context.family)?;
    Ok((Some(Range { first, last }), ports))
}

fn parse_nat_ports(value: &Value, text: &str, context: &Context<'_>) -> Result<NatPorts, RuleProblem> {
    /// `IPPROTO_ICMP`, `TCP`, `UDP`, `DCCP`, `SCTP` (`netinet/in.h`)
    const WITH_PORTS: [u8; 5] = [1, 6, 17, 33, 132];
    match context.protocol {
        // iptables does not look whether there is a `!`
        Some(Negatable { value, .. }) if WITH_PORTS.contains(value) => {}
        _ => return Err(wrong(value, "ports need `-p` with tcp, udp, sctp or dccp")),
    }
    let (range, base) = match text.split_once('/') {
        Some((range, base)) => (range, Some(base)),
        None => (text, None),
    };
    let Some((first, last)) = range.split_once('-').filter(|(first, _)| digits(first).is_some()) else {
        if base.is_some() {
            return Err(wrong(value, format!("`{text}`: only a range of ports can be shifted")));
        }
        return Ok(NatPorts { ports: Range::single(port_in(value, range, None, context)?), base: None });
    };
    let port = |text| number_in(value, text, 0..=u16::MAX);
    let ports = Range { first: port(first)?, last: port(last)? };
    if ports.last < ports.first {
        return Err(wrong(value, format!("the range `{range}` ends before it begins")));
    }
    let base = base.map(|base| match digits(base) {
        Some(_) => number_in(value, base, 1..=u16::MAX),
        None => port_in(value, base, None, context),
    });
    Ok(NatPorts { ports, base: base.transpose()? })
}
