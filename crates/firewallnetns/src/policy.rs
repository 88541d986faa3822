//! A policy from files that people name: .fw files, a network configuration, or a list of plugins. Out comes the call
//! that a runtime would make of it, so that everything after goes the way of an ADD.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fwn_cni::error::{CniError, ErrorCode};
use fwn_cni::invocation::{Command, Invocation, NetworkConf};
use fwn_kernel::netns::available_families;
use fwn_node::causes::with_causes;
use fwn_plan::config::{Section, parse_fw, parse_netconf};
use fwn_plan::decide::{Facts, decide};
use fwn_plan::netfilter::Family;
use fwn_plan::origin::{Origin, Source};
use fwn_plan::plan::Plan;
use fwn_plan::problem::{Problem, Problems, render_problems};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::call::Call;
use crate::data_dir::read_path;
use crate::failure::{Failure, unresolved};
use crate::gather::{FW_LIMIT, gather, refusals};
use crate::resolver::resolve;

/// `type` of the plugin that a list is searched for.
pub(crate) const PLUGIN: &str = env!("CARGO_PKG_NAME");
/// The interface that rules are for, where nobody says which.
pub(crate) const IFNAME: &str = "eth0";

/// How files are to be read.
#[derive(Debug, Clone, Default)]
pub(crate) struct PolicyOptions {
    /// Variables, as an ADD finds them in its environment.
    pub environment: Vec<(String, String)>,
    /// In place of `dataDir`, or of the folder of the first .fw file.
    pub data_dir: Option<PathBuf>,
    /// In place of `stateDir`.
    pub state_dir: Option<PathBuf>,
}

/// What the files hold, not yet merged.
#[derive(Debug)]
pub(crate) struct Policy {
    invocation: Invocation,
    /// What messages call the configuration.
    name: String,
    /// The .fw files that were named.
    pub(crate) given: Vec<Section>,
    options: PolicyOptions,
}

/// The keys by which the kinds of files are told apart.
#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    plugins: Option<Vec<&'a RawValue>>,
    #[serde(rename = "type")]
    plugin_type: Option<Value>,
    name: Option<Value>,
    #[serde(rename = "cniVersion")]
    version: Option<Value>,
}

impl Policy {
    /// Reads files: one network, or .fw files that together are one policy.
    ///
    /// # Errors
    /// All that is wrong with the files.
    pub(crate) fn load(files: &[PathBuf], options: PolicyOptions) -> Result<Self, CniError> {
        let mut given = Vec::new();
        let mut problems = Problems::default();
        for path in files {
            let source = read_source(path)?;
            if is_fw(path, &source.text) {
                given.extend(problems.collect(parse_fw(&source)));
            } else if files.len() > 1 {
                let message = format!("`{}` is a network configuration: give it alone", path.display());
                return Err(CniError::new(ErrorCode::BadConfig, message)
                    .with_details("several files are one policy where they are .fw files"));
            } else {
                let conf = network_conf(&source)?;
                return Ok(Self::new(conf, source.name.clone(), Vec::new(), options));
            }
        }
        if !problems.0.is_empty() {
            return Err(wrong(&problems));
        }
        let first = files.first().map_or(Path::new("."), PathBuf::as_path);
        let folder = first.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        Self::of_sections(given, folder, options)
    }

    /// A policy of sections that are read already, which find the files of their sets in `folder`.
    ///
    /// # Errors
    /// The folder has no path.
    pub(crate) fn of_sections(
        given: Vec<Section>,
        folder: &Path,
        options: PolicyOptions,
    ) -> Result<Self, CniError> {
        let folder = std::path::absolute(folder).map_err(|error| CniError::caused(ErrorCode::Io, &error))?;
        let text = serde_json::json!({
            "cniVersion": fwn_cni::version::SpecVersion::LATEST.to_string(),
            "name": PLUGIN,
            "type": PLUGIN,
            "dataDir": folder.to_string_lossy(),
        });
        let conf = NetworkConf::parse(text.to_string().as_bytes())?;
        Ok(Self::new(conf, "command line".to_owned(), given, options))
    }

    fn new(conf: NetworkConf, name: String, given: Vec<Section>, options: PolicyOptions) -> Self {
        let variable = |name: &str| {
            options.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        };
        let invocation = Invocation {
            command: Command::Add,
            container_id: variable("CNI_CONTAINERID").unwrap_or_default(),
            netns: None,
            ifname: variable("CNI_IFNAME").unwrap_or_else(|| IFNAME.to_owned()),
            args: Vec::new(),
            args_text: String::new(),
            path: Vec::new(),
            conf,
        };
        Self { invocation, name, given, options }
    }

    /// Name of the network, where the file has one.
    pub(crate) fn network(&self) -> Option<&str> {
        self.given.is_empty().then_some(self.invocation.conf.name.as_str())
    }

    /// From now on for this attachment.
    pub(crate) fn attach(&mut self, container: &str, interface: &str) {
        container.clone_into(&mut self.invocation.container_id);
        interface.clone_into(&mut self.invocation.ifname);
    }

