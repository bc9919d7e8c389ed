//! Every type at its limits goes into SQLite exactly, or as documented; nothing that a value contains can break it.

use std::collections::BTreeMap;

use polars::prelude::{Column, DataFrame, DataType as Dtype, IntoSeries, NamedFrom, Series, TimeUnit, TimeZone};
use proptest::prelude::*;
use rusqlite::types::Value;
use serde_json::json;
use tempfile::TempDir;
use weir_warehouse::{
    DataFile, Error, ErrorKind, FileLayout, FileReader, LoadReport, Plan, ReadError, ReloadReason, Watermark,
    async_trait,
};

use super::{connect, load_of, open};

/// A lake of one file.
struct OneFile {
    frame: DataFrame,
    num_records: Option<u64>,
}

#[async_trait]
impl FileReader for OneFile {
    async fn read(&self, _: &DataFile) -> Result<DataFrame, ReadError> {
        Ok(self.frame.clone())
    }

    async fn layout(&self, _: &DataFile) -> Result<FileLayout, ReadError> {
        let columns = self.frame.get_column_names_owned().iter().map(|name| name.to_string()).collect();
        Ok(FileLayout { columns, rows: self.frame.height() as u64 })
    }

    async fn snapshot_files(&self, _: i64) -> Result<Vec<DataFile>, ReadError> {
        let (path, num_records) = ("part-1.parquet".to_owned(), self.num_records);
        Ok(vec![DataFile { path, partition_values: BTreeMap::new(), num_records, size_bytes: 1 }])
    }
}

