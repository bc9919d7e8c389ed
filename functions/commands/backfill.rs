//! `weir backfill`: every blob of a dataset that its table does not hold, ingested from this machine. It may run beside
//! the function app, and again after it was stopped: what is there is left out.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde_json::json;
use weir_platform::Settings;

use super::{instant, local, say};
use crate::app::App;
use crate::pipeline::sweep::{self, Window};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Name of the dataset
    dataset: String,
    /// Leave out blobs that were written before: 2026-01-31 or 2026-01-31T08:00:00Z
    #[arg(long, value_parser = instant)]
    since: Option<DateTime<Utc>>,
    /// Count what is missing and ingest nothing
    #[arg(long)]
    dry_run: bool,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

/// Fails when a blob could not be ingested.
pub(crate) async fn run(arguments: &Arguments, settings: Settings) -> Result<ExitCode> {
    let app = App::load(settings)?;
    let runtime = app.runtime().await?;
    let dataset = runtime.dataset(&arguments.dataset)?;
    let table = runtime.lake.table(&dataset.table).await?;
    let since_ms = arguments.since.map(|since| since.timestamp_millis());
    let show = local::Show::of(arguments.json);
    let (mut marker, mut names, mut missing, mut parked): (Option<String>, _, _, _) = (None, 0, 0, 0);
    let mut ran = local::Ran::default();
    loop {
        let window = Window { marker: marker.as_deref(), prefix: "", since_ms, young: Duration::ZERO };
        let found = sweep::look(runtime, dataset, &table, window).await.context("list the landing container")?;
        names += found.names;
        missing += found.tasks.len();
        parked += found.parked + found.unusable;
        if !arguments.dry_run {
            found.park(runtime).await.context("park what cannot be ingested")?;
            ran.add(local::carry_out(&app, found.tasks, show).await);
        }
        marker = found.next;
        if marker.is_none() {
            break;
        }
    }
    if arguments.json {
        say(json!({ "names": names, "missing": missing, "parked": parked, "dryRun": arguments.dry_run, "ran": ran }));
    } else {
        say(format_args!("{names} names listed, {missing} blobs missing, {parked} of the failing ones parked"));
    }
    local::report(&ran, arguments.json)
}
