//! Sets as text, in the form of `ipset save`: rendering, and reading files that are in this form or have one entry
//! a line.

use std::ops::Range;
use std::sync::Arc;

use super::SetSpec;
use super::entry::Entry;
use super::grammar::{EntryError, Grammar, Verb};
use super::kind::SetKind;
use super::options::{CreateKey, CreateOptions, parse_family};
use super::protocol::ServiceNames;
use super::template::EntryTemplate;
use super::words::{Word, split_words};
use crate::netfilter::Family;
use crate::origin::{Origin, Path, Source};
use crate::problem::{Problem, Problems};

/// Most problems reported of one file: a file of the wrong kind is wrong in every line.
pub const PROBLEMS_MAX: usize = 20;

/// Commands of ipset that a saved set cannot have.
const OTHER_COMMANDS: [&str; 10] =
    ["del", "test", "destroy", "flush", "rename", "swap", "list", "save", "restore", "header"];

/// The `create` line of a set, without a newline.
pub fn render_create(name: &str, kind: SetKind, family: Option<Family>, options: &CreateOptions) -> String {
    format!("create {name} {kind}{}", options.render(kind, family))
}

/// The `add` line of an entry, without a newline.
pub fn render_add(set: &str, entry: &Entry) -> String {
    format!("add {set} {entry}")
}

/// Reads a file of entries for `set`.
pub(super) fn parse_save(
    file: &Arc<Source>,
    set: &SetSpec,
    services: &dyn ServiceNames,
) -> Result<Vec<(EntryTemplate, Origin)>, Problems> {
    let grammar = Grammar { kind: set.kind, family: set.family, options: &set.options, services };
    let mut problems = Problems::default();
    let mut entries = Vec::new();
    let mut start = 0;
    for line in file.text.split('\n') {
        let trimmed = line.trim();
        if !trimmed.is_empty() && !trimmed.starts_with('#') {
            // both are slices of the same text
            let offset = start + (line.len() - line.trim_start().len());
            match parse_line(trimmed, set, &grammar) {
                Ok(template) => entries
                    .extend(template.map(|template| (template, place(file, offset..offset + trimmed.len())))),
                Err(EntryError { span, message, hint }) => {
                    let origin = place(file, offset + span.start..offset + span.end);
                    problems.push(Problem { origin, message, hint });
                }
            }
            if problems.0.len() == PROBLEMS_MAX {
                break;
            }
        }
        start += line.len() + 1;
    }
    problems.finish(entries)
}

fn place(file: &Arc<Source>, range: Range<usize>) -> Origin {
    Origin { source: Arc::clone(file), path: Path::default(), range, span: None }
}

/// The entry of a line; a `create` line has none.
fn parse_line(line: &str, set: &SetSpec, grammar: &Grammar<'_>) -> Result<Option<EntryTemplate>, EntryError> {
    let (first, rest) = match line.split_once([' ', '\t']) {
        Some((first, rest)) => (first, rest.trim_start()),
        // a word of its own is an entry, whatever it is called
        None => return grammar.parse(Verb::Add, line).map(Some),
    };
    let rest_at = line.len() - rest.len();
    let shift = |mut error: EntryError, by: usize| {
        error.span = error.span.start + by..error.span.end + by;
        error
    };
    match first {
        "add" => {
            let (name, entry) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
            check_name(name, set, rest_at)?;
            let entry = entry.trim_start();
            let parsed = grammar.parse(Verb::Add, entry);
            parsed.map(Some).map_err(|error| shift(error, line.len() - entry.len()))
        }
        "create" => {
            check_create(&split_words(rest)?, set).map(|()| None).map_err(|error| shift(error, rest_at))
        }
        _ if OTHER_COMMANDS.contains(&first) => {
            let message = format!("`{first}` cannot stand in a file of entries");
            Err(EntryError::new(&(0..first.len()), message).hint("only `create` and `add` lines can"))
        }
        _ => grammar.parse(Verb::Add, line).map(Some),
    }
}

fn check_name(name: &str, set: &SetSpec, at: usize) -> Result<(), EntryError> {
    if name == set.name {
        return Ok(());
    }
    let message = format!("the line is about set `{name}`, the file is for `{}`", set.name);
    Err(EntryError::new(&(at..at + name.len()), message).hint("one file holds one set"))
}

/// Checks that a `create` line describes the set that is configured. Sizes may differ: they only say how the
/// entries are kept, not which.
fn check_create(words: &[Word], set: &SetSpec) -> Result<(), EntryError> {
    let [name, kind, options @ ..] = words else {
        let end = words.last().map_or(0, |word| word.span.end);
        return Err(EntryError::new(&(0..end), "`create` needs a set and its type"));
    };
    check_name(&name.text, set, name.span.start)?;
    if SetKind::parse(&kind.text) != Some(set.kind) {
        let message = format!("the file has a set of type `{}`, `{}` is configured", kind.text, set.kind);
        return Err(EntryError::new(&kind.span, message));
    }
    let mut family = set.kind.default_family();
    let mut saved = CreateOptions::default();
    let mut spans = Vec::new();
    let mut rest = options.iter();
    while let Some(word) = rest.next() {
        let Some(key) = CreateKey::parse(&word.text) else {
            return Err(EntryError::new(&word.span, format!("unknown option `{}` of a set", word.text)));
        };
        let (value, span) = if key.is_flag() {
            ("true", &word.span)
        } else {
            let value = rest
                .next()
                .ok_or_else(|| EntryError::new(&word.span, format!("`{}` needs a value", word.text)))?;
            (value.text.as_str(), &value.span)
        };
        let outcome = match key {
            CreateKey::Family => parse_family(set.kind, value).map(|given| family = Some(given)),
            _ => saved.set(key, value, set.kind, family),
        };
        outcome.map_err(|problem| EntryError {
            span: span.clone(),
            message: problem.message,
            hint: problem.hint,
        })?;
        spans.push((key, span.clone()));
    }
    let configured = &set.options;
    let agreements = [
        (CreateKey::Family, family == set.family),
        (CreateKey::Netmask, saved.netmask == configured.netmask),
        (CreateKey::Bitmask, saved.bitmask == configured.bitmask),
        (CreateKey::Markmask, saved.markmask.unwrap_or(u32::MAX) == configured.markmask.unwrap_or(u32::MAX)),
        (CreateKey::Range, saved.range == configured.range),
    ];
    for (key, agrees) in agreements {
        if !agrees {
            let written = spans.iter().find(|(written, _)| *written == key);
            let span = written.map_or(&kind.span, |(_, span)| span);
            let message = format!(
                "the set was saved with another `{}` than `{}` is configured with",
                key.word(),
                set.name
            );
            return Err(EntryError::new(span, message));
        }
    }
    Ok(())
}
