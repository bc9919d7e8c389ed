//! One load of what the log says: a transaction fed with files. Blocking; runs on its own thread.

use polars::prelude::DataFrame;
use rusqlite::{Connection, Statement, Transaction, TransactionBehavior, params};
use tokio::sync::mpsc;
use weir_contract::{SOURCE, SOURCE_POSITION, TableColumn, positions_of};

use super::bind::{Cells, cells};
use super::reload::drop_reloads;
use super::{Writing, at, ddl, read_watermark};
use crate::{DataFile, Error, LoadReport, Step, TableLoad, Watermark, schema};

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
    from: Watermark,
    to: Watermark,
    columns: Vec<TableColumn>,
    /// What rows are looked for by, often enough for an index.
    index: Vec<Vec<String>>,
}

impl Job {
    pub(super) fn new(table: &TableLoad, from: &Watermark, to: &Watermark, steps: &[Step]) -> Result<Self, Error> {
        ddl::check_target(&table.table)?;
        let columns = schema::columns(&to.schema)?;
        ddl::check_columns(&columns)?;
        Ok(Job { table: table.clone(), from: from.clone(), to: to.clone(), columns, index: worth_an_index(steps) })
    }

    /// Applies what comes through `inbox`, commits on [`Message::Done`], rolls back otherwise.
    pub(super) fn run(
        self,
        connection: &mut Connection,
        writing: &Writing,
        mut inbox: mpsc::Receiver<Message>,
    ) -> Result<LoadReport, Error> {
        let _turn = writing.blocking_lock();
        // Immediate: the write lock first, so that the watermark read next cannot change any more.
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(at("waiting for another load to end"))?;
        let mut load = Load::begin(&self, &transaction)?;
        let mut report = LoadReport { version: self.to.version, ..LoadReport::default() };
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
    insert: Option<Statement<'a>>,
}

impl<'a> Load<'a> {
    /// Checks that nobody moved the watermark, and prepares the table.
    fn begin(job: &'a Job, transaction: &'a Transaction<'a>) -> Result<Self, Error> {
        let found = read_watermark(transaction, &job.table)?;
        if found.as_ref().map(Watermark::place) != Some(job.from.place()) {
            return Err(lost(&job.table, Some(&job.from), found.as_ref()));
        }
        for (number, columns) in job.index.iter().enumerate() {
            let sql = ddl::create_index(&format!("weir_replace_{number}"), &job.table.table, columns)?;
            transaction.execute_batch(&sql).map_err(at("indexing the rows to replace"))?;
        }
        Ok(Load { job, transaction, insert: None })
    }

    pub(super) fn connection(&self) -> &Connection {
        self.transaction
    }

    pub(super) fn table(&self) -> &str {
        &self.job.table.table
    }

    pub(super) fn columns(&self) -> &[TableColumn] {
        &self.job.columns
    }

    fn add_columns(&mut self, columns: &[TableColumn]) -> Result<(), Error> {
        for column in columns {
            let sql = ddl::add_column(self.table(), column)?;
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
        let sql = ddl::delete_source(self.table(), positions.is_some())?;
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
        check_rows(file, &frame)?;
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
        let statement = match &mut self.insert {
            Some(statement) => statement,
            none => {
                let sql = ddl::insert(&self.job.table.table, &self.job.columns)?;
                none.insert(self.transaction.prepare(&sql).map_err(at("preparing the insert"))?)
            }
        };
        insert_rows(statement, &frame, &self.job.columns, &file.path)
    }

    /// Moves the watermark.
    fn finish(mut self) -> Result<(), Error> {
        self.insert = None; // a prepared statement would be prepared again after every change of the schema
        for number in 0..self.job.index.len() {
            let sql = format!("DROP INDEX weir_replace_{number}");
            self.transaction.execute_batch(&sql).map_err(at("dropping an index"))?;
        }
        // A reload that was begun is void once the watermark moves.
        drop_reloads(self.transaction, &self.job.table)?;
        move_watermark(self.transaction, &self.job.table, &self.job.to)
    }
}

pub(super) fn move_watermark(transaction: &Transaction<'_>, table: &TableLoad, to: &Watermark) -> Result<(), Error> {
    let sql = "
        INSERT INTO weir_watermark (source_table, target, table_id, version, schema, run_id, updated_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
        ON CONFLICT (source_table) DO UPDATE SET
            target = excluded.target, table_id = excluded.table_id, version = excluded.version,
            schema = excluded.schema, run_id = excluded.run_id, updated_at = excluded.updated_at";
    let row = params![table.source_table, table.table, to.table_id, to.version, to.schema, table.run_id];
    transaction.execute(sql, row).map(drop).map_err(at("moving the watermark"))
}

pub(super) fn lost(table: &TableLoad, expected: Option<&Watermark>, found: Option<&Watermark>) -> Error {
    Error::LostRace {
        source_table: table.source_table.clone(),
        expected: expected.map(|mark| mark.version),
        found: found.map(|mark| mark.version),
    }
}

/// A file holds as many rows as the log says.
pub(super) fn check_rows(file: &DataFile, frame: &DataFrame) -> Result<(), Error> {
    let found = frame.height() as u64;
    match file.num_records {
        Some(expected) if expected != found => Err(Error::RowCount { path: file.path.clone(), expected, found }),
        _ => Ok(()),
    }
}

/// All rows of a frame that is in one piece.
pub(super) fn insert_rows(
    statement: &mut Statement<'_>,
    frame: &DataFrame,
    columns: &[TableColumn],
    path: &str,
) -> Result<u64, Error> {
    let cells = cells(frame, columns, path)?;
    let mut scratch = String::new();
    for row in 0..frame.height() {
        insert_row(statement, &cells, row, &mut scratch).map_err(|source| Error::Row {
            path: path.to_owned(),
            row,
            source,
        })?;
    }
    Ok(frame.height() as u64)
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

fn insert_row(
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
