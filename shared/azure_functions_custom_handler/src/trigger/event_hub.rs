//! `eventHubTrigger`: a batch of events of one partition, or a single event as a batch of one.
//!
//! The host checkpoints a batch whether or not the function succeeded, so decoding never refuses a batch for the sake
//! of one event: an event whose body cannot be decoded keeps the text that came and is marked, and metadata that does
//! not line up with the events is dropped, never guessed.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::system_properties::SystemProperties;
use super::{BodyLength, Trigger};
use crate::envelope::{Binding, Body, DataType, Envelope, append_base64, lenient_text};
use crate::error::Error;
#[cfg(feature = "server")]
use crate::large::LargeBody;
use crate::wire::{self, ArrayError, Members};

/// Most events in a batch. Event Hubs deliver far fewer; the limit is there because an event costs a hundred times
/// the memory of the two quotes that announce it.
pub const MAX_EVENTS: usize = 1 << 18;

/// Events of one partition in the order of the partition. The coordinates are optional: the host drops what it fails
/// to add, and old extensions do not send all of them.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct EventBatch {
    /// The namespace's host name, such as `ns.servicebus.windows.net`.
    pub namespace: Option<String>,
    /// The Event Hub's name.
    pub hub: Option<String>,
    /// The consumer group that the function reads as.
    pub consumer_group: Option<String>,
    /// The id of the partition that all events are from.
    pub partition: Option<String>,
    /// The events, in the order of the partition.
    pub events: Vec<Event>,
    /// Metadata arrays that were there but not as long as the batch, and were therefore not used.
    pub ignored_metadata: Vec<&'static str>,
}

/// One event. The bodies of a batch share one allocation, so keeping one body keeps them all.
#[derive(Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Event {
    /// The event's bytes, base64 taken off.
    pub body: Bytes,
    /// The body was to be base64 and was not; `body` is then the text as it came.
    pub body_encoding_error: bool,
    /// Position in the partition, ascending.
    pub sequence_number: Option<i64>,
    /// Place in the partition, opaque.
    pub offset: Option<String>,
    /// When the broker stored it, by the broker's clock.
    pub enqueued_time: Option<DateTime<Utc>>,
    /// The key by which the sender chose the partition.
    pub partition_key: Option<String>,
    /// The sender's properties.
    pub properties: Map<String, Value>,
    /// Properties that the broker, and those before it, have written on it.
    pub system: SystemProperties,
}

impl EventBatch {
    /// A batch of these events without coordinates, for tests of handlers.
    #[must_use]
    pub fn new(events: Vec<Event>) -> Self {
        Self { events, ..Self::default() }
    }
}

impl Event {
    /// An event with a body and nothing else, for tests of handlers.
    #[must_use]
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }
}

impl Trigger for EventBatch {
    const IN_PARTS: bool = true;

    #[cfg(feature = "server")]
    fn next_part(body: &mut LargeBody, data_type: DataType) -> Result<Option<Self>, Error> {
        let mut rest = match body.around.take() {
            Some(rest) => rest,
            None => {
                let envelope = Envelope::parse(&body.skeleton)?;
                batch(&envelope, Bodies { buffer: Vec::new(), spans: vec![(0..0, false); body.count()] })
            }
        };
        let Some((texts, ranges)) = body.next_texts()? else { return Ok(None) };
        let bodies: Vec<&[u8]> = ranges.into_iter().map(|range| &texts[range]).collect();
        let bodies = Bodies::decode(&bodies, texts.len(), |body, buffer| {
            // Only what is text can be base64.
            match std::str::from_utf8(body) {
                Ok(text) if data_type == DataType::Binary => append_base64(text, buffer),
                _ => {
                    buffer.extend_from_slice(body);
                    false
                }
            }
        });
        let later = rest.events.split_off(bodies.spans.len().min(rest.events.len()));
        let events = std::mem::take(&mut rest.events);
        let mut part = Self { events, ..rest.clone() };
        rest.events = later;
        for (event, given) in part.events.iter_mut().zip(bodies.into_events()) {
            (event.body, event.body_encoding_error) = (given.body, given.body_encoding_error);
        }
        body.around = Some(rest);
        Ok(Some(part))
    }

    fn decode(envelope: &mut Envelope<'_>, data_type: DataType) -> Result<Self, Error> {
        let binding = envelope.trigger()?;
        // The cheap reading first; it borrows each body from the request.
        if let Some(bodies) = split_plain_array(binding.json()) {
            if bodies.len() > MAX_EVENTS {
                return Err(too_many(&binding));
            }
            let bodies = Bodies::decode(&bodies, binding.json().len(), |body, buffer| match data_type {
                DataType::Binary => append_base64(body, buffer),
                DataType::String => {
                    buffer.extend_from_slice(body.as_bytes());
                    false
                }
            });
            return Ok(batch(envelope, bodies));
        }
        let text = binding.text()?;
        match wire::elements(&text, MAX_EVENTS) {
            Ok(bodies) => {
                let bodies =
                    Bodies::decode(&bodies, text.len(), |body, buffer| append_element(body, data_type, buffer));
                Ok(batch(envelope, bodies))
            }
            Err(ArrayError::TooMany) => Err(too_many(&binding)),
            Err(ArrayError::NotAnArray) => Ok(single(envelope, &binding, &text, data_type)),
        }
    }
}

