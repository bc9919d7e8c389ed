//! The warehouse, brought up to a table: plan after plan, each one transaction, so that whoever is stopped goes on where
//! it was.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use polars::prelude::DataFrame;
use serde::Serialize;
use tokio::time::Instant;
use weir_contract::{SOURCE, SOURCE_POSITION};
use weir_lake::{FileEntry, Table};
use weir_warehouse::{
    DataFile, FileLayout, FileReader, Limits, LoadReport, LogWindow, Physical, Plan, RawCommit, ReadError,
    ReloadReason, TableLoad, Verified, Warehouse, plan,
};

use crate::app::{Dataset, Runtime};
use crate::error::AppError;

/// Commits read for one plan.
const COMMITS_PER_PLAN: usize = 2_000;
/// One plan takes a fraction of an invocation, so that a run that is cut off has brought something.
const LIMITS: Limits =
    Limits { commits: COMMITS_PER_PLAN, files: 5_000, data_bytes: 256 << 20, commit_bytes: 256 << 20 };
/// No plan is begun when less time is left.
const SHORTEST: Duration = Duration::from_secs(1);

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Loaded {
    pub(crate) version: i64,
    pub(crate) plans: usize,
    pub(crate) rows_inserted: u64,
    pub(crate) rows_deleted: u64,
    pub(crate) reloads: usize,
    /// Commits that are left because time was up.
    pub(crate) behind: u64,
}

/// How a table stands in the warehouse.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Standing {
    pub(crate) dataset: String,
    pub(crate) table: String,
    pub(crate) lake_version: i64,
    /// `None` before the first load.
    pub(crate) warehouse_version: Option<i64>,
    pub(crate) rows: u64,
    /// What the next load does first: nothing, a load, or a reload and why.
    pub(crate) next: String,
}

/// Where a dataset's table goes in the warehouse, if it does.
pub(crate) fn table_load(runtime: &Runtime, dataset: &Dataset) -> Option<TableLoad> {
    let spec = dataset.contract.warehouse.clone()?;
    let name = &dataset.contract.name;
    Some(TableLoad {
        source_table: name.clone(),
        table: spec.table,
        run_id: uuid::Uuid::new_v4().to_string(),
        physical: Physical {
            distribution: spec.distribution,
            index: spec.index,
            long_text: spec.long_text,
            text_lengths: spec.text_lengths,
            sought: dataset.table.partition_by.iter().chain(&dataset.table.cluster_by).cloned().collect(),
            files: runtime.files.as_ref().map(|root| format!("{root}/{name}")),
        },
        time_limit: None,
    })
}

/// Loads until there is nothing new, or until `stop_at`: a plan that is cut off there changes nothing. `told` hears of
/// each plan.
pub(crate) async fn load(
    table: &Table,
    warehouse: &dyn Warehouse,
    load: &TableLoad,
    stop_at: Option<Instant>,
    mut told: impl FnMut(&Loaded),
) -> Result<Loaded, AppError> {
    let mut loaded = Loaded::default();
    loop {
        let latest = table.refresh().await?;
        let left = stop_at.map(|stop_at| stop_at.saturating_duration_since(Instant::now()));
        let applied = match left {
            Some(left) if left < SHORTEST => None,
            Some(left) => tokio::time::timeout(left, once(table, warehouse, load, latest)).await.ok(),
            None => Some(once(table, warehouse, load, latest).await),
        };
        let Some(applied) = applied.transpose()? else {
            let at = warehouse.watermark(load).await?.map_or(-1, |watermark| watermark.version);
            loaded.behind = latest.saturating_sub(at).unsigned_abs();
            tracing::warn!(
                table = load.source_table,
                behind = loaded.behind,
                "the time for loading was up; if this repeats and nothing is loaded, run `weir warehouse load`, which has \
                 no limit"
            );
            return Ok(loaded);
        };
        let Some(applied) = applied else {
            loaded.version = latest;
            return Ok(loaded);
        };
        loaded.version = applied.version;
        loaded.plans += 1;
        loaded.rows_inserted += applied.rows_inserted;
        loaded.rows_deleted += applied.rows_deleted;
        loaded.reloads += usize::from(applied.reloaded);
        told(&loaded);
    }
}

