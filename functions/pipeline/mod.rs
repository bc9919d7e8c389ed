//! From records to a durable commit. The functions call in here; nothing here knows triggers, and how files, logs and
//! SQL work is known only by the crates below.

pub(crate) mod blob;
pub(crate) mod books;
pub(crate) mod events;
pub(crate) mod maintain;
pub(crate) mod reprocess;
mod sink;

use azure_functions_custom_handler::{HandlerError, Reply};
use serde::Serialize;
use weir_lake::Books;

/// What one delivery came to. Given to the host as the return value, so that books can be kept from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    pub(crate) dataset: String,
    pub(crate) outcome: Outcome,
    /// `recordsIn = committed + quarantined + alreadyCommitted`.
    pub(crate) books: Books,
    /// Delta version of the dataset's table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<i64>,
    /// Rows that violated a rule whose action is `warn`, by rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<(String, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Outcome {
    Committed,
    /// Everything in this delivery had been committed before.
    AlreadyCommitted,
    /// The blob was deleted before it was read.
    Gone,
    /// The blob was overwritten before it was read: the newer version has its own event.
    Overwritten,
}

impl Receipt {
    pub(crate) fn nothing(dataset: &str, outcome: Outcome) -> Self {
        Self { dataset: dataset.to_owned(), outcome, books: Books::default(), version: None, warnings: Vec::new() }
    }

    pub(crate) fn already(dataset: &str, records: u64) -> Self {
        let books = Books { records_in: records, already_committed: records, ..Books::default() };
        Self { books, ..Self::nothing(dataset, Outcome::AlreadyCommitted) }
    }

    /// The line that the host correlates with the invocation.
    pub(crate) fn line(&self) -> String {
        let Self { dataset, outcome, books, version, .. } = self;
        let Books { records_in, committed, quarantined, already_committed, .. } = books;
        let version = version.map(|version| format!(", version {version}")).unwrap_or_default();
        format!(
            "{dataset}: {outcome:?}: {records_in} records in, {committed} committed, {quarantined} quarantined, \
             {already_committed} already committed{version}"
        )
    }
}

pub(crate) fn reply(receipt: &Receipt) -> Result<Reply, HandlerError> {
    reply_with(receipt, receipt.line())
}

/// The value for machines, the line for people; the host shows the line beside the invocation.
pub(crate) fn reply_with(value: &impl Serialize, line: String) -> Result<Reply, HandlerError> {
    tracing::info!("{line}");
    let value = serde_json::to_value(value).map_err(HandlerError::from_error)?;
    Ok(Reply::ok().return_value(value).log(line))
}

/// Runs CPU work where it does not hold up the network.
async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, crate::error::AppError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| crate::error::AppError::Stopped)
}
