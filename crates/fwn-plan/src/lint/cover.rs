//! Whether one rule takes every packet that another one would: a claim that must never be wrong. Where it cannot be
//! told, the answer is no.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::ports::Ports;
use super::seen::Seen;
use crate::rule::typed::TypedMatch;
use crate::rule::typed::conntrack::Conntrack;
use crate::rule::typed::icmp::Icmp;
use crate::rule::typed::ports::{Multiport, PortSide, Tcp, TcpFlags, Udp};
use crate::rule::typed::value::Range;
use crate::rule::{Negatable, Network};

/// How a rule covers another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cover {
    /// By what no rule changes: addresses, ports, interfaces.
    Always,
    /// By something too that a rule in between could change: a mark, a set, the state of the connection.
    UnlessChanged,
}

/// `--ctstate` of which a packet has exactly one: `INVALID`, `ESTABLISHED`, `RELATED`, `NEW`, `UNTRACKED`.
pub(super) const BASE_STATES: u16 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 8;

/// Whether `a` takes all packets of `b`, both being of the same family and chain. `names` are addresses that stand
/// for host names: what they really are is not known.
pub(super) fn covers(a: &Seen<'_>, b: &Seen<'_>, names: &BTreeSet<IpAddr>) -> Option<Cover> {
    let (one, two) = (&a.op.rule, &b.op.rule);
    let base = !a.opaque
        && protocol_covers(one.protocol.as_ref(), two.protocol.as_ref())
        && network_covers(one.source.as_ref(), two.source.as_ref(), names)
        && network_covers(one.destination.as_ref(), two.destination.as_ref(), names)
        && interface_covers(one.in_interface.as_ref(), two.in_interface.as_ref())
        && interface_covers(one.out_interface.as_ref(), two.out_interface.as_ref())
        && (one.fragment.is_none() || one.fragment == two.fragment);
    if !base {
        return None;
    }
    let mut cover = Cover::Always;
    for it in &a.matches {
        if implied(it, b)? == Cover::UnlessChanged {
            cover = Cover::UnlessChanged;
        }
    }
    Some(cover)
}

fn protocol_covers(a: Option<&Negatable<u8>>, b: Option<&Negatable<u8>>) -> bool {
    match (a, b) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(a), Some(b)) => match (a.negated, b.negated) {
            (false, false) | (true, true) => a.value == b.value,
            (true, false) => a.value != b.value,
            (false, true) => false,
        },
    }
}

