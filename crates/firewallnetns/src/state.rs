//! What is in force: one JSON file an attachment in the state folder, and the lock of a namespace.
//!
//! Names tell in which namespace and whose it is (`NETNS/NETWORK:CONTAINER:IFNAME.json`), so that a call opens the
//! files of its own namespace and no other, however many containers there are. Namespaces do not outlive a boot, so
//! nothing is synced; a file is written under another name and renamed, so that a reader never sees half of one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fwn_cni::delegation::Delegated;
use fwn_kernel::firewall::owner::OwnerId;
use fwn_kernel::firewall::record::{Record, RecordedNetns};
use fwn_node::private::is_private;
use fwn_plan::plan::Attachment;
use nix::fcntl::{FcntlArg, fcntl};
use serde::{Deserialize, Serialize};

use crate::ipsetd::Served;
use crate::persist::PersistDir;

/// What one attachment has in force, and what its DEL needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Path of the namespace at the time of the ADD: GC is given none.
    pub netns_path: PathBuf,
    /// Where its sets are saved on DEL.
    pub persist: PersistDir,
    /// What was made.
    pub record: Record,
    /// What delegates made before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegated: Option<Delegated>,
    /// Who serves its sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipsetd: Option<Served>,
}

/// A [`State`] to write, its parts borrowed: with many rules a record is large.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct StateRef<'a> {
    /// See [`State::netns_path`].
    pub netns_path: &'a Path,
    /// See [`State::persist`].
    pub persist: &'a PersistDir,
    /// See [`State::record`].
    pub record: &'a Record,
    /// See [`State::delegated`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delegated: Option<&'a Delegated>,
    /// See [`State::ipsetd`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipsetd: Option<&'a Served>,
}

impl<'a> From<&'a State> for StateRef<'a> {
    fn from(state: &'a State) -> Self {
        let State { netns_path, persist, record, delegated, ipsetd } = state;
        Self { netns_path, persist, record, delegated: delegated.as_ref(), ipsetd: ipsetd.as_ref() }
    }
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
    /// Others could write what we believe.
    #[error("`{}` belongs to somebody else, or others may write to it", .0.display())]
    NotPrivate(PathBuf),
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
pub(crate) struct StateDir {
    path: PathBuf,
}

/// A namespace locked against other calls for it; released when dropped, and by the kernel when the process dies.
#[derive(Debug)]
pub(crate) struct NetnsLock {
    _file: File,
}

/// A state that is being written.
const TEMPORARY: &str = "new";
/// How often a folder is made anew that others removed because it was empty.
const ATTEMPTS: u32 = 20;
/// So much of a state is written at a time.
const BUFFER: usize = 32 * 1024;
/// What a state file ends with.
const EXTENSION: &str = "json";

