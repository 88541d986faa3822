//! `lint`: a folder of seeded defects, at least one for each id; what must draw no warning; input that is none; and
//! the three forms of its output.
//!
//! A case is a folder of `lint-cases/`: `input.*` is linted beside the other files and the presets, with the lines of
//! `args`; `expected` is what is printed. `UPDATE_CASES=1` rewrites it; read the difference before committing it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fwn_plan::lint::{Level, Lint};
use fwn_testkit::cases::{diff, wants_update};
use fwn_testkit::plugin::program;
use fwn_testkit::schema::validate;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::{Run, SEED};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/lint-cases")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("a name")
}

/// A folder with the presets.
fn desk() -> TempDir {
    let desk = tempfile::tempdir().expect("a folder");
    for path in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fw")) {
        fs::copy(&path, desk.path().join(name(&path))).expect("copied");
    }
    desk
}

/// `firewallnetns lint ARGUMENTS` in a folder, without an environment.
fn command(desk: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("firewallnetns"));
    command.env_clear().current_dir(desk.path()).stdin(Stdio::null()).arg("lint").args(arguments);
    command
}

fn lint(desk: &TempDir, arguments: &[&str]) -> Run {
    Run::of(command(desk, arguments).output().expect("it runs"))
}

/// Runs a case in one of the forms.
fn run_case(case: &Path, format: &str) -> Run {
    let desk = desk();
    let mut arguments = vec!["--format".to_owned(), format.to_owned()];
    for path in files(case) {
        match name(&path) {
            "expected" => continue,
            "args" => {
                let text = fs::read_to_string(&path).expect("a text");
                arguments.extend(text.lines().map(str::to_owned));
                continue;
            }
            "input.fw" => arguments.push("input.fw".to_owned()),
            input if input.starts_with("input.") => {
                arguments.extend([input, "--data-dir", "."].map(str::to_owned));
            }
            _ => {}
        }
        fs::copy(&path, desk.path().join(name(&path))).expect("copied");
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    lint(&desk, &arguments)
}

/// The ids in a text report.
fn ids(report: &str) -> BTreeSet<&str> {
    let heads = ["error[", "warning[", "note["];
    let lines = report.lines().filter_map(|line| heads.iter().find_map(|head| line.strip_prefix(head)));
    lines.filter_map(|rest| rest.split(']').next()).collect()
}

#[test]
fn every_seeded_defect_is_found_and_nothing_else() {
    let mut wrong = Vec::new();
    let mut found = BTreeSet::new();
    for case in files(&folder()) {
        let run = run_case(&case, "text");
        assert_eq!(run.stderr, "", "{}", case.display());
        let errors = run.stdout.lines().any(|line| line.starts_with("error["));
        assert_eq!(run.code, Some(i32::from(errors)), "{}: {}", case.display(), run.stdout);
        let path = case.join("expected");
        if wants_update() {
            fs::write(&path, &run.stdout).expect("written");
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if run.stdout != expected {
            wrong.push(format!("{} (- expected, + actual)\n{}", name(&case), diff(&expected, &run.stdout)));
        }
        let ids = ids(&expected);
        let case = name(&case);
        // the name says what is seeded
        if case.starts_with("clean-") {
            assert_eq!(expected, "", "{case}");
        } else if let Some(id) = Lint::IDS.iter().chain(&["refused"]).find(|id| case.starts_with(*id)) {
            assert!(ids.contains(id), "{case}: {ids:?}");
            found.insert(*id);
        } else {
            assert!(case.starts_with("silenced-"), "{case}");
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n\n{}", wrong.len(), wrong.join("\n"));
    let all: BTreeSet<&str> = Lint::IDS.into_iter().chain(["refused"]).collect();
    assert_eq!(found, all, "every id has a seeded defect");
}

#[test]
fn presets_and_the_example_draw_no_warning() {
    let desk = desk();
    let presets: Vec<String> = files(desk.path()).iter().map(|path| name(path).to_owned()).collect();
    let mut arguments: Vec<&str> = presets.iter().map(String::as_str).collect();
    assert!(arguments.len() > 10);
    assert_eq!(lint(&desk, &arguments).ok(), "");
    fs::write(desk.path().join("seed.conflist"), SEED).expect("written");
    arguments.extend(["seed.conflist", "--data-dir", ".", "--deny-warnings"]);
    // and with the variables that presets leave to operators
    arguments.extend(["--env", "IPSETD_ADMIN=10.0.0.1"]);
    assert_eq!(lint(&desk, &arguments).ok(), "");
    // the extra .fw files: all of them are read
    fs::write(desk.path().join("default-policy.fw"), "{ \"rulse\": [] }").expect("written");
    assert_eq!(lint(&desk, &["seed.conflist", "--data-dir", "."]).code, Some(1));
}

#[test]
fn the_page_lists_every_lint_with_its_reason() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/lint.md");
    let page = fs::read_to_string(page).expect("the page");
    let rows = page.split_once("\n| id | level | why |\n").expect("a table").1.lines().skip(1);
    let rows: Vec<&str> = rows.take_while(|line| line.starts_with('|')).collect();
    let known = Lint::ALL.map(|lint| {
        let level = if lint.level() == Level::Note { "note" } else { "warning" };
        format!("| `{}` | {level} | {} |", lint.id(), lint.why())
    });
    assert_eq!(rows, known);
}

#[test]
fn warnings_fail_where_they_are_denied() {
    let desk = desk();
    fs::write(desk.path().join("warn.fw"), r#"{ "rules": [
        { "type": "A", "chain": "INPUT", "rule": "-j LOG" }, { "type": "A", "chain": "INPUT", "rule": "-j LOG" } ] }"#)
    .expect("written");
    fs::write(
        desk.path().join("note.fw"),
        r#"{ "rules": [
        { "type": "A", "chain": "INPUT", "rule": "-s web.example -j ACCEPT" } ] }"#,
    )
    .expect("written");
    assert_eq!(lint(&desk, &["warn.fw"]).code, Some(0));
    let run = lint(&desk, &["warn.fw", "--deny-warnings"]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""));
    assert!(run.stdout.ends_with("\n\n1 warning\n"), "{}", run.stdout);
    assert_eq!(lint(&desk, &["note.fw", "--deny-warnings"]).code, Some(0));
    for arguments in [&[][..], &["--format", "xml", "warn.fw"], &["--env", "1X=2", "warn.fw"]] {
        let run = lint(&desk, arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments:?}");
    }
}

