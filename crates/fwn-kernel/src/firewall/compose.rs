//! What has to be done so that a plan is in force: plan, encoded rules, and what is there come in; one batch and
//! the record of it go out. What the record will say of tables, chains and policies is known before the rules are
//! encoded. Pure: no socket, no clock.
//!
//! Rules of others are neither moved nor touched. What this attachment had before goes in the same batch, so
//! there is no moment without a firewall, and applying again doubles nothing.

use std::collections::HashMap;

use fwn_plan::netfilter::{Family, Hook, Policy, Table};
use fwn_plan::origin::Origin;
use fwn_plan::plan::{Attachment, Plan, RuleOp, TablePlan};

use super::observed::{ObservedChain, ObservedTable, Ruleset};
use super::order::{Slot, TooBig, arrange};
use super::owner::{Mark, OwnerId, decode_mark, encode_mark, encode_owner};
use super::record::{
    Record, RecordedChain, RecordedNetns, RecordedPolicy, RecordedRule, RecordedSet, RecordedTable, Version,
};
use super::remove::{Scene, Scope, retire};
use crate::netlink::attr::Malformed;
use crate::nft::EncodedRule;
use crate::nft::constants::NFT_TABLE_F_DORMANT;
use crate::nft::decode::BaseHook;
use crate::nft::digest::sketch;
use crate::nft::transaction::{Change, Changes, Place};

/// What is to be put in force.
pub struct Request<'a> {
    /// For whom.
    pub attachment: &'a Attachment,
    /// Where, for the record.
    pub netns: RecordedNetns,
    /// What.
    pub plan: &'a Plan,
    /// A rule in the syntax of iptables, for the record.
    pub render: &'a dyn Fn(&TablePlan, &RuleOp) -> String,
    /// The sets that it uses, for the record.
    pub sets: &'a [RecordedSet],
    /// What the attachment has in force already.
    pub previous: Option<&'a Record>,
    /// What the other attachments of the namespace have in force.
    pub siblings: &'a [Record],
}

/// Why a plan cannot be put in force here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// There are more or fewer encoded rules than planned ones.
    #[error("table `{table}` ({family}) has {planned} rules, and {encoded} were encoded")]
    Encoded {
        /// Family of the table.
        family: Family,
        /// The table.
        table: Table,
        /// Number of planned rules.
        planned: usize,
        /// Number of encoded rules.
        encoded: usize,
    },
    /// An encoded rule is no list of expressions. The kernel would take what it can read of it.
    #[error("{origin}: the rule's expressions are malformed")]
    Malformed {
        /// Where the rule was written.
        origin: Box<Origin>,
        /// What is wrong.
        source: Malformed,
    },
    /// Somebody has switched the table off.
    #[error("table `{table}` ({family}) is dormant: no rule in it would have an effect")]
    Dormant {
        /// Family of the table.
        family: Family,
        /// The table.
        table: Table,
    },
    /// There is a chain with the name of a built-in one, and it is none, or another.
    #[error(
        "{origin}: chain `{chain}` of table `{table}` ({family}) exists and is not the built-in chain of iptables: it {found}"
    )]
    Incompatible {
        /// Where the chain was asked for.
        origin: Box<Origin>,
        /// Family of the table.
        family: Family,
        /// The table.
        table: Table,
        /// The chain.
        chain: String,
        /// What it is instead.
        found: String,
    },
    /// The chain exists, and no attachment made it.
    #[error("{origin}: chain `{chain}` exists already in table `{table}` ({family}), made by somebody else")]
    Foreign {
        /// Where the chain was asked for.
        origin: Box<Origin>,
        /// Family of the table.
        family: Family,
        /// The table.
        table: Table,
        /// The chain.
        chain: String,
    },
    /// A rule or policy is for a chain that does not exist.
    #[error("{origin}: there is no chain `{chain}` in table `{table}` ({family})")]
    NoChain {
        /// Where it was asked for.
        origin: Box<Origin>,
        /// Family of the table.
        family: Family,
        /// The table.
        table: Table,
        /// The chain.
        chain: String,
    },
    /// The position of an inserted rule is past the end of its chain.
    #[error(
        "{origin}: index of insertion too big: position {position} in chain `{chain}` of table `{table}` ({family}), which has {length} rules by then"
    )]
    Position {
        /// Where the rule was written.
        origin: Box<Origin>,
        /// Family of the table.
        family: Family,
        /// The table.
        table: Table,
        /// The chain.
        chain: String,
        /// The position asked for.
        position: u32,
        /// Rules in the chain at that time.
        length: usize,
    },
}

