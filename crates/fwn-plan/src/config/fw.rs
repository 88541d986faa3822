//! A .fw file, or the same keys inside the network configuration, to a [`Section`]. Whether a chain, table,
//! policy or set type exists, and what a rule says, is for later layers: variables may stand there.

use std::sync::Arc;

use super::json::{Dialect, Kind, Member, Value, parse_json};
use super::reader::{Keys, Reader, key_hint, quoted};
use super::{ChainConf, ForEach, Placement, PolicyConf, RuleConf, Section, SetConf, Text, netconf};
use crate::netfilter::Family;
use crate::origin::{Source, Step};
use crate::problem::Problems;

/// Keys of a .fw file and of the inline part.
pub(super) const SECTION_KEYS: [&str; 5] = ["ipsets", "chains", "policies", "rules", "description"];

const SET_KEYS: Keys = Keys {
    required: &["set", "hashtype"],
    optional: &[
        "hashfamily",
        "hashsize",
        "netmask",
        "bitmask",
        "markmask",
        "maxElem",
        "maxelem",
        "timeout",
        "bucketsize",
        "range",
        "size",
        "counters",
        "comment",
        "skbinfo",
        "forceadd",
        "entries",
        "file",
        "persist",
    ],
    synonyms: &[("name", "set"), ("type", "hashtype"), ("family", "hashfamily"), ("elements", "entries")],
};

const CHAIN_KEYS: Keys = Keys { required: &["chain"], optional: &["table"], synonyms: &[("name", "chain")] };

const POLICY_KEYS: Keys = Keys {
    required: &["chain", "policy"],
    optional: &["table", "family"],
    synonyms: &[("target", "policy")],
};

const RULE_KEYS: Keys = Keys {
    required: &["type", "chain", "rule"],
    optional: &["position", "table", "family", "forEach"],
    synonyms: &[],
};

const FAMILIES: [(&str, Family); 2] = [("ipv4", Family::Ipv4), ("ipv6", Family::Ipv6)];

const FOR_EACH: [(&str, ForEach); 2] = [("portMappings", ForEach::PortMappings), ("ips", ForEach::Ips)];

/// Reads a .fw file: JSON, with comments and trailing commas allowed.
///
/// # Errors
/// The first thing that is not JSON, or else everything that is not a key or value of a .fw file.
pub fn parse_fw(source: &Arc<Source>) -> Result<Section, Problems> {
    let root = parse_json(source, Dialect::Commented)?;
    let mut reader = Reader::new(source);
    let mut section = Section::default();
    for member in reader.members(root).unwrap_or_default() {
        let step = Step::Key(member.key.clone().into());
        if let Some(value) = reader.within(step, |r| read_member(r, &mut section, &member.key, member.value))
        {
            let hint = if netconf::is_netconf_key(&member.key) {
                format!("{} belongs into the network configuration", quoted(&member.key))
            } else {
                key_hint(&member.key, SECTION_KEYS.into_iter(), &[])
            };
            reader.unknown_key(&Member { value, ..member }, hint);
        }
    }
    reader.finish(section)
}

/// Reads the value of a key of a section into it; gives the value back if the key is not one.
pub(super) fn read_member(
    reader: &mut Reader,
    section: &mut Section,
    key: &str,
    value: Value,
) -> Option<Value> {
    match key {
        "ipsets" => section.sets = reader.list(value, read_set),
        "chains" => section.chains = reader.list(value, read_chain),
        "policies" => section.policies = reader.list(value, read_policy),
        "rules" => section.rules = reader.list(value, read_rule),
        "description" => read_description(reader, value),
        _ => return Some(value),
    }
    None
}

/// Text for people: one string, or a list of them.
fn read_description(reader: &mut Reader, value: Value) {
    match value.kind {
        Kind::List(_) => {
            reader.list(value, Reader::text);
        }
        _ => {
            reader.text(value);
        }
    }
}

