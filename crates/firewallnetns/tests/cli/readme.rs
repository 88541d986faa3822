//! README.md promises two commands, and files behind its links.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[test]
fn it_has_two_commands_that_are_there() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    // what is between the fences
    let commands: Vec<&str> = readme.split("```").skip(1).step_by(2).map(str::trim).collect();
    assert_eq!(commands, ["cargo build --release && sudo target/release/firewallnetns demo", "./run-tests"]);
    let mode = fs::metadata(root().join("run-tests")).expect("run-tests").permissions().mode();
    assert_eq!(mode & 0o111, 0o111, "run-tests can be run");
}

#[test]
fn its_links_lead_somewhere() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let links: Vec<&str> = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 3, "{links:?}");
    for link in links {
        assert!(root().join(link).exists(), "{link}");
    }
}
