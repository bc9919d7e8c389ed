//! `weir parked`: the messages that failed for good, and trying them again.

use std::process::ExitCode;

use anyhow::{Result, bail};
use chrono::DateTime;
use serde_json::json;
use weir_platform::Settings;

use super::{local, say};
use crate::app::App;
use crate::pipeline::parked::{self, MAX_LISTED};
use crate::tasks::Task;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Try this one again, on this machine; may be given more than once
    #[arg(long, value_name = "ID", conflicts_with = "retry_all")]
    retry: Vec<String>,
    /// Try all of them again, on this machine
    #[arg(long)]
    retry_all: bool,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

/// Fails when a message that was tried failed again.
pub(crate) async fn run(arguments: &Arguments, settings: Settings) -> Result<ExitCode> {
    let app = App::load(settings)?;
    let parked = parked::list(app.runtime().await?).await?;
    if arguments.retry.is_empty() && !arguments.retry_all {
        if arguments.json {
            say(json!({ "parked": parked }));
            return Ok(ExitCode::SUCCESS);
        }
        for parked in parked.iter().take(MAX_LISTED) {
            let at = DateTime::from_timestamp_millis(parked.parked_at_ms).unwrap_or_default();
            let blob = parked.blob.as_deref().unwrap_or("-");
            say(format_args!("{}  {}  {blob}  {}", parked.id, at.format("%Y-%m-%d %H:%M:%SZ"), parked.reason));
        }
        say(format_args!("{} parked", parked.len()));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(unknown) = arguments.retry.iter().find(|id| parked.iter().all(|parked| parked.id != **id)) {
        bail!("`{unknown}` is not parked; `weir parked` lists what is");
    }
    let chosen = parked.into_iter().map(|parked| parked.id);
    let chosen = chosen.filter(|id| arguments.retry_all || arguments.retry.contains(id));
    let tasks = chosen.map(|parked| Task::Retry { parked, handed_on: false }).collect();
    let ran = local::carry_out(&app, tasks, local::Show::of(arguments.json)).await;
    local::report(&ran, arguments.json)
}
