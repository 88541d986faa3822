//! ip_set over netlink: [`fwn_plan::set`] in, kernel sets out, and back. No `ipset` program is run.
//!
//! [`message`] has the numbers of `linux/netfilter/ipset/ip_set.h`, [`encode`] and [`decode`] turn sets and
//! entries into attributes and back without any socket in scope, [`client`] speaks to the kernel.

pub mod client;
pub mod decode;
pub mod each;
pub mod encode;
pub mod error;
pub mod message;
mod patience;
pub mod revision;

pub use client::{Listed, SetClient};
pub use decode::SetHeader;
pub use each::Outcomes;
pub use error::{SetError, errno_words};
pub(crate) use patience::while_listed;
