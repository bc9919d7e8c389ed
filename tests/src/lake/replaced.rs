//! A table's folder that is deleted, restored or made anew while processes have the table open: it is noticed with the
//! next commit, nothing is acknowledged into a log that no reader can open, and nothing of the old table is used.

use std::sync::Arc;

use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde_json::json;
use weir_lake::{CompactOptions, ErrorKind, Lake, LakeError, LakeOptions, Table};

use super::faulty::{Faulty, names};
use super::{actions, append, commit_path, definition, lake, memory, model, of_kind, open, rows};
use crate::azurite;

const FOLDER: &str = "lake/orders";

async fn delete_folder(store: &Arc<dyn ObjectStore>) {
    for name in names(store, FOLDER).await {
        store.delete(&Path::from(name)).await.unwrap();
    }
}

/// What the folder holds.
async fn copied(store: &Arc<dyn ObjectStore>) -> Vec<(Path, PutPayload)> {
    let mut copy = Vec::new();
    for name in names(store, FOLDER).await {
        let path = Path::from(name);
        let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
        copy.push((path, bytes.into()));
    }
    copy
}

async fn restore(store: &Arc<dyn ObjectStore>, copy: Vec<(Path, PutPayload)>) {
    delete_folder(store).await;
    for (path, payload) in copy {
        store.put(&path, payload).await.unwrap();
    }
}

async fn opened(lake: &Lake) -> Arc<Table> {
    lake.table(&definition()).await.unwrap()
}

async fn three_commits(table: &Arc<Table>) {
    for position in 1..=3 {
        append(table, &model("hub/0", position..=position), (position > 1).then(|| position - 1)).await.unwrap();
    }
}

