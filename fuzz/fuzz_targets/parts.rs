//! The parts of a blob of lines, read apart, are the blob; so is what readers give who go on after each other, whatever
//! the framing.
#![no_main]

use std::ops::Range;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use weir_intake::{Blob, ChunkOptions, Framing, Piece};

fuzz_target!(|input: (u8, u8, u8, u8, Vec<u16>, Vec<u8>)| {
    let (framing, limit, chunk, range, cuts, content) = input;
    let framing = match framing % 3 {
        0 => Framing::Lines,
        1 => Framing::Csv { delimiter: b',', quote: b'"', escape: None },
        _ => Framing::Document,
    };
    let options = ChunkOptions {
        framing,
        range_bytes: u64::from(range) + 1,
        chunk_bytes: usize::from(chunk) + 1,
        max_record_bytes: usize::from(limit) + 1,
        ..ChunkOptions::lines()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    runtime.block_on(async {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        store.put(&Path::from("x"), content.clone().into()).await.expect("put");
        let blob = Blob::open(store, Path::from("x"), None).await.expect("opened");
        let whole = joined(pieces(&blob, &options).await);
        assert_eq!(joined(with_stops(&blob, &options).await), whole);
        if !blob.probe(&options).await.expect("probed").splits {
            return;
        }
        let mut found = Vec::new();
        for part in partition(content.len() as u64, &cuts) {
            found.extend(pieces(&blob, &ChunkOptions { part: Some(part), ..options.clone() }).await);
        }
        assert_eq!(joined(found), whole);
    });
});

fn partition(size: u64, cuts: &[u16]) -> Vec<Range<u64>> {
    let mut at: Vec<u64> = cuts.iter().take(8).map(|cut| u64::from(*cut) % (size + 1)).collect();
    at.extend([0, size]);
    at.sort_unstable();
    at.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

async fn pieces(blob: &Blob, options: &ChunkOptions) -> Vec<Piece> {
    let (mut reader, mut pieces) = (blob.chunks(options.clone()), Vec::new());
    while let Some(piece) = reader.next().await.expect("read") {
        pieces.push(piece);
    }
    pieces
}

async fn with_stops(blob: &Blob, options: &ChunkOptions) -> Vec<Piece> {
    let (mut pieces, mut from) = (Vec::new(), 0);
    loop {
        let mut reader = blob.chunks(ChunkOptions { from, ..options.clone() });
        let Some(piece) = reader.next().await.expect("read") else { return pieces };
        assert!(reader.consumed() > from);
        from = reader.consumed();
        pieces.push(piece);
    }
}

/// Without accidental borders.
fn joined(pieces: Vec<Piece>) -> Vec<(Vec<u8>, Option<String>)> {
    let mut found: Vec<(Vec<u8>, Option<String>)> = Vec::new();
    for piece in pieces {
        match (piece, found.last_mut()) {
            (Piece::Records(bytes), Some((before, None))) => before.extend_from_slice(&bytes),
            (Piece::Records(bytes), _) => found.push((bytes.to_vec(), None)),
            (Piece::Refused { head, reason }, _) => found.push((head.to_vec(), Some(reason))),
        }
    }
    found
}
