//! What is in force, for people to read: by `iptables` and `ipset` where they are installed, else from the state file
//! and the kernel in the form that `iptables -S` and `ipset save` have.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use fwn_kernel::firewall::record::Record;
use fwn_kernel::ipset::SetClient;
use fwn_kernel::netns::TargetNetns;
use fwn_plan::netfilter::Family;

use super::DemoError;
use super::workspace::find_program;
use crate::state::StateDir;

/// Where the two are looked for; root's PATH may be a user's.
const PROGRAM_DIRS: [&str; 6] =
    ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"];

/// A listing and what made it.
pub(super) struct Listing {
    pub(super) title: String,
    pub(super) text: String,
}

/// Rules of both families, then sets, in the container's namespace.
pub(super) fn listings(container: &TargetNetns, state_dir: &Path) -> Result<Vec<Listing>, DemoError> {
    let mut all = Vec::new();
    for (family, names) in
        [(Family::Ipv4, ["iptables", "iptables-nft"]), (Family::Ipv6, ["ip6tables", "ip6tables-nft"])]
    {
        let listed = names.iter().find_map(|name| rules_by(container, name));
        all.push(listed.map_or_else(|| recorded_rules(state_dir, family), Ok)?);
    }
    let listed = program("ipset").and_then(|ipset| output(container, &ipset, &["list"]));
    all.push(match listed {
        Some(text) => Listing { title: "ipset list".to_owned(), text },
        None => own_sets(container)?,
    });
    Ok(all)
}

/// By `iptables -L -vn`, if it is the one that lists nf_tables: the legacy one would show nothing.
fn rules_by(container: &TargetNetns, name: &str) -> Option<Listing> {
    let iptables = program(name)?;
    output(container, &iptables, &["--version"]).filter(|version| version.contains("nf_tables"))?;
    let text = output(container, &iptables, &["-L", "-vn"])?;
    Some(Listing { title: format!("{name} -L -vn"), text })
}

fn program(name: &str) -> Option<PathBuf> {
    find_program(name, &PROGRAM_DIRS.map(PathBuf::from))
}

fn output(container: &TargetNetns, program: &Path, arguments: &[&str]) -> Option<String> {
    let output = container.run(|| Command::new(program).args(arguments).output()).ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn recorded_rules(state_dir: &Path, family: Family) -> Result<Listing, DemoError> {
    let states = StateDir::new(state_dir).each().map_err(DemoError::State)?;
    let states: Result<Vec<_>, _> = states.into_iter().collect();
    let records: Vec<Record> =
        states.map_err(DemoError::State)?.into_iter().map(|state| state.record).collect();
    let name = if family == Family::Ipv4 { "iptables" } else { "ip6tables" };
    let title = format!("rules, as `{name} -S` (which is not installed) would list them");
    Ok(Listing { title, text: render_rules(&records, family) })
}

/// Policies and rules of one family in the form of `iptables -S`, each rule with where it was written.
fn render_rules(records: &[Record], family: Family) -> String {
    let mut text = String::new();
    let tables = records.iter().flat_map(|record| &record.tables).filter(|table| table.family == family);
    for table in tables {
        for policy in &table.policies {
            // writing to a string cannot fail
            let _ = writeln!(text, "-P {} {}", policy.chain, policy.set.name());
        }
        let width = table.rules.iter().map(|rule| rule.text.len()).max().unwrap_or(0);
        for rule in &table.rules {
            let _ = writeln!(text, "{:<width$}  # {}", rule.text, rule.origin);
        }
    }
    text
}

fn own_sets(container: &TargetNetns) -> Result<Listing, DemoError> {
    let mut client = SetClient::open(container).map_err(DemoError::IpSet)?;
    let mut text = String::new();
    for header in client.list_headers().map_err(DemoError::IpSet)? {
        let saved = client.save(&header.name).map_err(DemoError::IpSet)?;
        let _ = writeln!(text, "{}references {}", saved.unwrap_or_default(), header.references);
    }
    Ok(Listing { title: "sets, as `ipset save` (which is not installed) would list them".to_owned(), text })
}
