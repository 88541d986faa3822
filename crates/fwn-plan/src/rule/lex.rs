//! Words of a rule: the rule text comes in, its words with the values of variables go out.
//!
//! Words are told apart before anything is expanded, so no value can become a second word; and a word that has a
//! value in it says so, so that the parser takes it neither for an option nor for `!`.

use super::{RuleProblem, Span};
use crate::expand::{
    ExpandError, Parameter, Parser, Quoting, Variables, expand_parameter, form_end, unterminated_quote,
};

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The text, quotes removed, variables expanded; may be empty, has no control characters.
    pub text: String,
    /// Where it stands in the rule text, quotes included.
    pub span: Span,
    /// Whether a variable had a part in it: then it is never an option, the head of `--option=value`, or `!`.
    pub is_value: bool,
}

/// Splits a rule into words, then expands each.
///
/// Blanks are space, tab and newline. Double quotes hold a word together, with a backslash before any character
/// that stands for itself, as in `iptables-restore`; in single quotes nothing has a meaning. Outside of quotes a
/// backslash is a character, except in `\$` and `` \` ``. A closing quote ends the word: what `iptables-restore`
/// takes for a second word and a shell for the same one is an error.
///
/// # Errors
/// Everything that is wrong, in the order of the text.
pub fn parse_words(text: &str, variables: &Variables) -> Result<Vec<Word>, Vec<RuleProblem>> {
    if let Some(words) = plain_words(text) {
        return Ok(words);
    }
    let mut lexer = Lexer::new(text, variables);
    let words = lexer.words();
    if lexer.problems.is_empty() { Ok(words) } else { Err(lexer.problems) }
}

/// Variables of a rule that are not set and have no default, each with its place.
pub fn unset_variables(text: &str, variables: &Variables) -> Vec<(String, Span)> {
    let mut lexer = Lexer::new(text, variables);
    lexer.words();
    lexer.unset
}

/// The words of a text in which only blanks mean anything, as of most rules.
fn plain_words(text: &str) -> Option<Vec<Word>> {
    let means_nothing =
        |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'$' | b'\'' | b'\\' | b'`');
    if !text.as_bytes().iter().all(means_nothing) {
        return None;
    }
    let mut words = Vec::with_capacity(12);
    let mut start = 0;
    for word in text.split(' ') {
        let span = start..start + word.len();
        start = span.end + 1;
        if !word.is_empty() {
            words.push(Word { text: word.to_owned(), span, is_value: false });
        }
    }
    Some(words)
}

struct Lexer<'t> {
    text: &'t str,
    variables: &'t Variables,
    parser: Parser<'t>,
    problems: Vec<RuleProblem>,
    unset: Vec<(String, Span)>,
}

impl<'t> Lexer<'t> {
    fn new(text: &'t str, variables: &'t Variables) -> Self {
        Self { text, variables, parser: Parser::new(text), problems: Vec::new(), unset: Vec::new() }
    }

    fn words(&mut self) -> Vec<Word> {
        let mut words = Vec::new();
        while let Some(c) = self.parser.peek() {
            if is_blank(c) {
                self.parser.next();
            } else {
                words.push(self.word());
            }
        }
        words
    }

    fn word(&mut self) -> Word {
        let start = self.parser.at;
        let mut word = Word { text: String::new(), span: start..start, is_value: false };
        let mut closed = false;
        while let Some(c) = self.parser.peek().filter(|c| !is_blank(*c)) {
            if closed {
                self.after_quote(start);
                break;
            }
            match c {
                '"' => {
                    self.double_quoted(&mut word);
                    closed = true;
                }
                '\'' => {
                    self.single_quoted(&mut word);
                    closed = true;
                }
                '$' | '`' => self.expansion(&mut word, Quoting::Bare),
                '\\' => word.text.push(self.parser.escaped_or_plain(c)),
                _ => word.text.push_str(self.parser.run(|byte| b" \t\n\"'$`\\".contains(&byte))),
            }
        }
        word.span.end = self.parser.at;
        // most words are plain, and of bytes that is known faster
        let plain = word.text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if let Some(control) = word.text.chars().find(|c| !plain && c.is_control()) {
            let message = format!("control character `{}` in a word", control.escape_default());
            self.problem(word.span.clone(), message, None);
        }
        word
    }

