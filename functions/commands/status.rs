//! `weir status`: the books of every dataset.

use std::process::ExitCode;

use anyhow::Result;
use weir_platform::Settings;

use super::say;
use crate::app::App;
use crate::pipeline::books::{self, DatasetBooks};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

/// Fails when the books do not balance.
pub(crate) async fn run(arguments: &Arguments, settings: Settings) -> Result<ExitCode> {
    let app = App::load(settings)?;
    let status = books::status(&app, None).await?;
    let balanced = status.balanced;
    if arguments.json {
        say(serde_json::to_string(&status)?);
    } else {
        say(format_args!(
            "{:<16}{:>12}{:>12}{:>13}{:>12}{:>8}{:>8}{:>12}  balanced",
            "dataset", "records in", "committed", "quarantined", "rows", "files", "small", "warehouse"
        ));
        status.datasets.iter().map(line).for_each(say);
        for books in &status.datasets {
            books.stands_for.iter().for_each(|stands_for| say(format_args!("{}: {stands_for}", books.name)));
        }
        for progress in status.datasets.iter().flat_map(|dataset| &dataset.in_progress) {
            let of = progress.parts.map(|parts| format!(" of {parts}")).unwrap_or_default();
            say(format_args!("{}: {}{of} parts written", progress.source, progress.written));
        }
        for DatasetBooks { name, warehouse_error, .. } in &status.datasets {
            if let Some(error) = warehouse_error {
                say(format_args!("{name}: nothing is known of the warehouse: {error}"));
            }
        }
        if status.parked_count > 0 {
            say(format_args!("{} messages are parked: `weir parked` lists them", status.parked_count));
        }
    }
    Ok(if balanced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(books: &DatasetBooks) -> String {
    let DatasetBooks { name, table, warehouse_rows, balanced, .. } = books;
    let warehouse = warehouse_rows.map_or_else(|| "-".to_owned(), |rows| rows.to_string());
    format!(
        "{name:<16}{:>12}{:>12}{:>13}{:>12}{:>8}{:>8}{warehouse:>12}  {}",
        table.books.records_in,
        table.books.committed,
        table.books.quarantined,
        table.rows,
        table.files,
        table.small_files,
        if *balanced { "yes" } else { "NO" }
    )
}
