//! `weir verify`: whether the tables of a dataset hold what its sources give, from this machine. It writes nothing, and may
//! run beside the function app.

use std::process::ExitCode;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use weir_platform::Settings;
use weir_platform::telemetry::printable;

use super::{fail, say};
use crate::app::App;
use crate::pipeline::verify::{self, Order, Report, SourceFindings};

const DIFFERS: u8 = 1;
const ERROR: u8 = 2;
/// All of them are in memory.
const MOST_TOLD: i64 = 10_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Name of the dataset
    dataset: String,
    /// Blobs: a path in the container, or a pattern as in contracts
    #[arg(long, conflicts_with_all = ["partition", "from", "to"])]
    source: Option<String>,
    /// Events: one partition
    #[arg(long)]
    partition: Option<u32>,
    /// Events: first sequence number
    #[arg(long)]
    from: Option<i64>,
    /// Events: last sequence number
    #[arg(long)]
    to: Option<i64>,
    /// Rows that are told, at most 10000; all are counted
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=MOST_TOLD))]
    limit: u32,
    /// Tell values, too: never those of personal columns, nor what else may hold one
    #[arg(long)]
    show_values: bool,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

/// Ends with 0 when everything that could be compared is equal, 1 when something differs, 2 when something failed.
pub(crate) async fn run(arguments: &Arguments, settings: Settings) -> Result<ExitCode> {
    match verified(arguments, settings).await {
        Ok(report) => Ok(ExitCode::from(match &report {
            report if !report.errors.is_empty() => ERROR,
            report if !report.is_equal() => DIFFERS,
            _ => 0,
        })),
        Err(error) => {
            fail(&error);
            Ok(ExitCode::from(ERROR))
        }
    }
}

async fn verified(arguments: &Arguments, settings: Settings) -> Result<Report> {
    let app = App::load(settings)?;
    let order = Order {
        source: arguments.source.clone(),
        partition: arguments.partition,
        from: arguments.from,
        to: arguments.to,
        limit: arguments.limit as usize,
        shows_values: arguments.show_values,
    };
    // On stderr, and nowhere if that is no terminal.
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} sources, {elapsed} so far, about {eta} to go")
    {
        bar.set_style(style);
    }
    let watch = |done: usize, of: usize| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    };
    let report = verify::verify(&app, &arguments.dataset, order, &watch).await;
    bar.finish_and_clear();
    let report = report?;
    match arguments.json {
        true => say(report.to_json(&arguments.dataset)),
        false => tell(&report),
    }
    Ok(report)
}

/// Prints each difference on a line of its own, and then what was compared. Names come from outside.
fn tell(report: &Report) {
    let tell_line = |line: String| say(printable(&line));
    for (source, found) in &report.findings.sources {
        lines_of(source, found).into_iter().for_each(tell_line);
    }
    let unnamed = report.findings.differing.saturating_sub(report.findings.sources.len() as u64);
    if unnamed > 0 {
        say(format_args!("{unnamed} more sources differ"));
    }
    if let Some(command) = &report.command {
        let differing = report.findings.differing;
        tell_line(format!("all {differing} sources that differ, and what is named alike: put right by {command}"));
    }
    for (source, rows) in &report.strangers {
        let name = if source.is_empty() { "no source" } else { source };
        tell_line(format!("{name}: {rows} rows that no ingestion brought; `weir status` tells what others did"));
    }
    for unknown in &report.unverified {
        let command = unknown.command.iter().map(|command| format!("; {command}")).collect::<String>();
        tell_line(format!("not verified: {}: {}{command}", unknown.source, unknown.why));
    }
    let unnamed = report.unverified_count.saturating_sub(report.unverified.len() as u64);
    if unnamed > 0 {
        say(format_args!("not verified: {unnamed} more sources"));
    }
    for error in &report.errors {
        tell_line(format!("failed: {}: {}", error.source, error.why));
    }
    say(summary(report));
}

fn summary(report: &Report) -> String {
    let Report { sources, findings, stranger_rows, .. } = report;
    let differ = match (findings.differing, *stranger_rows) {
        (0, 0) => "all rows are as their sources give them".to_owned(),
        (0, rows) => format!("{rows} rows are of others"),
        (differing, 0) => format!("{differing} sources differ"),
        (differing, rows) => format!("{differing} sources differ, and {rows} rows are of others"),
    };
    let reworded = match findings.reworded {
        0 => String::new(),
        reworded => format!("; the reasons of {reworded} in quarantine are worded otherwise now"),
    };
    format!("{} records of {sources} sources compared: {differ}{reworded}", findings.records)
}

fn lines_of(source: &str, found: &SourceFindings) -> Vec<String> {
    let mut lines = Vec::new();
    for row in &found.rows {
        let mut line = format!("{source} at {}: {}", row.position, row.kind.text());
        if !row.columns.is_empty() {
            line.push_str(&format!(" in {}", row.columns.join(", ")));
        }
        for (column, held) in &row.held {
            let now = row.now.get(column).unwrap_or(&serde_json::Value::Null);
            line.push_str(&format!("; {column}: held {held}, now {now}"));
        }
        lines.push(line);
    }
    let counts = found.counts.iter().map(|(kind, rows)| format!("{rows} {}", kind.plural())).collect::<Vec<_>>();
    let command = found.command.iter().map(|command| format!("; put right by {command}")).collect::<String>();
    lines.push(format!("{source}: {}{command}", counts.join(", ")));
    lines
}
