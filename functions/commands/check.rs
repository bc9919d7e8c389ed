//! `weir check`: every contract, validated as the app would.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;
use weir_contract::{Contract, ContractError, Contracts, Rule, Source, UnknownFields};
use weir_platform::Settings;
use weir_transform::{PseudonymKey, Transform, TransformError};

use super::say;
use crate::app::{datasets_folder, derivation, read_contract_files};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Files of contracts, or folders of them [default: WEIR_DATASETS, else `datasets` beside host.json]
    paths: Vec<PathBuf>,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Result<ExitCode> {
    let paths = match arguments.paths.is_empty() {
        true => vec![datasets_folder(settings)],
        false => arguments.paths.clone(),
    };
    let files = contract_files(&paths)?;
    let Sound { contracts, mut unsound, mut errors } = sound(files);
    errors.retain(|error| !error.follows);
    let url = settings.warehouse_url.as_ref().map(|url| url.reveal());
    for contract in contracts.iter() {
        if let Some(error) = unfit_for_warehouse(contract, url) {
            unsound.push(contract.name.clone());
            errors.push(Wrong::of_file(file_of(&contracts, contract), error));
        }
    }
    let valid = || contracts.iter().filter(|contract| !unsound.contains(&contract.name));
    if arguments.json {
        let names: Vec<_> = valid().map(|contract| &contract.name).collect();
        let notes: Vec<String> = valid().flat_map(|contract| notes(contract).collect::<Vec<_>>()).collect();
        say(json!({ "valid": errors.is_empty(), "datasets": names, "errors": errors, "notes": notes }));
    } else {
        errors.iter().map(|error| &error.text).for_each(say);
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

/// One error, for machines as its parts.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wrong {
    file: String,
    /// From 1, in lines and characters; none where it is about the whole file.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    /// Dotted path of the key, or the rule's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    key: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<String>,
    /// As people read it.
    #[serde(skip)]
    pub(super) text: String,
    /// It is only for want of another contract, which is wrong itself.
    #[serde(skip)]
    pub(super) follows: bool,
}

impl Wrong {
    fn of(error: &ContractError, follows: bool) -> Self {
        let ContractError { file, line, column, key, message, suggestion, .. } = error.clone();
        let (line, column) = (Some(line), Some(column));
        Self { file, line, column, key, message, suggestion, text: error.to_string(), follows }
    }

    fn of_file(file: &str, message: String) -> Self {
        let text = format!("{file}: {message}");
        let file = file.to_owned();
        Self { file, line: None, column: None, key: String::new(), message, suggestion: None, text, follows: false }
    }

    fn of_transform(file: &str, error: &TransformError) -> Self {
        match error {
            TransformError::Rule { rule, line, problem } => Self {
                line: Some(*line),
                key: rule.clone(),
                text: format!("{file}:{line}: rule `{rule}`: {problem}"),
                ..Self::of_file(file, problem.clone())
            },
            TransformError::Query { line, problem } => Self {
                line: Some(*line),
                key: "derived.sql".to_owned(),
                text: format!("{file}:{line}: sql: {problem}"),
                ..Self::of_file(file, problem.clone())
            },
            other => Self::of_file(file, other.to_string()),
        }
    }
}

fn file_of<'c>(contracts: &'c Contracts, contract: &'c Contract) -> &'c str {
    contracts.file(&contract.name).unwrap_or(&contract.name)
}

/// The contracts of files and folders, each called as an editor finds it.
pub(super) fn contract_files(paths: &[PathBuf]) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_file() {
            let text = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
            files.push((path.display().to_string(), String::from_utf8_lossy(&text).into_owned()));
            continue;
        }
        let found = read_contract_files(path)?;
        anyhow::ensure!(!found.is_empty(), "no *.toml in {}; name the folder of your contracts", path.display());
        let shown = path.strip_prefix(".").unwrap_or(path);
        files.extend(found.into_iter().map(|(name, text)| (shown.join(name).display().to_string(), text)));
    }
    Ok(files)
}

/// One contract that is wrong does not hide the others.
pub(super) fn sound(files: Vec<(String, String)>) -> Sound {
    let first = Contracts::parse_all(files.clone()).err();
    let own = first.as_ref().map_or(0, |errors| errors.iter().len());
    let (contracts, refused) = Contracts::parse_sound(files);
    let refused = refused.iter().flatten().enumerate();
    let mut errors: Vec<Wrong> = refused.map(|(index, error)| Wrong::of(error, index >= own)).collect();
    let mut unsound = Vec::new();
    for contract in contracts.iter() {
        let problems = compile(&contracts, contract);
        if !problems.is_empty() {
            unsound.push(contract.name.clone());
            errors.extend(problems.iter().map(|error| Wrong::of_transform(file_of(&contracts, contract), error)));
        }
    }
    Sound { contracts, unsound, errors }
}

/// Errors that only the SQL parser and the date parser find, those of every rule. No pseudonym is made, so any key will do.
fn compile(contracts: &Contracts, contract: &Contract) -> Vec<TransformError> {
    let key = PseudonymKey::new(1, [0; 32]);
    let Err(first) = Transform::new(contract, Some(&key)) else {
        return derivation(contracts, contract).err().into_iter().collect();
    };
    let with = |rules: Vec<Rule>| Transform::new(&Contract { rules, ..contract.clone() }, Some(&key)).err();
    if !matches!(first, TransformError::Rule { .. }) || with(Vec::new()).is_some() {
        return vec![first];
    }
    contract.rules.iter().filter_map(|rule| with(vec![rule.clone()])).collect()
}

/// What is no error, and was perhaps not meant.
fn notes(contract: &Contract) -> impl Iterator<Item = String> {
    contract.dotted_fields().into_iter().map(|(column, path)| {
        let Contract { name, .. } = contract;
        format!("{name}: note: column `{column}` takes the one field of that name; a field within a field is `from = \"{path}\"`")
    })
}

/// Why the warehouse cannot have the contract's table. Without a setting that says which warehouse it is, a pool is taken.
fn unfit_for_warehouse(contract: &Contract, url: Option<&str>) -> Option<String> {
    contract.warehouse.as_ref()?;
    let may_come = match contract.drift.unknown_fields {
        UnknownFields::Add => contract.drift.max_added_columns,
        _ => 0,
    };
    let message = weir_warehouse::limits::unfit(url, &contract.table_columns(), may_come)?;
    Some(format!("warehouse: {message}"))
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
