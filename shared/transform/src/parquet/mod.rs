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
mod delta;
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
use std::thread::JoinHandle;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use weir_contract::limits::{PARQUET_ROW, PARQUET_UNREADABLE_ROW};
use weir_contract::{Allowance, Stop};

use crate::FileColumn;

use footer::Footer;
use group::Group;
use pages::{Bounds, first_page};
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

impl ParquetStep {
    /// What it draws from the file's allowance.
    fn units(&self, max_record_bytes: usize) -> u64 {
        let arrays = self.columns.iter().filter_map(|given| given.values.as_ref().ok());
        let cells: u64 = arrays.map(cells).sum();
        let kept = |size: &usize| if *size > max_record_bytes { HEAD_BYTES } else { *size };
        let text: usize = self.sizes.iter().map(kept).sum();
        // A record that is refused, or that names a field without a readable value, is written out as text.
        let unreadable = self.columns.iter().any(|given| given.values.is_err());
        let row = if unreadable { PARQUET_ROW + PARQUET_UNREADABLE_ROW } else { PARQUET_ROW };
        row * self.rows as u64 + cells + text as u64
    }
}

/// Values that are there draw eight times what nulls do.
fn cells(array: &ArrayRef) -> u64 {
    let length = array.len() as u64;
    match array.data_type() {
        DataType::Null => length,
        _ if array.null_count() == array.len() => length,
        DataType::List(_) => {
            8 * length + array.as_list_opt::<i32>().map_or(0, |list| items(list.values(), list.value_offsets()))
        }
        DataType::Map(..) => {
            8 * length
                + array
                    .as_map_opt()
                    .map_or(0, |map| items(map.keys(), map.value_offsets()) + items(map.values(), map.value_offsets()))
        }
        DataType::Struct(_) => {
            let fields = array.as_struct_opt().map_or(&[][..], |fields| fields.columns());
            length + fields.iter().map(cells).sum::<u64>()
        }
        _ => 8 * length,
    }
}

/// Of a slice of lists, which shares its items with the others. Each has levels that say where its list begins and ends,
/// and draws twice what a value does that has none.
fn items(items: &ArrayRef, offsets: &[i32]) -> u64 {
    let at = |offset: Option<&i32>| offset.and_then(|offset| usize::try_from(*offset).ok()).unwrap_or(0);
    let (from, to) = (at(offsets.first()), at(offsets.last()).min(items.len()));
    2 * cells(&items.slice(from.min(to), to - from.min(to)))
}

/// The columns of a Parquet file, and how many rows it has. Those that cannot be read are not among them.
///
/// # Errors
/// Why the file cannot be read.
pub fn parquet_columns(file: &File) -> Result<(Vec<FileColumn>, u64), String> {
    let source = Source::new(file.try_clone().map_err(|_| "the file cannot be opened again".to_owned())?)?;
    let footer = Footer::read(&source)?;
    let readable = footer.roots.iter().filter_map(|root| {
        let form = root.form.as_ref().ok()?;
        Some(FileColumn { from: root.name.clone(), data_type: form.holder })
    });
    Ok((readable.collect(), footer.rows()))
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
    ahead: Option<JoinHandle<(Decoder, Step)>>,
    /// Set when these rows are dropped: nobody asks for the next ones.
    done: Stop,
}

type Step = Result<Option<ParquetStep>, String>;

#[derive(Debug)]
struct Decoder {
    source: Source,
    footer: Arc<Footer>,
    next: u64,
    end: u64,
    max_record_bytes: usize,
    group: Option<Group>,
    bounds: Bounds,
    done: Stop,
}

impl ParquetRows {
    /// Rows that are longer than `max_record_bytes` are decoded as far as it takes to refuse them.
    ///
    /// # Errors
    /// When the file is not Parquet, or its footer is damaged, contradicts itself or is beyond a limit.
    pub fn open(file: File, max_record_bytes: usize) -> Result<Self, String> {
        let source = Source::new(file)?;
        let footer = Arc::new(Footer::read(&source)?);
        let (end, done) = (footer.rows(), Stop::default());
        let bounds = Bounds { allowance: Allowance::of_parquet(source.length), stop: Stop::never() };
        let state = Decoder { source, footer, next: 0, end, max_record_bytes, group: None, bounds, done: done.clone() };
        Ok(Self { state: Some(state), ahead: None, done })
    }

    /// The rows of one part; the file holds the footer and the part's bytes.
    ///
    /// # Errors
    /// As [`ParquetRows::open`].
    pub fn open_part(file: File, part: &ParquetPart, max_record_bytes: usize) -> Result<Self, String> {
        let mut rows = Self::open(file, max_record_bytes)?;
        if let Some(state) = &mut rows.state {
            (state.next, state.end) = (part.rows.start.min(state.end), part.rows.end.min(state.end));
            state.bounds.allowance = Allowance::of_parquet(part.bytes.end.saturating_sub(part.bytes.start));
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

    /// The same rows, which are at their end soon after the flag is set.
    #[must_use]
    pub fn until(mut self, stop: &Stop) -> Self {
        if let Some(state) = &mut self.state {
            state.bounds.stop = stop.clone();
        }
        self
    }

    /// Further rows: as many as fit a step; `None` at the end.
    ///
    /// # Errors
    /// The reason to refuse all rows that are left with, as one record: the file gives more than its bytes pay for, or
    /// decoding itself came to a stop. The rows are then at their end. What else a file holds is no error: rows or columns
    /// that cannot be read are in the step, with the reason.
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
        if matches!(step, Ok(Some(_))) && decoder.next < decoder.end {
            let mut decoder = decoder;
            self.ahead = Some(std::thread::spawn(move || {
                let step = decoder.step();
                (decoder, step)
            }));
        } else {
            self.state = Some(decoder);
        }
        step
    }
}

impl Drop for ParquetRows {
    fn drop(&mut self) {
        self.done.set();
    }
}

impl Decoder {
    fn step(&mut self) -> Step {
        if self.next >= self.end || self.done.is_set() || self.bounds.stop.is_set() {
            return Ok(None);
        }
        let left = |group: &Group| group.rows.end > self.next;
        if !self.group.as_ref().is_some_and(left) {
            self.group = None; // Its memory goes before the next one's comes.
            let index = self.footer.groups.iter().position(|rows| rows.end > self.next);
            let Some(index) = index else { return Ok(None) };
            self.group = Some(Group::open(&self.source, &self.footer, index, self.next, &self.bounds));
        }
        let most = usize::try_from(self.end - self.next).unwrap_or(usize::MAX).min(STEP_ROWS);
        // Columns are opened side by side: what is left says whether there was enough for all of them.
        let step = self.group.as_mut().filter(|_| self.bounds.allowance.left() > 0);
        let step = step.map(|group| group.step(most, self.max_record_bytes));
        if self.bounds.stop.is_set() {
            return Ok(None);
        }
        let Some(step) = step.filter(|step| self.bounds.allowance.take(step.units(self.max_record_bytes))) else {
            return Err(self.too_much());
        };
        self.next += step.rows as u64;
        Ok(Some(step))
    }

    /// Gives up on the rows that are left.
    fn too_much(&mut self) -> String {
        let (from, to) = (self.next + 1, self.end);
        (self.next, self.group) = (self.end, None);
        format!("the Parquet file gives more than 512 times its bytes: rows {from} to {to} of the file cannot be read")
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
