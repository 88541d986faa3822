//! The iptables engine: rules in, nf_tables expressions out, made by the machine's own `iptables-nft-restore` and
//! `ip6tables-nft-restore`.
//!
//! The programs are encoders only. They run in a *scratch* network namespace that lives as long as one thread; the
//! rules are read back from it, and a batch of ours puts them in force. So the container's namespace is changed by
//! one transaction, whoever encoded the rules, and what iptables refuses has changed nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;

use fwn_plan::netfilter::{Family, Table};
use fwn_plan::plan::Plan;
use fwn_plan::rule::render::render_rule;
use fwn_plan::rule::{Rule, Target};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

use super::program::{Finished, ProgramError, restore_program, run_restore};
use crate::netlink::socket::{NetlinkSocket, Protocol};
use crate::nft::EncodedRule;
use crate::nft::observe::{NftError, observe};

/// How often the rest is tried again without the rules that iptables refused: it stops at the first it cannot
/// read, and all are to be named at once.
const ATTEMPTS: usize = 20;
/// Longest line that `iptables-restore` reads in one piece (`buffer` in its `xtables-restore.c`, with newline and
/// NUL).
const LINE_MAX: usize = 10_238;

/// What makes the scratch namespace fit for the rules: the sets they name, under the same indexes as in the
/// container's namespace, because the `set` match holds the index. Runs in the scratch namespace, once or more.
pub type Prepare<'a> = &'a (dyn Fn() -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Sync);

/// A rule to encode, and where it will stand.
#[derive(Debug, Clone, Copy)]
pub struct RuleInput<'a> {
    /// The family half.
    pub family: Family,
    /// The table.
    pub table: Table,
    /// The chain.
    pub chain: &'a str,
    /// The rule.
    pub rule: &'a Rule,
}

/// A rule that iptables, or the kernel behind it, refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Index of the rule in what was to be encoded.
    pub rule: usize,
    /// The words of iptables.
    pub message: String,
}

