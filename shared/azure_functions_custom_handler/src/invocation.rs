//! What every handler learns about the invocation it serves.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::envelope::Envelope;
use crate::wire::Members;

/// One attempt of the host to run a function. Each retry is a new invocation with a new id.
#[derive(Clone)]
#[non_exhaustive]
pub struct Invocation {
    /// `X-Azure-Functions-InvocationId`.
    pub id: String,
    /// The function's name, which is its folder's name.
    pub function: String,
    /// W3C trace context, when the host's HTTP client injected one. Its sampled flag is usually 0 whatever was
    /// sampled upstream, so do not let a parent-based sampler obey it.
    pub traceparent: Option<String>,
    /// Present on every attempt, the first included, of a function that has a retry policy.
    pub retry: Option<RetryContext>,
    /// When the handler is dropped and the host gets a 500. Work that cannot finish by then should not begin.
    pub deadline: Instant,
    /// The input bindings by name; empty for most functions. One layer of encoding is taken off: a text is a string,
    /// a number a number.
    pub inputs: Map<String, Value>,
}

impl Invocation {
    /// For tests of handlers, and for calling one without a host.
    pub fn new(id: impl Into<String>, function: impl Into<String>, deadline: Instant) -> Self {
        Self { id: id.into(), function: function.into(), traceparent: None, retry: None, deadline, inputs: Map::new() }
    }

    /// Time left before the deadline; zero once it has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// Inputs may be personal: only their number is shown.
impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invocation")
            .field("id", &self.id)
            .field("function", &self.function)
            .field("traceparent", &self.traceparent)
            .field("retry", &self.retry)
            .field("remaining", &self.remaining())
            .field("inputs", &self.inputs.len())
            .finish()
    }
}

/// Where this attempt stands in the function's retry policy. The host counts in memory: an instance that dies starts
/// again at zero elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryContext {
    /// Attempts that failed before this one.
    pub retry_count: u32,
    /// `None` means without end (`maxRetryCount: -1`).
    pub max_retry_count: Option<u32>,
}

impl RetryContext {
    /// Whether the host gives up if this attempt fails.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.max_retry_count.is_some_and(|max| self.retry_count >= max)
    }

    pub(crate) fn read(envelope: &Envelope<'_>) -> Option<Self> {
        let mut scratch = String::new();
        let members = Members::unwrap(envelope.metadata_members().get("RetryContext")?, &mut scratch)?;
        let max = members.read::<i64>("MaxRetryCount").and_then(|max| u32::try_from(max).ok());
        Some(Self { retry_count: members.read("RetryCount")?, max_retry_count: max })
    }
}
