//! `add`, `del`, `check`, `gc` and `status`: a network from its file, run through all its plugins, as cnitool does.
//! Variables and arguments come in; what the plugins answer goes out. Plugins are taken from `CNI_PATH` and nowhere
//! else.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use fwn_cni::chain::{Chain, DEFAULT_CACHE_DIR, RuntimeConf};
use fwn_cni::error::{CniError, ErrorCode};
use fwn_cni::exec::ProcessExecutor;
use fwn_cni::invocation::{Attachment, Command};
use fwn_cni::network_list::NetworkList;
use fwn_kernel::netns::TargetNetns;
use fwn_kernel::route::RouteSocket;
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value};

use super::Environment;
use super::found::found;
use super::sha512::sha512_hex;

/// Where networks are looked for by default.
const DEFAULT_CONF_DIR: &str = "/etc/cni/net.d";

/// What is said below the options: examples, and the variables that all these commands know.
macro_rules! help {
    ($($example:literal),+) => {
        concat!(
            "Examples:\n",
            $("  ", $example, "\n",)+
            "
Variables, as for cnitool:
  CNI_PATH         folders of the plugins, separated by `:`; required
  NETCONFPATH      folder of the network configurations [default: /etc/cni/net.d]
  CNI_IFNAME       name of the interface in the namespace [default: eth0]
  CNI_CONTAINERID  [default: cnitool- and 20 digits of the SHA-512 of the namespace's path]
  CNI_ARGS         `NAME=VALUE;NAME=VALUE`
  CAP_ARGS         JSON object with values for the capabilities of plugins: '{\"portMappings\": [...]}'
  CNI_CACHE_DIR    where results of ADD are kept [default: /var/lib/cni]"
        )
    };
}

pub(super) const ADD_HELP: &str = help!(
    "CNI_PATH=/opt/cni/bin firewallnetns add web /run/netns/web",
    "CNI_PATH=/opt/cni/bin firewallnetns add web /proc/4711/ns/net --ifname net1"
);
pub(super) const DEL_HELP: &str = help!("CNI_PATH=/opt/cni/bin firewallnetns del web /run/netns/web");
pub(super) const CHECK_HELP: &str = help!("CNI_PATH=/opt/cni/bin firewallnetns check web /run/netns/web");
pub(super) const GC_HELP: &str = help!(
    "CNI_PATH=/opt/cni/bin firewallnetns gc web --keep 8b1f0c/eth0 --keep 77aa01/eth0",
    "CNI_PATH=/opt/cni/bin firewallnetns gc web --all"
);
pub(super) const STATUS_HELP: &str = help!("CNI_PATH=/opt/cni/bin firewallnetns status web");
pub(super) const HOOK_HELP: &str = help!("CNI_PATH=/opt/cni/bin firewallnetns oci-hook web < state.json");

#[derive(Debug, Args)]
pub(super) struct AttachmentArgs {
    #[command(flatten)]
    network: NetworkArgs,
    /// Path of the network namespace, such as /run/netns/web
    netns: PathBuf,
    /// Name of the interface in the namespace; wins over CNI_IFNAME
    #[arg(short, long, value_name = "NAME")]
    ifname: Option<String>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("valid").required(true).args(["keep", "all"]))]
pub(super) struct GcArgs {
    #[command(flatten)]
    network: NetworkArgs,
    /// A valid attachment; may be given more than once
    #[arg(long, value_name = "CONTAINERID/IFNAME", value_parser = parse_attachment)]
    keep: Vec<Attachment>,
    /// No attachment is valid: remove them all (what cnitool's gc does)
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    network: NetworkArgs,
}

#[derive(Debug, Args)]
struct NetworkArgs {
    /// Name of the network: `name` in one of the files in NETCONFPATH
    network: String,
    /// Where results of ADD are kept; wins over CNI_CACHE_DIR
    #[arg(long, value_name = "FOLDER")]
    cache_dir: Option<PathBuf>,
}

/// Attaches, and prints the result.
pub(super) fn add(
    args: &AttachmentArgs,
    environment: Environment<'_>,
    stdout: &mut dyn Write,
) -> Result<(), CniError> {
    let network = Network::load(&args.network, environment)?;
    let rt = attachment(args, environment)?;
    refuse_twice(&network, &rt)?;
    let found = rt.netns.as_deref().map_or(Ok(None), |netns| found(&network.list, netns))?;
    let result = network.chain().add_after(&network.list, &rt, found)?;
    print_pretty(result.get(), stdout).map_err(|error| {
        CniError::new(ErrorCode::Io, "the result cannot be printed").with_details(error.to_string())
    })
}

