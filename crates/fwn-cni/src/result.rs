//! Results of ADD in every version: read, written, converted, and handed on.
//!
//! A chained plugin that changes nothing visible hands the previous result on as it came, byte for byte
//! ([`chained_result`], [`pass_on`]). Only where the form differs between two versions is it read and written anew, by
//! the rules of libcni.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::{CniError, ErrorCode};
use crate::invocation::NetworkConf;
use crate::object::{Object, json_text};
use crate::version::{ResultForm, SpecVersion};

/// What an ADD made, in the newest form. The `extra` members hold keys that the specification does not know.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AddResult {
    /// Interfaces, on the host's side too.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// Addresses.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpConfig>,
    /// Routes.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Name resolution.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Dns::is_empty")]
    pub dns: Dns,
    /// Unknown keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One interface of a result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// Name, in its namespace.
    pub name: String,
    /// Hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// In bytes (1.1.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Path of the network namespace; absent on the host's side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// Path of a socket, for interfaces in user space (1.1.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_path: Option<String>,
    /// PCI device (1.1.0).
    #[serde(default, rename = "pciID", skip_serializing_if = "Option::is_none")]
    pub pci_id: Option<String>,
    /// Unknown keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One address of a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IpConfig {
    /// Index into the interfaces. Some plugins write -1 for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<i64>,
    /// Address with the length of its network.
    pub address: Cidr,
    /// Gateway of that network.
    #[serde(default, deserialize_with = "optional_addr", skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Unknown keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One route of a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Destination.
    pub dst: Cidr,
    /// Gateway; absent: that of the network.
    #[serde(default, deserialize_with = "optional_addr", skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
    /// In bytes (1.1.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Advertised TCP segment size, in bytes (1.1.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// Lower goes first (1.1.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Routing table (1.1.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// `RT_SCOPE_*` of linux/rtnetlink.h (1.1.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u32>,
    /// Unknown keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Name resolution of a result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Dns {
    /// Addresses of name servers, the best first.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// Local domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Search list.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options of the resolver.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Unknown keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// An address and the length of its network, such as `10.1.0.5/16`. Host bits stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    /// The address.
    pub addr: IpAddr,
    /// Bits of the network, at most 32 or 128.
    pub prefix: u8,
}

/// The text is no address with a network length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not ADDRESS/LENGTH")]
pub struct CidrError {
    /// What was given.
    pub text: String,
}

impl AddResult {
    /// Reads a result in the form of its own `cniVersion`, or in that of `assumed` where it names none. `null` is an
    /// empty result, as in libcni.
    ///
    /// # Errors
    /// Code 6: it cannot be read. Code 1: its `cniVersion` is unknown.
    pub fn parse(text: &str, assumed: SpecVersion) -> Result<Self, CniError> {
        if text.trim() == "null" {
            return Ok(Self::default());
        }
        let version = stated_version(&parse_object(text)?)?.unwrap_or(assumed);
        let mut result = match version.form() {
            ResultForm::Single => serde_json::from_str::<Single>(text).map(Self::from),
            ResultForm::Versioned | ResultForm::Listed => serde_json::from_str(text),
        }
        .map_err(|error| unreadable(&error))?;
        if version == SpecVersion::V0_3_0 && result.ips.is_empty() {
            // the text of 0.3.0 says `ip`; everybody wrote `ips`, and 0.3.1 mended the text
            if let Some(ips) = result.extra.remove("ip") {
                result.ips = serde_json::from_value(ips).map_err(|error| unreadable(&error))?;
            }
        }
        result.extra.remove("cniVersion");
        for ip in &mut result.ips {
            ip.extra.remove("version");
        }
        Ok(result)
    }

    /// Writes it in the form of a version, on one line. What a version has no place for is left out as in libcni:
    /// below 1.0.0 `mtu`, `socketPath` and `pciID` of interfaces; below 0.3.0 all interfaces, all addresses but the
    /// first of each family, and everything of a route but its destination and gateway.
    pub fn render(&self, version: SpecVersion) -> String {
        match version.form() {
            ResultForm::Single => json_text(&SingleOut::new(self, version)),
            ResultForm::Versioned => json_text(&VersionedOut::new(self, version)),
            ResultForm::Listed => json_text(&ListedOut { cni_version: version.as_str(), result: self }),
        }
    }
}

impl IpConfig {
    /// An address without gateway and interface.
    pub fn new(address: Cidr) -> Self {
        Self { interface: None, address, gateway: None, extra: Map::new() }
    }
}

impl Route {
    /// A route with just a destination.
    pub fn new(dst: Cidr) -> Self {
        Self {
            dst,
            gw: None,
            mtu: None,
            advmss: None,
            priority: None,
            table: None,
            scope: None,
            extra: Map::new(),
        }
    }
}

