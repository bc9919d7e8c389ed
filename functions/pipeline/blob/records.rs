//! A blob, or a part of it, as transformed chunks.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr_iter;
use tokio::sync::OwnedSemaphorePermit;
use weir_contract::limits::{CELLS_PER_BYTE, SetOnDrop};
use weir_contract::{Allowance, Format, FormatKind, Stop};
use weir_intake::{AvroOptions, AvroPiece, AvroReader, Blob, ChunkOptions, Framing, Magic, Piece};
use weir_transform::{
    AvroChunk, AvroRecords, CsvLayout, Lineage, Output, ParquetPart, ParquetRows, TransformError, parquet_parts,
};

use super::BlobRef;
use super::collect::Collector;
use super::pieces::Resume;
use super::plan;
use crate::app::Dataset;
use crate::error::AppError;
use crate::pipeline::compute;

/// Bytes of one request to the store.
pub(super) const RANGE_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes transformed at a time.
pub(super) const CHUNK_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of a row in a frame for which a record of a packed blob pays like one byte of text.
const ROW_BYTES_PER_UNIT: usize = 8;
/// Stored bytes of Avro blocks that are read before any of them is opened.
const GATHERED_BYTES: usize = 1024 * 1024;
/// Bytes that a block counts for at least, however small it is.
const LEAST_BLOCK_BYTES: usize = 64;

/// Which records of a blob are read.
#[derive(Debug, Clone)]
pub(in crate::pipeline) enum Extent {
    Whole,
    /// Those after a piece that is written.
    From(Resume),
    /// Those of one part: its number, its bytes if it is one of text or Avro, and the position of its first record.
    Part(usize, Range<u64>, i64),
}

/// A blob's records, transformed, a chunk at a time.
pub(in crate::pipeline) struct Records {
    dataset: Arc<Dataset>,
    transform: Arc<weir_transform::Transform>,
    lineage: Arc<Lineage>,
    /// Position of the next record.
    position: i64,
    /// Of rows that were read from Parquet, in memory.
    parquet_bytes: u64,
    /// Records of the last piece that made no frame yet, and how many they are at most.
    pending: Option<(Bytes, usize)>,
    /// Bytes of the blob that it is to read: to the end of a blob that is not cut, and a part's.
    bytes: Range<u64>,
    form: Form,
    /// Set when these records are dropped: what is in work on a thread then has nobody who waits for it.
    stop: Stop,
    _waiting: SetOnDrop,
}

/// A chunk's frames.
pub(in crate::pipeline) struct Chunk {
    pub(in crate::pipeline) output: Output,
    /// For what they take beyond the bytes that they were made of.
    _room: Option<OwnedSemaphorePermit>,
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
        /// Those that were read and not given yet; away while they are in work.
        records: Option<AvroRecords>,
    },
    /// One record that stands for a blob that is not what its name says.
    Refused(Option<String>),
}

