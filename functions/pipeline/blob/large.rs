//! Blobs that are too large for one go. Those that can be cut are read in parts, on as many instances as there are; the
//! others piece by piece, so that a kill costs one piece. Either way what is written is noted beside the table, and
//! whoever writes the last of it commits all of it.
//!
//! Parts and pieces may be written twice, at the same time, in any order: the first note stands, and the files of the
//! second are given up.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use weir_contract::FormatKind;
use weir_lake::{Table, stamp};

use super::collect::{Collected, Collector};
use super::pieces::{self, MAX_AGE_MS, Outline, Piece, Pieces, Resume, key};
use super::publish::{Claim, source_of};
use super::records::{Extent, Records};
use super::{Job, Opened, plan};
use crate::error::AppError;
use crate::pipeline::{Done, Outcome};
use crate::tasks::Task;

/// Parts of a blob number their records apart: `part · 2^40 + row`.
const PART_POSITIONS: i64 = 1 << 40;
/// Blobs whose progress is told.
const MAX_TOLD: usize = 100;

/// One part of a blob version, as a task names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartRef {
    /// Of the reading that it belongs to.
    pub(crate) key: String,
    /// From 0.
    pub(crate) part: u32,
    pub(crate) parts: u32,
}

/// What became of reading a blob from its beginning to its end.
pub(super) enum Read<'a> {
    Whole(Collected<'a>),
    /// All pieces but the last are noted.
    Pieces(Vec<Piece>, Piece),
    HandedOn(Done),
}

impl<'a> Job<'a> {
    fn pieces(&self, claim: &Claim<'_>, etag: &str) -> (Pieces, String) {
        let source = source_of(self.dataset, self.at, etag);
        let key = key(self.dataset, claim.tables(), &source, etag, self.request);
        (Pieces::of(&claim.table, &key), key)
    }

    fn outline(&self, opened: &Opened<'_>, parts: Option<u32>) -> Outline {
        Outline {
            source: opened.claim.source.clone(),
            etag: opened.blob.etag().to_owned(),
            parts,
            bytes: opened.blob.size(),
            by: self.message.map(str::to_owned),
            request: self.request.map(str::to_owned),
        }
    }

    /// Hands out the parts that are not written yet.
    pub(super) async fn hand_out(&self, opened: &Opened<'a>, parts: u32) -> Result<Done, AppError> {
        let (pieces, key) = self.pieces(&opened.claim, opened.blob.etag());
        let written = pieces.written().await?;
        let outline = pieces.outline(&self.outline(opened, Some(parts))).await?;
        // Another message has handed them out, and is delivered until it has: not twice.
        if self.message.is_some() && outline.by.is_some() && outline.by.as_deref() != self.message {
            return self.done(Outcome::InProgress);
        }
        let missing = (0..parts).filter(|part| !written.numbers.contains(part));
        let mut tasks: Vec<Task> = missing.map(|part| self.part_task(opened, &key, part, parts)).collect();
        if tasks.is_empty() {
            // All are written and whoever wrote the last one did not live to commit them.
            tasks.push(self.part_task(opened, &key, 0, parts));
        }
        Ok(self.done(Outcome::HandedOut)?.with(tasks))
    }

    fn part_task(&self, opened: &Opened<'_>, key: &str, part: u32, parts: u32) -> Task {
        Task::IngestPart {
            dataset: self.dataset.contract.name.clone(),
            container: self.at.container.clone(),
            path: self.at.path.to_string(),
            etag: opened.blob.etag().to_owned(),
            request: self.request.map(str::to_owned),
            part: PartRef { key: key.to_owned(), part, parts },
        }
    }

    fn again(&self, etag: &str) -> Task {
        Task::IngestBlob {
            dataset: self.dataset.contract.name.clone(),
            container: self.at.container.clone(),
            path: self.at.path.to_string(),
            etag: Some(etag.to_owned()),
            request: self.request.map(str::to_owned),
        }
    }

