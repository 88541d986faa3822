//! The JSON Schema, the reader and the reference page say the same: every key and every kind of value in turn, every
//! text of the case table, every row of the tables in `docs/configuration.md`.

use std::collections::BTreeMap;
use std::path::Path;

use fwn_plan::config::{FW_KEYS, Key, Keys, NETCONF_KEYS, Shape, parse_fw, parse_netconf};
use fwn_plan::origin::Source;
use fwn_plan::schema::{Document, schema};
use fwn_testkit::cases::load_cases;
use fwn_testkit::schema::validate;
use jsonc_parser::JsonValue;
use serde_json::{Map, Value, json};

/// Values of a shape, each with whether it is one: all kinds of JSON, and what stands at the limits.
fn variants(shape: Shape) -> Vec<(Value, bool)> {
    let good: Vec<Value> = match shape {
        Shape::Text => vec!["x".into(), "".into()],
        Shape::TextOrNumber => vec!["x".into(), json!(1), json!(1.5)],
        Shape::TextOrTexts => vec!["x".into(), json!([]), json!(["x", "y"])],
        Shape::Flag => vec![json!(true), json!(false)],
        Shape::Count => vec![json!(1), json!(u32::MAX)],
        Shape::Word(words) => words.iter().map(|word| (*word).into()).collect(),
        Shape::List(_) => vec![json!([])],
        Shape::Object(keys) => vec![least(*keys)],
        Shape::Variables => vec![json!({}), json!({ "A": "x", "_b1": 1 })],
        Shape::Plugins => {
            let plugin = json!({ "type": "a..b", "theirs": [{ "type": 1 }] });
            vec![plugin.clone(), json!([plugin]), json!([plugin, { "type": "x" }])]
        }
    };
    let mut bad: Vec<Value> = vec![
        Value::Null,
        json!(true),
        json!(1),
        json!(1.5),
        "no such word".into(),
        json!([1]),
        json!({ "": 1 }),
    ];
    bad.retain(|value| match shape {
        Shape::Text | Shape::TextOrTexts => !value.is_string(),
        Shape::TextOrNumber => !value.is_string() && !value.is_number(),
        Shape::Flag => !value.is_boolean(),
        Shape::Count => *value != json!(1),
        Shape::Word(_) | Shape::Object(_) | Shape::Variables | Shape::Plugins => true,
        Shape::List(_) => !value.is_array(),
    });
    let mut all: Vec<(Value, bool)> = good.into_iter().map(|value| (value, true)).collect();
    all.extend(bad.into_iter().map(|value| (value, false)));
    match shape {
        Shape::Count => {
            all.extend([json!(0), json!(-1), json!(1_u64 << 32)].map(|value| (value, false)));
        }
        Shape::Variables => {
            all.extend([json!({ "1A": "x" }), json!({ "A": true })].map(|value| (value, false)));
        }
        Shape::Plugins => {
            let names = ["", ".", "..", "a/b", "/"].map(|name| json!({ "type": name }));
            let others = [json!({}), json!({ "type": 1 }), json!([])];
            let alone = names.into_iter().chain(others);
            let listed = alone.clone().map(|value| json!([{ "type": "x" }, value]));
            all.extend(alone.chain(listed).map(|value| (value, false)));
        }
        Shape::List(element) => {
            all.extend(variants(*element).into_iter().map(|(value, valid)| (json!([value]), valid)));
        }
        Shape::Object(keys) => all.extend(objects(*keys)),
        _ => {}
    }
    all
}

/// An object with the keys that must be there. Of words the last: `position` goes with type `I`.
fn least(keys: Keys) -> Value {
    let required = keys.keys.iter().filter(|key| key.required);
    let value = |key: &Key| match key.shape {
        Shape::Word(words) => words.last().copied().expect("a word").into(),
        shape => variants(shape).remove(0).0,
    };
    required.map(|key| (key.name.to_owned(), value(key))).collect::<Map<_, _>>().into()
}

/// Objects in which one key is another, is missing, or is unknown.
fn objects(keys: Keys) -> Vec<(Value, bool)> {
    let with = |name: &str, value: Value| {
        let mut object = least(keys);
        object[name] = value;
        object
    };
    let mut all = vec![(with("no-such-key", json!(1)), false)];
    for key in keys.keys {
        all.extend(variants(key.shape).into_iter().map(|(value, valid)| (with(key.name, value), valid)));
        if key.required {
            let mut object = least(keys);
            object.as_object_mut().expect("an object").remove(key.name);
            all.push((object, false));
        }
    }
    for (theirs, _) in keys.synonyms {
        all.push((with(theirs, "x".into()), false));
    }
    all
}