impl StateDir {
    /// The folder at `path`; nothing is opened yet.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Makes the folder, readable by root alone, if it is not there.
    ///
    /// # Errors
    /// [`StateError::Io`], [`StateError::NotPrivate`]
    pub(crate) fn create(&self) -> Result<(), StateError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        made.map_err(|source| self.io("create", &self.path, source))?;
        self.check_private()
    }

    /// Only we may put anything there. None is fine.
    fn check_private(&self) -> Result<(), StateError> {
        match fs::metadata(&self.path) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(self.io("read", &self.path, source)),
            Ok(folder) if is_private(&folder) => Ok(()),
            Ok(_) => Err(StateError::NotPrivate(self.path.clone())),
        }
    }

    /// Waits until no other call works on the namespace with this inode, and keeps others out.
    ///
    /// The lock is one byte of one file, at the offset of the inode: no file a namespace, so none to clean up. It
    /// is not on the namespace itself, where a process of the container could hold it.
    ///
    /// # Errors
    /// [`StateError::Io`]
    pub(crate) fn lock(&self, inode: u64) -> Result<NetnsLock, StateError> {
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

    /// The state of an attachment in this namespace.
    ///
    /// # Errors
    /// [`StateError`]
    pub(crate) fn read(
        &self,
        attachment: &Attachment,
        netns: &RecordedNetns,
    ) -> Result<Option<State>, StateError> {
        self.read_file(&self.file(attachment, netns))
    }

    /// The states of other attachments in the same namespace.
    ///
    /// # Errors
    /// [`StateError`]
    pub(crate) fn siblings(
        &self,
        attachment: &Attachment,
        netns: &RecordedNetns,
    ) -> Result<Vec<State>, StateError> {
        self.each_sibling(attachment, netns)?.into_iter().collect()
    }

    /// The same, with what is wrong with those that cannot be read.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub(crate) fn each_sibling(
        &self,
        attachment: &Attachment,
        netns: &RecordedNetns,
    ) -> Result<Vec<Result<State, StateError>>, StateError> {
        let own = self.file(attachment, netns);
        let others = self.files_in(&self.folder(netns))?.into_iter().filter(|path| *path != own);
        Ok(others.filter_map(|path| self.read_file(&path).transpose()).collect())
    }

    /// The states of all attachments in a namespace.
    ///
    /// # Errors
    /// [`StateError`]
    pub(crate) fn in_netns(&self, netns: &RecordedNetns) -> Result<Vec<State>, StateError> {
        let files = self.files_in(&self.folder(netns))?;
        files.iter().filter_map(|path| self.read_file(path).transpose()).collect()
    }

    /// All states there are, and what is wrong with those that cannot be read.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub(crate) fn each(&self) -> Result<Vec<Result<State, StateError>>, StateError> {
        let mut states = Vec::new();
        for folder in self.folders()? {
            let files = self.files_in(&folder)?;
            states.extend(files.iter().filter_map(|path| self.read_file(path).transpose()));
        }
        Ok(states)
    }

    /// Writes the state of its attachment in its namespace.
    ///
    /// # Errors
    /// [`StateError::Io`]
    pub(crate) fn write(&self, state: &StateRef<'_>) -> Result<(), StateError> {
        let netns = &state.record.netns;
        let path = self.file(&Attachment::from(&state.record.attachment), netns);
        let temporary = self.temporary(netns);
        let create =
            || OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
        let write = || {
            use io::Write;
            let mut attempts = 1..ATTEMPTS;
            let file = loop {
                match create() {
                    // an empty folder may go again at once: `remove_everywhere` holds no lock of this namespace
                    Err(error) if error.kind() == io::ErrorKind::NotFound && attempts.next().is_some() => {
                        fs::DirBuilder::new().mode(0o700).create(self.folder(netns))?;
                    }
                    other => break other?,
                }
            };
            // with many rules it is long: no copy of all of it in memory
            let mut file = io::BufWriter::with_capacity(BUFFER, file);
            serde_json::to_writer(&mut file, state)?;
            file.flush()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|source| self.io("write", &path, source))
    }

    /// Removes what a call for this namespace left behind that was killed while it wrote. The namespace is locked.
    ///
    /// # Errors
    /// [`StateError::Io`]
    pub(crate) fn sweep(&self, netns: &RecordedNetns) -> Result<(), StateError> {
        self.remove_file(&self.temporary(netns))
    }

    /// Removes the state of an attachment in this namespace, which is locked; none is fine.
    ///
    /// # Errors
    /// [`StateError::Io`]
    pub(crate) fn remove(&self, attachment: &Attachment, netns: &RecordedNetns) -> Result<(), StateError> {
        self.remove_file(&self.file(attachment, netns))?;
        // the last one takes the folder along
        let _ = fs::remove_dir(self.folder(netns));
        Ok(())
    }

    /// Removes a state that was left while the namespace was locked, if no other call has written one since. The
    /// namespace is not locked.
    ///
    /// # Errors
    /// [`StateError`]
    pub(crate) fn remove_unchanged(&self, left: &State) -> Result<(), StateError> {
        let (attachment, netns) = (Attachment::from(&left.record.attachment), &left.record.netns);
        let _lock = self.lock(netns.inode)?;
        if self.read(&attachment, netns)?.as_ref() == Some(left) {
            return self.remove(&attachment, netns);
        }
        log::debug!("another call has changed the state, or removed it");
        Ok(())
    }

    /// The states of an attachment, in whatever namespace; those that cannot be read are left out.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub(crate) fn everywhere(&self, attachment: &Attachment) -> Result<Vec<State>, StateError> {
        let paths = self.folders()?.into_iter().map(|folder| folder.join(file_name(attachment)));
        Ok(paths.filter_map(|path| self.read_file(&path).ok().flatten()).collect())
    }

    /// Removes every state of an attachment, in whatever namespace it was, but those to `keep`.
    ///
    /// # Errors
    /// [`StateError::Io`]
    pub(crate) fn remove_everywhere(
        &self,
        attachment: &Attachment,
        keep: impl Fn(&State) -> bool,
    ) -> Result<(), StateError> {
        for folder in self.folders()? {
            let path = folder.join(file_name(attachment));
            // a damaged one tells nothing that it could be kept for
            if !matches!(self.read_file(&path), Ok(Some(state)) if keep(&state)) {
                self.remove_file(&path)?;
            }
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }

    /// The folder of a namespace.
    fn folder(&self, netns: &RecordedNetns) -> PathBuf {
        self.path.join(format!("{}-{}", netns.inode, netns.cookie))
    }

    fn file(&self, attachment: &Attachment, netns: &RecordedNetns) -> PathBuf {
        self.folder(netns).join(file_name(attachment))
    }

    /// The name that a state is written under first: whoever writes holds the lock, so one of a namespace is enough.
    fn temporary(&self, netns: &RecordedNetns) -> PathBuf {
        self.folder(netns).join(TEMPORARY)
    }

    /// `None` where another call has just removed it.
    fn read_file(&self, path: &Path) -> Result<Option<State>, StateError> {
        match fs::read(path) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.io("read", path, source)),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| StateError::Damaged { path: path.to_owned(), source }),
        }
    }

    fn remove_file(&self, path: &Path) -> Result<(), StateError> {
        match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(self.io("remove", path, source)),
            _ => Ok(()),
        }
    }

    /// The folders of all namespaces.
    fn folders(&self) -> Result<Vec<PathBuf>, StateError> {
        self.check_private()?;
        let mut paths = self.list(&self.path)?;
        paths.retain(|path| path.is_dir());
        Ok(paths)
    }

    /// The state files in the folder of a namespace.
    fn files_in(&self, folder: &Path) -> Result<Vec<PathBuf>, StateError> {
        let mut paths = self.list(folder)?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == EXTENSION));
        Ok(paths)
    }

    /// What a folder holds, sorted; nothing where it is missing.
    fn list(&self, folder: &Path) -> Result<Vec<PathBuf>, StateError> {
        let list = match fs::read_dir(folder) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|source| self.io("list", folder, source))?,
        };
        let paths: Result<Vec<_>, _> = list.map(|entry| entry.map(|entry| entry.path())).collect();
        let mut paths = paths.map_err(|source| self.io("list", folder, source))?;
        paths.sort();
        Ok(paths)
    }

    #[expect(clippy::unused_self, reason = "reads as what the folder says of itself")]
    fn io(&self, action: &'static str, path: &Path, source: io::Error) -> StateError {
        StateError::Io { action, path: path.to_owned(), source }
    }
}

