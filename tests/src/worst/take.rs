//! The decoders, driven as the app drives them.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use weir_contract::{Allowance, Contract, FormatKind, Stop};
use weir_intake::{AvroOptions, AvroPiece, Blob, ChunkOptions, Framing, Piece};
use weir_transform::{AvroChunk, AvroRecords, Lineage, ParquetRows, Transform};

const CHUNK_BYTES: usize = 16 << 20;
const RANGE_BYTES: u64 = 8 << 20;

pub(super) struct Made {
    contract: Contract,
    transform: Transform,
}

/// Few columns, many, and columns that come from the data.
pub(super) fn contracts() -> [(&'static str, Made); 3] {
    let few = "columns = [{ name = 'n', type = 'long' }, { name = 's', type = 'string' }, \
               { name = 'b', type = 'binary' }, { name = 'd', type = 'decimal(38,9)' }]";
    let many: Vec<String> = (0..200).map(|at| format!("{{ name = 'c{at}', type = 'string' }}")).collect();
    let many = format!("columns = [{}]", many.join(", "));
    let add = format!("{few}\ndrift = {{ unknown_fields = 'add', max_added_columns = 1024 }}");
    let made = |columns: &str| {
        let text = format!("name = 'c'\nsource = {{ kind = 'blob', container = 'landing', path = '**' }}\n{columns}");
        let contract = Contract::parse(&text, "c.toml").unwrap();
        Made { transform: Transform::new(&contract, None).unwrap(), contract }
    };
    [("few columns", made(few)), ("many columns", made(&many)), ("added columns", made(&add))]
}

fn lineage() -> Lineage {
    Lineage { source: "blob:l/x".to_owned(), source_version: "1".to_owned(), ingested_at_us: 0 }
}

/// Returns how many records there were.
pub(super) async fn take(target: &str, made: &Made, input: &[u8]) -> u64 {
    let document = input.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    match target {
        "avro" => avro(made, input).await,
        "parquet" => parquet(made, input),
        "csv" => text(made, input, FormatKind::Csv).await,
        _ if document => text(made, input, FormatKind::Json).await,
        _ => text(made, input, FormatKind::Ndjson).await,
    }
}

async fn blob(input: &[u8]) -> Blob {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    store.put(&Path::from("x"), input.to_vec().into()).await.unwrap();
    Blob::open(store, Path::from("x"), None).await.unwrap()
}

async fn text(Made { contract, transform }: &Made, input: &[u8], kind: FormatKind) -> u64 {
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
            let output = match &layout {
                Some(layout) => transform.csv(layout, &some, 2, &lineage()),
                None => transform.ndjson(&some, 1, &lineage()),
            };
            records += output.unwrap().records;
        }
    }
    records
}

async fn avro(Made { transform, .. }: &Made, input: &[u8]) -> u64 {
    let blob = blob(input).await;
    let header = blob.avro_header().await.unwrap().unwrap();
    let layout = transform.avro_layout(&header.schema, &header.codec).unwrap();
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
        let AvroChunk::Lines(lines) = chunk else {
            records += 1;
            continue;
        };
        let mut rest = &lines[..];
        while !rest.is_empty() {
            let (some, others) = rest.split_at(Framing::Lines.first_records(rest, transform.max_rows()));
            records += transform.ndjson(some, 1, &lineage()).unwrap().records;
            rest = others;
        }
    }
    records
}

fn parquet(Made { transform, .. }: &Made, input: &[u8]) -> u64 {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, input).unwrap();
    let mut rows = match ParquetRows::open(file, transform.max_record_bytes()) {
        Ok(rows) => rows,
        Err(_) => return 1,
    };
    let mut records = 0;
    loop {
        match rows.next() {
            Ok(Some(step)) => records += transform.rows(&step, 1, &lineage()).unwrap().records,
            Ok(None) => return records,
            Err(_) => records += 1,
        }
    }
}
