//! A Parquet file, read some rows at a time, so that its size does not matter; whole, or only some of its row groups. The
//! next rows are decoded while those before them are in work.
//!
//! The `parquet` crate decodes what pages hold. Everything that it would have to believe is looked at before: the footer
//! ([`footer`]), the headers of pages and their sizes ([`pages`]). Each column is decoded by itself ([`cursor`]), so that
//! what cannot be read of one refuses nothing of the others.
//!
//! For a part the local file holds the footer and the part's own bytes at their places, and nothing between them: a row
//! group is never read that is not asked for.

mod codec;
mod cursor;
mod footer;
mod group;
mod pages;
mod shape;
mod source;
mod thrift;

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use arrow_array::ArrayRef;

use footer::Footer;
use group::Group;
use pages::first_page;
pub(crate) use shape::{Leaf, Root, Shape};
use source::Source;

/// Of a row that is too long quarantine keeps so much. Less than of text: rows that are long may take no bytes of the file.
pub(crate) const HEAD_BYTES: usize = 4 * 1024;
/// Rows of one step.
const STEP_ROWS: usize = 65_536;

/// Row groups that follow each other, read as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParquetPart {
    /// Of the file, from 0.
    pub rows: Range<u64>,
    /// Where they are stored.
    pub bytes: Range<u64>,
}

/// Some rows, as they were decoded. Its `Debug` shows no value.
#[derive(Clone)]
pub struct ParquetStep {
    /// The first of them, of the file, from 0.
    pub first: u64,
    pub rows: usize,
    pub(crate) columns: Vec<Given>,
    /// About what each row takes as text; empty if no row can be longer than another.
    pub(crate) sizes: Vec<usize>,
}

impl fmt::Debug for ParquetStep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ParquetStep")
            .field("first", &self.first)
            .field("rows", &self.rows)
            .field("columns", &self.columns.len())
            .finish_non_exhaustive()
    }
}

/// A column of a step.
#[derive(Clone)]
pub(crate) struct Given {
    pub(crate) root: Arc<Root>,
    pub(crate) shape: Arc<Shape>,
    /// Or why its values cannot be read.
    pub(crate) values: Result<ArrayRef, Arc<str>>,
}

/// Rows of one Parquet file. Errors are texts, because they become the reason of a quarantined record.
#[derive(Debug)]
pub struct ParquetRows {
    state: Option<Decoder>,
    ahead: Option<JoinHandle<(Decoder, Option<ParquetStep>)>>,
    /// Looked at between pages' worth of work.
    stop: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Decoder {
    source: Source,
    footer: Arc<Footer>,
    next: u64,
    end: u64,
    max_record_bytes: usize,
    group: Option<Group>,
    stop: Arc<AtomicBool>,
}

impl ParquetRows {
    /// Rows that are longer than `max_record_bytes` are decoded as far as it takes to refuse them.
    ///
    /// # Errors
    /// When the file is not Parquet, or its footer is damaged, contradicts itself or is beyond a limit.
    pub fn open(file: File, max_record_bytes: usize) -> Result<Self, String> {
        let source = Source::new(file)?;
        let footer = Arc::new(Footer::read(&source)?);
        let (end, stop) = (footer.rows(), Arc::new(AtomicBool::new(false)));
        let state = Decoder { source, footer, next: 0, end, max_record_bytes, group: None, stop: Arc::clone(&stop) };
        Ok(Self { state: Some(state), ahead: None, stop })
    }

    /// The rows of one part; the file holds the footer and the part's bytes.
    ///
    /// # Errors
    /// As [`ParquetRows::open`].
    pub fn open_part(file: File, part: &ParquetPart, max_record_bytes: usize) -> Result<Self, String> {
        let mut rows = Self::open(file, max_record_bytes)?;
        if let Some(state) = &mut rows.state {
            (state.next, state.end) = (part.rows.start.min(state.end), part.rows.end.min(state.end));
        }
        Ok(rows)
    }

