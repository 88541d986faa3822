//! What the tests stand on: a host and a container, folders of their own, configurations and calls.

use std::fs;
use std::path::{Path, PathBuf};

use fwn_testkit::Sandbox;
use fwn_testkit::plugin::{Answer, PluginCall, program, write_script};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The plugin's file.
pub(crate) fn plugin() -> PathBuf {
    program("firewallnetns")
}

/// What another program has put into the container before: rules, chains, policies and sets of somebody else.
const FOREIGN: &str = "
    ipset create theirs hash:ip; ipset add theirs 192.0.2.9
    iptables -N theirs; iptables -A theirs -m set --match-set theirs src -j DROP
    iptables -A INPUT -s 192.0.2.1 -j DROP; iptables -A INPUT -j theirs; iptables -P FORWARD DROP
    iptables -t nat -A POSTROUTING -o theirs0 -j MASQUERADE
    ip6tables -A OUTPUT -d 2001:db8::1 -j REJECT; ip6tables -P INPUT ACCEPT";

/// A sandbox and the folders of its plugin. When it goes, the host must be as it was.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) dir: TempDir,
    host: String,
}

impl World {
    /// An empty container.
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.host.sh("iptables -A INPUT -s 203.0.113.1 -j DROP; ipset create hosts hash:ip");
        let host = everything(&sandbox.host);
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("data")).expect("made");
        Self { sandbox, dir, host }
    }

    /// A container in which somebody else has rules, chains, policies and sets.
    pub(crate) fn with_foreign() -> Self {
        let world = Self::new();
        world.sandbox.container.sh(FOREIGN);
        world
    }

    /// A network configuration with `more` in it.
    pub(crate) fn conf(&self, more: &Value) -> Value {
        self.conf_of("1.0.0", more)
    }

    /// The same of another version; from 0.3.0 on with a result of a plugin before.
    pub(crate) fn conf_of(&self, version: &str, more: &Value) -> Value {
        let mut conf = json!({
            "cniVersion": version, "name": "net", "type": "firewallnetns",
            "dataDir": self.path("data"), "stateDir": self.path("state"), "persistDir": self.path("persist"),
        });
        if !["0.1.0", "0.2.0"].contains(&version) {
            let mut ip = json!({ "address": "10.9.0.2/24", "gateway": "10.9.0.1", "interface": 0 });
            if version.starts_with('0') {
                ip["version"] = json!("4");
            }
            conf["prevResult"] = json!({
                "cniVersion": version,
                "interfaces": [{ "name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": self.netns() }],
                "ips": [ip],
            });
        }
        let all = conf.as_object_mut().expect("an object");
        all.extend(more.as_object().expect("an object").clone());
        conf
    }

    /// A call for container `c1` and interface `eth0`.
    pub(crate) fn call(&self, command: &str, conf: &Value) -> PluginCall<'_> {
        PluginCall::new(&self.sandbox, plugin(), command, conf.to_string())
    }

    /// A call that must succeed; gives what it printed.
    pub(crate) fn run(&self, command: &str, conf: &Value) -> Value {
        let answer = self.call(command, conf).run();
        assert_eq!(answer.stderr, "", "{command} {conf}");
        answer.expect_success()
    }

    /// A call of a program instead of the plugin: a script, in which `$PLUGIN` is the plugin.
    pub(crate) fn scripted(&self, script: &str, command: &str, conf: &Value) -> PluginCall<'_> {
        let path = self.dir.path().join("script");
        write_script(&path, &format!("#!/bin/bash\nset -e\nPLUGIN={}\n{script}\n", plugin().display()));
        PluginCall::new(&self.sandbox, path, command, conf.to_string())
    }

    /// A path below this world's folder, as text.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The path of the container's namespace, as text.
    pub(crate) fn netns(&self) -> String {
        self.sandbox.container.path().display().to_string()
    }

    /// Writes a file into the data folder.
    pub(crate) fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join("data").join(name);
        fs::write(&path, contents).expect("written");
        path
    }

    /// All that is in the container: rules, policies and sets of any make.
    pub(crate) fn container(&self) -> String {
        everything(&self.sandbox.container)
    }

    /// The files of the state folder (`NETNS/FILE`), without the lock, which stays.
    pub(crate) fn state_files(&self) -> Vec<String> {
        let state = self.dir.path().join("state");
        let folders = file_names(&state).into_iter().filter(|name| name != "lock");
        let paths = folders.flat_map(|folder| {
            let names = file_names(&state.join(&folder));
            // an empty folder is left over, too
            if names.is_empty() {
                vec![folder]
            } else {
                names.iter().map(|name| format!("{folder}/{name}")).collect()
            }
        });
        paths.collect()
    }

    /// The file of the one attachment in force.
    pub(crate) fn state_file(&self) -> PathBuf {
        let names = self.state_files();
        let [name] = names.as_slice() else { panic!("not one state file: {names:?}") };
        self.dir.path().join("state").join(name)
    }

    /// A call that must fail with this code, and change nothing; gives the message and the details.
    pub(crate) fn refused(&self, code: u64, call: &PluginCall<'_>) -> (String, String) {
        let before = (self.container(), self.state_files());
        let answer = call.run();
        let (found, message, details) = answer.expect_error();
        assert_eq!(found, code, "{answer:?}");
        assert_eq!(answer.stdout.lines().count(), 1, "{answer:?}");
        assert_eq!((self.container(), self.state_files()), before, "{answer:?}");
        (message, details)
    }

    /// An ADD that must be refused with a message that begins so.
    pub(crate) fn refuses(&self, code: u64, more: &Value, message: &str) {
        let (found, _) = self.refused(code, &self.call("ADD", &self.conf(more)));
        assert!(found.starts_with(message), "expected `{message}`, found `{found}`");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(everything(&self.sandbox.host), self.host, "the namespace of the plugin was changed");
        }
    }
}

