//! Three query engines that are not ours read a table that has been through everything: `deltalake` (DataFusion),
//! Polars and ClickHouse. They find the rows that we find, and statistics mislead none of them.

use std::sync::Arc;

use polars::prelude::{AnyValue, Column, DataFrame, DataType as PolarsType, NamedFrom, Series, TimeUnit, TimeZone};
use serde_json::{Value, json};
use weir_contract::{DataType as Type, NewColumns};
use weir_lake::{CompactOptions, Deletion, Outcome, Replacement, Table, TableDefinition, Upsert};

use super::evolution::write;
use super::readers::Local;
use super::{column, counted, definition, frame, lake, model, producer};
use crate::python;

/// Rows and the counts of filters, by each engine; `full` counts without any file skipped.
const READ: &str = r#"
import json, os, sys
from datetime import date, datetime, timezone
from decimal import Decimal
import chdb
import polars as pl
from deltalake import DeltaTable, QueryBuilder

path, columns, filters = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

def plain(value):
    if isinstance(value, datetime):
        return round((value - EPOCH).total_seconds() * 1e6)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, float):
        return repr(value)
    return value.hex() if isinstance(value, bytes) else value

def ordered(rows):
    return sorted([plain(value) for value in row] for row in rows)

table = DeltaTable(path)
names = list(columns)
listed = ", ".join(f'"{name}"' for name in names)

def datafusion(select):
    frame = QueryBuilder().register("self", table).execute(f"select {select}").read_all()
    return list(zip(*(frame.column(name).to_pylist() for name in frame.schema.names)))

# ClickHouse says it in JSON, so what JSON lacks is made plain by itself.
FORMS = {"float": "toFloat64({})", "timestamp": "toUnixTimestamp64Micro({})", "date": "toString({})", "binary": "lower(hex({}))", "decimal": "toString({})"}

def clickhouse(select):
    answer = chdb.query(f"select {select} settings output_format_json_quote_64bit_integers = 0", "JSONCompact")
    return json.loads(str(answer))["data"]

forms = ", ".join(FORMS.get(kind, "{}").format(f'"{name}"') for name, kind in columns.items())
os.chdir(path)  # ClickHouse reads no local file outside of where it runs
source = f"deltaLakeLocal('{path}')"
decimals = [kind == "decimal" for kind in columns.values()]
rows = [[Decimal(v) if d and v is not None else v for v, d in zip(row, decimals)] for row in clickhouse(f"{forms} from {source}")]
scan = pl.scan_delta(path)
full = scan.collect()
protocol = table.protocol()
print(json.dumps({
    "protocol": [protocol.min_reader_version, protocol.min_writer_version],
    "deltalake": ordered(datafusion(f"{listed} from self")),
    "polars": ordered(full.select(names).rows()),
    "clickhouse": ordered(rows),
    "counts": {
        "full": [full.sql(f"select count(*) from self where {f[1]}").item() for f in filters],
        "deltalake": [datafusion(f"count(*) from self where {f[0]}")[0][0] for f in filters],
        "polars": [scan.sql(f"select count(*) from self where {f[1]}").collect().item() for f in filters],
        "clickhouse": [clickhouse(f"count(*) from {source} where {f[2]}")[0][0] for f in filters],
    },
}))
"#;

/// Columns that the table gets later come last.
const TYPES: [(&str, &str, Type); 12] = [
    ("n", "long", Type::Long),
    ("i", "integer", Type::Integer),
    ("s", "short", Type::Short),
    ("b", "byte", Type::Byte),
    ("d", "double", Type::Double),
    ("f", "float", Type::Float),
    ("ok", "boolean", Type::Boolean),
    ("day", "date", Type::Date),
    ("raw", "binary", Type::Binary),
    ("price", "decimal", Type::Decimal { precision: 12, scale: 2 }),
    ("at", "timestamp", Type::Timestamp),
    ("weight", "double", Type::Double),
];

/// The first of [`TYPES`].
fn typed(columns: usize, partition_by: &[&str]) -> TableDefinition {
    let mut definition = definition();
    definition.columns.extend(TYPES[..columns].iter().map(|(name, _, data_type)| column(name, *data_type, true)));
    let partition_by = partition_by.iter().map(|name| (*name).to_owned()).collect();
    TableDefinition { new_columns: NewColumns::Add, cluster_by: vec!["n".to_owned()], partition_by, ..definition }
}