fn read_set(reader: &mut Reader, value: Value) -> Option<SetConf> {
    let origin = reader.origin(value.range.clone());
    let (mut set, mut hashtype, mut file) = (None, None, None);
    let (mut options, mut entries) = (Vec::<(&'static str, Text)>::new(), Vec::new());
    let mut persist = false;
    reader.object(value, SET_KEYS, |reader, key, value| match key {
        "set" => set = reader.text(value),
        "hashtype" => hashtype = reader.text(value),
        "entries" => entries = reader.list(value, Reader::text),
        "file" => file = reader.text(value),
        "persist" => persist = reader.flag(&value).unwrap_or_default(),
        _ => {
            let range = value.range.clone();
            let option = match key {
                "counters" | "comment" | "skbinfo" | "forceadd" => {
                    let origin = reader.origin(value.range.clone());
                    reader.flag(&value).map(|flag| Text { value: flag.to_string(), origin })
                }
                "hashfamily" | "range" | "bitmask" => reader.text(value),
                _ => reader.text_or_number(value),
            };
            let key = if key == "maxelem" { "maxElem" } else { key };
            if options.iter().any(|(known, _)| *known == key) {
                reader.problem(range, "`maxElem` and `maxelem` are the same key", None);
            }
            options.extend(option.map(|option| (key, option)));
        }
    })?;
    Some(SetConf { origin, set: set?, hashtype: hashtype?, options, entries, file, persist })
}

fn read_chain(reader: &mut Reader, value: Value) -> Option<ChainConf> {
    let (mut chain, mut table) = (None, None);
    reader.object(value, CHAIN_KEYS, |reader, key, value| match key {
        "chain" => chain = reader.text(value),
        _ => table = reader.text(value),
    })?;
    Some(ChainConf { chain: chain?, table })
}

fn read_policy(reader: &mut Reader, value: Value) -> Option<PolicyConf> {
    let (mut chain, mut policy, mut table, mut family) = (None, None, None, None);
    reader.object(value, POLICY_KEYS, |reader, key, value| match key {
        "chain" => chain = reader.text(value),
        "policy" => policy = reader.text(value),
        "table" => table = reader.text(value),
        _ => family = reader.word(value, &FAMILIES),
    })?;
    Some(PolicyConf { chain: chain?, policy: policy?, table, family })
}

fn read_rule(reader: &mut Reader, value: Value) -> Option<RuleConf> {
    let origin = reader.origin(value.range.clone());
    let (mut inserted, mut position) = (None, None);
    let (mut chain, mut rule, mut table, mut family, mut for_each) = (None, None, None, None, None);
    reader.object(value, RULE_KEYS, |reader, key, value| match key {
        "type" => inserted = read_rule_type(reader, value),
        "position" => position = Some((reader.origin(value.range.clone()), reader.count(&value))),
        "chain" => chain = reader.text(value),
        "rule" => rule = reader.text(value),
        "table" => table = reader.text(value),
        "family" => family = reader.word(value, &FAMILIES),
        _ => for_each = reader.word(value, &FOR_EACH),
    })?;
    let placement = match (inserted?, position) {
        (true, None) => Placement::Insert(1),
        (true, Some((_, position))) => Placement::Insert(position?),
        (false, None) => Placement::Append,
        (false, Some((place, _))) => {
            let hint = "write `\"type\": \"I\"` to insert, or leave `position` out to append".to_owned();
            let step = Step::Key("position".into());
            reader.within(step, |reader| {
                reader.problem(place.range, "`position` goes with type `I` only", Some(hint));
            });
            return None;
        }
    };
    Some(RuleConf { origin, placement, chain: chain?, rule: rule?, table, family, for_each })
}

/// Whether the rule is inserted (`I`) rather than appended (`A`).
fn read_rule_type(reader: &mut Reader, value: Value) -> Option<bool> {
    let range = value.range.clone();
    match reader.text(value)?.value.as_str() {
        "A" => Some(false),
        "I" => Some(true),
        other => {
            let hint = match other {
                "D" | "R" | "F" | "X" | "Z" => {
                    Some("a configuration only adds rules; what an ADD made, its DEL removes")
                }
                "P" => Some("policies have a list of their own: `policies`"),
                "N" => Some("user chains have a list of their own: `chains`"),
                _ => None,
            };
            let message = format!("expected `A` (append) or `I` (insert), found {}", quoted(other));
            reader.problem(range, message, hint.map(str::to_owned));
            None
        }
    }
}
