//! Typed matches to expressions: native ones where iptables writes them, else the structures of
//! `linux/netfilter/xt_*.h`, in the newest revision that iptables 1.8.9 and Linux know.

use fwn_plan::rule::typed::TypedMatch;
use fwn_plan::rule::typed::address::{Addrtype, IpRanges, Owner};
use fwn_plan::rule::typed::conntrack::{Conntrack, Direction};
use fwn_plan::rule::typed::packet::Statistic;
use fwn_plan::rule::typed::ports::{Multiport, PortSide, Tcp, Udp};
use fwn_plan::rule::typed::rate::{Connlimit, Hashlimit, Limit};
use fwn_plan::rule::typed::recent::Recent;
use fwn_plan::rule::typed::set::{Counter, SetMatch, SetUse};
use fwn_plan::rule::typed::string::StringMatch;
use fwn_plan::rule::typed::time::Time;
use fwn_plan::rule::typed::value::{Masked, Range};
use fwn_plan::rule::{Module, Negatable};

use super::expression::{Base, Expressions, Meta, Operator};
use super::info::Info;
use super::{NativeContext, NativeError, extension_header, program, rare, transport};

/// Appends the expressions of a match.
pub(super) fn encode(
    list: &mut Expressions,
    it: &TypedMatch,
    module: &Module,
    context: &NativeContext<'_>,
) -> Result<(), NativeError> {
    match it {
        TypedMatch::Tcp(tcp) => encode_tcp(list, tcp),
        TypedMatch::Udp(udp) => encode_udp(list, udp),
        TypedMatch::Limit(limit) => encode_limit(list, *limit),
        TypedMatch::Mark(mark) => encode_mark(list, mark),
        TypedMatch::Set(set) => list.xt_match("set", 4, &set_info(set, module, context)?),
        TypedMatch::Addrtype(types) => list.xt_match("addrtype", 1, &addrtype(types)),
        TypedMatch::Ah(spis) => list.xt_match("ah", 0, &rare::spis(spis)),
        TypedMatch::Cgroup(it) => list.xt_match("cgroup", 2, &rare::cgroup(it)),
        TypedMatch::Connbytes(it) => {
            let info = Info::new(24).u64(0, it.count.first).u64(8, it.count.last);
            list.xt_match("connbytes", 0, &info.u8(16, it.what).u8(17, it.direction));
        }
        TypedMatch::Connlabel(it) => {
            let options = u16::from(it.negated) | u16::from(it.set) << 1;
            list.xt_match("connlabel", 0, &Info::new(8).u16(0, it.bit).u16(2, options));
        }
        TypedMatch::Cpu(cpu) => {
            list.xt_match("cpu", 0, &Info::new(8).u32(0, cpu.value).u32(4, cpu.negated.into()));
        }
        TypedMatch::DeviceGroups(groups) => list.xt_match("devgroup", 0, &rare::device_groups(groups)),
        TypedMatch::Ecn(ecn) => list.xt_match("ecn", 0, &rare::ecn(*ecn)),
        TypedMatch::Esp(spis) => list.xt_match("esp", 0, &rare::spis(spis)),
        TypedMatch::Helper(helper) => {
            list.xt_match(
                "helper",
                0,
                &Info::new(40).u32(0, helper.negated.into()).text(4, 30, &helper.value),
            );
        }
        TypedMatch::Physdev(it) => list.xt_match("physdev", 0, &rare::physdev(it)),
        TypedMatch::Policy(it) => list.xt_match("policy", 0, &rare::policy(it)),
        TypedMatch::Quota(quota) => {
            list.xt_match("quota", 0, &Info::new(24).u32(0, quota.negated.into()).u64(8, quota.value));
        }
        TypedMatch::Realm(realm) => list.xt_match("realm", 0, &masked(realm)),
        TypedMatch::ReversePath(flags) => list.xt_match("rpfilter", 0, &Info::new(8).u8(0, *flags)),
        TypedMatch::Sctp(it) => list.xt_match("sctp", 0, &rare::sctp(it)),
        TypedMatch::Socket(flags) => list.xt_match("socket", 3, &Info::new(8).u8(0, *flags)),
        TypedMatch::AuthenticationHeader(it) => {
            list.xt_match("ah", 0, &extension_header::authentication(it));
        }
        TypedMatch::Bpf(it) => list.xt_match("bpf", 1, &program::bpf(it)),
        TypedMatch::Cluster(it) => {
            let info = Info::new(16).u32(0, it.total).u32(4, it.local.value).u32(8, it.seed);
            list.xt_match("cluster", 0, &info.u32(12, it.local.negated.into()));
        }
        TypedMatch::Dccp(it) => list.xt_match("dccp", 0, &transport::dccp(it)),
        // without options; x_tables has at least one byte for them
        TypedMatch::Eui64 => list.xt_match("eui64", 0, &Info::new(8)),
        TypedMatch::Fingerprint(it) => list.xt_match("osf", 0, &transport::fingerprint(it)),
        TypedMatch::FragmentHeader(it) => list.xt_match("frag", 0, &extension_header::fragment(it)),
        TypedMatch::Headers(it) => list.xt_match("ipv6header", 0, &extension_header::headers(it)),
        TypedMatch::Ipcomp(it) => list.xt_match("ipcomp", 0, &transport::ipcomp(it)),
        TypedMatch::Mobility(types) => list.xt_match("mh", 0, &extension_header::mobility(types)),
        TypedMatch::OptionsHeader(it) => list.xt_match(module.name, 0, &extension_header::options(it)),
        TypedMatch::RoutingHeader(it) => list.xt_match("rt", 0, &extension_header::routing(it)),
        TypedMatch::SegmentHeader(it) => list.xt_match("srh", 1, &extension_header::segments(it)),
        TypedMatch::U32(it) => list.xt_match("u32", 0, &program::u32(it)),
        TypedMatch::Comment(comment) => list.xt_match("comment", 0, &Info::new(256).text(0, 256, comment)),
        TypedMatch::Connlimit(limit) => list.xt_match("connlimit", 1, &connlimit(*limit)),
        TypedMatch::Connmark(mark) => list.xt_match("connmark", 1, &masked(mark)),
        TypedMatch::Conntrack(it) => list.xt_match("conntrack", 3, &conntrack(it)),
        TypedMatch::Dscp(point) => {
            list.xt_match("dscp", 0, &Info::new(8).u8(0, point.value).u8(1, point.negated));
        }
        TypedMatch::Hashlimit(limit) => list.xt_match("hashlimit", 3, &hashlimit(limit)),
        TypedMatch::HopLimit(compare) => {
            // `ttl` and `hl` have the same structure
            list.xt_match(module.name, 0, &Info::new(8).u8(0, compare.operator as u8).u8(1, compare.value));
        }
        TypedMatch::Icmp(icmp) => {
            let info = Info::new(8).u8(0, icmp.kind).u8(1, icmp.codes.first).u8(2, icmp.codes.last);
            list.xt_match(module.name, 0, &info.u8(3, icmp.negated));
        }
        TypedMatch::IpRanges(ranges) => list.xt_match("iprange", 1, &ip_ranges(ranges)),
        TypedMatch::Length(length) => list.xt_match("length", 0, &range_u16(length)),
        TypedMatch::Mac(mac) => {
            list.xt_match("mac", 0, &Info::new(16).put(0, &mac.value).u32(8, mac.negated.into()));
        }
        TypedMatch::Multiport(ports) => list.xt_match("multiport", 1, &multiport(ports)),
        TypedMatch::Owner(it) => list.xt_match("owner", 1, &owner(it)),
        TypedMatch::PacketType(kind) => {
            list.xt_match("pkttype", 0, &Info::new(8).u32(0, kind.value.into()).u32(4, kind.negated.into()));
        }
        TypedMatch::Recent(it) => list.xt_match("recent", 1, &recent(it)),
        TypedMatch::Statistic(it) => list.xt_match("statistic", 0, &statistic(it)),
        TypedMatch::String(it) => list.xt_match("string", 1, &string(it)),
        TypedMatch::Tcpmss(sizes) => list.xt_match("tcpmss", 0, &range_u16(sizes)),
        TypedMatch::Time(it) => list.xt_match("time", 0, &time(it)),
        TypedMatch::Tos(Negatable { negated, value: Masked { value, mask } }) => {
            list.xt_match("tos", 1, &Info::new(8).u8(0, *mask).u8(1, *value).u8(2, *negated));
        }
    }
    Ok(())
}