/// A row for each position; in every fifth all values are null.
fn typed_frame(source: &str, positions: std::ops::RangeInclusive<i64>, columns: usize) -> DataFrame {
    let mut frame = frame(&model(source, positions.clone()));
    let micros = PolarsType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC));
    for (name, _, data_type) in &TYPES[..columns] {
        let values = |value: &dyn Fn(i64) -> i64| -> Vec<Option<i64>> {
            positions.clone().map(|position| (position % 5 != 0).then(|| value(position))).collect()
        };
        let longs = |value: &dyn Fn(i64) -> i64| Series::new((*name).into(), values(value));
        let doubles = |by: f64| {
            let values: Vec<_> =
                values(&|position| position).into_iter().map(|value| value.map(|value| value as f64 / by)).collect();
            Series::new((*name).into(), values)
        };
        let cast = |series: Series, dtype: &PolarsType| series.strict_cast(dtype).unwrap();
        let series = match data_type {
            Type::Long => longs(&|position| position * 1_000_000_007),
            Type::Integer => cast(longs(&|position| -position), &PolarsType::Int32),
            Type::Short => cast(longs(&|position| position % 7), &PolarsType::Int16),
            Type::Byte => cast(longs(&|position| position % 3), &PolarsType::Int8),
            Type::Double => doubles(10.0),
            Type::Float => cast(doubles(10.0), &PolarsType::Float32),
            Type::Boolean => cast(longs(&|position| position % 2), &PolarsType::Boolean),
            Type::Date => cast(cast(longs(&|position| 20_000 + position % 4), &PolarsType::Int32), &PolarsType::Date),
            Type::Timestamp => cast(longs(&|position| 1_767_607_200_000_001 + position * 3_600_000_000), &micros),
            Type::Decimal { .. } => cast(doubles(4.0), &PolarsType::Decimal(12, 2)),
            Type::Binary => {
                let bytes = |value: Option<i64>| value.map(|value| vec![0xff, value as u8]);
                Series::new((*name).into(), values(&|position| position).into_iter().map(bytes).collect::<Vec<_>>())
            }
            Type::String => unreachable!("there is one already"),
        };
        frame.with_column(series.into()).unwrap();
    }
    frame
}

/// Appends, two kinds of new columns, compaction, replacement, erasure, upsert, a checkpoint, and more of it.
async fn lived_in(local: &Local, partition_by: &[&str]) -> Arc<Table> {
    let first = lake(&local.store).table(&typed(10, partition_by)).await.unwrap();
    for position in (1..=30).step_by(3) {
        write(&first, "hub/0", position + 2, typed_frame("hub/0", position..=position + 2, 10)).await.unwrap();
    }
    write(&first, "blob", 20, typed_frame("blob", 1..=20, 10)).await.unwrap();
    let table = lake(&local.store).table(&typed(11, partition_by)).await.unwrap();
    write(&table, "hub/1", 12, typed_frame("hub/1", 1..=12, 11)).await.unwrap();
    first.compact(CompactOptions::default(), None).await.unwrap();
    let rows = table.stage(typed_frame("blob", 5..=15, 11)).await.unwrap();
    let (source, request) = ("blob".to_owned(), producer("request", 1));
    let replacement = Replacement { source, positions: None, producer: request, rows, books: counted(11) };
    assert!(matches!(table.replace_source(replacement).await.unwrap(), Outcome::Committed { .. }));
    let keys = DataFrame::new(2, vec![Column::new("n".into(), [3 * 1_000_000_007_i64, 7 * 1_000_000_007])]).unwrap();
    let deleted = table.delete_where(Deletion { producer: producer("erasure", 1), keys }).await.unwrap();
    assert_eq!(deleted.rows, 5, "hub/0 and hub/1 have both, the blob one");
    table.checkpoint().await.unwrap();
    let upsert = Upsert {
        producer: producer("upsert", 1),
        after: None,
        frame: typed_frame("hub/1", 10..=14, 12),
        keys: vec!["_source".to_owned(), "_source_position".to_owned()],
        order_by: None,
        books: counted(5),
    };
    assert_eq!(table.upsert(upsert).await.unwrap().replaced, 3);
    write(&first, "hub/0", 40, typed_frame("hub/0", 31..=40, 10)).await.unwrap();
    table.refresh().await.unwrap();
    table
}

