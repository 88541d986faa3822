//! An error with all that it came from, in one line, as plugin and daemon say it.

use std::error::Error;

/// The error and what it came from.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // an error that shows its source itself has said it already
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner;

    #[derive(Debug, thiserror::Error)]
    #[error("middle: {0}")]
    struct Middle(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Middle);

    #[test]
    fn nothing_is_said_twice() {
        assert_eq!(with_causes(&Inner), "inner");
        assert_eq!(with_causes(&Outer(Middle(Inner))), "outer: middle: inner");
    }
}
