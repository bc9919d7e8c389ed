//! The events that the hub still has.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use weir_contract::Source;
use weir_lake::Table;

use super::compare::Batch;
use super::findings::Findings;
use super::held::Held;
use super::{ATTEMPTS, Report, Work, rows_at};
use crate::error::AppError;
use crate::hubs::Hubs;
use crate::pipeline::events::verify::{Reread, Step};

const EXPIRED: &str = "the hub has these events no more";
const NO_PARTITION: &str = "the hub has no such partition, or it is of an earlier hub";

pub(super) async fn verify(work: &Work<'_>, report: &mut Report) -> Result<(), AppError> {
    let Work { runtime, dataset, order, .. } = work;
    let Source::Events { hub, .. } = &dataset.contract.source else { return Ok(()) };
    if order.source.is_some() {
        let (name, takes) = (dataset.contract.name.clone(), dataset.contract.source.takes());
        return Err(AppError::WrongSource { name, takes, given: "a path" });
    }
    let hubs = runtime.hubs.as_ref().ok_or(AppError::NoHub)?;
    let mut partitions = hubs.partitions(hub).await?;
    partitions.retain(|id| order.partition.is_none_or(|asked| asked == *id));
    let mut compared = BTreeSet::new();
    let count = partitions.len();
    for (index, partition) in partitions.into_iter().enumerate() {
        (work.watch)(index, count);
        match one(work, hubs, partition, report).await {
            Ok(sources) => compared.extend(sources),
            Err(error) => report.failed(&format!("partition {partition} of {hub}"), &error),
        }
    }
    if order.is_whole() {
        others(work, &compared, report).await?;
    }
    Ok(())
}

/// Names of partitions in the tables that no partition of the hub has.
async fn others(work: &Work<'_>, compared: &BTreeSet<String>, report: &mut Report) -> Result<(), AppError> {
    let Some(held) = Held::now(work.runtime, work.dataset).await? else { return Ok(()) };
    let ids: BTreeSet<&String> = held.both().flat_map(|side| side.transactions.keys()).collect();
    let is_source = |id: &&&String| id.starts_with("eventhub:") && !id.contains('#') && !compared.contains(**id);
    for source in ids.iter().filter(is_source) {
        let rows = rows_at(&held, std::slice::from_ref(*source), i64::MIN..=i64::MAX).await?;
        if rows > 0 {
            report.unverified(source, format!("{NO_PARTITION}: {rows} rows"), None);
        }
    }
    Ok(())
}

/// Compares a partition; returns the names that it has.
async fn one(work: &Work<'_>, hubs: &Hubs, partition: u32, report: &mut Report) -> Result<Vec<String>, AppError> {
    let Work { runtime, dataset, order, .. } = work;
    for attempt in 1..=ATTEMPTS {
        let Some(table) = runtime.table_now(&dataset.table).await? else { return Ok(Vec::new()) };
        let quarantine = runtime.table_now(&dataset.quarantine).await?;
        refresh(&table, quarantine.as_ref()).await?;
        // Before the tables are held: all that is committed is in what is held then.
        let bounds = (order.from, order.to);
        let reread = Reread::new(hubs, dataset, (&table, quarantine.as_ref()), partition, bounds)?;
        let Some(reread) = reread else { return Ok(Vec::new()) };
        let Some(held) = Held::now(runtime, dataset).await? else { return Ok(Vec::new()) };
        let (ids, names) = (reread.producers(), reread.sources());
        let former = reread.former().to_vec();
        let mut found = Partition { work, held: &held, names: &names, findings: Findings::new(order.limit), lost: 0 };
        found.compare(reread).await?;
        let Partition { mut findings, lost, .. } = found;
        let now = if findings.sources.is_empty() { None } else { Held::now(runtime, dataset).await? };
        // Rows that were committed before go and come by replays alone.
        if now.is_some_and(|now| ids.iter().any(|id| now.stands(id) != held.stands(id))) && attempt < ATTEMPTS {
            continue;
        }
        let name = &dataset.contract.name;
        for found in findings.sources.values_mut() {
            if let Some((first, last)) = found.bounds {
                let command = format!("weir replay {name} --partition {partition} --from {first} --to {last}");
                found.command = Some(command);
            }
        }
        if lost > 0 {
            report.unverified(names.first().map_or("", String::as_str), format!("{EXPIRED}: {lost} rows"), None);
        }
        report.sources += 1;
        report.findings.merge(findings);
        let mut all = names;
        for former in former {
            let rows = rows_at(&held, std::slice::from_ref(&former), i64::MIN..=i64::MAX).await?;
            if rows > 0 {
                report.unverified(&former, format!("it is of a hub that was there before: {rows} rows"), None);
            }
            all.push(former);
        }
        return Ok(all);
    }
    Ok(Vec::new())
}

async fn refresh(table: &Arc<Table>, quarantine: Option<&Arc<Table>>) -> Result<(), AppError> {
    table.refresh().await?;
    if let Some(quarantine) = quarantine {
        quarantine.refresh().await?;
    }
    Ok(())
}

struct Partition<'a> {
    work: &'a Work<'a>,
    held: &'a Held,
    names: &'a [String],
    findings: Findings,
    /// Rows whose events are not in the hub any more.
    lost: u64,
}

impl Partition<'_> {
    async fn compare(&mut self, mut reread: Reread<'_>) -> Result<(), AppError> {
        while let Some(step) = reread.next().await? {
            let (cover, outputs) = match step {
                Step::PassedOver(events) => {
                    self.passed_over(events).await?;
                    continue;
                }
                Step::Read(cover, outputs) => (cover, outputs),
            };
            let mut batch = Batch::of(self.names);
            for output in outputs {
                batch.take(self.held, output)?;
            }
            batch.compare(self.held, cover, &self.work.rules, &mut self.findings).await?;
        }
        match reread.rest() {
            Some(rest) => self.passed_over(rest).await,
            None => Ok(()),
        }
    }

    async fn passed_over(&mut self, events: RangeInclusive<i64>) -> Result<(), AppError> {
        self.lost += rows_at(self.held, self.names, events).await?;
        Ok(())
    }
}
