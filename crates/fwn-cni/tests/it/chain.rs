//! Chains of plugins that are shell scripts: who is called, in what order, with what, and what is kept.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fwn_cni::{Attachment, Chain, CniError, NetworkList, ProcessExecutor, RuntimeConf, SpecVersion};
use serde_json::{Value, json};

use crate::scripts::Scripts;

/// Three plugins: `first` makes a result, `second` adds to it in a way of its own, `third` hands it on.
struct Chained {
    scripts: Scripts,
    exec: ProcessExecutor,
}

impl Chained {
    fn new() -> Self {
        let scripts = Scripts::new();
        scripts
            .plugin(
                "first",
                r#"[ $CNI_COMMAND != ADD ] || echo '{ "ips":[{"address":"10.0.0.5/24"}], "odd":1.00 }'"#,
            )
            .plugin(
                "second",
                r#"[ $CNI_COMMAND != ADD ] || sed 's/.*"prevResult":{\(.*\)}}$/{"second":2.50,\1}/' $stdin"#,
            )
            .plugin("third", r#"[ $CNI_COMMAND != ADD ] || sed 's/.*"prevResult":\(.*\)}$/\1/' $stdin"#);
        Self { scripts, exec: ProcessExecutor::new() }
    }

    fn chain(&self) -> Chain<'_> {
        Chain { exec: &self.exec, path: vec![self.scripts.bin()], cache_dir: self.cache() }
    }

    fn cache(&self) -> PathBuf {
        self.scripts.path("cache")
    }

    /// Names of the files in the cache.
    fn kept(&self) -> Vec<String> {
        let entries = fs::read_dir(self.cache().join("results")).into_iter().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    fn add(&self, list: &NetworkList, rt: &RuntimeConf) -> String {
        self.chain().add(list, rt).expect("success").get().to_owned()
    }
}

fn list(version: &str) -> NetworkList {
    let text = r#"{"cniVersion":"VERSION","name":"net","plugins":[
        {"type":"first","z":1.0,"capabilities":{"mac":true,"ips":false,"portMappings":true},"a": [ 2 ]},
        {"name":"own","type":"second","cni.dev/x":1,"prevResult":{"fake":1}},
        {"type":"third","capabilities":{"dns":true}}]}"#;
    NetworkList::parse_list(&text.replace("VERSION", version)).expect("a good list")
}

fn rt(id: &str) -> RuntimeConf {
    let capability_args = json!({"mac": "02:00:00:00:00:01", "ips": ["10.0.0.9"], "bandwidth": {}});
    RuntimeConf {
        container_id: id.to_owned(),
        netns: Some(PathBuf::from("/run/netns/blue")),
        ifname: "eth0".to_owned(),
        args: vec![("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())],
        capability_args: capability_args.as_object().expect("an object").clone(),
    }
}

const RESULT: &str =
    r#"{"second":2.50,"cniVersion":"1.1.0", "ips":[{"address":"10.0.0.5/24"}], "odd":1.00 }"#;

#[test]
fn add_goes_through_the_list_and_hands_each_result_on() {
    let chained = Chained::new();
    assert_eq!(chained.add(&list("1.1.0"), &rt("c1")), RESULT);
    let calls = chained.scripts.calls();
    let seen: Vec<(&str, &str)> =
        calls.iter().map(|call| (call.what.as_str(), call.stdin.as_str())).collect();
    assert_eq!(
        seen,
        [
            (
                "first ADD",
                // keys in their order, values as written; no capabilities; only what is declared and given
                r#"{"cniVersion":"1.1.0","name":"net","type":"first","z":1.0,"a":[ 2 ],"runtimeConfig":{"mac":"02:00:00:00:00:01"}}"#
            ),
            (
                "second ADD",
                r#"{"cniVersion":"1.1.0","name":"net","type":"second","prevResult":{"cniVersion":"1.1.0", "ips":[{"address":"10.0.0.5/24"}], "odd":1.00 }}"#
            ),
            (
                "third ADD",
                &format!(r#"{{"cniVersion":"1.1.0","name":"net","type":"third","prevResult":{RESULT}}}"#)
            ),
        ]
    );
    for call in &calls {
        let bin = chained.scripts.bin();
        let expected = format!(
            "CNI_ARGS=A=1;B=2\nCNI_COMMAND=ADD\nCNI_CONTAINERID=c1\nCNI_IFNAME=eth0\nCNI_NETNS=/run/netns/blue\n\
             CNI_PATH={}\n",
            bin.display()
        );
        assert_eq!(call.env, expected);
    }
}

#[test]
fn the_result_is_kept_in_libcnis_place_and_form() {
    let chained = Chained::new();
    let list = list("1.1.0");
    chained.add(&list, &rt("c1"));
    assert_eq!(chained.kept(), ["net-c1-eth0"]);
    let file = chained.cache().join("results/net-c1-eth0");
    let kept: Value = serde_json::from_str(&fs::read_to_string(&file).expect("readable")).expect("JSON");
    assert_eq!(
        kept,
        json!({
            "kind": "cniCacheV1",
            "containerId": "c1",
            "config": kept["config"],
            "ifName": "eth0",
            "networkName": "net",
            "netns": "/run/netns/blue",
            "cniArgs": [["A", "1"], ["B", "2"]],
            "capabilityArgs": {"mac": "02:00:00:00:00:01", "ips": ["10.0.0.9"], "bandwidth": {}},
            "result": serde_json::from_str::<Value>(RESULT).expect("JSON"),
        })
    );
    let config = chained.scripts.path("config");
    fs::write(&config, kept["config"].as_str().expect("text")).expect("written");
    let decoded = std::process::Command::new("base64").arg("-d").arg(&config).output().expect("base64 runs");
    assert_eq!(String::from_utf8(decoded.stdout).expect("UTF-8"), list.text);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().expect("a folder"))), (0o600, 0o700));
    let beside = fs::read_dir(chained.cache()).expect("readable").count();
    assert_eq!(beside, 1, "no temporary file stays");
}

