//! Messages that failed until the host gave them up. Each is kept with the reason in one table of the lake,
//! `weir__parked`, until it has been tried again with success: nothing is ever dropped.
//!
//! A row is one message: `_source` is `<queue>/<id>`, where the id is a digest of queue and body, so that the same message
//! is parked once however often it comes; `_reasons` says why, `blob` and `etag` what it is about, `_raw` is the body.
//!
//! How many there are and their ids are known from the table's transaction ids. A listing reads a page of them, without the
//! bodies; the one that is tried again is read alone.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use azure_functions_custom_handler::{BlobEvent, QueueMessage};
use chrono::DateTime;
use polars::prelude::{
    BinaryChunked, DataFrame, IntoColumn, NamedFrom, PolarsResult, Series, StringChunked, TimeUnit, TimeZone,
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use weir_contract::{
    Contract, DataType, INGESTED_AT, NewColumns, RAW, REASONS, SOURCE, SOURCE_POSITION, SOURCE_VERSION, TableColumn,
};
use weir_lake::{
    Append, Books, CheckpointPolicy, FileEntry, LogCleanupOptions, Outcome as Committed, Producer, Replacement,
    SourceRows, Table, TableDefinition, VacuumOptions,
};

use super::blob::id_of as blob_id;
use super::{Done, work};
use crate::app::{App, Runtime, now_ms};
use crate::error::AppError;
use crate::signed::TaskKeys;
use crate::tasks::Task;

const TABLE: &str = "weir__parked";
/// The blob that a message is about, and its version: what a listing shows without reading a message.
const BLOB: &str = "blob";
const ETAG: &str = "etag";
/// What a page of a listing has at most.
pub(crate) const PAGE: usize = 100;
/// A message beyond these is not taken: it lies in its poison queue until it expires. The sweep finds its blob again.
const MAX_PARKED: usize = 10_000;
/// From so many on each further one is an alarm in the log.
const ALARM_AT: usize = 1_000;
/// Characters of a reason, and bytes of a blob's name (Azure has 1,024 characters), that are kept.
const MAX_REASON: usize = 1_000;
const MAX_BLOB_NAME: usize = 4_096;
const ATTEMPTS: u32 = 5;
/// Source version of a message that was checked when it was parked: it outlives the key that it was signed with.
const ACCEPTED: &str = "1";
/// Of one that failed that check. It is checked again whenever it is tried.
const DOUBTED: &str = "2";
/// Listings at a time, and files that each reads at a time: a file is one message, or a few that came together.
static LISTINGS: Semaphore = Semaphore::const_new(2);
const FILES_AT_A_TIME: usize = 8;
const CHECKPOINT: CheckpointPolicy = CheckpointPolicy { commits: 20, age: Duration::from_secs(3600) };
const CLEAN_EVERY: Duration = Duration::from_secs(6 * 3600);
const ORPHAN_AGE: Duration = Duration::from_secs(3 * 86_400);

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

/// One parked message, without its body.
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
    /// Whoever sent it may have made it up.
    pub(crate) doubted: bool,
}

/// Some parked messages, the oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    pub(crate) parked: Vec<Parked>,
    /// Of all pages.
    pub(crate) count: usize,
    /// Where the next page begins.
    pub(crate) next: Option<Cursor>,
}

/// The last message of a page: `<milliseconds>.<id>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cursor {
    at_ms: i64,
    id: String,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at_ms, self.id)
    }
}

impl FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('.').and_then(|(at, id)| Some((at.parse().ok()?, id)));
        let (at_ms, id) =
            parsed.ok_or("not a place in the list of parked messages; take `parkedNext` of the page before")?;
        Ok(Self { at_ms, id: id.to_owned() })
    }
}

impl Parked {
    fn cursor(&self) -> Cursor {
        Cursor { at_ms: self.parked_at_ms, id: self.id.clone() }
    }
}

