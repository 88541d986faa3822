//! A [`fwn_plan::plan::Plan`] in, a changed namespace out: the only crate with system calls and child processes.

pub mod descriptor;
pub mod encode;
pub mod firewall;
mod fnv;
pub mod ipset;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod route;
mod sys;
pub mod terminal;
pub mod trace;
