//! The `lint` key of files, rules and other objects: what `firewallnetns lint` is not to warn of there. An ADD reads
//! it too, so that a slip in it is found early, and does nothing with it.

use super::json::Value;
use super::keys::{Key, Keys, Shape};
use super::reader::{Reader, quoted};
use crate::lint::Lint;
use crate::nearest::nearest;
use crate::origin::Origin;

/// What is silenced, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// The object that has the key, as a path; its range is that of the key's value.
    pub origin: Origin,
    /// `allow`
    pub lints: Vec<Lint>,
}

/// The key, in every object that can have it.
pub(super) const LINT: Key = Key::optional(
    "lint",
    Shape::Object(&Keys {
        keys: &[Key::optional(
            "allow",
            Shape::List(&Shape::Word(&Lint::IDS)),
            "ids of lints to silence here",
        )],
        synonyms: &[],
    }),
    "what `firewallnetns lint` is not to warn of here",
);

/// Reads the value of the key; the reader collects it.
pub(super) fn read_lint(reader: &mut Reader, value: Value<'_>) {
    let Shape::Object(keys) = LINT.shape else { return };
    let mut origin = reader.origin(value.range.clone());
    origin.path = origin.path.parent();
    let mut lints = Vec::new();
    reader.object(value, *keys, |reader, _, value| lints = reader.list(value, read_id));
    reader.allow(Allowed { origin, lints });
}

fn read_id(reader: &mut Reader, value: Value<'_>) -> Option<Lint> {
    let range = value.range.clone();
    let id = reader.text(value)?.value;
    let lint = Lint::parse(&id);
    if lint.is_none() {
        let hint = match nearest(&id, Lint::IDS) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`docs/lint.md` lists them".to_owned(),
        };
        reader.problem(range, format!("there is no lint {}", quoted(&id)), Some(hint));
    }
    lint
}
