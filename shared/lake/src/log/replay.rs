//! The state of a table, replayed from its log: last checkpoint, then the commits after it.
//!
//! Cost: one read of the checkpoint (only the columns that are asked for) and one GET for each later commit. A state
//! that is already in memory is brought up to date by its new commits alone.

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use polars::prelude::*;
use serde::Deserialize;

use super::actions::{self, Line, Metadata, Protocol};
use super::commit_path;
use crate::error::LakeError;
use crate::files::from_log_path;
use crate::snapshot::FileEntry;
use crate::table::{TableDefinition, fit};

/// Commits read at the same time on a cold start.
const READ_AHEAD: usize = 32;
/// A commit larger than this is not one of ours; refusing it keeps memory bounded.
const MAX_COMMIT_BYTES: u64 = 256 * 1024 * 1024;

/// What a writer has to know of a table; `files` only when a reader asked for them.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) version: i64,
    protocol: Protocol,
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) transactions: HashMap<String, i64>,
    pub(crate) files: Option<BTreeMap<String, FileEntry>>,
}

/// Where a table is. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Location {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) root: Path,
    pub(crate) name: String,
}

impl Location {
    pub(crate) fn store_error(&self, action: &'static str, path: &Path, source: object_store::Error) -> LakeError {
        LakeError::Store { table: self.name.clone(), action, path: path.clone(), source: Box::new(source) }
    }

    pub(crate) fn corrupt(&self, path: impl ToString, message: impl ToString) -> LakeError {
        LakeError::Corrupt { table: self.name.clone(), path: path.to_string(), message: message.to_string() }
    }

    /// The bytes of commit `version`; `None` when it does not exist (yet).
    pub(crate) async fn read_commit(&self, version: i64) -> Result<Option<Bytes>, LakeError> {
        let path = commit_path(&self.root, version);
        let found = match self.store.get(&path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.store_error("read", &path, error)),
        };
        if found.meta.size > MAX_COMMIT_BYTES {
            return Err(
                self.corrupt(&path, format!("commit of {} bytes; the limit is {MAX_COMMIT_BYTES}", found.meta.size))
            );
        }
        found.bytes().await.map(Some).map_err(|error| self.store_error("read", &path, error))
    }

    pub(crate) fn decode(&self, version: i64, bytes: &[u8]) -> Result<Vec<Line>, LakeError> {
        actions::decode(bytes).map_err(|message| self.corrupt(commit_path(&self.root, version), message))
    }
}

impl State {
    /// The newest state of the table, or `None` when there is no table.
    pub(crate) async fn load(at: &Location, with_files: bool) -> Result<Option<Self>, LakeError> {
        if let Some(hint) = checkpoint_hint(at).await? {
            match Self::replay(at, Some(&hint), with_files).await {
                // The checkpoint that the hint names is gone: the hint is only a hint.
                Err(error) if error.is_not_found() => {}
                loaded => return loaded.map(Some),
            }
        }
        let log = LogListing::read(at).await?;
        let checkpoint = log.checkpoint.map(|version| Checkpoint { version, parts: None });
        let Some(newest) = log.last.max(log.checkpoint) else { return Ok(None) };
        if checkpoint.is_none() && log.first != Some(0) {
            let message = format!("the log begins at version {} without a checkpoint", log.first.unwrap_or_default());
            return Err(at.corrupt(at.root.clone().join("_delta_log"), message));
        }
        let state = Self::replay(at, checkpoint.as_ref(), with_files).await?;
        if state.version < newest {
            return Err(at.corrupt(commit_path(&at.root, state.version + 1), "is missing, and later commits are not"));
        }
        Ok(Some(state))
    }

    async fn replay(at: &Location, checkpoint: Option<&Checkpoint>, with_files: bool) -> Result<Self, LakeError> {
        let mut replay = Replay { files: with_files.then(BTreeMap::new), ..Replay::default() };
        let mut next = 0;
        if let Some(checkpoint) = checkpoint {
            replay.checkpoint(at, checkpoint).await?;
            next = checkpoint.version + 1;
        }
        let first = next;
        let commits = futures::stream::iter(first..i64::MAX)
            .map(
                |version| async move { at.read_commit(version).await.map(|bytes| bytes.map(|bytes| (version, bytes))) },
            )
            .buffered(READ_AHEAD);
        let mut commits = std::pin::pin!(commits);
        while let Some(Some((version, bytes))) = commits.try_next().await? {
            replay.commit(at, version, at.decode(version, &bytes)?)?;
            next = version + 1;
        }
        replay.finish(at, next - 1)
    }

