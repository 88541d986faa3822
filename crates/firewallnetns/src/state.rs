//! What is in force: one JSON file an attachment in the state folder, and the lock of a namespace.
//!
//! File names tell whose file it is and in which namespace (`NETWORK:CONTAINER:IFNAME:NETNS.json`), so that finding
//! the others in a namespace opens only theirs. Namespaces do not outlive a boot, so nothing is synced; a file is
//! written under another name and renamed, so that a reader never sees half of one.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::persist::PersistDir;
use fwn_kernel::firewall::record::{Record, RecordedNetns};
use fwn_plan::plan::Attachment;
use nix::fcntl::{FcntlArg, fcntl};
use serde::{Deserialize, Serialize};

/// What one attachment has in force, and what its DEL needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Path of the namespace at the time of the ADD: GC is given none.
    pub netns_path: PathBuf,
    /// Where its sets are saved on DEL.
    pub persist: PersistDir,
    /// What was made.
    pub record: Record,
}

/// Why the state folder failed us.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or the folder could not be read, written, or locked.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A state file is no state.
    #[error("state file `{path}` is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// The state folder.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

/// A namespace locked against other calls for it; released when dropped, and by the kernel when the process dies.
#[derive(Debug)]
pub struct NetnsLock {
    _file: File,
}

/// A temporary file begins so: it is never taken for a state.
const TEMPORARY: &str = ".new-";
/// How a state file ends.
const SUFFIX: &str = ".json";

