//! A simulated world: its clock, its dice, and the sequential model that every outcome is held against.
//!
//! What is compared is not a set of final rows that somebody thought of, but the log itself: the operations are applied
//! to the model in the order in which their commits stand there, and the table must hold exactly what the model holds.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use polars::prelude::*;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde_json::Value;
use tokio::time::Instant;
use weir_contract::{DataType as Type, NewColumns};
use weir_lake::{LakeOptions, TableDefinition};

use super::column;

thread_local! {
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
    static DICE: RefCell<StdRng> = RefCell::new(StdRng::seed_from_u64(0));
}

/// 2027, so that nothing is older than the real clock says.
pub(super) const EPOCH_MS: i64 = 1_800_000_000_000;

/// Sets clock and dice of this thread; inside the runtime whose clock is paused.
pub(super) fn begin(seed: u64) {
    BEGAN.set(Some(Instant::now()));
    DICE.set(StdRng::seed_from_u64(seed));
}

pub(super) fn now_ms() -> i64 {
    EPOCH_MS + BEGAN.get().map_or(0, |began| i64::try_from(began.elapsed().as_millis()).unwrap())
}

/// delta-rs writes checkpoints on a thread of its own, which has neither this clock nor these dice.
pub(super) fn is_here() -> bool {
    BEGAN.get().is_some()
}

fn random() -> u64 {
    DICE.with_borrow_mut(RngCore::next_u64)
}

pub(super) fn options() -> LakeOptions {
    LakeOptions {
        random,
        commit_timeout: Duration::from_secs(10),
        max_state_age: Duration::from_secs(25),
        settled: Duration::from_secs(6),
        ..LakeOptions::new(now_ms)
    }
}

/// The longest that anything takes from its first file to its commit, in this world.
pub(super) const LONGEST: Duration = Duration::from_secs(75);

pub(super) fn definition(partitioned: bool) -> TableDefinition {
    TableDefinition {
        name: "orders".to_owned(),
        columns: vec![
            column("_source", Type::String, false),
            column("_source_version", Type::String, false),
            column("_source_position", Type::Long, false),
            column("key", Type::String, true),
            column("value", Type::String, true),
        ],
        partition_by: if partitioned { vec!["key".to_owned()] } else { Vec::new() },
        cluster_by: if partitioned { vec!["value".to_owned()] } else { Vec::new() },
        properties: vec![
            ("delta.deletedFileRetentionDuration".to_owned(), "interval 150 seconds".to_owned()),
            ("delta.logRetentionDuration".to_owned(), "interval 150 seconds".to_owned()),
        ],
        new_columns: NewColumns::Fail,
        added_columns: None,
        transactions: Vec::new(),
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) source: String,
    pub(super) position: i64,
    pub(super) version: String,
    pub(super) key: String,
    pub(super) value: String,
}

/// What a source gives at its positions, in one of its versions.
pub(super) fn rows_of(source: &str, version: &str, positions: impl IntoIterator<Item = i64>) -> Vec<Row> {
    let row = |position: i64| Row {
        source: source.to_owned(),
        position,
        version: version.to_owned(),
        key: format!("k{}", (position + source.len() as i64) % 4),
        value: match source.starts_with("up") {
            true => format!("item{}", position % 5),
            false => format!("{source}:{position}:{version}"),
        },
    };
    positions.into_iter().map(row).collect()
}

pub(super) fn frame(rows: &[Row]) -> DataFrame {
    df!(
        "_source" => rows.iter().map(|row| row.source.as_str()).collect::<Vec<_>>(),
        "_source_version" => rows.iter().map(|row| row.version.as_str()).collect::<Vec<_>>(),
        "_source_position" => rows.iter().map(|row| row.position).collect::<Vec<_>>(),
        "key" => rows.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(),
        "value" => rows.iter().map(|row| row.value.as_str()).collect::<Vec<_>>(),
    )
    .unwrap()
}

