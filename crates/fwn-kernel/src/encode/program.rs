//! Runs `iptables-nft-restore` or its IPv6 twin in the namespace of the calling thread: restore text in, what it
//! complained about out. No shell, a fixed search path, an empty environment; nothing of the child reaches our own
//! stdout or stderr, and it never lives longer than [`TIMEOUT`].

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::Builder;
use std::time::Duration;

use fwn_plan::netfilter::Family;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Where the programs are looked for, whatever `PATH` says: it comes from the runtime.
const SEARCH_PATH: [&str; 5] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin"];
/// How long one run may take; 10 000 rules take a fraction of a second.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most of the child's complaints that are kept.
const COMPLAINTS_MAX: u64 = 1024 * 1024;

/// Why the program could not be made to do its work at all.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is not installed.
    #[error(
        "`{0}` is not in {folders}: a rule that is not encoded natively needs `iptables-nft-restore` and \
         `ip6tables-nft-restore`; hint: install the package `iptables` (Debian, Ubuntu, Alpine) or `iptables-nft` \
         (Fedora, RHEL, Arch)",
        folders = SEARCH_PATH.join(", ")
    )]
    Missing(&'static str),
    /// It could not be started, fed or waited for.
    #[error("cannot run `{program}`")]
    Run {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A signal that we did not send ended it.
    #[error("`{program}` was killed by signal {signal}")]
    Killed {
        /// The program.
        program: PathBuf,
        /// The signal's number.
        signal: i32,
    },
    /// It was still running after the time allowed, and was killed.
    #[error("`{0}` did not end within {limit} seconds", limit = TIMEOUT.as_secs())]
    TimedOut(PathBuf),
}

/// How a run ended that was not cut short.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    /// What it wrote to stderr.
    pub(super) complaints: String,
}

/// The restore program of a family.
pub(super) fn restore_program(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "iptables-nft-restore",
        Family::Ipv6 => "ip6tables-nft-restore",
    }
}

/// Feeds `text` to the restore program of `family`, which adds it to what the namespace has.
pub(super) fn run_restore(family: Family, text: &str) -> Result<Finished, ProgramError> {
    let name = restore_program(family);
    let program = find_program(name, &SEARCH_PATH.map(Path::new)).ok_or(ProgramError::Missing(name))?;
    run(&program, &["--noflush"], text, TIMEOUT)
}

/// Whether the restore programs of both families are there.
pub(super) fn find_programs() -> Result<(), ProgramError> {
    for family in Family::ALL {
        let name = restore_program(family);
        find_program(name, &SEARCH_PATH.map(Path::new)).ok_or(ProgramError::Missing(name))?;
    }
    Ok(())
}

fn find_program(name: &str, folders: &[&Path]) -> Option<PathBuf> {
    let executable = |path: &PathBuf| {
        path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    folders.iter().map(|folder| folder.join(name)).find(executable)
}

fn run(program: &Path, arguments: &[&str], stdin: &str, timeout: Duration) -> Result<Finished, ProgramError> {
    let failed = |source| ProgramError::Run { program: program.to_owned(), source };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // a group of its own, so that what it starts (modprobe) can be ended with it
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let group = Pid::from_raw(child.id().cast_signed());
    let (Some(mut to_child), Some(mut from_child)) = (child.stdin.take(), child.stderr.take()) else {
        return Err(failed(io::ErrorKind::BrokenPipe.into()));
    };
    std::thread::scope(|scope| {
        // a thread that cannot be had must not leave the child behind
        let refused = |source| {
            let _ = killpg(group, Signal::SIGKILL);
            failed(source)
        };
        // a child that ends before it has read all says why on stderr
        let feed = move || drop(to_child.write_all(stdin.as_bytes()));
        Builder::new().spawn_scoped(scope, feed).map_err(refused)?;
        let read = move || {
            let mut bytes = Vec::new();
            (&mut from_child).take(COMPLAINTS_MAX).read_to_end(&mut bytes)?;
            // read on, or the child would be killed by SIGPIPE
            io::copy(&mut from_child, &mut io::sink())?;
            Ok(bytes)
        };
        let complaints = Builder::new().spawn_scoped(scope, read).map_err(refused)?;
        let (ended, end) = mpsc::channel();
        Builder::new().spawn_scoped(scope, move || ended.send(child.wait())).map_err(refused)?;
        let Ok(status) = end.recv_timeout(timeout) else {
            // not reaped yet, so the number is still its own
            let _ = killpg(group, Signal::SIGKILL);
            return Err(ProgramError::TimedOut(program.to_owned()));
        };
        let status = status.map_err(failed)?;
        if let Some(signal) = status.signal() {
            return Err(ProgramError::Killed { program: program.to_owned(), signal });
        }
        let complaints = match complaints.join() {
            Ok(bytes) => bytes.map_err(failed)?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        Ok(Finished { status, complaints: String::from_utf8_lossy(&complaints).into_owned() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, stdin: &str, timeout: Duration) -> Result<Finished, ProgramError> {
        run(Path::new("/bin/sh"), &["-c", script], stdin, timeout)
    }

    #[test]
    fn gives_stderr_and_status_and_keeps_stdout_away() {
        let finished = shell("echo to-stdout; cat >&2; exit 3", "text", TIMEOUT).expect("runs");
        assert_eq!((finished.status.code(), finished.complaints.as_str()), (Some(3), "text"));
    }

    #[test]
    fn the_environment_is_empty() {
        let finished = shell("/usr/bin/env >&2", "", TIMEOUT).expect("runs");
        let ours = |line: &&str| !["PWD=", "SHLVL=", "_="].iter().any(|own| line.starts_with(own));
        assert_eq!(finished.complaints.lines().filter(ours).collect::<Vec<_>>(), [""; 0]);
    }

    #[test]
    fn a_child_that_does_not_read_is_no_deadlock() {
        let much = "x".repeat(1 << 20);
        assert!(shell("exit 0", &much, TIMEOUT).expect("runs").status.success());
    }

    #[test]
    fn a_hanging_child_and_what_it_started_are_killed() {
        let before = std::time::Instant::now();
        // the grandchild holds stderr open
        let result = shell("sleep 1000 & sleep 1000", "", Duration::from_millis(100));
        assert!(matches!(result, Err(ProgramError::TimedOut(_))), "{result:?}");
        assert!(before.elapsed() < TIMEOUT);
    }

    #[test]
    fn a_killed_child_is_an_error() {
        let result = shell("kill -SEGV $$", "", TIMEOUT);
        assert!(matches!(result, Err(ProgramError::Killed { signal: 11, .. })), "{result:?}");
    }

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let error = ProgramError::Missing(restore_program(Family::Ipv6)).to_string();
        for part in
            ["`ip6tables-nft-restore` is not in /usr/sbin", "`iptables-nft-restore`", "package `iptables`"]
        {
            assert!(error.contains(part), "{error}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        std::fs::write(&path, "").expect("written");
        assert_eq!(find_program("x", &[folder.path()]), None, "not executable");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
        assert_eq!(find_program("x", &[Path::new("/nowhere"), folder.path()]), Some(path));
    }
}