/// One plan; `None` when there is nothing to do.
async fn once(
    table: &Table,
    warehouse: &dyn Warehouse,
    load: &TableLoad,
    latest: i64,
) -> Result<Option<LoadReport>, AppError> {
    match next(table, warehouse, load, latest).await? {
        Plan::Nothing { .. } => Ok(None),
        Plan::Reload { reason, .. } => reload(table, warehouse, load, reason).await.map(Some),
        plan => match warehouse.apply(load, &plan, &LakeReader { table, files: Vec::new() }).await {
            // Vacuumed while the warehouse was behind: the log still names the file, the store has it no more.
            Err(weir_warehouse::Error::FileMissing { path }) => {
                reload(table, warehouse, load, ReloadReason::FileMissing { path }).await.map(Some)
            }
            applied => Ok(Some(applied?)),
        },
    }
}

async fn next(table: &Table, warehouse: &dyn Warehouse, load: &TableLoad, latest: i64) -> Result<Plan, AppError> {
    let (table_id, schema) = table.identity();
    let watermark = warehouse.watermark(load).await?;
    let commits = match &watermark {
        Some(loaded) if loaded.version < latest => table.commits(loaded.version + 1, COMMITS_PER_PLAN).await?,
        _ => Vec::new(),
    };
    let raw: Vec<_> =
        commits.iter().map(|commit| RawCommit { version: commit.version, body: &commit.actions }).collect();
    let window = LogWindow { table_id: &table_id, schema: &schema, latest, commits: &raw };
    Ok(plan(watermark.as_ref(), &window, LIMITS)?)
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

/// How the warehouse stands to a table, and what comes next.
pub(crate) async fn standing(table: &Table, warehouse: &dyn Warehouse, load: &TableLoad) -> Result<Standing, AppError> {
    let latest = table.refresh().await?;
    let next = match next(table, warehouse, load, latest).await? {
        Plan::Nothing { .. } => "nothing".to_owned(),
        Plan::Load { from, .. } => format!("load {} commits", latest - from.version),
        Plan::Reload { reason, .. } => format!("reload: {reason}"),
    };
    Ok(Standing {
        dataset: load.source_table.clone(),
        table: load.table.clone(),
        lake_version: latest,
        warehouse_version: warehouse.watermark(load).await?.map(|watermark| watermark.version),
        rows: warehouse.row_count(load).await?,
        next,
    })
}

/// Compares the rows of both sides. Only at the same version; `None` while the warehouse is behind.
pub(crate) async fn verify(
    table: &Arc<Table>,
    warehouse: &dyn Warehouse,
    load: &TableLoad,
) -> Result<Option<Verified>, AppError> {
    let snapshot = table.snapshot().await?;
    let at = warehouse.watermark(load).await?;
    if at.is_none_or(|at| at.version != snapshot.version || at.table_id != snapshot.table_id) {
        return Ok(None);
    }
    let reader = LakeReader { table, files: snapshot.files };
    let files = reader.files.iter().map(data_file).collect::<Vec<_>>();
    Ok(Some(warehouse.verify(load, &snapshot.schema_string, &files, &reader).await?))
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
        self.table.read(&entry).await.map_err(unread)
    }

    async fn read_lineage(&self, file: &DataFile) -> Result<DataFrame, ReadError> {
        let entry = self.table.file(&file.path, file.partition_values.clone()).ok_or(ReadError::NotFound)?;
        self.table.read_columns(&entry, &[SOURCE, SOURCE_POSITION]).await.map_err(unread)
    }

    async fn layout(&self, file: &DataFile) -> Result<FileLayout, ReadError> {
        let entry = self.table.file(&file.path, file.partition_values.clone()).ok_or(ReadError::NotFound)?;
        let entry = FileEntry { size: file.size_bytes, ..entry };
        let (columns, rows) = self.table.footer(&entry).await.map_err(unread)?;
        Ok(FileLayout { columns, rows })
    }

    async fn snapshot_files(&self, _version: i64) -> Result<Vec<DataFile>, ReadError> {
        Ok(self.files.iter().map(data_file).collect())
    }
}

fn unread(error: weir_lake::LakeError) -> ReadError {
    if error.is_not_found() { ReadError::NotFound } else { ReadError::Other(Box::new(error)) }
}

fn data_file(file: &FileEntry) -> DataFile {
    DataFile {
        path: file.path(),
        partition_values: file.partition_values.clone(),
        num_records: file.rows,
        size_bytes: file.size,
    }
}
