//! One version of one blob, into its dataset.
//!
//! The producer is the blob version; its version is the number of its records, so that a second delivery is answered
//! from the transaction id alone, without reading the blob.

use std::sync::Arc;

use weir_contract::FormatKind;
use weir_intake::{AvroOptions, AvroPiece, AvroReader, Blob, ChunkOptions, ErrorKind, Framing, Magic, Piece};
use weir_lake::Table;
use weir_transform::{AvroBlock, AvroChunk, AvroLayout, CsvLayout, Lineage, Output, ParquetRows};

use super::sink::{Settled, Sink};
use super::{Outcome, Receipt, compute};
use crate::app::{App, Dataset, Runtime};
use crate::error::AppError;

/// Bytes of one request to the store.
const RANGE_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes transformed at a time.
const CHUNK_BYTES: usize = 16 * 1024 * 1024;
/// Rows of a Parquet file taken at a time.
const PARQUET_ROWS: usize = 65_536;
/// What one blob in work takes at most, as measured: ranges, two chunks, their frames, open files and an upload.
const FOOTPRINT_BYTES: u64 = 384 * 1024 * 1024;
/// A small blob takes about this many times its size.
const FOOTPRINT_FACTOR: u64 = 8;
const ATTEMPTS: u32 = 5;

/// Where a blob is: container, name in it, and the version its event speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlobRef {
    pub(crate) container: String,
    pub(crate) path: String,
    pub(crate) etag: Option<String>,
}

impl BlobRef {
    /// `_source` of its rows; all versions of a blob share it.
    pub(crate) fn source(&self) -> String {
        format!("blob:{}/{}", self.container, self.path)
    }
}

pub(crate) async fn ingest(app: &App, dataset: &str, blob: &BlobRef) -> Result<Receipt, AppError> {
    let runtime = app.runtime().await?;
    let dataset = Arc::clone(runtime.dataset(dataset)?);
    let name = &dataset.contract.name;
    if let Some(etag) = &blob.etag {
        // Answered before the blob is asked for: a redelivery may come when the blob is long gone.
        let table = runtime.lake.table(&dataset.table).await?;
        table.refresh().await?;
        if let Some(records) = committed(&table, &producer(blob, etag)).await {
            return Ok(Receipt::already(name, records));
        }
    }
    let opened = match open(runtime, blob).await {
        Ok(opened) => opened,
        Err(AppError::Intake(error)) if error.kind() == ErrorKind::Gone => {
            tracing::warn!(container = blob.container, "the blob was deleted before it was read");
            return Ok(Receipt::nothing(name, Outcome::Gone));
        }
        Err(AppError::Intake(error)) if error.kind() == ErrorKind::Changed => {
            tracing::info!(container = blob.container, "the blob was overwritten before it was read");
            return Ok(Receipt::nothing(name, Outcome::Overwritten));
        }
        Err(error) => return Err(error),
    };
    let ingested = ingest_opened(runtime, &dataset, blob, &opened).await;
    match ingested {
        Err(AppError::Intake(error)) if error.kind() == ErrorKind::Changed => {
            Ok(Receipt::nothing(name, Outcome::Overwritten))
        }
        Err(AppError::Intake(error)) if error.kind() == ErrorKind::Gone => Ok(Receipt::nothing(name, Outcome::Gone)),
        other => other,
    }
}

pub(crate) fn producer(blob: &BlobRef, etag: &str) -> String {
    format!("{}@{}#0", blob.source(), etag.trim_matches('"'))
}

async fn committed(table: &Table, producer: &str) -> Option<u64> {
    table.committed(producer).map(|records| u64::try_from(records).unwrap_or_default())
}

pub(crate) async fn open(runtime: &Runtime, blob: &BlobRef) -> Result<Blob, AppError> {
    let store = runtime.landing()?.container(&blob.container)?;
    let path = object_store::path::Path::parse(&blob.path)
        .map_err(|_| AppError::BlobEvent { message: "the blob's name is not a path".to_owned() })?;
    Ok(Blob::open(store, path, blob.etag.as_deref()).await?)
}

async fn ingest_opened(
    runtime: &Runtime,
    dataset: &Arc<Dataset>,
    at: &BlobRef,
    blob: &Blob,
) -> Result<Receipt, AppError> {
    let _permit = runtime.budget.take(footprint(blob)).await;
    let producer = producer(at, blob.etag());
    let mut hold_back: Option<String> = None;
    for _ in 0..ATTEMPTS {
        let lineage = lineage(at, blob);
        let mut sink = Sink::open(runtime, dataset, producer.clone(), true, &lineage).await?;
        if let Some(records) = sink.after {
            let records = u64::try_from(records).unwrap_or_default();
            return Ok(Receipt::already(&dataset.contract.name, records));
        }
        let source = Records::open(dataset, at, blob.clone(), lineage, hold_back.as_deref()).await?;
        let violated = deliver(source, &mut sink).await?;
        if violated.is_some() {
            // A rule that fails the whole blob: begin again, with every record on its way to quarantine.
            hold_back = violated;
            continue;
        }
        let version = i64::try_from(sink.records()).unwrap_or(i64::MAX);
        match sink.commit(version, 0).await? {
            Settled::Done(receipt) => return Ok(receipt),
            Settled::Moved => tracing::info!(producer, "another delivery of this blob got in between"),
        }
    }
    Err(AppError::Moved { producer, attempts: ATTEMPTS })
}

