//! One load: a transaction fed with files. Blocking; runs on its own thread.

use polars::prelude::DataFrame;
use rusqlite::{Connection, Statement, Transaction, TransactionBehavior, params};
use tokio::sync::mpsc;
use weir_contract::{SOURCE, SOURCE_POSITION, TableColumn, positions_of};

use super::bind::{Cells, cells};
use super::{at, ddl, object_kind, read_watermark};
use crate::{DataFile, Error, LoadReport, Step, TableLoad, Watermark, schema};

/// A reload fills this table and renames it before the commit, so nobody ever sees it.
const RELOAD_TABLE: &str = "weir_reload";
/// From this many replaces on, an index for the time of the load costs less than a scan for each.
const REPLACES_WORTH_AN_INDEX: usize = 8;

/// What the worker is told, in the plan's order.
pub(super) enum Message {
    AddColumns(Vec<TableColumn>),
    Forget(Vec<String>),
    Delete {
        source: String,
        positions: Option<(i64, i64)>,
    },
    /// The rows of these sources and positions go with the next [`Message::DeleteGone`]; or do not, after all.
    Gone {
        frame: DataFrame,
        after_all: bool,
    },
    DeleteGone,
    Rows {
        file: DataFile,
        frame: DataFrame,
        arrive: Arrive,
    },
    /// Commit. A channel that closes without it means that the load was given up.
    Done,
}

/// How the rows of a file stand to those that are there.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Arrive {
    /// A file that is loaded already is skipped.
    Once,
    /// Earlier copies have just been deleted.
    Replace,
    /// Rows with the same values of these columns go first.
    ByKey(Vec<String>),
}

/// A plan without its files.
pub(super) struct Job {
    table: TableLoad,
    from: Option<Watermark>,
    to: Watermark,
    columns: Vec<TableColumn>,
    reload: bool,
    /// What rows are looked for by, often enough for an index.
    index: Vec<Vec<String>>,
}

impl Job {
    /// Without steps it is a reload.
    pub(super) fn new(
        table: &TableLoad,
        from: Option<&Watermark>,
        to: &Watermark,
        steps: Option<&Vec<Step>>,
    ) -> Result<Self, Error> {
        ddl::check_target(&table.table)?;
        Ok(Job {
            table: table.clone(),
            from: from.cloned(),
            to: to.clone(),
            columns: schema::columns(&to.schema)?,
            reload: steps.is_none(),
            index: worth_an_index(steps.map_or(&[], Vec::as_slice)),
        })
    }

    /// Applies what comes through `inbox`, commits on [`Message::Done`], rolls back otherwise.
    pub(super) fn run(
        self,
        connection: &mut Connection,
        mut inbox: mpsc::Receiver<Message>,
    ) -> Result<LoadReport, Error> {
        // Immediate: the write lock first, so that the watermark read next cannot change any more.
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(at("waiting for another load to end"))?;
        let mut load = Load::begin(&self, &transaction)?;
        let mut report = LoadReport { version: self.to.version, reloaded: self.reload, ..LoadReport::default() };
        loop {
            match inbox.blocking_recv() {
                Some(Message::AddColumns(columns)) => load.add_columns(&columns)?,
                Some(Message::Forget(paths)) => load.forget(&paths)?,
                Some(Message::Delete { source, positions }) => {
                    report.rows_deleted += load.delete(&source, positions)?
                }
                Some(Message::Gone { frame, after_all }) => load.gone(frame, after_all)?,
                Some(Message::DeleteGone) => report.rows_deleted += load.delete_gone()?,
                Some(Message::Rows { file, frame, arrive }) => {
                    if let Arrive::ByKey(keys) = &arrive {
                        report.rows_deleted += load.delete_keys(&file, &frame, keys)?;
                    }
                    report.rows_inserted += load.insert(&file, frame, arrive == Arrive::Once)?;
                }
                Some(Message::Done) => break,
                None => return Err(Error::GivenUp),
            }
        }
        load.finish()?;
        transaction.commit().map_err(at("committing the load"))?;
        Ok(report)
    }
}

