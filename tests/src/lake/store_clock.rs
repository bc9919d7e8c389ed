//! What is deleted goes by the store's clock: a machine whose own clock is wrong deletes nothing.

use std::sync::Arc;
use std::time::Duration;

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::json;
use weir_lake::{
    CompactOptions, ErrorKind, Lake, LakeError, LakeOptions, LogCleanupOptions, Table, TableDefinition, VacuumOptions,
};

use super::clock::{self, DAY, HOUR, MINUTE, with};
use super::faulty::names;
use super::{append, commit_path, memory, model, rows};

const VACUUM: VacuumOptions = VacuumOptions { orphan_age: DAY, longest_invocation: HOUR, dry_run: false };
const RETENTIONS: [(&str, &str); 3] = [
    ("delta.logRetentionDuration", "interval 1 days"),
    ("delta.deletedFileRetentionDuration", "interval 1 days"),
    ("delta.setTransactionRetentionDuration", "interval 30 days"),
];

/// A process whose clock is the test's, at a store that has the real time.
async fn open_at_real_store(store: &Arc<dyn ObjectStore>, definition: &TableDefinition) -> Arc<Table> {
    let lake = Lake::new(Arc::clone(store), "lake".into(), LakeOptions::new(clock::now_ms));
    lake.table(definition).await.unwrap()
}

/// Removed files, a checkpoint, an orphan, a lease.
async fn grown(store: &Arc<dyn ObjectStore>) -> Arc<Table> {
    clock::at(Duration::ZERO);
    let table = open_at_real_store(store, &with(&RETENTIONS)).await;
    for position in 1..=5 {
        append(&table, &model("hub/0", position..=position), (position > 1).then(|| position - 1)).await.unwrap();
    }
    table.compact(CompactOptions::default(), None).await.unwrap();
    table.checkpoint().await.unwrap();
    store.put(&Path::from("lake/orders/part-orphan.parquet"), "x".into()).await.unwrap();
    table
}