/// Detaches.
pub(super) fn del(args: &AttachmentArgs, environment: Environment<'_>) -> Result<(), CniError> {
    let network = Network::load(&args.network, environment)?;
    network.chain().del(&network.list, &attachment(args, environment)?)
}

/// Compares with what ADD made.
pub(super) fn check(args: &AttachmentArgs, environment: Environment<'_>) -> Result<(), CniError> {
    let network = Network::load(&args.network, environment)?;
    network.chain().check(&network.list, &attachment(args, environment)?)
}

/// Removes what is not to be kept.
pub(super) fn gc(args: &GcArgs, environment: Environment<'_>) -> Result<(), CniError> {
    let network = Network::load(&args.network, environment)?;
    // an empty list is `--all`: clap takes one of the two
    network.chain().gc(&network.list, Some(&args.keep))
}

/// Asks whether ADD would work. Says so where the network's version has no such question.
pub(super) fn status(
    args: &StatusArgs,
    environment: Environment<'_>,
    stderr: &mut dyn Write,
) -> Result<(), CniError> {
    let network = Network::load(&args.network, environment)?;
    let NetworkList { name, version, .. } = &network.list;
    if *version < Command::Status.since() {
        // a note that cannot be written changes nothing
        let _ = writeln!(
            stderr,
            "note: network `{name}` is in CNI version {version}, which has no STATUS: no plugin was asked"
        );
    }
    network.chain().status(&network.list)
}

/// A network and what runs its plugins.
pub(super) struct Network {
    pub(super) list: NetworkList,
    path: Vec<PathBuf>,
    cache_dir: PathBuf,
    executor: ProcessExecutor,
}

impl Network {
    fn load(args: &NetworkArgs, environment: Environment<'_>) -> Result<Self, CniError> {
        Self::named(&args.network, args.cache_dir.as_deref(), environment)
    }

    /// The network of this name; a folder for results wins over that of the environment.
    pub(super) fn named(
        name: &str,
        cache_dir: Option<&Path>,
        environment: Environment<'_>,
    ) -> Result<Self, CniError> {
        let path = environment.get("CNI_PATH").ok_or_else(|| {
            CniError::new(ErrorCode::BadEnvironment, "the variable CNI_PATH is not set").with_details(
                "it has the folders of the plugins, such as CNI_PATH=/opt/cni/bin or CNI_PATH=/usr/lib/cni",
            )
        })?;
        let conf_dir = environment.get("NETCONFPATH").unwrap_or(DEFAULT_CONF_DIR);
        let cache_dir = cache_dir.or_else(|| environment.get("CNI_CACHE_DIR").map(Path::new));
        Ok(Self {
            list: NetworkList::load(Path::new(conf_dir), name)?,
            path: path.split(':').filter(|dir| !dir.is_empty()).map(PathBuf::from).collect(),
            cache_dir: cache_dir.unwrap_or(Path::new(DEFAULT_CACHE_DIR)).to_owned(),
            executor: ProcessExecutor::new(),
        })
    }

    pub(super) fn chain(&self) -> Chain<'_> {
        Chain { exec: &self.executor, path: self.path.clone(), cache_dir: self.cache_dir.clone() }
    }
}

fn attachment(args: &AttachmentArgs, environment: Environment<'_>) -> Result<RuntimeConf, CniError> {
    let netns = std::path::absolute(&args.netns)
        .map_err(|error| bad_variable("NETNS", &args.netns.to_string_lossy(), &error.to_string()))?;
    let container_id = environment.get("CNI_CONTAINERID").map_or_else(|| container_id(&netns), str::to_owned);
    runtime_conf(container_id, Some(netns), args.ifname.as_deref(), environment)
}

/// One attachment, with what the environment says of it; a name of the interface wins over that of the environment.
pub(super) fn runtime_conf(
    container_id: String,
    netns: Option<PathBuf>,
    ifname: Option<&str>,
    environment: Environment<'_>,
) -> Result<RuntimeConf, CniError> {
    let ifname = ifname.or_else(|| environment.get("CNI_IFNAME")).unwrap_or("eth0").to_owned();
    let cni_args = environment.get("CNI_ARGS").map(parse_cni_args).transpose()?.unwrap_or_default();
    let capability_args = environment.get("CAP_ARGS").map(parse_capability_args).transpose()?;
    Ok(RuntimeConf {
        container_id,
        netns,
        ifname,
        args: cni_args,
        capability_args: capability_args.unwrap_or_default(),
    })
}

