//! `weir package`: the folder that is deployed as the function app.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::say;
use crate::app::read_contract_files;
use crate::app_root::{assemble, shipped_datasets};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder to make; it must be empty or not exist
    #[arg(default_value = "dist/app")]
    folder: PathBuf,
    /// Folder of contracts [default: those that Weir ships]
    #[arg(long)]
    datasets: Option<PathBuf>,
    /// The binary to deploy [default: this one]; Azure runs Linux on x86-64
    #[arg(long)]
    handler: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let folder = &arguments.folder;
    let empty = std::fs::read_dir(folder).map(|mut entries| entries.next().is_none()).unwrap_or(true);
    anyhow::ensure!(empty, "{} is not empty", folder.display());
    let datasets = match &arguments.datasets {
        Some(datasets) => read_contract_files(datasets)?,
        None => shipped_datasets(),
    };
    assemble(folder, &datasets, |_| {})?;
    let handler = match &arguments.handler {
        Some(handler) => handler.clone(),
        None => std::env::current_exe().context("find this binary")?,
    };
    // `copy` keeps the mode: the execute bit must survive, or the host cannot start the handler.
    let target = folder.join("handler");
    std::fs::copy(&handler, &target).with_context(|| format!("copy {}", handler.display()))?;
    say(format_args!("{}: host.json, functions, {} contracts and the handler", folder.display(), datasets.len()));
    Ok(ExitCode::SUCCESS)
}
