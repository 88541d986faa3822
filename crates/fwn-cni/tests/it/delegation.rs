//! Delegates that are shell scripts: who is called, in what order, with what, and what comes of it.

use fwn_cni::{
    CniError, Command, Delegated, Delegates, Invocation, NetworkConf, PluginCall, ProcessExecutor,
};
use serde_json::{Value, json};

use crate::scripts::Scripts;

/// `first` makes a result, `second` hands it on with a mark.
const FIRST: &str =
    r#"{"type":"first","z":1.0,"capabilities":{"mac":true},"args":{"own":1.50,"cni":{"mac":"fixed"}}}"#;
const SECOND: &str = r#"{"name":"own","type":"second","cni.dev/x":1,"prevResult":{}}"#;

struct Delegating {
    scripts: Scripts,
    exec: ProcessExecutor,
}

impl Delegating {
    fn new() -> Self {
        let scripts = Scripts::new();
        scripts
            .plugin(
                "first",
                r#"[ $CNI_COMMAND != ADD ] || echo '{ "ips":[{"version":"4","address":"10.0.0.5/24"}], "odd":1.00 }'"#,
            )
            .plugin(
                "second",
                r#"[ $CNI_COMMAND != ADD ] || sed 's/.*"prevResult":{\(.*\)}}$/{"second":2.50,\1}/' $stdin"#,
            );
        Self { scripts, exec: ProcessExecutor::new() }
    }

