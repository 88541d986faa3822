//! A container beside its host, and the plugin that gives it firewalls.

use std::path::Path;

use fwn_testkit::plugin::{Answer, PluginCall, program};
use fwn_testkit::{Netns, Sandbox};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A host (10.9.0.1, fd09::1) and a container (10.9.0.2, fd09::2), joined.
pub(crate) struct Fixture {
    sandbox: Sandbox,
    state: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.connect();
        Self { sandbox, state: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) fn host(&self) -> &Netns {
        &self.sandbox.host
    }

    pub(crate) fn container(&self) -> &Netns {
        &self.sandbox.container
    }

    /// More addresses of the host: `10.9.0.3/24`.
    pub(crate) fn host_addresses(&self, addresses: &[&str]) {
        for address in addresses {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            self.host().sh(&format!("ip addr add {address} dev host0 {nodad}"));
        }
    }

    /// The container's firewall is now what `conf` says, with the presets at hand; a second one replaces the first.
    #[track_caller]
    pub(crate) fn add(&self, conf: &Value) {
        self.add_in(&[], conf);
    }

    /// The same, with these variables in the plugin's environment.
    #[track_caller]
    pub(crate) fn add_in(&self, environment: &[(&str, &str)], conf: &Value) {
        self.call("ADD", environment, conf).expect_success();
    }

    /// These presets and nothing else.
    #[track_caller]
    pub(crate) fn add_presets(&self, presets: &[&str]) {
        self.add(&json!({ "fwFiles": presets }));
    }

    #[track_caller]
    pub(crate) fn del(&self, conf: &Value) {
        self.call("DEL", &[], conf).expect_success();
    }

    fn call(&self, command: &str, environment: &[(&str, &str)], conf: &Value) -> Answer {
        let presets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fw");
        let mut whole = json!({
            "cniVersion": "1.0.0",
            "name": "net",
            "type": "firewallnetns",
            "dataDir": presets,
            "stateDir": self.state.path().join("state"),
            "persistDir": self.state.path().join("persist"),
            "prevResult": {
                "cniVersion": "1.0.0",
                "interfaces": [ { "name": "eth0", "sandbox": self.container().path() } ],
                "ips": [
                    { "address": "10.9.0.2/24", "gateway": "10.9.0.1", "interface": 0 },
                    { "address": "fd09::2/64", "gateway": "fd09::1", "interface": 0 },
                ],
            },
        });
        let keys = whole.as_object_mut().expect("an object");
        keys.extend(conf.as_object().expect("an object").clone());
        let call = PluginCall::new(&self.sandbox, program("firewallnetns"), command, whole.to_string());
        environment.iter().fold(call, |call, (name, value)| call.env(name, *value)).run()
    }
}

/// A rule of the inline part.
pub(crate) fn append(chain: &str, rule: &str) -> Value {
    json!({ "type": "A", "chain": chain, "rule": rule })
}

/// No rules, then rules that leave one of the directions open: what is silent with all three is closed in each
/// direction by itself.
pub(crate) fn half_open() -> [Vec<Value>; 3] {
    [vec![], vec![append("OUTPUT", "-j ACCEPT")], vec![append("INPUT", "-j ACCEPT")]]
}