fn network_covers(
    a: Option<&Negatable<Network>>,
    b: Option<&Negatable<Network>>,
    names: &BTreeSet<IpAddr>,
) -> bool {
    let Some(a) = a else { return true };
    if !a.negated && a.value.prefix() == Some(0) {
        return true;
    }
    let Some(b) = b else { return false };
    if names.contains(&a.value.address) || names.contains(&b.value.address) {
        return a == b;
    }
    match (a.negated, b.negated) {
        (false, false) => contains(&a.value, &b.value),
        (true, false) => are_apart(&a.value, &b.value),
        (true, true) => contains(&b.value, &a.value),
        (false, true) => false,
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Whether all addresses of `inner` are in `outer`, of the same family; masks may have holes.
pub(super) fn contains(outer: &Network, inner: &Network) -> bool {
    let mask = bits(outer.mask);
    mask & bits(inner.mask) == mask && bits(inner.address) & mask == bits(outer.address)
}

/// Whether the two have no address in common.
pub(super) fn are_apart(a: &Network, b: &Network) -> bool {
    (bits(a.address) ^ bits(b.address)) & bits(a.mask) & bits(b.mask) != 0
}

/// Beginning of the name, and whether more may follow (`eth+`).
fn pattern(name: &str) -> (&str, bool) {
    match name.strip_suffix('+') {
        Some(prefix) => (prefix, true),
        None => (name, false),
    }
}

/// Whether every interface that `inner` stands for is one of `outer`.
pub(super) fn interface_contains(outer: &str, inner: &str) -> bool {
    match (pattern(outer), pattern(inner)) {
        ((prefix, true), (name, _)) => name.starts_with(prefix),
        ((name, false), (other, false)) => name == other,
        ((_, false), (_, true)) => false,
    }
}

/// Whether no interface is one of both.
pub(super) fn interfaces_are_apart(a: &str, b: &str) -> bool {
    match (pattern(a), pattern(b)) {
        ((one, false), (two, false)) => one != two,
        ((prefix, true), (name, false)) | ((name, false), (prefix, true)) => !name.starts_with(prefix),
        ((one, true), (two, true)) => !one.starts_with(two) && !two.starts_with(one),
    }
}

fn interface_covers(a: Option<&Negatable<String>>, b: Option<&Negatable<String>>) -> bool {
    let Some(a) = a else { return true };
    let any = a.value == "+";
    if any {
        return !a.negated;
    }
    let Some(b) = b else { return false };
    match (a.negated, b.negated) {
        (false, false) => interface_contains(&a.value, &b.value),
        (true, false) => interfaces_are_apart(&a.value, &b.value),
        (true, true) => interface_contains(&b.value, &a.value),
        (false, true) => false,
    }
}

/// Whether every packet of `b` has what `it` asks for.
fn implied(it: &TypedMatch, b: &Seen<'_>) -> Option<Cover> {
    let holds = match it {
        TypedMatch::Comment(_) => true,
        TypedMatch::Tcp(tcp) => tcp_implied(tcp, b),
        TypedMatch::Udp(Udp { source, destination }) => {
            let bare = source.is_none() && destination.is_none();
            if bare {
                b.matches.iter().any(|it| matches!(it, TypedMatch::Udp(_)))
            } else {
                looks_into_transport(b) && ports_implied(source.as_ref(), destination.as_ref(), b)
            }
        }
        TypedMatch::Multiport(multiport) => looks_into_transport(b) && multiport_implied(multiport, b),
        TypedMatch::Icmp(icmp) => b
            .matches
            .iter()
            .any(|other| matches!(other, TypedMatch::Icmp(other) if icmp_covers(*icmp, *other, b))),
        TypedMatch::Conntrack(conntrack) => {
            let covers = |it: &TypedMatch| match it {
                TypedMatch::Conntrack(other) => conntrack_covers(conntrack, other),
                _ => false,
            };
            return b.matches.iter().any(covers).then_some(Cover::UnlessChanged);
        }
        _ => return (is_stateless(it) && b.matches.contains(it)).then_some(Cover::UnlessChanged),
    };
    holds.then_some(Cover::Always)
}

/// Whether the rule sees only packets with a transport header: not the later fragments of one.
fn looks_into_transport(seen: &Seen<'_>) -> bool {
    seen.matches.iter().any(|it| match it {
        TypedMatch::Tcp(tcp) => *tcp != Tcp::default(),
        TypedMatch::Udp(udp) => *udp != Udp::default(),
        TypedMatch::Multiport(_) => true,
        _ => false,
    })
}

/// The ports that matches leave: of the source, of the destination.
pub(super) fn ports_of(matches: &[TypedMatch]) -> (Ports, Ports) {
    let (mut sources, mut destinations) = (Ports::all(), Ports::all());
    let mut narrow = |source: Option<&Negatable<Range<u16>>>, destination: Option<&Negatable<Range<u16>>>| {
        for (ports, option) in [(&mut sources, source), (&mut destinations, destination)] {
            if let Some(Negatable { negated, value }) = option {
                *ports = ports.and(&Ports::of_range(*value, *negated));
            }
        }
    };
    for it in matches {
        match it {
            TypedMatch::Tcp(tcp) => narrow(tcp.source.as_ref(), tcp.destination.as_ref()),
            TypedMatch::Udp(udp) => narrow(udp.source.as_ref(), udp.destination.as_ref()),
            _ => {}
        }
    }
    for it in matches {
        let TypedMatch::Multiport(Multiport { side, negated, ports }) = it else { continue };
        let listed = Ports::of(ports);
        let listed = if *negated { listed.complement() } else { listed };
        match side {
            PortSide::Source => sources = sources.and(&listed),
            PortSide::Destination => destinations = destinations.and(&listed),
            // neither of them is in the list
            PortSide::Either if *negated => {
                sources = sources.and(&listed);
                destinations = destinations.and(&listed);
            }
            PortSide::Either => {}
        }
    }
    (sources, destinations)
}

fn ports_implied(
    source: Option<&Negatable<Range<u16>>>,
    destination: Option<&Negatable<Range<u16>>>,
    b: &Seen<'_>,
) -> bool {
    let (sources, destinations) = &b.ports;
    let within = |ports: &Ports, option: Option<&Negatable<Range<u16>>>| {
        option.is_none_or(|option| ports.within(&Ports::of_range(option.value, option.negated)))
    };
    within(sources, source) && within(destinations, destination)
}

fn tcp_implied(tcp: &Tcp, b: &Seen<'_>) -> bool {
    let others = || {
        b.matches.iter().filter_map(|it| match it {
            TypedMatch::Tcp(other) => Some(other),
            _ => None,
        })
    };
    if *tcp == Tcp::default() {
        return others().next().is_some();
    }
    let flags = |wanted: &Negatable<TcpFlags>| {
        others().filter_map(|other| other.flags.as_ref()).any(|other| flags_cover(wanted, other))
    };
    let option = |wanted: &Negatable<u8>| others().any(|other| other.option.as_ref() == Some(wanted));
    looks_into_transport(b)
        && ports_implied(tcp.source.as_ref(), tcp.destination.as_ref(), b)
        && tcp.flags.as_ref().is_none_or(flags)
        && tcp.option.as_ref().is_none_or(option)
}

fn flags_cover(a: &Negatable<TcpFlags>, b: &Negatable<TcpFlags>) -> bool {
    if a == b {
        return true;
    }
    let common = a.value.mask & b.value.mask;
    match (a.negated, b.negated) {
        (false, false) => common == a.value.mask && b.value.set & common == a.value.set,
        // one of the flags that both look at is another one
        (true, false) => (a.value.set ^ b.value.set) & common != 0,
        _ => false,
    }
}

fn multiport_implied(it: &Multiport, b: &Seen<'_>) -> bool {
    if b.matches.iter().any(|other| matches!(other, TypedMatch::Multiport(other) if other == it)) {
        return true;
    }
    let (sources, destinations) = &b.ports;
    let listed = Ports::of(&it.ports);
    match (it.side, it.negated) {
        (PortSide::Source, false) => sources.within(&listed),
        (PortSide::Source, true) => sources.and(&listed).is_empty(),
        (PortSide::Destination, false) => destinations.within(&listed),
        (PortSide::Destination, true) => destinations.and(&listed).is_empty(),
        (PortSide::Either, false) => sources.within(&listed) || destinations.within(&listed),
        (PortSide::Either, true) => sources.and(&listed).is_empty() && destinations.and(&listed).is_empty(),
    }
}

fn icmp_covers(a: Icmp, b: Icmp, seen: &Seen<'_>) -> bool {
    // in IPv4 it means any type, whatever the codes
    let any = |icmp: Icmp| icmp.kind == 255 && seen.op.rule.protocol.as_ref().is_some_and(|p| p.value == 1);
    if any(a) || any(b) {
        return any(a) && !a.negated || a == b;
    }
    let within = |inner: Icmp, outer: Icmp| {
        inner.kind == outer.kind
            && outer.codes.first <= inner.codes.first
            && inner.codes.last <= outer.codes.last
    };
    let apart = a.kind != b.kind || a.codes.last < b.codes.first || b.codes.last < a.codes.first;
    match (a.negated, b.negated) {
        (false, false) => within(b, a),
        (true, false) => apart,
        (true, true) => within(a, b),
        (false, true) => false,
    }
}

fn conntrack_covers(a: &Conntrack, b: &Conntrack) -> bool {
    let states = match (&a.states, &b.states) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(a), Some(b)) => match (a.negated, b.negated) {
            (false, false) => b.value & !a.value == 0,
            (true, true) => a.value & !b.value == 0,
            // `SNAT` and `DNAT` come beside another state
            (true, false) => (a.value | b.value) & !BASE_STATES == 0 && a.value & b.value == 0,
            (false, true) => false,
        },
    };
    let rest = |it: &Conntrack| Conntrack { states: None, alias: false, ..it.clone() };
    states && (rest(a) == Conntrack::default() || rest(a) == rest(b))
}

