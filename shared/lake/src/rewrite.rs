//! Rewrites: files out, files in, one commit — and only if every file that goes is still there.
//!
//! The rows of rewritten files that stay are added with `dataChange=false`; rows that are new are added with
//! `dataChange=true`. A reader of changes (the warehouse loader) thus sees exactly what changed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use polars::prelude::*;
use serde_json::json;

use crate::commit::{Books, Outcome, Producer, Proposal};
use crate::error::{ErrorKind, LakeError};
use crate::log::actions::Remove;
use crate::snapshot::{FileEntry, Snapshot};
use crate::table::Table;
use crate::writer::StagedFile;

/// Attempts at a replacement whose files others compacted away meanwhile.
const REPLACE_ATTEMPTS: usize = 5;

#[derive(Debug, Clone, Copy)]
pub struct CompactOptions {
    /// Files below it are candidates; the new ones are about this large.
    pub target_bytes: u64,
    /// What one commit may read at most; a run makes as many commits as it needs.
    pub max_bytes_per_commit: u64,
}

impl Default for CompactOptions {
    fn default() -> Self {
        Self { target_bytes: 64 * 1024 * 1024, max_bytes_per_commit: 64 * 1024 * 1024 }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactReport {
    pub files_removed: usize,
    pub files_added: usize,
    pub commits: usize,
    /// Bins that another writer changed meanwhile; the next run takes them.
    pub conflicts: usize,
}

/// What a source gave, to be put in place of all its rows.
#[derive(Debug)]
pub struct Replacement {
    /// The rows with this `_source` go.
    pub source: String,
    /// Identifies the request: the same request commits once.
    pub producer: Producer,
    pub files: Vec<StagedFile>,
    /// `replaced` is counted here.
    pub books: Books,
}

impl Table {
    /// Merges small files, partition by partition, sorted by the cluster columns. Safe against every other writer:
    /// a bin whose files have gone is left alone.
    pub async fn compact(self: &Arc<Self>, options: CompactOptions) -> Result<CompactReport, LakeError> {
        let snapshot = self.snapshot().await?;
        let mut report = CompactReport::default();
        for bin in plan_bins(&snapshot.files, options) {
            match self.compact_bin(snapshot.version, &bin).await {
                Ok(added) => {
                    report.files_removed += bin.len();
                    report.files_added += added;
                    report.commits += 1;
                }
                Err(error) if error.kind() == ErrorKind::Conflict => report.conflicts += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    async fn compact_bin(self: &Arc<Self>, read_version: i64, bin: &[FileEntry]) -> Result<usize, LakeError> {
        let mut frames = Vec::with_capacity(bin.len());
        for file in bin {
            frames.push(self.read(file).await?);
        }
        let rows_before: usize = frames.iter().map(DataFrame::height).sum();
        let cluster_by = self.definition.cluster_by.clone();
        let sorted = tokio::task::spawn_blocking(move || merge(frames, &cluster_by)).await;
        let frame = sorted.map_err(|_| self.stopped())?.map_err(|source| self.rewrite_error(source))?;
        let staged = self.stage(frame).await?;
        let rows_after: u64 = staged.iter().map(|file| file.rows).sum();
        if rows_after != rows_before as u64 {
            let message = format!("compaction read {rows_before} rows and wrote {rows_after}; nothing was committed");
            self.discard(staged).await;
            return Err(self.at.corrupt(&self.at.root, message));
        }
        let added = staged.len();
        let outcome = self
            .writer
            .propose(Proposal {
                producer: rewrite_producer(),
                settles: None,
                raises: None,
                after: None,
                add: staged.iter().cloned().map(|file| (file, false)).collect(),
                remove: removes(bin, (self.options.now_ms)(), false),
                read_version: Some(read_version),
                books: Books::default(),
                operation: "OPTIMIZE",
                details: BTreeMap::new(),
            })
            .await;
        match outcome {
            Ok(_) => Ok(added),
            Err(error) => {
                // A conflict is found before the PUT: nothing can refer to these files.
                if error.kind() == ErrorKind::Conflict {
                    self.discard(staged).await;
                }
                Err(error)
            }
        }
    }

    /// Replaces every row of `source` in one commit. Files that hold other sources' rows too are rewritten.
    pub async fn replace_source(self: &Arc<Self>, replacement: Replacement) -> Result<Outcome, LakeError> {
        self.replace(replacement, None).await
    }

    /// [`Table::replace_source`] whose commit also settles the delivery of another producer: the event of the very
    /// blob that is being reprocessed.
    pub async fn replace_source_settling(
        self: &Arc<Self>,
        replacement: Replacement,
        settles: Producer,
    ) -> Result<Outcome, LakeError> {
        self.replace(replacement, Some(settles)).await
    }

    async fn replace(
        self: &Arc<Self>,
        replacement: Replacement,
        settles: Option<Producer>,
    ) -> Result<Outcome, LakeError> {
        let mut attempt = 1;
        loop {
            match self.try_replace(&replacement, settles.clone()).await {
                Err(error) if error.kind() == ErrorKind::Conflict && attempt < REPLACE_ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    async fn try_replace(
        self: &Arc<Self>,
        replacement: &Replacement,
        settles: Option<Producer>,
    ) -> Result<Outcome, LakeError> {
        let snapshot = self.snapshot().await?;
        let producer = &replacement.producer;
        let after = snapshot.transactions.get(&producer.id).copied();
        if let Some(version) = after.filter(|version| *version >= producer.version) {
            return Ok(Outcome::AlreadyCommitted { producer_version: version });
        }
        let settles = settles.map(|also| {
            let known = snapshot.transactions.contains_key(&also.id);
            (also, known)
        });
        let affected = self.split_by_source(&snapshot, &replacement.source).await?;
        let mut add: Vec<_> = affected.survivors.iter().cloned().map(|file| (file, false)).collect();
        add.extend(replacement.files.iter().cloned().map(|file| (file, true)));
        let outcome = self
            .writer
            .propose(Proposal {
                producer: producer.clone(),
                settles,
                raises: None,
                after,
                add,
                remove: removes(&affected.files, (self.options.now_ms)(), true),
                read_version: Some(snapshot.version),
                books: Books { replaced: affected.rows, ..replacement.books },
                operation: "REPLACE",
                details: BTreeMap::from([
                    ("operation", json!("replace_source")),
                    ("source", json!(replacement.source)),
                    ("positions", json!(null)),
                ]),
            })
            .await;
        if !matches!(outcome, Ok(Outcome::Committed { .. })) {
            let known_unused = match &outcome {
                Ok(_) => true,
                Err(error) => error.kind() == ErrorKind::Conflict,
            };
            if known_unused {
                self.discard(affected.survivors).await;
            }
        }
        outcome
    }

    /// The files that hold rows of `source`, their other rows staged anew.
    async fn split_by_source(self: &Arc<Self>, snapshot: &Snapshot, source: &str) -> Result<Affected, LakeError> {
        let mut affected = Affected::default();
        let mut writer = self.write();
        for file in snapshot.files.iter().filter(|file| file.may_hold(weir_contract::SOURCE, source)) {
            let frame = self.read(file).await?;
            let others = other_rows(&frame, source).map_err(|source| self.rewrite_error(source))?;
            if others.height() == frame.height() {
                continue;
            }
            affected.rows += (frame.height() - others.height()) as u64;
            affected.files.push(file.clone());
            writer.write(others).await?;
        }
        affected.survivors = writer.finish().await?;
        Ok(affected)
    }

    fn rewrite_error(&self, source: PolarsError) -> LakeError {
        LakeError::Frame { table: self.name().to_owned(), action: "rewrite", source }
    }

    fn stopped(&self) -> LakeError {
        LakeError::Stopped { table: self.name().to_owned() }
    }
}

#[derive(Default)]
struct Affected {
    files: Vec<FileEntry>,
    survivors: Vec<StagedFile>,
    rows: u64,
}

fn other_rows(frame: &DataFrame, source: &str) -> PolarsResult<DataFrame> {
    let theirs = frame.column(weir_contract::SOURCE)?.str()?.not_equal(source);
    frame.filter(&theirs)
}

fn removes(files: &[FileEntry], now_ms: i64, data_change: bool) -> Vec<Remove> {
    files.iter().map(|file| Remove::of(file, now_ms, data_change)).collect()
}

/// A rewrite is its own producer, new each time: what guards it is the check of the files it removes. The id may
/// expire, so that rewrites do not pile up in the log.
fn rewrite_producer() -> Producer {
    Producer { id: format!("weir:rewrite:{}", uuid::Uuid::new_v4()), version: 1, expires: true }
}

fn merge(frames: Vec<DataFrame>, cluster_by: &[String]) -> PolarsResult<DataFrame> {
    let mut frames = frames.into_iter();
    let mut merged = frames.next().unwrap_or_default();
    for frame in frames {
        merged.vstack_mut_owned(frame)?;
    }
    let order = cluster_by.iter().map(String::as_str).chain([weir_contract::SOURCE, weir_contract::SOURCE_POSITION]);
    let present: HashSet<_> = merged.get_column_names().into_iter().map(PlSmallStr::as_str).collect();
    let order: Vec<_> = order.filter(|name| present.contains(name)).map(PlSmallStr::from_str).collect();
    merged.sort(order, SortMultipleOptions::default())
}

/// Small files of one partition, grouped so that each group makes about one file of the target size. Pure.
fn plan_bins(files: &[FileEntry], options: CompactOptions) -> Vec<Vec<FileEntry>> {
    let mut by_partition: BTreeMap<_, Vec<&FileEntry>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.size < options.target_bytes) {
        by_partition.entry(&file.partition_values).or_default().push(file);
    }
    let limit = options.target_bytes.min(options.max_bytes_per_commit);
    let mut bins = Vec::new();
    for mut candidates in by_partition.into_values() {
        candidates.sort_by_key(|file| file.size);
        let mut bin: Vec<FileEntry> = Vec::new();
        let mut bytes = 0;
        for file in candidates {
            if bytes + file.size > limit && !bin.is_empty() {
                bins.push(std::mem::take(&mut bin));
                bytes = 0;
            }
            bytes += file.size;
            bin.push(file.clone());
        }
        bins.push(bin);
    }
    bins.retain(|bin| bin.len() > 1);
    bins
}
