//! Types: what a narrower column becomes in a wider one, and that nothing else gets in.

use std::sync::Arc;

use object_store::ObjectStore;
use polars::prelude::{DataType as PolarsType, NamedFrom, Series, TimeUnit, TimeZone};
use weir_contract::DataType as Type;
use weir_lake::{ErrorKind, Table, TableDefinition};

use super::evolution::{growing, process, wider, write};
use super::{column, lake, memory, model};

const fn decimal(precision: u8, scale: u8) -> Type {
    Type::Decimal { precision, scale }
}

const DECIMALS: [(u8, u8); 7] = [(3, 0), (5, 0), (10, 0), (19, 0), (10, 2), (12, 4), (38, 10)];

/// Every type with values at its edges, and the type's name in Delta.
fn types() -> Vec<(Type, String, Series)> {
    let series = |values: Series, dtype: PolarsType| values.strict_cast(&dtype).unwrap();
    let x = || "x".into();
    let micros = PolarsType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC));
    let mut types = vec![
        (Type::String, "string", Series::new(x(), ["1", "", "\u{e9}"])),
        (Type::Long, "long", Series::new(x(), [i64::MIN, i64::MAX, (1 << 53) + 1])),
        (Type::Integer, "integer", Series::new(x(), [i32::MIN, i32::MAX, (1 << 24) + 1])),
        (Type::Short, "short", Series::new(x(), [i16::MIN, i16::MAX, 1])),
        (Type::Byte, "byte", Series::new(x(), [i8::MIN, i8::MAX, 1])),
        (Type::Double, "double", Series::new(x(), [f64::MIN, f64::MIN_POSITIVE, 0.1])),
        (Type::Float, "float", Series::new(x(), [f32::MIN, f32::MIN_POSITIVE, 0.1])),
        (Type::Boolean, "boolean", Series::new(x(), [true, false, true])),
        (Type::Date, "date", series(Series::new(x(), [-1, 0, 20_458]), PolarsType::Date)),
        (Type::Timestamp, "timestamp", series(Series::new(x(), [-1_i64, 0, 1_767_607_200_123_456]), micros)),
        (Type::Binary, "binary", Series::new(x(), [&b"\xff\x00"[..], b"", b"1"])),
    ];
    let decimals = DECIMALS.map(|(precision, scale)| {
        let digits = |count: u8, digit: &str| digit.repeat(usize::from(count));
        let most = format!("{}.{}", digits(precision - scale, "9"), digits(scale, "9"));
        let least = format!("0.{}1", digits(scale.saturating_sub(1), "0"));
        let values = [most.clone(), format!("-{most}"), if scale > 0 { least } else { "1".to_owned() }];
        let values = values.map(|value| value.trim_end_matches('.').to_owned());
        let values = series(Series::new(x(), values), PolarsType::Decimal(precision.into(), scale.into()));
        (decimal(precision, scale), values)
    });
    let mut all: Vec<_> = types.drain(..).map(|(of, name, values)| (of, name.to_owned(), values)).collect();
    for ((of, values), (precision, scale)) in decimals.into_iter().zip(DECIMALS) {
        all.push((of, format!("decimal({precision},{scale})"), values));
    }
    all
}

/// The table of `docs/contracts.md`, written out.
fn fits(from: &str, to: &str) -> bool {
    let into: &[&str] = match from {
        "byte" => &[
            "short",
            "integer",
            "long",
            "float",
            "double",
            "decimal(3,0)",
            "decimal(5,0)",
            "decimal(10,0)",
            "decimal(19,0)",
            "decimal(10,2)",
            "decimal(12,4)",
            "decimal(38,10)",
        ],
        "short" => &[
            "integer",
            "long",
            "float",
            "double",
            "decimal(5,0)",
            "decimal(10,0)",
            "decimal(19,0)",
            "decimal(10,2)",
            "decimal(12,4)",
            "decimal(38,10)",
        ],
        "integer" => &["long", "double", "decimal(10,0)", "decimal(19,0)", "decimal(38,10)"],
        "long" => &["decimal(19,0)", "decimal(38,10)"],
        "float" => &["double"],
        "decimal(3,0)" => {
            &["decimal(5,0)", "decimal(10,0)", "decimal(19,0)", "decimal(10,2)", "decimal(12,4)", "decimal(38,10)"]
        }
        "decimal(5,0)" => &["decimal(10,0)", "decimal(19,0)", "decimal(10,2)", "decimal(12,4)", "decimal(38,10)"],
        "decimal(10,0)" => &["decimal(19,0)", "decimal(38,10)"],
        "decimal(19,0)" => &["decimal(38,10)"],
        "decimal(10,2)" => &["decimal(12,4)", "decimal(38,10)"],
        "decimal(12,4)" => &["decimal(38,10)"],
        _ => &[],
    };
    from == to || into.contains(&to)
}

