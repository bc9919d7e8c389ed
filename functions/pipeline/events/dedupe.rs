//! Events that a producer sent twice: `[dedupe]` of a contract.
//!
//! The table is what is known. What a process keeps of a partition, the keys that were ingested lately, is read from the
//! table when it begins, after another instance has committed, and after it was dropped for want of memory; a partition
//! whose keys never fit is looked up in the table batch by batch. Keys are kept as digests, so that no sender can make one
//! that looks like another.

use std::collections::{HashMap, HashSet};
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use polars::prelude::*;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OwnedMutexGuard};
use weir_contract::{Dedupe, INGESTED_AT};
use weir_lake::{Incarnation, SourceRows, Table};
use weir_transform::Output;

use crate::error::AppError;

/// What an entry takes, with its share of the table around it.
const KEY_BYTES: u64 = 64;

type Key = [u8; 16];

type Shared = Arc<Mutex<Memory>>;

/// What this process remembers of all partitions.
#[derive(Debug)]
pub(crate) struct Memories {
    /// By dataset and source.
    partitions: Mutex<HashMap<(String, String), Shared>>,
    most_keys: usize,
    clock: AtomicU64,
}

/// What is remembered of one partition.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The table that it is of. What another of its name held says nothing.
    table: Option<Incarnation>,
    /// The last event whose key is here, if it was to be remembered. `None`: nothing is known.
    until: Option<i64>,
    replays: Option<i64>,
    /// When each key was ingested last; microseconds since 1970.
    ingested: HashMap<Key, i64>,
    /// Size after the old ones were last taken out.
    kept: usize,
    used: u64,
}

/// Where a delivery stands.
#[derive(Debug, Clone)]
pub(super) struct At {
    pub(super) table: Incarnation,
    /// What the table has of the partition.
    pub(super) after: Option<i64>,
    /// How often events of it were replayed.
    pub(super) replays: Option<i64>,
    pub(super) now_us: i64,
}

/// A partition's memory, held for one delivery, and what the delivery will add to it.
pub(super) struct Remembered<'a> {
    memories: &'a Memories,
    memory: OwnedMutexGuard<Memory>,
    key: Vec<String>,
    within_us: i64,
    at: At,
    fresh: Fresh,
}

/// The keys of one delivery so far.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    keys: HashSet<Key>,
    /// Left out.
    pub(super) duplicates: u64,
}

impl Memories {
    pub(crate) fn new(budget_bytes: u64) -> Self {
        let most_keys = usize::try_from(budget_bytes / 8 / KEY_BYTES).unwrap_or(usize::MAX);
        Self { partitions: Mutex::default(), most_keys, clock: AtomicU64::new(0) }
    }

    /// The memory of a partition, for one delivery at a time.
    pub(super) async fn of(&self, dataset: &str, source: &str) -> OwnedMutexGuard<Memory> {
        let id = (dataset.to_owned(), source.to_owned());
        let memory = Arc::clone(self.partitions.lock().await.entry(id).or_default());
        let mut memory = memory.lock_owned().await;
        memory.used = self.clock.fetch_add(1, Ordering::Relaxed);
        memory
    }

    /// Drops what was not used for longest until all of it fits; `own` at last.
    pub(super) async fn bound(&self, own: &mut Memory) {
        let partitions = self.partitions.lock().await;
        // One that is locked is in use.
        let mut idle: Vec<_> =
            partitions.values().filter_map(|memory| Arc::clone(memory).try_lock_owned().ok()).collect();
        let in_use = partitions.len().saturating_sub(idle.len() + 1);
        // Those in use are bound by themselves; each may have its share.
        let share = self.most_keys / (in_use + 1);
        idle.sort_by_key(|memory| memory.used);
        let mut keys = own.ingested.len() + idle.iter().map(|memory| memory.ingested.len()).sum::<usize>();
        for memory in &mut idle {
            if keys <= share {
                return;
            }
            keys -= memory.ingested.len();
            memory.forget();
        }
        if keys > share {
            own.forget();
        }
    }
}

impl Memory {
    fn forget(&mut self) {
        *self = Self { used: self.used, table: self.table.take(), ..Self::default() };
    }
}

