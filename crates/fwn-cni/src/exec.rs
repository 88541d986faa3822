//! Running another plugin: for IPAM, for delegation, and for chains.
//!
//! A call, standard input and a search path go in; standard output or an error comes out. What runs is found by name in
//! the directories given and nowhere else. The child gets our environment with the `CNI_*` variables replaced, and runs
//! in the network namespace of the calling thread.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use serde::Deserialize;

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
    #[error("no executable file `{plugin}` in {}", searched(dirs))]
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
        let path = find_plugin(plugin, &call.path)?;
        let deadline = self.time_limit.map(|limit| (Instant::now() + limit, limit));
        let cannot = |source| ExecError::Run { path: path.clone(), source };
        let mut child = self.spawn(&path, call).map_err(cannot)?;
        let events = watch(&mut child, stdin.to_owned());
        let mut finished = Finished::default();
        while let Some(event) = next_event(&events, deadline.map(|(end, _)| end)) {
            finished.take(event).map_err(cannot)?;
        }
        if let (Some((_, limit)), false) = (deadline, finished.is_complete()) {
            kill_group(&mut child).map_err(cannot)?;
            return Err(ExecError::TimedOut { plugin: plugin.to_owned(), limit });
        }
        let status = child.wait().map_err(cannot)?;
        finished.judge(plugin, status)
    }
}

impl ProcessExecutor {
    /// Starts the child. A file that is just being written is tried again as often as libcni does.
    fn spawn(&self, path: &Path, call: &PluginCall) -> io::Result<Child> {
        let mut command = process::Command::new(path);
        let netns = call.netns.clone().unwrap_or_default();
        let dirs: Vec<&OsStr> = call.path.iter().map(|dir| dir.as_os_str()).collect();
        command
            .env("CNI_COMMAND", call.command.as_str())
            .env("CNI_CONTAINERID", &call.container_id)
            .env("CNI_NETNS", netns)
            .env("CNI_IFNAME", &call.ifname)
            .env("CNI_ARGS", &call.args)
            .env("CNI_PATH", dirs.join(OsStr::new(":")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if self.time_limit.is_some() {
            // what the plugin starts is killed with it
            command.process_group(0);
        }
        for _ in 0..BUSY_TRIES {
            match command.spawn() {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    thread::sleep(self.busy_pause);
                }
                done => return done,
            }
        }
        command.spawn()
    }
}

/// How often libcni tries again when a file is busy.
const BUSY_TRIES: u32 = 5;

/// What happens to a child, each once.
enum Event {
    Stdout(io::Result<Vec<u8>>),
    Stderr(Vec<u8>),
    Exited,
}

/// Feeds the child and watches it, on threads of their own. They are not joined: with a time limit, a grandchild that
/// keeps a pipe open cannot keep us. Without one we wait for it, as libcni does.
fn watch(child: &mut Child, stdin: String) -> mpsc::Receiver<Event> {
    let (sender, events) = mpsc::channel();
    let pid = Pid::from_raw(child.id().cast_signed());
    if let Some(mut pipe) = child.stdin.take() {
        // a plugin need not read its input: its answer counts, not a broken pipe
        thread::spawn(move || pipe.write_all(stdin.as_bytes()));
    }
    if let Some(mut pipe) = child.stdout.take() {
        let sender = sender.clone();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = pipe.read_to_end(&mut bytes).map(|_| bytes);
            sender.send(Event::Stdout(read))
        });
    }
    if let Some(pipe) = child.stderr.take() {
        let sender = sender.clone();
        thread::spawn(move || sender.send(Event::Stderr(pass_through(pipe))));
    }
    thread::spawn(move || {
        // without reaping it, so that its pid stays valid for a kill
        while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
        sender.send(Event::Exited)
    });
    events
}

/// Copies to our standard error as it comes, and gives all of it. A log is not worth failing for.
fn pass_through(mut pipe: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut chunk) {
        let read = chunk.get(..count).unwrap_or_default();
        let _ = io::stderr().write_all(read);
        all.extend_from_slice(read);
    }
    all
}

/// The next event, unless there will be none or the time is over.
fn next_event(events: &mpsc::Receiver<Event>, deadline: Option<Instant>) -> Option<Event> {
    match deadline {
        None => events.recv().ok(),
        Some(end) => events.recv_timeout(end.saturating_duration_since(Instant::now())).ok(),
    }
}

fn kill_group(child: &mut Child) -> io::Result<()> {
    killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL)?;
    child.wait().map(|_| ())
}

#[derive(Default)]
struct Finished {
    stdout: Option<Vec<u8>>,
    stderr: Option<Vec<u8>>,
    exited: bool,
}

impl Finished {
    fn take(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Stdout(bytes) => self.stdout = Some(bytes?),
            Event::Stderr(bytes) => self.stderr = Some(bytes),
            Event::Exited => self.exited = true,
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.exited && self.stdout.is_some() && self.stderr.is_some()
    }

    /// Standard output of a plugin that succeeded, or the error that it means.
    fn judge(self, plugin: &str, status: ExitStatus) -> Result<String, ExecError> {
        let stdout = self.stdout.unwrap_or_default();
        if status.success() {
            return String::from_utf8(stdout).map_err(|_| ExecError::NotText { plugin: plugin.to_owned() });
        }
        if let Some(error) = parse_error(&stdout) {
            return Err(ExecError::Refused(error));
        }
        let output = if stdout.trim_ascii().is_empty() { self.stderr.unwrap_or_default() } else { stdout };
        let output = String::from_utf8_lossy(output.trim_ascii()).into_owned();
        Err(ExecError::Failed { plugin: plugin.to_owned(), status: status.to_string(), output })
    }
}

/// An error of the protocol, if the text is one. Code 0, which means nothing, becomes [`ErrorCode::PluginFailed`].
fn parse_error(stdout: &[u8]) -> Option<CniError> {
    #[derive(Deserialize)]
    struct Json {
        #[serde(default)]
        code: u32,
        msg: String,
        details: Option<String>,
    }
    let json: Json = serde_json::from_slice(stdout).ok()?;
    let code = if json.code == 0 { ErrorCode::PluginFailed.into() } else { json.code };
    let details = json.details.filter(|details| !details.is_empty());
    Some(CniError { code, msg: json.msg, details })
}

/// The file of a plugin: the first executable regular file of this name in `dirs`.
///
/// # Errors
/// The name is no file name, or no directory has it.
pub fn find_plugin(plugin: &str, dirs: &[PathBuf]) -> Result<PathBuf, ExecError> {
    if plugin.is_empty() || plugin == "." || plugin == ".." || plugin.contains(['/', '\0']) {
        return Err(ExecError::BadName { plugin: plugin.to_owned() });
    }
    let executable = |path: &PathBuf| {
        path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    let found = dirs.iter().map(|dir| dir.join(plugin)).find(executable);
    found.ok_or_else(|| ExecError::NotFound { plugin: plugin.to_owned(), dirs: dirs.to_vec() })
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
    let dirs: Vec<String> = dirs.iter().map(|dir| format!("`{}`", dir.display())).collect();
    if dirs.is_empty() { "CNI_PATH, which is empty".to_owned() } else { dirs.join(", ") }
}