impl Records {
    pub(in crate::pipeline) async fn open(
        dataset: &Arc<Dataset>,
        at: &BlobRef,
        blob: Blob,
        lineage: Lineage,
        extent: Extent,
    ) -> Result<Self, AppError> {
        let contract = &dataset.contract;
        let position = match &extent {
            Extent::Whole => 1,
            Extent::From(resume) => resume.position,
            Extent::Part(.., first) => *first,
        };
        let options = |kind| {
            let record_units = (dataset.transform.row_bytes() / ROW_BYTES_PER_UNIT) as u64;
            let whole = ChunkOptions::of(&contract.format, kind, RANGE_BYTES, CHUNK_BYTES);
            let whole = ChunkOptions { record_units, ..whole };
            match &extent {
                Extent::Whole => whole,
                Extent::From(resume) => ChunkOptions { from: resume.offset, ..whole },
                Extent::Part(_, bytes, _) => ChunkOptions { part: Some(bytes.clone()), ..whole },
            }
        };
        let mut bytes = match &extent {
            Extent::Part(_, bytes, _) => bytes.clone(),
            Extent::Whole | Extent::From(_) => 0..blob.size(),
        };
        let form = match contract.resolve_format(&at.path) {
            Ok(kind @ FormatKind::Csv) => {
                let options = options(kind);
                let from_the_beginning = options.from == 0 && options.part.as_ref().is_none_or(|part| part.start == 0);
                let layout = match from_the_beginning {
                    true => None,
                    false => Some(layout_of(dataset, &blob, &options).await?),
                };
                Form::Csv { framing: options.framing, chunks: blob.chunks(options), layout }
            }
            Ok(FormatKind::Parquet) => {
                let (form, own) = open_parquet(&blob, &extent, &contract.format).await?;
                bytes = own;
                form
            }
            Ok(FormatKind::Avro) => {
                let part = match &extent {
                    Extent::Part(_, bytes, _) => Some(bytes.clone()),
                    Extent::Whole | Extent::From(_) => None,
                };
                open_avro(&blob, &dataset.transform, part).await?
            }
            Ok(kind @ (FormatKind::Ndjson | FormatKind::Json | FormatKind::Auto)) => {
                // Its first byte tells lines from a document, where the extension leaves it open.
                let is_document =
                    contract.may_be_document(&at.path) && blob.probe(&options(FormatKind::Json)).await?.is_array;
                let kind = if is_document { FormatKind::Json } else { kind };
                Form::Ndjson { chunks: blob.chunks(options(kind)) }
            }
            Err(unknown) => Form::Refused(Some(unknown.to_string())),
        };
        let stop = Stop::default();
        let form = match form {
            Form::Parquet { rows } => Form::Parquet { rows: rows.map(|rows| rows.until(&stop)) },
            other => other,
        };
        Ok(Self {
            dataset: Arc::clone(dataset),
            transform: Arc::new(dataset.transform.until(&stop)),
            lineage: Arc::new(lineage),
            position,
            parquet_bytes: 0,
            pending: None,
            bytes,
            form,
            _waiting: stop.set_on_drop(),
            stop,
        })
    }

    /// Gives the collector records until about `bytes` of them are read: then false; true at the end. The next chunk is
    /// read and transformed while the last one is being written: at most two chunks are in work.
    pub(super) async fn give(&mut self, collector: &mut Collector<'_>, bytes: u64) -> Result<bool, AppError> {
        let enough = self.consumed().saturating_add(bytes);
        let mut ready = self.next().await?;
        while let Some(chunk) = ready {
            if self.pending.is_none() && self.consumed() >= enough {
                collector.take(chunk.output).await?;
                return Ok(false);
            }
            let take = async {
                let Chunk { output, _room } = chunk;
                collector.take(output).await
            };
            let (taken, next) = tokio::join!(take, self.next());
            taken?;
            ready = next?;
        }
        Ok(true)
    }

    /// Bytes of the decoded stream that were given.
    fn consumed(&self) -> u64 {
        match &self.form {
            Form::Csv { chunks, .. } | Form::Ndjson { chunks } => chunks.consumed(),
            Form::Parquet { .. } => self.parquet_bytes,
            // Blocks are not cut, and a large file has parts.
            Form::Avro { .. } | Form::Refused(_) => 0,
        }
    }

    /// Bytes read of those that it is to read, once there are no more records. Each of them is part of a record,
    /// or of what a refused record stands for. Of a blob that is gone on with, those before count too.
    pub(super) fn read(&self) -> u64 {
        let reached = match &self.form {
            Form::Csv { chunks, .. } | Form::Ndjson { chunks } => chunks.reached(),
            Form::Avro { blocks, .. } => blocks.reached(),
            // Its rows are held against the footer, and what cannot be read is refused.
            Form::Parquet { rows } => rows.as_ref().map_or(self.bytes.end, |_| self.bytes.start),
            Form::Refused(reason) => reason.as_ref().map_or(self.bytes.end, |_| self.bytes.start),
        };
        reached.min(self.bytes.end).saturating_sub(self.bytes.start)
    }

