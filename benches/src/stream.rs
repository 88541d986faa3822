//! Many entries down one connection, against `ipset restore` of the same lines: once into a set that is there, as the
//! daemon has it, and once with the line that makes the set, where it is quicker (it puts many entries into one message
//! then). Each time in a set of its own, and each time it is counted what has arrived.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fwn_testkit::Sandbox;

use crate::BenchError;
use crate::daemon::{Daemon, PORT, connect};
use crate::launch::{Step, run};

/// The set that is filled.
const SET: &str = "bench";
/// How it is made.
const CREATE: &str = "create bench hash:ip maxelem 1000000";

/// The times of all ways, one for each round.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    /// Down one connection, from connecting to the last answer.
    pub daemon: Vec<Duration>,
    /// `ipset restore` of the same lines, from its start to its end.
    pub restore: Vec<Duration>,
    /// The same with the line that makes the set before them.
    pub restore_all: Vec<Duration>,
}

/// Sends `entries` lines all ways, in turns, `rounds` times. `daemon` serves the container of `sandbox`.
///
/// # Errors
/// Something fails, a line is answered with an error, or an entry is lost.
pub fn measure(
    sandbox: &Sandbox,
    _daemon: &Daemon,
    entries: u32,
    rounds: usize,
) -> Result<Stream, BenchError> {
    let lines = lines(entries);
    let folder = tempfile::tempdir().map_err(|source| file(std::env::temp_dir(), source))?;
    let step = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).map_err(|source| file(path.clone(), source))?;
        Ok::<_, BenchError>(Step { stdin: Some(path), ..Step::new("ipset", ["restore"]) })
    };
    let restore = step("lines", &lines)?;
    let restore_all = step("all", &format!("{CREATE}\n{lines}"))?;
    let mut stream = Stream::default();
    for round in 0..rounds {
        for turn in 0..3 {
            let way = (turn + round) % 3;
            let make = if way == 2 { String::new() } else { format!("; ipset {CREATE}") };
            shell(sandbox, &format!("ipset destroy {SET} 2>/dev/null || true{make}"))?;
            match way {
                0 => stream.daemon.push(send(sandbox, lines.as_bytes(), entries)?),
                1 => stream.restore.push(run(&sandbox.container, std::slice::from_ref(&restore))?),
                _ => stream.restore_all.push(run(&sandbox.container, std::slice::from_ref(&restore_all))?),
            }
            let found = count(sandbox)?;
            if found != u64::from(entries) {
                return Err(BenchError::Lost { sent: entries, found });
            }
        }
    }
    Ok(stream)
}

/// `add SET ADDRESS`, each address once, in an order that is none for a hash.
fn lines(entries: u32) -> String {
    (0..entries).fold(String::new(), |mut text, number| {
        // odd, so every number comes once
        let address = Ipv4Addr::from((number.wrapping_mul(0x9E37_79B1) & 0x00FF_FFFF) | 0x0A00_0000);
        // a String takes everything
        let _ = writeln!(text, "add {SET} {address}");
        text
    })
}

fn count(sandbox: &Sandbox) -> Result<u64, BenchError> {
    let listed = shell(sandbox, &format!("ipset list -terse {SET}"))?;
    let number = listed.lines().find_map(|line| line.strip_prefix("Number of entries: ")?.parse().ok());
    number.ok_or_else(|| BenchError::Failed { command: "ipset list".to_owned(), output: listed })
}

fn shell(sandbox: &Sandbox, script: &str) -> Result<String, BenchError> {
    let output = sandbox.container.try_sh(script);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(BenchError::Failed { command: script.to_owned(), output: text(&output.stderr) })
}

/// Sends all lines and reads an answer for each, at the same time.
fn send(sandbox: &Sandbox, lines: &[u8], entries: u32) -> Result<Duration, BenchError> {
    let start = Instant::now();
    let stream = connect(sandbox, PORT)?;
    let mut writer = stream.try_clone().map_err(BenchError::Connection)?;
    let answers = std::thread::scope(|scope| {
        let sent = scope.spawn(move || writer.write_all(lines));
        let read = read_answers(BufReader::with_capacity(1 << 16, &stream), entries);
        sent.join()
            .map_err(|_| BenchError::Recording("the sender panicked"))?
            .map_err(BenchError::Connection)?;
        read
    });
    answers.map(|()| start.elapsed())
}

fn read_answers(mut answers: impl BufRead, entries: u32) -> Result<(), BenchError> {
    let mut line = String::new();
    for number in 1..=entries {
        line.clear();
        answers.read_line(&mut line).map_err(BenchError::Connection)?;
        if line != "ok\n" {
            let output = format!("line {number} was answered with `{}`", line.trim_end());
            return Err(BenchError::Failed { command: "ipsetd".to_owned(), output });
        }
    }
    Ok(())
}

fn file(path: PathBuf, source: std::io::Error) -> BenchError {
    BenchError::File { path, source }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_entry_comes_twice() {
        let text = lines(100_000);
        assert_eq!(text.lines().collect::<BTreeSet<_>>().len(), 100_000);
        assert!(text.starts_with("add bench 10."), "{text:.40}");
    }

    #[test]
    fn another_answer_than_ok_is_noticed() {
        assert!(read_answers(&b"ok\nok\n"[..], 2).is_ok());
        let error = read_answers(&b"ok\nerror: no\n"[..], 2).expect_err("an error");
        assert!(error.to_string().contains("line 2 was answered with `error: no`"), "{error}");
        assert!(read_answers(&b"ok\n"[..], 2).is_err(), "one answer is missing");
    }
}
