//! Files are skipped by their statistics: whatever these are, no row that is looked for is missed.

use std::sync::Arc;

use object_store::ObjectStore;
use proptest::prelude::*;
use weir_lake::{Append, Deletion, Table};

use super::statistics::{Record, definition, frame, record};
use super::{counted, lake, memory, producer};

const COLUMNS: [&str; 11] = ["text", "long", "byte", "double", "float", "flag", "day", "at", "small", "large", "bytes"];

/// A value, as rows are compared by it. `None` for null.
fn value(record: &Record, name: &str) -> Option<String> {
    // All zeros are equal, and so are all NaNs.
    let float = |value: f64| if value == 0.0 { "0".to_owned() } else { format!("{value:?}") };
    match name {
        "text" | "bytes" => record.text.clone(),
        "long" => record.long.map(|long| long.to_string()),
        "byte" => record.long.map(|long| (long as i8).to_string()),
        "double" => record.double.map(float),
        "float" => record.double.map(|double| float(f64::from(double as f32))),
        "flag" => record.flag.map(|flag| flag.to_string()),
        "day" => record.day.map(|day| day.to_string()),
        "at" => record.at.map(|at| at.to_string()),
        "small" => record.small.map(|small| small.to_string()),
        "large" => record.large.map(|large| large.to_string()),
        other => panic!("{other}"),
    }
}

fn key(record: &Record, names: &[&str]) -> Option<Vec<String>> {
    names.iter().map(|name| value(record, name)).collect()
}

/// Files of the table and what is looked for.
#[derive(Debug, Clone)]
struct Case {
    files: Vec<Vec<Record>>,
    sought: Vec<Record>,
    names: Vec<&'static str>,
}

fn case() -> impl Strategy<Value = Case> {
    let files = prop::collection::vec(prop::collection::vec(record(), 1..5), 1..5);
    let names = prop::sample::subsequence(COLUMNS.to_vec(), 1..3);
    let picks = prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..4);
    (files, names.prop_shuffle(), picks, prop::collection::vec(record(), 0..3)).prop_map(
        |(files, names, picks, mut sought)| {
            sought.extend(picks.iter().map(|(file, row)| row.get(file.get(files.as_slice()).as_slice()).clone()));
            // Keys are never null.
            sought.retain(|record| key(record, &names).is_some());
            Case { files, sought, names }
        },
    )
}

async fn table(store: &Arc<dyn ObjectStore>) -> Arc<Table> {
    lake(store).table(&definition()).await.unwrap()
}

/// `text`, `long` and `large` of every row, sorted.
async fn remaining(table: &Arc<Table>) -> Vec<String> {
    let mut rows = Vec::new();
    for file in table.snapshot().await.unwrap().files {
        let frame = table.read(&file).await.unwrap();
        let (text, long) = (frame.column("text").unwrap().str().unwrap(), frame.column("long").unwrap().i64().unwrap());
        rows.extend((0..frame.height()).map(|row| format!("{:?} {:?}", text.get(row), long.get(row))));
    }
    rows.sort();
    rows
}

async fn nothing_is_missed(Case { files, sought, names }: Case, checkpointed: bool) {
    let store = memory();
    let setup = table(&store).await;
    for (index, records) in files.iter().enumerate() {
        let rows = setup.stage(frame(records)).await.unwrap();
        let append = Append { producer: producer(&format!("append {index}"), 1), rows, books: counted(records.len()) };
        setup.append(append, None).await.unwrap();
    }
    if checkpointed {
        setup.checkpoint().await.unwrap();
    }
    let keys = sought.iter().filter_map(|record| key(record, &names)).collect::<Vec<_>>();
    let stays = |record: &&Record| key(record, &names).is_none_or(|key| !keys.contains(&key));
    let all = files.iter().flatten();
    let mut expected: Vec<_> =
        all.clone().filter(stays).map(|record| format!("{:?} {:?}", record.text.as_deref(), record.long)).collect();
    expected.sort();

    let opened = table(&store).await;
    let keys = frame(&sought).select(&names).unwrap();
    let deleted = opened.delete_where(Deletion { producer: producer("request", 1), keys }).await.unwrap();
    assert_eq!(remaining(&opened).await, expected);
    assert_eq!(deleted.rows as usize, all.count() - expected.len());
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(384))]

    #[test]
    fn no_row_is_missed(case in case()) {
        runtime().block_on(nothing_is_missed(case, false));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// delta-rs, which writes the checkpoints, may write statistics in a way of its own.
    #[test]
    fn no_row_is_missed_behind_a_checkpoint(case in case()) {
        runtime().block_on(nothing_is_missed(case, true));
    }
}

fn empty() -> Record {
    Record { text: None, long: None, double: None, flag: None, day: None, at: None, small: None, large: None }
}