    /// Where reading goes on, after what was given.
    pub(super) fn resume(&self) -> Resume {
        Resume { offset: self.consumed(), position: self.position }
    }

    /// The next chunk's frames; `None` at the end.
    pub(in crate::pipeline) async fn next(&mut self) -> Result<Option<Chunk>, AppError> {
        if let Some((bytes, rows)) = self.pending.take() {
            return self.frame(bytes, rows).await.map(Some);
        }
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
            Form::Avro { blocks, records } => match avro(blocks, records).await? {
                Some(AvroChunk::Lines(lines)) => return self.records(lines.into()).await.map(Some),
                Some(AvroChunk::Refused(reasons)) => self.refuse_all(reasons)?,
                None => return Ok(None),
            },
            Form::Csv { chunks, .. } | Form::Ndjson { chunks } => match chunks.next().await? {
                Some(Piece::Records(bytes)) => return self.records(bytes).await.map(Some),
                Some(Piece::Refused { head, reason }) => {
                    self.without_header()?;
                    self.refuse(&head, reason)?
                }
                None => return Ok(None),
            },
        };
        self.position += i64::try_from(output.records).unwrap_or(i64::MAX);
        Ok(Some(Chunk { output, _room: None }))
    }

    async fn records(&mut self, bytes: Bytes) -> Result<Chunk, AppError> {
        let rows = most_records(&bytes, self.unfolds());
        self.frame(bytes, rows).await
    }

    /// Whether a line may hold several records.
    fn unfolds(&self) -> bool {
        matches!(self.form, Form::Ndjson { .. }) && self.transform.unfolds()
    }

    /// Makes one frame of as many of these `rows` records as fit it; the others are pending.
    async fn frame(&mut self, mut bytes: Bytes, mut rows: usize) -> Result<Chunk, AppError> {
        let framing = match &self.form {
            Form::Csv { framing, .. } => *framing,
            _ => Framing::Lines,
        };
        let (unfolds, most) = (self.unfolds(), self.transform.max_rows());
        if rows > self.transform.max_rows_of(bytes.len()) {
            let length = match unfolds {
                true => unfolding_lines(&bytes, most),
                false => framing.first_records(&bytes, most),
            };
            let rest = bytes.split_off(length);
            let here = most_records(&bytes, unfolds);
            // The rest is not counted again: a chunk of short lines makes hundreds of frames.
            self.pending = (!rest.is_empty()).then(|| (rest, (rows + 1).saturating_sub(here)));
            rows = here;
        }
        let frame = (rows * self.transform.row_bytes()).saturating_sub(CELLS_PER_BYTE * bytes.len());
        let room = match frame {
            0 => None,
            frame => self.dataset.frames.take(frame as u64).await,
        };
        let output = self.decoded(bytes).await?;
        self.position += i64::try_from(output.records).unwrap_or(i64::MAX);
        Ok(Chunk { output, _room: room })
    }

    async fn decoded(&mut self, bytes: Bytes) -> Result<Output, AppError> {
        let (transform, lineage, first) = (Arc::clone(&self.transform), Arc::clone(&self.lineage), self.position);
        let Form::Csv { framing, layout, .. } = &mut self.form else {
            // Avro's lines are records already.
            let is_avro = matches!(self.form, Form::Avro { .. });
            let read = move |_stop| match is_avro {
                true => transform.ndjson(&bytes, first, &lineage),
                false => transform.json(&bytes, first, &lineage),
            };
            return Ok(compute(read).await??);
        };
        let mut body = bytes;
        let known = match layout {
            Some(layout) => Arc::clone(layout),
            None if self.dataset.contract.format.header => {
                let header = body.split_to(framing.first_record(&body));
                if header.trim_ascii().is_empty() {
                    // Nothing but blank lines so far.
                    return Ok(transform.ndjson(&[], first, &lineage)?);
                }
                let made = Arc::new(transform.csv_layout(Some(&header))?);
                *layout = Some(Arc::clone(&made));
                if made.refusal().is_some() {
                    // It is no header, and so it is a record: the one before the first.
                    self.position -= 1;
                    let refused = move |_stop| transform.csv_without_header(&made, &header, &body, first, &lineage);
                    return Ok(compute(refused).await??);
                }
                made
            }
            None => {
                let made = Arc::new(transform.csv_layout(None)?);
                *layout = Some(Arc::clone(&made));
                made
            }
        };
        Ok(compute(move |_stop| transform.csv(&known, &body, first, &lineage)).await??)
    }

    async fn parquet(&mut self, mut rows: ParquetRows) -> Result<Option<Output>, AppError> {
        let (transform, lineage, first) = (Arc::clone(&self.transform), Arc::clone(&self.lineage), self.position);
        let stop = self.stop.clone();
        let (rows, output) = compute(move |_stop| {
            let output = match rows.next() {
                _ if stop.is_set() => Err(TransformError::Stopped),
                Ok(Some(step)) => transform.rows(&step, first, &lineage).map(Some),
                Ok(None) => Ok(None),
                Err(reason) => transform.quarantine_records(&[(&[], first, reason)], &lineage).map(Some),
            };
            (rows, output)
        })
        .await?;
        let output = output?;
        self.form = Form::Parquet { rows: output.is_some().then_some(rows) };
        let bytes =
            output.as_ref().map_or(0, |output| output.clean.estimated_size() + output.quarantined.estimated_size());
        self.parquet_bytes += bytes as u64;
        Ok(output)
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

    fn refuse_all(&self, reasons: Vec<String>) -> Result<Output, AppError> {
        let records: Vec<(&[u8], i64, String)> =
            reasons.into_iter().zip(self.position..).map(|(reason, position)| (&[][..], position, reason)).collect();
        Ok(self.transform.quarantine_records(&records, &self.lineage)?)
    }

    fn refuse(&self, head: &[u8], reason: String) -> Result<Output, AppError> {
        Ok(self.transform.quarantine_records(&[(head, self.position, reason)], &self.lineage)?)
    }
}

