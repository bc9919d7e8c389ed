//! `weir warehouse`: how the warehouse stands to the lake, loading it from this machine without a limit of time, comparing
//! the two, and the script that shows the lake's tables in Synapse serverless SQL.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use weir_lake::Table;
use weir_platform::Settings;
use weir_warehouse::serverless::{self, View};
use weir_warehouse::{PlaceDifference, TableLoad, Verified, Warehouse};

use super::say;
use crate::app::{App, Dataset, Runtime};
use crate::error::AppError;
use crate::pipeline::warehouse::{self, Loaded, Progress, Standing, table_load};

/// How often a terminal is told how far a load is.
const SHOWN_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// How far the warehouse is, and what the next load does
    Status(Which),
    /// Load what is new; may run beside the function app, and again after it was stopped
    Load(Which),
    /// Compare rows and columns of lake and warehouse; reads all of both
    Verify(Which),
    /// Write the script that makes a view of each table for Synapse serverless SQL
    Views(Views),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Only this dataset; may be given more than once
    #[arg(long = "dataset", value_name = "NAME")]
    datasets: Vec<String>,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Views {
    #[command(flatten)]
    which: Which,
    /// The serverless database that the script makes or uses
    #[arg(long, default_value = "weir")]
    database: String,
}

pub(crate) async fn run(arguments: &Arguments, settings: Settings) -> Result<ExitCode> {
    let app = App::load_to_look(settings)?;
    let runtime = app.runtime().await?;
    match &arguments.command {
        Command::Status(which) => status(runtime, which).await,
        Command::Load(which) => load(runtime, which).await,
        Command::Verify(which) => verify(runtime, which).await,
        Command::Views(views) => write_views(runtime, views).await,
    }
}

/// The datasets that were named, or all.
fn chosen<'a>(runtime: &'a Runtime, which: &Which) -> Result<Vec<&'a Arc<Dataset>>> {
    which.datasets.iter().try_for_each(|name| runtime.dataset(name).map(drop))?;
    let named = |dataset: &&Arc<Dataset>| which.datasets.is_empty() || which.datasets.contains(&dataset.contract.name);
    Ok(runtime.datasets().into_iter().filter(named).collect())
}

/// Those of them that are loaded, each with its table; `None` when there is none yet. A table that cannot be opened hinders
/// no other.
async fn targets<'a>(runtime: &'a Runtime, which: &Which) -> Result<(&'a dyn Warehouse, Vec<Target>)> {
    let Some(warehouse) = runtime.warehouse.as_deref() else {
        bail!("no warehouse: set WEIR_WAREHOUSE_URL, for example sqlite:///data/warehouse.db");
    };
    let mut targets = Vec::new();
    for dataset in chosen(runtime, which)? {
        let Some(load) = table_load(runtime, dataset) else { continue };
        match runtime.lake.existing(&dataset.table).await {
            Ok(Some(table)) => targets.push(Target { load, table: Ok(table) }),
            Ok(None) => {}
            Err(error) => targets.push(Target { load, table: Err(error.into()) }),
        }
    }
    Ok((warehouse, targets))
}

struct Target {
    load: TableLoad,
    table: Result<Arc<Table>, AppError>,
}

/// What is said of a table: to people as lines, to programs as JSON.
struct Said {
    lines: Vec<String>,
    json: Value,
    is_good: bool,
}

impl Said {
    fn failed(dataset: &str, error: &AppError) -> Self {
        let json = json!({ "dataset": dataset, "error": error.to_string() });
        Self { lines: vec![format!("{dataset}: {error}")], json, is_good: false }
    }
}

/// Fails when it does for a table; the others are said all the same.
fn tell(which: &Which, key: &str, said: Vec<Said>) -> ExitCode {
    let is_good = said.iter().all(|said| said.is_good);
    if which.json {
        say(json!({ key: said.into_iter().map(|said| said.json).collect::<Vec<_>>() }));
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn status(runtime: &Runtime, which: &Which) -> Result<ExitCode> {
    let (warehouse, targets) = targets(runtime, which).await?;
    if !which.json {
        say(format_args!("{:<16}{:<24}{:>8}{:>11}{:>14}  next", "dataset", "table", "lake", "warehouse", "rows"));
    }
    let mut all = Vec::new();
    for Target { load, table } in targets {
        let standing = match table {
            Ok(table) => warehouse::standing(&table, warehouse, &load).await,
            Err(error) => Err(error),
        };
        let said = standing.map_or_else(|error| Said::failed(&load.source_table, &error), |standing| stands(&standing));
        show(which, &said);
        all.push(said);
    }
    Ok(tell(which, "tables", all))
}

fn stands(standing: &Standing) -> Said {
    let Standing { dataset, table, lake_version, warehouse_version, rows, next } = standing;
    let at = warehouse_version.map_or_else(|| "-".to_owned(), |version| version.to_string());
    let line = format!("{dataset:<16}{table:<24}{lake_version:>8}{at:>11}{rows:>14}  {next}");
    Said { lines: vec![line], json: json!(standing), is_good: true }
}

fn show(which: &Which, said: &Said) {
    if !which.json {
        said.lines.iter().for_each(say);
    }
}

async fn load(runtime: &Runtime, which: &Which) -> Result<ExitCode> {
    let (warehouse, targets) = targets(runtime, which).await?;
    let mut all = Vec::new();
    for Target { load, table } in targets {
        let loaded = match table {
            Ok(table) => load_one(&table, warehouse, &load, which).await,
            Err(error) => Err(error),
        };
        let name = &load.source_table;
        let said = match loaded {
            Ok(loaded) => {
                let Loaded { version, rows_inserted, rows_deleted, reloads, .. } = &loaded;
                let how = if *reloads > 0 { ", loaded anew" } else { "" };
                let line = format!("{name}: version {version}, {rows_inserted} rows in, {rows_deleted} out{how}");
                Said { lines: vec![line], json: json!({ "dataset": name, "loaded": loaded }), is_good: true }
            }
            Err(error) => Said::failed(name, &error),
        };
        show(which, &said);
        all.push(said);
    }
    Ok(tell(which, "loads", all))
}

/// Shows on a terminal how far it is.
async fn load_one(
    table: &Table,
    warehouse: &dyn Warehouse,
    load: &TableLoad,
    which: &Which,
) -> Result<Loaded, AppError> {
    let progress = Progress::default();
    let work = warehouse::load(table, warehouse, load, None, &progress);
    if which.json || !std::io::stderr().is_terminal() {
        return work.await;
    }
    let mut tick = tokio::time::interval(SHOWN_EVERY);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => {
                let _ = write!(std::io::stderr(), "\r\x1b[K");
                return done;
            }
            _ = tick.tick() => {
                let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
                let (files, rows, megabytes) = (read(&progress.files), read(&progress.rows), read(&progress.bytes) >> 20);
                let name = &load.source_table;
                let _ = write!(std::io::stderr(), "\r{name}: {files} files, {megabytes} MiB, {rows} rows read\x1b[K");
            }
        }
    }
}

