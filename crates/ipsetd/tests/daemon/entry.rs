//! `ipsetd -- COMMAND`: a container's entry point.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use fwn_testkit::Netns;
use fwn_testkit::plugin::program;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::kit::{Daemon, ask, command, entries, sandbox};

const ANY: (&str, &str) = ("IPSET_ALLOW_ANY", "1");

fn run(netns: &Netns, script: &str) -> (Option<i32>, String) {
    let output = command(netns, &[ANY], &["--", "sh", "-c", script]).output().expect("it runs");
    (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
}

/// `ipsetd -- sh -c SCRIPT` as pid 1 of a namespace of processes.
fn as_pid_1(netns: &Netns, script: &str) -> Command {
    let mut command = netns.command("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(program("ipsetd"));
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("IPSET", "1").env(ANY.0, ANY.1);
    command.args(["--", "sh", "-c", script]);
    command
}

#[test]
fn the_exit_code_is_the_commands() {
    let netns = Netns::new();
    assert_eq!(run(&netns, "echo out; exit 7"), (Some(7), "out\n".into()));
    assert_eq!(run(&netns, "exit 0").0, Some(0));
    assert_eq!(run(&netns, "kill -9 $$").0, Some(128 + 9));
    let output = command(&netns, &[ANY], &["--", "/no/such"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(127));
    let words = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(words.contains("error: cannot run `/no/such`: No such file"), "{words}");
    let output = command(&netns, &[ANY], &["--", "/etc/hostname"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(126));
    // nothing guards the port: the command is not started either
    let output = command(&netns, &[], &["--", "echo", "started"]).output().expect("it runs");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
}

#[test]
fn it_serves_beside_the_command_and_passes_signals_on() {
    let sandbox = sandbox();
    let script = "trap 'echo told >&2; exit 5' TERM; trap 'echo hup >&2' HUP; while :; do echo ready >&2; sleep 0.05; done";
    let mut daemon = Daemon::start(&sandbox, &[ANY], &["--", "sh", "-c", script]);
    daemon.wait_for("ready");
    assert_eq!(ask(&sandbox, "add blacklistsmtp 1.0.0.1\n"), "ok\n");
    assert_eq!(entries(&sandbox, "blacklistsmtp"), ["1.0.0.1"]);
    kill(Pid::from_raw(daemon.child.id().cast_signed()), Signal::SIGHUP).expect("it runs");
    daemon.wait_for("hup");
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(5));
    assert!(log.iter().any(|line| line == "told"), "{log:#?}");
}

#[test]
fn orphans_are_reaped_by_pid_1() {
    let netns = Netns::new();
    // the orphans' parent is gone when they end
    let script = "for i in 1 2 3; do (sleep 0.1 & ) ; done
                  for try in $(seq 200); do
                      sleep 0.02
                      zombies=$(cat /proc/[0-9]*/status 2>/dev/null | grep -c '^State:.Z')
                      sleepers=$(cat /proc/[0-9]*/comm 2>/dev/null | grep -c '^sleep')
                      [ $try -gt 10 ] && [ $sleepers = 0 ] && [ $zombies = 0 ] && exit 3
                  done; exit 4";
    let output = as_pid_1(&netns, script).output().expect("unshare (package util-linux) runs");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    // and it is pid 1
    let output = as_pid_1(&netns, "cat /proc/1/comm").output().expect("it runs");
    assert_eq!(output.stdout, b"ipsetd\n");
}

/// The daemon may change sets, the command not, whatever it starts.
#[test]
fn the_command_cannot_change_the_firewall() {
    let sandbox = sandbox();
    let script = "grep -h ^Cap /proc/self/status; ipset add blacklistsmtp 1.0.0.1 2>&1; su root -s /bin/sh -c 'ipset flush' 2>&1; ulimit -n";
    let (code, text) = run(&sandbox.container, script);
    assert_eq!(code, Some(0), "{text}");
    let sets: Vec<u64> = text
        .lines()
        .filter_map(|line| line.strip_prefix("Cap")?.split_once('\t'))
        .map(|(_, number)| u64::from_str_radix(number, 16).expect("a number"))
        .collect();
    assert_eq!(sets.len(), 5, "{text}");
    // CAP_NET_ADMIN and CAP_SYS_PTRACE (linux/capability.h)
    for set in &sets {
        assert_eq!(set & (1 << 12 | 1 << 19), 0, "{text}");
    }
    assert_ne!(sets[1] & 1, 0, "others are left: {text}");
    assert_eq!(text.matches("Operation not permitted").count(), 2, "{text}");
    assert_eq!(entries(&sandbox, "blacklistsmtp"), Vec::<String>::new());
}

#[test]
fn without_ipset_it_becomes_the_command() {
    let netns = Netns::new();
    let mut child = netns.command(program("ipsetd"));
    child.env_clear().env("PATH", "/usr/bin:/bin").args([
        "--",
        "sh",
        "-c",
        "cat /proc/$$/comm; cat; kill -TERM $$",
    ]);
    child.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = child.stderr(std::process::Stdio::piped()).spawn().expect("it runs");
    let pid = child.id();
    child.stdin.take().expect("piped").write_all(b"through\n").expect("sent");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.stdout, b"sh\nthrough\n");
    assert_eq!(output.stderr, b"ipsetd: nothing to do: IPSET is not set to 1\n");
    assert_eq!(output.status.signal(), Some(Signal::SIGTERM as i32), "{pid}");
}
