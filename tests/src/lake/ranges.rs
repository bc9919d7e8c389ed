//! Replacement of a part of a source: what the planner of the warehouse relies on.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use object_store::{ObjectStore, ObjectStoreExt};
use polars::prelude::*;
use serde_json::{Value, json};
use weir_contract::{DataType as Type, position_of, sequence_of};
use weir_lake::{Append, Outcome, Replacement, Table, TableDefinition};

use super::{
    LOG, Row, actions, append, books, column, commit_path, counted, definition, frame, lake, memory, model, of_kind,
    open, orphans, process, producer, rows,
};

/// Ten rows a file, thirty of `blob` and ten of `hub`.
async fn four_files(store: &Arc<dyn ObjectStore>) {
    let table = open(store).await;
    for first in [1, 11, 21] {
        append(&table, &model("blob", first..=first + 9), (first > 1).then(|| first - 1)).await.unwrap();
    }
    append(&table, &model("hub", 11..=20), None).await.unwrap();
}

async fn part(
    table: &Arc<Table>,
    request: &str,
    source: &str,
    positions: Option<RangeInclusive<i64>>,
    rows: &[Row],
) -> Replacement {
    let books = counted(rows.len());
    let rows = table.stage(frame(rows)).await.unwrap();
    Replacement { source: source.to_owned(), positions, producer: producer(request, 1), rows, books }
}

fn corrected(source: &str, positions: RangeInclusive<i64>) -> Vec<Row> {
    positions.map(|position| (source.to_owned(), position, Some("corrected".to_owned()))).collect()
}

async fn note(store: &Arc<dyn ObjectStore>, version: i64) -> Value {
    of_kind(&actions(store, version).await, "commitInfo")[0]["weir"].clone()
}

#[tokio::test]
async fn only_these_positions_are_replaced() {
    // Positions; files that are read; rows that go.
    let cases = [
        (12..=14, 1, 3),
        (10..=11, 2, 2),
        (5..=25, 3, 21),
        (31..=40, 0, 0),
        (-5..=0, 0, 0),
        (20..=20, 1, 1),
        (i64::MIN..=i64::MAX, 3, 30),
    ];
    for (positions, read, gone) in cases {
        let store = memory();
        four_files(&store).await;
        let (faulty, table) = process(&store, &definition()).await;
        let new = corrected("blob", 100..=101);
        let request = part(&table, "request", "blob", Some(positions.clone()), &new).await;
        assert_eq!(table.replace_source(request).await.unwrap(), Outcome::Committed { version: 5 });
        let requests = faulty.take_requests();
        assert!(requests.get("get data").copied().unwrap_or(0) <= read, "{positions:?}: {requests:?}");
        let stays = model("blob", 1..=30).into_iter().filter(|row| !positions.contains(&row.1)).collect::<Vec<_>>();
        assert_eq!(stays.len(), 30 - gone);
        let mut expected = [stays, new, model("hub", 11..=20)].concat();
        expected.sort();
        assert_eq!(rows(&table).await, expected, "{positions:?}");
        assert_eq!(books(&table).await.replaced, gone as u64);
        assert_eq!(orphans(&store).await, Vec::<String>::new());
    }
}

/// Sequence numbers stand for the records of events that hold several, too: in whichever form the events came before.
#[tokio::test]
async fn a_range_of_events_has_all_of_their_records() {
    // First to last; files that are read.
    for (events, read) in [(3..=4, 2), (0..=2, 2), (11..=30, 2), (21..=30, 1), (31..=40, 0), (5..=5, 2), (0..=30, 4)] {
        let store = memory();
        let table = open(&store).await;
        let several = |events: RangeInclusive<i64>| -> Vec<Row> {
            let place = |at: i64| (0..3).map(move |index| ("hub".to_owned(), position_of(at, index).unwrap(), None));
            events.flat_map(place).collect()
        };
        let files = [model("hub", 0..=10), several(0..=10), model("hub", 11..=20), several(21..=30)];
        for (version, rows) in files.iter().enumerate() {
            let producer = producer(&format!("file {version}"), 1);
            let staged = table.stage(frame(rows)).await.unwrap();
            table.append(Append { producer, rows: staged, books: counted(rows.len()) }, None).await.unwrap();
        }
        let (faulty, table) = process(&store, &definition()).await;
        let new = several(events.clone());
        let request = part(&table, "request", "hub", Some(events.clone()), &new).await;
        assert_eq!(table.replace_source(request).await.unwrap(), Outcome::Committed { version: 5 });
        let requests = faulty.take_requests();
        assert!(requests.get("get data").copied().unwrap_or(0) <= read, "{events:?}: {requests:?}");
        let stays = files.concat().into_iter().filter(|row| !events.contains(&sequence_of(row.1)));
        let mut expected: Vec<Row> = stays.chain(new).collect();
        expected.sort();
        assert_eq!(rows(&table).await, expected, "{events:?}");
    }
}