/// Why rules could not be encoded by iptables.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// No namespace to work in.
    #[error("cannot make a scratch network namespace")]
    Scratch(#[source] Errno),
    /// No thread to work on.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// The sets that the rules name could not be made there.
    #[error("cannot make the sets that the rules name in a scratch network namespace")]
    Prepare(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The program could not do its work.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Rules were refused: all of them, up to a limit.
    #[error("iptables refuses {}", list(.0))]
    Refused(Vec<Refusal>),
    /// iptables failed, and not because of a rule.
    #[error("`{program}` failed: {message}")]
    Failed {
        /// The program.
        program: &'static str,
        /// Its words.
        message: String,
    },
    /// The rules could not be read back.
    #[error("cannot read back what iptables made")]
    ReadBack(#[from] NftError),
    /// A rule was loaded, but not as one rule.
    #[error("`{program}` made more or fewer rules of chain `{chain}` in table `{table}` than it was given")]
    Count {
        /// The program.
        program: &'static str,
        /// The table.
        table: Table,
        /// The chain.
        chain: String,
    },
}

fn list(refusals: &[Refusal]) -> String {
    refusals.iter().map(|it| format!("rule {}: {}", it.rule, it.message)).collect::<Vec<_>>().join("; ")
}

/// Looks for the programs that encode.
///
/// # Errors
/// One of them is missing.
pub fn find_programs() -> Result<(), EncodeError> {
    Ok(super::program::find_programs()?)
}

/// Encodes all rules of a plan; the outer list is parallel to `plan.tables`, the inner ones to their `rules`.
///
/// # Errors
/// See [`EncodeError`]. [`Refusal::rule`] counts through the rules of all tables of the plan.
pub fn encode_with_iptables(plan: &Plan, prepare: Prepare<'_>) -> Result<Vec<Vec<EncodedRule>>, EncodeError> {
    let mut encoded = encode_rules(&plan_rules(plan), prepare)?.into_iter();
    Ok(plan.tables.iter().map(|half| encoded.by_ref().take(half.rules.len()).collect()).collect())
}

/// The rules of all tables of a plan, one after the other.
pub fn plan_rules(plan: &Plan) -> Vec<RuleInput<'_>> {
    let mut rules = Vec::new();
    for half in &plan.tables {
        rules.extend(half.rules.iter().map(|op| RuleInput {
            family: half.family,
            table: half.table,
            chain: &op.chain,
            rule: &op.rule,
        }));
    }
    rules
}

/// Encodes rules, in their order. Each is taken as appended to its chain; all chains that they name are taken to
/// exist.
///
/// # Errors
/// See [`EncodeError`].
pub fn encode_rules(rules: &[RuleInput<'_>], prepare: Prepare<'_>) -> Result<Vec<EncodedRule>, EncodeError> {
    let line = |(index, input): (usize, &RuleInput<'_>)| Line {
        index,
        family: input.family,
        table: input.table,
        chain: input.chain.to_owned(),
        jump: jump(input.rule).map(str::to_owned),
        text: render_rule(input.rule),
        compat: compat(input.rule),
    };
    encode_lines(rules.iter().enumerate().map(line).collect(), prepare)
}

fn encode_lines(lines: Vec<Line>, prepare: Prepare<'_>) -> Result<Vec<EncodedRule>, EncodeError> {
    let mut refused: BTreeMap<_, _> =
        lines.iter().filter_map(|line| Some((line.index, check_line(line).err()?))).collect();
    let mut lines = lines;
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    for _ in 0..ATTEMPTS {
        lines.retain(|line| !refused.contains_key(&line.index));
        match in_scratch(|| attempt(&lines, prepare))?? {
            Attempt::Encoded(encoded) if refused.is_empty() => return Ok(encoded),
            Attempt::Encoded(_) => break,
            Attempt::Refused(more) => refused.extend(more),
        }
    }
    let refusals = refused.into_iter().map(|(rule, message)| Refusal { rule, message }).collect();
    Err(EncodeError::Refused(refusals))
}

/// A rule as iptables-restore will read it.
#[derive(Debug, Clone)]
struct Line {
    /// Index among the rules to encode.
    index: usize,
    family: Family,
    table: Table,
    chain: String,
    /// The chain that it jumps or goes to.
    jump: Option<String>,
    /// All after `-A CHAIN`.
    text: String,
    compat: (u32, u32),
}

/// What cannot be said in a line of iptables-restore.
fn check_line(line: &Line) -> Result<(), String> {
    if line.text.contains(['\n', '\0']) {
        return Err("a value with a line break or NUL cannot be given to iptables".into());
    }
    let length = "-A  ".len() + line.chain.len() + line.text.len();
    if length > LINE_MAX {
        return Err(format!("the rule has {length} bytes, and iptables reads lines of {LINE_MAX}"));
    }
    Ok(())
}

/// How one run over all lines ended.
#[derive(Debug)]
enum Attempt {
    /// Parallel to the lines.
    Encoded(Vec<EncodedRule>),
    /// Rules by index, each with what iptables says; at least one.
    Refused(BTreeMap<usize, String>),
}

/// Runs `work` on a thread with a network namespace of its own, which is gone afterwards.
fn in_scratch<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, EncodeError> {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(EncodeError::Scratch)?;
        Ok(work())
    };
    std::thread::scope(|scope| {
        match std::thread::Builder::new().spawn_scoped(scope, inside).map_err(EncodeError::Thread)?.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Loads the lines into the calling thread's namespace and reads them back.
fn attempt(lines: &[Line], prepare: Prepare<'_>) -> Result<Attempt, EncodeError> {
    prepare().map_err(EncodeError::Prepare)?;
    let mut refused = BTreeMap::new();
    for family in Family::ALL {
        let feed = Feed::new(lines, family);
        if !feed.is_empty() {
            let finished = run_restore(family, &feed.text)?;
            refused.extend(feed.refusals(family, &finished)?);
        }
    }
    if refused.is_empty() { read_back(lines).map(Attempt::Encoded) } else { Ok(Attempt::Refused(refused)) }
}

/// The text for one family's program.
#[derive(Debug, Default)]
struct Feed {
    text: String,
    /// The rule on each line of the text.
    rules: Vec<Option<usize>>,
}

impl Feed {
    fn new(lines: &[Line], family: Family) -> Self {
        let mut feed = Self::default();
        for table in Table::ALL {
            let of_table = || lines.iter().filter(|line| (line.family, line.table) == (family, table));
            if of_table().next().is_none() {
                continue;
            }
            feed.line(None, format_args!("*{table}"));
            let named = of_table().flat_map(|line| [Some(&line.chain), line.jump.as_ref()]).flatten();
            for chain in named.filter(|chain| table.builtin(chain).is_none()).collect::<BTreeSet<_>>() {
                feed.line(None, format_args!(":{chain} - [0:0]"));
            }
            for line in of_table() {
                feed.line(Some(line.index), format_args!("-A {} {}", line.chain, line.text));
            }
            feed.line(None, format_args!("COMMIT"));
        }
        feed
    }

    fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    fn line(&mut self, rule: Option<usize>, text: std::fmt::Arguments<'_>) {
        // writing to a string does not fail
        let _ = writeln!(self.text, "{text}");
        self.rules.push(rule);
    }

    /// The rules that a run refused, none if it succeeded.
    fn refusals(&self, family: Family, finished: &Finished) -> Result<BTreeMap<usize, String>, EncodeError> {
        if finished.status.success() {
            return Ok(BTreeMap::new());
        }
        let complaints = parse_complaints(&finished.complaints);
        let of_line = |line: usize| line.checked_sub(1).and_then(|at| self.rules.get(at).copied().flatten());
        let refused: BTreeMap<_, _> =
            complaints.into_iter().filter_map(|(line, message)| Some((of_line(line)?, message))).collect();
        if refused.is_empty() {
            let message = match finished.complaints.trim() {
                "" => finished.status.to_string(),
                words => words.replace('\n', "; "),
            };
            return Err(EncodeError::Failed { program: restore_program(family), message });
        }
        Ok(refused)
    }
}

fn jump(rule: &Rule) -> Option<&str> {
    match &rule.target {
        Some(Target::Jump(chain) | Target::Goto(chain)) => Some(&chain.text),
        _ => None,
    }
}

/// Takes what iptables-restore wrote to stderr apart into line numbers, from 1, and messages. It has three ways to
/// name a line:
/// ```text
/// iptables-nft-restore v1.8.9 (nf_tables): unknown option "--x"
/// Error occurred at line: 4
/// Try `iptables-nft-restore -h' or 'iptables-nft-restore --help' for more information.
///
/// iptables-nft-restore v1.8.9 (nf_tables):
/// line 4: RULE_APPEND failed (Invalid argument): rule in chain INPUT
///
/// iptables-nft-restore: line 4 failed: Invalid argument.
/// ```
fn parse_complaints(stderr: &str) -> Vec<(usize, String)> {
    let mut complaints = Vec::new();
    let mut before = Vec::new();
    for line in stderr.lines() {
        if let Some(number) = line.strip_prefix("Error occurred at line: ").and_then(parse_number) {
            complaints.push((number, before.join(" ")));
            before.clear();
        } else if let Some((number, message)) =
            line.strip_prefix("line ").and_then(|rest| rest.split_once(": ")).and_then(numbered)
        {
            complaints.push((number, message.to_owned()));
        } else if let Some((number, message)) =
            line.split_once("restore: line ").and_then(|(_, rest)| rest.split_once(' ')).and_then(numbered)
        {
            complaints.push((number, message.to_owned()));
        } else {
            let words = line.split_once(" (nf_tables): ").map_or(line, |(_, words)| words).trim();
            if !words.is_empty() && !words.starts_with("Try `") {
                before.push(words);
            }
        }
    }
    complaints
}

fn numbered<'a>((number, rest): (&str, &'a str)) -> Option<(usize, &'a str)> {
    Some((parse_number(number)?, rest))
}

fn parse_number(digits: &str) -> Option<usize> {
    digits.trim().parse().ok()
}

/// The rules of the calling thread's namespace, parallel to the lines that were loaded into it. No packet ever went
/// through them, so all counters are zero.
fn read_back(lines: &[Line]) -> Result<Vec<EncodedRule>, EncodeError> {
    let mut socket =
        NetlinkSocket::open(Protocol::Netfilter).map_err(|error| EncodeError::ReadBack(error.into()))?;
    let ruleset = observe(&mut socket)?;
    let mut left: BTreeMap<_, VecDeque<_>> = BTreeMap::new();
    for table in ruleset.tables {
        for chain in table.chains {
            left.insert((table.family, table.name.clone(), chain.name), chain.rules.into());
        }
    }
    let key = |line: &Line| (line.family, line.table.name().to_owned(), line.chain.clone());
    let mut encoded = Vec::with_capacity(lines.len());
    for line in lines {
        let rule = left.get_mut(&key(line)).and_then(VecDeque::pop_front).ok_or_else(|| wrong_count(line))?;
        encoded.push(EncodedRule { compat: Some(line.compat), expressions: rule.expressions });
    }
    match lines.iter().find(|line| left.get(&key(line)).is_some_and(|rest| !rest.is_empty())) {
        Some(line) => Err(wrong_count(line)),
        None => Ok(encoded),
    }
}

fn wrong_count(line: &Line) -> EncodeError {
    EncodeError::Count { program: restore_program(line.family), table: line.table, chain: line.chain.clone() }
}

/// `NFTA_RULE_COMPAT` as iptables-nft sends it with every rule: protocol, and `NFT_RULE_COMPAT_F_INV`
/// (`linux/netfilter/nf_tables.h`) where it is negated. The kernel does not give it back.
pub(super) fn compat(rule: &Rule) -> (u32, u32) {
    const NFT_RULE_COMPAT_F_INV: u32 = 1 << 1;
    match &rule.protocol {
        Some(protocol) if protocol.negated => (protocol.value.into(), NFT_RULE_COMPAT_F_INV),
        Some(protocol) => (protocol.value.into(), 0),
        None => (0, 0),
    }
}

#[cfg(test)]
mod tests;
