//! Configuration texts and what is said about them: the exact messages, the seed's own files, any text at all.

use std::sync::Arc;

use fwn_plan::config::{Engine, ForEach, LogLevel, NetConf, Placement, Section, parse_fw, parse_netconf};
use fwn_plan::lint::Lint;
use fwn_plan::netfilter::Family;
use fwn_plan::origin::Source;
use fwn_plan::problem::{Problems, render_problems};
use proptest::prelude::*;

fn fw(text: &str) -> Result<Section, Problems> {
    parse_fw(&Source::new("a.fw", text))
}

fn netconf(text: &str) -> Result<NetConf, Problems> {
    parse_netconf(&Source::new("network configuration", text))
}

#[track_caller]
fn fw_errors(text: &str, expected: &[&str]) {
    let message = fw(text).expect_err("a problem").to_string();
    assert_eq!(message.lines().collect::<Vec<_>>(), expected, "{text}");
}

#[track_caller]
fn netconf_errors(text: &str, expected: &[&str]) {
    let message = netconf(text).expect_err("a problem").to_string();
    assert_eq!(message.lines().collect::<Vec<_>>(), expected, "{text}");
}

const SEED: &str = r#"{
    "cniVersion": "0.3.1",
    "name": "test-firewallnetns",
    "type": "firewallnetns",
    "dataDir": "/etc/mesos-cni",
    "fwFiles": [ "default-policy", "allow-ping", "allow-ping-out" ],
    "ipsets": [
      { "set": "blacklistweb", "hashtype": "hash:ip", "netmask": 24, "hashsize": 4096 }
    ],
    "policies": [
      { "chain": "INPUT", "policy": "ACCEPT" },
      { "chain": "OUTPUT", "policy": "ACCEPT" } ],
    "rules": [
      { "type": "A", "chain": "INPUT", "rule": "-p tcp --dport 8080 -j ACCEPT" },
      { "type": "A", "chain": "INPUT", "rule": "-p tcp --dport 8443 -j ACCEPT" },
      { "type": "A", "chain": "INPUT", "rule": "-p tcp -m set --match-set blacklistweb src -m multiport --dports 80,443 -j REJECT --reject-with tcp-reset" }
      ],
    "prevResult": { "cniVersion": "0.3.1", "interfaces": [{ "name": "eth0" }], "ips": [] }
  }"#;

#[test]
fn the_seed_netconf_is_read() {
    let conf = netconf(SEED).expect("valid");
    assert_eq!(conf.data_dir.expect("dataDir").value, "/etc/mesos-cni");
    let files: Vec<_> = conf.fw_files.iter().map(|file| file.value.as_str()).collect();
    assert_eq!(files, ["default-policy", "allow-ping", "allow-ping-out"]);

    let [set] = conf.section.sets.as_slice() else { panic!("one set") };
    assert_eq!((set.set.value.as_str(), set.hashtype.value.as_str()), ("blacklistweb", "hash:ip"));
    let options: Vec<_> = set.options.iter().map(|(name, text)| (*name, text.value.as_str())).collect();
    assert_eq!(options, [("netmask", "24"), ("hashsize", "4096")]);

    let policies = conf.section.policies.iter();
    let policies: Vec<_> = policies.map(|p| (p.chain.value.as_str(), p.policy.value.as_str())).collect();
    assert_eq!(policies, [("INPUT", "ACCEPT"), ("OUTPUT", "ACCEPT")]);

    let [.., rule] = conf.section.rules.as_slice() else { panic!("rules") };
    assert_eq!(rule.placement, Placement::Append);
    let origin = &rule.rule.origin;
    assert_eq!(origin.to_string(), "network configuration: rules[2].rule");
    assert_eq!(origin.source.text[origin.range.clone()], format!("\"{}\"", rule.rule.value));
    assert_eq!(origin.line_column(), (16, 48));
}

#[test]
fn the_seed_fw_file_with_a_trailing_comma_is_read() {
    let section = fw(r#"{
  "rules": [
      { "type": "A", "chain": "INPUT", "rule": "-i lo -j ACCEPT" },
      { "type": "A", "chain": "OUTPUT", "rule": "-o lo -j ACCEPT" },
  ]
}
"#)
    .expect("valid");
    let rules: Vec<_> =
        section.rules.iter().map(|r| (r.chain.value.as_str(), r.rule.value.as_str())).collect();
    assert_eq!(rules, [("INPUT", "-i lo -j ACCEPT"), ("OUTPUT", "-o lo -j ACCEPT")]);
}

