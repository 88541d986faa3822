//! `docs/native-engine.md` lists what is encoded natively: it must be what the encoder says.

use fwn_kernel::encode::native::{NativeContext, NativeError, encode_native};
use fwn_plan::rule::databases::NoDatabases;
use fwn_plan::rule::extensions::{Extension, Kind, MATCHES, TARGETS};
use fwn_plan::rule::{Module, Rule, Target};

const PAGE: &str = include_str!("../../../docs/native-engine.md");

/// Whether there is a native form for some use of it, in a family that has it.
fn is_native(extension: &Extension) -> bool {
    // without options hardly any is right; what counts is whether it is known
    let module = Module { name: extension.name, options: Vec::new(), span: 0..0 };
    let (rule, unknown) = match extension.kind {
        Kind::Match => {
            (Rule { matches: [module].into(), ..Rule::default() }, format!("match `{}`", extension.name))
        }
        Kind::Target => (
            Rule { target: Some(Target::Extension(module)), ..Rule::default() },
            format!("target `{}`", extension.name),
        ),
    };
    let context = NativeContext { databases: &NoDatabases, set_index: &|_| None };
    extension.families.iter().any(|family| match encode_native(&rule, family, &context) {
        Err(NativeError::NotEncoded { what, .. }) => what != unknown,
        _ => true,
    })
}

fn check(heading: &str, extensions: &[Extension], native: bool) {
    let names: Vec<_> = extensions
        .iter()
        .filter(|extension| is_native(extension) == native)
        .map(|extension| format!("`{}`", extension.name))
        .collect();
    let list = format!("{heading}: {}.", names.join(", "));
    // line ends fall anywhere
    let page = PAGE.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(page.contains(&list), "docs/native-engine.md lacks\n{list}");
}

#[test]
fn the_page_lists_what_is_native() {
    check("Matches", MATCHES, true);
    check("Targets", TARGETS, true);
}

#[test]
fn the_page_lists_what_is_left_to_iptables() {
    check("Matches left to iptables", MATCHES, false);
    check("Targets left to iptables", TARGETS, false);
}