fn definition() -> TableDefinition {
    let column = |name: &str| TableColumn { name: name.to_owned(), data_type: DataType::String, nullable: true };
    let mut columns = Contract::refused_columns();
    columns.extend([column(BLOB), column(ETAG)]);
    TableDefinition {
        name: TABLE.to_owned(),
        columns,
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
    let checked = check(&app.task_keys, queue, &message.body);
    let is_retry = matches!(checked, Ok(Work::Task(Task::Retry { .. })));
    let doubted = matches!(checked, Err(AppError::Unsigned { .. }));
    let reason = if doubted || message.dequeue_count.unwrap_or(1) <= 1 {
        match carry_out(app, checked, &message.body, message.id.as_deref()).await {
            Ok(done) => return Ok(done),
            Err(error) => error.to_string(),
        }
    } else {
        "the last attempt did not end: the process was stopped, or ran out of time or memory".to_owned()
    };
    if is_retry {
        // What it tried is parked still.
        return Ok(Done::said(&format!("stays parked: {reason}")));
    }
    let id = id_of(queue, &message.body);
    tracing::error!(parked = id, reason, "a message is parked; `weir parked` lists it");
    let version = if doubted { DOUBTED } else { ACCEPTED };
    let table = keep(app.runtime().await?, &id, &reason, &message.body, version).await?;
    let count = ids_of(&table).len();
    if count >= ALARM_AT {
        tracing::error!(
            parked_count = count,
            limit = MAX_PARKED,
            "many messages are parked, and no more than the limit are taken"
        );
    }
    tend(app, &table).await;
    Ok(Done::said(&format!("parked as {id}: {reason}")))
}

/// What a message asks for.
enum Work {
    BlobEvent,
    Task(Task),
}

fn check(keys: &TaskKeys, queue: Queue, body: &[u8]) -> Result<Work, AppError> {
    Ok(match queue {
        Queue::BlobEvents => Work::BlobEvent,
        Queue::Tasks => Work::Task(keys.open(body, now_ms())?),
    })
}

async fn carry_out(
    app: &App,
    work: Result<Work, AppError>,
    body: &[u8],
    message: Option<&str>,
) -> Result<Done, AppError> {
    match work? {
        Work::BlobEvent => work::blob_event(app, body, message).await,
        Work::Task(task) => Box::pin(work::task(app, task, message)).await,
    }
}

/// Keeps a task that cannot be carried out, before it was tried. Whoever finds it again keeps it once.
pub(crate) async fn park_task(runtime: &Runtime, task: &Task, reason: &str) -> Result<(), AppError> {
    let body = task.encode()?;
    let id = id_of(Queue::Tasks, body.as_bytes());
    tracing::error!(parked = id, reason, "a task is parked; `weir parked` lists it");
    keep(runtime, &id, reason, body.as_bytes(), ACCEPTED).await?;
    Ok(())
}

/// Whether it looks like the id of a parked message.
pub(crate) fn is_id(text: &str) -> bool {
    let digest = text.split_once('/').map_or("", |(_, digest)| digest);
    Queue::of(text).is_some() && digest.len() == 24 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A parked message's transaction id has an odd version, one that is parked no longer an even one.
fn is_parked(version: Option<i64>) -> bool {
    version.is_some_and(|version| version % 2 == 1)
}

/// Ids of what is parked, as this process knows the table.
fn ids_of(table: &Table) -> Vec<String> {
    let known = table.producers(|id| Queue::of(id).is_some()).into_iter();
    known.filter(|(_, version)| is_parked(Some(*version))).map(|(id, _)| id).collect()
}

async fn keep(runtime: &Runtime, id: &str, reason: &str, body: &[u8], version: &str) -> Result<Arc<Table>, AppError> {
    let table = runtime.lake.table(&definition()).await?;
    for _ in 0..ATTEMPTS {
        table.refresh().await?;
        let at = table.committed(id);
        if is_parked(at) {
            table.look().await?;
            return Ok(table);
        }
        if ids_of(&table).len() >= MAX_PARKED {
            return Err(AppError::ParkedFull { limit: MAX_PARKED });
        }
        let row = row(id, reason, body, version).map_err(|error| AppError::Transform(error.into()))?;
        let rows = table.stage(row).await?;
        let producer = Producer { id: id.to_owned(), version: at.unwrap_or(0) + 1, expires: false };
        let books = Books { records_in: 1, committed: 1, ..Books::default() };
        if let Committed::Committed { .. } = table.append(Append { producer, rows, books }, at).await? {
            return Ok(table);
        }
    }
    Err(AppError::Moved { producer: id.to_owned(), attempts: ATTEMPTS })
}

fn row(id: &str, reason: &str, body: &[u8], version: &str) -> PolarsResult<DataFrame> {
    let (blob, etag) = blob_of(id, body).filter(|(blob, _)| blob.len() <= MAX_BLOB_NAME).unzip();
    let etag = etag.flatten().filter(|etag| etag.len() <= MAX_BLOB_NAME);
    let reason: String = reason.chars().take(MAX_REASON).collect();
    let reasons = serde_json::Value::from(vec![reason]).to_string();
    let text = |name: &str, value: Option<&str>| StringChunked::new(name.into(), [value]).into_column();
    let at_us = Series::new(INGESTED_AT.into(), [now_ms().saturating_mul(1000)]);
    let at = at_us.i64()?.clone().into_datetime(TimeUnit::Microseconds, Some(TimeZone::UTC));
    DataFrame::new(
        1,
        vec![
            text(SOURCE, Some(id)),
            text(SOURCE_VERSION, Some(version)),
            Series::new(SOURCE_POSITION.into(), [1_i64]).into_column(),
            at.into_column(),
            text(REASONS, Some(&reasons)),
            BinaryChunked::new(RAW.into(), [body]).into_column(),
            text(BLOB, blob.as_deref()),
            text(ETAG, etag.as_deref()),
        ],
    )
}

/// Keeps the table quick to open. What fails is tried again with the next message.
async fn tend(app: &App, table: &Arc<Table>) {
    let longest_invocation = crate::app::deadline(&app.settings) * 2;
    let options =
        VacuumOptions { orphan_age: ORPHAN_AGE.max(longest_invocation * 2), longest_invocation, dry_run: false };
    let tended = async {
        table.checkpoint_if_due(CHECKPOINT).await?;
        if table.vacuum_if_due(CLEAN_EVERY, options).await?.is_some() {
            table.clean_log(LogCleanupOptions { keep_from: None }).await?;
        }
        Ok::<_, weir_lake::LakeError>(())
    };
    if let Err(error) = tended.await {
        tracing::warn!(%error, "the table of parked messages is not tidied");
    }
}

/// Ids of all parked messages; no file is read for it.
pub(crate) async fn ids(runtime: &Runtime) -> Result<Vec<String>, AppError> {
    let Some(table) = runtime.lake.existing(&definition()).await? else { return Ok(Vec::new()) };
    table.refresh().await?;
    Ok(ids_of(&table))
}

/// At most [`PAGE`] parked messages, from the oldest on or `after` the last of another page.
pub(crate) async fn page(runtime: &Runtime, after: Option<&Cursor>) -> Result<Page, AppError> {
    // Never closed: an error cannot be.
    let _one_of_few = LISTINGS.acquire().await.ok();
    let Some(table) = runtime.lake.existing(&definition()).await? else { return Ok(Page::default()) };
    let mut files: Vec<_> = table.snapshot().await?.files.into_iter().map(|file| (times(&file), file)).collect();
    let count = ids_of(&table).len();
    files.retain(|((_, newest), _)| after.is_none_or(|after| *newest >= after.at_ms));
    files.sort_by_key(|((oldest, _), _)| *oldest);
    let mut found: Vec<Parked> = Vec::new();
    for files in files.chunks(FILES_AT_A_TIME) {
        // All that is left is younger than a full page.
        let oldest = files.first().map_or(i64::MAX, |((oldest, _), _)| *oldest);
        if found.len() > PAGE && found.get(PAGE).is_some_and(|parked| parked.parked_at_ms < oldest) {
            break;
        }
        for parked in read(&table, files.iter().map(|(_, file)| file)).await? {
            if after.is_none_or(|after| parked.cursor() > *after) {
                found.push(parked);
            }
        }
        found.sort_by(|left, right| (left.parked_at_ms, &left.id).cmp(&(right.parked_at_ms, &right.id)));
        found.truncate(PAGE + 1);
    }
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let next = found.last().filter(|_| more).map(Parked::cursor);
    Ok(Page { parked: found, count, next })
}

/// Blobs, with their version if that is known, that parked messages are about; not those that somebody made up, perhaps.
pub(crate) async fn blobs(runtime: &Runtime) -> Result<Vec<(String, Option<String>)>, AppError> {
    let _one_of_few = LISTINGS.acquire().await.ok();
    let Some(table) = runtime.lake.existing(&definition()).await? else { return Ok(Vec::new()) };
    let files = table.snapshot().await?.files;
    let mut blobs = Vec::new();
    for files in files.chunks(FILES_AT_A_TIME) {
        let parked = read(&table, files).await?.into_iter().filter(|parked| !parked.doubted);
        blobs.extend(parked.filter_map(|parked| Some((parked.blob?, parked.etag))));
    }
    Ok(blobs)
}

/// When the first and the last message of a file were parked, by its statistics, which are cut to milliseconds; what is
/// not known may be any time.
fn times(file: &FileEntry) -> (i64, i64) {
    let stats: serde_json::Value =
        file.stats.as_deref().and_then(|stats| serde_json::from_str(stats).ok()).unwrap_or_default();
    let time = |bound: &str| {
        let text = stats.get(bound)?.get(INGESTED_AT)?.as_str()?;
        DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis())
    };
    (time("minValues").unwrap_or(i64::MIN), time("maxValues").map_or(i64::MAX, |time| time.saturating_add(1)))
}

/// The messages of some files, which are read at the same time, without their bodies.
async fn read<'f>(table: &Table, files: impl IntoIterator<Item = &'f FileEntry>) -> Result<Vec<Parked>, AppError> {
    const COLUMNS: [&str; 6] = [SOURCE, SOURCE_VERSION, INGESTED_AT, REASONS, BLOB, ETAG];
    let reads = files.into_iter().map(|file| table.read_columns(file, &COLUMNS));
    let mut parked = Vec::new();
    for frame in futures::future::try_join_all(reads).await? {
        parked.extend(rows(&frame).map_err(|error| AppError::Transform(error.into()))?);
    }
    Ok(parked)
}

