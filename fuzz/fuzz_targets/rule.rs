//! The text of a rule, to its words and on to a parsed rule. No text may panic, and every complaint must point into
//! the text.

#![no_main]

use fwn_plan::expand::Variables;
use fwn_plan::rule::RuleProblem;
use fwn_plan::rule::databases::NoDatabases;
use fwn_plan::rule::lex::parse_words;
use fwn_plan::rule::parse::parse_rule;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut variables = Variables::new();
    variables.layer([("CNI_IFNAME".to_owned(), "eth0".to_owned()), ("EMPTY".to_owned(), String::new())]);
    let inside = |problems: Vec<RuleProblem>| {
        for problem in problems {
            assert!(text.get(problem.span.clone()).is_some(), "{problem:?} is not in {text:?}");
        }
    };
    match parse_words(text, &variables) {
        Err(problems) => inside(problems),
        Ok(words) => {
            for word in &words {
                assert!(text.get(word.span.clone()).is_some(), "{word:?} is not in {text:?}");
            }
            if let Err(problems) = parse_rule(&words, &NoDatabases) {
                inside(problems);
            }
        }
    }
});