/// The open transaction of a [`Job`].
pub(super) struct Load<'a> {
    job: &'a Job,
    transaction: &'a Transaction<'a>,
    /// Where rows go: the table itself, or the new one of a reload.
    into: &'a str,
    insert: Option<Statement<'a>>,
    scratch: String,
}

impl<'a> Load<'a> {
    /// Checks that nobody moved the watermark and that the table is ours, and prepares the table.
    fn begin(job: &'a Job, transaction: &'a Transaction<'a>) -> Result<Self, Error> {
        let table = &job.table;
        let found = read_watermark(transaction, table)?;
        let place = |mark: &Option<Watermark>| mark.as_ref().map(|mark| (mark.table_id.clone(), mark.version));
        if place(&found) != place(&job.from) {
            return Err(Error::LostRace {
                source_table: table.source_table.clone(),
                expected: job.from.as_ref().map(|mark| mark.version),
                found: found.map(|mark| mark.version),
            });
        }
        if found.is_none() {
            if object_kind(transaction, &table.table).map_err(at("looking for the table"))?.is_some() {
                return Err(Error::TableTaken { table: table.table.clone(), source_table: table.source_table.clone() });
            }
            // What is left of a dataset that had this table before and was renamed.
            transaction
                .execute("DELETE FROM weir_watermark WHERE target = ?1", [&table.table])
                .map_err(at("dropping a stale watermark"))?;
        }
        let into = if job.reload { RELOAD_TABLE } else { table.table.as_str() };
        if job.reload {
            let create = ddl::create_table(into, &job.columns)?;
            transaction.execute_batch(&create).map_err(at("creating the new table"))?;
            transaction
                .execute("DELETE FROM weir_loaded_file WHERE source_table = ?1", [&table.source_table])
                .map_err(at("forgetting the old table's files"))?;
        }
        for (number, columns) in job.index.iter().enumerate() {
            let sql = ddl::create_index(&format!("weir_replace_{number}"), into, columns)?;
            transaction.execute_batch(&sql).map_err(at("indexing the rows to replace"))?;
        }
        Ok(Load { job, transaction, into, insert: None, scratch: String::new() })
    }

    pub(super) fn connection(&self) -> &Connection {
        self.transaction
    }

    /// Where rows go.
    pub(super) fn table(&self) -> &str {
        self.into
    }

    pub(super) fn columns(&self) -> &[TableColumn] {
        &self.job.columns
    }

    fn add_columns(&mut self, columns: &[TableColumn]) -> Result<(), Error> {
        for column in columns {
            let sql = ddl::add_column(self.into, column)?;
            self.transaction.execute_batch(&sql).map_err(at("adding a column"))?;
        }
        Ok(())
    }

    fn forget(&mut self, paths: &[String]) -> Result<(), Error> {
        let forget = || {
            let sql = "DELETE FROM weir_loaded_file WHERE source_table = ?1 AND path = ?2";
            let mut statement = self.transaction.prepare(sql)?;
            paths.iter().try_for_each(|path| statement.execute([&self.job.table.source_table, path]).map(drop))
        };
        forget().map_err(at("forgetting files"))
    }

    fn delete(&mut self, source: &str, positions: Option<(i64, i64)>) -> Result<u64, Error> {
        let sql = ddl::delete_source(self.into, positions.is_some())?;
        let deleted = match positions {
            Some((first, last)) => {
                let [one, several] = positions_of(&(first..=last));
                let bounds = params![source, one.start(), one.end(), several.start(), several.end()];
                self.transaction.execute(&sql, bounds)
            }
            None => self.transaction.execute(&sql, params![source]),
        };
        deleted.map(|rows| rows as u64).map_err(at("deleting a replaced source"))
    }

