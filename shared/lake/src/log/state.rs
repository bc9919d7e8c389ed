//! The state of a table, replayed from its log: last checkpoint, then the commits after it.
//!
//! Cost: one read of the checkpoint (only the columns that are asked for) and one GET for each later commit. A state
//! that is already in memory is brought up to date by its new commits alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use super::actions::{Add, Line, Metadata, Protocol, Remove, Transaction};
use super::checkpoint::{Checkpoint, LogListing, Unreadable, checkpoint_hint};
use super::guard::{Rules, guard, unsupported};
use super::left_behind::is_of_another;
use super::{Commit, Location, Mark, commit_path, log_folder};
use crate::error::{LakeError, RESTORE};
use crate::interval;
use crate::lake::LakeOptions;
use crate::schema::Layout;
use crate::snapshot::FileEntry;
use crate::table::TableDefinition;

/// Commits read at the same time on a cold start.
const READ_AHEAD: usize = 32;
/// Transaction ids below which nobody looks for expired ones.
const FEW_TRANSACTIONS: usize = 1024;

/// How much of the log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Read {
    /// What a writer has to know: version, protocol, metadata, transaction ids.
    #[default]
    Writer,
    /// The files of the table, too.
    Files,
    /// The files, and those that were removed.
    Tombstones,
}

/// A transaction id's last version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) version: i64,
    /// Milliseconds since the epoch, where the id may expire.
    pub(crate) last_updated: Option<i64>,
}

/// A table at one version.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) version: i64,
    /// Of the newest commit, where that was read or looked at.
    pub(crate) newest: Option<Mark>,
    protocol: Protocol,
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) layout: Arc<Layout>,
    pub(crate) definition: Arc<TableDefinition>,
    pub(crate) transactions: HashMap<String, Known>,
    /// As many ids are worth a look for expired ones.
    many_transactions: usize,
    /// By log path; empty unless asked for.
    pub(crate) files: BTreeMap<String, FileEntry>,
    /// Log path → when it was removed, in milliseconds since the epoch; empty unless asked for.
    pub(crate) tombstones: HashMap<String, i64>,
    pub(crate) read: Read,
    /// What the table forbids its writers.
    pub(crate) rules: Rules,
    /// Checkpoints that were passed over because nobody can read them.
    pub(crate) damaged: Vec<Checkpoint>,
}

impl State {
    /// The newest state of the table, or `None` when there is no table.
    pub(crate) async fn load(
        at: &Location,
        definition: &Arc<TableDefinition>,
        options: &LakeOptions,
        read: Read,
    ) -> Result<Option<Self>, LakeError> {
        let Some((replay, version)) = Replay::newest(at, read).await? else { return Ok(None) };
        let mut state = replay.finish(at, definition, version)?;
        state.forget_expired((options.now_ms)());
        Ok(Some(state))
    }

    /// Forgets expired ids when there are many: a process that never ends would keep them for ever.
    pub(crate) fn forget_if_many(&mut self, now_ms: i64) {
        if self.transactions.len() >= self.many_transactions {
            self.forget_expired(now_ms);
        }
    }

    /// Drops the transaction ids that `delta.setTransactionRetentionDuration` lets expire, as every Delta reader does.
    ///
    /// By the store's time of the newest commit, where this machine's clock is ahead of it: an id that is forgotten too
    /// early lets a second delivery in.
    fn forget_expired(&mut self, now_ms: i64) {
        let now_ms =
            self.newest.as_ref().and_then(|newest| newest.written_ms).map_or(now_ms, |newest| now_ms.min(newest));
        let retention = self.property("delta.setTransactionRetentionDuration").and_then(interval::parse);
        if let Some(retention) = retention {
            let oldest = now_ms.saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
            self.transactions.retain(|_, known| known.last_updated.is_none_or(|updated| updated > oldest));
        }
        // Twice as many again, so that looking through them costs each commit next to nothing.
        self.many_transactions = FEW_TRANSACTIONS.max(2 * self.transactions.len());
    }

    /// A table property.
    pub(crate) fn property(&self, key: &str) -> Option<&str> {
        self.metadata.configuration.get(key)?.as_deref()
    }

