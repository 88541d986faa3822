//! Lines of operators over the unix socket: `@CONTAINER LINE` for one container, `@* LINE` for all that have the set.
//! Lines come in, answers go out; who may send them was decided before. What is limited for peers of a container's port
//! (sets, verbs) is not limited here.

use std::fmt::Write;

use super::registry::Registry;
use super::sets::SharedSets;
use super::socket::Peer;
use crate::executor::{Answer, Executor, printable};
use crate::line::{Command, Request, Verb, parse_line};

/// So many containers are named in an answer; the rest is counted.
const NAMED: usize = 20;

/// Answers one line.
pub fn answer(registry: &Registry, peer: Peer, line: &[u8]) -> Answer {
    let answer = match address(line) {
        Ok((container, command)) => carry_out(registry, container, command),
        Err(message) => Answer::Error(message),
    };
    let said = printable(&String::from_utf8_lossy(line));
    match &answer {
        Answer::Error(message) => log::warn!("user {}: `{said}`: {}", peer.uid, printable(message)),
        Answer::Done | Answer::Told(_) => log::info!("user {}: `{said}`", peer.uid),
    }
    answer
}

/// `None` for all containers.
type Address<'a> = Option<&'a str>;

fn address(line: &[u8]) -> Result<(Address<'_>, &[u8]), String> {
    const WANTED: &str = "a line begins with `@CONTAINER` or `@*`";
    let rest = line.strip_prefix(b"@").ok_or(WANTED)?;
    let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
    let (container, command) = rest.split_at(end);
    match std::str::from_utf8(container) {
        Err(_) | Ok("") => Err(WANTED.into()),
        Ok("*") => Ok((None, command)),
        Ok(container) => Ok((Some(container), command)),
    }
}

fn carry_out(registry: &Registry, container: Address<'_>, command: &[u8]) -> Answer {
    let request = match parse_line(command) {
        Ok(Command::Request(request)) => request,
        Ok(Command::Auth(_)) => return Answer::Error("operators need no token".into()),
        Ok(Command::Begin | Command::Commit) => {
            return Answer::Error("there are no batches here: each line is carried out at once".into());
        }
        Err(error) => return Answer::error(&error),
    };
    let namespaces = registry.namespaces(container);
    match (container, namespaces.as_slice()) {
        (Some(container), []) => Answer::Error(format!("no container `{container}` is served here")),
        (Some(_), [(_, sets)]) => execute(sets.clone(), &request),
        _ => everywhere(namespaces, &request),
    }
}

fn execute(mut sets: SharedSets, request: &Request<'_>) -> Answer {
    let mut answers = Vec::with_capacity(1);
    sets.execute(std::slice::from_ref(request), &mut answers);
    answers.pop().unwrap_or_else(|| Answer::Error("no answer".into()))
}

/// In all of these namespaces that have the sets. Where one changes and another refuses, the answer is no error: it says
/// which.
fn everywhere(namespaces: Vec<(String, SharedSets)>, request: &Request<'_>) -> Answer {
    if !matches!(request.verb(), Verb::Add | Verb::Delete | Verb::Flush) {
        return Answer::Error(format!("`{}` goes to one container: `@CONTAINER`", request.verb()));
    }
    let mut changed = 0;
    let mut refused = Vec::new();
    for (container, mut sets) in namespaces {
        match sets.names() {
            Ok(names) if request.sets().all(|set| names.iter().any(|name| name == set)) => {}
            Ok(_) => continue,
            Err(message) => {
                refused.push(format!("{container}: {message}"));
                continue;
            }
        }
        match execute(sets, request) {
            Answer::Error(message) => refused.push(format!("{container}: {message}")),
            Answer::Done | Answer::Told(_) => changed += 1,
        }
    }
    if changed == 0 && refused.is_empty() {
        let set = request.sets().next().unwrap_or_default();
        return Answer::Error(format!("no container has set `{set}`"));
    }
    let mut text = format!("changed {changed}");
    if !refused.is_empty() {
        let more = refused.len().saturating_sub(NAMED);
        // writing to a string cannot fail
        let _ = write!(text, ", refused {}: ", refused.len());
        refused.truncate(NAMED);
        text.push_str(&refused.join("; "));
        if more > 0 {
            let _ = write!(text, "; and {more} more");
        }
    }
    if changed == 0 { Answer::Error(text) } else { Answer::Told(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_whom_it_is_for() {
        assert_eq!(address(b"@c1 add s 10.0.0.1"), Ok((Some("c1"), &b" add s 10.0.0.1"[..])));
        assert_eq!(address(b"@*\tflush s"), Ok((None, &b"\tflush s"[..])));
        assert_eq!(address(b"@c1"), Ok((Some("c1"), &b""[..])));
        for line in [&b"add s 10.0.0.1"[..], b"@ add", b"@", b"", b"@\xff add s 1.2.3.4"] {
            assert!(address(line).is_err(), "{line:?}");
        }
    }
}
