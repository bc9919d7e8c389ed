//! Decoders of text, Avro and bodies of events, under contracts of several kinds.

use std::sync::{Arc, LazyLock};

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use weir_contract::{Allowance, Contract, FormatKind, Stop, position_of};
use weir_intake::{AvroOptions, AvroPiece, Blob, Body, ChunkOptions, Framing, Piece};
use weir_transform::{AvroChunk, AvroLayout, AvroRecords, EventMeta, EventRecord, Lineage, Output, Transform};

const CHUNK_BYTES: usize = 16 << 20;
const RANGE_BYTES: u64 = 8 << 20;

/// A contract, made ready.
#[derive(Debug)]
pub struct Made {
    /// What is special about its columns.
    pub name: &'static str,
    pub(crate) contract: Contract,
    pub(crate) transform: Transform,
}

/// Contracts of few columns, of many, and of columns that come from the data.
pub fn contracts() -> &'static [Made; 3] {
    &CONTRACTS
}

static CONTRACTS: LazyLock<[Made; 3]> = LazyLock::new(|| {
    let few = "columns = [{ name = 'n', type = 'long' }, { name = 's', type = 'string' }, \
               { name = 'b', type = 'binary' }, { name = 'd', type = 'decimal(38,9)' }]";
    let many: Vec<String> = (0..200).map(|at| format!("{{ name = 'c{at}', type = 'string' }}")).collect();
    let many = format!("columns = [{}]", many.join(", "));
    let add = format!("{few}\ndrift = {{ unknown_fields = 'add', max_added_columns = 1024 }}");
    let made = |name, columns: &str| {
        let text = format!("name = 'c'\nsource = {{ kind = 'blob', container = 'landing', path = '**' }}\n{columns}");
        let contract = Contract::parse(&text, "c.toml").unwrap();
        Made { name, transform: Transform::new(&contract, None).unwrap(), contract }
    };
    [made("few columns", few), made("many columns", &many), made("added columns", &add)]
});

static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap());

pub(crate) fn lineage() -> Lineage {
    Lineage { source: "blob:l/x".to_owned(), source_version: "1".to_owned(), ingested_at_us: 0 }
}

/// The contract for this input: the same for the same bytes.
pub(crate) fn one(input: &[u8]) -> &'static Made {
    &CONTRACTS[input.iter().map(|byte| usize::from(*byte)).sum::<usize>() % 3]
}

/// How many records there are. Each is in one of the two frames.
pub(crate) fn balanced(output: &Output) -> u64 {
    assert_eq!(output.records, (output.clean.height() + output.quarantined.height()) as u64);
    output.records
}

async fn blob(input: &[u8]) -> Blob {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    store.put(&Path::from("x"), input.to_vec().into()).await.unwrap();
    Blob::open(store, Path::from("x"), None).await.unwrap()
}

pub(crate) fn json(input: &[u8]) {
    json_of(one(input), input);
}

pub(crate) fn csv(input: &[u8]) {
    csv_of(one(input), input);
}

pub(crate) fn avro(input: &[u8]) {
    avro_of(one(input), input);
    body(input);
}

/// Lines, or a document that is an array. Returns how many records there were, as the others do.
pub(crate) fn json_of(made: &Made, input: &[u8]) -> u64 {
    let document = input.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let kind = if document { FormatKind::Json } else { FormatKind::Ndjson };
    RUNTIME.block_on(text(made, input, kind))
}

pub(crate) fn csv_of(made: &Made, input: &[u8]) -> u64 {
    RUNTIME.block_on(text(made, input, FormatKind::Csv))
}

