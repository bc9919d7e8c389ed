//! A reload in parts: it goes on where it stopped, whoever goes on with it, and nobody sees it before its end.

use tempfile::TempDir;
use weir_warehouse::{
    DataFile, Error, ErrorKind, FileLayout, FileReader, Limits, Plan, ReadError, ReloadReason, TableLoad, Warehouse,
    async_trait, plan,
};

use super::lake::{Fault, Lake, Row, rows_of, warehouse_rows};
use super::tables::{self, Reader, counted, frame, producer};
use super::{connect, load_of, open, table};

/// A lake whose whole table is to be loaded anew, loaded up to before that.
async fn to_reload(folder: &TempDir) -> (Box<dyn Warehouse>, Lake) {
    let warehouse = open(folder).await;
    let mut lake = Lake::new();
    lake.append(vec![rows_of("old", 1, 5)]);
    lake.load(warehouse.as_ref(), &table()).await.unwrap();
    lake.append((0..6).map(|file| rows_of(&format!("s{file}"), 0, 10)).collect());
    lake.delete_file(&lake.active()[0].clone());
    (warehouse, lake)
}

fn held(folder: &TempDir) -> Vec<Row> {
    warehouse_rows(&connect(folder), &table().table)
}

fn reload_tables(folder: &TempDir) -> i64 {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'weir_reload%'";
    connect(folder).query_row(sql, [], |row| row.get(0)).unwrap()
}

