//! Checkpoints as they are read: the hint, the files, and their rows, only the columns that are asked for.
//!
//! Of any writer: in one file, in parts, or under a name of its own with sidecars; statistics as JSON, as a struct, or not
//! at all; with columns left out that have no row. What cannot be read is said, so that the commits can be read instead.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use polars::prelude::*;
use serde::Deserialize;

use super::actions::{Add, Format, Line, Metadata, Protocol, Remove, Transaction};
use super::parsed_stats::to_json;
use super::state::{Read, Replay};
use super::{Location, LogObject, Shape, log_folder};
use crate::error::LakeError;

/// `_last_checkpoint`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hint {
    version: i64,
    #[serde(default)]
    parts: Option<u32>,
    #[serde(default)]
    v2_checkpoint: Option<NamedFile>,
}

#[derive(Debug, Deserialize)]
struct NamedFile {
    path: String,
}

/// A checkpoint and the files that it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) version: i64,
    pub(crate) files: Vec<Path>,
}

/// A checkpoint that was passed over, and why.
#[derive(Debug)]
pub(crate) struct Unreadable {
    checkpoint: Checkpoint,
    path: Path,
    why: String,
    /// The file itself is torn: no reader can read it. Else it may be there for others.
    torn: bool,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the checkpoint {} cannot be read ({})", self.path, self.why)
    }
}

impl Unreadable {
    /// The checkpoint, where it is of no use to anybody.
    pub(super) fn damaged(self) -> Option<Checkpoint> {
        self.torn.then_some(self.checkpoint)
    }
}

impl Hint {
    fn checkpoint(self, root: &Path) -> Checkpoint {
        let (log, version) = (log_folder(root), self.version);
        let files = match (self.v2_checkpoint, self.parts) {
            (Some(NamedFile { path }), _) => {
                let name = path.rsplit('/').next().unwrap_or_default();
                vec![log.join(name)]
            }
            (None, None) => vec![log.join(format!("{version:020}.checkpoint.parquet"))],
            (None, Some(parts)) => (1..=parts)
                .map(|part| log.clone().join(format!("{version:020}.checkpoint.{part:010}.{parts:010}.parquet")))
                .collect(),
        };
        Checkpoint { version, files }
    }
}

/// The version that `_last_checkpoint` names, and when it was written.
pub(crate) async fn last_checkpoint(at: &Location) -> Result<Option<(i64, DateTime<Utc>)>, LakeError> {
    Ok(read_hint(at).await?.map(|(hint, written)| (hint.version, written)))
}

/// The checkpoint that `_last_checkpoint` names.
pub(crate) async fn checkpoint_hint(at: &Location) -> Result<Option<Checkpoint>, LakeError> {
    Ok(read_hint(at).await?.map(|(hint, _)| hint.checkpoint(&at.root)))
}

async fn read_hint(at: &Location) -> Result<Option<(Hint, DateTime<Utc>)>, LakeError> {
    let hint = log_folder(&at.root).join("_last_checkpoint");
    match at.store.get(&hint).await {
        Ok(found) => {
            let written = found.meta.last_modified;
            let bytes = found.bytes().await.map_err(|error| at.store_error("read", &hint, error))?;
            // The hint is only a hint: a torn one is as good as none.
            Ok(serde_json::from_slice(&bytes).ok().map(|checkpoint| (checkpoint, written)))
        }
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(at.store_error("read", &hint, error)),
    }
}

/// What is in `_delta_log`. A listing costs more the older the log: only where the hint does not lead on.
#[derive(Default)]
pub(crate) struct LogListing {
    /// Those that are complete, the newest first; of one version the plainest first.
    pub(crate) checkpoints: Vec<Checkpoint>,
    pub(crate) commits: BTreeSet<i64>,
}

impl LogListing {
    /// The newest version that there is anything of.
    pub(crate) fn newest(&self) -> Option<i64> {
        self.commits.last().copied().max(self.checkpoints.first().map(|checkpoint| checkpoint.version))
    }

