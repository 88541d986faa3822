//! A runtime's side of the protocol: all plugins of a network, called in order with each other's results.
//!
//! Does what libcni and cnitool do, with the cache in the same place and form, so that one can delete what the other
//! has added. Where libcni leaves a duty to the runtime (DEL after a failed ADD, DEL of all plugins even if one fails)
//! it is done here. Nothing runs in parallel.

use std::path::PathBuf;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::CniError;
use crate::exec::Executor;
use crate::invocation::Attachment;
use crate::network_list::NetworkList;

/// Where libcni caches results.
pub const DEFAULT_CACHE_DIR: &str = "/var/lib/cni";

/// One attachment: what differs between two of the same network.
#[derive(Debug, Clone, Default)]
pub struct RuntimeConf {
    /// Identifies the container.
    pub container_id: String,
    /// Path of its network namespace.
    pub netns: Option<PathBuf>,
    /// Name of the interface in it.
    pub ifname: String,
    /// `CNI_ARGS`.
    pub args: Vec<(String, String)>,
    /// Values for capabilities; a plugin gets those that it declares, as `runtimeConfig`.
    pub capability_args: Map<String, Value>,
}

/// Runs the plugins of networks.
pub struct Chain<'a> {
    /// What runs them.
    pub exec: &'a dyn Executor,
    /// `CNI_PATH`.
    pub path: Vec<PathBuf>,
    /// Results are kept in `results` below it; see [`DEFAULT_CACHE_DIR`].
    pub cache_dir: PathBuf,
}

impl Chain<'_> {
    /// ADD by every plugin in order; gives the last result, in the version of the list, and keeps it for the other
    /// commands. If a plugin fails, DEL is called for all of them in reverse, those that were never reached too.
    ///
    /// # Errors
    /// The plugin's own, with its name before the message. Code 5: the result cannot be kept.
    pub fn add(&self, list: &NetworkList, rt: &RuntimeConf) -> Result<Box<RawValue>, CniError> {
        let _ = (list, rt);
        todo!()
    }

    /// DEL by every plugin in reverse, with the kept result. Goes on after errors; the kept result is dropped if there
    /// was none.
    ///
    /// # Errors
    /// All of them as one, with the code of the first.
    pub fn del(&self, list: &NetworkList, rt: &RuntimeConf) -> Result<(), CniError> {
        let _ = (list, rt);
        todo!()
    }

    /// CHECK by every plugin in order, with the kept result. Success if the list says `disableCheck`.
    ///
    /// # Errors
    /// Code 1: the list's version has no CHECK. Code 3: nothing was kept for this attachment. Else the first plugin's
    /// error.
    pub fn check(&self, list: &NetworkList, rt: &RuntimeConf) -> Result<(), CniError> {
        let _ = (list, rt);
        todo!()
    }

    /// DEL for every kept attachment of the network that is not in `valid`, then GC by every plugin (from 1.1.0).
    /// `None` means that none is valid, and plugins are not told a list, as cnitool does. Nothing is done if the list
    /// says `disableGC`.
    ///
    /// # Errors
    /// All of them as one, with the code of the first.
    pub fn gc(&self, list: &NetworkList, valid: Option<&[Attachment]>) -> Result<(), CniError> {
        let _ = (list, valid);
        todo!()
    }

    /// STATUS by every plugin in order. Success below 1.1.0, which has no STATUS.
    ///
    /// # Errors
    /// The first plugin's.
    pub fn status(&self, list: &NetworkList) -> Result<(), CniError> {
        let _ = list;
        todo!()
    }
}