/// The record of what [`compose`] will make of `request` where `observed` is, without the rules.
///
/// # Errors
/// See [`ComposeError`].
pub fn expect<'a>(request: &Request<'a>, observed: &'a Ruleset) -> Result<Record, ComposeError> {
    let scene = scene(request, observed);
    let mut changes = Changes::default();
    let tables = request.plan.tables.iter().map(|plan| {
        let composer = TableComposer::new(&scene, plan, request);
        composer.frame(&composer.rules_by_chain(), &mut changes)
    });
    Ok(record(request, tables.collect::<Result<_, _>>()?))
}

/// The batch that puts `request` in force where `observed` is, and the record of it if the kernel takes the rules as they
/// are sent, but for handles. `encoded` has a rule for each rule of each table of the plan.
///
/// # Errors
/// See [`ComposeError`].
pub fn compose<'a>(
    request: &Request<'a>,
    encoded: &'a [Vec<EncodedRule>],
    observed: &'a Ruleset,
) -> Result<(Changes<'a>, Record), ComposeError> {
    let scene = scene(request, observed);
    let scope = request.previous.map_or(Scope::RulesOnly, Scope::Recorded);
    let mut changes = retire(&scene, scope, request.plan);
    let mut tables = Vec::new();
    for (at, plan) in request.plan.tables.iter().enumerate() {
        let encoded = encoded.get(at).map(Vec::as_slice).unwrap_or_default();
        if encoded.len() != plan.rules.len() {
            let (planned, encoded) = (plan.rules.len(), encoded.len());
            return Err(ComposeError::Encoded { family: plan.family, table: plan.table, planned, encoded });
        }
        let composer = TableComposer::new(&scene, plan, request);
        let by_chain = composer.rules_by_chain();
        let mut record = composer.frame(&by_chain, &mut changes)?;
        for (chain, indexes) in &by_chain {
            composer.rules(chain, indexes, encoded, request.render, &mut changes, &mut record)?;
        }
        tables.push(record);
    }
    Ok((changes, record(request, tables)))
}

fn scene<'a>(request: &Request<'a>, observed: &'a Ruleset) -> Scene<'a, 'a> {
    Scene::new(observed, OwnerId::of(request.attachment), request.previous, request.siblings)
}

fn record(request: &Request<'_>, tables: Vec<RecordedTable>) -> Record {
    let made_at = request.siblings.iter().chain(request.previous).map(|record| record.made_at).max();
    Record {
        version: Version,
        attachment: request.attachment.into(),
        netns: request.netns,
        made_at: made_at.map_or(1, |latest| latest.saturating_add(1)),
        pending: false,
        sets: request.sets.to_vec(),
        tables,
    }
}

/// One table of the plan.
struct TableComposer<'a, 'c> {
    scene: &'c Scene<'a, 'c>,
    plan: &'a TablePlan,
    previous: Option<&'c RecordedTable>,
    existing: Option<&'a ObservedTable>,
}

