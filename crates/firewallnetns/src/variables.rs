//! The variables of one call, in order of precedence: `vars`, the environment, `varFiles`, and last what a tenant or
//! the runtime can write, under names of its own (`ARG_*`, `LABEL_*`, `PORT*`, `RESULT_*`) that shadow nothing.

use std::net::IpAddr;

use fwn_cni::invocation::Invocation;
use fwn_cni::result::{AddResult, Cidr, Interface, addresses as addresses_of};
use fwn_plan::ruleset::PortMapping;
use serde_json::Value;

/// The protocols that have ports. A tenant may write one: `all` would open everything where a rule has no port.
const PROTOCOLS: [&str; 5] = ["tcp", "udp", "sctp", "dccp", "udplite"];

/// Where in `args` the labels of a Mesos task are.
const MESOS_LABELS: &str = "/org.apache.mesos/network_info/labels";

/// What the runtime said of this attachment, as variables.
pub(crate) fn derived(
    invocation: &Invocation,
    mappings: &[PortMapping],
    result: Option<&AddResult>,
) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let args = invocation.conf.args.as_ref();
    if let Some(args) = args.and_then(|args| args.pointer("/cni")).and_then(Value::as_object) {
        for (key, value) in args {
            push(&mut variables, "ARG_", key, scalar(value));
        }
    }
    // deprecated, so the same key in `args` wins by coming first
    for (key, value) in &invocation.args {
        push(&mut variables, "ARG_", key, Some(value.clone()));
    }
    for pointer in ["/cni/labels", MESOS_LABELS] {
        if let Some(labels) = args.and_then(|args| args.pointer(pointer)) {
            push_labels(&mut variables, labels);
        }
    }
    for (number, mapping) in mappings.iter().enumerate() {
        variables.push((format!("PORT{number}"), mapping.container_port.to_string()));
        variables.push((format!("PORT{number}_PROTO"), mapping.protocol.clone()));
        variables.push((format!("PORT{number}_HOST"), mapping.host_port.to_string()));
    }
    if let Some(result) = result {
        push_result(&mut variables, result, &invocation.ifname);
    }
    variables
}

/// `runtimeConfig.portMappings`, then Mesos' `port_mappings`.
///
/// # Errors
/// What is wrong with one of them, in words.
pub(crate) fn port_mappings(invocation: &Invocation) -> Result<Vec<PortMapping>, String> {
    let of_runtime =
        invocation.conf.runtime_config.as_ref().and_then(|config| config.pointer("/portMappings"));
    let of_mesos = invocation
        .conf
        .args
        .as_ref()
        .and_then(|args| args.pointer("/org.apache.mesos/network_info/port_mappings"));
    let mut mappings = Vec::new();
    for (list, name, keys) in [
        (of_runtime, "runtimeConfig.portMappings", ["containerPort", "hostPort"]),
        (of_mesos, "port_mappings", ["container_port", "host_port"]),
    ] {
        let Some(list) = list else { continue };
        let list = list.as_array().ok_or_else(|| format!("`{name}` is not a list"))?;
        for (index, mapping) in list.iter().enumerate() {
            let [container, host] = keys;
            let port = |key: &str, value: &Value| {
                let number = value.as_u64().and_then(|port| u16::try_from(port).ok());
                number.ok_or_else(|| format!("`{name}[{index}].{key}` is not a port"))
            };
            // a rule that opens port 0 instead would be no error to anybody
            let container_port = member(mapping, container)
                .ok_or_else(|| format!("`{name}[{index}].{container}` is missing"))
                .and_then(|value| port(container, value))?;
            // what is not published has none
            let host_port = member(mapping, host).map_or(Ok(0), |value| port(host, value))?;
            let protocol = match member(mapping, "protocol") {
                None => Some("tcp".to_owned()),
                Some(protocol) => protocol.as_str().map(str::to_lowercase),
            };
            let protocol = protocol
                .filter(|word| PROTOCOLS.contains(&word.as_str()))
                .ok_or_else(|| format!("`{name}[{index}].protocol` is none of {}", PROTOCOLS.join(", ")))?;
            mappings.push(PortMapping { container_port, host_port, protocol });
        }
    }
    Ok(mappings)
}

