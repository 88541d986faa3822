//! `${...}` as written: text to pieces, with every form that is not allowed refused by name. Looks up nothing.

use std::ops::Range;

use super::{ExpandError, FORMS};

/// `${${...}}` may be nested this deep.
const MAX_DEPTH: usize = 16;

/// Text with parameters in it.
#[derive(Debug, Default)]
pub(crate) struct Template {
    pub(super) pieces: Vec<Piece>,
}

#[derive(Debug)]
pub(super) enum Piece {
    /// Text as written, quotes removed; `quoted` takes the meaning from `*` and its like in a pattern.
    Text { text: String, quoted: bool },
    /// `$X` or `${...}`
    Parameter { parameter: Parameter, quoted: bool },
}

/// One `$X` or `${...}`.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(super) name: String,
    /// From the dollar to the end.
    pub(super) span: Range<usize>,
    pub(super) operation: Operation,
}

#[derive(Debug)]
pub(super) enum Operation {
    /// `${X}`
    Value,
    /// `${#X}`
    Length,
    /// `${X-w}`, `${X:-w}`
    Default { colon: bool, word: Template },
    /// `${X+w}`, `${X:+w}`
    Alternate { colon: bool, word: Template },
    /// `${X?m}`, `${X:?m}`; the message stays as written, so that it cannot show a value.
    Require { colon: bool, message: String },
    /// `${X#p}`, `${X%p}` and doubled
    Trim { suffix: bool, longest: bool, pattern: Template },
    /// `${X/p/s}` and its kin
    Replace { anchor: Anchor, pattern: Template, with: Template },
    /// `${X:off}`, `${X:off:len}`
    Substring { offset: Template, length: Option<Template> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    /// `/p`: the first match.
    First,
    /// `//p`: every match.
    All,
    /// `/#p`: at the start only.
    Prefix,
    /// `/%p`: at the end only.
    Suffix,
}

/// What quotes mean where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quoting {
    /// Not in a rule: quotes are characters.
    Literal,
    /// In a rule, outside of quotes.
    Bare,
    /// In a rule, in double quotes.
    Double,
}

/// Which part of a parameter a template is; they differ in what a backslash and a single quote do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Word,
    Pattern,
    Replacement,
}

