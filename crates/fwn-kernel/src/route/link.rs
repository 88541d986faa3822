//! Links: look-up, creation (in another namespace from the start), changes, deletion.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::{MacAddress, RouteError, RouteSocket, fixed_header};
use crate::netlink::attr::{AttrWriter, Attrs, Malformed};
use crate::netlink::message::{Message, NLM_F_CREATE, NLM_F_EXCL};

// linux/rtnetlink.h
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
/// `RTEXT_FILTER_SKIP_STATS`: answers without counters are a third as long.
const RTEXT_FILTER_SKIP_STATS: u32 = 8;
/// Size of `struct ifinfomsg`.
const IFINFO: usize = 16;

// linux/if_link.h
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_MACVLAN_MODE: u16 = 1;

/// `VETH_INFO_PEER` (`linux/veth.h`): an `ifinfomsg` and its attributes.
const VETH_INFO_PEER: u16 = 1;

// linux/if.h
const IFF_UP: u32 = 0x1;
const IFF_LOWER_UP: u32 = 0x1_0000;

/// A link as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Kind of a virtual link: `macvtap`, `veth`; a physical one and the loopback have none.
    pub kind: Option<String>,
    /// Mode of a macvtap or macvlan.
    pub mode: Option<MacvlanMode>,
    /// Index of the link that it sits on, or of its veth peer; in the namespace that `lower_netns` says.
    pub lower: Option<u32>,
    /// Number of the namespace that `lower` is in ([`RouteSocket::netnsid`]); `None`: the same as this link.
    pub lower_netns: Option<u32>,
    /// Index of the bridge or bond that it is part of.
    pub master: Option<u32>,
    /// In bytes.
    pub mtu: u32,
    /// Its address, if it is an Ethernet one.
    pub mac: Option<MacAddress>,
    /// Whether it was set up (`IFF_UP`).
    pub up: bool,
    /// Whether it is up and has a carrier (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// A text for people.
    pub alias: Option<String>,
}

/// How macvtaps and macvlans on one link see each other (`enum macvlan_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacvlanMode {
    /// They do not.
    Private,
    /// Over a switch outside that sends back.
    Vepa,
    /// Directly.
    Bridge,
    /// There is one only, and it takes the link over.
    Passthru,
    /// Frames go by a list of source addresses.
    Source,
}

impl MacvlanMode {
    /// All modes.
    pub const ALL: [Self; 5] = [Self::Private, Self::Vepa, Self::Bridge, Self::Passthru, Self::Source];

    /// Its name in `ip` and in CNI.
    pub fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Vepa => "vepa",
            Self::Bridge => "bridge",
            Self::Passthru => "passthru",
            Self::Source => "source",
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::Private => 1,
            Self::Vepa => 2,
            Self::Bridge => 4,
            Self::Passthru => 8,
            Self::Source => 16,
        }
    }
}

/// How a link is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkRef<'a> {
    /// By name.
    Name(&'a str),
    /// By index.
    Index(u32),
}

impl<'a> From<&'a str> for LinkRef<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl From<u32> for LinkRef<'_> {
    fn from(index: u32) -> Self {
        Self::Index(index)
    }
}

impl fmt::Display for LinkRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "`{name}`"),
            Self::Index(index) => write!(f, "number {index}"),
        }
    }
}

/// A link to make, or one end of a pair.
#[derive(Debug, Clone, Copy)]
pub struct LinkEnd<'a> {
    /// Its name.
    pub name: &'a str,
    /// The namespace that it is made in; `None`: that of the socket. It is never elsewhere first: moving costs an
    /// RCU grace period.
    pub netns: Option<BorrowedFd<'a>>,
    /// `None`: the kernel's choice (that of the lower link).
    pub mtu: Option<u32>,
    /// `None`: a random one.
    pub mac: Option<MacAddress>,
}

impl<'a> LinkEnd<'a> {
    /// With this name, everything else as the kernel chooses.
    pub fn new(name: &'a str) -> Self {
        Self { name, netns: None, mtu: None, mac: None }
    }

    /// In this namespace.
    #[must_use]
    pub fn netns(self, netns: &'a impl AsFd) -> Self {
        Self { netns: Some(netns.as_fd()), ..self }
    }
}