    fn double_quoted(&mut self, word: &mut Word) {
        let open = self.parser.at;
        self.parser.next();
        while let Some(c) = self.parser.peek() {
            match c {
                '"' => {
                    self.parser.next();
                    return;
                }
                '\\' => {
                    self.parser.next();
                    word.text.extend(self.parser.next());
                }
                '$' | '`' => self.expansion(word, Quoting::Double),
                c => {
                    self.parser.next();
                    word.text.push(c);
                }
            }
        }
        self.unterminated(open, '"');
    }

    fn single_quoted(&mut self, word: &mut Word) {
        let open = self.parser.at;
        self.parser.next();
        while let Some(c) = self.parser.next() {
            if c == '\'' {
                return;
            }
            word.text.push(c);
        }
        self.unterminated(open, '\'');
    }

    fn expansion(&mut self, word: &mut Word, quoting: Quoting) {
        let start = self.parser.at;
        word.is_value = true;
        let parameter = match self.parser.peek() {
            Some('`') => Err(self.parser.backtick()),
            _ => self.parser.parameter(quoting),
        };
        let expand = |parameter: Parameter| expand_parameter(&parameter, self.variables);
        match parameter.map_err(|error| (error, true)).and_then(|p| expand(p).map_err(|error| (error, false)))
        {
            Ok(value) => word.text.push_str(&value),
            Err((error, syntax)) => {
                if syntax {
                    self.parser.resume(form_end(self.text, start));
                }
                self.unset.extend(error.unset.clone().map(|name| (name, error.span.clone())));
                self.problems.push(error.into());
            }
        }
    }

    /// Text stands right behind a closing quote: the rest up to a blank belongs to the problem.
    fn after_quote(&mut self, start: usize) {
        while self.parser.peek().is_some_and(|c| !is_blank(c)) {
            self.parser.next();
        }
        let message = "text right after a closing quote";
        let hint = "put the whole word into one pair of quotes, or a blank between two words";
        self.problem(start..self.parser.at, message, Some(hint));
    }

    fn unterminated(&mut self, open: usize, quote: char) {
        // a `${` without its end has swallowed the quote
        if self.problems.last().is_none_or(|problem| problem.span.end < self.text.len()) {
            self.problems.push(unterminated_quote(open..self.text.len(), quote).into());
        }
    }

    fn problem(&mut self, span: Span, message: impl Into<String>, hint: Option<&str>) {
        self.problems.push(RuleProblem { span, message: message.into(), hint: hint.map(Into::into) });
    }
}

impl From<ExpandError> for RuleProblem {
    fn from(error: ExpandError) -> Self {
        Self { span: error.span, message: error.message, hint: error.hint }
    }
}

