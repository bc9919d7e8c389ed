//! Lake and pool compared value by value: each value's hash together with its row's, summed up for each column. A
//! changed character shows, and so do two values that have changed places.
//!
//! Both sides hash the same bytes: `SHA2_256` of the row's and of the value's ([`bytes`] in SQL, [`Cell`] here), of which
//! the first eight bytes are a number. What is compared is what a load would have stored: cut where the contract says so.

use polars::prelude::*;
use sha2::{Digest, Sha256};
use weir_contract::{DataType as Type, SOURCE, SOURCE_POSITION, TableColumn};

use super::ledger::Ledger;
use super::text::{Target, name};
use super::types::MAX_BINARY;
use super::{Flavor, Pool, State, exists};
use crate::sqlite::text::decimal;
use crate::verify::Summary;
use crate::{ColumnDifference, DataFile, Error, FileReader, Physical, TableLoad, Verified, schema};

const DOING: &str = "summing the table up";

pub(super) async fn verify(
    pool: &Pool,
    table: &TableLoad,
    schema: &str,
    files: &[DataFile],
    reader: &dyn FileReader,
) -> Result<Verified, Error> {
    let columns = schema::columns(schema)?;
    let target = Target::parse(&table.table)?;
    let ledger = Ledger::of(&table.source_table)?;
    let mut session = pool.session(&ledger).await?;
    let _: Option<State> = pool.state(session.as_mut(), &ledger).await?;
    let mut verified = Verified::default();
    let mut lake = vec![Summary::default(); columns.len()];
    for file in files {
        let frame = reader.read(file).await.map_err(|error| error.at(&file.path))?;
        verified.lake_rows += frame.height() as u64;
        let side = Side { flavor: pool.flavor, physical: &table.physical, frame: &frame };
        side.add(&columns, &mut lake).map_err(|(column, detail)| {
            let path = file.path.clone();
            Error::Column { path, column, detail }
        })?;
    }
    let mut there = vec![Summary::default(); columns.len()];
    if exists(session.as_mut(), &target).await? {
        let row = session.rows(DOING, &summaries(&target, &columns)?).await?.into_iter().next().unwrap_or_default();
        let number = |index: usize| -> Result<i128, Error> {
            let text = row.get(index).cloned().flatten();
            text.map_or(Ok(0), |text| text.trim().parse().map_err(|_| Error::Answer { doing: DOING }))
        };
        verified.warehouse_rows = u64::try_from(number(0)?).unwrap_or_default();
        for (index, summary) in there.iter_mut().enumerate() {
            summary.values = u64::try_from(number(2 * index + 1)?).unwrap_or_default();
            summary.sum = number(2 * index + 2)?;
        }
    }
    let pairs = columns.iter().zip(lake.into_iter().zip(there)).filter(|(_, (lake, there))| lake != there);
    verified.differing = pairs
        .map(|(column, (lake, there))| ColumnDifference {
            column: column.name.clone(),
            lake_values: lake.values,
            warehouse_values: there.values,
        })
        .collect();
    Ok(verified)
}

/// Rows, then for each column how many values and their sum; sums as text, because they outgrow every integer.
pub(crate) fn summaries(target: &Target, columns: &[TableColumn]) -> Result<String, Error> {
    let mut parts = vec!["COUNT_BIG(*)".to_owned()];
    for column in columns {
        let own = name("column", &column.name)?;
        parts.push(format!("COUNT_BIG({own})"));
        let hash = format!("HASHBYTES('SHA2_256', [weir row] + {})", bytes(&own, column.data_type));
        let number = format!("CAST(CAST(SUBSTRING({hash}, 1, 8) AS bigint) AS decimal(38,0))");
        parts.push(format!("CONVERT(varchar(40), SUM({number}))"));
    }
    Ok(format!(
        "SELECT {} FROM (SELECT *, HASHBYTES('SHA2_256', [{SOURCE}]) + CAST([{SOURCE_POSITION}] AS binary(8)) AS [weir row] \
         FROM {}) AS [weir_rows]",
        parts.join(", "),
        target.sql()?
    ))
}

/// A value as bytes that say all of it; [`Cell`] makes the same.
fn bytes(own: &str, data_type: Type) -> String {
    let whole = |number: String| format!("CAST(CAST({number} AS bigint) AS binary(8))");
    match data_type {
        Type::Boolean | Type::Byte | Type::Short | Type::Integer | Type::Long => whole(own.to_owned()),
        Type::Date => whole(format!("DATEDIFF(day, '19700101', {own})")),
        Type::Timestamp => whole(format!("DATEDIFF_BIG(microsecond, '19700101', {own})")),
        Type::String | Type::Binary => format!("HASHBYTES('SHA2_256', {own})"),
        // Digits with all of the scale.
        Type::Decimal { .. } => format!("CAST(CONVERT(varchar(41), {own}) AS varbinary(41))"),
        // The sum makes one zero of the two.
        Type::Float | Type::Double => format!("CAST(CAST({own} AS float) + 0E0 AS binary(8))"),
    }
}

