//! Entries that a deleted folder leaves in its log, because they were put while it was deleted. The new table takes
//! their place, whoever makes it, and no reader finds a gap; where that cannot be done, the file to remove is named.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Value, json};
use weir_lake::{ErrorKind, Lake, LakeError, LakeOptions, Outcome, Table};

use super::faulty::{Fault, Faulty, names};
use super::readers::Local;
use super::{LOG, Row, actions, append, commit_path, definition, lake, model, now_ms, of_kind, open, rows};
use crate::python;

const FOLDER: &str = "lake/orders";
const ASIDE: &str = "lake/orders/_weir_left_behind";

/// Version, and every row, as delta-rs and DuckDB's reader of Arrow have them.
const READ: &str = r#"
import json, sys
import duckdb
from deltalake import DeltaTable

table = DeltaTable(sys.argv[1])
data = table.to_pyarrow_dataset()
found = duckdb.sql('select "_source", "_source_position", "value" from data order by 1, 2').fetchall()
print(json.dumps({"version": table.version(), "rows": found}))
"#;

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

/// A process for which entries have settled at once.
fn hasty(store: &Arc<dyn ObjectStore>) -> Lake {
    let options = LakeOptions { settled: Duration::ZERO, ..LakeOptions::new(now_ms) };
    Lake::new(Arc::clone(store), "lake".into(), options)
}

async fn opened(lake: &Lake) -> Arc<Table> {
    lake.table(&definition()).await.unwrap()
}

async fn commits(table: &Arc<Table>, positions: std::ops::RangeInclusive<i64>) {
    for position in positions {
        append(table, &model("hub/0", position..=position), (position > 1).then(|| position - 1)).await.unwrap();
    }
}

/// A table at this version, of whose folder the deletion has left the newest entry and its file. Returns its id.
async fn deleted_at(store: &Arc<dyn ObjectStore>, version: i64) -> String {
    let table = open(store).await;
    commits(&table, 1..=version).await;
    let newest = actions(store, version).await;
    let file = of_kind(&newest, "add")[0]["path"].as_str().unwrap().to_owned();
    let kept = [commit_path(version).to_string(), format!("{FOLDER}/{file}")];
    for name in names(store, FOLDER).await.into_iter().filter(|name| !kept.contains(name)) {
        store.delete(&Path::from(name)).await.unwrap();
    }
    table.identity().0
}

/// The table that each entry of the log names, by version; version 0 by its metadata.
async fn named(store: &Arc<dyn ObjectStore>) -> BTreeMap<i64, Value> {
    let mut tables = BTreeMap::new();
    for name in names(store, &format!("{FOLDER}/{LOG}")).await {
        let Some(version) = name.rsplit('/').next().unwrap().strip_suffix(".json") else { continue };
        let version = version.parse().unwrap();
        let actions = actions(store, version).await;
        let id = match of_kind(&actions, "metaData").first() {
            Some(metadata) => metadata["id"].clone(),
            None => of_kind(&actions, "commitInfo")[0]["weir"]["table"].clone(),
        };
        tables.insert(version, id);
    }
    tables
}

fn all(id: &str, newest: i64) -> BTreeMap<i64, Value> {
    (0..=newest).map(|version| (version, json!(id))).collect()
}

async fn assert_read_by_others(store: &Arc<dyn ObjectStore>, version: i64, expected: &[Row]) {
    let local = Local::new();
    for name in names(store, FOLDER).await {
        let path = Path::from(name);
        let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
        local.store.put(&path, bytes.into()).await.unwrap();
    }
    let found: Value = serde_json::from_str(&python::run(READ, &[local.table().to_str().unwrap()])).unwrap();
    let expected: Value = expected.iter().map(|(source, position, value)| json!([source, position, value])).collect();
    assert_eq!(found, json!({"version": version, "rows": expected}));
}

