//! What a file says of itself, held against itself and against limits before it is believed.

use std::ops::Range;
use std::sync::Arc;

use parquet::file::metadata::{
    ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetStatisticsPolicy, RowGroupMetaData,
};

use super::caught;
use super::shape::Root;
use super::source::Source;
use super::thrift::{I32, LIST, Malformed, STRUCT, Thrift};

/// Bytes of a footer.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Columns that hold values, those of nested ones included.
const MAX_COLUMNS: usize = 10_000;
/// Columns and what they are nested in.
const MAX_SCHEMA: usize = 4 * MAX_COLUMNS;
const MAX_DEPTH: usize = 100;
/// Column chunks: row groups times columns.
const MAX_CHUNKS: usize = 400_000;
/// Rows of any file, and further ones for each of its bytes: values that repeat take next to none.
const MAX_ROWS: u64 = 1_000_000;
const ROWS_PER_BYTE: u64 = 1_000;

/// Columns of nothing but nulls, as parquet-cpp had them before 0.14 (2019): no converted type that the format knows. They are
/// whole numbers for the format, of which there is none.
const NULLS: Annotation = Annotation { physical: 1, converted: 24, known_as: 17 };

/// A converted type on a physical one, and another that stands for it; numbers of the format's.
struct Annotation {
    physical: i64,
    converted: u8,
    known_as: u8,
}

const NOT_PARQUET: &str = "not a Parquet file, or its footer is damaged";

#[derive(Debug)]
pub(super) struct Footer {
    pub(super) metadata: ParquetMetaData,
    /// The columns of a row.
    pub(super) roots: Vec<Arc<Root>>,
    /// The rows of each row group.
    pub(super) groups: Vec<Range<u64>>,
}

impl Footer {
    pub(super) fn read(source: &Source) -> Result<Self, String> {
        let bytes = find(source)?;
        let decoded = caught(|| {
            let options = ParquetMetaDataOptions::new()
                .with_column_stats_policy(ParquetStatisticsPolicy::SkipAll)
                .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll)
                .with_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll);
            ParquetMetaDataReader::decode_metadata_with_options(&bytes, Some(&options))
                .map_err(|_| NOT_PARQUET.to_owned())
        });
        let metadata = decoded.map_err(|_| NOT_PARQUET.to_owned())?;
        let columns = metadata.file_metadata().schema_descr().num_columns();
        if columns > MAX_COLUMNS {
            return Err(format!("a Parquet file of {columns} columns; Weir reads at most {MAX_COLUMNS}"));
        }
        let groups = rows(&metadata, source.length)?;
        let roots = Root::all(metadata.file_metadata().schema_descr());
        Ok(Self { metadata, roots, groups })
    }

    pub(super) fn rows(&self) -> u64 {
        self.groups.last().map_or(0, |rows| rows.end)
    }
}

fn find(source: &Source) -> Result<bytes::Bytes, String> {
    let damaged = || NOT_PARQUET.to_owned();
    let start = source.length.checked_sub(8).ok_or_else(damaged)?;
    let tail = source.exactly(start, 8)?;
    let (length, magic) = tail.split_at(4);
    if magic != b"PAR1" {
        return Err(damaged());
    }
    let length = u32::from_le_bytes(length.try_into().map_err(|_| damaged())?);
    let at = start.checked_sub(length.into()).ok_or_else(damaged)?;
    let length = usize::try_from(length).ok().filter(|length| *length <= MAX_BYTES);
    let length = length.ok_or_else(|| "the Parquet file's footer has more than 64 MiB".to_owned())?;
    let bytes = source.exactly(at, length)?;
    let mut nulls = Vec::new();
    match bounded(&bytes, &mut nulls) {
        Ok(None) if nulls.is_empty() => Ok(bytes),
        Ok(None) => {
            let mut known = bytes.to_vec();
            for place in nulls {
                // As the wire has small numbers.
                known[place] = NULLS.known_as << 1;
            }
            Ok(known.into())
        }
        Ok(Some(problem)) => Err(problem),
        Err(Malformed) => Err(damaged()),
    }
}

