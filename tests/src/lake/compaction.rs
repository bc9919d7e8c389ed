//! Compaction beyond safety: order, memory, time, and which files are worth it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use polars::prelude::*;
use proptest::prelude::*;
use weir_lake::{Append, CompactOptions, FileEntry, Table, TableDefinition};

use super::{LOG, Row, append, counted, definition, frame, lake, memory, orphans, process, producer, rows, rows_of};

const SOURCE: &str = "hub/0";

fn clustered() -> TableDefinition {
    TableDefinition { cluster_by: vec!["value".to_owned()], ..definition() }
}

fn by_value() -> TableDefinition {
    TableDefinition { partition_by: vec!["value".to_owned()], ..definition() }
}

/// Rows of every file, in the file's order.
async fn files(table: &Arc<Table>) -> Vec<Vec<Row>> {
    let mut files = Vec::new();
    for file in table.snapshot().await.unwrap().files {
        files.push(rows_of(&table.read(&file).await.unwrap()));
    }
    files
}

/// By value, null first, then by source and position.
fn is_sorted(rows: &[Row]) -> bool {
    rows.is_sorted_by_key(|(source, position, value)| (value, source, position))
}

/// `files` files of `each` rows whose values are all over the place, some of them null.
async fn scattered(table: &Arc<Table>, files: i64, each: i64) -> Vec<Row> {
    let mut all = Vec::new();
    for file in 0..files {
        let positions = file * each + 1..=(file + 1) * each;
        let value = |position: i64| (position % 7 != 0).then(|| format!("value {:05}", position * 7919 % 1009 / 2));
        let rows: Vec<Row> = positions.map(|position| (SOURCE.to_owned(), position, value(position))).collect();
        append(table, &rows, (file > 0).then_some(file * each)).await.unwrap();
        all.extend(rows);
    }
    all.sort();
    all
}

#[tokio::test]
async fn clustered_files_are_sorted() {
    let store = memory();
    let table = lake(&store).table(&clustered()).await.unwrap();
    let expected = scattered(&table, 6, 50).await;
    let report = table.compact(CompactOptions::default(), None).await.unwrap();
    assert_eq!((report.files_removed, report.files_added, report.stopped), (6, 1, false));
    assert_eq!(rows(&table).await, expected);
    let files = files(&table).await;
    assert!(is_sorted(&files[0]), "{files:?}");
    assert_eq!(orphans(&store).await, Vec::<String>::new());
}

/// What does not fit into memory at once becomes several files, each sorted by itself.
#[tokio::test]
async fn memory_bounds_what_is_sorted_together() {
    for (memory_bytes, at_least) in [(1, 6), (64 * 1024, 2)] {
        let store = memory();
        let table = lake(&store).table(&clustered()).await.unwrap();
        let expected = scattered(&table, 6, 500).await;
        let options = CompactOptions { memory_bytes, ..CompactOptions::default() };
        let report = table.compact(options, None).await.unwrap();
        assert_eq!((report.files_removed, report.commits), (6, 1));
        let files = files(&table).await;
        assert!(files.len() == report.files_added && (at_least..=6).contains(&files.len()), "{report:?}");
        assert!(files.iter().all(|file| is_sorted(file)), "{files:?}");
        assert_eq!(rows(&table).await, expected);
        assert_eq!(orphans(&store).await, Vec::<String>::new());
    }
}

/// Without an order nothing needs to be in memory together.
#[tokio::test]
async fn without_an_order_there_is_one_file_and_the_rows_are_in_the_order_of_the_files() {
    let store = memory();
    let table = lake(&store).table(&definition()).await.unwrap();
    let expected = scattered(&table, 6, 50).await;
    let options = CompactOptions { memory_bytes: 1, ..CompactOptions::default() };
    assert_eq!(table.compact(options, None).await.unwrap().files_added, 1);
    assert_eq!(files(&table).await, [expected]);
}

#[tokio::test]
async fn partitions_are_sorted_each_by_itself() {
    let store = memory();
    let definition = TableDefinition { cluster_by: vec!["_source_position".to_owned()], ..by_value() };
    let table = lake(&store).table(&definition).await.unwrap();
    let mut expected = Vec::new();
    for (append_number, positions) in [[9, 4, 7], [1, 8, 3], [6, 5, 2]].into_iter().enumerate() {
        let row = |position: i64| (SOURCE.to_owned(), position, (position > 2).then(|| format!("{}", position % 2)));
        let rows: Vec<_> = positions.into_iter().map(row).collect();
        let staged = table.stage(frame(&rows)).await.unwrap();
        let append = Append { producer: producer(&format!("{append_number}"), 1), rows: staged, books: counted(3) };
        table.append(append, None).await.unwrap();
        expected.extend(rows);
    }
    expected.sort();
    let report = table.compact(CompactOptions::default(), None).await.unwrap();
    // Two of the null partition, three of 0, three of 1.
    assert_eq!((report.files_removed, report.files_added, report.commits), (8, 3, 3));
    assert_eq!(rows(&table).await, expected);
    for file in files(&table).await {
        assert!(file.is_sorted_by_key(|row| row.1), "{file:?}");
        assert_eq!(file.iter().map(|row| &row.2).collect::<BTreeSet<_>>().len(), 1, "{file:?}");
    }
}

