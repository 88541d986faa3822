//! A .fw file, or the same keys inside the network configuration, to a [`Section`]. Whether a chain, table,
//! policy or set type exists, and what a rule says, is for later layers: variables may stand there.

use std::sync::Arc;

use super::json::{Dialect, Kind, Member, Value, parse_json};
use super::keys::{Key, Keys, Shape, words};
use super::lint::{LINT, read_lint};
use super::reader::{Reader, key_hint, quoted};
use super::{
    ChainConf, Expected, ForEach, Placement, PolicyConf, RuleConf, Section, SetConf, TestConf, Text, netconf,
};
use crate::netfilter::Family;
use crate::origin::{Source, Step};
use crate::problem::Problems;

/// Keys of a .fw file and of the inline part.
pub const FW_KEYS: Keys = Keys {
    keys: &[
        Key::optional("ipsets", Shape::List(&Shape::Object(&SET_KEYS)), "sets to create"),
        Key::optional("chains", Shape::List(&Shape::Object(&CHAIN_KEYS)), "user chains to create"),
        Key::optional(
            "policies",
            Shape::List(&Shape::Object(&POLICY_KEYS)),
            "what happens to a packet at the end of a built-in chain",
        ),
        Key::optional("rules", Shape::List(&Shape::Object(&RULE_KEYS)), "rules, in order"),
        Key::optional(
            "tests",
            Shape::List(&Shape::Object(&TEST_KEYS)),
            "packets and what is to become of them, for `firewallnetns test`; an ADD does not look at them",
        ),
        Key::optional("description", Shape::TextOrTexts, "text for people; not used"),
        LINT,
    ],
    synonyms: &[],
};

const SET_KEYS: Keys = Keys {
    keys: &[
        Key::required("set", Shape::Text, "name, at most 31 bytes; variables allowed"),
        Key::required(
            "hashtype",
            Shape::Text,
            "type: `hash:ip`, `hash:net,port`, `bitmap:port`, `list:set`, ...",
        ),
        Key::optional("hashfamily", Shape::Text, "`inet` (default) or `inet6`"),
        Key::optional("hashsize", Shape::TextOrNumber, "initial size of the hash"),
        Key::optional("netmask", Shape::TextOrNumber, "prefix length to which entries are cut"),
        Key::optional("bitmask", Shape::Text, "mask to which entries are cut: `255.0.0.255`"),
        Key::optional("markmask", Shape::TextOrNumber, "mask for marks"),
        Key::optional("maxElem", Shape::TextOrNumber, "most entries of a hash"),
        Key::optional("maxelem", Shape::TextOrNumber, "the same as `maxElem`"),
        Key::optional("timeout", Shape::TextOrNumber, "default lifetime of entries in seconds; 0: they stay"),
        Key::optional("bucketsize", Shape::TextOrNumber, "most entries in one bucket of a hash"),
        Key::optional("range", Shape::Text, "what a `bitmap:*` spans: `10.0.0.0/24`, `1024-65535`"),
        Key::optional("size", Shape::TextOrNumber, "most members of a `list:set`"),
        Key::optional("counters", Shape::Flag, "entries have packet and byte counters"),
        Key::optional("comment", Shape::Flag, "entries may have a comment"),
        Key::optional("skbinfo", Shape::Flag, "entries may have socket buffer marks"),
        Key::optional("forceadd", Shape::Flag, "a full hash makes room for a new entry"),
        Key::optional(
            "entries",
            Shape::List(&Shape::Text),
            "entries in ipset's syntax; variables and host names allowed",
        ),
        Key::optional("file", Shape::Text, "file in `dataDir` with more entries"),
        Key::optional("persist", Shape::Flag, "entries are saved on DEL and loaded on the next ADD"),
        LINT,
    ],
    synonyms: &[("name", "set"), ("type", "hashtype"), ("family", "hashfamily"), ("elements", "entries")],
};

