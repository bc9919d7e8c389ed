//! Which contract is in force for the two tables of a dataset.
//!
//! While a deployment is rolled out, two releases with different contracts run side by side, and what one refuses the other
//! takes. A delivery changes quarantine first and the table last; if the other release changed the table in between, a
//! record would be in both. So each table names, as the version of a transaction id, the contract that is in force, and
//! every commit of records is made on condition that this is still the committer's own. Whoever finds another one there puts
//! its own in its place, in the table first, and looks at both tables only after that: whatever the other has done is then
//! there to be seen, and it does nothing more. Two releases with the same contract do not notice each other.
//!
//! Why it holds. Let A have put a record into quarantine, at `q`, and B the same record into the table, at `t`, and B not have
//! seen A's. B saw quarantine after its own contract had been seen there, so A's came to be in force there after B looked.
//! A looked at the table once more just before `q`, and its own contract was in force there; B's is in force there from when
//! B saw it to `t`. So A looked before or after all of that. After: it found the table moved, and did not go on. Before: its
//! contract was in force in quarantine at that look already, and still at `q`; but in between B saw its own there.
//!
//! The key of pseudonyms is held to the tables in the same place, before a contract is put in force. A table names the key
//! that its pseudonyms are made with by the key's check value, as the version of the id `weir:key:<version>`: from its
//! beginning, or, if it is older than that, from the first look of a release that knows of it. The id is set on condition
//! that it is not there and never moves again, the table first, so one key gets both tables, and whoever has another one is
//! refused before it has written a row. The key is part of the fingerprint, too: so what two keys made never stands in one
//! commit, nor under one key of pieces.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use weir_lake::{Append, Books, Condition, Incarnation, Producer, Table, stamp};

use crate::app::{Dataset, KeyInUse, Runtime};
use crate::error::AppError;

/// The transaction id; its version is made of the contract's fingerprint.
pub(crate) const ID: &str = "weir:contract";
/// Other releases that may get in between before the host is asked to deliver again.
const ATTEMPTS: u32 = 10;

/// The two tables of a dataset, for commits that are made while this process' contract is in force in both.
pub(crate) struct Tables {
    pub(crate) table: Arc<Table>,
    pub(crate) quarantine: Arc<Table>,
}

/// What this process knows of the contracts in force, by dataset.
#[derive(Debug)]
pub(crate) struct InForce {
    datasets: Mutex<HashMap<String, Arc<Mutex<Known>>>>,
    /// How long another release's contract is left in force before this one's takes its place again, so that deliveries
    /// of both come to an end.
    turn: Duration,
}

#[derive(Debug, Clone, Default)]
struct Known {
    /// Versions of the id when this process' contract was last seen in force, and the tables that they are of: the table
    /// first, then quarantine.
    seen: Option<([i64; 2], [Incarnation; 2])>,
    /// Since when another one is there, after this process' own had been.
    ousted: Option<Instant>,
}

impl InForce {
    pub(crate) fn new(turn: Duration) -> Self {
        Self { datasets: Mutex::default(), turn }
    }

    /// Both tables as they stand now, with this process' contract in force. They are made where they do not exist.
    pub(crate) async fn tables(&self, runtime: &Runtime, dataset: &Dataset) -> Result<Tables, AppError> {
        let table = runtime.lake.table(&dataset.table).await?;
        // Before quarantine is made: of two processes with different keys that make the tables at the same time, else one would
        // have the table and the other its quarantine, and neither could go on.
        keep_to_key(&table, dataset).await?;
        let quarantine = runtime.lake.table(&dataset.quarantine).await?;
        let known = Arc::clone(self.datasets.lock().await.entry(dataset.contract.name.clone()).or_default());
        let seen = known.lock().await.seen.clone();
        let (ours, theirs) = tokio::join!(table.refresh(), quarantine.refresh());
        ours?;
        theirs?;
        for table in [&table, &quarantine] {
            keep_to_key(table, dataset).await?;
        }
        let at = seen.filter(|(at, tables)| {
            [table.committed(ID), quarantine.committed(ID)] == at.map(Some)
                && [table.incarnation(), quarantine.incarnation()] == *tables
        });
        let [of_table, of_quarantine] = match at {
            Some((at, _)) => at,
            // One delivery at a time; the others find it done.
            None => self.put_in_force(&mut *known.lock().await, dataset, [&table, &quarantine]).await?,
        };
        let under = |table: Arc<Table>, version| table.while_holds(Condition { id: ID.to_owned(), version });
        Ok(Tables { table: under(table, of_table), quarantine: under(quarantine, of_quarantine) })
    }

