//! Names in the port part of an entry: protocols as in `/etc/protocols`, and the types of ICMP and ICMPv6 that
//! ipset has names for. The names printed are those of `ipset save` on a machine with the usual files.

/// `IPPROTO_ICMP` (`linux/in.h`)
pub const ICMP: u8 = 1;
/// `IPPROTO_TCP`
pub const TCP: u8 = 6;
/// `IPPROTO_UDP`
pub const UDP: u8 = 17;
/// `IPPROTO_ICMPV6` (`linux/in6.h`)
pub const ICMPV6: u8 = 58;
/// `IPPROTO_SCTP`
pub const SCTP: u8 = 132;
/// `IPPROTO_UDPLITE`
pub const UDPLITE: u8 = 136;

/// Looks up names of services (`/etc/services`), for the caller that may read files.
pub trait ServiceNames {
    /// The port of service `name` of the protocol with this name, if there is one.
    fn port(&self, name: &str, protocol: &str) -> Option<u16>;
}

/// Knows no service: ports have to be numbers.
#[derive(Debug, Clone, Copy)]
pub struct NumbersOnly;

impl ServiceNames for NumbersOnly {
    fn port(&self, _name: &str, _protocol: &str) -> Option<u16> {
        None
    }
}

/// Number and name, as in Debian's `/etc/protocols`.
const PROTOCOLS: &[(u8, &str)] = &[
    (1, "icmp"),
    (2, "igmp"),
    (3, "ggp"),
    (4, "ipencap"),
    (5, "st"),
    (6, "tcp"),
    (8, "egp"),
    (9, "igp"),
    (12, "pup"),
    (17, "udp"),
    (20, "hmp"),
    (22, "xns-idp"),
    (27, "rdp"),
    (29, "iso-tp4"),
    (33, "dccp"),
    (36, "xtp"),
    (37, "ddp"),
    (38, "idpr-cmtp"),
    (41, "ipv6"),
    (43, "ipv6-route"),
    (44, "ipv6-frag"),
    (45, "idrp"),
    (46, "rsvp"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (57, "skip"),
    (58, "ipv6-icmp"),
    (59, "ipv6-nonxt"),
    (60, "ipv6-opts"),
    (73, "rspf"),
    (81, "vmtp"),
    (88, "eigrp"),
    (89, "ospf"),
    (93, "ax.25"),
    (94, "ipip"),
    (97, "etherip"),
    (98, "encap"),
    (103, "pim"),
    (108, "ipcomp"),
    (112, "vrrp"),
    (115, "l2tp"),
    (124, "isis"),
    (132, "sctp"),
    (133, "fc"),
    (135, "mobility-header"),
    (136, "udplite"),
    (137, "mpls-in-ip"),
    (138, "manet"),
    (139, "hip"),
    (140, "shim6"),
    (141, "wesp"),
    (142, "rohc"),
    (143, "ethernet"),
];

/// Name, type and code; where two names mean the same, the first is printed.
const ICMP_TYPES: &[(&str, u8, u8)] = &[
    ("echo-reply", 0, 0),
    ("pong", 0, 0),
    ("network-unreachable", 3, 0),
    ("host-unreachable", 3, 1),
    ("protocol-unreachable", 3, 2),
    ("port-unreachable", 3, 3),
    ("fragmentation-needed", 3, 4),
    ("source-route-failed", 3, 5),
    ("network-unknown", 3, 6),
    ("host-unknown", 3, 7),
    ("network-prohibited", 3, 9),
    ("host-prohibited", 3, 10),
    ("TOS-network-unreachable", 3, 11),
    ("TOS-host-unreachable", 3, 12),
    ("communication-prohibited", 3, 13),
    ("host-precedence-violation", 3, 14),
    ("precedence-cutoff", 3, 15),
    ("source-quench", 4, 0),
    ("network-redirect", 5, 0),
    ("host-redirect", 5, 1),
    ("TOS-network-redirect", 5, 2),
    ("TOS-host-redirect", 5, 3),
    ("echo-request", 8, 0),
    ("ping", 8, 0),
    ("router-advertisement", 9, 0),
    ("router-solicitation", 10, 0),
    ("ttl-zero-during-transit", 11, 0),
    ("ttl-zero-during-reassembly", 11, 1),
    ("ip-header-bad", 12, 0),
    ("required-option-missing", 12, 1),
    ("timestamp-request", 13, 0),
    ("timestamp-reply", 14, 0),
    ("address-mask-request", 17, 0),
    ("address-mask-reply", 18, 0),
];

/// The same of ICMPv6; `neigbour` is how ipset spelt it once.
const ICMPV6_TYPES: &[(&str, u8, u8)] = &[
    ("no-route", 1, 0),
    ("communication-prohibited", 1, 1),
    ("address-unreachable", 1, 3),
    ("port-unreachable", 1, 4),
    ("packet-too-big", 2, 0),
    ("ttl-zero-during-transit", 3, 0),
    ("ttl-zero-during-reassembly", 3, 1),
    ("bad-header", 4, 0),
    ("unknown-header-type", 4, 1),
    ("unknown-option", 4, 2),
    ("echo-request", 128, 0),
    ("ping", 128, 0),
    ("echo-reply", 129, 0),
    ("pong", 129, 0),
    ("router-solicitation", 133, 0),
    ("router-advertisement", 134, 0),
    ("neighbour-solicitation", 135, 0),
    ("neigbour-solicitation", 135, 0),
    ("neighbour-advertisement", 136, 0),
    ("neigbour-advertisement", 136, 0),
    ("redirect", 137, 0),
];

/// Whether the protocol has ports that can be given as a range.
pub fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | SCTP | UDPLITE)
}

/// The name of a protocol, if it has one.
pub fn protocol_name(number: u8) -> Option<&'static str> {
    PROTOCOLS.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// The number of a protocol by its name; `icmpv6` is known too.
pub fn parse_protocol(name: &str) -> Option<u8> {
    let name = name.to_ascii_lowercase();
    let name = if name == "icmpv6" { "ipv6-icmp" } else { &name };
    PROTOCOLS.iter().find(|(_, known)| *known == name).map(|(number, _)| *number)
}

/// All names of protocols.
pub fn protocol_names() -> impl Iterator<Item = &'static str> {
    PROTOCOLS.iter().map(|(_, name)| *name)
}

/// All names of the types of ICMP or ICMPv6; none for another protocol.
pub fn icmp_names(protocol: u8) -> impl Iterator<Item = &'static str> {
    icmp_table(protocol).iter().map(|(name, ..)| *name)
}

/// Type and code by name, in any case.
pub fn parse_icmp(protocol: u8, name: &str) -> Option<(u8, u8)> {
    let found = icmp_table(protocol).iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
    found.map(|(_, kind, code)| (*kind, *code))
}

/// The name of a type and code, if ipset has one.
pub fn icmp_name(protocol: u8, kind: u8, code: u8) -> Option<&'static str> {
    icmp_table(protocol).iter().find(|entry| (entry.1, entry.2) == (kind, code)).map(|(name, ..)| *name)
}

fn icmp_table(protocol: u8) -> &'static [(&'static str, u8, u8)] {
    match protocol {
        ICMP => ICMP_TYPES,
        ICMPV6 => ICMPV6_TYPES,
        _ => &[],
    }
}
