//! Checkpoints of any writer, and what accidents leave of them: read, or passed over for the commits.

use std::io::Cursor;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use polars::prelude::*;
use serde_json::{Value, json};
use weir_lake::{CheckpointPolicy, CompactOptions, ErrorKind, LogCleanupOptions, Snapshot, Table, TableDefinition};

use super::clock;
use super::faulty::names;
use super::readers::Local;
use super::{append, commit_path, definition, lake, memory, model, rows};
use crate::python;

const HINT: &str = "lake/orders/_delta_log/_last_checkpoint";

fn with(properties: &[(&str, &str)]) -> TableDefinition {
    let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    TableDefinition { properties, partition_by: vec!["value".to_owned()], ..definition() }
}

/// Commits, a compaction and a checkpoint of them; the version of the checkpoint.
async fn grown(store: &Arc<dyn ObjectStore>, definition: &TableDefinition) -> (Arc<Table>, i64) {
    let table = lake(store).table(definition).await.unwrap();
    for position in 1..=9 {
        let value = (position % 3 > 0).then(|| format!("v{}", position % 3));
        let row = [("hub/0".to_owned(), position, value)];
        append(&table, &row, (position > 1).then(|| position - 1)).await.unwrap();
    }
    table.compact(CompactOptions::default(), None).await.unwrap();
    let version = table.checkpoint().await.unwrap();
    (table, version)
}

async fn snapshot(store: &Arc<dyn ObjectStore>, definition: &TableDefinition) -> Snapshot {
    lake(store).table(definition).await.unwrap().snapshot().await.unwrap()
}

/// The table as its commits alone tell it.
async fn by_commits(store: &Arc<dyn ObjectStore>, definition: &TableDefinition) -> Snapshot {
    let copy = memory();
    for name in names(store, "lake/orders").await.into_iter().filter(|name| !name.contains("checkpoint")) {
        let path = Path::from(name);
        let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
        copy.put(&path, bytes.into()).await.unwrap();
    }
    snapshot(&copy, definition).await
}

/// A struct column with other fields.
fn with_fields(frame: &mut DataFrame, name: &str, change: impl FnOnce(&mut Vec<Series>)) {
    let mut fields = frame.column(name).unwrap().struct_().unwrap().fields_as_series();
    change(&mut fields);
    let changed = StructChunked::from_series(name.into(), frame.height(), fields.iter()).unwrap();
    frame.with_column(changed.into_series().into_column()).unwrap();
}

fn checkpoint_path(version: i64) -> Path {
    Path::from(format!("lake/orders/_delta_log/{version:020}.checkpoint.parquet"))
}

async fn read(store: &Arc<dyn ObjectStore>, path: &Path) -> DataFrame {
    let bytes = store.get(path).await.unwrap().bytes().await.unwrap();
    ParquetReader::new(Cursor::new(bytes)).finish().unwrap()
}

async fn write(store: &Arc<dyn ObjectStore>, path: &Path, mut frame: DataFrame) {
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).finish(&mut frame).unwrap();
    store.put(path, bytes.into()).await.unwrap();
}

async fn delete_commits(store: &Arc<dyn ObjectStore>, until: i64) {
    for version in 0..=until {
        store.delete(&commit_path(version)).await.unwrap();
    }
}

fn same(left: &Snapshot, right: &Snapshot) {
    assert_eq!((left.version, &left.table_id), (right.version, &right.table_id));
    assert_eq!(left.transactions, right.transactions);
    let stats = |file: &weir_lake::FileEntry, kind: &str, column: &str| {
        let stats: Value = serde_json::from_str(file.stats.as_deref().unwrap_or("{}")).unwrap();
        stats[kind][column].clone()
    };
    let files = |snapshot: &Snapshot| {
        let files = snapshot.files.iter().map(|file| {
            let bounds = ["minValues", "maxValues"].map(|kind| stats(file, kind, "_source_position"));
            (file.log_path.clone(), file.size, file.rows, file.partition_values.clone(), bounds)
        });
        files.collect::<Vec<_>>()
    };
    assert_eq!(files(left), files(right));
}

