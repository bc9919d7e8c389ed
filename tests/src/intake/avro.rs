//! Blocks of Avro files that another writer made (`tests/data/avro/make.py`): whole, in parts, after stops, and damaged.

use std::ops::Range;

use weir_intake::{AvroHeader, AvroOptions, AvroPiece, Blob};

use super::{open, store};

const TRUNCATED: &str = "the Avro file is truncated";
const NO_MARKER: &str = "the Avro block does not end with the file's sync marker";
const HEAD_DAMAGED: &str = "the Avro block's head is damaged";

/// The marker that make.py sets.
fn marker() -> Vec<u8> {
    (100..116).collect()
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(crate::support::repository().join("tests/data/avro").join(name)).unwrap()
}

/// Where each of the file's markers ends.
fn behind_markers(bytes: &[u8]) -> Vec<usize> {
    let marker = marker();
    (marker.len()..=bytes.len()).filter(|at| bytes[at - marker.len()..*at] == marker).collect()
}

async fn opened(bytes: &[u8]) -> (Blob, AvroHeader) {
    let blob = open(&store(bytes).await).await;
    let header = blob.avro_header().await.unwrap().unwrap();
    (blob, header)
}

async fn read(blob: &Blob, header: &AvroHeader, range_bytes: u64, part: Option<Range<u64>>) -> Vec<AvroPiece> {
    let mut reader = blob.avro(header, AvroOptions { range_bytes, from: 0, part });
    let mut pieces = Vec::new();
    while let Some(piece) = reader.next().await.unwrap() {
        pieces.push(piece);
    }
    pieces
}

async fn with_stops(blob: &Blob, header: &AvroHeader, range_bytes: u64) -> Vec<AvroPiece> {
    let (mut pieces, mut from) = (Vec::new(), 0);
    loop {
        let mut reader = blob.avro(header, AvroOptions { range_bytes, from, part: None });
        let Some(piece) = reader.next().await.unwrap() else { return pieces };
        assert!(reader.consumed() > from, "{piece:?}");
        from = reader.consumed();
        pieces.push(piece);
    }
}

/// All ways to read give the same, which is returned; a damaged piece's bytes do not count.
async fn all_ways(bytes: &[u8]) -> Vec<AvroPiece> {
    let (blob, header) = opened(bytes).await;
    let whole = plain(read(&blob, &header, 1 << 20, None).await);
    let size = bytes.len() as u64;
    for range in [1, 40, 1_000] {
        assert_eq!(plain(read(&blob, &header, range, None).await), whole, "ranges of {range}");
        assert_eq!(plain(with_stops(&blob, &header, range).await), whole, "stops, ranges of {range}");
    }
    for step in [1_u64, 17, 300, size] {
        let mut parts = Vec::new();
        for start in (0..size).step_by(step as usize) {
            parts.extend(read(&blob, &header, 64, Some(start..start + step)).await);
        }
        assert_eq!(plain(parts), whole, "parts of {step} bytes");
    }
    whole
}

fn plain(pieces: Vec<AvroPiece>) -> Vec<AvroPiece> {
    let without_head = |piece| match piece {
        AvroPiece::Refused { reason, .. } => AvroPiece::Refused { head: bytes::Bytes::new(), reason },
        block @ AvroPiece::Block { .. } => block,
    };
    pieces.into_iter().map(without_head).collect()
}

fn refused(reason: &'static str) -> AvroPiece {
    AvroPiece::Refused { head: bytes::Bytes::new(), reason }
}

fn records(pieces: &[AvroPiece]) -> u64 {
    pieces.iter().map(|piece| if let AvroPiece::Block { count, .. } = piece { *count } else { 0 }).sum()
}

#[tokio::test]
async fn blocks_are_the_same_however_they_are_read() {
    for (name, expected) in
        [("orders.null.avro", 40), ("orders.deflate.avro", 40), ("capture.avro", 30), ("empty.avro", 0)]
    {
        let bytes = file(name);
        let whole = all_ways(&bytes).await;
        assert_eq!(records(&whole), expected, "{name}");
        assert_eq!(whole.len() + 1, behind_markers(&bytes).len(), "{name}: one block a marker, after the header's");
        assert!(expected == 0 || whole.len() > 2, "{name}");
    }
}

