//! A rule set and the facts it asked for go in, a [`Plan`] comes out: which family each rule belongs to, one rule a
//! pair of addresses, the final policies, tables in order. All that is wrong comes out in one go.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Placement;
use crate::netfilter::{Families, Family, Hook, Table};
use crate::plan::{ChainOp, Plan, PolicyOp, RuleOp, TablePlan};
use crate::problem::{Problem, Problems};
use crate::resolve::{Addresses, networks};
use crate::rule::parse::Hosts;
use crate::rule::{Negatable, Network, Rule};
use crate::ruleset::{PolicyItem, RuleItem, RuleSet};
use crate::set::{SetDraft, SetSpec, arrange_sets, no_such_set};

/// What the rule set could not know by itself.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The families that the namespace has.
    pub families: Families,
    /// Addresses of every name of [`RuleSet::host_names`].
    pub hosts: Addresses,
    /// Sets that are in the namespace already, with their family; `None` for types without one.
    pub sets: BTreeMap<String, Option<Family>>,
}

/// Decides.
///
/// # Errors
/// Everything that cannot be: a set that nobody made, an address that no family has, a name without an address in
/// the family of its rule.
pub fn decide(ruleset: &RuleSet, facts: &Facts) -> Result<Plan, Problems> {
    let mut problems = Problems::default();
    let sets = problems.collect(decide_sets(ruleset, facts)).unwrap_or_default();
    let mut tables = Tables::default();
    for chain in &ruleset.chains {
        for family in facts.families.iter() {
            let op = ChainOp { name: chain.name.clone(), origin: chain.origin.clone() };
            tables.of(family, chain.table).chains.push(op);
        }
    }
    for policy in &ruleset.policies {
        for family in facts.families.and(policy.families).iter() {
            set_policy(tables.of(family, policy.table), policy);
        }
    }
    // how many rules of one element of `rules` each family has so far
    let mut placed = BTreeMap::new();
    for item in &ruleset.rules {
        if item.turn == 0 {
            placed.clear();
        }
        let Some(expanded) = problems.collect(expand_item(item, ruleset, facts)) else { continue };
        for (family, rule) in expanded {
            let number = placed.entry(family).or_insert(0);
            tables.of(family, item.table).rules.push(RuleOp {
                chain: item.chain.clone(),
                placement: nth(item.placement, *number),
                rule,
                origin: item.origin.clone(),
            });
            *number += 1;
        }
    }
    problems.finish(Plan { sets, tables: tables.0.into_values().collect() })
}

/// The sets of the families that there are, in an order in which they can be made.
fn decide_sets(ruleset: &RuleSet, facts: &Facts) -> Result<Vec<SetSpec>, Problems> {
    let mut problems = Problems::default();
    let mut sets = Vec::new();
    let mut left_out = BTreeSet::new();
    for draft in &ruleset.sets {
        if Families::from(draft.family()).and(facts.families).is_empty() {
            left_out.insert(draft.name());
        } else {
            sets.extend(problems.collect(draft.clone().resolve(&facts.hosts)));
        }
    }
    problems.finish(())?;
    arrange_sets(sets, &left_out, &facts.sets.keys().map(String::as_str).collect())
}

/// Tables by family and name, so that they come out in order.
#[derive(Debug, Default)]
struct Tables(BTreeMap<(Family, Table), TablePlan>);

impl Tables {
    fn of(&mut self, family: Family, table: Table) -> &mut TablePlan {
        self.0.entry((family, table)).or_insert_with(|| TablePlan {
            family,
            table,
            chains: Vec::new(),
            policies: Vec::new(),
            rules: Vec::new(),
        })
    }
}

/// The last word counts, in the place of the first.
fn set_policy(table: &mut TablePlan, item: &PolicyItem) {
    let op = PolicyOp {
        chain: Hook::chain(item.chain).to_owned(),
        policy: item.policy,
        origin: item.origin.clone(),
    };
    match table.policies.iter_mut().find(|other| other.chain == op.chain) {
        Some(other) => *other = op,
        None => table.policies.push(op),
    }
}

/// Rules made of one keep their order also when they are inserted one after the other.
fn nth(placement: Placement, number: u32) -> Placement {
    match placement {
        Placement::Append => Placement::Append,
        Placement::Insert(position) => Placement::Insert(position.saturating_add(number)),
    }
}

/// The rules that one becomes: in each family that its words leave, one for each source and destination.
fn expand_item(item: &RuleItem, ruleset: &RuleSet, facts: &Facts) -> Result<Vec<(Family, Rule)>, Problems> {
    let mut problems = Problems::default();
    let parsed = &item.parsed;
    let mut wanted = parsed.families.and(item.families);
    if wanted.is_empty() {
        let message = "the words of this rule and its `family` exclude each other";
        problems.push(Problem::new(item.origin.clone(), message));
    }
    for set in &parsed.sets {
        let name = &set.name;
        if let Some(families) = set_families(&name.text, ruleset, facts) {
            wanted = wanted.and(families);
            continue;
        }
        let made = ruleset.sets.iter().map(SetDraft::name);
        let known = made.chain(facts.sets.keys().map(String::as_str));
        problems.push(no_such_set(item.origin.with_span(name.span.clone()), &name.text, known));
    }
    problems.finish(())?;
    let mut rules = Vec::new();
    for family in wanted.iter() {
        let sources = side(parsed.source.as_ref(), facts, family, item)?;
        let destinations = side(parsed.destination.as_ref(), facts, family, item)?;
        for source in &sources {
            for destination in &destinations {
                let rule = Rule { source: *source, destination: *destination, ..parsed.rule.clone() };
                rules.push((family, rule));
            }
        }
    }
    if rules.is_empty() {
        let message = "no address or set of this rule is of a family that its other words leave";
        return Err(Problem::new(item.origin.clone(), message).into());
    }
    // a family that the namespace does not have is left out only now: its half must be right all the same
    rules.retain(|(family, _)| facts.families.contains(*family));
    Ok(rules)
}

/// The addresses of `-s` or `-d` in one family: one `None` where there is no restriction, nothing where all of them
/// are of the other family.
fn side(
    side: Option<&Hosts>,
    facts: &Facts,
    family: Family,
    item: &RuleItem,
) -> Result<Vec<Option<Negatable<Network>>>, Problems> {
    let Some(hosts) = side else { return Ok(vec![None]) };
    let networks = networks(&hosts.hosts, &facts.hosts, family);
    if hosts.negated && networks.len() > 1 {
        let message = format!(
            "`!` before a name with {} addresses: each rule would match the others' packets",
            networks.len()
        );
        let problem = Problem::new(item.origin.with_span(hosts.span.clone()), message);
        return Err(problem.hint("negate a set that holds them: `-m set ! --match-set NAME src`").into());
    }
    Ok(networks.into_iter().map(|value| Some(Negatable { negated: hosts.negated, value })).collect())
}

/// The families that a set leaves which is asked for or there already: both if its type has none.
fn set_families(name: &str, ruleset: &RuleSet, facts: &Facts) -> Option<Families> {
    let asked = ruleset.sets.iter().find(|set| set.name() == name).map(SetDraft::family);
    asked.or_else(|| facts.sets.get(name).copied()).map(Families::from)
}
