//! Shell patterns: text to a [`Pattern`], and where it matches. Time grows with text times pattern, never faster;
//! characters are those of Unicode, ranges go by code point, as in bash with `C.UTF-8`.

use std::ops::Range;
use std::str::Chars;

/// Longest pattern, in characters and wildcards.
pub(super) const MAX_PATTERN: usize = 1024;

/// What may stand in `[[:...:]]`, for messages.
pub(super) const CLASSES: &str = "`[:alnum:]` `[:alpha:]` `[:ascii:]` `[:blank:]` `[:cntrl:]` `[:digit:]` `[:graph:]` \
                                  `[:lower:]` `[:print:]` `[:punct:]` `[:space:]` `[:upper:]` `[:word:]` `[:xdigit:]`";

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PatternError {
    /// Over [`MAX_PATTERN`].
    TooLong,
    /// `[[:nonsense:]]`
    Class,
    /// `[[.a.]]`, `[[=a=]]`
    Collation,
    /// `[z-a]`
    Backwards,
}

/// `*`, `?`, `[...]` and characters.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone)]
enum Token {
    Char(char),
    Any,
    Star,
    Set { negated: bool, items: Vec<Item> },
}

#[derive(Debug, Clone)]
enum Item {
    Range(char, char),
    Class(fn(char) -> bool),
}

impl Pattern {
    /// Reads a pattern; a backslash takes the meaning from the next character. A `[` without its `]` is a
    /// character.
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        let mut tokens = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let token = match c {
                '*' => Token::Star,
                '?' => Token::Any,
                '\\' => Token::Char(chars.next().unwrap_or('\\')),
                '[' => {
                    let mut ahead = chars.clone();
                    match parse_set(&mut ahead)? {
                        Some(set) => {
                            chars = ahead;
                            set
                        }
                        None => Token::Char('['),
                    }
                }
                c => Token::Char(c),
            };
            if matches!((&token, tokens.last()), (Token::Star, Some(Token::Star))) {
                continue;
            }
            if tokens.len() == MAX_PATTERN {
                return Err(PatternError::TooLong);
            }
            tokens.push(token);
        }
        Ok(Self { tokens })
    }

    /// `value` without the shortest or longest prefix or suffix that matches; all of it where none does.
    pub(super) fn trim<'v>(&self, value: &'v str, suffix: bool, longest: bool) -> &'v str {
        match (self.edge(value, suffix, longest), suffix) {
            (None, _) => value,
            (Some(at), false) => &value[at..],
            (Some(at), true) => &value[..at],
        }
    }

    /// Byte where the longest matching prefix ends, or the longest matching suffix starts.
    pub(super) fn anchored(&self, value: &str, suffix: bool) -> Option<usize> {
        self.edge(value, suffix, true)
    }

    /// The first `limit` matches from the left, each the longest at its place.
    /// A pattern that is empty matches nowhere.
    pub(super) fn find(&self, value: &str, limit: usize) -> Vec<Range<usize>> {
        if self.tokens.is_empty() {
            return Vec::new();
        }
        // Where matches start: ends of matches of the reversed pattern, walking back, started at every place.
        let mut starts = Vec::new();
        let mut states = States::new(self.tokens.iter().rev());
        for (at, c) in value.char_indices().rev() {
            states.start();
            states.step(c);
            if states.matched() {
                starts.push(at);
            }
        }
        let mut found = Vec::new();
        let mut done = 0;
        while let Some(start) = starts.pop() {
            if found.len() == limit {
                break;
            }
            if start < done {
                continue;
            }
            if let Some(length) = self.anchored(&value[start..], false) {
                done = start + length;
                found.push(start..done);
            }
        }
        if value.is_empty() && self.anchored("", false).is_some() {
            found.push(0..0);
        }
        found
    }

    fn edge(&self, value: &str, suffix: bool, longest: bool) -> Option<usize> {
        if suffix {
            let states = States::new(self.tokens.iter().rev());
            scan(states, value.char_indices().rev(), value.len(), longest)
        } else {
            let states = States::new(self.tokens.iter());
            scan(states, value.char_indices().map(|(at, c)| (at + c.len_utf8(), c)), 0, longest)
        }
    }
}

/// Walks until the pattern is matched and `longest` is not wanted, or it cannot match any more.
fn scan(
    mut states: States<'_>,
    chars: impl Iterator<Item = (usize, char)>,
    origin: usize,
    longest: bool,
) -> Option<usize> {
    states.start();
    let mut edge = states.matched().then_some(origin);
    for (at, c) in chars {
        if (edge.is_some() && !longest) || states.dead() {
            break;
        }
        states.step(c);
        if states.matched() {
            edge = Some(at);
        }
    }
    edge
}

