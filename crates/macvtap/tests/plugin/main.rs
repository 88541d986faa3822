//! The plugin as a runtime calls it, with real IPAM plugins, in namespaces of the tests' own.

mod add;
mod check;
mod del;
mod refusals;
mod world;
