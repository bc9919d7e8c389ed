//! Every Avro type in every column, against `fastavro` as a writer and a reader that is not ours
//! (`tests/data/avro/matrix.py`): the right value, or the record refused with a reason that names the column.

use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use polars::prelude::AnyValue;
use serde_json::{Value, json};
use weir_contract::{Allowance, DataType, Stop};
use weir_intake::Body;
use weir_transform::AvroChunk;

use super::{column, contract, lineage, quarantined, transform};

const SCRIPT: &str = include_str!("../../data/avro/matrix.py");
const TYPES: [(&str, DataType); 8] = [
    ("string", DataType::String),
    ("binary", DataType::Binary),
    ("boolean", DataType::Boolean),
    ("long", DataType::Long),
    ("double", DataType::Double),
    ("decimal", DataType::Decimal { precision: 38, scale: 2 }),
    ("date", DataType::Date),
    ("timestamp", DataType::Timestamp),
];

#[test]
fn every_avro_type_in_every_column_is_right_or_refused() {
    let seed = std::env::var("WEIR_TEST_SEED").unwrap_or_else(|_| rand::random::<u32>().to_string());
    println!("seed {seed}; WEIR_TEST_SEED sets another");
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_str().unwrap();
    let names: Vec<String> = serde_json::from_str(&crate::python::run(SCRIPT, &["write", at, &seed])).unwrap();
    assert!(names.len() > 90, "{}", names.len());
    for name in &names {
        for (label, data_type) in TYPES {
            let found = read(&folder.path().join(format!("{name}.avro")), data_type);
            std::fs::write(folder.path().join(format!("{name}.{label}.json")), Value::from(found).to_string()).unwrap();
        }
    }
    let result: Value = serde_json::from_str(&crate::python::run(SCRIPT, &["compare", at])).unwrap();
    println!("{result:#}");
    assert_eq!(result["count"], 0);
    let (compared, refused) = (result["compared"].as_u64().unwrap(), result["refused"].as_u64().unwrap());
    assert!(compared > 10_000 && refused > compared / 4 && compared - refused > compared / 10);
}

/// What a column `v` of this type holds of each record.
fn read(path: &Path, data_type: DataType) -> Vec<Value> {
    let contract = contract(vec![column("v", data_type)]);
    let bytes = std::fs::read(path).unwrap();
    let Body::Avro(avro) = Body::read(&bytes.into(), &contract.format).unwrap() else { panic!("{}", path.display()) };
    let transform = transform(&contract);
    let layout = transform.avro_layout(&avro.schema, &avro.codec).unwrap();
    let (allowance, mut lines) = (Allowance::of_avro_body(), Vec::new());
    for (count, data) in avro.blocks {
        let mut block = layout.block(count, &data, &allowance);
        while let Some(chunk) = block.next(1 << 20, &Stop::never()) {
            let AvroChunk::Lines(more) = chunk else { panic!("{}: {chunk:?}", path.display()) };
            lines.extend(more);
        }
    }
    let output = transform.ndjson(&lines, 0, &lineage()).unwrap();
    let mut found = vec![Value::Null; output.records as usize];
    for (position, reasons, _) in quarantined(&output) {
        found[position as usize] = json!({ "refused": reasons });
    }
    let (values, positions) = (output.clean.column("v").unwrap(), output.clean.column("_source_position").unwrap());
    for row in 0..output.clean.height() {
        let AnyValue::Int64(position) = positions.get(row).unwrap() else { panic!("a position") };
        found[position as usize] = shown(&values.get(row).unwrap());
    }
    found
}

fn shown(value: &AnyValue<'_>) -> Value {
    match value {
        AnyValue::Null => Value::Null,
        AnyValue::Binary(bytes) => BASE64.encode(bytes).into(),
        AnyValue::BinaryOwned(bytes) => BASE64.encode(bytes).into(),
        AnyValue::Float64(value) => format!("{value:?}").into(),
        AnyValue::Datetime(micros, ..) | AnyValue::DatetimeOwned(micros, ..) => micros.to_string().into(),
        other => super::show(other).into(),
    }
}
