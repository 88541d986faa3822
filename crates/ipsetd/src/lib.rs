//! ipsetd: lines over sockets in, changed ipsets of a network namespace out.
//!
//! Bytes come in through [`connection`], are cut into lines ([`frame`]), read ([`mod@line`]), judged ([`access`]) and
//! carried out by an [`executor::Executor`], which is bound to one namespace; every line gets one answer line. A
//! [`service::Service`] ties these together; [`server::serve`] runs it on a listener. All of it runs on one thread:
//! what the kernel is asked for takes microseconds.

pub mod access;
pub mod alone;
pub mod connection;
mod copy;
pub mod entry;
pub mod executor;
pub mod frame;
pub mod kernel_sets;
pub mod limits;
pub mod line;
pub mod listen;
pub mod logging;
pub mod node;
pub mod program;
pub mod server;
pub mod service;
pub mod session;
pub mod settings;
pub mod surroundings;
pub mod tls;
pub mod token;
