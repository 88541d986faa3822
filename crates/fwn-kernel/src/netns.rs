//! The target network namespace: opened once, checked before anything else, entered on threads of its own or by a
//! process of one thread that comes back at once.
//!
//! [`TargetNetns::open`] and [`TargetNetns::adopt`] are the only constructors and the host guard: what they let through
//! is a network namespace, and neither ours nor that of pid 1. Everything after works on its descriptor, so a path that
//! is replaced meanwhile changes nothing.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fwn_plan::netfilter::{Families, Family};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::Mode;
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

use crate::sys;

/// The namespace of the calling thread; `/proc/self` would show the main thread's.
const OWN: &str = "/proc/thread-self/ns/net";
/// The namespace of the machine.
const INIT: &str = "/proc/1/ns/net";
/// A file that every namespace has its own of, as the calling thread sees it.
const OWN_DEV: &str = "/proc/thread-self/net/dev";
/// The same file, as pid 1 sees it.
const INIT_DEV: &str = "/proc/1/net/dev";

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
        source: io::Error,
    },
    /// There is no thread to enter it with.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// It could not be entered.
    #[error("cannot enter network namespace `{path}`")]
    Enter {
        /// The path that it was opened by.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
    /// It could not be left again.
    #[error("cannot leave network namespace `{path}`")]
    Leave {
        /// The path that it was opened by.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
}

impl NetnsError {
    /// Whether the path has come to mean nothing, or something that is no container's namespace.
    pub fn is_other(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::NotANetns(_) | Self::Own(_) | Self::Init(_))
    }
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
        Self::enter(path, || ()).map(|(target, ())| target)
    }

    /// The same, and runs `work` inside, once it is sure that the namespace may be changed: a thread less than
    /// [`TargetNetns::open`] and then [`TargetNetns::run`].
    ///
    /// # Errors
    /// See [`NetnsError`]; `work` was not called then.
    pub fn enter<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> Result<(Self, T), NetnsError> {
        let target = Self::open_unlike(path, std::fs::metadata(OWN))?;
        let (cookie, result) = target.run(|| target.inside(work))??;
        Ok((target.known_as(cookie), result))
    }

    /// The same on the calling thread, which leaves its namespace for `work` and comes back: for a process with no
    /// other thread and one thing to do, to which starting a thread and waiting for it is much of the whole. Where it
    /// could not come back (a user namespace that does not own the one that it is in), a thread does it all the same.
    ///
    /// # Errors
    /// See [`NetnsError`]; after [`NetnsError::Leave`] the thread is still inside and must not go on.
    pub fn enter_here<T: Send>(
        path: &Path,
        work: impl FnOnce() -> T + Send,
    ) -> Result<(Self, T), NetnsError> {
        let home = File::open(OWN);
        let target = Self::open_unlike(path, home.as_ref().map_err(copy_of).and_then(File::metadata))?;
        // into the one that it is in: whether that is allowed is whether the way back is
        let home = home.ok().filter(|home| setns(home, CloneFlags::CLONE_NEWNET).is_ok());
        let Some(home) = home else {
            let (cookie, result) = target.run(|| target.inside(work))??;
            return Ok((target.known_as(cookie), result));
        };
        target.set()?;
        let away = Away { home };
        let outcome = target.inside(work);
        away.leave(path)?;
        let (cookie, result) = outcome?;
        Ok((target.known_as(cookie), result))
    }

    /// Takes over a descriptor that somebody else opened, if it is of a namespace that may be changed. `path` is what
    /// it is called in messages.
    ///
    /// # Errors
    /// See [`NetnsError`]; nothing was touched.
    pub fn adopt(fd: OwnedFd, path: &Path) -> Result<Self, NetnsError> {
        let target = Self::unlike(fd, path, std::fs::metadata(OWN))?;
        let (cookie, ()) = target.run(|| target.inside(|| ()))??;
        Ok(target.known_as(cookie))
    }

    /// Opens the namespace at `path`, if it is one, and not that of `own`.
    fn open_unlike(path: &Path, own: io::Result<Metadata>) -> Result<Self, NetnsError> {
        // O_NONBLOCK: a fifo must not hang us
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let fd = open(path, flags, Mode::empty()).map_err(|source| match source {
            Errno::ENOENT | Errno::ENOTDIR => NetnsError::Missing(path.to_owned()),
            source => NetnsError::Open { path: path.to_owned(), source },
        })?;
        Self::unlike(fd, path, own)
    }

    fn unlike(fd: OwnedFd, path: &Path, own: io::Result<Metadata>) -> Result<Self, NetnsError> {
        let file = File::from(fd);
        // by the file system: the link in /proc/self/fd of a namespace that was bound to a path shows that path
        if !fstatfs(&file).is_ok_and(|system| system.filesystem_type() == NSFS_MAGIC) {
            return Err(NetnsError::NotANetns(path.to_owned()));
        }
        let metadata = file.metadata().map_err(|_| NetnsError::NotANetns(path.to_owned()))?;
        let id = NetnsId { device: metadata.dev(), inode: metadata.ino(), cookie: 0 };
        let own = own.map_err(|source| NetnsError::Compare { path: OWN, source })?;
        if (own.dev(), own.ino()) == (id.device, id.inode) {
            return Err(NetnsError::Own(path.to_owned()));
        }
        Ok(Self { fd: file.into(), path: path.to_owned(), id })
    }

    /// What is done first inside, and then `work`; gives the cookie with its result.
    fn inside<T>(&self, work: impl FnOnce() -> T) -> Result<(u64, T), NetnsError> {
        if is_init(self.id)? {
            return Err(NetnsError::Init(self.path.clone()));
        }
        let probe = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
        let cookie = probe.and_then(|socket| sys::netns_cookie(&socket)).unwrap_or(0);
        Ok((cookie, work()))
    }

    fn known_as(self, cookie: u64) -> Self {
        Self { id: NetnsId { cookie, ..self.id }, ..self }
    }

    /// Puts the calling thread into the namespace.
    fn set(&self) -> Result<(), NetnsError> {
        // namespaces of other kinds are on the same file system; setns takes none of them as CLONE_NEWNET
        setns(&self.fd, CloneFlags::CLONE_NEWNET).map_err(|source| match source {
            Errno::EINVAL => NetnsError::NotANetns(self.path.clone()),
            source => NetnsError::Enter { path: self.path.clone(), source },
        })
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
    /// [`NetnsError::Enter`], [`NetnsError::Thread`]; `work` was not called then.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        let inside = || self.set().map(|()| work());
        std::thread::scope(|scope| {
            match std::thread::Builder::new().spawn_scoped(scope, inside).map_err(NetnsError::Thread)?.join()
            {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

/// A thread that is in another namespace than it began in, and goes back whatever happens.
struct Away {
    home: File,
}

impl Away {
    fn leave(self, path: &Path) -> Result<(), NetnsError> {
        self.back().map_err(|source| NetnsError::Leave { path: path.to_owned(), source })
    }

    fn back(&self) -> Result<(), Errno> {
        setns(&self.home, CloneFlags::CLONE_NEWNET)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        // only a panic comes here without having been asked for
        if std::thread::panicking() {
            let _ = self.back();
        }
    }
}

/// The same error once more.
fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Whether the namespace that the calling thread is in is that of pid 1.
///
/// Looking at the namespace file of pid 1 needs every capability that pid 1 has (`ptrace_may_access`,
/// `kernel/ptrace.c`), which root in a service with a bounding set may not. Its `/proc/net` needs none, and the inodes
/// there are a namespace's own as long as it lives (`fs/proc/generic.c`).
fn is_init(id: NetnsId) -> Result<bool, NetnsError> {
    match std::fs::metadata(INIT) {
        Ok(init) => Ok((init.dev(), init.ino()) == (id.device, id.inode)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let of_init =
                inode_of(INIT_DEV).map_err(|source| NetnsError::Compare { path: INIT_DEV, source })?;
            let of_target =
                inode_of(OWN_DEV).map_err(|source| NetnsError::Compare { path: OWN_DEV, source })?;
            Ok(of_init == of_target)
        }
        Err(source) => Err(NetnsError::Compare { path: INIT, source }),
    }
}

fn inode_of(path: &str) -> io::Result<u64> {
    std::fs::metadata(path).map(|file| file.ino())
}

impl AsFd for TargetNetns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fwn_testkit::Netns;
    use std::os::unix::fs::symlink;

    #[test]
    fn lets_a_namespace_in_and_works_inside_it() {
        let netns = Netns::new();
        let target = TargetNetns::open(&netns.path()).expect("a network namespace");
        let inside = target.run(|| std::fs::metadata(OWN).map(|own| own.ino())).expect("entered");
        assert_eq!(inside.expect("readable"), target.id().inode);
        assert_ne!(target.id().cookie, 0);
    }

    #[test]
    fn a_thread_comes_back_from_where_it_went() {
        let netns = Netns::new();
        let own = || std::fs::metadata(OWN).expect("readable").ino();
        let home = own();
        let (target, inside) = TargetNetns::enter_here(&netns.path(), own).expect("entered");
        assert_eq!((inside, own()), (target.id().inode, home));
        assert_ne!(target.id().cookie, 0);
        let panicked = std::panic::catch_unwind(|| {
            TargetNetns::enter_here(&netns.path(), || assert_eq!(own(), home, "it is inside"))
        });
        assert!(panicked.is_err());
        assert_eq!(own(), home, "after a panic");
    }

    /// As the host guard has it, whichever thread goes.
    #[test]
    fn a_thread_goes_only_where_it_may() {
        let elsewhere = Netns::new();
        let work = || panic!("not called");
        let own = PathBuf::from(format!("/proc/{}/ns/net", std::process::id()));
        let error = TargetNetns::enter_here(&own, work).expect_err("refused");
        assert!(matches!(error, NetnsError::Own(_)), "{error:?}");
        elsewhere.run(|| {
            let home = std::fs::metadata(OWN).expect("readable").ino();
            let error = TargetNetns::enter_here(&own, work).expect_err("refused");
            assert!(matches!(error, NetnsError::Init(_)), "{error:?}");
            assert_eq!(std::fs::metadata(OWN).expect("readable").ino(), home);
        });
        let error = TargetNetns::enter_here(Path::new("/proc/self/ns/mnt"), work).expect_err("refused");
        assert!(matches!(error, NetnsError::NotANetns(_)), "{error:?}");
    }

    #[test]
    fn refuses_its_own_by_every_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let link = folder.path().join("link");
        symlink("/proc/self/ns/net", &link).expect("linked");
        let by_pid = PathBuf::from(format!("/proc/{}/ns/net", std::process::id()));
        for path in [Path::new("/proc/self/ns/net"), Path::new("/proc/thread-self/ns/net"), &link, &by_pid] {
            let error = TargetNetns::open(path).expect_err("refused");
            assert!(matches!(error, NetnsError::Own(_)), "{}: {error:?}", path.display());
        }
    }

    #[test]
    fn refuses_that_of_pid_1_from_elsewhere() {
        let elsewhere = Netns::new();
        // this test runs in the machine's namespace, so its own file names it also from elsewhere
        let own = PathBuf::from(format!("/proc/{}/ns/net", std::process::id()));
        let error = elsewhere.run(|| TargetNetns::open(&own)).expect_err("refused");
        assert!(matches!(error, NetnsError::Init(_)), "{error:?}");
    }

    #[test]
    fn refuses_what_is_no_network_namespace() {
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).expect("made");
        for path in [Path::new("/proc/self/ns/mnt"), Path::new("/etc/hostname"), folder.path(), &fifo] {
            let error = TargetNetns::open(path).expect_err("refused");
            assert!(matches!(error, NetnsError::NotANetns(_)), "{}: {error:?}", path.display());
        }
        let error = TargetNetns::open(&folder.path().join("none")).expect_err("refused");
        assert!(matches!(error, NetnsError::Missing(_)), "{error:?}");
    }

    #[test]
    fn a_descriptor_of_others_is_looked_at_as_a_path_is() {
        let netns = Netns::new();
        let adopt = |path: &Path| {
            let file = File::open(path).expect("opened");
            TargetNetns::adopt(file.into(), Path::new("theirs"))
        };
        let target = adopt(&netns.path()).expect("a network namespace");
        assert_eq!(target.id(), TargetNetns::open(&netns.path()).expect("the same").id());
        let shown = |path: &str| adopt(Path::new(path)).expect_err("refused").to_string();
        assert_eq!(shown("/proc/self/ns/mnt"), "`theirs` is not a network namespace");
        assert_eq!(shown("/dev/null"), "`theirs` is not a network namespace");
        assert!(shown("/proc/self/ns/net").starts_with("`theirs` is the network namespace of this program"));
    }

    #[test]
    fn a_path_replaced_after_the_look_changes_nothing() {
        let (first, second) = (Netns::new(), Netns::new());
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("netns");
        symlink(first.path(), &path).expect("linked");
        let target = TargetNetns::open(&path).expect("a network namespace");
        std::fs::remove_file(&path).expect("removed");
        symlink(second.path(), &path).expect("linked");
        let inside = target.run(|| std::fs::metadata(OWN).map(|own| own.ino())).expect("entered");
        let of_first = std::fs::metadata(first.path()).expect("there").ino();
        assert_eq!(inside.expect("readable"), of_first);
    }
}
