//! The case table: the folders of `cases/` as texts and maps, for every rung of tests that runs them.
//!
//! Nothing is interpreted here but the lists of names; what a configuration means is for the tests to say. What a
//! folder cannot be read as panics: a case that is left out by mistake would be a test that never fails.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

/// What a folder holds beside the files of its `dataDir`.
const OWN_FILES: [&str; 9] = [
    "conf.json",
    "env",
    "hosts",
    "sets",
    "families",
    "plan.iptables",
    "plan.ip6tables",
    "plan.ipset",
    "error",
];

/// One folder of `cases/`.
#[derive(Debug, Clone)]
pub struct Case {
    /// Name of the folder.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
    /// `conf.json`: the plugin's network configuration as it comes on stdin.
    pub conf: String,
    /// `env`: lines of `NAME=VALUE`, in order.
    pub environment: Vec<(String, String)>,
    /// `hosts`: lines of `NAME ADDRESS...`, what names resolve to.
    pub hosts: BTreeMap<String, BTreeSet<IpAddr>>,
    /// `sets`: lines of `NAME FAMILY`, sets that another made in the namespace: `ipv4`, `ipv6`, or `-` for none.
    pub sets: BTreeMap<String, String>,
    /// `families`: the families that the namespace has, `ipv4` and `ipv6` where there is no such file.
    pub families: Vec<String>,
    /// What is to come out.
    pub expected: Expected,
    /// All that `dataDir` holds: the other files of the folder, and the repository's presets that it does not have.
    pub data: BTreeMap<String, String>,
}

/// What comes out of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// A plan: `plan.iptables`, `plan.ip6tables` and `plan.ipset`; an empty text has no file.
    Plan(PlanTexts),
    /// `error`: every problem, one a line.
    Error(String),
}

/// A plan as the tools take it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanTexts {
    /// For `iptables-restore --noflush`.
    pub iptables: String,
    /// For `ip6tables-restore --noflush`.
    pub ip6tables: String,
    /// For `ipset restore`.
    pub ipset: String,
}

/// All cases, by name.
///
/// # Panics
/// There is none, or one cannot be read.
pub fn load_cases() -> Vec<Case> {
    let folder = repository().join("cases");
    let presets = read_presets();
    let mut folders: Vec<PathBuf> = entries(&folder);
    folders.sort();
    assert!(!folders.is_empty(), "there is no case in `{}`", folder.display());
    folders.into_iter().map(|folder| Case::load(folder, &presets)).collect()
}

impl Case {
    /// Writes what is expected, and removes what is no longer.
    ///
    /// # Panics
    /// The folder cannot be written.
    pub fn update(&self, expected: &Expected) {
        let none = PlanTexts::default();
        let (plan, error) = match expected {
            Expected::Plan(plan) => (plan, ""),
            Expected::Error(error) => (&none, error.as_str()),
        };
        for (file, text) in [
            ("plan.iptables", plan.iptables.as_str()),
            ("plan.ip6tables", &plan.ip6tables),
            ("plan.ipset", &plan.ipset),
            ("error", error),
        ] {
            let path = self.folder.join(file);
            if text.is_empty() {
                if path.exists() {
                    fs::remove_file(&path).expect("the expected text can be removed");
                }
            } else {
                fs::write(&path, text).expect("the expected text can be written");
            }
        }
    }

