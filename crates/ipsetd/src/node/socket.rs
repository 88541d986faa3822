//! The unix socket: made here, or handed over by systemd; and its connections, which bring descriptors besides bytes.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream as BlockingStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use fwn_kernel::descriptor;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt};
use nix::unistd::{Group, getpid};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

/// Descriptors that one connection may have sent and not used yet.
const FDS_MAX: usize = 4;

/// Why there is no socket to listen on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another daemon listens there.
    #[error("another ipsetd listens on `{0}` already")]
    Live(PathBuf),
    /// There is a file that is no socket.
    #[error("`{0}` is no socket, and is left alone")]
    NoSocket(PathBuf),
    /// It could not be made.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no such group.
    #[error("there is no group `{0}`")]
    Group(String),
    /// What systemd handed over is not what its unit should have.
    #[error("descriptor 3 is no listening unix stream socket: `ListenStream=` of the socket unit makes one")]
    Inherited,
    /// There is more than one.
    #[error("{0} sockets were handed over, and one is needed")]
    Several(String),
}

/// The unix socket that is listened on.
#[derive(Debug)]
pub struct Socket {
    /// The listener.
    pub listener: UnixListener,
    /// Its file, where it is ours to remove.
    path: Option<PathBuf>,
}

impl Socket {
    /// The socket that systemd handed over, if it did (`sd_listen_fds(3)`).
    ///
    /// # Errors
    /// [`ListenError::Inherited`], [`ListenError::Several`]
    pub fn inherit(environment: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, ListenError> {
        /// The first descriptor that is handed over (`SD_LISTEN_FDS_START`).
        const FIRST: i32 = 3;
        let is_for_us = environment("LISTEN_PID").is_some_and(|pid| pid == getpid().to_string());
        let count = environment("LISTEN_FDS").filter(|_| is_for_us);
        match count.as_deref() {
            None | Some("0") => return Ok(None),
            Some("1") => {}
            Some(other) => return Err(ListenError::Several(other.to_owned())),
        }
        let fd = descriptor::inherited(FIRST).map_err(|_| ListenError::Inherited)?;
        let family = getsockname::<SockaddrStorage>(fd.as_raw_fd()).ok().and_then(|address| address.family());
        let listens = getsockopt(&fd, sockopt::AcceptConn) == Ok(true);
        if family != Some(AddressFamily::Unix) || !listens {
            return Err(ListenError::Inherited);
        }
        Ok(Some(Self { listener: fd.into(), path: None }))
    }

    /// Makes the socket, for root and, where there is one, a group. One that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// [`ListenError`]
    pub fn bind(path: &Path, group: Option<&str>) -> Result<Self, ListenError> {
        let io = |action, source| ListenError::Io { action, path: path.to_owned(), source };
        let gid = group.map(|name| match Group::from_name(name) {
            Ok(Some(group)) => Ok(group.gid.as_raw()),
            _ => name.parse().map_err(|_| ListenError::Group(name.to_owned())),
        });
        let gid = gid.transpose()?;
        if let Some(folder) = path.parent() {
            let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(folder);
            made.map_err(|source| io("create the folder of", source))?;
        }
        if let Ok(file) = fs::symlink_metadata(path) {
            if !file.file_type().is_socket() {
                return Err(ListenError::NoSocket(path.to_owned()));
            }
            match BlockingStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    log::info!("`{}` was left over, and is replaced", path.display());
                    fs::remove_file(path).map_err(|source| io("remove", source))?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // also where its backlog is full
                _ => return Err(ListenError::Live(path.to_owned())),
            }
        }
        // nobody is let in before it is known who may
        let mask = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(path);
        nix::sys::stat::umask(mask);
        let listener = bound.map_err(|source| io("listen on", source))?;
        let socket = Self { listener, path: Some(path.to_owned()) };
        if gid.is_some() {
            chown(path, None, gid).map_err(|source| io("give its group", source))?;
            fs::set_permissions(path, Permissions::from_mode(0o660))
                .map_err(|source| io("give its group", source))?;
        }
        Ok(socket)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its user, at the time it connected.
    pub uid: u32,
    /// Its process.
    pub pid: i32,
}

/// Descriptors that came with the bytes of a connection, in order.
pub type Fds = Arc<Mutex<Vec<OwnedFd>>>;

/// A connection that keeps the descriptors that come with its bytes.
#[derive(Debug)]
pub struct Stream {
    stream: UnixStream,
    fds: Fds,
}

impl Stream {
    /// Wraps a connection.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, fds: Fds::default() }
    }

    /// What has come and is not taken yet.
    pub fn fds(&self) -> Fds {
        Arc::clone(&self.fds)
    }

    /// Who it is.
    ///
    /// # Errors
    /// The errno of `getsockopt`.
    pub fn peer(&self) -> Result<Peer, Errno> {
        let credentials = getsockopt(&self.stream.as_fd(), sockopt::PeerCredentials)?;
        Ok(Peer { uid: credentials.uid(), pid: credentials.pid() })
    }

    fn receive(&self, room: &mut [u8]) -> io::Result<usize> {
        let (length, received) = descriptor::receive(&self.stream, room)?;
        if !received.is_empty() {
            let mut fds = self.fds.lock().unwrap_or_else(PoisonError::into_inner);
            fds.extend(received);
            // what is too much is closed at once
            fds.truncate(FDS_MAX);
        }
        Ok(length)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            let room = buffer.initialize_unfilled();
            match self.stream.try_io(Interest::READABLE, || self.receive(room)) {
                Ok(length) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
