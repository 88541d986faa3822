//! What is in force in a namespace, for people: chains, policies and rules with their counters, each with where it was
//! written and whose it is; sets. What is observed and recorded comes in, plain data goes out.

use std::collections::{BTreeMap, HashMap};

use fwn_plan::netfilter::{Family, Policy};
use fwn_plan::plan::Attachment;

use super::FirewallError;
use super::apply::{ApplyError, Connection};
use super::observed::{ObservedTable, Ruleset, observe_verbatim};
use super::owner::OwnerId;
use super::preview::without_command;
use super::record::{Record, RecordedRule};
use crate::ipset::{SetClient, SetError};
use crate::nft::counters::{Counters, counters_of, other_tables, policy_counters};
use crate::nft::describe::describe;

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// The attachments; rules, policies and sets name them by their place here.
    pub attachments: Vec<Attachment>,
    /// Chains, in order of family and table.
    pub chains: Vec<ChainView>,
    /// Sets, by name.
    pub sets: Vec<SetView>,
    /// Tables that iptables does not know of, such as `inet filter`: they are not ours, and not looked into.
    pub others: Vec<String>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainView {
    /// Its family.
    pub family: Family,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Its policy, of a built-in one.
    pub policy: Option<Policy>,
    /// The attachment that holds the policy.
    pub holder: Option<usize>,
    /// What came to the policy, where the kernel counts that.
    pub counters: Option<Counters>,
    /// Its rules, in order.
    pub rules: Vec<RuleView>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleView {
    /// Its handle in the kernel.
    pub handle: u64,
    /// The rule in the syntax of iptables; of a foreign one only roughly so.
    pub text: String,
    /// Where it was written: `allow-ping.fw: rules[2].rule`.
    pub origin: Option<String>,
    /// Whose it is.
    pub owner: Owner,
    /// Whether somebody has changed it since: it does not say what its text says.
    pub changed: bool,
    /// What passed through it; some foreign rules do not count.
    pub counters: Option<Counters>,
}

/// Whose a rule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Of this attachment.
    Attachment(usize),
    /// Of an attachment whose state file is missing.
    Unrecorded,
    /// Somebody else's.
    Foreign,
}

/// A set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetView {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// Its family, if it has one.
    pub family: Option<Family>,
    /// How many entries it holds; kernels before 4.9 do not say.
    pub elements: Option<u32>,
    /// Its size in bytes.
    pub memory: u32,
    /// How many rules and lists use it.
    pub references: u32,
    /// The attachments that use it.
    pub owners: Vec<usize>,
}

/// Looks at the namespace of `connection`.
///
/// # Errors
/// It could not be asked.
pub fn view(connection: &mut Connection, records: &[Record]) -> Result<View, ApplyError> {
    let observed = observe_verbatim(connection.nft()).map_err(FirewallError::Observe)?;
    let policies = policy_counters(connection.nft()).map_err(FirewallError::Observe)?;
    let mut view = arrange(&observed, &policies, records);
    view.others = other_tables(connection.nft()).map_err(FirewallError::Observe)?;
    view.sets = match connection.sets().and_then(SetClient::list_headers) {
        Ok(headers) => headers
            .into_iter()
            .map(|header| {
                let uses = |record: &Record| record.sets.iter().any(|set| set.name == header.name);
                SetView {
                    owners: (0..).zip(records).filter(|(_, record)| uses(record)).map(|(at, _)| at).collect(),
                    kind: header.kind.name(),
                    family: header.family,
                    elements: header.elements,
                    memory: header.memory,
                    references: header.references,
                    name: header.name,
                }
            })
            .collect(),
        Err(SetError::NoIpset) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    view.sets.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(view)
}

/// Counters of the policies of base chains, by family, table and chain.
pub(crate) type PolicyCounters = BTreeMap<(Family, String, String), Counters>;

/// The chains, without what is not in the ruleset.
pub(crate) fn arrange(observed: &Ruleset, policies: &PolicyCounters, records: &[Record]) -> View {
    let attachments: Vec<Attachment> =
        records.iter().map(|record| Attachment::from(&record.attachment)).collect();
    let owners: HashMap<OwnerId, usize> =
        (0..).zip(&attachments).map(|(at, attachment)| (OwnerId::of(attachment), at)).collect();
    let mut tables: Vec<&ObservedTable> = observed.tables.iter().collect();
    tables.sort_by(|one, other| (one.family, &one.name).cmp(&(other.family, &other.name)));
    let mut chains = Vec::new();
    for table in tables {
        let known = Known::new(table, records);
        let mut of_table: Vec<_> = table.chains.iter().collect();
        of_table.sort_by_key(|chain| {
            let hook = chain.hook.as_ref().map_or(u32::MAX, |hook| hook.number);
            (hook, chain.name.as_str())
        });
        for chain in of_table {
            let holds = |record: &Record| {
                record
                    .table(table.family, &table.name)
                    .is_some_and(|table| table.policy(&chain.name).is_some())
            };
            let latest = (0..).zip(records).filter(|(_, record)| holds(record));
            let rules = chain.rules.iter().map(|rule| {
                let mark = rule.mark.or_else(|| known.unmarked.get(&rule.handle).copied());
                let described = || describe(table.family, &rule.expressions).unwrap_or_default();
                let counters = counters_of(&rule.expressions).ok().flatten();
                let owner = mark.map(|(id, _)| owners.get(&id).copied());
                let recorded = mark.and_then(|(id, ordinal)| known.rules.get(&(id, ordinal)));
                match recorded {
                    Some(recorded) => RuleView {
                        handle: rule.handle,
                        text: without_command(recorded).to_owned(),
                        origin: Some(recorded.origin.clone()),
                        owner: owner.flatten().map_or(Owner::Unrecorded, Owner::Attachment),
                        changed: recorded.digest.is_some() && rule.digest != recorded.digest,
                        counters,
                    },
                    None => RuleView {
                        handle: rule.handle,
                        text: described(),
                        origin: None,
                        owner: if mark.is_some() { Owner::Unrecorded } else { Owner::Foreign },
                        changed: false,
                        counters,
                    },
                }
            });
            chains.push(ChainView {
                family: table.family,
                table: table.name.clone(),
                name: chain.name.clone(),
                policy: chain.policy,
                holder: latest.max_by_key(|(_, record)| record.made_at).map(|(at, _)| at),
                counters: policies.get(&(table.family, table.name.clone(), chain.name.clone())).copied(),
                rules: rules.collect(),
            });
        }
    }
    View { attachments, chains, ..View::default() }
}

/// What the records say of a table.
struct Known<'a> {
    rules: HashMap<(OwnerId, u32), &'a RecordedRule>,
    /// Rules that lost their marks, by handle.
    unmarked: HashMap<u64, (OwnerId, u32)>,
}

impl<'a> Known<'a> {
    fn new(table: &ObservedTable, records: &'a [Record]) -> Self {
        let mut known = Self { rules: HashMap::new(), unmarked: HashMap::new() };
        for record in records {
            let owner = record.owner();
            let Some(recorded) = record.table(table.family, &table.name) else { continue };
            known.rules.extend(recorded.rules.iter().map(|rule| ((owner, rule.ordinal), rule)));
            let unmarked = recorded.unmarked(owner, table);
            known.unmarked.extend(unmarked.into_iter().map(|(handle, ordinal)| (handle, (owner, ordinal))));
        }
        known
    }
}
