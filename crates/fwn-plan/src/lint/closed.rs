//! What is missing behind closed chains: loopback, neighbour discovery, answers, DNS, the Mesos executor; and what was
//! closed for one family only. All of it can be said of a whole configuration alone.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::class::{Class, ICMPV6, Let, NEW, SCTP, TCP, UDP, UNTRACKED, Way, echo_request};
use super::cover::interface_contains;
use super::ports::Ports;
use super::seen::{End, Half, Seen, Slot};
use super::unused::names_of;
use super::{Finding, Lint, Mesos, Subject};
use crate::ipsetd::IpsetdSpec;
use crate::netfilter::{Families, Family, Hook, Policy, Table};
use crate::origin::Origin;
use crate::problem::Problem;
use crate::rule::typed::TypedMatch;
use crate::rule::typed::ports::Tcp;
use crate::rule::typed::value::Range;
use crate::rule::{Negatable, Network, Rule};

/// Types of ICMPv6 without which no neighbour is found: solicitation and advertisement.
const NEIGHBOUR_DISCOVERY: [u8; 2] = [135, 136];
/// UDP ports of protocols that ask and answer: DNS, NTP, SNMP, HTTP/3.
const UDP_WITH_ANSWERS: [u16; 4] = [53, 123, 161, 443];
const DNS: u16 = 53;
/// Where a Mesos agent listens by default.
const MESOS_AGENT: u16 = 5051;

/// Whatever falls off the end of the chain is dropped: where that is said.
pub(super) fn closing<'a>(half: &Half<'a>, chain: Hook) -> Option<&'a Origin> {
    let name = chain.chain();
    for slot in half.chain(name) {
        match slot {
            Slot::Seen(seen) if seen.is_unconditional() => match seen.end {
                End::Drop => return Some(&seen.op.origin),
                End::Accept => return None,
                _ => {}
            },
            _ => {}
        }
    }
    half.policy(name).filter(|policy| policy.policy == Policy::Drop).map(|policy| &policy.origin)
}

/// Source ports of connections that programs begin (`ip_local_port_range`, Documentation/networking/ip-sysctl.rst).
const EPHEMERAL: Range<u16> = Range { first: 32768, last: 60999 };

/// Packets of a kind that come from outside or go there.
fn outside(chain: Hook, class: Class) -> Class {
    let not_lo = Some(Negatable { negated: true, value: "lo".to_owned() });
    match chain {
        Hook::Input => Class { in_interface: not_lo, ..class },
        _ => Class { out_interface: not_lo, ..class },
    }
}

/// The chain that the answers to the packets of a chain go through.
fn opposite(chain: Hook) -> Option<Hook> {
    match chain {
        Hook::Input => Some(Hook::Output),
        Hook::Output => Some(Hook::Input),
        _ => None,
    }
}

/// All that is missing.
pub(super) fn find(subject: &Subject<'_>, halves: &[Half<'_>]) -> Vec<Finding> {
    let filters: Vec<&Half<'_>> = halves.iter().filter(|half| half.table == Table::Filter).collect();
    let mut findings = Vec::new();
    findings.extend(without_loopback(subject, &filters));
    findings.extend(without_neighbours(subject, &filters));
    for half in &filters {
        for chain in [Hook::Input, Hook::Output] {
            findings.extend(without_answers(half, chain, subject.names));
        }
    }
    findings.extend(without_dns(subject, &filters));
    findings.extend(one_family(subject, halves));
    findings.extend(without_executor(subject, &filters));
    findings
}

fn without_loopback(subject: &Subject<'_>, filters: &[&Half<'_>]) -> Option<Finding> {
    for half in filters {
        for chain in [Hook::Input, Hook::Output] {
            let Some(origin) = closing(half, chain) else { continue };
            let open = Let::through(half, chain.chain(), subject.names);
            if open.uncertain || open.ways.iter().any(|way| is_for_loopback(way, chain, half.family)) {
                continue;
            }
            let message =
                format!("`{}` drops what the container sends to itself over loopback", chain.chain());
            let option = if chain == Hook::Input { "-i" } else { "-o" };
            let problem = Problem::new(origin.clone(), message)
                .hint(format!("list `allow-loopback`, or add `{option} lo -j ACCEPT`"));
            return Some(Finding::new(Lint::DropWithoutLoopback, problem));
        }
    }
    None
}