fn rows(frame: &DataFrame) -> PolarsResult<Vec<Parked>> {
    let (ids, reasons) = (frame.column(SOURCE)?.str()?, frame.column(REASONS)?.str()?);
    let times = frame.column(INGESTED_AT)?.datetime()?.physical();
    let text = |name: &str, row: usize| {
        let values = frame.column(name).ok()?.str().ok()?;
        values.get(row).map(str::to_owned)
    };
    let parked = |row: usize| {
        let reasons: Vec<String> = serde_json::from_str(reasons.get(row)?).unwrap_or_default();
        Some(Parked {
            id: ids.get(row)?.to_owned(),
            blob: text(BLOB, row),
            etag: text(ETAG, row),
            reason: reasons.join("; ").chars().take(MAX_REASON).collect(),
            parked_at_ms: times.get(row)? / 1000,
            doubted: text(SOURCE_VERSION, row).as_deref() == Some(DOUBTED),
        })
    };
    Ok((0..frame.height()).filter_map(parked).collect())
}

fn blob_of(id: &str, body: &[u8]) -> Option<(String, Option<String>)> {
    match Queue::of(id)? {
        // To be shown: whoever signed it.
        Queue::Tasks => TaskKeys::default().open(body, 0).ok()?.blob(),
        Queue::BlobEvents => {
            let event = BlobEvent::parse(body).ok()?;
            Some((blob_id(&event.container, &event.path), event.etag))
        }
    }
}

