//! The set types of the kernel as data: what each is called, which families it has, what its entries consist of
//! and which create options it takes, in the order in which `ipset save` prints them.

use std::fmt;

use super::options::CreateKey;
use crate::netfilter::Family;

/// A set type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKind {
    /// `bitmap:ip`
    BitmapIp,
    /// `bitmap:ip,mac`
    BitmapIpMac,
    /// `bitmap:port`
    BitmapPort,
    /// `hash:ip`
    HashIp,
    /// `hash:mac`
    HashMac,
    /// `hash:ip,mac`
    HashIpMac,
    /// `hash:net`
    HashNet,
    /// `hash:net,net`
    HashNetNet,
    /// `hash:ip,port`
    HashIpPort,
    /// `hash:net,port`
    HashNetPort,
    /// `hash:ip,port,ip`
    HashIpPortIp,
    /// `hash:ip,port,net`
    HashIpPortNet,
    /// `hash:ip,mark`
    HashIpMark,
    /// `hash:net,port,net`
    HashNetPortNet,
    /// `hash:net,iface`
    HashNetIface,
    /// `list:set`
    ListSet,
}

/// What one part of an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    /// One address; in IPv4 also a range or a block, which the kernel takes apart into addresses.
    Ip,
    /// One address and nothing else.
    SingleIp,
    /// A block of addresses; in IPv4 also a range, which the kernel takes apart into blocks.
    Net {
        /// Whether a block may be the whole address space (`/0`).
        zero: bool,
    },
    /// `[PROTO:]PORT[-PORT]`, tcp where no protocol is given.
    Port,
    /// `[tcp:|udp:]PORT[-PORT]`, of which only the numbers are kept.
    BarePort,
    /// A hardware address.
    Mac,
    /// A packet mark.
    Mark,
    /// `[physdev:]IFACE`
    Interface,
    /// The name of another set.
    Set,
}

/// Which families a type can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KindFamilies {
    /// None: no addresses in it.
    None,
    /// IPv4 only.
    Ipv4,
    /// Either; IPv4 where nothing is said.
    Both,
}

struct Facts {
    name: &'static str,
    alias: &'static str,
    families: KindFamilies,
    dimensions: &'static [Dimension],
    create: &'static [CreateKey],
}

use CreateKey::{
    Bitmask, Bucketsize, Comment, Counters, Family as FamilyKey, Forceadd, Hashsize, Initval, Markmask,
    Maxelem, Netmask, Range, Size, Skbinfo, Timeout,
};
use Dimension::{BarePort, Interface, Ip, Mac, Mark, Net, Port, SingleIp};

const NET: Dimension = Net { zero: false };

const HASH: &[CreateKey] =
    &[FamilyKey, Hashsize, Maxelem, Timeout, Counters, Comment, Forceadd, Skbinfo, Bucketsize, Initval];

impl SetKind {
    /// All types.
    pub const ALL: [Self; 16] = [
        Self::BitmapIp,
        Self::BitmapIpMac,
        Self::BitmapPort,
        Self::HashIp,
        Self::HashMac,
        Self::HashIpMac,
        Self::HashNet,
        Self::HashNetNet,
        Self::HashIpPort,
        Self::HashNetPort,
        Self::HashIpPortIp,
        Self::HashIpPortNet,
        Self::HashIpMark,
        Self::HashNetPortNet,
        Self::HashNetIface,
        Self::ListSet,
    ];