const TABLE: Key =
    Key::optional("table", Shape::Text, "`filter` (default), `nat`, `mangle`, `raw`, `security`");

const CHAIN_KEYS: Keys = Keys {
    keys: &[Key::required("chain", Shape::Text, "name, at most 28 bytes; variables allowed"), TABLE, LINT],
    synonyms: &[("name", "chain")],
};

const POLICY_KEYS: Keys = Keys {
    keys: &[
        Key::required("chain", Shape::Text, "a built-in chain: `INPUT`, `FORWARD`, `OUTPUT`, ..."),
        Key::required("policy", Shape::Text, "`ACCEPT` or `DROP`; variables allowed"),
        TABLE,
        Key::optional("family", Shape::Word(&FAMILY_WORDS), "one IP family only; default: both"),
        LINT,
    ],
    synonyms: &[("target", "policy")],
};

const RULE_KEYS: Keys = Keys {
    keys: &[
        Key::required("type", Shape::Word(&RULE_TYPES), "`A` appends at the end of the chain, `I` inserts"),
        Key::required("chain", Shape::Text, "a built-in chain, or one of `chains`; variables allowed"),
        Key::required(
            "rule",
            Shape::Text,
            "the rest as after `iptables -A CHAIN`; variables and host names allowed",
        ),
        Key::optional(
            "position",
            Shape::Count,
            "with type `I`: the number that the rule will have in its chain",
        ),
        TABLE,
        Key::optional(
            "family",
            Shape::Word(&FAMILY_WORDS),
            "one IP family only; default: what the rule allows",
        ),
        Key::optional("forEach", Shape::Word(&FOR_EACH_WORDS), "repeats the rule, with variables of its own"),
        LINT,
    ],
    synonyms: &[],
};

const TEST_KEYS: Keys = Keys {
    keys: &[
        Key::required("packet", Shape::Text, "a packet: `in tcp 10.0.0.9 -> 10.0.0.2:80`; variables allowed"),
        Key::required("expect", Shape::Word(&VERDICT_WORDS), "what is to become of it"),
        Key::optional(
            "with",
            Shape::List(&Shape::Text),
            "files of `dataDir` that are in force before this one",
        ),
        Key::optional("vars", Shape::Variables, "values for variables"),
    ],
    synonyms: &[("verdict", "expect"), ("expected", "expect")],
};

const VERDICTS: [(&str, Expected); 3] =
    [("ACCEPT", Expected::Accept), ("DROP", Expected::Drop), ("REJECT", Expected::Reject)];
const VERDICT_WORDS: [&str; 3] = words(&VERDICTS);

const FAMILIES: [(&str, Family); 2] = [("ipv4", Family::Ipv4), ("ipv6", Family::Ipv6)];
const FAMILY_WORDS: [&str; 2] = words(&FAMILIES);

const FOR_EACH: [(&str, ForEach); 2] = [("portMappings", ForEach::PortMappings), ("ips", ForEach::Ips)];
const FOR_EACH_WORDS: [&str; 2] = words(&FOR_EACH);

const RULE_TYPES: [&str; 2] = ["A", "I"];

/// Reads a .fw file: JSON, with comments and trailing commas allowed.
///
/// # Errors
/// The first thing that is not JSON, or else everything that is not a key or value of a .fw file.
pub fn parse_fw(source: &Arc<Source>) -> Result<Section, Problems> {
    let root = parse_json(source, Dialect::Commented)?;
    let mut reader = Reader::new(source);
    let mut section = Section::default();
    for member in reader.members(root).unwrap_or_default() {
        let step = Step::Key(member.key.to_string().into());
        if let Some(value) = reader.within(step, |r| read_member(r, &mut section, &member.key, member.value))
        {
            let hint = if netconf::is_netconf_key(&member.key) {
                format!("{} belongs into the network configuration", quoted(&member.key))
            } else {
                key_hint(&member.key, FW_KEYS.names(), &[])
            };
            reader.unknown_key(&Member { value, ..member }, hint);
        }
    }
    section.allowed = reader.take_allowed();
    reader.finish(section)
}

