//! Rewrites: files out, files in, one commit, and only if nothing stands against it.
//!
//! One mechanism for all of them: plan on a snapshot, read the files concerned one after the other, write the rows
//! that stay, commit removes and adds on condition that every file that goes is still there and (where rows are looked
//! for) that no such rows came in meanwhile. Whoever loses goes on from the new snapshot with what it has done: it has
//! only the new files to look at, so that it wins in the end however busy the table is.
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
pub use replace::{Replacement, Replacements};
pub(crate) use replace::{may_hold, of_events};
pub use upsert::{Upsert, Upserted};

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use polars::prelude::*;
use tokio::task::spawn_blocking;

use crate::commit::{Member, Proposal, Verdict};
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

/// What a rewrite found in one file.
struct Found {
    /// True for the rows that go.
    gone: BooleanChunked,
    /// Whether the file says anything at all, also where all of its rows stay.
    any: bool,
}

impl Found {
    fn of(gone: BooleanChunked) -> Self {
        Self { any: gone.any(), gone }
    }
}

/// A rewrite that takes rows out by what is in them, and puts others in.
#[async_trait]
trait Rewrite: Send + Sync + 'static {
    /// Who does it, once. `after` is not looked at.
    fn member(&self) -> &Member;
    /// The version of its producer that it was made against, where that matters.
    fn made_after(&self) -> Option<Option<i64>> {
        None
    }
    /// False only when it is certain that the file has none of the rows.
    fn may_be_in(&self, file: &FileEntry) -> bool;
    fn select(&mut self, frame: &DataFrame) -> PolarsResult<Found>;
    /// Forgets what [`Rewrite::select`] has seen.
    fn restart(&mut self) {}
    /// What to commit, without what [`Progress`] knows; and the files that were made for this plan alone.
    async fn proposal(&self, table: &Arc<Table>, progress: &Progress)
    -> Result<(Proposal, Vec<StagedFile>), LakeError>;
}

