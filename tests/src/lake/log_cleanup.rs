//! The log is cleaned as far as a checkpoint stands for it; nobody reads or writes an older table for that.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use weir_lake::{ErrorKind, LakeError, LogCleanup, LogCleanupOptions, Outcome, Table};

use super::clock::{self, DAY, HOUR, MINUTE, open_as, with};
use super::faulty::{Faulty, names};
use super::{append, commit_path, memory, model, rows};
use crate::{azurite, python};

const HINT: &str = "lake/orders/_delta_log/_last_checkpoint";
const ALL: LogCleanupOptions = LogCleanupOptions { keep_from: None };

fn checkpoint_path(version: i64) -> Path {
    Path::from(format!("lake/orders/_delta_log/{version:020}.checkpoint.parquet"))
}

/// Rows `1..=last`, one a version.
async fn appended(table: &Arc<Table>, positions: std::ops::RangeInclusive<i64>) {
    for position in positions {
        append(table, &model("hub/0", position..=position), (position > 1).then(|| position - 1)).await.unwrap();
    }
}

/// Twelve versions and their rows, with checkpoints of these.
async fn grown(store: &Arc<dyn ObjectStore>, checkpoints: &[i64]) -> Arc<Table> {
    clock::at(Duration::ZERO);
    let table = clock::open(store).await;
    for version in 1..=12 {
        appended(&table, version..=version).await;
        if checkpoints.contains(&version) {
            assert_eq!(table.checkpoint().await.unwrap(), version);
        }
    }
    table
}

/// The versions whose commits are there, and those of the checkpoints.
async fn log(store: &Arc<dyn ObjectStore>) -> (Vec<i64>, Vec<i64>) {
    let names = names(store, "lake/orders/_delta_log").await;
    let versions = |end: &str| -> Vec<i64> {
        let names = names.iter().filter_map(|name| name.rsplit('/').next()?.strip_suffix(end));
        names.filter_map(|name| name.parse().ok()).collect()
    };
    (versions(".json"), versions(".checkpoint.parquet"))
}

async fn assert_whole(store: &Arc<dyn ObjectStore>) {
    let cold = clock::open(store).await;
    assert_eq!(cold.refresh().await.unwrap(), 12);
    assert_eq!((rows(&cold).await, cold.committed("hub/0")), (model("hub/0", 1..=12), Some(12)));
}

#[tokio::test]
async fn without_a_checkpoint_nothing_goes() {
    let store = memory();
    let table = grown(&store, &[]).await;
    clock::at(1000 * DAY);
    assert_eq!(table.clean_log(ALL).await.unwrap(), LogCleanup::default());
    assert_eq!(log(&store).await.0.len(), 13);
    assert_whole(&store).await;
}

#[tokio::test]
async fn what_the_newest_checkpoint_stands_for_goes_after_the_retention() {
    for (property, days) in [(None, 30), (Some("interval 3 days"), 3), (Some("interval 12 weeks"), 84)] {
        clock::at(Duration::ZERO);
        let store = memory();
        let properties: Vec<_> = property.map(|text| ("delta.logRetentionDuration", text)).into_iter().collect();
        let table = open_as(&store, &with(&properties)).await;
        appended(&table, 1..=4).await;
        table.checkpoint().await.unwrap();
        appended(&table, 5..=10).await;
        table.checkpoint().await.unwrap();
        appended(&table, 11..=12).await;
        clock::at(days * DAY - MINUTE);
        assert_eq!(table.clean_log(ALL).await.unwrap(), LogCleanup::default(), "{property:?}");
        clock::at(days * DAY + MINUTE);
        assert_eq!(table.clean_log(ALL).await.unwrap(), LogCleanup { commits: 10, checkpoints: 1 }, "{property:?}");
        assert_eq!(log(&store).await, (vec![10, 11, 12], vec![10]));
        assert_eq!(table.clean_log(ALL).await.unwrap(), LogCleanup::default(), "twice");
        assert_whole(&store).await;
        // Without the hint as well.
        store.delete(&Path::from(HINT)).await.unwrap();
        assert_whole(&store).await;
        assert_eq!(table.clean_log(ALL).await.unwrap(), LogCleanup::default());
        append(&table, &model("hub/0", 13..=13), Some(12)).await.unwrap();
        assert_eq!(rows(&clock::open(&store).await).await, model("hub/0", 1..=13));
    }
}

#[tokio::test]
async fn a_table_may_forbid_it_and_a_retention_must_be_readable() {
    let off = ("delta.enableExpiredLogCleanup", "false");
    let cases = [("delta.logRetentionDuration", "interval 1 days"), ("delta.logRetentionDuration", "1 day")];
    for retention in cases {
        clock::at(Duration::ZERO);
        let store = memory();
        let table = open_as(&store, &with(&[off, retention])).await;
        appended(&table, 1..=3).await;
        table.checkpoint().await.unwrap();
        clock::at(100 * DAY);
        assert_eq!(table.clean_log(ALL).await.unwrap(), LogCleanup::default());
        assert_eq!(log(&store).await.0, [0, 1, 2, 3]);
    }
    let store = memory();
    let table = open_as(&store, &with(&cases[1..])).await;
    appended(&table, 1..=3).await;
    table.checkpoint().await.unwrap();
    let error = table.clean_log(ALL).await.unwrap_err();
    assert!(matches!(error, LakeError::Option { option: "delta.logRetentionDuration", .. }), "{error}");
    assert_eq!(log(&store).await.0, [0, 1, 2, 3]);
}

