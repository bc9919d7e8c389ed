//! Compaction: many small files become few, partition by partition, sorted by the cluster columns.
//!
//! Each bin is a commit of its own, so a run that is cut off has done what it committed and the next one goes on.
//! Memory is bounded by [`CompactOptions::memory_bytes`], not by the files.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt};
use polars::prelude::*;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use weir_contract::{SOURCE, SOURCE_POSITION};

use super::plan::{CompactOptions, CompactPlan};
use crate::commit::{Books, Member, Producer, Proposal, Verdict};
use crate::data::encode::concat;
use crate::data::writer::StagedFile;
use crate::error::{ErrorKind, LakeError};
use crate::lease::Lease;
use crate::log::actions::Remove;
use crate::log::state::{Read, State};
use crate::schema::Layout;
use crate::snapshot::FileEntry;
use crate::table::Table;

/// Bytes of files that are read at the same time, at most; one file always may.
const READ_BYTES: u64 = 16 * 1024 * 1024;
/// Files that are read at the same time, at most.
const PARALLEL_READS: u64 = 16;
/// Bytes in memory that a byte of a file stands for, at most: values are stored as they are, and Snappy makes no more of a byte
/// than this. What a file takes is known only once it is read.
const EXPANSION: u64 = 24;
/// Rows of a row group: what a reader takes or skips as a whole.
const ROW_GROUP_ROWS: usize = 262_144;
/// Bytes of one in memory, about: what is encoded at a time is copied on the way.
const ROW_GROUP_BYTES: usize = 32 * 1024 * 1024;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactReport {
    pub files_removed: usize,
    pub files_added: usize,
    pub commits: usize,
    /// Bins that another writer changed meanwhile; the next run takes them.
    pub conflicts: usize,
    /// Whether time or the lease ran out before the work was done.
    pub stopped: bool,
}

impl Table {
    /// What [`Table::compact`] would do. Costs a replay of the log.
    pub async fn plan_compaction(&self, options: &CompactOptions) -> Result<CompactPlan, LakeError> {
        let state = self.load_state(Read::Files).await?;
        Ok(CompactPlan::of(state.files.values(), &options.of(&state.layout), &state.layout.cluster_by))
    }

