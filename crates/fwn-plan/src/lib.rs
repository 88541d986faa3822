//! The pure core: configuration text and facts about the host come in, a [`plan::Plan`] goes out.
//!
//! No file, environment variable, process, clock, socket or namespace is touched here, so everything that
//! decides what a container may reach can be tested with text alone.
#![forbid(unsafe_code)]

pub mod config;
pub mod decide;
pub mod diff;
pub mod expand;
pub mod ipsetd;
mod jumps;
pub mod lint;
pub mod listing;
pub mod nearest;
pub mod netfilter;
pub mod origin;
pub mod packet;
pub mod plan;
pub mod problem;
pub mod render;
pub mod resolve;
pub mod rule;
pub mod ruleset;
pub mod schema;
pub mod set;
