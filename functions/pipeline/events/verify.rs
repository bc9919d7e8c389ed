//! Events of one partition that are committed, read from the hub again as a replay would read them, and put nowhere.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use weir_contract::Source;
use weir_lake::Table;
use weir_transform::{Lineage, Output};

use super::identity::Known;
use super::replay::{partition_of, producer_id};
use super::window::{Selection, Window};
use super::{EVENT_VERSION, dedupe, known_to, of_hub};
use crate::app::Dataset;
use crate::error::AppError;
use crate::hubs::Hubs;
use crate::pipeline::bodies::{Bodies, HubPlace, Placed, Time};

/// A partition's events, a round at a time.
pub(crate) struct Reread<'a> {
    hubs: &'a Hubs,
    dataset: Arc<Dataset>,
    table: Arc<Table>,
    hub: String,
    pub(crate) partition: u32,
    known: Known,
    window: Option<Window>,
    /// What the hub gave last.
    reading: Option<Reading>,
    /// The first event that was neither read nor passed over.
    from: i64,
    /// The last one that is asked for and committed.
    to: i64,
}

/// Events on their way to be frames.
struct Reading {
    bodies: Bodies,
    /// All of them, and the first that was not given yet.
    cover: RangeInclusive<i64>,
    next: i64,
    fresh: dedupe::Fresh,
    now_us: i64,
}

/// What comes next.
pub(crate) enum Step {
    /// Events that the hub has no more.
    PassedOver(RangeInclusive<i64>),
    /// Events that were read, and what they give now.
    Read(RangeInclusive<i64>, Vec<Output>),
}

impl<'a> Reread<'a> {
    /// `None` when nothing of the partition that is asked for was ever committed.
    pub(crate) fn new(
        hubs: &'a Hubs,
        dataset: &Arc<Dataset>,
        (table, quarantine): (&Arc<Table>, Option<&Arc<Table>>),
        partition: u32,
        (from, to): (Option<i64>, Option<i64>),
    ) -> Result<Option<Self>, AppError> {
        let Source::Events { hub, .. } = &dataset.contract.source else { return Ok(None) };
        let known = known_to(&partition_of(dataset, hubs, partition), dataset, table, quarantine)?;
        let Some(committed) = known.committed() else { return Ok(None) };
        let (from, to) = (from.unwrap_or(0).max(0), to.unwrap_or(i64::MAX).min(committed));
        if from > to {
            return Ok(None);
        }
        let window = Some(Window { from: Some(from), to: Some(to), ..Window::default() });
        let (dataset, table, hub) = (Arc::clone(dataset), Arc::clone(table), hub.clone());
        Ok(Some(Self { hubs, dataset, table, hub, partition, known, window, reading: None, from, to }))
    }

    /// The names under which the partition's records stand.
    pub(crate) fn sources(&self) -> Vec<String> {
        self.known.sources()
    }

    /// Names of the hub that was there before, in the same epoch.
    pub(crate) fn former(&self) -> &[String] {
        &self.known.former
    }

    /// Ids of the table that move when somebody changes rows of the partition that were committed before.
    pub(crate) fn producers(&self) -> Vec<String> {
        self.sources().iter().map(|source| producer_id(source)).collect()
    }

    /// The next events; `None` at the end.
    ///
    /// # Errors
    /// [`AppError::HubMadeAnew`] when the hub's events are not those that are committed.
    pub(crate) async fn next(&mut self) -> Result<Option<Step>, AppError> {
        loop {
            if let Some(reading) = self.reading.take() {
                return self.round(reading).await.map(Some);
            }
            let Some(window) = self.window.take() else { return Ok(None) };
            let mut selection = Selection::new(window);
            let mut taken = Vec::new();
            if let Some(range) = selection.range() {
                let (read, _turn) = self.hubs.read(&self.hub, self.partition, range).await?;
                taken = selection.take(read.events, read.next);
            }
            for event in &taken {
                self.check(event.sequence as i64, event.enqueued_ms)?;
            }
            self.window = selection.rest().map(|rest| Window { from: Some(rest), ..window });
            let Some(cover) = selection.cover() else { continue };
            let passed_over = (self.from < *cover.start()).then(|| self.from..=cover.start() - 1);
            self.from = cover.end() + 1;
            let placed = taken.into_iter().map(|event| (event.sequence as i64, of_hub(event))).collect();
            self.reading = Some(self.reading(placed, cover));
            if let Some(passed_over) = passed_over {
                return Ok(Some(Step::PassedOver(passed_over)));
            }
        }
    }

    /// What is left when the hub has no more: events between the last one that was read and the last that is committed.
    pub(crate) fn rest(&self) -> Option<RangeInclusive<i64>> {
        (self.from <= self.to).then_some(self.from..=self.to)
    }

    fn reading(&self, placed: Placed, cover: RangeInclusive<i64>) -> Reading {
        let now_us = chrono::Utc::now().timestamp_micros();
        let (source, source_version) = (self.known.source.clone(), EVENT_VERSION.to_owned());
        let lineage = Lineage { source, source_version, ingested_at_us: now_us };
        let place = HubPlace { hub: self.hub.clone(), partition: self.partition.to_string() };
        let time = Time { until: None, of_one: Duration::MAX };
        let bodies = Bodies::new(Arc::clone(&self.dataset), place, placed, lineage, time);
        Reading { bodies, next: *cover.start(), cover, fresh: dedupe::Fresh::default(), now_us }
    }

    /// The next of what was read: as much as is unpacked at a time.
    async fn round(&mut self, mut reading: Reading) -> Result<Step, AppError> {
        let sources = self.sources();
        let mut outputs = Vec::new();
        while let Some(mut output) = reading.bodies.next().await? {
            if let Some(rule) = &self.dataset.contract.dedupe {
                let (cover, fresh) = (reading.cover.clone(), &mut reading.fresh);
                let (table, now_us) = (&self.table, reading.now_us);
                dedupe::take_out_of_replay(rule, table, &sources, cover, now_us, fresh, &mut output).await?;
            }
            outputs.push(output);
            if let Some(last) = reading.bodies.ends_with().filter(|last| last < reading.cover.end()) {
                let given = reading.next..=last;
                reading.next = last + 1;
                self.reading = Some(reading);
                return Ok(Step::Read(given, outputs));
            }
        }
        Ok(Step::Read(reading.next..=*reading.cover.end(), outputs))
    }

    fn check(&self, sequence: i64, enqueued_ms: i64) -> Result<(), AppError> {
        let own = self.known.names.iter().find(|name| name.source == self.known.source);
        if !own.is_some_and(|name| name.is_contradicted_by(sequence, enqueued_ms)) {
            return Ok(());
        }
        let Source::Events { hub, epoch, .. } = &self.dataset.contract.source else { return Ok(()) };
        let (hub, partition, next_epoch) = (hub.clone(), self.partition.to_string(), epoch.saturating_add(1));
        Err(AppError::HubMadeAnew { hub, partition, sequence, next_epoch })
    }
}
