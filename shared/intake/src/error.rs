use object_store::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The blob is not there (any more): nothing can be read, a retry does not help.
    Gone,
    /// The blob was overwritten; the event of the newer version brings the newer content.
    Changed,
    /// The store did not answer, or not as it should: the same call may succeed later.
    Retryable,
    /// The local disk refused.
    Local,
    /// The caller asks for what this blob does not have; it has to ask [`crate::Blob::probe`] first.
    Misuse,
}

/// Errors of reading a blob. None is about the content: content that is no record is a [`crate::Piece::Refused`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IntakeError {
    #[error("blob {path}: not found; it was deleted before it was read")]
    Gone { path: Path },
    #[error("blob {path}: has another etag than the event; it was overwritten before it was read")]
    Changed { path: Path },
    #[error("blob {path}: read: {source}")]
    Store { path: Path, source: object_store::Error },
    #[error("blob {path}: read: {problem}")]
    Unfit { path: Path, problem: &'static str },
    #[error("blob {path}: spill to a local file: {source}")]
    Spill { path: Path, source: std::io::Error },
    #[error("blob {path}: it has no parts: only plain UTF-8 lines have")]
    NoParts { path: Path },
    #[error("blob {path}: the task that read it was stopped")]
    Stopped { path: Path },
}

impl IntakeError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Gone { .. } => ErrorKind::Gone,
            Self::Changed { .. } => ErrorKind::Changed,
            Self::Store { .. } | Self::Unfit { .. } | Self::Stopped { .. } => ErrorKind::Retryable,
            Self::Spill { .. } => ErrorKind::Local,
            Self::NoParts { .. } => ErrorKind::Misuse,
        }
    }
}
