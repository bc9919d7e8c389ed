//! Records are cut at the same places however the bytes arrive.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_intake::{Framing, Piece, Splitter};

fuzz_target!(|input: (u8, u8, u8, Vec<u8>)| {
    let (limit, chunk, part, bytes) = input;
    let new = || {
        let framing = Framing::Csv { delimiter: b',', quote: b'"', escape: None };
        Splitter::new(framing, usize::from(limit) + 1, usize::from(chunk) + 1)
    };
    let at_once = split(new(), [bytes.as_slice()]);
    assert_eq!(split(new(), bytes.chunks(usize::from(part) + 1)), at_once);
});

/// Pieces without their accidental borders: bytes, and why they were refused.
fn split<'a>(mut splitter: Splitter, parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<(Vec<u8>, Option<String>)> {
    let mut found: Vec<(Vec<u8>, Option<String>)> = Vec::new();
    let mut take = |piece| match (piece, found.last_mut()) {
        (Piece::Records(bytes), Some((before, None))) => before.extend_from_slice(&bytes),
        (Piece::Records(bytes), _) => found.push((bytes.to_vec(), None)),
        (Piece::Refused { head, reason }, _) => found.push((head.to_vec(), Some(reason))),
    };
    for part in parts {
        splitter.push(part);
        std::iter::from_fn(|| splitter.pull(false)).for_each(&mut take);
    }
    std::iter::from_fn(|| splitter.pull(true)).for_each(&mut take);
    found
}
