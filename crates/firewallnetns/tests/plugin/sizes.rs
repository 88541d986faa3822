//! Rules that are too much: refused with a message that a log can bear, and the container is left as it was.

use serde_json::{Value, json};

use crate::kit::{World, rule};

/// Most bytes of message and details together.
const BEARABLE: usize = 64 * 1024;

fn refused(rules: &[Value]) -> String {
    let world = World::with_foreign();
    let (message, details) = world.refused(7, &world.call("ADD", &world.conf(&json!({ "rules": rules }))));
    let length = message.len() + details.len();
    assert!(length < BEARABLE, "{length} bytes");
    message
}

#[test]
fn a_thousand_words_that_mean_nothing() {
    let message = refused(&[rule("INPUT", &"nonsense ".repeat(1000))]);
    assert!(
        message.starts_with("network configuration:") && message.contains("unexpected word `nonsense`"),
        "{message}"
    );
    assert!(message.ends_with("... and 980 more"), "{message}");
}

/// Each of them is right; the kernel takes 64 KiB of one attribute.
#[test]
fn a_thousand_words_that_are_right_one_by_one() {
    let message = refused(&[rule("INPUT", &"-m comment --comment x ".repeat(334))]);
    assert!(message.contains("too long") && message.lines().count() == 1, "{message}");
}

#[test]
fn a_comment_of_64_kib() {
    let comment = "x".repeat(64 * 1024);
    let message = refused(&[rule("INPUT", &format!("-m comment --comment {comment} -j DROP"))]);
    assert!(message.contains("rules[0].rule: "), "{}", &message[..200]);
    assert!(message.lines().count() == 1 && message.contains("255"), "{}", &message[..200]);
}

#[test]
fn ten_thousand_bad_rules() {
    let rules: Vec<_> = (0..10_000)
        .map(|number| rule("INPUT", &format!("-p tcp --dport {} -j DROP", 70_000 + number)))
        .collect();
    let message = refused(&rules);
    assert!(message.contains("rules[0].rule: `70000` is not a port from 0 to 65535"), "{message}");
    assert!(message.ends_with("... and 9980 more"), "{message}");
}
