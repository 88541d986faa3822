//! JSON text to a tree of values that know their byte ranges.
//!
//! Two dialects: JSON as it is, and JSON with comments and trailing commas (.fw files). One pass reads what is valid and
//! says nothing of the rest. What it does not take is made plain JSON by blanking, byte for byte, so that offsets stay,
//! and `serde_json` says what is wrong with it; that both take the same texts is tested. No text may panic or overflow
//! the stack here.

mod scan;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::origin::{Origin, Path, Source};
use crate::problem::Problem;

/// What is allowed beyond JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Nothing: the network configuration.
    Strict,
    /// `//` and `/* */` comments, and a comma after the last element: .fw files.
    Commented,
}

/// A JSON value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value<'t> {
    /// Its bytes in the source, quotes and brackets included.
    pub(super) range: Range<usize>,
    /// What it is.
    pub(super) kind: Kind<'t>,
}

/// The kinds of JSON values.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind<'t> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as written.
    Number(&'t str),
    /// A string, decoded.
    Text(Cow<'t, str>),
    /// `[...]`
    List(Vec<Value<'t>>),
    /// `{...}` in the order written; a key may come twice.
    Object(Vec<Member<'t>>),
}

impl Kind<'_> {
    /// Its name in messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// A key of an object and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member<'t> {
    /// The key, decoded.
    pub(super) key: Cow<'t, str>,
    /// Its bytes in the source, quotes included.
    pub(super) key_range: Range<usize>,
    /// Its value.
    pub(super) value: Value<'t>,
}

/// Reads a text.
///
/// # Errors
/// The first thing that is not valid, with what was expected there.
pub(super) fn parse_json(source: &Arc<Source>, dialect: Dialect) -> Result<Value<'_>, Problem> {
    if let Some(value) = scan::scan(&source.text, dialect) {
        return Ok(value);
    }
    let plain = blanked(source, dialect)?;
    match serde_json::from_str::<Valid>(&plain) {
        Err(error) => Err(explained(source, &plain, dialect, &error)),
        // not reached as long as both take the same; refuse rather than trust either
        Ok(Valid) => Err(problem(source, 0..0, "not valid JSON")),
    }
}

/// The text with a byte order mark and, where the dialect has them, comments and trailing commas replaced by
/// as many blanks. Line ends stay, so offsets and line numbers are those of the source.
fn blanked(source: &Arc<Source>, dialect: Dialect) -> Result<String, Problem> {
    let mut text = source.text.clone().into_bytes();
    let mut at = 0;
    if source.text.starts_with('\u{feff}') {
        at = '\u{feff}'.len_utf8();
        blank(&mut text, 0..at);
    }
    // a comma that is a trailing one if a closing bracket is the next token, and the token before it
    let mut comma = None;
    let mut before = b',';
    while let Some(&byte) = text.get(at) {
        let start = at;
        at += 1;
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            b'/' if dialect == Dialect::Commented && matches!(text.get(at), Some(b'/' | b'*')) => {
                at = comment_end(&text, start).ok_or_else(|| {
                    problem(source, start..start + 2, "this comment has no end: expected `*/`")
                })?;
                blank(&mut text, start..at);
                continue;
            }
            b'"' => at = string_end(&text, at),
            b',' if dialect == Dialect::Commented && !matches!(before, b'[' | b'{' | b':' | b',') => {
                comma = Some(start);
                before = byte;
                continue;
            }
            b'}' | b']' => {
                if let Some(comma) = comma {
                    blank(&mut text, comma..comma + 1);
                }
            }
            _ => {}
        }
        comma = None;
        before = byte;
    }
    Ok(String::from_utf8(text).expect("only whole characters were replaced, and by ASCII"))
}

