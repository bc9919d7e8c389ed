//! Deletion by key: every row goes, whatever its file's statistics and whenever it came, and its value with it.

use std::sync::Arc;

use object_store::{ObjectStore, ObjectStoreExt};
use polars::prelude::*;
use weir_lake::{
    Append, Books, CompactOptions, Deleted, Deletion, ErrorKind, LakeError, Outcome, Table, TableDefinition,
};

use super::faulty::{Fault, names};
use super::statistics::{self, Record};
use super::{
    LOG, actions, append, books, column, commit_path, counted, definition, frame, lake, memory, model, of_kind, open,
    orphans, process, producer, rows,
};

/// What the other columns of this file do not show.
const SECRET: &str = "anna@example.org";

fn deletion(request: &str, keys: DataFrame) -> Deletion {
    Deletion { producer: producer(request, 1), keys }
}

fn by(name: &str, values: &[&str]) -> DataFrame {
    DataFrame::new(values.len(), vec![Column::new(name.into(), values)]).unwrap()
}

fn record(number: i64) -> Record {
    Record {
        text: Some(format!("text {number}")),
        long: Some(number),
        double: Some(number as f64 / 10.0),
        flag: Some(number % 2 == 0),
        day: Some(number as i32 * 1000),
        at: Some(number * 1_000_000_007),
        small: Some(number * 11),
        large: Some(i128::from(number) * 10_i128.pow(30)),
    }
}

/// One file for each of these records.
async fn filed(store: &Arc<dyn ObjectStore>, definition: &TableDefinition, records: &[Record]) -> Arc<Table> {
    let table = lake(store).table(definition).await.unwrap();
    for (index, record) in records.iter().enumerate() {
        let rows = table.stage(statistics::frame(std::slice::from_ref(record))).await.unwrap();
        let append = Append { producer: producer(&format!("append {index}"), 1), rows, books: counted(1) };
        table.append(append, None).await.unwrap();
    }
    table
}

/// The `long` of every row, sorted.
async fn longs(table: &Arc<Table>) -> Vec<i64> {
    let mut longs = Vec::new();
    for file in table.snapshot().await.unwrap().files {
        longs.extend(table.read(&file).await.unwrap().column("long").unwrap().i64().unwrap().iter().flatten());
    }
    longs.sort_unstable();
    longs
}

const COLUMNS: [&str; 11] = ["text", "long", "byte", "double", "float", "flag", "day", "at", "small", "large", "bytes"];

#[tokio::test]
async fn rows_are_found_by_columns_of_every_type() {
    for merged in [false, true] {
        for name in COLUMNS {
            let store = memory();
            let table = filed(&store, &statistics::definition(), &[1, 2, 3].map(record)).await;
            if merged {
                table.compact(CompactOptions::default(), None).await.unwrap();
            }
            let keys = statistics::frame(&[record(2)]).select([name]).unwrap();
            let deleted = table.delete_where(deletion("request", keys)).await.unwrap();
            assert_eq!((deleted.rows, deleted.files), (1, 1), "{name}");
            assert_eq!(longs(&table).await, [1, 3], "{name}, merged: {merged}");
        }
    }
}

#[tokio::test]
async fn several_columns_are_one_key() {
    for names in [["text", "long"], ["flag", "day"], ["at", "small"], ["double", "large"], ["bytes", "float"]] {
        let store = memory();
        let table = filed(&store, &statistics::definition(), &[1, 2, 3, 4, 5].map(record)).await;
        table.compact(CompactOptions::default(), None).await.unwrap();
        // Two that are there, and one that is made of two that are there.
        let keys = statistics::frame(&[record(2), record(5), record(4)]);
        let mut keys = keys.select(names).unwrap();
        let crossed = statistics::frame(&[record(2), record(5), record(3)]).column(names[1]).unwrap().clone();
        keys.with_column(crossed).unwrap();
        let deleted = table.delete_where(deletion("request", keys)).await.unwrap();
        assert_eq!((deleted.rows, longs(&table).await), (2, vec![1, 3, 4]), "{names:?}");
    }
}

