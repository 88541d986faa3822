//! `ipsetd node` with the real plugin: attachments that are registered at ADD, served while their containers run, and
//! released when these are gone. The daemon and the plugin run in a "host" namespace with a `/run` of the test's own.

mod activation;
mod docs;
mod flow;
mod gone;
mod kit;
mod limits;
mod many;
mod operators;
mod refusals;
mod restart;
mod tls;
