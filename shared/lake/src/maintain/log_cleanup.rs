//! Log clean-up: commits and checkpoints that no reader needs any more.
//!
//! Guarantee: the newest version, and every version that is younger than the retention or that the caller asks to
//! keep, can still be read from a checkpoint and the commits after it. Nothing goes that `_last_checkpoint` does not
//! stand for: whoever finds a commit missing learns there whether it was the log's end.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;

use crate::error::LakeError;
use crate::log::checkpoint::{Checkpoint, last_checkpoint};
use crate::log::state::{Read, Replay};
use crate::log::{LogObject, Shape, log_folder};
use crate::table::Table;

/// What is kept where the table has no `delta.logRetentionDuration`: Delta's default.
const RETENTION: Duration = Duration::from_secs(30 * 86_400);

#[derive(Debug, Clone, Copy, Default)]
pub struct LogCleanupOptions {
    /// The oldest version that somebody still reads commit by commit: the one after the warehouse's watermark.
    pub keep_from: Option<i64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCleanup {
    pub commits: usize,
    pub checkpoints: usize,
}

impl Table {
    /// Deletes what is older than the table's retention, as far as a checkpoint stands for it. Lists `_delta_log`.
    pub async fn clean_log(&self, options: LogCleanupOptions) -> Result<LogCleanup, LakeError> {
        let (own, enabled) = {
            let known = self.writer.known();
            let own = self.interval(&known, "delta.logRetentionDuration");
            (own, known.property("delta.enableExpiredLogCleanup") != Some("false"))
        };
        if !enabled {
            return Ok(LogCleanup::default());
        }
        let Some((hinted, _)) = last_checkpoint(&self.at).await? else { return Ok(LogCleanup::default()) };
        // Writers rely on it: see `LakeOptions::max_state_age`.
        let retention = own?.unwrap_or(RETENTION).max(self.options.max_state_age * 4);
        let oldest_ms = self.store_now_ms().await? - i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let log = log_folder(&self.at.root);
        let failed = |error| self.at.store_error("list", &log, error);
        let listed: Vec<_> = self.at.store.list(Some(&log)).try_collect().await.map_err(failed)?;
        let objects: Vec<_> = listed
            .iter()
            .map(|object| (LogObject::of(object), object.last_modified.timestamp_millis(), &object.location))
            .collect();

        let young = objects.iter().filter_map(|(object, written, _)| match object {
            LogObject::Commit(version) if *written >= oldest_ms => Some(*version),
            _ => None,
        });
        let keep_from = young.chain(options.keep_from).fold(hinted, i64::min);
        // Checkpoints that came in one piece: of one in parts, one part could be missing.
        let base = objects.iter().filter_map(|(object, _, _)| match object {
            LogObject::Checkpoint { version, shape: Shape::Single } if *version <= keep_from => Some(*version),
            _ => None,
        });
        let Some(base) = base.max() else { return Ok(LogCleanup::default()) };
        self.check_readable(base).await?;
        let (mut cleaned, mut doomed) = (LogCleanup::default(), Vec::new());
        for (object, written, location) in objects {
            let counted = match object {
                LogObject::Commit(version) if version < base => &mut cleaned.commits,
                LogObject::Checkpoint { version, .. } if version < base => &mut cleaned.checkpoints,
                _ => continue,
            };
            if written < oldest_ms {
                *counted += 1;
                doomed.push(location.clone());
            }
        }
        // Oldest first, as far as the store keeps the order: a clean-up that is cut off leaves old versions whole.
        doomed.sort();
        self.delete_all(doomed).await?;
        Ok(cleaned)
    }

    /// A checkpoint stands for what is deleted only if it can be read.
    async fn check_readable(&self, version: i64) -> Result<(), LakeError> {
        let file = log_folder(&self.at.root).join(format!("{version:020}.checkpoint.parquet"));
        let base = Checkpoint { version, files: vec![file] };
        match Replay::begin(&self.at, &base, Read::Tombstones).await? {
            Ok(_) => Ok(()),
            Err(unreadable) => {
                let message = format!("{unreadable}; nothing was cleaned up");
                Err(LakeError::Checkpoint { table: self.name().to_owned(), version, message })
            }
        }
    }

    /// Deletes objects in order; one that is gone already is as good.
    pub(super) async fn delete_all(&self, paths: Vec<Path>) -> Result<(), LakeError> {
        let paths = futures::stream::iter(paths.into_iter().map(Ok)).boxed();
        let mut deleted = self.at.store.delete_stream(paths);
        while let Some(outcome) = deleted.next().await {
            match outcome {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.at.store_error("delete", &self.at.root, error)),
            }
        }
        Ok(())
    }
}