impl<'a> Remembered<'a> {
    pub(super) fn new(memories: &'a Memories, memory: OwnedMutexGuard<Memory>, rule: &Dedupe, at: At) -> Self {
        let within_us = i64::try_from(rule.within.as_micros()).unwrap_or(i64::MAX);
        Self { memories, memory, key: rule.key.clone(), within_us, at, fresh: Fresh::default() }
    }

    pub(super) fn duplicates(&self) -> u64 {
        self.fresh.duplicates
    }

    fn since_us(&self) -> i64 {
        self.at.now_us.saturating_sub(self.within_us)
    }

    /// Takes out of an output every row whose key was there before. Outputs come in the order of the events.
    pub(super) async fn take_out(
        &mut self,
        table: &Table,
        sources: &[String],
        output: &mut Output,
    ) -> Result<(), AppError> {
        let keys = keys_of(&output.clean, &self.key).map_err(frame)?;
        let since_us = self.since_us();
        let looked_up = match self.catch_up(table, sources).await? {
            true => None,
            false => {
                let positions = 0..=self.at.after.unwrap_or(-1);
                let rows = SourceRows { sources, positions, since_us: Some(since_us) };
                let wanted: HashSet<Key> = keys.iter().copied().flatten().collect();
                Some(look_up(&self.key, table, rows, &wanted).await?)
            }
        };
        let Self { memory, fresh, .. } = self;
        let known = |key: &Key| match &looked_up {
            Some(found) => found.contains(key),
            None => memory.ingested.get(key).is_some_and(|ingested| *ingested >= since_us),
        };
        leave_out(output, &keys, known, fresh)
    }

