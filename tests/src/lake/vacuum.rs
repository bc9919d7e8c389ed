//! Vacuum deletes what nobody needs, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use weir_lake::{
    CompactOptions, ErrorKind, FileEntry, Lake, LakeError, LakeOptions, Table, VacuumOptions, VacuumReport,
};

use super::clock::{self, DAY, HOUR, MINUTE, open_as, with};
use super::faulty::{Fault, Faulty, names};
use super::{Row, append, column, definition, frame, memory, model, rows};
use crate::azurite;

const OPTIONS: VacuumOptions = VacuumOptions { orphan_age: DAY, longest_invocation: HOUR, dry_run: false };
const LOG: &str = "_delta_log";
const RETENTION: &str = "delta.deletedFileRetentionDuration";

/// Five files that a compaction made one.
async fn compacted(table: &Arc<Table>) -> (Vec<FileEntry>, Vec<Row>) {
    for position in 1..=5 {
        append(table, &model("hub/0", position..=position), (position > 1).then(|| position - 1)).await.unwrap();
    }
    let removed = table.snapshot().await.unwrap().files;
    assert_eq!(table.compact(CompactOptions::default(), None).await.unwrap().files_removed, 5);
    (removed, model("hub/0", 1..=5))
}

fn report(removed: usize, orphans: usize, bytes: u64) -> VacuumReport {
    VacuumReport { removed, orphans, bytes }
}

async fn data(store: &Arc<dyn ObjectStore>) -> Vec<String> {
    names(store, "lake/orders")
        .await
        .into_iter()
        .filter(|name| name.ends_with(".parquet") && !name.contains(LOG))
        .collect()
}

#[tokio::test]
async fn removed_files_go_after_their_retention_and_not_before() {
    let cases = [(None, 7 * DAY), (Some("interval 2 weeks"), 14 * DAY), (Some("interval 3 hours"), 3 * HOUR)];
    for ((property, retention), checkpointed) in cases.into_iter().flat_map(|case| [(case, false), (case, true)]) {
        clock::at(Duration::ZERO);
        let store = memory();
        let properties: Vec<_> = property.map(|value| (RETENTION, value)).into_iter().collect();
        let table = open_as(&store, &with(&properties)).await;
        let (removed, expected) = compacted(&table).await;
        if checkpointed {
            // The tombstones are in the checkpoint now.
            table.checkpoint().await.unwrap();
        }
        clock::at(retention - MINUTE);
        assert_eq!(table.vacuum(OPTIONS).await.unwrap(), VacuumReport::default(), "{property:?}");
        for file in &removed {
            assert_eq!(table.read(file).await.unwrap().height(), 1, "an older version is still read");
        }
        clock::at(retention + MINUTE);
        let bytes = removed.iter().map(|file| file.size).sum();
        let dry = table.vacuum(VacuumOptions { dry_run: true, ..OPTIONS }).await.unwrap();
        assert_eq!((dry, data(&store).await.len()), (report(5, 0, bytes), 6), "a dry run deletes nothing");
        assert_eq!(table.vacuum(OPTIONS).await.unwrap(), report(5, 0, bytes), "{property:?}");
        assert_eq!(table.vacuum(OPTIONS).await.unwrap(), VacuumReport::default(), "twice");
        assert_eq!(data(&store).await.len(), 1);
        assert_eq!(rows(&open_as(&store, &definition()).await).await, expected);
    }
}

#[tokio::test]
async fn files_of_the_table_stay_however_old_they_are() {
    clock::at(Duration::ZERO);
    let store = memory();
    let table = clock::open(&store).await;
    let (_, expected) = compacted(&table).await;
    append(&table, &model("hub/1", 1..=3), None).await.unwrap();
    clock::at(3650 * DAY);
    assert_eq!(table.vacuum(OPTIONS).await.unwrap().removed, 5);
    assert_eq!(rows(&clock::open(&store).await).await, [expected, model("hub/1", 1..=3)].concat());
}

/// The longest invocation: its file is written, its commit is not yet.
#[tokio::test]
async fn what_an_invocation_under_way_may_commit_stays() {
    clock::at(Duration::ZERO);
    let store = memory();
    let (_, expected) = compacted(&clock::open(&store).await).await;
    let faulty = Faulty::calm(&store);
    let table = clock::open(&(Arc::clone(&faulty) as _)).await;
    let other = clock::open(&store).await;

    let gate = faulty.hold_next_write(LOG);
    let ours = Arc::clone(&table);
    let appending = tokio::spawn(async move { append(&ours, &model("hub/1", 1..=3), None).await });
    gate.reached().await;
    clock::at(23 * HOUR);
    assert_eq!(other.vacuum(OPTIONS).await.unwrap(), VacuumReport::default());
    gate.release();
    appending.await.unwrap().unwrap();
    let expected = [expected, model("hub/1", 1..=3)].concat();
    assert_eq!(rows(&clock::open(&store).await).await, expected);

    // The same for the file that a compaction makes.
    append(&other, &model("hub/2", 1..=1), None).await.unwrap();
    let gate = faulty.hold_next_write(LOG);
    let compacting = tokio::spawn(async move { table.compact(CompactOptions::default(), None).await });
    gate.reached().await;
    assert_eq!(other.vacuum(OPTIONS).await.unwrap(), VacuumReport::default());
    gate.release();
    assert_eq!(compacting.await.unwrap().unwrap().commits, 1);
    assert_eq!(rows(&clock::open(&store).await).await, [expected, model("hub/2", 1..=1)].concat());
}

