//! What the kernel lists, to sets and entries. Pure and total: any bytes give a value or [`Malformed`]; attributes
//! that are not known are skipped.

use std::net::{IpAddr, Ipv4Addr};

use fwn_plan::netfilter::Family;
use fwn_plan::set::{
    Addresses, BitmapRange, CreateOptions, Dimension, Element, Entry, EntryOptions, Port, SetKind,
};

use super::message::{NFPROTO_IPV4, NFPROTO_IPV6, attr, data, flag};
use crate::netlink::attr::{Attr, Attrs, Malformed};

/// A set as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetHeader {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: SetKind,
    /// Its family.
    pub family: Option<Family>,
    /// Revision of its type.
    pub revision: u8,
    /// How many rules and lists use it.
    pub references: u32,
    /// How many entries it has; kernels before 4.9 do not say.
    pub elements: Option<u32>,
    /// Its size in bytes.
    pub memory: u32,
    /// What it was made with, and what it has become: the hash grows.
    pub options: CreateOptions,
    /// Its number, by which rules know it; protocol 6 does not say.
    pub index: Option<u16>,
}

/// One message of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListMessage<'a> {
    /// The set it is about.
    pub name: &'a str,
    /// What the set is, in its first message.
    pub header: Option<Header<'a>>,
    /// Entries, one nest each.
    pub entries: Option<EntryList<'a>>,
}

/// The bytes of a list of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryList<'a>(&'a [u8]);

/// The type of a listed set may be one that is not known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header<'a> {
    /// A known one.
    Known(Box<SetHeader>),
    /// Its type's name.
    UnknownType(&'a str),
}

/// Reads one message of a listing.
///
/// # Errors
/// It is cut short, or lacks what each such message has.
pub fn decode_list(attrs: Attrs<'_>) -> Result<ListMessage<'_>, Malformed> {
    let (mut name, mut kind, mut revision, mut family) = (None, None, None, None);
    let (mut index, mut create, mut entries) = (None, None, None);
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            attr::SETNAME => name = Some(attr.string()?),
            attr::TYPENAME => kind = Some(attr.string()?),
            attr::REVISION => revision = Some(attr.u8()?),
            attr::FAMILY => family = Some(attr.u8()?),
            attr::INDEX => index = Some(attr.be16()?),
            attr::DATA => create = Some(attr),
            attr::ADT => entries = Some(EntryList(attr.value)),
            _ => {}
        }
    }
    let name = name.ok_or(Malformed)?;
    let header = match (create, kind) {
        (None, _) => None,
        (Some(_), None) => return Err(Malformed),
        (Some(create), Some(typename)) => Some(match SetKind::parse(typename) {
            None => Header::UnknownType(typename),
            Some(kind) => {
                let mut header = SetHeader {
                    name: name.to_owned(),
                    kind,
                    family: decode_family(family.ok_or(Malformed)?),
                    revision: revision.ok_or(Malformed)?,
                    references: 0,
                    elements: None,
                    memory: 0,
                    options: CreateOptions::default(),
                    index,
                };
                decode_create(&mut header, create.nested())?;
                Header::Known(Box::new(header))
            }
        }),
    };
    Ok(ListMessage { name, header, entries })
}

impl EntryList<'_> {
    /// Reads the entries, which are of a set of type `kind`, to the end of `entries`.
    ///
    /// # Errors
    /// An entry is cut short, or lacks a part.
    pub fn decode(self, kind: SetKind, entries: &mut Vec<Entry>) -> Result<(), Malformed> {
        for attr in Attrs::new(self.0) {
            let attr = attr?;
            if attr.kind == attr::DATA {
                entries.push(decode_entry(kind, attr.nested())?);
            }
        }
        Ok(())
    }
}

/// The family of a number; other than IPv4 and IPv6 is none.
pub fn decode_family(number: u8) -> Option<Family> {
    match number {
        NFPROTO_IPV4 => Some(Family::Ipv4),
        NFPROTO_IPV6 => Some(Family::Ipv6),
        _ => None,
    }
}

