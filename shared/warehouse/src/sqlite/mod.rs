//! The embedded warehouse: one SQLite file.
//!
//! Guarantee: rows, watermark and list of loaded files change in one transaction, which begins by checking that the
//! watermark is still the one the plan was made for. SQLite has one writer at a time, so that check is a
//! compare-and-set.
//!
//! Types (tables are `STRICT`; user documentation in `ddl.rs`): integers and booleans `INTEGER`, floats `REAL`,
//! text, dates and timestamps `TEXT` in ISO 8601, binary `BLOB`, decimals so that values are exact and compare and
//! sum as numbers where SQLite can (see [`ddl::Storage`]).

mod bind;
mod ddl;
mod load;
mod temporary;
pub(crate) mod text;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use percent_encoding::percent_decode_str;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use tokio::sync::mpsc;

use crate::verify::Summary;
use crate::{
    ColumnDifference, DataFile, Error, FileReader, LoadReport, Plan, Step, TableLoad, Verified, Warehouse, Watermark,
    schema,
};
use load::{Arrive, Job, Message};

/// How long a loader waits for another one's transaction before it reports that the warehouse is busy.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The state beside the loaded tables. `weir_loaded_file` holds each path that is loaded and still in the lake's
/// table: a file that a confused writer logs twice is loaded once, however the log is cut into windows.
const STATE: &str = "
    CREATE TABLE IF NOT EXISTS weir_watermark (
        source_table TEXT PRIMARY KEY, target TEXT NOT NULL UNIQUE COLLATE NOCASE, table_id TEXT NOT NULL,
        version INTEGER NOT NULL, schema TEXT NOT NULL, run_id TEXT NOT NULL, updated_at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS weir_loaded_file (
        source_table TEXT NOT NULL, path TEXT NOT NULL, PRIMARY KEY (source_table, path)
    ) STRICT, WITHOUT ROWID;";

/// A warehouse file. Connections are opened per call: that costs well under a millisecond, and no broken one is kept.
#[derive(Debug, Clone)]
pub(crate) struct Sqlite {
    path: PathBuf,
}

impl Sqlite {
    /// `encoded` is the part of the address after `sqlite://`.
    pub(crate) async fn open(encoded: &str) -> Result<Self, Error> {
        let bad = |why: &str| Error::Url(format!("{why}; use sqlite:///absolute/path.db"));
        if encoded.contains(['?', '#']) {
            return Err(bad("a sqlite address takes no parameters"));
        }
        let path = percent_decode_str(encoded).decode_utf8().map_err(|_| bad("the path is not UTF-8"))?;
        if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
            return Err(bad("not the absolute path of a file"));
        }
        let warehouse = Sqlite { path: PathBuf::from(path.into_owned()) };
        warehouse.blocking(|warehouse| warehouse.create()).await?;
        Ok(warehouse)
    }

    fn create(&self) -> Result<(), Error> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| Error::Url(format!("cannot create its folder: {error}")))?;
        }
        let connection = self.connect()?;
        // WAL: readers see the old rows until the load commits. The mode stays in the file.
        set_wal(&connection).map_err(at("setting the journal mode"))?;
        connection.execute_batch(STATE).map_err(at("creating the state tables"))
    }

    fn connect(&self) -> Result<Connection, Error> {
        let connect = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(&self.path)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            // A power cut may undo the last commits, watermark included: the next load repeats them.
            connection.pragma_update(None, "synchronous", "normal")?;
            connection.pragma_update(None, "cache_size", -64 * 1024)?;
            // A user's view names the table, and must survive that a reload swaps it.
            connection.pragma_update(None, "legacy_alter_table", true)?;
            Ok(connection)
        };
        connect().map_err(at("opening the warehouse"))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Sqlite) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let warehouse = self.clone();
        // A join error is a panic in `work` or a runtime that shuts down; either way the transaction is gone.
        tokio::task::spawn_blocking(move || work(&warehouse)).await.unwrap_or(Err(Error::GivenUp))
    }
}

