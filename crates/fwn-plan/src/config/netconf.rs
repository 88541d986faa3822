//! The network configuration of stdin to a [`NetConf`]: our keys are read, CNI's own are left to the CNI
//! layer, all others are problems.

use std::sync::Arc;

use super::fw::{FW_KEYS, read_member};
use super::ipsetd::{IPSETD_KEYS, read_ipsetd};
use super::json::{Dialect, Kind, Value, parse_json};
use super::keys::{Key, Keys, Shape, words};
use super::reader::{Reader, key_hint, quoted};
use super::{Engine, LogLevel, NetConf, Text};
use crate::expand::is_variable_name;
use crate::origin::{Source, Step};
use crate::problem::Problems;

/// Our keys beside those of a section.
pub const NETCONF_KEYS: Keys = Keys {
    keys: &[
        Key::optional("dataDir", Shape::Text, "folder of the .fw files and set files"),
        Key::optional(
            "fwFiles",
            Shape::List(&Shape::Text),
            ".fw files, in the order in which they are applied",
        ),
        Key::optional("vars", Shape::Variables, "values for variables"),
        Key::optional("varFiles", Shape::List(&Shape::Text), "files of `NAME=VALUE` lines"),
        Key::optional("names", Shape::Object(&NAMES_KEYS), "how host names are resolved"),
        Key::optional("engine", Shape::Word(&ENGINE_WORDS), "who encodes the rules"),
        Key::optional("stateDir", Shape::Text, "folder of what is in force"),
        Key::optional("persistDir", Shape::Text, "folder of saved sets"),
        Key::optional("logFile", Shape::Text, "where to log; default: standard error"),
        Key::optional("logLevel", Shape::Word(&LOG_LEVEL_WORDS), "how much to log"),
        Key::optional("delegate", Shape::Plugins, "plugins to run first, where the runtime cannot chain"),
        Key::optional("delegateTimeout", Shape::Count, "seconds that one call of a delegate may take"),
        Key::optional(
            "ipsetd",
            Shape::Object(&IPSETD_KEYS),
            "who may change the sets while the container runs",
        ),
    ],
    synonyms: &[],
};

/// The keys of the CNI specification and of runtimes (`SPEC.md`, `CONVENTIONS.md`), beside `cni.dev/*`. Those of a list
/// come to a plugin too where its network is a single file.
pub const CNI_KEYS: [&str; 15] = [
    "cniVersion",
    "cniVersions",
    "name",
    "type",
    "disableCheck",
    "disableGC",
    "loadOnlyInlinedPlugins",
    "plugins",
    "ipam",
    "dns",
    "ipMasq",
    "args",
    "runtimeConfig",
    "capabilities",
    "prevResult",
];

const NAMES_KEYS: Keys = Keys {
    keys: &[
        Key::optional("timeout", Shape::Count, "seconds to wait"),
        Key::optional(
            "servers",
            Shape::List(&Shape::Text),
            "DNS servers to ask; default: the host's resolver",
        ),
    ],
    synonyms: &[],
};

const ENGINES: [(&str, Engine); 3] =
    [("auto", Engine::Auto), ("native", Engine::Native), ("iptables", Engine::Iptables)];
const ENGINE_WORDS: [&str; 3] = words(&ENGINES);

const LOG_LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];
const LOG_LEVEL_WORDS: [&str; 5] = words(&LOG_LEVELS);

/// Whether `key` of a network configuration is CNI's, and so none of a plugin's business.
pub fn is_cni_key(key: &str) -> bool {
    CNI_KEYS.contains(&key) || key.starts_with("cni.dev/")
}

/// Whether `key` has a meaning in the network configuration only.
pub(super) fn is_netconf_key(key: &str) -> bool {
    NETCONF_KEYS.names().chain(CNI_KEYS).any(|known| known == key)
}

