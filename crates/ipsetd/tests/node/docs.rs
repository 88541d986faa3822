//! `docs/ipsetd-node.md`: its commands run as they stand, and the units are what systemd takes.

use std::path::{Path, PathBuf};
use std::process::Command;

use fwn_testkit::plugin::program;

use crate::kit::{Daemon, World, ask, entries};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn executable(world: &World, name: &str, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = world.dir.path().join(name);
    std::fs::write(&path, format!("#!/bin/sh\nPATH={}:$PATH\n{script}\n", folder())).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    path
}

/// Where the programs are built.
fn folder() -> String {
    program("ipsetd").parent().expect("a folder").display().to_string()
}

#[test]
fn the_commands_of_the_page_run() {
    let page = std::fs::read_to_string(root().join("docs/ipsetd-node.md")).expect("the page");
    let blocks: Vec<&str> =
        page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [start, operators] = blocks.as_slice() else { panic!("{blocks:?}") };
    let world = World::new();
    let daemon = executable(&world, "start", &format!("exec {start}"));
    let _daemon = Daemon::start_as(&world, &daemon, &[]);
    world.run("ADD", &world.served());
    let said = world.sh(&format!("PATH={}:$PATH\n{operators}", folder()));
    assert!(said.starts_with("ok\nok changed 1\nipsetd "), "{said}");
    assert!(said.contains("1 registered, 1 listening"), "{said}");
    assert_eq!(entries(&world.sandbox.container, "blocked"), ["192.0.2.1", "192.0.2.2"]);
    // every flag of the page is one, and the other way round
    let help = Command::new(program("ipsetd")).args(["node", "--help"]).output().expect("it runs");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    for flag in help.split_whitespace().filter(|word| word.starts_with("--") && *word != "--help") {
        assert!(page.contains(flag), "{flag} is not on the page");
    }
    for flag in
        page.split('`').filter_map(|code| code.split(' ').next()).filter(|code| code.starts_with("--"))
    {
        let known = help.contains(flag) || flag == "--json";
        assert!(known, "{flag} of the page is no flag");
    }
}

#[test]
fn systemd_takes_the_units() {
    let dir = tempfile::tempdir().expect("a folder");
    for name in ["ipsetd-node.service", "ipsetd-node.socket"] {
        let text = std::fs::read_to_string(root().join("systemd").join(name)).expect("a unit");
        let text = text.replace("/usr/sbin/ipsetd", &program("ipsetd").display().to_string());
        std::fs::write(dir.path().join(name), text).expect("written");
    }
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.args(arguments).current_dir(dir.path());
        let output = command.env("SYSTEMD_UNIT_PATH", format!("{}:", dir.path().display())).output();
        let output = output.expect("systemd-analyze (package systemd) runs");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (_, said) = analyze(&["verify", "--man=no", "./ipsetd-node.service", "./ipsetd-node.socket"]);
    assert_eq!(said, "");
    // of 10; a service without any hardening has 9.6
    let (rated, _) = analyze(&["security", "--offline=true", "--threshold=40", "./ipsetd-node.service"]);
    assert!(rated.contains("Overall exposure level"), "{rated}");
}

/// What the unit leaves it is enough: to enter namespaces, to find them, to change their sets.
#[test]
fn the_capabilities_of_the_unit_are_enough() {
    let unit = std::fs::read_to_string(root().join("systemd/ipsetd-node.service")).expect("a unit");
    let line = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).expect("bounded");
    let names = line.split(' ').map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_lowercase()));
    let set = format!("-all{}", names.collect::<String>());
    let world = World::new();
    world.sh("umask 077; echo 0123456789abcdef >/run/token");
    let script = format!("exec setpriv --bounding-set={set} --no-new-privs ipsetd \"$@\"");
    let daemon = Daemon::start_as(&world, &executable(&world, "bounded", &script), &[]);
    world.run("ADD", &world.served());
    world.run("CHECK", &world.served());
    assert_eq!(ask(&world, "add blocked 192.0.2.1"), "ok\n");
    let mut low = world.served();
    low["ipsetd"]["port"] = 81.into();
    low["ipsetd"]["tokenFile"] = "/run/token".into();
    world.run("ADD", &low);
    daemon.kill();
    let daemon = Daemon::start_as(&world, &executable(&world, "bounded", &script), &[]);
    world.run("CHECK", &low);
    world.run("DEL", &low);
    assert_eq!(daemon.stop(), Some(0));
}
