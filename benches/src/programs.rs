//! The programs that are measured, built by cargo: for a release statically against musl, as they are shipped, where
//! the target can be had, and otherwise for the host.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::BenchError;

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
    /// Builds release versions of both.
    ///
    /// # Errors
    /// cargo is not there, or fails.
    pub fn build_release() -> Result<Self, BenchError> {
        let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        if has_target(&target) {
            // musl's default, a position-independent program, starts later: it relocates itself
            let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_uppercase().replace('-', "_"));
            let flags = (flags, "-C relocation-model=static");
            return build(&["--release", "--target", &target], Some(flags), format!("release, {target}"));
        }
        let how = format!("release, dynamic (no target {target}: starts about 1 ms later than as shipped)");
        build(&["--release"], None, how)
    }

    /// Builds debug versions, for tests of the bench.
    ///
    /// # Errors
    /// cargo is not there, or fails.
    pub fn build_debug() -> Result<Self, BenchError> {
        build(&[], None, "debug".to_owned())
    }
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

fn build(options: &[&str], flags: Option<(String, &str)>, how: String) -> Result<Programs, BenchError> {
    let program = PathBuf::from(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let mut cargo = Command::new(&program);
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--message-format=json-render-diagnostics"])
        .args([
            "--package",
            "firewallnetns",
            "--bin",
            "firewallnetns",
            "--package",
            "fwn-bench",
            "--bin",
            "floor",
        ])
        .args(options)
        .stderr(Stdio::inherit());
    if let Some((name, value)) = flags
        && std::env::var_os(&name).is_none()
    {
        cargo.env(name, value);
    }
    let output = cargo.output().map_err(|source| BenchError::Start { program, source })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (plugin, floor) = (executable(&text, "firewallnetns"), executable(&text, "floor"));
    match (output.status.success(), plugin, floor) {
        (true, Some(plugin), Some(floor)) => Ok(Programs { plugin, floor, engine: "auto".to_owned(), how }),
        _ => Err(BenchError::Failed { command: "cargo build".to_owned(), output: "see above".to_owned() }),
    }
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
