//! The documentation as a site: mdBook makes it, and every link in it leads somewhere.

use std::process::Command;

use fwn_packaging::site::dead_links;
use fwn_packaging::{run, source};

#[test]
fn the_site_has_no_dead_links() {
    let site = tempfile::tempdir().expect("a folder");
    let said = Command::new("mdbook")
        .args(["build", "--dest-dir"])
        .arg(site.path())
        .arg(source().join("docs"))
        .output()
        .expect("mdbook runs: `cargo install mdbook`, as run-tests does");
    let warnings = String::from_utf8(said.stderr).expect("UTF-8");
    assert!(said.status.success() && !warnings.contains("WARN"), "{warnings}");
    assert_eq!(dead_links(site.path()), Vec::<String>::new());
    // each page has become one, the front page under the name that servers look for
    let pages = run(Command::new("git").args(["ls-files", "docs/*.md"]).current_dir(source()));
    for page in pages.lines().map(|page| page.trim_start_matches("docs/")) {
        let page = match page {
            "SUMMARY.md" => continue,
            "README.md" => "index.md",
            page => page,
        };
        assert!(site.path().join(page).with_extension("html").exists(), "{page}");
    }
}