    /// Writes one part, and commits the blob if that was the last. `None` when a table moved meanwhile.
    pub(super) async fn part(&self, part: &PartRef) -> Result<Option<Done>, AppError> {
        let opened = match self.look().await? {
            Ok(opened) => opened,
            Err(outcome) => return self.done(outcome).map(Some),
        };
        let etag = opened.blob.etag().to_owned();
        let (pieces, key) = self.pieces(&opened.claim, &etag);
        let mut written = pieces.written().await?;
        let outline = pieces.read_outline().await?;
        let Some(parts) = outline.as_ref().and_then(|outline| outline.parts).filter(|_| key == part.key) else {
            // The contract has changed since, or nobody has handed this blob's parts out: cut and hand out anew.
            return Ok(Some(self.done(Outcome::HandedOut)?.with(vec![self.again(&etag)])));
        };
        // How many there are says the outline, never the message.
        if part.parts != parts || part.part >= parts {
            return Err(AppError::Refused { problem: "the blob is cut into another number of parts" });
        }
        if key == part.key && !written.expired && !written.numbers.contains(&part.part) {
            self.write_part(&opened, &pieces, part).await?;
            // Others have gone on meanwhile.
            written = pieces.written().await?;
        }
        if written.expired {
            // The others' work is too old: cut and hand out anew.
            return Ok(Some(self.done(Outcome::HandedOut)?.with(vec![self.again(&etag)])));
        }
        if (0..parts).any(|number| !written.numbers.contains(&number)) {
            return self.done(Outcome::PartWritten).map(Some);
        }
        let mut all = Vec::new();
        for number in 0..parts {
            // Gone: somebody committed them all and cleared up.
            let Some(piece) = pieces.get(number).await? else { return Ok(None) };
            all.push(piece);
        }
        self.check_whole(&opened, &all)?;
        // The claim was taken before the part was read, and much may have happened since.
        let opened = match self.look().await? {
            Ok(opened) => opened,
            Err(outcome) => return self.done(outcome).map(Some),
        };
        self.put_together(&opened, all, None).await
    }

    /// Whether parts that know their bytes are the whole blob, without a hole and without an overlap.
    fn check_whole(&self, opened: &Opened<'_>, parts: &[Piece]) -> Result<(), AppError> {
        let size = opened.blob.size();
        let mut covered = 0;
        for bytes in parts.iter().map(|part| part.bytes.as_ref()) {
            // A note of an earlier release, or row groups, which are counted by their number.
            let Some(bytes) = bytes else { return Ok(()) };
            if bytes.start != covered {
                break;
            }
            covered = bytes.end;
        }
        if covered == size {
            return Ok(());
        }
        Err(AppError::NotWhole { source_: opened.claim.source.clone(), covered, size })
    }

    async fn write_part(&self, opened: &Opened<'a>, pieces: &Pieces, part: &PartRef) -> Result<(), AppError> {
        let extent = extent_of(opened.blob.size(), self.dataset.contract.format.split_bytes, part.part);
        let covered = match &extent {
            Extent::Part(_, bytes, _) if !bytes.is_empty() && !self.is_parquet() => Some(bytes.clone()),
            _ => None,
        };
        let _permit = self.runtime.budget.take(super::FOOTPRINT_BYTES).await;
        let lineage = self.lineage(opened.blob.etag());
        let mut source = Records::open(self.dataset, self.at, opened.blob.clone(), lineage, extent).await?;
        let mut collector = Collector::new(self.runtime, self.dataset).await?;
        source.give(&mut collector, u64::MAX).await?;
        let piece = Piece { bytes: covered, ..collector.finish(source.read()).await?.into_piece().await? };
        self.note(&opened.claim, pieces, part.part, piece).await?;
        Ok(())
    }

    fn is_parquet(&self) -> bool {
        matches!(self.dataset.contract.resolve_format(&self.at.path), Ok(FormatKind::Parquet))
    }

    /// Notes a piece, or gives its files up because somebody else has noted it. Returns the one that stands.
    async fn note(&self, claim: &Claim<'_>, pieces: &Pieces, number: u32, piece: Piece) -> Result<Piece, AppError> {
        let (standing, own) = pieces.put(number, &piece).await?;
        if !own {
            claim.table.discard_listed(piece.clean).await?;
            if !piece.refused.is_empty() {
                self.runtime.lake.table(&self.dataset.quarantine).await?.discard_listed(piece.refused).await?;
            }
        }
        Ok(standing)
    }

