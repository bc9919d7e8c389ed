//! The commit protocol: optimistic, conditional, and never in doubt.
//!
//! One [`Writer`] per table and process. Proposals that arrive while a commit is in flight wait together and share the
//! next log entry (group commit). Each round: settle what the transaction ids already answer, PUT
//! `_delta_log/<version + 1>.json` if absent, and on a conflict read just the winner. A commit is recognised by its
//! `txnId`, so a PUT whose answer was lost is found, not repeated.

use std::collections::{BTreeMap, HashSet};
use std::iter;
use std::sync::{Arc, Mutex as SyncMutex};
use std::time::Duration;

use object_store::{PutMode, PutPayload};
use rand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use crate::error::{ErrorKind, LakeError};
use crate::lake::LakeOptions;
use crate::log::actions::{Add, CommitInfo, Line, Remove, Transaction, encode};
use crate::log::commit_path;
use crate::log::replay::{Location, State};
use crate::table::{Table, TableDefinition};
use crate::writer::StagedFile;

pub(crate) const ENGINE: &str = concat!("weir/", env!("CARGO_PKG_VERSION"));

/// Transaction ids that hold a dataset's books as running totals, so that they survive checkpoints and log clean-up.
const BOOKS: &str = "weir:books:";
/// Back-off after the n-th lost race: up to this, doubled each time, jittered, never above [`BACKOFF_MAX`].
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Proposals that share one commit.
const MAX_GROUP: usize = 512;

/// An ordered source of records: versions of one producer are committed in increasing order, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    pub id: String,
    pub version: i64,
    /// Whether the id may expire under `delta.setTransactionRetentionDuration`: parts of blobs may, event partitions
    /// and books never.
    pub expires: bool,
}

/// Records, counted. `records_in = committed + quarantined + already_committed`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Books {
    pub records_in: u64,
    pub committed: u64,
    pub quarantined: u64,
    pub already_committed: u64,
    /// Rows that a replacement took out of this table.
    #[serde(default)]
    pub replaced: u64,
}

impl Books {
    const KEYS: [&'static str; 5] = ["records_in", "committed", "quarantined", "already_committed", "replaced"];

    fn counters(self) -> [(&'static str, u64); 5] {
        let values = [self.records_in, self.committed, self.quarantined, self.already_committed, self.replaced];
        std::array::from_fn(|index| (Self::KEYS[index], values[index]))
    }

    /// The running totals in a table's transaction ids.
    pub fn of(transactions: &std::collections::HashMap<String, i64>) -> Self {
        let total = |key: &str| {
            let value = transactions.get(&format!("{BOOKS}{key}")).copied().unwrap_or_default();
            u64::try_from(value).unwrap_or_default()
        };
        let [records_in, committed, quarantined, already_committed, replaced] = Self::KEYS.map(total);
        Self { records_in, committed, quarantined, already_committed, replaced }
    }

    pub fn balanced(&self) -> bool {
        self.records_in == self.committed + self.quarantined + self.already_committed
    }
}

impl std::ops::AddAssign for Books {
    fn add_assign(&mut self, other: Self) {
        self.records_in += other.records_in;
        self.committed += other.committed;
        self.quarantined += other.quarantined;
        self.already_committed += other.already_committed;
        self.replaced += other.replaced;
    }
}

/// Files that one producer wants to add.
#[derive(Debug, Clone)]
pub struct Append {
    pub producer: Producer,
    pub files: Vec<StagedFile>,
    pub books: Books,
}

/// What became of a proposal. Both are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// In the log at this Delta version.
    Committed { version: i64 },
    /// The producer was already at this version of its own, which is at least the proposed one.
    AlreadyCommitted { producer_version: i64 },
    /// The producer moved on into the middle of this proposal: drop what it has and propose the rest.
    Overlaps { producer_version: i64 },
}

/// Something to commit. `after` is the producer's version that the proposal was made against.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) producer: Producer,
    /// Another producer whose delivery this commit settles too, and whether it was settled when this was planned. If
    /// it is settled in between, its rows came in unseen: the plan is void.
    pub(crate) settles: Option<(Producer, bool)>,
    /// A producer that is brought up to a version by this commit, if it is not there yet.
    pub(crate) raises: Option<Producer>,
    pub(crate) after: Option<i64>,
    pub(crate) add: Vec<(StagedFile, bool)>,
    pub(crate) remove: Vec<Remove>,
    /// The table version whose files `remove` was planned on.
    pub(crate) read_version: Option<i64>,
    pub(crate) books: Books,
    pub(crate) operation: &'static str,
    /// Extra keys of `commitInfo.weir`.
    pub(crate) details: BTreeMap<&'static str, serde_json::Value>,
}

