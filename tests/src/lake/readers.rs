//! Readers that are not ours: delta-rs, and Python's `deltalake` with its own query engine.

use std::path::Path;
use std::sync::Arc;

use deltalake::DeltaTableBuilder;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_lake::{CompactOptions, Outcome, Replacement, Table, TableDefinition};

use super::{Row, append, commit_path, counted, definition, frame, lake, model, producer, rows};
use crate::python;

/// Every row, the rows that a filter leaves and how many files it had to look at, as the engine sees them.
const READ: &str = r#"
import json, sys
from deltalake import DeltaTable, QueryBuilder

table = DeltaTable(sys.argv[1])

def query(sql):
    frame = QueryBuilder().register("t", table).execute(sql).read_all()
    columns = [frame.column(name).to_pylist() for name in frame.schema.names]
    return [list(row) for row in zip(*columns)]

protocol = table.protocol()
print(json.dumps({
    "protocol": [protocol.min_reader_version, protocol.min_writer_version],
    "version": table.version(),
    "files": len(table.file_uris()),
    "producer": table.transaction_version(sys.argv[2]),
    "rows": query('select "_source", "_source_position", "value" from t order by 1, 2'),
    "filters": [query("select count(*) from t where " + filter)[0][0] for filter in sys.argv[3:]],
    "partitions": sorted(map(str, (row["value"] for row in table.partitions()))) if table.metadata().partition_columns else [],
}))
"#;

pub(super) struct Local {
    folder: TempDir,
    pub(super) store: Arc<dyn ObjectStore>,
}

impl Local {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
        Self { folder, store }
    }

    pub(super) fn table(&self) -> std::path::PathBuf {
        self.folder.path().join("lake").join("orders")
    }
}

fn read(table: &Path, producer: &str, filters: &[&str]) -> Value {
    let arguments: Vec<_> = [table.to_str().unwrap(), producer].into_iter().chain(filters.iter().copied()).collect();
    serde_json::from_str(&python::run(READ, &arguments)).unwrap()
}

fn as_json(rows: &[Row]) -> Value {
    rows.iter().map(|(source, position, value)| json!([source, position, value])).collect()
}

/// Odd values, appended in several commits, compacted and replaced in part.
async fn lived_in(store: &Arc<dyn ObjectStore>, definition: &TableDefinition) -> Arc<Table> {
    let table = lake(store).table(definition).await.unwrap();
    let values = [Some("a b/c%d"), Some("\u{e9}\u{1f680}"), None, Some("x=y&z"), Some(&"long ".repeat(60))];
    for position in 1..=10 {
        let value = values[position as usize % values.len()].map(str::to_owned);
        append(&table, &[("hub/0".to_owned(), position, value)], (position > 1).then(|| position - 1)).await.unwrap();
    }
    append(&table, &model("blob", 1..=3), None).await.unwrap();
    table.compact(CompactOptions::default(), None).await.unwrap();
    let staged = table.stage(frame(&model("blob", 1..=2))).await.unwrap();
    let request = Replacement {
        source: "blob".to_owned(),
        positions: None,
        producer: producer("request", 1),
        rows: staged,
        books: counted(2),
    };
    assert!(matches!(table.replace_source(request).await.unwrap(), Outcome::Committed { .. }));
    append(&table, &model("hub/1", 1..=1), None).await.unwrap();
    table
}

/// What each filter must leave; each is one that statistics or partition values can skip files by.
fn filters(rows: &[Row]) -> (Vec<&'static str>, Vec<usize>) {
    let count = |keep: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| keep(row)).count();
    let cases = [
        ("\"_source_position\" > 7", count(&|row| row.1 > 7)),
        ("\"_source\" = 'hub/1'", count(&|row| row.0 == "hub/1")),
        ("\"value\" is null", count(&|row| row.2.is_none())),
        ("\"value\" = 'a b/c%d'", count(&|row| row.2.as_deref() == Some("a b/c%d"))),
        (
            "\"value\" > 'long long long long long long long'",
            count(&|row| row.2.as_deref() > Some("long long long long long long long")),
        ),
        (
            "\"value\" = 'x=y&z' and \"_source_position\" between 2 and 9",
            count(&|row| row.2.as_deref() == Some("x=y&z") && (2..=9).contains(&row.1)),
        ),
    ];
    cases.into_iter().unzip()
}

#[tokio::test]
async fn python_reads_what_we_wrote() {
    for partition_by in [vec![], vec!["value".to_owned()]] {
        let local = Local::new();
        let definition = TableDefinition { partition_by: partition_by.clone(), ..definition() };
        let table = lived_in(&local.store, &definition).await;
        let expected = rows(&table).await;
        let (filters, counts) = filters(&expected);
        let before = read(&local.table(), "hub/0", &filters);
        assert_eq!(before["protocol"], json!([1, 2]));
        assert_eq!(before["rows"], as_json(&expected));
        assert_eq!(before["filters"], json!(counts), "{filters:?}");
        assert_eq!(before["producer"], 10);
        let snapshot = table.snapshot().await.unwrap();
        assert_eq!((&before["version"], &before["files"]), (&json!(snapshot.version), &json!(snapshot.files.len())));
        let partitions = before["partitions"].as_array().unwrap();
        assert!(partition_by.is_empty() || partitions.contains(&json!("a b/c%d")), "{partitions:?}");

        // From a checkpoint alone, the log before it cleaned up.
        let version = table.checkpoint().await.unwrap();
        for version in 0..=version {
            local.store.delete(&commit_path(version)).await.unwrap();
        }
        assert_eq!(read(&local.table(), "hub/0", &filters), before);
    }
}

/// delta-rs reads and writes beside us: what it adds we read, what it reads is what we have.
#[tokio::test]
async fn delta_rs_reads_what_we_wrote() {
    let local = Local::new();
    let table = lived_in(&local.store, &definition()).await;
    let url = url::Url::from_directory_path(local.table()).unwrap();
    let theirs = DeltaTableBuilder::from_url(url).unwrap().load().await.unwrap();
    let state = theirs.snapshot().unwrap();
    let snapshot = table.snapshot().await.unwrap();
    assert_eq!((state.protocol().min_reader_version(), state.protocol().min_writer_version()), (1, 2));
    assert_eq!(theirs.version().map(|version| version as i64), Some(snapshot.version));
    assert_eq!(state.log_data().num_files(), snapshot.files.len());
    let log_store = theirs.log_store();
    for (producer, version) in &snapshot.transactions {
        assert_eq!(
            state.transaction_version(log_store.as_ref(), producer).await.unwrap(),
            Some(*version),
            "{producer}"
        );
    }
    let counted: usize = state.log_data().iter().map(|file| file.num_records().unwrap()).sum();
    assert_eq!(counted, rows(&table).await.len());
}
