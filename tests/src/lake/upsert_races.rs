//! Upserts of many processes at the same time: one row for each key, the newest, whoever wins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use weir_lake::{Books, CompactOptions, LakeError, Outcome, Table, Upsert};

use super::faulty::{Fault, names};
use super::upsert::{Item, add, balance, item, items, keyed, upsert};
use super::{LOG, actions, lake, memory, of_kind, orphans, process, producer};

async fn open(store: &Arc<dyn object_store::ObjectStore>) -> Arc<Table> {
    lake(store).table(&keyed()).await.unwrap()
}

/// Both find no row of the key and write one. Without the check of what came in unseen both commit.
#[tokio::test]
async fn two_upserts_of_one_new_key_leave_one_row() {
    for (ours_at, theirs_at) in [(5, 7), (7, 5), (5, 5)] {
        let store = memory();
        let (faulty, ours) = process(&store, &keyed()).await;
        let theirs = open(&store).await;
        let gate = faulty.hold_next_write(LOG);
        let mine = Item { value: "ours".to_owned(), ..item("k", ours_at) };
        let put = upsert("ours", std::slice::from_ref(&mine));
        let racing = tokio::spawn(async move { ours.upsert(put).await });
        gate.reached().await;
        let won = theirs.upsert(upsert("theirs", &[item("k", theirs_at)])).await.unwrap();
        assert_eq!(won.outcome, Outcome::Committed { version: 1 });
        gate.release();
        let lost = racing.await.unwrap().unwrap();
        assert_eq!(lost.outcome, Outcome::Committed { version: 2 });
        // Ours comes after theirs now.
        let overtaken = u64::from(ours_at < theirs_at);
        assert_eq!((lost.written, lost.overtaken, lost.replaced), (1 - overtaken, overtaken, 1 - overtaken));
        let expected = if overtaken == 1 { item("k", theirs_at) } else { mine };
        assert_eq!(items(&theirs).await, [expected], "{ours_at} {theirs_at}");
        balance(&store, &theirs).await;
    }
}

#[tokio::test]
async fn upserts_of_different_keys_do_not_hinder_each_other() {
    let store = memory();
    let (faulty, ours) = process(&store, &keyed()).await;
    let theirs = open(&store).await;
    add(&theirs, "1", &[item("a", 1)]).await;
    add(&theirs, "2", &[item("z", 1)]).await;
    let gate = faulty.hold_next_write(LOG);
    let put = upsert("ours", &[item("a", 2)]);
    let racing = tokio::spawn(async move { ours.upsert(put).await });
    gate.reached().await;
    theirs.upsert(upsert("theirs", &[item("z", 2)])).await.unwrap();
    faulty.take_requests();
    gate.release();
    racing.await.unwrap().unwrap();
    assert!(!faulty.take_requests().contains_key("get data"), "it need not plan anew");
    assert_eq!(items(&theirs).await, [item("a", 2), item("z", 2)]);
    balance(&store, &theirs).await;
}

#[tokio::test]
async fn a_row_that_is_appended_meanwhile_is_replaced() {
    for existing in [false, true] {
        let store = memory();
        let (faulty, ours) = process(&store, &keyed()).await;
        let theirs = open(&store).await;
        if existing {
            add(&theirs, "before", &[item("k", 1), item("m", 1)]).await;
        }
        let gate = faulty.hold_next_write(LOG);
        let put = upsert("ours", &[item("k", 5)]);
        let racing = tokio::spawn(async move { ours.upsert(put).await });
        gate.reached().await;
        add(&theirs, "meanwhile", &[item("k", 3)]).await;
        gate.release();
        assert_eq!(racing.await.unwrap().unwrap().replaced, 1 + u64::from(existing));
        let rest = if existing { vec![item("m", 1)] } else { Vec::new() };
        assert_eq!(items(&theirs).await, [vec![item("k", 5)], rest].concat());
        balance(&store, &theirs).await;
    }
}

