//! What the kernel itself says about a packet: a real one is sent through real rules in a scratch namespace, and nf_tables
//! tells each step (`meta nftrace`, `NFNLGRP_NFTRACE`). Nothing here knows what a rule means.

mod conntrack;
pub mod copy;
pub mod cross_check;
pub mod event;
pub mod explain;
mod guard;
pub mod lab;
pub mod rules;
#[cfg(test)]
mod tests;
