//! `weir replay`: events of a dataset, read from their hub again and put in place of what they gave, from this machine. It
//! may run beside the function app.

use std::process::ExitCode;

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde_json::json;
use weir_platform::Settings;

use super::{instant, local, say};
use crate::app::App;
use crate::pipeline::events::replay::{self, Asked};
use crate::pipeline::events::window::Window;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Name of the dataset
    dataset: String,
    /// One partition; without it all that the hub has
    #[arg(long)]
    partition: Option<u32>,
    /// First sequence number
    #[arg(long)]
    from: Option<i64>,
    /// Last sequence number
    #[arg(long)]
    to: Option<i64>,
    /// Enqueued at or after: 2026-01-31 or 2026-01-31T08:00:00Z
    #[arg(long, value_parser = instant)]
    since: Option<DateTime<Utc>>,
    /// Enqueued before
    #[arg(long, value_parser = instant)]
    until: Option<DateTime<Utc>>,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

/// Fails when a partition could not be replayed, or none has any of what is asked for.
pub(crate) async fn run(arguments: &Arguments, settings: Settings) -> Result<ExitCode> {
    let app = App::load(settings)?;
    let window = Window {
        from: arguments.from,
        to: arguments.to,
        since_ms: arguments.since.map(|at| at.timestamp_millis()),
        until_ms: arguments.until.map(|at| at.timestamp_millis()),
    };
    let request = format!("command-{}", Utc::now().timestamp_micros());
    let asked = replay::tasks(&app, &arguments.dataset, arguments.partition, window, &request).await?;
    let Asked { tasks, left_out } = asked;
    let ran = local::carry_out(&app, tasks, local::Show::of(arguments.json)).await;
    if arguments.json {
        say(json!({ "ran": ran, "leftOut": left_out }));
    } else {
        left_out.iter().for_each(say);
        say(ran.books());
    }
    local::report(&ran, arguments.json)
}
