//! Upsert: a row takes the place of the row with its key, unless that one is newer.

use std::collections::BTreeSet;
use std::sync::Arc;

use object_store::ObjectStore;
use polars::prelude::*;
use weir_contract::{DataType as Type, NewColumns};
use weir_lake::{Append, Books, ErrorKind, LakeError, Outcome, Table, TableDefinition, Upsert, Upserted};

use super::faulty::{Faulty, names};
use super::{actions, books, column, counted, lake, memory, of_kind, orphans, process, producer};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) region: Option<String>,
    pub(super) position: i64,
    pub(super) at: Option<i64>,
    pub(super) value: String,
}

/// `id` as it was at `position`.
pub(super) fn item(id: &str, position: i64) -> Item {
    Item { id: id.to_owned(), region: Some("eu".to_owned()), position, at: None, value: format!("{id} at {position}") }
}

pub(super) fn keyed() -> TableDefinition {
    TableDefinition {
        name: "orders".to_owned(),
        columns: vec![
            column("_source", Type::String, false),
            column("_source_version", Type::String, false),
            column("_source_position", Type::Long, false),
            column("id", Type::String, true),
            column("region", Type::String, true),
            column("at", Type::Long, true),
            column("value", Type::String, true),
        ],
        partition_by: Vec::new(),
        cluster_by: Vec::new(),
        properties: Vec::new(),
        new_columns: NewColumns::Fail,
        added_columns: None,
        transactions: Vec::new(),
    }
}

fn by_region() -> TableDefinition {
    TableDefinition { partition_by: vec!["region".to_owned()], ..keyed() }
}

pub(super) fn frame(items: &[Item]) -> DataFrame {
    let height = items.len();
    let columns = vec![
        Column::new("_source".into(), vec!["hub"; height]),
        Column::new("_source_version".into(), vec!["1"; height]),
        Column::new("_source_position".into(), items.iter().map(|item| item.position).collect::<Vec<_>>()),
        Column::new("id".into(), items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>()),
        Column::new("region".into(), items.iter().map(|item| item.region.as_deref()).collect::<Vec<_>>()),
        Column::new("at".into(), items.iter().map(|item| item.at).collect::<Vec<_>>()),
        Column::new("value".into(), items.iter().map(|item| item.value.as_str()).collect::<Vec<_>>()),
    ];
    DataFrame::new(height, columns).unwrap()
}

/// Every row of the newest version, sorted; a row that is there twice is listed twice.
pub(super) async fn items(table: &Arc<Table>) -> Vec<Item> {
    let mut items = Vec::new();
    for file in table.snapshot().await.unwrap().files {
        let frame = table.read(&file).await.unwrap();
        let text = |name: &str, row: usize| frame.column(name).unwrap().str().unwrap().get(row).map(str::to_owned);
        let long = |name: &str, row: usize| frame.column(name).unwrap().i64().unwrap().get(row);
        items.extend((0..frame.height()).map(|row| Item {
            id: text("id", row).unwrap(),
            region: text("region", row),
            position: long("_source_position", row).unwrap(),
            at: long("at", row),
            value: text("value", row).unwrap(),
        }));
    }
    items.sort();
    items
}

/// What a producer of its own puts in by `id`.
pub(super) fn upsert(request: &str, items: &[Item]) -> Upsert {
    Upsert {
        producer: producer(request, 1),
        after: None,
        frame: frame(items),
        keys: vec!["id".to_owned()],
        order_by: None,
        books: counted(items.len()),
    }
}