#[tokio::test]
async fn a_damaged_block_costs_itself() {
    let sound = file("orders.null.avro");
    let whole = all_ways(&sound).await;
    let ends = behind_markers(&sound);
    let block = ends[1];
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = sound.clone();
        change(&mut bytes);
        bytes
    };
    let but_second = |reason| {
        let mut expected = whole.clone();
        expected[1] = refused(reason);
        expected
    };
    // The block says another length: one less, or one that ends with the block after it.
    let shorter = changed(&|bytes| bytes[block + 1] -= 2);
    assert_eq!(all_ways(&shorter).await, but_second(NO_MARKER));
    // A negative count, a negative length.
    assert_eq!(all_ways(&changed(&|bytes| bytes[block] |= 1)).await, but_second(HEAD_DAMAGED));
    assert_eq!(all_ways(&changed(&|bytes| bytes[block + 1] |= 1)).await, but_second(HEAD_DAMAGED));
    // Its marker is wrong: the block runs into the next one, which is lost with it.
    let mut expected = but_second(NO_MARKER);
    expected.remove(2);
    assert_eq!(all_ways(&changed(&|bytes| bytes[ends[2] - 1] ^= 1)).await, expected);
    // Its data holds the marker.
    let inside = changed(&|bytes| bytes.splice(block + 40..block + 56, marker()).for_each(drop));
    let found = all_ways(&inside).await;
    assert_eq!((found[0].clone(), found[1].clone()), (whole[0].clone(), refused(NO_MARKER)));
    assert_eq!(found.last(), whole.last());
    // A length beyond all limits.
    let huge = changed(&|bytes| bytes.splice(block + 1..block + 3, [0xfe, 0xff, 0xff, 0xff, 0x0f]).for_each(drop));
    assert_eq!(all_ways(&huge).await, but_second("the Avro block has more than 64 MiB"));
    let endless = changed(&|bytes| bytes.splice(block..block + 1, [0xff; 11]).for_each(drop));
    assert_eq!(all_ways(&endless).await, but_second(HEAD_DAMAGED));
}

#[tokio::test]
async fn truncated_anywhere() {
    let sound = file("orders.null.avro");
    let whole = all_ways(&sound).await;
    let ends = behind_markers(&sound);
    for length in [ends[0], ends[0] + 1, ends[0] + 2, ends[0] + 99, ends[1] - 1, ends[1], ends[1] + 3, sound.len() - 1]
    {
        let complete = ends.iter().filter(|end| **end <= length).count() - 1;
        let mut expected = whole[..complete].to_vec();
        if !ends.contains(&length) {
            expected.push(refused(TRUNCATED));
        }
        assert_eq!(all_ways(&sound[..length]).await, expected, "{length} bytes");
    }
}

#[tokio::test]
async fn headers() {
    let sound = file("empty.avro");
    let (_, header) = opened(&sound).await;
    assert!(header.schema.starts_with("{\"type\"") && header.codec == "null", "{header:?}");
    let damaged = "the Avro file's header is damaged: ";
    let no_schema = [b"Obj\x01\x00", &marker()[..]].concat();
    let negative = b"Obj\x01\x02\x01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_vec();
    let long_number = [b"Obj\x01", &[0xff; 30][..]].concat();
    let not_utf8 = [b"Obj\x01\x02\x16avro.schema\x02\xff\x00", &marker()[..]].concat();
    let cases: [(Vec<u8>, String); 6] = [
        (sound[..200].to_vec(), "the Avro file is truncated in its header".to_owned()),
        (b"id,x\n".to_vec(), format!("{damaged}no Avro signature")),
        (no_schema, format!("{damaged}it has no schema")),
        (negative, format!("{damaged}a length is negative")),
        (long_number, format!("{damaged}a number has more than 64 bits")),
        (not_utf8, format!("{damaged}its schema or codec is not UTF-8")),
    ];
    for (content, expected) in cases {
        let found = open(&store(&content).await).await.avro_header().await.unwrap();
        assert_eq!(found, Err(expected));
    }
    let endless = [b"Obj\x01\x02\x80\x80\x80\x20", &vec![b'a'; 8 << 20][..]].concat();
    let found = open(&store(&endless).await).await.avro_header().await.unwrap();
    assert_eq!(found, Err("the Avro file's header has more than 4 MiB".to_owned()));
}
