//! A bench that anyone can run: the wall time of `firewallnetns` against other ways to the same firewall.
//!
//! In comes a list of workloads ([`workload`]); each is prepared once ([`material`]), every way there ([`contender`])
//! is shown to end in the same firewall, and then all are timed in turns ([`measure`]). Out come ratios within one
//! run ([`report`], [`plot`]): a time alone says little on a shared machine. Nothing touches the network namespace
//! that the bench is started in.

pub mod cargo;
pub mod contender;
pub mod daemon;
pub mod hot;
pub mod launch;
pub mod material;
pub mod measure;
pub mod plot;
pub mod programs;
pub mod recording;
pub mod report;
pub mod round_trip;
pub mod stream;
pub mod trace;
pub mod workload;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file or folder of the bench's own.
    #[error("cannot use `{path}`")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("cannot start `{program}`: is it installed?")]
    Start {
        /// Which.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program failed.
    #[error("`{command}` failed: {output}")]
    Failed {
        /// With its arguments.
        command: String,
        /// What it printed.
        output: String,
    },
    /// A workload that nobody knows.
    #[error("size `{0}` is neither `seed` nor a number from 1 to 100000")]
    Size(String),
    /// The recording is none.
    #[error("cannot read the recording: {0}")]
    Recording(&'static str),
    /// The comparison would not be honest.
    #[error("{workload}, {operation}: `{contender}` ends in another firewall:\n{first}")]
    Different {
        /// What was compared.
        workload: String,
        /// ADD or DEL.
        operation: String,
        /// Who differs.
        contender: &'static str,
        /// The first lines that differ.
        first: String,
    },
    /// A connection to a server that is measured.
    #[error("the connection failed")]
    Connection(#[source] io::Error),
    /// Not everything arrived.
    #[error("{sent} entries were sent and answered with `ok`, {found} are in the set")]
    Lost {
        /// How many were sent.
        sent: u32,
        /// How many are there.
        found: u64,
    },
    /// The plot could not be encoded.
    #[error("cannot encode the plot")]
    Plot(#[from] png::EncodingError),
    /// The result could not be printed.
    #[error("cannot print the result")]
    Print(#[source] io::Error),
}

/// Says on stderr why a program of the bench failed, and gives its exit code.
pub fn failed(program: &str, error: &BenchError) -> ExitCode {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    // where stderr is closed nobody listens
    let _ = writeln!(io::stderr(), "{program}: {error}{cause}");
    ExitCode::FAILURE
}
