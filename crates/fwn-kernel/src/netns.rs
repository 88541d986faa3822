//! The target network namespace: opened once, checked before anything else, entered only on threads of its own.
//!
//! [`TargetNetns::open`] is the only constructor and the host guard: what it lets through is a network namespace,
//! and neither ours nor that of pid 1. Everything after works on its descriptor, so a path that is replaced
//! meanwhile changes nothing.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fwn_plan::netfilter::{Families, Family};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, readlink};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::Mode;

use crate::sys;

/// The namespace of the calling thread; `/proc/self` would show the main thread's.
const OWN: &str = "/proc/thread-self/ns/net";
/// The namespace of the machine.
const INIT: &str = "/proc/1/ns/net";

/// Which namespace it is: equal numbers mean the same namespace as long as one side is held open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetnsId {
    /// Device of the nsfs file.
    pub device: u64,
    /// Its inode; reused by a later namespace.
    pub inode: u64,
    /// The kernel's own number, never reused; 0 before Linux 5.14.
    pub cookie: u64,
}

/// Why a namespace was refused, or could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// There is nothing at the path.
    #[error("network namespace `{0}` does not exist")]
    Missing(PathBuf),
    /// The path could not be opened.
    #[error("cannot open network namespace `{path}`")]
    Open {
        /// The path.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
    /// It is a file of another kind, or a namespace of another kind.
    #[error("`{0}` is not a network namespace")]
    NotANetns(PathBuf),
    /// It is the namespace that this program runs in.
    #[error("`{0}` is the network namespace of this program: the host's firewall is never touched")]
    Own(PathBuf),
    /// It is the namespace of pid 1.
    #[error("`{0}` is the network namespace of pid 1: the host's firewall is never touched")]
    Init(PathBuf),
    /// Our own namespace, or that of pid 1, could not be looked at, so it cannot be told apart.
    #[error("cannot tell the namespace from that of `{path}`")]
    Compare {
        /// The path that could not be read.
        path: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// It could not be entered.
    #[error("cannot enter network namespace `{path}`")]
    Enter {
        /// The path that it was opened by.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
}

/// The families that namespaces of this kernel have: IPv6 can be compiled out, or off since boot (`ipv6.disable=1`).
pub fn available_families() -> Families {
    if Path::new("/proc/sys/net/ipv6").exists() { Families::BOTH } else { Families::only(Family::Ipv4) }
}

/// A container's network namespace, held open.
#[derive(Debug)]
pub struct TargetNetns {
    fd: OwnedFd,
    path: PathBuf,
    id: NetnsId,
}

impl TargetNetns {
    /// Opens the namespace at `path` and makes sure that it may be changed.
    ///
    /// # Errors
    /// See [`NetnsError`]; nothing was touched.
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        // O_NONBLOCK: a fifo must not hang us
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let fd = open(path, flags, Mode::empty()).map_err(|source| match source {
            Errno::ENOENT | Errno::ENOTDIR => NetnsError::Missing(path.to_owned()),
            source => NetnsError::Open { path: path.to_owned(), source },
        })?;
        let file = File::from(fd);
        let link = readlink(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file)).as_str());
        if !link.is_ok_and(|name| name.to_string_lossy().starts_with("net:[")) {
            return Err(NetnsError::NotANetns(path.to_owned()));
        }
        let metadata = file.metadata().map_err(|_| NetnsError::NotANetns(path.to_owned()))?;
        let mut id = NetnsId { device: metadata.dev(), inode: metadata.ino(), cookie: 0 };
        let same = |other: &'static str| {
            std::fs::metadata(other)
                .map(|other| (other.dev(), other.ino()) == (id.device, id.inode))
                .map_err(|source| NetnsError::Compare { path: other, source })
        };
        if same(OWN)? {
            return Err(NetnsError::Own(path.to_owned()));
        }
        if same(INIT)? {
            return Err(NetnsError::Init(path.to_owned()));
        }
        let mut target = Self { fd: file.into(), path: path.to_owned(), id };
        // a link called `net:[...]` could be made by anyone; that setns takes it as CLONE_NEWNET cannot
        id.cookie = target.run(|| {
            let probe = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
            probe.and_then(|socket| sys::netns_cookie(&socket)).unwrap_or(0)
        })?;
        target.id = id;
        Ok(target)
    }

    /// Which namespace it is.
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// The path that it was opened by, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` inside the namespace, on a thread that ends with it: there is no way back to miss.
    ///
    /// # Errors
    /// [`NetnsError::Enter`]; `work` was not called then.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        let inside = || {
            setns(&self.fd, CloneFlags::CLONE_NEWNET).map_err(|source| match source {
                Errno::EINVAL => NetnsError::NotANetns(self.path.clone()),
                source => NetnsError::Enter { path: self.path.clone(), source },
            })?;
            Ok(work())
        };
        std::thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}

impl AsFd for TargetNetns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