/// Loads one column, in two chunks so that access by row is put to the test, and returns what SQLite holds.
async fn store(name: &str, delta_type: &str, nullable: bool, values: Series) -> Result<Vec<Value>, Error> {
    let folder = TempDir::new().unwrap();
    let warehouse = open(&folder).await;
    let mut frame = DataFrame::new(values.len(), vec![Column::from(values.with_name(name.into()))]).unwrap();
    let middle = frame.height() / 2;
    let tail = frame.slice(middle as i64, frame.height());
    frame = frame.head(Some(middle)).vstack(&tail).unwrap();
    let field = json!({"name": name, "type": delta_type, "nullable": nullable, "metadata": {}});
    let schema = json!({"type": "struct", "fields": [field]}).to_string();
    let to = Watermark { table_id: "t".to_owned(), version: 0, schema };
    let plan = Plan::Reload { from: None, to, reason: ReloadReason::FirstLoad };
    let rows = frame.height() as u64;
    let report = warehouse.apply(&load_of("t", "t"), &plan, &OneFile { frame, num_records: Some(rows) }).await?;
    assert_eq!(report, LoadReport { rows_inserted: rows, reloaded: true, ..LoadReport::default() });
    let connection = connect(&folder);
    let mut statement = connection.prepare("SELECT * FROM t ORDER BY rowid").unwrap();
    assert_eq!(statement.column_name(0).unwrap(), name);
    let stored = statement.query_map([], |row| row.get(0)).unwrap();
    Ok(stored.map(Result::unwrap).collect())
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn decimals(values: &[Option<i128>], precision: usize, scale: usize) -> Series {
    let values: polars::prelude::Int128Chunked = values.iter().copied().collect();
    values.into_decimal_unchecked(precision, scale).into_series()
}

#[tokio::test]
async fn every_type_at_its_limits() {
    let zone = || TimeZone::opt_try_new(Some("UTC")).unwrap();
    let micros =
        |values: &[i64]| Series::new("".into(), values).cast(&Dtype::Datetime(TimeUnit::Microseconds, zone())).unwrap();
    let nines = 10_i128.pow(15) - 1;
    let cases: Vec<(&str, Series, Vec<Value>)> = vec![
        (
            "long",
            Series::new("".into(), [i64::MIN, i64::MAX]),
            vec![Value::Integer(i64::MIN), Value::Integer(i64::MAX)],
        ),
        ("byte", Series::new("".into(), [i8::MIN, i8::MAX]), vec![Value::Integer(-128), Value::Integer(127)]),
        ("short", Series::new("".into(), [Some(i16::MIN), None]), vec![Value::Integer(-32768), Value::Null]),
        ("integer", Series::new("".into(), [i32::MIN]), vec![Value::Integer(i32::MIN.into())]),
        (
            "boolean",
            Series::new("".into(), [Some(true), Some(false), None]),
            vec![Value::Integer(1), Value::Integer(0), Value::Null],
        ),
        (
            "double",
            Series::new(
                "".into(),
                [f64::MAX, f64::MIN_POSITIVE, f64::from_bits(1), f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -0.0],
            ),
            vec![
                Value::Real(f64::MAX),
                Value::Real(f64::MIN_POSITIVE),
                Value::Real(f64::from_bits(1)),
                Value::Real(f64::INFINITY),
                Value::Real(f64::NEG_INFINITY),
                Value::Null,
                Value::Real(0.0),
            ],
        ),
        ("float", Series::new("".into(), [0.1_f32]), vec![Value::Real(f64::from(0.1_f32))]),
        (
            "string",
            Series::new(
                "".into(),
                [Some(""), Some("NULL'\"; DROP TABLE t; --"), Some("a\0b"), Some("\u{1F600}é\u{202E}"), None],
            ),
            vec![text(""), text("NULL'\"; DROP TABLE t; --"), text("a\0b"), text("\u{1F600}é\u{202E}"), Value::Null],
        ),
        (
            "binary",
            Series::new("".into(), [&b"\x00\xFF'"[..], b""]),
            vec![Value::Blob(b"\x00\xFF'".to_vec()), Value::Blob(vec![])],
        ),
        (
            "date",
            Series::new("".into(), [0_i32, -719_162, 2_932_896, 11_016, -719_529, 2_932_897])
                .cast(&Dtype::Date)
                .unwrap(),
            ["1970-01-01", "0001-01-01", "9999-12-31", "2000-02-29", "-0001-12-31", "+10000-01-01"].map(text).to_vec(),
        ),
        (
            "timestamp",
            micros(&[0, -1, 253_402_300_799_999_999]),
            ["1970-01-01T00:00:00.000000Z", "1969-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"]
                .map(text)
                .to_vec(),
        ),
        (
            "decimal(18,0)",
            decimals(&[Some(10_i128.pow(18) - 1), None], 18, 0),
            vec![Value::Integer(10_i64.pow(18) - 1), Value::Null],
        ),
        (
            "decimal(15,2)",
            decimals(&[Some(nines), Some(-5)], 15, 2),
            vec![Value::Real(9_999_999_999_999.99), Value::Real(-0.05)],
        ),
        (
            "decimal(38,10)",
            decimals(&[Some(10_i128.pow(38) - 1), Some(-1), Some(0)], 38, 10),
            ["9999999999999999999999999999.9999999999", "-0.0000000001", "0.0000000000"].map(text).to_vec(),
        ),
        ("decimal(38,38)", decimals(&[Some(-1)], 38, 38), vec![text(&format!("-0.{}1", "0".repeat(37)))]),
        ("string", Series::new_null("".into(), 2), vec![Value::Null, Value::Null]),
    ];
    for (delta_type, values, expected) in cases {
        let stored = store("x", delta_type, true, values).await.unwrap_or_else(|error| panic!("{delta_type}: {error}"));
        assert_eq!(stored, expected, "{delta_type}");
    }
}

#[tokio::test]
async fn a_file_that_does_not_fit_the_schema_is_refused_by_column() {
    let nanos = Series::new("".into(), [1_i64]).cast(&Dtype::Datetime(TimeUnit::Nanoseconds, None)).unwrap();
    let cases = [
        ("long", Series::new("".into(), ["1"])),
        ("string", Series::new("".into(), [1_i64])),
        ("long", Series::new("".into(), [1_u64])),
        ("timestamp", nanos),
        ("decimal(10,2)", decimals(&[Some(1)], 10, 3)),
        ("date", Series::new("".into(), [1_i32])),
    ];
    for (delta_type, values) in cases {
        let error = store("x", delta_type, true, values).await.unwrap_err();
        assert!(matches!(&error, Error::Column { column, .. } if column == "x"), "{delta_type}: {error}");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    let error = store("x", "string", false, Series::new("".into(), [Some("a"), None])).await.unwrap_err();
    assert!(matches!(error, Error::Row { row: 1, .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn names_may_be_anything_but_empty_or_nul() {
    let ones = || Series::new("".into(), [1_i64]);
    for name in ["select", "a\"b", "a b;--", "Ünïcode \u{1F600}", "[x]", "'", "a.b", "?1", "\n", "rowid"] {
        let stored = store(name, "long", true, ones()).await.unwrap_or_else(|error| panic!("{name:?}: {error}"));
        assert_eq!(stored, [Value::Integer(1)], "{name:?}");
    }
    for name in ["", "a\0b", &"x".repeat(513)] {
        let error = store(name, "long", true, ones()).await.unwrap_err();
        assert!(matches!(error, Error::Name { what: "column", .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}

/// Loads columns of one row each.
async fn columns(names: &[&str]) -> Result<LoadReport, Error> {
    let folder = TempDir::new().unwrap();
    let warehouse = open(&folder).await;
    let fields: Vec<_> = names.iter().map(|name| json!({"name": name, "type": "long", "nullable": true})).collect();
    let schema = json!({ "fields": fields }).to_string();
    let values = names.iter().map(|name| Column::from(Series::new((*name).into(), [1_i64]))).collect();
    let frame = DataFrame::new(1, values).unwrap();
    let to = Watermark { table_id: "t".to_owned(), version: 0, schema };
    let plan = Plan::Reload { from: None, to, reason: ReloadReason::FirstLoad };
    warehouse.apply(&load_of("t", "t"), &plan, &OneFile { frame, num_records: Some(1) }).await
}

#[tokio::test]
async fn names_that_sqlite_cannot_tell_apart_are_refused() {
    let error = columns(&["id", "x", "ID"]).await.unwrap_err();
    assert!(matches!(&error, Error::SameName { column } if column == "ID"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Config);
    // Other alphabets' cases are told apart.
    columns(&["é", "É", "straße", "STRASSE"]).await.unwrap();
    columns(&["rowid", "OID"]).await.unwrap();
    let error = columns(&["rowid", "oid", "_ROWID_"]).await.unwrap_err();
    assert!(error.to_string().contains("`_rowid_`"), "{error}");
}

#[tokio::test]
async fn tables_may_be_called_anything_but_what_is_reserved() {
    let folder = TempDir::new().unwrap();
    let warehouse = open(&folder).await;
    let schema = json!({"fields": [{"name": "x", "type": "long", "nullable": true}]}).to_string();
    let long = "t".repeat(512);
    let load = async |name: &str, number: usize| {
        let frame = DataFrame::new(1, vec![Column::from(Series::new("x".into(), [1_i64]))]).unwrap();
        let to = Watermark { table_id: "t".to_owned(), version: 0, schema: schema.clone() };
        let plan = Plan::Reload { from: None, to, reason: ReloadReason::FirstLoad };
        let target = load_of(&format!("t{number}"), name);
        warehouse.apply(&target, &plan, &OneFile { frame, num_records: Some(1) }).await.map(|_| target)
    };
    let good = ["select", "a\"b", "a.b", "[x]", "`x`", "'", "Ünïcode \u{1F600}", "x; DROP TABLE t;--", "\n", &long];
    for (number, name) in good.into_iter().enumerate() {
        let target = load(name, number).await.unwrap_or_else(|error| panic!("{name:?}: {error}"));
        assert_eq!(warehouse.row_count(&target).await.unwrap(), 1, "{name:?}");
    }
    let longer = "t".repeat(513);
    let bad = ["", "a\0b", "sqlite_master", "SQLITE_x", "weir_watermark", "Weir_pending", &longer];
    for (number, name) in bad.into_iter().enumerate() {
        let error = load(name, 100 + number).await.unwrap_err();
        assert!(matches!(error, Error::Name { what: "table", .. }), "{name:?}: {error}");
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn a_huge_value_arrives_whole() {
    let huge = "é\0'".repeat(16 << 20);
    let stored = store("x", "string", true, Series::new("".into(), [huge.as_str()])).await.unwrap();
    assert!(stored == [Value::Text(huge)]);
}

#[tokio::test]
async fn decimals_compare_and_sum_as_numbers() {
    let folder = TempDir::new().unwrap();
    let warehouse = open(&folder).await;
    // 0.01, 0.02 … 10000.00: the doubles are inexact, the sum must not show it.
    let cents: Vec<_> = (1..=1_000_000_i128).map(Some).collect();
    let frame = DataFrame::new(cents.len(), vec![decimals(&cents, 15, 2).with_name("price".into()).into()]).unwrap();
    let schema = json!({"fields": [{"name": "price", "type": "decimal(15,2)", "nullable": false}]}).to_string();
    let to = Watermark { table_id: "t".to_owned(), version: 0, schema };
    let plan = Plan::Reload { from: None, to, reason: ReloadReason::FirstLoad };
    warehouse.apply(&load_of("t", "t"), &plan, &OneFile { frame, num_records: None }).await.unwrap();
    let ask = |sql: &str| connect(&folder).query_row(sql, [], |row| row.get::<_, f64>(0)).unwrap();
    assert_eq!(ask("SELECT sum(price) FROM t"), 5_000_005_000.00);
    assert_eq!(ask("SELECT count(*) FROM t WHERE price = 0.07"), 1.0);
    assert_eq!(ask("SELECT count(*) FROM t WHERE price > 100"), 990_000.0);
    assert_eq!(ask("SELECT max(price) FROM t"), 10_000.0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn dates_timestamps_and_decimals_are_those_of_chrono(
        micros in prop::collection::vec(-62_167_219_200_000_000..253_402_300_800_000_000_i64, 1..50),
        unscaled in prop::collection::vec(-999_999_999_999_999..=999_999_999_999_999_i128, 1..50),
        scale in 1..=15_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let instants: Vec<_> = micros.iter().map(|at| chrono::DateTime::from_timestamp_micros(*at).unwrap()).collect();
        let series = Series::new("".into(), &micros).cast(&Dtype::Datetime(TimeUnit::Microseconds, None)).unwrap();
        let stored = runtime.block_on(store("x", "timestamp", false, series)).unwrap();
        let expected: Vec<_> = instants.iter().map(|at| text(&at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())).collect();
        prop_assert_eq!(stored, expected);

        let days: Vec<_> = micros.iter().map(|at| at.div_euclid(86_400_000_000) as i32).collect();
        let series = Series::new("".into(), &days).cast(&Dtype::Date).unwrap();
        let stored = runtime.block_on(store("x", "date", false, series)).unwrap();
        let expected: Vec<_> = instants.iter().map(|at| text(&at.format("%Y-%m-%d").to_string())).collect();
        prop_assert_eq!(stored, expected);

        // The double is the one that the decimal's own digits read as, so it prints back as them.
        let digits = |value: i128| {
            let sign = if value < 0 { "-" } else { "" };
            let text = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
            format!("{sign}{}.{}", &text[..text.len() - scale], &text[text.len() - scale..])
        };
        let values: Vec<_> = unscaled.iter().copied().map(Some).collect();
        let delta_type = format!("decimal(15,{scale})");
        let stored = runtime.block_on(store("x", &delta_type, false, decimals(&values, 15, scale))).unwrap();
        let expected: Vec<_> = unscaled.iter().map(|value| Value::Real(digits(*value).parse().unwrap())).collect();
        prop_assert_eq!(stored, expected);
        let delta_type = format!("decimal(16,{scale})");
        let stored = runtime.block_on(store("x", &delta_type, false, decimals(&values, 16, scale))).unwrap();
        let expected: Vec<_> = unscaled.iter().map(|value| text(&digits(*value))).collect();
        prop_assert_eq!(stored, expected);
    }
}