#[tokio::test]
async fn a_run_that_is_out_of_time_leaves_the_rest_to_the_next() {
    let store = memory();
    let table = lake(&store).table(&by_value()).await.unwrap();
    let mut expected = scattered(&table, 3, 14).await;
    expected.sort();
    let before = table.snapshot().await.unwrap().version;
    let options = CompactOptions { stop_after: Some(Duration::ZERO), ..CompactOptions::default() };
    let report = table.compact(options, None).await.unwrap();
    assert_eq!((report.commits, report.stopped), (0, true));
    assert_eq!(table.snapshot().await.unwrap().version, before);
    let rest = table.plan_compaction(&options).await.unwrap().bins.len();
    let report = table.compact(CompactOptions { stop_after: None, ..options }, None).await.unwrap();
    assert_eq!((report.commits, report.stopped), (rest, false));
    assert!(rest > 0 && rows(&table).await == expected);
    // Nothing to do takes no time.
    assert!(!table.compact(options, None).await.unwrap().stopped);
}

/// Each bin is a commit, and reads none of the commits of the bins before it again.
#[tokio::test]
async fn the_log_is_not_read_anew_for_every_bin() {
    const PARTITIONS: usize = 40;
    let store = memory();
    let (faulty, table) = process(&store, &by_value()).await;
    for number in 0..2 {
        let row = |partition: usize| (SOURCE.to_owned(), partition as i64, Some(format!("{partition}")));
        file(&table, number, &(0..PARTITIONS).map(row).collect::<Vec<_>>()).await;
    }
    faulty.take_requests();
    assert_eq!(table.compact(CompactOptions::default(), None).await.unwrap().commits, PARTITIONS);
    let reads = faulty.take_requests()["get log"];
    // Three of each commit are looks: whether the log is still the same.
    assert!(reads < (4 + 3) * PARTITIONS, "{reads} reads of the log");
}

/// A bin whose files have gone is left alone before it is read.
#[tokio::test]
async fn a_bin_that_another_took_meanwhile_is_left_to_the_other() {
    let store = memory();
    let (faulty, ours) = process(&store, &by_value()).await;
    let theirs = lake(&store).table(&by_value()).await.unwrap();
    let mut expected = Vec::new();
    for number in 0..3 {
        let row = |letter: &str| (SOURCE.to_owned(), number, Some(letter.to_owned()));
        let rows = ["a", "b", "c"].map(row);
        file(&theirs, number as usize, &rows).await;
        expected.extend(rows);
    }
    let bins = theirs.plan_compaction(&CompactOptions::default()).await.unwrap().bins.len();
    assert_eq!(bins, 3);
    let gate = faulty.hold_next_write(LOG);
    let racing = tokio::spawn(async move { ours.compact(CompactOptions::default(), None).await });
    gate.reached().await;
    assert_eq!(theirs.compact(CompactOptions::default(), None).await.unwrap().commits, bins);
    faulty.take_requests();
    gate.release();
    let report = racing.await.unwrap().unwrap();
    assert_eq!((report.commits, report.conflicts), (0, bins));
    assert!(!faulty.take_requests().contains_key("get data"));
    assert_eq!(rows(&theirs).await, expected);
    assert_eq!(orphans(&store).await, Vec::<String>::new());
}