/// What the schema and the reader make of these documents is what is expected of each.
fn assert_same(document: Document, expected: &[(Value, bool)], reads: impl Fn(&str) -> bool) {
    let documents: Vec<Value> = expected.iter().map(|(value, _)| value.clone()).collect();
    let said = validate(&schema(document), &documents);
    for ((value, valid), wrong) in expected.iter().zip(said) {
        assert_eq!(wrong.is_none(), *valid, "the schema of {document:?}: {value}: {wrong:?}");
        assert_eq!(reads(&value.to_string()), *valid, "the reader of {document:?}: {value}");
    }
}

#[test]
fn every_key_holds_the_same_for_reader_and_schema() {
    let fw = variants(Shape::Object(&FW_KEYS));
    assert!(fw.len() > 300, "{}", fw.len());
    assert_same(Document::Fw, &fw, |text| parse_fw(&Source::new("a.fw", text)).is_ok());

    let mut netconf = variants(Shape::Object(&NETCONF_KEYS));
    // the inline section, and what is CNI's
    netconf.extend(objects(FW_KEYS));
    netconf.push((json!({ "cni.dev/x": 1, "runtimeConfig": [], "name": null }), true));
    let reads = |text: &str| parse_netconf(&Source::new("network configuration", text)).is_ok();
    assert_same(Document::Netconf, &netconf, reads);

    let list = |plugin: &Value| json!({ "name": "n", "plugins": [{ "type": "macvtap", "mtu": 1 }, plugin] });
    let typed = netconf.into_iter().filter(|(value, _)| value.is_object()).map(|(mut value, valid)| {
        value["type"] = "firewallnetns".into();
        (value, valid)
    });
    // CNI's `type` is the name of the plugin: nothing to vary
    let typed: Vec<(Value, bool)> = typed.collect();
    let lists: Vec<Value> = typed.iter().map(|(value, _)| list(value)).collect();
    let said = validate(&schema(Document::Conflist), &lists);
    for ((value, valid), wrong) in typed.iter().zip(said) {
        assert_eq!(wrong.is_none(), *valid, "the schema of a list: {value}: {wrong:?}");
    }
    let bad = [json!([]), json!({ "name": "n", "plugins": [] }), json!({ "name": "n", "plugins": [{}] })];
    assert!(validate(&schema(Document::Conflist), &bad).iter().all(Option::is_some));
}

/// What a problem is of that a schema can find.
const FOUND_BY_A_SCHEMA: [&str; 4] = [": unknown key ", ": missing key ", ": expected a ", ": expected `"];

#[test]
fn every_text_of_the_cases_is_the_same_for_reader_and_schema() {
    let (mut right, mut wrong) = (BTreeMap::new(), BTreeMap::new());
    // what is no JSON is nothing for a schema
    for case in load_cases().into_iter().filter(|case| !case.name.starts_with("bad-json-")) {
        let mut texts = vec![(Document::Netconf, "conf.json", &case.conf)];
        let files =
            case.data.iter().filter(|(name, _)| Path::new(name).extension().is_some_and(|e| e == "fw"));
        texts.extend(files.map(|(name, text)| (Document::Fw, name.as_str(), text)));
        for (document, name, text) in texts {
            let Some(value) = tree(text) else { continue };
            let problems = match document {
                Document::Fw => parse_fw(&Source::new(name, text.as_str())).err(),
                _ => parse_netconf(&Source::new(name, text.as_str())).err(),
            };
            let entry = (format!("{document:?}"), document, value);
            match problems.map(|problems| problems.to_string()) {
                None => right.insert(format!("{}/{name}", case.name), entry),
                Some(said) if FOUND_BY_A_SCHEMA.iter().any(|words| said.contains(words)) => {
                    wrong.insert(format!("{}/{name}", case.name), entry)
                }
                Some(_) => None,
            };
        }
    }
    assert!(right.len() > 100 && wrong.len() > 5, "{} {}", right.len(), wrong.len());
    for (texts, valid) in [(right, true), (wrong, false)] {
        for document in [Document::Netconf, Document::Fw] {
            let of_it: Vec<_> = texts.iter().filter(|(_, (_, of, _))| *of == document).collect();
            let values: Vec<Value> = of_it.iter().map(|(_, (.., value))| value.clone()).collect();
            for ((name, _), said) in of_it.iter().zip(validate(&schema(document), &values)) {
                assert_eq!(said.is_none(), valid, "{name}: {said:?}");
            }
        }
    }
}

