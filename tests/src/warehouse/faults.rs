//! Loads that fail, stop in the middle, or meet another loader: rows and watermark move together or not at all.

use std::time::Duration;

use tempfile::TempDir;
use weir_warehouse::{Error, ErrorKind, FileReader, Limits, Plan, Step, Watermark};

use super::lake::{Fault, Lake, rows_of, warehouse_rows};
use super::{connect, open, table};

/// A lake whose next load has every kind of step, loaded up to before it.
async fn loaded(folder: &TempDir) -> (Box<dyn weir_warehouse::Warehouse>, Lake) {
    let warehouse = open(folder).await;
    let mut lake = Lake::new();
    lake.append(vec![rows_of("a", 1, 5), rows_of("b", 1, 5)]);
    lake.load(warehouse.as_ref(), &table()).await.unwrap();
    lake.add_column();
    lake.append(vec![rows_of("c", 1, 5), rows_of("d", 1, 5)]);
    lake.compact();
    lake.replace("a", None, rows_of("a", 1, 9));
    (warehouse, lake)
}

#[tokio::test]
async fn a_load_that_stops_after_any_file_changes_nothing_and_can_be_repeated() {
    for (reload, files) in [(false, 3), (true, 2)] {
        for fault in [Fault::Fails, Fault::Gone, Fault::Hangs] {
            for reads in 0..files {
                let folder = TempDir::new().unwrap();
                let (warehouse, mut lake) = loaded(&folder).await;
                if reload {
                    lake.append(vec![rows_of("e", 1, 1)]);
                    lake.delete_file(&lake.active()[0].clone());
                }
                let before = warehouse.watermark(&table()).await.unwrap();
                *lake.fault.lock().unwrap() = Some((reads, fault));
                let given_up = Duration::from_millis(if fault == Fault::Hangs { 30 } else { 60_000 });
                let outcome = tokio::time::timeout(given_up, lake.load(warehouse.as_ref(), &table())).await;
                match (fault, outcome) {
                    (Fault::Hangs, Err(_)) => {}
                    (Fault::Fails, Ok(Err(error))) => assert_eq!(error.kind(), ErrorKind::Unavailable),
                    (Fault::Gone, Ok(Err(error))) => assert_eq!(error.kind(), ErrorKind::FileMissing),
                    (_, other) => panic!("{fault:?} after {reads} reads: {other:?}"),
                }
                assert_eq!(warehouse.watermark(&table()).await.unwrap(), before);
                assert_eq!(warehouse_rows(&connect(&folder), &table().table), lake.rows(1));
                *lake.fault.lock().unwrap() = None;
                assert_eq!(lake.load(warehouse.as_ref(), &table()).await.unwrap().reloaded, reload);
                assert_eq!(warehouse_rows(&connect(&folder), &table().table), lake.rows(lake.latest()));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_racing_loaders_one_wins_and_the_others_know_it() {
    let folder = TempDir::new().unwrap();
    let (warehouse, lake) = loaded(&folder).await;
    let plan = lake.plan(warehouse.as_ref(), &table(), Limits::default()).await.unwrap();
    let second = open(&folder).await;
    let target = table();
    let (a, b, c) = tokio::join!(
        warehouse.apply(&target, &plan, &lake),
        second.apply(&target, &plan, &lake),
        warehouse.apply(&target, &plan, &lake)
    );
    let (won, lost): (Vec<_>, Vec<_>) = [a, b, c].into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 2));
    for error in lost.into_iter().map(Result::unwrap_err) {
        assert!(matches!(error, Error::LostRace { expected: Some(1), found: Some(5), .. }), "{error}");
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Conflict, true));
    }
    assert_eq!(warehouse_rows(&connect(&folder), &table().table), lake.rows(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_first_loads_one_wins() {
    let folder = TempDir::new().unwrap();
    let (one, two) = (open(&folder).await, open(&folder).await);
    let mut lake = Lake::new();
    lake.append(vec![rows_of("a", 1, 5)]);
    let target = table();
    let plan = lake.plan(one.as_ref(), &target, Limits::default()).await.unwrap();
    let (a, b) = tokio::join!(one.apply(&target, &plan, &lake), two.apply(&target, &plan, &lake));
    assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
    assert!(matches!(a.and(b), Err(Error::LostRace { expected: None, found: Some(1), .. })));
    assert_eq!(warehouse_rows(&connect(&folder), &table().table), lake.rows(1));
}

#[tokio::test]
async fn a_file_with_other_than_its_logged_rows_fails_the_load() {
    let folder = TempDir::new().unwrap();
    let (warehouse, lake) = loaded(&folder).await;
    let mut plan = lake.plan(warehouse.as_ref(), &table(), Limits::default()).await.unwrap();
    let Plan::Load { steps, .. } = &mut plan else { panic!("{plan:?}") };
    let Some(Step::ReplaceSource { files, .. }) = steps.last_mut() else { panic!("{steps:?}") };
    files[0].num_records = Some(8);
    let error = warehouse.apply(&table(), &plan, &lake).await.unwrap_err();
    assert!(matches!(error, Error::RowCount { expected: 8, found: 9, .. }), "{error}");
    assert!(!error.is_retryable());
    assert_eq!(warehouse_rows(&connect(&folder), &table().table), lake.rows(1));
}

/// As by a writer that did not see its commit succeed: what is there already goes first.
#[tokio::test]
async fn a_rewrite_that_is_logged_twice_brings_its_rows_once() {
    let folder = TempDir::new().unwrap();
    let warehouse = open(&folder).await;
    let mut lake = Lake::new();
    lake.append(vec![rows_of("a", 1, 5), rows_of("b", 1, 5)]);
    lake.load(warehouse.as_ref(), &table()).await.unwrap();
    let files = lake.snapshot_files(1).await.unwrap();
    let from = warehouse.watermark(&table()).await.unwrap().unwrap();
    let to = Watermark { version: 2, ..from.clone() };
    let steps = vec![Step::Rewrite { removed: Vec::new(), kept: Vec::new(), files }];
    let report = warehouse.apply(&table(), &Plan::Load { from, to, steps }, &lake).await.unwrap();
    assert_eq!((report.rows_deleted, report.rows_inserted), (10, 10));
    assert_eq!(warehouse_rows(&connect(&folder), &table().table), lake.rows(1));
}

#[tokio::test]
async fn readers_see_the_old_rows_until_the_commit() {
    let folder = TempDir::new().unwrap();
    let (warehouse, lake) = loaded(&folder).await;
    *lake.fault.lock().unwrap() = Some((2, Fault::Hangs));
    let target = table();
    let load = lake.load(warehouse.as_ref(), &target);
    let reader = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(warehouse_rows(&connect(&folder), &target.table), lake.rows(1));
        assert_eq!(warehouse.row_count(&target).await.unwrap(), 10);
    };
    tokio::select! {
        outcome = load => panic!("{outcome:?}"),
        () = reader => {}
    }
}

#[tokio::test]
async fn a_locked_warehouse_is_unavailable_not_broken() {
    let folder = TempDir::new().unwrap();
    let (warehouse, lake) = loaded(&folder).await;
    let holder = connect(&folder);
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = lake.load(warehouse.as_ref(), &table()).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true), "{error}");
    holder.execute_batch("ROLLBACK").unwrap();
    lake.load(warehouse.as_ref(), &table()).await.unwrap();
}
