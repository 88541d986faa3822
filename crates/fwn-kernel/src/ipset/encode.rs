//! Sets and entries to netlink attributes. Pure: no socket in scope. Attributes come in the order of their numbers,
//! as the `ipset` program writes them; numbers carry the flag of network byte order, on which ip_set insists.

use std::net::IpAddr;

use fwn_plan::netfilter::Family;
use fwn_plan::set::{Addresses, BitmapRange, CreateOptions, Element, Entry, EntryOptions, ListPlace};

use super::message::{NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_UNSPEC, data, flag};
use crate::netlink::attr::{AttrWriter, NLA_F_NET_BYTEORDER};

/// The number of a set's family.
pub fn family_number(family: Option<Family>) -> u8 {
    match family {
        None => NFPROTO_UNSPEC,
        Some(Family::Ipv4) => NFPROTO_IPV4,
        Some(Family::Ipv6) => NFPROTO_IPV6,
    }
}

/// Create options, for inside `DATA`.
pub fn encode_create(writer: &mut AttrWriter<'_>, options: &CreateOptions) {
    match options.range {
        Some(BitmapRange::Addresses(first, last)) => {
            address(writer, data::IP, first.into());
            address(writer, data::IP_TO, last.into());
        }
        Some(BitmapRange::Ports(first, last)) => {
            be16(writer, data::PORT, Some(first));
            be16(writer, data::PORT_TO, Some(last));
        }
        None => {}
    }
    be32(writer, data::TIMEOUT, options.timeout);
    let flags = bits(&[
        (options.counters, flag::WITH_COUNTERS),
        (options.comment, flag::WITH_COMMENT),
        (options.forceadd, flag::WITH_FORCEADD),
        (options.skbinfo, flag::WITH_SKBINFO),
    ]);
    be32(writer, data::CADT_FLAGS, flags);
    be32(writer, data::MARKMASK, options.markmask);
    if let Some(mask) = options.bitmask {
        address(writer, data::BITMASK, mask);
    }
    be32(writer, data::INITVAL, options.initval);
    be32(writer, data::HASHSIZE, options.hashsize);
    be32(writer, data::MAXELEM, options.maxelem);
    if let Some(netmask) = options.netmask {
        writer.u8(data::NETMASK, netmask);
    }
    if let Some(bucketsize) = options.bucketsize {
        writer.u8(data::BUCKETSIZE, bucketsize);
    }
    be32(writer, data::SIZE, options.size);
}

/// What an entry says, by attribute: the elements and options, sorted out of their order in the text.
#[derive(Default)]
struct Parts<'a> {
    first: Option<Addresses>,
    second: Option<Addresses>,
    port: Option<u16>,
    port_to: Option<u16>,
    protocol: Option<u8>,
    mark: Option<u32>,
    mac: Option<[u8; 6]>,
    name: Option<&'a str>,
    reference: Option<&'a str>,
    interface: Option<&'a str>,
    before: bool,
    physdev: bool,
}

impl<'a> Parts<'a> {
    fn new(elements: &'a [Element]) -> Self {
        let mut parts = Self::default();
        for element in elements {
            match element {
                Element::Address(addresses) if parts.first.is_none() => parts.first = Some(*addresses),
                Element::Address(addresses) => parts.second = Some(*addresses),
                Element::Port(port) => {
                    parts.protocol = Some(port.protocol);
                    (parts.port, parts.port_to) = (Some(port.port), port.to);
                }
                Element::BarePort(port, to) => (parts.port, parts.port_to) = (Some(*port), *to),
                Element::Mac(mac) => parts.mac = Some(*mac),
                Element::Mark(mark) => parts.mark = Some(*mark),
                Element::Interface { name, physdev } => {
                    parts.interface = Some(name);
                    parts.physdev = *physdev;
                }
                Element::Set { name, place } => {
                    parts.name = Some(name);
                    parts.reference = place.as_ref().map(|place| match place {
                        ListPlace::Before(other) | ListPlace::After(other) => other.as_str(),
                    });
                    parts.before = matches!(place, Some(ListPlace::Before(_)));
                }
            }
        }
        parts
    }
}

