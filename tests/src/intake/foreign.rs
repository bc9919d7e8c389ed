//! A blob that is something else than its contract says is one refused record, which says what it looks like.

use weir_contract::Compression;
use weir_intake::{ChunkOptions, Framing, Magic};

use super::gzip::gzip;
use super::zstd::zstd;
use super::{Stretch, joined, open, options, read, records, store};

fn lines(compression: Compression) -> ChunkOptions {
    ChunkOptions { framing: Framing::Lines, compression, ..options(7) }
}

#[tokio::test]
async fn it_says_what_it_looks_like_and_what_to_do() {
    use Compression::{Auto, Gzip, None, Zstd};
    let text = b"a,b\n1,2\n3,4\n";
    let cases: [(Vec<u8>, Compression, &str); 18] = [
        (gzip(text), None, "looks like a gzip stream: set `[format] compression` to \"auto\", or leave it out"),
        (zstd(text), None, "looks like a zstd stream: set `[format] compression` to \"auto\", or leave it out"),
        (zstd(text), Gzip, "not a gzip stream, it looks like a zstd stream: set `[format] compression` to \"auto\""),
        (gzip(text), Zstd, "not a zstd stream, it looks like a gzip stream: set `[format] compression` to \"auto\""),
        (b"PK\x03\x04....".to_vec(), Gzip, "not a gzip stream, it looks like a zip archive"),
        (gzip(&gzip(text)), Auto, "looks like a gzip stream within a gzip stream: compress it once"),
        (zstd(&gzip(text)), Zstd, "looks like a gzip stream within a zstd stream: compress it once"),
        (b"PK\x03\x04 zip".to_vec(), Auto, "looks like a zip archive: store what is in it, plain"),
        (gzip(b"PK\x03\x04 zip"), Auto, "looks like a zip archive"),
        (b"BZh91AY&SY....".to_vec(), Auto, "looks like a bzip2 stream"),
        (b"\xfd7zXZ\0....".to_vec(), Auto, "looks like an xz stream"),
        (b"PAR1\x15\x04....".to_vec(), Auto, "looks like a Parquet file: set `[format] type` to \"parquet\""),
        (gzip(b"PAR1\x15\x04...."), Auto, "looks like a Parquet file within a gzip stream: it compresses its own"),
        (b"Obj\x01....".to_vec(), None, "looks like an Avro file: set `[format] type` to \"avro\""),
        (zstd(b"Obj\x01...."), Auto, "looks like an Avro file within a zstd stream"),
        (b"%PDF-1.7\n....".to_vec(), Auto, "looks like a PDF document"),
        (b"\xff\xfe\0\0a\0\0\0".to_vec(), Auto, "looks like UTF-32 text: convert it to UTF-8"),
        (b"\0\0\xfe\xff\0\0\0a".to_vec(), Auto, "looks like UTF-32 text"),
    ];
    for (content, compression, expected) in cases {
        let found = joined(read(&content, lines(compression)).await);
        let [Stretch::Refused { reason, .. }] = &found[..] else { panic!("{expected}: {found:?}") };
        assert!(reason.starts_with(expected), "{reason}\n{expected}");
        // Only the part that begins with the blob says it.
        let blob = open(&store(&content).await).await;
        let part = ChunkOptions { part: Some(1..blob.size()), ..lines(compression) };
        assert!(!matches!(blob.chunks(part).next().await, Ok(Some(_))), "{expected}");
    }
}

#[tokio::test]
async fn text_that_looks_alike_is_text() {
    for text in ["PAR1,PAR2\n1,2\n", "PK,x\n", "BZh9,x\n", "Obj,x\n", "%PDF,x\n", "%PDF-x\n", "PAR1\n", "P", "(\n"] {
        assert_eq!(joined(read(text.as_bytes(), lines(Compression::Auto)).await), [records(text)]);
    }
}

#[tokio::test]
async fn parquet_and_avro_are_known_by_their_signature() {
    let cases: [(&[u8], Magic, Option<&str>); 9] = [
        (b"PAR1\x15\x04", Magic::Parquet, None),
        (b"PAR1\0\0\0\0", Magic::Parquet, None),
        (b"Obj\x01\x04", Magic::Avro, None),
        (b"Obj\x01\x04", Magic::Parquet, Some("not a Parquet file, it looks like an Avro file")),
        (b"PAR1\x15\x04", Magic::Avro, Some("not an Avro file, it looks like a Parquet file")),
        (b"id,x\n", Magic::Parquet, Some("not a Parquet file, it looks like something else: set `[format] type`")),
        (b"", Magic::Parquet, Some("not a Parquet file: the blob is empty")),
        (b"", Magic::Avro, Some("not an Avro file: the blob is empty")),
        (b"\x1f\x8b\x08", Magic::Avro, Some("not an Avro file, it looks like a gzip stream")),
    ];
    for (content, wanted, expected) in cases {
        let refusal = open(&store(content).await).await.refusal(wanted).await.unwrap();
        match (&refusal, expected) {
            (None, None) => {}
            (Some(reason), Some(expected)) if reason.starts_with(expected) => {}
            _ => panic!("{content:?}: {refusal:?}, expected {expected:?}"),
        }
    }
}