/// What of a reload is done, when it is stopped after so many files.
async fn stopped_after(warehouse: &dyn Warehouse, lake: &Lake, files: usize) -> usize {
    *lake.fault.lock().unwrap() = Some((files, Fault::Fails));
    assert_eq!(lake.load(warehouse, &table()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    *lake.fault.lock().unwrap() = None;
    warehouse.pending(&table()).await.unwrap().unwrap().files_done
}

#[tokio::test]
async fn a_reload_goes_on_where_it_stopped() {
    let folder = TempDir::new().unwrap();
    let (warehouse, mut lake) = to_reload(&folder).await;
    let (files, version) = (lake.active().len(), lake.latest());
    let before = warehouse.watermark(&table()).await.unwrap();
    assert_eq!(warehouse.pending(&table()).await.unwrap(), None);
    assert_eq!(stopped_after(warehouse.as_ref(), &lake, 2).await, 2);
    // Two more reads, and the lake has moved on meanwhile; another process goes on.
    lake.append(vec![rows_of("later", 1, 5)]);
    lake.compact();
    let other = open(&folder).await;
    assert_eq!(stopped_after(other.as_ref(), &lake, 2).await, 4);
    let pending = other.pending(&table()).await.unwrap().unwrap();
    assert_eq!((pending.to.version, pending.files, pending.bytes), (version, files, files as u64 * 100));
    assert_eq!((pending.from, pending.bytes_done), (before.clone().map(unschemed), 400));
    assert_eq!((warehouse.watermark(&table()).await.unwrap(), held(&folder)), (before, lake.rows(1)));

    let report = lake.load(warehouse.as_ref(), &table()).await.unwrap();
    assert_eq!((report.version, report.reloaded), (version, true));
    assert_eq!(report.rows_inserted, lake.rows(version).len() as u64 - 40, "only the files that were left");
    assert_eq!(held(&folder), lake.rows(version));
    assert_eq!((warehouse.pending(&table()).await.unwrap(), reload_tables(&folder)), (None, 0));
    // Then the log says the rest, and knows the files that the reload brought.
    lake.append_again();
    assert!(!lake.load(warehouse.as_ref(), &table()).await.unwrap().reloaded);
    assert_eq!(held(&folder), lake.rows(lake.latest()));
}

fn unschemed(mark: weir_warehouse::Watermark) -> weir_warehouse::Watermark {
    weir_warehouse::Watermark { schema: String::new(), ..mark }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn loaders_that_meet_in_a_reload_share_it() {
    for round in 0..10 {
        let folder = TempDir::new().unwrap();
        let (warehouse, lake) = to_reload(&folder).await;
        let plan = lake.plan(warehouse.as_ref(), &table(), Limits::default()).await.unwrap();
        if round % 2 == 0 {
            assert!(warehouse.begin_reload(&table(), &plan, &lake).await.unwrap());
        }
        let (two, three) = (open(&folder).await, open(&folder).await);
        let target = table();
        let (a, b, c) = tokio::join!(
            warehouse.apply(&target, &plan, &lake),
            two.apply(&target, &plan, &lake),
            three.apply(&target, &plan, &lake)
        );
        let mut done = 0;
        for outcome in [a, b, c] {
            match outcome {
                Ok(report) => done += usize::from(report.reloaded),
                // Another ended it first, or is still at some file.
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
        assert!(done <= 1, "{done}");
        lake.load(warehouse.as_ref(), &table()).await.unwrap();
        assert_eq!(held(&folder), lake.rows(lake.latest()));
        assert_eq!((warehouse.pending(&table()).await.unwrap(), reload_tables(&folder)), (None, 0));
    }
}

#[tokio::test]
async fn a_reload_of_another_version_takes_the_place_of_one_that_was_begun() {
    let folder = TempDir::new().unwrap();
    let (warehouse, mut lake) = to_reload(&folder).await;
    let old = lake.plan(warehouse.as_ref(), &table(), Limits::default()).await.unwrap();
    stopped_after(warehouse.as_ref(), &lake, 3).await;
    lake.append(vec![rows_of("later", 1, 5)]);
    // As after a file that is missing: the newest version.
    let Plan::Reload { from, to, .. } = &old else { panic!("{old:?}") };
    let to = weir_warehouse::Watermark { version: lake.latest(), ..to.clone() };
    let new = Plan::Reload { from: from.clone(), to, reason: ReloadReason::FileMissing { path: "x".to_owned() } };
    assert!(warehouse.begin_reload(&table(), &new, &lake).await.unwrap());
    assert_eq!(reload_tables(&folder), 1);
    let pending = warehouse.pending(&table()).await.unwrap().unwrap();
    assert_eq!((pending.to.version, pending.files_done), (lake.latest(), 0));
    assert_eq!(warehouse.apply(&table(), &new, &lake).await.unwrap().version, lake.latest());
    assert_eq!(held(&folder), lake.rows(lake.latest()));
    let late = warehouse.apply(&table(), &old, &lake).await.unwrap_err();
    assert!(matches!(late, Error::LostRace { expected: Some(1), .. }), "{late}");
    assert_eq!((held(&folder), reload_tables(&folder)), (lake.rows(lake.latest()), 0));
}

/// A loader that waits between two files while the reload is begun anew must not write into the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_loader_of_a_reload_that_is_gone_knows_it() {
    let folder = TempDir::new().unwrap();
    let (warehouse, mut lake) = to_reload(&folder).await;
    let old = lake.plan(warehouse.as_ref(), &table(), Limits::default()).await.unwrap();
    lake.append(vec![rows_of("later", 1, 5)]);
    let Plan::Reload { from, to, .. } = &old else { panic!("{old:?}") };
    let to = weir_warehouse::Watermark { version: lake.latest(), ..to.clone() };
    let new = Plan::Reload { from: from.clone(), to, reason: ReloadReason::FirstLoad };
    let other = open(&folder).await;
    let gate = Gate { lake: &lake, other: other.as_ref(), plan: &new, reads: std::sync::atomic::AtomicUsize::new(0) };
    let error = warehouse.apply(&table(), &old, &gate).await.unwrap_err();
    assert!(matches!(error, Error::LostRace { .. }), "{error}");
    assert_eq!(warehouse.pending(&table()).await.unwrap().unwrap().files_done, 0);
    lake.load(warehouse.as_ref(), &table()).await.unwrap();
    assert_eq!(held(&folder), lake.rows(lake.latest()));
}

/// Another loader begins the reload anew before the third file is read.
struct Gate<'a> {
    lake: &'a Lake,
    other: &'a dyn Warehouse,
    plan: &'a Plan,
    reads: std::sync::atomic::AtomicUsize,
}

#[async_trait]
impl FileReader for Gate<'_> {
    async fn read(&self, file: &DataFile) -> Result<polars::prelude::DataFrame, ReadError> {
        if self.reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 2 {
            assert!(self.other.begin_reload(&table(), self.plan, self.lake).await.unwrap());
        }
        self.lake.read(file).await
    }

    async fn layout(&self, file: &DataFile) -> Result<FileLayout, ReadError> {
        self.lake.layout(file).await
    }

    async fn snapshot_files(&self, version: i64) -> Result<Vec<DataFile>, ReadError> {
        self.lake.snapshot_files(version).await
    }
}

/// Whoever has no limit of time takes what is shorter: then the reload is void.
#[tokio::test]
async fn a_reload_that_was_begun_is_void_when_the_watermark_moves() {
    let folder = TempDir::new().unwrap();
    let warehouse = open(&folder).await;
    let mut lake = Lake::new();
    lake.append(vec![rows_of("a", 1, 5)]);
    lake.load(warehouse.as_ref(), &table()).await.unwrap();
    lake.append(vec![rows_of("b", 1, 5), rows_of("c", 1, 5)]);
    let load = lake.plan(warehouse.as_ref(), &table(), Limits::default()).await.unwrap();
    let Plan::Load { from, to, .. } = load.clone() else { panic!("{load:?}") };
    let reason = ReloadReason::Outlasted { version: to.version, bytes: load.data_bytes() };
    assert_eq!(load.data_bytes(), 200);
    let reload = Plan::Reload { from: Some(from), to, reason };
    assert!(!warehouse.begin_reload(&table(), &load, &lake).await.unwrap(), "it is no reload");
    assert!(warehouse.begin_reload(&table(), &reload, &lake).await.unwrap());
    stopped_after(warehouse.as_ref(), &lake, 1).await;
    assert!(!warehouse.apply(&table(), &load, &lake).await.unwrap().reloaded);
    assert_eq!((warehouse.pending(&table()).await.unwrap(), reload_tables(&folder)), (None, 0));
    assert_eq!(held(&folder), lake.rows(2));
}

/// Long loads of other tables of the same process are waited for, not run into SQLite's limit; parts of a reload let
/// others through.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn loads_of_one_process_take_turns() {
    let folder = TempDir::new().unwrap();
    let warehouse = open(&folder).await;
    let (mut orders, mut others) = (Lake::new(), Lake::new());
    orders.append(vec![rows_of("a", 1, 5)]);
    others.append(vec![rows_of("b", 1, 5)]);
    orders.load(warehouse.as_ref(), &load_of("orders", "orders")).await.unwrap();
    orders.append(vec![rows_of("a", 6, 5), rows_of("a", 11, 5)]);
    *orders.fault.lock().unwrap() = Some((1, Fault::Hangs));
    let (target, other) = (load_of("orders", "orders"), load_of("others", "others"));
    let slow = tokio::time::timeout(std::time::Duration::from_secs(6), orders.load(warehouse.as_ref(), &target));
    let began = std::time::Instant::now();
    let (slow, quick) = tokio::join!(slow, others.load(warehouse.as_ref(), &other));
    assert!(slow.is_err() && began.elapsed() >= std::time::Duration::from_secs(6));
    assert_eq!(quick.unwrap().rows_inserted, 5);
    // A reload that waits for its lake holds nobody up.
    orders.delete_file(&orders.active()[0].clone());
    others.append(vec![rows_of("b", 6, 5)]);
    let reload = tokio::time::timeout(std::time::Duration::from_millis(500), orders.load(warehouse.as_ref(), &target));
    let began = std::time::Instant::now();
    let quick = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let loaded = others.load(warehouse.as_ref(), &other).await;
        (loaded, began.elapsed())
    };
    let (reload, (quick, after)) = tokio::join!(reload, quick);
    assert!(reload.is_err() && quick.unwrap().rows_inserted == 5);
    assert!(after < std::time::Duration::from_millis(400), "{after:?}");
}

