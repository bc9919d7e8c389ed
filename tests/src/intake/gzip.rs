//! Gzip: what comes out is the whole stream, or what came before its fault and one refused record that says so.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use weir_contract::Compression as Says;
use weir_intake::{ChunkOptions, Piece};

use super::{Stretch, joined, open, options, read, records, refused, store};

const DAMAGED: &str = "the gzip stream is damaged";
const TRUNCATED: &str = "the gzip stream is truncated";
const NO_GZIP: &str =
    "not a gzip stream, it looks like something else: set `[format] compression` to \"auto\", or leave it out";
const BOMB: &str = "the gzip stream expands more than 200 times";
/// Bytes of one request; the smallest splits every header and trailer.
const RANGES: [u64; 4] = [2, 7, 64, 1 << 20];

pub(super) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Lines that compress badly, so that a stream has many bytes to be damaged.
pub(super) fn lines(count: u32) -> String {
    (0..count).map(|line| format!("{line},{:x}\n", line.wrapping_mul(2_654_435_761))).collect()
}

#[tokio::test]
async fn members_are_one_stream() {
    let plain = lines(60);
    let (first, second) = plain.split_at(333);
    let members = [gzip(first.as_bytes()), gzip(b""), gzip(second.as_bytes())].concat();
    for range in RANGES {
        for compression in [Says::Auto, Says::Gzip] {
            let pieces = read(&members, ChunkOptions { compression, ..options(range) }).await;
            assert_eq!(joined(pieces), [records(&plain)], "ranges of {range} bytes");
        }
    }
}

#[tokio::test]
async fn an_empty_stream_holds_no_record() {
    for range in RANGES {
        assert_eq!(read(&gzip(b""), options(range)).await, []);
        assert_eq!(read(b"", ChunkOptions { compression: Says::Gzip, ..options(range) }).await, []);
    }
}

#[tokio::test]
async fn what_is_not_gzip_is_one_refused_record() {
    for content in ["order,price\n1,2\n", "a,b\n", "{\n"] {
        for range in RANGES {
            let pieces = read(content.as_bytes(), ChunkOptions { compression: Says::Gzip, ..options(range) }).await;
            assert_eq!(joined(pieces), [refused(content, NO_GZIP)]);
        }
    }
}

#[tokio::test]
async fn truncated_anywhere() {
    let plain = lines(40);
    let packed = gzip(plain.as_bytes());
    for length in 1..packed.len() {
        let mut outcomes = Vec::new();
        for range in RANGES {
            let pieces = read(&packed[..length], ChunkOptions { compression: Says::Gzip, ..options(range) }).await;
            let stretches = joined(pieces);
            let (seen, reason) = taken_apart(&stretches);
            assert!(plain.starts_with(&seen), "after {length} bytes");
            assert_eq!(reason, Some(TRUNCATED), "after {length} bytes");
            outcomes.push(stretches);
        }
        assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]), "after {length} bytes: ranges matter");
    }
}

/// A flipped bit may give a different text before it is noticed, but never goes unnoticed, and never depends on ranges.
#[tokio::test]
async fn damaged_anywhere() {
    let packed = gzip(lines(40).as_bytes());
    // Bytes 4 to 9 of the header are a time stamp and remarks that nothing checks.
    for at in (0..4).chain(10..packed.len()) {
        let mut damaged = packed.clone();
        damaged[at] ^= 0x10;
        let mut outcomes = Vec::new();
        for range in RANGES {
            let stretches = joined(read(&damaged, ChunkOptions { compression: Says::Gzip, ..options(range) }).await);
            let (_, reason) = taken_apart(&stretches);
            let expected =
                if at < 2 { reason == Some(NO_GZIP) } else { [Some(DAMAGED), Some(TRUNCATED)].contains(&reason) };
            assert!(expected, "byte {at}: {reason:?}");
            outcomes.push(stretches);
        }
        assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]), "byte {at}: ranges matter: {outcomes:#?}");
    }
}

#[tokio::test]
async fn what_follows_the_last_member_is_damage() {
    let packed = [gzip(b"a\nb\n"), b"rubbish, rubbish".to_vec()].concat();
    for range in RANGES {
        assert_eq!(joined(read(&packed, options(range)).await), [records("a\nb\n"), refused("", DAMAGED)]);
    }
}

#[tokio::test]
async fn a_bomb_is_stopped_and_pieces_stay_small() {
    const LIMIT: usize = 1 << 20;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let line = [b"0123456789".repeat(100), b"\n".to_vec()].concat();
    for _ in 0..100 {
        encoder.write_all(&line.repeat(2_000)).unwrap();
    }
    let packed = encoder.finish().unwrap();
    assert!(packed.len() < LIMIT, "{}", packed.len());
    let bomb = ChunkOptions { chunk_bytes: LIMIT, max_record_bytes: LIMIT, ..options(8 << 20) };
    let (mut total, mut last) = (0, None);
    let mut reader = open(&store(&packed).await).await.chunks(bomb);
    while let Some(piece) = reader.next().await.unwrap() {
        if let Piece::Records(bytes) = &piece {
            total += bytes.len();
            // A chunk, and what one step of 16 KiB may expand to.
            assert!(bytes.len() < LIMIT + (17 << 20), "{}", bytes.len());
        }
        last = Some(piece);
    }
    assert!((64 << 20..100 << 20).contains(&total), "{total}");
    assert!(matches!(last, Some(Piece::Refused { reason, .. }) if reason == BOMB));
}

/// The bytes of all pieces, and why the last was refused.
pub(super) fn taken_apart(stretches: &[Stretch]) -> (String, Option<&str>) {
    let (mut seen, mut reason) = (String::new(), None);
    for stretch in stretches {
        assert_eq!(reason, None, "something follows the fault");
        match stretch {
            Stretch::Records(text) => seen.push_str(text),
            Stretch::Refused { head, reason: why } => {
                seen.push_str(head);
                reason = Some(why.as_str());
            }
        }
    }
    (seen, reason)
}

#[tokio::test]
async fn short_records_are_paid_for_with_bytes() {
    const MANY: &str = "the packed blob holds more records than its size pays for";
    let lines = |count: usize| gzip(&b"{}\n".repeat(count));
    // Each draws 32 of the 64 MiB that every blob may give.
    let most = (64 << 20) / 32;
    let whole = |pieces: Vec<Piece>| pieces.iter().all(|piece| matches!(piece, Piece::Records(_)));
    let options = || ChunkOptions { chunk_bytes: 1 << 20, ..ChunkOptions::lines() };
    assert!(whole(read(&lines(most), options()).await));
    let pieces = read(&lines(most + 1), options()).await;
    let (last, before) = pieces.split_last().unwrap();
    assert!(matches!(last, Piece::Refused { reason, .. } if reason == MANY), "{last:?}");
    let given: usize =
        before.iter().map(|piece| if let Piece::Records(bytes) = piece { bytes.len() / 3 } else { 0 }).sum();
    assert_eq!(given, most, "and the one beyond is refused with the rest");
    // Of a blob that is not packed they are its bytes.
    assert!(whole(read(&b"{}\n".repeat(most + 1_000), options()).await));
    // Where a record becomes much, it costs more.
    let dear = ChunkOptions { record_units: 1_000, ..options() };
    assert!(!whole(read(&lines(100_000), dear).await));
}
