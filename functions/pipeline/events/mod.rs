//! A batch of one Event Hub partition, into its dataset.
//!
//! The producer is the partition ([`identity`]); its version is the last sequence number committed.
//! Events at or below it are dropped before anything is written: the host gives batches again after a crash, after a
//! failure and when a partition changes its owner. Events that do not follow it are not taken before those in between:
//! the host may have moved on without them, so they are read from the hub, and what the hub has no more stands in
//! quarantine as lost.

mod dedupe;
mod gap;
mod identity;
pub(crate) mod replay;
pub(crate) mod verify;
pub(crate) mod window;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use azure_functions_custom_handler::{Event, EventBatch, SystemProperties};
use sha2::{Digest, Sha256};
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;
use weir_contract::{FIRST_OF_SEVERAL, Gap, Source};
use weir_intake::hub::{HubEvent, HubRange};
use weir_lake::{Producer, Table};
use weir_transform::{Lineage, Output, TransformError};

pub(crate) use dedupe::Memories;
pub(crate) use gap::GapReport;

use dedupe::{At, Remembered};
use identity::{Known, Partition, SeveralNamespaces, enqueued_id};

use super::Receipt;
use super::bodies::{self, Bodies, HubPlace, Placed, Time};
use super::checked::MAX_SEQUENCE;
use super::in_force::Tables;
use super::sink::{Settled, Sink};
use crate::app::{App, Dataset, Runtime};
use crate::error::AppError;
use crate::hubs::Hubs;

/// Deliveries of one partition that may get in between before the host is asked to try again.
const ATTEMPTS: u32 = 5;
/// Events never change, so every event's source version is the same.
const EVENT_VERSION: &str = "1";
/// More events than a partition takes in in 90 days, the longest that a hub keeps any, at a million a second.
const MAX_AHEAD: i64 = 90 * 24 * 3600 * 1_000_000;

/// Ingests a batch. What takes longer than half of the time until `deadline` is committed in rounds; what is left shortly
/// before it fails, and the host's next delivery goes on from what is committed.
pub(crate) async fn ingest(
    app: &App,
    dataset: &str,
    batch: EventBatch,
    deadline: Instant,
) -> Result<Receipt, AppError> {
    let runtime = app.runtime().await?;
    let dataset = Arc::clone(runtime.dataset(dataset)?);
    // The bodies are in memory already; what is asked for is what their frames and files will take.
    let _permit = runtime.budget.take(4 * bodies::weight(&batch.events)).await;
    if batch.events.is_empty() {
        return Ok(Receipt::already(&dataset.contract.name, 0));
    }
    match Place::of(&batch, &dataset) {
        Some((place, positions)) => {
            let placed = positions.into_iter().zip(batch.events).collect();
            let pace = Pace::until(deadline.into_std(), crate::app::deadline(&app.settings));
            Delivery::new(runtime, dataset, place, placed, pace).ingest().await
        }
        None => quarantine_unplaced(runtime, &dataset, &batch).await,
    }
}

/// Where a batch is from, as the host spells it.
struct Place {
    /// Full name.
    namespace: String,
    hub: String,
    id: String,
    partition: Partition,
    /// What the release before calls it: it may run beside this one, or again after it.
    earlier_name: Option<String>,
}

impl Place {
    /// `None` when the host left out what makes an event's place: it can then not be told from others.
    fn of(batch: &EventBatch, dataset: &Dataset) -> Option<(Self, Vec<i64>)> {
        let EventBatch { namespace, hub, consumer_group, partition, events, .. } = batch;
        let Source::Events { epoch, consumer_group: own_group, .. } = &dataset.contract.source else { return None };
        let number = |event: &Event| event.sequence_number.filter(|number| (0..FIRST_OF_SEVERAL).contains(number));
        let positions = events.iter().map(number).collect::<Option<_>>()?;
        let (namespace, hub, id) = (namespace.clone()?, hub.clone()?, partition.clone()?);
        let short = namespace.split_once('.').map_or(&*namespace, |(name, _)| name);
        let group = consumer_group.as_ref().unwrap_or(own_group);
        let earlier_name = (*epoch == 1).then(|| format!("eventhub:{short}/{hub}/{group}/{id}"));
        let partition = Partition::new(Some(&namespace), &hub, &id, *epoch);
        Some((Self { namespace, hub, id, partition, earlier_name }, positions))
    }
}

