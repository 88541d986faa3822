//! Two texts in, what differs between them out, line by line, as `diff -u` shows it. Knows nothing of rules.

use std::fmt::Write;
use std::ops::Range;

/// Lines around a change that are shown with it.
const CONTEXT: usize = 3;
/// Where more lines than this differ, no shortest way from one text to the other is sought: all old lines go, all new
/// ones come.
const MOST_EDITS: usize = 1000;

/// A line of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Old(&'a str),
    New(&'a str),
}

/// The difference from `old` to `new` in unified form, headed by these names; empty where there is none.
pub fn unified(old_name: &str, new_name: &str, old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let lines = compare(&old, &new);
    let mut text = String::new();
    for hunk in hunks(&lines) {
        if text.is_empty() {
            text = format!("--- {old_name}\n+++ {new_name}\n");
        }
        let before = |keep: fn(&Line<'_>) -> bool, range: Range<usize>| {
            lines.get(range).unwrap_or_default().iter().filter(|line| keep(line)).count()
        };
        let [old_start, new_start] = [in_old, in_new].map(|keep| before(keep, 0..hunk.start));
        let [old_count, new_count] = [in_old, in_new].map(|keep| before(keep, hunk.clone()));
        // a String takes everything
        let _ = writeln!(text, "@@ -{} +{} @@", place(old_start, old_count), place(new_start, new_count));
        for line in lines.get(hunk).unwrap_or_default() {
            let (mark, line) = match line {
                Line::Same(line) => (' ', line),
                Line::Old(line) => ('-', line),
                Line::New(line) => ('+', line),
            };
            let _ = writeln!(text, "{mark}{line}");
        }
    }
    text
}

fn in_old(line: &Line<'_>) -> bool {
    !matches!(line, Line::New(_))
}

fn in_new(line: &Line<'_>) -> bool {
    !matches!(line, Line::Old(_))
}

/// `START,COUNT` as diff has it: from 1; the line before where there are none; no count of one.
fn place(before: usize, count: usize) -> String {
    match count {
        0 => format!("{before},0"),
        1 => format!("{}", before + 1),
        _ => format!("{},{count}", before + 1),
    }
}

/// Ranges of lines to show: each change with its context; what touches is one.
fn hunks(lines: &[Line<'_>]) -> Vec<Range<usize>> {
    let mut hunks: Vec<Range<usize>> = Vec::new();
    let changed = lines.iter().enumerate().filter(|(_, line)| !matches!(line, Line::Same(_)));
    for (at, _) in changed {
        let range = at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(lines.len());
        match hunks.last_mut() {
            Some(last) if range.start <= last.end => last.end = range.end,
            _ => hunks.push(range),
        }
    }
    hunks
}

fn compare<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let head = old.iter().zip(new).take_while(|(one, other)| one == other).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail =
        old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(one, other)| one == other).count();
    let (old_rest, new_rest) = (&old_rest[..old_rest.len() - tail], &new_rest[..new_rest.len() - tail]);
    let mut lines: Vec<Line<'a>> = old[..head].iter().map(|line| Line::Same(line)).collect();
    if let Some(middle) = shortest(old_rest, new_rest) {
        lines.extend(middle);
    } else {
        lines.extend(old_rest.iter().map(|line| Line::Old(line)));
        lines.extend(new_rest.iter().map(|line| Line::New(line)));
    }
    lines.extend(old[old.len() - tail..].iter().map(|line| Line::Same(line)));
    lines
}

