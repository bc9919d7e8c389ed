//! Frames as read from Parquet.

use polars::prelude::{Column, DataFrame, DataType as Dtype, IntoColumn, NamedFrom, Series, TimeUnit, TimeZone, df};
use weir_contract::DataType;

use super::parquet::read_frame as run;
use super::{clean, column, contract, orders, quarantined, refused};

#[test]
fn columns_by_name_unknown_ones_rescued_and_the_row_kept_as_json() {
    let frame = df!(
        "name" => [Some("a"), None, Some("c\0")],
        "id" => [Some(1_i32), None, Some(3)],
        "price" => ["1.5", "2", "x"],
        "colour" => [Some("red"), Some("\"blue\""), None],
        "size" => [1.5, f64::NAN, 3.0],
    )
    .unwrap();
    let output = run(&orders(), &frame);
    assert_eq!(clean(&output), ["1: 1|a|1.50|~|{\"colour\":\"red\",\"size\":1.5}"]);
    assert_eq!(
        refused(&output),
        ["2: column `id`: null", "3: column `name`: not a string; column `price`: not a decimal(9,2)"]
    );
    let raw = String::from_utf8(quarantined(&output)[0].2.clone()).unwrap();
    assert_eq!(raw, "{\"name\":null,\"id\":null,\"price\":\"2\",\"colour\":\"\\\"blue\\\"\",\"size\":\"NaN\"}");
}

#[test]
fn a_missing_column_is_null_or_a_fault() {
    let output = run(&orders(), &df!("name" => ["a", "b"]).unwrap());
    assert_eq!(refused(&output), ["1: missing column `id`", "2: missing column `id`"]);
}

/// Values of one type read as another: what they become, and which rows are faults.
#[test]
fn types_are_brought_to_the_contract_exactly() {
    let decimal = |precision, scale| DataType::Decimal { precision, scale };
    let naive = Series::new("v".into(), [0_i64, 1_500]).cast(&Dtype::Datetime(TimeUnit::Milliseconds, None)).unwrap();
    let zone = Some(TimeZone::UTC);
    let nanos =
        Series::new("v".into(), [1_999_i64, 1_000]).cast(&Dtype::Datetime(TimeUnit::Nanoseconds, zone)).unwrap();
    let days = Series::new("v".into(), [0_i32, 1]).cast(&Dtype::Date).unwrap();
    let cases: Vec<(Series, DataType, &[&str], &[&str])> = vec![
        (Series::new("v".into(), [1_i64, 300]), DataType::Byte, &["1: 1"], &["2: column `v`: out of range for a byte"]),
        (
            Series::new("v".into(), [1_u64, u64::MAX]),
            DataType::Long,
            &["1: 1"],
            &["2: column `v`: out of range for a long"],
        ),
        (
            Series::new("v".into(), [1.0, f64::INFINITY]),
            DataType::Double,
            &["1: 1.0"],
            &["2: column `v`: out of range for a double"],
        ),
        (Series::new("v".into(), [1.0, 2.5]), DataType::Long, &["1: 1"], &["2: column `v`: not a long"]),
        (
            Series::new("v".into(), [1.5, 0.125]),
            decimal(5, 2),
            &["1: 1.50"],
            &["2: column `v`: more digits after the point than a decimal(5,2) holds"],
        ),
        (Series::new("v".into(), [7_i64, 8]), decimal(3, 1), &["1: 7.0", "2: 8.0"], &[]),
        (Series::new("v".into(), [7_i64, 8]), DataType::String, &["1: 7", "2: 8"], &[]),
        (Series::new("v".into(), [true, false]), DataType::String, &["1: true", "2: false"], &[]),
        (
            Series::new("v".into(), [true, false]),
            DataType::Long,
            &[],
            &["1: column `v`: not a long", "2: column `v`: not a long"],
        ),
        (
            Series::new("v".into(), ["2024-01-01", "x"]),
            DataType::Date,
            &["1: 2024-01-01"],
            &["2: column `v`: not a date"],
        ),
        (naive, DataType::Timestamp, &["1: 1970-01-01 00:00:00 UTC", "2: 1970-01-01 00:00:01.500 UTC"], &[]),
        (nanos, DataType::Timestamp, &["1: 1970-01-01 00:00:00.000001 UTC", "2: 1970-01-01 00:00:00.000001 UTC"], &[]),
        (days.clone(), DataType::Date, &["1: 1970-01-01", "2: 1970-01-02"], &[]),
        (days, DataType::String, &["1: 1970-01-01", "2: 1970-01-02"], &[]),
        (
            Series::new("v".into(), [b"hi".as_slice(), b"\xff"]),
            DataType::String,
            &["1: hi"],
            &["2: column `v`: not a string"],
        ),
        (Series::new("v".into(), [b"hi".as_slice(), b"\xff"]), DataType::Binary, &["1: [104, 105]", "2: [255]"], &[]),
    ];
    for (series, data_type, values, faults) in cases {
        let contract = contract(vec![column("v", data_type)]);
        let frame = DataFrame::new(series.len(), vec![series.clone().into_column()]).unwrap();
        let output = run(&contract, &frame);
        assert_eq!(clean(&output), values, "{:?} as {data_type:?}", series.dtype());
        assert_eq!(refused(&output), faults, "{:?} as {data_type:?}", series.dtype());
    }
}

