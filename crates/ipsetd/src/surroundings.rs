//! [`Surroundings`] of the network namespace that the sockets in here were opened in.

use std::net::IpAddr;

use fwn_kernel::netlink::socket::{NetlinkSocket, Protocol, SocketError};
use fwn_kernel::netns::available_families;
use fwn_kernel::nft::input::closed_input;
use fwn_kernel::route::{RouteError, RouteSocket};
use fwn_node::causes::with_causes;
use fwn_plan::netfilter::Families;

use crate::access::InputPolicy;
use crate::service::Surroundings;

/// What the kernel tells of a namespace.
#[derive(Debug)]
pub struct KernelSurroundings {
    route: RouteSocket,
    netfilter: NetlinkSocket,
}

/// Why it cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum SurroundingsError {
    /// No socket for addresses.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// No socket for policies.
    #[error(transparent)]
    Netfilter(#[from] SocketError),
}

impl KernelSurroundings {
    /// Those of the calling thread's namespace.
    ///
    /// # Errors
    /// No socket can be had.
    pub fn open_here() -> Result<Self, SurroundingsError> {
        let netfilter = NetlinkSocket::open(Protocol::Netfilter)?;
        Ok(Self { route: RouteSocket::open_here()?, netfilter })
    }
}

impl Surroundings for KernelSurroundings {
    fn is_own(&mut self, address: IpAddr) -> Result<bool, String> {
        self.route.is_own(address).map_err(|error| with_causes(&error))
    }

    fn input_policy(&mut self) -> InputPolicy {
        let families = available_families();
        match closed_input(&mut self.netfilter) {
            Ok(closed) if closed.and(families) == families && families != Families::NONE => {
                InputPolicy::Closed
            }
            Ok(_) => InputPolicy::Open,
            Err(error) => {
                log::warn!("the INPUT policy counts as open: {}", with_causes(&error));
                InputPolicy::Open
            }
        }
    }
}
