//! Packets over a veth pair, through firewalls that the plugin itself put in force: what must pass passes, what must
//! not does not, for each preset in `fw/` and for what rules can say. Each test first shows that without the preset,
//! or without the rule, the outcome is another one.

mod agent;
mod brute_force;
mod delegates;
mod explained;
mod fixture;
mod icmpv6;
mod mesos;
mod names;
mod node;
mod presets;
mod rules;
mod seed;