fn assert_replaced(error: &LakeError) {
    assert!(matches!(error, LakeError::Replaced { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Retryable);
    let text = error.to_string();
    assert!(text.contains("deleted, restored or made anew") && text.contains("deliver the same input again"), "{text}");
}

/// The log of the folder, by name.
async fn log(store: &Arc<dyn ObjectStore>) -> Vec<String> {
    let names = names(store, "lake/orders/_delta_log").await;
    names.iter().map(|name| name.rsplit('/').next().unwrap().to_owned()).collect()
}

async fn a_deleted_folder_is_noticed_at_the_next_commit(store: Arc<dyn ObjectStore>) {
    let lake = lake(&store);
    let table = opened(&lake).await;
    three_commits(&table).await;
    delete_folder(&store).await;
    assert_replaced(&append(&table, &model("hub/0", 4..=4), Some(3)).await.unwrap_err());
    assert_eq!(log(&store).await, Vec::<String>::new(), "no entry of a log without a beginning stays");
    // Whoever holds on to it is told again; who asks anew gets a table that begins with its version 0.
    assert_replaced(&append(&table, &model("hub/0", 4..=4), Some(3)).await.unwrap_err());
    assert_replaced(&table.refresh().await.unwrap_err());
    let again = opened(&lake).await;
    assert_ne!(again.incarnation(), table.incarnation());
    assert_eq!(again.committed("hub/0"), None, "ids of another table are not used");
    append(&again, &model("hub/0", 1..=4), None).await.unwrap();
    assert_eq!(rows(&open(&store).await).await, model("hub/0", 1..=4));
}

#[tokio::test]
async fn a_deleted_folder_in_memory() {
    a_deleted_folder_is_noticed_at_the_next_commit(memory()).await;
}

#[tokio::test]
async fn a_deleted_folder_on_the_local_file_system() {
    let folder = tempfile::tempdir().unwrap();
    a_deleted_folder_is_noticed_at_the_next_commit(Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_folder_on_azurite() {
    a_deleted_folder_is_noticed_at_the_next_commit(azurite::container().await).await;
}

/// The commit is on its way when the folder goes: it arrives in a folder without a log, and is taken back.
#[tokio::test]
async fn a_commit_that_arrives_after_the_deletion_is_not_acknowledged() {
    let store = memory();
    let faulty = Faulty::calm(&store);
    let lake = lake(&(Arc::clone(&faulty) as _));
    let table = opened(&lake).await;
    three_commits(&table).await;
    let gate = faulty.hold_next_write("_delta_log");
    let appending = {
        let table = Arc::clone(&table);
        tokio::spawn(async move { append(&table, &model("hub/0", 4..=4), Some(3)).await })
    };
    gate.reached().await;
    delete_folder(&store).await;
    gate.release();
    assert_replaced(&appending.await.unwrap().unwrap_err());
    assert_eq!(log(&store).await, Vec::<String>::new());
    append(&opened(&lake).await, &model("hub/0", 4..=4), None).await.unwrap();
    assert_eq!(rows(&open(&store).await).await, model("hub/0", 4..=4));
}

/// The new table may be shorter, of the same length, or longer than what the old process knows.
#[tokio::test]
async fn a_table_made_anew_is_told_from_the_old_one_whatever_its_length() {
    for length in [1, 2, 3, 4, 9] {
        let store = memory();
        let (ours, theirs) = (lake(&store), lake(&store));
        let old = opened(&ours).await;
        three_commits(&old).await;
        append(&old, &model("hub/1", 1..=30), None).await.unwrap();
        delete_folder(&store).await;
        let new = opened(&theirs).await;
        for position in 1..=length {
            append(&new, &model("hub/0", position..=position), (position > 1).then(|| position - 1)).await.unwrap();
        }
        // Partition 1 goes on with the old process, which has ids of the old table.
        let error = append(&old, &model("hub/1", 31..=40), Some(30)).await.unwrap_err();
        assert_replaced(&error);
        let table = opened(&ours).await;
        assert_eq!(table.identity().0, new.identity().0, "{length}");
        assert_eq!(table.committed("hub/1"), None, "{length}");
        append(&table, &model("hub/1", 1..=40), None).await.unwrap();
        let expected = [model("hub/0", 1..=length), model("hub/1", 1..=40)].concat();
        assert_eq!(rows(&open(&store).await).await, expected, "{length}");
        assert_eq!(new.refresh().await.unwrap(), length + 1);
    }
}

/// A process that only looks finds out, too: its snapshots are never of one table and its ids of another.
#[tokio::test]
async fn reading_notices_another_table() {
    let store = memory();
    let (ours, theirs) = (lake(&store), lake(&store));
    let old = opened(&ours).await;
    three_commits(&old).await;
    delete_folder(&store).await;
    assert_replaced(&old.snapshot().await.unwrap_err());
    let old = opened(&ours).await;
    three_commits(&old).await;
    delete_folder(&store).await;
    let new = opened(&theirs).await;
    for _ in 0..2 {
        assert_replaced(&old.snapshot().await.unwrap_err());
        assert_replaced(&old.compact(CompactOptions::default(), None).await.unwrap_err());
    }
    // Also from the entries that the others made.
    let old = opened(&ours).await;
    three_commits(&new).await;
    old.refresh().await.unwrap();
    delete_folder(&store).await;
    let newer = opened(&lake(&store)).await;
    three_commits(&newer).await;
    append(&newer, &model("hub/1", 1..=1), None).await.unwrap();
    assert_replaced(&old.refresh().await.unwrap_err());
    assert_eq!(opened(&ours).await.identity().0, newer.identity().0);
}

/// From a backup of the whole folder, from one that is older, and to a point in time, which leaves older objects as they are.
#[tokio::test]
async fn a_restored_folder_is_read_anew() {
    for (name, older, in_place) in [("whole", false, false), ("older", true, false), ("in place", true, true)] {
        let store = memory();
        let lake = lake(&store);
        let table = opened(&lake).await;
        append(&table, &model("hub/0", 1..=1), None).await.unwrap();
        let early = copied(&store).await;
        append(&table, &model("hub/0", 2..=2), Some(1)).await.unwrap();
        append(&table, &model("hub/0", 3..=3), Some(2)).await.unwrap();
        let late = copied(&store).await;
        if in_place {
            for version in 2..=3 {
                store.delete(&commit_path(version)).await.unwrap();
            }
        } else {
            restore(&store, if older { early } else { late }).await;
        }
        let error = append(&table, &model("hub/0", 4..=4), Some(3)).await.unwrap_err();
        assert_replaced(&error);
        let again = opened(&lake).await;
        assert_eq!(again.identity().0, table.identity().0, "{name}: the same table");
        assert_ne!(again.incarnation(), table.incarnation(), "{name}: and nothing that is remembered of it");
        let known = if older { 1 } else { 3 };
        assert_eq!(again.committed("hub/0"), Some(known), "{name}");
        append(&again, &model("hub/0", known + 1..=4), Some(known)).await.unwrap();
        assert_eq!(rows(&open(&store).await).await, model("hub/0", 1..=4), "{name}");
    }
}

/// A log whose beginning was cleaned up is the same log.
#[tokio::test]
async fn a_clean_up_is_no_other_table() {
    let store = memory();
    let lake = lake(&store);
    let table = opened(&lake).await;
    three_commits(&table).await;
    let version = table.checkpoint().await.unwrap();
    for version in 0..=version {
        store.delete(&commit_path(version)).await.unwrap();
    }
    append(&table, &model("hub/0", 4..=4), Some(3)).await.unwrap();
    append(&table, &model("hub/0", 5..=5), Some(4)).await.unwrap();
    assert_eq!(rows(&open(&store).await).await, model("hub/0", 1..=5));
    // Also where nothing points at the checkpoint.
    store.delete(&"lake/orders/_delta_log/_last_checkpoint".into()).await.unwrap();
    table.look().await.unwrap();
    // And its deletion is one.
    delete_folder(&store).await;
    assert_replaced(&append(&table, &model("hub/0", 6..=6), Some(5)).await.unwrap_err());
    assert_eq!(log(&store).await, Vec::<String>::new());
}

/// A commit of the old table that arrives when the new one is there: it is not taken for one of the new table.
#[tokio::test]
async fn a_commit_that_was_left_behind_is_not_of_the_new_table() {
    let store = memory();
    let table = open(&store).await;
    three_commits(&table).await;
    let left = store.get(&commit_path(3)).await.unwrap().bytes().await.unwrap();
    delete_folder(&store).await;
    let table = open(&store).await;
    append(&table, &model("hub/0", 1..=1), None).await.unwrap();
    append(&table, &model("hub/0", 2..=2), Some(1)).await.unwrap();
    store.put(&commit_path(3), left.into()).await.unwrap();
    for table in [&open(&store).await, &table] {
        assert_eq!(table.committed("hub/0"), Some(2));
        assert_eq!(rows(table).await, model("hub/0", 1..=2));
        // Until it has settled it is not touched.
        let error = append(table, &model("hub/0", 3..=3), Some(2)).await.unwrap_err();
        assert!(matches!(error, LakeError::Settling { .. }), "{error}");
    }
    assert_eq!(rows(&open(&store).await).await, model("hub/0", 1..=2));
}

/// A point in time that a store went back to is seen by whoever reads the log, before anybody commits.
#[tokio::test]
async fn a_log_that_went_back_is_not_read_on() {
    let store = memory();
    let table = opened(&lake(&store)).await;
    three_commits(&table).await;
    store.delete(&commit_path(3)).await.unwrap();
    assert_replaced(&table.snapshot().await.unwrap_err());
}

/// What is left is the newest entry: an answer that takes no commit is not given for a table that is gone.
#[tokio::test]
async fn the_newest_entry_alone_is_no_table() {
    let store = memory();
    let table = opened(&lake(&store)).await;
    three_commits(&table).await;
    let reader = opened(&lake(&store)).await;
    for name in names(&store, FOLDER).await.into_iter().filter(|name| !name.ends_with("0003.json")) {
        store.delete(&Path::from(name)).await.unwrap();
    }
    assert_replaced(&reader.refresh().await.unwrap_err());
    assert_replaced(&append(&table, &model("hub/0", 1..=3), None).await.unwrap_err());
    assert_replaced(&table.look().await.unwrap_err());
}

/// Rows that are files already are not stored in the moment of the look, and come into no other table either.
#[tokio::test]
async fn files_do_not_go_into_another_table() {
    let store = memory();
    let options = LakeOptions { group_bytes: 1, ..LakeOptions::new(super::now_ms) };
    let table = opened(&Lake::new(Arc::clone(&store), "lake".into(), options)).await;
    three_commits(&table).await;
    delete_folder(&store).await;
    let new = open(&store).await;
    three_commits(&new).await;
    assert_replaced(&append(&table, &model("hub/0", 4..=4), Some(3)).await.unwrap_err());
    assert_eq!(log(&store).await.len(), 4);
    assert_eq!(rows(&open(&store).await).await, model("hub/0", 1..=3));
}

/// A snapshot is of the table that the process knows, however long the other one is.
#[tokio::test]
async fn a_snapshot_is_never_of_another_table() {
    let store = memory();
    let table = opened(&lake(&store)).await;
    three_commits(&table).await;
    delete_folder(&store).await;
    let new = open(&store).await;
    three_commits(&new).await;
    for position in 4..=5 {
        append(&new, &model("hub/0", position..=position), Some(position - 1)).await.unwrap();
    }
    assert_replaced(&table.snapshot().await.unwrap_err());
}

/// A table of another writer, whose entries name no table.
async fn anothers(store: &Arc<dyn ObjectStore>, newest: i64) {
    let created = actions(store, 0).await;
    delete_folder(store).await;
    let protocol = json!({"protocol": of_kind(&created, "protocol")[0]});
    let mut metadata = of_kind(&created, "metaData")[0].clone();
    metadata["id"] = "another".into();
    let first = format!("{protocol}\n{}\n", json!({"metaData": metadata}));
    store.put(&commit_path(0), first.into()).await.unwrap();
    for version in 1..=newest {
        let line = json!({"txn": {"appId": "job", "version": version}});
        store.put(&commit_path(version), format!("{line}\n").into()).await.unwrap();
    }
}

/// Entries that name no table may be of any.
#[tokio::test]
async fn entries_without_a_name_are_read_only_in_the_same_log() {
    let store = memory();
    let table = opened(&lake(&store)).await;
    three_commits(&table).await;
    anothers(&store, 4).await;
    assert_replaced(&table.refresh().await.unwrap_err());
    assert_replaced(&table.refresh().await.unwrap_err());

    // And where they win the race for a version.
    let store = memory();
    let faulty = Faulty::calm(&store);
    let table = opened(&lake(&(Arc::clone(&faulty) as _))).await;
    three_commits(&table).await;
    let gate = faulty.hold_next_write("_delta_log");
    let appending = {
        let table = Arc::clone(&table);
        tokio::spawn(async move { append(&table, &model("hub/0", 4..=4), Some(3)).await })
    };
    gate.reached().await;
    anothers(&store, 4).await;
    gate.release();
    assert_replaced(&appending.await.unwrap().unwrap_err());
    assert_eq!(log(&store).await.len(), 5, "nothing is put after them");
}

/// The commit is on its way when the table is made anew; the log of the old one had been cleaned up.
#[tokio::test]
async fn a_first_commit_does_not_come_back() {
    let store = memory();
    let faulty = Faulty::calm(&store);
    let table = opened(&lake(&(Arc::clone(&faulty) as _))).await;
    three_commits(&table).await;
    let version = table.checkpoint().await.unwrap();
    for version in 0..=version {
        store.delete(&commit_path(version)).await.unwrap();
    }
    append(&table, &model("hub/0", 4..=4), Some(3)).await.unwrap();
    let gate = faulty.hold_next_write("_delta_log");
    let appending = {
        let table = Arc::clone(&table);
        tokio::spawn(async move { append(&table, &model("hub/0", 5..=5), Some(4)).await })
    };
    gate.reached().await;
    delete_folder(&store).await;
    let new = open(&store).await;
    gate.release();
    assert_replaced(&appending.await.unwrap().unwrap_err());
    append(&new, &model("hub/0", 1..=5), None).await.unwrap();
    assert_eq!(rows(&open(&store).await).await, model("hub/0", 1..=5));
}

/// Every commit names its table, and says whether it only adds rows.
#[tokio::test]
async fn a_commit_names_its_table_and_whether_it_is_a_blind_append() {
    let store = memory();
    let table = open(&store).await;
    three_commits(&table).await;
    table.compact(CompactOptions::default(), None).await.unwrap();
    let mut blind = Vec::new();
    for version in 0..=4 {
        let actions = actions(&store, version).await;
        let info = of_kind(&actions, "commitInfo")[0].clone();
        if version > 0 {
            assert_eq!(info["weir"]["table"], table.identity().0, "{version}");
        }
        blind.push(info["isBlindAppend"].as_bool().unwrap());
    }
    assert_eq!(blind, [false, true, true, true, false]);
}

/// What a look costs: two requests before a commit, while the data file is stored, and one after it.
#[tokio::test]
async fn looks_cost_the_same_at_every_depth() {
    let inner = memory();
    let faulty = Faulty::calm(&inner);
    let table = opened(&lake(&(Arc::clone(&faulty) as _))).await;
    for position in 1..=200 {
        faulty.take_requests();
        append(&table, &model("hub/0", position..=position), (position > 1).then(|| position - 1)).await.unwrap();
        assert_eq!(faulty.take_requests()["get log"], 3, "at depth {position}");
    }
    let listed: Vec<_> = inner.list(Some(&Path::from("lake/orders/_delta_log"))).try_collect().await.unwrap();
    assert_eq!(listed.len(), 201);
}