#[tokio::test]
async fn a_log_without_a_beginning_is_the_new_tables_once_it_has_settled() {
    let store = memory();
    let old = deleted_at(&store, 3).await;
    let before = names(&store, FOLDER).await;
    for error in
        [lake(&store).table(&definition()).await.unwrap_err(), lake(&store).existing(&definition()).await.unwrap_err()]
    {
        assert!(matches!(error, LakeError::Settling { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Retryable);
        assert!(error.to_string().contains("deliver the same input again"), "{error}");
    }
    let after = names(&store, FOLDER).await.into_iter().filter(|name| !name.contains("_weir_maintenance"));
    assert_eq!(after.collect::<Vec<_>>(), before, "nothing is touched before that");

    assert!(hasty(&store).existing(&definition()).await.unwrap().is_none());
    let left = store.get(&commit_path(3)).await.unwrap().bytes().await.unwrap();
    let table = opened(&hasty(&store)).await;
    let (id, _) = table.identity();
    assert_ne!(id, old);
    assert_eq!(named(&store).await, all(&id, 3));
    assert_eq!(table.committed("hub/0"), None, "ids of another table are not used");
    assert_eq!(rows(&table).await, [], "nor its rows");
    let [aside] = &names(&store, ASIDE).await[..] else { panic!("one copy") };
    assert_eq!(store.get(&Path::from(aside.as_str())).await.unwrap().bytes().await.unwrap(), left);
    commits(&table, 1..=4).await;
    assert_eq!(rows(&open(&store).await).await, model("hub/0", 1..=4));
    assert!(super::books(&table).await.balanced());
    assert_eq!(super::books(&table).await.committed, 4);
    assert_read_by_others(&store, 7, &model("hub/0", 1..=4)).await;
}

/// Its versions are too many to go through.
#[tokio::test]
async fn an_entry_that_is_far_ahead_is_removed_and_kept_in_a_copy() {
    let store = memory();
    deleted_at(&store, 2).await;
    let left = store.get(&commit_path(2)).await.unwrap().bytes().await.unwrap();
    store.put(&commit_path(70_000), left.clone().into()).await.unwrap();
    store.delete(&commit_path(2)).await.unwrap();
    let table = opened(&hasty(&store)).await;
    commits(&table, 1..=2).await;
    assert_eq!(named(&store).await, all(&table.identity().0, 2));
    let [aside] = &names(&store, ASIDE).await[..] else { panic!("one copy") };
    assert_eq!(store.get(&Path::from(aside.as_str())).await.unwrap().bytes().await.unwrap(), left);
    assert_read_by_others(&store, 2, &model("hub/0", 1..=2)).await;
}

/// The entry comes when the new table is there: its writers go through it, and maintenance does before a checkpoint, which
/// would take its rows for the table's.
#[tokio::test]
async fn an_entry_that_comes_late_is_replaced_by_whoever_reaches_it() {
    for ahead in [3, 4, 40] {
        let store = memory();
        deleted_at(&store, 3).await;
        let left = store.get(&commit_path(3)).await.unwrap().bytes().await.unwrap();
        store.delete(&commit_path(3)).await.unwrap();
        let lake = hasty(&store);
        let table = opened(&lake).await;
        commits(&table, 1..=2).await;
        store.put(&commit_path(ahead), left.into()).await.unwrap();
        // Whoever opens the table, asks for commits, or waits for it to settle.
        assert_eq!(rows(&open(&store).await).await, model("hub/0", 1..=2), "{ahead}");
        assert_eq!(table.commits(1, 100).await.unwrap().len(), 2, "{ahead}");
        let patient = super::open(&store).await;
        assert!(matches!(patient.checkpoint().await.unwrap_err(), LakeError::Settling { .. }), "{ahead}");
        if ahead == 3 {
            let error = append(&patient, &model("hub/0", 3..=3), Some(2)).await.unwrap_err();
            assert!(matches!(error, LakeError::Settling { .. }), "{error}");
        }
        let version = table.checkpoint().await.unwrap();
        assert_eq!(version, ahead, "the entry's place is taken");
        commits(&table, 3..=3).await;
        assert_eq!(named(&store).await, all(&table.identity().0, version + 1), "{ahead}");
        assert_eq!(rows(&open(&store).await).await, model("hub/0", 1..=3), "{ahead}");
        assert_read_by_others(&store, version + 1, &model("hub/0", 1..=3)).await;
    }
}

/// An entry with metadata of the old table, as one that adds a column has them, does not make the table that one.
#[tokio::test]
async fn an_entry_with_metadata_changes_no_table() {
    let store = memory();
    let old = open(&store).await;
    let created = actions(&store, 0).await;
    commits(&old, 1..=2).await;
    let mut left = store.get(&commit_path(2)).await.unwrap().bytes().await.unwrap().to_vec();
    let metadata = json!({"metaData": of_kind(&created, "metaData")[0]});
    left.extend(format!("{metadata}\n").into_bytes());
    for name in names(&store, FOLDER).await {
        store.delete(&Path::from(name)).await.unwrap();
    }
    let table = opened(&hasty(&store)).await;
    commits(&table, 1..=1).await;
    store.put(&commit_path(2), left.into()).await.unwrap();
    table.refresh().await.unwrap();
    assert_ne!(table.identity().0, old.identity().0);
    assert_eq!(open(&store).await.identity(), table.identity());
    commits(&table, 2..=3).await;
    assert_eq!(rows(&open(&store).await).await, model("hub/0", 1..=3));
}

/// Of two that make the table anew at the same time, one replaces the entry; the other's request arrives when the table has
/// gone on, and does nothing.
#[tokio::test]
async fn of_two_makers_one_takes_the_entrys_place() {
    let store = memory();
    deleted_at(&store, 3).await;
    let slow = Faulty::calm(&store);
    let gate = slow.hold_next_write("00000000000000000003.json");
    let second = {
        let lake = hasty(&(Arc::clone(&slow) as _));
        tokio::spawn(async move {
            let table = opened(&lake).await;
            append(&table, &model("hub/1", 1..=2), None).await.map(|_| table)
        })
    };
    // The first request for version 3 is a conditional create, the second replaces.
    gate.reached().await;
    let replacing = slow.hold_next_write("00000000000000000003.json");
    gate.release();
    replacing.reached().await;
    let first = opened(&hasty(&store)).await;
    commits(&first, 1..=3).await;
    replacing.release();
    let second = second.await.unwrap().unwrap();
    assert_eq!(second.identity().0, first.identity().0);
    let newest = first.refresh().await.unwrap();
    assert_eq!(named(&store).await, all(&first.identity().0, newest));
    let expected = [model("hub/0", 1..=3), model("hub/1", 1..=2)].concat();
    assert_eq!(rows(&open(&store).await).await, expected);
}

/// The request of a writer whose table is gone meets an entry of the new one, which is no leftover.
#[tokio::test]
async fn a_writer_of_the_old_table_replaces_nothing() {
    let store = memory();
    let slow = Faulty::calm(&store);
    let table = opened(&hasty(&(Arc::clone(&slow) as _))).await;
    commits(&table, 1..=3).await;
    let gate = slow.hold_next_write("00000000000000000004.json");
    let appending = {
        let table = Arc::clone(&table);
        tokio::spawn(async move { append(&table, &model("hub/0", 4..=4), Some(3)).await })
    };
    gate.reached().await;
    for name in names(&store, FOLDER).await {
        store.delete(&Path::from(name)).await.unwrap();
    }
    let new = open(&store).await;
    commits(&new, 1..=5).await;
    gate.release();
    let error = appending.await.unwrap().unwrap_err();
    assert!(matches!(error, LakeError::Replaced { .. }), "{error}");
    assert_eq!(named(&store).await, all(&new.identity().0, 5));
    assert_eq!(rows(&open(&store).await).await, model("hub/0", 1..=5));
}

/// An answer that is lost is no second commit.
#[tokio::test]
async fn a_lost_answer_is_found_in_the_log() {
    for fault in [Fault::Before, Fault::After, Fault::Late] {
        let store = memory();
        deleted_at(&store, 3).await;
        let faulty = Faulty::calm(&store);
        let table = opened(&hasty(&(Arc::clone(&faulty) as _))).await;
        let left = store.get(&commit_path(3)).await.unwrap().bytes().await.unwrap();
        assert_eq!(rows(&table).await, []);
        let foreign = String::from_utf8(left.to_vec()).unwrap().replace(&table.identity().0, "another");
        store.put(&commit_path(4), foreign.into()).await.unwrap();
        // The first request is a conditional create, which the store refuses; the second replaces.
        let gate = faulty.hold_next_write("00000000000000000004.json");
        let appending = {
            let table = Arc::clone(&table);
            tokio::spawn(async move { append(&table, &model("hub/0", 1..=1), None).await })
        };
        gate.reached().await;
        faulty.next_write("00000000000000000004.json", fault.clone());
        gate.release();
        assert!(matches!(appending.await.unwrap().unwrap(), Outcome::Committed { version: 4 }), "{fault:?}");
        faulty.settle().await;
        assert_eq!(named(&store).await, all(&table.identity().0, 4));
        assert_eq!(rows(&open(&store).await).await, model("hub/0", 1..=1));
    }
}

/// What was not written within the same quarter of an hour was not left by a deletion.
#[tokio::test]
async fn a_table_that_has_lost_its_beginning_is_not_made_anew() {
    let store = memory();
    let table = open(&store).await;
    commits(&table, 1..=2).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    commits(&table, 3..=4).await;
    store.delete(&commit_path(0)).await.unwrap();
    let before = names(&store, FOLDER).await;
    let options =
        LakeOptions { settled: Duration::ZERO, max_state_age: Duration::from_millis(20), ..LakeOptions::new(now_ms) };
    let error = Lake::new(Arc::clone(&store), "lake".into(), options).table(&definition()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let text = error.to_string();
    assert!(text.contains("begins at version 1 without a checkpoint") && text.contains("restore the folder"), "{text}");
    let after = names(&store, FOLDER).await.into_iter().filter(|name| !name.contains("_weir_maintenance"));
    assert_eq!(after.collect::<Vec<_>>(), before);
}

/// Nor one that has a part of a checkpoint.
#[tokio::test]
async fn a_log_with_a_part_of_a_checkpoint_is_not_made_anew() {
    let store = memory();
    deleted_at(&store, 3).await;
    let part = format!("{FOLDER}/{LOG}/{:020}.checkpoint.{:010}.{:010}.parquet", 2, 1, 2);
    store.put(&Path::from(part), "x".into()).await.unwrap();
    let error = hasty(&store).table(&definition()).await.unwrap_err();
    assert!(matches!(error, LakeError::Headless { first: 3, .. }), "{error}");
}

/// A local file system replaces nothing on a condition.
#[tokio::test]
async fn where_nothing_is_replaced_on_a_condition_the_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    deleted_at(&store, 3).await;
    let table = opened(&hasty(&store)).await;
    assert_eq!(table.refresh().await.unwrap(), 2, "the table goes up to it");
    for _ in 0..2 {
        let error = append(&table, &model("hub/0", 1..=1), None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let text = error.to_string();
        assert!(text.contains("00000000000000000003.json") && text.contains("remove this file"), "{text}");
    }
    store.delete(&commit_path(3)).await.unwrap();
    commits(&table, 1..=3).await;
    assert_eq!(rows(&open(&store).await).await, model("hub/0", 1..=3));
}

/// Whoever made an entry does not take it back when somebody may have put another one in its place.
#[tokio::test]
async fn an_entry_is_taken_back_at_once_or_not_at_all() {
    let store = memory();
    let slow = Faulty::calm(&store);
    let lake = hasty(&(Arc::clone(&slow) as _));
    let table = opened(&lake).await;
    commits(&table, 1..=3).await;
    let gate = slow.hold_next_write("00000000000000000004.json");
    let appending = {
        let table = Arc::clone(&table);
        tokio::spawn(async move { append(&table, &model("hub/0", 4..=4), Some(3)).await })
    };
    gate.reached().await;
    for name in names(&store, FOLDER).await {
        store.delete(&Path::from(name)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    gate.release();
    assert!(matches!(appending.await.unwrap().unwrap_err(), LakeError::Replaced { .. }));
    assert_eq!(named(&store).await.into_keys().collect::<Vec<_>>(), [4], "too late to take it back");
    // And the next table has its place.
    let again = opened(&lake).await;
    assert_eq!(named(&store).await, all(&again.identity().0, 4));
    commits(&again, 1..=4).await;
    assert_eq!(rows(&open(&store).await).await, model("hub/0", 1..=4));
}

/// A commit that arrives in the log of the same table, restored meanwhile, may have been read and built on: it stays.
#[tokio::test]
async fn a_commit_in_the_log_of_the_restored_table_stays() {
    let store = memory();
    let slow = Faulty::calm(&store);
    let lake = lake(&(Arc::clone(&slow) as _));
    let table = opened(&lake).await;
    commits(&table, 1..=3).await;
    let gate = slow.hold_next_write("00000000000000000004.json");
    let appending = {
        let table = Arc::clone(&table);
        tokio::spawn(async move { append(&table, &model("hub/0", 4..=4), Some(3)).await })
    };
    gate.reached().await;
    for name in names(&store, FOLDER).await.into_iter().filter(|name| name.contains(LOG)) {
        let path = Path::from(name);
        let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
        store.delete(&path).await.unwrap();
        store.put(&path, bytes.into()).await.unwrap();
    }
    gate.release();
    assert!(matches!(appending.await.unwrap().unwrap_err(), LakeError::Replaced { .. }));
    let again = opened(&lake).await;
    assert_eq!(again.identity().0, table.identity().0);
    assert_eq!(again.committed("hub/0"), Some(4));
    let settled = append(&again, &model("hub/0", 4..=4), Some(3)).await.unwrap();
    assert_eq!(settled, Outcome::AlreadyCommitted { producer_version: 4 });
    assert_eq!(rows(&open(&store).await).await, model("hub/0", 1..=4));
}
