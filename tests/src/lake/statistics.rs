//! Statistics: other engines skip files by them, so a wrong bound is a lost row.

use std::collections::BTreeMap;
use std::sync::Arc;

use polars::prelude::*;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;
use weir_contract::DataType as Type;
use weir_lake::{Append, Table, TableDefinition};

use super::{column, lake, memory};

pub(super) fn definition() -> TableDefinition {
    TableDefinition {
        name: "measured".to_owned(),
        columns: vec![
            column("text", Type::String, true),
            column("long", Type::Long, true),
            column("byte", Type::Byte, true),
            column("double", Type::Double, true),
            column("float", Type::Float, true),
            column("flag", Type::Boolean, true),
            column("day", Type::Date, true),
            column("at", Type::Timestamp, true),
            column("small", Type::Decimal { precision: 9, scale: 3 }, true),
            column("large", Type::Decimal { precision: 38, scale: 0 }, true),
            column("bytes", Type::Binary, true),
        ],
        partition_by: Vec::new(),
        cluster_by: Vec::new(),
        properties: Vec::new(),
        new_columns: Default::default(),
        added_columns: None,
        transactions: Vec::new(),
    }
}

#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) text: Option<String>,
    pub(super) long: Option<i64>,
    pub(super) double: Option<f64>,
    pub(super) flag: Option<bool>,
    pub(super) day: Option<i32>,
    pub(super) at: Option<i64>,
    pub(super) small: Option<i64>,
    pub(super) large: Option<i128>,
}

/// Empty, short, longer than a bound, with a code point at the cut that nothing sorts above.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("a".to_owned()),
        Just("\u{10ffff}".to_owned()),
        Just("\u{1f680}".to_owned()),
        Just("\u{d7ff}\u{e000}\u{ffff}".to_owned()),
        Just("\"\\\n\u{0}".to_owned()),
        any::<char>().prop_map(String::from),
    ];
    prop_oneof![
        prop::collection::vec(piece.clone(), 0..4).prop_map(|pieces| pieces.concat()),
        // Around the cut.
        (30_usize..34, prop::collection::vec(piece, 0..4)).prop_map(|(length, end)| "a".repeat(length) + &end.concat()),
        Just("\u{10ffff}".repeat(40)),
    ]
}

fn double() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => any::<f64>().prop_filter("finite", |value| value.is_finite()),
        2 => prop::sample::select(vec![0.0, -0.0, f64::MIN, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY, f64::NEG_INFINITY, 0.1]),
        1 => Just(f64::NAN),
    ]
}

pub(super) fn record() -> impl Strategy<Value = Record> {
    use prop::option::weighted;
    (
        weighted(0.8, text()),
        weighted(0.8, any::<i64>()),
        weighted(0.8, double()),
        weighted(0.8, any::<bool>()),
        // Also years that ISO 8601 cannot write with four digits.
        weighted(0.8, prop_oneof![9 => -719_000..2_932_000_i32, 1 => any::<i32>().prop_map(|day| day / 10)]),
        weighted(0.8, prop_oneof![9 => -62_000_000_000_000_000..253_402_300_799_999_999_i64, 1 => any::<i64>()]),
        weighted(0.8, -999_999_999..=999_999_999_i64),
        weighted(0.8, -(10_i128.pow(38) - 1)..10_i128.pow(38)),
    )
        .prop_map(|(text, long, double, flag, day, at, small, large)| Record {
            text,
            long,
            double,
            flag,
            day,
            at,
            small,
            large,
        })
}

fn decimal(name: &str, values: Vec<Option<i128>>, precision: usize, scale: usize) -> Column {
    let values: Int128Chunked = values.into_iter().collect();
    values.with_name(name.into()).into_decimal_unchecked(precision, scale).into_series().into_column()
}