/// A table with `x` of one type, as a process sees it whose contract has another.
async fn table(store: &Arc<dyn ObjectStore>, of: Type) -> (TableDefinition, Arc<Table>) {
    let mut definition = growing();
    definition.columns.push(column("x", of, true));
    let table = process(store, &definition).await;
    (definition, table)
}

/// For frames and for contracts alike.
#[tokio::test]
async fn a_narrower_type_keeps_its_values_and_any_other_is_refused_with_both() {
    let rows = model("hub/0", 1..=3);
    let (mut taken, mut refused) = (0, 0);
    for (to, to_name, _) in types() {
        for (from, from_name, values) in types() {
            let store = memory();
            let (mut definition, wide) = table(&store, to).await;
            let frame = wider(&rows, values.clone());
            let written = write(&wide, "hub/0", 3, frame.clone()).await;
            definition.columns.last_mut().unwrap().data_type = from;
            let opened = lake(&store).table(&definition).await;
            if !fits(&from_name, &to_name) {
                refused += 1;
                let error = written.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Invalid, "{from_name} to {to_name}");
                let message = format!(
                    "table `orders`: column `x` is {to_name} in the table and {} in the frame, which does not fit without \
                     loss",
                    values.dtype()
                );
                assert_eq!(error.to_string(), message);
                let message =
                    format!("table `orders`: column `x` is {from_name} in the contract and {to_name} in the table; ");
                let error = opened.unwrap_err();
                assert!(error.to_string().starts_with(&message), "{error}");
                assert_eq!(wide.refresh().await.unwrap(), 0, "nothing was written");
                continue;
            }
            taken += 1;
            written.unwrap();
            let narrow = opened.unwrap();
            write(&narrow, "hub/1", 3, frame).await.unwrap();
            assert_eq!(narrow.columns(), wide.columns(), "the table keeps its type");
            for file in narrow.snapshot().await.unwrap().files {
                let read = narrow.read(&file).await.unwrap().column("x").unwrap().as_materialized_series().clone();
                // Back to what they were without any loss: nothing was lost on the way.
                let back = read.strict_cast(values.dtype()).unwrap();
                assert_eq!(back, values, "{from_name} to {to_name}: {read:?}");
                assert!(from_name == to_name || read.dtype() != values.dtype());
                // Polars shortens the text of floats; for them the way back tells.
                if [from, to].iter().any(|of| matches!(of, Type::Float | Type::Double)) {
                    continue;
                }
                let texts = |series: &Series| {
                    series.iter().map(|value| number(&value.str_value()).to_owned()).collect::<Vec<_>>()
                };
                assert_eq!(texts(&read), texts(&values), "{from_name} to {to_name}");
            }
        }
    }
    assert_eq!((taken, refused), (65, 18 * 18 - 65));
}

/// One spelling of a number, digit by digit: `1.50` and `1.5` are one.
fn number(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[tokio::test]
async fn nulls_are_widened_too_and_foreign_types_are_refused() {
    let store = memory();
    let (_, table) = table(&store, Type::Long).await;
    let rows = model("hub/0", 1..=3);
    write(&table, "hub/0", 3, wider(&rows, Series::new("x".into(), [None, Some(1_i8), None]))).await.unwrap();
    let file = table.snapshot().await.unwrap().files.remove(0);
    let read = table.read(&file).await.unwrap().column("x").unwrap().as_materialized_series().clone();
    assert_eq!(read, Series::new("x".into(), [None, Some(1_i64), None]));
    let milliseconds = Series::new("x".into(), [1_i64, 2, 3]).cast(&PolarsType::Datetime(TimeUnit::Milliseconds, None));
    for foreign in [Series::new("x".into(), [1_u32, 2, 3]), milliseconds.unwrap(), Series::new_null("x".into(), 3)] {
        let error = write(&table, "hub/1", 3, wider(&rows, foreign)).await.unwrap_err();
        assert!(error.to_string().contains("column `x` is long in the table and "), "{error}");
    }
    assert_eq!(table.refresh().await.unwrap(), 1);
}