    /// [`ParquetRows::open`], without the first `skip` rows.
    ///
    /// # Errors
    /// As [`ParquetRows::open`].
    pub fn open_after(file: File, skip: u64, max_record_bytes: usize) -> Result<Self, String> {
        let mut rows = Self::open(file, max_record_bytes)?;
        if let Some(state) = &mut rows.state {
            state.next = skip.min(state.end);
        }
        Ok(rows)
    }

    /// What ends the work soon when it is set: the rows then are at their end.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Further rows: as many as fit a step; `None` at the end.
    ///
    /// # Errors
    /// When decoding itself came to a stop; the rows are then at their end. What a file holds is no error: rows or columns that cannot be read are in the
    /// step, with the reason.
    #[allow(clippy::should_implement_trait)] // It fails, and it borrows.
    pub fn next(&mut self) -> Result<Option<ParquetStep>, String> {
        let stopped = || "the Parquet reader came to a stop".to_owned();
        let (decoder, step) = match self.ahead.take() {
            Some(decoding) => decoding.join().map_err(|_| stopped())?,
            None => {
                let Some(mut decoder) = self.state.take() else { return Ok(None) };
                let step = decoder.step();
                (decoder, step)
            }
        };
        if step.is_some() && decoder.next < decoder.end {
            let mut decoder = decoder;
            self.ahead = Some(std::thread::spawn(move || {
                let step = decoder.step();
                (decoder, step)
            }));
        } else {
            self.state = Some(decoder);
        }
        Ok(step)
    }
}

impl Drop for ParquetRows {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Decoder {
    fn step(&mut self) -> Option<ParquetStep> {
        if self.next >= self.end || self.stop.load(Ordering::Relaxed) {
            return None;
        }
        let left = |group: &Group| group.rows.end > self.next;
        if !self.group.as_ref().is_some_and(left) {
            self.group = None; // Its memory goes before the next one's comes.
            let index = self.footer.groups.iter().position(|rows| rows.end > self.next)?;
            self.group = Some(Group::open(&self.source, &self.footer, index, self.next));
        }
        let most = usize::try_from(self.end - self.next).unwrap_or(usize::MAX).min(STEP_ROWS);
        let step = self.group.as_mut()?.step(most, self.max_record_bytes);
        self.next += step.rows as u64;
        Some(step)
    }
}

/// The file's row groups, joined to parts of about `split_bytes`; from a file that holds the footer at its place. At least
/// one, which has no rows in a file without any.
///
/// # Errors
/// As [`ParquetRows::open`].
pub fn parquet_parts(file: &File, split_bytes: u64) -> Result<Vec<ParquetPart>, String> {
    let file = file.try_clone().map_err(|error| error.to_string())?;
    let footer = Footer::read(&Source::new(file)?)?;
    let mut parts: Vec<ParquetPart> = Vec::new();
    for (group, rows) in footer.metadata.row_groups().iter().zip(&footer.groups) {
        let mut bytes: Option<Range<u64>> = None;
        for chunk in group.columns() {
            let (Ok(start), Ok(length)) = (u64::try_from(first_page(chunk)), u64::try_from(chunk.compressed_size()))
            else {
                return Err("the Parquet file's footer is damaged: a column has a negative place or size".to_owned());
            };
            let end = start.saturating_add(length);
            bytes = Some(bytes.map_or(start..end, |bytes| bytes.start.min(start)..bytes.end.max(end)));
        }
        let bytes = bytes.unwrap_or(0..0);
        match parts.last_mut() {
            Some(part) if bytes.end.max(part.bytes.end) - bytes.start.min(part.bytes.start) <= split_bytes => {
                part.rows.end = rows.end;
                part.bytes = part.bytes.start.min(bytes.start)..part.bytes.end.max(bytes.end);
            }
            _ => parts.push(ParquetPart { rows: rows.clone(), bytes }),
        }
    }
    if parts.is_empty() {
        parts.push(ParquetPart { rows: 0..0, bytes: 0..0 });
    }
    Ok(parts)
}

/// A panic of the decoder is a page that it cannot read.
fn caught<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| Err("the decoder gave up on it".to_owned()))
}