    fn facts(self) -> Facts {
        let hash = |name, alias, dimensions| Facts {
            name,
            alias,
            families: KindFamilies::Both,
            dimensions,
            create: HASH,
        };
        let bitmap = |name, alias, families, dimensions| Facts {
            name,
            alias,
            families,
            dimensions,
            create: &[Range, Timeout, Counters, Comment, Skbinfo],
        };
        match self {
            Self::BitmapIp => Facts {
                create: &[Range, Netmask, Timeout, Counters, Comment, Skbinfo],
                ..bitmap("bitmap:ip", "ipmap", KindFamilies::Ipv4, &[Ip])
            },
            Self::BitmapIpMac => bitmap("bitmap:ip,mac", "macipmap", KindFamilies::Ipv4, &[SingleIp, Mac]),
            Self::BitmapPort => bitmap("bitmap:port", "portmap", KindFamilies::None, &[BarePort]),
            Self::HashIp => Facts {
                create: &[
                    FamilyKey, Hashsize, Maxelem, Netmask, Bitmask, Timeout, Counters, Comment, Forceadd,
                    Skbinfo, Bucketsize, Initval,
                ],
                ..hash("hash:ip", "iphash", &[Ip])
            },
            Self::HashMac => Facts {
                families: KindFamilies::None,
                create: &[
                    Hashsize, Maxelem, Timeout, Counters, Comment, Forceadd, Skbinfo, Bucketsize, Initval,
                ],
                ..hash("hash:mac", "machash", &[Mac])
            },
            Self::HashIpMac => hash("hash:ip,mac", "ipmachash", &[SingleIp, Mac]),
            Self::HashNet => hash("hash:net", "nethash", &[NET]),
            Self::HashNetNet => Facts {
                create: &[
                    FamilyKey, Hashsize, Maxelem, Timeout, Counters, Comment, Forceadd, Skbinfo, Bucketsize,
                    Initval, Bitmask, Netmask,
                ],
                ..hash("hash:net,net", "netnethash", &[NET, NET])
            },
            Self::HashIpPort => Facts {
                create: &[
                    FamilyKey, Hashsize, Maxelem, Timeout, Counters, Comment, Forceadd, Skbinfo, Bucketsize,
                    Initval, Netmask, Bitmask,
                ],
                ..hash("hash:ip,port", "ipporthash", &[Ip, Port])
            },
            Self::HashNetPort => hash("hash:net,port", "netporthash", &[NET, Port]),
            Self::HashIpPortIp => hash("hash:ip,port,ip", "ipportiphash", &[Ip, Port, SingleIp]),
            Self::HashIpPortNet => hash("hash:ip,port,net", "ipportnethash", &[Ip, Port, NET]),
            Self::HashIpMark => Facts {
                create: &[
                    FamilyKey, Markmask, Hashsize, Maxelem, Timeout, Counters, Comment, Forceadd, Skbinfo,
                    Bucketsize, Initval,
                ],
                ..hash("hash:ip,mark", "ipmarkhash", &[Ip, Mark])
            },
            Self::HashNetPortNet => {
                hash("hash:net,port,net", "netportnethash", &[Net { zero: true }, Port, Net { zero: true }])
            }
            Self::HashNetIface => hash("hash:net,iface", "netifacehash", &[Net { zero: true }, Interface]),
            Self::ListSet => Facts {
                name: "list:set",
                alias: "setlist",
                families: KindFamilies::None,
                dimensions: &[Dimension::Set],
                create: &[Size, Timeout, Counters, Comment, Skbinfo],
            },
        }
    }

    /// The name of the type: `hash:ip,port`.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// Reads a type's name, or the one it had in ipset 4 (`iphash`).
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| {
            let facts = kind.facts();
            facts.name == word || facts.alias == word
        })
    }

    /// Which families it can have.
    pub fn families(self) -> KindFamilies {
        self.facts().families
    }

    /// The family of a set for which none is given.
    pub fn default_family(self) -> Option<Family> {
        match self.families() {
            KindFamilies::None => None,
            KindFamilies::Ipv4 | KindFamilies::Both => Some(Family::Ipv4),
        }
    }

    /// The parts of an entry, in order.
    pub fn dimensions(self) -> &'static [Dimension] {
        self.facts().dimensions
    }

    /// Whether the last part may be left out.
    pub fn last_is_optional(self) -> bool {
        self == Self::BitmapIpMac
    }

    /// The create options that it takes, in the order of `ipset save`.
    pub fn create_keys(self) -> &'static [CreateKey] {
        self.facts().create
    }

    /// Whether an entry of it can be an exception (`nomatch`): all types with a block of addresses.
    pub fn has_nets(self) -> bool {
        self.dimensions().iter().any(|dimension| matches!(dimension, Net { .. }))
    }

    /// Whether its memory is laid out for a fixed range.
    pub fn is_bitmap(self) -> bool {
        matches!(self, Self::BitmapIp | Self::BitmapIpMac | Self::BitmapPort)
    }
}

impl fmt::Display for SetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_and_alias_reads_back() {
        for kind in SetKind::ALL {
            assert_eq!(SetKind::parse(kind.name()), Some(kind));
            assert_eq!(SetKind::parse(kind.facts().alias), Some(kind));
        }
        assert_eq!(SetKind::parse("hash:up"), None);
    }

    #[test]
    fn a_type_with_addresses_has_a_family() {
        for kind in SetKind::ALL {
            let addresses =
                kind.dimensions().iter().any(|dimension| matches!(dimension, Ip | SingleIp | Net { .. }));
            assert_eq!(kind.families() != KindFamilies::None, addresses, "{kind}");
        }
    }
}
