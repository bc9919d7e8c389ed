//! `weir warehouse`: how the warehouse stands to the lake, loading it from this machine without a limit of time, comparing
//! the two, and the script that shows the lake's tables in Synapse serverless SQL.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::json;
use weir_lake::Table;
use weir_platform::Settings;
use weir_warehouse::serverless::{self, View};
use weir_warehouse::{TableLoad, Warehouse};

use super::say;
use crate::app::{App, Dataset, Runtime};
use crate::pipeline::warehouse::{self, Loaded, Standing, table_load};

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
    let app = App::load(settings)?;
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

/// Those of them that are loaded and have a table.
async fn targets<'a>(runtime: &'a Runtime, which: &Which) -> Result<(&'a dyn Warehouse, Vec<(Arc<Table>, TableLoad)>)> {
    let Some(warehouse) = runtime.warehouse.as_deref() else {
        bail!("no warehouse: set WEIR_WAREHOUSE_URL, for example sqlite:///data/warehouse.db");
    };
    let mut targets = Vec::new();
    for dataset in chosen(runtime, which)? {
        let Some(load) = table_load(runtime, dataset) else { continue };
        if let Some(table) = runtime.lake.existing(&dataset.table).await? {
            targets.push((table, load));
        }
    }
    Ok((warehouse, targets))
}

async fn status(runtime: &Runtime, which: &Which) -> Result<ExitCode> {
    let (warehouse, targets) = targets(runtime, which).await?;
    let mut standings = Vec::new();
    for (table, load) in &targets {
        standings.push(warehouse::standing(table, warehouse, load).await.with_context(|| load.source_table.clone())?);
    }
    if which.json {
        say(json!({ "tables": standings }));
        return Ok(ExitCode::SUCCESS);
    }
    say(format_args!("{:<16}{:<24}{:>8}{:>11}{:>14}  next", "dataset", "table", "lake", "warehouse", "rows"));
    for Standing { dataset, table, lake_version, warehouse_version, rows, next } in standings {
        let at = warehouse_version.map_or_else(|| "-".to_owned(), |version| version.to_string());
        say(format_args!("{dataset:<16}{table:<24}{lake_version:>8}{at:>11}{rows:>14}  {next}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails when a table could not be loaded; the others are.
async fn load(runtime: &Runtime, which: &Which) -> Result<ExitCode> {
    let (warehouse, targets) = targets(runtime, which).await?;
    let shows = !which.json && std::io::stderr().is_terminal();
    let (mut loads, mut failed) = (Vec::new(), false);
    for (table, load) in &targets {
        let name = &load.source_table;
        let told = |loaded: &Loaded| {
            if shows {
                let (rows, version) = (loaded.rows_inserted, loaded.version);
                let _ = write!(std::io::stderr(), "\r{name}: {rows} rows, version {version}\x1b[K");
            }
        };
        let loaded = warehouse::load(table, warehouse, load, None, told).await;
        if shows {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        match loaded {
            Ok(loaded) => {
                if !which.json {
                    let Loaded { version, rows_inserted, rows_deleted, reloads, .. } = &loaded;
                    let how = if *reloads > 0 { ", loaded anew" } else { "" };
                    say(format_args!("{name}: version {version}, {rows_inserted} rows in, {rows_deleted} out{how}"));
                }
                loads.push(json!({ "dataset": name, "loaded": loaded }));
            }
            Err(error) => {
                failed = true;
                if !which.json {
                    say(format_args!("{name}: {error}"));
                }
                loads.push(json!({ "dataset": name, "error": error.to_string() }));
            }
        }
    }
    if which.json {
        say(json!({ "loads": loads }));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Fails when a table differs, or cannot be compared because the warehouse is behind.
async fn verify(runtime: &Runtime, which: &Which) -> Result<ExitCode> {
    let (warehouse, targets) = targets(runtime, which).await?;
    let (mut all, mut equal) = (Vec::new(), true);
    for (table, load) in &targets {
        let name = &load.source_table;
        let verified = warehouse::verify(table, warehouse, load).await.with_context(|| name.clone())?;
        let Some(verified) = verified else {
            equal = false;
            let why = "the warehouse is at another version than the lake; `weir warehouse load` first";
            all.push(json!({ "dataset": name, "equal": false, "why": why }));
            if !which.json {
                say(format_args!("{name}: {why}"));
            }
            continue;
        };
        equal &= verified.is_equal();
        let columns: Vec<_> = verified.differing.iter().map(|column| &column.column).collect();
        all.push(json!({
            "dataset": name, "equal": verified.is_equal(), "lakeRows": verified.lake_rows,
            "warehouseRows": verified.warehouse_rows, "differing": columns, "countedOnly": verified.counted_only,
        }));
        if !which.json {
            let verdict = if verified.is_equal() { "equal" } else { "DIFFERENT" };
            let (lake, there) = (verified.lake_rows, verified.warehouse_rows);
            say(format_args!("{name}: {verdict}, {lake} rows in the lake, {there} in the warehouse"));
            for column in &verified.differing {
                let (lake, there) = (column.lake_values, column.warehouse_values);
                say(format_args!("  column `{}`: {lake} values in the lake, {there} in the warehouse", column.column));
            }
        }
    }
    if which.json {
        say(json!({ "equal": equal, "tables": all }));
    }
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
