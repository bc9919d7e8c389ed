//! Values as Parquet has them, each with the one meaning that its type gives it: as JSON, as text, and how long they are.
//! Nothing is ever shown by a debug print: what has no arm here has no value.

use std::collections::HashSet;
use std::fmt::Write as _;

use arrow_array::cast::AsArray;
use arrow_array::types as arrow;
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, BinaryViewArray, BooleanArray, FixedSizeBinaryArray};
use arrow_buffer::{NullBuffer, i256};
use arrow_schema::{DataType, TimeUnit};
use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat};
use data_encoding::BASE64;

use crate::json::quoted;
use crate::parquet::{Leaf, Shape};

/// A column's values with their type.
pub(crate) struct Values<'a> {
    pub(crate) length: usize,
    pub(crate) nulls: Option<&'a NullBuffer>,
    pub(crate) kind: Kind<'a>,
}

pub(crate) enum Kind<'a> {
    /// Nulls only.
    Null,
    Boolean(&'a BooleanArray),
    Int8(&'a [i8]),
    Int16(&'a [i16]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    UInt8(&'a [u8]),
    UInt16(&'a [u16]),
    UInt32(&'a [u32]),
    UInt64(&'a [u64]),
    Float16(&'a [<arrow::Float16Type as ArrowPrimitiveType>::Native]),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    /// Digits and their scale.
    Decimal128(&'a [i128], i8),
    Decimal256(&'a [i256], i8),
    /// Should be UTF-8.
    Text(&'a BinaryViewArray),
    Bytes(&'a BinaryViewArray),
    FixedBytes(&'a FixedSizeBinaryArray),
    Uuid(&'a FixedSizeBinaryArray),
    /// Months, days and milliseconds.
    Interval(&'a FixedSizeBinaryArray),
    Date(&'a [i32]),
    TimeMillis(&'a [i32]),
    Time(&'a [i64], TimeUnit),
    /// Local ones have no zone.
    Timestamp {
        values: &'a [i64],
        unit: TimeUnit,
        is_utc: bool,
    },
    List {
        offsets: &'a [i32],
        items: Box<Values<'a>>,
    },
    Struct {
        names: &'a [(String, Shape)],
        fields: Vec<Values<'a>>,
    },
    Map {
        offsets: &'a [i32],
        keys: Box<Values<'a>>,
        values: Box<Values<'a>>,
    },
}

impl<'a> Values<'a> {
    /// `None` for a type that no Parquet column is read as.
    pub(crate) fn of(array: &'a ArrayRef, shape: &'a Shape) -> Option<Self> {
        Some(Self { length: array.len(), nulls: array.nulls(), kind: Kind::of(array, shape)? })
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        matches!(self.kind, Kind::Null) || self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    /// Whether its values differ in length by much.
    pub(crate) fn has_sizes(&self) -> bool {
        match &self.kind {
            Kind::Text(_) | Kind::Bytes(_) | Kind::List { .. } | Kind::Struct { .. } | Kind::Map { .. } => true,
            Kind::FixedBytes(bytes) => bytes.value_length() > 64,
            _ => false,
        }
    }

    /// Adds to each row's size that of its value.
    pub(crate) fn add_sizes(&self, sizes: &mut [usize]) {
        match &self.kind {
            Kind::Text(values) | Kind::Bytes(values) if self.nulls.is_none() => {
                for (size, view) in sizes.iter_mut().zip(values.views().iter()) {
                    *size = size.saturating_add((*view & 0xffff_ffff) as usize);
                }
            }
            _ => sizes.iter_mut().enumerate().for_each(|(row, size)| *size = size.saturating_add(self.size(row))),
        }
    }

    /// About the bytes of a value as text. Nothing is read but views and offsets.
    pub(crate) fn size(&self, row: usize) -> usize {
        if self.is_null(row) {
            return 0;
        }
        match &self.kind {
            Kind::Text(values) | Kind::Bytes(values) => {
                values.views().get(row).map_or(0, |view| (*view & 0xffff_ffff) as usize)
            }
            Kind::FixedBytes(values) => usize::try_from(values.value_length()).unwrap_or(0),
            Kind::List { offsets, items } => range(offsets, row).map(|item| items.size(item) + 1).sum::<usize>() + 2,
            Kind::Struct { names, fields } => {
                let members = names.iter().zip(fields);
                members.map(|((name, _), field)| name.len() + field.size(row) + 1).sum::<usize>() + 2
            }
            Kind::Map { offsets, keys, values } => {
                range(offsets, row).map(|entry| keys.size(entry) + values.size(entry) + 4).sum::<usize>() + 2
            }
            _ => 8,
        }
    }
}

fn range(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    let at = |row: usize| offsets.get(row).and_then(|offset| usize::try_from(*offset).ok()).unwrap_or(0);
    at(row)..at(row + 1)
}

impl<'a> Kind<'a> {
    fn of(array: &'a ArrayRef, shape: &'a Shape) -> Option<Self> {
        macro_rules! values {
            ($type:ty) => {
                array.as_primitive_opt::<$type>()?.values()
            };
        }
        Some(match (array.data_type(), shape) {
            (DataType::Null, _) => Self::Null,
            (DataType::Boolean, _) => Self::Boolean(array.as_boolean_opt()?),
            (DataType::Int8, _) => Self::Int8(values!(arrow::Int8Type)),
            (DataType::Int16, _) => Self::Int16(values!(arrow::Int16Type)),
            (DataType::Int32, _) => Self::Int32(values!(arrow::Int32Type)),
            (DataType::Int64, _) => Self::Int64(values!(arrow::Int64Type)),
            (DataType::UInt8, _) => Self::UInt8(values!(arrow::UInt8Type)),
            (DataType::UInt16, _) => Self::UInt16(values!(arrow::UInt16Type)),
            (DataType::UInt32, _) => Self::UInt32(values!(arrow::UInt32Type)),
            (DataType::UInt64, _) => Self::UInt64(values!(arrow::UInt64Type)),
            (DataType::Float16, _) => Self::Float16(values!(arrow::Float16Type)),
            (DataType::Float32, _) => Self::Float32(values!(arrow::Float32Type)),
            (DataType::Float64, _) => Self::Float64(values!(arrow::Float64Type)),
            (DataType::Decimal128(_, scale), _) => Self::Decimal128(values!(arrow::Decimal128Type), *scale),
            (DataType::Decimal256(_, scale), _) => Self::Decimal256(values!(arrow::Decimal256Type), *scale),
            (DataType::BinaryView, Shape::Leaf(Leaf::Text)) => Self::Text(array.as_binary_view_opt()?),
            (DataType::BinaryView, _) => Self::Bytes(array.as_binary_view_opt()?),
            (DataType::FixedSizeBinary(16), Shape::Leaf(Leaf::Uuid)) => Self::Uuid(array.as_fixed_size_binary_opt()?),
            (DataType::FixedSizeBinary(12), Shape::Leaf(Leaf::Interval)) => {
                Self::Interval(array.as_fixed_size_binary_opt()?)
            }
            (DataType::FixedSizeBinary(_), _) => Self::FixedBytes(array.as_fixed_size_binary_opt()?),
            (DataType::Date32, _) => Self::Date(values!(arrow::Date32Type)),
            (DataType::Time32(TimeUnit::Millisecond), _) => Self::TimeMillis(values!(arrow::Time32MillisecondType)),
            (DataType::Time64(unit @ TimeUnit::Microsecond), _) => {
                Self::Time(values!(arrow::Time64MicrosecondType), *unit)
            }
            (DataType::Time64(unit @ TimeUnit::Nanosecond), _) => {
                Self::Time(values!(arrow::Time64NanosecondType), *unit)
            }
            (DataType::Timestamp(unit, zone), _) => {
                let values = match unit {
                    TimeUnit::Second => values!(arrow::TimestampSecondType),
                    TimeUnit::Millisecond => values!(arrow::TimestampMillisecondType),
                    TimeUnit::Microsecond => values!(arrow::TimestampMicrosecondType),
                    TimeUnit::Nanosecond => values!(arrow::TimestampNanosecondType),
                };
                Self::Timestamp { values, unit: *unit, is_utc: zone.is_some() }
            }
            (DataType::List(_), Shape::List(item)) => {
                let list = array.as_list_opt::<i32>()?;
                Self::List { offsets: list.value_offsets(), items: Box::new(Values::of(list.values(), item)?) }
            }
            (DataType::Struct(_), Shape::Struct(names)) => {
                let columns = array.as_struct_opt()?.columns().iter().zip(names);
                let fields = columns.map(|(column, (_, shape))| Values::of(column, shape)).collect::<Option<_>>()?;
                Self::Struct { names, fields }
            }
            (DataType::Map(..), Shape::Map(key, value)) => {
                let map = array.as_map_opt()?;
                Self::Map {
                    offsets: map.value_offsets(),
                    keys: Box::new(Values::of(map.keys(), key)?),
                    values: Box::new(Values::of(map.values(), value)?),
                }
            }
            // None of them is what a Parquet column is read as, without a hint that asks for it.
            (
                DataType::Utf8
                | DataType::Utf8View
                | DataType::LargeUtf8
                | DataType::Binary
                | DataType::LargeBinary
                | DataType::Date64
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Duration(_)
                | DataType::Interval(_)
                | DataType::Decimal32(..)
                | DataType::Decimal64(..)
                | DataType::List(_)
                | DataType::ListView(_)
                | DataType::FixedSizeList(..)
                | DataType::LargeList(_)
                | DataType::LargeListView(_)
                | DataType::Struct(_)
                | DataType::Map(..)
                | DataType::Union(..)
                | DataType::Dictionary(..)
                | DataType::RunEndEncoded(..),
                _,
            ) => return None,
        })
    }
}

/// How JSON holds a scalar.
enum Form {
    /// As it is.
    Bare,
    /// In quotes, with nothing to escape.
    Quoted,
}

impl Values<'_> {
    /// Appends a value as JSON. Bytes are base64; dates, times and decimals are strings; numbers that JSON lacks are
    /// strings; a map whose keys are texts is an object, any other an array of pairs. False if a text in it is not UTF-8:
    /// that stands as base64, too.
    pub(crate) fn json(&self, row: usize, out: &mut String) -> bool {
        if self.is_null(row) {
            out.push_str("null");
            return true;
        }
        match &self.kind {
            Kind::Text(values) => match std::str::from_utf8(values.value(row)) {
                Ok(text) => quote(text, out),
                Err(_) => {
                    out.push('"');
                    BASE64.encode_append(values.value(row), out);
                    out.push('"');
                    return false;
                }
            },
            Kind::List { offsets, items } => return list(range(offsets, row), out, |item, out| items.json(item, out)),
            Kind::Struct { names, fields } => {
                let mut sound = true;
                out.push('{');
                for (index, ((name, _), field)) in names.iter().zip(fields).enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    out.push_str(name);
                    sound &= field.json(row, out);
                }
                out.push('}');
                return sound;
            }
            Kind::Map { offsets, keys, values } => return map(range(offsets, row), keys, values, out),
            _ => {
                let start = out.len();
                out.push('"');
                if let Form::Bare = self.scalar(row, out) {
                    out.remove(start);
                } else {
                    out.push('"');
                }
            }
        }
        true
    }

    /// Appends the beginning of a long value, of a text or bytes; nothing of another.
    pub(crate) fn head(&self, row: usize, most: usize, out: &mut String) {
        let bytes = match &self.kind {
            Kind::Text(values) | Kind::Bytes(values) => values.value(row),
            Kind::FixedBytes(values) => values.value(row),
            _ => return,
        };
        let head = &bytes[..bytes.len().min(most)];
        match self.kind {
            Kind::Text(_) => quote(&String::from_utf8_lossy(head), out),
            _ => quote(&BASE64.encode(head), out),
        }
    }

    /// Appends a value as the text that a string column holds, or that the grammar of another type reads. False if it has
    /// none.
    pub(crate) fn text(&self, row: usize, out: &mut String) -> bool {
        match &self.kind {
            Kind::Text(values) | Kind::Bytes(values) => push_utf8(values.value(row), out),
            Kind::FixedBytes(values) => push_utf8(values.value(row), out),
            Kind::List { .. } | Kind::Struct { .. } | Kind::Map { .. } => self.json(row, out),
            _ => {
                self.scalar(row, out);
                true
            }
        }
    }

    fn scalar(&self, row: usize, out: &mut String) -> Form {
        // Writing to a string does not fail.
        macro_rules! bare {
            ($value:expr) => {{
                let _ = write!(out, "{}", $value);
                Form::Bare
            }};
        }
        match &self.kind {
            Kind::Null => bare!("null"),
            Kind::Boolean(values) => bare!(values.value(row)),
            Kind::Int8(values) => bare!(values[row]),
            Kind::Int16(values) => bare!(values[row]),
            Kind::Int32(values) => bare!(values[row]),
            Kind::Int64(values) => bare!(values[row]),
            Kind::UInt8(values) => bare!(values[row]),
            Kind::UInt16(values) => bare!(values[row]),
            Kind::UInt32(values) => bare!(values[row]),
            Kind::UInt64(values) => bare!(values[row]),
            Kind::Float16(values) => float32(values[row].to_f32(), out),
            Kind::Float32(values) => float32(values[row], out),
            Kind::Float64(values) => float64(values[row], out),
            Kind::Decimal128(values, scale) => decimal(&values[row].to_string(), *scale, out),
            Kind::Decimal256(values, scale) => decimal(&values[row].to_string(), *scale, out),
            Kind::Bytes(values) | Kind::Text(values) => {
                BASE64.encode_append(values.value(row), out);
                Form::Quoted
            }
            Kind::FixedBytes(values) => {
                BASE64.encode_append(values.value(row), out);
                Form::Quoted
            }
            Kind::Uuid(values) => uuid(values.value(row), out),
            Kind::Interval(values) => interval(values.value(row), out),
            Kind::Date(values) => match date(values[row]) {
                Some(day) => {
                    let _ = write!(out, "{day}");
                    Form::Quoted
                }
                None => bare!(values[row]),
            },
            Kind::TimeMillis(values) => time(i64::from(values[row]), 1_000_000, out),
            Kind::Time(values, unit) => time(values[row], if *unit == TimeUnit::Nanosecond { 1 } else { 1_000 }, out),
            Kind::Timestamp { values, unit, is_utc } => match instant(values[row], *unit) {
                Some(instant) => {
                    let text = instant.to_rfc3339_opts(SecondsFormat::AutoSi, true);
                    out.push_str(if *is_utc { &text } else { text.trim_end_matches('Z') });
                    Form::Quoted
                }
                None => bare!(values[row]),
            },
            // They are JSON already, and never asked for here.
            Kind::List { .. } | Kind::Struct { .. } | Kind::Map { .. } => {
                self.json(row, out);
                Form::Bare
            }
        }
    }
}

fn push_utf8(bytes: &[u8], out: &mut String) -> bool {
    std::str::from_utf8(bytes).map(|text| out.push_str(text)).is_ok()
}

fn list(items: std::ops::Range<usize>, out: &mut String, mut write: impl FnMut(usize, &mut String) -> bool) -> bool {
    let (mut sound, first) = (true, items.start);
    out.push('[');
    for item in items {
        if item > first {
            out.push(',');
        }
        sound &= write(item, out);
    }
    out.push(']');
    sound
}

fn map(entries: std::ops::Range<usize>, keys: &Values<'_>, values: &Values<'_>, out: &mut String) -> bool {
    let names = || {
        let Kind::Text(texts) = &keys.kind else { return None };
        let mut seen = HashSet::new();
        let name = |entry: usize| {
            let text = (!keys.is_null(entry)).then(|| std::str::from_utf8(texts.value(entry)).ok())??;
            seen.insert(text).then_some(text)
        };
        entries.clone().map(name).collect::<Option<Vec<&str>>>()
    };
    let Some(names) = names() else {
        // A key that is no text, or that is there twice, has no place in an object.
        return list(entries, out, |entry, out| {
            out.push('[');
            let key = keys.json(entry, out);
            out.push(',');
            let value = values.json(entry, out);
            out.push(']');
            key && value
        });
    };
    let mut sound = true;
    out.push('{');
    for (index, (name, entry)) in names.into_iter().zip(entries).enumerate() {
        if index > 0 {
            out.push(',');
        }
        quote(name, out);
        out.push(':');
        sound &= values.json(entry, out);
    }
    out.push('}');
    sound
}

/// Appends a text as a JSON string.
pub(crate) fn quote(text: &str, out: &mut String) {
    if text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\' || byte == 0x7f) {
        out.push_str(&quoted(text));
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

/// The shortest digits that give the same double again.
fn float64(value: f64, out: &mut String) -> Form {
    let _ = match value.abs() {
        size if size != 0.0 && size.is_finite() && !(1e-5..1e16).contains(&size) => write!(out, "{value:e}"),
        _ => write!(out, "{value}"),
    };
    if value.is_finite() { Form::Bare } else { Form::Quoted }
}

fn float32(value: f32, out: &mut String) -> Form {
    let _ = match value.abs() {
        size if size != 0.0 && size.is_finite() && !(1e-5..1e16).contains(&size) => write!(out, "{value:e}"),
        _ => write!(out, "{value}"),
    };
    if value.is_finite() { Form::Bare } else { Form::Quoted }
}

fn decimal(digits: &str, scale: i8, out: &mut String) -> Form {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let places = usize::from(scale.unsigned_abs());
    out.push_str(sign);
    if scale <= 0 {
        out.push_str(digits);
        out.extend(std::iter::repeat_n('0', if digits == "0" { 0 } else { places }));
    } else if digits.len() > places {
        let (whole, fraction) = digits.split_at(digits.len() - places);
        out.extend([whole, ".", fraction]);
    } else {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', places - digits.len()));
        out.push_str(digits);
    }
    Form::Quoted
}

fn uuid(bytes: &[u8], out: &mut String) -> Form {
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        let _ = write!(out, "{byte:02x}");
    }
    Form::Quoted
}

/// ISO 8601, as `P1M2DT3.004S`.
fn interval(bytes: &[u8], out: &mut String) -> Form {
    let part = |at: usize| {
        let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u32::from_le_bytes(bytes.unwrap_or_default())
    };
    let (months, days, millis) = (part(0), part(4), part(8));
    out.push('P');
    if months > 0 {
        let _ = write!(out, "{months}M");
    }
    if days > 0 {
        let _ = write!(out, "{days}D");
    }
    if millis > 0 || (months == 0 && days == 0) {
        let _ = match millis % 1_000 {
            0 => write!(out, "T{}S", millis / 1_000),
            fraction => write!(out, "T{}.{fraction:03}S", millis / 1_000),
        };
    }
    Form::Quoted
}

/// `HH:MM:SS`, with six or nine digits behind it where there are some; a number where it is no time of a day.
fn time(value: i64, nanos: i64, out: &mut String) -> Form {
    const SECOND: i64 = 1_000_000_000;
    let all = value.checked_mul(nanos).filter(|all| (0..86_400 * SECOND).contains(all));
    let split = |all: i64| Some((u32::try_from(all / SECOND).ok()?, u32::try_from(all % SECOND).ok()?));
    let time =
        all.and_then(split).and_then(|(second, nano)| NaiveTime::from_num_seconds_from_midnight_opt(second, nano));
    let Some(time) = time else {
        let _ = write!(out, "{value}");
        return Form::Bare;
    };
    let format = match all.unwrap_or(0) % SECOND {
        0 => "%H:%M:%S",
        fraction if fraction % 1_000 == 0 => "%H:%M:%S%.6f",
        _ => "%H:%M:%S%.9f",
    };
    let _ = write!(out, "{}", time.format(format));
    Form::Quoted
}

/// Days of the years 1 to 9999. Tables have no others, because warehouses have none.
pub(crate) fn is_day(days: i32) -> bool {
    (-719_162..=2_932_896).contains(&days)
}

fn date(days: i32) -> Option<NaiveDate> {
    is_day(days).then(|| NaiveDate::from_num_days_from_ce_opt(days + 719_163)).flatten()
}

/// Microseconds since 1970-01-01, cut; `None` outside of the years 1 to 9999.
pub(crate) fn micros(value: i64, unit: TimeUnit) -> Option<i64> {
    let micros = match unit {
        TimeUnit::Nanosecond => Some(value.div_euclid(1_000)),
        TimeUnit::Microsecond => Some(value),
        TimeUnit::Millisecond => value.checked_mul(1_000),
        TimeUnit::Second => value.checked_mul(1_000_000),
    };
    micros.filter(|micros| (-62_135_596_800_000_000..=253_402_300_799_999_999).contains(micros))
}

fn instant(value: i64, unit: TimeUnit) -> Option<DateTime<chrono::Utc>> {
    let micros = micros(value, unit)?;
    match unit {
        TimeUnit::Nanosecond => Some(DateTime::from_timestamp_nanos(value)),
        _ => DateTime::from_timestamp_micros(micros),
    }
}
