//! What keeps a table healthy and never runs on the ingestion path: checkpoints, log clean-up, vacuum, figures.
//!
//! What deletes goes by the store's clock ([`Table::store_now_ms`]). All of it is safe without a lease; under one, nobody else does the same work at the same time.

mod checkpoint;
mod clock;
mod due;
mod log_cleanup;
mod properties;
mod vacuum;

pub use checkpoint::CheckpointPolicy;
pub use log_cleanup::{LogCleanup, LogCleanupOptions};
pub use vacuum::{VacuumOptions, VacuumReport};

use std::time::Duration;

use serde::Serialize;

use crate::commit::Books;
use crate::error::LakeError;
use crate::interval;
use crate::log::state::State;
use crate::snapshot::Snapshot;
use crate::table::Table;

/// What a table looks like; all of it comes from the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableStatistics {
    pub version: i64,
    pub files: usize,
    /// Bytes of the files that are part of the table.
    pub bytes: u64,
    pub rows: u64,
    /// Files below 16 MiB: what compaction would take.
    pub small_files: usize,
    /// Files by size.
    pub sizes: Vec<SizeClass>,
    pub books: Books,
}

/// Files of at most a size, and above that of the class before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SizeClass {
    /// Bytes; the last class has no end.
    pub up_to: Option<u64>,
    pub files: usize,
    pub bytes: u64,
}

const SMALL_FILE_BYTES: u64 = 16 << 20;
const CLASS_ENDS: [u64; 6] = [64 << 10, 1 << 20, SMALL_FILE_BYTES, 64 << 20, 256 << 20, 1 << 30];

impl Table {
    /// A retention that the table itself sets. One that cannot be read is an error: the default may be shorter than
    /// what was meant.
    fn interval(&self, state: &State, property: &'static str) -> Result<Option<Duration>, LakeError> {
        let Some(text) = state.property(property) else { return Ok(None) };
        let refused = || LakeError::Option {
            table: self.name().to_owned(),
            option: property,
            message: format!("`{text}` is not an interval such as `interval 30 days`; nothing is deleted"),
        };
        interval::parse(text).map(Some).ok_or_else(refused)
    }
}

impl Snapshot {
    pub fn statistics(&self) -> TableStatistics {
        let mut sizes: Vec<_> = CLASS_ENDS
            .into_iter()
            .map(Some)
            .chain([None])
            .map(|up_to| SizeClass { up_to, files: 0, bytes: 0 })
            .collect();
        for file in &self.files {
            let class = CLASS_ENDS.partition_point(|end| *end < file.size);
            if let Some(class) = sizes.get_mut(class) {
                class.files += 1;
                class.bytes += file.size;
            }
        }
        TableStatistics {
            version: self.version,
            files: self.files.len(),
            bytes: self.files.iter().map(|file| file.size).sum(),
            rows: self.files.iter().filter_map(|file| file.rows).sum(),
            small_files: self.files.iter().filter(|file| file.size < SMALL_FILE_BYTES).count(),
            sizes,
            books: Books::of(&self.transactions),
        }
    }
}
