//! The warehouse, brought up to a table: plan after plan, each one transaction, so that whoever is stopped goes on where
//! it was.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use polars::prelude::DataFrame;
use serde::Serialize;
use tokio::time::Instant;
use weir_contract::{SOURCE, SOURCE_POSITION};
use weir_lake::{FileEntry, Snapshot, Table};
use weir_warehouse::{
    DataFile, FileLayout, FileReader, Limits, LoadReport, LogWindow, Physical, Plan, RawCommit, ReadError,
    ReloadReason, TableLoad, Verified, Warehouse, Watermark, plan,
};

use crate::app::{Dataset, Runtime};
use crate::error::AppError;

/// Commits read for one plan.
const COMMITS_PER_PLAN: usize = 2_000;
/// One plan takes a fraction of an invocation, so that a run that is cut off has brought something.
const LIMITS: Limits =
    Limits { commits: COMMITS_PER_PLAN, files: 5_000, data_bytes: 256 << 20, commit_bytes: 256 << 20 };
/// The first plan of a run is small, and each may be twice as large as the one before: so a lake or a warehouse that is slow
/// today lets something through, too.
const FIRST_PLAN_COMMITS: usize = 250;
const FIRST_PLAN_BYTES: u64 = 32 << 20;
/// No plan is begun when less time is left.
const SHORTEST: Duration = Duration::from_secs(1);
/// After what may pass: another loader was faster, or lake or warehouse did not answer. Each wait is twice as long.
const ATTEMPTS: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(100);

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
    /// Files that are left of a reload which the next run goes on with.
    pub(crate) files_left: usize,
    /// What somebody has to do, because no run will get through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) needs: Option<String>,
}

/// The time that a run has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time {
    pub(crate) stop_at: Instant,
    /// What a run has when nothing else takes of it: who had half of that and did not get through never will.
    pub(crate) whole: Duration,
}

/// How far the files of a plan are read; for a display.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) files: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) rows: AtomicU64,
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

/// Loads until there is nothing new, or until the time is up: a plan that is cut off there changes nothing, a reload goes on
/// where it stopped. `progress` hears of each file.
pub(crate) async fn load(
    table: &Table,
    warehouse: &dyn Warehouse,
    load: &TableLoad,
    time: Option<Time>,
    progress: &Progress,
) -> Result<Loaded, AppError> {
    let (mut loaded, mut failures) = (Loaded::default(), 0);
    loop {
        let latest = table.refresh().await?;
        let limits = Limits {
            commits: (FIRST_PLAN_COMMITS << loaded.plans.min(8)).min(LIMITS.commits),
            data_bytes: (FIRST_PLAN_BYTES << loaded.plans.min(8)).min(LIMITS.data_bytes),
            ..LIMITS
        };
        let once = Once { table, warehouse, load, progress, limits, in_parts: time.is_some() };
        let reads = Reads::default();
        let left = time.map(|time| time.stop_at.saturating_duration_since(Instant::now()));
        let applied = match left {
            Some(left) if left < SHORTEST => None,
            Some(left) => tokio::time::timeout(left, once.apply(latest, &reads)).await.ok(),
            None => Some(once.apply(latest, &reads).await),
        };
        match applied {
            Some(Ok(Some(applied))) => {
                failures = 0;
                loaded.add(&applied);
            }
            Some(Ok(None)) => {
                loaded.version = latest;
                return Ok(loaded);
            }
            Some(Err(AppError::Warehouse(error))) if error.is_retryable() && failures + 1 < ATTEMPTS => {
                failures += 1;
                tracing::info!(table = load.source_table, %error, "the load is tried again");
                tokio::time::sleep(FIRST_WAIT * 2_u32.pow(failures)).await;
            }
            Some(Err(error)) => return Err(error),
            None => return once.cut_off(latest, &reads, time, loaded).await,
        }
    }
}

