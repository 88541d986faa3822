//! What the tests stand on: a host with an uplink, a container, a machine outside, and calls of the plugin.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use fwn_testkit::plugin::program;
use fwn_testkit::{Netns, Sandbox};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Where Debian puts the plugins of containernetworking.
pub(crate) const PLUGINS: &str = "/usr/lib/cni";

/// The `host` of the sandbox has the uplink `up0`; its other end is `out0` of `outside`, which has 10.5.0.1/24,
/// fd05::1/64 and, behind them, 192.0.2.1 and 2001:db8::1.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) outside: Netns,
    pub(crate) dir: TempDir,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    /// The result or error on standard output.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Its error as `code: msg: details`.
    pub(crate) fn error(&self) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        let json = self.json();
        let details = json["details"].as_str().map(|details| format!(": {details}")).unwrap_or_default();
        format!("{}: {}{details}", json["code"], json["msg"].as_str().expect("a message"))
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self {
            sandbox: Sandbox::new(),
            outside: Netns::new(),
            dir: tempfile::tempdir().expect("a folder"),
        };
        world.sandbox.host.sh(&format!(
            "ip link add up0 type veth peer name out0 netns {}; ip link set up0 up",
            world.outside.pid()
        ));
        world.outside.sh("ip link set lo up; ip link set out0 up
             ip addr add 10.5.0.1/24 dev out0; ip addr add fd05::1/64 dev out0 nodad
             ip addr add 192.0.2.1/32 dev lo; ip addr add 2001:db8::1/128 dev lo");
        world
    }

    /// A call for container `c1`, interface `eth0`, of this world's container.
    pub(crate) fn call(&self, command: &str, conf: &Value) -> Answer {
        self.call_with(command, conf, &[])
    }

    /// The same with other variables; an empty one is unset.
    pub(crate) fn call_with(&self, command: &str, conf: &Value, variables: &[(&str, &str)]) -> Answer {
        let netns = self.sandbox.container.path();
        let path = format!("{}:{PLUGINS}", self.dir.path().display());
        let mut env = BTreeMap::from([
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", netns.to_str().expect("UTF-8")),
            ("CNI_PATH", &path),
        ]);
        env.extend(variables.iter().copied());
        let mut child = self
            .sandbox
            .host
            .command(program("macvtap"))
            .envs(env.into_iter().filter(|(_, value)| !value.is_empty()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nsenter (package util-linux) runs");
        // a plugin that is not called by a runtime ends without reading
        let _ = child.stdin.take().expect("piped").write_all(conf.to_string().as_bytes());
        let output = child.wait_with_output().expect("it ends");
        Answer {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// An IPAM configuration for `host-local`, leases in this world's folder.
    pub(crate) fn host_local(&self) -> Value {
        json!({
            "type": "host-local", "subnet": "10.5.0.0/24", "rangeStart": "10.5.0.170", "rangeEnd": "10.5.0.179",
            "gateway": "10.5.0.1", "routes": [{ "dst": "0.0.0.0/0" }], "dataDir": self.dir.path().join("leases")
        })
    }

    /// Addresses that `host-local` has given out and not got back.
    pub(crate) fn leases(&self) -> Vec<String> {
        let Ok(files) = fs::read_dir(self.dir.path().join("leases/net")) else { return Vec::new() };
        let names = files.map(|file| file.expect("an entry").file_name().into_string().expect("UTF-8"));
        let mut leases: Vec<String> = names.filter(|name| name.starts_with("10.")).collect();
        leases.sort();
        leases
    }

    /// Makes the IPAM plugin `fake`: it notes what it is called with, and answers ADD with `result`; the commands
    /// in `failing` it refuses.
    pub(crate) fn fake_ipam(&self, result: &Value, failing: &[&str]) {
        let dir = self.dir.path().display();
        fs::write(self.dir.path().join("result"), result.to_string()).expect("written");
        let failing = if failing.is_empty() { "NONE".to_owned() } else { failing.join("|") };
        let script = format!(
            "#!/bin/sh
             echo \"$CNI_COMMAND\" >> {dir}/calls
             case \"$CNI_COMMAND\" in
             {failing}) echo '{{\"cniVersion\":\"1.1.0\",\"code\":111,\"msg\":\"fake refuses\"}}'; exit 1;;
             ADD) cat {dir}/result;;
             esac"
        );
        let path = self.dir.path().join("fake");
        fs::write(&path, script).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    }

    /// The commands that `fake` was called with.
    pub(crate) fn fake_calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// `ip -d -j` in the container.
    pub(crate) fn ip(&self, arguments: &str) -> Value {
        let text = self.sandbox.container.sh(&format!("ip -d -j {arguments}"));
        serde_json::from_str(&text).unwrap_or_else(|_| json!([]))
    }

    /// The links of the container beside its loopback.
    pub(crate) fn links(&self) -> Vec<String> {
        let links = self.ip("link show");
        let names =
            links.as_array().expect("a list").iter().map(|link| link["ifname"].as_str().expect("a name"));
        names.filter(|name| *name != "lo").map(str::to_owned).collect()
    }

    /// A file in this world's folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// A configuration on `up0`.
pub(crate) fn conf(version: &str, more: &Value) -> Value {
    let mut conf = json!({ "cniVersion": version, "name": "net", "type": "macvtap", "master": "up0" });
    let all = conf.as_object_mut().expect("an object");
    all.extend(more.as_object().expect("an object").clone());
    conf
}

/// `static` IPAM with both families and default routes.
pub(crate) fn both_families() -> Value {
    json!({ "ipam": {
        "type": "static",
        "addresses": [
            { "address": "10.5.0.20/24", "gateway": "10.5.0.1" },
            { "address": "fd05::20/64", "gateway": "fd05::1" }
        ],
        "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }]
    } })
}

/// The same with the IPv4 half only: no duplicate address detection to wait for.
pub(crate) fn ipv4_only() -> Value {
    json!({ "ipam": {
        "type": "static",
        "addresses": [{ "address": "10.5.0.20/24", "gateway": "10.5.0.1" }],
        "routes": [{ "dst": "0.0.0.0/0" }]
    } })
}
