//! Writing data files: frames in, Parquet files in the store out. Nothing here touches the log: a file that no commit
//! names is not part of the table, so a writer may stop at any point.
//!
//! Memory: at most one open file for each partition value, together below [`MAX_OPEN_BYTES`], plus one upload.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use polars::io::parquet::write::BatchedWriter;
use polars::prelude::*;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::error::LakeError;
use crate::files::{data_file, to_log_path};
use crate::log::replay::object_path;
use crate::partition::to_texts;
use crate::statistics::FileStatistics;
use crate::table::{Table, TableDefinition, polars_type};

/// Encoded bytes held for files that are still open; above it the largest is closed early.
const MAX_OPEN_BYTES: usize = 128 * 1024 * 1024;
/// Partition values with an open file; above it the largest is closed early.
const MAX_OPEN_FILES: usize = 256;

type Partition = BTreeMap<String, Option<String>>;

/// A data file that is in the store and not (yet) in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct StagedFile {
    pub(crate) log_path: String,
    pub(crate) object: Path,
    pub(crate) partition_values: Partition,
    /// Bytes.
    pub size: u64,
    pub rows: u64,
    pub(crate) stats: String,
}

impl Table {
    /// Starts writing files for this table.
    pub fn write(self: &Arc<Self>) -> TableWriter {
        TableWriter { table: Arc::clone(self), open: HashMap::new(), upload: None, staged: Vec::new() }
    }

    /// Writes one frame as files and returns them.
    pub async fn stage(self: &Arc<Self>, frame: DataFrame) -> Result<Vec<StagedFile>, LakeError> {
        let mut writer = self.write();
        writer.write(frame).await?;
        writer.finish().await
    }

    /// Deletes files that were staged and never proposed to the log. Failures are left to vacuum.
    pub async fn discard(&self, files: Vec<StagedFile>) {
        for file in files {
            if let Err(error) = self.at.store.delete(&file.object).await {
                tracing::debug!(table = self.name(), %error, "left an unreferenced file to vacuum");
            }
        }
    }
}

/// Takes frames, closes a file when it has reached the target size.
#[derive(Debug)]
pub struct TableWriter {
    table: Arc<Table>,
    open: HashMap<Partition, OpenFile>,
    /// One upload runs while the next rows are being encoded.
    upload: Option<JoinHandle<Result<StagedFile, LakeError>>>,
    staged: Vec<StagedFile>,
}

impl TableWriter {
    /// Adds rows. The frame must have the table's columns, in order and with their types.
    pub async fn write(&mut self, frame: DataFrame) -> Result<(), LakeError> {
        if frame.height() == 0 {
            return Ok(());
        }
        check(&self.table, &frame)?;
        let definition = &self.table.definition;
        let parts = if definition.partition_by.is_empty() {
            vec![(Partition::new(), frame)]
        } else {
            split(&frame, definition).map_err(|source| self.frame_error("partition", source))?
        };
        for (partition, rows) in parts {
            let open = self.open.remove(&partition);
            let encoded = spawn_blocking(move || {
                let mut file = match open {
                    Some(file) => file,
                    None => OpenFile::create(rows.schema())?,
                };
                file.write(rows)?;
                PolarsResult::Ok(file)
            });
            let file =
                encoded.await.map_err(|_| self.stopped())?.map_err(|source| self.frame_error("encode", source))?;
            if file.bytes() >= self.table.options.target_file_bytes {
                self.close(partition, file).await?;
            } else {
                self.open.insert(partition, file);
            }
        }
        self.stay_in_budget().await
    }

    /// Closes every open file. The order of the files is that of their closing.
    pub async fn finish(mut self) -> Result<Vec<StagedFile>, LakeError> {
        let mut open: Vec<_> = self.open.drain().collect();
        open.sort_by(|left, right| left.0.cmp(&right.0));
        for (partition, file) in open {
            self.close(partition, file).await?;
        }
        self.await_upload().await?;
        Ok(self.staged)
    }

    async fn stay_in_budget(&mut self) -> Result<(), LakeError> {
        while self.open.len() > MAX_OPEN_FILES
            || self.open.values().map(OpenFile::bytes).sum::<usize>() > MAX_OPEN_BYTES
        {
            let largest = self.open.iter().max_by_key(|(_, file)| file.bytes()).map(|(partition, _)| partition.clone());
            let Some((partition, file)) = largest.and_then(|partition| self.open.remove_entry(&partition)) else {
                break;
            };
            self.close(partition, file).await?;
        }
        Ok(())
    }

    async fn close(&mut self, partition: Partition, file: OpenFile) -> Result<(), LakeError> {
        self.await_upload().await?;
        let table = Arc::clone(&self.table);
        self.upload = Some(tokio::spawn(async move { upload(&table, partition, file).await }));
        Ok(())
    }

