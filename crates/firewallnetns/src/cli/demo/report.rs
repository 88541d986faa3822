//! What the demo prints: titles, facts, texts, and expectations in columns; and the count of those that failed.

use std::fmt::Display;
use std::io::{self, Write};

/// A report on its way out.
pub(super) struct Report<'a> {
    out: &'a mut dyn Write,
    sections: u32,
    held: u32,
    failed: u32,
}

impl<'a> Report<'a> {
    /// An empty one.
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, sections: 0, held: 0, failed: 0 }
    }

    /// The first line.
    pub(super) fn headline(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}\n")
    }

    /// The title of the next part.
    pub(super) fn section(&mut self, title: &str) -> io::Result<()> {
        self.sections += 1;
        writeln!(self.out, "\n{}. {title}", self.sections)
    }

    /// A name and what is to be known of it.
    pub(super) fn fact(&mut self, name: &str, value: &dyn Display) -> io::Result<()> {
        writeln!(self.out, "   {name:<10} {value}")
    }

    /// A line between others.
    pub(super) fn note(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "   {text}")
    }

    /// What a command would print, under its name.
    pub(super) fn text(&mut self, title: &str, text: &str) -> io::Result<()> {
        writeln!(self.out, "\n   {title}")?;
        // chains are separated by blank lines there; here it is the next title that is
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            writeln!(self.out, "     {}", line.trim_end())?;
        }
        Ok(())
    }

    /// Something that was expected, and what came.
    pub(super) fn expect<T: Display + PartialEq>(
        &mut self,
        what: &str,
        why: &str,
        expected: &T,
        got: &T,
    ) -> io::Result<()> {
        let holds = expected == got;
        if holds {
            self.held += 1;
        } else {
            self.failed += 1;
        }
        let verdict = if holds { "ok" } else { "FAILED" };
        writeln!(self.out, "   {what:<20} {why:<38} expected {expected:<10} got {got:<10} {verdict}")
    }

    /// The last line; whether every expectation held.
    pub(super) fn close(self) -> io::Result<bool> {
        let all = self.held + self.failed;
        if self.failed == 0 {
            writeln!(self.out, "\nAll {all} expectations held. Everything was removed.")?;
        } else {
            writeln!(self.out, "\n{} of {all} expectations FAILED. Everything was removed.", self.failed)?;
        }
        self.out.flush()?;
        Ok(self.failed == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_fails_the_whole() {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out);
        report.expect("tcp 80", "", &1, &1).expect("written");
        report.expect("tcp 81", "", &1, &2).expect("written");
        assert!(!report.close().expect("written"));
        let text = String::from_utf8(out).expect("UTF-8");
        assert!(text.contains("expected 1          got 2          FAILED\n"), "{text}");
        assert!(text.contains("1 of 2 expectations FAILED"), "{text}");
    }
}
