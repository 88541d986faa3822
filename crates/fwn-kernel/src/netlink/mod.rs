//! Netlink itself: attributes, messages, a blocking socket. Knows nothing of nf_tables, ip_set or routes.

pub mod attr;
#[cfg(test)]
pub(crate) mod fake;
pub mod message;
pub mod socket;
