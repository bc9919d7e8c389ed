//! One version of one blob, into its dataset: read whole, in parts on many instances, or piece by piece; visible in one
//! commit of each table, whichever way.
//!
//! | file | what it knows |
//! |---|---|
//! | `plan.rs` | how a blob is read, from its size, format and contract; pure |
//! | `records.rs` | a blob, or a part of it, as transformed chunks |
//! | `collect.rs` | chunks → rows that are ready to be committed |
//! | `pieces.rs` | notes about what was written and not committed yet |
//! | `large.rs` | parts, pieces, and who puts them together |
//! | `publish.rs` | the commits, and why they are right |

mod collect;
mod large;
mod pieces;
mod plan;
mod publish;
mod records;
pub(crate) mod verify;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weir_intake::{Blob, ErrorKind};
use weir_lake::stamp;
use weir_platform::BlobName;
use weir_transform::Lineage;

use self::collect::Collector;
use self::large::Read;
use self::plan::Plan;
use self::publish::{Claim, source_of};
pub(in crate::pipeline) use self::records::{Extent, Records};
use super::{Done, Outcome, Receipt};
use crate::app::{App, Dataset, Runtime};
use crate::error::AppError;

pub(crate) use self::large::{PartRef, Progress, progress, tidy};

/// What one blob in work takes at most, as measured: ranges, two chunks, their frames, open files and an upload.
const FOOTPRINT_BYTES: u64 = 384 * 1024 * 1024;
/// A small blob takes about this many times its size.
const FOOTPRINT_FACTOR: u64 = 8;
/// Others that may get in between before the host is asked to deliver again.
const ATTEMPTS: u32 = 5;

/// Where a blob is: container, name in it, and the version its event speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlobRef {
    pub(crate) container: String,
    pub(crate) path: BlobName,
    pub(crate) etag: Option<String>,
}

impl BlobRef {
    /// # Errors
    /// For a name that no request can carry.
    pub(crate) fn new(container: &str, path: &str, etag: Option<&str>) -> Result<Self, AppError> {
        let named = BlobName::new(path);
        let path = named.map_err(|why| AppError::Name { blob: id_of(container, path), why })?;
        Ok(Self { container: container.to_owned(), path, etag: etag.map(str::to_owned) })
    }

    /// What it is called in `_source`, in transaction ids and to people.
    pub(crate) fn id(&self) -> String {
        id_of(&self.container, &self.path)
    }
}

/// [`BlobRef::id`] of a name that may be none.
pub(crate) fn id_of(container: &str, path: &str) -> String {
    format!("blob:{container}/{path}")
}

/// Why a blob is to be read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cause<'a> {
    /// A request to read it again although its rows are there. The same request is carried out once.
    pub(crate) request: Option<&'a str>,
    /// The message that is being handled: the same in each delivery of it.
    pub(crate) message: Option<&'a str>,
}

/// One blob, and why.
#[derive(Clone, Copy)]
struct Job<'a> {
    runtime: &'a Runtime,
    dataset: &'a Arc<Dataset>,
    at: &'a BlobRef,
    request: Option<&'a str>,
    message: Option<&'a str>,
    /// Work that can be handed on is handed on then.
    hand_on_at: Instant,
}

/// A version of a blob that was certainly the newest after the claim had been taken.
struct Opened<'a> {
    claim: Claim<'a>,
    blob: Blob,
}

/// Ingests a blob once, or again for a request.
pub(crate) async fn ingest(app: &App, dataset: &str, at: &BlobRef, cause: Cause<'_>) -> Result<Done, AppError> {
    let runtime = app.runtime().await?;
    let dataset = runtime.dataset(dataset)?;
    let job = Job::new(app, runtime, dataset, at, cause);
    job.until_settled(|| job.ingest()).await
}

/// One part of a large blob; whoever finishes the last one commits them all.
pub(crate) async fn ingest_part(
    app: &App,
    dataset: &str,
    at: &BlobRef,
    part: &PartRef,
    cause: Cause<'_>,
) -> Result<Done, AppError> {
    let runtime = app.runtime().await?;
    let dataset = runtime.dataset(dataset)?;
    let job = Job::new(app, runtime, dataset, at, cause);
    job.until_settled(|| job.part(part)).await
}

/// Takes out the rows of a blob that was deleted, if its contract says so and it has not come back.
pub(crate) async fn remove(app: &App, dataset: &str, at: &BlobRef) -> Result<Done, AppError> {
    let runtime = app.runtime().await?;
    let dataset = runtime.dataset(dataset)?;
    let at = BlobRef { etag: None, ..at.clone() };
    let job = Job::new(app, runtime, dataset, &at, Cause::default());
    if !dataset.contract.follows_deletions() {
        return job.done(Outcome::Kept);
    }
    job.until_settled(|| job.remove()).await
}

/// Whether a table holds this version of a blob, as this process knows it.
pub(crate) fn is_held(table: &weir_lake::Table, dataset: &Dataset, at: &BlobRef, etag: &str) -> bool {
    stamp::holds(table.committed(&source_of(dataset, at, etag)), etag)
}

impl<'a> Job<'a> {
    fn new(app: &App, runtime: &'a Runtime, dataset: &'a Arc<Dataset>, at: &'a BlobRef, cause: Cause<'a>) -> Self {
        let Cause { request, message } = cause;
        let enough: Duration = crate::app::deadline(&app.settings) / 2;
        Self { runtime, dataset, at, request, message, hand_on_at: Instant::now() + enough }
    }

