//! Opening a table: from its whole log, from a checkpoint, and from what accidents leave of either.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use polars::prelude::DataFrame;
use weir_lake::{CheckpointPolicy, CompactOptions, ErrorKind, Snapshot, SourceRows, Table};

use super::faulty::Faulty;
use super::{append, commit_path, definition, lake, memory, model, open, partition, rows};

const HINT: &str = "lake/orders/_delta_log/_last_checkpoint";

/// Twelve commits and a compaction over three partitions, one of them null, by two producers.
async fn grown(store: &Arc<dyn ObjectStore>) -> Arc<Table> {
    let table = lake(store).table(&partitioned()).await.unwrap();
    for position in 1..=12 {
        let value = ["a b/c%d", "\u{e9}\u{1f680}", ""][position as usize % 3];
        let value = (!value.is_empty()).then(|| value.to_owned());
        let source = ["hub/0", "hub/1"][position as usize % 2];
        let after = (position > 2).then(|| position - 2);
        append(&table, &[(source.to_owned(), position, value)], after).await.unwrap();
    }
    assert!(table.compact(CompactOptions::default(), None).await.unwrap().commits > 0);
    table
}

fn partitioned() -> weir_lake::TableDefinition {
    let properties = vec![("delta.checkpointInterval".to_owned(), "1000".to_owned())];
    weir_lake::TableDefinition { partition_by: vec!["value".to_owned()], properties, ..definition() }
}

async fn reopened(store: &Arc<dyn ObjectStore>) -> Arc<Table> {
    lake(store).table(&partitioned()).await.unwrap()
}

async fn delete(store: &Arc<dyn ObjectStore>, versions: impl IntoIterator<Item = i64>) {
    for version in versions {
        store.delete(&commit_path(version)).await.unwrap();
    }
}

fn assert_same(left: &Snapshot, right: &Snapshot) {
    assert_eq!(
        (left.version, &left.table_id, &left.schema_string),
        (right.version, &right.table_id, &right.schema_string)
    );
    assert_eq!(left.transactions, right.transactions);
    // delta-rs writes statistics anew: the same figures, perhaps in another order.
    let files = |snapshot: &Snapshot| -> Vec<_> {
        let stats =
            |stats: &Option<String>| serde_json::from_str::<serde_json::Value>(stats.as_ref().unwrap()).unwrap();
        let files = snapshot.files.iter();
        files
            .map(|file| {
                (
                    file.log_path.clone(),
                    file.object.clone(),
                    file.partition_values.clone(),
                    file.size,
                    file.rows,
                    stats(&file.stats),
                )
            })
            .collect()
    };
    assert_eq!(files(left), files(right));
}

#[tokio::test]
async fn a_checkpoint_holds_all_that_the_log_held() {
    let store = memory();
    let table = grown(&store).await;
    let (before, content) = (table.snapshot().await.unwrap(), rows(&table).await);
    assert_eq!(table.checkpoint().await.unwrap(), before.version);
    assert_same(&reopened(&store).await.snapshot().await.unwrap(), &before);

    // The log up to the checkpoint is cleaned up, as other tools do.
    delete(&store, 0..=before.version).await;
    let cold = reopened(&store).await;
    assert_same(&cold.snapshot().await.unwrap(), &before);
    assert_eq!(rows(&cold).await, content);
    assert_eq!(cold.committed("hub/1"), Some(11));

    // Life goes on after it, in the process that was there and in a new one.
    append(&table, &model("hub/2", 1..=1), None).await.unwrap();
    append(&cold, &model("hub/2", 2..=2), None).await.map(|outcome| format!("{outcome:?}")).unwrap();
    assert_eq!(reopened(&store).await.snapshot().await.unwrap().version, before.version + 1);
    let values: Vec<_> = before.files.iter().map(|file| file.partition_values.clone()).collect();
    for value in [None, Some("a b/c%d"), Some("\u{e9}\u{1f680}")] {
        assert!(values.contains(&partition(&[("value", value)])), "{value:?} in {values:?}");
    }
}

/// A cold start reads one checkpoint instead of the log before it.
#[tokio::test]
async fn a_cold_start_costs_a_checkpoint_and_the_commits_after_it() {
    let inner = memory();
    let table = grown(&inner).await;
    table.checkpoint().await.unwrap();
    let store = Faulty::calm(&inner);
    reopened(&(Arc::clone(&store) as _)).await;
    let requests = store.take_requests();
    // The head of the log, hint, checkpoint, and what is read ahead.
    assert!(requests["get log"] <= 1 + 2 + 32 + 1, "{requests:?}");
    assert!(!requests.contains_key("list"), "{requests:?}");
}

