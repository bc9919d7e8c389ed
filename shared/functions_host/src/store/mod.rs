//! What survives a restart: local queues, event logs, checkpoints, schedule status. Everything is written before it is
//! acknowledged and nothing is fsynced: a killed process loses nothing, a lost machine may.

mod event_log;
mod hub;
mod journal;
mod queue;

pub(crate) use event_log::Event;
pub use event_log::EventIn;
pub(crate) use hub::{Consumer, Hub};
pub(crate) use journal::Journal;
pub(crate) use queue::LocalQueue;
pub use queue::{Delivery, MAX_QUEUE_MESSAGE, Queue, Queues};

pub use event_log::MAX_EVENT;

use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::error::HostError;

/// When a timer ran and runs next; `<data_dir>/timers/<function>.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ScheduleStatus {
    /// None: never ran.
    pub(crate) last: Option<DateTime<Utc>>,
    pub(crate) next: DateTime<Utc>,
    pub(crate) last_updated: DateTime<Utc>,
}

/// Replaces a small file in one step.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> Result<(), HostError> {
    let staged = path.with_extension("new");
    std::fs::write(&staged, content).map_err(HostError::io("write", &staged))?;
    std::fs::rename(&staged, path).map_err(HostError::io("replace", path))
}

/// Creates a folder and its parents.
pub(crate) fn create_dir(path: &Path) -> Result<(), HostError> {
    std::fs::create_dir_all(path).map_err(HostError::io("create", path))
}