/// Both views of a namespace: tables and chains that iptables does not show are there too. Entries of sets come last,
/// sorted: a hash has no order of its own.
pub(crate) fn everything(netns: &fwn_testkit::Netns) -> String {
    let nft = netns.sh("nft list ruleset 2>/dev/null");
    let without_counters: Vec<_> = nft.lines().map(|line| line.split(" counter packets").next()).collect();
    let dump = netns.dump();
    let (mut entries, rest): (Vec<_>, Vec<_>) = dump.lines().partition(|line| line.starts_with("add "));
    entries.sort_unstable();
    format!("{}\n{}\n{without_counters:?}", rest.join("\n"), entries.join("\n"))
}

/// Names in a folder, sorted; none if it is not there.
pub(crate) fn file_names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// An append to a chain.
pub(crate) fn rule(chain: &str, rule: &str) -> Value {
    json!({ "type": "A", "chain": chain, "rule": rule })
}

/// A firewall with a bit of everything.
pub(crate) fn full() -> Value {
    json!({
        "ipsets": [
            { "set": "blocked", "hashtype": "hash:net", "entries": ["198.51.100.0/24"] },
            { "set": "open", "hashtype": "bitmap:port", "range": "0-1024", "entries": ["80", "443"] },
            { "set": "all", "hashtype": "list:set", "entries": ["blocked"] },
        ],
        "chains": [{ "chain": "web" }],
        "policies": [{ "chain": "INPUT", "policy": "DROP" }, { "chain": "OUTPUT", "policy": "ACCEPT" }],
        "rules": [
            rule("INPUT", "-i lo -j ACCEPT"),
            rule("INPUT", "-m set --match-set blocked src -j DROP"),
            rule("INPUT", "-i $CNI_IFNAME -p tcp -j web"),
            rule("web", "-p tcp -m set --match-set open dst -m comment --comment 'open ports' -j ACCEPT"),
            { "type": "I", "chain": "OUTPUT", "rule": "-p tcp --dport 25 -j REJECT --reject-with tcp-reset" },
            { "type": "A", "table": "mangle", "chain": "PREROUTING", "rule": "-p udp -j MARK --set-mark 7" },
        ],
    })
}

/// Stdout of an answer, which must be one line of JSON.
pub(crate) fn one_json(answer: &Answer) -> Value {
    assert_eq!(answer.stdout.lines().count(), 1, "{answer:?}");
    serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}
