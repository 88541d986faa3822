//! What a program sends to the kernel, as strace shows it: its log in, a recording out. So nothing in the engine has
//! to know that it is watched.

use std::collections::BTreeSet;

use crate::BenchError;
use crate::recording::{append, messages};

/// The options that make strace write such a log.
pub const STRACE_OPTIONS: [&str; 4] = ["-e", "trace=sendto,sendmsg,close", "-e", "write=all"];

/// Which datagrams are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All, questions too.
    All,
    /// Those that change something.
    Changes,
}

/// The datagrams in a log, as a recording.
///
/// # Errors
/// [`BenchError::Recording`]: the log is no such log.
pub fn record(log: &str, wanted: Wanted) -> Result<Vec<u8>, BenchError> {
    let mut trace = Trace {
        wanted,
        recording: Vec::new(),
        datagram: Vec::new(),
        socket: "",
        used: BTreeSet::new(),
        closed: false,
    };
    for line in log.lines() {
        if let Some(dump) = line.strip_prefix(" | ") {
            parse_dump(dump, &mut trace.datagram)?;
        } else if let Some((call, arguments)) = line.split_once('(') {
            trace.keep();
            let descriptor = arguments.split([',', ')']).next().unwrap_or_default();
            match call {
                "sendto" | "sendmsg" => trace.socket = descriptor,
                "close" if trace.used.remove(descriptor) => trace.closed = true,
                _ => {}
            }
        }
    }
    trace.keep();
    Ok(trace.recording)
}

/// What is known at a line of the log.
#[derive(Debug)]
struct Trace<'a> {
    wanted: Wanted,
    recording: Vec<u8>,
    /// What is being sent.
    datagram: Vec<u8>,
    /// From where.
    socket: &'a str,
    /// Open sockets from which something in the recording came.
    used: BTreeSet<&'a str>,
    /// One of them was closed.
    closed: bool,
}

impl Trace<'_> {
    /// Takes the datagram if it is wanted, and before it the closing of a socket: with nothing behind it, it is the
    /// end of the program.
    fn keep(&mut self) {
        let change = messages(&self.datagram).any(|(header, _)| header.is_change());
        if !self.datagram.is_empty() && (change || self.wanted == Wanted::All) {
            if std::mem::take(&mut self.closed) {
                append(&mut self.recording, &[]);
            }
            append(&mut self.recording, &self.datagram);
            self.used.insert(self.socket);
        }
        self.datagram.clear();
    }
}

/// A line of a dump: offset, sixteen bytes in two columns, and the same as characters.
fn parse_dump(line: &str, bytes: &mut Vec<u8>) -> Result<(), BenchError> {
    /// Width of the two columns.
    const COLUMNS: usize = 16 * 3;
    let no_dump = BenchError::Recording("a line of strace is no dump");
    let Some(columns) = line.split_once("  ").and_then(|(_, rest)| rest.get(..COLUMNS)) else {
        return Err(no_dump);
    };
    for byte in columns.split_whitespace() {
        let Ok(byte) = u8::from_str_radix(byte, 16) else { return Err(no_dump) };
        bytes.push(byte);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::datagrams;

    const LOG: &str = r#"
sendto(3, [{nlmsg_len=20, ...}, "\x00\x00\x00\x00"], 20, 0, {...}, 12) = 20
 | 00000  14 00 00 00 10 0a 01 00  00 00 00 00 00 00 00 00  ................ |
 | 00010  7c 20 20 7c                                       |  |             |
sendmsg(3, {msg_name={sa_family=AF_NETLINK}, msg_iovlen=1, msg_flags=0}, 0) = 20
 * 20 bytes in buffer 0
 | 00000  14 00 00 00 10 00 01 00  00 00 00 00 00 00 00 00  ................ |
 | 00010  00 00 00 0a                                       ....             |
+++ exited with 0 +++
"#;

    #[test]
    fn finds_datagrams() {
        let all = record(LOG, Wanted::All).expect("a log");
        let all = datagrams(&all).expect("whole");
        assert_eq!(all.iter().map(|datagram| datagram.len()).collect::<Vec<_>>(), [20, 20]);
        assert_eq!(all.first().and_then(|datagram| datagram.get(16..)), Some(&b"|  |"[..]));
        let changes = record(LOG, Wanted::Changes).expect("a log");
        assert_eq!(datagrams(&changes).expect("whole"), all.get(1..).expect("two"));
    }

    #[test]
    fn a_close_is_kept_where_something_follows() {
        let send = |socket: &str| format!("sendto({socket}, [...]) = 1\n | 00000  61{:49}a |\n", "");
        let lengths = |log: &str| {
            let recording = record(log, Wanted::All).expect("a log");
            datagrams(&recording).expect("whole").iter().map(|datagram| datagram.len()).collect::<Vec<_>>()
        };
        assert_eq!(lengths(&(send("3") + "close(3) = 0\n" + &send("4") + "close(4) = 0\n")), [1, 0, 1]);
        assert_eq!(lengths(&(send("3") + "close(5) = 0\n" + &send("3"))), [1, 1], "not one of ours");
    }

    #[test]
    fn refuses_another_log() {
        assert!(record(" | 00000  14 zz", Wanted::All).is_err());
    }
}
