//! Messages of the queue `tasks`: work that a function hands on. A message may come twice; every task is safe to repeat.

use serde::{Deserialize, Serialize};

use crate::error::AppError;
use crate::pipeline::blob::PartRef;
use crate::pipeline::events::window::Window;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Task {
    /// Compact, checkpoint and load one dataset.
    Maintain { dataset: String },
    /// Look for blobs that landed and are not in the table. `after`: the last name looked at; `since_ms`: older blobs
    /// are left out; `asked`: somebody wants it now, and not only when it is due.
    Sweep {
        dataset: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since_ms: Option<i64>,
        #[serde(default)]
        asked: bool,
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
            Self::IngestBlob { container, path, etag, .. } => Some((format!("blob:{container}/{path}"), etag.clone())),
            Self::IngestPart { container, path, etag, .. } => {
                Some((format!("blob:{container}/{path}"), Some(etag.clone())))
            }
            Self::Maintain { .. } | Self::Sweep { .. } | Self::Replay { .. } | Self::Retry { .. } => None,
        }
    }
}
