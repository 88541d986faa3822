//! A host with a `/run` of its own, containers, the daemon of the node and the plugin. All of it is gone with the value.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fwn_testkit::log::Log;
use fwn_testkit::plugin::{PluginCall, program};
use fwn_testkit::{Netns, Sandbox};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long to wait for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Where the container is reached from the host, once they are connected.
pub(crate) const ADDRESS: &str = "10.9.0.2:9999";

/// A host and a container.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) dir: TempDir,
    /// Holds the mounts; they are gone with it.
    mounts: Child,
}

impl World {
    /// With the presets in `/run/data`, host and container connected.
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.connect();
        let dir = tempfile::tempdir().expect("a folder");
        let mut mounts = sandbox
            .host
            .command("unshare")
            .args([
                "--mount",
                "sh",
                "-ec",
                "mount -t tmpfs run /run; mkdir /run/data /run/netns; echo ready; exec cat",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (package util-linux) runs");
        let mut line = String::new();
        BufReader::new(mounts.stdout.as_mut().expect("piped")).read_line(&mut line).expect("it answers");
        let world = Self { sandbox, dir, mounts };
        assert_eq!(line, "ready\n", "the mounts are made");
        let presets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fw");
        for entry in fs::read_dir(presets).expect("presets") {
            let path = entry.expect("an entry").path();
            fs::copy(&path, world.path("/run/data").join(path.file_name().expect("a name"))).expect("copied");
        }
        let script = format!(
            "#!/bin/sh\nexec nsenter --mount=/proc/{}/ns/mnt -- {}\n",
            world.mounts.id(),
            program("firewallnetns").display()
        );
        fs::write(world.plugin(), script).expect("written");
        fs::set_permissions(world.plugin(), fs::Permissions::from_mode(0o755)).expect("executable");
        world
    }

    fn plugin(&self) -> PathBuf {
        self.dir.path().join("plugin")
    }

    /// A file of this world as seen from outside.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.mounts.id()))
    }

    /// A command on the host of this world.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.mounts.id();
        command.arg(format!("--net=/proc/{pid}/ns/net")).arg(format!("--mount=/proc/{pid}/ns/mnt")).arg("--");
        command.arg(program.as_ref());
        command
    }

    /// Runs a shell script (`set -e`) on the host.
    pub(crate) fn sh(&self, script: &str) -> String {
        let output =
            self.command("sh").args(["-ec", script]).stdin(Stdio::null()).output().expect("a shell runs");
        assert!(output.status.success(), "`{script}` failed: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// A network configuration with a set `blocked`, and these keys.
    #[expect(clippy::unused_self, reason = "what it names is in this world")]
    pub(crate) fn conf(&self, more: &Value) -> Value {
        let mut conf = json!({
            "cniVersion": "1.1.0", "name": "net", "type": "firewallnetns",
            "dataDir": "/run/data", "stateDir": "/run/state", "persistDir": "/run/persist",
            "ipsets": [ { "set": "blocked", "hashtype": "hash:ip" } ],
            "prevResult": { "cniVersion": "1.1.0", "ips": [ { "address": "10.9.0.2/24" } ] },
        });
        let all = conf.as_object_mut().expect("an object");
        all.extend(more.as_object().expect("an object").clone());
        conf
    }

    /// The same, served for the host's side.
    pub(crate) fn served(&self) -> Value {
        self.conf(&json!({ "ipsetd": { "allowFrom": [ "10.9.0.1" ] } }))
    }

    /// A call of the plugin for container `c1`.
    pub(crate) fn call(&self, command: &str, conf: &Value) -> PluginCall<'_> {
        PluginCall::new(&self.sandbox, self.plugin(), command, conf.to_string())
    }

    /// A call that must succeed and has nothing to say.
    #[track_caller]
    pub(crate) fn run(&self, command: &str, conf: &Value) {
        let answer = self.call(command, conf).run();
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{command}: {answer:?}");
    }

    /// The same for another container.
    #[track_caller]
    pub(crate) fn add(&self, container: &str, netns: &str, conf: &Value) {
        let call = self.call("ADD", conf).env("CNI_CONTAINERID", container).env("CNI_NETNS", netns);
        let answer = call.run();
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{answer:?}");
    }

    /// A connection to the unix socket of the daemon.
    pub(crate) fn talk(&self) -> UnixStream {
        let stream = UnixStream::connect(self.path("/run/ipsetd/ipsetd.sock")).expect("the daemon listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        stream
    }

    /// Lines to the unix socket, and all that is answered.
    pub(crate) fn say(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.talk();
        // who is cut off may not get to send
        let _ = stream.write_all(bytes.as_ref());
        let _ = stream.shutdown(Shutdown::Write);
        let mut answers = String::new();
        stream.read_to_string(&mut answers).expect("the daemon closes");
        answers
    }

    /// The files in which attachments are remembered.
    pub(crate) fn records(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("/run/ipsetd/attachments")).expect("a folder");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.mounts.kill();
        let _ = self.mounts.wait();
    }
}

