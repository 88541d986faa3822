//! The interface itself: made in the container's namespace, configured by an IPAM result, removed.

use std::fs::File;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use fwn_cni::result::{AddResult, Cidr, Route as CniRoute};
use fwn_kernel::netns::TargetNetns;
use fwn_kernel::route::{
    AddressEvents, AddressOptions, Existing, IpPrefix, Link, LinkChange, LinkEnd, Route, RouteSocket, Scope,
};
use fwn_plan::nearest::nearest;

use crate::conf::MacvtapSpec;
use crate::error::MacvtapError;
use crate::sysctl;

/// What the kernel calls our kind of interface.
pub(crate) const KIND: &str = "macvtap";

/// Duplicate address detection takes one second after a random delay of up to one (RFC 4862, 5.4.2).
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Both sides: where the master lives, and the container.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) host: RouteSocket,
    pub(crate) container: RouteSocket,
    pub(crate) target: TargetNetns,
}

impl Kernel {
    /// Opens the container's namespace, which is refused if it is the host's, and a socket on each side.
    pub(crate) fn open(netns: &Path) -> Result<Self, MacvtapError> {
        let target = TargetNetns::open(netns)?;
        let container = RouteSocket::open_in(&target)?;
        Ok(Self { host: RouteSocket::open_here()?, container, target })
    }

    /// The number that the container's namespace knows ours by, if it has one.
    pub(crate) fn host_id(&mut self) -> Result<Option<u32>, MacvtapError> {
        let own = File::open("/proc/thread-self/ns/net").map_err(MacvtapError::OwnNetns)?;
        Ok(self.container.netnsid(&own)?)
    }
}

/// The interface called `name`, or the one of the default route.
pub(crate) fn find_master(host: &mut RouteSocket, name: Option<&str>) -> Result<Link, MacvtapError> {
    let Some(name) = name else {
        return host.default_route_link()?.ok_or(MacvtapError::NoDefaultRoute);
    };
    if let Some(link) = host.link(name)? {
        return Ok(link);
    }
    let links = host.links()?;
    let near = nearest(name, links.iter().map(|link| link.name.as_str())).map(str::to_owned);
    Err(MacvtapError::UnknownMaster { name: name.to_owned(), near })
}

/// Makes the interface, still down, where it belongs and with its final name.
pub(crate) fn create(
    kernel: &mut Kernel,
    ifname: &str,
    master: &Link,
    spec: &MacvtapSpec,
) -> Result<Link, MacvtapError> {
    if let Some(mtu) = spec.mtu.filter(|mtu| *mtu > master.mtu) {
        return Err(MacvtapError::MtuTooLarge { mtu, limit: master.mtu, master: master.name.clone() });
    }
    let exists = |kernel: &Kernel| MacvtapError::Exists {
        name: ifname.to_owned(),
        path: kernel.target.path().to_owned(),
    };
    if kernel.container.link(ifname)?.is_some() {
        return Err(exists(kernel));
    }
    let Kernel { host, container, target } = kernel;
    let end = LinkEnd { mtu: spec.mtu, mac: spec.mac, ..LinkEnd::new(ifname).netns(target) };
    match host.add_macvtap(&end, master, spec.mode) {
        Ok(()) => container.link(ifname)?.ok_or_else(|| MacvtapError::Missing(ifname.to_owned())),
        Err(error) if error.is_exists() => {
            if container.link(ifname)?.is_some() {
                return Err(exists(kernel));
            }
            create_and_rename(kernel, ifname, master, spec)
        }
        Err(error) => Err(error.into()),
    }
}

/// For Linux before 6.15, which takes a name for used in the container if an interface of the *host* has it.
/// Renaming waits for an RCU grace period, so this is not the first choice.
fn create_and_rename(
    kernel: &mut Kernel,
    ifname: &str,
    master: &Link,
    spec: &MacvtapSpec,
) -> Result<Link, MacvtapError> {
    let interim = format!("mvt{}", std::process::id());
    let Kernel { host, container, target } = kernel;
    let end = LinkEnd { mtu: spec.mtu, mac: spec.mac, ..LinkEnd::new(&interim).netns(target) };
    host.add_macvtap(&end, master, spec.mode)?;
    let link = container.link(interim.as_str())?.ok_or(MacvtapError::Missing(interim))?;
    if let Err(error) = container.change_link(&link, LinkChange::Name(ifname)) {
        container.delete_link(&link)?;
        return Err(error.into());
    }
    Ok(Link { name: ifname.to_owned(), ..link })
}

