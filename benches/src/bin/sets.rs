//! The command line of the bench of ipsetd: many entries and single ones, as a table of ratios.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use fwn_bench::cargo::{Profile, build};
use fwn_bench::daemon::Daemon;
use fwn_bench::report::{describe_machine, render_sets};
use fwn_bench::{BenchError, failed, round_trip, stream};
use fwn_testkit::Sandbox;

/// Compares ipsetd with `ipset restore` and with a server that sends back what it gets, in turns, as ratios. Needs
/// root and ipset; works in network namespaces of its own.
#[derive(Debug, Parser)]
struct Options {
    /// How often the entries are sent down one connection
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How many entries that are
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    entries: u32,
    /// How many single lines are sent
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u16).range(1..))]
    lines: u16,
}

fn main() -> ExitCode {
    match bench(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed("sets", &error),
    }
}

fn bench(options: &Options) -> Result<(), BenchError> {
    let built = build(Profile::Release, &[("ipsetd", "ipsetd")])?;
    let sandbox = Sandbox::new();
    sandbox.connect();
    let daemon = Daemon::start(built.program("ipsetd")?, &sandbox.container)?;
    let stream = stream::measure(&sandbox, &daemon, options.entries, options.rounds.into())?;
    let trips = round_trip::measure(&sandbox, &daemon, options.lines)?;
    let table = render_sets(options.entries, &stream, &trips);
    writeln!(std::io::stdout(), "{}\n\n{table}", describe_machine(&built.how)).map_err(BenchError::Print)
}