impl Loaded {
    fn add(&mut self, applied: &LoadReport) {
        self.version = applied.version;
        self.plans += 1;
        self.rows_inserted += applied.rows_inserted;
        self.rows_deleted += applied.rows_deleted;
        self.reloads += usize::from(applied.reloaded);
    }
}

/// One plan of a table.
struct Once<'a> {
    table: &'a Table,
    warehouse: &'a dyn Warehouse,
    load: &'a TableLoad,
    progress: &'a Progress,
    limits: Limits,
    in_parts: bool,
}

/// What a plan came to, for when it is cut off.
#[derive(Debug, Default)]
struct Reads {
    /// Before that it has waited for others.
    first: OnceLock<Instant>,
    /// Size of the plan, unless it is a reload.
    bytes: OnceLock<u64>,
    files: AtomicU64,
}

impl Once<'_> {
    /// `None` when there is nothing to do.
    async fn apply(&self, latest: i64, reads: &Reads) -> Result<Option<LoadReport>, AppError> {
        let (load, warehouse) = (self.load, self.warehouse);
        match next(self.table, warehouse, load, latest, self.limits, self.in_parts).await? {
            Plan::Nothing { .. } => Ok(None),
            plan @ Plan::Reload { reason: ReloadReason::Begun { .. }, .. } => {
                match warehouse.apply(load, &plan, &self.reader(reads, None)).await {
                    // It took longer than the lake keeps files.
                    Err(weir_warehouse::Error::FileMissing { path }) => {
                        self.reload_missing(path, reads).await.map(Some)
                    }
                    applied => Ok(Some(applied?)),
                }
            }
            Plan::Reload { reason, .. } => self.reload(reason, reads).await.map(Some),
            plan => {
                let _ = reads.bytes.set(plan.data_bytes());
                match warehouse.apply(load, &plan, &self.reader(reads, None)).await {
                    // Vacuumed while the warehouse was behind: the log still names the file, the store has it no more.
                    Err(weir_warehouse::Error::FileMissing { path }) => {
                        self.reload_missing(path, reads).await.map(Some)
                    }
                    applied => Ok(Some(applied?)),
                }
            }
        }
    }

    async fn reload_missing(&self, path: String, reads: &Reads) -> Result<LoadReport, AppError> {
        self.reload(ReloadReason::FileMissing { path }, reads).await
    }

    async fn reload(&self, reason: ReloadReason, reads: &Reads) -> Result<LoadReport, AppError> {
        tracing::info!(table = self.load.source_table, %reason, "loading the whole table");
        let (plan, snapshot) = self.plan_reload(reason).await?;
        Ok(self.warehouse.apply(self.load, &plan, &self.reader(reads, Some(&snapshot))).await?)
    }

    async fn plan_reload(&self, reason: ReloadReason) -> Result<(Plan, Snapshot), AppError> {
        let snapshot = self.table.snapshot().await?;
        let window = LogWindow {
            table_id: &snapshot.table_id,
            schema: &snapshot.schema_string,
            latest: snapshot.version,
            commits: &[],
        };
        let watermark = self.warehouse.watermark(self.load).await?;
        Ok((weir_warehouse::plan::reload(watermark.as_ref(), &window, reason), snapshot))
    }

    fn reader<'r>(&'r self, reads: &'r Reads, snapshot: Option<&'r Snapshot>) -> LakeReader<'r> {
        LakeReader { table: self.table, snapshot, progress: self.progress, reads }
    }

    /// The time is up. What was cut off although it had all the time that there ever is comes in parts from now on.
    async fn cut_off(
        &self,
        latest: i64,
        reads: &Reads,
        time: Option<Time>,
        mut loaded: Loaded,
    ) -> Result<Loaded, AppError> {
        let had = reads.first.get().map_or(Duration::ZERO, Instant::elapsed);
        let outlasted = loaded.plans == 0 && time.is_some_and(|time| had >= time.whole / 2);
        let begun = self.warehouse.pending(self.load).await?;
        if outlasted && let (Some(bytes), None) = (reads.bytes.get(), &begun) {
            let (plan, snapshot) = self.plan_reload(ReloadReason::Outlasted { version: latest, bytes: *bytes }).await?;
            if self.warehouse.begin_reload(self.load, &plan, &self.reader(reads, Some(&snapshot))).await? {
                tracing::warn!(
                    table = self.load.source_table,
                    bytes,
                    "a load did not end within one run: the whole table is loaded anew, a part at each run; \
                     `weir warehouse load`, which has no limit of time, is quicker"
                );
            } else {
                loaded.needs = Some(needs("a load", *bytes, had));
            }
        } else if outlasted && begun.is_none() {
            let bytes = self.table.snapshot().await?.files.iter().map(|file| file.size).sum();
            loaded.needs = Some(needs("a reload", bytes, had));
        } else if outlasted && reads.files.load(Ordering::Relaxed) < 2 {
            // The channel takes one more than what is loaded.
            loaded.needs = Some(needs("one file of a reload", 0, had));
        }
        let at = self.warehouse.watermark(self.load).await?.map_or(-1, |watermark| watermark.version);
        loaded.behind = latest.saturating_sub(at).unsigned_abs();
        loaded.files_left = self.warehouse.pending(self.load).await?.map_or(0, |begun| begun.files - begun.files_done);
        let Loaded { behind, files_left, .. } = loaded;
        match &loaded.needs {
            Some(needs) => tracing::warn!(table = self.load.source_table, behind, "{needs}"),
            None => tracing::info!(table = self.load.source_table, behind, files_left, "the time for loading was up"),
        }
        Ok(loaded)
    }
}

