//! A blob that is committed, read again as ingestion would read it now.

use std::sync::Arc;

use weir_contract::{RuleAction, Source};
use weir_intake::{Blob, ErrorKind};
use weir_lake::stamp;
use weir_transform::{Lineage, Output, QualityReport};

use super::large::extent_of;
use super::plan::{self, Plan};
use super::publish::source_of;
use super::records::{Extent, Records};
use super::{BlobRef, id_of};
use crate::app::{Dataset, Runtime};
use crate::error::AppError;

/// A blob's records, a chunk at a time.
pub(crate) struct Reread {
    dataset: Arc<Dataset>,
    at: BlobRef,
    blob: Blob,
    lineage: Lineage,
    /// `None`: it is read from its beginning to its end.
    parts: Option<u32>,
    /// Part that is read next.
    next: u32,
    records: Option<Records>,
    /// In place of all records, if the blob is held back.
    in_their_place: Option<Output>,
}

/// A source that was read again, to be compared with its rows.
pub(crate) enum Again {
    Records(Box<Reread>),
    /// The blob was deleted, and its rows went with it.
    Nothing,
    /// Why nobody can tell.
    Unknown {
        why: &'static str,
        is_missing: bool,
    },
}

const GONE: Again = Again::Unknown { why: "the blob is gone", is_missing: false };
const OVERWRITTEN: Again =
    Again::Unknown { why: "the blob was overwritten, and its newest version is not ingested yet", is_missing: true };
const FORMER: Again = Again::Unknown { why: "this version of the blob was overwritten", is_missing: false };
const BACK: Again =
    Again::Unknown { why: "the blob was deleted and is back, and is not ingested yet", is_missing: true };
const ELSEWHERE: Again = Again::Unknown { why: "it is not of the contract's container", is_missing: false };
const NO_NAME: Again = Again::Unknown { why: "no request can carry the blob's name", is_missing: false };

/// The name of a source's blob in its container; `None` if it is of none of the contract's.
pub(crate) fn path_of<'s>(dataset: &Dataset, source: &'s str) -> Option<&'s str> {
    let Source::Blob { container, .. } = &dataset.contract.source else { return None };
    let named = source.strip_prefix(&id_of(container, ""))?;
    match dataset.contract.replaces_versions() {
        true => Some(named),
        false => named.rsplit_once('@').map(|(path, _)| path),
    }
}

/// Opens the blob of a source in the version that a table holds.
pub(crate) async fn open(
    runtime: &Runtime,
    dataset: &Arc<Dataset>,
    source: &str,
    version: i64,
) -> Result<Again, AppError> {
    let (Some(path), Source::Blob { container, .. }) = (path_of(dataset, source), &dataset.contract.source) else {
        return Ok(ELSEWHERE);
    };
    let Ok(at) = BlobRef::new(container, path, None) else { return Ok(NO_NAME) };
    let was_removed = stamp::holds(Some(version), stamp::REMOVED);
    let store = runtime.landing()?.container(container)?;
    let blob = match Blob::open(store, at.path.key(), None).await {
        Ok(_) if was_removed => return Ok(BACK),
        Ok(blob) => blob,
        Err(error) if error.kind() == ErrorKind::Gone => return Ok(if was_removed { Again::Nothing } else { GONE }),
        Err(error) => return Err(error.into()),
    };
    if source_of(dataset, &at, blob.etag()) != source {
        return Ok(FORMER);
    }
    if !stamp::holds(Some(version), blob.etag()) {
        return Ok(OVERWRITTEN);
    }
    let lineage = Lineage {
        source: source.to_owned(),
        source_version: blob.etag().to_owned(),
        ingested_at_us: chrono::Utc::now().timestamp_micros(),
    };
    Ok(Again::Records(Box::new(Reread::new(dataset, at, blob, lineage).await?)))
}

/// Whether an error says that the blob changed while it was read.
pub(crate) fn has_changed(error: &AppError) -> bool {
    matches!(error, AppError::Intake(error) if matches!(error.kind(), ErrorKind::Gone | ErrorKind::Changed))
}

impl Reread {
    async fn new(dataset: &Arc<Dataset>, at: BlobRef, blob: Blob, lineage: Lineage) -> Result<Self, AppError> {
        let parts = match plan::of(&dataset.contract, &at.path, &blob).await? {
            Plan::Parts(parts) => Some(parts),
            Plan::Stream { .. } => None,
        };
        let dataset = Arc::clone(dataset);
        let mut own = Self { dataset, at, blob, lineage, parts, next: 0, records: None, in_their_place: None };
        own.judge().await?;
        Ok(own)
    }

    /// Reads the whole blob for its verdict, if its contract can hold one back.
    async fn judge(&mut self) -> Result<(), AppError> {
        let contract = &self.dataset.contract;
        let is_judged =
            contract.quality.max_faulty.is_some() || contract.rules.iter().any(|rule| rule.action == RuleAction::Fail);
        if !is_judged {
            return Ok(());
        }
        let mut report = QualityReport::default();
        while let Some(output) = self.next().await? {
            report.merge(output.report);
        }
        match report.verdict(&self.dataset.contract) {
            Some(held_back) => {
                self.in_their_place = Some(self.dataset.transform.held_back_record(&held_back, &self.lineage)?);
            }
            None => self.next = 0,
        }
        Ok(())
    }

    /// The next frames, by position; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Output>, AppError> {
        if let Some(output) = self.in_their_place.take() {
            return Ok(Some(output));
        }
        loop {
            if let Some(records) = &mut self.records {
                if let Some(chunk) = records.next().await? {
                    return Ok(Some(chunk.output));
                }
                self.records = None;
            }
            if self.next >= self.parts.unwrap_or(1) {
                return Ok(None);
            }
            let extent = match self.parts {
                Some(_) => extent_of(self.blob.size(), self.dataset.contract.format.split_bytes, self.next),
                None => Extent::Whole,
            };
            self.next += 1;
            let (blob, lineage) = (self.blob.clone(), self.lineage.clone());
            self.records = Some(Records::open(&self.dataset, &self.at, blob, lineage, extent).await?);
        }
    }
}
