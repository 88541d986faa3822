//! Whole calls of a plugin, in process: environment and standard input to standard output and exit code.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Mutex;

use fwn_cni::result::addresses;
use fwn_cni::{
    AddResult, Attachment, CniError, ErrorCode, Invocation, Plugin, Served, chained_result, serve,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A chained plugin that remembers what it was called with.
#[derive(Default)]
struct Chained {
    seen: Mutex<Option<Invocation>>,
    fails: Option<CniError>,
    panics: bool,
}

impl Chained {
    fn called(&self, invocation: &Invocation) -> Result<(), CniError> {
        *self.seen.lock().expect("no panic") = Some(invocation.clone());
        assert!(!self.panics, "as told");
        self.fails.clone().map_or(Ok(()), Err)
    }

    fn seen(self) -> Invocation {
        self.seen.into_inner().expect("no panic").expect("it was called")
    }
}

impl Plugin for Chained {
    fn name(&self) -> &'static str {
        "chained"
    }

    fn add(&self, invocation: &Invocation) -> Result<String, CniError> {
        self.called(invocation)?;
        let result = chained_result(&invocation.conf)?;
        let parsed = AddResult::parse(&result, invocation.conf.version)?;
        let _ = addresses(&parsed, &invocation.ifname);
        Ok(result)
    }

    fn del(&self, invocation: &Invocation) -> Result<(), CniError> {
        self.called(invocation)
    }

    fn check(&self, invocation: &Invocation) -> Result<(), CniError> {
        self.called(invocation)
    }

    fn gc(&self, invocation: &Invocation) -> Result<(), CniError> {
        self.called(invocation)
    }

    fn status(&self, invocation: &Invocation) -> Result<(), CniError> {
        invocation.conf.ipam_type()?;
        self.called(invocation)
    }
}

type Env = BTreeMap<&'static str, String>;

/// A complete environment.
fn env(command: &str) -> Env {
    [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "c-1"),
        ("CNI_NETNS", "/run/netns/blue"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=web=1;"),
        ("CNI_PATH", "/opt/cni/bin::/usr/lib/cni"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}

fn conf(version: &str) -> Value {
    json!({"cniVersion": version, "name": "net", "type": "chained", "prevResult": {"cniVersion": version}})
}

fn call(plugin: &dyn Plugin, env: &Env, stdin: &[u8]) -> (Served, String) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let served = serve(plugin, &|name| env.get(name).cloned(), &mut &*stdin, &mut stdout, &mut stderr);
    assert_eq!(stderr, b"", "nothing to say there");
    (served, String::from_utf8(stdout).expect("UTF-8"))
}

/// Calls, expects an error and gives `cniVersion`, code, and message with details.
fn refused(env: &Env, stdin: &str) -> (String, u64, String) {
    let (served, stdout) = call(&Chained::default(), env, stdin.as_bytes());
    assert_eq!(served, Served::Exit(1), "{stdout}");
    let error: Value = serde_json::from_str(&stdout).expect("one JSON");
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    let code = error["code"].as_u64().expect("a code");
    (text("cniVersion"), code, format!("{}: {}", text("msg"), text("details")))
}

#[test]
fn without_a_command_nothing_is_read_or_written() {
    struct Untouchable;
    impl Read for Untouchable {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("read")
        }
    }
    for unset in [Env::new(), Env::from([("CNI_COMMAND", String::new())])] {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let served = serve(
            &Chained::default(),
            &|name| unset.get(name).cloned(),
            &mut Untouchable,
            &mut stdout,
            &mut stderr,
        );
        assert_eq!((served, stdout, stderr), (Served::NotCalled, vec![], vec![]));
    }
}

