//! Frames in, Parquet bytes out, with the file's statistics. Pure.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use polars::io::parquet::write::BatchedWriter;
use polars::prelude::*;
use polars_parquet::write::{
    CompressedPage, CompressionOptions, Version, WriteOptions, array_to_columns, compress, get_dtype_encoding,
    to_parquet_type,
};
use rayon::prelude::*;

use super::partition::to_texts;
use super::statistics::{ColumnStatistics, FileStatistics, Indexed};
use crate::schema::Layout;

/// Bytes of rows below which waking other threads costs more than they save.
pub(crate) const WORTH_THREADS: usize = 256 * 1024;

/// Partition column → value, as the log has it.
pub(crate) type Partition = BTreeMap<String, Option<String>>;

/// A file that is ready to be stored.
#[derive(Debug)]
pub(crate) struct EncodedFile {
    pub(crate) partition: Partition,
    pub(crate) bytes: Vec<u8>,
    pub(crate) statistics: FileStatistics,
}

/// The rows of frames of one layout, one file for each partition value.
pub(crate) fn encode(layout: &Layout, frames: Vec<DataFrame>) -> PolarsResult<Vec<EncodedFile>> {
    let frame = concat(frames)?;
    let (parts, bounded) = (split(&frame, layout)?, layout.bounded());
    drop(frame);
    let files = parts.into_iter().map(|(partition, rows)| {
        let mut file = OpenFile::create(&rows, layout.indexed.clone(), Arc::clone(&bounded))?;
        file.write(rows)?;
        let (bytes, statistics) = file.finish()?;
        Ok(EncodedFile { partition, bytes, statistics })
    });
    files.collect()
}

/// One frame of the rows of all, in order.
pub(crate) fn concat(frames: Vec<DataFrame>) -> PolarsResult<DataFrame> {
    let mut frames = frames.into_iter();
    let mut all = frames.next().unwrap_or_default();
    for frame in frames {
        all.vstack_mut_owned(frame)?;
    }
    Ok(all)
}

/// The frame's rows by partition value, without the partition columns (they live in the log, not in the files). A
/// frame without rows has no parts.
pub(crate) fn split(frame: &DataFrame, layout: &Layout) -> PolarsResult<Vec<(Partition, DataFrame)>> {
    let columns = &layout.partition_by;
    if frame.height() == 0 {
        return Ok(Vec::new());
    }
    if columns.is_empty() {
        return Ok(vec![(Partition::new(), frame.clone())]);
    }
    let nullable = |name: &String| layout.column(name).is_some_and(|column| column.nullable);
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
pub(crate) struct OpenFile {
    writer: BatchedWriter<Buffer>,
    buffer: Buffer,
    /// Bytes that have left the buffer.
    taken: usize,
    statistics: FileStatistics,
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenFile").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl OpenFile {
    /// A file for rows like these, which are not written yet. Its statistics are of the columns `indexed`, with bounds of
    /// those of them that are `bounded`.
    pub(crate) fn create(rows: &DataFrame, indexed: Indexed, bounded: Arc<[String]>) -> PolarsResult<Self> {
        let buffer = Buffer::default();
        let writer = ParquetWriter::new(buffer.clone()).with_compression(ParquetCompression::Snappy);
        let writer = writer.batched(rows.schema())?;
        Ok(Self { writer, buffer, taken: 0, statistics: FileStatistics::new(indexed, bounded) })
    }

    /// One row group. Its columns are joined, looked at, encoded and compressed each by itself, on all cores: Polars' own
    /// `write_batch` compresses one after the other, which takes as long as all the rest.
    pub(crate) fn write(&mut self, rows: DataFrame) -> PolarsResult<()> {
        let height = rows.height();
        let threads = rows.estimated_size() >= WORTH_THREADS;
        let statistics = self.statistics.grow(&rows);
        let encoded: PolarsResult<Vec<_>> = if threads {
            let columns = rows.into_columns().into_par_iter().zip(statistics).with_max_len(1);
            columns.map(|(column, statistics)| encoded(column, statistics)).collect()
        } else {
            rows.into_columns()
                .into_iter()
                .zip(statistics)
                .map(|(column, statistics)| encoded(column, statistics))
                .collect()
        };
        let pages: Vec<Vec<CompressedPage>> = encoded?.into_iter().flatten().collect();
        if height == 0 {
            return Ok(());
        }
        self.writer.write_row_group(height as u64, &pages)
    }

    /// Of the whole file so far.
    pub(crate) fn bytes(&self) -> usize {
        self.taken + self.buffer.lock().len()
    }

    /// What was not taken yet, if that is at least so much.
    pub(crate) fn take_part(&mut self, least: usize) -> Option<Bytes> {
        let mut buffer = self.buffer.lock();
        if buffer.len() < least {
            return None;
        }
        self.taken += buffer.len();
        Some(std::mem::take(&mut *buffer).into())
    }

    /// Ends the file; what was not taken of it.
    pub(crate) fn finish(self) -> PolarsResult<(Vec<u8>, FileStatistics)> {
        self.writer.finish()?;
        let rest = std::mem::take(&mut *self.buffer.lock());
        Ok((rest, self.statistics))
    }
}

/// The pages of each of the column's leaves; of a plain type it is one.
fn encoded(column: Column, statistics: &mut ColumnStatistics) -> PolarsResult<Vec<Vec<CompressedPage>>> {
    // Snappy: Synapse's COPY INTO reads neither ZSTD nor LZ4.
    const OPTIONS: WriteOptions = WriteOptions {
        statistics: StatisticsOptions {
            min_value: true,
            max_value: true,
            distinct_count: false,
            null_count: true,
            binary_statistics_truncate_length: None,
        },
        version: Version::V1,
        compression: CompressionOptions::Snappy,
        data_page_size: None,
    };
    let series = column.take_materialized_series().rechunk();
    statistics.observe(&series)?;
    let field = series.field().to_arrow(CompatLevel::newest());
    let array = series.to_arrow(0, CompatLevel::newest());
    drop(series);
    let leaves = array_to_columns(array, to_parquet_type(&field)?, OPTIONS, &get_dtype_encoding(&field.dtype))?;
    let compressed = leaves.into_iter().map(|pages| {
        pages.map(|page| Ok(compress(page?, Vec::new(), OPTIONS.compression)?)).collect::<PolarsResult<Vec<_>>>()
    });
    compressed.collect()
}

/// Where the Parquet writer puts its bytes, and where they can be counted meanwhile.
#[derive(Debug, Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
