//! Rules in, nf_tables expressions out: what a batch puts in force. Changes nothing in the container's namespace.

pub mod iptables;
pub mod native;
pub mod plan;
mod program;
pub mod scratch_sets;
#[cfg(test)]
mod testing;

pub use program::ProgramError;
