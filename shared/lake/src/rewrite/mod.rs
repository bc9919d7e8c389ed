//! Rewrites: files out, files in, one commit, and only if nothing stands against it.
//!
//! One mechanism for all of them: plan on a snapshot, read the files concerned one after the other, write the rows
//! that stay, commit removes and adds on condition that every file that goes is still there and (where rows are looked
//! for) that no such rows came in meanwhile. Whoever loses plans anew; what it wrote is discarded, because nothing can
//! refer to it.
//!
//! Rows of rewritten files that stay are added with `dataChange=false`, rows that are new with `dataChange=true`: a
//! reader of changes (the warehouse loader) sees exactly what changed.

pub(crate) mod compact;
mod delete;
mod plan;
mod replace;
mod upsert;

pub use compact::CompactReport;
pub use delete::{Deleted, Deletion};
pub use plan::{CompactOptions, CompactPlan};
pub use replace::Replacement;
pub use upsert::{Upsert, Upserted};

use std::sync::Arc;
use std::time::Duration;

use polars::prelude::*;
use tokio::task::spawn_blocking;

use crate::commit::{Proposal, Verdict};
use crate::data::writer::StagedFile;
use crate::error::{ErrorKind, LakeError};
use crate::log::actions::Remove;
use crate::log::state::{Read, State};
use crate::snapshot::FileEntry;
use crate::table::Table;

/// Plans of one rewrite that others may make void before the caller is told.
const ATTEMPTS: u32 = 8;
/// Pause before the n-th new plan, at most, times n.
const PAUSE: Duration = Duration::from_millis(20);

/// Which rows a rewrite takes out.
trait Selection: Send + 'static {
    /// False only when it is certain that the file has none of them.
    fn may_be_in(&self, file: &FileEntry) -> bool;
    /// True for the rows that go.
    fn select(&mut self, frame: &DataFrame) -> PolarsResult<BooleanChunked>;
}

/// Files that lose rows, and what is left of them.
#[derive(Debug, Default)]
struct Affected {
    files: Vec<FileEntry>,
    survivors: Vec<StagedFile>,
    /// Rows that go.
    rows: u64,
}

impl Affected {
    fn removes(&self, now_ms: i64) -> Vec<Remove> {
        self.files.iter().map(|file| Remove::of(file, now_ms, true)).collect()
    }

    fn kept(&self) -> impl Iterator<Item = (StagedFile, bool)> {
        self.survivors.iter().cloned().map(|file| (file, false))
    }
}

impl Table {
    /// The table to plan on. What the writer knows is never older: else it would judge the plan by transaction ids
    /// that the plan has seen move on.
    async fn plan_on(&self) -> Result<State, LakeError> {
        let state = self.load_state(Read::Files).await?;
        let known = self.writer.known().version;
        if known < state.version {
            self.refresh().await?;
        }
        Ok(state)
    }

    /// Applies what was committed since.
    async fn catch_up(&self, state: &mut State) -> Result<(), LakeError> {
        loop {
            let next = state.version + 1;
            let Some(bytes) = self.at.read_commit(next).await? else { return Ok(()) };
            state.apply(&self.at, next, self.at.decode(next, &bytes)?)?;
        }
    }

    /// Writes every file that has rows of the selection anew, without them. One file is in memory at a time.
    async fn without<S: Selection>(
        self: &Arc<Self>,
        state: &State,
        mut selection: S,
    ) -> Result<(Affected, S), LakeError> {
        let mut affected = Affected::default();
        let mut writer = self.writer.files();
        for file in state.files.values() {
            if !selection.may_be_in(file) {
                continue;
            }
            let frame = self.read_as(file, &state.layout).await?;
            let (back, survivors) = spawn_blocking(move || {
                let survivors = selection.select(&frame).and_then(|gone| match gone.sum().unwrap_or(0) {
                    0 => Ok(None),
                    gone_rows => {
                        // A row that nothing is said about stays.
                        let stays: BooleanChunked = gone.iter().map(|gone| gone != Some(true)).collect();
                        Ok(Some((frame.filter(&stays)?, u64::from(gone_rows))))
                    }
                });
                (selection, survivors)
            })
            .await
            .map_err(|_| self.stopped())?;
            selection = back;
            let Some((survivors, gone)) = survivors.map_err(|source| self.rewrite_error(source))? else { continue };
            affected.rows += gone;
            affected.files.push(file.clone());
            if survivors.height() > 0 {
                writer.write(survivors).await?;
            }
        }
        affected.survivors = writer.finish().await?;
        Ok((affected, selection))
    }

    /// Commits a rewrite. The files that were made for this plan are discarded where nothing can refer to them.
    async fn commit_rewrite(&self, proposal: Proposal, made: &[StagedFile]) -> Result<Verdict, LakeError> {
        let verdict = self.writer.propose(proposal).await;
        let unused = match &verdict {
            Ok(Verdict::Committed { .. }) => false,
            Ok(Verdict::Moved(_)) => true,
            // A conflict is found before the PUT, or after one that is known to have lost.
            Err(error) => error.kind() == ErrorKind::Conflict,
        };
        if unused {
            self.writer.discard(made).await;
        }
        verdict
    }

    /// Whether a rewrite that failed is worth a new plan; waits a moment if so.
    async fn replan(&self, error: &LakeError, attempt: u32) -> bool {
        let lost = matches!(error, LakeError::RewriteConflict { .. } | LakeError::SettledMeanwhile { .. });
        if !lost || attempt >= ATTEMPTS {
            return false;
        }
        tokio::time::sleep(self.options.jitter(PAUSE * attempt)).await;
        true
    }

    fn rewrite_error(&self, source: PolarsError) -> LakeError {
        LakeError::Frame { table: self.name().to_owned(), action: "rewrite", source }
    }
}
