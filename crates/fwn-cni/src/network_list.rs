//! Network configurations as they lie in `/etc/cni/net.d`: found by name, read, and turned into what each plugin gets.
//!
//! The rules are libcni's: lists (`*.conflist`) before single plugins (`*.conf`, `*.json`), files in order of name, the
//! first with the network's name wins, and a file that cannot be read on the way is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::Value;
use serde_json::value::RawValue;

use crate::invocation::check_network_name;
use crate::object::{BadMember, Object};
use crate::version::{SpecVersion, UnknownVersion};

/// A network: its name, version and plugins in order.
#[derive(Debug, Clone)]
pub struct NetworkList {
    /// `name`.
    pub name: String,
    /// The version to speak: the newest of `cniVersion` and `cniVersions` that this crate knows.
    pub version: SpecVersion,
    /// `disableCheck`: CHECK is not to be called.
    pub disable_check: bool,
    /// `disableGC`: GC is not to be called.
    pub disable_gc: bool,
    /// The plugins, first to last.
    pub plugins: Vec<PluginConf>,
    /// The configuration as it was read.
    pub text: String,
}

/// One plugin of a network.
#[derive(Debug, Clone)]
pub struct PluginConf {
    /// `type`.
    pub plugin_type: String,
    /// The `capabilities` that are `true`.
    pub capabilities: Vec<String>,
    /// The configuration as written.
    pub text: String,
}

/// Why a network cannot be had from its files.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// A file or directory cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not a JSON object.
    #[error("network configuration cannot be decoded")]
    Json {
        /// Where and what.
        source: serde_json::Error,
    },
    /// A key is of the wrong kind.
    #[error("`{key}` is not {kind}: {found}")]
    Member {
        /// The key.
        key: String,
        /// What is wanted.
        kind: &'static str,
        /// What is there.
        found: String,
    },
    /// It asks for a version that does not exist.
    #[error(transparent)]
    Version(#[from] UnknownVersion),
    /// It is JSON but not a network.
    #[error("{reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
    },
    /// An error in this file.
    #[error("network file `{}` cannot be used", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What.
        source: Box<ListError>,
    },
    /// No file has it.
    #[error("no network `{name}` in `{}`, {}", dir.display(), others(.known))]
    NotFound {
        /// Its name.
        name: String,
        /// Where it was searched.
        dir: PathBuf,
        /// What there is; a single plugin's file counts as a network.
        known: BTreeSet<String>,
    },
}

impl NetworkList {
    /// Finds a network in a directory. A list also gets the plugins of the folder of its name (`NAME/*.conf`), unless
    /// it says `loadOnlyInlinedPlugins`.
    ///
    /// # Errors
    /// It is not there, or a file on the way cannot be read.
    pub fn load(dir: &Path, name: &str) -> Result<Self, ListError> {
        let mut known = BTreeSet::new();
        for path in conf_files(dir, &["conflist"])? {
            let list = read_file(&path).and_then(|text| load_list(dir, &text)).map_err(in_file(&path))?;
            if list.name == name {
                return Ok(list);
            }
            known.insert(list.name);
        }
        for path in conf_files(dir, &["conf", "json"])? {
            let list = read_file(&path).and_then(|text| Self::parse_single(&text)).map_err(in_file(&path))?;
            if list.name == name {
                return Ok(list);
            }
            known.insert(list.name);
        }
        Err(ListError::NotFound { name: name.to_owned(), dir: dir.to_owned(), known })
    }

    /// Reads a list: an object with `plugins`.
    ///
    /// # Errors
    /// It is none.
    pub fn parse_list(text: &str) -> Result<Self, ListError> {
        let (list, _) = parse_open_list(text)?;
        list.with_plugins()
    }

    /// Reads a single plugin's configuration, as before 1.0.0, as a list of one.
    ///
    /// # Errors
    /// It is none.
    pub fn parse_single(text: &str) -> Result<Self, ListError> {
        let object = Object::parse(text)?;
        Ok(Self {
            name: network_name(&object)?,
            version: select_version(&object)?,
            disable_check: false,
            disable_gc: false,
            plugins: vec![PluginConf::parse(text)?],
            text: text.to_owned(),
        })
    }

    fn with_plugins(self) -> Result<Self, ListError> {
        if self.plugins.is_empty() {
            return Err(ListError::Invalid { reason: format!("network `{}` has no plugins", self.name) });
        }
        Ok(self)
    }
}

impl PluginConf {
    /// Reads one plugin of a list.
    ///
    /// # Errors
    /// It is not an object, or has no `type`.
    pub fn parse(text: &str) -> Result<Self, ListError> {
        let object = Object::parse(text)?;
        let plugin_type = object.string("type")?.filter(|plugin| !plugin.is_empty());
        let plugin_type = plugin_type.ok_or_else(|| ListError::Invalid {
            reason: "a plugin of the network has no `type`".to_owned(),
        })?;
        let declared: Option<BTreeMap<String, Option<bool>>> =
            object.read("capabilities", "an object of `true` and `false`")?;
        let declared = declared.unwrap_or_default().into_iter();
        let capabilities = declared.filter(|(_, on)| *on == Some(true)).map(|(name, _)| name).collect();
        Ok(Self { plugin_type, capabilities, text: text.to_owned() })
    }
}

