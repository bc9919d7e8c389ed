//! Partition values in the names of folders: some readers take them from there.

use std::collections::BTreeSet;
use std::sync::Arc;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde_json::{Value, json};
use weir_contract::DataType as Type;
use weir_lake::{Append, Lake, LakeOptions, TableDefinition};

use super::readers::Local;
use super::{Row, append, column, counted, definition, frame, lake, memory, model, now_ms, producer, rows};
use crate::python;
use crate::support::repository;

/// Position and value of every row, as Polars and as delta-rs have them; and which rows a filter by each value leaves.
const READ: &str = r#"
import json, sys
import polars as pl
from deltalake import DeltaTable, QueryBuilder

frame = pl.read_delta(sys.argv[1]).sort("_source_position")
theirs = QueryBuilder().register("t", DeltaTable(sys.argv[1])).execute(
    'select "_source_position", "value" from t order by 1').read_all()
found = [pl.scan_delta(sys.argv[1]).filter(pl.col("value").eq_missing(pl.lit(value))).collect().height for value in frame["value"]]
print(json.dumps({"polars": frame["value"].to_list(), "deltalake": theirs.column("value").to_pylist(), "found": found}))
"#;

fn by_value() -> TableDefinition {
    TableDefinition { partition_by: vec!["value".to_owned()], ..definition() }
}

async fn read(local: &Local, values: &[String]) -> Value {
    let table = lake(&local.store).table(&by_value()).await.unwrap();
    let written: Vec<Row> =
        (1..).zip(values).map(|(position, value)| ("hub/0".to_owned(), position, Some(value.clone()))).collect();
    append(&table, &written, None).await.unwrap();
    assert_eq!(rows(&table).await, written);
    serde_json::from_str(&python::run(READ, &[local.table().to_str().unwrap()])).unwrap()
}

/// The values of the case, and as long ones as a folder's name can hold.
#[tokio::test]
async fn values_stand_whole_in_folder_names_up_to_the_limit_of_the_store() {
    let case = repository().join("tests/data/cases/events/long_partition_value_in_polars/events.ndjson");
    let events = std::fs::read_to_string(case).unwrap();
    let text = |line: &str| serde_json::from_str::<Value>(line).unwrap()["p"].as_str().unwrap().to_owned();
    let mut values: Vec<String> = events.lines().map(text).collect();
    assert_eq!(values.len(), 4);
    values.extend([
        "x".repeat(249),
        "\u{e9}".repeat(41),
        "\u{1f680}".repeat(20),
        "a b/c%d=".repeat(12),
        "short".to_owned(),
    ]);
    let found = read(&Local::new(), &values).await;
    assert_eq!(found["polars"], json!(values));
    assert_eq!(found["deltalake"], json!(values));
    assert_eq!(found["found"], json!(vec![1; values.len()]));
}

/// What no folder's name can hold is told apart by a digest; the values are in the log.
#[tokio::test]
async fn longer_values_share_no_folder_and_are_right_in_the_log() {
    let local = Local::new();
    let long = "long ".repeat(400);
    let values = vec![format!("{long}1"), format!("{long}2"), "\u{65e5}".repeat(300), "x".repeat(250)];
    let found = read(&local, &values).await;
    assert_eq!(found["deltalake"], json!(values));
    let table = lake(&local.store).table(&by_value()).await.unwrap();
    let folder = |path: &str| path.split_once('/').unwrap().0.to_owned();
    let folders: BTreeSet<_> = table.snapshot().await.unwrap().files.iter().map(|file| folder(&file.path())).collect();
    assert_eq!(folders.len(), values.len(), "{folders:?}");
    assert!(folders.iter().all(|folder| folder.len() <= 255 && folder.contains("_weir_")), "{folders:?}");
}

/// Azure takes 1,024 characters for a whole name.
#[tokio::test]
async fn a_name_is_never_longer_than_a_store_takes() {
    let store = memory();
    let mut definition = definition();
    let names: Vec<String> = (0..16).map(|number| format!("key{number}")).collect();
    definition.columns.extend(names.iter().map(|name| column(name, Type::String, true)));
    definition.partition_by = names.clone();
    let root = Path::from("a/long/way/down/".repeat(8) + "lake");
    let lake = Lake::new(Arc::clone(&store), root, LakeOptions::new(now_ms));
    let table = lake.table(&definition).await.unwrap();
    let mut rows = frame(&model("hub/0", 1..=2));
    for name in &names {
        let values = ["\u{65e5}\u{672c}".repeat(40) + "1", "\u{65e5}\u{672c}".repeat(40) + "2"];
        rows.with_column(polars::prelude::Column::new(name.as_str().into(), values)).unwrap();
    }
    let staged = table.stage(rows).await.unwrap();
    table.append(Append { producer: producer("hub/0", 2), rows: staged, books: counted(2) }, None).await.unwrap();
    let files = table.snapshot().await.unwrap().files;
    assert_eq!(files.len(), 2);
    for file in files {
        assert!(file.object.as_ref().len() <= 1_024, "{}", file.object.as_ref().len());
        assert!(store.head(&file.object).await.is_ok());
        assert_eq!(table.read(&file).await.unwrap().height(), 1);
    }
}
