//! Rows put in by key: a row takes the place of the row with its key, unless that one is newer.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use polars::prelude::*;
use serde_json::json;
use weir_contract::SOURCE_POSITION;

use super::{Found, Progress, Rewrite};
use crate::commit::{Books, Member, Outcome, Producer, Proposal, Verdict};
use crate::data::bounds::{Keys, comparable, last_of_each};
use crate::data::writer::StagedFile;
use crate::error::LakeError;
use crate::snapshot::FileEntry;
use crate::table::Table;

/// Rows to put in by key.
#[derive(Debug, Clone)]
pub struct Upsert {
    pub producer: Producer,
    /// What [`Table::committed`] said when the rows were made.
    pub after: Option<i64>,
    /// With the columns of the table's definition. All of it is in memory.
    pub frame: DataFrame,
    /// The key: columns of the table, never null.
    pub keys: Vec<String>,
    /// Of two rows with one key the one with the greater value stays, of equal ones the one that came later; null is
    /// less than everything. `_source_position` unless said otherwise, which orders rows of one source.
    pub order_by: Option<String>,
    /// `committed` counts every row of the frame; those that were overtaken by newer ones are moved to
    /// `already_committed`. `replaced` is counted here.
    pub books: Books,
}

/// What an upsert did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upserted {
    pub outcome: Outcome,
    /// Rows that were written.
    pub written: u64,
    /// Rows of the table that went because a newer one came.
    pub replaced: u64,
    /// Rows that were not written because a newer one with their key is in the table or in the same frame.
    pub overtaken: u64,
    /// Files that were written anew or went.
    pub files: usize,
}

const ROW: &str = "\u{0}row";
const NEW_ROW: &str = "\u{0}new_row";
const ORDER: &str = "\u{0}order";
const NEW_ORDER: &str = "\u{0}new_order";

/// Rows whose key comes in.
struct ByKey {
    keys: Vec<String>,
    order_by: String,
    /// The rows that may come in: the newest of each key.
    newest: DataFrame,
    /// Their key columns made [`comparable`], [`NEW_ROW`] and [`NEW_ORDER`].
    incoming: DataFrame,
    bounds: Arc<Keys>,
    member: Member,
    /// Rows of the caller's frame.
    given: u64,
    /// Rows of `incoming` that the table has newer.
    overtaken: HashSet<IdxSize>,
    /// Rows of `incoming` that a row of the table goes for.
    replacing: HashSet<IdxSize>,
}

impl ByKey {
    /// Rows that are written.
    fn written(&self) -> u64 {
        (self.newest.height() - self.overtaken.len()) as u64
    }
}

#[async_trait]
impl Rewrite for ByKey {
    fn member(&self) -> &Member {
        &self.member
    }

    fn made_after(&self) -> Option<Option<i64>> {
        Some(self.member.after)
    }

    fn may_be_in(&self, file: &FileEntry) -> bool {
        self.bounds.may_be_in(&file.partition_values, file.stats.as_deref())
    }

    fn select(&mut self, frame: &DataFrame) -> PolarsResult<Found> {
        let mut candidates = comparable(frame.select(&self.keys)?)?;
        candidates.with_column(frame.column(&self.order_by)?.clone().with_name(ORDER.into()))?;
        let candidates = candidates.with_row_index(ROW.into(), None)?;
        let met = candidates.join(&self.incoming, &self.keys, &self.keys, JoinArgs::new(JoinType::Inner), None)?;
        let (rows, new_rows) = (met.column(ROW)?.idx()?, met.column(NEW_ROW)?.idx()?);
        let newer = is_newer(met.column(ORDER)?, met.column(NEW_ORDER)?)?;
        let mut gone = vec![false; frame.height()];
        for index in 0..met.height() {
            let (Some(row), Some(new_row)) = (rows.get(index), new_rows.get(index)) else { continue };
            if newer.get(index) == Some(true) {
                self.overtaken.insert(new_row);
            } else if let Some(gone) = gone.get_mut(row as usize) {
                self.replacing.insert(new_row);
                *gone = true;
            }
        }
        Ok(Found { any: met.height() > 0, gone: BooleanChunked::from_slice(PlSmallStr::EMPTY, &gone) })
    }

    fn restart(&mut self) {
        self.overtaken.clear();
        self.replacing.clear();
    }

