//! Bodies of events: text and Avro, packed once, twice and in many members, and runs that are nothing when they are packed.

use rand::Rng;
use rand::rngs::StdRng;

use super::{avro, gzip, text};
use crate::MAX_BYTES;

pub(crate) fn body(random: &mut StdRng) -> Vec<u8> {
    let content = match random.random_range(0..8) {
        0 => avro::file(random),
        1 | 2 => text::json(random),
        3 => "[]".into(),
        _ => run(random),
    };
    let packed = match random.random_range(0..8) {
        0 => content,
        1..=3 => gzip(&content),
        4 | 5 => zstd::encode_all(&content[..], random.random_range(1..10)).unwrap(),
        6 => gzip(&gzip(&content)),
        _ => gzip(&zstd::encode_all(&content[..], 1).unwrap()),
    };
    match random.random_range(0..6) {
        // Members, as long as there is room.
        0 if !packed.is_empty() => packed.repeat((MAX_BYTES / packed.len()).clamp(1, 50_000)),
        _ => packed,
    }
}

fn run(random: &mut StdRng) -> Vec<u8> {
    let one: &[u8] = [&b"{}\n"[..], b"{},", b" ", b"[", b"{\"n\":1}\n", b"\n", b"1,", b"{\"a\":", b"\"", b"x\n"]
        [random.random_range(0..10)];
    let bytes = [1 << 10, 100 << 10, 2 << 20, 70 << 20][random.random_range(0..4)];
    let mut out = if one.ends_with(b",") { vec![b'['] } else { Vec::new() };
    out.extend(one.repeat(bytes / one.len()));
    if one.ends_with(b",") {
        out.pop();
        out.push(b']');
    }
    out
}
