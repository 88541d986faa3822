//! The keys of the network configuration: JSON as written comes in, a checked [`MacvtapSpec`] goes out.
//!
//! Keys that are neither ours nor CNI's are errors. No interface is looked up here.

use fwn_cni::error::{CniError, ErrorCode};
use fwn_cni::invocation::Invocation;
use fwn_cni::result::Dns;
use fwn_kernel::route::{MacAddress, MacvlanMode};
use fwn_plan::config::{CNI_KEYS, is_cni_key};
use fwn_plan::nearest::nearest;
use serde_json::{Map, Value};

use crate::error::MacvtapError;

/// Our own keys; `ipam` and `dns` are CNI's.
const OWN_KEYS: [&str; 4] = ["master", "mode", "mtu", "mac"];

/// The modes that CNI plugins offer; `source` needs a list of addresses.
const MODES: [MacvlanMode; 4] =
    [MacvlanMode::Bridge, MacvlanMode::Private, MacvlanMode::Vepa, MacvlanMode::Passthru];

/// What the configuration asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MacvtapSpec {
    /// `None`: the device of the default route.
    pub(crate) master: Option<String>,
    pub(crate) mode: MacvlanMode,
    /// `None`: the master's.
    pub(crate) mtu: Option<u32>,
    /// `None`: a random one.
    pub(crate) mac: Option<MacAddress>,
    /// `false`: layer 2 only.
    pub(crate) has_ipam: bool,
    pub(crate) dns: Dns,
}

impl MacvtapSpec {
    /// Reads the configuration of a call, and what the runtime says about the MAC address.
    pub(crate) fn parse(invocation: &Invocation) -> Result<Self, CniError> {
        let conf = &invocation.conf;
        let keys: Map<String, Value> = decode("network configuration", &conf.text)?;
        check_keys(&keys)?;
        let mode = parse_mode(&keys)?;
        let mac = parse_mac(&keys, invocation)?;
        if let Some((origin, _)) = mac
            && mode == MacvlanMode::Passthru
        {
            return Err(MacvtapError::PassthruMac { origin }.into());
        }
        let dns = match keys.get("dns") {
            Some(dns) if !dns.is_null() => decode("`dns` of the network configuration", &dns.to_string())?,
            _ => Dns::default(),
        };
        Ok(Self {
            master: text(&keys, "master", "the name of an interface")?.map(str::to_owned),
            mode,
            mtu: parse_mtu(&keys)?,
            mac: mac.map(|(_, mac)| mac),
            has_ipam: conf.ipam_type()?.is_some(),
            dns,
        })
    }
}

fn decode<T: serde::de::DeserializeOwned>(what: &str, json: &str) -> Result<T, CniError> {
    serde_json::from_str(json).map_err(|error| {
        CniError::new(ErrorCode::Decode, format!("{what} cannot be read")).with_details(error.to_string())
    })
}

fn check_keys(keys: &Map<String, Value>) -> Result<(), MacvtapError> {
    for (key, value) in keys {
        if !is_cni_key(key) && !OWN_KEYS.contains(&key.as_str()) {
            let near = nearest(key, OWN_KEYS.into_iter().chain(CNI_KEYS));
            let (key, value) = (key.clone(), value.to_string());
            return Err(MacvtapError::UnknownKey { near, key, value });
        }
    }
    Ok(())
}

/// The text of a key; absent, `null` and empty are the same, as in Go.
fn text<'a>(
    keys: &'a Map<String, Value>,
    key: &'static str,
    wanted: &'static str,
) -> Result<Option<&'a str>, MacvtapError> {
    match keys.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(other) => Err(MacvtapError::BadValue { key, value: other.to_string(), wanted, near: None }),
    }
}

fn parse_mode(keys: &Map<String, Value>) -> Result<MacvlanMode, MacvtapError> {
    let wanted = "`bridge`, `private`, `vepa` or `passthru`";
    let Some(name) = text(keys, "mode", wanted)? else { return Ok(MacvlanMode::Bridge) };
    MODES.into_iter().find(|mode| mode.name() == name).ok_or_else(|| {
        let near = nearest(name, MODES.map(MacvlanMode::name));
        MacvtapError::BadValue { key: "mode", value: name.to_owned(), wanted, near }
    })
}

