//! The .rpm, in a root that has nothing else.

use std::process::Command;

use fwn_packaging::run;

use crate::root::{Root, assert_shown};
use crate::{PACKAGES, presets};

fn rpm() -> String {
    PACKAGES.file("firewallnetns-", ".x86_64.rpm").display().to_string()
}

fn query(what: &str) -> Vec<String> {
    run(Command::new("rpm").args(["--query", "--package", what, &rpm()])).lines().map(str::to_owned).collect()
}

#[test]
fn it_depends_on_nothing_and_keeps_changed_presets() {
    let needed: Vec<String> =
        query("--requires").into_iter().filter(|name| !name.starts_with("rpmlib(")).collect();
    assert_eq!(needed, Vec::<String>::new());
    let configs: Vec<String> =
        presets().iter().map(|name| format!("/etc/cni/firewallnetns/{name}")).collect();
    assert_eq!(query("--configfiles"), configs);
    // CONFIG_NOREPLACE: 1 for a configuration file, 16 for one that is kept (rpmfiles.h)
    let flags = run(Command::new("rpm").args([
        "--query",
        "--package",
        "--queryformat",
        "[%{FILEFLAGS} %{FILENAMES}\n]",
        &rpm(),
    ]));
    for config in &configs {
        assert!(flags.contains(&format!("\n17 {config}\n")), "{flags}");
    }
}

#[test]
fn the_demo_runs_where_nothing_else_is() {
    let root = Root::new();
    root.rpm(&["--install", &rpm()]);
    let installed = root.files(&["etc", "usr"]);
    let listed = query("--list");
    assert!(installed.iter().all(|file| listed.contains(file)), "{installed:?}");
    assert_shown(&root.run("firewallnetns", &["demo"]));
    root.rpm(&["--erase", "firewallnetns"]);
    assert_eq!(root.files(&["etc", "usr"]), Vec::<String>::new());
}
