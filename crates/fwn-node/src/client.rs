//! The asking side: blocking, with a deadline for every answer. A daemon that is not there, does not answer or belongs to
//! somebody else is an error; nothing here waits longer than it was told to.

use std::io::{self, IoSlice, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt, sendmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::geteuid;

use crate::message::{Answer, MAX_ANSWER, MessageError, Request, decode_line, encode_line};

/// Why there is no answer, or not the one asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("cannot connect to ipsetd at `{path}`")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
    /// Somebody listens there who is not root.
    #[error("the socket `{path}` belongs to user {uid}")]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// The connection failed.
    #[error("cannot talk to ipsetd at `{path}`")]
    Talk {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No answer came in time.
    #[error("ipsetd at `{path}` did not answer within {} s", .waited.as_secs())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The answer is none.
    #[error("ipsetd at `{path}` does not speak as expected")]
    Message {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: MessageError,
    },
    /// The answer is one to another question.
    #[error("ipsetd at `{path}` gave an answer to another question")]
    Unexpected {
        /// The socket.
        path: PathBuf,
    },
    /// The daemon refuses.
    #[error("ipsetd refuses: {message}")]
    Refused {
        /// Its words.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
}

/// A connection to the daemon of the node.
#[derive(Debug)]
pub struct NodeClient {
    stream: UnixStream,
    path: PathBuf,
    timeout: Duration,
    deadline: Instant,
}

impl NodeClient {
    /// Connects; every answer has to come within `timeout`.
    ///
    /// # Errors
    /// [`ClientError::Connect`], [`ClientError::Stranger`]
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, ClientError> {
        let deadline = Instant::now() + timeout;
        let stream = open(path, timeout).map_err(|source| match source {
            // a full backlog: somebody listens and does not take us
            Errno::EAGAIN => ClientError::Silent { path: path.to_owned(), waited: timeout },
            source => ClientError::Connect { path: path.to_owned(), source },
        })?;
        let peer = getsockopt(&stream, sockopt::PeerCredentials)
            .map_err(|source| ClientError::Connect { path: path.to_owned(), source })?;
        if peer.uid() != 0 && peer.uid() != geteuid().as_raw() {
            return Err(ClientError::Stranger { path: path.to_owned(), uid: peer.uid() });
        }
        Ok(Self { stream: stream.into(), path: path.to_owned(), timeout, deadline })
    }

    /// Asks, and gives the answer; `netns` goes with a registration.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal is one.
    pub fn ask(&mut self, request: &Request, netns: Option<BorrowedFd<'_>>) -> Result<Answer, ClientError> {
        self.deadline = Instant::now() + self.timeout;
        let line = encode_line(request)
            .map_err(|source| ClientError::Message { path: self.path.clone(), source })?;
        self.send(&line, netns)?;
        let line = self.receive()?;
        match decode_line(&line).map_err(|source| ClientError::Message { path: self.path.clone(), source })? {
            Answer::Refused { message, hint } => Err(ClientError::Refused { message, hint }),
            answer => Ok(answer),
        }
    }

    /// Asks for what is answered by no more than that it is done.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn tell(&mut self, request: &Request) -> Result<(), ClientError> {
        match self.ask(request, None)? {
            Answer::Done => Ok(()),
            _ => Err(self.unexpected()),
        }
    }

    /// What is said of an answer that has no sense here.
    pub fn unexpected(&self) -> ClientError {
        ClientError::Unexpected { path: self.path.clone() }
    }

    fn send(&mut self, mut line: &[u8], netns: Option<BorrowedFd<'_>>) -> Result<(), ClientError> {
        let fds: Vec<RawFd> = netns.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        // the descriptor goes with the first byte, once
        let mut control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
        while !line.is_empty() {
            let left = self.left()?;
            self.stream.set_write_timeout(Some(left)).map_err(|source| self.talk(source))?;
            let sent = sendmsg::<()>(
                self.stream.as_raw_fd(),
                &[IoSlice::new(line)],
                control,
                MsgFlags::MSG_NOSIGNAL,
                None,
            );
            match sent {
                Ok(length) => {
                    line = line.get(length..).unwrap_or_default();
                    control = &[];
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.talk(errno.into())),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut line = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let left = self.left()?;
            self.stream.set_read_timeout(Some(left)).map_err(|source| self.talk(source))?;
            let length = match self.stream.read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.talk(error)),
            };
            line.extend_from_slice(buffer.get(..length).unwrap_or_default());
            if line.ends_with(b"\n") {
                return Ok(line);
            }
            if length == 0 || line.len() > MAX_ANSWER {
                return Err(self.talk(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn left(&self) -> Result<Duration, ClientError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(self.silent()) } else { Ok(left) }
    }

    fn silent(&self) -> ClientError {
        ClientError::Silent { path: self.path.clone(), waited: self.timeout }
    }

    fn talk(&self, source: io::Error) -> ClientError {
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => self.silent(),
            _ => ClientError::Talk { path: self.path.clone(), source },
        }
    }
}

fn open(path: &Path, timeout: Duration) -> Result<OwnedFd, Errno> {
    let address = UnixAddr::new(path)?;
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let milliseconds = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
    setsockopt(&fd, sockopt::SendTimeout, &TimeVal::milliseconds(milliseconds))?;
    connect(fd.as_raw_fd(), &address)?;
    Ok(fd)
}