impl StateDir {
    /// The folder at `path`; nothing is opened yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Makes the folder, readable by root alone, if it is not there.
    ///
    /// # Errors
    /// [`StateError::Io`]
    pub fn create(&self) -> Result<(), StateError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        made.map_err(|source| self.io("create", &self.path, source))
    }

    /// Waits until no other call works on the namespace with this inode, and keeps others out.
    ///
    /// The lock is one byte of one file, at the offset of the inode: no file a namespace, so none to clean up. It
    /// is not on the namespace itself, where a process of the container could hold it.
    ///
    /// # Errors
    /// [`StateError::Io`]
    pub fn lock(&self, inode: u64) -> Result<NetnsLock, StateError> {
        self.create()?;
        let path = self.path.join("lock");
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = open.map_err(|source| self.io("open", &path, source))?;
        let range = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: i64::try_from(inode).unwrap_or(i64::MAX - 1),
            l_len: 1,
            l_pid: 0,
        };
        loop {
            match fcntl(&file, FcntlArg::F_OFD_SETLKW(&range)) {
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(self.io("lock", &path, errno.into())),
                Ok(_) => return Ok(NetnsLock { _file: file }),
            }
        }
    }

    /// The state of an attachment, in whatever namespace; of several (a namespace was lost and made anew) the one
    /// written last.
    ///
    /// # Errors
    /// [`StateError`]; a missing folder holds nothing.
    pub fn find(&self, attachment: &Attachment) -> Result<Option<State>, StateError> {
        let prefix = format!("{}:", stem(attachment));
        let mut found = self.read_where(|name| name.starts_with(&prefix))?;
        found.sort_by_key(|state| state.record.made_at);
        Ok(found.pop())
    }

    /// The state of an attachment in this namespace.
    ///
    /// # Errors
    /// [`StateError`]
    pub fn read(&self, attachment: &Attachment, netns: &RecordedNetns) -> Result<Option<State>, StateError> {
        let own = file_name(attachment, netns);
        Ok(self.read_where(|name| name == own)?.pop())
    }

    /// The states of other attachments in the same namespace.
    ///
    /// # Errors
    /// [`StateError`]
    pub fn siblings(&self, attachment: &Attachment, netns: &RecordedNetns) -> Result<Vec<State>, StateError> {
        let own = file_name(attachment, netns);
        let suffix = format!(":{}{SUFFIX}", key(netns));
        self.read_where(|name| name.ends_with(&suffix) && name != own)
    }

    /// All states there are.
    ///
    /// # Errors
    /// [`StateError`]
    pub fn all(&self) -> Result<Vec<State>, StateError> {
        self.read_where(|_| true)
    }

    /// All states there are, and what is wrong with those that cannot be read.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn each(&self) -> Result<Vec<Result<State, StateError>>, StateError> {
        let names = self.names(|_| true)?;
        Ok(names.into_iter().filter_map(|name| self.read_file(&name).transpose()).collect())
    }

    /// Writes the state of its attachment in its namespace.
    ///
    /// # Errors
    /// [`StateError::Io`]
    pub fn write(&self, state: &State) -> Result<(), StateError> {
        let name = file_name(&Attachment::from(&state.record.attachment), &state.record.netns);
        let path = self.path.join(&name);
        let temporary = self.temporary(&state.record.netns);
        let bytes =
            serde_json::to_vec(state).map_err(|source| StateError::Damaged { path: path.clone(), source })?;
        let write = || {
            use io::Write;
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&bytes)?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|source| self.io("write", &path, source))
    }

    /// Removes what a call for this namespace left behind that was killed while it wrote. The namespace is locked.
    ///
    /// # Errors
    /// [`StateError::Io`]
    pub fn sweep(&self, netns: &RecordedNetns) -> Result<(), StateError> {
        let path = self.temporary(netns);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(self.io("remove", &path, source)),
            _ => Ok(()),
        }
    }

    /// The name that a state is written under first: whoever writes holds the lock, so one of a namespace is enough.
    fn temporary(&self, netns: &RecordedNetns) -> PathBuf {
        self.path.join(format!("{TEMPORARY}{}", netns.inode))
    }

    /// Removes every state of an attachment; none is fine.
    ///
    /// # Errors
    /// [`StateError::Io`]
    pub fn remove(&self, attachment: &Attachment) -> Result<(), StateError> {
        let prefix = format!("{}:", stem(attachment));
        for name in self.names(|name| name.starts_with(&prefix))? {
            let path = self.path.join(name);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(self.io("remove", &path, source));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn read_where(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<State>, StateError> {
        let names = self.names(wanted)?;
        names.iter().filter_map(|name| self.read_file(name).transpose()).collect()
    }

    /// `None` where another call has just removed it.
    fn read_file(&self, name: &str) -> Result<Option<State>, StateError> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.io("read", &path, source)),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| StateError::Damaged { path, source }),
        }
    }

    fn names(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, StateError> {
        let list = match fs::read_dir(&self.path) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|source| self.io("list", &self.path, source))?,
        };
        let mut names = Vec::new();
        for entry in list {
            let entry = entry.map_err(|source| self.io("list", &self.path, source))?;
            let name = entry.file_name();
            let is_state = |name: &&str| name.ends_with(SUFFIX) && !name.starts_with(TEMPORARY);
            names
                .extend(OsStr::to_str(&name).filter(is_state).filter(|name| wanted(name)).map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }

    #[expect(clippy::unused_self, reason = "reads as what the folder says of itself")]
    fn io(&self, action: &'static str, path: &Path, source: io::Error) -> StateError {
        StateError::Io { action, path: path.to_owned(), source }
    }
}

/// `NETWORK:CONTAINER:IFNAME`: none of the three may hold a colon. A name too long for a file is replaced by its
/// digest.
fn stem(attachment: &Attachment) -> String {
    /// `NAME_MAX` is 255; the namespace, the suffix and a temporary name need some of it.
    const LONGEST: usize = 180;
    let stem = format!("{}:{}:{}", attachment.network, attachment.container, attachment.interface);
    if stem.len() <= LONGEST {
        stem
    } else {
        format!("{}:{}", attachment.interface, fwn_kernel::firewall::owner::OwnerId::of(attachment))
    }
}

fn key(netns: &RecordedNetns) -> String {
    format!("{}-{}", netns.inode, netns.cookie)
}

fn file_name(attachment: &Attachment, netns: &RecordedNetns) -> String {
    format!("{}:{}{SUFFIX}", stem(attachment), key(netns))
}
