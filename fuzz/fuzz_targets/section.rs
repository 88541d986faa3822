//! The text of a .fw file and of a network configuration. No text may panic, and every complaint must point into the
//! text and be shown.

#![no_main]

use fwn_plan::config::{parse_fw, parse_netconf};
use fwn_plan::origin::Source;
use fwn_plan::problem::{Problems, render_problems};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let source = Source::new("fuzz.fw", text);
    let shown = |problems: Problems| {
        for problem in &problems.0 {
            assert!(text.get(problem.origin.range.clone()).is_some(), "{problem} is not in {text:?}");
        }
        assert!(!render_problems(&problems).is_empty());
    };
    parse_fw(&source).map_or_else(shown, drop);
    parse_netconf(&source).map_or_else(shown, drop);
});
