//! Frames that were read from Parquet, brought to the contract's types under the same rules as text: what the type
//! cannot hold exactly is a fault of its row.

use std::borrow::Cow;
use std::collections::BTreeMap;

use data_encoding::BASE64;
use polars::prelude::{
    AnyValue, Column, DataFrame, DataType as Dtype, Float32Chunked, Float64Chunked, Int32Chunked, Int64Chunked,
    IntoColumn, IntoSeries, Series, StringChunked, TimeUnit, TimeZone,
};
use rayon::prelude::*;
use weir_contract::{DataType, UnknownFields};

use crate::added::{Added, Form, member};
use crate::columns::{Builder, Target, dtype};
use crate::error::Result;
use crate::faults::{Fault, Reason, UnknownNames};
use crate::fields::Fields;
use crate::json::quoted;
use crate::text::Mismatch;

pub(crate) struct Conformed {
    pub(crate) columns: Vec<Column>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) rescued: Vec<(usize, String)>,
    pub(crate) added: Added,
}

/// Maps a frame with the source's field names to the contract's columns.
pub(crate) fn conform(targets: &[Target], fields: &Fields, frame: &DataFrame) -> Result<Conformed> {
    let height = frame.height();
    let mut faults: BTreeMap<usize, Vec<Reason>> = BTreeMap::new();
    let mut fault = |row: usize, reason: Reason| faults.entry(row).or_default().push(reason);
    let names: Vec<&str> = frame.columns().iter().map(|column| column.name().as_str()).collect();
    let found = fields.columns_of(&names);
    let given = |index: usize| {
        let place = found.iter().position(|column| *column == Some(index));
        place.and_then(|place| frame.columns().get(place)).map(Column::as_materialized_series)
    };
    let typed: Vec<Option<Series>> = (0..targets.len())
        .into_par_iter()
        .map(|index| given(index).map(|given| typed(&targets[index], given)).transpose())
        .collect::<Result<_>>()?;
    let mut columns = Vec::with_capacity(targets.len());
    for ((index, target), typed) in targets.iter().enumerate().zip(typed) {
        let (Some(given), Some(typed)) = (given(index), typed) else {
            if !target.nullable || fields.refuses_without(target) {
                (0..height).for_each(|row| fault(row, Reason::Missing(index)));
            }
            columns.push(Column::full_null(target.name.as_str().into(), height, &dtype(target.data_type)));
            continue;
        };
        if typed.null_count() > given.null_count() || (!target.nullable && given.null_count() > 0) {
            let (was_null, is_null) = (given.is_null(), typed.is_null());
            for (row, (was_null, is_null)) in was_null.iter().zip(is_null.iter()).enumerate() {
                match (was_null, is_null) {
                    (Some(true), _) if !target.nullable => fault(row, Reason::Null(index)),
                    (Some(false), Some(true)) => fault(row, Reason::Mismatch(index, mismatch(target, given, row)?)),
                    _ => {}
                }
            }
        }
        columns.push(typed.with_name(target.name.as_str().into()).into_column());
    }
    let unknown = frame.columns().iter().zip(&found).filter(|(_, column)| column.is_none()).map(|(column, _)| column);
    let mut unknown: Vec<&Column> = unknown.collect();
    let mut added = Added::new(Form::Json);
    match fields.unknown {
        UnknownFields::Rescue => {}
        UnknownFields::Add => unknown.retain(|column| !add(&mut added, fields, column)),
        UnknownFields::Fail => {
            let mut names = UnknownNames::default();
            unknown.drain(..).for_each(|column| names.push(column.name()));
            if let Some(reason) = names.take() {
                (0..height).for_each(|row| fault(row, reason.clone()));
            }
        }
    }
    let rescued =
        if unknown.is_empty() { Vec::new() } else { (0..height).map(|row| (row, object(&unknown, row))).collect() };
    let faults = faults.into_iter().map(|(row, reasons)| Fault { row, reasons }).collect();
    Ok(Conformed { columns, faults, rescued, added })
}

/// False if the column can be none of the table: its name, or a value that is no text.
fn add(added: &mut Added, fields: &Fields, column: &Column) -> bool {
    let Some(place) = added.place(fields, column.name()) else { return false };
    let values = column.as_materialized_series().rechunk();
    let texts = values.iter().enumerate().filter(|(_, value)| !value.is_null());
    let all = texts.fold(true, |all, (row, value)| added.put(place, row, &json(&value)) && all);
    if !all {
        added.withdraw(place);
    }
    all
}

