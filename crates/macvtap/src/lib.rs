//! The CNI main plugin `macvtap`: a call comes in, a macvtap interface with addresses and routes is made in the
//! container's network namespace, checked, or removed.
//!
//! Each command is a composition of the steps in the modules. The namespace is opened, and the host guarded, before
//! anything is changed; an ADD that fails leaves nothing behind.

mod check;
mod conf;
mod error;
mod interface;
mod sysctl;

use std::path::Path;

use fwn_cni::error::{CniError, ErrorCode};
use fwn_cni::exec::{Executor, ipam_add, ipam_check, ipam_del, ipam_gc, ipam_status};
use fwn_cni::invocation::Invocation;
use fwn_cni::result::AddResult;
use fwn_cni::{Plugin, SpecVersion, result};
use fwn_kernel::netns::{NetnsError, TargetNetns};
use fwn_kernel::route::{Link, RouteSocket};

use crate::conf::MacvtapSpec;
use crate::error::MacvtapError;
use crate::interface::{Kernel, configure, create, find_master};

/// The plugin.
#[derive(Debug)]
pub struct Macvtap<E> {
    executor: E,
}

impl<E: Executor> Macvtap<E> {
    /// A plugin that runs its IPAM plugin with `executor`.
    pub fn new(executor: E) -> Self {
        Self { executor }
    }

    /// What an ADD does once the interface is there: addresses, and everything that makes them work.
    fn attach(
        &self,
        invocation: &Invocation,
        spec: &MacvtapSpec,
        kernel: &mut Kernel,
        link: &Link,
    ) -> Result<AddResult, CniError> {
        let mut result = AddResult::default();
        if spec.has_ipam {
            let assigned = ipam_add(&self.executor, invocation)?;
            if assigned.ips.is_empty() {
                return Err(MacvtapError::NoAddress.into());
            }
            result.ips = assigned.ips;
            for ip in &mut result.ips {
                ip.interface = Some(0);
            }
            result.routes = assigned.routes;
            result.dns = assigned.dns;
        }
        configure(kernel, link, &result)?;
        // as it is now: in mode `passthru` the address is the master's
        let link = kernel.container.link(link.index).map_err(MacvtapError::from)?;
        let link = link.ok_or_else(|| MacvtapError::Missing(invocation.ifname.clone()))?;
        result.interfaces.push(result::Interface {
            name: invocation.ifname.clone(),
            mac: link.mac.map(|mac| mac.to_string()),
            mtu: (invocation.conf.version >= SpecVersion::V1_1_0).then_some(link.mtu),
            sandbox: invocation.netns.as_ref().map(|path| path.display().to_string()),
            ..result::Interface::default()
        });
        if !spec.dns.is_empty() {
            result.dns = spec.dns.clone();
        }
        Ok(result)
    }

    /// Takes back what a failed ADD did; what that fails at is told with the error.
    fn undo(
        &self,
        invocation: &Invocation,
        spec: &MacvtapSpec,
        kernel: &mut Kernel,
        link: &Link,
        error: CniError,
    ) -> CniError {
        let mut left = Vec::new();
        if let Err(failed) = kernel.container.delete_link(link) {
            left.push(CniError::from(MacvtapError::from(failed)).to_string());
        }
        if spec.has_ipam
            && let Err(failed) = ipam_del(&self.executor, invocation)
            // a plugin that is not there fails twice in the same way
            && failed != error
        {
            left.push(failed.to_string());
        }
        if left.is_empty() {
            return error;
        }
        let left = format!("undoing it failed too: {}", left.join("; "));
        let details = error.details.iter().cloned().chain([left]).collect::<Vec<_>>().join("; ");
        error.with_details(details)
    }
}

impl<E: Executor> Plugin for Macvtap<E> {
    fn name(&self) -> &'static str {
        "macvtap"
    }

    fn add(&self, invocation: &Invocation) -> Result<String, CniError> {
        let spec = MacvtapSpec::parse(invocation)?;
        let mut kernel = Kernel::open(required_netns(invocation)?)?;
        let master = find_master(&mut kernel.host, spec.master.as_deref())?;
        let link = create(&mut kernel, &invocation.ifname, &master, &spec)?;
        let result = match self.attach(invocation, &spec, &mut kernel, &link) {
            Ok(result) => result,
            Err(error) => return Err(self.undo(invocation, &spec, &mut kernel, &link, error)),
        };
        Ok(result.render(invocation.conf.version))
    }

    fn del(&self, invocation: &Invocation) -> Result<(), CniError> {
        let target = match invocation.netns.as_deref().map(TargetNetns::open) {
            None | Some(Err(NetnsError::Missing(_))) => None,
            Some(Ok(target)) => Some(target),
            Some(Err(error)) => return Err(MacvtapError::from(error).into()),
        };
        // the keys of the configuration are not judged here: what a stricter ADD would refuse must still go
        let mut errors = Vec::new();
        match has_ipam(invocation) {
            Ok(true) => errors.extend(ipam_del(&self.executor, invocation).err()),
            Ok(false) => {}
            Err(error) => errors.push(error),
        }
        if let Some(target) = target {
            errors.extend(interface::remove(&target, &invocation.ifname).err().map(CniError::from));
        }
        CniError::join(errors).map_or(Ok(()), Err)
    }

    fn check(&self, invocation: &Invocation) -> Result<(), CniError> {
        let spec = MacvtapSpec::parse(invocation)?;
        let mut kernel = Kernel::open(required_netns(invocation)?)?;
        if spec.has_ipam {
            ipam_check(&self.executor, invocation)?;
        }
        check::check(invocation, &spec, &mut kernel)
    }

    fn gc(&self, invocation: &Invocation) -> Result<(), CniError> {
        // interfaces go with their namespaces, so only addresses can be left over
        if has_ipam(invocation)? { ipam_gc(&self.executor, invocation) } else { Ok(()) }
    }

    fn status(&self, invocation: &Invocation) -> Result<(), CniError> {
        let spec = MacvtapSpec::parse(invocation)?;
        let found = RouteSocket::open_here()
            .map_err(MacvtapError::from)
            .and_then(|mut host| find_master(&mut host, spec.master.as_deref()));
        found.map_err(|error| CniError { code: ErrorCode::NotAvailable.into(), ..error.into() })?;
        if spec.has_ipam { ipam_status(&self.executor, invocation) } else { Ok(()) }
    }
}

fn has_ipam(invocation: &Invocation) -> Result<bool, CniError> {
    Ok(invocation.conf.ipam_type()?.is_some())
}

fn required_netns(invocation: &Invocation) -> Result<&Path, CniError> {
    let missing = || CniError::new(ErrorCode::BadEnvironment, "CNI_NETNS is not set");
    invocation.netns.as_deref().ok_or_else(missing)
}
