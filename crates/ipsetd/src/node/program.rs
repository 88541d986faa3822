//! `ipsetd node` and `ipsetd status`: their flags, and what they print.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use fwn_node::client::{ClientError, NodeClient};
use fwn_node::message::{Answer, Request, Status, encode_line};

use super::daemon::{NodeError, NodeSettings, run};
use super::metrics::Address;
use crate::settings::{Given, SettingsError, flags};

/// Where registrations are kept by default: namespaces do not outlive a boot, so neither do they.
const STATE_DIR: &str = "/run/ipsetd/attachments";
/// Settings of the daemon alone in a container that have a meaning for one for the node: limits of what peers may take.
const SHARED: [&str; 8] =
    ["max-line", "max-rate", "max-batch", "max-connections", "max-per-peer", "idle", "patience", "debug"];
/// How long `status` waits.
const TIMEOUT: Duration = Duration::from_secs(5);

/// `ipsetd node`
pub fn node_command() -> Command {
    let seconds = |name: &'static str, default: &'static str, help: &'static str| {
        let parser = value_parser!(u64).range(1..=86400);
        Arg::new(name).long(name).value_name("SECONDS").help(help).default_value(default).value_parser(parser)
    };
    Command::new("node")
        .about("Serves the sets of all containers of this node that the plugin registers")
        .arg(socket_arg().help("Unix socket for the plugin and for operators, unless systemd hands one over"))
        .arg(
            Arg::new("group")
                .long("group")
                .value_name("GROUP")
                .help("Who may send operators' lines beside root"),
        )
        .arg(
            Arg::new("state-dir")
                .long("state-dir")
                .value_name("FOLDER")
                .help("What is registered, to be served again after a restart")
                .default_value(STATE_DIR)
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            Arg::new("metrics")
                .long("metrics")
                .value_name("ADDRESS:PORT|PATH")
                .help("Where Prometheus can read metrics; default: nowhere")
                .value_parser(|text: &str| text.parse::<Address>()),
        )
        .arg(seconds(
            "look-every",
            "30",
            "How often all namespaces are looked after, beside what is noticed at once",
        ))
        .arg(seconds("drain", "2", "How long connections may take to end with the daemon"))
        .arg(
            Arg::new("max-total")
                .long("max-total")
                .value_name("NUMBER")
                .help("Connections of all containers together")
                .default_value("16384")
                .value_parser(value_parser!(u64).range(1..=1_000_000)),
        )
        .args(flags().filter(|flag| SHARED.contains(&flag.get_id().as_str())))
}

/// `ipsetd status`
pub fn status_command() -> Command {
    Command::new("status")
        .about("Tells what the daemon of this node serves")
        .arg(socket_arg().help("Its unix socket"))
        .arg(Arg::new("json").long("json").help("As JSON, one line").action(ArgAction::SetTrue))
}

fn socket_arg() -> Arg {
    Arg::new("socket")
        .long("socket")
        .value_name("PATH")
        .default_value(fwn_node::SOCKET)
        .value_parser(value_parser!(PathBuf))
}

/// What `ipsetd node` was told.
///
/// # Errors
/// [`SettingsError`]
pub fn settings(
    matches: &ArgMatches,
    environment: &[(String, String)],
) -> Result<(NodeSettings, bool), SettingsError> {
    let given = Given { flags: matches, environment };
    let path = |name| matches.get_one::<PathBuf>(name).cloned().unwrap_or_default();
    let seconds = |name| Duration::from_secs(matches.get_one::<u64>(name).copied().unwrap_or_default());
    let settings = NodeSettings {
        socket: path("socket"),
        group: matches.get_one::<String>("group").cloned(),
        state_dir: path("state-dir"),
        metrics: matches.get_one::<Address>("metrics").cloned(),
        look_every: seconds("look-every"),
        drain: seconds("drain"),
        limits: given.limits()?,
        connections: matches.get_one::<u64>("max-total").map_or(usize::MAX, |number| *number as usize),
    };
    Ok((settings, given.is_debug()?))
}

/// Runs the daemon until a signal asks to end.
///
/// # Errors
/// [`NodeError`]
pub fn run_node(settings: &NodeSettings, environment: &[(String, String)]) -> Result<(), NodeError> {
    let env =
        |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    run(settings, env)
}

/// Asks the daemon; gives what to print.
///
/// # Errors
/// It is not there, or does not answer.
pub fn status(matches: &ArgMatches) -> Result<String, ClientError> {
    let socket = matches.get_one::<PathBuf>("socket").map_or(Path::new(fwn_node::SOCKET), PathBuf::as_path);
    let mut client = NodeClient::connect(socket, TIMEOUT)?;
    let Answer::Status(status) = client.ask(&Request::Status { containers: true }, None)? else {
        return Err(client.unexpected());
    };
    if matches.get_flag("json") {
        let line = encode_line(&status)
            .map_err(|source| ClientError::Message { path: socket.to_owned(), source })?;
        return Ok(String::from_utf8_lossy(&line).into_owned());
    }
    Ok(render(&status))
}

fn render(status: &Status) -> String {
    let mut text = format!(
        "ipsetd {}, process {}: {} registered, {} listening, {} connections\n\
         {} requests, {} changes, {} errors\n",
        status.release,
        status.pid,
        status.registered,
        status.listening,
        status.connections,
        status.requests,
        status.changes,
        status.errors,
    );
    for container in &status.containers {
        let attachment = &container.attachment;
        // writing to a string cannot fail
        let _ = write!(
            text,
            "{} {} {}: port {}, {} requests, {}",
            attachment.network,
            attachment.container,
            attachment.interface,
            container.port,
            container.requests,
            container.netns_path.display(),
        );
        if let Some(problem) = &container.problem {
            let _ = write!(text, ", not served: {problem}");
        }
        text.push('\n');
    }
    text
}
