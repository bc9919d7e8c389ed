//! A reader that goes on where another stopped gives the rest: plain or packed, whole or torn.

use std::sync::Arc;

use object_store::ObjectStore;
use proptest::prelude::*;
use weir_intake::{Blob, ChunkOptions, Framing, Piece};

use super::gzip::{gzip, lines};
use super::properties::soup;
use super::recording::Recording;
use super::zstd::zstd;
use super::{CSV, Stretch, joined, open, options, path, pieces, records, store};

/// Reads with a stop after every piece and a new reader each time.
async fn with_stops(blob: &Blob, options: &ChunkOptions) -> Vec<Piece> {
    let (mut found, mut from) = (Vec::new(), 0);
    loop {
        let mut reader = blob.chunks(ChunkOptions { from, ..options.clone() });
        assert_eq!(reader.consumed(), from, "nothing was handed out yet");
        let Some(piece) = reader.next().await.unwrap() else { return found };
        assert!(reader.consumed() > from, "{piece:?} stands for nothing");
        from = reader.consumed();
        found.push(piece);
    }
}

pub(super) async fn check(content: &[u8], options: &ChunkOptions) -> Vec<Stretch> {
    let blob = open(&store(content).await).await;
    let whole = joined(pieces(blob.chunks(options.clone())).await);
    assert_eq!(joined(with_stops(&blob, options).await), whole);
    whole
}

fn utf16(text: &str) -> Vec<u8> {
    std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn after_any_piece(
        soup in soup(),
        packing in 0..3_usize,
        is_csv in any::<bool>(),
        marked in any::<bool>(),
        torn in prop::option::of(any::<prop::sample::Index>()),
        limit in 1..40_usize,
        range in 1..80_u64,
        chunk in 1..60_usize,
    ) {
        let text = if marked { [b"\xef\xbb\xbf", &soup[..]].concat() } else { soup };
        let mut content = [|text: &[u8]| text.to_vec(), gzip, zstd][packing](&text);
        if let Some(at) = torn.filter(|_| packing > 0) {
            content.truncate(at.index(content.len()) + 1);
        }
        let framing = if is_csv { CSV } else { Framing::Lines };
        let options = ChunkOptions { framing, max_record_bytes: limit, chunk_bytes: chunk, ..options(range) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(check(&content, &options));
    }
}

#[tokio::test]
async fn in_utf_16_and_within_a_part() {
    let text = lines(40);
    let whole = check(&utf16(&text), &options(7)).await;
    assert_eq!(whole, [records(&text)]);

    let blob = open(&store(text.as_bytes()).await).await;
    let part = ChunkOptions { framing: Framing::Lines, part: Some(100..400), chunk_bytes: 1, ..options(16) };
    let whole = joined(pieces(blob.chunks(part.clone())).await);
    assert_eq!(joined(with_stops(&blob, &part).await), whole);
    let Stretch::Records(found) = &whole[0] else { panic!("{whole:?}") };
    assert!(found.len() > 290 && text.contains(found.as_str()), "{found}");
}

/// A stream that broke off is told once, whoever goes on.
#[tokio::test]
async fn a_torn_stream_is_told_once() {
    let plain = lines(40);
    for packed in [gzip(plain.as_bytes()), zstd(plain.as_bytes())] {
        for length in [packed.len() / 2, packed.len() - 1] {
            let whole = check(&packed[..length], &options(64)).await;
            let told = whole.iter().filter(|stretch| matches!(stretch, Stretch::Refused { .. })).count();
            assert_eq!(told, 1, "{whole:?}");
        }
    }
    let whole = check(b"PK\x03\x04 and what else a zip holds", &options(64)).await;
    assert!(matches!(&whole[..], [Stretch::Refused { .. }]), "{whole:?}");
}

#[tokio::test]
async fn nothing_before_it_is_fetched_of_a_plain_blob() {
    let line = "0123456789\n";
    let recording = Recording::new(store(line.repeat(1_000).as_bytes()).await);
    let blob = Blob::open(Arc::clone(&recording) as Arc<dyn ObjectStore>, path(), None).await.unwrap();
    let from = 11 * 500;
    let rest = pieces(blob.chunks(ChunkOptions { from, ..options(1_000) })).await;
    assert_eq!(joined(rest), [records(&line.repeat(500))]);
    let reads = recording.reads.lock().unwrap().clone();
    assert_eq!((reads[0].clone(), reads[1].start), (0..4096, from), "{reads:?}");
    assert!(reads[1..].iter().all(|read| read.start >= from), "{reads:?}");
}
