//! Columns that a table does not get: rescued, refused, spelt in other letters; and those that the contract left.

use std::sync::Arc;

use object_store::ObjectStore;
use polars::prelude::{Column, DataType as PolarsType, IntoColumn, NamedFrom, Series, TimeUnit, TimeZone};
use serde_json::{Value, json};
use weir_contract::{DataType as Type, NewColumns};
use weir_lake::{CompactOptions, ErrorKind, LakeError, Outcome, Table, TableDefinition};

use super::evolution::{append_three, dump, dumped, growing, metadata, null, process, wide, wider, with, write};
use super::{column, definition, frame, lake, memory, model};

/// A table that keeps what it has no column for.
fn rescuing() -> TableDefinition {
    let mut definition = definition();
    definition.columns.push(column("_rescued", Type::String, true));
    TableDefinition { new_columns: NewColumns::Rescue, ..definition }
}

/// `_rescued` of a source's rows, in order.
async fn rescued(table: &Arc<Table>, source: &str) -> Vec<Option<String>> {
    let mut found = Vec::new();
    for file in table.snapshot().await.unwrap().files {
        let frame = table.read(&file).await.unwrap();
        let (sources, positions) = (frame.column("_source").unwrap(), frame.column("_source_position").unwrap());
        let texts = frame.column("_rescued").unwrap();
        for row in 0..frame.height() {
            if sources.str().unwrap().get(row) == Some(source) {
                let text = texts.str().unwrap().get(row).map(str::to_owned);
                found.push((positions.i64().unwrap().get(row), text));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(_, text)| text).collect()
}

#[tokio::test]
async fn values_of_columns_that_the_table_lacks_join_what_was_rescued() {
    let store = memory();
    // The contract has the column, too, and its name comes first in the frame.
    let mut next = rescuing();
    next.columns.insert(0, column("price", Type::Double, true));
    process(&store, &rescuing()).await;
    let table = process(&store, &next).await;
    let rows = model("hub/0", 1..=5);
    let before = [
        None,
        Some("{\"a\":1.10,\"b\":123456789012345678901234567890}"),
        Some("{}"),
        Some("{ \"c\": {} }"),
        Some("torn"),
    ];
    let mut full = wider(&rows, Series::new("_rescued".into(), before));
    full.with_column(Series::new("price".into(), [Some(1.5), Some(2.0), None, Some(f64::NAN), Some(0.1)]).into())
        .unwrap();
    full.with_column(Series::new("we \"say\"".into(), [Some("x\"y"), None, None, Some("\u{e9}"), None]).into())
        .unwrap();
    assert!(matches!(write(&table, "hub/0", 5, full).await.unwrap(), Outcome::Committed { .. }));
    let expected = [
        Some("{\"price\":1.5,\"we \\\"say\\\"\":\"x\\\"y\"}"),
        Some("{\"a\":1.10,\"b\":123456789012345678901234567890,\"price\":2.0}"),
        None,
        Some("{\"c\": {},\"price\":\"NaN\",\"we \\\"say\\\"\":\"\u{e9}\"}"),
        Some("{\"_rescued\":\"torn\",\"price\":0.1}"),
    ];
    let found = rescued(&table, "hub/0").await;
    assert_eq!(found, expected.map(|text| text.map(str::to_owned)));
    for text in found.into_iter().flatten() {
        serde_json::from_str::<Value>(&text).unwrap();
    }
    assert_eq!(metadata(&store).await.len(), 1, "the table stays as it is");
    assert!(dump(&table, &[]).await.len() == 5);
    // A frame without `_rescued` will do; without a column of the contract it will not.
    let mut short = wide(&model("hub/0", 6..=6), "price", |_| 6.0);
    let error = write(&table, "hub/0", 6, short.clone()).await.unwrap_err();
    assert_eq!(error.to_string(), "table `orders`: a frame without column `_rescued`");
    short.with_column(Column::full_null("_rescued".into(), 1, &PolarsType::String).into_column()).unwrap();
    write(&table, "hub/0", 6, short).await.unwrap();
    assert_eq!(rescued(&table, "hub/0").await[5].as_deref(), Some("{\"price\":6.0}"));
}

/// What JSON has no type for is kept as the text that a contract reads again.
#[tokio::test]
async fn rescued_values_keep_what_they_were() {
    let timestamp = PolarsType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC));
    let cases = [
        (Series::new("x".into(), [i64::MIN]), json!(i64::MIN)),
        (Series::new("x".into(), [-7_i8]), json!(-7)),
        (Series::new("x".into(), [true]), json!(true)),
        (Series::new("x".into(), [0.1_f32]), json!(f64::from(0.1_f32))),
        (Series::new("x".into(), [f64::NEG_INFINITY]), json!("-inf")),
        (Series::new("x".into(), [1e300]), json!(1e300)),
        (Series::new("x".into(), [&b"\xff\x00a"[..]]), json!("/wBh")),
        (Series::new("x".into(), [20_458_i32]).cast(&PolarsType::Date).unwrap(), json!("2026-01-05")),
        (
            Series::new("x".into(), [1_767_607_200_123_456_i64]).cast(&timestamp).unwrap(),
            json!("2026-01-05T10:00:00.123456Z"),
        ),
        (
            Series::new("x".into(), ["12345678901234567.50"]).cast(&PolarsType::Decimal(19, 2)).unwrap(),
            json!("12345678901234567.50"),
        ),
    ];
    for (series, expected) in cases {
        let table = process(&memory(), &rescuing()).await;
        let mut frame = wider(&model("hub/0", 1..=1), series);
        frame.with_column(Column::full_null("_rescued".into(), 1, &PolarsType::String).into_column()).unwrap();
        write(&table, "hub/0", 1, frame).await.unwrap();
        let text = rescued(&table, "hub/0").await.remove(0).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({ "x": expected }));
    }
}

