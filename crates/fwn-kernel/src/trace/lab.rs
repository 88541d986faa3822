//! A scratch namespace where real packets are sent, and what the kernel tells of their way. Its interfaces are ends of
//! cables whose other ends lie in a second namespace: what is put in there comes in here as from the network. Both are
//! held by descriptors of this process alone, so they are gone when it ends, however it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use fwn_plan::packet::{Direction, Packet, State, encode_packet};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, send, sendto,
    setsockopt, socket, sockopt,
};

use super::event::{TraceEvent, Verdict, decode_trace};
use super::rules::{ChainId, ListedRule, list_rules};
use super::{conntrack, guard};
use crate::netlink::message::nfnl_type;
use crate::netlink::socket::{NetlinkSocket, Protocol, SocketError};
use crate::netns::{NetnsError, TargetNetns};
use crate::nft::constants::{NFNLGRP_NFTRACE, NFT_MSG_TRACE, SUBSYSTEM};
use crate::route::{
    Address, AddressOptions, Existing, IpPrefix, Link, LinkChange, LinkEnd, MacAddress, Route, RouteError,
    RouteSocket,
};
use crate::sys;

/// How long nothing has to come to be the end of a packet that nobody took. The kernel takes microseconds; this is for a
/// machine that is busy with other things.
const SILENCE: Duration = Duration::from_secs(1);
/// Metric of routes that are there so that anything can be sent anywhere.
const LAST_RESORT: u32 = 4_000_000;
/// `ETH_P_IP`, `ETH_P_IPV6` (`linux/if_ether.h`)
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
/// Where packets come from that say nothing else: an address of local administration.
const SENDER: [u8; 6] = [0x02, 0x46, 0x57, 0x4e, 0, 1];

/// Why no packet could be sent, or its way not be told.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// No namespace.
    #[error("cannot make a network namespace (root, CAP_SYS_ADMIN and CONFIG_NET_NS are needed)")]
    Namespace(#[source] io::Error),
    /// A namespace that was just made cannot be used.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// Interfaces, addresses or routes.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// A setting of the namespace.
    #[error("cannot write `{path}`")]
    Setting {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// nf_tables.
    #[error("cannot speak to nf_tables of the scratch namespace")]
    Nft(#[source] SocketError),
    /// Connection tracking.
    #[error(
        "the kernel cannot be told of a connection that the packet is part of (CONFIG_NF_CT_NETLINK, module nf_conntrack_netlink)"
    )]
    Conntrack(#[source] SocketError),
    /// There is no such interface.
    #[error("there is no interface `{name}`; there are {}", known.join(", "))]
    NoInterface {
        /// The name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The packet could not be sent.
    #[error("cannot send the packet")]
    Send(#[source] Errno),
    /// A socket could not be opened or set up.
    #[error("cannot open a socket for raw packets")]
    Socket(#[source] Errno),
    /// The counters of the rules say something else than the trace.
    #[error(
        "trace and counters disagree: rule {position} of chain `{chain}` was matched {traced} times, and counted {counted}"
    )]
    Disagree {
        /// Number of the rule in its chain, from 1.
        position: usize,
        /// The chain.
        chain: String,
        /// Steps of the trace.
        traced: u64,
        /// What the counter moved by.
        counted: u64,
    },
}

/// The way of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journey {
    /// The steps, in order, without those of the guard.
    pub events: Vec<TraceEvent>,
    /// How it ended.
    pub end: End,
}

/// How the way of a packet ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It passed every chain.
    Passed,
    /// A rule or a policy took it.
    Taken,
    /// Something else did: the routing, for one.
    Lost,
}

/// Two namespaces, and what packets are sent with.
#[derive(Debug)]
pub struct Lab {
    inside: TargetNetns,
    wire: TargetNetns,
    /// The paths of the two lead through these.
    held: [File; 2],
    route: RouteSocket,
    wire_route: RouteSocket,
    nft: NetlinkSocket,
    trace: NetlinkSocket,
    cables: BTreeMap<String, Cable>,
    groups: BTreeSet<(IpAddr, String)>,
    /// Sockets that are members of groups.
    members: Vec<UdpSocket>,
    mark: u32,
}

