//! Derived tables: a query, made ready once, and asked about some units of the table that it follows.
//!
//! Pure: frames in, a frame out. The query sees the columns of the contracts that it names and no others, so never what
//! unknown fields hold (`_rescued`), and never a file: [`crate::sql`] has looked at it before Polars does.

use std::collections::BTreeSet;

use polars::lazy::prelude::LazyFrame;
use polars::prelude::{
    BooleanChunked, Column, DataFrame, DataType as Dtype, Field, Int64Chunked, IntoColumn, IntoLazy, IntoSeries,
    NamedFrom, NewChunkedArray, PlSmallStr, PolarsResult, Schema, Series,
};
use polars::sql::SQLContext;
use weir_contract::{Contract, DataType, INGESTED_AT, RESCUED, SOURCE, SOURCE_POSITION, SOURCE_VERSION, Unit};

use crate::columns::dtype;
use crate::error::{Result, TransformError};
use crate::sql::{self, Names};

/// A derived table's query, checked against the contracts that it reads.
#[derive(Debug, Clone)]
pub struct Derivation {
    sql: String,
    line: usize,
    unit: Unit,
    /// Of the unit's column in the followed table and in this one.
    unit_types: (DataType, DataType),
    /// The followed one first.
    tables: Vec<Input>,
    columns: Vec<Output>,
    /// Joins of every row with every row: the place of the table that comes in, if it is one of those.
    loose_joins: Vec<Option<usize>>,
    /// How many times over rows of the tables come.
    copies: usize,
}

/// Rows of a result, and of what is joined without a condition on the way to it.
const MAX_ROWS: u32 = 1 << 24;

/// A table that the query reads.
#[derive(Debug, Clone)]
struct Input {
    name: String,
    /// Those that the query needs.
    columns: Vec<(String, DataType)>,
}

#[derive(Debug, Clone)]
struct Output {
    name: String,
    data_type: DataType,
    nullable: bool,
}

impl Derivation {
    /// `read` are the contracts of [`weir_contract::Derived::reads`], in its order. `None` for a contract that is not
    /// derived.
    ///
    /// # Errors
    /// A query that Polars does not understand, that reads something else, or whose result is not what the contract says.
    pub fn new(contract: &Contract, read: &[&Contract]) -> Result<Option<Self>> {
        let (Some(derived), Some(followed)) = (contract.derived(), read.first()) else { return Ok(None) };
        let fail = |problem: String| TransformError::Query { line: derived.line, problem };
        let unit = derived.unit.clone();
        let type_of = |columns: Vec<(String, DataType)>, name: &str| {
            let found = columns.into_iter().find(|(known, _)| known == name);
            found.map(|(_, data_type)| data_type).ok_or_else(|| fail(format!("there is no column `{name}`")))
        };
        let unit_types = (type_of(visible(followed), &unit.of)?, type_of(visible(contract), &unit.by)?);
        let outputs = contract.columns.iter().map(|column| Output {
            name: column.name.clone(),
            data_type: column.data_type,
            nullable: column.nullable,
        });
        let inputs = read.iter().map(|contract| contract.name.as_str());
        let seen: Vec<_> = read.iter().flat_map(|contract| visible(contract)).collect();
        let texts = seen.iter().filter(|(_, data_type)| matches!(data_type, DataType::String | DataType::Binary));
        let names = sql::query(&derived.sql, inputs, texts.map(|(name, _)| name.as_str())).map_err(fail)?;
        let place = |name: &String| read.iter().position(|contract| contract.name == *name);
        let mut own = Self {
            sql: derived.sql.clone(),
            line: derived.line,
            unit,
            unit_types,
            tables: read
                .iter()
                .map(|contract| Input { name: contract.name.clone(), columns: visible(contract) })
                .collect(),
            columns: outputs.collect(),
            loose_joins: names.loose_joins().iter().map(|name| name.as_ref().and_then(place)).collect(),
            copies: usize::try_from(names.copies()).unwrap_or(usize::MAX),
        };
        own.check_tables(&names)?;
        own.check_result()?;
        own.narrow(&names);
        Ok(Some(own))
    }

