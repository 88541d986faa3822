//! rtnetlink, typed: links, addresses and routes of one network namespace, over a socket that belongs to it.
//!
//! Requests name the object they are about, so that an error reads "cannot create macvtap `eth0` on `eth1`" with the
//! kernel's words as its source. Nothing here knows of CNI, and nothing is kept: every look-up asks the kernel.

mod address;
mod link;
mod mac;
mod prefix;
mod routes;
mod settle;

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

use crate::netlink::attr::{AttrWriter, Malformed, TooLong};
use crate::netlink::message::{Message, Messages, NLM_F_ACK, NLM_F_DUMP};
use crate::netlink::socket::{NetlinkSocket, Protocol, SocketError};
use crate::netns::{NetnsError, TargetNetns};

pub use address::{Address, AddressOptions};
pub use link::{Link, LinkChange, LinkEnd, LinkRef, MacvlanMode};
pub use mac::{MacAddress, MacError};
pub use prefix::{IpPrefix, PrefixError};
pub use routes::{Existing, Route, Scope};
pub use settle::{AddressEvents, SettleError};

/// `RTM_GETNSID` (`linux/rtnetlink.h`)
const RTM_GETNSID: u16 = 90;
/// `RTM_NEWNSID`, the answer to it.
const RTM_NEWNSID: u16 = 88;
/// `NETNSA_NSID` (`linux/net_namespace.h`)
const NETNSA_NSID: u16 = 1;
/// `NETNSA_FD`
const NETNSA_FD: u16 = 3;
/// `AF_INET` and `AF_INET6` (`linux/socket.h`), as the first byte of every fixed header.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// No socket.
    #[error("cannot open a route socket")]
    Open(#[source] SocketError),
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The request cannot be written: a name of more than 64 KiB.
    #[error("cannot {action}")]
    Encode {
        /// What was wanted.
        action: String,
        /// Which attribute.
        source: TooLong,
    },
    /// The kernel refused, or the exchange failed.
    #[error("cannot {action}")]
    Request {
        /// What was wanted, the object named.
        action: String,
        /// The kernel's answer.
        source: SocketError,
    },
}

impl RouteError {
    /// The kernel's errno, where it answered with one: `EEXIST`, `ENODEV`, ...
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Request { source, .. } => source.errno().map(Errno::from_raw),
            _ => None,
        }
    }

    /// Whether the object was there already (`EEXIST`).
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(Errno::EEXIST)
    }
}

/// A route socket of one network namespace, usable from any thread.
#[derive(Debug)]
pub struct RouteSocket {
    socket: NetlinkSocket,
}

impl RouteSocket {
    /// Opens one in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`RouteError::Open`]
    pub fn open_here() -> Result<Self, RouteError> {
        NetlinkSocket::open(Protocol::Route).map(|socket| Self { socket }).map_err(RouteError::Open)
    }

    /// Opens one in `target`.
    ///
    /// # Errors
    /// [`RouteError::Open`], [`RouteError::Netns`]
    pub fn open_in(target: &TargetNetns) -> Result<Self, RouteError> {
        target.run(Self::open_here)?
    }

    /// The number that this namespace knows another one by ([`Link::lower_netns`]), if it has one for it.
    ///
    /// # Errors
    /// [`RouteError::Request`]: `other` is no network namespace.
    pub fn netnsid(&mut self, other: &impl AsFd) -> Result<Option<u32>, RouteError> {
        let fd = other.as_fd().as_raw_fd().cast_unsigned();
        let mut found = None;
        let fill = |a: &mut AttrWriter<'_>| {
            a.ne32(NETNSA_FD, fd);
        };
        // struct rtgenmsg: the family
        self.ask("look up a network namespace", RTM_GETNSID, 0, &[0], fill, |message| {
            if message.kind == RTM_NEWNSID {
                found = message.attrs(1)?.find(NETNSA_NSID)?.map(|attr| attr.ne32()).transpose()?;
            }
            Ok(())
        })?;
        // NETNSA_NSID_NOT_ASSIGNED is -1
        Ok(found.filter(|id| *id != u32::MAX))
    }

    /// Sends one request and waits for its acknowledgement.
    fn request(
        &mut self,
        action: &str,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        fill: impl FnOnce(&mut AttrWriter<'_>),
    ) -> Result<(), RouteError> {
        self.ask(action, kind, flags, fixed, fill, |_| Ok(()))
    }

    /// Sends one request, and gives what comes before its acknowledgement to `each`.
    fn ask(
        &mut self,
        action: &str,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        fill: impl FnOnce(&mut AttrWriter<'_>),
        each: impl FnMut(Message<'_>) -> Result<(), Malformed>,
    ) -> Result<(), RouteError> {
        let mut messages = Messages::default();
        messages
            .push(kind, flags | NLM_F_ACK, fixed, fill)
            .map_err(|source| RouteError::Encode { action: action.to_owned(), source })?;
        self.socket
            .exchange(&mut messages, each)
            .map_err(|source| RouteError::Request { action: action.to_owned(), source })
    }

    /// Lists everything of a kind; starts again where something changed while it was listed.
    fn dump<T>(
        &mut self,
        action: &str,
        kind: u16,
        fixed: &[u8],
        fill: impl Fn(&mut AttrWriter<'_>),
        decode: impl Fn(Message<'_>, &mut Vec<T>) -> Result<(), Malformed>,
    ) -> Result<Vec<T>, RouteError> {
        /// A namespace that changes all the time is reported in the end, not waited for.
        const ATTEMPTS: usize = 50;
        let mut attempt = 1;
        loop {
            let mut messages = Messages::default();
            messages
                .push(kind, NLM_F_DUMP, fixed, &fill)
                .map_err(|source| RouteError::Encode { action: action.to_owned(), source })?;
            let mut all = Vec::new();
            match self.socket.exchange(&mut messages, |message| decode(message, &mut all)) {
                Ok(()) => return Ok(all),
                Err(SocketError::Interrupted) if attempt < ATTEMPTS => attempt += 1,
                Err(source) => return Err(RouteError::Request { action: action.to_owned(), source }),
            }
        }
    }
}

/// The first `N` bytes of a message's fixed header.
fn fixed_header<const N: usize>(message: &Message<'_>) -> Result<[u8; N], Malformed> {
    message.payload.first_chunk().copied().ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decoding_never_panics_and_always_ends(payload in prop::collection::vec(any::<u8>(), 0..120)) {
            let message = |kind| Message { kind, flags: 0, sequence: 0, payload: &payload };
            let _ = link::decode_link(message(16));
            let _ = address::decode_address(message(20));
            let _ = routes::decode_routes(message(24), &mut Vec::new());
        }

        #[test]
        fn hops_of_any_length_end(attr_length in 4u16..60, hops in prop::collection::vec(0u8..20, 0..60)) {
            // an IPv4 unicast route with RTA_MULTIPATH
            let mut payload = vec![AF_INET, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
            payload.extend(attr_length.to_ne_bytes());
            payload.extend(9u16.to_ne_bytes());
            payload.extend(&hops);
            let message = Message { kind: 24, flags: 0, sequence: 0, payload: &payload };
            let _ = routes::decode_routes(message, &mut Vec::new());
        }
    }
}
