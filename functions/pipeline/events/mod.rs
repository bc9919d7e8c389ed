//! A batch of one Event Hub partition, into its dataset.
//!
//! The producer is the partition as this consumer group reads it; its version is the last sequence number committed.
//! Events at or below it are dropped before anything is written: the host gives batches again after a crash, after a
//! failure and when a partition changes its owner. Events that do not follow it are not taken before those in between:
//! the host may have moved on without them, so they are read from the hub, and what the hub has no more stands in
//! quarantine as lost.

mod dedupe;
mod gap;
pub(crate) mod replay;
pub(crate) mod window;

use std::ops::RangeInclusive;
use std::sync::Arc;

use azure_functions_custom_handler::{Event, EventBatch};
use sha2::{Digest, Sha256};
use tokio::sync::SemaphorePermit;
use weir_contract::{FIRST_OF_SEVERAL, Gap, Source};
use weir_intake::hub::{HubEvent, HubRange};
use weir_lake::Producer;
use weir_transform::{Lineage, Output, TransformError};

pub(crate) use dedupe::Memories;
pub(crate) use gap::GapReport;

use dedupe::{At, Remembered};

use super::Receipt;
use super::bodies::{self, Bodies, HubPlace, Placed};
use super::sink::{Settled, Sink};
use crate::app::{App, Dataset, Runtime};
use crate::error::AppError;
use crate::hubs::Hubs;

/// Deliveries of one partition that may get in between before the host is asked to try again.
const ATTEMPTS: u32 = 5;
/// Events never change, so every event's source version is the same.
const EVENT_VERSION: &str = "1";
/// An event that was committed already comes with the time that it had, give or take what clocks and formats do to it.
const SAME_TIME_MS: i64 = 60_000;

pub(crate) async fn ingest(app: &App, dataset: &str, batch: EventBatch) -> Result<Receipt, AppError> {
    let runtime = app.runtime().await?;
    let dataset = Arc::clone(runtime.dataset(dataset)?);
    // The bodies are in memory already; what is asked for is what their frames and files will take.
    let _permit = runtime.budget.take(4 * bodies::weight(&batch.events)).await;
    if batch.events.is_empty() {
        return Ok(Receipt::already(&dataset.contract.name, 0));
    }
    match Partition::of(&batch) {
        Some((partition, positions)) => {
            let placed = positions.into_iter().zip(batch.events).collect();
            Delivery::new(runtime, dataset, partition, placed).ingest().await
        }
        None => quarantine_unplaced(runtime, &dataset, &batch).await,
    }
}

/// A partition, as one consumer group reads it.
struct Partition {
    /// Full name.
    namespace: String,
    hub: String,
    id: String,
    /// `_source` of its records, and the transaction id.
    source: String,
}

impl Partition {
    /// `None` when the host left out what makes an event's place: it can then not be told from others.
    fn of(batch: &EventBatch) -> Option<(Self, Vec<i64>)> {
        let EventBatch { namespace, hub, consumer_group, partition, events, .. } = batch;
        let number = |event: &Event| event.sequence_number.filter(|number| (0..FIRST_OF_SEVERAL).contains(number));
        let positions = events.iter().map(number).collect::<Option<_>>()?;
        let (namespace, hub) = (namespace.clone()?, hub.clone()?);
        let short = namespace.split_once('.').map_or(&*namespace, |(name, _)| name);
        let (group, id) = (consumer_group.as_deref()?, partition.clone()?);
        let source = format!("eventhub:{short}/{hub}/{group}/{id}");
        Some((Self { namespace, hub, id, source }, positions))
    }
}

/// Events of a partition on their way into the tables.
struct Delivery<'a> {
    runtime: &'a Runtime,
    dataset: Arc<Dataset>,
    partition: Partition,
    /// What is left to commit: ascending, each position once.
    placed: Placed,
    /// Events that came and were committed before, not in the books yet.
    dropped: u64,
    healed: u64,
    lost: u64,
}

