//! The CNI plugin and the command line for people: one program, told apart by `CNI_COMMAND`.
//!
//! One-way flow: an invocation comes in; `gather` reads files and names on the host's side; the pure core decides
//! a plan; the kernel crate applies it; a result or an error goes out.

use std::ffi::OsString;
use std::io::{Read, Write};

mod add;
mod ahead;
mod call;
mod check;
mod cli;
mod data_dir;
pub mod databases;
mod del;
mod delegate;
mod failure;
mod gather;
mod gc;
mod ipsetd;
mod lint;
mod logging;
#[cfg(target_arch = "x86_64")]
pub mod memcpy;
pub mod memory;
mod persist;
mod plugin;
mod policy;
mod resolver;
mod settings;
mod state;
mod status;
mod variables;

use cli::demo::ipam::StaticIpam;
use fwn_cni::plugin::{Plugin, Served, serve};
use plugin::Firewall;

/// The streams of a process.
pub struct Streams<'a> {
    /// Standard input: the configuration, of a call by a runtime.
    pub stdin: &'a mut dyn Read,
    /// Standard output: one JSON, of a call by a runtime.
    pub stdout: &'a mut dyn Write,
    /// Standard error: all else.
    pub stderr: &'a mut dyn Write,
}

/// The command line for people, as data: manuals and completions are made from it.
pub fn command_line() -> clap::Command {
    cli::command_line()
}

/// Runs the program with this environment and these arguments, the program's own name first. Gives the exit code.
pub fn run(
    environment: impl Iterator<Item = (OsString, OsString)>,
    arguments: Vec<OsString>,
    streams: &mut Streams<'_>,
) -> u8 {
    // what is no UTF-8 cannot be used in a rule, nor is it a variable of the protocol
    let environment: Vec<(String, String)> = environment
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let env =
        |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let firewall = Firewall { environment: environment.clone() };
    // under another name the same file is the demo's own IPAM plugin
    let plugin: &dyn Plugin = if cli::demo::ipam::is_called(&arguments) { &StaticIpam } else { &firewall };
    match serve(plugin, &env, streams.stdin, streams.stdout, streams.stderr) {
        Served::Exit(code) => code,
        Served::NotCalled => cli::run(arguments, &environment, streams),
    }
}