/// The body of one parked message, and whether it is doubted: only files that may hold it are read.
async fn body(table: &Table, id: &str) -> Result<Option<(Vec<u8>, bool)>, AppError> {
    let wanted = SourceRows { sources: &[id.to_owned()], positions: 0..=i64::MAX, since_us: None };
    let mut found = None;
    let each = |rows: DataFrame| {
        let doubted = rows.column(SOURCE_VERSION)?.str()?.get(0) == Some(DOUBTED);
        found = rows.column(RAW)?.binary()?.get(0).map(|body| (body.to_vec(), doubted));
        Ok(std::ops::ControlFlow::Break(()))
    };
    table.rows_of(wanted, &[RAW, SOURCE_VERSION], each).await?;
    Ok(found)
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
    let Some((body, doubted)) = body(&table, id).await? else { return Ok(Done::said("it is not parked (any more)")) };
    let queue = Queue::of(id).ok_or_else(|| AppError::Task { message: "the parked id names no queue".to_owned() })?;
    // What was checked when it was parked has outlived its key, perhaps.
    let any = TaskKeys::default();
    let checked = check(if doubted { &app.task_keys } else { &any }, queue, &body);
    let mut done = carry_out(app, checked, &body, message).await?;
    if done.tasks.is_empty() {
        release(&table, id).await?;
    } else {
        done.tasks.push(Task::Retry { parked: id.to_owned(), handed_on: true });
    }
    Ok(done)
}

/// Takes a parked message off the list without trying it. False: it is not parked.
pub(crate) async fn discard(runtime: &Runtime, id: &str) -> Result<bool, AppError> {
    let Some(table) = runtime.lake.existing(&definition()).await? else { return Ok(false) };
    table.refresh().await?;
    let parked = is_parked(table.committed(id));
    if parked {
        release(&table, id).await?;
    }
    Ok(parked)
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
