//! A blob as a sequence of pieces: ranges are fetched one ahead of the one in work.

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::blob::Blob;
use crate::error::IntakeError;
use crate::gunzip::Gunzip;
use crate::split::{Framing, Piece, Splitter};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];

#[derive(Debug, Clone, Copy)]
pub struct ChunkOptions {
    pub framing: Framing,
    /// `None` decides by magic bytes.
    pub gzip: Option<bool>,
    /// Bytes of one request; at least 2, which tell gzip.
    pub range_bytes: u64,
    /// Bytes of one piece, about.
    pub chunk_bytes: usize,
    /// A longer record is refused. Without its line break.
    pub max_record_bytes: usize,
}

/// Gives a blob's pieces in order. Holds at most two ranges, two pieces, one record, and 16 MiB more of a gzip stream.
/// After an error it is of no use any more.
#[derive(Debug)]
pub struct ChunkReader {
    blob: Blob,
    options: ChunkOptions,
    splitter: Splitter,
    gunzip: Option<Gunzip>,
    /// Fetched and not expanded yet.
    compressed: Bytes,
    ahead: Option<JoinHandle<Result<Bytes, IntakeError>>>,
    /// Bytes fetched.
    offset: u64,
    /// The first bytes, as long as they may be the beginning of a byte order mark.
    lead: Option<Vec<u8>>,
    end: bool,
    /// The stream broke off: what follows the last whole record is no record.
    torn: bool,
    /// Why; taken once it has been told.
    damage: Option<&'static str>,
}

impl Blob {
    /// Reads the blob as records. A byte order mark is dropped.
    pub fn chunks(self, options: ChunkOptions) -> ChunkReader {
        let splitter = Splitter::new(options.framing, options.max_record_bytes, options.chunk_bytes);
        let options = ChunkOptions { range_bytes: options.range_bytes.max(GZIP_MAGIC.len() as u64), ..options };
        let end = self.size() == 0;
        ChunkReader {
            blob: self,
            options,
            splitter,
            gunzip: None,
            compressed: Bytes::new(),
            ahead: None,
            offset: 0,
            lead: Some(Vec::new()),
            end,
            torn: false,
            damage: None,
        }
    }
}

impl ChunkReader {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Piece>, IntakeError> {
        loop {
            if self.torn {
                return Ok(self.splitter.pull_torn(&mut self.damage));
            }
            if let Some(piece) = self.splitter.pull(self.end) {
                return Ok(Some(piece));
            }
            if self.end {
                return Ok(None);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), IntakeError> {
        let first = self.offset == 0;
        let range = if self.compressed.is_empty() { self.fetch().await? } else { std::mem::take(&mut self.compressed) };
        if first && self.options.gzip.unwrap_or_else(|| range.starts_with(&GZIP_MAGIC)) {
            self.gunzip = Some(Gunzip::new());
        }
        if self.gunzip.is_some() {
            return self.expand(range).await;
        }
        self.end = self.is_fetched();
        self.push(&range);
        Ok(())
    }

    async fn expand(&mut self, mut compressed: Bytes) -> Result<(), IntakeError> {
        let Some(mut gunzip) = self.gunzip.take() else { return Ok(()) };
        let (last, enough) = (self.is_fetched(), self.options.chunk_bytes.max(1));
        let expanded = spawn_blocking(move || {
            let (bytes, damage) = gunzip.expand(&mut compressed, last, enough);
            (gunzip, compressed, bytes, damage)
        });
        let (gunzip, compressed, bytes, damage) =
            expanded.await.map_err(|_| IntakeError::Stopped { path: self.blob.path().clone() })?;
        (self.gunzip, self.compressed) = (Some(gunzip), compressed);
        self.end = last && self.compressed.is_empty();
        if damage.is_some() {
            self.damage = damage;
            (self.torn, self.end) = (true, true);
            self.stop_fetching();
        }
        self.push(&bytes);
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) {
        let Some(lead) = &mut self.lead else { return self.splitter.push(bytes) };
        lead.extend_from_slice(bytes);
        if lead.len() < BOM.len() && !self.end {
            return;
        }
        self.splitter.push(lead.strip_prefix(&BOM).unwrap_or(lead));
        self.lead = None;
    }

    /// The range at `offset`, while the one after it is already on its way.
    async fn fetch(&mut self) -> Result<Bytes, IntakeError> {
        let step = self.options.range_bytes;
        let range = match &mut self.ahead {
            Some(ahead) => {
                let joined = ahead.await;
                self.ahead = None;
                joined.map_err(|_| IntakeError::Stopped { path: self.blob.path().clone() })??
            }
            None => self.blob.read(self.offset..self.offset.saturating_add(step)).await?,
        };
        self.offset += range.len() as u64;
        if !self.is_fetched() {
            let (blob, next) = (self.blob.clone(), self.offset);
            self.ahead = Some(tokio::spawn(async move { blob.read(next..next.saturating_add(step)).await }));
        }
        Ok(range)
    }

    fn is_fetched(&self) -> bool {
        self.offset >= self.blob.size()
    }

    fn stop_fetching(&mut self) {
        if let Some(ahead) = self.ahead.take() {
            ahead.abort();
        }
    }
}

/// A reader that is given up holds no memory: its budget is another's from then on.
impl Drop for ChunkReader {
    fn drop(&mut self) {
        self.stop_fetching();
    }
}
