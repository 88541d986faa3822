//! The plugin as a runtime calls it: environment and stdin in, stdout and exit code out, a firewall in a namespace of
//! the test's own. Whatever a test does, the namespace that the plugin runs in must stay as it was.

mod again;
mod alone;
mod check;
mod del;
mod delegate;
mod files;
mod ipsetd;
mod killed;
mod kit;
mod many;
mod meanwhile;
mod mesos;
mod names;
mod namespaces;
mod protocol;
mod refusals;
mod sets;
mod sizes;
mod trouble;
mod upkeep;
mod variables;
