//! The state of a table, replayed from its log: last checkpoint, then the commits after it.
//!
//! Cost: one read of the checkpoint (only the columns that are asked for) and one GET for each later commit. A state
//! that is already in memory is brought up to date by its new commits alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use super::actions::{Add, Line, Metadata, Protocol, Remove, Transaction};
use super::checkpoint::{Checkpoint, LogListing, checkpoint_hint};
use super::guard::{guard, unsupported};
use super::{Location, commit_path, log_folder};
use crate::error::LakeError;
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

    /// The newest state, from the log anew.
    pub(crate) async fn reload(
        at: &Location,
        definition: &Arc<TableDefinition>,
        options: &LakeOptions,
        read: Read,
    ) -> Result<Self, LakeError> {
        let state = Self::load(at, definition, options, read).await?;
        state.ok_or_else(|| at.corrupt(&at.root, "the table's log is gone"))
    }

    /// Forgets expired ids when there are many: a process that never ends would keep them for ever.
    pub(crate) fn forget_if_many(&mut self, now_ms: i64) {
        if self.transactions.len() >= self.many_transactions {
            self.forget_expired(now_ms);
        }
    }

    /// Drops the transaction ids that `delta.setTransactionRetentionDuration` lets expire, as every Delta reader does.
    fn forget_expired(&mut self, now_ms: i64) {
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
    pub(crate) fn apply(&mut self, at: &Location, version: i64, lines: Vec<Line>) -> Result<(), LakeError> {
        debug_assert_eq!(version, self.version + 1);
        let protocol = lines.iter().rev().find_map(|line| line.protocol.clone());
        let metadata = lines.iter().rev().find_map(|line| line.meta_data.clone()).map(Arc::new);
        if protocol.is_some() || metadata.is_some() {
            let protocol = protocol.unwrap_or_else(|| self.protocol.clone());
            let metadata = metadata.unwrap_or_else(|| Arc::clone(&self.metadata));
            guard(at, &protocol, &metadata)?;
            let layout = Layout::fit(at, &self.definition, &metadata)?;
            if layout != *self.layout {
                self.layout = Arc::new(layout);
            }
            (self.protocol, self.metadata) = (protocol, metadata);
        }
        let mut replay = Replay {
            read: self.read,
            transactions: std::mem::take(&mut self.transactions),
            files: std::mem::take(&mut self.files),
            tombstones: std::mem::take(&mut self.tombstones),
            ..Replay::default()
        };
        let applied = replay.commit(at, version, lines);
        (self.transactions, self.files, self.tombstones) = (replay.transactions, replay.files, replay.tombstones);
        applied?;
        self.version = version;
        Ok(())
    }
}

/// A state in the making.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) read: Read,
    pub(super) protocol: Option<Protocol>,
    pub(super) metadata: Option<Arc<Metadata>>,
    transactions: HashMap<String, Known>,
    files: BTreeMap<String, FileEntry>,
    tombstones: HashMap<String, i64>,
}

impl Replay {
    async fn newest(at: &Location, read: Read) -> Result<Option<(Self, i64)>, LakeError> {
        let mut hint = checkpoint_hint(at).await?;
        while let Some(from) = hint.take() {
            match Self::from(at, Some(&from), read).await {
                // The checkpoint that the hint names is gone: the hint is only a hint.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
                Ok((replay, version)) => {
                    // Where the commits end, a clean-up may have been faster: a newer hint stands for what it took.
                    hint = checkpoint_hint(at).await?.filter(|newer| newer.version > version);
                    if hint.is_none() {
                        return Ok(Some((replay, version)));
                    }
                }
            }
        }
        let log = LogListing::read(at).await?;
        let checkpoint = log.checkpoint.map(|version| Checkpoint { version, parts: None });
        let Some(newest) = log.last.max(log.checkpoint) else { return Ok(None) };
        if checkpoint.is_none() && log.first != Some(0) {
            let message = format!("the log begins at version {} without a checkpoint", log.first.unwrap_or_default());
            return Err(at.corrupt(log_folder(&at.root), message));
        }
        let (replay, version) = Self::from(at, checkpoint.as_ref(), read).await?;
        if version < newest {
            return Err(at.corrupt(commit_path(&at.root, version + 1), "is missing, and later commits are not"));
        }
        Ok(Some((replay, version)))
    }

    /// The checkpoint, then every commit after it.
    async fn from(at: &Location, checkpoint: Option<&Checkpoint>, read: Read) -> Result<(Self, i64), LakeError> {
        let mut replay = Self { read, ..Self::default() };
        let mut next = 0;
        if let Some(checkpoint) = checkpoint {
            replay.checkpoint(at, checkpoint).await?;
            next = checkpoint.version + 1;
        }
        let first = next;
        let commits = futures::stream::iter(first..i64::MAX)
            .map(
                |version| async move { at.read_commit(version).await.map(|bytes| bytes.map(|bytes| (version, bytes))) },
            )
            .buffered(READ_AHEAD);
        let mut commits = std::pin::pin!(commits);
        while let Some(Some((version, bytes))) = commits.try_next().await? {
            replay.commit(at, version, at.decode(version, &bytes)?)?;
            next = version + 1;
        }
        Ok((replay, next - 1))
    }

    fn commit(&mut self, at: &Location, version: i64, lines: Vec<Line>) -> Result<(), LakeError> {
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
                self.remove(remove);
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
        guard(at, &protocol, &metadata)?;
        Ok(State {
            version,
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
