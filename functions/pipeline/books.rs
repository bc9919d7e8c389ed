//! The books of the lake: what came in, where it is, and whether it adds up. All of it comes from the tables' logs.

use serde::Serialize;
use weir_lake::TableStatistics;

use super::blob::{Progress, progress};
use super::derived::{self, StandsFor};
use super::parked::{self, Cursor, Page, Parked};
use super::warehouse::table_load;
use crate::app::{App, Dataset, Runtime};
use crate::error::AppError;

/// The books of one dataset.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DatasetBooks {
    pub(crate) name: String,
    pub(crate) table: TableStatistics,
    pub(crate) quarantine: TableStatistics,
    /// Rows in the warehouse; `None` when the dataset is not loaded or no warehouse is set.
    pub(crate) warehouse_rows: Option<u64>,
    /// Delta version that the warehouse holds.
    pub(crate) warehouse_version: Option<i64>,
    /// Why there is nothing to tell of the warehouse. The lake's books do not depend on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warehouse_error: Option<String>,
    /// Large blobs that are being read: written, and not committed yet.
    pub(crate) in_progress: Vec<Progress>,
    /// Of a derived table: what it stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stands_for: Option<StandsFor>,
    pub(crate) balanced: bool,
}

/// What `status` tells.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) balanced: bool,
    pub(crate) datasets: Vec<DatasetBooks>,
    /// Messages that failed for good, the oldest first: a page of at most [`parked::PAGE`].
    pub(crate) parked: Vec<Parked>,
    pub(crate) parked_count: usize,
    /// Where the next page of them begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parked_next: Option<String>,
}

/// `parked_after`: the page of parked messages that follows.
pub(crate) async fn status(app: &App, parked_after: Option<&Cursor>) -> Result<Status, AppError> {
    let datasets = all(app).await?;
    let Page { parked, count: parked_count, next } = parked::page(app.runtime().await?, parked_after).await?;
    let parked_next = next.map(|next| next.to_string());
    Ok(Status {
        balanced: datasets.iter().all(|dataset| dataset.balanced),
        datasets,
        parked,
        parked_count,
        parked_next,
    })
}

/// The books of all datasets, by name.
pub(crate) async fn all(app: &App) -> Result<Vec<DatasetBooks>, AppError> {
    let runtime = app.runtime().await?;
    let mut books = Vec::new();
    for dataset in runtime.datasets() {
        books.push(of(runtime, dataset).await?);
    }
    Ok(books)
}

async fn of(runtime: &Runtime, dataset: &Dataset) -> Result<DatasetBooks, AppError> {
    let mut tables = [TableStatistics::default(), TableStatistics::default()];
    let mut in_progress = Vec::new();
    for (statistics, definition) in tables.iter_mut().zip([&dataset.table, &dataset.quarantine]) {
        if let Some(table) = runtime.lake.existing(definition).await? {
            in_progress.extend(progress(&table, dataset).await?);
            *statistics = table.snapshot().await?.statistics();
        }
    }
    let [table, quarantine] = tables;
    let mut books = DatasetBooks {
        name: dataset.contract.name.clone(),
        balanced: balanced(&table, &quarantine),
        table,
        quarantine,
        warehouse_rows: None,
        warehouse_version: None,
        warehouse_error: None,
        in_progress,
        stands_for: derived::stands_for(runtime, dataset).await?,
    };
    if let (Some(warehouse), Some(load)) = (runtime.warehouse.as_deref(), table_load(runtime, dataset)) {
        match warehouse.row_count(&load).await {
            Ok(rows) => books.warehouse_rows = Some(rows),
            Err(error) => books.warehouse_error = Some(error.to_string()),
        }
        let watermark = warehouse.watermark(&load).await.unwrap_or_default();
        books.warehouse_version = watermark.map(|watermark| watermark.version);
    }
    Ok(books)
}

/// Every record is somewhere, and every row is there for a record.
fn balanced(table: &TableStatistics, quarantine: &TableStatistics) -> bool {
    let holds =
        |statistics: &TableStatistics| statistics.rows + statistics.books.replaced == statistics.books.committed;
    table.books.balanced() && holds(table) && holds(quarantine)
}
