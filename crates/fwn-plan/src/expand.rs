//! Variables in configuration text: text and [`Variables`] come in, the text with their values goes out.
//!
//! The POSIX and common bash forms of `${...}` with shell patterns, and never a shell: no command runs, no file
//! name is matched, no value is split into words or expanded again. What is not one of the [`FORMS`] is an error.
//! Names of variables may stand in messages, values never.

mod glob;
mod template;
mod variables;

use std::cell::Cell;
use std::ops::Range;

use glob::{Pattern, PatternError};
use template::{Anchor, Operation, Piece, Template};
pub(crate) use template::{Parameter, Parser, Quoting, form_end, unterminated_quote};
pub use variables::{Variables, is_variable_name};

/// Every form that is understood, for messages.
pub const FORMS: &str = "$X ${X} ${X:-w} ${X-w} ${X:+w} ${X+w} ${X:?m} ${X?m} ${#X} ${X#p} ${X##p} ${X%p} \
                         ${X%%p} ${X/p/s} ${X//p/s} ${X/#p/s} ${X/%p/s} ${X:off} ${X:off:len}";

/// Longest value that is read, and longest result, in bytes.
pub const MAX_TEXT: usize = 64 * 1024;

/// Text after expansion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expanded {
    /// The text.
    pub text: String,
    /// Whether a variable had a part in it, be it with an empty value or a default.
    pub expanded: bool,
}

/// What cannot be expanded, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpandError {
    /// Bytes of the input.
    pub span: Range<usize>,
    /// What is wrong: lower case, no full stop, never a value.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The variable that is not set, if that is what is wrong.
    pub unset: Option<String>,
}

impl ExpandError {
    fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), hint: None, unset: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// Expands `text` as one string: nothing is split, quotes are characters like any other. `\$` is a dollar and
/// `` \` `` a backtick; any other backslash stands for itself.
///
/// # Errors
/// The first thing that cannot be expanded: a form that is none of [`FORMS`], a variable that is not set and has
/// no default, a value that brings a control character or makes the result longer than [`MAX_TEXT`].
pub fn expand(text: &str, variables: &Variables) -> Result<Expanded, ExpandError> {
    expand_checked(text, variables, |_, _, _| Ok(()))
}

/// Expands the text of a set's entry as [`expand`] does, but takes no value that makes another word of it: a
/// `timeout` or `nomatch` stands in the text, or it is not there. Between double quotes a value may have blanks.
///
/// # Errors
/// As [`expand`]; and a value with a double quote, or with a blank outside of quotes.
pub fn expand_entry(text: &str, variables: &Variables) -> Result<Expanded, ExpandError> {
    expand_checked(text, variables, |before, parameter, value| {
        let quoted = before.matches('"').count() % 2 == 1;
        if value.text.contains('"') || (!quoted && value.text.contains(char::is_whitespace)) {
            let message = format!("the value of `{}` is more than one word", parameter.name);
            return Err(ExpandError::new(parameter.span.clone(), message)
                .hint("options of an entry stand in its text; a value with blanks stands in double quotes"));
        }
        Ok(())
    })
}

/// Expands the name of a file as [`expand`] does, but takes from outside ([`Variables::layer_from_outside`]) no more than
/// a part of a name: a tenant may choose among files, not lead elsewhere.
///
/// # Errors
/// As [`expand`]; and a value from outside with anything but letters, digits, `_`, `-` and dots, or with a dot first.
pub fn expand_file_name(text: &str, variables: &Variables) -> Result<Expanded, ExpandError> {
    expand_checked(text, variables, |_, parameter, value| {
        let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if value.from_outside && (value.text.starts_with('.') || !value.text.chars().all(harmless)) {
            let message = format!("the value of `{}` cannot be a part of a file name", parameter.name);
            return Err(ExpandError::new(parameter.span.clone(), message).hint(
                "who starts the container may use letters, digits, `_`, `-` and dots, but no dot first",
            ));
        }
        Ok(())
    })
}

