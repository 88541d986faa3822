//! Files that the configuration names, and that cannot be read.

use std::fs;
use std::os::unix::fs::symlink;

use nix::sys::stat::Mode;
use serde_json::json;

use crate::kit::{World, rule};

#[test]
fn files_that_cannot_be_had() {
    let world = World::with_foreign();
    let data = world.path("data");
    fs::create_dir(world.path("data/folder.fw")).expect("made");
    fs::write(world.path("outside.fw"), "{}").expect("written");
    symlink("../outside.fw", world.path("data/link.fw")).expect("linked");
    symlink("/etc/passwd", world.path("data/root.fw")).expect("linked");
    symlink("loop.fw", world.path("data/loop.fw")).expect("linked");
    symlink("gone.fw", world.path("data/dangling.fw")).expect("linked");
    nix::unistd::mkfifo(world.path("data/fifo.fw").as_str(), Mode::S_IRWXU).expect("made");
    world.file("binary.fw", [0xff, 0xfe, 0x00]);
    world.file("huge.fw", vec![b' '; (4 << 20) + 1]);
    symlink("/proc/self/mem", world.path("data/mem")).expect("linked");
    for (name, message) in [
        ("missing", format!("file `{data}/missing.fw` does not exist")),
        ("dangling", format!("file `{data}/dangling.fw` does not exist")),
        ("folder", format!("`{data}/folder.fw` is not a regular file")),
        ("fifo", format!("`{data}/fifo.fw` is not a regular file")),
        ("binary", format!("`{data}/binary.fw` is not UTF-8 text")),
        ("huge", format!("`{data}/huge.fw` is larger than 4194304 bytes")),
        ("../outside", format!("`../outside.fw` leads out of the data folder `{data}`")),
        ("/etc/hosts", format!("`/etc/hosts.fw` leads out of the data folder `{data}`")),
        ("link", format!("`link.fw` leads out of the data folder `{data}`")),
        ("root", format!("`root.fw` leads out of the data folder `{data}`")),
        ("loop", format!("`loop.fw` leads out of the data folder `{data}`")),
    ] {
        let conf = world.conf(&json!({ "fwFiles": [name], "rules": [rule("INPUT", "-j DROP")] }));
        let (found, _) = world.refused(7, &world.call("ADD", &conf));
        assert!(found.contains(": fwFiles[0]: ") && found.contains(&message), "{name}: {found}");
    }
    // the same for the other kinds of files
    let sets = json!({ "ipsets": [{ "set": "a", "hashtype": "hash:ip", "file": "../outside.fw" }] });
    let (found, _) = world.refused(7, &world.call("ADD", &world.conf(&sets)));
    assert!(found.contains(": ipsets[0].file: `../outside.fw` leads out of"), "{found}");
    let vars = json!({ "varFiles": ["none", "/nowhere/at/all", "folder.fw"] });
    let (found, _) = world.refused(7, &world.call("ADD", &world.conf(&vars)));
    for words in
        ["varFiles[0]: file `", "varFiles[1]: file `/nowhere/at/all` does not exist", "varFiles[2]: `"]
    {
        assert!(found.contains(words), "{found}");
    }
}

/// Root reads every file, so the kernel has to refuse: a file of another process's memory map.
#[test]
fn a_file_that_cannot_be_read() {
    let world = World::with_foreign();
    // reading it from its beginning fails with EIO: nothing is mapped there
    world.file("mem.fw", "");
    let script = format!(
        "exec unshare -m sh -ec 'mount --bind /proc/self/mem {}/mem.fw; exec '$PLUGIN",
        world.path("data")
    );
    let call = world.scripted(&script, "ADD", &world.conf(&json!({ "fwFiles": ["mem"] })));
    let (found, _) = world.refused(7, &call);
    assert!(found.contains("fwFiles[0]: cannot read `") && found.contains("mem.fw`: "), "{found}");
}

#[test]
fn a_data_folder_that_is_none() {
    let world = World::with_foreign();
    let file = world.file("file", "");
    for (path, message) in [
        ("/nowhere/at/all", "cannot open the data folder `/nowhere/at/all`: "),
        (file.to_str().expect("UTF-8"), "cannot open the data folder `"),
    ] {
        let conf = world.conf(&json!({ "dataDir": path, "fwFiles": ["a"] }));
        let (found, _) = world.refused(7, &world.call("ADD", &conf));
        assert!(found.contains(message), "{found}");
    }
}

/// A problem in a file names the file, the line and the text; those of all files come at once.
#[test]
fn problems_of_all_files_come_at_once() {
    let world = World::with_foreign();
    world.file("one.fw", "// comment\n{ \"rules\": [\n  { \"type\": \"A\", \"chain\": \"INPUT\", \"rule\": \"-p tcp -j DROPP\" },\n] }");
    world.file("two.fw", "{ \"policies\": [ { \"chain\": \"INPUT\", \"policy\": \"DORP\" } ] }");
    world.file("set.txt", "10.0.0.1\n10.0.0.2\n10.0.0.300\n");
    let conf = json!({
        "fwFiles": ["one", "two"],
        "ipsets": [{ "set": "a", "hashtype": "hash:ip", "file": "set.txt" }],
    });
    let (found, details) = world.refused(7, &world.call("ADD", &world.conf(&conf)));
    let lines: Vec<_> = found.lines().collect();
    for words in ["one.fw:3:", "two.fw:1:", "set.txt:3:1"] {
        assert!(lines.iter().any(|line| line.starts_with(words)), "{words}: {found}");
    }
    assert!(details.contains("10.0.0.300\n  | ^"), "{details}");
}