    /// Applies one commit, which must be the next version. After a commit that made the table one which Weir does not
    /// write, or which does not fit the definition any more, the state stays before it: every later call fails alike.
    pub(crate) fn apply(&mut self, at: &Location, version: i64, lines: Vec<Line>, mark: Mark) -> Result<(), LakeError> {
        debug_assert_eq!(version, self.version + 1);
        let protocol = lines.iter().rev().find_map(|line| line.protocol.clone());
        let metadata = lines.iter().rev().find_map(|line| line.meta_data.clone()).map(Arc::new);
        if protocol.is_some() || metadata.is_some() {
            let protocol = protocol.unwrap_or_else(|| self.protocol.clone());
            let metadata = metadata.unwrap_or_else(|| Arc::clone(&self.metadata));
            let rules = guard(at, &protocol, &metadata)?;
            let layout = Layout::fit(at, &self.definition, &metadata)?;
            if layout != *self.layout {
                self.layout = Arc::new(layout);
            }
            (self.protocol, self.metadata, self.rules) = (protocol, metadata, rules);
        }
        let mut replay = Replay {
            read: self.read,
            transactions: std::mem::take(&mut self.transactions),
            files: std::mem::take(&mut self.files),
            tombstones: std::mem::take(&mut self.tombstones),
            ..Replay::default()
        };
        let applied = replay.commit(at, version, lines, mark.written_ms);
        (self.transactions, self.files, self.tombstones) = (replay.transactions, replay.files, replay.tombstones);
        applied?;
        // Of a commit that was just made the store has not said its time yet.
        let written_ms = mark.written_ms.or_else(|| self.newest.as_ref().and_then(|newest| newest.written_ms));
        self.newest = Some(Mark { written_ms, ..mark });
        self.version = version;
        Ok(())
    }
}

/// A state in the making.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(super) read: Read,
    pub(super) protocol: Option<Protocol>,
    pub(super) metadata: Option<Arc<Metadata>>,
    transactions: HashMap<String, Known>,
    pub(crate) files: BTreeMap<String, FileEntry>,
    tombstones: HashMap<String, i64>,
    newest: Option<Mark>,
    damaged: Vec<Checkpoint>,
}

impl Replay {
    pub(crate) fn new(read: Read) -> Self {
        Self { read, ..Self::default() }
    }

    async fn newest(at: &Location, read: Read) -> Result<Option<(Self, i64)>, LakeError> {
        let mut hint = checkpoint_hint(at).await?;
        while let Some(from) = hint.take() {
            // The hint is only a hint: where its checkpoint is gone or damaged, a listing tells what else there is.
            let Ok(replay) = Self::begin(at, &from, read).await? else { break };
            let (replay, version) = replay.follow(at, from.version + 1).await?;
            // Where the commits end, a clean-up may have been faster: a newer hint stands for what it took.
            hint = checkpoint_hint(at).await?.filter(|newer| newer.version > version);
            if hint.is_none() {
                return Ok(Some((replay, version)));
            }
        }
        match Self::listed(at, read).await {
            // What was listed may have gone or come meanwhile.
            Err(LakeError::Corrupt { .. } | LakeError::Headless { .. }) => Self::listed(at, read).await,
            found => found,
        }
    }

    /// From the newest checkpoint of a listing that can be read, or from the first commit.
    async fn listed(at: &Location, read: Read) -> Result<Option<(Self, i64)>, LakeError> {
        let log = LogListing::read(at).await?;
        if log.newest().is_none() {
            return Ok(None);
        }
        let mut passed: Vec<Unreadable> = Vec::new();
        for checkpoint in &log.checkpoints {
            match Self::begin(at, checkpoint, read).await? {
                Ok(replay) => return replay.complete(at, checkpoint.version + 1, &log, passed).await.map(Some),
                Err(unreadable) => passed.push(unreadable),
            }
        }
        let path = log_folder(&at.root);
        match (log.commits.first(), passed.first()) {
            (Some(0), _) => Self::new(read).complete(at, 0, &log, passed).await.map(Some),
            (_, Some(unreadable)) => {
                Err(at.corrupt(path, format!("{unreadable}, and the commits before it are gone: {RESTORE}")))
            }
            (first, None) => {
                let first = first.copied().unwrap_or_default();
                Err(LakeError::Headless { table: at.name.clone(), path, first })
            }
        }
    }

    /// A replay that begins with a checkpoint.
    ///
    /// # Errors
    /// The inner one: it is gone, or cannot be read as what it should be.
    pub(crate) async fn begin(
        at: &Location,
        checkpoint: &Checkpoint,
        read: Read,
    ) -> Result<Result<Self, Unreadable>, LakeError> {
        let mut replay = Self::new(read);
        Ok(replay.checkpoint(at, checkpoint).await?.map(|()| replay))
    }

    /// Every commit from `first` to the newest version that is known of, past checkpoints that cannot be read. What another
    /// table left behind the newest is not of this one.
    async fn complete(
        self,
        at: &Location,
        first: i64,
        log: &LogListing,
        passed: Vec<Unreadable>,
    ) -> Result<(Self, i64), LakeError> {
        let (mut replay, version) = self.follow(at, first).await?;
        let id = replay.metadata.as_ref().map(|metadata| metadata.id.clone()).unwrap_or_default();
        if log.newest() > Some(version) && !at.are_left_behind(log, version, &id).await? {
            let path = commit_path(&at.root, version + 1);
            return Err(match passed.first() {
                Some(unreadable) => at.corrupt(path, format!("is missing, and {unreadable}: {RESTORE}")),
                None => at.corrupt(path, format!("is missing, and later commits are not: {RESTORE}")),
            });
        }
        for unreadable in passed {
            tracing::warn!(table = at.name, "{unreadable}: its commits are read instead");
            replay.damaged.extend(unreadable.damaged());
        }
        Ok((replay, version))
    }