fn decode_create(header: &mut SetHeader, attrs: Attrs<'_>) -> Result<(), Malformed> {
    let (mut ip, mut ip_to, mut port, mut port_to) = (None, None, None, None);
    let options = &mut header.options;
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            data::IP => ip = Some(decode_ipv4(&attr)?),
            data::IP_TO => ip_to = Some(decode_ipv4(&attr)?),
            data::PORT => port = Some(attr.be16()?),
            data::PORT_TO => port_to = Some(attr.be16()?),
            data::TIMEOUT => options.timeout = Some(attr.be32()?),
            data::CADT_FLAGS => {
                let flags = attr.be32()?;
                options.counters = flags & flag::WITH_COUNTERS != 0;
                options.comment = flags & flag::WITH_COMMENT != 0;
                options.forceadd = flags & flag::WITH_FORCEADD != 0;
                options.skbinfo = flags & flag::WITH_SKBINFO != 0;
            }
            data::MARKMASK => options.markmask = Some(attr.be32()?),
            data::BITMASK => options.bitmask = Some(decode_address(&attr)?),
            data::INITVAL => options.initval = Some(attr.be32()?),
            data::HASHSIZE => options.hashsize = Some(attr.be32()?),
            data::MAXELEM => options.maxelem = Some(attr.be32()?),
            data::NETMASK => options.netmask = Some(attr.u8()?),
            data::BUCKETSIZE => options.bucketsize = Some(attr.u8()?),
            data::SIZE => options.size = Some(attr.be32()?),
            data::ELEMENTS => header.elements = Some(attr.be32()?),
            data::REFERENCES => header.references = attr.be32()?,
            data::MEMSIZE => header.memory = attr.be32()?,
            _ => {}
        }
    }
    options.range = match (ip, ip_to, port, port_to) {
        (Some(first), Some(last), ..) => Some(BitmapRange::Addresses(first, last)),
        (_, _, Some(first), Some(last)) => Some(BitmapRange::Ports(first, last)),
        _ => None,
    };
    Ok(())
}

/// Reads one entry of a set of type `kind`.
///
/// # Errors
/// It is cut short, or lacks a part.
pub fn decode_entry(kind: SetKind, attrs: Attrs<'_>) -> Result<Entry, Malformed> {
    let (mut first, mut second) = (AddressParts::default(), AddressParts::default());
    let (mut port, mut port_to, mut protocol, mut mark, mut mac) = (None, None, None, None, None);
    let (mut name, mut interface, mut flags) = (None, None, 0);
    let mut options = EntryOptions::default();
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            data::IP => first.from = Some(decode_address(&attr)?),
            data::IP_TO => first.to = Some(decode_address(&attr)?),
            data::CIDR => first.prefix = Some(attr.u8()?),
            data::IP2 => second.from = Some(decode_address(&attr)?),
            data::IP2_TO => second.to = Some(decode_address(&attr)?),
            data::CIDR2 => second.prefix = Some(attr.u8()?),
            data::PORT => port = Some(attr.be16()?),
            data::PORT_TO => port_to = Some(attr.be16()?),
            data::PROTO => protocol = Some(attr.u8()?),
            data::CADT_FLAGS => flags = attr.be32()?,
            data::MARK => mark = Some(attr.be32()?),
            data::ETHER => mac = Some(attr.array()?),
            data::NAME => name = Some(attr.string()?),
            data::IFACE => interface = Some(attr.string()?),
            data::TIMEOUT => options.timeout = Some(attr.be32()?),
            data::BYTES => options.bytes = Some(attr.be64()?),
            data::PACKETS => options.packets = Some(attr.be64()?),
            data::COMMENT => {
                // other programs may write any bytes; a comment is for people, a listing must not fail over it
                let bytes = attr.value.strip_suffix(&[0]).unwrap_or(attr.value);
                options.comment =
                    Some(String::from_utf8_lossy(bytes).into_owned()).filter(|text| !text.is_empty());
            }
            data::SKBMARK => {
                let both = attr.be64()?;
                options.skbmark = Some(((both >> 32) as u32, both as u32));
            }
            data::SKBPRIO => {
                let both = attr.be32()?;
                options.skbprio = Some(((both >> 16) as u16, both as u16));
            }
            data::SKBQUEUE => options.skbqueue = Some(attr.be16()?),
            _ => {}
        }
    }
    options.nomatch = flags & flag::NOMATCH != 0;
    options.wildcard = flags & flag::WILDCARD != 0;

    let mut addresses = [first, second].into_iter();
    let mut elements = Vec::with_capacity(kind.dimensions().len());
    for (at, dimension) in kind.dimensions().iter().enumerate() {
        let element = match dimension {
            Dimension::Ip | Dimension::SingleIp | Dimension::Net { .. } => {
                addresses.next().and_then(AddressParts::whole).map(Element::Address)
            }
            Dimension::Port => {
                port.zip(protocol).map(|(port, protocol)| Element::Port(Port { protocol, port, to: port_to }))
            }
            Dimension::BarePort => port.map(|port| Element::BarePort(port, port_to)),
            Dimension::Mac => mac.map(Element::Mac),
            Dimension::Mark => mark.map(Element::Mark),
            Dimension::Interface => interface.map(|name| Element::Interface {
                name: name.to_owned(),
                physdev: flags & flag::PHYSDEV != 0,
            }),
            Dimension::Set => name.map(|name| Element::Set { name: name.to_owned(), place: None }),
        };
        match element {
            Some(element) => elements.push(element),
            None if kind.last_is_optional() && at + 1 == kind.dimensions().len() => {}
            None => return Err(Malformed),
        }
    }
    Ok(Entry { elements, options })
}

