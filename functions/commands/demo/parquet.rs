//! The customers that come as a Parquet file.

use std::path::Path;

use anyhow::{Context, Result};
use polars::prelude::{Column, DataFrame, Int128Chunked, IntoColumn, NewChunkedArray, ParquetWriter};

use super::data::CustomerRow;

pub(crate) fn write(rows: &[CustomerRow], path: &Path) -> Result<()> {
    let text = |name: &str, of: fn(&CustomerRow) -> Option<&str>| {
        Column::new(name.into(), rows.iter().map(of).collect::<Vec<_>>())
    };
    let cents: Vec<_> = rows.iter().map(|row| row.account_balance.map(i128::from)).collect();
    let cents = Int128Chunked::from_iter_options("account_balance".into(), cents.into_iter());
    let columns = vec![
        Column::new("customer_key".into(), rows.iter().map(|row| row.customer_key).collect::<Vec<_>>()),
        text("name", |row| row.name.as_deref()),
        text("email", |row| row.email.as_deref()),
        text("phone", |row| row.phone.as_deref()),
        text("address", |row| row.address.as_deref()),
        Column::new("nation_key".into(), rows.iter().map(|row| row.nation_key).collect::<Vec<_>>()),
        cents.into_decimal_unchecked(12, 2).into_column(),
        text("market_segment", |row| row.market_segment.as_deref()),
        text("comment", |row| row.comment.as_deref()),
        text("loyalty_tier", |row| row.loyalty_tier.as_deref()),
    ];
    let mut frame = DataFrame::new(rows.len(), columns).context("customers as a frame")?;
    let file = std::fs::File::create(path).with_context(|| format!("create {}", path.display()))?;
    ParquetWriter::new(file).finish(&mut frame).context("customers as Parquet")?;
    Ok(())
}
