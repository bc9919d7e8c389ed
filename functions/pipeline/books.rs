//! The books of the lake: what came in, where it is, and whether it adds up. All of it comes from the tables' logs.

use serde::Serialize;
use weir_lake::{Books, TableDefinition, TableStatistics};

use super::blob::{Progress, progress};
use super::derived::{self, StandsFor};
use super::others::{self, Acknowledged, Others};
use super::parked::{self, Cursor, Page, Parked};
use super::warehouse::table_load;
use crate::app::{App, Dataset, Runtime};
use crate::error::AppError;

/// The books of one dataset.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DatasetBooks {
    pub(crate) name: String,
    /// `None` when the table cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) table: Option<TableStatistics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quarantine: Option<TableStatistics>,
    /// Why something of this dataset is not told. The other datasets' books do not depend on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Rows in the warehouse; `None` when the dataset is not loaded or no warehouse is set.
    pub(crate) warehouse_rows: Option<u64>,
    /// Delta version that the warehouse holds.
    pub(crate) warehouse_version: Option<i64>,
    /// Why there is nothing to tell of the warehouse. The lake's books do not depend on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warehouse_error: Option<String>,
    /// Large blobs that are being read: written, and not committed yet.
    pub(crate) in_progress: Vec<Progress>,
    /// Records of the books whose bytes nobody counted: an earlier release committed them.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) records_without_bytes: u64,
    /// Of a derived table: what it stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stands_for: Option<StandsFor>,
    /// What others did to the tables, while it stands between rows and books.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) others: Vec<Others>,
    /// What is acknowledged of it: rows of both tables.
    #[serde(skip_serializing_if = "Acknowledged::is_none")]
    pub(crate) acknowledged: Acknowledged,
    /// False, too, when it cannot be told.
    pub(crate) balanced: bool,
}

/// serde hands a reference over.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl DatasetBooks {
    /// What the books tell beside the counts of records, a sentence each.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let Some(Books { records_in, bytes_in, bytes_read, left_out, .. }) =
            self.table.as_ref().map(|table| table.books)
        else {
            return Vec::new();
        };
        let (name, unknown) = (&self.name, self.records_without_bytes);
        let mut remarks = Vec::new();
        if bytes_read != bytes_in {
            remarks.push(format!("{name}: {bytes_read} bytes were read of sources that have {bytes_in}"));
        }
        if unknown > 0 {
            remarks.push(format!(
                "{name}: the bytes of {unknown} of {records_in} records in are unknown: an earlier release took them"
            ));
        }
        if left_out > 0 {
            remarks.push(format!("{name}: unknown fields of {left_out} records were left out beside personal columns"));
        }
        remarks
    }
}

/// What `status` tells.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    /// Everything is told, and the books balance.
    pub(crate) healthy: bool,
    pub(crate) balanced: bool,
    pub(crate) datasets: Vec<DatasetBooks>,
    /// Messages that failed for good, the oldest first: a page of at most [`parked::PAGE`].
    pub(crate) parked: Vec<Parked>,
    pub(crate) parked_count: usize,
    /// Where the next page of them begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parked_next: Option<String>,
    /// Why there is nothing to tell of parked messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parked_error: Option<String>,
}

/// `parked_after`: the page of parked messages that follows.
pub(crate) async fn status(app: &App, parked_after: Option<&Cursor>) -> Result<Status, AppError> {
    let datasets = all(app).await?;
    let (Page { parked, count: parked_count, next }, parked_error) =
        match parked::page(app.runtime().await?, parked_after).await {
            Ok(page) => (page, None),
            Err(error) => (Page::default(), Some(error.to_string())),
        };
    let parked_next = next.map(|next| next.to_string());
    let balanced = datasets.iter().all(|dataset| dataset.balanced);
    let told = parked_error.is_none() && datasets.iter().all(|dataset| dataset.error.is_none());
    let healthy = balanced && told;
    Ok(Status { healthy, balanced, datasets, parked, parked_count, parked_next, parked_error })
}

/// The books of all datasets, by name.
pub(crate) async fn all(app: &App) -> Result<Vec<DatasetBooks>, AppError> {
    let runtime = app.runtime().await?;
    let mut books = Vec::new();
    for dataset in runtime.datasets() {
        books.push(of(runtime, dataset).await);
    }
    Ok(books)
}

/// What fails is told in its place.
async fn of(runtime: &Runtime, dataset: &Dataset) -> DatasetBooks {
    let mut errors: Vec<String> = Vec::new();
    let (mut in_progress, mut others, mut acknowledged) = (Vec::new(), Vec::new(), Acknowledged::default());
    let mut statistics = Vec::new();
    for definition in [&dataset.table, &dataset.quarantine] {
        let told = match told_of(runtime, definition).await {
            Ok(told) => {
                in_progress.extend(told.in_progress);
                others.extend(told.others);
                acknowledged.gone += told.acknowledged.gone;
                acknowledged.came += told.acknowledged.came;
                Some((told.statistics, told.balanced))
            }
            Err(error) => {
                errors.push(error.to_string());
                None
            }
        };
        statistics.push(told);
    }
    let (quarantine, table) = (statistics.pop().flatten(), statistics.pop().flatten());
    let stands_for = derived::stands_for(runtime, dataset).await.unwrap_or_else(|error| {
        errors.push(error.to_string());
        None
    });
    errors.dedup();
    let records_without_bytes = match (&table, dataset.contract.derived()) {
        // Its rows come of no bytes.
        (None, _) | (_, Some(_)) => 0,
        (Some((table, _)), None) => table.books.records_in.saturating_sub(table.books.records_with_bytes),
    };
    let mut books = DatasetBooks {
        name: dataset.contract.name.clone(),
        balanced: table.as_ref().is_some_and(|(table, balanced)| *balanced && table.books.balanced())
            && quarantine.as_ref().is_some_and(|(_, balanced)| *balanced),
        table: table.map(|(table, _)| table),
        quarantine: quarantine.map(|(quarantine, _)| quarantine),
        others,
        acknowledged,
        error: (!errors.is_empty()).then(|| errors.join("; ")),
        warehouse_rows: None,
        warehouse_version: None,
        warehouse_error: None,
        in_progress,
        records_without_bytes,
        stands_for,
    };
    if let (Some(warehouse), Some(load)) = (runtime.warehouse.as_deref(), table_load(runtime, dataset)) {
        match warehouse.row_count(&load).await {
            Ok(rows) => books.warehouse_rows = Some(rows),
            Err(error) => books.warehouse_error = Some(error.to_string()),
        }
        let watermark = warehouse.watermark(&load).await.unwrap_or_default();
        books.warehouse_version = watermark.map(|watermark| watermark.version);
    }
    books
}

/// What is told of one table.
#[derive(Default)]
struct Told {
    statistics: TableStatistics,
    in_progress: Vec<Progress>,
    others: Option<Others>,
    acknowledged: Acknowledged,
    /// Every row is there for a record, but for what is acknowledged.
    balanced: bool,
}

async fn told_of(runtime: &Runtime, definition: &TableDefinition) -> Result<Told, AppError> {
    let Some(table) = runtime.table_now(definition).await? else {
        return Ok(Told { balanced: true, ..Told::default() });
    };
    let snapshot = table.snapshot().await?;
    let (statistics, acknowledged) = (snapshot.statistics(), Acknowledged::of(&snapshot.transactions));
    let balanced = others::unexplained(statistics.rows, &statistics.books, &acknowledged) == 0;
    let others = others::of(&table, &snapshot).await?;
    Ok(Told { statistics, in_progress: progress(&table).await?, others, acknowledged, balanced })
}
