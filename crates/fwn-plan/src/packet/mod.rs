//! A packet in words, as people ask about one: `in tcp 10.0.0.9:4000 -> 192.168.124.170:80`. Text comes in, a
//! [`Packet`] that makes sense and its bytes go out. Knows no rules and no kernel.

mod bytes;
mod icmp;
mod parse;

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

pub use bytes::{IDENT, SCTP_TAG, encode_packet};
pub use parse::parse_packet;

/// The interface that a packet goes by, where nobody says which.
pub const DEFAULT_INTERFACE: &str = "eth0";

/// `IPPROTO_ICMP`
pub const ICMP: u8 = 1;
/// `IPPROTO_TCP`
pub const TCP: u8 = 6;
/// `IPPROTO_UDP`
pub const UDP: u8 = 17;
/// `IPPROTO_ICMPV6`
pub const ICMPV6: u8 = 58;
/// `IPPROTO_SCTP`
pub const SCTP: u8 = 132;

/// A packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Which way it goes.
    pub direction: Direction,
    /// Its protocol (`IPPROTO_*`).
    pub protocol: u8,
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes; of the same family.
    pub destination: IpAddr,
    /// Source and destination port, of protocols that have them.
    pub ports: Option<(u16, u16)>,
    /// Type and code, of ICMP and ICMPv6.
    pub icmp: Option<(u8, u8)>,
    /// What connection tracking knows.
    pub state: State,
    /// Of TCP: bits of byte 13 of its header.
    pub tcp_flags: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Length with all headers, where it is stated.
    pub length: Option<u16>,
    /// Mark; 0 is none.
    pub mark: u32,
    /// Ethernet address that it comes from, where it is stated.
    pub mac: Option<[u8; 6]>,
}

/// Which way a packet goes, as its namespace sees it, and by which interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Direction {
    /// It comes in here and is for the namespace itself. `None`: by the interface that has the destination address.
    In(Option<String>),
    /// A process of the namespace sends it. `None`: by the interface that the route takes.
    Out(Option<String>),
    /// It comes in by the first interface and leaves by the second.
    Forward(String, String),
}

/// What connection tracking knows of a packet's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing: it is the first one.
    New,
    /// Packets of it went both ways, and this goes the way of the first.
    Established,
    /// Packets of it went both ways, and this goes against the first.
    Reply,
    /// It is the first one, and belongs to another connection.
    Related,
    /// It cannot belong to anything: its checksum is wrong.
    Invalid,
}

/// What is wrong with the words of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketProblem {
    /// The bytes meant.
    pub span: Range<usize>,
    /// What is wrong with them.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for PacketProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PacketProblem {}

impl Packet {
    /// The address that belongs to the namespace: where it goes to, or is sent from; none when it only passes.
    pub fn local(&self) -> Option<IpAddr> {
        match self.direction {
            Direction::In(_) => Some(self.destination),
            Direction::Out(_) => Some(self.source),
            Direction::Forward(..) => None,
        }
    }

    /// Whether it stays on the loopback interface by its addresses.
    pub fn is_loopback(&self) -> bool {
        self.source.is_loopback() || self.destination.is_loopback()
    }

    /// Whether it is an ICMP or ICMPv6 error, which quotes another packet.
    pub fn is_icmp_error(&self) -> bool {
        match (self.protocol, self.icmp) {
            (ICMP, Some((kind, _))) => matches!(kind, 3 | 4 | 5 | 11 | 12),
            (ICMPV6, Some((kind, _))) => kind < 128,
            _ => false,
        }
    }
}
