//! The commit protocol: what a producer is told, what an unknown outcome becomes, what shares a commit, what it costs.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use object_store::ObjectStore;
use polars::prelude::{Column, DataType, IntoColumn};
use weir_lake::{
    Append, Condition, ErrorKind, Lake, LakeError, LakeOptions, Outcome, Replacement, Table, TableDefinition,
};

use super::faulty::{Fault, Faulty, Weather};
use super::{
    actions, append, books, counted, definition, frame, memory, model, now_ms, of_kind, open, process, producer, rows,
};

const LOG: &str = "_delta_log";

async fn over(store: &Arc<Faulty>) -> Arc<Table> {
    let store: Arc<dyn ObjectStore> = Arc::clone(store) as _;
    open(&store).await
}

#[tokio::test]
async fn a_producer_is_told_what_became_of_its_version() {
    let store = memory();
    let table = open(&store).await;
    let cases = [
        // First, last, what the caller believed, the answer.
        (1, 10, None, Outcome::Committed { version: 1 }),
        (1, 10, None, Outcome::AlreadyCommitted { producer_version: 10 }),
        (3, 7, Some(2), Outcome::AlreadyCommitted { producer_version: 10 }),
        (5, 15, Some(4), Outcome::Overlaps { producer_version: 10 }),
        (5, 15, None, Outcome::Overlaps { producer_version: 10 }),
        (11, 15, Some(10), Outcome::Committed { version: 2 }),
        (16, 20, Some(15), Outcome::Committed { version: 3 }),
    ];
    for (first, last, after, expected) in cases {
        let outcome = append(&table, &model("hub/0", first..=last), after).await.unwrap();
        assert_eq!(outcome, expected, "{first}..={last} after {after:?}");
    }
    // Producers do not know each other.
    assert_eq!(append(&table, &model("hub/1", 1..=2), None).await.unwrap(), Outcome::Committed { version: 4 });
    assert_eq!(rows(&table).await, [model("hub/0", 1..=20), model("hub/1", 1..=2)].concat());
    assert_eq!(books(&table).await, counted(22));
    assert_eq!(table.committed("hub/0"), Some(20));
    assert_eq!(table.committed("hub/2"), None);
}

#[tokio::test]
async fn the_answers_hold_across_processes_that_have_not_looked() {
    let store = memory();
    let (ours, theirs) = (open(&store).await, open(&store).await);
    append(&ours, &model("hub/0", 1..=10), None).await.unwrap();
    assert_eq!(theirs.committed("hub/0"), None, "it has not looked");
    let again = append(&theirs, &model("hub/0", 1..=10), None).await.unwrap();
    assert_eq!(again, Outcome::AlreadyCommitted { producer_version: 10 });
    append(&theirs, &model("hub/0", 11..=12), Some(10)).await.unwrap();
    let overlapping = append(&ours, &model("hub/0", 11..=20), Some(10)).await.unwrap();
    assert_eq!(overlapping, Outcome::Overlaps { producer_version: 12 });
    assert_eq!(rows(&ours).await, model("hub/0", 1..=12));
}

#[tokio::test]
async fn a_commit_of_no_files_moves_the_producer() {
    let store = memory();
    let table = open(&store).await;
    let nothing =
        Append { producer: producer("blob", 1), rows: table.stage(frame(&[])).await.unwrap(), books: counted(0) };
    assert_eq!(table.append(nothing.clone(), None).await.unwrap(), Outcome::Committed { version: 1 });
    let again = open(&store).await.append(nothing, None).await.unwrap();
    assert_eq!(again, Outcome::AlreadyCommitted { producer_version: 1 });
}

