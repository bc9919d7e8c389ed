//! Lake and pool compared by sums that both can make exactly: of numbers, of days and microseconds, of lengths.

use polars::prelude::*;
use weir_contract::{DataType as Type, TableColumn};

use super::text::{Target, name};
use super::{Flavor, Pool, State, exists};
use crate::verify::Summary;
use crate::{ColumnDifference, DataFile, Error, FileReader, TableLoad, Verified, schema};

pub(super) async fn verify(
    pool: &Pool,
    table: &TableLoad,
    schema: &str,
    files: &[DataFile],
    reader: &dyn FileReader,
) -> Result<Verified, Error> {
    let columns = schema::columns(schema)?;
    let target = Target::parse(&table.table)?;
    let mut session = pool.session().await?;
    let _: Option<State> = pool.state(session.as_mut(), table).await?;
    let mut verified = Verified::default();
    let mut lake = vec![Summary::default(); columns.len()];
    for file in files {
        let frame = reader.read(file).await.map_err(|error| error.at(&file.path))?;
        verified.lake_rows += frame.height() as u64;
        for (column, summary) in columns.iter().zip(&mut lake) {
            add(&frame, column, pool.flavor, summary).map_err(|detail| Error::Column {
                path: file.path.clone(),
                column: column.name.clone(),
                detail,
            })?;
        }
    }
    let mut there = vec![Summary::default(); columns.len()];
    if exists(session.as_mut(), &target).await? {
        let row = session.rows("summing the table up", &summaries(&target, &columns)?).await?;
        let row = row.into_iter().next().unwrap_or_default();
        let number = |index: usize| -> Result<i128, Error> {
            let text = row.get(index).cloned().flatten();
            text.map_or(Ok(0), |text| text.trim().parse().map_err(|_| Error::Answer { doing: "summing the table up" }))
        };
        verified.warehouse_rows = u64::try_from(number(0)?).unwrap_or_default();
        for (index, summary) in there.iter_mut().enumerate() {
            summary.values = u64::try_from(number(2 * index + 1)?).unwrap_or_default();
            summary.sum = number(2 * index + 2)?;
        }
    }
    for ((column, lake), there) in columns.iter().zip(lake).zip(there) {
        let summed = sum(column).is_some();
        if !summed {
            verified.counted_only.push(column.name.clone());
        }
        if lake.values != there.values || (summed && lake.sum != there.sum) {
            verified.differing.push(ColumnDifference {
                column: column.name.clone(),
                lake_values: lake.values,
                warehouse_values: there.values,
            });
        }
    }
    Ok(verified)
}

/// Rows, then for each column how many values and their sum; sums as text, because they outgrow every integer.
pub(crate) fn summaries(target: &Target, columns: &[TableColumn]) -> Result<String, Error> {
    let mut parts = vec!["COUNT_BIG(*)".to_owned()];
    for column in columns {
        let own = name("column", &column.name)?;
        parts.push(format!("COUNT_BIG({own})"));
        parts.push(match sum(column) {
            Some(sum) => format!("CONVERT(nvarchar(40), SUM(CAST({} AS decimal(38,0))))", sum.replace("{}", &own)),
            None => "N'0'".to_owned(),
        });
    }
    Ok(format!("SELECT {} FROM {}", parts.join(", "), target.sql()?))
}

/// A whole number for each value; `None` where floating point would make the sum depend on the order, or scale its size.
fn sum(column: &TableColumn) -> Option<String> {
    Some(match column.data_type {
        Type::Boolean => "CAST({} AS int)".to_owned(),
        Type::Byte | Type::Short | Type::Integer | Type::Long => "{}".to_owned(),
        Type::String | Type::Binary => "DATALENGTH({})".to_owned(),
        Type::Date => "DATEDIFF(day, '19700101', {})".to_owned(),
        Type::Timestamp => "DATEDIFF_BIG(microsecond, '19700101', {})".to_owned(),
        // The product has the digits of both and one more.
        Type::Decimal { precision, scale } if precision + scale + 2 <= 38 => {
            format!("{{}} * CAST(1{} AS decimal({},0))", "0".repeat(usize::from(scale)), scale + 1)
        }
        Type::Decimal { .. } | Type::Float | Type::Double => return None,
    })
}

/// The same of a file.
fn add(frame: &DataFrame, column: &TableColumn, flavor: Flavor, summary: &mut Summary) -> Result<(), String> {
    let Ok(values) = frame.column(&column.name) else { return Ok(()) };
    let series = values.as_materialized_series();
    let odd = |error: PolarsError| error.to_string();
    let length = |text: &str| match flavor {
        Flavor::Dedicated => 2 * text.encode_utf16().count(),
        Flavor::Fabric => text.len(),
    };
    let mut take = |value: Option<i128>| {
        if let Some(value) = value {
            summary.add(value);
        }
    };
    match column.data_type {
        Type::Boolean => series.bool().map_err(odd)?.iter().for_each(|value| take(value.map(i128::from))),
        Type::Byte | Type::Short | Type::Integer | Type::Long => {
            let wide = series.cast(&DataType::Int64).map_err(odd)?;
            wide.i64().map_err(odd)?.iter().for_each(|value| take(value.map(i128::from)));
        }
        Type::String => {
            series.str().map_err(odd)?.iter().for_each(|value| take(value.map(|text| length(text) as i128)))
        }
        Type::Binary => {
            series.binary().map_err(odd)?.iter().for_each(|value| take(value.map(|bytes| bytes.len() as i128)));
        }
        Type::Date => series.date().map_err(odd)?.physical().iter().for_each(|value| take(value.map(i128::from))),
        Type::Timestamp => {
            series.datetime().map_err(odd)?.physical().iter().for_each(|value| take(value.map(i128::from)));
        }
        Type::Decimal { .. } if sum(column).is_some() => {
            series.decimal().map_err(odd)?.physical().iter().for_each(&mut take);
        }
        Type::Decimal { .. } | Type::Float | Type::Double => {
            summary.values += (series.len() - series.null_count()) as u64;
        }
    }
    Ok(())
}
