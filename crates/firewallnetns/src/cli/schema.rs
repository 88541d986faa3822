//! `schema`: the JSON Schema of a configuration, for editors.

use std::io::Write;

use clap::{Args, ValueEnum};
use fwn_cni::error::CniError;
use fwn_plan::schema::{Document, schema};

use super::output::print;

pub(super) const EXAMPLES: &str = "\
Examples:
  firewallnetns schema fw > fw.schema.json
  firewallnetns schema conflist > conflist.schema.json";

#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// What is to be described
    #[arg(value_enum, default_value_t = Kind::Conflist)]
    document: Kind,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// One plugin's part of a network, as a runtime hands it over
    Netconf,
    /// The file of a network: a list of plugins
    Conflist,
    /// A .fw file
    Fw,
}

/// Prints the schema.
pub(super) fn run(args: &SchemaArgs, stdout: &mut dyn Write) -> Result<(), CniError> {
    let document = match args.document {
        Kind::Netconf => Document::Netconf,
        Kind::Conflist => Document::Conflist,
        Kind::Fw => Document::Fw,
    };
    print(stdout, &format!("{:#}\n", schema(document)))
}
