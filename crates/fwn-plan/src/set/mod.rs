//! ipsets as checked: type, family, create options, entries. Text with its variables expanded comes in, a
//! [`SetSpec`] goes out, by way of a [`SetDraft`] whose entries may still have host names in them. Knows no kernel
//! revisions and no netlink.

pub mod entry;
pub mod grammar;
pub mod kind;
mod members;
pub mod number;
pub mod options;
pub mod protocol;
pub mod save;
pub mod template;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

pub use entry::{Addresses, Element, Entry, EntryOptions, ListPlace, Port};
pub use grammar::{EntryError, Grammar, Verb, check_set_name};
pub use kind::{Dimension, SetKind};
pub use members::arrange_sets;
pub(crate) use members::no_such_set;
pub use options::{BitmapRange, CreateKey, CreateOptions};
pub use protocol::{NumbersOnly, ServiceNames};
pub use save::{render_add, render_create};
pub use template::EntryTemplate;

use crate::config::Text;
use crate::nearest::nearest;
use crate::netfilter::Family;
use crate::origin::{Origin, Source};
use crate::problem::{Problem, Problems};
use options::{OptionProblem, parse_family};

/// A set to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetSpec {
    /// Its name, at most [`crate::netfilter::SET_NAME_MAX`] bytes.
    pub name: String,
    /// Its type.
    pub kind: SetKind,
    /// Its family; `None` for types that have none (`bitmap:port`, `hash:mac`, `list:set`).
    pub family: Option<Family>,
    /// What it is made with.
    pub options: CreateOptions,
    /// What it holds at first, in the order written.
    pub entries: Vec<SetEntry>,
    /// Whether it is saved on DEL and loaded on the next ADD.
    pub persist: bool,
    /// Where it was asked for.
    pub origin: Origin,
}

/// An entry of a [`SetSpec`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetEntry {
    /// The entry.
    pub entry: Entry,
    /// Where it was written.
    pub origin: Origin,
}

/// An element of `ipsets`, variables expanded.
#[derive(Debug, Clone, Copy)]
pub struct SetInput<'a> {
    /// Place of the whole object.
    pub origin: &'a Origin,
    /// `set`
    pub name: &'a Text,
    /// `hashtype`
    pub hashtype: &'a Text,
    /// The create options by their key of the configuration, values as text.
    pub options: &'a [(&'static str, Text)],
    /// `entries`
    pub entries: &'a [Text],
    /// `persist`
    pub persist: bool,
}

/// A set whose host names are not resolved yet, and to which files can be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetDraft {
    /// All but the entries.
    spec: SetSpec,
    entries: Vec<(EntryTemplate, Origin)>,
}

/// Checks a set of the configuration.
///
/// # Errors
/// All that is wrong with it, each with its place.
pub fn parse_set(input: &SetInput<'_>, services: &dyn ServiceNames) -> Result<SetDraft, Problems> {
    let mut problems = Problems::default();
    if let Err(message) = check_set_name(&input.name.value) {
        problems.push(Problem::new(input.name.origin.clone(), message));
    }
    let Some(kind) = problems.collect(parse_kind(input.hashtype).map_err(Problems::from)) else {
        return Err(problems);
    };

    let at = |origin: &Origin, problem: OptionProblem| Problem {
        origin: origin.clone(),
        message: problem.message,
        hint: problem.hint,
    };
    let mut family = kind.default_family();
    // the family first: it decides what other options may be
    for (_, text) in input.options.iter().filter(|(key, _)| *key == CreateKey::Family.config_key()) {
        match parse_family(kind, &text.value) {
            Ok(given) => family = Some(given),
            Err(problem) => problems.push(at(&text.origin, problem)),
        }
    }
    let mut options = CreateOptions::default();
    for (name, text) in input.options {
        match CreateKey::parse_config(name) {
            Some(CreateKey::Family) => {}
            Some(key) => {
                if let Err(problem) = options.set(key, &text.value, kind, family) {
                    problems.push(at(&text.origin, problem));
                }
            }
            None => problems.push(unknown_option(name, text)),
        }
    }
    // a missing range is no news where the range was bad
    if problems.0.is_empty()
        && let Err(problem) = options.check(kind)
    {
        problems.push(at(input.origin, problem));
    }

    let grammar = Grammar { kind, family, options: &options, services };
    let mut entries = Vec::with_capacity(input.entries.len());
    for text in input.entries {
        match grammar.parse(Verb::Add, &text.value) {
            Ok(template) => entries.push((template, text.origin.clone())),
            Err(error) => problems.push(Problem {
                origin: narrowed(text, error.span),
                message: error.message,
                hint: error.hint,
            }),
        }
    }
    let spec = SetSpec {
        name: input.name.value.clone(),
        kind,
        family,
        options,
        entries: Vec::new(),
        persist: input.persist,
        origin: input.origin.clone(),
    };
    problems.finish(SetDraft { spec, entries })
}

