//! Entries as written, in which addresses may still be host names; and what becomes of them once the names are
//! resolved: one entry becomes as many as its names have addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;

use super::entry::{Addresses, Element, Entry};
use super::grammar::EntryError;
use crate::netfilter::Family;

/// An entry whose addresses may be host names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryTemplate {
    /// Where a host name stands, its address is a placeholder.
    entry: Entry,
    family: Option<Family>,
    hosts: Vec<HostUse>,
}

/// A host name in an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostUse {
    /// Which element.
    pub(super) element: usize,
    pub(super) name: String,
    pub(super) span: Range<usize>,
}

impl EntryTemplate {
    pub(super) fn new(entry: Entry, family: Option<Family>, hosts: Vec<HostUse>) -> Self {
        Self { entry, family, hosts }
    }

    /// The host names in it.
    pub fn host_names(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(|host| host.name.as_str())
    }

    /// The entry, if there is no host name in it.
    pub fn literal(&self) -> Option<&Entry> {
        self.hosts.is_empty().then_some(&self.entry)
    }

    /// The same, taken out.
    ///
    /// # Errors
    /// There is a host name in it: this one.
    pub fn into_literal(self) -> Result<Entry, String> {
        match self.hosts.into_iter().next() {
            None => Ok(self.entry),
            Some(host) => Err(host.name),
        }
    }

    /// The entries that it stands for: each host name replaced by each of its addresses of the set's family, in
    /// their order.
    ///
    /// # Errors
    /// A name is not in `addresses`, or has none of the family.
    pub fn resolve(self, addresses: &BTreeMap<String, BTreeSet<IpAddr>>) -> Result<Vec<Entry>, EntryError> {
        let family = self.family.unwrap_or(Family::Ipv4);
        let mut entries = vec![self.entry];
        for host in &self.hosts {
            let fitting: Vec<IpAddr> = addresses
                .get(&host.name)
                .into_iter()
                .flatten()
                .filter(|address| address.is_ipv4() == (family == Family::Ipv4))
                .copied()
                .collect();
            if fitting.is_empty() {
                let message = format!("host name `{}` has no {} address", host.name, family_words(family));
                return Err(EntryError::new(&host.span, message)
                    .hint("the family of the set decides which addresses count"));
            }
            entries = entries
                .iter()
                .flat_map(|entry| fitting.iter().map(|address| with_address(entry, host.element, *address)))
                .collect();
        }
        Ok(entries)
    }
}

fn family_words(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "IPv4",
        Family::Ipv6 => "IPv6",
    }
}

fn with_address(entry: &Entry, at: usize, address: IpAddr) -> Entry {
    let mut entry = entry.clone();
    if let Some(Element::Address(addresses)) = entry.elements.get_mut(at) {
        *addresses = match *addresses {
            Addresses::Block(_, prefix) => Addresses::Block(address, prefix),
            _ => Addresses::One(address),
        };
    }
    entry
}
