//! Network configurations from files: which file wins, which version, and what is refused.

use std::fs;

use fwn_cni::{CniError, NetworkList, SpecVersion};

use crate::scripts::Scripts;

fn net_d(files: &[(&str, &str)]) -> Scripts {
    let scripts = Scripts::new();
    for (name, text) in files {
        let path = scripts.path("net.d").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    scripts
}

fn load(scripts: &Scripts, name: &str) -> Result<NetworkList, CniError> {
    NetworkList::load(&scripts.path("net.d"), name).map_err(CniError::from)
}

fn types(list: &NetworkList) -> Vec<&str> {
    list.plugins.iter().map(|plugin| plugin.plugin_type.as_str()).collect()
}

#[test]
fn lists_come_before_single_files_and_the_first_by_name_wins() {
    let list = |plugin| format!(r#"{{"name":"net","cniVersion":"1.0.0","plugins":[{{"type":"{plugin}"}}]}}"#);
    let single = |plugin| format!(r#"{{"name":"net","cniVersion":"0.2.0","type":"{plugin}"}}"#);
    let (c, b) = (list("c"), list("b"));
    let (json, conf) = (single("json"), single("conf"));
    let files = [
        ("00.conf", conf.as_str()),
        ("01.json", json.as_str()),
        ("20.conflist", b.as_str()),
        ("30.conflist", c.as_str()),
        ("10.conflist", r#"{"name":"other","plugins":[{"type":"o"}]}"#),
        ("05.txt", "not looked at"),
        ("04.conflist/x", "a folder is not looked at"),
    ];
    assert_eq!(types(&load(&net_d(&files), "net").expect("found")), ["b"]);
    let found = load(&net_d(&files[..2]), "net").expect("found");
    assert_eq!(
        (types(&found), found.version, found.text.as_str()),
        (vec!["conf"], SpecVersion::V0_2_0, conf.as_str())
    );
    let other = load(&net_d(&files), "other").expect("found");
    assert_eq!((types(&other), other.version), (vec!["o"], SpecVersion::V0_1_0));

    let error = load(&net_d(&files), "nowhere").expect_err("not there");
    assert_eq!(error.code, 7);
    assert!(error.msg.starts_with("no network `nowhere` in `/"), "{error}");
    assert!(error.msg.ends_with("`, only `net`, `other`"), "{error}");
    let error = NetworkList::load("/nonexistent".as_ref(), "net").expect_err("not there");
    assert_eq!(error.to_string(), "no network `net` in `/nonexistent`, nor any other");
}

#[test]
fn a_file_that_cannot_be_read_on_the_way_is_an_error_with_its_name() {
    let good = r#"{"name":"net","plugins":[{"type":"a"}]}"#;
    let scripts = net_d(&[("10.conflist", "{"), ("20.conflist", good)]);
    let error = load(&scripts, "net").expect_err("broken file");
    assert_eq!(error.code, 6);
    let text = error.to_string();
    assert!(
        text.contains("net.d/10.conflist` cannot be used: network configuration cannot be decoded: EOF"),
        "{text}"
    );
}

#[test]
fn the_newest_version_that_is_known_is_spoken() {
    for (versions, expected) in [
        ("", Ok("0.1.0")),
        (r#","cniVersion":"""#, Ok("0.1.0")),
        (r#","cniVersion":"0.4.0""#, Ok("0.4.0")),
        (r#","cniVersion":"0.3.1","cniVersions":["0.4.0","1.0.0","0.3.1"]"#, Ok("1.0.0")),
        (r#","cniVersion":"1.1.0","cniVersions":["0.4.0"]"#, Ok("1.1.0")),
        (r#","cniVersions":["0.4.0","1.1.0","1.2.0","2.0.0"]"#, Ok("1.1.0")),
        (r#","cniVersion":"1.10.0","cniVersions":["1.0.0"]"#, Ok("1.0.0")),
        (r#","cniVersions":[]"#, Ok("0.1.0")),
        (r#","cniVersion":"1.2.0""#, Err("CNI version `1.2.0` is not supported")),
        (r#","cniVersions":["1.2.0"]"#, Err("CNI version `1.2.0` is not supported")),
        (r#","cniVersions":["1.0.0","0.3.2"]"#, Err("CNI version `0.3.2` is not supported")),
        (r#","cniVersions":["1.0.0","new"]"#, Err("CNI version `new` is not supported")),
        (r#","cniVersions":[1]"#, Err("`cniVersions` is not a list of versions: invalid type: integer `1`")),
    ] {
        let text = format!(r#"{{"name":"net","plugins":[{{"type":"a"}}]{versions}}}"#);
        let found = NetworkList::parse_list(&text).map(|list| list.version.to_string());
        match expected {
            Ok(version) => assert_eq!(found.expect(versions), version, "{versions}"),
            Err(word) => {
                let text = found.expect_err(versions).to_string();
                assert!(text.starts_with(word), "{versions}: {text}");
            }
        }
    }
}

#[test]
fn switches_are_booleans_also_as_text() {
    let read = |value: &str| {
        let text = format!(
            r#"{{"name":"net","plugins":[{{"type":"a"}}],"disableCheck":{value},"disableGC":{value},
            "loadOnlyInlinedPlugins":{value}}}"#
        );
        NetworkList::parse_list(&text).map(|list| (list.disable_check, list.disable_gc))
    };
    for (value, on) in
        [("true", true), ("\"True\"", true), ("false", false), ("\"false\"", false), ("null", false)]
    {
        assert_eq!(read(value).expect(value), (on, on), "{value}");
    }
    let error = read("\"yes\"").expect_err("not a switch");
    assert_eq!(error.to_string(), "`loadOnlyInlinedPlugins` is not `true` or `false`: `\"yes\"`");
}

#[test]
fn capabilities_that_are_true_are_declared() {
    let text = r#"{"name":"net","plugins":[{"type":"a","capabilities":{"mac":true,"ips":false,"x":null,"dns":true}}]}"#;
    assert_eq!(NetworkList::parse_list(text).expect("good").plugins[0].capabilities, ["dns", "mac"]);
}

#[test]
fn the_folder_of_a_networks_name_adds_plugins() {
    let files = [
        ("net.conflist", r#"{"name":"net","plugins":[{"type":"a"}]}"#),
        ("net/20.conf", r#"{"type":"c"}"#),
        ("net/10.conf", r#"{"type":"b"}"#),
        ("net/30.json", "not looked at"),
        ("only.conflist", r#"{"name":"only","plugins":[{"type":"a"}],"loadOnlyInlinedPlugins":true}"#),
        ("only/10.conf", r#"{"type":"b"}"#),
        ("folder.conflist", r#"{"name":"folder"}"#),
        ("folder/10.conf", r#"{"type":"b"}"#),
    ];
    let scripts = net_d(&files);
    for (name, expected) in [("net", vec!["a", "b", "c"]), ("only", vec!["a"]), ("folder", vec!["b"])] {
        assert_eq!(types(&load(&scripts, name).expect(name)), expected);
    }
}

#[test]
fn what_is_no_network_is_refused() {
    for (text, word) in [
        ("[]", "network configuration cannot be decoded"),
        (r#"{"plugins":[{"type":"a"}]}"#, "network configuration has no `name`"),
        (r#"{"name":"../x","plugins":[{"type":"a"}]}"#, "network name `../x` is not"),
        (r#"{"name":"n"}"#, "network `n` has no plugins"),
        (r#"{"name":"n","plugins":[]}"#, "`plugins` of network `n` is empty"),
        (r#"{"name":"n","plugins":{}}"#, "`plugins` is not a list of plugins"),
        (r#"{"name":"n","plugins":[{}]}"#, "a plugin of the network has no `type`"),
        (r#"{"name":"n","plugins":[{"type":"a","capabilities":{"mac":1}}]}"#, "`capabilities` is not"),
        (r#"{"name":"n","loadOnlyInlinedPlugins":true}"#, "network `n` says `loadOnlyInlinedPlugins`"),
    ] {
        let error = NetworkList::parse_list(text).expect_err(text).to_string();
        assert!(error.starts_with(word), "{text}: {error}");
    }
}
