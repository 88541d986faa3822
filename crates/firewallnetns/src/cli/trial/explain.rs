//! `explain`: what becomes of a packet in a namespace. The namespace is copied and only read; the real packet goes through
//! the copy.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use fwn_cni::error::{CniError, ErrorCode};
use fwn_kernel::firewall::apply::Connection;
use fwn_kernel::firewall::record::{Record, RecordedNetns};
use fwn_kernel::firewall::view::view;
use fwn_kernel::trace::copy::{Copied, copy};
use fwn_kernel::trace::cross_check::cross_check;
use fwn_kernel::trace::explain::{Outcome, explain};
use fwn_kernel::trace::lab::LabError;
use fwn_node::causes::with_causes;
use fwn_plan::origin::{Origin, Source};
use fwn_plan::packet::{Direction, Packet, PacketProblem, parse_packet};
use fwn_plan::problem::{Problem, render_problems};
use nix::errno::Errno;
use serde_json::json;

use super::super::output::{Style, print, room};
use super::super::show::text::{Layout, wrapped};
use super::super::{Environment, SUCCESS, namespace};
use super::{Told, paint_of};
use crate::Streams;
use crate::failure::Failure;
use crate::settings::STATE_DIR;
use crate::state::StateDir;

pub(in crate::cli) const EXAMPLES: &str = "\
Examples:
  firewallnetns explain web 'in tcp 10.0.0.9:4000 -> 10.22.0.5:80'
  firewallnetns explain web 'out udp 10.22.0.5 -> 10.0.0.53:53 established'
  firewallnetns explain --container 8b1f0c 'in icmpv6 fd00::9 -> fd00::5 echo-request'

A packet is DIRECTION PROTOCOL SOURCE -> DESTINATION [WORD...]; the words are in docs/explain-and-test.md.";

#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArgs {
    /// The namespace (a path, or a name in /run/netns), and the packet, which is one word: in quotes
    #[arg(required = true, num_args = 1..=2, value_names = ["NETNS", "PACKET"])]
    words: Vec<String>,
    /// In place of NETNS: the namespace of this container, as its ADD recorded it
    #[arg(long, value_name = "ID")]
    container: Option<String>,
    /// Show all rules that were looked at, however many
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Folder of what is in force
    #[arg(long, value_name = "FOLDER", default_value = STATE_DIR)]
    state_dir: PathBuf,
}

/// Explains; the exit code.
pub(in crate::cli) fn run(
    args: &ExplainArgs,
    environment: Environment<'_>,
    streams: &mut Streams<'_>,
) -> Result<u8, CniError> {
    let states = StateDir::new(&args.state_dir);
    let (path, text) = match (args.words.as_slice(), &args.container) {
        ([packet], Some(container)) => (namespace::of_container(&states, container)?, packet),
        ([netns, packet], None) => (namespace::path_of(netns.as_ref()), packet),
        ([_, _], Some(_)) => return Err(usage("NETNS and --container are two ways to name one namespace")),
        _ => return Err(usage("a namespace and a packet are wanted: NETNS 'PACKET'")),
    };
    let source = Source::new("packet", text.as_str());
    let packet = parse_packet(text).map_err(|problem| bad_packet(&source, problem))?;
    let (target, mut connection) = Connection::open(&path).map_err(Failure::Apply)?;
    let records = states.in_netns(&RecordedNetns::from(target.id())).map_err(Failure::State)?;
    let records: Vec<Record> = records.into_iter().map(|state| state.record).collect();
    let seen = view(&mut connection, &records).map_err(Failure::Apply)?;
    let (mut lab, copied) =
        copy(&target).map_err(|error| CniError::new(ErrorCode::ApplyFailed, with_causes(&error)))?;
    let packet = placed(packet, &copied).map_err(|message| {
        let whole = PacketProblem { span: 0..text.len(), message, hint: None };
        bad_packet(&source, whole)
    })?;
    let before = lab.rules().map_err(|error| failed(&error))?;
    if let Direction::Forward(_, to) = &packet.direction {
        lab.route_through(to, packet.destination).map_err(|error| failed(&error))?;
    }
    let journey = lab.send(&packet, None).map_err(|error| unsent(error, &packet))?;
    let after = lab.rules().map_err(|error| failed(&error))?;
    cross_check(&journey, &before, &after).map_err(|error| failed(&error))?;
    let explanation = explain(&journey, &after);
    let told = Told { explanation: &explanation, rules: &after, view: &seen };
    let style = Style::of_stdout(environment);
    let text = if args.json {
        let mut value = told.json();
        value["packet"] = json!(text);
        value["left_out"] = json!(copied.left_out);
        format!("{value:#}\n")
    } else {
        let layout = Layout { style, width: room(environment).0 };
        let mut text = told.text(layout, args.all);
        let verdict = match (explanation.outcome, explanation.decided) {
            (Outcome::Lost, _) => "no rule takes it, but it does not arrive: the routing drops it".to_owned(),
            (_, None) => told.decider(),
            (_, Some(_)) => format!("by {}", told.decider()),
        };
        let word = style.paint(paint_of(explanation.outcome), explanation.outcome.name());
        text += &wrapped(layout, &format!("{word} "), 2, &verdict, None);
        if !copied.left_out.is_empty() {
            let note = format!("not looked into: {}", copied.left_out.join(", "));
            text += &wrapped(layout, "", 2, &note, None);
        }
        text
    };
    print(streams.stdout, &text)?;
    Ok(SUCCESS)
}

