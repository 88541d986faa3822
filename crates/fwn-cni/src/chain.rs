//! A runtime's side of the protocol: all plugins of a network, called in order with each other's results.
//!
//! Does what libcni and cnitool do, with the cache in the same place and form, so that one can delete what the other
//! has added. Where libcni leaves a duty to the runtime (DEL after a failed ADD, DEL of all plugins even if one fails)
//! it is done here. Nothing runs in parallel.

use std::path::PathBuf;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::cache::Cache;
use crate::error::{CniError, ErrorCode};
use crate::exec::{Executor, PluginCall};
use crate::invocation::{Attachment, Command, check_container_id, check_ifname, check_network_name};
use crate::network_list::{NetworkList, PluginConf};
use crate::object::json_text;
use crate::request::Request;
use crate::result::pass_on;
use crate::version::SpecVersion;

/// Where libcni caches results.
pub const DEFAULT_CACHE_DIR: &str = "/var/lib/cni";

/// One attachment: what differs between two of the same network.
#[derive(Debug, Clone, Default)]
pub struct RuntimeConf {
    /// Identifies the container.
    pub container_id: String,
    /// Path of its network namespace.
    pub netns: Option<PathBuf>,
    /// Name of the interface in it.
    pub ifname: String,
    /// `CNI_ARGS`.
    pub args: Vec<(String, String)>,
    /// Values for capabilities; a plugin gets those that it declares, as `runtimeConfig`.
    pub capability_args: Map<String, Value>,
}

/// Runs the plugins of networks.
pub struct Chain<'a> {
    /// What runs them.
    pub exec: &'a dyn Executor,
    /// `CNI_PATH`.
    pub path: Vec<PathBuf>,
    /// Results are kept in `results` below it; see [`DEFAULT_CACHE_DIR`].
    pub cache_dir: PathBuf,
}

