//! All sections merged in order: variables expanded, repetitions unrolled, words of rules checked. Every item keeps
//! its origin. Nothing is decided yet: which families, which addresses a name has, what is final.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::ops::Range;

use crate::config::{ChainConf, ForEach, Placement, PolicyConf, RuleConf, Section, SetConf, Text};
use crate::expand::{ExpandError, Expanded, Variables, expand, expand_entry, expand_file_name};
use crate::ipsetd::IpsetdSpec;
use crate::nearest::nearest;
use crate::netfilter::{Families, Family, Hook, Policy, Table};
use crate::origin::Origin;
use crate::problem::{Problem, Problems};
use crate::rule::databases::Databases;
use crate::rule::extensions::target_names;
use crate::rule::lex::parse_words;
use crate::rule::parse::{ParsedRule, chain_name_problem, check_chain, parse_rule};
use crate::rule::{RuleProblem, Value};
use crate::set::{ServiceNames, SetDraft, SetInput, parse_set};

/// A section with the texts of the files that its sets name.
#[derive(Debug, Clone, Default)]
pub struct SectionInput {
    /// The section as written.
    pub section: Section,
    /// For each of its sets the contents of `file`, if it has one.
    pub set_files: Vec<Option<std::sync::Arc<crate::origin::Source>>>,
}

/// What rules with `forEach` are repeated over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repetitions {
    /// `runtimeConfig.portMappings`
    pub port_mappings: Vec<PortMapping>,
    /// The addresses of the attachment.
    pub ips: Vec<IpAddr>,
}

/// One of `runtimeConfig.portMappings`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMapping {
    /// `containerPort`
    pub container_port: u16,
    /// `hostPort`
    pub host_port: u16,
    /// `protocol`, `tcp` where absent.
    pub protocol: String,
}

/// Everything that was asked for, in order.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {
    /// Sets; entries may hold host names.
    pub sets: Vec<SetDraft>,
    /// User chains.
    pub chains: Vec<UserChain>,
    /// Policies; the last one for a chain and family counts.
    pub policies: Vec<PolicyItem>,
    /// Rules.
    pub rules: Vec<RuleItem>,
    /// Who may change the sets while the container runs; of the network configuration, and so of no section.
    pub ipsetd: Option<IpsetdSpec>,
    /// Where in `sets` the set of a name stands: with thousands of sets and rules, nothing may search.
    set_index: HashMap<String, usize>,
    chain_index: HashSet<(Table, String)>,
    /// Whether chains may be made elsewhere: this is one file of several.
    is_part: bool,
}

/// A user chain to create, in both families.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserChain {
    /// Its table.
    pub table: Table,
    /// Its name.
    pub name: String,
    /// Where it was asked for.
    pub origin: Origin,
}

/// A policy asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyItem {
    /// The table.
    pub table: Table,
    /// The built-in chain.
    pub chain: Hook,
    /// The policy.
    pub policy: Policy,
    /// The families that it is for.
    pub families: Families,
    /// Where it was asked for.
    pub origin: Origin,
}

/// A rule asked for: its names are not resolved yet.
#[derive(Debug, Clone)]
pub struct RuleItem {
    /// The table.
    pub table: Table,
    /// The chain.
    pub chain: String,
    /// Where in the chain; all turns of `forEach` have the same.
    pub placement: Placement,
    /// Which turn of `forEach` it comes from, counted from 0.
    pub turn: u32,
    /// Whether it comes from `forEach`.
    pub repeated: bool,
    /// What the `family` key leaves.
    pub families: Families,
    /// Its words.
    pub parsed: ParsedRule,
    /// Where it was written.
    pub origin: Origin,
}