/// A list that may have no plugins of its own, and whether it takes more from its folder.
fn parse_open_list(text: &str) -> Result<(NetworkList, bool), ListError> {
    let object = Object::parse(text)?;
    let name = network_name(&object)?;
    let only_inlined = switch(&object, "loadOnlyInlinedPlugins")?;
    let inlined: Option<Vec<Box<RawValue>>> = object.read("plugins", "a list of plugins")?;
    match &inlined {
        None if only_inlined => {
            let reason = format!("network `{name}` says `loadOnlyInlinedPlugins` but has no `plugins`");
            return Err(ListError::Invalid { reason });
        }
        Some(plugins) if plugins.is_empty() => {
            return Err(ListError::Invalid { reason: format!("`plugins` of network `{name}` is empty") });
        }
        _ => {}
    }
    let plugins = inlined.iter().flatten().map(|plugin| PluginConf::parse(plugin.get()));
    let list = NetworkList {
        version: select_version(&object)?,
        disable_check: switch(&object, "disableCheck")?,
        disable_gc: switch(&object, "disableGC")?,
        plugins: plugins.collect::<Result<_, _>>()?,
        text: text.to_owned(),
        name,
    };
    Ok((list, !only_inlined))
}

fn load_list(dir: &Path, text: &str) -> Result<NetworkList, ListError> {
    let (mut list, more) = parse_open_list(text)?;
    if more {
        for path in conf_files(&dir.join(&list.name), &["conf"])? {
            let text = read_file(&path).map_err(in_file(&path))?;
            list.plugins.push(PluginConf::parse(&text).map_err(in_file(&path))?);
        }
    }
    list.with_plugins()
}

/// The name, checked: it becomes part of file names.
fn network_name(object: &Object<'_>) -> Result<String, ListError> {
    let name = object.string("name")?.unwrap_or_default();
    check_network_name(&name).map_err(|error| ListError::Invalid { reason: error.msg })?;
    Ok(name)
}

/// The newest of `cniVersion` and `cniVersions` that we speak. In `cniVersions` newer ones than ours are no error.
fn select_version(object: &Object<'_>) -> Result<SpecVersion, ListError> {
    let stated = object.string("cniVersion")?.filter(|text| !text.is_empty());
    let Some(listed) = object.read::<Vec<String>>("cniVersions", "a list of versions")? else {
        return Ok(stated.map_or(Ok(SpecVersion::UNSTATED), |text| text.parse())?);
    };
    let mut newest = None;
    for text in stated.iter().chain(&listed) {
        if !is_from_the_future(text) {
            newest = newest.max(Some(text.parse::<SpecVersion>()?));
        }
    }
    match (newest, stated.or_else(|| listed.into_iter().next())) {
        (Some(version), _) => Ok(version),
        (None, Some(text)) => Err(UnknownVersion { text }.into()),
        (None, None) => Ok(SpecVersion::UNSTATED),
    }
}

/// Whether the text is a well-formed version after our newest.
fn is_from_the_future(text: &str) -> bool {
    let numbers =
        |text: &str| text.split('.').map(|part| part.parse::<u32>().ok()).collect::<Option<Vec<u32>>>();
    numbers(text)
        .is_some_and(|version| version.len() == 3 && Some(version) > numbers(SpecVersion::LATEST.as_str()))
}

/// A boolean; libcni also takes it as a string.
fn switch(object: &Object<'_>, key: &str) -> Result<bool, ListError> {
    let kind = "`true` or `false`";
    match object.value(key)? {
        None => Ok(false),
        Some(Value::Bool(on)) => Ok(on),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => Err(ListError::Member { key: key.to_owned(), kind, found: format!("`{other}`") }),
    }
}

/// The files with one of these extensions, in order of name; none if there is no such directory.
fn conf_files(dir: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, ListError> {
    let cannot = |source| ListError::Read { path: dir.to_owned(), source };
    let entries = match dir.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(cannot)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(cannot)?;
        let path = entry.path();
        let wanted = path.extension().is_some_and(|found| extensions.iter().any(|wanted| found == *wanted));
        if wanted && !entry.file_type().map_err(cannot)?.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What there is in place of a network that is not there.
fn others(known: &BTreeSet<String>) -> String {
    if known.is_empty() {
        return "nor any other".to_owned();
    }
    let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    format!("only {}", names.join(", "))
}

fn read_file(path: &Path) -> Result<String, ListError> {
    fs::read_to_string(path).map_err(|source| ListError::Read { path: path.to_owned(), source })
}

/// Adds the file to an error that does not name one.
fn in_file(path: &Path) -> impl Fn(ListError) -> ListError {
    move |error| match error {
        named @ (ListError::Read { .. } | ListError::File { .. }) => named,
        error => ListError::File { path: path.to_owned(), source: Box::new(error) },
    }
}

impl From<serde_json::Error> for ListError {
    fn from(source: serde_json::Error) -> Self {
        Self::Json { source }
    }
}

impl From<BadMember> for ListError {
    fn from(BadMember { key, kind, found }: BadMember) -> Self {
        Self::Member { key, kind, found }
    }
}
