//! Transcripts of the documentation: every command of a ```` ```console ```` block is run on the documented example, in
//! the order of the page, and must print what the page shows.

use crate::docs::fenced;
use crate::world::{MESOS, World};

/// Runs all commands of a page in one world. `$ COMMAND` is a command, `> ` goes on with it, all else is its output.
fn run_page(page: &str) -> usize {
    let world = World::new();
    // the namespace `testing` of the example
    world.sh(&format!(
        "mkdir -p /run/netns; touch /run/netns/testing; mount --bind {} /run/netns/testing",
        world.netns()
    ));
    let mut count = 0;
    for (info, text) in fenced(page) {
        if info != "console" {
            continue;
        }
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let first = line.strip_prefix("$ ").unwrap_or_else(|| panic!("{page}: no command: {line}"));
            let mut command = first.to_owned();
            while let Some(more) = lines.next_if(|line| line.starts_with("> ")) {
                command = format!("{command}\n{}", more.trim_start_matches("> "));
            }
            let mut expected = String::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
                expected = expected + line + "\n";
            }
            let path =
                format!("PATH={}:/usr/lib/cni:$PATH CNI_PATH={0} NETCONFPATH={MESOS}", world.bin().display());
            let script = format!("exec 2>&1; set +e; export {path}; cd {MESOS}\n{command}\ntrue");
            assert_eq!(world.sh(&script), expected, "{page}: {command}");
            count += 1;
        }
    }
    count
}

#[test]
fn plan_and_show() {
    assert!(run_page("docs/plan-and-show.md") >= 4);
}

#[test]
fn lint() {
    assert!(run_page("docs/lint.md") >= 4);
}

#[test]
fn explain_and_test() {
    assert!(run_page("docs/explain-and-test.md") >= 8);
}