/// What one `$X` or `${...}` becomes.
struct Value {
    text: String,
    /// Whether it holds a value that a tenant or the runtime can write.
    from_outside: bool,
}

/// Expands, and has each value checked with the text before it.
fn expand_checked(
    text: &str,
    variables: &Variables,
    check: impl Fn(&str, &Parameter, &Value) -> Result<(), ExpandError>,
) -> Result<Expanded, ExpandError> {
    if text.len() <= MAX_TEXT && !text.contains(['$', '`', '\\']) {
        return Ok(Expanded { text: text.to_owned(), expanded: false });
    }
    let template = Parser::new(text).literal_text()?;
    let expanded = template.pieces.iter().any(|piece| matches!(piece, Piece::Parameter { .. }));
    let mut out = Output::text();
    for piece in &template.pieces {
        match piece {
            Piece::Text { text: literal, .. } => out.push(literal, false, &(0..text.len()))?,
            Piece::Parameter { parameter, .. } => {
                let value = evaluate(parameter, variables)?;
                check(&out.text, parameter, &value)?;
                out.push(&value.text, false, &parameter.span)?;
            }
        }
    }
    Ok(Expanded { text: out.text, expanded })
}

/// The value of one `$X` or `${...}`, fit to stand in a line.
pub(crate) fn expand_parameter(parameter: &Parameter, variables: &Variables) -> Result<String, ExpandError> {
    evaluate(parameter, variables).map(|value| value.text)
}

fn evaluate(parameter: &Parameter, variables: &Variables) -> Result<Value, ExpandError> {
    let mut out = Output::text();
    let evaluator = Evaluator { variables, from_outside: Cell::new(false) };
    evaluator.parameter(parameter, &mut out, false)?;
    if out.text.contains(char::is_control) {
        let message = format!("the value of `{}` has a control character in it", parameter.name);
        return Err(ExpandError::new(parameter.span.clone(), message)
            .hint("values must be one line of plain text without tabs"));
    }
    Ok(Value { text: out.text, from_outside: evaluator.from_outside.get() })
}

/// Text that grows up to [`MAX_TEXT`]; for a pattern, what is quoted gets backslashes.
struct Output {
    text: String,
    pattern: bool,
}

impl Output {
    fn text() -> Self {
        Self { text: String::new(), pattern: false }
    }

    fn pattern() -> Self {
        Self { text: String::new(), pattern: true }
    }

    fn push(&mut self, text: &str, quoted: bool, span: &Range<usize>) -> Result<(), ExpandError> {
        if self.text.len() + text.len() > MAX_TEXT {
            return Err(ExpandError::new(span.clone(), format!("expands to more than {MAX_TEXT} bytes")));
        }
        if self.pattern && quoted {
            for c in text.chars() {
                if !c.is_alphanumeric() {
                    self.text.push('\\');
                }
                self.text.push(c);
            }
        } else {
            self.text.push_str(text);
        }
        Ok(())
    }
}

struct Evaluator<'v> {
    variables: &'v Variables,
    /// Whether a value from outside was used.
    from_outside: Cell<bool>,
}

