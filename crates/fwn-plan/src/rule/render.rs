//! A [`Rule`] in, the text that `iptables-restore` takes for it out, without chain and command. Reading it back
//! gives the same rule, spans aside.

use super::parse::PROTOCOLS;
use super::{Module, Negatable, Network, OptionUse, Rule, Target, Verdict};

/// The rule in the order and spelling of `iptables-save`: long names of options, `-m` before the options of each
/// match, masks, and quotes where a word needs them. No leading `-A CHAIN`.
///
/// A word must hold no line break: `iptables-restore` reads lines.
pub fn render_rule(rule: &Rule) -> String {
    let mut words = Vec::new();
    network(&mut words, "-s", rule.source.as_ref());
    network(&mut words, "-d", rule.destination.as_ref());
    negatable(&mut words, "-i", rule.in_interface.as_ref(), |name| quote(name));
    negatable(&mut words, "-o", rule.out_interface.as_ref(), |name| quote(name));
    negatable(&mut words, "-p", rule.protocol.as_ref(), |number| protocol(*number));
    if let Some(fragment) = rule.fragment {
        bang(&mut words, !fragment);
        words.push("-f".into());
    }
    for module in &rule.matches {
        render_module(&mut words, "-m", module);
    }
    match &rule.target {
        None => {}
        Some(Target::Verdict(verdict)) => words.extend(["-j".into(), verdict_name(*verdict).into()]),
        Some(Target::Jump(chain)) => words.extend(["-j".into(), quote(&chain.text)]),
        Some(Target::Goto(chain)) => words.extend(["-g".into(), quote(&chain.text)]),
        Some(Target::Extension(module)) => render_module(&mut words, "-j", module),
    }
    words.join(" ")
}

fn render_module(words: &mut Vec<String>, dash: &str, module: &Module) {
    words.extend([dash.to_owned(), module.name.to_owned()]);
    for OptionUse { name, negated, values, .. } in &module.options {
        bang(words, *negated);
        words.push(format!("--{name}"));
        words.extend(values.iter().map(|value| quote(&value.text)));
    }
}

fn network(words: &mut Vec<String>, option: &str, network: Option<&Negatable<Network>>) {
    negatable(words, option, network, ToString::to_string);
}

fn negatable<T>(
    words: &mut Vec<String>,
    option: &str,
    value: Option<&Negatable<T>>,
    text: impl FnOnce(&T) -> String,
) {
    if let Some(Negatable { negated, value }) = value {
        bang(words, *negated);
        words.extend([option.to_owned(), text(value)]);
    }
}

fn bang(words: &mut Vec<String>, negated: bool) {
    if negated {
        words.push("!".into());
    }
}

fn protocol(number: u8) -> String {
    let known = PROTOCOLS.iter().find(|(_, known)| *known == number).map(|(name, _)| (*name).to_owned());
    known.unwrap_or_else(|| number.to_string())
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "ACCEPT",
        Verdict::Drop => "DROP",
        Verdict::Return => "RETURN",
    }
}

/// A word as `iptables-restore` reads it back: within double quotes it takes a character after a backslash as it is;
/// outside of them it knows no escapes, and a `#` or a blank may end the word.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+./:,=@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from('"');
    for c in word.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}
