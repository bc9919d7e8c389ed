//! Vacuum: data files that the table does not have any more, or never had.
//!
//! Guarantee: no file is deleted that the newest version has, that was part of a version within the retention, or that
//! an invocation still under way may commit. Deleting twice, or at the same time as another vacuum, does no harm.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectMeta;

use crate::error::LakeError;
use crate::log::state::{Read, State};
use crate::table::Table;

/// What is kept where the table has no `delta.deletedFileRetentionDuration`: Delta's default. Readers of older versions,
/// the warehouse loader among them, need these files; checkpoints forget tombstones that are older.
const RETENTION: Duration = Duration::from_secs(7 * 86_400);

#[derive(Debug, Clone, Copy)]
pub struct VacuumOptions {
    /// Files that no commit ever named go when they are older: what crashed writers left. Must be longer than the
    /// longest invocation, which may still commit what it wrote at its beginning.
    pub orphan_age: Duration,
    /// The longest time between writing a file and committing it. `orphan_age` must be at least twice that.
    pub longest_invocation: Duration,
    /// Counts and deletes nothing.
    pub dry_run: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VacuumReport {
    /// Files that were removed from the table longer ago than the retention.
    pub removed: usize,
    /// Files that no commit names.
    pub orphans: usize,
    pub bytes: u64,
}

impl Table {
    /// [`Table::vacuum`] if it was not done for so long: it lists the whole table, which costs more than commits do.
    ///
    /// # Errors
    /// As [`Table::vacuum`].
    pub async fn vacuum_if_due(
        &self,
        every: Duration,
        options: VacuumOptions,
    ) -> Result<Option<VacuumReport>, LakeError> {
        if !self.is_due("vacuumed", every).await? {
            return Ok(None);
        }
        let report = self.vacuum(options).await?;
        if !options.dry_run {
            self.mark_done("vacuumed").await?;
        }
        Ok(Some(report))
    }

    /// Deletes what is not needed any more. Lists the whole table and replays its log.
    ///
    /// # Errors
    /// [`LakeError::Option`] when `orphan_age` is below twice the longest invocation, or when the table's retention is
    /// no interval; [`LakeError::Clock`] when this machine's clock is wrong.
    pub async fn vacuum(&self, options: VacuumOptions) -> Result<VacuumReport, LakeError> {
        if options.orphan_age < options.longest_invocation * 2 {
            return Err(LakeError::Option {
                table: self.name().to_owned(),
                option: "orphan_age",
                message: format!(
                    "{:?} is less than twice the longest invocation ({:?}), which may still commit what it wrote",
                    options.orphan_age, options.longest_invocation
                ),
            });
        }
        let now_ms = self.store_now_ms().await?;
        // Listed first, replayed second: a file that is committed in between is in the state.
        let failed = |error| self.at.store_error("list", &self.at.root, error);
        let listed: Vec<_> = self.at.store.list(Some(&self.at.root)).try_collect().await.map_err(failed)?;
        let state = self.load_state(Read::Tombstones).await?;
        let own = self.interval(&state, "delta.deletedFileRetentionDuration")?;
        let before = |age: Duration| now_ms.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let removed_before_ms = before(own.unwrap_or(RETENTION));
        let doomed = self.doomed(listed, &state, removed_before_ms, before(options.orphan_age));
        let (removed, orphans): (Vec<_>, Vec<_>) = doomed.into_iter().partition(|(_, tombstone)| *tombstone);
        let both = removed.iter().chain(&orphans);
        let report = VacuumReport {
            removed: removed.len(),
            orphans: orphans.len(),
            bytes: both.clone().map(|(object, _)| object.size).sum(),
        };
        if !options.dry_run {
            self.delete_all(both.map(|(object, _)| object.location.clone()).collect()).await?;
        }
        Ok(report)
    }

    /// Objects that may go, and whether they were part of the table once.
    fn doomed(
        &self,
        listed: Vec<ObjectMeta>,
        state: &State,
        removed_before_ms: i64,
        orphan_before_ms: i64,
    ) -> Vec<(ObjectMeta, bool)> {
        let object = |log_path: &String| crate::log::object_path(&self.at.root, log_path).ok();
        let live: HashSet<_> = state.files.values().map(|file| file.object.clone()).collect();
        let tombstones: HashMap<_, _> =
            state.tombstones.iter().filter_map(|(path, removed)| Some((object(path)?, *removed))).collect();
        let mut doomed = Vec::new();
        for listed in listed {
            if self.at.is_hidden(&listed.location) || live.contains(&listed.location) {
                continue;
            }
            // No file is removed before it is written, whatever the clock of whoever removed it said.
            let written_ms = listed.last_modified.timestamp_millis();
            match tombstones.get(&listed.location) {
                Some(removed) if (*removed).max(written_ms) < removed_before_ms => doomed.push((listed, true)),
                Some(_) => {}
                // Never in the table, or so long ago that the log has forgotten.
                None if written_ms < orphan_before_ms => doomed.push((listed, false)),
                None => {}
            }
        }
        doomed
    }
}
