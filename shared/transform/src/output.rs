//! From decoded records to the two frames of a chunk: rules, then quarantine, then privacy, then lineage.
//!
//! Every record ends in exactly one of the frames. A chunk without faults is not copied.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use polars::prelude::{
    AnyValue, BinaryChunkedBuilder, BooleanChunked, Column, DataFrame, DataType as Dtype, Int64Chunked, IntoColumn,
    IntoSeries, PlSmallStr, Scalar, Series, StringChunkedBuilder, TimeUnit, TimeZone,
};
use weir_contract::{
    DataType, INGESTED_AT, RAW, REASONS, RESCUED, RuleAction, SOURCE, SOURCE_POSITION, SOURCE_VERSION,
};

use crate::columns::{Fault, dtype};
use crate::error::Result;
use crate::plan::Plan;
use crate::rules::{self, Violations};
use crate::{Lineage, Output};

/// Of a record that is too long quarantine keeps this much.
pub(crate) const HEAD_BYTES: usize = 64 * 1024;

/// A chunk after decoding: all contract columns, a slot for every record.
pub(crate) struct Records<'r> {
    pub(crate) columns: Vec<Column>,
    pub(crate) count: usize,
    pub(crate) faults: Vec<Fault>,
    pub(crate) rescued: Vec<(usize, String)>,
    pub(crate) positions: Positions<'r>,
    /// The record as it came, by row.
    pub(crate) raw: &'r dyn Fn(usize) -> Cow<'r, [u8]>,
}

/// Where each record stood in its source.
#[derive(Clone, Copy)]
pub(crate) enum Positions<'p> {
    From(i64),
    Each(&'p [i64]),
}

impl Positions<'_> {
    fn at(&self, row: usize) -> i64 {
        match self {
            Self::From(first) => first.saturating_add(i64::try_from(row).unwrap_or(i64::MAX)),
            Self::Each(positions) => positions.get(row).copied().unwrap_or(i64::MAX),
        }
    }
}

/// Decides every record's fate. `hold_back` names the rule that keeps the whole source out of the table.
pub(crate) fn finish(plan: &Plan, hold_back: Option<&str>, records: Records<'_>, lineage: &Lineage) -> Result<Output> {
    let Records { columns, count, faults, rescued, positions, raw } = records;
    let mut verdicts: BTreeMap<usize, Vec<String>> =
        faults.into_iter().map(|fault| (fault.row, fault.reasons)).collect();
    let mut frame = DataFrame::new(count, columns)?;
    let (warnings, violated) = judge(plan, &frame, &mut verdicts);
    if let Some(rule) = hold_back.or(violated.as_deref()) {
        for row in 0..count {
            verdicts.entry(row).or_insert_with(|| vec![format!("held back by rule `{rule}`")]);
        }
    }

    let lengths: Vec<usize> = match frame.columns().first() {
        Some(Column::Series(series)) => series.chunk_lengths().collect(),
        _ => vec![count],
    };
    let mut start = 0;
    let position_chunks = chunked(&lengths, |length| {
        let values: Vec<i64> = (start..start + length).map(|row| positions.at(row)).collect();
        start += length;
        position_series(values)
    })?;
    frame.with_column(position_chunks)?;
    if !rescued.is_empty() {
        frame.with_column(rescued_column(count, rescued))?;
    }

    let mut quarantine = Quarantine::new(plan.max_record_bytes, verdicts.len());
    if !verdicts.is_empty() {
        let mut keep = vec![true; count];
        for (row, reasons) in verdicts {
            keep[row] = false;
            quarantine.push(positions.at(row), reasons, &raw(row));
        }
        frame = frame.filter(&keep.into_iter().collect::<BooleanChunked>())?;
    }
    Ok(Output {
        clean: clean(plan, &frame, lineage)?,
        quarantined: quarantine.finish(lineage)?,
        records: count as u64,
        warnings,
        held_back: hold_back.map(str::to_owned).or(violated),
    })
}

/// Applies the rules to the sound records. Returns the warnings and the first violated rule that holds the chunk back.
fn judge(
    plan: &Plan,
    frame: &DataFrame,
    verdicts: &mut BTreeMap<usize, Vec<String>>,
) -> (Vec<(String, u64)>, Option<String>) {
    let (mut warnings, mut violated) = (Vec::new(), None);
    let faulty: Vec<usize> = verdicts.keys().copied().collect();
    for (rule, violations) in plan.rules.iter().zip(rules::evaluate(&plan.rules, frame)) {
        let rows: Vec<usize> = match violations {
            Violations::None => continue,
            Violations::Rows(rows) => rows,
            Violations::All => (0..frame.height()).collect(),
        };
        let rows: Vec<usize> = rows.into_iter().filter(|row| faulty.binary_search(row).is_err()).collect();
        if rows.is_empty() {
            continue;
        }
        match rule.action {
            RuleAction::Warn => {
                warnings.push((rule.name.clone(), rows.len() as u64));
                continue;
            }
            RuleAction::Fail if violated.is_none() => violated = Some(rule.name.clone()),
            RuleAction::Fail | RuleAction::Quarantine => {}
        }
        for row in rows {
            verdicts.entry(row).or_default().push(rule.reason());
        }
    }
    (warnings, violated)
}