/// An interface inside and what frames are put into its other end with.
#[derive(Debug)]
struct Cable {
    link: Link,
    socket: OwnedFd,
}

impl Lab {
    /// Makes both, with the loopback interface and nothing else. `forwarding`: packets are handed on.
    ///
    /// # Errors
    /// [`LabError`]
    pub fn new(forwarding: bool) -> Result<Self, LabError> {
        let held = [new_netns()?, new_netns()?];
        let [inside, wire] = [TargetNetns::open(&path(&held[0]))?, TargetNetns::open(&path(&held[1]))?];
        inside.run(|| settings(forwarding))??;
        let mut route = RouteSocket::open_in(&inside)?;
        let wire_route = RouteSocket::open_in(&wire)?;
        let open = || {
            let nft = NetlinkSocket::open(Protocol::Netfilter)?;
            let trace = NetlinkSocket::listen(Protocol::Netfilter, NFNLGRP_NFTRACE)?;
            Ok::<_, SocketError>((nft, trace))
        };
        let (mut nft, trace) = inside.run(open)?.map_err(LabError::Nft)?;
        guard::install(&mut nft, 0, false).map_err(LabError::Nft)?;
        let link = find(&mut route, "lo")?;
        route.change_link(&link, LinkChange::Up)?;
        let socket = inside.run(|| packet_socket(&link))?.map_err(LabError::Socket)?;
        let cables = BTreeMap::from([("lo".to_owned(), Cable { link, socket })]);
        Ok(Self {
            inside,
            wire,
            held,
            route,
            wire_route,
            nft,
            trace,
            cables,
            groups: BTreeSet::new(),
            members: Vec::new(),
            mark: 0,
        })
    }

    /// A path to the namespace, valid in this process as long as `self` lives.
    pub fn path(&self) -> PathBuf {
        path(&self.held[0])
    }

    /// The namespace.
    pub fn netns(&self) -> &TargetNetns {
        &self.inside
    }

