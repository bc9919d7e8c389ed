//! Every type that pyarrow can write, with every option that changes how it is written: Weir, pyarrow and DuckDB read the
//! same values, or Weir says which rows it refuses.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use polars::prelude::{AnyValue, Column, DataType as Dtype, TimeUnit};
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_transform::Output;

use super::super::quarantined;
use super::{of_columns, read_path, rescued};
use crate::python;

pub(super) const WRITERS: &str = include_str!("writers.py");

#[test]
fn every_type_in_every_form_is_read_as_others_read_it() {
    let folder = TempDir::new().unwrap();
    let printed = python::run(WRITERS, &["matrix", folder.path().to_str().unwrap()]);
    let (lines, last) = printed.trim_end().rsplit_once('\n').unwrap();
    // What pyarrow itself cannot write or read back, and nothing else.
    let not_written: Value = serde_json::from_str(last).unwrap();
    let not_written = not_written["not_written"].as_array().unwrap();
    // Nanoseconds in a file of the first version.
    let unknown = not_written.iter().filter(|why| !why.as_str().unwrap().contains("would lose data"));
    assert_eq!(unknown.count(), 0, "{not_written:#?}");
    let lines: Vec<&str> = lines.lines().collect();
    assert!(lines.len() > 500, "{}", lines.len());
    assert_eq!(wrong(&lines), Vec::<String>::new());
}

/// Tables of random types and values. `WEIR_TEST_SEEDS` is a number of seeds, or `seed=N` for that one.
#[test]
fn any_table_that_pyarrow_writes_is_read_or_refused_with_a_reason() {
    let wish = std::env::var("WEIR_TEST_SEEDS").unwrap_or_else(|_| "1".to_owned());
    let seeds: Vec<u32> = match wish.strip_prefix("seed=") {
        Some(seed) => vec![seed.parse().unwrap()],
        None => (0..wish.parse::<u32>().unwrap()).map(|_| rand::random()).collect(),
    };
    for seed in seeds {
        println!("WEIR_TEST_SEEDS=seed={seed}");
        let folder = TempDir::new().unwrap();
        let arguments = ["random", folder.path().to_str().unwrap(), &seed.to_string(), "150"];
        let printed = python::run(WRITERS, &arguments);
        let lines: Vec<&str> = printed.lines().collect();
        assert!(lines.len() > 75, "{}", lines.len());
        assert_eq!(wrong(&lines), Vec::<String>::new(), "seed {seed}");
    }
}

/// One text for each file that is read otherwise than expected.
fn wrong(lines: &[&str]) -> Vec<String> {
    lines.iter().flat_map(|line| compared(&serde_json::from_str(line).unwrap())).collect()
}

fn compared(file: &Value) -> Vec<String> {
    let (path, what) = (Path::new(file["file"].as_str().unwrap()), file["what"].as_str().unwrap());
    let rows = file["rows"].as_array().unwrap();
    let mut wrong = Vec::new();
    if !file["duckdb"].is_null() {
        wrong.push(format!("{what}: DuckDB reads {}", file["duckdb"]));
    }
    // Where no column asks for it.
    let output = read_path(&of_columns(&[("id", "long")]), path);
    for (found, expected) in rescued(&output).iter().zip(rows) {
        let found = found.as_object().map_or(&Value::Null, |object| object.get("v").unwrap_or(&Value::Null));
        if !same(found, &expected[0]) {
            wrong.push(format!("{what}: {found} was rescued, {} is right", expected[0]));
        }
    }
    if output.clean.height() != rows.len() {
        wrong.push(format!("{what}: {} rows of {}", output.clean.height(), rows.len()));
    }
    // Where one does.
    let data_type = file["type"].as_str().unwrap();
    let output = read_path(&of_columns(&[("id", "long"), ("v", data_type)]), path);
    let found = typed(&output, "v");
    for (row, expected) in rows.iter().enumerate() {
        let expected = &expected[1];
        match found.get(&(row as i64 + 1)) {
            _ if expected["refused"] == true => {
                if !matches!(found.get(&(row as i64 + 1)), Some(Found::Refused(reasons)) if reasons[0].contains("column `v`"))
                {
                    wrong.push(format!("{what} as {data_type}: row {row} has to be refused"));
                }
            }
            Some(Found::Value(value)) if same_typed(value, expected) => {}
            other => wrong.push(format!("{what} as {data_type}: {other:?}, {expected} is right")),
        }
    }
    wrong.truncate(3);
    wrong
}

#[derive(Debug)]
enum Found {
    Value(Value),
    Refused(Vec<String>),
}

/// What became of each row, by position.
fn typed(output: &Output, column: &str) -> BTreeMap<i64, Found> {
    let positions = output.clean.column("_source_position").unwrap().i64().unwrap().clone();
    let values = output.clean.column(column).unwrap();
    let mut found: BTreeMap<i64, Found> = positions
        .iter()
        .enumerate()
        .map(|(row, position)| (position.unwrap(), Found::Value(value(values, row))))
        .collect();
    for (position, reasons, _) in quarantined(output) {
        assert!(found.insert(position, Found::Refused(reasons)).is_none(), "a row in both frames");
    }
    found
}

fn value(column: &Column, row: usize) -> Value {
    match (column.get(row).unwrap(), column.dtype()) {
        (AnyValue::Null, _) => Value::Null,
        (AnyValue::Boolean(value), _) => json!(value),
        // To the last bit.
        (AnyValue::Float64(value), _) => json!(value.to_bits().cast_signed().to_string()),
        (AnyValue::String(text), _) => json!(text),
        (AnyValue::StringOwned(text), _) => json!(text.as_str()),
        (AnyValue::Binary(bytes), _) => json!(BASE64.encode(bytes)),
        (AnyValue::BinaryOwned(bytes), _) => json!(BASE64.encode(bytes)),
        (
            AnyValue::Datetime(micros, TimeUnit::Microseconds, _)
            | AnyValue::DatetimeOwned(micros, TimeUnit::Microseconds, _),
            _,
        ) => {
            let time = chrono::DateTime::from_timestamp_micros(micros).unwrap();
            json!(time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
        }
        (other, Dtype::Decimal(..) | Dtype::Date) => json!(other.to_string()),
        (other, _) => json!(other.extract::<i64>().unwrap_or_else(|| panic!("{other:?}"))),
    }
}

fn same_typed(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        // Nested values are JSON texts.
        (Value::String(text), Value::Array(_) | Value::Object(_)) => {
            serde_json::from_str::<Value>(text).is_ok_and(|found| same(&found, expected))
        }
        // As JSON shows them, a decimal's zeros stay.
        _ => same(found, expected),
    }
}

/// JSON's words for what it has no number for are texts on both sides. Of two shortest texts of a 32-bit float either may
/// stand; that doubles keep all their bits, tests of their own tell.
#[allow(clippy::cast_possible_truncation)]
fn same(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Number(left), Value::Number(right)) => {
            let equal = |left: f64, right: f64| {
                left == right || (left.fract() != 0.0 || left.abs() > 1e15) && left as f32 == right as f32
            };
            match (
                left.as_i64().or(left.as_u64().map(u64::cast_signed)),
                right.as_i64().or(right.as_u64().map(u64::cast_signed)),
            ) {
                (Some(left), Some(right)) => left == right,
                _ => left.as_f64().zip(right.as_f64()).is_some_and(|(left, right)| equal(left, right)),
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, left)| right.get(name).is_some_and(|right| same(left, right)))
        }
        _ => found == expected,
    }
}
