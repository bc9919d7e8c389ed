//! From decoded records to the two frames of a chunk: rules, then quarantine, then privacy, then lineage.
//!
//! Every record ends in exactly one of the frames. A chunk without faults is not copied.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use polars::prelude::{
    AnyValue, BinaryChunkedBuilder, BooleanChunked, Column, DataFrame, DataType as Dtype, Int64Chunked, IntoColumn,
    IntoSeries, PlSmallStr, PolarsResult, Scalar, Series, StringChunkedBuilder, TimeUnit, TimeZone,
};
use rayon::prelude::*;
use weir_contract::{
    DataType, INGESTED_AT, LABELS, RAW, REASONS, RESCUED, RuleAction, SOURCE, SOURCE_POSITION, SOURCE_VERSION, Stop,
};

use crate::added::{Added, sparse};
use crate::columns::dtype;
use crate::days;
use crate::error::{Result, TransformError};
use crate::events::{Around, EventMeta, EventTexts};
use crate::faults::{Fault, Reason, Reasons, Shared};
use crate::partition::without_empty_texts;
use crate::plan::Plan;
use crate::quality::QualityReport;
use crate::rules::{self, Verdict};
use crate::{Lineage, Output};

/// After so many refused records it is time to look whether somebody still waits.
const LOOK_ROWS: usize = 1_024;
/// Of a record that is too long quarantine keeps this much.
pub(crate) const HEAD_BYTES: usize = 64 * 1024;

/// A chunk after decoding: all contract columns, a slot for every record.
pub(crate) struct Records<'r> {
    pub(crate) columns: Vec<Column>,
    pub(crate) count: usize,
    pub(crate) faults: Vec<Fault>,
    pub(crate) rescued: Vec<(usize, String)>,
    pub(crate) added: Added,
    pub(crate) positions: Positions<'r>,
    /// The record as it came, by row.
    pub(crate) raw: &'r dyn Fn(usize) -> Cow<'r, [u8]>,
    /// What stood around it, by row; for records of events.
    pub(crate) around: Option<Around<'r>>,
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
pub(crate) fn finish(
    plan: &Plan,
    hold_back: Option<&str>,
    records: Records<'_>,
    lineage: &Lineage,
    stop: &Stop,
) -> Result<Output> {
    let Records { mut columns, count, mut faults, mut rescued, added, positions, raw, around } = records;
    without_empty_texts(plan, &mut columns, &mut faults)?;
    days::add(plan, &mut columns, &mut faults)?;
    let mut frame = DataFrame::new(count, columns)?;
    let mut report = QualityReport { records: count as u64, ..QualityReport::default() };
    let Judged { labels, violated } = judge(plan, &frame, &mut faults, &mut report, stop);
    waited_for(stop)?;
    if let Some(rule) = hold_back {
        refuse_the_others(count, rule, &mut faults);
    }

    let lengths: Vec<usize> = match frame.columns().first() {
        Some(Column::Series(series)) => series.chunk_lengths().collect(),
        _ => vec![count],
    };
    let added = added.columns(&plan.fields, &lengths, &mut rescued)?;
    if plan.leaves_out {
        report.left_out = left_out(&faults, &std::mem::take(&mut rescued));
    }
    let added_names: Vec<PlSmallStr> = added.iter().map(|column| column.name().clone()).collect();
    for column in added {
        frame.with_column(column)?;
    }
    if !rescued.is_empty() {
        frame.with_column(sparse(RESCUED, &lengths, rescued.into_iter())?)?;
    }
    if !labels.is_empty() {
        frame.with_column(sparse(LABELS, &lengths, labels.into_iter())?)?;
    }
    let mut start = 0;
    let position_chunks = chunked(&lengths, |length| {
        let values: Vec<i64> = (start..start + length).map(|row| positions.at(row)).collect();
        start += length;
        position_series(values)
    })?;
    frame.with_column(position_chunks)?;

    let mut quarantine = Quarantine::new(plan, faults.len());
    if !faults.is_empty() {
        report.faulty = faults.len() as u64;
        let mut texts = Texts { plan, shown: HashMap::new() };
        for (index, Fault { row, reasons }) in faults.iter().enumerate() {
            if index.is_multiple_of(LOOK_ROWS) {
                waited_for(stop)?;
            }
            quarantine.push(positions.at(*row), texts.of(reasons), &raw(*row), around.map(|around| around.of(*row)));
        }
        texts.count(&faults, &mut report);
        frame = filtered(frame, &sound(&lengths, &faults)?)?;
    }
    Ok(Output {
        clean: clean(plan, &frame, &added_names, lineage, stop)?,
        quarantined: quarantine.finish(lineage)?,
        records: count as u64,
        held_back: hold_back.map(str::to_owned).or(violated),
        report,
    })
}

