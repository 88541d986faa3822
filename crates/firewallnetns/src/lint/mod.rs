//! What an ADD would refuse of a file, and what is right and most likely not meant: files and variables come in,
//! diagnostics go out. No namespace is touched, no name resolved, no program started.

mod inputs;
mod left_out;
mod samples;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fwn_kernel::encode::native::NativeContext;
use fwn_kernel::encode::plan::check_plan;
use fwn_plan::config::{Allowed, Engine, Section, parse_fw};
use fwn_plan::decide::{Facts, decide};
use fwn_plan::expand::Variables;
use fwn_plan::ipsetd::IpsetdSpec;
use fwn_plan::lint::{Extent, Finding, LeftOut, Level, Lint, Mesos, Subject, is_silenced, lint};
use fwn_plan::netfilter::Families;
use fwn_plan::origin::{Origin, Source};
use fwn_plan::problem::{Problem, Problems};
use fwn_plan::ruleset::{RuleSet, SectionInput};

use crate::call::ETC;
use crate::databases::HostDatabases;
use crate::gather::{LazyDataDir, read_section, read_variables, with_files};
use crate::settings::Settings;
use inputs::{Input, Part};
use left_out::TakenOut;
use samples::{Sample, addresses};

/// The port of ipsetd, unless `IPSET_PORT` says another.
const IPSETD_PORT: u16 = 9999;

/// How files are to be read.
#[derive(Debug, Clone, Default)]
pub(crate) struct LintOptions {
    /// Variables, as an ADD finds them in its environment.
    pub(crate) environment: Vec<(String, String)>,
    /// In place of `dataDir`, or of the folder of a .fw file.
    pub(crate) data_dir: Option<PathBuf>,
}

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    /// What it is of; `None` for what an ADD refuses.
    pub(crate) lint: Option<Lint>,
    /// Where, what, and what to do.
    pub(crate) problem: Problem,
    /// The file, as a path from where we are.
    pub(crate) path: PathBuf,
}

impl Diagnostic {
    /// How loud it is.
    pub(crate) fn level(&self) -> Level {
        self.lint.map_or(Level::Error, Lint::level)
    }

    /// The id of its lint; `refused` for what an ADD refuses.
    pub(crate) fn id(&self) -> &'static str {
        self.lint.map_or(REFUSED, Lint::id)
    }
}

/// The id of what an ADD refuses.
pub(crate) const REFUSED: &str = "refused";

/// Looks at one file.
pub(crate) fn lint_file(path: &Path, options: &LintOptions) -> Vec<Diagnostic> {
    let diagnostics = |looked: Looked, folder: &Path| {
        let place = |problem: &Problem| {
            let name = &problem.origin.source.name;
            if path.display().to_string() == *name { path.to_owned() } else { folder.join(name) }
        };
        let errors = looked.problems.0.into_iter().map(|problem| (None, problem));
        let findings = looked.findings.into_iter().map(|finding| (Some(finding.lint), finding.problem));
        let all = errors.chain(findings);
        all.map(|(lint, problem)| Diagnostic { lint, path: place(&problem), problem }).collect()
    };
    match Input::read(path) {
        Err(problems) => diagnostics(Looked { problems, ..Looked::default() }, Path::new("")),
        Ok(Input::Fw(source)) => {
            let beside = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let beside = beside.unwrap_or(Path::new("."));
            let folder = options.data_dir.as_deref().unwrap_or(beside);
            diagnostics(twice(|sample| look_at_fw(&source, folder, options, sample)), folder)
        }
        Ok(Input::Network(parts)) => {
            let mut all: Vec<Diagnostic> = Vec::new();
            for part in parts {
                let mut looked = twice(|sample| look_at_network(&part, options, sample));
                looked.problems.extend(part.problems);
                if !looked.problems.0.is_empty() {
                    looked.findings.clear();
                }
                let folder = looked.data_dir.clone();
                all.extend(diagnostics(looked, &folder));
            }
            all
        }
    }
}

/// What one look has found.
#[derive(Default)]
struct Looked {
    problems: Problems,
    findings: Vec<Finding>,
    data_dir: PathBuf,
}