    /// Reads a blob from where the notes end. A blob that ends before its first piece is full leaves no note.
    pub(super) async fn stream(&self, opened: &Opened<'a>, resumable: bool) -> Result<Read<'a>, AppError> {
        let etag = opened.blob.etag();
        let (pieces, _) = self.pieces(&opened.claim, etag);
        let mut done = Vec::new();
        if resumable {
            let written = pieces.written().await?;
            while let Ok(number) = u32::try_from(done.len())
                && written.numbers.contains(&number)
                && let Some(piece) = pieces.get(number).await?
            {
                done.push(piece);
            }
        }
        let piece_bytes = self.dataset.contract.format.split_bytes;
        let from = |done: &[Piece]| done.last().and_then(|piece| piece.resume);
        let mut source = self.records(opened, from(&done)).await?;
        loop {
            let mut collector = Collector::new(self.runtime, self.dataset).await?;
            let ended = source.give(&mut collector, piece_bytes).await?;
            // Where pieces follow one another the last one knows how far all of them came.
            let collected = collector.finish(if ended { source.read() } else { 0 }).await?;
            if ended && done.is_empty() {
                return Ok(Read::Whole(collected));
            }
            let mut piece = collected.into_piece().await?;
            if ended {
                return Ok(Read::Pieces(done, piece));
            }
            if done.is_empty() {
                pieces.outline(&self.outline(opened, None)).await?;
            }
            piece.resume = Some(source.resume());
            let number = u32::try_from(done.len()).unwrap_or(u32::MAX);
            let standing = self.note(&opened.claim, &pieces, number, piece.clone()).await?;
            if standing.resume != piece.resume {
                // Another instance reads this blob too, and is to be followed.
                source = self.records(opened, standing.resume).await?;
            }
            done.push(standing);
            if Instant::now() >= self.hand_on_at {
                return Ok(Read::HandedOn(self.done(Outcome::HandedOn)?.with(vec![self.again(etag)])));
            }
        }
    }

    async fn records(&self, opened: &Opened<'a>, from: Option<Resume>) -> Result<Records, AppError> {
        let extent = from.map_or(Extent::Whole, Extent::From);
        Records::open(self.dataset, self.at, opened.blob.clone(), self.lineage(opened.blob.etag()), extent).await
    }

    /// Commits what was written in parts or pieces. `rest` is not noted. `None` when a table moved meanwhile.
    pub(super) async fn put_together(
        &self,
        opened: &Opened<'a>,
        mut pieces: Vec<Piece>,
        rest: Option<Piece>,
    ) -> Result<Option<Done>, AppError> {
        pieces.extend(rest);
        let etag = opened.blob.etag();
        let collected = Collected::joined(self.runtime, self.dataset, pieces).await?;
        let delivery = collected.into_delivery(self.lineage(etag)).await?;
        let published = opened.claim.publish((etag, opened.blob.size()), delivery).await?;
        if published.is_some() {
            // What cannot be deleted is tidied up later.
            if let Err(error) = self.pieces(&opened.claim, etag).0.clear().await {
                tracing::debug!(%error, "notes of a committed blob stay");
            }
        }
        published.map(Done::of).transpose()
    }
}

/// One part of a blob of so many bytes. The parts of a Parquet file are others, its row groups: there the bytes say nothing.
pub(super) fn extent_of(size: u64, split_bytes: u64, part: u32) -> Extent {
    let index = usize::try_from(part).unwrap_or(usize::MAX);
    let bytes = plan::cut(size, split_bytes).get(index).cloned().unwrap_or_default();
    Extent::Part(index, bytes, i64::from(part) * PART_POSITIONS + 1)
}

/// How far a large blob is that is not committed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Progress {
    pub(crate) source: String,
    pub(crate) etag: String,
    pub(crate) bytes: u64,
    /// Parts, or pieces, that are written.
    pub(crate) written: usize,
    /// `null` for a blob that is read piece by piece.
    pub(crate) parts: Option<u32>,
    pub(crate) since_ms: i64,
}

/// The large blobs that are being read, as far as there are few enough to be told.
pub(crate) async fn progress(table: &Arc<Table>) -> Result<Vec<Progress>, AppError> {
    let notes = table.staged_work().await?;
    let mut told = Vec::new();
    for notes in notes.chunk_by(|left, right| left.key == right.key).take(MAX_TOLD) {
        let written = pieces::written(notes);
        let Some(note) = notes.first().map(|note| note.key.as_str()) else { continue };
        let Some(Outline { source, etag, parts, bytes, request, .. }) = Pieces::of(table, note).read_outline().await?
        else {
            continue;
        };
        // Whoever died after the commit left these notes; they go within a day.
        if request.is_none() && stamp::holds(table.committed(&source), &etag) {
            continue;
        }
        let since_ms = written.since_ms.unwrap_or_default();
        told.push(Progress { source, etag, bytes, written: written.numbers.len(), parts, since_ms });
    }
    Ok(told)
}

/// Deletes notes that nobody will continue. Their files go with the next vacuum.
pub(crate) async fn tidy(table: &Arc<Table>) -> Result<usize, AppError> {
    let notes = table.staged_work().await?;
    let mut tidied = 0;
    if notes.is_empty() {
        return Ok(tidied);
    }
    let now_ms = table.store_now_ms().await?;
    for notes in notes.chunk_by(|left, right| left.key == right.key) {
        let newest = notes.iter().map(|note| note.made_ms).max().unwrap_or_default();
        if let Some(note) = notes.first().filter(|_| now_ms - newest > MAX_AGE_MS) {
            Pieces::of(table, &note.key).clear().await?;
            tidied += 1;
        }
    }
    Ok(tidied)
}
