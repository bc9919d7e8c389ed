//! From events to the two frames, some at a time: bodies are unpacked and cut into records, and each record goes its way.
//!
//! A body that cannot be taken as a whole is one record of quarantine, at its event's sequence number, as it came. So is
//! one that is a single record; the records of one that holds several have places of their own ([`position_of`]). Memory
//! is bounded: bodies are unpacked for one round of about [`ROUND_BYTES`] and then forgotten.

use std::ops::Range;
use std::sync::Arc;

use azure_functions_custom_handler::Event;
use bytes::Bytes;
use weir_contract::{FormatKind, RuleAction, position_of};
use weir_intake::{AvroBody, Body, MAX_BODY_BYTES, Magic};
use weir_transform::{
    AvroChunk, AvroLayout, EventMeta, EventRecord, Lineage, Output, Transform, TransformError, looks_like,
};

use super::compute;
use crate::app::Dataset;
use crate::error::AppError;

/// Records of one round; an event that unpacks to more is a round.
const ROUND_BYTES: usize = 16 * 1024 * 1024;
/// Bodies that are packed mostly give less than so many times their own size.
const EXPANSION: u64 = 20;
/// Lines that an Avro block gives at a time.
const LINES_BYTES: usize = 1024 * 1024;

const NOT_BASE64: &str = "the body is not base64";
const NO_BYTES: &str = "the body is an AMQP sequence or a value that is no text";
const TOO_LARGE: &str = "the body unpacks to more than 64 MiB";
const NO_PLACE: &str = "the body holds several records, but the event's sequence number leaves no places for them";

/// Sequence number and event; ascending, each once.
pub(crate) type Placed = Vec<(i64, Event)>;

/// Where events came from, for columns that ask.
#[derive(Debug, Clone)]
pub(crate) struct HubPlace {
    pub(crate) hub: String,
    pub(crate) partition: String,
}

/// What the records of events weigh, about, at most in one round.
pub(crate) fn weight(events: &[Event]) -> u64 {
    let is_packed = |event: &&Event| matches!(Magic::of(&event.body), Magic::Gzip | Magic::Zstd | Magic::Avro);
    let packed: usize = events.iter().filter(is_packed).map(|event| event.body.len()).sum();
    let all: usize = events.iter().map(|event| event.body.len()).sum();
    all as u64 + (EXPANSION * packed as u64).min((ROUND_BYTES + MAX_BODY_BYTES) as u64)
}

/// Events on their way to be frames.
pub(crate) struct Bodies {
    /// Away while it works.
    work: Option<Work>,
    ready: std::vec::IntoIter<Output>,
}

impl Bodies {
    pub(crate) fn new(dataset: Arc<Dataset>, place: HubPlace, placed: Placed, lineage: Lineage) -> Self {
        let transform = dataset.transform.clone();
        let work = Work { dataset, place, placed, lineage, transform, at: 0, layout: None };
        Self { work: Some(work), ready: Vec::new().into_iter() }
    }

    /// The next frames; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Output>, AppError> {
        if let Some(output) = self.ready.next() {
            return Ok(Some(output));
        }
        let Some(mut work) = self.work.take_if(|work| work.at < work.placed.len()) else { return Ok(None) };
        let (work, outputs) = compute(move || {
            let outputs = work.round();
            (work, outputs)
        })
        .await?;
        self.work = Some(work);
        self.ready = outputs?.into_iter();
        Ok(self.ready.next())
    }

    /// The events, as they were given.
    pub(crate) fn into_placed(self) -> Placed {
        self.work.map(|work| work.placed).unwrap_or_default()
    }
}

struct Work {
    dataset: Arc<Dataset>,
    place: HubPlace,
    placed: Placed,
    lineage: Lineage,
    /// It holds everything back once a rule has said so.
    transform: Transform,
    /// The next event.
    at: usize,
    /// Events mostly have one schema.
    layout: Option<Layout>,
}