/// An entry, for inside `DATA`. `line` is what the kernel names where it refuses the entry as one of many.
pub fn encode_entry(writer: &mut AttrWriter<'_>, entry: &Entry, line: Option<u32>) {
    let parts = Parts::new(&entry.elements);
    let EntryOptions { timeout, packets, bytes, comment, skbmark, skbprio, skbqueue, nomatch, wildcard } =
        &entry.options;
    if let Some(addresses) = parts.first {
        encode_addresses(writer, addresses, data::IP, data::IP_TO, data::CIDR);
    }
    be16(writer, data::PORT, parts.port);
    be16(writer, data::PORT_TO, parts.port_to);
    be32(writer, data::TIMEOUT, *timeout);
    if let Some(protocol) = parts.protocol {
        writer.u8(data::PROTO, protocol);
    }
    let flags = bits(&[
        (parts.before, flag::BEFORE),
        (parts.physdev, flag::PHYSDEV),
        (*nomatch, flag::NOMATCH),
        (*wildcard, flag::WILDCARD),
    ]);
    be32(writer, data::CADT_FLAGS, flags);
    be32(writer, data::LINENO, line);
    be32(writer, data::MARK, parts.mark);
    if let Some(mac) = parts.mac {
        writer.bytes(data::ETHER, &mac);
    }
    string(writer, data::NAME, parts.name);
    string(writer, data::NAMEREF, parts.reference);
    if let Some(addresses) = parts.second {
        encode_addresses(writer, addresses, data::IP2, data::IP2_TO, data::CIDR2);
    }
    string(writer, data::IFACE, parts.interface);
    be64(writer, data::BYTES, *bytes);
    be64(writer, data::PACKETS, *packets);
    string(writer, data::COMMENT, comment.as_deref());
    be64(writer, data::SKBMARK, skbmark.map(|(mark, mask)| u64::from(mark) << 32 | u64::from(mask)));
    be32(writer, data::SKBPRIO, skbprio.map(|(major, minor)| u32::from(major) << 16 | u32::from(minor)));
    be16(writer, data::SKBQUEUE, *skbqueue);
}

fn encode_addresses(writer: &mut AttrWriter<'_>, addresses: Addresses, from: u16, to: u16, prefix: u16) {
    match addresses {
        Addresses::One(one) => address(writer, from, one),
        Addresses::Block(one, length) => {
            address(writer, from, one);
            writer.u8(prefix, length);
        }
        Addresses::Range(first, last) => {
            address(writer, from, first);
            address(writer, to, last);
        }
    }
}

fn address(writer: &mut AttrWriter<'_>, kind: u16, address: IpAddr) {
    writer.nest(kind, |inner| {
        match address {
            IpAddr::V4(v4) => inner.bytes(data::IPADDR_IPV4 | NLA_F_NET_BYTEORDER, &v4.octets()),
            IpAddr::V6(v6) => inner.bytes(data::IPADDR_IPV6 | NLA_F_NET_BYTEORDER, &v6.octets()),
        };
    });
}

fn bits(set: &[(bool, u32)]) -> Option<u32> {
    let all = set.iter().filter(|(on, _)| *on).fold(0, |all, (_, bit)| all | bit);
    (all != 0).then_some(all)
}

fn be16(writer: &mut AttrWriter<'_>, kind: u16, value: Option<u16>) {
    if let Some(value) = value {
        writer.be16(kind | NLA_F_NET_BYTEORDER, value);
    }
}

/// 32 bits in network order, with the flag that ip_set insists on.
pub(super) fn be32(writer: &mut AttrWriter<'_>, kind: u16, value: Option<u32>) {
    if let Some(value) = value {
        writer.be32(kind | NLA_F_NET_BYTEORDER, value);
    }
}

fn be64(writer: &mut AttrWriter<'_>, kind: u16, value: Option<u64>) {
    if let Some(value) = value {
        writer.be64(kind | NLA_F_NET_BYTEORDER, value);
    }
}

fn string(writer: &mut AttrWriter<'_>, kind: u16, value: Option<&str>) {
    if let Some(value) = value {
        writer.string(kind, value);
    }
}
