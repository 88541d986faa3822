//! What was measured, as text: a table with a line a file, and lists of all that differs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

use fwn_kernel::nft::decode::decode_expressions;
use fwn_plan::netfilter::Family;

use crate::measure::{Case, Outcome, Refused};
use crate::namespace::InForce;

/// Numbers of cases.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// That iptables accepts.
    pub(crate) accepted: usize,
    /// Of these encoded natively and in force.
    pub(crate) native: usize,
    /// Of these saved by `iptables-save` as what iptables made.
    pub(crate) same_save: usize,
    /// Of the native ones equal to what iptables made, byte for byte.
    pub(crate) same_bytes: usize,
    /// Of the accepted ones left to iptables.
    pub(crate) not_encoded: usize,
    /// Of the accepted ones refused by us.
    pub(crate) refused: usize,
    /// That iptables refuses.
    pub(crate) wrong: usize,
    /// Of these refused by us, or left to iptables.
    pub(crate) refused_by_both: usize,
    /// Of these in force natively.
    pub(crate) wrongly_accepted: usize,
}

/// All that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    files: BTreeMap<String, Tally>,
    /// For every line and family that iptables accepts in some chain, whether all of these are native.
    lines: BTreeMap<(String, usize, Family), bool>,
    /// By heading, then by line and what was found, the places.
    lists: BTreeMap<List, BTreeMap<String, BTreeSet<String>>>,
    /// Lines of a file, each once a family, with which iptables does other than the file says.
    otherwise: BTreeMap<String, BTreeSet<(usize, Family)>>,
    /// How often what had no native form.
    not_encoded: BTreeMap<String, usize>,
}

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum List {
    Save,
    Bytes,
    Refused,
    Accepted,
}

impl Report {
    /// Takes a case in.
    pub(crate) fn add(&mut self, case: &Case<'_>, outcome: &Outcome) {
        let tally = self.files.entry(case.file.to_owned()).or_default();
        let mut finding = None;
        match (&outcome.theirs, &outcome.ours) {
            (Ok(theirs), Ok(ours)) => {
                tally.native += 1;
                if theirs.save == ours.save {
                    tally.same_save += 1;
                } else {
                    let detail =
                        format!("iptables: {}\nnative:   {}", rules(&theirs.save), rules(&ours.save));
                    finding = Some((List::Save, detail));
                }
                if theirs.chains == ours.chains {
                    tally.same_bytes += 1;
                } else if finding.is_none() {
                    let detail = format!("iptables:{}\nnative:{}", readable(theirs), readable(ours));
                    finding = Some((List::Bytes, detail));
                }
            }
            (Ok(_), Err(Refused::NotEncoded(what))) => {
                tally.not_encoded += 1;
                *self.not_encoded.entry(what.clone()).or_default() += 1;
            }
            (Ok(_), Err(Refused::Wrong(message))) => {
                tally.refused += 1;
                finding = Some((List::Refused, message.clone()));
            }
            (Err(_), Err(_)) => tally.refused_by_both += 1,
            (Err(complaint), Ok(_)) => {
                tally.wrongly_accepted += 1;
                finding = Some((List::Accepted, complaint.clone()));
            }
        }
        if outcome.theirs.is_ok() {
            tally.accepted += 1;
            let key = (case.file.to_owned(), case.line.number, case.family);
            *self.lines.entry(key).or_insert(true) &= outcome.ours.is_ok();
        } else {
            tally.wrong += 1;
        }
        if let Some((list, detail)) = finding {
            self.list(list, case, &detail);
        }
        if outcome.theirs.is_ok() != case.line.valid {
            let lines = self.otherwise.entry(case.file.to_owned()).or_default();
            lines.insert((case.line.number, case.family));
        }
    }

    fn list(&mut self, list: List, case: &Case<'_>, detail: &str) {
        let Case { file, line, chain, family } = case;
        let key = format!("{file}:{} `{}`\n{detail}", line.number, line.rule).replace('\n', "\n      ");
        let place = format!("{family} {} {chain}", line.table);
        self.lists.entry(list).or_default().entry(key).or_default().insert(place);
    }

    /// Of the lines that iptables accepts, each once a family, how many are native in all their chains.
    pub(crate) fn lines(&self) -> (usize, usize) {
        (self.lines.values().filter(|native| **native).count(), self.lines.len())
    }

    /// The sum of all files.
    pub(crate) fn total(&self) -> Tally {
        let mut total = Tally::default();
        for tally in self.files.values() {
            total.accepted += tally.accepted;
            total.native += tally.native;
            total.same_save += tally.same_save;
            total.same_bytes += tally.same_bytes;
            total.not_encoded += tally.not_encoded;
            total.refused += tally.refused;
            total.wrong += tally.wrong;
            total.refused_by_both += tally.refused_by_both;
            total.wrongly_accepted += tally.wrongly_accepted;
        }
        total
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:24} | iptables accepts: native, save =, bytes =, left, refused | iptables refuses: both, only we accept",
            ""
        )?;
        let total = self.total();
        for (name, it) in self.files.iter().chain([(&"total".to_owned(), &total)]) {
            writeln!(
                f,
                "{name:24} | {:16} {:7} {:7} {:8} {:5} {:8} | {:16} {:5} {:15}",
                it.accepted,
                it.native,
                it.same_save,
                it.same_bytes,
                it.not_encoded,
                it.refused,
                it.wrong,
                it.refused_by_both,
                it.wrongly_accepted
            )?;
        }
        for (list, entries) in &self.lists {
            let heading = match list {
                List::Save => "`iptables-save` differs",
                List::Bytes => "the expressions differ, and not what is saved",
                List::Refused => "we refuse what iptables accepts",
                List::Accepted => "we accept what iptables refuses",
            };
            writeln!(f, "\n{heading}: {} lines", entries.len())?;
            for (entry, places) in entries {
                let places: Vec<_> = places.iter().map(String::as_str).collect();
                writeln!(f, "  {entry}\n      in {}", places.join(", "))?;
            }
        }
        if !self.otherwise.is_empty() {
            writeln!(f, "\nlines with which iptables itself does other than the file says:")?;
        }
        for (file, lines) in &self.otherwise {
            writeln!(f, "  {:4} {file}", lines.len())?;
        }
        if !self.not_encoded.is_empty() {
            writeln!(f, "\ncases left to iptables, by what has no native form:")?;
        }
        let mut left: Vec<_> = self.not_encoded.iter().collect();
        left.sort_by_key(|(what, count)| (std::cmp::Reverse(**count), what.as_str()));
        for (what, count) in left {
            writeln!(f, "  {count:4} {what}")?;
        }
        Ok(())
    }
}

/// The rules of what `iptables-save` prints, or all of it where there is none.
fn rules(save: &str) -> String {
    let rules: Vec<_> = save.lines().filter(|line| line.starts_with("-A")).collect();
    if rules.is_empty() { save.replace('\n', " ") } else { rules.join("; ") }
}

/// Expressions with their attributes in hexadecimal.
fn readable(it: &InForce) -> String {
    let mut text = String::new();
    for (chain, rules) in &it.chains {
        let _ = write!(text, "\n  {chain}");
        for expression in rules.iter().flat_map(|rule| decode_expressions(rule)) {
            let Ok(expression) = expression else {
                text.push_str(" (not readable)");
                continue;
            };
            let _ = write!(text, "\n    {}", expression.name);
            for attr in expression.data.flatten() {
                let _ = write!(text, " {}=", attr.kind);
                for byte in attr.value {
                    let _ = write!(text, "{byte:02x}");
                }
            }
        }
    }
    text
}
