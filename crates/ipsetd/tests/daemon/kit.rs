//! A daemon that runs in the container's namespace of a sandbox, and peers that talk to it. It is gone with the value.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fwn_testkit::log::Log;
use fwn_testkit::plugin::program;
use fwn_testkit::{Netns, Sandbox};

/// How long to wait for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running daemon.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    log: Log,
}

/// `ipsetd ARGUMENTS` in `netns` with nothing in its environment but `PATH`, `IPSET=1` and these.
pub(crate) fn command(netns: &Netns, environment: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = netns.command(program("ipsetd"));
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("IPSET", "1");
    command.envs(environment.iter().copied()).args(arguments);
    command
}

/// A sandbox whose two namespaces are connected, with a set of the original's example in the container.
pub(crate) fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.connect();
    sandbox.container.sh("ipset create blacklistsmtp hash:ip");
    sandbox
}

impl Daemon {
    /// Starts one in the container and waits until it listens.
    pub(crate) fn start(sandbox: &Sandbox, environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut daemon = Self::spawn(command(&sandbox.container, environment, arguments));
        daemon.wait_for("listening on port");
        daemon
    }

    /// For everybody on the other side.
    pub(crate) fn open(sandbox: &Sandbox) -> Self {
        Self::start(
            sandbox,
            &[("IPSET_ALLOW_ANY", "1"), ("IPSET_VERBS", "add,del,test,list,flush,swap")],
            &[],
        )
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nsenter (package util-linux) runs");
        let log = Log::of(child.stderr.take().expect("piped"));
        Self { child, log }
    }

    /// Waits for a log line with this text in it, among those that were not waited for yet.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        self.log.wait_for(text)
    }

    /// Ends it by SIGTERM; gives its exit code and every log line.
    pub(crate) fn stop(mut self) -> (Option<i32>, Vec<String>) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
        let code = self.child.wait().expect("it ends").code();
        (code, self.log.to_end().to_vec())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the daemon listens, seen from the other side.
pub(crate) const ADDRESS: &str = "10.9.0.2:9999";

/// A connection from `netns`.
pub(crate) fn connect(netns: &Netns, address: &str) -> TcpStream {
    let stream = netns.run(|| TcpStream::connect(address));
    let stream = stream.unwrap_or_else(|error| panic!("the daemon accepts at {address}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream.set_write_timeout(Some(PATIENCE)).expect("a time");
    stream
}

/// Sends bytes, closes the write side at once, and reads to the end.
pub(crate) fn exchange(netns: &Netns, address: &str, bytes: &[u8]) -> String {
    let mut stream = connect(netns, address);
    // who is turned away may not get to send
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answers = String::new();
    stream.read_to_string(&mut answers).expect("the daemon closes");
    answers
}

/// The same from the host's side of the sandbox.
pub(crate) fn ask(sandbox: &Sandbox, lines: &str) -> String {
    exchange(&sandbox.host, ADDRESS, lines.as_bytes())
}

/// The entries of a set, sorted, as the `ipset` program lists them.
pub(crate) fn entries(sandbox: &Sandbox, set: &str) -> Vec<String> {
    let text = sandbox.container.sh(&format!("ipset save {set} | grep '^add' || true"));
    let mut entries: Vec<String> =
        text.lines().filter_map(|line| line.splitn(3, ' ').nth(2)).map(str::to_owned).collect();
    entries.sort();
    entries
}
