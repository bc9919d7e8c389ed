//! Events of one partition, read again: what a consumer may have missed, or what is to be processed anew.
//!
//! - Every event of the range that the hub still has comes once, in order: the SDK starts again at its first position after
//!   a lost connection, without a word, so what was seen is dropped here.
//! - What has expired, and what is not there yet, is said, never passed over.
//! - Every call ends: the SDK has no limits of time of its own.
//! - Each attempt has a client of its own. A receiver that is closed while events come ruins its partition for its client.

mod connection;
mod error;
mod properties;

use std::ops::RangeInclusive;
use std::pin::pin;
use std::time::{Duration, UNIX_EPOCH};

use azure_core_amqp::AmqpValue;
use azure_core_amqp::message::AmqpMessageBody;
use azure_messaging_eventhubs::models::ReceivedEventData;
use azure_messaging_eventhubs::{ConsumerClient, OpenReceiverOptions, StartLocation, StartPosition};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout, timeout_at};

pub use connection::HubConnection;
pub use error::{HubError, HubErrorKind};

/// Where one read ends, whatever the range is.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimits {
    pub events: usize,
    /// Of bodies and properties. One event is read even if it is larger.
    pub bytes: usize,
    /// For all of it.
    pub time: Duration,
    /// Without an event before the connection is made anew.
    pub silence: Duration,
    /// Connections that fail one after the other.
    pub attempts: u32,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            events: 10_000,
            bytes: 64 * 1024 * 1024,
            time: Duration::from_secs(120),
            silence: Duration::from_secs(15),
            attempts: 4,
        }
    }
}

/// An event as the hub has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubEvent {
    pub sequence: u64,
    pub offset: String,
    /// Milliseconds since 1970.
    pub enqueued_ms: i64,
    pub partition_key: Option<String>,
    /// What the sender gave it, as the Functions host writes it.
    pub properties: Map<String, Value>,
    /// What the broker, and those before it, have written on it, likewise; without what stands in the other fields.
    pub system: Map<String, Value>,
    /// None: the message's body is a sequence or a value that is no text.
    pub body: Option<Bytes>,
}

/// What a read found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HubRead {
    /// In order, without a hole but those of `expired`.
    pub events: Vec<HubEvent>,
    /// Sequence numbers that were asked for and that the hub has no more.
    pub expired: Vec<RangeInclusive<u64>>,
    /// The oldest event that the hub had when it was asked; the next one to come if it had none.
    pub begin_sequence: u64,
    /// Sequence number after the hub's last event when it was asked.
    pub end_sequence: u64,
    /// Where to go on: a limit ended the read before the range did.
    pub next: Option<u64>,
}

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubRange {
    Sequences(RangeInclusive<u64>),
    /// Enqueued at or after the first time and before the second, in milliseconds since 1970. If the first event that
    /// comes is the hub's oldest, older ones may have expired.
    Enqueued(std::ops::Range<i64>),
}

/// Reads ranges of one namespace's hubs.
#[derive(Debug, Clone)]
pub struct HubReader {
    connection: HubConnection,
}

impl HubReader {
    pub fn new(connection: HubConnection) -> Self {
        Self { connection }
    }

    /// Reads a range of a partition. Beyond the hub's end there is nothing, and that is no error.
    pub async fn read(
        &self,
        hub: &str,
        group: &str,
        partition: u32,
        range: HubRange,
        limits: ReadLimits,
    ) -> Result<HubRead, HubError> {
        let place = format!("{hub}/{group}/{partition}");
        let deadline = Instant::now() + limits.time;
        let mut reading = Reading { range, limits, deadline, place, found: HubRead::default(), bytes: 0, known: None };
        let mut failures = 0;
        loop {
            let before = reading.found.events.len();
            let error = match self.attempt(hub, group, partition, &mut reading).await {
                Ok(()) => return Ok(reading.found),
                Err(error) => error,
            };
            failures = if reading.found.events.len() > before { 1 } else { failures + 1 };
            let pause = Duration::from_millis(100) * 2_u32.pow(failures.min(6));
            if error.kind() != HubErrorKind::Retryable
                || failures >= limits.attempts
                || Instant::now() + pause > deadline
            {
                return Err(error);
            }
            tracing::warn!(%error, partition, "reads the partition again from where it was");
            tokio::time::sleep(pause).await;
        }
    }

