//! The command line. Output is for people, `--json` for machines; a command that fails says why and exits non-zero.

pub(crate) mod backfill;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod files;
pub(crate) mod init;
pub(crate) mod key;
mod local;
pub(crate) mod new;
pub(crate) mod package;
pub(crate) mod parked;
pub(crate) mod plan;
pub(crate) mod quarantine;
pub(crate) mod replay;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod try_;
pub(crate) mod verify;
pub(crate) mod warehouse;

use std::io::Write;
use std::process::ExitCode;

use azure_functions_custom_handler::exit;
use chrono::{DateTime, NaiveDate, Utc};

/// Prints a line to stdout. A closed pipe is no error: whoever reads has enough.
pub(crate) fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Prints the error with its causes to stderr. A cause that a message already contains is not repeated.
pub(crate) fn fail(error: &anyhow::Error) -> ExitCode {
    let mut text = String::from("weir");
    for message in error.chain().map(ToString::to_string) {
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
    }
    let _ = writeln!(std::io::stderr().lock(), "{text}");
    ExitCode::from(exit::FAILURE)
}

/// A date or an instant among arguments.
fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    let date = || Some(text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?.and_utc());
    let instant = DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()).ok();
    instant.or_else(date).ok_or_else(|| "neither a date (2026-01-31) nor an instant (2026-01-31T08:00:00Z)".to_owned())
}