/// # Errors
/// When nobody waits any more.
fn waited_for(stop: &Stop) -> Result<()> {
    if stop.is_set() { Err(TransformError::Stopped) } else { Ok(()) }
}

/// The sound records among those that have unknown fields; all ascending.
fn left_out(faults: &[Fault], rescued: &[(usize, String)]) -> u64 {
    let mut faults = faults.iter().map(|fault| fault.row).peekable();
    let mut is_sound = |row: usize| {
        while faults.next_if(|fault| *fault < row).is_some() {}
        faults.peek() != Some(&row)
    };
    rescued.iter().filter(|(row, _)| is_sound(*row)).count() as u64
}

/// The rows that stay. Each column goes as soon as it is filtered, so that a chunk is not in memory twice.
fn filtered(frame: DataFrame, mask: &BooleanChunked) -> Result<DataFrame> {
    let height = mask.num_trues();
    let columns = frame.into_columns().into_par_iter().map(|column| column.filter(mask));
    let columns = columns.collect::<PolarsResult<Vec<Column>>>()?;
    Ok(DataFrame::new(height, columns)?)
}

/// True for the records without a fault, in chunks like the frame's: else filtering would first copy every column.
fn sound(lengths: &[usize], faults: &[Fault]) -> Result<BooleanChunked> {
    let (mut start, mut faults) = (0, faults.iter().peekable());
    let mask = chunked(lengths, |length| {
        let mut sound = vec![true; length];
        while let Some(fault) = faults.next_if(|fault| fault.row < start + length) {
            sound[fault.row - start] = false;
        }
        start += length;
        sound.into_iter().collect::<BooleanChunked>().into_series()
    })?;
    Ok(mask.bool()?.clone())
}

/// What the rules say of a chunk.
struct Judged {
    /// By row, ascending.
    labels: Vec<(usize, String)>,
    /// The first rule that holds back the whole.
    violated: Option<String>,
}

/// Applies the rules to the sound records, and adds the faults that they find.
fn judge(plan: &Plan, frame: &DataFrame, faults: &mut Vec<Fault>, report: &mut QualityReport, stop: &Stop) -> Judged {
    let mut judged = Judged { labels: Vec::new(), violated: None };
    let (mut refused, mut labelled) = (Vec::new(), Vec::new());
    for (index, (rule, violations)) in plan.rules.iter().zip(rules::evaluate(&plan.rules, frame, stop)).enumerate() {
        let mut rows = violations.rows;
        let mut faulty = faults.iter().map(|fault| fault.row).peekable();
        rows.retain(|(row, _)| {
            while faulty.next_if(|faulty| faulty < row).is_some() {}
            faulty.peek() != Some(row)
        });
        if rows.is_empty() {
            continue;
        }
        report.count_rule(&rule.name, rule.action, rows.len() as u64);
        if rule.action == RuleAction::Fail && judged.violated.is_none() {
            judged.violated = Some(rule.name.clone());
        }
        match rule.action {
            RuleAction::Warn => {}
            RuleAction::Label => labelled.extend(rows.iter().map(|(row, _)| (*row, index))),
            RuleAction::Quarantine | RuleAction::Fail => {
                refused.extend(rows.iter().map(|(row, verdict)| (*row, index, *verdict)));
            }
        }
    }
    // Rules by row, each row's in the contract's order.
    refused.sort_unstable();
    let (mut shared, mut reasons) = (Shared::default(), Vec::new());
    for rows in refused.chunk_by(|left, right| left.0 == right.0) {
        let reason = |(_, rule, verdict): &(usize, usize, Verdict)| match verdict {
            Verdict::Violated => Reason::Rule(*rule),
            Verdict::Unknown => Reason::Unevaluated(*rule),
        };
        reasons.clear();
        reasons.extend(rows.iter().map(reason));
        faults.push(shared.fault(rows[0].0, &reasons));
    }
    faults.sort_by_key(|fault| fault.row);
    labelled.sort_unstable();
    for rows in labelled.chunk_by(|left, right| left.0 == right.0) {
        let names: Vec<&str> = rows.iter().map(|(_, rule)| plan.rules[*rule].name.as_str()).collect();
        judged.labels.push((rows[0].0, serde_json::Value::from(names).to_string()));
    }
    judged
}

