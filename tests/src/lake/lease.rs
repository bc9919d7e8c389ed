//! Leases: one owner at a time as far as clocks allow, and a fence for when they do not.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use weir_lake::{CompactOptions, ErrorKind, Lease, LogCleanupOptions, Table, TableDefinition};

use super::clock::{self, DAY, open_as};
use super::faulty::{Fault, Faulty, names};
use super::{append, definition, memory, model, rows};
use crate::azurite;

const FOLDER: &str = "lake/orders/_weir_lease";
const LOG: &str = "_delta_log";
const TTL: Duration = Duration::from_secs(60);

fn seconds(seconds: u64) {
    clock::at(Duration::from_secs(seconds));
}

async fn take(table: &Arc<Table>) -> Option<Lease> {
    table.lease("tests", TTL).await.unwrap()
}

/// What the store has to be able to do, and all that an owner does.
async fn leases(store: Arc<dyn ObjectStore>) {
    seconds(0);
    let tables = join_all((0..6).map(|_| clock::open(&store))).await;
    let taken = join_all(tables.iter().map(take)).await;
    let mut owners: Vec<_> = taken.into_iter().flatten().collect();
    assert_eq!(owners.len(), 1, "one of them takes it");
    let mut first = owners.remove(0);
    assert!(take(&tables[0]).await.is_none() && take(&clock::open(&store).await).await.is_none());

    // It is renewed when half of its time is over, and then holds from there.
    seconds(29);
    let fence = first.fence();
    assert!(first.keep().await.unwrap());
    assert_eq!(first.fence(), fence, "not yet");
    seconds(31);
    assert!(first.keep().await.unwrap());
    assert_eq!(first.fence(), fence + 1);
    seconds(31 + 69);
    assert!(take(&tables[1]).await.is_none(), "clocks differ: not before ten seconds after its end");
    seconds(31 + 71);
    let mut second = take(&tables[1]).await.unwrap();
    assert!(second.fence() > first.fence());
    assert!(!first.keep().await.unwrap(), "the first has lost it");
    first.release().await.unwrap();
    assert!(second.keep().await.unwrap() && take(&tables[2]).await.is_none(), "what it gives up is not the second's");

    // Given up, it is there for the next at once.
    let fence = second.fence();
    second.release().await.unwrap();
    let third = take(&tables[2]).await.unwrap();
    assert!(third.fence() > fence);
    third.release().await.unwrap();
    for _ in 0..5 {
        take(&tables[3]).await.unwrap().release().await.unwrap();
        let left = names(&store, FOLDER).await;
        assert!((1..=2).contains(&left.len()), "{left:?}");
    }
}

#[tokio::test]
async fn leases_on_memory() {
    leases(memory()).await;
}

#[tokio::test]
async fn leases_on_the_local_file_system() {
    let folder = tempfile::tempdir().unwrap();
    leases(Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap())).await;
}

#[tokio::test]
async fn leases_on_azurite() {
    leases(azurite::container().await).await;
}

#[tokio::test]
async fn an_owner_stops_at_its_own_time_even_if_nobody_came() {
    seconds(0);
    let table = clock::open(&memory()).await;
    let mut lease = take(&table).await.unwrap();
    seconds(60);
    assert!(!lease.keep().await.unwrap());
    // Nobody has to wait for what it does then.
    seconds(71);
    assert!(take(&table).await.is_some());
}

/// The request has its effect and the answer is lost, or it is late, or it never came.
#[tokio::test]
async fn a_lost_answer_is_recognised() {
    for fault in [Fault::After, Fault::Late, Fault::Before] {
        seconds(0);
        let store = memory();
        let faulty = Faulty::calm(&store);
        let (ours, theirs) = (clock::open(&(Arc::clone(&faulty) as _)).await, clock::open(&store).await);
        faulty.next_write("_weir_lease", fault.clone());
        let mut lease = take(&ours).await.unwrap_or_else(|| panic!("{fault:?}: taken"));
        faulty.settle().await;
        assert!(take(&theirs).await.is_none(), "{fault:?}");
        seconds(31);
        faulty.next_write("_weir_lease", fault.clone());
        assert!(lease.keep().await.unwrap(), "{fault:?}: kept");
        faulty.settle().await;
        assert!(lease.keep().await.unwrap() && take(&theirs).await.is_none(), "{fault:?}");
        faulty.next_write("_weir_lease", fault.clone());
        lease.release().await.unwrap();
        faulty.settle().await;
        assert!(take(&theirs).await.is_some(), "{fault:?}: given up");
    }
}