/// All ports: what an option that is not given says.
const ANY_PORT: Negatable<Range<u16>> =
    Negatable { negated: false, value: Range { first: 0, last: u16::MAX } };

fn encode_tcp(list: &mut Expressions, tcp: &Tcp) {
    let source = tcp.source.as_ref().unwrap_or(&ANY_PORT);
    let destination = tcp.destination.as_ref().unwrap_or(&ANY_PORT);
    let (mask, set) = tcp.flags.as_ref().map_or((0, 0), |flags| (flags.value.mask, flags.value.set));
    let negated_flags = tcp.flags.as_ref().is_some_and(|flags| flags.negated);
    let says_nothing =
        (source, destination) == (&ANY_PORT, &ANY_PORT) && (mask, set, negated_flags) == (0, 0, false);
    if tcp.option.is_some() || says_nothing {
        // XT_TCP_INV_*
        let negated_option = tcp.option.as_ref().is_some_and(|option| option.negated);
        let inverted = u8::from(source.negated)
            | u8::from(destination.negated) << 1
            | u8::from(negated_flags) << 2
            | u8::from(negated_option) << 3;
        let info = Info::new(16)
            .u16(0, source.value.first)
            .u16(2, source.value.last)
            .u16(4, destination.value.first)
            .u16(6, destination.value.last)
            .u8(8, tcp.option.as_ref().map_or(0, |option| option.value))
            .u8(9, mask)
            .u8(10, set)
            .u8(11, inverted);
        return list.xt_match("tcp", 0, &info);
    }
    if mask != 0 {
        // the byte of `struct tcphdr` with the flags
        list.payload(Base::Transport, 13, 1);
        list.bitwise(&[mask]);
        list.compare(Operator::equal_unless(negated_flags), &[set]);
    }
    encode_ports(list, source, destination);
}