#[test]
fn json_and_sarif_say_the_same_as_the_text() {
    let mut logs = Vec::new();
    for case in files(&folder()) {
        let text = run_case(&case, "text").stdout;
        let json: Value = serde_json::from_str(&run_case(&case, "json").stdout).expect("JSON");
        let sarif: Value = serde_json::from_str(&run_case(&case, "sarif").stdout).expect("JSON");
        let list = json["diagnostics"].as_array().expect("a list");
        let results = sarif["runs"][0]["results"].as_array().expect("a list");
        assert_eq!(list.len(), results.len(), "{}", case.display());
        let counts = ["errors", "warnings", "notes"].map(|key| json[key].as_u64().expect("a number"));
        assert_eq!(counts.iter().sum::<u64>(), list.len() as u64);
        for (diagnostic, result) in list.iter().zip(results) {
            let word = |key: &str| diagnostic[key].as_str().expect("a string");
            let head = format!("{}[{}]: {}\n", word("level"), word("id"), word("message"));
            let place = format!(
                "--> {}:{}:{}\n",
                word("file").trim_start_matches("./"),
                diagnostic["line"],
                diagnostic["column"]
            );
            assert!(text.contains(&head), "{}: {head}", case.display());
            assert!(text.contains(&place), "{}: {place}", case.display());
            assert_eq!((&result["ruleId"], &result["level"]), (&diagnostic["id"], &diagnostic["level"]));
            let region = &result["locations"][0]["physicalLocation"]["region"];
            assert_eq!(
                (&region["startLine"], &region["startColumn"]),
                (&diagnostic["line"], &diagnostic["column"])
            );
        }
        logs.push(sarif);
    }
    assert_eq!(validate(&sarif_schema(), &logs), vec![None; logs.len()]);
}