#[tokio::test]
async fn a_store_that_says_no_is_an_error_and_no_lease() {
    seconds(0);
    let faulty = Faulty::calm(&memory());
    let table = clock::open(&(Arc::clone(&faulty) as _)).await;
    faulty.next_write("_weir_lease", Fault::Denied);
    let error = table.lease("tests", TTL).await.unwrap_err();
    assert!(error.to_string().contains("lease lake/orders/_weir_lease/"), "{error}");
    (0..3).for_each(|_| faulty.next_write("_weir_lease", Fault::Before));
    assert_eq!(table.lease("tests", TTL).await.unwrap_err().kind(), ErrorKind::Retryable);
    assert!(take(&table).await.is_some());
}

/// Nobody is held off by what is no record.
#[tokio::test]
async fn a_torn_record_holds_nobody_off() {
    seconds(0);
    let store = memory();
    let table = clock::open(&store).await;
    store.put(&Path::from(format!("{FOLDER}/{:020}.json", 7)), "{\"own".into()).await.unwrap();
    store.put(&Path::from(format!("{FOLDER}/note.txt")), "hello".into()).await.unwrap();
    assert_eq!(take(&table).await.unwrap().fence(), 8);
}

/// It saw that the lease is free, and slept. What it then makes was there once and is deleted: without a second look it
/// would be the owner, beside the real one.
#[tokio::test]
async fn whoever_comes_too_late_does_not_take_an_old_generation() {
    seconds(0);
    let store = memory();
    let faulty = Faulty::calm(&store);
    let (late, other) = (clock::open(&(Arc::clone(&faulty) as _)).await, clock::open(&store).await);
    let gate = faulty.hold_next_write("_weir_lease");
    let taking = tokio::spawn(async move { take(&late).await });
    gate.reached().await;
    take(&other).await.unwrap().release().await.unwrap();
    let mut owner = take(&other).await.unwrap();
    gate.release();
    assert!(taking.await.unwrap().is_none());
    seconds(31);
    assert!(owner.keep().await.unwrap());
    seconds(89);
    assert!(take(&clock::open(&store).await).await.is_none());
}

/// An owner pauses with its commit in its hands and wakes up when its lease has gone to another.
#[tokio::test]
async fn an_owner_that_wakes_up_late_is_held_off_by_the_fence() {
    for another_committed in [true, false] {
        seconds(0);
        let store = memory();
        let faulty = Faulty::calm(&store);
        let (paused, awake) = (clock::open(&(Arc::clone(&faulty) as _)).await, clock::open(&store).await);
        append(&awake, &model("hub/0", 1..=1), None).await.unwrap();
        append(&awake, &model("hub/0", 2..=2), Some(1)).await.unwrap();
        let mut old = take(&paused).await.unwrap();
        let gate = faulty.hold_next_write(LOG);
        let compacting = tokio::spawn(async move {
            let report = paused.compact(CompactOptions::default(), Some(&mut old)).await;
            (report.unwrap(), old)
        });
        gate.reached().await;
        seconds(71);
        let mut new = take(&awake).await.unwrap();
        if another_committed {
            assert_eq!(awake.compact(CompactOptions::default(), Some(&mut new)).await.unwrap().commits, 1);
            assert_eq!(awake.committed("weir:fence"), Some(new.fence()));
        }
        gate.release();
        let (report, mut old) = compacting.await.unwrap();
        // Before anybody has committed under the newer lease, its commit is as good as any.
        let expected = if another_committed { (0, 0, true) } else { (1, 0, false) };
        assert_eq!((report.commits, report.conflicts, report.stopped), expected);
        assert!(!old.keep().await.unwrap());
        assert_eq!(rows(&clock::open(&store).await).await, model("hub/0", 1..=2), "nothing is doubled or lost");
        let left = awake.compact(CompactOptions::default(), Some(&mut new)).await.unwrap();
        assert_eq!((left.commits, left.stopped), (0, false), "the new owner goes on");
    }
}