#[tokio::test]
async fn what_somebody_still_reads_commit_by_commit_stays() {
    // (keep from, the oldest commit that stays, the checkpoints that stay)
    let cases: [(i64, i64, &[i64]); 6] = [
        (3, 0, &[4, 8, 11]),
        (4, 4, &[4, 8, 11]),
        (7, 4, &[4, 8, 11]),
        (8, 8, &[8, 11]),
        (10, 8, &[8, 11]),
        (13, 11, &[11]),
    ];
    for (keep_from, oldest, checkpoints) in cases {
        let store = memory();
        let table = grown(&store, &[4, 8, 11]).await;
        clock::at(100 * DAY);
        table.clean_log(LogCleanupOptions { keep_from: Some(keep_from) }).await.unwrap();
        assert_eq!(log(&store).await, ((oldest..=12).collect(), checkpoints.to_vec()), "{keep_from}");
        let read: Vec<_> = table.commits(keep_from, 100).await.unwrap().iter().map(|commit| commit.version).collect();
        assert_eq!(read, (keep_from..=12).collect::<Vec<_>>());
        assert_whole(&store).await;
    }
}

/// Ages as they are in life: every version is a day younger than the one before. Real time, so that delta-rs agrees.
#[tokio::test]
async fn young_versions_are_read_by_everybody_after_a_clean_up() {
    clock::at(Duration::ZERO);
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    let table = open_as(&store, &with(&[("delta.logRetentionDuration", "interval 5 days")])).await;
    for version in 1..=12 {
        appended(&table, version..=version).await;
        if version % 3 == 0 {
            table.checkpoint().await.unwrap();
        }
    }
    for version in 0..=12 {
        for path in [commit_path(version), checkpoint_path(version)] {
            let Ok(file) = std::fs::File::options().write(true).open(folder.path().join(path.as_ref())) else {
                continue;
            };
            file.set_modified(SystemTime::now() - (12 - version as u32) * DAY - HOUR).unwrap();
        }
    }
    // 8 is the oldest that is younger than five days; 6 is what it is read from.
    assert_eq!(table.clean_log(ALL).await.unwrap(), LogCleanup { commits: 6, checkpoints: 1 });
    assert_eq!(log(&store).await, ((6..=12).collect(), vec![6, 9, 12]));
    assert_whole(&store).await;
    let script = r#"
import json, sys
from deltalake import DeltaTable, QueryBuilder
counts = []
for version in [None, *range(6, 13)]:
    table = DeltaTable(sys.argv[1], version=version)
    counts.append(QueryBuilder().register("t", table).execute("select count(*) from t").read_all().column(0).to_pylist()[0])
print(json.dumps(counts))
"#;
    let local = folder.path().join("lake/orders");
    let counts = python::run(script, &[local.to_str().unwrap()]);
    assert_eq!(counts.trim(), "[12, 6, 7, 8, 9, 10, 11, 12]");
    store.delete(&Path::from(HINT)).await.unwrap();
    assert_eq!(python::run(script, &[local.to_str().unwrap()]).trim(), "[12, 6, 7, 8, 9, 10, 11, 12]");
}

#[tokio::test]
async fn a_clean_up_that_is_cut_off_leaves_a_table_and_goes_on_later() {
    for done in 0..13 {
        let store = memory();
        grown(&store, &[4, 8, 11]).await;
        let faulty = Faulty::calm(&store);
        let table = clock::open(&(Arc::clone(&faulty) as _)).await;
        clock::at(100 * DAY);
        faulty.delete_only(done);
        let error = table.clean_log(ALL).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
        for hint in [true, false] {
            if !hint {
                store.delete(&Path::from(HINT)).await.unwrap();
            }
            assert_whole(&store).await;
        }
        let table = clock::open(&store).await;
        table.checkpoint().await.unwrap();
        table.clean_log(ALL).await.unwrap();
        assert_eq!(log(&store).await, (vec![12], vec![12]), "{done}");
        assert_whole(&store).await;
    }
}

/// Azure deletes in batches, and two at once find each other's work done.
#[tokio::test]
async fn azure_is_cleaned_by_two_at_once() {
    let (inner, store) = (memory(), azurite::container().await);
    grown(&inner, &[4, 8, 11]).await;
    for name in names(&inner, "lake").await {
        let bytes = inner.get(&Path::from(name.as_str())).await.unwrap().bytes().await.unwrap();
        store.put(&Path::from(name), bytes.into()).await.unwrap();
    }
    let (one, other) = (clock::open(&store).await, clock::open(&store).await);
    clock::at(100 * DAY);
    let (one, other) = tokio::join!(one.clean_log(ALL), other.clean_log(ALL));
    let cleaned = LogCleanup { commits: 11, checkpoints: 2 };
    assert!(one.unwrap() == cleaned || other.unwrap() == cleaned);
    assert_eq!(log(&store).await, (vec![11, 12], vec![11]));
    assert_whole(&store).await;
}

