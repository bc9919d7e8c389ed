//! One column of one row group, decoded by itself.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, TimestampMillisecondType};
use arrow_array::{Array, ArrayRef, ListArray, MapArray, StructArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, TimeUnit};
use parquet::arrow::FieldLevels;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups, RowSelection, RowSelector};
use parquet::column::page::PageIterator;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use super::caught;
use super::footer::Footer;
use super::pages::{Bounds, OneChunk, Pages, PagesReader};
use super::shape::{Form, Root};
use super::source::Source;

/// Pages of a column in one row group that are damaged, each by itself; behind the last all of its rows are lost. Each
/// costs a way through all pages before it.
const MAX_DAMAGED: usize = 64;

/// A column in work.
pub(super) struct Cursor {
    pub(super) root: Arc<Root>,
    source: Source,
    footer: Arc<Footer>,
    group: usize,
    pages: Vec<Arc<Pages>>,
    /// Rows of the row group.
    rows: usize,
    /// The first that is not decoded.
    at: usize,
    /// Those that cannot be read, and why; by row.
    dead: Vec<(Range<usize>, String)>,
    reader: Option<Reader>,
    /// Whether it stays open between steps.
    pub(super) stays: bool,
    pub(super) front: Option<Front>,
}

/// Decoded rows that are not given yet.
pub(super) struct Front {
    pub(super) values: Result<ArrayRef, Arc<str>>,
    pub(super) rows: usize,
}

struct Reader {
    micros: ParquetRecordBatchReader,
    millis: Option<ParquetRecordBatchReader>,
    until: usize,
    watch: Watch,
}

