//! File statistics of the Delta protocol (`add.stats`): `numRecords`, `minValues`, `maxValues`, `nullCount`.
//!
//! Readers skip files by them, so a bound must be right or absent: strings are shortened only in the safe direction, a
//! float column with a NaN has no bounds, neither has a date that ISO 8601 cannot write with four digits of year.

use std::fmt::Write;
use std::sync::Arc;

use chrono::{DateTime, Datelike, Days, NaiveDate};
use polars::prelude::*;

/// Characters of a string bound; Spark's default too.
const STRING_BOUND_CHARS: usize = 32;

/// Which columns of a file have statistics: all, unless a property of the table says otherwise.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Indexed {
    #[default]
    All,
    /// `delta.dataSkippingNumIndexedCols`: the first ones. Partition columns are in no file and do not count.
    First(usize),
    /// `delta.dataSkippingStatsColumns`: these.
    Named(Vec<String>),
}

impl Indexed {
    /// `property` gives a table property.
    pub(crate) fn of(property: impl Fn(&str) -> Option<String>) -> Self {
        if let Some(names) = property("delta.dataSkippingStatsColumns") {
            return Self::Named(weir_contract::names_in(&names));
        }
        let first = property("delta.dataSkippingNumIndexedCols").and_then(|count| count.parse::<i64>().ok());
        first.and_then(|count| usize::try_from(count).ok()).map_or(Self::All, Self::First)
    }

    fn has(&self, index: usize, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::First(count) => index < *count,
            Self::Named(names) => names.iter().any(|known| known == name),
        }
    }
}

/// Statistics of a file while it is being written.
#[derive(Debug, Default)]
pub(crate) struct FileStatistics {
    pub(crate) rows: u64,
    indexed: Indexed,
    columns: Vec<ColumnStatistics>,
    /// Columns that may have bounds.
    bounded: Arc<[String]>,
}

#[derive(Debug)]
pub(crate) struct ColumnStatistics {
    name: String,
    nulls: u64,
    /// Nothing of it is noted.
    left_out: bool,
    /// Set when some value makes bounds impossible for the whole file.
    unbounded: bool,
    range: Option<(Bound, Bound)>,
}

#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub(crate) enum Bound {
    Integer(i64),
    Float(f64),
    Text(String),
    /// Days since the epoch.
    Date(i32),
    /// Microseconds since the epoch.
    Timestamp(i64),
    Decimal(i128, usize),
}

impl FileStatistics {
    /// `bounded` are the columns whose values the log may have.
    pub(crate) fn new(indexed: Indexed, bounded: Arc<[String]>) -> Self {
        Self { indexed, bounded, ..Self::default() }
    }

    /// Counts the rows of one frame; each of its columns is then to be shown to the statistics at its place. Every frame
    /// of a file has the same columns.
    pub(crate) fn grow(&mut self, frame: &DataFrame) -> &mut [ColumnStatistics] {
        self.rows += frame.height() as u64;
        if self.columns.is_empty() {
            let unbounded = |name: &str| self.bounded.iter().all(|own| own != name);
            let columns = frame.columns().iter().map(|column| column.name().as_str()).enumerate();
            let column = |(index, name): (usize, &str)| {
                ColumnStatistics::new(name, !self.indexed.has(index, name), unbounded(name))
            };
            self.columns = columns.map(column).collect();
        }
        &mut self.columns
    }

    pub(crate) fn to_json(&self) -> String {
        let mut json = format!("{{\"numRecords\":{}", self.rows);
        let bounded = || self.columns.iter().filter_map(|column| Some((column, column.bounds()?)));
        object(&mut json, "minValues", bounded().filter_map(|(column, (min, _))| Some((&column.name, min.lower()?))));
        object(&mut json, "maxValues", bounded().filter_map(|(column, (_, max))| Some((&column.name, max.upper()?))));
        let noted = self.columns.iter().filter(|column| !column.left_out);
        object(&mut json, "nullCount", noted.map(|column| (&column.name, column.nulls.to_string())));
        json.push('}');
        json
    }
}

fn object<'a>(json: &mut String, key: &str, entries: impl Iterator<Item = (&'a String, String)>) {
    json.push_str(",\"");
    json.push_str(key);
    json.push_str("\":{");
    for (index, (name, value)) in entries.enumerate() {
        if index > 0 {
            json.push(',');
        }
        quote(json, name);
        json.push(':');
        json.push_str(&value);
    }
    json.push('}');
}

fn quote(json: &mut String, text: &str) {
    json.push_str(&serde_json::Value::from(text).to_string());
}

impl ColumnStatistics {
    fn new(name: &str, left_out: bool, unbounded: bool) -> Self {
        // Unknown fields may be personal, their names too, and the log is read by more people than the rows are.
        let personal = name == weir_contract::RESCUED || name == weir_contract::REASONS;
        Self { name: name.to_owned(), nulls: 0, left_out, unbounded: unbounded || left_out || personal, range: None }
    }