/// A file of the lake as a load of this pool would store it.
struct Side<'a> {
    flavor: Flavor,
    physical: &'a Physical,
    frame: &'a DataFrame,
}

type Refused = (String, String);

impl Side<'_> {
    fn add(&self, columns: &[TableColumn], summaries: &mut [Summary]) -> Result<(), Refused> {
        let rows = self.rows().map_err(|error| (SOURCE.to_owned(), error.to_string()))?;
        for (column, summary) in columns.iter().zip(summaries) {
            let Ok(values) = self.frame.column(&column.name) else { continue };
            self.column(&rows, column, values.as_materialized_series(), summary)
                .map_err(|error| (column.name.clone(), error.to_string()))?;
        }
        Ok(())
    }

    /// What tells each row apart, hashed.
    fn rows(&self) -> PolarsResult<Vec<Sha256>> {
        let sources = self.frame.column(SOURCE)?.str()?;
        let positions = self.frame.column(SOURCE_POSITION)?.cast(&DataType::Int64)?;
        let pairs = sources.iter().zip(positions.i64()?.iter());
        Ok(pairs
            .map(|(source, position)| {
                let source = self.text(source.unwrap_or_default());
                Sha256::new()
                    .chain_update(Sha256::digest(source))
                    .chain_update(position.unwrap_or_default().to_be_bytes())
            })
            .collect())
    }

    fn column(
        &self,
        rows: &[Sha256],
        column: &TableColumn,
        values: &Series,
        summary: &mut Summary,
    ) -> PolarsResult<()> {
        let mut add = |row: usize, cell: Option<Cell>| {
            if let Some(cell) = cell {
                summary.add(cell.number(rows[row].clone()));
            }
        };
        match column.data_type {
            Type::Boolean => {
                let values = values.bool()?;
                values
                    .iter()
                    .enumerate()
                    .for_each(|(row, value)| add(row, value.map(|value| Cell::Whole(value.into()))));
            }
            Type::Byte | Type::Short | Type::Integer | Type::Long => {
                let wide = values.cast(&DataType::Int64)?;
                wide.i64()?.iter().enumerate().for_each(|(row, value)| add(row, value.map(Cell::Whole)));
            }
            Type::Date => {
                let days = values.date()?.physical();
                days.iter().enumerate().for_each(|(row, value)| add(row, value.map(|days| Cell::Whole(days.into()))));
            }
            Type::Timestamp => {
                let micros = values.datetime()?.physical();
                micros.iter().enumerate().for_each(|(row, value)| add(row, value.map(Cell::Whole)));
            }
            Type::Float | Type::Double => {
                let wide = values.cast(&DataType::Float64)?;
                wide.f64()?.iter().enumerate().for_each(|(row, value)| add(row, value.map(Cell::Real)));
            }
            Type::Decimal { scale, .. } => {
                let digits = values.decimal()?.physical();
                for (row, value) in digits.iter().enumerate() {
                    add(row, value.map(|unscaled| Cell::Digits(unscaled, scale)));
                }
            }
            Type::String => {
                for (row, value) in values.str()?.iter().enumerate() {
                    let cut = value.map(|text| self.flavor.cut_text(text, column, self.physical));
                    add(row, cut.map(|text| Cell::Long(Sha256::digest(self.text(text)).into())));
                }
            }
            Type::Binary => {
                for (row, value) in values.binary()?.iter().enumerate() {
                    let cut = value.map(|bytes| &bytes[..bytes.len().min(MAX_BINARY as usize)]);
                    add(row, cut.map(|bytes| Cell::Long(Sha256::digest(bytes).into())));
                }
            }
        }
        Ok(())
    }

    /// A text as the pool has it in memory.
    fn text(&self, text: &str) -> Vec<u8> {
        match self.flavor {
            Flavor::Dedicated => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Flavor::Fabric => text.as_bytes().to_vec(),
        }
    }
}

/// A value, as [`bytes`] makes bytes of it.
enum Cell {
    Whole(i64),
    Real(f64),
    Digits(i128, u8),
    Long([u8; 32]),
}

impl Cell {
    /// The first eight bytes of the hash of row and value.
    fn number(&self, row: Sha256) -> i128 {
        let hash: [u8; 32] = match self {
            Cell::Whole(value) => row.chain_update(value.to_be_bytes()),
            Cell::Real(value) => row.chain_update((value + 0.0).to_be_bytes()),
            Cell::Digits(unscaled, scale) => {
                let mut digits = String::new();
                decimal(&mut digits, *unscaled, usize::from(*scale));
                row.chain_update(digits)
            }
            Cell::Long(hash) => row.chain_update(hash),
        }
        .finalize()
        .into();
        let first = hash.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        i128::from(first.cast_signed())
    }
}
