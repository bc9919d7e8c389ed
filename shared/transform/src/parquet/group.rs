//! One row group, cut into steps whose memory is bounded: by what pages take, and by what rows would take as text.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use weir_contract::Stop;

use super::cursor::Cursor;
use super::footer::Footer;
use super::pages::Bounds;
use super::source::Source;
use super::{Given, HEAD_BYTES, ParquetStep, STEP_ROWS};
use crate::values::Values;

/// What the values of a step take, decoded and as text.
const STEP_BYTES: usize = 16 * 1024 * 1024;
/// Pages that texts of decoded rows refer to.
const REFERRED_BYTES: usize = 64 * 1024 * 1024;
/// Pages and dictionaries of the columns that stay open.
const OPEN_BYTES: usize = 64 * 1024 * 1024;
/// A column whose pages take more is decoded while no other is.
const LARGE_BYTES: usize = 8 * 1024 * 1024;
/// What all columns of a row group may hold on to.
const HELD_BYTES: usize = 192 * 1024 * 1024;
/// What a name and a number take as text.
const MEMBER_BYTES: usize = 14;

#[derive(Debug)]
pub(super) struct Group {
    /// Of the file.
    pub(super) rows: Range<u64>,
    at: u64,
    columns: Vec<Cursor>,
    /// Rows that a column decodes at a time.
    batch: usize,
    stop: Stop,
}

impl Group {
    /// From the file's row `from` on, which is one of the row group.
    pub(super) fn open(source: &Source, footer: &Arc<Footer>, index: usize, from: u64, bounds: &Bounds) -> Self {
        let rows = footer.groups.get(index).cloned().unwrap_or(0..0);
        let skip = usize::try_from(from.saturating_sub(rows.start)).unwrap_or(usize::MAX);
        let columns = footer.roots.par_iter().map(|root| Cursor::open(source, footer, (index, skip), root, bounds));
        let mut columns: Vec<Cursor> = columns.collect();
        let batch = batch(&columns, rows.clone());
        let mut open = 0;
        for column in &mut columns {
            open += pages_of(column);
            column.stays = open <= OPEN_BYTES;
        }
        Self { at: from.max(rows.start), rows, columns, batch, stop: bounds.stop.clone() }
    }

    /// The next rows, at most `most`.
    pub(super) fn step(&mut self, most: usize, max_record_bytes: usize) -> ParquetStep {
        self.refill();
        let left = usize::try_from(self.rows.end - self.at).unwrap_or(usize::MAX).min(most);
        let ready = self.columns.iter().filter_map(|column| column.front.as_ref().map(|front| front.rows)).min();
        let rows = ready.unwrap_or(left).min(left).max(1);
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let shape = column.form().map_or_else(Default::default, |form| Arc::clone(&form.shape));
            let values = match &column.front {
                Some(front) => front.values.clone().map(|values| values.slice(0, rows.min(values.len()))),
                None => Err("it has fewer rows than its row group".into()),
            };
            columns.push(Given { root: Arc::clone(&column.root), shape, values });
        }
        let (rows, sizes) = cut(&columns, rows, max_record_bytes);
        for given in &mut columns {
            if let Ok(values) = &mut given.values {
                *values = values.slice(0, rows.min(values.len()));
            }
        }
        for column in &mut self.columns {
            let Some(front) = &mut column.front else { continue };
            front.rows = front.rows.saturating_sub(rows);
            if front.rows == 0 {
                column.front = None;
            } else if let Ok(values) = &mut front.values {
                *values = values.slice(rows, front.rows);
            }
        }
        let first = self.at;
        self.at += rows as u64;
        ParquetStep { first, rows, columns, sizes }
    }

    fn refill(&mut self) {
        let (batch, stop) = (self.batch, &self.stop);
        let (large, small): (Vec<&mut Cursor>, Vec<&mut Cursor>) =
            self.columns.iter_mut().partition(|column| !column.stays || pages_of(column) > LARGE_BYTES);
        small.into_par_iter().filter(|_| !stop.is_set()).for_each(|column| column.refill(batch));
        let mut held = 0;
        for column in large.into_iter().take_while(|_| !stop.is_set()) {
            column.refill(batch);
            let Some(front) = &mut column.front else { continue };
            let bytes = front.values.as_ref().map_or(0, |values| values.get_buffer_memory_size());
            if held + bytes <= HELD_BYTES {
                held += bytes;
            } else {
                let name = crate::faults::shown(&column.root.name);
                front.values = Err(format!(
                    "field {name} ({}): its pages are too large to be held beside those of the other columns",
                    column.root.type_name
                )
                .into());
            }
        }
    }
}

fn pages_of(column: &Cursor) -> usize {
    column.pages().iter().map(|pages| pages.open_bytes).sum()
}

/// How many rows of all columns may be decoded at a time.
fn batch(columns: &[Cursor], rows: Range<u64>) -> usize {
    let rows = usize::try_from(rows.end - rows.start).unwrap_or(usize::MAX).max(1);
    let mut width = 0;
    let leaves = || {
        let of = |column: &Cursor| column.form().map(|form| form.leaves.clone()).unwrap_or_default();
        columns.iter().flat_map(move |column| of(column).into_iter().zip(column.pages().to_vec()))
    };
    for (leaf, pages) in leaves() {
        let values = if leaf.repeats { (pages.values / rows).max(1) } else { 1 };
        width += values.saturating_mul(leaf.width + 4 * usize::from(leaf.repeats));
    }
    let mut batch = (STEP_BYTES / width.max(1)).clamp(1, STEP_ROWS);
    let referred = |batch: usize| -> usize {
        let views = leaves().filter(|(leaf, _)| leaf.is_view);
        let bytes = views.map(|(leaf, pages)| match leaf.repeats {
            false => pages.window(batch),
            true => (pages.bytes() / rows).saturating_mul(batch),
        });
        bytes.sum()
    };
    let least = referred(1);
    while batch > 1 && referred(batch) > REFERRED_BYTES.max(least) {
        batch /= 2;
    }
    batch
}

/// How many of the rows make a step, and what each takes.
fn cut(columns: &[Given], rows: usize, max_record_bytes: usize) -> (usize, Vec<usize>) {
    let names: usize = columns.iter().map(|given| given.root.name.len() + MEMBER_BYTES).sum();
    let mut sizes = Vec::new();
    for given in columns {
        let Ok(array) = &given.values else { continue };
        let Some(values) = Values::of(array, &given.shape) else { continue };
        if values.has_sizes() {
            sizes.resize(rows, 0_usize);
            values.add_sizes(&mut sizes);
        }
    }
    if sizes.is_empty() {
        return (rows.min((STEP_BYTES / names.max(1)).max(1)), sizes);
    }
    let (mut total, mut count) = (0_usize, 0);
    for size in &sizes {
        let kept = if *size > max_record_bytes { (*size).min(HEAD_BYTES) } else { *size };
        total = total.saturating_add(kept + names);
        if count > 0 && total > STEP_BYTES {
            break;
        }
        count += 1;
    }
    sizes.truncate(count);
    (count, sizes)
}
