//! JSON Schema (draft 07, what editors know best) of .fw files, network configurations and network lists, made from
//! the tables of keys that the reader uses. A schema says what editors can check: keys, kinds and words; what a rule
//! says is for the reader.

use serde_json::{Map, Value, json};

use crate::config::{CNI_KEYS, FW_KEYS, Key, Keys, NETCONF_KEYS, Shape};

/// What a schema is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// One plugin's part of a network, as a runtime hands it over.
    Netconf,
    /// The file of a network: a list of plugins.
    Conflist,
    /// A .fw file.
    Fw,
}

/// The schema of a document.
pub fn schema(document: Document) -> Value {
    let (title, body) = match document {
        Document::Netconf => ("firewallnetns: network configuration", netconf()),
        Document::Conflist => ("CNI network with firewallnetns", conflist()),
        Document::Fw => ("firewallnetns: .fw file", fw()),
    };
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), "http://json-schema.org/draft-07/schema#".into());
    schema.insert("title".to_owned(), title.into());
    schema.extend(body);
    Value::Object(schema)
}

fn fw() -> Map<String, Value> {
    let mut schema = object(FW_KEYS);
    // no words of the standard, but of VS Code's: the dialect of .fw files
    schema.insert("allowComments".to_owned(), true.into());
    schema.insert("allowTrailingCommas".to_owned(), true.into());
    schema
}

/// Our keys and those of a section; what CNI's hold is no business of ours.
fn netconf() -> Map<String, Value> {
    let mut schema = object(NETCONF_KEYS);
    if let Some(Value::Object(known)) = schema.get_mut("properties") {
        known.extend(FW_KEYS.keys.iter().map(property));
        known.extend(CNI_KEYS.map(|key| (key.to_owned(), json!({ "description": "CNI's own" }))));
    }
    schema.insert("patternProperties".to_owned(), json!({ "^cni\\.dev/": true }));
    schema
}

/// Of the plugins only ours is looked into.
fn conflist() -> Map<String, Value> {
    let ours = json!({ "properties": { "type": { "const": "firewallnetns" } }, "required": ["type"] });
    let schema = json!({
        "type": "object",
        "properties": {
            "cniVersion": { "description": "version of CNI", "type": "string" },
            "name": { "description": "name of the network", "type": "string" },
            "plugins": {
                "description": "in the order in which they are called",
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "properties": { "type": { "description": "name of the program", "type": "string" } },
                    "required": ["type"],
                    "if": ours,
                    "then": netconf(),
                },
            },
        },
        "required": ["name", "plugins"],
    });
    let Value::Object(schema) = schema else { return Map::new() };
    schema
}

fn object(keys: Keys) -> Map<String, Value> {
    let properties: Map<String, Value> = keys.keys.iter().map(property).collect();
    let required: Vec<&str> = keys.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut schema = Map::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), properties.into());
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    schema.insert("additionalProperties".to_owned(), false.into());
    schema
}

fn property(key: &Key) -> (String, Value) {
    let mut schema = Map::new();
    schema.insert("description".to_owned(), key.about.into());
    schema.extend(shape(key.shape));
    (key.name.to_owned(), schema.into())
}

fn shape(shape: Shape) -> Map<String, Value> {
    let schema = match shape {
        Shape::Object(keys) => return object(*keys),
        Shape::Text => json!({ "type": "string" }),
        Shape::TextOrNumber => json!({ "type": ["string", "number"] }),
        Shape::TextOrTexts => json!({ "type": ["string", "array"], "items": { "type": "string" } }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Count => json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX }),
        Shape::Word(words) => json!({ "type": "string", "enum": words }),
        Shape::List(element) => json!({ "type": "array", "items": self::shape(*element) }),
        Shape::Variables => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
            "additionalProperties": { "type": ["string", "number"] },
        }),
        Shape::Plugins => {
            let name = json!({ "type": "string", "pattern": "^(?!\\.{1,2}$)[^/]+$" });
            let plugin = json!({ "type": "object", "properties": { "type": name }, "required": ["type"] });
            json!({ "anyOf": [plugin, { "type": "array", "minItems": 1, "items": plugin }] })
        }
    };
    let Value::Object(schema) = schema else { return Map::new() };
    schema
}
