//! The nearest known word to a misspelt one, for hints. Strings in, one of them out; says nothing rather than
//! something far-fetched.

/// The word of `known` that `word` most likely meant: fewest typing slips, at most about one for every three
/// letters, where another case alone hardly counts. `None` if none is near. Of equally near ones the first.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written: Vec<char> = word.chars().collect();
    known
        .into_iter()
        .filter_map(|candidate| {
            let letters: Vec<char> = candidate.chars().collect();
            let longest = written.len().max(letters.len());
            // one slip in a word of two letters would make anything near
            let bound = if longest < 3 { 0 } else { (longest / 3).clamp(1, 3) };
            let folded = distance(&fold(&written), &fold(&letters));
            // halves, so that the exact case wins over the other one
            (folded <= bound)
                .then(|| (2 * folded + usize::from(distance(&written, &letters) > folded), candidate))
        })
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

fn fold(letters: &[char]) -> Vec<char> {
    letters.iter().map(char::to_ascii_lowercase).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut two_back: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (above[j] + usize::from(x != y)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *y && *x == b[j - 1] {
                least = least.min(two_back[j - 1] + 1);
            }
            row.push(least);
        }
        two_back = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: [&str; 6] = ["ACCEPT", "DROP", "REJECT", "LOG", "MARK", "MASQUERADE"];

    #[test]
    fn one_slip_of_every_kind_is_near() {
        for slip in ["REJCT", "REJECCT", "REJEKT", "RJEECT", "reject"] {
            assert_eq!(nearest(slip, TARGETS), Some("REJECT"), "{slip}");
        }
    }

    #[test]
    fn the_fewest_slips_win_and_then_the_exact_case() {
        assert_eq!(nearest("dport", ["sport", "dports", "dprt"]), Some("sport"));
        assert_eq!(nearest("mark", ["MARK", "mark"]), Some("mark"));
        assert_eq!(nearest("MARKK", ["mark", "MARK"]), Some("MARK"));
    }

    #[test]
    fn far_and_tiny_words_have_no_neighbour() {
        assert_eq!(nearest("webserver", TARGETS), None);
        assert_eq!(nearest("x", ["y", "z"]), None);
        assert_eq!(nearest("", TARGETS), None);
        assert_eq!(nearest("LOL", TARGETS), Some("LOG"));
    }

    #[test]
    fn swapped_neighbours_are_one_slip() {
        let letters = |word: &str| word.chars().collect::<Vec<_>>();
        assert_eq!(distance(&letters("rulse"), &letters("rules")), 1);
        assert_eq!(distance(&letters(""), &letters("abc")), 3);
        assert_eq!(distance(&letters("kitten"), &letters("sitting")), 3);
    }
}