/// Every record that is sound by itself follows those that are not.
fn refuse_the_others(count: usize, rule: &str, faults: &mut Vec<Fault>) {
    let reasons: Reasons = [Reason::from(format!("held back by rule `{rule}`"))].into();
    let mut faulty = std::mem::take(faults).into_iter().peekable();
    faults.extend((0..count).map(|row| {
        let own = faulty.next_if(|fault| fault.row == row);
        own.unwrap_or_else(|| Fault { row, reasons: Reasons::clone(&reasons) })
    }));
}

/// Reasons as texts, each list of them made once.
struct Texts<'f> {
    plan: &'f Plan,
    shown: HashMap<&'f [Reason], String>,
}

impl<'f> Texts<'f> {
    /// Each list may be its record's own.
    const MOST: usize = 4_096;

    fn of(&mut self, reasons: &'f [Reason]) -> &str {
        if self.shown.len() >= Self::MOST {
            self.shown.clear();
        }
        self.shown.entry(reasons).or_insert_with(|| {
            let texts: Vec<String> = reasons.iter().map(|reason| reason.text(self.plan)).collect();
            serde_json::Value::from(texts).to_string()
        })
    }

    /// Counts the records by reason.
    fn count(&self, faults: &[Fault], report: &mut QualityReport) {
        let mut counts: HashMap<&Reason, u64> = HashMap::new();
        for Fault { reasons, .. } in faults {
            for (index, reason) in reasons.iter().enumerate() {
                if !reasons[..index].contains(reason) {
                    *counts.entry(reason).or_default() += 1;
                }
            }
        }
        counts.into_iter().for_each(|(reason, count)| report.count_reason(reason.text(self.plan), count));
        report.bound();
    }
}

/// The table's columns, in order, protected; then the added ones that have a value.
fn clean(plan: &Plan, frame: &DataFrame, added: &[PlSmallStr], lineage: &Lineage, stop: &Stop) -> Result<DataFrame> {
    let mut columns = Vec::with_capacity(plan.targets.len() + 6 + added.len());
    for index in &plan.order {
        waited_for(stop)?;
        let column = frame.column(&plan.targets[*index].name)?;
        match &plan.protections[*index] {
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
    for name in std::iter::once(RESCUED).chain(plan.has_labels.then_some(LABELS)) {
        columns.push(match frame.column(name) {
            Ok(column) => column.clone(),
            Err(_) => repeated(&lengths, name, Scalar::null(Dtype::String))?,
        });
    }
    for name in added {
        columns.extend(Some(frame.column(name)?.clone()).filter(|column| column.null_count() < frame.height()));
    }
    Ok(DataFrame::new(frame.height(), columns)?)
}

/// The quarantine frame under construction.
pub(crate) struct Quarantine {
    max_record_bytes: usize,
    positions: Vec<i64>,
    reasons: StringChunkedBuilder,
    raw: BinaryChunkedBuilder,
    /// Of a dataset that takes events.
    events: Option<EventTexts>,
}

impl Quarantine {
    pub(crate) fn new(plan: &Plan, capacity: usize) -> Self {
        Self {
            max_record_bytes: plan.max_record_bytes,
            events: plan.is_of_events.then(EventTexts::default),
            positions: Vec::with_capacity(capacity),
            reasons: StringChunkedBuilder::new(REASONS.into(), capacity),
            raw: BinaryChunkedBuilder::new(RAW.into(), capacity),
        }
    }

    /// `reasons` is a JSON array of texts, `event` what stood around the record, with its event's place.
    pub(crate) fn push(&mut self, position: i64, reasons: &str, raw: &[u8], event: Option<(usize, EventMeta<'_>)>) {
        if let Some(events) = &mut self.events {
            events.push(event);
        }
        self.positions.push(position);
        self.reasons.append_value(reasons);
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
        columns.extend(self.events.map(EventTexts::finish).transpose()?);
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

pub(crate) fn chunked(lengths: &[usize], mut part: impl FnMut(usize) -> Series) -> Result<Column> {
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
