//! The tarball, and `make install` out of it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use fwn_packaging::{run, source};
use tempfile::TempDir;

use crate::root::{Root, assert_shown};
use crate::{PACKAGES, presets};

/// The unpacked tarball, and the folder in it.
fn unpacked() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let tarball = PACKAGES.file("firewallnetns-", "-x86_64-linux-musl.tar.gz");
    run(Command::new("tar").arg("-xzf").arg(tarball).arg("-C").arg(dir.path()));
    let tree = fs::read_dir(dir.path()).expect("a folder").next().expect("one").expect("an entry").path();
    (dir, tree)
}

#[test]
fn every_program_of_the_source_is_in_it_and_needs_no_other_file() {
    let (_dir, tree) = unpacked();
    let metadata = run(Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(source()));
    let metadata: serde_json::Value = serde_json::from_str(&metadata).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list").iter();
    // benches and examples are no programs for nodes
    let of_nodes =
        packages.filter(|package| package["manifest_path"].as_str().expect("a path").contains("/crates/"));
    let mut programs: Vec<String> = of_nodes
        .flat_map(|package| package["targets"].as_array().expect("a list"))
        .filter(|target| target["kind"][0] == "bin")
        .map(|target| target["name"].as_str().expect("a name").to_owned())
        .collect();
    programs.sort();
    let mut found: Vec<String> = fs::read_dir(tree.join("bin"))
        .expect("programs")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    found.sort();
    assert_eq!(found, programs);
    for program in found {
        let headers =
            run(Command::new("readelf").arg("--program-headers").arg(tree.join("bin").join(&program)));
        assert!(headers.contains("LOAD") && !headers.contains("INTERP"), "{program}: {headers}");
    }
}

/// What a call of the plugin runs lies together in its file. If too little of it does, `crates/firewallnetns/hot.ld` fits
/// the code no more; its first lines say how it is made.
#[test]
fn what_a_call_runs_lies_together() {
    let (_dir, tree) = unpacked();
    let sections =
        run(Command::new("readelf").args(["--sections", "--wide"]).arg(tree.join("bin/firewallnetns")));
    // number, name, type, address, offset, size
    let size = |name: &str| {
        let line = sections.lines().find(|line| line.split_whitespace().any(|word| word == name));
        let words: Vec<_> =
            line.unwrap_or_else(|| panic!("no {name}: {sections}")).split_whitespace().collect();
        let at = words.iter().position(|word| *word == name).expect("it is there");
        u32::from_str_radix(words[at + 4], 16).expect("a number")
    };
    assert!(size(".text.hot") > 600_000 && size(".text.hot") < size(".text"), "{sections}");
}

/// `memcpy.s` of musl (x86_64): `shr $3,%rcx; rep movsq`. No compiler writes it so.
#[test]
fn the_plugin_copies_without_musl() {
    let (_dir, tree) = unpacked();
    let copies_as_musl_does = |program: &str| {
        let code = fs::read(tree.join("bin").join(program)).expect("there");
        code.windows(7).any(|bytes| bytes == [0x48, 0xc1, 0xe9, 3, 0xf3, 0x48, 0xa5])
    };
    assert!(!copies_as_musl_does("firewallnetns"));
    assert!(copies_as_musl_does("ipsetd"), "this is how it looks");
}

#[test]
fn it_installs_below_any_folder() {
    let (_dir, tree) = unpacked();
    let root = Root::new();
    let install = |more: &[&str]| {
        let destination = format!("DESTDIR={}", root.path().display());
        run(Command::new("make").arg("-s").arg("install").arg(destination).args(more).current_dir(&tree))
    };
    assert_eq!(install(&[]), "");
    for file in [
        "/opt/cni/bin/macvtap",
        "/usr/local/bin/firewallnetns",
        "/usr/local/share/doc/firewallnetns/README.md",
    ] {
        assert!(
            root.files(&["opt", "usr"]).contains(&file.to_owned()),
            "{file} in {:?}",
            root.files(&["opt", "usr"])
        );
    }
    let presets: Vec<String> =
        presets().iter().map(|name| format!("/etc/cni/firewallnetns/{name}")).collect();
    assert_eq!(root.files(&["etc"]), presets);
    // the link on the path leads to the plugin, wherever the root is
    assert_shown(&root.run("/usr/local/bin/firewallnetns", &["demo"]));

    let changed = root.path().join(&presets[0][1..]);
    fs::write(&changed, "{ } // changed").expect("written");
    let said = install(&[]);
    assert!(said.starts_with("kept ") && said.lines().count() == 1, "{said}");
    assert_eq!(fs::read_to_string(&changed).expect("there"), "{ } // changed");

    install(&["PREFIX=/usr", "CNIDIR=/usr/lib/cni"]);
    assert!(root.files(&["usr"]).contains(&"/usr/lib/cni/firewallnetns".to_owned()));
    assert_eq!(
        fs::read_link(root.path().join("usr/bin/firewallnetns")).expect("a link"),
        PathBuf::from("../lib/cni/firewallnetns")
    );
}

#[test]
fn without_programs_it_says_what_to_do() {
    let (_dir, tree) = unpacked();
    fs::remove_dir_all(tree.join("bin")).expect("removed");
    let output = Command::new("make").arg("install").current_dir(&tree).output().expect("make runs");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!output.status.success() && said.contains("run `make build` first"), "{said}");
}