impl Dns {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The addresses of the attachment: those whose interface is called `ifname` and lies in a sandbox, and those that
/// name no interface that is known (no index, -1, one out of range). The `portmap` plugin reads results the same way.
pub fn addresses<'a>(result: &'a AddResult, ifname: &str) -> Vec<&'a IpConfig> {
    let ours = |ip: &&IpConfig| {
        let index = ip.interface.and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| result.interfaces.get(index)).is_none_or(|interface| {
            interface.name == ifname && interface.sandbox.as_ref().is_some_and(|path| !path.is_empty())
        })
    };
    result.ips.iter().filter(ours).collect()
}

/// The result of a chained plugin that changes nothing that a result shows: the previous one.
///
/// Before 0.3.0 there are no chains and so no previous result: then an empty result.
///
/// # Errors
/// Code 7: no `prevResult` where there should be one. Else as [`pass_on`].
pub fn chained_result(conf: &NetworkConf) -> Result<String, CniError> {
    match &conf.prev_result {
        Some(prev) => pass_on(prev, conf.version, conf.version),
        None if conf.version < SpecVersion::V0_3_0 => Ok(AddResult::default().render(conf.version)),
        None => {
            let msg =
                format!("prevResult missing: {} is chained after an interface plugin", conf.plugin_type);
            let details = format!(
                "put it after another plugin in the list `plugins` of network `{}`, it cannot be the first or only one",
                conf.name
            );
            Err(CniError::new(ErrorCode::BadConfig, msg).with_details(details))
        }
    }
}

/// A result handed on in version `to`. `from` is the version of a `prev` that names none.
///
/// If both versions have the same form nothing but the value of `cniVersion` is touched (it is added where it is
/// absent), so that unknown keys, order, number forms and blanks stay. Else it is read and written anew.
///
/// # Errors
/// Code 6: `prev` cannot be read. Code 1: it is in an unknown version.
pub fn pass_on(prev: &RawValue, from: SpecVersion, to: SpecVersion) -> Result<String, CniError> {
    let text = prev.get();
    if text == "null" {
        return Ok(AddResult::default().render(to));
    }
    let object = parse_object(text)?;
    let stated = stated_version(&object)?;
    if stated == Some(to) {
        return Ok(text.to_owned());
    }
    if stated.unwrap_or(from).form() != to.form() {
        return Ok(AddResult::parse(text, from)?.render(to));
    }
    Ok(with_version(text, &object, to))
}

/// What a plugin printed, as one JSON value.
///
/// # Errors
/// Code 6: it is none.
pub(crate) fn raw_result(printed: &str) -> Result<Box<RawValue>, CniError> {
    RawValue::from_string(printed.to_owned()).map_err(|error| unreadable(&error))
}

/// The same result, naming its version, which is `assumed` where it names none.
///
/// # Errors
/// As [`pass_on`].
pub(crate) fn complete(result: &RawValue, assumed: SpecVersion) -> Result<String, CniError> {
    let stated = if result.get() == "null" { None } else { stated_version(&parse_object(result.get())?)? };
    pass_on(result, assumed, stated.unwrap_or(assumed))
}

/// `text`, which `object` was read from, with the value of `cniVersion` put in or replaced.
fn with_version(text: &str, object: &Object<'_>, version: SpecVersion) -> String {
    let version = json_text(version.as_str());
    if let Some(old) = object.raw("cniVersion") {
        // the member's text lies inside `text`, so the distance of their first bytes is where it starts
        let start = old.get().as_ptr().addr() - text.as_ptr().addr();
        let (head, tail) = text.split_at(start);
        let tail = tail.strip_prefix(old.get()).expect("it starts here");
        return format!("{head}{version}{tail}");
    }
    let rest = text.strip_prefix('{').expect("it is an object");
    let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
    format!("{{\"cniVersion\":{version}{comma}{rest}")
}

fn parse_object(text: &str) -> Result<Object<'_>, CniError> {
    Object::parse(text).map_err(|error| unreadable(&error))
}

fn stated_version(object: &Object<'_>) -> Result<Option<SpecVersion>, CniError> {
    let Some(raw) = object.get("cniVersion") else { return Ok(None) };
    let text: String = serde_json::from_str(raw.get()).map_err(|error| unreadable(&error))?;
    if text.is_empty() {
        return Ok(None);
    }
    let version = text.parse::<SpecVersion>().map_err(CniError::from);
    version.map(Some).map_err(|error| error.within("result of a plugin"))
}

fn unreadable(error: &serde_json::Error) -> CniError {
    CniError::new(ErrorCode::Decode, "result of a plugin cannot be read").with_details(error.to_string())
}

