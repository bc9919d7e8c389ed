//! What a block is packed with.

use std::io::Read;

/// A block that unpacks to more is refused.
const MAX_BLOCK_BYTES: usize = 64 * 1024 * 1024;
/// Snappy blocks end with a CRC-32 of what is in them.
const CHECKSUM_BYTES: usize = 4;

const TOO_LARGE: &str = "the Avro block unpacks to more than 64 MiB";
const DAMAGED: &str = "the Avro block is damaged: it cannot be unpacked";

#[derive(Debug, Clone, Copy)]
pub(crate) enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
}

impl Codec {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::Null,
            "deflate" => Self::Deflate,
            "snappy" => Self::Snappy,
            "zstandard" => Self::Zstandard,
            _ => return None,
        })
    }

    pub(crate) fn unpack(self, data: &[u8]) -> Result<Vec<u8>, &'static str> {
        match self {
            Self::Null => Ok(data.to_vec()),
            Self::Deflate => limited(flate2::read::DeflateDecoder::new(data)),
            Self::Zstandard => limited(zstd::stream::read::Decoder::with_buffer(data).map_err(|_| DAMAGED)?),
            Self::Snappy => unsnap(data),
        }
    }
}

fn limited(reader: impl Read) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::new();
    reader.take(MAX_BLOCK_BYTES as u64 + 1).read_to_end(&mut out).map_err(|_| DAMAGED)?;
    if out.len() > MAX_BLOCK_BYTES { Err(TOO_LARGE) } else { Ok(out) }
}

fn unsnap(data: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (packed, checksum) = data.split_last_chunk::<CHECKSUM_BYTES>().ok_or(DAMAGED)?;
    if snap::raw::decompress_len(packed).map_err(|_| DAMAGED)? > MAX_BLOCK_BYTES {
        return Err(TOO_LARGE);
    }
    let out = snap::raw::Decoder::new().decompress_vec(packed).map_err(|_| DAMAGED)?;
    if crc32fast::hash(&out) == u32::from_be_bytes(*checksum) { Ok(out) } else { Err(DAMAGED) }
}
