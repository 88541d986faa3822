//! Packages, tarball and manifest, as a node gets them. They are built here, in `target/packages`.

mod deb;
mod install;
mod kubernetes;
mod root;
mod rpm;
mod site;

use std::sync::LazyLock;

use fwn_packaging::{Packages, source};

static PACKAGES: LazyLock<Packages> = LazyLock::new(|| Packages::build(&source().join("target/packages")));

/// The presets, sorted.
fn presets() -> Vec<String> {
    let entries = std::fs::read_dir(source().join("fw")).expect("presets");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

#[test]
fn the_same_source_gives_the_same_bytes() {
    let first = PACKAGES.digests();
    let again = tempfile::tempdir().expect("a folder");
    assert_eq!(Packages::pack(again.path()).digests(), first);
    for name in ["-x86_64-linux-musl.tar.gz", "_amd64.deb", ".x86_64.rpm"] {
        assert!(first.contains(name), "{first}");
    }
}