/// What is noted of a file says all that reading it takes: partition values, of which one is null.
#[tokio::test]
async fn files_of_a_partitioned_table_come_out_of_the_notes_as_they_went_in() {
    let folder = TempDir::new().unwrap();
    let (warehouse, load): (_, TableLoad) = (open(&folder).await, load_of("orders", "orders"));
    let lake = tables::Site::new().open(true, 0).await;
    let rows: Vec<tables::Row> = [Some("it's \"k\""), None, Some("a=b/c%20")]
        .iter()
        .zip(1..)
        .map(|(key, position)| ("s".to_owned(), position, key.map(str::to_owned), Some(position.to_string())))
        .collect();
    let staged = lake.stage(frame(&rows, 0)).await.unwrap();
    let append = weir_lake::Append { producer: producer("a", 1), rows: staged, books: counted(rows.len()) };
    lake.append(append, None).await.unwrap();
    let snapshot = lake.snapshot().await.unwrap();
    let window = weir_warehouse::LogWindow {
        table_id: &snapshot.table_id,
        schema: &snapshot.schema_string,
        latest: snapshot.version,
        commits: &[],
    };
    let plan = plan::reload(None, &window, ReloadReason::FirstLoad);
    let reader = Reader { table: &lake, files: snapshot.files };
    assert!(warehouse.begin_reload(&load, &plan, &reader).await.unwrap());
    warehouse.apply(&load, &plan, &Reader { table: &lake, files: Vec::new() }).await.unwrap();
    let connection = connect(&folder);
    let mut statement = connection.prepare("SELECT key FROM orders ORDER BY _source_position").unwrap();
    let keys: Vec<Option<String>> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(keys, rows.iter().map(|row| row.2.clone()).collect::<Vec<_>>());
}
