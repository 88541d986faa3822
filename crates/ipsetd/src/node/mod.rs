//! One daemon for all containers of a node: the plugin registers attachments over a unix socket ([`talk`]); each is
//! served inside its own namespace ([`registry`]), comes back after a restart ([`store`]), and is released when its
//! namespace goes ([`watch`]).

pub mod attachment;
pub mod daemon;
pub mod metrics;
pub mod notify;
pub mod operator;
pub mod program;
pub mod registry;
pub mod sets;
pub mod socket;
pub mod store;
pub mod talk;
pub mod watch;
