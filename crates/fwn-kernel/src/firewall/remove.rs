//! What has to go: the rules of one attachment, and what it made as far as nobody else uses it. Pure: what was
//! observed and recorded comes in, changes go out.
//!
//! Rules are found by their user data; where all of a table have lost it, by what the record says that they say. A chain or table goes if an attachment made it (its user data or a
//! record says so), nothing is left in it, nothing jumps to it, and no other attachment has it on record. A policy
//! goes back to what the latest other attachment wants, or to what it was before all of them; one that somebody
//! else has changed since is left alone, and so is the chain where somebody else closed it.

use std::collections::{HashMap, HashSet};

use fwn_plan::netfilter::{Family, Policy};
use fwn_plan::plan::{Plan, TablePlan};

use super::observed::{ObservedChain, ObservedRule, ObservedTable, Ruleset};
use super::owner::{OwnerId, decode_mark};
use super::record::{Record, RecordedTable};
use crate::nft::transaction::{Change, Changes};

/// All that has to go when an attachment goes. Without its `record`, what its user data tells; `siblings` are the
/// records of the other attachments of the namespace.
pub fn removal<'a>(
    observed: &'a Ruleset,
    owner: OwnerId,
    record: Option<&Record>,
    siblings: &[Record],
) -> Changes<'a> {
    let scope = record.map_or(Scope::Marked, Scope::Recorded);
    retire(&Scene::new(observed, owner, record, siblings), scope, &Plan::default())
}

/// What a decision is made from.
pub(super) struct Scene<'a, 's> {
    pub(super) observed: &'a Ruleset,
    pub(super) owner: OwnerId,
    /// Records of the other attachments of the namespace.
    pub(super) siblings: &'s [Record],
    /// Rules of the owner that lost their marks.
    unmarked: HashSet<(Family, &'a str, u64)>,
}

/// Which chains, tables and policies may go besides the rules.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope<'r> {
    /// Those that the record names.
    Recorded(&'r Record),
    /// All that are marked as ours: there is no record.
    Marked,
    /// None.
    RulesOnly,
}

/// All rules of the owner, and what else is in `scope`, except what `plan` wants.
pub(super) fn retire<'a>(scene: &Scene<'a, '_>, scope: Scope<'_>, plan: &Plan) -> Changes<'a> {
    let mut changes = Changes::default();
    let strangers = scene.has_strangers();
    for table in &scene.observed.tables {
        let mut own_jumps: HashMap<&str, usize> = HashMap::new();
        let mut left = Vec::with_capacity(table.chains.len());
        for chain in &table.chains {
            let mut rules = chain.rules.len();
            for rule in chain.rules.iter().filter(|rule| scene.owns(table, rule)) {
                rules -= 1;
                if let Some(target) = rule.jump.as_deref() {
                    *own_jumps.entry(target).or_default() += 1;
                }
                let change = Change::DeleteRule { chain: &chain.name, handle: rule.handle };
                changes.push(table.family, &table.name, change);
            }
            left.push(rules);
        }

        let retiring = Retiring::new(scene, scope, plan, table, strangers);
        let mut kept = 0;
        for (chain, rules) in table.chains.iter().zip(left) {
            let jumps = chain.jumps.saturating_sub(own_jumps.get(chain.name.as_str()).copied().unwrap_or(0));
            if rules == 0 && jumps == 0 && retiring.chain_goes(chain) {
                changes.push(table.family, &table.name, Change::DeleteChain { chain: &chain.name });
                continue;
            }
            kept += 1;
            if let Some(policy) = retiring.policy_back(chain) {
                changes.push(table.family, &table.name, Change::SetPolicy { chain: &chain.name, policy });
            }
        }
        if kept == 0 && retiring.table_goes() {
            changes.push(table.family, &table.name, Change::DeleteTable);
        }
    }
    changes
}

impl<'a, 's> Scene<'a, 's> {
    pub(super) fn new(
        observed: &'a Ruleset,
        owner: OwnerId,
        record: Option<&Record>,
        siblings: &'s [Record],
    ) -> Self {
        let mut unmarked = HashSet::new();
        for table in &observed.tables {
            let Some(recorded) = record.and_then(|record| record.table(table.family, &table.name)) else {
                continue;
            };
            let handles = recorded.unmarked(owner, table).into_keys();
            unmarked.extend(handles.map(|handle| (table.family, table.name.as_str(), handle)));
        }
        Self { observed, owner, siblings, unmarked }
    }
}

impl Scene<'_, '_> {
    pub(super) fn owns(&self, table: &ObservedTable, rule: &ObservedRule) -> bool {
        rule.is_of(self.owner) || self.unmarked.contains(&(table.family, table.name.as_str(), rule.handle))
    }

