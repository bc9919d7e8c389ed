//! `weir parked`: the messages that failed for good, trying them again, or giving them up.

use std::process::ExitCode;

use anyhow::{Result, bail};
use chrono::DateTime;
use serde_json::json;
use weir_platform::Settings;
use weir_platform::telemetry::printable;

use super::{local, say};
use crate::app::App;
use crate::pipeline::parked::{self, Parked};
use crate::tasks::Task;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Try this one again, on this machine; may be given more than once
    #[arg(long, value_name = "ID", conflicts_with = "retry_all")]
    retry: Vec<String>,
    /// Try all of them again, on this machine
    #[arg(long)]
    retry_all: bool,
    /// Take this one off the list without trying it: what it asked for is not done; may be given more than once
    #[arg(long, value_name = "ID", conflicts_with_all = ["retry", "retry_all"])]
    discard: Vec<String>,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

/// Fails when a message that was tried failed again.
pub(crate) async fn run(arguments: &Arguments, settings: Settings) -> Result<ExitCode> {
    // Trying messages again may make pseudonyms; listing them makes none.
    let looks = arguments.retry.is_empty() && !arguments.retry_all;
    let app = if looks { App::load_to_look(settings)? } else { App::load(settings)? };
    if !arguments.discard.is_empty() {
        return discard(&app, arguments).await;
    }
    if arguments.retry.is_empty() && !arguments.retry_all {
        return list(&app, arguments.json).await;
    }
    let parked = parked::ids(app.runtime().await?).await?;
    if let Some(unknown) = arguments.retry.iter().find(|id| !parked.contains(id)) {
        bail!("`{unknown}` is not parked; `weir parked` lists what is");
    }
    let chosen = parked.into_iter().filter(|id| arguments.retry_all || arguments.retry.contains(id));
    let tasks = chosen.map(|parked| Task::Retry { parked, handed_on: false }).collect();
    let ran = local::carry_out(&app, tasks, local::Show::of(arguments.json)).await;
    local::report(&ran, arguments.json)
}

/// Page by page: as JSON one line a page, for people one line a message.
async fn list(app: &App, json: bool) -> Result<ExitCode> {
    let mut after = None;
    loop {
        let page = parked::page(app.runtime().await?, after.as_ref()).await?;
        if json {
            say(json!({ "parked": page.parked, "parkedCount": page.count }));
        } else {
            page.parked.iter().map(line).for_each(say);
        }
        after = page.next;
        if after.is_none() {
            if !json {
                say(format_args!("{} parked", page.count));
            }
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// What others wrote must not drive the terminal.
fn line(parked: &Parked) -> String {
    let at = DateTime::from_timestamp_millis(parked.parked_at_ms).unwrap_or_default();
    let blob = parked.blob.as_deref().unwrap_or("-");
    let line = format!("{}  {}  {blob}  {}", parked.id, at.format("%Y-%m-%d %H:%M:%SZ"), parked.reason);
    printable(&line).into_owned()
}

async fn discard(app: &App, arguments: &Arguments) -> Result<ExitCode> {
    let runtime = app.runtime().await?;
    for id in &arguments.discard {
        if !parked::discard(runtime, id).await? {
            bail!("`{id}` is not parked; `weir parked` lists what is");
        }
        let said = if arguments.json { json!({ "discarded": id }).to_string() } else { format!("discarded {id}") };
        say(said);
    }
    Ok(ExitCode::SUCCESS)
}