/// Upper bound of the number of records: each has a line, or is an element of an array, which has a comma before it or is
/// its first. Counting is many times faster than finding, and hardly a chunk has to be cut.
fn most_records(bytes: &[u8], unfolds: bool) -> usize {
    let elements = if unfolds { memchr_iter(b',', bytes).count() } else { 0 };
    memchr_iter(b'\n', bytes).count() + elements + 1
}

/// The length of the first lines that hold as many records at most, or of the first line: no array has more elements than
/// commas and one.
fn unfolding_lines(bytes: &[u8], most: usize) -> usize {
    let (mut length, mut rows) = (0, 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        rows += line.iter().filter(|byte| **byte == b',').count() + 1;
        if rows > most && length > 0 {
            break;
        }
        length += line.len();
    }
    length
}

/// The header of a blob that is not read from its beginning.
async fn layout_of(dataset: &Dataset, blob: &Blob, options: &ChunkOptions) -> Result<Arc<CsvLayout>, AppError> {
    let header = match dataset.contract.format.header {
        false => None,
        true => match blob.first_record(options).await?.piece {
            Some(Piece::Records(header)) => Some(header),
            // Refused, or not there: no other line may be taken for it.
            Some(Piece::Refused { .. }) | None => Some(Bytes::new()),
        },
    };
    Ok(Arc::new(dataset.transform.csv_layout(header.as_deref())?))
}

async fn open_avro(
    blob: &Blob,
    transform: &weir_transform::Transform,
    part: Option<Range<u64>>,
) -> Result<Form, AppError> {
    if let Some(reason) = blob.refusal(Magic::Avro).await? {
        return Ok(Form::Refused(Some(reason)));
    }
    let opened = blob.avro_header().await?.and_then(|header| {
        let layout = transform.avro_layout(&header.schema, &header.codec)?;
        let options = AvroOptions { range_bytes: RANGE_BYTES, from: 0, part };
        let records = AvroRecords::new(layout, Allowance::of_avro_file());
        Ok(Form::Avro { blocks: blob.avro(&header, options), records: Some(records) })
    });
    Ok(opened.unwrap_or_else(|reason| Form::Refused(Some(reason))))
}

