//! What happens to personal values before they reach a table.
//!
//! A pseudonym is `p<version>:` and the first 16 bytes, in lowercase base32, of
//! `HMAC-SHA-256(key, column name || 0x00 || NFKC(trim(value)))`. The same value of the same column under the same key
//! always gives the same pseudonym; the version says which key to rotate away from. Nobody without the key can go back,
//! and columns cannot be joined by accident. Columns of one name can, in whatever datasets they are; case counts.
//!
//! A mask is the same text for every value: it says that there is one.

use std::fmt;

use data_encoding::{BASE32_NOPAD, BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use polars::prelude::{Column, DataType, IntoColumn, StringChunked, StringChunkedBuilder};
use rayon::prelude::*;
use sha2::Sha256;
use unicode_normalization::UnicodeNormalization;
use weir_contract::Treatment;

use crate::error::{Result, TransformError};

/// The key of all pseudonyms, and its version.
#[derive(Clone)]
pub struct PseudonymKey {
    version: u8,
    bytes: [u8; 32],
}

impl PseudonymKey {
    pub fn new(version: u8, bytes: [u8; 32]) -> Self {
        Self { version, bytes }
    }

    /// The version, which stands in each pseudonym.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// Tells this key from others, and nothing about it: 32 bits of the HMAC of a constant. No value of a column is that
    /// constant, because a value's input has a zero byte after the column's name.
    pub fn check(&self) -> Result<u32> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.bytes).map_err(|_| TransformError::Key(UNUSABLE))?;
        mac.update(CHECKED);
        let digest = mac.finalize().into_bytes();
        Ok(digest.iter().take(4).fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    /// Reads 32 bytes written as 64 hex digits or as base64 (standard or URL alphabet, padded or not).
    ///
    /// # Errors
    /// Another text, or a key that somebody might guess.
    pub fn from_text(version: u8, text: &str) -> Result<Self> {
        let text = text.trim().as_bytes();
        let decoded = if text.len() == 64 {
            HEXLOWER_PERMISSIVE.decode(text).ok()
        } else {
            [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD].iter().find_map(|encoding| encoding.decode(text).ok())
        };
        let bytes = decoded.ok_or(TransformError::Key("neither hex nor base64"))?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| TransformError::Key("not 32 bytes"))?;
        if is_weak(&bytes) {
            return Err(TransformError::WeakKey);
        }
        Ok(Self { version, bytes })
    }
}

/// Bytes that a random key of 32 has at least: it has fewer in one of 10^12 cases.
const DIFFERENT_BYTES: usize = 16;
/// What the check value of a key is made of.
const CHECKED: &[u8] = b"weir:key";
const UNUSABLE: &str = "not usable with HMAC-SHA-256";

/// Whether a key is no random one: few different bytes, the same half twice, or a count.
fn is_weak(bytes: &[u8; 32]) -> bool {
    let mut seen = [false; 256];
    bytes.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    let (first, second) = bytes.split_at(16);
    let step = bytes[1].wrapping_sub(bytes[0]);
    let counts = bytes.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == step);
    seen.iter().filter(|seen| **seen).count() < DIFFERENT_BYTES || first == second || counts
}

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PseudonymKey").field("version", &self.version).finish_non_exhaustive()
    }
}

/// How one column is protected.
pub(crate) enum Protection {
    Pseudonym { mac: Hmac<Sha256>, version: u8 },
    Mask,
    Drop,
}

impl fmt::Debug for Protection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pseudonym { .. } => "Pseudonym",
            Self::Mask => "Mask",
            Self::Drop => "Drop",
        })
    }
}

impl Protection {
    pub(crate) fn new(column: &str, treatment: Treatment, key: Option<&PseudonymKey>) -> Result<Self> {
        match (treatment, key) {
            (Treatment::Drop, _) => Ok(Self::Drop),
            (Treatment::Mask, _) => Ok(Self::Mask),
            (Treatment::Pseudonym, None) => Err(TransformError::NoKey { column: column.to_owned() }),
            (Treatment::Pseudonym, Some(key)) => {
                let mut mac = Hmac::<Sha256>::new_from_slice(&key.bytes).map_err(|_| TransformError::Key(UNUSABLE))?;
                mac.update(column.as_bytes());
                mac.update(&[0]);
                Ok(Self::Pseudonym { mac, version: key.version })
            }
        }
    }