/// Reads a network configuration: strict JSON.
///
/// # Errors
/// The first thing that is not JSON, or else everything that is neither CNI's nor a key or value of ours.
pub fn parse_netconf(source: &Arc<Source>) -> Result<NetConf, Problems> {
    let root = parse_json(source, Dialect::Strict)?;
    let mut reader = Reader::new(source);
    let mut conf = NetConf::default();
    for member in reader.members(root).unwrap_or_default() {
        let key: &str = &member.key;
        if is_cni_key(key) {
            continue;
        }
        let known = NETCONF_KEYS.names().chain(FW_KEYS.names());
        if !known.clone().any(|known| known == key) {
            let hint = key_hint(key, known, &CNI_KEYS);
            reader.unknown_key(&member, hint);
            continue;
        }
        let step = Step::Key(member.key.to_string().into());
        reader.within(step, |reader| read_ours(reader, &mut conf, key, member.value));
    }
    conf.section.allowed = reader.take_allowed();
    reader.finish(conf)
}

fn read_ours(reader: &mut Reader, conf: &mut NetConf, key: &str, value: Value<'_>) {
    match key {
        "dataDir" => conf.data_dir = reader.text(value),
        "fwFiles" => conf.fw_files = reader.list(value, Reader::text),
        "vars" => conf.vars = read_vars(reader, value),
        "varFiles" => conf.var_files = reader.list(value, Reader::text),
        "names" => read_names(reader, conf, value),
        "engine" => conf.engine = reader.word(value, &ENGINES),
        "stateDir" => conf.state_dir = reader.text(value),
        "persistDir" => conf.persist_dir = reader.text(value),
        "logFile" => conf.log_file = reader.text(value),
        "logLevel" => conf.log_level = reader.word(value, &LOG_LEVELS),
        "delegate" => conf.delegates = read_delegates(reader, value),
        "delegateTimeout" => conf.delegate_timeout = reader.count(&value),
        "ipsetd" => conf.ipsetd = read_ipsetd(reader, value),
        _ => {
            read_member(reader, &mut conf.section, key, value);
        }
    }
}

pub(super) fn read_vars(reader: &mut Reader, value: Value<'_>) -> Vec<(String, Text)> {
    let mut vars = Vec::new();
    for member in reader.members(value).unwrap_or_default() {
        let name = member.key.into_owned();
        reader.within(Step::Key(name.clone().into()), |reader| {
            if is_variable_name(&name) {
                vars.extend(reader.text_or_number(member.value).map(|text| (name, text)));
            } else {
                let message = format!("{} is not a name of a variable", quoted(&name));
                let hint = "letters, digits and `_`, not a digit first".to_owned();
                reader.problem(member.key_range, message, Some(hint));
            }
        });
    }
    vars
}

/// One plugin, or a list of them. Their own keys are theirs to judge.
fn read_delegates(reader: &mut Reader, value: Value<'_>) -> Vec<Text> {
    match &value.kind {
        Kind::List(plugins) if plugins.is_empty() => {
            let hint = "without the key no plugin is run first".to_owned();
            reader.problem(value.range, "an empty list of plugins", Some(hint));
            Vec::new()
        }
        Kind::List(_) => reader.list(value, read_delegate),
        _ => read_delegate(reader, value).into_iter().collect(),
    }
}

/// The `type` of a plugin: it becomes the name of a file in one of the folders of `CNI_PATH`.
fn read_delegate(reader: &mut Reader, value: Value<'_>) -> Option<Text> {
    let range = value.range.clone();
    let members = reader.members(value)?;
    let Some(member) = members.into_iter().find(|member| member.key == "type") else {
        reader.problem(range, "missing key `type`", None);
        return None;
    };
    reader.within(Step::Key("type".into()), |reader| {
        let plugin = reader.text(member.value)?;
        if matches!(plugin.value.as_str(), "" | "." | "..") || plugin.value.contains('/') {
            let message = format!("{} is not the name of a plugin", quoted(&plugin.value));
            let hint = "a file name without `/`; it is looked for in the folders of CNI_PATH".to_owned();
            reader.problem(plugin.origin.range, message, Some(hint));
            return None;
        }
        Some(plugin)
    })
}

fn read_names(reader: &mut Reader, conf: &mut NetConf, value: Value<'_>) {
    reader.object(value, NAMES_KEYS, |reader, key, value| match key {
        "timeout" => conf.names_timeout = reader.count(&value),
        _ => conf.names_servers = reader.list(value, Reader::text),
    });
}
