//! Retry policies: how often the host has tried.

use crate::envelope::Envelope;
use crate::wire::Members;

/// Where this attempt stands in the function's retry policy. The host counts in memory: an instance that dies starts
/// again at zero elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryContext {
    /// Attempts that failed before this one.
    pub retry_count: u32,
    /// Retries that the policy allows. `None` means without end (`maxRetryCount: -1`).
    pub max_retry_count: Option<u32>,
}

impl RetryContext {
    /// A context for tests of handlers; `None` means without end.
    #[must_use]
    pub fn new(retry_count: u32, max_retry_count: Option<u32>) -> Self {
        Self { retry_count, max_retry_count }
    }

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
