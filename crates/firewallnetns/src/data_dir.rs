//! Files of the data folder: only what lies beneath it, only regular files, only up to a size.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The data folder itself could not be opened.
    #[error("cannot open the data folder `{path}`")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
    /// There is no such file.
    #[error("file `{}` does not exist", .0.display())]
    Missing(PathBuf),
    /// `..`, an absolute path or a symbolic link leads out.
    #[error("`{name}` leads out of the data folder `{folder}`")]
    Outside {
        /// The name as asked for.
        name: String,
        /// The folder.
        folder: PathBuf,
    },
    /// A folder, a fifo, a device.
    #[error("`{}` is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// It is bigger than anything sensible.
    #[error("`{}` is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What is allowed.
        limit: u64,
    },
    /// It is not text.
    #[error("`{}` is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    /// It could not be opened or read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The data folder, held open.
#[derive(Debug)]
pub(crate) struct DataDir {
    fd: OwnedFd,
    path: PathBuf,
}

impl DataDir {
    /// Opens the folder.
    ///
    /// # Errors
    /// [`DataError::Folder`]
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty())
            .map_err(|source| DataError::Folder { path: path.to_owned(), source })?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// The text of a file beneath the folder, of at most `limit` bytes. The kernel itself makes sure that no `..`
    /// and no symbolic link leads out (`RESOLVE_BENEATH`, openat2(2)).
    ///
    /// # Errors
    /// See [`DataError`].
    pub(crate) fn read(&self, name: &str, limit: u64) -> Result<String, DataError> {
        let path = self.path.join(name);
        let how = OpenHow::new()
            // O_NONBLOCK: a fifo must not hang us
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let fd = openat2(&self.fd, name, how).map_err(|errno| match errno {
            Errno::ENOENT | Errno::ENOTDIR => DataError::Missing(path.clone()),
            Errno::EXDEV | Errno::ELOOP => {
                DataError::Outside { name: name.to_owned(), folder: self.path.clone() }
            }
            errno => DataError::Read { path: path.clone(), source: errno.into() },
        })?;
        read_text(File::from(fd), path, limit)
    }

    /// Names of what lies directly in the folder, as far as they can be read: for hints.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

/// The text of a file that the operator named by a path of its own.
///
/// # Errors
/// See [`DataError`].
pub(crate) fn read_path(path: &Path, limit: u64) -> Result<String, DataError> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let fd = open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::ENOENT | Errno::ENOTDIR => DataError::Missing(path.to_owned()),
        errno => DataError::Read { path: path.to_owned(), source: errno.into() },
    })?;
    read_text(File::from(fd), path.to_owned(), limit)
}

fn read_text(file: File, path: PathBuf, limit: u64) -> Result<String, DataError> {
    let failed = |source| DataError::Read { path: path.clone(), source };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(DataError::NotAFile(path));
    }
    // all of it in one read, and one more that finds the end
    let mut bytes = Vec::with_capacity(metadata.len().min(limit) as usize + 1);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(DataError::TooLarge { path, limit });
    }
    String::from_utf8(bytes).map_err(|_| DataError::NotText(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder() -> (tempfile::TempDir, DataDir) {
        let parent = tempfile::tempdir().expect("a folder");
        let inside = parent.path().join("data");
        std::fs::create_dir(&inside).expect("made");
        std::fs::create_dir(inside.join("folder")).expect("made");
        std::fs::write(inside.join("a.fw"), "text").expect("written");
        std::fs::write(inside.join("binary.fw"), [0xff, 0xfe]).expect("written");
        std::fs::write(parent.path().join("secret"), "secret").expect("written");
        symlink("../secret", inside.join("out.fw")).expect("linked");
        symlink("a.fw", inside.join("in.fw")).expect("linked");
        symlink("loop.fw", inside.join("loop.fw")).expect("linked");
        nix::unistd::mkfifo(&inside.join("fifo.fw"), Mode::S_IRWXU).expect("made");
        let data = DataDir::open(&inside).expect("there");
        (parent, data)
    }

    #[test]
    fn reads_what_lies_beneath() {
        let (_parent, data) = folder();
        assert_eq!(data.read("a.fw", 4).expect("there"), "text");
        assert_eq!(data.read("in.fw", 4).expect("there"), "text");
        assert_eq!(data.read("folder/../a.fw", 4).expect("there"), "text");
    }

    #[test]
    fn refuses_what_leads_out_or_is_no_text_file() {
        let (_parent, data) = folder();
        let error = |name: &str| data.read(name, 3).expect_err("refused");
        assert!(matches!(error("../secret"), DataError::Outside { .. }));
        assert!(matches!(error("/etc/passwd"), DataError::Outside { .. }));
        assert!(matches!(error("out.fw"), DataError::Outside { .. }));
        assert!(matches!(error("loop.fw"), DataError::Outside { .. }));
        assert!(matches!(error("folder"), DataError::NotAFile(_)));
        assert!(matches!(error("fifo.fw"), DataError::NotAFile(_)));
        assert!(matches!(error("missing.fw"), DataError::Missing(_)));
        assert!(matches!(error("a.fw"), DataError::TooLarge { limit: 3, .. }));
        assert!(matches!(error("binary.fw"), DataError::NotText(_)));
    }
}