/// Of a checkpoint in parts, one may be missing.
#[tokio::test]
async fn a_checkpoint_in_parts_is_no_base() {
    let store = memory();
    let table = grown(&store, &[4, 8]).await;
    let part = Path::from("lake/orders/_delta_log/00000000000000000008.checkpoint.0000000001.0000000001.parquet");
    store.rename(&checkpoint_path(8), &part).await.unwrap();
    store.put(&Path::from(HINT), r#"{"version":8,"size":12,"parts":1}"#.into()).await.unwrap();
    assert_whole(&store).await;
    clock::at(100 * DAY);
    assert_eq!(table.clean_log(ALL).await.unwrap(), LogCleanup { commits: 4, checkpoints: 0 });
    assert_eq!(log(&store).await, ((4..=12).collect(), vec![4]));
    assert_whole(&store).await;
    store.delete(&Path::from(HINT)).await.unwrap();
    assert_whole(&store).await;
    // A newer one in one piece makes it old.
    table.checkpoint().await.unwrap();
    assert_eq!(table.clean_log(ALL).await.unwrap(), LogCleanup { commits: 8, checkpoints: 2 });
    assert_whole(&store).await;
}

/// Two checkpointers, the slower one's hint last; or a crash between checkpoint and hint. Whoever follows the hint must
/// not find the log at its end in the middle of it.
#[tokio::test]
async fn a_hint_that_is_behind_holds_its_commits() {
    let store = memory();
    let table = grown(&store, &[4, 8, 11]).await;
    store.put(&Path::from(HINT), r#"{"version":4,"size":12}"#.into()).await.unwrap();
    clock::at(100 * DAY);
    table.clean_log(ALL).await.unwrap();
    assert_eq!(log(&store).await, ((4..=12).collect(), vec![4, 8, 11]));
    assert_whole(&store).await;
    // Without any hint nobody can tell, so nothing goes until there is one.
    store.delete(&Path::from(HINT)).await.unwrap();
    assert_eq!(table.clean_log(ALL).await.unwrap(), LogCleanup::default());
}

/// A process that has slept through a whole retention: the commit after the one that it knows is gone. To write it would
/// be to commit into the past.
#[tokio::test]
async fn a_process_that_slept_through_a_clean_up_does_not_commit_into_the_past() {
    for refresh in [true, false] {
        clock::at(Duration::ZERO);
        let store = memory();
        let (asleep, awake) = (clock::open(&store).await, clock::open(&store).await);
        appended(&awake, 1..=3).await;
        assert_eq!(asleep.refresh().await.unwrap(), 3);
        appended(&awake, 4..=12).await;
        awake.checkpoint().await.unwrap();
        clock::at(31 * DAY);
        assert_eq!(awake.clean_log(ALL).await.unwrap().commits, 12);
        if refresh {
            assert_eq!(asleep.refresh().await.unwrap(), 12);
            assert_eq!(asleep.committed("hub/0"), Some(12));
        }
        // What it has of a producer is old as well.
        let again = append(&asleep, &model("hub/0", 4..=5), Some(3)).await.unwrap();
        assert_eq!(again, Outcome::AlreadyCommitted { producer_version: 12 });
        let outcome = append(&asleep, &model("hub/1", 1..=2), None).await.unwrap();
        assert_eq!(outcome, Outcome::Committed { version: 13 });
        let expected = [model("hub/0", 1..=12), model("hub/1", 1..=2)].concat();
        assert_eq!(rows(&clock::open(&store).await).await, expected);
        assert_eq!(rows(&asleep).await, expected);
    }
}

/// A cold start reads hint, checkpoint and commits one after the other, and a clean-up is faster.
#[tokio::test]
async fn a_cold_start_that_is_overtaken_by_a_clean_up_starts_anew() {
    for held in [
        "_last_checkpoint",
        "00000000000000000004.checkpoint",
        "00000000000000000005.json",
        "00000000000000000009.json",
    ] {
        let store = memory();
        let table = grown(&store, &[4]).await;
        clock::at(100 * DAY);
        let faulty = Faulty::calm(&store);
        let gate = faulty.hold_next_read(held);
        let opening = tokio::spawn(async move { clock::open(&(faulty as _)).await });
        gate.reached().await;
        table.checkpoint().await.unwrap();
        assert_eq!(table.clean_log(ALL).await.unwrap().commits, 12);
        gate.release();
        let cold = opening.await.unwrap();
        assert_eq!((cold.refresh().await.unwrap(), cold.committed("hub/0")), (12, Some(12)), "{held}");
        assert_eq!(rows(&cold).await, model("hub/0", 1..=12));
    }
}
