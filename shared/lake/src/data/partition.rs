//! Partition values as the Delta protocol writes them: text in the log, not in the files.
//!
//! Every Delta reader takes an empty text for null, so an empty string in a nullable column is written as null and in
//! any other column it stays what it is for Weir.

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime};
use polars::prelude::*;

/// Unambiguous: the form without a zone is taken for the reader's local time by Spark.
const TIMESTAMP: &str = "%Y-%m-%dT%H:%M:%S%.6fZ";
const DATE: &str = "%Y-%m-%d";

/// The values of one partition column, as text.
///
/// # Errors
/// For a date or time that the calendar has not: as null it would be lost.
pub(crate) fn to_texts(column: &Column, nullable: bool) -> PolarsResult<Vec<Option<String>>> {
    if let DataType::Datetime(TimeUnit::Microseconds, _) = column.dtype() {
        let micros = column.cast(&DataType::Int64)?;
        let text = |micros| DateTime::from_timestamp_micros(micros).map(|time| time.format(TIMESTAMP).to_string());
        return micros.i64()?.iter().map(|micros| micros.map(|micros| written(text(micros))).transpose()).collect();
    }
    if *column.dtype() == DataType::Date {
        let days = column.cast(&DataType::Int32)?;
        return days.i32()?.iter().map(|days| days.map(|days| written(date_text(days))).transpose()).collect();
    }
    let texts = column.cast(&DataType::String)?;
    let kept = |text: &&str| !(nullable && text.is_empty());
    Ok(texts.str()?.iter().map(|text| text.filter(kept).map(str::to_owned)).collect())
}

fn written(text: Option<String>) -> PolarsResult<String> {
    text.ok_or_else(|| polars_err!(ComputeError: "a date or time too far off to be a partition value"))
}

/// Days since the epoch as a partition value.
pub(crate) fn date_text(days: i32) -> Option<String> {
    let (epoch, distance) = (NaiveDate::default(), Days::new(days.unsigned_abs().into()));
    let date = if days < 0 { epoch.checked_sub_days(distance) } else { epoch.checked_add_days(distance) };
    date.map(|date| date.format(DATE).to_string())
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
        DataType::Date => Series::new(name.clone(), [days(text)?]).cast(dtype)?,
        DataType::Datetime(..) => Series::new(name.clone(), [micros(text)?]).cast(dtype)?,
        _ => Series::new(name.clone(), [text]).strict_cast(dtype)?,
    };
    Ok(Column::new_scalar(name, Scalar::new(dtype.clone(), value.get(0)?.into_static()), height))
}

fn boolean(text: &str) -> PolarsResult<bool> {
    text.parse().map_err(|_| polars_err!(ComputeError: "a partition value that is no boolean"))
}

fn days(text: &str) -> PolarsResult<i32> {
    let date = NaiveDate::parse_from_str(text, DATE).ok();
    let days = date.map(|date| date.signed_duration_since(NaiveDate::default()).num_days());
    days.and_then(|days| i32::try_from(days).ok())
        .ok_or_else(|| polars_err!(ComputeError: "a partition value that is no date"))
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
