//! The CNI plugin and the command line for people.

pub mod resolver;
