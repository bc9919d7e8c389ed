//! Checkpoints as they are read: the hint, the files, and their rows, only the columns that are asked for.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use polars::prelude::*;
use serde::Deserialize;

use super::actions::{Add, Format, Metadata, Protocol, Remove, Transaction};
use super::state::{Read, Replay};
use super::{Location, LogObject, log_folder};
use crate::error::LakeError;

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Checkpoint {
    pub(super) version: i64,
    #[serde(default)]
    pub(super) parts: Option<u32>,
}

impl Checkpoint {
    fn files(&self, root: &Path) -> Vec<Path> {
        let log = log_folder(root);
        let version = self.version;
        match self.parts {
            None => vec![log.join(format!("{version:020}.checkpoint.parquet"))],
            Some(parts) => (1..=parts)
                .map(|part| log.clone().join(format!("{version:020}.checkpoint.{part:010}.{parts:010}.parquet")))
                .collect(),
        }
    }
}

/// The version that `_last_checkpoint` names, and when it was written.
pub(crate) async fn last_checkpoint(at: &Location) -> Result<Option<(i64, DateTime<Utc>)>, LakeError> {
    Ok(read_hint(at).await?.map(|(checkpoint, written)| (checkpoint.version, written)))
}

pub(super) async fn checkpoint_hint(at: &Location) -> Result<Option<Checkpoint>, LakeError> {
    Ok(read_hint(at).await?.map(|(checkpoint, _)| checkpoint))
}

async fn read_hint(at: &Location) -> Result<Option<(Checkpoint, DateTime<Utc>)>, LakeError> {
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

/// The versions in `_delta_log`. A listing costs more the older the log: only where there is no hint.
#[derive(Default)]
pub(crate) struct LogListing {
    /// The newest checkpoint of one file.
    pub(super) checkpoint: Option<i64>,
    /// The oldest commit.
    pub(crate) first: Option<i64>,
    /// The newest commit.
    pub(super) last: Option<i64>,
}

impl LogListing {
    pub(crate) async fn read(at: &Location) -> Result<Self, LakeError> {
        let log = log_folder(&at.root);
        let mut listing = Self::default();
        let mut objects = at.store.list(Some(&log));
        while let Some(object) = objects.try_next().await.map_err(|error| at.store_error("list", &log, error))? {
            match LogObject::of(&object) {
                LogObject::Checkpoint { version, single: true } => {
                    listing.checkpoint = listing.checkpoint.max(Some(version));
                }
                LogObject::Commit(commit) => {
                    listing.first = Some(listing.first.map_or(commit, |first| first.min(commit)));
                    listing.last = listing.last.max(Some(commit));
                }
                _ => {}
            }
        }
        Ok(listing)
    }
}

impl Replay {
    pub(super) async fn checkpoint(&mut self, at: &Location, checkpoint: &Checkpoint) -> Result<(), LakeError> {
        for path in checkpoint.files(&at.root) {
            let bytes = at.store.get(&path).await.map_err(|error| at.store_error("read", &path, error))?;
            let bytes = bytes.bytes().await.map_err(|error| at.store_error("read", &path, error))?;
            self.checkpoint_file(at, bytes).map_err(|error| at.corrupt(&path, error))?;
        }
        Ok(())
    }

    fn checkpoint_file(&mut self, at: &Location, bytes: Bytes) -> PolarsResult<()> {
        let mut wanted = vec!["protocol", "metaData", "txn"];
        match self.read {
            Read::Writer => {}
            Read::Files => wanted.push("add"),
            Read::Tombstones => wanted.extend(["add", "remove"]),
        }
        let wanted = wanted.into_iter().map(str::to_owned).collect();
        let frame = ParquetReader::new(Cursor::new(bytes)).with_columns(Some(wanted)).finish()?;

        let txn = frame.column("txn")?.struct_()?.clone();
        let (ids, versions) = (txn.field_by_name("appId")?, txn.field_by_name("version")?);
        let updated = txn.field_by_name("lastUpdated")?;
        for ((id, version), last_updated) in ids.str()?.iter().zip(versions.i64()?.iter()).zip(updated.i64()?.iter()) {
            if let (Some(id), Some(version)) = (id, version) {
                self.transaction(Transaction { app_id: id.to_owned(), version, last_updated });
            }
        }
        let protocol = frame.column("protocol")?.struct_()?.clone();
        if let Some(row) = first_present(&protocol.field_by_name("minReaderVersion")?) {
            self.protocol = Some(Protocol {
                min_reader_version: protocol.field_by_name("minReaderVersion")?.i32()?.get(row).unwrap_or_default(),
                min_writer_version: protocol.field_by_name("minWriterVersion")?.i32()?.get(row).unwrap_or_default(),
                reader_features: texts_at(&protocol, "readerFeatures", row)?,
                writer_features: texts_at(&protocol, "writerFeatures", row)?,
            });
        }
        let metadata = frame.column("metaData")?.struct_()?.clone();
        if let Some(row) = first_present(&metadata.field_by_name("id")?) {
            self.metadata = Some(Arc::new(metadata_at(&metadata, row)?));
        }
        if self.read != Read::Writer {
            let add = frame.column("add")?.struct_()?.clone();
            self.checkpoint_files(at, &add)?;
        }
        if self.read == Read::Tombstones {
            let remove = frame.column("remove")?.struct_()?.clone();
            let (paths, times) = (remove.field_by_name("path")?, remove.field_by_name("deletionTimestamp")?);
            for (path, time) in paths.str()?.iter().zip(times.i64()?.iter()) {
                let Some(path) = path else { continue };
                self.remove(Remove { path: path.to_owned(), deletion_timestamp: time, ..Remove::default() });
            }
        }
        Ok(())
    }

    fn checkpoint_files(&mut self, at: &Location, fields: &StructChunked) -> PolarsResult<()> {
        let (paths, sizes) = (fields.field_by_name("path")?, fields.field_by_name("size")?);
        let (times, stats) = (fields.field_by_name("modificationTime")?, fields.field_by_name("stats")?);
        let partitions = fields.field_by_name("partitionValues")?;
        let (paths, sizes, times, stats) = (paths.str()?, sizes.i64()?, times.i64()?, stats.str()?);
        for row in 0..paths.len() {
            let Some(path) = paths.get(row) else { continue };
            let add = Add {
                path: path.to_owned(),
                partition_values: map_at(&partitions, row)?,
                size: sizes.get(row).unwrap_or_default(),
                modification_time: times.get(row).unwrap_or_default(),
                data_change: false,
                stats: stats.get(row).map(str::to_owned),
                deletion_vector: None,
            };
            self.add(at, add).map_err(|error| polars_err!(ComputeError: "{error}"))?;
        }
        Ok(())
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
        name: text(fields, "name", row)?,
        // Not every writer's checkpoints have the field.
        description: text(fields, "description", row).ok().flatten(),
        format: Format { provider: "parquet".to_owned(), options: BTreeMap::new() },
        schema_string: text(fields, "schemaString", row)?.unwrap_or_default(),
        partition_columns: texts_at(fields, "partitionColumns", row)?.unwrap_or_default(),
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
