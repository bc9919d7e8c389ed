//! What others did to the rows of a dataset's tables: told beside the books while these do not balance, and out of their
//! way once somebody has acknowledged it.
//!
//! The books count what Weir did. An erasure by another tool, a restore or a merge changes rows beside them. What is
//! acknowledged of that stands in the table as transaction ids, so that every instance knows it: how many rows are gone and
//! how many have come, in all, and up to which version somebody has looked.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use weir_lake::{Append, Books, ForeignCommit, ForeignCommits, Outcome, Producer, Snapshot, Table, TableDefinition};

use crate::app::{App, Dataset, Runtime};
use crate::error::AppError;

/// Its version is the Delta version up to which commits of others are acknowledged.
const UP_TO: &str = "weir:acknowledged";
const GONE: &str = "weir:acknowledged:gone";
const CAME: &str = "weir:acknowledged:came";
/// Commits of others in between before somebody has to ask again.
const ATTEMPTS: u32 = 5;
/// Commits that are told; the rows of the others are summed up all the same.
const MOST_TOLD: usize = 20;

/// Rows that others took and gave, in all, as acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Acknowledged {
    pub(crate) gone: u64,
    pub(crate) came: u64,
    #[serde(skip)]
    up_to: Option<i64>,
}

/// Commits of others that are not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Others {
    pub(crate) table: String,
    /// Rows that the table has more than the books say, less what is acknowledged; negative where rows are gone.
    pub(crate) rows: i64,
    /// Oldest first, at most [`MOST_TOLD`] of them, the newest.
    pub(crate) commits: Vec<ForeignCommit>,
    /// Whether these commits account for the rows. `None`: the log does not go back far enough, or does not say.
    pub(crate) explained: Option<bool>,
}

impl Acknowledged {
    pub(crate) fn of(transactions: &HashMap<String, i64>) -> Self {
        let count = |id: &str| transactions.get(id).and_then(|count| u64::try_from(*count).ok()).unwrap_or(0);
        Self { gone: count(GONE), came: count(CAME), up_to: transactions.get(UP_TO).copied() }
    }

    pub(crate) fn is_none(&self) -> bool {
        self.gone == 0 && self.came == 0
    }

    fn and(self, rows: i64) -> Self {
        let more = rows.unsigned_abs();
        match rows < 0 {
            true => Self { gone: self.gone.saturating_add(more), ..self },
            false => Self { came: self.came.saturating_add(more), ..self },
        }
    }
}

/// Rows that a table has more than its books and what is acknowledged say.
pub(crate) fn unexplained(rows: u64, books: &Books, acknowledged: &Acknowledged) -> i64 {
    let signed = |count: u64| i128::from(count);
    let there = signed(rows) + signed(books.replaced) + signed(acknowledged.gone);
    let should = signed(books.committed) + signed(acknowledged.came);
    i64::try_from(there - should).unwrap_or(if there < should { i64::MIN } else { i64::MAX })
}

/// What others did, where the books do not balance. Reads the whole log: not for tables whose books do.
pub(crate) async fn of(table: &Table, snapshot: &Snapshot) -> Result<Option<Others>, AppError> {
    let acknowledged = Acknowledged::of(&snapshot.transactions);
    let statistics = snapshot.statistics();
    let rows = unexplained(statistics.rows, &statistics.books, &acknowledged);
    if rows == 0 {
        return Ok(None);
    }
    let found = table.foreign_commits().await?;
    Ok(Some(told(table.name(), rows, acknowledged.up_to, found)))
}

fn told(table: &str, rows: i64, up_to: Option<i64>, found: ForeignCommits) -> Others {
    let ForeignCommits { from, mut commits, .. } = found;
    let is_new = |commit: &ForeignCommit| up_to.is_none_or(|up_to| commit.version > up_to);
    commits.retain(is_new);
    let is_whole = from <= up_to.map_or(0, |up_to| up_to.saturating_add(1));
    let gained = commits.iter().map(ForeignCommit::rows_gained).try_fold(0_i64, |sum, gained| sum.checked_add(gained?));
    let explained = gained.filter(|_| is_whole).map(|gained| gained == rows);
    let told = commits.split_off(commits.len().saturating_sub(MOST_TOLD));
    Others { table: table.to_owned(), rows, commits: told, explained }
}

/// What a person takes note of: the rows of a table's books from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Note {
    #[serde(flatten)]
    pub(crate) others: Others,
    /// What is acknowledged of the table in all.
    pub(crate) acknowledged: Acknowledged,
}

/// Acknowledges what others did to a dataset's tables; nothing where the books balance.
///
/// # Errors
/// [`AppError::NotOthers`] when the log tells of others, all of it, and they do not account for the rows.
pub(crate) async fn acknowledge(app: &App, dataset: &str) -> Result<Vec<Note>, AppError> {
    let runtime = app.runtime().await?;
    let dataset = runtime.dataset(dataset)?;
    let mut notes = Vec::new();
    for definition in [&dataset.table, &dataset.quarantine] {
        notes.extend(acknowledge_in(runtime, dataset, definition).await?);
    }
    Ok(notes)
}

async fn acknowledge_in(
    runtime: &Runtime,
    dataset: &Dataset,
    definition: &TableDefinition,
) -> Result<Option<Note>, AppError> {
    let Some(table) = runtime.lake.existing(definition).await? else { return Ok(None) };
    for _ in 0..ATTEMPTS {
        let snapshot = table.snapshot().await?;
        let Some(others) = of(&table, &snapshot).await? else { return Ok(None) };
        if others.explained == Some(false) {
            return Err(AppError::NotOthers { table: others.table, rows: others.rows });
        }
        let before = Acknowledged::of(&snapshot.transactions);
        let acknowledged = before.and(others.rows);
        if note(&table, before, acknowledged, snapshot.version).await? {
            tracing::info!(table = others.table, rows = others.rows, "what others did is acknowledged");
            return Ok(Some(Note { others, acknowledged }));
        }
    }
    Err(AppError::Moved { producer: format!("{UP_TO} of {}", dataset.contract.name), attempts: ATTEMPTS })
}

/// False when somebody else has acknowledged something meanwhile.
async fn note(table: &Arc<Table>, before: Acknowledged, now: Acknowledged, version: i64) -> Result<bool, AppError> {
    table.refresh().await?;
    let producer = |id: &str, version| Producer { id: id.to_owned(), version, expires: false };
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let raises = vec![producer(GONE, count(now.gone)), producer(CAME, count(now.came))];
    let append = Append { producer: producer(UP_TO, version), rows: table.listed([])?, books: Books::default() };
    let outcome = table.append_raising(append, before.up_to, raises).await?;
    Ok(matches!(outcome, Outcome::Committed { .. }))
}

impl std::fmt::Display for Others {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { table, rows, commits, explained } = self;
        let which = if *rows < 0 { "fewer" } else { "more" };
        write!(f, "{table} has {} rows {which} than its books say", rows.unsigned_abs())?;
        for ForeignCommit { version, operation, by, rows_removed, rows_added, .. } in commits {
            let operation = if operation.is_empty() { "a commit" } else { operation };
            let by = by.as_deref().unwrap_or("another writer");
            let count = |count: &Option<u64>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
            let (removed, added) = (count(rows_removed), count(rows_added));
            write!(f, "; version {version}: {operation} by {by}, {removed} rows out, {added} in")?;
        }
        f.write_str(match explained {
            Some(true) => "; these commits account for it: `weir status --acknowledge` takes note",
            Some(false) => "; these commits do not account for it",
            None => "; the log does not tell of all of it (`weir status --acknowledge` takes note)",
        })
    }
}
