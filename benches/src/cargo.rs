//! Programs of this workspace, built by cargo before they are measured: for a release statically against musl, as they
//! are shipped, where the target can be had, and otherwise for the host.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::BenchError;

/// How programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// As they are shipped.
    Release,
    /// The same with the names of functions, in a folder of its own.
    Symbols,
    /// Quickly, for tests of the bench.
    Debug,
}

/// What was built.
#[derive(Debug, Clone)]
pub struct Built {
    /// How, for people.
    pub how: String,
    programs: Vec<(&'static str, PathBuf)>,
}

impl Built {
    /// The file of a program; one that was not asked for has none.
    ///
    /// # Errors
    /// [`BenchError::Failed`]
    pub fn program(&self, name: &str) -> Result<&Path, BenchError> {
        let found = self.programs.iter().find(|(known, _)| *known == name).map(|(_, path)| path.as_path());
        found.ok_or_else(|| BenchError::Failed {
            command: "cargo build".to_owned(),
            output: format!("it built no `{name}`"),
        })
    }
}

/// Builds programs, each the only one of its name: package and name.
///
/// # Errors
/// cargo is not there, or fails.
pub fn build(profile: Profile, wanted: &[(&'static str, &'static str)]) -> Result<Built, BenchError> {
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let mut cargo = cargo();
    for (package, name) in wanted {
        cargo.args(["--package", package, "--bin", name]);
    }
    let how = match profile {
        Profile::Debug => "debug".to_owned(),
        Profile::Release if has_target(&target) => {
            cargo.args(["--release", "--target", &target]);
            format!("release, {target}")
        }
        Profile::Symbols => {
            cargo.args(["--release", "--target", &target, "--config", "profile.release.strip=false"]);
            cargo.arg("--target-dir").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/symbols"));
            format!("release with symbols, {target}")
        }
        Profile::Release => {
            cargo.arg("--release");
            format!("release, dynamic (no target {target}: starts about 1 ms later than as shipped)")
        }
    };
    let program = PathBuf::from(cargo.get_program());
    let output = cargo.output().map_err(|source| BenchError::Start { program, source })?;
    if !output.status.success() {
        return Err(BenchError::Failed { command: "cargo build".to_owned(), output: "see above".to_owned() });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let programs = wanted.iter().filter_map(|(_, name)| Some((*name, executable(&text, name)?))).collect();
    Ok(Built { how, programs })
}

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--message-format=json-render-diagnostics"])
        .stderr(Stdio::inherit());
    cargo
}

/// Whether the target is installed, or can be.
fn has_target(target: &str) -> bool {
    let succeeds = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let libraries = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    let libraries = libraries.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    libraries.is_ok_and(|folder| PathBuf::from(folder).exists())
        || succeeds("rustup", &["target", "add", target])
}

/// Where cargo says that it put a program.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message.pointer("/target/name")?.as_str()? == name;
        is_it.then(|| message.get("executable")?.as_str().map(PathBuf::from)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_cargo_built() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"floor"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"floor"},"executable":"/t/floor"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executable(messages, "floor"), Some("/t/floor".into()));
        assert_eq!(executable(messages, "firewallnetns"), None);
    }
}
