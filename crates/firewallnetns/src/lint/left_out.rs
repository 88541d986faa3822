//! Takes out of a section what cannot be read for want of a variable, and says what that was.

use fwn_plan::config::{ForEach, Section, Text};
use fwn_plan::expand::{Variables, expand, expand_entry};
use fwn_plan::lint::{Finding, LeftOut, Lint};
use fwn_plan::problem::Problem;
use fwn_plan::rule::lex::unset_variables;

use super::samples::is_of_runtime;

/// What was taken out.
#[derive(Debug, Default)]
pub(crate) struct TakenOut {
    /// Rules.
    pub(crate) rules: Vec<LeftOut>,
    /// A word for each variable that nobody gave and no runtime sets.
    pub(crate) findings: Vec<Finding>,
    /// Something else than a rule or an entry: what is left is not the whole.
    pub(crate) more: bool,
}

impl TakenOut {
    /// Takes it out.
    pub(crate) fn of(&mut self, section: &mut Section, variables: &Variables) {
        section.rules.retain(|rule| {
            let locals = match rule.for_each {
                None => Vec::new(),
                Some(ForEach::PortMappings) => vec!["CONTAINER_PORT", "HOST_PORT", "PROTO"],
                Some(ForEach::Ips) => vec!["IP"],
            };
            let variables =
                variables.with_locals(locals.into_iter().map(|name| (name.to_owned(), "1".to_owned())));
            let mut unset = unset_variables(&rule.rule.value, &variables);
            for (name, span) in &unset {
                self.say(name, &rule.rule, Some(span.clone()));
            }
            unset.extend(self.unset(&rule.chain, &variables).map(|name| (name, 0..0)));
            if unset.is_empty() {
                return true;
            }
            self.rules.push(LeftOut {
                chain: rule.chain.value.clone(),
                text: rule.rule.value.clone(),
                origin: rule.rule.origin.clone(),
            });
            false
        });
        for set in &mut section.sets {
            set.entries.retain(|entry| {
                match expand_entry(&entry.value, variables).err().and_then(|e| e.unset) {
                    Some(name) => {
                        self.say(&name, entry, None);
                        false
                    }
                    None => true,
                }
            });
        }
        section.sets.retain(|set| {
            let options = set.options.iter().map(|(_, text)| text);
            self.keep([&set.set, &set.hashtype].into_iter().chain(options).chain(&set.file), variables)
        });
        section.chains.retain(|chain| self.keep([&chain.chain].into_iter().chain(&chain.table), variables));
        section.policies.retain(|policy| {
            self.keep([&policy.chain, &policy.policy].into_iter().chain(&policy.table), variables)
        });
    }

    /// Whether all variables of these texts are there.
    pub(crate) fn keep<'a>(&mut self, texts: impl Iterator<Item = &'a Text>, variables: &Variables) -> bool {
        let mut all = true;
        for text in texts {
            all &= self.unset(text, variables).is_none();
        }
        self.more |= !all;
        all
    }

    fn unset(&mut self, text: &Text, variables: &Variables) -> Option<String> {
        let error = expand(&text.value, variables).err()?;
        let name = error.unset?;
        self.say(&name, text, Some(error.span));
        Some(name)
    }

    fn say(&mut self, name: &str, text: &Text, span: Option<std::ops::Range<usize>>) {
        if is_of_runtime(name) {
            return;
        }
        let origin = match span {
            Some(span) => text.origin.with_span(span),
            None => text.origin.clone(),
        };
        let problem = Problem::new(origin, format!("variable `{name}` has no value here")).hint(format!(
            "give it one in `vars`, or a default: `${{{name}:-...}}`; if the plugin's environment has it, say \
             `--env {name}=VALUE`"
        ));
        self.findings.push(Finding::new(Lint::UnsetVariable, problem));
    }
}