#[async_trait]
impl Warehouse for Sqlite {
    async fn watermark(&self, table: &TableLoad) -> Result<Option<Watermark>, Error> {
        let table = table.clone();
        self.blocking(move |warehouse| read_watermark(&warehouse.connect()?, &table)).await
    }

    async fn apply(&self, table: &TableLoad, plan: &Plan, reader: &dyn FileReader) -> Result<LoadReport, Error> {
        let job = match plan {
            Plan::Nothing { version } => return Ok(LoadReport { version: *version, ..LoadReport::default() }),
            Plan::Load { from, to, steps } => Job::new(table, Some(from), to, Some(steps))?,
            Plan::Reload { from, to, .. } => Job::new(table, from.as_ref(), to, None)?,
        };
        // Capacity 1: the next file is read while one is inserted, and never more than two are in memory. The worker
        // commits only on `Done`; if this future is dropped the channel closes and it rolls back.
        let (feed, inbox) = mpsc::channel(1);
        let worker = self.blocking(move |warehouse| job.run(&mut warehouse.connect()?, inbox));
        tokio::pin!(worker);
        tokio::select! {
            biased;
            // Committed, or failed in a way that makes further reads useless.
            done = &mut worker => done,
            fed = feed_plan(plan, reader, feed) => {
                let done = worker.await;
                fed.and(done)
            }
        }
    }

    async fn verify(
        &self,
        table: &TableLoad,
        schema: &str,
        files: &[DataFile],
        reader: &dyn FileReader,
    ) -> Result<Verified, Error> {
        let columns = Arc::new(schema::columns(schema)?);
        let (name, own) = (table.table.clone(), Arc::clone(&columns));
        let (warehouse_rows, there) = self
            .blocking(move |warehouse| {
                let connection = warehouse.connect()?;
                match object_kind(&connection, &name).map_err(at("looking for the table"))? {
                    Some(_) => verify::of_table(&connection, &name, &own),
                    None => Ok((0, vec![Summary::default(); own.len()])),
                }
            })
            .await?;
        let (mut lake_rows, mut lake) = (0, vec![Summary::default(); columns.len()]);
        for file in files {
            let frame = reader.read(file).await.map_err(|error| error.at(&file.path))?;
            let (file, own) = (file.clone(), Arc::clone(&columns));
            let summed = self.blocking(move |warehouse| {
                let rows = verify::add_file(&warehouse.connect()?, &file, &frame, &own, &mut lake)?;
                Ok((rows, lake))
            });
            let (rows, summaries) = summed.await?;
            (lake_rows, lake) = (lake_rows + rows, summaries);
        }
        let pairs = columns.iter().zip(lake.iter().zip(&there)).filter(|(_, (lake, there))| lake != there);
        let differing = pairs.map(|(column, (lake, there))| ColumnDifference {
            column: column.name.clone(),
            lake_values: lake.values,
            warehouse_values: there.values,
        });
        Ok(Verified { lake_rows, warehouse_rows, differing: differing.collect(), counted_only: Vec::new() })
    }

    async fn row_count(&self, table: &TableLoad) -> Result<u64, Error> {
        let table = table.clone();
        self.blocking(move |warehouse| {
            let connection = warehouse.connect()?;
            if object_kind(&connection, &table.table).map_err(at("looking for the table"))?.is_none() {
                return Ok(0);
            }
            let sql = format!("SELECT count(*) FROM {}", ddl::quoted("table", &table.table)?);
            let rows: i64 = connection.query_row(&sql, [], |row| row.get(0)).map_err(at("counting rows"))?;
            Ok(rows.unsigned_abs())
        })
        .await
    }
}