async fn text(Made { contract, transform, .. }: &Made, input: &[u8], kind: FormatKind) -> u64 {
    let options = ChunkOptions::of(&contract.format, kind, RANGE_BYTES, CHUNK_BYTES);
    let options = ChunkOptions { record_units: transform.row_bytes() as u64 / 8, ..options };
    let framing = options.framing;
    let mut chunks = blob(input).await.chunks(options);
    let (mut layout, mut records) = (None, 0);
    while let Some(piece) = chunks.next().await.unwrap() {
        let Piece::Records(mut bytes) = piece else {
            records += 1;
            continue;
        };
        if kind == FormatKind::Csv && layout.is_none() {
            let header = bytes.split_to(framing.first_record(&bytes));
            layout = Some(transform.csv_layout(Some(&header)).unwrap());
        }
        let cut = if kind == FormatKind::Csv { framing } else { Framing::Lines };
        while !bytes.is_empty() {
            let some = bytes.split_to(cut.first_records(&bytes, transform.max_rows()));
            records += match &layout {
                Some(layout) => balanced(&transform.csv(layout, &some, 2, &lineage()).unwrap()),
                None => balanced(&transform.ndjson(&some, 1, &lineage()).unwrap()),
            };
        }
    }
    records
}

/// A file whose header cannot be read has no records.
pub(crate) fn avro_of(Made { transform, .. }: &Made, input: &[u8]) -> u64 {
    RUNTIME.block_on(async {
        let blob = blob(input).await;
        let Ok(header) = blob.avro_header().await.unwrap() else { return 0 };
        let Ok(layout) = transform.avro_layout(&header.schema, &header.codec) else { return 0 };
        let mut blocks = blob.avro(&header, AvroOptions { range_bytes: RANGE_BYTES, from: 0, part: None });
        let mut given = AvroRecords::new(layout, Allowance::of_avro_file());
        while let Some(piece) = blocks.next().await.unwrap() {
            match piece {
                AvroPiece::Block { count, data } => given.push(count, data),
                AvroPiece::Refused { reason, .. } => given.refuse(reason.to_owned()),
            }
        }
        let mut records = 0;
        while let Some(chunk) = given.next(CHUNK_BYTES, &Stop::never()) {
            records += taken(transform, chunk);
        }
        records
    })
}

fn taken(transform: &Transform, chunk: AvroChunk) -> u64 {
    let AvroChunk::Lines(lines) = chunk else { return 1 };
    let (mut rest, mut records) = (&lines[..], 0);
    while !rest.is_empty() {
        let (some, others) = rest.split_at(Framing::Lines.first_records(rest, transform.max_rows()));
        records += balanced(&transform.ndjson(some, 1, &lineage()).unwrap());
        rest = others;
    }
    records
}

fn lines(transform: &Transform, layout: &AvroLayout, count: u64, data: &[u8], allowance: &Allowance) {
    let mut block = layout.block(count, data, allowance);
    while let Some(chunk) = block.next(CHUNK_BYTES, &Stop::never()) {
        taken(transform, chunk);
    }
}

pub(crate) fn body(input: &[u8]) {
    let Made { contract, transform, .. } = one(input);
    let (text, records) = match Body::read(&input.to_vec().into(), &contract.format) {
        Ok(Body::One(text)) => (text.clone(), std::iter::once(0..text.len()).collect()),
        Ok(Body::Several { text, records }) => (text, records),
        Ok(Body::Avro(avro)) => {
            let Ok(layout) = transform.avro_layout(&avro.schema, &avro.codec) else { return };
            let allowance = Allowance::of_avro_body();
            for (count, data) in avro.blocks {
                lines(transform, &layout, count, &data, &allowance);
            }
            return;
        }
        Err(_) => return,
    };
    for (part, records) in records.chunks(transform.max_rows()).enumerate() {
        let record = |(at, range): (usize, &std::ops::Range<usize>)| EventRecord {
            body: &text[range.clone()],
            position: position_of(7, part + at).unwrap(),
            event: 0,
        };
        let records: Vec<_> = records.iter().enumerate().map(record).collect();
        balanced(&transform.event_records(&records, &[EventMeta::default()], &lineage()).unwrap());
    }
}
