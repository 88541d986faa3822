//! Manual pages and completions: those in the repository are of this command line, a pager shows them without
//! complaint, and a shell completes by them.

use std::fs;
use std::process::Command;

use fwn_testkit::manual::{assert_current, manual};
use tempfile::TempDir;

/// A folder with all of them.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, text) in manual(&firewallnetns::command_line()) {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    folder
}

#[test]
fn they_are_of_this_command_line() {
    assert_current(&firewallnetns::command_line());
    let files = manual(&firewallnetns::command_line());
    for command in firewallnetns::command_line().get_subcommands().filter(|command| !command.is_hide_set()) {
        assert!(files.contains_key(&format!("man/firewallnetns-{}.1", command.get_name())));
    }
}

#[test]
fn bash_completes_commands_options_and_values() {
    let folder = folder();
    let complete = |words: &str| {
        let script = format!(
            "source completions/firewallnetns.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
             _firewallnetns firewallnetns \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[*]}}\""
        );
        let output = Command::new("bash")
            .args(["-uc", &script])
            .current_dir(folder.path())
            .output()
            .expect("bash runs");
        assert!(output.stderr.is_empty(), "{words}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
    };
    assert_eq!(complete("firewallnetns li"), "lint");
    assert_eq!(complete("firewallnetns lint --deny"), "--deny-warnings");
    assert_eq!(complete("firewallnetns lint --format sa"), "sarif");
    assert_eq!(complete("firewallnetns schema con"), "conflist");
}

#[test]
fn pages_are_free_of_warnings() {
    let (folder, files) = (folder(), manual(&firewallnetns::command_line()));
    for path in files.keys().filter(|path| path.starts_with("man/")) {
        let output = Command::new("groff")
            .args(["-man", "-Tutf8", "-ww", "-z", path])
            .current_dir(folder.path())
            .output()
            .expect("groff (package groff-base) runs");
        assert!(output.status.success() && output.stderr.is_empty(), "{path}: {output:?}");
    }
}
