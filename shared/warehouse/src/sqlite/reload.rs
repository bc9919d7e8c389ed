//! A reload, a part at a time. The files of one version go into a table of their own, a few in each transaction, and the
//! last transaction gives it the old one's place: whoever is stopped goes on after the last part, and readers see the old
//! rows until all of the new ones are there.
//!
//! Loaders that meet share the work: a file is done by whoever marks it first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use polars::prelude::DataFrame;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tokio::sync::mpsc;
use weir_contract::TableColumn;

use super::load::{check_rows, insert_rows, lost};
use super::{Writing, at, ddl, object_kind, read_watermark};
use crate::{DataFile, Error, LoadReport, PendingReload, TableLoad, Watermark, schema};

/// A part is as many files as wait, within these: other loaders of the same warehouse wait meanwhile.
const PART_BYTES: u64 = 64 << 20;
const PART_TIME: Duration = Duration::from_secs(2);
/// SQLite lets nobody queue: who waits looks again now and then, and must find the gap.
const GAP: Duration = Duration::from_millis(100);

/// The reload of one plan.
#[derive(Debug, Clone)]
pub(super) struct Reload {
    table: TableLoad,
    from: Option<Watermark>,
    to: Watermark,
    columns: Arc<[TableColumn]>,
}

/// A file of a reload that was begun, by its number there.
pub(super) type Numbered = (i64, DataFile);

/// The rows of a file, for the worker.
pub(super) struct Filled {
    pub(super) file: Numbered,
    pub(super) frame: DataFrame,
}

impl Reload {
    pub(super) fn new(table: &TableLoad, from: Option<&Watermark>, to: &Watermark) -> Result<Self, Error> {
        ddl::check_target(&table.table)?;
        let columns = schema::columns(&to.schema)?;
        ddl::check_columns(&columns)?;
        Ok(Self { table: table.clone(), from: from.cloned(), to: to.clone(), columns: columns.into() })
    }

    /// The number of this reload, if it was begun.
    pub(super) fn find(&self, connection: &Connection) -> Result<Option<i64>, Error> {
        let found = read(connection, &self.table)?;
        let same = |pending: &PendingReload| {
            pending.from.as_ref().map(Watermark::place) == self.from.as_ref().map(Watermark::place)
                && pending.to.place() == self.to.place()
        };
        Ok(found.filter(|(_, pending)| same(pending)).map(|(id, _)| id))
    }

