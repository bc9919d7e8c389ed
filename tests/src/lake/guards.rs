//! Tables that Weir must not write, or that are not what the contract says.

use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Value, json};
use weir_contract::DataType;
use weir_lake::{ErrorKind, LakeError, TableDefinition};

use super::{actions, append, column, commit_path, definition, lake, memory, model, open, rows};

/// Commit 0 of somebody else's table.
async fn create(store: &Arc<dyn ObjectStore>, protocol: Value, schema: Value, configuration: Value, partition: Value) {
    let metadata = json!({
        "id": "0b7f", "format": {"provider": "parquet", "options": {}}, "schemaString": schema.to_string(),
        "partitionColumns": partition, "configuration": configuration, "createdTime": 1_700_000_000_000_i64,
    });
    commit(store, 0, &[json!({"protocol": protocol}), json!({"metaData": metadata})]).await;
}

async fn commit(store: &Arc<dyn ObjectStore>, version: i64, actions: &[Value]) {
    let lines: String = actions.iter().map(|action| format!("{action}\n")).collect();
    store.put(&commit_path(version), lines.into()).await.unwrap();
}

/// Another writer switches a feature on.
pub(super) async fn upgrade(store: &Arc<dyn ObjectStore>, version: i64) {
    let created = actions(store, 0).await;
    let mut metadata = created.iter().find_map(|action| action.get("metaData")).unwrap().clone();
    metadata["configuration"] = json!({"delta.enableDeletionVectors": "true"});
    let features = json!(["deletionVectors"]);
    let protocol =
        json!({"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features});
    commit(store, version, &[json!({"protocol": protocol}), json!({"metaData": metadata})]).await;
}

fn ours() -> Value {
    json!({"minReaderVersion": 1, "minWriterVersion": 2})
}

fn schema(metadata: Value) -> Value {
    let field = |name: &str, kind: &str, nullable: bool| json!({"name": name, "type": kind, "nullable": nullable, "metadata": {}});
    let mut value = field("value", "string", true);
    value["metadata"] = metadata;
    let lineage = [("_source", "string"), ("_source_version", "string"), ("_source_position", "long")];
    let mut fields: Vec<_> = lineage.into_iter().map(|(name, kind)| field(name, kind, false)).collect();
    fields.push(value);
    json!({"type": "struct", "fields": fields})
}

async fn refusal(store: &Arc<dyn ObjectStore>, definition: &TableDefinition) -> LakeError {
    let existing = lake(store).existing(definition).await.unwrap_err();
    let error = lake(store).table(definition).await.unwrap_err();
    assert_eq!(existing.to_string(), error.to_string());
    error
}

#[tokio::test]
async fn a_table_with_features_that_weir_would_break_is_refused_by_name() {
    let features = |reader: Value, writer: Value| json!({"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": reader, "writerFeatures": writer});
    let writer = |version: i32| json!({"minReaderVersion": 1, "minWriterVersion": version});
    let cases = [
        (
            features(json!(["deletionVectors"]), json!(["deletionVectors"])),
            json!({}),
            json!({"delta.enableDeletionVectors": "true"}),
            "deletion vectors, in protocol (reader 3, writer 7)",
        ),
        (
            writer(3),
            json!({}),
            json!({"delta.constraints.positive": "value > 0"}),
            "CHECK constraints, in protocol (reader 1, writer 3)",
        ),
        (
            writer(6),
            json!({"delta.identity.start": 1}),
            json!({}),
            "identity columns, in protocol (reader 1, writer 6)",
        ),
        (writer(7), json!({"CURRENT_DEFAULT": "'x'"}), json!({}), "column defaults"),
        (writer(2), json!({"delta.typeChanges": []}), json!({}), "type widening"),
        // These oblige by being listed, and nobody knows what those will that are unknown.
        (features(json!([]), json!(["rowTracking"])), json!({}), json!({}), "feature `rowTracking`"),
        (features(json!([]), json!(["clustering"])), json!({}), json!({}), "feature `clustering`"),
        (
            features(json!(["catalogManaged"]), json!(["catalogManaged"])),
            json!({}),
            json!({}),
            "feature `catalogManaged`",
        ),
        (features(json!(["tomorrow"]), json!(["tomorrow"])), json!({}), json!({}), "feature `tomorrow`"),
        (json!({"minReaderVersion": 4, "minWriterVersion": 7}), json!({}), json!({}), "protocol (reader 4, writer 7)"),
        (json!({"minReaderVersion": 1, "minWriterVersion": 8}), json!({}), json!({}), "protocol (reader 1, writer 8)"),
        (ours(), json!({}), json!({"delta.enableDeletionVectors": "true"}), "deletion vectors"),
        (ours(), json!({}), json!({"delta.enableRowTracking": "true"}), "row tracking"),
        (ours(), json!({}), json!({"delta.enableInCommitTimestamps": "true"}), "in-commit timestamps"),
        (ours(), json!({}), json!({"delta.columnMapping.mode": "name"}), "column mapping"),
        (ours(), json!({}), json!({"delta.checkpointPolicy": "v2"}), "checkpoints of version 2"),
        (ours(), json!({"delta.invariants": "{}"}), json!({}), "column invariants"),
        (ours(), json!({"delta.generationExpression": "1"}), json!({}), "generated columns"),
    ];
    for (protocol, metadata, configuration, feature) in cases {
        let store = memory();
        create(&store, protocol, schema(metadata), configuration, json!([])).await;
        let error = refusal(&store, &definition()).await;
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let message = error.to_string();
        assert!(message.starts_with(&format!("table `orders`: the table has {feature}")), "{message}");
        assert!(message.contains("move the dataset to a new table"), "{message}");
    }
}

#[tokio::test]
async fn a_feature_is_found_at_any_depth_of_the_schema() {
    let field = json!({"name": "x", "type": "long", "nullable": true, "metadata": {"delta.invariants": "{}"}});
    let inner = json!({"type": "struct", "fields": [field]});
    let array = json!({"type": "array", "elementType": inner, "containsNull": true});
    let key = json!({"type": "map", "keyType": inner, "valueType": "string", "valueContainsNull": true});
    let value = json!({"type": "map", "keyType": "string", "valueType": array, "valueContainsNull": true});
    for nested in [inner, array, key, value] {
        let store = memory();
        let mut schema = schema(json!({}));
        let field = json!({"name": "nested", "type": nested, "nullable": true, "metadata": {}});
        schema["fields"].as_array_mut().unwrap().push(field);
        create(&store, ours(), schema, json!({}), json!([])).await;
        let error = refusal(&store, &definition()).await.to_string();
        assert!(error.contains("the table has column invariants"), "{error}");
    }
}

#[tokio::test]
async fn a_plain_table_of_another_writer_is_taken() {
    let store = memory();
    let configuration = json!({
        "delta.appendOnly": "false", "delta.columnMapping.mode": "none", "delta.checkpointPolicyNote": "not v2",
    });
    create(&store, ours(), schema(json!({"comment": "what it costs"})), configuration, json!([])).await;
    append(&open(&store).await, &model("hub/0", 1..=3), None).await.unwrap();
    assert_eq!(rows(&open(&store).await).await, model("hub/0", 1..=3));
}

#[tokio::test]
async fn a_table_that_is_not_the_contracts_is_refused_by_column() {
    let store = memory();
    create(&store, ours(), schema(json!({})), json!({}), json!([])).await;
    let changed = |change: fn(&mut TableDefinition)| {
        let mut definition = definition();
        change(&mut definition);
        definition
    };
    let cases = [
        (
            changed(|table| table.columns.push(column("price", DataType::Double, true))),
            "the contract has column `price`, the table has not, and `new_columns` is \"fail\": add it to the table, or let \
             `new_columns` be \"add\"",
        ),
        (
            changed(|table| drop(table.columns.pop())),
            "the table has column `value`, the contract has not, and `new_columns` is \"fail\"",
        ),
        (
            changed(|table| table.columns[3].data_type = DataType::Decimal { precision: 10, scale: 2 }),
            "column `value` is decimal(10,2) in the contract and string in the table; a type change needs a reader that \
             Synapse has not: give the column a new name or the dataset a new table",
        ),
        (
            changed(|table| table.columns[0].nullable = true),
            "column `_source` may be null in the contract and must not be in the table",
        ),
        (
            changed(|table| table.partition_by = vec!["value".to_owned()]),
            "partitioned by [], and by [value] in the contract; a table's partition columns stay: give the dataset a new \
             table",
        ),
    ];
    for (definition, message) in cases {
        let error = refusal(&store, &definition).await;
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Invalid, format!("table `orders`: {message}")));
    }
}

