//! `lint`: diagnostics of files, for people, for scripts and for code hosts. What they are is told elsewhere
//! ([`crate::lint`]); here is how they are shown.

mod json;
mod sarif;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fwn_cni::error::CniError;
use fwn_plan::lint::Level;
use fwn_plan::problem::{Look, render_diagnostic};

use super::output::{Style, print, room};
use super::plan::parse_variable;
use super::{Environment, FAILURE, SUCCESS};
use crate::Streams;
use crate::lint::{Diagnostic, LintOptions, lint_file};

/// Columns where there is no terminal.
const WIDTH: usize = 120;

pub(super) const EXAMPLES: &str = "\
Examples:
  firewallnetns lint /etc/cni/net.d/*.conflist
  firewallnetns lint web.fw --env IPSETD_ADMIN=10.0.0.1
  firewallnetns lint --data-dir fw --deny-warnings --format sarif 10-web.conflist > lint.sarif

Exit codes: 0 nothing wrong (there may be warnings and notes), 1 errors (with --deny-warnings: or warnings), 2 not understood.";

#[derive(Debug, Args)]
pub(super) struct LintArgs {
    /// .fw files, network configurations (.conf, .json) and lists (.conflist); each is looked at by itself
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A variable, as ADD finds it in its environment
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_variable)]
    environment: Vec<(String, String)>,
    /// Folder of .fw files and set files, in place of `dataDir` [default for a .fw file: its own]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Fail on warnings, too
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people: the line, with the words underlined
    Text,
    /// One JSON object
    Json,
    /// SARIF 2.1.0, for code hosts and editors
    Sarif,
}

/// Prints what there is to say; gives the exit code.
pub(super) fn run(
    args: &LintArgs,
    environment: Environment<'_>,
    streams: &mut Streams<'_>,
) -> Result<u8, CniError> {
    let options = LintOptions { environment: args.environment.clone(), data_dir: args.data_dir.clone() };
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    for file in &args.files {
        for diagnostic in lint_file(file, &options) {
            // two networks may use the same file
            if !diagnostics.contains(&diagnostic) {
                diagnostics.push(diagnostic);
            }
        }
    }
    let text = match args.format {
        Format::Text => text(&diagnostics, environment),
        Format::Json => format!("{:#}\n", json::report(&diagnostics)),
        Format::Sarif => format!("{:#}\n", sarif::report(&diagnostics)),
    };
    print(streams.stdout, &text)?;
    let worst = diagnostics.iter().map(Diagnostic::level).min();
    let fails = match worst {
        Some(Level::Error) => true,
        Some(Level::Warning) => args.deny_warnings,
        Some(Level::Note) | None => false,
    };
    Ok(if fails { FAILURE } else { SUCCESS })
}

fn text(diagnostics: &[Diagnostic], environment: Environment<'_>) -> String {
    let colour = Style::of_stdout(environment).colour;
    let width = room(environment).0.unwrap_or(WIDTH);
    let mut text = String::new();
    for diagnostic in diagnostics {
        let look = Look { level: diagnostic.level(), id: diagnostic.id(), colour, width };
        text.push_str(&render_diagnostic(&diagnostic.problem, &look));
        text.push_str("\n\n");
    }
    if !diagnostics.is_empty() {
        text.push_str(&summary(diagnostics));
        text.push('\n');
    }
    text
}

/// `1 error, 2 warnings`
fn summary(diagnostics: &[Diagnostic]) -> String {
    let counts = [(Level::Error, "error"), (Level::Warning, "warning"), (Level::Note, "note")];
    let counted = counts.into_iter().map(|(level, word)| {
        (diagnostics.iter().filter(|diagnostic| diagnostic.level() == level).count(), word)
    });
    let said = counted.filter(|(count, _)| *count > 0).map(|(count, word)| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {word}{plural}")
    });
    said.collect::<Vec<_>>().join(", ")
}
