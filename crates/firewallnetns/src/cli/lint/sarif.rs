//! Diagnostics as SARIF 2.1.0 (OASIS), what code hosts and editors read. Columns count characters.

use std::fmt::Write;

use fwn_plan::lint::Lint;
use serde_json::{Value, json};

use super::json::{ends, level};
use crate::lint::{Diagnostic, REFUSED};

/// The log.
pub(super) fn report(diagnostics: &[Diagnostic]) -> Value {
    let mut rules = vec![rule(REFUSED, "ADD refuses it: the container would not start", "error")];
    rules.extend(Lint::ALL.into_iter().map(|lint| rule(lint.id(), lint.why(), level(lint.level()))));
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": {
                    "name": "firewallnetns",
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "rules": rules,
                },
            },
            "columnKind": "unicodeCodePoints",
            "results": diagnostics.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

fn rule(id: &str, why: &str, level: &str) -> Value {
    json!({
        "id": id,
        "shortDescription": { "text": why },
        "defaultConfiguration": { "level": level },
    })
}

fn result(diagnostic: &Diagnostic) -> Value {
    let [start, end] = ends(diagnostic);
    let problem = &diagnostic.problem;
    let text = match &problem.hint {
        Some(hint) => format!("{}; hint: {hint}", problem.message),
        None => problem.message.clone(),
    };
    json!({
        "ruleId": diagnostic.id(),
        "level": level(diagnostic.level()),
        "message": { "text": text },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": uri(&diagnostic.path.display().to_string()) },
                "region": {
                    "startLine": start.0,
                    "startColumn": start.1,
                    "endLine": end.0,
                    "endColumn": end.1,
                },
            },
        }],
    })
}

/// A path as a URI reference (RFC 3986): what is no letter, digit or one of `-._~/` becomes `%XX`.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) => uri.push(char::from(byte)),
            // a String takes everything
            byte => drop(write!(uri, "%{byte:02X}")),
        }
    }
    // `//host/...` would be another machine
    if path.starts_with('/') { format!("file://{uri}") } else { uri }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_references() {
        assert_eq!(uri("fw/web site.fw"), "fw/web%20site.fw");
        assert_eq!(uri("/etc/é#.fw"), "file:///etc/%C3%A9%23.fw");
    }
}
