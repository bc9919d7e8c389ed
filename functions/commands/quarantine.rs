//! `weir quarantine`: why records of a dataset were refused, which, and reading their sources again.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use polars::prelude::DataFrame;
use serde::Serialize;
use weir_contract::{RAW, REASONS, SOURCE, SOURCE_POSITION, Source};
use weir_platform::Settings;
use weir_platform::telemetry::printable;
use weir_transform::most_frequent;

use super::try_::share;
use super::{local, say};
use crate::app::App;
use crate::error::AppError;
use crate::pipeline::blob::verify::path_of;
use crate::tasks::Task;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Name of the dataset
    dataset: String,
    /// Only records of which a reason holds this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Shows so many of the records as they came; they may hold personal values
    #[arg(long, value_name = "N", default_value_t = 0)]
    show: usize,
    /// Reads the blobs that these records came from again, under the contract as it is now
    #[arg(long)]
    replay: bool,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

/// Sources that are told, the first by name.
const MAX_SOURCES: usize = 20;
/// Sources that are read again at a time.
const MAX_REPLAYED: usize = 100_000;

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    dataset: String,
    /// Records that are in quarantine now; of those that are asked for.
    records: u64,
    /// The most frequent first. A record may have several.
    reasons: Vec<Counted>,
    /// Where they came from.
    sources: Vec<Counted>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shown: Vec<Shown>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counted {
    name: String,
    records: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    source: String,
    position: i64,
    reasons: Vec<String>,
    /// Its first 500 characters.
    raw: String,
}

#[derive(Debug, Default)]
struct Gathered {
    records: u64,
    reasons: BTreeMap<String, u64>,
    sources: BTreeMap<String, u64>,
    shown: Vec<Shown>,
}

/// Fails when records were to be read again, and one of the sources could not be.
pub(crate) async fn run(arguments: &Arguments, settings: Settings) -> Result<ExitCode> {
    // Reading blobs again makes pseudonyms; looking at quarantine makes none.
    let app = if arguments.replay { App::load(settings)? } else { App::load_to_look(settings)? };
    let gathered = gather(&app, arguments).await?;
    if arguments.replay {
        return replay(&app, arguments, gathered.sources.into_keys().collect()).await;
    }
    let counted = |counts: &BTreeMap<String, u64>| {
        most_frequent(counts).into_iter().map(|(name, records)| Counted { name, records }).collect()
    };
    let Gathered { records, reasons, sources, shown } = gathered;
    let dataset = arguments.dataset.clone();
    let found = Found { dataset, records, reasons: counted(&reasons), sources: counted(&sources), shown };
    if arguments.json {
        say(serde_json::to_string(&found)?);
    } else {
        describe(&app, &found).into_iter().for_each(say);
    }
    Ok(ExitCode::SUCCESS)
}

async fn gather(app: &App, arguments: &Arguments) -> Result<Gathered, AppError> {
    let runtime = app.runtime().await?;
    let dataset = runtime.dataset(&arguments.dataset)?;
    let mut gathered = Gathered::default();
    let Some(table) = runtime.table_now(&dataset.quarantine).await? else { return Ok(gathered) };
    for file in table.snapshot().await?.files {
        let wants_raw = gathered.shown.len() < arguments.show;
        let columns: &[&str] =
            if wants_raw { &[SOURCE, SOURCE_POSITION, REASONS, RAW] } else { &[SOURCE, SOURCE_POSITION, REASONS] };
        let frame = table.read_columns(&file, columns).await?;
        gathered.add(&frame, arguments).map_err(weir_transform::TransformError::from)?;
    }
    Ok(gathered)
}

impl Gathered {
    fn add(&mut self, frame: &DataFrame, arguments: &Arguments) -> polars::prelude::PolarsResult<()> {
        const LONGEST: usize = 500;
        let (sources, reasons) = (frame.column(SOURCE)?.str()?, frame.column(REASONS)?.str()?);
        let positions = frame.column(SOURCE_POSITION)?.i64()?;
        let raw = frame.column(RAW).ok().and_then(|raw| raw.binary().ok());
        for row in 0..frame.height() {
            let own: Vec<String> = serde_json::from_str(reasons.get(row).unwrap_or("[]")).unwrap_or_default();
            let is_wanted = |text: &String| own.iter().any(|reason| reason.contains(text.as_str()));
            if !arguments.reason.as_ref().is_none_or(is_wanted) {
                continue;
            }
            let source = sources.get(row).unwrap_or_default();
            self.records += 1;
            for reason in &own {
                *self.reasons.entry(reason.clone()).or_default() += 1;
            }
            *self.sources.entry(source.to_owned()).or_default() += 1;
            if self.shown.len() < arguments.show {
                let bytes = raw.and_then(|raw| raw.get(row)).unwrap_or_default();
                let text: String = String::from_utf8_lossy(bytes).chars().take(LONGEST).collect();
                let position = positions.get(row).unwrap_or_default();
                self.shown.push(Shown { source: source.to_owned(), position, reasons: own, raw: text });
            }
        }
        Ok(())
    }
}

fn describe(app: &App, found: &Found) -> Vec<String> {
    let Found { dataset, records, reasons, sources, shown } = found;
    if *records == 0 {
        return vec![format!("{dataset}: no such record is in quarantine")];
    }
    let mut lines = vec![format!("{dataset}: {records} records are in quarantine, of {} sources", sources.len())];
    lines.push("reasons:".to_owned());
    let line =
        |Counted { name, records: own }: &Counted| format!("  {own:>12}  {}{}", printable(name), share(*own, *records));
    lines.extend(reasons.iter().map(line));
    lines.push("sources:".to_owned());
    lines.extend(sources.iter().take(MAX_SOURCES).map(line));
    if sources.len() > MAX_SOURCES {
        lines.push(format!("  and {} others; --json has them all", sources.len() - MAX_SOURCES));
    }
    for Shown { source, position, reasons, raw } in shown {
        lines.push(format!("{} {position}: {}", printable(source), reasons.join("; ")));
        lines.push(format!("  {}", printable(raw)));
    }
    let is_events = app.contracts.get(dataset).is_some_and(|contract| matches!(contract.source, Source::Events { .. }));
    lines.push(match is_events {
        true => format!("after a correction of the contract: weir replay {dataset} --since <day>"),
        false => format!(
            "after a correction of the contract: weir quarantine {dataset} --replay; of a file: put it there again"
        ),
    });
    lines
}

/// Reads blobs again, as `POST /api/reprocess` does.
async fn replay(app: &App, arguments: &Arguments, sources: Vec<String>) -> Result<ExitCode> {
    let dataset = app.runtime().await?.dataset(&arguments.dataset)?;
    let contract = &dataset.contract;
    let Source::Blob { container, .. } = &contract.source else {
        anyhow::bail!("`{}` takes {}; `weir replay` reads events again", contract.name, contract.source.takes());
    };
    let request = uuid::Uuid::new_v4().to_string();
    let tasks: Vec<Task> = sources
        .iter()
        .filter_map(|source| path_of(dataset, source).map(str::to_owned))
        .take(MAX_REPLAYED)
        .map(|path| Task::IngestBlob {
            dataset: contract.name.clone(),
            container: container.clone(),
            path,
            etag: None,
            request: Some(request.clone()),
        })
        .collect();
    let count = tasks.len();
    let ran = local::carry_out(app, tasks, local::Show::of(arguments.json)).await;
    if arguments.json {
        say(serde_json::to_string(&ran)?);
    } else {
        say(format_args!("{count} blobs were read again: {}", ran.books()));
    }
    local::report(&ran, arguments.json)
}
