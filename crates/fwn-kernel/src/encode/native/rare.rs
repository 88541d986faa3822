//! The rarer matches to their structures: devices, what connections did, seldom seen headers.

use fwn_plan::rule::Negatable;
use fwn_plan::rule::typed::conntrack::CtAddress;
use fwn_plan::rule::typed::device::{Cgroup, DeviceGroups, Physdev};
use fwn_plan::rule::typed::header::{Ecn, Policy, PolicyElement, Sctp};
use fwn_plan::rule::typed::value::{Masked, Range};

use super::info::Info;

/// `struct xt_physdev_info`: names with masks of the bytes that count; the bits are `XT_PHYSDEV_OP_*`.
pub(super) fn physdev(it: &Physdev) -> Info {
    let mut info = Info::new(72);
    let (mut used, mut inverted) = (0_u8, 0_u8);
    for (at, port) in [&it.in_port, &it.out_port].into_iter().enumerate() {
        let Some(Negatable { negated, value }) = port else { continue };
        // with the NUL, so that no longer name fits
        let counts = value.strip_suffix('+').map_or(value.len() + 1, str::len);
        info = info.text(at * 32, 16, value).put(at * 32 + 16, &vec![0xff; counts]);
        used |= 1 << at;
        inverted |= u8::from(*negated) << at;
    }
    for (bit, flag) in [(2, it.is_bridged), (3, it.is_in), (4, it.is_out)] {
        let Some(wanted) = flag else { continue };
        used |= 1 << bit;
        inverted |= u8::from(!wanted) << bit;
    }
    info.u8(64, inverted).u8(65, used)
}

/// `struct xt_devgroup_info`; the bits are `XT_DEVGROUP_*`.
pub(super) fn device_groups(groups: &DeviceGroups) -> Info {
    let mut info = Info::new(24);
    let mut flags = 0;
    for (at, group) in [&groups.source, &groups.destination].into_iter().enumerate() {
        let Some(Negatable { negated, value: Masked { value, mask } }) = group else { continue };
        info = info.u32(4 + at * 8, *value).u32(8 + at * 8, *mask);
        flags |= (1 | u32::from(*negated) << 1) << (at * 2);
    }
    info.u32(0, flags)
}

/// `struct xt_cgroup_info_v2`
pub(super) fn cgroup(it: &Negatable<Cgroup>) -> Info {
    let info = Info::new(528);
    match &it.value {
        Cgroup::Path(path) => info.u8(0, true).u8(2, it.negated).text(4, 512, path),
        Cgroup::Class(class) => info.u8(1, true).u8(3, it.negated).u32(4, *class),
    }
}

/// `struct xt_esp` and `struct ipt_ah`
pub(super) fn spis(spis: &Negatable<Range<u32>>) -> Info {
    Info::new(16).u32(0, spis.value.first).u32(4, spis.value.last).u8(8, spis.negated)
}

/// `struct xt_ecn_info`
pub(super) fn ecn(ecn: Ecn) -> Info {
    Info::new(8).u8(0, ecn.used).u8(1, ecn.negated).u8(2, ecn.ect)
}

/// `struct xt_sctp_info`; the bits are `XT_SCTP_*`.
pub(super) fn sctp(sctp: &Sctp) -> Info {
    let mut info = Info::new(296);
    let (mut used, mut inverted) = (0, 0);
    for (bit, at, ports) in [(0, 4, &sctp.source), (1, 0, &sctp.destination)] {
        let Some(Negatable { negated, value }) = ports else { continue };
        info = info.u16(at, value.first).u16(at + 2, value.last);
        used |= 1 << bit;
        inverted |= u32::from(*negated) << bit;
    }
    if let Some(Negatable { negated, value }) = &sctp.chunks {
        /// Offset and size of the map of types, of which all are set for all types.
        const MAP: (usize, usize) = (8, 256);
        info = match &value.types {
            None => info.put(MAP.0, &[0xff; MAP.1]),
            Some(types) => {
                let mut words = [0_u32; 8];
                for kind in types {
                    words[usize::from(kind / 32)] |= 1 << (kind % 32);
                }
                words.iter().enumerate().fold(info, |info, (at, word)| info.u32(MAP.0 + at * 4, *word))
            }
        };
        info = info.u32(264, value.scope);
        used |= 1 << 2;
        inverted |= u32::from(*negated) << 2;
    }
    // four places for flags of chunks, none of them used
    for place in 0..4 {
        info = info.u8(268 + place * 3, 0xff);
    }
    info.u32(284, used).u32(288, inverted)
}

/// `struct xt_policy_info`
pub(super) fn policy(policy: &Policy) -> Info {
    let elements = policy.elements.iter().enumerate();
    let info = elements.fold(Info::new(312), |info, (at, element)| put_element(info, at * 76, element));
    info.u16(304, policy.flags).u16(306, policy.elements.len() as u16)
}

/// `struct xt_policy_elem` at an offset; the bits are those of `struct xt_policy_spec`.
fn put_element(mut info: Info, at: usize, element: &PolicyElement) -> Info {
    let (mut used, mut inverted) = (0_u8, 0_u8);
    let mut count = |bit: u8, negated: bool| {
        used |= 1 << bit;
        inverted |= u8::from(negated) << bit;
    };
    for (bit, end) in [(0, &element.source), (1, &element.destination)] {
        let Some(Negatable { negated, value: CtAddress { address, mask } }) = end else { continue };
        count(bit, *negated);
        let at = at + usize::from(bit) * 32;
        info = info.address(at, *address);
        info = match mask {
            Some(mask) => info.address(at + 16, *mask),
            None => info.put(at + 16, &[0xff; 16]),
        };
    }
    if let Some(protocol) = &element.protocol {
        count(2, protocol.negated);
        info = info.u8(at + 72, protocol.value);
    }
    if let Some(mode) = &element.mode {
        count(3, mode.negated);
        info = info.u8(at + 73, mode.value);
    }
    if let Some(spi) = &element.spi {
        count(4, spi.negated);
        info = info.u32(at + 64, spi.value);
    }
    if let Some(request) = &element.request {
        count(5, request.negated);
        info = info.u32(at + 68, request.value);
    }
    info.u8(at + 74, used).u8(at + 75, inverted)
}
