//! Expansion against its oracle: random forms with random values, each in a rule without quotes and in double
//! quotes, give what bash gives. All cases go through one bash; values travel in its environment.

use std::fmt::Write as _;
use std::process::Command;

use fwn_plan::expand::{Variables, expand};
use fwn_plan::rule::lex::parse_words;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};

const CASES: usize = 4000;

/// Small alphabets make matches likely.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[ab:/.]{0,8}",
        4 => "[aAé0🦀 *?!\\[\\]\\\\^$\"'`{}()&#%~,-]{0,8}",
        1 => "192\\.168\\.[0-9]{1,2}\\.[0-9]:[0-9]{1,5}",
    ]
}

/// A pattern as written: `@` stands where a nested form may come.
fn pattern() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => "[ab:.é]",
        4 => Just("*".to_owned()),
        3 => Just("?".to_owned()),
        2 => "\\[[!^]?[]ab:*?!é-]{1,3}\\]",
        2 => "\\[[!^]?(a-[b-z]|[0-5]-9|\\[:(alpha|digit|alnum|space|punct|upper|lower|xdigit):\\])[:a]?\\]",
        2 => "\\\\[*?\\[\\\\a$/}\"']",
        1 => Just("[".to_owned()),
        1 => Just("]".to_owned()),
        1 => "\"[a*? b}/]{0,3}\"",
        1 => "'[a*?\\\\ b}/$]{0,3}'",
        2 => Just("@".to_owned()),
        1 => Just("\"@\"".to_owned()),
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

fn word() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => "[ab:.é -]",
        2 => "\\\\[a$\"'\\\\}`*]",
        1 => "\"[a*? b}/]{0,3}\"",
        2 => Just("@".to_owned()),
        1 => Just("\"@\"".to_owned()),
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

/// One form, with another one in it. Braces round every name: from `"${E:-"$Y"b}"` bash makes `$Yb`.
/// Of names, `X`, `Y`, `E` (empty) and `U` (not set) are to be completed, behind a `\u{1}`.
fn form() -> impl Strategy<Value = String> {
    let set = || prop_oneof![6 => Just("X"), 2 => Just("Y"), 1 => Just("E")];
    let any = || prop_oneof![4 => Just("X"), 2 => Just("E"), 2 => Just("U")];
    let leaf = prop_oneof![
        set().prop_map(|name| format!("${{\u{1}{name}}}")),
        set().prop_map(|name| format!("${{#\u{1}{name}}}")),
        (any(), "(:-|-|:\\+|\\+)", word()).prop_map(|(name, op, w)| format!("${{\u{1}{name}{op}{w}}}")),
        (set(), "[#%]{1,2}", pattern()).prop_map(|(name, op, p)| {
            // `#` twice would be the longer operator
            format!("${{\u{1}{name}{op}{}}}", p.trim_start_matches(['#', '%']))
        }),
        (set(), "//?|/#|/%", pattern(), prop::option::of(word())).prop_map(|(name, op, p, s)| {
            // a value in front that starts with `#` or `%` would be an anchor for bash
            let p = p.trim_start_matches('@');
            // a slash would end the pattern; of `[!]x]` bash takes the wrong length here (and only here)
            let p = p.replace('/', "\\/").replace("\\\\/", "\\/").replace("[!]", "[!x").replace("[^]", "[^x");
            let s = s.map_or(String::new(), |s| format!("/{s}"));
            format!("${{\u{1}{name}{op}{p}{s}}}")
        }),
        (set(), -9_i8..10, prop::option::of(-3_i8..10)).prop_map(|(name, offset, length)| {
            let length = length.map_or(String::new(), |length| format!(":{length}"));
            format!("${{\u{1}{name}: {offset}{length}}}")
        }),
    ];
    (leaf.clone(), leaf)
        .prop_map(|(outer, inner)| outer.replacen('@', &inner.replace('@', "x"), 1).replace('@', "${\u{1}Y}"))
}

struct Case {
    form: String,
    values: Vec<(String, String)>,
    ours: String,
    double: bool,
}

#[test]
fn expands_as_bash_does() {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let mut cases = Vec::new();
    let mut refused = 0;
    for number in 0..CASES {
        let strategy = (form(), value(), value(), any::<bool>());
        let (form, x, y, double) = strategy.new_tree(&mut runner).expect("a case").current();
        let mut form = form;
        for name in ["X", "Y", "E", "U"] {
            form = form.replace(&format!("\u{1}{name}"), &format!("{name}{number}"));
        }
        let values =
            vec![(format!("X{number}"), x), (format!("Y{number}"), y), (format!("E{number}"), String::new())];
        let mut variables = Variables::new();
        variables.layer(values.clone());
        let text = if double { format!("\"{form}\"") } else { form.clone() };
        match parse_words(&text, &variables) {
            Ok(words) => {
                let [word] = words.as_slice() else { panic!("{text} became {words:?}") };
                assert!(word.is_value);
                cases.push(Case { form, values, ours: word.text.clone(), double });
            }
            Err(problems) => {
                let message = &problems[0].message;
                let known = [
                    "runs backwards",
                    "before its offset",
                    "empty pattern",
                    "is not set",
                    "character class",
                    "[.` and",
                ];
                assert!(known.iter().any(|part| message.contains(part)), "{text}: {message}");
                refused += 1;
            }
        }
    }
    assert!(refused < CASES / 5, "{refused} cases of {CASES} refused");

    let mut script = String::from("shopt -u patsub_replacement\n");
    for case in &cases {
        let quote = if case.double { "\"" } else { "" };
        writeln!(script, "r={quote}{}{quote}; printf '%s\\0' \"$r\"", case.form).expect("a string takes all");
    }
    let output = Command::new("bash")
        .env_clear()
        .env("LC_ALL", "C.UTF-8")
        .envs(cases.iter().flat_map(|case| case.values.clone()))
        .args(["--norc", "--noprofile", "/dev/stdin"])
        .stdin(script_file(&script))
        .output()
        .expect("bash runs");
    let theirs: Vec<_> = output.stdout.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let mut different = String::new();
    for (case, theirs) in cases.iter().zip(&theirs) {
        if case.ours != *theirs {
            let Case { form, values, ours, double } = case;
            writeln!(different, "{form} (quoted: {double}) with {values:?}: ours {ours:?}, bash {theirs:?}")
                .expect("a string takes all");
        }
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(different.is_empty(), "{different}\n{stderr}");
    assert_eq!(theirs.len(), cases.len() + 1, "bash stopped early: {stderr}");
}

/// The script in a pipe that is filled from a thread.
fn script_file(script: &str) -> std::process::Stdio {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let script = script.to_owned();
    std::thread::spawn(move || std::io::Write::write_all(&mut writer, script.as_bytes()));
    reader.into()
}

/// Text without quotes is the same in `expand`, in a rule and for bash, backslashes before a dollar included.
#[test]
fn text_around_forms_stays() {
    let mut variables = Variables::new();
    variables.layer([("X".to_owned(), "a b".to_owned())]);
    let expanded = expand("x-${X}-\\$X-$X\\n\"'", &variables).expect("expands");
    assert_eq!(expanded.text, "x-a b-$X-a b\\n\"'");
}
