//! What keeps one dataset healthy: compaction, checkpoints, and the warehouse brought up to the lake.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use polars::prelude::DataFrame;
use serde::Serialize;
use weir_contract::WarehouseSpec;
use weir_lake::{CheckpointPolicy, CompactOptions, FileEntry, Lease, LogCleanupOptions, Table, VacuumOptions};
use weir_warehouse::{
    DataFile, FileReader, Limits, LoadReport, LogWindow, Plan, RawCommit, ReadError, ReloadReason, TableLoad,
    Warehouse, plan,
};

use crate::app::{App, Dataset, Runtime};
use crate::error::AppError;

/// A cold start reads at most as many commits; and a table at rest is read from its checkpoint alone.
const CHECKPOINT: CheckpointPolicy = CheckpointPolicy { commits: 20, age: Duration::from_secs(3600) };
/// Longer than any step between two renewals.
const LEASE: Duration = Duration::from_secs(300);
/// Listing a whole table costs more than its commits: once in so many hours is enough.
const VACUUM_EVERY: Duration = Duration::from_secs(6 * 3600);
/// What crashed writers left goes after three days, or after twice the longest invocation. Parts of a large blob are
/// continued for a day (`blob/pieces.rs`): their files must outlast that by far.
const ORPHAN_AGE: Duration = Duration::from_secs(3 * 86_400);
/// Commits read for one plan.
const COMMITS_PER_PLAN: usize = 10_000;

/// What one run did.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) dataset: String,
    pub(crate) files_removed: usize,
    pub(crate) files_added: usize,
    pub(crate) checkpoints: usize,
    /// Commits and old checkpoints that were cleaned out of the logs.
    pub(crate) log_files_deleted: usize,
    /// Data files that no version within the retention has.
    pub(crate) files_deleted: usize,
    /// Tables that another instance is maintaining right now.
    pub(crate) busy: usize,
    pub(crate) rows_loaded: u64,
    pub(crate) rows_unloaded: u64,
    pub(crate) reloads: usize,
}

pub(crate) async fn maintain(app: &App, dataset: &str) -> Result<Report, AppError> {
    let runtime = app.runtime().await?;
    let dataset = runtime.dataset(dataset)?;
    let mut report = Report { dataset: dataset.contract.name.clone(), ..Report::default() };
    // Each step stands alone: a table that cannot be compacted is loaded all the same. The first error is the task's.
    let mut steps = Vec::new();
    for definition in [&dataset.table, &dataset.quarantine] {
        match runtime.lake.existing(definition).await {
            Ok(Some(table)) => steps.push(tend(app, runtime, &table, dataset, &mut report).await),
            Ok(None) => {}
            Err(error) => steps.push(Err(error.into())),
        }
    }
    if let (Some(warehouse), Some(load)) = (runtime.warehouse.as_deref(), table_load(dataset)) {
        match runtime.lake.existing(&dataset.table).await {
            Ok(Some(table)) => steps.push(load_warehouse(&table, warehouse, &load, &mut report).await),
            Ok(None) => {}
            Err(error) => steps.push(Err(error.into())),
        }
    }
    steps.into_iter().collect::<Result<(), _>>()?;
    Ok(report)
}

/// One table's upkeep, under its lease: two instances would only do the same work twice.
async fn tend(
    app: &App,
    runtime: &Runtime,
    table: &Arc<Table>,
    dataset: &Dataset,
    report: &mut Report,
) -> Result<(), AppError> {
    let Some(mut lease) = table.lease("maintain", LEASE).await? else {
        report.busy += 1;
        return Ok(());
    };
    let deadline = crate::app::deadline(&app.settings);
    let mut steps = vec![compact(runtime, table, deadline, &mut lease, report).await];
    steps.push(checkpoint(table, report).await);
    match lease.keep().await {
        Ok(true) => steps.push(clean(runtime, table, dataset, deadline, report).await),
        Ok(false) => {}
        Err(error) => steps.push(Err(error.into())),
    }
    // Whatever failed: else nobody could try again before the lease has expired.
    steps.push(lease.release().await.map_err(AppError::from));
    steps.into_iter().collect()
}

async fn compact(
    runtime: &Runtime,
    table: &Arc<Table>,
    deadline: Duration,
    lease: &mut Lease,
    report: &mut Report,
) -> Result<(), AppError> {
    // A run leaves time for the steps after it; the next one goes on.
    let options = CompactOptions { stop_after: Some(deadline / 3), ..CompactOptions::default() };
    // Rows in memory, an open file, an upload, and what is being read.
    let _permit = runtime.budget.take(options.memory_bytes as u64 + 3 * options.target_bytes).await;
    let compacted = table.compact(options, Some(lease)).await?;
    report.files_removed += compacted.files_removed;
    report.files_added += compacted.files_added;
    Ok(())
}

async fn checkpoint(table: &Table, report: &mut Report) -> Result<(), AppError> {
    report.checkpoints += usize::from(table.checkpoint_if_due(CHECKPOINT).await?.is_some());
    Ok(())
}

