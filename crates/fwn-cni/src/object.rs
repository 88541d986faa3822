//! A JSON object whose members keep their order and, byte for byte, their text.
//!
//! The protocol hands objects on and adds a key or two; going through numbers and maps of a programming language would
//! change what belongs to others (`1.0`, `18446744073709551616`, the order of keys).

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::invocation::Attachment;

/// Members in order; no key twice.
#[derive(Debug, Clone)]
pub(crate) struct Object<'a> {
    members: Vec<(String, &'a RawValue)>,
}

/// A member is of the wrong kind.
#[derive(Debug, thiserror::Error)]
#[error("`{key}` is not {kind}: {found}")]
pub(crate) struct BadMember {
    pub(crate) key: String,
    pub(crate) kind: &'static str,
    pub(crate) found: String,
}

impl<'a> Object<'a> {
    /// Reads an object; the same key twice is an error, since others might believe the other one.
    pub(crate) fn parse(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The text of a member, unless it is absent or `null`.
    pub(crate) fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.raw(key).filter(|raw| raw.get() != "null")
    }

    /// The text of a member, `null` too.
    pub(crate) fn raw(&self, key: &str) -> Option<&'a RawValue> {
        self.members.iter().find(|(name, _)| name == key).map(|(_, raw)| *raw)
    }

    /// A member read as `T`, unless it is absent or `null`. `kind` tells people what is wanted.
    pub(crate) fn read<T: DeserializeOwned>(
        &self,
        key: &str,
        kind: &'static str,
    ) -> Result<Option<T>, BadMember> {
        let Some(raw) = self.get(key) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|error| {
            // a position would count from the start of the member, not of the file
            let text = error.to_string();
            let found = text.split(" at line ").next().unwrap_or(&text).to_owned();
            BadMember { key: key.to_owned(), kind, found }
        })
    }

    pub(crate) fn string(&self, key: &str) -> Result<Option<String>, BadMember> {
        self.read(key, "a string")
    }

    pub(crate) fn value(&self, key: &str) -> Result<Option<Value>, BadMember> {
        self.read(key, "JSON")
    }

    /// A list of attachments; libcni writes `null` for a list without any.
    pub(crate) fn attachments(&self, key: &str) -> Result<Option<Vec<Attachment>>, BadMember> {
        if self.raw(key).is_some_and(|raw| raw.get() == "null") {
            return Ok(Some(Vec::new()));
        }
        self.read(key, "a list of {`containerID`, `ifname`}")
    }

    /// Drops the members whose key is `unwanted`.
    pub(crate) fn remove(&mut self, unwanted: impl Fn(&str) -> bool) {
        self.members.retain(|(key, _)| !unwanted(key));
    }

    /// Replaces a member where it stands, or puts it first.
    pub(crate) fn set_first(&mut self, key: &str, raw: &'a RawValue) {
        if !self.replace(key, raw) {
            self.members.insert(0, (key.to_owned(), raw));
        }
    }

    /// Replaces a member where it stands, or puts it last.
    pub(crate) fn set_last(&mut self, key: &str, raw: &'a RawValue) {
        if !self.replace(key, raw) {
            self.members.push((key.to_owned(), raw));
        }
    }

    fn replace(&mut self, key: &str, raw: &'a RawValue) -> bool {
        let member = self.members.iter_mut().find(|(name, _)| name == key);
        member.map(|(_, old)| *old = raw).is_some()
    }

    /// The object as text, without blanks between members.
    pub(crate) fn render(&self) -> String {
        let members: Vec<String> =
            self.members.iter().map(|(key, raw)| format!("{}:{}", json_text(key), raw.get())).collect();
        format!("{{{}}}", members.join(","))
    }
}

/// What two texts say together: of two objects the members of both, a member of both merged in turn; of all else the
/// `first`.
pub(crate) fn merge(first: &str, second: &str) -> String {
    let (Ok(first_object), Ok(second)) = (Object::parse(first), Object::parse(second)) else {
        return first.to_owned();
    };
    let member = |key: &str, value: &str| format!("{}:{value}", json_text(key));
    let of_first = first_object.members.iter().map(|(key, raw)| match second.raw(key) {
        Some(other) => member(key, &merge(raw.get(), other.get())),
        None => member(key, raw.get()),
    });
    let of_second = second.members.iter().filter(|(key, _)| first_object.raw(key).is_none());
    let members: Vec<String> = of_first.chain(of_second.map(|(key, raw)| member(key, raw.get()))).collect();
    format!("{{{}}}", members.join(","))
}

/// JSON text of a value.
pub(crate) fn json_text<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("keys are strings, so it is JSON")
}

/// JSON text of a value, to become a member.
pub(crate) fn json_raw<T: Serialize + ?Sized>(value: &T) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("keys are strings, so it is JSON")
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Self::Value = Vec::new();
                while let Some((key, raw)) = map.next_entry::<String, &RawValue>()? {
                    if members.iter().any(|(name, _)| *name == key) {
                        return Err(A::Error::custom(format_args!("key `{key}` is there twice")));
                    }
                    members.push((key, raw));
                }
                Ok(members)
            }
        }

        Ok(Self { members: deserializer.deserialize_map(Members)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_order_and_bytes() {
        let text = r#"{ "b" : 1.00, "a":[ 1 ,2], "big": 18446744073709551616123, "\u0061b": "\u00e9" }"#;
        let object = Object::parse(text).expect("an object");
        assert_eq!(object.render(), r#"{"b":1.00,"a":[ 1 ,2],"big":18446744073709551616123,"ab":"\u00e9"}"#);
    }

    #[test]
    fn set_replaces_in_place_and_else_goes_to_its_end() {
        let (one, two) = (json_raw("one"), json_raw(&2));
        let mut object = Object::parse(r#"{"a":1,"b":2,"c":3}"#).expect("an object");
        object.set_first("b", &one);
        object.set_first("z", &two);
        object.set_last("c", &two);
        object.set_last("y", &one);
        object.remove(|key| key == "a");
        assert_eq!(object.render(), r#"{"z":2,"b":"one","c":2,"y":"one"}"#);
    }

    #[test]
    fn of_two_objects_the_first_has_the_last_word() {
        for (first, second, merged) in [
            (
                r#"{"a":1.0,"c":{"x":1}}"#,
                r#"{"b":[ 2 ],"c":{"x":2,"y":2},"a":3}"#,
                r#"{"a":1.0,"c":{"x":1,"y":2},"b":[ 2 ]}"#,
            ),
            ("{}", r#"{"a":null}"#, r#"{"a":null}"#),
            (r#"{"a":[1]}"#, r#"{"a":[2]}"#, r#"{"a":[1]}"#),
            ("1", r#"{"a":2}"#, "1"),
            (r#"{"a":2}"#, "no JSON", r#"{"a":2}"#),
        ] {
            assert_eq!(merge(first, second), merged);
        }
    }

    #[test]
    fn the_same_key_twice_is_refused() {
        let error = Object::parse(r#"{"name":"a","n\u0061me":"b"}"#).expect_err("twice");
        assert!(error.to_string().contains("key `name` is there twice"), "{error}");
    }
}
