//! The command line for people.

use std::ffi::OsString;

use crate::Streams;

/// Runs one command; gives the exit code.
pub fn run(_arguments: Vec<OsString>, _environment: &[(String, String)], _streams: &mut Streams<'_>) -> u8 {
    0
}
