//! Rows put in by key: a row takes the place of the row with its key, unless that one is newer.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use polars::prelude::*;
use serde_json::json;
use weir_contract::SOURCE_POSITION;

use super::Selection;
use crate::commit::{Books, Member, Outcome, Producer, Proposal, Verdict};
use crate::data::bounds::{Keys, comparable, last_of_each};
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
    /// The key columns made [`comparable`], [`NEW_ROW`] and [`NEW_ORDER`].
    incoming: DataFrame,
    bounds: Arc<Keys>,
    /// Rows of `incoming` that the table has newer.
    overtaken: HashSet<IdxSize>,
}

impl Selection for ByKey {
    fn may_be_in(&self, file: &FileEntry) -> bool {
        self.bounds.may_be_in(&file.partition_values, file.stats.as_deref())
    }

    fn select(&mut self, frame: &DataFrame) -> PolarsResult<BooleanChunked> {
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
                *gone = true;
            }
        }
        Ok(BooleanChunked::from_slice(PlSmallStr::EMPTY, &gone))
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
        let frame = self.writer.conform(upsert.frame.clone()).await?;
        let order_by = upsert.order_by.clone().unwrap_or_else(|| SOURCE_POSITION.to_owned());
        self.check_columns(&frame, &upsert.keys, &order_by)?;
        let newest = newest(&frame, &upsert.keys, &order_by).map_err(|error| self.rewrite_error(error))?;
        let mut attempt = 1;
        loop {
            match self.try_upsert(&upsert, &newest, &order_by).await {
                Err(error) if self.replan(&error, attempt).await => attempt += 1,
                outcome => return outcome,
            }
        }
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

    async fn try_upsert(
        self: &Arc<Self>,
        upsert: &Upsert,
        newest: &DataFrame,
        order_by: &str,
    ) -> Result<Upserted, LakeError> {
        let Upsert { producer, after, keys, books, .. } = upsert;
        let nothing = |outcome| Upserted { outcome, written: 0, replaced: 0, overtaken: 0, files: 0 };
        let state = self.plan_on().await?;
        let mut member = Member::new(producer.clone(), *after, *books);
        let known = state.transactions.get(&producer.id).map(|known| known.version);
        if let Some(version) = known.filter(|version| *version >= producer.version || known != *after) {
            return Ok(nothing(member.moved(version)));
        }
        let failed = |error| self.rewrite_error(error);
        let key = state.layout.key(&newest.select(keys).map_err(failed)?)?;
        let bounds = Arc::new(Keys::of(&key).map_err(failed)?);
        let selection = ByKey {
            keys: keys.clone(),
            order_by: order_by.to_owned(),
            incoming: incoming(key, newest, order_by).map_err(failed)?,
            bounds: Arc::clone(&bounds),
            overtaken: HashSet::new(),
        };
        let (affected, selection) = self.without(&state, selection).await?;
        let rows = (0..newest.height() as IdxSize).map(|row| !selection.overtaken.contains(&row));
        let rows = newest.filter(&rows.collect::<BooleanChunked>()).map_err(failed)?;
        let (written, given) = (rows.height() as u64, upsert.frame.height() as u64);
        let overtaken = given - written;
        let mut files = self.writer.files();
        files.write(rows).await?;
        let files = files.finish().await?;
        let made = [files.clone(), affected.survivors.clone()].concat();
        member.books.committed = books.committed.saturating_sub(overtaken);
        member.books.already_committed += books.committed.min(overtaken);
        member.books.replaced = affected.rows;
        let proposal = Proposal {
            members: vec![member.clone()],
            add: affected.kept().chain(files.into_iter().map(|file| (file, true))).collect(),
            remove: affected.removes((self.options.now_ms)()),
            valid_at: Some(state.version),
            unseen: Some(Arc::new(move |add| bounds.may_be_in(&add.partition_values, add.stats.as_deref()))),
            operation: "MERGE",
            details: BTreeMap::from([("operation", json!("upsert")), ("keys", json!(keys))]),
            ..Proposal::default()
        };
        Ok(match self.commit_rewrite(proposal, &made).await? {
            Verdict::Committed { version } => Upserted {
                outcome: Outcome::Committed { version },
                written,
                replaced: affected.rows,
                overtaken,
                files: affected.files.len(),
            },
            Verdict::Moved(moved) => {
                nothing(member.moved(moved.first().map_or(producer.version, |(_, version)| *version)))
            }
        })
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