/// The next lines, of as many blocks as it takes.
async fn avro(blocks: &mut AvroReader, records: &mut Option<AvroRecords>) -> Result<Option<AvroChunk>, AppError> {
    let Some(mut some) = records.take() else { return Ok(None) };
    loop {
        let (left, chunk) = compute(move |stop| {
            let chunk = some.next(CHUNK_BYTES, &stop);
            (some, chunk)
        })
        .await?;
        some = left;
        if chunk.is_some() {
            *records = Some(some);
            return Ok(chunk);
        }
        let mut read = 0;
        while read < GATHERED_BYTES {
            match blocks.next().await? {
                Some(AvroPiece::Block { count, data }) => {
                    read += data.len().max(LEAST_BLOCK_BYTES);
                    some.push(count, data);
                }
                Some(AvroPiece::Refused { reason, .. }) => {
                    read += LEAST_BLOCK_BYTES;
                    some.refuse(reason.to_owned());
                }
                None if read == 0 => return Ok(None),
                None => break,
            }
        }
    }
}

/// Parquet needs random access: what is read of the blob goes through a temporary file, which is deleted while it is open.
/// Beside it the bytes that the rows stand for.
async fn open_parquet(blob: &Blob, extent: &Extent, format: &Format) -> Result<(Form, Range<u64>), AppError> {
    let most = format.max_record_bytes;
    let mut bytes = 0..blob.size();
    if let Some(reason) = blob.refusal(Magic::Parquet).await? {
        return Ok((Form::Refused(Some(reason)), bytes));
    }
    let opened = match extent {
        Extent::Part(index, ..) => match parquet_plan(blob, format.split_bytes).await? {
            Ok((mut file, footer, parts)) => {
                let Some(part) = parts.get(*index).cloned() else {
                    return Err(AppError::Task { message: "the blob has no such part".to_owned() });
                };
                bytes = plan::share(blob.size(), &parts, *index);
                blob.spill_ranges(&mut file, &[footer, part.bytes.clone()], RANGE_BYTES).await?;
                compute(move |_stop| ParquetRows::open_part(file, &part, most)).await?
            }
            Err(reason) => Err(reason),
        },
        Extent::Whole | Extent::From(_) => {
            let mut file = tempfile::tempfile().map_err(AppError::TemporaryFile)?;
            blob.spill(&mut file, RANGE_BYTES).await?;
            let skip = match extent {
                Extent::From(resume) => u64::try_from(resume.position.saturating_sub(1)).unwrap_or(0),
                _ => 0,
            };
            compute(move |_stop| ParquetRows::open_after(file, skip, most)).await?
        }
    };
    let form = match opened {
        Ok(rows) => Form::Parquet { rows: Some(rows) },
        Err(reason) => Form::Refused(Some(reason)),
    };
    Ok((form, bytes))
}

type ParquetPlan = Result<(std::fs::File, Range<u64>, Vec<ParquetPart>), String>;

/// The parts of a Parquet file, from its footer alone, which is in the file; or why it has none.
pub(super) async fn parquet_plan(blob: &Blob, split_bytes: u64) -> Result<ParquetPlan, AppError> {
    let footer = match blob.parquet_footer().await? {
        Ok(footer) => footer,
        Err(reason) => return Ok(Err(reason)),
    };
    let mut file = tempfile::tempfile().map_err(AppError::TemporaryFile)?;
    blob.spill_ranges(&mut file, std::slice::from_ref(&footer), RANGE_BYTES).await?;
    compute(move |_stop| Ok(parquet_parts(&file, split_bytes).map(|parts| (file, footer, parts)))).await?
}
