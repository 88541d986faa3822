//! The demo's files: the example with folders of its own, the .fw files, the plugins by name, state and cache. One
//! temporary folder that goes when the value is dropped.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::stage::{LAN_ADDRESS, LAN_PREFIX};
use super::{DemoError, ipam};
use crate::cli::Environment;

/// The example, byte for byte as documented.
const EXAMPLE: &str = include_str!("test-firewallnetns.conflist");
/// Name of the network in it.
pub(super) const EXAMPLE_NETWORK: &str = "test-firewallnetns";
/// Name of the network of the second act.
pub(super) const CLOSED_NETWORK: &str = "closed";
/// The presets that the two use.
const PRESETS: [(&str, &str); 3] = [
    ("default-policy.fw", include_str!("../../../../../fw/default-policy.fw")),
    ("allow-ping.fw", include_str!("../../../../../fw/allow-ping.fw")),
    ("allow-ping-out.fw", include_str!("../../../../../fw/allow-ping-out.fw")),
];
/// Where plugins lie on most machines.
const PLUGIN_DIRS: [&str; 4] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni", "/usr/local/lib/cni"];

/// The temporary folder.
#[derive(Debug)]
pub(super) struct Workspace {
    path: PathBuf,
    /// Who hands out the container's address.
    pub(super) ipam: Ipam,
}

/// An IPAM plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ipam {
    /// The real one, from here.
    HostLocal(PathBuf),
    /// Our own, with one fixed address.
    BuiltIn,
}

impl Workspace {
    /// Makes the folder, below `TMPDIR` or `/tmp`.
    ///
    /// # Errors
    /// A file cannot be written; there is no plugin `macvtap`.
    pub(super) fn create(environment: Environment<'_>, engine: &str) -> Result<Self, DemoError> {
        let own = std::env::current_exe()
            .map_err(|source| io_error("find", Path::new("/proc/self/exe"), source))?;
        let listed = environment.get("CNI_PATH").into_iter().flat_map(|path| path.split(':'));
        let dirs: Vec<PathBuf> = listed.chain(PLUGIN_DIRS).map(PathBuf::from).collect();
        let beside = own.parent().map(Path::to_owned);
        let beside_first: Vec<PathBuf> = beside.into_iter().chain(dirs.iter().cloned()).collect();
        let macvtap = find_program("macvtap", &beside_first)
            .ok_or_else(|| DemoError::NoMacvtap { searched: beside_first.clone() })?;
        let ipam = find_program("host-local", &dirs).map_or(Ipam::BuiltIn, Ipam::HostLocal);

        let parent = environment.get("TMPDIR").unwrap_or("/tmp");
        // from here on, whatever fails, the folder goes with the value
        let workspace = Self { path: new_folder(Path::new(parent))?, ipam };
        for dir in ["net.d", "fw", "bin"] {
            workspace.make_dir(dir)?;
        }
        for (name, text) in PRESETS {
            workspace.write(&format!("fw/{name}"), text)?;
        }
        workspace.link("firewallnetns", &own)?;
        workspace.link("macvtap", &macvtap)?;
        match &workspace.ipam {
            Ipam::HostLocal(path) => workspace.link("host-local", path)?,
            Ipam::BuiltIn => workspace.link(ipam::NAME, &own)?,
        }
        let example = workspace.example(engine).map_err(DemoError::Example)?;
        workspace.write("net.d/10-example.conflist", &example.to_string())?;
        workspace.write("net.d/20-closed.conflist", &closed(example).to_string())?;
        Ok(workspace)
    }

    /// A path in the folder.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The example with the folders of the demo, and its IPAM.
    fn example(&self, engine: &str) -> serde_json::Result<Value> {
        let mut list: Value = serde_json::from_str(EXAMPLE)?;
        let ipam = &mut list["plugins"][0]["ipam"];
        match self.ipam {
            Ipam::HostLocal(_) => ipam["dataDir"] = json!(self.join("leases")),
            Ipam::BuiltIn => {
                let address = format!("{}/{LAN_PREFIX}", ipam["rangeStart"].as_str().unwrap_or_default());
                *ipam = json!({ "type": ipam::NAME, "address": address, "gateway": LAN_ADDRESS });
            }
        }
        let firewall = &mut list["plugins"][1];
        firewall["dataDir"] = json!(self.join("fw"));
        firewall["stateDir"] = json!(self.join("state"));
        firewall["engine"] = json!(engine);
        Ok(list)
    }

    fn make_dir(&self, name: &str) -> Result<(), DemoError> {
        let path = self.join(name);
        fs::create_dir(&path).map_err(|source| io_error("make", &path, source))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), DemoError> {
        let path = self.join(name);
        fs::write(&path, text).map_err(|source| io_error("write", &path, source))
    }

    fn link(&self, name: &str, to: &Path) -> Result<(), DemoError> {
        let path = self.join("bin").join(name);
        symlink(to, &path).map_err(|source| io_error("make", &path, source))
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            log::warn!("cannot remove `{}`: {error}", self.path.display());
        }
    }
}

/// The example with its policies as `default-policy` sets them: nothing but what a rule accepts.
fn closed(mut list: Value) -> Value {
    list["name"] = json!(CLOSED_NETWORK);
    let firewall = &mut list["plugins"][1];
    firewall["fwFiles"] = json!(["default-policy", "allow-ping"]);
    firewall["ipsets"] = json!([]);
    firewall["policies"] = json!([]);
    firewall["rules"] = json!([
        { "type": "A", "chain": "INPUT", "rule": "-p tcp --dport 8080 -j ACCEPT" },
        { "type": "A", "chain": "OUTPUT", "rule": "-p tcp --sport 8080 ! --syn -j ACCEPT" },
    ]);
    list
}

/// The first executable file of this name.
pub(super) fn find_program(name: &str, dirs: &[PathBuf]) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    dirs.iter().map(|dir| dir.join(name)).find(is_program)
}

/// A folder that nobody else has, readable by root alone.
fn new_folder(parent: &Path) -> Result<PathBuf, DemoError> {
    /// Left over from processes that were killed and had our number.
    const TRIES: u32 = 100;
    let mut number = 0;
    loop {
        let path = parent.join(format!("firewallnetns-demo-{}-{number}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < TRIES => number += 1,
            Err(source) => return Err(io_error("make", &path, source)),
        }
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> DemoError {
    DemoError::Io { action, path: path.to_owned(), source }
}
