//! What sources give now, held against the rows that two tables have of them. A batch is of several sources whole, or of
//! one source from one position to another. Memory: the batch, and one data file at a time.

use std::collections::{BTreeSet, HashMap};
use std::ops::{ControlFlow, RangeInclusive};

use polars::functions::concat_df_diagonal;
use polars::prelude::*;
use weir_contract::{EVENT, INGESTED_AT, RAW, REASONS, SOURCE, SOURCE_POSITION, UnknownFields};
use weir_lake::SourceRows;
use weir_transform::{Output, TransformError};

use super::findings::{Difference, Findings, Kind, Side};
use super::held::Held;
use crate::app::Dataset;
use crate::error::AppError;

/// Bytes and rows of a batch that is full.
const FULL_BYTES: usize = 64 * 1024 * 1024;
const FULL_ROWS: usize = 500_000;
/// Sources of a batch.
const FULL_SOURCES: usize = 1_000;

/// Every position that a record can have.
pub(super) const EVERYWHERE: RangeInclusive<i64> = i64::MIN..=i64::MAX;

/// Which columns are compared, and whose values may be shown.
#[derive(Debug)]
pub(super) struct Rules {
    /// `None`: all that the table has.
    compared: Option<BTreeSet<String>>,
    /// Beside a personal column, those whose values may be shown; `None`: all may.
    harmless: Option<BTreeSet<String>>,
    shows_values: bool,
}

impl Rules {
    pub(super) fn of(dataset: &Dataset, shows_values: bool) -> Self {
        let contract = &dataset.contract;
        let columns = contract.table_columns().into_iter().chain(contract.quarantine_columns());
        let compared =
            (contract.drift.unknown_fields != UnknownFields::Add).then(|| columns.map(|column| column.name).collect());
        // What is not among the contract's columns may hold a personal value under another name.
        let harmless = contract.columns.iter().filter(|column| column.personal.is_none());
        let harmless: BTreeSet<String> = harmless.map(|column| column.name.clone()).collect();
        let harmless = (harmless.len() < contract.columns.len()).then_some(harmless);
        Self { compared, harmless, shows_values }
    }

    fn compares(&self, column: &str) -> bool {
        // What stands around an event the host words otherwise than the hub.
        ![SOURCE, SOURCE_POSITION, INGESTED_AT, EVENT].contains(&column)
            && self.compared.as_ref().is_none_or(|compared| compared.contains(column))
    }

    fn shows(&self, column: &str) -> bool {
        self.shows_values && column != RAW && self.harmless.as_ref().is_none_or(|harmless| harmless.contains(column))
    }
}

/// Records of sources, as they would be stored now.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// By the names of its rows, each source's place among `sources`.
    names: HashMap<String, usize>,
    /// What each source is called.
    sources: Vec<String>,
    clean: Vec<DataFrame>,
    refused: Vec<DataFrame>,
    bytes: usize,
    rows: usize,
    /// The last position.
    last: Option<i64>,
}

impl Batch {
    /// One source, which may have several names; the first is what it is called.
    pub(super) fn of(names: &[String]) -> Self {
        let mut batch = Self::default();
        batch.sources.extend(names.first().cloned());
        batch.names = names.iter().map(|name| (name.clone(), 0)).collect();
        batch
    }