fn assert_clock(error: &LakeError) {
    assert!(matches!(error, LakeError::Clock { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Retryable);
    assert!(error.to_string().contains("set the clock"), "{error}");
}

#[tokio::test]
async fn a_wrong_clock_deletes_nothing() {
    let moves: [fn(); 4] =
        [|| clock::at(100 * DAY), || clock::at(2 * MINUTE), || clock::before(100 * DAY), || clock::before(2 * MINUTE)];
    for moved in moves {
        let store = memory();
        let table = grown(&store).await;
        let before = names(&store, "lake/orders").await;
        moved();
        assert_clock(&table.vacuum(VACUUM).await.unwrap_err());
        assert_clock(&table.clean_log(LogCleanupOptions::default()).await.unwrap_err());
        assert_clock(&table.checkpoint().await.unwrap_err());
        assert_clock(&table.lease("tests", MINUTE).await.unwrap_err());
        assert_eq!(names(&store, "lake/orders").await, before);
        // Rows come in all the same.
        append(&table, &model("hub/0", 6..=6), Some(5)).await.unwrap();
        clock::at(Duration::ZERO);
        assert!(table.lease("tests", MINUTE).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn clocks_may_differ_by_less_than_a_minute() {
    for moved in [|| clock::at(Duration::from_secs(50)), || clock::before(Duration::from_secs(50))] {
        let store = memory();
        let table = grown(&store).await;
        moved();
        assert_eq!(table.vacuum(VACUUM).await.unwrap(), Default::default(), "nothing is old");
        assert!(table.lease("tests", MINUTE).await.unwrap().is_some());
    }
}

/// Another process takes the lease when its time is over in the store, whatever its owner believed of the time.
#[tokio::test]
async fn a_lease_ends_by_the_stores_clock() {
    clock::at(Duration::ZERO);
    let store = memory();
    let table = clock::open(&store).await;
    table.lease("tests", MINUTE).await.unwrap().unwrap();
    // An owner whose clock was a year ahead wrote this.
    let path = Path::from("lake/orders/_weir_lease/00000000000000000001.json");
    let far = clock::now_ms() + 365 * 86_400_000;
    let record = json!({"owner": "x", "expiresMs": far, "ttlMs": 60_000}).to_string();
    store.put(&path, record.into()).await.unwrap();
    assert!(table.lease("tests", MINUTE).await.unwrap().is_none());
    clock::at(Duration::from_secs(71));
    assert!(table.lease("tests", MINUTE).await.unwrap().is_some());
}

/// A record of an earlier release has only its owner's time.
#[tokio::test]
async fn a_lease_of_an_earlier_release_holds() {
    clock::at(Duration::ZERO);
    let store = memory();
    let table = clock::open(&store).await;
    let path = Path::from("lake/orders/_weir_lease/00000000000000000007.json");
    let record = json!({"owner": "x", "expiresMs": clock::now_ms() + 60_000}).to_string();
    store.put(&path, record.into()).await.unwrap();
    assert!(table.lease("tests", MINUTE).await.unwrap().is_none());
    clock::at(Duration::from_secs(71));
    assert_eq!(table.lease("tests", MINUTE).await.unwrap().unwrap().fence(), 8);
}

/// Whoever removed a file may have had a clock that was years behind.
#[tokio::test]
async fn a_removal_is_as_old_as_its_commit() {
    let store = memory();
    clock::at(Duration::ZERO);
    let table = clock::open(&store).await;
    append(&table, &model("hub/0", 1..=1), None).await.unwrap();
    append(&table, &model("hub/0", 2..=2), Some(1)).await.unwrap();
    let file = table.snapshot().await.unwrap().files[0].clone();
    let remove = json!({"remove": {"path": file.log_path, "dataChange": true, "deletionTimestamp": 1_000}});
    store.put(&commit_path(3), format!("{remove}\n").into()).await.unwrap();
    let vacuum = async || table.vacuum(VACUUM).await.unwrap().removed;
    assert_eq!(vacuum().await, 0);
    clock::at(6 * DAY);
    assert_eq!(vacuum().await, 0);
    clock::at(7 * DAY + MINUTE);
    assert_eq!(vacuum().await, 1);
    assert_eq!(rows(&clock::open(&store).await).await.len(), 1);
}

/// And not as old as its file.
#[tokio::test]
async fn a_file_that_was_removed_just_now_stays_however_old_it_is() {
    clock::at(Duration::ZERO);
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    let table = clock::open(&store).await;
    append(&table, &model("hub/0", 1..=1), None).await.unwrap();
    let file = table.snapshot().await.unwrap().files[0].clone();
    let on_disk = std::fs::File::options().write(true).open(folder.path().join(file.object.as_ref())).unwrap();
    on_disk.set_modified(std::time::SystemTime::now() - 30 * DAY).unwrap();
    let remove = json!({"remove": {"path": file.log_path, "dataChange": true, "deletionTimestamp": 1_000}});
    store.put(&commit_path(2), format!("{remove}\n").into()).await.unwrap();
    assert_eq!(table.vacuum(VACUUM).await.unwrap().removed, 0);
    assert!(store.head(&file.object).await.is_ok());
}

/// An id that is forgotten too early lets a second delivery in.
#[tokio::test]
async fn a_clock_that_is_ahead_forgets_no_transaction_id() {
    clock::at(Duration::ZERO);
    let store = memory();
    let definition = with(&RETENTIONS);
    let table = open_at_real_store(&store, &definition).await;
    let once = weir_lake::Producer { expires: true, ..super::producer("blob:a", 1) };
    let rows = table.stage(super::frame(&model("blob:a", 1..=1))).await.unwrap();
    let append = weir_lake::Append { producer: once, rows, books: super::counted(1) };
    table.append(append, None).await.unwrap();
    clock::at(365 * DAY);
    assert_eq!(open_at_real_store(&store, &definition).await.committed("blob:a"), Some(1));
    clock::at(Duration::ZERO);
    table.checkpoint().await.unwrap();
    clock::at(365 * DAY);
    assert_eq!(open_at_real_store(&store, &definition).await.committed("blob:a"), Some(1));
}
