//! The sweep: blobs that landed and whose event never came. It lists the landing container, asks the table's transaction
//! ids which versions it holds, and hands out the others. A blob whose event is only late is ingested once all the same.
//! It also brings in what was there before Weir was (`weir backfill`).

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use weir_contract::Source;
use weir_lake::Table;
use weir_platform::{Page, Unusable};

use super::blob::{BlobRef, id_of, is_held};
use super::pages::{Found, gather, narrower};
use super::{Done, parked};
use crate::app::{App, Dataset, Runtime};
use crate::error::AppError;
use crate::tasks::Task;

/// A younger blob's event is still on its way.
const YOUNG: Duration = Duration::from_secs(10 * 60);
/// How often a dataset is swept unless somebody asks.
const EVERY: Duration = Duration::from_secs(3600);
const MARKER: &str = "swept";

/// What is asked of one run; see [`Task::Sweep`].
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) dataset: String,
    pub(crate) marker: Option<String>,
    pub(crate) prefix: Option<String>,
    pub(crate) since_ms: Option<i64>,
    pub(crate) asked: bool,
}

/// What one run found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    dataset: String,
    names: usize,
    missing: usize,
    /// Missing, and known to fail: somebody has to look at them.
    parked: usize,
    /// Names that no request can carry; those that were not parked yet are parked now.
    unusable: usize,
    /// Another run goes on.
    more: bool,
}

/// Looks for missed blobs. Unless it was asked for, it is done once an hour.
pub(crate) async fn sweep(app: &App, order: Order) -> Result<Done, AppError> {
    let runtime = app.runtime().await?;
    let dataset = runtime.dataset(&order.dataset)?;
    let table = runtime.lake.table(&dataset.table).await?;
    let Order { marker, prefix, since_ms, asked, .. } = order;
    if marker.is_none() && !asked && !table.is_due(MARKER, EVERY).await? {
        return Ok(Done::said("swept a short while ago"));
    }
    let window = Window {
        marker: marker.as_deref(),
        prefix: prefix.as_deref().unwrap_or_default(),
        since_ms,
        young: if asked { Duration::ZERO } else { YOUNG },
    };
    let found = look(runtime, dataset, &table, window).await?;
    found.park(runtime).await?;
    if marker.is_none() && !asked {
        table.mark_done(MARKER).await?;
    }
    let Found { names, mut tasks, parked, unusable, next, .. } = found;
    let dataset = dataset.contract.name.clone();
    let (missing, more) = (tasks.len(), next.is_some());
    let report = Report { dataset: dataset.clone(), names, missing, parked, unusable, more };
    let line = format!("{dataset}: swept {names} names, {missing} blobs were missing");
    if let Some(next) = next {
        tasks.push(Task::Sweep { dataset, marker: Some(next), prefix, after: None, since_ms, asked });
    }
    Ok(Done::report(&report, || line)?.with(tasks))
}

/// Which blobs are looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    /// Where the listing goes on; `None`: at its beginning.
    pub(crate) marker: Option<&'a str>,
    /// Only names that begin with it.
    pub(crate) prefix: &'a str,
    pub(crate) since_ms: Option<i64>,
    /// Blobs that are younger are left alone.
    pub(crate) young: Duration,
}

/// What a listing is judged by.
struct Eye<'a> {
    dataset: &'a Dataset,
    table: &'a Table,
    container: &'a str,
    window: Window<'a>,
    /// Blob and version of what is parked.
    failing: HashSet<(String, Option<String>)>,
    /// The store's time.
    now_ms: i64,
}

/// One run: what it found, and a task for each blob that is missing.
pub(crate) async fn look(
    runtime: &Runtime,
    dataset: &Dataset,
    table: &Table,
    window: Window<'_>,
) -> Result<Found, AppError> {
    let source = &dataset.contract.source;
    let Source::Blob { container, .. } = source else {
        let name = dataset.contract.name.clone();
        return Err(AppError::WrongSource { name, takes: source.takes(), given: "blobs" });
    };
    let Some(prefix) = narrower(source.common_prefix(), window.prefix) else { return Ok(Found::default()) };
    // What it holds is left alone: it has to be there still.
    table.look().await?;
    table.refresh().await?;
    let failing = parked::blobs(runtime).await?.into_iter().collect();
    // Ages go by the store's clock: by a wrong one, blobs whose events are on their way would be handed out.
    let now_ms = table.store_now_ms().await?;
    let eye = Eye { dataset, table, container, window, failing, now_ms };
    let store = runtime.landing()?.container(container)?;
    gather(&store, &prefix, window.marker.map(str::to_owned), |page| eye.judge(page)).await
}

impl Eye<'_> {
    /// What of a page is missing.
    fn judge(&self, page: Page) -> Found {
        let mut found = Found::default();
        for blob in page.blobs {
            if !self.is_of_interest(&blob.name, blob.modified) {
                continue;
            }
            let at = BlobRef { container: self.container.to_owned(), path: blob.name, etag: Some(blob.etag) };
            if is_held(self.table, self.dataset, &at, at.etag.as_deref().unwrap_or_default()) {
                continue;
            }
            match self.is_failing(at.id(), &at.etag) {
                true => found.parked += 1,
                false => found.tasks.push(self.task(at.path.to_string(), at.etag)),
            }
        }
        for Unusable { name, etag, modified, why } in page.unusable {
            if !self.is_of_interest(&name, modified) {
                continue;
            }
            found.unusable += 1;
            let (blob, etag) = (id_of(self.container, &name), Some(etag));
            if !self.is_failing(blob.clone(), &etag) {
                found.refused.push((self.task(name, etag), AppError::Name { blob, why }.to_string()));
            }
        }
        found
    }

    fn task(&self, path: String, etag: Option<String>) -> Task {
        let (dataset, container) = (self.dataset.contract.name.clone(), self.container.to_owned());
        Task::IngestBlob { dataset, container, path, etag, request: None }
    }

    fn is_of_interest(&self, name: &str, modified: DateTime<Utc>) -> bool {
        let modified_ms = modified.timestamp_millis();
        let age_ms = self.now_ms.saturating_sub(modified_ms);
        let young = age_ms < i64::try_from(self.window.young.as_millis()).unwrap_or(i64::MAX);
        let old = self.window.since_ms.is_some_and(|since_ms| modified_ms < since_ms);
        // An id that has expired says nothing.
        let forgotten = self.dataset.ids_expire_ms().is_some_and(|expire_ms| age_ms > expire_ms / 2);
        !young && !old && !forgotten && self.dataset.contract.source.matches(self.container, name)
    }

    fn is_failing(&self, blob: String, etag: &Option<String>) -> bool {
        self.failing.contains(&(blob.clone(), etag.clone())) || self.failing.contains(&(blob, None))
    }
}
