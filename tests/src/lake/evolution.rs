//! Tables that get columns while everybody writes: each column once, no value lost, and nothing but the schema changes.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use object_store::{ObjectStore, ObjectStoreExt};
use polars::prelude::{Column, DataFrame, NamedFrom, Series};
use serde_json::Value;
use weir_contract::{DataType as Type, NewColumns};
use weir_lake::{
    Append, Books, CompactOptions, Deletion, ErrorKind, LakeError, Outcome, Replacement, Table, TableDefinition, Upsert,
};

use super::faulty::{Fault, Faulty, Weather};
use super::{Row, actions, column, commit_path, counted, definition, frame, lake, memory, model, of_kind, producer};

const LOG: &str = "_delta_log";

/// The usual table, that may grow.
pub(super) fn growing() -> TableDefinition {
    TableDefinition { new_columns: NewColumns::Add, ..definition() }
}

/// The next release of the contract: more columns, before the old ones.
pub(super) fn with(columns: &[(&str, Type)]) -> TableDefinition {
    let mut definition = growing();
    let more = columns.iter().map(|(name, data_type)| column(name, *data_type, true));
    definition.columns.splice(0..0, more);
    definition
}

/// A process of its own.
pub(super) async fn process(store: &Arc<dyn ObjectStore>, definition: &TableDefinition) -> Arc<Table> {
    lake(store).table(definition).await.unwrap()
}

/// Rows with one more column.
pub(super) fn wide(rows: &[Row], name: &str, value: impl Fn(&Row) -> f64) -> DataFrame {
    wider(rows, Series::new(name.into(), rows.iter().map(value).collect::<Vec<_>>()))
}

pub(super) fn wider(rows: &[Row], series: Series) -> DataFrame {
    let mut frame = frame(rows);
    frame.with_column(series.into()).unwrap();
    frame
}

pub(super) fn price(row: &Row) -> f64 {
    row.1 as f64 / 4.0
}

/// Appends what comes next of a source.
pub(super) async fn write(
    table: &Arc<Table>,
    source: &str,
    version: i64,
    frame: DataFrame,
) -> Result<Outcome, LakeError> {
    let (after, books) = (table.committed(source), counted(frame.height()));
    let rows = table.stage(frame).await?;
    table.append(Append { producer: producer(source, version), rows, books }, after).await
}

/// Rows as text: source, position, value and these columns. Sorted; what is there twice is listed twice.
pub(super) async fn dump(table: &Arc<Table>, columns: &[&str]) -> Vec<String> {
    table.refresh().await.unwrap();
    let mut rows = Vec::new();
    for file in table.snapshot().await.unwrap().files {
        let frame = table.read(&file).await.unwrap();
        let names = ["_source", "_source_position", "value"].iter().chain(columns);
        let columns: Vec<&Column> = names.map(|name| frame.column(name).unwrap()).collect();
        let text = |row| columns.iter().map(move |column| column.get(row).unwrap().str_value().into_owned());
        rows.extend((0..frame.height()).map(|row| text(row).collect::<Vec<_>>().join("|")));
    }
    rows.sort();
    rows
}

/// What [`dump`] has of these rows, one more value each.
pub(super) fn dumped(rows: &[Row], value: impl Fn(&Row) -> String) -> Vec<String> {
    let mut texts: Vec<_> = rows
        .iter()
        .map(|row| format!("{}|{}|{}|{}", row.0, row.1, row.2.as_deref().unwrap_or("null"), value(row)))
        .collect();
    texts.sort();
    texts
}

pub(super) fn null(_: &Row) -> String {
    "null".to_owned()
}

pub(super) fn price_text(row: &Row) -> String {
    format!("{:?}", price(row))
}

fn names(table: &Arc<Table>) -> Vec<String> {
    table.columns().into_iter().map(|column| column.name).collect()
}

/// Every metaData action: its version and itself.
pub(super) async fn metadata(store: &Arc<dyn ObjectStore>) -> Vec<(i64, Value)> {
    let mut found = Vec::new();
    for version in 0.. {
        if store.head(&commit_path(version)).await.is_err() {
            break;
        }
        let actions = actions(store, version).await;
        found.extend(of_kind(&actions, "metaData").into_iter().map(|metadata| (version, metadata.clone())));
    }
    found
}

/// All but the schema.
fn kept(metadata: &Value) -> Value {
    let mut metadata = metadata.clone();
    metadata.as_object_mut().unwrap().remove("schemaString");
    metadata
}