/// 0.1.0 and 0.2.0, as read.
#[derive(Deserialize)]
struct Single {
    ip4: Option<SingleIp<Route>>,
    ip6: Option<SingleIp<Route>>,
    #[serde(default, deserialize_with = "null_as_default")]
    dns: Dns,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(bound(deserialize = "R: Deserialize<'de>"))]
struct SingleIp<R> {
    ip: Cidr,
    #[serde(default, deserialize_with = "optional_addr", skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    routes: Vec<R>,
}

impl From<Single> for AddResult {
    fn from(single: Single) -> Self {
        let mut result = Self { dns: single.dns, extra: single.extra, ..Self::default() };
        for ip in [single.ip4, single.ip6].into_iter().flatten() {
            result.ips.push(IpConfig { gateway: ip.gateway, ..IpConfig::new(ip.ip) });
            result.routes.extend(ip.routes);
        }
        result
    }
}

/// 0.1.0 and 0.2.0, as written.
#[derive(Serialize)]
struct SingleOut<'a> {
    #[serde(rename = "cniVersion")]
    cni_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip4: Option<SingleIp<SingleRoute>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip6: Option<SingleIp<SingleRoute>>,
    // libcni writes it below 1.0.0 even if it is empty
    dns: &'a Dns,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct SingleRoute {
    dst: Cidr,
    #[serde(skip_serializing_if = "Option::is_none")]
    gw: Option<IpAddr>,
}

impl<'a> SingleOut<'a> {
    fn new(result: &'a AddResult, version: SpecVersion) -> Self {
        let first = |is_ours: fn(&IpAddr) -> bool| {
            let ip = result.ips.iter().find(|ip| is_ours(&ip.address.addr))?;
            let routes = result.routes.iter().filter(|route| is_ours(&route.dst.addr));
            let routes = routes.map(|route| SingleRoute { dst: route.dst, gw: route.gw }).collect();
            Some(SingleIp { ip: ip.address, gateway: ip.gateway, routes })
        };
        Self {
            cni_version: version.as_str(),
            ip4: first(IpAddr::is_ipv4),
            ip6: first(IpAddr::is_ipv6),
            dns: &result.dns,
            extra: &result.extra,
        }
    }
}

/// 0.3.0 to 0.4.0, as written.
#[derive(Serialize)]
struct VersionedOut<'a> {
    #[serde(rename = "cniVersion")]
    cni_version: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    interfaces: Vec<Interface>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ips: Vec<VersionedIp<'a>>,
    #[serde(skip_serializing_if = "<[Route]>::is_empty")]
    routes: &'a [Route],
    // libcni writes it below 1.0.0 even if it is empty
    dns: &'a Dns,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct VersionedIp<'a> {
    version: &'static str,
    #[serde(flatten)]
    ip: &'a IpConfig,
}

impl<'a> VersionedOut<'a> {
    fn new(result: &'a AddResult, version: SpecVersion) -> Self {
        let plain = |interface: &Interface| Interface {
            mtu: None,
            socket_path: None,
            pci_id: None,
            ..interface.clone()
        };
        let versioned =
            |ip: &'a IpConfig| VersionedIp { version: if ip.address.addr.is_ipv4() { "4" } else { "6" }, ip };
        Self {
            cni_version: version.as_str(),
            interfaces: result.interfaces.iter().map(plain).collect(),
            ips: result.ips.iter().map(versioned).collect(),
            routes: &result.routes,
            dns: &result.dns,
            extra: &result.extra,
        }
    }
}

/// 1.0.0 and later, as written.
#[derive(Serialize)]
struct ListedOut<'a> {
    #[serde(rename = "cniVersion")]
    cni_version: &'static str,
    #[serde(flatten)]
    result: &'a AddResult,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let parse = || {
            let (addr, prefix) = text.split_once('/')?;
            let addr: IpAddr = addr.parse().ok()?;
            // `u8::from_str` takes a leading plus
            let prefix: u8 = prefix.bytes().all(|b| b.is_ascii_digit()).then(|| prefix.parse().ok())??;
            let bits = if addr.is_ipv4() { 32 } else { 128 };
            (prefix <= bits).then_some(Self { addr, prefix })
        };
        parse().ok_or_else(|| CidrError { text: text.to_owned() })
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

/// Go writes and reads `null` for an empty list.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Option::deserialize(d).map(Option::unwrap_or_default)
}

/// Go reads an empty text as no address.
fn optional_addr<'de, D: Deserializer<'de>>(d: D) -> Result<Option<IpAddr>, D::Error> {
    match Option::<String>::deserialize(d)? {
        Some(text) if !text.is_empty() => text.parse().map(Some).map_err(serde::de::Error::custom),
        _ => Ok(None),
    }
}