/// A value as the script says it.
fn plain(value: &AnyValue<'_>) -> Value {
    match value.as_borrowed() {
        AnyValue::Null => Value::Null,
        AnyValue::Boolean(value) => json!(value),
        // As text: `serde_json` reads some floats one bit off.
        AnyValue::Float32(value) => json!(format!("{:?}", f64::from(value))),
        AnyValue::Float64(value) => json!(format!("{value:?}")),
        AnyValue::String(text) => json!(text),
        AnyValue::Binary(bytes) => json!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        AnyValue::Datetime(micros, ..) => json!(micros),
        AnyValue::Decimal(..) => {
            let text = value.str_value();
            json!(if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text })
        }
        AnyValue::Date(_) => json!(value.str_value()),
        other => json!(other.extract::<i64>().unwrap_or_else(|| panic!("{other:?}"))),
    }
}

async fn expected(table: &Arc<Table>, columns: &[&str]) -> Vec<Value> {
    let mut rows = Vec::new();
    for file in table.snapshot().await.unwrap().files {
        let frame = table.read(&file).await.unwrap();
        let columns: Vec<_> = columns.iter().map(|name| frame.column(name).unwrap()).collect();
        rows.extend((0..frame.height()).map(|row| {
            let values = columns.iter().map(|column| plain(&column.get(row).unwrap()));
            Value::Array(values.collect())
        }));
    }
    // Source and position come first, and no two rows have the same.
    rows.sort_by_key(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_i64().unwrap()));
    rows
}

/// In the dialects of DataFusion, Polars and ClickHouse.
fn filters() -> Value {
    let same = |filter: &str| json!([filter, filter, filter]);
    json!([
        same("\"_source\" = 'hub/1'"),
        same("\"_source_position\" > 33"),
        same("\"value\" >= 'hub/1:2'"),
        same("\"n\" between 4000000028 and 9000000063"),
        same("\"i\" < -35"),
        same("\"s\" = 6"),
        same("\"b\" >= 2"),
        same("\"d\" > 3.65"),
        same("\"f\" <= 0.25"),
        same("\"ok\" = true"),
        same("\"price\" > 9.25"),
        same("\"weight\" > 1.05"),
        same("\"weight\" is null"),
        same("\"at\" is not null"),
        same("\"price\" is null and \"_source\" = 'hub/0'"),
        ["\"day\" >= date '2024-10-06'", "\"day\" >= date '2024-10-06'", "\"day\" >= toDate('2024-10-06')"],
        [
            "\"at\" > timestamp '2026-01-05T15:00:00Z'",
            "\"at\" > '2026-01-05 15:00:00+00:00'::timestamptz",
            "\"at\" > toDateTime64('2026-01-05 15:00:00', 6, 'UTC')",
        ],
        ["\"raw\" > arrow_cast(decode('ff1d', 'hex'), 'Binary')", "\"raw\" > x'ff1d'", "\"raw\" > unhex('ff1d')",],
    ])
}

#[tokio::test]
async fn three_engines_find_the_rows_that_we_find() {
    for partition_by in [&[][..], &["day", "ok"]] {
        let local = Local::new();
        let table = lived_in(&local, partition_by).await;
        let mut columns = serde_json::Map::new();
        for (name, kind) in [("_source", "string"), ("_source_position", "long"), ("value", "string")] {
            columns.insert(name.to_owned(), kind.into());
        }
        columns.extend(TYPES.iter().map(|(name, kind, _)| ((*name).to_owned(), (*kind).into())));
        let names: Vec<_> = columns.keys().map(String::as_str).collect();
        let expected = expected(&table, &names).await;
        assert_eq!(expected.len(), 60);
        let arguments =
            [local.table().display().to_string(), Value::from(columns.clone()).to_string(), filters().to_string()];
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let read: Value = serde_json::from_str(&python::run(READ, &arguments)).unwrap();
        assert_eq!(read["protocol"], json!([1, 2]));
        for engine in ["deltalake", "polars", "clickhouse"] {
            let rows = read[engine].as_array().unwrap();
            for (row, expected) in rows.iter().zip(&expected) {
                assert_eq!(row, expected, "{engine}, {partition_by:?}");
            }
            assert_eq!(rows.len(), expected.len(), "{engine}, {partition_by:?}");
            let counts = &read["counts"][engine];
            for (index, filter) in filters().as_array().unwrap().iter().enumerate() {
                assert_eq!(counts[index], read["counts"]["full"][index], "{engine}, {partition_by:?}: {filter}");
                assert!(
                    (1..60).contains(&counts[index].as_i64().unwrap()),
                    "{filter} tells nothing: {}",
                    counts[index]
                );
            }
        }
    }
}