    /// Looks anew for each attempt: the answer is the same as if whoever got in between had come first. `None`, and a blob
    /// that changed while it was read, say that somebody did.
    async fn until_settled<F>(&self, attempt: impl Fn() -> F) -> Result<Done, AppError>
    where
        F: Future<Output = Result<Option<Done>, AppError>>,
    {
        for _ in 0..ATTEMPTS {
            match attempt().await {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => tracing::info!(path = %self.at.path, "another delivery of this blob got in between"),
                Err(AppError::Intake(error)) if matches!(error.kind(), ErrorKind::Changed | ErrorKind::Gone) => {}
                Err(error) => return Err(error),
            }
        }
        Err(AppError::Moved { producer: self.at.id(), attempts: ATTEMPTS })
    }

    async fn ingest(&self) -> Result<Option<Done>, AppError> {
        match self.look().await? {
            Ok(opened) => self.ingest_opened(&opened).await,
            Err(outcome) => self.done(outcome).map(Some),
        }
    }

    async fn remove(&self) -> Result<Option<Done>, AppError> {
        let claim = Claim::take(self, source_of(self.dataset, self.at, stamp::REMOVED)).await?;
        if !claim.has_rows() {
            return self.done(Outcome::Gone).map(Some);
        }
        match self.open().await {
            Ok(_) => return self.done(Outcome::Kept).map(Some),
            Err(AppError::Intake(error)) if error.kind() == ErrorKind::Gone => {}
            Err(error) => return Err(error),
        }
        let nothing = Collector::new(self.runtime, self.dataset).await?.finish(0).await?;
        let nothing = nothing.into_delivery(self.lineage(stamp::REMOVED)).await?;
        let removed = claim.publish((stamp::REMOVED, 0), nothing).await?;
        removed.map(|receipt| Done::of(Receipt { outcome: Outcome::Removed, ..receipt })).transpose()
    }

    /// Where the tables stand, and then the blob: in this order, which is what [`publish`] rests on. An outcome when there
    /// is nothing to read: it is settled, or deleted, or overwritten by a version that has an event of its own.
    async fn look(&self) -> Result<Result<Opened<'a>, Outcome>, AppError> {
        let known = match (&self.at.etag, self.dataset.contract.replaces_versions()) {
            (Some(etag), _) => Some(bare(etag).to_owned()),
            (None, true) => None,
            // The id is of one version, and nothing else moves it.
            (None, false) => match self.open().await {
                Ok(blob) => Some(blob.etag().to_owned()),
                Err(AppError::Intake(error)) if error.kind() == ErrorKind::Gone => {
                    return Ok(Err(Outcome::Gone));
                }
                Err(error) => return Err(error),
            },
        };
        let claim = Claim::take(self, source_of(self.dataset, self.at, known.as_deref().unwrap_or_default())).await?;
        // Answered before the blob is asked for: a redelivery may come when the blob is long gone.
        if let Some(etag) = &known
            && claim.is_settled(etag).await?
        {
            return Ok(Err(Outcome::AlreadyCommitted));
        }
        let dead = match self.open().await {
            Ok(blob) if claim.is_settled(blob.etag()).await? => return Ok(Err(Outcome::AlreadyCommitted)),
            Ok(blob) if blob.is_folder() || blob.size() == 0 && self.at.path.ends_with('/') => {
                return Ok(Err(Outcome::Nothing));
            }
            Ok(blob) => return Ok(Ok(Opened { claim, blob })),
            Err(AppError::Intake(error)) if error.kind() == ErrorKind::Gone => Outcome::Gone,
            Err(AppError::Intake(error)) if error.kind() == ErrorKind::Changed => Outcome::Overwritten,
            Err(error) => return Err(error),
        };
        if let Some(etag) = &known {
            claim.clear_dead_version(etag).await?;
        }
        Ok(Err(dead))
    }

    async fn open(&self) -> Result<Blob, AppError> {
        let store = self.runtime.landing()?.container(&self.at.container)?;
        Ok(Blob::open(store, self.at.path.key(), self.at.etag.as_deref()).await?)
    }

    /// `None` when a table moved meanwhile.
    async fn ingest_opened(&self, opened: &Opened<'a>) -> Result<Option<Done>, AppError> {
        let _permit = self.runtime.budget.take(footprint(&opened.blob)).await;
        match plan::of(&self.dataset.contract, &self.at.path, &opened.blob).await? {
            Plan::Parts(count) => self.hand_out(opened, count).await.map(Some),
            Plan::Stream { resumable } => match self.stream(opened, resumable).await? {
                Read::Whole(collected) => {
                    let delivery = collected.into_delivery(self.lineage(opened.blob.etag())).await?;
                    let published = opened.claim.publish((opened.blob.etag(), opened.blob.size()), delivery).await?;
                    published.map(Done::of).transpose()
                }
                Read::Pieces(pieces, rest) => self.put_together(opened, pieces, Some(rest)).await,
                Read::HandedOn(done) => Ok(Some(done)),
            },
        }
    }

    fn lineage(&self, etag: &str) -> Lineage {
        Lineage {
            source: source_of(self.dataset, self.at, etag),
            source_version: etag.to_owned(),
            ingested_at_us: chrono::Utc::now().timestamp_micros(),
        }
    }

    fn done(&self, outcome: Outcome) -> Result<Done, AppError> {
        Done::of(Receipt::nothing(&self.dataset.contract.name, outcome))
    }
}

fn footprint(blob: &Blob) -> u64 {
    (1024 * 1024 + blob.size().saturating_mul(FOOTPRINT_FACTOR)).min(FOOTPRINT_BYTES)
}

fn bare(etag: &str) -> &str {
    etag.trim_matches('"')
}
