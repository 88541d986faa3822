//! Text on its way to people: colours where there is a terminal, its width, and a reader that has gone away, which is
//! no failure.

use std::io::{self, IsTerminal, Write};

use fwn_cni::error::{CniError, ErrorCode};

use super::Environment;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    /// Whether stdout is a terminal that shows colours.
    pub(super) colour: bool,
}

/// Colours, by what they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    /// Titles.
    Bold,
    /// What is less important.
    Dim,
    /// What goes, or is refused.
    Red,
    /// What comes, or passes.
    Green,
    /// What moves.
    Yellow,
    /// Places in a text.
    Cyan,
}

impl Style {
    /// Of this process's stdout. `NO_COLOR` is heeded (<https://no-color.org>).
    pub(super) fn of_stdout(environment: Environment<'_>) -> Self {
        let plain = environment.get("NO_COLOR").is_some() || environment.get("TERM") == Some("dumb");
        Self { colour: io::stdout().is_terminal() && !plain }
    }

    /// `text`, coloured where that is wanted.
    pub(super) fn paint(self, paint: Paint, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Yellow => "33",
            Paint::Red => "31",
            Paint::Green => "32",
            Paint::Cyan => "36",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Columns and rows to print into: `COLUMNS` where it is set, else what stdout is if it is a terminal.
pub(super) fn room(environment: Environment<'_>) -> (Option<usize>, Option<usize>) {
    /// Less is not readable any more.
    const NARROWEST: usize = 20;
    let terminal = fwn_kernel::terminal::size(&io::stdout());
    let stated = environment.get("COLUMNS").and_then(|columns| columns.parse().ok());
    let columns = stated.filter(|columns| *columns > 0).or(terminal.map(|(columns, _)| columns));
    (columns.map(|columns| columns.max(NARROWEST)), terminal.map(|(_, rows)| rows))
}

/// Prints all of a text.
///
/// # Errors
/// It cannot be written. That nobody reads any more (`| head`) is none.
pub(super) fn print(stdout: &mut dyn Write, text: &str) -> Result<(), CniError> {
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CniError::new(ErrorCode::Io, "the output cannot be written").with_details(error.to_string()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fails(io::ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure() {
        assert_eq!(print(&mut Fails(io::ErrorKind::BrokenPipe), "text"), Ok(()));
        let error = print(&mut Fails(io::ErrorKind::StorageFull), "text").expect_err("a full disk is one");
        assert_eq!(error.msg, "the output cannot be written");
    }

    #[test]
    fn colours_only_where_wanted() {
        assert_eq!(Style { colour: false }.paint(Paint::Red, "x"), "x");
        assert_eq!(Style { colour: true }.paint(Paint::Red, "x"), "\u{1b}[31mx\u{1b}[0m");
    }
}
