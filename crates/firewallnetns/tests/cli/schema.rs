//! `schema`: what it prints is a schema that takes the example.

use std::process::Command;

use fwn_testkit::plugin::program;
use fwn_testkit::schema::validate;
use serde_json::Value;

use crate::world::{Run, SEED};

/// The program without an environment, and without a namespace of its own: it touches none.
fn schema(arguments: &[&str]) -> Run {
    let mut command = Command::new(program("firewallnetns"));
    Run::of(command.env_clear().arg("schema").args(arguments).output().expect("it runs"))
}

#[test]
fn the_example_is_valid_and_a_misspelt_one_is_not() {
    let seed: Value = serde_json::from_str(SEED).expect("JSON");
    let print = |document: &str| -> Value {
        serde_json::from_str(&schema(&[document]).ok()).unwrap_or_else(|error| panic!("{document}: {error}"))
    };
    assert_eq!(schema(&[]).ok(), schema(&["conflist"]).ok());
    let mut misspelt = seed.clone();
    let ours = misspelt["plugins"][1].as_object_mut().expect("an object");
    let rules = ours.remove("rules").expect("rules");
    ours.insert("rulse".to_owned(), rules);
    let said = validate(&print("conflist"), &[seed.clone(), misspelt]);
    let [None, Some(wrong)] = said.as_slice() else { panic!("one of two is valid") };
    assert!(wrong.contains("rulse"), "{wrong}");
    assert_eq!(validate(&print("netconf"), &[seed["plugins"][1].clone()]), [None]);
    let fw: Value = serde_json::json!({ "policies": seed["plugins"][1]["policies"] });
    assert_eq!(validate(&print("fw"), &[fw]), [None]);
}

#[test]
fn what_there_is_no_schema_of_is_named() {
    let run = schema(&["yaml"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    assert!(run.stderr.contains("netconf, conflist, fw"), "{}", run.stderr);
}
