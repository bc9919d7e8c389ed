use std::{io, net::SocketAddr};

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    #[error("{address} is not on loopback; the service speaks plain text and takes 127.0.0.1 or ::1 only")]
    NotLoopback { address: SocketAddr },
    #[error("cannot listen on {address}: {source}; another port may be free")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("{name:?} is not a valid name of an Event Hub: letters, digits, `.`, `-` and `_`, 256 at most")]
    HubName { name: String },
    #[error("the hub {name:?} is given twice; names differ by more than the case of their letters")]
    SameHub { name: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked for makes no sense: ask for something else.
    Request,
    /// This machine: a port that is taken.
    Io,
}

impl ServiceError {
    /// The kind to branch on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotLoopback { .. } | Self::HubName { .. } | Self::SameHub { .. } => ErrorKind::Request,
            Self::Listen { .. } => ErrorKind::Io,
        }
    }
}