/// Reads the value of a key of a section into it; gives the value back if the key is not one.
pub(super) fn read_member<'t>(
    reader: &mut Reader,
    section: &mut Section,
    key: &str,
    value: Value<'t>,
) -> Option<Value<'t>> {
    match key {
        "ipsets" => section.sets = reader.list(value, read_set),
        "chains" => section.chains = reader.list(value, read_chain),
        "policies" => section.policies = reader.list(value, read_policy),
        "rules" => section.rules = reader.list(value, read_rule),
        "tests" => section.tests = reader.list(value, read_test),
        "description" => read_description(reader, value),
        "lint" => read_lint(reader, value),
        _ => return Some(value),
    }
    None
}

/// Text for people: one string, or a list of them.
fn read_description(reader: &mut Reader, value: Value<'_>) {
    match value.kind {
        Kind::List(_) => {
            reader.list(value, Reader::text);
        }
        _ => {
            reader.text(value);
        }
    }
}

fn read_set(reader: &mut Reader, value: Value<'_>) -> Option<SetConf> {
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
        "lint" => read_lint(reader, value),
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

fn read_test(reader: &mut Reader, value: Value<'_>) -> Option<TestConf> {
    let (mut packet, mut expect, mut with, mut vars) = (None, None, Vec::new(), Vec::new());
    reader.object(value, TEST_KEYS, |reader, key, value| match key {
        "packet" => packet = reader.text(value),
        "expect" => expect = reader.word(value, &VERDICTS),
        "with" => with = reader.list(value, Reader::text),
        _ => vars = netconf::read_vars(reader, value),
    })?;
    Some(TestConf { packet: packet?, expect: expect?, with, vars })
}

fn read_chain(reader: &mut Reader, value: Value<'_>) -> Option<ChainConf> {
    let (mut chain, mut table) = (None, None);
    reader.object(value, CHAIN_KEYS, |reader, key, value| match key {
        "chain" => chain = reader.text(value),
        "table" => table = reader.text(value),
        _ => read_lint(reader, value),
    })?;
    Some(ChainConf { chain: chain?, table })
}

fn read_policy(reader: &mut Reader, value: Value<'_>) -> Option<PolicyConf> {
    let (mut chain, mut policy, mut table, mut family) = (None, None, None, None);
    reader.object(value, POLICY_KEYS, |reader, key, value| match key {
        "chain" => chain = reader.text(value),
        "policy" => policy = reader.text(value),
        "table" => table = reader.text(value),
        "family" => family = reader.word(value, &FAMILIES),
        _ => read_lint(reader, value),
    })?;
    Some(PolicyConf { chain: chain?, policy: policy?, table, family })
}

fn read_rule(reader: &mut Reader, value: Value<'_>) -> Option<RuleConf> {
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
        "forEach" => for_each = reader.word(value, &FOR_EACH),
        _ => read_lint(reader, value),
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
fn read_rule_type(reader: &mut Reader, value: Value<'_>) -> Option<bool> {
    let range = value.range.clone();
    match &value.kind {
        Kind::Text(text) if text == "A" => return Some(false),
        Kind::Text(text) if text == "I" => return Some(true),
        _ => {}
    }
    let written = reader.text(value)?.value;
    let hint = match written.as_str() {
        "D" | "R" | "F" | "X" | "Z" => {
            Some("a configuration only adds rules; what an ADD made, its DEL removes")
        }
        "P" => Some("policies have a list of their own: `policies`"),
        "N" => Some("user chains have a list of their own: `chains`"),
        _ => None,
    };
    let message = format!("expected `A` (append) or `I` (insert), found {}", quoted(&written));
    reader.problem(range, message, hint.map(str::to_owned));
    None
}
