//! Events of one partition, read from the hub again and put in place of what they gave, in both tables.
//!
//! It stays at or below what ingestion has committed, so the two never meet. Rows go only where their events are there
//! again: what has expired in the hub keeps its rows, and so does what is of a hub that was there before. Replays of one partition go one after the other: each commit is
//! made on condition that no other replay has come in since both tables were looked at.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weir_contract::Source;
use weir_intake::hub::{HubEvent, HubRange};
use weir_lake::{Books, Outcome as Committed, Producer, Replacements, Staged, Table, TableWriter};
use weir_transform::{Lineage, QualityReport};

use super::identity::{Known, Partition};
use super::window::{Selection, Window};
use super::{EVENT_VERSION, dedupe, known_to, of_hub};
use crate::app::{App, Dataset, Runtime};
use crate::error::AppError;
use crate::hubs::Hubs;
use crate::pipeline::bodies::{Bodies, HubPlace, Time, bytes_of};
use crate::pipeline::events::GapReport;
use crate::pipeline::{Done, Outcome, Receipt, frequent};
use crate::tasks::Task;

const ATTEMPTS: u32 = 5;
/// Events of one commit; the rest is handed on.
const MOST_EVENTS: u64 = 500_000;
/// What the writers of two tables take, beside what is read.
const FOOTPRINT_BYTES: u64 = 256 * 1024 * 1024;

/// What a request comes to.
pub(crate) struct Asked {
    /// One for each partition that has something of what is asked for. At least one.
    pub(crate) tasks: Vec<Task>,
    /// Why there is none for the others.
    pub(crate) left_out: Vec<String>,
}

/// Of the partition that is asked for, or of all that the hub has.
///
/// # Errors
/// [`AppError::NothingToReplay`] when no partition has any of it.
pub(crate) async fn tasks(
    app: &App,
    dataset: &str,
    partition: Option<u32>,
    window: Window,
    request: &str,
) -> Result<Asked, AppError> {
    let runtime = app.runtime().await?;
    let dataset = runtime.dataset(dataset)?;
    let contract = &dataset.contract;
    let Source::Events { hub, .. } = &contract.source else {
        return Err(AppError::WrongSource {
            name: contract.name.clone(),
            takes: contract.source.takes(),
            given: "events",
        });
    };
    if window.from.is_some_and(|from| from < 0) || window.from > window.to.or(Some(i64::MAX)) {
        return Err(AppError::Request { message: "`from` has to be 0 or more and not above `to`".to_owned() });
    }
    if window.since_ms.is_some() && window.until_ms.is_some_and(|until| Some(until) <= window.since_ms) {
        return Err(AppError::Request { message: "`since` has to be before `until`".to_owned() });
    }
    let hubs = runtime.hubs.as_ref().ok_or(AppError::NoHub)?;
    let mut partitions = hubs.partitions(hub).await?;
    partitions.retain(|id| partition.is_none_or(|partition| partition == *id));
    if partitions.is_empty() {
        return Err(AppError::NothingToReplay { why: format!("the hub `{hub}` has no such partition") });
    }
    let Some(table) = runtime.lake.existing(&dataset.table).await? else {
        return Err(AppError::NothingToReplay { why: format!("`{}` has no table yet", contract.name) });
    };
    table.refresh().await?;
    let mut asked = Asked { tasks: Vec::new(), left_out: Vec::new() };
    for partition in partitions {
        match nothing_in(dataset, &table, hubs, (hub, partition), window).await? {
            Some(why) => asked.left_out.push(format!("partition {partition}: {why}")),
            None => asked.tasks.push(Task::Replay {
                dataset: contract.name.clone(),
                partition,
                window,
                request: request.to_owned(),
            }),
        }
    }
    if asked.tasks.is_empty() {
        return Err(AppError::NothingToReplay { why: asked.left_out.join("; ") });
    }
    Ok(asked)
}