/// Years 1 to 9999, as a warehouse holds them; what is beyond is a fault, whatever chrono makes of it.
#[test]
fn dates_and_instants_have_years_that_warehouses_have() {
    let instants = |values: [i64; 4], unit| {
        Series::new("v".into(), values).cast(&Dtype::Datetime(unit, Some(TimeZone::UTC))).unwrap()
    };
    let days = Series::new("v".into(), [-719_162_i32, 2_932_896, -719_163, i32::MAX]).cast(&Dtype::Date).unwrap();
    let micros = [-62_135_596_800_000_000, 253_402_300_799_999_999, 253_402_300_800_000_000, i64::MIN];
    let millis = [-62_135_596_800_000, 253_402_300_799_999, -62_135_596_800_001, i64::MAX];
    let first = "1: 0001-01-01 00:00:00 UTC";
    let cases: [(Series, DataType, [&str; 2], &str); 3] = [
        (days.clone(), DataType::Date, ["1: 0001-01-01", "2: 9999-12-31"], "date"),
        (
            instants(micros, TimeUnit::Microseconds),
            DataType::Timestamp,
            [first, "2: 9999-12-31 23:59:59.999999 UTC"],
            "timestamp",
        ),
        (
            instants(millis, TimeUnit::Milliseconds),
            DataType::Timestamp,
            [first, "2: 9999-12-31 23:59:59.999 UTC"],
            "timestamp",
        ),
    ];
    for (series, data_type, values, noun) in cases {
        let contract = contract(vec![column("v", data_type)]);
        let output = run(&contract, &DataFrame::new(4, vec![series.into_column()]).unwrap());
        assert_eq!(clean(&output), values);
        let fault = |row: usize| format!("{row}: column `v`: out of range for a {noun}");
        assert_eq!(refused(&output), [fault(3), fault(4)]);
    }
    // Where nobody asks for a date its number is shown.
    let contract = contract(vec![column("v", DataType::String)]);
    let output = run(&contract, &DataFrame::new(4, vec![days.into_column()]).unwrap());
    assert_eq!(clean(&output), ["1: 0001-01-01", "2: 9999-12-31", "3: -719163", "4: 2147483647"]);
}

#[test]
fn nested_values_are_json_text() {
    let list = Series::new("name".into(), [Series::new("".into(), [1_i64, 2]), Series::new("".into(), [3_i64])]);
    let frame = DataFrame::new(2, vec![Column::new("id".into(), [1_i64, 2]), list.clone().into_column()]).unwrap();
    assert_eq!(clean(&run(&orders(), &frame)), ["1: 1|[1,2]|~|~", "2: 2|[3]|~|~"]);
    let frame = DataFrame::new(2, vec![list.with_name("id".into()).into_column()]).unwrap();
    assert_eq!(refused(&run(&orders(), &frame)), ["1: column `id`: not a long", "2: column `id`: not a long"]);
}
