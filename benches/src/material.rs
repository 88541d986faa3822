//! What the contenders are fed with, made once for each workload: the plugin's configuration, the messages that its
//! ADD and DEL send, and the firewall that its ADD makes as the usual tools write it down. So all start from the same.

use std::fs;
use std::path::PathBuf;

use fwn_testkit::Netns;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use tempfile::TempDir;

use crate::BenchError;
use crate::contender::{Operation, plugin_call};
use crate::launch::run;
use crate::programs::Programs;
use crate::trace::{STRACE_OPTIONS, Wanted, record};
use crate::workload::Workload;

/// Everything about a workload.
#[derive(Debug)]
pub struct Material {
    /// Which.
    pub workload: Workload,
    /// The firewall after ADD, as [`Netns::dump`] shows it.
    pub firewall: String,
    /// The items of that firewall, for one process each.
    pub items: Vec<Item>,
    folder: TempDir,
}

/// One item of a firewall, as words for a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// `iptables-nft`, `ip6tables-nft` or `ipset`.
    pub tool: &'static str,
    /// What it is told to make it.
    pub make: Vec<String>,
    /// What it is told to unmake it.
    pub unmake: Vec<String>,
}

impl Material {
    /// Makes it, in namespaces of its own; the plugin runs in `host`.
    ///
    /// # Errors
    /// The plugin fails, or files cannot be written.
    pub fn prepare(workload: Workload, programs: &Programs, host: &Netns) -> Result<Self, BenchError> {
        let folder = scratch_folder()?;
        let mut material = Self { workload, firewall: String::new(), items: Vec::new(), folder };
        fs::create_dir(material.data_dir())
            .map_err(|source| BenchError::File { path: material.data_dir(), source })?;
        let conf = workload.write(&material.data_dir(), material.folder.path(), &programs.engine)?;
        material.write("conf.json", conf)?;

        let netns = Netns::new();
        material.trace(Operation::Add, programs, host, &netns)?;
        material.firewall = netns.dump();
        let ipv4 = netns.sh("iptables-nft-save");
        let ipv6 = netns.sh("ip6tables-nft-save");
        let sets = netns.sh("ipset save");
        material.items = items_of("ipset", &sets);
        material.items.extend(items_of("iptables-nft", &ipv4));
        material.items.extend(items_of("ip6tables-nft", &ipv6));
        if workload.is_plain() {
            material.write("ruleset.nft", netns.sh("nft list ruleset"))?;
        }
        for (name, text) in [("ipv4.rules", ipv4), ("ipv6.rules", ipv6), ("sets.rules", sets)] {
            material.write(name, text)?;
        }
        material.trace(Operation::Del, programs, host, &netns)?;
        Ok(material)
    }

    /// Runs the plugin once and keeps what it sends.
    fn trace(
        &self,
        operation: Operation,
        programs: &Programs,
        host: &Netns,
        netns: &Netns,
    ) -> Result<(), BenchError> {
        let log = self.path("trace");
        let call = plugin_call(self, operation, &programs.plugin, netns);
        run(host, &[call.traced(&STRACE_OPTIONS, &log)])?;
        let log = fs::read(&log).map_err(|source| BenchError::File { path: log, source })?;
        let log = String::from_utf8_lossy(&log);
        for wanted in [Wanted::All, Wanted::Changes] {
            let recording = record(&log, wanted)?;
            if recording.is_empty() {
                return Err(BenchError::Recording("the plugin sent nothing"));
            }
            self.write(&recording_name(operation, wanted), recording)?;
        }
        Ok(())
    }

    /// The plugin's configuration.
    pub fn conf(&self) -> PathBuf {
        self.path("conf.json")
    }

    /// What the plugin sent.
    pub fn recording(&self, operation: Operation, wanted: Wanted) -> PathBuf {
        self.path(&recording_name(operation, wanted))
    }

    /// For `iptables-restore`.
    pub fn ipv4_rules(&self) -> PathBuf {
        self.path("ipv4.rules")
    }

    /// For `ip6tables-restore`.
    pub fn ipv6_rules(&self) -> PathBuf {
        self.path("ipv6.rules")
    }

