//! A plan as text: what `iptables-restore`, `ip6tables-restore` and `ipset restore` take. The form of golden tests,
//! of logs, and of what people are shown.

use std::fmt::Write;

use crate::config::Placement;
use crate::netfilter::{Family, Policy};
use crate::plan::{Plan, RuleOp, TablePlan};
use crate::rule::render::Line;
use crate::set::{render_add, render_create};

/// The rules of one family, as `iptables-restore --noflush` takes them; empty where there is nothing to do.
pub fn render_restore(plan: &Plan, family: Family) -> String {
    plan.tables.iter().filter(|half| half.family == family).map(render_table).collect()
}

/// The sets, as `ipset -exist restore` takes them: two names may have the same address.
pub fn render_sets(plan: &Plan) -> String {
    let mut text = String::new();
    for set in &plan.sets {
        text += &render_create(&set.name, set.kind, set.family, &set.options);
        text.push('\n');
        for entry in &set.entries {
            text += &render_add(&set.name, &entry.entry);
            text.push('\n');
        }
    }
    text
}

/// A rule with its command: `-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT`.
pub fn render_rule_op(op: &RuleOp) -> String {
    let mut line = Line::default();
    match op.placement {
        Placement::Append => line.command("-A", &op.chain, None, &op.rule),
        Placement::Insert(position) => line.command("-I", &op.chain, Some(position), &op.rule),
    }
    line.text
}

fn render_table(half: &TablePlan) -> String {
    let mut text = format!("*{}\n", half.table);
    for policy in &half.policies {
        line(&mut text, format_args!(":{} {} [0:0]", policy.chain, Policy::name(policy.policy)));
    }
    for chain in &half.chains {
        line(&mut text, format_args!(":{} - [0:0]", chain.name));
    }
    for op in &half.rules {
        line(&mut text, format_args!("{}", render_rule_op(op)));
    }
    text + "COMMIT\n"
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // a String takes everything
    let _ = writeln!(text, "{arguments}");
}
