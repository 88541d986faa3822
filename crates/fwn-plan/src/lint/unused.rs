//! What is there and does nothing: sets, chains, a whole configuration. And what is used and not there.

use std::collections::BTreeSet;

use super::{Finding, Lint, Subject};
use crate::origin::Origin;
use crate::plan::Plan;
use crate::problem::Problem;
use crate::rule::address::Host;
use crate::rule::parse::ParsedRule;
use crate::set::{SetDraft, no_such_set};

/// Sets that no rule uses, be it by a list that holds them.
pub(super) fn sets(subject: &Subject<'_>) -> Vec<Finding> {
    let mut used: BTreeSet<&str> = subject
        .ruleset
        .rules
        .iter()
        .flat_map(|rule| &rule.parsed.sets)
        .map(|set| set.name.text.as_str())
        .collect();
    for set in &subject.ruleset.sets {
        if used.contains(set.name()) {
            used.extend(set.members());
        }
    }
    let unused = subject.ruleset.sets.iter().filter(|set| !used.contains(set.name()));
    unused
        .filter(|set| !subject.is_in_what_was_left_out(set.name()))
        .map(|set| {
            let problem = Problem::new(set.origin().clone(), format!("no rule uses set `{}`", set.name()))
                .hint("a rule uses it by `-m set --match-set NAME src`");
            Finding::new(Lint::UnusedSet, problem)
        })
        .collect()
}

/// Chains that nothing jumps to.
pub(super) fn chains(subject: &Subject<'_>) -> Vec<Finding> {
    let rules = &subject.ruleset.rules;
    let jumped: BTreeSet<_> = rules
        .iter()
        .filter_map(|rule| rule.parsed.chain().map(|chain| (rule.table, chain.text.as_str())))
        .collect();
    let unused =
        subject.ruleset.chains.iter().filter(|chain| !jumped.contains(&(chain.table, chain.name.as_str())));
    unused
        .filter(|chain| !subject.is_in_what_was_left_out(&chain.name))
        .map(|chain| {
            let problem =
                Problem::new(chain.origin.clone(), format!("no rule jumps to chain `{}`", chain.name))
                    .hint(format!("a rule jumps to it by `-j {}`", chain.name));
            Finding::new(Lint::UnusedChain, problem)
        })
        .collect()
}

/// Sets that rules and lists use and nobody makes.
pub(super) fn unknown_sets(subject: &Subject<'_>) -> Vec<Finding> {
    let ruleset = subject.ruleset;
    let foreign = ruleset.foreign_sets();
    let mut said = BTreeSet::new();
    let mut findings = Vec::new();
    let mut say = |name: &str, origin: Origin| {
        if said.insert(name.to_owned()) {
            let Problem { origin, hint, .. } =
                no_such_set(origin, name, ruleset.sets.iter().map(SetDraft::name));
            let message = format!("set `{name}` is made by none of these files");
            findings.push(Finding::new(Lint::UnknownSet, Problem { origin, message, hint }));
        }
    };
    for rule in &ruleset.rules {
        for set in rule.parsed.sets.iter().filter(|set| foreign.contains(set.name.text.as_str())) {
            say(&set.name.text, rule.origin.with_span(set.name.span.clone()));
        }
    }
    for set in &ruleset.sets {
        for member in set.members().filter(|name| foreign.contains(name)) {
            say(member, set.origin().clone());
        }
    }
    for (name, origin) in ruleset.ipsetd.iter().filter_map(|spec| spec.sets.as_ref()).flatten() {
        if ruleset.set(name).is_none() {
            say(name, origin.clone());
        }
    }
    findings
}

/// A configuration that does nothing at all.
pub(super) fn whole(subject: &Subject<'_>) -> Vec<Finding> {
    let ipsetd = subject.ruleset.ipsetd.is_some();
    if *subject.plan != Plan::default()
        || ipsetd
        || !subject.left_out.is_empty()
        || subject.has_repeated_rules()
    {
        return Vec::new();
    }
    let problem = Problem::new(subject.whole.clone(), "nothing is configured: the container stays open")
        .hint("`fwFiles` lists .fw files; `policies` and `rules` can stand here, too");
    vec![Finding::new(Lint::NothingConfigured, problem)]
}

/// Host names of rules and sets.
pub(super) fn names(subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut said = BTreeSet::new();
    let mut say = |name: &str, origin: Origin| {
        if said.insert(format!("{origin:?}")) {
            let message = format!("`{name}` is resolved once, when the container starts");
            let problem = Problem::new(origin, message).hint(
                "addresses that change belong into a set, which ipsetd can change while the container runs",
            );
            findings.push(Finding::new(Lint::NameResolvedOnce, problem));
        }
    };
    for rule in &subject.ruleset.rules {
        for (name, origin) in names_of(&rule.parsed, &rule.origin) {
            say(name, origin);
        }
    }
    for set in &subject.ruleset.sets {
        if let Some(name) = set.host_names().next() {
            say(name, set.origin().clone());
        }
    }
    findings
}

/// The names in `-s` and `-d`, each with its place.
pub(super) fn names_of<'a>(
    parsed: &'a ParsedRule,
    origin: &'a Origin,
) -> impl Iterator<Item = (&'a str, Origin)> {
    let sides = parsed.source.iter().chain(&parsed.destination);
    sides.flat_map(move |side| {
        side.hosts.iter().filter_map(move |host| match host {
            Host::Name(name) => Some((name.as_str(), origin.with_span(side.span.clone()))),
            Host::Network(_) => None,
        })
    })
}