/// What was found about the events that the delivery passes over.
#[derive(Default)]
struct Passed<'a> {
    /// No event will be at these positions any more.
    lost: Vec<RangeInclusive<i64>>,
    /// The hub was read up to here, and is to be read further after a commit.
    until: Option<i64>,
    /// For the memory of what was read.
    _turn: Option<SemaphorePermit<'a>>,
}

impl<'a> Delivery<'a> {
    fn new(runtime: &'a Runtime, dataset: Arc<Dataset>, partition: Partition, mut placed: Placed) -> Self {
        let came = placed.len();
        placed.sort_by_key(|(position, _)| *position);
        placed.dedup_by_key(|(position, _)| *position);
        let dropped = (came - placed.len()) as u64;
        Self { runtime, dataset, partition, placed, dropped, healed: 0, lost: 0 }
    }

    async fn ingest(mut self) -> Result<Receipt, AppError> {
        let dataset = Arc::clone(&self.dataset);
        let mut receipt: Option<Receipt> = None;
        let mut attempts = 0;
        while attempts < ATTEMPTS {
            let lineage = Lineage {
                source: self.partition.source.clone(),
                source_version: EVENT_VERSION.to_owned(),
                ingested_at_us: chrono::Utc::now().timestamp_micros(),
            };
            let mut sink = Sink::open(self.runtime, &dataset, lineage.source.clone(), false, &lineage).await?;
            self.check_hub_is_the_same(&sink)?;
            let waiting = self.placed.len();
            self.placed.retain(|(position, _)| sink.after.is_none_or(|after| *position > after));
            self.dropped += (waiting - self.placed.len()) as u64;
            let passed = self.look_for_passed(sink.after).await?;
            let later = passed
                .until
                .map(|until| self.placed.split_off(self.placed.partition_point(|(position, _)| *position <= until)));
            let Some((last, _)) = self.placed.last() else { break };
            let last = *last;
            let enqueued = self.enqueued();
            let mut remembered = self.remembered(&sink, &lineage).await;
            self.placed = self.transform(&lineage, remembered.as_mut(), &mut sink).await?;
            let duplicates = remembered.as_ref().map_or(0, Remembered::duplicates);
            if !passed.lost.is_empty() {
                sink.take(lost_records(&dataset, &passed.lost, &lineage)?).await?;
            }
            match sink.commit(last, self.dropped + duplicates, enqueued).await? {
                Settled::Done(mut done) => {
                    done.duplicates = duplicates;
                    if let Some(remembered) = remembered {
                        remembered.committed(last).await;
                    }
                    receipt = Some(match receipt {
                        Some(earlier) => earlier.followed_by(done),
                        None => done,
                    });
                    self.lost += gap::count(&passed.lost);
                    (self.placed, self.dropped, attempts) = (later.unwrap_or_default(), 0, 0);
                }
                Settled::Moved => {
                    tracing::info!(source = lineage.source, "another delivery of this partition got in between");
                    self.placed.extend(later.unwrap_or_default());
                    attempts += 1;
                }
            }
            if self.placed.is_empty() {
                break;
            }
        }
        if !self.placed.is_empty() {
            return Err(AppError::Moved { producer: self.partition.source, attempts: ATTEMPTS });
        }
        Ok(self.settled(receipt))
    }

    /// A hub that was deleted and made again counts from 0, and what it gives would be taken for events that are committed.
    /// Its events are younger than all of those.
    fn check_hub_is_the_same(&self, sink: &Sink<'_>) -> Result<(), AppError> {
        let Some((after, latest)) = sink.after.zip(sink.table.committed(&enqueued_id(&self.partition.source))) else {
            return Ok(());
        };
        let known = self.placed.iter().filter(|(position, _)| *position <= after);
        let younger = |event: &Event| {
            event.enqueued_time.is_some_and(|time| time.timestamp_millis() > latest.saturating_add(SAME_TIME_MS))
        };
        match known.into_iter().find(|(_, event)| younger(event)) {
            None => Ok(()),
            Some((sequence, _)) => Err(AppError::HubMadeAnew {
                hub: self.partition.hub.clone(),
                partition: self.partition.id.clone(),
                sequence: *sequence,
            }),
        }
    }

