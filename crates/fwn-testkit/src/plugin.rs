//! Calls of a CNI plugin as a runtime makes them: environment and stdin in; exit code, stdout and stderr out.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Sandbox;

/// One call of a plugin, run in the sandbox's host namespace.
#[derive(Debug, Clone)]
pub struct PluginCall<'a> {
    sandbox: &'a Sandbox,
    program: PathBuf,
    environment: Vec<(String, String)>,
    stdin: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Everything on stdout.
    pub stdout: String,
    /// Everything on stderr.
    pub stderr: String,
}

impl<'a> PluginCall<'a> {
    /// A call of `program` for the container `c1` and the interface `eth0` in the sandbox's container namespace, with
    /// an environment of `CNI_*` and `PATH` alone.
    pub fn new(
        sandbox: &'a Sandbox,
        program: impl Into<PathBuf>,
        command: &str,
        stdin: impl Into<String>,
    ) -> Self {
        let call = Self { sandbox, program: program.into(), environment: Vec::new(), stdin: stdin.into() };
        call.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", "c1")
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", sandbox.container.path().display().to_string())
            .env("CNI_PATH", "/usr/lib/cni")
    }

    /// Sets a variable, or another value of it.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Removes a variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self
    }

    /// The command, not started yet: for a test that watches or kills it. Its stdin is a pipe.
    pub fn command(&self) -> Command {
        let mut command = self.sandbox.host.command(&self.program);
        command.env_clear().envs(self.environment.iter().cloned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// It cannot be started, or prints what is no UTF-8.
    pub fn run(&self) -> Answer {
        let mut child = self.command().spawn().expect("the plugin starts");
        // a plugin that refuses early does not read all of it
        let _ = child.stdin.take().expect("piped").write_all(self.stdin.as_bytes());
        let output = child.wait_with_output().expect("the plugin ends");
        Answer {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// What goes to stdin.
    pub fn stdin(&self) -> &str {
        &self.stdin
    }
}

impl Answer {
    /// The JSON on stdout of a call that succeeded; `null` where it printed nothing.
    ///
    /// # Panics
    /// It failed, or printed something else than one JSON.
    pub fn expect_success(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "the call failed: {self:?}");
        if self.stdout.is_empty() {
            return serde_json::Value::Null;
        }
        serde_json::from_str(&self.stdout).expect("one JSON on stdout")
    }

    /// Code, message and details of a call that failed.
    ///
    /// # Panics
    /// It succeeded, or its stdout is no CNI error.
    pub fn expect_error(&self) -> (u64, String, String) {
        assert_ne!(self.code, Some(0), "the call succeeded: {self:?}");
        let error: serde_json::Value = serde_json::from_str(&self.stdout).expect("one JSON on stdout");
        let text =
            |key: &str| error.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let code = error.get("code").and_then(serde_json::Value::as_u64).expect("a code");
        (code, text("msg"), text("details"))
    }
}

/// A program of this workspace: in the folder that the variable `FWN_PROGRAMS` names, where what is shipped is to be
/// tested, and else built by the same `cargo test`, beside the folder of the running test.
///
/// # Panics
/// It is not there.
pub fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("FWN_PROGRAMS").map_or_else(beside_the_test, PathBuf::from);
    let program = folder.join(name);
    assert!(program.exists(), "`{}` is not built: run `cargo build --workspace` first", program.display());
    program
}

fn beside_the_test() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST").to_owned()
}

/// Writes an executable script, in a process of its own: a thread that forks meanwhile would take our descriptor with
/// it, and nobody could run the script as long as it is open for writing (`ETXTBSY`).
///
/// # Panics
/// It cannot be written.
pub fn write_script(path: &Path, text: &str) {
    let mut shell = Command::new("sh")
        .args(["-ec", "cat >\"$0\"; chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell runs");
    shell.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    assert!(shell.wait().expect("it ends").success(), "`{}` cannot be written", path.display());
}
