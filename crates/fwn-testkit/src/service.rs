//! Something in a namespace that answers: TCP and UDP, each byte sent back. It ends with the value, so that no socket
//! keeps the namespace alive.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::Netns;

/// How long a peer may take to send the next byte.
const PATIENCE: Duration = Duration::from_secs(1);

/// A service on some addresses of a namespace.
#[derive(Debug)]
pub struct Service {
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Serves TCP and UDP on each of `addresses`: `10.9.0.1:53`, or `[::]:80` for both families. A wildcard answers
    /// datagrams from whatever address the route has, so a namespace with many addresses needs each of them here.
    ///
    /// # Panics
    /// An address cannot be had.
    pub fn start(netns: &Netns, addresses: &[&str]) -> Self {
        let (listeners, sockets) = netns.run(|| {
            let listen = |address: &&str| {
                TcpListener::bind(address).unwrap_or_else(|error| panic!("TCP {address}: {error}"))
            };
            let open = |address: &&str| {
                UdpSocket::bind(address).unwrap_or_else(|error| panic!("UDP {address}: {error}"))
            };
            let listeners: Vec<_> = addresses.iter().map(listen).collect();
            let sockets: Vec<_> = addresses.iter().map(open).collect();
            (listeners, sockets)
        });
        let (stop, stopped) = UnixStream::pair().expect("a socket pair");
        let thread = std::thread::spawn(move || serve(&stopped, &listeners, &sockets));
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stopped: &UnixStream, listeners: &[TcpListener], sockets: &[UdpSocket]) {
    loop {
        let mut waiting: Vec<_> = [stopped.as_fd()]
            .into_iter()
            .chain(listeners.iter().map(AsFd::as_fd))
            .chain(sockets.iter().map(AsFd::as_fd))
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        if let Err(error) = poll(&mut waiting, PollTimeout::NONE) {
            assert_eq!(error, nix::errno::Errno::EINTR, "poll");
            continue;
        }
        let mut ready = waiting.iter().map(|fd| fd.any() == Some(true));
        if ready.next() == Some(true) {
            return;
        }
        for (listener, _) in listeners.iter().zip(ready.by_ref()).filter(|(_, ready)| *ready) {
            if let Ok((stream, _)) = listener.accept() {
                std::thread::spawn(move || drop(echo(stream)));
            }
        }
        for (socket, _) in sockets.iter().zip(ready).filter(|(_, ready)| *ready) {
            let mut buffer = [0; 2048];
            // an answer that its own firewall drops is an error, and the peer's silence
            if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(buffer.get(..length).unwrap_or_default(), peer);
            }
        }
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = [0; 2048];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(buffer.get(..length).unwrap_or_default())?;
    }
}
