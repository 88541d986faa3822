//! The numbers of ip_set's netlink protocol, from `linux/netfilter/ipset/ip_set.h`, and the start of each message.

use std::fmt;

use crate::netlink::attr::{AttrWriter, TooLong};
use crate::netlink::message::{Messages, nfnl_type};

/// `IPSET_PROTOCOL`: the newest protocol there is.
pub const PROTOCOL: u8 = 7;
/// `IPSET_PROTOCOL_MIN`: the oldest that is spoken here; 7 only adds messages.
pub const PROTOCOL_MIN: u8 = 6;
/// `NFNL_SUBSYS_IPSET` (`linux/netfilter/nfnetlink.h`)
pub const SUBSYSTEM: u8 = 6;

/// `struct nfgenmsg`: `AF_INET`, version 0, no resource; what the family of a set is, an attribute says.
const NFGENMSG: [u8; 4] = [2, 0, 0, 0];

/// `NFPROTO_UNSPEC` (`linux/netfilter.h`)
pub const NFPROTO_UNSPEC: u8 = 0;
/// `NFPROTO_IPV4`
pub const NFPROTO_IPV4: u8 = 2;
/// `NFPROTO_IPV6`
pub const NFPROTO_IPV6: u8 = 10;

/// `enum ipset_cmd`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Command {
    /// `IPSET_CMD_PROTOCOL`
    Protocol = 1,
    /// `IPSET_CMD_CREATE`
    Create = 2,
    /// `IPSET_CMD_DESTROY`
    Destroy = 3,
    /// `IPSET_CMD_FLUSH`
    Flush = 4,
    /// `IPSET_CMD_RENAME`
    Rename = 5,
    /// `IPSET_CMD_SWAP`
    Swap = 6,
    /// `IPSET_CMD_LIST`
    List = 7,
    /// `IPSET_CMD_ADD`
    Add = 9,
    /// `IPSET_CMD_DEL`
    Delete = 10,
    /// `IPSET_CMD_TEST`
    Test = 11,
    /// `IPSET_CMD_HEADER`
    Header = 12,
    /// `IPSET_CMD_TYPE`
    Type = 13,
    /// `IPSET_CMD_GET_BYNAME`
    GetByName = 14,
}

impl fmt::Display for Command {
    /// As a verb, for messages: `create`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protocol => "ask for the protocol of",
            Self::Create => "create",
            Self::Destroy => "destroy",
            Self::Flush => "flush",
            Self::Rename => "rename",
            Self::Swap => "swap",
            Self::List => "list",
            Self::Add => "add to",
            Self::Delete => "delete from",
            Self::Test => "test against",
            Self::Header | Self::GetByName => "find",
            Self::Type => "ask for the type of",
        })
    }
}

/// Attributes of a message.
pub mod attr {
    /// `IPSET_ATTR_PROTOCOL`
    pub const PROTOCOL: u16 = 1;
    /// `IPSET_ATTR_SETNAME`
    pub const SETNAME: u16 = 2;
    /// `IPSET_ATTR_TYPENAME`
    pub const TYPENAME: u16 = 3;
    /// `IPSET_ATTR_SETNAME2`: the other set of a swap, the new name of a rename.
    pub const SETNAME2: u16 = 3;
    /// `IPSET_ATTR_REVISION`
    pub const REVISION: u16 = 4;
    /// `IPSET_ATTR_FAMILY`
    pub const FAMILY: u16 = 5;
    /// `IPSET_ATTR_FLAGS`
    pub const FLAGS: u16 = 6;
    /// `IPSET_ATTR_DATA`: create options, or one entry.
    pub const DATA: u16 = 7;
    /// `IPSET_ATTR_ADT`: many entries.
    pub const ADT: u16 = 8;
    /// `IPSET_ATTR_LINENO`
    pub const LINENO: u16 = 9;
    /// `IPSET_ATTR_PROTOCOL_MIN`
    pub const PROTOCOL_MIN: u16 = 10;
    /// `IPSET_ATTR_REVISION_MIN`
    pub const REVISION_MIN: u16 = 10;
    /// `IPSET_ATTR_INDEX`
    pub const INDEX: u16 = 11;
}

