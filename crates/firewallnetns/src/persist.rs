//! Sets that outlive their container: saved on DEL, loaded on the next ADD of the same network and container name.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fwn_cni::invocation::Invocation;
use fwn_kernel::firewall::owner::OwnerId;
use fwn_plan::origin::Source;
use fwn_plan::plan::Attachment;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data_dir::{DataError, read_path};

/// Most bytes of a saved set.
const LIMIT: u64 = 256 << 20;

/// Why a saved set could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] DataError),
}

/// The saved sets of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PersistDir {
    folder: PathBuf,
}

impl PersistDir {
    /// Those of the container called `name` in `network`, below `dir`; nothing is opened yet.
    pub(crate) fn new(dir: &Path, network: &str, name: &str) -> Self {
        Self { folder: dir.join(file_name(network)).join(file_name(name)) }
    }

    /// The saved contents of a set; `None` if it was never saved.
    ///
    /// # Errors
    /// [`PersistError`]
    pub(crate) fn load(&self, set: &str) -> Result<Option<Arc<Source>>, PersistError> {
        let path = self.path(set);
        match read_path(&path, LIMIT) {
            Ok(text) => Ok(Some(Source::new(path.display().to_string(), text))),
            Err(DataError::Missing(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Saves the contents of a set: to another name, synced, then renamed, so that after a power cut there is the old
    /// file or the new one.
    ///
    /// # Errors
    /// A file could not be written.
    pub(crate) fn save(&self, set: &str, contents: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let path = self.path(set);
        let temporary = path.with_extension(format!("new-{}", std::process::id()));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(contents.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(&self.folder)?.sync_all()
    }

    fn path(&self, set: &str) -> PathBuf {
        self.folder.join(format!("{}.save", file_name(set)))
    }
}

/// What the container is called, as far as the runtime tells: a name that the next container in its place has too.
/// The ID where it tells nothing.
pub(crate) fn container_name(invocation: &Invocation) -> String {
    let args = invocation.conf.args.as_ref().and_then(|args| args.get("cni"));
    let arg = |key: &str| {
        let of_args = args.and_then(|args| args.get(key)).and_then(Value::as_str).map(str::to_owned);
        of_args
            .or_else(|| invocation.args.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone()))
    };
    // containerd's CRI plugin, CRI-O and podman all give the name so
    match (arg("K8S_POD_NAMESPACE"), arg("K8S_POD_NAME")) {
        (Some(namespace), Some(name)) if namespace != name => format!("{namespace}/{name}"),
        (_, Some(name)) => name,
        _ => invocation.container_id.clone(),
    }
}

/// A name as a file name: anything but letters, digits, `_`, `-` and inner dots is written as `%XX`. Of what is too
/// long then, the end is replaced by a digest of all.
fn file_name(name: &str) -> String {
    /// Of the 255 bytes of a file name (`NAME_MAX`, `linux/limits.h`), so that an ending has room too.
    const LONGEST: usize = 200;
    let mut file = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => file.push(byte.into()),
            b'.' if !file.is_empty() => file.push('.'),
            _ => {
                // a String takes everything
                let _ = write!(file, "%{byte:02X}");
            }
        }
    }
    if file.len() > LONGEST {
        let (container, interface) = (String::new(), String::new());
        let digest = OwnerId::of(&Attachment { network: name.to_owned(), container, interface });
        // one byte a character, and no other name has the `~`
        file.truncate(LONGEST);
        let _ = write!(file, "~{digest}");
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_loaded_as_it_was_saved() {
        let folder = tempfile::tempdir().expect("a folder");
        let sets = PersistDir::new(folder.path(), "net", "prod/web");
        assert!(sets.load("black").expect("readable").is_none());
        sets.save("black", "create black hash:ip\n").expect("saved");
        sets.save("black", "create black hash:ip\nadd black 10.0.0.1\n").expect("saved");
        let loaded = sets.load("black").expect("readable").expect("saved");
        assert_eq!(loaded.text, "create black hash:ip\nadd black 10.0.0.1\n");
        let other = PersistDir::new(folder.path(), "net", "prod");
        assert!(other.load("black").expect("readable").is_none(), "another container has its own");
        assert_eq!(fs::read_dir(&sets.folder).expect("there").count(), 1, "no temporary file is left");
    }

    /// A pod and its namespace have 316 bytes together, a file name 255.
    #[test]
    fn a_long_name_is_as_good_as_a_short_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let named = |name: &str| PersistDir::new(folder.path(), "net", &format!("{}/{name}", "n".repeat(63)));
        let (one, other) = (named(&format!("{}1", "p".repeat(252))), named(&format!("{}2", "p".repeat(252))));
        one.save("black", "create black hash:ip\n").expect("saved");
        assert!(one.load("black").expect("readable").is_some());
        assert!(other.load("black").expect("readable").is_none(), "another container has its own");
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        assert_eq!(file_name("../../etc"), "%2E.%2F..%2Fetc");
        assert_eq!(file_name("."), "%2E");
        assert_eq!(file_name("a.b-c_d"), "a.b-c_d");
    }
}
