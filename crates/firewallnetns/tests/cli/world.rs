//! What the tests stand on: a sandbox whose host has `eth1`, and a file system of its own where tests and plugins
//! write: `/etc` (a layer over the machine's), `/run` and `/var/lib`. Nothing of it is seen outside.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use fwn_testkit::Sandbox;
use fwn_testkit::plugin::{program, write_script};
use serde_json::Value;
use tempfile::TempDir;

/// The example, byte for byte as documented.
pub(crate) const SEED: &str = include_str!("../../src/cli/demo/test-firewallnetns.conflist");
/// Name of the network in it.
pub(crate) const SEED_NETWORK: &str = "test-firewallnetns";
/// Folder of the example.
pub(crate) const MESOS: &str = "/etc/mesos-cni";

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    /// Folder of the test, the same inside and outside; `bin` in it is `CNI_PATH`.
    pub(crate) dir: TempDir,
    /// Holds the mounts; they are gone with it.
    mounts: Child,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Its stdout, if it succeeded and had nothing to say on stderr.
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self.stdout
    }

    /// Its stderr, if it failed and printed nothing else.
    pub(crate) fn error(self) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{self:?}");
        self.stderr
    }
}

impl World {
    /// With the plugins of the example in `CNI_PATH`, and its files in `/etc/mesos-cni`.
    pub(crate) fn new() -> Self {
        let (sandbox, dir) = (Sandbox::new(), tempfile::tempdir().expect("a folder"));
        sandbox.host.sh("ip link set lo up; ip link add eth1 type veth peer name lan0
             ip link set eth1 up; ip link set lan0 up; ip addr add 192.168.124.1/24 dev lan0");
        let script = format!(
            "layers={}/layers; mkdir $layers; mount -t tmpfs layers $layers; mkdir $layers/upper $layers/work
             mount -t overlay etc -o lowerdir=/etc,upperdir=$layers/upper,workdir=$layers/work /etc
             mount -t tmpfs run /run; mount -t tmpfs lib /var/lib; mkdir -p {MESOS} /etc/cni/net.d
             echo ready; exec cat",
            dir.path().display()
        );
        let mut mounts = sandbox
            .host
            .command("unshare")
            .args(["--mount", "sh", "-ec", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (package util-linux) runs");
        let mut line = String::new();
        BufReader::new(mounts.stdout.as_mut().expect("piped")).read_line(&mut line).expect("it answers");
        let world = Self { sandbox, dir, mounts };
        assert_eq!(line, "ready\n", "the mounts are made");

        fs::create_dir(world.bin()).expect("made");
        for path in [program("firewallnetns"), program("macvtap"), "/usr/lib/cni/host-local".into()] {
            symlink(&path, world.bin().join(path.file_name().expect("a name"))).expect("linked");
        }
        let presets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fw");
        for name in ["default-policy.fw", "allow-ping.fw", "allow-ping-out.fw"] {
            let text = fs::read_to_string(presets.join(name)).expect("a preset");
            world.write(&format!("{MESOS}/{name}"), &text);
        }
        world.write(&format!("{MESOS}/test-firewallnetns.conflist"), SEED);
        world
    }

    /// `CNI_PATH`
    pub(crate) fn bin(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    /// A file of this world as seen from outside.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.mounts.id()))
    }

    /// Writes a file of this world.
    pub(crate) fn write(&self, inside: &str, text: &str) {
        fs::write(self.path(inside), text).expect("written");
    }

    /// Puts a shell script into `CNI_PATH`.
    pub(crate) fn plugin(&self, name: &str, script: &str) {
        write_script(&self.bin().join(name), &format!("#!/bin/sh\n{script}\n"));
    }

    /// Names in a folder of this world, sorted; none if it is not there.
    pub(crate) fn names(&self, inside: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(inside)).into_iter().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    /// Everything that attachments leave in files: results, leases (but `host-local`'s own), states.
    pub(crate) fn kept(&self) -> Vec<String> {
        let mut kept = self.names("/var/lib/cni/results");
        for network in self.names("/var/lib/cni/networks") {
            let leases = self.names(&format!("/var/lib/cni/networks/{network}"));
            kept.extend(leases.into_iter().filter(|name| name.starts_with("192.")));
        }
        kept.extend(self.names("/run/firewallnetns").into_iter().filter(|name| name != "lock"));
        kept
    }

    /// A command in the host's namespaces, without an environment but `PATH`.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.mounts.id().to_string(), "--mount", "--net", "--"]);
        command.arg(program.as_ref()).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null());
        command
    }

    /// Runs a shell script (`set -e`) in the host's namespaces.
    pub(crate) fn sh(&self, script: &str) -> String {
        let output = self.command("sh").args(["-ec", script]).output().expect("a shell runs");
        assert!(output.status.success(), "`{script}`: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// `firewallnetns ARGUMENTS` with the variables of the example.
    pub(crate) fn firewallnetns(&self, arguments: &[&str]) -> Run {
        self.firewallnetns_with(&[], arguments)
    }

    /// The same with other variables; an empty one is unset.
    pub(crate) fn firewallnetns_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Run {
        let mut command = self.command(program("firewallnetns"));
        command.args(arguments).env("CNI_PATH", self.bin()).env("NETCONFPATH", MESOS);
        for (name, value) in variables {
            if value.is_empty() {
                command.env_remove(name);
            } else {
                command.env(name, value);
            }
        }
        Run::of(command.output().expect("nsenter (package util-linux) runs"))
    }

    /// Path of the container's namespace.
    pub(crate) fn netns(&self) -> String {
        self.sandbox.container.path().display().to_string()
    }

    /// Interfaces of the container beside its loopback.
    pub(crate) fn links(&self) -> Vec<String> {
        let text = self.sandbox.container.sh("ip -j link show");
        let links: Value = serde_json::from_str(&text).expect("JSON");
        let links = links.as_array().expect("a list").iter();
        links
            .map(|link| link["ifname"].as_str().expect("a name").to_owned())
            .filter(|name| name != "lo")
            .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // it would end at end of file too
        let _ = self.mounts.kill();
        let _ = self.mounts.wait();
    }
}
