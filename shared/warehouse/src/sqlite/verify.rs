//! Lake and SQLite compared value by value: each value's hash, summed up for each column and for whole rows. What is hashed
//! is what SQLite stores, so that only what a load would have bound differently shows. Sides that differ are read again, to
//! find the sources that do, and once more for the positions.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use polars::prelude::DataFrame;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use weir_contract::{SOURCE, SOURCE_POSITION, TableColumn};

use super::bind::cells;
use super::{Sqlite, at, ddl, object_kind};
use crate::verify::Summary;
use crate::{ColumnDifference, DataFile, Error, FileReader, PlaceDifference, TableLoad, Verified};

/// Sources that are told apart. Beyond them, places are named only of those that came first.
const MAX_SOURCES: usize = 1_000_000;
/// Positions that are looked at when places are named, all sources together.
const MAX_POSITIONS: usize = 1_000_000;
/// Sources that are named.
const MAX_PLACES: usize = 20;

/// One pass over both sides.
trait Pass: Send + 'static {
    fn lake(&mut self, row: &Row<'_>) -> rusqlite::Result<()>;
    fn there(&mut self, row: &Row<'_>) -> rusqlite::Result<()>;
}

/// Both sides of a comparison.
struct Sides<'a> {
    warehouse: &'a Sqlite,
    table: &'a str,
    columns: Arc<[TableColumn]>,
    files: &'a [DataFile],
    reader: &'a dyn FileReader,
}

pub(super) async fn verify(
    warehouse: &Sqlite,
    table: &TableLoad,
    columns: Arc<[TableColumn]>,
    files: &[DataFile],
    reader: &dyn FileReader,
) -> Result<Verified, Error> {
    let place = |name: &str| columns.iter().position(|column| column.name == name);
    let lineage = place(SOURCE).zip(place(SOURCE_POSITION));
    let sides = Sides { warehouse, table: &table.table, columns: Arc::clone(&columns), files, reader };
    let totals = sides.read(Totals::new(columns.len())).await?;
    let mut verified = totals.verified(&columns);
    if !verified.is_equal()
        && let Some((source, position)) = lineage
    {
        let sources = sides.read(Sources { source, ..Sources::default() }).await?;
        let (chosen, more) = sources.differing();
        let places = sides.read(Places { source, position, chosen, ..Places::default() }).await?;
        verified.more_places = more || places.is_full;
        verified.places = places.found();
    }
    Ok(verified)
}

impl Sides<'_> {
    async fn read<P: Pass>(&self, mut pass: P) -> Result<P, Error> {
        for file in self.files {
            let frame = self.reader.read(file).await.map_err(|error| error.at(&file.path))?;
            let (path, columns) = (file.path.clone(), Arc::clone(&self.columns));
            pass =
                self.warehouse.blocking(move |_| read_file(&path, frame, &columns, &mut pass).map(|()| pass)).await?;
        }
        let (table, columns) = (self.table.to_owned(), Arc::clone(&self.columns));
        self.warehouse
            .blocking(move |warehouse| read_table(&warehouse.connect()?, &table, &columns, &mut pass).map(|()| pass))
            .await
    }
}

/// The rows of a file go the way of a load, into a statement that stores nothing.
fn read_file(path: &str, mut frame: DataFrame, columns: &[TableColumn], pass: &mut impl Pass) -> Result<(), Error> {
    frame.rechunk_mut();
    let cells = cells(&frame, columns, path)?;
    let connection = Connection::open_in_memory().map_err(at("preparing a comparison"))?;
    let sql = format!("SELECT {}", vec!["?"; columns.len()].join(", "));
    let mut statement = connection.prepare(&sql).map_err(at("preparing a comparison"))?;
    let mut scratch = String::new();
    for row in 0..frame.height() {
        let mut read = || -> rusqlite::Result<()> {
            for (index, cell) in cells.iter().enumerate() {
                cell.bind(row, &mut statement, index + 1, &mut scratch)?;
            }
            let mut rows = statement.raw_query();
            match rows.next()? {
                Some(row) => pass.lake(row),
                None => Ok(()),
            }
        };
        read().map_err(|source| Error::Row { path: path.to_owned(), row, source })?;
    }
    Ok(())
}

fn read_table(
    connection: &Connection,
    table: &str,
    columns: &[TableColumn],
    pass: &mut impl Pass,
) -> Result<(), Error> {
    if object_kind(connection, table).map_err(at("looking for the table"))?.is_none() {
        return Ok(());
    }
    let sql = ddl::select(table, columns)?;
    let mut read = || -> rusqlite::Result<()> {
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            pass.there(row)?;
        }
        Ok(())
    };
    read().map_err(at("reading the table"))
}

/// Each column, and whole rows.
struct Totals {
    lake: Total,
    there: Total,
}

#[derive(Clone, PartialEq)]
struct Total {
    rows: Summary,
    columns: Vec<Summary>,
}

impl Totals {
    fn new(columns: usize) -> Self {
        let total = Total { rows: Summary::default(), columns: vec![Summary::default(); columns] };
        Self { lake: total.clone(), there: total }
    }

    fn verified(&self, columns: &[TableColumn]) -> Verified {
        let pairs = columns.iter().zip(self.lake.columns.iter().zip(&self.there.columns));
        let differing = pairs.filter(|(_, (lake, there))| lake != there).map(|(column, (lake, there))| {
            ColumnDifference { column: column.name.clone(), lake_values: lake.values, warehouse_values: there.values }
        });
        Verified {
            lake_rows: self.lake.rows.values,
            warehouse_rows: self.there.rows.values,
            differing: differing.collect(),
            rows_differ: self.lake.rows != self.there.rows,
            ..Verified::default()
        }
    }
}

