//! Which packets a rule may take, at most: enough to say for sure that it takes none of some kind. Where it cannot be
//! told, it may.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::cover::{BASE_STATES, are_apart, contains, interface_contains, interfaces_are_apart};
use super::ports::Ports;
use super::seen::{End, Half, Seen, Slot};
use crate::netfilter::Family;
use crate::rule::typed::TypedMatch;
use crate::rule::typed::icmp::Icmp;
use crate::rule::typed::value::Range;
use crate::rule::{Negatable, Network};

/// `--ctstate`
pub(super) const ESTABLISHED: u16 = 1 << 1;
pub(super) const NEW: u16 = 1 << 3;
pub(super) const UNTRACKED: u16 = 1 << 8;

/// Numbers of protocols (`netinet/in.h`).
pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;
pub(super) const SCTP: u8 = 132;

/// User chains are followed this deep (`NFT_JUMP_STACK_SIZE`, `linux/netfilter/nf_tables.h`).
const DEEPEST: usize = 16;

/// A kind of packets.
#[derive(Debug, Clone)]
pub(super) struct Class {
    pub(super) protocol: Option<Negatable<u8>>,
    pub(super) source: Option<Negatable<Network>>,
    pub(super) destination: Option<Negatable<Network>>,
    pub(super) in_interface: Option<Negatable<String>>,
    pub(super) out_interface: Option<Negatable<String>>,
    pub(super) sources: Ports,
    pub(super) destinations: Ports,
    /// Type and codes of ICMP.
    pub(super) icmp: Option<(u8, Range<u8>)>,
    /// States that its connection may be in.
    pub(super) states: u16,
}

impl Class {
    /// All packets.
    pub(super) fn any() -> Self {
        Self {
            protocol: None,
            source: None,
            destination: None,
            in_interface: None,
            out_interface: None,
            sources: Ports::all(),
            destinations: Ports::all(),
            icmp: None,
            states: BASE_STATES,
        }
    }

    /// Packets of a protocol.
    pub(super) fn of_protocol(protocol: u8) -> Self {
        Self { protocol: Some(Negatable { negated: false, value: protocol }), ..Self::any() }
    }

    /// ICMP of a type.
    pub(super) fn of_icmp(protocol: u8, kind: u8) -> Self {
        Self { icmp: Some((kind, Range { first: 0, last: u8::MAX })), ..Self::of_protocol(protocol) }
    }

    /// What a rule may take. An address that stands for a name may be any.
    pub(super) fn of(seen: &Seen<'_>, names: &BTreeSet<IpAddr>) -> Self {
        let rule = &seen.op.rule;
        let known = |side: &Option<Negatable<Network>>| {
            side.clone().filter(|network| !names.contains(&network.value.address))
        };
        let (sources, destinations) = seen.ports.clone();
        let mut class = Self {
            protocol: rule.protocol.clone(),
            source: known(&rule.source),
            destination: known(&rule.destination),
            in_interface: rule.in_interface.clone(),
            out_interface: rule.out_interface.clone(),
            sources,
            destinations,
            ..Self::any()
        };
        for it in &seen.matches {
            match it {
                TypedMatch::Icmp(Icmp { negated: false, kind, codes }) => class.icmp = Some((*kind, *codes)),
                TypedMatch::Conntrack(conntrack) => class.states &= states(conntrack.states.as_ref()),
                _ => {}
            }
        }
        // in IPv4 it stands for any type
        let v4 = rule.protocol.as_ref().is_some_and(|protocol| protocol.value == ICMP);
        class.icmp = class.icmp.filter(|(kind, _)| !(v4 && *kind == 255));
        class
    }

    /// What comes back: source and destination swapped, a question's answer.
    pub(super) fn answer(&self) -> Self {
        let icmp = match self.icmp {
            Some((8, codes)) => Some((0, codes)),
            Some((128, codes)) => Some((129, codes)),
            other => other,
        };
        Self {
            protocol: self.protocol.clone(),
            source: self.destination.clone(),
            destination: self.source.clone(),
            in_interface: self.out_interface.clone(),
            out_interface: self.in_interface.clone(),
            sources: self.destinations.clone(),
            destinations: self.sources.clone(),
            icmp,
            states: ESTABLISHED,
        }
    }