#[tokio::test]
async fn an_entry_says_what_was_replaced() {
    let store = memory();
    four_files(&store).await;
    let table = open(&store).await;
    table
        .replace_source(part(&table, "a part", "blob", Some(12..=14), &corrected("blob", 12..=14)).await)
        .await
        .unwrap();
    let books = json!({
        "recordsIn": 3, "committed": 3, "quarantined": 0, "alreadyCommitted": 0, "replaced": 3,
        "bytesIn": 0, "bytesRead": 0, "recordsWithBytes": 0, "leftOut": 0,
    });
    let expected = json!({
        "operation": "replace_source", "books": books, "producers": ["a part"], "source": "blob", "positions": [12, 14],
        "table": table.identity().0,
    });
    assert_eq!(note(&store, 5).await, expected);
    table.replace_source(part(&table, "all", "hub", None, &[]).await).await.unwrap();
    let note = note(&store, 6).await;
    assert_eq!(
        (&note["source"], &note["positions"], &note["books"]["replaced"]),
        (&json!("hub"), &Value::Null, &json!(10))
    );
    // Each key once, or strict readers refuse the whole entry.
    let text = store.get(&commit_path(5)).await.unwrap().bytes().await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let info = text.lines().next().unwrap();
    let weir = &info[info.find("\"weir\"").unwrap()..];
    assert_eq!(weir.matches("\"operation\":").count(), 1, "{weir}");
}

/// The note of an entry speaks of one source: the planner would take the rows of the other for those of a reprocess.
#[tokio::test]
async fn two_replacements_that_wait_together_have_an_entry_each() {
    let store = memory();
    let setup = open(&store).await;
    for source in ["a", "b", "c"] {
        append(&setup, &model(source, 1..=3), None).await.unwrap();
    }
    let (faulty, table) = process(&store, &definition()).await;
    let mut requests = Vec::new();
    for source in ["a", "b", "c"] {
        requests.push(part(&table, &format!("of {source}"), source, Some(2..=3), &corrected(source, 2..=3)).await);
    }
    let gate = faulty.hold_next_write(LOG);
    let run = |request: Replacement| {
        let table = Arc::clone(&table);
        tokio::spawn(async move { table.replace_source(request).await.unwrap() })
    };
    let mut requests = requests.into_iter();
    let mut running = vec![run(requests.next().unwrap())];
    gate.reached().await;
    // An append waits with them.
    running.extend(requests.map(run));
    let appended = {
        let table = Arc::clone(&table);
        tokio::spawn(async move { append(&table, &model("d", 1..=1), None).await.unwrap() })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    gate.release();
    for request in running {
        assert!(matches!(request.await.unwrap(), Outcome::Committed { .. }));
    }
    appended.await.unwrap();
    let mut sources = Vec::new();
    for version in 4..=7 {
        let note = note(&store, version).await;
        assert_eq!(note["producers"].as_array().unwrap().len(), 1, "{note}");
        if let Some(source) = note["source"].as_str() {
            assert_eq!((&note["producers"][0], &note["positions"]), (&json!(format!("of {source}")), &json!([2, 3])));
            sources.push(source.to_owned());
        }
    }
    sources.sort();
    assert_eq!(sources, ["a", "b", "c"]);
    let of = |source| [model(source, 1..=1), corrected(source, 2..=3)].concat();
    assert_eq!(rows(&open(&store).await).await, [of("a"), of("b"), of("c"), model("d", 1..=1)].concat());
}

/// A process that has not looked since: the next request of a producer is no overlap.
#[tokio::test]
async fn a_process_that_is_behind_replaces_what_comes_next() {
    let store = memory();
    four_files(&store).await;
    let (one, other) = (open(&store).await, open(&store).await);
    for (version, table) in [(1, &one), (2, &other), (3, &one)] {
        let request = part(table, "request", "blob", Some(version..=version), &[]).await;
        let request = Replacement { producer: producer("request", version), ..request };
        assert_eq!(table.replace_source(request).await.unwrap(), Outcome::Committed { version: 4 + version });
    }
    assert_eq!(rows(&other).await, [model("blob", 4..=30), model("hub", 11..=20)].concat());
}

/// Where lineage may be null, it is not known that such a row is one of these: it stays.
#[tokio::test]
async fn rows_without_lineage_stay() {
    let store = memory();
    let nullable = |name: &str, data_type| column(name, data_type, true);
    let columns = vec![
        nullable("_source", Type::String),
        nullable("_source_version", Type::String),
        nullable("_source_position", Type::Long),
        nullable("value", Type::String),
    ];
    let table = lake(&store).table(&TableDefinition { columns, ..definition() }).await.unwrap();
    let frame = df!(
        "_source" => [Some("blob"), None, Some("blob"), Some("hub")],
        "_source_version" => ["1"; 4],
        "_source_position" => [Some(1), Some(1), None, None::<i64>],
        "value" => ["goes", "no source", "no position", "neither"],
    );
    let rows = table.stage(frame.unwrap()).await.unwrap();
    table.append(Append { producer: producer("hub", 1), rows, books: counted(4) }, None).await.unwrap();
    let values = || async {
        let mut values = Vec::new();
        for file in table.snapshot().await.unwrap().files {
            let frame = table.read(&file).await.unwrap();
            values.extend(frame.column("value").unwrap().str().unwrap().iter().flatten().map(str::to_owned));
        }
        values
    };
    for (request, positions, expected) in [
        ("a part", Some(1..=1), vec!["no source", "no position", "neither"]),
        ("all", None, vec!["no source", "neither"]),
    ] {
        let rows = table.write().finish().await.unwrap();
        let replacement = Replacement {
            source: "blob".to_owned(),
            positions,
            producer: producer(request, 1),
            rows,
            books: counted(0),
        };
        table.replace_source(replacement).await.unwrap();
        assert_eq!(values().await, expected, "{request}");
    }
}
