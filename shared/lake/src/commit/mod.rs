//! The commit protocol: who proposes, what becomes of it, and how many share one log entry.
//!
//! Two steps of sharing: rows that wait together go into one file ([`group`]), and proposals that wait together go
//! into one log entry ([`writer`]).

mod entry;
pub(crate) mod group;
mod left_behind;
pub(crate) mod look;
pub(crate) mod writer;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use weir_contract::TableColumn;

use crate::data::writer::{Content, Staged, StagedFile};
use crate::error::LakeError;
use crate::log::actions::{Add, Metadata, Remove};
use crate::log::state::State;
use crate::schema::MetadataChange;
use crate::table::Table;

pub(crate) const ENGINE: &str = concat!("weir/", env!("CARGO_PKG_VERSION"));

/// Transaction ids that hold a dataset's books as running totals, so that they survive checkpoints and log clean-up.
const BOOKS: &str = "weir:books:";
/// The transaction id whose version is the newest fence that a lease has committed under.
pub(crate) const FENCE: &str = "weir:fence";

/// An ordered source of records: versions of one producer are committed in increasing order, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    pub id: String,
    pub version: i64,
    /// Whether the id may expire under `delta.setTransactionRetentionDuration`: parts of blobs may, event partitions
    /// and books never.
    pub expires: bool,
}

/// Records and bytes, counted. `records_in = committed + quarantined + already_committed`, and `bytes_in = bytes_read`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Books {
    pub records_in: u64,
    pub committed: u64,
    pub quarantined: u64,
    pub already_committed: u64,
    /// Rows that a replacement, an erasure or an upsert took out of this table.
    #[serde(default)]
    pub replaced: u64,
    /// Size of the blobs and of the bodies of events that the records are of, as their store and their hub have them.
    #[serde(default)]
    pub bytes_in: u64,
    /// Those of the bytes that a reader came by: each is part of a record, or of what a refused record stands for.
    #[serde(default)]
    pub bytes_read: u64,
    /// Records in whose bytes are counted. Those of the others are unknown: a release before counted records alone.
    #[serde(default)]
    pub records_with_bytes: u64,
    /// Rows of which unknown fields were left out, because a column is personal.
    #[serde(default)]
    pub left_out: u64,
}

impl Books {
    const KEYS: [&'static str; 9] = [
        "records_in",
        "committed",
        "quarantined",
        "already_committed",
        "replaced",
        "bytes_in",
        "bytes_read",
        "records_with_bytes",
        "left_out",
    ];

    fn counters(self) -> [(&'static str, u64); 9] {
        let Self { records_in, committed, quarantined, already_committed, replaced, .. } = self;
        let Self { bytes_in, bytes_read, records_with_bytes, left_out, .. } = self;
        let records = [records_in, committed, quarantined, already_committed, replaced];
        let mut values = records.into_iter().chain([bytes_in, bytes_read, records_with_bytes, left_out]);
        Self::KEYS.map(|key| (key, values.next().unwrap_or_default()))
    }

    /// The same, of blobs or bodies of so many bytes, of which `read` were read; `None` if nobody knows.
    #[must_use]
    pub fn of_bytes(self, bytes: u64, read: Option<u64>) -> Self {
        match read {
            Some(read) => Self { bytes_in: bytes, bytes_read: read, records_with_bytes: self.records_in, ..self },
            None => self,
        }
    }

    /// The running totals in a table's transaction ids.
    pub fn of(transactions: &HashMap<String, i64>) -> Self {
        Self::totals(|id| transactions.get(id).copied())
    }

    fn totals(version: impl Fn(&str) -> Option<i64>) -> Self {
        let total = |key: &str| {
            let value = version(&format!("{BOOKS}{key}")).unwrap_or_default();
            u64::try_from(value).unwrap_or_default()
        };
        let [
            records_in,
            committed,
            quarantined,
            already_committed,
            replaced,
            bytes_in,
            bytes_read,
            records_with_bytes,
            left_out,
        ] = Self::KEYS.map(total);
        let records = Self { records_in, committed, quarantined, already_committed, replaced, ..Self::default() };
        Self { bytes_in, bytes_read, records_with_bytes, left_out, ..records }
    }

    pub fn balanced(&self) -> bool {
        self.records_in == self.committed + self.quarantined + self.already_committed
            && self.bytes_in == self.bytes_read
    }
}

impl std::ops::AddAssign for Books {
    fn add_assign(&mut self, other: Self) {
        self.records_in += other.records_in;
        self.committed += other.committed;
        self.quarantined += other.quarantined;
        self.already_committed += other.already_committed;
        self.replaced += other.replaced;
        self.bytes_in += other.bytes_in;
        self.bytes_read += other.bytes_read;
        self.records_with_bytes += other.records_with_bytes;
        self.left_out += other.left_out;
    }
}

/// Rows that one producer wants to add.
#[derive(Debug, Clone)]
pub struct Append {
    pub producer: Producer,
    pub rows: Staged,
    pub books: Books,
}

/// What has to be so for a commit to be made: a transaction id is at a version, and at no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub id: String,
    pub version: i64,
}

impl Condition {
    pub(crate) fn holds(&self, state: &State) -> bool {
        state.transactions.get(&self.id).is_some_and(|known| known.version == self.version)
    }
}

/// What became of a proposal. All are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// In the log at this Delta version.
    Committed { version: i64 },
    /// The producer was already at this version of its own, which is at least the proposed one.
    AlreadyCommitted { producer_version: i64 },
    /// The producer moved on into the middle of this proposal: drop what it has and propose the rest.
    Overlaps { producer_version: i64 },
    /// The [`Condition`] of [`Table::while_holds`] does not hold any more. Nothing was committed.
    Superseded,
}

