//! Parquet files, written from the format's grammar and by no library, so that each length and count may lie: schemas of
//! any nesting, dictionaries of long values, runs that are nothing on disk, pages and row groups that are stored once and
//! referred to many times, values that are made of the ones before them.

mod pages;
mod schema;

use rand::Rng;
use rand::rngs::StdRng;

use self::pages::{data_page, page, plain};
use self::schema::{Leaf, Schema, leaf, schema};
use super::thrift::Struct;
use super::{few, one};
use crate::MAX_BYTES;

/// A chunk that is written: what the footer says of it.
#[derive(Debug, Clone)]
struct Chunk {
    dictionary: Option<i64>,
    data: i64,
    packed: i64,
    unpacked: i64,
    values: i64,
    codec: i32,
    encodings: Vec<i32>,
}

pub(crate) fn file(random: &mut StdRng) -> Vec<u8> {
    // What is longer is cut, and then it has no footer: a few tries.
    for _ in 0..4 {
        let file = attempt(random);
        if file.len() <= MAX_BYTES {
            return file;
        }
    }
    attempt(random)
}

fn attempt(random: &mut StdRng) -> Vec<u8> {
    if random.random_ratio(1, 12) {
        return crumbs(random);
    }
    let schema = schema(random);
    let mut out = b"PAR1".to_vec();
    let codec = one(random, &[0, 0, 1, 2, 4, 5, 6, 6, 7]);
    let rows = match random.random_range(0..8) {
        0 => 0,
        1 => 65_536,
        2 => random.random_range(0..1 << 22),
        3 => random.random_range(0..200_000),
        _ => random.random_range(1..3_000),
    };
    let distinct = 1 + few(random, 4);
    let mut kinds: Vec<(i64, Vec<Chunk>)> = Vec::new();
    for _ in 0..distinct {
        let chunks = chunks(random, &schema, rows, codec, &mut out);
        kinds.push((rows as i64, chunks));
        if out.len() > MAX_BYTES / 2 {
            break;
        }
    }
    // Row groups that are stored once and counted many times.
    let times = if random.random_ratio(1, 4) { 1 + few(random, 3_000) } else { 1 };
    let mut groups: Vec<Vec<u8>> = Vec::new();
    let mut total = 0_i64;
    for (rows, chunks) in std::iter::repeat_n(&kinds, times).flatten() {
        let rows = lie(random, *rows);
        total = total.saturating_add(rows);
        groups.push(group(&schema, chunks, rows));
        if groups.len() * groups[0].len() > MAX_BYTES / 2 {
            break;
        }
    }
    let total = lie(random, total);
    close(random, &schema, total, &groups, &mut out);
    out
}

/// Many pages or row groups of a row or two, some of them broken: each breaks off what is decoded together.
fn crumbs(random: &mut StdRng) -> Vec<u8> {
    let mut schema = Schema::default();
    let columns = 1 + few(random, 12).min(3);
    schema.elements.push(Struct::default().bytes(4, b"root").i32(5, columns as i32).end());
    for name in &["n", "s", "b", "d"][..columns] {
        let repetition = one(random, &[0, 1]);
        leaf(random, &mut schema, vec![(*name).to_owned()], repetition, (0, 0));
    }
    let codec = one(random, &[0, 1, 6]);
    let (of_page, of_group) = (1 + few(random, 3), one(random, &[1, 10, 1_000, 30_000]));
    let broken = one(random, &[0.0, 0.01, 0.5, 1.0]);
    let (mut out, mut groups, mut total) = (b"PAR1".to_vec(), Vec::new(), 0);
    let most = one(random, &[10_000, 100_000, MAX_BYTES * 2 / 3]);
    while out.len() + groups.iter().map(Vec::len).sum::<usize>() < most {
        let pages = 1 + few(random, of_group);
        let mut chunks = Vec::new();
        for leaf in &schema.leaves {
            let (start, mut unpacked, mut values) = (out.len(), 0, 0);
            let share = most / columns;
            for _ in 0..pages {
                let at = out.len();
                let (count, bytes) = data_page(random, leaf, of_page, None, codec, &mut out);
                if random.random_bool(broken) {
                    // The end of a page is its values.
                    let end = out.len();
                    let from = end - random.random_range(0..=4.min(end - at - 1));
                    out[from..end].fill(0xff);
                }
                (values, unpacked) = (values + count, unpacked + bytes);
                if out.len() - start > share {
                    break;
                }
            }
            let packed = (out.len() - start) as i64;
            let encodings = vec![0, 3];
            let (data, unpacked, values) = (start as i64, unpacked as i64, values as i64);
            chunks.push(Chunk { dictionary: None, data, packed, unpacked, values, codec, encodings });
        }
        let rows = (pages * of_page) as i64;
        total += rows;
        groups.push(group(&schema, &chunks, rows));
    }
    close(random, &schema, total, &groups, &mut out);
    out
}

