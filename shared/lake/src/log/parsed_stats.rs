//! `stats_parsed` of checkpoints: a file's statistics as a struct, which some writers write in place of the JSON.

use chrono::{DateTime, Days, NaiveDate};
use polars::prelude::*;
use serde_json::{Map, Number, Value};

/// The JSON of `add.stats`; `None` where the file has no statistics. Values that have no exact form in JSON are left out,
/// which says less and nothing wrong.
pub(super) fn to_json(parsed: &Series, row: usize) -> PolarsResult<Option<String>> {
    let stats = fields(parsed, row)?;
    Ok(stats.get("numRecords").map(|_| Value::from(stats.clone()).to_string()))
}

fn fields(series: &Series, row: usize) -> PolarsResult<Map<String, Value>> {
    let mut object = Map::new();
    for field in series.struct_()?.fields_as_series() {
        if let Some(value) = value(&field, row)? {
            object.insert(field.name().to_string(), value);
        }
    }
    Ok(object)
}

fn value(series: &Series, row: usize) -> PolarsResult<Option<Value>> {
    if matches!(series.dtype(), DataType::Struct(_)) {
        let object = fields(series, row)?;
        return Ok(Some(object).filter(|object| !object.is_empty()).map(Value::from));
    }
    let value = series.get(row)?;
    Ok(match value {
        AnyValue::Boolean(value) => Some(value.into()),
        AnyValue::Int8(_) | AnyValue::Int16(_) | AnyValue::Int32(_) | AnyValue::Int64(_) => {
            value.extract::<i64>().map(Value::from)
        }
        AnyValue::Float32(value) => Number::from_f64(value.into()).map(Value::from),
        AnyValue::Float64(value) => Number::from_f64(value).map(Value::from),
        AnyValue::String(value) => Some(value.into()),
        AnyValue::StringOwned(value) => Some(value.as_str().into()),
        AnyValue::Date(days) => date(days).map(Value::from),
        AnyValue::Datetime(at, unit, _) => time(at, unit).map(Value::from),
        AnyValue::DatetimeOwned(at, unit, _) => time(at, unit).map(Value::from),
        _ => None,
    })
}

fn date(days: i32) -> Option<String> {
    let (epoch, distance) = (NaiveDate::default(), Days::new(days.unsigned_abs().into()));
    let date = if days < 0 { epoch.checked_sub_days(distance) } else { epoch.checked_add_days(distance) };
    date.map(|date| date.format("%Y-%m-%d").to_string())
}

fn time(at: i64, unit: TimeUnit) -> Option<String> {
    let time = match unit {
        TimeUnit::Nanoseconds => DateTime::from_timestamp_nanos(at),
        TimeUnit::Microseconds => DateTime::from_timestamp_micros(at)?,
        TimeUnit::Milliseconds => DateTime::from_timestamp_millis(at)?,
    };
    Some(time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
}
