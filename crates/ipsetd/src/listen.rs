//! A listening socket for both families in the namespace of the calling thread.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{Ipv6V6Only, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
};

/// Why nobody can connect.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another program has the port.
    #[error("port {0} is taken in this network namespace; hint: choose another by IPSET_PORT")]
    Taken(u16),
    /// Something else.
    #[error("cannot listen on port {port}")]
    Socket {
        /// The port.
        port: u16,
        /// Why.
        source: Errno,
    },
}

/// Listens on `port` of all addresses: of IPv6 and IPv4, or of IPv4 where the kernel has no IPv6.
///
/// # Errors
/// [`ListenError`]
pub fn listen_on(port: u16) -> Result<TcpListener, ListenError> {
    start(bind_on(port)?, port)
}

/// Takes the port and lets nobody in yet. Who shares addresses (`SO_REUSEADDR`) as we do can still be quicker to listen:
/// then [`start`] fails.
///
/// # Errors
/// [`ListenError`]
pub fn bind_on(port: u16) -> Result<OwnedFd, ListenError> {
    let socket = match open(AddressFamily::Inet6, (Ipv6Addr::UNSPECIFIED, port).into()) {
        // IPv6 is compiled out, or switched off
        Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) => {
            open(AddressFamily::Inet, (Ipv4Addr::UNSPECIFIED, port).into())
        }
        other => other,
    };
    socket.map_err(|source| failed(port, source))
}

/// Listens on a port that was taken.
///
/// # Errors
/// [`ListenError`]
pub fn start(socket: OwnedFd, port: u16) -> Result<TcpListener, ListenError> {
    // as many as the kernel allows (`net.core.somaxconn`): C libraries differ in what they call the most
    listen(&socket, Backlog::MAXALLOWABLE).map_err(|source| failed(port, source))?;
    Ok(socket.into())
}

fn failed(port: u16, source: Errno) -> ListenError {
    match source {
        Errno::EADDRINUSE => ListenError::Taken(port),
        source => ListenError::Socket { port, source },
    }
}

fn open(family: AddressFamily, address: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, ReuseAddr, &true)?;
    if family == AddressFamily::Inet6 {
        // whatever net.ipv6.bindv6only says
        setsockopt(&socket, Ipv6V6Only, &false)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket)
}
