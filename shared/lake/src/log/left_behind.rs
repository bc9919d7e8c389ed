//! Entries that another table left in the folder.
//!
//! A folder is deleted object by object, and writers that have its table open put entries meanwhile: what they took back is
//! gone, but one that died, or that was acknowledged before the deletion was over, leaves an entry that the deletion
//! did not list. Where nothing else is left, the log has no beginning, and no reader finds a table. Where a new table was
//! made, the entry stands ahead of its newest one, and readers that are not Weir find a gap.
//!
//! No store that Weir writes to deletes on a condition. So what stands at a version that the new table may soon
//! reach is not deleted but *replaced*, by the new table's own entry of that version, on the condition that it is the object
//! that was looked at (If-Match): of two writers one wins, and nobody loses a commit. An entry more than [`FAR`] versions
//! ahead is deleted: no request is under way for as long as it takes a table to get there. Both are done only to entries
//! that have stood for [`LakeOptions::settled`], and whoever takes its own entry back does it long before that. Each is
//! copied to `_weir_left_behind/` first.

use std::time::Duration;

use futures::TryStreamExt;
use object_store::{ObjectStoreExt, PutPayload};

use super::actions::{Line, table_of};
use super::checkpoint::LogListing;
use super::{Commit, Location, LogObject, commit_path, log_folder};
use crate::error::LakeError;
use crate::lake::LakeOptions;

/// A table's writers go on to an entry that stands at most so many versions ahead; one farther away is deleted.
pub(crate) const FAR: i64 = 1_000;
/// More entries than these are not what a deletion left.
const MANY: usize = 1_000;

/// An entry of another table.
#[derive(Debug)]
pub(crate) struct LeftBehind {
    pub(crate) version: i64,
    pub(crate) commit: Commit,
}

/// Whether an entry is one of Weir's for another table than `id`: each names the table that it was made for.
pub(crate) fn is_of_another(lines: &[Line], id: &str) -> bool {
    table_of(lines).is_some_and(|named| named != id)
}

/// [`is_of_another`] of an entry as it is stored. Weir's name their table in their first line.
pub(crate) fn is_stored_of_another(entry: &[u8], id: &str) -> bool {
    let first = entry.split(|byte| *byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice::<Line>(first).is_ok_and(|line| is_of_another(&[line], id))
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Location {
    /// Whether a folder whose log has no beginning may hold a new table: everything in it is what a deletion left.
    ///
    /// # Errors
    /// `headless` where rows of the old table may be there still; [`LakeError::Settling`] where the deletion may go on.
    pub(crate) async fn check_deserted(&self, options: &LakeOptions, headless: LakeError) -> Result<(), LakeError> {
        let now_ms = self.store_now_ms(options).await?;
        let failed = |error| self.store_error("list", &self.root, error);
        let (mut oldest_ms, mut newest_commit_ms, mut commits) = (i64::MAX, i64::MIN, 0);
        let mut objects = self.store.list(Some(&self.root));
        while let Some(object) = objects.try_next().await.map_err(failed)? {
            let written_ms = object.last_modified.timestamp_millis();
            let is_of_log = object.location.prefix_matches(&log_folder(&self.root));
            match LogObject::of(&object) {
                LogObject::Commit(0) | LogObject::Checkpoint { .. } if is_of_log => return Err(headless),
                LogObject::Commit(_) if is_of_log => {
                    newest_commit_ms = newest_commit_ms.max(written_ms);
                    commits += 1;
                }
                _ if self.is_hidden(&object.location) => continue,
                _ => {}
            }
            oldest_ms = oldest_ms.min(written_ms);
        }
        // Writers read a log anew that they have not looked at for so long: what is older has nothing to do with the entries.
        let old = newest_commit_ms.saturating_sub(oldest_ms) > milliseconds(options.max_state_age);
        if old || commits > MANY {
            return Err(headless);
        }
        self.check_settled(options, newest_commit_ms, now_ms)
    }

    /// # Errors
    /// [`LakeError::Settling`] while whoever made an entry may take it back.
    fn check_settled(&self, options: &LakeOptions, written_ms: i64, now_ms: i64) -> Result<(), LakeError> {
        if now_ms.saturating_sub(written_ms) >= milliseconds(options.settled) {
            return Ok(());
        }
        Err(LakeError::Settling { table: self.name.clone(), seconds: options.settled.as_secs() })
    }

    /// Whether all entries of a listing after `version` are of another table than `id`.
    pub(crate) async fn are_left_behind(&self, log: &LogListing, version: i64, id: &str) -> Result<bool, LakeError> {
        let ahead = log.commits.range(version + 1..);
        if ahead.clone().count() > MANY || log.checkpoints.iter().any(|checkpoint| checkpoint.version > version) {
            return Ok(false);
        }
        for version in ahead {
            match self.commit(*version).await? {
                Some(commit) if is_stored_of_another(&commit.bytes, id) => {}
                // Taken back meanwhile.
                None => {}
                Some(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Entries of other tables than `id` after `version`. Lists `_delta_log`.
    pub(crate) async fn left_behind_after(&self, version: i64, id: &str) -> Result<Vec<LeftBehind>, LakeError> {
        let log = LogListing::read(self).await?;
        let mut found = Vec::new();
        for version in log.commits.range(version + 1..).copied().take(MANY) {
            if let Some(commit) = self.commit(version).await?
                && is_stored_of_another(&commit.bytes, id)
            {
                found.push(LeftBehind { version, commit });
            }
        }
        Ok(found)
    }

    /// Copies an entry out of the log, for whoever misses it.
    ///
    /// # Errors
    /// [`LakeError::Settling`] while whoever made it may take it back: nothing must be done to it yet.
    pub(crate) async fn put_aside(&self, options: &LakeOptions, left: &LeftBehind) -> Result<(), LakeError> {
        let LeftBehind { version, commit } = left;
        let now_ms = self.store_now_ms(options).await?;
        let written_ms = commit.mark.written_ms.unwrap_or(now_ms);
        self.check_settled(options, written_ms, now_ms)?;
        // The same name each time, however often it is tried.
        let name = format!("{version:020}-{written_ms}.json");
        let path = self.root.clone().join("_weir_left_behind").join(name);
        let put = self.store.put(&path, PutPayload::from(commit.bytes.clone())).await;
        put.map_err(|error| self.store_error("write", &path, error))?;
        tracing::warn!(
            table = self.name,
            version,
            %path,
            "an entry of another table stood in the log: it was left behind when the table's folder was deleted, and is kept \
             in a copy"
        );
        Ok(())
    }

    /// Deletes an entry that no writer can reach before that is done.
    pub(crate) async fn remove_far(&self, options: &LakeOptions, left: &LeftBehind) -> Result<(), LakeError> {
        self.put_aside(options, left).await?;
        let path = commit_path(&self.root, left.version);
        match self.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.store_error("delete", &path, error)),
        }
    }
}