    /// When the youngest of the events came to the hub, as an id of the table.
    fn enqueued(&self) -> Option<Producer> {
        let latest = self.placed.iter().filter_map(|(_, event)| event.enqueued_time).max()?;
        let id = enqueued_id(&self.partition.source);
        Some(Producer { id, version: latest.timestamp_millis(), expires: false })
    }

    /// What the contract's `[dedupe]` leaves out.
    async fn remembered(&self, sink: &Sink<'_>, lineage: &Lineage) -> Option<Remembered<'a>> {
        let rule = self.dataset.contract.dedupe.as_ref()?;
        let memories = &self.runtime.memories;
        let memory = memories.of(&self.dataset.contract.name, &lineage.source).await;
        let replays = sink.table.committed(&replay::producer_id(&lineage.source));
        let at = At { after: sink.after, replays, now_us: lineage.ingested_at_us };
        Some(Remembered::new(memories, memory, rule, at))
    }

    /// Gives the events back, for another attempt.
    async fn transform(
        &mut self,
        lineage: &Lineage,
        mut remembered: Option<&mut Remembered<'a>>,
        sink: &mut Sink<'_>,
    ) -> Result<Placed, AppError> {
        let Partition { hub, id, .. } = &self.partition;
        let place = HubPlace { hub: hub.clone(), partition: id.clone() };
        let placed = std::mem::take(&mut self.placed);
        let mut bodies = Bodies::new(Arc::clone(&self.dataset), place, placed, lineage.clone());
        while let Some(mut output) = bodies.next().await? {
            if let Some(remembered) = &mut remembered {
                remembered.take_out(&sink.table, &lineage.source, &mut output).await?;
            }
            sink.take(output).await?;
        }
        Ok(bodies.into_placed())
    }

    /// The whole delivery's receipt, once nothing is left to commit.
    fn settled(self, receipt: Option<Receipt>) -> Receipt {
        let mut receipt = match receipt {
            Some(receipt) if self.dropped == 0 => receipt,
            Some(receipt) => receipt.followed_by(Receipt::already(&self.dataset.contract.name, self.dropped)),
            None => Receipt::already(&self.dataset.contract.name, self.dropped),
        };
        let Self { healed, lost, partition, .. } = self;
        if healed + lost > 0 {
            tracing::warn!(source = partition.source, healed, lost, "the host went on without some events");
            receipt.gap = Some(GapReport { missing: healed + lost, healed, lost });
        }
        receipt
    }

    /// Events between what is committed and what was delivered, and between these.
    async fn look_for_passed(&mut self, after: Option<i64>) -> Result<Passed<'a>, AppError> {
        let Source::Events { gap, .. } = self.dataset.contract.source else { return Ok(Passed::default()) };
        let hubs = self.runtime.hubs.as_ref().filter(|_| gap == Gap::Heal);
        let Some((first, _)) = self.placed.first().filter(|_| gap != Gap::Ignore) else {
            return Ok(Passed::default());
        };
        let next = match (after, hubs) {
            (Some(after), _) => after.saturating_add(1),
            // A new table has all that the hub has.
            (None, Some(_)) => 0.min(*first),
            (None, None) => *first,
        };
        let runs = gap::missing(next, self.placed.iter().map(|(position, _)| *position));
        match hubs {
            _ if runs.is_empty() => Ok(Passed::default()),
            Some(hubs) => self.heal(hubs, &runs, after.is_none()).await,
            None => Ok(Passed { lost: runs, ..Passed::default() }),
        }
    }

