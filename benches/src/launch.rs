//! Programs started in a namespace and timed. Every contender has the same overhead: a thread enters the namespace
//! before the clock starts, and what it starts inherits that.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fwn_testkit::Netns;

use crate::BenchError;
use crate::material::scratch_parent;

/// One program to start.
#[derive(Debug, Clone)]
pub struct Step {
    /// Which; without a slash it is looked for in the folders of [`SEARCH_PATH`].
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its environment, besides `PATH`.
    pub environment: Vec<(&'static str, OsString)>,
    /// The file on its stdin.
    pub stdin: Option<PathBuf>,
}

/// `PATH` of all programs.
pub const SEARCH_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

impl Step {
    /// A program with its arguments.
    pub fn new(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.into(), arguments, environment: Vec::new(), stdin: None }
    }

    /// The same, watched by strace, which writes its log to a file.
    #[must_use]
    pub fn traced(self, options: &[&str], log: &Path) -> Self {
        let mut arguments: Vec<OsString> = options.iter().map(Into::into).collect();
        arguments.extend(["-o".into(), log.into(), self.program.into()]);
        arguments.extend(self.arguments);
        Self { program: "strace".into(), arguments, ..self }
    }

    /// Starts the program where the caller is.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self) -> Result<Child, BenchError> {
        let output = File::options().write(true).open("/dev/null");
        let output = output.map_err(|source| BenchError::File { path: "/dev/null".into(), source })?;
        let program = self.program.clone();
        self.command(&output)?.spawn().map_err(|source| BenchError::Start { program, source })
    }

    fn describe(&self) -> String {
        let mut text = self.program.display().to_string();
        for argument in &self.arguments {
            text.push(' ');
            text.push_str(&argument.to_string_lossy());
        }
        text
    }

    fn command(&self, output: &File) -> Result<Command, BenchError> {
        let file = |source| BenchError::File { path: self.stdin.clone().unwrap_or_default(), source };
        let mut command = Command::new(find(&self.program));
        command.args(&self.arguments).env_clear().env("PATH", SEARCH_PATH);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        match &self.stdin {
            Some(path) => command.stdin(File::open(path).map_err(file)?),
            None => command.stdin(Stdio::null()),
        };
        command.stdout(output.try_clone().map_err(file)?).stderr(output.try_clone().map_err(file)?);
        Ok(command)
    }
}

/// The path of a program, so that no search is part of what is measured.
fn find(program: &Path) -> PathBuf {
    if program.components().count() > 1 {
        return program.to_owned();
    }
    let found =
        SEARCH_PATH.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.exists());
    found.unwrap_or_else(|| program.to_owned())
}

/// Runs programs one after the other inside `netns`; gives the time from the first start to the last end.
///
/// # Errors
/// One cannot be started, or fails.
pub fn run(netns: &Netns, steps: &[Step]) -> Result<Duration, BenchError> {
    let scratch = |source| BenchError::File { path: scratch_parent(), source };
    // in memory, as the pipe to a runtime is
    let mut output = tempfile::tempfile_in(scratch_parent()).map_err(scratch)?;
    let mut commands = Vec::new();
    for step in steps {
        commands.push((step, step.command(&output)?));
    }
    let (elapsed, failed) = netns.run(|| {
        let start = Instant::now();
        for (step, command) in &mut commands {
            match command.status() {
                Ok(status) if status.success() => {}
                result => return (start.elapsed(), Some((*step, result.err()))),
            }
        }
        (start.elapsed(), None)
    });
    match failed {
        None => Ok(elapsed),
        Some((step, Some(source))) => Err(BenchError::Start { program: step.program.clone(), source }),
        Some((step, None)) => {
            let mut text = String::new();
            output.rewind().and_then(|()| output.read_to_string(&mut text)).map_err(scratch)?;
            Err(BenchError::Failed { command: step.describe(), output: text })
        }
    }
}