/// One row as a JSON object.
pub(crate) fn row_json(frame: &DataFrame, row: usize) -> Cow<'static, [u8]> {
    let columns: Vec<&Column> = frame.columns().iter().collect();
    Cow::Owned(object(&columns, row).into_bytes())
}

/// The series in the column's type; null where a value does not fit.
fn typed(target: &Target, given: &Series) -> Result<Series> {
    use DataType as T;
    let wanted = dtype(target.data_type);
    let series = match (given.dtype(), target.data_type) {
        (Dtype::String, T::String) => return Ok(without_nul(given.str()?)),
        (Dtype::Null, _) => return Ok(Series::full_null(given.name().clone(), given.len(), &wanted)),
        (Dtype::Datetime(unit, zone), T::Timestamp) => {
            let zone = zone.as_ref().map(|_| TimeZone::UTC);
            let given = instants_in_years(given, *unit, zone.clone())?;
            given.cast(&Dtype::Datetime(TimeUnit::Microseconds, zone))?.cast(&Dtype::Int64)?.cast(&wanted)?
        }
        (from, T::Long | T::Integer | T::Short | T::Byte) if from.is_integer() => given.cast(&wanted)?,
        (from, T::Double | T::Float) if from.is_primitive_numeric() => given.cast(&wanted)?,
        (from, _) if *from == wanted => given.clone(),
        _ => by_text(target, given)?,
    };
    Ok(match target.data_type {
        T::Double => finite64(series.f64()?),
        T::Float => finite32(series.f32()?),
        T::Date => days_in_years(series)?,
        _ => series,
    })
}

/// The rare pairs of types go through text, so that they follow the one grammar.
fn by_text(target: &Target, given: &Series) -> Result<Series> {
    let mut builder = Builder::new(target, given.len());
    for value in given.rechunk().iter() {
        match text(&value, target.data_type) {
            Some(text) => drop(builder.append_text(&text)),
            None => builder.append_null(),
        }
    }
    Ok(builder.finish())
}

/// The text of a value; `None` for null and for what no text of this type can be.
fn text(value: &AnyValue<'_>, target: DataType) -> Option<String> {
    let text = match value {
        AnyValue::Null => return None,
        AnyValue::String(text) => (*text).to_owned(),
        AnyValue::Binary(bytes) => match target {
            DataType::String => std::str::from_utf8(bytes).ok()?.to_owned(),
            _ => return None,
        },
        AnyValue::List(_) | AnyValue::Struct(..) | AnyValue::StructOwned(_) if target != DataType::String => {
            return None;
        }
        other => unquoted(json(other)),
    };
    (!text.contains('\0')).then_some(text)
}

/// A scalar that JSON writes as a string is that string.
fn unquoted(json: String) -> String {
    if json.starts_with('"') { serde_json::from_str(&json).unwrap_or(json) } else { json }
}

/// What was wrong with a value that became null.
fn mismatch(target: &Target, given: &Series, row: usize) -> Result<Mismatch> {
    let value = given.get(row)?;
    if matches!(
        (given.dtype(), target.data_type),
        (Dtype::Date, DataType::Date) | (Dtype::Datetime(..), DataType::Timestamp)
    ) {
        return Ok(Mismatch::Range);
    }
    if given.dtype().is_primitive_numeric() && dtype(target.data_type).is_primitive_numeric() {
        return Ok(if given.dtype().is_float() && dtype(target.data_type).is_integer() {
            Mismatch::Form
        } else {
            Mismatch::Range
        });
    }
    let mut builder = Builder::new(target, 1);
    let text = text(&value, target.data_type);
    Ok(text.and_then(|text| builder.append_text(&text).err()).unwrap_or(Mismatch::Form))
}

/// Days of the years 1 to 9999. Tables have no others, because warehouses have none.
fn is_day(days: &i32) -> bool {
    (-719_162..=2_932_896).contains(days)
}

/// Instants of these years.
fn is_instant(value: i64, unit: TimeUnit) -> bool {
    let micros = match unit {
        TimeUnit::Nanoseconds => Some(value / 1_000),
        TimeUnit::Microseconds => Some(value),
        TimeUnit::Milliseconds => value.checked_mul(1_000),
    };
    micros.is_some_and(|micros| (-62_135_596_800_000_000..=253_402_300_799_999_999).contains(&micros))
}