    /// The names of the columns that the query needs of the n-th table that it reads.
    pub fn needs(&self, table: usize) -> Vec<&str> {
        let columns = self.tables.get(table).map_or(&[][..], |table| &table.columns);
        columns.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// About how many bytes a row of the n-th table takes in memory.
    pub fn row_bytes(&self, table: usize) -> u64 {
        let columns = self.tables.get(table).map_or(&[][..], |table| &table.columns);
        columns.iter().map(|(_, data_type)| width(*data_type)).sum::<u64>().max(1)
    }

    /// Everything that the result depends on beside the tables' contents.
    pub fn definition(&self) -> String {
        let Unit { by, of, every } = &self.unit;
        let every = every.map_or("", |every| every.name());
        let columns: Vec<_> = self
            .columns
            .iter()
            .map(|Output { name, data_type, nullable }| format!("{name} {data_type} {nullable}"))
            .collect();
        let tables: Vec<_> = self.tables.iter().map(|table| table.name.as_str()).collect();
        format!("{}\n{by} {of} {every}\n{}\n{}", tables.join(" "), columns.join(","), self.sql)
    }

    /// How the rows of a unit are called, as their `_source`.
    pub fn source(&self, unit: Option<i64>) -> String {
        self.unit.source(unit, self.unit_types.1)
    }

    /// The unit of a value of the unit's column.
    pub fn unit(&self, value: i64) -> i64 {
        self.unit.start(value, self.unit_types.0, self.unit_types.1)
    }

    /// The unit of each row of the followed table.
    pub fn units(&self, followed: &DataFrame) -> Result<Vec<Option<i64>>> {
        // A table that was made before the column has no values of it.
        let Ok(values) = followed.column(&self.unit.of) else { return Ok(vec![None; followed.height()]) };
        let values = values.cast(&Dtype::Int64)?;
        Ok(values.i64()?.iter().map(|value| value.map(|value| self.unit(value))).collect())
    }

    /// The rows of some units of the followed table, as the table has them.
    pub fn only(&self, followed: &DataFrame, wanted: impl Fn(Option<i64>) -> bool) -> Result<DataFrame> {
        let rows: BooleanChunked = self.units(followed)?.into_iter().map(|unit| Some(wanted(unit))).collect();
        Ok(followed.filter(&rows)?)
    }

    /// Asks the query, and makes its answer rows of the derived table: those of each unit numbered, with their lineage.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Contract`] when the result is not what the contract says.
    pub fn run(&self, tables: Vec<DataFrame>, version: &str, now_us: i64) -> Result<DataFrame> {
        let asked: Vec<Option<i64>> = match tables.first() {
            Some(followed) => self.units(followed)?,
            None => Vec::new(),
        };
        let known: BTreeSet<Option<i64>> = asked.into_iter().collect();
        let result = self.answer(tables.clone())?;
        let units = self.units_of(&result)?;
        if units.iter().any(|unit| !known.contains(unit)) {
            let by = &self.unit.by;
            return Err(self.refuse(format!("gives rows whose `{by}` is none of the units that it was asked about")));
        }
        // What comes before or after a unit shows at the ends.
        let ends: BTreeSet<_> = [known.first(), known.last()].into_iter().flatten().copied().collect();
        for unit in ends.into_iter().filter(|_| known.len() > 1) {
            self.check_alone(unit, &tables, &result, &units)?;
        }
        let height = result.height();
        let mut columns = result.into_columns();
        columns.extend(self.lineage(&units, version, now_us)?);
        Ok(DataFrame::new(height, columns)?)
    }

    /// The query's answer with the contract's columns and types.
    fn answer(&self, tables: Vec<DataFrame>) -> Result<DataFrame> {
        let result = self.execute(tables)?;
        let columns = self.columns.iter().map(|output| self.conform(&result, output)).collect::<Result<Vec<_>>>()?;
        Ok(DataFrame::new(result.height(), columns)?)
    }

    fn units_of(&self, answer: &DataFrame) -> Result<Vec<Option<i64>>> {
        Ok(answer.column(&self.unit.by)?.cast(&Dtype::Int64)?.i64()?.iter().collect())
    }

    /// The rows of a unit have to be the same whatever other units the query was asked about.
    fn check_alone(
        &self,
        unit: Option<i64>,
        tables: &[DataFrame],
        result: &DataFrame,
        units: &[Option<i64>],
    ) -> Result<()> {
        let mut alone = tables.to_vec();
        if let Some(followed) = alone.first_mut() {
            *followed = self.only(followed, |own| own == unit)?;
        }
        let theirs: BooleanChunked = units.iter().map(|own| Some(*own == unit)).collect();
        if self.comparable(&self.answer(alone)?)? == self.comparable(&result.filter(&theirs)?)? {
            return Ok(());
        }
        let by = &self.unit.by;
        Err(self.refuse(format!(
            "gives other rows of a unit when it is asked about that alone: it mixes units; group by `{by}`, without LIMIT and \
             without windows over several units"
        )))
    }

    /// Rows as texts, in an order of their own. Floating point numbers are left out: their sums depend on the order.
    fn comparable(&self, rows: &DataFrame) -> Result<Vec<String>> {
        let mut texts = vec![String::new(); rows.height()];
        for column in rows.columns().iter().filter(|column| !column.dtype().is_float()) {
            for (row, text) in texts.iter_mut().enumerate() {
                text.push_str(&format!("{:?}\u{0}", column.get(row)?));
            }
        }
        texts.sort();
        Ok(texts)
    }

    fn lineage(&self, units: &[Option<i64>], version: &str, now_us: i64) -> Result<Vec<Column>> {
        let mut counts: std::collections::HashMap<Option<i64>, (String, i64)> = std::collections::HashMap::new();
        let (mut sources, mut positions) = (Vec::with_capacity(units.len()), Vec::with_capacity(units.len()));
        for unit in units {
            let (source, count) = counts.entry(*unit).or_insert_with(|| (self.source(*unit), 0));
            *count += 1;
            sources.push(source.clone());
            positions.push(*count);
        }
        let name = |name: &str| PlSmallStr::from_str(name);
        let ingested = Int64Chunked::from_vec(name(INGESTED_AT), vec![now_us; units.len()]).into_series();
        Ok(vec![
            Series::new(name(SOURCE), sources).into_column(),
            Series::new(name(SOURCE_VERSION), vec![version; units.len()]).into_column(),
            Int64Chunked::from_vec(name(SOURCE_POSITION), positions).into_column(),
            ingested.cast(&dtype(DataType::Timestamp))?.into_column(),
        ])
    }

    /// The query's answer as it is. Tables that were made before a column lack it: there it is null.
    fn execute(&self, tables: Vec<DataFrame>) -> Result<DataFrame> {
        self.check_rows(&tables)?;
        let mut frames = Vec::with_capacity(tables.len());
        for (index, (frame, input)) in tables.into_iter().zip(&self.tables).enumerate() {
            let mut columns = Vec::with_capacity(input.columns.len() + 1);
            for (name, data_type) in &input.columns {
                columns.push(match frame.column(name) {
                    Ok(column) => column.cast(&dtype(*data_type))?,
                    Err(_) => Column::full_null(PlSmallStr::from_str(name), frame.height(), &dtype(*data_type)),
                });
            }
            if index == 0 && self.makes_units() {
                let units = Int64Chunked::from_iter_options(
                    PlSmallStr::from_str(&self.unit.by),
                    self.units(&frame)?.into_iter(),
                );
                columns.push(self.as_unit(units.into_series())?.into_column());
            }
            frames.push((input.name.as_str(), DataFrame::new(frame.height(), columns)?));
        }
        let result = query(&self.sql, frames);
        let result = result.map_err(|source| TransformError::QueryData { line: self.line, source })?;
        if result.height() > MAX_ROWS as usize {
            return Err(self.refuse(format!("gives more than {MAX_ROWS} rows at a time: make smaller units")));
        }
        Ok(result)
    }

    /// What every row with every row would give at most.
    fn check_rows(&self, tables: &[DataFrame]) -> Result<()> {
        let largest = tables.iter().map(DataFrame::height).max().unwrap_or_default();
        let height =
            |place: &Option<usize>| place.and_then(|place| tables.get(place)).map_or(largest, DataFrame::height);
        let most = largest.saturating_mul(self.copies);
        let rows = self.loose_joins.iter().fold(most, |rows, place| rows.saturating_mul(height(place).max(1)));
        if self.loose_joins.is_empty() || rows <= MAX_ROWS as usize {
            return Ok(());
        }
        Err(self.refuse(format!(
            "joins every row with every row, which may give {rows} rows and more than the {MAX_ROWS} that are allowed: \
             JOIN … ON columns that are equal, or make smaller units"
        )))
    }

    /// A unit as a value of its column: days are counted in 32 bits.
    fn as_unit(&self, units: Series) -> PolarsResult<Series> {
        match self.unit_types.1 {
            DataType::Date => units.cast(&Dtype::Int32)?.cast(&Dtype::Date),
            data_type => units.cast(&dtype(data_type)),
        }
    }

    /// Whether the query finds the unit as a column that the followed table has not.
    fn makes_units(&self) -> bool {
        self.unit.by != self.unit.of
    }

    fn conform(&self, result: &DataFrame, output: &Output) -> Result<Column> {
        let Output { name, data_type, nullable } = output;
        let found = result.column(name)?;
        // Polars' own words would hold the value.
        let unfit = || self.refuse(format!("gives a value for `{name}` that does not fit {data_type}"));
        let column = if found.dtype() == &dtype(*data_type) {
            found.clone()
        } else {
            found.strict_cast(&dtype(*data_type)).map_err(|_| unfit())?
        };
        if column.null_count() != found.null_count() {
            return Err(unfit());
        }
        if !nullable && column.null_count() > 0 {
            return Err(self.refuse(format!("gives no value for `{name}`, which is not nullable")));
        }
        Ok(column)
    }

    fn refuse(&self, problem: String) -> TransformError {
        TransformError::Query { line: self.line, problem }
    }

    /// The query has to read what the contract says, and nothing that is there for no reason.
    fn check_tables(&self, names: &Names) -> Result<()> {
        match self.tables.iter().find(|table| !names.reads(&table.name)) {
            Some(Input { name, .. }) => {
                Err(self.refuse(format!("does not read `{name}`, which `follows` or `lookups` names")))
            }
            None => Ok(()),
        }
    }

    /// Asks about nothing, and looks at the columns of the answer.
    fn check_result(&self) -> Result<()> {
        let schema = self.schema().map_err(|error| {
            let tables: Vec<_> = self.tables.iter().map(|table| format!("`{}`", table.name)).collect();
            let advice = format!("it may read {} by the columns of their contracts", tables.join(", "));
            self.refuse(format!("cannot run: {}; {advice}", first_line(&error)))
        })?;
        for Output { name, data_type, .. } in &self.columns {
            let Some(found) = schema.get(name) else {
                let names: Vec<_> = schema.iter_names().map(|name| format!("`{name}`")).collect();
                return Err(self.refuse(format!("gives no column `{name}`; it gives {}", names.join(", "))));
            };
            if !becomes(found, *data_type) {
                return Err(self.refuse(format!(
                    "gives {found} for `{name}`, which is {data_type} in the contract; CAST it, or declare what it is"
                )));
            }
        }
        let unknown = schema.iter_names().find(|name| self.columns.iter().all(|own| own.name != name.as_str()));
        match unknown {
            Some(name) => Err(self.refuse(format!("gives a column `{name}` that the contract does not have"))),
            None => Ok(()),
        }
    }

    fn schema(&self) -> PolarsResult<Schema> {
        let frames = self.tables.iter().enumerate().map(|(index, table)| {
            let unit = (index == 0 && self.makes_units()).then(|| (self.unit.by.clone(), self.unit_types.1));
            let columns = table.columns.iter().cloned().chain(unit);
            let fields: Schema =
                columns.map(|(name, data_type)| Field::new(PlSmallStr::from_string(name), dtype(data_type))).collect();
            (table.name.as_str(), DataFrame::empty_with_schema(&fields))
        });
        let empty = query(&self.sql, frames.collect())?;
        Ok(empty.schema().as_ref().clone())
    }

    /// Leaves out the columns that the query does not name, if it gives the same without them.
    fn narrow(&mut self, names: &Names) {
        if names.takes_all_columns() {
            return;
        }
        let mut narrow = self.clone();
        let of = self.unit.of.clone();
        for (index, table) in narrow.tables.iter_mut().enumerate() {
            table.columns.retain(|(name, _)| names.has(name) || index == 0 && *name == of);
        }
        if let (Ok(all), Ok(some)) = (self.schema(), narrow.schema())
            && all == some
        {
            *self = narrow;
        }
    }
}

/// What a query may see of a dataset's table.
fn visible(contract: &Contract) -> Vec<(String, DataType)> {
    let columns = contract.table_columns().into_iter().filter(|column| column.name != RESCUED);
    columns.map(|column| (column.name, column.data_type)).collect()
}

fn query(sql: &str, frames: Vec<(&str, DataFrame)>) -> PolarsResult<DataFrame> {
    let mut context = SQLContext::new();
    for (name, frame) in frames {
        context.register(name, frame.lazy());
    }
    let plan: LazyFrame = context.execute(sql)?;
    plan.limit(MAX_ROWS + 1).collect()
}

/// Whether values of a result's type can be those of a column, if they fit.
fn becomes(found: &Dtype, data_type: DataType) -> bool {
    use DataType::{Byte, Decimal, Integer, Long, Short};
    let is = |other: DataType| *found == dtype(other);
    match data_type {
        _ if is(data_type) || matches!(found, Dtype::Null) => true,
        Long | Integer | Short | Byte => found.is_integer(),
        Decimal { scale, .. } => match found {
            Dtype::Decimal(_, own) => *own <= usize::from(scale),
            other => other.is_integer(),
        },
        DataType::Double => is(DataType::Float),
        DataType::Timestamp => matches!(found, Dtype::Datetime(..)),
        _ => false,
    }
}

/// Bytes in memory of a value, about.
fn width(data_type: DataType) -> u64 {
    match data_type {
        DataType::Boolean | DataType::Byte => 1,
        DataType::Short => 2,
        DataType::Integer | DataType::Float | DataType::Date => 4,
        DataType::Long | DataType::Double | DataType::Timestamp => 8,
        DataType::Decimal { .. } => 16,
        DataType::String | DataType::Binary => 48,
    }
}

fn first_line(error: &polars::prelude::PolarsError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