/// What to do about a plan that is too large for a run.
fn needs(what: &str, bytes: u64, had: Duration) -> String {
    format!(
        "{what} ({} MiB of files) did not end in the {} s that a run had for it, and no later run will end it: run `weir \
         warehouse load`, which has no limit of time",
        bytes.div_ceil(1 << 20),
        had.as_secs()
    )
}

/// What comes next. A reload that was begun goes on, but where time is no matter only if there is no shorter way.
async fn next(
    table: &Table,
    warehouse: &dyn Warehouse,
    load: &TableLoad,
    latest: i64,
    limits: Limits,
    in_parts: bool,
) -> Result<Plan, AppError> {
    let (table_id, schema) = table.identity();
    let watermark = warehouse.watermark(load).await?;
    if watermark.as_ref().is_some_and(|loaded| loaded.table_id == table_id && loaded.version == latest) {
        return Ok(Plan::Nothing { version: latest });
    }
    let begun = warehouse.pending(load).await?.filter(|begun| {
        begun.to.table_id == table_id
            && begun.to.version <= latest
            && begun.from.as_ref().map(Watermark::place) == watermark.as_ref().map(Watermark::place)
    });
    let begun = begun.map(|begun| Plan::Reload {
        from: watermark.clone(),
        to: begun.to,
        reason: ReloadReason::Begun { files_done: begun.files_done, files: begun.files },
    });
    if let (Some(begun), true) = (&begun, in_parts) {
        return Ok(begun.clone());
    }
    let commits = match &watermark {
        Some(loaded) if loaded.version < latest => table.commits(loaded.version + 1, limits.commits).await?,
        _ => Vec::new(),
    };
    let raw: Vec<_> =
        commits.iter().map(|commit| RawCommit { version: commit.version, body: &commit.actions }).collect();
    let window = LogWindow { table_id: &table_id, schema: &schema, latest, commits: &raw };
    Ok(match (plan(watermark.as_ref(), &window, limits)?, begun) {
        (Plan::Reload { .. }, Some(begun)) => begun,
        (plan, _) => plan,
    })
}

