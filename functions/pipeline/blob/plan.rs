//! How a blob is read.

use std::ops::Range;

use weir_contract::{Compression, Contract, FormatKind};
use weir_intake::{Blob, ChunkOptions, parts};
use weir_transform::ParquetPart;

use super::records::{CHUNK_BYTES, RANGE_BYTES, parquet_plan};
use crate::error::AppError;

/// Messages that one blob becomes at most; the parts grow instead.
const MAX_PARTS: u64 = crate::pipeline::checked::MAX_PARTS as u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Cut into so many parts, which are read on as many instances as there are.
    Parts(u32),
    /// By one instance, from the beginning to the end. `resumable`: another instance may have begun.
    Stream { resumable: bool },
}

/// Looks into the blob only when it is large: its first bytes may say that it cannot be cut.
pub(super) async fn of(contract: &Contract, path: &str, blob: &Blob) -> Result<Plan, AppError> {
    let format = &contract.format;
    let Ok(kind) = contract.resolve_format(path) else { return Ok(Plan::Stream { resumable: false }) };
    if blob.size() <= format.split_bytes {
        return Ok(Plan::Stream { resumable: seems_compressed(format.compression, path) });
    }
    let count = |parts: usize| u32::try_from(parts).unwrap_or(u32::MAX);
    match kind {
        FormatKind::Parquet => {
            let parts = parquet_plan(blob, format.split_bytes).await?.map_or(0, |(.., parts)| parts.len());
            return Ok(if parts > 1 { Plan::Parts(count(parts)) } else { Plan::Stream { resumable: true } });
        }
        FormatKind::Avro => return Ok(Plan::Parts(count(cut(blob.size(), format.split_bytes).len()))),
        _ if !format.splits(kind) => return Ok(Plan::Stream { resumable: true }),
        _ => {}
    }
    let probe = blob.probe(&ChunkOptions::of(format, kind, RANGE_BYTES, CHUNK_BYTES)).await?;
    let is_document = probe.is_array && contract.may_be_document(path);
    if !probe.splits || is_document {
        return Ok(Plan::Stream { resumable: true });
    }
    Ok(Plan::Parts(count(cut(blob.size(), format.split_bytes).len())))
}

/// A small blob that expands may be one that another instance has begun to read.
fn seems_compressed(compression: Compression, path: &str) -> bool {
    let named = [".gz", ".zst"].iter().any(|ending| path.to_ascii_lowercase().ends_with(ending));
    match compression {
        Compression::None => false,
        Compression::Auto => named,
        Compression::Gzip | Compression::Zstd => true,
    }
}

/// The bytes of a Parquet file that one of its parts stands for. Together they are the file: what lies between row groups
/// counts with those before it, whatever place the footer gives them.
pub(super) fn share(size: u64, parts: &[ParquetPart], index: usize) -> Range<u64> {
    let ends = parts.iter().scan(0_u64, |end, part| {
        *end = part.bytes.end.clamp(*end, size.max(*end));
        Some(*end)
    });
    let mut ends: Vec<u64> = ends.collect();
    if let Some(last) = ends.last_mut() {
        *last = size;
    }
    let start = index.checked_sub(1).and_then(|before| ends.get(before).copied()).unwrap_or(0);
    start..ends.get(index).copied().unwrap_or(start)
}

/// The parts of a blob of so many bytes.
pub(super) fn cut(size: u64, split_bytes: u64) -> Vec<Range<u64>> {
    parts(size, split_bytes.max(size.div_ceil(MAX_PARTS)))
}
