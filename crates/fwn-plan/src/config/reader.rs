//! A tree of JSON values to typed ones: knows the way to the value at hand, checks kinds, keys and words, and
//! collects every problem, so that all of a text is reported in one go. A `None` from here always stands for a
//! problem that has been recorded.

use std::collections::HashSet;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use super::Text;
use super::json::{Kind, Member, Value};
use super::keys::{Key, Keys};
use super::lint::Allowed;
use crate::nearest::nearest;
use crate::origin::{Origin, Path, Source, Step};
use crate::problem::{Problem, Problems};

/// Longer words of a text are cut in messages, and compared with no known one.
const LONGEST_WORD: usize = 60;

/// Where we are in the tree, and what was wrong so far.
#[derive(Debug)]
pub(super) struct Reader {
    source: Arc<Source>,
    path: Path,
    problems: Problems,
    allowed: Vec<Allowed>,
}

impl Reader {
    /// At the root of a text.
    pub(super) fn new(source: &Arc<Source>) -> Self {
        Self {
            source: Arc::clone(source),
            path: Path::default(),
            problems: Problems::default(),
            allowed: Vec::new(),
        }
    }

    /// Collects what a `lint` key silences.
    pub(super) fn allow(&mut self, allowed: Allowed) {
        self.allowed.push(allowed);
    }

    /// What all `lint` keys silence.
    pub(super) fn take_allowed(&mut self) -> Vec<Allowed> {
        std::mem::take(&mut self.allowed)
    }

