//! `weir status`: the books of every dataset.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use weir_platform::Settings;

use super::say;
use crate::app::App;
use crate::pipeline::books::{self, DatasetBooks};
use crate::pipeline::others::{self, Acknowledged, Note};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Take note of what others did to the rows of this dataset (an erasure, a restore): its books balance again, until
    /// somebody does something more
    #[arg(long, value_name = "DATASET")]
    acknowledge: Option<String>,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

/// Fails when the books do not balance, or a dataset's cannot be read: the others are told all the same.
pub(crate) async fn run(arguments: &Arguments, settings: Settings) -> Result<ExitCode> {
    let looks = arguments.acknowledge.is_none();
    let app = if looks { App::load_to_look(settings)? } else { App::load(settings)? };
    if let Some(dataset) = &arguments.acknowledge {
        return acknowledge(&app, dataset, arguments.json).await;
    }
    let status = books::status(&app, None).await?;
    let healthy = status.healthy;
    if arguments.json {
        say(serde_json::to_string(&status)?);
    } else {
        say(format_args!(
            "{:<16}{:>12}{:>14}{:>12}{:>13}{:>12}{:>8}{:>8}{:>12}  balanced",
            "dataset", "records in", "bytes read", "committed", "quarantined", "rows", "files", "small", "warehouse"
        ));
        status.datasets.iter().map(line).for_each(say);
        for books in &status.datasets {
            books.stands_for.iter().for_each(|stands_for| say(format_args!("{}: {stands_for}", books.name)));
        }
        status.datasets.iter().flat_map(DatasetBooks::remarks).for_each(say);
        for progress in status.datasets.iter().flat_map(|dataset| &dataset.in_progress) {
            let of = progress.parts.map(|parts| format!(" of {parts}")).unwrap_or_default();
            say(format_args!("{}: {}{of} parts written", progress.source, progress.written));
        }
        status.datasets.iter().flat_map(|dataset| &dataset.others).for_each(say);
        for DatasetBooks { name, error, .. } in &status.datasets {
            error.iter().for_each(|error| say(format_args!("{name}: {error}")));
        }
        for DatasetBooks { name, warehouse_error, .. } in &status.datasets {
            if let Some(error) = warehouse_error {
                say(format_args!("{name}: nothing is known of the warehouse: {error}"));
            }
        }
        if let Some(error) = &status.parked_error {
            say(format_args!("nothing is known of parked messages: {error}"));
        }
        if status.parked_count > 0 {
            say(format_args!("{} messages are parked: `weir parked` lists them", status.parked_count));
        }
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Again it finds nothing to do, and succeeds.
async fn acknowledge(app: &App, dataset: &str, json: bool) -> Result<ExitCode> {
    let notes = others::acknowledge(app, dataset).await?;
    if json {
        say(json!({ "dataset": dataset, "acknowledged": notes }));
        return Ok(ExitCode::SUCCESS);
    }
    if notes.is_empty() {
        say(format_args!("{dataset}: there is nothing to acknowledge"));
    }
    for Note { others, acknowledged } in &notes {
        let Acknowledged { gone, came, .. } = acknowledged;
        say(format_args!("acknowledged: {others}"));
        say(format_args!("{}: {gone} rows gone and {came} come by others are acknowledged in all", others.table));
    }
    Ok(ExitCode::SUCCESS)
}

fn line(books: &DatasetBooks) -> String {
    let DatasetBooks { name, table, warehouse_rows, balanced, .. } = books;
    let warehouse = warehouse_rows.map_or_else(|| "-".to_owned(), |rows| rows.to_string());
    let Some(table) = table else { return format!("{name:<16}{:>83}{warehouse:>12}  NO", "cannot be read") };
    format!(
        "{name:<16}{:>12}{:>14}{:>12}{:>13}{:>12}{:>8}{:>8}{warehouse:>12}  {}",
        table.books.records_in,
        table.books.bytes_read,
        table.books.committed,
        table.books.quarantined,
        table.rows,
        table.files,
        table.small_files,
        if *balanced { "yes" } else { "NO" }
    )
}
