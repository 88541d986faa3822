//! The `ipsetd` key of a network configuration to an [`IpsetdConf`]: kinds, keys and words are checked, nothing is
//! expanded and no default applied.

use super::Text;
use super::json::Value;
use super::keys::{Key, Keys, Shape, words};
use super::reader::Reader;
use crate::origin::Origin;

/// `ipsetd`: who may change the container's sets while it runs, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpsetdConf {
    /// Place of the whole object.
    pub origin: Origin,
    /// `port`; a number is kept as its digits.
    pub port: Option<Text>,
    /// `allowFrom`
    pub allow_from: Option<List<Text>>,
    /// `allowAny`
    pub allow_any: bool,
    /// `sets`
    pub sets: Option<List<Text>>,
    /// `verbs`
    pub verbs: Option<List<&'static str>>,
    /// `tokenFile`
    pub token_file: Option<Text>,
    /// `tlsCert`
    pub tls_cert: Option<Text>,
    /// `tlsKey`
    pub tls_key: Option<Text>,
    /// `tlsClientCa`
    pub tls_client_ca: Option<Text>,
    /// `socket`
    pub socket: Option<Text>,
    /// `timeout`, in seconds.
    pub timeout: Option<u32>,
}

impl IpsetdConf {
    /// All texts in which variables have values.
    pub fn texts(&self) -> impl Iterator<Item = &Text> {
        let files = [&self.token_file, &self.tls_cert, &self.tls_key, &self.tls_client_ca];
        let sets = self.sets.iter().flat_map(|list| &list.elements);
        let peers = self.allow_from.iter().flat_map(|list| &list.elements);
        self.port.iter().chain(peers).chain(sets).chain(files.into_iter().flatten())
    }
}

/// A list, and where: an empty one has no element to point at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T> {
    /// Place of the list.
    pub origin: Origin,
    /// Its elements.
    pub elements: Vec<T>,
}

/// The keys of `ipsetd`.
pub(super) const IPSETD_KEYS: Keys = Keys {
    keys: &[
        Key::optional("port", Shape::TextOrNumber, "TCP port inside the namespace; variables allowed"),
        Key::optional(
            "allowFrom",
            Shape::List(&Shape::Text),
            "addresses and networks whose commands are taken; variables allowed",
        ),
        Key::optional("allowAny", Shape::Flag, "the port is opened even if nothing guards it"),
        Key::optional("sets", Shape::List(&Shape::Text), "sets that can be named; default: all"),
        Key::optional("verbs", Shape::List(&Shape::Word(&VERB_WORDS)), "what can be done"),
        Key::optional("tokenFile", Shape::Text, "file with a token that has to come first"),
        Key::optional("tlsCert", Shape::Text, "certificates of the server, PEM: connections are TLS"),
        Key::optional("tlsKey", Shape::Text, "its private key, PEM"),
        Key::optional("tlsClientCa", Shape::Text, "authorities of client certificates, PEM"),
        Key::optional("socket", Shape::Text, "where the daemon is registered with"),
        Key::optional("timeout", Shape::Count, "seconds to wait for each answer of the daemon"),
    ],
    synonyms: &[],
};

/// The verbs of ipsetd's line protocol that can be allowed. `begin` and `commit` go with what they enclose.
const VERBS: [(&str, &str); 6] = [
    ("add", "add"),
    ("del", "del"),
    ("test", "test"),
    ("list", "list"),
    ("flush", "flush"),
    ("swap", "swap"),
];
const VERB_WORDS: [&str; 6] = words(&VERBS);

/// Reads the value of the key.
pub(super) fn read_ipsetd(reader: &mut Reader, value: Value<'_>) -> Option<IpsetdConf> {
    let origin = reader.origin(value.range.clone());
    let mut conf = IpsetdConf {
        origin,
        port: None,
        allow_from: None,
        allow_any: false,
        sets: None,
        verbs: None,
        token_file: None,
        tls_cert: None,
        tls_key: None,
        tls_client_ca: None,
        socket: None,
        timeout: None,
    };
    reader.object(value, IPSETD_KEYS, |reader, key, value| match key {
        "port" => conf.port = reader.text_or_number(value),
        "allowFrom" => conf.allow_from = Some(read_list(reader, value, Reader::text)),
        "allowAny" => conf.allow_any = reader.flag(&value).unwrap_or_default(),
        "sets" => conf.sets = Some(read_list(reader, value, Reader::text)),
        "verbs" => conf.verbs = Some(read_list(reader, value, |reader, value| reader.word(value, &VERBS))),
        "tokenFile" => conf.token_file = reader.text(value),
        "tlsCert" => conf.tls_cert = reader.text(value),
        "tlsKey" => conf.tls_key = reader.text(value),
        "tlsClientCa" => conf.tls_client_ca = reader.text(value),
        "socket" => conf.socket = reader.text(value),
        _ => conf.timeout = reader.count(&value),
    })?;
    Some(conf)
}

fn read_list<T>(
    reader: &mut Reader,
    value: Value,
    read: impl FnMut(&mut Reader, Value) -> Option<T>,
) -> List<T> {
    List { origin: reader.origin(value.range.clone()), elements: reader.list(value, read) }
}
