//! Errors, and the answer that the host gets for each.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use http::StatusCode;

/// Every error of this crate. Messages name keys, limits and positions, never values of the payload.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The port could not be bound.
    #[error("cannot listen on 127.0.0.1:{port}: is another process using the port? ({source})")]
    Bind {
        /// The port that was asked for.
        port: u16,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The server stopped accepting connections.
    #[error("the server stopped: {source}")]
    Serve {
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The request names no registered function.
    #[error("no function is registered under this path")]
    UnknownFunction,
    /// Functions are invoked by POST.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The host always sends the header, so whoever called is not the host.
    #[error("the header X-Azure-Functions-InvocationId is missing or malformed")]
    InvocationId,
    /// No slot became free before the deadline.
    #[error("all {limit} invocation slots stayed busy until the deadline")]
    Busy {
        /// [`Limits::max_concurrent`](crate::Limits::max_concurrent).
        limit: usize,
    },
    /// The request body exceeds [`Limits::max_body_bytes`](crate::Limits).
    #[error("the request body is larger than {limit} bytes: lower the batch size in host.json or raise max_body_bytes")]
    BodyTooLarge {
        /// [`Limits::max_body_bytes`](crate::Limits::max_body_bytes).
        limit: usize,
    },
    /// A body above the limit goes through the folder for temporary files.
    #[error(
        "a body above the limit could not be kept in the folder for temporary files: {source}; make room there, or lower the \
         batch size in host.json"
    )]
    TemporaryFile {
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The connection broke while the body was read.
    #[error("the request body could not be read")]
    BodyRead,
    /// The envelope is broken at `key`.
    #[error("`{key}` {problem}")]
    Envelope {
        /// The key's path, such as `Data.message`.
        key: String,
        /// Predicate of the sentence that begins with the key; it never quotes the value.
        problem: String,
    },
    /// An Event Grid event or a blob event is broken at `key`.
    #[error("not a usable event: `{key}` {problem}")]
    Event {
        /// The key's path, such as `data.url`.
        key: String,
        /// Predicate of the sentence that begins with the key; it never quotes the value.
        problem: String,
    },
    /// The handler was dropped because its time was up.
    #[error("the invocation ran past its deadline of {} ms", .after.as_millis())]
    Deadline {
        /// [`Limits::deadline`](crate::Limits::deadline).
        after: Duration,
    },
    /// The handler panicked. The text of the panic may hold payload and is not repeated.
    #[error("the handler panicked")]
    Panicked,
    /// The handler's own error.
    #[error(transparent)]
    Handler(#[from] HandlerError),
    /// The handler's reply cannot be sent in the envelope.
    #[error("the reply cannot be sent: {problem}")]
    Reply {
        /// Which part of the reply has no form in the protocol, and why.
        problem: String,
    },
}

/// Coarse classes of [`Error`], to branch on and to label metrics with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The process cannot listen or serve.
    Network,
    /// The request is not one that the host would send.
    Request,
    /// A size or concurrency limit was hit.
    Limit,
    /// The payload cannot be decoded.
    Payload,
    /// The invocation ran out of time.
    Deadline,
    /// The handler failed, panicked, or replied with something that cannot be sent.
    Handler,
}

impl ErrorKind {
    /// The kind in lower case: the `error` member of answers to the host.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Request => "request",
            Self::Limit => "limit",
            Self::Payload => "payload",
            Self::Deadline => "deadline",
            Self::Handler => "handler",
        }
    }
}

impl Error {
    /// The class to branch on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Bind { .. } | Self::Serve { .. } => ErrorKind::Network,
            Self::UnknownFunction | Self::MethodNotAllowed | Self::InvocationId | Self::BodyRead => ErrorKind::Request,
            Self::Busy { .. } | Self::BodyTooLarge { .. } | Self::TemporaryFile { .. } => ErrorKind::Limit,
            Self::Envelope { .. } | Self::Event { .. } => ErrorKind::Payload,
            Self::Deadline { .. } => ErrorKind::Deadline,
            Self::Panicked | Self::Handler(_) | Self::Reply { .. } => ErrorKind::Handler,
        }
    }

    /// The status that the host gets. To the host, everything but 2xx is a failed invocation.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::UnknownFunction => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::InvocationId | Self::BodyRead | Self::Envelope { .. } | Self::Event { .. } => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(crate) fn envelope(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Envelope { key: key.into(), problem: problem.into() }
    }

    pub(crate) fn event(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Event { key: key.into(), problem: problem.into() }
    }
}

/// A failed invocation, as a handler returns it: the host gets a 500 and applies its retry rules.
///
/// Return it only for what a retry can mend. A queue message is retried up to `maxDequeueCount` times; an Event Hub
/// batch is retried only if `function.json` has a `retry` policy, and is checkpointed afterwards either way.
#[derive(Debug)]
pub struct HandlerError {
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl HandlerError {
    /// An error with a message of your own. It goes to the host, which logs it: keep personal values out of it.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// A message of your own with the error that caused it.
    pub fn with_source(message: impl Into<String>, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { message: message.into(), source: Some(source.into()) }
    }

    /// Takes over the message and the causes of `error`, for `map_err(HandlerError::from_error)`.
    pub fn from_error(error: impl StdError + Send + Sync + 'static) -> Self {
        Self { message: chain(&error), source: None }
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for HandlerError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// An error and its causes on one line. Causes that a message already contains are not repeated.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}