/// What `iptables-restore` takes for a blank.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variables() -> Variables {
        let mut variables = Variables::new();
        let values = [("IF", "eth0"), ("EMPTY", ""), ("EVIL", "x -j ACCEPT"), ("NOT", "!"), ("NL", "a\nb")];
        variables.layer(values.map(|(name, value)| (name.to_owned(), value.to_owned())));
        variables
    }

    fn words(text: &str) -> Vec<(String, bool)> {
        let words = parse_words(text, &variables()).expect(text);
        words.into_iter().map(|word| (word.text, word.is_value)).collect()
    }

    fn literal(text: &str) -> Vec<String> {
        words(text).into_iter().inspect(|(_, is_value)| assert!(!is_value)).map(|(text, _)| text).collect()
    }

    fn problems(text: &str) -> Vec<RuleProblem> {
        parse_words(text, &variables()).expect_err(text)
    }

    #[test]
    fn splits_as_iptables_restore_does() {
        assert_eq!(literal(" -p  tcp\t-j\nDROP "), ["-p", "tcp", "-j", "DROP"]);
        assert_eq!(literal(r#"--comment "a \"b\" \\ \n 'c'" """#), ["--comment", r#"a "b" \ n 'c'"#, ""]);
        assert_eq!(literal(r#"--log-prefix="fw: " a\b \\"#), ["--log-prefix=fw: ", r"a\b", r"\\"]);
        assert!(literal("  ").is_empty());
    }

    #[test]
    fn single_quotes_hold_everything() {
        assert_eq!(literal(r#"'$IF `x` "\' \$IF "\$IF" \`"#), [r#"$IF `x` "\"#, "$IF", "$IF", "`"]);
    }

    #[test]
    fn expands_after_splitting() {
        let value = |text: &str| (text.to_owned(), true);
        assert_eq!(words("$EVIL"), [value("x -j ACCEPT")]);
        assert_eq!(words("$EMPTY \"$EMPTY\" $NOT"), [value(""), value(""), value("!")]);
        assert_eq!(
            words("--i=$IF ${U:-a b} \"${U:-\"c d\"} '$IF'\""),
            [value("--i=eth0"), value("a b"), value("c d 'eth0'")]
        );
        assert_eq!(words("${U:-\"}\"}x ${U:-'$IF'}"), [value("}x"), value("$IF")]);
    }

    #[test]
    fn spans_cover_the_words_as_written() {
        let text = "é \"a b\" $IF";
        let words = parse_words(text, &variables()).expect("words");
        let spans: Vec<_> = words.into_iter().map(|word| &text[word.span]).collect();
        assert_eq!(spans, ["é", "\"a b\"", "$IF"]);
    }

    #[test]
    fn all_problems_come_at_once() {
        let text = "$U `a b` \"${IF^}$V\" \"a\"b $NL 'x";
        let found: Vec<_> =
            problems(text).into_iter().map(|problem| (&text[problem.span], problem.message)).collect();
        let expected = [
            ("$U", "variable `U` is not set"),
            ("`a b`", "``a b`` is not supported: command substitution"),
            ("${IF^}", "`${IF^}` is not supported: change of case"),
            ("$V", "variable `V` is not set"),
            ("\"a\"b", "text right after a closing quote"),
            ("$NL", "the value of `NL` has a control character in it"),
            ("'x", "`'` without its end"),
        ];
        assert_eq!(found, expected.map(|(span, message)| (span, message.to_owned())));
    }

    #[test]
    fn unterminated_and_control_characters_are_refused() {
        for text in [
            "\"a",
            "a\"b ",
            "'a",
            "\"a\\",
            "${IF:-\"a}",
            "\"${IF\"",
            "\"a\nb\"",
            "a\rb",
            "a\0b",
            "'a\tb'",
            "'a'b",
        ] {
            assert_eq!(problems(text).len(), 1, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_lexer(text in "[ -~é\n$\"'{}`\\\\:#%/*\\[]{0,40}") {
            match parse_words(&text, &variables()) {
                Ok(words) => for word in words {
                    prop_assert!(text.get(word.span).is_some());
                    prop_assert!(!word.text.contains(char::is_control));
                },
                Err(problems) => for problem in problems {
                    prop_assert!(text.get(problem.span.clone()).is_some_and(|text| !text.is_empty()), "{problem:?}");
                },
            }
        }

        #[test]
        fn a_value_stays_one_word_and_a_value(
            value in prop_oneof![
                "\\PC{0,12}",
                "[ !\"'$\\\\`{}-]{0,8}",
                Just("-j ACCEPT".to_owned()), Just("!".to_owned()), Just("--dport=1".to_owned()), Just("$X".to_owned()),
            ],
            form in prop::sample::select(vec!["$X", "${X}", "\"$X\"", "${U:-$X}", "\"${X:+$X}\"", "${X#}", "${E/%/$X}", "${X:0}"]),
        ) {
            let mut variables = Variables::new();
            variables.layer([("X".to_owned(), value.clone()), ("E".to_owned(), String::new())]);
            let words = parse_words(&format!("-s {form} -j DROP"), &variables).expect("plain values are taken");
            let found: Vec<_> = words.iter().map(|word| (word.text.as_str(), word.is_value)).collect();
            prop_assert_eq!(found, [("-s", false), (value.as_str(), true), ("-j", false), ("DROP", false)]);
        }
    }
}