/// Reads text from front to back.
pub(crate) struct Parser<'t> {
    text: &'t str,
    /// Byte of the next character.
    pub(crate) at: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(crate) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// All up to the first byte, an ASCII one, that ends it.
    pub(crate) fn run(&mut self, ends: impl Fn(u8) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.bytes().position(ends).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// The whole of a text that knows no quotes.
    pub(super) fn literal_text(mut self) -> Result<Template, ExpandError> {
        let mut template = Template::default();
        while let Some(c) = self.peek() {
            match c {
                '$' => template.push_parameter(self.parameter(Quoting::Literal)?, false),
                '`' => return Err(self.backtick()),
                _ => template.push(self.escaped_or_plain(c), false),
            }
        }
        Ok(template)
    }

    /// The next character `c` outside of quotes and `${...}`: there a backslash only takes the meaning from a
    /// dollar and a backtick.
    pub(crate) fn escaped_or_plain(&mut self, c: char) -> char {
        self.at += c.len_utf8();
        match self.peek() {
            Some(special @ ('$' | '`')) if c == '\\' => {
                self.at += 1;
                special
            }
            _ => c,
        }
    }

    /// Goes on at byte `at`, with nothing open.
    pub(crate) fn resume(&mut self, at: usize) {
        self.at = at;
        self.depth = 0;
    }

    /// The error for a backtick at the current place.
    pub(crate) fn backtick(&self) -> ExpandError {
        refused(self.text, self.at, "command substitution").hint("write \\` for a backtick")
    }

    /// Reads the `$X` or `${...}` at the current place, which is its dollar. After an error the place is
    /// undefined; [`form_end`] tells where to go on.
    pub(crate) fn parameter(&mut self, quoting: Quoting) -> Result<Parameter, ExpandError> {
        let start = self.at;
        self.at += 1;
        match self.peek() {
            Some('{') => self.at += 1,
            Some(c) if c == '_' || c.is_ascii_alphabetic() => {
                let name = self.name();
                return Ok(Parameter { name, span: start..self.at, operation: Operation::Value });
            }
            _ => return Err(self.not_a_name(start)),
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let end = form_end(self.text, start);
            return Err(ExpandError::new(start..end, format!("nested more than {MAX_DEPTH} deep")));
        }
        let length = self.rest().starts_with('#')
            && self.rest()[1..].starts_with(|c: char| c == '_' || c.is_ascii_alphabetic());
        if length {
            self.at += 1;
        }
        if !self.rest().starts_with(|c: char| c == '_' || c.is_ascii_alphabetic()) {
            return Err(self.not_a_name(start));
        }
        let name = self.name();
        let operation = match (length, self.peek()) {
            (true, Some('}')) => Operation::Length,
            (false, Some('}')) => Operation::Value,
            (false, Some(_)) => self.operation(start, quoting)?,
            (true, Some(_)) => return Err(refused(self.text, start, "a length with an operator")),
            (_, None) => return Err(unterminated(self.text, start)),
        };
        if self.next() != Some('}') {
            return Err(unterminated(self.text, start));
        }
        self.depth -= 1;
        Ok(Parameter { name, span: start..self.at, operation })
    }

    /// What stands between the name and the closing brace.
    fn operation(&mut self, start: usize, quoting: Quoting) -> Result<Operation, ExpandError> {
        let colon = self.eat(":");
        match self.peek() {
            Some('-') => {
                self.at += 1;
                Ok(Operation::Default { colon, word: self.template(quoting, Role::Word, &['}'])? })
            }
            Some('+') => {
                self.at += 1;
                Ok(Operation::Alternate { colon, word: self.template(quoting, Role::Word, &['}'])? })
            }
            Some('?') => {
                self.at += 1;
                let from = self.at;
                self.template(quoting, Role::Word, &['}'])?;
                Ok(Operation::Require { colon, message: self.text[from..self.at].to_owned() })
            }
            Some('=') => Err(refused(self.text, start, "assignment")),
            Some(_) if colon => {
                let offset = self.template(quoting, Role::Word, &[':', '}'])?;
                let length =
                    if self.eat(":") { Some(self.template(quoting, Role::Word, &['}'])?) } else { None };
                Ok(Operation::Substring { offset, length })
            }
            Some(mark @ ('#' | '%')) => {
                self.at += 1;
                let longest = self.peek() == Some(mark);
                if longest {
                    self.at += 1;
                }
                let pattern = self.template(quoting, Role::Pattern, &['}'])?;
                Ok(Operation::Trim { suffix: mark == '%', longest, pattern })
            }
            Some('/') => {
                self.at += 1;
                let anchor = match self.peek() {
                    Some('/') => Anchor::All,
                    Some('#') => Anchor::Prefix,
                    Some('%') => Anchor::Suffix,
                    _ => Anchor::First,
                };
                if anchor != Anchor::First {
                    self.at += 1;
                }
                let pattern = self.template(quoting, Role::Pattern, &['/', '}'])?;
                if pattern.pieces.is_empty() && matches!(anchor, Anchor::First | Anchor::All) {
                    // bash takes a slash here for the pattern, sometimes
                    let message =
                        format!("empty pattern in `{}`", &self.text[start..form_end(self.text, start)]);
                    return Err(ExpandError::new(start..form_end(self.text, start), message)
                        .hint("write `\\/` for a slash in a pattern"));
                }
                let with = if self.eat("/") {
                    self.template(quoting, Role::Replacement, &['}'])?
                } else {
                    Template::default()
                };
                Ok(Operation::Replace { anchor, pattern, with })
            }
            Some('^' | ',' | '~') => Err(refused(self.text, start, "change of case")),
            Some('@') => Err(refused(self.text, start, "transformation")),
            Some('[') => Err(refused(self.text, start, "an array")),
            Some(_) => Err(refused(self.text, start, "this form")),
            None => Err(unterminated(self.text, start)),
        }
    }

    /// Reads up to one of `stops`, which is left; the end of the text is for the caller to find.
    fn template(&mut self, quoting: Quoting, role: Role, stops: &[char]) -> Result<Template, ExpandError> {
        let mut template = Template::default();
        let single_quotes = match quoting {
            Quoting::Literal => false,
            Quoting::Bare => true,
            Quoting::Double => role != Role::Word,
        };
        // a pattern and a replacement have quotes of their own, whatever is around the form
        let nested = if quoting == Quoting::Double && role != Role::Word { Quoting::Bare } else { quoting };
        let mut open: Option<usize> = None;
        while let Some(c) = self.peek() {
            let quoted = open.is_some();
            if !quoted && stops.contains(&c) {
                return Ok(template);
            }
            match c {
                '$' => {
                    let inner = if quoted { Quoting::Double } else { nested };
                    template.push_parameter(self.parameter(inner)?, quoted);
                }
                '`' => return Err(self.backtick()),
                '\\' => {
                    self.at += 1;
                    match self.peek() {
                        Some(next) if escapes(next, quoting, role, quoted) => {
                            self.next();
                            template.push(next, true);
                        }
                        // alone it is itself, in a pattern too
                        _ => template.push('\\', true),
                    }
                }
                '"' if quoting != Quoting::Literal => {
                    open = if quoted { None } else { Some(self.at) };
                    self.at += 1;
                }
                '\'' if single_quotes && !quoted => {
                    let from = self.at + 1;
                    let Some(length) = self.rest()[1..].find('\'') else {
                        return Err(unterminated_quote(self.at..self.text.len(), '\''));
                    };
                    self.text[from..from + length].chars().for_each(|c| template.push(c, true));
                    self.at = from + length + 1;
                }
                _ => {
                    self.next();
                    template.push(c, quoted);
                }
            }
        }
        match open {
            Some(at) => Err(unterminated_quote(at..self.text.len(), '"')),
            None => Ok(template),
        }
    }

    /// The error for what follows the dollar at `start` and is no name.
    fn not_a_name(&self, start: usize) -> ExpandError {
        let form = &self.text[start + 1..];
        let (braced, inner) = form.strip_prefix('{').map_or((false, form), |inner| (true, inner));
        match inner.chars().next() {
            Some('(') if inner.starts_with("((") => refused(self.text, start, "arithmetic"),
            Some('(') => refused(self.text, start, "command substitution"),
            Some('!') if braced => refused(self.text, start, "an indirect name"),
            Some('0'..='9') => refused(self.text, start, "a positional parameter"),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => refused(self.text, start, "a special parameter"),
            Some('\'' | '"') if !braced => refused(self.text, start, "`$` before a quote"),
            None if braced => unterminated(self.text, start),
            _ if braced => refused(self.text, start, "this form"),
            _ => ExpandError::new(start..start + 1, "`$` without a name").hint("write `\\$` for a dollar"),
        }
    }

    fn name(&mut self) -> String {
        let rest = self.rest();
        let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        self.at += end;
        rest[..end].to_owned()
    }

    fn eat(&mut self, text: &str) -> bool {
        let there = self.rest().starts_with(text);
        if there {
            self.at += text.len();
        }
        there
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }
}