/// What the schema of SARIF 2.1.0 requires of the parts that are used here (sections 3.13 to 3.52 of the standard).
fn sarif_schema() -> Value {
    let driver = json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": { "type": "string" },
            "semanticVersion": { "type": "string" },
            "rules": { "type": "array", "uniqueItems": true, "items": sarif_rule() },
        },
    });
    let run = json!({
        "type": "object",
        "required": ["tool"],
        "additionalProperties": false,
        "properties": {
            "columnKind": { "enum": ["utf16CodeUnits", "unicodeCodePoints"] },
            "tool": { "type": "object", "required": ["driver"], "properties": { "driver": driver } },
            "results": { "type": "array", "items": sarif_result() },
        },
    });
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "required": ["version", "runs"],
        "additionalProperties": false,
        "properties": {
            "$schema": { "type": "string", "format": "uri" },
            "version": { "const": "2.1.0" },
            "runs": { "type": "array", "minItems": 1, "items": run },
        },
    })
}

fn sarif_text() -> Value {
    json!({ "type": "object", "required": ["text"], "properties": { "text": { "type": "string" } } })
}

fn sarif_level() -> Value {
    json!({ "enum": ["none", "note", "warning", "error"] })
}

fn sarif_id() -> Value {
    json!({ "enum": Lint::IDS.into_iter().chain(["refused"]).collect::<Vec<_>>() })
}

fn sarif_rule() -> Value {
    json!({
        "type": "object",
        "required": ["id"],
        "additionalProperties": false,
        "properties": {
            "id": sarif_id(),
            "shortDescription": sarif_text(),
            "defaultConfiguration": { "type": "object", "properties": { "level": sarif_level() } },
        },
    })
}

fn sarif_result() -> Value {
    let number = json!({ "type": "integer", "minimum": 1 });
    let region = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": { "startLine": number, "startColumn": number, "endLine": number, "endColumn": number },
    });
    let uri = json!({ "type": "string", "pattern": "^[A-Za-z0-9._~/%:-]+$" });
    let place = json!({
        "type": "object",
        "required": ["artifactLocation"],
        "additionalProperties": false,
        "properties": {
            "artifactLocation": { "type": "object", "required": ["uri"], "properties": { "uri": uri } },
            "region": region,
        },
    });
    json!({
        "type": "object",
        "required": ["message", "ruleId", "level", "locations"],
        "additionalProperties": false,
        "properties": {
            "ruleId": sarif_id(),
            "level": sarif_level(),
            "message": sarif_text(),
            "locations": { "type": "array", "items": {
                "type": "object",
                "properties": { "physicalLocation": place },
            } },
        },
    })
}

#[test]
fn what_is_no_configuration_is_named() {
    let desk = desk();
    let write = |file: &str, bytes: &[u8]| fs::write(desk.path().join(file), bytes).expect("written");
    write("latin.fw", b"{ \"description\": \"f\xfcr\" }");
    write("big.fw", &vec![b' '; 10 << 20]);
    write("deep.fw", &[b"{ \"rules\": ".to_vec(), vec![b'['; 100_000]].concat());
    write("deep.conflist", &[b"{ \"plugins\": ".to_vec(), vec![b'['; 100_000]].concat());
    write("empty.fw", b"");
    write("list.conflist", b"[]");
    fs::create_dir(desk.path().join("folder.fw")).expect("made");
    nix::unistd::mkfifo(&desk.path().join("fifo.fw"), nix::sys::stat::Mode::S_IRWXU).expect("made");
    for (file, said) in [
        ("latin.fw", "`latin.fw` is not UTF-8 text"),
        ("big.fw", "`big.fw` is larger than 4194304 bytes"),
        ("deep.fw", "nested too deeply: at most 127 levels"),
        ("deep.conflist", "nested too deeply: at most 127 levels"),
        ("empty.fw", "expected"),
        ("list.conflist", "expected an object, found a list"),
        ("folder.fw", "`folder.fw` is not a regular file"),
        ("fifo.fw", "`fifo.fw` is not a regular file"),
        ("missing.fw", "file `missing.fw` does not exist"),
    ] {
        for format in ["text", "json", "sarif"] {
            let run = lint(&desk, &["--format", format, file]);
            assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""), "{file}: {}", run.stdout);
            assert!(run.stdout.contains(said), "{file}: {}", run.stdout);
            assert!(run.stdout.len() < 20_000, "{file}: {} bytes", run.stdout.len());
        }
    }
}