/// What the pages tell while they are read.
#[derive(Clone, Default)]
struct Watch {
    /// Pages of the last column that were asked for.
    delivered: Arc<AtomicUsize>,
    /// Values of lists in the step.
    in_step: Arc<AtomicUsize>,
    problem: Arc<Mutex<Option<String>>>,
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Cursor")
            .field("type", &self.root.type_name)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Cursor {
    pub(super) fn open(
        source: &Source,
        footer: &Arc<Footer>,
        (group, at): (usize, usize),
        root: &Arc<Root>,
        bounds: &Bounds,
    ) -> Self {
        let meta = footer.metadata.row_group(group);
        let rows = usize::try_from(meta.num_rows()).unwrap_or(0);
        let mut cursor = Self {
            root: Arc::clone(root),
            source: source.clone(),
            footer: Arc::clone(footer),
            group,
            pages: Vec::new(),
            rows,
            at,
            dead: Vec::new(),
            reader: None,
            stays: true,
            front: None,
        };
        let problem = match &root.form {
            Ok(form) => caught(|| {
                cursor.find_pages(meta, form, bounds);
                Ok(())
            })
            .err(),
            Err(problem) => Some(problem.clone()),
        };
        if let Some(problem) = problem {
            cursor.give_up(0..rows, problem);
        }
        cursor
    }

    /// Reads the headers of all pages, and holds their counts against the row group's.
    fn find_pages(&mut self, meta: &RowGroupMetaData, form: &Form, bounds: &Bounds) {
        for (leaf, form) in self.root.leaves.clone().zip(&form.leaves) {
            let Some(chunk) = meta.columns().get(leaf) else {
                return self.give_up(0..self.rows, "its row group does not have it".to_owned());
            };
            let pages = Pages::scan(&self.source, chunk, form.repeats, bounds);
            let (rows, values, claimed) = (self.rows, pages.values, chunk.num_values());
            let contradicts = i64::try_from(values) != Ok(claimed);
            let count =
                |what: &str| format!("{what} {claimed} values, its pages hold {values}, its row group has {rows} rows");
            if form.repeats {
                // Where rows end in it is not known, so what is missing may be part of any.
                if let Some(damage) = &pages.damage {
                    self.give_up(0..rows, damage.clone());
                } else if contradicts || pages.rows().is_some_and(|found| found != rows) {
                    self.give_up(0..rows, count("the footer counts"));
                }
            } else if values < rows {
                let why = pages.damage.clone().unwrap_or_else(|| count("the footer counts"));
                self.give_up(values..rows, why);
            } else if values > rows || contradicts || pages.damage.is_some() {
                self.give_up(0..rows, pages.damage.clone().unwrap_or_else(|| count("the footer counts")));
            }
            self.pages.push(Arc::new(pages));
        }
    }

    pub(super) fn form(&self) -> Option<&Form> {
        self.root.form.as_ref().ok()
    }

    pub(super) fn pages(&self) -> &[Arc<Pages>] {
        &self.pages
    }

    pub(super) fn give_up(&mut self, rows: Range<usize>, why: String) {
        self.dead.push((rows, why));
        self.dead.sort_by_key(|(rows, _)| rows.start);
    }

    /// Decodes further rows, at most `count`, unless there are some.
    pub(super) fn refill(&mut self, count: usize) {
        while self.front.is_none() && self.at < self.rows {
            let at = self.at;
            if let Some((dead, why)) = self.dead.iter().find(|(dead, _)| dead.contains(&at)) {
                let end = dead.end;
                self.front = Some(Front { values: Err(self.reason(at..end, why)), rows: end - at });
                (self.at, self.reader) = (end, None);
                return;
            }
            let until = self.dead.iter().map(|(dead, _)| dead.start).find(|start| *start > at).unwrap_or(self.rows);
            let watch = self.reader.as_ref().map(|reader| reader.watch.clone()).unwrap_or_default();
            match caught(|| self.decode(count, until, watch.clone())) {
                Ok(values) if !values.is_empty() => {
                    let rows = values.len();
                    self.at += rows;
                    self.front = Some(Front { values: Ok(values), rows });
                }
                Ok(_) => {
                    self.reader = None;
                    self.give_up(at..until, "its pages end before its rows do".to_owned());
                }
                Err(why) => {
                    self.reader = None;
                    let told = watch.problem.lock().ok().and_then(|mut told| told.take());
                    let mut lost = self.damaged(at, until, watch.delivered.load(Ordering::Relaxed));
                    if self.dead.len() >= MAX_DAMAGED {
                        lost.end = until;
                    }
                    self.give_up(lost, told.unwrap_or(why));
                }
            }
        }
        if !self.stays || self.at >= self.rows {
            self.reader = None;
        }
    }

    /// The rows that an error takes with it: those of a page where rows and pages can be told from each other.
    fn damaged(&self, at: usize, until: usize, delivered: usize) -> Range<usize> {
        let all = at..until;
        let [pages] = &self.pages[..] else { return all };
        let repeats = self.form().is_some_and(|form| form.leaves.iter().any(|leaf| leaf.repeats));
        if repeats || delivered == 0 || pages.is_dictionary(delivered) {
            return all;
        }
        let page = pages.rows_of(delivered);
        let page = page.start.max(at)..page.end.min(until);
        if page.is_empty() { all } else { page }
    }

    fn reason(&self, rows: Range<usize>, why: &str) -> Arc<str> {
        let Root { name, type_name, form, .. } = &*self.root;
        let name = crate::faults::shown(name);
        if form.is_err() {
            return format!("field {name} ({type_name}) {why}").into();
        }
        let first = self.footer.groups.get(self.group).map_or(0, |rows| rows.start);
        let (from, to) = (first + rows.start as u64 + 1, first + rows.end as u64);
        format!("field {name} ({type_name}): rows {from} to {to} of the file cannot be read: {why}").into()
    }

    fn decode(&mut self, count: usize, until: usize, watch: Watch) -> Result<ArrayRef, String> {
        if self.reader.as_ref().is_none_or(|reader| reader.until != until) {
            self.reader = Some(self.reader(count, until, watch)?);
        }
        let (left, whole) = (until - self.at, until == self.rows);
        let Some(reader) = &mut self.reader else { return Err(DAMAGED.to_owned()) };
        reader.watch.in_step.store(0, Ordering::Relaxed);
        let micros = column(&mut reader.micros)?;
        let values = match &mut reader.millis {
            None => micros,
            Some(millis) => in_years(&micros, &column(millis)?)?,
        };
        if values.len() > left {
            return Err("its pages hold more rows than its row group has".to_owned());
        }
        // Pages of lists do not say how many rows they have: none may be left.
        if whole && values.len() == left && !column(&mut reader.micros)?.is_empty() {
            return Err("its pages hold more rows than its row group has".to_owned());
        }
        Ok(values)
    }

    fn reader(&self, count: usize, until: usize, watch: Watch) -> Result<Reader, String> {
        let form = self.form().ok_or(DAMAGED)?;
        let chunks = Chunks { cursor: self, watch: &watch };
        let selection = match (self.at, until) {
            (0, until) if until == self.rows => None,
            (at, until) => {
                // Behind the last row nothing is left out, so that what should not be there is seen.
                let rows = if until == self.rows { until - at + 1 } else { until - at };
                Some(RowSelection::from(vec![RowSelector::skip(at), RowSelector::select(rows)]))
            }
        };
        let open = |levels: &FieldLevels| {
            let reader = ParquetRecordBatchReader::try_new_with_row_groups(levels, &chunks, count, selection.clone());
            reader.map_err(|_| DAMAGED.to_owned())
        };
        let (micros, millis) = (open(&form.levels)?, form.millis.as_ref().map(open).transpose()?);
        Ok(Reader { micros, millis, until, watch })
    }
}

const DAMAGED: &str = "a page of it is damaged";

/// The next rows of the only column; none at the end.
fn column(reader: &mut ParquetRecordBatchReader) -> Result<ArrayRef, String> {
    match reader.next() {
        // What the decoder says may show values.
        Some(Err(_)) => Err(DAMAGED.to_owned()),
        Some(Ok(batch)) if batch.num_columns() == 1 => Ok(Arc::clone(batch.column(0))),
        Some(Ok(_)) => Err(DAMAGED.to_owned()),
        None => Ok(Arc::new(arrow_array::NullArray::new(0))),
    }
}

/// INT96 in microseconds, where milliseconds say that it did not wrap; elsewhere what no year has.
fn in_years(micros: &ArrayRef, millis: &ArrayRef) -> Result<ArrayRef, String> {
    const MILLIS: Range<i64> = -62_135_596_800_000..253_402_300_800_000;
    let wrong = |_| DAMAGED.to_owned();
    if micros.len() != millis.len() {
        return Err(DAMAGED.to_owned());
    }
    Ok(match (micros.data_type(), millis.data_type()) {
        (DataType::Timestamp(TimeUnit::Microsecond, None), DataType::Timestamp(TimeUnit::Millisecond, None)) => {
            let micros = micros.as_primitive::<TimestampMicrosecondType>();
            let millis = millis.as_primitive::<TimestampMillisecondType>();
            let pairs = micros.values().iter().zip(millis.values());
            let values = pairs.map(|(micros, millis)| if MILLIS.contains(millis) { *micros } else { i64::MAX });
            Arc::new(TimestampMicrosecondArray::new(values.collect(), micros.nulls().cloned()))
        }
        (DataType::List(item), DataType::List(_)) => {
            let (micros, millis) = (micros.as_list::<i32>(), millis.as_list::<i32>());
            let items = in_years(micros.values(), millis.values())?;
            let (offsets, nulls) = (micros.offsets().clone(), micros.nulls().cloned());
            Arc::new(ListArray::try_new(Arc::clone(item), offsets, items, nulls).map_err(wrong)?)
        }
        (DataType::Struct(fields), DataType::Struct(_)) => {
            Arc::new(structs(fields, micros.as_struct(), millis.as_struct())?)
        }
        (DataType::Map(entries, sorted), DataType::Map(..)) => {
            let (micros, millis) = (micros.as_map(), millis.as_map());
            let DataType::Struct(fields) = entries.data_type() else { return Err(DAMAGED.to_owned()) };
            let inner = structs(fields, micros.entries(), millis.entries())?;
            let (offsets, nulls) = (micros.offsets().clone(), micros.nulls().cloned());
            Arc::new(MapArray::try_new(Arc::clone(entries), offsets, inner, nulls, *sorted).map_err(wrong)?)
        }
        _ => Arc::clone(micros),
    })
}

fn structs(fields: &arrow_schema::Fields, micros: &StructArray, millis: &StructArray) -> Result<StructArray, String> {
    let pairs = micros.columns().iter().zip(millis.columns());
    let columns = pairs.map(|(micros, millis)| in_years(micros, millis)).collect::<Result<Vec<_>, _>>()?;
    StructArray::try_new(fields.clone(), columns, micros.nulls().cloned()).map_err(|_| DAMAGED.to_owned())
}

/// The row group as the decoder sees it: with this column alone.
struct Chunks<'c> {
    cursor: &'c Cursor,
    watch: &'c Watch,
}

impl RowGroups for Chunks<'_> {
    fn num_rows(&self) -> usize {
        self.cursor.rows
    }

    fn column_chunks(&self, leaf: usize) -> ParquetResult<Box<dyn PageIterator>> {
        let pages = self.cursor.pages.get(leaf);
        let pages = pages.ok_or_else(|| ParquetError::General("no such column".to_owned()))?;
        let Watch { delivered, in_step, problem } = self.watch.clone();
        let reader = PagesReader::new(self.cursor.source.clone(), Arc::clone(pages), delivered, in_step, problem);
        Ok(Box::new(OneChunk(Some(reader))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.cursor.footer.metadata.row_group(self.cursor.group)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.cursor.footer.metadata
    }
}
