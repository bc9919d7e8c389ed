//! Every type at its limits and beyond, through real Parquet files, into a pool's types.

use std::sync::Arc;

use polars::prelude::*;
use weir_contract::{DataType as Type, NewColumns, TableColumn};
use weir_lake::{Append, Table, TableDefinition};
use weir_warehouse::tsql::Flavor;
use weir_warehouse::{Error, Limits, Warehouse};

use super::super::tables::{counted, producer, tick};
use super::engine::Engine;
use super::loads::{target, verified};

pub(super) fn column(name: &str, data_type: Type) -> TableColumn {
    TableColumn { name: name.to_owned(), data_type, nullable: true }
}

fn decimal(precision: u8, scale: u8) -> Type {
    Type::Decimal { precision, scale }
}

pub(super) async fn table_of(engine: &Engine, columns: Vec<TableColumn>) -> Arc<Table> {
    let lineage = [("_source", Type::String), ("_source_version", Type::String), ("_source_position", Type::Long)];
    let lineage = lineage.map(|(name, data_type)| TableColumn { nullable: false, ..column(name, data_type) });
    let definition = TableDefinition {
        name: "orders".to_owned(),
        columns: lineage.into_iter().chain(columns).collect(),
        partition_by: Vec::new(),
        cluster_by: Vec::new(),
        properties: Vec::new(),
        new_columns: NewColumns::Add,
        added_columns: None,
        transactions: Vec::new(),
    };
    engine.site().table(&definition).await
}

pub(super) async fn fill(table: &Arc<Table>, id: &str, values: Vec<Series>) {
    let height = values[0].len();
    let mut columns = vec![
        Column::new("_source".into(), vec![id; height]),
        Column::new("_source_version".into(), vec!["1"; height]),
        Column::new("_source_position".into(), (1..=height as i64).collect::<Vec<_>>()),
    ];
    columns.extend(values.into_iter().map(Column::from));
    let rows = table.stage(DataFrame::new(height, columns).unwrap()).await.unwrap();
    table.append(Append { producer: producer(id, 1), rows, books: counted(height) }, None).await.unwrap();
}

fn decimals(name: &str, values: [Option<i128>; 4], precision: usize, scale: usize) -> Series {
    let values: Int128Chunked = values.into_iter().collect();
    values.into_decimal_unchecked(precision, scale).into_series().with_name(name.into())
}

pub(super) fn instants(name: &str, micros: &[Option<i64>]) -> Series {
    let zone = TimeZone::opt_try_new(Some("UTC")).unwrap();
    Series::new(name.into(), micros).cast(&DataType::Datetime(TimeUnit::Microseconds, zone)).unwrap()
}

pub(super) fn days(name: &str, days: &[Option<i32>]) -> Series {
    Series::new(name.into(), days).cast(&DataType::Date).unwrap()
}

