//! One call of a plugin: environment and standard input in, a checked [`Invocation`] out.
//!
//! Both are arguments, so the whole protocol can be tested in one process. Nothing is opened here: a namespace is a
//! path, a previous result is text as it came.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{CniError, ErrorCode};
use crate::object::Object;
use crate::version::SpecVersion;

/// How to look up a variable of the environment.
pub type Env<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// What the runtime wants: `CNI_COMMAND`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Attach, or change what an earlier plugin attached.
    Add,
    /// Undo an ADD, as far as possible.
    Del,
    /// Tell whether everything is still as ADD left it (0.4.0).
    Check,
    /// Remove what belongs to no valid attachment (1.1.0).
    Gc,
    /// Tell whether ADD would work (1.1.0).
    Status,
    /// Tell the supported versions (0.2.0).
    Version,
}

/// A checked call. VERSION has none.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The command.
    pub command: Command,
    /// `CNI_CONTAINERID`. Empty for GC and STATUS, and where a runtime of 0.1.0 to 0.3.1 gave none.
    pub container_id: String,
    /// `CNI_NETNS`. Always there for ADD and CHECK.
    pub netns: Option<PathBuf>,
    /// `CNI_IFNAME`. Empty for GC and STATUS.
    pub ifname: String,
    /// `CNI_ARGS`, in order.
    pub args: Vec<(String, String)>,
    /// `CNI_ARGS` as it came, to hand it on.
    pub args_text: String,
    /// `CNI_PATH`, without empty entries.
    pub path: Vec<PathBuf>,
    /// Standard input.
    pub conf: NetworkConf,
}

/// The network configuration: the keys that the protocol defines. A plugin reads its own from `text`.
#[derive(Debug, Clone)]
pub struct NetworkConf {
    /// `cniVersion`; [`SpecVersion::UNSTATED`] where it is absent.
    pub version: SpecVersion,
    /// `name` of the network.
    pub name: String,
    /// `type`: name of the plugin.
    pub plugin_type: String,
    /// All of it, as it came.
    pub text: String,
    /// `prevResult` as it came; see [`crate::result`].
    pub prev_result: Option<Box<RawValue>>,
    /// `ipam` as it came.
    pub ipam: Option<Box<RawValue>>,
    /// `args`.
    pub args: Option<Value>,
    /// `runtimeConfig`: what the runtime gave for the capabilities that the plugin declares.
    pub runtime_config: Option<Value>,
    /// `cni.dev/valid-attachments` and its misnamed twin `cni.dev/attachments`, both together. `None`: the runtime
    /// named neither (libcni does so if called without a list; cnitool means "none is valid" by it).
    pub valid_attachments: Option<Vec<Attachment>>,
}

/// What GC is told to keep.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attachment {
    /// `CNI_CONTAINERID` of the ADD.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// `CNI_IFNAME` of the ADD.
    pub ifname: String,
}

impl Command {
    const ALL: [Self; 6] = [Self::Add, Self::Del, Self::Check, Self::Gc, Self::Status, Self::Version];

    /// The command that `CNI_COMMAND` holds; `None` if it is unset or empty.
    ///
    /// # Errors
    /// Code 4: it holds something else.
    pub fn from_env(env: &Env<'_>) -> Result<Option<Self>, CniError> {
        variable(env, "CNI_COMMAND").map(|text| text.parse()).transpose()
    }

    /// The text as in `CNI_COMMAND`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// The first version that has it. VERSION is answered in every one.
    pub const fn since(self) -> SpecVersion {
        match self {
            Self::Add | Self::Del | Self::Version => SpecVersion::V0_1_0,
            Self::Check => SpecVersion::V0_4_0,
            Self::Gc | Self::Status => SpecVersion::V1_1_0,
        }
    }

    /// The variables that must not be empty, by the specification's own text (skel also wants `CNI_PATH` everywhere,
    /// but a plugin that runs no other one has no use for it).
    fn required(self, version: SpecVersion) -> &'static [&'static str] {
        let id_is_optional = version < SpecVersion::V0_4_0;
        match self {
            Self::Add | Self::Check if id_is_optional => &["CNI_NETNS", "CNI_IFNAME"],
            Self::Add | Self::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
            Self::Del if id_is_optional => &["CNI_IFNAME"],
            Self::Del => &["CNI_CONTAINERID", "CNI_IFNAME"],
            Self::Gc => &["CNI_PATH"],
            Self::Status | Self::Version => &[],
        }
    }

    /// Whether it is about one attachment.
    const fn has_attachment(self) -> bool {
        matches!(self, Self::Add | Self::Del | Self::Check)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Command {
    type Err = CniError;

    fn from_str(text: &str) -> Result<Self, CniError> {
        Self::ALL.into_iter().find(|command| command.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            bad_environment(format!("CNI_COMMAND `{text}` is unknown, it is one of {known}"))
        })
    }
}