/// Fails when a table differs, or cannot be compared because the warehouse is behind.
async fn verify(runtime: &Runtime, which: &Which) -> Result<ExitCode> {
    let (warehouse, targets) = targets(runtime, which).await?;
    let mut all = Vec::new();
    for Target { load, table } in targets {
        let verified = match table {
            Ok(table) => warehouse::verify(&table, warehouse, &load).await,
            Err(error) => Err(error),
        };
        let name = &load.source_table;
        let said = match verified {
            Ok(Some(verified)) => compared(name, &verified),
            Ok(None) => {
                let why = "the warehouse is at another version than the lake; `weir warehouse load` first";
                let json = json!({ "dataset": name, "equal": false, "why": why });
                Said { lines: vec![format!("{name}: {why}")], json, is_good: false }
            }
            Err(error) => Said::failed(name, &error),
        };
        show(which, &said);
        all.push(said);
    }
    let equal = all.iter().all(|said| said.is_good);
    if which.json {
        say(json!({ "equal": equal, "tables": all.into_iter().map(|said| said.json).collect::<Vec<_>>() }));
    }
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn compared(name: &str, verified: &Verified) -> Said {
    let is_equal = verified.is_equal();
    let verdict = if is_equal { "equal" } else { "DIFFERENT" };
    let (lake, there) = (verified.lake_rows, verified.warehouse_rows);
    let mut lines = vec![format!("{name}: {verdict}, {lake} rows in the lake, {there} in the warehouse")];
    lines.extend(verified.differing.iter().map(|column| {
        let (lake, there) = (column.lake_values, column.warehouse_values);
        format!("  column `{}`: {lake} values in the lake, {there} in the warehouse", column.column)
    }));
    lines.extend(verified.places.iter().map(|place| {
        let PlaceDifference { source, lake_rows, warehouse_rows, rows, first, last } = place;
        format!(
            "  `{source}`, positions {first} to {last}: {rows} rows differ ({lake_rows} of this source in the lake, \
             {warehouse_rows} in the warehouse)"
        )
    }));
    if verified.more_places {
        lines.push("  and more sources".to_owned());
    }
    let columns: Vec<_> = verified.differing.iter().map(|column| &column.column).collect();
    let place = |place: &PlaceDifference| {
        json!({
            "source": place.source, "lakeRows": place.lake_rows, "warehouseRows": place.warehouse_rows,
            "rows": place.rows, "first": place.first, "last": place.last,
        })
    };
    let json = json!({
        "dataset": name, "equal": is_equal, "lakeRows": lake, "warehouseRows": there, "differing": columns,
        "countedOnly": verified.counted_only, "rowsDiffer": verified.rows_differ,
        "places": verified.places.iter().map(place).collect::<Vec<_>>(), "morePlaces": verified.more_places,
    });
    Said { lines, json, is_good: is_equal }
}

/// Fails when a table was left out.
async fn write_views(runtime: &Runtime, Views { which, database }: &Views) -> Result<ExitCode> {
    let Some(root) = runtime.files.as_deref() else {
        bail!("serverless SQL reads Azure storage alone: WEIR_LAKE_URL must be abfss:// or https://");
    };
    let (mut views, mut refused) = (Vec::new(), Vec::new());
    for dataset in chosen(runtime, which)? {
        let name = dataset.contract.name.clone();
        // A table with a feature that serverless SQL lacks is one that the lake does not open: the error names it.
        match runtime.lake.existing(&dataset.table).await {
            Ok(Some(table)) => views.push(View { name, columns: table.columns() }),
            Ok(None) => refused.push((name, "there is no table yet".to_owned())),
            Err(error) => refused.push((name, error.to_string())),
        }
    }
    let script = serverless::script(database, root, &views)?;
    if which.json {
        let refused: Vec<_> = refused.iter().map(|(dataset, why)| json!({ "dataset": dataset, "why": why })).collect();
        say(json!({ "script": script, "refused": refused }));
    } else {
        say(script.trim_end());
        for (dataset, why) in &refused {
            let _ = writeln!(std::io::stderr(), "weir: no view of {dataset}: {why}");
        }
    }
    Ok(if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
