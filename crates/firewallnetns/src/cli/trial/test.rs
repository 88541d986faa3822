//! `test`: the packets that policies carry are sent through them. Each policy is put in force in a scratch namespace the way
//! an ADD does it, and the kernel decides.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use fwn_cni::error::{CniError, ErrorCode};
use fwn_kernel::firewall::apply::{ApplyRequest, Connection, apply};
use fwn_kernel::firewall::view::{View, view};
use fwn_kernel::trace::cross_check::cross_check;
use fwn_kernel::trace::explain::explain;
use fwn_kernel::trace::lab::Lab;
use fwn_node::causes::with_causes;
use fwn_plan::config::{Expected, Section, TestConf, Text, parse_fw};
use fwn_plan::expand::Variables;
use fwn_plan::origin::Source;
use fwn_plan::packet::{Direction, Packet, parse_packet};
use fwn_plan::plan::Attachment;
use fwn_plan::problem::{Problem, Problems};
use fwn_plan::ruleset::expand_text;

use super::super::output::{Style, print};
use super::super::plan::FileOptions;
use super::super::{Environment, FAILURE, SUCCESS};
use super::Told;
use super::explain::failed;
use super::report::{Suite, Tried, junit, tap, text};
use crate::Streams;
use crate::data_dir::DataDir;
use crate::failure::Failure;
use crate::gather::FW_LIMIT;
use crate::policy::{IFNAME, Policy, PolicyOptions, is_fw, read_source, wrong};