/// Work on data files, which outlives a plan that others made void.
#[derive(Debug, Default)]
struct Progress {
    state: Option<State>,
    /// Files that were looked at and say nothing.
    passed: HashSet<String>,
    /// Files that say something: when one of them goes, all is void.
    counted: HashSet<String>,
    /// Files that lose rows.
    files: Vec<FileEntry>,
    /// What is left of them.
    survivors: Vec<StagedFile>,
    /// Rows that go.
    rows: u64,
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
        let newest = self.refresh().await?;
        while state.version < newest {
            let next = state.version + 1;
            match self.at.commit(next).await? {
                Some(commit) => state.apply(&self.at, next, self.at.decode(next, &commit.bytes)?, commit.mark)?,
                // Cleaned up meanwhile.
                None => *state = self.plan_on().await?,
            }
        }
        Ok(())
    }

    /// Carries a rewrite out, from plan to plan until it is committed, settled by somebody else, or given up.
    async fn rewrite<R: Rewrite>(self: &Arc<Self>, mut rewrite: R) -> Result<(Verdict, R, Progress), LakeError> {
        let mut progress = Progress::default();
        let mut attempt = 1;
        loop {
            rewrite = self.advance(rewrite, &mut progress).await?;
            let member = rewrite.member().clone();
            let known = progress.state.as_ref().and_then(|state| state.transactions.get(&member.producer.id));
            let known = known.map(|known| known.version);
            let moved = |version: &i64| {
                *version >= member.producer.version || rewrite.made_after().is_some_and(|after| known != after)
            };
            if let Some(version) = known.filter(moved) {
                self.writer.discard(&progress.survivors).await;
                return Ok((Verdict::Moved(member.moved(version)), rewrite, progress));
            }
            let (proposal, made) = rewrite.proposal(self, &progress).await?;
            let proposal = self.completed(proposal, Member { after: known, ..member }, &progress);
            let verdict = self.writer.propose(proposal).await;
            // A conflict is found before the PUT, or after one that is known to have lost: nothing refers to the files.
            let unused = match &verdict {
                Ok(Verdict::Committed { .. }) => false,
                Ok(Verdict::Moved(_)) => true,
                Err(error) => error.kind() == ErrorKind::Conflict,
            };
            if unused {
                self.writer.discard(&made).await;
            }
            match verdict {
                Err(error) if self.replan(&error, attempt).await => attempt += 1,
                verdict => {
                    if unused {
                        self.writer.discard(&progress.survivors).await;
                    }
                    return Ok((verdict?, rewrite, progress));
                }
            }
        }
    }

    fn completed(&self, proposal: Proposal, mut member: Member, progress: &Progress) -> Proposal {
        if let Some(own) = proposal.members.first() {
            member.books = own.books;
        }
        member.books.replaced = progress.rows;
        let now_ms = (self.options.now_ms)();
        let mut add: Vec<_> = progress.survivors.iter().cloned().map(|file| (file, false)).collect();
        // A file that is to come in and is there already stays as it is: who was killed between two commits gives the first
        // one again. To remove and add it in one commit would be to lose it, for readers that apply the removes last.
        let goes = |file: &FileEntry| proposal.add.iter().all(|(added, _)| added.log_path != file.log_path);
        let remove =
            progress.files.iter().filter(|file| goes(file)).map(|file| Remove::of(file, now_ms, true)).collect();
        let comes = |file: &StagedFile| progress.files.iter().all(|found| found.log_path != file.log_path);
        add.extend(proposal.add.into_iter().filter(|(file, _)| comes(file)));
        Proposal {
            members: vec![member],
            add,
            remove,
            relies_on: progress.counted.clone(),
            valid_at: progress.state.as_ref().map(|state| state.version),
            ..proposal
        }
    }

    /// Looks at the files that were not looked at yet, and writes those that lose rows anew. One file is in memory at
    /// a time.
    async fn advance<R: Rewrite>(self: &Arc<Self>, mut rewrite: R, progress: &mut Progress) -> Result<R, LakeError> {
        let state = match progress.state.take() {
            Some(mut state) => {
                self.catch_up(&mut state).await?;
                state
            }
            None => self.plan_on().await?,
        };
        if progress.counted.iter().any(|path| !state.files.contains_key(path)) {
            self.writer.discard(&progress.survivors).await;
            *progress = Progress { passed: std::mem::take(&mut progress.passed), ..Progress::default() };
            rewrite.restart();
        }
        let mut writer = self.writer.files();
        for (path, file) in &state.files {
            if progress.passed.contains(path) || progress.counted.contains(path) || !rewrite.may_be_in(file) {
                continue;
            }
            let frame = self.read_as(file, &state.layout).await?;
            let (back, survivors) = spawn_blocking(move || {
                let survivors = rewrite.select(&frame).and_then(|found| remaining(&frame, &found));
                (rewrite, survivors)
            })
            .await
            .map_err(|_| self.stopped())?;
            rewrite = back;
            let Some((survivors, gone)) = survivors.map_err(|source| self.rewrite_error(source))? else {
                progress.passed.insert(path.clone());
                continue;
            };
            progress.counted.insert(path.clone());
            if gone == 0 {
                continue;
            }
            progress.rows += gone;
            progress.files.push(file.clone());
            if survivors.height() > 0 {
                writer.write(survivors).await?;
            }
        }
        progress.survivors.extend(writer.finish().await?);
        progress.state = Some(state);
        Ok(rewrite)
    }

    /// Whether a rewrite that failed is worth a new plan; waits a moment if so.
    async fn replan(&self, error: &LakeError, attempt: u32) -> bool {
        if !matches!(error, LakeError::RewriteConflict { .. }) || attempt >= ATTEMPTS {
            return false;
        }
        tokio::time::sleep(self.options.jitter(PAUSE * attempt)).await;
        true
    }

    fn rewrite_error(&self, source: PolarsError) -> LakeError {
        LakeError::Frame { table: self.name().to_owned(), action: "rewrite", source }
    }
}

/// The rows that stay and how many go; `None` for a file that says nothing.
fn remaining(frame: &DataFrame, found: &Found) -> PolarsResult<Option<(DataFrame, u64)>> {
    if !found.any {
        return Ok(None);
    }
    // A row that nothing is said about stays.
    let stays: BooleanChunked = found.gone.iter().map(|gone| gone != Some(true)).collect();
    let gone = u64::from(found.gone.sum().unwrap_or(0));
    Ok(Some((frame.filter(&stays)?, gone)))
}