/// What holds for both samples. Where there are errors, that is all: the rest is for when they are gone.
fn twice(look: impl Fn(Sample) -> Looked) -> Looked {
    let [one, two] = Sample::ALL.map(look);
    let mut problems = one.problems;
    problems.0.retain(|problem| two.problems.0.iter().any(|other| other.origin == problem.origin));
    let mut findings = one.findings;
    findings.retain(|finding| {
        let same =
            |other: &Finding| other.lint == finding.lint && other.problem.origin == finding.problem.origin;
        two.findings.iter().any(same)
    });
    findings.sort_by_key(|finding| {
        let origin = &finding.problem.origin;
        (origin.source.name.clone(), origin.highlight().start, finding.lint)
    });
    Looked { problems, findings, data_dir: one.data_dir }
}

/// A .fw file alone.
fn look_at_fw(source: &Arc<Source>, folder: &Path, options: &LintOptions, sample: Sample) -> Looked {
    let mut settings = match Settings::parse("{}") {
        Ok(settings) => settings,
        Err(problems) => return Looked { problems, ..Looked::default() },
    };
    folder.clone_into(&mut settings.data_dir);
    let mut variables = Variables::new();
    variables.layer(options.environment.iter().cloned()).layer(sample.variables());
    let mut look = Look::new(&settings, sample, variables);
    match parse_fw(source) {
        Ok(section) => look.take(section),
        Err(problems) => look.problems.extend(problems),
    }
    let whole = Origin {
        source: Arc::clone(source),
        path: fwn_plan::origin::Path::default(),
        range: 0..0,
        span: None,
    };
    look.finish(Extent::Part, &whole, Mesos::No)
}

/// A network configuration with all its files.
fn look_at_network(part: &Part, options: &LintOptions, sample: Sample) -> Looked {
    let source = &part.source;
    let mut settings = match Settings::parse_named(&source.name, &source.text) {
        Ok(settings) => settings,
        Err(problems) => return Looked { problems, ..Looked::default() },
    };
    if let Some(folder) = &options.data_dir {
        settings.data_dir.clone_from(folder);
    }
    let conf = &settings.conf;
    let vars = conf.vars.iter().map(|(name, text)| (name.clone(), text.value.clone()));
    let mut variables = Variables::new();
    variables.layer(vars).layer(options.environment.iter().cloned());
    let mut look = Look::new(&settings, sample, variables);
    let rules_only = part.rules_only.clone().map(|problem| Finding::new(Lint::RulesOnly, problem));
    look.taken_out.findings.extend(rules_only);
    look.read_files();
    look.take(conf.section.clone());
    look.read_ipsetd();
    let mesos = mesos(source, &settings, options);
    // the brace with which our part begins
    let start = source.text.find('{').unwrap_or_default();
    let whole = Origin { range: start..start + 1, ..settings.whole() };
    let extent = if look.taken_out.more { Extent::Part } else { Extent::Whole };
    look.finish(extent, &whole, mesos)
}

/// Whether the container is one of Mesos', by what the configuration says of it.
fn mesos(source: &Source, settings: &Settings, options: &LintOptions) -> Mesos {
    const ENDPOINT: &str = "MESOS_AGENT_ENDPOINT";
    let conf = &settings.conf;
    let vars = conf.vars.iter().map(|(name, text)| (name.as_str(), text.value.as_str()));
    let given = options.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let variables: BTreeMap<&str, &str> = given.chain(vars).collect();
    let is_mesos = variables.keys().any(|name| name.starts_with("MESOS_"))
        || conf.fw_files.iter().any(|file| file.value.starts_with("mesos-"))
        || source.text.contains("org.apache.mesos");
    match variables.get(ENDPOINT).and_then(|endpoint| endpoint.parse().ok()) {
        Some(agent) => Mesos::Agent(agent),
        None if is_mesos => Mesos::Yes,
        None => Mesos::No,
    }
}

/// One look at one configuration.
struct Look<'a> {
    settings: &'a Settings,
    sample: Sample,
    variables: Variables,
    data_dir: LazyDataDir<'a>,
    sections: Vec<SectionInput>,
    allowed: Vec<Allowed>,
    ipsetd: Option<IpsetdSpec>,
    taken_out: TakenOut,
    problems: Problems,
}

impl<'a> Look<'a> {
    fn new(settings: &'a Settings, sample: Sample, variables: Variables) -> Self {
        Self {
            settings,
            sample,
            variables,
            data_dir: LazyDataDir::new(settings),
            sections: Vec::new(),
            allowed: Vec::new(),
            ipsetd: None,
            taken_out: TakenOut::default(),
            problems: Problems::default(),
        }
    }

