//! Gzip, a range at a time. Several members after each other are one stream, as gzip has it.

use std::io::Write;

use flate2::write::MultiGzDecoder;

/// A gzip stream may grow to this many times its own size (or [`FREE_BYTES`], if that is more): what is above is an
/// attack or a mistake.
const MAX_EXPANSION: u64 = 200;
const FREE_BYTES: u64 = 64 * 1024 * 1024;

pub(crate) struct Gunzip {
    decoder: MultiGzDecoder<Vec<u8>>,
    compressed: u64,
    expanded: u64,
}

impl std::fmt::Debug for Gunzip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gunzip").field("compressed", &self.compressed).finish_non_exhaustive()
    }
}

impl Gunzip {
    pub(crate) fn new() -> Self {
        Self { decoder: MultiGzDecoder::new(Vec::new()), compressed: 0, expanded: 0 }
    }

    /// Expanded bytes of one more range, and the fault that ends the stream, if there is one.
    pub(crate) fn expand(&mut self, compressed: &[u8], end: bool) -> (Vec<u8>, Option<&'static str>) {
        // Small steps, so that a bomb is noticed before it has gone off.
        const STEP: usize = 16 * 1024;
        let mut out = Vec::new();
        for step in compressed.chunks(STEP) {
            self.compressed += step.len() as u64;
            let failed = self.decoder.write_all(step).is_err();
            let expanded = std::mem::take(self.decoder.get_mut());
            self.expanded += expanded.len() as u64;
            out.extend_from_slice(&expanded);
            if failed {
                return (out, Some("the gzip stream is damaged"));
            }
            if self.expanded > FREE_BYTES.max(self.compressed * MAX_EXPANSION) {
                return (out, Some("the gzip stream expands more than 200 times"));
            }
        }
        if !end {
            return (out, None);
        }
        let complete = self.decoder.try_finish().is_ok();
        out.extend_from_slice(&std::mem::take(self.decoder.get_mut()));
        (out, (!complete).then_some("the gzip stream is truncated"))
    }
}