#[tokio::test]
async fn a_partition_column_is_a_key_like_any_other() {
    // Dates, numbers and texts are told apart by their partition values, the others by their rows.
    for (name, exact) in [
        ("text", true),
        ("long", true),
        ("day", true),
        ("at", false),
        ("double", false),
        ("flag", false),
        ("small", false),
    ] {
        let store = memory();
        let definition = TableDefinition {
            name: "orders".to_owned(),
            partition_by: vec![name.to_owned()],
            ..statistics::definition()
        };
        let empty = Record { text: None, double: None, flag: None, day: None, at: None, small: None, ..record(9) };
        let records = [record(1), record(2), record(3), empty];
        filed(&store, &definition, &records).await;
        let (faulty, table) = process(&store, &definition).await;
        let keys = statistics::frame(&[record(2)]).select([name]).unwrap();
        let deleted = table.delete_where(deletion("request", keys)).await.unwrap();
        assert_eq!((deleted.rows, deleted.files), (1, 1), "{name}");
        let read = faulty.take_requests()["get data"];
        assert!(if exact { read == 1 } else { read <= 4 }, "{name}: {read}");
        assert_eq!(longs(&table).await, [1, 3, 9], "{name}");
        // With another column beside it.
        let keys = statistics::frame(&[record(3), record(1)]).select(["large", name]).unwrap();
        assert_eq!(table.delete_where(deletion("more", keys)).await.unwrap().rows, 2, "{name}");
        assert_eq!(longs(&table).await, [9], "{name}");
    }
}

#[tokio::test]
async fn a_value_that_is_nowhere_reads_no_data() {
    let store = memory();
    let (faulty, table) = process(&store, &definition()).await;
    append(&table, &model("a", 1..=3), None).await.unwrap();
    append(&table, &model("b", 1..=3), None).await.unwrap();
    faulty.take_requests();
    let deleted = table.delete_where(deletion("request", by("value", &["c:1", "0", "a:4"]))).await.unwrap();
    assert_eq!(deleted, Deleted { outcome: Outcome::Committed { version: 3 }, rows: 0, files: 0 });
    let requests = faulty.take_requests();
    assert!(!requests.contains_key("get data") && !requests.contains_key("put data"), "{requests:?}");
    // In range and not there: read, and left as it is.
    let deleted = table.delete_where(deletion("another", by("value", &["b:11"]))).await.unwrap();
    assert_eq!((deleted.rows, deleted.files), (0, 0));
    let requests = faulty.take_requests();
    assert_eq!((requests.get("get data"), requests.get("put data")), (Some(&1), None));
    assert_eq!(rows(&table).await, [model("a", 1..=3), model("b", 1..=3)].concat());
    assert_eq!(books(&table).await.replaced, 0);
}

#[tokio::test]
async fn a_request_deletes_once() {
    let store = memory();
    let table = open(&store).await;
    append(&table, &model("a", 1..=4), None).await.unwrap();
    let keys = by("value", &["a:2", "a:3", "a:2"]);
    let deleted = table.delete_where(deletion("request", keys.clone())).await.unwrap();
    assert_eq!(deleted, Deleted { outcome: Outcome::Committed { version: 2 }, rows: 2, files: 1 });
    // The row comes again, and the same request, too: it was done.
    append(&table, &[("b".to_owned(), 1, Some("a:2".to_owned()))], None).await.unwrap();
    for table in [Arc::clone(&table), open(&store).await] {
        let again = table.delete_where(deletion("request", keys.clone())).await.unwrap();
        let done = Outcome::AlreadyCommitted { producer_version: 1 };
        assert_eq!(again, Deleted { outcome: done, rows: 0, files: 0 });
    }
    assert_eq!(table.delete_where(deletion("another", keys)).await.unwrap().rows, 1);
    assert_eq!(rows(&table).await, [model("a", 1..=1), model("a", 4..=4)].concat());
    let expected = Books { records_in: 5, committed: 5, replaced: 3, ..Books::default() };
    assert_eq!(books(&table).await, expected);
    assert_eq!(orphans(&store).await, Vec::<String>::new());
}

/// The requests of one producer may come to different processes, of which one has not looked since.
#[tokio::test]
async fn a_process_that_is_behind_deletes_what_comes_next() {
    let store = memory();
    let (one, other) = (open(&store).await, open(&store).await);
    append(&one, &model("a", 1..=4), None).await.unwrap();
    let request = |version: i64| Deletion {
        producer: producer("request", version),
        keys: by("value", &[&format!("a:{version}")]),
    };
    one.delete_where(request(1)).await.unwrap();
    other.delete_where(request(2)).await.unwrap();
    assert_eq!(one.delete_where(request(3)).await.unwrap().outcome, Outcome::Committed { version: 4 });
    assert_eq!(rows(&other).await, model("a", 4..=4));
}