/// Null elsewhere.
fn days_in_years(given: Series) -> Result<Series> {
    let days = given.date()?.physical();
    if days.iter().flatten().all(|day| is_day(&day)) {
        return Ok(given);
    }
    Ok(days.iter().map(|day| day.filter(is_day)).collect::<Int32Chunked>().into_date().into_series())
}

/// Null elsewhere, before a cast to another unit could overflow.
fn instants_in_years(given: &Series, unit: TimeUnit, zone: Option<TimeZone>) -> Result<Series> {
    let values = given.datetime()?.physical();
    if values.iter().flatten().all(|value| is_instant(value, unit)) {
        return Ok(given.clone());
    }
    let values = values.iter().map(|value| value.filter(|value| is_instant(*value, unit)));
    Ok(values.collect::<Int64Chunked>().into_datetime(unit, zone).into_series())
}

/// Warehouses refuse U+0000, so it is no text here either.
fn without_nul(strings: &StringChunked) -> Series {
    let sound = |text: &&str| memchr::memchr(0, text.as_bytes()).is_none();
    if strings.iter().flatten().all(|text| sound(&text)) {
        return strings.clone().into_series();
    }
    strings.iter().map(|text| text.filter(sound)).collect::<StringChunked>().into_series()
}

fn finite64(values: &Float64Chunked) -> Series {
    if values.iter().flatten().all(f64::is_finite) {
        return values.clone().into_series();
    }
    values.iter().map(|value| value.filter(|value| value.is_finite())).collect::<Float64Chunked>().into_series()
}

fn finite32(values: &Float32Chunked) -> Series {
    if values.iter().flatten().all(f32::is_finite) {
        return values.clone().into_series();
    }
    values.iter().map(|value| value.filter(|value| value.is_finite())).collect::<Float32Chunked>().into_series()
}

fn object(columns: &[&Column], row: usize) -> String {
    let mut object = String::new();
    for column in columns {
        let value = column.get(row).map_or_else(|_| "null".to_owned(), |value| json(&value));
        member(&mut object, column.name(), &value);
    }
    if object.is_empty() {
        object.push('{');
    }
    object.push('}');
    object
}

/// A value as JSON. Bytes are base64; dates, times and decimals are strings; numbers that JSON lacks are strings.
fn json(value: &AnyValue<'_>) -> String {
    match value {
        AnyValue::Null => "null".to_owned(),
        AnyValue::Boolean(value) => value.to_string(),
        AnyValue::String(text) => quoted(text),
        AnyValue::StringOwned(text) => quoted(text),
        AnyValue::Float32(value) if value.is_finite() => value.to_string(),
        AnyValue::Float64(value) if value.is_finite() => value.to_string(),
        AnyValue::Binary(bytes) => quoted(&BASE64.encode(bytes)),
        AnyValue::BinaryOwned(bytes) => quoted(&BASE64.encode(bytes)),
        AnyValue::List(items) => {
            let items: Vec<String> = items.rechunk().iter().map(|item| json(&item)).collect();
            format!("[{}]", items.join(","))
        }
        AnyValue::Struct(..) => json(&value.clone().into_static()),
        AnyValue::StructOwned(fields) => {
            let pairs = fields.1.iter().zip(&fields.0);
            let pairs: Vec<String> =
                pairs.map(|(field, value)| format!("{}:{}", quoted(&field.name), json(value))).collect();
            format!("{{{}}}", pairs.join(","))
        }
        // Polars panics over years that chrono has not: then the number is shown.
        AnyValue::Date(days) if !is_day(days) => days.to_string(),
        AnyValue::Datetime(value, unit, _) if !is_instant(*value, *unit) => value.to_string(),
        AnyValue::DatetimeOwned(value, unit, _) if !is_instant(*value, *unit) => value.to_string(),
        AnyValue::Datetime(..) | AnyValue::DatetimeOwned(..) => quoted(&value.to_string().replacen(' ', "T", 1)),
        number if number.is_primitive_numeric() && !matches!(number, AnyValue::Float32(_) | AnyValue::Float64(_)) => {
            number.to_string()
        }
        other => quoted(&other.to_string()),
    }
}
