//! Network configurations as they lie in `/etc/cni/net.d`: found by name, read, and turned into what each plugin gets.
//!
//! The rules are libcni's: lists (`*.conflist`) before single plugins (`*.conf`, `*.json`), files in order of name, the
//! first with the network's name wins, and a file that cannot be read on the way is an error.

use std::io;
use std::path::{Path, PathBuf};

use crate::version::{SpecVersion, UnknownVersion};

/// A network: its name, version and plugins in order.
#[derive(Debug, Clone)]
pub struct NetworkList {
    /// `name`.
    pub name: String,
    /// The version to speak: the newest of `cniVersion` and `cniVersions` that this crate knows.
    pub version: SpecVersion,
    /// `disableCheck`: CHECK is not to be called.
    pub disable_check: bool,
    /// `disableGC`: GC is not to be called.
    pub disable_gc: bool,
    /// The plugins, first to last.
    pub plugins: Vec<PluginConf>,
    /// The configuration as it was read.
    pub text: String,
}

/// One plugin of a network.
#[derive(Debug, Clone)]
pub struct PluginConf {
    /// `type`.
    pub plugin_type: String,
    /// The `capabilities` that are `true`.
    pub capabilities: Vec<String>,
    /// The configuration as written.
    pub text: String,
}

/// Why a network cannot be had from its files.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// A file or directory cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not JSON, or a key is of the wrong kind.
    #[error("network configuration cannot be decoded")]
    Json {
        /// Where and what.
        source: serde_json::Error,
    },
    /// It asks for a version that does not exist.
    #[error(transparent)]
    Version(#[from] UnknownVersion),
    /// It is JSON but not a network.
    #[error("{reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
    },
    /// An error in this file.
    #[error("`{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What.
        source: Box<ListError>,
    },
    /// No file has it.
    #[error("no network `{name}` in `{}`", dir.display())]
    NotFound {
        /// Its name.
        name: String,
        /// Where it was searched.
        dir: PathBuf,
    },
}

impl NetworkList {
    /// Finds a network in a directory.
    ///
    /// # Errors
    /// It is not there, or a file on the way cannot be read.
    pub fn load(dir: &Path, name: &str) -> Result<Self, ListError> {
        let _ = (dir, name);
        todo!()
    }

    /// Reads a list (an object with `plugins`).
    ///
    /// # Errors
    /// It is none.
    pub fn parse_list(text: &str) -> Result<Self, ListError> {
        let _ = text;
        todo!()
    }

    /// Reads a single plugin's configuration as a list of one.
    ///
    /// # Errors
    /// It is none.
    pub fn parse_single(text: &str) -> Result<Self, ListError> {
        let _ = text;
        todo!()
    }
}

impl PluginConf {
    /// Reads one plugin of a list.
    ///
    /// # Errors
    /// It is not an object, or has no `type`.
    pub fn parse(text: &str) -> Result<Self, ListError> {
        let _ = text;
        todo!()
    }
}