    /// Every commit from `first` on, up to one that another table left there. Returns the last version.
    async fn follow(mut self, at: &Location, first: i64) -> Result<(Self, i64), LakeError> {
        let mut next = first;
        let commits = futures::stream::iter(first..i64::MAX)
            .map(|version| async move { at.commit(version).await.map(|commit| commit.map(|commit| (version, commit))) })
            .buffered(READ_AHEAD);
        let mut commits = std::pin::pin!(commits);
        while let Some(Some((version, Commit { bytes, mark }))) = commits.try_next().await? {
            let lines = at.decode(version, &bytes)?;
            if self.is_left_behind(&lines) {
                break;
            }
            self.commit(at, version, lines, mark.written_ms)?;
            self.newest = Some(mark);
            next = version + 1;
        }
        Ok((self, next - 1))
    }

    fn is_left_behind(&self, lines: &[Line]) -> bool {
        self.metadata.as_ref().is_some_and(|metadata| is_of_another(lines, &metadata.id))
    }

    /// `written_ms`: when the store took it.
    pub(crate) fn commit(
        &mut self,
        at: &Location,
        version: i64,
        lines: Vec<Line>,
        written_ms: Option<i64>,
    ) -> Result<(), LakeError> {
        if self.is_left_behind(&lines) {
            return Err(at.left_behind(version));
        }
        // Removes first: a file that one commit removes and adds (a rewrite of its metadata) stays.
        let mut added = Vec::new();
        for line in lines {
            self.protocol = line.protocol.or(self.protocol.take());
            self.metadata = line.meta_data.map(Arc::new).or(self.metadata.take());
            if let Some(transaction) = line.txn {
                self.transaction(transaction);
            }
            if self.read == Read::Writer {
                continue;
            }
            if let Some(remove) = line.remove {
                // Whatever the clock of whoever removed it said: it is not older than its commit.
                let removed_ms = remove.deletion_timestamp.max(written_ms);
                self.remove(Remove { deletion_timestamp: removed_ms, ..remove });
            }
            added.extend(line.add);
        }
        for add in added {
            self.add(at, add).map_err(|error| match error {
                LakeError::Corrupt { message, .. } => at.corrupt(commit_path(&at.root, version), message),
                other => other,
            })?;
        }
        Ok(())
    }

    /// The checkpoint that it begins with was stored then; a commit that follows says more.
    pub(super) fn taken_from(&mut self, written_ms: i64) {
        self.newest = Some(Mark { e_tag: None, written_ms: Some(written_ms) });
    }

    pub(super) fn transaction(&mut self, Transaction { app_id, version, last_updated }: Transaction) {
        self.transactions.insert(app_id, Known { version, last_updated });
    }

    pub(super) fn remove(&mut self, remove: Remove) {
        self.files.remove(&remove.path);
        if self.read == Read::Tombstones {
            self.tombstones.insert(remove.path, remove.deletion_timestamp.unwrap_or_default());
        }
    }

    pub(super) fn add(&mut self, at: &Location, add: Add) -> Result<(), LakeError> {
        if add.deletion_vector.is_some() {
            return Err(unsupported(at, "a deletion vector"));
        }
        let entry = FileEntry::from_add(&at.root, add).map_err(|message| at.corrupt(&at.root, message))?;
        self.tombstones.remove(&entry.log_path);
        self.files.insert(entry.log_path.clone(), entry);
        Ok(())
    }

    fn finish(self, at: &Location, definition: &Arc<TableDefinition>, version: i64) -> Result<State, LakeError> {
        let log = log_folder(&at.root);
        let metadata = self.metadata.ok_or_else(|| at.corrupt(&log, "no metaData action"))?;
        let protocol = self.protocol.ok_or_else(|| at.corrupt(&log, "no protocol action"))?;
        let rules = guard(at, &protocol, &metadata)?;
        Ok(State {
            version,
            newest: self.newest,
            rules,
            damaged: self.damaged,
            protocol,
            layout: Arc::new(Layout::fit(at, definition, &metadata)?),
            metadata,
            definition: Arc::clone(definition),
            transactions: self.transactions,
            many_transactions: FEW_TRANSACTIONS,
            files: self.files,
            tombstones: self.tombstones,
            read: self.read,
        })
    }
}
