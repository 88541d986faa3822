//! The command line for people: arguments and environment come in; results go to stdout, all else to stderr, an exit
//! code out. A runtime never gets here, since it sets `CNI_COMMAND`.

pub(crate) mod demo;
mod found;
mod install;
mod lint;
mod namespace;
mod network;
mod oci_hook;
mod output;
mod plan;
mod schema;
mod sha512;
mod show;
mod trial;

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use fwn_cni::error::CniError;
use fwn_cni::plugin::about;

use crate::Streams;
use install::InstallArgs;
use network::{AttachmentArgs, GcArgs, StatusArgs};
use oci_hook::OciHookArgs;

/// The command did what it was asked for.
const SUCCESS: u8 = 0;
/// It failed, and said why.
const FAILURE: u8 = 1;
/// It was not understood; nothing was done.
const USAGE: u8 = 2;

/// A firewall inside every container's network namespace, from iptables rules.
#[derive(Debug, Parser)]
#[command(name = "firewallnetns", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
A CNI runtime calls this program with CNI_COMMAND set; then it is a plugin (CNI 0.1.0 to 1.1.0) and reads no arguments.

Exit codes: 0 done, 1 failed, 2 not understood.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show in two scratch namespaces that it works: the documented example with real packets
    ///
    /// Makes a host's and a container's network namespace, attaches the container by macvtap and firewallnetns, shows
    /// the result and the rules, sends packets that are accepted, reset and dropped, detaches it, and removes
    /// everything. Touches nothing of this machine. Exit code 0 if every packet fared as expected. Needs root.
    #[command(after_help = demo::EXAMPLES)]
    Demo,
    /// Put this program, the plugins beside it and the presets into a node's folders
    ///
    /// Each file is replaced by a rename, so that nobody starts a half-written plugin, also while containers start and
    /// stop. A preset that was changed on the node is kept. What is there and equal is left alone.
    #[command(after_help = install::EXAMPLES)]
    Install(InstallArgs),
    /// Attach a namespace to a network: ADD by all its plugins
    #[command(after_help = network::ADD_HELP)]
    Add(AttachmentArgs),
    /// Detach a namespace from a network: DEL by all its plugins
    ///
    /// What is gone already is success.
    #[command(after_help = network::DEL_HELP)]
    Del(AttachmentArgs),
    /// Compare an attachment with what its ADD made: CHECK by all its plugins
    #[command(after_help = network::CHECK_HELP)]
    Check(AttachmentArgs),
    /// Remove what belongs to no valid attachment of a network: GC by all its plugins
    #[command(after_help = network::GC_HELP)]
    Gc(GcArgs),
    /// Tell whether a network could be attached to: STATUS by all its plugins
    #[command(after_help = network::STATUS_HELP)]
    Status(StatusArgs),
    /// Show what an ADD would put in force: as iptables-restore and ipset take it, as JSON, or against a namespace
    ///
    /// Reads the files, resolves names and decides, as ADD does; changes nothing, and needs no root without --netns.
    #[command(after_help = plan::EXAMPLES)]
    Plan(plan::PlanArgs),
    /// Look for what ADD would refuse in a configuration, and for what is most likely not meant
    ///
    /// Needs no root and no namespace, resolves no names, starts no programs.
    #[command(after_help = lint::EXAMPLES)]
    Lint(lint::LintArgs),
    /// Print the JSON Schema of a configuration, for editors
    #[command(after_help = schema::EXAMPLES)]
    Schema(schema::SchemaArgs),
    /// Attach or detach a container whose runtime calls OCI hooks
    ///
    /// Reads the container's state on standard input, as a hook gets it. At createRuntime the container is attached;
    /// a failure then fails the container. At poststop it is detached. CNI_CONTAINERID is not used: the container has
    /// an ID.
    #[command(after_help = network::HOOK_HELP)]
    OciHook(OciHookArgs),
    /// Show what is in force in a namespace: rules with counters and where each was written, policies, sets
    #[command(after_help = show::EXAMPLES)]
    Show(show::ShowArgs),
    /// Tell what becomes of a packet in a namespace: the verdict, the rule that decides, and those before it
    ///
    /// Copies the namespace's rules, sets, interfaces and routes into a scratch namespace, sends the real packet there,
    /// and reads nf_tables' trace: the kernel decides. The namespace itself is only read.
    #[command(after_help = trial::explain::EXAMPLES)]
    Explain(trial::explain::ExplainArgs),
    /// Send the packets that policies carry through them, and compare with what is expected
    ///
    /// Puts each policy in force in a scratch namespace, as an ADD does, and sends real packets: the kernel decides.
    #[command(after_help = trial::test::EXAMPLES)]
    Test(trial::test::TestArgs),
}