/// Events of a partition on their way into the tables.
struct Delivery<'a> {
    runtime: &'a Runtime,
    dataset: Arc<Dataset>,
    place: Place,
    /// What is left to commit: ascending, each position once.
    placed: Placed,
    /// Events that came and were committed before, not in the books yet.
    dropped: u64,
    healed: u64,
    lost: u64,
    pace: Pace,
}

/// How a delivery uses its time.
#[derive(Debug, Clone, Copy)]
struct Pace {
    deadline: std::time::Instant,
    /// Of an invocation.
    whole: Duration,
}

impl Pace {
    fn until(deadline: std::time::Instant, whole: Duration) -> Self {
        Self { deadline, whole }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(std::time::Instant::now())
    }

    /// What is done in half of what is left is committed: the other half is for the commit.
    fn next(&self) -> Time {
        Time { until: Some(std::time::Instant::now() + self.left() / 2), of_one: self.whole / 4 }
    }

    /// Whether a commit that begins now may not end in time.
    fn is_over(&self) -> bool {
        self.left() < self.whole / 8
    }
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
    fn new(runtime: &'a Runtime, dataset: Arc<Dataset>, place: Place, mut placed: Placed, pace: Pace) -> Self {
        let came = placed.len();
        placed.sort_by_key(|(position, _)| *position);
        placed.dedup_by_key(|(position, _)| *position);
        let dropped = (came - placed.len()) as u64;
        Self { runtime, dataset, place, placed, dropped, healed: 0, lost: 0, pace }
    }

    async fn ingest(mut self) -> Result<Receipt, AppError> {
        let dataset = Arc::clone(&self.dataset);
        let mut receipt: Option<Receipt> = None;
        let (mut attempts, mut committed) = (0, 0);
        while attempts < ATTEMPTS {
            if committed > 0 && self.pace.is_over() {
                return Err(AppError::Unfinished { committed, left: self.placed.len() });
            }
            let tables = self.runtime.in_force.tables(self.runtime, &dataset).await?;
            let known = known(&self.place.partition, &dataset, &tables)?;
            let sources = known.sources();
            let lineage = Lineage {
                source: known.source.clone(),
                source_version: EVENT_VERSION.to_owned(),
                ingested_at_us: chrono::Utc::now().timestamp_micros(),
            };
            let is_other = |name: &String| *name != known.source && !known.former.contains(name);
            let also = self.place.earlier_name.clone().filter(is_other);
            let mut sink = Sink::open(tables, &dataset, &sources, also.into_iter().collect(), false).await?;
            self.check_hub_is_the_same(&known)?;
            self.check_possible(sink.after)?;
            let waiting = self.placed.len();
            self.placed.retain(|(position, _)| sink.after.is_none_or(|after| *position > after));
            self.dropped += (waiting - self.placed.len()) as u64;
            let mut passed = self.look_for_passed(sink.after).await?;
            self.check_epoch(&known)?;
            let mut later = match passed.until {
                Some(until) => self.placed.split_off(self.placed.partition_point(|(position, _)| *position <= until)),
                None => Vec::new(),
            };
            if self.placed.is_empty() {
                // All of it is committed, in a table that has to be there still.
                sink.table.look().await?;
                break;
            }
            let mut remembered = self.remembered(&sink, &sources, &lineage).await;
            let done = self.transform(&lineage, &sources, remembered.as_mut(), &mut sink).await?;
            // What there was no time for comes before what was not to be read yet.
            later = self.placed.split_off(done).into_iter().chain(later).collect();
            let Some((last, _)) = self.placed.last() else {
                return Err(AppError::Unfinished { committed, left: later.len() });
            };
            let last = *last;
            passed.lost.retain(|run| *run.end() <= last);
            let enqueued = self.enqueued(&known);
            let duplicates = remembered.as_ref().map_or(0, Remembered::duplicates);
            if !passed.lost.is_empty() {
                sink.take(lost_records(&dataset, &passed.lost, &lineage)?).await?;
            }
            let bytes = bodies::bytes_of(self.placed.iter().map(|(_, event)| event));
            match sink.commit(last, (self.dropped + duplicates, bytes), enqueued).await? {
                Settled::Done(mut done) => {
                    done.duplicates = duplicates;
                    if let Some(remembered) = remembered {
                        remembered.committed(last).await;
                    }
                    receipt = Some(match receipt {
                        Some(earlier) => earlier.followed_by(*done),
                        None => *done,
                    });
                    self.lost += gap::count(&passed.lost);
                    committed += self.placed.len();
                    (self.placed, self.dropped, attempts) = (later, 0, 0);
                }
                Settled::Moved => {
                    tracing::info!(source = lineage.source, "another delivery of this partition got in between");
                    self.placed.extend(later);
                    attempts += 1;
                }
            }
            if self.placed.is_empty() {
                break;
            }
        }
        if !self.placed.is_empty() {
            return Err(AppError::Moved { producer: self.place.partition.to_string(), attempts: ATTEMPTS });
        }
        Ok(self.settled(receipt))
    }