fn close(random: &mut StdRng, schema: &Schema, rows: i64, groups: &[Vec<u8>], out: &mut Vec<u8>) {
    let footer = Struct::default().i32(1, 1).structs(2, &schema.elements).i64(3, rows).structs(4, groups);
    let footer = footer.bytes(6, b"hostile").end();
    out.extend_from_slice(&footer);
    let length = if random.random_ratio(1, 40) { random.random() } else { footer.len() as u32 };
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(b"PAR1");
}

/// Mostly the number itself.
pub(super) fn lie(random: &mut StdRng, number: i64) -> i64 {
    match random.random_range(0..60) {
        0 => one(random, &[-1, 0, 1, i64::MAX, i64::MIN, 1 << 31, 1 << 40]),
        1 => number.saturating_add(one(random, &[-1, 1, 8, 1_000])),
        2 => number.saturating_mul(one(random, &[2, 10, 1_000])),
        _ => number,
    }
}

pub(super) fn lie32(random: &mut StdRng, number: usize) -> i32 {
    lie(random, number as i64) as i32
}

fn group(schema: &Schema, chunks: &[Chunk], rows: i64) -> Vec<u8> {
    let column = |(leaf, chunk): (&Leaf, &Chunk)| {
        let path: Vec<&str> = leaf.path.iter().map(String::as_str).collect();
        let mut meta = Struct::default()
            .i32(1, leaf.kind)
            .i32s(2, &chunk.encodings)
            .texts(3, &path)
            .i32(4, chunk.codec)
            .i64(5, chunk.values)
            .i64(6, chunk.unpacked)
            .i64(7, chunk.packed)
            .i64(9, chunk.data);
        if let Some(dictionary) = chunk.dictionary {
            meta = meta.i64(11, dictionary);
        }
        Struct::default().i64(2, chunk.data).inner(3, &meta.end()).end()
    };
    let columns: Vec<Vec<u8>> = schema.leaves.iter().zip(chunks).map(column).collect();
    Struct::default().structs(1, &columns).i64(2, chunks.iter().map(|chunk| chunk.unpacked).sum()).i64(3, rows).end()
}

fn chunks(random: &mut StdRng, schema: &Schema, rows: usize, codec: i32, out: &mut Vec<u8>) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::with_capacity(schema.leaves.len());
    for leaf in &schema.leaves {
        // The pages of another column: what lies in them may be of another type.
        if let Some(other) = chunks.last().cloned()
            && (out.len() > MAX_BYTES * 3 / 4 || random.random_ratio(1, 12))
        {
            chunks.push(other);
            continue;
        }
        chunks.push(chunk(random, leaf, rows, codec, out));
    }
    chunks
}

fn chunk(random: &mut StdRng, leaf: &Leaf, rows: usize, codec: i32, out: &mut Vec<u8>) -> Chunk {
    let start = out.len();
    let mut unpacked = 0;
    let dictionary = random.random_ratio(1, 2).then(|| {
        let values = match random.random_range(0..4) {
            0 => few(random, 5_000),
            _ => 1 + few(random, 8),
        };
        let bytes = plain(random, leaf, values);
        let header = Struct::default().i32(1, lie32(random, values)).i32(2, one(random, &[0, 2])).end();
        unpacked += page(random, codec, 2, &header, 7, &[], &bytes, out);
        values
    });
    let data = out.len();
    let pages = if random.random_ratio(1, 8) { 1 + few(random, 200) } else { 1 + few(random, 3) };
    let (mut left, mut values) = (rows, 0);
    for at in 0..pages {
        let of_page = if at + 1 == pages { left } else { random.random_range(0..=left) };
        left -= of_page;
        let (count, bytes) = data_page(random, leaf, of_page, dictionary, codec, out);
        values += count;
        unpacked += bytes;
        // The same page again and again.
        let again = if random.random_ratio(1, 20) { few(random, 1_000) } else { 0 };
        let copy = out[data..].to_vec();
        for _ in 0..again {
            if out.len() + copy.len() > MAX_BYTES * 3 / 4 {
                break;
            }
            out.extend_from_slice(&copy);
            values += count;
        }
    }
    Chunk {
        dictionary: dictionary.map(|_| start as i64),
        data: lie(random, data as i64),
        packed: lie(random, (out.len() - start) as i64),
        unpacked: lie(random, unpacked as i64),
        values: lie(random, values as i64),
        codec: if random.random_ratio(1, 60) { random.random_range(0..9) } else { codec },
        encodings: vec![0, 3, 8],
    }
}
