//! Results of packet tests as text, TAP or JUnit. Pure.

use std::fmt::Write;

use super::super::output::{Paint, Style};

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tried {
    /// The packet as written.
    pub(super) packet: String,
    /// Where: `web.fw:7:20`.
    pub(super) place: String,
    /// What was expected.
    pub(super) expected: &'static str,
    /// What became of it.
    pub(super) got: &'static str,
    /// What decided.
    pub(super) by: String,
}

/// The packets of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suite {
    /// The file.
    pub(super) name: String,
    /// Its packets, in order.
    pub(super) tried: Vec<Tried>,
}

impl Tried {
    pub(super) fn is_as_expected(&self) -> bool {
        self.expected == self.got
    }
}

fn count(suites: &[Suite]) -> (usize, usize) {
    let all = suites.iter().flat_map(|suite| &suite.tried);
    (all.clone().count(), all.filter(|tried| !tried.is_as_expected()).count())
}

/// For people.
pub(super) fn text(suites: &[Suite], style: Style) -> String {
    let mut text = String::new();
    for suite in suites {
        // a String takes everything
        let _ = writeln!(text, "{}", style.paint(Paint::Bold, &suite.name));
        for Tried { packet, place, expected, got, by } in &suite.tried {
            if expected == got {
                let _ = writeln!(text, "  {}      {packet}: {got}", style.paint(Paint::Green, "ok"));
            } else {
                let failed = style.paint(Paint::Red, "FAILED");
                let _ = writeln!(text, "  {failed}  {packet}: expected {expected}, got {got}");
                let _ = writeln!(text, "          by {by}\n          at {place}");
            }
        }
    }
    let (all, failed) = count(suites);
    let packets = if all == 1 { "packet" } else { "packets" };
    let _ = match failed {
        0 => writeln!(text, "{all} {packets}, all as expected"),
        _ => writeln!(text, "{all} {packets}, {failed} not as expected"),
    };
    text
}

/// The Test Anything Protocol, version 13.
pub(super) fn tap(suites: &[Suite]) -> String {
    let mut text = format!("TAP version 13\n1..{}\n", count(suites).0);
    let mut number = 0;
    for suite in suites {
        for tried in &suite.tried {
            number += 1;
            let word = if tried.is_as_expected() { "ok" } else { "not ok" };
            // `#` would begin a directive
            let description =
                format!("{}: {}", suite.name, tried.packet).replace('\\', "\\\\").replace('#', "\\#");
            let _ = writeln!(text, "{word} {number} - {description}");
            if !tried.is_as_expected() {
                let _ = write!(
                    text,
                    "  ---\n  expected: {}\n  got: {}\n  by: {}\n  at: {}\n  ...\n",
                    tried.expected,
                    tried.got,
                    quoted(&tried.by),
                    quoted(&tried.place)
                );
            }
        }
    }
    text
}

/// A string of YAML: what JSON takes, it takes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// JUnit's XML, as CI systems read it.
pub(super) fn junit(suites: &[Suite]) -> String {
    let (all, failed) = count(suites);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(text, "<testsuites tests=\"{all}\" failures=\"{failed}\">");
    for suite in suites {
        let (all, failed) = count(std::slice::from_ref(suite));
        let name = escaped(&suite.name);
        let _ = writeln!(text, "  <testsuite name=\"{name}\" tests=\"{all}\" failures=\"{failed}\">");
        for tried in &suite.tried {
            let packet = escaped(&tried.packet);
            if tried.is_as_expected() {
                let _ = writeln!(text, "    <testcase classname=\"{name}\" name=\"{packet}\"/>");
                continue;
            }
            let Tried { expected, got, .. } = tried;
            let _ = write!(
                text,
                "    <testcase classname=\"{name}\" name=\"{packet}\">\n      <failure message=\"expected {expected}, got {got}\">by {}\nat {}</failure>\n    </testcase>\n",
                escaped(&tried.by),
                escaped(&tried.place)
            );
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // not allowed in XML 1.0, not even escaped
            c if c.is_control() && !matches!(c, '\n' | '\t') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suites() -> Vec<Suite> {
        let tried = |packet: &str, got| Tried {
            packet: packet.to_owned(),
            place: "web.fw:3:16".to_owned(),
            expected: "DROP",
            got,
            by: "rule 1 of ipv4 filter INPUT: -j ACCEPT  # \"a\" <b> & web.fw: rules[0].rule".to_owned(),
        };
        vec![Suite {
            name: "web.fw".to_owned(),
            tried: vec![
                tried("in tcp 1.1.1.1 -> 2.2.2.2:1", "DROP"),
                tried("in tcp 1.1.1.1 -> 2.2.2.2:2", "ACCEPT"),
            ],
        }]
    }

    #[test]
    fn people_see_what_failed_and_why() {
        assert_eq!(
            text(&suites(), Style { colour: false }),
            "web.fw
  ok      in tcp 1.1.1.1 -> 2.2.2.2:1: DROP
  FAILED  in tcp 1.1.1.1 -> 2.2.2.2:2: expected DROP, got ACCEPT
          by rule 1 of ipv4 filter INPUT: -j ACCEPT  # \"a\" <b> & web.fw: rules[0].rule
          at web.fw:3:16
2 packets, 1 not as expected
"
        );
    }

    #[test]
    fn tap_has_a_plan_and_a_block_for_each_failure() {
        assert_eq!(
            tap(&suites()),
            "TAP version 13
1..2
ok 1 - web.fw: in tcp 1.1.1.1 -> 2.2.2.2:1
not ok 2 - web.fw: in tcp 1.1.1.1 -> 2.2.2.2:2
  ---
  expected: DROP
  got: ACCEPT
  by: \"rule 1 of ipv4 filter INPUT: -j ACCEPT  # \\\"a\\\" <b> & web.fw: rules[0].rule\"
  at: \"web.fw:3:16\"
  ...
"
        );
    }

    #[test]
    fn junit_is_well_formed() {
        let xml = junit(&suites());
        assert!(xml.contains("<testsuites tests=\"2\" failures=\"1\">\n  <testsuite name=\"web.fw\" tests=\"2\" failures=\"1\">"), "{xml}");
        assert!(xml.contains("name=\"in tcp 1.1.1.1 -&gt; 2.2.2.2:1\"/>"), "{xml}");
        assert!(xml.contains("<failure message=\"expected DROP, got ACCEPT\">by rule 1 of ipv4 filter INPUT: -j ACCEPT  # &quot;a&quot; &lt;b&gt; &amp; web.fw: rules[0].rule\nat web.fw:3:16</failure>"), "{xml}");
        assert_eq!(xml.matches('<').count(), xml.matches('>').count());
    }
}
