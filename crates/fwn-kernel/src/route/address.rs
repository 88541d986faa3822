//! Addresses of links.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{AF_INET, AF_INET6, IpPrefix, Link, RouteError, RouteSocket, fixed_header};
use crate::netlink::attr::{Attr, AttrWriter, Malformed};
use crate::netlink::message::{Message, NLM_F_CREATE, NLM_F_EXCL};

// linux/rtnetlink.h
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
/// Size of `struct ifaddrmsg`.
const IFADDR: usize = 8;

// linux/if_addr.h
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_OPTIMISTIC: u32 = 0x04;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_TENTATIVE: u32 = 0x40;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;

/// An address as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Index of its link.
    pub link: u32,
    /// The address and the length of its network's prefix.
    pub prefix: IpPrefix,
    /// The other end, where that is not the address itself.
    pub peer: Option<IpAddr>,
    /// Of an IPv4 address.
    pub broadcast: Option<Ipv4Addr>,
    /// `RT_SCOPE_*` (`linux/rtnetlink.h`): 0 global, 253 link, 254 host.
    pub scope: u8,
    /// Duplicate address detection has not ended, so it cannot be used (`IFA_F_TENTATIVE`, not optimistic).
    pub tentative: bool,
    /// Somebody else on the link has it (`IFA_F_DADFAILED`).
    pub duplicate: bool,
}

/// How an address is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AddressOptions {
    /// IPv6: usable at once, without duplicate address detection (`IFA_F_NODAD`).
    pub nodad: bool,
    /// Without the route to its network (`IFA_F_NOPREFIXROUTE`).
    pub noprefixroute: bool,
}

impl RouteSocket {
    /// Adds an address to a link, for IPv4 with the broadcast address of its network.
    ///
    /// # Errors
    /// [`RouteError::Request`]: `EEXIST` if the link has it.
    pub fn add_address(
        &mut self,
        link: &Link,
        prefix: IpPrefix,
        options: AddressOptions,
    ) -> Result<(), RouteError> {
        let mut flags = 0;
        if options.nodad {
            flags |= IFA_F_NODAD;
        }
        if options.noprefixroute {
            flags |= IFA_F_NOPREFIXROUTE;
        }
        let action = format!("add address `{prefix}` to `{}`", link.name);
        let fill = |a: &mut AttrWriter<'_>| {
            encode_address(a, prefix);
            if let Some(broadcast) = prefix.broadcast() {
                a.bytes(IFA_BROADCAST, &broadcast.octets());
            }
            a.ne32(IFA_FLAGS, flags);
        };
        let header = ifaddr(link.index, prefix);
        self.request(&action, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &header, fill)
    }

    /// All addresses, or those of one link.
    ///
    /// # Errors
    /// [`RouteError::Request`]
    pub fn addresses(&mut self, link: Option<&Link>) -> Result<Vec<Address>, RouteError> {
        let action = match link {
            Some(link) => format!("list the addresses of `{}`", link.name),
            None => "list addresses".to_owned(),
        };
        let mut all = self.dump(
            &action,
            RTM_GETADDR,
            &[0; IFADDR],
            |_| (),
            |message, all| {
                all.extend(decode_address(message)?);
                Ok(())
            },
        )?;
        all.retain(|address| link.is_none_or(|link| link.index == address.link));
        Ok(all)
    }
}

/// `struct ifaddrmsg`: flags are in an attribute, the scope is the kernel's choice for IPv6 and global for IPv4.
fn ifaddr(index: u32, prefix: IpPrefix) -> [u8; IFADDR] {
    let [i0, i1, i2, i3] = index.to_ne_bytes();
    let family = if prefix.address().is_ipv4() { AF_INET } else { AF_INET6 };
    [family, prefix.length(), 0, 0, i0, i1, i2, i3]
}

fn encode_address(a: &mut AttrWriter<'_>, prefix: IpPrefix) {
    encode_ip(a, IFA_LOCAL, prefix.address());
    encode_ip(a, IFA_ADDRESS, prefix.address());
}

/// An address of either family as an attribute.
pub(super) fn encode_ip(a: &mut AttrWriter<'_>, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => a.bytes(kind, &address.octets()),
        IpAddr::V6(address) => a.bytes(kind, &address.octets()),
    };
}

/// An address of either family from an attribute.
pub(super) fn decode_ip(attr: &Attr<'_>) -> Result<IpAddr, Malformed> {
    attr.array::<4>()
        .map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)))
        .or_else(|_| attr.array::<16>().map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes))))
}

pub(super) fn decode_address(message: Message<'_>) -> Result<Option<Address>, Malformed> {
    if message.kind != RTM_NEWADDR {
        return Ok(None);
    }
    let [family, length, flags, scope, i0, i1, i2, i3] = fixed_header::<IFADDR>(&message)?;
    if !matches!(family, AF_INET | AF_INET6) {
        return Ok(None); // decnet, phonet, mctp
    }
    let mut flags = u32::from(flags);
    let (mut address, mut local, mut broadcast) = (None, None, None);
    for attr in message.attrs(IFADDR)? {
        let attr = attr?;
        match attr.kind {
            IFA_ADDRESS => address = Some(decode_ip(&attr)?),
            IFA_LOCAL => local = Some(decode_ip(&attr)?),
            IFA_BROADCAST => broadcast = Some(Ipv4Addr::from(attr.array::<4>()?)),
            IFA_FLAGS => flags = attr.ne32()?,
            _ => {}
        }
    }
    // IPv6 leaves IFA_LOCAL out where there is no peer
    let own = local.or(address).ok_or(Malformed)?;
    Ok(Some(Address {
        link: u32::from_ne_bytes([i0, i1, i2, i3]),
        prefix: IpPrefix::new(own, length).map_err(|_| Malformed)?,
        peer: address.filter(|address| *address != own),
        broadcast,
        scope,
        tentative: flags & (IFA_F_TENTATIVE | IFA_F_OPTIMISTIC) == IFA_F_TENTATIVE,
        duplicate: flags & IFA_F_DADFAILED != 0,
    }))
}