/// The version up to which no commit is needed any more: the warehouse's, or where a reload will bring it before another
/// commit is read. What it holds of another table that had the name says nothing of this one's commits.
pub(crate) async fn read_up_to(
    table: &Table,
    warehouse: &dyn Warehouse,
    load: &TableLoad,
) -> Result<Option<i64>, AppError> {
    let (table_id, _) = table.identity();
    let watermark = warehouse.watermark(load).await?.filter(|loaded| loaded.table_id == table_id);
    let begun = warehouse.pending(load).await?.filter(|begun| begun.to.table_id == table_id);
    let begun = begun.map(|begun| begun.to.version);
    Ok(watermark.map(|loaded| loaded.version).or(begun))
}

/// How the warehouse stands to a table, and what comes next.
pub(crate) async fn standing(table: &Table, warehouse: &dyn Warehouse, load: &TableLoad) -> Result<Standing, AppError> {
    let latest = table.refresh().await?;
    let next = match next(table, warehouse, load, latest, LIMITS, true).await? {
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

/// Compares the rows of both sides. Only at the same version; `None` while the warehouse is behind, or moves on meanwhile.
pub(crate) async fn verify(
    table: &Arc<Table>,
    warehouse: &dyn Warehouse,
    load: &TableLoad,
) -> Result<Option<Verified>, AppError> {
    let snapshot = table.snapshot().await?;
    let is_there =
        |at: Option<Watermark>| at.is_some_and(|at| at.version == snapshot.version && at.table_id == snapshot.table_id);
    if !is_there(warehouse.watermark(load).await?) {
        return Ok(None);
    }
    let (progress, reads) = (Progress::default(), Reads::default());
    let reader = LakeReader { table, snapshot: Some(&snapshot), progress: &progress, reads: &reads };
    let files = snapshot.files.iter().map(data_file).collect::<Vec<_>>();
    let verified = warehouse.verify(load, &snapshot.schema_string, &files, &reader).await?;
    Ok(if is_there(warehouse.watermark(load).await?) { Some(verified) } else { None })
}

/// The lake, as the warehouse reads it.
struct LakeReader<'a> {
    table: &'a Table,
    /// The version that is being reloaded.
    snapshot: Option<&'a Snapshot>,
    progress: &'a Progress,
    reads: &'a Reads,
}

#[async_trait]
impl FileReader for LakeReader<'_> {
    async fn read(&self, file: &DataFile) -> Result<DataFrame, ReadError> {
        self.reads.first.get_or_init(Instant::now);
        let entry = self.table.file(&file.path, file.partition_values.clone()).ok_or(ReadError::NotFound)?;
        let frame = self.table.read(&entry).await.map_err(unread)?;
        self.reads.files.fetch_add(1, Ordering::Relaxed);
        self.progress.files.fetch_add(1, Ordering::Relaxed);
        self.progress.bytes.fetch_add(file.size_bytes, Ordering::Relaxed);
        self.progress.rows.fetch_add(frame.height() as u64, Ordering::Relaxed);
        Ok(frame)
    }

    async fn read_lineage(&self, file: &DataFile) -> Result<DataFrame, ReadError> {
        self.reads.first.get_or_init(Instant::now);
        let entry = self.table.file(&file.path, file.partition_values.clone()).ok_or(ReadError::NotFound)?;
        self.table.read_columns(&entry, &[SOURCE, SOURCE_POSITION]).await.map_err(unread)
    }

    async fn layout(&self, file: &DataFile) -> Result<FileLayout, ReadError> {
        self.reads.first.get_or_init(Instant::now);
        let entry = self.table.file(&file.path, file.partition_values.clone()).ok_or(ReadError::NotFound)?;
        let entry = FileEntry { size: file.size_bytes, ..entry };
        let (columns, rows) = self.table.footer(&entry).await.map_err(unread)?;
        Ok(FileLayout { columns, rows })
    }

    async fn snapshot_files(&self, version: i64) -> Result<Vec<DataFile>, ReadError> {
        match self.snapshot.filter(|snapshot| snapshot.version == version) {
            Some(snapshot) => Ok(snapshot.files.iter().map(data_file).collect()),
            None => Err(ReadError::Other("the reload that was begun has ended, or was begun anew".into())),
        }
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
