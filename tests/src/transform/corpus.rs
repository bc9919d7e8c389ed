//! Nasty files, each with what becomes of it: through intake and transform together, as the pipeline reads them. Nothing may
//! fail, and every record is a clean or a refused one, with the reason.

mod cases;

use std::fmt::Write;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use weir_contract::{Allowance, Compression, Contract, FormatKind, Stop};
use weir_intake::{AvroOptions, AvroPiece, Blob, ChunkOptions, Magic, Piece};
use weir_transform::{AvroChunk, Output, ParquetRows, Transform};

use super::{clean, lineage, orders, refused, transform};
use cases::Case;

const RANGE_BYTES: u64 = 1 << 20;
const CHUNK_BYTES: usize = 1 << 20;

/// What a file became.
pub(super) struct Found {
    transform: Transform,
    position: i64,
    pub(super) clean: Vec<String>,
    pub(super) refused: Vec<String>,
}

impl Found {
    fn take(&mut self, output: &Output) {
        assert_eq!(output.records, (output.clean.height() + output.quarantined.height()) as u64);
        self.position += output.records as i64;
        self.clean.extend(clean(output));
        self.refused.extend(refused(output));
    }

    fn refuse(&mut self, head: &[u8], reason: String) {
        let records = [(head, self.position, reason)];
        let output = self.transform.quarantine_records(&records, &lineage()).unwrap();
        self.take(&output);
    }

    fn json(&mut self, lines: &[u8]) {
        let output = self.transform.json(lines, self.position, &lineage()).unwrap();
        self.take(&output);
    }

    fn lines(&mut self, lines: &[u8]) {
        let output = self.transform.ndjson(lines, self.position, &lineage()).unwrap();
        self.take(&output);
    }
}

pub(super) async fn read(contract: &Contract, path: &str, bytes: Vec<u8>) -> Found {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    store.put(&Path::from("x"), bytes.into()).await.unwrap();
    let blob = Blob::open(store, Path::from("x"), None).await.unwrap();
    let mut found = Found { transform: transform(contract), position: 1, clean: Vec::new(), refused: Vec::new() };
    match contract.resolve_format(path) {
        Err(unknown) => found.refuse(&[], unknown.to_string()),
        Ok(FormatKind::Csv) => csv(contract, &blob, &mut found).await,
        Ok(FormatKind::Parquet) => parquet(&blob, &mut found).await,
        Ok(FormatKind::Avro) => avro(&blob, &mut found).await,
        Ok(kind) => {
            let of = |kind| ChunkOptions::of(&contract.format, kind, RANGE_BYTES, CHUNK_BYTES);
            let is_document = contract.may_be_document(path) && blob.probe(&of(kind)).await.unwrap().is_array;
            let mut reader = blob.chunks(of(if is_document { FormatKind::Json } else { kind }));
            while let Some(piece) = reader.next().await.unwrap() {
                match piece {
                    Piece::Records(lines) => found.json(&lines),
                    Piece::Refused { head, reason } => found.refuse(&head, reason),
                }
            }
        }
    }
    found
}

async fn csv(contract: &Contract, blob: &Blob, found: &mut Found) {
    let mut options = ChunkOptions::of(&contract.format, FormatKind::Csv, RANGE_BYTES, CHUNK_BYTES);
    let mut header = None;
    if contract.format.header {
        let first = blob.first_record(&options).await.unwrap();
        options.from = first.after;
        header = Some(match first.piece {
            None => return,
            Some(Piece::Records(header)) => header,
            Some(Piece::Refused { head, reason }) => {
                found.refuse(&head, reason);
                bytes::Bytes::new()
            }
        });
    }
    let layout = found.transform.csv_layout(header.as_deref()).unwrap();
    if let (Some(_), Some(header)) = (layout.refusal(), header.as_deref().filter(|header| !header.is_empty())) {
        let output = found.transform.csv_without_header(&layout, header, &[], 1, &lineage()).unwrap();
        found.take(&output);
        found.position -= 1;
    }
    let mut reader = blob.chunks(options);
    while let Some(piece) = reader.next().await.unwrap() {
        match piece {
            Piece::Records(bytes) => {
                let output = found.transform.csv(&layout, &bytes, found.position, &lineage()).unwrap();
                found.take(&output);
            }
            Piece::Refused { head, reason } => found.refuse(&head, reason),
        }
    }
}

async fn parquet(blob: &Blob, found: &mut Found) {
    if let Some(reason) = blob.refusal(Magic::Parquet).await.unwrap() {
        return found.refuse(&[], reason);
    }
    let mut file = tempfile::tempfile().unwrap();
    blob.spill(&mut file, RANGE_BYTES).await.unwrap();
    let mut rows = match ParquetRows::open(file, found.transform.max_record_bytes()) {
        Ok(rows) => rows,
        Err(reason) => return found.refuse(&[], reason),
    };
    loop {
        match rows.next() {
            Ok(None) => return,
            Ok(Some(step)) => {
                let output = found.transform.rows(&step, found.position, &lineage()).unwrap();
                found.take(&output);
            }
            Err(reason) => found.refuse(&[], reason),
        }
    }
}

async fn avro(blob: &Blob, found: &mut Found) {
    if let Some(reason) = blob.refusal(Magic::Avro).await.unwrap() {
        return found.refuse(&[], reason);
    }
    let opened = blob.avro_header().await.unwrap();
    let opened = opened.and_then(|header| {
        let layout = found.transform.avro_layout(&header.schema, &header.codec)?;
        Ok((blob.avro(&header, AvroOptions { range_bytes: RANGE_BYTES, from: 0, part: None }), layout))
    });
    let (mut reader, layout) = match opened {
        Ok(opened) => opened,
        Err(reason) => return found.refuse(&[], reason),
    };
    let allowance = Allowance::of_avro_file();
    while let Some(piece) = reader.next().await.unwrap() {
        match piece {
            AvroPiece::Refused { head, reason } => found.refuse(&head, reason.to_owned()),
            AvroPiece::Block { count, data } => {
                let mut block = layout.block(count, &data, &allowance);
                while let Some(chunk) = block.next(CHUNK_BYTES, &Stop::never()) {
                    match chunk {
                        AvroChunk::Lines(lines) => found.lines(&lines),
                        AvroChunk::Refused(reasons) => reasons.into_iter().for_each(|reason| found.refuse(&[], reason)),
                    }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nasty_files() {
    let cases = cases::all();
    assert!(cases.len() >= 60, "{}", cases.len());
    let mut wrong = String::new();
    for Case { name, path, bytes, change, clean, refused } in cases {
        let mut contract = orders();
        contract.format.compression = Compression::Auto;
        change(&mut contract);
        let found = read(&contract, path, bytes).await;
        let begins = |(found, expected): (&String, &String)| found.starts_with(expected.as_str());
        let as_told = found.refused.len() == refused.len() && found.refused.iter().zip(&refused).all(begins);
        if found.clean.len() != clean || !as_told {
            let some = |texts: &[String]| format!("{} {:.300?}", texts.len(), texts);
            let (cleaned, refusals) = (some(&found.clean), some(&found.refused));
            writeln!(wrong, "{name}: clean {cleaned}, refused {refusals}\n    not {clean}, {refused:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
