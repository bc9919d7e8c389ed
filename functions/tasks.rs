//! Messages of the queue `tasks`: work that a function hands on. A message may come twice; every task is safe to repeat.

use serde::{Deserialize, Serialize};

use crate::error::AppError;
use crate::pipeline::blob::{PartRef, id_of};
use crate::pipeline::events::window::Window;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Task {
    /// Compact, checkpoint and load one dataset.
    Maintain { dataset: String },
    /// Look for blobs that landed and are not in the table. `marker`: where the listing goes on; `prefix`: only names
    /// that begin with it; `since_ms`: older blobs are left out; `asked`: somebody wants it now, and not only when it is
    /// due.
    Sweep {
        dataset: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        marker: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prefix: Option<String>,
        /// Releases before `marker` went on after a name. Such a sweep begins anew; nothing is ingested twice.
        #[serde(default, skip_serializing)]
        after: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since_ms: Option<i64>,
        #[serde(default)]
        asked: bool,
    },
    /// Read again, for a request, the blobs whose names begin with `prefix`. `marker` as with a sweep.
    Reprocess {
        dataset: String,
        prefix: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        marker: Option<String>,
        request: String,
    },
    /// Ingest one blob. `etag`: this version or none. `request`: although its rows are there, because a person asked;
    /// the id of the HTTP request, so that a repeat is recognised.
    IngestBlob {
        dataset: String,
        container: String,
        path: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        etag: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<String>,
    },
    /// Ingest one part of a large blob.
    IngestPart {
        dataset: String,
        container: String,
        path: String,
        etag: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<String>,
        part: PartRef,
    },
    /// Take out the rows of a blob that is gone, if the contract says so.
    RemoveBlob { dataset: String, container: String, path: String },
    /// Look for rows of blobs that may be gone: those whose names begin with `prefix`. `after`: the last id looked at.
    Vanished {
        dataset: String,
        prefix: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// Read events of a partition again and put them in place of what they gave. `request` as with a blob.
    Replay { dataset: String, partition: u32, window: Window, request: String },
    /// Try a parked message once more. `handed_on`: it was, and what it handed on is in the queue; it is parked no
    /// longer.
    Retry {
        parked: String,
        #[serde(default)]
        handed_on: bool,
    },
}

impl Task {
    /// A sweep of a whole dataset, from its beginning.
    pub(crate) fn sweep(dataset: &str, since_ms: Option<i64>, asked: bool) -> Self {
        Self::Sweep { dataset: dataset.to_owned(), marker: None, prefix: None, after: None, since_ms, asked }
    }

    pub(crate) fn encode(&self) -> Result<String, AppError> {
        serde_json::to_string(self).map_err(|error| AppError::Task { message: error.to_string() })
    }

    pub(crate) fn decode(message: &[u8]) -> Result<Self, AppError> {
        // serde's own text may repeat what is in the message.
        serde_json::from_slice(message).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            AppError::Task { message: format!("not a task that this version knows (line {line}, column {column})") }
        })
    }

    /// The blob that it is about: its source and the version, for those who look.
    pub(crate) fn blob(&self) -> Option<(String, Option<String>)> {
        match self {
            Self::IngestBlob { container, path, etag, .. } => Some((id_of(container, path), etag.clone())),
            Self::RemoveBlob { container, path, .. } => Some((id_of(container, path), None)),
            Self::IngestPart { container, path, etag, .. } => Some((id_of(container, path), Some(etag.clone()))),
            Self::Maintain { .. }
            | Self::Sweep { .. }
            | Self::Reprocess { .. }
            | Self::Vanished { .. }
            | Self::Replay { .. }
            | Self::Retry { .. } => None,
        }
    }
}