    /// The call of the plugin.
    ///
    /// # Errors
    /// All that is wrong with the keys of the configuration.
    pub(crate) fn call(&self) -> Result<Call<'_>, CniError> {
        let mut call = Call::of_file(&self.invocation, &self.name).map_err(shown)?;
        call.given.clone_from(&self.given);
        let PolicyOptions { data_dir, state_dir, .. } = &self.options;
        call.settings.data_dir = data_dir.clone().unwrap_or(call.settings.data_dir);
        if let Some(state_dir) = state_dir {
            call.settings.state_dir.clone_from(state_dir);
            call.states = crate::state::StateDir::new(state_dir);
        }
        Ok(call)
    }

    /// What an ADD would put in force, with the sets that are in the namespace already.
    ///
    /// # Errors
    /// All that an ADD would refuse before it touches the namespace.
    pub(crate) fn plan(
        &self,
        call: &Call<'_>,
        sets: BTreeMap<String, Option<Family>>,
    ) -> Result<Plan, CniError> {
        let mut environment = self.options.environment.clone();
        if !environment.iter().any(|(name, _)| name == "CNI_IFNAME") {
            environment.push(("CNI_IFNAME".to_owned(), self.invocation.ifname.clone()));
        }
        let result = call.previous_result()?;
        let ruleset = gather(call, result.as_ref(), environment).map_err(shown)?;
        let hosts = resolve(&ruleset.host_names(), &call.settings.resolver)
            .map_err(|error| unresolved(&ruleset, error))?;
        let refused = refusals(ruleset.clone(), call);
        if !refused.0.is_empty() {
            return Err(wrong(&refused));
        }
        let facts = Facts { families: available_families(), hosts, sets };
        decide(&ruleset, &facts).map_err(|problems| wrong(&problems))
    }
}

/// What is wrong with a policy, for people: each problem with its line, and not once more as a line for logs.
pub(crate) fn wrong(problems: &Problems) -> CniError {
    let count = problems.0.len();
    let message = if count == 1 {
        "the policy is wrong".to_owned()
    } else {
        format!("the policy is wrong in {count} places")
    };
    CniError::new(ErrorCode::BadConfig, message).with_details(render_problems(problems))
}

fn shown(failure: Failure) -> CniError {
    match failure {
        Failure::Configuration(problems) => wrong(&problems),
        other => other.into(),
    }
}

/// A text file that the command line names.
///
/// # Errors
/// It cannot be read, is no text, or too large.
pub(crate) fn read_source(path: &Path) -> Result<Arc<Source>, CniError> {
    let text = read_path(path, FW_LIMIT)
        .map_err(|error| CniError::new(ErrorCode::BadConfig, with_causes(&error)))?;
    Ok(Source::new(path.display().to_string(), text))
}

/// Whether a file is a .fw file: by its name, else by what it holds.
pub(crate) fn is_fw(path: &Path, text: &str) -> bool {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("fw") => true,
        Some("conflist" | "conf") => false,
        _ => serde_json::from_str::<Peek<'_>>(text)
            .is_ok_and(|peek| peek.plugins.is_none() && peek.plugin_type.is_none()),
    }
}

/// Our part of a network.
fn network_conf(source: &Arc<Source>) -> Result<NetworkConf, CniError> {
    let text = source.text.as_str();
    if text.starts_with('\u{feff}') {
        let root = fwn_plan::origin::Path::default();
        let origin = Origin { source: Arc::clone(source), path: root, range: 0..3, span: None };
        let problem = Problem::new(origin, "the file begins with a byte order mark")
            .hint("save it as UTF-8 without a byte order mark: runtimes do not take it either");
        return Err(wrong(&problem.into()));
    }
    let peek: Peek<'_> = match serde_json::from_str(text) {
        Ok(peek) => peek,
        Err(error) => {
            // the other reader shows the line
            parse_netconf(source).map_err(|problems| wrong(&problems))?;
            let message = format!("`{}` is no network configuration", source.name);
            return Err(CniError::new(ErrorCode::Decode, message).with_details(error.to_string()));
        }
    };
    let Some(plugins) = peek.plugins else { return NetworkConf::parse(text.as_bytes()) };
    let ours: Vec<&str> = plugins
        .iter()
        .map(|plugin| plugin.get())
        .filter(|text| {
            serde_json::from_str::<Peek<'_>>(text)
                .is_ok_and(|peek| peek.plugin_type.as_ref().and_then(Value::as_str) == Some(PLUGIN))
        })
        .collect();
    let [ours] = ours.as_slice() else {
        let message = format!("`{}` has {} plugins of type `{PLUGIN}`, not one", source.name, ours.len());
        return Err(CniError::new(ErrorCode::BadConfig, message));
    };
    // what a runtime adds to the plugin's own keys
    let mut whole: Value =
        serde_json::from_str(ours).map_err(|error| CniError::caused(ErrorCode::Decode, &error))?;
    if let Some(object) = whole.as_object_mut() {
        for (key, value) in [("name", peek.name), ("cniVersion", peek.version)] {
            object.extend(value.map(|value| (key.to_owned(), value)));
        }
    }
    let mut conf = NetworkConf::parse(whole.to_string().as_bytes())?;
    conf.text = alone(text, ours);
    Ok(conf)
}

/// The text with everything but `part` blank, so that lines and columns stay what they are.
pub(crate) fn alone(text: &str, part: &str) -> String {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
    text.get(..start).unwrap_or_default().chars().map(blank).collect::<String>() + part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alone_stays_in_its_place() {
        let text = "{\n  \"plugins\": [ { \"é\": 1 },\n    { \"type\": \"x\" } ] }";
        let part = &text[text.find("{ \"type\"").expect("there")..][.."{ \"type\": \"x\" }".len()];
        assert_eq!(alone(text, part), format!(" \n{}\n    {{ \"type\": \"x\" }}", " ".repeat(26)));
    }
}
