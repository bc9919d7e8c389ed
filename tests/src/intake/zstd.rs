//! Zstandard: as gzip, the whole stream or what came before its fault and one refused record that says so.

use std::io::Write;

use weir_contract::Compression;
use weir_intake::{ChunkOptions, Piece};

use super::gzip::{lines, taken_apart};
use super::{joined, open, options, read, records, refused, store};

const DAMAGED: &str = "the zstd stream is damaged";
const TRUNCATED: &str = "the zstd stream is truncated";
const NO_ZSTD: &str =
    "not a zstd stream, it looks like something else: set `[format] compression` to \"auto\", or leave it out";
const RANGES: [u64; 4] = [2, 7, 64, 1 << 20];

pub(super) fn zstd(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ::zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn told(range: u64) -> ChunkOptions {
    ChunkOptions { compression: Compression::Zstd, ..options(range) }
}

#[tokio::test]
async fn frames_are_one_stream() {
    let plain = lines(60);
    let (first, second) = plain.split_at(333);
    // A skippable frame (pzstd writes them) comes first.
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    let frames = [&skippable[..], &zstd(first.as_bytes()), &zstd(b""), &zstd(second.as_bytes())].concat();
    for range in RANGES {
        for compression in [Compression::Auto, Compression::Zstd] {
            let pieces = read(&frames[11..], ChunkOptions { compression, ..options(range) }).await;
            assert_eq!(joined(pieces), [records(&plain)], "ranges of {range} bytes");
        }
        assert_eq!(joined(read(&frames, options(range)).await), [records(&plain)]);
        assert_eq!(read(&zstd(b""), options(range)).await, []);
        assert_eq!(joined(read(b"a,b\n", told(range)).await), [refused("a,b\n", NO_ZSTD)]);
        let trailing = [&zstd(b"a\nb\n")[..], b"rubbish, rubbish"].concat();
        assert_eq!(joined(read(&trailing, options(range)).await), [records("a\nb\n"), refused("", DAMAGED)]);
    }
}

#[tokio::test]
async fn truncated_or_damaged_anywhere() {
    let plain = lines(40);
    let packed = zstd(plain.as_bytes());
    // A bit of byte 4 has no meaning, and byte 5 is the size of the window.
    for at in (1..4).chain(6..packed.len()) {
        let mut damaged = packed.clone();
        damaged[at] ^= 0x10;
        for (content, is_cut) in [(&packed[..at], true), (&damaged[..], false)] {
            let mut outcomes = Vec::new();
            for range in RANGES {
                let stretches = joined(read(content, told(range)).await);
                let (seen, reason) = taken_apart(&stretches);
                if is_cut {
                    assert!(plain.starts_with(&seen), "after {at} bytes");
                    assert_eq!(reason, Some(TRUNCATED), "after {at} bytes");
                } else if at < 4 {
                    assert_eq!(reason, Some(NO_ZSTD), "byte {at}");
                } else {
                    // Some bits mean nothing; the checksum tells that the others do.
                    let told = reason.is_some_and(|reason| reason.starts_with("the zstd stream"));
                    assert!(told || seen == plain && reason.is_none(), "byte {at}: {reason:?}");
                }
                outcomes.push(stretches);
            }
            assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]), "byte {at}: ranges matter");
        }
    }
}

#[tokio::test]
async fn a_bomb_is_stopped_and_pieces_stay_small() {
    const LIMIT: usize = 1 << 20;
    let line = [b"0123456789".repeat(100), b"\n".to_vec()].concat();
    let packed = zstd(&line.repeat(200_000));
    assert!(packed.len() < 64 * 1024, "{}", packed.len());
    let bomb = ChunkOptions { chunk_bytes: LIMIT, max_record_bytes: LIMIT, ..options(8 << 20) };
    let mut reader = open(&store(&packed).await).await.chunks(bomb);
    let (mut total, mut last) = (0, None);
    while let Some(piece) = reader.next().await.unwrap() {
        if let Piece::Records(bytes) = &piece {
            total += bytes.len();
            assert!(bytes.len() < 3 * LIMIT, "{}", bytes.len());
        }
        last = Some(piece);
    }
    assert!((64 << 20..70 << 20).contains(&total), "{total}");
    assert!(
        matches!(last, Some(Piece::Refused { reason, .. }) if reason == "the zstd stream expands more than 200 times")
    );
}

#[tokio::test]
async fn a_window_that_does_not_fit_is_refused() {
    for (window, fits) in [(25, true), (26, false)] {
        let mut encoder = ::zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.long_distance_matching(true).unwrap();
        encoder.window_log(window).unwrap();
        encoder.write_all(b"a\nb\n").unwrap();
        let pieces = joined(read(&encoder.finish().unwrap(), options(64)).await);
        match fits {
            true => assert_eq!(pieces, [records("a\nb\n")]),
            false => assert!(matches!(taken_apart(&pieces).1, Some(reason) if reason.contains("32 MiB")), "{pieces:?}"),
        }
    }
}