struct Layout {
    schema: String,
    codec: String,
    layout: AvroLayout,
}

/// The records of one round.
#[derive(Default)]
struct Records {
    texts: Vec<Bytes>,
    /// Text, where in it, position, and event.
    records: Vec<(usize, Range<usize>, i64, usize)>,
    /// Event and reason.
    refused: Vec<(usize, String)>,
}

impl Work {
    fn round(&mut self) -> Result<Vec<Output>, TransformError> {
        let first = self.at;
        let (outputs, end) = self.frames(first)?;
        self.at = end;
        // A rule holds the whole back, and earlier rounds are gone: so the first one asks all of them.
        let rules = &self.dataset.contract.rules;
        if first > 0 || !rules.iter().any(|rule| rule.action == RuleAction::Fail) {
            return Ok(outputs);
        }
        let mut held_back = held_back(&outputs);
        let mut at = end;
        while held_back.is_none() && at < self.placed.len() {
            let (later, end) = self.frames(at)?;
            (held_back, at) = (self::held_back(&later), end);
        }
        let Some(rule) = held_back else { return Ok(outputs) };
        self.transform = self.transform.hold_back(&rule);
        Ok(self.frames(first)?.0)
    }

    /// The frames of a round, and the event that the next one begins with.
    fn frames(&mut self, first: usize) -> Result<(Vec<Output>, usize), TransformError> {
        let mut round = Records::default();
        let (mut at, mut bytes) = (first, 0);
        while at < self.placed.len() && bytes < ROUND_BYTES {
            bytes += self.read(at, &mut round);
            at += 1;
        }
        let record = |(text, range, position, event): &(usize, Range<usize>, i64, usize)| EventRecord {
            body: &round.texts[*text][range.clone()],
            position: *position,
            event: event - first,
        };
        let records: Vec<EventRecord<'_>> = round.records.iter().map(record).collect();
        let metas = self.placed[first..at].iter().map(|(sequence, event)| meta(&self.place, Some(*sequence), event));
        let metas: Vec<EventMeta<'_>> = metas.collect();
        let mut outputs = Vec::new();
        if !records.is_empty() || round.refused.is_empty() {
            outputs.push(self.transform.event_records(&records, &metas, &self.lineage)?);
        }
        if !round.refused.is_empty() {
            let events: Vec<EventMeta<'_>> = round.refused.iter().map(|(event, _)| metas[event - first]).collect();
            let refused = round.refused.into_iter().map(|(event, reason)| {
                let (position, event) = &self.placed[event];
                (&*event.body, *position, reason)
            });
            let refused: Vec<_> = refused.collect();
            outputs.push(self.transform.quarantine_events(&refused, &events, &self.lineage)?);
        }
        Ok((outputs, at))
    }

    /// Adds an event's records. Returns what they weigh.
    fn read(&mut self, at: usize, round: &mut Records) -> usize {
        let (sequence, event) = &self.placed[at];
        let format = &self.dataset.contract.format;
        let body = match event.body_encoding_error {
            true if event.body.is_empty() => Err(NO_BYTES.to_owned()),
            true => Err(NOT_BASE64.to_owned()),
            // Whoever wants Avro is told what came; of JSON its decoder tells.
            false if format.kind == FormatKind::Avro && Magic::of(&event.body) == Magic::Other => {
                Err(not_avro(&event.body, &meta(&self.place, Some(*sequence), event)))
            }
            false => Body::read(&event.body, format).and_then(|body| unfolded(&self.transform, body)),
        };
        let several = match body {
            Ok(Body::One(text)) => {
                let length = text.len();
                round.records.push((round.texts.len(), 0..length, *sequence, at));
                round.texts.push(text);
                return length;
            }
            Ok(Body::Several { text, records }) => Ok((text, records)),
            Ok(Body::Avro(avro)) => lines(&self.transform, &mut self.layout, &avro),
            Err(reason) => Err(reason),
        };
        let placed = several.and_then(|(text, records)| {
            let positions = (0..records.len()).map(|index| position_of(*sequence, index));
            let positions: Vec<i64> = positions.collect::<Option<_>>().ok_or(NO_PLACE)?;
            Ok((text, records, positions))
        });
        match placed {
            Ok((text, records, positions)) => {
                let (index, length) = (round.texts.len(), text.len());
                let places = records.into_iter().zip(positions);
                round.records.extend(places.map(|(range, position)| (index, range, position, at)));
                round.texts.push(text);
                length
            }
            Err(reason) => {
                round.refused.push((at, reason));
                event.body.len()
            }
        }
    }
}