    pub(crate) async fn read(at: &Location) -> Result<Self, LakeError> {
        let log = log_folder(&at.root);
        let mut listing = Self::default();
        // By version, then by shape: parts of one checkpoint stand together.
        let mut found: BTreeMap<(i64, u32), Vec<Path>> = BTreeMap::new();
        let mut objects = at.store.list(Some(&log));
        while let Some(object) = objects.try_next().await.map_err(|error| at.store_error("list", &log, error))? {
            match LogObject::of(&object) {
                LogObject::Checkpoint { version, shape: Shape::Single } => {
                    found.entry((version, u32::MAX)).or_default().push(object.location);
                }
                LogObject::Checkpoint { version, shape: Shape::Part { parts } } => {
                    found.entry((version, parts)).or_default().push(object.location);
                }
                LogObject::Checkpoint { version, shape: Shape::Named } => {
                    listing.checkpoints.push(Checkpoint { version, files: vec![object.location] });
                }
                LogObject::Commit(commit) => _ = listing.commits.insert(commit),
                LogObject::Other => {}
            }
        }
        let complete = |((version, parts), files): ((i64, u32), Vec<Path>)| {
            let whole = parts == u32::MAX || files.len() == parts as usize;
            whole.then_some(Checkpoint { version, files })
        };
        // Named ones last: the sort keeps the order of equal versions.
        let named = std::mem::take(&mut listing.checkpoints);
        listing.checkpoints = found.into_iter().rev().filter_map(complete).chain(named).collect();
        listing.checkpoints.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.version));
        Ok(listing)
    }
}

impl Replay {
    /// Takes a checkpoint in. The inner error: it is gone, or cannot be read.
    pub(super) async fn checkpoint(
        &mut self,
        at: &Location,
        checkpoint: &Checkpoint,
    ) -> Result<Result<(), Unreadable>, LakeError> {
        let mut sidecars = Vec::new();
        for path in &checkpoint.files {
            let taken = match get(at, path).await? {
                Some((bytes, written_ms)) => {
                    self.taken_from(written_ms);
                    match path.as_ref().ends_with(".json") {
                        true => self.json_file(at, &bytes),
                        false => self.checkpoint_file(at, bytes),
                    }
                }
                None => Err(Damage { why: "it is not there".to_owned(), torn: false }),
            };
            match taken {
                Ok(named) => sidecars.extend(named),
                Err(damage) => return Ok(Err(damage.of(checkpoint, path))),
            }
        }
        let folder = log_folder(&at.root).join("_sidecars");
        for name in sidecars {
            let path = folder.clone().join(name.rsplit('/').next().unwrap_or_default());
            let taken = match get(at, &path).await? {
                Some((bytes, _)) => self.checkpoint_file(at, bytes),
                None => Err(Damage { why: "it is not there".to_owned(), torn: false }),
            };
            if let Err(damage) = taken {
                return Ok(Err(damage.of(checkpoint, &path)));
            }
        }
        if self.protocol.is_none() || self.metadata.is_none() {
            let damage = Damage { why: "it has no protocol or no metaData".to_owned(), torn: false };
            let path = checkpoint.files.first().cloned().unwrap_or_default();
            return Ok(Err(damage.of(checkpoint, &path)));
        }
        Ok(Ok(()))
    }

