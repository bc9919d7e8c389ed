//! What a block is packed with.

use std::io::Read;

use weir_contract::limits::MAX_AVRO_BLOCK_BYTES;

/// Snappy blocks end with a CRC-32 of what is in them.
const CHECKSUM_BYTES: usize = 4;

/// A window of 32 MiB, as everywhere.
const MAX_WINDOW_LOG: u32 = 25;

const TOO_LARGE: &str = "the Avro block unpacks to more than 64 MiB";
const TOO_MUCH: &str = "the Avro file gives more than 512 times its bytes";
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

    /// `most`: what of the file's allowance is left.
    pub(crate) fn unpack(self, data: &[u8], most: u64) -> Result<Vec<u8>, &'static str> {
        let allowed = usize::try_from(most).unwrap_or(usize::MAX);
        let most = allowed.min(MAX_AVRO_BLOCK_BYTES);
        let too_large = if allowed < MAX_AVRO_BLOCK_BYTES { TOO_MUCH } else { TOO_LARGE };
        let out = match self {
            Self::Null if data.len() > most => return Err(too_large),
            Self::Null => data.to_vec(),
            Self::Deflate => limited(flate2::read::DeflateDecoder::new(data), most)?,
            Self::Zstandard => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(data).map_err(|_| DAMAGED)?;
                decoder.window_log_max(MAX_WINDOW_LOG).map_err(|_| DAMAGED)?;
                limited(decoder, most)?
            }
            Self::Snappy => unsnap(data, most, too_large)?,
        };
        if out.len() > most { Err(too_large) } else { Ok(out) }
    }
}

fn limited(reader: impl Read, most: usize) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::new();
    reader.take(most as u64 + 1).read_to_end(&mut out).map_err(|_| DAMAGED)?;
    Ok(out)
}

fn unsnap(data: &[u8], most: usize, too_large: &'static str) -> Result<Vec<u8>, &'static str> {
    let (packed, checksum) = data.split_last_chunk::<CHECKSUM_BYTES>().ok_or(DAMAGED)?;
    let length = snap::raw::decompress_len(packed).map_err(|_| DAMAGED)?;
    if length > most {
        return Err(too_large);
    }
    // Its length is only said: a copy of two bytes gives 64 at most.
    if length > packed.len().saturating_mul(64) {
        return Err(DAMAGED);
    }
    let out = snap::raw::Decoder::new().decompress_vec(packed).map_err(|_| DAMAGED)?;
    if crc32fast::hash(&out) == u32::from_be_bytes(*checksum) { Ok(out) } else { Err(DAMAGED) }
}
