//! How much of what iptables' own tests accept the native engine encodes, and whether it means the same. The folder of
//! the tests (`extensions` of iptables' source package) comes in, the numbers go out; `tools/iptables-tests` fetches
//! the package and runs this. Every rule is tried in namespaces of its own.

mod measure;
mod namespace;
mod report;
mod test_file;

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use clap::Parser;
use firewallnetns::databases::HostDatabases;

use crate::measure::{Case, measure};
use crate::report::Report;
use crate::test_file::{TestLine, families, parse_test_file};

type Failure = Box<dyn Error + Send + Sync>;
/// Files with their lines.
type TestFiles = Vec<(String, Vec<TestLine>)>;

/// Tries iptables' own tests on the native engine.
#[derive(Debug, Parser)]
struct Arguments {
    /// Fail if less than this share of the lines that iptables accepts, in percent, is encoded natively
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    at_least: usize,
    /// Only the files whose name holds this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// The folder `extensions` of iptables' source package
    folder: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "iptables-tests: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let files = read_files(&arguments.folder, &arguments.only)?;
    let mut cases = Vec::new();
    for (file, lines) in &files {
        for family in families(file) {
            for line in lines {
                let case = |chain| Case { file, line, chain, family: *family };
                cases.extend(line.chains.iter().map(String::as_str).map(case));
            }
        }
    }
    let report = measure_all(&cases)?;
    let total = report.total();
    let (native, lines) = report.lines();
    let share = 1000 * native / lines.max(1);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut out = io::stdout().lock();
    write!(out, "{report}")?;
    writeln!(out, "\n{}, Linux {}", namespace::version()?, kernel.trim_end())?;
    writeln!(out, "{} cases: a line, a family, a chain each", cases.len())?;
    writeln!(
        out,
        "{native} of {lines} lines that iptables accepts are native, {}.{} %",
        share / 10,
        share % 10
    )?;
    writeln!(out, "{} of them saved otherwise", total.native - total.same_save)?;
    Ok(total.native == total.same_save && lines > 0 && share >= 10 * arguments.at_least)
}

/// All tests, by the name of their file.
fn read_files(folder: &Path, only: &str) -> Result<TestFiles, Failure> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| format!("`{}`: {error}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().extension().is_none_or(|it| it != "t")
            || !name.contains(only)
            || families(&name).is_empty()
        {
            continue;
        }
        let text = std::fs::read_to_string(entry.path())?;
        let lines = parse_test_file(&text).map_err(|error| format!("{name}: {error}"))?;
        files.push((name, lines));
    }
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(files)
}

/// Measures on all processors: most of the time goes into starting programs.
fn measure_all(cases: &[Case<'_>]) -> io::Result<Report> {
    let report = Mutex::new(Report::default());
    let left = Mutex::new(cases.iter());
    let next = || left.lock().ok()?.next();
    let work = || {
        let databases = HostDatabases::new("/etc");
        while let Some(case) = next() {
            let outcome = measure(case, &databases)?;
            if let Ok(mut report) = report.lock() {
                report.add(case, &outcome);
            }
        }
        io::Result::Ok(())
    };
    std::thread::scope(|scope| {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    report.into_inner().map_err(|_| io::Error::other("a thread failed"))
}