fn encode_udp(list: &mut Expressions, udp: &Udp) {
    let source = udp.source.as_ref().unwrap_or(&ANY_PORT);
    let destination = udp.destination.as_ref().unwrap_or(&ANY_PORT);
    if (source, destination) == (&ANY_PORT, &ANY_PORT) {
        return list.xt_match("udp", 0, &Info::new(16).u16(2, u16::MAX).u16(6, u16::MAX));
    }
    encode_ports(list, source, destination);
}

/// Source and destination ports are the first four bytes of TCP's and UDP's headers.
fn encode_ports(list: &mut Expressions, source: &Negatable<Range<u16>>, destination: &Negatable<Range<u16>>) {
    let single =
        |ports: &Negatable<Range<u16>>| ports.value.first != 0 && ports.value.first == ports.value.last;
    if single(source) && single(destination) && source.negated == destination.negated {
        list.payload(Base::Transport, 0, 4);
        let both = u32::from(source.value.first) << 16 | u32::from(destination.value.first);
        return list.compare(Operator::equal_unless(source.negated), &both.to_be_bytes());
    }
    for (offset, ports) in [(0, source), (2, destination)] {
        let Range { first, last } = ports.value;
        if (first, last) == (0, u16::MAX) {
            continue;
        }
        list.payload(Base::Transport, offset, 2);
        if first == last {
            list.compare(Operator::equal_unless(ports.negated), &first.to_be_bytes());
        } else if first == 0 {
            let operator = if ports.negated { Operator::Greater } else { Operator::LessOrEqual };
            list.compare(operator, &last.to_be_bytes());
        } else {
            list.range(ports.negated, &first.to_be_bytes(), &last.to_be_bytes());
        }
    }
}

/// The rate in the largest unit of time in which it is a whole number, or nearly so.
fn encode_limit(list: &mut Expressions, limit: Limit) {
    /// `XT_LIMIT_SCALE` (`linux/netfilter/xt_limit.h`)
    const SCALE: u32 = 10_000;
    let period = limit.period.max(1);
    let mut unit = SCALE * 24 * 60 * 60;
    for smaller in [SCALE * 60 * 60, SCALE * 60, SCALE] {
        if period > smaller || smaller / period < smaller % period {
            break;
        }
        unit = smaller;
    }
    // the kernel takes no burst for its default (`NFT_LIMIT_PKT_BURST_DEFAULT`), and says so when asked
    let burst = if limit.burst == 0 { 5 } else { limit.burst };
    list.limit((unit / period).into(), (unit / SCALE).into(), burst);
}

fn encode_mark(list: &mut Expressions, mark: &Negatable<Masked<u32>>) {
    list.meta(Meta::Mark);
    if mark.value.mask != u32::MAX {
        list.bitwise(&mark.value.mask.to_ne_bytes());
    }
    list.compare(Operator::equal_unless(mark.negated), &mark.value.value.to_ne_bytes());
}

/// `struct xt_set_info_match_v4`
fn set_info(set: &SetMatch, module: &Module, context: &NativeContext<'_>) -> Result<Info, NativeError> {
    let counter = |info: Info, at, counter: Option<Counter>| match counter {
        Some(Counter { operator, value }) => info.u64(at, value).u8(at + 8, operator),
        None => info,
    };
    let info = put_set(Info::new(48), 0, &set.set, set.negated, module, context)?;
    Ok(counter(counter(info, 8, set.packets), 24, set.bytes).u32(40, set.flags))
}

