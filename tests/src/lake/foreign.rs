//! What others did to rows, as the log tells it.

use std::sync::Arc;

use deltalake::DeltaTableBuilder;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::json;
use weir_lake::{CompactOptions, Table};

use super::readers::Local;
use super::{append, commit_path, lake, memory, model, open};
use crate::python;

const DELETE: &str = r#"
import sys
from deltalake import DeltaTable
table = DeltaTable(sys.argv[1])
for predicate in sys.argv[2:]:
    print(table.delete(predicate))
"#;
const RESTORE: &str = r#"
import sys
from deltalake import DeltaTable
DeltaTable(sys.argv[1]).restore(int(sys.argv[2]))
"#;
const OPTIMIZE: &str = r#"
import sys
from deltalake import DeltaTable
DeltaTable(sys.argv[1]).optimize.compact()
"#;

async fn grown(store: &Arc<dyn ObjectStore>) -> Arc<Table> {
    let table = lake(store).table(&super::definition()).await.unwrap();
    for batch in 0..5 {
        let (first, last) = (batch * 10 + 1, batch * 10 + 10);
        append(&table, &model("hub/0", first..=last), (batch > 0).then_some(first - 1)).await.unwrap();
    }
    table
}

#[tokio::test]
async fn rows_that_another_writer_deleted_are_told_with_who_did_it() {
    let local = Local::new();
    let table = grown(&local.store).await;
    assert_eq!(table.foreign_commits().await.unwrap().commits, []);
    let folder = local.table();
    let folder = folder.to_str().unwrap();
    python::run(DELETE, &[folder, "_source_position <= 5", "_source_position between 11 and 20"]);
    let told = table.foreign_commits().await.unwrap();
    assert_eq!((told.from, told.to), (0, 7));
    let commits: Vec<_> = told.commits.iter().map(|commit| (commit.version, commit.rows_gained())).collect();
    assert_eq!(commits, [(6, Some(-5)), (7, Some(-10))]);
    for commit in &told.commits {
        assert_eq!(commit.operation, "DELETE");
        assert!(commit.by.as_ref().unwrap().contains("delta-rs"), "{commit:?}");
        assert!(commit.timestamp_ms > 1_600_000_000_000);
    }
    // Weir's own work between them is not others'.
    append(&table, &model("hub/0", 51..=60), Some(50)).await.unwrap();
    assert!(table.compact(CompactOptions::default(), None).await.unwrap().commits > 0);
    // A restore brings rows back, and takes later ones.
    python::run(RESTORE, &[folder, "5"]);
    let told = table.foreign_commits().await.unwrap();
    let gained: Vec<_> = told.commits.iter().map(|commit| commit.rows_gained().unwrap()).collect();
    assert_eq!(gained, [-5, -10, 15 - 10], "{told:?}");
    let statistics = table.snapshot().await.unwrap().statistics();
    let missing = statistics.books.committed as i64 - (statistics.rows + statistics.books.replaced) as i64;
    assert_eq!(missing, -gained.iter().sum::<i64>(), "they explain what the books miss");
}

/// A compaction of others leaves all rows what they are.
#[tokio::test]
async fn files_that_others_moved_are_not_told() {
    let local = Local::new();
    let table = grown(&local.store).await;
    python::run(OPTIMIZE, &[local.table().to_str().unwrap()]);
    assert_eq!(table.refresh().await.unwrap(), 6);
    assert_eq!(table.foreign_commits().await.unwrap().commits, []);
}

/// What was cleaned up is not known, and that is said.
#[tokio::test]
async fn as_far_back_as_the_log_goes() {
    let local = Local::new();
    let table = grown(&local.store).await;
    let version = table.checkpoint().await.unwrap();
    let folder = local.table();
    python::run(DELETE, &[folder.to_str().unwrap(), "_source_position = 7"]);
    for version in 0..=version {
        local.store.delete(&commit_path(version)).await.unwrap();
    }
    let told = table.foreign_commits().await.unwrap();
    assert_eq!((told.from, told.to), (6, 6));
    assert_eq!(told.commits.iter().map(|commit| commit.rows_gained()).collect::<Vec<_>>(), [Some(-1)]);
    let url = url::Url::from_directory_path(&folder).unwrap();
    let theirs = DeltaTableBuilder::from_url(url).unwrap().load().await.unwrap();
    assert_eq!(theirs.version(), Some(6));
}

/// A writer that says next to nothing of itself or of its files.
#[tokio::test]
async fn what_is_not_said_is_unknown() {
    let store = memory();
    let table = open(&store).await;
    append(&table, &model("hub/0", 1..=3), None).await.unwrap();
    let path = table.snapshot().await.unwrap().files[0].log_path.clone();
    let lines = [
        json!({"remove": {"path": path, "dataChange": true}}),
        json!({"add": {"path": "x.parquet", "size": 1, "dataChange": true, "partitionValues": {}, "modificationTime": 0}}),
    ];
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    store.put(&commit_path(2), body.into()).await.unwrap();
    let told = table.foreign_commits().await.unwrap();
    let [commit] = told.commits.as_slice() else { panic!("{told:?}") };
    assert_eq!((commit.rows_removed, commit.rows_added, commit.rows_gained()), (Some(3), None, None));
    assert_eq!((commit.operation.as_str(), &commit.by), ("", &None));
}
