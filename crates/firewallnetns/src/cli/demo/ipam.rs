//! The demo's own IPAM plugin, for machines without `host-local`: hands out the one address that its configuration
//! names. The same executable, called by another name; a runtime never meets it.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::Path;

use fwn_cni::error::{CniError, ErrorCode};
use fwn_cni::invocation::Invocation;
use fwn_cni::plugin::Plugin;
use fwn_cni::result::{AddResult, Cidr, IpConfig};
use serde::Deserialize;

/// The name that makes this executable the plugin: `ipam.type`.
pub(super) const NAME: &str = "demo-static-ipam";

/// The plugin.
#[derive(Debug)]
pub(crate) struct StaticIpam;

/// Its part of the configuration.
#[derive(Debug, Deserialize)]
struct Conf {
    address: String,
    gateway: IpAddr,
}

/// Whether the program was called by [`NAME`].
pub(crate) fn is_called(arguments: &[OsString]) -> bool {
    arguments.first().and_then(|name| Path::new(name).file_name()).is_some_and(|name| name == NAME)
}

impl Plugin for StaticIpam {
    fn name(&self) -> &'static str {
        NAME
    }

    fn add(&self, invocation: &Invocation) -> Result<String, CniError> {
        let text = invocation.conf.ipam.as_ref().map_or("null", |raw| raw.get());
        let conf: Conf = serde_json::from_str(text).map_err(|error| malformed(&error))?;
        let address: Cidr = conf.address.parse().map_err(|error| malformed(&error))?;
        let ip = IpConfig { gateway: Some(conf.gateway), ..IpConfig::new(address) };
        Ok(AddResult { ips: vec![ip], ..AddResult::default() }.render(invocation.conf.version))
    }

    fn del(&self, _: &Invocation) -> Result<(), CniError> {
        Ok(())
    }

    fn check(&self, _: &Invocation) -> Result<(), CniError> {
        Ok(())
    }

    fn gc(&self, _: &Invocation) -> Result<(), CniError> {
        Ok(())
    }

    fn status(&self, _: &Invocation) -> Result<(), CniError> {
        Ok(())
    }
}

fn malformed(error: &dyn std::error::Error) -> CniError {
    CniError::new(ErrorCode::BadConfig, "`ipam` is malformed").with_details(error.to_string())
}