    /// For `ipset restore`, where there are sets.
    pub fn sets(&self) -> Option<PathBuf> {
        self.items.iter().any(|item| item.tool == "ipset").then(|| self.path("sets.rules"))
    }

    /// For `nft -f`, where nft has words for it.
    pub fn nft_ruleset(&self) -> Option<PathBuf> {
        self.workload.is_plain().then(|| self.path("ruleset.nft"))
    }

    /// Forgets the attachments of earlier calls, so that every ADD is the first. The folder stays, as on a node.
    ///
    /// # Errors
    /// [`BenchError::File`]
    pub fn forget_state(&self) -> Result<(), BenchError> {
        let path = self.path("state");
        let forget = || {
            fs::remove_dir_all(&path)?;
            fs::create_dir(&path)
        };
        forget().map_err(|source| BenchError::File { path: path.clone(), source })
    }

    fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<(), BenchError> {
        let path = self.path(name);
        fs::write(&path, bytes).map_err(|source| BenchError::File { path, source })
    }
}

fn recording_name(operation: Operation, wanted: Wanted) -> String {
    format!("{operation}-{wanted:?}.recording")
}

/// In memory, as `stateDir` is on a node: on a disk, replacing a file can wait for it to be written.
fn scratch_folder() -> Result<TempDir, BenchError> {
    let path = scratch_parent();
    let folder = tempfile::Builder::new().prefix("fwn-bench-").tempdir_in(&path);
    folder.map_err(|source| BenchError::File { path, source })
}

/// Where the configuration and the state of the measured calls are.
pub fn scratch_parent() -> PathBuf {
    let memory = ["/run", "/dev/shm"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| statfs(path).is_ok_and(|system| system.filesystem_type() == TMPFS_MAGIC));
    memory.unwrap_or_else(std::env::temp_dir)
}

/// Policies, chains, rules and sets in what `iptables-save` or `ipset save` wrote. None of them needs quotes.
fn items_of(tool: &'static str, saved: &str) -> Vec<Item> {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let mut items = Vec::new();
    let mut table = "filter";
    for line in saved.lines() {
        let all: Vec<_> = line.split_whitespace().collect();
        let (make, unmake) = match all.as_slice() {
            ["create", set, ..] => (words(&all), words(&["destroy", set])),
            ["add", ..] => (words(&all), Vec::new()),
            ["-A", chain, rule @ ..] => (
                words(&[&["-w", "-t", table, "-A", chain], rule].concat()),
                words(&[&["-w", "-t", table, "-D", chain], rule].concat()),
            ),
            [first, rest @ ..] => match (first.split_at_checked(1), rest) {
                (Some(("*", name)), []) => {
                    table = name;
                    continue;
                }
                (Some((":", chain)), ["-", ..]) => {
                    (words(&["-w", "-t", table, "-N", chain]), words(&["-w", "-t", table, "-X", chain]))
                }
                (Some((":", chain)), [policy, ..]) => (
                    words(&["-w", "-t", table, "-P", chain, policy]),
                    words(&["-w", "-t", table, "-P", chain, "ACCEPT"]),
                ),
                _ => continue,
            },
            [] => continue,
        };
        items.push(Item { tool, make, unmake });
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_made_and_unmade() {
        let saved = "# by\n*raw\n:OUTPUT DROP [0:0]\n:own - [0:0]\n-A own -p tcp -j DROP\nCOMMIT\n";
        let items = items_of("iptables-nft", saved);
        let text: Vec<_> = items.iter().map(|item| [item.make.join(" "), item.unmake.join(" ")]).collect();
        assert_eq!(
            text,
            [
                ["-w -t raw -P OUTPUT DROP", "-w -t raw -P OUTPUT ACCEPT"],
                ["-w -t raw -N own", "-w -t raw -X own"],
                ["-w -t raw -A own -p tcp -j DROP", "-w -t raw -D own -p tcp -j DROP"],
            ]
        );
        let sets = items_of("ipset", "create a hash:ip family inet\nadd a 10.0.0.1\n");
        assert_eq!(sets.len(), 2);
        assert_eq!(sets.first().map(|item| item.unmake.join(" ")).as_deref(), Some("destroy a"));
    }
}
