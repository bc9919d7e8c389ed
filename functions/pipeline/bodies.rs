//! From events to the two frames, some at a time: bodies are unpacked and cut into records, and each record goes its way.
//!
//! A body that cannot be taken as a whole is one record of quarantine, at its event's sequence number, as it came. So is
//! one that is a single record; the records of one that holds several have places of their own ([`position_of`]). Memory
//! is bounded: bodies are unpacked for one round of about [`ROUND_BYTES`] and then forgotten, a frame has as many rows as
//! its columns leave room for, and what both may take beyond the bytes that came is asked for first.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use azure_functions_custom_handler::Event;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use weir_contract::limits::{FRAME_BYTES, MAX_BODY_BYTES, body_bytes, body_records};
use weir_contract::{Allowance, FormatKind, MAX_EVENT_RECORDS, RuleAction, Stop, position_of};
use weir_intake::{AvroBody, Body, Magic};
use weir_transform::{
    AvroChunk, AvroLayout, EventMeta, EventRecord, Lineage, Output, Transform, TransformError, looks_like,
};

use super::compute;
use crate::app::Dataset;
use crate::error::AppError;

/// Records of one round; an event that unpacks to more is a round.
const ROUND_BYTES: usize = 16 * 1024 * 1024;
/// What a record of a round takes beside its text.
const RECORD_BYTES: usize = 64;
/// Bodies that are packed mostly give less than so many times their own size.
const EXPANSION: u64 = 20;
/// Lines that an Avro block gives at a time.
const LINES_BYTES: usize = 1024 * 1024;

const NOT_BASE64: &str = "the body is not base64";
const NO_BYTES: &str = "the body is an AMQP sequence or a value that is no text";
const TOO_LARGE: &str = "the body unpacks to more than 64 MiB";
const STOPPED: &str = "nobody waits for this event any more";
const NO_PLACE: &str = "the body holds several records, but the event's sequence number leaves no places for them";

/// Sequence number and event; ascending, each once.
pub(crate) type Placed = Vec<(i64, Event)>;

/// Where events came from, for columns that ask.
#[derive(Debug, Clone)]
pub(crate) struct HubPlace {
    pub(crate) hub: String,
    pub(crate) partition: String,
}

/// Bytes of the bodies of events.
pub(crate) fn bytes_of<'e>(events: impl IntoIterator<Item = &'e Event>) -> u64 {
    events.into_iter().map(|event| event.body.len() as u64).sum()
}

/// What the records of events weigh, about, at most in one round.
pub(crate) fn weight(events: &[Event]) -> u64 {
    let packed: usize = events.iter().filter(|event| is_packed(event)).map(|event| event.body.len()).sum();
    let all: usize = events.iter().map(|event| event.body.len()).sum();
    all as u64 + (EXPANSION * packed as u64).min((ROUND_BYTES + MAX_BODY_BYTES) as u64)
}

fn is_packed(event: &Event) -> bool {
    matches!(Magic::of(&event.body), Magic::Gzip | Magic::Zstd | Magic::Avro)
}

/// How much time events may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time {
    /// After this no further round begins, once one is done.
    pub(crate) until: Option<Instant>,
    /// An event whose body takes longer to be read is refused.
    pub(crate) of_one: Duration,
}

/// Events on their way to be frames.
pub(crate) struct Bodies {
    /// Away while it works.
    work: Option<Work>,
    ready: std::vec::IntoIter<Output>,
    time: Time,
    /// Held while a round is in work, for what it takes beyond the bytes that came.
    room: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    pub(crate) fn new(dataset: Arc<Dataset>, place: HubPlace, placed: Placed, lineage: Lineage, time: Time) -> Self {
        let transform = dataset.transform.clone();
        let end = placed.len();
        let of_one = time.of_one;
        let work = Work {
            dataset,
            place,
            placed,
            lineage,
            transform,
            of_one,
            at: 0,
            bytes: 0,
            end,
            judged: false,
            round: Round::default(),
            layout: None,
        };
        Self { work: Some(work), ready: Vec::new().into_iter(), time, room: None }
    }

    /// The next frames; `None` at the end, and when the time for a round is over. What was given then is all of the first
    /// [`done`](Self::done) events and nothing of the others.
    pub(crate) async fn next(&mut self) -> Result<Option<Output>, AppError> {
        loop {
            if let Some(output) = self.ready.next() {
                return Ok(Some(output));
            }
            let Some(mut work) = self.work.take() else { return Ok(None) };
            if work.round.is_done() {
                self.room = None;
                let late = self.time.until.is_some_and(|until| Instant::now() >= until);
                if work.at >= work.end || late && work.at > 0 {
                    self.work = Some(work);
                    return Ok(None);
                }
                let (room, frames) = (work.room(), Arc::clone(&work.dataset.frames));
                if room > 0 {
                    self.room = frames.take(room).await;
                }
            }
            let until = self.time.until;
            let (work, outputs) = compute(move |stop| {
                let outputs = work.step(until, &stop);
                (work, outputs)
            })
            .await?;
            self.work = Some(work);
            self.ready = outputs?.into_iter();
        }
    }