#[tokio::test]
async fn what_a_crashed_writer_left_goes_when_it_is_old() {
    clock::at(Duration::ZERO);
    let store = memory();
    let options = LakeOptions { group_bytes: 1, ..LakeOptions::new(clock::now_ms) };
    let table = Lake::new(clock::moved(&store), "lake".into(), options).table(&definition()).await.unwrap();
    append(&table, &model("hub/0", 1..=3), None).await.unwrap();
    drop(table.stage(frame(&model("hub/1", 1..=3))).await.unwrap());
    assert_eq!(data(&store).await.len(), 2);
    clock::at(23 * HOUR);
    assert_eq!(table.vacuum(OPTIONS).await.unwrap(), VacuumReport::default());
    clock::at(25 * HOUR);
    let found = table.vacuum(OPTIONS).await.unwrap();
    assert_eq!((found.removed, found.orphans, data(&store).await.len()), (0, 1, 1));
    assert_eq!(rows(&clock::open(&store).await).await, model("hub/0", 1..=3));
}

/// What the store still does after the client gave up: the commit comes late, its file must be there.
#[tokio::test]
async fn a_commit_that_comes_late_finds_its_file() {
    clock::at(Duration::ZERO);
    let store = memory();
    let faulty = Faulty::calm(&store);
    let options = LakeOptions { commit_timeout: Duration::ZERO, ..LakeOptions::new(clock::now_ms) };
    let table = Lake::new(clock::moved(&(Arc::clone(&faulty) as _)), "lake".into(), options)
        .table(&definition())
        .await
        .unwrap();
    faulty.next_write(LOG, Fault::Late);
    append(&table, &model("hub/0", 1..=3), None).await.unwrap_err();
    clock::at(2 * HOUR);
    assert_eq!(table.vacuum(OPTIONS).await.unwrap(), VacuumReport::default());
    faulty.settle().await;
    assert_eq!(rows(&clock::open(&store).await).await, model("hub/0", 1..=3));
}

