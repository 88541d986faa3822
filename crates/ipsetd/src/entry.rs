//! The program as a container's entry point: the daemon stays, as pid 1, and starts the task beside it. Signals go
//! on to the task, orphans are reaped, and the exit code is the task's. What lets the daemon change sets is taken from
//! the task.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::thread::{
    CapabilitySet, capabilities, capability_is_in_ambient_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities,
};
use tokio::signal::unix::{SignalKind, signal};

/// The command is there but cannot be run, as shells have it.
const NOT_EXECUTABLE: u8 = 126;
/// The command is not there.
const NOT_FOUND: u8 = 127;

/// What goes on to the task. What cannot be caught, stops a terminal's job or is about the daemon itself stays here.
const FORWARDED: [Signal; 12] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::SIGCONT,
    Signal::SIGURG,
    Signal::SIGWINCH,
    Signal::SIGIO,
    Signal::SIGPWR,
];

/// To change sets, and to take over a process that may.
const TAKEN: [CapabilitySet; 2] = [CapabilitySet::NET_ADMIN, CapabilitySet::SYS_PTRACE];

/// Why the task does not run.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The task would keep what it must not have.
    #[error("cannot take CAP_NET_ADMIN from the command; hint: the daemon needs CAP_SETPCAP for that")]
    Capabilities(#[source] io::Error),
    /// It cannot be started.
    #[error("cannot run `{}`", .command.display())]
    Start {
        /// The command.
        command: OsString,
        /// Why.
        source: io::Error,
    },
    /// Signals cannot be received.
    #[error("cannot watch for signals")]
    Signals(#[source] io::Error),
}

impl EntryError {
    /// The exit code that tells it, as shells have it.
    pub fn code(&self) -> u8 {
        match self {
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => NOT_FOUND,
            Self::Start { .. } => NOT_EXECUTABLE,
            _ => 1,
        }
    }
}

/// Becomes the command: there is nothing to stay for. Returns only if that fails.
pub fn become_command(command: &[OsString]) -> EntryError {
    let (program, arguments) = split(command);
    let source = Command::new(&program).args(arguments).exec();
    EntryError::Start { command: program, source }
}

/// The task.
#[derive(Debug)]
pub struct Task {
    pid: Pid,
    signals: Vec<(Signal, tokio::signal::unix::Signal)>,
    children: tokio::signal::unix::Signal,
}

impl Task {
    /// Starts it. Runs in a runtime, before anything is changed that it would inherit.
    ///
    /// # Errors
    /// [`EntryError`]
    pub fn start(command: &[OsString]) -> Result<Self, EntryError> {
        // watched from before there is a task: no signal and no end of it is missed
        let children = signal(SignalKind::child()).map_err(EntryError::Signals)?;
        let watch = |number: Signal| Ok((number, signal(SignalKind::from_raw(number as i32))?));
        let signals =
            FORWARDED.into_iter().map(watch).collect::<io::Result<_>>().map_err(EntryError::Signals)?;
        let (program, arguments) = split(command);
        // capabilities belong to a thread, and a child has those of the thread that made it
        let start = || {
            give_up_capabilities().map_err(EntryError::Capabilities)?;
            let child = Command::new(&program).args(arguments).spawn();
            child.map_err(|source| EntryError::Start { command: program.clone(), source })
        };
        let started = std::thread::scope(|scope| scope.spawn(start).join());
        let child = started.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(Self { pid: Pid::from_raw(child.id().cast_signed()), signals, children })
    }

    /// Waits for its end, and passes on what it is sent meanwhile. Gives its exit code: 128 and the number of the
    /// signal that ended it, if one did.
    pub async fn ended(mut self) -> u8 {
        let pid = self.pid;
        for (number, mut stream) in self.signals.drain(..) {
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    match kill(pid, number) {
                        Ok(()) => log::debug!("passed {number} on"),
                        Err(error) => log::warn!("cannot pass {number} on: {error}"),
                    }
                }
            });
        }
        loop {
            if let Some(code) = reap(pid) {
                return code;
            }
            self.children.recv().await;
        }
    }
}

/// Collects every child that has ended, orphans that became ours too. Gives the exit code of the task, if it is one
/// of them.
fn reap(task: Pid) -> Option<u8> {
    let mut code = None;
    loop {
        let (pid, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) => (pid, status.cast_unsigned() as u8),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as u8),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return code,
            // stopped and continued ones are still there
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(error) => {
                log::error!("cannot wait for processes: {error}");
                return code;
            }
        };
        if pid == task {
            code = Some(status);
        }
    }
}

/// Of the calling thread, and of what it starts, for ever.
fn give_up_capabilities() -> io::Result<()> {
    for capability in TAKEN {
        // a kernel that has no ambient set has nothing in it
        if capability_is_in_ambient_set(capability).unwrap_or(false) {
            configure_capability_in_ambient_set(capability, false)?;
        }
        remove_capability_from_bounding_set(capability)?;
    }
    let mut sets = capabilities(None)?;
    for capability in TAKEN {
        sets.inheritable.remove(capability);
        sets.effective.remove(capability);
        sets.permitted.remove(capability);
    }
    Ok(set_capabilities(None, sets)?)
}

fn split(command: &[OsString]) -> (OsString, &[OsString]) {
    match command.split_first() {
        Some((program, arguments)) => (program.clone(), arguments),
        None => (OsString::new(), &[]),
    }
}