/// A member, in capitals or not: containerd's CRI plugin writes `ContainerPort`, and Go's decoder takes that for
/// `containerPort`.
fn member<'a>(object: &'a Value, key: &str) -> Option<&'a Value> {
    let found = object.as_object()?.iter().find(|(known, _)| known.eq_ignore_ascii_case(key));
    found.map(|(_, value)| value)
}

/// What a Mesos task asks for by the label `CNI_ARGS`, `IP=ADDRESS,ADDRESS`: it has no other way to give `CNI_ARGS`.
///
/// # Errors
/// One of them is no address, in words.
pub(crate) fn requested_addresses(invocation: &Invocation) -> Result<Vec<String>, String> {
    let labels = invocation.conf.args.as_ref().and_then(|args| args.pointer(MESOS_LABELS));
    let mut variables = Vec::new();
    if let Some(labels) = labels {
        push_labels(&mut variables, labels);
    }
    let label = variables.into_iter().find(|(name, _)| name == "LABEL_CNI_ARGS");
    let (_, value) = label.unwrap_or_default();
    let ip = value.split(';').find_map(|pair| pair.trim().strip_prefix("IP="));
    let addresses = ip.into_iter().flat_map(|list| list.split(',')).map(str::trim);
    addresses
        .map(|address| {
            let plain = address.parse::<IpAddr>().is_ok() || address.parse::<Cidr>().is_ok();
            let message = "`IP` in the label `CNI_ARGS` is not an address, nor a list of them with commas";
            if plain { Ok(address.to_owned()) } else { Err(message.to_owned()) }
        })
        .collect()
}

/// A list of `{key, value}`, an object with such a list under `labels` (Mesos), or a plain object.
fn push_labels(variables: &mut Vec<(String, String)>, labels: &Value) {
    if let Some(list) = labels.as_array() {
        for label in list {
            if let Some(key) = label.get("key").and_then(Value::as_str) {
                push(variables, "LABEL_", key, label.get("value").and_then(scalar));
            }
        }
    } else if let Some(inner) = labels.get("labels").filter(|inner| inner.is_array()) {
        push_labels(variables, inner);
    } else if let Some(object) = labels.as_object() {
        for (key, value) in object {
            push(variables, "LABEL_", key, scalar(value));
        }
    }
}

fn push_result(variables: &mut Vec<(String, String)>, result: &AddResult, ifname: &str) {
    let mut push = |name: &str, value: String| variables.push((format!("RESULT_{name}"), value));
    for ip in addresses_of(result, ifname) {
        let family = if ip.address.addr.is_ipv4() { "4" } else { "6" };
        push(&format!("IP{family}"), ip.address.addr.to_string());
        if let Some(gateway) = ip.gateway {
            push(&format!("GATEWAY{family}"), gateway.to_string());
        }
    }
    let in_sandbox = |interface: &&Interface| interface.name == ifname && interface.sandbox.is_some();
    if let Some(interface) = result.interfaces.iter().find(in_sandbox) {
        if let Some(mac) = &interface.mac {
            push("MAC", mac.clone());
        }
        push("IFNAME", interface.name.clone());
    }
}

/// The addresses of the attachment, for `forEach: ips`.
pub(crate) fn addresses(result: Option<&AddResult>, ifname: &str) -> Vec<IpAddr> {
    result
        .map(|result| addresses_of(result, ifname).iter().map(|ip| ip.address.addr).collect())
        .unwrap_or_default()
}

/// Adds a variable; lists and objects are no values, and the first of a name wins at look-up.
fn push(variables: &mut Vec<(String, String)>, prefix: &str, key: &str, value: Option<String>) {
    let name: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    variables.extend(value.map(|value| (format!("{prefix}{name}"), value)));
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}
