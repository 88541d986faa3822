//! `install`: what it puts where, what it leaves alone, and that no plugin is ever half written.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use fwn_testkit::plugin::program;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::world::{Run, World};

/// What is handed out (`bin`, `fw`), and a node (`opt/cni/bin`, `etc/cni/firewallnetns`).
struct Node {
    dir: TempDir,
}

impl Node {
    fn new() -> Self {
        let node = Self { dir: tempfile::tempdir().expect("a folder") };
        for folder in ["bin", "fw"] {
            fs::create_dir(node.path(folder)).expect("made");
        }
        for name in ["firewallnetns", "macvtap"] {
            fs::copy(program(name), node.path("bin").join(name)).expect("copied");
        }
        node.write("fw/one.fw", "{ } // one");
        node.write("fw/two.fw", "{ } // two");
        node.write("fw/readme", "no .fw file");
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a text")
    }

    fn command(&self) -> Command {
        let mut command = Command::new("sh");
        // modes are not left to the umask
        command
            .args(["-c", "umask 077; exec \"$@\"", "sh"])
            .arg(self.path("bin/firewallnetns"))
            .arg("install");
        command.arg("--bin-dir").arg(self.path("opt/cni/bin"));
        command.arg("--data-dir").arg(self.path("etc/cni/firewallnetns"));
        command
    }

    /// Runs it; what it reports, without the folder.
    fn install(&self) -> String {
        let said = Run::of(self.command().output().expect("it runs")).ok();
        said.replace(&format!("{}/", self.dir.path().display()), "")
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    /// Another version of a program: it runs as before.
    fn update(&self, name: &str) {
        let mut file = OpenOptions::new().append(true).open(self.path("bin").join(name)).expect("there");
        file.write_all(b"\0").expect("written");
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o7777
}

#[test]
fn it_installs_what_is_new_and_leaves_what_is_equal() {
    let node = Node::new();
    let all = "opt/cni/bin/firewallnetns
opt/cni/bin/macvtap
etc/cni/firewallnetns/one.fw
etc/cni/firewallnetns/two.fw
";
    let lines =
        |done: &str| all.lines().fold(String::new(), |text, path| text + &format!("{done:9} {path}\n"));
    assert_eq!(node.install(), lines("new"));
    assert_eq!(node.names("opt/cni/bin"), ["firewallnetns", "macvtap"]);
    assert_eq!(node.names("etc/cni/firewallnetns"), [".presets", "one.fw", "two.fw"]);
    assert_eq!(mode(&node.path("opt/cni/bin/macvtap")), 0o755);
    assert_eq!(mode(&node.path("etc/cni/firewallnetns/one.fw")), 0o644);
    let inode = |name: &str| fs::metadata(node.path(name)).expect("there").ino();
    let before = inode("opt/cni/bin/firewallnetns");
    assert_eq!(node.install(), lines("unchanged"));
    assert_eq!(inode("opt/cni/bin/firewallnetns"), before, "not written again");

    fs::set_permissions(node.path("opt/cni/bin/macvtap"), Permissions::from_mode(0o644)).expect("set");
    assert!(node.install().contains("replaced  opt/cni/bin/macvtap\n"));
    assert_eq!(mode(&node.path("opt/cni/bin/macvtap")), 0o755);
}

#[test]
fn a_changed_preset_is_kept_and_others_are_renewed() {
    let node = Node::new();
    node.install();
    node.write("etc/cni/firewallnetns/one.fw", "{ } // changed on the node");
    node.write("etc/cni/firewallnetns/own.fw", "{ } // the node's own");
    for name in ["fw/one.fw", "fw/two.fw"] {
        node.write(name, "{ } // newer");
    }
    let said = node.install();
    assert!(said.contains("kept      etc/cni/firewallnetns/one.fw, which was changed"), "{said}");
    assert!(said.contains("replaced  etc/cni/firewallnetns/two.fw\n"), "{said}");
    assert_eq!(node.text("etc/cni/firewallnetns/one.fw"), "{ } // changed on the node");
    assert_eq!(node.text("etc/cni/firewallnetns/one.fw.new"), "{ } // newer");
    assert_eq!(node.text("etc/cni/firewallnetns/two.fw"), "{ } // newer");
    assert_eq!(node.text("etc/cni/firewallnetns/own.fw"), "{ } // the node's own");
    // the next time too
    assert!(node.install().contains("kept      etc/cni/firewallnetns/one.fw"));
    assert_eq!(node.text("etc/cni/firewallnetns/one.fw"), "{ } // changed on the node");
}

#[test]
fn no_plugin_is_ever_half_written() {
    const UPDATES: usize = 10;
    let node = Node::new();
    node.install();
    let installed = node.path("opt/cni/bin/macvtap");
    // what was started goes on with the file that it has
    let mut running = fs::File::open(&installed).expect("there");
    // what one left behind that was killed
    node.write("opt/cni/bin/.macvtap.part", "half of");
    thread::scope(|scope| {
        let updates = scope.spawn(|| {
            for _ in 0..UPDATES {
                node.update("macvtap");
                assert!(node.install().contains("replaced  opt/cni/bin/macvtap\n"));
            }
        });
        while !updates.is_finished() {
            let mut command = Command::new(&installed);
            let output =
                command.env("CNI_COMMAND", "VERSION").stdin(Stdio::null()).output().expect("it starts");
            assert!(output.status.success(), "{output:?}");
        }
    });
    let mut bytes = Vec::new();
    running.read_to_end(&mut bytes).expect("readable");
    assert_eq!(bytes, fs::read(program("macvtap")).expect("readable"));
    assert_eq!(node.names("opt/cni/bin"), ["firewallnetns", "macvtap"]);
}

#[test]
fn a_full_disk_leaves_what_was_there() {
    let (world, node) = (World::new(), Node::new());
    let said = world.sh(&format!(
        "cd {}; mkdir -p opt/cni/bin; mount -t tmpfs -o size=64k small opt/cni/bin; echo old > opt/cni/bin/firewallnetns
         if bin/firewallnetns install --bin-dir opt/cni/bin --data-dir etc 2>&1; then exit 1; fi
         ls -A opt/cni/bin; cat opt/cni/bin/firewallnetns",
        node.dir.path().display(),
    ));
    let message = "error: cannot write `opt/cni/bin/firewallnetns`: No space left on device (os error 28)";
    assert_eq!(said, format!("{message}\nfirewallnetns\nold\n"));
}

#[test]
fn it_says_what_it_lacks() {
    let node = Node::new();
    let run = Run::of(node.command().arg("--presets").arg(node.path("bin")).output().expect("it runs"));
    let error = run.error();
    assert!(
        error.starts_with("error: there are no .fw files in `") && error.contains("--presets"),
        "{error}"
    );
    assert!(!node.path("opt").exists(), "nothing was done");
    node.write("etc", "no folder");
    let run = Run::of(node.command().output().expect("it runs"));
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.contains("error: cannot create `") && run.stderr.contains("etc/cni"), "{run:?}");
}

#[test]
fn it_waits_until_it_is_told_to_end() {
    let node = Node::new();
    let mut child = node.command().arg("--wait").stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines =
        BufReader::new(child.stdout.take().expect("piped")).lines().map(|line| line.expect("UTF-8"));
    assert!(lines.any(|line| line.ends_with("two.fw")), "it says what it did at once");
    // the shell has become the program
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).expect("sent");
    assert_eq!(lines.next().as_deref(), Some("ended by SIGTERM"));
    assert!(child.wait().expect("it ends").success());
}
