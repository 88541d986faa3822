//! What one attachment has in force, as the state file remembers it: data for JSON, and the reading back that
//! completes it. Opens no file.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use fwn_plan::netfilter::{Family, Policy, Table};
use fwn_plan::plan::Attachment;
use serde::{Deserialize, Serialize};

use super::observed::{ObservedTable, Ruleset};
use super::owner::OwnerId;
use crate::netns::NetnsId;
use crate::nft::digest::Digest;

/// All that one attachment has in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this form.
    pub version: Version,
    /// Whose it is.
    pub attachment: RecordedAttachment,
    /// The namespace that it is in.
    pub netns: RecordedNetns,
    /// A number greater than that of every attachment that was made before in the same namespace: where several
    /// hold a policy, the greatest counts. 0 as long as no more than sets was made.
    pub made_at: u64,
    /// Whether it was written before the batch, and nobody knows whether that came to be ([`Record::intent`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
    /// Sets that it uses.
    pub sets: Vec<RecordedSet>,
    /// Tables that it uses.
    pub tables: Vec<RecordedTable>,
}

/// The version of a record: 1, and no other can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Version;

/// A record of another version of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record has version {0}, this program knows version 1")]
pub struct UnknownVersion(pub u32);

impl From<Version> for u32 {
    fn from(_: Version) -> Self {
        1
    }
}

impl TryFrom<u32> for Version {
    type Error = UnknownVersion;

    fn try_from(version: u32) -> Result<Self, UnknownVersion> {
        if version == 1 { Ok(Self) } else { Err(UnknownVersion(version)) }
    }
}

/// The names of an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedAttachment {
    /// Name of the network configuration.
    pub network: String,
    /// `CNI_CONTAINERID`
    pub container: String,
    /// `CNI_IFNAME`
    pub interface: String,
}

impl From<&Attachment> for RecordedAttachment {
    fn from(attachment: &Attachment) -> Self {
        Self {
            network: attachment.network.clone(),
            container: attachment.container.clone(),
            interface: attachment.interface.clone(),
        }
    }
}

impl From<&RecordedAttachment> for Attachment {
    fn from(recorded: &RecordedAttachment) -> Self {
        Self {
            network: recorded.network.clone(),
            container: recorded.container.clone(),
            interface: recorded.interface.clone(),
        }
    }
}

/// Which namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct RecordedNetns {
    /// Device of the nsfs file.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// The kernel's own number; 0 before Linux 5.14.
    pub cookie: u64,
}

impl From<NetnsId> for RecordedNetns {
    fn from(id: NetnsId) -> Self {
        Self { device: id.device, inode: id.inode, cookie: id.cookie }
    }
}

/// A set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedSet {
    /// Its name.
    pub name: String,
    /// Its type: `hash:ip`.
    pub kind: String,
    /// Whether it was made, and not found.
    pub created: bool,
    /// Whether its entries are saved when it goes.
    pub persist: bool,
}