/// Whether the match says the same of a packet whenever it is asked, unless a rule changes something in between.
/// Those that count, measure or cast dice do not.
fn is_stateless(it: &TypedMatch) -> bool {
    match it {
        TypedMatch::Set(set) => set.packets.is_none() && set.bytes.is_none(),
        TypedMatch::Addrtype(_)
        | TypedMatch::Ah(_)
        | TypedMatch::AuthenticationHeader(_)
        | TypedMatch::Connmark(_)
        | TypedMatch::Dccp(_)
        | TypedMatch::DeviceGroups(_)
        | TypedMatch::Dscp(_)
        | TypedMatch::Ecn(_)
        | TypedMatch::Esp(_)
        | TypedMatch::Eui64
        | TypedMatch::FragmentHeader(_)
        | TypedMatch::Headers(_)
        | TypedMatch::Helper(_)
        | TypedMatch::HopLimit(_)
        | TypedMatch::Ipcomp(_)
        | TypedMatch::IpRanges(_)
        | TypedMatch::Length(_)
        | TypedMatch::Mac(_)
        | TypedMatch::Mark(_)
        | TypedMatch::Mobility(_)
        | TypedMatch::OptionsHeader(_)
        | TypedMatch::Owner(_)
        | TypedMatch::PacketType(_)
        | TypedMatch::Physdev(_)
        | TypedMatch::Policy(_)
        | TypedMatch::Realm(_)
        | TypedMatch::RoutingHeader(_)
        | TypedMatch::Sctp(_)
        | TypedMatch::SegmentHeader(_)
        | TypedMatch::Tcpmss(_)
        | TypedMatch::Tos(_)
        | TypedMatch::U32(_) => true,
        _ => false,
    }
}

/// Whether two rules of these matches are one twice: none of them counts, measures or casts dice.
pub(super) fn all_stateless(seen: &Seen<'_>) -> bool {
    let plain = |it: &TypedMatch| {
        matches!(
            it,
            TypedMatch::Comment(_)
                | TypedMatch::Tcp(_)
                | TypedMatch::Udp(_)
                | TypedMatch::Multiport(_)
                | TypedMatch::Icmp(_)
                | TypedMatch::Conntrack(_)
        )
    };
    !seen.opaque && seen.matches.iter().all(|it| plain(it) || is_stateless(it))
}
