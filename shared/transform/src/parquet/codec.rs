//! Pages unpacked within the size that their header claims: a page that unpacks to more is damaged, and costs no more
//! memory than it said.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use parquet::basic::Compression;

/// One column chunk's.
pub(super) struct Codec {
    compression: Compression,
    snappy: snap::raw::Decoder,
}

const DAMAGED: &str = "it cannot be unpacked";

impl Codec {
    pub(super) fn new(compression: Compression) -> Self {
        Self { compression, snappy: snap::raw::Decoder::new() }
    }

    /// Appends exactly `length` bytes.
    pub(super) fn unpack(&mut self, packed: &[u8], length: usize, into: &mut Vec<u8>) -> Result<(), String> {
        let start = into.len();
        let unpacked = match self.compression {
            Compression::UNCOMPRESSED => {
                into.extend_from_slice(&packed[..packed.len().min(length)]);
                Some(packed.len())
            }
            Compression::SNAPPY => match snap::raw::decompress_len(packed) {
                Ok(found) if found == length => {
                    into.resize(start + length, 0);
                    self.snappy.decompress(packed, &mut into[start..]).ok()
                }
                _ => None,
            },
            Compression::GZIP(_) => bounded(MultiGzDecoder::new(packed), length, into),
            Compression::BROTLI(_) => bounded(brotli::Decompressor::new(packed, 4_096), length, into),
            Compression::ZSTD(_) => {
                let found = zstd::bulk::decompress(packed, length).ok();
                found.map(|found| {
                    into.extend_from_slice(&found);
                    found.len()
                })
            }
            Compression::LZ4_RAW => lz4_block(packed, length, into),
            Compression::LZ4 => lz4(packed, length, into),
            Compression::LZO => return Err("LZO cannot be unpacked here".to_owned()),
        };
        if unpacked == Some(length) && into.len() - start == length { Ok(()) } else { Err(DAMAGED.to_owned()) }
    }
}

/// One byte more than there should be tells of too many.
fn bounded(reader: impl Read, length: usize, into: &mut Vec<u8>) -> Option<usize> {
    into.reserve(length + 1);
    let most = u64::try_from(length).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(most).read_to_end(into).ok()
}

fn lz4_block(packed: &[u8], length: usize, into: &mut Vec<u8>) -> Option<usize> {
    let start = into.len();
    into.resize(start + length, 0);
    lz4_flex::block::decompress_into(packed, &mut into[start..]).ok()
}

/// What writers put under the old name: Hadoop's blocks, a frame, or one block.
fn lz4(packed: &[u8], length: usize, into: &mut Vec<u8>) -> Option<usize> {
    let start = into.len();
    if let Some(found) = hadoop(packed, length, into) {
        return Some(found);
    }
    into.truncate(start);
    if packed.starts_with(&[0x04, 0x22, 0x4d, 0x18]) {
        return bounded(lz4_flex::frame::FrameDecoder::new(packed), length, into);
    }
    lz4_block(packed, length, into)
}

/// Each block behind its unpacked and its packed length, both big-endian.
fn hadoop(mut packed: &[u8], length: usize, into: &mut Vec<u8>) -> Option<usize> {
    let mut done = 0;
    while !packed.is_empty() {
        let word = |at: usize| Some(u32::from_be_bytes(packed.get(at..at + 4)?.try_into().ok()?) as usize);
        let (to, from) = (word(0)?, word(4)?);
        let block = packed.get(8..8 + from)?;
        if to > length - done || lz4_block(block, to, into)? != to {
            return None;
        }
        done += to;
        packed = &packed[8 + from..];
    }
    Some(done)
}
