//! The program: arguments and environment in, an exit code out.

use std::ffi::OsString;
use std::io::Write;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command};
use fwn_node::causes::with_causes;
use log::LevelFilter;

use crate::alone::{self, AloneError};
use crate::entry;
use crate::settings::{Given, flags};
use crate::{logging, node};

/// It did what it was asked for.
const SUCCESS: u8 = 0;
/// It failed, and said why.
const FAILURE: u8 = 1;
/// It was not understood; nothing was done.
const USAGE: u8 = 2;

const AFTER_HELP: &str = "\
Every flag can be set in the environment instead, by the variable in brackets; a flag wins.

Exit codes: 0 done, 1 failed, 2 not understood; those of COMMAND, if there is one.";

/// The command line.
pub fn command() -> Command {
    Command::new("ipsetd")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Changes the ipsets of this network namespace for those who may, while it runs")
        .after_help(AFTER_HELP)
        .args(flags())
        .subcommand(node::program::node_command())
        .subcommand(node::program::status_command())
        .disable_help_subcommand(true)
        .args_conflicts_with_subcommands(true)
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .help("Run this beside the daemon, as a container's entry point does")
                .num_args(1..)
                .last(true)
                .value_parser(clap::value_parser!(OsString)),
        )
}

/// Runs the program with this environment and these arguments, the program's own name first.
pub fn run(environment: impl Iterator<Item = (OsString, OsString)>, arguments: Vec<OsString>) -> u8 {
    // what is no UTF-8 is none of our variables
    let environment: Vec<(String, String)> = environment
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            let _ = std::io::stdout().write_all(error.render().to_string().as_bytes());
            return SUCCESS;
        }
        Err(error) => return say(&error.render().to_string(), USAGE),
    };
    match matches.subcommand() {
        Some(("node", matches)) => return run_node(matches, &environment),
        Some((_, matches)) => return run_status(matches),
        None => {}
    }
    let given = Given { flags: &matches, environment: &environment };
    let command: Vec<OsString> = matches.get_many("command").into_iter().flatten().cloned().collect();
    if let Some(why) = given.disabled() {
        say(&format!("ipsetd: nothing to do: {why}\n"), SUCCESS);
        if command.is_empty() {
            return SUCCESS;
        }
        let error = entry::become_command(&command);
        return say(&format!("ipsetd: error: {}\n", with_causes(&error)), error.code());
    }
    let settings = match given.settings() {
        Ok(settings) => settings,
        Err(error) => return say(&format!("ipsetd: error: {error}\n"), USAGE),
    };
    logging::start(if settings.debug { LevelFilter::Debug } else { LevelFilter::Info });
    let code = match alone::open(settings).and_then(|opened| opened.serve(&command)) {
        Ok(code) => code,
        Err(error) => failed(&error),
    };
    log::logger().flush();
    code
}

/// `ipsetd node`
fn run_node(matches: &ArgMatches, environment: &[(String, String)]) -> u8 {
    let (settings, debug) = match node::program::settings(matches, environment) {
        Ok(settings) => settings,
        Err(error) => return say(&format!("ipsetd: error: {error}\n"), USAGE),
    };
    logging::start(if debug { LevelFilter::Debug } else { LevelFilter::Info });
    let code = match node::program::run_node(&settings, environment) {
        Ok(()) => SUCCESS,
        Err(error) => {
            log::error!("{}", with_causes(&error));
            FAILURE
        }
    };
    log::logger().flush();
    code
}

/// `ipsetd status`
fn run_status(matches: &ArgMatches) -> u8 {
    match node::program::status(matches) {
        Ok(text) => {
            // nobody is left to read it if standard output is closed
            let _ = std::io::stdout().write_all(text.as_bytes());
            SUCCESS
        }
        Err(error) => say(&format!("ipsetd: error: {}\n", with_causes(&error)), FAILURE),
    }
}

fn failed(error: &AloneError) -> u8 {
    log::error!("{}", with_causes(error));
    match error {
        AloneError::Entry(error) => error.code(),
        _ => FAILURE,
    }
}

fn say(text: &str, code: u8) -> u8 {
    // nobody is left to hear it if standard error is closed
    let _ = std::io::stderr().write_all(text.as_bytes());
    code
}