/// Rows in a frame and rows in files, new ones and replacements.
#[tokio::test]
async fn what_depends_on_a_condition_is_committed_while_it_holds() {
    let store = memory();
    let definition = TableDefinition { transactions: vec![("rules".to_owned(), 3)], ..definition() };
    let (_, ours) = process(&store, &definition).await;
    let (_, theirs) = process(&store, &definition).await;
    assert_eq!(ours.committed("rules"), Some(3), "a table begins with it");
    let at = |version| Condition { id: "rules".to_owned(), version };
    let (under_3, under_4) = (ours.while_holds(at(3)), ours.while_holds(at(4)));
    assert_eq!(append(&under_4, &model("hub/0", 1..=2), None).await.unwrap(), Outcome::Superseded);
    assert_eq!(append(&under_3, &model("hub/0", 1..=2), None).await.unwrap(), Outcome::Committed { version: 1 });

    let rules = Append { producer: producer("rules", 4), rows: theirs.listed([]).unwrap(), books: counted(0) };
    assert_eq!(theirs.append(rules, Some(3)).await.unwrap(), Outcome::Committed { version: 2 });
    // Nobody has looked: the log itself refuses.
    assert!(under_3.condition_holds());
    assert_eq!(append(&under_3, &model("hub/0", 3..=4), Some(2)).await.unwrap(), Outcome::Superseded);
    assert!(!under_3.condition_holds() && under_4.condition_holds() && ours.condition_holds());
    let mut writer = under_3.write();
    writer.write(frame(&model("hub/0", 3..=4))).await.unwrap();
    let files = under_3.list_files(writer.finish().await.unwrap()).await.unwrap();
    let listed = |version| Append {
        producer: producer("hub/0", version),
        rows: under_3.listed([files.clone()]).unwrap(),
        books: counted(2),
    };
    assert_eq!(under_3.append(listed(4), Some(2)).await.unwrap(), Outcome::Superseded);
    let replacement = |rows| Replacement {
        source: "hub/0".to_owned(),
        positions: None,
        producer: producer("again", 1),
        rows,
        books: counted(2),
    };
    let rows_again = || async { ours.stage(frame(&model("hub/0", 7..=8))).await.unwrap() };
    let replaced = under_3.replace_source_after(replacement(rows_again().await), None, Vec::new()).await.unwrap();
    assert_eq!(replaced, Outcome::Superseded);
    // What is committed already is, whatever the condition.
    let again = append(&under_3, &model("hub/0", 1..=2), None).await.unwrap();
    assert_eq!(again, Outcome::AlreadyCommitted { producer_version: 2 });
    assert_eq!(rows(&ours).await, model("hub/0", 1..=2));

    let replaced = under_4.replace_source_after(replacement(rows_again().await), None, Vec::new()).await.unwrap();
    assert_eq!(replaced, Outcome::Committed { version: 3 });
    assert_eq!(append(&ours, &model("hub/0", 9..=9), Some(2)).await.unwrap(), Outcome::Committed { version: 4 });
    assert_eq!(rows(&theirs).await, model("hub/0", 7..=9));
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_recognised() {
    for (fault, name) in [(Fault::After, "after"), (Fault::Before, "before"), (Fault::Late, "late")] {
        let inner = memory();
        let store = Faulty::calm(&inner);
        let table = over(&store).await;
        store.next_write(&format!("{LOG}/{:020}.json", 1), fault);
        let outcome = append(&table, &model("hub/0", 1..=3), None).await.unwrap();
        assert_eq!(outcome, Outcome::Committed { version: 1 }, "{name}");
        store.settle().await;
        assert_eq!(append(&table, &model("hub/0", 4..=5), Some(3)).await.unwrap(), Outcome::Committed { version: 2 });
        assert_eq!(rows(&open(&inner).await).await, model("hub/0", 1..=5), "{name}");
        assert_eq!(books(&table).await, counted(5), "{name}");
    }
}

/// The request is still on its way when another process takes the version: it can never have its effect.
#[tokio::test]
async fn a_lost_request_that_loses_the_race_is_committed_at_the_next_version() {
    let inner = memory();
    let store = Faulty::calm(&inner);
    let table = over(&store).await;
    let theirs = open(&inner).await;
    append(&theirs, &model("hub/1", 1..=1), None).await.unwrap();
    store.next_write(&format!("{LOG}/{:020}.json", 1), Fault::Late);
    let outcome = append(&table, &model("hub/0", 1..=3), None).await.unwrap();
    assert_eq!(outcome, Outcome::Committed { version: 2 });
    store.settle().await;
    assert_eq!(rows(&table).await, [model("hub/0", 1..=3), model("hub/1", 1..=1)].concat());
}

#[tokio::test]
async fn an_outcome_that_stays_unknown_is_said_to_be_and_the_next_delivery_resolves_it() {
    let inner = memory();
    let store = Faulty::calm(&inner);
    let lake = Lake::new(
        Arc::clone(&store) as _,
        "lake".into(),
        LakeOptions { commit_timeout: Duration::ZERO, ..LakeOptions::new(now_ms) },
    );
    let table = lake.table(&definition()).await.unwrap();
    store.next_write(LOG, Fault::Late);
    let error = append(&table, &model("hub/0", 1..=3), None).await.unwrap_err();
    assert!(matches!(error, LakeError::UnknownOutcome { version: 1, .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Retryable);
    store.settle().await;
    let again = append(&table, &model("hub/0", 1..=3), None).await.unwrap();
    assert_eq!(again, Outcome::AlreadyCommitted { producer_version: 3 });
    assert_eq!(rows(&table).await, model("hub/0", 1..=3));
}

#[tokio::test]
async fn a_refusal_is_not_asked_for_again() {
    let inner = memory();
    let store = Faulty::calm(&inner);
    let table = over(&store).await;
    store.next_write(LOG, Fault::Denied);
    store.take_requests();
    let error = append(&table, &model("hub/0", 1..=3), None).await.unwrap_err();
    assert!(error.to_string().starts_with("table `orders`: commit lake/orders/_delta_log/"), "{error}");
    assert_eq!(store.take_requests()["put log"], 1);
}

/// Appends that wait while a commit is in flight share the next one.
#[tokio::test(start_paused = true)]
async fn concurrent_appends_share_commits() {
    let inner = memory();
    let store = Faulty::new(Arc::clone(&inner), 1, Weather { faults: 0.0, latency: Duration::from_millis(10) });
    let table = over(&store).await;
    let sources: Vec<_> = (0..32).map(|index| format!("hub/{index:02}")).collect();
    let appended = join_all(sources.iter().map(|source| {
        let table = Arc::clone(&table);
        async move { append(&table, &model(source, 1..=4), None).await.unwrap() }
    }));
    let outcomes = appended.await;
    let versions: HashSet<_> = outcomes.iter().map(|outcome| format!("{outcome:?}")).collect();
    assert!(versions.len() < 16, "32 appends took {} commits", versions.len());
    let newest = table.refresh().await.unwrap();
    assert_eq!(newest as usize, versions.len(), "every commit is somebody's");
    // Each was told the very commit that has it.
    for (source, outcome) in sources.iter().zip(&outcomes) {
        let Outcome::Committed { version } = outcome else { panic!("{source}: {outcome:?}") };
        let actions = actions(&inner, *version).await;
        let ids: Vec<_> =
            of_kind(&actions, "txn").iter().map(|txn| txn["appId"].as_str().unwrap().to_owned()).collect();
        assert!(ids.contains(source), "{source} is not in {version}");
    }
    let expected: Vec<_> = sources.iter().flat_map(|source| model(source, 1..=4)).collect();
    assert_eq!(rows(&table).await, expected);
    assert_eq!(books(&table).await, counted(expected.len()));
}

/// Deliveries of one source that wait for the same commit do not share it.
#[tokio::test]
async fn concurrent_deliveries_of_one_producer_commit_once() {
    let inner = memory();
    let store = Faulty::calm(&inner);
    let table = over(&store).await;
    let gate = store.hold_next_write(LOG);
    let deliver = |source: &'static str| {
        let table = Arc::clone(&table);
        tokio::spawn(async move { append(&table, &model(source, 1..=4), None).await.unwrap() })
    };
    let in_flight = deliver("hub/0");
    gate.reached().await;
    let deliveries: Vec<_> = (0..8).map(|_| deliver("hub/1")).collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    gate.release();
    assert_eq!(in_flight.await.unwrap(), Outcome::Committed { version: 1 });
    let outcomes: Vec<_> = join_all(deliveries).await.into_iter().map(Result::unwrap).collect();
    let committed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Committed { .. })).count();
    assert_eq!(committed, 1, "{outcomes:?}");
    assert_eq!(rows(&table).await, [model("hub/0", 1..=4), model("hub/1", 1..=4)].concat());
    assert_eq!(books(&table).await, counted(8));
}

