//! The blobs that a table's transaction ids name.

use std::collections::BTreeSet;

use serde_json::json;
use weir_contract::Source;

use super::compare::{Batch, EVERYWHERE};
use super::findings::Findings;
use super::held::Held;
use super::{ATTEMPTS, Order, Report, Work};
use crate::error::AppError;
use crate::pipeline::blob::id_of;
use crate::pipeline::blob::verify::{Again, Reread, has_changed, open, path_of};

const CHANGES: &str = "it changes while it is read";

/// What came of reading one blob.
enum Outcome {
    /// All of it: to be compared with others.
    Whole(Batch),
    /// It was large, and is compared.
    Compared(Findings),
    Changed,
}

pub(super) async fn verify(work: &Work<'_>, report: &mut Report) -> Result<(), AppError> {
    let Order { partition, from, to, .. } = &work.order;
    if partition.is_some() || from.or(*to).is_some() {
        let (name, takes) = (work.dataset.contract.name.clone(), work.dataset.contract.source.takes());
        return Err(AppError::WrongSource { name, takes, given: "events" });
    }
    let mut again: Option<BTreeSet<String>> = None;
    for attempt in 0..ATTEMPTS {
        let Some(held) = Held::now(work.runtime, work.dataset).await? else { return Ok(()) };
        let sources = match again {
            Some(again) => again.into_iter().filter_map(|id| Some((version(&held, &id)?, id))).collect(),
            None => chosen(work, &held),
        };
        let moved = Pass { work, held: &held, report, moved: BTreeSet::new() }.run(sources).await?;
        if moved.is_empty() {
            break;
        }
        if attempt + 1 == ATTEMPTS {
            moved.iter().for_each(|source| report.unverified(source, CHANGES, None));
        }
        again = Some(moved);
    }
    if report.findings.differing > 1
        && let Some(common) = report.findings.common.as_deref()
        && let Source::Blob { container, .. } = &work.dataset.contract.source
        && let Some(prefix) = common.strip_prefix(&id_of(container, ""))
    {
        report.command = Some(reprocess(work, "prefix", prefix));
    }
    Ok(())
}

/// `which`: `path` or `prefix`.
fn reprocess(work: &Work<'_>, which: &str, name: &str) -> String {
    format!("POST /api/reprocess {}", json!({ "dataset": work.dataset.contract.name, which: name }))
}

/// Which version of a blob the tables hold. The table's id is written last.
fn version(held: &Held, source: &str) -> Option<i64> {
    let (table, quarantine) = held.stands(source);
    table.or(quarantine)
}

/// Version and name of each source that is asked for, sorted: those of a folder are often in the same files.
fn chosen(work: &Work<'_>, held: &Held) -> Vec<(i64, String)> {
    let ids: BTreeSet<&String> = held.both().flat_map(|side| side.transactions.keys()).collect();
    let is_wanted = |id: &&&String| id.starts_with("blob:") && is_asked_for(work, id);
    ids.iter().filter(is_wanted).filter_map(|id| Some((version(held, id)?, (**id).clone()))).collect()
}

fn is_asked_for(work: &Work<'_>, source: &str) -> bool {
    let Some(asked) = &work.order.source else { return true };
    let Some(path) = path_of(work.dataset, source) else { return false };
    if path == asked {
        return true;
    }
    let mut pattern = work.dataset.contract.source.clone();
    let Source::Blob { container, paths, ignore, .. } = &mut pattern else { return false };
    let container = container.clone();
    (*paths, *ignore) = (vec![asked.clone()], Vec::new());
    pattern.matches(&container, path)
}

struct Pass<'a> {
    work: &'a Work<'a>,
    held: &'a Held,
    report: &'a mut Report,
    /// Sources that others have committed meanwhile.
    moved: BTreeSet<String>,
}

impl Pass<'_> {
    async fn run(mut self, sources: Vec<(i64, String)>) -> Result<BTreeSet<String>, AppError> {
        let mut shared = Batch::default();
        let count = sources.len();
        for (index, (version, source)) in sources.into_iter().enumerate() {
            (self.work.watch)(index, count);
            match self.read(&source, version).await {
                Ok(Some(Outcome::Whole(batch))) => {
                    self.report.sources += 1;
                    shared.absorb(batch);
                }
                Ok(Some(Outcome::Compared(findings))) => {
                    self.report.sources += 1;
                    self.settle(findings).await?;
                }
                Ok(Some(Outcome::Changed)) => {
                    self.moved.insert(source);
                }
                Ok(None) => {}
                Err(error) => self.report.failed(&source, &error),
            }
            if shared.is_full() {
                self.compare(&std::mem::take(&mut shared)).await?;
            }
        }
        self.compare(&shared).await?;
        Ok(self.moved)
    }

    /// `None`: nobody can tell, and the report says why.
    async fn read(&mut self, source: &str, version: i64) -> Result<Option<Outcome>, AppError> {
        let Work { runtime, dataset, .. } = *self.work;
        let read = match open(runtime, dataset, source, version).await {
            Ok(Again::Records(records)) => self.records(source, *records).await,
            Ok(Again::Nothing) => Ok(Outcome::Whole(Batch::of(&[source.to_owned()]))),
            Ok(Again::Unknown { why, is_missing }) => {
                let command = is_missing.then(|| format!("weir backfill {}", dataset.contract.name));
                self.report.unverified(source, why, command);
                return Ok(None);
            }
            Err(error) => Err(error),
        };
        match read {
            Err(error) if has_changed(&error) => Ok(Some(Outcome::Changed)),
            read => read.map(Some),
        }
    }

    async fn records(&self, source: &str, mut records: Reread) -> Result<Outcome, AppError> {
        let mut batch = Batch::of(&[source.to_owned()]);
        // Set once a part of it is compared: where the next one begins.
        let mut from: Option<i64> = None;
        let mut findings = Findings::new(self.work.order.limit);
        while let Some(output) = records.next().await? {
            batch.take(self.held, output)?;
            if let Some(last) = batch.last().filter(|_| batch.is_full()) {
                let first = from.unwrap_or(i64::MIN);
                batch.compare(self.held, first..=last, &self.work.rules, &mut findings).await?;
                batch.clear();
                from = Some(last.saturating_add(1));
            }
        }
        let Some(from) = from else { return Ok(Outcome::Whole(batch)) };
        batch.compare(self.held, from..=i64::MAX, &self.work.rules, &mut findings).await?;
        Ok(Outcome::Compared(findings))
    }

    async fn compare(&mut self, batch: &Batch) -> Result<(), AppError> {
        let mut findings = Findings::new(self.work.order.limit);
        batch.compare(self.held, EVERYWHERE, &self.work.rules, &mut findings).await?;
        self.settle(findings).await
    }

    /// Adds what was found, but of sources that somebody has committed meanwhile.
    async fn settle(&mut self, mut findings: Findings) -> Result<(), AppError> {
        if !findings.sources.is_empty()
            && let Some(now) = Held::now(self.work.runtime, self.work.dataset).await?
        {
            let moved = |source: &str| now.stands(source) != self.held.stands(source);
            let found: Vec<String> = findings.sources.keys().filter(|source| moved(source)).cloned().collect();
            for source in found {
                findings.sources.remove(&source);
                self.report.sources = self.report.sources.saturating_sub(1);
                self.moved.insert(source);
            }
        }
        for (source, found) in &mut findings.sources {
            let path = path_of(self.work.dataset, source).unwrap_or_default();
            found.command = Some(reprocess(self.work, "path", path));
        }
        self.report.findings.merge(findings);
        Ok(())
    }
}