/// What a contract may ask for, read by us and by others.
#[tokio::test]
async fn statistics_in_any_form_are_read() {
    let (as_json, as_struct) = ("delta.checkpoint.writeStatsAsJson", "delta.checkpoint.writeStatsAsStruct");
    for (json, structs) in [("true", "false"), ("false", "true"), ("true", "true"), ("false", "false")] {
        let local = Local::new();
        let definition = with(&[(as_json, json), (as_struct, structs)]);
        let (table, version) = grown(&local.store, &definition).await;
        let before = by_commits(&local.store, &definition).await;
        let content = rows(&table).await;
        let add = read(&local.store, &checkpoint_path(version)).await;
        let add = add.column("add").unwrap().struct_().unwrap().clone();
        let has = |name: &str| add.field_by_name(name).is_ok_and(|field| field.null_count() < field.len());
        if json == "false" {
            assert!(!has("stats"), "the property has its effect");
        }
        delete_commits(&local.store, version).await;
        let after = snapshot(&local.store, &definition).await;
        if (json, structs) != ("false", "false") {
            same(&after, &before);
        }
        // Without any statistics the footers tell how many rows there are.
        assert_eq!(after.statistics().rows, before.statistics().rows, "{json} {structs}");
        let cold = lake(&local.store).table(&definition).await.unwrap();
        assert_eq!(rows(&cold).await, content, "{json} {structs}");
        append(&cold, &[("hub/0".to_owned(), 10, None)], Some(9)).await.unwrap();
        assert_eq!(cold.checkpoint().await.unwrap(), version + 1);
        let script = "import sys; from deltalake import DeltaTable; print(DeltaTable(sys.argv[1]).version())";
        let theirs = python::run(script, &[local.table().to_str().unwrap()]);
        assert_eq!(theirs.trim(), (version + 1).to_string());
    }
}

fn halved(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len() / 2].to_vec()
}

fn without_middle(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let (from, to) = (8, bytes.len() / 2);
    bytes[from..to].fill(0xff);
    bytes
}

fn tail_only(bytes: &[u8]) -> Vec<u8> {
    bytes[bytes.len() - 12..].to_vec()
}

/// Torn in any way: the commits are there, so they are read; the next checkpoint is sound, for everybody.
#[tokio::test]
async fn a_damaged_checkpoint_is_passed_over_and_replaced() {
    type Damage = fn(&[u8]) -> Vec<u8>;
    let damages: [(&str, Damage); 5] = [
        ("halved", halved),
        ("empty", |_| Vec::new()),
        ("no parquet", |_| b"not a parquet file at all".to_vec()),
        ("pages", without_middle),
        ("tail", tail_only),
    ];
    for (name, damage) in damages {
        for hinted in [true, false] {
            let local = Local::new();
            let definition = with(&[]);
            let (_, version) = grown(&local.store, &definition).await;
            let before = by_commits(&local.store, &definition).await;
            let path = checkpoint_path(version);
            let bytes = local.store.get(&path).await.unwrap().bytes().await.unwrap();
            local.store.put(&path, damage(&bytes).into()).await.unwrap();
            if !hinted {
                local.store.delete(&Path::from(HINT)).await.unwrap();
            }
            same(&snapshot(&local.store, &definition).await, &before);
            let cold = lake(&local.store).table(&definition).await.unwrap();
            append(&cold, &[("hub/0".to_owned(), 10, None)], Some(9)).await.unwrap();
            // Nothing is deleted that a damaged checkpoint would have to stand for.
            let cleaned = cold.clean_log(LogCleanupOptions::default()).await;
            assert!(cleaned.is_err() || cleaned.unwrap().commits == 0, "{name}");
            let policy = CheckpointPolicy { commits: 1, age: std::time::Duration::MAX };
            assert_eq!(cold.checkpoint_if_due(policy).await.unwrap(), Some(version + 1), "{name}");
            delete_commits(&local.store, version + 1).await;
            assert_eq!(snapshot(&local.store, &definition).await.version, version + 1, "{name}");
            let script = "import sys; from deltalake import DeltaTable; print(DeltaTable(sys.argv[1]).version())";
            let theirs = python::run(script, &[local.table().to_str().unwrap()]);
            assert_eq!(theirs.trim(), (version + 1).to_string(), "{name}");
        }
    }
}

#[tokio::test]
async fn what_a_damaged_checkpoint_alone_stands_for_is_said_to_be_lost() {
    let store = memory();
    let definition = with(&[]);
    let (_, version) = grown(&store, &definition).await;
    let bytes = store.get(&checkpoint_path(version)).await.unwrap().bytes().await.unwrap();
    store.put(&checkpoint_path(version), halved(&bytes).into()).await.unwrap();
    for until in [0, version] {
        delete_commits(&store, until).await;
        let error = lake(&store).table(&definition).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let text = error.to_string();
        assert!(text.contains("checkpoint.parquet cannot be read") && text.contains("restore the folder"), "{text}");
        assert!(text.contains("delete it whole"), "{text}");
        for version in 0..=until {
            store.put(&commit_path(version), "{}".into()).await.unwrap();
        }
    }
}