/// All commands with their options.
pub(crate) fn command_line() -> clap::Command {
    Cli::command()
}

/// Runs one command; gives the exit code.
pub(crate) fn run(
    arguments: Vec<OsString>,
    environment: &[(String, String)],
    streams: &mut Streams<'_>,
) -> u8 {
    if arguments.len() <= 1 {
        // as every CNI plugin does that is started by hand
        let about = about(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        return print_to(streams.stderr, &format!("{about}\n{}", Cli::command().render_help()), SUCCESS);
    }
    let command = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli.command,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return print_to(streams.stdout, &error.render().to_string(), SUCCESS);
        }
        Err(error) => return print_to(streams.stderr, &error.render().to_string(), USAGE),
    };
    crate::logging::start(log::LevelFilter::Warn);
    let environment = Environment(environment);
    let done = |()| SUCCESS;
    let ended = match command {
        Command::Demo => return demo::run(environment, streams),
        Command::Install(args) => return install::run(&args, streams),
        Command::Add(args) => network::add(&args, environment, streams.stdout).map(done),
        Command::Del(args) => network::del(&args, environment).map(done),
        Command::Check(args) => network::check(&args, environment).map(done),
        Command::Gc(args) => network::gc(&args, environment).map(done),
        Command::Status(args) => network::status(&args, environment, streams.stderr).map(done),
        Command::Plan(args) => plan::run(&args, environment, streams),
        Command::Lint(args) => lint::run(&args, environment, streams),
        Command::Schema(args) => schema::run(&args, streams.stdout).map(done),
        Command::OciHook(args) => oci_hook::run(&args, environment, streams.stdin).map(done),
        Command::Show(args) => show::run(&args, environment, streams),
        Command::Explain(args) => trial::explain::run(&args, environment, streams),
        Command::Test(args) => trial::test::run(&args, environment, streams),
    };
    match ended {
        Ok(code) => code,
        Err(error) => print_to(streams.stderr, &render_error(&error), FAILURE),
    }
}

/// The environment, in which an empty variable is an unset one.
#[derive(Debug, Clone, Copy)]
struct Environment<'a>(&'a [(String, String)]);

impl<'a> Environment<'a> {
    fn get(self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// Prints a text; the exit code is `code` unless that fails.
fn print_to(stream: &mut dyn std::io::Write, text: &str, code: u8) -> u8 {
    let printed = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
    if printed.is_ok() { code } else { FAILURE }
}

/// An error for people: the message, then the details, indented, on lines of their own.
fn render_error(error: &CniError) -> String {
    let mut text = format!("error: {} (CNI code {})\n", error.msg, error.code);
    for line in error.details.iter().flat_map(|details| details.lines()) {
        text.push_str(format!("  {line}").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command_line().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        for command in command_line().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.split_once("Examples:\n").map(|(_, rest)| rest).unwrap_or_default();
            let first = examples.lines().next().unwrap_or_default();
            assert!(first.contains(&format!("firewallnetns {name}")), "{name}: {help}");
        }
    }

    #[test]
    fn details_are_shown_on_their_own_lines() {
        let error = CniError::new(7_u32, "it is wrong").with_details("line one\n\nline two");
        assert_eq!(render_error(&error), "error: it is wrong (CNI code 7)\n  line one\n\n  line two\n");
    }
}