type Answer = Result<Outcome, LakeError>;

#[derive(Debug)]
struct Waiting {
    proposal: Proposal,
    answer: oneshot::Sender<Answer>,
}

#[derive(Debug)]
pub(crate) struct Writer {
    at: Location,
    definition: TableDefinition,
    options: LakeOptions,
    pub(crate) state: Arc<Mutex<State>>,
    queue: SyncMutex<Vec<Waiting>>,
}

impl Table {
    /// Appends files of one producer, exactly once. `after` is what [`Table::committed`] said when the files were
    /// made: if the producer has moved since, nothing is written and the answer says how far it is.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Retryable`] when the store does not answer: deliver the same input again.
    pub async fn append(&self, append: Append, after: Option<i64>) -> Result<Outcome, LakeError> {
        self.append_raising(append, after, None).await
    }

    /// [`Table::append`] that also brings another producer up to a version, should it not be there yet.
    ///
    /// # Errors
    /// As [`Table::append`].
    pub async fn append_raising(
        &self,
        append: Append,
        after: Option<i64>,
        raises: Option<Producer>,
    ) -> Result<Outcome, LakeError> {
        let proposal = Proposal {
            producer: append.producer,
            settles: None,
            raises,
            after,
            add: append.files.into_iter().map(|file| (file, true)).collect(),
            remove: Vec::new(),
            read_version: None,
            books: append.books,
            operation: "WRITE",
            details: BTreeMap::new(),
        };
        self.writer.propose(proposal).await
    }
}

impl Writer {
    pub(crate) fn new(at: Location, definition: TableDefinition, options: LakeOptions, state: State) -> Self {
        Self { at, definition, options, state: Arc::new(Mutex::new(state)), queue: SyncMutex::default() }
    }

