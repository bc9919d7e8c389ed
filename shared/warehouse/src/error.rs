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
    #[error("data file `{path}`, row {row}: {}", sqlite_says(source))]
    Row { path: String, row: usize, source: rusqlite::Error },
    #[error("the load was given up before its last file; nobody sees anything of it")]
    GivenUp,
    #[error("the warehouse file is of format {found}, made by a newer weir; this one knows format {known}: update it")]
    Format { found: i64, known: i64 },
    #[error("the folder of the warehouse file cannot be made: {kind}")]
    Folder { kind: std::io::ErrorKind },
    #[error("two columns are both called `{column}`, but for upper and lower case: a warehouse cannot have both")]
    SameName { column: String },
    #[error(
        "column `{column}` of {table} is too short for {rows} values: raise its `text_lengths` in the contract's \
         [warehouse] and drop the table, which is loaded anew then; or have them cut with `long_text = \"truncate\"`"
    )]
    TooLong { table: String, column: String, rows: u64 },
    #[error("{files} files gave {found} rows in the pool where their footers say {expected}; nothing was loaded")]
    Staged { files: usize, expected: u64, found: u64 },
    #[error("the pool cannot reach the lake: WEIR_LAKE_URL must be in Azure storage (abfss:// or https://)")]
    NotReachable,
    #[error("the address of the pool names no user, and there is no identity to sign in with")]
    NoIdentity,
    #[error("no token for the database: {0}")]
    Token(#[source] Box<dyn StdError + Send + Sync>),
    #[error("{doing}: the pool's answer is not what was asked for")]
    Answer { doing: &'static str },
    #[error("{doing}: no answer within {seconds} s")]
    TimedOut { doing: &'static str, seconds: u64 },
    #[error("{doing}: the pool says {number}: {detail}")]
    Server { doing: &'static str, number: i32, detail: String },
    #[error("{doing}: {}", driver_says(source))]
    Tds { doing: &'static str, source: Box<mssql_client::Error> },
    #[error("{context}: {}", sqlite_says(source))]
    Sqlite { context: String, source: rusqlite::Error },
}

impl Error {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Url(_)
            | Error::Format { .. }
            | Error::Folder { .. }
            | Error::Name { .. }
            | Error::TableTaken { .. }
            | Error::SameName { .. }
            | Error::TooLong { .. }
            | Error::NotReachable
            | Error::NoIdentity => ErrorKind::Config,
            Error::Schema(_)
            | Error::Log { .. }
            | Error::RowCount { .. }
            | Error::Column { .. }
            | Error::Staged { .. }
            | Error::Answer { .. } => ErrorKind::Corrupt,
            Error::LostRace { .. } => ErrorKind::Conflict,
            Error::FileMissing { .. } => ErrorKind::FileMissing,
            Error::Read { .. } | Error::GivenUp | Error::Token(_) | Error::TimedOut { .. } => ErrorKind::Unavailable,
            Error::Server { number, .. } => server_kind(*number),
            Error::Tds { source, .. } if matches!(**source, mssql_client::Error::Config(_)) => ErrorKind::Config,
            // A server that cannot prove who it is does not become another one by waiting.
            Error::Tds { source, .. } if is_about_certificate(source) => ErrorKind::Config,
            Error::Tds { .. } => ErrorKind::Unavailable,
            Error::Row { source, .. } | Error::Sqlite { source, .. } => sqlite_kind(source),
        }
    }

    /// What the driver says, without the text where that may hold a value of a row.
    pub(crate) fn tds(doing: &'static str, source: mssql_client::Error) -> Self {
        match source {
            mssql_client::Error::Server { number, message, .. } => {
                let hint = hint(number);
                let detail = match (hint.is_empty(), is_about_statements(number)) {
                    (_, true) => format!("{message}{hint}"),
                    (false, false) => hint.trim_start_matches("; ").to_owned(),
                    (true, false) => "its text may hold values and stands in the pool's own log".to_owned(),
                };
                Self::Server { doing, number, detail }
            }
            source => Self::Tds { doing, source: Box::new(source) },
        }
    }

    /// Whether trying again, after a new plan, may succeed without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), ErrorKind::Conflict | ErrorKind::FileMissing | ErrorKind::Unavailable)
    }
}

fn is_about_certificate(source: &mssql_client::Error) -> bool {
    matches!(source, mssql_client::Error::Tls(error) if error.to_string().contains("certificate"))
}

/// What happened to the connection. What the driver could not make of an answer may hold a value.
fn driver_says(source: &mssql_client::Error) -> String {
    use mssql_client::Error as Driver;
    match source {
        tls if is_about_certificate(tls) => {
            format!("{tls}; is the address right, and does this machine have the usual root certificates?")
        }
        Driver::Connection(_)
        | Driver::ConnectionClosed
        | Driver::Authentication(_)
        | Driver::Tls(_)
        | Driver::ConnectTimeout { .. }
        | Driver::TlsTimeout { .. }
        | Driver::LoginTimeout { .. }
        | Driver::TooManyRedirects { .. }
        | Driver::Io(_)
        | Driver::Config(_) => source.to_string(),
        _ => "the answer could not be read".to_owned(),
    }
}

/// Pools that sleep, move, are full or are being changed; deadlocks and locks. All of these pass.
fn server_kind(number: i32) -> ErrorKind {
    match number {
        1204 | 1205 | 1222 | 4060 | 10053 | 10054 | 10060 | 10928 | 10929 | 40143 | 40197 | 40501 | 40540 | 40613
        | 42108 | 42109 | 42119 | 49918 | 49919 | 49920 => ErrorKind::Unavailable,
        // Two transactions changed one table at the same time: the other one has won.
        3960 | 24_556 | 24_706 => ErrorKind::Conflict,
        _ => ErrorKind::Config,
    }
}

/// What to do, for what happens often.
fn hint(number: i32) -> &'static str {
    match number {
        42108 => "; the pool is paused: resume it, loading goes on from where it was",
        42109 | 42119 => "; the pool is resuming or scaling: loading goes on by itself",
        10928 | 10929 | 40501 | 49918..=49920 => "; the pool has no room for more: loading goes on by itself",
        40143 | 40197 | 40540 | 40613 => "; the pool is not available just now: loading goes on by itself",
        40615 | 40914 | 47073 => "; the server's firewall does not let this address in",
        // What the documentation of Parquet's way into a pool calls any value or type that does not fit.
        106_000 => {
            "; a file does not fit its table: most likely it was written by another program, with other types or with a \
             value that T-SQL has no place for (NaN, infinity, a year outside 1 to 9999); correct it in the lake"
        }
        18456 => "; create a user for the app's identity (CREATE USER … FROM EXTERNAL PROVIDER)",
        229 | 262 | 15151 | 15247 => {
            "; the app's user needs CREATE TABLE, ALTER on its schemas, INSERT, SELECT, UPDATE, DELETE and ADMINISTER \
             DATABASE BULK OPERATIONS"
        }
        _ => "",
    }
}