/// Every row for itself in a file, all sought at once and one by one.
async fn all_are_found(name: &str, records: &[Record]) {
    for checkpointed in [false, true] {
        let files: Vec<_> = records.iter().map(|record| vec![record.clone()]).collect();
        let names = vec![*COLUMNS.iter().find(|column| **column == name).unwrap()];
        let all = Case { files: files.clone(), sought: records.to_vec(), names: names.clone() };
        nothing_is_missed(all, checkpointed).await;
        let one_by_one = Case { files: vec![records.to_vec()], sought: vec![records[0].clone()], names };
        nothing_is_missed(one_by_one, checkpointed).await;
    }
}

/// Doubles whose text a sloppy parser reads as a neighbour, floats that have a shorter text, zeros, no numbers.
#[tokio::test]
async fn floats_are_found_by_the_bit() {
    let mut doubles =
        vec![0.0, -0.0, f64::NAN, 0.1, 1.0, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE];
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    while doubles.len() < 200 {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let double = f64::from_bits(bits);
        if double.is_finite() {
            doubles.extend([double, double % 1e6, (bits >> 11) as f64 / 1e17]);
        }
    }
    let records: Vec<_> = doubles.iter().map(|double| Record { double: Some(*double), ..empty() }).collect();
    all_are_found("double", &records).await;
    all_are_found("float", &records).await;
}

/// No number among the keys does not upset the order of the others.
#[tokio::test]
async fn a_nan_among_the_keys_hides_no_other() {
    let mut doubles: Vec<_> = (0..60).map(|number| f64::from(number * 37 % 60)).collect();
    for index in [0, 7, 20, 41] {
        doubles.insert(index, f64::NAN);
    }
    let records: Vec<_> = doubles.iter().map(|double| Record { double: Some(*double), ..empty() }).collect();
    all_are_found("double", &records).await;
    // Files without one; keys with some.
    let numbers: Vec<_> = (0..60).map(|number| vec![Record { double: Some(f64::from(number)), ..empty() }]).collect();
    nothing_is_missed(Case { files: numbers, sought: records, names: vec!["double"] }, false).await;
}

#[tokio::test]
async fn times_are_found_to_the_microsecond() {
    let mut times = vec![0, 1, -1, 999, 1_000, 1_001, 123_456, -123_456, 1_700_000_000_123_456, 1_700_000_000_999_999];
    // The first and the last that statistics can write, and those beyond; as far as there are dates at all.
    times.extend([-62_167_219_200_000_000, 253_402_300_799_999_999, -62_167_219_200_000_001, 253_402_300_800_000_000]);
    times.extend([i64::MIN, i64::MAX]);
    let records: Vec<_> = times.iter().map(|at| Record { at: Some(*at), ..empty() }).collect();
    all_are_found("at", &records).await;
    let days = [0, 1, -1, 19_000, -719_528, -719_529, 2_932_896, 2_932_897, i32::MIN / 10, i32::MAX / 10];
    let records: Vec<_> = days.iter().map(|day| Record { day: Some(*day), ..empty() }).collect();
    all_are_found("day", &records).await;
}

#[tokio::test]
async fn texts_are_found_around_the_cut() {
    let mut texts = vec![String::new(), "\u{0}".to_owned(), "\u{10ffff}".to_owned(), "\"\\\n".to_owned()];
    for length in 31..=34 {
        for end in ["", "a", "\u{10ffff}", "\u{10ffff}a", "\u{10ffff}\u{10ffff}"] {
            texts.push("a".repeat(length) + end);
            texts.push("\u{10ffff}".repeat(length) + end);
        }
    }
    let records: Vec<_> = texts.iter().map(|text| Record { text: Some(text.clone()), ..empty() }).collect();
    all_are_found("text", &records).await;
    all_are_found("bytes", &records).await;
}

#[tokio::test]
async fn numbers_are_found_to_the_last_digit() {
    let longs = [i64::MIN, i64::MIN + 1, -(1 << 53) - 1, -1, 0, 1, (1 << 53) + 1, i64::MAX - 1, i64::MAX];
    let records: Vec<_> = longs.iter().map(|long| Record { long: Some(*long), ..empty() }).collect();
    all_are_found("long", &records).await;
    all_are_found("byte", &records).await;
    let most = 10_i128.pow(38) - 1;
    let decimals = [-most, 1 - most, -1, 0, 1, (1 << 53) + 1, 10_i128.pow(18) + 1, most - 1, most];
    let records: Vec<_> = decimals
        .iter()
        .map(|large| Record { large: Some(*large), small: Some((*large % 999_999_999) as i64), ..empty() })
        .collect();
    all_are_found("large", &records).await;
    all_are_found("small", &records).await;
}