    /// Commits, alone or with whoever waits. The work runs in a task of its own, so a caller that is dropped at its
    /// deadline does not take its neighbours' commit with it.
    pub(crate) async fn propose(self: &Arc<Self>, proposal: Proposal) -> Answer {
        let (answer, mut mine) = oneshot::channel();
        self.queue().push(Waiting { proposal, answer });
        let stopped = || LakeError::Stopped { table: self.at.name.clone() };
        let guard = tokio::select! {
            biased;
            answered = &mut mine => return answered.unwrap_or_else(|_| Err(stopped())),
            guard = Arc::clone(&self.state).lock_owned() => guard,
        };
        let writer = Arc::clone(self);
        tokio::spawn(async move { writer.commit_waiting(guard).await });
        mine.await.unwrap_or_else(|_| Err(stopped()))
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        // A poisoned queue is still a queue: nothing is done under its lock that could leave it half-made.
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn commit_waiting(&self, mut state: OwnedMutexGuard<State>) {
        loop {
            let group = {
                let mut queue = self.queue();
                let take = queue.len().min(MAX_GROUP);
                queue.drain(..take).collect::<Vec<_>>()
            };
            if group.is_empty() {
                return;
            }
            let mut later = Vec::new();
            self.commit_group(&mut state, group, &mut later).await;
            // Two proposals that commit or settle one producer cannot share a commit: the second goes into the next
            // round, where it sees what the first did.
            self.queue().splice(0..0, later);
        }
    }

    async fn commit_group(&self, state: &mut State, mut group: Vec<Waiting>, later: &mut Vec<Waiting>) {
        let mut attempt = 0;
        let mut unknown: Option<Attempted> = None;
        let failed = loop {
            if let Err(error) = self.settle(state, &mut group, later).await {
                break error;
            }
            if group.is_empty() {
                return;
            }
            attempt += 1;
            if attempt > self.options.commit_attempts {
                break unknown.take().map_or_else(
                    || LakeError::Contended { table: self.at.name.clone(), attempts: attempt },
                    |attempted| self.unknown_outcome(attempted),
                );
            }
            // After a lost answer the very same entry is tried again, so that it is recognised if it did arrive.
            let entry = match unknown.take().filter(|attempted| attempted.entry.version == state.version + 1) {
                Some(attempted) => attempted.entry,
                None => match Entry::build(state, &group, (self.options.now_ms)()) {
                    Ok(entry) => entry,
                    Err(error) => break self.at.corrupt(&self.at.root, error),
                },
            };
            match self.put(state, entry).await {
                Ok(Put::Committed) => {
                    let version = state.version;
                    group.into_iter().for_each(|waiting| drop(waiting.answer.send(Ok(Outcome::Committed { version }))));
                    return;
                }
                Ok(Put::Lost) => {}
                Ok(Put::Unknown(attempted)) => unknown = Some(attempted),
                Err(error) => break error,
            }
            tokio::time::sleep(backoff(attempt)).await;
        };
        Self::fail(group, failed);
    }

    /// Everyone in the group gets an answer; the first gets the error itself, the others its kind and message.
    fn fail(group: Vec<Waiting>, error: LakeError) {
        let (kind, message) = (error.kind(), error.to_string());
        let mut first = Some(error);
        for waiting in group {
            let shared = || LakeError::SharedCommit { kind, message: message.clone() };
            drop(waiting.answer.send(Err(first.take().unwrap_or_else(shared))));
        }
    }

    /// Answers the proposals that the state already answers; what remains may be committed together.
    async fn settle(&self, state: &State, group: &mut Vec<Waiting>, later: &mut Vec<Waiting>) -> Result<(), LakeError> {
        let mut seen = HashSet::new();
        let mut removed = HashSet::new();
        let mut remaining = Vec::with_capacity(group.len());
        for waiting in group.drain(..) {
            let Proposal { producer, after, settles, remove, .. } = &waiting.proposal;
            let known = state.transactions.get(&producer.id).copied();
            let ids = || iter::once(&producer.id).chain(settles.iter().map(|(also, _)| &also.id));
            let clash = ids().any(|id| seen.contains(id)) || remove.iter().any(|remove| removed.contains(&remove.path));
            match known {
                Some(version) if version >= producer.version => {
                    drop(waiting.answer.send(Ok(Outcome::AlreadyCommitted { producer_version: version })));
                }
                Some(version) if known != *after => {
                    drop(waiting.answer.send(Ok(Outcome::Overlaps { producer_version: version })));
                }
                _ if clash => later.push(waiting),
                _ => match self.rewrite_conflict(state, &waiting.proposal).await {
                    Ok(()) => {
                        seen.extend(ids().cloned());
                        removed.extend(remove.iter().map(|remove| remove.path.clone()));
                        remaining.push(waiting);
                    }
                    Err(error) => drop(waiting.answer.send(Err(error))),
                },
            }
        }
        *group = remaining;
        Ok(())
    }

    /// Whether a commit after `read_version` removed a file that the proposal removes too.
    async fn rewrite_conflict(&self, state: &State, proposal: &Proposal) -> Result<(), LakeError> {
        if let Some((also, false)) = &proposal.settles
            && state.transactions.contains_key(&also.id)
        {
            return Err(LakeError::SettledMeanwhile { table: self.at.name.clone(), version: state.version });
        }
        let Some(read_version) = proposal.read_version else { return Ok(()) };
        let ours: HashSet<_> = proposal.remove.iter().map(|remove| remove.path.as_str()).collect();
        for version in read_version + 1..=state.version {
            let Some(bytes) = self.at.read_commit(version).await? else {
                return Err(self.at.corrupt(commit_path(&self.at.root, version), "was cleaned up under a rewrite"));
            };
            for line in self.at.decode(version, &bytes)? {
                if let Some(remove) = line.remove.filter(|remove| ours.contains(remove.path.as_str())) {
                    let table = self.at.name.clone();
                    return Err(LakeError::RewriteConflict { table, path: remove.path, version });
                }
            }
        }
        Ok(())
    }

    async fn put(&self, state: &mut State, entry: Entry) -> Result<Put, LakeError> {
        let path = commit_path(&self.at.root, entry.version);
        let payload = PutPayload::from(entry.body.clone());
        let refusal = match self.at.store.put_opts(&path, payload, PutMode::Create.into()).await {
            Ok(_) => {
                let lines = self.at.decode(entry.version, &entry.body)?;
                state.apply(&self.at, &self.definition, entry.version, lines)?;
                return Ok(Put::Committed);
            }
            Err(error) => error,
        };
        // Lost, or ours with the answer lost (a retried request meets its own effect): what is there now tells.
        let winner = match self.at.read_commit(entry.version).await {
            Ok(Some(winner)) => winner,
            Err(error) if error.kind() != ErrorKind::Retryable => return Err(error),
            Ok(None) | Err(_) if is_final(&refusal) => return Err(self.at.store_error("commit", &path, refusal)),
            Ok(None) | Err(_) => return Ok(Put::Unknown(Attempted { entry, error: refusal })),
        };
        let lines = self.at.decode(entry.version, &winner)?;
        let id = lines.iter().find_map(|line| line.commit_info.as_ref()?.txn_id.clone());
        state.apply(&self.at, &self.definition, entry.version, lines)?;
        Ok(if id.as_deref() == Some(entry.id.as_str()) { Put::Committed } else { Put::Lost })
    }

    fn unknown_outcome(&self, attempted: Attempted) -> LakeError {
        let (version, source) = (attempted.entry.version, Box::new(attempted.error));
        LakeError::UnknownOutcome { table: self.at.name.clone(), version, source }
    }
}

/// Whether the store will say no again, however often it is asked within this call.
fn is_final(refusal: &object_store::Error) -> bool {
    use object_store::Error;
    matches!(
        refusal,
        Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::InvalidPath { .. }
    )
}

enum Put {
    Committed,
    Lost,
    Unknown(Attempted),
}

struct Attempted {
    entry: Entry,
    error: object_store::Error,
}

/// A log entry that is ready to be written.
struct Entry {
    version: i64,
    id: String,
    body: Vec<u8>,
}

#[derive(Serialize)]
struct WeirInfo<'a> {
    operation: &'a str,
    books: Books,
    producers: Vec<&'a str>,
    #[serde(flatten)]
    details: BTreeMap<&'static str, serde_json::Value>,
}

