//! Partition values: from a column to the log and to a folder's name, and back.

use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt};
use polars::prelude::*;
use weir_contract::DataType as Type;
use weir_lake::{Append, CompactOptions, Lake, LakeOptions, TableDefinition};

use super::{
    Row, actions, append, column, commit_path, counted, definition, frame, lake, memory, model, now_ms, of_kind,
    partition, producer, rows,
};

fn by_value() -> TableDefinition {
    TableDefinition { partition_by: vec!["value".to_owned()], ..definition() }
}

/// What people put into columns that other people partition by.
fn values() -> Vec<Option<String>> {
    let texts = [
        "plain",
        "a b",
        "a/b",
        "/",
        "..",
        ".",
        "%",
        "%20",
        "a%2Fb",
        "x=y",
        "a+b",
        "#?&",
        "\"quoted\"",
        "back\\slash",
        "co:lon*<>|",
        "\u{e9}t\u{e9}",
        "\u{65e5}\u{672c}",
        "\u{1f680}",
        " ",
        "\n",
        "\u{1}",
        "null",
        "__HIVE_DEFAULT_PARTITION__",
        "\u{10ffff}",
        "a//b",
        "~",
    ];
    let mut values: Vec<_> = texts.into_iter().map(|text| Some(text.to_owned())).collect();
    // Longer than the name of a file may be.
    values.extend([Some("\u{e9}".repeat(400)), Some("long ".repeat(500)), None]);
    values
}

async fn round_trip(store: Arc<dyn ObjectStore>) {
    let table = lake(&store).table(&by_value()).await.unwrap();
    let values = values();
    let written: Vec<Row> =
        values.iter().enumerate().map(|(index, value)| ("hub/0".to_owned(), index as i64, value.clone())).collect();
    append(&table, &written, None).await.unwrap();
    assert_eq!(rows(&table).await, written);

    let snapshot = table.snapshot().await.unwrap();
    assert_eq!(snapshot.files.len(), values.len());
    for value in &values {
        let values = partition(&[("value", value.as_deref())]);
        let file = snapshot.files.iter().find(|file| file.partition_values == values).unwrap();
        assert!(store.head(&file.object).await.is_ok(), "{}", file.object);
        // As the warehouse asks for it: by path and values alone.
        let again = table.file(&file.path(), values).unwrap();
        assert_eq!(again.object, file.object);
        assert_eq!(table.read(&again).await.unwrap().height(), 1);
    }
    // A second file for each, all merged, and read from a checkpoint.
    let more: Vec<Row> =
        written.iter().map(|(source, position, value)| (source.clone(), position + 100, value.clone())).collect();
    append(&table, &more, Some(values.len() as i64 - 1)).await.unwrap();
    let report = table.compact(CompactOptions::default(), None).await.unwrap();
    assert_eq!((report.commits, report.files_removed), (values.len(), 2 * values.len()));
    table.checkpoint().await.unwrap();
    let cold = lake(&store).table(&by_value()).await.unwrap();
    assert_eq!(rows(&cold).await, [written, more].concat());
}

#[tokio::test]
async fn any_text_is_a_partition_value_in_memory() {
    round_trip(memory()).await;
}

#[tokio::test]
async fn any_text_is_a_partition_value_on_the_local_file_system() {
    let folder = tempfile::tempdir().unwrap();
    round_trip(Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap())).await;
}

/// Every Delta reader takes an empty text for null, so it had better be null for us, too.
#[tokio::test]
async fn an_empty_text_is_null() {
    let store = memory();
    let table = lake(&store).table(&by_value()).await.unwrap();
    append(&table, &[("a".to_owned(), 1, Some(String::new())), ("a".to_owned(), 2, None)], None).await.unwrap();
    assert_eq!(rows(&table).await, [("a".to_owned(), 1, None), ("a".to_owned(), 2, None)]);
    assert_eq!(table.snapshot().await.unwrap().files.len(), 1);

    // Where null is impossible it is refused: no reader could open the table.
    let mut definition = by_value();
    definition.name = "required".to_owned();
    definition.columns[3].nullable = false;
    let table = lake(&store).table(&definition).await.unwrap();
    let error = append(&table, &[("a".to_owned(), 1, Some(String::new()))], None).await.unwrap_err();
    let message =
        "partition column `value` must not be null and has 1 empty texts, which the Delta protocol takes for null";
    assert!(error.to_string().contains(message), "{error}");
    append(&table, &[("a".to_owned(), 1, Some(" ".to_owned()))], None).await.unwrap();
}

