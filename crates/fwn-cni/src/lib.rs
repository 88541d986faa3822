//! The CNI protocol, both sides.
#![forbid(unsafe_code)]
