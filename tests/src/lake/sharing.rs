//! Rows that come at the same time share files and commits, and everybody gets the answer for its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use object_store::{ObjectStore, ObjectStoreExt};
use polars::prelude::{NamedFrom, Series};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use weir_contract::NewColumns;
use weir_lake::{Append, ErrorKind, Lake, LakeError, LakeOptions, Outcome, Staged, Table, TableDefinition};

use super::faulty::{Fault, Faulty, Gate, names};
use super::{
    Row, actions, append, books, commit_path, counted, definition, frame, memory, model, now_ms, of_kind, open,
    producer, rows,
};

/// Part of the names of data files.
const DATA: &str = "/part-";
const LOG: &str = "_delta_log";

pub(super) async fn over(store: &Arc<Faulty>, definition: &TableDefinition, options: LakeOptions) -> Arc<Table> {
    Lake::new(Arc::clone(store) as _, "lake".into(), options).table(definition).await.unwrap()
}

pub(super) fn options() -> LakeOptions {
    LakeOptions::new(now_ms)
}

fn spawn(table: &Arc<Table>, rows: Vec<Row>) -> JoinHandle<Result<Outcome, LakeError>> {
    let table = Arc::clone(table);
    tokio::spawn(async move { append(&table, &rows, None).await })
}

/// Rows that were staged before.
fn propose(table: &Arc<Table>, source: &str, rows: Staged) -> JoinHandle<Result<Outcome, LakeError>> {
    let (table, producer) = (Arc::clone(table), producer(source, rows.rows() as i64));
    let books = counted(rows.rows() as usize);
    tokio::spawn(async move { table.append(Append { producer, rows, books }, None).await })
}

/// Waits until whoever can go on has done so.
async fn settled() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

pub(super) fn hub(index: usize) -> String {
    format!("hub/{index:02}")
}

/// An append that is held at its data file or log entry, so that those who come next wait together.
async fn held(store: &Faulty, table: &Arc<Table>, at: &str) -> (Gate, JoinHandle<Result<Outcome, LakeError>>) {
    let gate = store.hold_next_write(at);
    let first = spawn(table, model("first", 1..=2));
    gate.reached().await;
    (gate, first)
}

/// No data file in the store that the table does not have, and none twice.
async fn every_file_is_referred_to(store: &Arc<dyn ObjectStore>, table: &Arc<Table>) {
    let stored: Vec<_> = names(store, "lake/orders").await.into_iter().filter(|name| !name.contains(LOG)).collect();
    let mut referred: Vec<_> =
        table.snapshot().await.unwrap().files.into_iter().map(|file| file.object.to_string()).collect();
    referred.sort();
    assert_eq!(stored, referred);
}

pub(super) fn all(sources: impl IntoIterator<Item = String>, rows: i64) -> Vec<Row> {
    sources.into_iter().flat_map(|source| model(&source, 1..=rows)).collect()
}

#[tokio::test(start_paused = true)]
async fn rows_that_wait_together_share_a_file_for_each_partition_value_and_a_commit() {
    for partition_by in [vec![], vec!["value".to_owned()]] {
        let inner = memory();
        let store = Faulty::calm(&inner);
        let definition = TableDefinition { partition_by: partition_by.clone(), ..definition() };
        let table = over(&store, &definition, options()).await;
        let mut expected = model("first", 1..=2);
        let (gate, first) = held(&store, &table, DATA).await;
        let mut waiting = Vec::new();
        for index in 0..15 {
            let rows: Vec<Row> = model(&hub(index), 1..=6)
                .into_iter()
                .map(|(source, position, _)| (source, position, Some(format!("part {}", position % 3))))
                .collect();
            expected.extend(rows.clone());
            waiting.push(spawn(&table, rows));
        }
        settled().await;
        store.take_requests();
        gate.release();
        assert_eq!(first.await.unwrap().unwrap(), Outcome::Committed { version: 1 });
        for outcome in join_all(waiting).await {
            assert_eq!(outcome.unwrap().unwrap(), Outcome::Committed { version: 2 });
        }
        // The held file had been counted before; partitioned, the first append has two, of which one was held.
        let (first, second) = if partition_by.is_empty() { (0, 1) } else { (0, 3) };
        let mut requests = store.take_requests();
        // Whether the log is still the same: shared as well.
        assert!(requests.remove("get log").unwrap() <= 2 * 3);
        assert_eq!(requests, BTreeMap::from([("put data", first + second), ("put log", 2)]));
        let actions = actions(&inner, 2).await;
        assert_eq!(of_kind(&actions, "add").len(), second);
        let ids: BTreeSet<_> =
            of_kind(&actions, "txn").iter().map(|txn| txn["appId"].as_str().unwrap().to_owned()).collect();
        assert!((0..15).all(|index| ids.contains(&hub(index))), "{ids:?}");
        expected.sort();
        assert_eq!(rows(&table).await, expected);
        assert_eq!(books(&table).await, counted(expected.len()));
    }
}

