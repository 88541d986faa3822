//! The command line as people use it: the built program, run in a host's namespaces of the test's own.

mod commands;
mod demo;
mod docs;
mod install;
mod lint;
mod manual;
mod plan;
mod schema;
mod seed;
mod show;
mod transcripts;
mod trial;
mod world;