#[tokio::test]
async fn a_frame_that_does_not_fit_fails_alone_and_before_it_is_stored() {
    let inner = memory();
    let store = Faulty::calm(&inner);
    let table = over(&store).await;
    let good = frame(&model("hub/0", 1..=3));
    let retyped = good.clone().with_column(Column::new("value".into(), [1_i64, 2, 3])).unwrap().clone();
    let mut renamed = good.clone();
    renamed.rename("value", "values".into()).unwrap();
    let narrow = good.drop("value").unwrap();
    let wide = good.clone().with_column(Column::new("more".into(), [1_i64, 2, 3])).unwrap().clone();
    let foreign = good.clone().with_column(Column::new("more".into(), [1_u64, 2, 3])).unwrap().clone();
    let null = Column::full_null("_source".into(), 3, &DataType::String).into_column();
    let nulls = good.clone().with_column(null).unwrap().clone();
    let cases = [
        (
            retyped,
            "table `orders`: column `value` is string in the table and i64 in the frame, which does not fit without loss",
        ),
        (renamed, "table `orders`: a frame without column `value`"),
        (narrow, "table `orders`: a frame without column `value`"),
        (wide, "table `orders`: frame column `more` is not in the table, and `new_columns` is \"fail\""),
        (foreign, "table `orders`: frame column `more` of type u64, which Delta has not"),
        (nulls, "table `orders`: column `_source` must not be null and has 3 nulls"),
    ];
    store.take_requests();
    for (bad, message) in cases {
        let error = table.stage(bad).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Invalid, message));
    }
    assert_eq!(store.take_requests(), BTreeMap::new(), "nothing was stored");
    append(&table, &model("hub/0", 1..=3), None).await.unwrap();
    assert_eq!(rows(&table).await, model("hub/0", 1..=3));
}