    /// Applies the commits that others made since.
    pub(crate) async fn refresh(&mut self, at: &Location, definition: &TableDefinition) -> Result<(), LakeError> {
        while let Some(bytes) = at.read_commit(self.version + 1).await? {
            let lines = at.decode(self.version + 1, &bytes)?;
            self.apply(at, definition, self.version + 1, lines)?;
        }
        Ok(())
    }

    /// Applies one commit, which must be the next version. After a commit that made the table one which Weir does not
    /// write, or which does not fit the definition any more, the state stays before it: every later call fails alike.
    pub(crate) fn apply(
        &mut self,
        at: &Location,
        definition: &TableDefinition,
        version: i64,
        lines: Vec<Line>,
    ) -> Result<(), LakeError> {
        debug_assert_eq!(version, self.version + 1);
        let altered = lines.iter().any(|line| line.protocol.is_some() || line.meta_data.is_some());
        let mut replay = Replay {
            protocol: Some(self.protocol.clone()),
            metadata: Some(Arc::clone(&self.metadata)),
            transactions: std::mem::take(&mut self.transactions),
            files: self.files.take(),
        };
        let applied = replay.commit(at, version, lines);
        self.transactions = replay.transactions;
        self.files = replay.files;
        applied?;
        if let (true, Some(protocol), Some(metadata)) = (altered, replay.protocol, replay.metadata) {
            guard(at, &protocol, &metadata)?;
            fit(at, definition, &metadata)?;
            (self.protocol, self.metadata) = (protocol, metadata);
        }
        self.version = version;
        Ok(())
    }
}

#[derive(Default)]
struct Replay {
    protocol: Option<Protocol>,
    metadata: Option<Arc<Metadata>>,
    transactions: HashMap<String, i64>,
    files: Option<BTreeMap<String, FileEntry>>,
}

impl Replay {
    fn commit(&mut self, at: &Location, version: i64, lines: Vec<Line>) -> Result<(), LakeError> {
        for line in lines {
            if let Some(protocol) = line.protocol {
                self.protocol = Some(protocol);
            }
            if let Some(metadata) = line.meta_data {
                self.metadata = Some(Arc::new(metadata));
            }
            if let Some(txn) = line.txn {
                self.transactions.insert(txn.app_id, txn.version);
            }
            let Some(files) = &mut self.files else { continue };
            if let Some(remove) = line.remove {
                files.remove(&remove.path);
            }
            if let Some(add) = line.add {
                if add.deletion_vector.is_some() {
                    return Err(unsupported(at, "a deletion vector"));
                }
                let entry = FileEntry::from_add(&at.root, add)
                    .map_err(|message| at.corrupt(commit_path(&at.root, version), message))?;
                files.insert(entry.log_path.clone(), entry);
            }
        }
        Ok(())
    }

    async fn checkpoint(&mut self, at: &Location, checkpoint: &Checkpoint) -> Result<(), LakeError> {
        for path in checkpoint.files(&at.root) {
            let bytes = at.store.get(&path).await.map_err(|error| at.store_error("read", &path, error))?;
            let bytes = bytes.bytes().await.map_err(|error| at.store_error("read", &path, error))?;
            self.checkpoint_file(at, bytes).map_err(|error| at.corrupt(&path, error))?;
        }
        Ok(())
    }

