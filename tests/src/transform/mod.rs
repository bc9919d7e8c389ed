//! `weir_transform` from the outside: what a chunk of bytes becomes.
#![allow(clippy::unwrap_used)] // helpers of tests, which clippy only knows by their attribute

mod avro;
mod avro_types;
mod cases;
mod corpus;
mod csv;
mod dialect;
mod drift;
mod events;
mod json;
mod looks;
mod parquet;
mod privacy;
mod properties;
mod quality;
mod rows;
mod rules;
mod sql;
mod times;

use std::collections::HashSet;

use polars::prelude::{AnyValue, DataFrame, DataType as Dtype, TimeUnit, TimeZone};
use weir_contract::{
    Column, Compression, Contract, DataType, Drift, Format, FormatKind, OnDelete, OnOverwrite, Quality, Rule,
    RuleAction, Source, TableSpec, Treatment, UnknownFields, is_column_name,
};
use weir_transform::{Lineage, Output, PseudonymKey, Transform};

/// `name:type`, with `!` for not null.
fn column(spec: &str, data_type: DataType) -> Column {
    let (name, nullable) = spec.strip_suffix('!').map_or((spec, true), |name| (name, false));
    let name = name.to_owned();
    Column { name, data_type, nullable, from: None, format: None, personal: None, description: None }
}

fn contract(columns: Vec<Column>) -> Contract {
    Contract {
        name: "orders".to_owned(),
        description: None,
        source: Source::Blob {
            container: "landing".to_owned(),
            paths: vec!["**".to_owned()],
            ignore: Vec::new(),
            on_overwrite: OnOverwrite::Replace,
            on_delete: OnDelete::Keep,
        },
        format: Format {
            kind: FormatKind::Auto,
            compression: Compression::None,
            delimiter: b',',
            quote: Some(b'"'),
            header: true,
            null_values: vec![String::new()],
            quoted_newlines: true,
            decimal_comma: false,
            skip_lines: 0,
            comment: None,
            trailing_delimiter: false,
            escape: None,
            records: None,
            payload: None,
            encoding: "utf-8",
            split_bytes: 1 << 28,
            max_record_bytes: 1024 * 1024,
        },
        columns,
        rules: Vec::new(),
        drift: Drift::default(),
        quality: Quality::default(),
        dedupe: None,
        table: TableSpec::default(),
        warehouse: None,
    }
}

/// `id long not null, name string, price decimal(9,2), day date`.
fn orders() -> Contract {
    contract(vec![
        column("id!", DataType::Long),
        column("name", DataType::String),
        column("price", DataType::Decimal { precision: 9, scale: 2 }),
        column("day", DataType::Date),
    ])
}

fn rule(name: &str, expr: &str, action: RuleAction) -> Rule {
    Rule { name: name.to_owned(), expr: expr.to_owned(), action, line: 7 }
}

fn lineage() -> Lineage {
    Lineage {
        source: "blob:landing/a.csv".to_owned(),
        source_version: "0x1".to_owned(),
        ingested_at_us: 1_700_000_000_000_000,
    }
}

fn key() -> PseudonymKey {
    PseudonymKey::new(1, [0xab; 32])
}

fn transform(contract: &Contract) -> Transform {
    Transform::new(contract, Some(&key())).unwrap()
}

/// Splits the header off, as intake does, and transforms the rest.
fn run_csv(contract: &Contract, bytes: &[u8]) -> Output {
    let transform = transform(contract);
    let (header, rest) = if contract.format.header {
        let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
        (Some(&bytes[..end]), &bytes[end..])
    } else {
        (None, bytes)
    };
    let layout = transform.csv_layout(header).unwrap();
    let output = match header.filter(|header| layout.refusal().is_some() && !header.trim_ascii().is_empty()) {
        Some(header) => transform.csv_without_header(&layout, header, rest, 1, &lineage()).unwrap(),
        None => transform.csv(&layout, rest, 1, &lineage()).unwrap(),
    };
    checked(contract, output)
}

