//! A view of a namespace as text: one line a rule where there is room, wrapped between words where not. What moved since
//! an earlier view is marked. Pure.

use std::collections::HashMap;
use std::fmt::Write;

use fwn_kernel::firewall::view::{ChainView, Owner, RuleView, SetView, View};
use fwn_kernel::nft::counters::Counters;
use fwn_plan::netfilter::Family;

use super::super::output::{Paint, Style};

/// Below this width counters stand on a line of their own.
const NARROW: usize = 72;
/// Width of the counters before a rule.
const COUNTERS: usize = 13;

/// How to print.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Layout {
    /// Colours.
    pub(in crate::cli) style: Style,
    /// Columns; `None`: as many as it takes.
    pub(in crate::cli) width: Option<usize>,
}

/// The counters of an earlier view, to compare with.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    rules: HashMap<(Family, String, u64), Counters>,
    policies: HashMap<(Family, String, String), Counters>,
}

impl Earlier {
    pub(super) fn of(view: &View) -> Self {
        let mut earlier = Self::default();
        for chain in &view.chains {
            let key = (chain.family, chain.table.clone(), chain.name.clone());
            earlier.policies.extend(chain.counters.map(|counters| (key, counters)));
            for rule in &chain.rules {
                let key = (chain.family, chain.table.clone(), rule.handle);
                earlier.rules.extend(rule.counters.map(|counters| (key, counters)));
            }
        }
        earlier
    }

    /// What came to a rule since; `None` where that is nothing.
    pub(super) fn of_rule(&self, chain: &ChainView, rule: &RuleView) -> Option<Counters> {
        let key = (chain.family, chain.table.clone(), rule.handle);
        moved(rule.counters?, self.rules.get(&key).copied())
    }

    /// What came to a policy since.
    pub(super) fn of_policy(&self, chain: &ChainView) -> Option<Counters> {
        let key = (chain.family, chain.table.clone(), chain.name.clone());
        moved(chain.counters?, self.policies.get(&key).copied())
    }
}

fn moved(now: Counters, earlier: Option<Counters>) -> Option<Counters> {
    Some(now.since(earlier.unwrap_or_default())).filter(|since| *since != Counters::default())
}

/// The whole view. With `earlier`, what moved is marked by `*`.
pub(super) fn render(view: &View, layout: Layout, earlier: Option<&Earlier>) -> String {
    let mut text = String::new();
    for (number, attachment) in (1..).zip(&view.attachments) {
        text += &wrapped(layout, &format!("[{number}] "), 4, &attachment.to_string(), None);
    }
    if view.attachments.is_empty() {
        text += "no attachment is on record here\n";
    }
    for chain in &view.chains {
        text.push('\n');
        text += &title(view, chain, layout, earlier);
        for rule in &chain.rules {
            let since = earlier.and_then(|earlier| earlier.of_rule(chain, rule));
            text += &rule_lines(view, rule, layout, since);
        }
    }
    if !view.sets.is_empty() {
        text.push('\n');
        text += &layout.style.paint(Paint::Bold, "sets");
        text.push('\n');
        for set in &view.sets {
            text += &wrapped(layout, "  ", 4, &set_words(set), Some(&owners(view, &set.owners)));
        }
    }
    if !view.others.is_empty() {
        let words = format!("not shown, since iptables does not know them: {}", view.others.join(", "));
        text.push('\n');
        text += &wrapped(layout, "", 2, &words, None);
    }
    text
}

/// Only what moved since `earlier`, one line each; empty where nothing did.
pub(super) fn render_moved(view: &View, layout: Layout, earlier: &Earlier) -> String {
    let mut text = String::new();
    for chain in &view.chains {
        let place = format!("{} {} {}", chain.family, chain.table, chain.name);
        let mut line = |since: Counters, what: &str, comment: Option<&str>| {
            let lead = format!("+{} +{} ", number(since.packets), number(since.bytes));
            text += &wrapped(layout, &lead, 4, &format!("{place}: {what}"), comment);
        };
        for rule in &chain.rules {
            if let Some(since) = earlier.of_rule(chain, rule) {
                line(since, &rule.text, Some(&comment(view, rule)));
            }
        }
        if let (Some(since), Some(policy)) = (earlier.of_policy(chain), chain.policy) {
            line(since, &format!("policy {}", policy.name()), None);
        }
    }
    text
}