/// A table of one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedTable {
    /// The family half.
    #[serde(with = "family_word")]
    pub family: Family,
    /// The table.
    #[serde(with = "table_word")]
    pub table: Table,
    /// Whether an attachment made it, and nobody else.
    pub created: bool,
    /// The greatest handle of a rule of ours, or of any where there is none of ours: whatever has a greater one came
    /// later. 0 until the kernel has told.
    pub last_handle: u64,
    /// Chains that it uses.
    pub chains: Vec<RecordedChain>,
    /// Policies that it holds.
    pub policies: Vec<RecordedPolicy>,
    /// Its rules; those of one chain stand in the order in which the kernel has them.
    pub rules: Vec<RecordedRule>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedChain {
    /// Its name.
    pub name: String,
    /// Whether an attachment made it, and nobody else.
    pub created: bool,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedPolicy {
    /// The chain.
    pub chain: String,
    /// What it was set to.
    #[serde(with = "policy_word")]
    pub set: Policy,
    /// What it was before any attachment set it; `None` where there was no such chain.
    #[serde(with = "optional_policy_word")]
    pub before: Option<Policy>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedRule {
    /// The chain.
    pub chain: String,
    /// Its number in the plan for this table and family, from 0.
    pub ordinal: u32,
    /// The rule in the syntax of iptables.
    pub text: String,
    /// Where it was written.
    pub origin: String,
    /// What the kernel made of it; `None` if it was not there.
    pub digest: Option<Digest>,
}

impl Record {
    /// Of an attachment that has nothing in force yet.
    pub fn empty(attachment: &Attachment, netns: RecordedNetns) -> Self {
        let (sets, tables) = (Vec::new(), Vec::new());
        Self {
            version: Version,
            attachment: attachment.into(),
            netns,
            made_at: 0,
            pending: false,
            sets,
            tables,
        }
    }

    /// The owner that its rules carry.
    pub fn owner(&self) -> OwnerId {
        OwnerId::of(&Attachment::from(&self.attachment))
    }

    /// What it says about a table.
    pub fn table(&self, family: Family, table: &str) -> Option<&RecordedTable> {
        self.tables.iter().find(|recorded| recorded.family == family && recorded.table.name() == table)
    }

    /// Of a record whose rules are not known yet: what there may be from before the batch until the kernel has told, when
    /// nobody can know whether this or `previous` is in force, and so all that a DEL has to find. The new rules carry
    /// their marks, and none that could be told by what it says has been seen yet. Only those of `previous` that are
    /// `observed` to have lost their marks are known by nothing else.
    #[must_use]
    pub fn intent(self, previous: Option<&Self>, observed: &Ruleset) -> Self {
        let owner = self.owner();
        let mut record = Self { pending: true, ..self };
        for old in previous.iter().flat_map(|previous| &previous.tables) {
            let same = |new: &&mut RecordedTable| (new.family, new.table) == (old.family, old.table);
            let Some(new) = record.tables.iter_mut().find(same) else {
                record.tables.push(old.clone());
                continue;
            };
            new.created |= old.created;
            let seen = observed.table(old.family, old.table.name());
            if seen.is_some_and(|table| !old.unmarked(owner, table).is_empty()) {
                new.rules.clone_from(&old.rules);
            }
            for chain in &old.chains {
                if new.chain(&chain.name).is_none() {
                    new.chains.push(chain.clone());
                }
            }
            for policy in &old.policies {
                if new.policy_set_to(&policy.chain, policy.set).is_none() {
                    new.policies.push(policy.clone());
                }
            }
        }
        record
    }

    /// Completes the record by what is in force after the commit: digests, and the greatest handle. A rule that is
    /// not there keeps no digest; [`super::compare::compare`] tells.
    pub fn read_back(&mut self, observed: &Ruleset) {
        let owner = self.owner();
        for table in &mut self.tables {
            table.last_handle = 0;
            let seen = observed.table(table.family, table.table.name());
            // numbers are those of the plan, so there are no gaps
            let mut digests = vec![None; table.rules.len()];
            for rule in seen.into_iter().flat_map(ObservedTable::rules) {
                if let Some(ordinal) = rule.ordinal_of(owner) {
                    table.last_handle = table.last_handle.max(rule.handle);
                    if let Some(digest) = digests.get_mut(ordinal as usize) {
                        *digest = rule.digest;
                    }
                }
            }
            if table.last_handle == 0 {
                // only policies: what is there now is no later than they are
                table.last_handle = seen.map_or(0, ObservedTable::last_handle);
            }
            for rule in &mut table.rules {
                rule.digest = digests.get(rule.ordinal as usize).copied().flatten();
            }
        }
    }
}

impl RecordedTable {
    /// Rules of `owner` that have lost their marks, with their numbers, by handle. Who saves a table and restores it
    /// (`iptables-save`, `iptables-restore`) takes the user data of all its rules; they are known then by what they
    /// say. As long as one mark is there, none was lost: a rule that is missing is missing.
    pub fn unmarked(&self, owner: OwnerId, table: &ObservedTable) -> HashMap<u64, u32> {
        if table.rules().any(|rule| rule.is_of(owner)) {
            return HashMap::new();
        }
        let mut found: HashMap<(&str, Digest), VecDeque<u64>> = HashMap::new();
        for chain in table.chains.iter().filter(|chain| self.chain(&chain.name).is_some()) {
            for rule in chain.rules.iter().filter(|rule| rule.mark.is_none()) {
                if let Some(digest) = rule.digest {
                    found.entry((&chain.name, digest)).or_default().push_back(rule.handle);
                }
            }
        }
        let mut unmarked = HashMap::new();
        for rule in &self.rules {
            let handles = rule.digest.and_then(|digest| found.get_mut(&(rule.chain.as_str(), digest)));
            if let Some(handle) = handles.and_then(VecDeque::pop_front) {
                unmarked.insert(handle, rule.ordinal);
            }
        }
        unmarked
    }

    /// What it says about a chain.
    pub fn chain(&self, name: &str) -> Option<&RecordedChain> {
        self.chains.iter().find(|chain| chain.name == name)
    }

    /// The entry by which a chain has this policy: there can be two of a chain while an ADD is under way.
    pub fn policy_set_to(&self, chain: &str, set: Policy) -> Option<&RecordedPolicy> {
        self.policies.iter().find(|policy| policy.chain == chain && policy.set == set)
    }

    /// The policy that it holds for a chain.
    pub fn policy(&self, chain: &str) -> Option<&RecordedPolicy> {
        self.policies.iter().find(|policy| policy.chain == chain)
    }
}

impl fmt::Display for RecordedRule {
    /// `-p tcp -j ACCEPT` (web.fw: rules\[2\].rule)
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({})", self.text, self.origin)
    }
}

/// The word of a type that `fwn-plan` names, for serde.
macro_rules! word {
    ($module:ident, $kind:ident) => {
        mod $module {
            use super::$kind;
            use serde::{Deserialize, Deserializer, Serializer, de::Error};

            pub(super) fn serialize<S: Serializer>(value: &$kind, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(value.name())
            }

            pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$kind, D::Error> {
                let word = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                $kind::parse(&word).ok_or_else(|| D::Error::custom(format_args!("unknown word `{word}`")))
            }
        }
    };
}

word!(family_word, Family);
word!(table_word, Table);
word!(policy_word, Policy);

mod optional_policy_word {
    use super::Policy;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    #[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(value: &Option<Policy>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Policy::name).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Policy>, D::Error> {
        let word = Option::<String>::deserialize(deserializer)?;
        word.map(|word| {
            Policy::parse(&word).ok_or_else(|| D::Error::custom(format_args!("unknown word `{word}`")))
        })
        .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            version: Version,
            attachment: RecordedAttachment {
                network: "net".into(),
                container: "id".into(),
                interface: "eth0".into(),
            },
            netns: RecordedNetns { device: 4, inode: 4_026_531_840, cookie: u64::MAX },
            made_at: 3,
            pending: true,
            sets: vec![RecordedSet {
                name: "web".into(),
                kind: "hash:ip".into(),
                created: true,
                persist: false,
            }],
            tables: vec![RecordedTable {
                family: Family::Ipv6,
                table: Table::Mangle,
                created: true,
                last_handle: 7,
                chains: vec![RecordedChain { name: "INPUT".into(), created: false }],
                policies: vec![
                    RecordedPolicy { chain: "INPUT".into(), set: Policy::Drop, before: Some(Policy::Accept) },
                    RecordedPolicy { chain: "OUTPUT".into(), set: Policy::Accept, before: None },
                ],
                rules: vec![RecordedRule {
                    chain: "INPUT".into(),
                    ordinal: 0,
                    text: "-m comment --comment \"a \\\"b\\\"\"".into(),
                    origin: "web.fw: rules[0].rule".into(),
                    digest: None,
                }],
            }],
        }
    }

    #[test]
    fn a_record_survives_json() {
        let text = serde_json::to_string(&record()).expect("JSON");
        assert_eq!(serde_json::from_str::<Record>(&text).expect("a record"), record());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let good = serde_json::to_string(&record()).expect("JSON");
        for (word, other, message) in [
            ("\"version\":1", "\"version\":2", "record has version 2, this program knows version 1"),
            ("\"ipv6\"", "\"ipv5\"", "unknown word `ipv5`"),
            ("\"mangle\"", "\"mangel\"", "unknown word `mangel`"),
            ("\"DROP\"", "\"REJECT\"", "unknown word `REJECT`"),
            ("\"before\":\"ACCEPT\"", "\"before\":\"\"", "unknown word ``"),
            ("\"made_at\":3,", "", "missing field `made_at`"),
        ] {
            assert!(good.contains(word));
            let error =
                serde_json::from_str::<Record>(&good.replace(word, other)).expect_err(message).to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