/// Splits `"[\"a\",\"b\"]"`, an array of strings inside a string as the host writes it, without unescaping it first:
/// a batch can be 100 MB and its base64 holds no escapes. `None` means that the text is anything else, and is to be
/// read the long way.
fn split_plain_array(json: &str) -> Option<Vec<&str>> {
    let inner = json.strip_prefix("\"[")?.strip_suffix("]\"")?;
    if inner.is_empty() {
        return Some(Vec::new());
    }
    let inner = inner.strip_prefix("\\\"")?.strip_suffix("\\\"")?;
    // A backslash left over is an escape within a body, or the end of one.
    let mut bodies = Vec::new();
    for body in inner.split("\\\",\\\"").take(MAX_EVENTS + 1) {
        if body.contains('\\') {
            return None;
        }
        bodies.push(body);
    }
    Some(bodies)
}

/// One element of an array that was read the long way. Without a `dataType` the host parses bodies as JSON, so an
/// element may be any value; its JSON text is then the body.
fn append_element(element: &RawValue, data_type: DataType, buffer: &mut Vec<u8>) -> bool {
    let (text, is_string) = lenient_text(element);
    if is_string && data_type == DataType::Binary {
        return append_base64(&text, buffer);
    }
    buffer.extend_from_slice(text.as_bytes());
    // A string that could not be unescaped kept its quotes and escapes.
    !is_string && element.get().starts_with('"')
}

/// All bodies in one buffer: one allocation for the batch instead of one for each event.
struct Bodies {
    buffer: Vec<u8>,
    spans: Vec<(Range<usize>, bool)>,
}

impl Bodies {
    fn decode<T: Copy>(bodies: &[T], encoded_len: usize, append: impl Fn(T, &mut Vec<u8>) -> bool) -> Self {
        let mut buffer = Vec::with_capacity(encoded_len / 4 * 3);
        let spans = bodies.iter().map(|body| {
            let start = buffer.len();
            let failed = append(*body, &mut buffer);
            (start..buffer.len(), failed)
        });
        Self { spans: spans.collect(), buffer }
    }

    fn into_events(self) -> Vec<Event> {
        let buffer = Bytes::from(self.buffer);
        let event = |(span, failed): (Range<usize>, bool)| Event {
            body: buffer.slice(span),
            body_encoding_error: failed,
            ..Event::default()
        };
        self.spans.into_iter().map(event).collect()
    }
}

fn too_many(binding: &Binding<'_>) -> Error {
    binding.error(format!("holds more than {MAX_EVENTS} events"))
}

fn batch(envelope: &Envelope<'_>, bodies: Bodies) -> EventBatch {
    let count = bodies.spans.len();
    let mut batch = EventBatch { events: bodies.into_events(), ..EventBatch::default() };
    read_partition(envelope.metadata_members(), &mut batch);
    Columns::read(envelope.metadata_members(), count, &mut batch.ignored_metadata).fill(&mut batch.events);
    if let Some(array) = envelope.metadata_members().get("SystemPropertiesArray") {
        let each = batch.events.iter_mut().zip(SystemProperties::of_batch(array, count));
        each.for_each(|(event, system)| event.system = system);
    }
    batch
}

/// `cardinality: one`, whose metadata are single values.
fn single(envelope: &mut Envelope<'_>, binding: &Binding<'_>, text: &str, data_type: DataType) -> EventBatch {
    let mut buffer = Vec::new();
    let mut event = Event::default();
    if binding.json().starts_with('"') {
        let body = Body::of(text, data_type);
        if let Body::Text(text) = &body {
            envelope.distrust_merged(text);
        }
        event.body_encoding_error = body.append_to(&mut buffer);
    } else {
        buffer.extend_from_slice(text.as_bytes());
    }
    event.body = Bytes::from(buffer);

    let metadata = envelope.metadata_members();
    let mut scratch = String::new();
    let system = metadata.get("SystemProperties").and_then(|raw| Members::unwrap(raw, &mut scratch));
    fill_from(&mut event, metadata);
    if let Some(system) = &system {
        fill_from(&mut event, system);
    }
    event.properties = metadata.read("Properties").unwrap_or_default();
    event.system = metadata.read("SystemProperties").map(SystemProperties::new).unwrap_or_default();

    let mut batch = EventBatch { events: vec![event], ..EventBatch::default() };
    read_partition(metadata, &mut batch);
    batch
}