impl<'a, 'c> TableComposer<'a, 'c> {
    fn new(scene: &'c Scene<'a, 'c>, plan: &'a TablePlan, request: &Request<'a>) -> Self
    where
        'a: 'c,
    {
        let previous = request.previous.and_then(|record| record.table(plan.family, plan.table.name()));
        Self { scene, plan, previous, existing: scene.observed.table(plan.family, plan.table.name()) }
    }

    /// Table, chains and policies, and the record of them.
    fn frame(
        &self,
        by_chain: &[(&'a str, Vec<usize>)],
        changes: &mut Changes<'a>,
    ) -> Result<RecordedTable, ComposeError> {
        let plan = self.plan;
        let mut record = RecordedTable {
            family: plan.family,
            table: plan.table,
            created: self.table_is_ours(),
            last_handle: 0,
            chains: Vec::new(),
            policies: Vec::new(),
            rules: Vec::new(),
        };
        match self.existing {
            None => {
                let user_data = encode_mark(Mark { policy: None });
                changes.push(plan.family, plan.table.name(), Change::AddTable { user_data });
            }
            Some(table) if table.flags & NFT_TABLE_F_DORMANT != 0 => {
                return Err(ComposeError::Dormant { family: plan.family, table: plan.table });
            }
            Some(_) => {}
        }
        for hook in plan.table.hooks() {
            self.builtin(*hook, by_chain, changes, &mut record)?;
        }
        for chain in &plan.chains {
            self.user_chain(&chain.name, &chain.origin, changes, &mut record)?;
        }
        for policy in &plan.policies {
            if plan.table.builtin(&policy.chain).is_none() {
                return Err(self.no_chain(&policy.chain, &policy.origin));
            }
        }
        for (chain, indexes) in by_chain {
            self.existing_chain(chain, indexes, &mut record)?;
        }
        Ok(record)
    }

    /// Indexes of the rules of each chain, chains in the order of their first rule.
    fn rules_by_chain(&self) -> Vec<(&'a str, Vec<usize>)> {
        let mut places = HashMap::new();
        let mut by_chain: Vec<(&str, Vec<usize>)> = Vec::new();
        let mut index = 0;
        // those of one chain mostly follow each other
        for run in self.plan.rules.chunk_by(|one, next| one.chain == next.chain) {
            let Some(chain) = run.first().map(|rule| rule.chain.as_str()) else { continue };
            let place = *places.entry(chain).or_insert_with(|| {
                by_chain.push((chain, Vec::new()));
                by_chain.len() - 1
            });
            if let Some((_, rules)) = by_chain.get_mut(place) {
                rules.extend(index..index + run.len());
            }
            index += run.len();
        }
        by_chain
    }

    /// A built-in chain is made when it is used, as iptables-nft does.
    fn builtin(
        &self,
        hook: Hook,
        by_chain: &[(&str, Vec<usize>)],
        changes: &mut Changes<'a>,
        record: &mut RecordedTable,
    ) -> Result<(), ComposeError> {
        let (family, table) = (self.plan.family, self.plan.table);
        let name = hook.chain();
        let policy = self.plan.policies.iter().find(|policy| policy.chain == name);
        let first_rule = by_chain
            .iter()
            .find(|(chain, _)| *chain == name)
            .and_then(|(_, rules)| rules.first())
            .and_then(|index| self.plan.rules.get(*index));
        let Some(origin) = policy.map(|policy| &policy.origin).or(first_rule.map(|rule| &rule.origin)) else {
            return Ok(());
        };
        let existing = self.chain(name);
        if let Some(chain) = existing {
            self.check_hook(chain, hook, origin)?;
            if let Some(wanted) = policy.filter(|wanted| chain.policy != Some(wanted.policy)) {
                let change = Change::SetPolicy { chain: name, policy: wanted.policy };
                changes.push_from(origin, family, table.name(), change);
            }
        } else {
            let wanted = policy.map(|policy| policy.policy);
            let change = Change::AddBaseChain {
                table,
                hook,
                policy: wanted.unwrap_or(Policy::Accept),
                counters: wanted.is_some(),
                user_data: encode_mark(Mark { policy: wanted }),
            };
            changes.push_from(origin, family, table.name(), change);
        }
        let created = existing.is_none_or(|chain| self.chain_is_ours(chain));
        record.chains.push(RecordedChain { name: name.to_owned(), created });
        if let Some(policy) = policy {
            let before = existing.and_then(|chain| self.policy_before(chain));
            record.policies.push(RecordedPolicy { chain: name.to_owned(), set: policy.policy, before });
        }
        Ok(())
    }

    /// The policy of a chain before any attachment set it.
    fn policy_before(&self, chain: &ObservedChain) -> Option<Policy> {
        // all that hold it have the same one from the first
        let mut others = self.existing.into_iter().flat_map(|table| self.scene.others(table));
        let held = self
            .previous
            .and_then(|table| table.policy(&chain.name))
            .or_else(|| others.find_map(|(_, table)| table.policy(&chain.name)));
        held.map_or(chain.policy, |policy| policy.before)
    }

    fn check_hook(&self, chain: &ObservedChain, hook: Hook, origin: &Origin) -> Result<(), ComposeError> {
        let table = self.plan.table;
        let expected = BaseHook::of(table, hook);
        let found = match &chain.hook {
            Some(found) if *found == expected => return Ok(()),
            Some(found) => {
                format!(
                    "has hook {}, priority {} and type `{}` instead of {}, {} and `{}`",
                    found.number,
                    found.priority,
                    found.kind,
                    expected.number,
                    expected.priority,
                    expected.kind
                )
            }
            None => "has no hook".to_owned(),
        };
        Err(ComposeError::Incompatible {
            origin: Box::new(origin.clone()),
            family: self.plan.family,
            table,
            chain: chain.name.clone(),
            found,
        })
    }

    /// A user chain that another attachment made is shared, one that somebody else made is not taken.
    fn user_chain(
        &self,
        name: &'a str,
        origin: &'a Origin,
        changes: &mut Changes<'a>,
        record: &mut RecordedTable,
    ) -> Result<(), ComposeError> {
        let (family, table) = (self.plan.family, self.plan.table);
        match self.chain(name) {
            Some(chain) if chain.hook.is_some() || !self.chain_is_ours(chain) => {
                let (origin, chain) = (Box::new(origin.clone()), name.to_owned());
                return Err(ComposeError::Foreign { origin, family, table, chain });
            }
            Some(_) => {}
            None => {
                let user_data = encode_mark(Mark { policy: None });
                changes.push_from(origin, family, table.name(), Change::AddChain { chain: name, user_data });
            }
        }
        if record.chain(name).is_none() {
            record.chains.push(RecordedChain { name: name.to_owned(), created: true });
        }
        Ok(())
    }

    /// A chain that gets rules is built in, asked for, or there already.
    fn existing_chain(
        &self,
        chain: &'a str,
        indexes: &[usize],
        record: &mut RecordedTable,
    ) -> Result<(), ComposeError> {
        if record.chain(chain).is_some() {
            return Ok(());
        }
        let first = indexes.first().and_then(|index| self.plan.rules.get(*index));
        match (self.chain(chain), first) {
            (Some(existing), _) => {
                let created = self.chain_is_ours(existing);
                record.chains.push(RecordedChain { name: chain.to_owned(), created });
                Ok(())
            }
            (None, Some(first)) => Err(self.no_chain(chain, &first.origin)),
            (None, None) => Ok(()),
        }
    }

    fn rules(
        &self,
        chain: &'a str,
        indexes: &[usize],
        encoded: &'a [EncodedRule],
        render: &dyn Fn(&TablePlan, &RuleOp) -> String,
        changes: &mut Changes<'a>,
        record: &mut RecordedTable,
    ) -> Result<(), ComposeError> {
        let plan = self.plan;
        let ops: Vec<_> = indexes.iter().filter_map(|index| plan.rules.get(*index)).collect();
        let Some(first) = ops.first() else { return Ok(()) };
        let existing = self.chain(chain);
        let others: Vec<u64> = existing
            .iter()
            .flat_map(|chain| &chain.rules)
            .filter(|rule| !self.existing.is_some_and(|table| self.scene.owns(table, rule)))
            .map(|rule| rule.handle)
            .collect();
        let places: Vec<_> = ops.iter().map(|op| op.placement).collect();
        let order = arrange(others.len(), &places).map_err(|TooBig { index, position, length }| {
            ComposeError::Position {
                origin: Box::new(ops.get(index).map_or(&first.origin, |op| &op.origin).clone()),
                family: plan.family,
                table: plan.table,
                chain: chain.to_owned(),
                position,
                length,
            }
        })?;

        changes.steps.reserve(ops.len());
        record.rules.reserve(ops.len());
        let start = changes.steps.len();
        let mut top = start;
        let mut seen = 0;
        for slot in order {
            let Slot::New(new) = slot else {
                if seen == 0 {
                    top = changes.steps.len();
                }
                seen += 1;
                continue;
            };
            let (Some(op), Some(index)) = (ops.get(new), indexes.get(new)) else { continue };
            let Some(rule) = encoded.get(*index) else { continue };
            let sketch = sketch(&rule.expressions)
                .map_err(|source| ComposeError::Malformed { origin: Box::new(op.origin.clone()), source })?;
            // more rules than 32 bits can number do not fit a batch
            let ordinal = *index as u32;
            let user_data = encode_owner(self.scene.owner, ordinal);
            let place = match others.get(seen) {
                None => Place::Append,
                Some(_) if seen == 0 => Place::First,
                Some(handle) => Place::Before(*handle),
            };
            let change = Change::AddRule { chain, place, rule, sketch, user_data };
            changes.push_from(&op.origin, plan.family, plan.table.name(), change);
            record.rules.push(RecordedRule {
                chain: chain.to_owned(),
                ordinal,
                text: render(plan, op),
                origin: op.origin.to_string(),
                digest: Some(sketch.digest),
            });
        }
        // each of those at the top goes before all that are there, so the last one goes first
        if let Some(steps) = changes.steps.get_mut(start..top) {
            steps.reverse();
        }
        Ok(())
    }

    fn chain(&self, name: &str) -> Option<&'a ObservedChain> {
        self.existing.and_then(|table| table.chain(name))
    }

    fn table_is_ours(&self) -> bool {
        self.existing.is_none_or(|table| {
            decode_mark(&table.user_data).is_some()
                || self.previous.is_some_and(|recorded| recorded.created)
                || self.scene.others(table).any(|(_, recorded)| recorded.created)
        })
    }

    fn chain_is_ours(&self, chain: &ObservedChain) -> bool {
        let created = |table: &RecordedTable| table.chain(&chain.name).is_some_and(|chain| chain.created);
        decode_mark(&chain.user_data).is_some()
            || self.previous.is_some_and(created)
            || self.existing.is_some_and(|table| self.scene.others(table).any(|(_, table)| created(table)))
    }

    fn no_chain(&self, chain: &str, origin: &Origin) -> ComposeError {
        ComposeError::NoChain {
            origin: Box::new(origin.clone()),
            family: self.plan.family,
            table: self.plan.table,
            chain: chain.to_owned(),
        }
    }
}
