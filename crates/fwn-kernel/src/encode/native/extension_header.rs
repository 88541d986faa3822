//! Matches on IPv6's extension headers to the structures of `linux/netfilter_ipv6/ip6t_*.h`.

use std::net::IpAddr;

use fwn_plan::rule::Negatable;
use fwn_plan::rule::typed::conntrack::CtAddress;
use fwn_plan::rule::typed::extension_header::{
    AuthenticationHeader, FragmentHeader, Headers, OptionsHeader, RoutingHeader, SegmentHeader,
};
use fwn_plan::rule::typed::value::Range;

use super::info::Info;

/// `struct ip6t_ah`; the bits are `IP6T_AH_INV_*`.
pub(super) fn authentication(header: &AuthenticationHeader) -> Info {
    let (info, _, spis_negated) = put_range(Info::new(16), 0, header.spis.as_ref());
    let (info, _, length_negated) = put_length(info, 8, header.length.as_ref());
    info.u8(12, header.reserved).u8(13, spis_negated | length_negated << 1)
}

/// `struct ip6t_opts`; the bits are `IP6T_OPTS_*`.
pub(super) fn options(header: &OptionsHeader) -> Info {
    let (info, used, negated) = put_length(Info::new(40), 0, header.length.as_ref());
    let info = info.u8(4, used | u8::from(header.options.is_some()) << 1).u8(5, negated);
    let options = header.options.as_deref().unwrap_or_default();
    // with 255 the length does not count
    let word = |(kind, length): &(u8, Option<u8>)| u16::from(*kind) << 8 | u16::from(length.unwrap_or(0xff));
    let info = options.iter().enumerate().fold(info, |info, (at, it)| info.u16(6 + at * 2, word(it)));
    info.u8(38, options.len() as u8)
}

/// `struct ip6t_frag`; the bits are `IP6T_FRAG_*`.
pub(super) fn fragment(header: &FragmentHeader) -> Info {
    let (info, ids, ids_negated) = put_range(Info::new(16), 0, header.ids.as_ref());
    let (info, length, length_negated) = put_length(info, 8, header.length.as_ref());
    info.u8(12, ids | length << 1 | header.flags).u8(13, ids_negated | length_negated << 1)
}

/// `struct ip6t_ipv6header_info`
pub(super) fn headers(it: &Headers) -> Info {
    let all_bits = |condition| if condition { 0xff_u8 } else { 0 };
    Info::new(8).u8(0, it.headers.value).u8(1, all_bits(it.headers.negated)).u8(2, all_bits(it.soft))
}

/// `struct ip6t_mh`
pub(super) fn mobility(types: &Negatable<Range<u8>>) -> Info {
    Info::new(8).u8(0, types.value.first).u8(1, types.value.last).u8(2, types.negated)
}

/// `struct ip6t_rt`; the bits are `IP6T_RT_*`.
pub(super) fn routing(header: &RoutingHeader) -> Info {
    let (info, kind, kind_negated) = put_length(Info::new(280), 0, header.kind.as_ref());
    let (info, left, left_negated) = put_range(info, 4, header.segments_left.as_ref());
    let (info, length, length_negated) = put_length(info, 12, header.length.as_ref());
    let flags = kind
        | left << 1
        | length << 2
        | u8::from(header.reserved) << 3
        | u8::from(header.addresses.is_some()) << 4
        | u8::from(header.not_strict) << 5;
    let info = info.u8(16, flags).u8(17, kind_negated | left_negated << 1 | length_negated << 2);
    let addresses = header.addresses.as_deref().unwrap_or_default();
    let info = addresses
        .iter()
        .enumerate()
        .fold(info, |info, (at, address)| info.address(20 + at * 16, IpAddr::V6(*address)));
    info.u8(276, addresses.len() as u8)
}

/// `struct ip6t_srh1`
pub(super) fn segments(header: &SegmentHeader) -> Info {
    let mut info = Info::new(112).put(0, &header.fields).u16(4, header.tag);
    for (at, segment) in header.segments.iter().enumerate() {
        let Some(CtAddress { address, mask }) = segment else { continue };
        info = info.address(8 + at * 16, *address);
        info = match mask {
            Some(mask) => info.address(56 + at * 16, *mask),
            None => info.put(56 + at * 16, &[0xff; 16]),
        };
    }
    info.u16(104, header.used).u16(106, header.inverted)
}

/// A range, everything if there is none; whether there is one, and whether it is negated.
fn put_range(info: Info, at: usize, range: Option<&Negatable<Range<u32>>>) -> (Info, u8, u8) {
    match range {
        Some(Negatable { negated, value }) => {
            (info.u32(at, value.first).u32(at + 4, value.last), 1, u8::from(*negated))
        }
        None => (info.u32(at + 4, u32::MAX), 0, 0),
    }
}

/// The same for a single number.
fn put_length(info: Info, at: usize, number: Option<&Negatable<u32>>) -> (Info, u8, u8) {
    match number {
        Some(Negatable { negated, value }) => (info.u32(at, *value), 1, u8::from(*negated)),
        None => (info, 0, 0),
    }
}
