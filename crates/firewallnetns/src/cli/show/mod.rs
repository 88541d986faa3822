//! `show`: what is in force in a namespace: chains, policies and rules with their counters, each with where it was written;
//! sets. Once, or again and again with what moves marked.

pub(super) mod text;
mod watch;

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use fwn_cni::error::{CniError, ErrorCode};
use fwn_kernel::firewall::apply::Connection;
use fwn_kernel::firewall::record::{Record, RecordedNetns};
use fwn_kernel::firewall::view::{ChainView, Owner, RuleView, SetView, View, view};
use fwn_kernel::netns::NetnsId;
use fwn_kernel::nft::counters::Counters;
use fwn_plan::netfilter::{Family, Policy};
use fwn_plan::plan::Attachment;
use serde_json::{Value, json};

use super::output::{Style, print, room};
use super::{Environment, SUCCESS, namespace};
use crate::Streams;
use crate::failure::Failure;
use crate::settings::STATE_DIR;
use crate::state::StateDir;
use text::{Earlier, Layout, render};
use watch::Watch;

pub(super) const EXAMPLES: &str = "\
Examples:
  firewallnetns show web
  firewallnetns show /proc/4711/ns/net --json
  firewallnetns show --container 8b1f0c --watch

Each rule is followed by the place where it was written. `[1]` is the number of the attachment that it belongs to.";

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["netns", "container"]))]
pub(super) struct ShowArgs {
    /// The namespace: a path, or a name in /run/netns
    netns: Option<PathBuf>,
    /// The namespace of this container, as its ADD recorded it
    #[arg(long, value_name = "ID")]
    container: Option<String>,
    /// Show again and again, and mark what moves; ends with Ctrl-C, or with the namespace
    #[arg(long)]
    watch: bool,
    /// With --watch: seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", requires = "watch", value_parser = parse_seconds)]
    interval: std::time::Duration,
    /// With --watch: end after so many looks
    #[arg(long, value_name = "N", requires = "watch", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// Print JSON; with --watch one line a look
    #[arg(long)]
    json: bool,
    /// Folder of what is in force
    #[arg(long, value_name = "FOLDER", default_value = STATE_DIR)]
    state_dir: PathBuf,
}

fn parse_seconds(text: &str) -> Result<std::time::Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if !(0.01..=3600.0).contains(&seconds) {
        return Err("it is not from 0.01 to 3600".to_owned());
    }
    Ok(std::time::Duration::from_secs_f64(seconds))
}

/// Shows; the exit code.
pub(super) fn run(
    args: &ShowArgs,
    environment: Environment<'_>,
    streams: &mut Streams<'_>,
) -> Result<u8, CniError> {
    let states = StateDir::new(&args.state_dir);
    let path = match (&args.netns, &args.container) {
        (Some(netns), _) => namespace::path_of(netns),
        (None, Some(container)) => namespace::of_container(&states, container)?,
        (None, None) => return Err(CniError::new(ErrorCode::BadEnvironment, "no namespace is named")),
    };
    if args.watch {
        let watch = Watch { path: &path, states: &states, interval: args.interval, count: args.count };
        return watch.run(args.json, environment, streams);
    }
    let (_, seen) = look(&path, &states)?;
    let text = if args.json {
        format!("{:#}\n", view_json(&seen, None))
    } else {
        let layout = Layout { style: Style::of_stdout(environment), width: room(environment).0 };
        render(&seen, layout, None)
    };
    print(streams.stdout, &text)?;
    Ok(SUCCESS)
}

/// One look. Nothing of the namespace is held afterwards.
fn look(path: &Path, states: &StateDir) -> Result<(NetnsId, View), CniError> {
    let (target, mut connection) = Connection::open(path).map_err(Failure::Apply)?;
    let records = states.in_netns(&RecordedNetns::from(target.id())).map_err(Failure::State)?;
    let records: Vec<Record> = records.into_iter().map(|state| state.record).collect();
    Ok((target.id(), view(&mut connection, &records).map_err(Failure::Apply)?))
}

/// The view as JSON; what moved since `earlier` in `moved`.
fn view_json(view: &View, earlier: Option<&Earlier>) -> Value {
    let names: Vec<String> = view.attachments.iter().map(Attachment::to_string).collect();
    let name = |at: usize| names.get(at).cloned();
    let chain = |chain: &ChainView| {
        let rules: Vec<Value> =
            chain.rules.iter().map(|rule| rule_json(chain, rule, &names, earlier)).collect();
        let mut value = json!({
            "family": chain.family.name(),
            "table": chain.table,
            "chain": chain.name,
            "policy": chain.policy.map(Policy::name),
            "holder": chain.holder.and_then(name),
            "counters": chain.counters.map(counters_json),
            "rules": rules,
        });
        if let Some(earlier) = earlier {
            value["moved"] = json!(earlier.of_policy(chain).map(counters_json));
        }
        value
    };
    let set = |set: &SetView| {
        json!({
            "name": set.name,
            "type": set.kind,
            "family": set.family.map(Family::name),
            "entries": set.elements,
            "bytes": set.memory,
            "references": set.references,
            "owners": set.owners.iter().filter_map(|at| name(*at)).collect::<Vec<_>>(),
        })
    };
    json!({
        "attachments": names,
        "chains": view.chains.iter().map(chain).collect::<Vec<_>>(),
        "sets": view.sets.iter().map(set).collect::<Vec<_>>(),
        "others": view.others,
    })
}

fn rule_json(chain: &ChainView, rule: &RuleView, names: &[String], earlier: Option<&Earlier>) -> Value {
    let owner = match rule.owner {
        Owner::Attachment(at) => names.get(at).cloned(),
        Owner::Unrecorded | Owner::Foreign => None,
    };
    let mut value = json!({
        "handle": rule.handle,
        "rule": rule.text,
        "origin": rule.origin,
        "owner": owner,
        "foreign": rule.owner == Owner::Foreign,
        "changed": rule.changed,
        "counters": rule.counters.map(counters_json),
    });
    if let Some(earlier) = earlier {
        value["moved"] = json!(earlier.of_rule(chain, rule).map(counters_json));
    }
    value
}

fn counters_json(counters: Counters) -> Value {
    json!({ "packets": counters.packets, "bytes": counters.bytes })
}