/// The value of a text with comments; `None` if it is no JSON.
fn tree(text: &str) -> Option<Value> {
    fn converted(value: JsonValue<'_>) -> Value {
        match value {
            JsonValue::Null => Value::Null,
            JsonValue::Boolean(flag) => flag.into(),
            JsonValue::Number(number) => serde_json::from_str(number).expect("a number"),
            JsonValue::String(text) => text.into_owned().into(),
            JsonValue::Array(elements) => elements.into_iter().map(converted).collect(),
            JsonValue::Object(members) => {
                members.into_iter().map(|(key, value)| (key.to_string(), converted(value))).collect()
            }
        }
    }
    let value = jsonc_parser::parse_to_value(text, &jsonc_parser::ParseOptions::default());
    value.ok().flatten().map(converted)
}

/// How the reference page calls a shape. That a number may be a string is said once there.
fn name_of(shape: Shape) -> String {
    match shape {
        Shape::Text => "string".to_owned(),
        Shape::TextOrNumber | Shape::Count => "number".to_owned(),
        Shape::TextOrTexts => "string or list of strings".to_owned(),
        Shape::Flag => "boolean".to_owned(),
        Shape::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Shape::List(Shape::Word(_)) => "list of strings".to_owned(),
        Shape::List(element) => format!("list of {}s", name_of(*element)),
        Shape::Object(_) | Shape::Variables => "object".to_owned(),
        Shape::Plugins => "object or list of objects".to_owned(),
    }
}

/// Names and types in the first table below a heading, one entry a name.
fn documented(page: &str, heading: &str) -> BTreeMap<String, String> {
    let below = page.split_once(&format!("\n{heading}\n")).expect(heading).1;
    let rows =
        below.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let mut found = BTreeMap::new();
    for row in rows.skip(2) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for name in cells[1].split('`').skip(1).step_by(2) {
            assert_eq!(found.insert(name.to_owned(), cells[2].to_owned()), None, "{heading}: `{name}` twice");
        }
    }
    found
}

#[test]
fn the_reference_page_lists_the_same_keys() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let elements = |name: &str| match FW_KEYS.keys.iter().find(|key| key.name == name).map(|key| key.shape) {
        Some(Shape::List(Shape::Object(keys))) => keys.keys,
        other => panic!("{name}: {other:?}"),
    };
    let own = |name: &str| match NETCONF_KEYS.keys.iter().find(|key| key.name == name).map(|key| key.shape) {
        Some(Shape::Object(keys)) => keys.keys,
        other => panic!("{name}: {other:?}"),
    };
    for (heading, keys) in [
        ("## Network configuration", NETCONF_KEYS.keys),
        ("## Sections", FW_KEYS.keys),
        ("### `ipsets`", elements("ipsets")),
        ("### `chains`", elements("chains")),
        ("### `policies`", elements("policies")),
        ("### `rules`", elements("rules")),
        ("## `ipsetd`", own("ipsetd")),
    ] {
        let mut documented = documented(&page, heading);
        for key in keys {
            // an object's own keys stand in the same table, where it has none of its own
            let has_own = page.contains(&format!("\n## `{}`\n", key.name));
            let nested = match key.shape {
                Shape::Object(keys) if !has_own => keys.keys,
                _ => &[],
            };
            let mut rows: Vec<(String, &Key)> =
                nested.iter().map(|inner| (format!("{}.{}", key.name, inner.name), inner)).collect();
            if rows.is_empty() {
                rows.push((key.name.to_owned(), key));
            }
            for (name, key) in rows {
                let said = documented.remove(&name);
                let required = if key.required { ", required" } else { "" };
                assert_eq!(said, Some(format!("{}{required}", name_of(key.shape))), "{heading}: `{name}`");
            }
        }
        // what has its own table
        documented.retain(|_, said| !said.is_empty());
        assert_eq!(documented, BTreeMap::new(), "{heading}: no such keys");
    }
}