    /// The protected column, always of strings, made on all cores; `None` when nothing of it may reach the table. Nulls stay null.
    pub(crate) fn apply(&self, column: &Column) -> Result<Option<Column>> {
        match self {
            Self::Drop => Ok(None),
            Self::Mask => Ok(Some(each(&texts(column)?, |_, out| out.extend_from_slice(MASKED))?)),
            Self::Pseudonym { mac, version } => {
                let prefix = format!("p{version}:");
                Ok(Some(each(&texts(column)?, |value, out| pseudonym(mac, &prefix, value, out))?))
            }
        }
    }
}

fn texts(column: &Column) -> Result<StringChunked> {
    let series = column.as_materialized_series();
    match series.dtype() {
        DataType::String => Ok(series.str()?.clone()),
        DataType::Binary => {
            let encoded = series.binary()?.iter().map(|bytes| bytes.map(|bytes| BASE64.encode(bytes)));
            Ok(encoded.collect::<StringChunked>().with_name(series.name().clone()))
        }
        _ => Ok(series.cast(&DataType::String)?.str()?.clone()),
    }
}

/// Rows that are worth a hand-over to another thread.
const PART_ROWS: usize = 8 * 1024;

/// Applies `protect`, which writes what stands for a value into an empty buffer. In the chunks that the column has: a frame
/// is chunked alike.
fn each(values: &StringChunked, protect: impl Fn(&str, &mut Vec<u8>) + Sync) -> Result<Column> {
    let part = |values: StringChunked| {
        let mut protected = StringChunkedBuilder::new(values.name().clone(), values.len());
        let mut text = Vec::new();
        for value in values.iter() {
            text.clear();
            match value {
                None => protected.append_null(),
                Some(value) => {
                    protect(value, &mut text);
                    let text = simdutf8::basic::from_utf8(&text);
                    protected.append_value(text.map_err(|_| TransformError::Argument("a protection gives text"))?);
                }
            }
        }
        Ok(protected.finish())
    };
    let alone = values.downcast_iter().map(|chunk| StringChunked::with_chunk(values.name().clone(), chunk.clone()));
    let chunk = |chunk: StringChunked| {
        let (parts, rows) = (chunk.len().div_ceil(PART_ROWS).max(1), chunk.len());
        let slice = |index: usize| {
            let (from, to) = (rows * index / parts, rows * (index + 1) / parts);
            part(chunk.slice(i64::try_from(from).unwrap_or(i64::MAX), to - from))
        };
        let done = (0..parts).into_par_iter().map(slice).collect::<Result<Vec<_>>>()?;
        Ok(joined(done)?.rechunk().into_owned())
    };
    let chunks = alone.collect::<Vec<_>>().into_par_iter().map(chunk).collect::<Result<Vec<_>>>()?;
    Ok(joined(chunks)?.into_column())
}

fn joined(parts: Vec<StringChunked>) -> Result<StringChunked> {
    let mut parts = parts.into_iter();
    let mut joined = parts.next().unwrap_or_default();
    for part in parts {
        joined.append_owned(part)?;
    }
    Ok(joined)
}

fn pseudonym(mac: &Hmac<Sha256>, prefix: &str, value: &str, out: &mut Vec<u8>) {
    let (mut mac, value) = (mac.clone(), value.trim());
    if value.is_ascii() {
        // It is its own normal form.
        mac.update(value.as_bytes());
    } else {
        mac.update(value.nfkc().collect::<String>().as_bytes());
    }
    let digest = mac.finalize().into_bytes();
    out.extend_from_slice(prefix.as_bytes());
    let start = out.len();
    out.resize(start + BASE32_NOPAD.encode_len(16), 0);
    BASE32_NOPAD.encode_mut(&digest[..16], &mut out[start..]);
    out[start..].make_ascii_lowercase();
}

/// What stands for every value that is masked. It says nothing about the value, not even how long it is.
const MASKED: &[u8] = b"***";
