//! When a checkpoint is written, and the figures of a table.

use std::time::Duration;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use weir_lake::{CheckpointPolicy, FileEntry, Snapshot};

use super::clock::{self, DAY, HOUR, MINUTE};
use super::faulty::Faulty;
use super::{append, memory, model, rows};

const POLICY: CheckpointPolicy = CheckpointPolicy { commits: 20, age: HOUR };

#[tokio::test]
async fn a_checkpoint_is_due_by_age_if_there_was_a_commit() {
    clock::at(Duration::ZERO);
    let store = memory();
    let table = clock::open(&store).await;
    clock::at(2 * HOUR);
    assert_eq!(table.checkpoint_if_due(POLICY).await.unwrap(), None, "a table that is only created");
    clock::at(Duration::ZERO);
    append(&table, &model("hub/0", 1..=1), None).await.unwrap();
    clock::at(HOUR - MINUTE);
    assert_eq!(table.checkpoint_if_due(POLICY).await.unwrap(), None);
    clock::at(HOUR + MINUTE);
    assert_eq!(table.checkpoint_if_due(POLICY).await.unwrap(), Some(1), "the first one as well");

    append(&table, &model("hub/0", 2..=2), Some(1)).await.unwrap();
    clock::at(HOUR - MINUTE);
    assert_eq!(table.checkpoint_if_due(POLICY).await.unwrap(), None, "the last one is young");
    clock::at(HOUR + MINUTE);
    // Whichever process asks.
    assert_eq!(clock::open(&store).await.checkpoint_if_due(POLICY).await.unwrap(), Some(2));
}

#[tokio::test]
async fn a_table_at_rest_is_not_checkpointed_again() {
    clock::at(Duration::ZERO);
    let inner = memory();
    let store = Faulty::calm(&inner);
    let table = clock::open(&(store.clone() as _)).await;
    append(&table, &model("hub/0", 1..=1), None).await.unwrap();
    clock::at(2 * HOUR);
    assert_eq!(table.checkpoint_if_due(POLICY).await.unwrap(), Some(1));
    store.take_requests();
    for days in 1..=30 {
        clock::at(days * DAY);
        assert_eq!(table.checkpoint_if_due(POLICY).await.unwrap(), None);
    }
    let requests = store.take_requests();
    assert!(!requests.contains_key("put log") && !requests.contains_key("list"), "{requests:?}");
    // Next commit and hint, and the hint once more, because a commit may have been cleaned up.
    assert!(requests["get log"] <= 30 * 3, "{requests:?}");
}

#[tokio::test]
async fn a_checkpoint_is_due_after_so_many_commits_however_young_it_is() {
    clock::at(Duration::ZERO);
    let store = memory();
    let table = clock::open(&store).await;
    let policy = CheckpointPolicy { commits: 3, age: 100 * DAY };
    let mut written = Vec::new();
    for position in 1..=7 {
        append(&table, &model("hub/0", position..=position), (position > 1).then(|| position - 1)).await.unwrap();
        written.extend(clock::open(&store).await.checkpoint_if_due(policy).await.unwrap());
    }
    assert_eq!(written, [3, 6]);
    // A hint that is torn counts as none: the next run makes it good.
    store.put(&Path::from("lake/orders/_delta_log/_last_checkpoint"), "{\"ver".into()).await.unwrap();
    assert_eq!(table.checkpoint_if_due(policy).await.unwrap(), Some(7));
    assert_eq!(table.checkpoint_if_due(policy).await.unwrap(), None);
    assert_eq!(rows(&clock::open(&store).await).await, model("hub/0", 1..=7));
}

#[test]
fn files_are_counted_by_their_size() {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    let sizes =
        [0, 64 * KIB, 64 * KIB + 1, MIB, MIB + 1, 16 * MIB - 1, 16 * MIB, 64 * MIB, 256 * MIB, GIB, GIB + 1, 5 * GIB];
    let file = |size| FileEntry {
        log_path: String::new(),
        object: Path::default(),
        partition_values: Default::default(),
        size,
        rows: Some(1),
        stats: None,
    };
    let snapshot = Snapshot {
        version: 7,
        table_id: String::new(),
        schema_string: String::new(),
        files: sizes.into_iter().map(file).collect(),
        transactions: Default::default(),
    };
    let statistics = snapshot.statistics();
    let counts: Vec<_> = statistics.sizes.iter().map(|class| (class.up_to, class.files)).collect();
    let ends = [64 * KIB, MIB, 16 * MIB, 64 * MIB, 256 * MIB, GIB].map(Some);
    let expected: Vec<_> = ends.into_iter().chain([None]).zip([2, 2, 3, 1, 1, 1, 2]).collect();
    assert_eq!(counts, expected);
    let bytes: u64 = statistics.sizes.iter().map(|class| class.bytes).sum();
    assert_eq!((bytes, statistics.bytes), (sizes.iter().sum(), sizes.iter().sum()));
    assert_eq!(statistics.sizes[2].bytes, MIB + 1 + 16 * MIB - 1 + 16 * MIB);
    assert_eq!((statistics.version, statistics.files, statistics.rows, statistics.small_files), (7, 12, 12, 6));
    let json = serde_json::to_value(&statistics).unwrap();
    assert_eq!(json["sizes"][6], serde_json::json!({"upTo": null, "files": 2, "bytes": 6 * GIB + 1}));
}
