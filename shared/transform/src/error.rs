//! Everything that can be wrong with a contract, a key or Polars itself. Bad *data* is never an error here: it ends in
//! quarantine with a reason.

use polars::prelude::PolarsError;

/// Why a transform could not be built or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransformError {
    /// A quality rule cannot be used.
    #[error("rule `{rule}` (line {line}): {problem}")]
    Rule { rule: String, line: usize, problem: String },
    /// The query of a derived table cannot be used, or does not give what the contract says.
    #[error("sql (line {line}): {problem}")]
    Query { line: usize, problem: String },
    /// The query failed on what the tables hold. Polars' own words may hold values.
    #[error(
        "sql (line {line}): the query failed on its data; a CAST that does not fit, or a value that is out of range"
    )]
    QueryData { line: usize, source: PolarsError },
    /// A column cannot be planned.
    #[error("column `{column}`: {problem}")]
    Column { column: String, problem: String },
    /// The contract's format cannot be decoded.
    #[error("format: {0}")]
    Format(String),
    /// A pseudonym is wanted and no key was given.
    #[error("column `{column}` is pseudonymised, but there is no key; set the pseudonym key (32 bytes)")]
    NoKey { column: String },
    /// The text of a key is not a key. The text itself is never repeated.
    #[error("pseudonym key: {0}; give 32 bytes as 64 hex digits or as base64")]
    Key(&'static str),
    /// A key that is no random one.
    #[error("pseudonym key: it repeats itself, so it could be guessed; make one with `weir key`")]
    WeakKey,
    /// The work was left in its middle.
    #[error("nobody waits for the records any more")]
    Stopped,
    /// The caller broke the calling convention.
    #[error("{0}")]
    Argument(&'static str),
    /// Polars refused an operation that the plan had made sure of. Its own words may hold values, so they are only in
    /// the source.
    #[error("polars refused a prepared operation; this is a defect")]
    Engine(#[from] PolarsError),
}

/// What to branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The contract has to be changed.
    Contract,
    /// The key is missing or malformed.
    Key,
    /// A defect of the program.
    Internal,
}

impl TransformError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Rule { .. } | Self::Query { .. } | Self::QueryData { .. } | Self::Column { .. } | Self::Format(_) => {
                ErrorKind::Contract
            }
            Self::NoKey { .. } | Self::Key(_) | Self::WeakKey => ErrorKind::Key,
            Self::Stopped | Self::Argument(_) | Self::Engine(_) => ErrorKind::Internal,
        }
    }

    pub(crate) fn column(column: &str, problem: impl Into<String>) -> Self {
        Self::Column { column: column.to_owned(), problem: problem.into() }
    }
}

pub(crate) type Result<T> = std::result::Result<T, TransformError>;