impl Pass for Totals {
    fn lake(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        self.lake.add(row)
    }

    fn there(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        self.there.add(row)
    }
}

impl Total {
    fn add(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let mut whole = DefaultHasher::new();
        for (index, summary) in self.columns.iter_mut().enumerate() {
            let hash = hash(row.get_ref(index)?);
            hash.hash(&mut whole);
            if let Some(hash) = hash {
                summary.add(hash.into());
            }
        }
        self.rows.add(whole.finish().into());
        Ok(())
    }
}

/// The rows of each source, by its hash.
#[derive(Default)]
struct Sources {
    source: usize,
    seen: HashMap<u64, (Summary, Summary)>,
    is_full: bool,
}

impl Sources {
    fn side(&mut self, row: &Row<'_>) -> rusqlite::Result<Option<&mut (Summary, Summary)>> {
        let source = hash(row.get_ref(self.source)?).unwrap_or_default();
        if self.seen.len() >= MAX_SOURCES && !self.seen.contains_key(&source) {
            self.is_full = true;
            return Ok(None);
        }
        Ok(Some(self.seen.entry(source).or_default()))
    }

    /// With the number of rows on both sides; and whether there are more.
    fn differing(self) -> (HashMap<u64, Chosen>, bool) {
        let mut differing: Vec<_> = self.seen.into_iter().filter(|(_, (lake, there))| lake != there).collect();
        let more = self.is_full || differing.len() > MAX_PLACES;
        // Those with the fewest rows: they are the quickest to be looked at, and which of many is no matter.
        differing.sort_by_key(|(source, (lake, there))| (lake.values + there.values, *source));
        differing.truncate(MAX_PLACES);
        let chosen = |(source, (lake, there)): (u64, (Summary, Summary))| {
            (source, Chosen { name: None, lake_rows: lake.values, warehouse_rows: there.values })
        };
        (differing.into_iter().map(chosen).collect(), more)
    }
}

impl Pass for Sources {
    fn lake(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let hash = hash_of_row(row)?;
        if let Some((lake, _)) = self.side(row)? {
            lake.add(hash.into());
        }
        Ok(())
    }

    fn there(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let hash = hash_of_row(row)?;
        if let Some((_, there)) = self.side(row)? {
            there.add(hash.into());
        }
        Ok(())
    }
}

/// A source that is looked at row by row.
struct Chosen {
    name: Option<String>,
    lake_rows: u64,
    warehouse_rows: u64,
}

/// The rows of the chosen sources, by source and position.
#[derive(Default)]
struct Places {
    source: usize,
    position: usize,
    chosen: HashMap<u64, Chosen>,
    rows: BTreeMap<(u64, i64), (Summary, Summary)>,
    is_full: bool,
}

impl Places {
    fn side(&mut self, row: &Row<'_>) -> rusqlite::Result<Option<&mut (Summary, Summary)>> {
        let value = row.get_ref(self.source)?;
        let source = hash(value).unwrap_or_default();
        let Some(chosen) = self.chosen.get_mut(&source) else { return Ok(None) };
        if chosen.name.is_none() {
            chosen.name = value.as_str().ok().map(str::to_owned);
        }
        let at = (source, row.get_ref(self.position)?.as_i64().unwrap_or_default());
        if self.rows.len() >= MAX_POSITIONS && !self.rows.contains_key(&at) {
            self.is_full = true;
            return Ok(None);
        }
        Ok(Some(self.rows.entry(at).or_default()))
    }

    fn found(self) -> Vec<PlaceDifference> {
        let mut found: Vec<PlaceDifference> = Vec::new();
        for (key, Chosen { name, lake_rows, warehouse_rows }) in self.chosen {
            let of_source = self.rows.range((key, i64::MIN)..=(key, i64::MAX));
            let differing: Vec<i64> =
                of_source.filter(|(_, (lake, there))| lake != there).map(|((_, position), _)| *position).collect();
            if let (Some(first), Some(last)) = (differing.first(), differing.last()) {
                let (source, rows) = (name.unwrap_or_default(), differing.len() as u64);
                found.push(PlaceDifference { source, lake_rows, warehouse_rows, rows, first: *first, last: *last });
            }
        }
        found.sort_by(|one, other| one.source.cmp(&other.source));
        found
    }
}

impl Pass for Places {
    fn lake(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let hash = hash_of_row(row)?;
        if let Some((lake, _)) = self.side(row)? {
            lake.add(hash.into());
        }
        Ok(())
    }

    fn there(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let hash = hash_of_row(row)?;
        if let Some((_, there)) = self.side(row)? {
            there.add(hash.into());
        }
        Ok(())
    }
}

fn hash_of_row(row: &Row<'_>) -> rusqlite::Result<u64> {
    let mut whole = DefaultHasher::new();
    for index in 0..row.as_ref().column_count() {
        hash(row.get_ref(index)?).hash(&mut whole);
    }
    Ok(whole.finish())
}

/// `None` for null.
fn hash(value: ValueRef<'_>) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    match value {
        ValueRef::Null => return None,
        ValueRef::Integer(value) => hasher.write_i64(value),
        // SQLite stores no negative zero.
        ValueRef::Real(0.0) => hasher.write_u64(0),
        ValueRef::Real(value) => hasher.write_u64(value.to_bits()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => hasher.write(bytes),
    }
    Some(hasher.finish())
}