/// Whether who wrote the rule thought of loopback: it names the interface or its addresses, or takes all there is.
fn is_for_loopback(way: &Way<'_, '_>, chain: Hook, family: Family) -> bool {
    let mut packets = Class::any();
    let lo = Some(Negatable { negated: false, value: "lo".to_owned() });
    match chain {
        Hook::Input => packets.in_interface = lo,
        _ => packets.out_interface = lo,
    }
    packets.states = NEW;
    if !way.may_take(&packets) {
        return false;
    }
    let named = way.classes.iter().any(|class| {
        let interface = if chain == Hook::Input { &class.in_interface } else { &class.out_interface };
        let by_interface =
            interface.as_ref().is_some_and(|it| !it.negated && interface_contains(&it.value, "lo"));
        by_interface
            || [&class.source, &class.destination].into_iter().flatten().any(|it| is_loopback(it, family))
    });
    let everything = way.classes.iter().all(|class| {
        class.protocol.is_none()
            && class.source.is_none()
            && class.destination.is_none()
            && class.sources == Ports::all()
            && class.destinations == Ports::all()
    });
    named || everything
}

fn is_loopback(network: &Negatable<Network>, family: Family) -> bool {
    let address = match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    !network.negated
        && network.value.prefix().is_some_and(|length| length >= 8)
        && super::cover::contains(&network.value, &Network::host(address))
        || !network.negated && network.value.address.is_loopback()
}

fn without_neighbours(subject: &Subject<'_>, filters: &[&Half<'_>]) -> Option<Finding> {
    let half = filters.iter().find(|half| half.family == Family::Ipv6)?;
    let lets =
        [Hook::Input, Hook::Output].map(|chain| (chain, Let::through(half, chain.chain(), subject.names)));
    // who lets nothing in and out but loopback and answers closes IPv6 on purpose
    let wanted = lets.iter().flat_map(|(_, open)| &open.ways).any(|way| {
        way.states() & NEW != 0
            && way.classes.iter().all(|class| {
                let not_lo = |it: &Option<Negatable<String>>| it.as_ref().is_none_or(|it| it.value != "lo");
                not_lo(&class.in_interface) && not_lo(&class.out_interface)
            })
    });
    if !wanted {
        return None;
    }
    for (chain, open) in &lets {
        let Some(origin) = closing(half, *chain) else { continue };
        let packets = |kind| outside(*chain, Class { states: UNTRACKED, ..Class::of_icmp(ICMPV6, kind) });
        if NEIGHBOUR_DISCOVERY.iter().all(|kind| open.may_take(&packets(*kind))) {
            continue;
        }
        let message = format!("`{}` drops neighbour discovery: IPv6 does not work at all", chain.chain());
        let problem = Problem::new(origin.clone(), message).hint("list `allow-nd`");
        return Some(Finding::new(Lint::DropWithoutNd, problem));
    }
    None
}

fn without_answers(half: &Half<'_>, chain: Hook, names: &BTreeSet<IpAddr>) -> Vec<Finding> {
    let Some(back) = opposite(chain) else { return Vec::new() };
    if closing(half, back).is_none() {
        return Vec::new();
    }
    let answers = Let::through(half, back.chain(), names);
    let open = Let::through(half, chain.chain(), names);
    let unanswered = open.ways.iter().filter(|way| {
        let questions = questions(way, chain, half.family);
        // a rule that is not known may let them through
        !questions.is_empty()
            && questions.iter().all(|classes| {
                let back: Vec<Class> = classes.iter().map(Class::answer).collect();
                !answers.uncertain
                    && !answers.ways.iter().any(|way| back.iter().all(|class| way.may_take(class)))
            })
    });
    unanswered
        .map(|way| {
            let message = format!("`{}` drops the answers to what this rule lets through", back.chain());
            let hint = format!("list `allow-established`, or accept the answers on `{}`", back.chain());
            Finding::new(
                Lint::DropWithoutAnswers,
                Problem::new(way.rule.op.origin.clone(), message).hint(hint),
            )
        })
        .collect()
}

