//! `weir try`: what would become of a file under a contract. Nothing is written.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use polars::prelude::DataFrame;
use serde::Serialize;
use weir_contract::{Contract, Contracts, RAW, SOURCE_POSITION, Source};
use weir_platform::Settings;
use weir_transform::PseudonymKey;

use super::dev::fixed_folder;
use super::say;
use crate::app::{Dataset, datasets_folder, read_contract_files};
use crate::pipeline::trial::{Trial, Tried, file_name};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Contract: its file, or the name of a dataset in the folder of contracts
    contract: PathBuf,
    /// Files, as they would land; of a dataset of events, files of event bodies, one a line
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Shows so many refused records as they are; they may hold personal values
    #[arg(long, value_name = "N", default_value_t = 0)]
    show: usize,
    /// Folder of contracts [default: WEIR_DATASETS, else `datasets`]
    #[arg(long)]
    datasets: Option<PathBuf>,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

/// Fails when a record would be refused, or the file held back.
pub(crate) async fn run(arguments: Arguments, settings: &Settings) -> Result<ExitCode> {
    let folder = arguments.datasets.clone().unwrap_or_else(|| datasets_folder(settings));
    let contract = contract(&arguments.contract, &folder)?;
    let dataset = dataset(&contract)?;
    let mut sound = true;
    for file in &arguments.files {
        let (tried, shown) = tried(&dataset, file, arguments.show, arguments.json).await?;
        sound &= tried.quarantined == 0 && tried.held_back.is_none();
        if arguments.json {
            say(serde_json::to_string(&OfFile { file: &file.display().to_string(), tried: &tried })?);
            continue;
        }
        describe(file, &tried).into_iter().for_each(say);
        would_land(&contract, file).into_iter().for_each(say);
        shown.iter().for_each(say);
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Serialize)]
struct OfFile<'t> {
    file: &'t str,
    #[serde(flatten)]
    tried: &'t Tried,
}

fn contract(named: &Path, folder: &Path) -> Result<Contract> {
    if named.extension().is_some_and(|extension| extension == "toml") {
        let text = std::fs::read_to_string(named).with_context(|| format!("read {}", named.display()))?;
        return Ok(Contract::parse(&text, &named.display().to_string())?);
    }
    let name = named.to_string_lossy();
    let contracts = Contracts::parse_all(read_contract_files(folder)?)?;
    let known = || contracts.iter().map(|contract| contract.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = contracts.get(&name).cloned();
    found.with_context(|| {
        format!(
            "there is neither a file `{name}` nor a dataset of that name in {}; known: {}",
            folder.display(),
            known()
        )
    })
}

/// A contract made ready. No table is written, so any key of pseudonyms will do.
pub(super) fn dataset(contract: &Contract) -> Result<Arc<Dataset>> {
    anyhow::ensure!(
        !matches!(contract.source, Source::Derived(_)),
        "`{}` is made of other tables, not of files",
        contract.name
    );
    let dataset = Dataset::new(contract, Some(&PseudonymKey::new(1, [0; 32])));
    Ok(Arc::new(dataset.with_context(|| contract.name.clone())?))
}

/// Reads the whole file; and so many of its refused records, as text.
async fn tried(dataset: &Arc<Dataset>, file: &Path, show: usize, quiet: bool) -> Result<(Tried, Vec<String>)> {
    let mut trial = Trial::open(dataset, file).await.with_context(|| file.display().to_string())?;
    let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} records read, {elapsed} so far") {
        bar.set_style(style);
    }
    let (mut tried, mut shown) = (Tried::new(dataset), Vec::new());
    while let Some(output) = trial.next().await? {
        shown.extend(raw(&output.quarantined, show.saturating_sub(shown.len())));
        bar.inc(output.records);
        tried.add(output);
    }
    bar.finish_and_clear();
    Ok((tried.finish(dataset, true), shown))
}

/// The first refused records, each with its place.
fn raw(quarantined: &DataFrame, most: usize) -> Vec<String> {
    const LONGEST: usize = 500;
    let column = |name| quarantined.column(name).ok();
    let (Some(raw), Some(places)) = (column(RAW), column(SOURCE_POSITION)) else { return Vec::new() };
    let (Ok(raw), Ok(places)) = (raw.binary(), places.i64()) else { return Vec::new() };
    let line = |(raw, place): (Option<&[u8]>, Option<i64>)| {
        let text: String = String::from_utf8_lossy(raw.unwrap_or_default()).chars().take(LONGEST).collect();
        format!("  {}: {}", place.unwrap_or_default(), weir_platform::telemetry::printable(&text))
    };
    raw.iter().zip(places.iter()).take(most).map(line).collect()
}

/// What a person reads of a file.
pub(super) fn describe(file: &Path, tried: &Tried) -> Vec<String> {
    const SHOWN: usize = 10;
    let Tried { records, committed, quarantined, reasons, rules, held_back, rescued, left_out, columns, .. } = tried;
    let name = file.display();
    let mut lines = vec![match held_back {
        Some(_) => format!("{name}: {records} records read; the whole file would be held back"),
        None => format!(
            "{name}: {records} records read, {committed} would be committed, {quarantined} quarantined{}",
            share(*quarantined, *records)
        ),
    }];
    lines.extend(held_back.iter().flatten().map(|line| format!("  {line}")));
    for reason in reasons.iter().take(SHOWN) {
        let first = reason.first.map(|first| format!(", the first is record {first}")).unwrap_or_default();
        lines.push(format!("  {}: {} records{first}", reason.reason, reason.records));
    }
    if reasons.len() > SHOWN {
        lines.push(format!("  and {} other reasons; --json has them", reasons.len() - SHOWN));
    }
    lines.extend(rules.iter().map(|(rule, violations)| format!("  rule `{rule}` is violated by {violations} records")));
    if *rescued > 0 {
        lines.push(format!("  unknown fields of {rescued} records would be kept in `_rescued`"));
    }
    if *left_out > 0 {
        lines.push(format!("  unknown fields of {left_out} records would be left out, because a column is personal"));
    }
    let empty: Vec<&str> =
        columns.iter().filter(|column| *committed > 0 && column.rows == 0).map(|column| column.name.as_str()).collect();
    if !empty.is_empty() {
        lines.push(format!("  without a value in every record: {}", empty.join(", ")));
    }
    if tried.records == 0 {
        lines.push("  there was no record, at most a header and blank lines".to_owned());
    }
    lines
}

/// A share in brackets, for people; nothing for none.
pub(super) fn share(part: u64, whole: u64) -> String {
    match (part, whole) {
        (0, _) | (_, 0) => String::new(),
        (part, whole) if part * 1_000 < whole => " (below 0.1 %)".to_owned(),
        (part, whole) => format!(" ({:.1} %)", part as f64 * 100.0 / whole as f64),
    }
}

/// A note, where no folder of the contract takes a blob of this name.
fn would_land(contract: &Contract, file: &Path) -> Option<String> {
    let Source::Blob { container, paths, .. } = &contract.source else { return None };
    let name = file_name(file);
    let takes = |path: &String| contract.source.matches(container, &fixed_folder(path).join(&name).to_string_lossy());
    match paths.iter().any(takes) {
        true => None,
        false => Some(format!("  note: no `path` of the contract ({}) takes a blob of this name", paths.join(", "))),
    }
}

/// A size, for people.
pub(super) fn bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}
