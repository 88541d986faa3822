//! README.md and docs/ promise nothing that is not tried: every fenced block is run as it stands, or compared with what
//! the program says; every quoted message is in the source; every link leads somewhere.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use fwn_testkit::cases::load_cases;
use fwn_testkit::plugin::program;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::{MESOS, World};

/// The pages that have blocks, and what is in each: who adds one says here how it is tried.
const BLOCKS: &[(&str, &[Kind])] = &[
    ("README.md", &[Kind::Outside, Kind::Outside]),
    ("docs/benchmarks.md", &[Kind::Outside, Kind::Outside, Kind::Outside]),
    ("docs/command-line.md", &[Kind::Shell]),
    (
        "docs/configuration.md",
        &[
            Kind::Network,
            Kind::Alone,
            Kind::Fw,
            Kind::Set,
            Kind::Rule,
            Kind::Conf,
            Kind::Message,
            Kind::Message,
            Kind::Keys,
        ],
    ),
    ("docs/containerd.md", &[Kind::Runtime, Kind::Runtime, Kind::Runtime, Kind::Toml]),
    ("docs/explain-and-test.md", &[Kind::Console, Kind::Console]),
    ("docs/getting-started.md", &[Kind::Shell, Kind::Shell, Kind::Shell]),
    ("docs/ipsetd.md", &[Kind::Daemon, Kind::Transcript]),
    ("docs/ipsetd-node.md", &[Kind::Daemon, Kind::Daemon]),
    ("docs/kubernetes.md", &[Kind::Network, Kind::Toml]),
    ("docs/lint.md", &[Kind::Console, Kind::Fw, Kind::Alone]),
    ("docs/macvtap.md", &[Kind::Network, Kind::Plugin]),
    ("docs/mesos.md", &[Kind::Shell, Kind::Shell, Kind::App, Kind::Shell]),
    ("docs/native-engine.md", &[Kind::Outside]),
    ("docs/nomad.md", &[Kind::Hcl, Kind::Network, Kind::Hcl]),
    (
        "docs/oci-hooks.md",
        &[Kind::Runtime, Kind::Hooks, Kind::Runtime, Kind::Runtime, Kind::Toml, Kind::Runtime],
    ),
    ("docs/plain-namespaces.md", &[Kind::Runtime, Kind::Runtime, Kind::Unit, Kind::Unit]),
    ("docs/plan-and-show.md", &[Kind::Console, Kind::Console, Kind::Console, Kind::Console]),
    ("docs/podman.md", &[Kind::Runtime, Kind::Runtime, Kind::Runtime, Kind::Runtime]),
    ("docs/packages.md", &[Kind::Outside]),
    ("docs/recipes.md", &[Kind::Keys; 7]),
    ("docs/tutorial.md", &[Kind::Shell; 9]),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// ```` ```sh ````: run here, after the blocks of "getting started" before the last.
    Shell,
    /// ```` ```sh ````: run in a folder of its own, with the program in `PATH` and the presets where they belong.
    Alone,
    /// ```` ```sh ````: what is not run here: the build; the demo (`demo.rs` runs it); the gate, which runs this; what
    /// takes minutes or needs a mirror (the benches' own tests run one round of everything). Programs and options
    /// that are named have to be there.
    Outside,
    /// ```` ```sh ````: run by `tests/runtimes/docs.rs`, with the runtime that it is about.
    Runtime,
    /// ```` ```json hooks ````: part of a bundle's `config.json`, tried there, too.
    Hooks,
    /// ```` ```ini ````: a unit of systemd, tried there, too.
    Unit,
    /// ```` ```toml ````: of a runtime, tried there, too; but CRI-O's, which is not run.
    Toml,
    /// ```` ```hcl ````: Nomad's, which is not run.
    Hcl,
    /// ```` ```json conflist ````: a network to attach to.
    Network,
    /// ```` ```json conf ````: a network of one plugin, in a file as before 1.0.0.
    Conf,
    /// ```` ```json app ````: an app of Marathon, whose labels are those of the call by hand.
    App,
    /// ```` ```json plugin ````: the only plugin of one.
    Plugin,
    /// ```` ```json keys ````: some keys of our part of one.
    Keys,
    /// ```` ```json fw ````: a .fw file.
    Fw,
    /// ```` ```json ipset ````: an element of `ipsets`.
    Set,
    /// ```` ```json rule ````: an element of `rules`.
    Rule,
    /// ```` ```console ````: commands and what they print; `transcripts.rs` runs them.
    Console,
    /// ```` ```sh ````: run by the tests of crates/ipsetd, against the daemon.
    Daemon,
    /// ```` ```transcript ````: lines and answers of the daemon, replayed there, too.
    Transcript,
    /// ```` ```text ````: compared with what the program says.
    Message,
}

