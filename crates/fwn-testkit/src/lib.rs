//! Test kit: network namespaces of a test's own and commands inside them.
//!
//! A [`Netns`] lives in a process that holds it; it is gone when the value is dropped, and also when the test
//! process is killed, because the holder reads from a pipe of ours. No name, mount or file is left behind.
//! Nothing here skips: what cannot be had panics.

pub mod cases;
pub mod log;
pub mod manual;
pub mod plugin;
pub mod probe;
pub mod raw;
pub mod schema;
pub mod service;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A network namespace of the test's own.
#[derive(Debug)]
pub struct Netns {
    holder: Child,
}

impl Netns {
    /// Makes one, with the loopback interface down as the kernel makes it.
    ///
    /// # Panics
    /// Not root, or no `unshare`.
    pub fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "the kernel tests need root: run them as root");
        let mut holder = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (package util-linux) runs");
        // once the first line comes back, the namespace exists
        let stdin = holder.stdin.as_mut().expect("piped");
        stdin.write_all(b"ready\n").expect("holder reads");
        let mut line = String::new();
        let stdout = holder.stdout.as_mut().expect("piped");
        BufReader::new(stdout.by_ref().take(6)).read_line(&mut line).expect("holder answers");
        assert_eq!(line, "ready\n", "the namespace holder answers");
        Self { holder }
    }

    /// Pid of the process that holds it.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// A path to the namespace, valid as long as `self` lives.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.holder.id()))
    }

    /// A command that will run inside the namespace.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program.as_ref());
        command
    }

    /// Runs a shell script (`set -e`) inside and gives what it printed.
    ///
    /// # Panics
    /// It fails; the message shows its output.
    pub fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        assert!(output.status.success(), "`{script}` failed: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Runs a shell script (`set -e`) inside.
    ///
    /// # Panics
    /// There is no shell.
    pub fn try_sh(&self, script: &str) -> Output {
        self.command("sh").args(["-ec", script]).stdin(Stdio::null()).output().expect("a shell runs")
    }

    /// Runs `work` on a thread inside the namespace; sockets that it opens stay there.
    ///
    /// # Panics
    /// `work` panics, or the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let netns = File::open(self.path()).expect("the namespace is held");
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                nix::sched::setns(&netns, nix::sched::CloneFlags::CLONE_NEWNET)
                    .expect("the namespace lets us in");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// `iptables-save`, `ip6tables-save` and `ipset save` in one text, without what changes by itself: comments,
    /// packet counters, and the hash seed of sets.
    ///
    /// # Panics
    /// One of the tools fails.
    pub fn dump(&self) -> String {
        let text = self.sh("iptables-save; ip6tables-save; ipset save");
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(without_counters)
            .fold(String::new(), |all, line| all + &line + "\n")
    }
}

fn without_counters(line: &str) -> String {
    if line.starts_with(':') {
        return line.split(" [").next().unwrap_or(line).to_owned();
    }
    let mut words = line.split(' ').peekable();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "initval" {
            words.next();
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // the holder ends at end of file; killing it is quicker
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Addresses that the kernel makes itself, link-local ones, can be used at once too.
const WITHOUT_DAD: &str = "echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad";

/// A "host" and a container namespace, joined by a veth pair on demand.
#[derive(Debug, Default)]
pub struct Sandbox {
    /// Where the plugin runs. Never the machine's own.
    pub host: Netns,
    /// The container's.
    pub container: Netns,
}

impl Sandbox {
    /// Two fresh namespaces.
    pub fn new() -> Self {
        Self::default()
    }

    /// Joins them: `host0` with 10.9.0.1/24 and fd09::1/64 on the host's side, `eth0` with 10.9.0.2/24 and
    /// fd09::2/64 in the container; both up and ready for packets, without duplicate address detection, loopback up
    /// too.
    ///
    /// # Panics
    /// `ip` fails, or the interfaces do not become ready.
    pub fn connect(&self) -> &Self {
        let pid = self.container.pid();
        // before there are interfaces: they take the setting over when they are made
        self.host.sh(WITHOUT_DAD);
        self.container.sh(WITHOUT_DAD);
        self.host.sh(&format!(
            "ip link set lo up; ip link add host0 type veth peer name eth0 netns {pid}
             ip addr add 10.9.0.1/24 dev host0; ip addr add fd09::1/64 dev host0 nodad; ip link set host0 up"
        ));
        self.container.sh(
            "ip link set lo up; ip addr add 10.9.0.2/24 dev eth0; ip addr add fd09::2/64 dev eth0 nodad; ip link set eth0 up
             ip route add default via 10.9.0.1; ip -6 route add default via fd09::1",
        );
        // an interface is up some time after its peer: only then the kernel sends, makes a link-local address, and
        // joins the groups in which neighbours ask for its addresses (`linkwatch_do_dev`, net/core/link_watch.c)
        for (netns, interface, group) in
            [(&self.host, "host0", "ff02::1:ff00:1"), (&self.container, "eth0", "ff02::1:ff00:2")]
        {
            netns.sh(&format!(
                "for try in $(seq 1000); do
                     if ip -6 maddr show dev {interface} | grep -q '{group}$' &&
                        ip -6 addr show dev {interface} scope link | grep -q fe80; then exit 0; fi
                     sleep 0.005
                 done
                 exit 1"
            ));
        }
        self
    }
}
