//! The files of iptables' own tests: text in, the rules to try out, each with its table, its chains and what has to be
//! run before it. Starts nothing.
//!
//! `:CHAIN,CHAIN` and `*table` hold for the lines after them, `@COMMAND` and `%COMMAND` prepare, `#` is a comment, and
//! all else is `RULE;SAVED;OK|FAIL[;NFT|LEGACY[;OK|FAIL|NOMATCH]]` (`iptables-test.py` of the same package).

use fwn_plan::netfilter::{Family, Table};

/// A rule to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TestLine {
    /// Number of the line in the file, from 1.
    pub(crate) number: usize,
    /// The table; `filter` where the file names none.
    pub(crate) table: Table,
    /// The chains to try it in.
    pub(crate) chains: Vec<String>,
    /// The rule.
    pub(crate) rule: String,
    /// Whether the file says that iptables-nft takes it.
    pub(crate) valid: bool,
    /// Commands that come before it in the file.
    pub(crate) setup: Vec<String>,
}

/// Why a line was not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TestFileError {
    /// A table that we do not know.
    #[error("line {0}: unknown table `{1}`")]
    Table(usize, String),
    /// No chain was named before it.
    #[error("line {0}: no `:CHAIN` before it")]
    NoChain(usize),
    /// Not of the form above.
    #[error("line {0}: `{1}` is not `RULE;SAVED;OK|FAIL[;NFT|LEGACY[;OK|FAIL|NOMATCH]]`")]
    Form(usize, String),
}

/// The families that a file is for, by its name; none for those of arptables and ebtables.
pub(crate) fn families(name: &str) -> &'static [Family] {
    match name.split('_').next() {
        Some("libarpt" | "libebt") => &[],
        Some("libip6t") => &[Family::Ipv6],
        Some("libxt") => &Family::ALL,
        _ => &[Family::Ipv4],
    }
}

/// Reads a file.
///
/// # Errors
/// The first line that is not understood: none is passed over.
pub(crate) fn parse_test_file(text: &str) -> Result<Vec<TestLine>, TestFileError> {
    let mut lines = Vec::new();
    let (mut table, mut chains, mut setup) = (Table::Filter, Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let rest = line.get(1..).unwrap_or_default().trim_end();
        match line.chars().next() {
            None | Some('#') => {}
            Some(_) if line.trim().is_empty() => {}
            Some('*') => {
                table = Table::parse(rest).ok_or_else(|| TestFileError::Table(number, rest.to_owned()))?;
            }
            Some(':') => chains = rest.split(',').map(str::to_owned).collect(),
            Some('@' | '%') => setup.push(rest.to_owned()),
            Some(_) => {
                let form = || TestFileError::Form(number, line.to_owned());
                let (rule, valid) = parse_fields(line).ok_or_else(form)?;
                if chains.is_empty() {
                    return Err(TestFileError::NoChain(number));
                }
                let (chains, setup) = (chains.clone(), setup.clone());
                lines.push(TestLine { number, table, chains, rule, valid, setup });
            }
        }
    }
    Ok(lines)
}

/// The rule, and whether iptables-nft is to take it.
fn parse_fields(line: &str) -> Option<(String, bool)> {
    let fields: Vec<_> = line.split(';').map(str::trim_end).collect();
    let taken = |word: &str| match word {
        "OK" | "NOMATCH" => Some(true),
        "FAIL" => Some(false),
        _ => None,
    };
    let (rule, valid) = match fields.as_slice() {
        // told of the other iptables: the opposite holds for ours, unless it is told too
        [rule, _, result, "LEGACY"] => (rule, !taken(result)?),
        [rule, _, result]
        | [rule, _, result, "NFT"]
        | [rule, _, result, "NFT", _]
        | [rule, _, _, "LEGACY", result] => (rule, taken(result)?),
        _ => return None,
    };
    Some(((*rule).to_owned(), valid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_tables_and_setup_hold_for_the_lines_after_them() {
        let text =
            "# comment\n:INPUT,FORWARD\n-p tcp;=;OK\n\n%iptables -N x\n*mangle\n:OUTPUT\n-j TOS;;FAIL\n";
        let line = |number, table, chains: &[&str], rule: &str, valid, setup: &[&str]| TestLine {
            number,
            table,
            chains: chains.iter().map(ToString::to_string).collect(),
            rule: rule.to_owned(),
            valid,
            setup: setup.iter().map(ToString::to_string).collect(),
        };
        let expected = [
            line(3, Table::Filter, &["INPUT", "FORWARD"], "-p tcp", true, &[]),
            line(8, Table::Mangle, &["OUTPUT"], "-j TOS", false, &["iptables -N x"]),
        ];
        assert_eq!(parse_test_file(text).expect("is understood"), expected);
    }

    #[test]
    fn a_result_of_the_other_iptables_is_turned_round() {
        for (fields, valid) in [
            (";;OK", true),
            (";;FAIL ", false),
            (";=;OK;LEGACY", false),
            (";;FAIL;LEGACY", true),
            (";=;OK;LEGACY;NOMATCH", true),
            (";=;OK;NFT", true),
            (";=;FAIL;NFT;OK", false),
        ] {
            let lines = parse_test_file(&format!(":INPUT\n-p tcp{fields}")).expect(fields);
            assert_eq!(lines.iter().map(|line| line.valid).collect::<Vec<_>>(), [valid], "{fields}");
        }
    }

    #[test]
    fn nothing_is_passed_over() {
        let error = |text| parse_test_file(text).expect_err(text).to_string();
        assert_eq!(error("-p tcp;=;OK"), "line 1: no `:CHAIN` before it");
        assert_eq!(error("\n*broute"), "line 2: unknown table `broute`");
        for text in [
            ":INPUT\n-p tcp",
            ":INPUT\n-p tcp;=;GOOD",
            ":INPUT\n-p tcp;=;OK;OTHER",
            ":INPUT\na;b;OK;NFT;OK;x",
        ] {
            assert!(error(text).starts_with("line 2: `"), "{text}");
        }
    }

    #[test]
    fn names_tell_the_families() {
        assert_eq!(families("libxt_tcp.t"), Family::ALL);
        assert_eq!(families("libip6t_rt.t"), [Family::Ipv6]);
        assert_eq!(families("libipt_ttl.t"), [Family::Ipv4]);
        assert_eq!(families("iptables.t"), [Family::Ipv4]);
        assert_eq!(families("libebt_ip.t"), []);
    }
}