    /// What it holds no records of.
    pub(super) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= FULL_BYTES || self.rows >= FULL_ROWS || self.sources.len() >= FULL_SOURCES
    }

    pub(super) fn last(&self) -> Option<i64> {
        self.last
    }

    /// Takes a chunk, as both tables would store it.
    pub(super) fn take(&mut self, held: &Held, output: Output) -> Result<(), AppError> {
        let Output { clean, quarantined, .. } = output;
        for (frame, side) in [(clean, Side::Table), (quarantined, Side::Quarantine)] {
            if frame.height() == 0 {
                continue;
            }
            let last = frame.column(SOURCE_POSITION).and_then(|column| Ok(column.i64()?.max())).map_err(failed)?;
            self.last = self.last.max(last);
            let frame = held.as_stored(side, frame)?;
            self.bytes += frame.estimated_size();
            self.rows += frame.height();
            match side {
                Side::Table => self.clean.push(frame),
                Side::Quarantine => self.refused.push(frame),
            }
        }
        Ok(())
    }

    /// Takes the sources and records of another.
    pub(super) fn absorb(&mut self, other: Self) {
        let first = self.sources.len();
        self.names.extend(other.names.into_iter().map(|(name, source)| (name, source + first)));
        self.sources.extend(other.sources);
        self.clean.extend(other.clean);
        self.refused.extend(other.refused);
        self.bytes += other.bytes;
        self.rows += other.rows;
    }

    /// Gives up the records and keeps the sources.
    pub(super) fn clear(&mut self) {
        let (names, sources, last) = (std::mem::take(&mut self.names), std::mem::take(&mut self.sources), self.last);
        *self = Self { names, sources, last, ..Self::default() };
    }

    /// What differs, at these positions.
    pub(super) async fn compare(
        &self,
        held: &Held,
        positions: RangeInclusive<i64>,
        rules: &Rules,
        findings: &mut Findings,
    ) -> Result<(), AppError> {
        if positions.is_empty() || self.is_empty() {
            return Ok(());
        }
        findings.records += self.rows as u64;
        let mut work = Comparison::new(self, rules, findings).map_err(failed)?;
        let names: Vec<String> = self.names.keys().cloned().collect();
        for side in [Side::Table, Side::Quarantine] {
            let Some(table) = held.side(side) else { continue };
            let own = table.table.columns();
            let columns: Vec<&str> = own.iter().map(|column| column.name.as_str()).collect();
            let rows = SourceRows { sources: &names, positions: positions.clone(), since_us: None };
            let each = |frame: DataFrame| work.hold(side, &frame).map(|()| ControlFlow::Continue(()));
            table.table.rows_in(&table.files, rows, &columns, each).await?;
        }
        work.finish();
        Ok(())
    }
}

/// A record that a source gives now.
#[derive(Debug)]
struct Slot {
    side: Side,
    row: IdxSize,
    /// The table where it belongs has it.
    is_there: bool,
    /// The other one has it.
    is_elsewhere: bool,
}

struct Comparison<'a> {
    batch: &'a Batch,
    rules: &'a Rules,
    findings: &'a mut Findings,
    clean: DataFrame,
    refused: DataFrame,
    slots: HashMap<(usize, i64), Slot>,
}

impl<'a> Comparison<'a> {
    fn new(batch: &'a Batch, rules: &'a Rules, findings: &'a mut Findings) -> PolarsResult<Self> {
        let (clean, refused) = (together(&batch.clean)?, together(&batch.refused)?);
        let mut slots = HashMap::with_capacity(clean.height() + refused.height());
        for (side, frame) in [(Side::Table, &clean), (Side::Quarantine, &refused)] {
            if frame.height() == 0 {
                continue;
            }
            let (sources, positions) = (frame.column(SOURCE)?.str()?, frame.column(SOURCE_POSITION)?.i64()?);
            for ((source, position), row) in sources.iter().zip(positions.iter()).zip(0..) {
                let place = source.and_then(|source| batch.names.get(source)).zip(position);
                if let Some((source, position)) = place {
                    slots.insert((*source, position), Slot { side, row, is_there: false, is_elsewhere: false });
                }
            }
        }
        Ok(Self { batch, rules, findings, clean, refused, slots })
    }

