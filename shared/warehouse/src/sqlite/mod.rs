//! The embedded warehouse: one SQLite file.
//!
//! Guarantee: rows, watermark and list of loaded files change in one transaction, which begins by checking that the
//! watermark is still the one the plan was made for. SQLite has one writer at a time, so that check is a
//! compare-and-set. A reload comes in parts that nobody sees before its last transaction (`reload.rs`).
//!
//! Types (tables are `STRICT`; user documentation in `ddl.rs`): integers and booleans `INTEGER`, floats `REAL`,
//! text, dates and timestamps `TEXT` in ISO 8601, binary `BLOB`, decimals so that values are exact and compare and
//! sum as numbers where SQLite can (see [`ddl::Storage`]).

mod bind;
mod ddl;
mod feed;
mod load;
mod reload;
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

use crate::{
    DataFile, Error, FileReader, LoadReport, PendingReload, Plan, TableLoad, Verified, Warehouse, Watermark, schema,
};
use load::Job;
use reload::Reload;

/// How long a loader waits for another one's transaction before it reports that the warehouse is busy.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The state beside the loaded tables. `weir_loaded_file` holds each path that is loaded and still in the lake's
/// table: a file that a confused writer logs twice is loaded once, however the log is cut into windows.
///
/// `weir_pending` are reloads that were begun, each with its files; their rows are in `weir_reload_<id>`.
const STATE: &str = "
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS weir_watermark (
        source_table TEXT PRIMARY KEY, target TEXT NOT NULL UNIQUE COLLATE NOCASE, table_id TEXT NOT NULL,
        version INTEGER NOT NULL, schema TEXT NOT NULL, run_id TEXT NOT NULL, updated_at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS weir_loaded_file (
        source_table TEXT NOT NULL, path TEXT NOT NULL, PRIMARY KEY (source_table, path)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS weir_pending (
        id INTEGER PRIMARY KEY AUTOINCREMENT, source_table TEXT NOT NULL UNIQUE,
        target TEXT NOT NULL UNIQUE COLLATE NOCASE, from_id TEXT, from_version INTEGER, table_id TEXT NOT NULL,
        version INTEGER NOT NULL, schema TEXT NOT NULL, run_id TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS weir_pending_file (
        pending INTEGER NOT NULL, number INTEGER NOT NULL, path TEXT NOT NULL, partition_values TEXT NOT NULL,
        rows INTEGER, bytes INTEGER NOT NULL, done INTEGER NOT NULL, PRIMARY KEY (pending, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS weir_format (format INTEGER NOT NULL) STRICT;
    INSERT INTO weir_format SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM weir_format);
    COMMIT;";
/// Of the state above. A file of a newer one is left alone.
const FORMAT: i64 = 1;

/// A warehouse file. Connections are opened per call: that costs well under a millisecond, and no broken one is kept.
#[derive(Debug, Clone)]
pub(crate) struct Sqlite {
    path: PathBuf,
    writing: Arc<Writing>,
}

/// Whose turn it is to write, in this process: SQLite itself lets a writer wait for a few seconds, and a load takes longer.
type Writing = tokio::sync::Mutex<()>;

impl Sqlite {
    /// `encoded` is the part of the address after `sqlite://`. The file is made, or found to be none, when it is used first.
    pub(crate) fn open(encoded: &str) -> Result<Self, Error> {
        let bad = |why: &str| Error::Url(format!("{why}; use sqlite:///absolute/path.db"));
        if encoded.contains(['?', '#']) {
            return Err(bad("a sqlite address takes no parameters"));
        }
        let path = percent_decode_str(encoded).decode_utf8().map_err(|_| bad("the path is not UTF-8"))?;
        if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
            return Err(bad("not the absolute path of a file"));
        }
        Ok(Sqlite { path: PathBuf::from(path.into_owned()), writing: Arc::default() })
    }

    fn connect(&self) -> Result<Connection, Error> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| Error::Folder { kind: error.kind() })?;
        }
        self.create_private();
        let connect = || -> rusqlite::Result<(Connection, Option<i64>)> {
            let connection = Connection::open(&self.path)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            // A power cut may undo the last commits, watermark included: the next load repeats them.
            connection.pragma_update(None, "synchronous", "normal")?;
            connection.pragma_update(None, "cache_size", -64 * 1024)?;
            // A user's view names the table, and must survive that a reload swaps it.
            connection.pragma_update(None, "legacy_alter_table", true)?;
            let format = match object_kind(&connection, "weir_format")? {
                Some(_) => connection.query_row("SELECT format FROM weir_format", [], |row| row.get(0)).optional()?,
                None => None,
            };
            Ok((connection, format))
        };
        let (connection, format) = connect().map_err(at("opening the warehouse"))?;
        match format {
            Some(FORMAT) => {}
            Some(found) if found > FORMAT => return Err(Error::Format { found, known: FORMAT }),
            _ => {
                // WAL: readers see the old rows until the load commits. The mode stays in the file.
                set_wal(&connection).map_err(at("setting the journal mode"))?;
                connection.execute_batch(STATE).map_err(at("creating the state tables"))?;
            }
        }
        Ok(connection)
    }

    /// Makes a file that is not there, for this user alone: SQLite gives its mode to the files beside it. What stands in the
    /// way shows when it is opened.
    fn create_private(&self) {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        drop(options.open(&self.path));
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Sqlite) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let warehouse = self.clone();
        // A join error is a panic in `work` or a runtime that shuts down; either way the transaction is gone.
        tokio::task::spawn_blocking(move || work(&warehouse)).await.unwrap_or(Err(Error::GivenUp))
    }

    /// The number of this reload, begun now if it was not.
    async fn begun(&self, reload: &Reload, version: i64, reader: &dyn FileReader) -> Result<i64, Error> {
        let own = reload.clone();
        if let Some(id) = self.blocking(move |warehouse| own.find(&warehouse.connect()?)).await? {
            return Ok(id);
        }
        let files = reader.snapshot_files(version).await.map_err(|error| error.at("_delta_log"))?;
        let own = reload.clone();
        self.blocking(move |warehouse| {
            let _turn = warehouse.writing.blocking_lock();
            own.begin(&mut warehouse.connect()?, &files)
        })
        .await
    }
}