/// `NETWORK:CONTAINER:IFNAME.json`: none of the three may hold a colon. Names too long for a file are replaced by
/// their digest.
fn file_name(attachment: &Attachment) -> String {
    /// `NAME_MAX` (`linux/limits.h`)
    const LONGEST: usize = 255;
    let Attachment { network, container, interface } = attachment;
    let name = format!("{network}:{container}:{interface}.{EXTENSION}");
    if name.len() <= LONGEST { name } else { format!("{}:{interface}.{EXTENSION}", OwnerId::of(attachment)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn state(container: &str, inode: u64) -> State {
        let attachment =
            Attachment { network: "net".into(), container: container.into(), interface: "eth0".into() };
        let netns = RecordedNetns { device: 4, inode, cookie: inode };
        State {
            netns_path: "/run/netns/none".into(),
            persist: PersistDir::new(Path::new("/none"), "net", container),
            record: Record::empty(&attachment, netns),
            delegated: None,
            ipsetd: None,
        }
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_not_believed() {
        use std::os::unix::fs::{PermissionsExt, chown};
        let dir = tempfile::tempdir().expect("a folder");
        let states = StateDir::new(dir.path());
        let refused = || {
            let results = [states.lock(1).err(), states.each().err()];
            results.map(|error| matches!(error, Some(StateError::NotPrivate(_))))
        };
        for (mode, expected) in [(0o755, false), (0o777, true), (0o1777, true), (0o770, true), (0o700, false)]
        {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).expect("set");
            assert_eq!(refused(), [expected; 2], "{mode:o}");
        }
        chown(dir.path(), Some(65534), None).expect("given away");
        assert_eq!(refused(), [true; 2]);
    }

    /// Calls for other namespaces hold other locks.
    #[test]
    fn cleaning_up_elsewhere_does_not_take_the_folder_of_a_writer() {
        const TIMES: usize = 1000;
        let dir = tempfile::tempdir().expect("a folder");
        let states = StateDir::new(dir.path());
        let (written, other) = (state("c1", 7), Attachment::from(&state("c2", 8).record.attachment));
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for _ in 0..TIMES {
                    states.write(&(&written).into()).expect("written");
                    states
                        .remove(&Attachment::from(&written.record.attachment), &written.record.netns)
                        .expect("removed");
                }
            });
            while !writer.is_finished() {
                states.remove_everywhere(&other, |_| false).expect("nothing to remove");
            }
        });
    }
}
