//! The daemon in a namespace of the test's own: real sockets, real sets, the `ipset` program as witness.

mod doors;
mod kit;
mod protocol;
