//! A batch of one Event Hub partition, into its dataset.
//!
//! The producer is the partition as this consumer group reads it; its version is the last sequence number committed.
//! Events at or below it are dropped before anything is written. The host gives batches again after a crash, after a
//! failure and when a partition changes its owner: all of them end here.

use std::sync::Arc;

use azure_functions_custom_handler::{Event, EventBatch};
use sha2::{Digest, Sha256};
use weir_transform::Lineage;

use super::sink::{Settled, Sink};
use super::{Receipt, compute};
use crate::app::{App, Dataset, Runtime};
use crate::error::AppError;

/// Deliveries of one partition that may get in between before the host is asked to try again.
const ATTEMPTS: u32 = 5;
/// Events never change, so every event's source version is the same.
const EVENT_VERSION: &str = "1";

pub(crate) async fn ingest(app: &App, dataset: &str, batch: EventBatch) -> Result<Receipt, AppError> {
    let runtime = app.runtime().await?;
    let dataset = Arc::clone(runtime.dataset(dataset)?);
    let bytes: usize = batch.events.iter().map(|event| event.body.len()).sum();
    // The bodies are in memory already; what is asked for is what their frames and files will take.
    let _permit = runtime.budget.take(4 * bytes as u64).await;
    if batch.events.is_empty() {
        return Ok(Receipt::already(&dataset.contract.name, 0));
    }
    match Partition::of(&batch) {
        Some(partition) => ingest_partition(runtime, &dataset, partition, batch.events).await,
        None => quarantine_unplaced(runtime, &dataset, &batch).await,
    }
}

struct Partition {
    source: String,
    positions: Vec<i64>,
}

impl Partition {
    /// `None` when the host left out what makes an event's place: it can then not be told from others.
    fn of(batch: &EventBatch) -> Option<Self> {
        let EventBatch { namespace, hub, consumer_group, partition, events, .. } = batch;
        let positions = events.iter().map(|event| event.sequence_number).collect::<Option<_>>()?;
        let namespace = namespace.as_deref()?;
        let namespace = namespace.split_once('.').map_or(namespace, |(name, _)| name);
        let (hub, group, partition) = (hub.as_deref()?, consumer_group.as_deref()?, partition.as_deref()?);
        Some(Self { source: format!("eventhub:{namespace}/{hub}/{group}/{partition}"), positions })
    }
}

async fn ingest_partition(
    runtime: &Runtime,
    dataset: &Arc<Dataset>,
    Partition { source, positions }: Partition,
    events: Vec<Event>,
) -> Result<Receipt, AppError> {
    let name = &dataset.contract.name;
    let mut placed: Vec<_> = positions.into_iter().zip(events).collect();
    let delivered = placed.len();
    placed.sort_by_key(|(position, _)| *position);
    placed.dedup_by_key(|(position, _)| *position);
    for _ in 0..ATTEMPTS {
        let lineage = Lineage {
            source: source.clone(),
            source_version: EVENT_VERSION.to_owned(),
            ingested_at_us: chrono::Utc::now().timestamp_micros(),
        };
        let mut sink = Sink::open(runtime, dataset, source.clone(), false, &lineage).await?;
        placed.retain(|(position, _)| sink.after.is_none_or(|after| *position > after));
        let already = (delivered - placed.len()) as u64;
        let Some((last, _)) = placed.last() else { return Ok(Receipt::already(name, already)) };
        let last = *last;
        placed = transform(dataset, placed, lineage, &mut sink).await?;
        match sink.commit(last, already).await? {
            Settled::Done(receipt) => return Ok(receipt),
            Settled::Moved => tracing::info!(source, "another delivery of this partition got in between"),
        }
    }
    Err(AppError::Moved { producer: source, attempts: ATTEMPTS })
}

type Placed = Vec<(i64, Event)>;

/// Gives the events back, for another attempt.
async fn transform(
    dataset: &Arc<Dataset>,
    placed: Placed,
    lineage: Lineage,
    sink: &mut Sink<'_>,
) -> Result<Placed, AppError> {
    let dataset = Arc::clone(dataset);
    let (placed, outputs) = compute(move || {
        let outputs = transform_placed(&dataset, &placed, &lineage);
        (placed, outputs)
    })
    .await?;
    for output in outputs? {
        sink.take(output).await?;
    }
    Ok(placed)
}

fn transform_placed(
    dataset: &Dataset,
    placed: &[(i64, Event)],
    lineage: &Lineage,
) -> Result<Vec<weir_transform::Output>, weir_transform::TransformError> {
    let (garbled, sound): (Vec<_>, Vec<_>) = placed.iter().partition(|(_, event)| event.body_encoding_error);
    let bodies: Vec<&[u8]> = sound.iter().map(|(_, event)| &*event.body).collect();
    let positions: Vec<i64> = sound.iter().map(|(position, _)| *position).collect();
    let mut output = dataset.transform.events(&bodies, &positions, lineage)?;
    if let Some(rule) = &output.held_back {
        output = dataset.transform.hold_back(rule).events(&bodies, &positions, lineage)?;
    }
    let mut outputs = vec![output];
    if !garbled.is_empty() {
        let reason = || "the body is not base64".to_owned();
        let records: Vec<_> = garbled.iter().map(|(position, event)| (&*event.body, *position, reason())).collect();
        outputs.push(dataset.transform.quarantine_records(&records, lineage)?);
    }
    Ok(outputs)
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
    let reason = || "the host gave no partition or sequence number".to_owned();
    let records: Vec<_> =
        (1..).zip(&batch.events).map(|(position, event)| (&*event.body, position, reason())).collect();
    sink.take(dataset.transform.quarantine_records(&records, &lineage)?).await?;
    match sink.commit(i64::try_from(count).unwrap_or(i64::MAX), 0).await? {
        Settled::Done(receipt) => Ok(receipt),
        Settled::Moved => Err(AppError::Moved { producer: source, attempts: 1 }),
    }
}
