//! A machine of the test's own, as far as runtimes can tell: processes, network, cgroups, and everywhere that they write
//! to (`/etc`, `/run`, `/opt`, `/var/lib`, ...). Whatever they start or leave behind is gone with it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fwn_testkit::Netns;
use fwn_testkit::plugin::program;
use fwn_testkit::probe::{Attempt, Outcome};
use tempfile::TempDir;

/// How long something may take to come about on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often to look for what nobody announces.
pub(crate) const INTERVAL: Duration = Duration::from_millis(10);

pub(crate) struct Node {
    /// The node's own network.
    pub(crate) host: Netns,
    /// Runs `node.sh`, and ends with its stdin.
    holder: Child,
    /// Process 1 of the node, as seen from outside.
    init: String,
    _dir: TempDir,
}

/// A program that goes on running on the node.
pub(crate) struct Running(Child);

impl Node {
    /// With both programs in `/opt/cni/bin` and the presets in `/etc/cni/firewallnetns`, as "getting started" installs
    /// them.
    pub(crate) fn new() -> Self {
        let (host, dir) = (Netns::new(), tempfile::tempdir().expect("a folder"));
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/runtimes/node.sh");
        let mut command = host.command("bash");
        command.arg(script).arg(dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().expect("nsenter (package util-linux) runs");
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().expect("piped")).read_line(&mut line).expect("it answers");
        let node = Self { host, holder, init: line.trim_end().to_owned(), _dir: dir };
        assert!(node.init.parse::<u32>().is_ok(), "the node is made: {line}");

        node.sh("mkdir -p /opt/cni/bin /etc/cni/net.d /etc/cni/firewallnetns");
        for name in ["firewallnetns", "macvtap"] {
            symlink(program(name), node.path(&format!("/opt/cni/bin/{name}"))).expect("linked");
        }
        node.install_presets();
        node
    }

    /// Puts the presets where they are looked for, as they are delivered.
    pub(crate) fn install_presets(&self) {
        let presets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fw");
        for entry in fs::read_dir(presets).expect("presets") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            let text = fs::read_to_string(&path).expect("a preset");
            self.write(&format!("/etc/cni/firewallnetns/{name}"), &text);
        }
    }

    /// A file of the node as seen from outside.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    /// Writes a file of the node.
    pub(crate) fn write(&self, inside: &str, text: &str) {
        fs::write(self.path(inside), text).expect("written");
    }

    /// A command on the node, without an environment but `PATH`.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.init, "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--"]);
        command.arg(program.as_ref()).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null());
        command
    }

    /// Runs a shell script (`set -e`) on the node and gives what it printed.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        assert!(output.status.success(), "`{script}`: {}", text_of(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Runs a shell script (`set -e`) on the node.
    pub(crate) fn try_sh(&self, script: &str) -> Output {
        self.command("bash").args(["-ec", script]).output().expect("a shell runs")
    }

    /// Starts a shell script that goes on while the test does other things.
    pub(crate) fn start(&self, script: &str) -> Running {
        let mut command = self.command("bash");
        command.args(["-ec", script]).stdout(Stdio::null()).stderr(Stdio::null());
        Running(command.spawn().expect("a shell runs"))
    }

    /// Waits until a command on the node succeeds; gives what it printed then.
    #[track_caller]
    pub(crate) fn until(&self, script: &str) -> String {
        let started = Instant::now();
        loop {
            let output = self.try_sh(script);
            if output.status.success() {
                return String::from_utf8(output.stdout).expect("UTF-8");
            }
            assert!(started.elapsed() < PATIENCE, "`{script}`: {}", text_of(&output));
            std::thread::sleep(INTERVAL);
        }
    }

    /// Waits until the service at this address, from the node's own network, answers.
    #[track_caller]
    pub(crate) fn until_reached(&self, address: &str) {
        let (started, attempt) = (Instant::now(), Attempt::tcp(&self.host, address));
        while attempt.make(Duration::from_secs(1)) != Outcome::Reached {
            assert!(started.elapsed() < PATIENCE, "{address} never answered");
            std::thread::sleep(INTERVAL);
        }
    }

    /// Containers are attached: there is something that could be left behind.
    #[track_caller]
    pub(crate) fn holds_something(&self) {
        assert_ne!(self.attached(), "");
    }

    /// Nothing of any container is left. The kernel takes some time to remove a namespace with its interfaces.
    #[track_caller]
    pub(crate) fn holds_nothing(&self) {
        let started = Instant::now();
        loop {
            let left = self.attached();
            if left.is_empty() {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "left behind: {left}");
            std::thread::sleep(INTERVAL);
        }
    }

    /// What belongs to containers: namespaces (but `web`, which is a test's own), interfaces, NAT and filter rules,
    /// results, leases, states.
    fn attached(&self) -> String {
        self.sh("ls /run/netns 2>/dev/null | grep -vx web || true
             ip -br link | grep -E '^(veth|mac|ifb|bwp)' || true
             iptables-save -t nat | grep -E 'id: |--to-destination' || true
             iptables-save -t filter | grep -E '(10|172)\\.[0-9.]+/32' || true
             ls /var/lib/cni/results 2>/dev/null || true
             find /var/lib/cni/networks -name '[0-9]*' 2>/dev/null || true
             find /run/firewallnetns -name '*.json' 2>/dev/null || true")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // everything in it is killed, then its cgroups are removed
        drop(self.holder.stdin.take());
        let status = self.holder.wait();
        if !std::thread::panicking() {
            assert!(status.expect("the node ends").success(), "cgroups of the node are left");
        }
    }
}

impl Running {
    /// Waits for its end.
    pub(crate) fn wait(mut self) {
        self.0.wait().expect("it ends");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // only the way in; what runs on the node ends with the node
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text_of(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
