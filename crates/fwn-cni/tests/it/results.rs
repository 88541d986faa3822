//! Results of every version: conversions between all pairs, and results that are handed on byte for byte.

use fwn_cni::result::{Cidr, IpConfig, addresses};
use fwn_cni::version::ResultForm;
use fwn_cni::{AddResult, SpecVersion, pass_on};
use serde_json::Value;
use serde_json::value::RawValue;

/// From form, to form, input, expected; `VERSION` stands for each version of the form.
const CONVERSIONS: &[(ResultForm, ResultForm, &str, &str)] = &[
    (ResultForm::Listed, ResultForm::Listed, LISTED, LISTED),
    (ResultForm::Listed, ResultForm::Versioned, LISTED, VERSIONED),
    (ResultForm::Listed, ResultForm::Single, LISTED, SINGLE),
    (ResultForm::Versioned, ResultForm::Listed, VERSIONED, LISTED_FROM_VERSIONED),
    (ResultForm::Versioned, ResultForm::Versioned, VERSIONED, VERSIONED),
    (ResultForm::Versioned, ResultForm::Single, VERSIONED, SINGLE),
    (ResultForm::Single, ResultForm::Listed, SINGLE, LISTED_FROM_SINGLE),
    (ResultForm::Single, ResultForm::Versioned, SINGLE, VERSIONED_FROM_SINGLE),
    (ResultForm::Single, ResultForm::Single, SINGLE, SINGLE),
];

const LISTED: &str = r#"{
    "cniVersion": "VERSION",
    "interfaces": [
        {"name": "cni0", "mac": "00:11:22:33:44:55"},
        {"name": "eth0", "mac": "99:88:77:66:55:44", "mtu": 1450, "sandbox": "/var/run/netns/blue",
         "socketPath": "/run/s", "pciID": "0000:00:1f.6", "vendor.key": [1]}
    ],
    "ips": [
        {"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 1},
        {"address": "10.1.0.6/16", "interface": 1},
        {"address": "fd00::5/64", "gateway": "fd00::1", "interface": 1, "vendor.key": null}
    ],
    "routes": [
        {"dst": "0.0.0.0/0", "gw": "10.1.0.1", "mtu": 1400, "advmss": 1360, "priority": 0, "table": 254, "scope": 0},
        {"dst": "fd01::/64"}
    ],
    "dns": {"nameservers": ["10.1.0.1"], "domain": "local", "search": ["a", "b"], "options": ["ndots:5"]},
    "vendor.key": {"b": 1, "a": 2}
}"#;

const VERSIONED: &str = r#"{
    "cniVersion": "VERSION",
    "interfaces": [
        {"name": "cni0", "mac": "00:11:22:33:44:55"},
        {"name": "eth0", "mac": "99:88:77:66:55:44", "sandbox": "/var/run/netns/blue", "vendor.key": [1]}
    ],
    "ips": [
        {"version": "4", "address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 1},
        {"version": "4", "address": "10.1.0.6/16", "interface": 1},
        {"version": "6", "address": "fd00::5/64", "gateway": "fd00::1", "interface": 1, "vendor.key": null}
    ],
    "routes": [
        {"dst": "0.0.0.0/0", "gw": "10.1.0.1", "mtu": 1400, "advmss": 1360, "priority": 0, "table": 254, "scope": 0},
        {"dst": "fd01::/64"}
    ],
    "dns": {"nameservers": ["10.1.0.1"], "domain": "local", "search": ["a", "b"], "options": ["ndots:5"]},
    "vendor.key": {"b": 1, "a": 2}
}"#;

const LISTED_FROM_VERSIONED: &str = r#"{
    "cniVersion": "VERSION",
    "interfaces": [
        {"name": "cni0", "mac": "00:11:22:33:44:55"},
        {"name": "eth0", "mac": "99:88:77:66:55:44", "sandbox": "/var/run/netns/blue", "vendor.key": [1]}
    ],
    "ips": [
        {"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 1},
        {"address": "10.1.0.6/16", "interface": 1},
        {"address": "fd00::5/64", "gateway": "fd00::1", "interface": 1, "vendor.key": null}
    ],
    "routes": [
        {"dst": "0.0.0.0/0", "gw": "10.1.0.1", "mtu": 1400, "advmss": 1360, "priority": 0, "table": 254, "scope": 0},
        {"dst": "fd01::/64"}
    ],
    "dns": {"nameservers": ["10.1.0.1"], "domain": "local", "search": ["a", "b"], "options": ["ndots:5"]},
    "vendor.key": {"b": 1, "a": 2}
}"#;