/// The least, the greatest, null, and what is odd.
pub(super) async fn limits(engine: &Engine) -> Arc<Table> {
    let types = [
        ("flag", Type::Boolean),
        ("tiny", Type::Byte),
        ("small", Type::Short),
        ("whole", Type::Integer),
        ("long", Type::Long),
        ("real", Type::Float),
        ("double", Type::Double),
        // Stored as 4 bytes, as 8, and as 16.
        ("nine", decimal(9, 2)),
        ("eighteen", decimal(18, 4)),
        ("most", decimal(38, 10)),
        ("parts", decimal(38, 38)),
        ("day", Type::Date),
        ("at", Type::Timestamp),
        ("text", Type::String),
        ("raw", Type::Binary),
    ];
    let table = table_of(engine, types.map(|(name, data_type)| column(name, data_type)).to_vec()).await;
    let nines = |digits: u32| 10_i128.pow(digits) - 1;
    let values = vec![
        Series::new("flag".into(), [Some(false), Some(true), None, Some(true)]),
        Series::new("tiny".into(), [Some(i8::MIN), Some(i8::MAX), None, Some(0)]),
        Series::new("small".into(), [Some(i16::MIN), Some(i16::MAX), None, Some(0)]),
        Series::new("whole".into(), [Some(i32::MIN), Some(i32::MAX), None, Some(0)]),
        Series::new("long".into(), [Some(i64::MIN), Some(i64::MAX), None, Some(0)]),
        Series::new("real".into(), [Some(f32::MIN), Some(f32::MAX), None, Some(0.1)]),
        Series::new("double".into(), [Some(f64::MIN), Some(f64::MAX), None, Some(5e-324)]),
        decimals("nine", [Some(-nines(9)), Some(nines(9)), None, Some(-5)], 9, 2),
        decimals("eighteen", [Some(-nines(18)), Some(nines(18)), None, Some(-5)], 18, 4),
        decimals("most", [Some(-nines(38)), Some(nines(38)), None, Some(-1)], 38, 10),
        decimals("parts", [Some(-nines(38)), Some(nines(38)), None, Some(-1)], 38, 38),
        // 1500-02-28: no leap year, as it was one in the Julian calendar.
        days("day", &[Some(-719_162), Some(2_932_896), None, Some(-171_606)]),
        instants("at", &[Some(-62_135_596_800_000_000), Some(253_402_300_799_999_999), None, Some(-1)]),
        Series::new("text".into(), [Some(""), Some("😀 é \u{202E}"), None, Some(" it's\n\t[x] \\ ")]),
        Series::new("raw".into(), [Some(&b""[..]), Some(&b"\x00\xFF'"[..]), None, Some(&[7_u8][..])]),
    ];
    fill(&table, "limits", values).await;
    table
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_at_its_limits_arrives() {
    let engine = Engine::start().await;
    let table = limits(&engine).await;
    engine.reads(&table);
    let pool = engine.pool();
    tick(&table, &pool, &target(1), Limits::default()).await.unwrap();
    let nines = |before: usize, after: usize| {
        let zero = if before == 0 { "0" } else { "" };
        format!("{zero}{}.{}", "9".repeat(before), "9".repeat(after))
    };
    let parts = format!("0.{}1", "0".repeat(37));
    let both = |digits: String, odd: &str| [format!("-{digits}"), digits, odd.to_owned()];
    let expected: Vec<(&str, [String; 3])> = vec![
        ("flag", ["0", "1", "1"].map(str::to_owned)),
        ("tiny", ["-128", "127", "0"].map(str::to_owned)),
        ("small", ["-32768", "32767", "0"].map(str::to_owned)),
        ("whole", ["-2147483648", "2147483647", "0"].map(str::to_owned)),
        ("long", [i64::MIN.to_string(), i64::MAX.to_string(), "0".to_owned()]),
        ("real", [f32::MIN, f32::MAX, 0.1].map(|value| format!("{:?}", f64::from(value)))),
        ("double", [f64::MIN, f64::MAX, 5e-324].map(|value| format!("{value:?}"))),
        ("nine", both(nines(7, 2), "-0.05")),
        ("eighteen", both(nines(14, 4), "-0.0005")),
        ("most", both(nines(28, 10), "-0.0000000001")),
        ("parts", both(nines(0, 38), &format!("-{parts}"))),
        ("day", ["0001-01-01", "9999-12-31", "1500-02-28"].map(str::to_owned)),
        (
            "at",
            ["0001-01-01 00:00:00.000000", "9999-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999"]
                .map(str::to_owned),
        ),
        ("text", ["", "😀 é \u{202E}", " it's\n\t[x] \\ "].map(str::to_owned)),
        ("raw", ["\u{E000}".to_owned(), "\u{E000}00ff27".to_owned(), "\u{E000}07".to_owned()]),
    ];
    for (name, values) in expected {
        let sql = format!("SELECT CONVERT(nvarchar(4000), [{name}]) FROM [dbo].[orders] ORDER BY [_source_position]");
        let found: Vec<_> = engine.rows(&sql).await.into_iter().map(|mut row| row.remove(0)).collect();
        let [least, greatest, odd] = values.map(Some);
        assert_eq!(found, [least, greatest, None, odd], "{name}");
    }
    assert!(verified(&table, &pool, &target(2)).await.is_equal());
    let fabric = Engine::of(Flavor::Fabric).await;
    fabric.reads(&table);
    tick(&table, &fabric.pool(), &target(1), Limits::default()).await.unwrap();
    assert!(verified(&table, &fabric.pool(), &target(2)).await.is_equal());
}

/// Weir's intake lets none of these in; another writer of the table may. The pool refuses the file, and nothing has changed.
#[tokio::test(flavor = "multi_thread")]
async fn what_t_sql_has_no_place_for_is_refused() {
    let beyond: Vec<(Type, Series)> = vec![
        (Type::Double, Series::new("x".into(), [f64::NAN])),
        (Type::Double, Series::new("x".into(), [f64::INFINITY])),
        (Type::Float, Series::new("x".into(), [f32::NEG_INFINITY])),
        (Type::Date, days("x", &[Some(-719_163)])),
        (Type::Date, days("x", &[Some(2_932_897)])),
        (Type::Timestamp, instants("x", &[Some(-62_135_596_800_000_001)])),
        (Type::Timestamp, instants("x", &[Some(253_402_300_800_000_000)])),
    ];
    for (data_type, values) in beyond {
        let engine = Engine::start().await;
        let table = table_of(&engine, vec![column("x", data_type)]).await;
        engine.reads(&table);
        fill(&table, "good", vec![values.clear().extend_constant(AnyValue::Null, 1).unwrap()]).await;
        let pool = engine.pool();
        tick(&table, &pool, &target(1), Limits::default()).await.unwrap();
        let before = pool.watermark(&target(1)).await.unwrap();
        fill(&table, "beyond", vec![values]).await;
        let error = tick(&table, &pool, &target(2), Limits::default()).await.unwrap_err();
        assert!(matches!(error, Error::Server { number: 105_217, .. }) && !error.is_retryable(), "{error}");
        assert_eq!(pool.row_count(&target(1)).await.unwrap(), 1);
        assert_eq!(pool.watermark(&target(1)).await.unwrap(), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_too_many_are_refused_or_cut() {
    let engine = Engine::start().await;
    let table = table_of(&engine, vec![column("raw", Type::Binary)]).await;
    engine.reads(&table);
    fill(&table, "a", vec![Series::new("raw".into(), [&[1_u8; 8_001][..], &[2_u8; 8_000][..]])]).await;
    let pool = engine.pool();
    let error = tick(&table, &pool, &target(1), Limits::default()).await.unwrap_err();
    assert!(matches!(&error, Error::TooLong { column, rows: 1, .. } if column == "raw"), "{error}");
    // A text of the most units fits without being asked for.
    let texts = table_of(&engine, vec![column("text", Type::String)]).await;
    fill(&texts, "a", vec![Series::new("text".into(), ["é".repeat(4_000), "😀".repeat(2_000)])]).await;
    let mut load = target(2);
    load.physical.long_text = weir_contract::LongText::Truncate;
    tick(&table, &pool, &load, Limits::default()).await.unwrap();
    assert!(verified(&table, &pool, &load).await.is_equal());
    let engine = Engine::start().await;
    engine.reads(&texts);
    tick(&texts, &engine.pool(), &target(3), Limits::default()).await.unwrap();
    assert!(verified(&texts, &engine.pool(), &target(3)).await.is_equal());
}