    /// Reads what is missing from the hub, or the first of it. `new`: nothing of the partition was committed yet.
    async fn heal(&mut self, hubs: &'a Hubs, runs: &[RangeInclusive<i64>], new: bool) -> Result<Passed<'a>, AppError> {
        let Partition { namespace, hub, id, .. } = &self.partition;
        hubs.check(namespace)?;
        let partition = id.parse().map_err(|_| AppError::PartitionId { hub: hub.clone() })?;
        let range = gap::span(runs);
        let last = *range.end();
        let (read, turn) = hubs.read(hub, partition, HubRange::Sequences(range)).await?;
        if read.end_sequence <= last {
            return Err(AppError::ShortHub { hub: hub.clone(), partition, end: read.end_sequence });
        }
        let healed = read.events.into_iter().map(|event| (event.sequence as i64, of_hub(event)));
        let healed: Vec<_> = healed.filter(|(position, _)| gap::contains(runs, *position)).collect();
        self.healed += healed.len() as u64;
        self.placed.extend(healed);
        self.placed.sort_by_key(|(position, _)| *position);
        // What the hub had before it was listened to is not missing.
        let expired = read.expired.iter().filter(|run| !new || *run.start() >= read.begin_sequence);
        Ok(Passed {
            lost: expired.flat_map(|expired| gap::within(runs, expired)).collect(),
            until: read.next.map(|next| next as i64 - 1),
            _turn: turn,
        })
    }
}

/// The id whose version is when the youngest committed event of a partition came to the hub: milliseconds since the Unix
/// epoch.
fn enqueued_id(source: &str) -> String {
    format!("enqueued:{source}")
}

/// The event as the host would have given it.
fn of_hub(event: HubEvent) -> Event {
    Event {
        body_encoding_error: event.body.is_none(),
        body: event.body.unwrap_or_default(),
        sequence_number: Some(event.sequence as i64),
        offset: Some(event.offset),
        enqueued_time: chrono::DateTime::from_timestamp_millis(event.enqueued_ms),
        partition_key: event.partition_key,
        properties: event.properties,
    }
}

/// One record for each run of lost events, at the place of the first.
fn lost_records(dataset: &Dataset, runs: &[RangeInclusive<i64>], lineage: &Lineage) -> Result<Output, TransformError> {
    let reason = |run: &RangeInclusive<i64>| {
        format!(
            "lost: the host did not deliver events {} to {}, and they were not read from the hub",
            run.start(),
            run.end()
        )
    };
    let records: Vec<_> = runs.iter().map(|run| (&[][..], *run.start(), reason(run))).collect();
    dataset.transform.quarantine_records(&records, lineage)
}

/// Events without a place cannot be told from a second delivery of themselves, except by what they are: the batch's
/// digest is their producer. They are kept in quarantine, with the reason.
async fn quarantine_unplaced(
    runtime: &Runtime,
    dataset: &Arc<Dataset>,
    batch: &EventBatch,
) -> Result<Receipt, AppError> {
    let mut digest = Sha256::new();
    for event in &batch.events {
        digest.update((event.body.len() as u64).to_le_bytes());
        digest.update(&event.body);
    }
    let digest = data_encoding::HEXLOWER.encode(&digest.finalize());
    let hub = batch.hub.as_deref().unwrap_or("unknown");
    let source = format!("eventhub:unplaced/{hub}/{digest}");
    let count = batch.events.len() as u64;
    let lineage = Lineage {
        source: source.clone(),
        source_version: EVENT_VERSION.to_owned(),
        ingested_at_us: chrono::Utc::now().timestamp_micros(),
    };
    let mut sink = Sink::open(runtime, dataset, source.clone(), true, &lineage).await?;
    if sink.after.is_some() {
        return Ok(Receipt::already(&dataset.contract.name, count));
    }
    let reason = || "the host gave no partition or no sequence number, or one that no event has".to_owned();
    let records: Vec<_> =
        (1..).zip(&batch.events).map(|(position, event)| (&*event.body, position, reason())).collect();
    sink.take(dataset.transform.quarantine_records(&records, &lineage)?).await?;
    match sink.commit(i64::try_from(count).unwrap_or(i64::MAX), 0, None).await? {
        Settled::Done(receipt) => Ok(receipt),
        Settled::Moved => Err(AppError::Moved { producer: source, attempts: 1 }),
    }
}
