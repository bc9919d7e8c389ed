//! `weir package`: the folder that is deployed as the function app.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use serde_json::{Value, json};
use weir_contract::{Contracts, OnDelete, Source};

use super::dev::own_datasets;
use super::say;
use crate::app::read_contract_files;
use crate::app_root::{assemble, shipped_datasets};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder to make; it must be empty or not exist
    #[arg(default_value = "dist/app")]
    folder: PathBuf,
    /// Folder of contracts [default: `datasets` if it is there, else those that Weir ships]
    #[arg(long)]
    datasets: Option<PathBuf>,
    /// The binary to deploy [default: this one]; Azure runs Linux on x86-64
    #[arg(long)]
    handler: Option<PathBuf>,
    /// File to write with what the contracts need of the infrastructure, as variables of `infra/`
    #[arg(long, value_name = "FILE")]
    terraform: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let folder = &arguments.folder;
    let empty = std::fs::read_dir(folder).map(|mut entries| entries.next().is_none()).unwrap_or(true);
    anyhow::ensure!(empty, "{} is not empty", folder.display());
    let own = own_datasets(arguments.datasets.as_deref());
    let datasets = match &own {
        Some(folder) => read_contract_files(folder)?,
        None => shipped_datasets(),
    };
    let needed = arguments.terraform.as_ref().map(|_| infrastructure(&datasets)).transpose()?;
    assemble(folder, &datasets, |_| {})?;
    let handler = match &arguments.handler {
        Some(handler) => handler.clone(),
        None => std::env::current_exe().context("find this binary")?,
    };
    // `copy` keeps the mode: the execute bit must survive, or the host cannot start the handler.
    let target = folder.join("handler");
    std::fs::copy(&handler, &target).with_context(|| format!("copy {}", handler.display()))?;
    if let (Some(file), Some(needed)) = (&arguments.terraform, needed) {
        std::fs::write(file, format!("{needed:#}\n")).with_context(|| format!("write {}", file.display()))?;
    }
    let of = own.map_or_else(|| "that Weir ships".to_owned(), |own| format!("of {}", own.display()));
    let count = datasets.len();
    say(format_args!("{}: host.json, functions, {count} contracts {of}, and the handler", folder.display()));
    Ok(ExitCode::SUCCESS)
}

/// The consumer group that `infra/` makes on each hub.
const CONSUMER_GROUP: &str = "weir";
/// The container whose blobs `infra/` announces.
const LANDING: &str = "landing";

/// Variables of `infra/`: the hubs that contracts read, and whether any of them follows deletions.
fn infrastructure(datasets: &[(String, String)]) -> Result<Value> {
    let contracts = Contracts::parse_all(datasets.to_vec())?;
    let (mut hubs, mut deletions) = (BTreeSet::new(), false);
    for contract in contracts.iter() {
        match &contract.source {
            Source::Events { hub, consumer_group, .. } => {
                anyhow::ensure!(
                    consumer_group == CONSUMER_GROUP,
                    "{}: consumer group `{consumer_group}`, and infra/ makes `{CONSUMER_GROUP}` on each hub",
                    contract.name
                );
                hubs.insert(hub.as_str());
            }
            Source::Blob { container, on_delete, .. } => {
                anyhow::ensure!(
                    container == LANDING,
                    "{}: container `{container}`, and infra/ makes and announces `{LANDING}` alone",
                    contract.name
                );
                deletions |= *on_delete == OnDelete::Remove;
            }
            Source::Derived(_) => {}
        }
    }
    Ok(json!({ "event_hubs": hubs, "blob_deletions": deletions }))
}