fn run_ndjson(contract: &Contract, bytes: &[u8]) -> Output {
    checked(contract, transform(contract).ndjson(bytes, 1, &lineage()).unwrap())
}

/// What holds for every output: balanced books, the contract's columns and types, and those that were added.
fn checked(contract: &Contract, output: Output) -> Output {
    assert_eq!(output.records, (output.clean.height() + output.quarantined.height()) as u64);
    assert_eq!((output.report.records, output.report.faulty), (output.records, output.quarantined.height() as u64));
    let mut columns = contract.table_columns();
    let added = output.clean.columns().iter().skip(columns.len());
    columns.extend(added.clone().map(|column| weir_contract::TableColumn {
        name: column.name().to_string(),
        data_type: DataType::String,
        nullable: true,
    }));
    let limit = match contract.drift.unknown_fields {
        UnknownFields::Add => contract.drift.max_added_columns,
        UnknownFields::Rescue | UnknownFields::Fail => 0,
    };
    assert!(added.clone().count() <= limit);
    for column in added {
        assert!(is_column_name(column.name()) && column.null_count() < column.len(), "{}", column.name());
    }
    let names: HashSet<String> = columns.iter().map(|column| column.name.to_lowercase()).collect();
    assert_eq!(names.len(), columns.len(), "names that differ by case alone");
    assert_shape(&output.clean, &columns);
    assert_shape(&output.quarantined, &contract.quarantine_columns());
    output
}

fn assert_shape(frame: &DataFrame, columns: &[weir_contract::TableColumn]) {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let given: Vec<&str> = frame.columns().iter().map(|column| column.name().as_str()).collect();
    assert_eq!(given, names);
    for (given, wanted) in frame.columns().iter().zip(columns) {
        assert_eq!(*given.dtype(), dtype(wanted.data_type), "{}", wanted.name);
        assert!(wanted.nullable || given.null_count() == 0, "{} has nulls", wanted.name);
    }
    // Polars rechunks any frame with more chunks than rows; a real one is to be written without being copied first.
    assert!(frame.height() < 64 || !frame.should_rechunk(), "columns are not chunked alike");
}

fn dtype(data_type: DataType) -> Dtype {
    match data_type {
        DataType::String => Dtype::String,
        DataType::Long => Dtype::Int64,
        DataType::Integer => Dtype::Int32,
        DataType::Short => Dtype::Int16,
        DataType::Byte => Dtype::Int8,
        DataType::Double => Dtype::Float64,
        DataType::Float => Dtype::Float32,
        DataType::Boolean => Dtype::Boolean,
        DataType::Date => Dtype::Date,
        DataType::Timestamp => Dtype::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC)),
        DataType::Binary => Dtype::Binary,
        DataType::Decimal { precision, scale } => Dtype::Decimal(precision.into(), scale.into()),
    }
}

/// The clean rows as `position: value|value|…`, with `~` for null; `_rescued` last when there is one, then `name=value` of
/// labels and added columns that have one.
fn clean(output: &Output) -> Vec<String> {
    let frame = &output.clean;
    let own = frame.get_column_index("_source").unwrap();
    let more = frame.get_column_index("_rescued").unwrap() + 1;
    (0..frame.height())
        .map(|row| {
            let mut values: Vec<String> =
                frame.columns()[..own].iter().map(|column| show(&column.get(row).unwrap())).collect();
            match frame.column("_rescued").unwrap().get(row).unwrap() {
                AnyValue::Null => {}
                rescued => values.push(show(&rescued)),
            }
            for column in &frame.columns()[more..] {
                let value = column.get(row).unwrap();
                values.extend((!value.is_null()).then(|| format!("{}={}", column.name(), show(&value))));
            }
            format!("{}: {}", show(&frame.column("_source_position").unwrap().get(row).unwrap()), values.join("|"))
        })
        .collect()
}