/// An older checkpoint, and the commits after it.
#[tokio::test]
async fn a_damaged_checkpoint_leaves_an_older_one() {
    let store = memory();
    let definition = with(&[]);
    let (table, older) = grown(&store, &definition).await;
    append(&table, &[("hub/0".to_owned(), 10, None)], Some(9)).await.unwrap();
    let newer = table.checkpoint().await.unwrap();
    append(&table, &[("hub/0".to_owned(), 11, None)], Some(10)).await.unwrap();
    let before = table.snapshot().await.unwrap();
    delete_commits(&store, older).await;
    store.put(&checkpoint_path(newer), "torn".into()).await.unwrap();
    let after = snapshot(&store, &definition).await;
    assert_eq!(
        (after.version, after.files.len(), &after.transactions),
        (before.version, before.files.len(), &before.transactions)
    );
}

/// A checkpoint in two files, as Spark writes large ones; and one of them missing.
#[tokio::test]
async fn a_checkpoint_in_parts_is_read_if_it_is_whole() {
    for (hinted, whole) in [(true, true), (false, true), (true, false), (false, false)] {
        let store = memory();
        let definition = with(&[]);
        let (_, version) = grown(&store, &definition).await;
        let before = by_commits(&store, &definition).await;
        let frame = read(&store, &checkpoint_path(version)).await;
        store.delete(&checkpoint_path(version)).await.unwrap();
        // The second one has the files alone: the first could be taken for a table without any.
        let paths = frame.column("add").unwrap().struct_().unwrap().field_by_name("path").unwrap();
        let (files, rest) = (frame.filter(&paths.is_not_null()).unwrap(), frame.filter(&paths.is_null()).unwrap());
        let part = |part: u32| {
            Path::from(format!("lake/orders/_delta_log/{version:020}.checkpoint.{part:010}.{:010}.parquet", 2))
        };
        write(&store, &part(1), rest).await;
        if whole {
            write(&store, &part(2), files).await;
            delete_commits(&store, version).await;
        }
        match hinted {
            true => {
                _ = store
                    .put(&HINT.into(), json!({"version": version, "size": 1, "parts": 2}).to_string().into())
                    .await
                    .unwrap()
            }
            false => store.delete(&HINT.into()).await.unwrap(),
        }
        same(&snapshot(&store, &definition).await, &before);
    }
}

/// Version 2 of checkpoints: a manifest as JSON or Parquet, the files in a sidecar.
#[tokio::test]
async fn a_checkpoint_with_sidecars_is_read() {
    for (as_json, hinted) in [(true, true), (true, false), (false, true), (false, false)] {
        let store = memory();
        let definition = with(&[]);
        let (_, version) = grown(&store, &definition).await;
        let before = by_commits(&store, &definition).await;
        let frame = read(&store, &checkpoint_path(version)).await;
        store.delete(&checkpoint_path(version)).await.unwrap();
        let log = Path::from("lake/orders/_delta_log");
        let files = frame.select(["add", "remove"]).unwrap();
        write(&store, &log.clone().join("_sidecars").join("files.parquet"), files).await;
        let name = format!(
            "{version:020}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.{}",
            if as_json { "json" } else { "parquet" }
        );
        if as_json {
            let mut lines = vec![
                json!({"checkpointMetadata": {"version": version}}),
                json!({"sidecar": {"path": "files.parquet", "sizeInBytes": 1, "modificationTime": 0}}),
            ];
            let created = super::actions(&store, 0).await;
            lines.extend(
                created.into_iter().filter(|line| line.get("protocol").is_some() || line.get("metaData").is_some()),
            );
            lines.extend(before.transactions.iter().map(|(id, at)| json!({"txn": {"appId": id, "version": at}})));
            let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
            store.put(&log.clone().join(name.as_str()), body.into()).await.unwrap();
        } else {
            let rest = frame.select(["protocol", "metaData", "txn"]).unwrap();
            let sidecars: Vec<Option<&str>> =
                (0..rest.height()).map(|row| (row == 0).then_some("files.parquet")).collect();
            let fields = [Series::new("path".into(), sidecars)];
            let sidecar = StructChunked::from_series("sidecar".into(), rest.height(), fields.iter()).unwrap();
            let mut rest = rest;
            rest.with_column(sidecar.into_series().into_column()).unwrap();
            write(&store, &log.clone().join(name.as_str()), rest).await;
        }
        match hinted {
            true => {
                let hint = json!({"version": version, "size": 1, "v2Checkpoint": {"path": name, "sizeInBytes": 1}});
                store.put(&HINT.into(), hint.to_string().into()).await.unwrap();
            }
            false => store.delete(&HINT.into()).await.unwrap(),
        }
        delete_commits(&store, version).await;
        same(&snapshot(&store, &definition).await, &before);
    }
}

