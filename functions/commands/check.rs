//! `weir check`: every contract, validated as the app would.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use weir_contract::{Contract, Contracts, Source};
use weir_platform::Settings;
use weir_transform::{PseudonymKey, Transform};

use super::say;
use crate::app::{datasets_folder, derivation, read_contract_files};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder of contracts [default: WEIR_DATASETS, else `datasets` beside host.json]
    folder: Option<PathBuf>,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Result<ExitCode> {
    let folder = arguments.folder.clone().unwrap_or_else(|| datasets_folder(settings));
    let files = read_contract_files(&folder)?;
    anyhow::ensure!(!files.is_empty(), "no *.toml in {}; name the folder of your contracts", folder.display());
    let (contracts, errors) = match Contracts::parse_all(files) {
        Ok(contracts) => {
            let errors = contracts.iter().filter_map(|contract| compile(&contracts, contract)).collect();
            (Some(contracts), errors)
        }
        Err(errors) => (None, errors.iter().map(ToString::to_string).collect::<Vec<_>>()),
    };
    if arguments.json {
        let names: Vec<_> = contracts.iter().flat_map(Contracts::iter).map(|contract| &contract.name).collect();
        let all = contracts.iter().flat_map(Contracts::iter);
        let notes: Vec<String> = all.flat_map(|contract| notes(contract).collect::<Vec<_>>()).collect();
        say(json!({ "valid": errors.is_empty(), "datasets": names, "errors": errors, "notes": notes }));
    } else {
        errors.iter().for_each(say);
        if errors.is_empty() {
            for contract in contracts.iter().flat_map(Contracts::iter) {
                say(describe(contract));
                notes(contract).for_each(say);
            }
        } else {
            let (count, s) = (errors.len(), if errors.len() == 1 { "" } else { "s" });
            say(format_args!("{count} error{s}"));
        }
    }
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What only the SQL parser and the date parser can tell. No pseudonym is made, so any key will do.
fn compile(contracts: &Contracts, contract: &Contract) -> Option<String> {
    let key = PseudonymKey::new(1, [0; 32]);
    let error = Transform::new(contract, Some(&key)).err().or_else(|| derivation(contracts, contract).err())?;
    Some(format!("{}: {error}", contracts.file(&contract.name).unwrap_or(&contract.name)))
}

/// What is no error, and was perhaps not meant.
fn notes(contract: &Contract) -> impl Iterator<Item = String> {
    contract.dotted_fields().into_iter().map(|(column, path)| {
        let Contract { name, .. } = contract;
        format!("{name}: note: column `{column}` takes the one field of that name; a field within a field is `from = \"{path}\"`")
    })
}

fn describe(contract: &Contract) -> String {
    let source = match &contract.source {
        Source::Blob { container, paths, .. } => format!("blobs {container}/{{{}}}", paths.join(", ")),
        Source::Events { hub, consumer_group, .. } => format!("events of {hub} (consumer group {consumer_group})"),
        Source::Derived(derived) => {
            let lookups: Vec<_> = derived.lookups.iter().map(|name| format!(", {name}")).collect();
            format!("derived of {}{}, by {}", derived.follows, lookups.concat(), derived.unit.by)
        }
    };
    let personal = contract.columns.iter().filter(|column| column.personal.is_some()).count();
    let (name, columns, rules) = (&contract.name, contract.columns.len(), contract.rules.len());
    format!("{name}: ok: {source}; {columns} columns, {personal} personal, {rules} rules")
}
