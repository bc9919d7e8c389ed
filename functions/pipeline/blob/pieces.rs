//! What was written and is not committed yet: one note for each part or piece of a large blob, made once.
//!
//! The notes of one reading of one blob version lie together under a key. It is made of everything that decides what a
//! note means (blob, etag, request, contract, the tables themselves), so that notes of different readings never meet: after a contract changed,
//! the work begins anew under another key.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use weir_lake::{FileList, Note, Staging, Table};
use weir_transform::QualityReport;

use crate::app::Dataset;
use crate::error::AppError;

/// Notes that are older are not continued: vacuum might take their files. See `ORPHAN_AGE` in `maintain`.
pub(in crate::pipeline) const MAX_AGE_MS: i64 = 24 * 3600 * 1000;
/// The note that says how the blob is cut.
const OUTLINE: &str = "outline";

/// One part or piece that is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) clean: FileList,
    pub(super) refused: FileList,
    pub(super) report: QualityReport,
    /// Where the next piece begins; a part has no next one.
    pub(super) resume: Option<Resume>,
    /// The bytes of the blob that a part stands for; `None` of row groups, and of pieces.
    #[serde(default)]
    pub(super) bytes: Option<Range<u64>>,
    /// Bytes of the blob that were read for it. Where pieces follow one another, the last one has those of all. `None` in
    /// notes of an earlier release.
    #[serde(default)]
    pub(super) read: Option<u64>,
}

/// Where reading goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::pipeline) struct Resume {
    /// Of the decoded stream.
    pub(super) offset: u64,
    pub(super) position: i64,
}

/// How a blob is read, and by whose order. For the machines that do it and the people who look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outline {
    pub(super) source: String,
    pub(super) etag: String,
    /// `None` for pieces, whose number is not known before.
    pub(super) parts: Option<u32>,
    pub(super) bytes: u64,
    /// The message that handed the parts out.
    pub(super) by: Option<String>,
    /// The request that it is read for, if it is not the blob's own event.
    #[serde(default)]
    pub(super) request: Option<String>,
}

/// The notes of one reading.
pub(super) struct Pieces {
    table: Arc<Table>,
    staging: Staging,
}

/// What a reading has so far.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Numbers of the parts or pieces, in order.
    pub(super) numbers: Vec<u32>,
    /// When the first note was made.
    pub(super) since_ms: Option<i64>,
    /// There were notes, too old to be continued; they are gone.
    pub(super) expired: bool,
}

impl Pieces {
    pub(super) fn of(table: &Arc<Table>, key: &str) -> Self {
        Self { table: Arc::clone(table), staging: table.staging(key) }
    }

    /// Makes the outline; returns the one that stands.
    pub(super) async fn outline(&self, outline: &Outline) -> Result<Outline, AppError> {
        decode(&self.staging.put(OUTLINE, encode(outline)?).await?)
    }

    pub(super) async fn read_outline(&self) -> Result<Option<Outline>, AppError> {
        self.staging.get(OUTLINE).await?.map(|bytes| decode(&bytes)).transpose()
    }

    /// Makes the note of a part or piece; returns the one that stands, and whether it is this one.
    pub(super) async fn put(&self, number: u32, piece: &Piece) -> Result<(Piece, bool), AppError> {
        let standing: Piece = decode(&self.staging.put(&name(number), encode(piece)?).await?)?;
        let own = standing == *piece;
        Ok((standing, own))
    }

    pub(super) async fn get(&self, number: u32) -> Result<Option<Piece>, AppError> {
        self.staging.get(&name(number)).await?.map(|bytes| decode(&bytes)).transpose()
    }

    /// Lists what is written. Deletes notes that are too old to be continued, by the store's clock: the reading begins anew.
    pub(super) async fn written(&self) -> Result<Written, AppError> {
        let written = written(&self.staging.list().await?);
        let Some(since_ms) = written.since_ms else { return Ok(written) };
        if self.table.store_now_ms().await? - since_ms > MAX_AGE_MS {
            self.clear().await?;
            return Ok(Written { expired: true, ..Written::default() });
        }
        Ok(written)
    }

    pub(super) async fn clear(&self) -> Result<(), AppError> {
        Ok(self.staging.clear().await?)
    }
}

/// What the notes of one key say.
pub(super) fn written(notes: &[Note]) -> Written {
    let numbers = notes.iter().filter_map(|note| note.name.strip_prefix("piece-")?.parse().ok()).collect();
    Written { numbers, since_ms: notes.iter().map(|note| note.made_ms).min(), expired: false }
}

fn name(number: u32) -> String {
    format!("piece-{number:06}")
}

fn encode(note: &impl Serialize) -> Result<Bytes, AppError> {
    let body = serde_json::to_vec(note).map_err(|error| AppError::Note { message: error.to_string() })?;
    Ok(body.into())
}

fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, AppError> {
    let unreadable = |error: serde_json::Error| AppError::Note {
        message: format!("not one that this version knows (line {}, column {})", error.line(), error.column()),
    };
    serde_json::from_slice(bytes).map_err(unreadable)
}

/// Names one reading of one version of a blob under one contract, into these tables: what was written for others that had
/// their names is nothing to them.
pub(super) fn key(dataset: &Dataset, tables: [&Table; 2], source: &str, etag: &str, request: Option<&str>) -> String {
    let mut digest = Sha256::new();
    let [table, quarantine] = tables.map(|table| table.identity().0);
    for part in [source, etag, request.unwrap_or_default(), &dataset.fingerprint, &table, &quarantine] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    data_encoding::HEXLOWER.encode(&digest.finalize()[..16])
}
