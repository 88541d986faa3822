//! Diagnostics as JSON: one object with all of them and how many there are.

use fwn_plan::lint::Level;
use serde_json::{Value, json};

use crate::lint::Diagnostic;

/// The object.
pub(super) fn report(diagnostics: &[Diagnostic]) -> Value {
    let count = |level| diagnostics.iter().filter(|diagnostic| diagnostic.level() == level).count();
    json!({
        "errors": count(Level::Error),
        "warnings": count(Level::Warning),
        "notes": count(Level::Note),
        "diagnostics": diagnostics.iter().map(diagnostic).collect::<Vec<_>>(),
    })
}

fn diagnostic(diagnostic: &Diagnostic) -> Value {
    let origin = &diagnostic.problem.origin;
    let [start, end] = ends(diagnostic);
    json!({
        "id": diagnostic.id(),
        "level": level(diagnostic.level()),
        "file": diagnostic.path.display().to_string(),
        "line": start.0,
        "column": start.1,
        "endLine": end.0,
        "endColumn": end.1,
        "pointer": origin.pointer().to_string(),
        "message": diagnostic.problem.message,
        "hint": diagnostic.problem.hint,
    })
}

/// The word for a level; also that of SARIF.
pub(super) fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Note => "note",
    }
}

/// Line and column where the words begin, and behind where they end.
pub(super) fn ends(diagnostic: &Diagnostic) -> [(usize, usize); 2] {
    let origin = &diagnostic.problem.origin;
    let highlight = origin.highlight();
    [highlight.start, highlight.end].map(|offset| origin.source.line_column(offset))
}
