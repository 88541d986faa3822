//! Names to addresses, one rule to many: k sources by m destinations give k x m rules, each in its family. The
//! addresses come as facts; no DNS is asked here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::netfilter::Family;
use crate::rule::Network;
use crate::rule::address::Host;

/// What the names of a rule set resolved to: every name that was asked for, sorted.
pub type Addresses = BTreeMap<String, BTreeSet<IpAddr>>;

/// The networks of one side of a rule that are of one family, in the order written; of a name, sorted.
pub fn networks(side: &[Host], addresses: &Addresses, family: Family) -> Vec<Network> {
    let mut networks = Vec::new();
    for host in side {
        match host {
            Host::Network(network) => networks.push(*network),
            Host::Name(name) => {
                networks.extend(addresses.get(name).into_iter().flatten().copied().map(Network::host));
            }
        }
    }
    networks.retain(|network| network.family() == family);
    networks
}
