//! Real packets: what becomes of a connection or a ping. Sockets are opened inside a namespace and used from outside.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use fwn_kernel::netns::TargetNetns;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

use super::DemoError;

/// How long nothing must come back to be called silence; between namespaces of one machine answers take microseconds.
const PATIENCE: Duration = Duration::from_millis(500);

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A connection came about.
    Connected,
    /// A ping was answered.
    Answered,
    /// A reset, or an ICMP error.
    Refused,
    /// Nothing came back.
    Silence,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Connected => "connected",
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Silence => "silence",
        })
    }
}

/// Tries a TCP connection from a namespace to a listener that is opened in another, so that a refusal can only be the
/// firewall's.
pub(super) fn tcp(from: &TargetNetns, to: &TargetNetns, address: SocketAddr) -> Result<Outcome, DemoError> {
    let _listener = to
        .run(|| TcpListener::bind(address))?
        .map_err(|source| DemoError::Packet { what: "listen", source })?;
    match from.run(|| TcpStream::connect_timeout(&address, PATIENCE))? {
        Ok(_) => Ok(Outcome::Connected),
        Err(error) => match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Ok(Outcome::Silence),
            ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable => Ok(Outcome::Refused),
            _ => Err(DemoError::Packet { what: "connect", source: error }),
        },
    }
}

/// Sends one ICMP echo request from a namespace.
pub(super) fn ping(from: &TargetNetns, to: Ipv4Addr) -> Result<Outcome, DemoError> {
    from.run(|| ping_from_here(to))?.map_err(|source| DemoError::Packet { what: "ping", source })
}

fn ping_from_here(to: Ipv4Addr) -> io::Result<Outcome> {
    let fd = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)?;
    let id = std::process::id() as u16;
    let request = echo_request(id);
    sendto(
        fd.as_raw_fd(),
        &request,
        &SockaddrIn::from(std::net::SocketAddrV4::new(to, 0)),
        MsgFlags::empty(),
    )?;
    let deadline = Instant::now() + PATIENCE;
    let mut packet = [0; 256];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // 0 would mean for ever
        let left = i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1);
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(left / 1_000_000, left % 1_000_000))?;
        match recv(fd.as_raw_fd(), &mut packet, MsgFlags::empty()) {
            // a raw socket gets all ICMP of its namespace
            Ok(length) if is_reply(packet.get(..length).unwrap_or_default(), to, id) => {
                return Ok(Outcome::Answered);
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) if Instant::now() < deadline => {}
            Ok(_) | Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(Outcome::Silence),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Type 8, code 0, checksum, identifier, sequence number 1 (RFC 792).
fn echo_request(id: u16) -> [u8; 8] {
    let [high, low] = id.to_be_bytes();
    // the checksum of these three words, in ones' complement (RFC 1071)
    let sum = 0x0800 + u32::from(id) + 1;
    let folded = (sum & 0xffff) + (sum >> 16);
    let [check_high, check_low] = (!(folded as u16)).to_be_bytes();
    [8, 0, check_high, check_low, high, low, 0, 1]
}

/// Whether an IPv4 packet is the echo reply of `from` to `id`.
fn is_reply(packet: &[u8], from: Ipv4Addr, id: u16) -> bool {
    let Some(first) = packet.first() else { return false };
    let header = usize::from(first & 0xf) * 4;
    packet.get(12..16) == Some(&from.octets())
        && packet.get(header) == Some(&0)
        && packet.get(header + 4..header + 6) == Some(&id.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_rfc() {
        for id in [0, 1, 0x1234, 0xf7fe, 0xf7ff, 0xffff] {
            let request = echo_request(id);
            let words = request.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word)));
            let sum: u32 = words.sum();
            // a right checksum makes the ones' complement sum all ones
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "{id:x}");
        }
    }

    #[test]
    fn only_the_right_reply_counts() {
        let from = Ipv4Addr::new(10, 0, 0, 1);
        let mut packet = [0; 28];
        packet[0] = 0x45;
        packet[12..16].copy_from_slice(&from.octets());
        packet[24..26].copy_from_slice(&7_u16.to_be_bytes());
        assert!(is_reply(&packet, from, 7));
        assert!(!is_reply(&packet, from, 8));
        assert!(!is_reply(&packet, Ipv4Addr::new(10, 0, 0, 2), 7));
        assert!(!is_reply(&packet[..20], from, 7));
        packet[20] = 8;
        assert!(!is_reply(&packet, from, 7));
    }
}
