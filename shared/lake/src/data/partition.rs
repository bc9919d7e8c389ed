//! Partition values as the Delta protocol writes them: text in the log, not in the files.
//!
//! Every Delta reader takes an empty text for null, so an empty string in a nullable column is written as null and in
//! any other column it stays what it is for Weir.

use chrono::{DateTime, NaiveDateTime};
use polars::prelude::*;

/// Unambiguous: the form without a zone is taken for the reader's local time by Spark.
const TIMESTAMP: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";

/// The values of one partition column, as text.
pub(crate) fn to_texts(column: &Column, nullable: bool) -> PolarsResult<Vec<Option<String>>> {
    if let DataType::Datetime(TimeUnit::Microseconds, _) = column.dtype() {
        let micros = column.cast(&DataType::Int64)?;
        let text = |micros| DateTime::from_timestamp_micros(micros).map(|time| time.format(TIMESTAMP).to_string());
        return Ok(micros.i64()?.iter().map(|micros| micros.and_then(text)).collect());
    }
    let texts = column.cast(&DataType::String)?;
    let kept = |text: &&str| !(nullable && text.is_empty());
    Ok(texts.str()?.iter().map(|text| text.filter(kept).map(str::to_owned)).collect())
}

/// A whole column of one partition value.
pub(crate) fn to_column(
    name: PlSmallStr,
    value: Option<&str>,
    height: usize,
    dtype: &DataType,
    nullable: bool,
) -> PolarsResult<Column> {
    let Some(text) = value.filter(|text| !(nullable && text.is_empty())) else {
        return Ok(Column::full_null(name, height, dtype));
    };
    let value = match dtype {
        DataType::String => Series::new(name.clone(), [text]),
        DataType::Boolean => Series::new(name.clone(), [boolean(text)?]),
        DataType::Datetime(..) => Series::new(name.clone(), [micros(text)?]).cast(dtype)?,
        _ => Series::new(name.clone(), [text]).strict_cast(dtype)?,
    };
    Ok(Column::new_scalar(name, Scalar::new(dtype.clone(), value.get(0)?.into_static()), height))
}

fn boolean(text: &str) -> PolarsResult<bool> {
    text.parse().map_err(|_| polars_err!(ComputeError: "a partition value that is no boolean"))
}

/// Both forms of the protocol, the one without a zone as UTC.
fn micros(text: &str) -> PolarsResult<i64> {
    let plain = text.strip_suffix('Z').unwrap_or(text);
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(plain, format).ok())
        .map(|time| time.and_utc().timestamp_micros())
        .ok_or_else(|| polars_err!(ComputeError: "a partition value that is no timestamp"))
}
