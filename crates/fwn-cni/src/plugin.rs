//! A plugin's side of the protocol: environment and standard input in, one JSON on standard output and an exit code
//! out.
//!
//! Everything comes as an argument, so a whole call can be tested in process. Nothing else is ever written to standard
//! output. A panic becomes error 999: in [`serve`] where panics unwind, by [`report_panics`] where they abort (the
//! release build).

use std::any::Any;
use std::io::{self, Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU8, Ordering};

use serde::Serialize;

use crate::error::{CniError, ErrorCode};
use crate::invocation::{Command, Env, Invocation, input_version, peek_version};
use crate::object::json_text;
use crate::version::SpecVersion;

/// What a plugin does. Each function gets a call that has been checked; a version that does not have the command
/// never comes here.
pub trait Plugin {
    /// Its name, as in `type`.
    fn name(&self) -> &str;

    /// ADD. Gives the result's JSON, in the version of the configuration.
    ///
    /// # Errors
    /// What the runtime is told; the plugin has undone its own work.
    fn add(&self, invocation: &Invocation) -> Result<String, CniError>;

    /// DEL. What is gone already is success.
    ///
    /// # Errors
    /// What the runtime is told; it may try again.
    fn del(&self, invocation: &Invocation) -> Result<(), CniError>;

    /// CHECK.
    ///
    /// # Errors
    /// What is not as ADD left it.
    fn check(&self, invocation: &Invocation) -> Result<(), CniError>;

    /// GC. Goes on after errors.
    ///
    /// # Errors
    /// All that went wrong.
    fn gc(&self, invocation: &Invocation) -> Result<(), CniError>;

    /// STATUS.
    ///
    /// # Errors
    /// Code 50 or 51: why ADD would not work.
    fn status(&self, invocation: &Invocation) -> Result<(), CniError>;
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Served {
    /// `CNI_COMMAND` is not set: no runtime is calling, nothing was read or written. A program with a command line
    /// goes there, another one writes [`about`] to standard error and ends with 0.
    NotCalled,
    /// Answered; the process ends with this code.
    Exit(u8),
}

/// Serves one call.
pub fn serve(
    plugin: &dyn Plugin,
    env: &Env<'_>,
    stdin: &mut dyn Read,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> Served {
    // most configurations come in one read
    let mut input = Vec::with_capacity(8 * 1024);
    let command = match Command::from_env(env) {
        Ok(None) => return Served::NotCalled,
        Ok(Some(command)) => Ok(command),
        Err(error) => Err(error),
    };
    let read = stdin.read_to_end(&mut input);
    // the input is read for its version alone only where something is wrong with the rest
    SERVING.store(index_of(SpecVersion::LATEST), Ordering::Relaxed);
    let answer = command.and_then(|command| {
        read.map_err(|error| {
            CniError::new(ErrorCode::Io, "standard input cannot be read").with_details(error.to_string())
        })?;
        unwinding(|| answer(plugin, command, env, &input))
    });
    SERVING.store(NOT_SERVING, Ordering::Relaxed);
    let (text, code) = match answer {
        Ok(text) => (text, 0),
        Err(error) => (error.to_json(input_version(&input)), 1),
    };
    if text.is_empty() {
        return Served::Exit(code);
    }
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => Served::Exit(code),
        Err(error) => {
            // nobody is left to hear it if standard error is closed too
            let _ = writeln!(stderr, "{}: standard output cannot be written: {error}: {text}", plugin.name());
            Served::Exit(1)
        }
    }
}

/// The line that tells people who start a plugin by hand what it is.
pub fn about(name: &str, program_version: &str) -> String {
    let versions = SpecVersion::ALL.map(SpecVersion::as_str).join(", ");
    format!("CNI plugin {name} v{program_version}\nCNI protocol versions supported: {versions}\n")
}

/// Makes a panic on any thread during [`serve`] answer the runtime with error 999, in builds where a panic ends the
/// process at once. Call it once, first thing in `main`. The usual message still goes to standard error.
pub fn report_panics() {
    if cfg!(panic = "unwind") {
        return;
    }
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        usual(info);
        let serving = SERVING.swap(NOT_SERVING, Ordering::Relaxed);
        if let Some(version) = SpecVersion::ALL.get(usize::from(serving)) {
            let json = panicked(info.payload()).to_json(*version) + "\n";
            // not through the lock of `io::stdout`: the thread that serves may hold it. The process is ending, so
            // there is nothing to do about an error
            let _ = nix::unistd::write(io::stdout(), json.as_bytes());
        }
    }));
}

/// Index into [`SpecVersion::ALL`] of the version in which a call is being served.
static SERVING: AtomicU8 = AtomicU8::new(NOT_SERVING);
const NOT_SERVING: u8 = u8::MAX;

fn index_of(version: SpecVersion) -> u8 {
    let index = SpecVersion::ALL.iter().position(|known| *known == version);
    index.and_then(|index| u8::try_from(index).ok()).unwrap_or(NOT_SERVING)
}

fn answer(plugin: &dyn Plugin, command: Command, env: &Env<'_>, input: &[u8]) -> Result<String, CniError> {
    if command == Command::Version {
        return Ok(version_json(input));
    }
    let invocation = Invocation::parse(command, env, input)?;
    SERVING.store(index_of(invocation.conf.version), Ordering::Relaxed);
    let done = match command {
        Command::Add => return plugin.add(&invocation),
        Command::Del => plugin.del(&invocation),
        Command::Check => plugin.check(&invocation),
        Command::Gc => plugin.gc(&invocation),
        Command::Status => plugin.status(&invocation),
        Command::Version => Ok(()),
    };
    done.map(|()| String::new())
}

/// The answer to VERSION: `cniVersion` as the runtime gave it, whatever it is, else our newest. Input that cannot be
/// read counts as none, since probes by hand and by old runtimes send nothing useful.
fn version_json(input: &[u8]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Versions {
        cni_version: String,
        supported_versions: [&'static str; 7],
    }
    json_text(&Versions {
        cni_version: peek_version(input).unwrap_or_else(|| SpecVersion::LATEST.to_string()),
        supported_versions: SpecVersion::ALL.map(SpecVersion::as_str),
    })
}

/// Runs `call`; a panic in it becomes an error, if panics unwind.
fn unwinding<T>(call: impl FnOnce() -> Result<T, CniError>) -> Result<T, CniError> {
    // what `call` borrows is not looked at again after a panic
    panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| Err(panicked(payload.as_ref())))
}

fn panicked(payload: &dyn Any) -> CniError {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    CniError::new(ErrorCode::Internal, "fault in the plugin, please report it")
        .with_details(text.unwrap_or_else(|| "panic without a message".to_owned()))
}