/// The fence alone: the files that the paused owner rewrites are not touched by anybody.
#[tokio::test]
async fn a_commit_under_an_older_fence_is_refused_though_its_files_are_there() {
    seconds(0);
    let store = memory();
    let definition = TableDefinition { partition_by: vec!["value".to_owned()], ..definition() };
    let faulty = Faulty::calm(&store);
    let (paused, awake) = (open_as(&(Arc::clone(&faulty) as _), &definition).await, open_as(&store, &definition).await);
    let of = |value: &str, position| vec![("hub/".to_owned() + value, position, Some(value.to_owned()))];
    append(&awake, &of("a", 1), None).await.unwrap();
    append(&awake, &of("a", 2), Some(1)).await.unwrap();
    let mut old = take(&paused).await.unwrap();
    let gate = faulty.hold_next_write(LOG);
    let compacting = tokio::spawn(async move { paused.compact(CompactOptions::default(), Some(&mut old)).await });
    gate.reached().await;

    // Another partition, and the new owner's plan stops before `a`.
    append(&awake, &of("0", 1), None).await.unwrap();
    append(&awake, &of("0", 2), Some(1)).await.unwrap();
    seconds(71);
    let theirs = Faulty::calm(&store);
    let other = open_as(&(Arc::clone(&theirs) as _), &definition).await;
    let mut new = take(&other).await.unwrap();
    let commit = theirs.hold_next_write(LOG);
    let working = tokio::spawn(async move { other.compact(CompactOptions::default(), Some(&mut new)).await });
    commit.reached().await;
    let second = theirs.hold_next_write(LOG);
    commit.release();
    second.reached().await;
    working.abort();
    let files = awake.snapshot().await.unwrap().files;
    assert_eq!(files.iter().filter(|file| file.log_path.starts_with("value=a/")).count(), 2, "as they were");

    gate.release();
    let report = compacting.await.unwrap().unwrap();
    assert_eq!((report.commits, report.conflicts, report.stopped), (0, 0, true));
    assert_eq!(awake.snapshot().await.unwrap().files.len(), 3);
    let expected = [of("0", 1), of("0", 2), of("a", 1), of("a", 2)].concat();
    assert_eq!(rows(&awake).await, expected);
}

/// Whatever becomes of the records: a generation that a commit was fenced with is never given again.
#[tokio::test]
async fn a_fence_outlives_records_log_and_memory() {
    seconds(0);
    let store = memory();
    let table = clock::open(&store).await;
    let stale = clock::open(&store).await;
    append(&table, &model("hub/0", 1..=1), None).await.unwrap();
    append(&table, &model("hub/0", 2..=2), Some(1)).await.unwrap();
    take(&table).await.unwrap().release().await.unwrap();
    let mut lease = take(&table).await.unwrap();
    assert_eq!(table.compact(CompactOptions::default(), Some(&mut lease)).await.unwrap().commits, 1);
    let fence = lease.fence();
    assert_eq!((fence, table.committed("weir:fence")), (3, Some(3)));

    table.checkpoint().await.unwrap();
    clock::at(31 * DAY);
    assert_eq!(table.clean_log(LogCleanupOptions::default()).await.unwrap().commits, 3);
    for table in [stale, table, clock::open(&store).await] {
        for record in names(&store, FOLDER).await {
            store.delete(&Path::from(record)).await.unwrap();
        }
        assert_eq!(take(&table).await.unwrap().fence(), fence + 1);
    }
}
