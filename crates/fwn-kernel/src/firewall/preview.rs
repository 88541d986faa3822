//! What an ADD would change: a plan, a record, and what is in the namespace come in; two texts to compare go out. What
//! counts is what CHECK looks at: rules of others only where they stand in the way, of sets what was asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fwn_plan::config::Placement;
use fwn_plan::listing::{ListedChain, ListedLine, ListedTable, render_listing};
use fwn_plan::netfilter::{Family, Table};
use fwn_plan::plan::{Plan, TablePlan};
use fwn_plan::rule::render::{quote, render_rule};
use fwn_plan::set::{CreateOptions, SetSpec, render_add, render_create};

use super::FirewallError;
use super::apply::{ApplyError, Connection};
use super::compare::{DifferenceKind, compare};
use super::observed::{ObservedChain, ObservedRule, ObservedTable, Ruleset, observe};
use super::order::{Slot, arrange};
use super::owner::OwnerId;
use super::record::{Record, RecordedRule, RecordedTable};
use crate::ipset::{SetClient, SetError};

/// Two texts of the same form: equal where an ADD would change nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// What the attachment has in the namespace.
    pub there: String,
    /// What the plan puts there.
    pub planned: String,
}

/// Compares a plan with what the attachment of `record` has in the namespace; without a record it has nothing.
///
/// # Errors
/// The namespace could not be asked.
pub fn preview(
    connection: &mut Connection,
    plan: &Plan,
    record: Option<&Record>,
    siblings: &[Record],
) -> Result<Preview, ApplyError> {
    let observed = observe(connection.nft()).map_err(FirewallError::Observe)?;
    let owned = record.map(|record| there(record, &observed, siblings)).unwrap_or_default();
    let planned = plan.tables.iter().map(|half| final_order(half, &observed, record)).collect::<Vec<_>>();
    let recorded = record.map(|record| record.sets.as_slice()).unwrap_or_default();
    let (mut there, mut coming) = (String::new(), String::new());
    if !plan.sets.is_empty() || !recorded.is_empty() {
        let client = connection.sets()?;
        let ours: BTreeSet<&str> = recorded.iter().map(|set| set.name.as_str()).collect();
        for set in &plan.sets {
            let (was, will) = compare_set(client, set, ours.contains(set.name.as_str()))?;
            there += &was;
            coming += &will;
        }
        let wanted: BTreeSet<&str> = plan.sets.iter().map(|set| set.name.as_str()).collect();
        for name in ours.difference(&wanted) {
            if let Some(listed) = client.list(name)? {
                let header = listed.header;
                let options = CreateOptions::default();
                there += &render_create(&header.name, header.kind, header.family, &options);
                there.push('\n');
            }
        }
    }
    there += &render_listing(&owned);
    coming += &render_listing(&planned);
    Ok(Preview { there, planned: coming })
}

/// A set as it is and as it will be: what is asked for of its options, and those of its entries. What came in
/// otherwise is kept by an ADD, and so is no difference.
fn compare_set(client: &mut SetClient, set: &SetSpec, is_ours: bool) -> Result<(String, String), SetError> {
    let create =
        |kind, family, options: &CreateOptions| render_create(&set.name, kind, family, options) + "\n";
    let add = |entry: &fwn_plan::set::SetEntry| render_add(&set.name, &entry.entry) + "\n";
    let planned =
        create(set.kind, set.family, &set.options) + &set.entries.iter().map(add).collect::<String>();
    let listed = if is_ours { client.list(&set.name)? } else { None };
    let Some(listed) = listed else { return Ok((String::new(), planned)) };
    let header = listed.header;
    let mut there = create(header.kind, header.family, &asked_for(&set.options, &header.options));
    if header.kind == set.kind && header.family == set.family {
        for entry in &set.entries {
            // one with a timeout goes by itself
            if entry.entry.options.timeout.is_some() || client.test(&set.name, set.kind, &entry.entry)? {
                there += &add(entry);
            }
        }
    }
    Ok((there, planned))
}