/// Gives the sink all records, in order. The next chunk is read and transformed while the last one is being written: at
/// most two chunks are in work. Stops at a rule that fails the whole blob, and returns it.
async fn deliver(mut source: Records, sink: &mut Sink<'_>) -> Result<Option<String>, AppError> {
    let mut ready = source.next().await?;
    while let Some(output) = ready {
        if output.held_back.is_some() && !source.holds_back {
            return Ok(output.held_back);
        }
        let (taken, next) = tokio::join!(sink.take(output), source.next());
        taken?;
        ready = next?;
    }
    Ok(None)
}

pub(crate) fn footprint(blob: &Blob) -> u64 {
    (1024 * 1024 + blob.size().saturating_mul(FOOTPRINT_FACTOR)).min(FOOTPRINT_BYTES)
}

pub(crate) fn lineage(at: &BlobRef, blob: &Blob) -> Lineage {
    Lineage {
        source: at.source(),
        source_version: blob.etag().to_owned(),
        ingested_at_us: chrono::Utc::now().timestamp_micros(),
    }
}

/// A blob's records, transformed, a chunk at a time.
pub(crate) struct Records {
    dataset: Arc<Dataset>,
    transform: Arc<weir_transform::Transform>,
    lineage: Arc<Lineage>,
    /// Every record goes to quarantine, because of a rule that failed the whole blob.
    holds_back: bool,
    /// Position of the next record.
    position: i64,
    form: Form,
}

enum Form {
    Csv {
        chunks: weir_intake::ChunkReader,
        framing: Framing,
        layout: Option<Arc<CsvLayout>>,
    },
    Ndjson {
        chunks: weir_intake::ChunkReader,
    },
    Parquet {
        rows: Option<ParquetRows>,
    },
    Avro {
        blocks: AvroReader,
        layout: AvroLayout,
        /// The block in work.
        block: Option<AvroBlock>,
    },
    /// One record that stands for a blob that is not what its name says.
    Refused(Option<String>),
}

impl Records {
    pub(crate) async fn open(
        dataset: &Arc<Dataset>,
        at: &BlobRef,
        blob: Blob,
        lineage: Lineage,
        hold_back: Option<&str>,
    ) -> Result<Self, AppError> {
        let format = &dataset.contract.format;
        let transform = match hold_back {
            Some(rule) => dataset.transform.hold_back(rule),
            None => dataset.transform.clone(),
        };
        let options = |kind| ChunkOptions::of(format, kind, RANGE_BYTES, CHUNK_BYTES);
        let form = match dataset.contract.resolve_format(&at.path) {
            Ok(kind @ FormatKind::Csv) => {
                let options = options(kind);
                Form::Csv { framing: options.framing, chunks: blob.chunks(options), layout: None }
            }
            Ok(FormatKind::Parquet) => open_parquet(&blob).await?,
            Ok(FormatKind::Avro) => open_avro(&blob, &transform).await?,
            Ok(kind @ (FormatKind::Ndjson | FormatKind::Json | FormatKind::Auto)) => {
                let is_document =
                    dataset.contract.may_be_document(&at.path) && blob.probe(&options(kind)).await?.is_array;
                let kind = if is_document { FormatKind::Json } else { kind };
                Form::Ndjson { chunks: blob.chunks(options(kind)) }
            }
            Err(unknown) => Form::Refused(Some(unknown.to_string())),
        };
        Ok(Self {
            dataset: Arc::clone(dataset),
            transform: Arc::new(transform),
            lineage: Arc::new(lineage),
            holds_back: hold_back.is_some(),
            position: 1,
            form,
        })
    }