    async fn proposal(&self, table: &Arc<Table>, _: &Progress) -> Result<(Proposal, Vec<StagedFile>), LakeError> {
        let rows = (0..self.newest.height() as IdxSize).map(|row| !self.overtaken.contains(&row));
        let rows = self.newest.filter(&rows.collect::<BooleanChunked>());
        let mut files = table.writer.files();
        files.write(rows.map_err(|error| table.rewrite_error(error))?).await?;
        let files = files.finish().await?;
        let overtaken = self.given - self.written();
        let mut member = self.member.clone();
        member.books.already_committed += member.books.committed.min(overtaken);
        member.books.committed = member.books.committed.saturating_sub(overtaken);
        let bounds = Arc::clone(&self.bounds);
        // A table that holds a key twice may lose the older row while the newer one stays and nothing comes in.
        let covered = self.replacing.is_disjoint(&self.overtaken);
        let proposal = Proposal {
            members: vec![member],
            add: files.iter().cloned().map(|file| (file, true)).collect(),
            unseen: Some(Arc::new(move |add| bounds.may_be_in(&add.partition_values, add.stats.as_deref()))),
            operation: "MERGE",
            details: BTreeMap::from([
                ("operation", json!("upsert")),
                ("keys", json!(self.keys)),
                ("covered", json!(covered)),
            ]),
            ..Proposal::default()
        };
        Ok((proposal, files))
    }
}

/// Whether `left` is greater; null is less than everything.
fn is_newer(left: &Column, right: &Column) -> PolarsResult<BooleanChunked> {
    let greater = left.gt(right)?;
    let over_null = &left.is_not_null() & &right.is_null();
    Ok(greater
        .iter()
        .zip(over_null.iter())
        .map(|(greater, over_null)| greater == Some(true) || over_null == Some(true))
        .collect())
}

impl Table {
    /// Puts rows in by key, in one commit. Only files whose statistics can match a key are read, only those that lose
    /// a row are written anew.
    ///
    /// # Errors
    /// [`LakeError::Schema`] for a key or an order that is no column of the table, and for a key that is null.
    pub async fn upsert(self: &Arc<Self>, upsert: Upsert) -> Result<Upserted, LakeError> {
        let given = upsert.frame.height() as u64;
        let Upsert { producer, after, frame, keys, order_by, books } = upsert;
        let frame = self.writer.conform(frame).await?;
        let order_by = order_by.unwrap_or_else(|| SOURCE_POSITION.to_owned());
        self.check_columns(&frame, &keys, &order_by)?;
        let failed = |error| self.rewrite_error(error);
        let newest = newest(&frame, &keys, &order_by).map_err(failed)?;
        let key = self.layout().key(&newest.select(&keys).map_err(failed)?)?;
        let bounds = Arc::new(Keys::of(&key).map_err(failed)?);
        let incoming = incoming(key, &newest, &order_by).map_err(failed)?;
        let member = Member::new(producer, after, books);
        let (overtaken, replacing) = (HashSet::new(), HashSet::new());
        let request = ByKey { keys, order_by, newest, incoming, bounds, member, given, overtaken, replacing };
        let (verdict, request, progress) = self.rewrite(request).await?;
        let outcome = verdict.outcome();
        Ok(match verdict {
            Verdict::Committed { .. } => Upserted {
                outcome,
                written: request.written(),
                replaced: progress.rows,
                overtaken: given - request.written(),
                files: progress.files.len(),
            },
            Verdict::Moved(_) => Upserted { outcome, written: 0, replaced: 0, overtaken: 0, files: 0 },
        })
    }

    fn check_columns(&self, frame: &DataFrame, keys: &[String], order_by: &str) -> Result<(), LakeError> {
        let error = |message: String| Err(LakeError::Schema { table: self.name().to_owned(), message });
        if keys.is_empty() {
            return error("no column to look for rows by".to_owned());
        }
        let unknown = |name: &&str| frame.get_column_index(name).is_none();
        if let Some(name) = keys.iter().map(String::as_str).find(unknown) {
            return error(format!("no column `{name}` to look for rows by"));
        }
        match Some(order_by).filter(unknown) {
            Some(name) => error(format!("no column `{name}` to order rows by")),
            None => Ok(()),
        }
    }
}

/// The newest row of each key, the rest as it came.
fn newest(frame: &DataFrame, keys: &[String], order_by: &str) -> PolarsResult<DataFrame> {
    let options = SortMultipleOptions::default().with_maintain_order(true).with_nulls_last(false);
    last_of_each(&frame.sort([order_by], options)?, keys)
}

fn incoming(key: DataFrame, newest: &DataFrame, order_by: &str) -> PolarsResult<DataFrame> {
    let mut key = comparable(key)?;
    key.with_column(newest.column(order_by)?.clone().with_name(NEW_ORDER.into()))?;
    key.with_row_index(NEW_ROW.into(), None)
}
