//! The words of a line of ipset: split at blanks, with their places; and the splitting inside a word.

use std::ops::Range;

use super::grammar::EntryError;

/// One blank-separated word, quotes taken off.
pub(super) struct Word {
    pub(super) text: String,
    pub(super) span: Range<usize>,
}

impl Word {
    /// Where bytes of the text stand; all of the word where quotes shift them.
    pub(super) fn part(&self, part: Range<usize>) -> Range<usize> {
        if self.text.len() == self.span.len() {
            self.span.start + part.start..self.span.start + part.end
        } else {
            self.span.clone()
        }
    }
}

/// Splits at blanks, double quotes keep blanks; no escapes, as in ipset.
pub(super) fn split_words(text: &str) -> Result<Vec<Word>, EntryError> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quoted_at = None;
    for (at, c) in text.char_indices() {
        if quoted_at.is_none() && c.is_ascii_whitespace() {
            words.extend(word.take());
            continue;
        }
        let current = word.get_or_insert_with(|| Word { text: String::new(), span: at..at });
        current.span.end = at + c.len_utf8();
        if c == '"' {
            quoted_at = if quoted_at.is_some() { None } else { Some(at) };
        } else {
            current.text.push(c);
        }
    }
    if let Some(at) = quoted_at {
        return Err(EntryError::new(&(at..text.len()), "a quote is not closed"));
    }
    words.extend(word);
    Ok(words)
}

/// The two sides of a range; brackets keep dashes.
pub(super) fn split_range(text: &str) -> Option<(&str, &str)> {
    let from = if text.starts_with('[') { text.find(']')? } else { 0 };
    let dash = from + text.get(from..)?.find('-')?;
    let (left, right) = (text.get(..dash)?, text.get(dash + 1..)?);
    (!left.is_empty() && !right.is_empty()).then_some((left, right))
}

pub(super) fn unbracket(text: &str) -> &str {
    text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text)
}

/// Whether the resolver may be asked for it. A name whose last label is a number is a misspelt address.
pub(super) fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(label_ok) && !last.bytes().all(|byte| byte.is_ascii_digit())
}