/// Callers that are dropped at their deadline, in the middle of a shared commit and before it.
#[tokio::test]
async fn callers_that_are_dropped_take_no_neighbour_with_them() {
    let inner = memory();
    let store = Faulty::calm(&inner);
    let table = over(&store).await;
    let gate = store.hold_next_write(LOG);
    let sources: Vec<_> = (0..12).map(|index| format!("hub/{index:02}")).collect();
    let mut tasks = Vec::new();
    for source in sources.clone() {
        let table = Arc::clone(&table);
        tasks.push(tokio::spawn(async move { append(&table, &model(&source, 1..=2), None).await.unwrap() }));
    }
    gate.reached().await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    // The first is in flight and pays for the commit; of those that wait, every other one.
    for task in tasks.iter().step_by(2) {
        task.abort();
    }
    gate.release();
    for (index, task) in tasks.into_iter().enumerate() {
        match task.await {
            Ok(outcome) => assert!(matches!(outcome, Outcome::Committed { .. }), "{index}: {outcome:?}"),
            Err(error) => assert!(error.is_cancelled() && index % 2 == 0, "{index}: {error}"),
        }
    }
    // Nobody knows what became of the others: they are delivered again, by another process.
    let theirs = open(&inner).await;
    for source in &sources {
        theirs.refresh().await.unwrap();
        append(&theirs, &model(source, 1..=2), theirs.committed(source)).await.unwrap();
    }
    let expected: Vec<_> = sources.iter().flat_map(|source| model(source, 1..=2)).collect();
    assert_eq!(rows(&theirs).await, expected);
    assert_eq!(books(&theirs).await, counted(expected.len()));
}

