//! A [`Rule`] in, the text that `iptables-restore` takes for it out, without chain and command. Reading it back
//! gives the same rule, spans aside.

use std::fmt::Write;
use std::net::IpAddr;

use super::parse::PROTOCOLS;
use super::{Module, Negatable, Network, OptionUse, Rule, Target, Verdict};

/// The rule in the order and spelling of `iptables-save`: long names of options, `-m` before the options of each
/// match, masks, and quotes where a word needs them. No leading `-A CHAIN`.
///
/// A word must hold no line break: `iptables-restore` reads lines.
pub fn render_rule(rule: &Rule) -> String {
    let mut line = Line::default();
    line.rule(rule);
    line.text
}

/// Words with a blank between them, in one text: thousands of rules have tens of thousands.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// So far.
    pub(crate) text: String,
}

impl Line {
    fn rule(&mut self, rule: &Rule) {
        self.network("-s", rule.source.as_ref());
        self.network("-d", rule.destination.as_ref());
        self.interface("-i", rule.in_interface.as_ref());
        self.interface("-o", rule.out_interface.as_ref());
        if let Some(Negatable { negated, value }) = rule.protocol {
            self.bang(negated);
            self.word("-p");
            match PROTOCOLS.iter().find(|(_, known)| *known == value) {
                Some((name, _)) => self.word(name),
                None => self.word(&value.to_string()),
            }
        }
        if let Some(fragment) = rule.fragment {
            self.bang(!fragment);
            self.word("-f");
        }
        for module in rule.matches.iter() {
            self.module("-m", module);
        }
        match &rule.target {
            None => {}
            Some(Target::Verdict(verdict)) => {
                self.word("-j");
                self.word(verdict_name(*verdict));
            }
            Some(Target::Jump(chain)) => {
                self.word("-j");
                self.quoted(&chain.text);
            }
            Some(Target::Goto(chain)) => {
                self.word("-g");
                self.quoted(&chain.text);
            }
            Some(Target::Extension(module)) => self.module("-j", module),
        }
    }

    /// A command, with the rule that it is about.
    pub(crate) fn command(&mut self, command: &str, chain: &str, position: Option<u32>, rule: &Rule) {
        self.text.reserve(96);
        self.word(command);
        self.quoted(chain);
        if let Some(position) = position {
            self.word(&position.to_string());
        }
        self.rule(rule);
    }

    fn module(&mut self, dash: &str, module: &Module) {
        self.word(dash);
        self.word(module.name);
        for OptionUse { name, negated, values, .. } in &module.options {
            self.bang(*negated);
            self.word("--");
            self.text.push_str(name);
            for value in values {
                self.quoted(&value.text);
            }
        }
    }

    fn network(&mut self, option: &str, network: Option<&Negatable<Network>>) {
        let Some(Negatable { negated, value }) = network else { return };
        self.bang(*negated);
        self.word(option);
        self.blank();
        // a String takes everything
        let _ = match (value.address, value.prefix()) {
            (IpAddr::V4(address), Some(prefix)) => {
                let [a, b, c, d] = address.octets();
                write!(self.text, "{a}.{b}.{c}.{d}/{prefix}")
            }
            _ => write!(self.text, "{value}"),
        };
    }

    fn interface(&mut self, option: &str, name: Option<&Negatable<String>>) {
        let Some(Negatable { negated, value }) = name else { return };
        self.bang(*negated);
        self.word(option);
        self.quoted(value);
    }

    fn bang(&mut self, negated: bool) {
        if negated {
            self.word("!");
        }
    }

    fn blank(&mut self) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
    }

    fn word(&mut self, word: &str) {
        self.blank();
        self.text.push_str(word);
    }

    /// A word as `iptables-restore` reads it back: within double quotes it takes a character after a backslash as it
    /// is; outside of them it knows no escapes, and a `#` or a blank may end the word.
    fn quoted(&mut self, word: &str) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+./:,=@%^".contains(&byte);
        if !word.is_empty() && word.bytes().all(plain) {
            return self.word(word);
        }
        self.word("\"");
        for c in word.chars() {
            if matches!(c, '"' | '\\') {
                self.text.push('\\');
            }
            self.text.push(c);
        }
        self.text.push('"');
    }
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "ACCEPT",
        Verdict::Drop => "DROP",
        Verdict::Return => "RETURN",
    }
}

/// A word as `iptables-restore` reads it back.
pub fn quote(word: &str) -> String {
    let mut line = Line::default();
    line.quoted(word);
    line.text
}
