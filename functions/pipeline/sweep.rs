//! The sweep: blobs that landed and whose event never came. It lists the landing container, asks the table's transaction
//! ids which versions it holds, and hands out the others. A blob whose event is only late is ingested once all the same.
//!
//! A run looks at a bounded number of names and hands the rest on, so that its cost is bounded for millions of blobs;
//! memory does not grow with them. It also brings in what was there before Weir was (`weir backfill`).

use std::collections::HashSet;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use object_store::path::Path;
use serde::Serialize;
use weir_contract::Source;
use weir_lake::Table;

use super::blob::{BlobRef, is_held};
use super::{Done, parked};
use crate::app::{App, Dataset, Runtime, now_ms};
use crate::error::AppError;
use crate::tasks::Task;

/// Names that one run looks at.
const NAMES: usize = 100_000;
/// Blobs that one run hands out.
const BLOBS: usize = 5_000;
/// A younger blob's event is still on its way.
const YOUNG: Duration = Duration::from_secs(10 * 60);
/// How often a dataset is swept unless somebody asks.
const EVERY: Duration = Duration::from_secs(3600);
const MARKER: &str = "swept";

/// What one run found.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) dataset: String,
    pub(crate) names: usize,
    pub(crate) missing: usize,
    /// Missing, and known to fail: somebody has to look at them.
    pub(crate) parked: usize,
    /// Another run goes on after this name.
    pub(crate) after: Option<String>,
}

/// Looks for missed blobs from a name on. Unless it was `asked` for, it is done once an hour.
pub(crate) async fn sweep(
    app: &App,
    dataset: &str,
    after: Option<&str>,
    since_ms: Option<i64>,
    asked: bool,
) -> Result<Done, AppError> {
    let runtime = app.runtime().await?;
    let dataset = runtime.dataset(dataset)?;
    let table = runtime.lake.table(&dataset.table).await?;
    if after.is_none() && !asked && !table.is_due(MARKER, EVERY).await? {
        return Ok(Done::said("swept a short while ago"));
    }
    let young = if asked { Duration::ZERO } else { YOUNG };
    let (report, tasks) = look(runtime, dataset, &table, Window { after, since_ms, young }).await?;
    let mut tasks: Vec<Task> = tasks.into_iter().map(|at| ingest(&report.dataset, at)).collect();
    if let Some(after) = &report.after {
        let (dataset, after) = (report.dataset.clone(), Some(after.clone()));
        tasks.push(Task::Sweep { dataset, after, since_ms, asked });
    }
    if after.is_none() && !asked {
        table.mark_done(MARKER).await?;
    }
    let line = format!("{}: swept {} names, {} blobs were missing", report.dataset, report.names, report.missing);
    Ok(Done::report(&report, || line)?.with(tasks))
}

/// Which blobs are looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    /// The last name that was looked at.
    pub(crate) after: Option<&'a str>,
    pub(crate) since_ms: Option<i64>,
    /// Blobs that are younger are left alone.
    pub(crate) young: Duration,
}

/// One run: what it found, and the blobs that are missing.
pub(crate) async fn look(
    runtime: &Runtime,
    dataset: &Dataset,
    table: &Table,
    window: Window<'_>,
) -> Result<(Report, Vec<BlobRef>), AppError> {
    let contract = &dataset.contract;
    let mut report = Report { dataset: contract.name.clone(), ..Report::default() };
    let Source::Blob { container, .. } = &contract.source else {
        let name = contract.name.clone();
        return Err(AppError::WrongSource { name, takes: contract.source.takes(), given: "blobs" });
    };
    table.refresh().await?;
    let failing: HashSet<_> = parked::blobs(runtime).await?.into_iter().collect();
    let store = runtime.landing()?.container(container)?;
    let prefix = contract.source.common_folder().map(Path::from);
    let mut listed = match window.after {
        Some(after) => store.list_with_offset(prefix.as_ref(), &Path::from(after)),
        None => store.list(prefix.as_ref()),
    };
    if !runtime.landing()?.lists_in_order() {
        let mut all: Vec<_> = listed.try_collect().await?;
        all.sort_by(|left, right| left.location.cmp(&right.location));
        listed = futures::stream::iter(all.into_iter().map(Ok)).boxed();
    }
    let (mut missing, mut last) = (Vec::new(), None);
    while let Some(object) = listed.try_next().await? {
        if report.names == NAMES || missing.len() == BLOBS {
            report.after = last;
            break;
        }
        report.names += 1;
        last = Some(object.location.to_string());
        let Some(at) = candidate(dataset, container, &object, window) else { continue };
        let etag = at.etag.as_deref().unwrap_or_default();
        if is_held(table, dataset, &at, etag) {
            continue;
        }
        let blob = format!("blob:{container}/{}", at.path);
        if failing.contains(&(blob.clone(), at.etag.clone())) || failing.contains(&(blob, None)) {
            report.parked += 1;
            continue;
        }
        missing.push(at);
    }
    report.missing = missing.len();
    Ok((report, missing))
}

fn candidate(dataset: &Dataset, container: &str, object: &ObjectMeta, window: Window<'_>) -> Option<BlobRef> {
    let path = object.location.to_string();
    let age_ms = now_ms().saturating_sub(object.last_modified.timestamp_millis());
    let young = age_ms < i64::try_from(window.young.as_millis()).unwrap_or(i64::MAX);
    let old = window.since_ms.is_some_and(|since_ms| object.last_modified.timestamp_millis() < since_ms);
    // An id that has expired says nothing.
    let forgotten = dataset.ids_expire_ms().is_some_and(|expire_ms| age_ms > expire_ms / 2);
    if young || old || forgotten || !dataset.contract.source.matches(container, &path) {
        return None;
    }
    let etag = object.e_tag.as_deref()?.trim_start_matches("W/").trim_matches('"').to_owned();
    Some(BlobRef { container: container.to_owned(), path, etag: Some(etag) })
}

pub(crate) fn ingest(dataset: &str, BlobRef { container, path, etag }: BlobRef) -> Task {
    Task::IngestBlob { dataset: dataset.to_owned(), container, path, etag, request: None }
}