fn parse_kind(text: &Text) -> Result<SetKind, Problem> {
    SetKind::parse(&text.value).ok_or_else(|| {
        let names = SetKind::ALL.map(SetKind::name);
        let problem = Problem::new(text.origin.clone(), format!("unknown set type `{}`", text.value));
        match nearest(&text.value, names) {
            Some(known) => problem.hint(format!("did you mean `{known}`?")),
            None => problem.hint(format!("the types are {}", names.join(", "))),
        }
    })
}

fn unknown_option(name: &str, text: &Text) -> Problem {
    let problem = Problem::new(text.origin.clone(), format!("unknown option `{name}` of a set"));
    match nearest(name, CreateKey::ALL.map(CreateKey::config_key)) {
        Some(known) => problem.hint(format!("did you mean `{known}`?")),
        None => problem,
    }
}

/// The place of some bytes of an expanded text: only where nothing was expanded can they be pointed at.
fn narrowed(text: &Text, span: Range<usize>) -> Origin {
    let raw = text.origin.source.text.get(text.origin.range.clone()).unwrap_or_default();
    let decoded = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
    if decoded == text.value { text.origin.with_span(span) } else { text.origin.clone() }
}

impl SetDraft {
    /// The name of the set.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its type.
    pub fn kind(&self) -> SetKind {
        self.spec.kind
    }

    /// Its family.
    pub fn family(&self) -> Option<Family> {
        self.spec.family
    }

    /// Whether it is to be saved and loaded.
    pub fn persist(&self) -> bool {
        self.spec.persist
    }

    /// Where it was asked for.
    pub fn origin(&self) -> &Origin {
        &self.spec.origin
    }

    /// The host names that [`SetDraft::resolve`] needs.
    pub fn host_names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().flat_map(|(template, _)| template.host_names())
    }

    /// The sets that it holds or names, if it is a `list:set`.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(|(template, _)| template.literal()).flat_map(members::named)
    }

    /// Adds the entries of a file: what `ipset save` prints, or one entry a line; `#` comments and blank lines.
    ///
    /// # Errors
    /// All that is wrong with the file (at most [`save::PROBLEMS_MAX`]); no entry is added then.
    pub fn load(&mut self, file: &Arc<Source>, services: &dyn ServiceNames) -> Result<(), Problems> {
        let entries = save::parse_save(file, &self.spec, services)?;
        self.entries.extend(entries);
        Ok(())
    }

    /// The set, host names replaced by what they resolve to.
    ///
    /// # Errors
    /// Entries whose names have no address of the set's family.
    pub fn resolve(self, addresses: &BTreeMap<String, BTreeSet<IpAddr>>) -> Result<SetSpec, Problems> {
        let mut problems = Problems::default();
        let mut spec = self.spec;
        spec.entries.reserve_exact(self.entries.len());
        for (template, origin) in self.entries {
            match template.resolve(addresses) {
                Ok(entries) => spec
                    .entries
                    .extend(entries.into_iter().map(|entry| SetEntry { entry, origin: origin.clone() })),
                Err(error) => problems.push(Problem { origin, message: error.message, hint: error.hint }),
            }
        }
        problems.finish(spec)
    }
}

impl SetSpec {
    /// The sets that it refers to: those in it, if it is a `list:set`. They have to be made before it.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().flat_map(|entry| members::named(&entry.entry))
    }
}

#[cfg(test)]
mod tests;