    async fn await_upload(&mut self) -> Result<(), LakeError> {
        if let Some(upload) = self.upload.take() {
            self.staged.push(upload.await.map_err(|_| self.stopped())??);
        }
        Ok(())
    }

    fn frame_error(&self, action: &'static str, source: PolarsError) -> LakeError {
        LakeError::Frame { table: self.table.name().to_owned(), action, source }
    }

    fn stopped(&self) -> LakeError {
        LakeError::Stopped { table: self.table.name().to_owned() }
    }
}

async fn upload(table: &Table, partition_values: Partition, file: OpenFile) -> Result<StagedFile, LakeError> {
    let at = &table.at;
    let encoded = spawn_blocking(move || file.finish()).await;
    let (bytes, statistics) = encoded
        .map_err(|_| LakeError::Stopped { table: at.name.clone() })?
        .map_err(|source| LakeError::Frame { table: at.name.clone(), action: "encode", source })?;
    let id = uuid::Uuid::new_v4().to_string();
    let log_path = to_log_path(&data_file(&partition_values, &table.definition.partition_by, &id));
    let object = object_path(&at.root, &log_path).map_err(|message| at.corrupt(&log_path, message))?;
    let size = bytes.len() as u64;
    at.store.put(&object, PutPayload::from(bytes)).await.map_err(|error| at.store_error("write", &object, error))?;
    Ok(StagedFile { log_path, object, partition_values, size, rows: statistics.rows, stats: statistics.to_json() })
}

fn check(table: &Table, frame: &DataFrame) -> Result<(), LakeError> {
    let error = |message: String| LakeError::Schema { table: table.name().to_owned(), message };
    let wanted = &table.definition.columns;
    if frame.width() != wanted.len() {
        return Err(error(format!("a frame of {} columns, the table has {}", frame.width(), wanted.len())));
    }
    for (column, wanted) in frame.columns().iter().zip(wanted) {
        let (name, dtype) = (column.name(), polars_type(wanted.data_type));
        if name.as_str() != wanted.name || *column.dtype() != dtype {
            let message =
                format!("frame column `{name}` of type {}, expected `{}` of {dtype}", column.dtype(), wanted.name);
            return Err(error(message));
        }
        if !wanted.nullable && column.null_count() > 0 {
            return Err(error(format!("column `{name}` must not be null and has {} nulls", column.null_count())));
        }
    }
    Ok(())
}

/// The frame's rows by partition value, without the partition columns (they live in the log, not in the files).
fn split(frame: &DataFrame, definition: &TableDefinition) -> PolarsResult<Vec<(Partition, DataFrame)>> {
    let columns = &definition.partition_by;
    let nullable = |name: &String| definition.columns.iter().any(|column| column.name == *name && column.nullable);
    let keys: Vec<_> =
        columns.iter().map(|name| to_texts(frame.column(name)?, nullable(name))).collect::<PolarsResult<_>>()?;
    let mut groups: BTreeMap<Vec<Option<&str>>, Vec<IdxSize>> = BTreeMap::new();
    for row in 0..frame.height() {
        let key = keys.iter().map(|key| key[row].as_deref()).collect();
        groups.entry(key).or_default().push(row as IdxSize);
    }
    let mut rest = frame.clone();
    for name in columns {
        rest.drop_in_place(name)?;
    }
    let parts = groups.into_iter().map(|(key, rows)| {
        let values = key.into_iter().map(|value| value.map(str::to_owned));
        let partition = columns.iter().cloned().zip(values).collect();
        let rows = IdxCa::from_vec(PlSmallStr::EMPTY, rows);
        Ok((partition, rest.take(&rows)?))
    });
    parts.collect()
}

/// A Parquet file in memory, still growing.
struct OpenFile {
    writer: BatchedWriter<Buffer>,
    buffer: Buffer,
    statistics: FileStatistics,
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenFile").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl OpenFile {
    fn create(schema: &Schema) -> PolarsResult<Self> {
        let buffer = Buffer::default();
        // Snappy: Synapse's COPY INTO reads neither ZSTD nor LZ4.
        let writer = ParquetWriter::new(buffer.clone()).with_compression(ParquetCompression::Snappy);
        Ok(Self { writer: writer.batched(schema)?, buffer, statistics: FileStatistics::default() })
    }

    fn write(&mut self, mut rows: DataFrame) -> PolarsResult<()> {
        rows.rechunk_mut_par();
        self.statistics.observe(&rows)?;
        self.writer.write_batch(&rows)
    }

    fn bytes(&self) -> usize {
        self.buffer.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn finish(self) -> PolarsResult<(Vec<u8>, FileStatistics)> {
        self.writer.finish()?;
        let bytes = std::mem::take(&mut *self.buffer.0.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((bytes, self.statistics))
    }
}

/// Where the Parquet writer puts its bytes, and where they can be counted meanwhile.
#[derive(Debug, Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
