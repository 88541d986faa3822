//! What can go wrong in this plugin, and the one table from causes to CNI's codes.

use std::path::PathBuf;

use fwn_cni::error::{CniError, ErrorCode};
use fwn_kernel::netns::NetnsError;
use fwn_kernel::route::{MacError, RouteError, SettleError};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MacvtapError {
    #[error("`{key}` (with value `{value}`) is not a key of the plugin macvtap{}", hint(*.near))]
    UnknownKey { key: String, value: String, near: Option<&'static str> },
    #[error("`{key}` is `{value}`, it must be {wanted}{}", hint(*.near))]
    BadValue { key: &'static str, value: String, wanted: &'static str, near: Option<&'static str> },
    #[error("{origin} is not usable")]
    BadMac { origin: &'static str, source: MacError },
    #[error("{origin} `{mac}` is not an address that an interface can have: it is a group's, or all zero")]
    GroupMac { origin: &'static str, mac: String },
    #[error(
        "{origin} cannot be chosen in mode `passthru`, where the interface has the address of its master"
    )]
    PassthruMac { origin: &'static str },
    #[error("master `{name}` does not exist{}", hint(.near.as_deref()))]
    UnknownMaster { name: String, near: Option<String> },
    #[error("no `master` is given and there is no default route to take it from")]
    NoDefaultRoute,
    #[error("`mtu` {mtu} is more than the {limit} of master `{master}`")]
    MtuTooLarge { mtu: u32, limit: u32, master: String },
    #[error("interface `{name}` exists already in `{}`", path.display())]
    Exists { name: String, path: PathBuf },
    #[error("interface `{0}` is gone")]
    Missing(String),
    #[error("the IPAM plugin gave no address")]
    NoAddress,
    #[error("route to `{dst}` has scope {scope}, it must be at most 255")]
    BadScope { dst: String, scope: u32 },
    #[error("cannot write `{value}` to `{}` in the container's namespace", path.display())]
    Sysctl { path: PathBuf, value: &'static str, source: std::io::Error },
    #[error("cannot open the plugin's own network namespace")]
    OwnNetns(#[source] std::io::Error),
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error(transparent)]
    Settle(#[from] SettleError),
}

impl MacvtapError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownKey { .. } => ErrorCode::UnsupportedField,
            Self::BadValue { .. }
            | Self::BadMac { .. }
            | Self::GroupMac { .. }
            | Self::PassthruMac { .. }
            | Self::UnknownMaster { .. }
            | Self::NoDefaultRoute
            | Self::MtuTooLarge { .. } => ErrorCode::BadConfig,
            Self::NoAddress | Self::BadScope { .. } => ErrorCode::PluginFailed,
            Self::Netns(_) => ErrorCode::BadNetns,
            Self::Exists { .. }
            | Self::Missing(_)
            | Self::Sysctl { .. }
            | Self::OwnNetns(_)
            | Self::Route(_)
            | Self::Settle(_) => ErrorCode::InterfaceFailed,
        }
    }
}

impl From<MacvtapError> for CniError {
    fn from(error: MacvtapError) -> Self {
        Self::caused(error.code(), &error)
    }
}

fn hint(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}