#[test]
fn every_key_of_a_network_configuration_is_read() {
    let conf = netconf(
        r#"{
            "description": ["two", "lines"], "cni.dev/valid-attachments": [], "runtimeConfig": 1, "args": null,
            "dataDir": "/d", "fwFiles": ["$X"], "vars": { "A": "x", "_b1": 22 }, "varFiles": ["v"],
            "names": { "timeout": 3, "servers": ["10.0.0.1"] }, "engine": "native", "stateDir": "/s",
            "persistDir": "/p", "logFile": "/l", "logLevel": "trace"
        }"#,
    )
    .expect("valid");
    let vars: Vec<_> = conf.vars.iter().map(|(name, text)| (name.as_str(), text.value.as_str())).collect();
    assert_eq!(vars, [("A", "x"), ("_b1", "22")]);
    assert_eq!(conf.vars[1].1.origin.to_string(), "network configuration: vars._b1");
    assert_eq!(conf.var_files[0].value, "v");
    assert_eq!((conf.names_timeout, conf.names_servers[0].value.as_str()), (Some(3), "10.0.0.1"));
    assert_eq!((conf.engine, conf.log_level), (Some(Engine::Native), Some(LogLevel::Trace)));
    let texts = [conf.state_dir, conf.persist_dir, conf.log_file].map(|text| text.expect("given").value);
    assert_eq!(texts, ["/s", "/p", "/l"]);
}

#[test]
fn every_key_of_a_section_is_read() {
    let section = fw(r#"{
        "description": "all of it",
        "ipsets": [{
            "set": "s", "hashtype": "hash:ip,mark", "hashfamily": "inet6", "hashsize": "64", "netmask": 24,
            "bitmask": "255.0.0.255", "markmask": "0xff", "maxelem": 7, "timeout": 9, "bucketsize": 12,
            "range": "1-9", "size": 8, "counters": true, "comment": false, "skbinfo": true, "forceadd": true,
            "entries": ["1.2.3.4,0x1 timeout 5"], "file": "f", "persist": true,
        }],
        "chains": [{ "chain": "c", "table": "nat" }],
        "policies": [{ "chain": "INPUT", "policy": "DROP", "table": "filter", "family": "ipv6" }],
        "rules": [
            { "type": "I", "position": 2, "chain": "c", "rule": "", "table": "nat", "family": "ipv4", "forEach": "ips" },
            { "type": "I", "chain": "c", "rule": "-j $X", "forEach": "portMappings" },
        ],
    }"#)
    .expect("valid");
    let set = &section.sets[0];
    let options: Vec<_> = set.options.iter().map(|(name, text)| format!("{name}={}", text.value)).collect();
    assert_eq!(
        options.join(" "),
        "hashfamily=inet6 hashsize=64 netmask=24 bitmask=255.0.0.255 markmask=0xff maxElem=7 timeout=9 \
         bucketsize=12 range=1-9 size=8 counters=true comment=false skbinfo=true forceadd=true"
    );
    assert_eq!(set.entries[0].value, "1.2.3.4,0x1 timeout 5");
    assert_eq!((set.file.as_ref().expect("file").value.as_str(), set.persist), ("f", true));
    assert_eq!(section.chains[0].table.as_ref().expect("table").value, "nat");
    assert_eq!(section.policies[0].family, Some(Family::Ipv6));
    let [first, second] = section.rules.as_slice() else { panic!("two rules") };
    assert_eq!((first.placement, second.placement), (Placement::Insert(2), Placement::Insert(1)));
    assert_eq!((first.family, first.for_each), (Some(Family::Ipv4), Some(ForEach::Ips)));
    assert_eq!((second.family, second.for_each), (None, Some(ForEach::PortMappings)));
}

