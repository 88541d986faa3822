//! Words of a rule (the lexer is still to come).

use super::Span;

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The text, quotes removed, variables expanded; may be empty, has no control characters.
    pub text: String,
    /// Where it stands in the rule text, quotes included.
    pub span: Span,
    /// Whether a variable had a part in it: then it is never an option, the head of `--option=value`, or `!`.
    pub is_value: bool,
}
