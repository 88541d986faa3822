//! `oci-hook`: networks for containers whose runtime knows OCI hooks and no CNI. The container's state comes in on
//! stdin, as a hook gets it; ADD before the container's first process, DEL when it has stopped. An error fails the
//! container.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use fwn_cni::error::{CniError, ErrorCode};
use serde::Deserialize;

use super::Environment;
use super::found::found;
use super::network::{Network, runtime_conf};

/// A state is a few hundred bytes, and annotations.
const MAX_STATE: u64 = 16 << 20;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["network", "annotation"]))]
pub(super) struct OciHookArgs {
    /// Network that every container is attached to: `name` in one of the files in NETCONFPATH
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Annotation of the container that names its network; a container without it does not start
    #[arg(long, value_name = "KEY")]
    annotation: Option<String>,
    /// Name of the interface in the container; wins over CNI_IFNAME
    #[arg(short, long, value_name = "NAME")]
    ifname: Option<String>,
    /// Where results of ADD are kept; wins over CNI_CACHE_DIR
    #[arg(long, value_name = "FOLDER")]
    cache_dir: Option<PathBuf>,
}

/// What a hook is told (`State` of the OCI runtime specification); what is not used here is passed over.
#[derive(Debug, Deserialize)]
struct State {
    id: String,
    status: String,
    #[serde(default)]
    pid: u32,
    bundle: PathBuf,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// What of the container's configuration (`config.json` in its bundle) is about namespaces.
#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(default)]
    linux: Linux,
}

#[derive(Debug, Default, Deserialize)]
struct Linux {
    #[serde(default)]
    namespaces: Vec<Namespace>,
}

#[derive(Debug, Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: Option<PathBuf>,
}

/// Attaches the container, or detaches it, by its status.
pub(super) fn run(
    args: &OciHookArgs,
    environment: Environment<'_>,
    stdin: &mut dyn Read,
) -> Result<(), CniError> {
    let state = State::read(stdin)?;
    match state.status.as_str() {
        // `created`: `prestart` of some runtimes
        "creating" | "created" => add(args, environment, &state),
        "stopped" => del(args, environment, &state),
        status => {
            let msg = format!("container `{}` is `{status}`: too late for its firewall", state.id);
            Err(CniError::new(ErrorCode::BadConfig, msg)
                .with_details("the hook is for `createRuntime` (or `prestart`) and `poststop`"))
        }
    }
}

fn add(args: &OciHookArgs, environment: Environment<'_>, state: &State) -> Result<(), CniError> {
    let name = state.network(args).ok_or_else(|| {
        let key = args.annotation.as_deref().unwrap_or_default();
        let msg = format!("container `{}` has no annotation `{key}`, which names its network", state.id);
        CniError::new(ErrorCode::BadConfig, msg)
    })?;
    let network = Network::named(name, args.cache_dir.as_deref(), environment)?;
    let netns = match state.config()?.network() {
        Some(Namespace { path: Some(path), .. }) => path.clone(),
        Some(_) if state.pid > 0 => PathBuf::from(format!("/proc/{}/ns/net", state.pid)),
        Some(_) => {
            let msg = format!("the state of container `{}` has no `pid`", state.id);
            return Err(CniError::new(ErrorCode::Decode, msg));
        }
        None => {
            let msg = format!("container `{}` shares the host's network, which is never touched", state.id);
            return Err(CniError::new(ErrorCode::BadNetns, msg));
        }
    };
    let found = found(&network.list, &netns)?;
    let rt = runtime_conf(state.id.clone(), Some(netns), args.ifname.as_deref(), environment)?;
    network.chain().add_after(&network.list, &rt, found).map(drop)
}

/// The namespace is gone with the container, but for one with a path.
fn del(args: &OciHookArgs, environment: Environment<'_>, state: &State) -> Result<(), CniError> {
    // nothing was attached to no network
    let Some(name) = state.network(args) else { return Ok(()) };
    let network = Network::named(name, args.cache_dir.as_deref(), environment)?;
    // plugins clean up without the namespace, too
    let config = state.config().unwrap_or_else(|error| {
        log::warn!("{error}");
        Config::default()
    });
    let netns = config.network().and_then(|namespace| namespace.path.clone());
    let rt = runtime_conf(state.id.clone(), netns, args.ifname.as_deref(), environment)?;
    network.chain().del(&network.list, &rt)
}

impl State {
    fn read(stdin: &mut dyn Read) -> Result<Self, CniError> {
        let mut text = Vec::new();
        stdin.take(MAX_STATE).read_to_end(&mut text).map_err(|error| {
            CniError::new(ErrorCode::Io, "standard input cannot be read").with_details(error.to_string())
        })?;
        serde_json::from_slice(&text).map_err(|error| {
            let msg = "standard input is not the state of a container";
            CniError::new(ErrorCode::Decode, msg)
                .with_details(format!("{error}; a runtime that calls its hooks writes it"))
        })
    }

    /// The name of its network.
    fn network<'a>(&'a self, args: &'a OciHookArgs) -> Option<&'a str> {
        let of_annotation = || self.annotations.as_ref()?.get(args.annotation.as_ref()?).map(String::as_str);
        args.network.as_deref().or_else(of_annotation)
    }

    fn config(&self) -> Result<Config, CniError> {
        let path = self.bundle.join("config.json");
        let cannot = |error: String| {
            CniError::new(ErrorCode::Io, format!("cannot read `{}`", path.display())).with_details(error)
        };
        let text = fs::read(&path).map_err(|error| cannot(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| cannot(error.to_string()))
    }
}

impl Config {
    /// Its network namespace; `None`: that of the runtime.
    fn network(&self) -> Option<&Namespace> {
        self.linux.namespaces.iter().find(|namespace| namespace.kind == "network")
    }
}
