//! A Parquet file, read a few rows at a time, so that its size does not matter.

use std::fs::File;

use polars::prelude::{DataFrame, ParquetReader, SerReader};

/// Rows of one Parquet file. Errors are texts, because they become the reason of a quarantined record.
#[derive(Debug)]
pub struct ParquetRows {
    file: File,
    rows: usize,
    next: usize,
}

impl ParquetRows {
    /// # Errors
    /// When the file is not Parquet, or its footer is damaged.
    pub fn open(file: File) -> Result<Self, String> {
        let rows = file.try_clone().map_err(|error| error.to_string()).and_then(|file| {
            ParquetReader::new(file).num_rows().map_err(|_| "not a Parquet file, or its footer is damaged".to_owned())
        })?;
        Ok(Self { file, rows, next: 0 })
    }

    /// [`ParquetRows::open`], without the first `skip` rows.
    ///
    /// # Errors
    /// As [`ParquetRows::open`].
    pub fn open_after(file: File, skip: usize) -> Result<Self, String> {
        let all = Self::open(file)?;
        Ok(Self { next: skip.min(all.rows), ..all })
    }

    /// At most `count` further rows; `None` at the end.
    ///
    /// # Errors
    /// When a page cannot be read; the file is then at its end.
    pub fn next(&mut self, count: usize) -> Result<Option<DataFrame>, String> {
        let count = count.min(self.rows - self.next);
        if count == 0 {
            return Ok(None);
        }
        let slice = Some((self.next, count));
        let frame = self.file.try_clone().map_err(|error| error.to_string()).and_then(|file| {
            let read = ParquetReader::new(file).with_slice(slice).finish();
            read.map_err(|_| "a page of the Parquet file cannot be read".to_owned())
        });
        self.next = if frame.is_ok() { self.next + count } else { self.rows };
        frame.map(Some)
    }
}