    /// How many events, from the first, were given whole.
    pub(crate) fn done(&self) -> usize {
        self.work.as_ref().map_or(0, |work| if work.round.is_done() { work.at } else { work.round.first })
    }

    /// The last event whose records were given, where those of no event are given in part.
    pub(crate) fn ends_with(&self) -> Option<i64> {
        let work = self.work.as_ref().filter(|work| self.ready.len() == 0 && work.round.is_done())?;
        work.placed.get(work.at.checked_sub(1)?).map(|(sequence, _)| *sequence)
    }

    /// Bytes of the bodies that were read. Those of the events that were given whole, once there is nothing more to give.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.work.as_ref().map_or(0, |work| work.bytes)
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
    of_one: Duration,
    /// The next event to be read.
    at: usize,
    /// Bytes of the bodies of those before.
    bytes: u64,
    /// Those from here on are for another commit.
    end: usize,
    /// The rules that hold the whole back were asked.
    judged: bool,
    round: Round,
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
struct Round {
    /// Its first event.
    first: usize,
    texts: Vec<Bytes>,
    /// Text, where in it, position, and event.
    records: Vec<(usize, Range<usize>, i64, usize)>,
    /// The next record.
    next: usize,
    /// Event and reason.
    refused: Vec<(usize, String)>,
}

impl Round {
    fn is_done(&self) -> bool {
        self.next >= self.records.len() && self.refused.is_empty()
    }
}

impl Work {
    /// What the next round takes beyond some times the bytes that came.
    fn room(&self) -> u64 {
        let (mut bytes, mut rows, mut unpacked) = (0, 0, 0);
        for (_, event) in &self.placed[self.at..self.end] {
            bytes += event.body.len();
            match is_packed(event) {
                true => {
                    unpacked = unpacked.max(body_bytes(event.body.len()));
                    rows += body_records(event.body.len());
                }
                // No record is without one.
                false => rows += event.body.iter().filter(|byte| **byte == b'{').count(),
            }
            if bytes >= ROUND_BYTES {
                break;
            }
        }
        let frame = (rows * self.transform.row_bytes()).min(FRAME_BYTES);
        let places = if unpacked > 0 { rows.min(MAX_EVENT_RECORDS) * RECORD_BYTES } else { 0 };
        (frame.saturating_sub(4 * bytes) + unpacked + places) as u64
    }

    /// The next frames.
    fn step(&mut self, until: Option<Instant>, stop: &Stop) -> Result<Vec<Output>, TransformError> {
        let rules = &self.dataset.contract.rules;
        if !self.judged && rules.iter().any(|rule| rule.action == RuleAction::Fail) {
            self.judge(until, stop)?;
        }
        self.judged = true;
        self.frames(stop)
    }

    /// A rule holds the whole back, and what was given before is gone: so all are asked before the first is given. What
    /// there is no time for is another delivery.
    fn judge(&mut self, until: Option<Instant>, stop: &Stop) -> Result<(), TransformError> {
        let mut held_back = None;
        while held_back.is_none() && self.at < self.end && !stop.is_set() {
            let outputs = self.frames(stop)?;
            held_back = outputs.iter().find_map(|output| output.held_back.clone());
            if self.round.is_done() && until.is_some_and(|until| Instant::now() >= until) {
                self.end = self.at;
            }
        }
        (self.at, self.bytes, self.round) = (0, 0, Round::default());
        if let Some(rule) = held_back {
            self.transform = self.transform.hold_back(&rule);
        }
        Ok(())
    }

    fn frames(&mut self, stop: &Stop) -> Result<Vec<Output>, TransformError> {
        if self.round.is_done() {
            self.read_round(stop);
        }
        let Round { first, texts, records, next, refused } = &mut self.round;
        let (first, from) = (*first, *next);
        let to = records.len().min(from + self.transform.max_rows());
        *next = to;
        let record = |(text, range, position, event): &(usize, Range<usize>, i64, usize)| EventRecord {
            body: &texts[*text][range.clone()],
            position: *position,
            event: event - first,
        };
        let some: Vec<EventRecord<'_>> = records[from..to].iter().map(record).collect();
        let metas =
            self.placed[first..self.at].iter().map(|(sequence, event)| meta(&self.place, Some(*sequence), event));
        let metas: Vec<EventMeta<'_>> = metas.collect();
        let (mut outputs, transform) = (Vec::new(), self.transform.until(stop));
        if !some.is_empty() || refused.is_empty() {
            outputs.push(transform.event_records(&some, &metas, &self.lineage)?);
        }
        if to == records.len() && !refused.is_empty() {
            let events: Vec<EventMeta<'_>> = refused.iter().map(|(event, _)| metas[event - first]).collect();
            let refused = std::mem::take(refused).into_iter().map(|(event, reason)| {
                let (position, event) = &self.placed[event];
                (&*event.body, *position, reason)
            });
            let refused: Vec<_> = refused.collect();
            outputs.push(self.transform.quarantine_events(&refused, &events, &self.lineage)?);
        }
        Ok(outputs)
    }