/// Why there is nothing to do in a partition, if so.
async fn nothing_in(
    dataset: &Dataset,
    table: &Table,
    hubs: &Hubs,
    (hub, partition): (&str, u32),
    window: Window,
) -> Result<Option<String>, AppError> {
    let known = known_to(&partition_of(dataset, hubs, partition), dataset, table, None)?;
    let Some(committed) = known.committed() else {
        return Ok(Some("no event of it was ever committed".to_owned()));
    };
    let to = window.to.unwrap_or(i64::MAX).min(committed);
    if window.from.is_some_and(|from| from > to) {
        return Ok(Some(format!(
            "its events are committed up to {committed}, and later ones are not there to be replaced"
        )));
    }
    let range = match (window.since_ms, window.until_ms) {
        (None, None) => HubRange::Sequences(window.from.unwrap_or(0).max(0) as u64..=to.max(0) as u64),
        (since, until) => HubRange::Enqueued(since.unwrap_or(0)..until.unwrap_or(i64::MAX)),
    };
    let (begin, end, any) = hubs.probe(hub, partition, range).await?;
    Ok(match any {
        _ if begin >= end => Some("the hub has no events of it any more".to_owned()),
        Some(first) if first as i64 <= to => None,
        _ => Some(format!(
            "none of what is asked for is in the hub, which has events {begin} to {}, and is committed (up to {committed})",
            end - 1
        )),
    })
}

/// Replays some of a partition and hands on the rest. The same request is carried out once.
pub(crate) async fn replay(
    app: &App,
    dataset: &str,
    partition: u32,
    window: Window,
    request: &str,
) -> Result<Done, AppError> {
    let runtime = app.runtime().await?;
    let dataset = runtime.dataset(dataset)?;
    let name = &dataset.contract.name;
    let Source::Events { hub, .. } = &dataset.contract.source else {
        let takes = dataset.contract.source.takes();
        return Err(AppError::WrongSource { name: name.clone(), takes, given: "events" });
    };
    let hubs = runtime.hubs.as_ref().ok_or(AppError::NoHub)?;
    let until = Instant::now() + crate::app::deadline(&app.settings) / 2;
    let _permit = runtime.budget.take(FOOTPRINT_BYTES).await;
    for _ in 0..ATTEMPTS {
        let Some(claim) = Claim::take(runtime, dataset, hubs, partition, request).await? else {
            return Done::of(Receipt::nothing(name, Outcome::Nothing));
        };
        let Some(window) = claim.left(window) else {
            return Done::of(Receipt::nothing(name, Outcome::AlreadyCommitted));
        };
        let round = Round::read(&claim, hubs, (hub, partition), window, until).await?;
        let rest = round.rest;
        let Some(receipt) = claim.publish(round).await? else {
            tracing::info!(source = claim.source, "another replay of this partition got in between");
            continue;
        };
        let rest = rest.map(|rest| Task::Replay {
            dataset: name.clone(),
            partition,
            window: Window { from: Some(rest), ..window },
            request: request.to_owned(),
        });
        return Ok(Done::of(receipt)?.with(rest.into_iter().collect()));
    }
    Err(AppError::Moved { producer: format!("replay of partition {partition} of {hub}"), attempts: ATTEMPTS })
}

/// Where both tables stand, before the hub is read.
struct Claim<'a> {
    runtime: &'a Runtime,
    dataset: &'a Arc<Dataset>,
    known: Known,
    partition: Partition,
    /// Of new rows.
    source: String,
    /// The last event that ingestion has committed.
    committed: i64,
    table: Arc<Table>,
    table_at: Option<i64>,
    quarantine: Option<Arc<Table>>,
    quarantine_at: Option<i64>,
    request: String,
}

impl<'a> Claim<'a> {
    /// `None`: nothing of the partition was ever committed.
    async fn take(
        runtime: &'a Runtime,
        dataset: &'a Arc<Dataset>,
        hubs: &Hubs,
        partition: u32,
        request: &str,
    ) -> Result<Option<Self>, AppError> {
        let table = runtime.lake.table(&dataset.table).await?;
        table.refresh().await?;
        let quarantine = runtime.lake.existing(&dataset.quarantine).await?;
        if let Some(quarantine) = &quarantine {
            quarantine.refresh().await?;
        }
        let partition = partition_of(dataset, hubs, partition);
        let known = known_to(&partition, dataset, &table, quarantine.as_ref())?;
        let Some(committed) = known.committed() else { return Ok(None) };
        let source = known.source.clone();
        let id = producer_id(&source);
        Ok(Some(Self {
            table_at: table.committed(&id),
            quarantine_at: quarantine.as_ref().and_then(|quarantine| quarantine.committed(&id)),
            request: format!("replay:{request}:{source}"),
            runtime,
            dataset,
            known,
            partition,
            source,
            committed,
            table,
            quarantine,
        }))
    }

    /// What of a window is to be read, for this request.
    fn left(&self, window: Window) -> Option<Window> {
        let done = self.table.committed(&self.request);
        let from = window.from.max(done.map(|done| done.saturating_add(1)));
        let to = window.to.unwrap_or(i64::MAX).min(self.committed);
        (from.unwrap_or(0) <= to).then_some(Window { from, to: Some(to), ..window })
    }

