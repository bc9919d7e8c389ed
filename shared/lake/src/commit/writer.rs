//! The commit itself: optimistic, conditional, and never in doubt.
//!
//! One [`Writer`] per table and process. Proposals that arrive while a commit is in flight wait together and share the
//! next log entry. Each round: settle what the transaction ids already answer, PUT `_delta_log/<version + 1>.json` if
//! absent, and on a conflict read just the winners. A commit is recognised by its `txnId`, so a PUT whose answer was
//! lost is found, not repeated.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use object_store::{PutMode, PutPayload};
use polars::error::PolarsError;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};
use tokio::time::Instant;
use weir_contract::TableColumn;

use super::entry::Entry;
use super::group::Group;
use super::left_behind::Whose;
use super::{FENCE, Outcome, Proposal, Verdict};
use crate::error::{ErrorKind, LakeError, is_final};
use crate::lake::LakeOptions;
use crate::log::checkpoint::last_checkpoint;
use crate::log::head::Head;
use crate::log::left_behind::LeftBehind;
use crate::log::state::State;
use crate::log::{Location, Mark, commit_path};
use crate::schema::{Layout, MetadataChange};

/// Back-off after the n-th failed request: up to this, doubled each time, jittered, never above [`FAILED_MAX`].
const FAILED_FIRST: Duration = Duration::from_millis(10);
const FAILED_MAX: Duration = Duration::from_secs(2);
/// Back-off after the n-th lost race: somebody made progress, so it grows slowly.
const LOST_STEP: Duration = Duration::from_millis(3);
const LOST_MAX: Duration = Duration::from_millis(60);
/// Whoever only reads the log looks whether it is the same so often.
const IDLE_LOOK: Duration = Duration::from_secs(30);
/// Proposals that share one commit.
const MAX_GROUP: usize = 512;

type Answer = Result<Verdict, LakeError>;

#[derive(Debug)]
struct Waiting {
    proposal: Proposal,
    answer: oneshot::Sender<Answer>,
}

#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) at: Location,
    pub(crate) options: LakeOptions,
    /// Changed only by whoever has the turn.
    known: SyncMutex<State>,
    /// When `known` was certainly the newest version, in milliseconds since the epoch.
    newest_at_ms: AtomicI64,
    turn: Arc<Mutex<()>>,
    waiting: SyncMutex<Vec<Waiting>>,
    pub(super) group: Group,
    /// A clock of looks at the log: each call of [`Writer::refresh`] and each look takes a number.
    looks: AtomicU64,
    /// The number of the newest look that is in `known`.
    seen: AtomicU64,
    /// Which opening of a table this is, in this process.
    pub(crate) opened: u64,
    /// What the log began with at the last look.
    pub(super) head: SyncMutex<Head>,
    /// When the last look began that found the log to be the one that is known.
    pub(super) looked: SyncMutex<Option<Instant>>,
    /// Held by whoever looks.
    pub(super) looking: Mutex<()>,
    /// Set for good when the folder holds another log than the one that is known: see [`super::look`].
    pub(super) lost: OnceLock<String>,
}

/// How one attempt ended.
pub(super) enum Put {
    Committed,
    Lost,
    Unknown(Attempted),
}

pub(super) struct Attempted {
    pub(super) entry: Entry,
    pub(super) error: object_store::Error,
}

impl Writer {
    /// `read_ms`: when `state` began to be read.
    pub(crate) fn new(at: Location, options: LakeOptions, state: State, head: Head, read_ms: i64) -> Self {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        Self {
            at,
            options,
            known: SyncMutex::new(state),
            newest_at_ms: AtomicI64::new(read_ms),
            turn: Arc::default(),
            waiting: SyncMutex::default(),
            group: Group::default(),
            looks: AtomicU64::new(1),
            seen: AtomicU64::new(0),
            opened: OPENED.fetch_add(1, Ordering::SeqCst),
            head: SyncMutex::new(head),
            looked: SyncMutex::new(None),
            looking: Mutex::default(),
            lost: OnceLock::new(),
        }
    }

