//! ipsets as checked: type, family, create options, entries. Knows no kernel revisions and no netlink.

use crate::netfilter::Family;
use crate::origin::Origin;

/// A set to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetSpec {
    /// Its name, at most [`crate::netfilter::SET_NAME_MAX`] bytes.
    pub name: String,
    /// Its family; `None` for types that have none (`bitmap:port`, `hash:mac`, `list:set`).
    pub family: Option<Family>,
    /// Where it was asked for.
    pub origin: Origin,
}