fn rescued_column(count: usize, rescued: Vec<(usize, String)>) -> Column {
    let mut builder = StringChunkedBuilder::new(RESCUED.into(), count);
    let mut objects = rescued.into_iter().peekable();
    for row in 0..count {
        builder.append_option(objects.next_if(|(at, _)| *at == row).map(|(_, object)| object));
    }
    builder.finish().into_column()
}

/// The table's columns, in order, protected.
fn clean(plan: &Plan, frame: &DataFrame, lineage: &Lineage) -> Result<DataFrame> {
    let mut columns = Vec::with_capacity(plan.targets.len() + 5);
    for (target, protection) in plan.targets.iter().zip(&plan.protections) {
        let column = frame.column(&target.name)?;
        match protection {
            None => columns.push(column.clone()),
            Some(protection) => columns.extend(protection.apply(column)?),
        }
    }
    let position = frame.column(SOURCE_POSITION)?;
    let lengths: Vec<usize> = match position {
        Column::Series(series) => series.chunk_lengths().collect(),
        _ => vec![frame.height()],
    };
    columns.extend(source_columns(&lengths, lineage)?);
    columns.push(position.clone());
    columns.push(ingested_at(&lengths, lineage)?);
    columns.push(match frame.column(RESCUED) {
        Ok(rescued) => rescued.clone(),
        Err(_) => repeated(&lengths, RESCUED, Scalar::null(Dtype::String))?,
    });
    Ok(DataFrame::new(frame.height(), columns)?)
}

/// The quarantine frame under construction.
pub(crate) struct Quarantine {
    max_record_bytes: usize,
    positions: Vec<i64>,
    reasons: StringChunkedBuilder,
    raw: BinaryChunkedBuilder,
}

impl Quarantine {
    pub(crate) fn new(max_record_bytes: usize, capacity: usize) -> Self {
        Self {
            max_record_bytes,
            positions: Vec::with_capacity(capacity),
            reasons: StringChunkedBuilder::new(REASONS.into(), capacity),
            raw: BinaryChunkedBuilder::new(RAW.into(), capacity),
        }
    }

    pub(crate) fn push(&mut self, position: i64, reasons: Vec<String>, raw: &[u8]) {
        self.positions.push(position);
        self.reasons.append_value(serde_json::Value::from(reasons).to_string());
        let kept = if raw.len() > self.max_record_bytes { raw.len().min(HEAD_BYTES) } else { raw.len() };
        self.raw.append_value(&raw[..kept]);
    }

    pub(crate) fn finish(self, lineage: &Lineage) -> Result<DataFrame> {
        let lengths = [self.positions.len()];
        let mut columns = source_columns(&lengths, lineage)?;
        columns.push(position_series(self.positions).into_column());
        columns.push(ingested_at(&lengths, lineage)?);
        columns.push(self.reasons.finish().into_column());
        columns.push(self.raw.finish().into_column());
        Ok(DataFrame::new(lengths[0], columns)?)
    }
}

fn source_columns(lengths: &[usize], lineage: &Lineage) -> Result<Vec<Column>> {
    let text = |text: &str| Scalar::new(Dtype::String, AnyValue::StringOwned(text.into()));
    Ok(vec![
        repeated(lengths, SOURCE, text(&lineage.source))?,
        repeated(lengths, SOURCE_VERSION, text(&lineage.source_version))?,
    ])
}

fn ingested_at(lengths: &[usize], lineage: &Lineage) -> Result<Column> {
    let zone = Some(Arc::new(TimeZone::UTC));
    let value = AnyValue::DatetimeOwned(lineage.ingested_at_us, TimeUnit::Microseconds, zone);
    repeated(lengths, INGESTED_AT, Scalar::new(dtype(DataType::Timestamp), value))
}

/// One value on every row, in Arrow chunks of the given lengths: a frame whose columns are chunked alike is written
/// without being copied first.
fn repeated(lengths: &[usize], name: &str, value: Scalar) -> Result<Column> {
    let name = PlSmallStr::from(name);
    chunked(lengths, |length| Column::new_scalar(name.clone(), value.clone(), length).take_materialized_series())
}

fn chunked(lengths: &[usize], mut part: impl FnMut(usize) -> Series) -> Result<Column> {
    let (first, rest) = lengths.split_first().unwrap_or((&0, &[]));
    let mut series = part(*first);
    for length in rest {
        series.append_owned(part(*length))?;
    }
    Ok(series.into_column())
}

fn position_series(values: Vec<i64>) -> Series {
    Int64Chunked::from_vec(SOURCE_POSITION.into(), values).into_series()
}
