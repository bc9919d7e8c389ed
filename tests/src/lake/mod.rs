//! The lake's guarantees, tried against stores that fail, neighbours that race and readers that are not ours.

mod added_columns;
mod checkpoints;
mod clock;
mod commits;
mod compaction;
mod conformance;
mod deletes;
mod double_compaction;
mod engines;
mod evolution;
mod exactly_once;
mod faulty;
mod folders;
mod foreign;
mod guards;
mod interleavings;
mod lease;
mod left_behind;
mod linger;
mod log;
mod log_cleanup;
mod looking;
mod new_columns;
mod other_checkpoints;
mod partitions;
mod properties;
mod ranges;
mod readers;
mod replaced;
mod retention;
mod rewrites;
mod row_groups;
mod schedules;
mod sharing;
mod simulation;
mod skipping;
mod staging;
mod statistics;
mod store_clock;
mod storm;
mod uploads;
mod upsert;
mod upsert_races;
mod vacuum;
mod widening;
mod wiped;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use polars::prelude::*;
use serde_json::Value;
use weir_contract::{DataType as Type, NewColumns, TableColumn};
use weir_lake::{Append, Books, Lake, LakeError, LakeOptions, Outcome, Producer, Table, TableDefinition};

use self::faulty::Faulty;

const LOG: &str = "_delta_log";

/// Source, position, value.
type Row = (String, i64, Option<String>);

fn column(name: &str, data_type: Type, nullable: bool) -> TableColumn {
    TableColumn { name: name.to_owned(), data_type, nullable }
}

/// Lineage and one nullable string.
fn definition() -> TableDefinition {
    TableDefinition {
        name: "orders".to_owned(),
        columns: vec![
            column("_source", Type::String, false),
            column("_source_version", Type::String, false),
            column("_source_position", Type::Long, false),
            column("value", Type::String, true),
        ],
        partition_by: Vec::new(),
        cluster_by: Vec::new(),
        properties: Vec::new(),
        new_columns: NewColumns::Fail,
        added_columns: None,
        transactions: Vec::new(),
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

/// A lake of its own: what another process has.
fn lake(store: &Arc<dyn ObjectStore>) -> Lake {
    Lake::new(Arc::clone(store), Path::from("lake"), LakeOptions::new(now_ms))
}

/// A process of its own whose requests are counted and whose writes can be held.
async fn process(store: &Arc<dyn ObjectStore>, definition: &TableDefinition) -> (Arc<Faulty>, Arc<Table>) {
    let faulty = Faulty::calm(store);
    let table = lake(&(Arc::clone(&faulty) as _)).table(definition).await.unwrap();
    faulty.take_requests();
    (faulty, table)
}

/// The table, as a process that has just started sees it.
async fn open(store: &Arc<dyn ObjectStore>) -> Arc<Table> {
    lake(store).table(&definition()).await.unwrap()
}

/// What `source` has at these positions; every row's value is its own.
fn model(source: &str, positions: RangeInclusive<i64>) -> Vec<Row> {
    positions.map(|position| (source.to_owned(), position, Some(format!("{source}:{position}")))).collect()
}

fn frame(rows: &[Row]) -> DataFrame {
    let height = rows.len();
    let columns = vec![
        Column::new("_source".into(), rows.iter().map(|row| row.0.as_str()).collect::<Vec<_>>()),
        Column::new("_source_version".into(), vec!["1"; height]),
        Column::new("_source_position".into(), rows.iter().map(|row| row.1).collect::<Vec<_>>()),
        Column::new("value".into(), rows.iter().map(|row| row.2.as_deref()).collect::<Vec<_>>()),
    ];
    DataFrame::new(height, columns).unwrap()
}

fn rows_of(frame: &DataFrame) -> Vec<Row> {
    let sources = frame.column("_source").unwrap().str().unwrap();
    let positions = frame.column("_source_position").unwrap().i64().unwrap();
    let values = frame.column("value").unwrap().str().unwrap();
    let rows = sources.iter().zip(positions.iter()).zip(values.iter());
    rows.map(|((source, position), value)| (source.unwrap().to_owned(), position.unwrap(), value.map(str::to_owned)))
        .collect()
}

/// Every row of the newest version, sorted; a row that is there twice is listed twice.
async fn rows(table: &Arc<Table>) -> Vec<Row> {
    let mut rows = Vec::new();
    for file in table.snapshot().await.unwrap().files {
        let frame = table.read(&file).await.unwrap();
        assert_eq!(file.rows, Some(frame.height() as u64), "numRecords of {}", file.log_path);
        rows.extend(rows_of(&frame));
    }
    rows.sort();
    rows
}

fn producer(id: &str, version: i64) -> Producer {
    Producer { id: id.to_owned(), version, expires: false }
}

fn counted(records: usize) -> Books {
    Books { records_in: records as u64, committed: records as u64, ..Books::default() }
}

/// Stages and proposes rows; the producer is named like the source and its version is the last position.
async fn append(table: &Arc<Table>, rows: &[Row], after: Option<i64>) -> Result<Outcome, LakeError> {
    let (source, version, _) = rows.last().unwrap();
    let books = counted(rows.len());
    let staged = table.stage(frame(rows)).await?;
    table.append(Append { producer: producer(source, *version), rows: staged, books }, after).await
}

/// The actions of one commit.
async fn actions(store: &Arc<dyn ObjectStore>, version: i64) -> Vec<Value> {
    let bytes = store.get(&commit_path(version)).await.unwrap().bytes().await.unwrap();
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// Data files that no commit ever named.
async fn orphans(store: &Arc<dyn ObjectStore>) -> Vec<String> {
    let mut named = BTreeSet::new();
    for version in 0.. {
        if store.head(&commit_path(version)).await.is_err() {
            break;
        }
        let adds = actions(store, version).await;
        named.extend(of_kind(&adds, "add").iter().map(|add| file_name(add["path"].as_str().unwrap()).to_owned()));
    }
    let objects = faulty::names(store, "lake/orders").await.into_iter();
    objects
        .filter(|name| name.ends_with(".parquet") && !name.contains(LOG) && !named.contains(file_name(name)))
        .collect()
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

fn commit_path(version: i64) -> Path {
    Path::from(format!("lake/orders/_delta_log/{version:020}.json"))
}

/// The actions of one kind.
fn of_kind<'a>(actions: &'a [Value], kind: &str) -> Vec<&'a Value> {
    actions.iter().filter_map(|action| action.get(kind)).collect()
}

/// The running totals of the table's newest version.
async fn books(table: &Arc<Table>) -> Books {
    Books::of(&table.snapshot().await.unwrap().transactions)
}

/// Partition values in the form that the log has them.
fn partition(values: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
    values.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect()
}