fn title(view: &View, chain: &ChainView, layout: Layout, earlier: Option<&Earlier>) -> String {
    // a String takes everything
    let mut words = format!("{} {} {}", chain.family, chain.table, chain.name);
    if let Some(policy) = chain.policy {
        let _ = write!(words, ", policy {}", policy.name());
        if let Some(holder) = chain.holder.filter(|_| view.attachments.len() > 1) {
            let _ = write!(words, " of [{}]", holder + 1);
        }
    }
    if let Some(Counters { packets, bytes }) = chain.counters {
        let _ = write!(words, ", {} packets, {} bytes", number(packets), number(bytes));
    }
    if let Some(since) = earlier.and_then(|earlier| earlier.of_policy(chain)) {
        let _ = write!(words, " * +{} +{}", number(since.packets), number(since.bytes));
    }
    painted(layout, Paint::Bold, &wrapped(layout, "", 2, &words, None))
}

/// Each line of a text in a colour of its own.
fn painted(layout: Layout, paint: Paint, lines: &str) -> String {
    lines.lines().map(|line| layout.style.paint(paint, line) + "\n").collect()
}

fn rule_lines(view: &View, rule: &RuleView, layout: Layout, since: Option<Counters>) -> String {
    let mut text = rule.text.clone();
    if text.is_empty() {
        text.push_str("(every packet)");
    }
    let counted = match rule.counters {
        Some(Counters { packets, bytes }) => format!("{:>6} {:>6}", number(packets), number(bytes)),
        None => format!("{:>6} {:>6}", "-", "-"),
    };
    let moved = since.map(|since| format!("* +{} +{} ", number(since.packets), number(since.bytes)));
    let comment = comment(view, rule);
    if layout.width.is_some_and(|width| width < NARROW) {
        let mut counted = match rule.counters {
            Some(Counters { packets, bytes }) => {
                format!("{} packets, {} bytes", number(packets), number(bytes))
            }
            None => "not counted".to_owned(),
        };
        if let Some(moved) = &moved {
            counted = format!("{moved}{counted}");
        }
        let paint = if moved.is_some() { Paint::Yellow } else { Paint::Dim };
        return wrapped(layout, "- ", 2, &text, None)
            + &painted(layout, paint, &wrapped(layout, "  ", 4, &counted, None))
            + &wrapped(layout, "  ", 4, &format!("# {comment}"), None);
    }
    let lead = match &moved {
        Some(moved) => layout.style.paint(Paint::Yellow, &format!("{counted}  {moved}")),
        None => format!("{counted}  "),
    };
    wrapped(layout, &lead, COUNTERS + 2, &text, Some(&comment))
}

/// Where a rule comes from, and whose it is where that is not plain.
fn comment(view: &View, rule: &RuleView) -> String {
    let mut words = match (&rule.origin, rule.owner) {
        (Some(origin), _) => origin.clone(),
        (None, Owner::Foreign) => "foreign: not of firewallnetns".to_owned(),
        (None, _) => "of firewallnetns, but no state file tells whose".to_owned(),
    };
    if let Owner::Attachment(at) = rule.owner
        && view.attachments.len() > 1
    {
        let _ = write!(words, " [{}]", at + 1);
    }
    if rule.changed {
        words += ", CHANGED by somebody since";
    }
    words
}