#[tokio::test]
async fn options_that_would_delete_what_is_needed_are_refused() {
    clock::at(100 * DAY);
    let store = memory();
    let table = clock::open(&store).await;
    let short = VacuumOptions { orphan_age: 2 * HOUR - MINUTE, ..OPTIONS };
    let error = table.vacuum(short).await.unwrap_err();
    assert!(matches!(error, LakeError::Option { option: "orphan_age", .. }), "{error}");
    let error = table.vacuum_if_due(HOUR, short).await.unwrap_err();
    assert!(matches!(error, LakeError::Option { option: "orphan_age", .. }), "{error}");
    table.vacuum(VacuumOptions { orphan_age: 2 * HOUR, ..OPTIONS }).await.unwrap();

    // What cannot be read may have been meant longer than the default, and what has two units is read by no kernel.
    for text in [
        "30 days",
        "interval 30",
        "interval 1 months",
        "interval -3 days",
        "interval 1 day 12 hours",
        "interval 1.5 days",
        "",
    ] {
        let store = memory();
        let table = open_as(&store, &with(&[(RETENTION, text)])).await;
        let error = table.vacuum(OPTIONS).await.unwrap_err();
        assert!(matches!(error, LakeError::Option { option: RETENTION, .. }), "{text}: {error}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

/// Each interval that can be read, by the last minute that it keeps a file for and the first that it does not.
#[tokio::test]
async fn intervals_are_as_long_as_they_say() {
    let cases = [
        ("interval 2 weeks", 14 * DAY),
        ("interval 1 week", 7 * DAY),
        ("interval 1 day", DAY),
        ("interval  36   hours", 36 * HOUR),
        ("interval 90 minutes", 90 * MINUTE),
        ("interval 7200 seconds", 2 * HOUR),
        ("interval 7200000 milliseconds", 2 * HOUR),
        ("interval 3600000000 microseconds", HOUR),
        ("interval 0 days", Duration::ZERO),
    ];
    for (text, length) in cases {
        clock::at(Duration::ZERO);
        let store = memory();
        let table = open_as(&store, &with(&[(RETENTION, text)])).await;
        compacted(&table).await;
        if length > MINUTE {
            clock::at(length - MINUTE);
            assert_eq!(table.vacuum(OPTIONS).await.unwrap().removed, 0, "{text}");
        }
        clock::at(length + MINUTE);
        assert_eq!(table.vacuum(OPTIONS).await.unwrap().removed, 5, "{text}");
    }
}

#[tokio::test]
async fn hidden_folders_stay_and_a_partition_is_none_of_them() {
    clock::at(Duration::ZERO);
    let store = memory();
    let mut definition = definition();
    definition.columns.push(column("_part", weir_contract::DataType::String, true));
    definition.partition_by = vec!["_part".to_owned()];
    let table = open_as(&store, &definition).await;
    let kept = [
        "lake/orders/_delta_log/00000000000000000000.crc",
        "lake/orders/_delta_log/_sidecars/a.parquet",
        "lake/orders/_weir_lease/00000000000000000001.json",
        "lake/orders/_change_data/a.parquet",
        "lake/orders/_x",
        "lake/orders/.y/a.parquet",
        "lake/orders/_part=1/.hidden.crc",
        "lake/orders/_part=1/_committed_7",
        "lake/orders2/part-1.snappy.parquet",
        "lake/order/part-1.snappy.parquet",
        "lake/part-1.snappy.parquet",
    ];
    let gone =
        ["lake/orders/_part=1/part-1.snappy.parquet", "lake/orders/part-1.snappy.parquet", "lake/orders/x/y=1/z"];
    for name in kept.iter().chain(&gone) {
        store.put(&Path::from(*name), "text".into()).await.unwrap();
    }
    let mut rows = frame(&model("hub/0", 1..=1));
    rows.with_column(polars::prelude::Column::new("_part".into(), ["1"])).unwrap();
    let staged = table.stage(rows).await.unwrap();
    let producer = super::producer("hub/0", 1);
    table.append(weir_lake::Append { producer, rows: staged, books: super::counted(1) }, None).await.unwrap();
    let live = table.snapshot().await.unwrap().files[0].object.clone();
    assert!(live.as_ref().starts_with("lake/orders/_part=1/part-"), "{live}");

    clock::at(30 * DAY);
    assert_eq!(table.vacuum(OPTIONS).await.unwrap(), report(0, 3, 12));
    let left = names(&store, "").await;
    for name in kept.into_iter().chain([live.as_ref()]) {
        assert!(left.iter().any(|left| left == name), "{name}: {left:?}");
    }
    assert!(!left.iter().any(|left| gone.contains(&left.as_str())), "{left:?}");
}

/// Partition folders whose names are encoded, once and twice; on stores that treat `%` in their own way.
async fn odd_partitions(store: Arc<dyn ObjectStore>) {
    clock::at(Duration::ZERO);
    let definition = weir_lake::TableDefinition { partition_by: vec!["value".to_owned()], ..definition() };
    let table = open_as(&store, &definition).await;
    let values = ["a b/c%d", "%2F", "\u{e9}\u{1f680}", "x=y&z", "..", "_z", ".z", "a?b#c", "", "+", "*:|\\\"<>"];
    let mut expected = Vec::new();
    for (index, value) in values.into_iter().enumerate() {
        for round in 0..2 {
            let row = (format!("hub/{index}"), round + 1, (!value.is_empty()).then(|| value.to_owned()));
            append(&table, std::slice::from_ref(&row), (round > 0).then_some(1)).await.unwrap();
            expected.push(row);
        }
    }
    expected.sort();
    let removed = table.snapshot().await.unwrap().files;
    table.compact(CompactOptions::default(), None).await.unwrap();
    clock::at(2 * DAY);
    assert_eq!(table.vacuum(OPTIONS).await.unwrap(), VacuumReport::default(), "orphans by their names?");
    clock::at(8 * DAY);
    let found = table.vacuum(OPTIONS).await.unwrap();
    assert_eq!((found.removed, found.orphans), (removed.len(), 0));
    assert_eq!(rows(&open_as(&store, &definition).await).await, expected);
    for file in removed {
        assert!(matches!(store.head(&file.object).await, Err(object_store::Error::NotFound { .. })), "{}", file.object);
    }
}

#[tokio::test]
async fn odd_partition_values_are_neither_orphans_nor_forgotten() {
    odd_partitions(memory()).await;
    let folder = tempfile::tempdir().unwrap();
    odd_partitions(Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap())).await;
    odd_partitions(azurite::container().await).await;
}

/// Both list the same files; whoever comes second finds them gone.
#[tokio::test]
async fn two_at_once_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let local: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    for store in [memory(), local, azurite::container().await] {
        clock::at(Duration::ZERO);
        let (_, expected) = compacted(&clock::open(&store).await).await;
        let (faulty, theirs) = (Faulty::calm(&store), clock::open(&store).await);
        let ours = clock::open(&(Arc::clone(&faulty) as _)).await;
        clock::at(8 * DAY);
        // Listed, and then late.
        let gate = faulty.hold_next_read("_last_checkpoint");
        let vacuuming = tokio::spawn(async move { ours.vacuum(OPTIONS).await });
        gate.reached().await;
        assert_eq!(theirs.vacuum(OPTIONS).await.unwrap().removed, 5);
        gate.release();
        assert_eq!(vacuuming.await.unwrap().unwrap().removed, 5);
        assert_eq!(rows(&clock::open(&store).await).await, expected);
    }
}

/// The file is as old as an orphan; it is committed while vacuum looks.
#[tokio::test]
async fn a_file_that_is_committed_while_vacuum_looks_stays() {
    for listed_first in [true, false] {
        clock::at(Duration::ZERO);
        let store = memory();
        let table = clock::open(&store).await;
        append(&table, &model("hub/1", 1..=1), None).await.unwrap();
        // So that only vacuum itself lists anything.
        table.checkpoint().await.unwrap();
        let (writing, vacuuming) = (Faulty::calm(&store), Faulty::calm(&store));
        let writer = clock::open(&(Arc::clone(&writing) as _)).await;
        let cleaner = clock::open(&(Arc::clone(&vacuuming) as _)).await;
        let commit = writing.hold_next_write(LOG);
        let appending = tokio::spawn(async move { append(&writer, &model("hub/0", 1..=3), None).await });
        commit.reached().await;
        clock::at(25 * HOUR);
        let look =
            if listed_first { vacuuming.hold_next_read("_last_checkpoint") } else { vacuuming.hold_next_listing() };
        let vacuum = tokio::spawn(async move { cleaner.vacuum(OPTIONS).await });
        look.reached().await;
        commit.release();
        appending.await.unwrap().unwrap();
        look.release();
        assert_eq!(vacuum.await.unwrap().unwrap(), VacuumReport::default(), "listed first: {listed_first}");
        assert_eq!(rows(&clock::open(&store).await).await, [model("hub/0", 1..=3), model("hub/1", 1..=1)].concat());
    }
}

#[tokio::test]
async fn a_vacuum_that_is_cut_off_leaves_a_table_and_goes_on_later() {
    for done in 0..5 {
        clock::at(Duration::ZERO);
        let store = memory();
        let (_, expected) = compacted(&clock::open(&store).await).await;
        let faulty = Faulty::calm(&store);
        let table = clock::open(&(Arc::clone(&faulty) as _)).await;
        clock::at(8 * DAY);
        faulty.delete_only(done);
        let error = table.vacuum_if_due(HOUR, OPTIONS).await.unwrap_err();
        assert_eq!((error.kind(), data(&store).await.len()), (ErrorKind::Retryable, 6 - done), "{error}");
        assert_eq!(rows(&clock::open(&store).await).await, expected);
        // It was not done, so it is due.
        let again = clock::open(&store).await.vacuum_if_due(HOUR, OPTIONS).await.unwrap();
        assert_eq!(again.map(|report| report.removed), Some(5 - done));
        assert_eq!(rows(&clock::open(&store).await).await, expected);
    }
}

#[tokio::test]
async fn a_vacuum_is_due_now_and_then() {
    clock::at(Duration::ZERO);
    let store = memory();
    let table = clock::open(&store).await;
    let (removed, _) = compacted(&table).await;
    let dry = VacuumOptions { dry_run: true, ..OPTIONS };
    assert!(table.vacuum_if_due(6 * HOUR, dry).await.unwrap().is_some());
    assert_eq!(
        table.vacuum_if_due(6 * HOUR, OPTIONS).await.unwrap(),
        Some(VacuumReport::default()),
        "a dry run does not count"
    );
    // Whoever comes next finds it done, another process as well.
    assert_eq!(clock::open(&store).await.vacuum_if_due(6 * HOUR, OPTIONS).await.unwrap(), None);
    clock::at(6 * HOUR - MINUTE);
    assert_eq!(table.vacuum_if_due(6 * HOUR, OPTIONS).await.unwrap(), None);
    clock::at(6 * HOUR + MINUTE);
    assert!(table.vacuum_if_due(6 * HOUR, OPTIONS).await.unwrap().is_some());
    clock::at(8 * DAY);
    let found = table.vacuum_if_due(6 * HOUR, OPTIONS).await.unwrap().unwrap();
    assert_eq!(found.removed, removed.len(), "the marker is no data file");
}
