//! Real packets: does a connection or a datagram get through, is it refused, or does nothing come back?

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::Netns;

/// What became of a connection attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It came about, or an answer arrived.
    Reached,
    /// Something said no: a reset, an ICMP error.
    Refused,
    /// Nothing came back.
    Silent,
}

/// How long nothing has to come back to be called silence. Namespaces of one machine answer in microseconds.
const PATIENCE: Duration = Duration::from_millis(400);

/// Tries a TCP connection from `from` to a listener that this call opens in `to`.
///
/// # Panics
/// The listener cannot be opened.
pub fn tcp(from: &Netns, to: &Netns, address: SocketAddr) -> Outcome {
    let _listener = to.run(|| TcpListener::bind(address)).expect("the listener opens");
    tcp_connect(from, address)
}

/// Tries a TCP connection from `from`, whatever listens there.
///
/// # Panics
/// The attempt fails in a way that is no outcome.
pub fn tcp_connect(from: &Netns, address: SocketAddr) -> Outcome {
    match from.run(|| TcpStream::connect_timeout(&address, PATIENCE)) {
        Ok(_) => Outcome::Reached,
        Err(error) => outcome(&error),
    }
}

/// Sends a UDP datagram from `from` to a socket that this call opens in `to`, which sends it back.
///
/// # Panics
/// A socket cannot be opened.
pub fn udp(from: &Netns, to: &Netns, address: SocketAddr) -> Outcome {
    let there = to.run(|| UdpSocket::bind(address)).expect("the socket opens");
    let any: SocketAddr = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().expect("an address");
    let here = from.run(|| UdpSocket::bind(any)).expect("the socket opens");
    for socket in [&here, &there] {
        socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    }
    let exchange = || {
        here.connect(address)?;
        here.send(b"ping")?;
        let mut buffer = [0; 16];
        match there.recv_from(&mut buffer) {
            Ok((length, peer)) => drop(there.send_to(&buffer[..length], peer)?),
            // it may have been refused: then the sender knows
            Err(error) if outcome_of(&error).is_some() => {}
            Err(error) => return Err(error),
        }
        here.recv(&mut buffer)
    };
    match exchange() {
        Ok(_) => Outcome::Reached,
        Err(error) => outcome(&error),
    }
}

/// One ICMP or ICMPv6 echo from `from`.
///
/// # Panics
/// `ping` cannot be run.
pub fn ping(from: &Netns, address: IpAddr) -> Outcome {
    let family = if address.is_ipv4() { "-4" } else { "-6" };
    let output = from
        .command("ping")
        .args([family, "-n", "-c1", "-W0.4", &address.to_string()])
        .output()
        .expect("ping (package iputils-ping) runs");
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        Outcome::Reached
    } else if text.contains("nreachable") || text.contains("prohibited") || text.contains("Filtered") {
        Outcome::Refused
    } else {
        Outcome::Silent
    }
}

fn outcome(error: &std::io::Error) -> Outcome {
    outcome_of(error).unwrap_or_else(|| panic!("a connection failed in no known way: {error:?}"))
}

fn outcome_of(error: &std::io::Error) -> Option<Outcome> {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Some(Outcome::Silent),
        ErrorKind::ConnectionRefused
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::PermissionDenied
        | ErrorKind::ConnectionReset => Some(Outcome::Refused),
        _ => None,
    }
}
