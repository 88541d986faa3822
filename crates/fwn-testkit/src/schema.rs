//! A JSON Schema validator that is not ours: Debian's `python3-jsonschema`.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Checks the schema itself, then each document of the list; prints for each what is wrong with it, or null.
const SCRIPT: &str = "
import json, sys
import jsonschema
schema, documents = json.load(sys.stdin)
validator = jsonschema.validators.validator_for(schema)
validator.check_schema(schema)
validator = validator(schema)
def wrong(document):
    error = next(validator.iter_errors(document), None)
    return error and error.message
json.dump([wrong(document) for document in documents], sys.stdout)
";

/// What is wrong with each document, by the schema.
///
/// # Panics
/// The schema is none, or the validator is not there.
pub fn validate(schema: &Value, documents: &[Value]) -> Vec<Option<String>> {
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let input = serde_json::to_vec(&(schema, documents)).expect("JSON");
    // it reads all before it prints anything
    child.stdin.take().expect("piped").write_all(&input).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "the schema is valid, and package python3-jsonschema installed");
    serde_json::from_slice(&output.stdout).expect("a list")
}
