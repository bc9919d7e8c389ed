//! What keeps a table healthy and never runs on the ingestion path: checkpoints and figures.

use std::sync::Arc;

use deltalake::DeltaTable;
use deltalake::logstore::{StorageConfig, logstore_with};
use serde::Serialize;

use crate::commit::Books;
use crate::error::LakeError;
use crate::log::replay::last_checkpoint;
use crate::snapshot::Snapshot;
use crate::sorted::Sorted;
use crate::table::Table;

/// What a table looks like; all of it comes from the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableStatistics {
    pub version: i64,
    pub files: usize,
    /// Bytes of the files that are part of the table.
    pub bytes: u64,
    pub rows: u64,
    /// Files below 16 MiB: what compaction would take.
    pub small_files: usize,
    pub books: Books,
}

const SMALL_FILE_BYTES: u64 = 16 * 1024 * 1024;

impl Snapshot {
    pub fn statistics(&self) -> TableStatistics {
        TableStatistics {
            version: self.version,
            files: self.files.len(),
            bytes: self.files.iter().map(|file| file.size).sum(),
            rows: self.files.iter().filter_map(|file| file.rows).sum(),
            small_files: self.files.iter().filter(|file| file.size < SMALL_FILE_BYTES).count(),
            books: Books::of(&self.transactions),
        }
    }
}

impl Table {
    /// [`Table::checkpoint`] when at least `every` commits were made since the last one. Returns its version.
    pub async fn checkpoint_if_due(&self, every: i64) -> Result<Option<i64>, LakeError> {
        let version = self.refresh().await?;
        let last = last_checkpoint(&self.at).await?.unwrap_or(0);
        if version - last < every { Ok(None) } else { self.checkpoint().await.map(Some) }
    }

    /// Writes a checkpoint of the newest version (delta-rs does), so that a cold start reads one file instead of the
    /// whole log. Returns the version.
    pub async fn checkpoint(&self) -> Result<i64, LakeError> {
        let version = self.refresh().await?;
        let error = |message: String| LakeError::Checkpoint { table: self.name().to_owned(), version, message };
        // delta-rs gets our store under the one scheme that it takes for any store: it never opens one by itself.
        let url = url::Url::parse(&format!("memory:///{}/", self.at.root)).map_err(|cause| error(cause.to_string()))?;
        let log_store = logstore_with(Arc::new(Sorted(Arc::clone(&self.at.store))), &url, StorageConfig::default())
            .map_err(|cause| error(cause.to_string()))?;
        let mut table = DeltaTable::new(log_store);
        table.load().await.map_err(|cause| error(cause.to_string()))?;
        let checkpoint = deltalake::protocol::checkpoints::create_checkpoint(&table, None);
        checkpoint.await.map_err(|cause| error(cause.to_string()))?;
        let written = table.version().and_then(|version| i64::try_from(version).ok());
        Ok(written.unwrap_or(version))
    }
}
