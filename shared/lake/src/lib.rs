//! Delta tables that Weir writes: exactly-once append, rewrites, schema growth, maintenance, reads.
//!
//! What this crate guarantees, whoever crashes when and however many processes write:
//! - **Exactly once.** A [`Producer`]'s transaction id rides in the same Delta commit as its files; a version that is
//!   already in the log is never committed again ([`Outcome::AlreadyCommitted`]).
//! - **An unknown outcome is resolved, not guessed.** After a conflict or a lost answer the log itself is read: every
//!   commit carries its own id (`commitInfo.txnId`), so ours is told from another's.
//! - **O(1) commits.** Version, transaction ids and metadata are kept in memory; an append is one conditional PUT, and
//!   a conflict costs one GET for each winner. No listing, no checkpoint, no clean-up on that path.
//! - **Few files.** Rows that are appended at the same time share a file and a commit; who comes alone never waits.
//! - **Rewrites never double or lose a row.** Compaction, replacement, deletion and upsert commit only if every file
//!   they remove is still part of the table and no row came in that they should have seen.
//! - **No file is deleted that may be referred to.**
//! - **Readable everywhere.** Reader version 1, writer version 2, Snappy, microsecond UTC timestamps.
//!
//! The crate knows no triggers, no transformation and no warehouse. Time and randomness come from [`LakeOptions`].

mod added;
mod changes;
mod commit;
mod data;
mod error;
mod foreign;
mod interval;
mod lake;
mod lease;
mod log;
mod maintain;
mod rescue;
mod rewrite;
mod schema;
mod snapshot;
mod sorted;
mod staging;
pub mod stamp;
mod table;
mod types;

pub use added::AddedColumns;
pub use changes::{Change, WholeRange};
pub use commit::{Append, Books, Condition, Outcome, Producer};
pub use data::writer::{FileList, Staged, TableWriter};
pub use error::{ErrorKind, LakeError};
pub use foreign::{ForeignCommit, ForeignCommits};
pub use lake::{Lake, LakeOptions};
pub use lease::Lease;
pub use maintain::{
    CheckpointPolicy, LogCleanup, LogCleanupOptions, SizeClass, TableStatistics, VacuumOptions, VacuumReport,
};
pub use rewrite::{
    CompactOptions, CompactPlan, CompactReport, Deleted, Deletion, Replacement, Replacements, Upsert, Upserted,
};
pub use snapshot::{FileEntry, LogCommit, Snapshot, SourceRows};
pub use staging::{Note, Staging};
pub use table::{Incarnation, Table, TableDefinition};
