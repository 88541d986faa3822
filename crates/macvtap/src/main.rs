//! The program around [`Macvtap`]: the process's environment and standard streams, and the exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use fwn_cni::exec::ProcessExecutor;
use fwn_cni::plugin::{Served, about, report_panics, serve};
use macvtap::Macvtap;

fn main() -> ExitCode {
    report_panics();
    if log::set_logger(&StderrLog).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
    let plugin = Macvtap::new(ProcessExecutor::new());
    let env = |name: &str| std::env::var(name).ok();
    // not locked: threads in the container's namespace may have something to log
    match serve(&plugin, &env, &mut io::stdin(), &mut io::stdout(), &mut io::stderr()) {
        Served::Exit(code) => ExitCode::from(code),
        Served::NotCalled => {
            // nobody is left to hear it if standard error is closed
            let _ = io::stderr().write_all(about("macvtap", env!("CARGO_PKG_VERSION")).as_bytes());
            ExitCode::SUCCESS
        }
    }
}

/// Warnings to standard error, where runtimes keep them; standard output is for the result alone.
struct StderrLog;

impl log::Log for StderrLog {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let _ = writeln!(io::stderr(), "macvtap: {}", record.args());
        }
    }

    fn flush(&self) {}
}