impl Kind {
    fn info(self) -> &'static str {
        match self {
            Self::Shell | Self::Alone | Self::Outside | Self::Runtime | Self::Daemon => "sh",
            Self::Transcript => "transcript",
            Self::Hooks => "json hooks",
            Self::Unit => "ini",
            Self::Toml => "toml",
            Self::Hcl => "hcl",
            Self::Network => "json conflist",
            Self::Conf => "json conf",
            Self::App => "json app",
            Self::Plugin => "json plugin",
            Self::Keys => "json keys",
            Self::Fw => "json fw",
            Self::Set => "json ipset",
            Self::Rule => "json rule",
            Self::Message => "text",
            Self::Console => "console",
        }
    }
}

/// What the site is made of: no page of its own.
const SUMMARY: &str = "docs/SUMMARY.md";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).expect("a text")
}

/// README.md and all below docs/.
fn pages() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned()];
    for folder in ["docs", "docs/decisions"] {
        let names = fs::read_dir(root().join(folder)).expect("a folder").map(|entry| {
            format!("{folder}/{}", entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        });
        let is_page =
            |name: &String| name != SUMMARY && Path::new(name).extension().is_some_and(|end| end == "md");
        pages.extend(names.filter(is_page));
    }
    pages.sort();
    pages
}

/// What follows the fence, and what is in it.
pub(crate) fn fenced(page: &str) -> Vec<(String, String)> {
    let text = read(page);
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match (line.strip_prefix("```"), blocks.last_mut()) {
            (Some(info), _) => {
                inside = !inside;
                if inside {
                    blocks.push((info.to_owned(), String::new()));
                }
            }
            (None, Some((_, text))) if inside => text.extend([line, "\n"]),
            _ => assert!(!line.starts_with("    "), "{page}: a block without a fence: {line}"),
        }
    }
    assert!(!inside, "{page}: a block is not closed");
    blocks
}

/// The blocks of these kinds, with their pages.
fn blocks_of(kinds: &[Kind]) -> Vec<(&'static str, Kind, String)> {
    let blocks = BLOCKS.iter().flat_map(|(page, listed)| {
        listed.iter().zip(fenced(page)).map(move |(kind, (_, text))| (*page, *kind, text))
    });
    blocks.filter(|(_, kind, _)| kinds.contains(kind)).collect()
}

/// A world with all presets where they are looked for.
fn world() -> World {
    let world = World::new();
    world.sh("mkdir -p /etc/cni/firewallnetns");
    for entry in fs::read_dir(root().join("fw")).expect("presets") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let text = fs::read_to_string(&path).expect("a preset");
        world.write(&format!("/etc/cni/firewallnetns/{name}"), &text);
    }
    world
}

/// A network with an interface that needs nothing, and these keys of ours.
fn network(keys: &Value) -> Value {
    let mut ours = json!({ "type": "firewallnetns", "capabilities": { "portMappings": true } });
    ours.as_object_mut().expect("an object").extend(keys.as_object().expect("an object").clone());
    json!({ "cniVersion": "1.0.0", "name": "docs", "plugins": [ { "type": "macvtap", "master": "eth1" }, ours ] })
}

#[test]
fn every_block_is_tried() {
    let listed: BTreeMap<String, Vec<String>> = BLOCKS
        .iter()
        .map(|(page, kinds)| ((*page).to_owned(), kinds.iter().map(|kind| kind.info().to_owned()).collect()))
        .collect();
    let found: BTreeMap<String, Vec<String>> = pages()
        .into_iter()
        .map(|page| (page.clone(), fenced(&page).into_iter().map(|(info, _)| info).collect()))
        .filter(|(_, infos): &(String, Vec<String>)| !infos.is_empty())
        .collect();
    assert_eq!(found, listed);
}