/// `struct xt_set_info` at an offset: index, number of dimensions, and the bits `IPSET_INV_MATCH` and
/// `IPSET_DIM_*_SRC` (`linux/netfilter/ipset/ip_set.h`).
pub(super) fn put_set(
    info: Info,
    at: usize,
    set: &SetUse,
    negated: bool,
    module: &Module,
    context: &NativeContext<'_>,
) -> Result<Info, NativeError> {
    let index = (context.set_index)(&set.name)
        .ok_or_else(|| NativeError::NoSet { name: set.name.clone(), span: module.span.clone() })?;
    let sources = set.sources.iter().enumerate().map(|(at, source)| u8::from(*source) << (at + 1));
    let flags = sources.fold(u8::from(negated), |all, bit| all | bit);
    Ok(info.u16(at, index).u8(at + 2, set.sources.len() as u8).u8(at + 3, flags))
}

/// `struct xt_addrtype_info_v1`
fn addrtype(types: &Addrtype) -> Info {
    let value = |types: &Option<Negatable<u16>>| types.as_ref().map_or(0, |types| types.value);
    let negated =
        |types: &Option<Negatable<u16>>| u32::from(types.as_ref().is_some_and(|types| types.negated));
    let flags = negated(&types.source)
        | negated(&types.destination) << 1
        | u32::from(types.in_interface) << 2
        | u32::from(types.out_interface) << 3;
    Info::new(8).u16(0, value(&types.source)).u16(2, value(&types.destination)).u32(4, flags)
}

/// `struct xt_connlimit_info`
fn connlimit(limit: Connlimit) -> Info {
    let info = match limit.mask {
        Some(mask) => Info::new(32).address(0, mask),
        None => Info::new(32).put(0, &[0xff; 16]),
    };
    // XT_CONNLIMIT_INVERT, XT_CONNLIMIT_DADDR
    info.u32(16, limit.limit).u32(20, u32::from(limit.up_to) | u32::from(limit.destination) << 1)
}

/// `struct xt_connmark_mtinfo1` and `struct xt_realm_info`
fn masked(mark: &Negatable<Masked<u32>>) -> Info {
    Info::new(16).u32(0, mark.value.value).u32(4, mark.value.mask).u8(8, mark.negated)
}

/// `struct xt_conntrack_mtinfo3`; which fields count, and which are negated, is in bits `XT_CONNTRACK_*`.
fn conntrack(it: &Conntrack) -> Info {
    let mut info = Info::new(168);
    let (mut used, mut inverted) = (0_u16, 0_u16);
    let mut count = |bit: u16, negated: bool| {
        used |= 1 << bit;
        inverted |= u16::from(negated) << bit;
    };
    if let Some(states) = &it.states {
        count(0, states.negated);
        info = info.u16(150, states.value);
    }
    if let Some(protocol) = &it.protocol {
        count(1, protocol.negated);
        info = info.u16(136, protocol.value.into());
    }
    for (at, address) in it.addresses.iter().enumerate() {
        let Some(Negatable { negated, value }) = address else { continue };
        count(2 + at as u16, *negated);
        info = info.address(at * 32, value.address);
        info = match value.mask {
            Some(mask) => info.address(at * 32 + 16, mask),
            // all of the union, also for IPv4
            None => info.put(at * 32 + 16, &[0xff; 16]),
        };
    }
    if let Some(status) = &it.status {
        count(6, status.negated);
        info = info.u16(152, status.value);
    }
    if let Some(expires) = &it.expires {
        count(7, expires.negated);
        info = info.u32(128, expires.value.first).u32(132, expires.value.last);
    }
    for (at, ports) in it.ports.iter().enumerate() {
        let Some(Negatable { negated, value }) = ports else { continue };
        count(8 + at as u16, *negated);
        info = info.u16(138 + at * 2, value.first).u16(154 + at * 2, value.last);
    }
    if let Some(direction) = it.direction {
        count(12, direction == Direction::Reply);
    }
    if it.alias {
        count(13, false);
    }
    info.u16(146, used).u16(148, inverted)
}