impl Evaluator<'_> {
    fn template(
        &self,
        template: &Template,
        out: &mut Output,
        outer: bool,
        span: &Range<usize>,
    ) -> Result<(), ExpandError> {
        template.pieces.iter().try_for_each(|piece| match piece {
            Piece::Text { text, quoted } => out.push(text, *quoted || outer, span),
            Piece::Parameter { parameter, quoted } => self.parameter(parameter, out, *quoted || outer),
        })
    }

    fn parameter(&self, parameter: &Parameter, out: &mut Output, quoted: bool) -> Result<(), ExpandError> {
        let Parameter { name, span, operation } = parameter;
        let found = self.variables.find(name);
        let value = found.map(|(value, _)| value);
        let used =
            || self.from_outside.set(self.from_outside.get() || found.is_some_and(|(_, outside)| outside));
        if value.is_some_and(|value| value.len() > MAX_TEXT) {
            let message = format!("the value of `{name}` is longer than {MAX_TEXT} bytes");
            return Err(ExpandError::new(span.clone(), message));
        }
        // with a colon, empty counts as not set
        let present = |colon: bool| value.filter(|value| !(colon && value.is_empty()));

        match operation {
            Operation::Default { colon, word } => {
                return match present(*colon) {
                    Some(value) => {
                        used();
                        out.push(value, quoted, span)
                    }
                    None => self.template(word, out, quoted, span),
                };
            }
            Operation::Alternate { colon, word } => {
                return match present(*colon) {
                    Some(_) => self.template(word, out, quoted, span),
                    None => Ok(()),
                };
            }
            Operation::Require { colon, message } => {
                let Some(value) = present(*colon) else {
                    let state = if value.is_some() { "is empty" } else { "is not set" };
                    let mut error = ExpandError::new(span.clone(), format!("variable `{name}` {state}"));
                    error.unset = value.is_none().then(|| name.clone());
                    return Err(if message.is_empty() { error } else { error.hint(message) });
                };
                used();
                return out.push(value, quoted, span);
            }
            _ => {}
        }

        let value = value.ok_or_else(|| self.unset(parameter))?;
        used();
        match operation {
            Operation::Length => out.push(&value.chars().count().to_string(), quoted, span),
            Operation::Trim { suffix, longest, pattern } => {
                let pattern = self.pattern(pattern, span)?;
                out.push(pattern.trim(value, *suffix, *longest), quoted, span)
            }
            Operation::Replace { anchor, pattern, with } => {
                let pattern = self.pattern(pattern, span)?;
                let replacement = self.plain(with, span)?;
                let mut push = |text: &str| out.push(text, quoted, span);
                match anchor {
                    Anchor::Prefix | Anchor::Suffix => {
                        let suffix = *anchor == Anchor::Suffix;
                        match (pattern.anchored(value, suffix), suffix) {
                            (None, _) => push(value),
                            (Some(at), false) => push(&replacement).and_then(|()| push(&value[at..])),
                            (Some(at), true) => push(&value[..at]).and_then(|()| push(&replacement)),
                        }
                    }
                    Anchor::First | Anchor::All => {
                        let limit = if *anchor == Anchor::All { usize::MAX } else { 1 };
                        let mut done = 0;
                        for found in pattern.find(value, limit) {
                            push(&value[done..found.start])?;
                            push(&replacement)?;
                            done = found.end;
                        }
                        push(&value[done..])
                    }
                }
            }
            Operation::Substring { offset, length } => {
                let offset = self.number(offset, parameter, "offset")?;
                let length =
                    length.as_ref().map(|text| self.number(text, parameter, "length")).transpose()?;
                let Some(part) = substring(value, offset, length) else {
                    let message = format!("the length in `${{{name}:...}}` ends before its offset");
                    return Err(ExpandError::new(span.clone(), message));
                };
                out.push(part, quoted, span)
            }
            _ => out.push(value, quoted, span),
        }
    }

    fn plain(&self, template: &Template, span: &Range<usize>) -> Result<String, ExpandError> {
        let mut out = Output::text();
        self.template(template, &mut out, false, span)?;
        Ok(out.text)
    }

    fn pattern(&self, template: &Template, span: &Range<usize>) -> Result<Pattern, ExpandError> {
        let mut out = Output::pattern();
        self.template(template, &mut out, false, span)?;
        // the pattern may hold a value, so the message does not show it
        Pattern::parse(&out.text).map_err(|error| {
            let problem = |message: String| ExpandError::new(span.clone(), message);
            match error {
                PatternError::TooLong => {
                    problem(format!("the pattern is longer than {} characters", glob::MAX_PATTERN))
                }
                PatternError::Class => problem("unknown character class in the pattern".to_owned())
                    .hint(format!("classes are {}", glob::CLASSES)),
                PatternError::Collation => problem("`[.` and `[=` in a pattern are not supported".to_owned()),
                PatternError::Backwards => problem("a range in the pattern runs backwards".to_owned()),
            }
        })
    }

    fn number(&self, text: &Template, parameter: &Parameter, what: &str) -> Result<isize, ExpandError> {
        let number = self.plain(text, &parameter.span)?;
        let number = number.trim_matches([' ', '\t']);
        if number.is_empty() && what == "offset" {
            return Ok(0);
        }
        let bare = number.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(number).trim();
        let digits = bare.strip_prefix(['-', '+']).unwrap_or(bare);
        let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        // a leading zero would be octal in bash
        match bare.parse() {
            Ok(number) if plain && (digits == "0" || !digits.starts_with('0')) => Ok(number),
            _ => Err(ExpandError::new(
                parameter.span.clone(),
                format!("the {what} in `${{{}:...}}` is not a decimal number", parameter.name),
            )
            .hint("arithmetic is not supported; write a default as `${X:-w}`")),
        }
    }

    fn unset(&self, parameter: &Parameter) -> ExpandError {
        let name = &parameter.name;
        let mut error = ExpandError::new(parameter.span.clone(), format!("variable `{name}` is not set"));
        error.unset = Some(name.clone());
        match self.variables.closest(name) {
            Some(known) => error.hint(format!("did you mean `{known}`?")),
            None => error.hint(format!("give it a value, or a default: `${{{name}:-...}}`")),
        }
    }
}