/// Of the options in force those that the plan states. How large the hash is, and its seed, is the kernel's business.
fn asked_for(planned: &CreateOptions, there: &CreateOptions) -> CreateOptions {
    fn of<T>(planned: Option<&T>, there: Option<T>) -> Option<T> {
        planned.and(there)
    }
    CreateOptions {
        hashsize: planned.hashsize,
        initval: planned.initval,
        maxelem: of(planned.maxelem.as_ref(), there.maxelem),
        // the kernel does not tell one as long as the address
        netmask: of(
            planned.netmask.as_ref(),
            there.netmask.or(planned.netmask.filter(|mask| matches!(mask, 32 | 128))),
        ),
        bitmask: of(planned.bitmask.as_ref(), there.bitmask),
        markmask: of(planned.markmask.as_ref(), there.markmask),
        timeout: of(planned.timeout.as_ref(), there.timeout),
        bucketsize: of(planned.bucketsize.as_ref(), there.bucketsize),
        range: of(planned.range.as_ref(), there.range),
        size: of(planned.size.as_ref(), there.size),
        counters: there.counters,
        comment: there.comment,
        skbinfo: there.skbinfo,
        forceadd: there.forceadd,
    }
}

/// The tables of a plan with the rules where they will stand: positions count the rules of others.
fn final_order(half: &TablePlan, observed: &Ruleset, record: Option<&Record>) -> ListedTable {
    let table = observed.table(half.family, half.table.name());
    let mut chains: BTreeMap<&str, ListedChain> = BTreeMap::new();
    let mut rules: BTreeMap<&str, Vec<(Placement, String)>> = BTreeMap::new();
    let named = |name: &str| ListedChain { name: name.to_owned(), ..ListedChain::default() };
    for policy in &half.policies {
        chains.entry(&policy.chain).or_insert_with(|| named(&policy.chain)).policy = Some(policy.policy);
    }
    for chain in &half.chains {
        chains.entry(&chain.name).or_insert_with(|| named(&chain.name)).made = true;
    }
    for op in &half.rules {
        rules.entry(&op.chain).or_default().push((op.placement, render_rule(&op.rule)));
    }
    for (name, rules) in rules {
        let others = table.and_then(|table| Some((table, table.chain(name)?)));
        let others = others.map_or(0, |(table, chain)| foreign(table, chain, half, record));
        let places: Vec<Placement> = rules.iter().map(|(place, _)| *place).collect();
        // a position past the end is what ADD refuses; here the rules come as they are written
        let order: Vec<usize> = match arrange(others, &places) {
            Ok(slots) => slots
                .into_iter()
                .filter_map(|slot| match slot {
                    Slot::New(index) => Some(index),
                    Slot::Old(_) => None,
                })
                .collect(),
            Err(_) => (0..rules.len()).collect(),
        };
        let lines = order.into_iter().filter_map(|index| rules.get(index));
        let lines = lines.map(|(_, rule)| ListedLine::Rule(rule.clone())).collect();
        chains.entry(name).or_insert_with(|| named(name)).lines = lines;
    }
    let chains = chains.into_values().collect();
    ListedTable { family: half.family, table: half.table, chains, remarks: Vec::new() }
}

/// How many rules of a chain are not the attachment's.
fn foreign(table: &ObservedTable, chain: &ObservedChain, half: &TablePlan, record: Option<&Record>) -> usize {
    let owner = record.map(Record::owner);
    let recorded = record.and_then(|record| record.table(half.family, half.table.name()));
    let unmarked = recorded.zip(owner).map(|(recorded, owner)| recorded.unmarked(owner, table));
    let is_ours = |rule: &&ObservedRule| {
        owner.is_some_and(|owner| rule.is_of(owner))
            || unmarked.as_ref().is_some_and(|unmarked| unmarked.contains_key(&rule.handle))
    };
    chain.rules.iter().filter(|rule| !is_ours(rule)).count()
}

