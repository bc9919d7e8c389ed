//! Table properties have the effect that they are documented to have.

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use polars::prelude::*;
use serde_json::Value;
use weir_contract::DataType as Type;
use weir_lake::{Append, CheckpointPolicy, CompactOptions, Table, TableDefinition};

use super::{actions, append, column, counted, definition, lake, memory, model, of_kind, producer};

fn with(properties: &[(&str, &str)]) -> TableDefinition {
    let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    TableDefinition { properties, ..definition() }
}

async fn open(store: &Arc<dyn ObjectStore>, properties: &[(&str, &str)]) -> Arc<Table> {
    lake(store).table(&with(properties)).await.unwrap()
}

/// The columns that the statistics of a version's files speak of: bounds, and counts of nulls.
async fn indexed(store: &Arc<dyn ObjectStore>, version: i64) -> [Vec<String>; 2] {
    let actions = actions(store, version).await;
    let stats: Value = serde_json::from_str(of_kind(&actions, "add")[0]["stats"].as_str().unwrap()).unwrap();
    assert!(stats["numRecords"].as_u64().unwrap() > 0);
    ["minValues", "nullCount"].map(|kind| {
        let mut columns: Vec<_> = stats[kind].as_object().unwrap().keys().cloned().collect();
        columns.sort();
        columns
    })
}

#[tokio::test]
async fn statistics_are_of_the_columns_that_are_asked_for() {
    let (count, names) = ("delta.dataSkippingNumIndexedCols", "delta.dataSkippingStatsColumns");
    let all = ["_source", "_source_position", "_source_version", "value"].as_slice();
    let cases = [
        (vec![], all),
        (vec![(count, "-1")], all),
        (vec![(count, "2")], &["_source", "_source_version"]),
        (vec![(count, "0")], &[]),
        (vec![(count, "100")], all),
        (vec![(names, "value")], &["value"]),
        (vec![(names, " value , `_source_position`")], &["_source_position", "value"]),
        // Names win, as in Delta.
        (vec![(count, "1"), (names, "value")], &["value"]),
    ];
    for (properties, expected) in cases {
        let store = memory();
        let table = open(&store, &properties).await;
        append(&table, &model("hub/0", 1..=3), None).await.unwrap();
        append(&table, &model("hub/0", 4..=6), Some(3)).await.unwrap();
        table.compact(CompactOptions::default(), None).await.unwrap();
        for version in 1..=3 {
            assert_eq!(indexed(&store, version).await, [expected, expected], "{properties:?}, version {version}");
        }
        assert_eq!(super::rows(&table).await, model("hub/0", 1..=6), "{properties:?}");
    }
}

/// Partition columns are in no file, so they do not count.
#[tokio::test]
async fn partition_columns_do_not_count_among_the_first() {
    let store = memory();
    let mut definition = with(&[("delta.dataSkippingNumIndexedCols", "1")]);
    definition.columns.insert(0, column("day", Type::Date, true));
    definition.partition_by = vec!["day".to_owned()];
    let table = lake(&store).table(&definition).await.unwrap();
    let mut frame = super::frame(&model("hub/0", 1..=1));
    frame.with_column(Series::new("day".into(), [1_i32]).cast(&DataType::Date).unwrap().into_column()).unwrap();
    let staged = table.stage(frame).await.unwrap();
    table.append(Append { producer: producer("hub/0", 1), rows: staged, books: counted(1) }, None).await.unwrap();
    assert_eq!(indexed(&store, 1).await[0], ["_source"]);
}

#[tokio::test]
async fn a_checkpoint_comes_as_the_contract_says_also_where_the_table_says_otherwise() {
    let store = memory();
    open(&store, &[("delta.checkpointInterval", "1000")]).await;
    let table = open(&store, &[("delta.checkpointInterval", "2")]).await;
    append(&table, &model("hub/0", 1..=1), None).await.unwrap();
    append(&table, &model("hub/0", 2..=2), Some(1)).await.unwrap();
    let policy = CheckpointPolicy { commits: 20, age: Duration::MAX };
    assert_eq!(table.checkpoint_if_due(policy).await.unwrap(), Some(2));
}

/// What the contract asks for holds for a table that was made before, and stands in it after `maintain`.
#[tokio::test]
async fn properties_that_come_later_have_their_effect_too() {
    let store = memory();
    append(&open(&store, &[]).await, &model("hub/0", 1..=1), None).await.unwrap();
    let properties = [("delta.dataSkippingNumIndexedCols", "1"), ("delta.logRetentionDuration", "interval 9 days")];
    let table = open(&store, &properties).await;
    append(&table, &model("hub/0", 2..=2), Some(1)).await.unwrap();
    assert_eq!(indexed(&store, 2).await[0], ["_source"]);
    assert!(table.apply_properties().await.unwrap());
    assert!(!table.apply_properties().await.unwrap(), "once");
    assert!(!open(&store, &properties).await.apply_properties().await.unwrap(), "whoever asks");
    let actions = actions(&store, 3).await;
    let [metadata] = of_kind(&actions, "metaData")[..] else { panic!("{actions:?}") };
    assert_eq!(metadata["configuration"]["delta.logRetentionDuration"], "interval 9 days");
    assert_eq!(metadata["id"], table.identity().0);
    append(&table, &model("hub/0", 3..=3), Some(2)).await.unwrap();
    assert_eq!(super::rows(&super::open(&store).await).await, model("hub/0", 1..=3));
}

#[tokio::test]
async fn a_checkpoint_comes_after_as_many_commits_as_the_table_says() {
    let policy = CheckpointPolicy { commits: 20, age: Duration::MAX };
    for (interval, expected) in [("5", vec![5, 10]), ("1", (1..=12).collect()), ("1000", vec![])] {
        let store = memory();
        let table = open(&store, &[("delta.checkpointInterval", interval)]).await;
        let mut written = Vec::new();
        for position in 1..=12 {
            append(&table, &model("hub/0", position..=position), (position > 1).then(|| position - 1)).await.unwrap();
            written.extend(table.checkpoint_if_due(policy).await.unwrap());
        }
        assert_eq!(written, expected, "{interval}");
    }
}

#[tokio::test]
async fn files_become_as_large_as_the_table_says() {
    const MIB: u64 = 1 << 20;
    let mut counts = Vec::new();
    for properties in [vec![], vec![("delta.targetFileSize", "1048576")]] {
        let store = memory();
        let table = open(&store, &properties).await;
        for position in 1..=8 {
            let noise: String = (0..20_000).map(|_| format!("{:032x}", rand::random::<u128>())).collect();
            let row = [("hub/0".to_owned(), position, Some(noise))];
            append(&table, &row, (position > 1).then(|| position - 1)).await.unwrap();
        }
        table.compact(CompactOptions::default(), None).await.unwrap();
        let files = table.snapshot().await.unwrap().files;
        assert!(properties.is_empty() || files.iter().all(|file| file.size < 2 * MIB), "{files:?}");
        counts.push(files.len());
    }
    assert!(counts[0] == 1 && counts[1] >= 4, "{counts:?}");
}
