//! The only host I/O before the namespace is touched: reads the files that the configuration names and resolves the
//! names in its rules. Everything comes out as facts for the pure core.

use std::collections::{BTreeMap, BTreeSet};

use fwn_cni::result::AddResult;
use fwn_kernel::encode::native::NativeContext;
use fwn_kernel::encode::plan::{EncodePlanError, encode_plan};
use fwn_kernel::encode::scratch_sets::make_scratch_sets;
use fwn_kernel::netns::available_families;
use fwn_node::causes::with_causes;
use fwn_plan::config::{IpsetdConf, Section, Text, parse_fw};
use fwn_plan::decide::{Facts, decide};
use fwn_plan::expand::{Variables, is_variable_name};
use fwn_plan::ipsetd::IpsetdSpec;
use fwn_plan::nearest::nearest;
use fwn_plan::origin::Source;
use fwn_plan::problem::{Problem, Problems};
use fwn_plan::ruleset::{Repetitions, RuleSet, SectionInput, Services, expand_name, expand_text};

use crate::ahead::{waits, without_waiting};
use crate::call::Call;
use crate::data_dir::{DataDir, DataError, read_path};
use crate::failure::Failure;
use crate::settings::Settings;
use crate::variables;

/// Most bytes of a .fw file.
pub(crate) const FW_LIMIT: u64 = 4 << 20;
/// Most bytes of a variable file.
const VAR_LIMIT: u64 = 1 << 20;
/// Most bytes of a set file: two million addresses.
const SET_LIMIT: u64 = 64 << 20;

/// Reads and merges all sections of a call. `environment` is a snapshot of the plugin's own, `result` that of the
/// plugins before.
///
/// # Errors
/// Everything that is wrong with the configuration and its files; a saved set that cannot be read.
pub(crate) fn gather(
    call: &Call<'_>,
    result: Option<&AddResult>,
    environment: Vec<(String, String)>,
) -> Result<RuleSet, Failure> {
    let (ruleset, problems) = gather_partly(call, result, environment)?;
    without_problems(call, ruleset, problems)
}

/// The same before delegates have run, without what waits for their result. `None` where so much waits that the rest
/// cannot be judged by itself.
///
/// # Errors
/// As [`gather`].
pub(crate) fn gather_first(
    call: &Call<'_>,
    environment: Vec<(String, String)>,
) -> Result<Option<RuleSet>, Failure> {
    let (inputs, problems) = read_inputs(call, When::First, environment);
    if !inputs.whole {
        return problems.finish(None).map_err(Failure::Configuration);
    }
    let (ruleset, problems) = build(call, inputs, problems)?;
    without_problems(call, ruleset, problems).map(Some)
}

fn without_problems(call: &Call<'_>, ruleset: RuleSet, mut problems: Problems) -> Result<RuleSet, Failure> {
    if !problems.0.is_empty() {
        problems.extend(refusals(ruleset, call));
        return Err(Failure::Configuration(problems));
    }
    Ok(ruleset)
}

/// The same, with what is right even where something is wrong.
///
/// # Errors
/// A saved set cannot be read.
pub(crate) fn gather_partly(
    call: &Call<'_>,
    result: Option<&AddResult>,
    environment: Vec<(String, String)>,
) -> Result<(RuleSet, Problems), Failure> {
    let (inputs, problems) = read_inputs(call, When::After(result), environment);
    build(call, inputs, problems)
}

/// When it is read.
#[derive(Clone, Copy)]
enum When<'a> {
    /// Before delegates have run.
    First,
    /// After the plugins before us, with their result.
    After(Option<&'a AddResult>),
}

/// What a rule set is made of.
struct Inputs {
    variables: Variables,
    sections: Vec<SectionInput>,
    repetitions: Repetitions,
    ipsetd: Option<IpsetdSpec>,
    /// Whether nothing is left out that another part could name.
    whole: bool,
}

