//! Matches on the less common headers behind IP's, and on who wrote them, to their structures.

use fwn_plan::rule::Negatable;
use fwn_plan::rule::typed::transport::{Dccp, Fingerprint, Ipcomp};

use super::info::Info;

/// `struct xt_dccp_info`; the bits are `XT_DCCP_*`.
pub(super) fn dccp(dccp: &Dccp) -> Info {
    let mut info = Info::new(16);
    let (mut used, mut inverted) = (0_u16, 0_u16);
    let mut count = |bit: u8, negated: bool| {
        used |= 1 << bit;
        inverted |= u16::from(negated) << bit;
    };
    for (bit, at, ports) in [(0, 4, &dccp.source), (1, 0, &dccp.destination)] {
        let Some(Negatable { negated, value }) = ports else { continue };
        info = info.u16(at, value.first).u16(at + 2, value.last);
        count(bit, *negated);
    }
    if let Some(types) = &dccp.types {
        info = info.u16(12, types.value);
        count(2, types.negated);
    }
    if let Some(option) = &dccp.option {
        info = info.u8(14, option.value);
        count(3, option.negated);
    }
    info.u16(8, used).u16(10, inverted)
}

/// `struct xt_ipcomp`
pub(super) fn ipcomp(it: &Ipcomp) -> Info {
    let Negatable { negated, value } = &it.spis;
    Info::new(16).u32(0, value.first).u32(4, value.last).u8(8, *negated).u8(9, it.reserved)
}

/// `struct xt_osf_info`; the bits are `XT_OSF_*`.
pub(super) fn fingerprint(it: &Fingerprint) -> Info {
    let Negatable { negated, value } = &it.genre;
    let flags =
        u32::from(it.hops.is_some()) << 1 | u32::from(it.log.is_some()) << 2 | u32::from(*negated) << 3;
    Info::new(48)
        .text(0, 32, value)
        .u32(32, value.len() as u32)
        .u32(36, flags)
        .u32(40, it.log.unwrap_or(0))
        .u32(44, it.hops.unwrap_or(0))
}
