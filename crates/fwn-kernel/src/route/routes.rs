//! Routes, and the question that plugins ask of them: which device leads out.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::errno::Errno;

use super::address::{decode_ip, encode_ip};
use super::{AF_INET, AF_INET6, IpPrefix, Link, RouteError, RouteSocket, fixed_header};
use crate::netlink::attr::{Attr, AttrWriter, Attrs, Malformed};
use crate::netlink::message::{Message, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};

// linux/rtnetlink.h
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
/// Size of `struct rtmsg`.
const RTMSG: usize = 12;
/// Size of `struct rtnexthop`.
const NEXTHOP: usize = 8;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTAX_MTU: u16 = 2;
const RTAX_ADVMSS: u16 = 8;
/// What `ip route` and the CNI plugins write.
const RTPROT_BOOT: u8 = 3;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const RTM_F_CLONED: u32 = 0x200;
const RTNH_F_ONLINK: u32 = 4;
const RT_TABLE_MAIN: u32 = 254;
const RT_TABLE_LOCAL: u32 = 255;

/// How far away the destination is (`enum rt_scope_t`); other numbers are an administrator's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope(pub u8);

impl Scope {
    /// Anywhere: through a gateway.
    pub const GLOBAL: Self = Self(0);
    /// On the link itself.
    pub const LINK: Self = Self(253);
    /// On this host.
    pub const HOST: Self = Self(254);
}

/// A unicast route, to be added or as listed; one of several hops is listed as several routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it leads; host bits are cleared when it is added.
    pub destination: IpPrefix,
    /// Through whom; may be of the other family.
    pub gateway: Option<IpAddr>,
    /// Index of the link that it leaves by.
    pub device: Option<u32>,
    /// The gateway is on the link, whatever the addresses say.
    pub onlink: bool,
    /// `None`: link without a gateway, global with one. IPv6 has none: always global.
    pub scope: Option<Scope>,
    /// Metric: smaller wins. `None`: 0 for IPv4, 1024 for IPv6.
    pub priority: Option<u32>,
    /// `None`: the main table, 254.
    pub table: Option<u32>,
    /// The address that packets leave with.
    pub source: Option<IpAddr>,
    /// Largest packet on the way, in bytes.
    pub mtu: Option<u32>,
    /// Segment size to announce to TCP peers, in bytes.
    pub advmss: Option<u32>,
    /// Who made it (`RTPROT_*`): 2 kernel, 3 an administrator, 4 static, 9 router advertisement. Not used in adding.
    pub protocol: u8,
}

impl Route {
    /// To a destination, everything else open.
    pub fn to(destination: IpPrefix) -> Self {
        Self {
            destination,
            gateway: None,
            device: None,
            onlink: false,
            scope: None,
            priority: None,
            table: None,
            source: None,
            mtu: None,
            advmss: None,
            protocol: RTPROT_BOOT,
        }
    }

    /// Leaving by this link.
    #[must_use]
    pub fn dev(self, link: &Link) -> Self {
        Self { device: Some(link.index), ..self }
    }

    /// Through this gateway.
    #[must_use]
    pub fn via(self, gateway: IpAddr) -> Self {
        Self { gateway: Some(gateway), ..self }
    }
}

impl fmt::Display for Route {
    /// As `ip route` has it, without the device, whose name is not known here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(priority) = self.priority {
            write!(f, " metric {priority}")?;
        }
        if let Some(table) = self.table.filter(|table| *table != RT_TABLE_MAIN) {
            write!(f, " table {table}")?;
        }
        Ok(())
    }
}

/// What becomes of a route to the same destination, with the same metric, in the same table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the new one is an error (`ip route add`).
    Refuse,
    /// It stays beside the new one; the same gateway and device is an error. IPv6 makes one route of both.
    Beside,
    /// It goes (`ip route replace`).
    Replace,
}

impl RouteSocket {
    /// Adds a route.
    ///
    /// # Errors
    /// [`RouteError::Request`]: `EEXIST`; `ENETUNREACH` where the gateway is not on a link.
    pub fn add_route(&mut self, route: &Route, existing: Existing) -> Result<(), RouteError> {
        let flags = NLM_F_CREATE
            | match existing {
                Existing::Refuse => NLM_F_EXCL,
                Existing::Beside => 0,
                Existing::Replace => NLM_F_REPLACE,
            };
        let scope = match (route.destination.address(), route.scope) {
            (IpAddr::V4(_), Some(scope)) => scope,
            (IpAddr::V4(_), None) if route.gateway.is_none() => Scope::LINK,
            (IpAddr::V6(_), _) | (IpAddr::V4(_), None) => Scope::GLOBAL,
        };
        let header = rtmsg(route, scope);
        let action = format!("add route `{route}`");
        self.request(&action, RTM_NEWROUTE, flags, &header, |a| encode_route(a, route))
    }

