//! A root folder of its own to install into: it has nothing, so that what a package does not bring is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fwn_packaging::run;
use fwn_testkit::Netns;
use tempfile::TempDir;

pub(crate) struct Root {
    dir: TempDir,
    /// Where the demo runs: never the machine's own.
    host: Netns,
}

impl Root {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["dev", "proc", "sys", "tmp", "run", "var/lib/dpkg/updates", "var/lib/dpkg/info"] {
            fs::create_dir_all(dir.path().join(name)).expect("made");
        }
        fs::write(dir.path().join("var/lib/dpkg/status"), "").expect("written");
        Self { dir, host: Netns::new() }
    }

    /// The same with a shell, for packages that run scripts when they are installed.
    pub(crate) fn with_shell() -> Self {
        let root = Self::new();
        fs::create_dir(root.path().join("bin")).expect("made");
        fs::copy("/bin/busybox", root.path().join("bin/sh"))
            .expect("busybox (package busybox-static) is there");
        root
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn dpkg(&self, arguments: &[&str]) -> String {
        // nobody is asked
        let mut dpkg = Command::new("dpkg");
        dpkg.arg(format!("--root={}", self.path().display())).arg("--force-confold").args(arguments);
        run(&mut dpkg)
    }

    pub(crate) fn rpm(&self, arguments: &[&str]) -> String {
        // the machine's own database of packages is Debian's
        run(Command::new("rpm").arg("--root").arg(self.path()).arg("--nodeps").args(arguments))
    }

    /// Runs a program of the root in it.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        let script = "root=$1; shift
            for dir in dev proc sys; do mount --rbind /$dir $root/$dir; done
            exec chroot $root \"$@\"";
        let mut command = self.host.command("unshare");
        command.args(["--mount", "sh", "-ec", script, "sh"]).arg(self.path()).arg(program).args(arguments);
        run(command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
    }

    /// All files below these folders, as paths of the root, sorted.
    pub(crate) fn files(&self, folders: &[&str]) -> Vec<String> {
        let mut waiting: Vec<PathBuf> = folders.iter().map(|name| self.path().join(name)).collect();
        let mut files = Vec::new();
        while let Some(folder) = waiting.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let entry = entry.expect("an entry");
                if entry.file_type().expect("a type").is_dir() {
                    waiting.push(entry.path());
                } else {
                    let path = entry.path();
                    let inside = path.strip_prefix(self.path()).expect("below");
                    files.push(format!("/{}", inside.display()));
                }
            }
        }
        files.sort();
        files
    }
}

/// The demo ran to its end, and every packet fared as expected.
pub(crate) fn assert_shown(text: &str) {
    assert!(text.ends_with("expectations held. Everything was removed.\n"), "{text}");
}