#[tokio::test]
async fn a_new_column_of_the_contract_comes_with_the_first_rows() {
    let store = memory();
    append_three(&process(&store, &growing()).await).await;
    let mut next = with(&[("price", Type::Double)]);
    next.columns[0].nullable = false;
    let existing = lake(&store).existing(&next).await.unwrap().unwrap();
    let table = process(&store, &next).await;
    assert_eq!((existing.refresh().await.unwrap(), table.refresh().await.unwrap()), (1, 1), "opened, not written");
    assert_eq!(names(&table), ["_source", "_source_version", "_source_position", "value"]);

    let rows = model("hub/1", 1..=2);
    assert_eq!(
        write(&table, "hub/1", 2, wide(&rows, "price", price)).await.unwrap(),
        Outcome::Committed { version: 3 }
    );
    assert_eq!(table.columns().last(), Some(&column("price", Type::Double, true)), "at the end, for the old rows null");
    let expected = [dumped(&model("hub/0", 1..=3), null), dumped(&rows, price_text)].concat();
    assert_eq!(dump(&table, &["price"]).await, expected);
    let written: Vec<_> = metadata(&store).await.into_iter().map(|(version, _)| version).collect();
    assert_eq!(written, [0, 2]);
    // The contract forbids nulls in new rows, and whoever has the column not is told by its own contract.
    let nulls = wider(&model("hub/1", 3..=3), Series::new("price".into(), [None::<f64>]));
    let error = write(&table, "hub/1", 3, nulls).await.unwrap_err();
    assert_eq!(error.to_string(), "table `orders`: column `price` must not be null and has 1 nulls");
    let error = write(&table, "hub/1", 3, frame(&model("hub/1", 3..=3))).await.unwrap_err();
    assert_eq!(error.to_string(), "table `orders`: a frame without column `price`");
}

pub(super) async fn append_three(table: &Arc<Table>) {
    write(table, "hub/0", 3, frame(&model("hub/0", 1..=3))).await.unwrap();
}

/// Id, partition columns, properties, creation time, description: from the log and from a checkpoint alone.
#[tokio::test]
async fn a_new_column_changes_nothing_else_of_the_table() {
    for from_checkpoint in [false, true] {
        let store = memory();
        let property = ("delta.logRetentionDuration".to_owned(), "interval 60 days".to_owned());
        let definition =
            TableDefinition { partition_by: vec!["value".to_owned()], properties: vec![property], ..growing() };
        append_three(&process(&store, &definition).await).await;
        // Somebody describes the table.
        let (_, mut described) = metadata(&store).await.remove(0);
        described["description"] = "what was ordered".into();
        let line = format!("{}\n", serde_json::json!({ "metaData": described }));
        store.put(&commit_path(2), line.into()).await.unwrap();
        if from_checkpoint {
            assert_eq!(process(&store, &definition).await.checkpoint().await.unwrap(), 2);
            for version in 0..=2 {
                store.delete(&commit_path(version)).await.unwrap();
            }
        }
        let table = process(&store, &definition).await;
        let before = table.identity();
        let rows = model("hub/1", 1..=2);
        write(&table, "hub/1", 2, wide(&rows, "price", price)).await.unwrap();
        let grown = of_kind(&actions(&store, 3).await, "metaData")[0].clone();
        assert_eq!(kept(&grown), kept(&described), "from checkpoint: {from_checkpoint}");
        assert!(of_kind(&actions(&store, 3).await, "protocol").is_empty());
        let fields =
            |schema: &str| serde_json::from_str::<Value>(schema).unwrap()["fields"].as_array().unwrap().clone();
        let (old, new) = (fields(&before.1), fields(grown["schemaString"].as_str().unwrap()));
        assert_eq!(new[..old.len()], old);
        assert_eq!(
            new[old.len()..],
            [serde_json::json!({"name": "price", "type": "double", "nullable": true, "metadata": {}})]
        );
        let expected = [dumped(&model("hub/0", 1..=3), null), dumped(&rows, price_text)].concat();
        assert_eq!(dump(&table, &["price"]).await, expected);
    }
}

