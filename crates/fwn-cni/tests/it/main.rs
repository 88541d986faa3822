//! Tests of the protocol through its public face: whole calls in process, and plugins that are shell scripts.

mod chain;
mod delegation;
mod exec;
mod lists;
mod plugin;
mod results;
mod scripts;
