//! Tables with their rules in final order, as text to compare: what a plan leads to, and what is there, come out in the
//! same form. The lines are those of [`crate::render`]; every rule stands as if it were appended.

use std::fmt::Write;

use crate::netfilter::{Family, Policy, Table};
use crate::rule::render::quote;

/// A table of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTable {
    /// The family half.
    pub family: Family,
    /// The table.
    pub table: Table,
    /// Its chains, those with a policy first.
    pub chains: Vec<ListedChain>,
    /// What is to be said of the table as a whole.
    pub remarks: Vec<String>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListedChain {
    /// Its name.
    pub name: String,
    /// Its policy, where it is one that is asked for.
    pub policy: Option<Policy>,
    /// Whether it has to be made: a user chain.
    pub made: bool,
    /// What stands in it.
    pub lines: Vec<ListedLine>,
}

/// A line of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedLine {
    /// A rule in the syntax of iptables, without its command and chain.
    Rule(String),
    /// Something that is no rule of ours, in words.
    Remark(String),
}

/// The text: tables in order of family and name, chains in order of name within policies, user chains, rules.
pub fn render_listing(tables: &[ListedTable]) -> String {
    let mut sorted: Vec<&ListedTable> = tables.iter().collect();
    sorted.sort_by_key(|table| (table.family, table.table));
    let mut text = String::new();
    for table in sorted {
        let mut chains: Vec<&ListedChain> = table.chains.iter().collect();
        chains.sort_by_key(|chain| (chain.made, chain.name.as_str()));
        let used = |chain: &&ListedChain| chain.policy.is_some() || chain.made || !chain.lines.is_empty();
        if table.remarks.is_empty() && !chains.iter().any(used) {
            continue;
        }
        line(&mut text, format_args!("*{} # {}", table.table, table.family));
        for remark in &table.remarks {
            line(&mut text, format_args!("# {remark}"));
        }
        for chain in &chains {
            if let Some(policy) = chain.policy {
                line(&mut text, format_args!(":{} {}", chain.name, policy.name()));
            } else if chain.made {
                line(&mut text, format_args!(":{} -", chain.name));
            }
        }
        for chain in &chains {
            let name = quote(&chain.name);
            for entry in &chain.lines {
                match entry {
                    ListedLine::Rule(rule) if rule.is_empty() => line(&mut text, format_args!("-A {name}")),
                    ListedLine::Rule(rule) => line(&mut text, format_args!("-A {name} {rule}")),
                    ListedLine::Remark(remark) => line(&mut text, format_args!("# {name}: {remark}")),
                }
            }
        }
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // a String takes everything
    let _ = writeln!(text, "{arguments}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_come_in_order_of_name() {
        let chain = |name: &str, policy, rule: &str| ListedChain {
            name: name.to_owned(),
            policy,
            made: policy.is_none(),
            lines: vec![ListedLine::Rule(rule.to_owned())],
        };
        let half = |family, chains| ListedTable { family, table: Table::Filter, chains, remarks: Vec::new() };
        let mut v4 = half(
            Family::Ipv4,
            vec![
                chain("web", None, ""),
                chain("OUTPUT", Some(Policy::Drop), "-j ACCEPT"),
                chain("INPUT", Some(Policy::Accept), "-j web"),
            ],
        );
        v4.chains[1].lines.push(ListedLine::Remark("rule 2 is somebody else's".to_owned()));
        v4.remarks.push("dormant".to_owned());
        let v6 = half(Family::Ipv6, vec![chain("INPUT", Some(Policy::Drop), "-p tcp")]);
        let empty =
            half(Family::Ipv6, vec![ListedChain { name: "OUTPUT".to_owned(), ..ListedChain::default() }]);
        assert_eq!(
            render_listing(&[v6, v4, empty]),
            "*filter # ipv4\n# dormant\n:INPUT ACCEPT\n:OUTPUT DROP\n:web -\n-A INPUT -j web\n-A OUTPUT -j ACCEPT\n# OUTPUT: rule 2 is somebody else's\n-A web\n*filter # ipv6\n:INPUT DROP\n-A INPUT -p tcp\n"
        );
    }
}