    /// `None` when another replay came in between. Quarantine first, the table last, as ingestion does.
    async fn publish(&self, round: Round) -> Result<Option<Receipt>, AppError> {
        let Round { clean, refused, events, records, bytes, duplicates, report, cover, expired, strangers, .. } = round;
        let name = &self.dataset.contract.name;
        let gap = (expired > 0).then_some(GapReport { missing: expired, healed: 0, lost: expired });
        let Some(cover) = cover else {
            self.table.discard(clean).await;
            return Ok(Some(Receipt { gap, ..Receipt::nothing(name, Outcome::Nothing) }));
        };
        let (committed, quarantined) = (clean.rows(), refused.rows());
        if !self.publish_refused(refused, cover.clone(), &strangers).await? {
            self.table.discard(clean).await;
            return Ok(None);
        }
        let books = Books {
            records_in: records,
            committed,
            quarantined,
            already_committed: records - committed - quarantined,
            left_out: report.left_out,
            ..Books::default()
        };
        let books = books.of_bytes(bytes.0, Some(bytes.1));
        let request = Producer { id: self.request.clone(), version: *cover.end(), expires: true };
        let raises = vec![request];
        let replacements = Replacements { raises, ..self.replacements(clean, cover, books, self.table_at, &strangers) };
        let outcome = self.table.replace_sources(replacements).await?;
        let Committed::Committed { version } = outcome else { return Ok(None) };
        tracing::info!(source = self.source, events, "replayed");
        let QualityReport { rules, reasons, left_out, .. } = report;
        let reasons = frequent(reasons);
        let receipt = Receipt::nothing(name, Outcome::Committed);
        Ok(Some(Receipt { books, version: Some(version), rules, reasons, left_out, duplicates, gap, ..receipt }))
    }

    async fn publish_refused(
        &self,
        refused: Staged,
        cover: RangeInclusive<i64>,
        strangers: &BTreeSet<String>,
    ) -> Result<bool, AppError> {
        let quarantine = match &self.quarantine {
            Some(quarantine) => Arc::clone(quarantine),
            None if refused.rows() == 0 => return Ok(true),
            None => self.runtime.lake.table(&self.dataset.quarantine).await?,
        };
        self.table.refresh().await?;
        if self.table.committed(&producer_id(&self.source)) != self.table_at {
            quarantine.discard(refused).await;
            return Ok(false);
        }
        let rows = refused.rows();
        let books = Books { records_in: rows, committed: rows, ..Books::default() };
        let replacements = self.replacements(refused, cover, books, self.quarantine_at, strangers);
        let outcome = quarantine.replace_sources(replacements).await?;
        Ok(matches!(outcome, Committed::Committed { .. }))
    }

    /// In place of the rows of all names but those of strangers.
    fn replacements(
        &self,
        rows: Staged,
        cover: RangeInclusive<i64>,
        books: Books,
        after: Option<i64>,
        strangers: &BTreeSet<String>,
    ) -> Replacements {
        let producer = Producer {
            id: producer_id(&self.source),
            version: after.map_or(1, |at| at.saturating_add(1)),
            expires: false,
        };
        let mut sources = self.known.sources();
        sources.retain(|source| !strangers.contains(source));
        Replacements { sources, positions: Some(cover), producer, after, raises: Vec::new(), rows, books }
    }

    /// Names under which the table has events of a hub that was there before, as the times of these tell. The events
    /// cannot be those that the table goes on with: then nothing may be replaced.
    fn strangers(&self, events: &[HubEvent], found: &mut BTreeSet<String>) -> Result<(), AppError> {
        for event in events {
            let sequence = event.sequence as i64;
            let names = self.known.names.iter();
            let contradicted = names.filter(|name| name.is_contradicted_by(sequence, event.enqueued_ms));
            found.extend(contradicted.map(|name| name.source.clone()));
            if found.contains(&self.source) {
                let Source::Events { hub, epoch, .. } = &self.dataset.contract.source else { continue };
                return Err(AppError::HubMadeAnew {
                    hub: hub.clone(),
                    partition: self.partition.id.clone(),
                    sequence,
                    next_epoch: epoch.saturating_add(1),
                });
            }
        }
        Ok(())
    }
}

/// One id for all replays of a partition: each moves it on by one.
pub(super) fn producer_id(source: &str) -> String {
    format!("replay:{source}")
}