/// Reads the plan's files in order and hands them to the worker. `Ok` also when the worker is gone: it says why.
async fn feed_plan(plan: &Plan, reader: &dyn FileReader, feed: mpsc::Sender<Message>) -> Result<(), Error> {
    let (steps, snapshot);
    match plan {
        Plan::Nothing { .. } => return Ok(()),
        Plan::Load { steps: planned, .. } => steps = planned.as_slice(),
        Plan::Reload { to, .. } => {
            let files = reader.snapshot_files(to.version).await.map_err(|error| error.at("_delta_log"))?;
            snapshot = [Step::Append { files }];
            steps = snapshot.as_slice();
        }
    }
    for step in steps {
        if !feed_step(step, reader, &feed).await? {
            return Ok(());
        }
    }
    let _ = feed.send(Message::Done).await;
    Ok(())
}

/// False when the worker is gone.
async fn feed_step(step: &Step, reader: &dyn FileReader, feed: &mpsc::Sender<Message>) -> Result<bool, Error> {
    let (order, files, arrive) = match step {
        Step::AddColumns(columns) => (Message::AddColumns(columns.clone()), [].as_slice(), Arrive::Once),
        Step::Forget { paths } => (Message::Forget(paths.clone()), [].as_slice(), Arrive::Once),
        Step::Append { files } => (Message::AddColumns(Vec::new()), files.as_slice(), Arrive::Once),
        Step::ReplaceSource { source, positions, files } => {
            (Message::Delete { source: source.clone(), positions: *positions }, files.as_slice(), Arrive::Replace)
        }
        Step::Upsert { keys, files } => {
            (Message::AddColumns(Vec::new()), files.as_slice(), Arrive::ByKey(keys.clone()))
        }
        Step::Rewrite { removed, kept, files } => {
            for (files, after_all) in [(removed, false), (kept, true), (files, false)] {
                for file in files {
                    let Ok(place) = feed.reserve().await else { return Ok(false) };
                    let frame = reader.read_lineage(file).await.map_err(|error| error.at(&file.path))?;
                    place.send(Message::Gone { frame, after_all });
                }
            }
            (Message::DeleteGone, files.as_slice(), Arrive::Replace)
        }
    };
    if feed.send(order).await.is_err() {
        return Ok(false);
    }
    for file in files {
        // A place in the channel first, so that a frame never waits in memory beside two others.
        let Ok(place) = feed.reserve().await else { return Ok(false) };
        let frame = reader.read(file).await.map_err(|error| error.at(&file.path))?;
        place.send(Message::Rows { file: file.clone(), frame, arrive: arrive.clone() });
    }
    Ok(true)
}

/// `None` also when the loaded table is gone or the contract names another one now: then everything is loaded anew.
fn read_watermark(connection: &Connection, table: &TableLoad) -> Result<Option<Watermark>, Error> {
    let read = || -> rusqlite::Result<Option<Watermark>> {
        if object_kind(connection, &table.table)?.as_deref() != Some("table") {
            return Ok(None);
        }
        connection
            .query_row(
                "SELECT table_id, version, schema FROM weir_watermark WHERE source_table = ?1 AND target = ?2",
                params![table.source_table, table.table],
                |row| Ok(Watermark { table_id: row.get(0)?, version: row.get(1)?, schema: row.get(2)? }),
            )
            .optional()
    };
    read().map_err(at("reading the watermark"))
}

/// `table`, `view`, `index` …, or nothing of this name. SQLite compares names without regard to ASCII case.
fn object_kind(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection
        .query_row("SELECT type FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE", [name], |row| row.get(0))
        .optional()
}

/// For `map_err`: what was being done when SQLite failed.
fn at(context: &str) -> impl FnOnce(rusqlite::Error) -> Error + '_ {
    move |source| Error::Sqlite { context: context.to_owned(), source }
}

/// SQLite does not wait for the lock that this change needs, so that processes which start together fail here.
fn set_wal(connection: &Connection) -> rusqlite::Result<()> {
    let began = std::time::Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "wal") {
            Err(error) if is_busy(&error) && began.elapsed() < BUSY_TIMEOUT => {
                std::thread::sleep(Duration::from_millis(10));
            }
            done => return done,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