impl RuleSet {
    /// Expands and checks all sections, in order.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn build(
        sections: &[SectionInput],
        variables: &Variables,
        repetitions: &Repetitions,
        databases: &dyn Databases,
    ) -> Result<Self, Problems> {
        let (ruleset, problems) = Self::build_partly(sections, variables, repetitions, databases);
        problems.finish(ruleset)
    }

    /// The same, with what is right even where something is wrong: for looking further.
    pub fn build_partly(
        sections: &[SectionInput],
        variables: &Variables,
        repetitions: &Repetitions,
        databases: &dyn Databases,
    ) -> (Self, Problems) {
        Self::default().with(sections, variables, repetitions, databases)
    }

    /// The same for one file of several: chains that nobody makes may be made by another one, unless it is a slip.
    pub fn build_part(
        sections: &[SectionInput],
        variables: &Variables,
        repetitions: &Repetitions,
        databases: &dyn Databases,
    ) -> (Self, Problems) {
        Self { is_part: true, ..Self::default() }.with(sections, variables, repetitions, databases)
    }

    fn with(
        self,
        sections: &[SectionInput],
        variables: &Variables,
        repetitions: &Repetitions,
        databases: &dyn Databases,
    ) -> (Self, Problems) {
        let mut ruleset = self;
        let mut problems = Problems::default();
        // a rule may name a chain that a later section creates
        for chain in sections.iter().flat_map(|input| &input.section.chains) {
            problems.collect(ruleset.add_chain(chain, variables));
        }
        for input in sections {
            for (index, set) in input.section.sets.iter().enumerate() {
                let file = input.set_files.get(index).and_then(Option::as_ref);
                problems.collect(ruleset.add_set(set, file, variables, databases));
            }
            for policy in &input.section.policies {
                problems.collect(ruleset.add_policy(policy, variables));
            }
            for rule in &input.section.rules {
                problems.collect(ruleset.add_rule(rule, variables, repetitions, databases));
            }
        }
        (ruleset, problems)
    }

    /// Every host name that a rule or a set entry has.
    pub fn host_names(&self) -> BTreeSet<String> {
        let in_rules = self.rules.iter().flat_map(|rule| rule.parsed.host_names());
        let in_sets = self.sets.iter().flat_map(SetDraft::host_names);
        in_rules.chain(in_sets).map(str::to_owned).collect()
    }

    /// Every set that a rule or another set uses and no section makes.
    pub fn foreign_sets(&self) -> BTreeSet<&str> {
        let in_rules = self.rules.iter().flat_map(|rule| &rule.parsed.sets).map(|set| set.name.text.as_str());
        let used = in_rules.chain(self.sets.iter().flat_map(SetDraft::members));
        used.filter(|name| self.set(name).is_none()).collect()
    }

    /// The set of this name that a section makes.
    pub fn set(&self, name: &str) -> Option<&SetDraft> {
        self.set_index.get(name).and_then(|index| self.sets.get(*index))
    }

    fn add_set(
        &mut self,
        conf: &SetConf,
        file: Option<&std::sync::Arc<crate::origin::Source>>,
        variables: &Variables,
        databases: &dyn Databases,
    ) -> Result<(), Problems> {
        let mut problems = Problems::default();
        let mut expanded = |text: &Text| Text {
            value: problems.collect(expand_text(text, variables)).unwrap_or_default(),
            origin: text.origin.clone(),
        };
        let name = expanded(&conf.set);
        let hashtype = expanded(&conf.hashtype);
        let options: Vec<_> = conf.options.iter().map(|(key, text)| (*key, expanded(text))).collect();
        let mut entries = Vec::with_capacity(conf.entries.len());
        for text in &conf.entries {
            let value = problems.collect(expand_with(expand_entry, text, variables));
            entries.push(Text { value: value.unwrap_or_default(), origin: text.origin.clone() });
        }
        problems.finish(())?;
        let input = SetInput {
            origin: &conf.origin,
            name: &name,
            hashtype: &hashtype,
            options: &options,
            entries: &entries,
            persist: conf.persist,
        };
        let mut set = parse_set(&input, &Services(databases))?;
        if let Some(file) = file {
            set.load(file, &Services(databases))?;
        }
        if let Some(first) = self.set(set.name()) {
            let message = format!("set `{}` is asked for twice", set.name());
            let hint = format!("first at {}", first.origin());
            return Err(Problem::new(conf.set.origin.clone(), message).hint(hint).into());
        }
        self.set_index.insert(set.name().to_owned(), self.sets.len());
        self.sets.push(set);
        Ok(())
    }

    fn add_chain(&mut self, conf: &ChainConf, variables: &Variables) -> Result<(), Problems> {
        let mut problems = Problems::default();
        let name = problems.collect(expand_text(&conf.chain, variables)).unwrap_or_default();
        let table = problems.collect(table_of(conf.table.as_ref(), variables)).unwrap_or(Table::Filter);
        problems.finish(())?;
        let origin = conf.chain.origin.clone();
        // those of other tables too: no rule could jump to such a chain
        if let Some(table) = Table::ALL.into_iter().find(|table| table.builtin(&name).is_some()) {
            let message = format!("chain `{name}` is built into table `{table}`, it cannot be created");
            return Err(Problem::new(origin, message).into());
        }
        if let Some(message) = chain_name_problem(&name) {
            return Err(Problem::new(origin, message).into());
        }
        // two sections may want the same chain
        if self.chain_index.insert((table, name.clone())) {
            self.chains.push(UserChain { table, name, origin });
        }
        Ok(())
    }

    fn add_policy(&mut self, conf: &PolicyConf, variables: &Variables) -> Result<(), Problems> {
        let mut problems = Problems::default();
        let chain = problems.collect(expand_text(&conf.chain, variables)).unwrap_or_default();
        let policy = problems.collect(expand_text(&conf.policy, variables)).unwrap_or_default();
        let table = problems.collect(table_of(conf.table.as_ref(), variables)).unwrap_or(Table::Filter);
        problems.finish(())?;
        let mut problems = Problems::default();
        let hook = table.builtin(&chain);
        if hook.is_none() {
            let known = table.hooks().iter().map(|hook| hook.chain());
            let message =
                format!("table `{table}` has no built-in chain `{chain}`, and only those have a policy");
            problems.push(with_nearest(Problem::new(conf.chain.origin.clone(), message), &chain, known));
        }
        let parsed = Policy::parse(&policy);
        if parsed.is_none() {
            let message = format!("unknown policy `{policy}`, known are ACCEPT and DROP");
            let known = Policy::ALL.map(Policy::name);
            problems.push(with_nearest(Problem::new(conf.policy.origin.clone(), message), &policy, known));
        }
        if let (Some(chain), Some(policy)) = (hook, parsed) {
            let families = Families::from(conf.family);
            self.policies.push(PolicyItem {
                table,
                chain,
                policy,
                families,
                origin: conf.policy.origin.clone(),
            });
        }
        problems.finish(())
    }

    fn add_rule(
        &mut self,
        conf: &RuleConf,
        variables: &Variables,
        repetitions: &Repetitions,
        databases: &dyn Databases,
    ) -> Result<(), Problems> {
        match conf.for_each {
            None => self.add_rule_once(conf, variables, 0, databases),
            Some(ForEach::PortMappings) => {
                let locals = repetitions.port_mappings.iter().map(|mapping| {
                    vec![
                        ("CONTAINER_PORT".to_owned(), mapping.container_port.to_string()),
                        ("HOST_PORT".to_owned(), mapping.host_port.to_string()),
                        ("PROTO".to_owned(), mapping.protocol.clone()),
                    ]
                });
                self.add_repeated(conf, variables, locals, databases)
            }
            Some(ForEach::Ips) => {
                let family = |ip: &IpAddr| if ip.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
                let wanted = |ip: &&IpAddr| conf.family.is_none_or(|only| only == family(ip));
                let ips = repetitions.ips.iter().filter(wanted);
                let locals = ips.map(|ip| vec![("IP".to_owned(), ip.to_string())]);
                self.add_repeated(conf, variables, locals, databases)
            }
        }
    }

    fn add_repeated(
        &mut self,
        conf: &RuleConf,
        variables: &Variables,
        repetitions: impl Iterator<Item = Vec<(String, String)>>,
        databases: &dyn Databases,
    ) -> Result<(), Problems> {
        for (turn, locals) in (0..).zip(repetitions) {
            self.add_rule_once(conf, &variables.with_locals(locals), turn, databases)?;
        }
        Ok(())
    }

    fn add_rule_once(
        &mut self,
        conf: &RuleConf,
        variables: &Variables,
        turn: u32,
        databases: &dyn Databases,
    ) -> Result<(), Problems> {
        let mut problems = Problems::default();
        let chain = problems.collect(expand_text(&conf.chain, variables));
        let table = problems.collect(table_of(conf.table.as_ref(), variables));
        if let (Some(chain), Some(table)) = (&chain, table) {
            problems.extend(self.check_chain_of_rule(&conf.chain.origin, chain, table));
        }
        let words = parse_words(&conf.rule.value, variables);
        let parsed = words.and_then(|words| parse_rule(&words, databases));
        let parsed = problems.collect(parsed.map_err(|all| rule_problems(&conf.rule, all)));
        let (Some(chain), Some(table), Some(parsed)) = (chain, table, parsed) else {
            return problems.finish(());
        };
        problems.extend(rule_problems(&conf.rule, check_chain(&parsed, table.builtin(&chain))));
        problems.extend(self.check_jump(&conf.rule.origin, &parsed, table));
        let item = RuleItem {
            table,
            chain,
            placement: conf.placement,
            turn,
            repeated: conf.for_each.is_some(),
            families: Families::from(conf.family),
            parsed,
            origin: conf.rule.origin.clone(),
        };
        self.rules.push(item);
        problems.finish(())
    }

    fn has_user_chain(&self, table: Table, name: &str) -> bool {
        self.chain_index.contains(&(table, name.to_owned()))
    }

    fn user_chains(&self, table: Table) -> impl Iterator<Item = &str> + Clone {
        self.chains.iter().filter(move |chain| chain.table == table).map(|chain| chain.name.as_str())
    }

    /// A rule stands in a chain that exists.
    fn check_chain_of_rule(&self, origin: &Origin, chain: &str, table: Table) -> Problems {
        if table.builtin(chain).is_some() || self.has_user_chain(table, chain) {
            return Problems::default();
        }
        let built_in = table.hooks().iter().map(|hook| hook.chain());
        let hint = match nearest(chain, built_in.clone().chain(self.user_chains(table))) {
            Some(near) => format!("did you mean `{near}`?"),
            None if self.is_part => return Problems::default(),
            None => format!(
                "the table has {}, and those that `chains` makes",
                built_in.collect::<Vec<_>>().join(", ")
            ),
        };
        let message = format!("chain `{chain}` does not exist in table `{table}`");
        Problem::new(origin.clone(), message).hint(hint).into()
    }

    /// A rule jumps to a user chain that exists.
    fn check_jump(&self, rule: &Origin, parsed: &ParsedRule, table: Table) -> Problems {
        let Some(Value { text: name, span }) = parsed.chain() else { return Problems::default() };
        if self.has_user_chain(table, name) {
            return Problems::default();
        }
        let mut known: Vec<&str> = self.user_chains(table).collect();
        for target in target_names() {
            known.push(target);
        }
        let hint = match nearest(name, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if self.is_part => return Problems::default(),
            None => "an element of `chains` makes a chain".to_owned(),
        };
        let message = format!("`{name}` is neither a target nor a chain of table `{table}`");
        Problem::new(rule.with_span(span.clone()), message).hint(hint).into()
    }
}