    /// Whether no packet is of both kinds, for sure.
    pub(super) fn is_apart_from(&self, other: &Self) -> bool {
        protocols_apart(self.protocol.as_ref(), other.protocol.as_ref())
            || networks_apart(self.source.as_ref(), other.source.as_ref())
            || networks_apart(self.destination.as_ref(), other.destination.as_ref())
            || interfaces_apart(self.in_interface.as_ref(), other.in_interface.as_ref())
            || interfaces_apart(self.out_interface.as_ref(), other.out_interface.as_ref())
            || self.sources.and(&other.sources).is_empty()
            || self.destinations.and(&other.destinations).is_empty()
            || icmp_apart(self.icmp, other.icmp)
            || self.states & other.states == 0
    }
}

fn states(option: Option<&Negatable<u16>>) -> u16 {
    match option {
        None => BASE_STATES,
        // `SNAT` and `DNAT` come beside any other
        Some(states) if states.value & !BASE_STATES != 0 => BASE_STATES,
        Some(states) if states.negated => BASE_STATES & !states.value,
        Some(states) => states.value,
    }
}

fn protocols_apart(a: Option<&Negatable<u8>>, b: Option<&Negatable<u8>>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return false };
    match (a.negated, b.negated) {
        (false, false) => a.value != b.value,
        (true, true) => false,
        _ => a.value == b.value,
    }
}

fn networks_apart(a: Option<&Negatable<Network>>, b: Option<&Negatable<Network>>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return false };
    match (a.negated, b.negated) {
        (false, false) => are_apart(&a.value, &b.value),
        (true, false) => contains(&a.value, &b.value),
        (false, true) => contains(&b.value, &a.value),
        (true, true) => false,
    }
}

fn interfaces_apart(a: Option<&Negatable<String>>, b: Option<&Negatable<String>>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return false };
    match (a.negated, b.negated) {
        (false, false) => interfaces_are_apart(&a.value, &b.value),
        (true, false) => interface_contains(&a.value, &b.value),
        (false, true) => interface_contains(&b.value, &a.value),
        (true, true) => false,
    }
}

fn icmp_apart(a: Option<(u8, Range<u8>)>, b: Option<(u8, Range<u8>)>) -> bool {
    let (Some((kind, codes)), Some((other, others))) = (a, b) else { return false };
    kind != other || codes.last < others.first || others.last < codes.first
}

/// A way to `ACCEPT`: the jumps that lead to a rule, and the rule.
pub(super) struct Way<'a, 'b> {
    /// What each of them may take; a packet is of all these kinds.
    pub(super) classes: Vec<Class>,
    /// The rule that accepts.
    pub(super) rule: &'b Seen<'a>,
}

impl Way<'_, '_> {
    /// Whether packets of this kind may go this way.
    pub(super) fn may_take(&self, class: &Class) -> bool {
        !self.classes.iter().any(|known| known.is_apart_from(class))
    }

    /// Whether packets in one of these states may go this way.
    pub(super) fn states(&self) -> u16 {
        self.classes.iter().fold(BASE_STATES, |all, class| all & class.states)
    }
}

/// All that a built-in chain lets through.
pub(super) struct Let<'a, 'b> {
    pub(super) ways: Vec<Way<'a, 'b>>,
    /// There may be more: a rule is not known.
    pub(super) uncertain: bool,
}

impl<'a, 'b> Let<'a, 'b> {
    /// Follows all jumps from a chain on.
    pub(super) fn through(half: &'b Half<'a>, chain: &str, names: &BTreeSet<IpAddr>) -> Self {
        let mut all = Self { ways: Vec::new(), uncertain: false };
        all.walk(half, chain, &[], names);
        all
    }

    fn walk(&mut self, half: &'b Half<'a>, chain: &str, before: &[Class], names: &BTreeSet<IpAddr>) {
        if before.len() > DEEPEST {
            self.uncertain = true;
            return;
        }
        for slot in half.chain(chain) {
            let Slot::Seen(seen) = slot else {
                self.uncertain = true;
                continue;
            };
            let mut classes = before.to_vec();
            classes.push(Class::of(seen, names));
            match seen.end {
                End::Accept | End::Other => self.ways.push(Way { classes, rule: seen }),
                End::Jump(to) | End::Goto(to) => self.walk(half, to, &classes, names),
                End::Drop | End::Return | End::Pass(_) => {}
            }
        }
    }

    /// Whether packets of this kind may be let through.
    pub(super) fn may_take(&self, class: &Class) -> bool {
        self.uncertain || self.ways.iter().any(|way| way.may_take(class))
    }
}

/// The echo request of a family: protocol and type.
pub(super) fn echo_request(family: Family) -> (u8, u8) {
    match family {
        Family::Ipv4 => (ICMP, 8),
        Family::Ipv6 => (ICMPV6, 128),
    }
}