fn read_inputs(call: &Call<'_>, when: When<'_>, environment: Vec<(String, String)>) -> (Inputs, Problems) {
    let conf = &call.settings.conf;
    let mut problems = Problems::default();
    let mut data_dir = LazyDataDir::new(&call.settings);
    let port_mappings = variables::port_mappings(call.invocation).unwrap_or_else(|message| {
        problems.push(Problem::new(call.settings.whole(), message));
        Vec::new()
    });

    let mut all = Variables::new();
    all.layer(conf.vars.iter().map(|(name, text)| (name.clone(), text.value.clone())));
    all.layer(environment);
    for file in &conf.var_files {
        all.layer(problems.collect(read_variables(file, &all, &mut data_dir)).unwrap_or_default());
    }
    let result = match when {
        When::First => None,
        When::After(result) => result,
    };
    all.layer_from_outside(variables::derived(call.invocation, &port_mappings, result));

    let mut whole = true;
    let mut known = |section: Section| match when {
        When::First => {
            let (section, stands) = without_waiting(section);
            whole &= stands;
            section
        }
        When::After(_) => section,
    };
    let (now, later): (Vec<&Text>, Vec<&Text>) =
        conf.fw_files.iter().partition(|name| matches!(when, When::After(_)) || !waits(name));
    let mut sections = Vec::new();
    for name in now {
        let section = read_section(name, &all, &mut data_dir).map(&mut known);
        sections
            .extend(problems.collect(section.and_then(|section| with_files(section, &all, &mut data_dir))));
    }
    for section in call.given.clone() {
        sections.extend(problems.collect(with_files(known(section), &all, &mut data_dir)));
    }
    sections.extend(problems.collect(with_files(known(conf.section.clone()), &all, &mut data_dir)));

    let repetitions =
        Repetitions { port_mappings, ips: variables::addresses(result, &call.attachment.interface) };
    let known = |conf: &&IpsetdConf| matches!(when, When::After(_)) || !conf.texts().any(waits);
    let ipsetd = conf.ipsetd.as_ref().filter(known).map(|conf| IpsetdSpec::build(conf, &all));
    let ipsetd = ipsetd.and_then(|spec| problems.collect(spec));
    let whole = whole && later.is_empty();
    (Inputs { variables: all, sections, repetitions, ipsetd, whole }, problems)
}

fn build(call: &Call<'_>, inputs: Inputs, mut problems: Problems) -> Result<(RuleSet, Problems), Failure> {
    let Inputs { variables, sections, repetitions, ipsetd, .. } = inputs;
    let (mut ruleset, more) = RuleSet::build_partly(&sections, &variables, &repetitions, &call.databases);
    problems.extend(more);
    ruleset.ipsetd = ipsetd;
    for set in ruleset.sets.iter_mut().filter(|set| set.persist()) {
        if let Some(saved) = call.persist.load(set.name()).map_err(Failure::Persist)? {
            problems.extend(set.load(&saved, &Services(&call.databases)).err().unwrap_or_default());
        }
    }
    Ok((ruleset, problems))
}

/// What the engine refuses of a rule set: of one that is wrong elsewhere already, so that all bad rules are named in one
/// go; of one whose delegates have not run yet. Rules for which names would have to be resolved are left for the next time.
pub(crate) fn refusals(mut ruleset: RuleSet, call: &Call<'_>) -> Problems {
    ruleset.rules.retain(|rule| rule.parsed.host_names().next().is_none());
    ruleset.sets.clear();
    let used: BTreeSet<_> =
        ruleset.rules.iter().flat_map(|rule| &rule.parsed.sets).map(|set| set.name.text.clone()).collect();
    let sets = used.iter().map(|name| (name.clone(), None)).collect();
    let facts = Facts { families: available_families(), hosts: BTreeMap::default(), sets };
    let plan = match decide(&ruleset, &facts) {
        Ok(plan) => plan,
        Err(problems) => return problems,
    };
    let indexes: BTreeMap<String, u16> = used.into_iter().zip(0..).collect();
    let context = NativeContext { databases: &call.databases, set_index: &|name| indexes.get(name).copied() };
    let prepare = || make_scratch_sets(&indexes).map_err(Into::into);
    match encode_plan(&plan, call.settings.engine, &context, &prepare) {
        Err(EncodePlanError::Rules(problems)) => problems,
        // it will be said once the rest is right
        Ok(_) | Err(EncodePlanError::Iptables { .. }) => Problems::default(),
    }
}