impl Template {
    fn push(&mut self, c: char, quoted: bool) {
        match self.pieces.last_mut() {
            Some(Piece::Text { text, quoted: same }) if *same == quoted => text.push(c),
            _ => self.pieces.push(Piece::Text { text: c.into(), quoted }),
        }
    }

    fn push_parameter(&mut self, parameter: Parameter, quoted: bool) {
        self.pieces.push(Piece::Parameter { parameter, quoted });
    }
}

/// Whether a backslash before `next` takes the meaning from it, as in bash.
fn escapes(next: char, quoting: Quoting, role: Role, quoted: bool) -> bool {
    match (quoting, role) {
        _ if quoted => matches!(next, '$' | '`' | '"' | '\\'),
        (_, Role::Pattern) | (Quoting::Bare, _) | (Quoting::Double, Role::Replacement) => true,
        (Quoting::Double, Role::Word) => matches!(next, '$' | '`' | '"' | '\\' | '}'),
        (Quoting::Literal, _) => matches!(next, '$' | '`' | '\\' | '}'),
    }
}

/// Where the form that begins at `start` most likely ends: for showing it, and for going on behind it.
pub(crate) fn form_end(text: &str, start: usize) -> usize {
    let form = &text[start..];
    let mut chars = form.char_indices();
    let (open, close) = match (chars.next(), chars.next()) {
        (Some((_, '`')), _) => return start + form[1..].find('`').map_or(form.len(), |at| at + 2),
        (_, Some((_, '{'))) => ('{', '}'),
        (_, Some((_, '('))) => ('(', ')'),
        (_, Some((_, c))) if c == '_' || c.is_ascii_alphanumeric() => {
            let name = form[1..].find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
            return start + name.map_or(form.len(), |end| end + 1);
        }
        (_, Some((_, c))) if "@*#?-$!".contains(c) => return start + 2,
        _ => return text.len().min(start + 1),
    };
    let mut depth = 1;
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
            if depth == 0 {
                return start + at + 1;
            }
        }
    }
    text.len()
}

fn refused(text: &str, start: usize, what: &str) -> ExpandError {
    let span = start..form_end(text, start);
    let message = format!("`{}` is not supported: {what}", &text[span.clone()]);
    ExpandError::new(span, message).hint(format!("this is no shell; allowed are {FORMS}"))
}

fn unterminated(text: &str, start: usize) -> ExpandError {
    ExpandError::new(start..text.len(), "`${` without its `}`")
}

pub(crate) fn unterminated_quote(span: Range<usize>, quote: char) -> ExpandError {
    let error = ExpandError::new(span, format!("`{quote}` without its end"));
    if quote == '\'' { error.hint("put a word with a single quote into double quotes") } else { error }
}
