//! `verify` finds every difference between lake and SQLite, and says where it is.

use std::collections::BTreeMap;

use polars::prelude::{Column, DataFrame, DataType as Dtype, IntoSeries, NamedFrom, Series, TimeUnit};
use serde_json::json;
use tempfile::TempDir;
use weir_warehouse::{
    DataFile, FileLayout, FileReader, Plan, ReadError, ReloadReason, TableLoad, Verified, Warehouse, Watermark,
    async_trait,
};

use super::{connect, load_of, open};

const ROWS: i64 = 40;
const FILES: i64 = 4;

/// Columns of every type, with a change that SQL makes to one value.
const CHANGES: [(&str, &str, &str); 12] = [
    ("long", "long", "long + 1"),
    ("integer", "integer", "NULL"),
    ("short", "short", "-short - 1"),
    ("byte", "byte", "byte + 1"),
    ("boolean", "boolean", "1 - boolean"),
    ("double", "double", "double * (1 + 2.3e-16)"),
    ("float", "float", "NULL"),
    ("text", "string", "text || ' '"),
    ("bytes", "binary", "x'00'"),
    ("day", "date", "'2026-01-02'"),
    ("instant", "timestamp", "'2026-01-01T00:00:00.000001Z'"),
    ("price", "decimal(20,2)", "'1.01'"),
];

/// Two sources in some files.
struct Files;

fn frame(file: i64) -> DataFrame {
    let positions: Vec<i64> = (file * ROWS..(file + 1) * ROWS).collect();
    let sources: Vec<&str> =
        positions.iter().map(|position| if position % 10 == 0 { "b" } else { "a/x.csv" }).collect();
    let days = Series::new("day".into(), vec![0_i32; positions.len()]).cast(&Dtype::Date).unwrap();
    let instants = Series::new("instant".into(), positions.as_slice());
    let instants = instants.cast(&Dtype::Datetime(TimeUnit::Microseconds, None)).unwrap();
    let prices: polars::prelude::Int128Chunked = positions.iter().map(|position| Some(i128::from(*position))).collect();
    let prices = prices.into_decimal_unchecked(20, 2).into_series().with_name("price".into());
    let each = |name: &str, value: &dyn Fn(i64) -> i64| {
        Series::new(name.into(), positions.iter().map(|p| value(*p)).collect::<Vec<_>>())
    };
    let columns: Vec<Series> = vec![
        Series::new("_source".into(), sources),
        Series::new("_source_position".into(), positions.as_slice()),
        each("long", &|position| i64::MAX - 1 - position),
        each("integer", &|position| position).cast(&Dtype::Int32).unwrap(),
        each("short", &|position| position).cast(&Dtype::Int16).unwrap(),
        each("byte", &|position| position % 100).cast(&Dtype::Int8).unwrap(),
        Series::new("boolean".into(), positions.iter().map(|p| p % 2 == 0).collect::<Vec<_>>()),
        Series::new(
            "double".into(),
            positions.iter().map(|p| if p % 5 == 0 { -0.0 } else { *p as f64 / 3.0 }).collect::<Vec<_>>(),
        ),
        Series::new(
            "float".into(),
            positions.iter().map(|p| if p % 7 == 0 { f32::NAN } else { 0.1 }).collect::<Vec<_>>(),
        ),
        Series::new("text".into(), positions.iter().map(|p| format!("é\0{p}")).collect::<Vec<_>>()),
        Series::new("bytes".into(), positions.iter().map(|p| p.to_le_bytes().to_vec()).collect::<Vec<_>>()),
        days,
        instants,
        prices,
    ];
    DataFrame::new(positions.len(), columns.into_iter().map(Column::from).collect()).unwrap()
}

fn files() -> Vec<DataFile> {
    let file = |number: i64| DataFile {
        path: number.to_string(),
        partition_values: BTreeMap::new(),
        num_records: Some(ROWS as u64),
        size_bytes: 1,
    };
    (0..FILES).map(file).collect()
}

fn schema() -> String {
    let lineage = [("_source", "string"), ("_source_position", "long")];
    let columns = lineage.into_iter().chain(CHANGES.map(|(name, data_type, _)| (name, data_type)));
    let fields: Vec<_> =
        columns.map(|(name, data_type)| json!({"name": name, "type": data_type, "nullable": true})).collect();
    json!({ "fields": fields }).to_string()
}

#[async_trait]
impl FileReader for Files {
    async fn read(&self, file: &DataFile) -> Result<DataFrame, ReadError> {
        Ok(frame(file.path.parse().unwrap()))
    }

    async fn layout(&self, _: &DataFile) -> Result<FileLayout, ReadError> {
        Err(ReadError::NotFound)
    }

    async fn snapshot_files(&self, _: i64) -> Result<Vec<DataFile>, ReadError> {
        Ok(files())
    }
}

async fn loaded() -> (TempDir, Box<dyn Warehouse>, TableLoad) {
    let folder = TempDir::new().unwrap();
    let (warehouse, load) = (open(&folder).await, load_of("t", "t"));
    let to = Watermark { table_id: "t".to_owned(), version: 0, schema: schema() };
    let plan = Plan::Reload { from: None, to, reason: ReloadReason::FirstLoad };
    warehouse.apply(&load, &plan, &Files).await.unwrap();
    (folder, warehouse, load)
}