    /// The records of the next events.
    fn read_round(&mut self, stop: &Stop) {
        self.round = Round { first: self.at, ..Round::default() };
        let mut bytes = 0;
        while self.at < self.end && bytes < ROUND_BYTES && !stop.is_set() {
            bytes += self.read(self.at, stop);
            self.at += 1;
        }
    }

    /// Adds an event's records. Returns what they weigh.
    fn read(&mut self, at: usize, stop: &Stop) -> usize {
        let (sequence, event) = &self.placed[at];
        self.bytes += event.body.len() as u64;
        let format = &self.dataset.contract.format;
        let round = &mut self.round;
        let body = match event.body_encoding_error {
            true if event.body.is_empty() => Err(NO_BYTES.to_owned()),
            true => Err(NOT_BASE64.to_owned()),
            // Whoever wants Avro is told what came; of JSON its decoder tells.
            false if format.kind == FormatKind::Avro && Magic::of(&event.body) == Magic::Other => {
                Err(not_avro(&event.body, &meta(&self.place, Some(*sequence), event)))
            }
            false => Body::read(&event.body, format)
                .and_then(|body| unfolded(&self.transform, body, body_records(event.body.len()))),
        };
        let several = match body {
            Ok(Body::One(text)) => {
                let length = text.len();
                round.records.push((round.texts.len(), 0..length, *sequence, at));
                round.texts.push(text);
                return length + RECORD_BYTES;
            }
            Ok(Body::Several { text, records }) => Ok((text, records)),
            Ok(Body::Avro(avro)) => {
                let allowance = Allowance::of_avro_body();
                lines(&self.transform, &mut self.layout, &avro, &allowance, self.of_one, stop)
            }
            Err(reason) => Err(reason),
        };
        let placed = several.and_then(|(text, records)| {
            let positions = (0..records.len()).map(|index| position_of(*sequence, index));
            let positions: Vec<i64> = positions.collect::<Option<_>>().ok_or(NO_PLACE)?;
            Ok((text, records, positions))
        });
        match placed {
            Ok((text, records, positions)) => {
                let (index, length) = (round.texts.len(), text.len() + RECORD_BYTES * records.len());
                let places = records.into_iter().zip(positions);
                round.records.extend(places.map(|(range, position)| (index, range, position, at)));
                round.texts.push(text);
                length
            }
            Err(reason) => {
                round.refused.push((at, reason));
                event.body.len() + RECORD_BYTES
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
fn unfolded(transform: &Transform, body: Body, most: usize) -> Result<Body, String> {
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
        for record in transform.unfold(&text[part], most)? {
            let start = unfolded.len();
            unfolded.extend_from_slice(&record);
            records.push(start..unfolded.len());
            if unfolded.len() > MAX_BODY_BYTES {
                return Err(TOO_LARGE.to_owned());
            }
        }
        if records.len() > most {
            return Err(format!("the body has more than {most} records"));
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
    allowance: &Allowance,
    time: Duration,
    stop: &Stop,
) -> Result<(Bytes, Vec<Range<usize>>), String> {
    let AvroBody { schema, codec, blocks } = avro;
    let began = Instant::now();
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
        let mut block = layout.block(*count, data, allowance);
        while let Some(chunk) = block.next(LINES_BYTES, stop) {
            match chunk {
                AvroChunk::Lines(lines) => text.extend_from_slice(&lines),
                AvroChunk::Refused(reasons) => return Err(reasons.into_iter().next().unwrap_or_default()),
            }
            if text.len() > MAX_BODY_BYTES {
                return Err(TOO_LARGE.to_owned());
            }
            if began.elapsed() > time {
                return Err(format!("the event takes more than {} seconds to decode", time.as_secs()));
            }
        }
        if stop.is_set() {
            return Err(STOPPED.to_owned());
        }
    }
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    let records = ends.scan(0, |start, end| Some(std::mem::replace(start, end + 1)..end)).collect();
    Ok((Bytes::from(text), records))
}