impl Invocation {
    /// Reads a call of `command`.
    ///
    /// # Errors
    /// Code 4: variables are missing (all are named) or malformed. Codes 1, 6 and 7: see [`NetworkConf::parse`].
    /// Code 1 also where the version of the configuration does not have the command.
    pub fn parse(command: Command, env: &Env<'_>, stdin: &[u8]) -> Result<Self, CniError> {
        let version = input_version(stdin);
        let missing: Vec<&str> =
            command.required(version).iter().copied().filter(|name| variable(env, name).is_none()).collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(bad_environment(format!("{command} needs the variables {missing}: unset or empty")));
        }
        let or_empty = |name| variable(env, name).unwrap_or_default();
        let (container_id, ifname) = if command.has_attachment() {
            let container_id = variable(env, "CNI_CONTAINERID");
            let ifname = or_empty("CNI_IFNAME");
            if let Some(id) = &container_id {
                check_container_id(id)?;
            }
            check_ifname(&ifname)?;
            (container_id.unwrap_or_default(), ifname)
        } else {
            (String::new(), String::new())
        };
        let args_text = or_empty("CNI_ARGS");
        let conf = NetworkConf::parse(stdin)?;
        if conf.version < command.since() {
            let msg = format!("{command} needs CNI version {} or later", command.since());
            let details = format!("the configuration of network `{}` is in {}", conf.name, conf.version);
            return Err(CniError::new(ErrorCode::IncompatibleVersion, msg).with_details(details));
        }
        Ok(Self {
            command,
            container_id,
            netns: variable(env, "CNI_NETNS").map(PathBuf::from),
            ifname,
            args: parse_args(&args_text, command)?,
            args_text,
            path: parse_path(&or_empty("CNI_PATH")),
            conf,
        })
    }
}

impl NetworkConf {
    /// Reads a configuration as a plugin gets it.
    ///
    /// # Errors
    /// Code 6: not a JSON object, or a key of the wrong kind, or twice the same key. Code 1: unknown `cniVersion`.
    /// Code 7: `name` or `type` is missing or malformed.
    pub fn parse(stdin: &[u8]) -> Result<Self, CniError> {
        let text = std::str::from_utf8(stdin)
            .map_err(|error| undecodable("network configuration on standard input is not UTF-8", &error))?;
        let object = Object::parse(text).map_err(|error| {
            undecodable("network configuration on standard input is not a JSON object", &error)
        })?;
        let version = match object.string("cniVersion")? {
            Some(version) if !version.is_empty() => version.parse()?,
            _ => SpecVersion::UNSTATED,
        };
        let name = object.string("name")?.unwrap_or_default();
        check_network_name(&name)?;
        let plugin_type = object.string("type")?.unwrap_or_default();
        if plugin_type.is_empty() {
            return Err(CniError::new(
                ErrorCode::BadConfig,
                format!("network `{name}` has a plugin without `type`"),
            ));
        }
        let keep =
            [object.attachments("cni.dev/valid-attachments")?, object.attachments("cni.dev/attachments")?];
        Ok(Self {
            version,
            name,
            plugin_type,
            text: text.to_owned(),
            prev_result: object.get("prevResult").map(ToOwned::to_owned),
            ipam: object.get("ipam").map(ToOwned::to_owned),
            args: object.value("args")?,
            runtime_config: object.value("runtimeConfig")?,
            valid_attachments: merge(keep),
        })
    }

    /// `ipam.type`: the plugin that hands out addresses. `None` if there is no `ipam`, or no type in it.
    ///
    /// # Errors
    /// Code 6: `ipam` is not an object, or its type not a string.
    pub fn ipam_type(&self) -> Result<Option<String>, CniError> {
        let Some(ipam) = &self.ipam else { return Ok(None) };
        let object = Object::parse(ipam.get())
            .map_err(|error| undecodable("`ipam` of the network configuration is not an object", &error))?;
        Ok(object.string("type")?.filter(|name| !name.is_empty()))
    }