/// A local service does not say what its namespace is called.
pub(super) fn partition_of(dataset: &Dataset, hubs: &Hubs, partition: u32) -> Partition {
    let (hub, epoch) = match &dataset.contract.source {
        Source::Events { hub, epoch, .. } => (hub.as_str(), *epoch),
        _ => ("", 1),
    };
    Partition::new(hubs.namespace(), hub, &partition.to_string(), epoch)
}

/// What one commit will hold.
struct Round {
    clean: Staged,
    refused: Staged,
    events: u64,
    records: u64,
    /// Bytes of the events' bodies, and those that were read.
    bytes: (u64, u64),
    duplicates: u64,
    report: QualityReport,
    /// Positions whose rows are replaced: all of these events were read.
    cover: Option<RangeInclusive<i64>>,
    /// Where the next one begins.
    rest: Option<i64>,
    expired: u64,
    /// Names whose rows stay: they are of another hub.
    strangers: BTreeSet<String>,
}

impl Round {
    async fn read(
        claim: &Claim<'_>,
        hubs: &Hubs,
        (hub, partition): (&str, u32),
        window: Window,
        until: Instant,
    ) -> Result<Self, AppError> {
        let lineage = Lineage {
            source: claim.source.clone(),
            source_version: EVENT_VERSION.to_owned(),
            ingested_at_us: chrono::Utc::now().timestamp_micros(),
        };
        let mut writer = Writers { claim, clean: claim.table.write(), refused: None };
        let mut selection = Selection::new(window);
        let (mut events, mut records, mut duplicates, mut expired) = (0, 0, 0, 0);
        let mut bytes = (0, 0);
        let (mut report, mut strangers) = (QualityReport::default(), BTreeSet::new());
        while let Some(range) = selection.range() {
            let (read, _turn) = hubs.read(hub, partition, range).await?;
            // Without a first number nobody asked for what is older than the hub.
            if window.from.is_some() {
                expired += read.expired.iter().map(|run| run.end() - run.start() + 1).sum::<u64>();
            }
            let taken = selection.take(read.events, read.next);
            events += taken.len() as u64;
            claim.strangers(&taken, &mut strangers)?;
            let placed: Vec<_> = taken.into_iter().map(|event| (event.sequence as i64, of_hub(event))).collect();
            bytes.0 += bytes_of(placed.iter().map(|(_, event)| event));
            let place = HubPlace { hub: hub.to_owned(), partition: partition.to_string() };
            let rule = claim.dataset.contract.dedupe.as_ref().zip(selection.cover());
            let mut fresh = dedupe::Fresh::default();
            let time = Time { until: None, of_one: Duration::MAX };
            let mut bodies = Bodies::new(Arc::clone(claim.dataset), place, placed, lineage.clone(), time);
            while let Some(mut output) = bodies.next().await? {
                if let Some((rule, cover)) = &rule {
                    let (table, sources, at) = (&claim.table, claim.known.sources(), lineage.ingested_at_us);
                    let cover = cover.clone();
                    dedupe::take_out_of_replay(rule, table, &sources, cover, at, &mut fresh, &mut output).await?;
                }
                records += output.records;
                report.merge(output.report);
                writer.clean.write(output.clean).await?;
                writer.refuse(output.quarantined).await?;
            }
            bytes.1 += bodies.bytes_read();
            (duplicates, records) = (duplicates + fresh.duplicates, records + fresh.duplicates);
            // What was sent twice is looked for in what was committed before.
            if events >= MOST_EVENTS || Instant::now() >= until || claim.dataset.contract.dedupe.is_some() {
                break;
            }
        }
        let refused = match writer.refused {
            Some(refused) => refused.finish().await?,
            None => claim.table.listed([])?,
        };
        let (cover, rest) = (selection.cover(), selection.rest());
        Ok(Self {
            clean: writer.clean.finish().await?,
            refused,
            events,
            records,
            bytes,
            duplicates,
            report,
            cover,
            rest,
            expired,
            strangers,
        })
    }
}

struct Writers<'a> {
    claim: &'a Claim<'a>,
    clean: TableWriter,
    refused: Option<TableWriter>,
}

impl Writers<'_> {
    async fn refuse(&mut self, frame: polars::prelude::DataFrame) -> Result<(), AppError> {
        if frame.height() == 0 {
            return Ok(());
        }
        let Claim { runtime, dataset, .. } = self.claim;
        if self.refused.is_none() {
            self.refused = Some(runtime.lake.table(&dataset.quarantine).await?.write());
        }
        if let Some(writer) = &mut self.refused {
            writer.write(frame).await?;
        }
        Ok(())
    }
}