    fn checkpoint_file(&mut self, at: &Location, bytes: Bytes) -> PolarsResult<()> {
        let wanted = ["protocol", "metaData", "txn"].into_iter().chain(self.files.is_some().then_some("add"));
        let wanted = wanted.map(str::to_owned).collect();
        let frame = ParquetReader::new(Cursor::new(bytes)).with_columns(Some(wanted)).finish()?;

        let txn = frame.column("txn")?.struct_()?.clone();
        let (ids, versions) = (txn.field_by_name("appId")?, txn.field_by_name("version")?);
        for (id, version) in ids.str()?.iter().zip(versions.i64()?.iter()) {
            if let (Some(id), Some(version)) = (id, version) {
                self.transactions.insert(id.to_owned(), version);
            }
        }
        let protocol = frame.column("protocol")?.struct_()?.clone();
        if let Some(row) = first_present(&protocol.field_by_name("minReaderVersion")?) {
            self.protocol = Some(Protocol {
                min_reader_version: protocol.field_by_name("minReaderVersion")?.i32()?.get(row).unwrap_or_default(),
                min_writer_version: protocol.field_by_name("minWriterVersion")?.i32()?.get(row).unwrap_or_default(),
                reader_features: None,
                writer_features: None,
            });
        }
        let metadata = frame.column("metaData")?.struct_()?.clone();
        if let Some(row) = first_present(&metadata.field_by_name("id")?) {
            self.metadata = Some(Arc::new(checkpoint_metadata(&metadata, row)?));
        }
        if let Some(files) = &mut self.files {
            let add = frame.column("add")?.struct_()?.clone();
            checkpoint_files(at, &add, files)?;
        }
        Ok(())
    }

    fn finish(self, at: &Location, version: i64) -> Result<State, LakeError> {
        let log = at.root.clone().join("_delta_log");
        let metadata = self.metadata.ok_or_else(|| at.corrupt(&log, "no metaData action"))?;
        let protocol = self.protocol.ok_or_else(|| at.corrupt(&log, "no protocol action"))?;
        guard(at, &protocol, &metadata)?;
        Ok(State { version, protocol, metadata, transactions: self.transactions, files: self.files })
    }
}

fn first_present(series: &Series) -> Option<usize> {
    let present = series.is_not_null();
    (0..present.len()).find(|row| present.get(*row) == Some(true))
}

fn text(fields: &StructChunked, name: &str, row: usize) -> PolarsResult<Option<String>> {
    let series = fields.field_by_name(name)?;
    Ok(series.str()?.get(row).map(str::to_owned))
}

fn checkpoint_metadata(fields: &StructChunked, row: usize) -> PolarsResult<Metadata> {
    let partition_columns = match fields.field_by_name("partitionColumns")?.list()?.get_as_series(row) {
        Some(names) => names.str()?.iter().flatten().map(str::to_owned).collect(),
        None => Vec::new(),
    };
    Ok(Metadata {
        id: text(fields, "id", row)?.unwrap_or_default(),
        name: text(fields, "name", row)?,
        format: actions::Format { provider: "parquet".to_owned(), options: BTreeMap::new() },
        schema_string: text(fields, "schemaString", row)?.unwrap_or_default(),
        partition_columns,
        configuration: map_at(&fields.field_by_name("configuration")?, row)?,
        created_time: fields.field_by_name("createdTime")?.i64()?.get(row),
    })
}

/// A Parquet map, which Polars reads as a list of `{key, value}`.
fn map_at(series: &Series, row: usize) -> PolarsResult<BTreeMap<String, Option<String>>> {
    let Some(entries) = series.list()?.get_as_series(row) else { return Ok(BTreeMap::new()) };
    let entries = entries.struct_()?;
    let (keys, values) = (entries.field_by_name("key")?, entries.field_by_name("value")?);
    let pairs = keys.str()?.iter().zip(values.str()?.iter());
    Ok(pairs.filter_map(|(key, value)| Some((key?.to_owned(), value.map(str::to_owned)))).collect())
}

