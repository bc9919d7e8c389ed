//! Pages: levels, values in every encoding, packed or not.

use rand::Rng;
use rand::rngs::StdRng;

use super::super::thrift::{Struct, varint, zigzag};
use super::super::{few, gzip, one};
use super::schema::{BOOLEAN, BYTE_ARRAY, FIXED, INT32, INT64, Leaf};
use super::{lie, lie32};
use crate::MAX_BYTES;

/// Writes a page; gives its values and its bytes.
pub(super) fn data_page(
    random: &mut StdRng,
    leaf: &Leaf,
    rows: usize,
    dictionary: Option<usize>,
    codec: i32,
    out: &mut Vec<u8>,
) -> (usize, usize) {
    let (definition, repetition) = leaf.levels;
    // A list has as many values as it likes.
    let values = match repetition {
        0 => rows,
        _ => rows.saturating_mul(1 + few(random, 40)).min(1 << 22),
    };
    let repeated = levels(random, values, repetition, true);
    let (defined, present) = match definition {
        0 => (Vec::new(), values),
        _ => match random.random_range(0..4) {
            // All null.
            0 => (run(0, values, definition), 0),
            1 => (levels(random, values, definition, false), values / 2),
            _ => (run(definition, values, definition), values),
        },
    };
    let (encoding, bytes) = content(random, leaf, present, dictionary);
    if random.random_bool(0.5) {
        let header = Struct::default().i32(1, lie32(random, values)).i32(2, encoding).i32(3, 3).i32(4, 3).end();
        let mut body = Vec::new();
        for (most, levels) in [(repetition, &repeated), (definition, &defined)] {
            if most > 0 {
                body.extend_from_slice(&(lie32(random, levels.len())).to_le_bytes());
                body.extend_from_slice(levels);
            }
        }
        body.extend_from_slice(&bytes);
        (values, page(random, codec, 0, &header, 5, &[], &body, out))
    } else {
        let header = Struct::default()
            .i32(1, lie32(random, values))
            .i32(2, lie32(random, values - present.min(values)))
            .i32(3, lie32(random, rows))
            .i32(4, encoding)
            .i32(5, lie32(random, defined.len()))
            .i32(6, lie32(random, repeated.len()))
            .bool(7, codec != 0);
        let levels = [repeated, defined].concat();
        (values, page(random, codec, 3, &header.end(), 8, &levels, &bytes, out))
    }
}

/// Levels as runs; those of repetition begin a row with 0.
fn levels(random: &mut StdRng, values: usize, most: u32, of_rows: bool) -> Vec<u8> {
    if most == 0 {
        return Vec::new();
    }
    let mut out = Vec::new();
    let mut left = values;
    while left > 0 {
        let some = (1 + few(random, 100_000)).min(left);
        let level = if of_rows && left == values { 0 } else { random.random_range(0..=most) };
        out.extend(run(level, some, most));
        left -= some;
        if out.len() > 60_000 {
            out.extend(run(level, left, most));
            break;
        }
    }
    out
}

/// One run, in the hybrid of runs and packed bits.
fn run(value: u32, count: usize, most: u32) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, (count as u64) << 1);
    let bits = 32 - most.leading_zeros();
    out.extend_from_slice(&value.to_le_bytes()[..(bits as usize).div_ceil(8)]);
    out
}

/// The values of a page, in one of the encodings.
fn content(random: &mut StdRng, leaf: &Leaf, count: usize, dictionary: Option<usize>) -> (i32, Vec<u8>) {
    if let Some(entries) = dictionary
        && random.random_ratio(7, 8)
    {
        // The width of the indices, then runs.
        let most = entries.saturating_sub(1) as u32;
        let bits = (32 - most.leading_zeros()) as u8;
        let mut out = vec![if random.random_ratio(1, 40) { random.random_range(0..40) } else { bits }];
        let mut left = count;
        while left > 0 && out.len() < 20_000 {
            let some = if random.random_bool(0.5) { left } else { (1 + few(random, 2_000)).min(left) };
            let index = if random.random_ratio(1, 60) { most + 1 } else { random.random_range(0..=most) };
            out.extend(run(index, some, most.max(1)));
            left -= some;
        }
        return (one(random, &[2, 8]), out);
    }
    match random.random_range(0..12) {
        0 | 1 if matches!(leaf.kind, INT32 | INT64) => (5, delta(random, count, None)),
        2..=4 if leaf.kind == BYTE_ARRAY => lengths(random, count),
        5..=8 if matches!(leaf.kind, BYTE_ARRAY | FIXED) => prefixed(random, leaf, count),
        9 if leaf.kind == BOOLEAN => {
            let values = run(1, count, 1);
            (3, [&(values.len() as u32).to_le_bytes()[..], &values].concat())
        }
        10 if leaf.width > 0 => (9, vec![random.random(); (leaf.width * count).min(200_000)]),
        11 => (random.random_range(0..12), plain(random, leaf, count)),
        _ => (0, plain(random, leaf, count)),
    }
}