/// Rows with nulls are there, then the contract forbids nulls: what is there must stay rewritable.
#[tokio::test]
async fn a_contract_may_forbid_nulls_that_the_table_has() {
    let store = memory();
    let table = open(&store).await;
    for position in 1..=2 {
        let null = [("hub/0".to_owned(), position, None)];
        append(&table, &null, (position > 1).then(|| position - 1)).await.unwrap();
    }
    let mut stricter = definition();
    stricter.columns[3].nullable = false;
    let table = lake(&store).table(&stricter).await.unwrap();
    assert_eq!(table.compact(Default::default(), None).await.unwrap().files_removed, 2);
    assert_eq!(rows(&table).await, [("hub/0".to_owned(), 1, None), ("hub/0".to_owned(), 2, None)]);
}

/// What another writer may do while we hold the table open, and what every later append says.
#[tokio::test]
async fn a_table_that_is_altered_under_us_is_not_written_any_more() {
    let metadata = |change: fn(&mut Value)| {
        move |mut metadata: Value| {
            change(&mut metadata);
            json!({"metaData": metadata})
        }
    };
    let add_column = metadata(|metadata| {
        let mut schema: Value = serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
        let price = json!({"name": "price", "type": "double", "nullable": true, "metadata": {}});
        schema["fields"].as_array_mut().unwrap().push(price);
        metadata["schemaString"] = json!(schema.to_string());
    });
    type Change = Box<dyn Fn(Value) -> Value>;
    let cases: [(&str, Change, ErrorKind, &str); 4] = [
        (
            "a constraint",
            Box::new(metadata(|metadata| metadata["configuration"] = json!({"delta.constraints.a": "value > 0"}))),
            ErrorKind::Unsupported,
            "CHECK constraints",
        ),
        ("a column", Box::new(add_column), ErrorKind::Invalid, "the table has column `price`, the contract has not"),
        (
            "partitions",
            Box::new(metadata(|metadata| metadata["partitionColumns"] = json!(["value"]))),
            ErrorKind::Invalid,
            "partitioned by [value], and by [] in the contract",
        ),
        (
            "protocol",
            Box::new(|_| json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 8}})),
            ErrorKind::Unsupported,
            "protocol (reader 1, writer 8)",
        ),
    ];
    for (name, alter, kind, message) in cases {
        let store = memory();
        let table = open(&store).await;
        append(&table, &model("hub/0", 1..=1), None).await.unwrap();
        let created = actions(&store, 0).await;
        let before = created.iter().find_map(|action| action.get("metaData")).unwrap().clone();
        commit(&store, 2, &[alter(before)]).await;
        for attempt in 0..2 {
            let error = append(&table, &model("hub/0", 2..=2), Some(1)).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{name}, {attempt}: {error}");
            assert!(error.to_string().contains(message), "{name}, {attempt}: {error}");
            assert_eq!(table.refresh().await.unwrap_err().kind(), kind, "{name}, {attempt}");
        }
        assert!(store.head(&commit_path(3)).await.is_err(), "{name}: something was committed");
    }
}

