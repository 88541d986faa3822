//! Plugins that are shell scripts in a folder of the test's own. Each call leaves its environment and standard input
//! behind, numbered in the order of calls.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

/// The folder.
pub(crate) struct Scripts {
    dir: TempDir,
}

/// What one call left behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// `PLUGIN COMMAND`.
    pub(crate) what: String,
    /// The `CNI_*` variables, sorted, as `env` prints them.
    pub(crate) env: String,
    pub(crate) stdin: String,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["bin", "calls", "cache", "net.d"] {
            fs::create_dir(dir.path().join(name)).expect("a folder");
        }
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `CNI_PATH`.
    pub(crate) fn bin(&self) -> PathBuf {
        self.path("bin")
    }

    /// Adds a plugin that records its call and then runs `body`, with the recorded input in `$stdin`.
    pub(crate) fn plugin(&self, name: &str, body: &str) -> &Self {
        let calls = self.path("calls");
        let calls = calls.display();
        let script = format!(
            "#!/bin/sh
n=$(ls {calls} | grep -c what)
call={calls}/$n
stdin=$call.stdin
cat > $stdin
env | grep ^CNI_ | LC_ALL=C sort > $call.env
echo {name} $CNI_COMMAND > $call.what
{body}
"
        );
        self.write(&format!("bin/{name}"), &script, 0o755);
        self
    }

    /// Writes a file in the folder.
    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("allowed");
    }

    /// What was called, in order. Forgets it.
    pub(crate) fn calls(&self) -> Vec<Record> {
        let read = |n: usize, what: &str| {
            let path = self.path("calls").join(format!("{n}.{what}"));
            let text = fs::read_to_string(&path).ok();
            let _ = fs::remove_file(path);
            text
        };
        let record = |n| {
            let what = read(n, "what")?.trim().to_owned();
            Some(Record { what, env: read(n, "env")?, stdin: read(n, "stdin")? })
        };
        (0..).map_while(record).collect()
    }

    /// The same, only `PLUGIN COMMAND`.
    pub(crate) fn called(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.what).collect()
    }
}
