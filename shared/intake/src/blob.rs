//! One version of one blob.

use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Attribute, GetOptions, GetRange, ObjectStore};

use crate::error::IntakeError;

/// Ranges that are read side by side on their way into a local file.
const SPILL_READS: usize = 3;

/// A blob whose version is pinned: every read fails with [`crate::ErrorKind::Changed`] once it is overwritten.
#[derive(Debug, Clone)]
pub struct Blob {
    store: Arc<dyn ObjectStore>,
    path: Path,
    /// As the store gives it, for `If-Match`.
    match_tag: String,
    etag: String,
    size: u64,
    is_folder: bool,
}

/// Metadata by which drivers of Hadoop mark an empty blob as a folder.
const FOLDER: &str = "hdi_isfolder";

impl Blob {
    /// Opens the version that `expected_etag` names, or the newest without it. Costs one HEAD.
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        path: Path,
        expected_etag: Option<&str>,
    ) -> Result<Self, IntakeError> {
        let head = GetOptions { head: true, ..GetOptions::default() };
        let found = store.get_opts(&path, head).await.map_err(|source| error(&path, source))?;
        let marked = found.attributes.iter().any(|(key, value)| {
            matches!(key, Attribute::Metadata(name) if name.eq_ignore_ascii_case(FOLDER)) && value.as_ref() == "true"
        });
        let meta = found.meta;
        let is_folder = meta.size == 0 && marked;
        let Some(match_tag) = meta.e_tag else {
            return Err(IntakeError::Unfit {
                path,
                problem: "the store gives no etag, so the version cannot be pinned",
            });
        };
        let etag = bare(&match_tag).to_owned();
        if expected_etag.is_some_and(|expected| bare(expected) != etag) {
            return Err(IntakeError::Changed { path });
        }
        Ok(Self { store, path, match_tag, etag, size: meta.size, is_folder })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Without quotes, as Event Grid writes it.
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// Bytes, as stored.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it only stands for a folder: it is empty, and whoever made it says so.
    pub fn is_folder(&self) -> bool {
        self.is_folder
    }

    /// The bytes of a range; shorter at the blob's end, never elsewhere.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, IntakeError> {
        let range = range.start..range.end.min(self.size);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let length = range.end - range.start;
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            if_match: Some(self.match_tag.clone()),
            ..GetOptions::default()
        };
        let found = self.store.get_opts(&self.path, options).await.map_err(|source| error(&self.path, source))?;
        let bytes = found.bytes().await.map_err(|source| error(&self.path, source))?;
        if bytes.len() as u64 != length {
            let path = self.path.clone();
            return Err(IntakeError::Unfit { path, problem: "the store gave another number of bytes than asked for" });
        }
        Ok(bytes)
    }

    /// Copies the whole blob into a local file, `range_bytes` at a time and a few of them side by side: for formats that
    /// need random access.
    pub async fn spill(&self, file: &mut std::fs::File, range_bytes: u64) -> Result<(), IntakeError> {
        let range_bytes = range_bytes.max(1);
        let starts = (0..self.size.div_ceil(range_bytes)).map(|range| range * range_bytes);
        let reads = starts.map(|start| self.read(start..start.saturating_add(range_bytes)));
        let mut reads = futures::stream::iter(reads).buffered(SPILL_READS);
        while let Some(bytes) = reads.try_next().await? {
            file.write_all(&bytes).map_err(|source| IntakeError::Spill { path: self.path.clone(), source })?;
        }
        file.flush().map_err(|source| IntakeError::Spill { path: self.path.clone(), source })
    }
}

impl Blob {
    /// Copies these ranges into a local file as long as the blob, each to its own place; what lies between them takes no
    /// room. For formats that need random access, read in part.
    pub async fn spill_ranges(
        &self,
        file: &mut std::fs::File,
        ranges: &[Range<u64>],
        range_bytes: u64,
    ) -> Result<(), IntakeError> {
        let local = |source| IntakeError::Spill { path: self.path.clone(), source };
        file.set_len(self.size).map_err(local)?;
        for range in ranges {
            let (mut at, end) = (range.start, range.end.min(self.size));
            while at < end {
                let bytes = self.read(at..end.min(at.saturating_add(range_bytes.max(1)))).await?;
                file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(&bytes)).map_err(local)?;
                at += bytes.len() as u64;
            }
        }
        file.flush().map_err(local)
    }

    /// Where a Parquet file's footer is, by its last bytes; the reason why it has none, which refuses the blob.
    pub async fn parquet_footer(&self) -> Result<Result<Range<u64>, String>, IntakeError> {
        const TAIL_BYTES: u64 = 8;
        const MAX_FOOTER_BYTES: u64 = 64 * 1024 * 1024;
        let tail = self.read(self.size.saturating_sub(TAIL_BYTES)..self.size).await?;
        let Some(([a, b, c, d], b"PAR1")) = tail.split_first_chunk() else {
            let encrypted = tail.ends_with(b"PARE");
            let problem =
                if encrypted { "its footer is encrypted" } else { "it has no footer at its end; is it truncated?" };
            return Ok(Err(format!("not a Parquet file that can be read: {problem}")));
        };
        let length = u64::from(u32::from_le_bytes([*a, *b, *c, *d])) + TAIL_BYTES;
        Ok(match self.size.checked_sub(length) {
            Some(start) if length <= MAX_FOOTER_BYTES => Ok(start..self.size),
            Some(_) => Err("the Parquet file's footer has more than 64 MiB".to_owned()),
            None => Err("not a Parquet file that can be read: its footer is longer than the file".to_owned()),
        })
    }
}

/// Event Grid gives etags without the quotes that HTTP has.
fn bare(etag: &str) -> &str {
    etag.trim_start_matches("W/").trim_matches('"')
}

fn error(path: &Path, source: object_store::Error) -> IntakeError {
    let path = path.clone();
    match source {
        object_store::Error::NotFound { .. } => IntakeError::Gone { path },
        object_store::Error::Precondition { .. } => IntakeError::Changed { path },
        source => IntakeError::Store { path, source },
    }
}
