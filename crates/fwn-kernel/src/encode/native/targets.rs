//! Typed targets to expressions: native ones where iptables writes them, else the structures of
//! `linux/netfilter/xt_*.h`, in the newest revision that iptables 1.8.9 and Linux know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fwn_plan::netfilter::Family;
use fwn_plan::rule::Module;
use fwn_plan::rule::typed::TypedTarget;
use fwn_plan::rule::typed::nat::{Nat, NatPorts, PortNat};
use fwn_plan::rule::typed::set::SetTarget;
use fwn_plan::rule::typed::target::{ConnmarkAction, Ct};
use fwn_plan::rule::typed::value::{Masked, Range};

use super::expression::Expressions;
use super::info::Info;
use super::matches::put_set;
use super::{NativeContext, NativeError, rare_target, unencodable};

/// Appends the expressions of a target.
pub(super) fn encode(
    list: &mut Expressions,
    it: &TypedTarget,
    family: Family,
    module: &Module,
    context: &NativeContext<'_>,
) -> Result<(), NativeError> {
    match it {
        TypedTarget::Trace => list.trace(),
        TypedTarget::Nflog(log) => list.log(log.group, &log.prefix, log.size, log.threshold),
        TypedTarget::Audit(kind) => list.xt_target("AUDIT", 0, &Info::new(8).u8(0, *kind)),
        // XT_CHECKSUM_OP_FILL
        TypedTarget::Checksum => list.xt_target("CHECKSUM", 0, &Info::new(8).u8(0, 1)),
        TypedTarget::Classify(class) => list.xt_target("CLASSIFY", 0, &Info::new(8).u32(0, *class)),
        TypedTarget::Tee(tee) => {
            list.xt_target("TEE", 1, &Info::new(40).address(0, tee.gateway).text(16, 16, &tee.interface));
        }
        TypedTarget::Tproxy(proxy) => {
            let info = Info::new(32).u32(0, proxy.mark.mask).u32(4, proxy.mark.value);
            list.xt_target("TPROXY", 1, &info.address(8, proxy.address).be16(24, proxy.port));
        }
        TypedTarget::Ecn(action) => list.xt_target("ECN", 0, &rare_target::ecn(*action)),
        TypedTarget::Hmark(it) => list.xt_target("HMARK", 0, &rare_target::hmark(it, family)),
        TypedTarget::IdleTimer(timer) => list.xt_target("IDLETIMER", 1, &rare_target::idle_timer(timer)),
        TypedTarget::PrefixTranslation(it) => list.xt_target(module.name, 0, &rare_target::prefixes(*it)),
        TypedTarget::StripTcpOptions(kinds) => list.xt_target("TCPOPTSTRIP", 0, &rare_target::strip(kinds)),
        TypedTarget::Synproxy(proxy) => list.xt_target("SYNPROXY", 0, &rare_target::synproxy(*proxy)),
        TypedTarget::Connmark(action) => list.xt_target("CONNMARK", 2, &connmark(*action)),
        TypedTarget::Ct(ct) => list.xt_target("CT", 2, &conntrack(ct)),
        TypedTarget::Dscp(point) => list.xt_target("DSCP", 0, &Info::new(8).u8(0, *point)),
        TypedTarget::HopLimit(action) => {
            list.xt_target(module.name, 0, &Info::new(8).u8(0, action.mode).u8(1, action.value));
        }
        TypedTarget::Log(log) => {
            list.xt_target(
                "LOG",
                0,
                &Info::new(32).u8(0, log.level).u8(1, log.flags).text(2, 30, &log.prefix),
            );
        }
        TypedTarget::Mark(mark) => {
            list.xt_target("MARK", 2, &Info::new(8).u32(0, mark.value).u32(4, mark.mask));
        }
        TypedTarget::Nfqueue(queue) => {
            list.xt_target(
                "NFQUEUE",
                3,
                &Info::new(8).u16(0, queue.first).u16(2, queue.count).u16(4, queue.flags),
            );
        }
        TypedTarget::Reject(with) => list.xt_target("REJECT", 0, &Info::new(8).u32(0, *with)),
        TypedTarget::Set(set) => list.xt_target("SET", 3, &set_info(set, module, context)?),
        TypedTarget::Tcpmss(size) => {
            // XT_TCPMSS_CLAMP_PMTU
            list.xt_target("TCPMSS", 0, &Info::new(8).u16(0, size.unwrap_or(0xffff)));
        }
        TypedTarget::Tos(Masked { value, mask }) => {
            list.xt_target("TOS", 1, &Info::new(8).u8(0, *value).u8(1, *mask));
        }
        TypedTarget::Dnat(nat) => list.xt_target("DNAT", 2, &Mapping::from(*nat).range2()),
        TypedTarget::Snat(nat) => {
            list.xt_target("SNAT", snat_revision(family), &Mapping::from(*nat).range(family));
        }
        TypedTarget::Masquerade(nat) => list.xt_target("MASQUERADE", 0, &Mapping::from(*nat).range(family)),
        TypedTarget::Redirect(nat) => list.xt_target("REDIRECT", 0, &Mapping::from(*nat).range(family)),
        TypedTarget::Netmap(to) => list.xt_target("NETMAP", 0, &netmap(*to)?.range(family)),
    }
    Ok(())
}

