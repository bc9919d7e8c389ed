//! The demo's books, kept from outside: what the generator expects, what the deliveries answered, what the tables hold.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use functions_host::Host;
use polars::prelude::DataFrame;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use weir_contract::{SOURCE, SOURCE_POSITION, SOURCE_VERSION};
use weir_lake::Table;

use super::drive::Fed;
use crate::app::App;
use crate::pipeline::books::{self, DatasetBooks};

/// One dataset of the demo.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) records_in: u64,
    pub(crate) committed: u64,
    pub(crate) quarantined: u64,
    pub(crate) already_committed: u64,
    /// Rows of the table at the end.
    pub(crate) table_rows: u64,
    /// Distinct `(_source, _source_version, _source_position)` among them.
    pub(crate) distinct_positions: u64,
    pub(crate) files_before_compaction: usize,
    pub(crate) files_after_compaction: usize,
    pub(crate) warehouse_rows: u64,
    #[serde(skip)]
    pub(crate) balanced: bool,
    /// What does not add up, in words.
    #[serde(skip)]
    pub(crate) faults: Vec<String>,
}

/// Listens to what each delivery answered.
pub(crate) struct Ledger {
    /// Records of deliveries that had been committed before, by dataset. Such a delivery makes no commit, so the
    /// tables' logs do not know it.
    repeated: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Ledger {
    pub(crate) fn listen(host: &Host) -> Self {
        let repeated = Arc::new(Mutex::new(BTreeMap::new()));
        let (heard, mut reports) = (Arc::clone(&repeated), host.subscribe());
        tokio::spawn(async move {
            loop {
                match reports.recv().await {
                    Ok(report) => note(&heard, report.return_value.as_ref()),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
        Self { repeated }
    }

    /// The books when everything that was fed is in.
    pub(crate) async fn books(&mut self, app: &App, fed: &Fed) -> Result<Vec<DatasetBooks>> {
        // The last reports may still be on their way to the listener.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let books = fed_books(app).await?;
        anyhow::ensure!(books.len() == fed.expected.len(), "not every dataset was fed");
        Ok(books)
    }

    /// The books at the end: compacted, loaded, one blob reprocessed. `before` is from before all that.
    pub(crate) async fn close(&mut self, app: &App, before: Vec<DatasetBooks>, fed: &Fed) -> Result<Vec<Line>> {
        let after = fed_books(app).await?;
        let repeated = self.repeated.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut lines = Vec::new();
        for (before, after) in before.into_iter().zip(after) {
            let (table_before, table_after) = (before.table.unwrap_or_default(), after.table.unwrap_or_default());
            let books = table_before.books;
            let again = repeated.get(&before.name).copied().unwrap_or_default();
            let (table_rows, positions) = read(app, &before.name, false).await?;
            let (quarantine_rows, quarantined_positions) = read(app, &before.name, true).await?;
            let mut line = Line {
                records_in: books.records_in + again,
                committed: books.committed,
                quarantined: books.quarantined,
                already_committed: books.already_committed + again,
                table_rows,
                distinct_positions: positions.len() as u64,
                files_before_compaction: table_before.files,
                files_after_compaction: table_after.files,
                warehouse_rows: after.warehouse_rows.unwrap_or_default(),
                balanced: true,
                faults: Vec::new(),
                name: before.name,
            };
            let expected = fed.expected.get(line.name.as_str()).copied().unwrap_or_default();
            let (records_in, committed, quarantined) = (line.records_in, line.committed, line.quarantined);
            line.check("records in", records_in, committed + quarantined + line.already_committed);
            line.check("committed, by what was generated", committed, expected.clean);
            line.check("quarantined, by what was generated", quarantined, expected.quarantined);
            line.check("rows of the table", table_rows, committed);
            line.check("distinct positions", positions.len() as u64, table_rows);
            line.check("rows of the quarantine", quarantine_rows, quarantined);
            line.check("distinct positions in quarantine", quarantined_positions.len() as u64, quarantine_rows);
            line.check(
                "records in table and quarantine",
                positions.intersection(&quarantined_positions).count() as u64,
                0,
            );
            line.check("rows of the warehouse", line.warehouse_rows, table_rows);
            if !after.balanced {
                line.fault("the lake's own books do not balance".to_owned());
            }
            lines.push(line);
        }
        Ok(lines)
    }
}

/// The books of the datasets that are fed from outside.
async fn fed_books(app: &App) -> Result<Vec<DatasetBooks>> {
    let derived = |books: &DatasetBooks| app.contracts.get(&books.name).is_some_and(|own| own.derived().is_some());
    Ok(books::all(app).await?.into_iter().filter(|books| !derived(books)).collect())
}

/// What the derived tables are, in words.
pub(crate) async fn derived(app: &App) -> Result<Vec<String>> {
    let books = books::all(app).await?.into_iter();
    let line = |books: DatasetBooks| {
        let stands_for = books.stands_for?;
        Some(format!("{}: {} rows, {stands_for}", books.name, books.table.unwrap_or_default().rows))
    };
    Ok(books.filter_map(line).collect())
}

impl Line {
    fn check(&mut self, what: &str, found: u64, expected: u64) {
        if found != expected {
            self.fault(format!("{what}: {found}, expected {expected}"));
        }
    }

    fn fault(&mut self, fault: String) {
        self.balanced = false;
        self.faults.push(fault);
    }
}

fn note(repeated: &Mutex<BTreeMap<String, u64>>, receipt: Option<&serde_json::Value>) {
    let Some(receipt) = receipt.filter(|receipt| receipt["outcome"] == "alreadyCommitted") else { return };
    let (Some(dataset), Some(records)) = (receipt["dataset"].as_str(), receipt["books"]["recordsIn"].as_u64()) else {
        return;
    };
    *repeated.lock().unwrap_or_else(PoisonError::into_inner).entry(dataset.to_owned()).or_default() += records;
}

type Positions = HashSet<(String, String, i64)>;

/// Row count and distinct positions, from the files themselves.
async fn read(app: &App, dataset: &str, quarantine: bool) -> Result<(u64, Positions)> {
    let runtime = app.runtime().await?;
    let dataset = runtime.dataset(dataset)?;
    let definition = if quarantine { &dataset.quarantine } else { &dataset.table };
    let Some(table) = runtime.lake.existing(definition).await? else { return Ok((0, Positions::new())) };
    read_table(&table).await
}

async fn read_table(table: &Table) -> Result<(u64, Positions)> {
    let (mut rows, mut positions) = (0, Positions::new());
    for file in table.snapshot().await?.files {
        let frame = table.read(&file).await?;
        rows += frame.height() as u64;
        collect(&frame, &mut positions).context("read positions")?;
    }
    Ok((rows, positions))
}

fn collect(frame: &DataFrame, positions: &mut Positions) -> polars::prelude::PolarsResult<()> {
    let sources = frame.column(SOURCE)?.str()?;
    let versions = frame.column(SOURCE_VERSION)?.str()?;
    let places = frame.column(SOURCE_POSITION)?.i64()?;
    for ((source, version), place) in sources.iter().zip(versions.iter()).zip(places.iter()) {
        if let (Some(source), Some(version), Some(place)) = (source, version, place) {
            positions.insert((source.to_owned(), version.to_owned(), place));
        }
    }
    Ok(())
}