    /// A hub that was deleted and made again counts from 0, and what it gives would be taken for events that are committed.
    /// Its events are younger than all of those.
    fn check_hub_is_the_same(&self, known: &Known) -> Result<(), AppError> {
        let is_of_another = |sequence, enqueued| known.is_contradicted_by(sequence, enqueued);
        match self.sequence_where(is_of_another) {
            None => Ok(()),
            Some(sequence) => Err(AppError::HubMadeAnew {
                hub: self.place.hub.clone(),
                partition: self.place.id.clone(),
                sequence,
                next_epoch: self.place.partition.epoch.saturating_add(1),
            }),
        }
    }

    /// A contract whose epoch was raised without a reason would have every event twice.
    fn check_epoch(&self, known: &Known) -> Result<(), AppError> {
        let is_there = |sequence, enqueued| known.earlier.iter().any(|name| name.has(sequence, enqueued));
        match self.sequence_where(is_there) {
            None => Ok(()),
            Some(sequence) => Err(AppError::SameHub {
                hub: self.place.hub.clone(),
                partition: self.place.id.clone(),
                sequence,
                epoch: self.place.partition.epoch,
            }),
        }
    }

    /// The first event with a time of which something is so.
    fn sequence_where(&self, is_it: impl Fn(i64, i64) -> bool) -> Option<i64> {
        let timed = self.placed.iter().filter_map(|(at, event)| Some((*at, event.enqueued_time?.timestamp_millis())));
        timed.into_iter().find(|(sequence, enqueued_ms)| is_it(*sequence, *enqueued_ms)).map(|(sequence, _)| sequence)
    }

    /// A number that the hub cannot have reached would have all true events taken for committed ones.
    fn check_possible(&self, after: Option<i64>) -> Result<(), AppError> {
        let Some((last, _)) = self.placed.last() else { return Ok(()) };
        let most = after.map_or(MAX_SEQUENCE, |after| after.saturating_add(MAX_AHEAD).min(MAX_SEQUENCE));
        if *last <= most {
            return Ok(());
        }
        let (hub, partition) = (self.place.hub.clone(), self.place.id.clone());
        let after = after.map_or(0, |after| after.saturating_add(1));
        Err(AppError::ImpossibleSequence { hub, partition, sequence: *last, after })
    }

    /// When the youngest of the events came to the hub, as an id of the table.
    fn enqueued(&self, known: &Known) -> Option<Producer> {
        let latest = self.placed.iter().filter_map(|(_, event)| event.enqueued_time).max()?;
        Some(Producer { id: enqueued_id(&known.source), version: latest.timestamp_millis(), expires: false })
    }