    /// From now on packets for this address are for the namespace itself, at once: the route that an IPv6 address brings
    /// along is made some time after it (`addrconf_dad_work`, `net/ipv6/addrconf.c`).
    ///
    /// # Errors
    /// [`RouteError::Request`]: `EEXIST` if there is such a route.
    pub fn add_local(&mut self, link: &Link, address: IpAddr) -> Result<(), RouteError> {
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.local(&format!("make `{address}` local on `{}`", link.name), RTM_NEWROUTE, flags, link, address)
    }

    /// Takes back [`RouteSocket::add_local`].
    ///
    /// # Errors
    /// [`RouteError::Request`]: `ESRCH` if there is no such route.
    pub fn delete_local(&mut self, link: &Link, address: IpAddr) -> Result<(), RouteError> {
        self.local(&format!("unmake `{address}` local on `{}`", link.name), RTM_DELROUTE, 0, link, address)
    }

    fn local(
        &mut self,
        action: &str,
        kind: u16,
        flags: u16,
        link: &Link,
        address: IpAddr,
    ) -> Result<(), RouteError> {
        let route = Route { table: Some(RT_TABLE_LOCAL), ..Route::to(IpPrefix::host(address)).dev(link) };
        let mut header = rtmsg(&route, Scope::HOST);
        header[7] = RTN_LOCAL;
        self.request(action, kind, flags, &header, |a| encode_route(a, &route))
    }

