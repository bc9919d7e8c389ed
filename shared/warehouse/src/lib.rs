//! The warehouse holds exactly what the lake holds.
//!
//! Two halves. [`plan::plan`] is pure: from the Delta log since the last load it says what to append, replace or
//! reload. A [`Warehouse`] is a dialect that applies such a plan. Rows and watermark change in one transaction that
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
mod log;
pub mod plan;
pub mod schema;
mod sqlite;

use polars::prelude::DataFrame;

/// For implementors of the traits here.
pub use async_trait::async_trait;
pub use error::{Error, ErrorKind, ReadError};
pub use plan::{DataFile, Limits, LogWindow, Plan, RawCommit, ReloadReason, Step, plan};

/// A warehouse that lake tables are loaded into.
#[async_trait]
pub trait Warehouse: Send + Sync + std::fmt::Debug {
    /// What the warehouse holds of this table; `None` when it was never loaded or its table is gone.
    async fn watermark(&self, table: &TableLoad) -> Result<Option<Watermark>, Error>;

    /// Applies `plan` as one transaction: after an error nothing has changed. Dropping the future gives the load up;
    /// if it was committing just then it may still happen, in full, and the watermark tells.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when another loader was faster: plan again. [`ErrorKind::FileMissing`] when a file of
    /// the plan is gone: apply [`plan::reload`].
    async fn apply(&self, table: &TableLoad, plan: &Plan, reader: &dyn FileReader) -> Result<LoadReport, Error>;

    /// Rows of the warehouse table; 0 before the first load.
    async fn row_count(&self, table: &TableLoad) -> Result<u64, Error>;
}

/// The lake, as a load needs it.
#[async_trait]
pub trait FileReader: Send + Sync {
    /// All rows of `file` with the partition columns filled in. Columns are found by name; those the schema does not
    /// have are ignored, nullable ones that are absent count as null. Timestamps in microseconds.
    async fn read(&self, file: &DataFile) -> Result<DataFrame, ReadError>;

    /// The files of the table at `version`.
    async fn snapshot_files(&self, version: i64) -> Result<Vec<DataFile>, ReadError>;
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

/// What a load did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// The lake version that the warehouse holds now.
    pub version: i64,
    pub rows_inserted: u64,
    /// By replaces; a reload counts none, it starts a new table.
    pub rows_deleted: u64,
    pub reloaded: bool,
}

/// Opens the warehouse at `url`: `sqlite:///absolute/path.db` (percent-encoded; created with its folders when absent).
///
/// # Errors
/// [`ErrorKind::Config`] for another scheme or a path that cannot be opened. The address is not repeated in the
/// message, since it may carry credentials.
pub async fn open(url: &str) -> Result<Box<dyn Warehouse>, Error> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| Error::Url("no scheme; use sqlite:///path".to_owned()))?;
    match scheme {
        "sqlite" => Ok(Box::new(sqlite::Sqlite::open(rest).await?)),
        "synapse" | "fabric" => Err(Error::Scheme(scheme.to_owned())),
        _ => Err(Error::Url("unknown scheme; use sqlite:///path".to_owned())),
    }
}
