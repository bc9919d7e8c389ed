//! Zstandard, a step at a time. Several frames after each other are one stream, as `zstd -d` has it.

use bytes::{Buf, Bytes};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::inflate::expands_too_much;

/// What the decoder keeps of what it wrote: 32 MiB. All levels of `zstd` up to 20 need no more.
const WINDOW_LOG: u32 = 25;
/// Compressed bytes given to the decoder at a time.
const STEP: usize = 64 * 1024;
/// Room for a block: a call that fills it may have more to give.
const BLOCK: usize = 128 * 1024;
/// What tells the length of a frame's head.
const FRAME_HEAD: usize = 5;
/// Four bytes can stand for a block, so a step ends early when it gave this much.
const MUCH: usize = 1024 * 1024;

const DAMAGED: &str = "the zstd stream is damaged";
const TOO_WIDE: &str =
    "the zstd stream needs a window of more than 32 MiB; compress it without `--long` and at most at level 20";

pub(crate) struct Unzstd {
    /// `None` when the library could not make one.
    decoder: Option<Decoder<'static>>,
    compressed: u64,
    expanded: u64,
    /// Bytes that the decoder asks for.
    wanted: usize,
    /// The last frame is complete.
    whole: bool,
}

impl std::fmt::Debug for Unzstd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unzstd").field("compressed", &self.compressed).finish_non_exhaustive()
    }
}

impl Unzstd {
    pub(crate) fn new() -> Self {
        let mut decoder = Decoder::new().ok();
        if let Some(made) = &mut decoder
            && made.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).is_err()
        {
            decoder = None;
        }
        Self { decoder, compressed: 0, expanded: 0, wanted: FRAME_HEAD, whole: true }
    }

    /// As [`crate::inflate::Inflate::expand`].
    pub(crate) fn expand(
        &mut self,
        compressed: &mut Bytes,
        last: bool,
        enough: usize,
    ) -> (Vec<u8>, Option<&'static str>) {
        let mut out = Vec::new();
        while !compressed.is_empty() && out.len() < enough {
            let step = compressed.slice(..compressed.len().min(STEP));
            let (taken, damage) = self.step(&step, &mut out);
            compressed.advance(taken);
            self.compressed += taken as u64;
            if damage.is_some() {
                return (out, damage);
            }
            if expands_too_much(self.compressed, self.expanded) {
                return (out, Some("the zstd stream expands more than 200 times"));
            }
        }
        let torn = last && compressed.is_empty() && !self.whole;
        (out, torn.then_some("the zstd stream is truncated"))
    }

    /// Gives the decoder some bytes, until it took them all or made more than a megabyte of them. Returns how many it took;
    /// nothing is left in it when that is all of them.
    ///
    /// It is given what it asks for, a block at a time: a call that fails gives nothing of the blocks before the damage, and
    /// how much is lost must not depend on how the bytes came.
    fn step(&mut self, step: &[u8], out: &mut Vec<u8>) -> (usize, Option<&'static str>) {
        let Some(decoder) = &mut self.decoder else { return (0, Some("the zstd stream cannot be read")) };
        let (before, mut used) = (out.len(), 0);
        loop {
            out.reserve(BLOCK);
            let (at, room) = (out.len(), out.capacity());
            let mut input = InBuffer::around(&step[used..step.len().min(used + self.wanted)]);
            let result = decoder.run(&mut input, &mut OutBuffer::around_pos(out, at));
            used += input.pos();
            match result {
                Ok(wanted) => {
                    self.whole = wanted == 0;
                    self.wanted = if self.whole { FRAME_HEAD } else { wanted };
                }
                Err(error) => {
                    let too_wide = error.to_string().contains("too much memory");
                    return (used, Some(if too_wide { TOO_WIDE } else { DAMAGED }));
                }
            }
            self.expanded += (out.len() - at) as u64;
            let (all, filled) = (used == step.len(), out.len() == room);
            if all && !filled || !all && out.len() - before > MUCH {
                return (used, None);
            }
        }
    }
}