    /// All unicast routes of all tables, in the kernel's order: IPv4 first.
    ///
    /// # Errors
    /// [`RouteError::Request`]
    pub fn routes(&mut self) -> Result<Vec<Route>, RouteError> {
        let mut all = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let mut header = [0; RTMSG];
            header[0] = family;
            all.extend(self.dump("list routes", RTM_GETROUTE, &header, |_| (), decode_routes)?);
        }
        Ok(all)
    }

    /// Whether the namespace itself has this address: packets to it go nowhere else. The whole of 127.0.0.0/8 is its
    /// own, and what a local route says; of a link-local address the link is not asked.
    ///
    /// # Errors
    /// [`RouteError::Request`]
    pub fn is_own(&mut self, address: IpAddr) -> Result<bool, RouteError> {
        // also what no route leads to, such as an address of an interface that is down
        if address.is_loopback() || self.addresses(None)?.iter().any(|own| own.prefix.address() == address) {
            return Ok(true);
        }
        let (family, length) = if address.is_ipv4() { (AF_INET, 32) } else { (AF_INET6, 128) };
        let header: [u8; RTMSG] = [family, length, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let action = format!("look up the route to `{address}`");
        let mut kind = None;
        let fill = |a: &mut AttrWriter<'_>| encode_ip(a, RTA_DST, address);
        let asked = self.ask(&action, RTM_GETROUTE, 0, &header, fill, |message| {
            if message.kind == RTM_NEWROUTE {
                kind = Some(fixed_header::<RTMSG>(&message)?[7]);
            }
            Ok(())
        });
        match asked {
            Ok(()) => Ok(kind == Some(RTN_LOCAL)),
            // no route, or one that says no; EINVAL is what a blackhole answers (`fib_props`, net/ipv4/fib_semantics.c)
            Err(error) => match error.errno() {
                Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL) => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// The link of the default route in the main table: of IPv4 if there is one, else of IPv6; the smallest metric
    /// wins, then the first.
    ///
    /// # Errors
    /// [`RouteError::Request`]
    pub fn default_route_link(&mut self) -> Result<Option<Link>, RouteError> {
        let best = self
            .routes()?
            .into_iter()
            .filter(|route| route.destination.is_default() && route.table == Some(RT_TABLE_MAIN))
            .filter_map(|route| {
                Some((route.destination.address().is_ipv6(), route.priority.unwrap_or(0), route.device?))
            })
            .min_by_key(|(ipv6, priority, _)| (*ipv6, *priority));
        match best {
            Some((_, _, index)) => self.link(index),
            None => Ok(None),
        }
    }
}

/// `struct rtmsg`; the table is in an attribute, as its number may not fit.
fn rtmsg(route: &Route, scope: Scope) -> [u8; RTMSG] {
    let family = if route.destination.address().is_ipv4() { AF_INET } else { AF_INET6 };
    let flags = if route.onlink { RTNH_F_ONLINK } else { 0 };
    let [f0, f1, f2, f3] = flags.to_ne_bytes();
    [family, route.destination.length(), 0, 0, 0, RTPROT_BOOT, scope.0, RTN_UNICAST, f0, f1, f2, f3]
}

fn encode_route(a: &mut AttrWriter<'_>, route: &Route) {
    let destination = route.destination.network();
    if !destination.is_default() {
        encode_ip(a, RTA_DST, destination.address());
    }
    match route.gateway {
        Some(gateway) if gateway.is_ipv4() == destination.address().is_ipv4() => {
            encode_ip(a, RTA_GATEWAY, gateway);
        }
        Some(gateway) => encode_via(a, gateway),
        None => {}
    }
    if let Some(device) = route.device {
        a.ne32(RTA_OIF, device);
    }
    if let Some(priority) = route.priority {
        a.ne32(RTA_PRIORITY, priority);
    }
    if let Some(source) = route.source {
        encode_ip(a, RTA_PREFSRC, source);
    }
    a.ne32(RTA_TABLE, route.table.unwrap_or(RT_TABLE_MAIN));
    if route.mtu.is_some() || route.advmss.is_some() {
        a.nest(RTA_METRICS, |metrics| {
            if let Some(mtu) = route.mtu {
                metrics.ne32(RTAX_MTU, mtu);
            }
            if let Some(advmss) = route.advmss {
                metrics.ne32(RTAX_ADVMSS, advmss);
            }
        });
    }
}

/// `struct rtvia`: a family and an address of that family.
fn encode_via(a: &mut AttrWriter<'_>, gateway: IpAddr) {
    let (family, octets) = match gateway {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    };
    let mut via = u16::from(family).to_ne_bytes().to_vec();
    via.extend(octets);
    a.bytes(RTA_VIA, &via);
}

fn decode_via(attr: &Attr<'_>) -> Result<IpAddr, Malformed> {
    let address = attr.value.get(2..).ok_or(Malformed)?;
    decode_ip(&Attr { kind: attr.kind, value: address })
}

pub(super) fn decode_routes(message: Message<'_>, all: &mut Vec<Route>) -> Result<(), Malformed> {
    if message.kind != RTM_NEWROUTE {
        return Ok(());
    }
    let [family, length, _, _, table, protocol, scope, kind, f0, f1, f2, f3] =
        fixed_header::<RTMSG>(&message)?;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    if kind != RTN_UNICAST || flags & RTM_F_CLONED != 0 || !matches!(family, AF_INET | AF_INET6) {
        return Ok(());
    }
    let unspecified =
        if family == AF_INET { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let attrs = message.attrs(RTMSG)?;
    let destination = attrs.clone().find(RTA_DST)?.map_or(Ok(unspecified), |attr| decode_ip(&attr))?;
    let mut route = Route {
        onlink: flags & RTNH_F_ONLINK != 0,
        scope: Some(Scope(scope)),
        table: Some(u32::from(table)),
        protocol,
        ..Route::to(IpPrefix::new(destination, length).map_err(|_| Malformed)?)
    };
    let mut hops = None;
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            RTA_PRIORITY => route.priority = Some(attr.ne32()?),
            RTA_PREFSRC => route.source = Some(decode_ip(&attr)?),
            RTA_TABLE => route.table = Some(attr.ne32()?),
            RTA_MULTIPATH => hops = Some(attr.value),
            RTA_METRICS => {
                for metric in attr.nested() {
                    let metric = metric?;
                    match metric.kind {
                        RTAX_MTU => route.mtu = Some(metric.ne32()?),
                        RTAX_ADVMSS => route.advmss = Some(metric.ne32()?),
                        _ => {}
                    }
                }
            }
            _ => decode_hop_attr(&mut route, &attr)?,
        }
    }
    let Some(mut hops) = hops else {
        all.push(route);
        return Ok(());
    };
    while let Some(header) = hops.first_chunk::<NEXTHOP>() {
        let [l0, l1, flags, _, i0, i1, i2, i3] = *header;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let mut hop = Route {
            device: Some(u32::from_ne_bytes([i0, i1, i2, i3])),
            onlink: u32::from(flags) & RTNH_F_ONLINK != 0,
            ..route.clone()
        };
        for attr in Attrs::new(hops.get(NEXTHOP..length).ok_or(Malformed)?) {
            decode_hop_attr(&mut hop, &attr?)?;
        }
        all.push(hop);
        hops = hops.get(crate::netlink::attr::align(length)..).unwrap_or_default();
    }
    Ok(())
}

/// What a route has once, or each of its hops.
fn decode_hop_attr(route: &mut Route, attr: &Attr<'_>) -> Result<(), Malformed> {
    match attr.kind {
        RTA_OIF => route.device = Some(attr.ne32()?),
        RTA_GATEWAY => route.gateway = Some(decode_ip(attr)?),
        RTA_VIA => route.gateway = Some(decode_via(attr)?),
        _ => {}
    }
    Ok(())
}
