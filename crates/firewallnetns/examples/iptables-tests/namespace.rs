//! Scratch network namespaces, and the machine's iptables in them. Each is gone with the last file that holds it; the
//! machine's own namespace is never touched.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use fwn_kernel::netlink::socket::{NetlinkSocket, Protocol};
use fwn_kernel::nft::observe::observe;
use fwn_plan::netfilter::Family;
use nix::sched::{CloneFlags, setns, unshare};

/// A namespace without anything in it.
#[derive(Debug)]
pub(crate) struct Scratch(File);

/// What is in force in a namespace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InForce {
    /// What `iptables-save` prints of the family, without its comments.
    pub(crate) save: String,
    /// Family, table, chain and policy, and expressions of the rules: in the order of the kernel.
    pub(crate) chains: Vec<(String, Vec<Vec<u8>>)>,
}

impl Scratch {
    /// Makes one.
    pub(crate) fn new() -> io::Result<Self> {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        };
        on_a_thread(make).map(Self)
    }

    /// A path to it, as long as it is held.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    /// Runs `work` on a thread inside.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        on_a_thread(|| {
            setns(&self.0, CloneFlags::CLONE_NEWNET)?;
            work()
        })
    }

    /// Runs the commands that a file wants before a rule. What they fail at is for the rule to show: a file also
    /// names programs that need not be installed.
    pub(crate) fn prepare(&self, commands: &[String]) -> io::Result<()> {
        self.run(|| {
            for command in commands {
                let mut words = command.split_whitespace();
                let program = match words.next() {
                    Some("iptables") => "iptables-nft",
                    Some("ip6tables") => "ip6tables-nft",
                    Some(other) => other,
                    None => continue,
                };
                match Command::new(program).args(words).stdin(Stdio::null()).output() {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        })
    }

    /// Appends a rule as iptables does it; what it complains about, where it refuses.
    pub(crate) fn append(
        &self,
        family: Family,
        table: &str,
        chain: &str,
        rule: &str,
    ) -> io::Result<Result<(), String>> {
        let text = format!("*{table}\n-A {chain} {rule}\nCOMMIT\n");
        let output = self.run(|| {
            let mut child = Command::new(program(family, "restore"))
                .arg("--noflush")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                // one that ends before it has read all says why
                let _ = stdin.write_all(text.as_bytes());
            }
            child.wait_with_output()
        })?;
        Ok(if output.status.success() { Ok(()) } else { Err(complaint(&output)) })
    }

    /// What is in force.
    pub(crate) fn look(&self, family: Family) -> io::Result<InForce> {
        self.run(|| {
            let output = Command::new(program(family, "save")).stdin(Stdio::null()).output()?;
            if !output.status.success() {
                return Err(io::Error::other(complaint(&output)));
            }
            let text = String::from_utf8_lossy(&output.stdout);
            let save = text
                .lines()
                .filter(|line| !line.starts_with('#'))
                .fold(String::new(), |all, line| all + line + "\n");
            let mut socket = NetlinkSocket::open(Protocol::Netfilter).map_err(io::Error::other)?;
            let ruleset = observe(&mut socket).map_err(io::Error::other)?;
            let mut chains = Vec::new();
            for table in ruleset.tables {
                for chain in table.chains {
                    let name = format!("{} {} {} {:?}", table.family, table.name, chain.name, chain.policy);
                    chains.push((name, chain.rules.into_iter().map(|rule| rule.expressions).collect()));
                }
            }
            Ok(InForce { save, chains })
        })
    }
}

/// What `iptables-nft --version` says.
pub(crate) fn version() -> io::Result<String> {
    let output = Command::new("iptables-nft").arg("--version").stdin(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

fn program(family: Family, what: &str) -> String {
    match family {
        Family::Ipv4 => format!("iptables-nft-{what}"),
        Family::Ipv6 => format!("ip6tables-nft-{what}"),
    }
}

fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let plain = |line: &str| line.split_once("(nf_tables): ").map_or(line, |(_, rest)| rest).to_owned();
    let boilerplate =
        |line: &&str| line.is_empty() || line.starts_with("Try `") || line.starts_with("Error occurred at");
    let lines = text.lines().filter(|line| !boilerplate(line)).map(plain).filter(|line| !line.is_empty());
    format!("{} ({})", lines.collect::<Vec<_>>().join("; "), output.status)
}

/// A thread that changes its namespace ends with it.
fn on_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
