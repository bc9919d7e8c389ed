//! What a file's statistics say: whether it can hold a key at all. In doubt it can.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate};
use polars::prelude::*;
use serde_json::Value;

use super::partition::date_text;
use super::statistics::Bound;

/// A value that rows are looked for by.
#[derive(Debug, Clone)]
struct Sought {
    bound: Option<Bound>,
    /// As a partition value.
    text: Option<String>,
}

/// Keys, each a value for every one of some columns, none null.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    columns: Vec<String>,
    /// Sorted by the bound of the first column; those without one come first.
    rows: Vec<Vec<Sought>>,
}

impl Keys {
    /// The distinct rows of `frame`, whose columns are the keys'.
    pub(crate) fn of(frame: &DataFrame) -> PolarsResult<Self> {
        let columns: Vec<_> = frame.get_column_names().into_iter().map(|name| name.to_string()).collect();
        let frame = last_of_each(frame, &columns)?;
        let mut rows = Vec::with_capacity(frame.height());
        for row in 0..frame.height() {
            let sought = frame.columns().iter().map(|column| Ok(Sought::of(&column.get(row)?)));
            rows.push(sought.collect::<PolarsResult<Vec<_>>>()?);
        }
        rows.sort_by(|left, right| compare(first(left), first(right)));
        Ok(Self { columns, rows })
    }

    /// False only when partition values or statistics prove that a file has none of the keys.
    pub(crate) fn may_be_in(&self, partition: &BTreeMap<String, Option<String>>, stats: Option<&str>) -> bool {
        let stats: Value = stats.and_then(|stats| serde_json::from_str(stats).ok()).unwrap_or_default();
        let ranges: Vec<Range> = self
            .columns
            .iter()
            .map(|column| match partition.get(column) {
                Some(value) => Range::Partition(value.clone()),
                None => Range::of(&stats, column),
            })
            .collect();
        // The first column's range cuts the sorted keys, so that many keys and many files are not all compared.
        let Some((Range::Between { min: Some(min), max: Some(max) }, rows)) = ranges.first().zip(Some(&self.rows))
        else {
            return self.rows.iter().any(|row| may_be(row, &ranges));
        };
        let Some((min, max)) = rows
            .last()
            .and_then(|row| first(row))
            .and_then(|like| Some((like.parse(min, Edge::Min)?, like.parse(max, Edge::Max)?)))
        else {
            return self.rows.iter().any(|row| may_be(row, &ranges));
        };
        let unbounded = rows.partition_point(|row| first(row).is_none());
        let from = rows.partition_point(|row| first(row).is_none_or(|bound| *bound < min));
        let to = rows.partition_point(|row| first(row).is_none_or(|bound| *bound <= max));
        rows[..unbounded].iter().chain(&rows[from..to.max(from)]).any(|row| may_be(row, &ranges))
    }
}

impl Sought {
    fn of(value: &AnyValue) -> Self {
        // No number is neither above nor below a bound, and some writers' bounds are of the numbers alone.
        let bound = Bound::of(value).filter(|bound| !matches!(bound, Bound::Float(value) if value.is_nan()));
        let text = match &bound {
            Some(Bound::Text(text)) => Some(text.clone()),
            Some(Bound::Integer(value)) => Some(value.to_string()),
            Some(Bound::Date(days)) => date_text(*days),
            _ => None,
        };
        Self { bound, text }
    }
}

/// Columns as rows are compared by them. Polars as it is built here can neither join nor group by decimals; by their
/// text it can, because a column's decimals all have the same scale.
pub(crate) fn comparable(mut frame: DataFrame) -> PolarsResult<DataFrame> {
    let decimals = frame.columns().iter().filter(|column| column.dtype().is_decimal());
    let texts = decimals.map(|column| column.cast(&DataType::String)).collect::<PolarsResult<Vec<_>>>()?;
    for text in texts {
        frame.with_column(text)?;
    }
    Ok(frame)
}