fn usage(message: &str) -> CniError {
    CniError::new(ErrorCode::BadEnvironment, message)
}

pub(super) fn failed(error: &LabError) -> CniError {
    CniError::new(ErrorCode::ApplyFailed, with_causes(error))
}

/// A packet that goes out needs a way.
fn unsent(error: LabError, packet: &Packet) -> CniError {
    match error {
        LabError::Send(Errno::ENETUNREACH | Errno::EHOSTUNREACH) => {
            let message =
                format!("there is no route to `{}`: the packet would not be sent", packet.destination);
            CniError::new(ErrorCode::BadConfig, message)
        }
        error => failed(&error),
    }
}

/// A packet that makes no sense, its words underlined.
fn bad_packet(source: &Arc<Source>, problem: PacketProblem) -> CniError {
    let origin = Origin {
        source: Arc::clone(source),
        path: fwn_plan::origin::Path::default(),
        range: problem.span,
        span: None,
    };
    let problem = Problem { origin, message: problem.message, hint: problem.hint };
    CniError::new(ErrorCode::BadConfig, "the packet makes no sense")
        .with_details(render_problems(&problem.into()))
}

/// The packet with the interface that it comes by, if it is one of this namespace.
///
/// # Errors
/// Why it is none, in words.
fn placed(packet: Packet, copied: &Copied) -> Result<Packet, String> {
    let check = |name: &str| match copied.links.iter().find(|link| link.name == name) {
        None => {
            let names: Vec<String> = copied.links.iter().map(|link| format!("`{}`", link.name)).collect();
            Err(format!("there is no interface `{name}`; there are {}", names.join(", ")))
        }
        Some(link) if !link.up => Err(format!("interface `{name}` is down: nothing goes by it")),
        Some(_) => Ok(()),
    };
    let holder = |address: IpAddr| {
        let found = copied.addresses.iter().find(|known| known.prefix.address() == address)?;
        copied.links.iter().find(|link| link.index == found.link).map(|link| link.name.clone())
    };
    let group = |address: IpAddr| {
        let broadcast = copied.addresses.iter().any(|known| known.broadcast.map(IpAddr::V4) == Some(address));
        address.is_multicast() || address == IpAddr::from([255; 4]) || broadcast
    };
    let addresses = || -> String {
        let all: Vec<String> =
            copied.addresses.iter().map(|known| known.prefix.address().to_string()).collect();
        if all.is_empty() { "none".to_owned() } else { all.join(", ") }
    };
    let direction = match packet.direction {
        Direction::In(on) => {
            let destination = packet.destination;
            let by = if destination.is_loopback() {
                Some("lo".to_owned())
            } else if group(destination) {
                let mut up = copied.links.iter().filter(|link| link.up && link.name != "lo");
                match (up.next(), up.next()) {
                    (Some(only), None) => Some(only.name.clone()),
                    _ => None,
                }
            } else {
                Some(holder(destination).ok_or_else(|| {
                    format!("`{destination}` is no address of the namespace, so the packet is not for it; it has {}", addresses())
                })?)
            };
            let by = on.or(by).ok_or_else(|| {
                format!("`{destination}` is a group, and there are several interfaces: say by which it comes, `on NAME`")
            })?;
            check(&by)?;
            Direction::In(Some(by))
        }
        Direction::Out(on) => {
            let source = packet.source;
            if !source.is_unspecified() && !source.is_loopback() && holder(source).is_none() {
                return Err(format!(
                    "`{source}` is no address of the namespace, so nothing is sent from it; it has {}",
                    addresses()
                ));
            }
            // a link-local address is one of its link
            let link_local = matches!(source, IpAddr::V6(source) if source.is_unicast_link_local());
            let on = on.or_else(|| holder(source).filter(|_| link_local));
            on.as_deref().map_or(Ok(()), check)?;
            Direction::Out(on)
        }
        Direction::Forward(from, to) => {
            check(&from)?;
            check(&to)?;
            let (ipv4, ipv6) = copied.forwarding;
            let on = if packet.source.is_ipv4() { ipv4 } else { ipv6 };
            if !on {
                return Err(
                    "the namespace does not hand packets on (ip_forward is off): no packet gets to FORWARD"
                        .to_owned(),
                );
            }
            if holder(packet.destination).is_some() {
                return Err(format!(
                    "`{}` is an address of the namespace itself: the packet is not handed on",
                    packet.destination
                ));
            }
            Direction::Forward(from, to)
        }
    };
    Ok(Packet { direction, ..packet })
}