    /// The next chunk's frames; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Output>, AppError> {
        let output = match &mut self.form {
            Form::Refused(reason) => match reason.take() {
                Some(reason) => self.refuse(&[], reason)?,
                None => return Ok(None),
            },
            Form::Parquet { rows } => match rows.take() {
                Some(rows) => match self.parquet(rows).await? {
                    Some(output) => output,
                    None => return Ok(None),
                },
                None => return Ok(None),
            },
            Form::Avro { blocks, layout, block } => match avro(blocks, layout, block).await? {
                Some(AvroChunk::Lines(lines)) => self.records(lines.into()).await?,
                Some(AvroChunk::Refused(reason)) => self.refuse(&[], reason)?,
                None => return Ok(None),
            },
            Form::Csv { chunks, .. } | Form::Ndjson { chunks } => match chunks.next().await? {
                Some(Piece::Records(bytes)) => self.records(bytes).await?,
                Some(Piece::Refused { head, reason }) => {
                    self.without_header()?;
                    self.refuse(&head, reason)?
                }
                None => return Ok(None),
            },
        };
        self.position += i64::try_from(output.records).unwrap_or(i64::MAX);
        Ok(Some(output))
    }

    async fn records(&mut self, bytes: bytes::Bytes) -> Result<Output, AppError> {
        let (transform, lineage, first) = (Arc::clone(&self.transform), Arc::clone(&self.lineage), self.position);
        let Form::Csv { framing, layout, .. } = &mut self.form else {
            return Ok(compute(move || transform.ndjson(&bytes, first, &lineage)).await??);
        };
        let mut body = bytes;
        let known = match layout {
            Some(layout) => Arc::clone(layout),
            None => {
                let header = if self.dataset.contract.format.header {
                    let length = framing.first_record(&body);
                    Some(body.split_to(length))
                } else {
                    None
                };
                let made = Arc::new(transform.csv_layout(header.as_deref())?);
                *layout = Some(Arc::clone(&made));
                made
            }
        };
        Ok(compute(move || transform.csv(&known, &body, first, &lineage)).await??)
    }

    async fn parquet(&mut self, mut rows: ParquetRows) -> Result<Option<Output>, AppError> {
        let (transform, lineage, first) = (Arc::clone(&self.transform), Arc::clone(&self.lineage), self.position);
        let (rows, output) = compute(move || {
            let output = match rows.next(PARQUET_ROWS) {
                Ok(Some(frame)) => transform.rows(&frame, first, &lineage).map(Some),
                Ok(None) => Ok(None),
                // A page that cannot be read ends the file: what was read stays, the rest is one refused record.
                Err(reason) => transform.quarantine_records(&[(&[], first, reason)], &lineage).map(Some),
            };
            (rows, output)
        })
        .await?;
        self.form = Form::Parquet { rows: Some(rows) };
        Ok(output?)
    }

    /// The header itself was refused: no later line may be taken for it, so every record goes to quarantine.
    fn without_header(&mut self) -> Result<(), AppError> {
        if let Form::Csv { layout: layout @ None, .. } = &mut self.form
            && self.dataset.contract.format.header
        {
            *layout = Some(Arc::new(self.transform.csv_layout(Some(&[]))?));
        }
        Ok(())
    }

    fn refuse(&self, head: &[u8], reason: String) -> Result<Output, AppError> {
        Ok(self.transform.quarantine_records(&[(head, self.position, reason)], &self.lineage)?)
    }
}

async fn open_avro(blob: &Blob, transform: &weir_transform::Transform) -> Result<Form, AppError> {
    if let Some(reason) = blob.refusal(Magic::Avro).await? {
        return Ok(Form::Refused(Some(reason)));
    }
    let opened = blob.avro_header().await?.and_then(|header| {
        let layout = transform.avro_layout(&header.schema, &header.codec)?;
        let options = AvroOptions { range_bytes: RANGE_BYTES, from: 0, part: None };
        Ok(Form::Avro { blocks: blob.avro(&header, options), layout, block: None })
    });
    Ok(opened.unwrap_or_else(|reason| Form::Refused(Some(reason))))
}

/// The next lines of the block in work, or of the next one.
async fn avro(
    blocks: &mut AvroReader,
    layout: &AvroLayout,
    current: &mut Option<AvroBlock>,
) -> Result<Option<AvroChunk>, AppError> {
    loop {
        if let Some(mut block) = current.take() {
            let (block, chunk) = compute(move || {
                let chunk = block.next(CHUNK_BYTES);
                (block, chunk)
            })
            .await?;
            if chunk.is_some() {
                *current = Some(block);
                return Ok(chunk);
            }
        }
        match blocks.next().await? {
            Some(AvroPiece::Block { count, data }) => {
                let layout = layout.clone();
                *current = Some(compute(move || layout.block(count, &data)).await?);
            }
            Some(AvroPiece::Refused { reason, .. }) => return Ok(Some(AvroChunk::Refused(reason.to_owned()))),
            None => return Ok(None),
        }
    }
}

/// Parquet needs random access: the blob goes through a temporary file, which is deleted while it is open.
async fn open_parquet(blob: &Blob) -> Result<Form, AppError> {
    if let Some(reason) = blob.refusal(Magic::Parquet).await? {
        return Ok(Form::Refused(Some(reason)));
    }
    let mut file = tempfile::tempfile().map_err(AppError::TemporaryFile)?;
    blob.spill(&mut file, RANGE_BYTES).await?;
    Ok(match compute(move || ParquetRows::open(file)).await? {
        Ok(rows) => Form::Parquet { rows: Some(rows) },
        Err(reason) => Form::Refused(Some(reason)),
    })
}