/// After `sql`, which is undone again.
async fn verified(folder: &TempDir, warehouse: &dyn Warehouse, load: &TableLoad, sql: &str) -> Verified {
    let connection = connect(folder);
    connection.execute_batch(&format!("CREATE TABLE kept AS SELECT * FROM t; {sql}")).unwrap();
    let verified = warehouse.verify(load, &schema(), &files(), &Files).await.unwrap();
    connection.execute_batch("DELETE FROM t; INSERT INTO t SELECT * FROM kept; DROP TABLE kept").unwrap();
    verified
}

#[tokio::test]
async fn one_changed_value_of_any_type_is_found_where_it_is() {
    let (folder, warehouse, load) = loaded().await;
    let equal = verified(&folder, warehouse.as_ref(), &load, "").await;
    assert!(equal.is_equal() && equal.lake_rows == (ROWS * FILES) as u64, "{equal:?}");
    assert_eq!((equal.places.len(), equal.more_places), (0, false));
    for (column, _, change) in CHANGES {
        let sql = format!("UPDATE t SET {column} = {change} WHERE _source_position = 41");
        let found = verified(&folder, warehouse.as_ref(), &load, &sql).await;
        assert!(!found.is_equal() && found.rows_differ, "{column}");
        let columns: Vec<_> = found.differing.iter().map(|difference| difference.column.as_str()).collect();
        assert_eq!(columns, [column]);
        let lost = u64::from(change == "NULL");
        let counts = (found.differing[0].lake_values, found.differing[0].warehouse_values + lost);
        assert_eq!(counts.0, counts.1, "{column}");
        let [place] = found.places.as_slice() else { panic!("{column}: {:?}", found.places) };
        assert_eq!((place.source.as_str(), place.first, place.last, place.rows), ("a/x.csv", 41, 41, 1), "{column}");
        assert_eq!((place.lake_rows, place.warehouse_rows), (144, 144));
    }
}

#[tokio::test]
async fn rows_that_are_missing_doubled_or_too_many_are_found() {
    let (folder, warehouse, load) = loaded().await;
    for (sql, rows, source, first, last) in [
        ("DELETE FROM t WHERE _source_position = 41", 159, "a/x.csv", 41, 41),
        ("DELETE FROM t WHERE _source = 'b' AND _source_position BETWEEN 20 AND 90", 152, "b", 20, 90),
        ("INSERT INTO t SELECT * FROM t WHERE _source_position = 50", 161, "b", 50, 50),
        ("INSERT INTO t (_source, _source_position) VALUES ('c', 9)", 161, "c", 9, 9),
        ("INSERT INTO t (_source, _source_position) VALUES ('b', -3)", 161, "b", -3, -3),
    ] {
        let found = verified(&folder, warehouse.as_ref(), &load, sql).await;
        assert_eq!((found.is_equal(), found.warehouse_rows), (false, rows), "{sql}");
        let [place] = found.places.as_slice() else { panic!("{sql}: {:?}", found.places) };
        assert_eq!((place.source.as_str(), place.first, place.last), (source, first, last), "{sql}");
    }
    // One is missing and another is there twice: as many rows as before.
    let sql = "DELETE FROM t WHERE _source_position = 41; INSERT INTO t SELECT * FROM t WHERE _source_position = 50";
    let found = verified(&folder, warehouse.as_ref(), &load, sql).await;
    assert_eq!((found.is_equal(), found.warehouse_rows), (false, 160));
    let places: Vec<_> = found.places.iter().map(|place| (place.source.as_str(), place.first)).collect();
    assert_eq!(places, [("a/x.csv", 41), ("b", 50)]);
}

/// Each column alone is as it was.
#[tokio::test]
async fn values_that_changed_places_are_found() {
    let (folder, warehouse, load) = loaded().await;
    let sql = "UPDATE t SET text = (SELECT k.text FROM kept k WHERE k._source_position = 83 - t._source_position)
               WHERE _source_position IN (41, 42)";
    let found = verified(&folder, warehouse.as_ref(), &load, sql).await;
    assert_eq!((found.is_equal(), found.rows_differ, found.differing.len()), (false, true, 0));
    let [place] = found.places.as_slice() else { panic!("{:?}", found.places) };
    assert_eq!((place.first, place.last, place.rows), (41, 42, 2));
}

#[tokio::test]
async fn of_many_sources_that_differ_some_are_named() {
    let (folder, warehouse, load) = loaded().await;
    let sql = "UPDATE t SET _source = 's' || _source_position";
    let found = verified(&folder, warehouse.as_ref(), &load, sql).await;
    assert_eq!((found.places.len(), found.more_places), (20, true));
    let missing = verified(&folder, warehouse.as_ref(), &load, "DELETE FROM t").await;
    assert_eq!((missing.warehouse_rows, missing.places.len(), missing.more_places), (0, 2, false));
}