impl Entry {
    fn build(state: &State, group: &[Waiting], now_ms: i64) -> serde_json::Result<Self> {
        let id = uuid::Uuid::new_v4().to_string();
        let mut books = Books::default();
        let mut details = BTreeMap::new();
        group.iter().for_each(|waiting| {
            books += waiting.proposal.books;
            details.extend(waiting.proposal.details.clone());
        });
        let operation = group.first().map_or("WRITE", |waiting| waiting.proposal.operation);
        let producers = group.iter().map(|waiting| waiting.proposal.producer.id.as_str()).collect();
        let weir = RawValue::from_string(serde_json::to_string(&WeirInfo { operation, books, producers, details })?)?;
        let info = CommitInfo {
            timestamp: now_ms,
            operation: operation.to_owned(),
            txn_id: Some(id.clone()),
            engine_info: Some(ENGINE.to_owned()),
            weir: Some(weir),
        };
        let mut lines = vec![Line { commit_info: Some(info), ..Line::default() }];
        for waiting in group {
            let Proposal { producer, settles, raises, add, remove, .. } = &waiting.proposal;
            let last_updated = producer.expires.then_some(now_ms);
            lines.push(txn(producer.id.clone(), producer.version, last_updated));
            let behind = |also: &&Producer| state.transactions.get(&also.id).is_none_or(|at| *at < also.version);
            if let Some(also) = raises.as_ref().filter(behind) {
                lines.push(txn(also.id.clone(), also.version, also.expires.then_some(now_ms)));
            }
            if let Some((also, false)) = settles {
                lines.push(txn(also.id.clone(), also.version, also.expires.then_some(now_ms)));
            }
            lines.extend(remove.iter().map(|remove| Line { remove: Some(remove.clone()), ..Line::default() }));
            lines.extend(add.iter().map(|(file, data_change)| {
                let add = file.add_action(now_ms, *data_change);
                Line { add: Some(add), ..Line::default() }
            }));
        }
        let totals = Books::of(&state.transactions);
        for ((key, total), (_, more)) in totals.counters().into_iter().zip(books.counters()) {
            if more > 0 {
                let total = i64::try_from(total + more).unwrap_or(i64::MAX);
                lines.push(txn(format!("{BOOKS}{key}"), total, None));
            }
        }
        Ok(Self { version: state.version + 1, id, body: encode(&lines)? })
    }
}

fn txn(app_id: String, version: i64, last_updated: Option<i64>) -> Line {
    Line { txn: Some(Transaction { app_id, version, last_updated }), ..Line::default() }
}

fn backoff(attempt: u32) -> Duration {
    let ceiling = BACKOFF_FIRST.saturating_mul(1 << attempt.min(12)).min(BACKOFF_MAX);
    rand::rng().random_range(Duration::ZERO..=ceiling)
}

impl StagedFile {
    fn add_action(&self, now_ms: i64, data_change: bool) -> Add {
        Add {
            path: self.log_path.clone(),
            partition_values: self.partition_values.clone(),
            size: i64::try_from(self.size).unwrap_or(i64::MAX),
            modification_time: now_ms,
            data_change,
            stats: Some(self.stats.clone()),
            deletion_vector: None,
        }
    }
}
