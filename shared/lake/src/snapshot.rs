//! Reading a table: its files at one version, and their rows.

use std::collections::{BTreeMap, HashSet};
use std::io::Cursor;
use std::ops::{ControlFlow, RangeInclusive};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use polars::prelude::*;
use weir_contract::{INGESTED_AT, SOURCE, SOURCE_POSITION, TableColumn};

use crate::data::bounds::Keys;
use crate::data::encode::WORTH_THREADS;
use crate::data::files::to_log_path;
use crate::data::partition::to_column;
use crate::error::LakeError;
use crate::log::actions::Add;
use crate::log::left_behind::is_stored_of_another;
use crate::log::object_path;
use crate::log::state::Read;
use crate::rewrite::{may_hold, of_events};
use crate::schema::{Conformed, Layout};
use crate::table::Table;
use crate::types::polars_type;

/// A larger footer is refused; 64 MiB are a million columns and row groups.
const MAX_FOOTER: u64 = 64 << 20;

const FOOTERS_AT_A_TIME: usize = 16;

/// The files of a table at one version.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub version: i64,
    /// `metaData.id`: another id means that the table was dropped and made anew.
    pub table_id: String,
    /// The table's schema, as the Delta log has it.
    pub schema_string: String,
    pub files: Vec<FileEntry>,
    /// Transaction ids: producer → last version committed.
    pub transactions: std::collections::HashMap<String, i64>,
}

/// One data file that is part of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct FileEntry {
    /// As in the log: relative to the table, percent-encoded.
    pub log_path: String,
    /// As in the object store.
    pub object: Path,
    pub partition_values: BTreeMap<String, Option<String>>,
    /// Bytes.
    pub size: u64,
    /// `numRecords` of the statistics.
    pub rows: Option<u64>,
    /// The statistics' JSON, as the log has it.
    pub stats: Option<String>,
}

/// Rows of one source, which may have several names.
#[derive(Debug, Clone)]
pub struct SourceRows<'a> {
    pub sources: &'a [String],
    /// Sequence numbers, for a partition: all records of these events.
    pub positions: RangeInclusive<i64>,
    /// Ingested at or after; microseconds since 1970.
    pub since_us: Option<i64>,
}

/// One commit of the log, raw: what the warehouse planner reads.
#[derive(Debug, Clone)]
pub struct LogCommit {
    pub version: i64,
    /// JSON lines.
    pub actions: Bytes,
}

#[derive(serde::Deserialize)]
struct Count {
    #[serde(rename = "numRecords")]
    rows: Option<u64>,
}

impl FileEntry {
    pub(crate) fn from_add(root: &Path, add: Add) -> Result<Self, String> {
        let size = u64::try_from(add.size).map_err(|_| "an add action with a negative size".to_owned())?;
        let stats = add.stats.as_deref().and_then(|stats| serde_json::from_str::<Count>(stats).ok());
        Ok(Self {
            object: object_path(root, &add.path)?,
            log_path: add.path,
            partition_values: add.partition_values,
            size,
            rows: stats.and_then(|stats| stats.rows),
            stats: add.stats,
        })
    }

    /// The path relative to the table's folder, decoded.
    pub fn path(&self) -> String {
        percent_encoding::percent_decode_str(&self.log_path).decode_utf8_lossy().into_owned()
    }
}

impl Table {
    /// The newest version, with all its files. Costs a replay of the log: not for the ingestion path.
    pub async fn snapshot(&self) -> Result<Snapshot, LakeError> {
        let state = self.load_state(Read::Files).await?;
        let known = state.transactions.into_iter();
        let files = self.counted(state.files.into_values().collect()).await?;
        Ok(Snapshot {
            version: state.version,
            table_id: state.metadata.id.clone(),
            schema_string: state.metadata.schema_string.clone(),
            files,
            transactions: known.map(|(id, known)| (id, known.version)).collect(),
        })
    }

    /// Files with their rows, also those that statistics say nothing of: their footers do.
    async fn counted(&self, files: Vec<FileEntry>) -> Result<Vec<FileEntry>, LakeError> {
        let counted = files.into_iter().map(|file| {
            async move {
                if file.rows.is_some() {
                    return Ok(file);
                }
                match self.footer(&file).await {
                    Ok((_, rows)) => Ok(FileEntry { rows: Some(rows), ..file }),
                    Err(error) if error.is_not_found() => Ok(file),
                    Err(error) => Err(error),
                }
            }
            .boxed()
        });
        // Boxed and collected, because the compiler cannot tell that a stream of borrowing futures is `Send`.
        let counted: Vec<_> = counted.collect();
        futures::stream::iter(counted).buffered(FOOTERS_AT_A_TIME).try_collect().await
    }

    /// The commits `from..` up to the newest, at most `limit` of them; stops before the first that is missing, or that another
    /// table left there.
    pub async fn commits(&self, from: i64, limit: usize) -> Result<Vec<LogCommit>, LakeError> {
        let (known, id) = {
            let known = self.writer.known();
            (known.version, known.metadata.id.clone())
        };
        let mut commits = Vec::new();
        for version in (from..).take(limit) {
            match self.at.read_commit(version).await? {
                Some(actions) if version <= known || !is_stored_of_another(&actions, &id) => {
                    commits.push(LogCommit { version, actions })
                }
                _ => break,
            }
        }
        Ok(commits)
    }

