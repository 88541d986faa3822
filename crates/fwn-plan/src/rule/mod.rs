//! A rule in iptables syntax: text to words ([`lex`]), words to a [`Rule`] ([`parse`]) by the table of what
//! iptables knows ([`extensions`]). Knows no netlink and no file names; spans are bytes of the rule text.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

pub mod address;
pub mod databases;
pub mod extensions;
pub mod lex;
pub mod parse;
pub mod render;
pub mod typed;

/// Bytes of the rule text as written, before expansion.
pub type Span = Range<usize>;

/// A value and whether a `!` stood before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negatable<T> {
    /// Whether it is negated.
    pub negated: bool,
    /// The value.
    pub value: T,
}

/// A rule of one source and one destination at most, all words checked against what iptables knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// `-p`: the protocol's number (`/etc/protocols`); `all` is `None`.
    pub protocol: Option<Negatable<u8>>,
    /// `-s`
    pub source: Option<Negatable<Network>>,
    /// `-d`
    pub destination: Option<Negatable<Network>>,
    /// `-i`; a final `+` stands for any rest.
    pub in_interface: Option<Negatable<String>>,
    /// `-o`; a final `+` stands for any rest.
    pub out_interface: Option<Negatable<String>>,
    /// `-f` (true) or `! -f` (false).
    pub fragment: Option<bool>,
    /// Matches in the order of iptables: an implicit one (`-p tcp --dport`) where its first option stood.
    /// Shared by the rules that one becomes.
    pub matches: Arc<[Module]>,
    /// `-j` or `-g`; a rule without one only counts.
    pub target: Option<Target>,
}

impl Rule {
    /// Names of the sets that its words name.
    pub fn used_sets(&self) -> impl Iterator<Item = &str> {
        let target = match &self.target {
            Some(Target::Extension(module)) => Some(module),
            _ => None,
        };
        let modules = self.matches.iter().chain(target);
        // an option that names a set has its directions too
        let two = |option: &&OptionUse| option.values.len() == 2;
        modules
            .flat_map(move |module| {
                module.options.iter().filter(two).filter(|option| option.names_set(module.name))
            })
            .filter_map(|option| option.values.first().map(|value| value.text.as_str()))
    }
}

impl OptionUse {
    /// Whether the first value of this option of extension `module` is the name of a set.
    fn names_set(&self, module: &str) -> bool {
        let known = extensions::find_match(module).into_iter().chain(extensions::find_target(module));
        known
            .filter_map(|extension| extension.option(self.name))
            .any(|spec| spec.content == extensions::Content::Set)
    }
}

/// An address with its mask, host bits cleared; the mask may have holes, as iptables allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// The address.
    pub address: IpAddr,
    /// The mask, of the same family.
    pub mask: IpAddr,
}

/// A match or target extension as used in a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name as in [`extensions`]: `multiport`, `REJECT`.
    pub name: &'static str,
    /// Its options in the order written.
    pub options: Vec<OptionUse>,
    /// Where `-m NAME` or `-j NAME` stood; of an implicit match, its first option.
    pub span: Span,
}

/// One option of an extension: `! --dports 80,443`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionUse {
    /// Canonical long name without dashes: `dports` for `--destination-ports`.
    pub name: &'static str,
    /// Whether a `!` stood before it.
    pub negated: bool,
    /// Its values, each one word, as expanded.
    pub values: Vec<Value>,
    /// From the `!` or the dashes to the end of the last value.
    pub span: Span,
}

/// One word of a rule, expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The text.
    pub text: String,
    /// The word it came from.
    pub span: Span,
}

/// What `-j` or `-g` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `ACCEPT`, `DROP`, `RETURN`
    Verdict(Verdict),
    /// `-j CHAIN`
    Jump(Value),
    /// `-g CHAIN`
    Goto(Value),
    /// A target extension: `REJECT --reject-with tcp-reset`.
    Extension(Module),
}

/// A verdict that needs no extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// `ACCEPT`
    Accept,
    /// `DROP`
    Drop,
    /// `RETURN`
    Return,
}

/// What is wrong with a rule, and with which of its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleProblem {
    /// The offending words.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}