/// Reads the .fw files that have a fixed name, for STATUS: without an attachment variables have no values.
///
/// # Errors
/// Everything that is wrong with them.
pub(crate) fn check_files(call: &Call<'_>) -> Result<(), Problems> {
    let mut problems = Problems::default();
    let mut data_dir = LazyDataDir::new(&call.settings);
    for name in call.settings.conf.fw_files.iter().filter(|name| !name.value.contains('$')) {
        problems.collect(read_section(name, &Variables::new(), &mut data_dir));
    }
    problems.finish(())
}

/// The data folder is opened when the first file is read: a configuration without files needs none.
pub(crate) struct LazyDataDir<'a> {
    settings: &'a Settings,
    open: Option<DataDir>,
}

impl<'a> LazyDataDir<'a> {
    /// Not opened yet.
    pub(crate) fn new(settings: &'a Settings) -> Self {
        Self { settings, open: None }
    }

    /// Reads a file for the configuration item at `item`.
    fn read(&mut self, name: &str, limit: u64, item: &Text) -> Result<String, Problems> {
        if self.open.is_none() {
            self.open =
                Some(DataDir::open(&self.settings.data_dir).map_err(|error| unreadable(&error, item))?);
        }
        let Some(folder) = &self.open else { return Ok(String::new()) };
        folder.read(name, limit).map_err(|error| {
            let problem = unreadable(&error, item);
            let names = if matches!(error, DataError::Missing(_)) { folder.names() } else { Vec::new() };
            match nearest(name, names.iter().map(String::as_str)) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")).into(),
                None => problem.into(),
            }
        })
    }
}

fn unreadable(error: &DataError, item: &Text) -> Problem {
    Problem::new(item.origin.clone(), with_causes(error))
}

/// Reads the .fw file of a name in `fwFiles`.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn read_section(
    name: &Text,
    variables: &Variables,
    data_dir: &mut LazyDataDir<'_>,
) -> Result<Section, Problems> {
    let expanded = expand_name(name, variables)?;
    let file = format!("{}.fw", expanded.strip_suffix(".fw").unwrap_or(&expanded));
    let text = data_dir.read(&file, FW_LIMIT, name)?;
    parse_fw(&Source::new(file, text))
}

/// The section with the texts of the files that its sets name.
///
/// # Errors
/// Files that cannot be read.
pub(crate) fn with_files(
    section: Section,
    variables: &Variables,
    data_dir: &mut LazyDataDir<'_>,
) -> Result<SectionInput, Problems> {
    let mut problems = Problems::default();
    let mut set_files = Vec::new();
    for set in &section.sets {
        let Some(file) = &set.file else {
            set_files.push(None);
            continue;
        };
        let text =
            expand_name(file, variables).and_then(|name| Ok((data_dir.read(&name, SET_LIMIT, file)?, name)));
        set_files.push(problems.collect(text).map(|(text, name)| Source::new(name, text)));
    }
    problems.finish(SectionInput { section, set_files })
}

/// `NAME=VALUE` lines; blank ones and comments (`#`) are passed over. An absolute path is the operator's own choice,
/// anything else lies in the data folder.
///
/// # Errors
/// It cannot be read, or lines that are something else.
pub(crate) fn read_variables(
    file: &Text,
    variables: &Variables,
    data_dir: &mut LazyDataDir<'_>,
) -> Result<Vec<(String, String)>, Problems> {
    let name = expand_text(file, variables)?;
    let text = if name.starts_with('/') {
        read_path(name.as_ref(), VAR_LIMIT).map_err(|error| unreadable(&error, file))?
    } else {
        data_dir.read(&name, VAR_LIMIT, file)?
    };
    let mut problems = Problems::default();
    let mut values = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            Some((key, value)) if is_variable_name(key) => {
                values.push((key.to_owned(), unquoted(value).to_owned()));
            }
            // the line itself may hold a secret: it is not shown
            _ => problems.push(
                Problem::new(
                    file.origin.clone(),
                    format!("line {} of `{name}` is not NAME=VALUE", number + 1),
                )
                .hint("a name has letters, digits and `_`, and does not begin with a digit"),
            ),
        }
    }
    // of a name that comes twice the last line counts, as in a shell; in a layer it is the first
    values.reverse();
    problems.finish(values)
}

/// The value without one pair of quotes around it, as environment files have them.
fn unquoted(value: &str) -> &str {
    let value = value.trim();
    ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(value)
}
