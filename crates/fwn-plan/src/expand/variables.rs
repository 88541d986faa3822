//! Where a variable's value comes from: layers in order of precedence, shared between their users.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::nearest::nearest;

/// Names and values in layers; the first layer that knows a name wins. A clone shares the layers.
#[derive(Clone, Default)]
pub struct Variables {
    layers: Vec<Layer>,
}

#[derive(Clone)]
struct Layer {
    values: Arc<HashMap<String, String>>,
    from_outside: bool,
}

impl Variables {
    /// No variables at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer below all that are there. Of a name that comes twice in it the first value counts, as with
    /// `getenv`.
    pub fn layer(&mut self, values: impl IntoIterator<Item = (String, String)>) -> &mut Self {
        self.layers.push(Layer::new(values, false));
        self
    }

    /// The same for values that a tenant or the runtime can write: they may not stand everywhere, see
    /// [`expand_file_name`](super::expand_file_name).
    pub fn layer_from_outside(&mut self, values: impl IntoIterator<Item = (String, String)>) -> &mut Self {
        self.layers.push(Layer::new(values, true));
        self
    }

    /// The same variables below a layer that wins over them all, such as `$IP` of one turn of `forEach`.
    #[must_use]
    pub fn with_locals(&self, values: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut layers = Vec::with_capacity(self.layers.len() + 1);
        layers.push(Layer::new(values, false));
        layers.extend(self.layers.iter().cloned());
        Self { layers }
    }

    /// The value, if the variable is set; it may be empty.
    pub fn lookup(&self, name: &str) -> Option<&str> {
        self.find(name).map(|(value, _)| value)
    }

    /// The value, and whether it is from outside.
    pub(super) fn find(&self, name: &str) -> Option<(&str, bool)> {
        self.layers.iter().find_map(|layer| Some((layer.values.get(name)?.as_str(), layer.from_outside)))
    }

    /// The known name that is most like `name`.
    pub(super) fn closest(&self, name: &str) -> Option<&str> {
        nearest(name, self.names())
    }

    /// Every name once, sorted.
    fn names(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<_> =
            self.layers.iter().flat_map(|layer| layer.values.keys()).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter()
    }
}

/// Whether it has letters, digits and `_` only, and does not begin with a digit.
pub fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Layer {
    fn new(values: impl IntoIterator<Item = (String, String)>, from_outside: bool) -> Self {
        Self { values: Arc::new(collect(values)), from_outside }
    }
}

fn collect(values: impl IntoIterator<Item = (String, String)>) -> HashMap<String, String> {
    let mut layer = HashMap::new();
    for (name, value) in values {
        layer.entry(name).or_insert(value);
    }
    layer
}

impl fmt::Debug for Variables {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