fn snat_revision(family: Family) -> u32 {
    match family {
        Family::Ipv4 => 0,
        Family::Ipv6 => 1,
    }
}

/// `struct xt_connmark_tginfo2`
fn connmark(action: ConnmarkAction) -> Info {
    Info::new(16)
        .u32(0, action.ct_mark)
        .u32(4, action.ct_mask)
        .u32(8, action.nf_mask)
        .u8(12, action.shift_right)
        .u8(13, action.shift_bits)
        .u8(14, action.mode)
}

/// `struct xt_ct_target_info_v1`
fn conntrack(ct: &Ct) -> Info {
    Info::new(72)
        .u16(0, ct.flags)
        .u16(2, ct.zone)
        .u32(4, ct.events)
        .u32(8, ct.expectation_events)
        .text(12, 16, &ct.helper)
        .text(28, 32, &ct.timeout)
}

/// `struct xt_set_info_target_v3`
fn set_info(set: &SetTarget, module: &Module, context: &NativeContext<'_>) -> Result<Info, NativeError> {
    /// `IPSET_INVALID_ID`
    const NO_SET: u16 = 0xffff;
    let mut info = Info::new(24).u32(12, set.flags).u32(16, set.timeout.unwrap_or(u32::MAX));
    for (at, set) in [(0, &set.add), (4, &set.del), (8, &set.map)] {
        info = match set {
            Some(set) => put_set(info, at, set, false, module, context)?,
            None => info.u16(at, NO_SET),
        };
    }
    Ok(info)
}

/// What addresses and ports are mapped to, whatever the structure: `NF_NAT_RANGE_*` bits (`linux/netfilter/nf_nat.h`)
/// say what counts.
#[derive(Debug, Clone, Copy)]
struct Mapping {
    flags: u32,
    addresses: Option<Range<IpAddr>>,
    ports: Range<u16>,
    base: u16,
}

impl Mapping {
    fn new(
        addresses: Option<Range<IpAddr>>,
        ports: Option<NatPorts>,
        (random, random_fully, persistent): (bool, bool, bool),
    ) -> Self {
        let base = ports.and_then(|ports| ports.base);
        let flags = u32::from(addresses.is_some())
            | u32::from(ports.is_some()) << 1
            | u32::from(random) << 2
            | u32::from(persistent) << 3
            | u32::from(random_fully) << 4
            | u32::from(base.is_some()) << 5;
        let ports = ports.map_or(Range::single(0), |ports| ports.ports);
        Self { flags, addresses, ports, base: base.unwrap_or(0) }
    }

    /// `struct nf_nat_range2`
    fn range2(self) -> Info {
        let mut info = Info::new(48).u32(0, self.flags);
        if let Some(Range { first, last }) = self.addresses {
            info = info.address(4, first).address(20, last);
        }
        info.be16(36, self.ports.first).be16(38, self.ports.last).be16(40, self.base)
    }

    /// `struct nf_nat_ipv4_multi_range_compat` with one range, or `struct nf_nat_range`.
    fn range(self, family: Family) -> Info {
        let (mut info, flags, first, last, ports) = match family {
            Family::Ipv4 => (Info::new(24).u32(0, 1), 4, 8, 12, 16),
            Family::Ipv6 => (Info::new(40), 0, 4, 20, 36),
        };
        if let Some(addresses) = self.addresses {
            info = info.address(first, addresses.first).address(last, addresses.last);
        }
        info.u32(flags, self.flags).be16(ports, self.ports.first).be16(ports + 2, self.ports.last)
    }
}

impl From<Nat> for Mapping {
    fn from(nat: Nat) -> Self {
        Self::new(nat.addresses, nat.ports, (nat.random, nat.random_fully, nat.persistent))
    }
}

impl From<PortNat> for Mapping {
    fn from(nat: PortNat) -> Self {
        Self::new(None, nat.ports, (nat.random, nat.random_fully, false))
    }
}

/// From the first address of the network to its last.
fn netmap(to: Masked<IpAddr>) -> Result<Mapping, NativeError> {
    let (first, last) = match (to.value, to.mask) {
        (IpAddr::V4(address), IpAddr::V4(mask)) => {
            let first = address.to_bits() & mask.to_bits();
            (Ipv4Addr::from(first).into(), Ipv4Addr::from(first | !mask.to_bits()).into())
        }
        (IpAddr::V6(address), IpAddr::V6(mask)) => {
            let first = address.to_bits() & mask.to_bits();
            (Ipv6Addr::from(first).into(), Ipv6Addr::from(first | !mask.to_bits()).into())
        }
        _ => return Err(unencodable("an address with a mask of the other family")),
    };
    Ok(Mapping::new(Some(Range { first, last }), None, (false, false, false)))
}