fn checkpoint_files(
    at: &Location,
    fields: &StructChunked,
    files: &mut BTreeMap<String, FileEntry>,
) -> PolarsResult<()> {
    let (paths, sizes) = (fields.field_by_name("path")?, fields.field_by_name("size")?);
    let (times, stats) = (fields.field_by_name("modificationTime")?, fields.field_by_name("stats")?);
    let partitions = fields.field_by_name("partitionValues")?;
    let (paths, sizes, times, stats) = (paths.str()?, sizes.i64()?, times.i64()?, stats.str()?);
    for row in 0..paths.len() {
        let Some(path) = paths.get(row) else { continue };
        let add = actions::Add {
            path: path.to_owned(),
            partition_values: map_at(&partitions, row)?,
            size: sizes.get(row).unwrap_or_default(),
            modification_time: times.get(row).unwrap_or_default(),
            data_change: false,
            stats: stats.get(row).map(str::to_owned),
            deletion_vector: None,
        };
        let entry = FileEntry::from_add(&at.root, add).map_err(|message| polars_err!(ComputeError: "{message}"))?;
        files.insert(entry.log_path.clone(), entry);
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Checkpoint {
    version: i64,
    #[serde(default)]
    parts: Option<u32>,
}

impl Checkpoint {
    fn files(&self, root: &Path) -> Vec<Path> {
        let log = root.clone().join("_delta_log");
        let version = self.version;
        match self.parts {
            None => vec![log.join(format!("{version:020}.checkpoint.parquet"))],
            Some(parts) => (1..=parts)
                .map(|part| log.clone().join(format!("{version:020}.checkpoint.{part:010}.{parts:010}.parquet")))
                .collect(),
        }
    }
}

/// The version that `_last_checkpoint` names.
pub(crate) async fn last_checkpoint(at: &Location) -> Result<Option<i64>, LakeError> {
    Ok(checkpoint_hint(at).await?.map(|checkpoint| checkpoint.version))
}

async fn checkpoint_hint(at: &Location) -> Result<Option<Checkpoint>, LakeError> {
    let hint = at.root.clone().join("_delta_log").join("_last_checkpoint");
    match at.store.get(&hint).await {
        Ok(found) => {
            let bytes = found.bytes().await.map_err(|error| at.store_error("read", &hint, error))?;
            // The hint is only a hint: a torn one is as good as none.
            Ok(serde_json::from_slice(&bytes).ok())
        }
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(at.store_error("read", &hint, error)),
    }
}

/// The versions in `_delta_log`. A listing costs more the older the log: only where there is no hint.
#[derive(Default)]
struct LogListing {
    /// The newest checkpoint of one file.
    checkpoint: Option<i64>,
    /// The oldest commit.
    first: Option<i64>,
    /// The newest commit.
    last: Option<i64>,
}

impl LogListing {
    async fn read(at: &Location) -> Result<Self, LakeError> {
        let log = at.root.clone().join("_delta_log");
        let mut listing = Self::default();
        let mut objects = at.store.list(Some(&log));
        while let Some(object) = objects.try_next().await.map_err(|error| at.store_error("list", &log, error))? {
            let version = |suffix| object.location.filename()?.strip_suffix(suffix)?.parse::<i64>().ok();
            listing.checkpoint = listing.checkpoint.max(version(".checkpoint.parquet"));
            if let Some(commit) = version(".json") {
                listing.first = Some(listing.first.map_or(commit, |first| first.min(commit)));
                listing.last = listing.last.max(Some(commit));
            }
        }
        Ok(listing)
    }
}

/// Refuses what Weir's writer would break. Weir's own tables are reader 1, writer 2 without features.
fn guard(at: &Location, protocol: &Protocol, metadata: &Metadata) -> Result<(), LakeError> {
    let features = protocol.reader_features.iter().chain(&protocol.writer_features).flatten();
    let features: Vec<_> = features.map(String::as_str).collect();
    if protocol.min_reader_version > 1 || protocol.min_writer_version > 2 || !features.is_empty() {
        let features = if features.is_empty() { String::new() } else { format!(" with {}", features.join(", ")) };
        let (reader, writer) = (protocol.min_reader_version, protocol.min_writer_version);
        return Err(unsupported(at, &format!("protocol (reader {reader}, writer {writer}){features}")));
    }
    let set = |key: &str| metadata.configuration.get(key).and_then(Option::as_deref);
    if set("delta.appendOnly") == Some("true") {
        return Err(unsupported(at, "delta.appendOnly=true, so nothing could be compacted or erased"));
    }
    if set("delta.columnMapping.mode").is_some_and(|mode| mode != "none") {
        return Err(unsupported(at, "column mapping"));
    }
    let invariants = metadata.schema_string.contains("delta.invariants");
    let generated = metadata.schema_string.contains("delta.generationExpression");
    match (invariants, generated) {
        (true, _) => Err(unsupported(at, "column invariants")),
        (_, true) => Err(unsupported(at, "generated columns")),
        _ => Ok(()),
    }
}

fn unsupported(at: &Location, feature: &str) -> LakeError {
    LakeError::UnsupportedTable { table: at.name.clone(), feature: format!("the table has {feature}") }
}

/// An object path of the table from a path in its log.
pub(crate) fn object_path(root: &Path, log_path: &str) -> Result<Path, String> {
    from_log_path(root, log_path).ok_or_else(|| "a data file outside the table's folder".to_owned())
}