    async fn put_in_force(
        &self,
        known: &mut Known,
        dataset: &Dataset,
        tables: [&Arc<Table>; 2],
    ) -> Result<[i64; 2], AppError> {
        for _ in 0..ATTEMPTS {
            // In this order: see above.
            for table in tables {
                table.refresh().await?;
            }
            let at = tables.map(|table| table.committed(ID));
            if let [Some(of_table), Some(of_quarantine)] = at
                && at.iter().all(|at| stamp::holds(*at, &dataset.fingerprint))
            {
                let seen = ([of_table, of_quarantine], tables.map(|table| table.incarnation()));
                *known = Known { seen: Some(seen), ousted: None };
                return Ok([of_table, of_quarantine]);
            }
            if known.seen.is_some() {
                let until = *known.ousted.get_or_insert_with(Instant::now) + self.turn;
                if Instant::now() < until {
                    tokio::time::sleep_until(until).await;
                    continue;
                }
            }
            for (table, at) in tables.into_iter().zip(at) {
                if !stamp::holds(at, &dataset.fingerprint) {
                    announce(table, at, &dataset.fingerprint).await?;
                }
            }
        }
        Err(AppError::SeveralContracts { dataset: dataset.contract.name.clone() })
    }
}

/// Whether a table says that its pseudonyms are made with this process' key. False: it does not say, or has none.
///
/// # Errors
/// [`AppError::OtherKey`] when they are made with another one.
pub(crate) fn check_key(table: &Table, dataset: &Dataset) -> Result<bool, AppError> {
    let Some(KeyInUse { id, check }) = &dataset.key else { return Ok(false) };
    match table.committed(id) {
        Some(known) if known == *check => Ok(true),
        Some(_) => Err(AppError::OtherKey { table: table.name().to_owned(), id: id.clone() }),
        None => Ok(false),
    }
}

/// Makes sure that a table's pseudonyms are made with this process' key. Costs nothing where the table says so already.
async fn keep_to_key(table: &Arc<Table>, dataset: &Dataset) -> Result<(), AppError> {
    let Some(KeyInUse { id, check }) = &dataset.key else { return Ok(()) };
    for _ in 0..ATTEMPTS {
        if check_key(table, dataset)? {
            return Ok(());
        }
        let producer = Producer { id: id.clone(), version: *check, expires: false };
        let append = Append { producer, rows: table.listed([])?, books: Books::default() };
        // Whoever was faster shows at the next look.
        table.append(append, None).await?;
        table.refresh().await?;
    }
    Err(AppError::SeveralContracts { dataset: dataset.contract.name.clone() })
}

/// Whoever was faster shows at the next look.
async fn announce(table: &Arc<Table>, at: Option<i64>, fingerprint: &str) -> Result<(), AppError> {
    if at.is_some() {
        tracing::warn!(table = table.name(), "another contract was in force; from now on it is this release's");
    }
    let overwritten = || AppError::Overwritten { source_: ID.to_owned() };
    let version = stamp::next(at, fingerprint).ok_or_else(overwritten)?;
    let producer = Producer { id: ID.to_owned(), version, expires: false };
    let append = Append { producer, rows: table.listed([])?, books: Books::default() };
    table.append(append, at).await?;
    Ok(())
}

/// What a new table begins with.
pub(crate) fn of_new_table(fingerprint: &str) -> Vec<(String, i64)> {
    stamp::next(None, fingerprint).map(|version| (ID.to_owned(), version)).into_iter().collect()
}
