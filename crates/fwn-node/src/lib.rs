//! How the plugin and the daemon of a node talk: one JSON object a line over a unix socket, each answered by one line.
//!
//! A registration is two requests on one connection. [`message::Request::Register`] brings the namespace as a
//! descriptor, so that no path can be exchanged meanwhile; the daemon tries out all that can be tried before there is a
//! firewall. [`message::Request::Commit`] comes when the firewall is in force, and only then is anybody let in. A
//! connection that ends between the two leaves nothing behind. Beside that, what both do alike: [`causes`], [`private`].
#![forbid(unsafe_code)]

pub mod causes;
pub mod client;
pub mod message;
pub mod private;

/// Where the daemon listens by default.
pub const SOCKET: &str = "/run/ipsetd/ipsetd.sock";
