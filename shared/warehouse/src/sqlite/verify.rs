//! Lake and SQLite compared value by value: each value's hash, summed up for each column. What is hashed is what SQLite
//! stores, so that only what a load would have bound differently shows.

use std::hash::{DefaultHasher, Hasher};

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use weir_contract::TableColumn;

use super::bind::cells;
use super::{at, ddl};
use crate::verify::Summary;
use crate::{DataFile, Error};

/// What the table holds: its rows, and a summary of each column.
pub(super) fn of_table(
    connection: &Connection,
    table: &str,
    columns: &[TableColumn],
) -> Result<(u64, Vec<Summary>), Error> {
    let sql = ddl::select(table, columns)?;
    let read = || -> rusqlite::Result<(u64, Vec<Summary>)> {
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let (mut count, mut summaries) = (0, vec![Summary::default(); columns.len()]);
        while let Some(row) = rows.next()? {
            count += 1;
            for (index, summary) in summaries.iter_mut().enumerate() {
                if let Some(hash) = hash(row.get_ref(index)?) {
                    summary.add(hash);
                }
            }
        }
        Ok((count, summaries))
    };
    read().map_err(at("reading the table"))
}

/// The same of a file, added to `summaries`: its values go the way of a load, into a statement that stores nothing.
pub(super) fn add_file(
    connection: &Connection,
    file: &DataFile,
    frame: &polars::prelude::DataFrame,
    columns: &[TableColumn],
    summaries: &mut [Summary],
) -> Result<u64, Error> {
    let mut frame = frame.clone();
    frame.rechunk_mut();
    let cells = cells(&frame, columns, &file.path)?;
    let failed = |row: usize| move |source| Error::Row { path: String::from("a data file"), row, source };
    let mut statement = connection.prepare("SELECT ?1").map_err(at("preparing a comparison"))?;
    let mut scratch = String::new();
    for (cells, summary) in cells.iter().zip(summaries) {
        for row in 0..frame.height() {
            cells.bind(row, &mut statement, 1, &mut scratch).map_err(failed(row))?;
            let mut rows = statement.raw_query();
            let stored = rows.next().map_err(failed(row))?;
            if let Some(hash) = stored.and_then(|stored| stored.get_ref(0).ok().and_then(hash)) {
                summary.add(hash);
            }
        }
    }
    Ok(frame.height() as u64)
}

/// `None` for null.
fn hash(value: ValueRef<'_>) -> Option<i128> {
    let mut hasher = DefaultHasher::new();
    match value {
        ValueRef::Null => return None,
        ValueRef::Integer(value) => hasher.write_i64(value),
        ValueRef::Real(value) => hasher.write_u64(value.to_bits()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => hasher.write(bytes),
    }
    Some(i128::from(hasher.finish()))
}