#[test]
fn what_is_not_run_here_is_there() {
    let commands: Vec<String> = fenced("README.md").into_iter().map(|(_, text)| text).collect();
    assert_eq!(commands, ["cargo build --release && target/release/firewallnetns demo\n", "./run-tests\n"]);
    let options =
        ["benches/src/main.rs", "crates/firewallnetns/examples/iptables-tests/main.rs"].map(read).concat();
    for (page, _, text) in blocks_of(&[Kind::Outside]) {
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            if word == "--bin" {
                let name = words.next().expect("a name");
                assert!(root().join(format!("benches/src/bin/{name}.rs")).exists(), "{page}: {word} {name}");
            } else if word.starts_with("./") || word.starts_with("tools/") || word.starts_with("packaging/") {
                let mode = fs::metadata(root().join(word)).expect(word).permissions().mode();
                assert_eq!(mode & 0o111, 0o111, "{page}: {word} can be run");
            } else if let Some(option) = word.strip_prefix("--")
                && !["", "release"].contains(&option)
            {
                // clap makes the option from the name of a field
                assert!(options.contains(&format!("    {}: ", option.replace('-', "_"))), "{page}: {word}");
            }
        }
    }
}

#[test]
fn every_configuration_can_be_attached_to() {
    use Kind::{Conf, Fw, Keys, Network, Plugin, Rule, Set};
    let world = world();
    let before = world.sandbox.container.dump();
    for (page, kind, text) in blocks_of(&[Network, Conf, Plugin, Keys, Fw, Set, Rule]) {
        let parsed = |text: &str| -> Value {
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{page}: {error}:\n{text}"))
        };
        let list = match kind {
            Network | Conf => parsed(&text),
            Plugin => json!({ "cniVersion": "1.0.0", "name": "docs", "plugins": [ parsed(&text) ] }),
            Keys => network(&parsed(&format!("{{{text}}}"))),
            Fw => {
                world.write("/etc/cni/firewallnetns/docs.fw", &text);
                network(&json!({ "fwFiles": [ "docs" ] }))
            }
            Set => network(&json!({ "ipsets": [ parsed(&text) ] })),
            Rule => network(&json!({ "rules": [ parsed(&text) ] })),
            _ => unreachable!("not asked for"),
        };
        let file = if kind == Conf { "docs.conf" } else { "docs.conflist" };
        world.write(&format!("{MESOS}/{file}"), &list.to_string());
        if kind == Network {
            let path = format!("{MESOS}/docs.conflist");
            assert_eq!(world.firewallnetns(&["lint", "--deny-warnings", &path]).ok(), "", "{page}:\n{text}");
        }
        let name = list["name"].as_str().expect("a name");
        let path = format!("{}:/usr/lib/cni", world.bin().display());
        let mappings = r#"{"portMappings":[{"containerPort":8899,"hostPort":8899,"protocol":"tcp"}]}"#;
        let variables = [("CNI_PATH", path.as_str()), ("CAP_ARGS", mappings)];
        let run = world.firewallnetns_with(&variables, &["add", name, &world.netns()]);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{page}:\n{text}");
        // the examples of macvtap have no firewall
        let changed = world.sandbox.container.dump() != before;
        assert_eq!(changed, page != "docs/macvtap.md", "{page}:\n{text}");
        world.firewallnetns_with(&variables, &["del", name, &world.netns()]).ok();
        assert_eq!(world.sandbox.container.dump(), before, "{page}:\n{text}");
    }
}

/// The folder of the source, with the programs where a release build puts them.
fn source_with_programs() -> TempDir {
    let source = tempfile::tempdir().expect("a folder");
    fs::create_dir(source.path().join("target")).expect("made");
    let built = program("firewallnetns");
    symlink(built.parent().expect("a folder"), source.path().join("target/release")).expect("linked");
    symlink(root().join("fw").canonicalize().expect("presets"), source.path().join("fw")).expect("linked");
    source
}

