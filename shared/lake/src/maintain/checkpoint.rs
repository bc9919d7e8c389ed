//! Checkpoints: a cold start then reads one file instead of the whole log. delta-rs writes them.

use std::sync::Arc;
use std::time::Duration;

use deltalake::DeltaTable;
use deltalake::logstore::{StorageConfig, logstore_with};

use crate::error::LakeError;
use crate::log::checkpoint::last_checkpoint;
use crate::sorted::Sorted;
use crate::table::Table;

/// When a checkpoint is due: after so many commits, or after so long if there was any commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointPolicy {
    pub commits: i64,
    pub age: Duration,
}

impl Table {
    /// [`Table::checkpoint`] when it is due. Returns its version.
    pub async fn checkpoint_if_due(&self, policy: CheckpointPolicy) -> Result<Option<i64>, LakeError> {
        let version = self.refresh().await?;
        let last = last_checkpoint(&self.at).await?;
        let commits = version - last.map_or(0, |(version, _)| version);
        // A table that has none yet is as old as itself.
        let since_ms = match last {
            Some((_, written)) => Some(written.timestamp_millis()),
            None => self.writer.known().metadata.created_time,
        };
        let age_ms = since_ms.map(|since_ms| (self.options.now_ms)() - since_ms);
        let old = age_ms.is_some_and(|age| u128::try_from(age).is_ok_and(|age| age >= policy.age.as_millis()));
        let due = commits >= policy.commits || (commits > 0 && old);
        if due { self.checkpoint().await.map(Some) } else { Ok(None) }
    }

    /// Writes a checkpoint of the newest version. Returns the version.
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