/// Attributes inside `DATA`, of create options and of entries; where one number means two things, the comment of
/// the second tells where.
pub mod data {
    /// `IPSET_ATTR_IP`
    pub const IP: u16 = 1;
    /// `IPSET_ATTR_IP_TO`
    pub const IP_TO: u16 = 2;
    /// `IPSET_ATTR_CIDR`
    pub const CIDR: u16 = 3;
    /// `IPSET_ATTR_PORT`
    pub const PORT: u16 = 4;
    /// `IPSET_ATTR_PORT_TO`
    pub const PORT_TO: u16 = 5;
    /// `IPSET_ATTR_TIMEOUT`
    pub const TIMEOUT: u16 = 6;
    /// `IPSET_ATTR_PROTO`
    pub const PROTO: u16 = 7;
    /// `IPSET_ATTR_CADT_FLAGS`
    pub const CADT_FLAGS: u16 = 8;
    /// `IPSET_ATTR_CADT_LINENO`
    pub const LINENO: u16 = 9;
    /// `IPSET_ATTR_MARK`
    pub const MARK: u16 = 10;
    /// `IPSET_ATTR_MARKMASK`
    pub const MARKMASK: u16 = 11;
    /// `IPSET_ATTR_BITMASK`, since Linux 6.2
    pub const BITMASK: u16 = 12;
    /// `IPSET_ATTR_INITVAL` of create options
    pub const INITVAL: u16 = 17;
    /// `IPSET_ATTR_HASHSIZE`
    pub const HASHSIZE: u16 = 18;
    /// `IPSET_ATTR_MAXELEM`
    pub const MAXELEM: u16 = 19;
    /// `IPSET_ATTR_NETMASK`
    pub const NETMASK: u16 = 20;
    /// `IPSET_ATTR_BUCKETSIZE`
    pub const BUCKETSIZE: u16 = 21;
    /// `IPSET_ATTR_SIZE`
    pub const SIZE: u16 = 23;
    /// `IPSET_ATTR_ELEMENTS`, from the kernel
    pub const ELEMENTS: u16 = 24;
    /// `IPSET_ATTR_REFERENCES`, from the kernel
    pub const REFERENCES: u16 = 25;
    /// `IPSET_ATTR_MEMSIZE`, from the kernel
    pub const MEMSIZE: u16 = 26;
    /// `IPSET_ATTR_ETHER` of entries
    pub const ETHER: u16 = 17;
    /// `IPSET_ATTR_NAME`
    pub const NAME: u16 = 18;
    /// `IPSET_ATTR_NAMEREF`
    pub const NAMEREF: u16 = 19;
    /// `IPSET_ATTR_IP2`
    pub const IP2: u16 = 20;
    /// `IPSET_ATTR_CIDR2`
    pub const CIDR2: u16 = 21;
    /// `IPSET_ATTR_IP2_TO`
    pub const IP2_TO: u16 = 22;
    /// `IPSET_ATTR_IFACE`
    pub const IFACE: u16 = 23;
    /// `IPSET_ATTR_BYTES`
    pub const BYTES: u16 = 24;
    /// `IPSET_ATTR_PACKETS`
    pub const PACKETS: u16 = 25;
    /// `IPSET_ATTR_COMMENT`
    pub const COMMENT: u16 = 26;
    /// `IPSET_ATTR_SKBMARK`
    pub const SKBMARK: u16 = 27;
    /// `IPSET_ATTR_SKBPRIO`
    pub const SKBPRIO: u16 = 28;
    /// `IPSET_ATTR_SKBQUEUE`
    pub const SKBQUEUE: u16 = 29;
    /// `IPSET_ATTR_IPADDR_IPV4` inside an address
    pub const IPADDR_IPV4: u16 = 1;
    /// `IPSET_ATTR_IPADDR_IPV6` inside an address
    pub const IPADDR_IPV6: u16 = 2;
}

/// Bits of `FLAGS` and `CADT_FLAGS`.
pub mod flag {
    /// `IPSET_FLAG_LIST_HEADER`: no entries.
    pub const LIST_HEADER: u32 = 1 << 2;
    /// `IPSET_FLAG_BEFORE` of an entry
    pub const BEFORE: u32 = 1;
    /// `IPSET_FLAG_PHYSDEV`
    pub const PHYSDEV: u32 = 1 << 1;
    /// `IPSET_FLAG_NOMATCH`
    pub const NOMATCH: u32 = 1 << 2;
    /// `IPSET_FLAG_IFACE_WILDCARD`
    pub const WILDCARD: u32 = 1 << 7;
    /// `IPSET_FLAG_WITH_COUNTERS` of create options
    pub const WITH_COUNTERS: u32 = 1 << 3;
    /// `IPSET_FLAG_WITH_COMMENT`
    pub const WITH_COMMENT: u32 = 1 << 4;
    /// `IPSET_FLAG_WITH_FORCEADD`
    pub const WITH_FORCEADD: u32 = 1 << 5;
    /// `IPSET_FLAG_WITH_SKBINFO`
    pub const WITH_SKBINFO: u32 = 1 << 6;
}

/// Appends a message of `command` in `protocol`, with what `fill` writes.
///
/// # Errors
/// An attribute is too long.
pub fn push(
    messages: &mut Messages,
    command: Command,
    flags: u16,
    protocol: u8,
    fill: impl FnOnce(&mut AttrWriter<'_>),
) -> Result<(), TooLong> {
    let kind = nfnl_type(SUBSYSTEM, command as u8);
    let pushed = messages.push(kind, flags, &NFGENMSG, |writer| {
        writer.u8(attr::PROTOCOL, protocol);
        fill(writer);
    });
    pushed.map(drop)
}
