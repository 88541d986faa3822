//! Makes the script by which the linker puts together what a call of the plugin runs (`crates/firewallnetns/hot.ld`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};
use fwn_bench::cargo::Profile;
use fwn_bench::contender::{Operation, plugin_call};
use fwn_bench::hot::{addresses, become_traced, functions, names, render_script};
use fwn_bench::launch::Step;
use fwn_bench::material::Material;
use fwn_bench::programs::Programs;
use fwn_bench::workload::Workload;
use fwn_bench::{BenchError, failed};
use fwn_testkit::Netns;

/// Runs ADD and DEL of the seed example step by step, in network namespaces of its own, and writes down which functions
/// they came to. Needs root, nm, and what the bench needs.
#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    traced: Option<Traced>,
}

#[derive(Debug, Subcommand)]
enum Traced {
    /// Become this program, traced by who called
    #[command(hide = true)]
    Become { program: PathBuf },
}

fn main() -> ExitCode {
    let done = match Options::parse().traced {
        Some(Traced::Become { program }) => {
            let source = become_traced(&program);
            Err(BenchError::Start { program, source })
        }
        None => make(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed("hot", &error),
    }
}

fn make() -> Result<(), BenchError> {
    let programs = Programs::build(Profile::Symbols, None)?;
    let (host, netns) = (Netns::new(), Netns::new());
    let material = Material::prepare(Workload::Seed, &programs, &host)?;
    material.forget_state()?;
    let mut all = Vec::new();
    for operation in [Operation::Add, Operation::Del] {
        let call = plugin_call(&material, operation, &programs.plugin, &netns);
        let own = std::env::current_exe();
        let own = own.map_err(|source| BenchError::Start { program: "hot".into(), source })?;
        let arguments = vec!["become".into(), call.program.into()];
        all.extend(addresses(&Step { program: own, arguments, ..call }, &host)?);
    }
    let functions = functions(&listing(&programs.plugin)?);
    let script = render_script(&names(&functions, &all));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/firewallnetns/hot.ld");
    fs::write(&path, script).map_err(|source| BenchError::File { path, source })
}

/// The functions of a program, as nm lists them.
fn listing(program: &Path) -> Result<String, BenchError> {
    let mut nm = Command::new("nm");
    let output = nm.args(["--print-size", "--numeric-sort"]).arg(program).output();
    match output {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => {
            let output = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(BenchError::Failed { command: "nm".to_owned(), output })
        }
        Err(source) => Err(BenchError::Start { program: "nm".into(), source }),
    }
}
