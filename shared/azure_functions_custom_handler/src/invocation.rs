//! The invocation that a handler serves.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::retry::RetryContext;

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
