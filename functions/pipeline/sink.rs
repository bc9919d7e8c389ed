//! Two tables, one effect: clean rows to the dataset's table, the others to its quarantine, each record once.
//!
//! Quarantine is committed first, the table last: the table's transaction id settles the delivery. A crash between the
//! two leaves quarantine ahead; the next delivery sees that and takes the positions that are there as settled, so a
//! record is in `table ∪ quarantine` once even if the contract changed in between.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use polars::prelude::{BooleanChunked, DataFrame, PolarsResult};
use weir_contract::{SOURCE_POSITION, sequence_of};
use weir_lake::{Append, Books, Outcome, Producer, SourceRows, Staged, Table, TableWriter};
use weir_transform::{Output, QualityReport, TransformError};

use super::in_force::Tables;
use super::{Receipt, frequent};
use crate::app::Dataset;
use crate::error::AppError;

/// One delivery of one producer on its way into the lake.
pub(crate) struct Sink<'a> {
    dataset: &'a Dataset,
    producer: String,
    /// Whether the producer's id may expire one day: a blob's may, a partition's never.
    expires: bool,
    pub(crate) table: Arc<Table>,
    quarantine: Arc<Table>,
    /// What the table had of this producer when the sink was opened.
    pub(crate) after: Option<i64>,
    quarantine_after: Option<i64>,
    /// The id that refused rows of this delivery go by in quarantine, and what quarantine had of it when the sink was
    /// opened: rows that came there since then are not among `settled`.
    refused: (String, Option<i64>),
    /// What else is brought up to the version by the commits: names that other releases go by.
    also: Vec<String>,
    /// Positions that quarantine has and the table's books do not.
    settled: HashSet<i64>,
    clean: TableWriter,
    quarantined: TableWriter,
    records: u64,
    report: QualityReport,
    /// Bytes of the bodies that were read for these records.
    read: u64,
}

pub(crate) enum Settled {
    Done(Box<Receipt>),
    /// Somebody else committed records of this producer meanwhile: open a new sink and deliver again.
    Moved,
}

impl<'a> Sink<'a> {
    /// `producer` is the first of `sources`, under which its records may stand. `also`: as the field.
    pub(crate) async fn open(
        Tables { table, quarantine }: Tables,
        dataset: &'a Dataset,
        sources: &[String],
        also: Vec<String>,
        expires: bool,
    ) -> Result<Self, AppError> {
        let producer = sources.first().cloned().unwrap_or_default();
        let after = table.committed(&producer);
        let quarantine_after = sources.iter().filter_map(|source| quarantine.committed(source)).max();
        // Where quarantine's id is ahead already, rows get one that belongs to this point of the producer.
        let refused = match quarantine_after > after {
            true => format!("{producer}#after:{}", after.unwrap_or(-1)),
            false => producer.clone(),
        };
        // Before the positions are read, so that whatever comes in after this is seen by the commit.
        let refused = (refused.clone(), quarantine.committed(&refused));
        let mut settled = HashSet::new();
        if quarantine_after > after {
            let from = after.filter(|_| !expires).map_or(i64::MIN, |after| after.saturating_add(1));
            settled = positions(&quarantine, sources, from).await?;
        }
        Ok(Self {
            clean: table.write(),
            quarantined: quarantine.write(),
            dataset,
            producer,
            expires,
            table,
            quarantine,
            after,
            quarantine_after,
            refused,
            also,
            settled,
            records: 0,
            report: QualityReport::default(),
            read: 0,
        })
    }

    /// Takes one transformed chunk.
    pub(crate) async fn take(&mut self, output: Output) -> Result<(), AppError> {
        self.records += output.records;
        self.report.merge(output.report);
        let (clean, quarantined) = self.without_settled(output.clean, output.quarantined)?;
        self.clean.write(clean).await?;
        if quarantined.height() > 0 {
            self.quarantined.write(quarantined).await?;
        }
        Ok(())
    }

    /// Notes that so many bytes were read for the chunks that it has taken.
    pub(crate) fn read(&mut self, bytes: u64) {
        self.read += bytes;
    }