#[test]
fn a_call_arrives_whole() {
    let plugin = Chained::default();
    let stdin = r#"{"cniVersion":"1.1.0","name":"net","type":"chained","ipam":{"type":"host-local"},
        "args":{"cni":{"labels":[{"key":"a","value":"b"}]}},"runtimeConfig":{"portMappings":[]},"prevResult":{"x":1.0}}"#;
    let (served, stdout) = call(&plugin, &env("ADD"), stdin.as_bytes());
    assert_eq!((served, stdout.as_str()), (Served::Exit(0), "{\"cniVersion\":\"1.1.0\",\"x\":1.0}\n"));
    let seen = plugin.seen();
    assert_eq!((seen.container_id.as_str(), seen.ifname.as_str()), ("c-1", "eth0"));
    assert_eq!(seen.netns, Some(PathBuf::from("/run/netns/blue")));
    let args = [("IgnoreUnknown", "1"), ("K8S_POD_NAME", "web=1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(seen.args, args);
    assert_eq!(seen.args_text, "IgnoreUnknown=1;K8S_POD_NAME=web=1;");
    assert_eq!(seen.path, [PathBuf::from("/opt/cni/bin"), PathBuf::from("/usr/lib/cni")]);
    assert_eq!((seen.conf.name.as_str(), seen.conf.plugin_type.as_str()), ("net", "chained"));
    assert_eq!(seen.conf.text, stdin);
    assert_eq!(seen.conf.ipam_type(), Ok(Some("host-local".to_owned())));
    assert_eq!(seen.conf.args, Some(json!({"cni": {"labels": [{"key": "a", "value": "b"}]}})));
    assert_eq!(seen.conf.runtime_config, Some(json!({"portMappings": []})));
    assert_eq!(seen.conf.prev_result.expect("there").get(), r#"{"x":1.0}"#);
    assert_eq!(seen.conf.valid_attachments, None);
}

#[test]
fn only_add_prints_on_success() {
    for command in ["DEL", "CHECK", "GC", "STATUS"] {
        let answer = call(&Chained::default(), &env(command), conf("1.1.0").to_string().as_bytes());
        assert_eq!(answer, (Served::Exit(0), String::new()), "{command}");
    }
}

#[test]
fn every_command_tells_all_variables_that_are_missing() {
    // command, version, what it needs
    for (command, version, needed) in [
        ("ADD", "1.1.0", "CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME"),
        ("ADD", "0.3.1", "CNI_NETNS, CNI_IFNAME"),
        ("CHECK", "0.4.0", "CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME"),
        ("DEL", "0.4.0", "CNI_CONTAINERID, CNI_IFNAME"),
        ("DEL", "0.2.0", "CNI_IFNAME"),
        ("GC", "1.1.0", "CNI_PATH"),
    ] {
        let bare = Env::from([("CNI_COMMAND", command.to_owned()), ("CNI_IFNAME", String::new())]);
        let (answered, code, text) = refused(&bare, &conf(version).to_string());
        assert_eq!((answered.as_str(), code), (version, 4), "{text}");
        assert!(text.starts_with(&format!("{command} needs the variables {needed}: ")), "{text}");
        // and with just these it goes
        let mut enough = env(command);
        enough.retain(|name, _| *name == "CNI_COMMAND" || needed.contains(name));
        let (served, stdout) = call(&Chained::default(), &enough, conf(version).to_string().as_bytes());
        assert_eq!(served, Served::Exit(0), "{stdout}");
    }
    let bare = Env::from([("CNI_COMMAND", "STATUS".to_owned())]);
    assert_eq!(call(&Chained::default(), &bare, conf("1.1.0").to_string().as_bytes()).0, Served::Exit(0));
}

#[test]
fn malformed_variables_are_refused_by_name() {
    for (name, value) in [
        ("CNI_COMMAND", "add"),
        ("CNI_CONTAINERID", "../x"),
        ("CNI_CONTAINERID", "-x"),
        ("CNI_CONTAINERID", "a b"),
        ("CNI_IFNAME", ".."),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", "a:b"),
        ("CNI_IFNAME", "a b"),
        ("CNI_IFNAME", "sixteen-bytes-xx"),
        ("CNI_ARGS", "A=1;nonsense"),
        ("CNI_ARGS", "=1"),
    ] {
        let mut env = env("ADD");
        env.insert(name, value.to_owned());
        let (_, code, text) = refused(&env, &conf("1.0.0").to_string());
        assert_eq!(code, 4, "{text}");
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn del_works_with_arguments_that_add_refused() {
    let mut env = env("DEL");
    env.insert("CNI_ARGS", "A=1;nonsense".to_owned());
    env.remove("CNI_NETNS");
    let plugin = Chained::default();
    assert_eq!(call(&plugin, &env, conf("1.0.0").to_string().as_bytes()).0, Served::Exit(0));
    let seen = plugin.seen();
    assert_eq!((seen.args, seen.netns), (vec![("A".to_owned(), "1".to_owned())], None));
}

#[test]
fn a_bad_configuration_is_refused_in_the_version_of_the_input() {
    for (stdin, version, code, word) in [
        ("", "1.1.0", 6, "EOF"),
        ("{", "1.1.0", 6, "EOF"),
        ("null", "0.1.0", 6, "expected an object"),
        ("[1]", "0.1.0", 6, "expected an object"),
        (r#"{"cniVersion":"1.0.0","name":7,"type":"t"}"#, "1.0.0", 6, "`name` is not a string"),
        (
            r#"{"cniVersion":"0.4.0","name":"a","name":"b","type":"t"}"#,
            "0.4.0",
            6,
            "key `name` is there twice",
        ),
        (r#"{"cniVersion":"0.4.0","type":"t"}"#, "0.4.0", 7, "no `name`"),
        (r#"{"cniVersion":"0.4.0","name":"a/b","type":"t"}"#, "0.4.0", 7, "`a/b`"),
        (r#"{"cniVersion":"0.4.0","name":"a"}"#, "0.4.0", 7, "without `type`"),
        (r#"{"cniVersion":"1.2.0","name":"a","type":"t"}"#, "1.1.0", 1, "`1.2.0` is not supported"),
        (
            r#"{"cniVersion":"1.1.0","name":"a","type":"t","cni.dev/attachments":[{}]}"#,
            "1.1.0",
            6,
            "containerID",
        ),
    ] {
        let (answered, found, text) = refused(&env("ADD"), stdin);
        assert_eq!((answered.as_str(), found), (version, code), "{stdin}: {text}");
        assert!(text.contains(word), "{stdin}: {text}");
    }
}

#[test]
fn a_version_without_the_command_is_refused() {
    for (command, version, allowed) in [
        ("CHECK", "0.3.1", false),
        ("CHECK", "0.4.0", true),
        ("GC", "1.0.0", false),
        ("GC", "1.1.0", true),
        ("STATUS", "1.0.0", false),
        ("STATUS", "1.1.0", true),
    ] {
        let stdin = conf(version).to_string();
        if allowed {
            assert_eq!(call(&Chained::default(), &env(command), stdin.as_bytes()).0, Served::Exit(0));
        } else {
            let (answered, code, text) = refused(&env(command), &stdin);
            assert_eq!((answered.as_str(), code), (version, 1), "{text}");
            assert!(text.starts_with(&format!("{command} needs CNI version ")), "{text}");
        }
    }
}

#[test]
fn version_echoes_the_input_and_lists_all_seven() {
    let versions = r#""supportedVersions":["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]"#;
    let env = Env::from([("CNI_COMMAND", "VERSION".to_owned())]);
    for (stdin, echoed) in [
        (r#"{"cniVersion":"0.2.0"}"#, "0.2.0"),
        (r#"{"cniVersion":"1.2.0"}"#, "1.2.0"),
        ("", "1.1.0"),
        ("{}", "1.1.0"),
    ] {
        let answer = call(&Chained::default(), &env, stdin.as_bytes());
        assert_eq!(answer, (Served::Exit(0), format!("{{\"cniVersion\":\"{echoed}\",{versions}}}\n")));
    }
}

#[test]
fn a_chained_plugin_needs_a_previous_result_from_0_3_0_on() {
    let without =
        |version: &str| json!({"cniVersion": version, "name": "net", "type": "chained"}).to_string();
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let (_, code, text) = refused(&env("ADD"), &without(version));
        assert_eq!(code, 7);
        assert!(
            text.starts_with("prevResult missing: chained is chained after an interface plugin"),
            "{text}"
        );
    }
    for version in ["0.1.0", "0.2.0"] {
        let (served, stdout) = call(&Chained::default(), &env("ADD"), without(version).as_bytes());
        assert_eq!(
            (served, stdout),
            (Served::Exit(0), format!("{{\"cniVersion\":\"{version}\",\"dns\":{{}}}}\n"))
        );
    }
    let (served, stdout) = call(&Chained::default(), &env("ADD"), br#"{"name":"net","type":"chained"}"#);
    assert_eq!((served, stdout.as_str()), (Served::Exit(0), "{\"cniVersion\":\"0.1.0\",\"dns\":{}}\n"));
}

#[test]
fn both_names_of_the_valid_attachments_count() {
    let attachment = |id: &str| Attachment { container_id: id.to_owned(), ifname: "eth0".to_owned() };
    let [a, b] = ["a", "b"].map(|id| json!({"containerID": id, "ifname": "eth0"}));
    let (good, bad) = ("cni.dev/valid-attachments", "cni.dev/attachments");
    for (keys, expected) in [
        (json!({}), None),
        (json!({good: null, bad: null}), Some(vec![])),
        (json!({good: [a]}), Some(vec![attachment("a")])),
        (json!({bad: [b]}), Some(vec![attachment("b")])),
        (json!({good: [a], bad: [a, b]}), Some(vec![attachment("a"), attachment("b")])),
    ] {
        let mut stdin = conf("1.1.0");
        stdin.as_object_mut().expect("object").extend(keys.as_object().expect("object").clone());
        let plugin = Chained::default();
        assert_eq!(call(&plugin, &env("GC"), stdin.to_string().as_bytes()).0, Served::Exit(0));
        assert_eq!(plugin.seen().conf.valid_attachments, expected);
    }
}

#[test]
fn a_plugins_error_is_told_as_it_is() {
    let fails = CniError::new(ErrorCode::TryAgain, "not \"yet\"").with_details("soon");
    let plugin = Chained { fails: Some(fails), ..Chained::default() };
    let answer = call(&plugin, &env("ADD"), conf("0.4.0").to_string().as_bytes());
    let expected = r#"{"cniVersion":"0.4.0","code":11,"msg":"not \"yet\"","details":"soon"}"#;
    assert_eq!(answer, (Served::Exit(1), format!("{expected}\n")));
}

#[test]
fn a_panic_is_told_as_an_internal_error() {
    let plugin = Chained { panics: true, ..Chained::default() };
    let (served, stdout) = call(&plugin, &env("DEL"), conf("1.0.0").to_string().as_bytes());
    let error: Value = serde_json::from_str(&stdout).expect("one JSON");
    assert_eq!(
        (served, &error["code"], &error["details"]),
        (Served::Exit(1), &json!(999), &json!("as told"))
    );
}

#[test]
fn streams_that_fail_are_errors() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("no more"))
        }
    }
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("full"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let env = env("ADD");
    let look_up = |name: &str| env.get(name).cloned();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let served = serve(&Chained::default(), &look_up, &mut Broken, &mut stdout, &mut stderr);
    let error: Value = serde_json::from_slice(&stdout).expect("one JSON");
    assert_eq!((served, &error["code"]), (Served::Exit(1), &json!(5)));

    let stdin = conf("1.0.0").to_string();
    let served = serve(&Chained::default(), &look_up, &mut stdin.as_bytes(), &mut Broken, &mut stderr);
    assert_eq!(served, Served::Exit(1));
    assert!(String::from_utf8_lossy(&stderr).contains("standard output cannot be written: full"));
}

/// Texts that get deep into the parsers, and nonsense.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("{}".to_owned()),
        Just("[]".to_owned()),
        Just(r#""""#.to_owned()),
        Just(r#""net""#.to_owned()),
        Just(r#"[{"containerID":"a","ifname":"b"}]"#.to_owned()),
        Just(r#"{"type":"host-local"}"#.to_owned()),
        proptest::sample::select(fwn_cni::SpecVersion::ALL.to_vec())
            .prop_map(|version| format!("\"{version}\"")),
        Just(r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.1/8","routes":null}}"#.to_owned()),
        Just(
            r#"{"cniVersion":"","ips":[{"address":"::1/128","interface":-1}],"interfaces":null}"#.to_owned()
        ),
        Just(
            r#" { "cniVersion" : null , "ips" : [ { "address" : "1.2.3.4/32" , "interface" : 9 } ] } "#
                .to_owned()
        ),
        any::<f64>().prop_map(|number| json!(number).to_string()),
        any::<String>().prop_map(|text| json!(text).to_string()),
        any::<String>(),
    ]
}

fn stdin() -> impl Strategy<Value = Vec<u8>> {
    let keys = [
        "cniVersion",
        "name",
        "type",
        "prevResult",
        "ipam",
        "args",
        "runtimeConfig",
        "cni.dev/valid-attachments",
        "cni.dev/attachments",
    ];
    let member = (proptest::sample::select(keys.to_vec()), value());
    let object = proptest::collection::vec(member, 0..9).prop_map(|members| {
        let members: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{{}}}", members.join(",")).into_bytes()
    });
    let valid = value().prop_map(|prev| {
        format!(r#"{{"cniVersion":"1.1.0","name":"net","type":"chained","prevResult":{prev}}}"#).into_bytes()
    });
    prop_oneof![proptest::collection::vec(any::<u8>(), 0..200), object, valid]
}

proptest! {
    #[test]
    fn no_input_makes_it_panic_or_print_anything_but_one_json(
        command in prop_oneof![
            proptest::sample::select(vec!["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"]).prop_map(str::to_owned),
            any::<String>(),
        ],
        id in prop_oneof![Just("c".to_owned()), any::<String>()],
        ifname in prop_oneof![Just("eth0".to_owned()), any::<String>()],
        args in any::<String>(),
        stdin in stdin(),
    ) {
        let mut env = env(&command);
        env.extend([("CNI_CONTAINERID", id), ("CNI_IFNAME", ifname), ("CNI_ARGS", args)]);
        let (served, stdout) = call(&Chained::default(), &env, &stdin);
        match served {
            Served::NotCalled => prop_assert_eq!(command, ""),
            Served::Exit(0) if matches!(command.as_str(), "ADD" | "VERSION") => {
                let result: Value = serde_json::from_str(&stdout).expect("one JSON");
                prop_assert!(result["cniVersion"].is_string(), "{}", stdout);
            }
            Served::Exit(0) => prop_assert_eq!(stdout, ""),
            Served::Exit(code) => {
                prop_assert_eq!(code, 1);
                let error: Value = serde_json::from_str(&stdout).expect("one JSON");
                prop_assert!(error["cniVersion"].is_string() && error["msg"].is_string(), "{}", stdout);
                prop_assert!(matches!(error["code"].as_u64(), Some(1 | 4 | 6 | 7)), "{}", stdout);
            }
        }
    }
}
