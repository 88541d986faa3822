//! The programs that are compared: the plugin, and the smallest one that sends the same messages.

use std::fs;
use std::path::{Path, PathBuf};

use crate::BenchError;
use crate::cargo::{Profile, build};

/// What is measured.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The plugin.
    pub plugin: PathBuf,
    /// The program that replays its messages.
    pub floor: PathBuf,
    /// The plugin's key `engine`.
    pub engine: String,
    /// How both were built, for people.
    pub how: String,
}

impl Programs {
    /// Builds both and copies them, as who installs them does: the linker writes a file piece by piece, and a program
    /// that starts from small pieces of the page cache takes a fifth longer. With `plugin` that file is measured instead
    /// of a fresh build.
    ///
    /// # Errors
    /// cargo is not there, or fails; the programs cannot be copied.
    pub fn build(profile: Profile, plugin: Option<&Path>) -> Result<Self, BenchError> {
        let built = build(profile, &[("firewallnetns", "firewallnetns"), ("fwn-bench", "floor")])?;
        let floor = built.program("floor")?;
        // beside what was built: a temporary folder may be in memory
        let folder = floor.with_file_name("installed");
        let install = |from: &Path, name: &str| {
            let to = folder.join(name);
            let installed = fs::create_dir_all(&folder)
                // one that runs cannot be written to
                .and_then(|()| if to.exists() { fs::remove_file(&to) } else { Ok(()) })
                .and_then(|()| fs::copy(from, &to));
            installed.map(|_| to).map_err(|source| BenchError::File { path: from.to_owned(), source })
        };
        let how = match plugin {
            Some(plugin) => format!("{}, plugin `{}`", built.how, plugin.display()),
            None => built.how.clone(),
        };
        let plugin = plugin.map_or_else(|| built.program("firewallnetns"), Ok)?;
        Ok(Self {
            plugin: install(plugin, "firewallnetns")?,
            floor: install(floor, "floor")?,
            engine: "auto".to_owned(),
            how,
        })
    }
}