pub(super) fn frame(records: &[Record]) -> DataFrame {
    fn all<T>(records: &[Record], value: impl Fn(&Record) -> Option<T>) -> Vec<Option<T>> {
        records.iter().map(value).collect()
    }
    let zoned = DataType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC));
    let columns = vec![
        Column::new("text".into(), all(records, |record| record.text.clone())),
        Column::new("long".into(), all(records, |record| record.long)),
        Column::new("byte".into(), all(records, |record| record.long.map(|long| long as i8))),
        Column::new("double".into(), all(records, |record| record.double)),
        Column::new("float".into(), all(records, |record| record.double.map(|double| double as f32))),
        Column::new("flag".into(), all(records, |record| record.flag)),
        Column::new("day".into(), all(records, |record| record.day)).cast(&DataType::Date).unwrap(),
        Column::new("at".into(), all(records, |record| record.at)).cast(&zoned).unwrap(),
        decimal("small", all(records, |record| record.small.map(i128::from)), 9, 3),
        decimal("large", all(records, |record| record.large), 38, 0),
        Column::new("bytes".into(), all(records, |record| record.text.clone().map(String::into_bytes))),
    ];
    DataFrame::new(records.len(), columns).unwrap()
}

fn unscaled(text: &str, scale: usize) -> i128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert_eq!(fraction.len(), scale, "{text}");
    format!("{whole}{fraction}").parse().unwrap()
}

/// The bounds of a column, as the log has them: numbers as they are written.
fn bound(stats: &str, kind: &str, name: &str) -> Option<String> {
    let stats: BTreeMap<String, Box<RawValue>> = serde_json::from_str(stats).unwrap();
    let bounds: BTreeMap<String, Box<RawValue>> = serde_json::from_str(stats[kind].get()).unwrap();
    let raw = bounds.get(name)?.get();
    Some(serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned()))
}

/// That `min` and `max` of the log, where they are there, hold for every value.
fn holds<T: PartialOrd + std::fmt::Debug>(
    stats: &str,
    name: &str,
    values: impl Iterator<Item = T>,
    parse: impl Fn(&str) -> T,
) {
    let (min, max) = (bound(stats, "minValues", name), bound(stats, "maxValues", name));
    for value in values {
        if let Some(min) = &min {
            assert!(parse(min) <= value, "{name}: minimum {min} of {value:?}");
        }
        if let Some(max) = &max {
            assert!(value <= parse(max), "{name}: {value:?} of maximum {max}");
        }
    }
}

fn check(stats: &str, records: &[Record]) {
    let json: Value = serde_json::from_str(stats).unwrap();
    assert_eq!(json["numRecords"], records.len());
    let nulls = |name: &str| json["nullCount"][name].as_u64().unwrap() as usize;
    let count = |null: fn(&Record) -> bool| records.iter().filter(|record| null(record)).count();
    assert_eq!(nulls("text"), count(|record| record.text.is_none()));
    assert_eq!(nulls("bytes"), count(|record| record.text.is_none()));
    assert_eq!(nulls("long"), count(|record| record.long.is_none()));
    assert_eq!(nulls("double"), count(|record| record.double.is_none()));
    assert_eq!(nulls("flag"), count(|record| record.flag.is_none()));
    assert_eq!(nulls("day"), count(|record| record.day.is_none()));
    assert_eq!(nulls("at"), count(|record| record.at.is_none()));
    assert_eq!(nulls("large"), count(|record| record.large.is_none()));

    holds(stats, "text", records.iter().filter_map(|record| record.text.clone()), str::to_owned);
    holds(stats, "long", records.iter().filter_map(|record| record.long), |text| text.parse().unwrap());
    holds(stats, "byte", records.iter().filter_map(|record| record.long.map(|long| long as i8)), |text| {
        text.parse().unwrap()
    });
    holds(stats, "double", records.iter().filter_map(|record| record.double), |text| text.parse().unwrap());
    // Readers compare at the column's own precision.
    holds(stats, "float", records.iter().filter_map(|record| record.double.map(|double| double as f32)), |text| {
        text.parse().unwrap()
    });
    let epoch = chrono::NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
    let day = |text: &str| (text.parse::<chrono::NaiveDate>().unwrap() - epoch).num_days();
    holds(stats, "day", records.iter().filter_map(|record| record.day.map(i64::from)), day);
    let at = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros();
    holds(stats, "at", records.iter().filter_map(|record| record.at), at);
    holds(stats, "small", records.iter().filter_map(|record| record.small.map(i128::from)), |text| unscaled(text, 3));
    holds(stats, "large", records.iter().filter_map(|record| record.large), |text| unscaled(text, 0));
    for name in ["flag", "bytes"] {
        assert_eq!(bound(stats, "minValues", name), None, "{name}");
    }
}