    /// `value` if nothing was wrong.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Problems> {
        self.problems.finish(value)
    }

    /// The place of some bytes of the value at hand.
    pub(super) fn origin(&self, range: Range<usize>) -> Origin {
        Origin { source: Arc::clone(&self.source), path: self.path.clone(), range, span: None }
    }

    /// Records a problem with the value at hand.
    pub(super) fn problem(&mut self, range: Range<usize>, message: impl Into<String>, hint: Option<String>) {
        let problem = Problem::new(self.origin(range), message);
        self.problems.push(Problem { hint, ..problem });
    }

    /// Goes one step down for the time of `read`.
    pub(super) fn within<T>(&mut self, step: Step, read: impl FnOnce(&mut Self) -> T) -> T {
        let inside = self.path.join(step);
        let outside = std::mem::replace(&mut self.path, inside);
        let result = read(self);
        self.path = outside;
        result
    }

    /// The members of an object; of keys that come twice, the first.
    pub(super) fn members<'t>(&mut self, value: Value<'t>) -> Option<Vec<Member<'t>>> {
        /// So few are compared with each other.
        const FEW: usize = 16;
        let Kind::Object(mut members) = value.kind else { return self.unexpected("an object", &value) };
        let unique = if members.len() <= FEW {
            let before = |at: usize| members.iter().take(at);
            (0..members.len()).all(|at| {
                members.get(at).is_none_or(|member| before(at).all(|other| other.key != member.key))
            })
        } else {
            members.iter().map(|member| &member.key).collect::<HashSet<_>>().len() == members.len()
        };
        if !unique {
            let mut seen = HashSet::new();
            members.retain(|member| {
                let first = seen.insert(member.key.clone());
                if !first {
                    let message = format!("the key {} comes twice in one object", quoted(&member.key));
                    let range = member.key_range.clone();
                    self.within(Step::Key(member.key.to_string().into()), |r| {
                        r.problem(range, message, None);
                    });
                }
                first
            });
        }
        Some(members)
    }

    /// Reads an object: calls `read` with each known key and its value; other keys and missing ones are
    /// problems.
    pub(super) fn object(
        &mut self,
        value: Value<'_>,
        keys: Keys,
        mut read: impl FnMut(&mut Self, &'static str, Value<'_>),
    ) -> Option<()> {
        let range = value.range.clone();
        let members = self.members(value)?;
        for Key { name, .. } in keys.keys.iter().filter(|key| key.required) {
            if !members.iter().any(|member| member.key == *name) {
                self.problem(range.clone(), format!("missing key `{name}`"), None);
            }
        }
        for member in members {
            if let Some(key) = keys.names().find(|key| *key == member.key) {
                self.within(Step::Key(key.into()), |reader| read(reader, key, member.value));
                continue;
            }
            let synonym = keys.synonyms.iter().find(|(theirs, _)| *theirs == member.key);
            let hint = match synonym {
                Some((_, ours)) => format!("the key is called `{ours}`"),
                None => key_hint(&member.key, keys.names(), &[]),
            };
            self.unknown_key(&member, hint);
        }
        Some(())
    }

    /// Records that the key of `member` is not known here.
    pub(super) fn unknown_key(&mut self, member: &Member<'_>, hint: String) {
        let message = format!("unknown key {}", quoted(&member.key));
        let step = Step::Key(member.key.to_string().into());
        self.within(step, |reader| reader.problem(member.key_range.clone(), message, Some(hint)));
    }

    /// Reads a list, element by element; those with problems are left out.
    pub(super) fn list<T>(
        &mut self,
        value: Value<'_>,
        mut read: impl FnMut(&mut Self, Value<'_>) -> Option<T>,
    ) -> Vec<T> {
        let Kind::List(elements) = value.kind else {
            self.unexpected::<()>("a list", &value);
            return Vec::new();
        };
        let elements = elements.into_iter().enumerate();
        elements.filter_map(|(at, element)| self.within(Step::Index(at), |r| read(r, element))).collect()
    }

    /// Reads a string.
    pub(super) fn text(&mut self, value: Value<'_>) -> Option<Text> {
        match value.kind {
            Kind::Text(text) => self.checked_text(text.into_owned(), value.range),
            _ => self.unexpected("a string", &value),
        }
    }

    /// Reads a string, or a number as it is written.
    pub(super) fn text_or_number(&mut self, value: Value<'_>) -> Option<Text> {
        match value.kind {
            Kind::Text(text) => self.checked_text(text.into_owned(), value.range),
            Kind::Number(number) => Some(Text { value: number.to_owned(), origin: self.origin(value.range) }),
            _ => self.unexpected("a number or a string", &value),
        }
    }

    /// Reads `true` or `false`.
    pub(super) fn flag(&mut self, value: &Value<'_>) -> Option<bool> {
        match value.kind {
            Kind::Bool(flag) => Some(flag),
            _ => self.unexpected("`true` or `false`", value),
        }
    }

    /// Reads a whole number from 1 to `u32::MAX`.
    pub(super) fn count(&mut self, value: &Value<'_>) -> Option<u32> {
        let Kind::Number(number) = &value.kind else { return self.unexpected("a number", value) };
        let count = number.parse().ok().filter(|count| *count > 0);
        if count.is_none() {
            let message = format!("expected a whole number from 1 to {}, found {}", u32::MAX, quoted(number));
            self.problem(value.range.clone(), message, None);
        }
        count
    }

    /// Reads a string that is one of `words` and gives what that stands for.
    pub(super) fn word<T: Copy>(&mut self, value: Value<'_>, words: &[(&'static str, T)]) -> Option<T> {
        let range = value.range.clone();
        let found = match &value.kind {
            Kind::Text(text) => words.iter().find(|(word, _)| word == text).map(|(_, meaning)| *meaning),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
        let written = self.text(value)?.value;
        let mut known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        if let Some(nearest) = similar(&written, known.iter().copied()) {
            known.sort_by_key(|word| *word != nearest);
        }
        let message = format!("expected {}, found {}", listed(&known, "or"), quoted(&written));
        self.problem(range, message, None);
        None
    }

    fn checked_text(&mut self, text: String, range: Range<usize>) -> Option<Text> {
        if text.contains('\0') {
            self.problem(range, "a string must not hold a NUL character", None);
            return None;
        }
        Some(Text { value: text, origin: self.origin(range) })
    }

    fn unexpected<T>(&mut self, expected: &str, found: &Value<'_>) -> Option<T> {
        let message = format!("expected {expected}, found {}", found.kind.name());
        self.problem(found.range.clone(), message, None);
        None
    }
}

/// What to write instead of an unknown key: the most similar of `known` and `further`, or any of `known`.
pub(super) fn key_hint(
    key: &str,
    known: impl Iterator<Item = &'static str> + Clone,
    further: &[&'static str],
) -> String {
    match similar(key, known.clone().chain(further.iter().copied())) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("the keys here are {}", listed(&known.collect::<Vec<_>>(), "and")),
    }
}

fn similar(word: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    // a word of the size of a file is like none of ours, and slow to compare
    if word.len() > LONGEST_WORD { None } else { nearest(word, known) }
}

/// A word of the text in backticks, cut where it is long.
pub(super) fn quoted(word: &str) -> String {
    match word.char_indices().nth(LONGEST_WORD) {
        Some((end, _)) => format!("`{}...`", &word[..end]),
        None => format!("`{word}`"),
    }
}

/// `a`, `b` and `c`, each in backticks.
fn listed(words: &[&str], last: &str) -> String {
    let mut text = String::new();
    for (at, word) in words.iter().enumerate() {
        let before = match at {
            0 => "",
            _ if at + 1 == words.len() => &format!(" {last} "),
            _ => ", ",
        };
        let _ = write!(text, "{before}`{word}`");
    }
    text
}
