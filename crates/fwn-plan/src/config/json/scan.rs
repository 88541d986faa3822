//! One pass over a JSON text that gives its values, or nothing where the text is not valid in its dialect. Texts without
//! escapes are not copied.

use std::borrow::Cow;
use std::ops::Range;

use super::{Dialect, Kind, Member, Value};

/// As many levels of lists and objects as `serde_json` reads.
const DEEPEST: usize = 127;

/// The value that a text is.
pub(super) fn scan(text: &str, dialect: Dialect) -> Option<Value<'_>> {
    let mut scanner = Scanner { text, at: 0, commented: dialect == Dialect::Commented, levels: 0 };
    if text.starts_with('\u{feff}') {
        scanner.at = '\u{feff}'.len_utf8();
    }
    scanner.blanks()?;
    let value = scanner.value()?;
    scanner.blanks()?;
    (scanner.at == text.len()).then_some(value)
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
    commented: bool,
    /// Lists and objects that are open.
    levels: usize,
}

impl<'t> Scanner<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes over `byte`, if it is next.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// What stands between tokens.
    fn blanks(&mut self) -> Option<()> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                Some(b'/') if self.commented => self.comment()?,
                _ => return Some(()),
            }
        }
    }

    fn comment(&mut self) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let length = match rest.get(1)? {
            b'/' => rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len()),
            b'*' => rest.get(2..)?.windows(2).position(|pair| pair == b"*/")? + 4,
            _ => return None,
        };
        self.at += length;
        Some(())
    }

    fn value(&mut self) -> Option<Value<'t>> {
        let start = self.at;
        let kind = match self.peek()? {
            b'"' => Kind::Text(self.string()?),
            b'{' => Kind::Object(self.elements(b'}', Self::member)?),
            b'[' => Kind::List(self.elements(b']', Self::value)?),
            b'n' => self.word("null", Kind::Null)?,
            b't' => self.word("true", Kind::Bool(true))?,
            b'f' => self.word("false", Kind::Bool(false))?,
            _ => Kind::Number(self.number()?),
        };
        Some(Value { range: start..self.at, kind })
    }

    fn word(&mut self, word: &str, kind: Kind<'t>) -> Option<Kind<'t>> {
        self.text.get(self.at..)?.starts_with(word).then_some(())?;
        self.at += word.len();
        Some(kind)
    }

    /// What stands between two brackets, with commas between.
    fn elements<T>(&mut self, close: u8, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.levels += 1;
        if self.levels > DEEPEST {
            return None;
        }
        self.at += 1;
        self.blanks()?;
        let mut elements = Vec::new();
        while !self.take(close) {
            elements.push(read(self)?);
            self.blanks()?;
            if self.take(b',') {
                self.blanks()?;
                if !self.commented && self.peek() == Some(close) {
                    return None;
                }
            } else if self.peek() != Some(close) {
                return None;
            }
        }
        self.levels -= 1;
        Some(elements)
    }

    fn member(&mut self) -> Option<Member<'t>> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return None;
        }
        let key = self.string()?;
        let key_range = start..self.at;
        self.blanks()?;
        if !self.take(b':') {
            return None;
        }
        self.blanks()?;
        Some(Member { key, key_range, value: self.value()? })
    }

    /// A string, from quote to quote.
    fn string(&mut self) -> Option<Cow<'t, str>> {
        let start = self.at;
        self.at += 1;
        let mut escaped = false;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    self.at += 2;
                }
                0..0x20 => return None,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        let Range { start, end } = start..self.at;
        if escaped {
            // rare enough to leave it to the one that knows all escapes
            return serde_json::from_str::<String>(self.text.get(start..end)?).ok().map(Cow::Owned);
        }
        self.text.get(start + 1..end - 1).map(Cow::Borrowed)
    }

    fn number(&mut self) -> Option<&'t str> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        let exponent = self.take(b'e') || self.take(b'E');
        if exponent {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        let number = self.text.get(start..self.at)?;
        // one that is too big for it `serde_json` does not take
        let small = number.len() < 16 && !exponent;
        (small || serde_json::from_str::<f64>(number).is_ok()).then_some(number)
    }

    /// One digit at least.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}