#[derive(Default)]
struct AddressParts {
    from: Option<IpAddr>,
    to: Option<IpAddr>,
    prefix: Option<u8>,
}

impl AddressParts {
    fn whole(self) -> Option<Addresses> {
        let from = self.from?;
        let max = if from.is_ipv4() { 32 } else { 128 };
        Some(match (self.to, self.prefix) {
            (Some(to), _) if to != from => Addresses::Range(from, to),
            (_, Some(prefix)) if prefix < max => Addresses::Block(from, prefix),
            _ => Addresses::One(from),
        })
    }
}

fn decode_address(attr: &Attr<'_>) -> Result<IpAddr, Malformed> {
    for inner in attr.nested() {
        let inner = inner?;
        match inner.kind {
            data::IPADDR_IPV4 => return Ok(inner.array::<4>()?.into()),
            data::IPADDR_IPV6 => return Ok(inner.array::<16>()?.into()),
            _ => {}
        }
    }
    Err(Malformed)
}

fn decode_ipv4(attr: &Attr<'_>) -> Result<Ipv4Addr, Malformed> {
    match decode_address(attr)? {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::super::encode::{encode_create, encode_entry};
    use super::*;
    use crate::netlink::attr::AttrWriter;
    use fwn_plan::set::{Grammar, NumbersOnly, Verb};
    use proptest::prelude::*;

    fn encoded(kind: SetKind, family: Option<Family>, text: &str) -> Vec<u8> {
        let options = CreateOptions {
            timeout: Some(0),
            counters: true,
            comment: true,
            skbinfo: true,
            ..CreateOptions::default()
        };
        let grammar = Grammar { kind, family, options: &options, services: &NumbersOnly };
        let template = grammar.parse(Verb::Add, text).expect("good");
        let mut bytes = Vec::new();
        let mut writer = AttrWriter::new(&mut bytes);
        encode_entry(&mut writer, template.literal().expect("no name"), None);
        writer.finish().expect("short");
        bytes
    }

    fn decoded(kind: SetKind, bytes: &[u8]) -> String {
        decode_entry(kind, Attrs::new(bytes)).expect("whole").to_string()
    }

    /// Of the types that many kernels lack, byte for byte as `enum`s and policies of the kernel
    /// (`net/netfilter/ipset/ip_set_hash_*.c`) have them: length, type (0x8000 nested, 0x4000 network order), value.
    #[test]
    fn rare_types_have_the_bytes_of_the_kernel() {
        let v4 = Some(Family::Ipv4);
        let ip = |kind: u8, last: u8| [12, 0, kind, 0x80, 8, 0, 1, 0x40, 10, 0, 0, last];
        let mac = [10, 0, 17, 0, 2, 0, 0, 0, 0, 1, 0, 0];
        for (kind, family, text, bytes) in [
            (
                SetKind::HashIpMark,
                v4,
                "10.0.0.1,0x10",
                [&ip(1, 1)[..], &[8, 0, 10, 0x40, 0, 0, 0, 16]].concat(),
            ),
            (SetKind::HashMac, None, "02:00:00:00:00:01", mac.to_vec()),
            (SetKind::HashIpMac, v4, "10.0.0.1,02:00:00:00:00:01", [&ip(1, 1)[..], &mac].concat()),
            (
                SetKind::HashNetNet,
                v4,
                "10.0.0.0/8,10.0.0.1 nomatch",
                [&ip(1, 0)[..], &[5, 0, 3, 0, 8, 0, 0, 0], &[8, 0, 8, 0x40, 0, 0, 0, 4], &ip(20, 1)].concat(),
            ),
            (
                SetKind::HashNetPortNet,
                v4,
                "10.0.0.1,udp:5-6,10.0.0.0/8 timeout 7",
                [
                    &ip(1, 1)[..],
                    &[6, 0, 4, 0x40, 0, 5, 0, 0],
                    &[6, 0, 5, 0x40, 0, 6, 0, 0],
                    &[8, 0, 6, 0x40, 0, 0, 0, 7],
                    &[5, 0, 7, 0, 17, 0, 0, 0],
                    &ip(20, 0),
                    &[5, 0, 21, 0, 8, 0, 0, 0],
                ]
                .concat(),
            ),
        ] {
            assert_eq!(encoded(kind, family, text), bytes, "{text}");
        }
    }

    #[test]
    fn every_part_of_an_entry_comes_back() {
        let (v4, v6) = (Some(Family::Ipv4), Some(Family::Ipv6));
        for (kind, family, text) in [
            (SetKind::HashIpMark, v6, "fd00::1,0x00000010"),
            (SetKind::HashMac, None, "02:00:00:00:00:01"),
            (SetKind::HashNetNet, v4, "10.0.0.0/8,10.0.0.1-10.0.0.9 nomatch"),
            (SetKind::HashNetPortNet, v6, "fd00::/8,ipv6-icmp:echo-request,::/0"),
            (SetKind::HashNetIface, v4, "0.0.0.0/0,physdev:eth0 nomatch wildcard"),
            (SetKind::BitmapIpMac, v4, "10.0.0.1"),
            (SetKind::BitmapPort, None, "80-90"),
            (SetKind::ListSet, None, "other"),
            (
                SetKind::HashIp,
                v4,
                "10.0.0.1 timeout 3 packets 1 bytes 18446744073709551614 comment \"ä b\" skbmark 0x1/0xff skbprio 1:ffff skbqueue 9",
            ),
        ] {
            assert_eq!(decoded(kind, &encoded(kind, family, text)), text);
        }
    }

    fn header(kind: SetKind, family: Option<Family>, options: CreateOptions) -> SetHeader {
        let (name, references, memory) = ("a".to_owned(), 0, 0);
        SetHeader {
            name,
            kind,
            family,
            revision: 7,
            references,
            elements: None,
            memory,
            options,
            index: Some(3),
        }
    }

    fn list_message(header: &SetHeader) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = AttrWriter::new(&mut bytes);
        writer
            .string(attr::SETNAME, &header.name)
            .string(attr::TYPENAME, header.kind.name())
            .u8(attr::FAMILY, if header.family == Some(Family::Ipv6) { NFPROTO_IPV6 } else { NFPROTO_IPV4 })
            .u8(attr::REVISION, header.revision)
            .be16(attr::INDEX, 3)
            .nest(attr::DATA, |inner| encode_create(inner, &header.options));
        writer.finish().expect("short");
        bytes
    }

    #[test]
    fn create_options_come_back() {
        let options = CreateOptions {
            hashsize: Some(64),
            maxelem: Some(9),
            netmask: Some(24),
            bitmask: Some("ffff::".parse().expect("an address")),
            markmask: Some(0xff),
            timeout: Some(5),
            bucketsize: Some(4),
            initval: Some(1),
            range: Some(BitmapRange::Ports(1, 2)),
            size: Some(16),
            counters: true,
            comment: true,
            skbinfo: true,
            forceadd: true,
        };
        let header = header(SetKind::HashNetNet, Some(Family::Ipv6), options);
        let bytes = list_message(&header);
        let message = decode_list(Attrs::new(&bytes)).expect("whole");
        assert_eq!(message.header, Some(Header::Known(Box::new(header))));
    }

    #[test]
    fn what_must_be_there_is_missed() {
        assert_eq!(
            decode_entry(SetKind::HashIpMark, Attrs::new(&encoded(SetKind::HashMac, None, "2:0:0:0:0:1"))),
            Err(Malformed)
        );
        assert_eq!(decode_list(Attrs::new(&[])), Err(Malformed));
        let whole = list_message(&header(SetKind::HashIp, Some(Family::Ipv4), CreateOptions::default()));
        for cut in 1..whole.len() {
            // cut inside the create options, or before them: then nothing says what the set is
            let message = decode_list(Attrs::new(&whole[..cut]));
            assert!(message.is_err() || message.is_ok_and(|message| message.header.is_none()), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            kind in prop::sample::select(SetKind::ALL.to_vec()),
            noise in prop::collection::vec((0u16..32, prop::collection::vec(any::<u8>(), 0..24)), 0..12),
            bytes in prop::collection::vec(any::<u8>(), 0..120),
        ) {
            let mut plausible = Vec::new();
            let mut writer = AttrWriter::new(&mut plausible);
            for (kind, value) in &noise {
                writer.bytes(*kind, value);
            }
            writer.finish().expect("short");
            for bytes in [&plausible, &bytes] {
                let _ = decode_entry(kind, Attrs::new(bytes)).map(|entry| entry.to_string());
                if let Ok(message) = decode_list(Attrs::new(bytes)) {
                    let _ = message.entries.map(|entries| entries.decode(kind, &mut Vec::new()));
                }
            }
        }
    }
}