    /// Merges small files. Safe against every other writer: a bin whose files have gone is left alone. Under a lease
    /// its commits are fenced, and it stops when the lease is lost.
    pub async fn compact(
        self: &Arc<Self>,
        options: CompactOptions,
        mut lease: Option<&mut Lease>,
    ) -> Result<CompactReport, LakeError> {
        let began = Instant::now();
        let mut state = self.plan_on().await?;
        let options = options.of(&state.layout);
        let plan = CompactPlan::of(state.files.values(), &options, &state.layout.cluster_by);
        let mut report = CompactReport::default();
        for bin in &plan.bins {
            let late = options.stop_after.is_some_and(|limit: Duration| began.elapsed() >= limit);
            let held = match &mut lease {
                Some(lease) => lease.keep().await?,
                None => true,
            };
            if late || !held {
                report.stopped = true;
                break;
            }
            // Else every bin would read the commits of all bins before it.
            self.catch_up(&mut state).await?;
            if bin.iter().any(|file| !state.files.contains_key(&file.log_path)) {
                report.conflicts += 1;
                continue;
            }
            match self.compact_bin(&state, bin, &options, lease.as_ref().map(|lease| lease.fence())).await {
                Ok(added) => {
                    report.files_removed += bin.len();
                    report.files_added += added;
                    report.commits += 1;
                }
                Err(LakeError::LeaseLost { .. }) => {
                    report.stopped = true;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Conflict => report.conflicts += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    async fn compact_bin(
        self: &Arc<Self>,
        state: &State,
        bin: &[FileEntry],
        options: &CompactOptions,
        fence: Option<i64>,
    ) -> Result<usize, LakeError> {
        let staged = self.merge(state, bin, options).await?;
        let rows_after: u64 = staged.iter().map(|file| file.rows).sum();
        let rows_before: Option<u64> = bin.iter().map(|file| file.rows).sum();
        if rows_before.is_some_and(|before| before != rows_after) {
            let before = rows_before.unwrap_or_default();
            let message =
                format!("the log counts {before} rows and compaction read {rows_after}; nothing was committed");
            self.writer.discard(&staged).await;
            return Err(self.at.corrupt(&self.at.root, message));
        }
        let now_ms = (self.options.now_ms)();
        let proposal = Proposal {
            members: vec![self.rewrite_producer()],
            add: staged.iter().cloned().map(|file| (file, false)).collect(),
            remove: bin.iter().map(|file| Remove::of(file, now_ms, false)).collect(),
            valid_at: Some(state.version),
            fence,
            operation: "OPTIMIZE",
            ..Proposal::default()
        };
        match self.writer.propose(proposal).await {
            Ok(Verdict::Committed { .. }) => Ok(staged.len()),
            Ok(Verdict::Moved(_)) => Err(self.at.corrupt(&self.at.root, "a compaction's own id was there already")),
            Err(error) => {
                // A conflict is found before the PUT, or after one that is known to have lost.
                if error.kind() == ErrorKind::Conflict {
                    self.writer.discard(&staged).await;
                }
                Err(error)
            }
        }
    }

    /// The rows of a bin, in new files. What is in memory is sorted and written whenever it is half of the budget:
    /// sorting needs the other half.
    async fn merge(
        self: &Arc<Self>,
        state: &State,
        bin: &[FileEntry],
        options: &CompactOptions,
    ) -> Result<Vec<StagedFile>, LakeError> {
        let sorted = !state.layout.cluster_by.is_empty();
        let largest = bin.iter().map(|file| file.size).max().unwrap_or(0).max(1);
        let parallel = (READ_BYTES / largest).clamp(1, PARALLEL_READS) as usize;
        let decoded_at_once = decoded_at_once(largest, options.memory_bytes as u64);
        // Boxed and with all that they need, because the compiler cannot tell that streams of borrowing futures are `Send`.
        let reads: Vec<_> = bin.iter().cloned().map(|file| Arc::clone(self).fetched(file).boxed()).collect();
        let (table, columns) = (Arc::clone(self), state.layout.columns.clone());
        let frames = futures::stream::iter(reads).buffered(parallel).map(move |read| {
            let (table, columns) = (Arc::clone(&table), columns.clone());
            async move {
                let (file, bytes) = read?;
                table.decoded(&file, bytes, columns).await
            }
            .boxed()
        });
        let mut frames = frames.buffered(decoded_at_once);
        let mut writer = self.writer.files();
        let (mut run, mut bytes) = (Vec::new(), 0);
        while let Some(frame) = frames.try_next().await? {
            bytes += frame.estimated_size();
            run.push(frame);
            if bytes >= options.memory_bytes / 2 {
                self.write_run(std::mem::take(&mut run), &state.layout, &mut writer).await?;
                bytes = 0;
                if sorted {
                    // Each run is sorted by itself: in files of their own, readers can skip them.
                    writer.close_all().await?;
                }
            }
        }
        self.write_run(run, &state.layout, &mut writer).await?;
        writer.finish().await
    }

    async fn fetched(self: Arc<Self>, file: FileEntry) -> Result<(FileEntry, Bytes), LakeError> {
        let bytes = self.fetch(&file).await?;
        Ok((file, bytes))
    }

    async fn write_run(
        &self,
        run: Vec<DataFrame>,
        layout: &Arc<Layout>,
        writer: &mut crate::data::writer::FileWriter,
    ) -> Result<(), LakeError> {
        if run.is_empty() {
            return Ok(());
        }
        let layout = Arc::clone(layout);
        let merged = spawn_blocking(move || sorted(concat(run)?, &layout.cluster_by)).await;
        let frame = merged.map_err(|_| self.stopped())?.map_err(|source| self.rewrite_error(source))?;
        let rows_of_group_bytes = frame.height().saturating_mul(ROW_GROUP_BYTES) / frame.estimated_size().max(1);
        let rows = rows_of_group_bytes.clamp(1, ROW_GROUP_ROWS);
        for offset in (0..frame.height()).step_by(rows) {
            writer.write(frame.slice(offset as i64, rows)).await?;
        }
        Ok(())
    }

    /// A rewrite is its own producer, new each time: what guards it is the check of the files it removes. The id may
    /// expire, so that rewrites do not pile up in the log.
    fn rewrite_producer(&self) -> Member {
        let id = format!("weir:rewrite:{}", self.options.new_id());
        Member::new(Producer { id, version: 1, expires: true }, None, Books::default())
    }
}

/// How many files of this size may be decoded at the same time: together they take no more than half of the memory, unless one
/// alone does.
fn decoded_at_once(largest: u64, memory_bytes: u64) -> usize {
    (memory_bytes / 2 / largest.saturating_mul(EXPANSION).max(1)).clamp(1, PARALLEL_READS) as usize
}

/// By the cluster columns, then by where the rows came from. Without cluster columns the rows stay in the order of
/// the files, which is about that.
fn sorted(frame: DataFrame, cluster_by: &[String]) -> PolarsResult<DataFrame> {
    if cluster_by.is_empty() {
        return Ok(frame);
    }
    let order = cluster_by.iter().map(String::as_str).chain([SOURCE, SOURCE_POSITION]);
    let order: Vec<_> = order.filter(|name| frame.get_column_index(name).is_some()).collect();
    frame.sort(order, SortMultipleOptions::default())
}