fn show(value: &AnyValue<'_>) -> String {
    match value {
        AnyValue::Null => "~".to_owned(),
        AnyValue::String(text) => (*text).to_owned(),
        AnyValue::StringOwned(text) => text.to_string(),
        AnyValue::Binary(bytes) => format!("{bytes:?}"),
        AnyValue::BinaryOwned(bytes) => format!("{bytes:?}"),
        other => other.to_string(),
    }
}

/// The quarantined rows as (position, reasons, raw).
fn quarantined(output: &Output) -> Vec<(i64, Vec<String>, Vec<u8>)> {
    let frame = &output.quarantined;
    let position = frame.column("_source_position").unwrap().i64().unwrap();
    let reasons = frame.column("_reasons").unwrap().str().unwrap();
    let raw = frame.column("_raw").unwrap().binary().unwrap();
    (0..frame.height())
        .map(|row| {
            let reasons = serde_json::from_str(reasons.get(row).unwrap()).unwrap();
            (position.get(row).unwrap(), reasons, raw.get(row).unwrap().to_vec())
        })
        .collect()
}

/// As [`quarantined`], as `position: reason; reason`.
fn refused(output: &Output) -> Vec<String> {
    quarantined(output)
        .into_iter()
        .map(|(position, reasons, _)| format!("{position}: {}", reasons.join("; ")))
        .collect()
}

#[test]
fn every_row_says_where_it_came_from() {
    let output = run_csv(&orders(), b"id,name,price,day\n1,a,2,2024-01-01\nx,,,\n");
    for frame in [&output.clean, &output.quarantined] {
        let get = |name: &str| show(&frame.column(name).unwrap().get(0).unwrap());
        assert_eq!((get("_source").as_str(), get("_source_version").as_str()), ("blob:landing/a.csv", "0x1"));
        assert!(get("_ingested_at").starts_with("2023-11-14 22:13:20"));
    }
}

#[test]
fn debug_shows_no_value() {
    let output = run_csv(&orders(), b"id,name,price,day\n1,secret,2,\nx,secret,,\n");
    assert!(!format!("{output:?}").contains("secret"));
}

#[test]
fn what_the_caller_refuses_is_quarantined_with_its_reason() {
    let contract = orders();
    let records: Vec<(&[u8], i64, String)> =
        vec![(b"\xff\x00", 7, "undecodable".to_owned()), (b"", 9, "record longer than 10 bytes".to_owned())];
    let output = checked(&contract, transform(&contract).quarantine_records(&records, &lineage()).unwrap());
    assert_eq!(refused(&output), ["7: undecodable", "9: record longer than 10 bytes"]);
    assert_eq!(quarantined(&output)[0].2, b"\xff\x00");
}

#[test]
fn a_personal_column_needs_a_key_and_a_field_has_one_column() {
    let mut personal = orders();
    personal.columns[1].personal = Some(Treatment::Pseudonym);
    let error = Transform::new(&personal, None).unwrap_err();
    assert_eq!(error.kind(), weir_transform::ErrorKind::Key);
    assert!(error.to_string().contains("`name`"), "{error}");

    let mut twice = orders();
    twice.columns[3].from = Some("name".to_owned());
    assert!(Transform::new(&twice, None).unwrap_err().to_string().contains("same field"));
}

#[test]
fn a_date_pattern_that_cannot_work_is_refused_at_once() {
    for (pattern, data_type) in
        [("%Y-%m", DataType::Date), ("%Q", DataType::Date), ("%Y-%m-%d", DataType::Timestamp), ("%Y", DataType::Long)]
    {
        let mut contract = contract(vec![column("at", data_type)]);
        contract.columns[0].format = Some(pattern.to_owned());
        assert!(Transform::new(&contract, None).is_err(), "{pattern}");
    }
}