/// One file of these frames.
async fn stats(table: &Arc<Table>, frames: &[&[Record]]) -> String {
    let mut writer = table.write();
    for records in frames {
        writer.write(frame(records)).await.unwrap();
    }
    let rows = writer.finish().await.unwrap();
    let append = Append { producer: super::producer("hub/0", 1), rows, books: super::counted(0) };
    table.append(append, None).await.unwrap();
    let [file] = &table.snapshot().await.unwrap().files[..] else { panic!("not one file") };
    file.stats.clone().unwrap()
}

/// A bound that is there is useful; what has none, and why.
#[tokio::test]
async fn bounds_are_there_where_they_can_be() {
    let empty =
        Record { text: None, long: None, double: None, flag: None, day: None, at: None, small: None, large: None };
    let long = "\u{e9}".repeat(40);
    let cases = [
        (Record { text: Some(String::new()), ..empty.clone() }, "text", Some(("", ""))),
        (
            Record { text: Some(long.clone()), ..empty.clone() },
            "text",
            Some((&*"\u{e9}".repeat(32), &*("\u{e9}".repeat(32) + "\u{10ffff}"))),
        ),
        (
            Record { long: Some(i64::MIN), ..empty.clone() },
            "long",
            Some(("-9223372036854775808", "-9223372036854775808")),
        ),
        (Record { double: Some(-1.5e300), ..empty.clone() }, "double", Some(("-1.5e300", "-1.5e300"))),
        (Record { double: Some(f64::NAN), ..empty.clone() }, "double", None),
        (Record { double: Some(f64::INFINITY), ..empty.clone() }, "double", None),
        (Record { day: Some(-1), ..empty.clone() }, "day", Some(("1969-12-31", "1969-12-31"))),
        (Record { day: Some(3_000_000), ..empty.clone() }, "day", None),
        (
            Record { at: Some(-1), ..empty.clone() },
            "at",
            Some(("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z")),
        ),
        (Record { at: Some(i64::MAX), ..empty.clone() }, "at", None),
        (Record { small: Some(-5), ..empty.clone() }, "small", Some(("-0.005", "-0.005"))),
        (
            Record { large: Some(10_i128.pow(38) - 1), ..empty.clone() },
            "large",
            Some((&*"9".repeat(38), &*"9".repeat(38))),
        ),
        (empty.clone(), "long", None),
    ];
    for (record, name, expected) in cases {
        let table = lake(&memory()).table(&definition()).await.unwrap();
        let stats = stats(&table, &[std::slice::from_ref(&record)]).await;
        let found = bound(&stats, "minValues", name).zip(bound(&stats, "maxValues", name));
        let found = found.as_ref().map(|(min, max)| (min.as_str(), max.as_str()));
        assert_eq!(found, expected, "{name} of {record:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn bounds_hold_for_every_value(records in prop::collection::vec(record(), 1..12), cut in any::<prop::sample::Index>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let table = lake(&memory()).table(&definition()).await.unwrap();
            // One file, written in two steps.
            let (head, tail) = records.split_at(cut.index(records.len()));
            check(&stats(&table, &[head, tail]).await, &records);
        });
    }
}
