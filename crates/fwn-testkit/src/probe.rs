//! Real packets: does a connection, a datagram or a ping get through, is it refused, or does nothing come back?
//!
//! Attempts with the outcome that each must have go in; [`expect`] makes them all at the same time, because silence
//! takes time to be heard. What answers is a [`Service`](crate::service::Service).

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::{Linger, ReceiveTimeout, ReuseAddr, SendTimeout};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket,
};
use nix::sys::time::TimeVal;

use crate::Netns;

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Bytes went there and came back.
    Reached,
    /// Something said no: a reset, an ICMP error.
    Refused,
    /// Nothing came back, or nothing was let out.
    Silent,
}

/// How long nothing has to come back to be called silence. Namespaces of one machine answer in microseconds.
const SILENCE: Duration = Duration::from_millis(400);
/// How long to wait for an answer that must come, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(5);

/// One attempt to get through.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    from: &'a Netns,
    way: Way,
    /// The port means nothing for a ping.
    target: SocketAddr,
    source: Option<SocketAddr>,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Tcp,
    Udp,
    Ping,
}

impl<'a> Attempt<'a> {
    /// Opens a TCP connection to `target` (`10.9.0.2:80`), sends some bytes and awaits them back.
    ///
    /// # Panics
    /// `target` is no address with a port.
    pub fn tcp(from: &'a Netns, target: &str) -> Self {
        Self { from, way: Way::Tcp, target: target.parse().expect("ADDRESS:PORT"), source: None }
    }

    /// Sends a datagram to `target` and awaits it back.
    ///
    /// # Panics
    /// `target` is no address with a port.
    pub fn udp(from: &'a Netns, target: &str) -> Self {
        Self { from, way: Way::Udp, target: target.parse().expect("ADDRESS:PORT"), source: None }
    }

    /// Sends an ICMP or ICMPv6 echo request to `target`, an address.
    ///
    /// # Panics
    /// `target` is no address.
    pub fn ping(from: &'a Netns, target: &str) -> Self {
        let target: IpAddr = target.parse().expect("an address");
        Self { from, way: Way::Ping, target: (target, 0).into(), source: None }
    }

    /// Comes from this address, and port (0: any; of no meaning for a ping).
    ///
    /// # Panics
    /// `source` is no address with a port.
    #[must_use]
    pub fn source(self, source: &str) -> Self {
        Self { source: Some(source.parse().expect("ADDRESS:PORT")), ..self }
    }

    /// Makes the attempt, and waits no longer than `patience` for each step of it.
    ///
    /// # Panics
    /// It fails in a way that is no outcome.
    pub fn make(&self, patience: Duration) -> Outcome {
        let result = match self.way {
            Way::Tcp => self.from.run(|| self.tcp_exchange(patience)),
            Way::Udp => self.from.run(|| self.udp_exchange(patience)),
            Way::Ping => return self.echo(patience),
        };
        match result {
            Ok(()) => Outcome::Reached,
            Err(error) => {
                outcome(&error).unwrap_or_else(|| panic!("{self} failed in no known way: {error:?}"))
            }
        }
    }

    fn tcp_exchange(&self, patience: Duration) -> io::Result<()> {
        let family = if self.target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        // a connect waits as long as a send may take, then says EINPROGRESS: `inet_wait_for_connect`,
        // net/ipv4/af_inet.c
        let time = TimeVal::new(patience.as_secs().cast_signed(), patience.subsec_micros().into());
        setsockopt(&socket, SendTimeout, &time)?;
        setsockopt(&socket, ReceiveTimeout, &time)?;
        if let Some(source) = self.source {
            // the port must be free again at once
            setsockopt(&socket, ReuseAddr, &true)?;
            setsockopt(&socket, Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
            bind(socket.as_raw_fd(), &SockaddrStorage::from(source))?;
        }
        connect(socket.as_raw_fd(), &SockaddrStorage::from(self.target))?;
        let mut stream = TcpStream::from(socket);
        stream.write_all(b"ping")?;
        stream.read_exact(&mut [0; 4])
    }

    fn udp_exchange(&self, patience: Duration) -> io::Result<()> {
        let any: IpAddr = if self.target.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = UdpSocket::bind(self.source.unwrap_or((any, 0).into()))?;
        socket.set_read_timeout(Some(patience))?;
        socket.connect(self.target)?;
        socket.send(b"ping")?;
        socket.recv(&mut [0; 4]).map(drop)
    }

    fn echo(&self, patience: Duration) -> Outcome {
        let mut command = self.from.command("ping");
        command.args(["-n", "-c1", "-W", &patience.as_secs_f32().to_string()]);
        if let Some(source) = self.source {
            command.args(["-I", &source.ip().to_string()]);
        }
        let output =
            command.arg(self.target.ip().to_string()).output().expect("ping (package iputils-ping) runs");
        let text = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            Outcome::Reached
        } else if ["nreachable", "prohibited", "Filtered"].iter().any(|word| text.contains(word)) {
            Outcome::Refused
        } else {
            Outcome::Silent
        }
    }
}

impl fmt::Display for Attempt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.way {
            Way::Tcp => write!(f, "tcp to {}", self.target)?,
            Way::Udp => write!(f, "udp to {}", self.target)?,
            Way::Ping => write!(f, "ping to {}", self.target.ip())?,
        }
        self.source.map_or(Ok(()), |source| write!(f, " from {source}"))
    }
}

/// Makes all attempts at the same time.
///
/// # Panics
/// One has another outcome; the message tells which, and all that differ.
#[track_caller]
pub fn expect(attempts: &[(Attempt<'_>, Outcome)]) {
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = attempts
            .iter()
            .map(|(attempt, wanted)| {
                let patience = if *wanted == Outcome::Silent { SILENCE } else { PATIENCE };
                (attempt, *wanted, scope.spawn(move || attempt.make(patience)))
            })
            .collect();
        let differences = running.into_iter().filter_map(|(attempt, wanted, thread)| {
            let outcome = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (outcome != wanted).then(|| format!("{attempt}: {outcome:?}, not {wanted:?}"))
        });
        differences.collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn outcome(error: &io::Error) -> Option<Outcome> {
    match Errno::from_raw(error.raw_os_error()?) {
        // EPERM: the sender's own OUTPUT chain dropped it
        Errno::EAGAIN | Errno::EINPROGRESS | Errno::ETIMEDOUT | Errno::EPERM => Some(Outcome::Silent),
        Errno::ECONNREFUSED
        | Errno::ECONNRESET
        | Errno::EHOSTUNREACH
        | Errno::ENETUNREACH
        | Errno::EPROTO
        | Errno::EACCES => Some(Outcome::Refused),
        _ => None,
    }
}
