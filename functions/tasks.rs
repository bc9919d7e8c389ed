//! Messages of the queue `tasks`: work that a function hands on. A message may come twice; every task is safe to repeat.

use serde::{Deserialize, Serialize};

use crate::error::AppError;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Task {
    /// Compact, checkpoint and load one dataset.
    Maintain { dataset: String },
    /// Replace what one blob gave. `request` is the id of the HTTP request, so that a repeat is recognised.
    ReprocessBlob { dataset: String, container: String, path: String, request: String },
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
}
