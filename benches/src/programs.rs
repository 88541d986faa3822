//! The programs that are compared: the plugin, and the smallest one that sends the same messages.

use std::path::PathBuf;

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
    /// Builds both.
    ///
    /// # Errors
    /// cargo is not there, or fails.
    pub fn build(profile: Profile) -> Result<Self, BenchError> {
        let built = build(profile, &[("firewallnetns", "firewallnetns"), ("fwn-bench", "floor")])?;
        Ok(Self {
            plugin: built.program("firewallnetns")?.to_owned(),
            floor: built.program("floor")?.to_owned(),
            engine: "auto".to_owned(),
            how: built.how,
        })
    }
}
