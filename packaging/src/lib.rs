//! What is handed out, built for its tests as a release is: `make build`, then `packaging/build`.

pub mod site;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the source.
///
/// # Panics
/// It is gone.
pub fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the source has a folder")
}

/// Runs a command to its end; gives what it printed.
///
/// # Panics
/// It fails; the message shows what it said.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// A tarball and packages, with the programs in them.
#[derive(Debug)]
pub struct Packages {
    folder: PathBuf,
}

impl Packages {
    /// Builds them into `folder`, the programs too where they are not up to date.
    ///
    /// # Panics
    /// Something cannot be built.
    pub fn build(folder: &Path) -> Self {
        run(Command::new("make").arg("build").current_dir(source()));
        Self::pack(folder)
    }

    /// The same from programs that are built.
    ///
    /// # Panics
    /// It fails.
    pub fn pack(folder: &Path) -> Self {
        run(Command::new(source().join("packaging/build")).arg(folder));
        Self { folder: folder.to_owned() }
    }

    /// The one file whose name begins and ends so.
    ///
    /// # Panics
    /// There is none, or more than one.
    pub fn file(&self, start: &str, end: &str) -> PathBuf {
        let entries = std::fs::read_dir(&self.folder).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let fits = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
            name.starts_with(start) && name.ends_with(end)
        };
        let found: Vec<PathBuf> = paths.filter(fits).collect();
        let [file] = found.as_slice() else { panic!("one {start}*{end} in {found:?}") };
        file.clone()
    }

    /// Digests of all of them.
    ///
    /// # Panics
    /// They are not there.
    pub fn digests(&self) -> String {
        std::fs::read_to_string(self.folder.join("SHA256SUMS")).expect("digests")
    }
}