/// Errors about the statement, its objects, rights and files: their texts name those, never values.
fn is_about_statements(number: i32) -> bool {
    match number {
        220 | 232 | 235 | 236 | 241 | 242 | 244 | 245 | 248 => false,
        100..=350 | 911..=916 | 1204 | 1205 | 1222 | 2714 | 3701..=3705 | 4060 | 15151 | 15247 | 18456 => true,
        40_000..=42_999 | 49_918..=49_920 | 103_000..=105_999 => true,
        _ => false,
    }
}

/// What is wrong and what to do. SQLite's own texts name tables and columns, never values.
fn sqlite_says(error: &rusqlite::Error) -> String {
    use rusqlite::ErrorCode as Code;
    let says = match error.sqlite_error_code() {
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => {
            "another program holds the warehouse file; the load goes on when it lets go"
        }
        Some(Code::ReadOnly | Code::PermissionDenied) => "the app may not write the warehouse file, or in its folder",
        Some(Code::CannotOpen) => {
            "the warehouse file cannot be opened; is its path a file's, and may the app write there?"
        }
        Some(Code::DiskFull) => {
            "the disk of the warehouse file is full; make room, and the load goes on from where it was"
        }
        Some(Code::SystemIoFailure) => {
            "the disk of the warehouse file fails, or is full; when it works again, the load goes on from where it was"
        }
        Some(Code::DatabaseCorrupt | Code::NotADatabase) => {
            "the warehouse file is damaged, or no SQLite database: move it away, and the next load brings all tables anew"
        }
        _ => return error.to_string(),
    };
    says.to_owned()
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
