//! `plan`: what an ADD would put in force, before there is a container. Files come in; text for the tools, JSON, or the
//! difference to what is in a namespace goes out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fwn_cni::error::{CniError, ErrorCode};
use fwn_kernel::firewall::apply::Connection;
use fwn_kernel::firewall::preview::preview;
use fwn_kernel::firewall::record::{Record, RecordedNetns};
use fwn_plan::config::Placement;
use fwn_plan::diff::unified;
use fwn_plan::netfilter::Family;
use fwn_plan::origin::Origin;
use fwn_plan::plan::{Attachment, Plan};
use fwn_plan::render::{render_restore, render_sets};
use fwn_plan::rule::render::render_rule;
use fwn_plan::set::render_create;
use serde_json::{Value, json};

use super::output::{Paint, Style, print};
use super::{Environment, SUCCESS, namespace};
use crate::Streams;
use crate::failure::Failure;
use crate::policy::{Policy, PolicyOptions};

/// There is a difference.
const DIFFERENT: u8 = 2;

pub(super) const EXAMPLES: &str = "\
Examples:
  firewallnetns plan web.fw
  firewallnetns plan default-policy.fw web.fw --env CNI_IFNAME=eth0 --env PORT0=8080
  firewallnetns plan 10-net.conflist --only ipv4 | iptables-restore --test --noflush
  firewallnetns plan 10-net.conflist --netns /run/netns/web

Exit codes: 0 done (with --netns: no difference), 1 failed, 2 a difference (or not understood).";

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// .fw files, which together are one policy, or a network configuration or list (.conf, .conflist)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    options: FileOptions,
    /// Compare with what is in this namespace (a path, or a name in /run/netns)
    #[arg(long, value_name = "NETNS")]
    netns: Option<PathBuf>,
    /// With --netns: the container of the attachment to compare with, where there are several
    #[arg(long, value_name = "ID", requires = "netns")]
    container: Option<String>,
    /// Print only this part, as one of the tools takes it
    #[arg(long, value_name = "PART", conflicts_with_all = ["json", "netns"])]
    only: Option<Part>,
    /// Print JSON
    #[arg(long, conflicts_with = "netns")]
    json: bool,
}

/// How files are read, by all commands that take them.
#[derive(Debug, Clone, Args)]
pub(super) struct FileOptions {
    /// A variable, as ADD finds it in its environment; CNI_IFNAME is eth0 unless it is given
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_variable)]
    environment: Vec<(String, String)>,
    /// Folder of .fw files and set files, in place of `dataDir` [default for .fw files: that of the first file]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Folder of what is in force, in place of `stateDir`
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
}

impl FileOptions {
    pub(super) fn to_policy(&self) -> PolicyOptions {
        PolicyOptions {
            environment: self.environment.clone(),
            data_dir: self.data_dir.clone(),
            state_dir: self.state_dir.clone(),
        }
    }
}

/// A part of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// For `ipset -exist restore`.
    Sets,
    /// For `iptables-restore --noflush`.
    Ipv4,
    /// For `ip6tables-restore --noflush`.
    Ipv6,
}

pub(super) fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if fwn_plan::expand::is_variable_name(name) => {
            Ok((name.to_owned(), value.to_owned()))
        }
        // the value may be a secret
        _ => Err("it is not NAME=VALUE".to_owned()),
    }
}

/// Prints the plan, or the difference; the exit code.
pub(super) fn run(
    args: &PlanArgs,
    environment: Environment<'_>,
    streams: &mut Streams<'_>,
) -> Result<u8, CniError> {
    let mut policy = Policy::load(&args.files, args.options.to_policy())?;
    if let Some(netns) = &args.netns {
        return difference(args, netns, &mut policy, environment, streams);
    }
    let plan = policy.plan(&policy.call()?, BTreeMap::new())?;
    if args.json {
        print(streams.stdout, &format!("{:#}\n", plan_json(&plan)))?;
    } else {
        print(streams.stdout, &plan_text(&plan, args.only))?;
    }
    Ok(SUCCESS)
}

fn plan_text(plan: &Plan, only: Option<Part>) -> String {
    let parts = [
        (Part::Sets, "ipset -exist restore", render_sets(plan)),
        (Part::Ipv4, "iptables-restore --noflush", render_restore(plan, Family::Ipv4)),
        (Part::Ipv6, "ip6tables-restore --noflush", render_restore(plan, Family::Ipv6)),
    ];
    match only {
        Some(only) => parts.into_iter().filter(|(part, ..)| *part == only).map(|(.., text)| text).collect(),
        None => parts
            .into_iter()
            .filter(|(.., text)| !text.is_empty())
            .map(|(_, command, text)| ["# ", command, "\n", &text].concat())
            .collect(),
    }
}

