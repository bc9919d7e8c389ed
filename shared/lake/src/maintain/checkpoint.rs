//! Checkpoints: a cold start then reads one file instead of the whole log. delta-rs writes them.

use std::sync::Arc;
use std::time::Duration;

use deltalake::DeltaTable;
use deltalake::logstore::{StorageConfig, logstore_with};

use crate::error::LakeError;
use crate::log::checkpoint::{Checkpoint, LogListing, checkpoint_hint, last_checkpoint};
use crate::log::log_folder;
use crate::log::state::Read;
use crate::schema::MetadataChange;
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
        let every = self.property("delta.checkpointInterval").and_then(|interval| interval.parse().ok());
        let due = commits >= every.unwrap_or(policy.commits) || (commits > 0 && old);
        if due { self.checkpoint().await.map(Some) } else { Ok(None) }
    }

    /// Writes a checkpoint of the newest version. Returns the version.
    pub async fn checkpoint(&self) -> Result<i64, LakeError> {
        let version = self.refresh().await?;
        // A checkpoint forgets removed files and transaction ids that are old, by this machine's clock.
        self.store_now_ms().await?;
        self.writer.pass_left_behind().await?;
        self.make_readable().await?;
        let version = version.max(self.writer.known().version);
        let error = |message: String| LakeError::Checkpoint { table: self.name().to_owned(), version, message };
        // delta-rs gets our store under the one scheme that it takes for any store: it never opens one by itself.
        let url = url::Url::parse(&format!("memory:///{}/", self.at.root)).map_err(|cause| error(cause.to_string()))?;
        let log_store = logstore_with(Arc::new(Sorted(Arc::clone(&self.at.store))), &url, StorageConfig::default())
            .map_err(|cause| error(cause.to_string()))?;
        let mut table = DeltaTable::new(log_store);
        // What may stand ahead of it is of another table.
        let newest = u64::try_from(version).map_err(|cause| error(cause.to_string()))?;
        table.load_version(newest).await.map_err(|cause| error(cause.to_string()))?;
        let checkpoint = deltalake::protocol::checkpoints::create_checkpoint(&table, None);
        checkpoint.await.map_err(|cause| error(cause.to_string()))?;
        self.look_after(version).await?;
        Ok(version)
    }

    /// Whether the log is there that a checkpoint was just made of. In a folder that was deleted meanwhile the checkpoint would
    /// be a table without its files: it is taken back.
    async fn look_after(&self, version: i64) -> Result<(), LakeError> {
        let log = LogListing::read(&self.at).await?;
        let stands = log.commits.range(..=version).next().is_some()
            || log.checkpoints.iter().any(|checkpoint| checkpoint.version != version);
        if stands {
            return Ok(());
        }
        let mut made: Vec<_> = log.checkpoints.into_iter().flat_map(|checkpoint| checkpoint.files).collect();
        if last_checkpoint(&self.at).await?.is_some_and(|(hinted, _)| hinted == version) {
            made.push(log_folder(&self.at.root).join("_last_checkpoint"));
        }
        self.delete_all(made).await?;
        Err(self.writer.lose("its log went while a checkpoint was made"))
    }

    /// Mends what would keep every reader, and delta-rs, from the table.
    async fn make_readable(&self) -> Result<(), LakeError> {
        let layout = self.layout();
        let must_be_there = |name: &String| layout.column(name).is_some_and(|column| !column.nullable);
        let strict: Vec<&String> = layout.partition_by.iter().filter(|name| must_be_there(name)).collect();
        let read = if strict.is_empty() { Read::Writer } else { Read::Files };
        let state = self.load_state(read).await?;
        for Checkpoint { version, files } in &state.damaged {
            tracing::warn!(table = self.name(), version, "a damaged checkpoint is removed; its commits are there");
            self.delete_all(files.clone()).await?;
        }
        self.remove_dead_hint().await?;
        // The protocol takes an empty partition value for null. Where a column that must not be null has one, every reader
        // refuses the table; that it may be null makes it readable, and no row is touched.
        let is_empty = |name: &String| {
            let values = state.files.values().map(|file| file.partition_values.get(name));
            values.into_iter().any(|value| value.is_none_or(|value| value.as_ref().is_none_or(String::is_empty)))
        };
        let nullable: Vec<_> = strict.into_iter().filter(|name| is_empty(name)).cloned().collect();
        if nullable.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            table = self.name(),
            ?nullable,
            "partition columns hold empty values: they may be null from now on"
        );
        let metadata = MetadataChange { nullable, ..MetadataChange::default() };
        self.writer.change(metadata, "CHANGE COLUMN").await
    }

    /// Deletes a hint whose checkpoint is not there: delta-rs would not look any further.
    async fn remove_dead_hint(&self) -> Result<(), LakeError> {
        let Some(Checkpoint { version, files }) = checkpoint_hint(&self.at).await? else { return Ok(()) };
        for file in files {
            if self.at.mark(&file).await?.is_none() {
                tracing::warn!(table = self.name(), version, "the hint of a checkpoint that is not there is removed");
                return self.delete_all(vec![log_folder(&self.at.root).join("_last_checkpoint")]).await;
            }
        }
        Ok(())
    }
}
