//! What two tables held at one moment.

use std::collections::HashMap;
use std::sync::Arc;

use polars::prelude::DataFrame;
use weir_lake::{FileEntry, Table};

use super::findings::Side;
use crate::app::{Dataset, Runtime};
use crate::error::AppError;
use crate::pipeline::in_force;

/// One table, its files and its transaction ids.
#[derive(Debug)]
pub(super) struct HeldTable {
    pub(super) table: Arc<Table>,
    pub(super) files: Vec<FileEntry>,
    pub(super) transactions: HashMap<String, i64>,
}

/// Both tables of a dataset. A dataset that nothing was refused of has no quarantine.
#[derive(Debug)]
pub(super) struct Held {
    table: HeldTable,
    quarantine: Option<HeldTable>,
}

impl HeldTable {
    async fn of(table: Arc<Table>, dataset: &Dataset) -> Result<Self, AppError> {
        table.refresh().await?;
        // With another key every pseudonym would differ, and nothing could put that right.
        in_force::check_key(&table, dataset)?;
        let snapshot = table.snapshot().await?;
        Ok(Self { table, files: snapshot.files, transactions: snapshot.transactions })
    }
}

impl Held {
    /// `None` when there is no table yet. The table first: what it names is in quarantine already.
    pub(super) async fn now(runtime: &Runtime, dataset: &Dataset) -> Result<Option<Self>, AppError> {
        let Some(table) = runtime.table_now(&dataset.table).await? else { return Ok(None) };
        let table = HeldTable::of(table, dataset).await?;
        let quarantine = match runtime.table_now(&dataset.quarantine).await? {
            Some(quarantine) => Some(HeldTable::of(quarantine, dataset).await?),
            None => None,
        };
        Ok(Some(Self { table, quarantine }))
    }

    pub(super) fn side(&self, side: Side) -> Option<&HeldTable> {
        match side {
            Side::Table => Some(&self.table),
            Side::Quarantine => self.quarantine.as_ref(),
        }
    }

    pub(super) fn both(&self) -> impl Iterator<Item = &HeldTable> {
        std::iter::once(&self.table).chain(&self.quarantine)
    }

    /// How far an id is in each table.
    pub(super) fn stands(&self, id: &str) -> (Option<i64>, Option<i64>) {
        let quarantine = self.quarantine.as_ref().and_then(|quarantine| quarantine.transactions.get(id));
        (self.table.transactions.get(id).copied(), quarantine.copied())
    }

    /// A frame as the table would store it.
    pub(super) fn as_stored(&self, side: Side, frame: DataFrame) -> Result<DataFrame, AppError> {
        match self.side(side) {
            Some(held) => Ok(held.table.as_stored(frame)?),
            None => Ok(frame),
        }
    }
}
