//! Messages that failed until the host gave them up. Each is kept with the reason in one table of the lake,
//! `weir__parked`, until it has been tried again with success: nothing is ever dropped.
//!
//! A row is one message: `_source` is `<queue>/<id>`, where the id is a digest of queue and body, so that the same message
//! is parked once however often it comes; `_reasons` says why, `_raw` is the body.

use std::sync::Arc;

use azure_functions_custom_handler::{BlobEvent, QueueMessage};
use polars::prelude::DataFrame;
use serde::Serialize;
use sha2::{Digest, Sha256};
use weir_contract::{Contract, INGESTED_AT, NewColumns, RAW, REASONS, SOURCE};
use weir_lake::{Append, Books, Outcome as Committed, Producer, Replacement, Table, TableDefinition};
use weir_transform::Lineage;

use super::{Done, work};
use crate::app::{App, Runtime, now_ms};
use crate::error::AppError;
use crate::tasks::Task;

const TABLE: &str = "weir__parked";
/// What a listing shows at most.
pub(crate) const MAX_LISTED: usize = 1_000;
const ATTEMPTS: u32 = 5;

/// The queue that a message failed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Queue {
    BlobEvents,
    Tasks,
}

impl Queue {
    fn name(self) -> &'static str {
        match self {
            Self::BlobEvents => "blob-events",
            Self::Tasks => "tasks",
        }
    }

    fn of(id: &str) -> Option<Self> {
        let queue = id.split_once('/')?.0;
        [Self::BlobEvents, Self::Tasks].into_iter().find(|known| known.name() == queue)
    }
}

/// One parked message.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Parked {
    /// For [`retry`].
    pub(crate) id: String,
    /// The blob that it is about, if that could be read.
    pub(crate) blob: Option<String>,
    pub(crate) etag: Option<String>,
    pub(crate) reason: String,
    pub(crate) parked_at_ms: i64,
    #[serde(skip)]
    body: Vec<u8>,
}

fn definition() -> TableDefinition {
    TableDefinition {
        name: TABLE.to_owned(),
        columns: Contract::quarantine_columns(),
        partition_by: Vec::new(),
        cluster_by: Vec::new(),
        properties: Vec::new(),
        new_columns: NewColumns::Add,
        added_columns: None,
        transactions: Vec::new(),
    }
}

fn id_of(queue: Queue, body: &[u8]) -> String {
    let digest = Sha256::new().chain_update(queue.name()).chain_update([0]).chain_update(body).finalize();
    format!("{}/{}", queue.name(), data_encoding::HEXLOWER.encode(&digest[..12]))
}

/// Keeps a message that failed. The first delivery tries it once more: either it succeeds, or it says why not.
pub(crate) async fn park(app: &App, queue: Queue, message: &QueueMessage) -> Result<Done, AppError> {
    let reason = if message.dequeue_count.unwrap_or(1) <= 1 {
        match carry_out(app, queue, &message.body, message.id.as_deref()).await {
            Ok(done) => return Ok(done),
            Err(error) => error.to_string(),
        }
    } else {
        "the last attempt did not end: the process was stopped, or ran out of time or memory".to_owned()
    };
    if matches!((queue, Task::decode(&message.body)), (Queue::Tasks, Ok(Task::Retry { .. }))) {
        // What it tried is parked still.
        return Ok(Done::said(&format!("stays parked: {reason}")));
    }
    let id = id_of(queue, &message.body);
    tracing::error!(parked = id, reason, "a message is parked; `weir parked` lists it");
    keep(app.runtime().await?, &id, &reason, &message.body).await?;
    Ok(Done::said(&format!("parked as {id}: {reason}")))
}

async fn carry_out(app: &App, queue: Queue, body: &[u8], message: Option<&str>) -> Result<Done, AppError> {
    match queue {
        Queue::BlobEvents => work::blob_event(app, body, message).await,
        Queue::Tasks => Box::pin(work::task(app, Task::decode(body)?, message)).await,
    }
}

/// A parked message's transaction id has an odd version, one that is parked no longer an even one.
fn is_parked(version: Option<i64>) -> bool {
    version.is_some_and(|version| version % 2 == 1)
}

async fn keep(runtime: &Runtime, id: &str, reason: &str, body: &[u8]) -> Result<(), AppError> {
    let table = runtime.lake.table(&definition()).await?;
    for _ in 0..ATTEMPTS {
        table.refresh().await?;
        let at = table.committed(id);
        if is_parked(at) {
            return Ok(());
        }
        let rows = table.stage(row(runtime, id, reason, body)?).await?;
        let producer = Producer { id: id.to_owned(), version: at.unwrap_or(0) + 1, expires: false };
        let books = Books { records_in: 1, committed: 1, ..Books::default() };
        if let Committed::Committed { .. } = table.append(Append { producer, rows, books }, at).await? {
            return Ok(());
        }
    }
    Err(AppError::Moved { producer: id.to_owned(), attempts: ATTEMPTS })
}