/// Gives the interface its addresses, sets it up, and adds the routes.
///
/// Addresses come first, so that the kernel announces them when the interface comes up. IPv6 addresses are waited
/// for, so that the container can use them from its first moment, and one that is taken is an error.
pub(crate) fn configure(kernel: &mut Kernel, link: &Link, result: &AddResult) -> Result<(), MacvtapError> {
    let ipv6: Vec<IpAddr> = result.ips.iter().map(|ip| ip.address.addr).filter(IpAddr::is_ipv6).collect();
    if !result.ips.is_empty() {
        sysctl::prepare(&kernel.target, &link.name, !ipv6.is_empty())?;
    }
    let Kernel { container, target, .. } = kernel;
    let events = if ipv6.is_empty() { None } else { Some(AddressEvents::open_in(target)?) };
    for ip in &result.ips {
        container.add_address(link, prefix(ip.address), AddressOptions::default())?;
    }
    container.change_link(link, LinkChange::Up)?;
    if let Some(events) = events {
        // without a carrier detection does not even begin; the kernel makes up for it when there is one
        if container.link(link.index)?.is_some_and(|link| link.carrier) {
            container.settle(&events, link, &ipv6, SETTLE_TIMEOUT)?;
        } else {
            log::warn!("interface `{}` has no carrier: its IPv6 addresses cannot be used yet", link.name);
        }
    }
    for route in &result.routes {
        // beside others to the same place: a second attachment of the container may have a default route too
        container.add_route(&kernel_route(route, link, result)?, Existing::Beside)?;
    }
    Ok(())
}

/// Removes the interface if it is there and one of ours; there may be another kind of that name.
pub(crate) fn remove(target: &TargetNetns, ifname: &str) -> Result<(), MacvtapError> {
    let mut container = RouteSocket::open_in(target)?;
    let Some(link) = container.link(ifname)? else { return Ok(()) };
    if link.kind.as_deref() != Some(KIND) {
        log::warn!("interface `{ifname}` is left alone: it is no macvtap");
        return Ok(());
    }
    match container.delete_link(&link) {
        Err(error) if container.link(link.index)?.is_some() => Err(error.into()),
        // somebody else was quicker, or it is done
        _ => Ok(()),
    }
}

/// The gateway of a route: its own, or else that of the first address of its family that has one.
pub(crate) fn gateway(route: &CniRoute, result: &AddResult) -> Option<IpAddr> {
    let same_family = |gateway: &IpAddr| gateway.is_ipv4() == route.dst.addr.is_ipv4();
    route.gw.or_else(|| result.ips.iter().filter_map(|ip| ip.gateway).find(same_family))
}

fn kernel_route(route: &CniRoute, link: &Link, result: &AddResult) -> Result<Route, MacvtapError> {
    let scope = route.scope.map(u8::try_from).transpose().map_err(|_| MacvtapError::BadScope {
        dst: route.dst.to_string(),
        scope: route.scope.unwrap_or_default(),
    })?;
    Ok(Route {
        gateway: gateway(route, result),
        scope: scope.map(Scope),
        priority: route.priority,
        table: route.table,
        mtu: route.mtu,
        advmss: route.advmss,
        ..Route::to(prefix(route.dst)).dev(link)
    })
}

/// The same pair in the kernel layer's type.
pub(crate) fn prefix(cidr: Cidr) -> IpPrefix {
    IpPrefix::new(cidr.addr, cidr.prefix).expect("a CIDR was checked when it was read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use fwn_kernel::route::MacvlanMode;
    use fwn_testkit::Sandbox;

    fn spec() -> MacvtapSpec {
        MacvtapSpec {
            master: None,
            mode: MacvlanMode::Vepa,
            mtu: Some(1400),
            mac: None,
            has_ipam: false,
            dns: fwn_cni::result::Dns::default(),
        }
    }

    #[test]
    fn a_name_that_the_host_has_is_given_afterwards() {
        let sandbox = Sandbox::new();
        sandbox.host.sh("ip link add v0 type veth peer name v1; ip link add eth0 type veth peer name eth1");
        let host = TargetNetns::open(&sandbox.host.path()).expect("a namespace of our own");
        let target = TargetNetns::open(&sandbox.container.path()).expect("a namespace of our own");
        let mut kernel = Kernel {
            host: RouteSocket::open_in(&host).expect("a socket"),
            container: RouteSocket::open_in(&target).expect("a socket"),
            target,
        };
        let master = find_master(&mut kernel.host, Some("v0")).expect("it is there");
        let link = create_and_rename(&mut kernel, "eth0", &master, &spec()).expect("made");
        assert_eq!(kernel.container.link("eth0").expect("an answer").as_ref(), Some(&link));
        assert_eq!((link.mtu, link.mode), (1400, Some(MacvlanMode::Vepa)));

        create_and_rename(&mut kernel, "eth0", &master, &spec()).expect_err("the name is taken");
        let names = kernel.container.links().expect("links").into_iter().map(|link| link.name);
        assert_eq!(names.collect::<Vec<_>>(), ["lo", "eth0"], "nothing is left over");
    }
}
