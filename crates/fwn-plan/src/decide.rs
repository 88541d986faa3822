//! A rule set and the facts it asked for go in, a [`Plan`] comes out: which family each rule belongs to, one rule a
//! pair of addresses, the final policies, tables in order. All that is wrong comes out in one go.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Placement;
use crate::jumps::find_loops;
use crate::netfilter::{Families, Family, Hook, Table};
use crate::plan::{ChainOp, Plan, PolicyOp, RuleOp, TablePlan};
use crate::problem::{Problem, Problems};
use crate::resolve::{Addresses, networks};
use crate::rule::address::Host;
use crate::rule::parse::Hosts;
use crate::rule::{Negatable, Network, Rule};
use crate::ruleset::{PolicyItem, RuleItem, RuleSet};
use crate::set::{SetDraft, SetSpec, arrange_sets, no_such_set};

/// So many rules can one become in a family. Names and lists of addresses multiply, and can come from a tenant.
const MOST_OF_ONE: usize = 65_536;

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
    let tables: Vec<_> = tables.0.into_values().collect();
    for problem in tables.iter().flat_map(|half| find_loops(half).0) {
        // both families may have the same one
        if !problems.0.contains(&problem) {
            problems.push(problem);
        }
    }
    problems.finish(Plan { sets, tables })
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
    let parsed = &item.parsed;
    let mut problems = Problems::default();
    let wanted = problems.collect(wanted_families(item, ruleset, facts)).unwrap_or(Families::NONE);
    problems.extend(check_hosts(item, facts, wanted));
    problems.finish(())?;
    let mut rules = Vec::new();
    for family in wanted.iter() {
        let source = side(parsed.source.as_ref(), facts, family);
        let destination = side(parsed.destination.as_ref(), facts, family);
        if source.len().saturating_mul(destination.len()) > MOST_OF_ONE {
            let (sources, destinations) = (source.len(), destination.len());
            let message =
                format!("{sources} sources by {destinations} destinations are more than {MOST_OF_ONE} rules");
            let hint = "put the addresses into a set: `-m set --match-set NAME src`";
            return Err(Problem::new(item.origin.clone(), message).hint(hint).into());
        }
        for source in &source {
            for destination in &destination {
                let rule =
                    Rule { source: source.clone(), destination: destination.clone(), ..parsed.rule.clone() };
                rules.push((family, rule));
            }
        }
    }
    if rules.is_empty() {
        return Err(no_common_family(item, facts, wanted).into());
    }
    // a family that the namespace does not have is left out only now: its half must be right all the same
    rules.retain(|(family, _)| facts.families.contains(*family));
    Ok(rules)
}

/// Names that have no address at all: a rule with a list must not lose one of its hosts in silence. And `!` before
/// one with several.
fn check_hosts(item: &RuleItem, facts: &Facts, wanted: Families) -> Problems {
    let mut problems = Problems::default();
    for hosts in item.parsed.source.iter().chain(&item.parsed.destination) {
        let mut problem = |message: String, hint: Option<&str>| {
            let origin = item.origin.with_span(hosts.span.clone());
            problems.push(Problem { origin, message, hint: hint.map(str::to_owned) });
        };
        for host in &hosts.hosts {
            let Host::Name(name) = host else { continue };
            if facts.hosts.get(name).is_none_or(BTreeSet::is_empty) {
                problem(format!("host name `{name}` has no address"), None);
            }
        }
        if !hosts.negated {
            continue;
        }
        let counts = wanted.iter().map(|family| networks(&hosts.hosts, &facts.hosts, family).len());
        if let Some(most) = counts.max().filter(|most| *most > 1) {
            let message =
                format!("`!` before a name with {most} addresses: each rule would match the others' packets");
            problem(message, Some("negate a set that holds them: `-m set ! --match-set NAME src`"));
        }
    }
    problems
}

/// The families that the rule's words, its `family` key and its sets leave.
fn wanted_families(item: &RuleItem, ruleset: &RuleSet, facts: &Facts) -> Result<Families, Problems> {
    let mut problems = Problems::default();
    let mut wanted = item.parsed.families.and(item.families);
    if wanted.is_empty() {
        let message =
            format!("this rule is {} only, its `family` says {}", item.parsed.families, item.families);
        problems.push(Problem::new(item.origin.clone(), message));
    }
    for set in &item.parsed.sets {
        let name = &set.name;
        let origin = item.origin.with_span(name.span.clone());
        let Some(families) = set_families(&name.text, ruleset, facts) else {
            let made = ruleset.sets.iter().map(SetDraft::name);
            let known = made.chain(facts.sets.keys().map(String::as_str));
            problems.push(no_such_set(origin, &name.text, known));
            continue;
        };
        let left = wanted.and(families);
        if left.is_empty() && !wanted.is_empty() {
            let message = format!(
                "set `{}` holds {families} addresses, but the rest of the rule is {wanted} only",
                name.text
            );
            problems.push(Problem::new(origin, message));
        }
        wanted = left;
    }
    problems.finish(wanted)
}

/// The addresses of `-s` or `-d` in one family: one `None` where there is no restriction, nothing where all of them
/// are of the other family.
fn side(side: Option<&Hosts>, facts: &Facts, family: Family) -> Vec<Option<Negatable<Network>>> {
    let Some(hosts) = side else { return vec![None] };
    let networks = networks(&hosts.hosts, &facts.hosts, family);
    networks.into_iter().map(|value| Some(Negatable { negated: hosts.negated, value })).collect()
}

/// Why no address of a rule is of a family that is wanted.
fn no_common_family(item: &RuleItem, facts: &Facts, wanted: Families) -> Problem {
    let families = |hosts: &Hosts| {
        Family::ALL
            .into_iter()
            .filter(|family| !networks(&hosts.hosts, &facts.hosts, *family).is_empty())
            .fold(Families::NONE, |all, family| all.or(Families::only(family)))
    };
    let sides = [(item.parsed.source.as_ref(), "-s"), (item.parsed.destination.as_ref(), "-d")];
    for (hosts, option) in sides {
        let Some(hosts) = hosts else { continue };
        let has = families(hosts);
        if has.and(wanted).is_empty() {
            let message = format!("`{option}` has {has} addresses only, but the rule is {wanted} only");
            return Problem::new(item.origin.with_span(hosts.span.clone()), message);
        }
    }
    let message = "`-s` and `-d` have addresses of different families";
    Problem::new(item.origin.clone(), message)
}

/// The families that a set leaves which is asked for or there already: both if its type has none.
fn set_families(name: &str, ruleset: &RuleSet, facts: &Facts) -> Option<Families> {
    let asked = ruleset.set(name).map(SetDraft::family);
    asked.or_else(|| facts.sets.get(name).copied()).map(Families::from)
}
