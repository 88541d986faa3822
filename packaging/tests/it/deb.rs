//! The .deb: as lintian wants it, and in a root that has nothing else.

use std::fs;
use std::process::Command;

use fwn_packaging::run;

use crate::root::{Root, assert_shown};
use crate::{PACKAGES, presets};

fn deb() -> String {
    deb_of("firewallnetns")
}

fn deb_of(package: &str) -> String {
    PACKAGES.file(&format!("{package}_"), "_amd64.deb").display().to_string()
}

#[test]
fn lintian_has_nothing_to_say() {
    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on", "error,warning", "--tag-display-limit", "0"]);
    assert_eq!(run(lintian.args([deb(), deb_of("ipsetd")])), "");
}

#[test]
fn each_program_brings_its_manual_and_what_shells_complete_it_by() {
    for (package, program) in [(deb(), "firewallnetns"), (deb_of("ipsetd"), "ipsetd")] {
        let contents = run(Command::new("dpkg-deb").args(["--contents", &package]));
        for wanted in [
            format!("/usr/share/man/man1/{program}.1.gz"),
            format!("/usr/share/man/man1/{program}-status.1.gz"),
            format!("/usr/share/bash-completion/completions/{program}"),
            format!("/usr/share/fish/vendor_completions.d/{program}.fish"),
            format!("/_{program}"),
        ] {
            assert!(contents.lines().any(|line| line.ends_with(&wanted)), "{wanted} is not in\n{contents}");
        }
    }
}

#[test]
fn they_depend_on_nothing() {
    for file in [deb(), deb_of("ipsetd")] {
        let fields = run(Command::new("dpkg-deb").args(["--field", &file, "Depends", "Pre-Depends"]));
        assert_eq!(fields, "", "{file}");
    }
}

#[test]
fn ipsetd_starts_where_nothing_else_is() {
    let root = Root::with_shell();
    root.dpkg(&["--install", &deb_of("ipsetd")]);
    assert!(root.run("/usr/sbin/ipsetd", &["--version"]).starts_with("ipsetd "));
}

#[test]
fn the_demo_runs_where_nothing_else_is() {
    let root = Root::new();
    root.dpkg(&["--install", &deb()]);
    assert_shown(&root.run("firewallnetns", &["demo"]));
}

#[test]
fn a_changed_preset_outlives_updates_and_only_a_purge_takes_all() {
    let root = Root::new();
    root.dpkg(&["--install", &deb()]);
    let installed: Vec<String> =
        presets().iter().map(|name| format!("/etc/cni/firewallnetns/{name}")).collect();
    assert_eq!(root.files(&["etc"]), installed);
    let conffiles = run(Command::new("dpkg-deb").args(["--info", &deb(), "conffiles"]));
    assert_eq!(conffiles.lines().map(str::to_owned).collect::<Vec<_>>(), installed);

    let preset = root.path().join(&installed[0][1..]);
    fs::write(&preset, "{ } // changed").expect("written");
    root.dpkg(&["--install", &deb()]);
    assert_eq!(fs::read_to_string(&preset).expect("there"), "{ } // changed");

    root.dpkg(&["--remove", "firewallnetns"]);
    assert_eq!(root.files(&["usr"]), Vec::<String>::new());
    assert_eq!(root.files(&["etc"]), installed);
    root.dpkg(&["--purge", "firewallnetns"]);
    assert_eq!(root.files(&["etc", "usr"]), Vec::<String>::new());
}