#[test]
fn commands_run_as_they_stand() {
    let world = World::new();
    let source = source_with_programs();
    world.sh("mount -t tmpfs opt /opt");
    let run = |script: &str| world.sh(&format!("cd {}\n{script}", source.path().display()));

    let of = |wanted: &str| -> Vec<String> {
        let blocks = blocks_of(&[Kind::Shell]).into_iter();
        blocks.filter(|(page, ..)| *page == wanted).map(|(.., text)| text).collect()
    };
    let steps = of("docs/getting-started.md");
    let shown = run(&steps.concat());
    assert_eq!(shown.matches("Chain INPUT (policy DROP").count(), 2, "{shown}");
    assert_eq!(shown.matches("tcp dpt:443").count(), 2, "{shown}");
    assert_eq!(world.kept(), Vec::<String>::new());

    let (_, before) = steps.split_last().expect("steps");
    for block in of("docs/command-line.md") {
        let shown = run(&format!("{}{block}", before.concat()));
        assert!(shown.contains("\"name\": \"eth0\""), "{shown}");
        assert_eq!(world.kept(), Vec::<String>::new());
    }

    let steps = of("docs/mesos.md").concat();
    let shown = run(&steps);
    let result: Value = serde_json::from_str(shown.lines().next().expect("a line")).expect("a result");
    assert_eq!(
        (&result["cniVersion"], &result["ip4"]["ip"]),
        (&json!("0.2.0"), &json!("192.168.124.175/24"))
    );
    for (rule, count) in [("policy DROP", 3), ("tcp spt:5051", 1), ("tcp dpt:8899", 1), ("tcp dpt:443", 1)] {
        assert_eq!(shown.matches(rule).count(), count, "{rule}: {shown}");
    }
    assert_eq!(world.kept(), Vec::<String>::new());
    let lint = |edit: &str| {
        run(&format!(
            "{edit} /etc/mesos-cni/tasks.conf > /run/edited.conf; {} lint /run/edited.conf 2>&1",
            program("firewallnetns").display()
        ))
    };
    assert!(!lint("cat").contains("warning"), "{}", lint("cat"));
    let warned = lint("sed /mesos-executor/d");
    assert!(warned.contains("the Mesos executor cannot reach its agent"), "{warned}");
    for (_, _, app) in blocks_of(&[Kind::App]) {
        let app: Value = serde_json::from_str(&app).expect("JSON");
        for (key, value) in app["networks"][0]["labels"].as_object().expect("labels") {
            assert!(steps.contains(&format!(r#"{{ "key": "{key}", "value": {value} }}"#)), "{key}");
        }
    }
}

#[test]
fn commands_that_need_no_container_run_as_they_stand() {
    let world = world();
    let blocks = blocks_of(&[Kind::Alone]);
    assert!(!blocks.is_empty());
    for (page, _, text) in blocks {
        let folder = tempfile::tempdir_in(world.dir.path()).expect("a folder");
        let output = world
            .command("sh")
            .args([
                "-ec",
                &format!("cd {}; PATH=$PATH:{}\n{text}", folder.path().display(), world.bin().display()),
            ])
            .output()
            .expect("a shell runs");
        assert!(output.status.success() && output.stderr.is_empty(), "{page}: {output:?}");
    }
}

#[test]
fn the_tutorial_goes_as_told() {
    let (world, source) = (World::new(), source_with_programs());
    world.sh("mount -t tmpfs opt /opt");
    let blocks = |page: &str| -> String {
        let blocks = blocks_of(&[Kind::Shell]).into_iter();
        blocks.filter(|(found, ..)| *found == page).map(|(.., text)| text).collect()
    };
    let steps = blocks("docs/getting-started.md");
    let (install, _) = steps.split_once("mkdir").expect("more than the installation");
    // a server that is left behind would keep our end of the pipe open
    let script = format!(
        "trap 'kill $server' EXIT\ncd {}\n{install}\n{}trap - EXIT",
        source.path().display(),
        blocks("docs/tutorial.md")
    );
    let shown = world.sh(&script);
    let count = |line: &str| shown.lines().filter(|found| *found == line).count();
    for (line, times) in
        [("no answer", 2), ("welcome", 2), ("not attached", 1), ("banned", 1), ("differs", 1)]
    {
        assert_eq!(count(line), times, "{line}: {shown}");
    }
    // both families, once closed and once open again
    assert_eq!((count("-P INPUT DROP"), count("-P INPUT ACCEPT")), (2, 1), "{shown}");
    assert!(shown.ends_with("-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n"), "{shown}");
    assert_eq!(world.kept(), Vec::<String>::new());
}

#[test]
fn messages_are_as_shown() {
    let world = world();
    let messages: Vec<String> =
        blocks_of(&[Kind::Message]).into_iter().map(|(.., text)| text.trim_end().to_owned()).collect();
    let [short, long] = messages.as_slice() else { panic!("{messages:?}") };
    let line = long.lines().find_map(|line| line.strip_prefix("3 | ")).expect("the line of the file");
    world.write("/etc/cni/firewallnetns/web.fw", &format!("{{\n  \"rules\": [\n{line}\n  ]\n}}\n"));
    world.write(&format!("{MESOS}/docs.conflist"), &network(&json!({ "fwFiles": ["web"] })).to_string());
    let error = world.firewallnetns(&["add", "docs", &world.netns()]).error();
    assert!(error.contains(short), "{error}");
    let details: Vec<&str> = error.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
    assert!(details.join("\n").contains(long), "{error}");
}

/// In tables, between double backticks or more, stands what the program says: in "troubleshooting" with `...` for what
/// varies, in "configuration" also as a whole, as some case of the table of cases has it.
#[test]
fn quoted_messages_are_what_the_program_says() {
    let mut said = said_by_the_source();
    let quoted = quotes("docs/troubleshooting.md");
    assert!(quoted.len() > 30, "{quoted:?}");
    let unknown: Vec<_> = quoted.iter().filter(|message| !said.contains(*message)).collect();
    assert_eq!(unknown, Vec::<&String>::new());

    for case in load_cases() {
        said.push_str(&case.expected.to_string());
    }
    let quoted = quotes("docs/configuration.md");
    let unknown: Vec<_> =
        quoted.iter().filter(|message| !said.contains(message.trim_start_matches("expected ..."))).collect();
    assert_eq!(unknown, Vec::<&String>::new());
}

/// Code between two backticks or more, in the tables of a page.
fn quotes(page: &str) -> Vec<String> {
    let text = read(page);
    let mut quotes = Vec::new();
    for mut line in text.lines().filter(|line| line.starts_with('|')) {
        while let Some(start) = line.find("``") {
            let rest = &line[start..];
            let fence = &rest[..rest.len() - rest.trim_start_matches('`').len()];
            let (quote, after) = rest[fence.len()..].split_once(fence).expect("a closing fence");
            quotes.push(quote.trim().to_owned());
            line = after;
        }
    }
    quotes
}

/// The texts of all sources that make messages, with `...` in place of values.
fn said_by_the_source() -> String {
    let mut folders: Vec<PathBuf> =
        ["firewallnetns", "fwn-cni", "fwn-kernel", "fwn-node", "fwn-plan", "ipsetd", "macvtap"]
            .map(|name| root().join("crates").join(name).join("src"))
            .into();
    let mut all = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                all.push_str(&fs::read_to_string(path).expect("a source"));
            }
        }
    }
    // a text may be continued on the next line
    let mut pieces = all.split("\\\n");
    let first = pieces.next().unwrap_or_default().to_owned();
    let joined = pieces.fold(first, |text, piece| text + piece.trim_start());
    let mut said = String::new();
    for (number, piece) in joined.split('{').enumerate() {
        match piece.split_once('}') {
            Some((value, rest)) if number > 0 && !value.contains(['\n', '"']) => {
                said.extend(["...", rest]);
            }
            _ => said.extend(["{", piece]),
        }
    }
    said.replace("\\\"", "\"")
}

#[test]
fn links_lead_somewhere_and_every_page_is_in_both_lists() {
    for page in pages() {
        let (text, folder) = (read(&page), root().join(&page));
        let folder = folder.parent().expect("a folder");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { root().join(&page) } else { folder.join(file) };
            assert!(target.exists(), "{page}: {link}");
            if !anchor.is_empty() {
                let text = fs::read_to_string(&target).expect("a page");
                let titles = text.lines().filter(|line| line.starts_with('#'));
                let anchors: Vec<String> = titles
                    .map(|line| {
                        let title = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                        title.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
                    })
                    .collect();
                assert!(anchors.iter().any(|known| known == anchor), "{page}: {link}");
            }
        }
    }
    // the front page tells what a page is for; the other is the order of the site
    for list in ["docs/README.md", SUMMARY] {
        let text = read(list);
        for page in pages() {
            let name = page.strip_prefix("docs/").unwrap_or("README.md");
            assert!(name == "README.md" || text.contains(&format!("]({name})")), "{page} is not in {list}");
        }
    }
}
