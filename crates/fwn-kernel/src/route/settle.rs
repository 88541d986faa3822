//! Waiting for IPv6 addresses: until duplicate address detection has ended, by the kernel's events.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

use super::{Link, RouteError, RouteSocket};
use crate::netlink::socket::SocketError;
use crate::netns::TargetNetns;

/// `RTMGRP_IPV6_IFADDR` (`linux/rtnetlink.h`): IPv6 addresses that come, go or change.
const RTMGRP_IPV6_IFADDR: u32 = 0x100;

/// Why addresses did not become usable.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// Asking or waiting failed.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Somebody else on the link has the address.
    #[error("address `{address}` of `{link}` is in use by another machine on the link")]
    Duplicate {
        /// The address.
        address: IpAddr,
        /// Name of the link.
        link: String,
    },
    /// Detection did not end in time.
    #[error("address `{address}` of `{link}` is still tentative after {seconds} s")]
    Tentative {
        /// The address.
        address: IpAddr,
        /// Name of the link.
        link: String,
        /// How long was waited.
        seconds: u64,
    },
}

/// Hears when an IPv6 address of a namespace changes. To be opened before the change.
#[derive(Debug)]
pub struct AddressEvents {
    fd: OwnedFd,
}

impl AddressEvents {
    /// Listens in `target`.
    ///
    /// # Errors
    /// [`RouteError::Open`], [`RouteError::Netns`]
    pub fn open_in(target: &TargetNetns) -> Result<Self, RouteError> {
        let open = || {
            let fd = socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::NetlinkRoute,
            )?;
            bind(fd.as_raw_fd(), &NetlinkAddr::new(0, RTMGRP_IPV6_IFADDR))?;
            Ok(Self { fd })
        };
        target.run(open)?.map_err(|errno| RouteError::Open(SocketError::Open(errno)))
    }

    /// Waits for the next event; false if none came in time.
    fn wait(&self, time: Duration) -> Result<bool, Errno> {
        let microseconds = i64::try_from(time.as_micros()).unwrap_or(i64::MAX).max(1);
        let timeout = TimeVal::new(microseconds / 1_000_000, microseconds % 1_000_000);
        setsockopt(&self.fd, sockopt::ReceiveTimeout, &timeout)?;
        // what it says is asked for afresh, so a cut message or a lost one does no harm
        match recv(self.fd.as_raw_fd(), &mut [0; 64], MsgFlags::empty()) {
            Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => Ok(true),
            Err(Errno::EAGAIN) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

impl RouteSocket {
    /// Waits until no address in `wanted` is tentative on `link` any more; addresses that are gone do not count.
    ///
    /// # Errors
    /// [`SettleError`]
    pub fn settle(
        &mut self,
        events: &AddressEvents,
        link: &Link,
        wanted: &[IpAddr],
        timeout: Duration,
    ) -> Result<(), SettleError> {
        let deadline = Instant::now() + timeout;
        loop {
            let mut addresses = self.addresses(Some(link))?;
            addresses.retain(|address| wanted.contains(&address.prefix.address()));
            if let Some(duplicate) = addresses.iter().find(|address| address.duplicate) {
                return Err(SettleError::Duplicate {
                    address: duplicate.prefix.address(),
                    link: link.name.clone(),
                });
            }
            let Some(tentative) = addresses.iter().find(|address| address.tentative) else { return Ok(()) };
            let left = deadline.saturating_duration_since(Instant::now());
            let heard = !left.is_zero()
                && events.wait(left).map_err(|errno| RouteError::Request {
                    action: format!("wait for the addresses of `{}`", link.name),
                    source: SocketError::Receive(errno),
                })?;
            if !heard {
                return Err(SettleError::Tentative {
                    address: tentative.prefix.address(),
                    link: link.name.clone(),
                    seconds: timeout.as_secs(),
                });
            }
        }
    }
}
