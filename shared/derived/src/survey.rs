//! Which units there are and where: from partition values and statistics where they tell, else from the one column.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use weir_contract::TableColumn;
use weir_lake::{FileEntry, Table, WholeRange};
use weir_transform::Derivation;

use crate::error::DerivedError;
use crate::group::Unit;
use crate::refresh::failed;

/// Files that are read at the same time.
const PARALLEL_READS: usize = 4;
/// Commits whose changes are in memory at the same time.
const COMMITS_AT_ONCE: i64 = 200;

/// Rows by unit.
type Counts = BTreeMap<Unit, i64>;

/// The units of one table's files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surveyor<'a> {
    /// The table that is made.
    pub(crate) name: &'a str,
    pub(crate) followed: &'a Table,
    pub(crate) derivation: &'a Derivation,
    /// The unit's column in the followed table.
    pub(crate) column: &'a TableColumn,
}

/// Which units a file may have rows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// First and last; `None`: any.
    bounds: Option<(i64, i64)>,
    /// Only rows without a unit.
    only_null: bool,
    may_have_null: bool,
}

impl Span {
    fn of(range: WholeRange, unit: impl Fn(i64) -> i64) -> Self {
        Self {
            bounds: range.bounds.map(|(min, max)| (unit(min), unit(max))),
            only_null: range.nulls.is_some() && range.nulls == range.rows,
            may_have_null: range.nulls != Some(0),
        }
    }

    /// False only when it is certain that the file has none of the units.
    pub(crate) fn may_hold(&self, units: &BTreeSet<Unit>) -> bool {
        if self.may_have_null && units.contains(&None) {
            return true;
        }
        match self.bounds {
            _ if self.only_null => false,
            Some((first, last)) => first > last || units.range(Some(first)..=Some(last)).next().is_some(),
            None => units.iter().any(Option::is_some),
        }
    }

    /// The one unit that all rows are of, if that is certain.
    fn only(&self) -> Option<Unit> {
        match self.bounds {
            _ if self.only_null => Some(None),
            Some((first, last)) if first == last && !self.may_have_null => Some(Some(first)),
            _ => None,
        }
    }
}

impl Surveyor<'_> {
    pub(crate) fn span(&self, file: &FileEntry) -> Span {
        Span::of(file.whole_range(self.column), |value| self.derivation.unit(value))
    }

    /// The rows of each unit in some files.
    pub(crate) async fn rows(&self, files: &[FileEntry]) -> Result<BTreeMap<Unit, u64>, DerivedError> {
        let counts = self.counts(files).await?;
        Ok(counts.into_iter().map(|(unit, rows)| (unit, rows.unsigned_abs())).collect())
    }

    /// The units of which rows came or went in the commits `from..=to`, each with the last such commit. `None` when the
    /// log or its files do not tell any more.
    pub(crate) async fn touched(&self, from: i64, to: i64) -> Result<Option<BTreeMap<Unit, i64>>, DerivedError> {
        let mut touched = BTreeMap::new();
        let mut next = from;
        while next <= to {
            let last = to.min(next.saturating_add(COMMITS_AT_ONCE - 1));
            let Some(changes) = self.followed.changes(next, last).await? else { return Ok(None) };
            for change in changes {
                let [added, removed, kept] = match (
                    self.counts(&change.added).await,
                    self.counts(&change.removed).await,
                    self.counts(&change.kept).await,
                ) {
                    (Ok(added), Ok(removed), Ok(kept)) => [added, removed, kept],
                    (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => return vacuumed(error),
                };
                // Rows that stay are as many as went into the files that replace theirs.
                let gone = removed.into_iter().filter(|(unit, rows)| kept.get(unit) != Some(rows));
                touched.extend(added.into_keys().chain(gone.map(|(unit, _)| unit)).map(|unit| (unit, change.version)));
            }
            next = last + 1;
        }
        Ok(Some(touched))
    }

    async fn counts(&self, files: &[FileEntry]) -> Result<Counts, DerivedError> {
        let mut all = Counts::new();
        let reads: Vec<_> = files.iter().map(|file| self.count(file)).collect();
        let mut counts = stream::iter(reads).buffered(PARALLEL_READS);
        while let Some(counts) = counts.try_next().await? {
            for (unit, rows) in counts {
                *all.entry(unit).or_default() += rows;
            }
        }
        Ok(all)
    }

    async fn count(&self, file: &FileEntry) -> Result<Counts, DerivedError> {
        if let (Some(unit), Some(rows)) = (self.span(file).only(), file.rows) {
            return Ok(Counts::from([(unit, i64::try_from(rows).unwrap_or(i64::MAX))]));
        }
        let frame = self.followed.read_columns(file, &[&self.column.name]).await?;
        let units = self.derivation.units(&frame).map_err(|source| failed(self.name, source))?;
        let mut counts = Counts::new();
        units.into_iter().for_each(|unit| *counts.entry(unit).or_default() += 1);
        Ok(counts)
    }
}

fn vacuumed<T>(error: DerivedError) -> Result<Option<T>, DerivedError> {
    match error {
        DerivedError::Lake(error) if error.is_not_found() => Ok(None),
        error => Err(error),
    }
}