/// A change of one property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkChange<'a> {
    /// Set up.
    Up,
    /// Set down.
    Down,
    /// Another MTU, in bytes.
    Mtu(u32),
    /// Another address.
    Mac(MacAddress),
    /// Another name.
    Name(&'a str),
    /// A text for people; empty removes it.
    Alias(&'a str),
}

impl fmt::Display for LinkChange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up => f.write_str("up"),
            Self::Down => f.write_str("down"),
            Self::Mtu(mtu) => write!(f, "MTU to {mtu}"),
            Self::Mac(mac) => write!(f, "MAC address to `{mac}`"),
            Self::Name(name) => write!(f, "name to `{name}`"),
            Self::Alias(alias) => write!(f, "alias to `{alias}`"),
        }
    }
}

impl RouteSocket {
    /// One link, by name or index; `None` if there is no such.
    ///
    /// # Errors
    /// [`RouteError::Request`]
    pub fn link<'a>(&mut self, which: impl Into<LinkRef<'a>>) -> Result<Option<Link>, RouteError> {
        let which = which.into();
        let index = if let LinkRef::Index(index) = which { index } else { 0 };
        let mut found = None;
        let fill = |a: &mut AttrWriter<'_>| {
            if let LinkRef::Name(name) = which {
                a.string(IFLA_IFNAME, name);
            }
            a.ne32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        };
        let action = format!("look up interface {which}");
        match self.ask(&action, RTM_GETLINK, 0, &ifinfo(index, 0, 0), fill, |message| {
            found = decode_link(message)?.or(found.take());
            Ok(())
        }) {
            Ok(()) => Ok(found),
            Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All links.
    ///
    /// # Errors
    /// [`RouteError::Request`]
    pub fn links(&mut self) -> Result<Vec<Link>, RouteError> {
        let fill = |a: &mut AttrWriter<'_>| {
            a.ne32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        };
        self.dump("list interfaces", RTM_GETLINK, &ifinfo(0, 0, 0), fill, |message, all| {
            all.extend(decode_link(message)?);
            Ok(())
        })
    }

    /// Makes a macvtap on `lower`, a link of the socket's namespace.
    ///
    /// Linux before 6.15 looks for the new name in the socket's namespace too, and so answers `EEXIST` where only a
    /// link of *that* namespace has it (`rtnl_newlink`, `net/core/rtnetlink.c`).
    ///
    /// # Errors
    /// [`RouteError::Request`]: `EEXIST`; `EBUSY` or `EINVAL` where the mode does not go with what is on `lower`.
    pub fn add_macvtap(
        &mut self,
        end: &LinkEnd<'_>,
        lower: &Link,
        mode: MacvlanMode,
    ) -> Result<(), RouteError> {
        let action = format!("create macvtap `{}` on `{}`", end.name, lower.name);
        self.create(&action, |a| {
            encode_end(a, end);
            a.ne32(IFLA_LINK, lower.index).nest(IFLA_LINKINFO, |info| {
                info.string(IFLA_INFO_KIND, "macvtap").nest(IFLA_INFO_DATA, |data| {
                    data.ne32(IFLA_MACVLAN_MODE, mode.number());
                });
            });
        })
    }

    /// Makes a pair of veths.
    ///
    /// # Errors
    /// [`RouteError::Request`]: `EEXIST` for either name.
    pub fn add_veth(&mut self, end: &LinkEnd<'_>, peer: &LinkEnd<'_>) -> Result<(), RouteError> {
        let action = format!("create veth `{}` with peer `{}`", end.name, peer.name);
        let mut inner = ifinfo(0, 0, 0).to_vec();
        let mut writer = AttrWriter::new(&mut inner);
        encode_end(&mut writer, peer);
        writer.finish().map_err(|source| RouteError::Encode { action: action.clone(), source })?;
        self.create(&action, |a| {
            encode_end(a, end);
            a.nest(IFLA_LINKINFO, |info| {
                info.string(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |data| {
                    data.bytes(VETH_INFO_PEER, &inner);
                });
            });
        })
    }

    fn create(&mut self, action: &str, fill: impl FnOnce(&mut AttrWriter<'_>)) -> Result<(), RouteError> {
        self.request(action, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifinfo(0, 0, 0), fill)
    }

    /// Changes a link.
    ///
    /// # Errors
    /// [`RouteError::Request`]: `ENODEV` if it is gone.
    pub fn change_link(&mut self, link: &Link, change: LinkChange<'_>) -> Result<(), RouteError> {
        let action = format!("set `{}` {change}", link.name);
        let (flags, mask) = match change {
            LinkChange::Up => (IFF_UP, IFF_UP),
            LinkChange::Down => (0, IFF_UP),
            _ => (0, 0),
        };
        let fill = |a: &mut AttrWriter<'_>| {
            match change {
                LinkChange::Up | LinkChange::Down => a,
                LinkChange::Mtu(mtu) => a.ne32(IFLA_MTU, mtu),
                LinkChange::Mac(mac) => a.bytes(IFLA_ADDRESS, &mac.0),
                LinkChange::Name(name) => a.string(IFLA_IFNAME, name),
                // NLA_STRING: without a NUL, so that an empty one is empty
                LinkChange::Alias(alias) => a.bytes(IFLA_IFALIAS, alias.as_bytes()),
            };
        };
        self.request(&action, RTM_NEWLINK, 0, &ifinfo(link.index, flags, mask), fill)
    }

    /// Deletes a link; of a veth pair, both ends.
    ///
    /// # Errors
    /// [`RouteError::Request`]: `ENODEV` if it is gone.
    pub fn delete_link(&mut self, link: &Link) -> Result<(), RouteError> {
        let action = format!("delete interface `{}`", link.name);
        self.request(&action, RTM_DELLINK, 0, &ifinfo(link.index, 0, 0), |_| ())
    }
}

