use std::{io, net::SocketAddr};

/// An error that keeps the service from starting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The address can be reached from other machines.
    #[error("{address} is not on loopback; the service speaks plain text and takes 127.0.0.1 or ::1 only")]
    NotLoopback {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: {source}; another port may be free")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// The operating system's error.
        source: io::Error,
    },
    /// No Event Hub may have this name.
    #[error("{name:?} is not a valid name of an Event Hub: letters, digits, `.`, `-` and `_`, 256 at most")]
    HubName {
        /// The name that was given.
        name: String,
    },
    /// Two hubs have one name.
    #[error("the hub {name:?} is given twice; names differ by more than the case of their letters")]
    SameHub {
        /// The name of the second one.
        name: String,
    },
}

/// Coarse classes of [`ServiceError`], to branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked for makes no sense: ask for something else.
    Request,
    /// This machine: a port that is taken.
    Io,
}

impl ServiceError {
    /// The class to branch on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotLoopback { .. } | Self::HubName { .. } | Self::SameHub { .. } => ErrorKind::Request,
            Self::Listen { .. } => ErrorKind::Io,
        }
    }
}
