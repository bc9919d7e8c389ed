//! The warehouse holds exactly what the lake holds.
//!
//! Two halves. [`plan::plan`] is pure: from the Delta log since the last load it says what to append, replace, put in by
//! key, delete or reload. A [`Warehouse`] is a dialect that applies such a plan. Rows and watermark change in one transaction that
//! only starts from the watermark the plan was made for, so a load that crashes, races or is repeated leaves every
//! row there once.
//!
//! The table's columns are those of the Delta schema in the plan, not the contract's, so the warehouse cannot
//! disagree with the files it loads.
//!
//! ```text
//! watermark(table) ──▶ read the log since ──▶ plan(…) ──▶ apply(table, plan, reader) ──▶ again until Nothing
//! ```

mod error;
pub mod limits;
mod log;
pub mod plan;
pub mod schema;
pub mod serverless;
mod sqlite;
pub mod tsql;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use polars::prelude::DataFrame;

/// For implementors of the traits here.
pub use async_trait::async_trait;
pub use error::{Error, ErrorKind, ReadError};
use weir_contract::{Distribution, LongText, WarehouseIndex};

pub use verify::{ColumnDifference, PlaceDifference, Verified};

pub use plan::{DataFile, Limits, LogWindow, Plan, RawCommit, ReloadReason, Step, plan};

/// A warehouse that lake tables are loaded into.
#[async_trait]
pub trait Warehouse: Send + Sync + std::fmt::Debug {
    /// What the warehouse holds of this table; `None` when it was never loaded or its table is gone.
    async fn watermark(&self, table: &TableLoad) -> Result<Option<Watermark>, Error>;

    /// Applies `plan`; what readers see of it is one transaction: after an error nothing has changed for them. Dropping the
    /// future gives the load up; if it was committing just then it may still happen, in full, and the watermark tells.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when another loader was faster: plan again. [`ErrorKind::FileMissing`] when a file of
    /// the plan is gone: apply [`plan::reload`].
    async fn apply(&self, table: &TableLoad, plan: &Plan, reader: &dyn FileReader) -> Result<LoadReport, Error>;

    /// A reload that was begun and is not finished; [`Self::apply`] goes on with it, given a [`Plan::Reload`] from the same
    /// watermark to the same version. `None` in a warehouse that reloads in one go.
    async fn pending(&self, _table: &TableLoad) -> Result<Option<PendingReload>, Error> {
        Ok(None)
    }

    /// Begins the reload `plan` and leaves its files to later calls of [`Self::apply`]. False in a warehouse that reloads in
    /// one go.
    async fn begin_reload(&self, _table: &TableLoad, _plan: &Plan, _reader: &dyn FileReader) -> Result<bool, Error> {
        Ok(false)
    }

    /// Rows of the warehouse table; 0 before the first load.
    async fn row_count(&self, table: &TableLoad) -> Result<u64, Error>;

    /// Compares the warehouse table with the files of a snapshot, whose `schemaString` is `schema`. Reads all of both;
    /// in memory is one file at a time.
    async fn verify(
        &self,
        table: &TableLoad,
        schema: &str,
        files: &[DataFile],
        reader: &dyn FileReader,
    ) -> Result<Verified, Error>;
}

/// Entra tokens for the database, from whoever the app is.
#[async_trait]
pub trait AccessTokens: Send + Sync + std::fmt::Debug {
    async fn token(&self) -> Result<String, Box<dyn std::error::Error + Send + Sync>>;
}

/// The lake, as a load needs it.
#[async_trait]
pub trait FileReader: Send + Sync {
    /// All rows of `file` with the partition columns filled in. Columns are found by name; those the schema does not
    /// have are ignored, nullable ones that are absent count as null. Timestamps in microseconds.
    async fn read(&self, file: &DataFile) -> Result<DataFrame, ReadError>;

    /// `_source` and `_source_position` of all rows of `file`; more columns are ignored.
    async fn read_lineage(&self, file: &DataFile) -> Result<DataFrame, ReadError> {
        self.read(file).await
    }

    /// The columns that `file` has, in its own order, and its rows.
    async fn layout(&self, file: &DataFile) -> Result<FileLayout, ReadError>;

    /// The files of the table at `version`.
    async fn snapshot_files(&self, version: i64) -> Result<Vec<DataFile>, ReadError>;
}

/// What a data file's footer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLayout {
    pub columns: Vec<String>,
    pub rows: u64,
}

/// How a pool stores a table, and where it reads the lake. SQLite has no use for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Physical {
    pub distribution: Distribution,
    pub index: WarehouseIndex,
    /// What happens to values that are longer than their column.
    pub long_text: LongText,
    /// Characters of string columns (bytes in Fabric) that are not the most that there can be.
    pub text_lengths: Vec<(String, u32)>,
    /// Columns that queries look for rows by: partition and cluster columns.
    pub sought: Vec<String>,
    /// The table's folder as the pool knows it: `https://account.dfs.core.windows.net/container/folder`.
    pub files: Option<String>,
}

/// Which table is loaded into which, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableLoad {
    /// The lake's table: the key of its watermark.
    pub source_table: String,
    /// The warehouse's table, as the contract names it.
    pub table: String,
    /// Names this load in the warehouse's own state, so that a row there can be traced to an invocation.
    pub run_id: String,
    pub physical: Physical,
    /// After which whoever asked for the load gives it up, if ever: what it left may be dropped then. For pools.
    pub time_limit: Option<Duration>,
}

/// How far the warehouse has come with one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// Delta's table id: a table that is dropped and created again is another one.
    pub table_id: String,
    pub version: i64,
    /// Delta's `schemaString` at that version.
    pub schema: String,
}

impl Watermark {
    /// Of which table, and where in its log: what a plan begins from.
    pub fn place(&self) -> (&str, i64) {
        (&self.table_id, self.version)
    }
}

/// How far a reload is that takes several runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingReload {
    /// What the warehouse held when it began; held still, or the reload is void.
    pub from: Option<Watermark>,
    /// The version whose files are loaded.
    pub to: Watermark,
    pub files: usize,
    pub files_done: usize,
    pub bytes: u64,
    pub bytes_done: u64,
}

/// What a load did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// The lake version that the warehouse holds now.
    pub version: i64,
    pub rows_inserted: u64,
    /// By replaces, upserts and deletes; a reload counts none, it starts a new table.
    pub rows_deleted: u64,
    pub reloaded: bool,
}

/// Opens the warehouse at `url`: `sqlite:///absolute/path.db` (percent-encoded; created with its folders when absent, and when it is used first),
/// `synapse://host/pool` or `fabric://host/warehouse`, whose login is a token unless the address has a user.
///
/// # Errors
/// [`ErrorKind::Config`] for an address that is none. It is not repeated in the message, since it may carry credentials.
pub async fn open(url: &str, tokens: Option<Arc<dyn AccessTokens>>) -> Result<Box<dyn Warehouse>, Error> {
    const USE: &str = "use sqlite:///path, synapse://host/pool or fabric://host/warehouse";
    let (scheme, rest) = url.split_once("://").ok_or_else(|| Error::Url(format!("no scheme; {USE}")))?;
    match scheme {
        "sqlite" => Ok(Box::new(sqlite::Sqlite::open(rest)?)),
        "synapse" | "fabric" => Ok(Box::new(tsql::Pool::open(url, tokens)?)),
        _ => Err(Error::Url(format!("unknown scheme; {USE}"))),
    }
}