fn set_words(set: &SetView) -> String {
    let family = set.family.map(|family| format!(" {family}")).unwrap_or_default();
    let entries = match set.elements {
        Some(1) => "1 entry".to_owned(),
        Some(count) => format!("{count} entries"),
        None => "entries not counted".to_owned(),
    };
    let references = if set.references == 1 { "reference" } else { "references" };
    format!(
        "{}: {}{family}, {entries}, {} bytes, {} {references}",
        set.name,
        set.kind,
        number(set.memory.into()),
        set.references
    )
}

fn owners(view: &View, owners: &[usize]) -> String {
    match owners {
        [] => "foreign: not of firewallnetns".to_owned(),
        _ if view.attachments.len() == 1 => "of the attachment".to_owned(),
        _ => owners.iter().map(|at| format!("[{}]", at + 1)).collect::<Vec<_>>().join(" "),
    }
}

/// As iptables abbreviates: five digits, then thousands, millions and so on of 1000.
fn number(n: u64) -> String {
    let mut rest = n;
    for unit in ["", "K", "M", "G", "T"] {
        if rest < 100_000 {
            return format!("{rest}{unit}");
        }
        rest = (rest + 500) / 1000;
    }
    format!("{rest}P")
}

/// `lead`, the words, and a comment behind ` # `, on one line if they fit; else wrapped between words, the lines after the
/// first indented, the comment on lines of its own. A word that is longer than a line stands on one of its own.
pub(in crate::cli) fn wrapped(
    layout: Layout,
    lead: &str,
    indent: usize,
    words: &str,
    comment: Option<&str>,
) -> String {
    let style = layout.style;
    let words = &printable(words);
    let comment = comment.map(|comment| printable(&format!("# {comment}")));
    let length = |text: &str| text.chars().count();
    let lead_length = visible(lead);
    let whole = lead_length + length(words) + comment.as_ref().map_or(0, |comment| length(comment) + 2);
    let Some(width) = layout.width.filter(|width| whole > *width) else {
        let comment = comment.map(|comment| format!("  {}", style.paint(Paint::Dim, &comment)));
        return format!("{lead}{words}{}\n", comment.unwrap_or_default());
    };
    let mut lines = String::from(lead);
    lines += &wrap_words(words, lead_length, indent, width).join("\n");
    if let Some(comment) = comment {
        lines.push('\n');
        lines += &" ".repeat(indent);
        let wrapped = wrap_words(&comment, indent, indent + 2, width);
        lines += &wrapped.iter().map(|line| style.paint(Paint::Dim, line)).collect::<Vec<_>>().join("\n");
    }
    lines.push('\n');
    lines
}

/// Names can be those that a workload gave: none of them talks to the terminal.
fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { clean.extend(c.escape_default()) } else { clean.push(c) }
    }
    clean
}

/// Lines of words: the first begins at column `start`, the others after `indent` blanks.
fn wrap_words(words: &str, start: usize, indent: usize, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut column = start;
    for word in words.split(' ') {
        let length = word.chars().count();
        let at_start = lines.last().is_none_or(|line| line.trim().is_empty());
        if !at_start && column + 1 + length > width {
            lines.push(" ".repeat(indent));
            column = indent;
        } else if !at_start {
            if let Some(line) = lines.last_mut() {
                line.push(' ');
            }
            column += 1;
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(word);
        }
        column += length;
    }
    lines
}