    /// The partitions that a hub has.
    pub async fn partitions(&self, hub: &str, group: &str, limits: ReadLimits) -> Result<Vec<u32>, HubError> {
        let place = || format!("{hub}/{group}");
        let late = |_| HubError::Late { place: place(), events: 0 };
        let sdk = |source| HubError::Sdk { place: place(), source: Box::new(source) };
        let client = timeout(limits.silence, self.connection.consumer(hub, group)).await.map_err(late)?.map_err(sdk)?;
        let asked = timeout(limits.silence, client.get_eventhub_properties()).await;
        let _ = timeout(Duration::from_secs(2), client.close()).await;
        let ids = asked.map_err(late)?.map_err(sdk)?.partition_ids;
        // Event Hubs numbers them.
        let numbers: Option<Vec<u32>> = ids.iter().map(|id| id.parse().ok()).collect();
        numbers.ok_or_else(|| HubError::Unplaced { place: place() })
    }

    async fn attempt(&self, hub: &str, group: &str, partition: u32, reading: &mut Reading) -> Result<(), HubError> {
        let opening = self.connection.consumer(hub, group);
        let client = reading.within(opening).await?.map_err(|source| reading.sdk(source))?;
        let result = reading.with(&client, partition).await;
        // It may say that it cannot close what is closed already; a slow one is left to itself.
        let _ = timeout(Duration::from_secs(2), client.close()).await;
        result
    }
}

/// One read under way, over all its connections.
struct Reading {
    range: HubRange,
    limits: ReadLimits,
    deadline: Instant,
    place: String,
    found: HubRead,
    bytes: usize,
    /// Where the next event has to be, once that is known.
    known: Option<u64>,
}

impl Reading {
    async fn with(&mut self, client: &ConsumerClient, partition: u32) -> Result<(), HubError> {
        let properties = self.within(client.get_partition_properties(&partition.to_string())).await?;
        let properties = properties.map_err(|source| self.sdk(source))?;
        let end = properties.last_enqueued_sequence_number.saturating_add(1).max(0) as u64;
        let begin = if properties.is_empty { end } else { properties.beginning_sequence_number.max(0) as u64 };
        if self.known.is_none() {
            (self.found.begin_sequence, self.found.end_sequence) = (begin, end);
        }
        let end = self.found.end_sequence;
        let newest = properties.last_enqueued_time_utc.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let newest_ms = newest.map_or(i64::MAX, |newest| newest.as_millis() as i64);
        let Some(location) = self.start(begin, end, newest_ms) else { return Ok(()) };
        let options = OpenReceiverOptions {
            // Never the latest: what came while a connection was lost would be passed over.
            start_position: Some(StartPosition { location, inclusive: true }),
            prefetch: Some(self.limits.events.clamp(1, 300) as u32),
            ..OpenReceiverOptions::default()
        };
        let opened = self.within(client.open_receiver_on_partition(partition.to_string(), Some(options))).await?;
        let receiver = opened.map_err(|source| self.sdk(source))?;
        let mut stream = pin!(receiver.stream_events());
        loop {
            let next = timeout_at(self.deadline.min(Instant::now() + self.limits.silence), stream.next()).await;
            let event = match next {
                Ok(Some(event)) => event.map_err(|source| self.sdk(source))?,
                Ok(None) => return Err(HubError::Ended { place: self.place.clone() }),
                Err(_) => return Err(self.late()),
            };
            if self.take(&event, end)? {
                return Ok(());
            }
        }
    }

