//! What a plugin gets on standard input: its own configuration, with the order of keys and all values as written;
//! without what only a runtime may say; with the network's name and version and what the command brings.

use serde_json::value::RawValue;

use crate::error::CniError;
use crate::invocation::Attachment;
use crate::network_list::ListError;
use crate::object::{Object, json_raw};
use crate::version::SpecVersion;

/// What is put into a plugin's own configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// `name` of the network.
    pub(crate) name: &'a str,
    /// The version to speak.
    pub(crate) version: SpecVersion,
    /// `args`, in place of the plugin's own.
    pub(crate) args: Option<&'a str>,
    /// `runtimeConfig`
    pub(crate) runtime_config: Option<&'a str>,
    /// `prevResult`
    pub(crate) prev_result: Option<&'a RawValue>,
    /// `cni.dev/valid-attachments`
    pub(crate) valid: Option<&'a [Attachment]>,
}

impl Request<'_> {
    /// The text for the plugin that is configured by `plugin`.
    pub(crate) fn render(&self, plugin: &str) -> Result<String, CniError> {
        let mut object = Object::parse(plugin).map_err(ListError::from)?;
        object.remove(|key| key == "capabilities" || key == "prevResult" || key.starts_with("cni.dev/"));
        let (name, version) = (json_raw(self.name), json_raw(self.version.as_str()));
        object.set_first("name", &name);
        object.set_first("cniVersion", &version);
        let raw = |text: &str| RawValue::from_string(text.to_owned()).map_err(ListError::from);
        let args = self.args.map(raw).transpose()?;
        if let Some(args) = &args {
            object.set_last("args", args);
        }
        let runtime_config = self.runtime_config.map(raw).transpose()?;
        if let Some(runtime_config) = &runtime_config {
            object.set_last("runtimeConfig", runtime_config);
        }
        if let Some(prev) = self.prev_result {
            object.set_last("prevResult", prev);
        }
        let valid = self.valid.map(json_raw);
        if let Some(valid) = &valid {
            // libcni tells it under both names, since its own first release with GC read the wrong one
            object.set_last("cni.dev/valid-attachments", valid);
            object.set_last("cni.dev/attachments", valid);
        }
        Ok(object.render())
    }
}