    pub(crate) fn observe(&mut self, column: &Series) -> PolarsResult<()> {
        let nulls = column.null_count();
        self.nulls += nulls as u64;
        if self.unbounded || nulls == column.len() {
            return Ok(());
        }
        if column.dtype().is_float() && column.is_nan()?.any() {
            self.unbounded = true;
            return Ok(());
        }
        if matches!(column.dtype(), DataType::Boolean | DataType::Binary) {
            self.unbounded = true;
            return Ok(());
        }
        if *column.dtype() == DataType::String {
            if let Some((min, max)) = range(column.str()?) {
                self.widen(Bound::Text(min.to_owned()), Bound::Text(max.to_owned()));
            }
            return Ok(());
        }
        let (min, max) = (column.min_reduce()?, column.max_reduce()?);
        match (Bound::of(min.value()), Bound::of(max.value())) {
            (Some(min), Some(max)) => self.widen(min, max),
            _ => self.unbounded = true,
        }
        Ok(())
    }

    fn widen(&mut self, min: Bound, max: Bound) {
        self.range = Some(match self.range.take() {
            None => (min, max),
            Some((low, high)) => (if min < low { min } else { low }, if max > high { max } else { high }),
        });
    }

    fn bounds(&self) -> Option<&(Bound, Bound)> {
        self.range.as_ref().filter(|_| !self.unbounded)
    }
}

/// The least and the greatest text, in one pass: the first eight bytes, as a number, mostly decide.
fn range(texts: &StringChunked) -> Option<(&str, &str)> {
    let mut texts = texts.iter().flatten().map(|text| (head(text.as_bytes()), text));
    let first = texts.next()?;
    let (min, max) = texts.fold((first, first), |(min, max), text| {
        if text < min {
            (text, max)
        } else if text > max {
            (min, text)
        } else {
            (min, max)
        }
    });
    Some((min.1, max.1))
}

/// The first eight bytes; texts that are shorter end with zeros.
#[inline]
fn head(text: &[u8]) -> u64 {
    match text.first_chunk() {
        Some(head) => u64::from_be_bytes(*head),
        None => text.iter().rev().fold(0, |head, byte| head >> 8 | u64::from(*byte) << 56),
    }
}

impl Bound {
    pub(crate) fn of(value: &AnyValue) -> Option<Self> {
        Some(match value {
            AnyValue::Int8(value) => Self::Integer((*value).into()),
            AnyValue::Int16(value) => Self::Integer((*value).into()),
            AnyValue::Int32(value) => Self::Integer((*value).into()),
            AnyValue::Int64(value) => Self::Integer(*value),
            AnyValue::Float32(value) => Self::Float((*value).into()),
            AnyValue::Float64(value) => Self::Float(*value),
            AnyValue::String(value) => Self::Text((*value).to_owned()),
            AnyValue::StringOwned(value) => Self::Text(value.to_string()),
            AnyValue::Date(days) => Self::Date(*days),
            AnyValue::Datetime(micros, TimeUnit::Microseconds, _) => Self::Timestamp(*micros),
            AnyValue::DatetimeOwned(micros, TimeUnit::Microseconds, _) => Self::Timestamp(*micros),
            AnyValue::Decimal(unscaled, _, scale) => Self::Decimal(*unscaled, *scale),
            _ => return None,
        })
    }

    /// JSON of a value that is not above any value of the column.
    fn lower(&self) -> Option<String> {
        match self {
            Self::Text(text) => {
                let mut json = String::new();
                quote(&mut json, &text.chars().take(STRING_BOUND_CHARS).collect::<String>());
                Some(json)
            }
            other => other.exact(),
        }
    }

    /// JSON of a value that is not below any value of the column.
    fn upper(&self) -> Option<String> {
        let Self::Text(text) = self else { return self.exact() };
        let mut bound: String = text.chars().take(STRING_BOUND_CHARS).collect();
        match text.chars().nth(STRING_BOUND_CHARS) {
            None => {}
            // Nothing sorts above the last code point, so a cut before it cannot be made safe.
            Some(char::MAX) => return None,
            Some(_) => bound.push(char::MAX),
        }
        let mut json = String::new();
        quote(&mut json, &bound);
        Some(json)
    }

    fn exact(&self) -> Option<String> {
        match self {
            Self::Integer(value) => Some(value.to_string()),
            Self::Float(value) => value.is_finite().then(|| format!("{value:?}")),
            Self::Text(_) => None,
            Self::Date(days) => {
                let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
                let distance = Days::new(days.unsigned_abs().into());
                let date = if *days < 0 { epoch.checked_sub_days(distance) } else { epoch.checked_add_days(distance) }?;
                (0..=9999).contains(&date.year()).then(|| format!("\"{}\"", date.format("%Y-%m-%d")))
            }
            Self::Timestamp(micros) => {
                let time = DateTime::from_timestamp_micros(*micros)?;
                (0..=9999).contains(&time.year()).then(|| format!("\"{}\"", time.format("%Y-%m-%dT%H:%M:%S%.6fZ")))
            }
            Self::Decimal(unscaled, scale) => Some(decimal(*unscaled, *scale)),
        }
    }
}

fn decimal(unscaled: i128, scale: usize) -> String {
    let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let mut text = String::with_capacity(digits.len() + 2);
    if unscaled < 0 {
        text.push('-');
    }
    text.push_str(whole);
    if scale > 0 {
        // Writing to a String cannot fail.
        let _ = write!(text, ".{fraction}");
    }
    text
}
