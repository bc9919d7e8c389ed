//! The one error of this crate. Messages name the file and the key, or the queue, hub or function concerned; never a
//! payload.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

/// What went wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// `host.json` or a `function.json` says something this host does not understand.
    #[error("{file}: {key}: {problem}")]
    Config { file: String, key: String, problem: String },
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{}: the record at byte {position} is damaged and is not the last one; move the file away to go on", path.display())]
    Corrupt { path: PathBuf, position: u64 },
    #[error("{} is in use by another host; stop it or choose another data directory", path.display())]
    InUse { path: PathBuf },
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("Event Hubs on this machine: {0}")]
    EventHubs(#[from] event_hubs_service::ServiceError),
    #[error("the handler is not running: {reason}")]
    Handler { reason: String },
    #[error("there is no {what} {name:?}; known: {known}")]
    Unknown { what: &'static str, name: String, known: String },
    #[error("{name:?} is not a valid {what}: {rule}")]
    Name { what: &'static str, name: String, rule: &'static str },
    /// A storage account's queue did not answer as it should; `problem` is its error code.
    #[error("cannot {action} queue {queue:?} of the storage account: {problem}")]
    Storage { action: &'static str, queue: String, problem: String },
    #[error("a message for queue {queue:?} is not UTF-8 text, and messageEncoding is none")]
    NotText { queue: String },
    #[error("{what} has {size} bytes, more than the {limit} allowed")]
    TooLarge { what: &'static str, size: usize, limit: usize },
    #[error("{what} is full: {limit} entries")]
    Full { what: String, limit: usize },
    #[error("not idle after {waited:?}: {outstanding}")]
    NotIdle { waited: Duration, outstanding: String },
}

/// The kinds of [`HostError`] a caller may want to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostErrorKind {
    /// The app is wrong: fix `host.json` or a `function.json`.
    Config,
    /// The file system or the network of this machine.
    Io,
    /// The handler process does not run.
    Handler,
    /// The caller asked for something that does not exist or is not allowed.
    Request,
    /// Work is left after the time given.
    NotIdle,
}

impl HostError {
    /// The kind to branch on.
    pub fn kind(&self) -> HostErrorKind {
        match self {
            Self::Config { .. } => HostErrorKind::Config,
            Self::Io { .. }
            | Self::Corrupt { .. }
            | Self::InUse { .. }
            | Self::Listen { .. }
            | Self::Storage { .. } => HostErrorKind::Io,
            Self::EventHubs(error) if error.kind() == event_hubs_service::ErrorKind::Request => HostErrorKind::Request,
            Self::EventHubs(_) => HostErrorKind::Io,
            Self::Handler { .. } => HostErrorKind::Handler,
            Self::Unknown { .. }
            | Self::Name { .. }
            | Self::TooLarge { .. }
            | Self::NotText { .. }
            | Self::Full { .. } => HostErrorKind::Request,
            Self::NotIdle { .. } => HostErrorKind::NotIdle,
        }
    }

    /// For `map_err`: says which file an I/O error is about.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
