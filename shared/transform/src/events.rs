//! What stands around an event's body, as columns: [`EventMeta`] is what both ways give on which an event comes (the
//! host's batch, and the hub read again), so that a record is the same whichever it was.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, SecondsFormat};
use polars::prelude::{Column, IdxCa, IdxSize, IntoColumn, IntoSeries, NewChunkedArray, Series, StringChunked};
use serde_json::{Map, Value};
use weir_contract::{DataType, EVENT, EventField};

use crate::columns::{Builder, Decoded, Target};
use crate::error::Result;
use crate::faults::{Fault, Reason, Shared};
use crate::looks::Looks;
use crate::plan::Plan;
use crate::text::Mismatch;

/// System properties that are said by themselves.
const OWN: [&str; 5] = ["SequenceNumber", "Offset", "OffsetString", "PartitionKey", "EnqueuedTimeUtc"];
/// Bytes of `_event`. An event has at most a megabyte of properties, and its quarantined record is to be read by people.
const MAX_EVENT_BYTES: usize = 64 * 1024;

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
    /// What the broker, and those before it, have written on it; read when it is asked for.
    pub system: Option<&'e (dyn AsRef<Map<String, Value>> + Sync)>,
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

/// What stands around the records of a chunk.
#[derive(Clone, Copy)]
pub(crate) struct Around<'e> {
    pub(crate) events: &'e [EventMeta<'e>],
    /// The event of each record, by row.
    pub(crate) of: &'e dyn Fn(usize) -> usize,
}

impl<'e> Around<'e> {
    pub(crate) fn of(&self, row: usize) -> (usize, EventMeta<'e>) {
        let event = (self.of)(row);
        (event, self.events.get(event).copied().unwrap_or_default())
    }
}

/// `_event` of quarantine: each event's text once, however many of its records are refused.
#[derive(Default)]
pub(crate) struct EventTexts {
    texts: Vec<String>,
    /// The text of each row.
    rows: Vec<Option<IdxSize>>,
    /// The event that the last text is of.
    last: Option<usize>,
}

impl EventTexts {
    pub(crate) fn push(&mut self, event: Option<(usize, EventMeta<'_>)>) {
        let text = event.map(|(event, meta)| {
            if self.last != Some(event) {
                self.last = Some(event);
                self.texts.push(meta.json());
            }
            (self.texts.len() - 1) as IdxSize
        });
        self.rows.push(text);
    }

    pub(crate) fn finish(self) -> Result<Column> {
        let texts = StringChunked::from_iter_values(EVENT.into(), self.texts.iter().map(String::as_str));
        // The rows share the bytes of the texts.
        let rows = IdxCa::from_iter_options(EVENT.into(), self.rows.into_iter());
        Ok(texts.into_series().take(&rows)?.into_column())
    }
}

impl<'e> EventMeta<'e> {
    pub(crate) fn content_type(&self) -> Option<&'e str> {
        let name =
            |name: &&String| name.eq_ignore_ascii_case("content-type") || name.eq_ignore_ascii_case("ContentType");
        let system = self.system?.as_ref();
        system.keys().find(name).and_then(|name| system.get(name)).and_then(Value::as_str)
    }

    /// As a JSON object of at most [`MAX_EVENT_BYTES`]: what is larger loses its largest members, and says so.
    fn json(&self) -> String {
        let mut members: Vec<(&str, Option<&str>, String)> = Vec::new();
        let mut own = |name, value: Option<Value>| {
            members.extend(value.map(|value| (name, None, value.to_string())));
        };
        own("sequence_number", self.sequence.map(Value::from));
        own("enqueued_time", self.enqueued_us.and_then(instant).map(Value::from));
        own("offset", self.offset.map(Value::from));
        own("partition_key", self.partition_key.map(Value::from));
        let system = self.system.map(AsRef::as_ref);
        for (section, given) in [("properties", self.properties), ("system_properties", system)] {
            let given = given.into_iter().flatten();
            let given = given.filter(|(name, _)| section == "properties" || !OWN.contains(&name.as_str()));
            members.extend(given.map(|(name, value)| (section, Some(name.as_str()), value.to_string())));
        }
        let left_out = bound(&mut members);
        let mut object = Map::new();
        for (name, inner, json) in members {
            // What was written a moment ago is sound.
            let value = serde_json::from_str(&json).unwrap_or(Value::Null);
            match inner {
                None => drop(object.insert(name.to_owned(), value)),
                Some(inner) => {
                    let section = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
                    if let Value::Object(section) = section {
                        section.insert(inner.to_owned(), value);
                    }
                }
            }
        }
        if left_out > 0 {
            object.insert("left_out".to_owned(), Value::from(left_out));
        }
        Value::Object(object).to_string()
    }
}