/// The ID that cnitool gives to a namespace, so that one can detach what the other has attached.
fn container_id(netns: &Path) -> String {
    let digest = sha512_hex(netns.as_os_str().as_encoded_bytes());
    format!("cnitool-{}", digest.get(..20).unwrap_or_default())
}

/// A second ADD would fail in the first plugin, and what is undone then is the attachment that is in use.
fn refuse_twice(network: &Network, rt: &RuntimeConf) -> Result<(), CniError> {
    if !network.chain().is_known(&network.list, rt)? {
        return Ok(());
    }
    // after a reboot the cache is still there, the interface is not; what cannot be asked, ADD will tell
    let Some(netns) = &rt.netns else { return Ok(()) };
    let Ok(target) = TargetNetns::open(netns) else { return Ok(()) };
    let link = RouteSocket::open_in(&target).and_then(|mut socket| socket.link(rt.ifname.as_str()));
    if !matches!(link, Ok(Some(_))) {
        return Ok(());
    }
    let (name, ifname, netns) = (&network.list.name, &rt.ifname, netns.display());
    let message = format!("`{netns}` is attached to network `{name}` already, by interface `{ifname}`");
    let hint = format!("`firewallnetns del {name} {netns}` detaches it; `--ifname` makes another interface");
    Err(CniError::new(ErrorCode::BadEnvironment, message).with_details(hint))
}

/// `NAME=VALUE;NAME=VALUE`, as strict as cnitool.
fn parse_cni_args(text: &str) -> Result<Vec<(String, String)>, CniError> {
    text.split(';')
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() && !value.contains('=') => {
                Ok((name.to_owned(), value.to_owned()))
            }
            _ => Err(bad_variable("CNI_ARGS", text, &format!("`{pair}` is not `NAME=VALUE`"))),
        })
        .collect()
}

fn parse_capability_args(text: &str) -> Result<Map<String, Value>, CniError> {
    serde_json::from_str(text)
        .map_err(|error| bad_variable("CAP_ARGS", text, &format!("it is not a JSON object: {error}")))
}

fn parse_attachment(text: &str) -> Result<Attachment, String> {
    match text.split_once('/') {
        Some((id, ifname)) if !id.is_empty() && !ifname.is_empty() && !ifname.contains('/') => {
            Ok(Attachment { container_id: id.to_owned(), ifname: ifname.to_owned() })
        }
        _ => Err("it is not `CONTAINERID/IFNAME`".to_owned()),
    }
}

fn bad_variable(name: &str, value: &str, why: &str) -> CniError {
    CniError::new(ErrorCode::BadEnvironment, format!("{name} is malformed: `{value}`")).with_details(why)
}

/// JSON with an indentation of four, as cnitool prints it.
pub(super) fn print_pretty(json: &str, out: &mut dyn Write) -> std::io::Result<()> {
    let value: Value = serde_json::from_str(json)?;
    let formatter = PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut Serializer::with_formatter(&mut *out, formatter))?;
    writeln!(out)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn args_are_pairs() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(parse_cni_args("A=1;B=x y").expect("pairs"), [pair("A", "1"), pair("B", "x y")]);
        for bad in ["A", "=1", "A=", "A=1;", "A=1=2", ";"] {
            let error = parse_cni_args(bad).expect_err(bad);
            assert!(error.to_string().contains("CNI_ARGS"), "{error}");
        }
    }

    #[test]
    fn capability_args_are_an_object() {
        assert_eq!(parse_capability_args(r#"{"mac":"x"}"#).expect("an object")["mac"], "x");
        assert!(parse_capability_args("[1]").is_err());
    }

    #[test]
    fn attachments_to_keep_have_two_parts() {
        let kept = parse_attachment("web-1/eth0").expect("an attachment");
        assert_eq!((kept.container_id.as_str(), kept.ifname.as_str()), ("web-1", "eth0"));
        for bad in ["web", "/eth0", "web/", "a/b/c"] {
            assert!(parse_attachment(bad).is_err(), "{bad}");
        }
    }
}
