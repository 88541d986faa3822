//! What is wrong with a configuration: all of it at once, each with its place and, where there is one, a hint.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::lint;
use crate::origin::Origin;

/// So many problems are shown in full; the rest is counted.
const SHOWN: usize = 20;

/// A line of the configuration and a message are cut to about this many characters.
const LONGEST_LINE: usize = 120;
const LONGEST_MESSAGE: usize = 500;

/// Narrower than this nothing can be shown.
const NARROWEST: usize = 40;

/// One thing that is wrong, or worth a warning, at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// What: lower case, no full stop, values in backticks.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(origin: Origin, message: impl Into<String>) -> Self {
        Self { origin, message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    /// One line, whatever the texts in it hold: `allow-ping.fw:3:52: rules[2].rule: unknown target ...; hint: ...`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.origin.line_column();
        let f = &mut OneLine(f);
        write!(f, "{}:{line}:{column}", self.origin.source.name)?;
        if !self.origin.path.is_empty() {
            write!(f, ": {}", self.origin.pointer())?;
        }
        write!(f, ": {}", shortened(&self.message))?;
        match &self.hint {
            Some(hint) => write!(f, "; hint: {}", shortened(hint)),
            None => Ok(()),
        }
    }
}

/// Writes control characters as escapes, so that no text from outside starts a line of its own or talks to a
/// terminal.
struct OneLine<'a, W>(&'a mut W);

impl<W: Write> Write for OneLine<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(char::is_control) {
            match piece.chars().next_back().filter(|c| c.is_control()) {
                Some(control) => {
                    self.0.write_str(&piece[..piece.len() - control.len_utf8()])?;
                    write!(self.0, "{}", control.escape_default())?;
                }
                None => self.0.write_str(piece)?,
            }
        }
        Ok(())
    }
}

/// Everything that is wrong; never empty when it is an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Adds all of another list.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Takes the value of `result`, or keeps its problems and gives `None`: for going on to find the rest.
    pub fn collect<T>(&mut self, result: Result<T, Self>) -> Option<T> {
        result.map_err(|problems| self.extend(problems)).ok()
    }

    /// `value` if nothing was wrong.
    ///
    /// # Errors
    /// The collected problems, if there are any.
    pub fn finish<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// For people: each problem as `error: MESSAGE`, its place, the line with the words underlined, and the hint;
/// at most 20 of them. Plain text without colours or control characters, ends with a newline unless empty.
pub fn render_problems(problems: &Problems) -> String {
    render(problems, &Level::ERROR)
}

/// The same for what is only worth a warning: `warning: MESSAGE`.
pub fn render_warnings(problems: &Problems) -> String {
    render(problems, &Level::WARNING)
}

fn render(problems: &Problems, level: &Level<'_>) -> String {
    let mut text = String::new();
    for problem in problems.0.iter().take(SHOWN) {
        text.push_str(&render_one(problem, level.clone()));
        text.push_str("\n\n");
    }
    if problems.0.len() > SHOWN {
        text.push_str("... and ");
        text.push_str(&(problems.0.len() - SHOWN).to_string());
        text.push_str(" more\n");
    } else {
        text.pop();
    }
    text
}

/// How a single one is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look<'a> {
    /// `error`, `warning` or `note`.
    pub level: lint::Level,
    /// Its id, in brackets behind the level.
    pub id: &'a str,
    /// Whether there are colours.
    pub colour: bool,
    /// Columns of the terminal.
    pub width: usize,
}

/// One problem as [`render_problems`] shows it, for a terminal.
pub fn render_diagnostic(problem: &Problem, look: &Look<'_>) -> String {
    let level = match look.level {
        lint::Level::Error => Level::ERROR,
        lint::Level::Warning => Level::WARNING,
        lint::Level::Note => Level::NOTE,
    };
    let renderer = if look.colour { Renderer::styled() } else { Renderer::plain() };
    let width = look.width.clamp(NARROWEST, LONGEST_LINE);
    report(problem, level, Some(look.id), &renderer.term_width(width), width)
}

