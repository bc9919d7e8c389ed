//! `eventGridTrigger`, and the same events where they arrive by queue: Event Grid's own schema and CloudEvents 1.0.

use std::fmt;

use base64::Engine as _;
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::Trigger;
use crate::envelope::{BASE64, DataType, Envelope};
use crate::error::Error;
use crate::wire::{self, Members};

/// Layers of wrapping (base64, a JSON string, an array of one) that are taken off an event before giving up.
const MAX_LAYERS: usize = 4;

/// One event, whichever schema it was sent in.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct EventGridEvent {
    /// The schema that it was sent in.
    pub schema: EventSchema,
    /// Unique per event and the same for each delivery of it.
    pub id: String,
    /// `eventType` or `type`, such as `Microsoft.Storage.BlobCreated`.
    pub event_type: String,
    /// `topic` or `source`.
    pub source: Option<String>,
    /// The thing that the event is about, within its source.
    pub subject: Option<String>,
    /// When it happened, as the publisher says.
    pub time: Option<DateTime<Utc>>,
    /// The publisher's payload; `Null` when there is none.
    pub data: Value,
}

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventSchema {
    /// Event Grid's own: `eventType`, `topic`, `eventTime`.
    EventGrid,
    /// CloudEvents 1.0: `type`, `source`, `time`.
    CloudEvents,
}

impl EventGridEvent {
    /// An event in Event Grid's schema without source, subject and time, for tests of handlers.
    #[must_use]
    pub fn new(id: impl Into<String>, event_type: impl Into<String>, data: Value) -> Self {
        Self {
            schema: EventSchema::EventGrid,
            id: id.into(),
            event_type: event_type.into(),
            source: None,
            subject: None,
            time: None,
            data,
        }
    }

    /// Reads an event from the body of a queue message or a request. Event Grid writes to queues in base64, senders
    /// and tools wrap events in strings or in an array of one: up to four such layers are taken off.
    ///
    /// # Errors
    /// [`Error::Event`] naming the key; it never quotes the event.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| Error::event("event", format!("is not utf-8 (byte {})", error.valid_up_to())))?;
        let json = unwrap(text.to_owned())?;
        let members = Members::parse(&json).ok_or_else(|| Error::event("event", "is not a json object"))?;
        Self::from_members(&members)
    }

    fn from_members(members: &Members<'_>) -> Result<Self, Error> {
        let text = |key| members.get(key).and_then(wire::scalar);
        let missing = |key| Error::event(key, "is missing");
        let cloud = members.get("specversion").is_some();
        let (schema, kind, source, time) = match cloud {
            true => (EventSchema::CloudEvents, "type", "source", "time"),
            false => (EventSchema::EventGrid, "eventType", "topic", "eventTime"),
        };
        Ok(Self {
            schema,
            id: text("id").ok_or_else(|| missing("id"))?,
            event_type: text(kind).ok_or_else(|| missing(kind))?,
            source: text(source),
            subject: text("subject"),
            time: members.time(time),
            data: members.read("data").unwrap_or(Value::Null),
        })
    }
}

/// Takes the layers off until an object remains.
fn unwrap(mut text: String) -> Result<String, Error> {
    for _ in 0..=MAX_LAYERS {
        let trimmed = text.trim_start_matches('\u{feff}').trim();
        let inner = match trimmed.as_bytes().first() {
            None => return Err(Error::event("event", "is empty")),
            Some(b'{') => return Ok(trimmed.to_owned()),
            Some(b'"') => wire::unescape(trimmed)
                .ok_or_else(|| Error::event("event", "is a string with an invalid escape"))?
                .into_owned(),
            Some(b'[') => match wire::elements(trimmed, 1).as_deref() {
                Ok([event]) => event.get().to_owned(),
                _ => return Err(Error::event("event", "is an array that does not hold exactly one event")),
            },
            Some(_) => BASE64
                .decode(trimmed)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| Error::event("event", "is neither json nor base64 of json"))?,
        };
        text = inner;
    }
    Err(Error::event("event", format!("is wrapped in more than {MAX_LAYERS} layers")))
}

impl Trigger for EventGridEvent {
    /// The binding is a JSON object; with `cardinality: many` (register [`Vec<EventGridEvent>`]) an array.
    fn decode(envelope: &mut Envelope<'_>, _: DataType) -> Result<Self, Error> {
        Self::parse(envelope.trigger()?.text()?.as_bytes())
    }
}

impl Trigger for Vec<EventGridEvent> {
    fn decode(envelope: &mut Envelope<'_>, _: DataType) -> Result<Self, Error> {
        let binding = envelope.trigger()?;
        let text = binding.text()?;
        if !text.trim_start().starts_with('[') {
            return Ok(vec![EventGridEvent::parse(text.as_bytes())?]);
        }
        let events = wire::elements(&text, super::MAX_EVENTS)
            .map_err(|_| binding.error("is not a valid json array, or holds too many events"))?;
        events.into_iter().map(|event| EventGridEvent::parse(event.get().as_bytes())).collect()
    }
}

/// `data` may be personal and is not shown.
impl fmt::Debug for EventGridEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventGridEvent")
            .field("schema", &self.schema)
            .field("id", &self.id)
            .field("event_type", &self.event_type)
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}
