//! Which rows go, as temporary tables: by key, or by where they came from.

use polars::prelude::DataFrame;
use rusqlite::Connection;
use weir_contract::{DataType, SOURCE, SOURCE_POSITION, TableColumn};

use super::at;
use super::ddl;
use super::load::{Load, insert_rows};
use crate::{DataFile, Error};

const KEYS: &str = "weir_keys";
const GONE: &str = "weir_gone";

impl Load<'_> {
    /// Deletes the rows that have the key of a row of `frame`.
    pub(super) fn delete_keys(&mut self, file: &DataFile, frame: &DataFrame, keys: &[String]) -> Result<u64, Error> {
        let columns = self.columns().iter().filter(|column| keys.contains(&column.name)).cloned().collect::<Vec<_>>();
        make(self.connection(), KEYS, &columns)?;
        let chunk = select(frame, &columns, &file.path)?;
        fill(self.connection(), KEYS, &chunk, &columns, &file.path)?;
        let deleted = self
            .connection()
            .execute(&ddl::delete_listed(self.table(), ddl::row_number(self.columns())?, KEYS, &columns)?, []);
        let deleted = deleted.map_err(at("deleting rows by key"))?;
        self.connection().execute_batch(&format!("DROP TABLE temp.{KEYS}")).map_err(at("dropping keys"))?;
        Ok(deleted as u64)
    }

    /// Lists the rows of `frame` as gone, or takes them off the list.
    pub(super) fn gone(&mut self, frame: DataFrame, after_all: bool) -> Result<(), Error> {
        let columns = lineage();
        make(self.connection(), GONE, &columns)?;
        let path = "a rewritten file";
        let chunk = select(&frame, &columns, path)?;
        if !after_all {
            return fill(self.connection(), GONE, &chunk, &columns, path);
        }
        make(self.connection(), KEYS, &columns)?;
        fill(self.connection(), KEYS, &chunk, &columns, path)?;
        let sql = ddl::delete_listed(GONE, "rowid", KEYS, &columns)? + &format!("; DROP TABLE temp.{KEYS}");
        self.connection().execute_batch(&sql).map_err(at("listing rows that stay"))
    }

    /// Deletes the rows that are listed, and the list.
    pub(super) fn delete_gone(&mut self) -> Result<u64, Error> {
        make(self.connection(), GONE, &lineage())?;
        let deleted = self
            .connection()
            .execute(&ddl::delete_listed(self.table(), ddl::row_number(self.columns())?, GONE, &lineage())?, []);
        let deleted = deleted.map_err(at("deleting rows"))?;
        self.connection().execute_batch(&format!("DROP TABLE temp.{GONE}")).map_err(at("dropping the list"))?;
        Ok(deleted as u64)
    }
}

fn lineage() -> Vec<TableColumn> {
    let column = |name: &str, data_type| TableColumn { name: name.to_owned(), data_type, nullable: false };
    vec![column(SOURCE, DataType::String), column(SOURCE_POSITION, DataType::Long)]
}

/// The table, if it is not there yet. Lists stay small beside the table: what they hold was a file's.
fn make(connection: &Connection, name: &str, columns: &[TableColumn]) -> Result<(), Error> {
    connection.execute_batch(&ddl::create_list(name, columns)?).map_err(at("making a list of rows"))
}

/// The columns alone, in one piece each.
fn select(frame: &DataFrame, columns: &[TableColumn], path: &str) -> Result<DataFrame, Error> {
    let names = columns.iter().map(|column| column.name.as_str());
    let mut chunk = frame.select(names).map_err(|_| Error::Column {
        path: path.to_owned(),
        column: columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join("`, `"),
        detail: "is not in the file".to_owned(),
    })?;
    chunk.rechunk_mut();
    Ok(chunk)
}

fn fill(
    connection: &Connection,
    name: &str,
    frame: &DataFrame,
    columns: &[TableColumn],
    path: &str,
) -> Result<(), Error> {
    let sql = ddl::insert(name, columns)?;
    let mut statement = connection.prepare(&sql).map_err(at("preparing a list of rows"))?;
    insert_rows(&mut statement, frame, columns, path).map(drop)
}