fn render_one(problem: &Problem, level: Level<'_>) -> String {
    report(problem, level, None, &Renderer::plain().term_width(LONGEST_LINE), usize::MAX)
}

/// Messages are broken into lines of `width`, where there is room to.
fn report(
    problem: &Problem,
    level: Level<'_>,
    id: Option<&str>,
    renderer: &Renderer,
    width: usize,
) -> String {
    let (line, _) = problem.origin.line_column();
    let (source, underlined) = shown_line(&problem.origin);
    let pointer = printable(&problem.origin.pointer().to_string());
    let label = Some(pointer).filter(|pointer| !pointer.is_empty());
    let snippet = Snippet::source(source)
        .path(printable(&problem.origin.source.name))
        .line_start(line)
        .annotation(AnnotationKind::Primary.span(underlined).label(label));
    // `warning[drop-without-loopback]: `, and `  = hint: `
    let head = id.map_or(0, |id| id.len() + "warning[]: ".len());
    let title = level.primary_title(broken(&printable(&problem.message), width.saturating_sub(head)));
    let title = match id {
        Some(id) => title.id(id),
        None => title,
    };
    // of a file that could not be read there is nothing to show
    let mut report = if problem.origin.source.text.is_empty() && id.is_some() {
        title.element(annotate_snippets::Origin::path(printable(&problem.origin.source.name)))
    } else {
        title.element(snippet)
    };
    if let Some(hint) = &problem.hint {
        let hint = broken(&printable(hint), width.saturating_sub("12 = hint: ".len()));
        report = report.element(Level::HELP.with_name("hint").message(hint));
    }
    renderer.render(&[report])
}

/// The words of a text on lines of `width`; words that are longer stay whole.
fn broken(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width.max(NARROWEST / 2) {
            lines.push('\n');
            column = 0;
        } else if column > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines
}

/// The line on which the highlighted bytes begin, and which of its bytes to underline.
fn shown_line(origin: &Origin) -> (&str, Range<usize>) {
    let text = origin.source.text.as_str();
    let highlight = origin.highlight();
    let mut at = highlight.start.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[start..].split(['\r', '\n']).next().unwrap_or_default();
    let at = (at - start).min(line.len());
    // the renderer trims, too, but takes its time over a line of a megabyte
    let line = match line[at..].char_indices().nth(2 * LONGEST_LINE) {
        Some((length, _)) => &line[..at + length],
        None => line,
    };
    (line, at..line.len().min(at + highlight.len()))
}

/// `text` on one line, without control characters, of bounded length.
fn printable(text: &str) -> String {
    let mut line = String::new();
    write!(OneLine(&mut line), "{}", shortened(text)).expect("a String takes all that is written");
    line
}