/// Characters from `offset` (from the end where negative), `length` of them (up to that far from the end where
/// negative); `None` where a negative length ends before the offset.
fn substring(value: &str, offset: isize, length: Option<isize>) -> Option<&str> {
    let count = isize::try_from(value.chars().count()).unwrap_or(isize::MAX);
    let start = if offset < 0 { count.saturating_add(offset) } else { offset };
    if start < 0 || start > count {
        return Some("");
    }
    let end = match length {
        None => count,
        Some(length) if length < 0 => count.saturating_add(length),
        Some(length) => start.saturating_add(length).min(count),
    };
    let byte = |at: isize| {
        let at = usize::try_from(at).unwrap_or(0);
        value.char_indices().nth(at).map_or(value.len(), |(byte, _)| byte)
    };
    if end < start { None } else { Some(&value[byte(start)..byte(end)]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_from_outside_is_a_part_of_a_name() {
        let pairs = |values: &[(&str, &str)]| {
            values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
        };
        let mut variables = Variables::new();
        variables.layer(pairs(&[("DIR", "a/b"), ("DOTS", "..")]));
        variables.layer_from_outside(pairs(&[
            ("DIR", "/etc"),
            ("LABEL", "web-1.x_Y"),
            ("EMPTY", ""),
            ("UP", "../x"),
            ("SLASH", "x/y"),
            ("DOT", "."),
            ("HIDDEN", ".x"),
            ("BLANK", "x y"),
            ("UMLAUT", "\u{e4}"),
            ("COLON", "x:y"),
            ("DOLLAR", "$DIR"),
        ]));
        let name = |text: &str| expand_file_name(text, &variables).map(|expanded| expanded.text);
        for (text, expected) in [
            ("task-$LABEL", "task-web-1.x_Y"),
            ("$DIR/$DOTS/${LABEL%%.*}", "a/b/../web-1"),
            ("task-${EMPTY:-in/side}", "task-in/side"),
            ("task-$EMPTY", "task-"),
            ("${SLASH:+in/side}", "in/side"),
            ("${SLASH//\\//-}", "x-y"),
            ("${SLASH%/*}-${#UP}", "x-4"),
        ] {
            assert_eq!(name(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "$UP",
            "$SLASH",
            "$DOT",
            "$HIDDEN",
            "$BLANK",
            "$UMLAUT",
            "$COLON",
            "$DOLLAR",
            "${NONE:-$UP}",
            "${UP:?}",
            "${LABEL/x/$SLASH}",
            "${UP%x}",
            "${UP:0:3}",
            "${EMPTY:-${SLASH}}",
            "${LABEL:+$SLASH}",
        ] {
            let error = name(text).expect_err(text);
            assert!(error.message.ends_with("` cannot be a part of a file name"), "{text}: {error}");
            assert!(!error.message.contains("x/y"), "{text}: {error}");
        }
    }

    fn variables() -> Variables {
        let mut variables = Variables::new();
        let layer = |values: &[(&str, &str)]| {
            values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
        };
        variables.layer(layer(&[("MESOS_AGENT_ENDPOINT", "192.168.10.114:5051"), ("X", "$Y `id` $(id)")]));
        variables.layer(layer(&[
            ("X", "hidden"),
            ("Y", "y"),
            ("EMPTY", ""),
            ("LINES", "a\nb"),
            ("L", "LÄNGE"),
        ]));
        variables
    }

    fn text(text: &str) -> String {
        expand(text, &variables()).expect(text).text
    }

    fn error(text: &str) -> ExpandError {
        expand(text, &variables()).expect_err(text)
    }

    #[test]
    fn forms_of_the_documentation() {
        assert_eq!(text("${MESOS_AGENT_ENDPOINT%%:*} ${MESOS_AGENT_ENDPOINT##*:}"), "192.168.10.114 5051");
        assert_eq!(text("${UNSET:-d}${UNSET-d}${EMPTY-d}${EMPTY:-e}${Y:+a}${EMPTY:+b}${EMPTY+c}"), "ddeac");
        assert_eq!(text("${Y:?m}${EMPTY?m}"), "y");
        assert_eq!(text("${#L} ${L:1:2} ${L: -2} ${L:$Z:1}".replace("$Z", "${#Y}").as_str()), "5 ÄN GE Ä");
        assert_eq!(
            text("${L/[[:upper:]]/_} ${L//[!G-L]/_} ${L/#L/l} ${L/%E/e} ${L/N}"),
            "_ÄNGE L__G_ lÄNGE LÄNGe LÄGE"
        );
        assert_eq!(text("${U:-${V:-${Y}}}"), "y");
    }

    #[test]
    fn dollars_and_backslashes() {
        assert_eq!(
            expand("\\$Y \\`\\n\\", &variables()),
            Ok(Expanded { text: "$Y `\\n\\".into(), expanded: false })
        );
        assert_eq!(text("\"$Y\" '$Y'"), "\"y\" 'y'");
    }

    #[test]
    fn a_value_is_not_expanded_again() {
        assert_eq!(expand("$X", &variables()), Ok(Expanded { text: "$Y `id` $(id)".into(), expanded: true }));
        assert_eq!(text("${Y/y/$X}"), "$Y `id` $(id)");
    }

    #[test]
    fn an_empty_value_still_counts_as_expanded() {
        assert_eq!(expand("$EMPTY", &variables()), Ok(Expanded { text: String::new(), expanded: true }));
    }

    #[test]
    fn other_forms_are_refused_by_name() {
        for (form, what) in [
            ("$(id)", "command substitution"),
            ("`id`", "command substitution"),
            ("$((1+(2)))", "arithmetic"),
            ("${!X}", "an indirect name"),
            ("$1", "a positional parameter"),
            ("${10}", "a positional parameter"),
            ("$@", "a special parameter"),
            ("${#}", "a special parameter"),
            ("${X^^}", "change of case"),
            ("${X,}", "change of case"),
            ("${X@Q}", "transformation"),
            ("${X[0]}", "an array"),
            ("${X:=w}", "assignment"),
            ("${X=w}", "assignment"),
            ("${#X%p}", "a length with an operator"),
            ("${ X}", "this form"),
            ("${X }", "this form"),
            ("$'a'", "`$` before a quote"),
        ] {
            let error = error(&format!("é {form} z"));
            assert!(error.message.ends_with(what), "{form}: {}", error.message);
            assert!(error.hint.expect("a hint").contains(if form.starts_with('`') {
                "\\`"
            } else {
                "${X:-w}"
            }));
            assert!(error.span.start == 3, "{form}");
            if !form.starts_with("$'") {
                assert_eq!(error.message, format!("`{form}` is not supported: {what}"));
                assert_eq!(error.span, 3..3 + form.len());
            }
        }
        for form in
            ["a $ b", "$", "$.x", "${", "${X", "${X:-", "${X:-${Y}", "${X/a", "${X:1", "${X//}", "${X/}"]
        {
            error(form);
        }
    }

    #[test]
    fn an_unset_variable_is_named_with_its_neighbour() {
        let error = error("a ${MESOS_AGENT_ENDPIONT%%:*}");
        assert_eq!(error.message, "variable `MESOS_AGENT_ENDPIONT` is not set");
        assert_eq!(error.hint.as_deref(), Some("did you mean `MESOS_AGENT_ENDPOINT`?"));
        assert_eq!(error.span, 2..29);
    }

    #[test]
    fn a_message_shows_no_value() {
        let error = error("${EMPTY:?set it, see $X}");
        assert_eq!(error.message, "variable `EMPTY` is empty");
        assert_eq!(error.hint.as_deref(), Some("set it, see $X"));
        assert_eq!(
            format!("{:?}", variables()),
            r#"{"EMPTY", "L", "LINES", "MESOS_AGENT_ENDPOINT", "X", "Y"}"#
        );
    }

    #[test]
    fn a_control_character_must_not_come_out() {
        assert!(error("$LINES").message.contains("control character"));
        assert_eq!(text("${LINES%[[:cntrl:]]*}${LINES:0:1}"), "aa");
    }

    #[test]
    fn locals_win_and_the_first_layer_after_them() {
        let all = variables();
        let locals = all.with_locals([("Y".to_owned(), "local".to_owned())]);
        assert_eq!((locals.lookup("Y"), locals.lookup("X")), (Some("local"), all.lookup("X")));
        assert_eq!(all.lookup("Y"), Some("y"));
    }

    #[test]
    fn numbers_are_decimal_and_plain() {
        for form in [
            "${L:x}",
            "${L:1+1}",
            "${L:010}",
            "${L:1:}",
            "${L:99999999999999999999}",
            "${L:3:-4}",
            "${L:-}x${L: }",
        ] {
            let result = expand(form, &variables());
            assert_eq!(result.is_ok(), form.ends_with("${L: }"), "{form}");
        }
        assert_eq!(text("${L:(-2)} ${L::1} ${L:9223372036854775807:9223372036854775807}"), "GE L ");
    }

    #[test]
    fn limits_hold() {
        let mut many = variables();
        many.layer([
            ("BIG".to_owned(), "a".repeat(MAX_TEXT)),
            ("BIGGER".to_owned(), "a".repeat(MAX_TEXT + 1)),
        ]);
        assert_eq!(expand("$BIG", &many).expect("just fits").text.len(), MAX_TEXT);
        for form in ["$BIG.", "${BIGGER%%a*}", "${BIG//a/aa}", "${BIG#$BIG}", "${BIG//a/$BIG}"] {
            expand(form, &many).expect_err(form);
        }
        let nested = |depth: usize| format!("{}{}", "${U:-".repeat(depth), "}".repeat(depth));
        expand(&nested(16), &many).expect("16 deep");
        expand(&nested(17), &many).expect_err("17 deep");
        expand(&nested(100_000), &many).expect_err("far too deep");
    }

    #[test]
    fn no_pattern_takes_long() {
        let mut many = Variables::new();
        many.layer([("BIG".to_owned(), "a".repeat(MAX_TEXT))]);
        let stars = "*a".repeat(40);
        for form in
            [format!("${{BIG##{stars}b}}"), format!("${{BIG%%b{stars}}}"), format!("${{BIG//{stars}b/x}}")]
        {
            assert_eq!(expand(&form, &many).expect("no match").text.len(), MAX_TEXT);
        }
        assert_eq!(expand("${BIG//a?/b}", &many).expect("matches").text.len(), MAX_TEXT / 2);
    }
}