    /// Begins it in place of another one, and returns its number; that of whoever was faster, if somebody was.
    pub(super) fn begin(&self, connection: &mut Connection, files: &[DataFile]) -> Result<i64, Error> {
        let transaction = immediate(connection)?;
        self.check(&transaction)?;
        if let Some(id) = self.find(&transaction)? {
            return Ok(id);
        }
        drop_reloads(&transaction, &self.table)?;
        let (from, to) = (self.from.as_ref(), &self.to);
        let note = || -> rusqlite::Result<i64> {
            transaction.execute(
                "INSERT INTO weir_pending (source_table, target, from_id, from_version, table_id, version, schema, run_id)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    self.table.source_table,
                    self.table.table,
                    from.map(|from| &from.table_id),
                    from.map(|from| from.version),
                    to.table_id,
                    to.version,
                    to.schema,
                    self.table.run_id
                ],
            )?;
            let id = transaction.last_insert_rowid();
            let mut insert = transaction.prepare(
                "INSERT INTO weir_pending_file (pending, number, path, partition_values, rows, bytes, done)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)",
            )?;
            for (number, file) in (0_i64..).zip(files) {
                let partition = serde_json::json!(file.partition_values).to_string();
                let rows = file.num_records.and_then(|rows| i64::try_from(rows).ok());
                let bytes = i64::try_from(file.size_bytes).unwrap_or(i64::MAX);
                insert.execute(params![id, number, file.path, partition, rows, bytes])?;
            }
            Ok(id)
        };
        let id = note().map_err(at("noting a reload"))?;
        let create = ddl::create_table(&table_of(id), &self.columns)?;
        transaction.execute_batch(&create).map_err(at("creating the new table"))?;
        transaction.commit().map_err(at("beginning a reload"))?;
        Ok(id)
    }

    /// Nobody has moved the watermark, and the table is ours or nobody's.
    fn check(&self, transaction: &Transaction<'_>) -> Result<(), Error> {
        let found = read_watermark(transaction, &self.table)?;
        if found.as_ref().map(Watermark::place) != self.from.as_ref().map(Watermark::place) {
            return Err(lost(&self.table, self.from.as_ref(), found.as_ref()));
        }
        let table = &self.table;
        if found.is_none() && object_kind(transaction, &table.table).map_err(at("looking for the table"))?.is_some() {
            return Err(Error::TableTaken { table: table.table.clone(), source_table: table.source_table.clone() });
        }
        Ok(())
    }

    /// The files that nobody has loaded yet.
    pub(super) fn left(connection: &Connection, id: i64) -> Result<Vec<Numbered>, Error> {
        let list = || -> rusqlite::Result<Vec<Numbered>> {
            let mut find = connection.prepare(
                "SELECT number, path, partition_values, rows, bytes FROM weir_pending_file
                 WHERE pending = ?1 AND done = 0 ORDER BY number",
            )?;
            let file = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Numbered> {
                let partition: String = row.get(2)?;
                let (rows, bytes): (Option<i64>, i64) = (row.get(3)?, row.get(4)?);
                // Our own text; values that do not come out of it again would be missed in the rows.
                let partition_values: BTreeMap<String, Option<String>> =
                    serde_json::from_str(&partition).map_err(|error| {
                        rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, error.into())
                    })?;
                let file = DataFile {
                    path: row.get(1)?,
                    partition_values,
                    num_records: rows.map(i64::unsigned_abs),
                    size_bytes: bytes.unsigned_abs(),
                };
                Ok((row.get(0)?, file))
            };
            find.query_map([id], file)?.collect()
        };
        list().map_err(at("reading what is left of a reload"))
    }

    /// Loads what comes through `inbox`, part by part, and ends the reload when all of its files are done; a channel that
    /// closes before that means that the rest is for later.
    pub(super) fn run(
        &self,
        connection: &mut Connection,
        id: i64,
        writing: &Writing,
        mut inbox: mpsc::Receiver<Filled>,
    ) -> Result<LoadReport, Error> {
        let mut report = LoadReport { version: self.to.version, reloaded: true, ..LoadReport::default() };
        while let Some(first) = inbox.blocking_recv() {
            let began = Instant::now();
            {
                let _turn = writing.blocking_lock();
                report.rows_inserted += self.part(connection, id, first, &mut inbox)?;
            }
            if began.elapsed() >= PART_TIME {
                std::thread::sleep(GAP);
            }
        }
        let _turn = writing.blocking_lock();
        let transaction = immediate(connection)?;
        self.finish(&transaction, id)?;
        transaction.commit().map_err(at("committing the reload"))?;
        Ok(report)
    }

    fn part(
        &self,
        connection: &mut Connection,
        id: i64,
        first: Filled,
        inbox: &mut mpsc::Receiver<Filled>,
    ) -> Result<u64, Error> {
        let transaction = immediate(connection)?;
        self.still_there(&transaction, id)?;
        let (began, mut bytes, mut rows) = (Instant::now(), 0, 0);
        let mut next = Some(first);
        while let Some(filled) = next {
            bytes += filled.file.1.size_bytes;
            rows += self.insert(&transaction, id, filled)?;
            let full = bytes >= PART_BYTES || began.elapsed() >= PART_TIME;
            next = if full { None } else { inbox.try_recv().ok() };
        }
        transaction.commit().map_err(at("committing a part of a reload"))?;
        Ok(rows)
    }

    /// Somebody may have begun another reload, or ended this one.
    fn still_there(&self, transaction: &Transaction<'_>, id: i64) -> Result<(), Error> {
        let there = transaction.query_row("SELECT 1 FROM weir_pending WHERE id = ?1", [id], |_| Ok(())).optional();
        if there.map_err(at("looking for the reload"))?.is_some() {
            return Ok(());
        }
        let found = read_watermark(transaction, &self.table)?;
        Err(lost(&self.table, self.from.as_ref(), found.as_ref()))
    }

    fn insert(&self, transaction: &Transaction<'_>, id: i64, filled: Filled) -> Result<u64, Error> {
        let Filled { file: (number, file), mut frame } = filled;
        check_rows(&file, &frame)?;
        let marked = transaction
            .execute(
                "UPDATE weir_pending_file SET done = 1 WHERE pending = ?1 AND number = ?2 AND done = 0",
                [id, number],
            )
            .map_err(at("noting a loaded file"))?;
        if marked == 0 {
            return Ok(0);
        }
        let insert = ddl::insert(&table_of(id), &self.columns)?;
        let mut statement = transaction.prepare(&insert).map_err(at("preparing the insert"))?;
        frame.rechunk_mut();
        insert_rows(&mut statement, &frame, &self.columns, &file.path)
    }

    /// The new table takes the old one's place, if nothing is left and nobody was faster.
    fn finish(&self, transaction: &Transaction<'_>, id: i64) -> Result<(), Error> {
        self.still_there(transaction, id)?;
        self.check(transaction)?;
        let left: i64 = transaction
            .query_row("SELECT count(*) FROM weir_pending_file WHERE pending = ?1 AND done = 0", [id], |row| row.get(0))
            .map_err(at("counting what is left of a reload"))?;
        if left > 0 {
            return Err(Error::GivenUp);
        }
        self.swap(transaction, id)?;
        let source = &self.table.source_table;
        let settle = || -> rusqlite::Result<()> {
            // What is left of a dataset that had this table before and was renamed.
            transaction.execute(
                "DELETE FROM weir_watermark WHERE target = ?1 AND source_table <> ?2",
                [&self.table.table, source],
            )?;
            transaction.execute("DELETE FROM weir_loaded_file WHERE source_table = ?1", [source])?;
            transaction.execute(
                "INSERT OR IGNORE INTO weir_loaded_file (source_table, path)
                 SELECT ?1, path FROM weir_pending_file WHERE pending = ?2",
                params![source, id],
            )?;
            forget(transaction, id)
        };
        settle().map_err(at("noting the reloaded files"))?;
        super::load::move_watermark(transaction, &self.table, &self.to)
    }

    /// Users' indexes and triggers go with the old table, so they are made again on the new one.
    fn swap(&self, transaction: &Transaction<'_>, id: i64) -> Result<(), Error> {
        let list = || -> rusqlite::Result<Vec<(String, String)>> {
            let mut find = transaction.prepare(
                "SELECT name, sql FROM sqlite_schema
                 WHERE tbl_name = ?1 COLLATE NOCASE AND type IN ('index', 'trigger') AND sql IS NOT NULL",
            )?;
            find.query_map([&self.table.table], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let extras = list().map_err(at("listing the table's indexes"))?;
        let (name, new) = (ddl::quoted("table", &self.table.table)?, ddl::quoted("table", &table_of(id))?);
        let rename = format!("DROP TABLE IF EXISTS {name}; ALTER TABLE {new} RENAME TO {name};");
        transaction.execute_batch(&rename).map_err(at("swapping in the reloaded table"))?;
        for (extra, definition) in extras {
            if let Err(error) = transaction.execute_batch(&definition) {
                let table = &self.table.table;
                tracing::warn!(%table, %extra, %error, "an index or trigger does not fit the reloaded table and is gone");
            }
        }
        Ok(())
    }
}

/// The reload of this table that was begun, with its number.
pub(super) fn read(connection: &Connection, table: &TableLoad) -> Result<Option<(i64, PendingReload)>, Error> {
    let read = || -> rusqlite::Result<Option<(i64, PendingReload)>> {
        let pending = |row: &rusqlite::Row<'_>| {
            let from: (Option<String>, Option<i64>) = (row.get(1)?, row.get(2)?);
            let from =
                from.0.zip(from.1).map(|(table_id, version)| Watermark { table_id, version, schema: String::new() });
            let number = |index: usize| row.get::<_, i64>(index).map(i64::unsigned_abs);
            let count = |index: usize| number(index).map(|number| usize::try_from(number).unwrap_or(usize::MAX));
            let to = Watermark { table_id: row.get(3)?, version: row.get(4)?, schema: row.get(5)? };
            let (files, files_done) = (count(6)?, count(7)?);
            Ok((row.get(0)?, PendingReload { from, to, files, files_done, bytes: number(8)?, bytes_done: number(9)? }))
        };
        connection
            .query_row(
                "SELECT id, from_id, from_version, table_id, version, schema, count(path), coalesce(sum(done), 0),
                        coalesce(sum(bytes), 0), coalesce(sum(bytes * done), 0)
                 FROM weir_pending LEFT JOIN weir_pending_file ON pending = id
                 WHERE source_table = ?1 AND target = ?2 GROUP BY id",
                params![table.source_table, table.table],
                pending,
            )
            .optional()
    };
    read().map_err(at("looking for a reload"))
}

/// Reloads of this table, or of another dataset into this table, that nobody will end.
pub(super) fn drop_reloads(transaction: &Transaction<'_>, table: &TableLoad) -> Result<(), Error> {
    let list = || -> rusqlite::Result<Vec<i64>> {
        let mut find = transaction.prepare("SELECT id FROM weir_pending WHERE source_table = ?1 OR target = ?2")?;
        find.query_map([&table.source_table, &table.table], |row| row.get(0))?.collect()
    };
    for id in list().map_err(at("looking for a reload"))? {
        forget(transaction, id).map_err(at("dropping a reload"))?;
        let drop = format!("DROP TABLE IF EXISTS {}", ddl::quoted("table", &table_of(id))?);
        transaction.execute_batch(&drop).map_err(at("dropping a reload"))?;
    }
    Ok(())
}

fn immediate(connection: &mut Connection) -> Result<Transaction<'_>, Error> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(at("waiting for another load to end"))
}

fn forget(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM weir_pending_file WHERE pending = ?1", [id])?;
    transaction.execute("DELETE FROM weir_pending WHERE id = ?1", [id]).map(drop)
}

fn table_of(id: i64) -> String {
    format!("weir_reload_{id}")
}
