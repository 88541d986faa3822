//! Manual pages and shell completions, made from the definition of a command line: they lie in `man/` and
//! `completions/` of the repository, and tests hold them to the definition.

use std::collections::BTreeMap;
use std::fs;

use clap::Command;
use clap_complete::{Shell, generate};

use crate::cases::{diff, repository, wants_update};

/// Pages and completions of a program, by their paths in the repository.
///
/// # Panics
/// They cannot be made.
pub fn manual(command: &Command) -> BTreeMap<String, String> {
    let name = command.get_name().to_owned();
    let mut files = BTreeMap::new();
    let folder = tempfile::tempdir().expect("a folder");
    clap_mangen::generate_to(command.clone(), folder.path()).expect("pages");
    for entry in fs::read_dir(folder.path()).expect("a folder") {
        let path = entry.expect("an entry").path();
        let page = path.file_name().and_then(|name| name.to_str()).expect("a name");
        files.insert(format!("man/{page}"), fs::read_to_string(&path).expect("a page"));
    }
    for (shell, file) in [
        (Shell::Bash, format!("{name}.bash")),
        (Shell::Fish, format!("{name}.fish")),
        (Shell::Zsh, format!("_{name}")),
    ] {
        let mut text = Vec::new();
        generate(shell, &mut command.clone(), name.clone(), &mut text);
        files.insert(format!("completions/{file}"), String::from_utf8(text).expect("UTF-8"));
    }
    files
}

/// Compares what is in the repository with the definition; with `UPDATE_CASES=1` writes it.
///
/// # Panics
/// They differ.
pub fn assert_current(command: &Command) {
    let (files, name) = (manual(command), command.get_name());
    let page = |file: &str| file == format!("{name}.1") || file.starts_with(&format!("{name}-"));
    if wants_update() {
        for folder in ["man", "completions"] {
            fs::create_dir_all(repository().join(folder)).expect("made");
        }
        for path in fs::read_dir(repository().join("man")).expect("a folder") {
            let path = path.expect("an entry").path();
            if path.file_name().and_then(|file| file.to_str()).is_some_and(page) {
                fs::remove_file(&path).expect("removed");
            }
        }
        for (path, text) in &files {
            fs::write(repository().join(path), text).expect("written");
        }
    }
    let mut wrong: Vec<String> = Vec::new();
    for (path, text) in &files {
        let there = fs::read_to_string(repository().join(path)).unwrap_or_default();
        if there != *text {
            wrong.push(format!("{path} (- there, + defined)\n{}", diff(&there, text)));
        }
    }
    for entry in fs::read_dir(repository().join("man")).expect("a folder") {
        let file = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        if page(&file) && !files.contains_key(&format!("man/{file}")) {
            wrong.push(format!("man/{file} is of no command any more"));
        }
    }
    assert!(
        wrong.is_empty(),
        "run this test with UPDATE_CASES=1 and commit what it writes:\n{}",
        wrong.join("\n")
    );
}