/// `struct ifinfomsg`: family and type unspecified.
fn ifinfo(index: u32, flags: u32, change: u32) -> [u8; IFINFO] {
    let mut bytes = [0; IFINFO];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..].copy_from_slice(&change.to_ne_bytes());
    bytes
}

fn encode_end(a: &mut AttrWriter<'_>, end: &LinkEnd<'_>) {
    a.string(IFLA_IFNAME, end.name);
    if let Some(netns) = end.netns {
        a.ne32(IFLA_NET_NS_FD, netns.as_raw_fd().cast_unsigned());
    }
    if let Some(mtu) = end.mtu {
        a.ne32(IFLA_MTU, mtu);
    }
    if let Some(mac) = end.mac {
        a.bytes(IFLA_ADDRESS, &mac.0);
    }
}

pub(super) fn decode_link(message: Message<'_>) -> Result<Option<Link>, Malformed> {
    if message.kind != RTM_NEWLINK {
        return Ok(None);
    }
    let [_, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3, ..] = fixed_header::<IFINFO>(&message)?;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let mut link = Link {
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
        name: String::new(),
        kind: None,
        mode: None,
        lower: None,
        lower_netns: None,
        master: None,
        mtu: 0,
        mac: None,
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        alias: None,
    };
    for attr in message.attrs(IFINFO)? {
        let attr = attr?;
        match attr.kind {
            IFLA_ADDRESS => link.mac = attr.array().ok().map(MacAddress),
            IFLA_IFNAME => attr.string()?.clone_into(&mut link.name),
            IFLA_MTU => link.mtu = attr.ne32()?,
            IFLA_LINK => link.lower = Some(attr.ne32()?),
            IFLA_LINK_NETNSID => link.lower_netns = Some(attr.ne32()?),
            IFLA_MASTER => link.master = Some(attr.ne32()?),
            // any bytes may be in it, and nothing depends on it
            IFLA_IFALIAS => {
                link.alias = Some(String::from_utf8_lossy(attr.value).trim_end_matches('\0').to_owned());
            }
            IFLA_LINKINFO => (link.kind, link.mode) = decode_info(attr.nested())?,
            _ => {}
        }
    }
    Ok(Some(link))
}

fn decode_info(info: Attrs<'_>) -> Result<(Option<String>, Option<MacvlanMode>), Malformed> {
    let kind = info.clone().find(IFLA_INFO_KIND)?.map(|attr| attr.string()).transpose()?;
    let mut mode = None;
    if matches!(kind, Some("macvtap" | "macvlan"))
        && let Some(data) = info.find(IFLA_INFO_DATA)?
        && let Some(attr) = data.nested().find(IFLA_MACVLAN_MODE)?
    {
        let number = attr.ne32()?;
        mode = MacvlanMode::ALL.into_iter().find(|mode| mode.number() == number);
    }
    Ok((kind.map(str::to_owned), mode))
}