pub(in crate::cli) const EXAMPLES: &str = "\
Examples:
  firewallnetns test /etc/cni/firewallnetns/*.fw
  firewallnetns test web.fw --env WEB_PORT=8080 --format tap
  firewallnetns test 10-net.conflist --format junit > result.xml

A policy carries its packets: \"tests\": [ { \"packet\": \"in tcp 10.0.0.9 -> 10.0.0.2:80\", \"expect\": \"ACCEPT\" } ]
Exit codes: 0 all as expected, 1 not, or failed, 2 not understood.";

#[derive(Debug, Args)]
pub(in crate::cli) struct TestArgs {
    /// .fw files, each a policy with tests of its own, or network configurations (.conf, .conflist)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    options: FileOptions,
    /// How to print the results
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// Test Anything Protocol.
    Tap,
    /// JUnit's XML.
    Junit,
}

/// Tests; the exit code.
pub(in crate::cli) fn run(
    args: &TestArgs,
    environment: Environment<'_>,
    streams: &mut Streams<'_>,
) -> Result<u8, CniError> {
    let mut suites = Vec::new();
    for file in &args.files {
        suites.push(suite(file, &args.options)?);
    }
    let tried = || suites.iter().flat_map(|suite| &suite.tried);
    if tried().next().is_none() {
        return Err(CniError::new(ErrorCode::BadConfig, "there is nothing to test: no file has `tests`"));
    }
    let shown = match args.format {
        Format::Text => text(&suites, Style::of_stdout(environment)),
        Format::Tap => tap(&suites),
        Format::Junit => junit(&suites),
    };
    print(streams.stdout, &shown)?;
    Ok(if tried().all(Tried::is_as_expected) { SUCCESS } else { FAILURE })
}

/// Tests with the same `with` and `vars` that stand one after the other: they share a namespace, in order.
struct Group<'a> {
    tests: Vec<&'a TestConf>,
}

fn suite(file: &Path, options: &FileOptions) -> Result<Suite, CniError> {
    let source = read_source(file)?;
    let mut tried = Vec::new();
    if is_fw(file, &source.text) {
        let section = parse_fw(&source).map_err(|problems| wrong(&problems))?;
        for group in groups(&section.tests) {
            tried.extend(try_group(&group, options, |options| of_section(file, &section, &group, options))?);
        }
    } else {
        let files = [file.to_owned()];
        let policy = Policy::load(&files, options.to_policy())?;
        let tests = policy.call()?.settings.conf.section.tests.clone();
        for group in groups(&tests) {
            let with: Vec<&Text> = group.tests.iter().flat_map(|test| &test.with).collect();
            if let Some(with) = with.first() {
                let problem = Problem::new(with.origin.clone(), "`with` is for .fw files")
                    .hint("a network has its files in `fwFiles`");
                return Err(wrong(&problem.into()));
            }
            tried.extend(try_group(&group, options, |options| Policy::load(&files, options))?);
        }
    }
    Ok(Suite { name: file.display().to_string(), tried })
}

fn groups(tests: &[TestConf]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let words = |texts: &[Text]| texts.iter().map(|text| text.value.clone()).collect::<Vec<_>>();
    let vars = |test: &TestConf| {
        test.vars.iter().map(|(name, text)| (name.clone(), text.value.clone())).collect::<Vec<_>>()
    };
    for test in tests {
        let same = |group: &&mut Group<'_>| {
            group
                .tests
                .last()
                .is_some_and(|last| words(&last.with) == words(&test.with) && vars(last) == vars(test))
        };
        match groups.last_mut().filter(same) {
            Some(group) => group.tests.push(test),
            None => groups.push(Group { tests: vec![test] }),
        }
    }
    groups
}

/// The policy of a .fw file, with the files before it that its tests name.
fn of_section(
    file: &Path,
    section: &Section,
    group: &Group<'_>,
    options: PolicyOptions,
) -> Result<Policy, CniError> {
    let own = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = options.data_dir.clone().unwrap_or_else(|| own.to_owned());
    let mut sections = Vec::new();
    let with = group.tests.first().map(|test| test.with.as_slice()).unwrap_or_default();
    if !with.is_empty() {
        let data = DataDir::open(&folder)
            .map_err(|error| CniError::new(ErrorCode::BadConfig, with_causes(&error)))?;
        for name in with {
            let file = format!("{}.fw", name.value.strip_suffix(".fw").unwrap_or(&name.value));
            let text = data
                .read(&file, FW_LIMIT)
                .map_err(|error| wrong(&Problem::new(name.origin.clone(), with_causes(&error)).into()))?;
            sections.push(parse_fw(&Source::new(file, text)).map_err(|problems| wrong(&problems))?);
        }
    }
    sections.push(section.clone());
    Policy::of_sections(sections, &folder, options)
}

/// A group in a namespace of its own.
fn try_group(
    group: &Group<'_>,
    options: &FileOptions,
    load: impl FnOnce(PolicyOptions) -> Result<Policy, CniError>,
) -> Result<Vec<Tried>, CniError> {
    let mut options = options.to_policy();
    for (name, value) in group.tests.iter().flat_map(|test| &test.vars) {
        if !options.environment.iter().any(|(known, _)| known == name) {
            options.environment.push((name.clone(), value.value.clone()));
        }
    }
    let packets = packets(group, &options)?;
    let interface = options.environment.iter().find(|(name, _)| name == "CNI_IFNAME");
    let interface = interface.map_or(IFNAME, |(_, value)| value).to_owned();
    let policy = load(options)?;
    let mut lab = Lab::new(true).map_err(|error| failed(&error))?;
    let mut interfaces = BTreeSet::from([interface.clone()]);
    for packet in &packets {
        match &packet.direction {
            Direction::Forward(from, to) => interfaces.extend([from.clone(), to.clone()]),
            direction => {
                interfaces.insert(direction.interface().to_owned());
            }
        }
    }
    for name in &interfaces {
        lab.add_interface(name).map_err(|error| failed(&error))?;
    }
    let seen = put_in_force(&policy, &lab, &interface)?;

    let mut tried = Vec::new();
    let mut before = lab.rules().map_err(|error| failed(&error))?;
    for (test, packet) in group.tests.iter().zip(&packets) {
        let journey = lab.send_alone(packet, &interface).map_err(|error| failed(&error))?;
        let after = lab.rules().map_err(|error| failed(&error))?;
        cross_check(&journey, &before, &after).map_err(|error| failed(&error))?;
        let explanation = explain(&journey, &after);
        let told = Told { explanation: &explanation, rules: &after, view: &seen };
        let (line, column) = test.packet.origin.line_column();
        tried.push(Tried {
            packet: test.packet.value.clone(),
            place: format!("{}:{line}:{column}", test.packet.origin.source.name),
            expected: match test.expect {
                Expected::Accept => "ACCEPT",
                Expected::Drop => "DROP",
                Expected::Reject => "REJECT",
            },
            got: explanation.outcome.name(),
            by: told.decider(),
        });
        before = after;
    }
    Ok(tried)
}

fn packets(group: &Group<'_>, options: &PolicyOptions) -> Result<Vec<Packet>, CniError> {
    let mut variables = Variables::new();
    variables.layer(options.environment.iter().cloned());
    variables.layer([("CNI_IFNAME".to_owned(), IFNAME.to_owned())]);
    let mut problems = Problems::default();
    let mut packets = Vec::new();
    for test in &group.tests {
        let text = &test.packet;
        let Some(words) = problems.collect(expand_text(text, &variables)) else { continue };
        match parse_packet(&words) {
            Ok(packet) => packets.push(packet),
            Err(problem) => {
                // what was expanded cannot be underlined
                let plain = words == text.value;
                let origin = if plain { text.origin.with_span(problem.span) } else { text.origin.clone() };
                let message =
                    if plain { problem.message } else { format!("{} in `{words}`", problem.message) };
                problems.push(Problem { origin, message, hint: problem.hint });
            }
        }
    }
    problems.finish(packets).map_err(|problems| wrong(&problems))
}

/// As an ADD would, with nothing written down.
fn put_in_force(policy: &Policy, lab: &Lab, interface: &str) -> Result<View, CniError> {
    let call = policy.call()?;
    let plan = policy.plan(&call, std::collections::BTreeMap::new())?;
    let (_, connection) = Connection::open(&lab.path()).map_err(Failure::Apply)?;
    let attachment = Attachment {
        network: call.attachment.network.clone(),
        container: "test".to_owned(),
        interface: interface.to_owned(),
    };
    let request = ApplyRequest {
        plan: &plan,
        attachment: &attachment,
        engine: call.settings.engine,
        databases: &call.databases,
        previous: None,
        siblings: &[],
    };
    let record = apply(connection, &request, &mut |_| Ok(())).map_err(Failure::Apply)?;
    let (_, mut connection) = Connection::open(&lab.path()).map_err(Failure::Apply)?;
    Ok(view(&mut connection, &[record]).map_err(Failure::Apply)?)
}