    /// Brings the memory up to what the table has. False when it is more than fits.
    async fn catch_up(&mut self, table: &Table, sources: &[String]) -> Result<bool, AppError> {
        let (since_us, most_keys, key) = (self.since_us(), self.memories.most_keys, &self.key);
        let memory = &mut *self.memory;
        if memory.table.as_ref() != Some(&self.at.table) {
            memory.forget();
            memory.table = Some(self.at.table.clone());
        }
        let Some(after) = self.at.after else {
            memory.forget();
            return Ok(true);
        };
        // A replay changed rows that are remembered, or the table was made anew.
        if memory.replays != self.at.replays || memory.until.is_some_and(|until| until > after) {
            memory.forget();
            memory.replays = self.at.replays;
        }
        if memory.until == Some(after) {
            return Ok(true);
        }
        let first = memory.until.map_or(0, |until| until + 1);
        let rows = SourceRows { sources, positions: first..=after, since_us: Some(since_us) };
        let ingested = &mut memory.ingested;
        let each = |frame: DataFrame| {
            for (key, at_us) in keys_of(&frame, key)?.into_iter().zip(times(&frame)?) {
                if let (Some(key), Some(at_us)) = (key, at_us) {
                    let entry = ingested.entry(key).or_insert(at_us);
                    *entry = at_us.max(*entry);
                }
            }
            Ok(if ingested.len() > most_keys { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        table.rows_of(rows, &columns(key), each).await?;
        if memory.ingested.len() > most_keys {
            tracing::warn!(
                source = sources.first(),
                most_keys,
                "too many keys to remember: each batch is looked up in the table"
            );
            memory.forget();
            return Ok(false);
        }
        memory.until = Some(after);
        Ok(true)
    }

    /// The delivery is committed up to `last`.
    pub(super) async fn committed(self, last: i64) {
        let since_us = self.since_us();
        let Self { memories, mut memory, at, fresh, .. } = self;
        if memory.until.is_none() && at.after.is_some() {
            return;
        }
        (memory.until, memory.replays, memory.table) = (Some(last), at.replays, Some(at.table));
        memory.ingested.extend(fresh.keys.into_iter().map(|key| (key, at.now_us)));
        if memory.ingested.len() > 2 * memory.kept + 1_024 {
            memory.ingested.retain(|_, ingested| *ingested >= since_us);
            memory.kept = memory.ingested.len();
        }
        memories.bound(&mut memory).await;
    }
}

/// Of events that are read again: leaves out each whose key an earlier one has, in `fresh` or in the table. The window ends where these events were ingested first.
pub(super) async fn take_out_of_replay(
    rule: &Dedupe,
    table: &Table,
    sources: &[String],
    cover: RangeInclusive<i64>,
    now_us: i64,
    fresh: &mut Fresh,
    output: &mut Output,
) -> Result<(), AppError> {
    let mut first_us = now_us;
    let each = |frame: DataFrame| {
        first_us = times(&frame)?.into_iter().flatten().fold(first_us, i64::min);
        Ok(ControlFlow::Continue(()))
    };
    let own = SourceRows { sources, positions: cover.clone(), since_us: None };
    table.rows_of(own, &columns(&[]), each).await?;
    let keys = keys_of(&output.clean, &rule.key).map_err(frame)?;
    let wanted: HashSet<Key> = keys.iter().copied().flatten().collect();
    let since_us = first_us.saturating_sub(i64::try_from(rule.within.as_micros()).unwrap_or(i64::MAX));
    let earlier = SourceRows { sources, positions: 0..=cover.start() - 1, since_us: Some(since_us) };
    let found = look_up(&rule.key, table, earlier, &wanted).await?;
    leave_out(output, &keys, |key| found.contains(key), fresh)
}

/// Which of `wanted` rows of the table have.
async fn look_up(
    key: &[String],
    table: &Table,
    rows: SourceRows<'_>,
    wanted: &HashSet<Key>,
) -> Result<HashSet<Key>, AppError> {
    let mut found = HashSet::new();
    if wanted.is_empty() || rows.positions.is_empty() {
        return Ok(found);
    }
    let each = |frame: DataFrame| {
        found.extend(keys_of(&frame, key)?.into_iter().flatten().filter(|key| wanted.contains(key)));
        Ok(ControlFlow::Continue(()))
    };
    table.rows_of(rows, &columns(key), each).await?;
    Ok(found)
}

/// Leaves out the rows whose key is known or came before.
fn leave_out(
    output: &mut Output,
    keys: &[Option<Key>],
    known: impl Fn(&Key) -> bool,
    fresh: &mut Fresh,
) -> Result<(), AppError> {
    let keep: Vec<bool> = keys.iter().map(|key| key.is_none_or(|key| !known(&key) && fresh.keys.insert(key))).collect();
    let duplicates = keep.iter().filter(|keep| !**keep).count() as u64;
    if duplicates > 0 {
        output.clean = output.clean.filter(&keep.into_iter().collect::<BooleanChunked>()).map_err(frame)?;
        output.records -= duplicates;
        fresh.duplicates += duplicates;
    }
    Ok(())
}

fn columns(key: &[String]) -> Vec<&str> {
    key.iter().map(String::as_str).chain([INGESTED_AT]).collect()
}

fn frame(error: PolarsError) -> AppError {
    AppError::Transform(error.into())
}

fn times(frame: &DataFrame) -> PolarsResult<Vec<Option<i64>>> {
    Ok(frame.column(INGESTED_AT)?.cast(&DataType::Int64)?.i64()?.to_vec())
}

/// The key of each row, `None` where a part of it is null. The same values give the same key, whatever width of integer
/// the column has.
fn keys_of(frame: &DataFrame, key: &[String]) -> PolarsResult<Vec<Option<Key>>> {
    let columns: Vec<Column> = key.iter().map(|name| comparable(frame.column(name)?)).collect::<PolarsResult<_>>()?;
    let texts: Vec<&StringChunked> = columns.iter().map(Column::str).collect::<PolarsResult<_>>()?;
    Ok((0..frame.height()).map(|row| key_of(texts.iter().map(|text| text.get(row)))).collect())
}

fn key_of<'a>(parts: impl Iterator<Item = Option<&'a str>>) -> Option<Key> {
    let mut digest = Sha256::new();
    for part in parts {
        let part = part?;
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    let digest = digest.finalize();
    digest.first_chunk().copied()
}

/// As text: whole numbers, dates and times by their number.
fn comparable(column: &Column) -> PolarsResult<Column> {
    match column.dtype() {
        DataType::String => Ok(column.clone()),
        DataType::Date | DataType::Datetime(..) => {
            column.to_physical_repr().cast(&DataType::Int64)?.cast(&DataType::String)
        }
        _ => column.cast(&DataType::String),
    }
}