fn read_partition(metadata: &Members<'_>, batch: &mut EventBatch) {
    // Extension 5.0 has only the second one.
    for key in ["TriggerPartitionContext", "PartitionContext"] {
        let mut scratch = String::new();
        let Some(context) = metadata.get(key).and_then(|raw| Members::unwrap(raw, &mut scratch)) else { continue };
        let fill = |field: &mut Option<String>, key| *field = field.take().or_else(|| context.text(key));
        fill(&mut batch.namespace, "FullyQualifiedNamespace");
        fill(&mut batch.hub, "EventHubName");
        fill(&mut batch.consumer_group, "ConsumerGroup");
        fill(&mut batch.partition, "PartitionId");
    }
}

/// Fills what is still missing in `event` from single values: metadata of one event, or its system properties.
fn fill_from(event: &mut Event, members: &Members<'_>) {
    event.sequence_number = event.sequence_number.or_else(|| members.read("SequenceNumber"));
    event.offset = event.offset.take().or_else(|| offset(members));
    event.enqueued_time = event.enqueued_time.or_else(|| members.time("EnqueuedTimeUtc"));
    event.partition_key = event.partition_key.take().or_else(|| members.text("PartitionKey"));
}

/// The offset as text. The numeric form is `-1` when the broker's offset is no integer.
fn offset(members: &Members<'_>) -> Option<String> {
    members.text("OffsetString").or_else(|| members.text("Offset").filter(|offset| offset != "-1"))
}

/// The arrays that run beside the events. Each is all there or not used: a wrong sequence number is worse than none.
struct Columns {
    sequence_numbers: Vec<Option<i64>>,
    offsets: Vec<Option<String>>,
    enqueued_times: Vec<Option<DateTime<Utc>>>,
    partition_keys: Vec<Option<String>>,
    properties: Vec<Option<Map<String, Value>>>,
    /// Unparsed system properties, read for the events that miss something.
    system: Vec<Option<Box<RawValue>>>,
}

impl Columns {
    fn read(metadata: &Members<'_>, count: usize, ignored: &mut Vec<&'static str>) -> Self {
        let mut offsets = column(metadata, "OffsetStringArray", count, ignored, wire::scalar);
        if offsets.is_empty() {
            // `-1` stands for an offset that is no integer.
            let offset = |raw: &RawValue| wire::scalar(raw).filter(|offset| offset != "-1");
            offsets = column(metadata, "OffsetArray", count, ignored, offset);
        }
        let time = |raw: &RawValue| wire::parse_time(&wire::scalar(raw)?);
        let mut columns = Self {
            sequence_numbers: column(metadata, "SequenceNumberArray", count, ignored, wire::reparse),
            enqueued_times: column(metadata, "EnqueuedTimeUtcArray", count, ignored, time),
            partition_keys: column(metadata, "PartitionKeyArray", count, ignored, wire::scalar),
            properties: column(metadata, "PropertiesArray", count, ignored, wire::reparse),
            offsets,
            system: Vec::new(),
        };
        let complete = !columns.sequence_numbers.is_empty()
            && !columns.enqueued_times.is_empty()
            && !columns.offsets.is_empty()
            && !columns.partition_keys.is_empty();
        if !complete {
            columns.system = column(metadata, "SystemPropertiesArray", count, ignored, |raw| Some(raw.to_owned()));
        }
        columns
    }

    fn fill(mut self, events: &mut [Event]) {
        fn take<T>(column: &mut [Option<T>], index: usize) -> Option<T> {
            column.get_mut(index).and_then(Option::take)
        }
        for (index, event) in events.iter_mut().enumerate() {
            event.sequence_number = take(&mut self.sequence_numbers, index);
            event.offset = take(&mut self.offsets, index);
            event.enqueued_time = take(&mut self.enqueued_times, index);
            event.partition_key = take(&mut self.partition_keys, index);
            event.properties = take(&mut self.properties, index).unwrap_or_default();
            if let Some(members) = take(&mut self.system, index).as_deref().and_then(|raw| Members::parse(raw.get())) {
                fill_from(event, &members);
            }
        }
    }
}

/// One metadata array, its elements read leniently one by one. Empty when absent; also when its length is not
/// `count`, which is noted in `ignored`.
fn column<T>(
    metadata: &Members<'_>,
    key: &'static str,
    count: usize,
    ignored: &mut Vec<&'static str>,
    read: impl Fn(&RawValue) -> Option<T>,
) -> Vec<Option<T>> {
    let Some(raw) = metadata.get(key) else { return Vec::new() };
    let text = wire::unescape(raw.get()).unwrap_or(Cow::Borrowed(raw.get()));
    match wire::elements(&text, count) {
        Ok(elements) if elements.len() == count => elements.into_iter().map(read).collect(),
        _ => {
            ignored.push(key);
            Vec::new()
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("body", &BodyLength(&self.body))
            .field("body_encoding_error", &self.body_encoding_error)
            .field("sequence_number", &self.sequence_number)
            .field("offset", &self.offset)
            .field("enqueued_time", &self.enqueued_time)
            .finish_non_exhaustive()
    }
}
