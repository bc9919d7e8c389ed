//! The parts of a blob, read apart, are the blob.

use std::ops::Range;
use std::sync::Arc;

use object_store::ObjectStore;
use proptest::prelude::*;
use weir_contract::Compression;
use weir_intake::{Blob, ChunkOptions, ErrorKind, Framing, Piece, parts};

use super::gzip::gzip;
use super::properties::soup;
use super::recording::Recording;
use super::{CSV, Stretch, joined, open, options, path, pieces, records, store, too_long};

fn lines(range_bytes: u64, limit: usize) -> ChunkOptions {
    ChunkOptions { framing: Framing::Lines, max_record_bytes: limit, ..options(range_bytes) }
}

/// `0..size`, cut at some places.
fn partition(size: usize, cuts: &[prop::sample::Index]) -> Vec<Range<u64>> {
    let mut at: Vec<u64> = cuts.iter().map(|cut| cut.index(size + 1) as u64).collect();
    at.extend([0, size as u64]);
    at.sort_unstable();
    at.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

async fn in_parts(blob: &Blob, options: &ChunkOptions, parts: &[Range<u64>]) -> Vec<Stretch> {
    let mut found = Vec::new();
    for part in parts {
        found.extend(pieces(blob.chunks(ChunkOptions { part: Some(part.clone()), ..options.clone() })).await);
    }
    joined(found)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn any_partition_gives_the_whole(
        marked in any::<bool>(),
        soup in soup(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        limit in 1..40_usize,
        range in 1..80_u64,
    ) {
        let content = if marked { [b"\xef\xbb\xbf", &soup[..]].concat() } else { soup };
        block_on(async {
            let blob = open(&store(&content).await).await;
            let options = lines(range, limit);
            if !blob.probe(&options).await.unwrap().splits {
                return Ok(()); // the soup was a signature by chance
            }
            let whole = joined(pieces(blob.chunks(options.clone())).await);
            prop_assert_eq!(in_parts(&blob, &options, &partition(content.len(), &cuts)).await, whole);
            Ok(())
        })?;
    }
}

/// Every way to cut in two, and into single bytes.
#[tokio::test]
async fn cuts_at_every_byte() {
    let contents: [&[u8]; 10] = [
        b"",
        b"a",
        b"\n",
        b"a\nbb\n",
        b"a\r\n\r\n\nbb\r\nccc",
        b"\xef\xbb\xbfa\nb",
        b"\xef\xbb\xbf",
        b"\xef\xbb",
        b"a\n1234567890123\nb\n1234567890123",
        b"\r\r\n\"x\ny\"\n",
    ];
    for content in contents {
        let blob = open(&store(content).await).await;
        let size = content.len() as u64;
        for range in [1, 3, 100] {
            let options = lines(range, 12);
            let whole = joined(pieces(blob.chunks(options.clone())).await);
            for cut in 0..=size {
                let halves = in_parts(&blob, &options, &[0..cut, cut..size]).await;
                assert_eq!(halves, whole, "{content:?} cut at {cut}, by {range}");
            }
            let bytes: Vec<Range<u64>> = (0..size).map(|at| at..at + 1).collect();
            assert_eq!(in_parts(&blob, &options, &bytes).await, whole, "{content:?} by bytes");
        }
    }
}

#[tokio::test]
async fn a_part_owns_the_records_that_begin_in_it() {
    let blob = open(&store(b"aa\nbbbbbbbbbbbbbbbbbbbb\ncc\n").await).await;
    let cases: [(Range<u64>, &[Stretch]); 8] = [
        (0..1, &[records("aa\n")]),
        (1..3, &[]),
        (0..3, &[records("aa\n")]),
        (3..4, &[too_long("bbbbbbbbbbbbbbbbbbbb", 12)]),
        (4..24, &[]),
        (4..25, &[records("cc\n")]),
        (25..27, &[]),
        (30..40, &[]),
    ];
    for (part, expected) in cases {
        assert_eq!(in_parts(&blob, &lines(5, 12), std::slice::from_ref(&part)).await, expected, "{part:?}");
    }
}

#[tokio::test]
async fn only_plain_lines_have_parts() {
    let utf16 = b"\xff\xfea\0\n\0b\0\n\0".to_vec();
    let plain = b"a,b\n1,2\n".to_vec();
    let cases = [
        (plain.clone(), lines(64, 99), true),
        (plain.clone(), options(64), false),
        (gzip(&plain), lines(64, 99), false),
        (utf16, lines(64, 99), false),
        (plain.clone(), ChunkOptions { encoding: "windows-1252", ..lines(64, 99) }, false),
        (plain, ChunkOptions { compression: Compression::Zstd, ..lines(64, 99) }, false),
    ];
    for (content, options, expected) in cases {
        let blob = open(&store(&content).await).await;
        let probe = blob.probe(&options).await.unwrap();
        assert_eq!(probe.splits, expected, "{options:?}");
        let size = blob.size();
        for part in [0..size - 1, 1..size] {
            let found = blob.chunks(ChunkOptions { part: Some(part), ..options.clone() }).next().await;
            match found {
                Ok(piece) => assert!(expected || matches!(piece, None | Some(Piece::Refused { .. })), "{options:?}"),
                Err(error) => assert_eq!((error.kind(), expected), (ErrorKind::Misuse, false), "{options:?}"),
            }
        }
        // The whole is no part.
        let whole = pieces(blob.chunks(ChunkOptions { part: Some(0..size), ..options.clone() })).await;
        assert_eq!(joined(whole), joined(pieces(blob.chunks(options)).await));
    }
}

#[tokio::test]
async fn a_part_fetches_itself_and_little_more() {
    let line = format!("{}\n", "x".repeat(99));
    let recording = Recording::new(store(line.repeat(10_000).as_bytes()).await);
    let blob = Blob::open(Arc::clone(&recording) as Arc<dyn ObjectStore>, path(), None).await.unwrap();
    let part = 333_333..666_666;
    let options = ChunkOptions { part: Some(part.clone()), ..lines(50_000, 1024) };
    let found = joined(pieces(blob.chunks(options)).await);
    assert_eq!(found, [records(&line.repeat(3_333))]);
    let reads = recording.reads.lock().unwrap().clone();
    assert_eq!(reads[0], 0..4096, "the signature, and how lines end");
    assert_eq!(reads[1].start, part.start - 1);
    assert!(reads[1..].windows(2).all(|pair| pair[0].end == pair[1].start), "{reads:?}");
    let last = reads.last().unwrap().end;
    assert!((part.end + 1..part.end + 70_000).contains(&last), "{reads:?}");
}

#[test]
fn a_blob_is_cut_into_even_parts() {
    assert_eq!((parts(0, 10).len(), parts(0, 10)[0].clone()), (1, 0..0));
    assert_eq!((parts(10, 10).len(), parts(10, 10)[0].clone()), (1, 0..10));
    assert_eq!(parts(11, 10), [0..5, 5..11]);
    assert_eq!(parts(30, 10), [0..10, 10..20, 20..30]);
    let huge = parts(u64::MAX, u64::MAX / 3);
    assert_eq!((huge.len(), huge[2].end), (3, u64::MAX));
    assert!(huge.windows(2).all(|pair| pair[0].end == pair[1].start));
}

#[tokio::test]
async fn the_header_is_read_alone() {
    let long = format!("a,b\n{}", "1,2\n".repeat(100_000));
    let cases: [(&str, ChunkOptions, Option<Stretch>, u64); 9] = [
        ("a,b\n1,2\n", options(64), Some(records("a,b\n")), 4),
        ("\u{feff}a,b\r\n1,2\n", options(64), Some(records("a,b\r\n")), 8),
        ("\n \r\na,b\n1,2\n", options(64), Some(records("a,b\n")), 8),
        ("\"a\nb\",c\n1,2\n", options(3), Some(records("\"a\nb\",c\n")), 8),
        ("\"a\nb\",c\n1,2\n", lines(3, 99), Some(records("\"a\n")), 3),
        ("a,b", options(64), Some(records("a,b")), 3),
        ("1234567890123,b\nx\n", lines(64, 12), Some(too_long("1234567890123,b", 12)), 16),
        ("\n\n", options(64), None, 2),
        (&long, options(1 << 20), Some(records("a,b\n")), 4),
    ];
    for (content, options, expected, after) in cases {
        let recording = Recording::new(store(content.as_bytes()).await);
        let blob = Blob::open(Arc::clone(&recording) as Arc<dyn ObjectStore>, path(), None).await.unwrap();
        let first = blob.first_record(&options).await.unwrap();
        assert_eq!(joined(first.piece), expected.into_iter().collect::<Vec<_>>(), "{content:.20}");
        assert_eq!(first.after, after, "{content:.20}");
        assert!(recording.reads.lock().unwrap().iter().all(|read| read.end <= 64 * 1024));
        let rest = joined(pieces(blob.chunks(ChunkOptions { from: after, ..options })).await);
        let body = &content[after as usize..];
        let expected = if body.is_empty() { vec![] } else { vec![records(body)] };
        assert_eq!(rest, expected, "{content:.20}");
    }
    let blob = open(&store(&gzip(b"a,b\n1,2\n")).await).await;
    let first = blob.first_record(&ChunkOptions { framing: CSV, ..options(64) }).await.unwrap();
    assert_eq!((joined(first.piece), first.after), (vec![records("a,b\n")], 4));
}

#[tokio::test]
async fn what_begins_with_a_bracket_may_be_a_document() {
    for (content, expected) in
        [("[1]", true), (" \n\t[", true), ("\u{feff}[{}]", true), ("{\"a\": [", false), ("", false)]
    {
        for bytes in [content.as_bytes().to_vec(), gzip(content.as_bytes())] {
            let blob = open(&store(&bytes).await).await;
            assert_eq!(blob.probe(&options(64)).await.unwrap().is_array, expected, "{content}");
        }
    }
}