#[test]
fn line_ends_and_a_byte_order_mark_change_nothing() {
    let desk = desk();
    let text =
        "{\n  \"rules\": [\n    { \"type\": \"A\", \"chain\": \"INPUT\", \"rule\": \"-j LOGG\" }\n  ]\n}\n";
    fs::write(desk.path().join("a.fw"), text).expect("written");
    let plain = lint(&desk, &["a.fw"]).stdout;
    assert!(plain.contains("--> a.fw:3:50\n"), "{plain}");
    fs::write(desk.path().join("a.fw"), text.replace('\n', "\r\n")).expect("written");
    assert_eq!(lint(&desk, &["a.fw"]).stdout, plain);
    fs::write(desk.path().join("a.fw"), format!("\u{feff}{text}")).expect("written");
    assert_eq!(lint(&desk, &["a.fw"]).stdout, plain);
    // a runtime takes none
    fs::write(desk.path().join("a.conflist"), format!("\u{feff}{SEED}")).expect("written");
    let run = lint(&desk, &["a.conflist"]);
    assert!(run.code == Some(1) && run.stdout.contains("byte order mark"), "{run:?}");
}

#[test]
fn a_reader_that_goes_is_no_failure() {
    let desk = desk();
    fs::write(desk.path().join("a.fw"), r#"{ "rulse": [] }"#).expect("written");
    let mut child =
        command(&desk, &["a.fw"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    let run = Run::of(child.wait_with_output().expect("it ends"));
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""));
}

/// What is printed on a terminal of so many columns.
fn on_a_terminal(desk: &TempDir, columns: u16, variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let size = nix::pty::Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = nix::pty::openpty(Some(&size), None).expect("a terminal");
    let mut command = command(desk, arguments);
    command.envs(variables.iter().copied()).stdout(pty.slave);
    let mut child = command.spawn().expect("it runs");
    // the terminal ends with its last user
    drop(command);
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    // at the end it is an error of input, not the end of a file
    while let Ok(length @ 1..) = nix::unistd::read(&pty.master, &mut buffer) {
        text.extend_from_slice(&buffer[..length]);
    }
    child.wait().expect("it ends");
    String::from_utf8(text).expect("UTF-8").replace("\r\n", "\n")
}

#[test]
fn a_terminal_has_colours_and_a_width() {
    let desk = desk();
    let rule = "-i eth0 -s 10.0.0.0/8 -p tcp -m multiport --dports 80,443,8080,8443 -m comment --comment web -j ACCEPTT";
    let text = json!({ "rules": [{ "type": "A", "chain": "INPUT", "rule": rule }] });
    fs::write(desk.path().join("a.fw"), text.to_string()).expect("written");
    let plain = lint(&desk, &["a.fw"]).stdout;
    assert!(!plain.contains('\u{1b}'), "{plain}");
    let wide = on_a_terminal(&desk, 120, &[("TERM", "xterm")], &["a.fw"]);
    assert!(wide.contains("\u{1b}["), "{wide}");
    assert_eq!(on_a_terminal(&desk, 120, &[("TERM", "xterm"), ("NO_COLOR", "1")], &["a.fw"]), plain);
    let narrow = on_a_terminal(&desk, 40, &[("NO_COLOR", "1")], &["a.fw"]);
    assert!(narrow.contains("ACCEPTT") && narrow.contains("^^^^^^^"), "{narrow}");
    for line in narrow.lines() {
        assert!(line.chars().count() <= 40, "{} columns: {line}\n{narrow}", line.chars().count());
    }
}
