//! Words of a rule in, a [`ParsedRule`] out, as `iptables` 1.8.9 reads them: one pass, an option belongs to what was
//! loaded before it. Everything that is wrong is found in one go. What the values of extensions may say is checked
//! elsewhere, no name is resolved, and nothing here asks which chain or set exists.

mod base;
mod check;
mod lookup;
#[cfg(test)]
mod tests;

pub use base::chain_name_problem;
pub use check::check_chain;
pub(super) use lookup::PROTOCOLS;

use super::address::Host;
use super::databases::Databases;
use super::extensions::{Arity, Content, Extension, Kind, OptionSpec};
use super::lex::Word;
use super::{Module, OptionUse, Rule, RuleProblem, Span, Target, Value};
use crate::netfilter::Families;
use lookup::{Base, Found};

/// A rule as its words say it, names and lists still unresolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedRule {
    /// The rule without source and destination: they are below, as they may be many.
    pub rule: Rule,
    /// `-s`; `None` if absent or `any`.
    pub source: Option<Hosts>,
    /// `-d`; `None` if absent or `any`.
    pub destination: Option<Hosts>,
    /// The families that all words allow, never empty. Names and sets leave both.
    pub families: Families,
    /// The ipsets named, in order.
    pub sets: Vec<SetUse>,
    /// Where `-i` stands.
    pub in_interface: Option<Span>,
    /// Where `-o` stands.
    pub out_interface: Option<Span>,
}

impl ParsedRule {
    /// The user chain that `-j` or `-g` names.
    pub fn chain(&self) -> Option<&Value> {
        match &self.rule.target {
            Some(Target::Jump(chain) | Target::Goto(chain)) => Some(chain),
            _ => None,
        }
    }

    /// The names that `-s` and `-d` hold.
    pub fn host_names(&self) -> impl Iterator<Item = &str> {
        let hosts = self.source.iter().chain(&self.destination).flat_map(|side| &side.hosts);
        hosts.filter_map(|host| match host {
            Host::Name(name) => Some(name.as_str()),
            Host::Network(_) => None,
        })
    }
}

/// What `-s` or `-d` lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// Whether a `!` stood before it; then there is one host.
    pub negated: bool,
    /// The hosts in the order written, at least one.
    pub hosts: Vec<Host>,
    /// The option and its value.
    pub span: Span,
}

/// An ipset as a rule names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetUse {
    /// Name of the set.
    pub name: Value,
    /// `src`, `dst`, or a list of them.
    pub directions: Value,
}

/// Reads a rule.
///
/// # Errors
/// Everything that is wrong with it, in the order of the words as far as it goes; never empty.
pub fn parse_rule(words: &[Word], databases: &dyn Databases) -> Result<ParsedRule, Vec<RuleProblem>> {
    let mut parser = Parser::new(words, databases);
    while let Some(word) = parser.next() {
        let mut bang = None;
        let mut word = word;
        while is_bang(word) {
            if bang.is_some() {
                parser.problem(word.span.clone(), "`!` twice", None);
            }
            bang = Some(word.span.clone());
            match parser.next() {
                Some(next) => word = next,
                None => break,
            }
        }
        if is_bang(word) {
            parser.problem(word.span.clone(), "nothing follows `!`", None);
        } else {
            parser.option(word, bang.as_ref());
        }
    }
    parser.finish()
}

struct Parser<'a> {
    words: &'a [Word],
    at: usize,
    databases: &'a dyn Databases,
    problems: Vec<RuleProblem>,
    parsed: ParsedRule,
    /// Matches and target in the order in which they were loaded; a later one is asked first for an option.
    loaded: Vec<Loaded>,
    /// What `-p` would load.
    implicit: Option<&'static Extension>,
    /// Options of iptables itself that were given.
    given: Vec<Base>,
    /// Words that leave one family only, and which.
    bound: Vec<(Families, String)>,
    /// An unknown match or protocol was named: options that nobody knows are probably its own.
    unknown_owner: bool,
}

struct Loaded {
    extension: &'static Extension,
    module: Module,
    /// An option of it was wrong, so what seems to be missing may be there.
    broken: bool,
}

/// A value as found behind its option.
struct Taken {
    value: Value,
    /// A `!` stood between the option and it.
    negated: bool,
}

/// The option in hand.
struct Head<'a> {
    /// As written: `--dport`, `-p`.
    text: &'a str,
    /// From the `!` or the dashes on.
    start: usize,
    /// Of the option's word.
    span: Span,
    negated: bool,
    /// What follows `=` or the letter in the same word.
    inline: Option<&'a str>,
}

impl<'a> Parser<'a> {
    fn new(words: &'a [Word], databases: &'a dyn Databases) -> Self {
        let parsed = ParsedRule {
            rule: Rule::default(),
            source: None,
            destination: None,
            families: Families::BOTH,
            sets: Vec::new(),
            in_interface: None,
            out_interface: None,
        };
        Self {
            words,
            at: 0,
            databases,
            problems: Vec::new(),
            parsed,
            loaded: Vec::new(),
            implicit: None,
            given: Vec::new(),
            bound: Vec::new(),
            unknown_owner: false,
        }
    }