/// A running `ipsetd node`.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    log: Log,
}

impl Daemon {
    /// Starts one, and waits until it says that it is ready, as systemd would.
    pub(crate) fn start(world: &World, arguments: &[&str]) -> Self {
        Self::start_as(world, &program("ipsetd"), arguments)
    }

    /// The same by another program that becomes it.
    pub(crate) fn start_as(world: &World, program: &Path, arguments: &[&str]) -> Self {
        let path = world.dir.path().join("notify");
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time");
        let mut command = world.command(program);
        command.arg("node").args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("NOTIFY_SOCKET", &path);
        let mut daemon = Self::spawn(command);
        let mut state = [0; 64];
        match socket.recv(&mut state) {
            Ok(length) => assert_eq!(&state[..length], b"READY=1"),
            Err(error) => panic!("{error}: {:?}", daemon.log()),
        }
        daemon
    }

    pub(crate) fn spawn(command: Command) -> Self {
        Self::spawn_with(command, Stdio::null())
    }

    /// With this as its standard input.
    pub(crate) fn spawn_with(mut command: Command, stdin: impl Into<Stdio>) -> Self {
        let command = command.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("nsenter (package util-linux) runs");
        let log = Log::of(child.stderr.take().expect("piped"));
        Self { child, log }
    }

    /// Waits for a log line with this text in it, among those that were not waited for yet.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        self.log.wait_for(text)
    }

    /// Every line that was logged so far.
    pub(crate) fn log(&mut self) -> &[String] {
        self.log.so_far()
    }

    /// Kills it, as nothing could be prepared for.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Ends it by SIGTERM; gives its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).expect("it runs");
        self.child.wait().expect("it ends").code()
    }

    /// Its memory (`VmRSS`) in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("there");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `ipsetd` to its end.
pub(crate) fn ipsetd(world: &World, arguments: &[&str]) -> Output {
    let mut command = world.command(program("ipsetd"));
    command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).output().expect("nsenter (package util-linux) runs")
}

/// A connection from `netns`.
pub(crate) fn connect(netns: &Netns, address: &str) -> TcpStream {
    let stream = netns.run(|| TcpStream::connect(address)).expect("the daemon accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream
}

/// Sends lines, closes the write side at once, and reads to the end.
pub(crate) fn exchange(netns: &Netns, address: &str, lines: &str) -> String {
    let mut stream = connect(netns, address);
    let _ = stream.write_all(lines.as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("the daemon closes");
    answers
}

/// The same from the host to the container.
pub(crate) fn ask(world: &World, lines: &str) -> String {
    exchange(&world.sandbox.host, ADDRESS, lines)
}

/// Whether anybody listens on a port of a namespace.
pub(crate) fn listens(netns: &Netns, port: u16) -> bool {
    !netns.sh(&format!("ss -Hltn sport = :{port}")).is_empty()
}

/// Waits until `happened`; there are things that no event tells a test of.
#[track_caller]
pub(crate) fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The entries of a set, sorted, as the `ipset` program lists them.
pub(crate) fn entries(netns: &Netns, set: &str) -> Vec<String> {
    let text = netns.sh(&format!("ipset save {set} | grep '^add' || true"));
    let mut entries: Vec<String> =
        text.lines().filter_map(|line| line.splitn(3, ' ').nth(2)).map(str::to_owned).collect();
    entries.sort();
    entries
}