/// Rows whose file is about `kilobytes` large, however it is compressed.
fn weighty(first: i64, kilobytes: usize, value: Option<&str>) -> Vec<Row> {
    let rows = (kilobytes * 1024 / 64).max(1) as i64;
    let noise = |position: i64| {
        let word = |salt: u64| (position as u64).wrapping_add(salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
        (1..=4).map(|salt| format!("{:016x}", word(salt).wrapping_mul(word(salt * 31)))).collect::<String>()
    };
    (first..first + rows)
        .map(|position| (SOURCE.to_owned(), position, Some(value.map_or_else(|| noise(position), str::to_owned))))
        .collect()
}

/// One file of these rows; their positions begin anew with each.
async fn file(table: &Arc<Table>, number: usize, rows: &[Row]) {
    let staged = table.stage(frame(rows)).await.unwrap();
    let append = Append { producer: producer(&format!("file {number}"), 1), rows: staged, books: counted(rows.len()) };
    table.append(append, None).await.unwrap();
}

#[tokio::test]
async fn a_large_file_waits_for_small_ones_that_are_worth_it() {
    let store = memory();
    let table = lake(&store).table(&definition()).await.unwrap();
    let options = CompactOptions::default();
    file(&table, 0, &weighty(1, 200, None)).await;
    for number in 1..=12 {
        file(&table, number, &weighty(1_000_000 * number as i64, 40, None)).await;
        let plan = table.plan_compaction(&options).await.unwrap();
        let large = plan.bins.iter().flatten().any(|file| file.size > 150_000);
        let rest: u64 = plan.bins.iter().flatten().map(|file| file.size).filter(|size| *size < 150_000).sum();
        assert!(!large || rest > 90_000, "file {number}: {rest} bytes are not worth the large file");
        assert!(large || number < 9, "file {number}: {} bytes are", plan.bytes());
        match number {
            1 => assert_eq!(plan.files(), 0, "a small one alone"),
            2 => assert_eq!(plan.files(), 2, "two of a size"),
            _ => {}
        }
    }
    table.compact(options, None).await.unwrap();
    assert_eq!(table.snapshot().await.unwrap().files.len(), 1);
}

/// Many small files one after the other, compacted each time: no row is written more often than the logarithm of their
/// number says, and files stay few.
#[tokio::test]
async fn a_stream_of_small_files_is_compacted_in_n_log_n() {
    const FILES: usize = 160;
    for partitioned in [false, true] {
        let store = memory();
        let definition = if partitioned { by_value() } else { clustered() };
        let table = lake(&store).table(&definition).await.unwrap();
        let options = CompactOptions::default();
        let (mut written, mut total, mut most_files) = (0, 0, 0);
        for number in 0..FILES {
            let rows = weighty(number as i64 * 1000, 8, partitioned.then_some(["a", "b"][number % 2]));
            total += rows.len() as u64;
            file(&table, number, &rows).await;
            let plan = table.plan_compaction(&options).await.unwrap();
            written += plan.bins.iter().flatten().filter_map(|file| file.rows).sum::<u64>();
            if plan.files() > 0 {
                table.compact(options, None).await.unwrap();
            }
            most_files = most_files.max(table.snapshot().await.unwrap().files.len());
        }
        // A row's file grows by half at least each time: 1.5^13 > 160.
        let times = written as f64 / total as f64;
        assert!(times <= 13.0, "every row was written {times} times");
        assert!(most_files <= 16, "{most_files} files");
        assert_eq!(table.snapshot().await.unwrap().statistics().rows, total);
    }
}

/// What must hold for every plan.
fn check(bins: &[Vec<FileEntry>], all: &[FileEntry], options: &CompactOptions) {
    let known: BTreeMap<_, _> = all.iter().map(|file| (&file.log_path, file)).collect();
    let mut seen = BTreeSet::new();
    for bin in bins {
        assert!(bin.len() > 1, "a file alone is not merged");
        let bytes: u64 = bin.iter().map(|file| file.size).sum();
        assert!(bytes <= options.target_bytes.min(options.max_bytes_per_commit), "{bytes} of {options:?}");
        for file in bin {
            assert!(seen.insert(&file.log_path), "{} twice", file.log_path);
            assert_eq!(known.get(&file.log_path), Some(&file));
            assert_eq!(file.partition_values, bin[0].partition_values);
            assert!(file.size < options.target_bytes);
        }
        let largest = bin.iter().map(|file| file.size).max().unwrap();
        assert!(largest <= 2 * (bytes - largest), "{largest} of {bytes} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn plans_keep_to_the_rules(
        sizes in prop::collection::vec((prop_oneof![3 => 0..4_usize, 1 => 4..40_usize], 0..3_usize), 1..14),
        target in 2_000..60_000_u64,
        most in 2_000..60_000_u64,
        memory_bytes in prop_oneof![Just(1), 1..100_000_usize],
        cluster in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store: Arc<dyn ObjectStore> = memory();
            let cluster_by = if cluster { vec!["_source_position".to_owned()] } else { Vec::new() };
            let definition = TableDefinition {
                partition_by: vec!["_source_version".to_owned()],
                cluster_by,
                ..definition()
            };
            let table = lake(&store).table(&definition).await.unwrap();
            for (number, (kilobytes, partition)) in sizes.iter().enumerate() {
                let mut frame = frame(&weighty(number as i64 * 10_000, *kilobytes, None));
                let partition = ["a", "b", "c"][*partition];
                frame.with_column(Column::new("_source_version".into(), vec![partition; frame.height()])).unwrap();
                let books = counted(frame.height());
                let rows = table.stage(frame).await.unwrap();
                table.append(Append { producer: producer(&format!("{number}"), 1), rows, books }, None).await.unwrap();
            }
            let expected = rows(&table).await;
            let options =
                CompactOptions { target_bytes: target, max_bytes_per_commit: most, memory_bytes, stop_after: None };
            let before = table.snapshot().await.unwrap().files;
            let plan = table.plan_compaction(&options).await.unwrap();
            check(&plan.bins, &before, &options);
            assert_eq!(plan.bytes(), plan.bins.iter().flatten().map(|file| file.size).sum::<u64>());
            let report = table.compact(options, None).await.unwrap();
            assert_eq!((report.commits, report.files_removed), (plan.bins.len(), plan.files()));
            assert_eq!(rows(&table).await, expected);
            assert_eq!(orphans(&store).await, Vec::<String>::new());
        });
    }
}