    /// What this process knows of the table.
    pub(crate) fn known(&self) -> MutexGuard<'_, State> {
        // A state is replaced piece by piece only in `State::apply`, which leaves it whole when it fails.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn layout(&self) -> Arc<Layout> {
        Arc::clone(&self.known().layout)
    }

    /// Reads the commits that others made. A caller that waited while somebody else looked takes that answer.
    pub(crate) async fn refresh(&self) -> Result<i64, LakeError> {
        let asked = self.looks.fetch_add(1, Ordering::SeqCst);
        let _turn = self.turn.lock().await;
        if self.seen.load(Ordering::SeqCst) < asked {
            self.read_new_commits().await?;
        }
        Ok(self.known().version)
    }

    /// Needs the turn.
    async fn read_new_commits(&self) -> Result<(), LakeError> {
        self.check_lost()?;
        let look = self.looks.fetch_add(1, Ordering::SeqCst);
        let now_ms = (self.options.now_ms)();
        let mut unsure = false;
        loop {
            let next = self.known().version + 1;
            let Some(commit) = self.at.commit(next).await? else { break };
            let lines = self.at.decode(next, &commit.bytes)?;
            match self.whose(&lines) {
                Whose::Ours => {}
                Whose::Unsure => unsure = true,
                Whose::LeftBehind => {
                    // Whose is the folder? If it is still ours, its log ends here.
                    self.look().await?;
                    break;
                }
            }
            let applied = self.known().apply(&self.at, next, lines, commit.mark);
            if let Err(refused) = applied {
                self.pass_over(refused).await?;
            }
        }
        if unsure {
            self.look().await?;
        } else {
            self.look_if_older(IDLE_LOOK).await?;
        }
        if self.slept_long() {
            self.skip_cleaned_commits().await?;
        }
        self.saw(look, now_ms);
        Ok(())
    }

    /// A commit that made the table one which Weir does not write, or which does not fit the contract, may have been taken back
    /// by a later one: then the newest state is as good as any.
    async fn pass_over(&self, refused: LakeError) -> Result<(), LakeError> {
        if !matches!(refused.kind(), ErrorKind::Unsupported | ErrorKind::Invalid) {
            return Err(refused);
        }
        let (definition, read) = {
            let state = self.known();
            (Arc::clone(&state.definition), state.read)
        };
        let Some(state) = State::load(&self.at, &definition, &self.options, read).await? else {
            return Err(self.lose("its log is gone"));
        };
        self.look().await?;
        *self.known() = state;
        Ok(())
    }

    /// The number of a look that begins now, and the time.
    pub(super) fn next_look(&self) -> (u64, i64) {
        (self.looks.fetch_add(1, Ordering::SeqCst), (self.options.now_ms)())
    }

    /// What is known was the newest at that time.
    pub(super) fn saw(&self, look: u64, now_ms: i64) {
        self.known().forget_if_many(now_ms);
        self.seen.fetch_max(look, Ordering::SeqCst);
        self.newest_at_ms.store(now_ms, Ordering::SeqCst);
    }

    /// Whether the commit after the one that is known may have been cleaned up meanwhile.
    fn slept_long(&self) -> bool {
        let known_ms = self.newest_at_ms.load(Ordering::SeqCst);
        let slept_ms = (self.options.now_ms)().saturating_sub(known_ms);
        slept_ms < 0 || u128::try_from(slept_ms).is_ok_and(|slept| slept >= self.options.max_state_age.as_millis())
    }

    /// A commit that is missing is the end of the log, or was cleaned up: then a newer checkpoint stands for it. To take
    /// the second for the first would be to commit into the past, where no reader looks.
    async fn skip_cleaned_commits(&self) -> Result<(), LakeError> {
        let (known, definition, read) = {
            let state = self.known();
            (state.version, Arc::clone(&state.definition), state.read)
        };
        if last_checkpoint(&self.at).await?.is_some_and(|(version, _)| version > known) {
            let Some(state) = State::load(&self.at, &definition, &self.options, read).await? else {
                return Err(self.lose("its log is gone"));
            };
            if state.version > known {
                self.look().await?;
                *self.known() = state;
            }
        }
        Ok(())
    }

    /// Adds columns that the table lacks, nullable; whoever else adds them at the same time.
    pub(crate) async fn add_columns(self: &Arc<Self>, columns: Vec<TableColumn>) -> Result<(), LakeError> {
        self.propose(Proposal { columns, operation: "ADD COLUMNS", ..Proposal::default() }).await.map(drop)
    }

    /// Changes the table's metadata, unless it is so already.
    pub(crate) async fn change(
        self: &Arc<Self>,
        metadata: MetadataChange,
        operation: &'static str,
    ) -> Result<(), LakeError> {
        self.propose(Proposal { metadata, operation, ..Proposal::default() }).await.map(drop)
    }

    /// Commits, alone or with whoever waits. The work runs in a task of its own, so a caller that is dropped at its
    /// deadline does not take its neighbours' commit with it.
    pub(crate) async fn propose(self: &Arc<Self>, mut proposal: Proposal) -> Answer {
        self.check_lost()?;
        proposal.came.get_or_insert_with(Instant::now);
        let (answer, mut mine) = oneshot::channel();
        self.waiting().push(Waiting { proposal, answer });
        let turn = tokio::select! {
            biased;
            answered = &mut mine => return answered.unwrap_or_else(|_| Err(self.stopped())),
            turn = Arc::clone(&self.turn).lock_owned() => turn,
        };
        let writer = Arc::clone(self);
        tokio::spawn(async move { writer.commit_waiting(turn).await });
        mine.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        // A poisoned queue is still a queue: nothing is done under its lock that could leave it half-made.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn commit_waiting(&self, _turn: OwnedMutexGuard<()>) {
        loop {
            let group = {
                let mut waiting = self.waiting();
                let take = waiting.len().min(MAX_GROUP);
                waiting.drain(..take).collect::<Vec<_>>()
            };
            if group.is_empty() {
                return;
            }
            let mut later = Vec::new();
            self.commit_group(group, &mut later).await;
            // Two proposals that commit or settle one producer cannot share a commit: the second goes into the next
            // round, where it sees what the first did.
            self.waiting().splice(0..0, later);
        }
    }

    async fn commit_group(&self, mut group: Vec<Waiting>, later: &mut Vec<Waiting>) {
        let began = Instant::now();
        let (mut attempts, mut failures) = (0, 0);
        let mut unknown: Option<Attempted> = None;
        // When the entry was put that may be there: an earlier attempt of it counts.
        let mut put_at = began;
        let failed = loop {
            // A lost entry is tried again at its version: a group in doubt must not lose sight of it.
            if unknown.is_none()
                && self.slept_long()
                && let Err(error) = self.read_new_commits().await
            {
                break error;
            }
            let came = group.iter().filter_map(|waiting| waiting.proposal.came).max();
            if let Err(error) = self.look_since(came).await {
                // Nothing was put in this round, but something may have been before.
                let Some(attempted) = unknown.take() else { break error };
                if matches!(error, LakeError::Replaced { .. }) {
                    self.take_back_if_made(attempted.entry.version, put_at).await;
                    break error;
                }
                break self.gave_up(attempts, Some(attempted));
            }
            self.settle(&mut group, later).await;
            if group.is_empty() {
                return;
            }
            if attempts > 0 && began.elapsed() >= self.options.commit_timeout {
                break self.gave_up(attempts, unknown);
            }
            attempts += 1;
            if unknown.is_none() {
                put_at = Instant::now();
            }
            let entry = match self.next_entry(&group, unknown.take()) {
                Ok(entry) => entry,
                Err(error) => break error,
            };
            let pause = match self.put(entry).await {
                Ok(Put::Committed) => {
                    let version = self.known().version;
                    if let Err(error) = self.look_after(version, put_at).await {
                        break error;
                    }
                    group.into_iter().for_each(|waiting| drop(waiting.answer.send(Ok(Verdict::Committed { version }))));
                    return;
                }
                Ok(Put::Lost) => LOST_STEP.saturating_mul(attempts).min(LOST_MAX),
                Ok(Put::Unknown(attempted)) => {
                    unknown = Some(attempted);
                    failures += 1;
                    FAILED_FIRST.saturating_mul(1 << failures.min(12)).min(FAILED_MAX)
                }
                Err(error) => break error,
            };
            tokio::time::sleep(self.options.jitter(pause)).await;
            // Those who won meanwhile are read, not run into. After a lost answer the entry itself has to tell.
            if unknown.is_none()
                && let Err(error) = self.read_new_commits().await
                && error.kind() != ErrorKind::Retryable
            {
                break error;
            }
        };
        self.fail(group, failed);
    }

    /// After a lost answer the very same entry is tried again, so that it is recognised if it did arrive.
    fn next_entry(&self, group: &[Waiting], unknown: Option<Attempted>) -> Result<Entry, LakeError> {
        let known = self.known();
        if let Some(attempted) = unknown.filter(|attempted| attempted.entry.version == known.version + 1) {
            return Ok(attempted.entry);
        }
        let proposals: Vec<_> = group.iter().map(|waiting| &waiting.proposal).collect();
        Entry::build(&self.at, &known, &proposals, self.options.new_id(), (self.options.now_ms)())
    }

    fn gave_up(&self, attempts: u32, unknown: Option<Attempted>) -> LakeError {
        let table = self.at.name.clone();
        match unknown {
            Some(Attempted { entry, error }) => {
                LakeError::UnknownOutcome { table, version: entry.version, source: Box::new(error) }
            }
            None => LakeError::Contended { table, attempts },
        }
    }

    /// Everyone in the group gets an answer; the first gets the error itself, the others its kind and message.
    fn fail(&self, group: Vec<Waiting>, error: LakeError) {
        for (waiting, error) in group.into_iter().zip(shared(error)) {
            drop(waiting.answer.send(Err(error)));
        }
    }

    /// Answers the proposals that the state already answers; what remains may be committed together.
    async fn settle(&self, group: &mut Vec<Waiting>, later: &mut Vec<Waiting>) {
        let mut seen = HashSet::new();
        let mut removed = HashSet::new();
        let mut remaining = Vec::with_capacity(group.len());
        for mut waiting in group.drain(..) {
            let proposal = &waiting.proposal;
            let (moved, version, missing) = {
                let known = self.known();
                (moved(&known, proposal), known.version, known.layout.missing(&proposal.columns))
            };
            let ids = || {
                let members = proposal.members.iter();
                members.flat_map(|member| [&member.producer].into_iter().chain(&member.raises).map(|also| &also.id))
            };
            let alone = |proposal: &Proposal| {
                proposal.unseen.is_some()
                    || !proposal.details.is_empty()
                    || !proposal.columns.is_empty()
                    || !proposal.metadata.is_empty()
            };
            let mut conditions = proposal.members.iter().filter_map(|member| member.condition.as_ref());
            let forbidden = self.known().rules.forbid(&self.at, proposal);
            let clash = ids().any(|id| seen.contains(id))
                || conditions.any(|condition| seen.contains(&condition.id))
                || proposal.remove.iter().any(|remove| removed.contains(&remove.path))
                // What it could not see must not come with it, and a note speaks of a whole entry.
                || (alone(proposal) && !remaining.is_empty())
                || remaining.first().is_some_and(|other: &Waiting| alone(&other.proposal));
            match missing {
                _ if let Some(outcome) = moved => drop(waiting.answer.send(Ok(Verdict::Moved(outcome)))),
                _ if let Some(error) = forbidden => drop(waiting.answer.send(Err(error))),
                Err(error) => drop(waiting.answer.send(Err(error))),
                Ok(missing) if missing.is_empty() && proposal.is_done(&self.known().metadata) => {
                    drop(waiting.answer.send(Ok(Verdict::Committed { version })));
                }
                _ if clash => later.push(waiting),
                _ => match self.still_valid(&mut waiting.proposal).await {
                    Ok(()) => {
                        let proposal = &waiting.proposal;
                        seen.extend(proposal.members.iter().flat_map(|member| {
                            [&member.producer].into_iter().chain(&member.raises).map(|also| also.id.clone())
                        }));
                        removed.extend(proposal.remove.iter().map(|remove| remove.path.clone()));
                        remaining.push(waiting);
                    }
                    Err(error) => drop(waiting.answer.send(Err(error))),
                },
            }
        }
        *group = remaining;
    }

    /// Whether nothing that was committed since stands against a proposal: the lease is still the newest,
    /// the files it removes are there, and no rows came in that it should have seen.
    async fn still_valid(&self, proposal: &mut Proposal) -> Result<(), LakeError> {
        let table = || self.at.name.clone();
        let newest = {
            let known = self.known();
            let fence = known.transactions.get(FENCE).map_or(i64::MIN, |known| known.version);
            if let Some(ours) = proposal.fence.filter(|ours| *ours < fence) {
                return Err(LakeError::LeaseLost { table: table(), fence: ours, newer: fence });
            }
            known.version
        };
        let Some(valid_at) = proposal.valid_at else { return Ok(()) };
        let removes = proposal.remove.iter().map(|remove| remove.path.as_str());
        let ours: HashSet<_> = removes.chain(proposal.relies_on.iter().map(String::as_str)).collect();
        for version in valid_at + 1..=newest {
            let Some(bytes) = self.at.read_commit(version).await? else {
                return Err(self.at.corrupt(commit_path(&self.at.root, version), "was cleaned up under a rewrite"));
            };
            for line in self.at.decode(version, &bytes)? {
                if let Some(remove) = line.remove.filter(|remove| ours.contains(remove.path.as_str())) {
                    return Err(LakeError::RewriteConflict { table: table(), path: remove.path, version });
                }
                if let (Some(add), Some(may_match)) = (line.add.filter(|add| add.data_change), &proposal.unseen)
                    && may_match(&add)
                {
                    return Err(LakeError::RewriteConflict { table: table(), path: add.path, version });
                }
            }
        }
        proposal.valid_at = Some(newest.max(valid_at));
        Ok(())
    }

    async fn put(&self, entry: Entry) -> Result<Put, LakeError> {
        let path = commit_path(&self.at.root, entry.version);
        let (look, now_ms) = self.next_look();
        let payload = PutPayload::from(entry.body.clone());
        let refusal = match self.at.store.put_opts(&path, payload, PutMode::Create.into()).await {
            Ok(put) => {
                let lines = self.at.decode(entry.version, &entry.body)?;
                let mark = Mark { e_tag: put.e_tag, written_ms: None };
                self.known().apply(&self.at, entry.version, lines, mark)?;
                // That the entry could be made says that there was nothing newer.
                self.saw(look, now_ms);
                return Ok(Put::Committed);
            }
            Err(error) => error,
        };
        // Lost, or ours with the answer lost (a retried request meets its own effect): what is there now tells.
        let winner = match self.at.commit(entry.version).await {
            Ok(Some(winner)) => winner,
            Err(error) if error.kind() != ErrorKind::Retryable => return Err(error),
            Ok(None) | Err(_) if is_final(&refusal) => return Err(self.at.store_error("commit", &path, refusal)),
            Ok(None) | Err(_) => return Ok(Put::Unknown(Attempted { entry, error: refusal })),
        };
        let lines = self.at.decode(entry.version, &winner.bytes)?;
        let id = lines.iter().find_map(|line| line.commit_info.as_ref()?.txn_id.clone());
        let whose = self.whose(&lines);
        if whose == Whose::LeftBehind {
            let left = LeftBehind { version: entry.version, commit: winner };
            return self.replace_left_behind(entry, left).await;
        }
        self.known().apply(&self.at, entry.version, lines, winner.mark)?;
        if whose == Whose::Unsure {
            self.look().await?;
        }
        Ok(if id.as_deref() == Some(entry.id.as_str()) { Put::Committed } else { Put::Lost })
    }

    pub(crate) fn frame_error(&self, action: &'static str, source: PolarsError) -> LakeError {
        LakeError::Frame { table: self.at.name.clone(), action, source }
    }

    pub(crate) fn stopped(&self) -> LakeError {
        LakeError::Stopped { table: self.at.name.clone() }
    }
}

/// What the first member is told that stands against the proposal.
fn moved(known: &State, proposal: &Proposal) -> Option<Outcome> {
    proposal.members.iter().find_map(|member| member.overtaken(known))
}

/// The error itself, then its kind and message without end.
pub(super) fn shared(error: LakeError) -> impl Iterator<Item = LakeError> {
    let (kind, message) = (error.kind(), error.to_string());
    std::iter::once(error)
        .chain(std::iter::repeat_with(move || LakeError::SharedCommit { kind, message: message.clone() }))
}