    /// Makes an interface of this name, unless it is there, and a way through it to anywhere.
    ///
    /// # Errors
    /// [`LabError::Route`]
    pub fn add_interface(&mut self, name: &str) -> Result<(), LabError> {
        if self.cables.contains_key(name) {
            return Ok(());
        }
        self.add_cable(name, None)?;
        let link = find(&mut self.route, name)?;
        let priority = LAST_RESORT + self.cables.len() as u32;
        for any in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            let Ok(anywhere) = IpPrefix::new(any, 0) else { continue };
            let route = Route { priority: Some(priority), ..Route::to(anywhere).dev(&link) };
            self.try_ipv6(any, |lab| lab.route.add_route(&route, Existing::Refuse))?;
        }
        Ok(())
    }

    /// Makes an interface of this name, with an Ethernet address of its own or this one.
    ///
    /// # Errors
    /// [`LabError::Route`]
    pub(super) fn add_cable(&mut self, name: &str, mac: Option<MacAddress>) -> Result<(), LabError> {
        let peer = format!("w{}", self.cables.len());
        let end = LinkEnd { mac, ..LinkEnd::new(name) };
        self.route.add_veth(&end, &LinkEnd::new(&peer).netns(&self.wire))?;
        let link = find(&mut self.route, name)?;
        let other = find(&mut self.wire_route, &peer)?;
        self.route.change_link(&link, LinkChange::Up)?;
        self.wire_route.change_link(&other, LinkChange::Up)?;
        let socket = self.wire.run(|| packet_socket(&other))?.map_err(LabError::Socket)?;
        self.cables.insert(name.to_owned(), Cable { link, socket });
        Ok(())
    }

    /// Gives an interface an address.
    ///
    /// # Errors
    /// [`LabError`]
    pub(super) fn add_address(&mut self, name: &str, address: &Address) -> Result<(), LabError> {
        let link = self.link(name)?.clone();
        let options = AddressOptions { nodad: true, noprefixroute: true };
        let local = address.prefix.address();
        for result in [
            self.route.add_address(&link, address.prefix, options),
            // that of IPv4 has brought it along
            if local.is_ipv6() { self.route.add_local(&link, local) } else { Ok(()) },
        ] {
            match result {
                Err(error) if error.is_exists() => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// Adds a route by an interface; one that is there or cannot be made here is left out.
    pub(super) fn add_route(&mut self, name: &str, route: &Route) -> Result<(), LabError> {
        let link = self.link(name)?.clone();
        let route = Route { device: Some(link.index), ..route.clone() };
        if let Err(error) = self.route.add_route(&route, Existing::Beside) {
            log::debug!("route `{route}` is not copied: {error}");
        }
        Ok(())
    }

    fn link(&self, name: &str) -> Result<&Link, LabError> {
        Ok(&self.cable(name)?.link)
    }

    fn cable(&self, name: &str) -> Result<&Cable, LabError> {
        self.cables.get(name).ok_or_else(|| LabError::NoInterface {
            name: name.to_owned(),
            known: self.cables.keys().map(|known| format!("`{known}`")).collect(),
        })
    }

    /// What is done for IPv6 does not have to work where the kernel has none.
    fn try_ipv6(
        &mut self,
        address: IpAddr,
        work: impl FnOnce(&mut Self) -> Result<(), RouteError>,
    ) -> Result<(), LabError> {
        match work(self) {
            Err(error) if address.is_ipv6() => {
                log::debug!("{error}");
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// The rules of the namespace by chain, in order.
    ///
    /// # Errors
    /// [`LabError::Nft`]
    pub fn rules(&mut self) -> Result<BTreeMap<ChainId, Vec<ListedRule>>, LabError> {
        let mut rules = list_rules(&mut self.nft).map_err(LabError::Nft)?;
        rules.retain(|(_, table, _), _| table != guard::TABLE);
        Ok(rules)
    }

    pub(super) fn nft(&mut self) -> &mut NetlinkSocket {
        &mut self.nft
    }

    /// Sends a packet of a namespace that has only the addresses that packets need: the one that it goes to, or comes
    /// from, is there for its time. `interface` is the one that it goes by where it does not say.
    ///
    /// # Errors
    /// [`LabError`]
    pub fn send_alone(&mut self, packet: &Packet, interface: &str) -> Result<Journey, LabError> {
        let name = match &packet.direction {
            Direction::In(name) | Direction::Out(name) => name.as_deref().unwrap_or(interface).to_owned(),
            Direction::Forward(from, _) => from.clone(),
        };
        let local = packet.local().filter(|address| {
            !address.is_loopback()
                && !address.is_multicast()
                && !address.is_unspecified()
                && *address != IpAddr::V4(Ipv4Addr::BROADCAST)
        });
        if let Some(address) = local {
            let link = self.link(&name)?.clone();
            self.route.add_local(&link, address)?;
        }
        if let Direction::Forward(_, to) = &packet.direction {
            self.route_through(to, packet.destination)?;
        }
        let out = matches!(&packet.direction, Direction::Out(None)) && !packet.is_loopback();
        let by = match packet.direction {
            Direction::In(None) => Direction::In(Some(name.clone())),
            ref stated => stated.clone(),
        };
        let packet = &Packet { direction: by, ..packet.clone() };
        let journey = self.send(packet, out.then_some(name.as_str()));
        if let Some(address) = local {
            let link = self.link(&name)?.clone();
            self.route.delete_local(&link, address)?;
        }
        journey
    }

    /// From now on packets for this address leave by this interface.
    ///
    /// # Errors
    /// [`LabError`]
    pub fn route_through(&mut self, name: &str, destination: IpAddr) -> Result<(), LabError> {
        let link = self.link(name)?.clone();
        let route = Route::to(IpPrefix::host(destination)).dev(&link);
        Ok(self.route.add_route(&route, Existing::Replace)?)
    }

    /// Sends a packet. `out_by`: a packet that goes out does so by this interface, whatever the routes say.
    ///
    /// # Errors
    /// [`LabError`]
    pub fn send(&mut self, packet: &Packet, out_by: Option<&str>) -> Result<Journey, LabError> {
        if packet.mark != self.mark {
            guard::install(&mut self.nft, packet.mark, true).map_err(LabError::Nft)?;
            self.mark = packet.mark;
        }
        match conntrack::forget(&mut self.nft) {
            Err(error) if packet.state != State::New && packet.state != State::Invalid => {
                return Err(LabError::Conntrack(error));
            }
            // without connection tracking nothing is known anyway
            _ => {}
        }
        conntrack::make_known(&mut self.nft, packet).map_err(LabError::Conntrack)?;
        let bytes = encode_packet(packet);
        self.drain()?;
        match &packet.direction {
            Direction::Out(on) => {
                let by = on.as_deref().filter(|name| *name != "lo").or(out_by).map(str::to_owned);
                self.send_out(packet, by.as_deref(), &bytes)?;
            }
            direction => {
                let name = direction.interface().to_owned();
                self.join(packet.destination, &name)?;
                self.put_in(packet, &name, &bytes)?;
            }
        }
        self.follow()
    }

    /// As the network card would: an Ethernet frame.
    fn put_in(&mut self, packet: &Packet, name: &str, bytes: &[u8]) -> Result<(), LabError> {
        let cable = self.cable(name)?;
        let mut frame = Vec::with_capacity(14 + bytes.len());
        if name == "lo" {
            frame.extend([0; 12]);
        } else {
            let own = cable.link.mac.map_or(SENDER, |mac| mac.0);
            frame.extend(frame_address(packet.destination).unwrap_or(own));
            frame.extend(packet.mac.unwrap_or(SENDER));
        }
        let kind = if packet.source.is_ipv4() { ETH_P_IP } else { ETH_P_IPV6 };
        frame.extend(kind.to_be_bytes());
        frame.extend(bytes);
        send(cable.socket.as_raw_fd(), &frame, MsgFlags::empty()).map_err(LabError::Send)?;
        Ok(())
    }

    /// As a process would that writes its own headers.
    fn send_out(&mut self, packet: &Packet, by: Option<&str>, bytes: &[u8]) -> Result<(), LabError> {
        let ipv4 = packet.source.is_ipv4();
        let scope = match by {
            Some(name) => self.link(name)?.index,
            None => 0,
        };
        let family = if ipv4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let open = || {
            // IPPROTO_RAW: the header is in the data
            let raw = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
            if ipv4 {
                setsockopt(&raw, sockopt::Broadcast, &true)?;
            }
            if let Some(name) = by {
                setsockopt(&raw, sockopt::BindToDevice, &name.into())?;
            }
            // a new interface may have no address yet that the kernel could choose, and it chooses although the header says
            if let IpAddr::V6(source) = packet.source
                && !source.is_unspecified()
            {
                let own = SocketAddr::V6(SocketAddrV6::new(source, 0, 0, scope));
                bind(raw.as_raw_fd(), &SockaddrStorage::from(own))?;
            }
            Ok(raw)
        };
        let raw = self.inside.run(open)?.map_err(LabError::Socket)?;
        let target = match packet.destination {
            IpAddr::V4(address) => SocketAddr::from((address, 0)),
            IpAddr::V6(address) => SocketAddrV6::new(address, 0, 0, scope).into(),
        };
        let sent = sendto(raw.as_raw_fd(), bytes, &SockaddrStorage::from(target), MsgFlags::empty());
        match sent {
            // what a chain drops is not permitted (`ip_local_out`)
            Ok(_) | Err(Errno::EPERM) => Ok(()),
            Err(errno) => Err(LabError::Send(errno)),
        }
    }

    /// What goes to a group comes in only where somebody listens.
    fn join(&mut self, group: IpAddr, name: &str) -> Result<(), LabError> {
        if !group.is_multicast() || !self.groups.insert((group, name.to_owned())) {
            return Ok(());
        }
        let index = self.link(name)?.index;
        let listen = || -> io::Result<UdpSocket> {
            match group {
                IpAddr::V4(group) => {
                    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
                    sys::join_group(&socket, group, index)?;
                    Ok(socket)
                }
                IpAddr::V6(group) => {
                    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
                    socket.join_multicast_v6(&group, index)?;
                    Ok(socket)
                }
            }
        };
        match self.inside.run(listen)? {
            Ok(socket) => self.members.push(socket),
            // it is a member already: every node is of some
            Err(error) => log::debug!("group {group}: {error}"),
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), LabError> {
        self.trace.read_events(Duration::ZERO, |_| Ok(())).map(drop).map_err(LabError::Nft)
    }

    /// Reads what the kernel tells until the packet has come to an end.
    fn follow(&mut self) -> Result<Journey, LabError> {
        let mut events = Vec::new();
        let mut end = None;
        loop {
            let heard = self
                .trace
                .read_events(SILENCE, |message| {
                    if message.kind == nfnl_type(SUBSYSTEM, NFT_MSG_TRACE) {
                        let Some(event) = decode_trace(&message)? else { return Ok(()) };
                        if event.table == guard::TABLE {
                            if guard::is_last(&event.chain) {
                                end = Some(End::Passed);
                            }
                            return Ok(());
                        }
                        if matches!(event.verdict, Verdict::Drop | Verdict::Other(_)) {
                            end = Some(End::Taken);
                        }
                        events.push(event);
                    }
                    Ok(())
                })
                .map_err(LabError::Nft)?;
            match (end, heard) {
                (Some(end), _) => return Ok(Journey { events, end }),
                (None, true) => {}
                (None, false) => return Ok(Journey { events, end: End::Lost }),
            }
        }
    }
}

/// Ethernet addresses of broadcasts and groups.
fn frame_address(destination: IpAddr) -> Option<[u8; 6]> {
    match destination {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some([0xff; 6]),
        IpAddr::V4(group) if group.is_multicast() => {
            let [_, b, c, d] = group.octets();
            Some([0x01, 0x00, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(group) if group.is_multicast() => {
            let [.., a, b, c, d] = group.octets();
            Some([0x33, 0x33, a, b, c, d])
        }
        _ => None,
    }
}

/// A fresh network namespace, held by its descriptor.
fn new_netns() -> Result<File, LabError> {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        // `/proc/self` would be the main thread's
        File::open("/proc/thread-self/ns/net")
    };
    // on a thread that ends with it: this one stays where it is
    let made = std::thread::scope(|scope| scope.spawn(inside).join());
    made.unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(LabError::Namespace)
}

fn path(file: &File) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
}

/// Packets are judged by rules, not by where they could come from; and the namespace says nothing by itself.
fn settings(forwarding: bool) -> Result<(), LabError> {
    let on = if forwarding { "1" } else { "0" };
    let ipv4 = [
        ("conf/all/rp_filter", "0"),
        ("conf/default/rp_filter", "0"),
        ("conf/lo/accept_local", "1"),
        ("conf/lo/route_localnet", "1"),
        ("ip_forward", on),
    ];
    let ipv6 = [
        ("conf/all/disable_ipv6", "0"),
        ("conf/default/disable_ipv6", "0"),
        ("conf/default/accept_dad", "0"),
        ("conf/default/accept_ra", "0"),
        ("conf/all/forwarding", on),
        ("ip_nonlocal_bind", "1"),
    ];
    for (name, value) in ipv4 {
        let path = format!("/proc/sys/net/ipv4/{name}");
        std::fs::write(&path, value).map_err(|source| LabError::Setting { path, source })?;
    }
    for (name, value) in ipv6 {
        // a kernel without IPv6 has none of them
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/{name}"), value);
    }
    Ok(())
}

fn packet_socket(link: &Link) -> Result<OwnedFd, Errno> {
    let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    sys::bind_packet(&fd, link.index)?;
    // a queue would wait until the link is known to be up
    sys::bypass_queue(&fd)?;
    Ok(fd)
}

fn find(socket: &mut RouteSocket, name: &str) -> Result<Link, LabError> {
    socket.link(name)?.ok_or_else(|| LabError::NoInterface { name: name.to_owned(), known: Vec::new() })
}
