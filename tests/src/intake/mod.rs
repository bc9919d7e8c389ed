//! `weir_intake` from the outside: what a blob's bytes become, however they are cut.
#![allow(clippy::unwrap_used, clippy::panic, reason = "clippy's exemption for tests does not reach their helpers")]

mod avro;
mod blob;
mod bodies;
mod document;
mod encoding;
mod foreign;
mod gzip;
mod parts;
mod properties;
mod recording;
mod resume;
mod split;
mod zstd;

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use weir_intake::{Blob, ChunkOptions, ChunkReader, Framing, Piece, Splitter};

const CSV: Framing = Framing::Csv { delimiter: b',', quote: b'"', escape: None };
const NEVER_CLOSED: &str = "a quote is opened and never closed";

/// Pieces without their accidental borders: neighbouring `Records` are one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stretch {
    Records(String),
    Refused { head: String, reason: String },
}

fn records(text: &str) -> Stretch {
    Stretch::Records(text.to_owned())
}

fn refused(head: &str, reason: &str) -> Stretch {
    Stretch::Refused { head: head.to_owned(), reason: reason.to_owned() }
}

fn too_long(head: &str, limit: usize) -> Stretch {
    refused(head, &format!("record longer than {limit} bytes"))
}

fn joined(pieces: impl IntoIterator<Item = Piece>) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    // Lossless: a char for each byte.
    let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
    for piece in pieces {
        match (piece, stretches.last_mut()) {
            (Piece::Records(bytes), Some(Stretch::Records(before))) => before.push_str(&text(&bytes)),
            (Piece::Records(bytes), _) => stretches.push(Stretch::Records(text(&bytes))),
            (Piece::Refused { head, reason }, _) => stretches.push(Stretch::Refused { head: text(&head), reason }),
        }
    }
    stretches
}

/// Pushes `parts`, pulling all there is after each.
fn split<'a>(mut splitter: Splitter, parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for part in parts {
        splitter.push(part);
        pieces.extend(std::iter::from_fn(|| splitter.pull(false)));
    }
    pieces.extend(std::iter::from_fn(|| splitter.pull(true)));
    pieces
}

fn options(range_bytes: u64) -> ChunkOptions {
    ChunkOptions { framing: CSV, range_bytes, chunk_bytes: 64, max_record_bytes: 1024, ..ChunkOptions::lines() }
}

fn path() -> Path {
    Path::from("sales/a.csv")
}

/// A store that holds one blob.
async fn store(content: &[u8]) -> Arc<InMemory> {
    let store = Arc::new(InMemory::new());
    put(&store, content).await;
    store
}

async fn put(store: &InMemory, content: &[u8]) {
    store.put(&path(), content.to_vec().into()).await.unwrap();
}

async fn open(store: &Arc<InMemory>) -> Blob {
    let store: Arc<dyn ObjectStore> = Arc::clone(store) as _;
    Blob::open(store, path(), None).await.unwrap()
}

/// All pieces of a blob with this content.
async fn read(content: &[u8], options: ChunkOptions) -> Vec<Piece> {
    pieces(open(&store(content).await).await.chunks(options)).await
}

/// All pieces that are left.
async fn pieces(mut reader: ChunkReader) -> Vec<Piece> {
    let mut pieces = Vec::new();
    while let Some(piece) = reader.next().await.unwrap() {
        pieces.push(piece);
    }
    pieces
}