#[test]
fn lint_keys_say_where_they_stand() {
    let section = fw(r#"{
        "lint": { "allow": ["unused-set"] },
        "rules": [{ "type": "A", "chain": "INPUT", "rule": "", "lint": { "allow": ["duplicate-rule", "unused-set"] } }],
        "chains": [{ "chain": "c", "lint": {} }],
    }"#)
    .expect("valid");
    let allowed: Vec<_> =
        section.allowed.iter().map(|allowed| (allowed.origin.to_string(), allowed.lints.clone())).collect();
    assert_eq!(
        allowed,
        [
            ("a.fw".to_owned(), vec![Lint::UnusedSet]),
            ("a.fw: rules[0]".to_owned(), vec![Lint::DuplicateRule, Lint::UnusedSet]),
            ("a.fw: chains[0]".to_owned(), vec![]),
        ]
    );
    fw_errors(
        r#"{ "lint": { "allow": ["unused-sets", 1] } }"#,
        &[
            "a.fw:1:23: lint.allow[0]: there is no lint `unused-sets`; hint: did you mean `unused-set`?",
            "a.fw:1:38: lint.allow[1]: expected a string, found a number",
        ],
    );
}

#[test]
fn unknown_keys_name_the_nearest() {
    fw_errors(r#"{ "rulse": [] }"#, &["a.fw:1:3: rulse: unknown key `rulse`; hint: did you mean `rules`?"]);
    fw_errors(r#"{ "Rules": [] }"#, &["a.fw:1:3: Rules: unknown key `Rules`; hint: did you mean `rules`?"]);
    fw_errors(
        r#"{ "sausages": [] }"#,
        &[
            "a.fw:1:3: sausages: unknown key `sausages`; hint: the keys here are `ipsets`, `chains`, `policies`, \
           `rules`, `tests`, `description` and `lint`",
        ],
    );
    fw_errors(
        r#"{ "rules": [{ "type": "A", "chain": "c", "rule": "", "tabel": "nat" }] }"#,
        &["a.fw:1:54: rules[0].tabel: unknown key `tabel`; hint: did you mean `table`?"],
    );
    fw_errors(
        r#"{ "ipsets": [{ "set": "s", "hashtype": "hash:ip", "family": "inet" }] }"#,
        &["a.fw:1:51: ipsets[0].family: unknown key `family`; hint: the key is called `hashfamily`"],
    );
    netconf_errors(
        r#"{ "cniversion": "1.0.0" }"#,
        &[
            "network configuration:1:3: cniversion: unknown key `cniversion`; hint: did you mean `cniVersion`?",
        ],
    );
    netconf_errors(
        r#"{ "names": { "server": [] } }"#,
        &["network configuration:1:14: names.server: unknown key `server`; hint: did you mean `servers`?"],
    );
}

#[test]
fn keys_of_the_network_configuration_do_not_belong_into_a_file() {
    fw_errors(
        r#"{ "fwFiles": [], "engine": 1 }"#,
        &[
            "a.fw:1:3: fwFiles: unknown key `fwFiles`; hint: `fwFiles` belongs into the network configuration",
            "a.fw:1:18: engine: unknown key `engine`; hint: `engine` belongs into the network configuration",
        ],
    );
}

#[test]
fn wrong_kinds_are_named() {
    fw_errors("[]", &["a.fw:1:1: expected an object, found a list"]);
    fw_errors(r#"{ "rules": {} }"#, &["a.fw:1:12: rules: expected a list, found an object"]);
    fw_errors(r#"{ "rules": ["-j DROP"] }"#, &["a.fw:1:13: rules[0]: expected an object, found a string"]);
    fw_errors(
        r#"{ "chains": [{ "chain": 1 }, { "chain": null }, { "chain": true }] }"#,
        &[
            "a.fw:1:25: chains[0].chain: expected a string, found a number",
            "a.fw:1:41: chains[1].chain: expected a string, found null",
            "a.fw:1:60: chains[2].chain: expected a string, found a boolean",
        ],
    );
    fw_errors(
        r#"{ "ipsets": [{ "set": "s", "hashtype": "hash:ip", "timeout": [], "persist": "no", "counters": 1 }] }"#,
        &[
            "a.fw:1:62: ipsets[0].timeout: expected a number or a string, found a list",
            "a.fw:1:77: ipsets[0].persist: expected `true` or `false`, found a string",
            "a.fw:1:95: ipsets[0].counters: expected `true` or `false`, found a number",
        ],
    );
    fw_errors(r#"{ "description": 1 }"#, &["a.fw:1:18: description: expected a string, found a number"]);
    netconf_errors(
        r#"{ "fwFiles": "allow-ping", "names": { "timeout": "3" } }"#,
        &[
            "network configuration:1:14: fwFiles: expected a list, found a string",
            "network configuration:1:50: names.timeout: expected a number, found a string",
        ],
    );
}

#[test]
fn numbers_have_limits() {
    for number in ["0", "-1", "1.5", "4294967296", "1e3"] {
        netconf_errors(
            &format!(r#"{{ "names": {{ "timeout": {number} }} }}"#),
            &[&format!(
                "network configuration:1:25: names.timeout: expected a whole number from 1 to 4294967295, found `{number}`"
            )],
        );
    }
}

#[test]
fn missing_keys_are_named_and_do_not_hide_other_problems() {
    fw_errors(
        "{ \"rules\": [{}],\n  \"ipsets\": [{ \"set\": 1 }], \"policies\": [{ \"chain\": \"INPUT\" }] }",
        &[
            "a.fw:1:13: rules[0]: missing key `type`",
            "a.fw:1:13: rules[0]: missing key `chain`",
            "a.fw:1:13: rules[0]: missing key `rule`",
            "a.fw:2:14: ipsets[0]: missing key `hashtype`",
            "a.fw:2:23: ipsets[0].set: expected a string, found a number",
            "a.fw:2:42: policies[0]: missing key `policy`",
        ],
    );
}

#[test]
fn keys_that_come_twice_are_refused() {
    fw_errors(
        r#"{ "rules": [], "\u0072ules": [] }"#,
        &["a.fw:1:16: rules: the key `rules` comes twice in one object"],
    );
    netconf_errors(
        r#"{ "name": "a", "name": "b", "vars": { "A": "1", "A": "2" } }"#,
        &[
            "network configuration:1:16: name: the key `name` comes twice in one object",
            "network configuration:1:49: vars.A: the key `A` comes twice in one object",
        ],
    );
    fw_errors(
        r#"{ "ipsets": [{ "set": "s", "hashtype": "hash:ip", "maxElem": 1, "maxelem": 2 }] }"#,
        &["a.fw:1:76: ipsets[0].maxelem: `maxElem` and `maxelem` are the same key"],
    );
}

#[test]
fn words_are_checked_and_the_nearest_comes_first() {
    netconf_errors(
        r#"{ "engine": "nativ", "logLevel": "WARN" }"#,
        &[
            "network configuration:1:13: engine: expected `native`, `auto` or `iptables`, found `nativ`",
            "network configuration:1:34: logLevel: expected `warn`, `error`, `info`, `debug` or `trace`, found `WARN`",
        ],
    );
    fw_errors(
        r#"{ "rules": [{ "type": "A", "chain": "c", "rule": "", "family": "ip6", "forEach": "portmappings" }] }"#,
        &[
            "a.fw:1:64: rules[0].family: expected `ipv6` or `ipv4`, found `ip6`",
            "a.fw:1:82: rules[0].forEach: expected `portMappings` or `ips`, found `portmappings`",
        ],
    );
}

#[test]
fn only_a_and_i_are_rule_types() {
    for (word, hint) in [
        ("D", "; hint: a configuration only adds rules; what an ADD made, its DEL removes"),
        ("P", "; hint: policies have a list of their own: `policies`"),
        ("N", "; hint: user chains have a list of their own: `chains`"),
        ("append", ""),
        ("a", ""),
    ] {
        fw_errors(
            &format!(r#"{{ "rules": [{{ "type": "{word}", "chain": "c", "rule": "" }}] }}"#),
            &[&format!(
                "a.fw:1:23: rules[0].type: expected `A` (append) or `I` (insert), found `{word}`{hint}"
            )],
        );
    }
    fw_errors(
        r#"{ "rules": [{ "type": "A", "position": 1, "chain": "c", "rule": "" }] }"#,
        &[
            "a.fw:1:40: rules[0].position: `position` goes with type `I` only; hint: write `\"type\": \"I\"` to \
           insert, or leave `position` out to append",
        ],
    );
    fw_errors(
        r#"{ "rules": [{ "type": "I", "position": 0, "chain": "c", "rule": "" }] }"#,
        &["a.fw:1:40: rules[0].position: expected a whole number from 1 to 4294967295, found `0`"],
    );
}

#[test]
fn names_of_variables_are_checked() {
    netconf_errors(
        r#"{ "vars": { "1A": "x", "A-B": "x", "": "x", "C": true } }"#,
        &[
            "network configuration:1:13: vars.1A: `1A` is not a name of a variable; hint: letters, digits and `_`, not a digit first",
            "network configuration:1:24: vars.A-B: `A-B` is not a name of a variable; hint: letters, digits and `_`, not a digit first",
            "network configuration:1:36: vars.: `` is not a name of a variable; hint: letters, digits and `_`, not a digit first",
            "network configuration:1:50: vars.C: expected a number or a string, found a boolean",
        ],
    );
}

#[test]
fn strings_hold_no_nul() {
    fw_errors(
        r#"{ "chains": [{ "chain": "a\u0000b" }] }"#,
        &["a.fw:1:25: chains[0].chain: a string must not hold a NUL character"],
    );
}

#[test]
fn words_from_outside_stay_short_and_on_their_line() {
    let key = format!("a\\n\\u001b[31m{}", "x".repeat(100));
    let message = fw(&format!(r#"{{ "{key}": 1 }}"#)).expect_err("a problem").0[0].message.clone();
    assert_eq!(message, format!("unknown key `a\n\u{1b}[31m{}...`", "x".repeat(53)));
    let line = fw(&format!(r#"{{ "{key}": 1 }}"#)).expect_err("a problem").to_string();
    assert!(line.contains("unknown key `a\\n\\u{1b}[31mxxx") && line.lines().count() == 1, "{line}");
}

/// Texts that are a few edits away from valid ones, which gets further than wild text.
fn nearly_valid() -> impl Strategy<Value = String> {
    let base = proptest::sample::select(vec![
        SEED.to_owned(),
        r#"{ "rules": [{ "type": "I", "position": 1, "chain": "é", "rule": "-j \u00e9", "family": "ipv4" }] }"#.into(),
        r#"{ "ipsets": [{ "set": "s", "hashtype": "h", "maxElem": 1, "entries": ["1"], "persist": true }] }"#.into(),
        r#"{ "vars": { "A": 1 }, "names": { "timeout": 1, "servers": [] }, "engine": "auto" }"#.into(),
    ]);
    let edit = (any::<proptest::sample::Index>(), "[\\[\\]{}\",:0-9a-zé\\\\\u{0}\n ]{0,3}", 0usize..4);
    (base, proptest::collection::vec(edit, 0..5)).prop_map(|(base, edits)| {
        let mut chars: Vec<char> = base.chars().collect();
        for (at, text, removed) in edits {
            let start = at.index(chars.len() + 1);
            let end = chars.len().min(start + removed);
            chars.splice(start..end, text.chars());
        }
        chars.into_iter().collect()
    })
}

fn assert_sound(source: &Arc<Source>, problems: &Problems) {
    assert!(!problems.0.is_empty());
    for problem in &problems.0 {
        assert!(source.text.get(problem.origin.range.clone()).is_some(), "{problem:?} in {:?}", source.text);
        assert!(source.text.get(problem.origin.highlight()).is_some(), "{problem:?} in {:?}", source.text);
        assert_eq!(problem.to_string().lines().count(), 1);
    }
    let text = render_problems(problems);
    assert!(text.starts_with("error: ") && text.ends_with('\n'), "{text}");
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
}

proptest! {
    #[test]
    fn no_text_panics_and_ranges_are_in_bounds(text in prop_oneof![any::<String>(), nearly_valid()]) {
        let source = Source::new("a.fw", text);
        match parse_fw(&source) {
            Ok(section) => for rule in section.rules {
                let written = &source.text[rule.rule.origin.range];
                prop_assert_eq!(serde_json::from_str::<String>(written).expect("a string"), rule.rule.value);
            },
            Err(problems) => assert_sound(&source, &problems),
        }
        if let Err(problems) = parse_netconf(&source) {
            assert_sound(&source, &problems);
        }
    }
}
