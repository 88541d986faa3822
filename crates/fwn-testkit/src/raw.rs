//! Packets that no ordinary socket sends, and what of them arrives: raw sockets in a namespace. The kernel hands a raw
//! socket what has passed INPUT, before it looks at the packet itself; and what OUTPUT drops is an error of `send`.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::sockopt::{Ipv6Ttl, ReceiveTimeout};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, recv, sendto,
    setsockopt, socket,
};
use nix::sys::time::TimeVal;

use crate::Netns;

/// How long to wait for what must arrive.
const PATIENCE: Duration = Duration::from_secs(5);

/// A raw socket.
#[derive(Debug)]
pub struct RawSocket {
    socket: OwnedFd,
    family: AddressFamily,
}

impl RawSocket {
    /// For ICMPv6 messages; the kernel fills in their checksum.
    ///
    /// # Panics
    /// It cannot be opened.
    pub fn icmpv6(netns: &Netns) -> Self {
        Self::open(netns, AddressFamily::Inet6, SockProtocol::IcmpV6)
    }

    /// For SCTP packets over the family of `address`.
    ///
    /// # Panics
    /// It cannot be opened.
    pub fn sctp(netns: &Netns, address: IpAddr) -> Self {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        Self::open(netns, family, SockProtocol::Sctp)
    }

    fn open(netns: &Netns, family: AddressFamily, protocol: SockProtocol) -> Self {
        let socket = netns
            .run(|| socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol))
            .expect("root opens raw sockets");
        let patience = TimeVal::new(PATIENCE.as_secs().cast_signed(), 0);
        setsockopt(&socket, ReceiveTimeout, &patience).expect("a time");
        Self { socket, family }
    }

    /// Sends from this address of an interface of the namespace from now on.
    ///
    /// # Panics
    /// There is no such interface or address.
    #[must_use]
    pub fn bound(self, netns: &Netns, address: Ipv6Addr, interface: &str) -> Self {
        let index = netns.run(|| if_nametoindex(interface)).expect("the interface is there");
        let address = SocketAddr::V6(SocketAddrV6::new(address, 0, 0, index));
        bind(self.socket.as_raw_fd(), &SockaddrStorage::from(address)).expect("the address is there");
        self
    }

    /// Sends with this hop limit (IPv6 only) from now on.
    ///
    /// # Panics
    /// The socket is of IPv4.
    pub fn hop_limit(&self, limit: u8) {
        setsockopt(&self.socket, Ipv6Ttl, &limit.into()).expect("an IPv6 socket");
    }

    /// Sends `payload`; `false` where the namespace's own OUTPUT chain drops it.
    ///
    /// # Panics
    /// It cannot be sent for another reason.
    pub fn send(&self, target: IpAddr, payload: &[u8]) -> bool {
        let target = SockaddrStorage::from(SocketAddr::new(target, 0));
        match sendto(self.socket.as_raw_fd(), payload, &target, MsgFlags::empty()) {
            Ok(_) => true,
            Err(Errno::EPERM) => false,
            Err(error) => panic!("a raw packet cannot be sent: {error}"),
        }
    }

    /// The payload of the next packet of the protocol that arrives.
    ///
    /// # Errors
    /// None comes for seconds.
    pub fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 2048];
        let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        buffer.truncate(length);
        if self.family == AddressFamily::Inet {
            // IPv4 comes with its header, whose length in words is in the lower half of the first byte
            let header = usize::from(buffer.first().copied().unwrap_or_default() & 0xf) * 4;
            buffer.drain(..header.min(length));
        }
        Ok(buffer)
    }
}