/// `struct xt_hashlimit_mtinfo3`
fn hashlimit(limit: &Hashlimit) -> Info {
    Info::new(312)
        .text(0, 255, &limit.name)
        .u64(256, limit.average)
        .u64(264, limit.burst)
        .u32(272, limit.mode)
        .u32(276, limit.size)
        .u32(280, limit.max)
        .u32(284, limit.gc_interval)
        .u32(288, limit.expire)
        .u32(292, limit.interval)
        .u8(296, limit.source_prefix)
        .u8(297, limit.destination_prefix)
}

/// `struct xt_iprange_mtinfo`; the bits are `IPRANGE_*`.
fn ip_ranges(ranges: &IpRanges) -> Info {
    let mut info = Info::new(72);
    let mut flags = 0_u8;
    for (at, range) in [&ranges.source, &ranges.destination].into_iter().enumerate() {
        let Some(Negatable { negated, value }) = range else { continue };
        info = info.address(at * 32, value.first).address(at * 32 + 16, value.last);
        flags |= 1 << at | u8::from(*negated) << (at + 4);
    }
    info.u8(64, flags)
}

/// `struct xt_length_info` and `struct xt_tcpmss_match_info`
fn range_u16(range: &Negatable<Range<u16>>) -> Info {
    Info::new(8).u16(0, range.value.first).u16(2, range.value.last).u8(4, range.negated)
}

/// `struct xt_multiport_v1`: a range is two ports, the first of them flagged.
fn multiport(it: &Multiport) -> Info {
    // enum xt_multiport_flags
    let side = match it.side {
        PortSide::Source => 0_u8,
        PortSide::Destination => 1,
        PortSide::Either => 2,
    };
    let mut info = Info::new(48).u8(0, side).u8(47, it.negated);
    let mut place = 0;
    for Range { first, last } in &it.ports {
        info = info.u16(2 + place * 2, *first);
        if first != last {
            info = info.u8(32 + place, 1);
            place += 1;
            info = info.u16(2 + place * 2, *last);
        }
        place += 1;
    }
    info.u8(1, place as u8)
}

/// `struct xt_owner_match_info`; the bits are `XT_OWNER_*`.
fn owner(it: &Owner) -> Info {
    let mut info = Info::new(24);
    let (mut used, mut inverted) = (0_u8, 0_u8);
    for (at, ids) in [&it.user, &it.group].into_iter().enumerate() {
        let Some(Negatable { negated, value }) = ids else { continue };
        info = info.u32(at * 8, value.first).u32(at * 8 + 4, value.last);
        used |= 1 << at;
        inverted |= u8::from(*negated) << at;
    }
    if let Some(exists) = it.socket {
        used |= 1 << 2;
        inverted |= u8::from(!exists) << 2;
    }
    info.u8(16, used | u8::from(it.supplementary_groups) << 3).u8(17, inverted)
}

/// `struct xt_recent_mtinfo_v1`
fn recent(it: &Recent) -> Info {
    let info = Info::new(232)
        .u32(0, it.seconds)
        .u32(4, it.hits)
        .u8(8, it.operation)
        .u8(9, it.negated)
        // as iptables writes it: over its default, and no further than it must
        .put(10, b"DEFAULT")
        .put(10, it.name.as_bytes())
        .u8(10 + it.name.len(), 0)
        .u8(210, it.destination);
    match it.mask {
        Some(mask) => info.address(212, mask),
        None => info.put(212, &[0xff; 16]),
    }
}

/// `struct xt_statistic_info`
fn statistic(it: &Negatable<Statistic>) -> Info {
    let info = Info::new(24).u16(2, it.negated.into());
    match it.value {
        // iptables also fills the field of the other mode that it computes
        Statistic::Random(probability) => info.u32(4, probability).u32(12, probability),
        Statistic::Nth { every, packet } => {
            let every = every.saturating_sub(1);
            info.u16(0, 1).u32(4, every).u32(8, packet).u32(12, every.saturating_sub(packet))
        }
    }
}

/// `struct xt_string_info`; the bits are `XT_STRING_FLAG_*`.
fn string(it: &StringMatch) -> Info {
    Info::new(160)
        .u16(0, it.from)
        .u16(2, it.to)
        .text(4, 16, &it.algorithm)
        .put(20, &it.pattern)
        .u8(148, it.pattern.len() as u8)
        .u8(149, u8::from(it.negated) | u8::from(it.ignore_case) << 1)
}

/// `struct xt_time_info`
fn time(it: &Time) -> Info {
    Info::new(24)
        .u32(0, it.date_start)
        .u32(4, it.date_stop)
        .u32(8, it.day_start)
        .u32(12, it.day_stop)
        .u32(16, it.month_days)
        .u8(20, it.week_days)
        .u8(21, it.flags)
}
