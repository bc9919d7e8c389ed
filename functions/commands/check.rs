//! `weir check`: every contract, validated as the app would.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use weir_contract::{Contract, Contracts, Source, UnknownFields};
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
    let Sound { contracts, mut unsound, mut errors } = sound(files);
    errors.retain(|error| !error.follows);
    let mut errors: Vec<String> = errors.into_iter().map(|error| error.text).collect();
    let url = settings.warehouse_url.as_ref().map(|url| url.reveal());
    for contract in contracts.iter() {
        if let Some(error) = unfit_for_warehouse(&contracts, contract, url) {
            unsound.push(contract.name.clone());
            errors.push(error);
        }
    }
    let valid = || contracts.iter().filter(|contract| !unsound.contains(&contract.name));
    if arguments.json {
        let names: Vec<_> = valid().map(|contract| &contract.name).collect();
        let notes: Vec<String> = valid().flat_map(|contract| notes(contract).collect::<Vec<_>>()).collect();
        say(json!({ "valid": errors.is_empty(), "datasets": names, "errors": errors, "notes": notes }));
    } else {
        errors.iter().for_each(say);
        for contract in valid() {
            say(describe(contract));
            notes(contract).for_each(say);
        }
        if !errors.is_empty() {
            let (count, s) = (errors.len(), if errors.len() == 1 { "" } else { "s" });
            say(format_args!("{count} error{s}"));
        }
    }
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A set of contracts, and what is wrong with those that it lacks.
pub(super) struct Sound {
    pub(super) contracts: Contracts,
    /// Those among `contracts` whose rules, dates or queries cannot work.
    pub(super) unsound: Vec<String>,
    pub(super) errors: Vec<Wrong>,
}

pub(super) struct Wrong {
    pub(super) text: String,
    /// It is only for want of another contract, which is wrong itself.
    pub(super) follows: bool,
}

/// One contract that is wrong does not hide the others.
pub(super) fn sound(files: Vec<(String, String)>) -> Sound {
    let first = Contracts::parse_all(files.clone()).err();
    let own = first.as_ref().map_or(0, |errors| errors.iter().len());
    let (contracts, refused) = Contracts::parse_sound(files);
    let refused = refused.iter().flatten().enumerate();
    let mut errors: Vec<Wrong> =
        refused.map(|(index, error)| Wrong { text: error.to_string(), follows: index >= own }).collect();
    let mut unsound = Vec::new();
    for contract in contracts.iter() {
        if let Some(text) = compile(&contracts, contract) {
            unsound.push(contract.name.clone());
            errors.push(Wrong { text, follows: false });
        }
    }
    Sound { contracts, unsound, errors }
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

/// Why the warehouse cannot have the contract's table. Without a setting that says which warehouse it is, a pool is taken.
fn unfit_for_warehouse(contracts: &Contracts, contract: &Contract, url: Option<&str>) -> Option<String> {
    contract.warehouse.as_ref()?;
    let may_come = match contract.drift.unknown_fields {
        UnknownFields::Add => contract.drift.max_added_columns,
        _ => 0,
    };
    let message = weir_warehouse::limits::unfit(url, &contract.table_columns(), may_come)?;
    Some(format!("{}: warehouse: {message}", contracts.file(&contract.name).unwrap_or(&contract.name)))
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
