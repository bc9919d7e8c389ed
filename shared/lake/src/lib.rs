//! Delta tables that Weir writes: exactly-once append, compaction, replacement of a source, checkpoints, reads.
//!
//! What this crate guarantees, whoever crashes when and however many processes write:
//! - **Exactly once.** A [`Producer`]'s transaction id rides in the same Delta commit as its files; a version that is
//!   already in the log is never committed again ([`Outcome::AlreadyCommitted`]).
//! - **An unknown outcome is resolved, not guessed.** After a conflict or a lost answer the log itself is read: every
//!   commit carries its own id (`commitInfo.txnId`), so ours is told from another's.
//! - **O(1) commits.** Version, transaction ids and metadata are kept in memory; an append is one conditional PUT, and
//!   a conflict costs one GET for each winner. No listing, no checkpoint, no clean-up on that path.
//! - **Rewrites never double or lose a row.** Compaction and replacement commit only if every file they remove is
//!   still part of the table.
//! - **Readable everywhere.** Reader version 1, writer version 2, Snappy, microsecond UTC timestamps.
//!
//! The crate knows no triggers, no transformation and no warehouse. Time comes from [`LakeOptions::now_ms`].

mod commit;
mod error;
mod files;
mod lake;
mod log;
mod maintain;
mod partition;
mod rewrite;
mod snapshot;
mod sorted;
mod statistics;
mod table;
mod writer;

pub use commit::{Append, Books, Outcome, Producer};
pub use error::{ErrorKind, LakeError};
pub use lake::{Lake, LakeOptions};
pub use maintain::TableStatistics;
pub use rewrite::{CompactOptions, CompactReport, Replacement};
pub use snapshot::{FileEntry, LogCommit, Snapshot};
pub use table::{Table, TableDefinition};
pub use writer::{StagedFile, TableWriter};
