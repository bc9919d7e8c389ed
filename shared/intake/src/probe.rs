//! What a reader has to know before it reads: whether the blob has parts, and its header.

use std::ops::Range;

use weir_contract::{Compression, ENCODINGS, Format, FormatKind};

use crate::blob::Blob;
use crate::chunks::ChunkOptions;
use crate::error::IntakeError;
use crate::split::{Framing, Piece};

/// Bytes of a request for a blob's beginning.
const PROBE_BYTES: u64 = 64 * 1024;

/// What a blob's beginning tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Its [`parts`] can be read apart.
    pub splits: bool,
    /// Its first byte that is no blank is a `[`: no line that is an object, but maybe a document.
    pub is_array: bool,
}

/// The first record that is not blank: a CSV's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstRecord {
    /// Without the blank lines before it; `None` when there is no record at all.
    pub piece: Option<Piece>,
    /// [`ChunkOptions::from`] of the reader that begins after it.
    pub after: u64,
}

impl Blob {
    /// Costs one small read.
    pub async fn probe(&self, options: &ChunkOptions) -> Result<Probe, IntakeError> {
        let mut reader = self.reader(beginning(options), false);
        let text = reader.beginning().await?;
        let is_array = text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        Ok(Probe { splits: reader.is_plain() && options.framing == Framing::Lines, is_array })
    }

    /// Reads only as far as the first record goes; by 64 KiB.
    pub async fn first_record(&self, options: &ChunkOptions) -> Result<FirstRecord, IntakeError> {
        let is_comment = |line: &[u8]| line.first().copied() == options.comment && options.comment.is_some();
        // What is left out would be missing in the count of bytes.
        let mut reader = self.reader(ChunkOptions { comment: None, ..beginning(options) }, false);
        while let Some(piece) = reader.next().await? {
            let after = reader.consumed();
            let Piece::Records(bytes) = &piece else { return Ok(FirstRecord { piece: Some(piece), after }) };
            let mut start = 0;
            while !bytes[start..].trim_ascii().is_empty() {
                let end = start + options.framing.first_record(&bytes[start..]);
                start += blank_lines(&bytes[start..end]);
                if !is_comment(&bytes[start..end]) {
                    let piece = Some(Piece::Records(bytes.slice(start..end)));
                    return Ok(FirstRecord { piece, after: after - (bytes.len() - end) as u64 });
                }
                start = end;
            }
        }
        Ok(FirstRecord { piece: None, after: reader.consumed() })
    }
}

/// Bytes of the blank lines at the beginning.
fn blank_lines(bytes: &[u8]) -> usize {
    let (mut start, mut at) = (0, 0);
    while at < bytes.len() && bytes[at].is_ascii_whitespace() {
        at += 1;
        if bytes[at - 1] == b'\n' {
            start = at;
        }
    }
    start
}

fn beginning(options: &ChunkOptions) -> ChunkOptions {
    ChunkOptions {
        range_bytes: options.range_bytes.min(PROBE_BYTES),
        chunk_bytes: 1,
        from: 0,
        part: None,
        ..options.clone()
    }
}

/// Parts of about `split_bytes` that together are the blob, in order; the whole of it when it is not larger than that.
pub fn parts(size: u64, split_bytes: u64) -> Vec<Range<u64>> {
    let count = size.div_ceil(split_bytes.max(1)).max(1);
    let cut = |part: u64| u64::try_from(u128::from(size) * u128::from(part) / u128::from(count)).unwrap_or(size);
    (0..count).map(|part| cut(part)..cut(part + 1)).collect()
}

/// What a record of a packed blob draws beside its bytes, where it is not known what it becomes.
const PACKED_RECORD: u64 = 32;

impl ChunkOptions {
    /// What a contract's format says about blobs of a kind; the sizes are the caller's.
    pub fn of(format: &Format, kind: FormatKind, range_bytes: u64, chunk_bytes: usize) -> Self {
        Self {
            framing: match (kind, format.quote) {
                (FormatKind::Json, _) => Framing::Document,
                (FormatKind::Csv, Some(quote)) if !format.is_lines(kind) => {
                    Framing::Csv { delimiter: format.delimiter, quote, escape: format.escape }
                }
                _ => Framing::Lines,
            },
            comment: format.comment.filter(|_| kind == FormatKind::Csv),
            skip_lines: if kind == FormatKind::Csv { format.skip_lines } else { 0 },
            separator: (kind == FormatKind::Csv).then_some(format.delimiter),
            compression: format.compression,
            encoding: format.encoding,
            range_bytes,
            chunk_bytes,
            max_record_bytes: format.max_record_bytes,
            record_units: PACKED_RECORD,
            from: 0,
            part: None,
        }
    }

    /// Plain UTF-8 lines, for tests and tools to change.
    pub fn lines() -> Self {
        Self {
            framing: Framing::Lines,
            comment: None,
            skip_lines: 0,
            separator: None,
            compression: Compression::Auto,
            encoding: ENCODINGS[0],
            range_bytes: 8 * 1024 * 1024,
            chunk_bytes: 16 * 1024 * 1024,
            max_record_bytes: 1024 * 1024,
            record_units: PACKED_RECORD,
            from: 0,
            part: None,
        }
    }
}