/// The kinds of packets that a rule lets through and that want an answer, each as what every step of the way leaves.
fn questions(way: &Way<'_, '_>, chain: Hook, family: Family) -> Vec<Vec<Class>> {
    if way.states() & NEW == 0 || way.rule.end != End::Accept || !begins_connections(way.rule) {
        return Vec::new();
    }
    let (icmp, echo) = echo_request(family);
    let mut kinds = vec![Class::of_protocol(TCP), Class::of_protocol(SCTP), Class::of_icmp(icmp, echo)];
    kinds.extend(UDP_WITH_ANSWERS.map(|port| {
        let port = Ports::of(&[Range::single(port)]);
        Class { destinations: port, ..Class::of_protocol(UDP) }
    }));
    let kinds = kinds.into_iter().map(|kind| outside(chain, kind));
    let asked = kinds.filter(|kind| way.may_take(kind) && is_meant(way, kind));
    asked.map(|kind| way.classes.iter().cloned().chain([kind]).collect()).collect()
}

/// Whether the rule is about this kind of packets, rather than about anything.
fn is_meant(way: &Way<'_, '_>, kind: &Class) -> bool {
    way.classes.iter().any(|class| {
        let protocol = class.protocol.as_ref().filter(|protocol| !protocol.negated);
        protocol.is_some_and(|protocol| Some(protocol) == kind.protocol.as_ref())
    }) && (kind.icmp.is_none() || way.classes.iter().any(|class| class.icmp.is_some()))
        && (kind.destinations == Ports::all()
            || way.classes.iter().any(|class| class.destinations.count() <= 16))
}

/// Not so a rule for `! --syn`: what it takes are answers.
fn begins_connections(seen: &Seen<'_>) -> bool {
    const SYN: u8 = 0x02;
    !seen.matches.iter().any(|it| match it {
        TypedMatch::Tcp(Tcp { flags: Some(flags), .. }) => {
            let wants_syn = flags.value.set & SYN != 0;
            flags.value.mask & SYN != 0 && wants_syn == flags.negated
        }
        _ => false,
    })
}

fn without_dns(subject: &Subject<'_>, filters: &[&Half<'_>]) -> Option<Finding> {
    let rules = &subject.ruleset.rules;
    let (name, place) = rules.iter().find_map(|rule| names_of(&rule.parsed, &rule.origin).next())?;
    let question = Class { destinations: Ports::of(&[Range::single(DNS)]), ..Class::of_protocol(UDP) };
    let question = Class { sources: Ports::of(&[EPHEMERAL]), states: NEW, ..question };
    let question = outside(Hook::Output, question);
    // either family will do
    let asks = Family::ALL.into_iter().any(|family| {
        let Some(half) = filters.iter().find(|half| half.family == family) else { return true };
        closing(half, Hook::Output).is_none()
            || Let::through(half, Hook::Output.chain(), subject.names).may_take(&question)
    });
    if asks {
        return None;
    }
    let message = format!("the container cannot look up `{name}`: `OUTPUT` drops its DNS questions");
    let problem = Problem::new(place, message).hint("list `allow-dns-out`");
    Some(Finding::new(Lint::DropWithoutDns, problem))
}

fn one_family(subject: &Subject<'_>, halves: &[Half<'_>]) -> Vec<Finding> {
    let lonely = subject.ruleset.policies.iter().filter(|item| {
        let half = |family| halves.iter().find(|half| half.family == family && half.table == item.table);
        let other = match item.families {
            Families::IPV4 => Family::Ipv6,
            Families::IPV6 => Family::Ipv4,
            _ => return false,
        };
        let own = half(if other == Family::Ipv6 { Family::Ipv4 } else { Family::Ipv6 });
        let counts =
            own.and_then(|half| half.policy(item.chain.chain())).is_some_and(|op| op.origin == item.origin);
        // whoever writes down a policy for the other one has thought of it
        let stated = half(other).is_some_and(|half| {
            half.policy(item.chain.chain()).is_some() || closing(half, item.chain).is_some()
        });
        item.policy == Policy::Drop && counts && !stated
    });
    lonely
        .map(|item| {
            let other = if item.families == Families::IPV4 { "IPv6" } else { "IPv4" };
            let message =
                format!("`{}` is closed for {} only: {other} stays open", item.chain.chain(), item.families);
            let problem = Problem::new(item.origin.clone(), message)
                .hint("leave `family` out, or say what the other one's policy is to be");
            Finding::new(Lint::OneFamilyPolicy, problem)
        })
        .collect()
}

