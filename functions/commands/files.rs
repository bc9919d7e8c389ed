//! `weir files`: the sources of a dataset, and what the tables hold of each.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use weir_contract::SOURCE;
use weir_lake::TableDefinition;
use weir_platform::Settings;
use weir_platform::telemetry::printable;

use super::say;
use crate::app::{App, Runtime};
use crate::error::AppError;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Name of the dataset
    dataset: String,
    /// Only sources whose name holds this text
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,
    /// Only sources of which records are in quarantine
    #[arg(long)]
    refused: bool,
    /// Machine-readable output: one line for each source
    #[arg(long)]
    json: bool,
}

/// A blob, or a partition of a hub.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Held {
    source: String,
    /// Rows in the table.
    rows: u64,
    /// Records in quarantine.
    quarantined: u64,
}

pub(crate) async fn run(arguments: &Arguments, settings: Settings) -> Result<ExitCode> {
    let app = App::load_to_look(settings)?;
    let runtime = app.runtime().await?;
    let dataset = runtime.dataset(&arguments.dataset)?;
    let mut held: BTreeMap<String, Held> = BTreeMap::new();
    count(runtime, &dataset.table, |source, rows| held.entry(source).or_default().rows += rows).await?;
    count(runtime, &dataset.quarantine, |source, rows| held.entry(source).or_default().quarantined += rows).await?;
    let is_wanted = |(source, held): &(String, Held)| {
        arguments.source.as_ref().is_none_or(|text| source.contains(text.as_str()))
            && (!arguments.refused || held.quarantined > 0)
    };
    let wanted: Vec<Held> = held.into_iter().filter(is_wanted).map(|(source, held)| Held { source, ..held }).collect();
    if arguments.json {
        for held in &wanted {
            say(serde_json::to_string(held)?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    say(format_args!("{:>12}{:>14}  source", "rows", "quarantined"));
    for Held { source, rows, quarantined } in &wanted {
        say(format_args!("{rows:>12}{quarantined:>14}  {}", printable(source)));
    }
    let (rows, quarantined) =
        wanted.iter().fold((0, 0), |(rows, refused), held| (rows + held.rows, refused + held.quarantined));
    say(format_args!("{rows:>12}{quarantined:>14}  {} sources", wanted.len()));
    Ok(ExitCode::SUCCESS)
}

/// The rows of a table, file by file and source by source.
async fn count(
    runtime: &Runtime,
    definition: &TableDefinition,
    mut add: impl FnMut(String, u64),
) -> Result<(), AppError> {
    let Some(table) = runtime.table_now(definition).await? else { return Ok(()) };
    // A blob without a record has no row.
    for (id, _) in table.producers(|id| id.starts_with("blob:")) {
        add(id, 0);
    }
    for file in table.snapshot().await?.files {
        let frame = table.read_columns(&file, &[SOURCE]).await?;
        let sources = frame.column(SOURCE).and_then(|column| column.str().cloned());
        let sources = sources.map_err(weir_transform::TransformError::from)?;
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for source in sources.iter().flatten() {
            *counts.entry(source).or_default() += 1;
        }
        counts.into_iter().for_each(|(source, rows)| add(source.to_owned(), rows));
    }
    Ok(())
}
