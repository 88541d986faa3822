//! The case table, first rung: every folder of `cases/` to its plan or to its error text, by this crate alone.
//!
//! `UPDATE_CASES=1 cargo test -p fwn-plan --test cases` rewrites the expected texts; read the difference before
//! committing it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use fwn_plan::config::{NetConf, Section, parse_fw, parse_netconf};
use fwn_plan::decide::{Facts, decide};
use fwn_plan::expand::Variables;
use fwn_plan::ipsetd::IpsetdSpec;
use fwn_plan::netfilter::{Families, Family};
use fwn_plan::origin::Source;
use fwn_plan::plan::Plan;
use fwn_plan::problem::Problems;
use fwn_plan::render::{render_restore, render_sets};
use fwn_plan::rule::databases::NoDatabases;
use fwn_plan::ruleset::{PortMapping, Repetitions, RuleSet, SectionInput, expand_text};
use fwn_testkit::cases::{Case, Expected, PlanTexts, diff, load_cases, wants_update};
use serde_json::Value;

#[test]
fn every_case_gives_its_plan_or_its_error() {
    let mut wrong = Vec::new();
    for case in load_cases() {
        let actual = outcome(&case);
        if wants_update() {
            case.update(&actual);
        } else if actual != case.expected {
            let change = diff(&case.expected.to_string(), &actual.to_string());
            wrong.push(format!("cases/{} (- expected, + actual)\n{change}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n\n{}", wrong.len(), wrong.join("\n"));
}

fn outcome(case: &Case) -> Expected {
    match plan(case) {
        Ok(plan) => Expected::Plan(PlanTexts {
            iptables: render_restore(&plan, Family::Ipv4),
            ip6tables: render_restore(&plan, Family::Ipv6),
            ipset: render_sets(&plan),
        }),
        Err(problems) => Expected::Error(format!("{problems}\n")),
    }
}

/// What the plugin does, with the facts of the case in place of the host's.
fn plan(case: &Case) -> Result<Plan, Problems> {
    let conf = parse_netconf(&Source::new("network configuration", case.conf.as_str()))?;
    let mut variables = Variables::new();
    variables.layer(conf.vars.iter().map(|(name, text)| (name.clone(), text.value.clone())));
    variables.layer(case.environment.iter().cloned());
    let sections = read_sections(case, &conf, &variables)?;
    let mut problems = Problems::default();
    problems.collect(conf.ipsetd.as_ref().map(|conf| IpsetdSpec::build(conf, &variables)).transpose());
    let ruleset =
        problems.collect(RuleSet::build(&sections, &variables, &repetitions(&case.conf), &NoDatabases));
    let ruleset = problems.finish(ruleset)?.unwrap_or_default();
    let family = |name: &String| Family::parse(name).expect("`ipv4` or `ipv6`");
    let families =
        case.families.iter().fold(Families::NONE, |all, name| all.or(Families::only(family(name))));
    // only what the rule set asks for: that has to be enough
    let mut hosts = case.hosts.clone();
    hosts.retain(|name, _| ruleset.host_names().contains(name));
    let sets: BTreeMap<_, _> =
        case.sets.iter().map(|(name, family)| (name.clone(), Family::parse(family))).collect();
    let facts = Facts { families, hosts, sets };
    let plan = decide(&ruleset, &facts)?;
    let mut fewer = facts.clone();
    fewer.sets.retain(|name, _| ruleset.foreign_sets().contains(name.as_str()));
    assert_eq!(decide(&ruleset, &fewer).as_ref(), Ok(&plan), "case `{}` with the sets asked for", case.name);
    Ok(plan)
}

fn read_sections(case: &Case, conf: &NetConf, variables: &Variables) -> Result<Vec<SectionInput>, Problems> {
    let mut problems = Problems::default();
    let mut sections = Vec::new();
    for file in &conf.fw_files {
        let Some(name) = problems.collect(expand_text(file, variables)) else { continue };
        let stem = name.strip_suffix(".fw").unwrap_or(&name);
        let section = problems.collect(parse_fw(&data(case, &format!("{stem}.fw"))));
        sections.extend(section);
    }
    sections.push(conf.section.clone());
    problems.finish(sections.into_iter().map(|section| with_files(case, section)).collect())
}

fn with_files(case: &Case, section: Section) -> SectionInput {
    let set_files = section.sets.iter().map(|set| set.file.as_ref().map(|file| data(case, &file.value)));
    SectionInput { set_files: set_files.collect(), section }
}

fn data(case: &Case, name: &str) -> Arc<Source> {
    let text = case.data.get(name);
    Source::new(name, text.unwrap_or_else(|| panic!("case `{}` has no file `{name}`", case.name)).as_str())
}

/// `runtimeConfig.portMappings`, and the addresses of `prevResult`.
fn repetitions(conf: &str) -> Repetitions {
    let conf: Value = serde_json::from_str(conf).expect("JSON, it was read before");
    let list = |pointer: &str| conf.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let port = |mapping: &Value, key: &str| {
        mapping.get(key).and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok()).unwrap_or_default()
    };
    let mapping = |mapping: &Value| PortMapping {
        container_port: port(mapping, "containerPort"),
        host_port: port(mapping, "hostPort"),
        protocol: mapping.get("protocol").and_then(Value::as_str).unwrap_or("tcp").to_owned(),
    };
    let ip = |entry: &Value| -> IpAddr {
        let address = entry.get("address").and_then(Value::as_str).expect("an address");
        address.split('/').next().and_then(|address| address.parse().ok()).expect("an address")
    };
    Repetitions {
        port_mappings: list("/runtimeConfig/portMappings").iter().map(mapping).collect(),
        ips: list("/prevResult/ips").iter().map(ip).collect(),
    }
}
