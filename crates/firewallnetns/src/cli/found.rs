//! A namespace that something else has given its interfaces: what is in it comes out as the result of a plugin, for
//! networks that have rules only. Nothing is changed here.

use std::path::Path;

use fwn_cni::error::{CniError, ErrorCode};
use fwn_cni::network_list::{NetworkList, PluginConf};
use fwn_cni::result::{AddResult, Cidr, Interface, IpConfig};
use fwn_cni::version::SpecVersion;
use fwn_kernel::netns::TargetNetns;
use fwn_kernel::route::{RouteError, RouteSocket};
use serde_json::Value;
use serde_json::value::RawValue;

/// `lo`, in every namespace (`LOOPBACK_IFINDEX`, `include/net/flow.h`).
const LOOPBACK: u32 = 1;
/// `RT_TABLE_MAIN` (`linux/rtnetlink.h`)
const MAIN_TABLE: u32 = 254;

/// What is in a namespace, as if a plugin before the first had made it; `None` where the network itself makes an
/// interface.
///
/// # Errors
/// The namespace is not there, is the host's, or cannot be looked at.
pub(super) fn found(list: &NetworkList, netns: &Path) -> Result<Option<Box<RawValue>>, CniError> {
    if !has_rules_only(list) {
        return Ok(None);
    }
    let unreadable = |error: &dyn std::error::Error| CniError::caused(ErrorCode::BadNetns, error);
    let target = TargetNetns::open(netns).map_err(|error| unreadable(&error))?;
    let result = interfaces_of(&target).map_err(|error| unreadable(&error))?;
    RawValue::from_string(result.render(list.version)).map(Some).map_err(|error| {
        CniError::new(ErrorCode::Internal, "a result cannot be written").with_details(error.to_string())
    })
}

/// Whether nothing in the network makes an interface: then somebody else has.
fn has_rules_only(list: &NetworkList) -> bool {
    let is_ours = |plugin: &PluginConf| {
        let conf: Result<Value, _> = serde_json::from_str(&plugin.text);
        let delegates = conf.is_ok_and(|conf| conf.get("delegate").is_some());
        plugin.plugin_type == env!("CARGO_PKG_NAME") && !delegates
    };
    // before 0.3.0 there is no place for it
    list.version >= SpecVersion::V0_3_0 && list.plugins.iter().all(is_ours)
}

fn interfaces_of(target: &TargetNetns) -> Result<AddResult, RouteError> {
    let mut socket = RouteSocket::open_in(target)?;
    let (addresses, routes) = (socket.addresses(None)?, socket.routes()?);
    let mut result = AddResult::default();
    for link in socket.links()?.into_iter().filter(|link| link.index != LOOPBACK) {
        let index = i64::try_from(result.interfaces.len()).ok();
        for address in addresses.iter().filter(|address| address.link == link.index && address.scope == 0) {
            let (addr, prefix) = (address.prefix.address(), address.prefix.length());
            let way_out = routes.iter().find(|route| {
                route.table == Some(MAIN_TABLE)
                    && route.device == Some(link.index)
                    && route.destination.is_default()
                    && route.destination.address().is_ipv4() == addr.is_ipv4()
            });
            let mut ip = IpConfig::new(Cidr { addr, prefix });
            (ip.interface, ip.gateway) = (index, way_out.and_then(|route| route.gateway));
            result.ips.push(ip);
        }
        result.interfaces.push(Interface {
            name: link.name,
            mac: link.mac.map(|mac| mac.to_string()),
            sandbox: Some(target.path().display().to_string()),
            ..Interface::default()
        });
    }
    Ok(result)
}