fn without_executor(subject: &Subject<'_>, filters: &[&Half<'_>]) -> Option<Finding> {
    let agent = match subject.mesos {
        Mesos::No => return None,
        Mesos::Yes => None,
        Mesos::Agent(agent) => Some(agent),
    };
    let half = filters.iter().find(|half| half.family == Family::Ipv4)?;
    let closed = [Hook::Input, Hook::Output, Hook::Forward].map(|chain| closing(half, chain));
    let [Some(_), Some(origin), Some(_)] = closed else { return None };
    let address = agent.map(|agent| *agent.ip()).map(|ip| Network::host(IpAddr::V4(ip)));
    let port = agent.map_or(MESOS_AGENT, |agent| agent.port());
    let packets = Class {
        destination: address.map(|value| Negatable { negated: false, value }),
        destinations: Ports::of(&[Range::single(port)]),
        sources: Ports::of(&[EPHEMERAL]),
        states: NEW,
        ..Class::of_protocol(TCP)
    };
    let packets = outside(Hook::Output, packets);
    if Let::through(half, Hook::Output.chain(), subject.names).may_take(&packets) {
        return None;
    }
    let message =
        format!("the Mesos executor cannot reach its agent (port {port}): \"no kill ack received\"");
    let problem = Problem::new(origin.clone(), message).hint("list `mesos-executor`");
    Some(Finding::new(Lint::MesosWithoutExecutor, problem))
}

/// Rules that let anybody talk to ipsetd.
pub(super) fn open_ipsetd(subject: &Subject<'_>, halves: &[Half<'_>]) -> Vec<Finding> {
    /// Who lists more ports than these does not mean ipsetd's in particular.
    const FEW: u32 = 16;
    let node = subject.ruleset.ipsetd.as_ref();
    if node.is_some_and(is_guarded) {
        return Vec::new();
    }
    let port = node.map_or(subject.ipsetd_port, |spec| spec.port);
    let mut findings: Vec<Finding> = Vec::new();
    for half in halves.iter().filter(|half| half.table == Table::Filter) {
        for way in Let::through(half, Hook::Input.chain(), subject.names).ways {
            let named = way.classes.iter().any(|class| {
                class.destinations.contains(port) && (node.is_some() || class.destinations.count() <= FEW)
            });
            let packets = Class {
                destinations: Ports::of(&[Range::single(port)]),
                states: NEW,
                ..Class::of_protocol(TCP)
            };
            let anybody = way.rule.end == End::Accept
                && way.classes.len() == 1
                && takes_anybody(way.rule)
                && way.states() & NEW != 0;
            if !(named && anybody && way.may_take(&packets)) {
                continue;
            }
            let message = format!("anybody may send commands to ipsetd (port {port})");
            let problem = Problem::new(way.rule.op.origin.clone(), message)
                .hint("name who may: `-s ADDRESS`, as the preset `ipsetd-admin` does");
            let finding = Finding::new(Lint::OpenIpsetdPort, problem);
            // both families may have the same one
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    findings
}

/// Whether ipsetd itself looks at who comes, or is told not to.
fn is_guarded(spec: &IpsetdSpec) -> bool {
    let by_certificate = spec.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    !spec.allow_from.is_empty() || spec.token_file.is_some() || by_certificate || spec.allow_any
}

/// Whether the rule asks for no source in particular.
fn takes_anybody(seen: &Seen<'_>) -> bool {
    let Rule { source, in_interface, .. } = &seen.op.rule;
    let everywhere = source.as_ref().is_none_or(|it| !it.negated && it.value.prefix() == Some(0));
    let outside = in_interface.as_ref().is_none_or(|it| it.negated || !interface_contains(&it.value, "lo"));
    let plain = |it: &TypedMatch| {
        matches!(
            it,
            TypedMatch::Tcp(_)
                | TypedMatch::Multiport(_)
                | TypedMatch::Comment(_)
                | TypedMatch::Conntrack(_)
                | TypedMatch::Limit(_)
        )
    };
    everywhere && outside && !seen.opaque && seen.matches.iter().all(plain)
}
