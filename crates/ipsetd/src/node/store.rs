//! What is registered, one JSON file an attachment, so that a daemon that was killed finds it again. Namespaces do not
//! outlive a boot, and neither does the folder, so nothing is synced; a file is written under another name and renamed,
//! so that half of one is never read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fwn_kernel::firewall::owner::OwnerId;
use fwn_kernel::firewall::record::{RecordedAttachment, RecordedNetns};
use fwn_node::message::Registration;
use fwn_node::private::is_private;
use fwn_plan::plan::Attachment;
use serde::{Deserialize, Serialize};

/// What is remembered of an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which namespace it was: the path can come to mean another one, and an inode can be used again.
    pub netns: RecordedNetns,
    /// What the plugin asked for.
    pub registration: Registration,
}

/// Why the folder failed us.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or the folder could not be read or written.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others could write what is believed.
    #[error("`{}` belongs to somebody else, or others may write to it", .0.display())]
    NotPrivate(PathBuf),
    /// A file is no record.
    #[error("`{path}` is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// The folder of records.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
}

/// What a record ends with.
const EXTENSION: &str = "json";
/// Name of a record that is being written.
const TEMPORARY: &str = "new";

impl Store {
    /// Opens the folder, and makes it if it is not there: for root alone.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::NotPrivate`]
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let store = Self { path: path.to_owned() };
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|source| io("create", path, source))?;
        let folder = fs::metadata(path).map_err(|source| io("read", path, source))?;
        if !is_private(&folder) {
            return Err(StoreError::NotPrivate(path.to_owned()));
        }
        Ok(store)
    }

    /// The file of an attachment, whether it is there or not. Its name is made of no word that somebody else chose.
    pub fn file(&self, attachment: &RecordedAttachment) -> PathBuf {
        let id = OwnerId::of(&Attachment::from(attachment));
        self.path.join(format!("{id}.{EXTENSION}"))
    }

    /// Writes the record of an attachment.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn write(&self, record: &Record) -> Result<(), StoreError> {
        let path = self.file(&record.registration.attachment);
        let temporary = self.path.join(TEMPORARY);
        let bytes = serde_json::to_vec(record)
            .map_err(|source| StoreError::Damaged { path: path.clone(), source })?;
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&bytes)?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|source| io("write", &path, source))
    }

    /// Removes the record of an attachment; none is fine.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn remove(&self, attachment: &RecordedAttachment) -> Result<(), StoreError> {
        let path = self.file(attachment);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(io("remove", &path, source)),
            _ => Ok(()),
        }
    }

    /// All records, and what is wrong with those that cannot be read.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn each(&self) -> Result<Vec<Result<Record, StoreError>>, StoreError> {
        let entries = fs::read_dir(&self.path).map_err(|source| io("read", &self.path, source))?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(|source| io("read", &self.path, source))?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths.iter().map(|path| read(path)).collect())
    }
}

fn read(path: &Path) -> Result<Record, StoreError> {
    let bytes = fs::read(path).map_err(|source| io("read", path, source))?;
    serde_json::from_slice(&bytes).map_err(|source| StoreError::Damaged { path: path.to_owned(), source })
}

fn io(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { action, path: path.to_owned(), source }
}
