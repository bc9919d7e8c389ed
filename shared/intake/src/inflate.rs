//! A compressed stream, whichever it is, a step at a time.

use bytes::Bytes;

use crate::gunzip::Gunzip;
use crate::unzstd::Unzstd;

/// A stream may grow to this many times its own size (or [`FREE_BYTES`], if that is more): what is above is an attack or
/// a mistake.
const MAX_EXPANSION: u64 = 200;
const FREE_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Debug)]
pub(crate) enum Inflate {
    Gzip(Box<Gunzip>),
    Zstd(Box<Unzstd>),
}

impl Inflate {
    /// Takes steps off `compressed` until they gave `enough` bytes: a small stream may hold a large one. Returns those
    /// bytes, and the fault that ends the stream, if there is one. `last`: nothing follows `compressed`.
    pub(crate) fn expand(
        &mut self,
        compressed: &mut Bytes,
        last: bool,
        enough: usize,
    ) -> (Vec<u8>, Option<&'static str>) {
        match self {
            Self::Gzip(gunzip) => gunzip.expand(compressed, last, enough),
            Self::Zstd(unzstd) => unzstd.expand(compressed, last, enough),
        }
    }
}

pub(crate) fn expands_too_much(compressed: u64, expanded: u64) -> bool {
    expanded > most_expanded(compressed)
}

/// The bytes that a stream of so many may give.
pub(crate) fn most_expanded(compressed: u64) -> u64 {
    FREE_BYTES.max(compressed.saturating_mul(MAX_EXPANSION))
}