impl Chain<'_> {
    /// ADD by every plugin in order; gives the last result, in the version of the list, and keeps it for the other
    /// commands. If a plugin fails, DEL is called for all of them in reverse, those that were never reached too
    /// (libcni leaves that to the runtime); what fails then is added to the details of the error.
    ///
    /// # Errors
    /// The plugin's own, with its name before the message. Code 5: the result cannot be kept.
    pub fn add(&self, list: &NetworkList, rt: &RuntimeConf) -> Result<Box<RawValue>, CniError> {
        self.add_after(list, rt, None)
    }

    /// The same in a namespace where somebody else has made the interface: the first plugin gets `prev`, in the version
    /// of the list, as the result of a plugin before it.
    ///
    /// # Errors
    /// As [`Chain::add`].
    pub fn add_after(
        &self,
        list: &NetworkList,
        rt: &RuntimeConf,
        prev: Option<Box<RawValue>>,
    ) -> Result<Box<RawValue>, CniError> {
        check_names(list, rt)?;
        self.add_all(list, rt, prev).map_err(|error| error.undone(self.del(list, rt)))
    }

    /// DEL by every plugin in reverse, with the kept result (from 0.4.0). Goes on after errors; the kept result is
    /// dropped if there was none, and stays for another try if there was one.
    ///
    /// # Errors
    /// All of them as one, with the code of the first.
    pub fn del(&self, list: &NetworkList, rt: &RuntimeConf) -> Result<(), CniError> {
        check_names(list, rt)?;
        let prev = if list.version < SpecVersion::V0_4_0 { Ok(None) } else { self.kept_result(list, rt) };
        // DEL must work without it
        let prev = prev.unwrap_or_else(|error| {
            log::warn!("network `{}`: kept result is unusable and left out: {error}", list.name);
            None
        });
        let plugins = list.plugins.iter().rev();
        let errors = plugins.filter_map(|plugin| {
            let additions = Additions { prev: prev.as_deref(), rt: Some(rt), valid: None };
            self.call(Command::Del, list, plugin, &additions).err()
        });
        match CniError::join(errors.collect()) {
            Some(error) => Err(error),
            None => self.cache().remove(&list.name, rt).map_err(|error| cache_error("dropped", &error)),
        }
    }

    /// Whether an ADD of this attachment succeeded and no DEL has since.
    ///
    /// # Errors
    /// Code 5: what is kept cannot be read. Code 4: a name is malformed.
    pub fn is_known(&self, list: &NetworkList, rt: &RuntimeConf) -> Result<bool, CniError> {
        check_names(list, rt)?;
        let kept = self.cache().load(&list.name, rt).map_err(|error| cache_error("read", &error))?;
        Ok(kept.is_some())
    }

    /// CHECK by every plugin in order, with the kept result. Success if the list says `disableCheck`.
    ///
    /// # Errors
    /// Code 1: the list's version has no CHECK. Code 3: nothing was kept for this attachment. Else the first plugin's
    /// error.
    pub fn check(&self, list: &NetworkList, rt: &RuntimeConf) -> Result<(), CniError> {
        check_names(list, rt)?;
        if list.version < Command::Check.since() {
            let msg =
                format!("network `{}` is in CNI version {}, which has no CHECK", list.name, list.version);
            return Err(CniError::new(ErrorCode::IncompatibleVersion, msg));
        }
        if list.disable_check {
            return Ok(());
        }
        let prev = self.kept_result(list, rt)?.ok_or_else(|| {
            let (id, ifname) = (&rt.container_id, &rt.ifname);
            let msg = format!(
                "no ADD of container `{id}`, interface `{ifname}` to network `{}` is known",
                list.name
            );
            CniError::new(ErrorCode::UnknownContainer, msg)
        })?;
        let additions = Additions { prev: Some(&prev), rt: Some(rt), valid: None };
        list.plugins
            .iter()
            .try_for_each(|plugin| self.call(Command::Check, list, plugin, &additions).map(|_| ()))
    }

    /// DEL for every kept attachment of the network that is not in `valid`, then GC by every plugin (from 1.1.0).
    /// `None` means that none is valid, and plugins are not told a list, as cnitool does. Nothing is done if the list
    /// says `disableGC`.
    ///
    /// # Errors
    /// All of them as one, with the code of the first.
    pub fn gc(&self, list: &NetworkList, valid: Option<&[Attachment]>) -> Result<(), CniError> {
        if list.disable_gc {
            return Ok(());
        }
        let kept = self.cache().attachments(&list.name).map_err(|error| cache_error("read", &error))?;
        let is_valid = |rt: &RuntimeConf| {
            valid
                .unwrap_or_default()
                .iter()
                .any(|a| a.container_id == rt.container_id && a.ifname == rt.ifname)
        };
        let mut errors = Vec::new();
        for rt in kept.iter().filter(|rt| !is_valid(rt)) {
            let stale = format!("stale attachment `{}` `{}`", rt.container_id, rt.ifname);
            errors.extend(self.del(list, rt).err().map(|error| error.within(&stale)));
        }
        if list.version >= Command::Gc.since() {
            let additions = Additions { prev: None, rt: None, valid };
            let calls = list.plugins.iter().map(|plugin| self.call(Command::Gc, list, plugin, &additions));
            errors.extend(calls.filter_map(Result::err));
        }
        CniError::join(errors).map_or(Ok(()), Err)
    }

    /// STATUS by every plugin in order. Success below 1.1.0, which has no STATUS.
    ///
    /// # Errors
    /// The first plugin's.
    pub fn status(&self, list: &NetworkList) -> Result<(), CniError> {
        if list.version < Command::Status.since() {
            return Ok(());
        }
        let additions = Additions { prev: None, rt: None, valid: None };
        list.plugins
            .iter()
            .try_for_each(|plugin| self.call(Command::Status, list, plugin, &additions).map(|_| ()))
    }

    fn add_all(
        &self,
        list: &NetworkList,
        rt: &RuntimeConf,
        mut prev: Option<Box<RawValue>>,
    ) -> Result<Box<RawValue>, CniError> {
        for plugin in &list.plugins {
            let additions = Additions { prev: prev.as_deref(), rt: Some(rt), valid: None };
            let printed = self.call(Command::Add, list, plugin, &additions)?;
            let result = in_version(&printed, list.version)
                .map_err(|error| error.within(&failed(plugin, Command::Add)))?;
            prev = Some(result);
        }
        let result = prev.ok_or_else(|| {
            CniError::new(ErrorCode::BadConfig, format!("network `{}` has no plugins", list.name))
        })?;
        self.cache().store(list, rt, &result).map_err(|error| cache_error("written", &error))?;
        Ok(result)
    }

    fn call(
        &self,
        command: Command,
        list: &NetworkList,
        plugin: &PluginConf,
        additions: &Additions<'_>,
    ) -> Result<String, CniError> {
        let run = || {
            let request = request(list, plugin, additions)?;
            let rt = additions.rt.cloned().unwrap_or_default();
            let args: Vec<String> = rt.args.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let call = PluginCall {
                command,
                container_id: rt.container_id,
                netns: rt.netns,
                ifname: rt.ifname,
                args: args.join(";"),
                path: self.path.clone(),
            };
            Ok(self.exec.run(&plugin.plugin_type, &call, &request)?)
        };
        run().map_err(|error: CniError| error.within(&failed(plugin, command)))
    }

    /// The kept result in the version of the list, which may have changed meanwhile.
    fn kept_result(&self, list: &NetworkList, rt: &RuntimeConf) -> Result<Option<Box<RawValue>>, CniError> {
        let kept = self.cache().load(&list.name, rt).map_err(|error| cache_error("read", &error))?;
        kept.map(|kept| in_version(kept.get(), list.version)).transpose()
    }

    fn cache(&self) -> Cache<'_> {
        Cache { dir: &self.cache_dir }
    }
}