/// Some writers leave out what has no row.
#[tokio::test]
async fn columns_that_a_checkpoint_has_not_are_empty() {
    let store = memory();
    let definition = with(&[]);
    let table = lake(&store).table(&definition).await.unwrap();
    let version = table.checkpoint().await.unwrap();
    let frame = read(&store, &checkpoint_path(version)).await;
    let mut frame = frame.select(["protocol", "metaData"]).unwrap();
    // Of a protocol without features there are two numbers, and a description is free to be there.
    with_fields(&mut frame, "protocol", |fields| fields.retain(|field| field.name().starts_with("min")));
    with_fields(&mut frame, "metaData", |fields| fields.retain(|field| field.name() != "description"));
    write(&store, &checkpoint_path(version), frame).await;
    delete_commits(&store, version).await;
    let cold = lake(&store).table(&definition).await.unwrap();
    assert_eq!(cold.snapshot().await.unwrap().files, []);
    append(&cold, &model("hub/0", 1..=1), None).await.unwrap();
    assert_eq!(rows(&lake(&store).table(&definition).await.unwrap()).await, model("hub/0", 1..=1));
}

/// One without what a table must have stands for nothing.
#[tokio::test]
async fn a_checkpoint_without_metadata_is_passed_over() {
    let store = memory();
    let definition = with(&[]);
    let (table, version) = grown(&store, &definition).await;
    let before = table.snapshot().await.unwrap();
    let frame = read(&store, &checkpoint_path(version)).await;
    write(&store, &checkpoint_path(version), frame.select(["protocol", "add", "txn"]).unwrap()).await;
    same(&snapshot(&store, &definition).await, &before);
    assert!(names(&store, "lake/orders/_delta_log").await.len() > 1);
}

/// A row that a deletion vector takes out would come back.
#[tokio::test]
async fn a_checkpoint_with_a_deletion_vector_is_not_read() {
    let store = memory();
    let definition = with(&[]);
    let (_, version) = grown(&store, &definition).await;
    let mut frame = read(&store, &checkpoint_path(version)).await;
    let height = frame.height();
    with_fields(&mut frame, "add", |fields| {
        fields.retain(|field| field.name() != "deletionVector");
        let kinds = [Series::new("storageType".into(), vec![Some("u"); height])];
        let vectors = StructChunked::from_series("deletionVector".into(), height, kinds.iter()).unwrap();
        fields.push(vectors.into_series());
    });
    write(&store, &checkpoint_path(version), frame).await;
    delete_commits(&store, version).await;
    let table = lake(&store).table(&definition).await.unwrap();
    let error = table.snapshot().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("a deletion vector, which Weir does not read"), "{error}");
}

/// Commits are cleaned up only when the checkpoint that stands for them can be read.
#[tokio::test]
async fn what_a_damaged_checkpoint_would_stand_for_is_not_cleaned_up() {
    clock::at(std::time::Duration::ZERO);
    let store = memory();
    let definition = clock::with(&[("delta.logRetentionDuration", "interval 1 days")]);
    let table = clock::open_as(&store, &definition).await;
    append(&table, &model("hub/0", 1..=1), None).await.unwrap();
    append(&table, &model("hub/0", 2..=2), Some(1)).await.unwrap();
    let version = table.checkpoint().await.unwrap();
    let bytes = store.get(&checkpoint_path(version)).await.unwrap().bytes().await.unwrap();
    store.put(&checkpoint_path(version), halved(&bytes).into()).await.unwrap();
    clock::at(3 * clock::DAY);
    let error = table.clean_log(LogCleanupOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("nothing was cleaned up"), "{error}");
    assert_eq!(rows(&lake(&store).table(&definition).await.unwrap()).await, model("hub/0", 1..=2));
    store.put(&checkpoint_path(version), bytes.into()).await.unwrap();
    assert_eq!(table.clean_log(LogCleanupOptions::default()).await.unwrap().commits, 2);
}
