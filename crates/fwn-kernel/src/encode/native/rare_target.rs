//! The rarer targets to their structures.

use std::net::IpAddr;

use fwn_plan::netfilter::Family;
use fwn_plan::rule::typed::rare_target::{EcnAction, IdleTimer, PrefixTranslation, Synproxy};
use fwn_plan::rule::typed::spread::{HashedPart, Hmark};
use fwn_plan::rule::typed::value::prefix_mask;

use super::info::Info;

/// `struct ipt_ECN_info`
pub(super) fn ecn(action: EcnAction) -> Info {
    let bits = u8::from(action.ece) | u8::from(action.cwr) << 1;
    Info::new(8).u8(0, action.operation).u8(1, action.ect).u8(2, bits)
}

/// `struct xt_hmark_info`
pub(super) fn hmark(hmark: &Hmark, family: Family) -> Info {
    let mut info = Info::new(64);
    for (at, part) in [(0, hmark.source), (16, hmark.destination)] {
        info = match part {
            Some(HashedPart::Prefix(length)) => info.address(at, prefix_mask(family, length)),
            // all of the union, also for IPv4
            Some(HashedPart::Whole) => info.put(at, &[0xff; 16]),
            None => info,
        };
    }
    info.be32(32, hmark.port_mask)
        .be32(36, hmark.port_set)
        .u32(40, hmark.flags)
        .u16(44, hmark.protocol_mask)
        .u32(48, hmark.seed)
        .u32(52, hmark.modulus)
        .u32(56, hmark.offset)
}

/// `struct idletimer_tg_info_v1`
pub(super) fn idle_timer(timer: &IdleTimer) -> Info {
    // XT_IDLETIMER_ALARM
    Info::new(48).u32(0, timer.timeout).text(4, 28, &timer.label).u8(33, timer.alarm)
}

/// `struct ip6t_npt_tginfo`
pub(super) fn prefixes(it: PrefixTranslation) -> Info {
    Info::new(40)
        .address(0, IpAddr::V6(it.source.0))
        .address(16, IpAddr::V6(it.destination.0))
        .u8(32, it.source.1)
        .u8(33, it.destination.1)
}

/// `struct nf_synproxy_info`
pub(super) fn synproxy(proxy: Synproxy) -> Info {
    Info::new(8).u8(0, proxy.options).u8(1, proxy.window_scale).u16(2, proxy.segment_size)
}

/// `struct xt_tcpoptstrip_target_info`: a bit for each kind.
pub(super) fn strip(kinds: &[u8]) -> Info {
    let mut words = [0_u32; 8];
    for kind in kinds {
        words[usize::from(kind / 32)] |= 1 << (kind % 32);
    }
    words.iter().enumerate().fold(Info::new(32), |info, (at, word)| info.u32(at * 4, *word))
}
