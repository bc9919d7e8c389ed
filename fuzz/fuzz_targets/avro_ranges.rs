//! The blocks of an Avro file are the same in ranges of any size, in parts, and after stops, whatever its bytes are.
#![no_main]

use std::ops::Range;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use weir_intake::{AvroHeader, AvroOptions, AvroPiece, Blob};

const HEADER: &[u8] = b"Obj\x01\x02\x16avro.schema\x0a\"int\"\x00";
const MARKER: [u8; 16] = *b"0123456789abcdef";
/// In the input, stands for the marker.
const SHORT: u8 = 0xf5;

fuzz_target!(|input: (bool, u8, Vec<u16>, Vec<u8>)| {
    let (as_it_is, range, cuts, bytes) = input;
    let mut content = Vec::new();
    if as_it_is {
        content = bytes;
    } else {
        content.extend_from_slice(HEADER);
        content.extend_from_slice(&MARKER);
        bytes.iter().for_each(|byte| match *byte {
            SHORT => content.extend_from_slice(&MARKER),
            byte => content.push(byte),
        });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    runtime.block_on(async {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        store.put(&Path::from("x"), content.clone().into()).await.expect("put");
        let blob = Blob::open(store, Path::from("x"), None).await.expect("opened");
        let Ok(header) = blob.avro_header().await.expect("read") else {
            assert!(as_it_is, "the header is sound");
            return;
        };
        let whole = blocks(&blob, &header, 1 << 20, None).await;
        let range_bytes = u64::from(range) + 1;
        assert_eq!(blocks(&blob, &header, range_bytes, None).await, whole);
        assert_eq!(with_stops(&blob, &header, range_bytes).await, whole);
        let mut found = Vec::new();
        for part in partition(content.len() as u64, &cuts) {
            found.extend(blocks(&blob, &header, range_bytes, Some(part)).await);
        }
        assert_eq!(found, whole);
    });
});

fn partition(size: u64, cuts: &[u16]) -> Vec<Range<u64>> {
    let mut at: Vec<u64> = cuts.iter().take(8).map(|cut| u64::from(*cut) % (size + 1)).collect();
    at.extend([0, size]);
    at.sort_unstable();
    at.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

async fn blocks(
    blob: &Blob,
    header: &AvroHeader,
    range_bytes: u64,
    part: Option<Range<u64>>,
) -> Vec<Result<(u64, Vec<u8>), &'static str>> {
    let mut reader = blob.avro(header, AvroOptions { range_bytes, from: 0, part });
    let mut found = Vec::new();
    while let Some(piece) = reader.next().await.expect("read") {
        found.push(plain(piece));
    }
    found
}

async fn with_stops(blob: &Blob, header: &AvroHeader, range_bytes: u64) -> Vec<Result<(u64, Vec<u8>), &'static str>> {
    let (mut found, mut from) = (Vec::new(), 0);
    loop {
        let mut reader = blob.avro(header, AvroOptions { range_bytes, from, part: None });
        let Some(piece) = reader.next().await.expect("read") else { return found };
        assert!(reader.consumed() > from);
        from = reader.consumed();
        found.push(plain(piece));
    }
}

/// How much of a refused block is shown depends on what was there already.
fn plain(piece: AvroPiece) -> Result<(u64, Vec<u8>), &'static str> {
    match piece {
        AvroPiece::Block { count, data } => Ok((count, data.to_vec())),
        AvroPiece::Refused { reason, .. } => Err(reason),
    }
}