    fn load(folder: PathBuf, presets: &BTreeMap<String, String>) -> Self {
        let mut files = BTreeMap::new();
        for path in entries(&folder) {
            files.insert(file_name(&path), read(&path));
        }
        let name = file_name(&folder);
        let mut own: BTreeMap<_, _> = OWN_FILES.iter().filter_map(|file| files.remove_entry(*file)).collect();
        let mut take = |file: &str| own.remove(file).unwrap_or_default();
        let conf = take("conf.json");
        assert!(!conf.is_empty(), "case `{name}` has no `conf.json`");
        let plan = PlanTexts {
            iptables: take("plan.iptables"),
            ip6tables: take("plan.ip6tables"),
            ipset: take("plan.ipset"),
        };
        let error = take("error");
        let expected = if error.is_empty() {
            Expected::Plan(plan)
        } else {
            assert_eq!(plan, PlanTexts::default(), "case `{name}` expects both a plan and an error");
            Expected::Error(error)
        };
        let families = take("families");
        let families = if families.is_empty() { "ipv4 ipv6" } else { &families };
        let environment = take("env");
        let environment = environment.lines().map(|line| {
            let (variable, value) = line.split_once('=').unwrap_or_else(|| malformed(&name, "env", line));
            (variable.to_owned(), value.to_owned())
        });
        let hosts = rows(&name, "hosts", &take("hosts"), |words| {
            words.iter().map(|word| word.parse().ok()).collect()
        });
        let sets = rows(&name, "sets", &take("sets"), |words| match words {
            [family @ ("ipv4" | "ipv6" | "-")] => Some((*family).to_owned()),
            _ => None,
        });
        let mut data = presets.clone();
        data.extend(files);
        Self {
            conf,
            environment: environment.collect(),
            hosts,
            sets,
            families: families.split_whitespace().map(str::to_owned).collect(),
            expected,
            data,
            folder,
            name,
        }
    }
}

impl fmt::Display for Expected {
    /// As one text, each part under its name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => write!(f, "== error\n{error}"),
            Self::Plan(plan) => {
                let PlanTexts { iptables, ip6tables, ipset } = plan;
                write!(f, "== plan.iptables\n{iptables}== plan.ip6tables\n{ip6tables}== plan.ipset\n{ipset}")
            }
        }
    }
}

/// The lines in which two texts differ, those of `left` after a `-` and those of `right` after a `+`, those that
/// they share in between after a blank.
pub fn diff(left: &str, right: &str) -> String {
    let (a, b): (Vec<_>, Vec<_>) = (left.lines().collect(), right.lines().collect());
    // length of the longest common subsequence of the rests from i and j on
    let mut common = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] =
                if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = String::new();
    while i < a.len() || j < b.len() {
        let (sign, line) = if i < a.len() && j < b.len() && a[i] == b[j] {
            (i, j) = (i + 1, j + 1);
            (' ', a[i - 1])
        } else if j == b.len() || (i < a.len() && common[i + 1][j] >= common[i][j + 1]) {
            i += 1;
            ('-', a[i - 1])
        } else {
            j += 1;
            ('+', b[j - 1])
        };
        lines.extend([sign.to_string().as_str(), line, "\n"]);
    }
    lines
}

/// Whether the expected texts are to be rewritten: `UPDATE_CASES=1`.
pub fn wants_update() -> bool {
    env::var_os("UPDATE_CASES").is_some_and(|value| value == "1")
}

fn read_presets() -> BTreeMap<String, String> {
    entries(&repository().join("fw")).iter().map(|path| (file_name(path), read(path))).collect()
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(folder).unwrap_or_else(|error| panic!("`{}`: {error}", folder.display()));
    found.map(|entry| entry.expect("an entry").path()).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()))
}

/// Lines of a name and what belongs to it.
fn rows<T>(case: &str, file: &str, text: &str, value: impl Fn(&[&str]) -> Option<T>) -> BTreeMap<String, T> {
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (name, rest) = words.split_first()?;
        Some(((*name).to_owned(), value(rest)?))
    };
    text.lines().map(|line| row(line).unwrap_or_else(|| malformed(case, file, line))).collect()
}

fn malformed(case: &str, file: &str, line: &str) -> ! {
    panic!("case `{case}`: `{file}` has a line that is not understood: `{line}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_diff_keeps_what_both_have() {
        assert_eq!(diff("a\nb\nc\n", "a\nx\nc\nd\n"), " a\n-b\n+x\n c\n+d\n");
        assert_eq!(diff("", "a\n"), "+a\n");
        assert_eq!(diff("a\n", "a\n"), " a\n");
    }

    #[test]
    fn the_seed_is_a_case_with_its_own_files_before_the_presets() {
        let cases = load_cases();
        let seed = cases.iter().find(|case| case.name == "seed-conflist").expect("it is there");
        assert!(!seed.data["allow-ping.fw"].contains("icmpv6"), "the case's own file");
        assert!(seed.data["allow-nd.fw"].contains("icmpv6"), "a preset");
        assert!(!seed.data.contains_key("conf.json"));
        assert_eq!(seed.environment[0], ("CNI_IFNAME".to_owned(), "eth0".to_owned()));
    }
}
