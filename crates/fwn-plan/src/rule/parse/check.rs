//! What can be said only when all words are read: options that need or exclude each other, matches that need `-p`,
//! addresses that no family is left for, interfaces in a chain that has none.

use super::super::address::Host;
use super::super::extensions::{Content, Kind};
use super::super::{RuleProblem, Span, Target};
use super::lookup::PROTOCOLS;
use super::{Hosts, Loaded, ParsedRule, Parser, SetUse, one_of};
use crate::netfilter::Hook;

/// Whether the chain has what the rule asks for: packets come in by no interface in OUTPUT and POSTROUTING, and
/// leave by none in PREROUTING and INPUT. `hook` is `None` for a user chain, where iptables does not look.
pub fn check_chain(rule: &ParsedRule, hook: Option<Hook>) -> Vec<RuleProblem> {
    let Some(hook) = hook else { return Vec::new() };
    let (option, instead, span) = match hook {
        Hook::Prerouting | Hook::Input => ("-o", "-i", &rule.out_interface),
        Hook::Output | Hook::Postrouting => ("-i", "-o", &rule.in_interface),
        Hook::Forward => return Vec::new(),
    };
    let problem = |span: &Span| RuleProblem {
        span: span.clone(),
        message: format!("`{option}` cannot be used in chain `{}`", hook.chain()),
        hint: Some(format!("packets have no such interface there; use `{instead}`")),
    };
    span.iter().map(problem).collect()
}

impl Parser<'_> {
    pub(super) fn finish(mut self) -> Result<ParsedRule, Vec<RuleProblem>> {
        let mut matches = Vec::with_capacity(self.loaded.len());
        for loaded in std::mem::take(&mut self.loaded) {
            self.check_protocol(&loaded);
            if !loaded.broken && !self.unknown_owner {
                self.check_options(&loaded);
            }
            self.note_sets(&loaded);
            match loaded.extension.kind {
                Kind::Match => matches.push(loaded.module),
                Kind::Target => self.parsed.rule.target = Some(Target::Extension(loaded.module)),
            }
        }
        self.parsed.rule.matches = matches.into();
        self.check_hosts();
        if self.problems.is_empty() { Ok(self.parsed) } else { Err(self.problems) }
    }

    fn check_protocol(&mut self, loaded: &Loaded) {
        let extension = loaded.extension;
        let fits = match &self.parsed.rule.protocol {
            Some(protocol) => !protocol.negated && extension.protocols.contains(&protocol.value),
            None => false,
        };
        if extension.protocols.is_empty() || fits {
            return;
        }
        let wanted: Vec<_> =
            extension.protocols.iter().map(|number| format!("-p {}", name(*number))).collect();
        let dash = if extension.kind == Kind::Match { "-m" } else { "-j" };
        let message = format!("`{dash} {}` needs {}", extension.name, one_of(&wanted));
        self.problem(loaded.module.span.clone(), message, None);
    }

    fn check_options(&mut self, loaded: &Loaded) {
        let Loaded { extension, module, .. } = loaded;
        let has = |name: &str| module.options.iter().any(|option| option.name == name);
        let dashed =
            |names: &[&str]| one_of(&names.iter().map(|name| format!("--{name}")).collect::<Vec<_>>());
        for spec in extension.options.iter().filter(|spec| spec.mandatory && !has(spec.name)) {
            self.problem(module.span.clone(), format!("`{}` needs `--{}`", extension.name, spec.name), None);
        }
        if !extension.any_of.is_empty() && !extension.any_of.iter().any(|name| has(name)) {
            let message = format!("`{}` needs {}", extension.name, dashed(extension.any_of));
            self.problem(module.span.clone(), message, None);
        }
        for (at, option) in module.options.iter().enumerate() {
            let Some(spec) = extension.option(option.name) else { continue };
            if !spec.needs.is_empty() && !spec.needs.iter().any(|name| has(name)) {
                let message = format!("`--{}` needs {}", option.name, dashed(spec.needs));
                self.problem(option.span.clone(), message, None);
            }
            for other in module.options.iter().take(at).filter(|other| other.name != option.name) {
                let back =
                    extension.option(other.name).is_some_and(|back| back.excludes.contains(&option.name));
                if back || spec.excludes.contains(&other.name) {
                    let message = format!("`--{}` cannot stand beside `--{}`", option.name, other.name);
                    self.problem(option.span.clone(), message, None);
                }
            }
        }
    }

    fn note_sets(&mut self, loaded: &Loaded) {
        for option in &loaded.module.options {
            let is_set =
                loaded.extension.option(option.name).is_some_and(|spec| spec.content == Content::Set);
            if let (true, [name, directions]) = (is_set, option.values.as_slice()) {
                self.parsed.sets.push(SetUse { name: name.clone(), directions: directions.clone() });
            }
        }
    }

    fn check_hosts(&mut self) {
        let lists = [self.parsed.source.take(), self.parsed.destination.take()];
        let many = lists.iter().flatten().any(|list| list.hosts.len() > 1);
        for list in lists.iter().flatten() {
            if many && list.negated {
                let message = "`!` is not allowed with several source or destination addresses";
                self.problem(list.span.clone(), message, None);
            }
            self.check_reachable(list);
        }
        [self.parsed.source, self.parsed.destination] = lists;
    }

    /// An address of a family that another word has ruled out would silently never match.
    fn check_reachable(&mut self, list: &Hosts) {
        for host in &list.hosts {
            let Host::Network(network) = host else { continue };
            if self.parsed.families.contains(network.family()) {
                continue;
            }
            let because = self
                .bound
                .iter()
                .find(|(families, _)| !families.contains(network.family()))
                .map_or_else(String::new, |(families, words)| format!(": `{words}` is {families} only"));
            self.problem(list.span.clone(), format!("`{host}` can never match{because}"), None);
        }
    }
}

fn name(protocol: u8) -> String {
    let known = PROTOCOLS.iter().find(|(_, number)| *number == protocol).map(|(name, _)| (*name).to_owned());
    known.unwrap_or_else(|| protocol.to_string())
}
