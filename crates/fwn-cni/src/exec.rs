//! Running another plugin: for IPAM, for delegation, and for chains.
//!
//! A call, standard input and a search path go in; standard output or an error comes out. What runs is found by name in
//! the directories given and nowhere else. The child gets our environment with the `CNI_*` variables replaced, and runs
//! in the network namespace of the calling thread.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{CniError, ErrorCode};
use crate::invocation::{Command, Invocation};
use crate::result::AddResult;

/// The variables of one call of another plugin.
#[derive(Debug, Clone)]
pub struct PluginCall {
    /// `CNI_COMMAND`.
    pub command: Command,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`.
    pub netns: Option<PathBuf>,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_ARGS`.
    pub args: String,
    /// `CNI_PATH`, where the plugin is searched, too.
    pub path: Vec<PathBuf>,
}

/// Something that can run a plugin.
pub trait Executor {
    /// Runs the plugin of this name with `stdin` and gives its standard output.
    ///
    /// # Errors
    /// It cannot be found or run, or it failed.
    fn run(&self, plugin: &str, call: &PluginCall, stdin: &str) -> Result<String, ExecError>;
}

/// Runs plugins as processes.
#[derive(Debug, Clone)]
pub struct ProcessExecutor {
    time_limit: Option<Duration>,
    busy_pause: Duration,
}

/// Why another plugin did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The name is empty, `.`, `..`, or has a `/`.
    #[error("plugin name `{plugin}` is not a file name")]
    BadName {
        /// The name.
        plugin: String,
    },
    /// No directory has an executable file of this name.
    #[error("plugin `{plugin}` is not in {}", searched(dirs))]
    NotFound {
        /// The name.
        plugin: String,
        /// Where it was searched.
        dirs: Vec<PathBuf>,
    },
    /// It could not be started, fed or waited for.
    #[error("plugin `{}` cannot be run", path.display())]
    Run {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was killed because it took too long.
    #[error("plugin `{plugin}` did not end within {} s and was killed", limit.as_secs_f64())]
    TimedOut {
        /// Its name.
        plugin: String,
        /// The limit.
        limit: Duration,
    },
    /// It printed an error of the protocol.
    #[error("{0}")]
    Refused(CniError),
    /// It failed without an error of the protocol.
    #[error("plugin `{plugin}` failed ({status}) without a CNI error; it printed `{output}`")]
    Failed {
        /// Its name.
        plugin: String,
        /// Exit code or signal.
        status: String,
        /// Its standard output, or its standard error if that is empty.
        output: String,
    },
    /// It printed something that is no text.
    #[error("plugin `{plugin}` printed something that is not UTF-8")]
    NotText {
        /// Its name.
        plugin: String,
    },
}

impl PluginCall {
    /// The call that a plugin makes to one that it delegates to: everything as it was called itself, but `command`.
    pub fn delegated(invocation: &Invocation, command: Command) -> Self {
        Self {
            command,
            container_id: invocation.container_id.clone(),
            netns: invocation.netns.clone(),
            ifname: invocation.ifname.clone(),
            args: invocation.args_text.clone(),
            path: invocation.path.clone(),
        }
    }
}

impl ProcessExecutor {
    /// Without a limit of time, as libcni.
    pub fn new() -> Self {
        Self { time_limit: None, busy_pause: Duration::from_secs(1) }
    }

    /// Kills a plugin, and what it started, when it takes longer.
    #[must_use]
    pub fn with_time_limit(self, limit: Duration) -> Self {
        Self { time_limit: Some(limit), ..self }
    }
}

impl Default for ProcessExecutor {
    fn default() -> Self {
        Self::new()
    }
}

impl Executor for ProcessExecutor {
    fn run(&self, plugin: &str, call: &PluginCall, stdin: &str) -> Result<String, ExecError> {
        let _ = (plugin, call, stdin, self.time_limit, self.busy_pause);
        todo!()
    }
}

/// The file of a plugin: the first executable regular file of this name in `dirs`.
///
/// # Errors
/// The name is no file name, or no directory has it.
pub fn find_plugin(plugin: &str, dirs: &[PathBuf]) -> Result<PathBuf, ExecError> {
    let _ = (plugin, dirs);
    todo!()
}

/// Runs a plugin that `invocation` delegates to, with its own standard input as it came.
///
/// # Errors
/// As [`Executor::run`], as an error of the protocol: code and message of the other plugin are kept.
pub fn delegate(
    exec: &dyn Executor,
    plugin: &str,
    invocation: &Invocation,
    command: Command,
) -> Result<String, CniError> {
    let call = PluginCall::delegated(invocation, command);
    Ok(exec.run(plugin, &call, &invocation.conf.text)?)
}

/// Asks the plugin of `ipam.type` for addresses.
///
/// # Errors
/// Code 7: there is no `ipam.type`. Else as [`delegate`], and code 6 for a result that cannot be read.
pub fn ipam_add(exec: &dyn Executor, invocation: &Invocation) -> Result<AddResult, CniError> {
    let plugin = ipam_plugin(invocation)?;
    let text = delegate(exec, &plugin, invocation, Command::Add)?;
    AddResult::parse(&text, invocation.conf.version)
}

/// Gives the addresses back, whatever the command of `invocation` is: also to undo an ADD.
///
/// # Errors
/// As [`ipam_add`].
pub fn ipam_del(exec: &dyn Executor, invocation: &Invocation) -> Result<(), CniError> {
    ipam_without_result(exec, invocation, Command::Del)
}

/// Has the addresses checked.
///
/// # Errors
/// As [`ipam_add`].
pub fn ipam_check(exec: &dyn Executor, invocation: &Invocation) -> Result<(), CniError> {
    ipam_without_result(exec, invocation, Command::Check)
}

/// Hands GC on, as the specification demands.
///
/// # Errors
/// As [`ipam_add`].
pub fn ipam_gc(exec: &dyn Executor, invocation: &Invocation) -> Result<(), CniError> {
    ipam_without_result(exec, invocation, Command::Gc)
}

/// Hands STATUS on, as the specification demands.
///
/// # Errors
/// As [`ipam_add`].
pub fn ipam_status(exec: &dyn Executor, invocation: &Invocation) -> Result<(), CniError> {
    ipam_without_result(exec, invocation, Command::Status)
}

fn ipam_without_result(
    exec: &dyn Executor,
    invocation: &Invocation,
    command: Command,
) -> Result<(), CniError> {
    delegate(exec, &ipam_plugin(invocation)?, invocation, command).map(|_| ())
}

fn ipam_plugin(invocation: &Invocation) -> Result<String, CniError> {
    let name = invocation.conf.ipam_type()?;
    name.ok_or_else(|| CniError::new(ErrorCode::BadConfig, "network configuration has no `ipam.type`"))
}

fn searched(dirs: &[PathBuf]) -> String {
    let dirs: Vec<String> = dirs.iter().map(|dir: &PathBuf| format!("`{}`", Path::display(dir))).collect();
    if dirs.is_empty() { "CNI_PATH, which is empty".to_owned() } else { dirs.join(", ") }
}