/// Deletes what nobody needs any more, now and then.
async fn clean(
    runtime: &Runtime,
    table: &Arc<Table>,
    dataset: &Dataset,
    deadline: Duration,
    report: &mut Report,
) -> Result<(), AppError> {
    // A commit is tried on in a task of its own when the invocation that wanted it has ended.
    let longest_invocation = deadline * 2;
    let orphan_age = ORPHAN_AGE.max(longest_invocation * 2);
    let options = VacuumOptions { orphan_age, longest_invocation, dry_run: false };
    let vacuumed = match table.vacuum_if_due(VACUUM_EVERY, options).await {
        Ok(None) => return Ok(()),
        Ok(Some(vacuumed)) => {
            report.files_deleted += vacuumed.removed + vacuumed.orphans;
            Ok(())
        }
        Err(error) => Err(error.into()),
    };
    super::blob::tidy(table).await?;
    vacuumed.and(clean_log(runtime, table, dataset, report).await)
}

async fn clean_log(runtime: &Runtime, table: &Table, dataset: &Dataset, report: &mut Report) -> Result<(), AppError> {
    // The warehouse reads the log commit by commit: what it has not read stays.
    let watermark = match (runtime.warehouse.as_deref(), table_load(dataset)) {
        (Some(warehouse), Some(load)) if table.name() == dataset.table.name => warehouse.watermark(&load).await?,
        _ => None,
    };
    let keep_from = watermark.map(|loaded| loaded.version + 1);
    let cleaned = table.clean_log(LogCleanupOptions { keep_from }).await?;
    report.log_files_deleted += cleaned.commits + cleaned.checkpoints;
    Ok(())
}

/// Where a dataset's table goes in the warehouse, if it does.
pub(crate) fn table_load(dataset: &Dataset) -> Option<TableLoad> {
    let WarehouseSpec { table, .. } = dataset.contract.warehouse.as_ref()?;
    Some(TableLoad {
        source_table: dataset.contract.name.clone(),
        table: table.clone(),
        run_id: uuid::Uuid::new_v4().to_string(),
    })
}

/// Brings the warehouse up to the newest version of the table. Each plan is one transaction, so a run that is cut off
/// goes on where it was.
async fn load_warehouse(
    table: &Table,
    warehouse: &dyn Warehouse,
    load: &TableLoad,
    report: &mut Report,
) -> Result<(), AppError> {
    loop {
        let latest = table.refresh().await?;
        let (table_id, schema) = table.identity();
        let watermark = warehouse.watermark(load).await?;
        let commits = match &watermark {
            Some(loaded) if loaded.version < latest => table.commits(loaded.version + 1, COMMITS_PER_PLAN).await?,
            _ => Vec::new(),
        };
        let raw: Vec<_> =
            commits.iter().map(|commit| RawCommit { version: commit.version, body: &commit.actions }).collect();
        let window = LogWindow { table_id: &table_id, schema: &schema, latest, commits: &raw };
        let applied = match plan(watermark.as_ref(), &window, Limits::default())? {
            Plan::Nothing { .. } => return Ok(()),
            Plan::Reload { reason, .. } => reload(table, warehouse, load, reason).await?,
            plan => match warehouse.apply(load, &plan, &LakeReader { table, files: Vec::new() }).await {
                // Vacuumed while the warehouse was behind: the log still names the file, the store has it no more.
                Err(weir_warehouse::Error::FileMissing { path }) => {
                    reload(table, warehouse, load, ReloadReason::FileMissing { path }).await?
                }
                applied => applied?,
            },
        };
        report.rows_loaded += applied.rows_inserted;
        report.rows_unloaded += applied.rows_deleted;
        report.reloads += usize::from(applied.reloaded);
    }
}

async fn reload(
    table: &Table,
    warehouse: &dyn Warehouse,
    load: &TableLoad,
    reason: ReloadReason,
) -> Result<LoadReport, AppError> {
    tracing::info!(table = load.source_table, %reason, "loading the whole table");
    let snapshot = table.snapshot().await?;
    let window = LogWindow {
        table_id: &snapshot.table_id,
        schema: &snapshot.schema_string,
        latest: snapshot.version,
        commits: &[],
    };
    let watermark = warehouse.watermark(load).await?;
    let plan = weir_warehouse::plan::reload(watermark.as_ref(), &window, reason);
    Ok(warehouse.apply(load, &plan, &LakeReader { table, files: snapshot.files }).await?)
}

/// The lake, as the warehouse reads it.
struct LakeReader<'a> {
    table: &'a Table,
    /// Of the version that is being reloaded.
    files: Vec<FileEntry>,
}

#[async_trait]
impl FileReader for LakeReader<'_> {
    async fn read(&self, file: &DataFile) -> Result<DataFrame, ReadError> {
        let entry = self.table.file(&file.path, file.partition_values.clone()).ok_or(ReadError::NotFound)?;
        self.table
            .read(&entry)
            .await
            .map_err(|error| if error.is_not_found() { ReadError::NotFound } else { ReadError::Other(Box::new(error)) })
    }

    async fn snapshot_files(&self, _version: i64) -> Result<Vec<DataFile>, ReadError> {
        let files = self.files.iter().map(|file| DataFile {
            path: file.path(),
            partition_values: file.partition_values.clone(),
            num_records: file.rows,
            size_bytes: file.size,
        });
        Ok(files.collect())
    }
}