    /// Makes it durable. `version` is the producer's new version; `already` are records of this delivery that were
    /// dropped because they had been committed before; `bytes` is what the bodies of the others have. `raises` is brought
    /// up to its version by the table's commit.
    pub(crate) async fn commit(
        mut self,
        version: i64,
        (already, bytes): (u64, u64),
        raises: Option<Producer>,
    ) -> Result<Settled, AppError> {
        let clean = std::mem::replace(&mut self.clean, self.table.write()).finish().await?;
        let refused = std::mem::replace(&mut self.quarantined, self.quarantine.write()).finish().await?;
        if refused.rows() > 0 && !self.commit_quarantine(version, refused).await? {
            self.table.discard(clean).await;
            return Ok(Settled::Moved);
        }
        let committed = clean.rows();
        let books = Books {
            records_in: self.records + already,
            committed,
            quarantined: self.records - committed,
            already_committed: already,
            left_out: self.report.left_out,
            ..Books::default()
        };
        let books = books.of_bytes(bytes, Some(self.read));
        let (producer_version, expires) = (version, self.expires);
        let producer = Producer { id: self.producer.clone(), version, expires };
        let append = Append { producer, rows: clean, books };
        let raises = raises.into_iter().chain(self.also(producer_version)).collect();
        match self.table.append_raising(append, self.after, raises).await? {
            Outcome::Committed { version } => Ok(Settled::Done(Box::new(Receipt {
                dataset: self.dataset.contract.name.clone(),
                outcome: super::Outcome::Committed,
                books,
                version: Some(version),
                rules: self.report.rules,
                reasons: frequent(self.report.reasons),
                left_out: self.report.left_out,
                duplicates: 0,
                gap: None,
            }))),
            Outcome::AlreadyCommitted { .. } | Outcome::Overlaps { .. } | Outcome::Superseded => Ok(Settled::Moved),
        }
    }

    /// False when another delivery of this producer got in between.
    async fn commit_quarantine(&self, version: i64, refused: Staged) -> Result<bool, AppError> {
        let quarantine = &self.quarantine;
        // Looked at again just before: what the table settled meanwhile must not reach quarantine too, nor what another
        // release may take. The order is what `in_force` rests on.
        self.table.refresh().await?;
        if self.table.committed(&self.producer) != self.after || !self.table.condition_holds() {
            quarantine.discard(refused).await;
            return Ok(false);
        }
        let own = Producer { id: self.producer.clone(), version, expires: self.expires };
        let (id, after) = self.refused.clone();
        let (producer, raises) = if self.quarantine_after > self.after {
            // With a version for each round. The producer's own must still say how far quarantine is.
            (Producer { id, version: after.unwrap_or(0) + 1, expires: true }, vec![own])
        } else {
            (own, Vec::new())
        };
        let rows = refused.rows();
        let books = Books { records_in: rows, committed: rows, ..Books::default() };
        let append = Append { producer, rows: refused, books };
        let raises = raises.into_iter().chain(self.also(version)).collect();
        Ok(match quarantine.append_raising(append, after, raises).await? {
            Outcome::Committed { .. } => true,
            Outcome::AlreadyCommitted { .. } | Outcome::Overlaps { .. } | Outcome::Superseded => false,
        })
    }

    fn also(&self, version: i64) -> impl Iterator<Item = Producer> {
        self.also.iter().map(move |id| Producer { id: id.clone(), version, expires: self.expires })
    }

    fn without_settled(&self, clean: DataFrame, quarantined: DataFrame) -> Result<(DataFrame, DataFrame), AppError> {
        if self.settled.is_empty() {
            return Ok((clean, quarantined));
        }
        let keep = |frame: &DataFrame| -> PolarsResult<DataFrame> {
            let positions = frame.column(SOURCE_POSITION)?.i64()?;
            // Also by its event: under another contract quarantine took that as one record.
            let settled = |at: i64| self.settled.contains(&at) || self.settled.contains(&sequence_of(at));
            let fresh = positions.iter().map(|position| !position.is_some_and(settled));
            frame.filter(&fresh.collect::<BooleanChunked>())
        };
        let both = keep(&clean).and_then(|clean| Ok((clean, keep(&quarantined)?)));
        both.map_err(|error| AppError::Transform(TransformError::from(error)))
    }
}

/// Positions that a source has in a table, under all its names, of events from `from` on.
async fn positions(table: &Table, sources: &[String], from: i64) -> Result<HashSet<i64>, AppError> {
    let mut found = HashSet::new();
    let rows = SourceRows { sources, positions: from..=i64::MAX, since_us: None };
    let each = |frame: DataFrame| {
        found.extend(frame.column(SOURCE_POSITION)?.i64()?.iter().flatten());
        Ok(ControlFlow::Continue(()))
    };
    table.rows_of(rows, &[SOURCE_POSITION], each).await?;
    Ok(found)
}