/// The file that loses a row is merged into another meanwhile. Without the check of the removed files the row is there
/// twice.
#[tokio::test]
async fn an_upsert_and_a_compaction_race() {
    for held_upsert in [true, false] {
        let store = memory();
        let (faulty, ours) = process(&store, &keyed()).await;
        let theirs = open(&store).await;
        add(&theirs, "1", &[item("a", 1), item("b", 1)]).await;
        add(&theirs, "2", &[item("c", 1)]).await;
        let put = upsert("put", &[item("a", 2)]);
        let gate = faulty.hold_next_write(LOG);
        if held_upsert {
            let racing = tokio::spawn(async move { ours.upsert(put).await });
            gate.reached().await;
            assert_eq!(theirs.compact(CompactOptions::default(), None).await.unwrap().commits, 1);
            gate.release();
            assert_eq!(racing.await.unwrap().unwrap().replaced, 1);
        } else {
            let racing = tokio::spawn(async move { ours.compact(CompactOptions::default(), None).await });
            gate.reached().await;
            theirs.upsert(put).await.unwrap();
            gate.release();
            assert_eq!(racing.await.unwrap().unwrap().conflicts, 1);
        }
        assert_eq!(items(&theirs).await, [item("a", 2), item("b", 1), item("c", 1)], "held upsert: {held_upsert}");
        balance(&store, &theirs).await;
    }
}

