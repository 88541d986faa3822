//! Entries of sets: typed, one element for each dimension of the set's type, and the options behind them; and
//! their text, which is what `ipset save` prints.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::protocol::{self, ICMP, ICMPV6};

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// One for each dimension of the type; one less where the last one is optional and left out.
    pub elements: Vec<Element>,
    /// What follows them.
    pub options: EntryOptions,
}

/// One part of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element {
    /// Addresses of the set's family.
    Address(Addresses),
    /// A port of a protocol.
    Port(Port),
    /// A port by number only, with the last one of a range.
    BarePort(u16, Option<u16>),
    /// A hardware address.
    Mac([u8; 6]),
    /// A packet mark.
    Mark(u32),
    /// A network interface.
    Interface {
        /// Its name.
        name: String,
        /// Whether the bridge port counts, not the bridge (`physdev:`).
        physdev: bool,
    },
    /// Another set.
    Set {
        /// Its name.
        name: String,
        /// Its place in the list; at the end where none is given.
        place: Option<ListPlace>,
    },
}

/// One address or many; which of them are allowed, the type tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// One.
    One(IpAddr),
    /// A block: an address in it, and the prefix length, shorter than the address.
    Block(IpAddr, u8),
    /// From the first to the last.
    Range(IpAddr, IpAddr),
}

/// Protocol and port, or what stands in for a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// The protocol's number.
    pub protocol: u8,
    /// The port; type and code of ICMP and ICMPv6 (`type << 8 | code`); 0 for other protocols.
    pub port: u16,
    /// The last port of a range.
    pub to: Option<u16>,
}

/// The place of a set in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListPlace {
    /// Before this one.
    Before(String),
    /// After this one.
    After(String),
}

/// What can follow the elements. Most need a create option of the set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EntryOptions {
    /// `timeout` in seconds; 0 means for ever.
    pub timeout: Option<u32>,
    /// `packets`
    pub packets: Option<u64>,
    /// `bytes`
    pub bytes: Option<u64>,
    /// `comment`, without quotes; never empty.
    pub comment: Option<String>,
    /// `skbmark`: mark and mask.
    pub skbmark: Option<(u32, u32)>,
    /// `skbprio`: major and minor number of a traffic class.
    pub skbprio: Option<(u16, u16)>,
    /// `skbqueue`
    pub skbqueue: Option<u16>,
    /// `nomatch`: an exception from a wider entry.
    pub nomatch: bool,
    /// `wildcard`: the interface name is a prefix.
    pub wildcard: bool,
}

impl fmt::Display for Entry {
    /// As `ipset save` prints it, without `add SET`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, element) in self.elements.iter().enumerate() {
            if at > 0 {
                f.write_char(',')?;
            }
            write!(f, "{element}")?;
        }
        write!(f, "{}", self.options)
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(addresses) => write!(f, "{addresses}"),
            Self::Port(port) => write!(f, "{port}"),
            Self::BarePort(port, None) => write!(f, "{port}"),
            Self::BarePort(port, Some(to)) => write!(f, "{port}-{to}"),
            Self::Mac(bytes) => {
                for (at, byte) in bytes.iter().enumerate() {
                    let gap = if at > 0 { ":" } else { "" };
                    write!(f, "{gap}{byte:02X}")?;
                }
                Ok(())
            }
            Self::Mark(mark) => write!(f, "0x{mark:08x}"),
            Self::Interface { name, physdev } => {
                f.write_str(if *physdev { "physdev:" } else { "" })?;
                f.write_str(name)
            }
            Self::Set { name, place } => {
                f.write_str(name)?;
                match place {
                    None => Ok(()),
                    Some(ListPlace::Before(other)) => write!(f, " before {other}"),
                    Some(ListPlace::After(other)) => write!(f, " after {other}"),
                }
            }
        }
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::One(address) => f.write_str(&render_address(address)),
            Self::Block(address, prefix) => write!(f, "{}/{prefix}", render_address(address)),
            Self::Range(from, to) => write!(f, "{}-{}", render_address(from), render_address(to)),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match protocol::protocol_name(self.protocol) {
            Some(name) => write!(f, "{name}:")?,
            None => write!(f, "{}:", self.protocol)?,
        }
        if matches!(self.protocol, ICMP | ICMPV6) {
            let [kind, code] = self.port.to_be_bytes();
            return match protocol::icmp_name(self.protocol, kind, code) {
                Some(name) => f.write_str(name),
                None => write!(f, "{kind}/{code}"),
            };
        }
        match self.to {
            None => write!(f, "{}", self.port),
            Some(to) => write!(f, "{}-{to}", self.port),
        }
    }
}

impl fmt::Display for EntryOptions {
    /// With a blank before each, in the order of `ipset save`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(timeout) = self.timeout {
            write!(f, " timeout {timeout}")?;
        }
        if self.nomatch {
            f.write_str(" nomatch")?;
        }
        if self.wildcard {
            f.write_str(" wildcard")?;
        }
        if let Some(packets) = self.packets {
            write!(f, " packets {packets}")?;
        }
        if let Some(bytes) = self.bytes {
            write!(f, " bytes {bytes}")?;
        }
        if let Some(comment) = &self.comment {
            write!(f, " comment \"{comment}\"")?;
        }
        match self.skbmark {
            Some((mark, u32::MAX)) => write!(f, " skbmark 0x{mark:x}")?,
            Some((value, mask)) => write!(f, " skbmark 0x{value:x}/0x{mask:x}")?,
            None => {}
        }
        if let Some((major, minor)) = self.skbprio {
            write!(f, " skbprio {major:x}:{minor:x}")?;
        }
        if let Some(queue) = self.skbqueue {
            write!(f, " skbqueue {queue}")?;
        }
        Ok(())
    }
}

/// An address as the C library prints it: `::a.b.c.d` where only the last 32 bits are set, which Rust would write
/// in hexadecimal.
pub fn render_address(address: IpAddr) -> String {
    if let IpAddr::V6(v6) = address
        && let [0, 0, 0, 0, 0, 0, high, low] = v6.segments()
        && high != 0
    {
        return format!("::{}", Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    }
    match address {
        IpAddr::V6(v6) => Ipv6Addr::to_string(&v6),
        IpAddr::V4(v4) => v4.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_look_as_the_c_library_prints_them() {
        for text in ["::", "::1", "::0.1.0.2", "::ffff:1.2.3.4", "fe80::1:0:0:1", "1:0:0:2::3", "10.0.0.1"] {
            assert_eq!(render_address(text.parse().expect("an address")), text);
        }
    }
}