#[tokio::test]
async fn a_new_property_does_not_stop_us() {
    let store = memory();
    let table = open(&store).await;
    let created = actions(&store, 0).await;
    let mut metadata = created.iter().find_map(|action| action.get("metaData")).unwrap().clone();
    metadata["configuration"] = json!({"delta.logRetentionDuration": "interval 60 days"});
    commit(&store, 1, &[json!({"metaData": metadata})]).await;
    append(&table, &model("hub/0", 1..=1), None).await.unwrap();
    assert_eq!(rows(&table).await, model("hub/0", 1..=1));
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_corrupt_and_said_where() {
    let cases = [
        ("not json\n", "line 1: expected ident"),
        ("{\"add\":{\"path\":\"../secrets.parquet\",\"size\":1,\"dataChange\":true}}\n", "outside the table's folder"),
        ("{\"add\":{\"path\":\"/etc/passwd\",\"size\":1,\"dataChange\":true}}\n", "outside the table's folder"),
        ("{\"add\":{\"path\":\"abfss://x/y\",\"size\":1,\"dataChange\":true}}\n", "outside the table's folder"),
        ("{\"add\":{\"path\":\"a\",\"size\":-1,\"dataChange\":true}}\n", "negative size"),
    ];
    for (line, message) in cases {
        let store = memory();
        let table = open(&store).await;
        store.put(&commit_path(1), line.into()).await.unwrap();
        let error = table.snapshot().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let text = error.to_string();
        assert!(text.contains("00000000000000000001.json") && text.contains(message), "{text}");
    }
    assert!(open(&memory()).await.file("../other/part-1.parquet", Default::default()).is_none());
    assert!(Path::parse("a/../b").is_err(), "what the above relies on");
}

/// Numbers of a protocol, names of features and names or comments of columns put nothing to use.
#[tokio::test]
async fn a_table_in_which_no_feature_is_used_is_written_whatever_its_protocol() {
    let listed = |reader: i32, readers: Value, writers: Value| {
        let mut protocol = json!({"minReaderVersion": reader, "minWriterVersion": 7, "writerFeatures": writers});
        if reader == 3 {
            protocol["readerFeatures"] = readers;
        }
        protocol
    };
    let plain = |reader: i32, writer: i32| json!({"minReaderVersion": reader, "minWriterVersion": writer});
    let comment = json!({"comment": "CURRENT_DEFAULT, delta.invariants and delta.generationExpression of \"x\""});
    let cases = [
        (plain(1, 3), json!({}), json!({})),
        (plain(1, 4), json!({}), json!({"delta.enableChangeDataFeed": "false"})),
        (plain(2, 5), json!({}), json!({"delta.columnMapping.mode": "none"})),
        (plain(1, 6), json!({}), json!({})),
        (listed(1, json!([]), json!([])), json!({}), json!({})),
        (listed(1, json!([]), json!(["appendOnly", "invariants"])), json!({}), json!({"delta.appendOnly": "false"})),
        (
            listed(1, json!([]), json!(["checkConstraints", "generatedColumns", "identityColumns"])),
            json!({}),
            json!({}),
        ),
        (listed(1, json!([]), json!(["domainMetadata", "allowColumnDefaults"])), json!({}), json!({})),
        (listed(3, json!(["deletionVectors"]), json!(["deletionVectors"])), json!({}), json!({})),
        (
            listed(3, json!(["columnMapping", "v2Checkpoint"]), json!(["columnMapping", "v2Checkpoint"])),
            json!({"delta.columnMapping.id": 4, "delta.columnMapping.physicalName": "value"}),
            json!({"delta.columnMapping.mode": "none", "delta.checkpointPolicy": "classic"}),
        ),
        (ours(), comment, json!({"note": "delta.appendOnly", "delta.constraintsOfNoKind": "x"})),
    ];
    for (protocol, metadata, configuration) in cases {
        let store = memory();
        create(&store, protocol.clone(), schema(metadata), configuration, json!([])).await;
        let table = open(&store).await;
        for position in 1..=3 {
            let after = (position > 1).then(|| position - 1);
            append(&table, &model("hub/0", position..=position), after)
                .await
                .unwrap_or_else(|e| panic!("{protocol}: {e}"));
        }
        assert!(table.compact(Default::default(), None).await.unwrap().commits > 0, "{protocol}");
        assert_eq!(rows(&open(&store).await).await, model("hub/0", 1..=3), "{protocol}");
    }
}

/// Names of columns are free, also those that features have.
#[tokio::test]
async fn a_columns_name_is_no_feature() {
    for name in [
        "CURRENT_DEFAULT",
        "CURRENT_DEFAULT_RATE",
        "delta.invariants",
        "delta.generationExpression",
        "delta.identity.start",
    ] {
        let store = memory();
        let mut definition = definition();
        definition.columns.push(column(name, DataType::String, true));
        let table = lake(&store).table(&definition).await.unwrap();
        let mut frame = super::frame(&model("hub/0", 1..=1));
        frame.with_column(polars::prelude::Column::new(name.into(), [Some("x")])).unwrap();
        let staged = table.stage(frame).await.unwrap();
        let once = weir_lake::Append { producer: super::producer("hub/0", 1), rows: staged, books: super::counted(1) };
        table.append(once, None).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        lake(&store).table(&definition).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// Appends go on; what would break the table's word does not.
#[tokio::test]
async fn append_only_tables_and_change_feeds_are_appended_to_and_not_rewritten() {
    let cases = [("delta.appendOnly", "delta.appendOnly=true"), ("delta.enableChangeDataFeed", "the change data feed")];
    for (property, message) in cases {
        let store = memory();
        create(
            &store,
            json!({"minReaderVersion": 1, "minWriterVersion": 4}),
            schema(json!({})),
            json!({property: "true"}),
            json!([]),
        )
        .await;
        let table = open(&store).await;
        append(&table, &model("a", 1..=2), None).await.unwrap();
        append(&table, &model("b", 1..=2), None).await.unwrap();
        // Rows stay what they are in a compaction: both allow it.
        assert_eq!(table.compact(Default::default(), None).await.unwrap().commits, 1, "{property}");
        let staged = table.stage(super::frame(&model("a", 1..=1))).await.unwrap();
        let replacement = weir_lake::Replacement {
            source: "a".to_owned(),
            positions: None,
            producer: super::producer("request", 1),
            rows: staged,
            books: super::counted(1),
        };
        let error = table.replace_source(replacement).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{property}: {error}");
        assert!(error.to_string().contains(message), "{error}");
        append(&table, &model("a", 3..=3), Some(2)).await.unwrap();
        assert_eq!(rows(&open(&store).await).await, [model("a", 1..=3), model("b", 1..=2)].concat());
    }
}