fn plan_json(plan: &Plan) -> Value {
    let sets = plan.sets.iter().map(|set| {
        json!({
            "name": set.name,
            "type": set.kind.name(),
            "family": set.family.map(Family::name),
            "create": render_create(&set.name, set.kind, set.family, &set.options),
            "entries": set.entries.iter().map(|entry| entry.entry.to_string()).collect::<Vec<_>>(),
            "persist": set.persist,
            "origin": origin_json(&set.origin),
        })
    });
    let tables = plan.tables.iter().map(|half| {
        let chains = half.chains.iter();
        let policies = half.policies.iter();
        let rules = half.rules.iter().map(|op| {
            let position = match op.placement {
                Placement::Append => None,
                Placement::Insert(position) => Some(position),
            };
            json!({
                "chain": op.chain,
                "position": position,
                "rule": render_rule(&op.rule),
                "origin": origin_json(&op.origin),
            })
        });
        json!({
            "family": half.family.name(),
            "table": half.table.name(),
            "policies": policies
                .map(|op| json!({ "chain": op.chain, "policy": op.policy.name(), "origin": origin_json(&op.origin) }))
                .collect::<Vec<_>>(),
            "chains": chains
                .map(|op| json!({ "chain": op.name, "origin": origin_json(&op.origin) }))
                .collect::<Vec<_>>(),
            "rules": rules.collect::<Vec<_>>(),
        })
    });
    json!({ "sets": sets.collect::<Vec<_>>(), "tables": tables.collect::<Vec<_>>() })
}

fn origin_json(origin: &Origin) -> Value {
    let (line, column) = origin.line_column();
    json!({
        "file": origin.source.name,
        "pointer": origin.pointer().to_string(),
        "line": line,
        "column": column,
    })
}

fn difference(
    args: &PlanArgs,
    netns: &std::path::Path,
    policy: &mut Policy,
    environment: Environment<'_>,
    streams: &mut Streams<'_>,
) -> Result<u8, CniError> {
    let (target, mut connection) = Connection::open(&namespace::path_of(netns)).map_err(Failure::Apply)?;
    let id = RecordedNetns::from(target.id());
    let states = policy.call()?.states.in_netns(&id).map_err(Failure::State)?;
    let records: Vec<Record> = states.into_iter().map(|state| state.record).collect();
    let chosen = choose(&records, policy.network(), args.container.as_deref())?;
    if let Some(record) = chosen {
        policy.attach(&record.attachment.container, &record.attachment.interface);
    }
    let siblings: Vec<Record> = records.iter().filter(|record| Some(*record) != chosen).cloned().collect();
    let call = policy.call()?;
    // without ip_set there are no sets that could be used
    let sets = connection.set_families().unwrap_or_default();
    let ours = chosen.iter().flat_map(|record| &record.sets).map(|set| set.name.as_str());
    let ours: std::collections::BTreeSet<&str> = ours.collect();
    let sets = sets.into_iter().filter(|(name, _)| !ours.contains(name.as_str())).collect();
    let plan = policy.plan(&call, sets)?;
    let both = preview(&mut connection, &plan, chosen, &siblings).map_err(Failure::Apply)?;
    let there = match chosen {
        Some(record) => format!("in force: {}", Attachment::from(&record.attachment)),
        None => "in force: nothing".to_owned(),
    };
    let files: Vec<String> = args.files.iter().map(|file| file.display().to_string()).collect();
    let text = unified(&there, &format!("planned: {}", files.join(" ")), &both.there, &both.planned);
    let style = Style::of_stdout(environment);
    let coloured: String = text.lines().map(|line| colour_line(style, line) + "\n").collect();
    print(streams.stdout, &coloured)?;
    Ok(if text.is_empty() { SUCCESS } else { DIFFERENT })
}

fn colour_line(style: Style, line: &str) -> String {
    let paint = match line.as_bytes().first() {
        _ if line.starts_with("---") || line.starts_with("+++") => Paint::Bold,
        Some(b'-') => Paint::Red,
        Some(b'+') => Paint::Green,
        Some(b'@') => Paint::Cyan,
        _ => return line.to_owned(),
    };
    style.paint(paint, line)
}

/// The attachment that the plan is for: of this container and this network, where they are known.
fn choose<'a>(
    records: &'a [Record],
    network: Option<&str>,
    container: Option<&str>,
) -> Result<Option<&'a Record>, CniError> {
    let fits = |record: &&Record| {
        network.is_none_or(|network| record.attachment.network == network)
            && container.is_none_or(|container| record.attachment.container == container)
    };
    let found: Vec<&Record> = records.iter().filter(fits).collect();
    match found.as_slice() {
        [] if container.is_some() => {
            let message = format!("no attachment of container `{}` is there", container.unwrap_or_default());
            Err(CniError::new(ErrorCode::UnknownContainer, message).with_details(known(records)))
        }
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => {
            let message = "several attachments are there: say with --container which to compare with";
            Err(CniError::new(ErrorCode::BadEnvironment, message).with_details(known(records)))
        }
    }
}

fn known(records: &[Record]) -> String {
    let names: Vec<String> =
        records.iter().map(|record| Attachment::from(&record.attachment).to_string()).collect();
    if names.is_empty() {
        "there is none at all".to_owned()
    } else {
        format!("there are {}", names.join(", "))
    }
}