/// The rows that differ in these columns, in their order; of equal ones the last.
pub(crate) fn last_of_each(frame: &DataFrame, names: &[String]) -> PolarsResult<DataFrame> {
    const ROW: &str = "\u{0}row";
    let keys = comparable(frame.select(names)?)?.with_row_index(ROW.into(), None)?;
    let last = keys.unique_stable(Some(names), UniqueKeepStrategy::Last, None)?;
    frame.take(last.column(ROW)?.idx()?)
}

fn first(row: &[Sought]) -> Option<&Bound> {
    row.first()?.bound.as_ref()
}

fn compare(left: Option<&Bound>, right: Option<&Bound>) -> Ordering {
    left.partial_cmp(&right).unwrap_or(Ordering::Equal)
}

fn may_be(row: &[Sought], ranges: &[Range]) -> bool {
    row.iter().zip(ranges).all(|(sought, range)| range.may_hold(sought))
}

/// What is known of one column of a file.
#[derive(Debug)]
enum Range {
    Partition(Option<String>),
    /// Every value is null.
    Empty,
    Between {
        min: Option<Value>,
        max: Option<Value>,
    },
}

impl Range {
    fn of(stats: &Value, column: &str) -> Self {
        let rows = stats["numRecords"].as_u64();
        if rows.is_some() && stats["nullCount"][column].as_u64() == rows {
            return Self::Empty;
        }
        let bound = |kind: &str| stats.get(kind)?.get(column).cloned();
        Self::Between { min: bound("minValues"), max: bound("maxValues") }
    }

    fn may_hold(&self, sought: &Sought) -> bool {
        match self {
            Self::Empty => false,
            // Values that are written in two ways (a timestamp of another writer) are told apart by their rows.
            Self::Partition(value) => match (&sought.bound, value) {
                (Some(Bound::Text(_) | Bound::Integer(_) | Bound::Date(_)), Some(_)) => *value == sought.text,
                (_, value) => value.is_some(),
            },
            Self::Between { min, max } => {
                let Some(bound) = &sought.bound else { return true };
                let min = min.as_ref().and_then(|min| bound.parse(min, Edge::Min));
                let max = max.as_ref().and_then(|max| bound.parse(max, Edge::Max));
                min.is_none_or(|min| min <= *bound) && max.is_none_or(|max| *bound <= max)
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Edge {
    Min,
    Max,
}

/// Writers cut timestamps in statistics to milliseconds.
const TIMESTAMP_SLACK_US: i64 = 1000;
/// Our JSON parser may miss a double by its last bit, and writers shorten the text of a float to its own precision.
const FLOAT_SLACK: f64 = 1e-6;

impl Bound {
    /// A bound of the same kind as this value, from the JSON of statistics. `None` where it is of no use.
    fn parse(&self, json: &Value, edge: Edge) -> Option<Self> {
        Some(match self {
            Self::Integer(_) => Self::Integer(json.as_i64()?),
            Self::Float(_) => {
                let value = json.as_f64()?;
                let slack = value.abs() * FLOAT_SLACK + f64::from(f32::MIN_POSITIVE);
                match edge {
                    Edge::Min => Self::Float(value - slack),
                    Edge::Max => Self::Float(value + slack),
                }
            }
            Self::Text(_) => Self::Text(json.as_str()?.to_owned()),
            Self::Date(_) => {
                let date = NaiveDate::parse_from_str(json.as_str()?, "%Y-%m-%d").ok()?;
                let days = date.signed_duration_since(NaiveDate::default()).num_days();
                Self::Date(i32::try_from(days).ok()?)
            }
            Self::Timestamp(_) => {
                let micros = DateTime::parse_from_rfc3339(json.as_str()?).ok()?.timestamp_micros();
                match edge {
                    Edge::Min => Self::Timestamp(micros.saturating_sub(TIMESTAMP_SLACK_US)),
                    Edge::Max => Self::Timestamp(micros.saturating_add(TIMESTAMP_SLACK_US)),
                }
            }
            // JSON numbers are doubles to some writers.
            Self::Decimal(..) => return None,
        })
    }
}
