//! The one error of this crate. Messages name the file and the key, or the queue, hub or function concerned; never a
//! payload.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

/// An error of the host. Messages say what was wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// `host.json`, a `function.json` or an app setting says something that this host does not understand.
    #[error("{file}: {key}: {problem}")]
    Config {
        /// The file, or `the app settings`.
        file: String,
        /// The key's path in it.
        key: String,
        /// Predicate of the sentence that begins with the key.
        problem: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The operation, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A journal or log has a damaged record with sound ones behind it.
    #[error("{}: the record at byte {position} is damaged and is not the last one; move the file away to go on", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Byte at which the record begins.
        position: u64,
    },
    /// Another host has locked the data directory.
    #[error("{} is in use by another host; stop it or choose another data directory", path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// The HTTP front cannot listen.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// The operating system's error.
        source: io::Error,
    },
    /// The service for Event Hubs clients does not start.
    #[error("Event Hubs on this machine: {0}")]
    EventHubs(#[from] event_hubs_service::ServiceError),
    /// The handler does not start, does not get ready or keeps crashing; or the host has stopped.
    #[error("the handler is not running: {reason}")]
    Handler {
        /// What happened last.
        reason: String,
    },
    /// The caller named something that the app does not have.
    #[error("there is no {what} {name:?}; known: {known}")]
    Unknown {
        /// The kind of thing.
        what: &'static str,
        /// The name that was given.
        name: String,
        /// The names that there are, with commas.
        known: String,
    },
    /// A name breaks Azure's rules.
    #[error("{name:?} is not a valid {what}: {rule}")]
    Name {
        /// The kind of name.
        what: &'static str,
        /// The name that was given.
        name: String,
        /// The rule.
        rule: &'static str,
    },
    /// A storage account's queue did not answer as it should.
    #[error("cannot {action} queue {queue:?} of the storage account: {problem}")]
    Storage {
        /// The operation, as a verb.
        action: &'static str,
        /// The queue's name.
        queue: String,
        /// The account's error code.
        problem: String,
    },
    /// A message cannot be written as text.
    #[error("a message for queue {queue:?} is not UTF-8 text, and messageEncoding is none")]
    NotText {
        /// The queue's name.
        queue: String,
    },
    /// A message, an event or a file is above its limit.
    #[error("{what} has {size} bytes, more than the {limit} allowed")]
    TooLarge {
        /// The kind of thing.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A store has no room left.
    #[error("{what} is full: {limit} entries")]
    Full {
        /// The store.
        what: String,
        /// The entries that it may have.
        limit: usize,
    },
    /// [`Host::wait_idle`](crate::Host::wait_idle) waited in vain.
    #[error("not idle after {waited:?}: {outstanding}")]
    NotIdle {
        /// The time that was given.
        waited: Duration,
        /// The first work found to be left.
        outstanding: String,
    },
}

/// Coarse classes of [`HostError`], to branch on.
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
    /// The class to branch on.
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