    /// A call of our plugin in this version, with these delegates and `more` in its configuration.
    fn invocation(&self, command: Command, version: &str, confs: &[&str], more: &str) -> Invocation {
        let bin = self.scripts.bin();
        let env = |name: &str| {
            Some(match name {
                "CNI_PATH" => bin.display().to_string(),
                "CNI_ARGS" => "A=1".to_owned(),
                "CNI_NETNS" => "/n".to_owned(),
                "CNI_IFNAME" => "eth0".to_owned(),
                _ => "c1".to_owned(),
            })
        };
        let list = confs.join(",");
        let stdin =
            format!(r#"{{"cniVersion":"{version}","name":"net","type":"ours","delegate":[{list}]{more}}}"#);
        Invocation::parse(command, &env, stdin.as_bytes()).expect("a good call")
    }

    fn delegates<'a>(&'a self, invocation: &Invocation) -> Delegates<'a> {
        Delegates::of_conf(&self.exec, invocation, None).expect("good configurations")
    }

    fn add(&self, version: &str, confs: &[&str]) -> Result<Delegated, CniError> {
        self.delegates(&self.invocation(Command::Add, version, confs, "")).add()
    }

    /// What the script of this name does from now on.
    fn answers(&self, name: &str, command: &str, body: &str) {
        self.scripts.plugin(name, &format!("[ $CNI_COMMAND != {command} ] || {{ {body}; }}"));
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn each_gets_what_we_got_and_the_result_before_it() {
    let it = Delegating::new();
    let more = r#","args":{"a":[ 1 ],"cni":{"mac":"02:00:00:00:00:01","ips":["10.0.0.9"]}},"runtimeConfig":{"mac":"x","dns":{ }}"#;
    let invocation = it.invocation(Command::Add, "1.0.0", &[FIRST, SECOND], more);
    let label = json!({ "cni": { "ips": ["10.0.0.10"], "label": true } });
    let delegates = Delegates::of_conf(&it.exec, &invocation, Some(&label)).expect("good");
    let made = delegates.add().expect("success");
    let result = r#"{"second":2.50,"cniVersion":"1.0.0", "ips":[{"version":"4","address":"10.0.0.5/24"}], "odd":1.00 }"#;
    assert_eq!(made.result_in(invocation.conf.version).expect("read"), result);
    assert_eq!(made.result().expect("read").ips[0].address.to_string(), "10.0.0.5/24");

    let calls = it.scripts.calls();
    let seen: Vec<(&str, &str)> =
        calls.iter().map(|call| (call.what.as_str(), call.stdin.as_str())).collect();
    let args = r#""a":[ 1 ],"cni":{"mac":"02:00:00:00:00:01","ips":["10.0.0.9"],"label":true}"#;
    assert_eq!(
        seen,
        [
            (
                "first ADD",
                // what it says itself stays; of `runtimeConfig` it gets what it declares
                r#"{"cniVersion":"1.0.0","name":"net","type":"first","z":1.0,"args":{"own":1.50,"cni":{"mac":"fixed","ips":["10.0.0.9"],"label":true},"a":[ 1 ]},"runtimeConfig":{"mac":"x"}}"#
            ),
            (
                "second ADD",
                &format!(
                    r#"{{"cniVersion":"1.0.0","name":"net","type":"second","args":{{{args}}},"runtimeConfig":{{"mac":"x","dns":{{ }}}},"prevResult":{{"cniVersion":"1.0.0", "ips":[{{"version":"4","address":"10.0.0.5/24"}}], "odd":1.00 }}}}"#
                )
            ),
        ]
    );
    for call in &calls {
        let bin = it.scripts.bin();
        assert_eq!(
            call.env,
            format!(
                "CNI_ARGS=A=1\nCNI_COMMAND=ADD\nCNI_CONTAINERID=c1\nCNI_IFNAME=eth0\nCNI_NETNS=/n\nCNI_PATH={}\n",
                bin.display()
            )
        );
    }
}

#[test]
fn a_result_comes_in_the_version_asked_for() {
    let it = Delegating::new();
    let old = json!({ "cniVersion": "0.2.0", "ip4": { "ip": "10.0.0.5/24" }, "dns": {} });
    for (version, answer, conf) in [
        // the network's version, no version stated
        ("0.2.0", r#"{"ip4":{"ip":"10.0.0.5/24"},"dns":{}}"#, r#"{"type":"first"}"#),
        // another one than it was asked in
        ("0.2.0", r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.5/24"}]}"#, r#"{"type":"first"}"#),
        // asked in a version of its own
        ("0.2.0", r#"{"ips":[{"address":"10.0.0.5/24"}]}"#, r#"{"type":"first","cniVersion":"1.0.0"}"#),
    ] {
        it.answers("first", "ADD", &format!("echo '{answer}'"));
        let invocation = it.invocation(Command::Add, version, &[conf], "");
        let made = it.delegates(&invocation).add().expect("success");
        assert_eq!(parsed(&made.result_in(invocation.conf.version).expect("read")), old, "{answer}");
    }
    let asked = parsed(&it.scripts.calls()[2].stdin);
    assert_eq!(asked["cniVersion"], "1.0.0");
}

#[test]
fn a_list_may_speak_several_versions() {
    let it = Delegating::new();
    it.answers("first", "ADD", r#"echo '{"ip4":{"ip":"10.0.0.5/24"}}'"#);
    it.scripts.plugin("second", r#"[ $CNI_COMMAND != ADD ] || sed 's/.*"prevResult":\(.*\)}$/\1/' $stdin"#);
    let confs = [r#"{"type":"first"}"#, r#"{"type":"second","cniVersion":"1.0.0"}"#];
    let made = it.add("0.2.0", &confs).expect("success");
    let calls = it.scripts.calls();
    let prev = json!({ "cniVersion": "1.0.0", "ips": [{ "address": "10.0.0.5/24" }] });
    assert_eq!(parsed(&calls[1].stdin)["prevResult"], prev);
    assert_eq!(made.result().expect("read").ips.len(), 1);
}

#[test]
fn a_plugin_that_fails_leaves_nothing() {
    let it = Delegating::new();
    let error = r#"echo '{"code":120,"msg":"not today","details":"ask again"}'; exit 1"#;
    it.answers("second", "ADD", error);
    let failed = it.add("1.0.0", &[FIRST, SECOND, r#"{"type":"third"}"#]).expect_err("it fails");
    assert_eq!(failed, CniError::new(120_u32, "not today").with_details("ask again"), "as it is");
    assert_eq!(it.scripts.called(), ["first ADD", "second ADD", "second DEL", "first DEL"]);

    it.scripts.plugin(
        "first",
        r#"[ $CNI_COMMAND = ADD ] && echo '{}' || { echo '{"code":9,"msg":"stuck"}'; exit 1; }"#,
    );
    let failed = it.add("1.0.0", &[FIRST, SECOND]).expect_err("it fails");
    assert_eq!(failed.details.as_deref(), Some("ask again; undoing it failed too: stuck"));
}

#[test]
fn what_is_no_result_is_an_error_and_is_undone() {
    let it = Delegating::new();
    for (printed, code, words) in [
        ("echo hello", 6, "delegate `first`: result of a plugin cannot be read"),
        ("true", 6, "delegate `first`: result of a plugin cannot be read"),
        ("echo '[]'", 6, "delegate `first`: result of a plugin cannot be read"),
        (
            r#"echo '{"ips":[{"address":"10.0.0.5"}]}'"#,
            6,
            "delegate `first`: result of a plugin cannot be read",
        ),
        (
            r#"echo '{"cniVersion":"9.0.0"}'"#,
            1,
            "delegate `first`: result of a plugin: CNI version `9.0.0` is not supported",
        ),
    ] {
        it.answers("first", "ADD", printed);
        let error = it.add("1.0.0", &[FIRST, SECOND]).expect_err(printed);
        assert_eq!(error.code, code, "{printed}: {error}");
        assert!(error.msg.starts_with(words), "{printed}: {error}");
        assert_eq!(it.scripts.called(), ["first ADD", "first DEL"], "{printed}");
    }
}

#[test]
fn del_goes_back_with_what_was_kept() {
    let it = Delegating::new();
    for (version, prev) in [("1.0.0", true), ("0.4.0", true), ("0.3.1", false)] {
        let kept = it.add(version, &[FIRST, SECOND]).expect("success");
        it.scripts.calls();
        // as it comes back from a file
        let kept: Delegated =
            serde_json::from_value(serde_json::to_value(&kept).expect("JSON")).expect("kept");
        let invocation = it.invocation(Command::Del, version, &[], "");
        let call = PluginCall::delegated(&invocation, Command::Del);
        let delegates = Delegates::of_kept(&it.exec, &kept, call).expect("as they were");
        delegates.del(Some(&kept), &invocation.conf).expect("success");
        let calls = it.scripts.calls();
        let names: Vec<&str> = calls.iter().map(|call| call.what.as_str()).collect();
        assert_eq!(names, ["second DEL", "first DEL"]);
        for call in &calls {
            assert_eq!(call.stdin.contains(r#""odd":1.00 "#), prev, "{version}: {}", call.stdin);
            assert!(call.env.contains("CNI_COMMAND=DEL\nCNI_CONTAINERID=c1"), "{}", call.env);
        }
        assert_eq!(parsed(&calls[1].stdin)["z"], json!(1.0), "the configuration is that of ADD");
    }
}

#[test]
fn del_without_anything_kept_goes_back_all_the_same() {
    let it = Delegating::new();
    for (more, told) in
        [("", false), (r#","prevResult":{"theirs":1}"#, true), (r#","prevResult":[1]"#, false)]
    {
        let invocation = it.invocation(Command::Del, "1.0.0", &[FIRST, SECOND], more);
        it.delegates(&invocation).del(None, &invocation.conf).expect("success");
        let calls = it.scripts.calls();
        assert_eq!(calls.len(), 2, "{more}");
        assert!(calls.iter().all(|call| call.stdin.contains("\"theirs\":1") == told), "{calls:?}");
    }
    it.answers("second", "DEL", r#"echo '{"code":9,"msg":"stuck"}'; exit 1"#);
    let invocation = it.invocation(Command::Del, "1.0.0", &[FIRST, SECOND], "");
    let error = it.delegates(&invocation).del(None, &invocation.conf).expect_err("one fails");
    assert_eq!((error.code, error.msg.as_str()), (9, "stuck"));
    assert_eq!(it.scripts.called(), ["second DEL", "first DEL"], "it goes on");
}

#[test]
fn check_gc_and_status_are_handed_on_where_the_version_has_them() {
    let it = Delegating::new();
    let old = r#"{"type":"first","cniVersion":"0.4.0"}"#;
    let check = it.invocation(Command::Check, "1.1.0", &[old, SECOND], r#","prevResult":{"theirs":1.50}"#);
    it.delegates(&check).check(&check.conf).expect("success");
    let calls = it.scripts.calls();
    assert_eq!([&calls[0].what, &calls[1].what], ["first CHECK", "second CHECK"]);
    assert!(calls[1].stdin.contains(r#""prevResult":{"cniVersion":"1.1.0","theirs":1.50}"#), "{calls:?}");

    let valid = r#","cni.dev/valid-attachments":[{"containerID":"c2","ifname":"eth1"}]"#;
    let gc = it.invocation(Command::Gc, "1.1.0", &[old, SECOND], valid);
    it.delegates(&gc).gc().expect("success");
    let calls = it.scripts.calls();
    assert_eq!(calls.len(), 1, "0.4.0 has no GC: {calls:?}");
    for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        assert_eq!(parsed(&calls[0].stdin)[key], json!([{ "containerID": "c2", "ifname": "eth1" }]));
    }

    it.answers("second", "STATUS", r#"echo '{"code":51,"msg":"half"}'; exit 1"#);
    let status = it.invocation(Command::Status, "1.1.0", &[old, SECOND], "");
    let error = it.delegates(&status).status().expect_err("it says so");
    assert_eq!((error.code, error.msg.as_str()), (51, "half"));
    assert_eq!(it.scripts.called(), ["second STATUS"]);
}

#[test]
fn one_that_is_not_there_is_known_before() {
    let it = Delegating::new();
    let located = |conf: &str| {
        it.delegates(&it.invocation(Command::Add, "1.0.0", &[FIRST, conf], ""))
            .locate()
            .map_err(|error| error.code)
    };
    assert_eq!(located(SECOND), Ok(()));
    for (name, code) in [("third", 102), ("../first", 7), ("..", 7)] {
        assert_eq!(located(&json!({ "type": name }).to_string()), Err(code), "{name}");
    }
    assert!(it.scripts.calls().is_empty());
}

#[test]
fn one_need_not_be_a_list() {
    let it = Delegating::new();
    let delegates = |delegate: &str| {
        let invocation = it.invocation(Command::Add, "1.0.0", &[], "");
        let text = invocation.conf.text.replace("\"delegate\":[]", &format!("\"delegate\":{delegate}"));
        let conf = NetworkConf::parse(text.as_bytes()).expect("JSON");
        let confs = conf.delegates().map_err(|error| error.to_string())?;
        Ok::<_, String>(confs.iter().map(|conf| conf.get().to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(delegates(FIRST), Ok(vec![FIRST.to_owned()]));
    assert_eq!(delegates(&format!("[ {FIRST}, {SECOND} ]")), Ok(vec![FIRST.to_owned(), SECOND.to_owned()]));
    assert_eq!(delegates("null"), Ok(vec![]));
    assert!(delegates("7").expect_err("a number").contains("a plugin or a list of plugins"));
}