/// The shortest way from one list of lines to the other (E. Myers, "An O(ND) difference algorithm", 1986); `None`
/// where it has more than [`MOST_EDITS`] steps.
fn shortest<'a>(old: &[&'a str], new: &[&'a str]) -> Option<Vec<Line<'a>>> {
    let most = (old.len() + new.len()).min(MOST_EDITS);
    // furthest[k + most]: how far down `old` one gets on diagonal k (old - new) with so many edits
    let mut furthest = vec![0; 2 * most + 2];
    let mut trail = Vec::new();
    for edits in 0..=most {
        trail.push(furthest.clone());
        for diagonal in (0..=edits).map(|step| most + 2 * step - edits) {
            let mut x = step_from(&furthest, diagonal, most, edits).1;
            let mut y = (x + most) - diagonal;
            while x < old.len() && y < new.len() && old[x] == new[y] {
                (x, y) = (x + 1, y + 1);
            }
            furthest[diagonal] = x;
            if x >= old.len() && y >= new.len() {
                return Some(walk_back(old, new, &trail, most));
            }
        }
    }
    None
}

/// From which diagonal a path of this many edits comes to `diagonal`, and where in `old` it then is.
fn step_from(furthest: &[usize], diagonal: usize, most: usize, edits: usize) -> (usize, usize) {
    if edits == 0 {
        return (diagonal, 0);
    }
    let lowest = diagonal + edits == most;
    let highest = diagonal == most + edits;
    if lowest || (!highest && furthest[diagonal - 1] < furthest[diagonal + 1]) {
        (diagonal + 1, furthest[diagonal + 1])
    } else {
        (diagonal - 1, furthest[diagonal - 1] + 1)
    }
}

fn walk_back<'a>(old: &[&'a str], new: &[&'a str], trail: &[Vec<usize>], most: usize) -> Vec<Line<'a>> {
    let (mut x, mut y) = (old.len(), new.len());
    let mut lines = Vec::new();
    for (edits, furthest) in trail.iter().enumerate().rev() {
        let diagonal = x + most - y;
        let (from, start) = step_from(furthest, diagonal, most, edits);
        while x > start && y > 0 && x > 0 && old[x - 1] == new[y - 1] {
            (x, y) = (x - 1, y - 1);
            lines.push(Line::Same(old[x]));
        }
        if edits == 0 {
            break;
        }
        if from > diagonal {
            y -= 1;
            lines.push(Line::New(new[y]));
        } else {
            x -= 1;
            lines.push(Line::Old(old[x]));
        }
    }
    lines.reverse();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_texts_have_no_difference() {
        assert_eq!(unified("a", "b", "x\ny\n", "x\ny\n"), "");
        assert_eq!(unified("a", "b", "", ""), "");
    }

    #[test]
    fn shows_changes_with_three_lines_around() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let new = "1\n2\n3\n4\nfive\n6\n7\n8\n9\nten\n";
        let expected = "--- a\n+++ b\n@@ -2,8 +2,9 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n 9\n+ten\n";
        assert_eq!(unified("a", "b", old, new), expected);
        assert_eq!(unified("a", "b", "", "x\n"), "--- a\n+++ b\n@@ -0,0 +1 @@\n+x\n");
        assert_eq!(unified("a", "b", "x\ny\n", ""), "--- a\n+++ b\n@@ -1,2 +0,0 @@\n-x\n-y\n");
    }

    #[test]
    fn very_different_texts_are_compared_too() {
        let text = |word: &str| (0..3000).fold(String::new(), |text, n| text + word + &n.to_string() + "\n");
        let difference = unified("a", "b", &text("a"), &text("b"));
        assert_eq!(difference.lines().count(), 3 + 6000);
    }

    proptest! {
        #[test]
        fn the_difference_leads_from_one_to_the_other(
            old in prop::collection::vec("[a-c]", 0..20), new in prop::collection::vec("[a-c]", 0..20),
        ) {
            let (old, new): (Vec<&str>, Vec<&str>) =
                (old.iter().map(String::as_str).collect(), new.iter().map(String::as_str).collect());
            let lines = compare(&old, &new);
            let side = |keep: fn(&Line<'_>) -> bool| -> Vec<&str> {
                lines.iter().filter(|line| keep(line)).map(|line| match line {
                    Line::Same(text) | Line::Old(text) | Line::New(text) => *text,
                }).collect()
            };
            prop_assert_eq!(side(in_old), old);
            prop_assert_eq!(side(in_new), new);
        }
    }
}