const SINGLE: &str = r#"{
    "cniVersion": "VERSION",
    "ip4": {"ip": "10.1.0.5/16", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]},
    "ip6": {"ip": "fd00::5/64", "gateway": "fd00::1", "routes": [{"dst": "fd01::/64"}]},
    "dns": {"nameservers": ["10.1.0.1"], "domain": "local", "search": ["a", "b"], "options": ["ndots:5"]},
    "vendor.key": {"b": 1, "a": 2}
}"#;

const LISTED_FROM_SINGLE: &str = r#"{
    "cniVersion": "VERSION",
    "ips": [
        {"address": "10.1.0.5/16", "gateway": "10.1.0.1"},
        {"address": "fd00::5/64", "gateway": "fd00::1"}
    ],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}, {"dst": "fd01::/64"}],
    "dns": {"nameservers": ["10.1.0.1"], "domain": "local", "search": ["a", "b"], "options": ["ndots:5"]},
    "vendor.key": {"b": 1, "a": 2}
}"#;

const VERSIONED_FROM_SINGLE: &str = r#"{
    "cniVersion": "VERSION",
    "ips": [
        {"version": "4", "address": "10.1.0.5/16", "gateway": "10.1.0.1"},
        {"version": "6", "address": "fd00::5/64", "gateway": "fd00::1"}
    ],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}, {"dst": "fd01::/64"}],
    "dns": {"nameservers": ["10.1.0.1"], "domain": "local", "search": ["a", "b"], "options": ["ndots:5"]},
    "vendor.key": {"b": 1, "a": 2}
}"#;

#[test]
fn every_version_converts_to_every_other() {
    let mut pairs = 0;
    for (from, to) in version_pairs() {
        let (_, _, input, expected) = CONVERSIONS
            .iter()
            .find(|case| (case.0, case.1) == (from.form(), to.form()))
            .expect("in the table");
        let input = input.replace("VERSION", from.as_str());
        let expected = json(&expected.replace("VERSION", to.as_str()));
        let rendered = AddResult::parse(&input, SpecVersion::V1_1_0).expect("readable").render(to);
        assert_eq!(json(&rendered), expected, "parse and render {from} to {to}");
        assert_eq!(
            json(&pass_on(&raw(&input), from, to).expect("readable")),
            expected,
            "pass on {from} to {to}"
        );
        pairs += 1;
    }
    assert_eq!(pairs, 49);
}

/// Nothing of this survives a map of numbers: order, number forms, blanks, escapes, unknown keys.
const ODD: &str = r#"{ "z":1.00 ,"big": 123456789012345678901234567890, "e": 1E+2,"u":"\u00e9\/",
	"cniVersion" :  "VERSION" , "ips":[ {"odd.key" : -0, "address":"10.0.0.1/8" }],"dns":{ } }"#;

#[test]
fn a_result_of_the_same_form_is_handed_on_byte_for_byte() {
    for (from, to) in version_pairs().filter(|(from, to)| from.form() == to.form()) {
        let prev = raw(&ODD.replace("VERSION", from.as_str()));
        let passed = pass_on(&prev, SpecVersion::LATEST, to).expect("readable");
        assert_eq!(passed, ODD.replace("VERSION", to.as_str()), "{from} to {to}");
    }
    let escaped = r#"{"cniVersion":"\u0031.0.0"}"#;
    assert_eq!(pass_on(&raw(escaped), SpecVersion::V0_1_0, SpecVersion::V1_0_0).as_deref(), Ok(escaped));
}

