//! The two commits that make a version of a blob visible: its refused records in quarantine first, its rows in the table
//! last. Each puts them in place of whatever the blob gave before.
//!
//! What is guaranteed, however many instances work on the same blob: the tables end with the newest version that was
//! read, whole, once. It rests on one comparison. A [`Claim`] notes where both tables stand *before* the blob is looked
//! at; that it was then still the version in question says that no newer one had been committed; and a commit goes
//! through only where the tables still stand as noted. Clocks, and the order in which events come, do not matter.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_lake::{Append, Books, Outcome as Committed, Producer, Replacement, Staged, Table, stamp};
use weir_transform::RuleCount;

use super::{BlobRef, Job};
use crate::app::Dataset;
use crate::error::AppError;
use crate::pipeline::frequent;
use crate::pipeline::in_force::Tables;
use crate::pipeline::{Outcome, Receipt};

/// A request's id has this version only.
const REQUEST_VERSION: i64 = 1;

/// Where the two tables stand, as far as one blob goes.
pub(super) struct Claim<'a> {
    dataset: &'a Dataset,
    /// `_source` of the rows, and the transaction id.
    pub(super) source: String,
    pub(super) table: Arc<Table>,
    table_at: Option<i64>,
    quarantine: Arc<Table>,
    quarantine_at: Option<i64>,
    /// Id of the request that this is done for, if it is not the blob's own event.
    request: Option<String>,
}

/// What a version of a blob came to.
pub(super) struct Delivery {
    pub(super) clean: Staged,
    pub(super) refused: Staged,
    pub(super) records: u64,
    /// Bytes of the blob that were read, if they were counted.
    pub(super) read: Option<u64>,
    pub(super) rules: BTreeMap<String, RuleCount>,
    pub(super) reasons: BTreeMap<String, u64>,
    pub(super) left_out: u64,
    /// The records are in quarantine as one report.
    pub(super) held_back: bool,
}

impl<'a> Claim<'a> {
    /// Notes where the tables stand. Whoever calls it looks at the blob afterwards, never before.
    pub(super) async fn take(job: &Job<'a>, source: String) -> Result<Self, AppError> {
        let Job { runtime, dataset, .. } = job;
        let Tables { table, quarantine } = runtime.in_force.tables(runtime, dataset).await?;
        Ok(Self {
            table_at: table.committed(&source),
            quarantine_at: quarantine.committed(&source),
            request: job.request.map(|request| format!("reprocess:{request}:{source}")),
            dataset: job.dataset,
            source,
            table,
            quarantine,
        })
    }

    /// The table and its quarantine.
    pub(super) fn tables(&self) -> [&Table; 2] {
        [&self.table, &self.quarantine]
    }

    /// Asks whether nothing is left to do for this version of the blob, or for this request: in a table that is there still.
    pub(super) async fn is_settled(&self, etag: &str) -> Result<bool, AppError> {
        let settled = match &self.request {
            Some(request) => self.table.committed(request).is_some(),
            None => stamp::holds(self.table_at, etag),
        };
        if settled {
            self.table.look().await?;
        }
        Ok(settled)
    }

    /// Whether a table has rows of this blob, of whatever version.
    pub(super) fn has_rows(&self) -> bool {
        let has = |at: Option<i64>| at.is_some() && !stamp::holds(at, stamp::REMOVED);
        has(self.table_at) || has(self.quarantine_at)
    }

    /// Makes a version of so many bytes visible. `None` when a table has moved since the claim was taken: take another.
    pub(super) async fn publish(
        &self,
        (etag, bytes): (&str, u64),
        delivery: Delivery,
    ) -> Result<Option<Receipt>, AppError> {
        let Delivery { clean, refused, records, read, rules, reasons, left_out, held_back } = delivery;
        let (committed, quarantined) = (clean.rows(), refused.rows());
        if (quarantined > 0 || self.quarantine_at.is_some()) && !self.publish_refused(etag, refused).await? {
            self.table.discard(clean).await;
            return Ok(None);
        }
        let records = if held_back { quarantined } else { records };
        let books = Books { records_in: records, committed, quarantined, left_out, ..Books::default() };
        let books = books.of_bytes(bytes, read);
        let request =
            self.request.iter().map(|id| Producer { id: id.clone(), version: REQUEST_VERSION, expires: true });
        let outcome = self.put(&self.table, clean, (self.table_at, etag), books, request.collect()).await?;
        let Committed::Committed { version } = outcome else { return Ok(None) };
        Ok(Some(Receipt {
            dataset: self.dataset.contract.name.clone(),
            outcome: if held_back { Outcome::HeldBack } else { Outcome::Committed },
            books,
            version: Some(version),
            rules,
            reasons: frequent(reasons),
            left_out,
            duplicates: 0,
            gap: None,
        }))
    }

    /// False when a table has moved.
    async fn publish_refused(&self, etag: &str, refused: Staged) -> Result<bool, AppError> {
        // Looked at again just before: a version that is dead already need not be put into quarantine, and what another
        // release takes must not be. The order is what `in_force` rests on.
        self.table.refresh().await?;
        if self.table.committed(&self.source) != self.table_at || !self.table.condition_holds() {
            self.quarantine.discard(refused).await;
            return Ok(false);
        }
        let rows = refused.rows();
        let books = Books { records_in: rows, committed: rows, ..Books::default() };
        let outcome = self.put(&self.quarantine, refused, (self.quarantine_at, etag), books, Vec::new()).await?;
        Ok(matches!(outcome, Committed::Committed { .. }))
    }

    /// Puts rows in place of all that a table has of this blob, if the table still stands where it stood.
    async fn put(
        &self,
        table: &Arc<Table>,
        rows: Staged,
        (at, etag): (Option<i64>, &str),
        books: Books,
        raises: Vec<Producer>,
    ) -> Result<Committed, AppError> {
        let source = self.source.clone();
        let version = stamp::next(at, etag).ok_or_else(|| AppError::Overwritten { source_: source.clone() })?;
        // An id that was forgotten while its rows are there would let them in twice.
        let producer = Producer { id: source.clone(), version, expires: !self.dataset.contract.replaces_versions() };
        Ok(match at {
            None => table.append_raising(Append { producer, rows, books }, None, raises).await?,
            Some(_) => {
                let replacement = Replacement { source, positions: None, producer, rows, books };
                table.replace_source_after(replacement, at, raises).await?
            }
        })
    }

    /// Takes out of quarantine what a version left there that was overwritten before its rows could be committed. Such
    /// a version is never committed any more.
    pub(super) async fn clear_dead_version(&self, etag: &str) -> Result<(), AppError> {
        let dead = stamp::holds(self.quarantine_at, etag) && !stamp::holds(self.table_at, etag);
        if !dead {
            return Ok(());
        }
        // Moved: a newer version has come in, and took them out.
        let nothing = self.quarantine.listed([])?;
        self.put(&self.quarantine, nothing, (self.quarantine_at, stamp::REMOVED), Books::default(), Vec::new()).await?;
        Ok(())
    }
}

/// `_source` of a blob's rows: of all its versions, or of each its own.
pub(super) fn source_of(dataset: &Dataset, at: &BlobRef, etag: &str) -> String {
    match dataset.contract.replaces_versions() {
        true => at.id(),
        false => format!("{}@{etag}", at.id()),
    }
}
