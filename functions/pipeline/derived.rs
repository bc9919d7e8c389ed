//! Derived tables: what `weir_derived` needs of the app, and how a table stands to what it follows.

use serde::Serialize;
use tokio::time::Instant;
use weir_contract::TableColumn;
use weir_derived::{Options, Refreshed, Sources};

use crate::app::{App, Dataset, Runtime};
use crate::error::AppError;

/// The rows of a group, beside what the query makes of them, as a part of the memory budget.
const GROUP_SHARE: u64 = 16;
/// One unit, or one lookup.
const MOST_SHARE: u64 = 8;
/// What a refresh holds at a time: lookups, a group, files that are being read, an answer.
const PERMIT_SHARE: u64 = 2;
/// A commit names its units in the log.
const UNITS_PER_COMMIT: usize = 1_000;

/// Which version of which table a derived one stands for.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StandsFor {
    pub(crate) dataset: String,
    /// `None` before the first refresh is complete.
    pub(crate) version: Option<i64>,
    /// Versions after it may be compactions, which change no row.
    pub(crate) latest: i64,
}

/// Brings a derived table up to its sources; `None` for other tables, and while there is nothing to follow.
pub(crate) async fn refresh(
    app: &App,
    runtime: &Runtime,
    dataset: &Dataset,
    stop_at: Instant,
) -> Result<Option<Refreshed>, AppError> {
    let (Some(derived), Some(derivation)) = (dataset.contract.derived(), &dataset.derivation) else { return Ok(None) };
    let source = runtime.dataset(&derived.follows)?;
    let Some(followed) = runtime.lake.existing(&source.table).await? else { return Ok(None) };
    let mut lookups = Vec::new();
    for name in &derived.lookups {
        lookups.push(runtime.lake.existing(&runtime.dataset(name)?.table).await?);
    }
    let of = &derived.unit.of;
    let columns = source.contract.table_columns();
    let unit_column: Option<TableColumn> = columns.into_iter().find(|column| column.name == *of);
    // Sound contracts name none that is not there.
    let Some(unit_column) = unit_column else { return Ok(None) };
    let sources = Sources { derivation, unit_column, followed, lookups, on_lookup_change: derived.on_lookup_change };
    let budget = app.settings.memory_budget_bytes;
    let options = Options {
        group_bytes: budget / GROUP_SHARE,
        most_bytes: budget / MOST_SHARE,
        units_per_commit: UNITS_PER_COMMIT,
        stop_at: Some(stop_at),
        now_us: || chrono::Utc::now().timestamp_micros(),
    };
    let _permit = runtime.budget.take(budget / PERMIT_SHARE).await;
    let table = runtime.lake.table(&dataset.table).await?;
    Ok(Some(weir_derived::refresh(&table, &sources, options).await?))
}

/// How a derived table stands to the one that it follows.
pub(crate) async fn stands_for(runtime: &Runtime, dataset: &Dataset) -> Result<Option<StandsFor>, AppError> {
    let Some(derived) = dataset.contract.derived() else { return Ok(None) };
    let followed = runtime.lake.existing(&runtime.dataset(&derived.follows)?.table).await?;
    let Some(followed) = followed else { return Ok(None) };
    let latest = followed.refresh().await?;
    let version = match runtime.lake.existing(&dataset.table).await? {
        Some(table) => {
            table.refresh().await?;
            let notes = table.producers(|id| id.starts_with("derived:")).into_iter().collect();
            weir_derived::stands_for(&notes, &followed.identity().0)
        }
        None => None,
    };
    Ok(Some(StandsFor { dataset: derived.follows.clone(), version, latest }))
}

impl std::fmt::Display for StandsFor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { dataset, version, latest } = self;
        match version {
            Some(version) => write!(f, "made of version {version} of {dataset}, which is at {latest}"),
            None => write!(f, "not yet made of all of {dataset}"),
        }
    }
}
