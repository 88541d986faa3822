//! The CNI plugin: each command to its file, with a snapshot of the environment.

use fwn_cni::error::CniError;
use fwn_cni::invocation::Invocation;
use fwn_cni::plugin::Plugin;

use crate::{add, check, del, gc, status};

/// The plugin, with the environment that variables are taken from.
#[derive(Clone)]
pub(crate) struct Firewall {
    /// Names and values, as the process was given them.
    pub environment: Vec<(String, String)>,
}

impl Plugin for Firewall {
    fn name(&self) -> &'static str {
        env!("CARGO_PKG_NAME")
    }

    fn add(&self, invocation: &Invocation) -> Result<String, CniError> {
        add::add(invocation, self.environment.clone())
    }

    fn del(&self, invocation: &Invocation) -> Result<(), CniError> {
        del::del(invocation, self.environment.clone())
    }

    fn check(&self, invocation: &Invocation) -> Result<(), CniError> {
        check::check(invocation)
    }

    fn gc(&self, invocation: &Invocation) -> Result<(), CniError> {
        gc::gc(invocation)
    }

    fn status(&self, invocation: &Invocation) -> Result<(), CniError> {
        status::status(invocation)
    }
}