/// What the attachment has, in the order of the kernel, and what is wrong with it.
fn there(record: &Record, observed: &Ruleset, siblings: &[Record]) -> Vec<ListedTable> {
    let owner = record.owner();
    let mut tables = Vec::new();
    for recorded in &record.tables {
        let (family, table) = (recorded.family, recorded.table);
        let mut listed = ListedTable { family, table, chains: Vec::new(), remarks: Vec::new() };
        if let Some(observed) = observed.table(family, table.name()) {
            let unmarked = recorded.unmarked(owner, observed);
            let chains = recorded.chains.iter().filter_map(|chain| observed.chain(&chain.name));
            listed.chains =
                chains.map(|chain| listed_chain(chain, recorded, owner, &unmarked, siblings)).collect();
        }
        tables.push(listed);
    }
    for difference in compare(record, observed, siblings) {
        let words = match &difference.kind {
            // the lines themselves show these
            DifferenceKind::TableMissing
            | DifferenceKind::ChainMissing
            | DifferenceKind::Policy { .. }
            | DifferenceKind::RuleMissing(_)
            | DifferenceKind::RuleChanged(_)
            | DifferenceKind::RuleMoved { .. } => continue,
            _ => difference.to_string(),
        };
        let same =
            |table: &&mut ListedTable| (table.family, table.table) == (difference.family, difference.table);
        let Some(table) = tables.iter_mut().find(same) else { continue };
        match table.chains.iter_mut().find(|chain| chain.name == difference.chain) {
            Some(chain) => chain.lines.push(ListedLine::Remark(words)),
            None => table.remarks.push(words),
        }
    }
    tables
}

fn listed_chain(
    chain: &ObservedChain,
    recorded: &RecordedTable,
    owner: OwnerId,
    unmarked: &HashMap<u64, u32>,
    siblings: &[Record],
) -> ListedChain {
    let by_ordinal: HashMap<u32, &RecordedRule> =
        recorded.rules.iter().map(|rule| (rule.ordinal, rule)).collect();
    let mut lines = Vec::new();
    for rule in &chain.rules {
        let ordinal = rule.ordinal_of(owner).or_else(|| unmarked.get(&rule.handle).copied());
        let Some(known) = ordinal.and_then(|ordinal| by_ordinal.get(&ordinal)) else { continue };
        let text = without_command(known).to_owned();
        lines.push(if rule.digest == known.digest {
            ListedLine::Rule(text)
        } else {
            ListedLine::Remark(format!("changed by somebody else: {text}"))
        });
    }
    let policy = recorded.policy(&chain.name).map(|policy| policy.set);
    let policy = match chain.policy {
        // a later attachment may hold it; then it is that one's
        Some(found) if policy.is_some() && !held_by_another(recorded, &chain.name, siblings) => Some(found),
        _ => policy,
    };
    let made = chain.hook.is_none() && recorded.chain(&chain.name).is_some_and(|chain| chain.created);
    ListedChain { name: chain.name.clone(), policy, made, lines }
}

fn held_by_another(recorded: &RecordedTable, chain: &str, siblings: &[Record]) -> bool {
    let (family, table): (Family, Table) = (recorded.family, recorded.table);
    let mut tables = siblings.iter().filter_map(|sibling| sibling.table(family, table.name()));
    tables.any(|table| table.policy(chain).is_some())
}

/// The rule of a record without `-A CHAIN` or `-I CHAIN NUMBER`.
pub(crate) fn without_command(rule: &RecordedRule) -> &str {
    let chain = quote(&rule.chain);
    let rest = |command: &str| rule.text.strip_prefix(command)?.strip_prefix(chain.as_str());
    if let Some(rest) = rest("-A ") {
        return rest.trim_start();
    }
    match rest("-I ") {
        Some(rest) => rest.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start(),
        None => &rule.text,
    }
}
