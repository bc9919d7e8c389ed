//! A Parquet file, read a few rows at a time, so that its size does not matter; whole, or only some of its row groups. The
//! next rows are decoded while those before them are in work.
//!
//! For a part the local file holds the footer and the part's own bytes at their places, and nothing between them: a row
//! group is never read that is not asked for.

use std::fs::File;
use std::ops::Range;
use std::thread::JoinHandle;

use polars::prelude::{DataFrame, ParquetReader, SerReader};

/// Row groups that follow each other, read as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParquetPart {
    /// Of the file, from 0.
    pub rows: Range<u64>,
    /// Where they are stored.
    pub bytes: Range<u64>,
}

/// Rows of one Parquet file. Errors are texts, because they become the reason of a quarantined record.
#[derive(Debug)]
pub struct ParquetRows {
    file: File,
    /// Where reading ends.
    end: usize,
    next: usize,
    ahead: Option<Ahead>,
}

/// Rows that are being decoded: from, count.
#[derive(Debug)]
struct Ahead {
    rows: (usize, usize),
    decoding: JoinHandle<Result<DataFrame, String>>,
}

impl ParquetRows {
    /// # Errors
    /// When the file is not Parquet, or its footer is damaged.
    pub fn open(file: File) -> Result<Self, String> {
        let rows = reader(&file)?.num_rows().map_err(|_| NOT_PARQUET.to_owned())?;
        Ok(Self { file, end: rows, next: 0, ahead: None })
    }

    /// The rows of one part; the file holds the footer and the part's bytes.
    ///
    /// # Errors
    /// As [`ParquetRows::open`].
    pub fn open_part(file: File, part: &ParquetPart) -> Result<Self, String> {
        let whole = Self::open(file)?;
        let row = |row: u64| usize::try_from(row).unwrap_or(usize::MAX).min(whole.end);
        Ok(Self { next: row(part.rows.start), end: row(part.rows.end), ..whole })
    }

    /// [`ParquetRows::open`], without the first `skip` rows.
    ///
    /// # Errors
    /// As [`ParquetRows::open`].
    pub fn open_after(file: File, skip: usize) -> Result<Self, String> {
        let all = Self::open(file)?;
        Ok(Self { next: skip.min(all.end), ..all })
    }

    /// At most `count` further rows; `None` at the end.
    ///
    /// # Errors
    /// When a page cannot be read; the file is then at its end.
    pub fn next(&mut self, count: usize) -> Result<Option<DataFrame>, String> {
        let count = count.min(self.end - self.next);
        if count == 0 {
            return Ok(None);
        }
        let ahead = match self.ahead.take() {
            Some(Ahead { rows, decoding }) => {
                let decoded = decoding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                (rows == (self.next, count)).then_some(decoded)
            }
            None => None,
        };
        let frame = ahead.unwrap_or_else(|| decode(&self.file, self.next, count));
        self.next = if frame.is_ok() { self.next + count } else { self.end };
        let following = count.min(self.end - self.next);
        if following > 0
            && let Ok(file) = self.file.try_clone()
        {
            // Nobody else reads of the file, whose position the clone shares, before this has ended.
            let from = self.next;
            let decoding = std::thread::spawn(move || decode(&file, from, following));
            self.ahead = Some(Ahead { rows: (from, following), decoding });
        }
        frame.map(Some)
    }
}

fn decode(file: &File, from: usize, count: usize) -> Result<DataFrame, String> {
    let read = reader(file)?.with_slice(Some((from, count))).finish();
    read.map_err(|_| "a page of the Parquet file cannot be read".to_owned())
}

/// The file's row groups, joined to parts of about `split_bytes`; from a file that holds the footer at its place. At least
/// one, which has no rows in a file without any.
///
/// # Errors
/// As [`ParquetRows::open`].
pub fn parquet_parts(file: &File, split_bytes: u64) -> Result<Vec<ParquetPart>, String> {
    let mut reader = reader(file)?;
    let metadata = reader.get_metadata().map_err(|_| NOT_PARQUET.to_owned())?;
    let mut parts: Vec<ParquetPart> = Vec::new();
    let mut row = 0_u64;
    for group in &metadata.row_groups {
        let (rows, bytes) = (row..row.saturating_add(group.num_rows() as u64), group.full_byte_range());
        row = rows.end;
        match parts.last_mut() {
            Some(part) if bytes.end.max(part.bytes.end) - bytes.start.min(part.bytes.start) <= split_bytes => {
                part.rows.end = rows.end;
                part.bytes = part.bytes.start.min(bytes.start)..part.bytes.end.max(bytes.end);
            }
            _ => parts.push(ParquetPart { rows, bytes }),
        }
    }
    if parts.is_empty() {
        parts.push(ParquetPart { rows: 0..0, bytes: 0..0 });
    }
    Ok(parts)
}

const NOT_PARQUET: &str = "not a Parquet file, or its footer is damaged";

fn reader(file: &File) -> Result<ParquetReader<File>, String> {
    file.try_clone().map(ParquetReader::new).map_err(|error| error.to_string())
}
