//! One error for the crate. Messages name tables, columns, files and positions, never values.

use std::error::Error as StdError;

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A setting or a contract is wrong; a person has to change it.
    Config,
    /// The log, a data file or the warehouse holds what it must not; retrying gives the same.
    Corrupt,
    /// Another loader moved the table on; read the watermark again and make a new plan.
    Conflict,
    /// A data file of the plan is gone (vacuumed): load with [`crate::plan::reload`].
    FileMissing,
    /// The warehouse or the lake did not answer, or the load was given up; the same plan may be tried again.
    Unavailable,
}

/// Why a load was not planned or not applied. The warehouse is unchanged after any of them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("warehouse address: {0}")]
    Url(String),
    #[error(
        "warehouse scheme `{0}`: this version loads only sqlite:///path; the synapse:// and fabric:// dialects come \
         with the warehouse issue"
    )]
    Scheme(String),
    #[error("{what} name of {bytes} bytes is refused: {why}")]
    Name { what: &'static str, bytes: usize, why: &'static str },
    #[error("table schema: {0}")]
    Schema(String),
    #[error("commit {version}, line {line} of the delta log: {detail}")]
    Log { version: i64, line: usize, detail: String },
    #[error(
        "warehouse table `{table}` exists but was not loaded from `{source_table}`; drop or rename it, or give the \
         contract another table"
    )]
    TableTaken { table: String, source_table: String },
    #[error("another loader moved `{source_table}` from version {expected:?} to {found:?}; plan again from there")]
    LostRace { source_table: String, expected: Option<i64>, found: Option<i64> },
    #[error("data file `{path}` is gone from the lake; the table has to be reloaded")]
    FileMissing { path: String },
    #[error("reading `{path}` from the lake")]
    Read { path: String, source: Box<dyn StdError + Send + Sync> },
    #[error("data file `{path}` has {found} rows where the log says {expected}")]
    RowCount { path: String, expected: u64, found: u64 },
    #[error("data file `{path}`, column `{column}`: {detail}")]
    Column { path: String, column: String, detail: String },
    #[error("data file `{path}`, row {row}")]
    Row { path: String, row: usize, source: rusqlite::Error },
    #[error("the load was given up before its last file; nothing was changed")]
    GivenUp,
    #[error("{context}")]
    Sqlite { context: String, source: rusqlite::Error },
}

impl Error {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Url(_) | Error::Scheme(_) | Error::Name { .. } | Error::TableTaken { .. } => ErrorKind::Config,
            Error::Schema(_) | Error::Log { .. } | Error::RowCount { .. } | Error::Column { .. } => ErrorKind::Corrupt,
            Error::LostRace { .. } => ErrorKind::Conflict,
            Error::FileMissing { .. } => ErrorKind::FileMissing,
            Error::Read { .. } | Error::GivenUp => ErrorKind::Unavailable,
            Error::Row { source, .. } | Error::Sqlite { source, .. } => sqlite_kind(source),
        }
    }

    /// Whether trying again, after a new plan, may succeed without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), ErrorKind::Conflict | ErrorKind::FileMissing | ErrorKind::Unavailable)
    }
}

/// Values that SQLite refuses stay refused; locks, full disks and I/O errors pass.
fn sqlite_kind(error: &rusqlite::Error) -> ErrorKind {
    use rusqlite::ErrorCode as Code;
    match error.sqlite_error_code() {
        Some(Code::CannotOpen | Code::ReadOnly | Code::PermissionDenied | Code::AuthorizationForStatementDenied) => {
            ErrorKind::Config
        }
        Some(
            Code::ConstraintViolation
            | Code::TypeMismatch
            | Code::TooBig
            | Code::DatabaseCorrupt
            | Code::NotADatabase
            | Code::Unknown,
        )
        | None => ErrorKind::Corrupt,
        Some(_) => ErrorKind::Unavailable,
    }
}

/// Why a [`crate::FileReader`] could not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the file is gone")]
    NotFound,
    #[error("{0}")]
    Other(#[from] Box<dyn StdError + Send + Sync>),
}

impl ReadError {
    pub(crate) fn at(self, path: &str) -> Error {
        match self {
            ReadError::NotFound => Error::FileMissing { path: path.to_owned() },
            ReadError::Other(source) => Error::Read { path: path.to_owned(), source },
        }
    }
}
