//! The keys that an object of a configuration may have, and what each may hold: the reader takes names from these
//! tables, the JSON Schema all of it. That the two take and refuse the same is for `tests/schema.rs` to show.

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// What it may hold.
    pub shape: Shape,
    /// What it is for, in one line.
    pub about: &'static str,
}

impl Key {
    /// One that may be left out.
    pub(super) const fn optional(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self { name, required: false, shape, about }
    }

    /// One that must be there.
    pub(super) const fn required(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self { name, required: true, shape, about }
    }
}

/// What a key may hold, one variant a way of reading.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// A string.
    Text,
    /// A string, or a number as it is written.
    TextOrNumber,
    /// One string, or a list of strings.
    TextOrTexts,
    /// `true` or `false`.
    Flag,
    /// A whole number from 1 to `u32::MAX`.
    Count,
    /// A string that is one of these.
    Word(&'static [&'static str]),
    /// A list of such.
    List(&'static Shape),
    /// An object with these keys.
    Object(&'static Keys),
    /// An object of strings and numbers whose keys are names of variables.
    Variables,
    /// The configuration of a plugin, an object whose `type` is the name of a file, or a list of at least one.
    Plugins,
}

/// The keys that an object may have.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    /// In the order in which messages list them.
    pub keys: &'static [Key],
    /// Words of other programs for some of them: theirs, ours.
    pub synonyms: &'static [(&'static str, &'static str)],
}

impl Keys {
    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        self.keys.iter().map(|key| key.name)
    }
}

/// The words of a table that gives each a meaning, for [`Shape::Word`].
pub(super) const fn words<T: Copy, const N: usize>(
    table: &'static [(&'static str, T); N],
) -> [&'static str; N] {
    let mut words = [""; N];
    let mut at = 0;
    while at < N {
        words[at] = table[at].0;
        at += 1;
    }
    words
}