/// Both wait for the same commit of one process. In one entry neither would see the other.
#[tokio::test]
async fn what_an_upsert_cannot_see_is_not_in_its_entry() {
    for append_first in [true, false] {
        let store = memory();
        let (faulty, table) = process(&store, &keyed()).await;
        let gate = faulty.hold_next_write(LOG);
        let (first, second, third) = (Arc::clone(&table), Arc::clone(&table), Arc::clone(&table));
        let in_flight = tokio::spawn(async move { first.upsert(upsert("in flight", &[item("x", 1)])).await });
        gate.reached().await;
        let pause = |wait: bool| async move {
            if wait {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let upserting = tokio::spawn(async move {
            pause(append_first).await;
            second.upsert(upsert("upsert", &[item("k", 5)])).await
        });
        let appending = tokio::spawn(async move {
            pause(!append_first).await;
            add(&third, "append", &[item("k", 3)]).await;
        });
        tokio::time::sleep(Duration::from_millis(400)).await;
        gate.release();
        in_flight.await.unwrap().unwrap();
        appending.await.unwrap();
        upserting.await.unwrap().unwrap();
        let after = if append_first { vec![] } else { vec![item("k", 3)] };
        assert_eq!(items(&table).await, [after, vec![item("k", 5), item("x", 1)]].concat(), "{append_first}");
        for version in 1..=3 {
            let actions = actions(&store, version).await;
            let producers = of_kind(&actions, "commitInfo")[0]["weir"]["producers"].as_array().unwrap().len();
            assert_eq!(producers, 1, "commit {version}");
        }
        balance(&store, &table).await;
    }
}

#[tokio::test]
async fn a_producer_that_moves_meanwhile_is_found_out() {
    for (theirs_at, expected) in
        [(9, Outcome::AlreadyCommitted { producer_version: 9 }), (4, Outcome::Overlaps { producer_version: 4 })]
    {
        let store = memory();
        let (faulty, ours) = process(&store, &keyed()).await;
        let theirs = open(&store).await;
        add(&theirs, "1", &[item("k", 1), item("m", 1)]).await;
        let put = |version| Upsert { producer: producer("hub", version), ..upsert("", &[item("k", version)]) };
        let gate = faulty.hold_next_write(LOG);
        let (mine, other) = (put(9), put(theirs_at));
        let racing = tokio::spawn(async move { ours.upsert(mine).await });
        gate.reached().await;
        theirs.upsert(other).await.unwrap();
        gate.release();
        let lost = racing.await.unwrap().unwrap();
        assert_eq!((lost.outcome, lost.written, lost.replaced), (expected, 0, 0));
        assert_eq!(items(&theirs).await, [item("k", theirs_at), item("m", 1)]);
        balance(&store, &theirs).await;
    }
}

/// The producer moved in another process, and this one has not looked since: that is no overlap.
#[tokio::test]
async fn a_process_that_is_behind_upserts_what_comes_next() {
    let store = memory();
    let (one, other) = (open(&store).await, open(&store).await);
    let put =
        |version: i64, after| Upsert { producer: producer("hub", version), after, ..upsert("", &[item("k", version)]) };
    one.upsert(put(1, None)).await.unwrap();
    other.upsert(put(2, Some(1))).await.unwrap();
    assert_eq!(one.upsert(put(3, Some(2))).await.unwrap().outcome, Outcome::Committed { version: 3 });
    assert_eq!(items(&other).await, [item("k", 3)]);
    balance(&store, &one).await;
}

#[tokio::test]
async fn an_upsert_that_never_wins_is_a_conflict() {
    let store = memory();
    let (faulty, ours) = process(&store, &keyed()).await;
    let theirs = open(&store).await;
    add(&theirs, "1", &[item("k", 0), item("m", 0)]).await;
    let gates: Vec<_> = (0..8).map(|_| faulty.hold_next_write(LOG)).collect();
    let racing = tokio::spawn(async move { ours.upsert(upsert("ours", &[item("k", 100)])).await });
    for (round, gate) in gates.into_iter().enumerate() {
        gate.reached().await;
        theirs.upsert(upsert(&format!("theirs {round}"), &[item("k", 1 + round as i64)])).await.unwrap();
        gate.release();
    }
    let error = racing.await.unwrap().unwrap_err();
    assert!(matches!(error, LakeError::RewriteConflict { .. }), "{error}");
    assert_eq!(items(&theirs).await, [item("k", 8), item("m", 0)]);
    assert_eq!(theirs.committed("ours"), None);
    balance(&store, &theirs).await;
}

/// The answer is lost, the commit landed or lands later: the row is there once and so is the file.
#[tokio::test]
async fn an_upsert_whose_answer_is_lost_is_there_once() {
    for fault in [Fault::After, Fault::Late, Fault::Before] {
        let store = memory();
        let (faulty, ours) = process(&store, &keyed()).await;
        add(&ours, "1", &[item("k", 0), item("m", 0)]).await;
        faulty.next_write(LOG, fault);
        let upserted = ours.upsert(upsert("ours", &[item("k", 1)])).await.unwrap();
        faulty.settle().await;
        assert_eq!(upserted.outcome, Outcome::Committed { version: 2 });
        assert_eq!(items(&open(&store).await).await, [item("k", 1), item("m", 0)]);
        balance(&store, &ours).await;
    }
}

/// A commit that the store refuses for good leaves the table as it was.
#[tokio::test]
async fn a_refused_upsert_changes_nothing() {
    let store = memory();
    let (faulty, ours) = process(&store, &keyed()).await;
    add(&ours, "1", &[item("k", 0)]).await;
    faulty.next_write(LOG, Fault::Denied);
    let error = ours.upsert(upsert("ours", &[item("k", 1)])).await.unwrap_err();
    assert!(matches!(error, LakeError::Store { .. }), "{error}");
    assert!(!error.to_string().contains("k at"), "{error}");
    assert_eq!(items(&open(&store).await).await, [item("k", 0)]);
    assert!(ours.upsert(upsert("ours", &[item("k", 1)])).await.is_ok());
    assert_eq!(items(&ours).await, [item("k", 1)]);
    // What the first attempt stored is left to vacuum.
    assert!(orphans(&store).await.len() <= 1, "{:?}", names(&store, "lake/orders").await);
}

/// Key → order and value of the newest.
type Model = BTreeMap<String, (Option<i64>, String)>;

#[derive(Debug, Clone)]
struct Step {
    process: usize,
    /// Key and order.
    rows: Vec<(u8, Option<i64>)>,
    compacts: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let row = (0..6_u8, prop::option::weighted(0.8, -3..8_i64));
    (0..2_usize, prop::collection::vec(row, 0..6), prop::bool::weighted(0.2))
        .prop_map(|(process, rows, compacts)| Step { process, rows, compacts })
}

fn stepped(step: usize, rows: &[(u8, Option<i64>)]) -> Vec<Item> {
    let item = |(row, (key, at)): (usize, &(u8, Option<i64>))| Item {
        at: *at,
        value: format!("step {step} row {row}"),
        ..item(&format!("key {key}"), row as i64)
    };
    rows.iter().enumerate().map(item).collect()
}

fn by_at(request: &str, rows: &[Item]) -> Upsert {
    Upsert { order_by: Some("at".to_owned()), ..upsert(request, rows) }
}

async fn found(table: &Arc<Table>) -> Vec<(String, (Option<i64>, String))> {
    items(table).await.into_iter().map(|item| (item.id, (item.at, item.value))).collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// In any order, by whichever process: what is there is the newest of each key, by order and then by arrival.
    #[test]
    fn upserts_are_a_map(steps in prop::collection::vec(step(), 1..10)) {
        runtime().block_on(async {
            let store = memory();
            let processes = [open(&store).await, open(&store).await];
            let mut model = Model::new();
            let mut expected = Books::default();
            for (index, step) in steps.iter().enumerate() {
                let table = &processes[step.process];
                let rows = stepped(index, &step.rows);
                let before = model.clone();
                for row in &rows {
                    // `None` is less than every `Some`.
                    if model.get(&row.id).is_none_or(|(at, _)| *at <= row.at) {
                        model.insert(row.id.clone(), (row.at, row.value.clone()));
                    }
                }
                let written = model.iter().filter(|(key, row)| before.get(*key) != Some(*row)).count() as u64;
                let replaced = before.iter().filter(|(key, row)| model.get(*key) != Some(*row)).count() as u64;
                let overtaken = rows.len() as u64 - written;
                let upserted = table.upsert(by_at(&format!("step {index}"), &rows)).await.unwrap();
                assert_eq!((upserted.written, upserted.replaced, upserted.overtaken), (written, replaced, overtaken));
                expected += Books {
                    records_in: rows.len() as u64,
                    committed: written,
                    already_committed: overtaken,
                    replaced,
                    ..Books::default()
                };
                if step.compacts {
                    table.compact(CompactOptions::default(), None).await.unwrap();
                }
                assert_eq!(found(table).await, model.clone().into_iter().collect::<Vec<_>>());
            }
            assert_eq!(balance(&store, &processes[0]).await, expected);
        });
    }

    /// All at once, each order once: the greatest of each key is there, alone.
    #[test]
    fn concurrent_upserts_leave_the_newest(keys in prop::collection::vec(prop::collection::vec(0..4_u8, 1..4), 2..6)) {
        runtime().block_on(async {
            let store = memory();
            let mut model = Model::new();
            let mut puts = Vec::new();
            for (index, keys) in keys.iter().enumerate() {
                let rows: Vec<_> = keys.iter().enumerate().map(|(row, key)| (*key, Some((row * 7 + index * 5 % 7) as i64 * 10 + index as i64))).collect();
                let rows = stepped(index, &rows);
                for row in &rows {
                    let newest = model.entry(row.id.clone()).or_insert((None, String::new()));
                    if newest.0 <= row.at {
                        *newest = (row.at, row.value.clone());
                    }
                }
                let table = open(&store).await;
                puts.push(async move { table.upsert(by_at(&format!("put {index}"), &rows)).await });
            }
            for done in futures::future::join_all(puts).await {
                done.unwrap();
            }
            let table = open(&store).await;
            assert_eq!(found(&table).await, model.into_iter().collect::<Vec<_>>());
            balance(&store, &table).await;
        });
    }
}