#[test]
fn del_goes_back_through_the_list_with_the_last_result() {
    for (version, prev) in [("1.1.0", true), ("0.4.0", true), ("0.3.1", false)] {
        let chained = Chained::new();
        let list = list(version);
        let result = chained.add(&list, &rt("c1"));
        chained.scripts.calls();
        chained.chain().del(&list, &rt("c1")).expect("success");
        let calls = chained.scripts.calls();
        let called: Vec<&str> = calls.iter().map(|call| call.what.as_str()).collect();
        assert_eq!(called, ["third DEL", "second DEL", "first DEL"]);
        let expected = format!(r#","prevResult":{result}}}"#);
        for call in &calls {
            assert_eq!(call.stdin.ends_with(&expected), prev, "{}", call.stdin);
            assert_eq!(call.stdin.contains("prevResult"), prev, "{}", call.stdin);
        }
        assert_eq!(chained.kept(), [""; 0]);
        // once more, with nothing kept
        chained.chain().del(&list, &rt("c1")).expect("success");
        assert!(chained.scripts.calls().iter().all(|call| !call.stdin.contains("prevResult")));
    }
}

#[test]
fn del_goes_on_after_errors_and_keeps_the_result_for_another_try() {
    let chained = Chained::new();
    let list = list("1.0.0");
    chained.add(&list, &rt("c1"));
    chained.scripts.calls();
    chained.scripts.plugin("third", r#"echo '{"code":11,"msg":"busy"}'; exit 1"#);
    chained.scripts.plugin("first", "echo oh >&2; exit 1");
    let error = chained.chain().del(&list, &rt("c1")).expect_err("failures");
    assert_eq!(error.code, 11);
    assert_eq!(
        error.msg,
        "plugin `third` failed (DEL): busy; plugin `first` failed (DEL): plugin `first` failed (exit status: 1) \
         without a CNI error; it printed `oh`"
    );
    assert_eq!(chained.scripts.called(), ["third DEL", "second DEL", "first DEL"]);
    assert_eq!(chained.kept(), ["net-c1-eth0"]);
}

#[test]
fn del_does_without_a_kept_result_that_is_spoilt() {
    let chained = Chained::new();
    let list = list("1.0.0");
    for spoilt in
        ["", "{", "[]", r#"{"kind":"cniCacheV1","containerId":"c1","ifName":"eth0","networkName":"net"}"#]
    {
        fs::create_dir_all(chained.cache().join("results")).expect("made");
        fs::write(chained.cache().join("results/net-c1-eth0"), spoilt).expect("written");
        chained.chain().del(&list, &rt("c1")).expect(spoilt);
        assert_eq!(chained.kept(), [""; 0]);
    }
    assert!(chained.scripts.calls().iter().all(|call| !call.stdin.contains("prevResult")));
}

#[test]
fn a_failed_add_is_undone_by_all_plugins() {
    let chained = Chained::new();
    chained.scripts.plugin("second", r#"echo '{"code":7,"msg":"wrong","details":"here"}'; exit 1"#);
    let error = chained.chain().add(&list("1.0.0"), &rt("c1")).expect_err("failure");
    assert_eq!(error.code, 7);
    assert_eq!(error.msg, "plugin `second` failed (ADD): wrong");
    let details = "here; undoing it failed too: plugin `second` failed (DEL): wrong: here";
    assert_eq!(error.details.as_deref(), Some(details));
    assert_eq!(chained.scripts.called(), ["first ADD", "second ADD", "third DEL", "second DEL", "first DEL"]);
    assert_eq!(chained.kept(), [""; 0]);
}

#[test]
fn an_add_without_a_result_is_an_error() {
    for (body, word) in
        [("", "EOF"), ("echo '{}{}'", "trailing characters"), ("echo '[]'", "expected an object")]
    {
        let chained = Chained::new();
        chained.scripts.plugin("third", body);
        let error = chained.chain().add(&list("1.0.0"), &rt("c1")).expect_err("failure");
        assert_eq!(error.code, 6);
        assert!(error.to_string().starts_with("plugin `third` failed (ADD): result"), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn a_result_in_another_version_is_converted_before_it_is_handed_on() {
    let chained = Chained::new();
    chained.scripts.plugin("first", r#"echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.5/24"}]}'"#);
    let result = chained.add(&list("0.3.1"), &rt("c1"));
    let expected = json!({"cniVersion": "0.3.1", "second": 2.5, "dns": {},
        "ips": [{"version": "4", "address": "10.0.0.5/24"}]});
    assert_eq!(serde_json::from_str::<Value>(&result).expect("JSON"), expected);
}

#[test]
fn check_goes_through_the_list_with_the_kept_result_until_one_fails() {
    let chained = Chained::new();
    let list = list("0.4.0");
    let result = chained.add(&list, &rt("c1"));
    chained.scripts.calls();
    chained.chain().check(&list, &rt("c1")).expect("success");
    let calls = chained.scripts.calls();
    let expected = format!(r#","prevResult":{result}}}"#);
    assert!(calls.iter().all(|call| call.stdin.ends_with(&expected)), "{calls:?}");
    let called: Vec<&str> = calls.iter().map(|call| call.what.as_str()).collect();
    assert_eq!(called, ["first CHECK", "second CHECK", "third CHECK"]);

    chained.scripts.plugin("second", r#"echo '{"code":101,"msg":"gone"}'; exit 1"#);
    let error = chained.chain().check(&list, &rt("c1")).expect_err("failure");
    assert_eq!(error, CniError::new(101_u32, "plugin `second` failed (CHECK): gone"));
    assert_eq!(chained.scripts.called(), ["first CHECK", "second CHECK"]);

    let error = chained.chain().check(&list, &rt("c2")).expect_err("never added");
    assert_eq!(error.code, 3);
    let mut disabled = list.clone();
    disabled.disable_check = true;
    chained.chain().check(&disabled, &rt("c2")).expect("not checked");
    let mut old = list;
    old.version = SpecVersion::V0_3_1;
    assert_eq!(chained.chain().check(&old, &rt("c1")).expect_err("too old").code, 1);
    assert_eq!(chained.scripts.called(), [""; 0]);
}

#[test]
fn a_bare_result_of_an_old_libcni_is_read() {
    let chained = Chained::new();
    fs::create_dir_all(chained.cache().join("results")).expect("made");
    let bare = r#"{"cniVersion":"0.3.1","ips":[{"version":"4","address":"10.0.0.5/24"}]}"#;
    fs::write(chained.cache().join("results/net-c1-eth0"), bare).expect("written");
    chained.chain().check(&list("1.0.0"), &rt("c1")).expect("success");
    let converted = r#","prevResult":{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.5/24"}]}}"#;
    assert!(chained.scripts.calls().iter().all(|call| call.stdin.ends_with(converted)));
}

#[test]
fn gc_deletes_what_is_not_valid_and_then_asks_every_plugin() {
    let chained = Chained::new();
    let list = list("1.1.0");
    for id in ["c1", "c2", "c3"] {
        chained.add(&list, &rt(id));
    }
    let mut other = list.clone();
    other.name = "net-c2".to_owned();
    chained.add(&other, &rt("c9"));
    fs::write(chained.cache().join("results/junk"), "junk").expect("written");
    chained.scripts.calls();

    let valid = Attachment { container_id: "c2".to_owned(), ifname: "eth0".to_owned() };
    chained.chain().gc(&list, Some(&[valid])).expect("success");
    let calls = chained.scripts.calls();
    let called: Vec<&str> = calls.iter().map(|call| call.what.as_str()).collect();
    let del = ["third DEL", "second DEL", "first DEL"];
    assert_eq!(called, [&del[..], &del[..], &["first GC", "second GC", "third GC"]].concat());
    // the DEL is for the attachment as it was added
    let env =
        "CNI_ARGS=A=1;B=2\nCNI_COMMAND=DEL\nCNI_CONTAINERID=c1\nCNI_IFNAME=eth0\nCNI_NETNS=/run/netns/blue\n";
    assert!(calls[0].env.starts_with(env), "{}", calls[0].env);
    assert!(calls[2].stdin.contains(r#""runtimeConfig":{"mac":"02:00:00:00:00:01"}"#), "{}", calls[2].stdin);
    let list_of_valid = r#"[{"containerID":"c2","ifname":"eth0"}]"#;
    assert_eq!(
        calls[6].stdin,
        format!(
            r#"{{"cniVersion":"1.1.0","name":"net","type":"first","z":1.0,"a":[ 2 ],"cni.dev/valid-attachments":{list_of_valid},"cni.dev/attachments":{list_of_valid}}}"#
        )
    );
    assert!(calls[6].env.contains("CNI_COMMAND=GC\nCNI_CONTAINERID=\nCNI_IFNAME=\n"), "{}", calls[6].env);
    assert_eq!(chained.kept(), ["junk", "net-c2-c9-eth0", "net-c2-eth0"]);

    // without a list nothing is valid, and plugins get no list
    chained.chain().gc(&list, None).expect("success");
    let calls = chained.scripts.calls();
    assert_eq!(calls.len(), 6);
    assert!(calls.iter().all(|call| !call.stdin.contains("cni.dev/")));
    assert_eq!(chained.kept(), ["junk", "net-c2-c9-eth0"]);
}

#[test]
fn gc_goes_on_after_errors_and_is_left_out_where_it_is_not_wanted() {
    let chained = Chained::new();
    let list = list("1.1.0");
    chained.add(&list, &rt("c1"));
    chained.scripts.plugin("second", r#"echo '{"code":5,"msg":"no"}'; exit 1"#).calls();
    let error = chained.chain().gc(&list, Some(&[])).expect_err("failures");
    assert_eq!(error.code, 5);
    assert_eq!(
        error.msg,
        "stale attachment `c1` `eth0`: plugin `second` failed (DEL): no; plugin `second` failed (GC): no"
    );
    assert_eq!(chained.scripts.called().len(), 6);

    let mut disabled = list.clone();
    disabled.disable_gc = true;
    chained.chain().gc(&disabled, Some(&[])).expect("nothing done");
    assert_eq!(chained.scripts.called(), [""; 0]);
    let mut old = list;
    old.version = SpecVersion::V1_0_0;
    chained.scripts.plugin("second", "");
    chained.chain().gc(&old, Some(&[])).expect("success");
    assert_eq!(chained.scripts.called(), ["third DEL", "second DEL", "first DEL"]);
}

#[test]
fn status_stops_at_the_first_that_is_not_ready() {
    let chained = Chained::new();
    chained.scripts.plugin("second", r#"echo '{"code":51,"msg":"down"}'; exit 1"#);
    let error = chained.chain().status(&list("1.1.0")).expect_err("not ready");
    assert_eq!(error, CniError::new(51_u32, "plugin `second` failed (STATUS): down"));
    assert_eq!(chained.scripts.called(), ["first STATUS", "second STATUS"]);
    chained.chain().status(&list("1.0.0")).expect("no STATUS there");
    assert_eq!(chained.scripts.called(), [""; 0]);
}

#[test]
fn names_that_would_leave_the_cache_are_refused_before_anything_runs() {
    let chained = Chained::new();
    let list = list("1.0.0");
    for bad in [
        RuntimeConf { container_id: "../x".to_owned(), ..rt("") },
        RuntimeConf { ifname: "../x".to_owned(), ..rt("c1") },
        rt(""),
    ] {
        let chain = chained.chain();
        let codes = [chain.add(&list, &bad).map(|_| ()), chain.del(&list, &bad), chain.check(&list, &bad)]
            .map(|result| result.expect_err("refused").code);
        assert_eq!(codes, [4, 4, 4]);
    }
    assert_eq!(chained.scripts.called(), [""; 0]);
}
