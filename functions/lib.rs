//! `weir`: the function app and its command line, one binary. `main.rs` runs [`run`]; what else is public is what can be
//! tried without a process around it.

mod answers;
mod app;
mod app_root;
mod backfill;
mod commands;
mod error;
mod hubs;
mod ingest_blob;
mod ingest_events;
mod lambda;
mod maintain;
pub mod messages;
mod park_blob_events;
mod park_tasks;
mod pipeline;
mod reprocess;
mod retry;
mod router;
mod run_task;
mod signed;
mod status;
mod tasks;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use weir_platform::Settings;

use commands::dev::Contracted;

/// Exactly-once serverless ingestion for Azure: files and events in, Delta Lake out.
#[derive(Debug, Parser)]
#[command(name = "weir", version, about, propagate_version = true, after_help = EXAMPLES)]
struct Arguments {
    /// File of settings, `KEY=value` lines; the environment's own win
    #[arg(long, global = true, value_name = "FILE")]
    env_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "Examples:
  weir demo                          # all of it on this machine, with faults and a crash on the way
  weir new orders.csv                # looks at a file and writes datasets/orders.toml
  weir dev                           # runs the app here; drop files into .weir/landing/
  weir status                        # the books of every dataset, of ./.weir or of WEIR_LAKE_URL";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the function app under the Functions host, or `status` alone under AWS Lambda (the default).
    Serve,
    /// Run the app on this machine, with a stand-in for the Functions host.
    Dev(commands::dev::Arguments),
    /// Start a project: a folder for contracts.
    Init(commands::init::Arguments),
    /// Look at a file and write the contract for files like it.
    New(commands::new::Arguments),
    /// Show what would become of a file under a contract; nothing is written.
    Try(commands::try_::Arguments),
    /// Validate every contract and explain what is wrong with it.
    Check(commands::check::Arguments),
    /// Show what the contracts would change in their tables; nothing is written.
    Plan(commands::plan::Arguments),
    /// Look at settings, contracts, containers, tables and say what is wrong and what mends it.
    Doctor(commands::doctor::Arguments),
    /// Show the books of every dataset.
    Status(commands::status::Arguments),
    /// Show why records of a dataset were refused, and read their sources again.
    Quarantine(commands::quarantine::Arguments),
    /// List the sources of a dataset, and what its tables hold of each.
    Files(commands::files::Arguments),
    /// Bring in the blobs of a dataset that are not in its table yet, from this machine.
    Backfill(commands::backfill::Arguments),
    /// Read events of a dataset from their hub again, from this machine, and put them in place of what they gave.
    Replay(commands::replay::Arguments),
    /// Read the sources of a dataset again and compare them row by row with what its tables hold.
    Verify(commands::verify::Arguments),
    /// List the messages that failed for good, and try them again.
    Parked(commands::parked::Arguments),
    /// Load the warehouse, compare it with the lake, write views for serverless SQL.
    Warehouse(commands::warehouse::Arguments),
    /// Show the whole thing on one machine: files and events in, faults and a crash on the way, books at the end.
    Demo(commands::demo::Arguments),
    /// Send the lines of a file to an Event Hub, one event each.
    Send(commands::send::Arguments),
    /// Make a key for pseudonyms, for WEIR_PSEUDONYM_KEY.
    Key,
    /// Assemble the folder that is deployed as the function app.
    Package(commands::package::Arguments),
}

/// The environment, and what a file says beside it. Commands that look at a lake take the one that `weir dev` has made here,
/// unless the settings name another.
fn settings(arguments: &Arguments) -> anyhow::Result<Settings> {
    let mut settings = match &arguments.env_file {
        None => Settings::from_env()?,
        Some(file) => {
            let text = std::fs::read_to_string(file);
            let text = text.map_err(|error| anyhow::anyhow!("read {}: {error}", file.display()))?;
            Settings::from_env_and(&text).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?
        }
    };
    let looks_at_a_lake = matches!(
        arguments.command,
        Some(
            Command::Plan(_)
                | Command::Doctor(_)
                | Command::Status(_)
                | Command::Quarantine(_)
                | Command::Files(_)
                | Command::Backfill(_)
                | Command::Replay(_)
                | Command::Verify(_)
                | Command::Parked(_)
                | Command::Warehouse(_)
        )
    );
    if looks_at_a_lake && settings.lake_url.is_none() {
        let contracts = match arguments.command {
            Some(Command::Plan(_)) => Contracted::AsWritten,
            _ => Contracted::AsItRuns,
        };
        commands::dev::beside(&mut settings, contracts)?;
    }
    Ok(settings)
}

/// Runs the command line.
pub fn run() -> ExitCode {
    weir_platform::install_crypto_provider();
    let arguments = Arguments::parse();
    let settings = match settings(&arguments) {
        Ok(settings) => settings,
        Err(error) => return commands::fail(&error),
    };
    // The Functions host and Lambda start the app without a command; a person who does wants to know what there is.
    let command = match arguments.command {
        None if settings.port.is_none() && !settings.lambda => {
            let _ = Arguments::command().print_help();
            return ExitCode::SUCCESS;
        }
        command => command.unwrap_or(Command::Serve),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return commands::fail(&error.into()),
    };
    let ran = match command {
        Command::Serve => runtime.block_on(commands::serve::run(settings)),
        Command::Dev(arguments) => runtime.block_on(commands::dev::run(arguments)),
        Command::Init(arguments) => commands::init::run(&arguments),
        Command::New(arguments) => runtime.block_on(commands::new::run(arguments, &settings)),
        Command::Try(arguments) => runtime.block_on(commands::try_::run(arguments, &settings)),
        Command::Check(arguments) => commands::check::run(&arguments, &settings),
        Command::Plan(arguments) => runtime.block_on(commands::plan::run(&arguments, settings)),
        Command::Doctor(arguments) => runtime.block_on(commands::doctor::run(&arguments, settings)),
        Command::Status(arguments) => runtime.block_on(commands::status::run(&arguments, settings)),
        Command::Quarantine(arguments) => runtime.block_on(commands::quarantine::run(&arguments, settings)),
        Command::Files(arguments) => runtime.block_on(commands::files::run(&arguments, settings)),
        Command::Backfill(arguments) => runtime.block_on(commands::backfill::run(&arguments, settings)),
        Command::Replay(arguments) => runtime.block_on(commands::replay::run(&arguments, settings)),
        Command::Verify(arguments) => runtime.block_on(commands::verify::run(&arguments, settings)),
        Command::Parked(arguments) => runtime.block_on(commands::parked::run(&arguments, settings)),
        Command::Warehouse(arguments) => runtime.block_on(commands::warehouse::run(&arguments, settings)),
        Command::Demo(arguments) => runtime.block_on(commands::demo::run(arguments)),
        Command::Send(arguments) => runtime.block_on(commands::send::run(arguments, &settings)),
        Command::Key => commands::key::run(),
        Command::Package(arguments) => commands::package::run(&arguments),
    };
    match ran {
        Ok(code) => code,
        Err(error) => commands::fail(&error),
    }
}
