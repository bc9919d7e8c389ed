//! Texts that a partition column cannot hold: the Delta protocol takes an empty one for null.

use polars::prelude::{Column, IntoSeries, StringChunkedBuilder};

use crate::error::Result;
use crate::events::merge;
use crate::faults::{Fault, Reason, Reasons};
use crate::output::chunked;
use crate::plan::Plan;

/// Empty texts in partition columns become null here already, so that rules see what the table will hold. Where the column
/// must not be null they are faults: such a row would make the table unreadable for everybody.
pub(crate) fn without_empty_texts(plan: &Plan, columns: &mut [Column], faults: &mut Vec<Fault>) -> Result<()> {
    for index in &plan.partition_texts {
        let Some(column) = columns.get_mut(*index) else { continue };
        let series = column.as_materialized_series().clone();
        let texts = series.str()?;
        if !texts.iter().flatten().any(str::is_empty) {
            continue;
        }
        if !plan.targets[*index].nullable {
            let rows = texts.iter().enumerate().filter(|(_, text)| *text == Some(""));
            let reasons: Reasons = [Reason::EmptyPartition(*index)].into();
            let found = rows.map(|(row, _)| Fault { row, reasons: Reasons::clone(&reasons) });
            merge(faults, found.collect());
            continue;
        }
        let lengths: Vec<usize> = series.chunk_lengths().collect();
        let mut values = texts.iter();
        *column = chunked(&lengths, |length| {
            let mut builder = StringChunkedBuilder::new(texts.name().clone(), length);
            for value in values.by_ref().take(length) {
                builder.append_option(value.filter(|text| !text.is_empty()));
            }
            builder.finish().into_series()
        })?;
    }
    Ok(())
}