/// Characters of a text that are seen: those of colours are not.
fn visible(text: &str) -> usize {
    let mut count = 0;
    let mut hidden = false;
    for c in text.chars() {
        match c {
            '\u{1b}' => hidden = true,
            'm' if hidden => hidden = false,
            _ if !hidden => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use fwn_plan::netfilter::Policy;
    use fwn_plan::plan::Attachment;

    use super::*;

    const PLAIN: Style = Style { colour: false };

    fn view(packets: u64) -> View {
        let rule = |handle, text: &str, origin: Option<&str>, owner| RuleView {
            handle,
            text: text.to_owned(),
            origin: origin.map(str::to_owned),
            owner,
            changed: false,
            counters: Some(Counters { packets, bytes: packets * 60 }),
        };
        let attachment =
            Attachment { network: "net".into(), container: "c1".into(), interface: "eth0".into() };
        View {
            attachments: vec![attachment],
            chains: vec![ChainView {
                family: Family::Ipv4,
                table: "filter".to_owned(),
                name: "INPUT".to_owned(),
                policy: Some(Policy::Drop),
                holder: Some(0),
                counters: Some(Counters { packets: 1_234_567, bytes: 99_999 }),
                rules: vec![
                    rule(
                        7,
                        "-p tcp -m multiport --dports 80,443 -j ACCEPT",
                        Some("web.fw: rules[0].rule"),
                        Owner::Attachment(0),
                    ),
                    RuleView { counters: None, ..rule(8, "", None, Owner::Foreign) },
                    RuleView {
                        changed: true,
                        ..rule(9, "-j DROP", Some("a.fw: rules[1].rule"), Owner::Unrecorded)
                    },
                ],
            }],
            sets: vec![SetView {
                name: "black".to_owned(),
                kind: "hash:ip",
                family: Some(Family::Ipv4),
                elements: Some(1),
                memory: 456,
                references: 1,
                owners: vec![0],
            }],
            others: vec!["inet fw4".to_owned()],
        }
    }

    #[test]
    fn with_room_a_rule_is_a_line() {
        let text = render(&view(3), Layout { style: PLAIN, width: None }, None);
        assert_eq!(
            text,
            "[1] net/c1/eth0

ipv4 filter INPUT, policy DROP, 1235K packets, 99999 bytes
     3    180  -p tcp -m multiport --dports 80,443 -j ACCEPT  # web.fw: rules[0].rule
     -      -  (every packet)  # foreign: not of firewallnetns
     3    180  -j DROP  # a.fw: rules[1].rule, CHANGED by somebody since

sets
  black: hash:ip ipv4, 1 entry, 456 bytes, 1 reference  # of the attachment

not shown, since iptables does not know them: inet fw4
"
        );
    }

    #[test]
    fn forty_columns_are_kept() {
        for width in [20, 40, 60, 80, 100] {
            for style in [PLAIN, Style { colour: true }] {
                let earlier = Earlier::of(&view(1));
                let text = render(&view(300_000), Layout { style, width: Some(width) }, Some(&earlier));
                for line in text.lines() {
                    let longest_word = line.split(' ').map(visible).max().unwrap_or(0);
                    assert!(visible(line) <= width || longest_word + 4 > width, "{width}: {line}");
                }
                let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
                assert!(words(&text).len() > 50, "{text}");
            }
        }
        let text = render(&view(3), Layout { style: PLAIN, width: Some(40) }, None);
        assert!(
            text.contains(
                "- -p tcp -m multiport --dports 80,443 -j\n  ACCEPT\n  3 packets, 180 bytes\n  # web.fw: rules[0].rule\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn no_name_talks_to_the_terminal() {
        let mut view = view(1);
        view.chains[0].rules[1].text = "-i \u{1b}[2J\nx".to_owned();
        let text = render(&view, Layout { style: PLAIN, width: None }, None);
        assert!(text.contains("-i \\u{1b}[2J\\nx  # foreign"), "{text}");
    }

    #[test]
    fn what_moved_is_marked() {
        let earlier = Earlier::of(&view(1));
        let layout = Layout { style: PLAIN, width: None };
        assert_eq!(render_moved(&view(1), layout, &earlier), "");
        assert_eq!(
            render_moved(&view(3), layout, &earlier),
            "+2 +120 ipv4 filter INPUT: -p tcp -m multiport --dports 80,443 -j ACCEPT  # web.fw: rules[0].rule
+2 +120 ipv4 filter INPUT: -j DROP  # a.fw: rules[1].rule, CHANGED by somebody since
"
        );
        let text = render(&view(3), layout, Some(&earlier));
        assert!(text.contains("     3    180  * +2 +120 -p tcp"), "{text}");
    }
}
