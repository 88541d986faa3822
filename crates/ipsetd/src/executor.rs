//! What stands between lines and sets: requests that may be carried out come in, one answer for each goes out. An
//! executor belongs to one network namespace. It works where it is called, so it must not wait for anything but the
//! kernel.

use std::fmt;

use crate::line::Request;

/// What a line is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// `ok`: it is done.
    Done,
    /// `ok TEXT`: what was asked for.
    Told(String),
    /// `error: TEXT`: nothing was changed.
    Error(String),
}

impl Answer {
    /// `error: ` and what is wrong.
    pub fn error(error: &impl fmt::Display) -> Self {
        Self::Error(error.to_string())
    }

    /// The line, without its newline: whatever names and comments say, it is one line.
    pub fn render(&self, line: &mut Vec<u8>) {
        let (word, text) = match self {
            Self::Done => ("ok", ""),
            Self::Told(text) => ("ok", text.as_str()),
            Self::Error(text) => ("error:", text.as_str()),
        };
        line.extend_from_slice(word.as_bytes());
        if text.is_empty() {
            return;
        }
        line.push(b' ');
        if text.chars().any(char::is_control) {
            line.extend_from_slice(printable(text).as_bytes());
        } else {
            line.extend_from_slice(text.as_bytes());
        }
    }
}

/// A text whose control characters cannot do anything to a terminal, a log or a protocol of lines.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Why a batch was not carried out; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchError {
    /// Which request is to blame, from 0, if it is one.
    pub index: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// The sets of one namespace.
pub trait Executor: Send {
    /// Carries out `requests` in order, and appends an answer for each.
    fn execute(&mut self, requests: &[Request<'_>], answers: &mut Vec<Answer>);

    /// The names of all sets.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    fn names(&mut self) -> Result<Vec<String>, String>;

    /// Whether a request takes so long (it has a set copied) that others should have their turn after it.
    fn is_slow(&mut self, request: &Request<'_>) -> bool;

    /// The sets that an entry names: those of a `list:set` are sets.
    fn members(&mut self, request: &Request<'_>) -> Vec<String>;

    /// Whether a request could stand in a batch as things are now; changes nothing.
    ///
    /// # Errors
    /// Why not.
    fn check(&mut self, request: &Request<'_>) -> Result<(), String>;

    /// Carries out all of `requests` (`add`, `del`, `flush`), or nothing.
    ///
    /// # Errors
    /// [`BatchError`]
    fn commit(&mut self, requests: &[Request<'_>]) -> Result<(), BatchError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_line() {
        let rendered = |answer: Answer| {
            let mut line = Vec::new();
            answer.render(&mut line);
            String::from_utf8(line).expect("UTF-8")
        };
        assert_eq!(rendered(Answer::Done), "ok");
        assert_eq!(rendered(Answer::Told(String::new())), "ok");
        assert_eq!(rendered(Answer::Told("in".into())), "ok in");
        assert_eq!(
            rendered(Answer::Error("no\nnever\r\u{1b}[2J".into())),
            "error: no\u{fffd}never\u{fffd}\u{fffd}[2J"
        );
    }
}