    /// Names of sidecars.
    fn json_file(&mut self, at: &Location, bytes: &[u8]) -> Result<Vec<String>, Damage> {
        #[derive(Deserialize)]
        struct Named {
            sidecar: Option<NamedFile>,
        }
        let torn = |why: String| Damage { why, torn: true };
        let mut sidecars = Vec::new();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let named: Named = serde_json::from_slice(line).map_err(|error| torn(error.to_string()))?;
            sidecars.extend(named.sidecar.map(|file| file.path));
        }
        let lines: Vec<Line> = super::actions::decode(bytes).map_err(torn)?;
        // A checkpoint has each thing once, so that the order of its lines does not matter.
        self.commit(at, -1, lines, None).map_err(|error| Damage { why: error.to_string(), torn: false })?;
        Ok(sidecars)
    }

    /// Names of sidecars.
    fn checkpoint_file(&mut self, at: &Location, bytes: Bytes) -> Result<Vec<String>, Damage> {
        let mut wanted = vec!["protocol", "metaData", "txn", "sidecar"];
        match self.read {
            Read::Writer => {}
            Read::Files => wanted.push("add"),
            Read::Tombstones => wanted.extend(["add", "remove"]),
        }
        let frame = read_columns(bytes, &wanted)?;
        let sidecars = self.take_frame(at, &frame);
        sidecars.map_err(|error| Damage { why: error.to_string(), torn: false })
    }

    fn take_frame(&mut self, at: &Location, frame: &DataFrame) -> PolarsResult<Vec<String>> {
        if let Some(txn) = action(frame, "txn")? {
            let (ids, versions) = (texts(&txn, "appId")?, integers(&txn, "version")?);
            let updated = optional(&txn, "lastUpdated", DataType::Int64)?;
            for row in 0..txn.len() {
                if let (Some(id), Some(version)) = (ids.str()?.get(row), versions.i64()?.get(row)) {
                    let last_updated = updated.as_ref().map(|updated| updated.i64()).transpose()?;
                    let last_updated = last_updated.and_then(|updated| updated.get(row));
                    self.transaction(Transaction { app_id: id.to_owned(), version, last_updated });
                }
            }
        }
        if let Some(protocol) = action(frame, "protocol")? {
            let (reader, writer) = (integers(&protocol, "minReaderVersion")?, integers(&protocol, "minWriterVersion")?);
            if let Some(row) = first_present(&reader) {
                let version = |of: &Series| Ok::<_, PolarsError>(of.i64()?.get(row).unwrap_or_default() as i32);
                self.protocol = Some(Protocol {
                    min_reader_version: version(&reader)?,
                    min_writer_version: version(&writer)?,
                    reader_features: texts_at(&protocol, "readerFeatures", row)?,
                    writer_features: texts_at(&protocol, "writerFeatures", row)?,
                });
            }
        }
        if let Some(metadata) = action(frame, "metaData")?
            && let Some(row) = first_present(&texts(&metadata, "id")?)
        {
            self.metadata = Some(Arc::new(metadata_at(&metadata, row)?));
        }
        if let Some(add) = action(frame, "add")? {
            self.checkpoint_files(at, &add)?;
        }
        if let Some(remove) = action(frame, "remove")? {
            let (paths, times) = (texts(&remove, "path")?, optional(&remove, "deletionTimestamp", DataType::Int64)?);
            for row in 0..remove.len() {
                let Some(path) = paths.str()?.get(row) else { continue };
                let time = times.as_ref().map(|times| times.i64()).transpose()?.and_then(|times| times.get(row));
                self.remove(Remove { path: path.to_owned(), deletion_timestamp: time, ..Remove::default() });
            }
        }
        let Some(sidecar) = action(frame, "sidecar")? else { return Ok(Vec::new()) };
        Ok(texts(&sidecar, "path")?.str()?.iter().flatten().map(str::to_owned).collect())
    }

    fn checkpoint_files(&mut self, at: &Location, fields: &StructChunked) -> PolarsResult<()> {
        let (paths, sizes) = (texts(fields, "path")?, integers(fields, "size")?);
        let times = optional(fields, "modificationTime", DataType::Int64)?;
        let (stats, parsed) = (optional(fields, "stats", DataType::String)?, fields.field_by_name("stats_parsed").ok());
        let vectors = fields.field_by_name("deletionVector").ok();
        let partitions = fields.field_by_name("partitionValues")?;
        let (paths, sizes) = (paths.str()?, sizes.i64()?);
        for row in 0..paths.len() {
            let Some(path) = paths.get(row) else { continue };
            if vectors.as_ref().is_some_and(|vectors| has_vector(vectors, row)) {
                polars_bail!(ComputeError: "the table has a deletion vector, which Weir does not read");
            }
            let stats = match stats.as_ref().map(|stats| stats.str()).transpose()?.and_then(|stats| stats.get(row)) {
                Some(stats) => Some(stats.to_owned()),
                None => parsed.as_ref().map(|parsed| to_json(parsed, row)).transpose()?.flatten(),
            };
            let times = times.as_ref().map(|times| times.i64()).transpose()?;
            let add = Add {
                path: path.to_owned(),
                partition_values: map_at(&partitions, row)?,
                size: sizes.get(row).unwrap_or_default(),
                modification_time: times.and_then(|times| times.get(row)).unwrap_or_default(),
                data_change: false,
                stats,
                deletion_vector: None,
            };
            self.add(at, add).map_err(|error| polars_err!(ComputeError: "{error}"))?;
        }
        Ok(())
    }
}

/// Why a file of a checkpoint was not taken.
struct Damage {
    why: String,
    torn: bool,
}

