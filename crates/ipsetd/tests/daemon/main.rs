//! The daemon in a namespace of the test's own: real sockets, real sets, the `ipset` program as witness.

mod batch;
mod docs;
mod doors;
mod entry;
mod kit;
mod limits;
mod protocol;
mod seed;
mod tls;
mod trouble;
mod types;