/// One producer's part in a proposal.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) producer: Producer,
    /// The producer's version that its rows were made against.
    pub(crate) after: Option<i64>,
    /// Producers that are brought up to a version by this commit, where they are not there yet.
    pub(crate) raises: Vec<Producer>,
    pub(crate) books: Books,
    pub(crate) condition: Option<Condition>,
}

impl Member {
    pub(crate) fn new(producer: Producer, after: Option<i64>, books: Books) -> Self {
        Self { producer, after, raises: Vec::new(), books, condition: None }
    }

    /// What it is told where its rows cannot be committed any more: its producer is not where they were made against,
    /// or its condition does not hold.
    pub(crate) fn overtaken(&self, state: &State) -> Option<Outcome> {
        let known = state.transactions.get(&self.producer.id).map(|known| known.version);
        if let Some(version) = known.filter(|version| *version >= self.producer.version || known != self.after) {
            return Some(self.moved(version));
        }
        let superseded = self.condition.as_ref().is_some_and(|condition| !condition.holds(state));
        superseded.then_some(Outcome::Superseded)
    }

    /// What a producer that is at `known` is told.
    pub(crate) fn moved(&self, known: i64) -> Outcome {
        if known >= self.producer.version {
            Outcome::AlreadyCommitted { producer_version: known }
        } else {
            Outcome::Overlaps { producer_version: known }
        }
    }
}

/// Whether a file that was added since may hold rows that a rewrite should have seen.
pub(crate) type MayMatch = Arc<dyn Fn(&Add) -> bool + Send + Sync>;

/// Something to commit, all of it or nothing.
#[derive(Default)]
pub(crate) struct Proposal {
    pub(crate) members: Vec<Member>,
    /// Files, and whether their rows are new to the table.
    pub(crate) add: Vec<(StagedFile, bool)>,
    pub(crate) remove: Vec<Remove>,
    /// Log paths of files that the plan counted on, beside those that it removes.
    pub(crate) relies_on: HashSet<String>,
    /// Columns that the table gets, if it has them not.
    pub(crate) columns: Vec<TableColumn>,
    /// What else changes of the table's metadata.
    pub(crate) metadata: MetadataChange,
    /// Since when it has waited: the log is looked at after that.
    pub(crate) came: Option<Instant>,
    /// The table version up to which nothing stands against this proposal: for a rewrite first the one that was read.
    pub(crate) valid_at: Option<i64>,
    /// The rewrite is void if such a file was added since.
    pub(crate) unseen: Option<MayMatch>,
    /// The lease that this is done under.
    pub(crate) fence: Option<i64>,
    pub(crate) operation: &'static str,
    /// Extra keys of `commitInfo.weir`.
    pub(crate) details: BTreeMap<&'static str, serde_json::Value>,
}

impl Proposal {
    /// Whether it only adds rows. What it depends on are transaction ids, not rows.
    pub(crate) fn is_blind_append(&self) -> bool {
        !self.add.is_empty()
            && self.add.iter().all(|(_, data_change)| *data_change)
            && self.remove.is_empty()
            && self.unseen.is_none()
            && self.columns.is_empty()
            && self.metadata.is_empty()
    }

    /// Whether all that it wants to change of the metadata is so already. Its columns are there.
    pub(crate) fn is_done(&self, metadata: &Metadata) -> bool {
        let only_metadata = !self.columns.is_empty() || !self.metadata.is_empty();
        only_metadata && self.metadata.is_in(metadata)
    }
}

impl std::fmt::Debug for Proposal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Proposal");
        debug.field("operation", &self.operation).field("members", &self.members);
        debug.field("add", &self.add.len()).field("remove", &self.remove.len()).finish_non_exhaustive()
    }
}

/// What became of a whole proposal.
#[derive(Debug)]
pub(crate) enum Verdict {
    Committed {
        version: i64,
    },
    /// Nothing was committed and nothing refers to the proposal's files: this is what one of its members is told.
    Moved(Outcome),
}

impl Verdict {
    /// What a member is told that was alone in its proposal.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Verdict::Committed { version } => Outcome::Committed { version: *version },
            Verdict::Moved(outcome) => *outcome,
        }
    }
}

impl Table {
    /// Appends rows of one producer, exactly once. `after` is what [`Table::committed`] said when the rows were made:
    /// if the producer has moved since, nothing is written and the answer says how far it is. Rows that are not
    /// committed are discarded.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Retryable`] when the store does not answer: deliver the same input again.
    pub async fn append(&self, append: Append, after: Option<i64>) -> Result<Outcome, LakeError> {
        self.append_raising(append, after, Vec::new()).await
    }

    /// [`Table::append`] that also brings other producers up to a version, should they not be there yet.
    ///
    /// # Errors
    /// As [`Table::append`].
    pub async fn append_raising(
        &self,
        Append { producer, rows, books }: Append,
        after: Option<i64>,
        raises: Vec<Producer>,
    ) -> Result<Outcome, LakeError> {
        let member = Member { raises, condition: self.condition.clone(), ..Member::new(producer, after, books) };
        let kept = rows.kept;
        match rows.content {
            Content::Frame(frame) => self.writer.append_frame(member, frame).await,
            Content::Files(files) => {
                let add = files.iter().cloned().map(|file| (file, true)).collect();
                let proposal = Proposal { members: vec![member], add, operation: "WRITE", ..Proposal::default() };
                let verdict = self.writer.propose(proposal).await?;
                if matches!(verdict, Verdict::Moved(_)) && !kept {
                    self.writer.discard(&files).await;
                }
                Ok(verdict.outcome())
            }
        }
    }
}