    /// Takes rows that a table has.
    fn hold(&mut self, side: Side, frame: &DataFrame) -> PolarsResult<()> {
        let (sources, positions) = (frame.column(SOURCE)?.str()?, frame.column(SOURCE_POSITION)?.i64()?);
        let (mut now, mut then, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for ((source, position), row) in sources.iter().zip(positions.iter()).zip(0..) {
            let place = source.and_then(|source| self.batch.names.get(source).copied()).zip(position);
            let Some(place) = place else { continue };
            match self.slots.get_mut(&place) {
                Some(slot) if slot.side == side && !slot.is_there => {
                    slot.is_there = true;
                    now.push(slot.row);
                    then.push(row);
                    places.push(place);
                }
                Some(slot) if slot.side != side && !slot.is_elsewhere => slot.is_elsewhere = true,
                // Of no record, or of one that is there already.
                _ => self.find(place, Kind::Extra, side),
            }
        }
        let own = match side {
            Side::Table => &self.clean,
            Side::Quarantine => &self.refused,
        };
        if now.is_empty() {
            return Ok(());
        }
        let now = own.take(&IdxCa::new(PlSmallStr::EMPTY, now))?;
        let then = frame.take(&IdxCa::new(PlSmallStr::EMPTY, then))?;
        self.columns(side, &places, &now, &then)
    }

    /// Compares rows of the same places, column by column.
    fn columns(&mut self, side: Side, places: &[(usize, i64)], now: &DataFrame, then: &DataFrame) -> PolarsResult<()> {
        let mut differing: Vec<(&str, Column, BooleanChunked)> = Vec::new();
        for column in now.columns() {
            let name = column.name().as_str();
            if !self.rules.compares(name) {
                continue;
            }
            let held = match then.column(name) {
                Ok(held) if held.dtype() == column.dtype() => held.clone(),
                Ok(held) => held.cast(column.dtype())?,
                Err(_) => Column::full_null(name.into(), then.height(), column.dtype()),
            };
            let differs = column.not_equal_missing(&held)?;
            if !differs.any() {
                continue;
            }
            if name == REASONS {
                self.findings.reworded += u64::from(differs.sum().unwrap_or_default());
                continue;
            }
            differing.push((name, held, differs));
        }
        if differing.is_empty() {
            return Ok(());
        }
        for (row, place) in places.iter().enumerate() {
            let found: Vec<_> = differing.iter().filter(|(.., differs)| differs.get(row) == Some(true)).collect();
            if found.is_empty() {
                continue;
            }
            let mut difference = Difference::new(place.1, Kind::Differs, side);
            for (name, held, _) in found {
                difference.columns.push((*name).to_owned());
                if self.rules.shows(name) {
                    difference.held.insert((*name).to_owned(), shown(held, row)?);
                    difference.now.insert((*name).to_owned(), shown(now.column(name)?, row)?);
                }
            }
            self.findings.add(&self.batch.sources[place.0], difference);
        }
        Ok(())
    }

    fn find(&mut self, (source, position): (usize, i64), kind: Kind, side: Side) {
        self.findings.add(&self.batch.sources[source], Difference::new(position, kind, side));
    }

    /// What is left: records that are nowhere, or in the wrong table.
    fn finish(mut self) {
        let open = self.slots.iter().filter(|(_, slot)| !slot.is_there || slot.is_elsewhere);
        let mut open: Vec<_> =
            open.map(|(place, slot)| (*place, slot.side, slot.is_there, slot.is_elsewhere)).collect();
        open.sort_by_key(|(place, ..)| *place);
        for (place, side, is_there, is_elsewhere) in open {
            match (is_there, is_elsewhere, side) {
                (true, _, _) => self.find(place, Kind::Extra, side.other()),
                (false, false, _) => self.find(place, Kind::Missing, side),
                (false, true, Side::Table) => self.find(place, Kind::TakenNow, side.other()),
                (false, true, Side::Quarantine) => self.find(place, Kind::RefusedNow, side.other()),
            }
        }
    }
}

fn together(frames: &[DataFrame]) -> PolarsResult<DataFrame> {
    match frames {
        [] => Ok(DataFrame::empty()),
        [only] => Ok(only.clone()),
        // Some may have columns that the table is to get.
        _ => concat_df_diagonal(frames),
    }
}

fn shown(column: &Column, row: usize) -> PolarsResult<serde_json::Value> {
    Ok(match column.get(row)? {
        AnyValue::Null => serde_json::Value::Null,
        value => value.str_value().into(),
    })
}

fn failed(error: PolarsError) -> AppError {
    AppError::Transform(TransformError::from(error))
}