/// When a shared commit fails, everybody in it learns why, and what to do about it.
#[tokio::test]
async fn everybody_in_a_failed_commit_is_told_why() {
    let inner = memory();
    let store = Faulty::calm(&inner);
    let table = over(&store).await;
    let gate = store.hold_next_write(LOG);
    let append_one = |index: i32| {
        let table = Arc::clone(&table);
        tokio::spawn(async move { append(&table, &model(&format!("hub/{index}"), 1..=2), None).await })
    };
    let mut tasks = vec![append_one(0)];
    gate.reached().await;
    tasks.extend((1..4).map(append_one));
    tokio::time::sleep(Duration::from_millis(30)).await;
    super::guards::upgrade(&inner, 2).await;
    gate.release();
    let mut failed = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(outcome) => assert_eq!(outcome, Outcome::Committed { version: 1 }),
            Err(error) => {
                failed += 1;
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                assert!(error.to_string().contains("deletion vectors"), "{error}");
            }
        }
    }
    assert_eq!(failed, 3, "they shared the second commit");
}

/// One data file and one log entry, whatever the age of the table, and three looks at objects whose names are known (whether
/// the log is still the same); nothing is read and nothing is listed.
#[tokio::test]
async fn the_cost_of_a_commit_does_not_grow_with_the_table() {
    let inner = memory();
    let store = Faulty::calm(&inner);
    let table = over(&store).await;
    for depth in 1..=500 {
        store.take_requests();
        append(&table, &model("hub/0", depth..=depth), (depth > 1).then(|| depth - 1)).await.unwrap();
        let requests = store.take_requests();
        let expected = BTreeMap::from([("put data", 1), ("put log", 1), ("get log", 3)]);
        assert_eq!(requests, expected, "at depth {depth}");
    }
    // A lost race costs one read for each winner, and one that finds no more of them.
    let theirs = open(&inner).await;
    for version in 1..=3 {
        append(&theirs, &model("hub/1", version..=version), (version > 1).then(|| version - 1)).await.unwrap();
    }
    append(&table, &model("hub/0", 501..=501), Some(500)).await.unwrap();
    let requests = store.take_requests();
    assert_eq!(requests, BTreeMap::from([("put data", 1), ("put log", 2), ("get log", 4 + 3)]));
    assert_eq!(table.refresh().await.unwrap(), 504);
}

/// What a commit says about itself: the warehouse and `weir status` read it.
#[tokio::test]
async fn a_commit_carries_its_books_and_its_producers() {
    let store = memory();
    let table = open(&store).await;
    let staged = table.stage(frame(&model("blob", 1..=3))).await.unwrap();
    let books = weir_lake::Books {
        records_in: 5,
        committed: 3,
        quarantined: 1,
        already_committed: 1,
        left_out: 2,
        ..weir_lake::Books::default()
    };
    let books = books.of_bytes(70, Some(60));
    let once = weir_lake::Producer { expires: true, ..producer("blob", 1) };
    table.append(Append { producer: once, rows: staged, books }, None).await.unwrap();
    let actions = actions(&store, 1).await;
    let info = of_kind(&actions, "commitInfo")[0];
    assert_eq!(info["operation"], "WRITE");
    assert_eq!(info["weir"]["producers"], serde_json::json!(["blob"]));
    assert_eq!(
        info["weir"]["books"],
        serde_json::json!({"recordsIn": 5, "committed": 3, "quarantined": 1, "alreadyCommitted": 1, "replaced": 0,
                           "bytesIn": 70, "bytesRead": 60, "recordsWithBytes": 5, "leftOut": 2})
    );
    assert!(!books.balanced(), "ten bytes are of no record");
    assert!(books.of_bytes(70, Some(70)).balanced() && books.of_bytes(70, None) == books);
    let txn = of_kind(&actions, "txn");
    assert!(txn[0]["lastUpdated"].is_i64(), "a blob's id may expire");
    assert!(txn[1..].iter().all(|txn| txn.get("lastUpdated").is_none()), "the books' ids may not");
    assert_eq!(super::books(&table).await, books);
}