#[tokio::test]
async fn a_frame_may_bring_a_column_that_nobody_named() {
    let store = memory();
    let table = process(&store, &growing()).await;
    append_three(&table).await;
    let rows = model("hub/1", 1..=2);
    write(&table, "hub/1", 2, wide(&rows, "price", price)).await.unwrap();
    // And the next one need not bring it.
    write(&table, "hub/1", 3, frame(&model("hub/1", 3..=3))).await.unwrap();
    let expected =
        [dumped(&model("hub/0", 1..=3), null), dumped(&rows, price_text), dumped(&model("hub/1", 3..=3), null)];
    assert_eq!(dump(&process(&store, &growing()).await, &["price"]).await, expected.concat());
    // Rows of before and after, and of different columns, go into one delivery.
    let mut writer = table.write();
    for (position, name) in [(4, None), (5, Some("price")), (6, Some("weight")), (7, None)] {
        let rows = model("hub/1", position..=position);
        writer.write(name.map_or_else(|| frame(&rows), |name| wide(&rows, name, price))).await.unwrap();
    }
    let rows = writer.finish().await.unwrap();
    let append = Append { producer: producer("hub/1", 7), rows, books: counted(4) };
    table.append(append, Some(3)).await.unwrap();
    let expected = [
        dumped(&model("hub/1", 4..=4), |_| "null|null".to_owned()),
        dumped(&model("hub/1", 5..=5), |_| "1.25|null".to_owned()),
        dumped(&model("hub/1", 6..=6), |_| "null|1.5".to_owned()),
        dumped(&model("hub/1", 7..=7), |_| "null|null".to_owned()),
    ];
    assert_eq!(dump(&table, &["price", "weight"]).await[6..], expected.concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_adds_one_column_at_the_same_time_and_it_is_there_once() {
    let inner = memory();
    append_three(&process(&inner, &growing()).await).await;
    let (old, next) = (growing(), with(&[("price", Type::Double)]));
    let mut tasks = Vec::new();
    for instance in 0..8 {
        let weather = Weather { faults: 0.0, latency: Duration::from_millis(3) };
        let store: Arc<dyn ObjectStore> = Faulty::new(Arc::clone(&inner), instance, weather);
        // Half of them know it from their contract.
        let table = process(&store, if instance % 2 == 0 { &next } else { &old }).await;
        for task in 0..8 {
            let (table, source) = (Arc::clone(&table), format!("hub/{instance}{task}"));
            tasks.push(tokio::spawn(async move {
                let rows = model(&source, 1..=2);
                write(&table, &source, 2, wide(&rows, "price", price)).await.unwrap()
            }));
        }
    }
    for outcome in join_all(tasks).await {
        assert!(matches!(outcome.unwrap(), Outcome::Committed { .. }));
    }
    assert_eq!(metadata(&inner).await.len(), 2, "commit 0, and the one that added the column");
    let sources = (0..8).flat_map(|instance| (0..8).map(move |task| format!("hub/{instance}{task}")));
    let mut expected = dumped(&model("hub/0", 1..=3), null);
    expected.extend(sources.flat_map(|source| dumped(&model(&source, 1..=2), price_text)));
    expected.sort();
    assert_eq!(dump(&process(&inner, &growing()).await, &["price"]).await, expected);
}

/// Holds the metaData commit of one process until the other has added its column.
async fn race(
    ours: &TableDefinition,
    our: DataFrame,
    theirs: &TableDefinition,
    their: DataFrame,
) -> (Arc<dyn ObjectStore>, [Result<Outcome, LakeError>; 2]) {
    let inner = memory();
    append_three(&process(&inner, &growing()).await).await;
    let store = Faulty::calm(&inner);
    let (our_table, their_table) = (process(&(Arc::clone(&store) as _), ours).await, process(&inner, theirs).await);
    let gate = store.hold_next_write(LOG);
    let ours = tokio::spawn(async move { write(&our_table, "hub/1", 2, our).await });
    gate.reached().await;
    let theirs = write(&their_table, "hub/2", 2, their).await;
    gate.release();
    (inner, [ours.await.unwrap(), theirs])
}

#[tokio::test]
async fn two_that_add_different_columns_at_once_both_get_theirs() {
    let (ours, theirs) = (model("hub/1", 1..=2), model("hub/2", 1..=2));
    let frames = || (wide(&ours, "price", price), wide(&theirs, "weight", price));
    for definitions in [(growing(), growing()), (with(&[("price", Type::Double)]), with(&[("weight", Type::Double)]))] {
        let (our, their) = frames();
        let (store, outcomes) = race(&definitions.0, our, &definitions.1, their).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(metadata(&store).await.len(), 3);
        let mut expected = dumped(&model("hub/0", 1..=3), |_| "null|null".to_owned());
        expected.extend(dumped(&ours, |row| format!("{}|null", price_text(row))));
        expected.extend(dumped(&theirs, |row| format!("null|{}", price_text(row))));
        assert_eq!(dump(&process(&store, &growing()).await, &["price", "weight"]).await, expected);
    }
}

#[tokio::test]
async fn of_two_types_at_once_the_first_stands_and_the_other_fits_or_is_told() {
    let (ours, theirs) = (model("hub/1", 1..=2), model("hub/2", 1..=2));
    let integers = wider(&ours, Series::new("price".into(), [1_i32, 2]));
    let texts = wider(&ours, Series::new("price".into(), ["1", "2"]));
    let doubles = wide(&theirs, "price", price);
    for contract in [false, true] {
        let of = |data_type| if contract { with(&[("price", data_type)]) } else { growing() };
        let (store, [outcome, winner]) =
            race(&of(Type::String), texts.clone(), &of(Type::Double), doubles.clone()).await;
        winner.unwrap();
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let message = error.to_string();
        assert!(message.contains("column `price` is string in the contract and double in the table"), "{message}");
        assert_eq!(metadata(&store).await.len(), 2);
        let expected = [dumped(&model("hub/0", 1..=3), null), dumped(&theirs, price_text)].concat();
        assert_eq!(dump(&process(&store, &growing()).await, &["price"]).await, expected);

        let (store, outcomes) = race(&of(Type::Integer), integers.clone(), &of(Type::Double), doubles.clone()).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(metadata(&store).await.len(), 2);
        let widened = dumped(&ours, |row| format!("{:?}", row.1 as f64));
        let expected = [dumped(&model("hub/0", 1..=3), null), widened, dumped(&theirs, price_text)].concat();
        assert_eq!(dump(&process(&store, &growing()).await, &["price"]).await, expected);
    }
}

/// While a release is rolled out, processes of both contracts write and rewrite.
#[tokio::test]
async fn processes_of_the_old_contract_lose_no_value_of_a_new_column() {
    let store = memory();
    let old = process(&store, &growing()).await;
    append_three(&old).await;
    let new = process(&store, &with(&[("price", Type::Double)])).await;
    write(&new, "hub/1", 2, wide(&model("hub/1", 1..=2), "price", price)).await.unwrap();
    write(&new, "blob", 3, wide(&model("blob", 1..=3), "price", price)).await.unwrap();
    write(&old, "hub/0", 4, frame(&model("hub/0", 4..=4))).await.unwrap();
    let compacted = old.compact(CompactOptions::default(), None).await.unwrap();
    assert_eq!((compacted.files_removed, compacted.files_added), (4, 1));
    let others = [dumped(&model("hub/0", 1..=4), null), dumped(&model("hub/1", 1..=2), price_text)].concat();
    let expected = [dumped(&model("blob", 1..=3), price_text), others.clone()].concat();
    assert_eq!(dump(&new, &["price"]).await, expected);

    // Each rewrites the one file that there is, with the rows of all.
    let corrected = model("blob", 1..=2);
    let rows = old.stage(frame(&corrected)).await.unwrap();
    let (producer_, source) = (producer("request", 1), "blob".to_owned());
    let replacement = Replacement { source, positions: None, producer: producer_, rows, books: counted(2) };
    old.replace_source(replacement).await.unwrap();
    assert_eq!(dump(&new, &["price"]).await, [dumped(&corrected, null), others].concat());
    let keys = frame(&model("hub/0", 1..=1)).select(["_source", "_source_position"]).unwrap();
    old.delete_where(Deletion { producer: producer("erasure", 1), keys }).await.unwrap();
    let (keys, frame) = (vec!["_source".to_owned(), "_source_position".to_owned()], frame(&model("hub/1", 2..=3)));
    let (producer_, after) = (producer("upsert", 1), None);
    let upsert = Upsert { producer: producer_, after, frame, keys, order_by: None, books: counted(2) };
    old.upsert(upsert).await.unwrap();
    let others = [
        dumped(&model("hub/0", 2..=4), null),
        dumped(&model("hub/1", 1..=1), price_text),
        dumped(&model("hub/1", 2..=3), null),
    ];
    assert_eq!(dump(&new, &["price"]).await, [dumped(&corrected, null), others.concat()].concat());
    assert_eq!(metadata(&store).await.len(), 2);
    assert!(Books::of(&new.snapshot().await.unwrap().transactions).balanced());
}

#[tokio::test]
async fn a_column_whose_commit_got_no_answer_is_added_once() {
    for (fault, name) in [(Fault::After, "after"), (Fault::Before, "before"), (Fault::Late, "late")] {
        let inner = memory();
        let store = Faulty::calm(&inner);
        let other = process(&inner, &growing()).await;
        let table = process(&(Arc::clone(&store) as _), &with(&[("price", Type::Double)])).await;
        append_three(&other).await;
        // The process has not seen the three rows: its commit loses version 1, and the answer for version 2 is lost.
        store.next_write(&format!("{LOG}/{:020}.json", 2), fault);
        let rows = model("hub/1", 1..=2);
        write(&table, "hub/1", 2, wide(&rows, "price", price)).await.unwrap();
        store.settle().await;
        let versions: Vec<_> = metadata(&inner).await.into_iter().map(|(version, _)| version).collect();
        assert_eq!(versions, [0, 2], "{name}");
        let expected = [dumped(&model("hub/0", 1..=3), null), dumped(&rows, price_text)].concat();
        assert_eq!(dump(&process(&inner, &growing()).await, &["price"]).await, expected, "{name}");
    }
}
