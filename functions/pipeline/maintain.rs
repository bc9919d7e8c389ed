//! What keeps one dataset healthy: compaction, checkpoints, and the warehouse brought up to the lake.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;
use weir_lake::{CheckpointPolicy, CompactOptions, Lease, LogCleanupOptions, Table, VacuumOptions};
use weir_warehouse::TableLoad;

use super::derived;
use super::warehouse::{self, Progress, Time, table_load};
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
    /// Of a derived table: units that were made anew, their rows, and units that are left for the next run.
    pub(crate) units_refreshed: u64,
    pub(crate) rows_refreshed: u64,
    pub(crate) units_to_refresh: u64,
    pub(crate) rows_loaded: u64,
    pub(crate) rows_unloaded: u64,
    pub(crate) reloads: usize,
    /// Commits that the warehouse is behind, because its time was up; the next run goes on there.
    pub(crate) commits_to_load: u64,
    /// Files that are left of a reload, for the same reason.
    pub(crate) files_to_load: u64,
    /// What somebody has to do, because no run will bring the warehouse up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warehouse_needs: Option<String>,
}

pub(crate) async fn maintain(app: &App, dataset: &str) -> Result<Report, AppError> {
    let runtime = app.runtime().await?;
    let dataset = runtime.dataset(dataset)?;
    let mut report = Report { dataset: dataset.contract.name.clone(), ..Report::default() };
    // What is left of an invocation is its answer's.
    let whole = crate::app::deadline(&app.settings).mul_f64(0.9);
    let time = Time { stop_at: Instant::now() + whole, whole };
    // Each step stands alone: a table that cannot be compacted is loaded all the same. The first error is the task's.
    let mut steps = Vec::new();
    for definition in [&dataset.table, &dataset.quarantine] {
        match runtime.table_now(definition).await {
            Ok(Some(table)) => steps.push(tend(app, runtime, &table, dataset, &mut report).await),
            Ok(None) => {}
            Err(error) => steps.push(Err(error)),
        }
    }
    steps.push(refresh(app, runtime, dataset, &mut report).await);
    steps.push(load(runtime, dataset, time, &mut report).await);
    all_of(dataset, steps)?;
    Ok(report)
}

/// The first error is the task's; the others stand in the log.
fn all_of(dataset: &Dataset, steps: Vec<Result<(), AppError>>) -> Result<(), AppError> {
    let mut errors = steps.into_iter().filter_map(Result::err);
    let Some(first) = errors.next() else { return Ok(()) };
    for error in errors {
        tracing::error!(dataset = dataset.contract.name, %error, "maintenance failed in another step, too");
    }
    Err(first)
}

/// Brings a derived table up to what it is made of, as far as a third of the time allows.
async fn refresh(app: &App, runtime: &Runtime, dataset: &Dataset, report: &mut Report) -> Result<(), AppError> {
    let stop_at = Instant::now() + crate::app::deadline(&app.settings) / 3;
    let Some(done) = derived::refresh(app, runtime, dataset, stop_at).await? else { return Ok(()) };
    report.units_refreshed = done.units;
    report.rows_refreshed = done.rows;
    report.units_to_refresh = done.units_left;
    Ok(())
}

/// Brings the warehouse up to the table, as far as time allows.
async fn load(runtime: &Runtime, dataset: &Dataset, time: Time, report: &mut Report) -> Result<(), AppError> {
    let (Some(warehouse), Some(load)) = (runtime.warehouse.as_deref(), table_load(runtime, dataset)) else {
        return Ok(());
    };
    let Some(table) = runtime.table_now(&dataset.table).await? else { return Ok(()) };
    let load = TableLoad { time_limit: Some(time.stop_at.saturating_duration_since(Instant::now())), ..load };
    let loaded = warehouse::load(&table, warehouse, &load, Some(time), &Progress::default()).await?;
    report.rows_loaded += loaded.rows_inserted;
    report.rows_unloaded += loaded.rows_deleted;
    report.reloads += loaded.reloads;
    report.commits_to_load = loaded.behind;
    report.files_to_load = loaded.files_left as u64;
    report.warehouse_needs = loaded.needs;
    Ok(())
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
    // Before what goes by them.
    let mut steps = vec![table.apply_properties().await.map(drop).map_err(AppError::from)];
    steps.push(compact(runtime, table, deadline, &mut lease, report).await);
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
    let keep_from = match (runtime.warehouse.as_deref(), table_load(runtime, dataset)) {
        (Some(warehouse), Some(load)) if table.name() == dataset.table.name => {
            warehouse::read_up_to(table, warehouse, &load).await?
        }
        _ => None,
    };
    let keep_from = keep_from.map(|version| version + 1);
    let cleaned = table.clean_log(LogCleanupOptions { keep_from }).await?;
    report.log_files_deleted += cleaned.commits + cleaned.checkpoints;
    Ok(())
}
