//! Gzip, a step at a time. Several members after each other are one stream, as gzip has it.

use std::io::Write;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;

use crate::inflate::expands_too_much;

/// Compressed bytes expanded at a time. Deflate makes at most 1,032 bytes of one, so a step gives 16 MiB at most.
const STEP: usize = 16 * 1024;

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

    /// Takes steps off `compressed` until they gave `enough` bytes: a small stream may hold a large one. Returns those
    /// bytes, and the fault that ends the stream, if there is one. `last`: nothing follows `compressed`.
    pub(crate) fn expand(
        &mut self,
        compressed: &mut Bytes,
        last: bool,
        enough: usize,
    ) -> (Vec<u8>, Option<&'static str>) {
        let mut out = Vec::new();
        while !compressed.is_empty() && out.len() < enough {
            let step = compressed.split_to(compressed.len().min(STEP));
            self.compressed += step.len() as u64;
            let damaged = self.decoder.write_all(&step).is_err();
            if damaged {
                // Its error is known already; this hands out what was expanded before the damage.
                let _ = self.decoder.try_finish();
            }
            self.hand_out(&mut out);
            if damaged {
                return (out, Some("the gzip stream is damaged"));
            }
            if expands_too_much(self.compressed, self.expanded) {
                return (out, Some("the gzip stream expands more than 200 times"));
            }
        }
        if !last || !compressed.is_empty() {
            return (out, None);
        }
        let complete = self.decoder.try_finish().is_ok();
        self.hand_out(&mut out);
        (out, (!complete).then_some("the gzip stream is truncated"))
    }

    fn hand_out(&mut self, out: &mut Vec<u8>) {
        let expanded = self.decoder.get_mut();
        self.expanded += expanded.len() as u64;
        out.append(expanded);
    }
}