/// Somebody takes a column away and brings it back with another type while rows with it wait.
#[tokio::test(start_paused = true)]
async fn rows_that_do_not_fit_any_more_fail_alone() {
    let inner = memory();
    let store = Faulty::calm(&inner);
    let growing = TableDefinition { new_columns: NewColumns::Add, ..definition() };
    let table = over(&store, &growing, options()).await;
    let before = of_kind(&actions(&inner, 0).await, "metaData")[0].clone();
    // Rows of before the column, and rows that have it.
    let mut staged = Vec::new();
    for index in 0..8 {
        staged.push((hub(index), table.stage(frame(&model(&hub(index), 1..=2))).await.unwrap()));
    }
    let mut with_more = frame(&model("more", 1..=2));
    with_more.with_column(Series::new("more".into(), [1_i64, 2]).into()).unwrap();
    staged.insert(4, ("more".to_owned(), table.stage(with_more).await.unwrap()));
    assert_eq!(table.refresh().await.unwrap(), 1, "the column is there");

    let (gate, first) = held(&store, &table, LOG).await;
    let waiting: Vec<_> = staged.into_iter().map(|(source, rows)| propose(&table, &source, rows)).collect();
    settled().await;
    let mut schema: Value = serde_json::from_str(before["schemaString"].as_str().unwrap()).unwrap();
    let more = json!({"name": "more", "type": "string", "nullable": true, "metadata": {}});
    schema["fields"].as_array_mut().unwrap().push(more);
    let mut changed = before;
    changed["schemaString"] = schema.to_string().into();
    let line = format!("{}\n", json!({ "metaData": changed }));
    inner.put(&commit_path(2), line.into()).await.unwrap();
    gate.release();

    assert_eq!(first.await.unwrap().unwrap(), Outcome::Committed { version: 3 });
    for (index, outcome) in join_all(waiting).await.into_iter().enumerate() {
        match outcome.unwrap() {
            Ok(outcome) => assert!(matches!(outcome, Outcome::Committed { .. }) && index != 4, "{index}: {outcome:?}"),
            Err(error) => {
                assert_eq!((index, error.kind()), (4, ErrorKind::Invalid));
                assert!(error.to_string().contains("column `more` is string in the table and i64"), "{error}");
            }
        }
    }
    let expected = [model("first", 1..=2), all((0..8).map(hub), 2)].concat();
    assert_eq!(rows(&table).await, expected);
    assert_eq!(books(&table).await, counted(expected.len()));
    every_file_is_referred_to(&inner, &table).await;
}