fn not_avro(body: &[u8], event: &EventMeta<'_>) -> String {
    match looks_like(body, event) {
        Some(what) => format!("not an Avro file: {what}"),
        None => "not an Avro file".to_owned(),
    }
}

fn held_back(outputs: &[Output]) -> Option<String> {
    outputs.iter().find_map(|output| output.held_back.clone())
}

pub(crate) fn meta<'e>(place: &'e HubPlace, sequence: Option<i64>, event: &'e Event) -> EventMeta<'e> {
    EventMeta {
        sequence,
        enqueued_us: event.enqueued_time.map(|time| time.timestamp_micros()),
        offset: event.offset.as_deref(),
        partition_key: event.partition_key.as_deref(),
        hub: Some(&place.hub),
        partition: Some(&place.partition),
        properties: Some(&event.properties),
        system: Some(&event.system),
    }
}

/// A body whose records are where the contract says: the elements of an array in it, or the object in one of its fields.
fn unfolded(transform: &Transform, body: Body) -> Result<Body, String> {
    if !transform.unfolds() {
        return Ok(body);
    }
    let (text, parts, is_one) = match body {
        Body::Avro(_) => return Ok(body),
        Body::One(text) => (text.clone(), Vec::from([Range { start: 0, end: text.len() }]), true),
        Body::Several { text, records } => (text, records, false),
    };
    let (mut unfolded, mut records) = (Vec::new(), Vec::new());
    for part in parts {
        for record in transform.unfold(&text[part])? {
            let start = unfolded.len();
            unfolded.extend_from_slice(&record);
            records.push(start..unfolded.len());
            if unfolded.len() > MAX_BODY_BYTES {
                return Err(TOO_LARGE.to_owned());
            }
        }
    }
    let text = Bytes::from(unfolded);
    // The elements of an array are several, even if there is one; what a field holds is what the body was.
    Ok(match is_one && transform.keeps_count() {
        true => Body::One(text),
        false => Body::Several { text, records },
    })
}

/// The records of an Avro file, as lines of JSON.
fn lines(
    transform: &Transform,
    known: &mut Option<Layout>,
    avro: &AvroBody,
) -> Result<(Bytes, Vec<Range<usize>>), String> {
    let AvroBody { schema, codec, blocks } = avro;
    let layout = match known {
        Some(known) if known.schema == *schema && known.codec == *codec => known.layout.clone(),
        _ => {
            let layout = transform.avro_layout(schema, codec)?;
            *known = Some(Layout { schema: schema.clone(), codec: codec.clone(), layout: layout.clone() });
            layout
        }
    };
    let mut text = Vec::new();
    for (count, data) in blocks {
        let mut block = layout.block(*count, data);
        while let Some(chunk) = block.next(LINES_BYTES) {
            match chunk {
                AvroChunk::Lines(lines) => text.extend_from_slice(&lines),
                AvroChunk::Refused(reason) => return Err(reason),
            }
            if text.len() > MAX_BODY_BYTES {
                return Err(TOO_LARGE.to_owned());
            }
        }
    }
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    let records = ends.scan(0, |start, end| Some(std::mem::replace(start, end + 1)..end)).collect();
    Ok((Bytes::from(text), records))
}