    /// What the contract's `[dedupe]` leaves out.
    async fn remembered(&self, sink: &Sink<'_>, sources: &[String], lineage: &Lineage) -> Option<Remembered<'a>> {
        let rule = self.dataset.contract.dedupe.as_ref()?;
        let memories = &self.runtime.memories;
        let memory = memories.of(&self.dataset.contract.name, &lineage.source).await;
        let replays = sources.iter().filter_map(|source| sink.table.committed(&replay::producer_id(source)));
        let replays = replays.reduce(i64::saturating_add);
        let at = At { table: sink.table.incarnation(), after: sink.after, replays, now_us: lineage.ingested_at_us };
        Some(Remembered::new(memories, memory, rule, at))
    }

    /// Gives the events of a round to the sink; how many they are, from the first.
    async fn transform(
        &mut self,
        lineage: &Lineage,
        sources: &[String],
        mut remembered: Option<&mut Remembered<'a>>,
        sink: &mut Sink<'_>,
    ) -> Result<usize, AppError> {
        let Place { hub, id, .. } = &self.place;
        let place = HubPlace { hub: hub.clone(), partition: id.clone() };
        let placed = std::mem::take(&mut self.placed);
        let time = self.pace.next();
        let mut bodies = Bodies::new(Arc::clone(&self.dataset), place, placed, lineage.clone(), time);
        while let Some(mut output) = bodies.next().await? {
            if let Some(remembered) = &mut remembered {
                remembered.take_out(&sink.table, sources, &mut output).await?;
            }
            sink.take(output).await?;
        }
        let done = bodies.done();
        sink.read(bodies.bytes_read());
        self.placed = bodies.into_placed();
        Ok(done)
    }

    /// The whole delivery's receipt, once nothing is left to commit.
    fn settled(self, receipt: Option<Receipt>) -> Receipt {
        let mut receipt = match receipt {
            Some(receipt) if self.dropped == 0 => receipt,
            Some(receipt) => receipt.followed_by(Receipt::already(&self.dataset.contract.name, self.dropped)),
            None => Receipt::already(&self.dataset.contract.name, self.dropped),
        };
        let Self { healed, lost, place, .. } = self;
        if healed + lost > 0 {
            tracing::warn!(source = %place.partition, healed, lost, "the host went on without some events");
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
        let Place { namespace, hub, id, .. } = &self.place;
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

/// How the two tables of a dataset know a partition.
fn known(partition: &Partition, dataset: &Dataset, tables: &Tables) -> Result<Known, AppError> {
    known_to(partition, dataset, &tables.table, Some(&tables.quarantine))
}

fn known_to(
    partition: &Partition,
    dataset: &Dataset,
    table: &Table,
    quarantine: Option<&Arc<Table>>,
) -> Result<Known, AppError> {
    let Source::Events { hub, consumer_group, .. } = &dataset.contract.source else {
        let takes = dataset.contract.source.takes();
        return Err(AppError::WrongSource { name: dataset.contract.name.clone(), takes, given: "events" });
    };
    let quarantine = quarantine.map(|quarantine| quarantine.producers(|id| partition.concerns(id)));
    let known =
        partition.known(consumer_group, &table.producers(|id| partition.concerns(id)), &quarantine.unwrap_or_default());
    known.map_err(|SeveralNamespaces| AppError::SeveralNamespaces { hub: hub.clone() })
}

/// The event as the host would have given it.
fn of_hub(event: HubEvent) -> Event {
    let is_encoded_wrongly = event.body.is_none();
    let mut given = Event::new(event.body.unwrap_or_default());
    given.body_encoding_error = is_encoded_wrongly;
    given.sequence_number = Some(event.sequence as i64);
    given.offset = Some(event.offset);
    given.enqueued_time = chrono::DateTime::from_timestamp_millis(event.enqueued_ms);
    given.partition_key = event.partition_key;
    given.properties = event.properties;
    given.system = SystemProperties::new(event.system);
    given
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
    let tables = runtime.in_force.tables(runtime, dataset).await?;
    let mut sink = Sink::open(tables, dataset, std::slice::from_ref(&source), Vec::new(), true).await?;
    if sink.after.is_some() {
        return Ok(Receipt::already(&dataset.contract.name, count));
    }
    let reason = || "the host gave no partition or no sequence number, or one that no event has".to_owned();
    let records: Vec<_> =
        (1..).zip(&batch.events).map(|(position, event)| (&*event.body, position, reason())).collect();
    let place = HubPlace { hub: hub.to_owned(), partition: batch.partition.clone().unwrap_or_default() };
    let metas: Vec<_> = batch.events.iter().map(|event| bodies::meta(&place, event.sequence_number, event)).collect();
    sink.take(dataset.transform.quarantine_events(&records, &metas, &lineage)?).await?;
    let bytes = bodies::bytes_of(&batch.events);
    sink.read(bytes);
    match sink.commit(i64::try_from(count).unwrap_or(i64::MAX), (0, bytes), None).await? {
        Settled::Done(receipt) => Ok(*receipt),
        Settled::Moved => Err(AppError::Moved { producer: source, attempts: 1 }),
    }
}