    /// Reads `varFiles` and `fwFiles`.
    fn read_files(&mut self) {
        let conf = &self.settings.conf;
        // samples come below all that somebody has said, and above nothing
        let mut with_samples = self.variables.clone();
        with_samples.layer(self.sample.variables());
        for file in &conf.var_files {
            if !self.taken_out.keep([file].into_iter(), &with_samples) {
                continue;
            }
            let read = read_variables(file, &with_samples, &mut self.data_dir);
            self.variables.layer(self.problems.collect(read).unwrap_or_default());
        }
        self.variables.layer(self.sample.variables());
        for name in &conf.fw_files {
            if !self.taken_out.keep([name].into_iter(), &self.variables) {
                continue;
            }
            let section = read_section(name, &self.variables, &mut self.data_dir);
            if let Some(section) = self.problems.collect(section) {
                self.take(section);
            }
        }
    }

    /// Reads the key of ipsetd; without its variables it is nothing that rules depend on.
    fn read_ipsetd(&mut self) {
        let Some(conf) = &self.settings.conf.ipsetd else { return };
        let mut taken_out = TakenOut::default();
        if taken_out.keep(conf.texts(), &self.variables) {
            self.ipsetd = self.problems.collect(IpsetdSpec::build(conf, &self.variables));
        }
        self.taken_out.findings.append(&mut taken_out.findings);
    }

    fn take(&mut self, mut section: Section) {
        self.taken_out.of(&mut section, &self.variables);
        self.allowed.append(&mut section.allowed);
        let section = with_files(section, &self.variables, &mut self.data_dir);
        self.sections.extend(self.problems.collect(section));
    }

    fn finish(self, extent: Extent, whole: &Origin, mesos: Mesos) -> Looked {
        let Self { settings, sample, variables, sections, allowed, ipsetd, taken_out, mut problems, .. } =
            self;
        let databases = HostDatabases::new(ETC);
        let repetitions = sample.repetitions();
        let build = match extent {
            Extent::Whole => RuleSet::build_partly,
            Extent::Part => RuleSet::build_part,
        };
        let (mut ruleset, more) = build(&sections, &variables, &repetitions, &databases);
        problems.extend(more);
        ruleset.ipsetd = ipsetd;
        let TakenOut { rules: left_out, mut findings, .. } = taken_out;
        if extent == Extent::Part {
            findings.clear();
        }
        let subject =
            Rest { extent, whole: whole.clone(), mesos, left_out: &left_out, variables: &variables };
        findings.extend(decide_and_lint(&ruleset, subject, settings.engine, &databases, &mut problems));
        let everywhere = (extent == Extent::Whole).then_some(whole);
        findings.retain(|finding| !is_silenced(finding, &allowed, everywhere));
        if !problems.0.is_empty() {
            findings.clear();
        }
        Looked { problems, findings, data_dir: settings.data_dir.clone() }
    }
}

/// What is known beside the rule set.
struct Rest<'a> {
    extent: Extent,
    whole: Origin,
    mesos: Mesos,
    left_out: &'a [LeftOut],
    variables: &'a Variables,
}

/// Goes on as an ADD does, up to what is sent to the kernel.
fn decide_and_lint(
    ruleset: &RuleSet,
    rest: Rest<'_>,
    engine: Engine,
    databases: &HostDatabases,
    problems: &mut Problems,
) -> Vec<Finding> {
    let hosts = addresses(&ruleset.host_names());
    let names: BTreeSet<IpAddr> = hosts.values().flatten().copied().collect();
    let sets = ruleset.foreign_sets().into_iter().map(|name| (name.to_owned(), None)).collect();
    let facts = Facts { families: Families::BOTH, hosts, sets };
    let plan = match decide(ruleset, &facts) {
        Ok(plan) => plan,
        Err(more) => {
            problems.extend(more);
            return Vec::new();
        }
    };
    // which number a set will have does not matter
    let context = NativeContext { databases, set_index: &|_| Some(0) };
    problems.extend(check_plan(&plan, engine, &context));
    let port = rest.variables.lookup("IPSET_PORT").and_then(|port| port.parse().ok());
    lint(&Subject {
        extent: rest.extent,
        ruleset,
        plan: &plan,
        left_out: rest.left_out,
        names: &names,
        whole: rest.whole,
        mesos: rest.mesos,
        ipsetd_port: port.unwrap_or(IPSETD_PORT),
        databases,
    })
}