    /// `delegate`: the configurations of plugins to be run by this one, in order; one that is no list is the only one.
    ///
    /// # Errors
    /// Code 6: it is neither an object nor a list of them.
    pub fn delegates(&self) -> Result<Vec<Box<RawValue>>, CniError> {
        let object = Object::parse(&self.text)
            .map_err(|error| undecodable("network configuration is not a JSON object", &error))?;
        let Some(delegate) = object.get("delegate") else { return Ok(Vec::new()) };
        if Object::parse(delegate.get()).is_ok() {
            return Ok(vec![delegate.to_owned()]);
        }
        let list = object.read::<Vec<Box<RawValue>>>("delegate", "a plugin or a list of plugins")?;
        Ok(list.unwrap_or_default())
    }
}

/// The `cniVersion` of standard input, if that much of it can be read.
pub(crate) fn peek_version(stdin: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Peek {
        cni_version: Option<String>,
    }
    serde_json::from_slice::<Peek>(stdin).ok()?.cni_version.filter(|version| !version.is_empty())
}

/// The version to judge and answer a call in before its configuration has been read: that of the input if it is one we
/// know, and the newest for input that is no JSON at all.
pub(crate) fn input_version(stdin: &[u8]) -> SpecVersion {
    match peek_version(stdin) {
        Some(text) => text.parse().unwrap_or(SpecVersion::LATEST),
        None if serde_json::from_slice::<IgnoredAny>(stdin).is_ok() => SpecVersion::UNSTATED,
        None => SpecVersion::LATEST,
    }
}

/// A container ID is a letter or digit, then letters, digits, `_`, `.`, `-`.
///
/// # Errors
/// Code 4.
pub fn check_container_id(id: &str) -> Result<(), CniError> {
    if is_name(id) {
        return Ok(());
    }
    Err(bad_environment(format!("CNI_CONTAINERID `{id}` is not {NAME_SYNTAX}")))
}

/// An interface name has 1 to 15 bytes, is not `.` or `..`, and has no `/`, `:` or blank.
///
/// # Errors
/// Code 4.
pub fn check_ifname(name: &str) -> Result<(), CniError> {
    let clean = |c: char| c != '/' && c != ':' && c != '\0' && !c.is_whitespace();
    if (1..=15).contains(&name.len()) && name != "." && name != ".." && name.chars().all(clean) {
        return Ok(());
    }
    let syntax = "1 to 15 bytes without `/`, `:` or blanks, and not `.` or `..`";
    Err(bad_environment(format!("CNI_IFNAME `{name}` is not {syntax}")))
}

/// A network name has the syntax of a container ID.
///
/// # Errors
/// Code 7.
pub fn check_network_name(name: &str) -> Result<(), CniError> {
    if is_name(name) {
        return Ok(());
    }
    let msg = if name.is_empty() {
        "network configuration has no `name`".to_owned()
    } else {
        format!("network name `{name}` is not {NAME_SYNTAX}")
    };
    Err(CniError::new(ErrorCode::BadConfig, msg))
}

const NAME_SYNTAX: &str = "a letter or digit, then letters, digits, `_`, `.`, `-`";

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn variable(env: &Env<'_>, name: &str) -> Option<String> {
    env(name).filter(|value| !value.is_empty())
}

/// `K=V;K=V`. DEL must not fail where ADD did, or a container could never be removed: there, and where no attachment
/// is meant, pairs that cannot be read are left out.
fn parse_args(text: &str, command: Command) -> Result<Vec<(String, String)>, CniError> {
    let lenient = !matches!(command, Command::Add | Command::Check);
    let mut args = Vec::new();
    for pair in text.split(';').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => args.push((key.to_owned(), value.to_owned())),
            _ if lenient => {}
            _ => return Err(bad_environment(format!("CNI_ARGS has `{pair}`, which is not KEY=VALUE"))),
        }
    }
    Ok(args)
}

fn parse_path(text: &str) -> Vec<PathBuf> {
    text.split(':').filter(|dir| !dir.is_empty()).map(PathBuf::from).collect()
}

fn merge(lists: [Option<Vec<Attachment>>; 2]) -> Option<Vec<Attachment>> {
    let [Some(mut all), Some(more)] = lists else {
        let [first, second] = lists;
        return first.or(second);
    };
    for attachment in more {
        if !all.contains(&attachment) {
            all.push(attachment);
        }
    }
    Some(all)
}

fn bad_environment(msg: String) -> CniError {
    CniError::new(ErrorCode::BadEnvironment, msg)
}

fn undecodable(msg: &str, error: &dyn fmt::Display) -> CniError {
    CniError::new(ErrorCode::Decode, msg).with_details(error.to_string())
}