    /// Inserts the rows of `file`; with `once` only if it is not loaded yet. Returns how many.
    fn insert(&mut self, file: &DataFile, mut frame: DataFrame, once: bool) -> Result<u64, Error> {
        let rows = frame.height();
        if let Some(expected) = file.num_records
            && expected != rows as u64
        {
            return Err(Error::RowCount { path: file.path.clone(), expected, found: rows as u64 });
        }
        let is_new = self
            .transaction
            .execute(
                "INSERT OR IGNORE INTO weir_loaded_file (source_table, path) VALUES (?1, ?2)",
                [&self.job.table.source_table, &file.path],
            )
            .map_err(at("noting a loaded file"))?;
        if is_new == 0 && once {
            return Ok(0);
        }
        frame.rechunk_mut();
        let cells = cells(&frame, &self.job.columns, &file.path)?;
        let statement = match &mut self.insert {
            Some(statement) => statement,
            none => {
                let sql = ddl::insert(self.into, &self.job.columns)?;
                none.insert(self.transaction.prepare(&sql).map_err(at("preparing the insert"))?)
            }
        };
        for row in 0..rows {
            insert_row(statement, &cells, row, &mut self.scratch).map_err(|source| Error::Row {
                path: file.path.clone(),
                row,
                source,
            })?;
        }
        Ok(rows as u64)
    }

    /// Swaps in the new table of a reload and moves the watermark.
    fn finish(mut self) -> Result<(), Error> {
        self.insert = None; // a prepared statement would be prepared again after every change of the schema
        for number in 0..self.job.index.len() {
            let sql = format!("DROP INDEX weir_replace_{number}");
            self.transaction.execute_batch(&sql).map_err(at("dropping an index"))?;
        }
        if self.job.reload {
            self.swap()?;
        }
        let (table, to) = (&self.job.table, &self.job.to);
        let sql = "
            INSERT INTO weir_watermark (source_table, target, table_id, version, schema, run_id, updated_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
            ON CONFLICT (source_table) DO UPDATE SET
                target = excluded.target, table_id = excluded.table_id, version = excluded.version,
                schema = excluded.schema, run_id = excluded.run_id, updated_at = excluded.updated_at";
        let row = params![table.source_table, table.table, to.table_id, to.version, to.schema, table.run_id];
        self.transaction.execute(sql, row).map(drop).map_err(at("moving the watermark"))
    }

    /// Users' indexes and triggers go with the old table, so they are made again on the new one.
    fn swap(&self) -> Result<(), Error> {
        let sql = self.transaction;
        let list = || -> rusqlite::Result<Vec<(String, String)>> {
            let mut find = sql.prepare(
                "SELECT name, sql FROM sqlite_schema
                 WHERE tbl_name = ?1 COLLATE NOCASE AND type IN ('index', 'trigger') AND sql IS NOT NULL",
            )?;
            find.query_map([&self.job.table.table], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let extras = list().map_err(at("listing the table's indexes"))?;
        let name = ddl::quoted("table", &self.job.table.table)?;
        let rename = format!("DROP TABLE IF EXISTS {name}; ALTER TABLE {RELOAD_TABLE} RENAME TO {name};");
        sql.execute_batch(&rename).map_err(at("swapping in the reloaded table"))?;
        for (extra, definition) in extras {
            if let Err(error) = sql.execute_batch(&definition) {
                let table = &self.job.table.table;
                tracing::warn!(%table, %extra, %error, "an index or trigger does not fit the reloaded table and is gone");
            }
        }
        Ok(())
    }
}

/// What many steps of a plan look for rows by.
fn worth_an_index(steps: &[Step]) -> Vec<Vec<String>> {
    let lineage = || vec![SOURCE.to_owned(), SOURCE_POSITION.to_owned()];
    let mut sought: Vec<(Vec<String>, usize)> = Vec::new();
    for step in steps {
        let columns = match step {
            Step::ReplaceSource { .. } | Step::Rewrite { .. } => lineage(),
            Step::Upsert { keys, .. } => keys.clone(),
            Step::AddColumns(_) | Step::Append { .. } | Step::Forget { .. } => continue,
        };
        match sought.iter_mut().find(|(known, _)| *known == columns) {
            Some((_, times)) => *times += 1,
            None => sought.push((columns, 1)),
        }
    }
    sought.into_iter().filter(|(_, times)| *times >= REPLACES_WORTH_AN_INDEX).map(|(columns, _)| columns).collect()
}

pub(super) fn insert_row(
    statement: &mut Statement<'_>,
    cells: &[Cells<'_>],
    row: usize,
    scratch: &mut String,
) -> rusqlite::Result<()> {
    for (index, cell) in cells.iter().enumerate() {
        cell.bind(row, statement, index + 1, scratch)?;
    }
    statement.raw_execute().map(drop)
}
