//! Delegation: plugins that ours runs before its own work, for a runtime that cannot chain.
//!
//! Each gets its own part of our configuration as a plugin of a list would, with the network's name and version; beside
//! it what the runtime handed to us: `args`, `runtimeConfig`, the environment. What they are asked with and what the
//! last of them answers is there to be kept ([`Delegated`]), so that DEL needs neither the configuration nor a runtime
//! that keeps results.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::CniError;
use crate::exec::{Executor, PluginCall, find_plugin};
use crate::invocation::{Command, Invocation, NetworkConf};
use crate::network_list::{ListError, PluginConf};
use crate::object::{Object, json_text, merge};
use crate::request::Request;
use crate::result::{AddResult, complete, pass_on, raw_result};
use crate::version::SpecVersion;

/// Plugins to run, and for whom.
pub struct Delegates<'a> {
    exec: &'a dyn Executor,
    /// But for the command.
    call: PluginCall,
    list: Vec<Delegate>,
}

/// What an ADD by delegates leaves to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegated {
    /// What each was asked with, in order, without `prevResult`.
    requests: Vec<String>,
    /// What the last one answered. It names its version.
    result: String,
}

/// One plugin, as it is asked.
#[derive(Debug)]
struct Delegate {
    plugin: String,
    version: SpecVersion,
    /// Standard input without `prevResult`.
    request: String,
}

impl<'a> Delegates<'a> {
    /// Those of our configuration ([`NetworkConf::delegates`]). `args` is added to the runtime's where that does not
    /// have it; what a delegate says itself wins over both.
    ///
    /// # Errors
    /// Code 6 or 7: one is no plugin's configuration. Code 1: it wants a version that does not exist.
    pub fn of_conf(
        exec: &'a dyn Executor,
        invocation: &Invocation,
        args: Option<&Value>,
    ) -> Result<Self, CniError> {
        let confs = invocation.conf.delegates()?;
        let list = confs.iter().map(|conf| Delegate::new(conf.get(), &invocation.conf, args));
        let list = list.collect::<Result<_, _>>()?;
        Ok(Self { exec, call: PluginCall::delegated(invocation, invocation.command), list })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Those that made what is kept, to be called as `call` says.
    ///
    /// # Errors
    /// Code 6 or 7: what is kept is damaged.
    pub fn of_kept(exec: &'a dyn Executor, kept: &Delegated, call: PluginCall) -> Result<Self, CniError> {
        let list = kept.requests.iter().map(|request| Delegate::asked(request)).collect::<Result<_, _>>()?;
        Ok(Self { exec, call, list })
    }

    /// Looks whether all of them are there to be run.
    ///
    /// # Errors
    /// Code 102: the first that is not. Code 7: its name is none.
    pub fn locate(&self) -> Result<(), CniError> {
        self.list.iter().try_for_each(|delegate| {
            find_plugin(&delegate.plugin, &self.call.path).map(|_| ()).map_err(Into::into)
        })
    }

    /// ADD by each in order, each with the result of the one before. If one fails, DEL is called for it and, in
    /// reverse, for those before it.
    ///
    /// # Errors
    /// The plugin's own, as it is; what fails in undoing is added to its details. Code 6: its result cannot be read.
    pub fn add(&self) -> Result<Delegated, CniError> {
        let mut result: Option<String> = None;
        for (at, delegate) in self.list.iter().enumerate() {
            match self.add_one(delegate, result.as_deref()) {
                Ok(printed) => result = Some(printed),
                Err(error) => {
                    let called = self.list.get(..=at).unwrap_or(&self.list);
                    return Err(error.undone(self.del_all(called, result.as_deref())));
                }
            }
        }
        let requests = self.list.iter().map(|delegate| delegate.request.clone()).collect();
        let empty = || AddResult::default().render(SpecVersion::LATEST);
        Ok(Delegated { requests, result: result.unwrap_or_else(empty) })
    }

    /// DEL by each in reverse, with the result that was kept, or else the one that the runtime hands to us, if any.
    /// Goes on after errors.
    ///
    /// # Errors
    /// All of them as one, with the code of the first.
    pub fn del(&self, kept: Option<&Delegated>, conf: &NetworkConf) -> Result<(), CniError> {
        let handed = || {
            let handed = conf.prev_result.as_ref().map(|prev| complete(prev, conf.version)).transpose();
            // DEL must work without it
            handed.unwrap_or_else(|error| {
                log::warn!("prevResult is left out: {error}");
                None
            })
        };
        let result = kept.map(|kept| kept.result.clone()).or_else(handed);
        self.del_all(&self.list, result.as_deref())
    }

    /// CHECK by each in order whose version has it, with the result that the runtime hands to us.
    ///
    /// # Errors
    /// The first plugin's own.
    pub fn check(&self, conf: &NetworkConf) -> Result<(), CniError> {
        let result = conf.prev_result.as_ref().map(|prev| complete(prev, conf.version)).transpose()?;
        self.that_have(Command::Check)
            .try_for_each(|delegate| self.run(Command::Check, delegate, result.as_deref()).map(|_| ()))
    }

    /// GC by each whose version has it. Goes on after errors.
    ///
    /// # Errors
    /// All of them as one, with the code of the first.
    pub fn gc(&self) -> Result<(), CniError> {
        let errors = self.that_have(Command::Gc).filter_map(|one| self.run(Command::Gc, one, None).err());
        CniError::join(errors.collect()).map_or(Ok(()), Err)
    }

    /// STATUS by each in order whose version has it.
    ///
    /// # Errors
    /// The first plugin's own.
    pub fn status(&self) -> Result<(), CniError> {
        self.that_have(Command::Status)
            .try_for_each(|delegate| self.run(Command::Status, delegate, None).map(|_| ()))
    }

    fn that_have(&self, command: Command) -> impl Iterator<Item = &Delegate> {
        self.list.iter().filter(move |delegate| delegate.version >= command.since())
    }

    fn add_one(&self, delegate: &Delegate, prev: Option<&str>) -> Result<String, CniError> {
        let printed = self.run(Command::Add, delegate, prev)?;
        let read = || {
            AddResult::parse(&printed, delegate.version)?;
            complete(&raw_result(&printed)?, delegate.version)
        };
        read().map_err(|error: CniError| error.within(&format!("delegate `{}`", delegate.plugin)))
    }

    fn del_all(&self, list: &[Delegate], result: Option<&str>) -> Result<(), CniError> {
        let errors = list.iter().rev().filter_map(|delegate| {
            // before, DEL was not told
            let result = result.filter(|_| delegate.version >= SpecVersion::V0_4_0);
            self.run(Command::Del, delegate, result).err()
        });
        CniError::join(errors.collect()).map_or(Ok(()), Err)
    }

    fn run(&self, command: Command, delegate: &Delegate, prev: Option<&str>) -> Result<String, CniError> {
        let request = delegate.request_after(prev)?;
        let call = PluginCall { command, ..self.call.clone() };
        Ok(self.exec.run(&delegate.plugin, &call, &request)?)
    }
}

impl Delegated {
    /// What the last delegate answered, read.
    ///
    /// # Errors
    /// Code 6 or 1: it cannot be read.
    pub fn result(&self) -> Result<AddResult, CniError> {
        AddResult::parse(&self.result, SpecVersion::LATEST)
    }