pub(super) fn rows_in(frame: &DataFrame) -> Vec<Row> {
    let texts = |name: &str| frame.column(name).unwrap().str().unwrap().clone();
    let (sources, versions, keys, values) = (texts("_source"), texts("_source_version"), texts("key"), texts("value"));
    let positions = frame.column("_source_position").unwrap().i64().unwrap();
    let text = |column: &StringChunked, row: usize| column.get(row).unwrap().to_owned();
    let row = |row: usize| Row {
        source: text(&sources, row),
        position: positions.get(row).unwrap(),
        version: text(&versions, row),
        key: text(&keys, row),
        value: text(&values, row),
    };
    (0..frame.height()).map(row).collect()
}

/// What a generation counts for in the version of a published source; the rest says which version it is.
pub(super) const GENERATION: i64 = 10;

/// What one transaction id stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// The source's rows up to the version, from where it was.
    Append { source: String, version: String },
    /// All rows of a source, or those at some positions, for others.
    Replace { source: String, positions: Option<(i64, i64)>, rows: Vec<Row> },
    /// All rows of a source for those of one version of it; each such commit is the next of its generation.
    Publish { source: String, rows: Vec<Row> },
    /// A mark that brings no rows.
    Mark,
    /// Rows with the key.
    Delete { key: String },
    /// As [`Effect::Append`], by `value`.
    Upsert { source: String },
}

/// The table as it must be.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) rows: Vec<Row>,
    pub(super) producers: HashMap<String, i64>,
}

impl Model {
    /// Applies one commit. Panics when a producer's version is committed twice or goes back.
    pub(super) fn commit(&mut self, version: i64, actions: &[Value], effects: &dyn Fn(&str, i64) -> Effect) {
        let transactions: Vec<_> = actions
            .iter()
            .filter_map(|action| action.get("txn"))
            .map(|txn| (txn["appId"].as_str().unwrap().to_owned(), txn["version"].as_i64().unwrap()))
            .filter(|(id, _)| !id.starts_with("weir:"))
            .collect();
        for (id, at) in transactions {
            let before = self.producers.insert(id.clone(), at);
            assert!(before.is_none_or(|before| before < at), "{id} at {at} in commit {version}, after {before:?}");
            match effects(&id, at) {
                Effect::Publish { source, rows } => {
                    let generations = (before.unwrap_or(0) / GENERATION, at / GENERATION);
                    assert_eq!(
                        generations.0 + 1,
                        generations.1,
                        "{id} in commit {version}: made against another state"
                    );
                    self.rows.retain(|row| row.source != source);
                    self.rows.extend(rows);
                }
                Effect::Mark => {}
                Effect::Append { source, version } => {
                    self.rows.extend(rows_of(&source, &version, before.unwrap_or(0) + 1..=at));
                }
                Effect::Replace { source, positions, rows } => {
                    let within = |position| positions.is_none_or(|(first, last)| (first..=last).contains(&position));
                    self.rows.retain(|row| row.source != source || !within(row.position));
                    self.rows.extend(rows);
                }
                Effect::Delete { key } => self.rows.retain(|row| row.key != key),
                Effect::Upsert { source } => self.upsert(rows_of(&source, "1", before.unwrap_or(0) + 1..=at)),
            }
        }
    }

    fn upsert(&mut self, mut incoming: Vec<Row>) {
        incoming.sort_by_key(|row| row.position);
        let mut newest: HashMap<String, Row> = HashMap::new();
        newest.extend(incoming.into_iter().map(|row| (row.value.clone(), row)));
        let overtaken: Vec<_> = self
            .rows
            .iter()
            .filter(|row| newest.get(&row.value).is_some_and(|new| row.position > new.position))
            .map(|row| row.value.clone())
            .collect();
        self.rows.retain(|row| newest.get(&row.value).is_none_or(|new| row.position > new.position));
        overtaken.iter().for_each(|value| drop(newest.remove(value)));
        self.rows.extend(newest.into_values());
    }
}
