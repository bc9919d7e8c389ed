//! Columns that are the day of another one, in UTC.

use polars::prelude::{ChunkedBuilder, Column, Int32Type, IntoSeries, PrimitiveChunkedBuilder};

use crate::error::Result;
use crate::events::merge;
use crate::faults::{Fault, Reason, Reasons};
use crate::output::chunked;
use crate::plan::Plan;

const DAY_MICROS: i64 = 86_400_000_000;

/// Adds them behind the columns that are not made of others.
pub(crate) fn add(plan: &Plan, columns: &mut Vec<Column>, faults: &mut Vec<Fault>) -> Result<()> {
    let first = plan.given().len();
    for (index, source) in plan.days.iter().enumerate() {
        let target = &plan.targets[first + index];
        let Some(instants) = columns.get(*source).map(|column| column.as_materialized_series().clone()) else {
            continue;
        };
        let lengths: Vec<usize> = instants.chunk_lengths().collect();
        let micros = instants.datetime()?.physical();
        let mut values = micros.iter();
        let days = chunked(&lengths, |length| {
            let name = target.name.as_str().into();
            let mut builder = PrimitiveChunkedBuilder::<Int32Type>::new(name, length);
            for value in values.by_ref().take(length) {
                // Instants lie in the years 1 to 9999.
                builder.append_option(value.and_then(|micros| i32::try_from(micros.div_euclid(DAY_MICROS)).ok()));
            }
            builder.finish().into_date().into_series()
        })?;
        if !target.nullable && days.null_count() > 0 {
            let mut faulty = faults.iter().map(|fault| fault.row).peekable();
            let nulls = micros.iter().enumerate().filter(|(_, micros)| micros.is_none()).map(|(row, _)| row);
            let found = nulls.filter(|row| {
                while faulty.next_if(|faulty| faulty < row).is_some() {}
                faulty.peek() != Some(row) // its instant is a fault, and has its reason
            });
            let reasons: Reasons = [Reason::Null(first + index)].into();
            let found = found.map(|row| Fault { row, reasons: Reasons::clone(&reasons) }).collect();
            merge(faults, found);
        }
        columns.push(days);
    }
    Ok(())
}