impl Damage {
    fn of(self, checkpoint: &Checkpoint, path: &Path) -> Unreadable {
        let Self { why, torn } = self;
        Unreadable { checkpoint: checkpoint.clone(), path: path.clone(), why, torn }
    }
}

/// An object's bytes, and when the store took it.
async fn get(at: &Location, path: &Path) -> Result<Option<(Bytes, i64)>, LakeError> {
    match at.store.get(path).await {
        Ok(found) => {
            let written_ms = found.meta.last_modified.timestamp_millis();
            let bytes = found.bytes().await.map_err(|error| at.store_error("read", path, error))?;
            Ok(Some((bytes, written_ms)))
        }
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(at.store_error("read", path, error)),
    }
}

/// Those of the columns that the file has. A reader that panics over damaged pages has not read them.
fn read_columns(bytes: Bytes, wanted: &[&str]) -> Result<DataFrame, Damage> {
    let read = || {
        let mut reader = ParquetReader::new(Cursor::new(bytes));
        let stored = reader.schema()?;
        let present: Vec<String> =
            wanted.iter().filter(|name| stored.contains(name)).map(|name| (*name).to_owned()).collect();
        reader.with_columns(Some(present)).finish()
    };
    let read = catch_unwind(AssertUnwindSafe(read));
    let failed = |why: String| Damage { why, torn: true };
    read.map_err(|_| failed("its pages are damaged".to_owned()))?.map_err(|error| failed(error.to_string()))
}

/// The actions of one kind; `None` where the file has no such column.
fn action(frame: &DataFrame, name: &str) -> PolarsResult<Option<StructChunked>> {
    match frame.column(name) {
        Ok(column) => Ok(Some(column.struct_()?.clone())),
        Err(_) => Ok(None),
    }
}

fn texts(fields: &StructChunked, name: &str) -> PolarsResult<Series> {
    fields.field_by_name(name)?.cast(&DataType::String)
}

fn integers(fields: &StructChunked, name: &str) -> PolarsResult<Series> {
    fields.field_by_name(name)?.cast(&DataType::Int64)
}

/// A field that not every writer's checkpoints have.
fn optional(fields: &StructChunked, name: &str, dtype: DataType) -> PolarsResult<Option<Series>> {
    fields.field_by_name(name).ok().map(|series| series.cast(&dtype)).transpose()
}

fn has_vector(vectors: &Series, row: usize) -> bool {
    let Ok(fields) = vectors.struct_() else { return false };
    let named = fields.field_by_name("storageType");
    named.is_ok_and(|named| named.get(row).is_ok_and(|value| !value.is_null()))
}

fn first_present(series: &Series) -> Option<usize> {
    let present = series.is_not_null();
    (0..present.len()).find(|row| present.get(*row) == Some(true))
}

fn text(fields: &StructChunked, name: &str, row: usize) -> PolarsResult<Option<String>> {
    let series = texts(fields, name)?;
    Ok(series.str()?.get(row).map(str::to_owned))
}

/// A list of texts; checkpoints of tables without features may lack the field.
fn texts_at(fields: &StructChunked, name: &str, row: usize) -> PolarsResult<Option<Vec<String>>> {
    let Ok(series) = fields.field_by_name(name) else { return Ok(None) };
    let Ok(lists) = series.list() else { return Ok(None) };
    let Some(names) = lists.get_as_series(row) else { return Ok(None) };
    Ok(Some(names.str()?.iter().flatten().map(str::to_owned).collect()))
}

fn metadata_at(fields: &StructChunked, row: usize) -> PolarsResult<Metadata> {
    Ok(Metadata {
        id: text(fields, "id", row)?.unwrap_or_default(),
        name: text(fields, "name", row).ok().flatten(),
        // Not every writer's checkpoints have the field.
        description: text(fields, "description", row).ok().flatten(),
        format: Format { provider: "parquet".to_owned(), options: BTreeMap::new() },
        schema_string: text(fields, "schemaString", row)?.unwrap_or_default(),
        partition_columns: texts_at(fields, "partitionColumns", row)?.unwrap_or_default(),
        configuration: fields
            .field_by_name("configuration")
            .map_or_else(|_| Ok(BTreeMap::new()), |map| map_at(&map, row))?,
        created_time: match optional(fields, "createdTime", DataType::Int64)? {
            Some(times) => times.i64()?.get(row),
            None => None,
        },
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