/// 0 is the master's.
fn parse_mtu(keys: &Map<String, Value>) -> Result<Option<u32>, MacvtapError> {
    let Some(value) = keys.get("mtu").filter(|value| !value.is_null()) else { return Ok(None) };
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    let wanted = "a number of bytes, or 0 for that of the master";
    let bad = || MacvtapError::BadValue { key: "mtu", value: value.to_string(), wanted, near: None };
    number.ok_or_else(bad).map(|mtu| Some(mtu).filter(|mtu| *mtu != 0))
}

/// The address and where it was given. The runtime wins over the arguments, these over the configuration, and
/// `args` over `CNI_ARGS` (`CONVENTIONS.md`).
fn parse_mac(
    keys: &Map<String, Value>,
    invocation: &Invocation,
) -> Result<Option<(&'static str, MacAddress)>, MacvtapError> {
    let wanted = "a MAC address";
    let runtime = invocation.conf.runtime_config.as_ref().and_then(Value::as_object);
    let args = invocation.conf.args.as_ref().and_then(|args| args.get("cni")).and_then(Value::as_object);
    let in_args = invocation.args.iter().rev().find(|(key, _)| key == "MAC").map(|(_, value)| value.as_str());
    let empty = Map::new();
    let sources = [
        ("`mac` of `runtimeConfig`", text(runtime.unwrap_or(&empty), "mac", wanted)?),
        ("`mac` of `args.cni`", text(args.unwrap_or(&empty), "mac", wanted)?),
        ("MAC of CNI_ARGS", in_args.filter(|mac| !mac.is_empty())),
        ("`mac`", text(keys, "mac", wanted)?),
    ];
    let Some((origin, given)) = sources.into_iter().find_map(|(origin, mac)| Some((origin, mac?))) else {
        return Ok(None);
    };
    let mac: MacAddress = given.parse().map_err(|source| MacvtapError::BadMac { origin, source })?;
    if mac.is_unicast() {
        Ok(Some((origin, mac)))
    } else {
        Err(MacvtapError::GroupMac { origin, mac: mac.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fwn_cni::invocation::Command;

    fn parse_with(keys: &str, args: &str) -> Result<MacvtapSpec, CniError> {
        let conf = format!(r#"{{"cniVersion": "1.0.0", "name": "n", "type": "macvtap"{keys}}}"#);
        let env = |name: &str| {
            let value = match name {
                "CNI_CONTAINERID" => "c",
                "CNI_NETNS" => "/nowhere",
                "CNI_IFNAME" => "eth0",
                "CNI_ARGS" => args,
                _ => return None,
            };
            Some(value.to_owned())
        };
        MacvtapSpec::parse(&Invocation::parse(Command::Add, &env, conf.as_bytes())?)
    }

    fn parse(keys: &str) -> Result<MacvtapSpec, CniError> {
        parse_with(keys, "")
    }

    fn mac(last: u8) -> MacAddress {
        MacAddress([2, 0, 0, 0, 0, last])
    }

    #[test]
    fn defaults() {
        let spec = parse("").expect("nothing is needed");
        let wanted = MacvtapSpec {
            master: None,
            mode: MacvlanMode::Bridge,
            mtu: None,
            mac: None,
            has_ipam: false,
            dns: Dns::default(),
        };
        assert_eq!(spec, wanted);
        let empty = parse(r#", "master": "", "mode": "", "mtu": 0, "mac": "", "ipam": {}, "dns": {}"#);
        assert_eq!(empty.expect("empty is absent"), wanted);
        // what a network of a single file may hold beside the keys of a plugin
        let single =
            parse(r#", "cniVersions": ["1.0.0"], "disableGC": true, "cni.dev/valid-attachments": []"#);
        assert_eq!(single.expect("CNI's keys"), wanted);
    }

    #[test]
    fn every_key() {
        let keys = r#", "master": "eth1", "mode": "vepa", "mtu": 1400, "mac": "02:00:00:00:00:01",
            "ipam": {"type": "static"}, "dns": {"domain": "d"}, "capabilities": {"mac": true}, "runtimeConfig": {},
            "cni.dev/valid-attachments": [], "disableCheck": true, "args": {"labels": [{}]}"#;
        let spec = parse(keys).expect("all known");
        assert_eq!(
            (spec.master.as_deref(), spec.mode, spec.mtu),
            (Some("eth1"), MacvlanMode::Vepa, Some(1400))
        );
        assert_eq!((spec.mac, spec.has_ipam, spec.dns.domain.as_deref()), (Some(mac(1)), true, Some("d")));
    }

    #[test]
    fn who_wins_with_the_mac() {
        let conf = r#", "mac": "02:00:00:00:00:01""#;
        let args = r#", "args": {"cni": {"mac": "02:00:00:00:00:03"}}"#;
        let runtime = r#", "runtimeConfig": {"mac": "02:00:00:00:00:04"}"#;
        let cni_args = "IgnoreUnknown=1;MAC=02:00:00:00:00:02;K8S_POD_NAME=x";
        let cases = [
            (conf.to_owned(), "", mac(1)),
            (conf.to_owned(), cni_args, mac(2)),
            (format!("{conf}{args}"), cni_args, mac(3)),
            (format!("{conf}{args}{runtime}"), cni_args, mac(4)),
        ];
        for (keys, cni_args, wanted) in cases {
            assert_eq!(parse_with(&keys, cni_args).expect(&keys).mac, Some(wanted), "{keys} {cni_args}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (
                r#", "mastr": "eth1""#,
                2,
                "`mastr` (with value `\"eth1\"`) is not a key of the plugin macvtap; did you mean `master`?",
            ),
            (
                r#", "linkInContainer": true"#,
                2,
                "`linkInContainer` (with value `true`) is not a key of the plugin macvtap",
            ),
            (
                r#", "mode": "brigde""#,
                7,
                "`mode` is `brigde`, it must be `bridge`, `private`, `vepa` or `passthru`; did you mean `bridge`?",
            ),
            (
                r#", "mode": "source""#,
                7,
                "`mode` is `source`, it must be `bridge`, `private`, `vepa` or `passthru`",
            ),
            (r#", "mtu": -1"#, 7, "`mtu` is `-1`, it must be a number of bytes, or 0 for that of the master"),
            (
                r#", "mtu": "1500""#,
                7,
                "`mtu` is `\"1500\"`, it must be a number of bytes, or 0 for that of the master",
            ),
            (
                r#", "mtu": 4294967296"#,
                7,
                "`mtu` is `4294967296`, it must be a number of bytes, or 0 for that of the master",
            ),
            (r#", "master": 1"#, 7, "`master` is `1`, it must be the name of an interface"),
            (
                r#", "mac": "x""#,
                7,
                "`mac` is not usable: `x` is not a MAC address: six bytes in hex are wanted, as in `02:00:5e:00:53:01`",
            ),
            (
                r#", "mac": "01:00:5e:00:00:01""#,
                7,
                "`mac` `01:00:5e:00:00:01` is not an address that an interface can have: it is a group's, or all zero",
            ),
            (r#", "runtimeConfig": {"mac": 5}"#, 7, "`mac` is `5`, it must be a MAC address"),
            (
                r#", "mode": "passthru", "mac": "02:00:00:00:00:01""#,
                7,
                "`mac` cannot be chosen in mode `passthru`, where the interface has the address of its master",
            ),
        ];
        for (keys, code, message) in cases {
            let error = parse(keys).expect_err(keys);
            assert_eq!((error.code, error.to_string().as_str()), (code, message));
        }
        let error = parse_with("", "MAC=x").expect_err("no address");
        assert!(error.to_string().starts_with("MAC of CNI_ARGS is not usable"), "{error}");
    }
}
