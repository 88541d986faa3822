//! The command line of the bench: what to measure in, a table (or JSON) and a plot out.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use fwn_bench::cargo::Profile;
use fwn_bench::contender::Operation;
use fwn_bench::material::Material;
use fwn_bench::measure::Bench;
use fwn_bench::plot::render_plot;
use fwn_bench::programs::Programs;
use fwn_bench::report::{describe_machine, render_json, render_table};
use fwn_bench::workload::Workload;
use fwn_bench::{BenchError, failed};
use fwn_testkit::Netns;

/// Compares firewallnetns with a floor and the usual tools: wall times, in turns, as ratios. Needs root, iptables,
/// ipset, nft and strace; works in network namespaces of its own.
#[derive(Debug, Parser)]
struct Options {
    /// How often everything is measured
    #[arg(long, default_value_t = 21)]
    rounds: usize,
    /// What is put in force: `seed`, or numbers of rules
    #[arg(long, value_delimiter = ',', default_value = "seed,10,100,1000,10000")]
    sizes: Vec<String>,
    /// Write a plot to this file (PNG)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print all times and ratios as JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Who encodes the rules, as the key of that name in the configuration
    #[arg(long, default_value = "auto", value_parser = ["auto", "native", "iptables"])]
    engine: String,
    /// Measure this build of the plugin instead of a fresh one
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
}

fn main() -> ExitCode {
    match bench(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed("fwn-bench", &error),
    }
}

/// Progress, on stderr.
fn say(text: &str) {
    // where stderr is closed nobody listens
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn bench(options: &Options) -> Result<(), BenchError> {
    let workloads: Vec<Workload> = options.sizes.iter().map(|size| size.parse()).collect::<Result<_, _>>()?;
    let mut programs = Programs::build(Profile::Release, options.plugin.as_deref())?;
    programs.engine.clone_from(&options.engine);
    let host = Netns::new();
    let bench = Bench { programs: &programs, host: &host, rounds: options.rounds };
    let mut all = Vec::new();
    for workload in workloads {
        let material = Material::prepare(workload, &programs, &host)?;
        let operations: &[_] = match workload {
            Workload::Seed => &[Operation::Add, Operation::Del],
            Workload::Rules(_) => &[Operation::Add],
        };
        for operation in operations {
            say(&format!("{operation}, {workload}: {} rounds", options.rounds));
            all.push(bench.measure(&material, *operation)?);
        }
    }
    let machine = describe_machine(&programs.how);
    if let Some(path) = &options.plot {
        let file = |source| BenchError::File { path: path.clone(), source };
        std::fs::write(path, render_plot(&all)?).map_err(file)?;
    }
    let text = if options.json {
        format!("{:#}", render_json(&machine, options.rounds, &all))
    } else {
        format!(
            "{machine}; engine {}; {} rounds\n\nWall time of firewallnetns (median), and of the others as a multiple of it in the \
             same round: **median** (quartiles). Quickest: our shortest time as a multiple of the floor's shortest.\n\n{}",
            options.engine,
            options.rounds,
            render_table(&all)
        )
    };
    writeln!(std::io::stdout(), "{}", text.trim_end()).map_err(BenchError::Print)
}
