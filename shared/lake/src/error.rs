use object_store::path::Path;

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The store did not answer or the race was lost too often: the same call may succeed later.
    Retryable,
    /// Somebody else changed what this rewrite wanted to change. Plan it anew.
    Conflict,
    /// The table is not one that Weir may write.
    Unsupported,
    /// The caller's frame or definition does not fit the table.
    Invalid,
    /// The log or a file cannot be read as what it should be.
    Corrupt,
}

/// What to do about a log that has lost a part of itself.
pub(crate) const RESTORE: &str = "restore the folder from a backup; or delete it whole: the table is then made anew, and blobs and \
                                  events have to be read again (`weir backfill`, `weir replay`)";

/// Errors of the lake. Messages name tables, files and columns, never values.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LakeError {
    #[error("table `{table}`: {action} {path}: {source}")]
    Store { table: String, action: &'static str, path: Path, source: Box<object_store::Error> },

    #[error("table `{table}`: {attempts} attempts to commit, and other writers won each; deliver the same input again")]
    Contended { table: String, attempts: u32 },

    #[error(
        "table `{table}`: the outcome of commit {version} is unknown ({source}); deliver the same input again, its transaction id tells"
    )]
    UnknownOutcome { table: String, version: i64, source: Box<object_store::Error> },

    #[error(
        "table `{table}`: file {path} was removed by a concurrent commit ({version}) while it was being rewritten; run the rewrite again"
    )]
    RewriteConflict { table: String, path: String, version: i64 },

    #[error(
        "table `{table}`: {feature}, which Weir does not write; move the dataset to a new table or remove the feature"
    )]
    UnsupportedTable { table: String, feature: String },

    #[error(
        "table `{table}`: the lease was taken over (fence {newer}, ours is {fence}); nothing was written, stop this work"
    )]
    LeaseLost { table: String, fence: i64, newer: i64 },

    #[error(
        "table `{table}`: {found}: its folder was deleted, restored or made anew while this process had it open; deliver the \
         same input again, the table that is there then is opened, or made where there is none"
    )]
    Replaced { table: String, found: String },

    #[error(
        "table `{table}`: {path}: the log begins at version {first} without a checkpoint: its folder was deleted while it was \
         being written to, or a part of it is lost. {RESTORE}"
    )]
    Headless { table: String, path: Path, first: i64 },

    #[error(
        "table `{table}`: its folder was deleted while it was being written to, and entries of the old table are left in its \
         log; the folder is used for the new table once they have stood for {seconds} s: deliver the same input again"
    )]
    Settling { table: String, seconds: u64 },

    #[error(
        "table `{table}`: this machine's clock is {seconds} s away from the store's, and what is deleted goes by age: nothing \
         was done; set the clock"
    )]
    Clock { table: String, seconds: i64 },

    #[error("table `{table}`: {message}")]
    Schema { table: String, message: String },

    #[error("table `{table}`: {path}: {message}")]
    Corrupt { table: String, path: String, message: String },

    #[error("table `{table}`: {action}: {source}")]
    Frame { table: String, action: &'static str, source: polars::error::PolarsError },

    #[error("table `{table}`: checkpoint of version {version}: {message}")]
    Checkpoint { table: String, version: i64, message: String },

    /// The commit that this proposal shared with others failed; the message is that of the common cause.
    #[error("{message}")]
    SharedCommit { kind: ErrorKind, message: String },

    #[error("table `{table}`: option `{option}`: {message}")]
    Option { table: String, option: &'static str, message: String },

    #[error("table `{table}`: the task that did the work was stopped")]
    Stopped { table: String },
}

impl LakeError {
    /// Whether a file that the log names is gone from the store (vacuumed).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Store { source, .. } if matches!(**source, object_store::Error::NotFound { .. }))
    }

    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store { .. }
            | Self::Contended { .. }
            | Self::UnknownOutcome { .. }
            | Self::Checkpoint { .. }
            | Self::Replaced { .. }
            | Self::Settling { .. }
            | Self::Clock { .. }
            | Self::Stopped { .. } => ErrorKind::Retryable,
            Self::RewriteConflict { .. } | Self::LeaseLost { .. } => ErrorKind::Conflict,
            Self::UnsupportedTable { .. } => ErrorKind::Unsupported,
            Self::Schema { .. } | Self::Frame { .. } | Self::Option { .. } => ErrorKind::Invalid,
            Self::Corrupt { .. } | Self::Headless { .. } => ErrorKind::Corrupt,
            Self::SharedCommit { kind, .. } => *kind,
        }
    }
}

/// Whether the store will say no again, however often it is asked.
pub(crate) fn is_final(refusal: &object_store::Error) -> bool {
    use object_store::Error;
    matches!(
        refusal,
        Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::InvalidPath { .. }
    )
}