    /// A data file by its decoded path, relative to the table. `None` for a path that leaves the table's folder.
    pub fn file(&self, path: &str, partition_values: BTreeMap<String, Option<String>>) -> Option<FileEntry> {
        let log_path = to_log_path(path);
        let object = object_path(&self.at.root, &log_path).ok()?;
        Some(FileEntry { log_path, object, partition_values, size: 0, rows: None, stats: None })
    }

    /// Some columns of the rows that a source has at some positions, file by file; `since_us` leaves out those that were
    /// ingested before. Ends early when `each` breaks. Files that hold none, as their statistics say, are not read.
    pub async fn rows_of(
        &self,
        rows: SourceRows<'_>,
        columns: &[&str],
        each: impl FnMut(DataFrame) -> PolarsResult<ControlFlow<()>>,
    ) -> Result<(), LakeError> {
        let state = self.load_state(Read::Files).await?;
        self.rows_among(state.files.values(), &state.layout, rows, columns, each).await
    }

    /// [`Table::rows_of`] in files that are known: those of a snapshot, for whoever asks many times.
    pub async fn rows_in(
        &self,
        files: &[FileEntry],
        rows: SourceRows<'_>,
        columns: &[&str],
        each: impl FnMut(DataFrame) -> PolarsResult<ControlFlow<()>>,
    ) -> Result<(), LakeError> {
        self.rows_among(files.iter(), &self.layout(), rows, columns, each).await
    }