    /// Whether there are rules of attachments whose records are lost: what else those hold cannot be known.
    fn has_strangers(&self) -> bool {
        let known: HashSet<_> = self.siblings.iter().map(Record::owner).chain([self.owner]).collect();
        let rules = self.observed.tables.iter().flat_map(ObservedTable::rules);
        let mut owners = rules.filter_map(|rule| rule.mark);
        owners.any(|(owner, _)| !known.contains(&owner))
    }

    /// What the records of the others say about a table.
    pub(super) fn others<'s>(
        &'s self,
        table: &ObservedTable,
    ) -> impl Iterator<Item = (u64, &'s RecordedTable)> {
        self.siblings
            .iter()
            .filter_map(move |sibling| Some((sibling.made_at, sibling.table(table.family, &table.name)?)))
    }
}

/// The decisions about one table.
struct Retiring<'a, 't> {
    scene: &'t Scene<'a, 't>,
    scope: Scope<'t>,
    table: &'t ObservedTable,
    recorded: Option<&'t RecordedTable>,
    wanted: Option<&'t TablePlan>,
    wanted_chains: HashSet<&'t str>,
    strangers: bool,
}

impl<'a, 't> Retiring<'a, 't> {
    fn new(
        scene: &'t Scene<'a, 't>,
        scope: Scope<'t>,
        plan: &'t Plan,
        table: &'t ObservedTable,
        strangers: bool,
    ) -> Self {
        let recorded = match scope {
            Scope::Recorded(record) => record.table(table.family, &table.name),
            Scope::Marked | Scope::RulesOnly => None,
        };
        let wanted =
            plan.tables.iter().find(|plan| plan.family == table.family && plan.table.name() == table.name);
        let mut wanted_chains = HashSet::new();
        if let Some(plan) = wanted {
            wanted_chains.extend(plan.chains.iter().map(|chain| chain.name.as_str()));
            wanted_chains.extend(plan.policies.iter().map(|policy| policy.chain.as_str()));
            wanted_chains.extend(plan.rules.iter().map(|rule| rule.chain.as_str()));
        }
        Self { scene, scope, table, recorded, wanted, wanted_chains, strangers }
    }

    /// Whether a chain, empty and not jumped to, goes.
    fn chain_goes(&self, chain: &ObservedChain) -> bool {
        let marked = decode_mark(&chain.user_data).is_some();
        let ours = match self.scope {
            Scope::Recorded(_) => self
                .recorded
                .and_then(|table| table.chain(&chain.name))
                .is_some_and(|recorded| recorded.created || marked),
            Scope::Marked => marked,
            Scope::RulesOnly => false,
        };
        let used = self.wanted_chains.contains(chain.name.as_str())
            || self.scene.others(self.table).any(|(_, table)| table.chain(&chain.name).is_some());
        // an empty user chain does nothing; a built-in one can still hold a policy for somebody
        let held = chain.hook.is_some()
            && (self.strangers || (chain.policy == Some(Policy::Drop) && !self.has_set(chain)));
        ours && !used && !held
    }

    /// Whether a chain has its policy from the attachment.
    fn has_set(&self, chain: &ObservedChain) -> bool {
        self.before(chain).is_some()
    }

    /// What a chain that has its policy from the attachment had before; a chain that was not there goes back to what
    /// the kernel gives a new one.
    fn before(&self, chain: &ObservedChain) -> Option<Policy> {
        let policy = chain.policy?;
        let before = match self.scope {
            Scope::Recorded(_) => self.recorded?.policy_set_to(&chain.name, policy)?.before,
            Scope::Marked if decode_mark(&chain.user_data)?.policy? == policy => None,
            Scope::Marked | Scope::RulesOnly => return None,
        };
        Some(before.unwrap_or(Policy::Accept))
    }

    /// The policy that a chain goes back to, if it changes.
    fn policy_back(&self, chain: &ObservedChain) -> Option<Policy> {
        let wanted =
            self.wanted.is_some_and(|plan| plan.policies.iter().any(|policy| policy.chain == chain.name));
        if wanted || self.strangers {
            return None;
        }
        let before = self.before(chain)?;
        let others = self.scene.others(self.table);
        let held = others.filter_map(|(made_at, table)| Some((made_at, table.policy(&chain.name)?.set)));
        let latest = held.max_by_key(|(made_at, _)| *made_at).map(|(_, policy)| policy);
        let back = latest.unwrap_or(before);
        (chain.policy != Some(back)).then_some(back)
    }

    /// Whether the table goes once all its chains are gone.
    fn table_goes(&self) -> bool {
        let marked = decode_mark(&self.table.user_data).is_some();
        let ours = match self.scope {
            Scope::Recorded(_) => self.recorded.is_some_and(|recorded| recorded.created || marked),
            Scope::Marked => marked,
            Scope::RulesOnly => false,
        };
        // a table that another attachment uses has a chain that it uses
        ours && self.wanted.is_none() && !self.table.other
    }
}