/// Rows that come between the plan and the commit. Without the check of what came in unseen they would stay.
#[tokio::test]
async fn rows_that_come_in_meanwhile_go_too() {
    for existing in [false, true] {
        let store = memory();
        let (faulty, ours) = process(&store, &definition()).await;
        let theirs = open(&store).await;
        if existing {
            append(&theirs, &model("a", 1..=2), None).await.unwrap();
        }
        let gate = faulty.hold_next_write(LOG);
        let request = deletion("request", by("value", &["a:2"]));
        let racing = tokio::spawn(async move { ours.delete_where(request).await });
        gate.reached().await;
        let late = [("b".to_owned(), 1, Some("a:2".to_owned())), ("b".to_owned(), 2, Some("b:2".to_owned()))];
        append(&theirs, &late, None).await.unwrap();
        gate.release();
        assert_eq!(racing.await.unwrap().unwrap().rows, 1 + u64::from(existing));
        let rest = if existing { model("a", 1..=1) } else { Vec::new() };
        assert_eq!(rows(&theirs).await, [rest, model("b", 2..=2)].concat());
        assert_eq!(orphans(&store).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_deletion_and_a_compaction_race() {
    let store = memory();
    let (faulty, ours) = process(&store, &definition()).await;
    let theirs = open(&store).await;
    append(&theirs, &model("a", 1..=2), None).await.unwrap();
    append(&theirs, &model("a", 3..=4), Some(2)).await.unwrap();
    let gate = faulty.hold_next_write(LOG);
    let request = deletion("request", by("value", &["a:2"]));
    let racing = tokio::spawn(async move { ours.delete_where(request).await });
    gate.reached().await;
    theirs.compact(CompactOptions::default(), None).await.unwrap();
    gate.release();
    assert_eq!(racing.await.unwrap().unwrap().rows, 1);
    assert_eq!(rows(&theirs).await, [model("a", 1..=1), model("a", 3..=4)].concat());
    assert_eq!(orphans(&store).await, Vec::<String>::new());
}

/// A deletion's own commit says nothing of what it deleted; the statistics of what is left do not either.
#[tokio::test]
async fn a_deleted_value_is_not_in_the_log_any_more() {
    let store = memory();
    let (faulty, table) = process(&store, &definition()).await;
    let of = |position: i64, value: &str| ("hub/0".to_owned(), position, Some(value.to_owned()));
    append(&table, &[of(1, SECRET), of(2, "mmm"), of(3, "zoe@example.org"), of(4, "nnn")], None).await.unwrap();
    append(&table, &[of(5, SECRET)], Some(4)).await.unwrap();
    let text = |version| {
        let store = Arc::clone(&store);
        async move {
            let bytes = store.get(&commit_path(version)).await.unwrap().bytes().await.unwrap();
            String::from_utf8(bytes.to_vec()).unwrap()
        }
    };
    assert!(text(1).await.contains(SECRET), "as a bound");
    // A conflict on the way, so that there is a message of it, too.
    faulty.next_write(LOG, Fault::Before);
    table.delete_where(deletion("request", by("value", &[SECRET, "zoe@example.org"]))).await.unwrap();
    let commit = text(3).await;
    assert!(!commit.contains("example.org"), "{commit}");
    let actions = actions(&store, 3).await;
    let [add] = &of_kind(&actions, "add")[..] else { panic!("not one file: {commit}") };
    let stats: serde_json::Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
    assert_eq!((&stats["minValues"]["value"], &stats["maxValues"]["value"]), (&"mmm".into(), &"nnn".into()));
    assert_eq!(add["dataChange"], false);
    assert!(of_kind(&actions, "remove").iter().all(|remove| remove["dataChange"] == true));
    let info = of_kind(&actions, "commitInfo")[0];
    assert_eq!((&info["operation"], &info["weir"]["operation"]), (&"DELETE".into(), &"delete_where".into()));
    assert_eq!(info["weir"]["columns"], serde_json::json!(["value"]));
    assert_eq!(rows(&table).await, [of(2, "mmm"), of(4, "nnn")]);
}

#[tokio::test]
async fn what_cannot_be_a_key_is_refused_by_name_and_without_its_value() {
    let store = memory();
    let table = filed(&store, &statistics::definition(), &[record(1)]).await;
    let before = names(&store, "lake").await;
    let with_null = Column::new("text".into(), [Some(SECRET), None]);
    let cases = [
        ("`nothing`", by("nothing", &[SECRET])),
        ("`long`", by("long", &[SECRET])),
        ("`day`", by("day", &[SECRET])),
        ("`flag`", by("flag", &[SECRET])),
        ("`text`", DataFrame::new(2, vec![with_null]).unwrap()),
        ("`byte`", df!("byte" => [1_234_567_890_123_i64]).unwrap()),
        ("`float`", df!("float" => [1_234_567_890_123_f64]).unwrap()),
        ("no column", DataFrame::empty()),
    ];
    for (name, keys) in cases {
        let error = table.delete_where(deletion("request", keys)).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(matches!(error, LakeError::Schema { .. }), "{name}: {error:?}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(text.contains(name), "{name}: {text}");
        assert!(!text.contains(SECRET) && !text.contains("1234567890123"), "{text}");
    }
    assert_eq!(names(&store, "lake").await, before, "nothing was written");
    // Narrower is as good.
    assert_eq!(table.delete_where(deletion("request", df!("long" => [1_i32]).unwrap())).await.unwrap().rows, 1);
}

/// Errors of the store and of lost races speak of files.
#[tokio::test]
async fn no_message_has_the_value() {
    let store = memory();
    let (faulty, ours) = process(&store, &definition()).await;
    let theirs = open(&store).await;
    let of = |position: i64, value: &str| ("hub/0".to_owned(), position, Some(value.to_owned()));
    append(&theirs, &[of(1, SECRET), of(2, "mmm")], None).await.unwrap();
    let request = || deletion("request", by("value", &[SECRET]));
    let mut errors = Vec::new();
    faulty.next_write(LOG, Fault::Denied);
    errors.push(ours.delete_where(request()).await.unwrap_err());
    faulty.next_write("part-", Fault::Denied);
    errors.push(ours.delete_where(request()).await.unwrap_err());
    let gates: Vec<_> = (0..8).map(|_| faulty.hold_next_write(LOG)).collect();
    let racing = tokio::spawn(async move { ours.delete_where(request()).await });
    for (round, gate) in gates.into_iter().enumerate() {
        gate.reached().await;
        let position = 3 + round as i64;
        append(&theirs, &[of(position, SECRET)], Some(2.max(position - 1))).await.unwrap();
        gate.release();
    }
    let conflict = racing.await.unwrap().unwrap_err();
    assert!(matches!(conflict, LakeError::RewriteConflict { .. }), "{conflict}");
    errors.push(conflict);
    for error in errors {
        let text = format!("{error} {error:?}");
        assert!(!text.contains(SECRET), "{text}");
    }
    assert_eq!(rows(&theirs).await.len(), 10, "a deletion that never won changed nothing");
    assert_eq!(theirs.committed("request"), None);
}

/// Rows that a selection says nothing about, because they have no value, stay.
#[tokio::test]
async fn rows_without_a_value_stay() {
    let store = memory();
    let table = open(&store).await;
    let of = |position: i64, value: Option<&str>| ("hub/0".to_owned(), position, value.map(str::to_owned));
    let all = [of(1, None), of(2, Some("x")), of(3, Some("")), of(4, None)];
    append(&table, &all, None).await.unwrap();
    assert_eq!(table.delete_where(deletion("1", by("value", &["x"]))).await.unwrap().rows, 1);
    assert_eq!(rows(&table).await, [of(1, None), of(3, Some("")), of(4, None)]);
    assert_eq!(table.delete_where(deletion("2", by("value", &[""]))).await.unwrap().rows, 1);
    assert_eq!(rows(&table).await, [of(1, None), of(4, None)]);
}

/// A column that came later: older files have it not, so they have no such value.
#[tokio::test]
async fn a_file_that_is_older_than_the_column_has_no_such_row() {
    let store = memory();
    append(&open(&store).await, &model("a", 1..=2), None).await.unwrap();
    let mut wider = definition();
    wider.new_columns = weir_contract::NewColumns::Add;
    let table = lake(&store).table(&wider).await.unwrap();
    let mut new = frame(&model("b", 1..=2));
    new.with_column(Column::new("extra".into(), ["one", "two"])).unwrap();
    let staged = table.stage(new).await.unwrap();
    table.append(Append { producer: producer("b", 2), rows: staged, books: counted(2) }, None).await.unwrap();
    wider.columns.push(column("extra", weir_contract::DataType::String, true));
    let table = lake(&store).table(&wider).await.unwrap();
    assert_eq!(table.delete_where(deletion("1", by("extra", &["two"]))).await.unwrap().rows, 1);
    assert_eq!(rows(&table).await, [model("a", 1..=2), model("b", 1..=1)].concat());
    assert_eq!(table.delete_where(deletion("2", by("value", &["a:1"]))).await.unwrap().rows, 1);
    assert_eq!(rows(&table).await, [model("a", 2..=2), model("b", 1..=1)].concat());
}
