//! The plan: what will be in force, complete before the first system call in the namespace. Plain data, ordered.

use std::collections::BTreeSet;
use std::fmt;

use crate::config::Placement;
use crate::netfilter::{Family, Policy, Table};
use crate::origin::Origin;
use crate::rule::Rule;
use crate::set::SetSpec;

/// An attachment: one (network, container, interface). The owner of everything that an ADD makes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attachment {
    /// Name of the network configuration.
    pub network: String,
    /// `CNI_CONTAINERID`
    pub container: String,
    /// `CNI_IFNAME`
    pub interface: String,
}

impl fmt::Display for Attachment {
    /// `network/container/eth0`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.network, self.container, self.interface)
    }
}

/// All that one attachment puts in force.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Sets to make and fill, in order; a `list:set` comes after its members.
    pub sets: Vec<SetSpec>,
    /// Tables of both families, IPv4 first; only those in which something is to be done.
    pub tables: Vec<TablePlan>,
}

impl Plan {
    /// Names of the sets that its rules use, each once.
    pub fn used_sets(&self) -> BTreeSet<&str> {
        let rules = self.tables.iter().flat_map(|half| &half.rules);
        rules.flat_map(|op| op.rule.used_sets()).collect()
    }
}

/// What is to be done in one table of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePlan {
    /// The family half.
    pub family: Family,
    /// The table.
    pub table: Table,
    /// User chains to create, in the order written.
    pub chains: Vec<ChainOp>,
    /// Final policies of built-in chains: at most one a chain.
    pub policies: Vec<PolicyOp>,
    /// Rules, in the order written; [`RuleOp::placement`] tells where each goes.
    pub rules: Vec<RuleOp>,
}

/// A user chain to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainOp {
    /// Its name.
    pub name: String,
    /// Where it was asked for.
    pub origin: Origin,
}

/// A policy to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyOp {
    /// The built-in chain.
    pub chain: String,
    /// Its policy.
    pub policy: Policy,
    /// Where it was asked for.
    pub origin: Origin,
}

/// A rule to put into a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleOp {
    /// The chain.
    pub chain: String,
    /// Where in the chain.
    pub placement: Placement,
    /// The rule, variables expanded, every name resolved: one source and one destination at most.
    pub rule: Rule,
    /// Where it was written.
    pub origin: Origin,
}