/// Why the footer is too large to be decoded; and the places of annotations that are [`NULLS`].
fn bounded(bytes: &[u8], nulls: &mut Vec<usize>) -> Result<Option<String>, Malformed> {
    let mut thrift = Thrift::new(bytes);
    let (mut id, mut chunks) = (0, 0);
    while let Some(wire) = thrift.field(&mut id)? {
        match (id, wire) {
            (2, LIST) => {
                if let Some(problem) = schema(&mut thrift, nulls)? {
                    return Ok(Some(problem));
                }
            }
            (4, LIST) => {
                let (_, count) = thrift.list()?;
                for _ in 0..count {
                    chunks += columns_of_group(&mut thrift)?;
                    if chunks > MAX_CHUNKS {
                        let most =
                            format!("a Parquet file of more than {MAX_CHUNKS} column chunks (row groups × columns)");
                        return Ok(Some(most));
                    }
                }
            }
            (_, wire) => thrift.skip(wire)?,
        }
    }
    Ok(None)
}

fn schema(thrift: &mut Thrift<'_>, nulls: &mut Vec<usize>) -> Result<Option<String>, Malformed> {
    let (_, count) = thrift.list()?;
    if count > MAX_SCHEMA {
        return Ok(Some(format!("a Parquet file of more than {MAX_COLUMNS} columns; Weir reads no more")));
    }
    // Children that are still to come, of each group around an element.
    let mut open: Vec<i64> = Vec::new();
    for _ in 0..count {
        let (mut id, mut children, mut physical) = (0, 0, -1);
        while let Some(wire) = thrift.field(&mut id)? {
            match (id, wire) {
                (1, I32) => physical = thrift.integer()?,
                (5, I32) => children = thrift.integer()?,
                (6, I32) => {
                    let place = thrift.position();
                    let is_nulls = thrift.integer()? == i64::from(NULLS.converted) && physical == NULLS.physical;
                    if is_nulls && thrift.position() == place + 1 {
                        nulls.push(place);
                    }
                }
                (_, wire) => thrift.skip(wire)?,
            }
        }
        while open.last().is_some_and(|left| *left <= 0) {
            open.pop();
        }
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        if children > 0 {
            open.push(children);
        }
        if open.len() > MAX_DEPTH {
            return Ok(Some(format!("a Parquet file whose columns are nested deeper than {MAX_DEPTH}")));
        }
    }
    Ok(None)
}

fn columns_of_group(thrift: &mut Thrift<'_>) -> Result<usize, Malformed> {
    let (mut id, mut columns) = (0, 0);
    while let Some(wire) = thrift.field(&mut id)? {
        match (id, wire) {
            (1, LIST) => {
                let (kind, count) = thrift.list()?;
                columns = count;
                if kind != STRUCT {
                    return Err(Malformed);
                }
                (0..count).try_for_each(|_| thrift.skip(STRUCT))?;
            }
            (_, wire) => thrift.skip(wire)?,
        }
    }
    Ok(columns)
}

/// The rows of the row groups, which have to be as many as the file says.
fn rows(metadata: &ParquetMetaData, bytes: u64) -> Result<Vec<Range<u64>>, String> {
    let said = metadata.file_metadata().num_rows();
    let of_group = |group: &RowGroupMetaData| u64::try_from(group.num_rows()).ok();
    let mut groups = Vec::with_capacity(metadata.num_row_groups());
    let mut row = 0_u64;
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let next = of_group(group).and_then(|rows| row.checked_add(rows));
        let Some(next) = next else {
            return Err(format!(
                "the Parquet file's footer is damaged: row group {index} has {} rows",
                group.num_rows()
            ));
        };
        groups.push(row..next);
        row = next;
    }
    if i64::try_from(row) != Ok(said) {
        return Err(format!(
            "the Parquet file's footer is damaged: it counts {said} rows, and its row groups together {row}"
        ));
    }
    let most = MAX_ROWS.saturating_add(bytes.saturating_mul(ROWS_PER_BYTE));
    if row > most {
        return Err(format!("the Parquet file's footer counts {row} rows, more than {bytes} bytes can hold"));
    }
    Ok(groups)
}