fn blank(text: &mut [u8], range: Range<usize>) {
    for byte in text.get_mut(range).into_iter().flatten() {
        if !matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
}

/// Offset after the comment that begins at `start`; `None` if it is a block without an end.
fn comment_end(text: &[u8], start: usize) -> Option<usize> {
    let inside = start + 2;
    let rest = text.get(inside..)?;
    if text.get(start + 1) == Some(&b'*') {
        return rest.windows(2).position(|pair| pair == b"*/").map(|length| inside + length + 2);
    }
    Some(
        rest.iter()
            .position(|byte| matches!(byte, b'\r' | b'\n'))
            .map_or(text.len(), |length| inside + length),
    )
}

/// Offset after the closing quote of the string whose contents begin at `at`.
fn string_end(text: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = text.get(at) {
        at += match byte {
            b'"' => return at + 1,
            b'\\' => 2,
            _ => 1,
        };
    }
    text.len()
}

/// Reads any JSON value and keeps nothing. Unlike [`serde::de::IgnoredAny`] it makes `serde_json` decode the
/// strings and count the nesting.
struct Valid;

impl<'de> Deserialize<'de> for Valid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Valid {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self, A::Error> {
        while object.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

/// The judge's message in our words, at the byte that it means, with a hint for what people often write.
fn explained(source: &Arc<Source>, plain: &str, dialect: Dialect, error: &serde_json::Error) -> Problem {
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
    let message = match message {
        "EOF while parsing a value" => "the text ends where a value is expected",
        "EOF while parsing an object" => "the text ends inside an object: expected `,` or `}`",
        "EOF while parsing a list" => "the text ends inside a list: expected `,` or `]`",
        "EOF while parsing a string" => "the text ends inside a string: expected `\"`",
        "expected value" => "expected a value",
        "key must be a string" => "expected a key in double quotes",
        "trailing characters" => "expected nothing after the value",
        "trailing comma" => "expected another element after the comma",
        "control character (\\u0000-\\u001F) found while parsing a string" => {
            "a control character or line end inside a string: expected `\"` or an escape such as `\\n`"
        }
        "recursion limit exceeded" => "nested too deeply: at most 127 levels",
        other => other,
    };
    // the column is that of the offending byte, from 1, and 0 for the line end before; at the end of the
    // text, it is that of the last byte
    let line_start = match error.line() {
        0 | 1 => 0,
        line => plain.match_indices('\n').nth(line - 2).map_or(plain.len(), |(newline, _)| newline + 1),
    };
    let offset = (line_start + error.column()).saturating_sub(1);
    let offset = if error.is_eof() { plain.trim_ascii_end().len().saturating_sub(1) } else { offset };
    let (start, found) = char_at(&source.text, offset);
    let hint = match (found, dialect) {
        (Some('\''), _) => Some("strings and keys stand in double quotes"),
        (Some('#'), Dialect::Commented) => Some("a comment begins with `//`"),
        (Some('/' | '#'), Dialect::Strict) => Some("comments are allowed in .fw files only"),
        (Some('}' | ']'), Dialect::Strict) if error.to_string().starts_with("trailing comma") => {
            Some("a comma after the last element is allowed in .fw files only")
        }
        _ => None,
    };
    let problem = problem(source, start..start + found.map_or(0, char::len_utf8), message);
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// The character that byte `offset` belongs to, and where it starts; past the end, the last one.
fn char_at(text: &str, offset: usize) -> (usize, Option<char>) {
    let mut start = offset.min(text.len().saturating_sub(1));
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    (start, text.get(start..).and_then(|rest| rest.chars().next()))
}

fn problem(source: &Arc<Source>, range: Range<usize>, message: impl Into<String>) -> Problem {
    Problem::new(Origin { source: Arc::clone(source), path: Path::default(), range, span: None }, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The value, whose texts are those of `text`.
    fn parsed(text: &str, dialect: Dialect) -> Result<Value<'_>, String> {
        match scan::scan(text, dialect) {
            Some(value) => Ok(value),
            None => Err(parse_json(&Source::new("a.fw", text), dialect).expect_err("not valid").to_string()),
        }
    }

    fn strict(text: &str) -> Result<Value<'_>, String> {
        parsed(text, Dialect::Strict)
    }

    fn commented(text: &str) -> Result<Value<'_>, String> {
        parsed(text, Dialect::Commented)
    }

    fn error(text: &str, dialect: Dialect) -> String {
        parsed(text, dialect).expect_err("not valid")
    }

    /// What `serde_json` makes of it, as the oracle.
    fn plain(value: &Value<'_>) -> serde_json::Value {
        match &value.kind {
            Kind::Null => serde_json::Value::Null,
            Kind::Bool(flag) => (*flag).into(),
            Kind::Number(number) => serde_json::from_str(number).expect("a number"),
            Kind::Text(text) => text.clone().into_owned().into(),
            Kind::List(list) => list.iter().map(plain).collect(),
            Kind::Object(members) => {
                members.iter().map(|member| (member.key.to_string(), plain(&member.value))).collect()
            }
        }
    }

    #[test]
    fn values_know_their_bytes() {
        let text = "{\"a\": [1, \"\\u00e9\"]}";
        let Kind::Object(members) = strict(text).expect("valid").kind else { panic!("an object") };
        assert_eq!(&text[members[0].key_range.clone()], "\"a\"");
        assert_eq!(&text[members[0].value.range.clone()], "[1, \"\\u00e9\"]");
        let Kind::List(list) = &members[0].value.kind else { panic!("a list") };
        assert_eq!(list[1], Value { range: 10..18, kind: Kind::Text("é".into()) });
    }

    #[test]
    fn comments_and_trailing_commas_are_for_fw_files() {
        let text = "// é\n{ /* , ] */ \"a\": [1, /* x */ 2, // last\r\n ],\n}\n// end";
        assert_eq!(plain(&commented(text).expect("valid")), serde_json::json!({ "a": [1, 2] }));
        assert_eq!(
            error("{ // no\n}", Dialect::Strict),
            "a.fw:1:3: expected a key in double quotes; hint: comments are allowed in .fw files only"
        );
        assert_eq!(
            error("[1, 2,]", Dialect::Strict),
            "a.fw:1:7: expected another element after the comma; hint: a comma after the last element is \
             allowed in .fw files only"
        );
    }

    #[test]
    fn comment_marks_and_commas_inside_strings_are_text() {
        let text = r#"["// \" /*", ",]", "*/"]"#;
        assert_eq!(plain(&commented(text).expect("valid")), serde_json::json!(["// \" /*", ",]", "*/"]));
    }

    #[test]
    fn a_comment_ends_with_its_line() {
        for end in ["\n", "\r\n", "\r"] {
            let text = format!("[1 // one{end}, 2]");
            assert_eq!(plain(&commented(&text).expect("valid")), serde_json::json!([1, 2]));
        }
    }

    #[test]
    fn a_byte_order_mark_and_crlf_are_fine() {
        for dialect in [Dialect::Strict, Dialect::Commented] {
            assert!(parsed("\u{feff}{\r\n\"a\":\t1\r\n}\r\n", dialect).is_ok());
            assert_eq!(error("[\u{feff}]", dialect), "a.fw:1:2: expected a value");
        }
    }

    #[test]
    fn errors_say_where_and_what_was_expected() {
        for (text, message) in [
            ("", "a.fw:1:1: the text ends where a value is expected"),
            ("// only a comment\n", "a.fw:1:1: the text ends where a value is expected"),
            ("{\n  \"a\": 1\n  \"b\": 2\n}", "a.fw:3:3: expected `,` or `}`"),
            ("{\"é\" 1}", "a.fw:1:6: expected `:`"),
            ("{\"a\": 1\n\n", "a.fw:1:7: the text ends inside an object: expected `,` or `}`"),
            ("[1", "a.fw:1:2: the text ends inside a list: expected `,` or `]`"),
            ("[\"abc", "a.fw:1:5: the text ends inside a string: expected `\"`"),
            ("{a: 1}", "a.fw:1:2: expected a key in double quotes"),
            (
                "{'a': 1}",
                "a.fw:1:2: expected a key in double quotes; hint: strings and keys stand in double quotes",
            ),
            ("['a']", "a.fw:1:2: expected a value; hint: strings and keys stand in double quotes"),
            ("[1] # no", "a.fw:1:5: expected nothing after the value; hint: a comment begins with `//`"),
            ("[1] [2]", "a.fw:1:5: expected nothing after the value"),
            ("[,]", "a.fw:1:2: expected a value"),
            ("[1,,]", "a.fw:1:4: expected a value"),
            ("{,}", "a.fw:1:2: expected a key in double quotes"),
            ("{\"a\":,}", "a.fw:1:6: expected a value"),
            ("{},", "a.fw:1:3: expected nothing after the value"),
            ("[1 /* open", "a.fw:1:4: this comment has no end: expected `*/`"),
            ("[1 / 2]", "a.fw:1:4: expected `,` or `]`"),
            (
                "[\"a\nb\"]",
                "a.fw:1:4: a control character or line end inside a string: expected `\"` or an escape such as `\\n`",
            ),
            (
                "[\"a\0b\"]",
                "a.fw:1:4: a control character or line end inside a string: expected `\"` or an escape such as `\\n`",
            ),
            ("[\0]", "a.fw:1:2: expected a value"),
            (r#"["\x41"]"#, "a.fw:1:4: invalid escape"),
            (r#"["\ud800"]"#, "a.fw:1:9: unexpected end of hex escape"),
            ("[01]", "a.fw:1:3: invalid number"),
            ("[-1e999]", "a.fw:1:7: number out of range"),
            ("[0x1f]", "a.fw:1:3: expected `,` or `]`"),
            ("[.5]", "a.fw:1:2: expected a value"),
            ("[+5]", "a.fw:1:2: expected a value"),
            ("[NaN]", "a.fw:1:2: expected a value"),
            ("[1\u{a0}]", "a.fw:1:3: expected `,` or `]`"),
            ("[1\u{b}]", "a.fw:1:3: expected `,` or `]`"),
        ] {
            assert_eq!(error(text, Dialect::Commented), message, "{text:?}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error() {
        for dialect in [Dialect::Strict, Dialect::Commented] {
            for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
                let nested = |levels| format!("{}1{}", open.repeat(levels), close.repeat(levels));
                assert!(parsed(&nested(127), dialect).is_ok());
                for text in [nested(128), nested(500_000), open.repeat(500_000)] {
                    let message = error(&text, dialect);
                    assert!(message.ends_with(": nested too deeply: at most 127 levels"), "{message}");
                }
            }
        }
    }

    /// Checks that all ranges lie in the text, on characters, and inside their parents.
    fn assert_bounds(text: &str, value: &Value<'_>, parent: &Range<usize>) {
        let inside = |range: &Range<usize>| {
            assert!(text.get(range.clone()).is_some() && !range.is_empty(), "{range:?} in {text:?}");
            assert!(parent.start <= range.start && range.end <= parent.end, "{range:?} in {parent:?}");
        };
        inside(&value.range);
        match &value.kind {
            Kind::List(list) => list.iter().for_each(|element| assert_bounds(text, element, &value.range)),
            Kind::Object(members) => {
                for member in members {
                    inside(&member.key_range);
                    assert_bounds(text, &member.value, &value.range);
                }
            }
            _ => {}
        }
    }

    fn check(text: &str) {
        for dialect in [Dialect::Strict, Dialect::Commented] {
            match parse_json(&Source::new("a.fw", text), dialect) {
                Ok(value) => assert_bounds(text, &value, &(0..text.len())),
                Err(problem) => assert!(text.get(problem.origin.range.clone()).is_some(), "{problem:?}"),
            }
        }
        let oracle = serde_json::from_str::<serde_json::Value>(text.strip_prefix('\u{feff}').unwrap_or(text));
        assert_eq!(strict(text).is_ok(), oracle.is_ok(), "{text:?}");
        if let Ok(oracle) = oracle {
            assert_eq!(plain(&strict(text).expect("valid")), oracle, "{text:?}");
            assert_eq!(plain(&commented(text).expect("valid")), oracle, "{text:?}");
        }
        // and with comments, what is left without them
        let oracle = blanked(&Source::new("a.fw", text), Dialect::Commented)
            .ok()
            .and_then(|blanked| serde_json::from_str::<serde_json::Value>(&blanked).ok());
        assert_eq!(scan::scan(text, Dialect::Commented).map(|value| plain(&value)), oracle, "{text:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            check(&text);
        }

        #[test]
        fn anything_like_json_is_read_as_serde_json_does(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "{", "}", "[", "]", ",", ":", "\"a\"", "\"", "\\", "\\u00e9", "\\ud83d\\ude00", "1", "-0.5e3",
                    "true", "null", "//", "/*", "*/", "\n", "\r", " ", "é", "\u{feff}", "\0", "\\n", "\\\"",
                    "\\ud83d", "\\u", "\u{1}", "\t", "/", "0", "1e999", "E", "+", "-", ".", "99999999999999999999",
                ]),
                0..24,
            ),
        ) {
            check(&pieces.concat());
        }

        #[test]
        fn any_json_is_read_as_serde_json_does(value in any_json()) {
            check(&value.to_string());
            check(&serde_json::to_string_pretty(&value).expect("a text"));
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