/// Values as they are; fewer than asked for when they would fill the file.
pub(super) fn plain(random: &mut StdRng, leaf: &Leaf, count: usize) -> Vec<u8> {
    let mut out = Vec::new();
    if leaf.kind == BOOLEAN {
        return vec![random.random(); count.div_ceil(8).min(MAX_BYTES / 2)];
    }
    let same = random.random_bool(0.7);
    let long = if random.random_ratio(1, 6) { 1 + few(random, 400_000) } else { few(random, 40) };
    for _ in 0..count {
        if leaf.kind == BYTE_ARRAY {
            let length = if same { long } else { few(random, 200) };
            out.extend_from_slice(&lie32(random, length).to_le_bytes());
            out.resize(out.len() + length, one(random, &[b'a', b'1', b'{', 0, 0xff]));
        } else if same {
            out.resize(out.len() + leaf.width, 1);
        } else {
            let byte = random.random();
            out.resize(out.len() + leaf.width, byte);
        }
        if out.len() > MAX_BYTES * 2 {
            break;
        }
    }
    out
}

/// Differences of numbers; `of`: all numbers are this one.
fn delta(random: &mut StdRng, count: usize, of: Option<i64>) -> Vec<u8> {
    let mut out = Vec::new();
    let block = one(random, &[128, 128, 256, 1 << 16, 1 << 24, 0, 127]);
    let parts = one(random, &[4, 4, 4, 8, 1, 0, 1 << 20]);
    varint(&mut out, block);
    varint(&mut out, parts);
    varint(&mut out, lie(random, count as i64).cast_unsigned());
    varint(&mut out, zigzag(of.unwrap_or_else(|| random.random())));
    let width = if of.is_some() { 0 } else { one(random, &[0, 0, 1, 8, 33, 64, 65]) };
    let mut left = count as u64;
    while left > 1 && out.len() < 200_000 {
        varint(&mut out, zigzag(if of.is_some() { 0 } else { one(random, &[0, 1, -1, i64::MAX, i64::MIN]) }));
        let parts = parts.min(1_000);
        out.extend(std::iter::repeat_n(width, parts as usize));
        let bytes = (block * u64::from(width) / 8).min(50_000) as usize;
        out.resize(out.len() + bytes, 0x55);
        left = left.saturating_sub(block.max(1));
    }
    out
}

/// DELTA_LENGTH_BYTE_ARRAY: all lengths, then all bytes.
fn lengths(random: &mut StdRng, count: usize) -> (i32, Vec<u8>) {
    let length = few(random, 20_000) as i64;
    let mut out = delta(random, count, Some(length));
    let bytes = usize::try_from(length).unwrap_or(0).saturating_mul(count).min(MAX_BYTES);
    out.resize(out.len() + bytes, b'y');
    (6, out)
}

/// DELTA_BYTE_ARRAY: each value is the beginning of the one before it and a little more, so a long one comes back in every
/// value that follows, for nothing.
fn prefixed(random: &mut StdRng, leaf: &Leaf, count: usize) -> (i32, Vec<u8>) {
    let first = match leaf.kind {
        FIXED => leaf.width,
        _ => few(random, 600_000),
    };
    let rest = count.saturating_sub(1);
    // The prefixes: none, then all of the first; the suffixes: the first, then none.
    let steps = |random: &mut StdRng, from: i64, to: i64| {
        let mut out = Vec::new();
        let (block, parts) = (one(random, &[128, 256, 1 << 16]), 4_u64);
        varint(&mut out, block);
        varint(&mut out, parts);
        varint(&mut out, count as u64);
        varint(&mut out, zigzag(from));
        // A first step, then none: differences of 64 bits in the first part.
        let mut left = rest as u64;
        let mut step = to - from;
        while left > 0 && out.len() < 100_000 {
            varint(&mut out, zigzag(0));
            let width = if step == 0 { 0_u8 } else { 64 };
            out.extend([width, 0, 0, 0]);
            if step != 0 {
                let size = (block / parts * 8) as usize;
                let at = out.len();
                out.resize(at + size, 0);
                out[at..at + 8].copy_from_slice(&step.to_le_bytes());
                step = 0;
            }
            left = left.saturating_sub(block);
        }
        out
    };
    let mut out = steps(random, 0, first as i64);
    out.extend(steps(random, first as i64, 0));
    out.resize(out.len() + first, b'z');
    (7, out)
}

/// Writes the page of a kind; gives how many bytes it says that it has, unpacked.
#[allow(clippy::too_many_arguments)] // The parts of a page.
pub(super) fn page(
    random: &mut StdRng,
    codec: i32,
    kind: i32,
    inner: &[u8],
    field: i16,
    levels: &[u8],
    body: &[u8],
    out: &mut Vec<u8>,
) -> usize {
    let mut body = body.to_vec();
    if random.random_ratio(1, 100) {
        // Packed, a long run is nothing.
        body.resize(body.len() + one(random, &[1 << 10, 1 << 20, 8 << 20, 130 << 20]), 0);
    }
    let packed = pack(codec, &body);
    let (unpacked, stored) = (levels.len() + body.len(), levels.len() + packed.len());
    let header = Struct::default().i32(1, kind).i32(2, lie32(random, unpacked)).i32(3, lie32(random, stored));
    out.extend(header.inner(field, inner).end());
    out.extend_from_slice(levels);
    out.extend(packed);
    unpacked
}

fn pack(codec: i32, body: &[u8]) -> Vec<u8> {
    match codec {
        1 => snap::raw::Encoder::new().compress_vec(body).unwrap(),
        2 => gzip(body),
        4 => {
            let mut packed = Vec::new();
            let parameters = brotli::enc::BrotliEncoderParams { quality: 1, ..Default::default() };
            brotli::BrotliCompress(&mut &body[..], &mut packed, &parameters).unwrap();
            packed
        }
        5 | 7 => lz4_flex::block::compress(body),
        6 => zstd::encode_all(body, 1).unwrap(),
        _ => body.to_vec(),
    }
}