    fn next(&mut self) -> Option<&'a Word> {
        let word = self.words.get(self.at)?;
        self.at += 1;
        Some(word)
    }

    fn peek(&self) -> Option<&'a Word> {
        self.words.get(self.at)
    }

    fn problem(&mut self, span: Span, message: impl Into<String>, hint: Option<String>) {
        self.problems.push(RuleProblem { span, message: message.into(), hint });
    }

    /// Passes over what may be the values of an option that is not understood.
    fn skip_values(&mut self) {
        while self.peek().is_some_and(|word| word.is_value || !word.text.starts_with(['-', '!'])) {
            self.at += 1;
        }
    }

    fn option(&mut self, word: &'a Word, bang: Option<&Span>) {
        let text = word.text.as_str();
        if word.is_value || !text.starts_with('-') || text == "-" || text == "--" {
            return self.no_option(word, bang.is_some());
        }
        let mut head = Head {
            text,
            start: bang.map_or(word.span.start, |span| span.start),
            span: word.span.clone(),
            negated: bang.is_some(),
            inline: None,
        };
        if let Some(long) = text.strip_prefix("--") {
            let name = match long.split_once('=') {
                Some((name, value)) => {
                    head.inline = Some(value);
                    head.text = &text[..name.len() + 2];
                    name
                }
                None => long,
            };
            match self.find_long(name) {
                Found::Base(base) => self.base(base, &head),
                Found::Loaded(index, spec) => self.extension_option(index, spec, &head),
                Found::Implicit(extension, spec) => {
                    let index = self.load(extension, head.start..word.span.end);
                    // at most one is brought along
                    self.implicit = None;
                    self.extension_option(index, spec, &head);
                }
                Found::Ambiguous(names) => {
                    let hint = Some(format!("it may mean {}", one_of(&names)));
                    self.problem(head.span.clone(), format!("`{}` is ambiguous", head.text), hint);
                    self.skip_values();
                }
                Found::Unknown(hint) => {
                    if !self.unknown_owner {
                        self.problem(head.span.clone(), format!("unknown option `{}`", head.text), hint);
                    }
                    self.skip_values();
                }
            }
        } else {
            self.short(word, &mut head);
        }
    }

    /// `-p`, `-ptcp`, `-4f`: letters without a value may be followed by others, the rest of the word is a value.
    fn short(&mut self, word: &'a Word, head: &mut Head<'a>) {
        for (at, letter) in word.text.char_indices().skip(1) {
            let end = at + letter.len_utf8();
            let option = format!("-{letter}");
            let rest = &word.text[end..];
            let Some(base) = Base::from_letter(letter) else {
                let hint = lookup::long_with_one_dash(&word.text);
                self.problem(word.span.clone(), format!("unknown option `{option}`"), hint);
                return self.skip_values();
            };
            if base.takes_value()
                && !rest.is_empty()
                && let Some(hint) = lookup::long_with_one_dash(&word.text)
            {
                let message = format!("`{}` is read as `{option} {rest}`", word.text);
                self.problem(word.span.clone(), message, Some(hint));
                return self.skip_values();
            }
            head.inline = (base.takes_value() && !rest.is_empty()).then_some(rest);
            let head = Head { text: &option, span: head.span.clone(), inline: head.inline, ..*head };
            self.base(base, &head);
            if base.takes_value() || matches!(base, Base::Foreign(_)) {
                return;
            }
        }
    }

    fn no_option(&mut self, word: &Word, negated: bool) {
        let text = &word.text;
        let hint = if word.is_value {
            Some("what comes from a variable is a value, never an option".to_owned())
        } else if text.starts_with(['\u{2013}', '\u{2014}', '\u{2212}']) {
            Some("options start with plain dashes".to_owned())
        } else {
            text.strip_prefix('!')
                .filter(|rest| rest.starts_with('-'))
                .map(|rest| format!("write `! {rest}`"))
        };
        let message = if negated {
            format!("`!` stands before `{text}`, which is no option")
        } else {
            format!("unexpected word `{text}`")
        };
        self.problem(word.span.clone(), message, hint);
    }

    /// The next value of the option, if there is one. A `!` before it is the old way to negate the option.
    fn value(&mut self, head: &Head<'_>, negatable: bool, content: Content) -> Option<Taken> {
        if let Some(text) = head.inline {
            return Some(Taken {
                value: Value { text: text.into(), span: head.span.clone() },
                negated: false,
            });
        }
        let mut negated = false;
        if content != Content::Text && self.peek().is_some_and(is_bang) {
            let bang = self.next()?;
            if head.negated {
                self.problem(bang.span.clone(), format!("`!` before and after `{}`", head.text), None);
            } else if !negatable {
                self.cannot_negate(bang.span.clone(), head.text);
            }
            negated = true;
        }
        let Some(word) = self.peek() else {
            self.problem(head.span.clone(), format!("`{}` needs a value", head.text), None);
            return None;
        };
        // getopt takes any word, but nobody means to give `--jump` as a port
        if content != Content::Text && !word.is_value && lookup::is_long_option(&word.text) {
            let message = format!("`{}` needs a value, but the option `{}` follows", head.text, word.text);
            self.problem(head.start..word.span.end, message, None);
            return None;
        }
        self.at += 1;
        Some(Taken { value: Value { text: word.text.clone(), span: word.span.clone() }, negated })
    }

    fn cannot_negate(&mut self, span: Span, option: &str) {
        self.problem(span, format!("`{option}` cannot be negated"), None);
    }

    fn load(&mut self, extension: &'static Extension, span: Span) -> usize {
        // names tell the extensions of a kind apart; comparing all of their options takes longer than the rest
        if extension.kind == Kind::Match
            && self.implicit.is_some_and(|implicit| implicit.name == extension.name)
        {
            self.implicit = None;
        }
        let module = Module { name: extension.name, options: Vec::with_capacity(1), span };
        self.loaded.push(Loaded { extension, module, broken: false });
        self.loaded.len() - 1
    }

    /// An option of the extension at `index`.
    fn extension_option(&mut self, index: usize, spec: &'static OptionSpec, head: &Head<'_>) {
        let before = self.problems.len();
        let option = self.option_use(spec, head);
        let Some(loaded) = self.loaded.get_mut(index) else { return };
        loaded.broken |= self.problems.len() > before;
        let Some(option) = option else { return };
        let extension = loaded.extension;
        let twice = !spec.repeatable && loaded.module.options.iter().any(|other| other.name == spec.name);
        let span = option.span.clone();
        // an implicit match binds the rule by its option
        let mut bound = vec![spec.families.and(extension.families)];
        bound.extend(option.values.iter().map(|value| extension.value_families(spec, &value.text)));
        bound.retain(|families| *families != Families::BOTH);
        let words = (!bound.is_empty()).then(|| {
            let values = option.values.iter().map(|value| value.text.as_str());
            std::iter::once(head.text).chain(values).collect::<Vec<_>>().join(" ")
        });
        loaded.module.options.push(option);
        if twice {
            self.problem(span.clone(), format!("`--{}` is given twice", spec.name), None);
        }
        for families in bound {
            self.bind(families, words.clone().unwrap_or_default(), span.clone());
        }
    }

    fn option_use(&mut self, spec: &'static OptionSpec, head: &Head<'_>) -> Option<OptionUse> {
        if head.negated && !spec.negatable {
            self.cannot_negate(head.start..head.span.end, head.text);
        }
        let mut negated = head.negated;
        let mut values = Vec::with_capacity(1);
        match spec.arity {
            Arity::Zero | Arity::Optional if head.inline.is_some() => {
                self.problem(head.span.clone(), format!("`{}` takes no value after `=`", head.text), None);
                return None;
            }
            Arity::Zero => {}
            Arity::Optional => values.extend(self.further_value()),
            Arity::One | Arity::Two => {
                let taken = self.value(head, spec.negatable, spec.content)?;
                negated |= taken.negated;
                values.push(taken.value);
            }
        }
        if spec.arity == Arity::Two {
            let Some(second) = self.further_value() else {
                let hint = (spec.content == Content::Set)
                    .then(|| "the name of a set, and `src`, `dst` or a list of both".to_owned());
                self.problem(head.span.clone(), format!("`{}` needs two values", head.text), hint);
                return None;
            };
            values.push(second);
        }
        let end = values.last().map_or(head.span.end, |value| value.span.end);
        Some(OptionUse { name: spec.name, negated, values, span: head.start..end })
    }

    /// A second or optional value: iptables takes none that starts with `-` or `!`.
    fn further_value(&mut self) -> Option<Value> {
        let word = self.peek().filter(|word| !word.text.starts_with(['-', '!']))?;
        self.at += 1;
        Some(Value { text: word.text.clone(), span: word.span.clone() })
    }

    /// Leaves only `families`, because of `words`; tells whether any is left.
    fn bind(&mut self, families: Families, words: String, span: Span) -> bool {
        if families == Families::BOTH {
            return true;
        }
        let left = self.parsed.families.and(families);
        if left.is_empty() {
            let other = self.bound.iter().find(|(other, _)| other.and(families).is_empty());
            let because =
                other.map_or_else(String::new, |(other, words)| format!(", but `{words}` is {other} only"));
            let message = format!("`{words}` is {families} only{because}");
            self.problem(span, message, None);
        } else {
            self.parsed.families = left;
            self.bound.push((families, words));
        }
        !left.is_empty()
    }
}

fn is_bang(word: &Word) -> bool {
    !word.is_value && word.text == "!"
}

/// `` `a`, `b` or `c` ``
fn one_of<S: AsRef<str>>(names: &[S]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
