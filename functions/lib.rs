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

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use weir_platform::Settings;

/// Exactly-once serverless ingestion for Azure: files and events in, Delta Lake out.
#[derive(Debug, Parser)]
#[command(name = "weir", version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the function app under the Functions host, or `status` alone under AWS Lambda (the default).
    Serve,
    /// Run the app on this machine, with a stand-in for the Functions host.
    Dev(commands::dev::Arguments),
    /// Validate every contract and explain what is wrong with it.
    Check(commands::check::Arguments),
    /// Show the books of every dataset.
    Status(commands::status::Arguments),
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

/// Runs the command line.
pub fn run() -> ExitCode {
    weir_platform::install_crypto_provider();
    let arguments = Arguments::parse();
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(error) => return commands::fail(&error.into()),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return commands::fail(&error.into()),
    };
    let ran = match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => runtime.block_on(commands::serve::run(settings)),
        Command::Dev(arguments) => runtime.block_on(commands::dev::run(arguments)),
        Command::Check(arguments) => commands::check::run(&arguments, &settings),
        Command::Status(arguments) => runtime.block_on(commands::status::run(&arguments, settings)),
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