fn keys(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Rows that are simply added, in a file of their own.
pub(super) async fn add(table: &Arc<Table>, request: &str, items: &[Item]) {
    let rows = table.stage(frame(items)).await.unwrap();
    let append = Append { producer: producer(request, 1), rows, books: counted(items.len()) };
    assert!(matches!(table.append(append, None).await.unwrap(), Outcome::Committed { .. }));
}

/// What was counted as written is there or was replaced, and nothing is in the store that no commit names.
pub(super) async fn balance(store: &Arc<dyn ObjectStore>, table: &Arc<Table>) -> Books {
    let books = books(table).await;
    assert!(books.balanced(), "{books:?}");
    let rows = table.snapshot().await.unwrap().statistics().rows;
    assert_eq!(rows + books.replaced, books.committed, "{rows} rows and {books:?}");
    assert_eq!(orphans(store).await, Vec::<String>::new());
    books
}

fn counts(upserted: Upserted) -> (u64, u64, u64, usize) {
    assert!(matches!(upserted.outcome, Outcome::Committed { .. }), "{upserted:?}");
    (upserted.written, upserted.replaced, upserted.overtaken, upserted.files)
}

#[tokio::test]
async fn the_newest_row_of_a_key_stays() {
    let store = memory();
    let table = lake(&store).table(&keyed()).await.unwrap();
    let first = table.upsert(upsert("1", &[item("a", 10), item("b", 10), item("c", 10)])).await.unwrap();
    assert_eq!(first.outcome, Outcome::Committed { version: 1 });
    assert_eq!(counts(first), (3, 0, 0, 0));
    // Older, as old, newer, new.
    let as_old = Item { value: "came later".to_owned(), ..item("b", 10) };
    let second = table.upsert(upsert("2", &[item("a", 9), as_old.clone(), item("c", 11), item("d", 1)])).await.unwrap();
    assert_eq!(counts(second), (3, 2, 1, 1));
    assert_eq!(items(&table).await, [item("a", 10), as_old, item("c", 11), item("d", 1)]);
    let expected = Books { records_in: 7, committed: 6, already_committed: 1, replaced: 2, ..Books::default() };
    assert_eq!(balance(&store, &table).await, expected);

    // The row that stays did not change, the others did.
    let actions = actions(&store, 2).await;
    let info = of_kind(&actions, "commitInfo")[0];
    assert_eq!(info["operation"], "MERGE");
    assert_eq!((&info["weir"]["operation"], &info["weir"]["keys"][0]), (&"upsert".into(), &"id".into()));
    let mut changes: Vec<_> = of_kind(&actions, "add").iter().map(|add| add["dataChange"].as_bool().unwrap()).collect();
    changes.sort_unstable();
    assert_eq!(changes, [false, true]);
    assert_eq!(of_kind(&actions, "remove")[0]["dataChange"], true);
}

#[tokio::test]
async fn everything_may_be_overtaken() {
    let store = memory();
    let table = lake(&store).table(&keyed()).await.unwrap();
    table.upsert(upsert("1", &[item("a", 10)])).await.unwrap();
    let late = table.upsert(upsert("2", &[item("a", 8), item("a", 9)])).await.unwrap();
    assert_eq!(counts(late), (0, 0, 2, 0));
    let empty = table.upsert(upsert("3", &[])).await.unwrap();
    assert_eq!(counts(empty), (0, 0, 0, 0));
    assert_eq!(items(&table).await, [item("a", 10)]);
    assert_eq!(balance(&store, &table).await.already_committed, 2);
    assert_eq!(
        table.upsert(upsert("3", &[])).await.unwrap().outcome,
        Outcome::AlreadyCommitted { producer_version: 1 }
    );
}

#[tokio::test]
async fn of_one_frames_rows_with_one_key_the_newest_is_written() {
    let store = memory();
    let table = lake(&store).table(&keyed()).await.unwrap();
    let last = Item { value: "the later of two".to_owned(), ..item("b", 2) };
    let rows = [item("a", 3), item("a", 1), item("b", 2), item("a", 2), last.clone()];
    assert_eq!(counts(table.upsert(upsert("1", &rows)).await.unwrap()), (2, 0, 3, 0));
    assert_eq!(items(&table).await, [item("a", 3), last.clone()]);
    // One of them newer than the table's, one older.
    assert_eq!(counts(table.upsert(upsert("2", &[item("a", 4), item("a", 2)])).await.unwrap()), (1, 1, 1, 1));
    assert_eq!(items(&table).await, [item("a", 4), last]);
    balance(&store, &table).await;
}

/// Appended twice, put in once: the newest of all stays, alone.
#[tokio::test]
async fn a_key_that_the_table_has_more_than_once_is_there_once_afterwards() {
    for (position, expected) in [(9, item("a", 9)), (3, item("a", 5))] {
        let store = memory();
        let table = lake(&store).table(&keyed()).await.unwrap();
        add(&table, "1", &[item("a", 1), item("a", 2), item("b", 1)]).await;
        add(&table, "2", &[item("a", 5)]).await;
        table.upsert(upsert("3", &[item("a", position)])).await.unwrap();
        assert_eq!(items(&table).await, [expected, item("b", 1)]);
        balance(&store, &table).await;
    }
}

#[tokio::test]
async fn rows_are_ordered_by_another_column_and_null_is_less_than_everything() {
    let store = memory();
    let table = lake(&store).table(&keyed()).await.unwrap();
    let at = |id: &str, position: i64, at: Option<i64>| Item { at, ..item(id, position) };
    let put = |request: &str, rows: &[Item]| Upsert { order_by: Some("at".to_owned()), ..upsert(request, rows) };
    table
        .upsert(put("1", &[at("a", 9, None), at("b", 9, Some(-5)), at("c", 9, None), at("d", 9, Some(7))]))
        .await
        .unwrap();
    // Over null; null over a value; null over null; a smaller value. Positions say nothing here.
    let rows = [at("a", 1, Some(i64::MIN)), at("b", 10, None), at("c", 1, None), at("d", 10, Some(6))];
    assert_eq!(counts(table.upsert(put("2", &rows)).await.unwrap()), (2, 2, 2, 1));
    let expected = [at("a", 1, Some(i64::MIN)), at("b", 9, Some(-5)), at("c", 1, None), at("d", 9, Some(7))];
    assert_eq!(items(&table).await, expected);
    // In one frame, too, whatever comes last.
    let rows = [at("e", 1, Some(3)), at("e", 2, None), at("f", 1, None), at("f", 2, Some(-1))];
    table.upsert(put("3", &rows)).await.unwrap();
    assert_eq!(items(&table).await[4..], [at("e", 1, Some(3)), at("f", 2, Some(-1))]);
    balance(&store, &table).await;
}

#[tokio::test]
async fn a_key_may_be_several_columns() {
    let store = memory();
    let table = lake(&store).table(&keyed()).await.unwrap();
    let of = |id: &str, region: &str, position: i64| Item { region: Some(region.to_owned()), ..item(id, position) };
    let put = |request: &str, rows: &[Item]| Upsert { keys: keys(&["region", "id"]), ..upsert(request, rows) };
    table.upsert(put("1", &[of("a", "eu", 1), of("a", "us", 1), of("b", "eu", 1)])).await.unwrap();
    let second = table.upsert(put("2", &[of("a", "us", 2), of("b", "us", 2)])).await.unwrap();
    assert_eq!(counts(second), (2, 1, 0, 1));
    assert_eq!(items(&table).await, [of("a", "eu", 1), of("a", "us", 2), of("b", "eu", 1), of("b", "us", 2)]);
    balance(&store, &table).await;
}

#[tokio::test]
async fn the_partition_column_may_be_part_of_the_key() {
    let store = memory();
    let (faulty, table) = process(&store, &by_region()).await;
    let of =
        |id: &str, region: Option<&str>, position| Item { region: region.map(str::to_owned), ..item(id, position) };
    let put = |request: &str, rows: &[Item]| Upsert { keys: keys(&["id", "region"]), ..upsert(request, rows) };
    table.upsert(put("1", &[of("a", Some("eu"), 1), of("a", Some("us"), 1), of("b", Some("us"), 1)])).await.unwrap();
    faulty.take_requests();
    let second = table.upsert(put("2", &[of("a", Some("us"), 2)])).await.unwrap();
    assert_eq!(counts(second), (1, 1, 0, 1));
    assert_eq!(faulty.take_requests()["get data"], 1, "the other partition is not read");
    assert_eq!(items(&table).await, [of("a", Some("eu"), 1), of("a", Some("us"), 2), of("b", Some("us"), 1)]);
    let error = table.upsert(put("3", &[of("a", None, 3)])).await.unwrap_err();
    assert!(matches!(error, LakeError::Schema { .. }) && error.to_string().contains("`region`"), "{error}");
    balance(&store, &table).await;
}

#[tokio::test]
async fn a_row_moves_to_another_partition() {
    let store = memory();
    let table = lake(&store).table(&by_region()).await.unwrap();
    let of =
        |id: &str, region: Option<&str>, position| Item { region: region.map(str::to_owned), ..item(id, position) };
    table.upsert(upsert("1", &[of("a", Some("eu"), 1), of("b", Some("eu"), 1), of("c", Some("us"), 1)])).await.unwrap();
    let second = table.upsert(upsert("2", &[of("a", Some("us"), 2), of("b", None, 2)])).await.unwrap();
    assert_eq!(counts(second), (2, 2, 0, 1));
    assert_eq!(items(&table).await, [of("a", Some("us"), 2), of("b", None, 2), of("c", Some("us"), 1)]);
    // And an older row that would take it elsewhere does not.
    let third = table.upsert(upsert("3", &[of("a", Some("eu"), 1), of("b", Some("br"), 3)])).await.unwrap();
    assert_eq!(counts(third), (1, 1, 1, 1));
    assert_eq!(items(&table).await, [of("a", Some("us"), 2), of("b", Some("br"), 3), of("c", Some("us"), 1)]);
    balance(&store, &table).await;
}

/// Three files of three keys each.
async fn three_files(store: &Arc<dyn ObjectStore>) -> (Arc<Faulty>, Arc<Table>) {
    let (faulty, table) = process(store, &keyed()).await;
    for letter in ["a", "b", "c"] {
        add(&table, letter, &[1, 3, 5].map(|number| item(&format!("{letter}{number}"), 1))).await;
    }
    faulty.take_requests();
    (faulty, table)
}

#[tokio::test]
async fn only_files_that_can_have_a_key_are_read_and_only_those_that_have_it_are_written_anew() {
    let store = memory();
    let (faulty, table) = three_files(&store).await;
    let paths = || async {
        let files = table.snapshot().await.unwrap().files;
        files.into_iter().map(|file| file.log_path).collect::<BTreeSet<_>>()
    };
    // Keys; files read; rows replaced; files that go.
    let cases: [(&[&str], usize, u64, usize); 5] = [
        (&["b3"], 1, 1, 1),
        // Between two keys of a file, so it is read; it has it not, so it stays.
        (&["c2"], 1, 0, 0),
        (&["d", "e"], 0, 0, 0),
        (&["a1", "a5"], 1, 2, 1),
        // The file of the last case could have the first.
        (&["a3", "c3", "z"], 3, 2, 2),
    ];
    for (index, (ids, read, replaced, files)) in cases.into_iter().enumerate() {
        let before = paths().await;
        faulty.take_requests();
        let rows: Vec<_> = ids.iter().map(|id| item(id, index as i64 + 2)).collect();
        let upserted = table.upsert(upsert(&format!("case {index}"), &rows)).await.unwrap();
        let requests = faulty.take_requests();
        assert_eq!(requests.get("get data").copied().unwrap_or(0), read, "{ids:?}");
        assert_eq!((upserted.replaced, upserted.files), (replaced, files), "{ids:?}");
        assert_eq!(before.difference(&paths().await).count(), files, "{ids:?}");
    }
    balance(&store, &table).await;
}

#[tokio::test]
async fn a_second_delivery_changes_nothing() {
    let store = memory();
    let (_, table) = three_files(&store).await;
    let put = |version: i64, after: Option<i64>, position: i64| Upsert {
        producer: producer("hub/0", version),
        after,
        ..upsert("", &[item("a1", position)])
    };
    assert!(matches!(table.upsert(put(5, None, 5)).await.unwrap().outcome, Outcome::Committed { version: 4 }));
    let before = (names(&store, "lake/orders").await, items(&table).await, books(&table).await);
    // In this process and in one that has just started.
    for table in [Arc::clone(&table), lake(&store).table(&keyed()).await.unwrap()] {
        for (version, after, expected) in [
            (5, None, Outcome::AlreadyCommitted { producer_version: 5 }),
            (3, None, Outcome::AlreadyCommitted { producer_version: 5 }),
            (9, None, Outcome::Overlaps { producer_version: 5 }),
            (9, Some(4), Outcome::Overlaps { producer_version: 5 }),
        ] {
            let again = table.upsert(put(version, after, 9)).await.unwrap();
            assert_eq!(again, Upserted { outcome: expected, written: 0, replaced: 0, overtaken: 0, files: 0 });
        }
    }
    assert_eq!((names(&store, "lake/orders").await, items(&table).await, books(&table).await), before);
    assert!(matches!(table.upsert(put(9, Some(5), 9)).await.unwrap().outcome, Outcome::Committed { version: 5 }));
    assert_eq!(items(&table).await[0], item("a1", 9));
}

#[tokio::test]
async fn what_cannot_be_a_key_is_refused_by_name_and_without_its_value() {
    let store = memory();
    let (_, table) = three_files(&store).await;
    let before = names(&store, "lake/orders").await;
    let mut with_null = frame(&[item("secret", 1), item("secret", 2)]);
    with_null.with_column(Column::new("id".into(), [Some("secret"), None])).unwrap();
    let good = || upsert("request", &[item("secret", 1)]);
    let mut narrow = good().frame;
    narrow.drop_in_place("at").unwrap();
    let cases = [
        ("`id`", Upsert { frame: with_null, ..good() }),
        ("`nothing`", Upsert { keys: keys(&["id", "nothing"]), ..good() }),
        ("`nowhere`", Upsert { order_by: Some("nowhere".to_owned()), ..good() }),
        ("`at`", Upsert { frame: narrow, ..good() }),
        ("no column", Upsert { keys: Vec::new(), ..good() }),
    ];
    for (name, upsert) in cases {
        let error = table.upsert(upsert).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(matches!(error, LakeError::Schema { .. }), "{name}: {error:?}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(text.contains(name) && !text.contains("secret"), "{name}: {text}");
    }
    assert_eq!(names(&store, "lake/orders").await, before, "nothing was written");
    assert_eq!(table.committed("request"), None);
}