#[async_trait]
impl Warehouse for Sqlite {
    async fn watermark(&self, table: &TableLoad) -> Result<Option<Watermark>, Error> {
        let table = table.clone();
        self.blocking(move |warehouse| read_watermark(&warehouse.connect()?, &table)).await
    }

    async fn apply(&self, table: &TableLoad, plan: &Plan, reader: &dyn FileReader) -> Result<LoadReport, Error> {
        match plan {
            Plan::Nothing { version } => Ok(LoadReport { version: *version, ..LoadReport::default() }),
            Plan::Load { from, to, steps } => {
                let job = Job::new(table, from, to, steps)?;
                // Capacity 1: the next file is read while one is inserted, and never more than two are in memory. The
                // worker commits only on `Done`; if this future is dropped the channel closes and it rolls back.
                let (feed, inbox) = mpsc::channel(1);
                let worker =
                    self.blocking(move |warehouse| job.run(&mut warehouse.connect()?, &warehouse.writing, inbox));
                fed(worker, feed::steps(steps, reader, feed)).await
            }
            Plan::Reload { from, to, .. } => {
                let reload = Reload::new(table, from.as_ref(), to)?;
                let id = self.begun(&reload, to.version, reader).await?;
                let left = self.blocking(move |warehouse| Reload::left(&warehouse.connect()?, id)).await?;
                let (feed, inbox) = mpsc::channel(1);
                let worker = self
                    .blocking(move |warehouse| reload.run(&mut warehouse.connect()?, id, &warehouse.writing, inbox));
                fed(worker, feed::files(left, reader, feed)).await
            }
        }
    }

    async fn pending(&self, table: &TableLoad) -> Result<Option<PendingReload>, Error> {
        let table = table.clone();
        let found = self.blocking(move |warehouse| reload::read(&warehouse.connect()?, &table)).await?;
        Ok(found.map(|(_, pending)| pending))
    }

    async fn begin_reload(&self, table: &TableLoad, plan: &Plan, reader: &dyn FileReader) -> Result<bool, Error> {
        let Plan::Reload { from, to, .. } = plan else { return Ok(false) };
        self.begun(&Reload::new(table, from.as_ref(), to)?, to.version, reader).await.map(|_| true)
    }

    async fn verify(
        &self,
        table: &TableLoad,
        schema: &str,
        files: &[DataFile],
        reader: &dyn FileReader,
    ) -> Result<Verified, Error> {
        verify::verify(self, table, schema::columns(schema)?.into(), files, reader).await
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

/// What the worker makes of what it is fed.
async fn fed(
    worker: impl Future<Output = Result<LoadReport, Error>>,
    feed: impl Future<Output = Result<(), Error>>,
) -> Result<LoadReport, Error> {
    tokio::pin!(worker);
    tokio::select! {
        biased;
        // Committed, or failed in a way that makes further reads useless.
        done = &mut worker => done,
        fed = feed => {
            let done = worker.await;
            fed.and(done)
        }
    }
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