/// The services of the databases, as the grammar of set entries asks for them: by the protocol's name.
pub struct Services<'a>(pub &'a dyn Databases);

impl ServiceNames for Services<'_> {
    fn port(&self, name: &str, protocol: &str) -> Option<u16> {
        self.0.service(name, self.0.protocol(protocol))
    }
}

/// Expands a string that is one word.
///
/// # Errors
/// The expansion's, at its place.
pub fn expand_text(text: &Text, variables: &Variables) -> Result<String, Problems> {
    expand_with(expand, text, variables)
}

/// Expands the name of a file.
///
/// # Errors
/// The expansion's, at its place.
pub fn expand_name(text: &Text, variables: &Variables) -> Result<String, Problems> {
    expand_with(expand_file_name, text, variables)
}

fn expand_with(
    expand: fn(&str, &Variables) -> Result<Expanded, ExpandError>,
    text: &Text,
    variables: &Variables,
) -> Result<String, Problems> {
    let problem = |error: ExpandError| placed(&text.origin, error.span, error.message, error.hint);
    expand(&text.value, variables).map(|expanded| expanded.text).map_err(|error| problem(error).into())
}

fn rule_problems(rule: &Text, problems: Vec<RuleProblem>) -> Problems {
    Problems(problems.into_iter().map(|p| placed(&rule.origin, p.span, p.message, p.hint)).collect())
}

fn placed(origin: &Origin, span: Range<usize>, message: String, hint: Option<String>) -> Problem {
    Problem { origin: origin.with_span(span), message, hint }
}

fn table_of(text: Option<&Text>, variables: &Variables) -> Result<Table, Problems> {
    let Some(text) = text else { return Ok(Table::Filter) };
    let name = expand_text(text, variables)?;
    Table::parse(&name).ok_or_else(|| {
        let message = format!("unknown table `{name}`");
        with_nearest(Problem::new(text.origin.clone(), message), &name, Table::ALL.map(Table::name)).into()
    })
}

fn with_nearest<'a>(problem: Problem, word: &str, known: impl IntoIterator<Item = &'a str>) -> Problem {
    match nearest(word, known) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem,
    }
}
