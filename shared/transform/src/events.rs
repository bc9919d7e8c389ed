//! What stands around an event's body, as columns: [`EventMeta`] is what both ways give on which an event comes (the
//! host's batch, and the hub read again), so that a record is the same whichever it was.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, SecondsFormat};
use polars::prelude::Series;
use serde_json::{Map, Value};
use weir_contract::{DataType, EventField};

use crate::columns::{Builder, Decoded, Target};
use crate::error::Result;
use crate::faults::{Fault, Reason};
use crate::plan::Plan;
use crate::text::Mismatch;

/// An event without its body. What is not known is `None`.
#[derive(Clone, Copy, Default)]
pub struct EventMeta<'e> {
    pub sequence: Option<i64>,
    /// Microseconds since 1970-01-01 UTC.
    pub enqueued_us: Option<i64>,
    pub offset: Option<&'e str>,
    pub partition_key: Option<&'e str>,
    pub hub: Option<&'e str>,
    pub partition: Option<&'e str>,
    /// What the sender gave it.
    pub properties: Option<&'e Map<String, Value>>,
}

impl fmt::Debug for EventMeta<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys and properties may be personal.
        f.debug_struct("EventMeta").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

/// One record of an event. Its `Debug` shows no value.
#[derive(Clone, Copy)]
pub struct EventRecord<'e> {
    /// One JSON object.
    pub body: &'e [u8],
    pub position: i64,
    /// Its event's place among the [`EventMeta`]s.
    pub event: usize,
}

impl fmt::Debug for EventRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventRecord").field("position", &self.position).field("bytes", &self.body.len()).finish()
    }
}

/// Adds the columns that take something of the event, by row. `lengths`: the Arrow chunks of the others.
pub(crate) fn fill<'e>(
    plan: &Plan,
    decoded: &mut Decoded<'_>,
    lengths: &[usize],
    meta: impl Fn(usize) -> EventMeta<'e>,
) -> Result<()> {
    let mut faults: Vec<Fault> = Vec::new();
    for (index, field) in plan.event_fields.iter().enumerate() {
        let column = plan.of_body + index;
        let target = &plan.targets[column];
        let mut row = 0;
        let mut whole: Option<Series> = None;
        for length in lengths {
            let mut builder = Builder::new(target, *length);
            for row in row..row + length {
                let reasons = append(plan, column, &mut builder, value(plan, field, target, &meta(row)));
                faults.extend(reasons.map(|reason| Fault { row, reasons: vec![reason] }));
            }
            row += length;
            let part = builder.finish();
            match &mut whole {
                Some(whole) => drop(whole.append_owned(part)?),
                None => whole = Some(part),
            }
        }
        decoded.columns.extend(whole);
    }
    merge(&mut decoded.faults, faults);
    Ok(())
}

/// Into the column; what is wrong with it.
fn append(plan: &Plan, column: usize, builder: &mut Builder<'_>, value: Found<'_>) -> Option<Reason> {
    let target = &plan.targets[column];
    let reason = match value {
        Found::Text(text) => {
            return builder.append_text(&text).err().map(|mismatch| Reason::Mismatch(column, mismatch));
        }
        Found::Wrong(problem) => Some(format!("column `{}`: {problem}", target.name).into()),
        Found::Nested => Some(Reason::Mismatch(column, Mismatch::Form)),
        Found::Nothing if plan.fields.refuses_without(target) => Some(Reason::Missing(column)),
        Found::Nothing | Found::Null if !target.nullable => Some(Reason::Null(column)),
        Found::Nothing | Found::Null => None,
    };
    builder.append_null();
    reason
}

enum Found<'e> {
    Text(Cow<'e, str>),
    Null,
    /// There is no such thing.
    Nothing,
    /// An object or an array, for a column that holds neither.
    Nested,
    Wrong(&'static str),
}

fn value<'e>(plan: &Plan, field: &EventField, target: &Target, meta: &EventMeta<'e>) -> Found<'e> {
    let text = match field {
        EventField::EnqueuedTime if target.data_type == DataType::Date => {
            let time = meta.enqueued_us.and_then(DateTime::from_timestamp_micros);
            time.map(|time| Cow::Owned(time.date_naive().to_string()))
        }
        EventField::EnqueuedTime => meta.enqueued_us.and_then(instant).map(Cow::Owned),
        EventField::SequenceNumber => meta.sequence.map(|sequence| Cow::Owned(sequence.to_string())),
        EventField::Offset => meta.offset.map(Cow::Borrowed),
        EventField::PartitionKey => meta.partition_key.map(Cow::Borrowed),
        EventField::Partition => meta.partition.map(Cow::Borrowed),
        EventField::Hub => meta.hub.map(Cow::Borrowed),
        EventField::Property(name) => return property(plan, name, target, meta),
    };
    match text {
        None => Found::Nothing,
        Some(text) if text.contains('\0') => Found::Wrong(NUL),
        Some(text) => Found::Text(text),
    }
}

const NUL: &str = "NUL character";

fn instant(us: i64) -> Option<String> {
    DateTime::from_timestamp_micros(us).map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true))
}

/// As a field of a JSON record would be read.
fn property<'e>(plan: &Plan, name: &str, target: &Target, meta: &EventMeta<'e>) -> Found<'e> {
    let Some(properties) = meta.properties else { return Found::Nothing };
    let found = properties.get(name).or_else(|| {
        let is_it = |key: &&String| !plan.fields.match_case() && key.to_lowercase() == name.to_lowercase();
        properties.keys().find(is_it).and_then(|key| properties.get(key))
    });
    match found {
        None => Found::Nothing,
        Some(Value::Null) => Found::Null,
        Some(Value::String(text)) if text.contains('\0') => Found::Wrong(NUL),
        Some(Value::String(text)) => Found::Text(Cow::Borrowed(text)),
        Some(Value::Object(_) | Value::Array(_)) if target.data_type != DataType::String => Found::Nested,
        Some(other) => Found::Text(Cow::Owned(other.to_string())),
    }
}

/// Both by row; a row's own faults first. Those of a row that is faulty already join it.
pub(crate) fn merge(faults: &mut Vec<Fault>, mut more: Vec<Fault>) {
    if more.is_empty() {
        return;
    }
    faults.append(&mut more);
    faults.sort_by_key(|fault| fault.row); // stable
    faults.dedup_by(|later, kept| {
        let same = later.row == kept.row;
        if same {
            kept.reasons.append(&mut later.reasons);
        }
        same
    });
}