    async fn rows_among(
        &self,
        files: impl Iterator<Item = &FileEntry>,
        layout: &Layout,
        SourceRows { sources, positions, since_us }: SourceRows<'_>,
        columns: &[&str],
        mut each: impl FnMut(DataFrame) -> PolarsResult<ControlFlow<()>>,
    ) -> Result<(), LakeError> {
        let failed = |source| LakeError::Frame { table: self.at.name.clone(), action: "read rows of a source", source };
        let keys = df!(SOURCE => sources).and_then(|keys| Keys::of(&keys)).map_err(failed)?;
        let needed = [SOURCE, SOURCE_POSITION, INGESTED_AT];
        let wanted = |column: &&TableColumn| columns.contains(&&*column.name) || needed.contains(&&*column.name);
        let read: Vec<TableColumn> = layout.columns.iter().filter(wanted).cloned().collect();
        for file in files {
            if !may_hold(&keys, Some(&positions), &file.partition_values, file.stats.as_deref())
                || since_us.is_some_and(|since| !may_be_since(since, file.stats.as_deref()))
            {
                continue;
            }
            let frame = self.read_some(file, read.clone()).await?;
            let found =
                select(&frame, sources, &positions, since_us).and_then(|rows| rows.select(columns.iter().copied()));
            let rows = found.map_err(failed)?;
            if rows.height() > 0 && each(rows).map_err(failed)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// What a writer would store of a frame now: the table's columns, and those that the table would get. Nothing is
    /// written.
    ///
    /// # Errors
    /// As of [`crate::TableWriter::write`].
    pub fn as_stored(&self, frame: DataFrame) -> Result<DataFrame, LakeError> {
        let layout = self.layout();
        layout.complete(&frame)?;
        let columns = match layout.conform(frame.clone())? {
            Conformed::Fits(frame) => return Ok(frame),
            Conformed::Needs(columns) => columns,
        };
        match layout.with(columns).conform(frame)? {
            Conformed::Fits(frame) => Ok(frame),
            Conformed::Needs(_) => Err(self.at.corrupt(&self.at.root, "has no place for its columns")),
        }
    }

    /// All rows of one file, in table column order, partition values filled in.
    pub async fn read(&self, file: &FileEntry) -> Result<DataFrame, LakeError> {
        self.read_as(file, &self.layout()).await
    }

    /// The columns that a file has, in its own order, and its rows: from its footer alone.
    pub async fn footer(&self, file: &FileEntry) -> Result<(Vec<String>, u64), LakeError> {
        const FIRST_READ: u64 = 256 * 1024;
        const MAGIC: &[u8] = b"PAR1";
        let at = &self.at;
        let failed = |error| at.store_error("read", &file.object, error);
        let size = match file.size {
            0 => at.store.head(&file.object).await.map_err(failed)?.size,
            size => size,
        };
        let corrupt = || at.corrupt(&file.object, "is no Parquet file");
        let read = async |length: u64| {
            at.store.get_range(&file.object, size.saturating_sub(length)..size).await.map_err(failed)
        };
        let mut tail = read(FIRST_READ).await?;
        let end = tail.last_chunk::<8>().filter(|end| end.ends_with(MAGIC)).ok_or_else(corrupt)?;
        let footer = u64::from(u32::from_le_bytes([end[0], end[1], end[2], end[3]])) + 8;
        if footer > size || footer > MAX_FOOTER {
            return Err(corrupt());
        }
        if footer > tail.len() as u64 {
            tail = read(footer).await?;
        }
        // The reader looks at the end alone.
        let mut reader = ParquetReader::new(Cursor::new(tail));
        let failed = |source| LakeError::Frame { table: at.name.clone(), action: "read a footer", source };
        let columns = reader.schema().map_err(failed)?.iter_names().map(|name| name.to_string()).collect();
        Ok((columns, reader.num_rows().map_err(failed)? as u64))
    }

    /// Some columns of all rows of one file, in the table's order. Names that the table does not have are left out.
    pub async fn read_columns(&self, file: &FileEntry, names: &[&str]) -> Result<DataFrame, LakeError> {
        let mut columns = self.layout().columns.clone();
        columns.retain(|column| names.contains(&column.name.as_str()));
        self.read_some(file, columns).await
    }

    /// [`Table::read`] with the columns of one version of the table.
    pub(crate) async fn read_as(&self, file: &FileEntry, layout: &Layout) -> Result<DataFrame, LakeError> {
        self.read_some(file, layout.columns.clone()).await
    }

    async fn read_some(&self, file: &FileEntry, columns: Vec<TableColumn>) -> Result<DataFrame, LakeError> {
        let bytes = self.fetch(file).await?;
        self.decoded(file, bytes, columns).await
    }

    /// The bytes of a file, as they are stored.
    pub(crate) async fn fetch(&self, file: &FileEntry) -> Result<Bytes, LakeError> {
        let at = &self.at;
        let found = at.store.get(&file.object).await.map_err(|error| at.store_error("read", &file.object, error))?;
        found.bytes().await.map_err(|error| at.store_error("read", &file.object, error))
    }

    /// The rows that the bytes of a file hold.
    pub(crate) async fn decoded(
        &self,
        file: &FileEntry,
        bytes: Bytes,
        columns: Vec<TableColumn>,
    ) -> Result<DataFrame, LakeError> {
        let partition = file.partition_values.clone();
        let decoded = tokio::task::spawn_blocking(move || decode(bytes, &columns, &partition)).await;
        let frame = decoded.map_err(|_| self.stopped())?;
        frame.map_err(|source| LakeError::Frame { table: self.at.name.clone(), action: "read a data file", source })
    }
}

fn select(
    frame: &DataFrame,
    sources: &[String],
    positions: &RangeInclusive<i64>,
    since_us: Option<i64>,
) -> PolarsResult<DataFrame> {
    let position = frame.column(SOURCE_POSITION)?.i64()?;
    let source = frame.column(SOURCE)?.str()?;
    let mut wanted = of_events(position, positions);
    wanted = &wanted & &is_one_of(source, sources);
    if let Some(since) = since_us {
        let ingested = frame.column(INGESTED_AT)?.cast(&DataType::Int64)?;
        wanted = &wanted & &ingested.i64()?.gt_eq(since);
    }
    frame.filter(&wanted)
}

fn is_one_of(source: &StringChunked, sources: &[String]) -> BooleanChunked {
    match sources {
        [only] => source.equal(only.as_str()),
        _ => {
            let sources: HashSet<&str> = sources.iter().map(String::as_str).collect();
            source.iter().map(|source| Some(source.is_some_and(|source| sources.contains(source)))).collect()
        }
    }
}

/// Whether a file may hold rows that were ingested at or after a time.
fn may_be_since(since_us: i64, stats: Option<&str>) -> bool {
    let newest = || {
        let stats: serde_json::Value = serde_json::from_str(stats?).ok()?;
        let text = stats.get("maxValues")?.get(INGESTED_AT)?.as_str()?;
        Some(chrono::DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros())
    };
    // Statistics are cut to milliseconds.
    newest().is_none_or(|newest| newest.saturating_add(1_000) >= since_us)
}

fn decode(
    bytes: Bytes,
    columns: &[TableColumn],
    partition: &BTreeMap<String, Option<String>>,
) -> PolarsResult<DataFrame> {
    let parallel = if bytes.len() < WORTH_THREADS { ParallelStrategy::None } else { ParallelStrategy::Auto };
    let mut reader = ParquetReader::new(Cursor::new(bytes)).read_parallel(parallel);
    let stored = reader.schema()?;
    let wanted = columns.iter().filter(|column| stored.contains(&column.name)).map(|column| column.name.clone());
    // Without any column the reader would forget how many rows there are.
    let wanted = Some(wanted.collect::<Vec<_>>()).filter(|wanted| !wanted.is_empty() && wanted.len() < stored.len());
    let mut frame = reader.with_columns(wanted).finish()?;
    let height = frame.height();
    let mut ordered = Vec::with_capacity(columns.len());
    for column in columns {
        let dtype = polars_type(column.data_type);
        let name = PlSmallStr::from_str(&column.name);
        let values = match partition.get(&column.name) {
            Some(value) => to_column(name, value.as_deref(), height, &dtype, column.nullable)?,
            // Files older than the column do not have it.
            None => match frame.drop_in_place(&column.name) {
                Ok(values) => values.cast(&dtype)?,
                Err(_) => Column::full_null(name, height, &dtype),
            },
        };
        ordered.push(values);
    }
    DataFrame::new(height, ordered)
}