/// What a plugin gets beside its own configuration.
struct Additions<'a> {
    prev: Option<&'a RawValue>,
    /// `None` for commands that are about no attachment.
    rt: Option<&'a RuntimeConf>,
    valid: Option<&'a [Attachment]>,
}

/// The configuration as the plugin gets it.
fn request(list: &NetworkList, plugin: &PluginConf, additions: &Additions<'_>) -> Result<String, CniError> {
    let capabilities: Map<String, Value> = plugin
        .capabilities
        .iter()
        .filter_map(|name| Some((name.clone(), additions.rt?.capability_args.get(name)?.clone())))
        .collect();
    let runtime_config = (!capabilities.is_empty()).then(|| json_text(&capabilities));
    let request = Request {
        name: &list.name,
        version: list.version,
        args: None,
        runtime_config: runtime_config.as_deref(),
        prev_result: additions.prev,
        valid: additions.valid,
    };
    request.render(&plugin.text)
}

/// What a plugin printed, in the version of the list.
fn in_version(printed: &str, version: SpecVersion) -> Result<Box<RawValue>, CniError> {
    let unreadable = |error: serde_json::Error| {
        CniError::new(ErrorCode::Decode, "result cannot be read").with_details(error.to_string())
    };
    let printed = RawValue::from_string(printed.to_owned()).map_err(unreadable)?;
    RawValue::from_string(pass_on(&printed, version, version)?).map_err(unreadable)
}

fn check_names(list: &NetworkList, rt: &RuntimeConf) -> Result<(), CniError> {
    check_network_name(&list.name)?;
    check_container_id(&rt.container_id)?;
    check_ifname(&rt.ifname)
}

fn failed(plugin: &PluginConf, command: Command) -> String {
    format!("plugin `{}` failed ({command})", plugin.plugin_type)
}

fn cache_error(what: &str, error: &std::io::Error) -> CniError {
    CniError::new(ErrorCode::Io, format!("result of ADD cannot be {what}")).with_details(error.to_string())
}