#[tokio::test]
async fn a_hint_that_is_torn_missing_or_stale_is_only_a_hint() {
    for (name, hint) in [
        ("torn", Some("{\"vers")),
        ("empty", Some("")),
        ("missing", None),
        ("stale", Some("{\"version\":3,\"size\":9}")),
    ] {
        for cleaned in [false, true] {
            let store = memory();
            let table = grown(&store).await;
            let version = table.checkpoint().await.unwrap();
            append(&table, &model("hub/2", 1..=1), None).await.unwrap();
            let before = table.snapshot().await.unwrap();
            match hint {
                Some(text) => drop(store.put(&Path::from(HINT), text.into()).await.unwrap()),
                None => store.delete(&Path::from(HINT)).await.unwrap(),
            }
            if cleaned {
                delete(&store, 0..=version).await;
            }
            let cold = reopened(&store).await.snapshot().await.unwrap();
            assert_same(&cold, &before);
        }
        println!("{name}: ok");
    }
}

/// A clean-up that was cut off leaves commit 0 or any other behind: the table begins at its checkpoint all the same.
#[tokio::test]
async fn a_half_cleaned_log_is_read_from_its_checkpoint() {
    for kept in [0, 5] {
        let store = memory();
        let table = grown(&store).await;
        let version = table.checkpoint().await.unwrap();
        let before = table.snapshot().await.unwrap();
        delete(&store, (0..=version).filter(|version| *version != kept)).await;
        store.delete(&Path::from(HINT)).await.unwrap();
        assert_same(&reopened(&store).await.snapshot().await.unwrap(), &before);
    }
}

/// Replaying what is left would lose rows, and a table made anew would lose all of them.
#[tokio::test]
async fn a_log_with_a_hole_is_corrupt_and_not_a_shorter_table() {
    let store = memory();
    grown(&store).await;
    delete(&store, 5..=6).await;
    let error = lake(&store).table(&partitioned()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("is missing, and later commits are not"), "{error}");
}

#[tokio::test]
async fn a_checkpoint_is_written_when_it_is_due() {
    let store = memory();
    let table = open(&store).await;
    let policy = CheckpointPolicy { commits: 4, age: Duration::from_secs(3600) };
    let mut written = Vec::new();
    for position in 1..=10 {
        append(&table, &model("hub/0", position..=position), (position > 1).then(|| position - 1)).await.unwrap();
        written.extend(table.checkpoint_if_due(policy).await.unwrap());
    }
    assert_eq!(written, [4, 8]);
    let from = open(&store).await.commits(9, 10).await.unwrap();
    assert_eq!(from.iter().map(|commit| commit.version).collect::<Vec<_>>(), [9, 10]);
    assert_eq!(open(&store).await.commits(1, 3).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_snapshot_counts_what_is_there() {
    let store = memory();
    let table = grown(&store).await;
    let snapshot = table.snapshot().await.unwrap();
    let statistics = snapshot.statistics();
    assert_eq!((statistics.rows, statistics.files, statistics.small_files), (12, 3, 3));
    assert_eq!(statistics.bytes, snapshot.files.iter().map(|file| file.size).sum::<u64>());
    for file in &snapshot.files {
        assert_eq!(store.head(&file.object).await.unwrap().size, file.size);
    }
    let positions = positions_of(&table, "hub/1", 0..=i64::MAX).await;
    assert_eq!(positions, (1..=11).step_by(2).collect());
    let positions = positions_of(&table, "hub/1", 2..=7).await;
    assert_eq!(positions, [3, 5, 7].into());
}

async fn positions_of(table: &Table, source: &str, positions: std::ops::RangeInclusive<i64>) -> BTreeSet<i64> {
    let mut found = BTreeSet::new();
    let rows = SourceRows { sources: &[source.to_owned()], positions, since_us: None };
    let each = |frame: DataFrame| {
        found.extend(frame.column("_source_position")?.i64()?.iter().flatten());
        Ok(ControlFlow::Continue(()))
    };
    table.rows_of(rows, &["_source_position"], each).await.unwrap();
    found
}