/// Every type that a contract may partition by, as the protocol writes it.
#[tokio::test]
async fn every_type_that_may_partition_a_table_round_trips() {
    let zoned = DataType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC));
    let decimal = Series::new("key".into(), ["-0.05", "12345678901234.50"]).cast(&DataType::Decimal(16, 2)).unwrap();
    let cases: Vec<(Type, Series, [&str; 2])> = vec![
        (Type::Long, Series::new("key".into(), [i64::MIN, i64::MAX]), ["-9223372036854775808", "9223372036854775807"]),
        (Type::Integer, Series::new("key".into(), [-1_i32, 7]), ["-1", "7"]),
        (Type::Short, Series::new("key".into(), [-1_i16, 7]), ["-1", "7"]),
        (Type::Byte, Series::new("key".into(), [-128_i8, 127]), ["-128", "127"]),
        (Type::Boolean, Series::new("key".into(), [true, false]), ["true", "false"]),
        (
            Type::Date,
            Series::new("key".into(), [-1_i32, 19_000]).cast(&DataType::Date).unwrap(),
            ["1969-12-31", "2022-01-08"],
        ),
        (
            Type::Timestamp,
            Series::new("key".into(), [-1_i64, 1_700_000_000_123_456]).cast(&zoned).unwrap(),
            ["1969-12-31T23:59:59.999999Z", "2023-11-14T22:13:20.123456Z"],
        ),
        (Type::Decimal { precision: 16, scale: 2 }, decimal, ["-0.05", "12345678901234.50"]),
    ];
    for (data_type, values, texts) in cases {
        let store = memory();
        let mut definition = by_value();
        definition.columns.push(column("key", data_type, true));
        definition.partition_by = vec!["key".to_owned(), "value".to_owned()];
        let table = lake(&store).table(&definition).await.unwrap();
        let mut keys = values.clone();
        keys.append(&Series::full_null("key".into(), 1, values.dtype())).unwrap();
        let mut all = frame(&model("hub/0", 1..=3));
        all.with_column(keys.clone().into_column()).unwrap();
        let staged = table.stage(all).await.unwrap();
        let append = Append { producer: producer("hub/0", 3), rows: staged, books: counted(3) };
        table.append(append, None).await.unwrap();

        let actions = actions(&store, 1).await;
        let written: Vec<_> = of_kind(&actions, "add")
            .iter()
            .map(|add| add["partitionValues"]["key"].as_str().map(str::to_owned))
            .collect();
        for text in texts {
            assert!(written.contains(&Some(text.to_owned())), "{data_type:?}: {text} in {written:?}");
        }
        assert!(written.contains(&None));
        for file in table.snapshot().await.unwrap().files {
            let read = table.read(&file).await.unwrap();
            let position = read.column("_source_position").unwrap().i64().unwrap().get(0).unwrap();
            let (key, expected) = (read.column("key").unwrap(), keys.get(position as usize - 1).unwrap());
            assert_eq!(key.dtype(), values.dtype());
            assert_eq!(key.get(0).unwrap(), expected, "{data_type:?}");
        }
    }
}

/// More partition values than files may be open, and more rows than a file may hold: some files are closed early.
#[tokio::test]
async fn a_writer_keeps_its_limits_and_every_row() {
    let store = memory();
    let mut options = LakeOptions::new(now_ms);
    options.target_file_bytes = 4 * 1024;
    options.group_bytes = 1; // no row is held for a shared file
    let lake = Lake::new(Arc::clone(&store), "lake".into(), options);
    let table = lake.table(&by_value()).await.unwrap();
    let written: Vec<Row> = (0..1200)
        .map(|position| {
            let partition = if position % 2 == 0 { 0 } else { position % 300 };
            (format!("{}", rand::random::<u128>()), position, Some(format!("{partition:03}")))
        })
        .collect();
    let mut writer = table.write();
    for rows in written.chunks(100) {
        writer.write(frame(rows)).await.unwrap();
    }
    let staged = writer.finish().await.unwrap();
    assert_eq!(staged.rows(), 1200);
    table.append(Append { producer: producer("hub/0", 1), rows: staged, books: counted(1200) }, None).await.unwrap();
    let files = table.snapshot().await.unwrap().files;
    assert!(files.len() > 151 && files.iter().all(|file| file.size < 64 * 1024), "{}", files.len());
    let mut expected = written;
    expected.sort();
    assert_eq!(rows(&table).await, expected);
}

/// As releases before this one left it: the protocol takes an empty value for null, and readers refuse the table.
#[tokio::test]
async fn a_table_with_an_empty_value_is_made_readable() {
    let store = memory();
    let mut strict = TableDefinition { partition_by: vec!["value".to_owned()], ..definition() };
    strict.columns[3].nullable = false;
    let table = lake(&store).table(&strict).await.unwrap();
    append(&table, &[("hub/0".to_owned(), 1, Some("a".to_owned()))], None).await.unwrap();
    let entry = store.get(&commit_path(1)).await.unwrap().bytes().await.unwrap();
    let entry = String::from_utf8(entry.to_vec()).unwrap();
    let emptied = entry.replace(r#""partitionValues":{"value":"a"}"#, r#""partitionValues":{"value":""}"#);
    assert_ne!(entry, emptied);
    store.put(&commit_path(1), emptied.into()).await.unwrap();
    let table = lake(&store).table(&strict).await.unwrap();
    assert!(!table.columns()[3].nullable);
    assert_eq!(table.checkpoint().await.unwrap(), 2);
    assert!(table.columns()[3].nullable);
    assert_eq!(rows(&lake(&store).table(&strict).await.unwrap()).await, [("hub/0".to_owned(), 1, None)]);
}