    /// The same in this version, as it came if that is the version that it is in.
    ///
    /// # Errors
    /// As [`Delegated::result`].
    pub fn result_in(&self, version: SpecVersion) -> Result<String, CniError> {
        pass_on(&raw_result(&self.result)?, version, version)
    }
}

impl Delegate {
    fn new(conf: &str, network: &NetworkConf, more_args: Option<&Value>) -> Result<Self, CniError> {
        let plugin = PluginConf::parse(conf)?;
        let own = Object::parse(conf).map_err(ListError::from)?;
        let ours = Object::parse(&network.text).map_err(ListError::from)?;
        let version = match own.string("cniVersion")? {
            Some(version) if !version.is_empty() => version.parse()?,
            _ => network.version,
        };
        let more_args = more_args.map(json_text);
        let args = [own.get("args"), ours.get("args")].into_iter().flatten().map(RawValue::get);
        let args = args.chain(more_args.as_deref()).map(str::to_owned).reduce(|all, more| merge(&all, &more));
        let runtime_config = ours.get("runtimeConfig").and_then(|config| match own.get("capabilities") {
            Some(_) => only(config.get(), &plugin.capabilities),
            None => Some(config.get().to_owned()),
        });
        let request = Request {
            name: &network.name,
            version,
            args: args.as_deref(),
            runtime_config: runtime_config.as_deref(),
            prev_result: None,
            valid: network.valid_attachments.as_deref(),
        };
        Ok(Self { plugin: plugin.plugin_type, version, request: request.render(conf)? })
    }

    /// The one that was asked with `request`.
    fn asked(request: &str) -> Result<Self, CniError> {
        let conf = NetworkConf::parse(request.as_bytes())?;
        Ok(Self { plugin: conf.plugin_type, version: conf.version, request: request.to_owned() })
    }

    /// The request with this result before it, in the delegate's version.
    fn request_after(&self, prev: Option<&str>) -> Result<String, CniError> {
        let Some(prev) = prev else { return Ok(self.request.clone()) };
        let prev = pass_on(&raw_result(prev)?, self.version, self.version)?;
        let prev = raw_result(&prev)?;
        let mut object = Object::parse(&self.request).map_err(ListError::from)?;
        object.set_last("prevResult", &prev);
        Ok(object.render())
    }
}

/// Of `runtimeConfig` what these capabilities are about, if there is any of it.
fn only(config: &str, capabilities: &[String]) -> Option<String> {
    // what is no object, no plugin will take for one
    let mut config = Object::parse(config).ok()?;
    config.remove(|key| !capabilities.iter().any(|name| name == key));
    Some(config.render()).filter(|rest| rest != "{}")
}
