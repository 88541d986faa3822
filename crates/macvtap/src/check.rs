//! CHECK: the previous result against the kernel. Everything that differs is named, not only the first thing.

use std::net::IpAddr;

use fwn_cni::error::{CniError, ErrorCode};
use fwn_cni::invocation::Invocation;
use fwn_cni::result::{AddResult, Interface, addresses};
use fwn_kernel::route::Link;

use crate::conf::MacvtapSpec;
use crate::error::MacvtapError;
use crate::interface::{KIND, Kernel, find_master, gateway, prefix};

/// Compares what the previous result and the configuration say with what is there.
///
/// What later plugins of a chain may change without saying so (MTU, table of a route) is not compared unless the
/// result names it.
pub(crate) fn check(
    invocation: &Invocation,
    spec: &MacvtapSpec,
    kernel: &mut Kernel,
) -> Result<(), CniError> {
    let conf = &invocation.conf;
    let prev = conf.prev_result.as_ref().ok_or_else(|| {
        CniError::new(ErrorCode::BadConfig, "prevResult missing: CHECK compares with what ADD gave")
    })?;
    let result = AddResult::parse(prev.get(), conf.version)?;
    let netns = invocation.netns.as_ref().map(|path| path.display().to_string());
    let ifname = invocation.ifname.as_str();
    let ours = |interface: &&Interface| interface.name == ifname && interface.sandbox == netns;
    let Some(interface) = result.interfaces.iter().find(ours) else {
        let netns = netns.unwrap_or_default();
        let msg = format!("prevResult has no interface `{ifname}` in `{netns}`");
        return Err(CniError::new(ErrorCode::CheckFailed, msg));
    };
    let master = find_master(&mut kernel.host, spec.master.as_deref())?;
    let Some(link) = kernel.container.link(ifname).map_err(MacvtapError::from)? else {
        return Err(different(ifname, &["it does not exist".to_owned()]));
    };
    let mut differences = link_differences(&link, interface, &master, spec, kernel)?;
    differences.extend(address_differences(&link, &result, kernel)?);
    differences.extend(route_differences(&link, &result, kernel)?);
    if differences.is_empty() { Ok(()) } else { Err(different(ifname, &differences)) }
}

fn different(ifname: &str, differences: &[String]) -> CniError {
    let msg = format!("interface `{ifname}` is not as ADD left it: {}", differences.join("; "));
    CniError::new(ErrorCode::CheckFailed, msg)
}

fn link_differences(
    link: &Link,
    interface: &Interface,
    master: &Link,
    spec: &MacvtapSpec,
    kernel: &mut Kernel,
) -> Result<Vec<String>, MacvtapError> {
    if link.kind.as_deref() != Some(KIND) {
        let kind = link.kind.as_deref().unwrap_or("no virtual interface");
        return Ok(vec![format!("it is {kind}, not a {KIND}")]);
    }
    let mut differences = Vec::new();
    // an interface of the default route is not compared: the route may have moved since
    if spec.master.is_some() {
        let host = kernel.host_id()?;
        if link.lower != Some(master.index) || link.lower_netns.is_none() || link.lower_netns != host {
            differences.push(format!("its master is not `{}`", master.name));
        }
    }
    if link.mode != Some(spec.mode) {
        let mode = link.mode.map_or("unknown", |mode| mode.name());
        differences.push(format!("its mode is `{mode}`, not `{}`", spec.mode.name()));
    }
    let mac = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
    if let Some(wanted) = &interface.mac
        && !wanted.eq_ignore_ascii_case(&mac)
    {
        differences.push(format!("its MAC address is `{mac}`, not `{wanted}`"));
    }
    if !link.up {
        differences.push("it is down".to_owned());
    }
    Ok(differences)
}

fn address_differences(
    link: &Link,
    result: &AddResult,
    kernel: &mut Kernel,
) -> Result<Vec<String>, MacvtapError> {
    let present = kernel.container.addresses(Some(link))?;
    let missing = addresses(result, &link.name)
        .into_iter()
        .filter(|ip| !present.iter().any(|address| address.prefix == prefix(ip.address)))
        .map(|ip| format!("address `{}` is missing", ip.address));
    Ok(missing.collect())
}

fn route_differences(
    link: &Link,
    result: &AddResult,
    kernel: &mut Kernel,
) -> Result<Vec<String>, MacvtapError> {
    let present = kernel.container.routes()?;
    let missing = result.routes.iter().filter_map(|wanted| {
        let gateway: Option<IpAddr> = gateway(wanted, result);
        let found = present.iter().any(|route| {
            route.device == Some(link.index)
                && route.destination == prefix(wanted.dst).network()
                && (gateway.is_none() || route.gateway == gateway)
                && (wanted.table.is_none() || route.table == wanted.table)
                && (wanted.priority.is_none() || route.priority == wanted.priority)
        });
        let via = gateway.map(|gateway| format!(" via `{gateway}`")).unwrap_or_default();
        (!found).then(|| format!("route to `{}`{via} is missing", wanted.dst))
    });
    Ok(missing.collect())
}