#[test]
fn an_absent_version_is_added_and_nothing_else_changes() {
    let to = SpecVersion::V1_0_0;
    for (prev, expected) in [
        (r#"{ "b":1.0,"a":2}"#, r#"{"cniVersion":"1.0.0", "b":1.0,"a":2}"#),
        ("{}", r#"{"cniVersion":"1.0.0"}"#),
        ("{ \n }", "{\"cniVersion\":\"1.0.0\" \n }"),
        (r#"{"a":1,"cniVersion":""}"#, r#"{"a":1,"cniVersion":"1.0.0"}"#),
        (r#"{"cniVersion": null }"#, r#"{"cniVersion": "1.0.0" }"#),
        ("null", r#"{"cniVersion":"1.0.0"}"#),
    ] {
        assert_eq!(pass_on(&raw(prev), to, to).expect(prev), expected);
    }
}

#[test]
fn a_version_that_is_not_stated_is_the_assumed_one() {
    let ip4 = r#"{"ip4":{"ip":"10.0.0.1/8"}}"#;
    let passed = pass_on(&raw(ip4), SpecVersion::V0_2_0, SpecVersion::V1_0_0).expect("readable");
    assert_eq!(passed, r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1/8"}]}"#);
}

#[test]
fn an_empty_result_is_valid_in_every_version() {
    let rendered = SpecVersion::ALL.map(|version| AddResult::default().render(version));
    assert_eq!(
        rendered,
        [
            r#"{"cniVersion":"0.1.0","dns":{}}"#,
            r#"{"cniVersion":"0.2.0","dns":{}}"#,
            r#"{"cniVersion":"0.3.0","dns":{}}"#,
            r#"{"cniVersion":"0.3.1","dns":{}}"#,
            r#"{"cniVersion":"0.4.0","dns":{}}"#,
            r#"{"cniVersion":"1.0.0"}"#,
            r#"{"cniVersion":"1.1.0"}"#,
        ]
    );
}

#[test]
fn the_misprint_of_0_3_0_is_read() {
    let text = r#"{"cniVersion":"0.3.0","ip":[{"version":"4","address":"10.0.0.1/8"}]}"#;
    let result = AddResult::parse(text, SpecVersion::V0_3_0).expect("readable");
    assert_eq!(
        result.render(SpecVersion::V0_3_1),
        text.replace("0.3.0", "0.3.1").replace(r#""ip""#, r#""ips""#).replace("}]}", "}],\"dns\":{}}")
    );
}

#[test]
fn what_go_writes_for_nothing_is_read_as_nothing() {
    let text = r#"{"cniVersion":"1.0.0","interfaces":null,"ips":null,"routes":null,"dns":null}"#;
    assert_eq!(AddResult::parse(text, SpecVersion::V1_0_0), Ok(AddResult::default()));
    let text = r#"{"ips":[{"address":"10.0.0.1/8","gateway":""}]}"#;
    let result = AddResult::parse(text, SpecVersion::V1_0_0).expect("readable");
    assert_eq!(result.ips, [IpConfig::new(cidr("10.0.0.1/8"))]);
}

#[test]
fn what_is_no_result_is_refused_with_a_code() {
    for (text, code, word) in [
        ("[]", 6, "expected an object"),
        ("", 6, "EOF"),
        (r#"{"cniVersion":7}"#, 6, "a string"),
        (r#"{"cniVersion":"9.0.0"}"#, 1, "`9.0.0`"),
        (r#"{"ips":[{"address":"10.0.0.1"}]}"#, 6, "`10.0.0.1` is not ADDRESS/LENGTH"),
        (r#"{"ips":[{"address":"10.0.0.1/33"}]}"#, 6, "`10.0.0.1/33`"),
        (r#"{"ips":[{"address":"10.0.0.1/+8"}]}"#, 6, "`10.0.0.1/+8`"),
        (r#"{"ips":[{"address":"10.0.0.1/8","gateway":"x"}]}"#, 6, "IP address"),
        (r#"{"ips":1,"ips":[]}"#, 6, "`ips` is there twice"),
    ] {
        let error = AddResult::parse(text, SpecVersion::V1_1_0).expect_err(text);
        assert_eq!(error.code, code, "{text}: {error}");
        assert!(error.to_string().contains(word), "{text}: {error}");
    }
}

#[test]
fn addresses_are_those_of_the_interface_in_the_sandbox_and_those_of_none() {
    let text = r#"{"interfaces":[{"name":"eth0"},{"name":"eth0","sandbox":"/n"},{"name":"eth1","sandbox":"/n"}],
        "ips":[{"address":"10.0.0.0/8","interface":0},{"address":"10.0.0.1/8","interface":1},
               {"address":"10.0.0.2/8","interface":2},{"address":"10.0.0.3/8"},
               {"address":"10.0.0.4/8","interface":-1},{"address":"10.0.0.5/8","interface":3}]}"#;
    let result = AddResult::parse(text, SpecVersion::V1_1_0).expect("readable");
    let found: Vec<String> = addresses(&result, "eth0").iter().map(|ip| ip.address.to_string()).collect();
    assert_eq!(found, ["10.0.0.1/8", "10.0.0.3/8", "10.0.0.4/8", "10.0.0.5/8"]);
}

fn version_pairs() -> impl Iterator<Item = (SpecVersion, SpecVersion)> {
    SpecVersion::ALL.into_iter().flat_map(|from| SpecVersion::ALL.map(|to| (from, to)))
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).expect("JSON")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn cidr(text: &str) -> Cidr {
    text.parse().expect("a CIDR")
}
