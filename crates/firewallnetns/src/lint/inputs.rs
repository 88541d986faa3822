//! Files that people name, as texts of the kinds that there are: .fw files, and our parts of networks.

use std::path::Path;
use std::sync::Arc;

use fwn_cni::invocation::NetworkConf;
use fwn_cni::network_list::NetworkList;
use fwn_cni::result::chained_result;
use fwn_node::causes::with_causes;
use fwn_plan::config::parse_netconf;
use fwn_plan::origin::{Origin, Source};
use fwn_plan::problem::{Problem, Problems};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::data_dir::read_path;
use crate::gather::FW_LIMIT;
use crate::policy::{PLUGIN, alone, is_fw};

/// A file.
pub(crate) enum Input {
    /// A .fw file.
    Fw(Arc<Source>),
    /// A network: its plugins of ours.
    Network(Vec<Part>),
}

/// One plugin's part of a network.
pub(crate) struct Part {
    /// The file with everything else blank.
    pub(crate) source: Arc<Source>,
    /// What is wrong with its place in the list.
    pub(crate) problems: Problems,
    /// That nothing in the list makes an interface.
    pub(crate) rules_only: Option<Problem>,
}

/// The keys by which plugins are told apart.
#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    plugins: Option<Vec<&'a RawValue>>,
    #[serde(rename = "type")]
    plugin_type: Option<Value>,
    #[serde(rename = "prevResult")]
    prev_result: Option<IgnoredAny>,
    delegate: Option<IgnoredAny>,
}

impl Input {
    /// Reads a file; a fifo or a device is none.
    ///
    /// # Errors
    /// It cannot be read, is no text, too large, or no network.
    pub(crate) fn read(path: &Path) -> Result<Self, Problems> {
        let name = path.display().to_string();
        let text = read_path(path, FW_LIMIT)
            .map_err(|error| Problem::new(beginning(&Source::new(name.as_str(), "")), with_causes(&error)))?;
        let fw = is_fw(path, &text);
        let source = Source::new(name, text);
        if fw { Ok(Self::Fw(source)) } else { network(&source).map(Self::Network) }
    }
}

/// The place of what is wrong with a file as a whole.
fn beginning(source: &Arc<Source>) -> Origin {
    Origin { source: Arc::clone(source), path: fwn_plan::origin::Path::default(), range: 0..0, span: None }
}

fn network(source: &Arc<Source>) -> Result<Vec<Part>, Problems> {
    let text = source.text.as_str();
    let wrong = |message: String| Problem::new(beginning(source), message);
    if text.starts_with('\u{feff}') {
        return Err(wrong("the file begins with a byte order mark".to_owned())
            .hint("save it as UTF-8 without a byte order mark: runtimes do not take it either")
            .into());
    }
    let peek: Peek<'_> = match serde_json::from_str(text) {
        Ok(peek) => peek,
        Err(error) => {
            // the other reader shows the place
            parse_netconf(source)?;
            return Err(wrong(format!("this is no network configuration: {error}")).into());
        }
    };
    let Some(plugins) = &peek.plugins else {
        let list = NetworkList::parse_single(text).map_err(|error| wrong(with_causes(&error)))?;
        let part = is_ours(&peek).then(|| Part::new(Arc::clone(source), &list, &peek, true));
        return Ok(part.into_iter().collect());
    };
    let list = NetworkList::parse_list(text).map_err(|error| wrong(with_causes(&error)))?;
    let mut parts = Vec::new();
    for (at, plugin) in plugins.iter().enumerate() {
        let Ok(peek) = serde_json::from_str::<Peek<'_>>(plugin.get()) else { continue };
        if is_ours(&peek) {
            let alone = Source::new(source.name.as_str(), alone(text, plugin.get()));
            parts.push(Part::new(alone, &list, &peek, at == 0));
        }
    }
    Ok(parts)
}

impl Part {
    fn new(source: Arc<Source>, list: &NetworkList, peek: &Peek<'_>, is_first: bool) -> Self {
        let (mut problems, mut rules_only) = (Problems::default(), None);
        // what comes first needs somebody who makes the interface, or makes it itself
        if is_first && peek.prev_result.is_none() && peek.delegate.is_none() {
            let conf = json!({ "cniVersion": list.version.as_str(), "name": list.name, "type": PLUGIN });
            let result =
                NetworkConf::parse(conf.to_string().as_bytes()).and_then(|conf| chained_result(&conf));
            if let Err(error) = result {
                let word = format!("\"{PLUGIN}\"");
                let start = source.text.find(&word).unwrap_or_default();
                let range = start..start + word.len();
                let origin = Origin { range, ..beginning(&source) };
                if list.plugins.iter().all(|plugin| plugin.plugin_type == PLUGIN) {
                    let problem = Problem::new(origin, "nothing makes an interface: a runtime's ADD fails");
                    rules_only = Some(problem.hint(
                        "put it after a plugin that does, unless it is for `firewallnetns add` or `oci-hook`",
                    ));
                } else {
                    problems.push(Problem { origin, message: error.msg, hint: error.details });
                }
            }
        }
        Self { source, problems, rules_only }
    }
}

fn is_ours(peek: &Peek<'_>) -> bool {
    peek.plugin_type.as_ref().and_then(Value::as_str) == Some(PLUGIN)
}