/// Every place in the pattern that the text read so far may have led to.
struct States<'p> {
    tokens: Vec<&'p Token>,
    /// `active[n]`: the first n tokens are matched.
    active: Vec<bool>,
}

impl<'p> States<'p> {
    fn new(tokens: impl Iterator<Item = &'p Token>) -> Self {
        let tokens: Vec<_> = tokens.collect();
        Self { active: vec![false; tokens.len() + 1], tokens }
    }

    /// Lets a match begin here.
    fn start(&mut self) {
        self.active[0] = true;
        self.skip_stars();
    }

    /// Reads a character. Backwards, so that no state moves twice.
    fn step(&mut self, c: char) {
        if let Some(end) = self.active.last_mut() {
            *end = false;
        }
        for (at, token) in self.tokens.iter().enumerate().rev() {
            // a star stays where it is; what lies behind it is reached by skipping
            if self.active[at] && !matches!(token, Token::Star) {
                self.active[at] = false;
                if token.matches(c) {
                    self.active[at + 1] = true;
                }
            }
        }
        self.skip_stars();
    }

    fn skip_stars(&mut self) {
        for (at, token) in self.tokens.iter().enumerate() {
            if matches!(token, Token::Star) && self.active[at] {
                self.active[at + 1] = true;
            }
        }
    }

    fn matched(&self) -> bool {
        self.active.last().copied().unwrap_or(false)
    }

    fn dead(&self) -> bool {
        !self.active.contains(&true)
    }
}

impl Token {
    fn matches(&self, c: char) -> bool {
        match self {
            Self::Char(expected) => c == *expected,
            Self::Any | Self::Star => true,
            Self::Set { negated, items } => {
                let inside = items.iter().any(|item| match item {
                    Item::Range(low, high) => (*low..=*high).contains(&c),
                    Item::Class(class) => class(c),
                });
                inside != *negated
            }
        }
    }
}

/// Reads a set behind its `[`; `None` where no `]` ends it.
fn parse_set(chars: &mut Chars<'_>) -> Result<Option<Token>, PatternError> {
    let mut items = Vec::new();
    let mut rest = chars.clone();
    let negated = rest.as_str().starts_with(['!', '^']);
    if negated {
        rest.next();
    }
    let mut first = true;
    loop {
        let Some(c) = rest.next() else { return Ok(None) };
        if c == ']' && !first {
            *chars = rest;
            return Ok(Some(Token::Set { negated, items }));
        }
        first = false;
        if c == '[' && rest.as_str().starts_with(['.', '=']) {
            return Err(PatternError::Collation);
        }
        if let Some((name, after)) =
            rest.as_str().strip_prefix(':').filter(|_| c == '[').and_then(|rest| rest.split_once(":]"))
        {
            items.push(Item::Class(class(name).ok_or(PatternError::Class)?));
            rest = after.chars();
            continue;
        }
        let Some(low) = unescape(c, &mut rest) else { return Ok(None) };
        let mut ahead = rest.clone();
        let high = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(high)) if high != ']' => unescape(high, &mut ahead),
            _ => None,
        };
        match high {
            Some(high) if high < low => return Err(PatternError::Backwards),
            Some(high) => {
                rest = ahead;
                items.push(Item::Range(low, high));
            }
            None => items.push(Item::Range(low, low)),
        }
    }
}

fn unescape(c: char, rest: &mut Chars<'_>) -> Option<char> {
    if c == '\\' { rest.next() } else { Some(c) }
}

fn class(name: &str) -> Option<fn(char) -> bool> {
    Some(match name {
        "alnum" => char::is_alphanumeric,
        "alpha" => char::is_alphabetic,
        "ascii" => |c| c.is_ascii(),
        "blank" => |c| c == ' ' || c == '\t',
        "cntrl" => char::is_control,
        "digit" => |c| c.is_ascii_digit(),
        "graph" => |c| !c.is_control() && !c.is_whitespace(),
        "lower" => char::is_lowercase,
        "print" => |c| !c.is_control(),
        "punct" => |c| !c.is_control() && !c.is_whitespace() && !c.is_alphanumeric(),
        "space" => char::is_whitespace,
        "upper" => char::is_uppercase,
        "word" => |c| c == '_' || c.is_alphanumeric(),
        "xdigit" => |c| c.is_ascii_hexdigit(),
        _ => return None,
    })
}
