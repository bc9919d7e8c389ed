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
    /// Bytes of one request.
    pub range_bytes: u64,
    /// Bytes of one piece, about.
    pub chunk_bytes: usize,
    pub max_record_bytes: usize,
}

/// Gives a blob's pieces in order. Holds at most two ranges, one piece and one record.
#[derive(Debug)]
pub struct ChunkReader {
    blob: Blob,
    options: ChunkOptions,
    splitter: Splitter,
    gunzip: Option<Gunzip>,
    ahead: Option<JoinHandle<Result<Bytes, IntakeError>>>,
    offset: u64,
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
        let end = self.size() == 0;
        ChunkReader {
            blob: self,
            options,
            splitter,
            gunzip: None,
            ahead: None,
            offset: 0,
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
        let range = self.fetch().await?;
        self.offset += range.len() as u64;
        self.end = self.offset >= self.blob.size() || range.is_empty();
        if first && self.options.gzip.unwrap_or_else(|| range.starts_with(&GZIP_MAGIC)) {
            self.gunzip = Some(Gunzip::new());
        }
        let Some(mut gunzip) = self.gunzip.take() else {
            self.push(&range, first);
            return Ok(());
        };
        let end = self.end;
        let expanded = spawn_blocking(move || {
            let (bytes, damage) = gunzip.expand(&range, end);
            (gunzip, bytes, damage)
        });
        let (gunzip, bytes, damage) =
            expanded.await.map_err(|_| IntakeError::Stopped { path: self.blob.path().clone() })?;
        self.gunzip = Some(gunzip);
        if damage.is_some() {
            self.damage = damage;
            (self.torn, self.end) = (true, true);
            self.ahead = None;
        }
        self.push(&bytes, first);
        Ok(())
    }

    fn push(&mut self, bytes: &[u8], first: bool) {
        self.splitter.push(if first { bytes.strip_prefix(&BOM).unwrap_or(bytes) } else { bytes });
    }

    /// The range at `offset`, while the one after it is already on its way.
    async fn fetch(&mut self) -> Result<Bytes, IntakeError> {
        let step = self.options.range_bytes;
        let range = match self.ahead.take() {
            Some(ahead) => ahead.await.map_err(|_| IntakeError::Stopped { path: self.blob.path().clone() })??,
            None => self.blob.read(self.offset..self.offset + step).await?,
        };
        let next = self.offset + range.len() as u64;
        if next < self.blob.size() {
            let blob = self.blob.clone();
            self.ahead = Some(tokio::spawn(async move { blob.read(next..next + step).await }));
        }
        Ok(range)
    }
}