fn row(runtime: &Runtime, id: &str, reason: &str, body: &[u8]) -> Result<DataFrame, AppError> {
    // Every quarantine has the same columns, whose ever it is.
    let datasets = runtime.datasets();
    let any = datasets.first().ok_or_else(|| AppError::UnknownDataset { name: TABLE.to_owned() })?;
    let lineage = Lineage {
        source: id.to_owned(),
        source_version: "1".to_owned(),
        ingested_at_us: now_ms().saturating_mul(1000),
    };
    Ok(any.transform.quarantine_records(&[(body, 1, reason.to_owned())], &lineage)?.quarantined)
}

/// All parked messages, oldest first.
pub(crate) async fn list(runtime: &Runtime) -> Result<Vec<Parked>, AppError> {
    let Some(table) = runtime.lake.existing(&definition()).await? else { return Ok(Vec::new()) };
    let mut parked = Vec::new();
    for file in table.snapshot().await?.files {
        let frame = table.read(&file).await?;
        parked.extend(read(&frame).map_err(|error| AppError::Transform(error.into()))?);
    }
    parked.sort_by(|left, right| (left.parked_at_ms, &left.id).cmp(&(right.parked_at_ms, &right.id)));
    Ok(parked)
}

fn read(frame: &DataFrame) -> polars::prelude::PolarsResult<Vec<Parked>> {
    let (ids, reasons, bodies) =
        (frame.column(SOURCE)?.str()?, frame.column(REASONS)?.str()?, frame.column(RAW)?.binary()?);
    let times = frame.column(INGESTED_AT)?.datetime()?.physical();
    let parked = |row: usize| {
        let (id, body) = (ids.get(row)?.to_owned(), bodies.get(row)?.to_vec());
        let reasons: Vec<String> = serde_json::from_str(reasons.get(row)?).unwrap_or_default();
        let (blob, etag) = blob_of(&id, &body).unzip();
        let parked_at_ms = times.get(row)? / 1000;
        Some(Parked { id, blob, etag: etag.flatten(), reason: reasons.join("; "), parked_at_ms, body })
    };
    Ok((0..frame.height()).filter_map(parked).collect())
}

fn blob_of(id: &str, body: &[u8]) -> Option<(String, Option<String>)> {
    match Queue::of(id)? {
        Queue::Tasks => Task::decode(body).ok()?.blob(),
        Queue::BlobEvents => {
            let event = BlobEvent::parse(body).ok()?;
            Some((format!("blob:{}/{}", event.container, event.path), event.etag))
        }
    }
}

/// Tries a parked message once more. It is parked until it has succeeded and all that it handed on is in the queue.
pub(crate) async fn retry(app: &App, id: &str, handed_on: bool, message: Option<&str>) -> Result<Done, AppError> {
    let runtime = app.runtime().await?;
    let Some(table) = runtime.lake.existing(&definition()).await? else { return Ok(Done::said("nothing is parked")) };
    table.refresh().await?;
    if !is_parked(table.committed(id)) {
        return Ok(Done::said("it is not parked (any more)"));
    }
    if handed_on {
        release(&table, id).await?;
        return Ok(Done::said("released"));
    }
    let Some(parked) = list(runtime).await?.into_iter().find(|parked| parked.id == id) else {
        return Ok(Done::said("it is not parked (any more)"));
    };
    let queue = Queue::of(id).ok_or_else(|| AppError::Task { message: "the parked id names no queue".to_owned() })?;
    let mut done = carry_out(app, queue, &parked.body, message).await?;
    if done.tasks.is_empty() {
        release(&table, id).await?;
    } else {
        done.tasks.push(Task::Retry { parked: id.to_owned(), handed_on: true });
    }
    Ok(done)
}

async fn release(table: &Arc<Table>, id: &str) -> Result<(), AppError> {
    let at = table.committed(id);
    let producer = Producer { id: id.to_owned(), version: at.unwrap_or(0) + 1, expires: false };
    let rows = table.listed([])?;
    let replacement = Replacement { source: id.to_owned(), positions: None, producer, rows, books: Books::default() };
    // Moved: somebody else has released it.
    table.replace_source_after(replacement, at, Vec::new()).await?;
    Ok(())
}