/// Takes the largest members out until the rest fits; how many those are.
fn bound(members: &mut Vec<(&str, Option<&str>, String)>) -> usize {
    // A name may double when it is quoted, and has quotes, a colon and a comma around it.
    let weight =
        |(name, inner, json): &(&str, Option<&str>, String)| json.len() + 6 * inner.map_or(name.len(), str::len) + 8;
    let mut total: usize = members.iter().map(weight).sum();
    let before = members.len();
    while total > MAX_EVENT_BYTES {
        let Some(largest) = (0..members.len()).max_by_key(|index| weight(&members[*index])) else { break };
        total -= weight(&members.remove(largest));
    }
    before - members.len()
}

/// Adds the columns that take something of the event, by row. `lengths`: the Arrow chunks of the others.
pub(crate) fn fill<'e>(
    plan: &Plan,
    decoded: &mut Decoded<'_>,
    lengths: &[usize],
    meta: impl Fn(usize) -> EventMeta<'e>,
) -> Result<()> {
    let (mut faults, mut shared): (Vec<Fault>, _) = (Vec::new(), Shared::default());
    for (index, field) in plan.event_fields.iter().enumerate() {
        let column = plan.of_body + index;
        let target = &plan.targets[column];
        let mut row = 0;
        let mut whole: Option<Series> = None;
        for length in lengths {
            let mut builder = Builder::new(target, *length);
            for row in row..row + length {
                let reasons = append(plan, column, &mut builder, value(plan, field, target, &meta(row)));
                faults.extend(reasons.map(|reason| shared.fault(row, &[reason])));
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
        Found::Wrong(problem) => Some(Reason::Column(column, problem)),
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
        EventField::Property(name) => return property(plan, name, target, meta.properties),
        EventField::System(name) => return property(plan, name, target, meta.system.map(AsRef::as_ref)),
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
fn property<'e>(plan: &Plan, name: &str, target: &Target, properties: Option<&'e Map<String, Value>>) -> Found<'e> {
    let Some(properties) = properties else { return Found::Nothing };
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

/// What a content type says of a body that is not one JSON object: more than its bytes do.
pub(crate) fn say_content_types<'e>(faults: &mut [Fault], meta: impl Fn(usize) -> EventMeta<'e>) {
    let mut shared = Shared::default();
    for Fault { row, reasons } in faults {
        let Some(Reason::Looks(_)) = reasons.first() else { continue };
        if let Some(better) = meta(*row).content_type().and_then(Looks::by_content_type) {
            let better = [&[Reason::Looks(better)], &reasons[1..]].concat();
            *reasons = shared.of(&better);
        }
    }
}

/// Both by row; a row's own faults first. Those of a row that is faulty already join it.
pub(crate) fn merge(faults: &mut Vec<Fault>, mut more: Vec<Fault>) {
    if more.is_empty() {
        return;
    }
    faults.append(&mut more);
    faults.sort_by_key(|fault| fault.row); // stable
    let mut shared = Shared::default();
    faults.dedup_by(|later, kept| {
        let same = later.row == kept.row;
        if same {
            kept.reasons = shared.of(&[&*kept.reasons, &*later.reasons].concat());
        }
        same
    });
}