#[tokio::test]
async fn without_a_rescued_column_a_new_one_is_refused_by_name() {
    let store = memory();
    let table = process(&store, &TableDefinition { new_columns: NewColumns::Rescue, ..definition() }).await;
    let error = write(&table, "hub/0", 1, wide(&model("hub/0", 1..=1), "price", |_| 1.0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(
        error.to_string(),
        "table `orders`: frame column `price` is not in the table, and the table has no `_rescued` to keep it in"
    );
    assert_eq!(table.refresh().await.unwrap(), 0);
}

/// Rescued rows wait for their commit while somebody else gives the table the column.
#[tokio::test]
async fn rescued_rows_stay_good_when_the_table_gets_the_column_after_all() {
    let store = memory();
    let mut next = rescuing();
    next.columns.push(column("price", Type::Double, true));
    process(&store, &rescuing()).await;
    let table = process(&store, &next).await;
    let rescued_row = |position| {
        let mut frame = wide(&model("hub/0", position..=position), "price", |row| row.1 as f64);
        frame.with_column(Column::full_null("_rescued".into(), 1, &PolarsType::String).into_column()).unwrap();
        frame
    };
    let staged = table.stage(rescued_row(1)).await.unwrap();
    let other = process(&store, &TableDefinition { new_columns: NewColumns::Add, ..next.clone() }).await;
    let mut wide = rescued_row(7);
    wide.with_column(Series::new("_source".into(), ["hub/1"]).into()).unwrap();
    write(&other, "hub/1", 7, wide).await.unwrap();
    table.refresh().await.unwrap();
    let append = weir_lake::Append { producer: super::producer("hub/0", 1), rows: staged, books: super::counted(1) };
    assert!(matches!(table.append(append, None).await.unwrap(), Outcome::Committed { .. }));
    write(&table, "hub/0", 2, rescued_row(2)).await.unwrap();
    assert_eq!(
        dump(&table, &["price", "_rescued"]).await,
        ["hub/0|1|hub/0:1|null|{\"price\":1.0}", "hub/0|2|hub/0:2|2.0|null", "hub/1|7|hub/0:7|7.0|null",]
    );
}

#[tokio::test]
async fn a_table_that_must_not_grow_is_refused_by_name() {
    let store = memory();
    let table = process(&store, &definition()).await;
    let error = write(&table, "hub/0", 1, wide(&model("hub/0", 1..=1), "price", |_| 1.0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let message = "table `orders`: frame column `price` is not in the table, and `new_columns` is \"fail\"";
    assert_eq!(error.to_string(), message);
    let next = TableDefinition { new_columns: NewColumns::Fail, ..with(&[("price", Type::Double)]) };
    let error = lake(&store).table(&next).await.unwrap_err();
    assert!(error.to_string().contains("the contract has column `price`, the table has not"), "{error}");
    assert_eq!(table.refresh().await.unwrap(), 0, "nothing was written");
}

/// Delta has no two names that differ by case alone: no engine could tell the columns apart.
#[tokio::test]
async fn a_name_in_other_letters_is_no_new_column() {
    let message = |new: &str, old: &str| {
        format!(
            "table `orders`: column `{new}` and the table's column `{old}` differ by case alone, which Delta ignores: give \
             it the table's name or another one"
        )
    };
    for new_columns in [NewColumns::Add, NewColumns::Rescue, NewColumns::Fail] {
        let store = memory();
        process(&store, &TableDefinition { new_columns, ..rescuing() }).await;
        let mut renamed = TableDefinition { new_columns, ..rescuing() };
        renamed.columns[3].name = "Value".to_owned();
        if new_columns != NewColumns::Fail {
            let error = lake(&store).table(&renamed).await.unwrap_err();
            assert_eq!((error.kind(), error.to_string()), (ErrorKind::Invalid, message("Value", "value")));
        }
        let table = process(&store, &TableDefinition { new_columns, ..rescuing() }).await;
        let mut both = wide(&model("hub/0", 1..=1), "VALUE", |_| 1.0);
        both.with_column(Column::full_null("_rescued".into(), 1, &PolarsType::String).into_column()).unwrap();
        let error = write(&table, "hub/0", 1, both).await.unwrap_err();
        assert_eq!(error.to_string(), message("VALUE", "value"));
        assert_eq!(table.refresh().await.unwrap(), 0);
    }
    let store = memory();
    let table = process(&store, &growing()).await;
    let mut twins = wide(&model("hub/0", 1..=1), "price", |_| 1.0);
    twins.with_column(Series::new("Price".into(), [1.0]).into()).unwrap();
    assert_eq!(write(&table, "hub/0", 1, twins).await.unwrap_err().to_string(), message("Price", "price"));
    // Who looked before the other one wrote learns it from the commit that it loses.
    let late = process(&store, &growing()).await;
    write(&table, "hub/0", 1, wide(&model("hub/0", 1..=1), "price", |_| 1.0)).await.unwrap();
    let error = write(&late, "hub/1", 1, wide(&model("hub/1", 1..=1), "PRICE", |_| 1.0)).await.unwrap_err();
    assert_eq!(error.to_string(), message("PRICE", "price"));
    assert_eq!(metadata(&store).await.len(), 2);
}

#[tokio::test]
async fn a_column_that_the_contract_left_stays_and_is_null_in_new_rows() {
    let store = memory();
    let first = process(&store, &with(&[("price", Type::Double)])).await;
    write(&first, "hub/0", 2, wide(&model("hub/0", 1..=2), "price", |row| row.1 as f64)).await.unwrap();
    let table = process(&store, &growing()).await;
    write(&table, "hub/0", 3, frame(&model("hub/0", 3..=3))).await.unwrap();
    // Who still brings it may.
    write(&table, "hub/1", 1, wide(&model("hub/1", 1..=1), "price", |_| 9.0)).await.unwrap();
    let expected = [
        dumped(&model("hub/0", 1..=2), |row| format!("{:?}", row.1 as f64)),
        dumped(&model("hub/0", 3..=3), null),
        dumped(&model("hub/1", 1..=1), |_| "9.0".to_owned()),
    ];
    assert_eq!(dump(&table, &["price"]).await, expected.concat());
    assert_eq!(table.compact(CompactOptions::default(), None).await.unwrap().files_added, 1);
    assert_eq!(dump(&table, &["price"]).await, expected.concat());
    assert_eq!(metadata(&store).await.len(), 1);

    // Not null in the table: no new row could be right.
    let store = memory();
    let mut strict = with(&[("price", Type::Double)]);
    strict.columns[0].nullable = false;
    process(&store, &strict).await;
    for new_columns in [NewColumns::Add, NewColumns::Rescue] {
        let error = refusal(&store, &TableDefinition { new_columns, ..growing() }).await;
        let message = "table `orders`: the table's column `price` must not be null, and the contract has it not";
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Invalid, message));
    }
}

async fn refusal(store: &Arc<dyn ObjectStore>, definition: &TableDefinition) -> LakeError {
    lake(store).table(definition).await.unwrap_err()
}

/// The new rows of a table whose contract became stricter than it was.
#[tokio::test]
async fn a_contract_that_forbids_nulls_forbids_them_in_new_rows() {
    let store = memory();
    append_three(&process(&store, &growing()).await).await;
    let mut strict = growing();
    strict.columns[3].nullable = false;
    let table = process(&store, &strict).await;
    let error = write(&table, "hub/0", 4, frame(&[("hub/0".to_owned(), 4, None)])).await.unwrap_err();
    assert_eq!(error.to_string(), "table `orders`: column `value` must not be null and has 1 nulls");
    write(&table, "hub/0", 4, frame(&model("hub/0", 4..=4))).await.unwrap();
    assert_eq!(super::rows(&table).await, model("hub/0", 1..=4));
}
