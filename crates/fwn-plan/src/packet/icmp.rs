//! Names of ICMP types (IANA's registries of ICMP and ICMPv6 parameters) that a packet may be described with.

use super::{ICMP, ICMPV6};

const ICMP_TYPES: [(&str, u8, u8); 9] = [
    ("echo-reply", 0, 0),
    ("destination-unreachable", 3, 0),
    ("port-unreachable", 3, 3),
    ("fragmentation-needed", 3, 4),
    ("redirect", 5, 0),
    ("echo-request", 8, 0),
    ("time-exceeded", 11, 0),
    ("parameter-problem", 12, 0),
    ("timestamp-request", 13, 0),
];
const ICMPV6_TYPES: [(&str, u8, u8); 15] = [
    ("destination-unreachable", 1, 0),
    ("port-unreachable", 1, 4),
    ("packet-too-big", 2, 0),
    ("time-exceeded", 3, 0),
    ("parameter-problem", 4, 0),
    ("echo-request", 128, 0),
    ("echo-reply", 129, 0),
    ("router-solicitation", 133, 0),
    ("router-advertisement", 134, 0),
    ("neighbour-solicitation", 135, 0),
    ("neighbor-solicitation", 135, 0),
    ("neighbour-advertisement", 136, 0),
    ("neighbor-advertisement", 136, 0),
    ("redirect", 137, 0),
    ("listener-query", 130, 0),
];

/// The names of the types of a protocol.
pub(super) fn icmp_names(protocol: u8) -> Vec<&'static str> {
    match protocol {
        ICMP => ICMP_TYPES.iter().map(|(name, ..)| *name).collect(),
        ICMPV6 => ICMPV6_TYPES.iter().map(|(name, ..)| *name).collect(),
        _ => Vec::new(),
    }
}

/// Type and code of a name.
pub(super) fn icmp_type(protocol: u8, name: &str) -> Option<(u8, u8)> {
    let types: &[(&str, u8, u8)] = match protocol {
        ICMP => &ICMP_TYPES,
        ICMPV6 => &ICMPV6_TYPES,
        _ => return None,
    };
    types.iter().find(|(known, ..)| *known == name).map(|(_, kind, code)| (*kind, *code))
}