/// `text` of bounded length. What is left out stands in the middle: a message about a long word ends with what is
/// wrong with it.
fn shortened(text: &str) -> Cow<'_, str> {
    const END: usize = 150;
    let byte = |(at, _)| at;
    if text.len() <= LONGEST_MESSAGE || text.char_indices().nth(LONGEST_MESSAGE).is_none() {
        return text.into();
    }
    let start = text.char_indices().nth(LONGEST_MESSAGE - END).map_or(text.len(), byte);
    let end = text.char_indices().nth_back(END - 1).map_or(0, byte);
    format!("{}...{}", &text[..start], &text[end..]).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::{Source, Step};

    const FILE: &str = "{ \"rules\": [\n\n    { \"rule\": \"-p tcp -j DROPP\" }, // é\n] }\n";

    fn problem(text: &str, value: &str, message: &str) -> Problem {
        let start = text.find(value).expect("in the text");
        let origin = Origin {
            source: Source::new("allow-ping.fw", text),
            path: [Step::Key("rules".into()), Step::Index(2), Step::Key("rule".into())].into_iter().collect(),
            range: start..start + value.len(),
            span: None,
        };
        Problem::new(origin, message)
    }

    #[track_caller]
    fn assert_rendered(problem: Problem, expected: &str) {
        assert_eq!(render_problems(&problem.into()), expected);
    }

    #[test]
    fn shows_the_line_with_the_words_underlined() {
        let mut problem =
            problem(FILE, "\"-p tcp -j DROPP\"", "unknown target `DROPP`").hint("did you mean `DROP`?");
        problem.origin.span = Some(10..15);
        assert_eq!(
            problem.to_string(),
            "allow-ping.fw:3:26: rules[2].rule: unknown target `DROPP`; hint: did you mean `DROP`?"
        );
        assert_rendered(
            problem,
            "\
error: unknown target `DROPP`
 --> allow-ping.fw:3:26
  |
3 |     { \"rule\": \"-p tcp -j DROPP\" }, // é
  |                          ^^^^^ rules[2].rule
  |
  = hint: did you mean `DROP`?
",
        );
    }

    #[test]
    fn shows_the_first_line_of_what_spans_several() {
        assert_rendered(
            problem(FILE, "[\n\n    { \"rule\"", "missing"),
            "\
error: missing
 --> allow-ping.fw:1:12
  |
1 | { \"rules\": [
  |            ^ rules[2].rule
",
        );
    }

    #[test]
    fn shows_the_end_of_the_text() {
        let mut problem = problem(FILE, "]", "the text ends");
        problem.origin.range = FILE.len()..FILE.len();
        problem.origin.path = crate::origin::Path::default();
        assert_rendered(
            problem,
            "\
error: the text ends
 --> allow-ping.fw:5:1
  |
5 |
  | ^
",
        );
    }

    #[test]
    fn trims_long_lines_around_the_words() {
        let text = format!("{}\"here\"{}", "é".repeat(1000), "x".repeat(1000));
        let shown = render_problems(&problem(&text, "\"here\"", "wrong").into());
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines[1], " --> allow-ping.fw:1:1001");
        assert!(
            lines[3].contains("...ééé") && lines[3].contains("é\"here\"x") && lines[3].ends_with("xxx...")
        );
        assert!(lines[4].ends_with(" ^^^^^^ rules[2].rule"), "{shown}");
        assert!(lines.iter().all(|line| line.chars().count() <= 125), "{shown}");
    }

    #[test]
    fn stays_short_whatever_the_text() {
        let text = format!("\"{}\"", "x".repeat(1_000_000));
        let problems = Problems(vec![problem(&text, &text, &text).hint(&text); 25]);
        let shown = render_problems(&problems);
        assert_eq!(shown.matches("error: ").count(), SHOWN);
        assert!(shown.ends_with("\n\n... and 5 more\n"), "{shown}");
        assert!(shown.len() < SHOWN * 2000, "{} bytes: {shown}", shown.len());
    }

    #[test]
    fn separates_problems_and_counts_none() {
        let problems = Problems(vec![problem(FILE, "]", "a"), problem(FILE, "]", "b")]);
        let shown = render_warnings(&problems);
        assert_eq!(shown.matches("\n\nwarning: b\n").count(), 1, "{shown}");
        assert!(!shown.contains("more") && !shown.ends_with("\n\n"));
        assert_eq!(render_problems(&Problems::default()), "");
    }

    #[test]
    fn shows_control_characters_as_such() {
        let text = "{\t\"a\u{1b}[31m\": \"b\" }";
        assert_rendered(
            problem(text, "\"b\"", "a\nb\u{1b}[31m").hint("c\nd"),
            "\
error: a\\nb\\u{1b}[31m
 --> allow-ping.fw:1:13
  |
1 | {    \"a␛[31m\": \"b\" }
  |                ^^^ rules[2].rule
  |
  = hint: c\\nd
",
        );
    }
}