/// While our shared file is on its way, another process commits what one of us brings, whole or in part.
#[tokio::test(start_paused = true)]
async fn rows_that_were_committed_by_another_process_meanwhile_are_taken_out() {
    for (at, last) in [(DATA, 4), (DATA, 2), (LOG, 4), (LOG, 2), (LOG, 9)] {
        let inner = memory();
        let store = Faulty::calm(&inner);
        let table = over(&store, &definition(), options()).await;
        let (gate, first) = held(&store, &table, LOG).await;
        let waiting: Vec<_> = (0..5).map(|index| spawn(&table, model(&hub(index), 1..=4))).collect();
        settled().await;
        let shared = store.hold_next_write(at);
        gate.release();
        first.await.unwrap().unwrap();
        shared.reached().await;
        let theirs = open(&inner).await;
        append(&theirs, &model(&hub(2), 1..=last), None).await.unwrap();
        shared.release();
        for (index, outcome) in join_all(waiting).await.into_iter().enumerate() {
            let expected = match index {
                2 if last >= 4 => Outcome::AlreadyCommitted { producer_version: last },
                2 => Outcome::Overlaps { producer_version: last },
                _ => Outcome::Committed { version: 3 },
            };
            assert_eq!(outcome.unwrap().unwrap(), expected, "{at} {last}: {index}");
        }
        let mut expected = [model("first", 1..=2), all([0, 1, 3, 4].map(hub), 4), model(&hub(2), 1..=last)].concat();
        expected.sort();
        assert_eq!(rows(&table).await, expected, "{at} {last}");
        assert_eq!(books(&table).await, counted(expected.len()));
        every_file_is_referred_to(&inner, &table).await;
        assert_eq!(table.snapshot().await.unwrap().files.len(), 3, "the four that are left still share one");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shared_file_has_limits() {
    let one = frame(&model("hub/00", 1..=4)).estimated_size();
    let by_rows = LakeOptions { group_rows: 10, ..options() };
    let by_bytes = LakeOptions { group_bytes: one * 5 / 2, ..options() };
    for options in [by_rows, by_bytes] {
        let inner = memory();
        let store = Faulty::calm(&inner);
        let table = over(&store, &definition(), options).await;
        let (gate, first) = held(&store, &table, LOG).await;
        let waiting: Vec<_> = (0..7).map(|index| spawn(&table, model(&hub(index), 1..=4))).collect();
        settled().await;
        gate.release();
        first.await.unwrap().unwrap();
        let outcomes = join_all(waiting).await.into_iter().map(|outcome| outcome.unwrap().unwrap());
        let versions: Vec<_> = outcomes.map(|outcome| format!("{outcome:?}")).collect();
        let expected = [2, 2, 3, 3, 4, 4, 5].map(|version| format!("{:?}", Outcome::Committed { version }));
        assert_eq!(versions, expected, "in the order that they came in");
        let mut files: Vec<_> =
            table.snapshot().await.unwrap().files.into_iter().map(|file| file.rows.unwrap()).collect();
        files.sort_unstable();
        assert_eq!(files, [2, 4, 8, 8, 8]);
    }
    // What is larger than a shared file may be is a file of its own, stored as it comes.
    let store = Faulty::calm(&memory());
    let table = over(&store, &definition(), LakeOptions { group_bytes: one * 2, ..options() }).await;
    let large = table.stage(frame(&model("large", 1..=50))).await.unwrap();
    assert_eq!(store.take_requests()["put data"], 1);
    let outcome = propose(&table, "large", large).await.unwrap().unwrap();
    assert_eq!(outcome, Outcome::Committed { version: 1 });
    assert_eq!(rows(&table).await, model("large", 1..=50));
}

/// Two deliveries of one producer do not go into one file, and the second does not overtake the first.
#[tokio::test(start_paused = true)]
async fn a_producer_is_in_a_file_once_and_in_order() {
    let inner = memory();
    let store = Faulty::calm(&inner);
    let table = over(&store, &definition(), LakeOptions { group_rows: 10, ..options() }).await;
    let (gate, first) = held(&store, &table, LOG).await;
    let mut waiting = vec![spawn(&table, model("hub/00", 1..=4)), spawn(&table, model("hub/01", 1..=8))];
    waiting.extend([spawn(&table, model("hub/01", 1..=2)), spawn(&table, model("hub/00", 1..=4))]);
    settled().await;
    gate.release();
    first.await.unwrap().unwrap();
    let outcomes: Vec<_> = join_all(waiting).await.into_iter().map(|outcome| outcome.unwrap().unwrap()).collect();
    assert_eq!(
        outcomes,
        [
            Outcome::Committed { version: 2 },
            Outcome::Committed { version: 3 },
            Outcome::AlreadyCommitted { producer_version: 8 },
            Outcome::AlreadyCommitted { producer_version: 4 },
        ]
    );
    assert_eq!(rows(&table).await, [model("first", 1..=2), model("hub/00", 1..=4), model("hub/01", 1..=8)].concat());
    every_file_is_referred_to(&inner, &table).await;
}

/// Whoever holds the turn, whoever waits, whoever is in flight: nobody else's rows go with them.
#[tokio::test(start_paused = true)]
async fn callers_that_are_dropped_are_left_out_and_take_nobody_with_them() {
    for at in [DATA, LOG] {
        let inner = memory();
        let store = Faulty::calm(&inner);
        let table = over(&store, &definition(), options()).await;
        let (gate, first) = held(&store, &table, at).await;
        let waiting: Vec<_> = (0..10).map(|index| spawn(&table, model(&hub(index), 1..=2))).collect();
        settled().await;
        first.abort();
        waiting.iter().step_by(2).for_each(JoinHandle::abort);
        settled().await;
        gate.release();
        for (index, outcome) in join_all(waiting).await.into_iter().enumerate() {
            match outcome {
                Ok(outcome) => {
                    assert_eq!((index % 2, outcome.unwrap()), (1, Outcome::Committed { version: 2 }), "{index}")
                }
                Err(error) => assert!(error.is_cancelled() && index % 2 == 0, "{index}: {error}"),
            }
        }
        // The first was on its way; the others had not begun.
        let expected = [model("first", 1..=2), all((0..10).filter(|index| index % 2 == 1).map(hub), 2)].concat();
        assert_eq!(rows(&table).await, expected, "{at}");
        every_file_is_referred_to(&inner, &table).await;
    }
}

/// Rows of before and after a new column wait together: one file, with the table's newest columns.
#[tokio::test(start_paused = true)]
async fn a_column_that_comes_while_rows_wait_is_null_in_them() {
    for by_another_process in [false, true] {
        let inner = memory();
        let store = Faulty::calm(&inner);
        let growing = TableDefinition { new_columns: NewColumns::Add, ..definition() };
        let table = over(&store, &growing, options()).await;
        let old = table.stage(frame(&model("hub/0", 1..=2))).await.unwrap();
        let mut wide = frame(&model("hub/1", 1..=2));
        wide.with_column(Series::new("more".into(), [1_i64, 2]).into()).unwrap();
        let (gate, first) = if by_another_process {
            let (gate, first) = held(&store, &table, DATA).await;
            let theirs = over(&Faulty::calm(&inner), &growing, options()).await;
            propose(&theirs, "hub/1", theirs.stage(wide).await.unwrap()).await.unwrap().unwrap();
            (gate, first)
        } else {
            let wide = table.stage(wide).await.unwrap();
            let (gate, first) = held(&store, &table, DATA).await;
            propose(&table, "hub/1", wide);
            (gate, first)
        };
        let waiting = [propose(&table, "hub/0", old), spawn(&table, model("hub/2", 1..=2))];
        settled().await;
        gate.release();
        let mut outcomes = vec![first.await.unwrap().unwrap()];
        for outcome in join_all(waiting).await {
            outcomes.push(outcome.unwrap().unwrap());
        }
        let committed = |version| Outcome::Committed { version };
        let last = if by_another_process { 4 } else { 3 };
        assert_eq!(outcomes, [committed(last - 1), committed(last), committed(last)]);
        let snapshot = table.snapshot().await.unwrap();
        let mut more = Vec::new();
        for file in &snapshot.files {
            let frame = table.read(file).await.unwrap();
            let sources = frame.column("_source").unwrap().str().unwrap().clone();
            let values = frame.column("more").unwrap().i64().unwrap().clone();
            more.extend(sources.iter().zip(values.iter()).map(|(source, value)| (source.unwrap().to_owned(), value)));
        }
        more.sort();
        let of = |source: &str, values: [Option<i64>; 2]| values.map(|value| (source.to_owned(), value));
        let sources =
            [("first", [None, None]), ("hub/0", [None, None]), ("hub/1", [Some(1), Some(2)]), ("hub/2", [None, None])];
        assert_eq!(more, sources.map(|(source, values)| of(source, values)).concat());
        assert_eq!(snapshot.files.len(), if by_another_process { 3 } else { 2 });
    }
}

/// A shared commit whose answer is lost is everybody's.
#[tokio::test(start_paused = true)]
async fn a_shared_commit_whose_answer_is_lost_is_recognised() {
    for (fault, name) in [(Fault::After, "after"), (Fault::Before, "before"), (Fault::Late, "late")] {
        let inner = memory();
        let store = Faulty::calm(&inner);
        let table = over(&store, &definition(), options()).await;
        let (gate, first) = held(&store, &table, LOG).await;
        let waiting: Vec<_> = (0..5).map(|index| spawn(&table, model(&hub(index), 1..=2))).collect();
        settled().await;
        store.next_write(&format!("{LOG}/{:020}.json", 2), fault.clone());
        store.next_write(DATA, fault);
        gate.release();
        first.await.unwrap().unwrap();
        for outcome in join_all(waiting).await {
            assert_eq!(outcome.unwrap().unwrap(), Outcome::Committed { version: 2 }, "{name}");
        }
        store.settle().await;
        let expected = [model("first", 1..=2), all((0..5).map(hub), 2)].concat();
        assert_eq!((rows(&table).await, books(&table).await), (expected.clone(), counted(expected.len())), "{name}");
    }
}