    /// Where a receiver starts; None: there is nothing more to read.
    fn start(&mut self, begin: u64, end: u64, newest_ms: i64) -> Option<StartLocation> {
        let first = match (&self.range, self.known) {
            (_, Some(next)) => next,
            (HubRange::Sequences(range), None) => *range.start(),
            (HubRange::Enqueued(window), None) => {
                let from = UNIX_EPOCH + Duration::from_millis(window.start.max(0) as u64);
                // A receiver after the last event would wait for one that is not asked for.
                let any = begin < end && !window.is_empty() && window.start <= newest_ms;
                return any.then_some(StartLocation::EnqueuedTime(from));
            }
        };
        let last = self.last(end);
        self.known = Some(first);
        if begin > first && first <= last {
            self.expire(first..=last.min(begin - 1));
        }
        let first = self.known.unwrap_or(first);
        (first <= last && first < end).then_some(StartLocation::SequenceNumber(first as i64))
    }

    /// The last sequence number that may come.
    fn last(&self, end: u64) -> u64 {
        let there = end.saturating_sub(1);
        match &self.range {
            HubRange::Sequences(range) => (*range.end()).min(there),
            HubRange::Enqueued(_) => there,
        }
    }

    fn expire(&mut self, range: RangeInclusive<u64>) {
        self.known = Some(range.end() + 1);
        self.found.expired.push(range);
    }

    /// Keeps an event that is wanted. True: that was all.
    fn take(&mut self, event: &ReceivedEventData, end: u64) -> Result<bool, HubError> {
        let sequence = event.sequence_number().and_then(|sequence| u64::try_from(sequence).ok());
        let enqueued = event.enqueued_time().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let (Some(sequence), Some(enqueued)) = (sequence, enqueued) else {
            return Err(HubError::Unplaced { place: self.place.clone() });
        };
        let enqueued_ms = enqueued.as_millis() as i64;
        let last = self.last(end);
        let past = match &self.range {
            HubRange::Sequences(range) => sequence > *range.end(),
            HubRange::Enqueued(window) => enqueued_ms >= window.end,
        };
        if let Some(known) = self.known {
            // A connection that was lost within the SDK: it begins again at its first position.
            if sequence < known {
                return Ok(false);
            }
            if sequence > known {
                self.expire(known..=last.min(sequence - 1));
            }
        }
        if past {
            return Ok(true);
        }
        let body = body_of(event);
        let given = event.raw_amqp_message().application_properties.as_ref();
        let properties = given.map(|given| properties::properties(&given.0)).unwrap_or_default();
        let system = properties::system(event.raw_amqp_message());
        let size = body.as_ref().map_or(0, Bytes::len) + properties::weight(&properties) + properties::weight(&system);
        let full = self.found.events.len() >= self.limits.events || self.bytes + size > self.limits.bytes;
        if full && !self.found.events.is_empty() {
            self.found.next = Some(sequence);
            return Ok(true);
        }
        self.bytes += size;
        self.known = Some(sequence + 1);
        self.found.events.push(HubEvent {
            sequence,
            offset: event.offset().clone().unwrap_or_default(),
            enqueued_ms,
            partition_key: event.partition_key().clone(),
            properties,
            system,
            body,
        });
        Ok(sequence >= last)
    }

    async fn within<T>(&self, call: impl Future<Output = T>) -> Result<T, HubError> {
        let until = self.deadline.min(Instant::now() + self.limits.silence);
        timeout_at(until, call).await.map_err(|_| self.late())
    }

    fn late(&self) -> HubError {
        HubError::Late { place: self.place.clone(), events: self.found.events.len() }
    }

    fn sdk(&self, source: azure_messaging_eventhubs::EventHubsError) -> HubError {
        HubError::Sdk { place: self.place.clone(), source: Box::new(source) }
    }
}

/// `event_data().body()` knows exactly one data section and nothing else.
fn body_of(event: &ReceivedEventData) -> Option<Bytes> {
    match &event.raw_amqp_message().body {
        AmqpMessageBody::Binary(sections) => Some(Bytes::from(sections.concat())),
        AmqpMessageBody::Value(AmqpValue::String(text)) => Some(Bytes::from(text.clone())),
        AmqpMessageBody::Value(AmqpValue::Binary(bytes)) => Some(Bytes::from(bytes.clone())),
        AmqpMessageBody::Empty => Some(Bytes::new()),
        _ => None,
    }
}
